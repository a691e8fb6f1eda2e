//! Execution traces of PyTorch.

use gapless_formats::{OpenOptions, open_bytes};
use gapless_trace::{ArgValue, EventKind, Trace, TrackKind, WarningKind};

use super::{arg, find, read, read_together, timeline, track, warnings};

/// A node as the observer writes it. `tensors`: id, elements of those taken and made.
fn node(id: u64, name: &str, parent: u64, tid: u64, taken: &[u64], made: &[u64], attrs: &str) -> String {
    let side = |tensors: &[u64]| {
        let join = |of: &dyn Fn(&u64) -> String| tensors.iter().map(of).collect::<Vec<_>>().join(",");
        format!(
            r#"{{"values": [{}], "shapes": [{}], "types": [{}], "strides": [{}]}}"#,
            join(&|id| format!(r#"[{id},{},0,512,4,"cuda:0"]"#, id + 1_000)),
            join(&|_| "[16,32]".to_owned()),
            join(&|_| "\"Tensor(float)\"".to_owned()),
            join(&|_| "[32,1]".to_owned()),
        )
    };
    let rf_id = if name.starts_with('[') { 0 } else { id * 10 };
    let scope = if name.starts_with("aten") { 0 } else { 7 };
    format!(
        r#"
    {{
      "id": {id}, "name": "{name}", "ctrl_deps": {parent},
      "inputs": {},
      "outputs": {},
      "attrs": [{{"name": "rf_id", "type": "uint64", "value": {rf_id}}},{{"name": "fw_parent", "type": "uint64", "value": 0}},{{"name": "seq_id", "type": "int64", "value": -1}},{{"name": "scope", "type": "uint64", "value": {scope}}},{{"name": "tid", "type": "uint64", "value": {tid}}},{{"name": "fw_tid", "type": "uint64", "value": 0}},{{"name": "op_schema", "type": "string", "value": "{name}(Tensor self) -> Tensor"}},{{"name": "kernel_backend", "type": "string", "value": ""}},{{"name": "kernel_file", "type": "string", "value": ""}}{attrs}]
    }}"#,
        side(taken),
        side(made)
    )
}

fn file(nodes: &[String]) -> String {
    format!(
        "{{\n  \"schema\": \"1.1.1-chakra.0.0.4\", \"pid\": 77, \"time\": \"2026-11-23 14:48:38\", \"start_ts\": 12531175,\n  \"nodes\": [{}\n  ],\n  \"finish_ts\": 12531498\n}}",
        nodes.join(",")
    )
}

/// Nodes in the order of the file: a call is written when it returns, after what it called.
fn nodes() -> Vec<String> {
    const ROOT: &str = "[pytorch|profiler|execution_trace|process]";
    const THREAD: &str = "[pytorch|profiler|execution_trace|thread]";
    vec![
        node(2, THREAD, 1, 1, &[], &[], ""),
        node(5, "aten::t", 4, 1, &[20], &[21], ""),
        node(6, "aten::addmm", 4, 1, &[21, 22], &[23], ""),
        node(4, "aten::linear", 3, 1, &[20, 22], &[23], ""),
        node(7, "aten::relu", 3, 1, &[23], &[24], ""),
        node(3, "## forward ##", 2, 1, &[], &[], ""),
        node(8, THREAD, 1, 2, &[], &[], ""),
        node(9, "aten::mm_backward", 8, 2, &[24], &[25], ""),
        node(1, ROOT, 1, 0, &[], &[], ""),
    ]
}

pub fn two_threads() -> String {
    file(&nodes())
}

#[test]
fn alone_the_order_of_calls_is_shown() {
    let trace = read("et_rank2.json", two_threads());
    let thread = "[pytorch|profiler|execution_trace|thread]";
    assert_eq!(
        timeline(&trace),
        [
            ("[pytorch|profiler|execution_trace|process]", 0, 4_000),
            ("## forward ##", 0, 3_000),
            (thread, 0, 3_000),
            ("aten::linear", 0, 2_000),
            ("aten::t", 0, 1_000),
            ("aten::addmm", 1_000, 1_000),
            ("aten::relu", 2_000, 1_000),
            (thread, 3_000, 1_000),
            ("aten::mm_backward", 3_000, 1_000),
        ]
    );
    assert_eq!(warnings(&trace), [(WarningKind::NoTimes, 1)]);
    assert_eq!(trace.parent(find(&trace, "aten::addmm")), Some(find(&trace, "aten::linear")));
    assert_eq!(trace.event(find(&trace, "aten::t")).kind, EventKind::Operator);
    assert_eq!(trace.event(find(&trace, "## forward ##")).kind, EventKind::Annotation);
    assert_eq!(track(&trace, find(&trace, "aten::mm_backward")), "thread 2");
    assert_eq!(trace.ranks()[0].number, Some(2));
    // Each arrow from the innermost call that made a tensor to the innermost that takes it.
    let mut arrows: Vec<_> = trace.flows().iter().map(|flow| (trace.name(flow.from), trace.name(flow.to))).collect();
    arrows.sort_unstable();
    assert_eq!(
        arrows,
        [("aten::addmm", "aten::relu"), ("aten::relu", "aten::mm_backward"), ("aten::t", "aten::addmm")]
    );
    assert!(trace.flows().iter().all(|flow| trace.text(flow.category) == "data"));
    let args = trace.args(find(&trace, "aten::addmm")).unwrap();
    assert_eq!(arg(&args, "op_schema").as_str(), Some("aten::addmm(Tensor self) -> Tensor"));
    assert_eq!(arg(&args, "rf_id"), &ArgValue::Int(60));
    assert_eq!(arg(&args, "ctrl_deps"), &ArgValue::Int(4));
    assert!(args.iter().all(|arg| arg.0 != "kernel_file" && arg.0 != "attrs"), "{args:?}");
}

/// A Kineto trace with the events of the record functions `ids`.
fn kineto(ids: &[u64]) -> Vec<u8> {
    let event = |id: &u64| {
        format!(
            r#"{{"ph":"X","cat":"cpu_op","name":"op {id}","pid":77,"tid":77,"ts":{id},"dur":1,"args":{{"External id":{id},"Record function id":{id}}}}}"#
        )
    };
    let events: Vec<_> = ids.iter().map(event).collect();
    format!(r#"{{"traceEvents": [{}], "distributedInfo": {{"rank": 2, "world_size": 4}}}}"#, events.join(","))
        .into_bytes()
}

#[test]
fn beside_a_kineto_trace_its_nodes_say_more_about_the_events_of_the_same_record_function() {
    let files = [("rank2.json", kineto(&[40, 50, 999])), ("et_rank2.json", two_threads().into_bytes())];
    let trace = read_together(&files).unwrap();
    assert_eq!(trace.events().len(), 3, "the nodes have no times: they are no events of their own");
    assert_eq!(trace.ranks()[0].companions.len(), 1);
    let args = trace.args(find(&trace, "op 50")).unwrap();
    assert_eq!(arg(&args, "External id"), &ArgValue::Int(50));
    assert_eq!(arg(&args, "op_schema").as_str(), Some("aten::t(Tensor self) -> Tensor"));
    let ArgValue::Dict(inputs) = arg(&args, "inputs") else { panic!() };
    assert_eq!(arg(inputs, "shapes").to_string(), "[[16, 32]]");
    assert_eq!(trace.args(find(&trace, "op 999")).unwrap().len(), 2);
    // Six nodes have a record function; two of them have an event.
    assert_eq!(warnings(&trace), [(WarningKind::JoinMissed, 4)]);
}

#[test]
fn collectives_have_their_groups_and_sizes() {
    let attrs = r#", {"name": "collective_name", "type": "string", "value": "allreduce"}, {"name": "dtype", "type": "string", "value": "Float"}, {"name": "in_msg_nelems", "type": "uint64", "value": 2632}, {"name": "out_msg_nelems", "type": "uint64", "value": 2632}, {"name": "pg_name", "type": "string", "value": "0"}, {"name": "pg_desc", "type": "string", "value": "default_pg"}, {"name": "pg_size", "type": "uint64", "value": 2}"#;
    let trace = read("et.json", file(&[node(3, "record_param_comms", 2, 1, &[], &[], attrs)]));
    let call = trace.collectives()[0];
    assert_eq!(
        [call.name, call.dtype, call.group, call.group_desc].map(|id| trace.text(id)),
        ["allreduce", "Float", "0", "default_pg"]
    );
    assert_eq!((call.in_elems, call.out_elems, call.group_size), (Some(2_632), Some(2_632), Some(2)));
}

#[test]
fn the_first_schema_has_its_fields_in_the_node() {
    let text = r#"{"schema": "1.0.1", "pid": 5, "nodes": [
        {"name": "aten::add", "id": 4, "rf_id": 8, "parent": 3, "fw_parent": 0, "seq_id": -1, "scope": 0, "tid": 6, "fw_tid": 0, "op_schema": "aten::add.Tensor", "inputs": [[9,10,0,4,4,"cpu"],1.5], "input_shapes": [[4],[]], "input_types": ["Tensor(float)","Double"], "outputs": [[9,10,0,4,4,"cpu"]], "output_shapes": [[4]], "output_types": ["Tensor(float)"]},
        {"name": "aten::cat", "id": 5, "rf_id": 9, "parent": 3, "scope": 0, "tid": 6, "inputs": [[[9,10,0,4,4,"cpu"],[9,10,0,4,4,"cpu"]],0], "input_types": ["GenericList[Tensor(float),Tensor(float)]","Int"], "outputs": [], "output_types": []}]}"#;
    let trace = read("et.json", text);
    assert_eq!(timeline(&trace), [("aten::add", 0, 1_000), ("aten::cat", 1_000, 1_000)]);
    assert_eq!(track(&trace, find(&trace, "aten::add")), "thread 6");
    let flow = trace.flows()[0];
    assert_eq!((trace.name(flow.from), trace.name(flow.to), trace.flows().len()), ("aten::add", "aten::cat", 1));
    assert_eq!(arg(&trace.args(flow.from).unwrap(), "op_schema").as_str(), Some("aten::add.Tensor"));
    // Nodes begin with their names there, also after a damaged one.
    let damaged = text
        .replace("        {\"name\": \"aten::cat\"", "{\"name\": \"a \"b\" c\", \"id\": 7}, {\"name\": \"aten::cat\"");
    let trace = read("et.json", damaged);
    assert_eq!((trace.events().len(), trace.warnings().count(WarningKind::MalformedEvent)), (2, 1));
}

#[test]
fn a_trace_that_was_linked_with_kineto_has_its_times() {
    let timed = |id, name, parent, fields: &str| {
        node(id, name, parent, 1, &[], &[], "").replacen("\"inputs\"", &format!("{fields}, \"inputs\""), 1)
    };
    let text = file(&[
        node(2, "[pytorch|profiler|execution_trace|thread]", 1, 1, &[], &[], ""),
        timed(3, "aten::mm", 2, r#""ts": 1712195495522265.474, "inclusive_dur": 20.5, "exclusive_dur": 10"#),
        timed(4, "sgemm", 3, r#""ts": 1712195495522270, "inclusive_dur": 7, "cat": "kernel", "stream": 9"#),
        timed(5, "far", 3, r#""ts": 1e300, "inclusive_dur": 7"#),
    ]);
    let trace = read("et.json", text);
    let base = 1_712_195_495_522_265_474;
    assert_eq!(
        timeline(&trace),
        [
            ("[pytorch|profiler|execution_trace|thread]", base, 20_500),
            ("aten::mm", base, 20_500),
            ("far", base, 0),
            ("sgemm", base + 4_526, 7_000),
        ]
    );
    let (_, track) = trace.track_of(find(&trace, "sgemm")).unwrap();
    assert_eq!((track.kind, track.stream()), (TrackKind::Stream, Some(9)));
    assert_eq!(trace.event(find(&trace, "sgemm")).kind, EventKind::Kernel);
    assert_eq!(trace.warnings().count(WarningKind::NoTimes), 0);
    assert_eq!(trace.warnings().count(WarningKind::TimeOutOfRange), 1);
}

#[test]
fn damage_costs_the_damaged_node() {
    let good = nodes();
    let check = |bad: &str, kind: WarningKind| {
        let mut all = good.clone();
        all.insert(3, bad.to_owned());
        let trace = read("et.json", file(&all));
        assert_eq!(
            (trace.events().len(), trace.warnings().count(kind)),
            (good.len(), 1),
            "{bad}: {:?}",
            warnings(&trace)
        );
    };
    check("{\"name\": \"no id\"}", WarningKind::MalformedEvent);
    check("{\"id\": 5.5, \"name\": \"odd id\"}", WarningKind::MalformedEvent);
    check("{\"id\": 40, \"name\": 7}", WarningKind::MalformedEvent);
    check("[1]", WarningKind::EventNotObject);
    check("\"text\"", WarningKind::EventNotObject);
    // The observer does not escape names.
    check(&node(40, "a \"quoted\" name", 2, 1, &[], &[], ""), WarningKind::MalformedEvent);
    check(
        &format!("{{\"id\": 40, \"name\": \"deep\", \"x\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000)),
        WarningKind::TooDeep,
    );
}

#[test]
fn a_trace_that_is_cut_keeps_its_whole_nodes() {
    let text = two_threads();
    let whole: Vec<usize> = text.match_indices("\n    }").map(|(at, _)| at + 6).collect();
    for cut in (400..text.len()).step_by(13) {
        let trace = read("et.json", &text.as_bytes()[..cut]);
        assert_eq!(trace.events().len(), whole.iter().filter(|&&end| end <= cut).count(), "{cut}");
        let cuts = trace.warnings().count(WarningKind::Truncated) + trace.warnings().count(WarningKind::MissingEnd);
        assert_eq!(cuts, 1, "{cut}: {:?}", warnings(&trace));
    }
}

#[test]
fn links_that_lead_in_circles_or_too_deep_end() {
    let circle = [node(5, "a", 6, 1, &[], &[], ""), node(6, "b", 5, 1, &[], &[], ""), node(5, "c", 5, 1, &[], &[], "")];
    assert_eq!(read("et.json", file(&circle)).events().len(), 3);
    let chain: Vec<_> = (2..3_000).map(|id| node(id, "aten::f", id - 1, 1, &[id], &[id + 1], "")).collect();
    let trace = read("et.json", file(&chain));
    assert_eq!(trace.events().len(), chain.len());
    let deepest = trace.rows().iter().map(|row| row.depth).max().unwrap();
    assert!((400..=OpenOptions::default().limits.nesting).contains(&usize::from(deepest)), "{deepest}");
}

#[test]
fn versions_and_limits_are_named() {
    let trace: Trace = read("et.json", two_threads().replace("1.1.1-chakra.0.0.4", "2.0.0"));
    assert_eq!(trace.warnings().count(WarningKind::UnknownVersion), 1);
    let mut options = OpenOptions::default();
    options.limits.events = 3;
    let refused = open_bytes("et.json", two_threads().into_bytes(), &options).unwrap_err().to_string();
    assert!(refused.contains("--limit events="), "{refused}");
    let empty = read("et.json", file(&[]));
    assert_eq!((empty.events().len(), warnings(&empty)), (0, vec![]));
}
