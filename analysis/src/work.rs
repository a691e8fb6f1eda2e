//! The device work of one rank, by start, each with the call that launched it.

use gapless_trace::{EventId, EventKind, ProcessId, ProcessKind, RankId, Trace, TrackId, TrackKind};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::interval::{Interval, IntervalSet};

/// What device work does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkClass {
    /// A kernel that computes.
    Compute,
    /// A kernel that communicates.
    Communication,
    /// A copy or a fill.
    Copy,
    /// Anything else that a device stream shows.
    Other,
}

impl WorkClass {
    /// The class of a kind of device work; `None` for kinds that are no work.
    #[must_use]
    pub const fn of(kind: EventKind) -> Option<Self> {
        match kind {
            EventKind::Kernel => Some(Self::Compute),
            EventKind::Collective | EventKind::PointToPoint => Some(Self::Communication),
            EventKind::Memcpy | EventKind::Memset => Some(Self::Copy),
            _ => None,
        }
    }

    /// A short name for people, in lower case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Communication => "communication",
            Self::Copy => "copy",
            Self::Other => "other",
        }
    }
}

/// No launch in [`Work::launch`].
const NO_EVENT: u32 = u32::MAX;

/// One piece of device work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub start: i64,
    pub end: i64,
    pub event: EventId,
    launch: u32,
    /// Place in [`DeviceWork::streams`].
    pub stream: u32,
    pub class: WorkClass,
}

impl Work {
    /// The call that launched it, if it is in the recording.
    pub fn launch(&self) -> Option<EventId> {
        (self.launch != NO_EVENT).then_some(EventId(self.launch))
    }

    pub fn duration(&self) -> i64 {
        self.end.saturating_sub(self.start).max(0)
    }

    pub fn interval(&self) -> Interval {
        Interval::new(self.start, self.end)
    }
}

/// A device stream with work.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub track: TrackId,
    /// Place in [`DeviceWork::devices`].
    pub device: u32,
    /// The stream's id in the file.
    pub id: String,
}

/// A device with work.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    /// Its number, where known.
    pub number: Option<u32>,
    /// Its name in the file, or its number in words.
    pub label: String,
}

/// All device work of one rank.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeviceWork {
    /// By start, then end, then event. Zero-length work included, [`WorkClass::Other`] not.
    pub work: Vec<Work>,
    pub streams: Vec<Stream>,
    pub devices: Vec<Device>,
    /// Time of events on device streams that are neither kernel, copy nor fill.
    pub other: IntervalSet,
}

impl DeviceWork {
    pub fn new(trace: &Trace, rank: RankId) -> Self {
        let mut this = Self::default();
        let mut others = Vec::new();
        let launch_of = launches_of(trace, rank);
        let first = trace.rank(rank).map_or(0, |rank| rank.events.start);
        let events = trace.events();
        let (starts, durs, kinds) = (events.starts(), events.durs(), events.kinds());
        let mut devices: FxHashMap<ProcessId, u32> = FxHashMap::default();
        for (track_id, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Stream) {
            let stream = this.streams.len() as u32;
            let before = this.work.len();
            for id in track.event_ids() {
                let index = id.index();
                let (Some(&start), Some(&dur), Some(&kind)) = (starts.get(index), durs.get(index), kinds.get(index))
                else {
                    continue;
                };
                let end = start.saturating_add(dur);
                let Some(class) = WorkClass::of(kind) else {
                    others.push(Interval::new(start, end));
                    continue;
                };
                let launch = launch_of.get((id.0 - first) as usize).copied().unwrap_or(NO_EVENT);
                this.work.push(Work { start, end, event: id, launch, stream, class });
            }
            if this.work.len() == before {
                continue;
            }
            let device = *devices.entry(track.process).or_insert_with(|| {
                this.devices.push(device_of(trace, track.process));
                this.devices.len() as u32 - 1
            });
            this.streams.push(Stream { track: track_id, device, id: stream_label(trace, track_id) });
        }
        // Rows are sorted runs, so a stable merge sort beats a general one.
        this.work.sort_by_key(|work| (work.start, work.end, work.event));
        this.other = IntervalSet::from_unsorted(others);
        this
    }

    /// The union of the work that `keep` chooses. O(n).
    pub fn union(&self, keep: impl Fn(&Work) -> bool) -> IntervalSet {
        IntervalSet::from_sorted(self.work.iter().filter(|work| keep(work)).map(Work::interval))
    }

    /// The device of a piece of work.
    pub fn device_of(&self, work: &Work) -> u32 {
        self.streams.get(work.stream as usize).map_or(0, |stream| stream.device)
    }
}

/// For each event of the rank the call that launched it, or [`NO_EVENT`].
fn launches_of(trace: &Trace, rank: RankId) -> Vec<u32> {
    let Some(rank) = trace.rank(rank) else { return Vec::new() };
    let (from, to) = (rank.events.start, rank.events.end);
    let mut launches = vec![NO_EVENT; (to.saturating_sub(from)) as usize];
    let pairs = trace.launches().pairs();
    let begin = pairs.partition_point(|pair| pair.0.0 < from);
    for &(launch, work) in pairs.get(begin..).unwrap_or_default().iter().take_while(|pair| pair.0.0 < to) {
        let place = work.0.checked_sub(from).and_then(|index| launches.get_mut(index as usize));
        // Of several calls with one correlation id the first is the launch, as in `LaunchLinks::launch_of`.
        if let Some(place) = place.filter(|place| **place == NO_EVENT) {
            *place = launch.0;
        }
    }
    launches
}

fn device_of(trace: &Trace, process: ProcessId) -> Device {
    let Some(process) = trace.process(process) else { return Device { number: None, label: String::new() } };
    let number = match process.kind {
        ProcessKind::Device(number) => Some(number),
        ProcessKind::Host | ProcessKind::Virtual => None,
    };
    let named = [process.labels, process.name].map(|id| trace.text(id).trim().to_owned());
    let label = match number {
        Some(number) => format!("Device {number}"),
        None => named.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| trace.raw_id_text(process.pid)),
    };
    Device { number, label }
}

fn stream_label(trace: &Trace, id: TrackId) -> String {
    let Some(track) = trace.track(id) else { return String::new() };
    trace.raw_id_text(track.tid)
}
