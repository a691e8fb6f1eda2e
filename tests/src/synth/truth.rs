//! The answers, computed from the simulation's own schedule by the simplest means that can be right.

use std::collections::BTreeMap;

/// What a device does in a stretch of time, as bits of a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A kernel that computes.
    Compute = 1,
    /// A communication kernel.
    Communication = 2,
    /// A copy.
    Copy = 4,
    /// A fill.
    Fill = 8,
}

/// Nanoseconds by what runs at the same time: entry `m` is the time in which exactly the classes of mask `m` run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeByClasses(pub [i64; 16]);

impl TimeByClasses {
    fn sum(&self, keep: impl Fn(usize) -> bool) -> i64 {
        self.0.iter().enumerate().filter(|&(mask, _)| keep(mask)).map(|(_, time)| time).sum()
    }

    /// Time in which a class runs, alone or not.
    #[must_use]
    pub fn union_of(&self, class: Class) -> i64 {
        self.sum(|mask| mask & class as usize != 0)
    }

    /// Time in which any device work runs.
    #[must_use]
    pub fn busy_ns(&self) -> i64 {
        self.sum(|mask| mask != 0)
    }

    /// Time in which none runs.
    #[must_use]
    pub fn idle_ns(&self) -> i64 {
        self.0[0]
    }

    /// Time in which a copy or a fill runs.
    #[must_use]
    pub fn mem_union_ns(&self) -> i64 {
        self.sum(|mask| mask & (Class::Copy as usize | Class::Fill as usize) != 0)
    }

    /// Time in which communication and computation run together.
    #[must_use]
    pub fn overlap_comm_compute_ns(&self) -> i64 {
        self.sum(|mask| mask & 3 == 3)
    }

    /// Time in which communication runs and computation does not.
    #[must_use]
    pub fn exposed_comm_ns(&self) -> i64 {
        self.sum(|mask| mask & 3 == 2)
    }

    /// Time in which a copy or a fill runs and no kernel does.
    #[must_use]
    pub fn exposed_copy_ns(&self) -> i64 {
        self.sum(|mask| mask & 3 == 0 && mask != 0)
    }

    /// The whole.
    #[must_use]
    pub fn total_ns(&self) -> i64 {
        self.0.iter().sum()
    }
}

/// One step of one rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTruth {
    /// `ProfilerStep#3`.
    pub name: String,
    /// Start as recorded, ns.
    pub start_ns: i64,
    /// End as recorded, ns.
    pub end_ns: i64,
    /// What its device did between.
    pub time: TimeByClasses,
}

/// Kernels of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkTruth {
    /// How many.
    pub count: u64,
    /// Their durations together, ns.
    pub sum_ns: i64,
    /// Shortest, ns.
    pub min_ns: i64,
    /// Longest, ns.
    pub max_ns: i64,
    /// Bytes moved, for copies and fills.
    pub bytes: u64,
}

/// All answers for one rank. Times are as the file records them, the rank's clock error included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RankTruth {
    /// Number of the rank.
    pub rank: u32,
    /// Events of any phase in the file.
    pub events: u64,
    /// Complete events (`X`).
    pub slices: u64,
    /// Points in time (`i`).
    pub instants: u64,
    /// Counter events (`C`).
    pub counters: u64,
    /// Kernels, communication, copies and fills.
    pub device_events: u64,
    /// User ranges projected onto streams.
    pub device_annotations: u64,
    /// Start of the first device work, ns; 0 without any.
    pub first_ns: i64,
    /// End of the last device work, ns; 0 without any.
    pub last_ns: i64,
    /// What the device did from `first_ns` to `last_ns`.
    pub time: TimeByClasses,
    /// Device work by name.
    pub work: BTreeMap<String, WorkTruth>,
    /// Device work by stream: count and union of the time, ns.
    pub streams: BTreeMap<i64, (u64, i64)>,
    /// Slices by host thread.
    pub host_slices: BTreeMap<i64, u64>,
    /// Pairs of a launching call and its device work.
    pub launch_links: u64,
    /// Device work whose launch is not in the file.
    pub unlaunched: u64,
    /// Arrows from forward to backward.
    pub flows: u64,
    /// Flow ends that have no start.
    pub orphan_flow_ends: u64,
    /// The steps.
    pub steps: Vec<StepTruth>,
}

impl RankTruth {
    /// From the first start to the last end of device work, ns.
    #[must_use]
    pub fn span_ns(&self) -> i64 {
        self.last_ns - self.first_ns
    }
}

/// One rank's part in a collective, on the true clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The rank.
    pub rank: u32,
    /// When its kernel began, ns.
    pub start_ns: i64,
    /// What it did: `allreduce`, `all_to_allv`; of an exchange between two, `send` or `recv`.
    pub name: &'static str,
}

/// One collective or one exchange between two ranks, on the true clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectiveTruth {
    /// Number of its group.
    pub group: u32,
    /// Its number in the group, from 0.
    pub seq: u64,
    /// Bytes sent by a rank.
    pub bytes: u64,
    /// When each rank's kernel began, in the order of ranks.
    pub arrivals: Vec<Arrival>,
    /// When the kernels of all ranks ended.
    pub end_ns: i64,
    /// Time from the last arrival to the end.
    pub transfer_ns: i64,
    /// The rank that arrived last; the lowest of those that tie.
    pub late_rank: u32,
}

/// All answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// By rank.
    pub ranks: Vec<RankTruth>,
    /// In the order in which they ended.
    pub collectives: Vec<CollectiveTruth>,
}

impl Truth {
    /// Events of any phase in all files.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.ranks.iter().map(|rank| rank.events).sum()
    }
}

/// One piece of device work as scheduled: start, end, class, stream.
pub(super) type Piece = (i64, i64, Class, i64);

/// Stretches of time between neighbouring boundaries with the mask of what runs there, ascending.
///
/// The naive algorithm: sort all boundaries, walk over them with a count for each class.
pub(super) fn stretches(pieces: &[Piece]) -> Vec<(i64, i64, usize)> {
    let mut edges: Vec<(i64, i64, Class)> = Vec::with_capacity(2 * pieces.len());
    for &(start, end, class, _) in pieces {
        edges.push((start, 1, class));
        edges.push((end, -1, class));
    }
    edges.sort_unstable();
    let mut running: BTreeMap<Class, i64> = BTreeMap::new();
    let mut out = Vec::new();
    let mut last = edges.first().map_or(0, |edge| edge.0);
    for (at, change, class) in edges {
        if at > last {
            let mask = running.iter().filter(|&(_, &count)| count > 0).map(|(&class, _)| class as usize).sum();
            out.push((last, at, mask));
            last = at;
        }
        *running.entry(class).or_default() += change;
    }
    out
}

/// What runs in `[from, to)`; outside all stretches nothing does.
pub(super) fn time_in(stretches: &[(i64, i64, usize)], from: i64, to: i64) -> TimeByClasses {
    let mut time = TimeByClasses::default();
    let first = stretches.partition_point(|stretch| stretch.1 <= from);
    for &(start, end, mask) in stretches[first..].iter().take_while(|stretch| stretch.0 < to) {
        time.0[mask] += end.min(to) - start.max(from);
    }
    time.0[0] += (to - from) - time.total_ns();
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_a_schedule_done_by_hand() {
        // compute 0–10, communication 5–20, copy 18–22, fill 30–31, nothing 22–30.
        let pieces = [
            (0, 10, Class::Compute, 7),
            (5, 20, Class::Communication, 20),
            (18, 22, Class::Copy, 24),
            (30, 31, Class::Fill, 7),
        ];
        let time = time_in(&stretches(&pieces), 0, 31);
        assert_eq!(time.total_ns(), 31);
        assert_eq!(time.busy_ns(), 23);
        assert_eq!(time.idle_ns(), 8);
        assert_eq!(time.union_of(Class::Compute), 10);
        assert_eq!(time.overlap_comm_compute_ns(), 5);
        assert_eq!(time.exposed_comm_ns(), 10);
        assert_eq!(time.exposed_copy_ns(), 3);
        assert_eq!(time.mem_union_ns(), 5);
        let part = time_in(&stretches(&pieces), 8, 25);
        assert_eq!((part.total_ns(), part.idle_ns(), part.exposed_comm_ns()), (17, 3, 10));
    }
}
