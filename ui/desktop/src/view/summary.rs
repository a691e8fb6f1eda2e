//! The panel on the right: how long a step takes, what fills it, which rank is slowest, what import had to say.

use egui::{FontId, Rect, RichText, Role, ScrollArea, Sense, Ui, WidgetInfo, pos2, vec2};
use gapless_timeline::theme::{metrics, mix};
use gapless_trace::{Duration, Severity, WarningKind};

use crate::BottomTab;
use crate::format::{counted, duration_f64, exact, in_text, percent, shorten};
use crate::message::Message;
use crate::part::Part;
use crate::state::{Loaded, RankRow, State, Window, WindowView};
use crate::view::largest;
use crate::view::widgets::{fill_bar, hairline, link, link_at_right, section, swatch, title};

/// Size of the one number that matters.
const HEADLINE_FONT: f32 = 24.0;
/// A rank is named as slower or as waited for only when the difference is this part of the step.
const WORTH_NAMING: f64 = 0.005;
/// A difference in waiting is spoken of from this part of the step on.
const WAIT_WORTH_NAMING: f64 = 0.05;

/// The slowest rank, if it is slower by enough to speak of.
#[must_use]
pub fn slowest_worth_naming(view: &WindowView) -> Option<&RankRow> {
    let slowest = view.slowest()?;
    let fastest = view.rows.iter().map(|row| row.partition.duration_ns).min()?;
    let behind = slowest.partition.duration_ns - fastest;
    (behind as f64 > WORTH_NAMING * slowest.partition.duration_ns as f64).then_some(slowest)
}

/// The rank with the least exposed communication, if the others have much more of it. Ranks that arrive early wait
/// inside their collectives, so the one that waits least tends to be the one that the others wait for.
#[must_use]
pub fn waited_for(view: &WindowView) -> Option<&RankRow> {
    let exposed = |row: &&RankRow| row.exposed_communication().0;
    let least = view.rows.iter().min_by_key(exposed)?;
    let most = view.rows.iter().max_by_key(exposed)?;
    let difference = exposed(&most) - exposed(&least);
    let communicates = exposed(&least) + least.partition.hidden_comm_ns > 0;
    (communicates && difference as f64 > WAIT_WORTH_NAMING * least.partition.duration_ns as f64).then_some(least)
}

/// Draws the panel.
pub fn summary_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
        ui.spacing_mut().item_spacing = vec2(8.0, 4.0);
        match &loaded.view {
            Some(view) => {
                section(ui, |ui| headline_ui(ui, state, loaded, view, messages));
                if loaded.steps().len() > 1 {
                    section(ui, |ui| steps_ui(ui, state, loaded, messages));
                }
                hairline(ui, &state.theme);
                let is_measured = loaded.has_device_work() || view.rows.iter().any(|row| row.host.is_some());
                section(ui, |ui| {
                    if is_measured {
                        parts_ui(ui, state, loaded, view, messages);
                    }
                    if !loaded.has_device_work() {
                        no_device_ui(ui, state, is_measured);
                    }
                });
                hairline(ui, &state.theme);
                section(ui, |ui| largest::largest_ui(ui, state, loaded, 8, messages));
            }
            None => section(ui, |ui| {
                title(ui, &state.theme, "Where the time goes");
                ui.horizontal(|ui| {
                    ui.add(egui::Spinner::new().size(14.0));
                    ui.colored_label(state.theme.ui.dim, "Working it out; the timeline can be used already");
                });
            }),
        }
        hairline(ui, &state.theme);
        section(ui, |ui| warnings_ui(ui, state, loaded, messages));
    });
}

fn headline_ui(ui: &mut Ui, state: &State, loaded: &Loaded, view: &WindowView, messages: &mut Vec<Message>) {
    let colors = &state.theme.ui;
    ui.horizontal(|ui| {
        title(ui, &state.theme, "Where the time goes");
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            ui.add(egui::Label::new(RichText::new(&view.title).color(colors.dim)).truncate());
        });
    });
    let longest = view.rows.iter().map(|row| row.partition.duration_ns).max().unwrap_or_default();
    ui.horizontal(|ui| {
        let name = format!("{} takes {}", view.title, Duration(longest));
        let number = link(ui, &Duration(longest).to_string(), HEADLINE_FONT, colors.text, &name);
        if number.on_hover_text(exact(Duration(longest))).clicked() {
            messages.push(Message::ShowSpan(None, view.hull));
        }
        let what = match loaded.window {
            Window::Step(_) => "is how long this step takes",
            Window::Whole => "is how long the recording lasts",
            Window::Range(_) => "is the selected range",
        };
        ui.colored_label(colors.dim, what);
    });
    if view.rows.len() < 2 || matches!(loaded.window, Window::Range(_)) {
        return;
    }
    match slowest_worth_naming(view) {
        Some(slowest) => {
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing.x = 4.0;
                rank_link(ui, state, slowest, messages);
                ui.colored_label(colors.dim, "takes longest,");
                if let Some(fastest) = view.rows.iter().min_by_key(|row| row.partition.duration_ns) {
                    rank_link(ui, state, fastest, messages);
                    let text = format!("only {}", in_text(Duration(fastest.partition.duration_ns)));
                    ui.colored_label(colors.dim, text);
                }
            });
        }
        None => {
            ui.colored_label(colors.dim, format!("All {} ranks take about equally long", view.rows.len()));
        }
    }
    if let Some(least) = waited_for(view)
        && let Some(most) = view.rows.iter().max_by_key(|row| row.exposed_communication())
    {
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = 4.0;
            rank_link(ui, state, least, messages);
            ui.colored_label(
                colors.dim,
                format!(
                    "waits least in communication, {} against {} on {}: probably the late one",
                    in_text(least.exposed_communication()),
                    in_text(most.exposed_communication()),
                    most.label.replace(' ', "\u{a0}"),
                ),
            );
        });
    }
}

fn rank_link(ui: &mut Ui, state: &State, row: &RankRow, messages: &mut Vec<Message>) {
    let name = format!("Go to {}", row.label);
    if link(ui, &row.label, metrics::BODY_FONT, state.theme.ui.text, &name).clicked() {
        messages.push(Message::ShowSpan(Some(row.rank), row.span));
    }
}

fn parts_ui(ui: &mut Ui, state: &State, loaded: &Loaded, view: &WindowView, messages: &mut Vec<Message>) {
    let colors = &state.theme.ui;
    let whole = view.mean(|partition| partition.duration_ns);
    let (bar, _) = ui.allocate_exact_size(vec2(ui.available_width(), 18.0), Sense::hover());
    let mut left = bar.left();
    for &part in loaded.parts() {
        let share = if whole > 0.0 { view.mean_ns(part) / whole } else { 0.0 };
        let right = (left + bar.width() * share as f32).min(bar.right());
        let piece = Rect::from_min_max(pos2(left, bar.top()), pos2(right, bar.bottom()));
        fill_bar(ui, &state.theme, piece, part.color(&state.theme), part.is_waiting());
        left = right;
    }
    ui.add_space(metrics::SPACE);
    for &part in loaded.parts() {
        let mean = view.mean_ns(part);
        if mean > 0.0 {
            part_ui(ui, state, view, part, mean, whole, messages);
        }
    }
    let hidden = view.mean(|partition| partition.hidden_comm_ns);
    let exposed = view.mean(|partition| partition.exposed_comm_ns);
    if hidden + exposed > 0.0 {
        ui.add_space(metrics::SPACE);
        let share = percent(hidden / (hidden + exposed));
        let text = if hidden > 0.0 {
            format!("{share} of communication ({}) runs under compute", duration_f64(hidden))
        } else {
            "No communication runs under compute".to_owned()
        };
        if link(ui, &text, metrics::TRACK_FONT, colors.dim, &text).clicked() {
            messages.push(Message::ShowHiddenCommunication);
        }
    }
    if view.rows.len() > 1 {
        let text = format!("Means over {} ranks; click a number to light up its time", view.rows.len());
        ui.add(egui::Label::new(RichText::new(text).size(metrics::BAR_FONT).color(colors.faint)).wrap());
    } else {
        let text = "Click a number to light up its time";
        ui.add(egui::Label::new(RichText::new(text).size(metrics::BAR_FONT).color(colors.faint)).wrap());
    }
}

/// What to say where no device was recorded: that it is idle all the time would be true and mislead.
fn no_device_ui(ui: &mut Ui, state: &State, is_split: bool) {
    let colors = &state.theme.ui;
    let advice = "if the job ran on a GPU, record with device activity (in PyTorch, ProfilerActivity.CUDA)";
    let (text, size, color) = if is_split {
        (
            format!("The main thread's time: no device work is in this recording; {advice}"),
            metrics::BAR_FONT,
            colors.faint,
        )
    } else {
        ui.label(RichText::new("No device work in this recording").color(colors.text));
        (format!("It has no kernels and copies to split the time by; {advice}"), metrics::TRACK_FONT, colors.dim)
    };
    ui.add(egui::Label::new(RichText::new(text).size(size).color(color)).wrap());
}

fn part_ui(
    ui: &mut Ui,
    state: &State,
    view: &WindowView,
    part: Part,
    mean: f64,
    whole: f64,
    messages: &mut Vec<Message>,
) {
    let colors = &state.theme.ui;
    let color = part.color(&state.theme);
    ui.horizontal(|ui| {
        swatch(ui, &state.theme, color, part.is_waiting());
        ui.label(RichText::new(part.label()).color(colors.text)).on_hover_text(part.meaning());
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let share = if whole > 0.0 { mean / whole } else { 0.0 };
            let text = percent(share);
            let name = format!("{}: {text} of the step", part.label());
            if link_at_right(ui, 56.0, &text, metrics::BODY_FONT, colors.dim, &name).clicked() {
                messages.push(Message::ShowPart(None, part));
            }
            let time = duration_f64(mean);
            let name = format!("{}: {time}", part.label());
            let number = link_at_right(ui, 64.0, &time.to_string(), metrics::BODY_FONT, colors.text, &name);
            if number.on_hover_text(exact(time)).clicked() {
                messages.push(Message::ShowPart(None, part));
            }
        });
    });
    // Where ranks differ a lot, the mean alone would mislead.
    let time = |row: &&RankRow| row.time(part);
    let (Some(least), Some(most)) = (view.rows.iter().min_by_key(time), view.rows.iter().max_by_key(time)) else {
        return;
    };
    let spread = (time(&most) - time(&least)).0 as f64;
    if view.rows.len() > 1 && spread > 0.2 * mean && mean > 0.02 * whole {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 4.0;
            ui.add_space(14.0);
            for (row, separator) in [(least, "to"), (most, "")] {
                let text = format!("{} on {}", time(&row), row.label);
                let name = format!("{}: {text}", part.label());
                if link(ui, &text, metrics::BAR_FONT, colors.dim, &name).clicked() {
                    messages.push(Message::ShowPart(Some(row.rank), part));
                }
                if !separator.is_empty() {
                    ui.label(RichText::new(separator).size(metrics::BAR_FONT).color(colors.faint));
                }
            }
        });
    }
}

/// All steps as bars, so that one that stands out is seen.
fn steps_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let steps = loaded.steps();
    let colors = &state.theme.ui;
    ui.horizontal(|ui| {
        title(ui, &state.theme, "Steps");
        let shortest = steps.iter().map(|step| step.duration_ns).min().unwrap_or_default();
        let longest = steps.iter().map(|step| step.duration_ns).max().unwrap_or_default();
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let text = format!("{} · {} to {}", steps.len(), Duration(shortest), Duration(longest));
            ui.colored_label(colors.dim, text);
        });
    });
    let longest = steps.iter().map(|step| step.duration_ns).max().unwrap_or_default().max(1);
    let (area, _) = ui.allocate_exact_size(vec2(ui.available_width(), 48.0), Sense::hover());
    // With more steps than pixels, one bar stands for several and shows the longest of them.
    let bars = steps.len().min((area.width() / 4.0) as usize).max(1);
    let slot = (area.width() / bars as f32).min(34.0);
    let width = (slot - 2.0).max(2.0);
    for bar in 0..bars {
        let from = bar * steps.len() / bars;
        let to = ((bar + 1) * steps.len() / bars).max(from + 1);
        let range = steps.get(from..to).unwrap_or_default();
        let Some((offset, step)) = range.iter().enumerate().max_by_key(|(_, step)| step.duration_ns) else { continue };
        let place = from + offset;
        let left = area.left() + slot * bar as f32;
        let hit = Rect::from_min_max(pos2(left, area.top()), pos2(left + slot, area.bottom()));
        let response = ui.interact(hit, ui.scope_id().with(("step", bar)), Sense::click());
        let height = (area.height() * step.duration_ns as f32 / longest as f32).max(1.0);
        let rect = Rect::from_min_max(pos2(left, area.bottom() - height), pos2(left + width, area.bottom()));
        let is_chosen = match loaded.window {
            Window::Step(chosen) => (from..to).contains(&chosen),
            Window::Whole | Window::Range(_) => false,
        };
        let color = if is_chosen {
            colors.accent
        } else if response.hovered() {
            mix(colors.waiting, colors.text, 0.4)
        } else {
            mix(colors.waiting, colors.text, 0.1)
        };
        ui.painter().rect_filled(rect, 1.0, color);
        let text = format!("{}: {}", step.name, Duration(step.duration_ns));
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &text));
        if response.on_hover_text(text).clicked() {
            messages.push(Message::ChooseWindow(Window::Step(place)));
        }
    }
}

fn warnings_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let colors = &state.theme.ui;
    let warnings = loaded.trace.warnings().sorted();
    ui.horizontal(|ui| {
        title(ui, &state.theme, "Import");
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let text = match loaded.trace.warnings().lost() {
                _ if warnings.is_empty() => "nothing odd".to_owned(),
                0 => "nothing lost".to_owned(),
                lost => format!("{} lost", crate::format::thousands(lost)),
            };
            ui.colored_label(colors.dim, text);
        });
    });
    // One line for each reason, over all files.
    let mut kinds: Vec<WarningKind> = Vec::new();
    for warning in &warnings {
        if !kinds.contains(&warning.kind) {
            kinds.push(warning.kind);
        }
    }
    for &kind in kinds.iter().take(3) {
        let color = match kind.severity() {
            Severity::Lost => colors.warning,
            Severity::Repaired | Severity::Note => colors.dim,
        };
        let count = loaded.trace.warnings().count(kind);
        let text = format!("{} × {}", crate::format::thousands(count), kind.text());
        let text = RichText::new(shorten(&text, 160)).size(metrics::TRACK_FONT).color(color);
        ui.add(egui::Label::new(text).wrap());
    }
    if !warnings.is_empty() {
        let text = format!("All {}", counted(warnings.len() as u64, "warning", "warnings"));
        if link(ui, &text, metrics::TRACK_FONT, colors.text, &text).clicked() {
            messages.push(Message::ShowTab(BottomTab::Warnings));
        }
    }
}

/// The font of numbers in bars.
#[must_use]
pub fn bar_font() -> FontId {
    FontId::proportional(metrics::BAR_FONT)
}
