//! Ranges that begin and end anywhere: each takes a lane in which nothing else is open.

use rustc_hash::FxHashMap;

/// Lanes of a process, by domain.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// For each domain: until when each lane is taken; `None` while a range is open in it.
    free_from: FxHashMap<u32, Vec<Option<i64>>>,
    /// Domain and lane of open ranges, by id.
    open: FxHashMap<u64, (u32, usize)>,
    /// Ends that were read before their begins, because the other thread's ring comes later: when.
    early: FxHashMap<u64, i64>,
}

/// Ends that are kept for begins that may still come. A begin that was dropped never comes.
const MOST_EARLY: usize = 65_536;

/// What to do with the begin of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    /// Lane of the domain.
    pub lane: usize,
    /// Whether the lane is new.
    pub is_new: bool,
    /// Its end, where that was read already.
    pub end_ns: Option<i64>,
}

impl Lanes {
    pub fn begin(&mut self, domain: u32, id: u64, start_ns: i64) -> Begun {
        let lanes = self.free_from.entry(domain).or_default();
        // Rings are read one after the other, so begins do not come in order of time; a lane is free for a range only
        // if all that is in it lies before.
        let free = lanes.iter().position(|until| until.is_some_and(|until| until <= start_ns));
        let is_new = free.is_none();
        let lane = free.unwrap_or_else(|| {
            lanes.push(None);
            lanes.len() - 1
        });
        let end_ns = self.early.remove(&id).map(|end| end.max(start_ns));
        if let Some(place) = lanes.get_mut(lane) {
            *place = end_ns;
        }
        if end_ns.is_none() {
            self.open.insert(id, (domain, lane));
        }
        Begun { lane, is_new, end_ns }
    }

    /// Domain and lane of the range that ends, or `None` where its begin was not read (yet).
    pub fn end(&mut self, id: u64, end_ns: i64) -> Option<(u32, usize)> {
        let Some((domain, lane)) = self.open.remove(&id) else {
            if self.early.len() < MOST_EARLY {
                self.early.insert(id, end_ns);
            }
            return None;
        };
        if let Some(place) = self.free_from.get_mut(&domain).and_then(|lanes| lanes.get_mut(lane)) {
            *place = Some(end_ns);
        }
        Some((domain, lane))
    }

    /// Ends whose begins never came.
    pub fn unmatched(&self) -> u64 {
        self.early.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_ranges_never_share_a_lane() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.begin(0, 1, 5).lane, 0);
        assert_eq!(lanes.begin(0, 2, 6).lane, 1);
        assert_eq!(lanes.end(1, 7), Some((0, 0)));
        // Read later, but begun before the first one ended.
        assert_eq!(lanes.begin(0, 3, 6).lane, 2);
        assert_eq!(lanes.begin(0, 4, 7).lane, 0);
        assert_eq!(lanes.begin(1, 5, 7).lane, 0);
    }

    #[test]
    fn an_end_that_is_read_first_is_kept_for_its_begin() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.end(9, 20), None);
        assert_eq!(lanes.unmatched(), 1);
        assert_eq!(lanes.begin(0, 9, 10), Begun { lane: 0, is_new: true, end_ns: Some(20) });
        assert_eq!((lanes.unmatched(), lanes.begin(0, 10, 15).lane), (0, 1));
    }
}
