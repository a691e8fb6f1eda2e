//! Two ranks as `gapless record` shows them: calls, launches and hand-overs of NCCL's plugin, kernels of CUPTI.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use gapless_trace::{
    Args, ArgsError, ArgsLoc, ArgsSource, BuildOptions, CollectiveArgs, EventKind, RawChunk, RawId, Source, Timestamp,
    TracePart,
};

use super::*;
use crate::clock::ClockAlignment;
use crate::match_collectives::{CollectiveInstance, CollectiveReport, match_collectives, timings};

const NO_ID: u32 = u32::MAX;
const PID: i64 = 4711;
const THREAD: i64 = 4712;

#[derive(Debug)]
struct Listed(Vec<Args>);

impl ArgsSource for Listed {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        Ok(self.0.get(loc.offset() as usize).cloned().unwrap_or_default())
    }
}

/// One rank in the making; times in ns.
struct Rank {
    rank: u32,
    chunk: RawChunk,
    args: Vec<Args>,
    number: i64,
}

/// What NCCL does: function, number, elements, and the size of an element's type.
#[derive(Clone, Copy)]
struct Does {
    function: &'static str,
    seq: Option<u64>,
    count: u64,
    is_captured: bool,
}

fn does(function: &'static str, seq: u64, count: u64) -> Does {
    Does { function, seq: Some(seq), count, is_captured: false }
}

impl Rank {
    fn new(rank: u32) -> Self {
        Self { rank, chunk: RawChunk::default(), args: Vec::new(), number: 0 }
    }

    fn push(
        &mut self,
        at: (TrackKind, RawId),
        kind: EventKind,
        name: &str,
        time: (i64, i64),
        correlation: u32,
        args: Args,
    ) -> u32 {
        let process = if at.0 == TrackKind::Stream { 0 } else { PID };
        let track = self.chunk.track(at.0, RawId::Int(process), at.1);
        let name = self.chunk.strings.intern(name);
        let category = self.chunk.strings.intern(kind.id());
        let loc = ArgsLoc::new(self.args.len() as u64, 1).unwrap();
        self.args.push(args);
        self.chunk.push(time.0, time.1 - time.0, name, category, kind, track, correlation, NO_ID, loc);
        self.chunk.len() as u32 - 1
    }

    fn custom(&mut self, text: &str) -> (TrackKind, RawId) {
        (TrackKind::Custom, RawId::Text(self.chunk.strings.intern(text)))
    }

    /// A call at `at`; gives its number.
    fn call(&mut self, function: &str, at: i64) -> i64 {
        self.number += 1;
        let args = vec![("nccl_id".into(), ArgValue::Int(self.number))];
        let thread = (TrackKind::Thread, RawId::Int(THREAD));
        self.push(thread, EventKind::Annotation, &format!("nccl{function}"), (at, at + 10), NO_ID, args);
        self.number
    }

    /// A launch at `at` of a kernel that runs at `runs`.
    fn kernel(&mut self, name: &str, at: i64, correlation: u32, runs: (i64, i64)) {
        let thread = (TrackKind::Thread, RawId::Int(THREAD));
        self.push(thread, EventKind::RuntimeCall, "cudaLaunchKernelExC", (at, at + 5), correlation, Vec::new());
        let stream = (TrackKind::Stream, RawId::Int(20));
        self.push(stream, EventKind::Collective, name, runs, correlation, Vec::new());
    }

    /// The hand-over at `at` of what call `parent` asked for; gives its number.
    fn handed(&mut self, does: Does, at: i64, parent: i64) -> i64 {
        self.number += 1;
        let mut args =
            vec![("nccl_id".into(), ArgValue::Int(self.number)), ("nccl_parent".into(), ArgValue::Int(parent))];
        if does.is_captured {
            args.push(("graph_captured".into(), ArgValue::Int(1)));
        } else {
            args.push(("thread".into(), ArgValue::Int(THREAD)));
        }
        let track = self.custom("NCCL DP #ab");
        let event = self.push(track, EventKind::Annotation, does.function, (at, at + 2), NO_ID, args);
        let mut intern = |text: &str| self.chunk.strings.intern(text);
        let collective = CollectiveArgs {
            event,
            name: intern(does.function),
            dtype: intern("Bfloat16"),
            group: intern("DP #ab"),
            group_desc: StrId::EMPTY,
            in_elems: Some(does.count),
            out_elems: None,
            group_size: Some(2),
            seq: does.seq,
        };
        self.chunk.collectives.push(collective);
        self.number
    }

    /// A channel that NCCL saw begin at `seen` and that ran at `runs` by the device's clock.
    fn channel(&mut self, parent: i64, seen: i64, runs: (i64, i64)) {
        self.number += 1;
        let args =
            [("nccl_id", self.number), ("nccl_parent", parent), ("device_start_ns", runs.0), ("device_end_ns", runs.1)];
        let args = args.map(|(name, value)| (name.into(), ArgValue::Int(value))).to_vec();
        let track = self.custom("NCCL channels on the device");
        self.push(track, EventKind::Annotation, CHANNEL, (seen, seen + 1), NO_ID, args);
    }

    fn into_part(self) -> TracePart {
        let path = format!("rank{}.pftrace", self.rank);
        let mut part = TracePart::new(Source { path, format: "made by hand".to_owned(), ..Source::default() });
        part.info.rank = Some(self.rank);
        part.args = Arc::new(Listed(self.args));
        part.chunks.push(self.chunk);
        part
    }
}

/// Two ranks, made by the same rule.
fn two(make: impl Fn(&mut Rank, i64)) -> Trace {
    let parts = [0, 1].map(|number| {
        let mut rank = Rank::new(number);
        make(&mut rank, i64::from(number));
        rank.into_part()
    });
    Trace::from_parts(parts.into(), &BuildOptions::default()).unwrap()
}

fn of(instance: &CollectiveInstance) -> Vec<(Option<i64>, i64, i64)> {
    let member = |member: &crate::match_collectives::Member| {
        (member.enqueued.map(Timestamp::nanos), member.start.nanos(), member.end.nanos())
    };
    instance.members.iter().map(member).collect()
}

#[test]
fn a_collective_has_enqueue_start_transfer_and_end() {
    let trace = two(|rank, number| {
        let late = number * 300;
        let call = rank.call("AllReduce", 1_000 + late);
        rank.kernel(
            "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgs)",
            1_020 + late,
            1,
            (2_000 + late, 2_900),
        );
        rank.handed(does("AllReduce", 7, 100), 1_030 + late, call);
        // Of another function, which NCCL counts by itself.
        let call = rank.call("AllGather", 3_000);
        rank.kernel("ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgs)", 3_020, 2, (3_500 + late, 4_200));
        rank.handed(does("AllGather", 7, 50), 3_030, call);
    });
    // One clock: what is to be seen are the times, not their alignment.
    let clocks = ClockAlignment::identity(&trace);
    let found = match_collectives(&trace, &clocks);
    let [reduce, gather] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((reduce.group.as_str(), reduce.name.as_str(), reduce.sequence), ("DP #ab", "AllReduce", Some(7)));
    assert_eq!((gather.name.as_str(), gather.sequence), ("AllGather", Some(7)));
    assert_eq!(reduce.communicator, gather.communicator);
    // An all-gather puts out the parts of both.
    assert_eq!((reduce.bytes, gather.bytes), (Some(200), Some(200)));
    assert!(
        found.iter().all(|instance| instance.on_device && !instance.enqueued_only && instance.expected_size == Some(2))
    );
    assert_eq!(of(reduce), [(Some(1_000), 2_000, 2_900), (Some(1_300), 2_300, 2_900)]);
    assert_eq!(of(gather), [(Some(3_000), 3_500, 4_200), (Some(3_000), 3_800, 4_200)]);
    let timings = timings(&found, &clocks);
    let transfers: Vec<(i64, i64)> =
        timings.iter().map(|timing| (timing.last_arrival_ns, timing.transfer_ns)).collect();
    assert_eq!(transfers, [(2_300, 600), (3_800, 400)]);
}

#[test]
fn one_kernel_may_do_several_and_a_graph_none_of_its_own() {
    let trace = two(|rank, _| {
        let calls = [rank.call("AllReduce", 1_000), rank.call("AllReduce", 1_010)];
        rank.kernel("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgs)", 1_020, 1, (2_000, 2_900));
        for (seq, call) in (4..).zip(calls) {
            rank.handed(does("AllReduce", seq, 100), 1_030 + seq as i64, call);
        }
        // A launch of a graph: its kernel has the launch of the graph, its collective no thread.
        rank.kernel("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgs)", 3_000, 2, (3_100, 3_200));
        rank.handed(Does { is_captured: true, seq: None, ..does("AllReduce", 0, 8) }, 3_050, 1);
    });
    let clocks = ClockAlignment::identity(&trace);
    let found = match_collectives(&trace, &clocks);
    let known: Vec<_> =
        found.iter().map(|one| (one.group.as_str(), one.sequence, one.bytes, one.members.len())).collect();
    assert_eq!(known, [("DP #ab", Some(4), Some(400), 2), ("stream 20", None, None, 2)]);
}

#[test]
fn without_kernels_only_the_hand_over_is_known() {
    let trace = two(|rank, number| {
        for seq in 0..3 {
            let at = 1_000 + 1_000 * seq + 90 * number;
            let call = rank.call("AllReduce", at);
            rank.handed(does("AllReduce", seq as u64, 100), at + 50, call);
        }
    });
    let report = CollectiveReport::new(&trace);
    assert_eq!(report.collectives.len(), 3);
    for (at, entry) in (0..).zip(&report.collectives) {
        let begin = 1_000 + 1_000 * at;
        assert!(entry.instance.enqueued_only && !entry.instance.on_device);
        assert_eq!(
            of(&entry.instance),
            [(Some(begin), begin, begin + 52), (Some(begin + 90), begin + 90, begin + 142)]
        );
        assert_eq!((entry.timing.transfer_ns, entry.timing.wait_sum_ns, entry.timing.delayer), (0, 0, None));
        assert_eq!(entry.timing.arrival_spread_ns, 90);
    }
    // Nor do clocks or lateness rest on it.
    assert_eq!(report.clocks.components.len(), 2);
    assert!(report.lateness.iter().all(|rank| rank.collectives == 0));
    assert!(report.costs.iter().all(|cost| cost.enqueued_only && cost.sizes.iter().all(|s| s.bus_gb_per_s.is_none())));
}

#[test]
fn channels_tell_when_it_ran() {
    // The device counts from another beginning; NCCL sees the first channel 40 ns after it began, others later.
    const DEVICE: i64 = 5_000_000;
    let trace = two(|rank, number| {
        for seq in 0..4 {
            let at = 1_000 + 10_000 * seq;
            let call = rank.call("AllReduce", at);
            let handed = rank.handed(does("AllReduce", seq as u64, 100), at + 50, call);
            for channel in 0..2 {
                let begin = at + 300 + 100 * number + 7 * channel;
                let seen = begin + 40 + 500 * (channel + seq);
                rank.channel(handed, seen, (begin + DEVICE, at + 2_000 + 3 * channel + DEVICE));
            }
        }
    });
    let found = match_collectives(&trace, &ClockAlignment::identity(&trace));
    assert_eq!(found.len(), 4);
    for (seq, instance) in (0..).zip(&found) {
        assert!(instance.on_device && !instance.enqueued_only);
        let at = 1_000 + 10_000 * seq;
        // 40 ns late, by the delay with which NCCL looked.
        let expected = [0, 1].map(|number| (Some(at), at + 300 + 100 * number + 40, at + 2_003 + 40));
        assert_eq!(of(instance), expected);
    }
}
