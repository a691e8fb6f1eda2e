//! The window before a trace is open, while one is on its way, and when one could not be opened.

use egui::{Align, Button, Frame, Layout, Margin, Panel, ProgressBar, RichText, Sense, Stroke, StrokeKind, Ui, vec2};
use gapless_timeline::theme::metrics;

use crate::command::{Command, info};
use crate::format::{bytes, shorten};
use crate::jobs::OpenProgress;
use crate::message::Message;
use crate::state::State;
use crate::view::top_bar::shortcut_text;
use crate::view::widgets::{link, title};

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
    const OPEN: f32 = 276.0;
    const GAP: f32 = 16.0;
    let width = 560.0_f32.min(room.width());
    let record = record_height(state);
    // A low window has room for the first card only; the menu has the rest.
    let shows_record = state.loading.is_none() && room.height() >= OPEN + GAP + record;
    let height = if shows_record { OPEN + GAP + record } else { OPEN };
    let both = egui::Rect::from_center_size(room.center(), vec2(width, height));
    let area = egui::Rect::from_min_size(both.min, vec2(width, OPEN));
    if shows_record {
        let card = egui::Rect::from_min_max(egui::pos2(both.left(), both.bottom() - record), both.max);
        ui.painter().rect(card, metrics::RADIUS, colors.panel, Stroke::new(1.0, colors.hairline), StrokeKind::Inside);
        ui.scope_builder(egui::UiBuilder::new().max_rect(card.shrink2(vec2(28.0, 16.0))), |ui| {
            record_ui(ui, state, messages);
        });
    }
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
            let text =
                "Traces of PyTorch, JAX, Nsight Systems, rocprof, Perfetto, perf; a folder of ranks opens as one";
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

const COMMAND_ROW: f32 = 46.0;

fn record_height(state: &State) -> f32 {
    132.0 + COMMAND_ROW * state.record_commands.len() as f32
}

/// The commands that record, and what they do.
fn record_ui(ui: &mut Ui, state: &State, messages: &mut Vec<Message>) {
    let colors = &state.theme.ui;
    ui.spacing_mut().item_spacing.y = 4.0;
    ui.horizontal(|ui| {
        title(ui, &state.theme, "Record a job");
        if let Some(check) = info(Command::CheckMachine).filter(|info| state.can(info.needs)) {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if link(ui, check.title, metrics::BODY_FONT, colors.accent, check.title).clicked() {
                    messages.push(Message::Run(check.command));
                }
            });
        }
    });
    let text = "Steps, operators, communication and Python of every process, with nothing changed in the job. It leaves \
                a folder that opens here, also while it grows";
    ui.add(egui::Label::new(RichText::new(text).color(colors.dim)).wrap());
    ui.add_space(4.0);
    for line in &state.record_commands {
        ui.label(RichText::new(line.job).size(metrics::TRACK_FONT).color(colors.faint));
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 26.0), Sense::hover());
        ui.painter().rect_filled(rect, 4.0, colors.raised);
        let button =
            egui::Rect::from_min_max(egui::pos2(rect.right() - 58.0, rect.top() + 2.0), rect.max - vec2(2.0, 2.0));
        let text = egui::Rect::from_min_max(rect.min + vec2(8.0, 0.0), egui::pos2(button.left() - 8.0, rect.bottom()));
        let font = egui::FontId::monospace(metrics::TRACK_FONT);
        let galley = ui.painter().layout_no_wrap(line.command.clone(), font, colors.text);
        let at = egui::pos2(text.left(), text.center().y - galley.size().y / 2.0);
        ui.painter().with_clip_rect(text).galley(at, galley, colors.text);
        let is_copied = state.copied.as_ref() == Some(&line.command);
        let copy = Button::new(if is_copied { "Copied" } else { "Copy" });
        if ui.put(button, copy).accessible_name(format!("Copy {}", line.command)).clicked() {
            messages.push(Message::Copy(line.command.clone()));
        }
    }
    ui.add_space(2.0);
    let text = "On cluster nodes use a gapless that was built with --no-default-features: it needs no window library";
    ui.add(egui::Label::new(RichText::new(text).size(metrics::BAR_FONT).color(colors.faint)).wrap());
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
