//! Logs of NCCL's inspector.

use gapless_trace::{EventKind, WarningKind};

use super::{arg, find, ids, read, read_together, timeline, track, warnings};

fn header(id: &str, rank: u32, ranks: u32) -> String {
    format!(r#""header":{{"id":"{id}","rank":{rank},"n_ranks":{ranks},"nnodes":1}}"#)
}

fn metadata(version: &str, time_us: i64) -> String {
    format!(
        r#""metadata":{{"inspector_output_format_version":"{version}","git_rev":"9019a1912-dirty","rec_mechanism":"nccl_profiler_interface","dump_timestamp_us":{time_us},"hostname":"node3","pid":438776}}"#
    )
}

fn call(name: &str, sn: u64, exec_us: i64, more: &str) -> String {
    format!(
        r#""coll_perf":{{"coll":"{name}","coll_sn":{sn},"coll_msg_size_bytes":2147483648,"coll_exec_time_us":{exec_us},"coll_timing_source":"kernel_gpu","coll_algobw_gbs":418.439467,"coll_busbw_gbs":366.134533{more}}}"#
    )
}

const T: i64 = 1_752_867_229_000_000;

fn line(parts: &[String]) -> String {
    format!("{{{}}}\n", parts.join(","))
}

/// Two communicators of a process, in the form without times.
pub fn plain() -> String {
    let world = header("0xe62dedaa97644a", 4, 8);
    [
        line(&[world.clone(), metadata("v4.0", T + 276_385), call("ReduceScatter", 1_231, 41_057, "")]),
        line(&[header("0x77", 0, 2), metadata("v4.0", T + 300_000), call("AllReduce", 5, 10, "")]),
        line(&[world, metadata("v4.0", T + 400_000), call("AllGather", 1_232, 20_000, "")]),
    ]
    .concat()
}

#[test]
fn without_times_a_call_ends_when_its_record_was_written() {
    let trace = read("node3-pid438776.log", plain());
    let ns = |offset: i64| (T + offset) * 1_000;
    assert_eq!(
        timeline(&trace),
        [
            ("ReduceScatter", ns(276_385 - 41_057), 41_057_000),
            ("AllReduce", ns(300_000 - 10), 10_000),
            ("AllGather", ns(380_000), 20_000_000),
        ]
    );
    assert_eq!(warnings(&trace), [(WarningKind::EndAssumed, 3)]);
    let event = find(&trace, "ReduceScatter");
    assert_eq!(trace.event(event).kind, EventKind::Async);
    assert_eq!(track(&trace, event), "communicator 0xe62dedaa97644a, rank 4 of 8");
    let call = trace.collective(event).unwrap();
    assert_eq!((trace.text(call.name), trace.text(call.group)), ("ReduceScatter", "0xe62dedaa97644a"));
    assert_eq!((call.group_size, call.seq, call.in_elems), (Some(8), Some(1_231), None));
    let rank = &trace.ranks()[0];
    // The largest communicator is the job.
    assert_eq!((rank.number, rank.world_size, rank.host.as_deref()), (Some(4), Some(8), Some("node3")));
}

#[test]
fn the_verbose_form_has_the_times_of_the_kernels() {
    let times = r#","event_trace_sn":{"coll_start_sn":1,"coll_stop_sn":2,"kernel_events":[]},"event_trace_ts":{"coll_start_ts":1752867229235059,"coll_stop_ts":1752867229235064,"kernel_events":[{"channel_id":0,"kernel_start_ts":1752867229235181,"kernel_stop_ts":1752867229275811,"kernel_record_ts":1752867229275811},{"channel_id":1,"kernel_start_ts":1752867229235170,"kernel_stop_ts":1752867229275800,"kernel_record_ts":0},{"channel_id":2,"kernel_start_ts":0,"kernel_stop_ts":0}]}"#;
    let of_call =
        r#","event_trace_ts":{"coll_start_ts":1752867229235059,"coll_stop_ts":1752867229235064,"kernel_events":[]}"#;
    let text = [
        line(&[header("0x1", 4, 8), metadata("v4.0", T + 276_385), call("ReduceScatter", 1, 41_057, times)]),
        line(&[header("0x1", 4, 8), metadata("v4.0", T + 276_385), call("Broadcast", 2, 41_057, of_call)]),
    ]
    .concat();
    let trace = read("a.log", text);
    assert_eq!(
        timeline(&trace),
        [
            ("Broadcast", 1_752_867_229_235_059_000, 41_057_000),
            ("ReduceScatter", 1_752_867_229_235_170_000, 40_641_000)
        ]
    );
    assert_eq!(warnings(&trace), vec![]);
}

#[test]
fn later_versions_share_a_header_and_have_sends_and_proxies() {
    let header = r#""header":{"id":"0xabc","comm_name":"DP Group 0","rank":1,"n_ranks":2,"nnodes":1}"#.to_owned();
    let stats = r#""dump_stats":{"coll_records":1,"coll_dropped_total":9,"coll_dropped_since_last_dump":4,"p2p_records":1,"p2p_dropped_total":0,"p2p_dropped_since_last_dump":0}"#;
    let send = r#"{"p2p_perf":{"p2p":"Send","p2p_sn":8,"p2p_peer":0,"p2p_msg_size_bytes":524288,"p2p_exec_time_us":50,"p2p_timing_source":"kernel_gpu","p2p_algobw_gbs":30.0,"p2p_busbw_gbs":30.0}}"#;
    let proxy = r#"{"proxy_trace":{"record_type":"proxy_op","record_sn":1,"parent_type":"coll","parent_sn":7,"channel_id":0,"peer":1,"direction":"send","event_trace_ts":{"proxy_op_start_ts":1752867229000100,"proxy_op_stop_ts":1752867229000160}}}"#;
    let text = format!(
        "{}{{{}}}\n{send}\n{proxy}\n{{\"new_record\":{{}}}}\n",
        line(&[header, metadata("v4.4", T + 500), stats.to_owned()]),
        call("AllReduce", 7, 100, "")
    );
    let trace = read("a.log", text);
    let ns = |offset: i64| (T + offset) * 1_000;
    assert_eq!(
        timeline(&trace),
        [("proxy_op send", ns(100), 60_000), ("AllReduce", ns(400), 100_000), ("Send", ns(450), 50_000)]
    );
    assert_eq!(track(&trace, find(&trace, "Send")), "DP Group 0 (0xabc), rank 1 of 2");
    assert_eq!(track(&trace, find(&trace, "proxy_op send")), "DP Group 0 (0xabc), rank 1 of 2 / proxy");
    assert!(arg(&trace.args(find(&trace, "Send")).unwrap(), "p2p_perf").to_string().contains("p2p_peer: 0"));
    let expected = [(WarningKind::PacketLost, 4), (WarningKind::EndAssumed, 2), (WarningKind::UnknownPacket, 1)];
    let mut found = warnings(&trace);
    found.sort_by_key(|one| std::cmp::Reverse(one.1));
    assert_eq!(found, expected);
}

#[test]
fn logs_of_many_processes_are_many_ranks_and_join_their_traces() {
    let log =
        |rank: u32| line(&[header("0x1", rank, 4), metadata("v4.0", T), call("AllReduce", 1, 10, "")]).into_bytes();
    let trace =
        read_together(&[("node0-pid9.log", log(2)), ("node0-pid7.log", log(0)), ("node1-pid7.log", log(3))]).unwrap();
    let ranks: Vec<_> = trace.ranks().iter().map(|rank| rank.number).collect();
    assert_eq!(ranks, [Some(0), Some(2), Some(3)]);
    let kineto =
        r#"{"traceEvents": [{"ph":"X","name":"k","pid":0,"tid":7,"ts":1,"dur":2}], "distributedInfo": {"rank": 2}}"#;
    let trace = read_together(&[("t.json", kineto.into()), ("node0-pid9.log", log(2))]).unwrap();
    assert_eq!((trace.ranks().len(), trace.events().len()), (1, 2));
}

#[test]
fn damage_costs_the_damaged_record() {
    let whole = plain();
    let lines: Vec<_> = whole.lines().collect();
    let check = |text: String, events: usize, kind: WarningKind| {
        let trace = read("a.log", text.clone());
        assert_eq!((trace.events().len(), trace.warnings().count(kind)), (events, 1), "{text}: {:?}", warnings(&trace));
    };
    let with = |middle: &str| format!("{}\n{middle}\n{}\n", lines[0], lines[2]);
    check(with("garbage"), 2, WarningKind::MalformedEvent);
    check(with(&lines[1][..lines[1].len() - 30]), 2, WarningKind::MalformedEvent);
    check(with("{\"header\": 5"), 2, WarningKind::MalformedEvent);
    check(with("{\"coll_perf\": {\"coll\": \"x\"}}"), 2, WarningKind::MalformedEvent);
    check(with(&lines[1].replace("\"AllReduce\"", "17")), 2, WarningKind::MalformedEvent);
    check(with(&lines[1].replace(&(T + 300_000).to_string(), "\"soon\"")), 2, WarningKind::NoTimestamp);
    check(with(&lines[1].replace(&(T + 300_000).to_string(), "99999999999999999999")), 2, WarningKind::NoTimestamp);
    check(
        with(&lines[1].replace("\"coll_exec_time_us\":10,", "\"coll_exec_time_us\":-10,")),
        3,
        WarningKind::NegativeDuration,
    );
    check(whole.replace("v4.0", "v9.0"), 3, WarningKind::UnknownVersion);
    // A number that JSON does not have, and a fraction, are read.
    let odd =
        lines[1].replace("418.439467", "inf").replace("\"coll_exec_time_us\":10,", "\"coll_exec_time_us\":10.75,");
    assert_eq!(timeline(&read("a.log", with(&odd)))[1].2, 10_000);
    for cut in (lines[0].len() + 1..whole.len()).step_by(5) {
        let trace = read("a.log", &whole.as_bytes()[..cut]);
        let expected =
            (1..=3).filter(|&count| lines[..count].iter().map(|line| line.len() + 1).sum::<usize>() - 1 <= cut).count();
        assert_eq!(ids(&trace).count(), expected, "{cut}");
    }
}

#[test]
fn records_that_were_printed_for_people_are_read() {
    let pretty = plain().replace('{', "{\n  ").replace(',', ",\n  ");
    assert_eq!(timeline(&read("a.log", pretty)), timeline(&read("a.log", plain())));
}
