//! What holds for the whole recording: its clock, its host, its devices, its process.

use gapless_trace::{ArgValue, Args, DeviceInfo, SourceId, WarningKind, Warnings};
use rustc_hash::FxHashSet;

use super::args::arg_value;
use super::kinds::PlaneKind;
use super::space::{Plane, Space};
use super::tables::{StatValue, Stretch};

/// Id of a process whose number is not recorded; the recorder's own viewer uses it, too.
const UNKNOWN_PID: i64 = 701;

/// Unix times in ns are above this since 2001; times that count from the start of a recording are far below.
const UNIX_TIMES_NS: i64 = 1_000_000_000_000_000_000;

/// What times count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// In ns of Unix time; `None` where the file does not say.
    pub base_ns: Option<i64>,
}

impl Clock {
    /// Recorders move lines to the start of the recording, but leave those that later tools add as they are.
    pub fn line_ns(self, timestamp_ns: i64) -> i64 {
        match self.base_ns {
            Some(base) if timestamp_ns >= base => timestamp_ns - base,
            _ => timestamp_ns,
        }
    }

    /// Last time that can be told, in ns from the base.
    pub fn last_ns(self) -> i64 {
        i64::MAX - self.base_ns.unwrap_or(0)
    }

    /// Whether a time in ns from the base can be told.
    pub fn fits(self, time_ns: i64) -> bool {
        time_ns <= self.last_ns()
    }
}

/// What holds for the whole recording.
#[derive(Debug)]
pub(super) struct Facts {
    /// Its clock.
    pub clock: Clock,
    /// Its host, if it is one.
    pub host: Option<String>,
    /// Its devices, by number.
    pub devices: Vec<DeviceInfo>,
    /// Everything else.
    pub header: Args,
    /// Process of planes that name none.
    pub pid: i64,
}

impl Facts {
    /// Gathers the facts of all planes.
    pub fn new(file: &[u8], space: &Space, warnings: &mut Warnings) -> Self {
        let text = |part: &Stretch| part.text(file).into_owned();
        let mut header = Args::new();
        let mut named = FxHashSet::default();
        for plane in space.planes.iter().filter(|plane| plane.kind.device().is_none()) {
            let mut entries = args_of(file, plane);
            if plane.kind == PlaneKind::Facts {
                // The compiled programs themselves are no part of a time line.
                let programs = plane.tables.types.entries().iter().map(|entry| ArgValue::Text(text(&entry.name)));
                let programs: Vec<_> = programs.collect();
                if !programs.is_empty() {
                    entries.push(("programs".to_owned(), ArgValue::List(programs)));
                }
            }
            if !entries.is_empty() && named.insert(plane.name(file)) {
                header.push((plane.name(file).into_owned(), ArgValue::Dict(entries)));
            }
        }
        let messages: Vec<String> = space.messages.iter().map(text).collect();
        for (message, place) in messages.iter().zip(&space.messages) {
            warnings.add(WarningKind::RecorderMessage, SourceId(0), Some(place.at as u64), message);
        }
        if !messages.is_empty() {
            header.push(("messages".to_owned(), texts(messages)));
        }
        let mut hosts: Vec<String> = space.hosts.iter().map(text).collect();
        let host = if hosts.len() == 1 { hosts.pop() } else { None };
        if !hosts.is_empty() {
            header.push(("hostnames".to_owned(), texts(hosts)));
        }
        let pid = space.planes.iter().find_map(|plane| process_of(file, plane)).unwrap_or(UNKNOWN_PID);
        Self { clock: clock(file, space), host, devices: devices(file, space, warnings), header, pid }
    }
}

fn texts(texts: Vec<String>) -> ArgValue {
    ArgValue::List(texts.into_iter().map(ArgValue::Text).collect())
}

fn args_of(file: &[u8], plane: &Plane) -> Args {
    let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    plane.stats(file).map(|(stat, value)| (name(stat), arg_value(file, &plane.tables, value))).collect()
}

/// The process that the plane names.
pub(super) fn process_of(file: &[u8], plane: &Plane) -> Option<i64> {
    let found = plane.stats(file).find(|(name, _)| *name == b"process_id")?;
    found.1.bits().map(|bits| bits as i64)
}

fn clock(file: &[u8], space: &Space) -> Clock {
    let start = space.planes.iter().filter(|plane| plane.kind == PlaneKind::Facts).find_map(|plane| {
        let found = plane.stats(file).find(|(name, _)| *name == b"profile_start_time")?;
        // A base that leaves no room for times is no base.
        found.1.bits().and_then(|bits| i64::try_from(bits).ok()).filter(|&base| base > 0 && base < i64::MAX / 2)
    });
    let is_unix = || {
        let lines = space.planes.iter().flat_map(|plane| &plane.lines);
        lines.map(|line| line.timestamp_ns).min().is_some_and(|first| first >= UNIX_TIMES_NS)
    };
    Clock { base_ns: start.or_else(|| is_unix().then_some(0)) }
}

fn devices(file: &[u8], space: &Space, warnings: &mut Warnings) -> Vec<DeviceInfo> {
    let mut devices: Vec<DeviceInfo> = Vec::new();
    let mut known = FxHashSet::default();
    for plane in &space.planes {
        let Some(id) = plane.kind.device() else { continue };
        if matches!(&plane.kind, PlaneKind::Tpu { core, .. } if !core.is_empty()) || plane.stats.is_empty() {
            continue;
        }
        let get = |wanted: &[u8]| plane.stats(file).find(|(name, _)| *name == wanted).map(|found| found.1);
        let number = |name: &[u8]| get(name).and_then(StatValue::bits);
        let small = |name: &[u8]| number(name).and_then(|value| u32::try_from(value).ok());
        let text = |name: &[u8]| {
            let found = get(name).and_then(|value| plane.tables.text(file, value))?;
            Some(String::from_utf8_lossy(found).into_owned())
        };
        // Counted by the recorder: either a number or a sentence.
        if let Some(value) = get(b"dropped_traces") {
            let detail = format!("{}: dropped traces: {}", plane.name(file), arg_value(file, &plane.tables, value));
            let place = plane.place.at as u64;
            warnings.add(WarningKind::RecorderMessage, SourceId(0), Some(place), &detail);
        }
        // Large planes are written in several pieces with the same head.
        if !known.insert(id) {
            continue;
        }
        devices.push(DeviceInfo {
            id,
            name: text(b"gpu_device_name").or_else(|| text(b"device_type_string")).unwrap_or_default(),
            memory_bytes: number(b"memory_size"),
            multiprocessors: small(b"core_count"),
            compute_capability: small(b"compute_cap_major").zip(small(b"compute_cap_minor")),
            properties: args_of(file, plane),
        });
    }
    devices.sort_by_key(|device| device.id);
    devices
}
