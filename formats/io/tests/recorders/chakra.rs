//! Chakra traces, in protobuf and JSON.

use gapless_formats::{OpenOptions, open_bytes};
use gapless_trace::{ArgValue, EventKind, TrackKind, WarningKind};

use super::{arg, find, read, read_together, timeline, track, warnings};

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(field: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3, &mut out);
    varint(value, &mut out);
    out
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3 | 2, &mut out);
    varint(value.len() as u64, &mut out);
    out.extend(value);
    out
}

/// `value` is an encoded field of `AttributeProto`.
fn attr(name: &str, value: Vec<u8>) -> Vec<u8> {
    bytes(10, &[bytes(1, name.as_bytes()), value].concat())
}

const INT64: u64 = 9;
const BOOL: u64 = 27;
const TEXT: u64 = 29;

fn packed(ids: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    ids.iter().for_each(|&id| varint(id, &mut out));
    out
}

/// A node with its id, name, type, caller, dependencies, start and length in µs.
fn node(id: u64, name: &str, kind: u64, callers: &[u64], deps: &[u64], times: [u64; 2], more: &[Vec<u8>]) -> Vec<u8> {
    let mut out = [number(1, id), bytes(2, name.as_bytes()), number(3, kind)].concat();
    if !callers.is_empty() {
        out.extend(bytes(4, &packed(callers)));
    }
    // Not packed, as a writer of proto2 has it.
    deps.iter().for_each(|&id| out.extend(number(5, id)));
    for (field, time) in [(6, times[0]), (7, times[1])] {
        if time > 0 {
            out.extend(number(field, time));
        }
    }
    out.extend(more.concat());
    out
}

fn stream(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        varint(message.len() as u64, &mut out);
        out.extend(message);
    }
    out
}

fn metadata() -> Vec<u8> {
    let attr = |name: &str, value: Vec<u8>| bytes(2, &[bytes(1, name.as_bytes()), value].concat());
    [bytes(1, b"0.0.4"), attr("pid", number(13, 77)), attr("schema", bytes(TEXT, b"1.1.1-chakra.0.0.4"))].concat()
}

/// What the converter of PyTorch traces makes of a step: no starts, lengths of some.
fn messages(start: u64) -> Vec<Vec<u8>> {
    let at = |offset: u64| if start == 0 { 0 } else { start + offset };
    let io = |shapes: &str| {
        bytes(8, &[bytes(1, b"[]"), bytes(2, shapes.as_bytes()), bytes(3, b"['Tensor(float)']")].concat())
    };
    let cpu = |flag: bool| attr("is_cpu_op", number(BOOL, u64::from(flag)));
    let tid = attr("tid", number(INT64, 3));
    vec![
        metadata(),
        node(
            2,
            "aten::linear",
            4,
            &[],
            &[],
            [at(0), 10],
            &[cpu(true), tid.clone(), attr("rf_id", number(INT64, 8)), io("[[16, 32]]")],
        ),
        node(3, "sgemm", 4, &[2], &[2], [at(4), 30], &[cpu(false), attr("stream", number(INT64, 7))]),
        node(
            4,
            "ncclDevKernel_AllReduce",
            7,
            &[2],
            &[3],
            [at(40), 5],
            &[
                cpu(false),
                attr("stream", number(INT64, 9)),
                attr("comm_type", number(INT64, 0)),
                attr("comm_size", number(INT64, 4_096)),
                attr("pg_name", bytes(TEXT, b"dp")),
            ],
        ),
        node(
            5,
            "send",
            5,
            &[],
            &[4],
            [at(50), 1],
            &[attr("ratio", [vec![3 << 3 | 1], 0.5f64.to_le_bytes().to_vec()].concat())],
        ),
        node(6, "aten::add", 4, &[], &[99], [at(60), 0], &[cpu(true), tid]),
    ]
}

pub fn protobuf() -> Vec<u8> {
    stream(&messages(0))
}

/// The same as Chakra's jsonizer prints it: 64-bit numbers are texts.
pub fn jsonized() -> String {
    let attr = |name: &str, value: &str| format!("{{\n \"name\": \"{name}\",\n {value}\n}}");
    let cpu = |flag: bool| attr("is_cpu_op", &format!("\"boolVal\": {flag}"));
    let int = |name: &str, value: i64| attr(name, &format!("\"int64Val\": \"{value}\""));
    let node = |id: u64, name: &str, kind: &str, links: &str, micros: u64, attrs: &[String]| {
        let micros = if micros > 0 { format!("\"durationMicros\": \"{micros}\",") } else { String::new() };
        format!(
            "{{\n \"id\": \"{id}\",\n \"name\": \"{name}\",\n \"type\": \"{kind}\",\n {links} {micros} \"attr\": [{}]\n}}",
            attrs.join(",")
        )
    };
    let linear = [cpu(true), int("tid", 3), int("rf_id", 8)];
    let reduce = [
        cpu(false),
        int("stream", 9),
        int("comm_type", 0),
        int("comm_size", 4_096),
        attr("pg_name", "\"stringVal\": \"dp\""),
    ];
    [
        "{\n \"version\": \"0.0.4\",\n \"attr\": [{\"name\": \"pid\", \"uint64Val\": \"77\"}]\n}".to_owned(),
        node(2, "aten::linear", "COMP_NODE", "", 10, &linear),
        node(
            3,
            "sgemm",
            "COMP_NODE",
            "\"ctrlDeps\": [\"2\"], \"dataDeps\": [\"2\"],",
            30,
            &[cpu(false), int("stream", 7)],
        ),
        node(
            4,
            "ncclDevKernel_AllReduce",
            "COMM_COLL_NODE",
            "\"ctrlDeps\": [\"2\"], \"dataDeps\": [\"3\"],",
            5,
            &reduce,
        ),
        node(5, "send", "COMM_SEND_NODE", "\"dataDeps\": [\"4\"],", 1, &[]),
        node(6, "aten::add", "COMP_NODE", "\"dataDeps\": [\"99\"],", 0, &[cpu(true), int("tid", 3)]),
    ]
    .concat()
}

/// The same as the feeder's JSON.
fn workload_graph() -> &'static str {
    r#"{"workload_graph": [
        {"Id": 2, "Name": "aten::linear", "NodeType": 4, "is_cpu_op": true, "tid": 3, "runtime": 10, "data_deps": []},
        {"Id": 3, "Name": "sgemm", "NodeType": 4, "is_cpu_op": false, "stream": 7, "runtime": 30, "ctrl_deps": [2], "data_deps": [2]},
        {"Id": 4, "Name": "ncclDevKernel_AllReduce", "NodeType": 7, "is_cpu_op": false, "stream": 9, "runtime": 5, "ctrl_deps": [2], "data_deps": [3], "comm_type": 0, "comm_size": 4096, "pg_name": "dp"},
        {"Id": 5, "Name": "send", "NodeType": 5, "runtime": 1, "data_deps": [4]},
        {"Id": 6, "Name": "aten::add", "NodeType": 4, "is_cpu_op": true, "tid": 3, "data_deps": [99]}]}"#
}

#[test]
fn node_types_decide_and_lengths_stand_in_the_order_of_ids() {
    for (bytes, form) in
        [(protobuf(), "protobuf"), (jsonized().into_bytes(), "jsonizer"), (workload_graph().into(), "feeder")]
    {
        let trace = read("resnet.3.et", bytes);
        assert_eq!(
            timeline(&trace),
            [
                ("aten::linear", 0, 35_000),
                ("sgemm", 0, 30_000),
                ("ncclDevKernel_AllReduce", 30_000, 5_000),
                ("send", 35_000, 1_000),
                ("aten::add", 36_000, 1_000)
            ],
            "{form}"
        );
        let kinds: Vec<_> = ["aten::linear", "sgemm", "ncclDevKernel_AllReduce", "send"]
            .map(|name| trace.event(find(&trace, name)).kind)
            .to_vec();
        let expected = [EventKind::Operator, EventKind::Kernel, EventKind::Collective, EventKind::PointToPoint];
        assert_eq!(kinds, expected, "{form}");
        assert_eq!(track(&trace, find(&trace, "aten::linear")), "thread 3");
        let (_, stream) = trace.track_of(find(&trace, "sgemm")).unwrap();
        assert_eq!((stream.kind, stream.stream()), (TrackKind::Stream, Some(7)));
        let call = trace.collectives()[0];
        assert_eq!((trace.text(call.name), trace.text(call.group)), ("ALL_REDUCE", "dp"), "{form}");
        let mut arrows: Vec<_> =
            trace.flows().iter().map(|flow| (trace.name(flow.from), trace.name(flow.to))).collect();
        arrows.sort_unstable();
        let expected =
            [("aten::linear", "sgemm"), ("ncclDevKernel_AllReduce", "send"), ("sgemm", "ncclDevKernel_AllReduce")];
        assert_eq!(arrows, expected, "{form}");
        let args = trace.args(find(&trace, "ncclDevKernel_AllReduce")).unwrap();
        assert_eq!(arg(&args, "comm_size").as_i64(), Some(4_096), "{form}");
        assert_eq!(arg(&args, "data_deps").to_string().replace('"', ""), "[3]", "{form}");
        assert_eq!(trace.ranks()[0].number, Some(3));
        assert_eq!(trace.warnings().count(WarningKind::NoTimes), 1);
        assert_eq!(trace.warnings().lost(), 0, "{form}");
    }
    let trace = read("resnet.3.et", protobuf());
    let args = trace.args(find(&trace, "aten::linear")).unwrap();
    let ArgValue::Dict(inputs) = arg(&args, "inputs") else { panic!() };
    assert_eq!(arg(inputs, "shapes").as_str(), Some("[[16, 32]]"));
    assert_eq!(arg(&args, "type").as_str(), Some("COMP_NODE"));
    assert_eq!(arg(&trace.args(find(&trace, "send")).unwrap(), "ratio"), &ArgValue::Double(0.5));
}

#[test]
fn times_of_the_file_are_used_where_it_has_them() {
    let start = 1_712_195_495_522_265;
    let trace = read("resnet.0.et", stream(&messages(start)));
    let base = start as i64 * 1_000;
    let expected = [
        ("aten::linear", base, 10_000),
        ("sgemm", base + 4_000, 30_000),
        ("ncclDevKernel_AllReduce", base + 40_000, 5_000),
        ("send", base + 50_000, 1_000),
        ("aten::add", base + 60_000, 0),
    ];
    assert_eq!(timeline(&trace), expected);
    assert_eq!(trace.warnings().count(WarningKind::NoTimes), 0);
}

#[test]
fn beside_a_kineto_trace_nodes_say_more_about_their_operators() {
    let kineto = r#"{"traceEvents": [{"ph":"X","cat":"cpu_op","name":"aten::linear","pid":1,"tid":1,"ts":5,"dur":1,"args":{"Record function id":8}}], "distributedInfo": {"rank": 3, "world_size": 4}}"#;
    let trace = read_together(&[("rank3.json", kineto.into()), ("resnet.3.et", protobuf())]).unwrap();
    assert_eq!(timeline(&trace), [("aten::linear", 5_000, 1_000)]);
    assert_eq!(arg(&trace.args(find(&trace, "aten::linear")).unwrap(), "type").as_str(), Some("COMP_NODE"));
    assert_eq!(warnings(&trace), vec![]);
}

#[test]
fn attributes_of_all_types_are_read() {
    let key = |field: u64, wire: u64| {
        let mut out = Vec::new();
        varint(field << 3 | wire, &mut out);
        out
    };
    let fixed32 = |field: u64, value: u32| [key(field, 5), value.to_le_bytes().to_vec()].concat();
    let fixed64 = |field: u64, value: u64| [key(field, 1), value.to_le_bytes().to_vec()].concat();
    let doubles: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("double", fixed64(3, 2.5f64.to_bits()), "2.5"),
        ("doubles", bytes(4, &bytes(1, &doubles)), "[1.5, -2]"),
        ("float", fixed32(5, 0.25f32.to_bits()), "0.25"),
        ("int32", number(7, -3i64 as u64), "-3"),
        ("int64s", bytes(10, &bytes(1, &packed(&[1, u64::MAX]))), "[1, -1]"),
        ("uint64", number(13, u64::MAX), "18446744073709551615"),
        ("sint32", number(15, 5), "-3"),
        ("sint64s", bytes(18, &[number(1, 1), number(1, 2)].concat()), "[-1, 1]"),
        ("fixed32", fixed32(19, 7), "7"),
        ("fixed64", fixed64(21, 8), "8"),
        ("sfixed32", fixed32(23, -7i32 as u32), "-7"),
        ("sfixed64", fixed64(25, -8i64 as u64), "-8"),
        ("bools", bytes(28, &bytes(1, &[1, 0])), "[true, false]"),
        ("texts", bytes(30, &[bytes(1, b"a"), bytes(1, b"b")].concat()), "[\"a\", \"b\"]"),
        ("raw", bytes(31, b"xyz"), "(3 bytes)"),
    ];
    let attrs: Vec<_> = cases.iter().map(|case| attr(case.0, case.1.clone())).collect();
    let trace = read("a.et", stream(&[metadata(), node(1, "n", 4, &[], &[], [0, 0], &attrs)]));
    let args = trace.args(find(&trace, "n")).unwrap();
    for (name, _, shown) in cases {
        assert_eq!(arg(&args, name).to_string(), shown, "{name}");
    }
}

#[test]
fn damage_costs_the_damaged_node() {
    let whole = messages(0);
    let mut broken = whole.clone();
    broken[3] = vec![0x0A, 0xFF, 0xFF, 0x03];
    let trace = read("a.et", stream(&broken));
    assert_eq!((trace.events().len(), trace.warnings().count(WarningKind::MalformedEvent)), (4, 1));
    let nameless = [number(3, 4), number(7, 5)].concat();
    let trace = read("a.et", stream(&[whole.clone(), vec![nameless]].concat()));
    assert_eq!((trace.events().len(), trace.warnings().count(WarningKind::MalformedEvent)), (5, 1));
    // A length that no file has.
    for length in [1u64 << 63, u64::MAX, 1 << 40] {
        let mut bytes = stream(&whole);
        varint(length, &mut bytes);
        let trace = read("a.et", bytes);
        assert_eq!((trace.events().len(), trace.warnings().count(WarningKind::Truncated)), (5, 1));
    }
    let far = node(9, "far", 4, &[], &[], [u64::MAX, 5], &[]);
    let trace = read("a.et", stream(&[messages(1_000), vec![far]].concat()));
    assert_eq!(
        (trace.warnings().count(WarningKind::TimeOutOfRange), trace.warnings().count(WarningKind::NoTimestamp)),
        (1, 1)
    );
}

#[test]
fn a_trace_that_is_cut_keeps_its_whole_nodes() {
    let whole = stream(&messages(0));
    let mut ends = Vec::new();
    for message in messages(0) {
        ends.push(ends.last().unwrap_or(&0) + message.len() + 1 + usize::from(message.len() > 127));
    }
    assert_eq!(*ends.last().unwrap(), whole.len());
    for cut in ends[1]..whole.len() {
        let trace = read("a.et", &whole[..cut]);
        let expected = ends.iter().skip(1).filter(|&&end| end <= cut).count();
        let is_clean = ends.contains(&cut);
        let cuts = trace.warnings().count(WarningKind::Truncated);
        assert_eq!((trace.events().len(), cuts), (expected, u64::from(!is_clean)), "{cut}");
    }
    let text = jsonized();
    for cut in (300..text.len()).step_by(11) {
        if let Ok(trace) = open_bytes("a.json", text.as_bytes()[..cut].to_vec(), &OpenOptions::default()) {
            assert!(trace.events().len() < 5 && trace.warnings().count(WarningKind::Truncated) <= 1, "{cut}");
        }
    }
}

#[test]
fn no_byte_that_is_changed_makes_it_fail() {
    let whole = stream(&messages(0));
    let mut seed = 11u64;
    for _ in 0..3_000 {
        let mut changed = whole.clone();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = (seed >> 33) as usize % changed.len();
        changed[place] = (seed >> 17) as u8;
        if let Ok(trace) = open_bytes("a.et", changed, &OpenOptions::default()) {
            super::ids(&trace).for_each(|id| drop(trace.args(id)));
        }
    }
}
