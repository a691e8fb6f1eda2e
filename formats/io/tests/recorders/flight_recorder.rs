//! Dumps in JSON.

use gapless_formats::{OpenOptions, open_bytes};
use gapless_trace::{ArgValue, EventKind, TrackKind, WarningKind};

use super::{arg, find, ids, read, read_together, refusal, timeline, track, warnings};

/// An entry as `dump_json` writes it; keys in the order of the alphabet.
fn entry(name: &str, created: &str, started: &str, completed: &str, more: &str) -> String {
    format!(
        r#"{{"collective_seq_id":7,"input_dtypes":["BFloat16","BFloat16"],"input_sizes":[[4,1024],[16]],"is_p2p":false,"op_id":9,"output_dtypes":["Float"],"output_sizes":[[8192]],"p2p_seq_id":3,"pg_id":0,"process_group":["0","default_pg"],"profiling_name":"{name}","record_id":41,"retired":true,"state":"completed","thread_id":"140","thread_name":"python","time_created_ns":{created},"time_discovered_completed_ns":{completed},"time_discovered_started_ns":{started},"timeout_ms":600000{more}}}"#
    )
}

fn file(entries: &[String]) -> String {
    format!(
        r#"{{"comm_lib_version":"2.21.5","entries":[{}],"nccl_comm_state":{{}},"pg_config":{{"0":{{"desc":"default_pg","name":"0","ranks":"[0, 1, 2, 3]"}},"tp":{{"desc":"","name":"tp","ranks":"[]"}}}},"pg_status":{{"0":{{"last_completed_collective":"7","last_enqueued_collective":"9","last_started_collective":"8"}}}},"version":"2.10"}}"#,
        entries.join(",")
    )
}

const T: i64 = 1_795_445_318_000_000_000;

fn at(offset: i64) -> String {
    (T + offset).to_string()
}

/// Three calls: one that ended, one that began, one that waits.
pub fn dump() -> String {
    let p2p = entry("nccl:send 0->1", &at(900), "0", "0", "").replace("\"is_p2p\":false", "\"is_p2p\":true");
    let p2p = p2p.replace(r#"["0","default_pg"]"#, r#"["tp","undefined"]"#).replace("\"completed\"", "\"scheduled\"");
    file(&[
        entry("nccl:all_reduce", &at(0), &at(100), &at(400), ",\"duration_ms\":0.25"),
        entry("nccl:_all_gather_base", &at(500), &at(700), "0", "").replace("\"completed\"", "\"started\""),
        p2p,
    ])
}

#[test]
fn calls_lie_between_what_the_watchdog_saw_on_a_track_per_group() {
    let trace = read("nccl_trace_rank_3", dump());
    assert_eq!(
        timeline(&trace),
        [("nccl:all_reduce", T + 100, 300), ("nccl:_all_gather_base", T + 700, 0), ("nccl:send 0->1", T + 900, 0)]
    );
    let done = find(&trace, "nccl:all_reduce");
    let event = trace.event(done);
    assert_eq!(event.kind, EventKind::Async, "what the host saw is no device work");
    assert_eq!(track(&trace, done), "group 0 (default_pg)");
    assert_eq!(track(&trace, find(&trace, "nccl:send 0->1")), "group tp");
    assert!(trace.tracks().iter().all(|track| track.kind == TrackKind::Custom));
    let call = trace.collective(done).unwrap();
    assert_eq!((trace.text(call.name), trace.text(call.dtype)), ("all_reduce", "BFloat16"));
    assert_eq!((trace.text(call.group), trace.text(call.group_desc)), ("0", "default_pg"));
    assert_eq!(
        (call.in_elems, call.out_elems, call.group_size, call.seq),
        (Some(4_112), Some(8_192), Some(4), Some(7))
    );
    let send = trace.collective(find(&trace, "nccl:send 0->1")).unwrap();
    assert_eq!((send.seq, send.group_size), (Some(3), None), "sends are numbered on their own");
    let args = trace.args(done).unwrap();
    assert_eq!(arg(&args, "duration_ms"), &ArgValue::Double(0.25));
    assert_eq!(arg(&trace.args(find(&trace, "nccl:send 0->1")).unwrap(), "state").as_str(), Some("scheduled"));
    let rank = &trace.ranks()[0];
    assert_eq!((rank.number, rank.backend.as_deref()), (Some(3), Some("nccl")));
    let ArgValue::Dict(header) = arg(&rank.header, "flight recorder") else { panic!() };
    assert_eq!(arg(header, "comm_lib_version").as_str(), Some("2.21.5"));
    assert_eq!(warnings(&trace), []);
}

#[test]
fn a_dump_joins_the_trace_of_its_rank_on_its_clock() {
    let kineto = format!(
        r#"{{"traceEvents": [{{"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":1.5,"dur":2}}],
        "distributedInfo": {{"rank": 3, "world_size": 4}}, "baseTimeNanoseconds": {T}}}"#
    );
    let files = [("rank3.json", kineto.into_bytes()), ("nccl_trace_rank_3", dump().into_bytes())];
    let trace = read_together(&files).unwrap();
    assert_eq!((trace.ranks().len(), trace.ranks()[0].companions.len()), (1, 1));
    assert_eq!(timeline(&trace)[0], ("nccl:all_reduce", T + 100, 300));
    assert!(timeline(&trace).contains(&("k", T + 1_500, 2_000)));
    let call = find(&trace, "nccl:_all_gather_base");
    assert_eq!(arg(&trace.args(call).unwrap(), "state").as_str(), Some("started"));
    let wrong = [files[0].clone(), ("nccl_trace_rank_1", dump().into_bytes())];
    assert!(read_together(&wrong).unwrap_err().to_string().contains("rank 1"));
}

#[test]
fn wrong_entries_are_counted_and_the_others_kept() {
    let good = entry("nccl:barrier", &at(0), "0", "0", "");
    let check = |bad: &str, kind: WarningKind| {
        let trace = read("nccl_trace_rank_0", file(&[good.clone(), bad.to_owned(), good.clone()]));
        let expected = [(kind, 1)];
        assert_eq!((warnings(&trace).as_slice(), trace.events().len()), (&expected[..], 2), "{bad}");
    };
    check(&entry("nccl:a", "0", "0", "0", ""), WarningKind::NoTimestamp);
    check(&entry("nccl:a", "null", "0", "0", ""), WarningKind::NoTimestamp);
    check(&entry("nccl:a", "9223372036854775807", "0", "0", ""), WarningKind::TimeOutOfRange);
    check(&entry("nccl:a", "1e300", "0", "0", ""), WarningKind::NoTimestamp);
    check(&good.replace("\"nccl:barrier\"", "5"), WarningKind::MalformedEvent);
    check("{}", WarningKind::MalformedEvent);
    check("[1, 2]", WarningKind::MalformedEvent);
    check("17", WarningKind::MalformedEvent);
    check(&good.replace(":barrier", " \"x\" y"), WarningKind::MalformedEvent);
    // What is odd about one field costs that field alone.
    let odd = good.replace("[[4,1024],[16]]", "[[4,-1],\"x\"]").replace("\"pg_id\":0", "\"pg_id\":\"x\"");
    let trace = read("nccl_trace_rank_0", file(&[odd]));
    assert_eq!((trace.collectives()[0].in_elems, trace.collectives()[0].out_elems), (None, Some(8_192)));
    let huge = good.replace("[8192]", "[4294967296,4294967296,2]");
    assert_eq!(read("nccl_trace_rank_0", file(&[huge])).collectives()[0].out_elems, None);
    let backwards = entry("nccl:a", &at(0), &at(50), &at(20), "");
    let trace = read("nccl_trace_rank_0", file(&[backwards]));
    assert_eq!(
        (timeline(&trace)[0], warnings(&trace)),
        (("nccl:a", T + 50, 0), vec![(WarningKind::NegativeDuration, 1)])
    );
}

#[test]
fn a_dump_that_is_cut_keeps_its_whole_entries() {
    let text = dump();
    let ends: Vec<usize> = text.match_indices("\"timeout_ms\":600000").map(|(at, _)| at).collect();
    let first = text.find("\"entries\"").unwrap();
    for cut in (first + 40..text.len()).step_by(7) {
        let Ok(trace) = open_bytes("nccl_trace_rank_0", text.as_bytes()[..cut].to_vec(), &OpenOptions::default())
        else {
            // Too little is left to tell what it is.
            assert!(cut < ends[0], "{cut}");
            continue;
        };
        let whole = ends.iter().filter(|&&end| text[end..cut.max(end)].contains('}')).count();
        assert_eq!(trace.events().len(), whole, "{cut}");
        assert_eq!(warnings(&trace).len(), 1, "{cut}: {:?}", warnings(&trace));
    }
}

#[test]
fn versions_and_limits_are_named() {
    let trace = read("nccl_trace_rank_0", dump().replace("\"2.10\"", "\"3.0\""));
    assert_eq!(warnings(&trace), [(WarningKind::UnknownVersion, 1)]);
    let mut options = OpenOptions::default();
    options.limits.events = 2;
    let refused = open_bytes("nccl_trace_rank_0", dump().into_bytes(), &options).unwrap_err().to_string();
    assert!(refused.contains("--limit events="), "{refused}");
    assert!(refusal("nccl_trace_rank_0", "{").contains("traceEvents"));
}

#[test]
fn a_dump_without_calls_is_a_trace_without_events() {
    let empty = r#"{"comm_lib_version":"","pg_config":{},"pg_status":{},"version":"2.10"}"#;
    let trace = read("nccl_trace_rank_0", empty);
    assert_eq!((ids(&trace).count(), warnings(&trace)), (0, vec![]));
}
