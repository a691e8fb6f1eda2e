//! Calls of the runtime and driver, and what the device library takes time for, on the threads that they are of.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use gapless_ring::Class;
use perfetto_proto::field::{annotation, packet, trace, track_event};
use perfetto_proto::wire::Writer;

use super::{Surroundings, names};
use crate::encode::annotation::{Annotation, Value};
use crate::encode::sequence::{SLICE_BEGIN, SLICE_END, Sequence, TrackEvent, category};
use crate::encode::thread::track_uuid;

/// What a slice is.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// A call.
    Api { is_driver: bool, name: u32, returned: u32, external: Option<u64> },
    /// Time of the device library.
    Overhead { of: u32 },
    /// Code that is translated.
    Jit { operation: u32 },
}

/// A slice of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub start_ns: i64,
    pub end_ns: i64,
    pub thread: u32,
    pub correlation: u32,
    pub what: What,
}

/// The sequence of a thread's calls.
#[derive(Debug)]
struct Thread {
    sequence: Sequence,
    /// Track of slices that do not nest in the calls.
    aside: u64,
}

/// All threads that make calls.
#[derive(Debug, Default)]
pub(super) struct Calls {
    threads: BTreeMap<u32, Thread>,
}

/// A begin or end, with what it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    time_ns: i64,
    /// Ends come before begins of the same time.
    is_begin: bool,
    /// Of begins the longest first, of ends the last begun.
    order: Reverse<i64>,
    index: usize,
}

impl Calls {
    /// Makes what follows readable without what came before.
    pub fn forget(&mut self) {
        for thread in self.threads.values_mut() {
            thread.sequence.forget();
        }
    }

    /// Writes the calls of a batch.
    pub fn write(&mut self, around: &mut Surroundings<'_>, out: &mut Writer, mut calls: Vec<Call>) {
        calls.sort_by_key(|call| (call.thread, call.start_ns, Reverse(call.end_ns)));
        let mut points: Vec<Point> = Vec::new();
        for of_thread in calls.chunk_by(|a, b| a.thread == b.thread) {
            let Some(first) = of_thread.first() else { continue };
            let nests = nesting(of_thread);
            points.clear();
            for (index, call) in of_thread.iter().enumerate() {
                // A call without duration ends at the begin of what follows, so its end must not come first.
                let end_ns = call.end_ns.max(call.start_ns + 1);
                points.push(Point { time_ns: call.start_ns, is_begin: true, order: Reverse(end_ns), index });
                points.push(Point { time_ns: end_ns, is_begin: false, order: Reverse(call.start_ns), index });
            }
            points.sort_unstable();
            let thread = self.thread(around, out, first.thread);
            thread.sequence.set_clock(out, first.start_ns);
            for point in &points {
                let Some(call) = of_thread.get(point.index) else { continue };
                let track = (!nests.get(point.index).copied().unwrap_or(true)).then_some(thread.aside);
                thread.write(around, out, call, point, track);
            }
        }
    }

    fn thread(&mut self, around: &mut Surroundings<'_>, out: &mut Writer, tid: u32) -> &mut Thread {
        let (pid, start_time) = (around.pid, around.start_time);
        let [own, aside] = [4, 5].map(|what| track_uuid(&[u64::from(pid), start_time, what, u64::from(tid)]));
        let thread = self
            .threads
            .entry(tid)
            .or_insert_with(|| Thread { sequence: Sequence::new(around.take_sequence(), own), aside });
        if !thread.sequence.is_started() {
            thread.sequence.start(out);
        }
        for uuid in [own, aside] {
            if around.declared.insert(uuid, ()).is_none() {
                describe(thread.sequence.id(), uuid, pid, tid, out);
            }
        }
        thread
    }
}

impl Thread {
    fn write(&mut self, around: &Surroundings<'_>, out: &mut Writer, call: &Call, point: &Point, track: Option<u64>) {
        if !point.is_begin {
            let event = TrackEvent { kind: SLICE_END, track, named: None, args: &[] };
            self.sequence.event(out, around.strings, point.time_ns, false, &event);
            return;
        }
        let mut args = Vec::with_capacity(3);
        let mut add = |name, value| args.push(Annotation::fixed(name, value));
        if call.correlation != 0 {
            add("correlation", Value::Unsigned(u64::from(call.correlation)));
        }
        match call.what {
            What::Api { is_driver, name, returned, external } => {
                if let Some(external) = external {
                    add("External id", Value::Unsigned(external));
                }
                if returned != 0 {
                    add("return value", Value::Unsigned(u64::from(returned)));
                }
                let class = if is_driver { Class::DriverCall } else { Class::RuntimeCall };
                let event = TrackEvent { kind: SLICE_BEGIN, track, named: Some((name, class)), args: &args };
                self.sequence.event(out, around.strings, point.time_ns, false, &event);
            }
            What::Overhead { of } => self.named(out, around, point.time_ns, track, names::overhead(of), &args),
            What::Jit { operation } => self.named(out, around, point.time_ns, track, names::jit(operation), &args),
        }
    }

    fn named(
        &mut self,
        out: &mut Writer,
        around: &Surroundings<'_>,
        time_ns: i64,
        track: Option<u64>,
        name: &'static str,
        args: &[Annotation],
    ) {
        self.sequence.plain(out, time_ns, |out| {
            out.uint(track_event::TYPE, SLICE_BEGIN);
            if let Some(uuid) = track {
                out.uint(track_event::TRACK_UUID, uuid);
            }
            out.string(track_event::NAME, name);
            out.string(track_event::CATEGORIES, category(Class::Overhead));
            for arg in args {
                out.message(track_event::DEBUG_ANNOTATIONS, |out| {
                    out.string(annotation::NAME, &arg.key.text(around.strings));
                    arg.value.write(out, around.strings);
                });
            }
        });
    }
}

/// Which slices, sorted by begin and then the longest first, lie wholly in or outside of those before them. What the
/// device library takes time for never does: it may begin in one call and end behind it.
fn nesting(calls: &[Call]) -> Vec<bool> {
    let mut open: Vec<i64> = Vec::new();
    calls
        .iter()
        .map(|call| {
            if !matches!(call.what, What::Api { .. }) {
                return false;
            }
            let end_ns = call.end_ns.max(call.start_ns + 1);
            while open.last().is_some_and(|&end| end <= call.start_ns) {
                open.pop();
            }
            let nests = open.last().is_none_or(|&end| end_ns <= end);
            if nests {
                open.push(end_ns);
            }
            nests
        })
        .collect()
}

/// A further track of a thread. It says no name: the thread's own track has one.
fn describe(sequence: u64, uuid: u64, pid: u32, tid: u32, out: &mut Writer) {
    out.message(trace::PACKET, |out| {
        out.uint(packet::SEQUENCE_ID, sequence);
        out.message(packet::TRACK_DESCRIPTOR, |out| {
            out.uint(1, uuid);
            out.message(4, |out| {
                out.uint(1, u64::from(pid));
                out.uint(2, u64::from(tid));
            });
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_without_nesting_goes_aside() {
        let call = |start_ns, end_ns| Call {
            start_ns,
            end_ns,
            thread: 1,
            correlation: 1,
            what: What::Api { is_driver: false, name: 1, returned: 0, external: None },
        };
        let calls = [call(0, 100), call(0, 50), call(50, 60), call(55, 70), call(90, 110), call(100, 120)];
        assert_eq!(nesting(&calls), [true, true, true, false, false, true]);
    }
}
