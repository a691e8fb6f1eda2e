//! Which Perfetto tracks a trace becomes: ids, names, parents, order.
//!
//! ```text
//! Rank 3 · python (pid 1234)       process track; all that belongs to the rank lies below it
//! ├─ thread 1234 (python)          thread track = first lane; further lanes, instants and stack samples are its children
//! ├─ GPU 0                         plain track that groups
//! │  ├─ stream 7                   plain track = first lane; further lanes stand beside it
//! │  └─ stream 7 · syncs
//! ├─ CPU                           the same
//! │  └─ core 0
//! ├─ Requests                      tracks that the file names: plain, below the tracks that their path names
//! │  └─ Decode
//! └─ Spans
//! ```
//!
//! A device is a group of its rank's process rather than a process: device "processes" are numbered from 0 in
//! every rank, and a viewer shows a rank's host and device together this way.

use std::ops::Range;

use gapless_trace::{
    CounterId, Process, ProcessId, ProcessKind, Rank, RankId, RawId, Row, Trace, Track, TrackId, TrackKind,
};
use perfetto_proto::{
    ChildTracksOrdering, CounterDescriptor, CounterUnit, ProcessDescriptor, ProcessOrdering, SiblingMergeBehavior,
    ThreadDescriptor, ThreadOrdering, TrackDescriptor,
};
use rustc_hash::{FxHashMap, FxHashSet};

/// Perfetto drops what is nested deeper.
const MAX_DEPTH: usize = 512;
/// Ids made up for processes and threads count from here: above what Linux gives out (`PID_MAX_LIMIT`, 2^22).
const MADE_UP_IDS_FROM: i32 = 5_000_000;
/// Between the names of a track's path.
const PATH_SEPARATOR: &str = " / ";
/// Most groups that the path of one track makes.
const MAX_GROUPS: usize = 16;

/// A lane of a track as a track of its own.
#[derive(Clone, Debug)]
pub(super) struct LaneTrack {
    /// Its id in the file.
    pub uuid: u64,
    /// Its track in the model.
    pub track: TrackId,
    /// Its lane in that track.
    pub lane: u32,
    /// Its rows, as a range of [`Trace::rows`].
    pub rows: Range<usize>,
}

/// A counter as a track.
#[derive(Clone, Debug)]
pub(super) struct CounterTrack {
    /// Its id in the file.
    pub uuid: u64,
    /// Its track in the model.
    pub track: TrackId,
    /// Its values.
    pub series: CounterId,
}

/// All tracks of the file.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// In the order they are written.
    pub descriptors: Vec<TrackDescriptor>,
    /// In the order of [`Trace::rows`], which is the order they are written in.
    pub lanes: Vec<LaneTrack>,
    /// Counters.
    pub counters: Vec<CounterTrack>,
    /// Process track of each rank.
    pub rank_uuids: Vec<(RankId, u64)>,
}

/// Layout under construction.
struct Builder<'t> {
    trace: &'t Trace,
    layout: Layout,
    last_uuid: u64,
    /// Process and thread ids in use. A thread id that is another process's id would be that one's main thread.
    used_ids: FxHashSet<i32>,
    next_made_up: i32,
    pids: FxHashMap<ProcessId, i32>,
    processes_placed: i32,
    places: FxHashMap<u64, i32>,
}

/// Where the tracks of a process go.
#[derive(Clone, Copy)]
struct Home {
    uuid: u64,
    /// Set where threads are threads of a real process.
    pid: Option<i32>,
}

impl Layout {
    /// Lays out all tracks of `trace`.
    pub(super) fn new(trace: &Trace) -> Self {
        let mut builder = Builder {
            trace,
            layout: Self::default(),
            last_uuid: 0,
            used_ids: FxHashSet::default(),
            next_made_up: MADE_UP_IDS_FROM,
            pids: FxHashMap::default(),
            processes_placed: 0,
            places: FxHashMap::default(),
        };
        builder.layout.descriptors.push(TrackDescriptor {
            uuid: Some(0),
            child_ordering: Some(ChildTracksOrdering::Explicit as i32),
            process_ordering: Some(ProcessOrdering::Explicit as i32),
            thread_ordering: Some(ThreadOrdering::Explicit as i32),
            ..TrackDescriptor::default()
        });
        // Processes first: a made-up thread id must not take a real process id that comes later.
        for (index, process) in trace.processes().iter().enumerate() {
            if process.kind == ProcessKind::Host {
                let pid = builder.claim(process.pid);
                builder.pids.insert(ProcessId(index as u32), pid);
            }
        }
        for (id, rank) in trace.rank_ids() {
            builder.rank(id, rank);
        }
        let mut layout = builder.layout;
        layout.lanes.sort_by_key(|lane| lane.rows.start);
        layout
    }
}

impl Builder<'_> {
    /// The id itself if it is a usable number that nobody has, else a made-up one.
    fn claim(&mut self, raw: RawId) -> i32 {
        let own = match raw {
            RawId::Int(id) => i32::try_from(id).ok().filter(|&id| id > 0),
            RawId::None | RawId::Text(_) => None,
        };
        if let Some(id) = own.filter(|&id| self.used_ids.insert(id)) {
            return id;
        }
        while !self.used_ids.insert(self.next_made_up) {
            self.next_made_up = self.next_made_up.wrapping_add(1).max(MADE_UP_IDS_FROM);
        }
        self.next_made_up
    }

    fn uuid(&mut self) -> u64 {
        self.last_uuid += 1;
        self.last_uuid
    }

    /// The next place among the children of `parent`.
    fn place(&mut self, parent: u64) -> i32 {
        let place = self.places.entry(parent).or_default();
        *place += 1;
        *place
    }

    fn rank(&mut self, id: RankId, rank: &Rank) {
        let trace = self.trace;
        let range = rank.processes.start as usize..rank.processes.end as usize;
        let processes = trace.processes().get(range).unwrap_or_default();
        let process_ids = rank.processes.clone().map(ProcessId);
        let mut by_process: FxHashMap<ProcessId, Vec<(TrackId, &Track)>> = FxHashMap::default();
        for (track_id, track) in trace.tracks_of(id) {
            by_process.entry(track.process).or_default().push((track_id, track));
        }

        // The rank's home is its first host process with tracks; a rank without any gets one made up.
        let hosts: Vec<(ProcessId, &Process)> = process_ids
            .clone()
            .zip(processes)
            .filter(|(id, process)| process.kind == ProcessKind::Host && by_process.contains_key(id))
            .collect();
        let mut homes: FxHashMap<ProcessId, Home> = FxHashMap::default();
        for &(process_id, process) in &hosts {
            let home = self.host(rank, process_id, process);
            homes.insert(process_id, home);
        }
        let rank_home = match hosts.first().and_then(|(id, _)| homes.get(id)) {
            Some(&home) => home,
            None => self.made_up_host(rank),
        };
        self.layout.rank_uuids.push((id, rank_home.uuid));

        for (process_id, process) in process_ids.zip(processes) {
            let Some(tracks) = by_process.get(&process_id) else { continue };
            let home = match homes.get(&process_id) {
                Some(&home) => home,
                None => self.group(rank, process, rank_home.uuid),
            };
            self.tracks(home, process, tracks);
        }
    }

    fn host(&mut self, rank: &Rank, id: ProcessId, process: &Process) -> Home {
        let name = Some(self.trace.text(process.name).trim()).filter(|name| !name.is_empty()).unwrap_or("process");
        let raw = self.trace.raw_id_text(process.pid);
        let name = if raw.is_empty() { name.to_owned() } else { format!("{name} (pid {raw})") };
        let labels = Some(self.trace.text(process.labels).to_owned()).filter(|labels| !labels.is_empty());
        let pid = match self.pids.get(&id) {
            Some(&pid) => pid,
            None => self.claim(process.pid),
        };
        self.process_track(rank, Some(name), labels, pid)
    }

    fn made_up_host(&mut self, rank: &Rank) -> Home {
        let pid = self.claim(RawId::None);
        self.process_track(rank, None, None, pid)
    }

    fn process_track(&mut self, rank: &Rank, name: Option<String>, labels: Option<String>, pid: i32) -> Home {
        let uuid = self.uuid();
        let name = match (rank.number, name) {
            (Some(_), Some(name)) => format!("{} · {name}", rank.label()),
            (None, Some(name)) => name,
            (_, None) => rank.label(),
        };
        self.processes_placed += 1;
        self.layout.descriptors.push(TrackDescriptor {
            uuid: Some(uuid),
            process: Some(ProcessDescriptor {
                pid: Some(pid),
                process_name: Some(name),
                process_labels: labels.into_iter().collect(),
                legacy_sort_index: Some(self.processes_placed),
                ..ProcessDescriptor::default()
            }),
            child_ordering: Some(ChildTracksOrdering::Explicit as i32),
            sibling_order_rank: Some(self.processes_placed),
            ..TrackDescriptor::default()
        });
        Home { uuid, pid: Some(pid) }
    }

    /// A plain track that groups the tracks of a device or heading.
    fn group(&mut self, rank: &Rank, process: &Process, parent: u64) -> Home {
        let name = self.trace.text(process.name).trim();
        let labels = self.trace.text(process.labels).trim();
        let name = match process.kind {
            ProcessKind::Device(number) => {
                let base = if labels.is_empty() { format!("GPU {number}") } else { labels.to_owned() };
                match rank.devices.iter().find(|device| device.id == number && !device.name.is_empty()) {
                    Some(device) => format!("{base} · {}", device.name),
                    None => base,
                }
            }
            ProcessKind::Host | ProcessKind::Virtual if name.is_empty() => self.trace.raw_id_text(process.pid),
            ProcessKind::Host | ProcessKind::Virtual => name.to_owned(),
        };
        let uuid = self.plain(parent, name, None);
        Home { uuid, pid: None }
    }

    fn tracks(&mut self, home: Home, process: &Process, tracks: &[(TrackId, &Track)]) {
        let mut threads: FxHashMap<RawId, u64> = FxHashMap::default();
        // Track of each path of named tracks.
        let mut named: FxHashMap<String, u64> = FxHashMap::default();
        for &(id, track) in tracks {
            if let Some(series) = track.counter {
                let uuid = self.counter(home.uuid, id, series);
                self.layout.counters.push(CounterTrack { uuid, track: id, series });
                continue;
            }
            if let (TrackKind::Custom, RawId::Text(path)) = (track.kind, track.tid) {
                self.named(home, &mut named, id, track, self.trace.text(path));
                continue;
            }
            let is_thread = matches!(track.kind, TrackKind::Thread | TrackKind::ThreadInstants | TrackKind::Samples);
            let thread = match home.pid {
                Some(pid) if is_thread => Some(match threads.get(&track.tid) {
                    Some(&uuid) => uuid,
                    None => {
                        let uuid = self.thread(pid, process, id, track);
                        threads.insert(track.tid, uuid);
                        uuid
                    }
                }),
                _ => None,
            };
            self.lanes(home.uuid, thread, id, track, None);
        }
    }

    /// A track that the file names by its path: below the track of the path's beginning, which is made up as a group
    /// where there is none.
    fn named(&mut self, home: Home, named: &mut FxHashMap<String, u64>, id: TrackId, track: &Track, path: &str) {
        let (above, name) = path.rsplit_once(PATH_SEPARATOR).unwrap_or(("", path));
        let mut parent = home.uuid;
        let ends = above.match_indices(PATH_SEPARATOR).map(|(at, _)| at).chain(Some(above.len()));
        let mut begin = 0;
        // Each of these groups is a level in the viewer; paths deeper than any program's are not followed.
        for end in ends.take(MAX_GROUPS).filter(|_| !above.is_empty()) {
            let (so_far, part) = (above.get(..end).unwrap_or_default(), above.get(begin..end).unwrap_or_default());
            parent = match named.get(so_far) {
                Some(&uuid) => uuid,
                None => {
                    let uuid = self.plain(parent, part.to_owned(), None);
                    named.insert(so_far.to_owned(), uuid);
                    uuid
                }
            };
            begin = end + PATH_SEPARATOR.len();
        }
        let own = self.trace.text(track.name).trim();
        let name = if own.is_empty() { name } else { own }.to_owned();
        let uuid = self.lanes(parent, None, id, track, Some(name));
        named.entry(path.to_owned()).or_insert(uuid);
    }

    fn thread(&mut self, pid: i32, process: &Process, id: TrackId, track: &Track) -> u64 {
        let uuid = self.uuid();
        // The main thread has its process's id; that is how viewers know it.
        let tid = if track.tid == process.pid && track.tid != RawId::None { pid } else { self.claim(track.tid) };
        let place = self.place(u64::from(pid.unsigned_abs()) | 1 << 63);
        let label = self.trace.track_label(id);
        let suffix = label.strip_suffix(" · instants").or_else(|| label.strip_suffix(" · samples"));
        let name = suffix.unwrap_or(&label).to_owned();
        self.layout.descriptors.push(TrackDescriptor {
            uuid: Some(uuid),
            thread: Some(ThreadDescriptor {
                pid: Some(pid),
                tid: Some(i64::from(tid)),
                thread_name: Some(name),
                legacy_sort_index: Some(place),
                ..ThreadDescriptor::default()
            }),
            child_ordering: Some(ChildTracksOrdering::Explicit as i32),
            sibling_order_rank: Some(place),
            ..TrackDescriptor::default()
        });
        uuid
    }

    /// One Perfetto track per lane, and per 512 levels of nesting in it; gives the first. They lie below `thread`, or
    /// where there is none below `parent`.
    fn lanes(&mut self, parent: u64, thread: Option<u64>, id: TrackId, track: &Track, name: Option<String>) -> u64 {
        let rows = self.trace.rows_of(track);
        let first_row = track.rows.start as usize;
        let mut pieces: Vec<(u32, Range<usize>)> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let at = first_row + index;
            match pieces.last_mut() {
                Some((lane, range)) if *lane == row.lane && range.len() < MAX_DEPTH => range.end = at + 1,
                _ => pieces.push((row.lane, at..at + 1)),
            }
        }
        if pieces.is_empty() {
            // A track without events is declared too, so that a reader finds it.
            pieces.push((0, first_row..first_row));
        }
        let label = name.unwrap_or_else(|| self.trace.track_label(id));
        let mut first = None;
        for (index, (lane, rows)) in pieces.into_iter().enumerate() {
            let name = if index == 0 { label.clone() } else { format!("{label} (lane {})", index + 1) };
            let uuid = match thread {
                Some(uuid) if track.kind == TrackKind::Thread && index == 0 => uuid,
                Some(uuid) => self.plain(uuid, name, None),
                None => self.plain(parent, name, None),
            };
            first.get_or_insert(uuid);
            self.layout.lanes.push(LaneTrack { uuid, track: id, lane, rows });
        }
        first.unwrap_or(parent)
    }

    fn counter(&mut self, parent: u64, id: TrackId, series: CounterId) -> u64 {
        let trace = self.trace;
        let series = trace.counters().get(series.index());
        let label = trace.track_label(id);
        let name = series.map(|series| trace.text(series.name)).filter(|name| !name.is_empty()).unwrap_or(&label);
        let unit = series.map_or("", |series| trace.text(series.unit));
        let (unit, unit_name) = match unit {
            "" => (None, None),
            "bytes" => (Some(CounterUnit::SizeBytes as i32), None),
            "ns" => (Some(CounterUnit::TimeNs as i32), None),
            other => (None, Some(other.to_owned())),
        };
        let counter = CounterDescriptor { unit, unit_name, ..CounterDescriptor::default() };
        self.plain(parent, name.to_owned(), Some(counter))
    }

    fn plain(&mut self, parent: u64, name: String, counter: Option<CounterDescriptor>) -> u64 {
        let uuid = self.uuid();
        let place = self.place(parent);
        self.layout.descriptors.push(TrackDescriptor {
            uuid: Some(uuid),
            parent_uuid: Some(parent),
            name: Some(name),
            counter,
            child_ordering: Some(ChildTracksOrdering::Explicit as i32),
            sibling_order_rank: Some(place),
            // Without this, viewers show siblings of one name as one track.
            sibling_merge_behavior: Some(SiblingMergeBehavior::None as i32),
            ..TrackDescriptor::default()
        });
        uuid
    }
}

/// The rows of a lane track.
pub(super) fn rows_of<'t>(trace: &'t Trace, lane: &LaneTrack) -> &'t [Row] {
    trace.rows().get(lane.rows.clone()).unwrap_or_default()
}
