//! Ranges that begin and end anywhere: each takes a lane in which nothing else is open.

use rustc_hash::FxHashMap;

use super::annotation::Annotation;
use super::event::{Event, RawPayload};

/// Lanes of a process, by domain.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// For each domain: until when each lane is taken; `None` while a range is open in it.
    free_from: FxHashMap<u32, Vec<Option<i64>>>,
    /// Open ranges by id; the last begun one of those that share an id comes last.
    open: FxHashMap<u64, Taken>,
    /// Ends that were read before their begins, because the other thread's ring comes later.
    early: FxHashMap<u64, End>,
    /// Ids of ends that came early, and how often they were written since.
    recent: Vec<(u64, u8)>,
    /// Ends that were too many to be kept.
    lost: u64,
}

/// A range that is open, and the lane that it takes.
#[derive(Debug)]
pub(super) struct Taken {
    pub domain: u32,
    pub lane: usize,
    /// What began it; nothing is known of it where that is in a file that is taken up again.
    pub begin: Event,
    /// What was told about it since; written with its end.
    pub late: Vec<Annotation>,
    /// The range with the same id that began before and is open too.
    before: Option<Box<Taken>>,
}

/// The end of a range.
#[derive(Debug)]
pub(super) struct End {
    pub time_ns: i64,
    pub args: Vec<Annotation>,
    pub raw: Vec<RawPayload>,
}

/// Ends that are kept for begins that may still come. A begin that was dropped never comes.
const MOST_EARLY: usize = 65_536;

impl Lanes {
    /// Takes a lane for a range: its number, and the end of the range where that was read already.
    pub fn begin(&mut self, domain: u32, id: u64, start_ns: i64) -> (usize, Option<End>) {
        let lanes = self.free_from.entry(domain).or_default();
        // Rings are read one after the other, so begins do not come in order of time; a lane is free for a range only
        // if all that is in it lies before.
        let free = lanes.iter().position(|until| until.is_some_and(|until| until <= start_ns));
        let lane = free.unwrap_or_else(|| {
            lanes.push(None);
            lanes.len() - 1
        });
        let end = self.early.remove(&id).map(|end| End { time_ns: end.time_ns.max(start_ns), ..end });
        if let Some(place) = lanes.get_mut(lane) {
            *place = end.as_ref().map(|end| end.time_ns);
        }
        (lane, end)
    }

    /// Keeps a range that has begun and not ended.
    pub fn keep(&mut self, domain: u32, lane: usize, id: u64, begin: Event) {
        let taken = Taken { domain, lane, begin, late: Vec::new(), before: None };
        match self.open.entry(id) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(taken);
            }
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                let before = entry.insert(taken);
                entry.get_mut().before = Some(Box::new(before));
            }
        }
    }

    /// The range that ends, the last begun of those with this id, and when; `None` where its begin was not read (yet).
    pub fn end(&mut self, id: u64, end: End) -> Option<(Taken, End)> {
        let Some(mut taken) = self.open.remove(&id) else {
            if self.early.len() < MOST_EARLY || self.early.contains_key(&id) {
                // Of two with the same id only one can ever find its begin.
                self.lost += u64::from(self.early.insert(id, end).is_some());
                self.recent.push((id, 0));
            } else {
                self.lost += 1;
            }
            return None;
        };
        if let Some(before) = taken.before.take() {
            self.open.insert(id, *before);
        }
        // Counters of cores agree to some ticks only: a range may seem to end before it began.
        let end = End { time_ns: end.time_ns.max(taken.begin.time_ns), ..end };
        let lanes = self.free_from.entry(taken.domain).or_default();
        if let Some(place) = lanes.get_mut(taken.lane) {
            *place = Some(end.time_ns);
        }
        Some((taken, end))
    }

    /// The open range with this id.
    pub fn with_id_mut(&mut self, id: u64) -> Option<&mut Taken> {
        self.open.get_mut(&id)
    }

    /// Makes sure that lanes below `count` of a domain are not taken: what they hold is not known.
    pub fn leave_out(&mut self, domain: u32, count: usize) {
        let lanes = self.free_from.entry(domain).or_default();
        while lanes.len() < count {
            lanes.push(None);
        }
    }

    /// Whether the lanes of a domain were looked at.
    pub fn has_domain(&self, domain: u32) -> bool {
        self.free_from.contains_key(&domain)
    }

    /// Open ranges with their ids, in the order of their lanes.
    pub fn open(&self) -> Vec<(u64, &Taken)> {
        let mut all = Vec::new();
        for (&id, newest) in &self.open {
            let mut next = Some(newest);
            while let Some(taken) = next {
                all.push((id, taken));
                next = taken.before.as_deref();
            }
        }
        all.sort_unstable_by_key(|(_, taken)| (taken.domain, taken.lane));
        all
    }

    /// Id and time of the ends whose begins may still come. A begin is in its ring before its end is in another, so it
    /// comes with the next reading of all rings at the latest.
    pub fn take_recent_ends(&mut self) -> Vec<(u64, i64)> {
        let early = &self.early;
        self.recent.retain_mut(|(id, writes)| {
            *writes += 1;
            *writes <= 2 && early.contains_key(id)
        });
        self.recent.iter().filter_map(|(id, _)| Some((*id, early.get(id)?.time_ns))).collect()
    }

    /// Ends whose begins never came.
    pub fn unmatched(&self) -> u64 {
        self.early.len() as u64 + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(time_ns: i64) -> End {
        End { time_ns, args: Vec::new(), raw: Vec::new() }
    }

    fn begin(lanes: &mut Lanes, domain: u32, id: u64, start_ns: i64) -> (usize, Option<i64>) {
        let (lane, end) = lanes.begin(domain, id, start_ns);
        if end.is_none() {
            lanes.keep(domain, lane, id, Event { time_ns: start_ns, ..Event::default() });
        }
        (lane, end.map(|end| end.time_ns))
    }

    fn ended(lanes: &mut Lanes, id: u64, time_ns: i64) -> Option<(usize, i64)> {
        lanes.end(id, end(time_ns)).map(|(taken, end)| (taken.lane, end.time_ns))
    }

    #[test]
    fn overlapping_ranges_never_share_a_lane() {
        let mut lanes = Lanes::default();
        assert_eq!(begin(&mut lanes, 0, 1, 5).0, 0);
        assert_eq!(begin(&mut lanes, 0, 2, 6).0, 1);
        assert_eq!(ended(&mut lanes, 1, 7), Some((0, 7)));
        // Read later, but begun before the first one ended.
        assert_eq!(begin(&mut lanes, 0, 3, 6).0, 2);
        assert_eq!(begin(&mut lanes, 0, 4, 7).0, 0);
        assert_eq!(begin(&mut lanes, 1, 5, 7).0, 0);
    }

    #[test]
    fn an_end_that_is_read_first_is_kept_for_its_begin() {
        let mut lanes = Lanes::default();
        assert_eq!(ended(&mut lanes, 9, 20), None);
        assert_eq!(lanes.unmatched(), 1);
        assert_eq!(begin(&mut lanes, 0, 9, 10), (0, Some(20)));
        assert_eq!((lanes.unmatched(), begin(&mut lanes, 0, 10, 15).0), (0, 1));
    }

    #[test]
    fn ranges_with_one_id_end_from_the_last_begun_on() {
        let mut lanes = Lanes::default();
        for start_ns in [10, 20, 30] {
            begin(&mut lanes, 0, 7, start_ns);
        }
        assert_eq!(lanes.open().iter().map(|(_, taken)| taken.lane).collect::<Vec<_>>(), [0, 1, 2]);
        let ends: Vec<_> = [40, 50, 60].map(|time_ns| ended(&mut lanes, 7, time_ns)).into();
        assert_eq!(ends, [Some((2, 40)), Some((1, 50)), Some((0, 60))]);
        // A counter that is behind: the range is not shorter than nothing.
        begin(&mut lanes, 0, 8, 70);
        assert_eq!(ended(&mut lanes, 8, 69), Some((0, 70)));
    }
}
