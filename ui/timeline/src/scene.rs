//! The picture of the rows: bars as one mesh, dense rows as strips of one texture, labels, overlays, counters.
//!
//! # Choice per row
//!
//! Let `w` be the width in pixels and `n` the visible events of a row. `n ≤ w/8`: bars, one quad each. Otherwise a
//! strip one texel high: exact from the events while `n ≤ w/2`, from the pyramid beyond (see `lod.rs`). Long events
//! inside a strip are found again as runs of equal texels and get a bar and a label of their own.
//!
//! Invariant: bars and texels of a frame are bounded by the pixels of the rows on screen, whatever the trace.

use std::borrow::Cow;
use std::sync::Arc;

use egui::epaint::{Vertex, WHITE_UV};
use egui::{Color32, Mesh, Pos2, Rangef, Rect, pos2};
use gapless_trace::{EventId, EventKind, RankId, RowId, Span, StrId, Trace};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::communication::{CollectiveWaits, wait_of};
use crate::index::TimelineIndex;
use crate::layout::{ListId, RowSource};
use crate::lod::{Grid, PixelColumn, add_events};
use crate::names::display_name;
use crate::overlay::{BarStyle, Marks, Overlay, OverlayPlace};
use crate::path::PathLayer;
use crate::placement::{PlacedRow, Placement, RowContent};
use crate::sequence::{AnySequence, Sequence, with_sequence};
use crate::shifts::Shifts;
use crate::theme::{ColorId, Theme, fade, metrics, mix};
use crate::viewport::Viewport;

/// Events of a list that are looked up for each picture.
const MOST_LOOKED_UP: usize = 16_384;

/// What a frame drew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameStats {
    /// Quads for events, marks and counter steps.
    pub bars: usize,
    /// Vertices of all meshes of the rows.
    pub vertices: usize,
    /// Texels of the strips.
    pub texels: usize,
    /// Labels on bars.
    pub labels: usize,
    /// Rows on screen.
    pub rows: usize,
    /// Cells and events that were read for the strips.
    pub read: usize,
    /// Whether the picture of the frame before was used again.
    pub reused: bool,
}

/// A label on a bar.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub left_center: Pos2,
    pub text: String,
    pub color: Color32,
}

/// The picture.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scene {
    pub bars: Arc<Mesh>,
    /// Strips: the mesh without its texture, and the texels (width, pixels row by row).
    pub strips: Mesh,
    pub texels: (usize, Vec<Color32>),
    /// Drawn over strips and bars.
    pub marks: Arc<Mesh>,
    pub labels: Vec<Label>,
    /// For the next picture with the same matches.
    pub lit: Lit,
    pub stats: FrameStats,
}

/// The matches among the events of long lists, by start.
pub(crate) type Lit = FxHashMap<ListId, Arc<[EventId]>>;

/// What the picture is made of.
#[derive(Clone, Copy)]
pub(crate) struct SceneInput<'a> {
    pub trace: &'a Trace,
    pub index: &'a TimelineIndex,
    pub theme: &'a Theme,
    pub view: &'a Viewport,
    /// Horizontal extent in logical pixels.
    pub x: Rangef,
    pub pixels_per_point: f32,
    /// The widest strip that the renderer takes, in pixels.
    pub max_texture_side: usize,
    pub matches: Option<&'a [EventId]>,
    /// Names of frames that match, ascending: frames of sampled stacks have no events of their own.
    pub matching_names: Option<&'a [StrId]>,
    pub overlays: &'a [Overlay],
    /// How long collectives wait, where that is known.
    pub waits: Option<&'a CollectiveWaits>,
    /// By how much each rank is shifted.
    pub shifts: &'a Shifts,
    /// The critical path.
    pub path: Option<&'a PathLayer>,
    /// Advance width of each ASCII character of the bar font.
    pub char_widths: &'a [f32; 128],
}

pub(crate) struct SceneBuilder<'a> {
    pub input: SceneInput<'a>,
    /// The view on the clock of the present row's rank.
    pub view: Viewport,
    grid: Grid,
    /// The start of the grid for a rank that is not shifted.
    grid_start_ns: i64,
    bars: Mesh,
    pub marks: Mesh,
    pub labels: Vec<Label>,
    strips: Vec<Rect>,
    texels: Vec<Color32>,
    columns: Vec<PixelColumn>,
    /// Those that earlier pictures looked up.
    pub lit: Lit,
    /// Whether the present row is a line of communication.
    in_collectives: bool,
    pub stats: FrameStats,
}

/// Appends a quad. Four vertices without feathering: a fifth of the cost of `rect_filled`.
#[inline]
pub(crate) fn push_quad(mesh: &mut Mesh, rect: Rect, color: Color32) {
    let first = mesh.vertices.len() as u32;
    mesh.indices.extend_from_slice(&[first, first + 1, first + 2, first + 2, first + 1, first + 3]);
    let vertex = |pos| Vertex { pos, uv: WHITE_UV, color };
    mesh.vertices.extend_from_slice(&[
        vertex(rect.left_top()),
        vertex(rect.right_top()),
        vertex(rect.left_bottom()),
        vertex(rect.right_bottom()),
    ]);
}

/// Appends stripes from bottom left to top right, cut to `rect`: as many as `rect` is wide, over 6 pixels.
/// Their phase is that of the screen, so that neighbours join.
pub(crate) fn push_stripes(mesh: &mut Mesh, rect: Rect, color: Color32) -> usize {
    const PERIOD: f32 = 6.0;
    const THICKNESS: f32 = 1.4;
    let height = rect.height();
    let first = ((rect.left() - height) / PERIOD).floor() * PERIOD;
    let count = ((rect.right() - first) / PERIOD).ceil().max(0.0) as usize;
    for stripe in 0..count {
        // The stripe covers x from `at` at the bottom to `at + height` at the top.
        let at = first + stripe as f32 * PERIOD;
        let cut = |x: f32| -> (f32, f32) {
            let low = (rect.left() - x).clamp(0.0, height);
            let high = (rect.right() - x).clamp(0.0, height);
            (low, high)
        };
        let ((a0, a1), (b0, b1)) = (cut(at), cut(at + THICKNESS));
        if a1 <= a0 && b1 <= b0 {
            continue;
        }
        let index = mesh.vertices.len() as u32;
        let at_rise = |x: f32, rise: f32| Vertex { pos: pos2(x + rise, rect.bottom() - rise), uv: WHITE_UV, color };
        mesh.vertices.extend_from_slice(&[
            at_rise(at, a0),
            at_rise(at + THICKNESS, b0),
            at_rise(at, a1),
            at_rise(at + THICKNESS, b1),
        ]);
        mesh.indices.extend_from_slice(&[index, index + 1, index + 2, index + 2, index + 1, index + 3]);
    }
    count
}

impl<'a> SceneBuilder<'a> {
    pub fn new(input: SceneInput<'a>) -> Self {
        let wanted = (input.x.span() * input.pixels_per_point).round().max(1.0) as usize;
        let columns = wanted.min(input.max_texture_side.max(1));
        let start = input.view.visible().start;
        let grid = Grid {
            start_ns: start.0,
            start_fraction: -input.view.offset_ns(start),
            ns_per_column: input.view.span_ns() / columns as f64,
            columns,
        };
        Self {
            view: *input.view,
            grid_start_ns: grid.start_ns,
            input,
            grid,
            bars: Mesh::default(),
            marks: Mesh::default(),
            labels: Vec::new(),
            strips: Vec::new(),
            texels: Vec::new(),
            columns: Vec::new(),
            lit: Lit::default(),
            in_collectives: false,
            stats: FrameStats::default(),
        }
    }

    /// Adds the rows of `placement` that lie in `clip`, with y 0 at `origin_y`.
    pub fn add(&mut self, placement: &Placement, origin_y: f32, clip: Rangef) {
        let index = self.input.index;
        for row in placement.rows_in(clip.min - origin_y, clip.max - origin_y) {
            let y = Rangef::new(origin_y + row.y, origin_y + row.y + row.height - 1.0);
            self.stats.rows += 1;
            self.shift(row.rank);
            let mut single = [RowSource::List(ListId(0))];
            self.in_collectives = matches!(row.content, RowContent::Collectives(_) | RowContent::Communication(_));
            let sources = sources_of(index, row.content, &mut single);
            if let [RowSource::Counter(counter)] = sources {
                self.counter(*counter, y);
            } else {
                self.events(sources, row, y);
            }
            if let Some(runs) = row.on_cpu {
                self.on_cpu(runs, y);
            }
            self.overlays(row, sources, y);
            self.path_of_row(row, sources, y);
        }
        self.hops(placement, origin_y, clip);
    }

    /// Looks at time as `rank` recorded it.
    pub fn shift(&mut self, rank: RankId) {
        let shift = self.input.shifts.of(rank);
        self.view = self.input.view.shifted(shift);
        self.grid.start_ns = self.grid_start_ns.saturating_add(shift.0);
    }

    /// The finished picture.
    pub fn finish(mut self) -> Scene {
        let rows = self.strips.len();
        let mut strips = Mesh::default();
        for (place, rect) in self.strips.iter().enumerate() {
            let (top, bottom) = (place as f32 / rows as f32, (place + 1) as f32 / rows as f32);
            strips.add_rect_with_uv(*rect, Rect::from_min_max(pos2(0.0, top), pos2(1.0, bottom)), Color32::WHITE);
        }
        self.stats.vertices = self.bars.vertices.len() + self.marks.vertices.len() + strips.vertices.len();
        self.stats.texels = self.texels.len();
        self.stats.labels = self.labels.len();
        Scene {
            bars: Arc::new(self.bars),
            strips,
            texels: (self.grid.columns, self.texels),
            marks: Arc::new(self.marks),
            labels: self.labels,
            lit: self.lit,
            stats: self.stats,
        }
    }

    fn events(&mut self, sources: &[RowSource], row: &PlacedRow, y: Rangef) {
        let SceneInput { trace, index, .. } = self.input;
        let mut visible = Vec::with_capacity(sources.len());
        let mut count = 0;
        for &source in sources {
            let Some((sequence, pyramid)) = index.sequence(trace, source) else { continue };
            let range = with_sequence!(sequence, events => self.grid.touching(&events, pyramid));
            if !range.is_empty() {
                count += range.len();
                visible.push((sequence, pyramid, range));
            }
        }
        let labelled = y.span() >= 11.0 && sources.len() == 1;
        if count <= self.grid.columns / 8 {
            for (sequence, _, range) in visible {
                with_sequence!(sequence, events => {
                    for event in range {
                        self.bar(&events, event, row.depth, y, labelled);
                    }
                });
            }
            return;
        }
        let mut columns = std::mem::take(&mut self.columns);
        columns.clear();
        columns.resize(self.grid.columns, PixelColumn::default());
        for (sequence, pyramid, range) in &visible {
            with_sequence!(*sequence, events => match pyramid {
                Some(pyramid) if range.len() > self.grid.columns / 2 => {
                    self.stats.read += pyramid.add_to(&events, &self.grid, &mut columns);
                }
                _ => {
                    self.stats.read += range.len();
                    add_events(&events, range.clone(), &self.grid, &mut columns);
                }
            });
        }
        self.strip(&columns, row.depth, y);
        for &source in sources {
            self.matching_texels(source, row.depth);
        }
        if let [(sequence, _, range)] = visible.as_slice() {
            with_sequence!(*sequence, events => self.waits_of(&events, range.clone(), y));
        }
        if let [(sequence, _, range)] = visible.as_slice() {
            with_sequence!(*sequence, events => {
                if labelled {
                    self.long_events(&events, range.clone(), &columns, row.depth, y);
                }
            });
        }
        self.columns = columns;
    }

    fn is_dimmed(&self, event: EventId) -> bool {
        self.input.matches.is_some_and(|matches| matches.binary_search(&event).is_err())
    }

    /// What is communication is drawn as such where it stands among others of its kind, whatever it is on its thread.
    fn shown(&self, color: ColorId) -> ColorId {
        if self.in_collectives { as_communication(color) } else { color }
    }

    fn dimmed(&self, color: Color32) -> Color32 {
        mix(color, self.input.theme.ui.background, 0.78)
    }

    pub fn x(&self, time_ns: i64) -> f32 {
        let x = self.input.x;
        // Far outside of the view, positions of single precision would be too coarse to be told apart.
        self.view.x_of(gapless_trace::Timestamp(time_ns), x).clamp(x.min - 8.0, x.max + 8.0)
    }

    fn bar(&mut self, events: &impl Sequence, event: usize, depth: u16, y: Rangef, labelled: bool) {
        let pixel = 1.0 / self.input.pixels_per_point;
        let x0 = self.x(events.start(event));
        let x1 = self.x(events.end(event));
        let width = x1 - x0;
        // Neighbours of one colour stay apart.
        let x1 = if width > 3.0 { x1 - pixel } else { x1.max(x0 + pixel) };
        let mut color = self.input.theme.event(self.shown(events.color(event)), depth);
        let id = events.id(event);
        let dimmed = match events.name(event).zip(self.input.matching_names) {
            Some((name, names)) => names.binary_search(&name).is_err(),
            None => self.is_dimmed(id),
        };
        if dimmed {
            color = self.dimmed(color);
        }
        push_quad(&mut self.bars, Rect::from_x_y_ranges(x0..=x1, y), color);
        self.stats.bars += 1;
        let is_collective = self.in_collectives || events.color(event).kind().is_communication();
        let wait = self.input.waits.filter(|_| is_collective).and_then(|waits| wait_of(waits, id));
        if let Some(wait) = wait {
            let until = self.x(events.start(event).saturating_add(wait.0)).min(x1);
            if until - x0 >= 1.0 {
                let rect = Rect::from_x_y_ranges(x0..=until, y);
                push_quad(&mut self.bars, rect, self.input.theme.ui.waiting);
                self.stats.bars += 1 + push_stripes(&mut self.bars, rect, self.input.theme.hatch_stripe());
                if labelled && x1 - until >= metrics::MIN_LABEL_WIDTH {
                    self.label(id, None, until, x1, y, self.input.theme.text_on(color));
                }
                return;
            }
        }
        if labelled && width >= metrics::MIN_LABEL_WIDTH {
            let text_color = if dimmed { self.input.theme.ui.faint } else { self.input.theme.text_on(color) };
            self.label(id, events.name(event), x0, x1, y, text_color);
        }
    }

    /// Hatches what the collectives of a strip wait, as far as that can be seen.
    fn waits_of(&mut self, events: &impl Sequence, range: std::ops::Range<usize>, y: Rangef) {
        let Some(waits) = self.input.waits.filter(|waits| !waits.is_empty()) else { return };
        // With more events than pixels no wait is wide enough for a hatch.
        if range.len() > self.grid.columns {
            return;
        }
        for event in range {
            if !(self.in_collectives || events.color(event).kind().is_communication()) {
                continue;
            }
            let Some(wait) = wait_of(waits, events.id(event)) else { continue };
            let (x0, x1) = (self.x(events.start(event)), self.x(events.start(event).saturating_add(wait.0)));
            if x1 - x0 >= 2.0 {
                let rect = Rect::from_x_y_ranges(x0..=x1, y);
                // Over the strip, which is drawn before the bars.
                push_quad(&mut self.bars, rect, self.input.theme.ui.waiting);
                self.stats.bars += 1 + push_stripes(&mut self.bars, rect, self.input.theme.hatch_stripe());
            }
        }
    }

    fn label(&mut self, id: EventId, name: Option<StrId>, x0: f32, x1: f32, y: Rangef, color: Color32) {
        let left = x0.max(self.input.x.min) + metrics::SPACE;
        let room = x1.min(self.input.x.max) - left - 2.0;
        if room < metrics::MIN_LABEL_WIDTH - 2.0 * metrics::SPACE {
            return;
        }
        let name = display_name(name.map_or_else(|| self.input.trace.name(id), |name| self.input.trace.text(name)));
        let text = cut_to_width(&name, room, self.input.char_widths);
        if !text.is_empty() {
            self.labels.push(Label { left_center: pos2(left, y.center()), text: text.to_owned(), color });
        }
    }

    fn strip(&mut self, columns: &[PixelColumn], depth: u16, y: Rangef) {
        /// Opacity of a texel that is hardly touched: one short event in a wide pixel is still seen. From there it grows
        /// evenly with the busy share.
        const FAINTEST: f32 = 0.35;
        let table = self.input.theme.event_table(depth);
        let background = self.input.theme.ui.background;
        let dim = self.input.matches.is_some();
        let in_collectives = self.in_collectives;
        let texels = columns.iter().map(|column| {
            if column.longest_ns <= 0.0 {
                return Color32::TRANSPARENT;
            }
            let shown = if in_collectives { as_communication(column.color) } else { column.color };
            let color = table.get(usize::from(shown.0)).copied().unwrap_or_default();
            let color = if dim { mix(color, background, 0.78) } else { color };
            scale(color, ((FAINTEST + (1.0 - FAINTEST) * column.busy.min(1.0)) * 255.0) as u32)
        });
        self.texels.extend(texels);
        self.strips.push(Rect::from_x_y_ranges(self.input.x, y));
    }

    /// Lights the texels of the last strip that a match touches. One step per texel at most.
    fn matching_texels(&mut self, source: RowSource, depth: u16) {
        let SceneInput { trace, index, theme, .. } = self.input;
        let Some(matches) = self.input.matches else { return };
        let matches = self.matches_of(source, matches);
        let table = theme.event_table(depth);
        let strip = self.texels.len() - self.grid.columns;
        let Some(texels) = self.texels.get_mut(strip..) else { return };
        if let (RowSource::Flame(..), Some(names)) = (source, self.input.matching_names) {
            let Some((sequence, pyramid)) = index.sequence(trace, source) else { return };
            with_sequence!(sequence, bars => {
                let visible = self.grid.touching(&bars, pyramid);
                for bar in visible.take(MOST_LOOKED_UP) {
                    if bars.name(bar).is_some_and(|name| names.binary_search(&name).is_ok()) {
                        let color = table.get(usize::from(bars.color(bar).0)).copied().unwrap_or_default();
                        for_each_run(&bars, &self.grid, bar..bar + 1, |columns, _| {
                            texels.get_mut(columns).into_iter().flatten().for_each(|texel| *texel = color);
                        });
                    }
                }
            });
            return;
        }
        with_sequence!(index.events(trace, &matches), found => {
            let visible = self.grid.touching(&found, None);
            for_each_run(&found, &self.grid, visible, |columns, event| {
                let color = table.get(usize::from(found.color(event).0)).copied().unwrap_or_default();
                texels.get_mut(columns).into_iter().flatten().for_each(|texel| *texel = color);
            });
        });
    }

    /// Bars and labels for events that fill a run of texels.
    fn long_events(
        &mut self,
        events: &impl Sequence,
        range: std::ops::Range<usize>,
        columns: &[PixelColumn],
        depth: u16,
        y: Rangef,
    ) {
        let needed = (metrics::MIN_LABEL_WIDTH * self.input.pixels_per_point) as usize;
        let mut from = 0;
        while let Some(&first) = columns.get(from) {
            let alike = |column: &&PixelColumn| {
                column.longest_ns == first.longest_ns && column.color == first.color && column.busy > 0.98
            };
            let length = columns.iter().skip(from).take_while(alike).count().max(1);
            if length + 2 >= needed && first.longest_ns > 0.0 {
                let middle = self.grid.time(from as f64 + length as f64 / 2.0);
                let after = events.first_starting_at(range.clone(), middle.saturating_add(1));
                if after > range.start && events.end(after - 1) > middle {
                    self.bar(events, after - 1, depth, y, true);
                }
            }
            from += length;
        }
    }

    fn overlays(&mut self, row: &PlacedRow, sources: &[RowSource], y: Rangef) {
        let input = self.input;
        for overlay in input.overlays {
            match &overlay.marks {
                Marks::Spans(place, spans) if self.is_in(*place, row, sources) => {
                    for (x0, x1) in self.span_runs(spans) {
                        self.mark(overlay, x0, x1, y);
                    }
                }
                Marks::Spans(..) => {}
                Marks::Events(events) => {
                    for &source in sources {
                        let ids = self.events_of(source, events);
                        let AnySequence::List(found) = input.index.events(input.trace, &ids) else { continue };
                        let visible = self.grid.touching(&found, None);
                        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
                        for_each_run(&found, &self.grid, visible, |columns, _| match runs.last_mut() {
                            Some(last) if columns.start <= last.end => last.end = columns.end,
                            _ => runs.push(columns),
                        });
                        let per_column = input.x.span() / self.grid.columns as f32;
                        for run in runs {
                            let x0 = input.x.min + run.start as f32 * per_column;
                            self.mark(overlay, x0, input.x.min + run.end as f32 * per_column, y);
                        }
                    }
                }
            }
        }
    }

    /// Where disjoint ranges of time, ascending, lie on screen. Ranges within a pixel of one another are one: at most one
    /// every other pixel.
    pub fn span_runs(&self, spans: &[Span]) -> Vec<(f32, f32)> {
        let visible = self.view.visible();
        let from = spans.partition_point(|span| span.end <= visible.start);
        let to = spans.partition_point(|span| span.start < visible.end);
        let mut at = from;
        let mut runs = Vec::new();
        while let Some(first) = spans.get(at).filter(|_| at < to) {
            let (x0, mut x1) = (self.x(first.start.0), self.x(first.end.0));
            at += 1;
            while let Some(next) = spans.get(at).filter(|_| at < to) {
                if self.x(next.start.0) > x1.max(x0 + 1.0) {
                    break;
                }
                x1 = self.x(next.end.0);
                let beyond = self.grid.time(f64::from((x1 - self.input.x.min) * self.input.pixels_per_point));
                let rest = spans.get(at..to).unwrap_or_default();
                at += rest.partition_point(|span| span.end.0 <= beyond).max(1);
            }
            runs.push((x0, x1));
        }
        runs
    }

    /// The matches that a row shows, by start. Those of lists with many visible events are looked up once for all
    /// pictures.
    fn matches_of<'e>(&mut self, source: RowSource, matches: &'e [EventId]) -> Cow<'e, [EventId]> {
        let SceneInput { trace, index, .. } = self.input;
        let RowSource::List(list) = source else { return self.events_of(source, matches) };
        let whole = index.layout().list(list);
        if whole.len() <= MOST_LOOKED_UP || matches.is_empty() {
            return self.events_of(source, matches);
        }
        let found = self.lit.entry(list).or_insert_with(|| {
            whole.par_iter().copied().filter(|id| matches.binary_search(id).is_ok()).collect::<Vec<_>>().into()
        });
        let found = Arc::clone(found);
        let AnySequence::List(shown) = index.events(trace, &found) else { return Cow::Borrowed(&[]) };
        let visible = self.grid.touching(&shown, None);
        Cow::Owned(found.get(visible).unwrap_or_default().to_vec())
    }

    /// Those of `events` (ascending) that a row shows, by start. For rows of the trace that is a slice. Lists have their
    /// events in another order: their visible events are looked up one by one, unless there are too many to.
    fn events_of<'e>(&self, source: RowSource, events: &'e [EventId]) -> Cow<'e, [EventId]> {
        let SceneInput { trace, index, .. } = self.input;
        match source {
            RowSource::Row(RowId(row)) => {
                let range = trace.rows().get(row as usize).map_or(0..0, |row| row.events.clone());
                let from = events.partition_point(|id| id.0 < range.start);
                let to = events.partition_point(|id| id.0 < range.end);
                Cow::Borrowed(events.get(from..to).unwrap_or_default())
            }
            RowSource::List(list) => {
                let Some((sequence, pyramid)) = index.sequence(trace, source) else { return Cow::Borrowed(&[]) };
                let visible = with_sequence!(sequence, shown => self.grid.touching(&shown, pyramid));
                let shown = index.layout().list(list).get(visible).unwrap_or_default();
                if shown.len() > MOST_LOOKED_UP {
                    return Cow::Borrowed(&[]);
                }
                Cow::Owned(shown.iter().copied().filter(|id| events.binary_search(id).is_ok()).collect())
            }
            RowSource::Counter(_) | RowSource::Flame(..) => Cow::Borrowed(&[]),
        }
    }

    /// A thin line along the top of a thread: bright where it runs on a processor. One step per pixel at most.
    fn on_cpu(&mut self, runs: RowSource, y: Rangef) {
        const THICKNESS: f32 = 2.5;
        let SceneInput { trace, index, theme, .. } = self.input;
        let Some((sequence, pyramid)) = index.sequence(trace, runs) else { return };
        let line = Rangef::new(y.min, y.min + THICKNESS);
        with_sequence!(sequence, events => {
            let Some(last) = events.len().checked_sub(1) else { return };
            let (x0, x1) = (self.x(events.start(0)), self.x(events.end(last)));
            push_quad(&mut self.marks, Rect::from_x_y_ranges(x0..=x1, line), theme.ui.waiting);
            self.stats.bars += 1;
            let visible = self.grid.touching(&events, pyramid);
            let per_column = self.input.x.span() / self.grid.columns as f32;
            let left = self.input.x.min;
            let mut joined: Option<std::ops::Range<usize>> = None;
            let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
            for_each_run(&events, &self.grid, visible, |columns, _| match &mut joined {
                Some(open) if columns.start <= open.end => open.end = columns.end.max(open.end),
                _ => runs.extend(joined.replace(columns)),
            });
            runs.extend(joined);
            for run in runs {
                let x = left + run.start as f32 * per_column..=left + run.end as f32 * per_column;
                push_quad(&mut self.marks, Rect::from_x_y_ranges(x, line), theme.ui.good);
                self.stats.bars += 1;
            }
        });
    }

    fn is_in(&self, place: OverlayPlace, row: &PlacedRow, sources: &[RowSource]) -> bool {
        let row_ids =
            || sources.iter().filter_map(|source| if let RowSource::Row(id) = source { Some(*id) } else { None });
        match place {
            OverlayPlace::Everywhere => true,
            OverlayPlace::Rank(rank) => row.rank == rank,
            OverlayPlace::Row(wanted) => row_ids().any(|row| row == wanted),
            OverlayPlace::Track(wanted) => {
                row.track == Some(wanted)
                    || row_ids()
                        .any(|row| self.input.trace.rows().get(row.index()).is_some_and(|row| row.track == wanted))
            }
        }
    }

    fn mark(&mut self, overlay: &Overlay, x0: f32, x1: f32, y: Rangef) {
        let pixel = 1.0 / self.input.pixels_per_point;
        let rect = Rect::from_x_y_ranges(x0..=x1.max(x0 + pixel), y);
        let color = overlay.color.resolve(self.input.theme);
        let mesh = &mut self.marks;
        match overlay.style {
            BarStyle::Solid => push_quad(mesh, rect, color),
            BarStyle::Tint => push_quad(mesh, rect, fade(color, 0.3)),
            BarStyle::Hatched => {
                push_quad(mesh, rect, fade(color, 0.35));
                if rect.width() > 3.0 {
                    self.stats.bars += push_stripes(mesh, rect, mix(color, self.input.theme.ui.text, 0.3));
                }
            }
            BarStyle::Outline if rect.width() < 4.0 => push_quad(mesh, rect, color),
            BarStyle::Outline => push_outline(mesh, rect, 1.5, color),
        }
        self.stats.bars += 1;
    }

    fn counter(&mut self, id: gapless_trace::CounterId, y: Rangef) {
        let SceneInput { trace, index, theme, x, .. } = self.input;
        let (Some(series), Some(pyramid)) = (trace.counters().get(id.index()), index.counter(id)) else { return };
        let whole = pyramid.whole();
        if whole.is_empty() {
            return;
        }
        // Areas stand on zero, unless the series goes below.
        let base = whole.low.min(0.0);
        let scale = y.span() / (whole.high - base).max(f32::MIN_POSITIVE);
        let height = |value: f32| y.max - (value - base) * scale;
        let line = theme.data.asynchronous;
        let area = fade(line, 0.25);
        let columns = (x.span() as usize).max(1);
        let (mut sample, mut at) = (None::<usize>, 0);
        let mut run: Option<(f32, f32, crate::counter::Extent)> = None;
        let mut draw = |(x0, x1, extent): (f32, f32, crate::counter::Extent)| {
            let top = height(extent.high);
            let bottom = height(extent.low).max(top + 1.0);
            push_quad(&mut self.bars, Rect::from_min_max(pos2(x0, top), pos2(x1, y.max)), area);
            push_quad(&mut self.bars, Rect::from_min_max(pos2(x0, top), pos2(x1, bottom)), line);
            self.stats.bars += 2;
        };
        for column in 0..columns {
            let (x0, x1) = (x.min + column as f32, (x.min + column as f32 + 1.0).min(x.max));
            let end = self.view.time_at(x1, x).0;
            if column == 0 {
                let start = self.view.time_at(x0, x).0;
                at = series.times.partition_point(|&time| time <= start);
                sample = at.checked_sub(1);
            }
            let rest = series.times.get(at..).unwrap_or_default();
            let next = at + rest.partition_point(|&time| time < end);
            let extent = pyramid.extent(&series.values, sample.unwrap_or(at)..next.max(sample.map_or(at, |s| s + 1)));
            (at, sample) = (next, next.checked_sub(1));
            if extent.is_empty() {
                run.take().into_iter().for_each(&mut draw);
                continue;
            }
            match &mut run {
                Some((_, right, same)) if *same == extent => *right = x1,
                _ => run.replace((x0, x1, extent)).into_iter().for_each(&mut draw),
            }
        }
        run.into_iter().for_each(draw);
    }
}

/// Paints a hatched bar: waiting, idle, simulated. For legends and bars outside of the timeline.
pub fn paint_hatched(painter: &egui::Painter, rect: Rect, color: Color32, theme: &Theme) {
    let mut mesh = Mesh::default();
    push_quad(&mut mesh, rect, fade(color, 0.5));
    push_stripes(&mut mesh, rect, mix(color, theme.ui.text, 0.3));
    painter.add(mesh);
}

/// Appends four quads along the edges of `rect`, inside.
pub(crate) fn push_outline(mesh: &mut Mesh, rect: Rect, width: f32, color: Color32) {
    let (min, max) = (rect.min, rect.max);
    push_quad(mesh, Rect::from_min_max(min, pos2(max.x, min.y + width)), color);
    push_quad(mesh, Rect::from_min_max(pos2(min.x, max.y - width), max), color);
    push_quad(mesh, Rect::from_min_max(min, pos2(min.x + width, max.y)), color);
    push_quad(mesh, Rect::from_min_max(pos2(max.x - width, min.y), max), color);
}

/// The colour of communication of the same shade.
fn as_communication(color: ColorId) -> ColorId {
    let kind = if color.kind().is_communication() { color.kind() } else { EventKind::Collective };
    ColorId::new(kind, color.shade())
}

/// A colour at an opacity of 0 to 255, premultiplied.
#[inline]
fn scale(color: Color32, opacity: u32) -> Color32 {
    let [r, g, b, a] = color.to_array().map(|channel| ((u32::from(channel) * opacity + 127) / 255) as u8);
    Color32::from_rgba_premultiplied(r, g, b, a)
}

/// Runs of columns that the events of `range` touch, with the first event of each run. An event that begins in a
/// column that is already covered is skipped by a search, so there are at most as many steps as columns.
fn for_each_run(
    events: &impl Sequence,
    grid: &Grid,
    range: std::ops::Range<usize>,
    mut run: impl FnMut(std::ops::Range<usize>, usize),
) {
    let mut at = range.start;
    let per_column = 1.0 / grid.ns_per_column;
    let column_of = |time: i64| {
        let x = (time.saturating_sub(grid.start_ns) as f64 - grid.start_fraction) * per_column;
        x.clamp(0.0, grid.columns as f64)
    };
    while at < range.end {
        let first = column_of(events.start(at)) as usize;
        let last = (column_of(events.end(at)).ceil() as usize).max(first + 1).min(grid.columns);
        run(first..last, at);
        let covered = grid.time(last as f64);
        at = events.first_starting_at(at + 1..range.end, covered);
    }
}

/// The longest beginning of `text` that is at most `width` wide.
fn cut_to_width<'t>(text: &'t str, width: f32, char_widths: &[f32; 128]) -> &'t str {
    /// Characters outside of ASCII are rare in names; a wide guess cuts them a little early.
    const WIDE: f32 = 11.0;
    let mut used = 0.0;
    for (at, character) in text.char_indices() {
        used += char_widths.get(character as usize).copied().unwrap_or(WIDE);
        if used > width {
            return text.get(..at).unwrap_or_default().trim_end();
        }
    }
    text
}

/// What a row draws: one source, or those of a folded rank.
pub(crate) fn sources_of<'a>(
    index: &'a TimelineIndex,
    content: RowContent,
    single: &'a mut [RowSource; 1],
) -> &'a [RowSource] {
    let rank = |place: usize| index.layout().ranks().get(place);
    match content {
        RowContent::Source(source) | RowContent::Collectives(source) => {
            *single = [source];
            single
        }
        RowContent::Device(place) => rank(place).map_or(&[], |node| &node.device),
        RowContent::Communication(place) => rank(place).map_or(&[], |node| &node.communication),
    }
}
