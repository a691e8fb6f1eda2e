//! The NCCL plugin: played to by a C program as NCCL does, through NCCL's own adapters of older interfaces, and its
//! layouts held against those that NCCL was compiled with.
//!
//! `tests/nccl/setup.sh` fetches NCCL's library; what is missing is said in one line and skipped.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Segment, assert_lines, expect_success, image};
use gapless_inject::nccl::layout::{LAYOUTS, Layout};
use gapless_ring::layout::SOURCE_NCCL;

/// The C program; `None`, with a line, where there is no compiler.
fn driver(folder: &Path) -> Option<PathBuf> {
    common::compile(folder, "../../../../tests/nccl/driver.c", "driver", &["-Wextra", "-ldl"])
}

/// NCCL's library; `None`, with a line, where it was not fetched.
fn nccl() -> Option<PathBuf> {
    let target = image().ancestors().find(|folder| folder.join("nccl/version").is_file()).map(Path::to_path_buf);
    if target.is_none() {
        eprintln!("skipped: NCCL's library is not there; tests/nccl/setup.sh fetches it");
    }
    target.map(|target| target.join("nccl/nvidia/nccl/lib/libnccl.so.2"))
}

fn play(driver: &Path, rings: &Path, words: &[&str], wanted: &str) -> Output {
    let (version, rest) = words.split_first().unwrap();
    let output = Command::new(driver)
        .arg(image())
        .args([version, "0", "2"])
        .args(rest)
        .env("GAPLESS_RINGS", rings)
        .env("GAPLESS_NCCL", wanted)
        .output()
        .unwrap();
    expect_success(&output);
    output
}

/// Plays a scenario and gives what its processes recorded.
fn recorded(words: &[&str], wanted: &str) -> Option<Vec<Segment>> {
    let folder = tempfile::tempdir().unwrap();
    let rings = folder.path().join("rings");
    std::fs::create_dir(&rings).unwrap();
    play(&driver(folder.path())?, &rings, words, wanted);
    let segments = common::read(&rings);
    for segment in &segments {
        assert_eq!(segment.lost, 0);
        assert_eq!(segment.sources & SOURCE_NCCL, SOURCE_NCCL);
    }
    Some(segments)
}

/// A record with the facts that follow it.
#[derive(Debug)]
struct Event {
    /// `kind name #id …`
    head: String,
    facts: BTreeMap<String, String>,
}

impl Event {
    fn number(&self, key: &str) -> u64 {
        let text = self.facts.get(key).unwrap_or_else(|| panic!("no {key} in {self:?}"));
        text.trim_end_matches(['u', 'i']).parse().unwrap()
    }

    fn has(&self, key: &str) -> bool {
        self.facts.contains_key(key)
    }

    /// Id of the range.
    fn id(&self) -> &str {
        self.head.split(' ').find(|word| word.starts_with('#')).unwrap()
    }
}

fn events(segment: &Segment, thread: usize) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for line in &segment.threads[thread] {
        match line.strip_prefix("  ").and_then(|fact| fact.split_once(" = ")) {
            Some((key, value)) => {
                let event = all.last_mut().expect("facts follow a record");
                assert!(event.facts.insert(key.to_owned(), value.to_owned()).is_none(), "{key} twice: {event:?}");
            }
            None => all.push(Event { head: line.clone(), facts: BTreeMap::new() }),
        }
    }
    all
}

fn named<'a>(events: &'a [Event], head: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.head.starts_with(head)).collect()
}

/// A thread's lines, without what differs from run to run.
fn lines(segment: &Segment, thread: usize) -> Vec<String> {
    segment.threads[thread].iter().filter(|line| !line.starts_with("  thread = ")).cloned().collect()
}

#[test]
fn calls_and_collectives_of_a_step() {
    let Some(segments) = recorded(&["7", "job"], "") else { return };
    let [process] = segments.as_slice() else { panic!("one process") };
    let info: Vec<(&str, &str)> = process.info.iter().map(|(_, key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(info[0], ("nccl:plugin", "version 7 of the profiler interface"));
    assert_eq!(info[1].0, "nccl:communicator:1");
    let group = "data parallel #1234567890abcdef";
    let hash = "1234567890abcdef";
    assert_eq!(info[1].1, format!("{{\"group\":\"{group}\",\"hash\":\"{hash}\",\"rank\":0,\"size\":2,\"nodes\":1}}"));
    let all = lines(process, 0);
    let members = "members 829f9b97";
    assert_lines(
        &all[..24],
        &format!(
            r#"
start ncclGroup #1 @NCCL groups Communication
  nccl_id = 1u
  communicator = 1u
  depth = 1i
commpush ncclAllReduce comm 1 rank 0/2 1048576 x Float32 = 4194304 B peer -1 sequence -1 {members} @NCCL [{group}]
  nccl_id = 2u
  nccl_parent = 1u
  stream_handle = 20480u
pop @NCCL
push NCCL kernel launch @NCCL Communication
  nccl_id = 3u
  nccl_parent = 1u
  communicator = 1u
  stream_handle = 20480u
pop @NCCL
commstart AllReduce #2 comm 1 rank 0/2 1048576 x Float32 = 4194304 B peer -1 sequence 0 {members} @NCCL {group} [{group}]
  nccl_id = 4u
  nccl_parent = 2u
  nccl_launch = 3u
  algorithm = "RING"
  protocol = "SIMPLE"
  channels = 8u
  warps = 16u
  user_tag = 77u"#
        ),
    );
    // Parts and roots: what a rank gives of each.
    let events = events(process, 0);
    for head in [
        "commstart AllGather #4 comm 1 rank 0/2 1000 x Bfloat16 = 2000 B peer -1 sequence 0",
        "commstart ReduceScatter #6 comm 1 rank 0/2 2000 x Int8 = 2000 B peer -1 sequence 0",
        "commstart Broadcast #8 comm 1 rank 0/2 64 x Float8e4m3 = 64 B peer 1 sequence 0",
        "commstart Send #10 comm 1 rank 0/2 512 x Int64 = 4096 B peer 1 sequence -1",
        "commstart Recv #11 comm 1 rank 0/2 512 x Int64 = 4096 B peer 1 sequence -1",
        "commpush ncclSend comm 1 rank 0/2 512 x Int64 = 4096 B peer -1 sequence -1",
        "commstart AllReduce #46 comm 1 rank 0/2 1048576 x Float32 = 4194304 B peer -1 sequence 4",
    ] {
        assert_eq!(named(&events, head).len(), if head.contains("push") { 5 } else { 1 }, "{head}");
    }
    assert_eq!(named(&events, "commpush ncclBroadcast")[0].number("root"), 1);
    let ends = named(&events, "end").len();
    assert_eq!(ends, named(&events, "start").len() + named(&events, "commstart").len());
    assert_eq!(named(&events, "pop").len(), named(&events, "push").len() + named(&events, "commpush").len());
}

#[test]
fn proxy_network_and_device_times_are_for_who_asks() {
    let Some(segments) = recorded(&["7", "late"], "network,phases") else { return };
    let [process] = segments.as_slice() else { panic!("one process") };
    let events = events(process, 0);
    let task = named(&events, "commstart AllReduce")[0];
    let stopped = events.iter().position(|event| event.head == format!("end {} @NCCL", task.id())).unwrap();
    let number = task.number("nccl_id");

    // Late: told of after the collective was stopped, and still known to be its.
    let late = named(&events[stopped..], "start proxy receive queued");
    let [own, pxn @ ..] = late.as_slice() else { panic!("no late operation") };
    assert_eq!((own.number("nccl_parent"), own.number("channel"), own.number("steps")), (number, 3, 2));
    assert_eq!(own.number("chunk_bytes"), 131_072);
    assert!(pxn.is_empty());
    let steps: Vec<&Event> =
        events.iter().filter(|event| event.head.starts_with("start proxy step")).skip(2).take(2).collect();
    assert!(steps.iter().all(|step| step.number("nccl_parent") == own.number("nccl_id")));
    let work = named(&events[stopped..], "start InfiniBand work request")[0];
    assert_eq!(work.number("nccl_parent"), steps[0].number("nccl_id"));
    assert_eq!((work.number("network_device"), work.number("queue_pair"), work.number("bytes")), (2, 321, 65_536));
    // A step's states follow one another under one number.
    let states: Vec<&str> = events
        .iter()
        .filter(|event| event.head.starts_with("start") && event.facts.get("nccl_id") == steps[0].facts.get("nccl_id"))
        .map(|event| event.head.split(" #").next().unwrap())
        .collect();
    assert_eq!(
        states,
        [
            "start proxy step",
            "start receive: on the network",
            "start receive: flush to the GPU",
            "start receive: wait for the GPU"
        ]
    );

    // PXN: two operations for other processes, one of which says whose it is.
    let foreign = named(&events[stopped..], "start proxy send queued");
    assert_eq!(foreign.len(), 2);
    assert!(foreign.iter().all(|event| !event.has("nccl_parent") && !event.has("communicator")));
    assert!(foreign.iter().all(|event| event.number("origin_pid") == 1 && event.has("origin_rank")));

    // Times of the device, while the collective's range is long over, and after the communicator's end.
    let channels = named(&events, "start NCCL channel");
    let [first, last] = channels.as_slice() else { panic!("two channels: {channels:?}") };
    assert_eq!((first.number("device_start_ns"), first.number("nccl_parent")), (1_000_000, number));
    assert_eq!((last.number("device_start_ns"), last.number("channel")), (3_000_000, 6));
    let phase = named(&events, "start compute")[0];
    assert_eq!((phase.number("device_start_ns"), phase.number("nccl_parent")), (1_000_010, first.number("nccl_id")));
    let told: Vec<u64> = named(&events, "mark NCCL channels").iter().map(|mark| mark.number("device_end_ns")).collect();
    assert_eq!(told, [1_999_990, 2_000_000, 3_999_990, 4_000_000]);
    let of: Vec<&str> = named(&events, "mark NCCL channels").iter().map(|mark| mark.id()).collect();
    assert_eq!(of[..2], [phase.id(), first.id()]);

    // A call that is stopped twice more ends once.
    assert_eq!(named(&events, "pop").len(), named(&events, "push").len() + named(&events, "commpush").len());
    // Copy engines.
    let copies = named(&events, "commstart AllGather")[0];
    assert!(copies.head.contains(" sequence 3 ") && copies.facts["sync_strategy"] == "\"MC\"");
    assert_eq!((copies.number("batch_size"), copies.number("batches")), (2, 5));
}

#[test]
fn launches_of_a_graph_belong_to_the_call_that_was_captured() {
    let Some(segments) = recorded(&["7", "late"], "") else { return };
    let [process] = segments.as_slice() else { panic!("one process") };
    let calls = events(process, 0);
    let captured: Vec<&Event> =
        named(&calls, "commpush ncclAllReduce").into_iter().filter(|call| call.has("graph_captured")).collect();
    let [call] = captured.as_slice() else { panic!("one captured call") };
    let replays = events(process, 1);
    let replays = named(&replays, "commstart AllReduce");
    assert_eq!(replays.len(), 3);
    for replay in replays {
        assert_eq!(replay.number("nccl_parent"), call.number("nccl_id"));
        // NCCL counts none of them, and no launch of a kernel belongs to them.
        assert!(replay.head.contains("sequence -1") && !replay.has("nccl_launch") && !replay.has("thread"));
    }
}

#[test]
fn nccl_may_close_and_open_the_plugin() {
    let Some(segments) = recorded(&["7", "reopen"], "") else { return };
    let [process] = segments.as_slice() else { panic!("one process") };
    let events = events(process, 0);
    let numbers: Vec<u64> = events.iter().filter(|event| event.has("nccl_id")).map(|e| e.number("nccl_id")).collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<u64>>(), "one count over all openings");
    let groups = process.info.iter().filter(|(_, key, _)| key.starts_with("nccl:communicator:")).count();
    assert_eq!(groups, 3);
}

#[test]
fn a_forked_child_records_its_own() {
    let Some(segments) = recorded(&["7", "fork"], "") else { return };
    let [parent, child] = segments.as_slice() else { panic!("two processes") };
    assert_eq!(child.parent, parent.pid);
    for (process, elements) in [(parent, vec![10, 30]), (child, vec![20])] {
        let events = events(process, 0);
        let calls = named(&events, "commpush ncclAllReduce");
        assert_eq!(calls.len(), elements.len());
        for (call, elements) in calls.iter().zip(elements) {
            assert!(call.head.contains(&format!(" {elements} x Float32")), "{call:?}");
        }
        // Nothing ends in one that began in the other.
        assert_eq!(named(&events, "pop").len(), named(&events, "push").len() + named(&events, "commpush").len());
        let begun = named(&events, "start").len() + named(&events, "commstart").len();
        assert_eq!(named(&events, "end").len(), begun);
    }
}

#[test]
fn old_interfaces_name_the_communicator_with_each_event() {
    for version in ["1", "2", "3"] {
        let Some(segments) = recorded(&[version, "old"], "") else { return };
        let [process] = segments.as_slice() else { panic!("one process") };
        let group = "old group #1234567890abcdef";
        let head = "members 829f9b97";
        assert_lines(
            &lines(process, 0)[..9],
            &format!(
                r#"
commstart AllReduce #1 comm 1 rank 0/0 4096 x Float32 = 16384 B peer -1 sequence 0 {head} @NCCL {group} [{group}]
  nccl_id = 1u
  algorithm = "RING"
  protocol = "SIMPLE"
  channels = 8u
  warps = 16u
commstart Send #2 comm 1 rank 0/0 99 x Float32 = 396 B peer 1 sequence -1 {head} @NCCL {group} [{group}]
  nccl_id = 2u
end #2 @NCCL"#
            ),
        );
    }
}

/// Offset of NCCL's own adapter to a version.
fn adapter(library: &Path, version: u32) -> Option<String> {
    let Ok(output) = Command::new("nm").arg(library).output() else {
        eprintln!("skipped: there is no nm");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let symbol = format!(" _Z18getNcclProfiler_v{version}Pv");
    let line = text.lines().find(|line| line.ends_with(&symbol)).expect("NCCL has the adapter");
    line.split(' ').next().map(str::to_owned)
}

#[test]
fn through_nccls_own_adapters_every_field_arrives() {
    let Some(library) = nccl() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(driver) = driver(folder.path()) else { return };
    for version in 1..=7 {
        let Some(offset) = adapter(&library, version) else { return };
        let rings = folder.path().join(version.to_string());
        std::fs::create_dir(&rings).unwrap();
        let path = library.to_str().unwrap();
        play(&driver, &rings, &[&version.to_string(), "job", path, &offset], "steps,channels");
        let segments = common::read(&rings);
        let [process] = segments.as_slice() else { panic!("one process") };
        assert_eq!(process.info[0].2, format!("version {version} of the profiler interface"));
        let events = events(process, 0);
        let tasks = named(&events, "commstart");
        assert_eq!(tasks.len(), 5 * 6, "version {version}");
        // Name, hash and number of ranks are not passed on to the oldest interfaces.
        let (of, members) = if version < 4 { ("0/0", "00000000") } else { ("0/2", "829f9b97") };
        for (index, round) in tasks.chunks(6).enumerate() {
            let expected = [
                format!("AllReduce {of} 1048576 x Float32 = 4194304 B peer -1 sequence {index}"),
                // The adapter to version 1 knows no bfloat16 (NCCL's profiler_v1.cc was compiled without it).
                format!("AllGather {of} 1000 x Bfloat16 = 2000 B peer -1 sequence {index}"),
                format!("ReduceScatter {of} 2000 x Int8 = 2000 B peer -1 sequence {index}"),
                format!("Broadcast {of} 64 x Float8e4m3 = 64 B peer 1 sequence {index}"),
                format!("Send {of} 512 x Int64 = 4096 B peer 1 sequence -1"),
                format!("Recv {of} 512 x Int64 = 4096 B peer 1 sequence -1"),
            ];
            for (task, expected) in round.iter().zip(expected) {
                let head = task.head.split(" members ").next().unwrap();
                let (name, rest) = head.trim_start_matches("commstart ").split_once(" #").unwrap();
                let found = format!("{name} {}", rest.split_once(" rank ").unwrap().1);
                let what = expected.split(' ').next().unwrap();
                let is_lost =
                    version < 4 && what == "ReduceScatter" || version == 1 && matches!(what, "AllGather" | "Broadcast");
                if !is_lost {
                    assert_eq!(found, expected, "version {version}");
                }
                if version < 4 && what == "ReduceScatter" {
                    // How many ranks there are is not told, so only the part that comes out is known.
                    assert_eq!(task.number("Out msg nelems"), 1000);
                }
                assert!(task.head.contains(members), "version {version}: {}", task.head);
                if !matches!(what, "Send" | "Recv") {
                    assert_eq!(task.facts["algorithm"], "\"RING\"");
                    assert_eq!(task.facts["protocol"], "\"SIMPLE\"");
                    assert_eq!((task.number("channels"), task.number("warps")), (8, 16));
                }
                assert_eq!(task.has("user_tag"), version == 7 && !matches!(what, "Send" | "Recv"));
                // The group before version 5, the call since.
                assert!(task.has("nccl_parent"));
                assert_eq!(task.has("nccl_launch"), version >= 5);
            }
        }
        assert_eq!(named(&events, "commpush").is_empty(), version < 5);
        assert_eq!(named(&events, "start NCCL group").len(), if version < 5 { 25 } else { 0 });
        assert_eq!(named(&events, "start ncclGroup").len(), if version < 5 { 0 } else { 25 });
        let operations = named(&events, "start proxy send");
        assert!(operations.iter().any(|operation| operation.has("nccl_parent")), "version {version}");
        let states = named(&events, "start send: on the network");
        assert_eq!(states.len(), 40, "version {version}");
        // What the step moved is told since version 4.
        assert!(states.iter().all(|state| state.has("bytes") == (version >= 4)), "version {version}");
    }
}

/// Fields with their offsets and sizes as gdb prints a structure with `ptype /o`.
fn fields_of_gdb(text: &str) -> (BTreeMap<String, (usize, usize)>, usize) {
    let mut found = BTreeMap::new();
    let mut total = 0;
    // Fields of the structure that is open within the union; its name comes at its end.
    let mut inner: Vec<(String, usize, usize)> = Vec::new();
    let mut depth = 0;
    for line in text.lines() {
        let (place, code) = match line.split_once("*/") {
            Some((place, code)) => (place.trim_start_matches("/*").trim(), code.trim()),
            None => ("", line.trim()),
        };
        if let Some(size) = line.split("total size (bytes):").nth(1) {
            total = size.trim().trim_end_matches("*/").trim().parse().unwrap();
        } else if code.ends_with('{') {
            depth += 1;
        } else if let Some(name) = code.strip_prefix('}') {
            depth -= 1;
            let name = name.trim().trim_end_matches(';');
            for (field, offset, size) in inner.drain(..) {
                found.insert(format!("{name}.{field}"), (offset, size));
            }
        } else if let Some((offset, size)) = place.split_once('|') {
            let name = code.trim_end_matches(';').rsplit([' ', '*']).next().unwrap().to_owned();
            let (offset, size) = (offset.trim().parse().unwrap(), size.trim().parse().unwrap());
            if depth == 1 {
                found.insert(name, (offset, size));
            } else {
                inner.push((name, offset, size));
            }
        }
    }
    (found, total)
}

#[test]
fn layouts_are_those_that_nccl_was_compiled_with() {
    let Some(library) = nccl() else { return };
    let commands: Vec<String> =
        LAYOUTS.iter().map(|layout| format!("ptype /o ncclProfilerEventDescr_v{}_t", layout.version)).collect();
    let mut gdb = Command::new("gdb");
    gdb.args(["-batch", "-nx"]);
    for command in &commands {
        gdb.args(["-ex", "echo ====\\n", "-ex", command]);
    }
    let Ok(output) = gdb.arg(&library).env_remove("DEBUGINFOD_URLS").output() else {
        eprintln!("skipped: there is no gdb");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let parts: Vec<&str> = text.split("====\n").skip(1).collect();
    assert_eq!(parts.len(), LAYOUTS.len(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut compared = 0;
    for (layout, part) in LAYOUTS.iter().zip(parts) {
        let layout: &Layout = layout;
        let (fields, total) = fields_of_gdb(part);
        assert_eq!(total, layout.size, "version {}", layout.version);
        for (name, offset, size) in layout.fields() {
            assert_eq!(fields.get(name), Some(&(offset, size)), "version {}: {name}", layout.version);
            compared += 1;
        }
    }
    assert!(compared > 250, "{compared} fields compared");
}
