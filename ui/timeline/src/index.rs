//! Everything about a trace that drawing needs and that is worked out once: see [`TimelineIndex`].

use std::hash::Hasher;

use gapless_trace::{EventId, EventKind, RowId, Span, Timestamp, Trace, TrackKind};
use rayon::prelude::*;
use rustc_hash::FxHasher;

use crate::counter::CounterPyramid;
use crate::flame::FlameSequence;
use crate::layout::{FlameId, ListId, RowSource, TimelineLayout};
use crate::lod::Pyramid;
use crate::sequence::{AnySequence, Columns};

/// Columns of the overview.
pub(crate) const OVERVIEW_COLUMNS: usize = 2048;

/// What the timeline needs beside the trace: the tree of tracks, pyramids of long rows, shades of names, the
/// overview. At most 8 bytes an event beside lists of steps, annotations and communication.
///
/// Build it off the UI thread and share it as `Arc<TimelineIndex>`; it belongs to the trace it was built of.
#[derive(Debug)]
pub struct TimelineIndex {
    layout: TimelineLayout,
    span: Span,
    /// Shade of each name, by string id.
    shades: Vec<u8>,
    /// By row.
    rows: Vec<Option<Pyramid>>,
    /// By list of the layout.
    lists: Vec<Option<Pyramid>>,
    /// By flame and depth.
    flames: Vec<Vec<Option<Pyramid>>>,
    /// By counter.
    counters: Vec<CounterPyramid>,
    overview: Overview,
}

/// Busy shares of the whole trace, by column of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Overview {
    /// Share of the busiest kind of row: compute of all streams, or host work where there is no device.
    pub work: Vec<f32>,
    /// Share of communication.
    pub communication: Vec<f32>,
    /// Whether `work` is of a device.
    pub is_device: bool,
}

impl TimelineIndex {
    /// Builds the index, in parallel, in one pass over the events and one over device work.
    #[must_use]
    pub fn build(trace: &Trace) -> Self {
        let layout = TimelineLayout::new(trace);
        let span = trace.span().unwrap_or_else(|| Span::new(Timestamp(0), Timestamp(0)));
        let shades: Vec<u8> = trace.strings().iter().map(|(_, text)| shade_of(text)).collect();
        let columns = Columns { events: trace.events(), shades: &shades };
        let drawn = layout.drawn_rows(trace);
        let build = |(row, drawn): (&gapless_trace::Row, &bool)| {
            if *drawn { Pyramid::build(&columns.range(row.indices())) } else { None }
        };
        let rows = trace.rows().par_iter().zip(&drawn).map(build).collect();
        let lists = (0..layout.lists() as u32)
            .into_par_iter()
            .map(|list| Pyramid::build(&columns.list(layout.list(ListId(list)))))
            .collect();
        let of_flame = |flame: &crate::flame::Flame| {
            flame.rows.iter().map(|bars| Pyramid::build(&FlameSequence { columns, bars })).collect()
        };
        let flames = layout.flames().par_iter().map(of_flame).collect();
        let counters = trace.counters().par_iter().map(CounterPyramid::build).collect();
        let overview = Overview::build(trace, span);
        Self { layout, span, shades, rows, lists, flames, counters, overview }
    }

    /// The tree of tracks.
    #[must_use]
    pub fn layout(&self) -> &TimelineLayout {
        &self.layout
    }

    /// The time range of the trace; empty if it has no events.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let pyramids = self.rows.iter().chain(&self.lists).chain(self.flames.iter().flatten());
        let bars: usize = self.layout.flames().iter().flat_map(|flame| &flame.rows).map(Vec::len).sum();
        let cells: usize = pyramids.flatten().map(Pyramid::heap_bytes).sum();
        let slots = (self.rows.capacity() + self.lists.capacity()) * size_of::<Option<Pyramid>>();
        let lists: usize = (0..self.layout.lists() as u32).map(|id| self.layout.list(ListId(id)).len()).sum();
        let counters: usize = self.counters.iter().map(CounterPyramid::heap_bytes).sum();
        cells
            + slots
            + bars * size_of::<crate::flame::FlameBar>()
            + lists * size_of::<EventId>()
            + counters
            + self.shades.capacity()
    }

    /// The events that a row draws and their pyramid; `None` for counters.
    pub(crate) fn sequence<'a>(
        &'a self,
        trace: &'a Trace,
        source: RowSource,
    ) -> Option<(AnySequence<'a>, Option<&'a Pyramid>)> {
        let columns = Columns { events: trace.events(), shades: &self.shades };
        match source {
            RowSource::Row(RowId(row)) => {
                let range = trace.rows().get(row as usize)?.indices();
                Some((AnySequence::Range(columns.range(range)), self.rows.get(row as usize)?.as_ref()))
            }
            RowSource::List(list) => {
                let ids = self.layout.list(list);
                Some((AnySequence::List(columns.list(ids)), self.lists.get(list.0 as usize)?.as_ref()))
            }
            RowSource::Flame(FlameId(flame), depth) => {
                let bars = self.layout.flames().get(flame as usize)?.rows.get(usize::from(depth))?;
                let pyramid = self.flames.get(flame as usize)?.get(usize::from(depth))?;
                Some((AnySequence::Flame(FlameSequence { columns, bars }), pyramid.as_ref()))
            }
            RowSource::Counter(_) => None,
        }
    }

    /// Any events of one row, by start.
    pub(crate) fn events<'a>(&'a self, trace: &'a Trace, ids: &'a [EventId]) -> AnySequence<'a> {
        AnySequence::List(Columns { events: trace.events(), shades: &self.shades }.list(ids))
    }

    pub(crate) fn counter(&self, id: gapless_trace::CounterId) -> Option<&CounterPyramid> {
        self.counters.get(id.index())
    }

    pub(crate) fn overview(&self) -> &Overview {
        &self.overview
    }
}

/// The shade of a name: of its text and not of its id, so that a name looks the same in every trace.
fn shade_of(name: &str) -> u8 {
    let mut hasher = FxHasher::default();
    hasher.write(name.as_bytes());
    // The upper bits of this hash are the well mixed ones.
    (hasher.finish() >> 56) as u8 % crate::theme::SHADES
}

impl Overview {
    fn build(trace: &Trace, span: Span) -> Self {
        let is_device = trace.tracks().iter().any(|track| track.kind == TrackKind::Stream && !track.events.is_empty());
        let kind = if is_device { TrackKind::Stream } else { TrackKind::Thread };
        let tracks: Vec<_> =
            trace.tracks().iter().filter(|track| track.kind == kind && !track.events.is_empty()).collect();
        let zero = || (vec![0.0_f32; OVERVIEW_COLUMNS], vec![0.0_f32; OVERVIEW_COLUMNS]);
        let add = |mut sums: (Vec<f32>, Vec<f32>), row: &gapless_trace::Row| {
            add_busy(trace, row, span, &mut sums.0, &mut sums.1);
            sums
        };
        let join = |mut a: (Vec<f32>, Vec<f32>), b: (Vec<f32>, Vec<f32>)| {
            a.0.iter_mut().zip(&b.0).for_each(|(a, b)| *a += b);
            a.1.iter_mut().zip(&b.1).for_each(|(a, b)| *a += b);
            a
        };
        // Nested rows repeat the time of the rows above them.
        let rows: Vec<_> = tracks.iter().flat_map(|track| trace.rows_of(track)).filter(|row| row.depth == 0).collect();
        let (mut work, mut communication) = rows.par_iter().fold(zero, |sums, row| add(sums, row)).reduce(zero, join);
        let most = work.iter().zip(&communication).map(|(a, b)| a + b).fold(0.0_f32, f32::max).max(1e-9);
        work.iter_mut().chain(&mut communication).for_each(|value| *value /= most);
        Self { work, communication, is_device }
    }
}

/// Adds the busy time of a row to its columns of the trace, apart for communication and everything else.
fn add_busy(trace: &Trace, row: &gapless_trace::Row, span: Span, work: &mut [f32], communication: &mut [f32]) {
    let events = trace.events();
    let range = row.indices();
    let columns = |range: std::ops::Range<usize>| {
        let starts = events.starts().get(range.clone()).unwrap_or_default();
        let durs = events.durs().get(range.clone()).unwrap_or_default();
        let kinds: &[EventKind] = events.kinds().get(range).unwrap_or_default();
        starts.iter().zip(durs).zip(kinds)
    };
    let per_ns = OVERVIEW_COLUMNS as f64 / (span.duration().0 as f64).max(1.0);
    for ((&start, &dur), kind) in columns(range) {
        let sums = if kind.is_communication() { &mut *communication } else { &mut *work };
        let x0 = (start.saturating_sub(span.start.0) as f64 * per_ns).max(0.0);
        let x1 = x0 + dur as f64 * per_ns;
        let first = x0 as usize;
        let last = (x1 as usize).min(OVERVIEW_COLUMNS - 1);
        if first == last {
            sums.get_mut(first).into_iter().for_each(|sum| *sum += (x1 - x0) as f32);
            continue;
        }
        for (sum, place) in sums.get_mut(first..=last.max(first)).unwrap_or_default().iter_mut().zip(first..) {
            *sum += (x1.min((place + 1) as f64) - x0.max(place as f64)) as f32;
        }
    }
}
