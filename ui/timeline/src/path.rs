//! The critical path over the rows: outlines around work that is on it, a line along threads that are, connectors where it
//! goes from one track to another, hatching where nothing explains a delay.
//!
//! Outlines run along the edges of bars and connectors are cut where a label stands, so that no text is crossed. Stretches
//! within a pixel of one another are drawn as one and a column of pixels has few connectors: the picture is bounded by
//! pixels, however long the path is.

use egui::{Color32, Rangef, Rect, pos2};
use gapless_trace::{EventId, RankId, RowId, Span, Timestamp, Trace, TrackId};
use rustc_hash::FxHashMap;

use crate::layout::RowSource;
use crate::overlay::disjoint;
use crate::placement::{PlacedRow, Placement, RowContent};
use crate::scene::{SceneBuilder, push_outline, push_quad, push_stripes};
use crate::theme::fade;

/// What a stretch of the path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// Something runs: device work, or a thread.
    Work,
    /// A latency: what comes next waits for nothing but the machine.
    Pause,
    /// A delay that nothing explains.
    Unexplained,
}

/// A stretch of the critical path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathPiece {
    /// Its rank.
    pub rank: RankId,
    /// Its thread or stream; of a latency, that to which it leads.
    pub track: TrackId,
    /// The row of the trace with its event, if it is an event with a bar; `None` for time of a thread as a whole.
    pub row: Option<RowId>,
    /// When, on the clock of its rank.
    pub span: Span,
    /// When it begins on a clock that all ranks share.
    pub common: Timestamp,
    /// What it is.
    pub kind: PathKind,
}

#[derive(Clone, Debug, Default)]
struct Stretches {
    work: Vec<Span>,
    pauses: Vec<Span>,
    unexplained: Vec<Span>,
}

impl Stretches {
    fn tidy(&mut self) {
        for spans in [&mut self.work, &mut self.pauses, &mut self.unexplained] {
            *spans = disjoint(std::mem::take(spans));
        }
    }

    fn push(&mut self, kind: PathKind, span: Span) {
        match kind {
            PathKind::Work => self.work.push(span),
            PathKind::Pause => self.pauses.push(span),
            PathKind::Unexplained => self.unexplained.push(span),
        }
    }
}

/// One end of a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    rank: RankId,
    track: TrackId,
    row: Option<RowId>,
    at: Timestamp,
}

/// From one track to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hop {
    common: Timestamp,
    from: End,
    to: End,
}

/// The critical path, ready to be drawn. Make it once, beside the frames.
#[derive(Clone, Debug, Default)]
pub struct PathLayer {
    rows: FxHashMap<RowId, Stretches>,
    threads: FxHashMap<TrackId, Stretches>,
    hosts: FxHashMap<RankId, Stretches>,
    hops: Vec<Hop>,
    /// The most by which the clock of a rank differs from the common one.
    skew_ns: i64,
}

impl PathLayer {
    /// The layer of a path whose pieces ascend by common time; `unexplained` are further delays of device rows, on the
    /// path or not. O(n log n).
    #[must_use]
    pub fn new(pieces: &[PathPiece], unexplained: &[(RowId, Span)]) -> Self {
        let mut layer = Self::default();
        let mut before: Option<End> = None;
        for piece in pieces {
            layer.skew_ns = layer.skew_ns.max((piece.span.start - piece.common).0.saturating_abs());
            let end = |at| End { rank: piece.rank, track: piece.track, row: piece.row, at };
            let from = before.filter(|from| (from.rank, from.track) != (piece.rank, piece.track));
            // A latency that leads to another track is the connector itself.
            let leads = from.is_some() && piece.kind == PathKind::Pause;
            if let Some(from) = from {
                let to = end(if leads { piece.span.end } else { piece.span.start });
                layer.hops.push(Hop { common: piece.common, from, to });
            }
            before = Some(end(piece.span.end));
            if leads || piece.span.is_empty() {
                continue;
            }
            match piece.row {
                Some(row) => layer.rows.entry(row).or_default().push(piece.kind, piece.span),
                None => {
                    layer.threads.entry(piece.track).or_default().push(piece.kind, piece.span);
                    layer.hosts.entry(piece.rank).or_default().push(piece.kind, piece.span);
                }
            }
        }
        for &(row, span) in unexplained {
            layer.rows.entry(row).or_default().push(PathKind::Unexplained, span);
        }
        layer.rows.values_mut().for_each(Stretches::tidy);
        layer.threads.values_mut().for_each(Stretches::tidy);
        layer.hosts.values_mut().for_each(Stretches::tidy);
        layer.hops.sort_by_key(|hop| hop.common);
        layer
    }

    /// How often it goes from one track to another.
    #[must_use]
    pub fn hops(&self) -> usize {
        self.hops.len()
    }

    /// Whether the path runs through an event: through its bar, or on its thread while it lasts.
    #[must_use]
    pub fn runs_through(&self, trace: &Trace, event: EventId) -> bool {
        let Some((row, entry)) = trace.row_of(event) else { return false };
        let span = trace.event(event).span();
        let of_thread = self.threads.get(&entry.track).map_or(&[][..], |stretches| &stretches.work);
        let touches = |work: &[Span]| {
            let from = work.partition_point(|stretch| stretch.end <= span.start);
            work.get(from).is_some_and(|stretch| stretch.start < span.end)
        };
        touches(self.work_of(row)) || touches(of_thread)
    }

    /// The stretches of work of a row of the trace, ascending.
    #[must_use]
    pub fn work_of(&self, row: RowId) -> &[Span] {
        self.rows.get(&row).map_or(&[], |stretches| &stretches.work)
    }
}

const WIDTH: f32 = 1.5;
/// Connectors that begin in one column of pixels.
const PER_COLUMN: usize = 3;
/// Columns of pixels whose labels are looked through together.
const BUCKET: f32 = 64.0;

impl SceneBuilder<'_> {
    /// What of the path lies in a row.
    pub fn path_of_row(&mut self, row: &PlacedRow, sources: &[RowSource], y: Rangef) {
        let Some(path) = self.input.path else { return };
        let color = self.input.theme.ui.critical;
        for source in sources {
            if let RowSource::Row(id) = source
                && let Some(stretches) = path.rows.get(id)
            {
                for (x0, x1) in self.span_runs(&stretches.unexplained) {
                    self.unexplained(x0, x1, y);
                }
                for (x0, x1) in self.span_runs(&stretches.pauses) {
                    let middle = y.center();
                    self.line(Rect::from_x_y_ranges(x0..=x1, middle - 0.5..=middle + 0.5), fade(color, 0.8));
                }
                for (x0, x1) in self.span_runs(&stretches.work) {
                    self.path_outline(x0, x1, y, color);
                }
            }
        }
        if !row.is_first {
            return;
        }
        let host = match (row.content, row.track) {
            (RowContent::Device(_), _) => path.hosts.get(&row.rank),
            (_, Some(track)) => path.threads.get(&track),
            _ => None,
        };
        let Some(host) = host else { return };
        let line = host_line(row, y);
        for (spans, opacity) in [(&host.work, 1.0), (&host.pauses, 0.6)] {
            for (x0, x1) in self.span_runs(spans) {
                self.line(Rect::from_x_y_ranges(x0..=x1, line), fade(color, opacity));
            }
        }
        for (x0, x1) in self.span_runs(&host.unexplained) {
            self.line(Rect::from_x_y_ranges(x0..=x1, line), self.input.theme.ui.waiting);
        }
    }

    fn line(&mut self, rect: Rect, color: Color32) {
        let pixel = 1.0 / self.input.pixels_per_point;
        let rect = Rect::from_min_max(rect.min, pos2(rect.max.x.max(rect.min.x + pixel), rect.max.y));
        push_quad(&mut self.marks, rect, color);
        self.stats.bars += 1;
    }

    fn path_outline(&mut self, x0: f32, x1: f32, y: Rangef, color: Color32) {
        let rect = Rect::from_x_y_ranges(x0..=x1, y);
        if rect.width() < 4.0 || rect.height() < 8.0 {
            // Too narrow for a line around it: one below, so that its own colour is still seen.
            let base = Rangef::new((y.max - 2.5).max(y.min), y.max);
            self.line(Rect::from_x_y_ranges(x0..=x1.max(x0 + 1.0), base), color);
        } else {
            push_outline(&mut self.marks, rect, WIDTH, color);
            self.stats.bars += 4;
        }
    }

    fn unexplained(&mut self, x0: f32, x1: f32, y: Rangef) {
        let rect = Rect::from_x_y_ranges(x0..=x1.max(x0 + 1.0), y.shrink(1.0));
        let theme = self.input.theme;
        push_quad(&mut self.marks, rect, fade(theme.ui.waiting, 0.6));
        self.stats.bars += 1;
        if rect.width() > 3.0 {
            self.stats.bars += push_stripes(&mut self.marks, rect, theme.hatch_stripe());
        }
    }

    /// The connectors between tracks, over all rows.
    pub fn hops(&mut self, placement: &Placement, origin_y: f32, clip: Rangef) {
        let Some(path) = self.input.path else { return };
        let visible = self.input.view.visible();
        let slack = path.skew_ns.saturating_add(self.input.shifts.largest_ns());
        let first = path.hops.partition_point(|hop| hop.common.0 < visible.start.0.saturating_sub(slack));
        let last = path.hops.partition_point(|hop| hop.common.0 <= visible.end.0.saturating_add(slack));
        let hops = path.hops.get(first..last.max(first)).unwrap_or_default();
        let columns = self.input.x.span().max(1.0) as usize;
        let mut used = vec![0_usize; columns];
        let labels = Labels::new(self);
        // Of very many, some of each column are looked at.
        let stride = (hops.len() / (columns * 8)).max(1);
        for hop in hops.iter().step_by(stride) {
            let (Some(from), Some(to)) = (self.end(placement, &hop.from), self.end(placement, &hop.to)) else {
                continue;
            };
            let (x0, x1) = (from.0, to.0);
            let x = self.input.x;
            if x1.max(x0) < x.min || x0.min(x1) > x.max || from.1.y == to.1.y {
                continue;
            }
            let column = ((x0.clamp(x.min, x.max) - x.min) as usize).min(columns - 1);
            let Some(count) = used.get_mut(column).filter(|count| **count < PER_COLUMN) else { continue };
            *count += 1;
            self.hop((x0, from.1), (x1, to.1), origin_y, clip, &labels);
        }
    }

    /// Where an end of a connector lies.
    fn end<'p>(&mut self, placement: &'p Placement, end: &End) -> Option<(f32, &'p PlacedRow)> {
        let row = placement.anchor(end.rank, end.track, end.row)?;
        self.shift(end.rank);
        Some((self.x(end.at.0), row))
    }

    fn hop(
        &mut self,
        (x0, from): (f32, &PlacedRow),
        (x1, to): (f32, &PlacedRow),
        origin_y: f32,
        clip: Rangef,
        labels: &Labels,
    ) {
        let color = fade(self.input.theme.ui.critical, 0.75);
        let range = |row: &PlacedRow| Rangef::new(origin_y + row.y, origin_y + row.y + row.height - 1.0);
        let (source, target) = (range(from), range(to));
        let down = target.min > source.min;
        let is_device = |row: &PlacedRow| !is_host(row);
        let near = |row: &PlacedRow, y: Rangef, from_above: bool| {
            if !is_device(row) {
                host_line(row, y).center()
            } else if from_above {
                y.min
            } else {
                y.max
            }
        };
        let is_long = x1 - x0 > 2.0;
        // The way along lies where nothing runs: on the device that waits, or along a thread's line.
        let along_source = is_long && is_device(from) && !is_device(to);
        let (vertical_x, along_y) = if along_source {
            (x1, source.center())
        } else if is_device(to) && is_long {
            (x0, target.center())
        } else {
            (x0, near(to, target, down))
        };
        let (start, end) =
            if along_source { (source.center(), near(to, target, down)) } else { (near(from, source, !down), along_y) };
        if is_long {
            let y = along_y.clamp(clip.min - 2.0, clip.max + 2.0);
            if y == along_y {
                self.line(Rect::from_x_y_ranges(x0..=x1, y - 0.5..=y + 0.5), color);
            }
        }
        let x = self.input.x;
        if vertical_x < x.min || vertical_x > x.max {
            return;
        }
        let (top, bottom) = (start.min(end).max(clip.min), start.max(end).min(clip.max));
        let mut at = top;
        for (label_top, label_bottom) in labels.at(vertical_x, top, bottom) {
            if label_top > at {
                self.line(Rect::from_x_y_ranges(vertical_x - 0.5..=vertical_x + 0.5, at..=label_top), color);
            }
            at = at.max(label_bottom);
        }
        if bottom > at {
            self.line(Rect::from_x_y_ranges(vertical_x - 0.5..=vertical_x + 0.5, at..=bottom), color);
        }
    }
}

/// Whether a row stands for a thread: there the path is a line along its top.
fn is_host(row: &PlacedRow) -> bool {
    row.is_host
}

/// The line along the top of a thread, below that of its time on processors; above a folded rank.
fn host_line(row: &PlacedRow, y: Rangef) -> Rangef {
    if matches!(row.content, RowContent::Device(_)) {
        return Rangef::new(y.min - 2.0, y.min - 0.5);
    }
    let top = if row.on_cpu.is_some() { y.min + 3.0 } else { y.min };
    Rangef::new(top, top + 2.0)
}

/// Where labels stand, by columns of pixels.
struct Labels {
    left: f32,
    buckets: Vec<Vec<Rect>>,
}

impl Labels {
    fn new(builder: &SceneBuilder<'_>) -> Self {
        let x = builder.input.x;
        let mut buckets = vec![Vec::new(); (x.span() / BUCKET).ceil().max(1.0) as usize];
        for label in &builder.labels {
            let width: f32 = label
                .text
                .chars()
                .map(|character| builder.input.char_widths.get(character as usize).copied().unwrap_or(11.0))
                .sum();
            let (left, y) = (label.left_center.x, label.left_center.y);
            let rect = Rect::from_x_y_ranges(left - 2.0..=left + width + 2.0, y - 7.0..=y + 7.0);
            let bucket = |at: f32| ((at - x.min).max(0.0) / BUCKET) as usize;
            for place in bucket(rect.left())..=bucket(rect.right()) {
                if let Some(bucket) = buckets.get_mut(place) {
                    bucket.push(rect);
                }
            }
        }
        Self { left: x.min, buckets }
    }

    /// Top and bottom of the labels that a vertical line meets, from top to bottom.
    fn at(&self, x: f32, top: f32, bottom: f32) -> Vec<(f32, f32)> {
        let bucket = self.buckets.get(((x - self.left).max(0.0) / BUCKET) as usize);
        let met = bucket
            .into_iter()
            .flatten()
            .filter(|rect| rect.left() <= x && x <= rect.right() && rect.top() < bottom && rect.bottom() > top);
        let mut met: Vec<(f32, f32)> = met.map(|rect| (rect.top(), rect.bottom())).collect();
        met.sort_by(|a, b| a.0.total_cmp(&b.0));
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn piece(track: u32, row: Option<u32>, times: (i64, i64), kind: PathKind) -> PathPiece {
        PathPiece {
            rank: RankId(0),
            track: TrackId(track),
            row: row.map(RowId),
            span: Span::new(Timestamp(times.0), Timestamp(times.1)),
            common: Timestamp(times.0),
            kind,
        }
    }

    #[test]
    fn touching_work_joins_and_a_latency_to_another_track_is_a_connector() {
        let pieces = [
            piece(0, None, (0, 10), PathKind::Work),
            piece(0, None, (10, 15), PathKind::Work),
            piece(1, Some(4), (15, 20), PathKind::Pause),
            piece(1, Some(4), (20, 22), PathKind::Unexplained),
            piece(1, Some(4), (22, 30), PathKind::Work),
            piece(1, Some(4), (30, 31), PathKind::Pause),
            piece(1, Some(4), (31, 40), PathKind::Work),
            piece(0, None, (40, 50), PathKind::Work),
        ];
        let layer = PathLayer::new(&pieces, &[(RowId(9), Span::new(Timestamp(3), Timestamp(4)))]);
        let spans = |spans: &[Span]| spans.iter().map(|span| (span.start.0, span.end.0)).collect::<Vec<_>>();
        assert_eq!(spans(&layer.threads[&TrackId(0)].work), [(0, 15), (40, 50)]);
        assert_eq!(spans(layer.work_of(RowId(4))), [(22, 30), (31, 40)]);
        assert_eq!(spans(&layer.rows[&RowId(4)].pauses), [(30, 31)]);
        assert_eq!(spans(&layer.rows[&RowId(4)].unexplained), [(20, 22)]);
        assert_eq!(spans(&layer.rows[&RowId(9)].unexplained), [(3, 4)]);
        let hops: Vec<_> = layer.hops.iter().map(|hop| (hop.from.at.0, hop.to.at.0, hop.to.track.0)).collect();
        assert_eq!(hops, [(15, 20, 1), (40, 40, 0)]);
    }

    /// A path that goes from the main thread to the stream and back with every kernel.
    pub fn zigzag(trace: &Trace) -> PathLayer {
        let mut pieces = Vec::new();
        for (launch, kernel) in trace.launches().pairs() {
            for &event in [launch, kernel] {
                let (row, entry) = trace.row_of(event).unwrap();
                let is_device = trace.event(event).kind.is_device_work();
                let span = trace.event(event).span();
                pieces.push(PathPiece {
                    rank: trace.rank_of(event).unwrap(),
                    track: entry.track,
                    row: is_device.then_some(row),
                    span,
                    common: span.start,
                    kind: PathKind::Work,
                });
            }
        }
        pieces.sort_by_key(|piece| piece.common);
        PathLayer::new(&pieces, &[])
    }

    #[test]
    fn connectors_leave_labels_alone() {
        use crate::placement::Folds;
        use crate::scene::{Scene, SceneBuilder, SceneInput};
        use crate::{Shifts, Theme, TimelineIndex, Viewport};
        let trace = fixtures::training(2, 3);
        let index = TimelineIndex::build(&trace);
        let (_, placement) = Placement::new(index.layout(), &Folds::new(index.layout()), false, 8);
        let layer = zigzag(&trace);
        assert!(layer.hops() > 10);
        let (theme, shifts, widths) = (Theme::dark(), Shifts::default(), [6.0; 128]);
        let steps = index.layout().steps();
        let mut view = Viewport::new(index.span());
        view.show(trace.event(steps[1]).span());
        let draw = |path| -> Scene {
            let mut builder = SceneBuilder::new(SceneInput {
                trace: &trace,
                index: &index,
                theme: &theme,
                view: &view,
                x: Rangef::new(0.0, 1_500.0),
                pixels_per_point: 1.0,
                max_texture_side: 4_096,
                matches: None,
                matching_names: None,
                overlays: &[],
                waits: None,
                shifts: &shifts,
                path,
                char_widths: &widths,
            });
            builder.add(&placement, 0.0, Rangef::new(0.0, 900.0));
            builder.finish()
        };
        let (without, with) = (draw(None), draw(Some(&layer)));
        assert!(with.stats.bars > without.stats.bars && !with.labels.is_empty());
        // Lines down: one pixel wide.
        let quads: Vec<Rect> =
            with.marks.vertices.chunks(4).map(|quad| Rect::from_two_pos(quad[0].pos, quad[3].pos)).collect();
        let lines: Vec<&Rect> = quads.iter().filter(|rect| rect.width() < 1.2 && rect.height() > 1.2).collect();
        assert!(!lines.is_empty());
        for label in &with.labels {
            let width = label.text.len() as f32 * 6.0;
            let text = Rect::from_x_y_ranges(
                label.left_center.x..=label.left_center.x + width,
                label.left_center.y - 6.0..=label.left_center.y + 6.0,
            );
            for line in &lines {
                assert!(!line.intersects(text), "{line:?} crosses {} at {text:?}", label.text);
            }
        }
    }

    #[test]
    fn a_shifted_rank_is_hit_where_it_is_drawn() {
        use crate::{Shifts, TimelineIndex, TimelineState};
        let trace = fixtures::training(2, 3);
        let index = TimelineIndex::build(&trace);
        let mut state = TimelineState::new(&index);
        state.shifts = Shifts::new(vec![0, 5_000]);
        let of_rank = |rank| {
            let all = (0..trace.events().len() as u32).map(EventId);
            all.filter(|&id| trace.rank_of(id) == Some(RankId(rank))).nth(3).unwrap()
        };
        let (a, b) = (of_rank(0), of_rank(1));
        assert_eq!(state.shown_span(&trace, a), trace.event(a).span());
        assert_eq!((trace.event(b).start - state.shown_span(&trace, b).start).0, 5_000);
        let view = state.view_of(RankId(1));
        let x = Rangef::new(0.0, 1_000.0);
        let shown = state.view.x_of(state.shown_span(&trace, b).start, x);
        assert!((view.x_of(trace.event(b).start, x) - shown).abs() < 1e-3);
    }
}
