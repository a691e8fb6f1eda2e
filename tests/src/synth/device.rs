//! Devices: streams that run their work in order, and collectives that end on all ranks together.

use std::collections::{BTreeMap, VecDeque};

use super::truth::{Arrival, Class, CollectiveTruth};

/// Place of a piece of work in the order in which its rank launched it.
pub(super) type WorkId = usize;

/// Which of a rank's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Compute = 0,
    Comm = 1,
    Copy = 2,
}

/// What joins the kernels of one collective: the group's number, the place in the group.
pub(super) type CollectiveKey = (u32, u64);

/// What the kernels of a collective have in common.
#[derive(Clone, Debug)]
pub(super) struct CollectiveSpec {
    pub key: CollectiveKey,
    pub members: Vec<u32>,
    pub name: &'static str,
    pub bytes: u64,
    pub dtype: &'static str,
    pub transfer_ns: i64,
}

/// Work that was launched and whose time on the device is not yet known.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub name: String,
    pub class: Class,
    pub stream: Stream,
    /// The device can begin no sooner.
    pub ready: i64,
    /// Work that must have ended (events waited for).
    pub after: [Option<WorkId>; 2],
    pub dur: i64,
    /// By how much it may begin before its predecessor on the stream ends.
    pub overlap: i64,
    pub bytes: u64,
    pub collective: Option<CollectiveSpec>,
    pub correlation: u64,
    pub external: u64,
    pub launched: bool,
}

/// The device of one rank.
#[derive(Clone, Debug, Default)]
pub(super) struct Device {
    pub queue: VecDeque<Pending>,
    /// Ends of all work that is resolved.
    pub ends: Vec<i64>,
    pub starts: Vec<i64>,
    /// When each stream is free.
    free: [i64; 3],
    /// The last work launched on each stream.
    pub last: [Option<WorkId>; 3],
}

impl Device {
    /// Appends work and says which place it has.
    pub fn launch(&mut self, work: Pending) -> WorkId {
        let id = self.ends.len() + self.queue.len();
        self.last[work.stream as usize] = Some(id);
        self.queue.push_back(work);
        id
    }

    /// When the work at the head of the queue begins. All that it waits for was launched before it and is resolved.
    pub fn start_of_head(&self) -> Option<i64> {
        let work = self.queue.front()?;
        let free = self.free[work.stream as usize] - work.overlap;
        let waits = work.after.iter().flatten().map(|&id| self.ends[id]);
        Some(waits.fold(work.ready.max(free), i64::max))
    }

    /// Removes the head, which runs from `start` to `end`.
    pub fn finish_head(&mut self, start: i64, end: i64) -> Option<Pending> {
        let work = self.queue.pop_front()?;
        let free = &mut self.free[work.stream as usize];
        *free = end.max(*free);
        self.starts.push(start);
        self.ends.push(end);
        Some(work)
    }
}

/// Collectives that some ranks have reached.
#[derive(Debug, Default)]
pub(super) struct Collectives {
    open: BTreeMap<CollectiveKey, Vec<Arrival>>,
    /// How many ranks have still to take the end of a collective.
    ended: BTreeMap<CollectiveKey, (i64, usize)>,
    pub truth: Vec<CollectiveTruth>,
}

impl Collectives {
    /// Notes that the kernel of `rank` began. Says whether that was new.
    pub fn arrive(&mut self, spec: &CollectiveSpec, rank: u32, start: i64) -> bool {
        if self.ended.contains_key(&spec.key) {
            return false;
        }
        let arrivals = self.open.entry(spec.key).or_default();
        if arrivals.iter().any(|arrival| arrival.rank == rank) {
            return false;
        }
        arrivals.push(Arrival { rank, start_ns: start, name: spec.name });
        if arrivals.len() == spec.members.len() {
            let mut arrivals = self.open.remove(&spec.key).unwrap_or_default();
            arrivals.sort_by_key(|arrival| arrival.rank);
            let last = arrivals.iter().map(|arrival| arrival.start_ns).max().unwrap_or(start);
            let late = arrivals.iter().find(|arrival| arrival.start_ns == last).map_or(rank, |arrival| arrival.rank);
            let end = last + spec.transfer_ns;
            self.ended.insert(spec.key, (end, arrivals.len()));
            self.truth.push(CollectiveTruth {
                group: spec.key.0,
                seq: spec.key.1,
                bytes: spec.bytes,
                arrivals,
                end_ns: end,
                transfer_ns: spec.transfer_ns,
                late_rank: late,
            });
        }
        true
    }

    /// When the collective ended, once all ranks have arrived; each rank takes it once.
    pub fn take_end(&mut self, key: CollectiveKey) -> Option<i64> {
        let entry = self.ended.get_mut(&key)?;
        entry.1 -= 1;
        let (end, left) = *entry;
        if left == 0 {
            self.ended.remove(&key);
        }
        Some(end)
    }
}
