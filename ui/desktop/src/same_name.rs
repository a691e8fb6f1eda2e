//! Statistics over the events that share a name with the selected one.

use gapless_trace::{Duration, EventId, Trace};

/// Bars of the histogram.
pub const BINS: usize = 48;

/// How the events of one name and kind last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SameName {
    /// The event that it was asked for.
    pub of: EventId,
    /// How many there are, `of` included.
    pub count: u64,
    /// Their summed duration.
    pub total: Duration,
    /// The shortest.
    pub min: EventId,
    /// The one in the middle; of two, the shorter.
    pub median: EventId,
    /// The one that 95 in 100 do not exceed (nearest rank).
    pub p95: EventId,
    /// The longest.
    pub max: EventId,
    /// How many fall into each of [`BINS`] equal steps from the shortest to the longest.
    pub histogram: Vec<u32>,
    /// The step that `of` falls into.
    pub own_bin: usize,
}

impl SameName {
    /// Collects the events of the name and kind of `of`. O(events).
    #[must_use]
    pub fn new(trace: &Trace, of: EventId) -> Option<Self> {
        let events = trace.events();
        let own = trace.event(of);
        let columns = events.names().iter().zip(events.kinds()).zip(events.durs()).enumerate();
        let same = columns.filter(|&(_, ((&name, &kind), _))| name == own.name && kind == own.kind);
        let mut durs: Vec<_> = same.map(|(index, (_, &dur))| (dur, EventId(index as u32))).collect();
        durs.sort_unstable();
        let count = durs.len();
        let at = |place: usize| durs.get(place.min(count.saturating_sub(1))).copied();
        let (min, max) = (at(0)?, at(count.saturating_sub(1))?);
        let range = max.0 - min.0;
        let bin = |dur: i64| {
            if range == 0 { 0 } else { ((dur - min.0) as i128 * BINS as i128 / (range as i128 + 1)) as usize }
        };
        let mut histogram = vec![0; BINS];
        for &(dur, _) in &durs {
            if let Some(bar) = histogram.get_mut(bin(dur)) {
                *bar += 1;
            }
        }
        Some(Self {
            of,
            count: count as u64,
            total: durs.iter().map(|&(dur, _)| Duration(dur)).sum(),
            min: min.1,
            median: at((count - 1) / 2)?.1,
            // Nearest rank: the ⌈0.95 n⌉-th of n.
            p95: at((count * 95).div_ceil(100).max(1) - 1)?.1,
            max: max.1,
            histogram,
            own_bin: bin(own.dur.0),
        })
    }
}
