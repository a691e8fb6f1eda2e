//! One frame: results of work come in, panels are drawn, what they asked for is carried out.

use std::time::Duration;

use egui::{Context, FontDefinitions, FontFamily, Id, Ui, ViewportCommand};

use crate::command::{COMMANDS, Command, CommandInfo, Shortcut};
use crate::message::Message;
use crate::update::{Effects, Model};
use crate::view::{SEARCH_ID, root_ui};

/// How often progress is shown anew. Rarely, so that drawing does not slow the loading down.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How often the age of a recording is shown anew.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// The app as eframe, pictures and tests run it.
pub struct App {
    /// State and work.
    pub model: Model,
    has_drawn: bool,
}

impl App {
    /// An app around `model`.
    #[must_use]
    pub fn new(model: Model) -> Self {
        Self { model, has_drawn: false }
    }

    /// Draws one frame into `ui`, which covers the window.
    pub fn frame_ui(&mut self, ui: &mut Ui) {
        let ctx = ui.ctx().clone();
        if !self.has_drawn {
            ctx.set_fonts(fonts());
            // Names of a trace may hold any character; those of the app itself must have a glyph, which tests check.
            #[cfg(not(test))]
            ctx.set_missing_glyph_policy(egui::MissingGlyphPolicy::Tofu);
        }
        self.model.collect();
        self.apply_effects(&ctx);

        let mut messages = self.input_messages(&ctx);
        let model = &mut self.model;
        let changed = root_ui(ui, &model.state, model.timeline.as_mut(), model.base_timeline.as_mut(), &mut messages);
        let asked = !messages.is_empty() || changed;
        for message in messages {
            model.update(message);
        }
        if changed {
            model.follow_timeline();
        }
        self.apply_effects(&ctx);
        if asked {
            ctx.request_repaint();
        }
        if let Some(after) = self.model.follow() {
            ctx.request_repaint_after(after.clamp(PROGRESS_INTERVAL, FOLLOW_INTERVAL));
        }
        let reads_base = self.model.state.comparison.as_ref().is_some_and(|comparison| comparison.base.is_none());
        if self.model.state.loading.is_some() || reads_base {
            ctx.request_repaint_after(PROGRESS_INTERVAL);
        }
        self.has_drawn = true;
    }

    fn apply_effects(&mut self, ctx: &Context) {
        let Effects { focus_search, apply_theme, quit, copy } = std::mem::take(&mut self.model.effects);
        if apply_theme {
            self.model.state.theme.apply(ctx);
        }
        if focus_search {
            ctx.memory_mut(|memory| memory.request_focus(Id::unique(SEARCH_ID)));
        }
        if let Some(text) = copy {
            ctx.copy_text(text);
        }
        if quit {
            ctx.send_viewport_cmd(ViewportCommand::Close);
        }
    }

    /// What the keyboard and dropped files ask for.
    fn input_messages(&self, ctx: &Context) -> Vec<Message> {
        let state = &self.model.state;
        let mut messages = Vec::new();
        let is_typing = ctx.text_edit_focused();
        let has_overlay =
            state.palette.is_some() || state.path_field.is_some() || state.shows_help || state.check.is_some();
        ctx.input_mut(|input| {
            let dropped: Vec<_> = input.raw.dropped_files.iter().map(|file| file.path().to_path_buf()).collect();
            if !dropped.is_empty() {
                messages.push(Message::Open(dropped));
            }
            if state.shows_help && input.consume_key(egui::Modifiers::NONE, egui::Key::Escape) {
                messages.push(Message::CloseOverlay);
            }
            // Ctrl+L also matches while Shift is held, so that shortcuts with Shift must be asked for first.
            let with_shift = |info: &&CommandInfo| matches!(info.shortcut, Shortcut::Key(key) if key.modifiers.shift);
            let (first, then): (Vec<&CommandInfo>, Vec<&CommandInfo>) = COMMANDS.iter().partition(with_shift);
            for info in first.into_iter().chain(then) {
                let Shortcut::Key(shortcut) = info.shortcut else { continue };
                let is_possible = state.can(info.needs);
                // Keys that a text field or an open sheet uses itself.
                let is_taken =
                    shortcut.modifiers.is_none() && (is_typing || has_overlay) && info.command != Command::Help;
                if is_possible && !is_taken && input.consume_shortcut(&shortcut) {
                    messages.push(Message::Run(info.command));
                }
            }
            let asks_for_help = |event: &egui::Event| matches!(event, egui::Event::Text(text) if text == "?");
            if !is_typing && !has_overlay && input.events.iter().any(asks_for_help) {
                messages.push(Message::Run(Command::Help));
            }
        });
        messages
    }
}

/// egui's own fonts; arrows and box characters of names come from its monospaced one.
fn fonts() -> FontDefinitions {
    let mut fonts = FontDefinitions::default();
    let fallback = fonts.families.get(&FontFamily::Monospace).cloned().unwrap_or_default();
    if let Some(family) = fonts.families.get_mut(&FontFamily::Proportional) {
        family.extend(fallback.into_iter().filter(|name| !family.contains(name)).collect::<Vec<_>>());
    }
    fonts
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.frame_ui(ui);
    }

    fn clear_color(&self, _visuals: &egui::Visuals) -> [f32; 4] {
        self.model.state.theme.ui.background.to_normalized_gamma_f32()
    }
}
