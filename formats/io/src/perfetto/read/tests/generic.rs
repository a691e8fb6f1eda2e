//! Tracks, slices, arguments and flows of traces that others wrote.

use gapless_trace::{ArgValue, EventKind, ProcessKind, RawId, TrackKind, WarningKind};
use perfetto_proto::{
    ChildTracksOrdering, CounterDescriptor, DebugAnnotation, DebugAnnotationName, EventType, InternedData,
    InternedString, LegacyEvent, SiblingMergeBehavior, TracePacketDefaults, TrackDescriptor, TrackEvent,
    TrackEventDefaults, annotation, legacy_event, track_event,
};

use super::*;

#[test]
fn slices_nest_on_threads_and_other_tracks_have_paths() {
    let mut file = File::default();
    file.process(1, 10, "python");
    file.thread(2, 10, 11, "worker");
    file.custom(3, 1, "requests");
    file.custom(4, 3, "slot 0");
    file.custom(5, 0, "global");
    file.begin(100, 2, "outer", "");
    file.begin(110, 2, "inner", "");
    file.end(120, 2);
    file.end(200, 2);
    file.begin(100, 4, "request", "");
    file.event(150, named(EventType::Instant, 4, "first token", ""));
    file.end(300, 4);
    file.event(5, named(EventType::Instant, 5, "mark", ""));
    let trace = opened(file.bytes());
    assert_eq!(warnings(&trace), []);
    assert_eq!(
        slices(&trace),
        [
            (5, 0, "mark".to_owned()),
            (100, 100, "outer".to_owned()),
            (100, 200, "request".to_owned()),
            (110, 10, "inner".to_owned()),
            (150, 0, "first token".to_owned())
        ]
    );
    let found: Vec<_> = trace
        .tracks()
        .iter()
        .map(|track| {
            let process = trace.process(track.process).unwrap();
            (track.kind, trace.raw_id_text(process.pid), trace.raw_id_text(track.tid), process.kind)
        })
        .collect();
    assert_eq!(
        found,
        [
            (TrackKind::Thread, "10".to_owned(), "11".to_owned(), ProcessKind::Host),
            (TrackKind::Custom, "10".to_owned(), "requests / slot 0".to_owned(), ProcessKind::Host),
            (TrackKind::Custom, "Tracks".to_owned(), "global".to_owned(), ProcessKind::Virtual),
        ]
    );
    assert_eq!(trace.text(trace.processes()[0].name), "python");
    assert_eq!(trace.text(trace.tracks()[0].name), "worker");
}

#[test]
fn order_of_packets_does_not_matter_but_that_of_equal_times_does() {
    let mut file = File::default();
    // Ends before begins, children before parents, the descriptor last.
    file.end(200, 2);
    file.end(120, 2);
    file.begin(110, 2, "inner", "");
    file.begin(100, 2, "outer", "");
    file.begin(200, 2, "next", "");
    file.begin(200, 2, "nothing", "");
    file.end(200, 2);
    file.end(210, 2);
    file.thread(2, 10, 11, "worker");
    let trace = opened(file.bytes());
    assert_eq!(warnings(&trace), []);
    assert_eq!(
        slices(&trace),
        [
            (100, 100, "outer".to_owned()),
            (110, 10, "inner".to_owned()),
            (200, 0, "nothing".to_owned()),
            (200, 10, "next".to_owned())
        ]
    );
}

#[test]
fn names_told_once_hold_until_the_state_is_cleared() {
    let mut file = File::default();
    file.thread(2, 10, 11, "worker");
    let by_id = |kind, name, category| TrackEvent {
        name_field: Some(track_event::NameField::NameIid(name)),
        category_iids: vec![category],
        ..typed(kind, 2)
    };
    // Needs what was never told: dropped.
    file.event(1, by_id(EventType::Instant, 1, 1)).sequence_flags = Some(2);
    let packet = file.event(10, by_id(EventType::Instant, 1, 1));
    packet.sequence_flags = Some(3);
    packet.interned_data = Some(interned(&["a", "b"], &["cat"]));
    file.event(20, by_id(EventType::Instant, 2, 1)).sequence_flags = Some(2);
    // Another sequence does not know them.
    let packet = file.event(25, by_id(EventType::Instant, 2, 1));
    (packet.sequence_flags, packet.trusted_packet_sequence_id) = (Some(1), Some(2));
    let packet = file.event(30, by_id(EventType::Instant, 1, 1));
    packet.incremental_state_cleared = Some(true);
    packet.interned_data = Some(interned(&["c"], &["other"]));
    file.event(40, by_id(EventType::Instant, 2, 1));
    // Packets were lost: what needs names is dropped until the state is cleared.
    let packet = file.event(50, by_id(EventType::Instant, 1, 1));
    (packet.sequence_flags, packet.previous_packet_dropped) = (Some(2), Some(1));
    file.event(60, by_id(EventType::Instant, 1, 1)).sequence_flags = Some(2);
    let packet = file.event(70, by_id(EventType::Instant, 1, 1));
    packet.sequence_flags = Some(3);
    packet.interned_data = Some(interned(&["d"], &["cat"]));
    let trace = opened(file.bytes());
    assert_eq!(
        slices(&trace),
        [
            (10, 0, "a".to_owned()),
            (20, 0, "b".to_owned()),
            (25, 0, "iid 2".to_owned()),
            (30, 0, "c".to_owned()),
            (40, 0, "iid 2".to_owned()),
            (70, 0, "d".to_owned())
        ]
    );
    assert_eq!(trace.text(event_named(&trace, "c").category), "other");
    assert_eq!(
        warnings(&trace),
        [(WarningKind::PacketLost, 1), (WarningKind::StateLost, 3), (WarningKind::UnknownId, 3)]
    );
}

#[test]
fn defaults_of_the_sequence_give_track_and_counters() {
    let mut file = File::default();
    file.thread(2, 10, 11, "worker");
    let counter = |builtin| CounterDescriptor { unit: builtin, ..CounterDescriptor::default() };
    file.counter(3, 2, "instructions", counter(None));
    file.counter(4, 2, "load", counter(None));
    let packet = file.event(
        10,
        TrackEvent {
            track_uuid: None,
            extra_counter_values: vec![500],
            extra_double_counter_values: vec![0.5],
            ..named(EventType::SliceBegin, 0, "a", "")
        },
    );
    packet.sequence_flags = Some(1);
    packet.trace_packet_defaults = Some(TracePacketDefaults {
        track_event_defaults: Some(TrackEventDefaults {
            track_uuid: Some(2),
            extra_counter_track_uuids: vec![3],
            extra_double_counter_track_uuids: vec![4],
        }),
        ..TracePacketDefaults::default()
    });
    file.event(30, TrackEvent { track_uuid: None, extra_counter_values: vec![900], ..typed(EventType::SliceEnd, 0) });
    let trace = opened(file.bytes());
    assert_eq!(slices(&trace), [(10, 20, "a".to_owned())]);
    assert_eq!(track_kind_of(&trace, "a"), TrackKind::Thread);
    let series: Vec<_> = trace
        .counters()
        .iter()
        .map(|series| (trace.text(series.name), series.times.clone(), series.values.clone()))
        .collect();
    assert_eq!(
        series,
        [("worker / instructions", vec![10, 30], vec![500.0, 900.0]), ("worker / load", vec![10], vec![0.5])]
    );
    assert_eq!(warnings(&trace), []);
}

#[test]
fn counters_have_units_factors_and_differences() {
    let mut file = File::default();
    file.process(1, 10, "python");
    let counter = |unit, factor, is_incremental| CounterDescriptor {
        unit,
        unit_multiplier: factor,
        is_incremental,
        ..CounterDescriptor::default()
    };
    file.counter(3, 1, "memory", counter(Some(3), Some(1024), None));
    file.counter(4, 1, "steps", counter(None, None, Some(true)));
    let value = |track, value| TrackEvent {
        counter_value_field: Some(track_event::CounterValueField::CounterValue(value)),
        ..typed(EventType::Counter, track)
    };
    file.event(10, value(3, 2));
    file.event(20, value(3, -1));
    file.event(10, value(4, 5));
    file.event(20, value(4, 2));
    file.event(
        30,
        TrackEvent {
            counter_value_field: Some(track_event::CounterValueField::DoubleCounterValue(0.5)),
            ..typed(EventType::Counter, 4)
        },
    );
    file.event(40, value(99, 1));
    file.event(50, typed(EventType::Counter, 3));
    let trace = opened(file.bytes());
    let series: Vec<_> = trace
        .counters()
        .iter()
        .map(|series| (trace.text(series.name), trace.text(series.unit), series.values.clone()))
        .collect();
    assert_eq!(series, [("memory", "bytes", vec![2048.0, -1024.0]), ("steps", "", vec![5.0, 7.0, 7.5])]);
    assert_eq!(warnings(&trace), [(WarningKind::CounterNotNumeric, 1), (WarningKind::UndeclaredCounter, 1)]);
}

#[test]
fn siblings_of_one_name_are_one_track_unless_they_stay_apart() {
    let mut file = File::default();
    file.process(1, 10, "python");
    file.custom(3, 1, "requests");
    file.custom(4, 1, "requests");
    for uuid in [5, 6] {
        file.track(TrackDescriptor {
            uuid: Some(uuid),
            parent_uuid: Some(1),
            static_name: Some("lane".to_owned()),
            sibling_merge_behavior: Some(SiblingMergeBehavior::None as i32),
            ..TrackDescriptor::default()
        });
    }
    for track in 3..=6 {
        file.begin(10, track, &format!("on {track}"), "");
        file.end(20, track);
    }
    let trace = opened(file.bytes());
    let mut names: Vec<_> = trace.tracks().iter().map(|track| trace.raw_id_text(track.tid)).collect();
    names.sort();
    assert_eq!(names, ["lane", "lane (2)", "requests"]);
    assert_eq!(trace.events().len(), 4);
}

#[test]
fn children_stand_in_the_order_that_their_parent_wants() {
    let mut file = File::default();
    file.track(TrackDescriptor {
        uuid: Some(1),
        process: Some(ProcessDescriptor { pid: Some(10), ..ProcessDescriptor::default() }),
        child_ordering: Some(ChildTracksOrdering::Explicit as i32),
        ..TrackDescriptor::default()
    });
    for (uuid, name, place) in [(3, "a", 2), (4, "b", 1)] {
        file.track(TrackDescriptor {
            uuid: Some(uuid),
            parent_uuid: Some(1),
            name: Some(name.to_owned()),
            sibling_order_rank: Some(place),
            ..TrackDescriptor::default()
        });
        file.event(10, named(EventType::Instant, uuid, "mark", ""));
    }
    let trace = opened(file.bytes());
    let names: Vec<_> = trace.tracks().iter().map(|track| trace.raw_id_text(track.tid)).collect();
    assert_eq!(names, ["b", "a"]);
}

#[test]
fn a_state_ends_the_one_before() {
    let mut file = File::default();
    file.custom(3, 0, "power");
    for (time, name) in [(10, "idle"), (30, "busy"), (35, "idle")] {
        file.event(time, named(EventType::State, 3, name, ""));
    }
    file.custom(4, 0, "other");
    file.begin(0, 4, "x", "");
    file.end(50, 4);
    let trace = opened(file.bytes());
    assert_eq!(
        slices(&trace),
        [(0, 50, "x".to_owned()), (10, 20, "idle".to_owned()), (30, 5, "busy".to_owned()), (35, 15, "idle".to_owned())]
    );
    assert_eq!(warnings(&trace), []);
}

#[test]
fn flows_join_slices_until_they_are_terminated() {
    let mut file = File::default();
    file.thread(2, 10, 11, "a");
    file.thread(3, 10, 12, "b");
    file.begin(10, 2, "start", "").flow_ids = vec![7];
    file.end(20, 2);
    file.begin(30, 3, "middle", "").flow_ids_old = vec![7];
    file.end(40, 3);
    file.begin(50, 2, "stop", "").terminating_flow_ids = vec![7];
    file.end(60, 2);
    // The same id again is another flow; its slice takes it up with its end.
    file.begin(70, 3, "again", "");
    file.end(80, 3).flow_ids = vec![7];
    file.begin(90, 2, "last", "").terminating_flow_ids = vec![7];
    file.end(95, 2).terminating_flow_ids = vec![8];
    file.begin(100, 2, "lonely", "").flow_ids = vec![9];
    file.end(110, 2);
    let trace = opened(file.bytes());
    let mut flows: Vec<_> = trace
        .flows()
        .iter()
        .map(|flow| (trace.name(flow.from), trace.name(flow.to), trace.text(flow.category)))
        .collect();
    flows.sort_unstable();
    assert_eq!(flows, [("again", "last", "flow"), ("middle", "stop", "flow"), ("start", "middle", "flow")]);
    assert_eq!(warnings(&trace), [(WarningKind::FlowWithoutStart, 1), (WarningKind::FlowWithoutEnd, 1)]);
}

#[test]
fn arguments_of_every_type_are_read_when_asked_for() {
    let mut file = File::default();
    file.thread(2, 10, 11, "a");
    let value = |name: &str, value| DebugAnnotation {
        name_field: Some(annotation::NameField::Name(name.to_owned())),
        value: Some(value),
        ..DebugAnnotation::default()
    };
    use annotation::Value;
    let nested = DebugAnnotation {
        name_field: Some(annotation::NameField::NameIid(1)),
        dict_entries: vec![
            value("x", Value::IntValue(-1)),
            DebugAnnotation {
                name_field: Some(annotation::NameField::Name("list".to_owned())),
                array_values: vec![
                    DebugAnnotation { value: Some(Value::UintValue(u64::MAX)), ..DebugAnnotation::default() },
                    DebugAnnotation { value: Some(Value::StringValueIid(1)), ..DebugAnnotation::default() },
                ],
                ..DebugAnnotation::default()
            },
        ],
        ..DebugAnnotation::default()
    };
    file.begin(10, 2, "a", "").debug_annotations = vec![
        value("bool", Value::BoolValue(true)),
        value("uint", Value::UintValue(3)),
        value("int", Value::IntValue(-4)),
        value("double", Value::DoubleValue(0.5)),
        value("text", Value::StringValue("t".to_owned())),
        value("pointer", Value::PointerValue(255)),
        value("json", Value::LegacyJsonValue("{\"a\": [1, null]}".to_owned())),
        nested,
    ];
    let packet = file.packets.last_mut().unwrap();
    packet.sequence_flags = Some(3);
    packet.interned_data = Some(InternedData {
        debug_annotation_names: vec![DebugAnnotationName { iid: Some(1), name: Some("dict".to_owned()) }],
        debug_annotation_string_values: vec![InternedString { iid: Some(1), str: Some(b"told".to_vec()) }],
        ..InternedData::default()
    });
    file.end(20, 2).debug_annotations = vec![value("at the end", Value::IntValue(1))];
    let trace = opened(file.bytes());
    let args = trace.args(event_named(&trace, "a").id).unwrap();
    let text: Vec<_> = args.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    assert_eq!(
        text,
        [
            "bool=Bool(true)",
            "uint=UInt(3)",
            "int=Int(-4)",
            "double=Double(0.5)",
            "text=Text(\"t\")",
            "pointer=Text(\"0xff\")",
            "json=Dict([(\"a\", List([Int(1), Null]))])",
            "dict=Dict([(\"x\", Int(-1)), (\"list\", List([UInt(18446744073709551615), Text(\"told\")]))])",
            "at the end=Int(1)",
        ]
    );
}

#[test]
fn strings_of_arguments_are_those_of_their_own_generation() {
    let mut file = File::default();
    file.thread(2, 10, 11, "a");
    for (time, text) in [(10, "old"), (20, "new")] {
        let mut event = named(EventType::Instant, 2, text, "");
        event.debug_annotations = vec![DebugAnnotation {
            name_field: Some(annotation::NameField::NameIid(1)),
            value: Some(annotation::Value::StringValueIid(5)),
            ..DebugAnnotation::default()
        }];
        let packet = file.event(time, event);
        packet.sequence_flags = Some(3);
        packet.interned_data = Some(InternedData {
            debug_annotation_names: vec![DebugAnnotationName { iid: Some(1), name: Some(format!("{text} name")) }],
            debug_annotation_string_values: vec![InternedString {
                iid: Some(5),
                str: Some(format!("{text} value").into_bytes()),
            }],
            ..InternedData::default()
        });
    }
    let trace = opened(file.bytes());
    for text in ["old", "new"] {
        let args = trace.args(event_named(&trace, text).id).unwrap();
        assert_eq!(args, [(format!("{text} name"), ArgValue::Text(format!("{text} value")))]);
    }
}

#[test]
fn kineto_categories_make_kinds_streams_and_launches() {
    let int = |name: &str, value| DebugAnnotation {
        name_field: Some(annotation::NameField::Name(name.to_owned())),
        value: Some(annotation::Value::IntValue(value)),
        ..DebugAnnotation::default()
    };
    let text = |name: &str, value: &str| DebugAnnotation {
        name_field: Some(annotation::NameField::Name(name.to_owned())),
        value: Some(annotation::Value::StringValue(value.to_owned())),
        ..DebugAnnotation::default()
    };
    let mut file = File::default();
    file.process(1, 10, "python");
    file.thread(2, 10, 10, "python");
    // A stream as a thread of a device "process", and one as a track with a path.
    file.thread(3, 0, 7, "stream 7");
    file.custom(4, 1, "GPU 1");
    file.custom(5, 4, "stream 20");
    file.begin(0, 2, "ProfilerStep#3", "user_annotation");
    file.begin(10, 2, "aten::mm", "cpu_op").debug_annotations = vec![int("External id", 77)];
    file.begin(12, 2, "cudaLaunchKernel", "cuda_runtime").debug_annotations =
        vec![int("correlation", 5), int("External id", 77)];
    file.end(14, 2);
    file.end(20, 2);
    file.end(100, 2);
    file.begin(30, 3, "gemm", "kernel").debug_annotations =
        vec![int("correlation", 5), int("device", 0), int("stream", 7)];
    file.end(60, 3);
    file.begin(30, 5, "ncclDevKernel_AllReduce", "kernel").debug_annotations = vec![
        text("Collective name", "allreduce"),
        int("In msg nelems", 100),
        text("dtype", "Float"),
        int("Group size", 8),
    ];
    file.end(70, 5);
    file.begin(80, 5, "Memcpy HtoD", "gpu_memcpy").debug_annotations = vec![int("bytes", 4096)];
    file.end(90, 5);
    let trace = opened(file.bytes());
    let kind = |name: &str| event_named(&trace, name).kind;
    assert_eq!(kind("ProfilerStep#3"), EventKind::Step);
    assert_eq!(kind("aten::mm"), EventKind::Operator);
    assert_eq!(kind("cudaLaunchKernel"), EventKind::RuntimeCall);
    assert_eq!((kind("gemm"), kind("ncclDevKernel_AllReduce")), (EventKind::Kernel, EventKind::Collective));
    let gemm = event_named(&trace, "gemm");
    assert_eq!((gemm.correlation, event_named(&trace, "aten::mm").external), (Some(5), Some(77)));
    assert_eq!(trace.launches().launch_of(gemm.id), Some(event_named(&trace, "cudaLaunchKernel").id));
    let stream = |name: &str| {
        let (_, track) = trace.track_of(event_named(&trace, name).id).unwrap();
        (track.kind, trace.process(track.process).unwrap().kind, track.stream())
    };
    assert_eq!(stream("gemm"), (TrackKind::Stream, ProcessKind::Device(0), Some(7)));
    assert_eq!(stream("Memcpy HtoD"), (TrackKind::Stream, ProcessKind::Device(1), Some(20)));
    let collective = trace.collectives()[0];
    assert_eq!(
        (trace.text(collective.name), collective.in_elems, collective.group_size),
        ("allreduce", Some(100), Some(8))
    );
    assert_eq!(trace.copy_bytes(event_named(&trace, "Memcpy HtoD").id), Some(4096));
}

#[test]
fn a_flow_from_a_call_to_device_work_is_a_launch() {
    let mut file = File::default();
    file.thread(2, 10, 10, "python");
    file.custom(5, 0, "GPU 0 / stream 3");
    file.begin(10, 2, "cudaLaunchKernel", "cuda_runtime").flow_ids = vec![1];
    file.end(14, 2);
    file.begin(30, 5, "gemm", "kernel").terminating_flow_ids = vec![1];
    file.end(60, 5);
    let trace = opened(file.bytes());
    let pair = (event_named(&trace, "cudaLaunchKernel").id, event_named(&trace, "gemm").id);
    assert_eq!(trace.launches().pairs(), [pair]);
    assert!(trace.flows().is_empty());
}

#[test]
fn ranks_are_told_apart_where_processes_say_them() {
    let mut file = File::default();
    for rank in 0..2u32 {
        let (process, thread) = (1 + 2 * u64::from(rank), 2 + 2 * u64::from(rank));
        file.process(process, 100 + rank as i32, &format!("Rank {} · trainer", 4 + rank));
        file.thread(thread, 100 + rank as i32, 7, "main");
        file.begin(10, thread, &format!("step of {rank}"), "").flow_ids = vec![u64::from(rank)];
        file.end(20, thread);
        file.begin(30, thread, "next", "").terminating_flow_ids = vec![u64::from(rank)];
        file.end(40, thread);
    }
    let trace = opened(file.bytes());
    let numbers: Vec<_> = trace.ranks().iter().map(|rank| rank.number).collect();
    assert_eq!(numbers, [Some(4), Some(5)]);
    assert_eq!(trace.flows().len(), 2);
    for rank in 0..2u32 {
        let event = event_named(&trace, &format!("step of {rank}"));
        assert_eq!(trace.rank_of(event.id), Some(gapless_trace::RankId(rank)));
    }
}

#[test]
fn events_of_the_older_form_are_read() {
    let mut file = File::default();
    file.thread(2, 10, 11, "main");
    let legacy = |phase: u8| LegacyEvent { phase: Some(i32::from(phase)), ..LegacyEvent::default() };
    let mut old = |time, name: &str, legacy: LegacyEvent| {
        let event = named(EventType::Unspecified, 2, name, "cat");
        file.event(time, TrackEvent { r#type: None, legacy_event: Some(Box::new(legacy)), ..event });
    };
    old(1_000, "B", legacy(b'B'));
    old(2_000, "X", LegacyEvent { duration_us: Some(3), ..legacy(b'X') });
    old(9_000, "B", legacy(b'E'));
    old(3_000, "i", legacy(b'I'));
    let id = |id| Some(legacy_event::Id::GlobalId(id));
    old(4_000, "async", LegacyEvent { id: id(5), ..legacy(b'b') });
    old(4_500, "point", LegacyEvent { id: id(5), ..legacy(b'n') });
    old(6_000, "async", LegacyEvent { id: id(5), ..legacy(b'e') });
    old(6_500, "elsewhere", LegacyEvent { tid_override: Some(99), pid_override: Some(10), ..legacy(b'I') });
    old(7_000, "?", legacy(b'?'));
    let int = |name: &str, value| DebugAnnotation {
        name_field: Some(annotation::NameField::Name(name.to_owned())),
        value: Some(annotation::Value::IntValue(value)),
        ..DebugAnnotation::default()
    };
    let event = named(EventType::Unspecified, 2, "memory", "");
    file.event(
        8_000,
        TrackEvent {
            r#type: None,
            legacy_event: Some(Box::new(legacy(b'C'))),
            debug_annotations: vec![int("used", 1), int("free", 2)],
            ..event
        },
    );
    let trace = opened(file.bytes());
    assert_eq!(
        events(&trace)
            .into_iter()
            .map(|(_, start, dur, name)| (name, start, dur))
            .collect::<std::collections::BTreeSet<_>>(),
        [
            ("B".to_owned(), 1_000, 8_000),
            ("X".to_owned(), 2_000, 3_000),
            ("async".to_owned(), 4_000, 2_000),
            ("elsewhere".to_owned(), 6_500, 0),
            ("i".to_owned(), 3_000, 0),
            ("point".to_owned(), 4_500, 0),
        ]
        .into()
    );
    let (_, track) = trace.track_of(event_named(&trace, "elsewhere").id).unwrap();
    assert_eq!(track.tid, RawId::Int(99));
    assert_eq!(track_kind_of(&trace, "async"), TrackKind::Async);
    let names: Vec<_> = trace.counters().iter().map(|series| trace.text(series.name)).collect();
    assert_eq!(names, ["memory · free", "memory · used"]);
    assert_eq!(warnings(&trace), [(WarningKind::UnknownPhase, 1)]);
}

#[test]
fn stacks_hang_on_events() {
    use perfetto_proto::{Callstack, Frame, InlineCallstack, InlineFrame, Mapping};
    let mut file = File::default();
    file.thread(2, 10, 11, "main");
    let text = |iid, text: &str| InternedString { iid: Some(iid), str: Some(text.as_bytes().to_vec()) };
    let packet = file.event(
        10,
        TrackEvent {
            callstack_field: Some(track_event::CallstackField::CallstackIid(1)),
            ..named(EventType::Instant, 2, "interned", "")
        },
    );
    packet.sequence_flags = Some(3);
    packet.interned_data = Some(InternedData {
        function_names: vec![text(1, "main"), text(2, "work")],
        source_paths: vec![text(1, "a.py")],
        mapping_paths: vec![text(1, "usr"), text(2, "libc.so")],
        mappings: vec![Mapping { iid: Some(1), path_string_ids: vec![1, 2], ..Mapping::default() }],
        frames: vec![
            Frame { iid: Some(1), function_name_id: Some(1), mapping_id: Some(1), ..Frame::default() },
            Frame {
                iid: Some(2),
                function_name_id: Some(2),
                source_path_iid: Some(1),
                line_number: Some(12),
                ..Frame::default()
            },
            Frame { iid: Some(3), rel_pc: Some(0x40), ..Frame::default() },
        ],
        callstacks: vec![Callstack { iid: Some(1), frame_ids: vec![1, 2, 3] }],
        ..InternedData::default()
    });
    let frame = |name: &str| InlineFrame { function_name: Some(name.to_owned()), ..InlineFrame::default() };
    file.event(
        20,
        TrackEvent {
            callstack_field: Some(track_event::CallstackField::Callstack(InlineCallstack {
                frames: vec![frame("outer"), frame("inner")],
            })),
            ..named(EventType::Instant, 2, "inline", "")
        },
    );
    let trace = opened(file.bytes());
    let frames = |name: &str| -> Vec<String> {
        let stack = trace.stack_of(event_named(&trace, name).id).unwrap();
        let of = |frame: gapless_trace::Frame| {
            format!("{} {} {} {}", trace.text(frame.name), trace.text(frame.file), trace.text(frame.module), frame.line)
        };
        trace.stacks().frames_of(stack.stack).map(of).collect()
    };
    assert_eq!(frames("interned"), ["0x40   0", "work a.py  12", "main  /usr/libc.so 0"]);
    assert_eq!(frames("inline"), ["inner   0", "outer   0"]);
    assert_eq!(warnings(&trace), []);
}
