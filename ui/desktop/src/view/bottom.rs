//! The panel at the bottom: tabs with the selection, the breakdown, tables and warnings.

use egui::{Align, Button, Layout, Popup, Rect, RichText, Role, ScrollArea, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};
use gapless_analysis::WorkClass;
use gapless_timeline::theme::metrics;
use gapless_trace::{EventKind, Severity};

use crate::BottomTab;
use crate::format::thousands;
use crate::message::Message;
use crate::state::{Loaded, State};
use crate::table::{Sort, TableId, TableView, paint_text};
use crate::tables::{COLLECTIVES, COPIES, KERNELS, OPERATORS};
use crate::view::widgets::{dropdown_button, hairline};
use crate::view::{breakdown, collectives, compare, path, roofline, selection, stragglers};

const TAB_HEIGHT: f32 = 32.0;

/// Draws the panel.
pub fn bottom_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    // The panel keeps its height whatever the tab holds.
    ui.set_min_height(ui.available_height());
    ui.spacing_mut().item_spacing.y = 0.0;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        ui.add_space(8.0);
        tabs_ui(ui, state, loaded, messages);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add_space(14.0);
            match state.tab {
                BottomTab::Kernels | BottomTab::Operators | BottomTab::Transfers | BottomTab::Roofline => {
                    rank_chooser_ui(ui, state, loaded, messages);
                }
                BottomTab::Breakdown | BottomTab::Path => {
                    let title = loaded.view.as_ref().map_or("", |view| view.title.as_str());
                    ui.add(egui::Label::new(RichText::new(title).color(state.theme.ui.dim)).truncate());
                }
                BottomTab::Selection
                | BottomTab::Warnings
                | BottomTab::Collectives
                | BottomTab::Stragglers
                | BottomTab::Compare => {}
            }
        });
    });
    hairline(ui, &state.theme);
    ui.spacing_mut().item_spacing.y = metrics::SPACE;
    match state.tab {
        BottomTab::Selection => selection::selection_ui(ui, state, loaded, messages),
        BottomTab::Breakdown => match &loaded.view {
            Some(view) => breakdown::breakdown_ui(ui, state, loaded, view, messages),
            None => waiting_ui(ui, state),
        },
        BottomTab::Path => match &loaded.engine {
            Some(_) => path::path_ui(ui, state, loaded, messages),
            None => waiting_ui(ui, state),
        },
        BottomTab::Collectives => match &loaded.engine {
            Some(engine) => collectives::collectives_ui(ui, state, loaded, engine, messages),
            None => waiting_ui(ui, state),
        },
        BottomTab::Stragglers => match &loaded.engine {
            Some(engine) => stragglers::stragglers_ui(ui, state, loaded, engine, messages),
            None => waiting_ui(ui, state),
        },
        BottomTab::Roofline => match &loaded.roofline {
            Some(view) => roofline::roofline_ui(ui, state, loaded, view, messages),
            None => waiting_ui(ui, state),
        },
        BottomTab::Compare => compare::compare_ui(ui, state, messages),
        BottomTab::Kernels => tables_ui(ui, state, loaded, &[TableId::Kernels], messages),
        BottomTab::Operators => tables_ui(ui, state, loaded, &[TableId::Operators], messages),
        BottomTab::Transfers => tables_ui(ui, state, loaded, &[TableId::Collectives, TableId::Copies], messages),
        BottomTab::Warnings => warnings_ui(ui, state, loaded),
    }
}

/// All tabs; on a narrow window closer together, and where even that is too long, moved by the wheel.
fn tabs_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let font = egui::FontId::proportional(metrics::BODY_FONT);
    let text_width = |tab: &BottomTab| {
        ui.painter().layout_no_wrap(tab_text(loaded, *tab), font.clone(), state.theme.ui.text).size().x
    };
    let texts: f32 = BottomTab::ALL.iter().map(text_width).sum();
    let spare = (ui.available_width() - texts) / BottomTab::ALL.len() as f32 - ui.spacing().item_spacing.x;
    let padding = spare.clamp(10.0, 20.0);
    let mut draw = |ui: &mut Ui| {
        for &tab in BottomTab::ALL {
            tab_ui(ui, state, loaded, tab, padding, messages);
        }
    };
    if spare >= 10.0 {
        draw(ui);
    } else {
        let bar = egui::scroll_area::ScrollBarVisibility::AlwaysHidden;
        ScrollArea::horizontal().id_salt("tabs").scroll_bar_visibility(bar).show(ui, draw);
    }
}

fn tab_text(loaded: &Loaded, tab: BottomTab) -> String {
    let lost = loaded.trace.warnings().lost();
    match tab {
        BottomTab::Warnings if lost > 0 => format!("{} · {} lost", tab.title(), thousands(lost)),
        _ => tab.title().to_owned(),
    }
}

fn tab_ui(ui: &mut Ui, state: &State, loaded: &Loaded, tab: BottomTab, padding: f32, messages: &mut Vec<Message>) {
    let colors = &state.theme.ui;
    let is_chosen = state.tab == tab;
    let text = tab_text(loaded, tab);
    let color = if is_chosen { colors.text } else { colors.dim };
    let font = egui::FontId::proportional(metrics::BODY_FONT);
    let galley = ui.painter().layout_no_wrap(text, font, color);
    let (rect, response) = ui.allocate_exact_size(vec2(galley.size().x + padding, TAB_HEIGHT), Sense::click());
    let color = if response.hovered() { colors.text } else { color };
    let place = egui::Align2::CENTER_CENTER.align_size_within_rect(galley.size(), rect);
    ui.painter().galley_with_override_text_color(place.min, galley, color);
    if is_chosen {
        let line =
            Rect::from_min_max(pos2(rect.left() + 4.0, rect.bottom() - 2.0), pos2(rect.right() - 4.0, rect.bottom()));
        ui.painter().rect_filled(line, 0.0, colors.accent);
    } else if response.has_focus() {
        ui.painter().rect_stroke(rect, 3.0, Stroke::new(1.0, colors.accent), egui::StrokeKind::Inside);
    }
    response.widget_info(|| WidgetInfo::selected(Role::Tab, true, is_chosen, tab.title()));
    if response.clicked() {
        messages.push(Message::ShowTab(tab));
    }
}

fn waiting_ui(ui: &mut Ui, state: &State) {
    ui.add_space(12.0);
    ui.horizontal(|ui| {
        ui.add_space(14.0);
        ui.add(egui::Spinner::new().size(14.0));
        ui.colored_label(state.theme.ui.dim, "Working out where the time goes");
    });
}

fn rank_chooser_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let label = loaded.trace.rank(loaded.table_rank).map(gapless_trace::Rank::label).unwrap_or_default();
    let has_room = ui.available_width() > 220.0;
    if loaded.trace.ranks().len() < 2 && !has_room {
        return;
    }
    if loaded.trace.ranks().len() < 2 {
        ui.colored_label(state.theme.ui.dim, "whole recording");
        return;
    }
    let response = dropdown_button(ui, &state.theme, &label, "Rank of the tables");
    if has_room {
        ui.colored_label(state.theme.ui.dim, "whole recording of");
    }
    Popup::menu(&response).width(140.0).show(|ui| {
        let ranks = loaded.trace.ranks();
        ScrollArea::vertical().max_height(320.0).show_rows(ui, 22.0, ranks.len(), |ui, range| {
            for (id, rank) in loaded.trace.rank_ids().skip(range.start).take(range.len()) {
                let button = Button::selectable(id == loaded.table_rank, rank.label());
                if ui.add_sized([ui.available_width(), 22.0], button).clicked() {
                    messages.push(Message::ChooseTableRank(id));
                    ui.close();
                }
            }
        });
    });
}

fn tables_ui(ui: &mut Ui, state: &State, loaded: &Loaded, ids: &[TableId], messages: &mut Vec<Message>) {
    let rank = loaded.report.as_ref().and_then(|report| report.analysis.ranks.get(loaded.table_rank.index()));
    let Some(rank) = rank else {
        waiting_ui(ui, state);
        return;
    };
    let room = ui.available_rect_before_wrap().shrink2(vec2(8.0, 0.0));
    let height = room.height() / ids.len() as f32;
    for (place, &id) in ids.iter().enumerate() {
        let top = room.top() + height * place as f32;
        let area = Rect::from_min_max(pos2(room.left(), top), pos2(room.right(), top + height));
        ui.scope_builder(egui::UiBuilder::new().max_rect(area).id_salt(("table area", id.index())), |ui| {
            ui.set_clip_rect(area.intersect(ui.clip_rect()));
            table_ui(ui, state, loaded, id, &rank.tables, messages);
        });
    }
}

fn table_ui(
    ui: &mut Ui,
    state: &State,
    loaded: &Loaded,
    id: TableId,
    tables: &gapless_analysis::Tables,
    messages: &mut Vec<Message>,
) {
    let theme = &state.theme;
    let order = loaded.orders.get(id.index()).map_or(&[][..], Vec::as_slice);
    let sort = state.sorts.get(id.index()).copied().unwrap_or(Sort { column: 0, descends: false });
    let rank = Some(loaded.table_rank);
    let class_color = |class: WorkClass| match class {
        WorkClass::Compute => theme.kind(EventKind::Kernel),
        WorkClass::Communication => theme.kind(EventKind::Collective),
        WorkClass::Copy => theme.kind(EventKind::Memcpy),
        WorkClass::Other => theme.kind(EventKind::Other),
    };
    match id {
        TableId::Kernels => TableView {
            id,
            columns: KERNELS,
            rows: &tables.kernels,
            order,
            sort,
            mark: &|row| Some(class_color(row.class)),
            click: &|row| Message::ShowName(rank, row.name.clone()),
            without: &[],
            empty: "No device work in this rank",
        }
        .show(ui, theme, messages),
        TableId::Operators => TableView {
            id,
            columns: OPERATORS,
            rows: &tables.operators,
            order,
            sort,
            mark: &|_| Some(theme.kind(EventKind::Operator)),
            click: &|row| Message::ShowName(rank, row.name.clone()),
            without: if loaded.has_device_work() { &[] } else { &["share", "device", "device self", "device events"] },
            empty: "No operators in this rank",
        }
        .show(ui, theme, messages),
        TableId::Copies => TableView {
            id,
            columns: COPIES,
            rows: &tables.copies,
            order,
            sort,
            mark: &|_| Some(class_color(WorkClass::Copy)),
            click: &|row| Message::ShowName(rank, row.name.clone()),
            without: &[],
            empty: "No copies or fills in this rank",
        }
        .show(ui, theme, messages),
        TableId::Collectives => TableView {
            id,
            columns: COLLECTIVES,
            rows: &tables.collectives,
            order,
            sort,
            mark: &|_| Some(class_color(WorkClass::Communication)),
            click: &|row| Message::Select(row.longest_event),
            without: &[],
            empty: "No communication kernels in this rank",
        }
        .show(ui, theme, messages),
        // They have tabs of their own.
        TableId::Segments | TableId::Instances | TableId::Lateness => {}
    }
}

fn warnings_ui(ui: &mut Ui, state: &State, loaded: &Loaded) {
    let colors = &state.theme.ui;
    let warnings = loaded.trace.warnings().sorted();
    let area = ui.available_rect_before_wrap().shrink2(vec2(14.0, 8.0));
    ui.scope_builder(egui::UiBuilder::new().max_rect(area), |ui| {
        if warnings.is_empty() {
            ui.colored_label(colors.dim, "Every event was read as it stands in the file; nothing was lost or repaired");
            return;
        }
        ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            for warning in warnings {
                warning_ui(ui, state, loaded, warning);
            }
        });
    });
}

/// A line: how serious, how many, what, and at its end where. Text that has no room is cut, and whole in the tooltip.
fn warning_ui(ui: &mut Ui, state: &State, loaded: &Loaded, warning: &gapless_trace::Warning) {
    const SEVERITY: f32 = 64.0;
    const COUNT: f32 = 72.0;
    let colors = &state.theme.ui;
    let severity = warning.kind.severity();
    let color = match severity {
        Severity::Lost => colors.warning,
        Severity::Repaired => colors.text,
        Severity::Note => colors.dim,
    };
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 22.0), Sense::click());
    if response.hovered() {
        ui.painter().rect_filled(rect, 0.0, colors.hover);
    }
    let path = loaded.trace.source(warning.source).map_or("", |source| source.path.as_str());
    let file = path.rsplit('/').next().unwrap_or(path);
    let first = warning.offsets.first();
    let place = first.map_or_else(|| file.to_owned(), |offset| format!("{file}, first at byte {}", thousands(*offset)));
    let mut what = warning.kind.text().to_owned();
    if !warning.detail.is_empty() {
        what.push_str(&format!(" ({})", warning.detail));
    }
    let font = egui::FontId::proportional(metrics::TRACK_FONT);
    let cell = |left: f32, right: f32| Rect::from_min_max(pos2(left, rect.top()), pos2(right, rect.bottom()));
    let text_left = rect.left() + SEVERITY + COUNT + 12.0;
    // The place takes what it needs, up to a part of the line.
    let place_width = ui.painter().layout_no_wrap(place.clone(), font.clone(), colors.dim).size().x + 2.0;
    let split = rect.right() - place_width.min((rect.right() - text_left) * 0.4);
    paint_text(ui, cell(rect.left(), rect.left() + SEVERITY), false, severity.id(), font.clone(), color);
    let count = cell(rect.left() + SEVERITY, rect.left() + SEVERITY + COUNT);
    paint_text(ui, count, true, &thousands(warning.count), font.clone(), colors.text);
    paint_text(ui, cell(text_left, split - 12.0), false, &what, font.clone(), colors.text);
    paint_text(ui, cell(split, rect.right()), true, &place, font, colors.dim);
    let name = format!("{}: {} × {what}. Copy the path {path}", severity.id(), thousands(warning.count));
    response.widget_info(|| WidgetInfo::labeled(Role::Row, true, &name));
    let response = response.on_hover_ui(|ui| {
        ui.set_max_width(520.0);
        ui.label(&what);
        ui.colored_label(colors.dim, format!("{path}\nClick to copy the path"));
    });
    if response.clicked() {
        ui.ctx().copy_text(path.to_owned());
    }
}
