//! The one place where the app's state changes.

use std::path::PathBuf;
use std::sync::Arc;

use gapless_timeline::{Theme, TimelineCommand, TimelineState};
use gapless_trace::{EventId, Span, Trace};

use crate::advice::AdviceCard;
use crate::align::Alignment;
use crate::command::Command;
use crate::engine::Engine;
use crate::engine_rows::{self, PathView};
use crate::follow::Followed;
use crate::highlight::open_only;
use crate::jobs::{Done, Generation, Jobs, Report};
use crate::message::Message;
use crate::record::{CheckState, Recording, Surroundings};
use crate::simulate::Asked;
use crate::speeds::Speeds;
use crate::state::{Failure, Loaded, Loading, OpenFor, Palette, PathField, Search, Selection, State, Window, name_of};
use crate::table::{Sort, TableId, order};
use crate::tables::order_of;
use crate::view::slowest_worth_naming;
use crate::{BottomTab, ThemeChoice, dialog};

/// What the surroundings have to do after an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Give the search field the keyboard.
    pub focus_search: bool,
    /// Take over the theme's colours.
    pub apply_theme: bool,
    /// Close the window.
    pub quit: bool,
    /// Put this on the clipboard.
    pub copy: Option<String>,
}

/// The app: its state, the timeline's own, and the work beside the frames.
pub struct Model {
    /// Everything that panels read.
    pub state: State,
    /// The timeline's own state, which the widget keeps while it draws.
    pub timeline: Option<TimelineState>,
    /// The timeline of the recording that the trace is compared with.
    pub base_timeline: Option<TimelineState>,
    /// Comparisons that were begun.
    pub(crate) comparisons: u64,
    /// What the next trace is compared with as soon as it is there.
    pub compare_with: Option<Vec<PathBuf>>,
    /// Work beside the frames.
    pub jobs: Jobs,
    /// What the surroundings have to do.
    pub effects: Effects,
    /// What to do once the first report is there, in place of going to the typical step.
    pub keeps_view: bool,
}

impl Model {
    /// An app without a trace.
    #[must_use]
    pub fn new(jobs: Jobs, theme: ThemeChoice, open_options: gapless_formats::OpenOptions) -> Self {
        let by_time = |column| Sort { column, descends: true };
        let state = State {
            theme_choice: theme,
            theme: colors(theme),
            open_options,
            generation: Generation::default(),
            loading: None,
            loaded: None,
            comparison: None,
            failure: None,
            tab: BottomTab::default(),
            shows_summary: true,
            shows_bottom: true,
            shows_help: false,
            shows_trust: false,
            asked: Asked::default(),
            opened_advice: None,
            follows_end: false,
            recording: None,
            record_commands: Surroundings {
                program: "gapless".to_owned(),
                has_python: true,
                ..Surroundings::default()
            }
            .commands(),
            copied: None,
            check: None,
            palette: None,
            path_field: None,
            picking: None,
            // Kernels by share, operators by device time, copies and collectives by their sum.
            // The longest stretch, the greatest wait and the latest rank first.
            sorts: [by_time(1), by_time(2), by_time(2), by_time(2), by_time(4), by_time(5), by_time(2)],
        };
        let effects = Effects { apply_theme: true, ..Effects::default() };
        Self {
            state,
            timeline: None,
            base_timeline: None,
            comparisons: 0,
            compare_with: None,
            jobs,
            effects,
            keeps_view: false,
        }
    }

    /// Takes what the surroundings know about recording.
    pub fn offer_recording(&mut self, recording: Option<Arc<dyn Recording>>) {
        self.state.record_commands = Surroundings::here(recording.as_deref()).commands();
        self.state.recording = recording;
    }

    /// Takes over what background work has finished. Returns whether there was any.
    pub fn collect(&mut self) -> bool {
        let mut any = false;
        while let Some(done) = self.jobs.finished() {
            any = true;
            self.finish(done);
        }
        any
    }

    fn finish(&mut self, done: Done) {
        let coming = self.state.loading.as_ref().map(|loading| loading.generation);
        let shown = self.state.loaded.as_ref().map(|loaded| loaded.generation);
        match done {
            Done::Opened(generation, opened, files) if Some(generation) == coming => {
                let name = self.state.loading.take().map_or_else(String::new, |loading| loading.what);
                self.timeline = Some(TimelineState::new(&opened.index));
                self.jobs.analyse(generation, Arc::clone(&opened.trace));
                let followed = files.map(|(paths, stamp)| Followed::new(paths, stamp));
                self.state.loaded = Some(Loaded::new(generation, opened, name, followed));
                self.end_comparison();
                if let Some(paths) = self.compare_with.take() {
                    self.compare(paths);
                }
            }
            Done::Failed(generation, text) if Some(generation) == coming => {
                let what = self.state.loading.take().map_or_else(|| "the trace".to_owned(), |loading| loading.what);
                self.state.failure = Some(Failure { title: format!("Cannot open {what}"), text });
            }
            Done::Cancelled(generation) if Some(generation) == coming => self.state.loading = None,
            Done::Analysed(generation, report) if Some(generation) == shown => self.take_report(*report),
            Done::Engine(generation, trace, engine) if Some(generation) == shown => self.take_engine(&trace, engine),
            Done::Advised(generation, trace, cards) if Some(generation) == shown => self.take_advice(&trace, cards),
            Done::Simulated(generation, simulation) if Some(generation) == shown => {
                if let Some(loaded) = &mut self.state.loaded
                    && simulation.asked == self.state.asked
                {
                    loaded.simulation = Some(simulation);
                }
            }
            Done::Roofline(generation, trace, view) if Some(generation) == shown => self.take_roofline(&trace, view),
            Done::Compared(id, compared) => self.take_compared(id, compared),
            Done::Found(generation, result) if Some(generation) == shown => {
                if let Some(loaded) = &mut self.state.loaded
                    && loaded.search.query.trim() == result.query
                {
                    loaded.search.result = result;
                    loaded.search.position = None;
                    self.update_position();
                }
            }
            Done::SameName(generation, event, same_name) if Some(generation) == shown => {
                let selection = self.state.loaded.as_mut().and_then(|loaded| loaded.selection.as_mut());
                if let Some(selection) = selection.filter(|selection| selection.event == event) {
                    selection.same_name = same_name;
                }
            }
            Done::Looked(generation, stamp) => self.looked(generation, stamp),
            Done::ReadAgain(generation, again) => self.read_again(generation, again.map(|again| *again)),
            Done::Checked(found) => {
                if self.state.check.is_some() {
                    self.state.check = Some(CheckState::Done(found));
                }
            }
            Done::Picked { paths, was_shown } => {
                let purpose = self.state.picking.take().unwrap_or_default();
                match paths {
                    Some(paths) if purpose == OpenFor::Base => self.compare(paths),
                    Some(paths) => self.open(paths),
                    None if !was_shown => self.ask_for_path(dialog::UNAVAILABLE, purpose),
                    None => {}
                }
            }
            Done::Crashed(text) => {
                self.state.loading = None;
                self.state.picking = None;
                let title = "Something went wrong inside Gapless".to_owned();
                self.state.failure =
                    Some(Failure { title, text: format!("{text}\nPlease report this with the trace") });
            }
            // Results for a trace that was closed since.
            Done::Opened(..)
            | Done::Failed(..)
            | Done::Cancelled(_)
            | Done::Analysed(..)
            | Done::Engine(..)
            | Done::Advised(..)
            | Done::Simulated(..)
            | Done::Roofline(..)
            | Done::Found(..)
            | Done::SameName(..) => {}
        }
    }

    fn take_report(&mut self, report: Report) {
        let Some(loaded) = &mut self.state.loaded else { return };
        loaded.report = Some(report);
        let window = loaded.typical_step().map_or(Window::Whole, Window::Step);
        let view = loaded.work_out(window);
        let slowest = view.and_then(|view| slowest_worth_naming(&view).map(|row| row.rank));
        loaded.table_rank = slowest.unwrap_or_default();
        if let Some(sort) = self.state.sorts.get_mut(TableId::Operators.index()) {
            // By device time of what they call, or by their own time on the host where there is no device.
            *sort = Sort { column: if loaded.has_device_work() { 2 } else { 5 }, descends: true };
        }
        self.choose_window(window, !self.keeps_view);
        self.sort_all();
        self.want_roofline();
        self.run_engine();
    }

    /// Runs the engine on the trace on the screen; what it found before stays until then.
    pub(crate) fn run_engine(&mut self) {
        if let Some(loaded) = &mut self.state.loaded {
            // The work for the trace before ends with its advisor.
            loaded.advisor = self.jobs.run_engine(loaded.generation, Arc::clone(&loaded.trace));
        }
    }

    fn take_engine(&mut self, trace: &Arc<Trace>, engine: Arc<Engine>) {
        let Some(loaded) = &mut self.state.loaded else { return };
        // A recording that grew meanwhile has events of its own.
        if !Arc::ptr_eq(&loaded.trace, trace) {
            return;
        }
        let waits = engine.collectives.collectives.iter().enumerate();
        loaded.chosen_collective = waits
            .max_by_key(|(place, timed)| (timed.timing.wait_sum_ns, std::cmp::Reverse(*place)))
            .map(|(place, _)| place);
        loaded.engine = Some(engine);
        loaded.simulation = None;
        let alignment = loaded.alignment;
        self.view_path();
        self.align(alignment);
    }

    fn take_advice(&mut self, trace: &Arc<Trace>, cards: Arc<Vec<AdviceCard>>) {
        let Some(loaded) = &mut self.state.loaded else { return };
        if Arc::ptr_eq(&loaded.trace, trace) {
            loaded.advice = Some(cards);
            self.simulate();
        }
    }

    fn tick_advice(&mut self, id: String) {
        let ids = &mut self.state.asked.ids;
        match ids.iter().position(|ticked| *ticked == id) {
            Some(place) => drop(ids.remove(place)),
            None => ids.push(id),
        }
        self.simulate();
    }

    fn set_speeds(&mut self, speeds: Speeds) {
        if speeds == self.state.asked.speeds {
            return;
        }
        self.state.asked.speeds = speeds;
        // While a slider moves, what it gave a moment ago stands until the next replay is there.
        let shown = self.state.loaded.as_mut().and_then(|loaded| loaded.simulation.take());
        self.simulate();
        if let Some(loaded) = &mut self.state.loaded
            && !self.state.asked.is_nothing()
            && loaded.simulation.is_none()
        {
            loaded.simulation = shown;
        }
    }

    /// Replays what is asked for; the track of what was asked for before goes at once.
    fn simulate(&mut self) {
        let Some(loaded) = &mut self.state.loaded else { return };
        loaded.simulation = None;
        let Some(cards) = &loaded.advice else { return };
        // Advice of another trace may be no advice for this one.
        self.state.asked.ids.retain(|id| cards.iter().any(|card| card.id == *id));
        if self.state.asked.is_nothing() {
            return;
        }
        match &loaded.advisor {
            Some(advisor) => advisor.ask(self.state.asked.clone()),
            None => self.jobs.simulate(loaded.generation, Arc::clone(&loaded.trace), self.state.asked.clone()),
        }
    }

    /// Opens `paths` as one trace. What is on the screen stays until the new trace is there.
    pub fn open(&mut self, paths: Vec<PathBuf>) {
        if paths.is_empty() {
            return;
        }
        if let Some(loading) = &self.state.loading {
            loading.progress.cancel();
        }
        self.state.generation.0 += 1;
        self.state.failure = None;
        self.state.path_field = None;
        // Another trace is of another machine.
        self.state.asked.speeds = Speeds::default();
        let what = name_of(&paths);
        let progress =
            self.jobs.open(self.state.generation, paths, self.state.open_options.clone(), self.state.recording.clone());
        self.state.loading = Some(Loading { generation: self.state.generation, what, progress });
    }

    /// Shows a trace that is in memory already.
    #[cfg(test)]
    pub fn show_trace(&mut self, trace: Arc<Trace>, name: &str) {
        self.state.generation.0 += 1;
        let index = Arc::new(gapless_timeline::TimelineIndex::build(&trace));
        let progress = Arc::new(crate::jobs::OpenProgress::finished());
        let loading = Loading { generation: self.state.generation, what: name.to_owned(), progress };
        self.state.loading = Some(loading);
        self.finish(Done::Opened(self.state.generation, crate::jobs::Opened { trace, index }, None));
        self.collect();
    }

    /// Carries out what a panel asked for.
    pub fn update(&mut self, message: Message) {
        match message {
            Message::Run(command) => self.run(command),
            Message::Open(paths) => self.open(paths),
            Message::Compare(paths) => self.compare(paths),
            Message::OpenChange(row) => self.open_change(row),
            Message::ShowChange(row, detail) => self.show_change(row, Some(detail)),
            Message::CancelLoading => {
                // The work ends at its next look at the flag; the screen does not wait for that.
                if let Some(loading) = self.state.loading.take() {
                    loading.progress.cancel();
                }
            }
            Message::DismissFailure => self.state.failure = None,
            Message::CloseOverlay => {
                self.state.palette = None;
                self.state.path_field = None;
                self.state.shows_help = false;
                self.state.check = None;
            }
            Message::PaletteQuery(query) => self.state.palette = Some(Palette { query, chosen: 0 }),
            Message::PaletteChoose(chosen) => {
                if let Some(palette) = &mut self.state.palette {
                    palette.chosen = chosen;
                }
            }
            Message::PathText(text) => {
                if let Some(field) = &mut self.state.path_field {
                    field.text = text;
                }
            }
            Message::ChooseWindow(window) => self.choose_window(window, true),
            Message::ShowTab(tab) => self.show_tab(tab),
            Message::ShowPart(rank, part) => self.show_part(rank, part),
            Message::ShowHiddenCommunication => self.show_hidden_communication(),
            Message::ShowName(rank, name) => self.show_name(rank, &name),
            Message::TickAdvice(id) => self.tick_advice(id),
            Message::SetSpeed(part, factor) => {
                let mut speeds = self.state.asked.speeds;
                speeds.set(part, factor);
                self.set_speeds(speeds);
            }
            Message::ResetSpeeds => self.set_speeds(Speeds::default()),
            Message::ShowEvidence(id) => self.show_evidence(&id),
            Message::OpenAdvice(id) => {
                let is_open = self.state.opened_advice.as_ref() == Some(&id);
                self.state.opened_advice = (!is_open).then_some(id);
            }
            Message::Align(alignment) => self.align(alignment),
            Message::ShowCategory(category) => self.show_category(category),
            Message::ShowPathRow(place) => self.show_path_row(place),
            Message::ShowCollective(place) => self.show_collective(place),
            Message::ShowLateness(rank) => self.show_lateness(rank),
            Message::ShowSpan(rank, span) => {
                if let Some(timeline) = &mut self.timeline {
                    let span = rank.map_or(span, |rank| timeline.shifts.shown(rank, span));
                    if let (Some(rank), Some(loaded)) = (rank, &self.state.loaded) {
                        open_only(timeline, &loaded.trace, rank);
                    }
                    timeline.show_span(span);
                }
            }
            Message::StepHighlight(by) => self.step_highlight(by),
            Message::ClearHighlight => self.clear_highlight(),
            Message::Select(event) => self.select(event, true),
            Message::SelectionChanged(event) => match event {
                Some(event) => self.select(event, false),
                None => {
                    if let Some(loaded) = &mut self.state.loaded {
                        loaded.selection = None;
                    }
                    self.update_position();
                }
            },
            Message::RangeChanged(range) => self.range_changed(range),
            Message::SearchText(text) => self.search_text(text),
            Message::ShowTrust(shows) => self.state.shows_trust = shows,
            Message::SearchList(shows) => {
                if let Some(loaded) = &mut self.state.loaded {
                    loaded.search.shows_list = shows && !loaded.search.query.is_empty();
                }
            }
            Message::ChooseTableRank(rank) => {
                if let Some(loaded) = &mut self.state.loaded {
                    loaded.table_rank = rank;
                }
                self.sort_all();
                self.want_roofline();
            }
            Message::Copy(text) => {
                self.state.copied = Some(text.clone());
                self.effects.copy = Some(text);
            }
            Message::SortTable(table, column) => self.sort_table(table, column),
        }
        self.collect();
    }

    fn run(&mut self, command: Command) {
        match command {
            Command::OpenFiles => self.pick(dialog::Kind::Files, OpenFor::Trace),
            Command::OpenFolder => self.pick(dialog::Kind::Folder, OpenFor::Trace),
            Command::OpenPath => self.ask_for_path("", OpenFor::Trace),
            Command::CompareFiles => self.pick(dialog::Kind::Files, OpenFor::Base),
            Command::CompareFolder => self.pick(dialog::Kind::Folder, OpenFor::Base),
            Command::ComparePath => self.ask_for_path("", OpenFor::Base),
            Command::CompareAgain => self.compare_again(),
            Command::EndComparison => self.end_comparison(),
            Command::CloseTrace => {
                self.end_comparison();
                self.state.loaded = None;
                self.timeline = None;
            }
            Command::Quit => self.effects.quit = true,
            Command::Find => self.effects.focus_search = true,
            Command::NextHit => self.go_to_hit(true),
            Command::PreviousHit => self.go_to_hit(false),
            Command::ClearSearch => self.search_text(String::new()),
            Command::Palette => self.state.palette = Some(Palette::default()),
            Command::Help => self.state.shows_help = !self.state.shows_help,
            Command::ToggleTheme => {
                self.state.theme_choice = match self.state.theme_choice {
                    ThemeChoice::Dark => ThemeChoice::Light,
                    ThemeChoice::Light => ThemeChoice::Dark,
                };
                self.state.theme = colors(self.state.theme_choice);
                self.effects.apply_theme = true;
            }
            Command::ToggleSummary => self.state.shows_summary = !self.state.shows_summary,
            Command::ToggleBottom => self.state.shows_bottom = !self.state.shows_bottom,
            Command::ShowStep => {
                let hull = self.state.loaded.as_ref().and_then(|loaded| loaded.view.as_ref()).map(|view| view.hull);
                match (hull, &mut self.timeline) {
                    (Some(hull), Some(timeline)) => timeline.show_span(hull),
                    (None, Some(timeline)) => timeline.fit_all(),
                    _ => {}
                }
            }
            Command::NextStep => self.go_to_step(1),
            Command::PreviousStep => self.go_to_step(-1),
            Command::WholeRecording => self.choose_window(Window::Whole, true),
            Command::ClearHighlight => {
                let lit = self.state.loaded.as_ref().is_some_and(|loaded| loaded.highlight.is_some());
                if lit {
                    self.clear_highlight();
                } else {
                    self.run_timeline(TimelineCommand::ClearSelection);
                }
            }
            Command::ShowTrust => self.state.shows_trust = !self.state.shows_trust,
            Command::CheckMachine => {
                if let Some(recording) = self.state.recording.clone() {
                    self.state.check = Some(CheckState::Running);
                    self.jobs.check(recording);
                }
            }
            Command::ToggleFollow => {
                self.state.follows_end = !self.state.follows_end;
                if let Some(timeline) = self.timeline.as_mut().filter(|_| self.state.follows_end) {
                    timeline.show_end();
                }
            }
            Command::Tab(tab) => self.show_tab(tab),
            Command::Timeline(command) => self.run_timeline(command),
        }
    }

    fn run_timeline(&mut self, command: TimelineCommand) {
        if let (Some(timeline), Some(loaded)) = (&mut self.timeline, &self.state.loaded) {
            timeline.apply(command, &loaded.trace, &loaded.index);
        }
        self.follow_timeline();
    }

    /// Takes over a selection or range that the timeline changed by itself.
    pub fn follow_timeline(&mut self) {
        let Some(timeline) = &self.timeline else { return };
        let (selected, range) = (timeline.selected, timeline.range);
        let Some(loaded) = &self.state.loaded else { return };
        if loaded.selection.as_ref().map(|selection| selection.event) != selected {
            self.update(Message::SelectionChanged(selected));
        }
        self.note_frame();
        let Some(loaded) = &self.state.loaded else { return };
        let known = match loaded.window {
            Window::Range(span) => Some(span),
            Window::Whole | Window::Step(_) => None,
        };
        if known != range {
            self.update(Message::RangeChanged(range));
        }
    }

    /// Says what the clicked frame of a flame strip stands for.
    fn note_frame(&mut self) {
        let (Some(timeline), Some(loaded)) = (&self.timeline, &mut self.state.loaded) else { return };
        let Some(selection) = &mut loaded.selection else { return };
        selection.frame = timeline.selected_frame(&loaded.index).map(|(flame, bar)| {
            let all = flame.samples_of(&bar);
            format!(
                "{}: about {} here, {} in all, {} of the thread's",
                loaded.trace.text(bar.frame.name),
                bar.end - bar.start,
                crate::format::counted(u64::from(all), "sample", "samples"),
                crate::format::percent(f64::from(all) / f64::from(flame.samples.max(1))),
            )
        });
    }

    fn pick(&mut self, kind: dialog::Kind, purpose: OpenFor) {
        if self.state.picking.is_some() {
            return;
        }
        if !dialog::is_available() {
            self.ask_for_path(dialog::UNAVAILABLE, purpose);
            return;
        }
        self.state.picking = Some(purpose);
        self.jobs.pick(move || dialog::pick(kind));
    }

    fn ask_for_path(&mut self, note: &str, purpose: OpenFor) {
        self.state.path_field = Some(PathField { text: String::new(), note: note.to_owned(), purpose });
    }

    pub(crate) fn show_tab(&mut self, tab: BottomTab) {
        self.state.tab = tab;
        self.state.shows_bottom = true;
        self.want_roofline();
    }

    fn choose_window(&mut self, window: Window, goes_there: bool) {
        let Some(loaded) = &mut self.state.loaded else { return };
        let Some(view) = loaded.work_out(window) else { return };
        let hull = view.hull;
        loaded.window = window;
        loaded.view = Some(view);
        loaded.highlight = None;
        let is_by_step = loaded.alignment == Alignment::Step;
        self.view_path();
        if is_by_step {
            self.align(Alignment::Step);
        }
        self.align_comparison();
        let Some(loaded) = &self.state.loaded else { return };
        let hull = loaded.view.as_ref().map_or(hull, |view| view.hull);
        if let Some(timeline) = &mut self.timeline {
            if !matches!(window, Window::Range(_)) {
                timeline.range = None;
            }
            if goes_there {
                timeline.show_span(hull);
            }
        }
    }

    /// Works the window out anew after the trace has grown.
    pub(crate) fn window_again(&mut self, window: Window) {
        let range = self.timeline.as_ref().and_then(|timeline| timeline.range);
        self.choose_window(window, false);
        if let Some(timeline) = &mut self.timeline {
            timeline.range = range;
        }
        self.sort_all();
    }

    fn range_changed(&mut self, range: Option<Span>) {
        match range.filter(|range| !range.is_empty()) {
            Some(range) => self.choose_window(Window::Range(range), false),
            None => {
                let typical = self.state.loaded.as_ref().and_then(Loaded::typical_step);
                self.choose_window(typical.map_or(Window::Whole, Window::Step), false);
            }
        }
    }

    fn go_to_step(&mut self, by: isize) {
        let Some(loaded) = &self.state.loaded else { return };
        let steps = loaded.steps().len();
        let next = match loaded.window {
            Window::Step(place) => place.checked_add_signed(by),
            Window::Whole | Window::Range(_) => loaded.typical_step(),
        };
        if let Some(place) = next.filter(|&place| place < steps) {
            self.choose_window(Window::Step(place), true);
        }
    }

    fn select(&mut self, event: EventId, goes_there: bool) {
        let Some(loaded) = &mut self.state.loaded else { return };
        let args = loaded.trace.args(event).map_err(|error| error.to_string());
        loaded.selection = Some(Selection { event, args, same_name: None, frame: None });
        if let Some((instance, _)) = loaded.engine.as_ref().and_then(|engine| engine.member_of(event)) {
            loaded.chosen_collective = Some(instance);
        }
        let (generation, trace) = (loaded.generation, Arc::clone(&loaded.trace));
        if goes_there && let Some(timeline) = &mut self.timeline {
            timeline.reveal(event, &trace, &loaded.index);
        }
        self.show_tab(BottomTab::Selection);
        self.jobs.same_name(generation, trace, event);
        self.update_position();
    }

    fn search_text(&mut self, text: String) {
        if let Some(command) = text.strip_prefix('>') {
            self.state.palette = Some(Palette { query: command.trim_start().to_owned(), chosen: 0 });
            return;
        }
        let Some(loaded) = &mut self.state.loaded else { return };
        loaded.search.query = text;
        let query = loaded.search.query.trim().to_owned();
        loaded.search.shows_list = !query.is_empty();
        if query.is_empty() {
            loaded.search = Search::default();
            return;
        }
        self.jobs.search(loaded.generation, Arc::clone(&loaded.trace), query);
    }

    fn go_to_hit(&mut self, forward: bool) {
        let Some(loaded) = &self.state.loaded else { return };
        let from = loaded.selection.as_ref().map(|selection| selection.event);
        let result = &loaded.search.result;
        let trace = &loaded.trace;
        let hit = if forward { result.next(trace, from) } else { result.previous(trace, from) };
        if let Some(hit) = hit {
            self.select(hit, true);
        }
    }

    fn update_position(&mut self) {
        let Some(loaded) = &mut self.state.loaded else { return };
        let selected = loaded.selection.as_ref().map(|selection| selection.event);
        loaded.search.position = selected.and_then(|event| loaded.search.result.position(&loaded.trace, event));
    }

    fn sort_table(&mut self, table: TableId, column: usize) {
        if let Some(sort) = self.state.sorts.get_mut(table.index()) {
            // Names read best from A, numbers from the largest.
            let descends = if sort.column == column { !sort.descends } else { column > 0 };
            *sort = Sort { column, descends };
        }
        self.sort_all();
    }

    /// Works out the critical path of the window.
    fn view_path(&mut self) {
        let Some(loaded) = &mut self.state.loaded else { return };
        let Some(engine) = &loaded.engine else { return };
        loaded.path = PathView::new(&loaded.trace, engine, loaded.common_window(), loaded.steps());
        self.sort_all();
    }

    fn sort_all(&mut self) {
        let Some(loaded) = &mut self.state.loaded else { return };
        if let Some(engine) = &loaded.engine {
            let sort = |table: TableId| self.state.sorts.get(table.index()).copied().unwrap_or_default();
            let orders = [
                (TableId::Segments, order(&loaded.path.segments, engine_rows::SEGMENTS, sort(TableId::Segments))),
                (TableId::Instances, order(&engine.instances, engine_rows::INSTANCES, sort(TableId::Instances))),
                (TableId::Lateness, order(&engine.lateness, engine_rows::LATENESS, sort(TableId::Lateness))),
            ];
            for (table, order) in orders {
                if let Some(entry) = loaded.orders.get_mut(table.index()) {
                    *entry = order;
                }
            }
        }
        let rank = loaded.report.as_ref().and_then(|report| report.analysis.ranks.get(loaded.table_rank.index()));
        let Some(rank) = rank else { return };
        for table in TableId::ALL.into_iter().take(TableId::OF_RANK) {
            if let (Some(order), Some(&sort)) =
                (loaded.orders.get_mut(table.index()), self.state.sorts.get(table.index()))
            {
                *order = order_of(&rank.tables, table, sort);
            }
        }
    }
}

fn colors(choice: ThemeChoice) -> Theme {
    match choice {
        ThemeChoice::Dark => Theme::dark(),
        ThemeChoice::Light => Theme::light(),
    }
}
