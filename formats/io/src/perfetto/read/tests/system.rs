//! What the system records: scheduling, samples, processes.

use gapless_trace::{EventKind, ProcessKind, TrackKind, WarningKind};
use perfetto_proto::{
    Callstack, CompactSched, Frame, FtraceEvent, FtraceEventBundle, InlineCallstack, InlineFrame, InternedData,
    InternedString, PerfSample, PerfSampleDefaults, Process, ProcessTree, SchedSwitch, SchedWaking, StackSample,
    TaskContext, Thread, Timebase, TracePacketDefaults, ftrace_event, stack_sample,
};

use super::*;

#[test]
fn switches_say_which_thread_runs_where() {
    let switch = |time, prev: i32, state, next: i32, name: &str| FtraceEvent {
        timestamp: Some(time),
        pid: Some(prev as u32),
        event: Some(ftrace_event::Event::SchedSwitch(SchedSwitch {
            prev_pid: Some(prev),
            prev_state: Some(state),
            next_comm: Some(name.to_owned()),
            next_pid: Some(next),
            next_prio: Some(120),
            ..SchedSwitch::default()
        })),
    };
    let waking = FtraceEvent {
        timestamp: Some(90),
        pid: Some(7),
        event: Some(ftrace_event::Event::SchedWaking(SchedWaking { pid: Some(11), ..SchedWaking::default() })),
    };
    let mut file = File::default();
    file.data(
        None,
        trace_packet::Data::ProcessTree(ProcessTree {
            processes: vec![Process { pid: Some(10), cmdline: vec!["python".to_owned()], ..Process::default() }],
            threads: vec![Thread { tid: Some(11), name: Some("worker".to_owned()), tgid: Some(10) }],
            ..ProcessTree::default()
        }),
    );
    file.data(
        None,
        trace_packet::Data::FtraceEvents(FtraceEventBundle {
            cpu: Some(2),
            event: vec![
                waking,
                switch(100, 0, 0, 11, "worker"),
                switch(150, 11, 1, 0, "swapper"),
                switch(300, 0, 0, 12, "other"),
            ],
            ..FtraceEventBundle::default()
        }),
    );
    file.data(
        None,
        trace_packet::Data::FtraceEvents(FtraceEventBundle {
            cpu: Some(0),
            compact_sched: Some(CompactSched {
                intern_table: vec!["swapper".to_owned(), "compact".to_owned()],
                switch_timestamp: vec![110, 30, 20],
                switch_prev_state: vec![0, 0, 1],
                switch_next_pid: vec![13, 0, 11],
                switch_next_prio: vec![120, 0, 120],
                switch_next_comm_index: vec![1, 0, 0],
                waking_timestamp: vec![155],
                waking_pid: vec![11],
            }),
            ..FtraceEventBundle::default()
        }),
    );
    let trace = opened(file.bytes());
    let mut found: Vec<_> = (0..trace.events().len() as u32)
        .map(|index| {
            let event = trace.event(EventId(index));
            let (_, track) = trace.track_of(event.id).unwrap();
            assert_eq!((event.kind, track.kind), (EventKind::Scheduled, TrackKind::Cpu));
            assert_eq!(trace.process(track.process).unwrap().kind, ProcessKind::Virtual);
            (trace.raw_id_text(track.tid), event.start.nanos(), event.dur.nanos(), trace.text(event.name).to_owned())
        })
        .collect();
    found.sort();
    let at = |core: &str, start, dur, name: &str| (core.to_owned(), start, dur, name.to_owned());
    assert_eq!(
        found,
        [
            at("0", 110, 30, "compact"),
            at("0", 160, 140, "swapper"),
            at("2", 100, 50, "worker"),
            at("2", 300, 0, "other")
        ]
    );
    let args: Vec<_> = trace
        .args(event_named(&trace, "worker").id)
        .unwrap()
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        args,
        ["tid=11", "pid=10", "priority=120", "end state=sleeping", "wake-up latency (ns)=10", "woken by tid=7"]
    );
    assert_eq!(warnings(&trace), []);
}

#[test]
fn samples_have_stacks_and_weights() {
    let text = |iid, text: &str| InternedString { iid: Some(iid), str: Some(text.as_bytes().to_vec()) };
    let mut file = File::default();
    let perf = |stack| PerfSample {
        pid: Some(10),
        tid: Some(11),
        cpu: Some(3),
        callstack_iid: stack,
        ..PerfSample::default()
    };
    let packet = file.data(Some(100), trace_packet::Data::PerfSample(perf(Some(1))));
    packet.sequence_flags = Some(3);
    packet.trace_packet_defaults = Some(TracePacketDefaults {
        perf_sample_defaults: Some(PerfSampleDefaults {
            timebase: Some(Timebase { period: Some(1_000), ..Timebase::default() }),
        }),
        ..TracePacketDefaults::default()
    });
    packet.interned_data = Some(InternedData {
        function_names: vec![text(1, "main"), text(2, "leaf")],
        frames: vec![
            Frame { iid: Some(1), function_name_id: Some(1), ..Frame::default() },
            Frame { iid: Some(2), function_name_id: Some(2), ..Frame::default() },
        ],
        callstacks: vec![Callstack { iid: Some(1), frame_ids: vec![1, 2] }],
        stack_sample_task_contexts: vec![TaskContext { iid: Some(4), pid: Some(10), tid: Some(12) }],
        ..InternedData::default()
    });
    file.data(Some(110), trace_packet::Data::PerfSample(perf(None)));
    file.data(Some(120), trace_packet::Data::PerfSample(perf(Some(9))));
    let frame = |name: &str| InlineFrame { function_name: Some(name.to_owned()), ..InlineFrame::default() };
    file.data(
        Some(130),
        trace_packet::Data::StackSample(StackSample {
            task_context_field: Some(stack_sample::TaskContextField::TaskContextIid(4)),
            callstack_field: Some(stack_sample::CallstackField::Callstack(InlineCallstack {
                frames: vec![frame("a"), frame("b")],
            })),
            primary_weight: Some(77),
        }),
    );
    let trace = opened(file.bytes());
    assert_eq!(slices(&trace), [(100, 0, "leaf".to_owned()), (130, 0, "b".to_owned())]);
    for (name, tid, weight, frames) in [("leaf", "11", 1_000, ["leaf", "main"]), ("b", "12", 77, ["b", "a"])] {
        let event = event_named(&trace, name);
        let (_, track) = trace.track_of(event.id).unwrap();
        assert_eq!((event.kind, track.kind), (EventKind::Sample, TrackKind::Samples));
        assert_eq!(trace.raw_id_text(track.tid), tid);
        let stack = trace.stack_of(event.id).unwrap();
        assert_eq!(stack.weight, weight);
        let names: Vec<_> = trace.stacks().frames_of(stack.stack).map(|frame| trace.text(frame.name)).collect();
        assert_eq!(names, frames);
    }
    let count = |kind| trace.warnings().count(kind);
    assert_eq!((count(WarningKind::UnknownPacket), count(WarningKind::UnknownId)), (2, 1));
}
