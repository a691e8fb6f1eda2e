//! The advice: what to do, ranked by what it brings, always on the right.

use egui::{
    Button, Color32, FontId, Frame, Margin, Rect, RichText, Role, ScrollArea, Sense, Stroke, Ui, WidgetInfo, pos2, vec2,
};
use gapless_timeline::Theme;
use gapless_timeline::theme::{fade, metrics};
use gapless_trace::Duration;

use crate::advice::{AdviceCard, GainBand, Section};
use crate::engine::Engine;
use crate::format::{counted, in_text};
use crate::message::Message;
use crate::simulate::signed;
use crate::state::{Loaded, State};
use crate::table::paint_text;
use crate::view::machine::machine_ui;
use crate::view::widgets::{fact, title};

/// Draws the panel.
pub fn advice_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let colors = &state.theme.ui;
    Frame::new().inner_margin(Margin { left: 14, right: 14, top: 10, bottom: 6 }).show(ui, |ui| {
        ui.horizontal(|ui| {
            title(ui, &state.theme, "Advice");
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                match (&loaded.engine, &loaded.advice) {
                    (Some(engine), Some(cards)) => {
                        let per = if engine.has_steps { "of a step" } else { "of the recording" };
                        let found = cards.iter().filter(|card| card.section == Section::Finding).count();
                        let found = if found == 0 {
                            "no finding".to_owned()
                        } else {
                            counted(found as u64, "finding", "findings")
                        };
                        let text = format!("{found}, gains {per}");
                        ui.label(RichText::new(text).size(metrics::TRACK_FONT).color(colors.dim));
                    }
                    _ => {
                        ui.add(egui::Spinner::new().size(14.0));
                    }
                }
            });
        });
    });
    ScrollArea::vertical().id_salt("advice").auto_shrink([false, false]).show(ui, |ui| {
        Frame::new().inner_margin(Margin { left: 12, right: 12, top: 0, bottom: 10 }).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 4.0;
            match (&loaded.engine, &loaded.advice) {
                (Some(engine), Some(cards)) => cards_ui(ui, state, loaded, engine, cards, messages),
                _ => {
                    ui.colored_label(colors.dim, "Finding out what waits for what");
                }
            }
        });
    });
}

/// What the ticked cards and the sliders give together.
fn replayed_ui(ui: &mut Ui, state: &State, loaded: &Loaded) {
    let theme = &state.theme;
    let (text, color) = match loaded.simulation.as_ref().map(|simulation| &simulation.outcome) {
        Some(Ok(replayed)) => {
            let difference = signed(replayed.difference()).replace(' ', "\u{a0}");
            let (simulated, model) = (in_text(replayed.simulated), in_text(replayed.model));
            let low = figure(replayed.low.0, replayed.high.0).replace(' ', "\u{a0}");
            // Where all outlooks give one figure, it stands once.
            let is_one = replayed.low.to_string() == replayed.high.to_string();
            let range = if is_one { String::new() } else { format!(" ({low}–{})", in_text(replayed.high)) };
            let text = format!("Replayed: {simulated}{range}, {difference} of {model}");
            (text, theme.ui.accent)
        }
        Some(Err(reason)) => (format!("These cannot be replayed together. {reason}"), theme.ui.warning),
        None if state.asked.is_nothing() => return,
        None => {
            ui.horizontal(|ui| {
                ui.add(egui::Spinner::new().size(12.0));
                ui.colored_label(theme.ui.dim, "Replaying");
            });
            return;
        }
    };
    ui.add(egui::Label::new(RichText::new(text).color(color)).wrap());
}

fn cards_ui(
    ui: &mut Ui,
    state: &State,
    loaded: &Loaded,
    engine: &Engine,
    cards: &[AdviceCard],
    messages: &mut Vec<Message>,
) {
    let theme = &state.theme;
    if engine.trust.refusal().is_none() && !cards.is_empty() {
        machine_ui(ui, state, messages);
    }
    replayed_ui(ui, state, loaded);
    if let Some(reason) = engine.trust.refusal() {
        let text = format!("No predictions, since the model is too far from this recording. {reason}");
        ui.add(egui::Label::new(RichText::new(text).color(theme.ui.dim)).wrap());
    } else if cards.is_empty() {
        let text = "Nothing here would make a step shorter by half a percent";
        ui.add(egui::Label::new(RichText::new(text).color(theme.ui.dim)).wrap());
    }
    let highs = cards.iter().filter_map(|card| card.gain.as_ref().ok()).map(|gain| gain.high_ns);
    let most = highs.max().unwrap_or_default().max(1);
    let mut section = Section::Finding;
    for card in cards {
        if card.section != section {
            section = card.section;
            let text = match section {
                Section::Finding => "",
                Section::Sensitivity => "What a step is sensitive to: a quarter, half and all of a cause gone",
                Section::Info => "To know",
            };
            ui.add_space(6.0);
            ui.add(egui::Label::new(RichText::new(text).size(metrics::TRACK_FONT).color(theme.ui.dim)).wrap());
        }
        card_ui(ui, state, card, most, messages);
    }
    bounds_ui(ui, theme, engine);
}

fn card_ui(ui: &mut Ui, state: &State, card: &AdviceCard, most: i64, messages: &mut Vec<Message>) {
    let theme = &state.theme;
    let is_ticked = state.asked.ids.contains(&card.id);
    let line = if is_ticked { theme.ui.accent } else { theme.ui.hairline };
    let frame = Frame::new()
        .fill(theme.ui.raised)
        .stroke(Stroke::new(1.0, line))
        .corner_radius(metrics::RADIUS)
        .inner_margin(Margin::symmetric(10, 8));
    frame.show(ui, |ui| {
        ui.spacing_mut().item_spacing = vec2(6.0, 5.0);
        head_ui(ui, theme, card);
        match &card.gain {
            Ok(gain) => band_ui(ui, theme, *gain, most),
            Err(reason) => {
                let text = format!("No figure: {reason}");
                ui.add(egui::Label::new(RichText::new(text).size(metrics::BAR_FONT).color(theme.ui.faint)).wrap());
            }
        }
        let text = RichText::new(&card.paragraph).size(metrics::TRACK_FONT).color(theme.ui.dim);
        ui.add(egui::Label::new(text).wrap());
        ui.horizontal(|ui| {
            let (text, name) = if is_ticked {
                ("Simulated", format!("Stop simulating: {}", card.title))
            } else {
                ("Simulate", format!("Simulate: {}", card.title))
            };
            let small = |text: &str, color| RichText::new(text).size(metrics::TRACK_FONT).color(color);
            let color = if is_ticked { theme.ui.accent } else { theme.ui.text };
            let mut button = Button::new(small(text, color));
            if is_ticked {
                button = button.fill(theme.ui.accent_fill).stroke(Stroke::new(1.0, theme.ui.accent));
            }
            if !card.changes.is_empty() && named(ui.add(button), &name).clicked() {
                messages.push(Message::TickAdvice(card.id.clone()));
            }
            let name = format!("Show evidence: {}", card.title);
            let has_evidence = !card.pieces.is_empty();
            if has_evidence && named(ui.add(Button::new(small("Show evidence", theme.ui.text))), &name).clicked() {
                messages.push(Message::ShowEvidence(card.id.clone()));
            }
            let is_open = state.opened_advice.as_deref() == Some(card.id.as_str());
            let name = format!("Details: {}", card.title);
            let text = if is_open { "Less" } else { "Details" };
            let button = Button::new(small(text, theme.ui.dim)).frame_when_inactive(false);
            if named(ui.add(button), &name).clicked() {
                messages.push(Message::OpenAdvice(card.id.clone()));
            }
        });
        if state.opened_advice.as_deref() == Some(card.id.as_str()) {
            details_ui(ui, theme, card);
        }
    });
}

fn named(response: egui::Response, name: &str) -> egui::Response {
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, name));
    response
}

fn head_ui(ui: &mut Ui, theme: &Theme, card: &AdviceCard) {
    ui.horizontal_top(|ui| {
        let font = FontId::proportional(metrics::BAR_FONT);
        let tag = ui.painter().layout_no_wrap(card.tag.clone(), font, theme.ui.dim);
        let room = ui.available_width() - tag.size().x - 22.0;
        ui.allocate_ui(vec2(room, 16.0), |ui| {
            ui.set_width(room);
            ui.add(egui::Label::new(RichText::new(&card.title).color(theme.ui.text)).wrap());
        });
        let (rect, _) = ui.allocate_exact_size(tag.size() + vec2(12.0, 4.0), Sense::hover());
        ui.painter().rect_stroke(rect, 3.0, Stroke::new(1.0, theme.ui.hairline), egui::StrokeKind::Inside);
        ui.painter().galley(rect.min + vec2(6.0, 2.0), tag, theme.ui.dim);
    });
}

/// The gain: a band from low to high with a mark at what to expect, on a scale that all cards share.
fn band_ui(ui: &mut Ui, theme: &Theme, gain: GainBand, most: i64) {
    // What a step gets shorter by stands as what it changes by.
    let text = format!(
        "{} ({}–{})",
        signed(Duration(gain.mid_ns.saturating_neg())),
        figure(gain.low_ns, gain.high_ns),
        Duration(gain.high_ns)
    );
    let font = FontId::proportional(metrics::BODY_FONT);
    let galley = ui.painter().layout_no_wrap(text.clone(), font, theme.ui.accent);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 18.0), Sense::hover());
    let bar = Rect::from_min_max(
        pos2(rect.left(), rect.center().y - 4.0),
        pos2((rect.right() - galley.size().x - 10.0).max(rect.left() + 20.0), rect.center().y + 4.0),
    );
    let x = |ns: i64| bar.left() + bar.width() * (ns as f64 / most as f64).clamp(0.0, 1.0) as f32;
    let piece = |from: f32, to: f32| Rect::from_min_max(pos2(from, bar.top()), pos2(to, bar.bottom()));
    ui.painter().rect_filled(bar, 4.0, theme.ui.hairline);
    ui.painter().rect_filled(piece(bar.left(), x(gain.high_ns)), 4.0, fade(theme.ui.accent, 0.45));
    ui.painter().rect_filled(piece(bar.left(), x(gain.low_ns)), 4.0, theme.ui.accent);
    let mark: Color32 = theme.ui.text;
    ui.painter().rect_filled(Rect::from_center_size(pos2(x(gain.mid_ns), bar.center().y), vec2(2.0, 12.0)), 0.0, mark);
    let place = pos2(rect.right() - galley.size().x, rect.center().y - galley.size().y / 2.0);
    ui.painter().galley(place, galley, theme.ui.accent);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("Gain {text}")));
    response.on_hover_text("What a step would get shorter by: to expect, and from little of it to all of it");
}

/// The lower figure of a range, without its unit where the upper one has the same.
fn figure(low_ns: i64, high_ns: i64) -> String {
    let (low, high) = (Duration(low_ns).to_string(), Duration(high_ns).to_string());
    let unit = |text: &str| text.split_once(' ').map(|(_, unit)| unit.to_owned());
    match low.split_once(' ') {
        Some((number, _)) if unit(&low) == unit(&high) => number.to_owned(),
        _ => low,
    }
}

fn details_ui(ui: &mut Ui, theme: &Theme, card: &AdviceCard) {
    if let Some(example) = &card.example {
        let code = Frame::new().fill(theme.ui.background).corner_radius(4.0).inner_margin(Margin::symmetric(8, 6));
        code.show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.add(
                egui::Label::new(RichText::new(example).monospace().size(metrics::BAR_FONT).color(theme.ui.text))
                    .wrap(),
            );
        });
    }
    ui.label(RichText::new("Assumed").size(metrics::BAR_FONT).color(theme.ui.faint));
    for assumption in &card.assumptions {
        let text = RichText::new(assumption).size(metrics::BAR_FONT).color(theme.ui.dim);
        ui.add(egui::Label::new(text).wrap());
    }
}

/// What the recording would get shorter by without one cause, each by replay.
fn bounds_ui(ui: &mut Ui, theme: &Theme, engine: &Engine) {
    let Some(bounds) = &engine.bounds else { return };
    ui.add_space(6.0);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 18.0), Sense::hover());
    let font = FontId::proportional(metrics::TRACK_FONT);
    paint_text(ui, rect, false, "At most, over the whole recording", font.clone(), theme.ui.text);
    paint_text(ui, rect, true, &Duration(bounds.model_ns).to_string(), font, theme.ui.dim);
    ui.spacing_mut().item_spacing.y = 0.0;
    for &(bound, ns) in &bounds.bounds {
        let gain = bounds.model_ns.saturating_sub(ns).max(0);
        if gain > 0 {
            fact(ui, theme, bound.label(), &format!("−{}", Duration(gain)));
        }
    }
}
