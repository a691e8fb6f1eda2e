//! Small valid files of each format, made by hand.

use std::io;

use gapless_formats::Silent;
use gapless_formats::perfetto::{WriteOptions, write_file};
use serde_json::{Value, json};

use super::protobuf::{Field, double, encode, int, message, put_varint, text};
use crate::synth::{Config, Rng, Workload, texts};

/// Our own exports, and packets that we do not write.
pub(super) fn perfetto() -> io::Result<Vec<Vec<u8>>> {
    let mut seeds = vec![foreign_packets(), ftrace()];
    for (workload, seed) in [(Workload::DataParallel, 1), (Workload::Recommendation, 2)] {
        let config = Config { layers: 1, micro_batches: 1, seed, graphs: true, ..Config::new(workload, 1, 1) };
        let text = texts(&config)?.0.remove(0);
        let trace = crate::open::open_bytes("rank0.json", text).map_err(io::Error::other)?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("seed.pftrace");
        write_file(&trace, &path, &WriteOptions::default(), &Silent).map_err(io::Error::other)?;
        seeds.push(std::fs::read(&path)?);
    }
    Ok(seeds)
}

/// A packet of a sequence, at a time.
fn packet(sequence: u64, time: u64, fields: &[Field]) -> Field {
    message(1, &[&[int(8, time), int(10, sequence)], fields].concat())
}

/// Track events with interning, defaults, counters, flows, legacy phases and clocks, over two sequences.
fn foreign_packets() -> Vec<u8> {
    let process = message(60, &[int(1, 10), message(3, &[int(1, 77), text(6, "python")]), text(2, "job")]);
    let thread = message(60, &[int(1, 11), int(5, 10), message(4, &[int(1, 77), int(2, 78), text(5, "main")])]);
    let counter = message(60, &[int(1, 12), int(5, 10), text(2, "memory"), message(8, &[int(3, 3), int(6, 1)])]);
    let clocks =
        message(6, &[message(1, &[int(1, 6), int(2, 1_000)]), message(1, &[int(1, 64), int(2, 5)]), int(2, 6)]);
    let interned = message(
        12,
        &[
            message(1, &[int(1, 1), text(2, "cat")]),
            message(2, &[int(1, 1), text(2, "step")]),
            message(3, &[int(1, 1), text(2, "bytes")]),
            message(5, &[int(1, 1), text(2, "function")]),
            message(6, &[int(1, 1), int(2, 1)]),
            message(7, &[int(1, 1), int(2, 1)]),
        ],
    );
    let defaults = message(59, &[int(58, 6), message(11, &[int(11, 11)])]);
    let begin = message(11, &[int(9, 1), int(11, 11), int(3, 1), int(10, 1), message(4, &[int(1, 1), int(4, 4096)])]);
    let end = message(11, &[int(9, 2), int(11, 11)]);
    let instant = message(11, &[int(9, 3), int(11, 11), text(23, "mark"), int(47, 5), int(56, 1)]);
    let count = message(11, &[int(9, 4), int(11, 12), int(30, 4096)]);
    let legacy = message(11, &[text(23, "old"), message(6, &[int(2, 88), int(3, 50), int(18, 77), int(19, 78)])]);
    let sample = message(66, &[int(1, 0), int(2, 77), int(3, 78), int(4, 1)]);
    let render = message(53, &[int(2, 30), int(3, 1), int(5, 1), int(6, 2), text(7, "draw")]);
    encode(&[
        packet(1, 0, &[int(13, 1), clocks, interned, defaults]),
        packet(1, 0, &[process]),
        packet(1, 0, &[thread]),
        packet(1, 0, &[counter]),
        packet(1, 100, std::slice::from_ref(&begin)),
        packet(1, 150, &[instant]),
        packet(1, 160, &[count]),
        packet(1, 200, &[end]),
        packet(2, 210, &[legacy, int(13, 2)]),
        packet(1, 220, &[sample]),
        packet(2, 230, &[render]),
        packet(1, 240, &[int(58, 6), begin]),
    ])
}

/// The scheduler's switches and the tree of processes.
fn ftrace() -> Vec<u8> {
    let switch = |time: u64, from: u64, to: u64| {
        let fields = [text(1, "a"), int(2, from), int(3, 120), int(4, 1), text(5, "b"), int(6, to), int(7, 120)];
        message(2, &[int(1, time), int(2, from), message(4, &fields)])
    };
    let bundle = message(1, &[int(1, 0), switch(10, 1, 2), switch(20, 2, 1), switch(30, 1, 0)]);
    let tree = message(2, &[message(1, &[int(1, 1), int(2, 0), text(3, "init")]), message(2, &[int(1, 2), int(3, 1)])]);
    encode(&[packet(3, 5, &[tree]), packet(3, 30, &[bundle])])
}

/// A device and a host, with statistics of all types.
pub(super) fn xplane() -> io::Result<Vec<Vec<u8>>> {
    let names = |field: u64, names: &[&str]| -> Vec<Field> {
        let entry = |(at, name): (usize, &&str)| {
            let id = at as u64 + 1;
            message(field, &[int(1, id), message(2, &[int(1, id), text(2, name)])])
        };
        names.iter().enumerate().map(entry).collect()
    };
    let stats = ["correlation_id", "hlo_op", "hlo_module", "step_num", "flops", "kernel_details", "group_id", "_r"];
    let stat = |id: u64, value: Field| message(4, &[int(1, id), value]);
    let event = |id: u64, at: u64, long: u64, stats: Vec<Field>| {
        message(4, &[&[int(1, id), int(2, at), int(3, long)], &stats[..]].concat())
    };
    let line = |id: u64, name: &str, events: Vec<Field>| {
        message(
            3,
            &[&[int(1, id), text(2, name), int(3, 1_700_000_000_000_000_000), int(9, 9_000)], &events[..]].concat(),
        )
    };
    let plane = |id: u64, name: &str, lines: Vec<Field>| {
        let mut fields = vec![int(1, id), text(2, name)];
        fields.extend(lines);
        fields.extend(names(4, &["kernel", "cudaLaunchKernel", "step", "fusion.1"]));
        fields.extend(names(5, &stats));
        message(1, &fields)
    };
    let launch = stat(1, int(3, 7));
    let details = stat(6, text(5, "regs:16 static_shared:0"));
    let gpu = vec![
        line(7, "Stream #7(Compute)", vec![event(1, 1_000, 500_000, vec![launch.clone(), details])]),
        line(1, "Steps", vec![event(3, 0, 900_000, vec![stat(4, int(4, 3)), stat(5, double(2, 1e9))])]),
        line(2, "XLA Ops", vec![event(4, 0, 400_000, vec![stat(2, int(7, 2)), stat(8, int(4, 1))])]),
    ];
    let host = vec![line(99, "python", vec![event(2, 100, 200, vec![launch]), event(3, 0, 999_000, vec![])])];
    let planes =
        [plane(1, "/device:GPU:0", gpu), plane(2, "/host:CPU", host), message(1, &[text(2, "Task Environment")])];
    Ok(vec![encode(&planes), encode(&[&planes[..], &[text(4, "host")]].concat())])
}

/// Nodes behind their lengths, and both JSON forms.
pub(super) fn chakra_protobuf() -> io::Result<Vec<Vec<u8>>> {
    let attr = |name: &str, value: Field| message(10, &[text(1, name), value]);
    let node = |id: u64, name: &str, kind: u64, rest: Vec<Field>| {
        encode(&[&[int(1, id), text(2, name), int(3, kind), int(6, 10 * id), int(7, 5)], &rest[..]].concat())
    };
    let messages = [
        encode(&[text(1, "0.0.4"), message(2, &[text(1, "schema"), text(13, "1.1")])]),
        node(1, "step", 4, vec![attr("is_cpu_op", int(27, 1))]),
        node(2, "aten::mm", 4, vec![int(4, 1), attr("rf_id", int(9, 3)), attr("stream", int(5, 7))]),
        node(3, "ncclDevKernel", 7, vec![int(5, 2), attr("comm_type", int(9, 0)), attr("pg_name", text(13, "0"))]),
    ];
    let mut file = Vec::new();
    for message in messages {
        put_varint(&mut file, message.len() as u64);
        file.extend(message);
    }
    Ok(vec![file])
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

pub(super) fn chakra_json() -> io::Result<Vec<Vec<u8>>> {
    let graph = json!({"workload_graph": [
        {"Id": 1, "Name": "mm", "NodeType": 4, "ctrlDeps": [], "dataDeps": [], "runtime": 5, "tensor_size": 64},
        {"Id": 2, "Name": "all_reduce", "NodeType": 7, "data_deps": [1], "comm_type": 0, "size_bytes": 4096},
    ]});
    let jsonized = [
        json!({"version": "0.0.4"}),
        json!({"id": "1", "name": "mm", "type": "COMP_NODE", "startTimeMicros": "10", "durationMicros": "5",
            "attr": [{"name": "is_cpu_op", "boolVal": true}]}),
        json!({"id": "2", "name": "nccl", "type": "COMM_COLL_NODE", "ctrlDeps": ["1"], "dataDeps": ["1"],
            "inputs": {"values": "[]", "shapes": "[]", "types": "[]"}}),
    ];
    let text: Vec<String> = jsonized.iter().map(|value| format!("{value:#}")).collect();
    Ok(vec![bytes(&graph), text.join("\n").into_bytes()])
}

fn dump() -> Value {
    let entry = |id: u64, name: &str, is_p2p: bool| {
        json!({"record_id": id, "pg_id": 0, "process_group": ["0", "default_pg"], "collective_seq_id": id,
            "p2p_seq_id": 0, "op_id": id, "profiling_name": name, "time_created_ns": 1_700_000_000_000_000_000_u64 + id,
            "input_sizes": [[3, 4]], "input_dtypes": ["Float"], "output_sizes": [[3, 4]], "output_dtypes": ["Float"],
            "state": "completed", "time_discovered_started_ns": 1_700_000_000_000_000_100_u64,
            "time_discovered_completed_ns": 1_700_000_000_000_000_900_u64, "retired": true, "timeout_ms": 600_000,
            "is_p2p": is_p2p, "frames": [{"name": "train", "filename": "a.py", "line": 3}]})
    };
    json!({"version": "2.9", "pg_config": {"0": {"name": "0", "desc": "default_pg", "ranks": "[0, 1]"}},
        "pg_status": {"0": {"last_enqueued_collective": 2, "last_started_collective": 2}},
        "entries": [entry(0, "nccl:all_reduce", false), entry(1, "nccl:send 0->1", true)]})
}

pub(super) fn flight_recorder_json() -> io::Result<Vec<Vec<u8>>> {
    let mut dump = dump();
    let newest = bytes(&dump);
    // Older ones tell less.
    if let Some(fields) = dump.as_object_mut() {
        fields.remove("pg_status");
        fields.insert("version".to_owned(), json!("2.0"));
    }
    Ok(vec![newest, bytes(&dump)])
}

pub(super) fn flight_recorder_pickle() -> io::Result<Vec<Vec<u8>>> {
    let old: &[u8] = b"(dp0\nS'version'\np1\nS'2.0'\np2\nsS'pg_config'\np3\n(dp4\nsS'entries'\np5\n(lp6\n(dp7\nS'record_id'\nI0\nsS'profiling_name'\nS'nccl:x'\nsS'time_created_ns'\nL17L\nsas.";
    Ok(vec![super::json::pickle(&dump()), super::json::pickle(&dump()["entries"]), old.to_vec()])
}

pub(super) fn nccl_inspector() -> io::Result<Vec<Vec<u8>>> {
    let header = json!({"id": "0x7f", "comm_name": "world", "rank": 1, "n_ranks": 8, "nnodes": 1});
    let metadata = json!({"inspector_output_format_version": "v4.0", "git_rev": "", "rec_mechanism": "profiler",
        "dump_timestamp_us": 1_700_000_000_000_000_u64, "hostname": "host", "pid": 77});
    let perf = |sn: u64| {
        json!({"coll": "AllReduce", "coll_sn": sn, "coll_msg_size_bytes": 4096, "coll_exec_time_us": 61,
        "coll_algobw_gbs": 1.5, "coll_busbw_gbs": 2.5, "event_trace_ts": {"coll_start_ts": 1_700_000_000_000_000_u64,
        "coll_stop_ts": 1_700_000_000_000_061_u64, "kernel_events": [{"channel_id": 0, "kernel_start_ts": 5,
        "kernel_stop_ts": 9, "kernel_record_ts": 10}]}})
    };
    let line = |key: &str, value: Value| json!({"header": header, "metadata": metadata, key: value}).to_string();
    let p2p = json!({"p2p": "Send", "p2p_sn": 2, "p2p_msg_size_bytes": 64, "p2p_exec_time_us": 3, "peer": 2});
    let lines = [line("coll_perf", perf(1)), line("coll_perf", perf(2)), line("p2p_perf", p2p)];
    Ok(vec![lines.join("\n").into_bytes()])
}

pub(super) fn rocprof() -> io::Result<Vec<Vec<u8>>> {
    let id = |value: u64| json!({"internal": value, "external": 0});
    let tool = json!({
        "metadata": {"pid": 77, "init_time": 1, "fini_time": 900, "node": {"hostname": "host", "id": 1}},
        "agents": [{"id": {"handle": 1}, "type": 2, "logical_node_type_id": 0, "product_name": "MI300", "cu_count": 304,
            "name": "gfx942"}, {"id": {"handle": 2}, "type": 1, "logical_node_type_id": 0, "name": "CPU"}],
        "strings": {"buffer_records": [{"kind": "HIP_RUNTIME_API", "operations": ["none", "hipLaunchKernel"]},
            {"kind": "KERNEL_DISPATCH", "operations": ["none"]}], "marker_api": [{"key": 3, "value": "range"}]},
        "kernel_symbols": [{"kernel_id": 1, "kernel_name": "k.kd", "formatted_kernel_name": "k", "code_object_id": 1}],
        "callback_records": {"counter_collection": []},
        "buffer_records": {
            "hip_api": [{"size": 1, "kind": 0, "operation": 1, "correlation_id": id(5), "start_timestamp": 10,
                "end_timestamp": 20, "thread_id": 78}],
            "marker_api": [{"kind": 0, "operation": 1, "correlation_id": id(3), "start_timestamp": 5,
                "end_timestamp": 500, "thread_id": 78}],
            "kernel_dispatch": [{"kind": 1, "thread_id": 78, "correlation_id": id(5), "start_timestamp": 30,
                "end_timestamp": 90, "dispatch_info": {"agent_id": {"handle": 1}, "queue_id": {"handle": 7},
                "kernel_id": 1, "dispatch_id": 1, "workgroup_size": {"x": 64, "y": 1, "z": 1}}}],
            "memory_copy": [{"kind": 2, "operation": 1, "correlation_id": id(6), "start_timestamp": 100,
                "end_timestamp": 130, "dst_agent_id": {"handle": 1}, "src_agent_id": {"handle": 2}, "bytes": 4096,
                "thread_id": 78}]
        }
    });
    Ok(vec![bytes(&json!({"rocprofiler-sdk-tool": [tool]})), bytes(&json!({"rocprofiler-sdk-tool": tool}))])
}

pub(super) fn execution_trace() -> io::Result<Vec<Vec<u8>>> {
    let io =
        json!({"values": [[1, 2, 0, 4, 4, "cuda:0"], 3], "shapes": [[2, 2], []], "types": ["Tensor(float)", "Int"]});
    let node = |id: u64, parent: u64, name: &str| {
        json!({"id": id, "name": name, "ctrl_deps": parent, "inputs": io, "outputs": io, "attrs": [
            {"name": "rf_id", "type": "uint64", "value": id}, {"name": "fw_parent", "type": "uint64", "value": 0},
            {"name": "scope", "type": "uint64", "value": 7}, {"name": "tid", "type": "uint64", "value": 1}]})
    };
    let nodes = [
        node(1, 1, "[pytorch|profiler|execution_trace|process]"),
        node(2, 1, "ProfilerStep#1"),
        node(3, 2, "aten::mm"),
        node(4, 2, "record_param_comms"),
    ];
    let new = json!({"schema": "1.1.1-chakra.0.0.4", "pid": 77, "time": "2026-01-01", "start_ts": 1, "nodes": nodes,
        "finish_ts": 2});
    let old = json!({"schema": "1.0.1", "pid": 77, "nodes": [{"name": "aten::mm", "id": 3, "rf_id": 3, "parent": 1,
        "fw_parent": 0, "seq_id": -1, "scope": 0, "tid": 1, "fw_tid": 0, "op_schema": "", "inputs": [1],
        "input_shapes": [[2, 2]], "input_types": ["Tensor"], "outputs": [], "output_shapes": [], "output_types": []}]});
    Ok(vec![bytes(&new), bytes(&old)])
}

pub(super) fn perf_script() -> io::Result<Vec<Vec<u8>>> {
    let text = "python  77/78  [003]  1000.000001:     250000 cpu-clock:ppp: \n\
        \t          4f1a2b inner+0x1b (/usr/bin/python3.12)\n\
        \t          4f0000 outer+0x10 (/usr/bin/python3.12)\n\
        \t    7f0000001000 [unknown] ([unknown])\n\n\
        my thread  77/79  [000]  1000.000101: cycles:u:           4f1a2b main+0x1b (/bin/a b)\n\n\
        swapper     0 [001]  1000.000201: sched:sched_switch: prev_comm=swapper/1 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=python next_pid=78 next_prio=120\n\n";
    Ok(vec![text.into(), text.replace("  77/78", " 78").into_bytes()])
}

pub(super) fn collapsed() -> io::Result<Vec<Vec<u8>>> {
    Ok(vec![
        b"main;train;step 10\nmain;train;forward;mm 25\nmain;load 3\n".to_vec(),
        b"python-77/78;[unknown];main_[k] 5\nmain;a b;c 1.5\n\nmain 7\n".to_vec(),
    ])
}

/// A recording of one event with two samples, a name and a mapping.
pub(super) fn perf_data() -> io::Result<Vec<Vec<u8>>> {
    // Address, thread, time, processor, period, call chain.
    const SAMPLE_TYPE: u64 = 1 | 2 | 4 | 0x20 | 0x80 | 0x100;
    let record = |kind: u32, body: &[u8]| {
        let mut record = Vec::new();
        record.extend(kind.to_le_bytes());
        record.extend(2_u16.to_le_bytes());
        record.extend((body.len() as u16 + 8).to_le_bytes());
        record.extend(body);
        record
    };
    let ids =
        |time: u64| [&[77_u32.to_le_bytes(), 78_u32.to_le_bytes()].concat()[..], &time.to_le_bytes(), &[0; 8]].concat();
    let sample = |time: u64| {
        let words = [0x40_1000, 78 << 32 | 77, time, 0, 250_000, 2, 0x40_1000, 0x40_2000_u64];
        record(9, &words.map(u64::to_le_bytes).concat())
    };
    let comm =
        record(3, &[&[77_u32.to_le_bytes(), 78_u32.to_le_bytes()].concat()[..], b"python\0\0", &ids(1)].concat());
    let mut map = [77_u32.to_le_bytes(), 78_u32.to_le_bytes()].concat();
    map.extend([0x40_0000_u64, 0x10_0000, 0].map(u64::to_le_bytes).concat());
    map.extend([0; 32]);
    map.extend(b"/usr/bin/python\0");
    map.extend(ids(2));
    let data = [comm, record(10, &map), sample(10), sample(20)].concat();
    let mut attribute = Vec::new();
    attribute.extend([1_u32, 112].map(u32::to_le_bytes).concat());
    attribute.extend([0_u64, 250_000, SAMPLE_TYPE, 0, 1 << 18].map(u64::to_le_bytes).concat());
    attribute.resize(128, 0);
    let mut file = b"PERFILE2".to_vec();
    let at = 104 + attribute.len() as u64;
    let words = [104, 128, 104, attribute.len() as u64, at, data.len() as u64, 0, 0, 0, 0, 0, 0];
    file.extend(words.map(u64::to_le_bytes).concat());
    file.extend(attribute);
    file.extend(data);
    Ok(vec![file])
}

/// Words that readers of these texts know.
pub(super) fn word(rng: &mut Rng) -> &'static [u8] {
    const WORDS: [&[u8]; 14] = [
        b";",
        b" ",
        b"\t",
        b"\n\n",
        b"+0x",
        b"[unknown]",
        b"(",
        b")",
        b"==>",
        b"prev_pid=",
        b"0xffffffffffffffff",
        b"99999999999999999999.999999999:",
        b"\xff",
        b"\0",
    ];
    super::change::any(&WORDS, rng)
}
