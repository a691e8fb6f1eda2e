//! Files that are made to fill memory, time or disk: each ends in one clear error, soon, and in little memory. Each is
//! opened in a process of its own, whose peak of resident memory (mapped files counted) the kernel tells.
#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stderr)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gapless_tests::archive::{self, Method, TarPart, ZipPart, gzip, tar, zip, zstd};
use gapless_tests::hostile::{
    EVENT, Outcome, TWO_GIB, claim, compressed_string, hostile_schemas, nested, sqlite_with, write_hole,
};

/// Resident memory that a refusal may cost, in bytes.
const MOST_MEMORY: u64 = 200_000_000;
/// A test is no stopwatch: this only ends what would not end. `open_one` prints the seconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn open(paths: &[&Path], limits: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_open_one"));
    command.args(paths).args(limits.iter().map(|limit| format!("--limit={limit}")));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{} takes more than {PATIENCE:?}", paths[0].display());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
    assert!(status.success(), "{}: {status}", paths[0].display());
    serde_json::from_str(&text).unwrap()
}

/// Whether the kernel tells what a process costs.
fn can_measure() -> bool {
    let can = gapless_tests::measure::status_bytes("VmHWM").is_some();
    if !can {
        eprintln!("skipped: this system does not tell the memory of a process");
    }
    can
}

/// A file in a folder of its own.
struct Case {
    folder: tempfile::TempDir,
    path: PathBuf,
}

fn case(name: &str, write: impl FnOnce(&mut File)) -> Case {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    write(&mut File::create(&path).unwrap());
    Case { folder, path }
}

/// The file is refused with an error that says `says`, in little memory, and nothing is written beside it.
fn refused(name: &str, write: impl FnOnce(&mut File), says: &str) {
    let case = case(name, write);
    let outcome = open(&[&case.path], &[]);
    let error = outcome.error.as_ref().unwrap_or_else(|| panic!("{name} opens: {outcome:?}"));
    assert!(error.contains(says), "{name}: {error}");
    assert!(!error.contains('\n') && error.len() < 500 + name.len(), "{name}: {error}");
    cheap(name, &outcome);
    let left: Vec<_> = std::fs::read_dir(case.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [name], "nothing else is written");
}

fn cheap(name: &str, outcome: &Outcome) {
    let mega = outcome.peak_bytes / 1_000_000;
    eprintln!("{name}: {:.3} s, {mega} MB, {:?}", outcome.seconds, outcome.error);
    assert!(outcome.peak_bytes < MOST_MEMORY, "{name}: {mega} MB");
}

/// Text with a hole of `hole` bytes in the middle: zeros that take no room on the disk.
fn with_hole(before: &str, hole: u64, after: &str) -> impl FnOnce(&mut File) {
    move |file| write_hole(file, before, hole, after).unwrap()
}

fn bytes(bytes: Vec<u8>) -> impl FnOnce(&mut File) {
    move |file| file.write_all(&bytes).unwrap()
}

#[test]
fn a_string_of_two_gigabytes() {
    if !can_measure() {
        return;
    }
    let limit = "--limit string=";
    let head = r#"{"schemaVersion": 1, "traceEvents": ["#;
    let end = r#"", "ph": "X", "pid": 1, "tid": 1, "ts": 1, "dur": 1}]}"#;
    refused("name.json", with_hole(&format!(r#"{head}{EVENT}, {{"name": ""#), TWO_GIB, end), limit);
    refused("first.json", with_hole(&format!(r#"{head}{{"name": ""#), TWO_GIB, end), limit);
    refused("key.json", with_hole(&format!(r#"{head}{{""#), TWO_GIB, end), limit);
    let args = format!(r#"{head}{EVENT}, {{"ph": "X", "name": "b", "ts": 1, "dur": 1, "args": {{"text": ""#);
    refused("args.json", with_hole(&args, TWO_GIB, "\"}}]}"), limit);
    refused("list.json", with_hole(&format!("[{EVENT}, \""), TWO_GIB, "\"]"), limit);
    refused("number.json", with_hole(&format!(r#"{head}{EVENT}, {{"ts": "#), TWO_GIB, "1}]}"), limit);
    let header = format!(r#"{{"note": "{}"#, "\"traceEvents\": [".escape_default());
    refused("header.json", with_hole(&header, TWO_GIB, &format!(r#"", "traceEvents": [{EVENT}]}}"#)), limit);
    // Behind the events it costs only itself.
    let case = case("tail.json", with_hole(&format!(r#"{head}{EVENT}], "note": ""#), TWO_GIB, "\"}"));
    let outcome = open(&[&case.path], &[]);
    assert_eq!((outcome.events, outcome.warnings.len()), (Some(1), 1), "{outcome:?}");
    cheap("tail.json", &outcome);
}

#[test]
fn a_long_string_within_the_limit_opens() {
    let text = format!(r#"[{EVENT}, {{"ph": "X", "ts": 1, "name": "{}"}}, {EVENT}]"#, "x".repeat(30 << 20));
    for (name, content) in [("a.json", text.clone().into_bytes()), ("a.json.gz", gzip(text.as_bytes()))] {
        let case = case(name, bytes(content));
        assert_eq!(open(&[&case.path], &[]).events, Some(3), "{name}");
        let outcome = open(&[&case.path], &["string=5MiB"]);
        assert!(outcome.error.is_some_and(|error| error.contains("--limit string=")), "{name}");
    }
}

#[test]
fn bombs() {
    if !can_measure() {
        return;
    }
    let (string, string_zstd) = (compressed_string(true).unwrap(), compressed_string(false).unwrap());
    assert!(string.len() < 4 << 20 && string_zstd.len() < 1 << 20);
    refused("string.json.gz", bytes(string.clone()), "--limit");
    refused("string.json.zst", bytes(string_zstd), "--limit ratio=");
    refused("in.zip", bytes(zip(&[ZipPart::new("a.json.gz", &string, Method::Stored)])), "--limit");
    refused("in.tar", bytes(tar(&[TarPart::new("a.json.gz", &string)])), "--limit");
    // Blanks between events, which are no string.
    let blanks = gzip(format!("[{EVENT}, {}{EVENT}]", " ".repeat(200 << 20)).as_bytes());
    refused("blanks.json.gz", bytes(blanks), "--limit ratio=");
    // The same small event over and over: a trace that is nothing but its size.
    let event = EVENT.replace("\"dur\"", &format!("\"args\": {{\"text\": \"{}\"}}, \"dur\"", "s".repeat(4_000)));
    let events = gzip(format!("[{EVENT}{}]", format!(", {event}").repeat(60_000)).as_bytes());
    refused("events.json.gz", bytes(events), "--limit ratio=");
    let zeros = vec![0; 200 << 20];
    refused("zeros.gz", bytes(gzip(&zeros)), "");
    refused("zeros.zst", bytes(zstd(&zeros)), "");
    refused("zeros.zip", bytes(zip(&[ZipPart::new("a", &zeros, Method::Deflate)])), "no trace");
    refused("tar.gz", bytes(gzip(&tar(&[TarPart::new("a", &zeros)]))), "--limit ratio=");
    // Small inside small inside small.
    let mut nested = gzip(&zeros);
    for _ in 0..3 {
        nested =
            zip(&[ZipPart::new("a.zip", &nested.repeat(1), Method::Deflate), ZipPart::new("b", &nested, Method::Zstd)]);
    }
    refused("nested.zip", bytes(nested), "no trace");
    let mut deep = string;
    for _ in 0..100 {
        deep = gzip(&deep);
    }
    refused("deep.gz", bytes(deep), "--limit depth=");
    let part = ZipPart::new("a", &zeros[..64 << 20], Method::Deflate);
    refused("overlap.zip", bytes(archive::overlapping_zip(&part, 60_000)), "overlap");
    let entry = ZipPart::new("x", b"", Method::Stored);
    let many = zip(&vec![entry; 65_535]);
    let two = zip(&[ZipPart::new("a.zip", &many, Method::Deflate), ZipPart::new("b.zip", &many, Method::Deflate)]);
    refused("many.zip", bytes(two), "--limit entries=");
    // Each entry inflates to a megabyte that is looked at.
    let entry = ZipPart::new("x", &zeros[..1 << 20], Method::Deflate);
    refused("heads.zip", bytes(zip(&vec![entry; 120])), "--limit ratio=");
}

#[test]
fn ten_thousand_levels() {
    if !can_measure() {
        return;
    }
    for depth in [10_000, 1_000_000] {
        let open = ["[".repeat(depth), "]".repeat(depth)];
        let objects = ["{\"a\":".repeat(depth), "}".repeat(depth)];
        for (kind, [open, close]) in [("list", open), ("object", objects)] {
            let value = format!("{open}1{close}");
            let event = format!(r#"{{"ph": "X", "ts": 1, "dur": 1, "name": "deep", "args": {{"a": {value}}}}}"#);
            let limit = "--limit nesting=";
            for (what, text, says) in [
                ("args", format!(r#"{{"traceEvents": [{event}]}}"#), limit),
                ("unknown key", format!(r#"[{{"ph": "X", "x": {value}, "ts": 1}}]"#), limit),
                ("whole", value.clone(), ""),
                ("not closed", format!(r#"{{"traceEvents": [{{"ph": "X", "args": {{"a": {open}"#), ""),
            ] {
                let name = format!("{kind} {what} {depth}.json");
                if what == "not closed" {
                    // A cut file: the event is lost, as any that is cut.
                    let case = case(&name, bytes(text.into_bytes()));
                    let outcome = cheaply(&case.path, &name);
                    assert_eq!(outcome.warnings.len(), 1, "{outcome:?}");
                    continue;
                }
                refused(&name, bytes(text.clone().into_bytes()), says);
                refused(&format!("{name}.gz"), bytes(gzip(text.as_bytes())), says);
            }
            // Among others it costs only itself.
            let text = format!(r#"{{"deep": {value}, "traceEvents": [{EVENT}, {event}, {EVENT}], "more": {value}}}"#);
            let case = case("among.json", bytes(text.into_bytes()));
            let outcome = cheaply(&case.path, "among.json");
            assert_eq!(outcome.events, Some(2), "{outcome:?}");
            assert!(outcome.warnings.iter().any(|warning| warning.contains("--limit nesting")), "{outcome:?}");
            // With the limit raised, it is an event like others.
            let outcome = open_raised(&case.path);
            assert_eq!(outcome.events, Some(3), "{outcome:?}");
        }
    }
}

/// The file is refused, or what was lost in it is counted; either in little memory.
fn refused_or_counted(name: &str, write: impl FnOnce(&mut File)) -> Outcome {
    let case = case(name, write);
    let outcome = cheaply(&case.path, name);
    match &outcome.error {
        Some(error) => assert!(!error.contains('\n') && error.len() < 600 + name.len(), "{name}: {error}"),
        None => assert!(!outcome.warnings.is_empty(), "{name}: {outcome:?}"),
    }
    outcome
}

fn cheaply(path: &Path, name: &str) -> Outcome {
    let outcome = open(&[path], &[]);
    cheap(name, &outcome);
    outcome
}

fn open_raised(path: &Path) -> Outcome {
    open(&[path], &["nesting=2000000"])
}

#[test]
fn lengths_and_depths_of_protobuf() {
    if !can_measure() {
        return;
    }
    for length in [1 << 31, u64::from(u32::MAX), 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX] {
        // As a Perfetto trace, an XPlane and a Chakra trace; alone, and behind something that is whole.
        let whole = [claim(1, 4), vec![0x40, 5, 0x50, 1]].concat();
        let tail = vec![0; 100];
        for (name, bytes) in [
            ("a.pftrace", [claim(1, length), tail.clone()].concat()),
            ("b.pftrace", [whole, claim(1, length), tail.clone()].concat()),
            (
                "a.xplane.pb",
                [claim(1, 17), claim(2, 13), b"/host:CPU abcd".to_vec(), claim(3, length), tail.clone()].concat(),
            ),
            ("a.et", [claim(1, length)[1..].to_vec(), tail].concat()),
        ] {
            refused_or_counted(name, self::bytes(bytes));
        }
    }
    // Debug annotations (dictionaries 11, lists 12) in a track event in a packet.
    for depth in [10_000, 200_000] {
        let annotation = nested(&[11, 12], depth, &[0x20, 1]);
        let event = [&[0x48, 3, 0x58, 1][..], &claim(4, annotation.len() as u64), &annotation].concat();
        let packet = [&[0x40, 9, 0x50, 1][..], &claim(11, event.len() as u64), &event].concat();
        let trace = [claim(1, packet.len() as u64), packet].concat();
        refused_or_counted("annotations.pftrace", bytes(trace.repeat(3)));
        refused_or_counted("messages.pftrace", bytes(nested(&[1], depth, &[])));
        refused_or_counted("messages.xplane.pb", bytes(nested(&[1, 3, 4], depth, &[])));
    }
}

#[test]
fn a_schema_that_would_run_forever() {
    if !can_measure() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, sql) in hostile_schemas() {
        let path = folder.path().join(format!("{name}.sqlite"));
        sqlite_with(&path, &sql).unwrap();
        let outcome = cheaply(&path, name);
        assert!(outcome.error.is_some() || !outcome.warnings.is_empty(), "{name}: {outcome:?}");
    }
}

#[test]
fn pickles_that_grow_or_run() {
    if !can_measure() {
        return;
    }
    // A list of the list before, twice, a hundred times: 2^100 numbers for who copies them.
    let mut laughs = b"\x80\x02](K\x01K\x01eq\x00".to_vec();
    for level in 1..100_u8 {
        laughs.extend([b'0', b']', b'(', b'h', level - 1, b'h', level - 1, b'e', b'q', level]);
    }
    laughs.push(b'.');
    refused_or_counted("laughs", bytes(laughs));
    refused(
        "system",
        bytes(b"\x80\x02cos\nsystem\nq\x00X\x0a\x00\x00\x00touch /tmpq\x01\x85q\x02Rq\x03.".to_vec()),
        "",
    );
    refused("old", bytes(b"(S'record_id'\nios\nsystem\n.".to_vec()), "");
    let deep = [&b"\x80\x02"[..], &b"](".repeat(1_000_000), &b"e".repeat(1_000_000), b"."].concat();
    refused("deep", bytes(deep), "");
    // A text that claims to be as long as memory.
    refused("long", bytes([&b"\x80\x04\x8d"[..], &(1_u64 << 63).to_le_bytes(), b"x."].concat()), "");
    refused("text", with_hole("\u{80}", 0, ""), "");
}

#[test]
fn two_gigabytes_and_ten_thousand_levels_of_other_json() {
    if !can_measure() {
        return;
    }
    let heads = [
        (
            "flight.json",
            r#"{"version": "2.9", "pg_config": {}, "pg_status": {}, "entries": [{"record_id": 1, "profiling_name": "#,
        ),
        ("et.json", r#"{"schema": "1.1.1", "pid": 1, "nodes": [{"id": 1, "name": "#),
        (
            "inspector.log",
            r#"{"header": {"id": "a", "rank": 0, "n_ranks": 1}, "metadata": {"pid": 1}, "coll_perf": {"coll": "#,
        ),
        ("rocprof.json", r#"{"rocprofiler-sdk-tool": [{"metadata": {"pid": 1, "name": "#),
        ("chakra.json", r#"{"workload_graph": [{"Id": 1, "Name": "#),
    ];
    for (name, head) in heads {
        refused_or_counted(&format!("string {name}"), with_hole(&format!("{head}\""), TWO_GIB, "\"}]}"));
        for depth in [10_000, 1_000_000] {
            let text = format!("{head}{}{}}}]}}", "[".repeat(depth), "]".repeat(depth));
            refused_or_counted(&format!("deep {name}"), bytes(text.into_bytes()));
            let objects = format!("{head}{}1{}}}]}}", "{\"a\":".repeat(depth), "}".repeat(depth));
            refused_or_counted(&format!("deep objects {name}"), bytes(objects.into_bytes()));
        }
    }
    refused_or_counted("line.folded", with_hole("main;a 1\nmain;", TWO_GIB, " 5\n"));
    refused_or_counted("line.perf", with_hole("python 77 [000] 1.0: 1 cycles: \n\t 4f1 ", TWO_GIB, " (a)\n\n"));
}
