//! Every action of the app, in one table: its name, its shortcut, its place in the menu, its entry in the palette.

use egui::{Key, KeyboardShortcut, Modifiers};
use gapless_timeline::TimelineCommand;

use crate::BottomTab;

/// An action that the user can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Choose files with the system's dialog.
    OpenFiles,
    /// Choose a folder with the system's dialog.
    OpenFolder,
    /// Type the path of a file or folder.
    OpenPath,
    /// Compare with files that are chosen with the system's dialog.
    CompareFiles,
    /// Compare with a folder.
    CompareFolder,
    /// Compare with a path that is typed.
    ComparePath,
    /// Compare once more with what the trace was compared with.
    CompareAgain,
    /// Show the trace alone again.
    EndComparison,
    /// Close the trace.
    CloseTrace,
    /// Close the window.
    Quit,
    /// Go to the search field.
    Find,
    /// Go to the next event that matches the search, in time.
    NextHit,
    /// Go to the one before.
    PreviousHit,
    /// Forget the search.
    ClearSearch,
    /// List all commands.
    Palette,
    /// Show the shortcuts.
    Help,
    /// Dark ↔ light.
    ToggleTheme,
    /// Show or hide the panel on the right.
    ToggleSummary,
    /// Show or hide the panel at the bottom.
    ToggleBottom,
    /// Show the chosen step.
    ShowStep,
    /// Choose the next step.
    NextStep,
    /// Choose the step before.
    PreviousStep,
    /// Choose the whole recording.
    WholeRecording,
    /// Take away the highlight.
    ClearHighlight,
    /// Show a tab of the bottom panel.
    Tab(BottomTab),
    /// Show or hide the checks of the model.
    ShowTrust,
    /// Look at what can be recorded here.
    CheckMachine,
    /// Show the end of a recording as it grows, or stay.
    ToggleFollow,
    /// An action of the timeline.
    Timeline(TimelineCommand),
}

/// Where a command stands in the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Menu {
    /// Traces and the window.
    File,
    /// What is seen.
    View,
    /// Moving around.
    Go,
    /// About the app.
    Help,
}

impl Menu {
    /// All menus, in order.
    pub const ALL: [Self; 4] = [Self::File, Self::View, Self::Go, Self::Help];

    /// Its title.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::File => "File",
            Self::View => "View",
            Self::Go => "Go",
            Self::Help => "Help",
        }
    }
}

/// When a command makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Always.
    Nothing,
    /// When a trace is open.
    Trace,
    /// When the trace is compared with another one.
    Comparison,
    /// When the surroundings can record.
    Recorder,
}

/// How a command is reached from the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// Not at all.
    None,
    /// The app listens for it.
    Key(KeyboardShortcut),
    /// The timeline listens for it while no text field has the focus; the text is for people.
    Timeline(&'static str),
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct CommandInfo {
    /// What it does.
    pub command: Command,
    /// Its name; `…` when a dialog follows.
    pub title: &'static str,
    /// Its shortcut.
    pub shortcut: Shortcut,
    /// Its place in the menu.
    pub menu: Menu,
    /// When it makes sense.
    pub needs: Needs,
}

const fn key(modifiers: Modifiers, key: Key) -> Shortcut {
    Shortcut::Key(KeyboardShortcut::new(modifiers, key))
}

const fn row(command: Command, title: &'static str, shortcut: Shortcut, menu: Menu, needs: Needs) -> CommandInfo {
    CommandInfo { command, title, shortcut, menu, needs }
}

const fn on_timeline(command: TimelineCommand, title: &'static str, keys: &'static str) -> CommandInfo {
    row(Command::Timeline(command), title, Shortcut::Timeline(keys), Menu::Go, Needs::Trace)
}

const CTRL: Modifiers = Modifiers::COMMAND;
const CTRL_SHIFT: Modifiers = Modifiers::COMMAND.plus(Modifiers::SHIFT);
const PLAIN: Modifiers = Modifiers::NONE;

/// All commands, in the order of the menus.
pub const COMMANDS: &[CommandInfo] = &[
    row(Command::OpenFiles, "Open files…", key(CTRL, Key::O), Menu::File, Needs::Nothing),
    row(Command::OpenFolder, "Open folder…", key(CTRL_SHIFT, Key::O), Menu::File, Needs::Nothing),
    row(Command::OpenPath, "Open path…", key(CTRL, Key::L), Menu::File, Needs::Nothing),
    row(Command::CompareFiles, "Compare with files…", key(CTRL, Key::D), Menu::File, Needs::Trace),
    row(Command::CompareFolder, "Compare with a folder…", key(CTRL_SHIFT, Key::D), Menu::File, Needs::Trace),
    row(Command::ComparePath, "Compare with a path…", Shortcut::None, Menu::File, Needs::Trace),
    row(Command::CompareAgain, "Compare again", Shortcut::None, Menu::File, Needs::Comparison),
    row(Command::EndComparison, "End the comparison", key(CTRL_SHIFT, Key::W), Menu::File, Needs::Comparison),
    row(Command::CloseTrace, "Close trace", key(CTRL, Key::W), Menu::File, Needs::Trace),
    row(Command::Quit, "Quit", key(CTRL, Key::Q), Menu::File, Needs::Nothing),
    row(Command::ToggleTheme, "Switch between dark and light", key(CTRL_SHIFT, Key::L), Menu::View, Needs::Nothing),
    row(Command::ToggleSummary, "Show or hide the summary", key(CTRL_SHIFT, Key::B), Menu::View, Needs::Trace),
    row(Command::ToggleBottom, "Show or hide the tables", key(CTRL, Key::J), Menu::View, Needs::Trace),
    row(Command::Tab(BottomTab::Selection), "Show the selection", key(CTRL, Key::Num1), Menu::View, Needs::Trace),
    row(Command::Tab(BottomTab::Breakdown), "Show the breakdown", key(CTRL, Key::Num2), Menu::View, Needs::Trace),
    row(Command::Tab(BottomTab::Path), "Show the critical path", key(CTRL, Key::Num7), Menu::View, Needs::Trace),
    row(
        Command::Tab(BottomTab::Collectives),
        "Show collectives over ranks",
        key(CTRL, Key::Num8),
        Menu::View,
        Needs::Trace,
    ),
    row(Command::Tab(BottomTab::Stragglers), "Show who comes late", key(CTRL, Key::Num9), Menu::View, Needs::Trace),
    row(Command::Tab(BottomTab::Roofline), "Show the roofline", key(CTRL_SHIFT, Key::R), Menu::View, Needs::Trace),
    row(Command::Tab(BottomTab::Compare), "Show the comparison", key(CTRL_SHIFT, Key::C), Menu::View, Needs::Trace),
    row(Command::ShowTrust, "Show the checks of the model", key(CTRL, Key::T), Menu::View, Needs::Trace),
    row(Command::Tab(BottomTab::Kernels), "Show the kernels", key(CTRL, Key::Num3), Menu::View, Needs::Trace),
    row(Command::Tab(BottomTab::Operators), "Show the operators", key(CTRL, Key::Num4), Menu::View, Needs::Trace),
    row(
        Command::Tab(BottomTab::Transfers),
        "Show copies and collectives",
        key(CTRL, Key::Num5),
        Menu::View,
        Needs::Trace,
    ),
    row(Command::Tab(BottomTab::Warnings), "Show the import warnings", key(CTRL, Key::Num6), Menu::View, Needs::Trace),
    row(Command::Timeline(TimelineCommand::OpenAllRanks), "Unfold all ranks", Shortcut::None, Menu::View, Needs::Trace),
    row(Command::Timeline(TimelineCommand::FoldAllRanks), "Fold all ranks", Shortcut::None, Menu::View, Needs::Trace),
    row(Command::ClearHighlight, "Clear the highlight", key(PLAIN, Key::Escape), Menu::View, Needs::Trace),
    row(Command::Find, "Search events by name…", key(CTRL, Key::F), Menu::Go, Needs::Trace),
    row(Command::NextHit, "Next search hit", key(PLAIN, Key::F3), Menu::Go, Needs::Trace),
    row(Command::PreviousHit, "Previous search hit", key(Modifiers::SHIFT, Key::F3), Menu::Go, Needs::Trace),
    row(Command::ClearSearch, "Clear the search", Shortcut::None, Menu::Go, Needs::Trace),
    on_timeline(TimelineCommand::FitAll, "Fit the whole trace", "0"),
    on_timeline(TimelineCommand::FitSelection, "Fit the selection", "F"),
    on_timeline(TimelineCommand::ZoomIn, "Zoom in", "W"),
    on_timeline(TimelineCommand::ZoomOut, "Zoom out", "S"),
    on_timeline(TimelineCommand::PanLeft, "Move back in time", "A"),
    on_timeline(TimelineCommand::PanRight, "Move on in time", "D"),
    on_timeline(TimelineCommand::NextSlice, "Next event of the row", "."),
    on_timeline(TimelineCommand::PreviousSlice, "Previous event of the row", ","),
    on_timeline(TimelineCommand::ParentSlice, "Enclosing event", "↑"),
    on_timeline(TimelineCommand::ChildSlice, "First event inside", "↓"),
    on_timeline(TimelineCommand::FollowForward, "Follow a link forward", "]"),
    on_timeline(TimelineCommand::FollowBack, "Follow a link back", "["),
    row(Command::ShowStep, "Fit the chosen step", key(CTRL, Key::Num0), Menu::Go, Needs::Trace),
    row(Command::NextStep, "Next step", key(CTRL, Key::ArrowRight), Menu::Go, Needs::Trace),
    row(Command::PreviousStep, "Previous step", key(CTRL, Key::ArrowLeft), Menu::Go, Needs::Trace),
    row(Command::WholeRecording, "Choose the whole recording", Shortcut::None, Menu::Go, Needs::Trace),
    row(Command::ToggleFollow, "Follow a growing recording", key(CTRL, Key::E), Menu::Go, Needs::Trace),
    row(Command::Palette, "All commands…", key(CTRL_SHIFT, Key::P), Menu::Help, Needs::Nothing),
    row(Command::CheckMachine, "Check this machine", Shortcut::None, Menu::Help, Needs::Recorder),
    row(Command::Help, "Keyboard and mouse", key(PLAIN, Key::F1), Menu::Help, Needs::Nothing),
];

/// The table's line of `command`.
#[must_use]
pub fn info(command: Command) -> Option<&'static CommandInfo> {
    COMMANDS.iter().find(|info| info.command == command)
}

/// The commands that make sense and match what was typed, best first: every word must be in the title, beginnings
/// count more.
#[must_use]
pub fn matching(query: &str, can: impl Fn(Needs) -> bool) -> Vec<&'static CommandInfo> {
    let query = query.to_lowercase();
    let words: Vec<_> = query.split_whitespace().collect();
    let rank = |info: &CommandInfo| {
        let title = info.title.to_lowercase();
        if !words.iter().all(|word| title.contains(word)) {
            return None;
        }
        let starts_title = words.first().is_some_and(|word| title.starts_with(word));
        let starts_word = words.iter().all(|word| title.split_whitespace().any(|part| part.starts_with(word)));
        Some((!starts_title, !starts_word))
    };
    let possible = COMMANDS.iter().filter(|info| can(info.needs));
    let mut found: Vec<_> = possible.filter_map(|info| Some((rank(info)?, info))).collect();
    found.sort_by_key(|&(rank, _)| rank);
    found.into_iter().map(|(_, info)| info).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_commands_share_a_shortcut_or_a_title() {
        for (place, one) in COMMANDS.iter().enumerate() {
            for other in &COMMANDS[place + 1..] {
                assert_ne!(one.title, other.title);
                assert_ne!(one.command, other.command);
                assert!(
                    one.shortcut == Shortcut::None || one.shortcut != other.shortcut,
                    "{} {}",
                    one.title,
                    other.title
                );
            }
        }
    }

    #[test]
    fn every_tab_has_a_command_and_menus_stand_together() {
        for &tab in BottomTab::ALL {
            assert!(info(Command::Tab(tab)).is_some(), "{tab}");
        }
        assert!(COMMANDS.windows(2).all(|pair| pair[0].menu <= pair[1].menu));
    }

    #[test]
    fn the_palette_ranks_beginnings_first_and_hides_what_needs_a_trace() {
        let titles = |query, has_trace| {
            let found = matching(query, |needs| needs == Needs::Nothing || has_trace && needs == Needs::Trace);
            found.iter().map(|info| info.title).collect::<Vec<_>>()
        };
        assert_eq!(titles("step next", true).first(), Some(&"Next step"));
        assert_eq!(titles("sh ke", true), ["Show the kernels"]);
        assert_eq!(titles("next s", true).first(), Some(&"Next search hit"));
        assert!(titles("kernels", false).is_empty());
        assert!(titles("no such thing", true).is_empty());
        let possible = COMMANDS.iter().filter(|info| matches!(info.needs, Needs::Nothing | Needs::Trace));
        assert_eq!(titles("", true).len(), possible.count(), "nothing to record or to compare with");
    }
}
