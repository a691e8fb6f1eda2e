//! The timeline as an egui widget: see [`Timeline`].

mod headers;
mod simulated;
mod tooltip;

pub use simulated::SimulatedTrack;

use std::sync::Arc;

use egui::{
    Mesh, Painter, Rect, Response, Role, Sense, Stroke, TextureHandle, TextureOptions, Ui, WidgetInfo, pos2, vec2,
};
use gapless_trace::{EventId, RankId, Span, StrId, Timestamp, Trace};

use crate::chrome;
use crate::communication::CollectiveWaits;
use crate::index::TimelineIndex;
use crate::input;
use crate::layout::RowSource;
use crate::links::links_of;
use crate::overlay::Overlay;
use crate::path::PathLayer;
use crate::placement::{PlacedRow, Placement, RowContent, collectives_row};
use crate::scene::{FrameStats, Lit, Scene, SceneBuilder, SceneInput};
use crate::shifts::Shifts;
use crate::state::{FramePlace, TimelineState};
use crate::theme::{Theme, fade, metrics};
use crate::viewport::Viewport;

/// What a placement depends on: revision of the folds, whether hidden tracks are shown, depth limit, index.
type PlacementKey = (u64, bool, u16, usize);

/// What is kept between frames so that a frame in which nothing changed is nearly free.
#[derive(Default)]
pub(crate) struct Cache {
    placement: Option<(PlacementKey, Placement, Placement)>,
    /// Steps on top, and everything else.
    scenes: [CachedScene; 2],
    overview: Option<(Rect, Theme, usize, Arc<Mesh>)>,
    /// Matches by list, and the matches that they were looked up for.
    lit: Option<(Arc<[EventId]>, Lit)>,
    char_widths: Option<(f32, Box<[f32; 128]>)>,
}

#[cfg(test)]
impl Cache {
    /// Bars and texels of the rows that are more luminous than `than`.
    pub fn bright_pixels(&self, than: egui::Color32) -> usize {
        let intensity = |color: egui::Color32| egui::Rgba::from(color).intensity();
        let is_bright = |color: &egui::Color32| intensity(*color) > intensity(than);
        let scene = &self.scenes[1].scene;
        let bars = scene.bars.vertices.chunks(4).filter(|quad| is_bright(&quad[0].color)).count();
        bars + self.scenes[1].texels.iter().filter(|texel| is_bright(texel)).count()
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct CachedScene {
    key: Option<SceneKey>,
    scene: Scene,
    strips: Arc<Mesh>,
    texture: Option<TextureHandle>,
    /// What was given to the texture.
    #[cfg(test)]
    texels: Vec<egui::Color32>,
}

/// All that a scene depends on.
#[derive(Clone)]
struct SceneKey {
    view: Viewport,
    rect: Rect,
    scroll_y: f32,
    placement: PlacementKey,
    pixels_per_point: f32,
    theme: Theme,
    matches: Option<Arc<[EventId]>>,
    names: Option<Arc<[StrId]>>,
    overlays: Vec<Overlay>,
    waits: Option<Arc<CollectiveWaits>>,
    shifts: Shifts,
    path: Option<Arc<PathLayer>>,
}

impl SceneKey {
    fn is_same(&self, other: &Self) -> bool {
        let same_matches = match (&self.matches, &other.matches) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        let same_names = match (&self.names, &other.names) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        let same_waits = match (&self.waits, &other.waits) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        let same_path = match (&self.path, &other.path) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        let same_overlays = self.overlays.len() == other.overlays.len()
            && self.overlays.iter().zip(&other.overlays).all(|(a, b)| a.is_same(b));
        same_matches
            && same_names
            && same_waits
            && same_overlays
            && same_path
            && self.shifts.is_same(&other.shifts)
            && self.view == other.view
            && self.rect == other.rect
            && self.scroll_y == other.scroll_y
            && self.placement == other.placement
            && self.pixels_per_point == other.pixels_per_point
            && self.theme == other.theme
    }
}

/// A text right of the label of a rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Badge {
    /// The rank.
    pub rank: RankId,
    /// The text (`last 4 of 6`).
    pub text: String,
    /// Whether it asks to be looked at.
    pub is_warning: bool,
}

/// What a frame of the timeline tells its caller.
#[derive(Debug)]
pub struct TimelineResponse {
    /// Of the area of rows.
    pub response: Response,
    /// The event under the pointer.
    pub hovered: Option<EventId>,
    /// The time under the pointer.
    pub hovered_time: Option<Timestamp>,
    /// The event that was clicked in this frame.
    pub clicked: Option<EventId>,
    /// The event that was double-clicked in this frame; the view goes to it.
    pub double_clicked: Option<EventId>,
    /// Whether [`TimelineState::selected`] changed.
    pub selection_changed: bool,
    /// Whether [`TimelineState::range`] changed.
    pub range_changed: bool,
    /// What was drawn.
    pub stats: FrameStats,
}

/// Where the parts of the widget lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Areas {
    pub whole: Rect,
    pub overview: Rect,
    pub ruler: Rect,
    pub pinned: Rect,
    pub simulated: Rect,
    pub rows: Rect,
    pub headers: Rect,
}

impl Areas {
    fn new(whole: Rect, header_width: f32, show_overview: bool, pinned_height: f32, simulated_height: f32) -> Self {
        let split = (whole.left() + header_width).min(whole.right() - 40.0).max(whole.left());
        let overview_height = if show_overview { metrics::OVERVIEW } else { 0.0 };
        let mut top = whole.top();
        let mut take = |height: f32| {
            let bottom = (top + height).min(whole.bottom());
            let area = Rect::from_min_max(pos2(split, top), pos2(whole.right(), bottom));
            top = bottom;
            area
        };
        let (overview, ruler, pinned) = (take(overview_height), take(metrics::RULER), take(pinned_height));
        let simulated = take(simulated_height);
        let rows = take(f32::INFINITY);
        let headers = Rect::from_min_max(pos2(whole.left(), rows.top()), pos2(split, rows.bottom()));
        Self { whole, overview, ruler, pinned, simulated, rows, headers }
    }

    /// Rows and everything above them that scrolls in time.
    pub fn canvas(&self) -> Rect {
        self.ruler.union(self.rows)
    }
}

/// The timeline of a trace. Make one each frame; what lasts is in [`TimelineState`].
#[derive(Clone, Copy)]
pub struct Timeline<'a> {
    trace: &'a Trace,
    index: &'a TimelineIndex,
    theme: &'a Theme,
    matches: Option<&'a Arc<[EventId]>>,
    names: Option<&'a Arc<[StrId]>>,
    overlays: &'a [Overlay],
    waits: Option<&'a Arc<CollectiveWaits>>,
    path: Option<&'a Arc<PathLayer>>,
    simulated: Option<&'a SimulatedTrack>,
    badges: &'a [Badge],
    keyboard: bool,
    tooltip: bool,
}

impl<'a> Timeline<'a> {
    /// The timeline of `trace`; `index` must have been built of it.
    #[must_use]
    pub fn new(trace: &'a Trace, index: &'a TimelineIndex, theme: &'a Theme) -> Self {
        Self {
            trace,
            index,
            theme,
            matches: None,
            names: None,
            overlays: &[],
            waits: None,
            path: None,
            simulated: None,
            badges: &[],
            keyboard: true,
            tooltip: true,
        }
    }

    /// Events found by a search, ascending: they keep their colours, all others fade. Keep the `Arc`, so that what was
    /// drawn of it can be used again.
    #[must_use]
    pub fn matches(self, matches: Option<&'a Arc<[EventId]>>) -> Self {
        Self { matches, ..self }
    }

    /// Names of frames that a search found, ascending: frames of sampled stacks are found by them, since they are no
    /// events. Keep the `Arc`, so that what was drawn of it can be used again.
    #[must_use]
    pub fn matching_names(self, names: Option<&'a Arc<[StrId]>>) -> Self {
        Self { names, ..self }
    }

    /// Marks over the rows, the first at the bottom.
    #[must_use]
    pub fn overlays(self, overlays: &'a [Overlay]) -> Self {
        Self { overlays, ..self }
    }

    /// How long each collective waits for other ranks before anything is transferred, ascending by event: that part is
    /// hatched in the lines of communication. Keep the `Arc`, so that what was drawn of it can be used again.
    #[must_use]
    pub fn collective_waits(self, waits: Option<&'a Arc<CollectiveWaits>>) -> Self {
        Self { waits, ..self }
    }

    /// The critical path. Keep the `Arc`, so that what was drawn of it can be used again.
    #[must_use]
    pub fn critical_path(self, path: Option<&'a Arc<PathLayer>>) -> Self {
        Self { path, ..self }
    }

    /// What a replay gives, beside what the first open rank did.
    #[must_use]
    pub fn simulated(self, simulated: Option<&'a SimulatedTrack>) -> Self {
        Self { simulated, ..self }
    }

    /// Texts right of the labels of ranks (`late 5 of 8`).
    #[must_use]
    pub fn badges(self, badges: &'a [Badge]) -> Self {
        Self { badges, ..self }
    }

    /// Whether keys move the view and the selection; on at the start. Keys are left alone while a text field has the
    /// focus.
    #[must_use]
    pub fn keyboard(self, keyboard: bool) -> Self {
        Self { keyboard, ..self }
    }

    /// Whether the timeline shows its own tooltip of the event under the pointer; on at the start.
    #[must_use]
    pub fn tooltip(self, tooltip: bool) -> Self {
        Self { tooltip, ..self }
    }

    /// Shows the timeline in all the space there is.
    pub fn show(self, ui: &mut Ui, state: &mut TimelineState) -> TimelineResponse {
        let whole = ui.available_rect_before_wrap();
        ui.allocate_rect(whole, Sense::hover());
        let id = ui.scope_id().with("gapless timeline");
        let placement_key = (
            state.folds.revision,
            state.options.show_hidden,
            state.options.max_depth,
            std::ptr::from_ref(self.index) as usize,
        );
        let cached = state.cache.placement.take().filter(|cached| cached.0 == placement_key);
        let (_, pinned, placed) = cached.unwrap_or_else(|| {
            let layout = self.index.layout();
            let (pinned, placed) =
                Placement::new(layout, &state.folds, state.options.show_hidden, state.options.max_depth);
            (placement_key, pinned, placed)
        });
        // On a narrow window time needs the room, unless the user has said otherwise.
        let header_width = match state.options.header_width {
            width if width == metrics::HEADER_WIDTH => width.min((whole.width() * 0.24).max(140.0)),
            width => width,
        };
        let simulated = if self.simulated.is_some() { simulated::HEIGHT } else { 0.0 };
        let areas = Areas::new(whole, header_width, state.options.show_overview, pinned.height, simulated);

        let before = (state.selected, state.range);
        let overview = ui.interact(areas.overview, id.with("overview"), Sense::click_and_drag());
        overview.widget_info(|| WidgetInfo::labeled(Role::ScrollBar, true, "Overview of the trace"));
        let canvas = ui.interact(areas.canvas(), id.with("rows"), Sense::click_and_drag());
        input::navigate(ui, state, &areas, &overview, &canvas);
        if self.keyboard {
            input::keys(ui, state, self.trace, self.index, &areas, &canvas);
        }
        input::header_width(ui, state, &areas, id.with("split"));
        state.finish_scroll(self.trace, self.index.layout(), &placed, areas.rows.height());

        let hovered = self.hovered(state, &areas, &pinned, &placed, &canvas);
        let frame = self.hovered_frame(state, &areas, &placed, &canvas);
        let mut clicked = None;
        let mut double_clicked = None;
        if canvas.clicked() {
            clicked = hovered;
            state.selected = hovered;
            state.frame = frame;
            state.range = None;
            if canvas.double_clicked()
                && let Some(event) = hovered
            {
                double_clicked = hovered;
                state.show_span(state.shown_span(self.trace, event));
            }
        }
        let description = state.selected.map(|event| self.describe(event));
        canvas.widget_info(|| WidgetInfo {
            current_text_value: description.clone(),
            ..WidgetInfo::labeled(Role::Canvas, true, "Timeline")
        });

        let stats = self.paint(ui, state, &areas, placement_key, &pinned, &placed, &canvas, hovered);
        self.headers(ui, state, &areas, id, &pinned, &placed);
        self.paint_simulated(ui, &ui.painter_at(areas.whole), state, &areas);
        if let Some(event) = hovered.filter(|_| self.tooltip && state.drag.is_none()) {
            egui::Tooltip::always_open(ui.ctx().clone(), ui.layer_id(), id.with("tooltip"), egui::PopupAnchor::Pointer)
                .gap(14.0)
                .show(|ui| match frame.and_then(|frame| frame.find(self.index)) {
                    Some((flame, bar)) => self.frame_tooltip_ui(ui, flame, &bar),
                    None => self.tooltip_ui(ui, state, event),
                });
        }
        state.cache.placement = Some((placement_key, pinned, placed));
        state.stats = stats;
        TimelineResponse {
            hovered,
            hovered_time: canvas.hover_pos().map(|pos| state.view.time_at(pos.x, areas.rows.x_range())),
            clicked,
            double_clicked,
            selection_changed: before.0 != state.selected,
            range_changed: before.1 != state.range,
            stats,
            response: canvas,
        }
    }

    fn hovered(
        &self,
        state: &TimelineState,
        areas: &Areas,
        pinned: &Placement,
        placed: &Placement,
        canvas: &Response,
    ) -> Option<EventId> {
        let pos = canvas.hover_pos()?;
        let row = if areas.rows.contains(pos) {
            placed.row_at(pos.y - areas.rows.top() + state.scroll_y)?
        } else if areas.pinned.contains(pos) {
            pinned.row_at(pos.y - areas.pinned.top())?
        } else {
            return None;
        };
        let view = state.view_of(row.rank);
        crate::hit::event_at(self.trace, self.index, row, &view, areas.rows.x_range(), pos.x)
    }

    fn hovered_frame(
        &self,
        state: &TimelineState,
        areas: &Areas,
        placed: &Placement,
        canvas: &Response,
    ) -> Option<FramePlace> {
        let pos = canvas.hover_pos().filter(|pos| areas.rows.contains(*pos))?;
        let row = placed.row_at(pos.y - areas.rows.top() + state.scroll_y)?;
        let view = state.view_of(row.rank);
        crate::hit::frame_at(self.trace, self.index, row, &view, areas.rows.x_range(), pos.x)
    }

    fn paint(
        &self,
        ui: &Ui,
        state: &mut TimelineState,
        areas: &Areas,
        placement_key: PlacementKey,
        pinned: &Placement,
        placed: &Placement,
        canvas: &Response,
        hovered: Option<EventId>,
    ) -> FrameStats {
        let theme = self.theme;
        let painter = ui.painter_at(areas.whole);
        painter.rect_filled(areas.whole, 0.0, theme.ui.background);
        if state.options.show_overview {
            self.paint_overview(&painter, state, areas.overview);
        }
        let ticks = chrome::paint_ruler(&painter.with_clip_rect(areas.ruler), theme, areas.ruler, &state.view);
        let body = Rect::from_min_max(areas.pinned.min, areas.rows.max);
        chrome::paint_steps(
            &painter.with_clip_rect(body),
            theme,
            body,
            &self.steps_view(state),
            self.trace,
            self.index.layout().steps(),
        );
        let mut stats = FrameStats::default();
        let parts = [(0, areas.pinned, pinned, 0.0), (1, areas.rows, placed, state.scroll_y)];
        for (part, rect, placement, scroll_y) in parts {
            let painter = painter.with_clip_rect(rect);
            let drawn = self.paint_scene(ui, &painter, state, part, rect, scroll_y, placement, placement_key);
            stats.bars += drawn.bars;
            stats.vertices += drawn.vertices;
            stats.texels += drawn.texels;
            stats.labels += drawn.labels;
            stats.rows += drawn.rows;
            stats.read += drawn.read;
            stats.reused = drawn.reused;
        }
        let rows_painter = painter.with_clip_rect(areas.rows);
        let origin_y = areas.rows.top() - state.scroll_y;
        if let Some(event) = hovered.filter(|event| Some(*event) != state.selected) {
            self.outline(&rows_painter, state, areas, placed, origin_y, event, Stroke::new(1.0, theme.ui.text));
            let top = painter.with_clip_rect(areas.pinned);
            self.outline_pinned(&top, state, areas, pinned, event, Stroke::new(1.0, theme.ui.text));
        }
        if let Some((place, bar)) = state.frame.zip(state.selected_frame(self.index).map(|found| found.1)) {
            let source = RowSource::Flame(place.flame, place.depth);
            if let Some(row) = placed.rows.iter().find(|row| row.content == RowContent::Source(source)) {
                let stroke = Stroke::new(2.0, theme.ui.selection);
                self.outline_span(&rows_painter, state, areas, origin_y, row, Span::new(bar.start, bar.end), stroke);
            }
        } else if let Some(event) = state.selected {
            self.arrows(&rows_painter, state, areas, placed, origin_y, event);
            self.outline(&rows_painter, state, areas, placed, origin_y, event, Stroke::new(2.0, theme.ui.selection));
            let top = painter.with_clip_rect(areas.pinned);
            self.outline_pinned(&top, state, areas, pinned, event, Stroke::new(2.0, theme.ui.selection));
        }
        if !pinned.blocks.is_empty() {
            painter.hline(areas.whole.x_range(), areas.pinned.bottom(), Stroke::new(1.0, theme.ui.hairline));
        }
        let over = painter.with_clip_rect(areas.canvas());
        if let Some(range) = state.range {
            chrome::paint_range(&over, theme, &state.view, areas.ruler, areas.rows, range);
        }
        if let Some(pos) = canvas.hover_pos().filter(|_| state.drag.is_none()) {
            chrome::paint_cursor(&over, theme, &state.view, areas.ruler, areas.rows, pos.x);
        }
        self.paint_corner(&painter, state, areas, &ticks);
        stats
    }

    /// The view on the clock of the rank whose steps are drawn over all tracks.
    fn steps_view(&self, state: &TimelineState) -> Viewport {
        let rank = self.index.layout().steps().first().and_then(|&step| self.trace.rank_of(step));
        rank.map_or(state.view, |rank| state.view_of(rank))
    }

    fn paint_overview(&self, painter: &Painter, state: &mut TimelineState, rect: Rect) {
        let source = std::ptr::from_ref(self.index) as usize;
        let cached = state.cache.overview.take();
        let cached = cached.filter(|(at, theme, of, _)| *at == rect && theme == self.theme && *of == source);
        let (_, _, _, mesh) = cached.unwrap_or_else(|| {
            let mesh = chrome::overview_mesh(self.index.overview(), self.theme, rect);
            (rect, self.theme.clone(), source, Arc::new(mesh))
        });
        let window = chrome::overview_window(&state.view, rect.x_range());
        chrome::paint_overview(painter, self.theme, rect, &mesh, window);
        state.cache.overview = Some((rect, self.theme.clone(), source, mesh));
    }

    /// What stands left of overview and ruler.
    fn paint_corner(&self, painter: &Painter, state: &TimelineState, areas: &Areas, ticks: &crate::format::Ticks) {
        let ui = &self.theme.ui;
        let corner = Rect::from_min_max(areas.whole.min, pos2(areas.ruler.left(), areas.ruler.bottom()));
        painter.rect_filled(corner, 0.0, ui.panel);
        let left = areas.whole.left() + 12.0;
        let room = corner.width() - 20.0;
        if state.options.show_overview {
            let ranks = self.index.layout().ranks().len();
            let what = if ranks > 1 { format!("All {ranks} ranks") } else { "Whole trace".to_owned() };
            let text = format!("{what} · {}", self.index.span().duration());
            let galley = chrome::cut_text(painter, &text, metrics::TRACK_FONT, room);
            painter.galley(pos2(left, areas.overview.center().y - galley.size().y / 2.0), galley, ui.dim);
        }
        let note = chrome::ruler_note(ticks, &state.view);
        let galley = chrome::cut_text(painter, &note, metrics::BAR_FONT, room);
        painter.galley(pos2(left, areas.ruler.center().y - 2.0 - galley.size().y / 2.0), galley, ui.faint);
    }

    fn paint_scene(
        &self,
        ui: &Ui,
        painter: &Painter,
        state: &mut TimelineState,
        part: usize,
        rect: Rect,
        scroll_y: f32,
        placement: &Placement,
        placement_key: PlacementKey,
    ) -> FrameStats {
        let pixels_per_point = ui.ctx().pixels_per_point();
        let key = SceneKey {
            view: state.view,
            rect,
            scroll_y,
            placement: placement_key,
            pixels_per_point,
            theme: self.theme.clone(),
            matches: self.matches.cloned(),
            names: self.names.cloned(),
            overlays: self.overlays.to_vec(),
            waits: self.waits.cloned(),
            shifts: state.shifts.clone(),
            path: self.path.cloned(),
        };
        let Cache { scenes, char_widths, lit, .. } = &mut state.cache;
        let Some(cached) = scenes.get_mut(part) else { return FrameStats::default() };
        let reused = cached.key.as_ref().is_some_and(|old| old.is_same(&key));
        if !reused {
            let known = char_widths.take().filter(|(at, _)| *at == pixels_per_point);
            let (_, widths) = known.unwrap_or_else(|| (pixels_per_point, measure_characters(ui)));
            let mut builder = SceneBuilder::new(SceneInput {
                trace: self.trace,
                index: self.index,
                theme: self.theme,
                view: &state.view,
                x: rect.x_range(),
                pixels_per_point,
                max_texture_side: ui.input(|input| input.max_texture_side),
                matches: self.matches.map(|matches| &**matches),
                matching_names: self.names.map(|names| &**names),
                overlays: self.overlays,
                waits: self.waits.map(|waits| &**waits),
                shifts: &state.shifts,
                path: self.path.map(|path| &**path),
                char_widths: &widths,
            });
            let same = |of: &Arc<[EventId]>| self.matches.is_some_and(|matches| Arc::ptr_eq(matches, of));
            builder.lit = lit.take().filter(|(of, _)| same(of)).map(|(_, lit)| lit).unwrap_or_default();
            builder.add(placement, rect.top() - scroll_y, rect.y_range());
            let mut scene = builder.finish();
            *lit = self.matches.map(|matches| (Arc::clone(matches), std::mem::take(&mut scene.lit)));
            let (width, texels) = std::mem::take(&mut scene.texels);
            #[cfg(test)]
            texels.clone_into(&mut cached.texels);
            if texels.is_empty() {
                cached.texture = None;
                cached.strips = Arc::default();
            } else {
                let image = egui::ColorImage::new([width, texels.len() / width.max(1)], texels);
                match &mut cached.texture {
                    Some(texture) => texture.set(image, TextureOptions::NEAREST),
                    None => {
                        cached.texture = Some(ui.ctx().load_texture("timeline strips", image, TextureOptions::NEAREST));
                    }
                }
                let mut strips = std::mem::take(&mut scene.strips);
                strips.texture_id = cached.texture.as_ref().map(TextureHandle::id).unwrap_or_default();
                cached.strips = Arc::new(strips);
            }
            cached.scene = scene;
            cached.key = Some(key);
            *char_widths = Some((pixels_per_point, widths));
        }
        for mesh in [&cached.strips, &cached.scene.bars, &cached.scene.marks] {
            if !mesh.is_empty() {
                painter.add(Arc::clone(mesh));
            }
        }
        for label in &cached.scene.labels {
            // Laid out anew by egui each frame, from its own cache: a galley must not outlive egui's font atlas.
            let font = chrome::font(metrics::BAR_FONT);
            painter.text(label.left_center, egui::Align2::LEFT_CENTER, &label.text, font, label.color);
        }
        FrameStats { reused, ..cached.scene.stats }
    }

    /// Where an event is drawn: the horizontal ends, and the vertical ones of its row.
    fn rect_of(
        &self,
        state: &TimelineState,
        areas: &Areas,
        placed: &Placement,
        origin_y: f32,
        event: EventId,
    ) -> Option<Rect> {
        let row = placed.row_of(self.trace, self.index.layout(), event)?;
        Some(Self::rect_in(state, areas, row, origin_y, self.trace.event(event).span()))
    }

    fn rect_in(state: &TimelineState, areas: &Areas, row: &PlacedRow, origin_y: f32, span: Span) -> Rect {
        let x = areas.rows.x_range();
        let view = state.view_of(row.rank);
        let x0 = view.x_of(span.start, x);
        let x1 = view.x_of(span.end, x).max(x0 + 2.0);
        let top = origin_y + row.y;
        Rect::from_min_max(pos2(x0, top), pos2(x1, top + row.height - 1.0))
    }

    fn outline(
        &self,
        painter: &Painter,
        state: &TimelineState,
        areas: &Areas,
        placed: &Placement,
        origin_y: f32,
        event: EventId,
        stroke: Stroke,
    ) {
        let layout = self.index.layout();
        let rows = [placed.row_of(self.trace, layout, event), collectives_row(placed, self.trace, layout, event)];
        for row in rows.into_iter().flatten() {
            self.outline_span(painter, state, areas, origin_y, row, self.trace.event(event).span(), stroke);
        }
    }

    /// The outline of a step or annotation among those that stay on top.
    fn outline_pinned(
        &self,
        painter: &Painter,
        state: &TimelineState,
        areas: &Areas,
        pinned: &Placement,
        event: EventId,
        stroke: Stroke,
    ) {
        let layout = self.index.layout();
        let row = pinned.rows.iter().find(|row| match row.content {
            RowContent::Source(RowSource::List(list)) => layout.position(self.trace, list, event).is_some(),
            _ => false,
        });
        if let Some(row) = row {
            let rect = Self::rect_in(state, areas, row, areas.pinned.top(), self.trace.event(event).span());
            let rect = rect.intersect(areas.pinned.expand2(vec2(8.0, 0.0)));
            if rect.is_positive() {
                painter.rect_stroke(rect, 0.0, stroke, egui::StrokeKind::Inside);
            }
        }
    }

    fn outline_span(
        &self,
        painter: &Painter,
        state: &TimelineState,
        areas: &Areas,
        origin_y: f32,
        row: &PlacedRow,
        span: Span,
        stroke: Stroke,
    ) {
        let rect = Self::rect_in(state, areas, row, origin_y, span);
        // Single precision is too coarse for ends that are millions of pixels away.
        let rect = rect.intersect(areas.rows.expand2(vec2(8.0, f32::INFINITY)));
        if rect.is_positive() {
            painter.rect_stroke(rect, 0.0, stroke, egui::StrokeKind::Outside);
        }
    }

    fn arrows(
        &self,
        painter: &Painter,
        state: &TimelineState,
        areas: &Areas,
        placed: &Placement,
        origin_y: f32,
        event: EventId,
    ) {
        let rect_of = |event| self.rect_of(state, areas, placed, origin_y, event);
        for link in links_of(self.trace, event) {
            let (Some(from), Some(to)) = (rect_of(link.from), rect_of(link.to)) else { continue };
            let color = if link.is_launch { self.theme.ui.text } else { self.theme.ui.accent };
            // A call launches somewhere before it returns; its end is the point that always comes after that.
            let start = if from.right() <= to.left() { from.right_center() } else { from.left_center() };
            chrome::paint_arrow(painter, areas.rows, start, to.left_center(), fade(color, 0.85));
        }
    }
}

/// Widths of the printable ASCII characters in the font of labels, in logical pixels.
fn measure_characters(ui: &Ui) -> Box<[f32; 128]> {
    let font = chrome::font(metrics::BAR_FONT);
    let mut widths = Box::new([0.0; 128]);
    ui.ctx().fonts_mut(|fonts| {
        for (code, width) in (0_u8..128).zip(widths.iter_mut()).skip(32) {
            *width = fonts.glyph_width(&font, char::from(code));
        }
    });
    widths
}
