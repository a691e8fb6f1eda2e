//! What the window shows. Nothing here changes the state: panels read it and return messages.

mod advice;
mod beside;
mod bottom;
mod breakdown;
mod collectives;
mod compare;
mod largest;
mod machine;
mod overlay;
mod path;
mod roofline;
mod selection;
mod start;
mod stragglers;
mod summary;
mod top_bar;
mod trust;
pub mod widgets;

use egui::{CentralPanel, Frame, Margin, Panel, Stroke, Ui};
use gapless_timeline::{Badge, Timeline, TimelineState};

use crate::message::Message;
use crate::state::{Loaded, State};

pub use summary::{slowest_worth_naming, waited_for};
pub use top_bar::SEARCH_ID;

/// Draws the whole window, with the timelines of the trace and of the recording that it is compared with. Returns whether
/// the trace's changed its own selection or range.
pub fn root_ui(
    ui: &mut Ui,
    state: &State,
    timeline: Option<&mut TimelineState>,
    base_timeline: Option<&mut TimelineState>,
    messages: &mut Vec<Message>,
) -> bool {
    let colors = &state.theme.ui;
    let bar = Frame::new().fill(colors.panel).inner_margin(Margin::symmetric(12, 0));
    Panel::top("top bar").exact_size(44.0).frame(bar).show_separator_line(true).show(ui, |ui| {
        top_bar::top_bar_ui(ui, state, messages);
    });
    start::notices_ui(ui, state, messages);

    let mut changed = false;
    match (&state.loaded, timeline) {
        (Some(loaded), Some(timeline)) => {
            let panel = Frame::new().fill(colors.panel);
            if state.shows_summary {
                // A narrow window has little room for time as it is.
                let width = if ui.available_width() < 1200.0 { 316.0 } else { 336.0 };
                Panel::right("summary").default_size(width).size_range(280.0..=520.0).frame(panel).show(ui, |ui| {
                    // Advice is never behind a menu; what it rests on stands below.
                    let height = ui.available_height() * 0.45;
                    Panel::bottom("figures").default_size(height).size_range(80.0..=900.0).frame(panel).show(
                        ui,
                        |ui| {
                            summary::summary_ui(ui, state, loaded, messages);
                        },
                    );
                    CentralPanel::default().frame(panel).show(ui, |ui| {
                        advice::advice_ui(ui, state, loaded, messages);
                    });
                });
            }
            if state.shows_bottom {
                let rows = loaded.trace.ranks().len().max(loaded.steps().len().min(6));
                // Few rows need little, and the timeline can use what they leave.
                let wanted = (100.0 + 24.0 * rows as f32).max(236.0);
                let height = (ui.available_height() * 0.36).clamp(180.0, 340.0).min(wanted);
                Panel::bottom("bottom").default_size(height).size_range(120.0..=700.0).frame(panel).show(ui, |ui| {
                    bottom::bottom_ui(ui, state, loaded, messages);
                });
            }
            let canvas = Frame::new().fill(colors.background);
            CentralPanel::default().frame(canvas).show(ui, |ui| {
                highlight_ui(ui, state, loaded, messages);
                changed = beside::timelines_ui(ui, state, loaded, timeline, base_timeline, messages);
            });
        }
        _ => {
            let canvas = Frame::new().fill(colors.background).inner_margin(Margin::same(24));
            CentralPanel::default().frame(canvas).show(ui, |ui| start::start_ui(ui, state, messages));
        }
    }
    overlay::overlays_ui(ui, state, messages);
    changed
}

/// A timeline, which keys move if it `has_keys`. Returns whether it changed its selection or range.
fn timeline_ui(ui: &mut Ui, state: &State, loaded: &Loaded, timeline: &mut TimelineState, has_keys: bool) -> bool {
    let badges = badges(loaded);
    let search = &loaded.search.result;
    let lit = loaded.highlight.as_ref().map(|highlight| &highlight.events).filter(|events| !events.is_empty());
    let matches = lit.or((!search.query.is_empty()).then_some(&search.events));
    let names = (lit.is_none() && !search.query.is_empty()).then_some(&search.matching_names);
    let overlays = loaded.highlight.as_ref().map_or(&[][..], |highlight| highlight.overlays.as_slice());
    let replayed = loaded.simulation.as_ref().and_then(|simulation| simulation.outcome.as_ref().ok());
    let simulated = replayed.map(|replayed| &*replayed.track);
    let has_overlay =
        state.palette.is_some() || state.path_field.is_some() || state.shows_help || state.check.is_some();
    let response = Timeline::new(&loaded.trace, &loaded.index, &state.theme)
        .matches(matches)
        .matching_names(names)
        .overlays(overlays)
        .badges(&badges)
        .simulated(simulated)
        .collective_waits(loaded.engine.as_ref().map(|engine| &engine.waits))
        .critical_path(loaded.engine.as_ref().map(|engine| &engine.layer))
        .keyboard(has_keys && !has_overlay)
        .show(ui, timeline);
    response.selection_changed || response.range_changed
}

/// What stands beside the names of ranks: who is slowest, and who is waited for.
fn badges(loaded: &Loaded) -> Vec<Badge> {
    let Some(view) = &loaded.view else { return Vec::new() };
    if let Some(engine) = loaded.engine.as_ref().filter(|engine| !engine.members.is_empty()) {
        let of_rank =
            |(rank, _)| engine.badge_of(rank).map(|(text, is_late)| Badge { rank, text, is_warning: is_late });
        let badges: Vec<Badge> = loaded.trace.rank_ids().filter_map(of_rank).collect();
        if !badges.is_empty() {
            return badges;
        }
    }
    let mut badges = Vec::new();
    if let Some(late) = waited_for(view) {
        badges.push(Badge { rank: late.rank, text: "waits least".to_owned(), is_warning: true });
    }
    if let Some(slowest) = slowest_worth_naming(view)
        && badges.iter().all(|badge| badge.rank != slowest.rank)
    {
        badges.push(Badge { rank: slowest.rank, text: "longest step".to_owned(), is_warning: true });
    }
    badges
}

/// The line that says what is lit up, with the way through its pieces.
fn highlight_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let Some(highlight) = &loaded.highlight else { return };
    let colors = &state.theme.ui;
    let frame = Frame::new().fill(colors.raised).inner_margin(Margin::symmetric(12, 4));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            let count = highlight.pieces.len() as u64;
            let text = match count {
                0 => format!("{}: nothing here", highlight.label),
                _ => format!(
                    "{} · {} in {}",
                    crate::format::shorten(&highlight.label, 80),
                    highlight.total(),
                    crate::format::counted(count, "piece", "pieces")
                ),
            };
            ui.colored_label(colors.text, text);
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                if widgets::quiet_button(ui, &state.theme, "Clear", "Clear the highlight").clicked() {
                    messages.push(Message::ClearHighlight);
                }
                if count > 0 {
                    if widgets::quiet_button(ui, &state.theme, "Next ›", "Next piece by length").clicked() {
                        messages.push(Message::StepHighlight(1));
                    }
                    if widgets::quiet_button(ui, &state.theme, "‹ Previous", "Previous piece by length").clicked() {
                        messages.push(Message::StepHighlight(-1));
                    }
                    let place = match highlight
                        .at
                        .and_then(|at| Some((at, highlight.pieces.get(*highlight.by_length.get(at)?)?)))
                    {
                        Some((at, piece)) => format!(
                            "{} of {} by length · {}",
                            crate::format::thousands(at as u64 + 1),
                            crate::format::thousands(count),
                            piece.span.duration()
                        ),
                        None => "longest first".to_owned(),
                    };
                    ui.colored_label(colors.dim, place);
                }
            });
        });
    });
    let rect = ui.min_rect();
    ui.painter().hline(rect.x_range(), rect.bottom(), Stroke::new(1.0, colors.hairline));
}
