//! Which processes, tracks and counters a rank has, in the order of display.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::build::{Built, TrackKey, remap, remap_raw};
use crate::{
    CounterId, CounterSeries, Process, ProcessId, ProcessKind, RankId, RawCounter, RawId, RawMeta, StrId, StringTable,
    Track, TrackId, TrackKind,
};

/// What a process, thread or stream is called in the file.
#[derive(Default)]
pub(crate) struct Names {
    process_name: FxHashMap<RawId, StrId>,
    process_labels: FxHashMap<RawId, StrId>,
    process_sort: FxHashMap<RawId, i64>,
    thread_name: FxHashMap<(RawId, RawId), StrId>,
    thread_sort: FxHashMap<(RawId, RawId), i64>,
}

pub(crate) fn adopt_meta(meta: RawMeta, map: &[StrId], names: &mut Names) {
    match meta {
        RawMeta::ProcessName(pid, name) => {
            names.process_name.insert(remap_raw(map, pid), remap(map, name));
        }
        RawMeta::ProcessLabels(pid, labels) => {
            names.process_labels.insert(remap_raw(map, pid), remap(map, labels));
        }
        RawMeta::ProcessSort(pid, index) => {
            names.process_sort.insert(remap_raw(map, pid), index);
        }
        RawMeta::ThreadName(pid, tid, name) => {
            names.thread_name.insert((remap_raw(map, pid), remap_raw(map, tid)), remap(map, name));
        }
        RawMeta::ThreadSort(pid, tid, index) => {
            names.thread_sort.insert((remap_raw(map, pid), remap_raw(map, tid)), index);
        }
    }
}

/// Makes processes and tracks of the keys that are `used`, in the order of display; gives the track of each key.
pub(crate) fn lay_out_tracks(
    keys: &[TrackKey],
    used: &[bool],
    counters: &[RawCounter],
    names: &Names,
    strings: &StringTable,
    built: &mut Built,
) -> Vec<u32> {
    let by_text = |id: RawId| order_of(strings, id);
    let process_kind = |key: &TrackKey| match (key.0, key.1) {
        (kind, RawId::Int(device)) if kind.is_device() => {
            ProcessKind::Device(u32::try_from(device).unwrap_or(u32::MAX))
        }
        (kind, _) if kind.is_device() => ProcessKind::Device(0),
        (TrackKind::Cpu, _) => ProcessKind::Virtual,
        (_, RawId::Int(_)) => ProcessKind::Host,
        _ => ProcessKind::Virtual,
    };
    let rank_of_kind = |kind: ProcessKind| match kind {
        ProcessKind::Host => 0,
        ProcessKind::Device(_) => 1,
        ProcessKind::Virtual => 2,
    };
    let is_used = |place: usize| used.get(place).copied().unwrap_or(false);
    let used_keys = keys.iter().enumerate().filter(|(place, _)| is_used(*place));
    let mut processes: Vec<(ProcessKind, RawId)> = used_keys.map(|(_, key)| (process_kind(key), key.1)).collect();
    let mut known: FxHashSet<RawId> = processes.iter().map(|process| process.1).collect();
    for sample in counters {
        if known.insert(sample.pid) {
            processes.push((process_kind(&(TrackKind::Counter, sample.pid, RawId::None)), sample.pid));
        }
    }
    let sort_of = |pid: RawId| names.process_sort.get(&pid).copied();
    processes.sort_by_key(|&(kind, pid)| (rank_of_kind(kind), sort_of(pid).unwrap_or(i64::MAX), by_text(pid), kind));
    processes.dedup();
    built.processes = processes
        .iter()
        .map(|&(kind, pid)| Process {
            rank: RankId(0),
            kind,
            pid,
            name: names.process_name.get(&pid).copied().unwrap_or_default(),
            labels: names.process_labels.get(&pid).copied().unwrap_or_default(),
            sort_index: sort_of(pid),
        })
        .collect();
    let place_of: FxHashMap<(ProcessKind, RawId), u32> =
        processes.iter().enumerate().map(|(place, &process)| (process, place as u32)).collect();
    let process_of = |key: &TrackKey| place_of.get(&(process_kind(key), key.1)).copied().unwrap_or(0);

    let sort_key = |key: &TrackKey| {
        let own = names.thread_sort.get(&(key.1, key.2)).copied();
        // Kineto orders every thread by its id, which says nothing; only small indices are a choice.
        (process_of(key), own.unwrap_or(i64::MAX), by_text(key.2), key.0)
    };
    let mut sorted: Vec<usize> = (0..keys.len()).filter(|&place| is_used(place)).collect();
    sorted.sort_by_cached_key(|&place| keys.get(place).map(sort_key));
    let mut track_of_key = vec![0u32; keys.len()];
    for (index, &place) in sorted.iter().enumerate() {
        let Some(key) = keys.get(place) else { continue };
        if let Some(track) = track_of_key.get_mut(place) {
            *track = index as u32;
        }
        built.tracks.push(Track {
            rank: RankId(0),
            process: ProcessId(process_of(key)),
            kind: key.0,
            tid: key.2,
            name: names.thread_name.get(&(key.1, key.2)).copied().unwrap_or_default(),
            sort_index: names.thread_sort.get(&(key.1, key.2)).copied(),
            rows: 0..0,
            events: 0..0,
            lanes: 0,
            counter: None,
        });
    }
    track_of_key
}

/// The order of ids: none, numbers, texts by their letters, so that it does not depend on how strings were numbered.
fn order_of(strings: &StringTable, id: RawId) -> (u8, i64, &str) {
    match id {
        RawId::None => (0, 0, ""),
        RawId::Int(value) => (1, value, ""),
        RawId::Text(text) => (2, 0, strings.get(text)),
    }
}

/// Samples of one series.
pub(crate) struct Samples {
    pid: RawId,
    name: StrId,
    unit: StrId,
    times: Vec<i64>,
    values: Vec<f64>,
}

pub(crate) fn group_counters(mut samples: Vec<RawCounter>, base_ns: i64, strings: &StringTable) -> Vec<Samples> {
    // Stable: the last of several values at one time is the one that holds.
    samples.sort_by_key(|sample| (sample.pid, sample.name, sample.time));
    let mut groups: Vec<&[RawCounter]> = samples.chunk_by(|a, b| a.pid == b.pid && a.name == b.name).collect();
    groups.sort_by_key(|group| group.first().map(|first| (order_of(strings, first.pid), strings.get(first.name))));
    groups
        .into_iter()
        .filter_map(|group| {
            let first = group.first()?;
            Some(Samples {
                pid: first.pid,
                name: first.name,
                unit: first.unit,
                times: group.iter().map(|sample| sample.time.saturating_add(base_ns)).collect(),
                values: group.iter().map(|sample| sample.value).collect(),
            })
        })
        .collect()
}

/// The first process of each id: counters hang under it.
pub(crate) fn first_process_of_pid(processes: &[Process]) -> FxHashMap<RawId, u32> {
    let mut first = FxHashMap::default();
    for (place, process) in processes.iter().enumerate() {
        first.entry(process.pid).or_insert(place as u32);
    }
    first
}

pub(crate) fn adopt_counter(samples: Samples, process_of_pid: &FxHashMap<RawId, u32>, built: &mut Built) {
    let process = process_of_pid.get(&samples.pid).copied().unwrap_or(0);
    let end = built.events.len() as u32;
    let rows = built.rows.len() as u32;
    built.tracks.push(Track {
        rank: RankId(0),
        process: ProcessId(process),
        kind: TrackKind::Counter,
        tid: RawId::None,
        name: samples.name,
        sort_index: None,
        rows: rows..rows,
        events: end..end,
        lanes: 0,
        counter: Some(CounterId(built.counters.len() as u32)),
    });
    built.counters.push(CounterSeries {
        track: TrackId(built.tracks.len() as u32 - 1),
        name: samples.name,
        unit: samples.unit,
        times: samples.times,
        values: samples.values,
    });
}
