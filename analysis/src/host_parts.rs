//! What the main thread of a rank did in a window of time, where no device says it: recordings of CPU jobs, and the
//! host side of others.
//!
//! Every nanosecond of the window goes to the first of these that holds it: garbage collection, waiting for input,
//! communication calls of the thread, the optimizer, the backward pass, other operators, waiting while another thread of
//! the process communicates, other named ranges, and the rest (Python and whatever nothing names).

use gapless_trace::{EventId, EventKind, RankId, Trace, Track, TrackId, TrackKind};
use serde::Serialize;

use crate::interval::{Interval, IntervalSet, MeasuredSet};

/// A window of the main thread, split without overlap or rest; the parts sum to `duration_ns` exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostParts {
    /// Length of the window.
    pub duration_ns: i64,
    /// Python collects garbage.
    pub collection_ns: i64,
    /// The thread waits for its input.
    pub data_loading_ns: i64,
    /// The thread is in a communication call.
    pub communication_ns: i64,
    /// The optimizer's step.
    pub optimizer_ns: i64,
    /// The backward pass.
    pub backward_ns: i64,
    /// Other operators.
    pub operators_ns: i64,
    /// Nothing named runs on the thread while another thread of the process communicates.
    pub communication_wait_ns: i64,
    /// A range that the user's code or a library names.
    pub annotated_ns: i64,
    /// The rest: Python, and whatever nothing names.
    pub other_ns: i64,
}

impl HostParts {
    /// The parts with their names, in the order of the definition.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, i64); 9] {
        [
            ("garbage collection", self.collection_ns),
            ("data loading", self.data_loading_ns),
            ("communication", self.communication_ns),
            ("optimizer", self.optimizer_ns),
            ("backward", self.backward_ns),
            ("operators", self.operators_ns),
            ("waiting for communication", self.communication_wait_ns),
            ("named ranges", self.annotated_ns),
            ("Python and other", self.other_ns),
        ]
    }

    fn fields(&mut self) -> [&mut i64; 10] {
        [
            &mut self.duration_ns,
            &mut self.collection_ns,
            &mut self.data_loading_ns,
            &mut self.communication_ns,
            &mut self.optimizer_ns,
            &mut self.backward_ns,
            &mut self.operators_ns,
            &mut self.communication_wait_ns,
            &mut self.annotated_ns,
            &mut self.other_ns,
        ]
    }

    /// Adds the parts of another window.
    pub fn add(&mut self, more: &Self) {
        let mut more = *more;
        for (field, more) in self.fields().into_iter().zip(more.fields()) {
            *field = field.saturating_add(*more);
        }
    }

    /// Each part divided by a number of windows; the rest keeps the sum exact.
    #[must_use]
    pub fn divided_by(mut self, windows: i64) -> Self {
        for field in self.fields() {
            *field /= windows.max(1);
        }
        self.other_ns += self.duration_ns - self.sum_ns();
        self
    }

    /// The sum of the parts, which is `duration_ns`.
    #[must_use]
    pub fn sum_ns(&self) -> i64 {
        self.parts().into_iter().fold(0, |sum, (_, part)| sum.saturating_add(part))
    }
}

/// Classes of ranges, by precedence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Collection,
    DataLoading,
    Communication,
    Optimizer,
    Backward,
    Operator,
    Wait,
    Annotation,
}

const CLASSES: usize = 8;

/// The main thread of a rank, measured so that any window is split in O(log n).
#[derive(Clone, Debug)]
pub struct HostThread {
    track: TrackId,
    parts: [MeasuredSet; CLASSES],
}

impl HostThread {
    /// Measures the thread of `rank` with most operators and ranges. `None` where the rank has no thread.
    #[must_use]
    pub fn new(trace: &Trace, rank: RankId) -> Option<Self> {
        let main = main_thread(trace, rank)?;
        let process = trace.track(main)?.process;
        let mut sets: [Vec<Interval>; CLASSES] = Default::default();
        for (id, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Thread) {
            if id != main && track.process != process {
                continue;
            }
            let kinds = trace.events().kinds();
            for event in track.event_ids() {
                let Some(&kind) = kinds.get(event.index()) else { continue };
                let Some(class) = class_of(kind, trace.name(event), category_of(trace, event)) else { continue };
                let class = match (id == main, class) {
                    (true, class) => class,
                    (false, Class::Communication) => Class::Wait,
                    (false, _) => continue,
                };
                let found = trace.event(event);
                if let Some(set) = sets.get_mut(class as usize) {
                    set.push(Interval::new(found.start.nanos(), found.end().nanos()));
                }
            }
        }
        let mut taken = IntervalSet::default();
        let parts = sets.map(|set| {
            let set = IntervalSet::from_unsorted(set);
            let own = set.subtract(&taken);
            taken = taken.union(&set);
            MeasuredSet::new(own)
        });
        Some(Self { track: main, parts })
    }

    /// The thread that was measured.
    #[must_use]
    pub const fn track(&self) -> TrackId {
        self.track
    }

    /// Where the part at `place` of [`HostParts::parts`] lies in a window: as long as [`HostThread::parts`] says. The
    /// last place is the rest. O(pieces of the part; for the rest, of all parts).
    #[must_use]
    pub fn intervals(&self, place: usize, window: Interval) -> IntervalSet {
        match self.parts.get(place) {
            Some(part) => part.set().clip(window),
            None => {
                let named = self.parts.iter().flat_map(|part| part.set().clip(window).intervals().to_vec());
                IntervalSet::from_unsorted(named.collect()).gaps(window)
            }
        }
    }

    /// The split of a window.
    #[must_use]
    pub fn parts(&self, window: Interval) -> HostParts {
        let of = |class: Class| self.parts.get(class as usize).map_or(0, |set| set.length_in(window));
        let mut parts = HostParts {
            duration_ns: window.length(),
            collection_ns: of(Class::Collection),
            data_loading_ns: of(Class::DataLoading),
            communication_ns: of(Class::Communication),
            optimizer_ns: of(Class::Optimizer),
            backward_ns: of(Class::Backward),
            operators_ns: of(Class::Operator),
            communication_wait_ns: of(Class::Wait),
            annotated_ns: of(Class::Annotation),
            other_ns: 0,
        };
        parts.other_ns = parts.duration_ns.saturating_sub(parts.sum_ns());
        parts
    }
}

fn category_of(trace: &Trace, event: EventId) -> &str {
    trace.events().categories().get(event.index()).map_or("", |&category| trace.text(category))
}

/// The thread of the rank with most operators and named ranges; the first of equals.
fn main_thread(trace: &Trace, rank: RankId) -> Option<TrackId> {
    let covered = |track: &Track| {
        let kinds = trace.events().kinds();
        let counts = track.event_ids().filter(|event| {
            matches!(kinds.get(event.index()), Some(EventKind::Operator | EventKind::Annotation | EventKind::Step))
        });
        counts.count()
    };
    let threads = trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Thread);
    threads
        .map(|(id, track)| (id, covered(track)))
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(id, _)| id)
}

/// Names of communication calls on the host, of PyTorch's backends and of MPI.
const COMMUNICATION: &[&str] = &["c10d::", "gloo:", "nccl:", "rccl:", "mpi:", "MPI_", "ucc:"];

fn class_of(kind: EventKind, name: &str, category: &str) -> Option<Class> {
    Some(match kind {
        EventKind::Step => return None,
        _ if category == "gc" || name.starts_with("gc gen") => Class::Collection,
        EventKind::Operator | EventKind::Annotation | EventKind::Other => {
            if name.starts_with("enumerate(DataLoader)") || name.starts_with("DataLoader") {
                Class::DataLoading
            } else if category == "collective_comm" || COMMUNICATION.iter().any(|prefix| name.starts_with(prefix)) {
                Class::Communication
            } else if name.starts_with("Optimizer.") {
                Class::Optimizer
            } else if name.starts_with("autograd::engine::evaluate_function") {
                Class::Backward
            } else if kind == EventKind::Operator {
                Class::Operator
            } else if kind == EventKind::Annotation {
                Class::Annotation
            } else {
                return None;
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, NO_ID};

    #[test]
    fn every_nanosecond_has_one_place() {
        let mut fixture = Fixture::new();
        let host =
            |fixture: &mut Fixture, thread, kind, name: &str, time| fixture.host(thread, kind, name, time, NO_ID);
        host(&mut fixture, 1, EventKind::Annotation, "enumerate(DataLoader)#x.__next__", (0, 30));
        // Collects while it loads.
        host(&mut fixture, 1, EventKind::Annotation, "gc gen 2", (10, 15));
        host(&mut fixture, 1, EventKind::Annotation, "forward", (30, 60));
        host(&mut fixture, 1, EventKind::Operator, "aten::mm", (35, 50));
        host(&mut fixture, 1, EventKind::Operator, "autograd::engine::evaluate_function: MmBackward0", (60, 80));
        host(&mut fixture, 1, EventKind::Operator, "aten::mm", (62, 70));
        host(&mut fixture, 1, EventKind::Operator, "c10d::allreduce_", (80, 82));
        host(&mut fixture, 2, EventKind::Annotation, "gloo:all_reduce", (75, 95));
        host(&mut fixture, 1, EventKind::Annotation, "Optimizer.step#AdamW.step", (96, 100));
        let trace = fixture.trace();
        let (rank, _) = trace.rank_ids().next().expect("a rank");
        let thread = HostThread::new(&trace, rank).expect("a thread");
        let parts = thread.parts(Interval::new(0, 110));
        assert_eq!(
            parts,
            HostParts {
                duration_ns: 110,
                collection_ns: 5,
                data_loading_ns: 25,
                communication_ns: 2,
                optimizer_ns: 4,
                backward_ns: 20,
                operators_ns: 15,
                communication_wait_ns: 13,
                annotated_ns: 15,
                other_ns: 11,
            }
        );
        assert_eq!(parts.sum_ns(), 110);
        let half = thread.parts(Interval::new(0, 40));
        assert_eq!((half.data_loading_ns, half.operators_ns, half.sum_ns()), (25, 5, 40));
        for window in [Interval::new(0, 110), Interval::new(0, 40), Interval::new(-50, 12), Interval::new(200, 210)] {
            let lengths = thread.parts(window).parts().map(|(_, length)| length);
            let found: Vec<i64> = (0..9).map(|place| thread.intervals(place, window).length()).collect();
            assert_eq!(found, lengths, "{window:?}");
        }
    }
}
