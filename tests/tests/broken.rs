//! Damaged traces: every event that is whole is kept, what is lost is counted with its place, and nothing panics.
#![allow(clippy::panic)]

use gapless_formats::OpenError;
use gapless_tests::broken::{self, Document};
use gapless_tests::open::open_bytes;
use gapless_tests::oracle::{Slice, model_slices};
use gapless_tests::synth::{Config, Era, Layout, Workload, texts};
use gapless_trace::{Severity, Trace, WarningKind};

/// A small trace with everything in it.
fn base(era: Era) -> Vec<u8> {
    let config = Config { layers: 2, era, graphs: true, ..Config::new(Workload::DataParallel, 1, 1) };
    texts(&config).expect("generates").0.remove(0)
}

fn lost_reasons(trace: &Trace) -> Vec<(WarningKind, u64)> {
    let sorted = trace.warnings().sorted();
    let lost = sorted.iter().filter(|warning| warning.kind.severity() == Severity::Lost);
    lost.map(|warning| (warning.kind, warning.count)).collect()
}

/// The first difference, so that a failure can be read.
fn difference(expected: &[Slice], found: &[Slice]) -> String {
    let missing: Vec<_> = expected.iter().filter(|slice| !found.contains(slice)).take(3).collect();
    let extra: Vec<_> = found.iter().filter(|slice| !expected.contains(slice)).take(3).collect();
    format!("{} expected, {} found; missing {missing:?}; extra {extra:?}", expected.len(), found.len())
}

#[test]
fn each_damage_costs_only_the_event_that_has_it() {
    let mut failures = Vec::new();
    for era in [Era::Relative, Era::FractionalMicros] {
        let text = base(era);
        assert!(open_bytes("rank0.json", text.clone()).expect("opens").warnings().lost() == 0);
        let cases = broken::cases(&text);
        assert!(cases.len() > 80, "only {} cases", cases.len());
        for case in cases {
            let mut fail = |why: String| failures.push(format!("{era:?}, {}: {why}", case.what));
            let trace = match open_bytes("rank0.json", case.bytes.clone()) {
                Ok(trace) => trace,
                Err(error) => {
                    fail(format!("does not open: {error}"));
                    continue;
                }
            };
            let found = model_slices(&trace);
            if found != case.slices {
                fail(difference(&case.slices, &found));
            }
            for report in &case.reports {
                let count = trace.warnings().count(report.kind);
                if count != report.count {
                    fail(format!("{} reported {count} times, not {}", report.kind.id(), report.count));
                    continue;
                }
                let sorted = trace.warnings().sorted();
                let first = sorted
                    .iter()
                    .find(|warning| warning.kind == report.kind)
                    .and_then(|warning| warning.offsets.first());
                let Some((from, to)) = report.within else { continue };
                if !first.is_some_and(|&offset| (from..=to).contains(&offset)) {
                    fail(format!("{} is reported at {first:?}, not within {from}..{to}", report.kind.id()));
                }
            }
            let told: u64 = case.reports.iter().filter(|r| r.kind.severity() == Severity::Lost).map(|r| r.count).sum();
            let lost = lost_reasons(&trace);
            let sum: u64 = lost.iter().map(|entry| entry.1).sum();
            if (case.has_stray_text && sum == 0) || (!case.has_stray_text && sum != told) {
                fail(format!("told to be lost: {lost:?}, expected {told}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_truncation_keeps_every_whole_event() {
    let config =
        Config { layers: 1, python: false, layout: Layout::Kineto, ..Config::new(Workload::DataParallel, 1, 1) };
    let text = texts(&config).expect("generates").0.remove(0);
    let document = Document::split(&text).expect("splits");
    let slices = document.slices().expect("valid");
    let (text, places) = document.render();
    let close = text.len() - document.tail.len();
    let head = document.head.len();
    for cut in 0..=text.len() {
        let whole = places.partition_point(|place| place.1 as usize <= cut);
        let mut expected: Vec<Slice> = slices[..whole].iter().flatten().cloned().collect();
        expected.sort_unstable();
        let trace = match open_bytes("rank0.json", text[..cut].to_vec()) {
            Ok(trace) => trace,
            Err(error) => {
                // Before the first event there is nothing to keep, and no format to know.
                assert!(whole == 0 && cut <= head + 4, "cut at {cut}: {error}");
                continue;
            }
        };
        let found = model_slices(&trace);
        assert!(found == expected, "cut at {cut}: {}", difference(&expected, &found));
        let inside = places.get(whole).is_some_and(|place| (place.0 as usize) < cut);
        assert_eq!(trace.warnings().count(WarningKind::Truncated), u64::from(inside), "cut at {cut}");
        if inside {
            let sorted = trace.warnings().sorted();
            let warning = sorted.iter().find(|warning| warning.kind == WarningKind::Truncated).expect("is reported");
            let offset = *warning.offsets.first().expect("has a place");
            assert!((places[whole].0..=cut as u64).contains(&offset), "cut at {cut}: reported at {offset}");
        }
        let closed = cut > close;
        assert!(closed || whole == 0 || inside || trace.warnings().count(WarningKind::MissingEnd) == 1, "cut at {cut}");
        assert_eq!(trace.sources()[0].file_events, whole as u64, "cut at {cut}");
    }
}

#[test]
fn a_cut_gzip_file_keeps_what_came_before() {
    use std::io::Write;
    let text = base(Era::Relative);
    let document = Document::split(&text).expect("splits");
    let slices = document.slices().expect("valid");
    let (text, _) = document.render();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(&text).expect("compresses");
    let packed = encoder.finish().expect("compresses");
    let mut all: Vec<Slice> = slices.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(model_slices(&open_bytes("rank0.json.gz", packed.clone()).expect("opens")), all);
    let mut kept_any = false;
    for cut in (20..packed.len()).step_by(97).chain(packed.len() - 9..packed.len()) {
        let Ok(trace) = open_bytes("rank0.json.gz", packed[..cut].to_vec()) else { continue };
        assert_eq!(trace.warnings().count(WarningKind::GzipDamaged), 1, "cut at {cut}");
        let found = model_slices(&trace);
        assert!(found.iter().all(|slice| all.binary_search(slice).is_ok()), "cut at {cut} invents a slice");
        kept_any |= !found.is_empty();
        // A file that lacks only its check sum has all events.
        if cut >= packed.len() - 8 {
            assert_eq!(found, all, "cut at {cut}");
        }
    }
    assert!(kept_any);
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    if let Ok(trace) = open_bytes("rank0.json.gz", flipped) {
        assert!(trace.warnings().lost() > 0, "a damaged file must say so");
    }
    // Two members one after the other are one file.
    let (one, two) = text.split_at(text.len() / 2);
    let mut members = Vec::new();
    for part in [one, two] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
        encoder.write_all(part).expect("compresses");
        members.extend(encoder.finish().expect("compresses"));
    }
    assert_eq!(model_slices(&open_bytes("rank0.json.gz", members).expect("opens")), all);
}

#[test]
fn a_file_that_is_no_trace_is_one_clear_error() {
    let files: [(&str, &[u8]); 9] = [
        // A list may be a trace, but an empty one could be anything.
        ("list.json", b"[]"),
        ("empty.json", b""),
        ("blank.json", b" \n\t "),
        ("text.json", b"hello, this is no trace"),
        ("image.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("number.json", b"42"),
        ("other.json", b"{\"a\": 1, \"b\": [1, 2, 3]}"),
        ("half.gz", &[0x1f, 0x8b, 8, 0, 0]),
        ("noise.gz", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xff, 0xff, 0xff]),
    ];
    for (name, bytes) in files {
        match open_bytes(name, bytes.to_vec()) {
            Err(OpenError::Format { reason, .. }) => assert!(!reason.is_empty(), "{name}"),
            Err(OpenError::Io { .. }) if name.ends_with("gz") => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    for empty in ["{\"traceEvents\": []}", "{\"traceEvents\":[]"] {
        let trace = open_bytes("rank0.json", empty.into()).expect("an empty trace is a trace");
        assert!(trace.events().is_empty() && trace.span().is_none(), "{empty}");
    }
}

#[test]
fn white_space_does_not_matter() {
    for era in [Era::Legacy, Era::IntegerMicros, Era::FractionalMicros, Era::Relative] {
        let config = Config { layers: 2, era, ..Config::new(Workload::Recommendation, 1, 1) };
        let open = |layout| {
            let text = texts(&Config { layout, ..config.clone() }).expect("generates").0.remove(0);
            let trace = open_bytes("rank0.json", text.clone()).expect("opens");
            (model_slices(&trace), trace.launches().len(), trace.flows().len(), trace.tracks().len())
        };
        let kineto = open(Layout::Kineto);
        for layout in [Layout::Pretty, Layout::Compact, Layout::Crlf] {
            assert!(open(layout) == kineto, "{era:?} {layout:?}");
        }
    }
}

/// A file of many pieces that are parsed in parallel, in which every event looks like several: wherever it is cut,
/// the cut may fall into text that looks like the beginning of an event.
#[test]
fn pieces_are_never_cut_inside_an_event() {
    use std::fmt::Write;
    let fake = r#"{"ph": "X", "cat": "cpu_op", "name": "fake", "pid": 1, "tid": 1, "ts": 1, "dur": 1}"#;
    let quoted = fake.replace('"', "\\\"");
    let mut text = String::from("{\"schemaVersion\": 1, \"traceEvents\": [\n");
    let mut count = 0_u64;
    while text.len() < 40_000_000 {
        if count > 0 {
            text.push_str(",\n  ");
        }
        let fakes = format!(",\n  {fake}").repeat(count as usize % 40);
        let texts = format!("}},\n  {quoted}").replace('\n', "\\n").repeat(count as usize % 30);
        write!(
            text,
            r#"{{"ph": "X", "name": "event {}", "pid": 1, "tid": {}, "ts": {count}.5, "dur": 0.25, "args": {{"list": [{fake}{fakes}], "text": "{texts}"}}}}"#,
            count % 100,
            count % 3
        )
        .expect("writes");
        count += 1;
    }
    text.push_str("\n]}");
    let mut expected: Vec<Slice> =
        (0..count as i64).map(|number| (number * 1_000 + 500, 250, format!("event {}", number % 100))).collect();
    expected.sort_unstable();
    for cut_end in [false, true] {
        let bytes = text.as_bytes()[..text.len() - if cut_end { 40 } else { 0 }].to_vec();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
        std::io::Write::write_all(&mut packed, &bytes).expect("compresses");
        for bytes in [bytes, packed.finish().expect("compresses")] {
            let trace = open_bytes("trace.json", bytes).expect("opens");
            let kept = expected.len() - usize::from(cut_end);
            assert!(model_slices(&trace) == expected[..kept], "{:?}", trace.warnings().sorted());
            assert_eq!(trace.warnings().lost(), u64::from(cut_end), "{:?}", trace.warnings().sorted());
        }
    }
}
