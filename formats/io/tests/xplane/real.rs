//! Real files, against a plain decode of them, and against what their own recorder made of the same run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gapless_formats::{OpenOptions, Silent, open};
use gapless_trace::{EventKind, Severity, Trace, TrackKind};
use prost::Message;

use crate::naive::{assert_same, of_file, of_trace, start_time};
use crate::proto::XSpace;

const MI300: &str = "xplane/mi300x-jax-conv.xplane.pb";
const JAX_CPU: &str = "jax-cpu/jax-cpu.xplane.pb";
const JAX_CPU_JSON: &str = "jax-cpu/jax-cpu.perfetto_trace.json.gz";

/// Files that are no part of the repository.
#[allow(clippy::print_stderr)]
fn real(name: &str) -> Option<PathBuf> {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    let folder = std::env::var_os("GAPLESS_TRACES").map_or_else(default, PathBuf::from);
    let path = folder.join("traces").join(name);
    if !path.exists() {
        eprintln!("skipped: no {}; set GAPLESS_TRACES to the folder that holds traces/", path.display());
        return None;
    }
    Some(path)
}

fn read(path: &PathBuf) -> Trace {
    open(std::slice::from_ref(path), &OpenOptions::default(), &Silent).unwrap()
}

fn kinds(trace: &Trace) -> BTreeMap<EventKind, usize> {
    let mut counts = BTreeMap::new();
    for kind in trace.events().kinds() {
        *counts.entry(*kind).or_default() += 1;
    }
    counts
}

#[test]
fn every_event_is_there_with_its_line_name_time_and_arguments() {
    for (name, events) in [(MI300, 3_650), (JAX_CPU, 535)] {
        let Some(path) = real(name) else { continue };
        let space = XSpace::decode(std::fs::read(&path).unwrap().as_slice()).unwrap();
        let trace = read(&path);
        let (expected, found) = (of_file(&space), of_trace(&trace));
        assert_same(&expected, &found, name);
        assert_eq!(found.len(), events, "{name}");
        assert_eq!((trace.sources()[0].format.as_str(), trace.sources()[0].file_events), ("XPlane", events as u64));
        let lost: Vec<_> =
            trace.warnings().sorted().into_iter().filter(|w| w.kind.severity() != Severity::Note).cloned().collect();
        assert!(lost.is_empty(), "{name}: {lost:?}");
        let rank = &trace.ranks()[0];
        assert_eq!(rank.base_time_ns, Some(start_time(&space)));
        assert_eq!(rank.host.as_ref(), space.hostnames.first());
    }
}

#[test]
fn kernels_of_eight_devices_are_joined_with_their_launches() {
    let Some(path) = real(MI300) else { return };
    let trace = read(&path);
    let counts = kinds(&trace);
    assert!(trace.warnings().is_empty(), "{:?}", trace.warnings());
    // By a generic decode of the file: events of device planes, and those of threads whose name begins so.
    assert_eq!(counts.get(&EventKind::Kernel), Some(&235));
    assert_eq!(counts.get(&EventKind::RuntimeCall), Some(&234));
    assert_eq!(counts.get(&EventKind::PythonFunction), Some(&1_353));
    let rank = &trace.ranks()[0];
    assert_eq!(rank.devices.len(), 8);
    assert!(rank.devices.iter().all(|device| device.multiprocessors == Some(304)
        && device.memory_bytes == Some(206_141_652_992)
        && device.compute_capability == Some((9, 4))));
    let streams = trace.tracks().iter().filter(|track| track.kind == TrackKind::Stream).count();
    assert_eq!(streams, 11);
    // The same join by hand: ids of calls and of kernels in the plain decode.
    let space = XSpace::decode(std::fs::read(&path).unwrap().as_slice()).unwrap();
    let ids = |wanted: fn(&str) -> bool| -> Vec<u64> {
        let mut ids = Vec::new();
        for plane in space.planes.iter().filter(|plane| wanted(&plane.name)) {
            for event in plane.lines.iter().flat_map(|line| &line.events) {
                let stat =
                    event.stats.iter().find(|stat| plane.stat_metadata[&stat.metadata_id].name == "correlation_id");
                if let Some(crate::proto::Stat::Uint64(id)) = stat.and_then(|stat| stat.value.clone()) {
                    ids.push(id);
                }
            }
        }
        ids
    };
    let calls = ids(|name| name == "/host:CPU");
    let work = ids(|name| name.starts_with("/device:"));
    let joined = work.iter().filter(|id| calls.contains(id)).count();
    assert_eq!(trace.launches().len(), joined);
    assert!(joined > 0);
}

#[test]
fn the_recorders_own_json_of_the_run_shows_the_same_events() {
    let (Some(path), Some(json)) = (real(JAX_CPU), real(JAX_CPU_JSON)) else { return };
    let (ours, theirs) = (read(&path), read(&json));
    let base = ours.ranks()[0].base_time_ns.unwrap();
    // Threads by name, since ids are cut to 32 bits there; times count from the start of the recording.
    let events = |trace: &Trace, base: i64| -> Vec<(String, String, i64, i64)> {
        let mut events: Vec<_> = (0..trace.events().len() as u32)
            .map(gapless_trace::EventId)
            .map(|id| {
                let (event, (_, track)) = (trace.event(id), trace.track_of(id).unwrap());
                let (start, dur) = (event.start.nanos() - base, event.dur.nanos());
                (trace.text(track.name).to_owned(), trace.name(id).to_owned(), start, dur)
            })
            .collect();
        events.sort();
        events
    };
    assert_eq!(events(&ours, base), events(&theirs, 0));
    let steps = kinds(&ours).get(&EventKind::Step).copied();
    assert_eq!(steps, Some(10));
}
