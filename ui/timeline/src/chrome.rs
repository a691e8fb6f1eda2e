//! Around the rows: overview, ruler, step boundaries, track headers.

use std::sync::Arc;

use egui::text::{LayoutJob, TextFormat, TextWrapping};
use egui::{Color32, FontId, Galley, Mesh, Painter, Pos2, Rangef, Rect, Stroke, pos2, vec2};
use gapless_trace::{Duration, EventId, Span, Timestamp, Trace};

use crate::format::{Ticks, precise, ticks};
use crate::index::Overview;
use crate::scene::push_quad;
use crate::theme::{Theme, fade, metrics};
use crate::viewport::Viewport;

/// Least distance of labelled ticks in logical pixels.
const TICK_DISTANCE: f32 = 90.0;
/// Step boundaries nearer than this are not drawn.
const MIN_STEP_DISTANCE: f32 = 6.0;

pub(crate) fn font(size: f32) -> FontId {
    FontId::proportional(size)
}

/// Text in one line that ends with `…` where `width` ends.
pub(crate) fn cut_text(painter: &Painter, text: &str, size: f32, width: f32) -> Arc<Galley> {
    let format = TextFormat::simple(font(size), Color32::PLACEHOLDER);
    let mut job = LayoutJob::single_section(text.to_owned(), format);
    job.wrap = TextWrapping::truncate_at_width(width.max(8.0));
    painter.layout_job(job)
}

/// Activity of the whole trace in two columns of pixels a quad, bottom up.
pub(crate) fn overview_mesh(overview: &Overview, theme: &Theme, rect: Rect) -> Mesh {
    let mut mesh = Mesh::default();
    let columns = (rect.width() / 2.0).floor().max(1.0) as usize;
    let count = overview.work.len();
    let inner = rect.height() - 4.0;
    let colors = if overview.is_device {
        [fade(theme.data.compute, 0.55), fade(theme.data.communication, 0.75)]
    } else {
        [fade(theme.data.operator, 0.5), fade(theme.data.communication, 0.75)]
    };
    for column in 0..columns {
        let cells = column * count / columns..((column + 1) * count / columns).max(column * count / columns + 1);
        let mean = |values: &[f32]| {
            let part = values.get(cells.clone()).unwrap_or_default();
            part.iter().sum::<f32>() / part.len().max(1) as f32
        };
        let x0 = rect.left() + column as f32 * rect.width() / columns as f32;
        let x1 = rect.left() + (column + 1) as f32 * rect.width() / columns as f32;
        let mut bottom = rect.bottom();
        // Communication stands on the ground, the rest of the work on it.
        let parts = [(mean(&overview.communication), colors[1]), (mean(&overview.work), colors[0])];
        for (share, color) in parts.into_iter().filter(|part| part.0 > 0.0) {
            let top = bottom - share * inner;
            push_quad(&mut mesh, Rect::from_min_max(pos2(x0, top), pos2(x1, bottom)), color);
            bottom = top;
        }
    }
    mesh
}

/// The part of the overview that is on screen.
pub(crate) fn overview_window(view: &Viewport, x: Rangef) -> Rangef {
    let whole = Viewport::new(view.bounds());
    let visible = view.visible();
    let left = whole.x_of(visible.start, x).clamp(x.min, x.max);
    let right = whole.x_of(visible.end, x).clamp(x.min, x.max);
    // A window of less than two pixels could not be seen.
    Rangef::new(left, right.max(left + 2.0))
}

pub(crate) fn paint_overview(painter: &Painter, theme: &Theme, rect: Rect, mesh: &Arc<Mesh>, window: Rangef) {
    painter.rect_filled(rect, 0.0, theme.ui.panel);
    painter.add(Arc::clone(mesh));
    let veil = fade(theme.ui.background, 0.65);
    let left = Rect::from_x_y_ranges(rect.left()..=window.min, rect.y_range());
    let right = Rect::from_x_y_ranges(window.max..=rect.right(), rect.y_range());
    painter.rect_filled(left, 0.0, veil);
    painter.rect_filled(right, 0.0, veil);
    let frame = Rect::from_x_y_ranges(window, rect.y_range());
    painter.rect_stroke(frame, 0.0, Stroke::new(1.5, theme.ui.accent), egui::StrokeKind::Inside);
}

/// Ticks with labels. Returns them for the cursor and the header.
pub(crate) fn paint_ruler(painter: &Painter, theme: &Theme, rect: Rect, view: &Viewport) -> Ticks {
    let x = rect.x_range();
    let zero = view.bounds().start;
    let visible = view.visible();
    let min_step = view.ns_per_px(x) * f64::from(TICK_DISTANCE);
    let ticks = ticks((visible.start - zero).0, (visible.end - zero).0, min_step);
    painter.rect_filled(rect, 0.0, theme.ui.background);
    for (time, label) in &ticks.labels {
        let at = view.x_of(Timestamp(zero.0.saturating_add(*time)), x);
        painter.vline(at, rect.bottom() - 7.0..=rect.bottom(), Stroke::new(1.0, theme.ui.faint));
        let half = ticks.step_ns as f32 / 2.0 / view.ns_per_px(x) as f32;
        painter.vline(at + half, rect.bottom() - 4.0..=rect.bottom(), Stroke::new(1.0, theme.ui.hairline));
        let place = pos2(at + metrics::SPACE, rect.center().y - 2.0);
        let galley = painter.layout_no_wrap(label.clone(), font(metrics::BAR_FONT), theme.ui.dim);
        // Half a label says the wrong time.
        if place.x >= rect.left() && place.x + galley.size().x <= rect.right() {
            painter.galley(place - vec2(0.0, galley.size().y / 2.0), galley, theme.ui.dim);
        }
    }
    painter.hline(rect.x_range(), rect.bottom(), Stroke::new(1.0, theme.ui.hairline));
    ticks
}

/// Lines where steps begin, unless they are too near to one another.
pub(crate) fn paint_steps(
    painter: &Painter,
    theme: &Theme,
    rect: Rect,
    view: &Viewport,
    trace: &Trace,
    steps: &[EventId],
) {
    let visible = view.visible();
    let from = steps.partition_point(|&id| trace.event(id).start < visible.start);
    let to = steps.partition_point(|&id| trace.event(id).start < visible.end);
    let shown = steps.get(from..to).unwrap_or_default();
    if shown.len() as f32 * MIN_STEP_DISTANCE > rect.width() {
        return;
    }
    for &step in shown {
        let at = view.x_of(trace.event(step).start, rect.x_range());
        painter.vline(at, rect.y_range(), Stroke::new(1.0, fade(theme.ui.faint, 0.45)));
    }
}

/// The line under the pointer and its time.
pub(crate) fn paint_cursor(painter: &Painter, theme: &Theme, view: &Viewport, ruler: Rect, rows: Rect, at: f32) {
    painter.vline(at, ruler.top()..=rows.bottom(), Stroke::new(1.0, fade(theme.ui.dim, 0.6)));
    let x = rows.x_range();
    let time = view.time_at(at, x) - view.bounds().start;
    paint_flag(painter, theme, ruler, at, &precise(time.0, view.ns_per_px(x)), theme.ui.text);
}

/// The selected range and its length.
pub(crate) fn paint_range(painter: &Painter, theme: &Theme, view: &Viewport, ruler: Rect, rows: Rect, range: Span) {
    let x = rows.x_range();
    let (x0, x1) = (view.x_of(range.start, x), view.x_of(range.end, x));
    if x1 < x.min || x0 > x.max {
        return;
    }
    let rect = Rect::from_x_y_ranges(x0.max(x.min)..=x1.min(x.max), ruler.top()..=rows.bottom());
    painter.rect_filled(rect, 0.0, fade(theme.ui.accent, 0.10));
    for at in [x0, x1].into_iter().filter(|at| x.contains(*at)) {
        painter.vline(at, rect.y_range(), Stroke::new(1.0, theme.ui.accent));
    }
    paint_flag(painter, theme, ruler, rect.center().x, &range.duration().to_string(), theme.ui.accent);
}

/// Text on a raised ground in the ruler, kept inside of it.
fn paint_flag(painter: &Painter, theme: &Theme, ruler: Rect, center_x: f32, text: &str, color: Color32) {
    let galley = painter.layout_no_wrap(text.to_owned(), font(metrics::BAR_FONT), color);
    let size = galley.size() + vec2(2.0 * metrics::SPACE, 2.0);
    let half = size.x / 2.0;
    let x = center_x.clamp(ruler.left() + half, (ruler.right() - half).max(ruler.left() + half));
    let rect = Rect::from_center_size(pos2(x, ruler.center().y - 1.0), size);
    painter.rect_filled(rect, 3.0, theme.ui.raised);
    painter.galley(rect.min + vec2(metrics::SPACE, 1.0), galley, color);
}

/// How a header looks.
pub(crate) struct Header<'a> {
    pub rect: Rect,
    pub label: &'a str,
    /// Text at the right end.
    pub note: Option<(String, Color32)>,
    /// Whether the note stands below the label.
    pub note_below: bool,
    /// Whether something is folded, or `None` where nothing can be.
    pub folded: Option<bool>,
    pub is_rank: bool,
    pub is_hovered: bool,
}

pub(crate) fn paint_header(painter: &Painter, theme: &Theme, header: &Header<'_>) {
    let rect = header.rect;
    if header.is_hovered {
        painter.rect_filled(rect, 0.0, theme.ui.hover);
    }
    let line = rect.height().min(metrics::RANK_HEADING);
    let center = rect.top() + line / 2.0;
    let indent = if header.is_rank { 12.0 } else { 24.0 };
    if let Some(folded) = header.folded.filter(|_| header.is_rank || header.is_hovered) {
        let at = pos2(rect.left() + indent - if header.is_rank { 0.0 } else { 10.0 }, center);
        paint_triangle(painter, at, folded, if header.is_rank { theme.ui.text } else { theme.ui.dim });
    }
    let mut right = rect.right() - 2.0 * metrics::SPACE;
    let left = rect.left() + indent + if header.is_rank { 8.0 } else { 0.0 };
    let mut center = center;
    if let Some((note, color)) = header.note.as_ref().filter(|_| header.note_below) {
        let galley = cut_text(painter, note, metrics::BAR_FONT, right - left);
        center = rect.center().y - galley.size().y / 2.0;
        painter.galley(pos2(left, rect.center().y - 1.0), galley, *color);
    } else if let Some((note, color)) = &header.note {
        let galley = cut_text(painter, note, metrics::BAR_FONT, rect.width() / 2.0);
        right -= galley.size().x;
        painter.galley(pos2(right, center - galley.size().y / 2.0), galley, *color);
        right -= metrics::SPACE;
    }
    let size = if header.is_rank { metrics::BODY_FONT } else { metrics::TRACK_FONT.min(line) };
    let galley = cut_text(painter, header.label, size, right - left);
    let color = if header.is_rank { theme.ui.text } else { theme.ui.dim };
    let place = pos2(left, center - galley.size().y / 2.0);
    if header.is_rank {
        // The fonts that egui brings have one weight; a second print a third of a pixel aside makes it bold.
        painter.galley(place + vec2(0.35, 0.0), Arc::clone(&galley), color);
    }
    painter.galley(place, galley, color);
}

fn paint_triangle(painter: &Painter, center: Pos2, folded: bool, color: Color32) {
    let around = |dx: f32, dy: f32| pos2(center.x + dx, center.y + dy);
    let points = if folded {
        vec![around(-2.0, -4.0), around(3.0, 0.0), around(-2.0, 4.0)]
    } else {
        vec![around(-4.0, -2.0), around(4.0, -2.0), around(0.0, 3.0)]
    };
    painter.add(egui::Shape::convex_polygon(points, color, Stroke::NONE));
}

/// An arrow from one row to another. Ends outside of the view are cut at its edge, and keep their direction.
pub(crate) fn paint_arrow(painter: &Painter, rows: Rect, from: Pos2, to: Pos2, color: Color32) {
    const BEYOND: f32 = 40.0;
    let keep = |at: Pos2| pos2(at.x.clamp(rows.left() - BEYOND, rows.right() + BEYOND), at.y);
    let (from, to) = (keep(from), keep(to));
    let bend = ((to.x - from.x).abs() * 0.5).clamp(16.0, 120.0);
    let points = [from, from + vec2(bend, 0.0), to - vec2(bend, 0.0), to];
    let stroke = Stroke::new(1.3, color);
    painter.add(egui::epaint::CubicBezierShape::from_points_stroke(points, false, Color32::TRANSPARENT, stroke));
    let head = vec![to, to + vec2(-6.0, -3.0), to + vec2(-6.0, 3.0)];
    painter.add(egui::Shape::convex_polygon(head, color, Stroke::NONE));
}

/// Length of the visible time, or what labels of the ruler are counted from.
pub(crate) fn ruler_note(ticks: &Ticks, view: &Viewport) -> String {
    match &ticks.base {
        Some(base) => format!("{base} and"),
        None => format!("{} on screen", Duration(view.span_ns().round() as i64)),
    }
}
