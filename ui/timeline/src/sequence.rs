//! Events that follow one another without overlap, as the level of detail, the painter and the hit test see them:
//! a row of the trace (borrowed columns), or a sorted list of some of a row's events.

use std::ops::Range;

use gapless_trace::{EventId, EventKind, Events, StrId};

use crate::flame::FlameSequence;
use crate::theme::ColorId;

/// Events in ascending order of start and of end, without overlap.
pub(crate) trait Sequence: Copy + Sync {
    /// Number of events.
    fn len(&self) -> usize;
    /// Start of the event at `index` in ns; 0 beyond the end.
    fn start(&self, index: usize) -> i64;
    /// Duration of the event at `index` in ns.
    fn dur(&self, index: usize) -> i64;
    /// Colour of the event at `index`.
    fn color(&self, index: usize) -> ColorId;
    /// Id of the event at `index`.
    fn id(&self, index: usize) -> EventId;

    /// The name on its bar, where that is not the event's own.
    fn name(&self, _index: usize) -> Option<StrId> {
        None
    }

    /// End of the event at `index` in ns.
    fn end(&self, index: usize) -> i64 {
        self.start(index).saturating_add(self.dur(index))
    }

    /// First index in `within` whose start is not before `time`. O(log n).
    fn first_starting_at(&self, within: Range<usize>, time: i64) -> usize {
        let (mut low, mut high) = (within.start, within.end);
        while low < high {
            let middle = low.midpoint(high);
            if self.start(middle) < time { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The events that touch `[start, end)`, points in time included. O(log n).
    fn touching(&self, start: i64, end: i64) -> Range<usize> {
        self.touching_within(0..self.len(), start, end)
    }

    /// The events of `within` that touch `[start, end)`.
    fn touching_within(&self, within: Range<usize>, start: i64, end: i64) -> Range<usize> {
        let mut first = self.first_starting_at(within.clone(), start);
        // Without overlap, at most one event before the first start can reach into the range.
        if first > within.start && self.end(first - 1) > start {
            first -= 1;
        }
        first..self.first_starting_at(first..within.end, end)
    }
}

/// What all sequences of one trace share.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// The event columns.
    pub events: &'a Events,
    /// Shade of each name, by [`StrId`].
    pub shades: &'a [u8],
}

impl<'a> Columns<'a> {
    fn color_of(self, name: Option<&StrId>, kind: Option<&EventKind>) -> ColorId {
        let shade = name.and_then(|name| self.shades.get(name.index())).copied().unwrap_or_default();
        ColorId::new(kind.copied().unwrap_or(EventKind::Other), shade)
    }

    /// The shade of a name.
    pub fn shade(self, name: StrId) -> u8 {
        self.shades.get(name.index()).copied().unwrap_or_default()
    }

    /// A contiguous range of the columns.
    pub fn range(self, range: Range<usize>) -> RangeSequence<'a> {
        let events = self.events;
        RangeSequence {
            columns: self,
            first: range.start as u32,
            starts: events.starts().get(range.clone()).unwrap_or_default(),
            durs: events.durs().get(range.clone()).unwrap_or_default(),
            names: events.names().get(range.clone()).unwrap_or_default(),
            kinds: events.kinds().get(range).unwrap_or_default(),
        }
    }

    /// Some events of a row, ascending.
    pub fn list(self, ids: &'a [EventId]) -> ListSequence<'a> {
        ListSequence { columns: self, ids }
    }
}

/// A row of the trace.
#[derive(Clone, Copy)]
pub(crate) struct RangeSequence<'a> {
    columns: Columns<'a>,
    first: u32,
    starts: &'a [i64],
    durs: &'a [i64],
    names: &'a [StrId],
    kinds: &'a [EventKind],
}

impl Sequence for RangeSequence<'_> {
    fn len(&self) -> usize {
        self.starts.len()
    }

    #[inline]
    fn start(&self, index: usize) -> i64 {
        self.starts.get(index).copied().unwrap_or_default()
    }

    #[inline]
    fn dur(&self, index: usize) -> i64 {
        self.durs.get(index).copied().unwrap_or_default()
    }

    #[inline]
    fn color(&self, index: usize) -> ColorId {
        self.columns.color_of(self.names.get(index), self.kinds.get(index))
    }

    fn id(&self, index: usize) -> EventId {
        EventId(self.first + index as u32)
    }
}

/// Some events of a row.
#[derive(Clone, Copy)]
pub(crate) struct ListSequence<'a> {
    columns: Columns<'a>,
    ids: &'a [EventId],
}

impl ListSequence<'_> {
    #[inline]
    fn at(&self, index: usize) -> usize {
        self.ids.get(index).map_or(usize::MAX, |id| id.index())
    }
}

impl Sequence for ListSequence<'_> {
    fn len(&self) -> usize {
        self.ids.len()
    }

    #[inline]
    fn start(&self, index: usize) -> i64 {
        self.columns.events.starts().get(self.at(index)).copied().unwrap_or_default()
    }

    #[inline]
    fn dur(&self, index: usize) -> i64 {
        self.columns.events.durs().get(self.at(index)).copied().unwrap_or_default()
    }

    #[inline]
    fn color(&self, index: usize) -> ColorId {
        let at = self.at(index);
        self.columns.color_of(self.columns.events.names().get(at), self.columns.events.kinds().get(at))
    }

    fn id(&self, index: usize) -> EventId {
        self.ids.get(index).copied().unwrap_or(EventId(u32::MAX))
    }
}

/// Either sequence; the painter matches once per row, not once per event.
#[derive(Clone, Copy)]
pub(crate) enum AnySequence<'a> {
    /// A row of the trace.
    Range(RangeSequence<'a>),
    /// Some events of a row.
    List(ListSequence<'a>),
    /// Frames of sampled stacks.
    Flame(FlameSequence<'a>),
}

/// Runs `$body` with `$sequence` bound to the concrete sequence of `$any`.
macro_rules! with_sequence {
    ($any:expr, $sequence:ident => $body:expr) => {
        match $any {
            $crate::sequence::AnySequence::Range($sequence) => $body,
            $crate::sequence::AnySequence::List($sequence) => $body,
            $crate::sequence::AnySequence::Flame($sequence) => $body,
        }
    };
}
pub(crate) use with_sequence;
