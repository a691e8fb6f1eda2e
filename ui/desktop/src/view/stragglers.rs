//! Which ranks come late to their collectives, and whether that is more than chance.

use egui::{FontId, Rect, RichText, Role, ScrollArea, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};
use gapless_analysis::{BETWEEN_OPERATORS, DelayKind, LatenessVerdict};
use gapless_timeline::display_name;
use gapless_timeline::theme::{fade, metrics};
use gapless_trace::Duration;

use crate::engine::Engine;
use crate::engine_rows::{LATENESS, LatenessRow};
use crate::format::duration_f64;
use crate::message::Message;
use crate::state::{Loaded, State};
use crate::table::{TableId, TableView, paint_text};

const ROW: f32 = 20.0;
const LABEL: f32 = 56.0;

/// Draws the tab.
pub fn stragglers_ui(ui: &mut Ui, state: &State, loaded: &Loaded, engine: &Engine, messages: &mut Vec<Message>) {
    let theme = &state.theme;
    let room = ui.available_rect_before_wrap();
    let chart = Rect::from_min_max(pos2(room.left() + room.width() * 0.66, room.top()), room.max);
    let left = Rect::from_min_max(room.min, pos2(chart.left(), room.bottom()));
    ui.scope_builder(egui::UiBuilder::new().max_rect(left.shrink2(vec2(8.0, 6.0))).id_salt("lateness"), |ui| {
        ui.set_clip_rect(left.intersect(ui.clip_rect()));
        ui.horizontal(|ui| {
            ui.add_space(6.0);
            ui.add(egui::Label::new(RichText::new(sentence(engine)).color(theme.ui.text)).truncate());
        });
        let clicks = |row: &LatenessRow| Message::ShowLateness(row.lateness.rank);
        TableView {
            id: TableId::Lateness,
            columns: LATENESS,
            rows: &engine.lateness,
            order: loaded.orders.get(TableId::Lateness.index()).map_or(&[][..], Vec::as_slice),
            sort: state.sorts.get(TableId::Lateness.index()).copied().unwrap_or_default(),
            mark: &|row| {
                Some(match row.lateness.verdict {
                    LatenessVerdict::Late => theme.ui.warning,
                    LatenessVerdict::NotLate => theme.ui.good,
                    LatenessVerdict::TooFew => theme.ui.faint,
                })
            },
            click: &clicks,
            without: &[],
            empty: "No collectives of several ranks that count: first and last of each group only show when recording began \
                    and ended",
        }
        .show(ui, theme, messages);
    });
    ui.painter().vline(chart.left(), chart.y_range().shrink(12.0), Stroke::new(1.0, theme.ui.hairline));
    ui.scope_builder(egui::UiBuilder::new().max_rect(chart.shrink2(vec2(14.0, 8.0))).id_salt("lateness chart"), |ui| {
        ui.set_clip_rect(chart.intersect(ui.clip_rect()));
        let rows = engine.lateness.len() as f32 * ROW + 40.0;
        let height = if engine.delay_costs.is_empty() { f32::INFINITY } else { rows.min(ui.available_height() * 0.5) };
        chart_ui(ui, state, engine, height, messages);
        costs_ui(ui, state, loaded, engine, messages);
    });
    ui.advance_cursor_after_rect(room);
}

fn sentence(engine: &Engine) -> String {
    let late: Vec<&LatenessRow> =
        engine.lateness.iter().filter(|row| row.lateness.verdict == LatenessVerdict::Late).collect();
    match late.as_slice() {
        [] if engine.lateness.is_empty() => "Nothing to compare ranks by".to_owned(),
        [] if engine.lateness.iter().all(|row| row.lateness.verdict == LatenessVerdict::TooFew) => {
            "Too short to call any rank late: that takes three steps with collectives that count".to_owned()
        }
        [] => "No rank is late by more than three standard deviations and a hundredth of a step".to_owned(),
        [one] => format!("{} is late: it costs about {} a step", one.label, Duration(one.lateness.cost_per_step_ns)),
        several => {
            let names: Vec<&str> = several.iter().map(|row| row.label.as_str()).collect();
            format!("{} are late", names.join(", "))
        }
    }
}

/// What late ranks did for longer than others.
fn costs_ui(ui: &mut Ui, state: &State, loaded: &Loaded, engine: &Engine, messages: &mut Vec<Message>) {
    const TIME: f32 = 66.0;
    if engine.delay_costs.is_empty() {
        return;
    }
    let theme = &state.theme;
    ui.add_space(4.0);
    let title = RichText::new("What made ranks late, and how long others waited for it").color(theme.ui.text);
    ui.add(egui::Label::new(title).truncate());
    ui.spacing_mut().item_spacing.y = 0.0;
    let rows = &engine.delay_costs;
    let scroll = ScrollArea::vertical().id_salt("what made ranks late").auto_shrink([false, false]);
    scroll.show_rows(ui, ROW, rows.len(), |ui, range| {
        for cost in rows.get(range).unwrap_or_default() {
            let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
            if response.hovered() || response.has_focus() {
                ui.painter().rect_filled(rect, 3.0, theme.ui.hover);
            }
            let font = FontId::proportional(metrics::BAR_FONT);
            let label = loaded.trace.rank(cost.rank).map(gapless_trace::Rank::label).unwrap_or_default();
            let cut = |from: f32, to: f32| Rect::from_min_max(pos2(from, rect.top()), pos2(to, rect.bottom()));
            let (names, times) = (rect.left() + LABEL, rect.right() - TIME);
            paint_text(ui, cut(rect.left(), names), false, &label, font.clone(), theme.ui.dim);
            let what = cost.path.rsplit(" > ").next().unwrap_or_default();
            let name = display_name(what);
            let text = if cost.kind == DelayKind::Host { format!("thread: {name}") } else { name.to_string() };
            paint_text(ui, cut(names, times), false, &text, font.clone(), theme.ui.text);
            let time = Duration(cost.charged_ns).to_string();
            paint_text(ui, cut(times, rect.right()), true, &time, font, theme.ui.text);
            let sentence = format!("{label} took longer for {text}: others wait {time}");
            response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &sentence));
            let response = response.on_hover_ui(|ui| {
                ui.set_max_width(520.0);
                ui.label(cost.path.as_str());
                let collectives = crate::format::counted(cost.collectives, "collective", "collectives");
                ui.colored_label(theme.ui.dim, format!("Delayed {collectives}; others waited {time} in all"));
                if cost.indirect_ns > 0 {
                    let indirect = Duration(cost.indirect_ns);
                    let text = format!("{indirect} of it for another rank, which this one had held up");
                    ui.colored_label(theme.ui.dim, text);
                }
            });
            if response.clicked() {
                messages.push(if what == BETWEEN_OPERATORS {
                    Message::ShowLateness(cost.rank)
                } else {
                    Message::ShowName(Some(cost.rank), what.to_owned())
                });
            }
        }
    });
}

/// Lateness of each rank with three standard deviations to both sides.
fn chart_ui(ui: &mut Ui, state: &State, engine: &Engine, height: f32, messages: &mut Vec<Message>) {
    let theme = &state.theme;
    ui.label(RichText::new("Against the median of the others").color(theme.ui.text));
    let reach = |row: &LatenessRow| row.lateness.lateness_ns.abs() + 3.0 * row.lateness.error_ns;
    let most = engine.lateness.iter().map(reach).filter(|reach| reach.is_finite()).fold(1.0, f64::max);
    ui.spacing_mut().item_spacing.y = 0.0;
    let scroll =
        ScrollArea::vertical().id_salt("lateness of ranks").max_height(height).auto_shrink([false, height.is_finite()]);
    scroll.show_rows(ui, ROW, engine.lateness.len(), |ui, range| {
        for row in engine.lateness.get(range).unwrap_or_default() {
            let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
            if response.hovered() || response.has_focus() {
                ui.painter().rect_filled(rect, 3.0, theme.ui.hover);
            }
            let font = FontId::proportional(metrics::BAR_FONT);
            let name = Rect::from_min_max(rect.min, pos2(rect.left() + LABEL, rect.bottom()));
            paint_text(ui, name, false, &row.label, font, theme.ui.dim);
            let plot = Rect::from_min_max(
                pos2(rect.left() + LABEL, rect.top() + 4.0),
                pos2(rect.right() - 4.0, rect.bottom() - 4.0),
            );
            let x = |ns: f64| plot.center().x + plot.width() / 2.0 * (ns / most) as f32;
            let lateness = &row.lateness;
            let color = match lateness.verdict {
                LatenessVerdict::Late => theme.ui.warning,
                LatenessVerdict::NotLate => theme.ui.good,
                LatenessVerdict::TooFew => theme.ui.dim,
            };
            let (zero, end) = (x(0.0), x(lateness.lateness_ns));
            let bar = Rect::from_min_max(
                pos2(zero.min(end), plot.top()),
                pos2(zero.max(end).max(zero.min(end) + 1.0), plot.bottom()),
            );
            ui.painter().rect_filled(bar, 1.0, fade(color, 0.6));
            let error = 3.0 * lateness.error_ns;
            if error.is_finite() {
                let (low, high) = (x(lateness.lateness_ns - error), x(lateness.lateness_ns + error));
                ui.painter().hline(low..=high, plot.center().y, Stroke::new(1.5, theme.ui.text));
                for at in [low, high] {
                    ui.painter().vline(
                        at,
                        plot.center().y - 3.0..=plot.center().y + 3.0,
                        Stroke::new(1.5, theme.ui.text),
                    );
                }
            }
            ui.painter().vline(zero, rect.y_range(), Stroke::new(1.0, theme.ui.hairline));
            let text = format!(
                "{} is late by {} ± {}",
                row.label,
                duration_f64(lateness.lateness_ns),
                duration_f64(lateness.error_ns)
            );
            response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &text));
            if response.on_hover_text(format!("{text}; whiskers are three standard deviations")).clicked() {
                messages.push(Message::ShowLateness(lateness.rank));
            }
        }
    });
}
