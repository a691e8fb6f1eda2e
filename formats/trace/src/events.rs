//! Event columns.

use crate::{ArgsLoc, Duration, EventKind, Span, StrId, Timestamp};

/// An event of one [`Trace`](crate::Trace): its place in the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct EventId(pub u32);

impl EventId {
    /// As an index into the columns.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The columns, all of one length, sorted by track, row, start.
///
/// 41 bytes an event. Invariant: all columns have the same length.
#[derive(Debug, Default)]
pub struct Events {
    pub(crate) start: Vec<i64>,
    pub(crate) dur: Vec<i64>,
    pub(crate) name: Vec<StrId>,
    pub(crate) category: Vec<StrId>,
    pub(crate) kind: Vec<EventKind>,
    pub(crate) correlation: Vec<u32>,
    pub(crate) external: Vec<u32>,
    pub(crate) args: Vec<ArgsLoc>,
}

/// One event, copied out of the columns.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Its place in the columns.
    pub id: EventId,
    /// When it begins.
    pub start: Timestamp,
    /// How long it lasts; zero for instants.
    pub dur: Duration,
    /// Its name.
    pub name: StrId,
    /// The category that the file gave it.
    pub category: StrId,
    /// What it is.
    pub kind: EventKind,
    /// The id that joins a launch with its device work, unique within a rank.
    pub correlation: Option<u32>,
    /// The id that joins an operator with its calls and device work, unique within a rank.
    pub external: Option<u32>,
}

impl Event {
    /// When it ends.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.start + self.dur
    }

    /// `[start, end)`.
    #[must_use]
    pub fn span(&self) -> Span {
        Span { start: self.start, end: self.end() }
    }
}

/// Absent correlation or external id in the columns.
pub(crate) const NO_ID: u32 = u32::MAX;

impl Events {
    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.start.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// Starts in nanoseconds.
    #[must_use]
    pub fn starts(&self) -> &[i64] {
        &self.start
    }

    /// Durations in nanoseconds, never negative.
    #[must_use]
    pub fn durs(&self) -> &[i64] {
        &self.dur
    }

    /// Names.
    #[must_use]
    pub fn names(&self) -> &[StrId] {
        &self.name
    }

    /// Categories as the file gave them.
    #[must_use]
    pub fn categories(&self) -> &[StrId] {
        &self.category
    }

    /// Kinds.
    #[must_use]
    pub fn kinds(&self) -> &[EventKind] {
        &self.kind
    }

    /// The event at `id`. An id out of range (of another trace) gives an empty event.
    #[must_use]
    pub fn get(&self, id: EventId) -> Event {
        let i = id.index();
        let id_of = |column: &[u32]| column.get(i).copied().filter(|&value| value != NO_ID);
        Event {
            id,
            start: Timestamp(self.start.get(i).copied().unwrap_or_default()),
            dur: Duration(self.dur.get(i).copied().unwrap_or_default()),
            name: self.name.get(i).copied().unwrap_or_default(),
            category: self.category.get(i).copied().unwrap_or_default(),
            kind: self.kind.get(i).copied().unwrap_or(EventKind::Other),
            correlation: id_of(&self.correlation),
            external: id_of(&self.external),
        }
    }

    /// End of the event at `index`, in nanoseconds.
    #[must_use]
    pub fn end_at(&self, index: usize) -> i64 {
        match (self.start.get(index), self.dur.get(index)) {
            (Some(start), Some(dur)) => start.saturating_add(*dur),
            _ => 0,
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.start.capacity() * 8
            + self.dur.capacity() * 8
            + self.name.capacity() * 4
            + self.category.capacity() * 4
            + self.kind.capacity()
            + self.correlation.capacity() * 4
            + self.external.capacity() * 4
            + self.args.capacity() * size_of::<ArgsLoc>()
    }
}
