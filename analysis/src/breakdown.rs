//! The numbers of one rank over its whole recording.

use gapless_trace::{RankId, Trace, TrackId};
use serde::Serialize;

use crate::interval::{Interval, IntervalSet};
use crate::partition::RankWork;
use crate::work::{DeviceWork, Work, WorkClass};

/// The device work of one rank over its whole recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankBreakdown {
    /// Its place in [`Trace::ranks`].
    #[serde(serialize_with = "crate::ids::rank")]
    pub rank_id: RankId,
    /// Its number in the job, where known.
    pub rank: Option<u32>,
    /// The file it came from.
    pub file: String,
    /// Kernels, copies and fills, those of zero length included.
    pub device_events: u64,
    /// Start of the first device work that takes time, on the trace's clock.
    pub first_ns: Option<i64>,
    /// End of the last device work − start of the first; work of zero length does not count.
    pub span_ns: i64,
    /// Some device work runs.
    pub busy_ns: i64,
    /// `span_ns − busy_ns`.
    pub idle_ns: i64,
    /// Some kernel computes.
    pub compute_union_ns: i64,
    /// Some kernel communicates.
    pub comm_union_ns: i64,
    /// Something is copied or filled.
    pub mem_union_ns: i64,
    /// Some kernel computes while another communicates.
    pub overlap_comm_compute_ns: i64,
    /// `comm_union_ns − overlap_comm_compute_ns`. A copy may run in this time.
    pub exposed_comm_ns: i64,
    /// Summed durations of communication kernels.
    pub comm_sum_ns: i64,
    /// Summed durations of all device work.
    pub device_sum_ns: i64,
    /// Communication kernels.
    pub n_comm: u64,
    /// Kernels that compute.
    pub n_compute: u64,
    /// Copies and fills.
    pub n_mem: u64,
    /// Each device of the rank that worked.
    pub devices: Vec<DeviceBusy>,
    /// Each stream of the rank that worked, in the order of display.
    pub streams: Vec<StreamBusy>,
}

/// How busy a device was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceBusy {
    /// Its number, where known.
    pub device: Option<u32>,
    /// Its name for people.
    pub label: String,
    /// Device work on it.
    pub device_events: u64,
    /// Some work runs on it.
    pub busy_ns: i64,
    /// Summed durations.
    pub sum_ns: i64,
}

/// How busy a stream was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamBusy {
    /// Its track.
    #[serde(serialize_with = "crate::ids::track")]
    pub track: TrackId,
    /// Number of its device, where known.
    pub device: Option<u32>,
    /// Its id in the file.
    pub stream: String,
    /// Device work on it.
    pub device_events: u64,
    /// Some work runs on it.
    pub busy_ns: i64,
    /// Summed durations.
    pub sum_ns: i64,
}

/// Events, union and sum of a part of the work.
#[derive(Clone, Debug, Default)]
struct Busy {
    events: u64,
    union: IntervalSet,
    sum: i64,
}

impl Busy {
    fn add(&mut self, work: &Work) {
        self.events += 1;
        self.union.push(work.interval());
        self.sum = self.sum.saturating_add(work.duration());
    }
}

impl RankBreakdown {
    /// Reads the numbers off `work`. O(n).
    #[must_use]
    pub fn new(trace: &Trace, rank: RankId, work: &RankWork) -> Self {
        let info = trace.rank(rank);
        let file = info.and_then(|rank| trace.source(rank.source)).map(|source| source.path.clone());
        let device = &work.device;
        let mut classes = [(0_u64, 0_i64); 4];
        for piece in &device.work {
            if let Some((count, sum)) = classes.get_mut(piece.class as usize) {
                *count += 1;
                *sum = sum.saturating_add(piece.duration());
            }
        }
        let [(n_compute, compute_sum), (n_comm, comm_sum_ns), (n_mem, mem_sum), _] = classes;
        let hull = work.busy.set().hull();
        let span_ns = hull.map_or(0, Interval::length);
        let busy_ns = work.busy.length();
        let comm_union_ns = work.comm.length();
        let overlap = work.comm.set().intersection_length(work.compute.set());
        let (devices, streams) = busy(device);
        Self {
            rank_id: rank,
            rank: info.and_then(|rank| rank.number),
            file: file.unwrap_or_default(),
            device_events: device.work.len() as u64,
            first_ns: hull.map(|hull| hull.start),
            span_ns,
            busy_ns,
            idle_ns: span_ns.saturating_sub(busy_ns),
            compute_union_ns: work.compute.length(),
            comm_union_ns,
            mem_union_ns: work.copy.length(),
            overlap_comm_compute_ns: overlap,
            exposed_comm_ns: comm_union_ns.saturating_sub(overlap),
            comm_sum_ns,
            device_sum_ns: comm_sum_ns.saturating_add(compute_sum).saturating_add(mem_sum),
            n_comm,
            n_compute,
            n_mem,
            devices,
            streams,
        }
    }

    /// How many events there are of a class of work.
    #[must_use]
    pub const fn events_of(&self, class: WorkClass) -> u64 {
        match class {
            WorkClass::Compute => self.n_compute,
            WorkClass::Communication => self.n_comm,
            WorkClass::Copy => self.n_mem,
            WorkClass::Other => 0,
        }
    }
}

fn busy(device: &DeviceWork) -> (Vec<DeviceBusy>, Vec<StreamBusy>) {
    let mut devices = vec![Busy::default(); device.devices.len()];
    let mut streams = vec![Busy::default(); device.streams.len()];
    for work in &device.work {
        if let Some(busy) = streams.get_mut(work.stream as usize) {
            busy.add(work);
        }
        if let Some(busy) = devices.get_mut(device.device_of(work) as usize) {
            busy.add(work);
        }
    }
    let of_device = device.devices.iter().zip(devices).map(|(device, busy)| DeviceBusy {
        device: device.number,
        label: device.label.clone(),
        device_events: busy.events,
        busy_ns: busy.union.length(),
        sum_ns: busy.sum,
    });
    let of_stream = device.streams.iter().zip(streams).map(|(stream, busy)| StreamBusy {
        track: stream.track,
        device: device.devices.get(stream.device as usize).and_then(|device| device.number),
        stream: stream.id.clone(),
        device_events: busy.events,
        busy_ns: busy.union.length(),
        sum_ns: busy.sum,
    });
    (of_device.collect(), of_stream.collect())
}

#[cfg(test)]
mod tests {
    use gapless_trace::EventKind;

    use super::*;
    use crate::AnalysisOptions;
    use crate::fixture::{Fixture, NO_ID};

    fn breakdown(trace: &Trace) -> RankBreakdown {
        let work = RankWork::new(trace, RankId(0), &AnalysisOptions::default());
        RankBreakdown::new(trace, RankId(0), &work)
    }

    #[test]
    fn overlapping_streams_count_once() {
        let mut fixture = Fixture::new();
        // compute   [100..200)      [300..400)
        // comm           [150..350)             (50 + 50 under compute)
        // copy                          [390..450)
        fixture.kernel("gemm", (100, 200));
        fixture.kernel("relu", (300, 400));
        fixture.device((0, 20), EventKind::Kernel, "ncclDevKernel_AllReduce_Sum_f32_RING_LL", (150, 350), NO_ID);
        fixture.device((0, 21), EventKind::Memcpy, "Memcpy HtoD (Pinned -> Device)", (390, 450), NO_ID);
        fixture.kernel("late", (500, 510));
        let found = breakdown(&fixture.trace());
        assert_eq!((found.device_events, found.n_compute, found.n_comm, found.n_mem), (5, 3, 1, 1));
        assert_eq!(found.first_ns, Some(100));
        assert_eq!((found.span_ns, found.busy_ns, found.idle_ns), (410, 360, 50));
        assert_eq!((found.compute_union_ns, found.comm_union_ns, found.mem_union_ns), (210, 200, 60));
        assert_eq!((found.overlap_comm_compute_ns, found.exposed_comm_ns), (100, 100));
        assert_eq!((found.comm_sum_ns, found.device_sum_ns), (200, 470));
        let streams: Vec<_> = found.streams.iter().map(|stream| (stream.stream.as_str(), stream.busy_ns)).collect();
        assert_eq!(streams, [("7", 210), ("20", 200), ("21", 60)]);
    }

    #[test]
    fn work_of_no_length_and_synchronisation_take_no_time() {
        let mut fixture = Fixture::new();
        fixture.kernel("nothing", (0, 0));
        fixture.kernel("gemm", (100, 200));
        fixture.kernel("nothing", (150, 150));
        fixture.kernel("nothing", (900, 900));
        fixture.sync(7, "Stream Sync", (0, 1_000));
        let found = breakdown(&fixture.trace());
        assert_eq!((found.device_events, found.n_compute), (4, 4));
        assert_eq!((found.first_ns, found.span_ns, found.busy_ns, found.idle_ns), (Some(100), 100, 100, 0));
    }

    #[test]
    fn devices_of_one_rank_are_told_apart() {
        let mut fixture = Fixture::new();
        fixture.device((0, 7), EventKind::Kernel, "a", (0, 100), NO_ID);
        fixture.device((1, 7), EventKind::Kernel, "b", (50, 250), NO_ID);
        fixture.device((1, 8), EventKind::Kernel, "c", (200, 300), NO_ID);
        let found = breakdown(&fixture.trace());
        let devices: Vec<_> = found.devices.iter().map(|d| (d.device, d.device_events, d.busy_ns, d.sum_ns)).collect();
        assert_eq!(devices, [(Some(0), 1, 100, 100), (Some(1), 2, 250, 300)]);
        assert_eq!((found.busy_ns, found.idle_ns), (300, 0));
        assert_eq!(found.streams.iter().map(|s| (s.device, s.busy_ns)).collect::<Vec<_>>().len(), 3);
    }

    #[test]
    fn a_rank_without_device_work_is_all_zero() {
        let mut fixture = Fixture::new();
        fixture.host(1, EventKind::Operator, "aten::mm", (0, 100), NO_ID);
        let found = breakdown(&fixture.trace());
        assert_eq!((found.device_events, found.first_ns, found.span_ns, found.idle_ns), (0, None, 0, 0));
    }
}
