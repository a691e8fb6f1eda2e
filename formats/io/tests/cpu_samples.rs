//! CPU samples from hand-made files: `perf script`, `perf.data`, collapsed stacks, whole and damaged.
#![allow(clippy::unwrap_used)]

use gapless_formats::{Limits, OpenError, OpenOptions, Silent, open, open_bytes};
use gapless_trace::{ArgValue, EventId, EventKind, Trace, TrackKind, WarningKind};

fn open_as(name: &str, bytes: impl Into<Vec<u8>>) -> Trace {
    open_bytes(name, bytes.into(), &OpenOptions::default()).unwrap()
}

fn refused(name: &str, bytes: impl Into<Vec<u8>>, limits: Limits) -> String {
    let options = OpenOptions { limits, ..OpenOptions::default() };
    open_bytes(name, bytes.into(), &options).unwrap_err().to_string()
}

fn all(trace: &Trace) -> Vec<EventId> {
    let mut ids: Vec<EventId> = (0..trace.events().len() as u32).map(EventId).collect();
    ids.sort_by_key(|&id| (trace.event(id).start, id));
    ids
}

/// (event, thread, time in ns, weight, stack as `outermost;…;innermost`) in the order of time.
fn samples(trace: &Trace) -> Vec<(String, String, i64, u64, String)> {
    let ids = all(trace).into_iter().filter(|&id| trace.event(id).kind == EventKind::Sample);
    ids.map(|id| {
        let event = trace.event(id);
        let (_, track) = trace.track_of(id).unwrap();
        assert_eq!((track.kind, event.dur.nanos()), (TrackKind::Samples, 0));
        let pid = trace.raw_id_text(trace.process(track.process).unwrap().pid);
        let stack = trace.stack_of(id);
        let mut names: Vec<&str> = stack
            .iter()
            .flat_map(|stack| trace.stacks().frames_of(stack.stack))
            .map(|frame| trace.text(frame.name))
            .collect();
        names.reverse();
        (
            trace.text(event.category).to_owned(),
            format!("{pid}/{}", trace.raw_id_text(track.tid)),
            event.start.nanos(),
            stack.map_or(0, |stack| stack.weight),
            names.join(";"),
        )
    })
    .collect()
}

fn sample(event: &str, thread: &str, time: i64, weight: u64, stack: &str) -> (String, String, i64, u64, String) {
    (event.to_owned(), thread.to_owned(), time, weight, stack.to_owned())
}

/// (core, thread's name, start, duration in ns)
fn runs(trace: &Trace) -> Vec<(String, String, i64, i64)> {
    let ids = all(trace).into_iter().filter(|&id| trace.event(id).kind == EventKind::Scheduled);
    ids.map(|id| {
        let (_, track) = trace.track_of(id).unwrap();
        assert_eq!(track.kind, TrackKind::Cpu);
        let event = trace.event(id);
        (trace.raw_id_text(track.tid), trace.name(id).to_owned(), event.start.nanos(), event.dur.nanos())
    })
    .collect()
}

fn run(core: &str, name: &str, start: i64, dur: i64) -> (String, String, i64, i64) {
    (core.to_owned(), name.to_owned(), start, dur)
}

const SCRIPT: &str = "# ========
# hostname : node7
# arch : x86_64
# ========
#
my app   10/12   [003]     5.000001:        100 cycles:u: \n\
\t    7f01 inner(std::vector<int>)+0x1 (inlined)\n\
\t    7f01 outer+0x21 (/usr/lib/my lib.so (deleted))\n  work.cc:17\n\
\t       0 [unknown] ([unknown])\n
my app   10/12   [003]     5.000002345: cpu-clock: \n\
\tffffffff81 (/boot/vmlinux)\n
         cafe    10/10 [001]     5.000003:          1 page-faults:      7f2e4a84 _IO_new+0x1 (/usr/lib/libc.so.6)
         cafe    10/10 [001]     5.000004: syscalls:sys_enter_read: fd: 0x00000003, buf: 0x1
";

#[test]
fn all_forms_of_perf_script_are_read() {
    let trace = open_as("perf.txt", SCRIPT);
    assert_eq!(
        samples(&trace),
        [
            sample("cycles:u", "10/12", 5_000_001_000, 100, "[unknown];outer;inner(std::vector<int>)"),
            sample("cpu-clock", "10/12", 5_000_002_345, 1, "0xffffffff81"),
            sample("page-faults", "10/10", 5_000_003_000, 1, "_IO_new"),
            sample("syscalls:sys_enter_read", "10/10", 5_000_004_000, 0, ""),
        ]
    );
    assert!(trace.warnings().is_empty(), "{:?}", trace.warnings().sorted());
    let first = all(&trace)[0];
    let stack = trace.stack_of(first).unwrap();
    let frames: Vec<(&str, &str, u32)> = trace
        .stacks()
        .frames_of(stack.stack)
        .map(|frame| (trace.text(frame.module), trace.text(frame.file), frame.line))
        .collect();
    let module = "/usr/lib/my lib.so (deleted)";
    assert_eq!(frames, [(module, "", 0), (module, "work.cc", 17), ("[unknown]", "", 0)]);
    assert_eq!(trace.name(first), "inner(std::vector<int>)");
    let (track, _) = trace.track_of(first).unwrap();
    assert_eq!(trace.track_label(track), "my app · samples");
    let args = trace.args(first).unwrap();
    assert_eq!(args, [("cpu".to_owned(), ArgValue::Int(3)), ("period".to_owned(), ArgValue::UInt(100))]);
    let last = *all(&trace).last().unwrap();
    let fields = ("fields".to_owned(), ArgValue::Text("fd: 0x00000003, buf: 0x1".to_owned()));
    assert_eq!(trace.args(last).unwrap(), [("cpu".to_owned(), ArgValue::Int(1)), fields]);
    assert_eq!(trace.ranks()[0].host.as_deref(), Some("node7"));
    assert_eq!(trace.sources()[0].format, "perf script");
}

#[test]
fn switches_of_perf_script_say_what_ran_where() {
    let text = "\
     swapper     0 [000] 1.000: sched:sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=my app next_pid=7 next_prio=120
       other     9 [001] 1.001: sched:sched_switch: other:9 [120] S ==> swapper/1:0 [120]
      my app     7 [000] 1.003: sched:sched_switch: prev_comm=my app prev_pid=7 prev_prio=120 prev_state=R+ ==> next_comm=b next_pid=8 next_prio=90
           b     8 [000] 1.004: sched:sched_switch: prev_comm=b prev_pid=8 prev_prio=90 prev_state=D ==> next_comm=swapper/0 next_pid=0 next_prio=120
     swapper     0 [001] 1.005: sched:sched_switch: swapper/1:0 [120] R ==> late:5 [120]
           b     8 [000] 1.006: PERF_RECORD_LOST lost 12
";
    let trace = open_as("sched.txt", text);
    let got = runs(&trace);
    assert_eq!(
        got,
        [
            run("0", "my app", 1_000_000_000, 3_000_000),
            run("0", "b", 1_003_000_000, 1_000_000),
            run("1", "late", 1_005_000_000, 0)
        ]
    );
    let count = |kind| trace.warnings().count(kind);
    assert_eq!(count(WarningKind::EndWithoutBegin), 1, "what ran before the recording");
    assert_eq!(count(WarningKind::BeginWithoutEnd), 1, "what still runs at its end");
    assert_eq!(count(WarningKind::PacketLost), 12);
    let app = all(&trace)[0];
    let text = |value: &str| ArgValue::Text(value.to_owned());
    let expected = [
        ("next_comm", text("my app")),
        ("next_pid", ArgValue::Int(7)),
        ("next_prio", ArgValue::Int(120)),
        ("prev_state", text("R+")),
    ];
    assert_eq!(trace.args(app).unwrap(), expected.map(|(key, value)| (key.to_owned(), value)));
}

#[test]
fn damage_in_perf_script_is_counted() {
    let damaged = format!(
        "{SCRIPT}what is this\nand this\n\nmy app 10/12 [003] 6.0: 1 cycles: \n\t 1 \u{0}a (m)\n\nlost its rest 7"
    );
    let trace = open_as("perf.txt", damaged);
    assert_eq!(trace.events().len(), 5);
    assert_eq!(trace.warnings().count(WarningKind::MalformedEvent), 1, "a run of bad lines counts once");
    assert_eq!(trace.warnings().count(WarningKind::Truncated), 1);
    let mut bad_text = b"a\xFF 1 1.0: 1 e: \n\t 1 f\xFE (m)\n\n".to_vec();
    bad_text.extend_from_slice(b"a 1 9999999999.0: 1 e: \n\n");
    let trace = open_as("perf.txt", bad_text);
    assert_eq!(trace.warnings().count(WarningKind::InvalidUtf8), 2);
    assert_eq!(trace.warnings().count(WarningKind::MalformedEvent), 1, "a time that does not fit");
    let limits = Limits { string_bytes: 64, ..Limits::default() };
    let long = format!("a 1 1.0: 1 e: \n\t 1 {} (m)\n", "x".repeat(100));
    assert!(refused("perf.txt", long, limits).contains("goes beyond a limit: the line at byte 15"));
    let limits = Limits { events: 2, ..Limits::default() };
    assert!(refused("perf.txt", SCRIPT, limits).contains("the number of its events (the limit is 2)"));
}

#[test]
fn samples_join_the_trace_of_their_rank() {
    let folder = tempfile::tempdir().unwrap();
    let (main, perf) = (folder.path().join("rank0.json"), folder.path().join("rank0.perf.txt"));
    let kineto = r#"{"distributedInfo": {"rank": 0}, "baseTimeNanoseconds": 1000000000, "traceEvents": [
        {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 10, "tid": 12, "ts": 4000000, "dur": 10}]}"#;
    std::fs::write(&main, kineto).unwrap();
    std::fs::write(&perf, SCRIPT).unwrap();
    let trace = open(&[main, perf], &OpenOptions::default(), &Silent).unwrap();
    assert_eq!((trace.ranks().len(), trace.events().len(), samples(&trace).len()), (1, 5, 4));
    assert_eq!(trace.warnings().count(WarningKind::MixedClocks), 1, "the text does not say what its times count from");
    let operator = all(&trace)[0];
    assert_eq!(trace.name(operator), "aten::mm");
    let (_, thread) = trace.track_of(operator).unwrap();
    let (_, sampled) = trace.track_of(all(&trace)[1]).unwrap();
    assert_eq!((thread.process, thread.tid), (sampled.process, sampled.tid), "the samples stand beside their thread");
    assert!(trace.args(all(&trace)[1]).unwrap().contains(&("period".to_owned(), ArgValue::UInt(100))));
}

#[test]
fn threads_of_samples_are_those_of_the_trace() {
    let folder = tempfile::tempdir().unwrap();
    let (main, perf) = (folder.path().join("rank0.json"), folder.path().join("rank0.perf.txt"));
    let kineto = r#"{"distributedInfo": {"rank": 0}, "traceEvents": [
        {"ph": "M", "name": "thread_name", "pid": 10, "tid": 12, "args": {"name": "thread 12 (worker)"}},
        {"ph": "X", "cat": "cpu_op", "name": "a", "pid": 10, "tid": 12, "ts": 5000000, "dur": 10},
        {"ph": "X", "cat": "cpu_op", "name": "b", "pid": 10, "tid": 13, "ts": 5000000, "dur": 10},
        {"ph": "X", "cat": "cpu_op", "name": "c", "pid": 20, "tid": 13, "ts": 5000000, "dur": 10}]}"#;
    std::fs::write(&main, kineto).unwrap();
    // What perf prints unless it is asked for more: no process.
    std::fs::write(&perf, "w 12 5.0: 1 e: \n\t 1 f (m)\n\nw 13 5.1: 1 e: \n\t 1 f (m)\n\n").unwrap();
    let trace = open(&[main, perf], &OpenOptions::default(), &Silent).unwrap();
    let threads: Vec<String> = samples(&trace).into_iter().map(|sample| sample.1).collect();
    assert_eq!(threads, ["10/12", "/13"], "two processes have a thread 13");
    let labels: Vec<String> = trace.track_ids().map(|(id, _)| trace.track_label(id)).collect();
    assert!(labels.contains(&"thread 12 (worker) · samples".to_owned()), "{labels:?}");
}

#[test]
fn collapsed_stacks_stand_in_the_order_of_the_file() {
    let text = "main;work (train.py:12);gemm_[k] 3\nmain 2\nmain;work (train.py:12) 1.5\n";
    let trace = open_as("out.folded", text);
    assert_eq!(
        samples(&trace),
        [
            sample("samples", "/", 0, 3, "main;work;gemm"),
            sample("samples", "/", 3_000, 2, "main"),
            sample("samples", "/", 5_000, 1, "main;work"),
        ]
    );
    let frames: Vec<_> = trace.stacks().frames_of(trace.stack_of(all(&trace)[0]).unwrap().stack).collect();
    assert_eq!(
        (trace.text(frames[0].module), trace.text(frames[1].file), frames[1].line),
        ("[kernel]", "train.py", 12)
    );
    let count = |kind| trace.warnings().count(kind);
    assert_eq!((count(WarningKind::NoTimes), count(WarningKind::FractionCut), trace.warnings().lost()), (1, 1, 0));

    let many = format!("{}garbage\n;;\nmain;cut", "main;a 1\n".repeat(70));
    let trace = open_as("out.folded", many);
    assert_eq!(samples(&trace).len(), 70);
    assert_eq!(trace.warnings().count(WarningKind::MalformedEvent), 2);
    assert_eq!(trace.warnings().count(WarningKind::Truncated), 1);
    let huge = format!("main;a {}\nmain;b 2\n", u64::MAX);
    let trace = open_as("out.folded", huge);
    assert_eq!(samples(&trace)[0].3, u64::MAX);
    assert_eq!(trace.warnings().lost(), 0);
    // Text without stacks is no trace.
    assert!(matches!(
        open_bytes("a.txt", b"a 1\nb 2\n".to_vec(), &OpenOptions::default()),
        Err(OpenError::Format { .. })
    ));
}

/// A `perf.data` under construction.
struct PerfData {
    big_endian: bool,
    data: Vec<u8>,
}

impl PerfData {
    fn u(&self, value: u64, bytes: usize) -> Vec<u8> {
        if self.big_endian { value.to_be_bytes()[8 - bytes..].to_vec() } else { value.to_le_bytes()[..bytes].to_vec() }
    }

    fn record(&mut self, kind: u64, misc: u64, body: &[u8]) {
        for (value, bytes) in [(kind, 4), (misc, 2), (body.len() as u64 + 8, 2)] {
            let field = self.u(value, bytes);
            self.data.extend(field);
        }
        self.data.extend_from_slice(body);
    }

    fn fields(&self, fields: &[(u64, usize)]) -> Vec<u8> {
        fields.iter().flat_map(|&(value, bytes)| self.u(value, bytes)).collect()
    }

    /// Thread, time and core at the end of records: TID | TIME | CPU.
    fn trailer(&self, pid: u64, tid: u64, time: u64, cpu: u64) -> Vec<u8> {
        self.fields(&[(pid, 4), (tid, 4), (time, 8), (cpu, 4), (0, 4)])
    }

    fn map(&mut self, pid: u64, start: u64, len: u64, offset: u64, path: &str) {
        let mut body = self.fields(&[
            (pid, 4),
            (pid, 4),
            (start, 8),
            (len, 8),
            (offset, 8),
            (0, 8),
            (0, 8),
            (0, 8),
            (5, 4),
            (2, 4),
        ]);
        body.extend_from_slice(path.as_bytes());
        body.resize(body.len().next_multiple_of(8) + 8, 0);
        body.extend(self.trailer(pid, pid, 1, 0));
        self.record(10, 2, &body);
    }

    fn comm(&mut self, pid: u64, tid: u64, name: &str, exec: bool, time: u64) {
        let mut body = self.fields(&[(pid, 4), (tid, 4)]);
        body.extend_from_slice(name.as_bytes());
        body.resize(body.len().next_multiple_of(8) + 8, 0);
        body.extend(self.trailer(pid, tid, time, 0));
        self.record(3, if exec { 1 << 13 } else { 0 }, &body);
    }

    /// IP | TID | TIME | CPU | PERIOD | CALLCHAIN.
    fn sample(&mut self, thread: (u64, u64), time: u64, cpu: u64, period: u64, chain: &[u64]) {
        let ip = chain.last().copied().unwrap_or(0);
        let mut body = self.fields(&[(ip, 8), (thread.0, 4), (thread.1, 4), (time, 8), (cpu, 4), (0, 4), (period, 8)]);
        body.extend(self.u(chain.len() as u64, 8));
        for &address in chain {
            body.extend(self.u(address, 8));
        }
        self.record(9, 2, &body);
    }

    fn switch(&mut self, thread: (u64, u64), time: u64, cpu: u64, misc: u64) {
        let body = self.trailer(thread.0, thread.1, time, cpu);
        self.record(14, misc, &body);
    }

    /// The file: header, one description, its ids, the records, and the clock.
    fn finish(&self) -> Vec<u8> {
        let sample_type = 1 | 2 | 4 | 128 | 256 | 32;
        let mut attr = self.fields(&[(1, 4), (112, 4), (0, 8), (4000, 8), (sample_type, 8), (0, 8), (1 << 18, 8)]);
        attr.resize(112, 0);
        let attrs_at = 104 + 8;
        let data_at = attrs_at + 128;
        let features_at = data_at + self.data.len() as u64;
        let mut out = if self.big_endian { b"2ELIFREP".to_vec() } else { b"PERFILE2".to_vec() };
        out.extend(self.fields(&[
            (104, 8),
            (128, 8),
            (attrs_at, 8),
            (128, 8),
            (data_at, 8),
            (self.data.len() as u64, 8),
        ]));
        out.extend(self.fields(&[(0, 8), (0, 8), (1 << 3 | 1 << 29, 8), (0, 8), (0, 8), (0, 8)]));
        out.extend(self.u(77, 8));
        out.extend(attr);
        out.extend(self.fields(&[(104, 8), (8, 8)]));
        out.extend_from_slice(&self.data);
        let (host, clock) = (features_at + 32, features_at + 32 + 4 + 8);
        out.extend(self.fields(&[(host, 8), (12, 8), (clock, 8), (24, 8)]));
        out.extend(self.u(8, 4));
        out.extend_from_slice(b"node7\0\0\0");
        out.extend(self.fields(&[(1, 4), (1, 4), (1_000_000_500, 8), (500, 8)]));
        out
    }
}

const KERNEL: u64 = -128i64 as u64;
const USER: u64 = -512i64 as u64;

fn perf_data(big_endian: bool) -> PerfData {
    let mut file = PerfData { big_endian, data: Vec::new() };
    file.map(u64::from(u32::MAX), 0xFFFF_0000, 0x1_0000, 0xFFFF_0000, "[kernel.kallsyms]_text");
    file.map(10, 0x1000, 0x1000, 0x400, "/usr/lib/libwork.so");
    file.comm(10, 10, "train", false, 2);
    // Written later, though it comes first: a core's buffer is written as a whole.
    file.sample((10, 10), 300, 0, 50, &[USER, 0x1010, 0x9999]);
    file.sample((10, 10), 200, 0, 40, &[KERNEL, 0xFFFF_0123, USER, 0x1020]);
    // A copy of the process, then another program in it.
    let fork = [file.fields(&[(11, 4), (10, 4), (11, 4), (10, 4), (400, 8)]), file.trailer(10, 10, 400, 0)].concat();
    file.record(7, 0, &fork);
    file.sample((11, 11), 450, 1, 1, &[USER, 0x1000]);
    file.comm(11, 11, "other", true, 500);
    file.sample((11, 11), 550, 1, 1, &[USER, 0x1000]);
    file.switch((10, 10), 600, 0, 0);
    file.switch((10, 10), 700, 0, 1 << 13 | 1 << 14);
    let lost = [file.fields(&[(1, 8), (33, 8)]), file.trailer(0, 0, 800, 0)].concat();
    file.record(2, 0, &lost);
    file
}

#[test]
fn perf_data_of_both_byte_orders_is_read() {
    for big_endian in [false, true] {
        let trace = open_as("perf.data", perf_data(big_endian).finish());
        let base = 1_000_000_000;
        assert_eq!(
            samples(&trace),
            [
                sample("cpu-clock", "10/10", base + 200, 40, "libwork.so+0x420;[kernel.kallsyms]+0x123"),
                sample("cpu-clock", "10/10", base + 300, 50, "[unknown];libwork.so+0x410"),
                sample("cpu-clock", "11/11", base + 450, 1, "libwork.so+0x400"),
                sample("cpu-clock", "11/11", base + 550, 1, "[unknown]"),
            ]
        );
        assert_eq!(runs(&trace), [run("0", "train", base + 600, 100)]);
        assert_eq!(trace.ranks()[0].base_time_ns, Some(base));
        assert_eq!(trace.ranks()[0].host.as_deref(), Some("node7"));
        assert_eq!(trace.warnings().count(WarningKind::PacketLost), 33);
        assert_eq!(trace.warnings().sorted().len(), 1, "{:?}", trace.warnings().sorted());
        let labels: Vec<String> = trace.track_ids().map(|(id, _)| trace.track_label(id)).collect();
        assert_eq!(labels, ["train · samples", "other · samples", "core 0"]);
        let first = all(&trace)[0];
        let args = [("cpu".to_owned(), ArgValue::Int(0)), ("period".to_owned(), ArgValue::UInt(40))];
        assert_eq!(trace.args(first).unwrap(), args);
        let run = *all(&trace).last().unwrap();
        let args: Vec<String> = trace.args(run).unwrap().iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(args, ["pid=10", "tid=10", "preempted=true"]);
    }
}

#[test]
fn damaged_perf_data_keeps_what_came_before() {
    let file = perf_data(false);
    let whole = file.finish();
    // Cut in the last record: the header's sizes are of no use any more.
    let data_end = 104 + 8 + 128 + file.data.len();
    let trace = open_as("perf.data", &whole[..data_end - 5]);
    assert_eq!(samples(&trace).len(), 4);
    assert_eq!(trace.warnings().count(WarningKind::Truncated), 1);
    assert!(trace.warnings().count(WarningKind::HeaderUnreadable) > 0);

    // A recorder that was killed leaves the length of the data at 0; what follows the data is no record.
    let mut killed = whole[..data_end].to_vec();
    killed[48..56].fill(0);
    let trace = open_as("perf.data", killed);
    assert_eq!((samples(&trace).len(), trace.warnings().count(WarningKind::PacketLost)), (4, 33));

    // A record smaller than its header ends the walk.
    let mut malformed = perf_data(false);
    malformed.data.extend_from_slice(&[9, 0, 0, 0, 0, 0, 3, 0]);
    malformed.sample((10, 10), 900, 0, 1, &[USER, 0x1010]);
    let trace = open_as("perf.data", malformed.finish());
    assert_eq!((samples(&trace).len(), trace.warnings().count(WarningKind::MalformedEvent)), (4, 1));

    // A sample whose call chain claims more than the record holds.
    let mut odd = perf_data(false);
    odd.sample((10, 10), 900, 0, 1, &[USER, 0x1010]);
    let at = odd.data.len() - 24;
    odd.data[at..at + 8].fill(0xFF);
    let trace = open_as("perf.data", odd.finish());
    assert_eq!((samples(&trace).len(), trace.warnings().count(WarningKind::MalformedEvent)), (4, 1));

    // A header that claims sections of 2^63 bytes.
    let mut hostile = whole.clone();
    for field in [16, 24, 40, 48, 64] {
        hostile[field..field + 8].copy_from_slice(&(1u64 << 63).to_le_bytes());
    }
    assert!(refused("perf.data", hostile, Limits::default()).contains("is not a trace that Gapless can read"));
    assert!(refused("perf.data", &whole[..60], Limits::default()).contains("its header is cut"));
}

#[test]
fn compressed_records_are_inflated_within_limits() {
    let plain = perf_data(false);
    let packed = zstd::bulk::compress(&plain.data, 3).unwrap();
    let mut file = PerfData { big_endian: false, data: Vec::new() };
    let (first, second) = packed.split_at(packed.len() / 2);
    file.record(81, 0, first);
    let mut padded = [file.u(second.len() as u64, 8), second.to_vec()].concat();
    padded.extend_from_slice(&[0; 5]);
    file.record(83, 0, &padded);
    let trace = open_as("perf.data", file.finish());
    assert_eq!(samples(&trace), samples(&open_as("perf.data", plain.finish())));
    assert_eq!(trace.args(all(&trace)[0]).unwrap().len(), 2, "arguments are read from what was inflated");

    // Many zeros in few bytes.
    let bomb = zstd::bulk::compress(&vec![0u8; 100 << 20], 3).unwrap();
    let mut file = PerfData { big_endian: false, data: Vec::new() };
    bomb.chunks(60_000).for_each(|piece| file.record(81, 0, piece));
    let message = refused("perf.data", file.finish(), Limits::default());
    assert!(message.contains("once inflated") && message.contains("--limit"), "{message}");
}
