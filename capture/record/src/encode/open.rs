//! The ranges of one thread that are open.
//!
//! A track is a stack: an end ends what began last on it. Ranges of one domain nest, but those of different domains
//! (libraries that know nothing of each other) need not. As nearly all do, all begin on the thread's own track. Where one
//! ends that is not the innermost there, its end waits until what lies inside it has ended, and from then on ranges of
//! its domain lie on a track of their own, where they nest.

use super::annotation::Annotation;
use super::event::Event;

/// A range that is open.
#[derive(Debug)]
pub(super) struct Open {
    /// What began it. The begin that is in the file said this too.
    pub begin: Event,
    /// Whether it lies on the track of its domain below the thread.
    pub is_apart: bool,
    /// When it ended, where its end still waits for ranges inside it.
    pub ended_ns: Option<i64>,
    /// What was told about it since; written with its end.
    pub late: Vec<Annotation>,
}

impl Open {
    /// A range that is known only to be open.
    pub fn unknown(domain: u32, is_apart: bool, ended_ns: Option<i64>) -> Open {
        let begin = Event { domain, ..Event::default() };
        Open { begin, is_apart, ended_ns, late: Vec::new() }
    }

    fn is_on(&self, track: Option<u32>) -> bool {
        self.apart() == track
    }

    /// The domain whose track it lies on, or `None` for the thread's own.
    pub fn apart(&self) -> Option<u32> {
        self.is_apart.then_some(self.begin.domain)
    }
}

/// All of a thread, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct OpenRanges {
    list: Vec<Open>,
    /// Domains whose ranges lie on tracks of their own from now on.
    apart: Vec<u32>,
}

/// What to do with an end.
#[derive(Debug)]
pub(super) enum Popped {
    /// No range is open.
    Unmatched,
    /// The innermost range of its track: its end is written now, then those of `popped` ranges that waited for it.
    Ended(Open),
    /// Others lie inside the range; its end waits. The place of the range.
    Waits(usize),
}

impl OpenRanges {
    /// Ranges, outermost first.
    pub fn iter(&self) -> impl Iterator<Item = &Open> {
        self.list.iter()
    }

    /// Number of ranges whose end was not seen.
    pub fn depth(&self) -> usize {
        self.list.iter().filter(|open| open.ended_ns.is_none()).count()
    }

    /// Whether ranges of this domain begin on a track of their own.
    pub fn is_apart(&self, domain: u32) -> bool {
        self.apart.contains(&domain)
    }

    /// Puts ranges of this domain on a track of their own from now on.
    pub fn set_apart(&mut self, domain: u32) {
        if !self.is_apart(domain) {
            self.apart.push(domain);
        }
    }

    /// A range begins.
    pub fn push(&mut self, open: Open) {
        self.list.push(open);
    }

    fn innermost(&self, domain: u32) -> Option<usize> {
        self.list.iter().rposition(|open| open.ended_ns.is_none() && open.begin.domain == domain)
    }

    /// The innermost range of this domain.
    pub fn innermost_mut(&mut self, domain: u32) -> Option<&mut Open> {
        let index = self.innermost(domain)?;
        self.list.get_mut(index)
    }

    /// The range that was given this id when it began.
    pub fn with_id_mut(&mut self, id: u64) -> Option<&mut Open> {
        self.list.iter_mut().rev().find(|open| open.begin.payload == id && open.ended_ns.is_none())
    }

    /// The range at a place.
    pub fn at_mut(&mut self, index: usize) -> Option<&mut Open> {
        self.list.get_mut(index)
    }

    /// Takes what was told about ranges and waits for their ends: how many facts.
    pub fn take_facts(&mut self) -> u64 {
        let mut facts = 0;
        for open in &mut self.list {
            facts += std::mem::take(&mut open.late).len() + std::mem::take(&mut open.begin.raw).len();
        }
        facts as u64
    }

    /// A range of this domain ends: the innermost of the domain, else the innermost of all.
    pub fn pop(&mut self, domain: u32, time_ns: i64) -> Popped {
        let any = || self.list.iter().rposition(|open| open.ended_ns.is_none());
        let Some(index) = self.innermost(domain).or_else(any) else { return Popped::Unmatched };
        let Some(track) = self.list.get(index).map(Open::apart) else { return Popped::Unmatched };
        let is_innermost = self.list.iter().skip(index + 1).all(|inside| !inside.is_on(track));
        if is_innermost {
            return Popped::Ended(self.list.remove(index));
        }
        if let Some(open) = self.list.get_mut(index) {
            open.ended_ns = Some(time_ns);
            let domain = open.begin.domain;
            self.set_apart(domain);
        }
        Popped::Waits(index)
    }

    /// The innermost range of a track if it has ended already: nothing is inside it any more.
    pub fn take_waiting(&mut self, track: Option<u32>) -> Option<Open> {
        let index = self.list.iter().rposition(|open| open.is_on(track))?;
        self.list.get(index)?.ended_ns?;
        Some(self.list.remove(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ranges: &mut OpenRanges, domain: u32, id: u64) {
        let is_apart = ranges.is_apart(domain);
        let begin = Event { domain, payload: id, ..Event::default() };
        ranges.push(Open { begin, ..Open::unknown(domain, is_apart, None) });
    }

    /// Ids of the ranges whose ends are written.
    fn pop(ranges: &mut OpenRanges, domain: u32) -> Vec<u64> {
        match ranges.pop(domain, 9) {
            Popped::Ended(open) => {
                let waiting = std::iter::from_fn(|| ranges.take_waiting(open.apart()));
                std::iter::once(open.begin.payload).chain(waiting.map(|open| open.begin.payload)).collect()
            }
            Popped::Waits(_) | Popped::Unmatched => Vec::new(),
        }
    }

    #[test]
    fn an_end_waits_for_what_lies_inside() {
        let mut ranges = OpenRanges::default();
        for (domain, id) in [(1, 10), (2, 20), (3, 30)] {
            push(&mut ranges, domain, id);
        }
        assert_eq!(pop(&mut ranges, 1), [0u64; 0]);
        assert_eq!(pop(&mut ranges, 2), [0u64; 0]);
        assert_eq!(ranges.depth(), 1);
        assert_eq!(pop(&mut ranges, 3), [30, 20, 10]);
        // Both domains that did not nest lie apart now, the third does not.
        push(&mut ranges, 1, 11);
        push(&mut ranges, 2, 21);
        push(&mut ranges, 3, 31);
        assert_eq!(ranges.iter().map(Open::apart).collect::<Vec<_>>(), [Some(1), Some(2), None]);
        assert_eq!((pop(&mut ranges, 1), pop(&mut ranges, 3), pop(&mut ranges, 2)), (vec![11], vec![31], vec![21]));
    }

    #[test]
    fn an_end_of_a_domain_with_nothing_open_ends_the_innermost_of_all() {
        let mut ranges = OpenRanges::default();
        push(&mut ranges, 1, 10);
        push(&mut ranges, 2, 20);
        assert_eq!((pop(&mut ranges, 7), pop(&mut ranges, 7)), (vec![20], vec![10]));
        assert!(matches!(ranges.pop(7, 0), Popped::Unmatched));
    }
}
