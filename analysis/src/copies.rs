//! Copies and fills by direction, with their bandwidth.

use gapless_trace::{EventId, EventKind, StrId, Trace};
use serde::Serialize;

use crate::stats::Stats;
use crate::tables::{Groups, Longest, by_time_then_name, gb_per_s};
use crate::work::{DeviceWork, WorkClass};

/// From where to where a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyDirection {
    /// From host memory to device memory.
    HostToDevice,
    /// From device memory to host memory.
    DeviceToHost,
    /// Within the memory of one device.
    DeviceToDevice,
    /// From one device to another.
    PeerToPeer,
    /// Within host memory.
    HostToHost,
    /// A fill.
    Fill,
    /// The name does not say.
    Unknown,
}

impl CopyDirection {
    /// The direction that the name of a copy tells (`Memcpy HtoD (Pinned -> Device)`, `CopyHostToDevice`).
    #[must_use]
    pub fn of(kind: EventKind, name: &str) -> Self {
        if kind == EventKind::Memset {
            return Self::Fill;
        }
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        if has(&["HtoD", "HostToDevice"]) {
            Self::HostToDevice
        } else if has(&["DtoH", "DeviceToHost"]) {
            Self::DeviceToHost
        } else if has(&["PtoP", "PeerToPeer"]) {
            Self::PeerToPeer
        } else if has(&["DtoD", "DeviceToDevice"]) {
            Self::DeviceToDevice
        } else if has(&["HtoH", "HostToHost"]) {
            Self::HostToHost
        } else {
            Self::Unknown
        }
    }

    /// A short name for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::HostToDevice => "host to device",
            Self::DeviceToHost => "device to host",
            Self::DeviceToDevice => "within a device",
            Self::PeerToPeer => "device to device",
            Self::HostToHost => "within the host",
            Self::Fill => "fill",
            Self::Unknown => "unknown",
        }
    }
}

/// All copies or fills of one name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CopyRow {
    /// From where to where.
    pub direction: CopyDirection,
    /// Its name.
    pub name: String,
    /// Their durations.
    #[serde(flatten)]
    pub stats: Stats,
    /// Bytes that they moved, as far as the file says; `None` if it says nothing.
    pub bytes: Option<u64>,
    /// How many of them have their bytes in the file.
    pub bytes_known: u64,
    /// `bytes` ÷ the time of the copies whose bytes are known, in 10⁹ bytes per second.
    pub gb_per_s: Option<f64>,
    /// The longest one, the first of equals.
    #[serde(serialize_with = "crate::ids::event")]
    pub longest_event: EventId,
    /// Start of the longest one, in ns.
    pub longest_start_ns: i64,
}

pub(crate) fn rows(trace: &Trace, device: &DeviceWork) -> Vec<CopyRow> {
    let mut groups: Groups<(StrId, EventKind)> = Groups::default();
    let mut longest: Vec<Longest> = Vec::new();
    // Bytes, copies with bytes, and their time.
    let mut moved: Vec<(u64, u64, i64)> = Vec::new();
    for work in device.work.iter().filter(|work| work.class == WorkClass::Copy) {
        let event = trace.event(work.event);
        let place = groups.add((event.name, event.kind), work.duration());
        Longest::note(&mut longest, place, work.event, work.start, work.duration());
        moved.resize(longest.len(), (0, 0, 0));
        if let (Some(bytes), Some(sums)) = (trace.copy_bytes(work.event), moved.get_mut(place)) {
            sums.0 = sums.0.saturating_add(bytes);
            sums.1 += 1;
            sums.2 = sums.2.saturating_add(work.duration());
        }
    }
    let rows = groups.into_stats().zip(longest).zip(moved).map(|((((name, kind), stats), longest), moved)| {
        let (bytes, bytes_known, ns) = moved;
        let name = trace.text(name).to_owned();
        CopyRow {
            direction: CopyDirection::of(kind, &name),
            name,
            stats,
            bytes: (bytes_known > 0).then_some(bytes),
            bytes_known,
            gb_per_s: gb_per_s(bytes, ns).filter(|_| bytes_known > 0),
            longest_event: longest.event,
            longest_start_ns: longest.start,
        }
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|a, b| by_time_then_name((a.stats.sum_ns, &a.name), (b.stats.sum_ns, &b.name)));
    rows
}
