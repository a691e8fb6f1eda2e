//! The critical path of the window: what it is made of, and its stretches.

use egui::{Color32, CursorIcon, FontId, Rect, RichText, Role, ScrollArea, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};
use gapless_analysis::path::Category;
use gapless_timeline::Theme;
use gapless_timeline::theme::{metrics, mix};
use gapless_trace::{Duration, EventKind};

use crate::engine_rows::{MOST_SEGMENTS, SEGMENTS};
use crate::format::{counted, exact, percent, thousands};
use crate::message::Message;
use crate::state::{Loaded, State};
use crate::table::{TableId, TableView, paint_text};
use crate::view::widgets::fill_bar;

const LEFT: f32 = 430.0;
const ROW: f32 = 22.0;

/// The colour of a category.
#[must_use]
pub fn color_of(theme: &Theme, category: Category) -> Color32 {
    match category {
        Category::Compute => theme.kind(EventKind::Kernel),
        Category::Communication => theme.kind(EventKind::Collective),
        Category::Copy => theme.kind(EventKind::Memcpy),
        Category::Fill => theme.kind(EventKind::Memset),
        Category::Host => theme.kind(EventKind::Operator),
        Category::LaunchCall | Category::BlockingCall => theme.kind(EventKind::RuntimeCall),
        Category::SyncReturn | Category::LaunchLatency => mix(theme.kind(EventKind::RuntimeCall), theme.ui.panel, 0.4),
        Category::DataLoading => theme.kind(EventKind::PythonFunction),
        Category::Gc => theme.kind(EventKind::Overhead),
        Category::KernelGap | Category::EventLatency => mix(theme.kind(EventKind::Kernel), theme.ui.panel, 0.5),
        Category::HandOff => theme.kind(EventKind::Annotation),
        Category::RankWait | Category::Unexplained => theme.ui.waiting,
        Category::Outside => theme.data.idle_other,
    }
}

const fn is_hatched(category: Category) -> bool {
    matches!(category, Category::RankWait | Category::Unexplained)
}

/// What a category means, for tooltips.
const fn meaning(category: Category) -> &'static str {
    match category {
        Category::Compute => "a kernel computes and everything waits for it",
        Category::Communication => "a collective moves data; all its ranks have come",
        Category::RankWait => "a communication kernel waits for ranks that are not in the recording; estimated",
        Category::Copy => "a device copies",
        Category::Fill => "a device fills memory",
        Category::Host => "a thread works between calls: operators, Python, anything",
        Category::LaunchCall => "a call launches device work",
        Category::BlockingCall => "a blocking call's own cost",
        Category::DataLoading => "the next batch is fetched",
        Category::Gc => "the interpreter collects garbage",
        Category::LaunchLatency => "from a launch to the start of its work",
        Category::KernelGap => "between two pieces of work on one stream",
        Category::EventLatency => "from work on one stream to work on another that waited for it",
        Category::SyncReturn => "from the end of work to the return of the call that waited for it",
        Category::HandOff => "from one thread to another",
        Category::Unexplained => "a delay that nothing in the recording explains",
        Category::Outside => "before the first thing that the recording has of what comes next on the path",
    }
}

/// Draws the tab.
pub fn path_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let room = ui.available_rect_before_wrap();
    let path = &loaded.path;
    if path.rows.is_empty() {
        ui.scope_builder(egui::UiBuilder::new().max_rect(room.shrink2(vec2(14.0, 8.0))), |ui| {
            ui.colored_label(state.theme.ui.dim, "No critical path in this window");
        });
        return;
    }
    let left = Rect::from_min_max(room.min, pos2(room.left() + LEFT.min(room.width() * 0.45), room.bottom()));
    ui.scope_builder(egui::UiBuilder::new().max_rect(left.shrink2(vec2(14.0, 8.0))), |ui| {
        categories_ui(ui, state, loaded, messages);
    });
    let right = Rect::from_min_max(pos2(left.right(), room.top()), room.max);
    ui.painter().vline(right.left(), right.y_range().shrink(12.0), Stroke::new(1.0, state.theme.ui.hairline));
    ui.scope_builder(egui::UiBuilder::new().max_rect(right.shrink2(vec2(8.0, 0.0))), |ui| {
        ui.set_clip_rect(right.intersect(ui.clip_rect()));
        segments_ui(ui, state, loaded, messages);
    });
    ui.advance_cursor_after_rect(room);
}

fn categories_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let (theme, path) = (&state.theme, &loaded.path);
    let label = |rank| loaded.trace.rank(rank).map(gapless_trace::Rank::label).unwrap_or_default();
    let mut text = format!("{} from completion to completion", path.total);
    if let Some(&(rank, time)) = path.ranks.first().filter(|_| path.ranks.len() > 1) {
        let share = percent(time.0 as f64 / path.total.0.max(1) as f64);
        text = format!(
            "{} on {}, {share} of it on {}",
            path.total,
            counted(path.ranks.len() as u64, "rank", "ranks"),
            label(rank)
        );
    }
    ui.add(egui::Label::new(RichText::new(text).color(theme.ui.text)).truncate());
    let (bar, _) = ui.allocate_exact_size(vec2(ui.available_width(), 14.0), Sense::hover());
    let mut left = bar.left();
    for row in &path.categories {
        let right = (left + bar.width() * row.share as f32).min(bar.right());
        let piece = Rect::from_min_max(pos2(left, bar.top()), pos2(right, bar.bottom()));
        fill_bar(ui, theme, piece, color_of(theme, row.category), is_hatched(row.category));
        left = right;
    }
    ui.add_space(2.0);
    ui.spacing_mut().item_spacing.y = 0.0;
    ScrollArea::vertical().id_salt("path categories").auto_shrink([false, false]).show(ui, |ui| {
        for row in &path.categories {
            let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
            if response.hovered() || response.has_focus() {
                ui.painter().rect_filled(rect, 3.0, theme.ui.hover);
            }
            let square = Rect::from_center_size(pos2(rect.left() + 8.0, rect.center().y), vec2(10.0, 10.0));
            fill_bar(ui, theme, square, color_of(theme, row.category), is_hatched(row.category));
            let font = FontId::proportional(metrics::TRACK_FONT);
            let cell = |from: f32, to: f32| Rect::from_min_max(pos2(from, rect.top()), pos2(to, rect.bottom()));
            let (time_at, share_at) = (rect.right() - 60.0, rect.right() - 4.0);
            let name = cell(rect.left() + 22.0, time_at - 76.0);
            paint_text(ui, name, false, row.category.label(), font.clone(), theme.ui.text);
            let time = Duration(row.ns).to_string();
            paint_text(ui, cell(time_at - 76.0, time_at), true, &time, font.clone(), theme.ui.text);
            paint_text(ui, cell(time_at, share_at), true, &percent(row.share), font, theme.ui.dim);
            let name = format!("Critical path: {} {time}", row.category.label());
            response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
            let response = response.on_hover_cursor(CursorIcon::PointingHand).on_hover_ui(|ui| {
                ui.label(meaning(row.category));
                ui.colored_label(theme.ui.dim, exact(Duration(row.ns)));
            });
            if response.clicked() {
                messages.push(Message::ShowCategory(row.category));
            }
        }
    });
}

fn segments_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let theme = &state.theme;
    let order = loaded.orders.get(TableId::Segments.index()).map_or(&[][..], Vec::as_slice);
    let count = loaded.path.rows.len();
    if count > MOST_SEGMENTS {
        let text = format!(
            "The {} longest of {}",
            thousands(MOST_SEGMENTS as u64),
            counted(count as u64, "stretch", "stretches")
        );
        ui.label(RichText::new(text).size(metrics::BAR_FONT).color(theme.ui.faint));
    }
    TableView {
        id: TableId::Segments,
        columns: SEGMENTS,
        rows: &loaded.path.segments,
        order,
        sort: state.sorts.get(TableId::Segments.index()).copied().unwrap_or_default(),
        mark: &|row| Some(color_of(theme, row.category)),
        click: &|row| Message::ShowPathRow(row.place),
        without: if loaded.trace.ranks().len() > 1 { &[] } else { &["rank"] },
        empty: "No critical path in this window",
    }
    .show(ui, theme, messages);
}
