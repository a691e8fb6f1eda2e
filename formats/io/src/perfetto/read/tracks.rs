//! Tracks, processes and threads as the file describes them. Descriptors may come before or after their events and in
//! any order, so they are read when all packets are known.

use gapless_trace::{ArgValue, Args, ArgsLoc, RawChunk, RawId, SourceId, StringTable, TrackKind};
use gapless_trace::{DeviceInfo, RawMeta, WarningKind, Warnings};
use perfetto_proto::field::packet;
use rustc_hash::{FxHashMap, FxHashSet};

use super::record::Rare;
use super::store::Store;
use crate::protobuf::Fields;

/// Longest chain of parents that is followed.
const MOST_PARENTS: usize = 64;
/// Heading of tracks that belong to no process.
const NO_PROCESS: &str = "Tracks";

/// A counter as its descriptor says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CounterFacts {
    unit: u64,
    unit_name: Option<String>,
    builtin: u64,
    /// Factor of values that are no differences.
    pub multiplier: i64,
    /// Whether values are differences.
    pub is_incremental: bool,
}

/// A track as its descriptors say, taken together.
#[derive(Debug, Default)]
struct Described {
    parent: u64,
    name: Option<String>,
    process: Option<i64>,
    thread: Option<(i64, i64)>,
    counter: Option<CounterFacts>,
    stays_apart: bool,
    order: Option<i64>,
    /// Whether its children stand in the order of their `order`.
    orders_children: bool,
}

/// What a process is called.
#[derive(Debug, Default)]
struct ProcessFacts {
    name: Option<String>,
    labels: Vec<String>,
    sort_index: Option<i64>,
}

/// What a thread is called.
#[derive(Debug, Default)]
struct ThreadFacts {
    name: Option<String>,
    sort_index: Option<i64>,
}

/// Where a Perfetto track belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A thread.
    Thread { pid: i64, tid: i64 },
    /// Any other track, by its path below the process; `None` for those below none.
    Custom { pid: Option<i64>, path: String },
}

/// All descriptors.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    tracks: FxHashMap<u64, Described>,
    processes: FxHashMap<i64, ProcessFacts>,
    threads: FxHashMap<(i64, i64), ThreadFacts>,
    /// Process of a thread, where the file lists threads.
    process_of: FxHashMap<i64, i64>,
    /// Devices of the machine.
    pub devices: Vec<DeviceInfo>,
    /// Facts about the machine and the recording.
    pub header: Args,
    /// How many tracks that stay apart have a path.
    paths: FxHashMap<(Option<i64>, String), u64>,
    /// Where tracks were found to belong.
    places: FxHashMap<u64, Place>,
}

fn text_of(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).filter(|text| !text.is_empty())
}

impl Tracks {
    /// Reads `rares`, in the order of the file.
    pub fn read(rares: &[Rare], store: &Store, warnings: &mut Warnings) -> Self {
        let mut tracks = Self::default();
        for rare in rares {
            let message = store.bytes(rare.message).unwrap_or_default();
            match rare.field {
                packet::TRACK_DESCRIPTOR => tracks.track(message, rare.message, warnings),
                packet::PROCESS_TREE => tracks.process_tree(message),
                packet::PROCESS_DESCRIPTOR => {
                    tracks.process(message);
                }
                packet::THREAD_DESCRIPTOR => {
                    tracks.thread(message);
                }
                packet::GPU_INFO => tracks.gpu_info(message),
                packet::SYSTEM_INFO => tracks.system_info(message),
                packet::TRACE_ATTRIBUTES => tracks.attributes(message),
                _ => {}
            }
        }
        tracks
    }

    fn track(&mut self, message: &[u8], loc: ArgsLoc, warnings: &mut Warnings) {
        let mut uuid = 0;
        let mut parts = Described::default();
        let mut has_parent = false;
        let (mut missing_pid, mut process, mut thread) = (false, None, None);
        for field in Fields::new(message) {
            let bytes = field.bytes();
            match field.number {
                1 => uuid = field.uint().unwrap_or(0),
                2 | 10 | 13 => parts.name = text_of(bytes).or(parts.name),
                3 => process = bytes,
                4 => thread = bytes,
                5 => (parts.parent, has_parent) = (field.uint().unwrap_or(0), true),
                8 => parts.counter = bytes.map(counter),
                11 => parts.orders_children = field.uint() == Some(3),
                12 => parts.order = field.int(),
                15 => parts.stays_apart = field.uint() == Some(2),
                _ => {}
            }
        }
        if let Some(process) = process {
            parts.process = self.process(process);
            missing_pid |= parts.process.is_none();
        }
        if let Some(thread) = thread {
            parts.thread = self.thread(thread);
            missing_pid |= parts.thread.is_none();
        }
        if missing_pid {
            warnings.add(
                WarningKind::MetadataUnused,
                SourceId(0),
                Some(loc.offset()),
                "a process or thread without its id",
            );
        }
        // The track with id 0 only says how processes are ordered.
        if uuid == 0 {
            return;
        }
        let known = self.tracks.entry(uuid).or_default();
        known.name = parts.name.or(known.name.take());
        known.process = parts.process.or(known.process);
        known.thread = parts.thread.or(known.thread);
        known.counter = parts.counter.or(known.counter.take());
        known.order = parts.order.or(known.order);
        known.stays_apart |= parts.stays_apart;
        known.orders_children |= parts.orders_children;
        if has_parent {
            known.parent = parts.parent;
        }
        if let (Some(pid), Some(name)) = (known.process, &known.name) {
            let process = self.processes.entry(pid).or_default();
            process.name.get_or_insert_with(|| name.clone());
        }
        if let (Some(thread), Some(name)) = (known.thread, &known.name) {
            self.threads.entry(thread).or_default().name.get_or_insert_with(|| name.clone());
        }
    }

    fn process(&mut self, message: &[u8]) -> Option<i64> {
        let mut pid = None;
        let mut facts = ProcessFacts::default();
        let mut command = None;
        for field in Fields::new(message) {
            match field.number {
                1 => pid = field.int(),
                2 if command.is_none() => command = text_of(field.bytes()),
                3 => facts.sort_index = field.int(),
                6 => facts.name = text_of(field.bytes()),
                8 => facts.labels.extend(text_of(field.bytes())),
                _ => {}
            }
        }
        let known = self.processes.entry(pid?).or_default();
        known.name = facts.name.or(known.name.take()).or(command);
        known.sort_index = facts.sort_index.or(known.sort_index);
        if !facts.labels.is_empty() {
            known.labels = facts.labels;
        }
        pid
    }

    fn thread(&mut self, message: &[u8]) -> Option<(i64, i64)> {
        let (mut pid, mut tid, mut name, mut sort_index) = (None, None, None, None);
        for field in Fields::new(message) {
            match field.number {
                1 => pid = field.int(),
                2 => tid = field.int(),
                3 => sort_index = field.int(),
                5 => name = text_of(field.bytes()),
                _ => {}
            }
        }
        let thread = (pid?, tid?);
        let known = self.threads.entry(thread).or_default();
        known.name = name.or(known.name.take());
        known.sort_index = sort_index.or(known.sort_index);
        self.process_of.entry(thread.1).or_insert(thread.0);
        Some(thread)
    }

    fn process_tree(&mut self, message: &[u8]) {
        for field in Fields::new(message) {
            let entry = Fields::new(field.bytes().unwrap_or_default());
            let (mut id, mut owner, mut name) = (None, None, None);
            match field.number {
                1 => {
                    for field in entry {
                        match field.number {
                            1 => id = field.int(),
                            3 if name.is_none() => name = text_of(field.bytes()),
                            _ => {}
                        }
                    }
                    let Some(pid) = id else { continue };
                    let known = self.processes.entry(pid).or_default();
                    known.name = known.name.take().or(name);
                    self.process_of.entry(pid).or_insert(pid);
                }
                2 => {
                    for field in entry {
                        match field.number {
                            1 => id = field.int(),
                            2 => name = text_of(field.bytes()),
                            3 => owner = field.int(),
                            _ => {}
                        }
                    }
                    let (Some(tid), Some(pid)) = (id, owner) else { continue };
                    let known = self.threads.entry((pid, tid)).or_default();
                    known.name = known.name.take().or(name);
                    self.process_of.insert(tid, pid);
                }
                _ => {}
            }
        }
    }

    fn gpu_info(&mut self, message: &[u8]) {
        for field in Fields::new(message).filter(|field| field.number == 1) {
            let mut device = DeviceInfo { id: self.devices.len() as u32, ..DeviceInfo::default() };
            let mut put = |name: &str, value: Option<String>| {
                device.properties.extend(value.map(|value| (name.to_owned(), ArgValue::Text(value))));
            };
            let mut name = None;
            for field in Fields::new(field.bytes().unwrap_or_default()) {
                let text = text_of(field.bytes());
                match field.number {
                    1 => name = text,
                    2 => put("vendor", text),
                    3 => put("model", text),
                    4 => put("architecture", text),
                    5 => {
                        put("uuid", field.bytes().map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
                    }
                    6 => {
                        let pair = |number| {
                            let found =
                                Fields::new(field.bytes().unwrap_or_default()).find(|field| field.number == number);
                            found.and_then(|field| text_of(field.bytes()))
                        };
                        put(&pair(1).unwrap_or_default(), pair(2));
                    }
                    7 => put("pci", text),
                    _ => {}
                }
            }
            device.name = name.unwrap_or_default();
            take_known(&mut device);
            // A recording may describe a device anew.
            if !self.devices.contains(&device) {
                self.devices.push(device);
            }
        }
    }

    fn system_info(&mut self, message: &[u8]) {
        for field in Fields::new(message) {
            match field.number {
                1 => {
                    for field in Fields::new(field.bytes().unwrap_or_default()) {
                        let name = match field.number {
                            1 => "system",
                            2 => "version",
                            3 => "release",
                            4 => "machine",
                            _ => continue,
                        };
                        self.header.extend(text_of(field.bytes()).map(|text| (name.to_owned(), ArgValue::Text(text))));
                    }
                }
                17 => {
                    let name = text_of(field.bytes());
                    self.header.extend(name.map(|name| ("machine_name".to_owned(), ArgValue::Text(name))));
                }
                _ => {}
            }
        }
    }

    fn attributes(&mut self, message: &[u8]) {
        for field in Fields::new(message).filter(|field| field.number == 1) {
            let (mut key, mut value) = (None, None);
            for field in Fields::new(field.bytes().unwrap_or_default()) {
                match field.number {
                    1 => key = text_of(field.bytes()),
                    2 => value = field.int().map(ArgValue::Int),
                    3 => value = text_of(field.bytes()).map(ArgValue::Text),
                    _ => {}
                }
            }
            self.header.extend(key.zip(value));
        }
    }

    /// Whether the track was described.
    pub fn is_known(&self, uuid: u64) -> bool {
        self.tracks.contains_key(&uuid)
    }

    /// The counter that a track is, if its descriptor says so.
    pub fn counter(&self, uuid: u64) -> Option<&CounterFacts> {
        self.tracks.get(&uuid)?.counter.as_ref()
    }

    /// The process of a thread; the thread itself where the file does not say.
    pub fn process_of(&self, tid: i64) -> i64 {
        self.process_of.get(&tid).copied().unwrap_or(tid)
    }

    /// The name of a thread, where the file says it.
    pub fn thread_name(&self, pid: i64, tid: i64) -> Option<&str> {
        self.threads.get(&(pid, tid))?.name.as_deref()
    }

    fn own_name(&self, uuid: u64, track: &Described) -> String {
        let of_counter = || match track.counter.as_ref().map(|counter| counter.builtin) {
            Some(1) => Some("thread time".to_owned()),
            Some(2) => Some("instructions".to_owned()),
            _ => None,
        };
        track.name.clone().or_else(of_counter).unwrap_or_else(|| format!("track {uuid}"))
    }

    /// Where the track belongs, and its path below what it belongs to.
    pub fn place(&mut self, uuid: u64) -> Place {
        if let Some(known) = self.places.get(&uuid) {
            return known.clone();
        }
        let place = match self.chain(uuid) {
            Ok(place) => place,
            // Siblings of one name are one track, unless they say otherwise.
            Err((pid, path, false)) => Place::Custom { pid, path },
            Err((pid, mut path, true)) => {
                let number = self.paths.entry((pid, path.clone())).or_default();
                *number += 1;
                if *number > 1 {
                    path.push_str(&format!(" ({number})"));
                }
                Place::Custom { pid, path }
            }
        };
        self.places.insert(uuid, place.clone());
        place
    }

    /// A thread, or else process, path and whether the track stays apart from others of its path.
    fn chain(&self, uuid: u64) -> Result<Place, (Option<i64>, String, bool)> {
        let Some(track) = self.tracks.get(&uuid) else {
            let name = if uuid == 0 { "default track".to_owned() } else { format!("track {uuid}") };
            return Err((None, name, false));
        };
        if let (Some((pid, tid)), None) = (track.thread, &track.counter) {
            return Ok(Place::Thread { pid, tid });
        }
        let mut names: Vec<String> = Vec::new();
        let mut seen: FxHashSet<u64> = FxHashSet::default();
        let mut pid = None;
        let (mut at, mut next) = (Some(track), uuid);
        while let Some(track) = at.filter(|_| names.len() < MOST_PARENTS && seen.insert(next)) {
            if let Some((of, tid)) = track.thread {
                pid = Some(of);
                if next != uuid {
                    let name = self.thread_name(of, tid).map_or_else(|| format!("thread {tid}"), str::to_owned);
                    names.push(name);
                } else {
                    names.push(self.own_name(uuid, track));
                }
                break;
            }
            if track.process.is_some() {
                pid = track.process;
                if next == uuid {
                    names.push("process".to_owned());
                }
                break;
            }
            names.push(self.own_name(next, track));
            next = track.parent;
            at = self.tracks.get(&next);
        }
        names.reverse();
        Err((pid, names.join(" / "), track.stays_apart))
    }

    /// Name and unit of the counter that the track is; its process.
    pub fn counter_series(&mut self, uuid: u64) -> (Option<i64>, String, String) {
        let counter = self.counter(uuid).cloned().unwrap_or_default();
        let unit = match (counter.unit, counter.unit_name) {
            (_, Some(name)) => name,
            (1, _) => "ns".to_owned(),
            (3, _) => "bytes".to_owned(),
            _ if counter.builtin == 1 => "ns".to_owned(),
            _ => String::new(),
        };
        match self.place(uuid) {
            Place::Thread { pid, tid } => (Some(pid), format!("thread {tid}"), unit),
            Place::Custom { pid, path } => (pid, path, unit),
        }
    }

    /// Name and labels of a process, where the file says them.
    pub fn process_texts(&self) -> impl Iterator<Item = (i64, Option<&str>, &[String])> {
        self.processes.iter().map(|(&pid, facts)| (pid, facts.name.as_deref(), facts.labels.as_slice()))
    }

    /// Order of the track `uuid` among its siblings, where the track above it wants one.
    pub fn order(&self, uuid: u64) -> Option<i64> {
        let track = self.tracks.get(&uuid)?;
        self.tracks.get(&track.parent).filter(|parent| parent.orders_children).and(track.order)
    }

    /// Names and orders as metadata of `chunk`.
    pub fn add_metas(&self, chunk: &mut RawChunk, is_wanted: impl Fn(i64) -> bool) {
        let mut processes: Vec<_> = self.processes.iter().filter(|(pid, _)| is_wanted(**pid)).collect();
        processes.sort_unstable_by_key(|entry| entry.0);
        for (&pid, facts) in processes {
            let id = RawId::Int(pid);
            if let Some(name) = &facts.name {
                let name = chunk.strings.intern(name);
                chunk.metas.push(RawMeta::ProcessName(id, name));
            }
            if !facts.labels.is_empty() {
                let labels = chunk.strings.intern(&facts.labels.join(", "));
                chunk.metas.push(RawMeta::ProcessLabels(id, labels));
            }
            chunk.metas.extend(facts.sort_index.map(|index| RawMeta::ProcessSort(id, index)));
        }
        let mut threads: Vec<_> = self.threads.iter().filter(|(thread, _)| is_wanted(thread.0)).collect();
        threads.sort_unstable_by_key(|entry| entry.0);
        for (&(pid, tid), facts) in threads {
            let (pid, tid) = (RawId::Int(pid), RawId::Int(tid));
            if let Some(name) = &facts.name {
                let name = chunk.strings.intern(name);
                chunk.metas.push(RawMeta::ThreadName(pid, tid, name));
            }
            chunk.metas.extend(facts.sort_index.map(|index| RawMeta::ThreadSort(pid, tid, index)));
        }
    }
}

/// What the model has a place for, out of the properties that `gapless record` writes.
fn take_known(device: &mut DeviceInfo) {
    let mut take = |name: &str| {
        let place = device.properties.iter().position(|(known, _)| known == name)?;
        match device.properties.remove(place).1 {
            ArgValue::Text(text) => text.parse::<u64>().ok(),
            _ => None,
        }
    };
    let narrow = |value: Option<u64>| value.and_then(|value| u32::try_from(value).ok());
    let id = narrow(take("id"));
    let memory_bytes = take("memory_bytes");
    let multiprocessors = narrow(take("multiprocessors"));
    let major = narrow(take("compute_capability_major"));
    let minor = narrow(take("compute_capability_minor"));
    device.id = id.unwrap_or(device.id);
    device.memory_bytes = memory_bytes;
    device.multiprocessors = multiprocessors;
    device.compute_capability = major.zip(minor);
}

fn counter(message: &[u8]) -> CounterFacts {
    let mut facts = CounterFacts { multiplier: 1, ..CounterFacts::default() };
    for field in Fields::new(message) {
        match field.number {
            1 => facts.builtin = field.uint().unwrap_or(0),
            3 => facts.unit = field.uint().unwrap_or(0),
            4 => facts.multiplier = field.int().filter(|&factor| factor != 0).unwrap_or(1),
            5 => facts.is_incremental = field.uint().unwrap_or(0) != 0,
            6 => facts.unit_name = text_of(field.bytes()),
            _ => {}
        }
    }
    facts
}

/// The key of a track of the model, with strings of `strings`.
pub(super) fn key_of_place(place: &Place, kind: TrackKind, strings: &mut StringTable) -> (TrackKind, RawId, RawId) {
    match place {
        Place::Thread { pid, tid } => (kind, RawId::Int(*pid), RawId::Int(*tid)),
        Place::Custom { pid, path } if kind.is_device() => {
            let device = number_after(path, &["gpu", "device", "cuda", "hip"]).or(*pid).unwrap_or(0);
            let tid = match number_after(path, &["stream", "queue", "channel"]) {
                Some(stream) => RawId::Int(stream),
                None => RawId::Text(strings.intern(path)),
            };
            (kind, RawId::Int(device), tid)
        }
        Place::Custom { pid, path } => {
            let kind = match kind {
                TrackKind::Thread | TrackKind::ThreadInstants => TrackKind::Custom,
                other => other,
            };
            (kind, process_id(*pid, strings), RawId::Text(strings.intern(path)))
        }
    }
}

/// The id of a process of the model; tracks without a process stand below a heading.
pub(super) fn process_id(pid: Option<i64>, strings: &mut StringTable) -> RawId {
    pid.map_or_else(|| RawId::Text(strings.intern(NO_PROCESS)), RawId::Int)
}

/// The number behind one of `words` in `text`, the last such.
fn number_after(text: &str, words: &[&str]) -> Option<i64> {
    let text = text.to_ascii_lowercase();
    let found = words.iter().filter_map(|word| {
        let at = text.rfind(word)? + word.len();
        let rest = text.get(at..)?.trim_start_matches([' ', ':', '#', '_', '-']);
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some((at, rest.get(..digits)?.parse().ok()?))
    });
    found.max_by_key(|found| found.0).map(|found| found.1)
}

/// The rank that a process's name or label plainly says: `Rank 3 · python`, `rank3`, `python (rank 3)`.
pub(super) fn rank_in(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let found = lower.match_indices("rank").filter_map(|(at, _)| {
        let is_word = lower.get(..at)?.chars().next_back().is_none_or(|before| !before.is_alphanumeric());
        let rest = lower.get(at + 4..).filter(|_| is_word)?;
        let rest = rest.strip_prefix([' ', '_', '-', ':', '=', '#']).unwrap_or(rest);
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        // `rank 3.5` or `rank 3x` is something else.
        let ends = rest.get(digits..)?.chars().next().is_none_or(|after| !after.is_alphanumeric() && after != '.');
        rest.get(..digits).filter(|_| ends)?.parse().ok()
    });
    found.last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_taken_only_where_they_are_plain() {
        for (text, rank) in [
            ("Rank 3 · python (pid 7)", Some(3)),
            ("rank12", Some(12)),
            ("trainer [rank=4]", Some(4)),
            ("ranking 5", None),
            ("pagerank 5", None),
            ("rank 3.5", None),
            ("python", None),
        ] {
            assert_eq!(rank_in(text), rank, "{text}");
        }
    }

    #[test]
    fn numbers_of_devices_and_streams_are_found_in_paths() {
        assert_eq!(number_after("GPU 3 / stream 7", &["gpu", "device"]), Some(3));
        assert_eq!(number_after("GPU 3 / stream 7", &["stream"]), Some(7));
        assert_eq!(number_after("Stream #12", &["stream"]), Some(12));
        assert_eq!(number_after("compute", &["stream"]), None);
    }
}
