//! Profiles for Firefox and speedscope, decoded again here and held against sums over the trace.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gapless_formats::profile::{self, ProfileFormat, ProfileOptions, Selection};
use gapless_formats::{OpenOptions, Silent, open, open_bytes};
use gapless_trace::{EventId, RankId, Span, Timestamp, Trace, TrackKind};
use serde_json::Value;

/// Self time by thread and name, in the unit of the file.
type SelfTimes = BTreeMap<(String, String), i64>;

fn open_text(text: &str) -> Trace {
    open_bytes("test.json", text.as_bytes().to_vec(), &OpenOptions::default()).unwrap()
}

const SPEEDSCOPE: ProfileOptions = ProfileOptions { format: ProfileFormat::Speedscope, gzip: false };
const FIREFOX: ProfileOptions = ProfileOptions { format: ProfileFormat::Firefox, gzip: false };

fn written(trace: &Trace, selection: &Selection, options: &ProfileOptions) -> Value {
    let mut out = Vec::new();
    profile::write(trace, selection, &mut out, options, &Silent).unwrap();
    serde_json::from_slice(&out).unwrap()
}

fn written_speedscope(trace: &Trace, selection: &Selection) -> Value {
    written(trace, selection, &SPEEDSCOPE)
}

fn written_firefox(trace: &Trace, selection: &Selection) -> Value {
    written(trace, selection, &FIREFOX)
}

/// Self time in ns of what the trace holds, straight from the model: what an event takes less what its children take.
fn of_trace(trace: &Trace, span: Span) -> SelfTimes {
    let mut sums = SelfTimes::new();
    let inside = |id: EventId| {
        let event = trace.event(id);
        let (start, end) = (event.start.max(span.start), event.end().min(span.end));
        (end.nanos() - start.nanos()).max(0)
    };
    for (id, track) in trace.track_ids() {
        let is_stack = matches!(track.kind, TrackKind::Thread | TrackKind::Stream | TrackKind::StreamAnnotations);
        if !is_stack {
            continue;
        }
        for event in track.event_ids() {
            let lane = trace.row_of(event).unwrap().1.lane;
            let label = trace.track_label(id);
            let name = if lane == 0 { label } else { format!("{label} (lane {})", lane + 1) };
            let children: i64 = trace.children(event).map(|child| inside(EventId(child as u32))).sum();
            *sums.entry((name, trace.name(event).to_owned())).or_default() += inside(event) - children;
        }
    }
    sums.retain(|_, sum| *sum > 0);
    sums
}

/// The same from a speedscope file, by opening and closing frames.
fn of_speedscope(file: &Value) -> SelfTimes {
    let names: Vec<&str> =
        file["shared"]["frames"].as_array().unwrap().iter().map(|frame| frame["name"].as_str().unwrap()).collect();
    let mut sums = SelfTimes::new();
    for profile in file["profiles"].as_array().unwrap() {
        assert_eq!(profile["type"], "evented");
        let thread = profile["name"].as_str().unwrap().rsplit(" · ").next().unwrap().to_owned();
        let thread = match profile["name"].as_str().unwrap().contains("· annotations") {
            true => profile["name"]
                .as_str()
                .unwrap()
                .rsplit(" · ")
                .take(2)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join(" · "),
            false => thread,
        };
        let mut open: Vec<usize> = Vec::new();
        let mut last = 0;
        for event in profile["events"].as_array().unwrap() {
            let (at, frame) = (event["at"].as_i64().unwrap(), event["frame"].as_u64().unwrap() as usize);
            assert!(at >= last, "times never go back");
            if let Some(&top) = open.last() {
                *sums.entry((thread.clone(), names[top].to_owned())).or_default() += at - last;
            }
            last = at;
            match event["type"].as_str().unwrap() {
                "O" => open.push(frame),
                _ => assert_eq!(open.pop(), Some(frame), "what closes is what opened last"),
            }
        }
        assert!(open.is_empty());
        assert!(profile["endValue"].as_i64().unwrap() >= last);
    }
    sums.retain(|_, sum| *sum > 0);
    sums
}

/// Self time in µs of a Firefox profile, by walking its tables.
fn of_firefox(file: &Value) -> SelfTimes {
    let mut sums = SelfTimes::new();
    for thread in file["threads"].as_array().unwrap() {
        let strings = thread["stringArray"].as_array().unwrap();
        let index = |value: &Value| value.as_u64().unwrap() as usize;
        let samples = &thread["samples"];
        let stacks = samples["stack"].as_array().unwrap();
        let weights = samples["weight"].as_array().unwrap();
        assert_eq!(samples["weightType"], "samples");
        assert_eq!(stacks.len(), weights.len());
        for (stack, weight) in stacks.iter().zip(weights).filter(|sample| !sample.0.is_null()) {
            let frame = index(&thread["stackTable"]["frame"][index(stack)]);
            let func = index(&thread["frameTable"]["func"][frame]);
            let name = strings[index(&thread["funcTable"]["name"][func])].as_str().unwrap();
            let key = (thread["name"].as_str().unwrap().to_owned(), name.to_owned());
            *sums.entry(key).or_default() += weight.as_i64().unwrap();
        }
    }
    sums
}

const HAND_MADE: &str = r#"{"schemaVersion": 1, "distributedInfo": {"rank": 2, "world_size": 4}, "baseTimeNanoseconds": 1000000000,
"traceEvents": [
{"ph": "M", "name": "thread_name", "pid": 9, "tid": 9, "args": {"name": "main"}},
{"ph": "X", "cat": "user_annotation", "name": "ProfilerStep#1", "pid": 9, "tid": 9, "ts": 0, "dur": 1000},
{"ph": "X", "cat": "python_function", "name": "train \"step\"", "pid": 9, "tid": 9, "ts": 100, "dur": 600},
{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 9, "tid": 9, "ts": 200, "dur": 100.5},
{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 9, "tid": 9, "ts": 400, "dur": 200},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 9, "tid": 9, "ts": 410, "dur": 0.4},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 9, "tid": 9, "ts": 420, "dur": 0.4},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 9, "tid": 9, "ts": 430, "dur": 0.4},
{"ph": "X", "cat": "kernel", "name": "gemm", "pid": 0, "tid": 7, "ts": 450, "dur": 100},
{"ph": "X", "cat": "kernel", "name": "overlaps", "pid": 0, "tid": 7, "ts": 500, "dur": 100},
{"ph": "i", "s": "t", "name": "mark", "pid": 9, "tid": 9, "ts": 31}
]}"#;

fn key(thread: &str, name: &str) -> (String, String) {
    (thread.to_owned(), name.to_owned())
}

#[test]
fn nested_events_give_the_self_times_that_one_counts_by_hand() {
    let trace = open_text(HAND_MADE);
    let expected = SelfTimes::from([
        (key("main", "ProfilerStep#1"), 400_000),
        (key("main", "train \"step\""), 299_500),
        (key("main", "aten::mm"), 299_300),
        (key("main", "cudaLaunchKernel"), 1_200),
        (key("stream 7", "gemm"), 100_000),
        (key("stream 7 (lane 2)", "overlaps"), 100_000),
    ]);
    assert_eq!(of_trace(&trace, trace.span().unwrap()), expected);
    let selection = Selection::default();
    assert_eq!(of_speedscope(&written_speedscope(&trace, &selection)), expected);
    let file = written_firefox(&trace, &selection);
    let got = of_firefox(&file);
    assert_eq!(got[&key("main", "ProfilerStep#1")], 400);
    // What is shorter than a microsecond is added up along the thread.
    assert_eq!(got.iter().filter(|entry| entry.0.0 == "main").map(|entry| entry.1).sum::<i64>(), 1_000);
    assert_eq!(file["meta"]["interval"].as_f64(), Some(0.001));
    assert_eq!(file["meta"]["startTime"].as_f64(), Some(1_000.0));
    let threads = file["threads"].as_array().unwrap();
    let main = threads.iter().find(|thread| thread["name"] == "main").unwrap();
    assert_eq!(main["processName"].as_str(), Some("Rank 2 · process 9"));
    assert_eq!(main["markers"]["length"].as_u64(), Some(1));
    assert_eq!(main["markers"]["endTime"][0].as_f64(), Some(1.0));
    let mut names: Vec<_> = threads.iter().map(|thread| thread["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["main", "stream 7", "stream 7 (lane 2)"]);
}

#[test]
fn a_selection_cuts_time_and_leaves_out_tracks() {
    let trace = open_text(HAND_MADE);
    let base = 1_000_000_000;
    let span = Span { start: Timestamp(base + 250_000), end: Timestamp(base + 520_000) };
    let (stream, _) = trace.track_ids().find(|(_, track)| track.kind == TrackKind::Stream).unwrap();
    let by_span = Selection { span: Some(span), tracks: None };
    assert_eq!(of_speedscope(&written_speedscope(&trace, &by_span)), of_trace(&trace, span));
    let both = Selection { span: Some(span), tracks: Some(vec![stream]) };
    let expected = SelfTimes::from([(key("stream 7", "gemm"), 70), (key("stream 7 (lane 2)", "overlaps"), 20)]);
    assert_eq!(of_firefox(&written_firefox(&trace, &both)), expected);
    assert_eq!(Selection::of_ranks(&trace, &[RankId(0)]).tracks.unwrap().len(), trace.tracks().len());

    let nothing = Selection { span: None, tracks: Some(Vec::new()) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("profile.json.gz");
    let error = profile::write_file(&trace, &nothing, &path, &FIREFOX, &Silent).unwrap_err();
    assert!(error.to_string().contains("no event of the selection has a stack"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    profile::write_file(&trace, &both, &path, &SPEEDSCOPE, &Silent).unwrap();
    assert_eq!(std::fs::read(&path).unwrap().get(..2).unwrap(), [0x1F, 0x8B]);
}

#[test]
fn sampled_stacks_are_written_with_their_weights() {
    let text = "main 7/7 [000] 1.000000: 250000 cpu-clock:\n\t 1 inner+0x1 (/lib/a.so)\n\t 2 outer+0x2 (/bin/x)\n\n\
                main 7/7 [000] 1.000250: 250000 cpu-clock:\n\t 2 outer+0x2 (/bin/x)\n\n\
                main 7/8 [001] 1.000300: 7 cycles:\n\t 3 other+0x2 (/bin/x)\n\n\
                main 7/8 [001] 1.000400: 9 cycles:\n\t 3 other+0x2 (/bin/x)\n\n";
    let trace = open_text(text);
    let file = written_speedscope(&trace, &Selection::default());
    let frames = file["shared"]["frames"].as_array().unwrap();
    let profiles = file["profiles"].as_array().unwrap();
    assert_eq!(profiles.len(), 2);
    let stacks = |profile: &Value| -> Vec<Vec<String>> {
        let name = |frame: &Value| frames[frame.as_u64().unwrap() as usize]["name"].as_str().unwrap().to_owned();
        let samples = profile["samples"].as_array().unwrap();
        samples.iter().map(|stack| stack.as_array().unwrap().iter().map(name).collect()).collect()
    };
    assert_eq!(stacks(&profiles[0]), [vec!["outer", "inner"], vec!["outer"]]);
    assert_eq!(profiles[0]["weights"], serde_json::json!([250_000, 250_000]));
    assert_eq!((profiles[0]["unit"].as_str(), profiles[0]["endValue"].as_u64()), (Some("nanoseconds"), Some(500_000)));
    assert_eq!(profiles[1]["weights"], serde_json::json!([7, 9]));
    assert_eq!(profiles[1]["unit"], "none");
    assert_eq!(frames[0]["file"], "/lib/a.so");

    let got = of_firefox(&written_firefox(&trace, &Selection::default()));
    let expected = SelfTimes::from([
        (key("main · samples", "inner"), 1),
        (key("main · samples", "outer"), 1),
        (key("main · samples", "other"), 16),
    ]);
    assert_eq!(got, expected);
}

fn real_traces() -> Vec<PathBuf> {
    let root = std::env::var_os("GAPLESS_TRACES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let wanted = [
        "pytorch-cpu-gloo/with-python-stack.pt.trace.json.gz",
        "hta/diff-test-v100-cudagraphs.json.gz",
        "dlrm-8xV100/worker0.pt.trace.json.gz",
    ];
    wanted.iter().map(|name| root.join("traces").join(name)).filter(|path| path.exists()).collect()
}

#[test]
fn real_traces_give_the_self_times_of_the_model() {
    let paths = real_traces();
    if paths.is_empty() {
        eprintln!("skipped: no real traces; set GAPLESS_TRACES to the folder that holds traces/");
    }
    for path in paths {
        let trace = open(std::slice::from_ref(&path), &OpenOptions::default(), &Silent).unwrap();
        let span = trace.span().unwrap();
        let expected = of_trace(&trace, span);
        let got = of_speedscope(&written_speedscope(&trace, &Selection::default()));
        let differs = expected.iter().find(|(key, sum)| got.get(*key) != Some(*sum));
        assert_eq!((differs, got.len()), (None, expected.len()), "{}", path.display());
        // A microsecond is the unit, and what is left of one is carried over: a thread's sum is right to one.
        let by_thread = |times: &SelfTimes| {
            let mut sums: BTreeMap<String, i64> = BTreeMap::new();
            for ((thread, _), time) in times {
                *sums.entry(thread.clone()).or_default() += time;
            }
            sums
        };
        let micros = by_thread(&of_firefox(&written_firefox(&trace, &Selection::default())));
        for (thread, nanos) in by_thread(&expected) {
            let micros = micros.get(&thread).copied().unwrap_or(0);
            assert!((nanos / 1_000 - micros).abs() <= 1, "{thread}: {nanos} ns, {micros} µs in {}", path.display());
        }
    }
}
