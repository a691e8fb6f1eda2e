//! A corpus of small damaged files, made by hand after what users report of real ones: what is read of each, and every
//! warning by reason and count. Issues are named by repository and number.
#![allow(clippy::panic, clippy::unwrap_used)]

use gapless_tests::archive::{Method, TarPart, ZipPart, gzip, tar, zip, zstd};
use gapless_tests::hostile::{claim, sqlite_with};
use gapless_tests::open::open_bytes;
use gapless_trace::{EventKind, Trace, WarningKind};

/// A damaged file.
struct Case {
    /// What is wrong with it, and who met it.
    what: &'static str,
    /// Its name: the last part decides nothing but is what such files are called.
    name: &'static str,
    bytes: Vec<u8>,
    /// (name, start, duration) of each event, in ns from the first, sorted.
    events: Vec<(&'static str, i64, i64)>,
    /// Every warning.
    warnings: Vec<(WarningKind, u64)>,
}

const HEAD: &str = r#"{"schemaVersion": 1, "distributedInfo": {"rank": 0}, "traceEvents": ["#;
/// A whole event, 1 µs long, at 10 µs.
const WHOLE: &str = r#"{"ph": "X", "cat": "cpu_op", "name": "whole", "pid": 1, "tid": 1, "ts": 10, "dur": 1}"#;
/// What is read of it.
const READ: (&str, i64, i64) = ("whole", 0, 1_000);

/// A JSON trace of `events`, each of which may hold anything.
fn json(what: &'static str, events: &str, read: &[(&'static str, i64, i64)], warnings: &[(WarningKind, u64)]) -> Case {
    let bytes = format!("{HEAD}{events}]}}").into_bytes();
    Case { what, name: "trace.json", bytes, events: read.to_vec(), warnings: warnings.to_vec() }
}

/// A JSON trace of [`WHOLE`] and one event with `fields`, which are read as `read`.
fn beside(what: &'static str, fields: &str, read: (&'static str, i64, i64), warnings: &[(WarningKind, u64)]) -> Case {
    json(what, &format!("{WHOLE}, {{{fields}}}"), &[READ, read], warnings)
}

/// The texts of JSON, as recorders of all eras wrote or spoiled them.
fn kineto() -> Vec<Case> {
    use WarningKind as W;
    let fields = r#""ph": "X", "pid": 1, "tid": 1"#;
    let odd = ("odd", 10_000, 1_000);
    let times = r#""ts": 20, "dur": 1"#;
    let name = r#""name": "odd""#;
    let kernel = r#""ph": "X", "cat": "kernel", "pid": 0, "tid": 7"#;
    let big = "x".repeat(3 << 20);
    vec![
        beside(
            "a raw line break in a name (pytorch#33961)",
            &format!("{fields}, {times}, \"name\": \"o\ndd\""),
            ("o\ndd", 10_000, 1_000),
            &[(W::ControlCharacter, 1)],
        ),
        beside(
            "quotes that are not escaped (pytorch#130622)",
            &format!(r#"{fields}, "name": "say "hi" now", {times}"#),
            (r#"say "hi" now"#, 10_000, 1_000),
            &[(W::UnescapedQuote, 1)],
        ),
        beside(
            "an escape that JSON does not know: a path of Windows (pytorch#98432)",
            &format!(r#"{fields}, "name": "C:\odd", {times}"#),
            (r"C:\odd", 10_000, 1_000),
            &[(W::BadEscape, 1)],
        ),
        Case {
            what: "a name that is not UTF-8 (pytorch#136180)",
            name: "trace.json",
            bytes: [format!("{HEAD}{WHOLE}, {{{fields}, {times}, \"name\": \"o").as_bytes(), b"\xFF\xFE", b"dd\"}]}"]
                .concat(),
            events: vec![READ, ("o\u{FFFD}\u{FFFD}dd", 10_000, 1_000)],
            warnings: vec![(W::InvalidUtf8, 1)],
        },
        beside(
            "a duration that is no number (kineto#80)",
            &format!(r#"{fields}, {name}, "ts": 20, "dur": NaN"#),
            ("odd", 10_000, 0),
            &[(W::NotANumber, 1)],
        ),
        json(
            "a time that is infinite",
            &format!(r#"{WHOLE}, {{{fields}, {name}, "ts": Infinity, "dur": 1}}"#),
            &[READ],
            &[(W::NoTimestamp, 1)],
        ),
        beside(
            "an argument that is no number (kineto#336): arguments are read when somebody asks",
            &format!(r#"{fields}, {name}, {times}, "args": {{"bandwidth": -Infinity, "n": 1}}"#),
            odd,
            &[],
        ),
        json("a comma before the end (pytorch#95460)", &format!("{WHOLE},"), &[READ], &[(W::TrailingComma, 1)]),
        json("an empty object before the end", &format!("{WHOLE}, {{}}"), &[READ], &[(W::EmptyEvent, 1)]),
        beside(
            "a key that stands twice",
            &format!(r#"{fields}, "name": "first", {times}, {name}"#),
            odd,
            &[(W::DuplicateKey, 1)],
        ),
        beside(
            "whole numbers beyond 2^53, and ids beyond 32 bits",
            &format!(
                r#""ph": "X", "pid": 9007199254740993, "tid": 18446744073709551615, {name}, {times}, "cat": "cuda_runtime", "args": {{"correlation": 9007199254740993}}"#
            ),
            odd,
            &[(W::WideId, 1)],
        ),
        beside(
            "processes and threads that are texts, or null (timeline-SE)",
            &format!(r#""ph": "X", "pid": "Spans", "tid": null, {name}, {times}"#),
            odd,
            &[],
        ),
        beside(
            "a negative duration (timeline-SE)",
            &format!(r#"{fields}, {name}, "ts": 20, "dur": -3"#),
            ("odd", 10_000, 0),
            &[(W::NegativeDuration, 1)],
        ),
        beside("no duration", &format!(r#"{fields}, {name}, "ts": 20"#), ("odd", 10_000, 0), &[(W::NoDuration, 1)]),
        json("no time", &format!(r#"{WHOLE}, {{{fields}, {name}, "dur": 1}}"#), &[READ], &[(W::NoTimestamp, 1)]),
        json("no phase", &format!(r#"{WHOLE}, {{"pid": 1, {name}, {times}}}"#), &[READ], &[(W::NoPhase, 1)]),
        json(
            "a phase that nobody knows",
            &format!(r#"{WHOLE}, {{"ph": "?", "pid": 1, {name}, {times}}}"#),
            &[READ],
            &[(W::UnknownPhase, 1)],
        ),
        json(
            "values among the events that are no events",
            &format!(r#"17, {WHOLE}, "text", null"#),
            &[READ],
            &[(W::EventNotObject, 3)],
        ),
        json(
            "text of another program between the events, and no comma behind it: it takes the event with it",
            &format!("{WHOLE}, Traceback (most recent call last):\n {WHOLE}, {WHOLE}"),
            &[READ, READ],
            &[(W::MalformedEvent, 1), (W::EventNotObject, 5)],
        ),
        json(
            "kernels at time 0 for time 0: CUPTI said nothing (kineto#109, nvidia-resiliency-ext#115)",
            &format!(
                r#"{{{kernel}, "name": "gemm", "ts": 0, "dur": 0, "args": {{"device": 0, "stream": 7}}}}, {{{kernel}, "name": "gemm", "ts": 0, "dur": 0, "args": {{"device": 0, "stream": 7}}}}"#
            ),
            &[("gemm", 0, 0), ("gemm", 0, 0)],
            &[(W::DeviceWorkWithoutLaunch, 2)],
        ),
        json(
            "times before the base (kineto#1380)",
            &format!(r#"{{{fields}, {name}, "ts": -5.5, "dur": 1}}, {WHOLE}"#),
            &[("odd", 0, 1_000), ("whole", 15_500, 1_000)],
            &[],
        ),
        json(
            "a time that no clock can hold",
            &format!(r#"{WHOLE}, {{{fields}, {name}, "ts": 1e300, "dur": 1}}"#),
            &[READ],
            &[(W::TimeOutOfRange, 1)],
        ),
        beside(
            "a duration that no clock can hold",
            &format!(r#"{fields}, {name}, "ts": 20, "dur": 1e300"#),
            // 73 years.
            ("odd", 10_000, (1 << 61) - 1),
            &[(W::DurationOutOfRange, 1)],
        ),
        json(
            "an end without a begin and a begin without an end, which lasts until the last event of its track ends",
            &format!(
                r#"{WHOLE}, {{"ph": "E", "pid": 1, "tid": 1, "ts": 12}}, {{"ph": "B", "pid": 1, "tid": 1, {name}, "ts": 19}}, {{{fields}, "name": "last", {times}}}"#
            ),
            &[READ, ("odd", 9_000, 2_000), ("last", 10_000, 1_000)],
            &[(W::EndWithoutBegin, 1), (W::BeginWithoutEnd, 1)],
        ),
        json(
            "a flow that ends but never began, and one that begins only (DeepSeek)",
            &format!(
                r#"{WHOLE}, {{"ph": "f", "bp": "e", "id": 5, "cat": "ac2g", "name": "ac2g", "pid": 1, "tid": 1, "ts": 10}}, {{"ph": "s", "id": 6, "cat": "ac2g", "name": "ac2g", "pid": 1, "tid": 1, "ts": 10}}"#
            ),
            &[READ],
            &[(W::FlowWithoutStart, 1), (W::FlowWithoutEnd, 1)],
        ),
        beside(
            "a counter that counts words",
            &format!(
                r#""ph": "C", "pid": 1, "name": "memory", "ts": 11, "args": {{"bytes": "many"}}}}, {{{fields}, {name}, {times}"#
            ),
            odd,
            &[(W::CounterNotNumeric, 1)],
        ),
        beside(
            "arguments that are a list",
            &format!(r#"{fields}, {name}, {times}, "args": [1, 2]"#),
            odd,
            &[(W::ArgsNotObject, 1)],
        ),
        beside(
            "an event of 3 MB",
            &format!(r#"{fields}, {name}, {times}, "args": {{"Input Dims": "{big}"}}"#),
            odd,
            &[],
        ),
        Case {
            what: "the closing brackets are missing: the job was killed (pytorch#113001)",
            name: "trace.json",
            bytes: format!("{HEAD}{WHOLE}").into_bytes(),
            events: vec![READ],
            warnings: vec![(W::MissingEnd, 1)],
        },
        Case {
            what: "cut in the middle of an event",
            name: "trace.json",
            bytes: format!("{HEAD}{WHOLE}, {}", &WHOLE[..40]).into_bytes(),
            events: vec![READ],
            warnings: vec![(W::Truncated, 1)],
        },
        Case {
            what: "text behind the end",
            name: "trace.json",
            bytes: format!("{HEAD}{WHOLE}]}}\n{HEAD}{WHOLE}]}}").into_bytes(),
            events: vec![READ],
            warnings: vec![(W::TrailingText, 1)],
        },
    ]
}

/// Device work that disagrees with its launches. Not damage of the text, but of the recording.
fn launches() -> Vec<Case> {
    use WarningKind as W;
    let launch = r#"{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1, "ts": 10, "dur": 2, "args": {"correlation": 7}}"#;
    let kernel = |ts: u32, correlation: u32| {
        format!(
            r#"{{"ph": "X", "cat": "kernel", "name": "gemm", "pid": 0, "tid": 7, "ts": {ts}, "dur": 3, "args": {{"correlation": {correlation}, "device": 0, "stream": 7}}}}"#
        )
    };
    let read = ("cudaLaunchKernel", 0, 2_000);
    vec![
        json(
            "a kernel whose launch is not in the file: launched before the recording",
            &format!("{launch}, {}, {}", kernel(15, 7), kernel(20, 6)),
            &[read, ("gemm", 5_000, 3_000), ("gemm", 10_000, 3_000)],
            &[(W::DeviceWorkWithoutLaunch, 1)],
        ),
        json(
            "a kernel that begins before its launch (kineto#1380)",
            &format!("{launch}, {}", kernel(8, 7)),
            &[("cudaLaunchKernel", 2_000, 2_000), ("gemm", 0, 3_000)],
            &[(W::DeviceWorkBeforeLaunch, 1)],
        ),
        json(
            "kernels of one stream that run at a time (PDL, janestreet/perfetto#35): both are kept",
            &format!("{launch}, {}, {}", kernel(15, 7), kernel(16, 7)),
            &[read, ("gemm", 5_000, 3_000), ("gemm", 6_000, 3_000)],
            &[],
        ),
    ]
}

/// Wrappers around a whole trace.
fn wrapped() -> Vec<Case> {
    use WarningKind as W;
    let whole = format!("{HEAD}{WHOLE}]}}").into_bytes();
    let case = |what, name, bytes, warnings: &[(WarningKind, u64)]| Case {
        what,
        name,
        bytes,
        events: vec![READ],
        warnings: warnings.to_vec(),
    };
    let mut sum = gzip(&whole);
    let end = sum.len() - 6;
    sum[end] ^= 0xFF;
    let note = ZipPart::new("README.txt", b"how this was recorded", Method::Deflate);
    let trace = || ZipPart::new("rank0.json", &whole, Method::Deflate);
    let encrypted = ZipPart { flags: 1, ..ZipPart::new("rank1.json", &whole, Method::Stored) };
    let archive = zip(&[trace()]);
    vec![
        case("a gzip file whose check sum is wrong", "trace.json.gz", sum, &[(W::GzipDamaged, 1)]),
        case("a zstd file in a gzip file", "trace.json.zst.gz", gzip(&zstd(&whole)), &[]),
        case("an archive that holds a note", "traces.zip", zip(&[note, trace()]), &[(W::EntrySkipped, 1)]),
        case(
            "an archive with an encrypted trace",
            "traces.zip",
            zip(&[trace(), encrypted]),
            &[(W::EntryUnreadable, 1)],
        ),
        case(
            "an archive without its directory",
            "traces.zip",
            archive[..archive.len() - 60].to_vec(),
            &[(W::ArchiveDamaged, 1)],
        ),
        case(
            "a tar file that is cut behind its first entry",
            "traces.tar",
            [&tar(&[TarPart::new("rank0.json", &whole)])[..1024], &[b'x'; 100]].concat(),
            &[(W::ArchiveDamaged, 1)],
        ),
    ]
}

/// A field of a protobuf message that is a number below 128.
fn number(field: u64, value: u8) -> Vec<u8> {
    // A key and a length; the key of a number ends in other bits.
    let mut bytes = claim(field, value.into());
    bytes[0] &= !7;
    bytes
}

fn message(field: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    [claim(field, content.len() as u64), content].concat()
}

fn text(field: u64, text: &str) -> Vec<u8> {
    [claim(field, text.len() as u64), text.as_bytes().to_vec()].concat()
}

/// Packets of Perfetto's format.
fn perfetto() -> Vec<Case> {
    use WarningKind as W;
    let packet = |time: u8, parts: &[Vec<u8>]| message(1, &[&[number(8, time), number(10, 1)], parts].concat());
    let track = || packet(0, &[number(13, 1), message(60, &[number(1, 9), text(2, "track")])]);
    let slice = |time: u8, kind: u8, parts: &[Vec<u8>]| {
        packet(time, &[message(11, &[&[number(9, kind), number(11, 9)], parts].concat())])
    };
    let whole = || [slice(10, 1, &[text(23, "whole")]), slice(20, 2, &[])].concat();
    let read = ("whole", 0, 10);
    let case = |what, parts: &[Vec<u8>], events: &[(&'static str, i64, i64)], warnings: &[(WarningKind, u64)]| Case {
        what,
        name: "trace.pftrace",
        bytes: parts.concat(),
        events: events.to_vec(),
        warnings: warnings.to_vec(),
    };
    let needs_state = |time: u8| packet(time, &[number(13, 2), message(11, &[number(9, 3), number(11, 9)])]);
    vec![
        case(
            "cut in the middle of a packet",
            &[track(), whole(), whole()[..9].to_vec()],
            &[read],
            &[(W::Truncated, 1)],
        ),
        case(
            "bytes between packets that are none",
            &[track(), b"\x00\xFF\xFFnot a packet".to_vec(), whole(), whole(), whole()],
            &[read, read, read],
            &[(W::MalformedPacket, 1)],
        ),
        case(
            "a packet whose event is broken",
            &[track(), packet(5, &[message(11, &[vec![0x48]])]), whole()],
            &[read],
            &[(W::MalformedPacket, 1)],
        ),
        case(
            "a length of 2^63 inside a packet",
            &[track(), packet(5, &[message(11, &[number(9, 3), claim(4, 1 << 63)])]), whole()],
            &[read],
            &[(W::MalformedPacket, 1)],
        ),
        case(
            "an end without a begin, and a begin without an end",
            &[track(), slice(5, 2, &[]), whole(), slice(30, 1, &[text(23, "open")]), slice(40, 3, &[text(23, "last")])],
            &[read, ("open", 20, 10), ("last", 30, 0)],
            &[(W::EndWithoutBegin, 1), (W::BeginWithoutEnd, 1)],
        ),
        case(
            "a name that was never told",
            &[track(), whole(), slice(30, 3, &[number(10, 77)])],
            &[read, ("iid 77", 20, 0)],
            &[(W::UnknownId, 1)],
        ),
        case(
            "lost packets, and one that needs what they told",
            &[track(), whole(), packet(25, &[number(42, 1)]), needs_state(30)],
            &[read],
            &[(W::PacketLost, 1), (W::StateLost, 1)],
        ),
        case(
            "an event on a track that nothing describes",
            &[track(), whole(), packet(30, &[message(11, &[number(9, 3), number(11, 8), text(23, "stray")])])],
            &[read, ("stray", 20, 0)],
            &[(W::UndeclaredTrack, 1)],
        ),
        case(
            "an event that belongs to no sequence",
            &[track(), whole(), message(1, &[number(8, 30), message(11, &[number(9, 3), number(11, 9)])])],
            &[read],
            &[(W::NoSequence, 1)],
        ),
        case(
            "an event without a time",
            &[track(), whole(), message(1, &[number(10, 1), message(11, &[number(9, 3), number(11, 9)])])],
            &[read],
            &[(W::NoTimestamp, 1)],
        ),
        case(
            "a clock that was never related to the others",
            &[track(), whole(), packet(30, &[number(58, 99), message(11, &[number(9, 3), number(11, 9)])])],
            &[read],
            &[(W::NoClock, 1)],
        ),
        case(
            "a value of a counter that nothing describes",
            &[track(), whole(), packet(30, &[message(11, &[number(9, 4), number(11, 8), number(30, 5)])])],
            &[read],
            &[(W::UndeclaredCounter, 1)],
        ),
    ]
}

/// Tables of Nsight Systems.
fn nsys() -> Vec<Case> {
    use WarningKind as W;
    let folder = tempfile::tempdir().unwrap();
    let case = |what, sql: &str, events: &[(&'static str, i64, i64)], warnings: &[(WarningKind, u64)]| {
        let path = folder.path().join("trace.sqlite");
        let _ = std::fs::remove_file(&path);
        sqlite_with(&path, sql).unwrap();
        Case {
            what,
            name: "trace.sqlite",
            bytes: std::fs::read(&path).unwrap(),
            events: events.to_vec(),
            warnings: warnings.to_vec(),
        }
    };
    let kernels = "create table CUPTI_ACTIVITY_KIND_KERNEL (start int, end int, deviceId int, contextId int, streamId int, correlationId int, globalPid int, demangledName int, shortName int); insert into StringIds values (1, 'gemm');";
    let row = "insert into CUPTI_ACTIVITY_KIND_KERNEL values";
    let lone = (W::DeviceWorkWithoutLaunch, 1);
    vec![
        case(
            "a kernel without a time",
            &format!("{kernels} {row} (5, 9, 0, 1, 7, 3, 0, 1, 1), (null, 9, 0, 1, 7, 4, 0, 1, 1)"),
            &[("gemm", 0, 4)],
            &[lone, (W::NoTimestamp, 1)],
        ),
        case(
            "a kernel that ends before it begins",
            &format!("{kernels} {row} (5, 3, 0, 1, 7, 3, 0, 1, 1)"),
            &[("gemm", 0, 0)],
            &[lone, (W::NegativeDuration, 1)],
        ),
        case(
            "a table that is a query",
            &format!("{kernels} {row} (5, 9, 0, 1, 7, 3, 0, 1, 1); create view NVTX_EVENTS as select 1 as start"),
            &[("gemm", 0, 4)],
            &[lone, (W::TableLeftOut, 1)],
        ),
    ]
}

/// Planes of XProf.
fn xplane() -> Vec<Case> {
    use WarningKind as W;
    let named = |field: u64, name: &str| message(field, &[number(1, 1), message(2, &[number(1, 1), text(2, name)])]);
    let plane = |line: Vec<u8>| message(1, &[text(2, "/host:CPU"), named(4, "op"), line]);
    let event = |at: u8| message(4, &[number(1, 1), number(2, at), number(3, 9)]);
    let line = |parts: &[Vec<u8>]| message(3, &[&[number(1, 5), text(2, "thread")], parts].concat());
    let whole = plane(line(&[event(0), event(100)]));
    let case = |what, bytes: Vec<u8>, events: usize, warnings: &[(WarningKind, u64)]| Case {
        what,
        name: "host.xplane.pb",
        bytes,
        events: vec![("op", 0, 0); events],
        warnings: warnings.to_vec(),
    };
    vec![
        case("cut in the middle of an event", whole[..whole.len() - 3].to_vec(), 1, &[(W::Truncated, 1)]),
        case("a length of 2^63 in a line", plane(line(&[event(0), claim(4, 1 << 63)])), 1, &[(W::MalformedEvent, 1)]),
        case(
            "an event of a type that nothing names",
            plane(line(&[event(0), message(4, &[number(1, 9)])])),
            2,
            &[(W::UnknownId, 1)],
        ),
    ]
}

/// Warnings by reason.
fn warnings(trace: &Trace) -> Vec<(WarningKind, u64)> {
    let mut found: Vec<_> = trace.warnings().sorted().iter().map(|warning| (warning.kind, warning.count)).collect();
    found.sort_by_key(|entry| entry.0.id());
    found
}

#[test]
fn each_file_is_read_as_far_as_it_goes_and_says_what_was_wrong() {
    let lists = [kineto(), launches(), wrapped(), perfetto(), nsys(), xplane()];
    let cases: Vec<Case> = lists.into_iter().flatten().collect();
    assert!(cases.len() > 50, "{}", cases.len());
    let mut failures = Vec::new();
    for mut case in cases {
        let what = format!("{}: {}", case.name, case.what);
        let trace = match open_bytes(case.name, case.bytes) {
            Ok(trace) => trace,
            Err(error) => {
                failures.push(format!("{what}\n  does not open: {error}"));
                continue;
            }
        };
        let first = trace.span().map_or(0, |span| span.start.nanos());
        let mut found: Vec<(&str, i64, i64)> = (0..trace.events().len() as u32)
            .map(|id| trace.event(gapless_trace::EventId(id)))
            .map(|event| (trace.text(event.name), event.start.nanos() - first, event.dur.nanos()))
            .collect();
        if case.name.ends_with(".xplane.pb") {
            // Their times are rounded from picoseconds, and names may be ids: the number of events is what is told.
            found = vec![("op", 0, 0); found.len()];
        }
        found.sort_unstable();
        case.events.sort_unstable();
        if found != case.events {
            failures.push(format!("{what}\n  events {found:?}\n  not    {:?}", case.events));
        }
        let found = warnings(&trace);
        case.warnings.sort_by_key(|entry| entry.0.id());
        if found != case.warnings {
            failures.push(format!("{what}\n  warnings {found:?}\n  not      {:?}", case.warnings));
        }
    }
    assert!(failures.is_empty(), "{} differences\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_synchronisation_of_the_context_is_no_work() {
    // Its stream is the largest number of 32 bits, and it lies over the kernels that it waits for.
    let text = format!(
        r#"{HEAD}{{"ph": "X", "cat": "cuda_sync", "name": "Context Sync", "pid": 0, "tid": 4294967295, "ts": 10, "dur": 5, "args": {{"device": 0, "stream": 4294967295}}}}]}}"#
    );
    let trace = open_bytes("trace.json", text.into_bytes()).unwrap();
    assert_eq!(trace.event(gapless_trace::EventId(0)).kind, EventKind::DeviceSync);
}
