#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use gapless_trace::{
    ArgValue, Args, ArgsError, ArgsLoc, ArgsSource, BuildOptions, EventKind, RawChunk, RawCounter, RawFlow, RawId,
    RawMeta, Source, SourceId, Trace, TracePart, TrackKind, WarningKind,
};
use perfetto_proto::{
    DebugAnnotation, Message, SequenceFlags, TrackDescriptor, TrackEvent, annotation, trace_packet, track_event,
};

use super::*;
use crate::{Progress, Silent};

/// Arguments by number: the location's offset is the place in the list.
#[derive(Debug)]
struct ListedArgs(Vec<Args>);

impl ArgsSource for ListedArgs {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        let missing = || ArgsError::Unreadable { offset: loc.offset(), reason: "no such entry".to_owned() };
        self.0.get(loc.offset() as usize).cloned().ok_or_else(missing)
    }
}

fn loc(entry: usize) -> ArgsLoc {
    ArgsLoc::new(entry as u64, 1).unwrap()
}

fn part(chunk: RawChunk, args: Vec<Args>, rank: Option<u32>) -> TracePart {
    let mut part = TracePart::new(Source {
        path: "hand-made".to_owned(),
        format: "test".to_owned(),
        file_bytes: 1,
        text_bytes: 2,
        file_events: 3,
        ..Source::default()
    });
    part.info.rank = rank;
    part.info.world_size = rank.map(|_| 2);
    part.info.base_time_ns = Some(0);
    part.chunks = vec![chunk];
    part.args = Arc::new(ListedArgs(args));
    part
}

fn build(parts: Vec<TracePart>) -> Trace {
    Trace::from_parts(parts, &BuildOptions::default()).unwrap()
}

/// One rank with all that the writer treats in its own way.
fn rank_chunk() -> (RawChunk, Vec<Args>) {
    let mut chunk = RawChunk::default();
    let pid = RawId::Int(1234);
    let main = chunk.track(TrackKind::Thread, pid, RawId::Int(1234));
    let points = chunk.track(TrackKind::ThreadInstants, pid, RawId::Int(1234));
    let stream = chunk.track(TrackKind::Stream, RawId::Int(0), RawId::Int(7));
    let mut add = |track: u32, name: &str, category: &str, kind, start, dur, correlation: u32, args: ArgsLoc| {
        let (name, category) = (chunk.strings.intern(name), chunk.strings.intern(category));
        chunk.push(start, dur, name, category, kind, track, correlation, u32::MAX, args);
    };
    add(main, "outer", "cpu_op", EventKind::Operator, 100, 900, u32::MAX, loc(0));
    add(main, "cudaLaunchKernel", "cuda_runtime", EventKind::RuntimeCall, 100, 10, 5, loc(1));
    add(main, "nothing", "cpu_op", EventKind::Operator, 110, 0, u32::MAX, ArgsLoc::NONE);
    add(main, "nothing", "cpu_op", EventKind::Operator, 110, 0, u32::MAX, ArgsLoc::NONE);
    add(main, "after", "cpu_op", EventKind::Annotation, 1000, 50, u32::MAX, ArgsLoc::NONE);
    add(points, "[memory]", "cpu_instant_event", EventKind::MemoryInstant, 500, 0, u32::MAX, ArgsLoc::NONE);
    // Two kernels that overlap, and one that ends where the next begins. The first begins before its launch.
    add(stream, "gemm", "kernel", EventKind::Kernel, 90, 400, 5, ArgsLoc::NONE);
    add(stream, "reduce", "kernel", EventKind::Kernel, 300, 300, u32::MAX, ArgsLoc::NONE);
    add(stream, "gemm", "kernel", EventKind::Kernel, 490, 10, u32::MAX, ArgsLoc::NONE);

    let (fwdbwd, memory, bytes) =
        (chunk.strings.intern("fwdbwd"), chunk.strings.intern("GPU 0 memory"), chunk.strings.intern("bytes"));
    for (time, phase) in [(100, b's'), (1000, b'f')] {
        chunk.flows.push(RawFlow {
            id: RawId::Int(1),
            time,
            track: main,
            is_launch: false,
            category: fwdbwd,
            name: fwdbwd,
            phase,
            offset: 0,
        });
    }
    for (time, value) in [(100, 4096.0), (200, 0.5), (300, -1.0)] {
        chunk.counters.push(RawCounter { pid, name: memory, unit: bytes, time, value });
    }
    let name = chunk.strings.intern("python");
    chunk.metas.push(RawMeta::ProcessName(pid, name));
    let outer = vec![("Input Dims".to_owned(), ArgValue::List(vec![ArgValue::Int(2), ArgValue::Int(-3)]))];
    let launch = vec![("correlation".to_owned(), ArgValue::Int(5)), ("cbid".to_owned(), ArgValue::Int(211))];
    (chunk, vec![outer, launch])
}

fn hand_made() -> Trace {
    let rank = |number| {
        let (chunk, args) = rank_chunk();
        part(chunk, args, Some(number))
    };
    build(vec![rank(0), rank(1)])
}

fn written(trace: &Trace, options: &WriteOptions) -> (Vec<u8>, WriteSummary) {
    let mut bytes = Vec::new();
    let summary = write(trace, &mut bytes, options, &Silent).unwrap();
    (bytes, summary)
}

/// A slice or instant that was read back.
#[derive(Clone, Debug)]
struct Slice {
    track: u64,
    depth: usize,
    ts: u64,
    dur: u64,
    name: String,
    is_instant: bool,
    event: TrackEvent,
}

/// What a file says, rebuilt as Perfetto's importer does.
#[derive(Default)]
struct ReadBack {
    tracks: BTreeMap<u64, TrackDescriptor>,
    slices: Vec<Slice>,
    facts: Vec<TrackEvent>,
    counters: Vec<(u64, u64, track_event::CounterValueField)>,
    /// Places in `slices`: source, target.
    flows: Vec<(usize, usize)>,
    annotation_names: HashMap<(u32, u64), String>,
    values: HashMap<(u32, u64), String>,
    sequence_of: HashMap<usize, u32>,
}

fn read_back(bytes: &[u8]) -> ReadBack {
    let trace = perfetto_proto::Trace::decode(bytes).unwrap();
    let mut read = ReadBack::default();
    let mut begun = BTreeSet::new();
    let mut names = HashMap::new();
    let mut events = Vec::new();
    for packet in trace.packet {
        let sequence = packet.trusted_packet_sequence_id.unwrap();
        assert_ne!(sequence, 0);
        let flags = packet.sequence_flags.unwrap_or(0) as i32;
        if flags & SequenceFlags::IncrementalStateCleared as i32 != 0 {
            assert!(begun.insert(sequence), "a sequence begins once");
        }
        assert!(begun.contains(&sequence), "packet before its sequence began");
        for interned in packet.interned_data.iter() {
            for entry in &interned.event_names {
                assert_ne!(entry.iid, Some(0));
                names.insert((sequence, entry.iid.unwrap()), entry.name.clone().unwrap());
            }
            for entry in &interned.debug_annotation_names {
                read.annotation_names.insert((sequence, entry.iid.unwrap()), entry.name.clone().unwrap());
            }
            for entry in &interned.debug_annotation_string_values {
                let text = String::from_utf8(entry.str.clone().unwrap()).unwrap();
                read.values.insert((sequence, entry.iid.unwrap()), text);
            }
        }
        match packet.data.unwrap() {
            trace_packet::Data::TrackDescriptor(descriptor) => {
                assert!(read.tracks.insert(descriptor.uuid.unwrap(), *descriptor).is_none(), "uuids are unique");
            }
            trace_packet::Data::TrackEvent(event) => {
                let name = match &event.name_field {
                    Some(track_event::NameField::NameIid(id)) => names[&(sequence, *id)].clone(),
                    Some(track_event::NameField::Name(name)) => name.clone(),
                    None => String::new(),
                };
                assert!(read.tracks.contains_key(&event.track_uuid.unwrap()), "events lie on declared tracks");
                if name == FACTS_EVENT {
                    read.facts.push(*event);
                } else {
                    events.push((packet.timestamp.unwrap(), name, sequence, *event));
                }
            }
            trace_packet::Data::ClockSnapshot(snapshot) => assert_eq!(snapshot.primary_trace_clock, Some(6)),
            other => panic!("unexpected packet {other:?}"),
        }
    }
    events.sort_by_key(|event| event.0);
    let mut stacks: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut active = HashMap::new();
    for (ts, name, sequence, event) in events {
        let track = event.track_uuid.unwrap();
        let stack = stacks.entry(track).or_default();
        match event.r#type() {
            perfetto_proto::EventType::SliceEnd => {
                let begin = stack.pop().expect("an end has a begin");
                read.slices[begin].dur = ts - read.slices[begin].ts;
                continue;
            }
            perfetto_proto::EventType::Counter => {
                assert!(read.tracks[&track].counter.is_some());
                read.counters.push((track, ts, event.counter_value_field.unwrap()));
                continue;
            }
            _ => {}
        }
        let place = read.slices.len();
        let is_instant = event.r#type() == perfetto_proto::EventType::Instant;
        for &flow in &event.flow_ids {
            assert!(active.insert(flow, place).is_none(), "flow ids are unique");
        }
        for flow in &event.terminating_flow_ids {
            read.flows.push((active.remove(flow).expect("a flow ends after it begins"), place));
        }
        read.sequence_of.insert(place, sequence);
        read.slices.push(Slice { track, depth: stack.len(), ts, dur: 0, name, is_instant, event });
        if !is_instant {
            stack.push(place);
        }
    }
    assert!(stacks.values().all(Vec::is_empty), "every slice ends");
    assert!(active.is_empty(), "every flow ends");
    read
}

/// Checks that the file holds the events of the model: times, names, nesting, lanes apart, instants, flows.
fn check_equal(trace: &Trace, read: &ReadBack, shift_ns: i64) {
    let mut expected: Vec<_> = trace
        .rows()
        .iter()
        .flat_map(|row| row.indices().map(move |index| (row, index)))
        .map(|(row, index)| {
            let event = trace.event(gapless_trace::EventId(index as u32));
            let time = event.start.nanos() + shift_ns;
            (time as u64, event.dur.nanos() as u64, trace.text(event.name).to_owned(), row.depth as usize)
        })
        .collect();
    let mut found: Vec<_> =
        read.slices.iter().map(|slice| (slice.ts, slice.dur, slice.name.clone(), slice.depth)).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);

    // One Perfetto track per lane, with as many events.
    let mut per_lane: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    for row in trace.rows() {
        *per_lane.entry((row.track.0, row.lane)).or_default() += row.indices().len();
    }
    let mut per_track: BTreeMap<u64, usize> = BTreeMap::new();
    for slice in &read.slices {
        *per_track.entry(slice.track).or_default() += 1;
    }
    let sorted = |counts: Vec<usize>| {
        let mut counts: Vec<_> = counts.into_iter().filter(|&count| count > 0).collect();
        counts.sort_unstable();
        counts
    };
    assert_eq!(sorted(per_track.into_values().collect()), sorted(per_lane.into_values().collect()));

    // Flows, in whichever direction time allows.
    let end = |ts: i64, name: &str| ((ts + shift_ns) as u64, name.to_owned());
    let ordered = |a: (u64, String), b: (u64, String)| if a <= b { (a, b) } else { (b, a) };
    let of_event = |id: gapless_trace::EventId| end(trace.event(id).start.nanos(), trace.name(id));
    let launches = trace.launches().pairs().iter().copied();
    let pairs = launches.chain(trace.flows().iter().map(|flow| (flow.from, flow.to)));
    let mut expected: Vec<_> = pairs.map(|(from, to)| ordered(of_event(from), of_event(to))).collect();
    let of_slice = |place: usize| (read.slices[place].ts, read.slices[place].name.clone());
    let mut found: Vec<_> = read.flows.iter().map(|&(from, to)| ordered(of_slice(from), of_slice(to))).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn events_nest_and_overlap_as_in_the_model() {
    let trace = hand_made();
    let (bytes, summary) = written(&trace, &WriteOptions::default());
    let read = read_back(&bytes);
    check_equal(&trace, &read, 0);
    assert_eq!((summary.slices, summary.instants, summary.counter_values), (16, 2, 6));
    assert_eq!(summary.flows, read.flows.len() as u64);
    assert_eq!(summary.bytes, bytes.len() as u64);
    assert_eq!(read.facts.len(), 2);
    assert!(read.slices.iter().filter(|slice| slice.is_instant).all(|slice| slice.name == "[memory]"));
    assert_eq!(summary.unreadable_args, 0);
}

#[test]
fn ranks_with_equal_ids_become_processes_of_their_own() {
    let read = read_back(&written(&hand_made(), &WriteOptions::default()).0);
    let processes: Vec<_> = read.tracks.values().filter_map(|track| track.process.clone()).collect();
    let names: Vec<_> = processes.iter().map(|process| process.process_name().to_owned()).collect();
    assert_eq!(names, ["Rank 0 · python (pid 1234)", "Rank 1 · python (pid 1234)"]);
    let pids: BTreeSet<_> = processes.iter().map(|process| process.pid()).collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.contains(&1234));
    for thread in read.tracks.values().filter_map(|track| track.thread.as_ref()) {
        assert!(pids.contains(&thread.pid()));
        assert_eq!(thread.tid(), i64::from(thread.pid()), "the main thread has its process's id");
    }
    // Children of one parent have places of their own, and are never shown as one.
    let mut places = BTreeSet::new();
    for track in read.tracks.values().filter(|track| track.parent_uuid.is_some()) {
        assert!(places.insert((track.parent_uuid, track.sibling_order_rank)));
        assert_eq!(track.sibling_merge_behavior(), perfetto_proto::SiblingMergeBehavior::None);
    }
}

#[test]
fn counters_are_declared_and_keep_their_values() {
    let read = read_back(&written(&hand_made(), &WriteOptions::default()).0);
    let (track, ..) = read.counters[0];
    let descriptor = &read.tracks[&track];
    assert_eq!(descriptor.name(), "GPU 0 memory");
    assert_eq!(descriptor.counter.as_ref().unwrap().unit(), perfetto_proto::CounterUnit::SizeBytes);
    use track_event::CounterValueField::{CounterValue, DoubleCounterValue};
    let values: Vec<_> =
        read.counters.iter().filter(|value| value.0 == track).map(|value| (value.1, value.2)).collect();
    assert_eq!(values, [(100, CounterValue(4096)), (200, DoubleCounterValue(0.5)), (300, CounterValue(-1))]);
}

/// An annotation with ids resolved, as the value that was written.
fn resolve(read: &ReadBack, sequence: u32, annotation: &DebugAnnotation) -> (String, ArgValue) {
    use annotation::Value;
    let name = match &annotation.name_field {
        Some(annotation::NameField::NameIid(id)) => read.annotation_names[&(sequence, *id)].clone(),
        Some(annotation::NameField::Name(name)) => name.clone(),
        None => String::new(),
    };
    let entries =
        |list: &[DebugAnnotation]| -> Args { list.iter().map(|entry| resolve(read, sequence, entry)).collect() };
    let value = match &annotation.value {
        Some(Value::BoolValue(value)) => ArgValue::Bool(*value),
        Some(Value::UintValue(value)) => ArgValue::UInt(*value),
        Some(Value::IntValue(value)) => ArgValue::Int(*value),
        Some(Value::DoubleValue(value)) => ArgValue::Double(*value),
        Some(Value::StringValue(value)) => ArgValue::Text(value.clone()),
        Some(Value::StringValueIid(id)) => ArgValue::Text(read.values[&(sequence, *id)].clone()),
        Some(Value::LegacyJsonValue(json)) if json == "null" => ArgValue::Null,
        Some(Value::LegacyJsonValue(json)) if json == "[]" => ArgValue::List(Vec::new()),
        Some(Value::LegacyJsonValue(json)) if json == "{}" => ArgValue::Dict(Vec::new()),
        None if !annotation.dict_entries.is_empty() => ArgValue::Dict(entries(&annotation.dict_entries)),
        None => ArgValue::List(entries(&annotation.array_values).into_iter().map(|entry| entry.1).collect()),
        other => panic!("unexpected value {other:?}"),
    };
    (name, value)
}

fn args_of(read: &ReadBack, place: usize) -> Args {
    let sequence = read.sequence_of[&place];
    read.slices[place].event.debug_annotations.iter().map(|entry| resolve(read, sequence, entry)).collect()
}

#[test]
fn arguments_of_every_type_come_back() {
    let text = |text: &str| ArgValue::Text(text.to_owned());
    let args: Args = [
        ("null", ArgValue::Null),
        ("yes", ArgValue::Bool(true)),
        ("negative", ArgValue::Int(i64::MIN)),
        ("large", ArgValue::UInt(u64::MAX)),
        ("double", ArgValue::Double(0.1)),
        ("text", text("Ω \"quoted\"\n")),
        ("empty text", text("")),
        ("no list", ArgValue::List(Vec::new())),
        ("no dict", ArgValue::Dict(Vec::new())),
        (
            "list",
            ArgValue::List(vec![ArgValue::List(vec![ArgValue::Int(1)]), text("same"), text("same"), text("same")]),
        ),
        ("dict", ArgValue::Dict(vec![("a".to_owned(), ArgValue::Int(1)), ("a".to_owned(), ArgValue::Double(-0.0))])),
        ("yes", ArgValue::Bool(false)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let mut chunk = RawChunk::default();
    let track = chunk.track(TrackKind::Thread, RawId::Int(1), RawId::Int(2));
    let (name, category) = (chunk.strings.intern("event"), chunk.strings.intern("cpu_op"));
    for index in 0..5 {
        chunk.push(index * 10, 5, name, category, EventKind::Operator, track, u32::MAX, u32::MAX, loc(0));
    }
    let trace = build(vec![part(chunk, vec![args.clone()], None)]);
    let read = read_back(&written(&trace, &WriteOptions::default()).0);
    for place in 0..5 {
        assert_eq!(args_of(&read, place), args);
    }
    let without = written(&trace, &WriteOptions { arguments: false, ..WriteOptions::default() });
    let read = read_back(&without.0);
    check_equal(&trace, &read, 0);
    assert!(read.slices.iter().all(|slice| slice.event.debug_annotations.is_empty()));
}

#[test]
fn deep_values_and_unreadable_arguments_do_no_harm() {
    let deep = (0..400).fold(ArgValue::Int(1), |inner, _| ArgValue::List(vec![inner]));
    let mut chunk = RawChunk::default();
    let track = chunk.track(TrackKind::Thread, RawId::Int(1), RawId::Int(2));
    let name = chunk.strings.intern("event");
    for (index, args) in [loc(0), loc(99)].into_iter().enumerate() {
        let start = index as i64 * 10;
        chunk.push(start, 5, name, name, EventKind::Operator, track, u32::MAX, u32::MAX, args);
    }
    let trace = build(vec![part(chunk, vec![vec![("deep".to_owned(), deep)]], None)]);
    let (bytes, summary) = written(&trace, &WriteOptions::default());
    assert_eq!(summary.unreadable_args, 1);
    let read = read_back(&bytes);
    check_equal(&trace, &read, 0);
    assert_eq!(args_of(&read, 1)[0].0, "gapless.error");
}

#[test]
fn what_joins_events_and_what_they_are_can_be_told() {
    let trace = hand_made();
    let read = read_back(&written(&trace, &WriteOptions::default()).0);
    let args_named = |name: &str| {
        let place = read.slices.iter().position(|slice| slice.name == name).unwrap();
        args_of(&read, place)
    };
    // The launch says its correlation in its arguments; the kernel has none and gets one.
    assert!(!args_named("cudaLaunchKernel").iter().any(|(key, _)| key.starts_with("gapless.")));
    assert!(args_named("gemm").contains(&("gapless.correlation".to_owned(), ArgValue::Int(5))));
    // Most events of the category are operators; the one that is not says so.
    assert_eq!(args_named("after"), [("gapless.kind".to_owned(), ArgValue::Text("annotation".to_owned()))]);
    assert!(args_named("nothing").is_empty());
}

#[test]
fn negative_times_are_shifted() {
    let mut chunk = RawChunk::default();
    let track = chunk.track(TrackKind::Thread, RawId::None, RawId::None);
    let name = chunk.strings.intern("event");
    chunk.push(-50, 30, name, name, EventKind::Operator, track, u32::MAX, u32::MAX, ArgsLoc::NONE);
    chunk.push(10, 5, name, name, EventKind::Operator, track, u32::MAX, u32::MAX, ArgsLoc::NONE);
    let trace = build(vec![part(chunk, Vec::new(), None)]);
    let (bytes, summary) = written(&trace, &WriteOptions::default());
    assert_eq!((summary.shift_ns, summary.times_cut), (50, false));
    check_equal(&trace, &read_back(&bytes), 50);
}

#[test]
fn times_at_both_ends_of_the_range_do_not_panic() {
    let mut chunk = RawChunk::default();
    let track = chunk.track(TrackKind::Thread, RawId::Int(i64::MAX), RawId::Int(-1));
    let name = chunk.strings.intern("event");
    for start in [i64::MIN, -1, 0, i64::MAX - 1, i64::MAX] {
        chunk.push(start, 1, name, name, EventKind::Operator, track, u32::MAX, u32::MAX, ArgsLoc::NONE);
    }
    let mut damaged = part(chunk, Vec::new(), None);
    damaged.warnings.add(WarningKind::Truncated, SourceId(0), Some(7), "");
    let (bytes, summary) = written(&build(vec![damaged]), &WriteOptions::default());
    assert!(summary.times_cut);
    assert_eq!(read_back(&bytes).slices.len(), 5);
}

#[test]
fn an_empty_trace_is_a_valid_file() {
    for trace in [build(Vec::new()), build(vec![part(RawChunk::default(), Vec::new(), Some(3))])] {
        let (bytes, summary) = written(&trace, &WriteOptions::default());
        let read = read_back(&bytes);
        assert_eq!((summary.slices, read.slices.len(), read.facts.len()), (0, 0, trace.ranks().len()));
    }
}

#[test]
fn gzip_holds_the_same_bytes() {
    let trace = hand_made();
    let folder = tempfile::tempdir().unwrap();
    let (plain, _) = written(&trace, &WriteOptions::default());
    let path = folder.path().join("out.pftrace.gz");
    let summary = write_file(&trace, &path, &WriteOptions::default(), &Silent).unwrap();
    let mut unpacked = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(std::fs::File::open(&path).unwrap());
    std::io::Read::read_to_end(&mut decoder, &mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    assert_eq!(summary.bytes, plain.len() as u64);
    let missing = folder.path().join("no/such/folder/out.pftrace");
    let error = write_file(&trace, &missing, &WriteOptions::default(), &Silent).unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
}

struct GivesUp;

impl Progress for GivesUp {
    fn stage(&self, _what: &str, _total_bytes: u64) {}
    fn done(&self, _bytes: u64) {}
    fn is_cancelled(&self) -> bool {
        true
    }
}

#[test]
fn giving_up_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.pftrace");
    let error = write_file(&hand_made(), &path, &WriteOptions::default(), &GivesUp).unwrap_err();
    assert!(matches!(error, crate::ExportError::Cancelled));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Small numbers without a pattern (a linear congruential generator; constants of Knuth's MMIX).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn traces_without_a_pattern_come_back() {
    for seed in 0..150 {
        let mut numbers = Numbers(seed);
        let mut chunk = RawChunk::default();
        let names: Vec<_> = ["a", "b", "", "d"].iter().map(|name| chunk.strings.intern(name)).collect();
        // Short times, so that starts and ends often meet; enough events for several batches now and then.
        let events = if seed % 50 == 0 { 40_000 } else { numbers.below(300) };
        let range = 1 + events / (1 + numbers.below(4));
        for _ in 0..events {
            let name = names[numbers.below(4) as usize];
            let kind = EventKind::ALL[numbers.below(EventKind::ALL.len() as u64) as usize];
            let track_kind = [TrackKind::Thread, TrackKind::Stream, TrackKind::Async, TrackKind::ThreadInstants];
            let (pid, tid) = (RawId::Int(numbers.below(3) as i64), RawId::Int(numbers.below(3) as i64));
            let track = chunk.track(track_kind[numbers.below(4) as usize], pid, tid);
            let (start, dur) = (numbers.below(range) as i64, numbers.below(6) as i64);
            let correlation = if numbers.below(3) == 0 { numbers.below(20) as u32 } else { u32::MAX };
            chunk.push(start, dur, name, name, kind, track, correlation, u32::MAX, ArgsLoc::NONE);
        }
        let trace = build(vec![part(chunk, Vec::new(), Some(0))]);
        let (bytes, summary) = written(&trace, &WriteOptions::default());
        assert_eq!(summary.slices + summary.instants, trace.events().len() as u64);
        check_equal(&trace, &read_back(&bytes), 0);
    }
}
