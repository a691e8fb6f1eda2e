//! Damaged and hostile files: nothing panics, what is whole is kept, what is lost is counted.

use gapless_formats::{Limits, OpenError, OpenOptions, open_bytes};
use gapless_trace::{EventId, Trace, TrackKind, WarningKind};
use proptest::prelude::*;
use prost::Message;

use crate::naive::{of_file, of_trace};
use crate::proto::{Data, Stat, XEvent, XEventMetadata, XLine, XPlane, XSpace, XStat, XStatMetadata, add, plane, stat};

fn read(bytes: Vec<u8>) -> Trace {
    open_bytes("x.xplane.pb", bytes, &OpenOptions::default()).unwrap()
}

fn names(trace: &Trace) -> Vec<&str> {
    (0..trace.events().len() as u32).map(|id| trace.name(EventId(id))).collect()
}

fn host(events: usize) -> XPlane {
    let mut host = plane("/host:CPU");
    for number in 0..events as i64 {
        let value = vec![stat(&mut host, "number", Stat::Int64(number))];
        add(&mut host, (1, "thread"), &format!("event number {number}"), (number * 10_000, 5_000), value);
    }
    host
}

fn space(planes: Vec<XPlane>) -> Vec<u8> {
    XSpace { planes, ..XSpace::default() }.encode_to_vec()
}

/// A field of length `len` with `content` behind it, whatever its true length is.
fn field(number: u8, len: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(len, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

fn whole(number: u8, content: &[u8]) -> Vec<u8> {
    field(number, content.len() as u64, content)
}

#[test]
fn a_file_that_is_cut_keeps_all_before_the_cut() {
    let bytes = space(vec![host(20)]);
    let line = host(20).lines[0].encode_to_vec();
    // A cut in the middle of the line: its events have no names, which come after it.
    let at = bytes.windows(line.len()).position(|window| window == line).unwrap() + line.len() / 2;
    let trace = read(bytes[..at].to_vec());
    assert_eq!(trace.warnings().count(WarningKind::Truncated), 1);
    assert_eq!(trace.warnings().count(WarningKind::MalformedEvent), 0);
    let found = names(&trace);
    assert!(found.len() >= 8 && found.len() < 20, "{found:?}");
    assert_eq!(found[0], "event 1");
    assert_eq!(trace.warnings().count(WarningKind::UnknownId), found.len() as u64);
    // A cut at every byte gives a trace or a clear error.
    for cut in 0..bytes.len() {
        match open_bytes("x.xplane.pb", bytes[..cut].to_vec(), &OpenOptions::default()) {
            Ok(trace) => assert_eq!(trace.warnings().count(WarningKind::Truncated), 1, "{cut}"),
            Err(error) => assert!(matches!(error, OpenError::Format { .. }) && cut < 20, "{cut}: {error}"),
        }
    }
}

#[test]
fn absurd_lengths_end_the_message_they_stand_in() {
    let good = host(1).encode_to_vec();
    // 2^63 as the length of a plane behind a good one, of a line, of an event.
    let plane = [whole(1, &good), field(1, 1 << 63, b"\x12\x01x")].concat();
    let trace = read(plane);
    assert_eq!((names(&trace), trace.warnings().count(WarningKind::Truncated)), (vec!["event number 0"], 1));

    let line = [good.clone(), field(3, 1 << 63, b"")].concat();
    let trace = read(whole(1, &line));
    assert_eq!((names(&trace), trace.warnings().count(WarningKind::MalformedEvent)), (vec!["event number 0"], 1));

    let mut bad = host(1);
    let event = [whole(4, &bad.lines[0].events[0].encode_to_vec()), field(4, 1 << 63, b"\x08\x01")].concat();
    bad.lines.clear();
    let trace = read(whole(1, &[bad.encode_to_vec(), whole(3, &event)].concat()));
    assert_eq!((names(&trace), trace.warnings().count(WarningKind::MalformedEvent)), (vec!["event number 0"], 1));

    // Inside of an event: the event is lost, its neighbours are not.
    let events = [whole(4, &field(4, 1 << 63, b"")), whole(4, &[0x08, 1, 0x18, 0xE8, 7])].concat();
    let trace = read(whole(1, &[bad.encode_to_vec(), whole(3, &events)].concat()));
    assert_eq!((names(&trace), trace.warnings().count(WarningKind::MalformedEvent)), (vec!["event number 0"], 1));
}

#[test]
fn times_out_of_reach_are_counted() {
    let mut host = host(1);
    let template = host.lines[0].events[0].clone();
    let mut event = |offset, duration_ps| {
        host.lines[0].events.push(XEvent { data: Some(Data::OffsetPs(offset)), duration_ps, ..template.clone() });
    };
    event(0, -1);
    event(i64::MAX, i64::MAX);
    event(i64::MIN, 1);
    host.lines.push(XLine { id: 2, timestamp_ns: i64::MAX, events: vec![template.clone()], ..XLine::default() });
    let late = XEvent { data: Some(Data::OffsetPs(1_000)), ..template };
    host.lines.push(XLine { id: 3, timestamp_ns: i64::MAX, events: vec![late], ..XLine::default() });
    let trace = read(space(vec![host]));
    assert_eq!(trace.events().len(), 5);
    assert_eq!(trace.warnings().count(WarningKind::NegativeDuration), 1);
    // Beyond 64 bits in picoseconds, and in nanoseconds.
    assert_eq!(trace.warnings().count(WarningKind::DurationOutOfRange), 2);
    assert_eq!(trace.warnings().count(WarningKind::TimeOutOfRange), 1);
}

#[test]
fn odd_ids_texts_and_counters_are_counted() {
    let mut host = host(1);
    let wide = vec![stat(&mut host, "correlation_id", Stat::Uint64(u64::from(u32::MAX)))];
    add(&mut host, (1, "thread"), "cuLaunchKernel", (0, 1_000), wide);
    host.lines[0].events.push(XEvent { metadata_id: 77, ..XEvent::default() });
    for value in [Stat::Double(f64::NAN), Stat::Str("12".to_owned())] {
        let value = vec![stat(&mut host, "value", value)];
        add(&mut host, (9, "_counters_"), "counter", (0, 0), value);
    }
    let mut device = plane("/device:GPU:0");
    for value in [Stat::Double(f64::NAN), Stat::Str("12".to_owned()), Stat::Int64(3)] {
        let value = vec![stat(&mut device, "value", value)];
        add(&mut device, (9, "_counters_"), "counter", (0, 0), value);
    }
    let dropped = stat(&mut device, "dropped_traces", Stat::Uint64(5));
    device.stats.push(dropped);
    let mut bytes = space(vec![host, device]);
    // The name of an event type that is no UTF-8.
    let at = bytes.windows(12).position(|window| window == b"event number").unwrap();
    bytes[at] = 0xFF;
    let trace = read(bytes);
    let check = |kind, count| assert_eq!(trace.warnings().count(kind), count, "{kind:?}");
    check(WarningKind::WideId, 1);
    check(WarningKind::UnknownId, 1);
    check(WarningKind::NotANumber, 1);
    check(WarningKind::CounterNotNumeric, 1);
    check(WarningKind::InvalidUtf8, 1);
    check(WarningKind::RecorderMessage, 1);
    assert!(names(&trace).contains(&"\u{FFFD}vent number 0"));
    assert!(names(&trace).contains(&"event 77"));
    assert_eq!(trace.counters().len(), 1);
}

#[test]
fn limits_are_kept() {
    let refused = |limits: Limits| {
        let options = OpenOptions { limits, ..OpenOptions::default() };
        match open_bytes("x.xplane.pb", space(vec![host(10)]), &options) {
            Err(OpenError::Limit { flag, .. }) => flag,
            other => unreachable!("{other:?}"),
        }
    };
    assert_eq!(refused(Limits { events: 9, ..Limits::default() }), "events=10");
    assert_eq!(refused(Limits { string_bytes: 13, ..Limits::default() }), "string=14");
}

#[test]
fn long_texts_are_shown_in_part() {
    let mut host = host(1);
    // Three bytes a letter, so that the cut lies within one.
    let text = "€".repeat(1 << 20);
    let values = [Stat::Str(text), Stat::Bytes(vec![0xFF; 1 << 17]), Stat::Bytes(vec![0xFF; 1 << 21])];
    for (number, value) in values.into_iter().enumerate() {
        let value = stat(&mut host, &format!("value {number}"), value);
        host.lines[0].events[0].stats.push(value);
    }
    let trace = read(space(vec![host]));
    let args = trace.args(EventId(0)).unwrap();
    let shown = |name: &str| args.iter().find(|entry| entry.0 == name).unwrap().1.to_string();
    let text = shown("value 0");
    assert_eq!(text, format!("{}… (cut)", "€".repeat((1 << 20) / 3)));
    assert_eq!(shown("value 1"), "131072 bytes");
    assert_eq!(shown("value 2"), "2097152 bytes");
}

#[test]
fn other_files_are_not_taken_for_planes() {
    let refused = |bytes: &[u8]| match open_bytes("x.xplane.pb", bytes.to_vec(), &OpenOptions::default()) {
        Err(OpenError::Format { reason, .. }) => assert!(!reason.contains("XPlane"), "{bytes:?}: {reason}"),
        Ok(trace) => assert!(!trace.sources()[0].format.starts_with("XPlane"), "{bytes:?}"),
        Err(error) => unreachable!("{error}"),
    };
    refused(b"");
    refused(b"\n\n\n");
    refused(b"\n{\"traceEvents\": []}");
    // Packets of Perfetto: a clock, a process tree with a process, a trusted user id and a sequence.
    refused(&whole(1, &[0x40, 5, 0x50, 1]));
    refused(&whole(1, &whole(2, &whole(1, &[0x08, 1, 0x10, 0]))));
    refused(&whole(1, &[0x18, 5, 0x50, 1]));
    // Other messages of the same profiler: a program, a table of operators.
    refused(&whole(1, &whole(1, b"jit_step")));
    refused(&whole(1, &[0x10, 5]));
    // No plane has a name.
    refused(&whole(1, &whole(3, b"")));
}

/// Any file that the recorders could write, with ids that may not be defined.
fn any_space() -> impl Strategy<Value = XSpace> {
    let value = prop_oneof![
        Just(None),
        any::<i64>().prop_map(|value| Some(Stat::Int64(value))),
        any::<u64>().prop_map(|value| Some(Stat::Uint64(value))),
        "[a-z]{0,5}".prop_map(|text| Some(Stat::Str(text))),
        (1u64..8).prop_map(|id| Some(Stat::Ref(id))),
    ];
    let stat = (1i64..8, value).prop_map(|(metadata_id, value)| XStat { metadata_id, value });
    let stats = || prop::collection::vec(stat.clone(), 0..4);
    let data = prop_oneof![
        3 => (-10_000i64..1 << 50).prop_map(|offset| Some(Data::OffsetPs(offset))),
        1 => Just(None),
    ];
    let event = (0i64..9, data, 0i64..1 << 45, stats()).prop_map(|(metadata_id, data, duration_ps, stats)| XEvent {
        metadata_id,
        data,
        duration_ps,
        stats,
    });
    let line = (any::<i64>(), 0i64..1 << 60, prop::collection::vec(event, 0..20), 0i64..9).prop_map(
        |(id, timestamp_ns, events, display_id)| XLine { id, display_id, timestamp_ns, events, ..XLine::default() },
    );
    let names = ["memcpy_details", "_p", "_c", "correlation_id", "flow", "hlo_op", "step_num"];
    let stat_metadata = (1i64..8)
        .map(move |id| (id, XStatMetadata { id, name: names[id as usize - 1].to_owned(), ..XStatMetadata::default() }));
    let stat_metadata: std::collections::BTreeMap<_, _> = stat_metadata.collect();
    let entry = ("[a-zA-Z:(]{0,8}", "[a-z]{0,3}", stats());
    let types = prop::collection::btree_map(0i64..8, entry, 0..8).prop_map(|types| {
        let make = |(id, (name, display_name, stats))| {
            (id, XEventMetadata { id, name, display_name, stats, ..XEventMetadata::default() })
        };
        types.into_iter().map(make).collect()
    });
    let plane = (prop::collection::vec(line, 0..5), types).prop_map(move |(lines, event_metadata)| XPlane {
        name: "/host:CPU".to_owned(),
        lines,
        event_metadata,
        stat_metadata: stat_metadata.clone(),
        ..XPlane::default()
    });
    prop::collection::vec(plane, 1..4).prop_map(|planes| XSpace { planes, ..XSpace::default() })
}

const PLANES: [&str; 8] = [
    "/host:CPU",
    "/host:CPU [12]",
    "/device:GPU:0",
    "/device:GPU:1",
    "/device:TPU:2",
    "/device:TPU:2 SparseCore 1",
    "/host:metadata",
    "#Chip0#",
];
const LINES: [&str; 8] =
    ["", "Stream #7(Kernel)", "XLA Ops", "Steps", "XLA Modules", "_counters_", "CUPTI overhead", "other"];

/// Gives planes and lines other names.
fn rename(space: &mut XSpace, names: &[(usize, Vec<usize>)]) {
    for (plane, (name, lines)) in space.planes.iter_mut().zip(names) {
        plane.name = PLANES[*name].to_owned();
        for (line, &name) in plane.lines.iter_mut().zip(lines) {
            line.name = LINES[name].to_owned();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn generated_files_read_as_a_plain_decode_says(space in any_space()) {
        let trace = read(space.encode_to_vec());
        prop_assert_eq!(of_trace(&trace), of_file(&space));
    }

    #[test]
    fn planes_and_lines_of_every_name_keep_their_events(
        mut space in any_space(),
        names in prop::collection::vec((0..PLANES.len(), prop::collection::vec(0..LINES.len(), 5)), 4),
    ) {
        rename(&mut space, &names);
        let trace = read(space.encode_to_vec());
        let lines = || space.planes.iter().flat_map(|plane| &plane.lines);
        let on_counters = lines().filter(|line| line.name == "_counters_").map(|line| line.events.len()).sum::<usize>();
        let events = lines().map(|line| line.events.len()).sum::<usize>();
        prop_assert!(trace.events().len() >= events - on_counters && trace.events().len() <= events);
        prop_assert_eq!(trace.sources()[0].file_events, events as u64);
        for id in 0..trace.events().len() as u32 {
            let (event, (_, track)) = (trace.event(EventId(id)), trace.track_of(EventId(id)).unwrap());
            // Device work lies on streams and nowhere else.
            prop_assert_eq!(event.kind.is_device_work(), track.kind == TrackKind::Stream);
            trace.args(EventId(id)).unwrap();
        }
    }

    #[test]
    fn changed_bytes_never_panic(
        mut space in any_space(),
        names in prop::collection::vec((0..PLANES.len(), prop::collection::vec(0..LINES.len(), 5)), 4),
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..8),
    ) {
        rename(&mut space, &names);
        let mut bytes = space.encode_to_vec();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(trace) = open_bytes("x.xplane.pb", bytes, &OpenOptions::default()) {
            of_trace(&trace);
        }
    }
}
