//! The window before a trace is open, while one is on its way, and when one could not be opened.

use egui::{Align, Button, Frame, Layout, Margin, Panel, ProgressBar, RichText, Sense, Stroke, StrokeKind, Ui, vec2};
use gapless_timeline::theme::metrics;

use crate::command::{Command, info};
use crate::format::{bytes, shorten};
use crate::jobs::OpenProgress;
use crate::message::Message;
use crate::state::State;
use crate::view::top_bar::shortcut_text;

/// Lines below the top bar: what is on its way, what went wrong. They take no room when there is nothing to say.
pub fn notices_ui(ui: &mut Ui, state: &State, messages: &mut Vec<Message>) {
    let colors = &state.theme.ui;
    let frame = Frame::new().fill(colors.raised).inner_margin(Margin::symmetric(14, 8));
    if let Some(loading) = state.loading.as_ref().filter(|_| state.loaded.is_some()) {
        Panel::top("loading").frame(frame).show(ui, |ui| {
            ui.horizontal(|ui| {
                ui.colored_label(colors.text, format!("Opening {}", loading.what));
                progress_ui(ui, state, &loading.progress, 240.0);
                if ui.button("Cancel").clicked() {
                    messages.push(Message::CancelLoading);
                }
            });
        });
    }
    if let Some(failure) = &state.failure {
        Panel::top("failure").frame(frame).show(ui, |ui| {
            ui.with_layout(Layout::right_to_left(Align::Min), |ui| {
                if ui.button("Dismiss").clicked() {
                    messages.push(Message::DismissFailure);
                }
                ui.with_layout(Layout::top_down(Align::Min), |ui| {
                    ui.colored_label(colors.error, &failure.title);
                    let text = RichText::new(shorten(&failure.text, 2_000)).color(colors.text);
                    ui.add(egui::Label::new(text).wrap().selectable(true));
                });
            });
        });
    }
}

/// The middle of the window without a trace.
pub fn start_ui(ui: &mut Ui, state: &State, messages: &mut Vec<Message>) {
    let colors = &state.theme.ui;
    let room = ui.available_rect_before_wrap();
    let area = egui::Rect::from_center_size(room.center(), vec2(520.0_f32.min(room.width()), 300.0));
    ui.painter().rect(area, metrics::RADIUS, colors.panel, Stroke::new(1.0, colors.hairline), StrokeKind::Inside);
    ui.allocate_rect(room, Sense::hover());
    let inner = area.shrink(28.0);
    ui.scope_builder(egui::UiBuilder::new().max_rect(inner).layout(Layout::top_down(Align::Center)), |ui| match &state
        .loading
    {
        Some(loading) => {
            ui.add_space(40.0);
            ui.label(RichText::new(format!("Opening {}", loading.what)).size(metrics::TITLE_FONT).color(colors.text));
            ui.add_space(12.0);
            progress_ui(ui, state, &loading.progress, 360.0);
            ui.add_space(12.0);
            if ui.button("Cancel").clicked() {
                messages.push(Message::CancelLoading);
            }
        }
        None => {
            ui.add_space(8.0);
            ui.label(RichText::new("Drop trace files or a folder here").size(metrics::TITLE_FONT).color(colors.text));
            ui.add_space(4.0);
            let text = "PyTorch profiler traces, .json or .json.gz; a folder of ranks opens as one";
            ui.add(egui::Label::new(RichText::new(text).color(colors.dim)).wrap());
            ui.add_space(16.0);
            for command in [Command::OpenFiles, Command::OpenFolder, Command::OpenPath] {
                let Some(info) = info(command) else { continue };
                let button = Button::new(info.title).shortcut_text(shortcut_text(ui, info));
                if ui.add_sized([260.0, 28.0], button).accessible_name(info.title).clicked() {
                    messages.push(Message::Run(command));
                }
            }
            ui.add_space(16.0);
            ui.colored_label(colors.faint, "From a shell: gapless open trace.json.gz");
        }
    });
}

fn progress_ui(ui: &mut Ui, state: &State, progress: &OpenProgress, width: f32) {
    let (done, total) = progress.bytes();
    let share = if total == 0 { 0.0 } else { (done as f64 / total as f64).min(1.0) as f32 };
    let seconds = progress.began().elapsed().as_secs_f64();
    let mut text = progress.stage_text();
    if total > 0 {
        text.push_str(&format!(" · {} of {}", bytes(done), bytes(total)));
    }
    if total > 0 && done > 0 && seconds > 0.5 {
        text.push_str(&format!(" · {}/s", bytes((done as f64 / seconds) as u64)));
    }
    let bar = ProgressBar::new(share).desired_width(width).desired_height(6.0).fill(state.theme.ui.accent);
    ui.add(bar);
    ui.label(RichText::new(shorten(&text, 90)).size(metrics::TRACK_FONT).color(state.theme.ui.dim));
}
