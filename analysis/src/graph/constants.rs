//! Latencies of a rank, learnt from its recording.
//!
//! A low quantile finds where undisturbed samples lie (a median of few may be far off: streams that only seem idle);
//! the constant is the mean of all samples near it. Delays above the limit of unexplained time are kept as such by the
//! model and the rest is dropped, so a constant must be the mean of that rest: with quantiles alone the replay of a busy
//! stream of ten thousand kernels ends 0.6 % too early.

use gapless_trace::{RankId, StrId, Trace};
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::GraphOptions;
use super::anchors::Call;
use super::api::Api;
use super::device::{Before, Stream, Work, latest_ends};

/// From a call to the start of its work on an idle stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiLatency {
    /// Number of the device, in the order in which the rank's streams name them.
    pub device: u32,
    /// Name of the call.
    pub api: String,
    /// The latency, in ns.
    pub latency_ns: i64,
    /// Launches on an idle stream that it comes from.
    pub samples: u64,
}

/// Constants of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceConstants {
    /// Latency of calls with too few samples of their own, in ns.
    pub launch_ns: i64,
    /// Gap between two pieces of work that wait in one stream, in ns.
    pub gap_ns: i64,
    /// The same within one graph launch, in ns.
    pub graph_gap_ns: i64,
    /// Launches on an idle stream that `launch_ns` comes from.
    pub launch_samples: u64,
    /// Gaps that `gap_ns` comes from.
    pub gap_samples: u64,
}

/// Constants of one rank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RankConstants {
    /// The rank.
    #[serde(serialize_with = "crate::ids::rank")]
    pub rank: RankId,
    /// Its devices, in the order in which its streams name them.
    pub devices: Vec<DeviceConstants>,
    /// Launch latencies by device and call, where there are at least five samples.
    pub launches: Vec<ApiLatency>,
    /// From the end of work to the return of the call that waits for it, in ns.
    pub return_ns: i64,
    /// From the end of work on one stream to the start of work on another that waits for it, in ns.
    pub event_ns: i64,
}

/// Launch latency without samples: typical of CUDA devices (5.5–14 µs measured).
const DEFAULT_LAUNCH_NS: i64 = 8_000;
/// Bounds of the launch latency: faster than hardware, or slower than a queue that was not idle after all.
const LAUNCH_BOUNDS_NS: (i64, i64) = (2_000, 60_000);
const DEFAULT_GAP_NS: i64 = 1_000;
const GAP_BOUNDS_NS: (i64, i64) = (0, 15_000);
/// Work counts as queued when it was launched this long before its predecessor ended: surely if the latency of any
/// launch has passed by then (18–40 µs on ROCm), and in want of such samples if that of most has.
const QUEUED_NS: (i64, i64) = (40_000, 10_000);
const DEFAULT_RETURN_NS: i64 = 5_000;
const RETURN_BOUNDS_NS: (i64, i64) = (1_000, 20_000);
const DEFAULT_EVENT_NS: i64 = 2_000;
const EVENT_BOUNDS_NS: (i64, i64) = (0, 5_000);
/// Samples needed for a constant of one API.
const MIN_SAMPLES: usize = 5;

/// The mean of the samples within `reach` of the quantile; sorts.
fn centre(values: &mut [i64], percent: usize, reach: i64) -> Option<i64> {
    let base = quantile(values, percent)?;
    let near = |value: &i64| value.saturating_sub(base).saturating_abs() < reach;
    let (sum, count) =
        values.iter().filter(|value| near(value)).fold((0_i64, 0_i64), |(s, n), v| (s.saturating_add(*v), n + 1));
    Some((sum + count / 2) / count.max(1))
}

/// The value below which the share `percent` lies, without interpolation; sorts.
fn quantile(values: &mut [i64], percent: usize) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) * percent / 100).copied()
}

/// Device, name, whether within a graph launch, whether other streams worked.
type GapKey = (u32, StrId, bool, bool);

/// For each piece of work whether work of another stream ran when it began.
fn beside_others(streams: &[Stream], work: &[Work]) -> Vec<bool> {
    let mut by_start: Vec<u32> = (0..work.len() as u32).collect();
    by_start.sort_unstable_by_key(|&place| work.get(place as usize).map(|work| (work.start, work.event)));
    let mut until = vec![i64::MIN; streams.len()];
    let mut found = vec![false; work.len()];
    for place in by_start {
        let Some(piece) = work.get(place as usize) else { continue };
        let others = until.iter().enumerate().filter(|(stream, _)| *stream != piece.stream as usize);
        let beside = others.into_iter().any(|(_, until)| *until > piece.start);
        if let Some(slot) = found.get_mut(place as usize) {
            *slot = beside;
        }
        if let Some(until) = until.get_mut(piece.stream as usize) {
            *until = piece.end.max(*until);
        }
    }
    found
}

/// Gaps before work that waited in a queue.
#[derive(Clone, Debug, Default)]
struct Gaps {
    sure: Vec<i64>,
    all: Vec<i64>,
}

impl Gaps {
    fn add(&mut self, gap: i64, surely: bool) {
        self.all.push(gap);
        if surely {
            self.sure.push(gap);
        }
    }

    fn centre(&mut self, limits: &GraphOptions) -> Option<i64> {
        let samples = if self.sure.len() >= MIN_SAMPLES { &mut self.sure } else { &mut self.all };
        centre(samples, 50, limits.device_limit_ns)
    }
}

/// What the edges of one rank look up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lookup {
    devices: Vec<DeviceConstants>,
    by_api: FxHashMap<(u32, StrId), (i64, u64)>,
    /// The same for launches after the stream was told to wait for another that was done already.
    after_wait: FxHashMap<u32, i64>,
    /// Of each piece of work whether its stream was told to wait just before its launch.
    is_after_wait: Vec<bool>,
    /// Gaps before kernels of one name.
    by_kernel: FxHashMap<GapKey, i64>,
    /// Of each piece of work whether another stream worked when it began: gaps are longer then.
    beside_others: Vec<bool>,
    return_ns: i64,
    return_of_api: FxHashMap<StrId, i64>,
    pub event_ns: i64,
    /// Of each stream the place of its device.
    pub device_of_stream: Vec<u32>,
    /// Cost of blocking calls that need not wait.
    call_cost: FxHashMap<StrId, i64>,
}

/// Cost of a blocking call that does not wait, without samples, and its bounds.
const DEFAULT_CALL_NS: i64 = 2_000;
const CALL_BOUNDS_NS: (i64, i64) = (1_000, 20_000);

impl Lookup {
    pub fn new(
        streams: &[Stream],
        work: &[Work],
        before: &[Before],
        calls: &[Call],
        limits: &GraphOptions,
        learn: &dyn Fn(i64) -> bool,
    ) -> Self {
        let mut devices = Vec::new();
        let device_of_stream: Vec<u32> = streams
            .iter()
            .map(|stream| {
                let known = devices.iter().position(|&device| device == stream.device);
                known.unwrap_or_else(|| {
                    devices.push(stream.device);
                    devices.len() - 1
                }) as u32
            })
            .collect();
        let mut launch: FxHashMap<(u32, StrId), Vec<i64>> = FxHashMap::default();
        let beside_others = beside_others(streams, work);
        let waiting = calls.iter().filter(|call| call.api == Api::WaitEvent);
        let mut waiting: Vec<(u32, i64)> = waiting.map(|call| (call.thread, call.start)).collect();
        waiting.sort_unstable();
        let mut is_after_wait = vec![false; work.len()];
        let mut after_wait: FxHashMap<u32, Vec<i64>> = FxHashMap::default();
        let latest = latest_ends(streams, work);
        let others_done = |own: u32, at: i64| {
            streams.iter().enumerate().filter(|(stream, _)| *stream != own as usize).all(|(_, stream)| {
                let list = work.get(stream.work.clone()).unwrap_or_default();
                let before = list.partition_point(|work| work.submitted < at).checked_sub(1);
                let last = before.and_then(|place| latest.get(stream.work.start + place));
                last.is_none_or(|&last| work.get(last as usize).is_some_and(|work| work.end <= at))
            })
        };
        let waits_between = |thread: u32, from: i64, to: i64| {
            let next = waiting.partition_point(|wait| *wait < (thread, from));
            waiting.get(next).is_some_and(|wait| wait.0 == thread && wait.1 <= to)
        };
        let mut gaps: FxHashMap<GapKey, Gaps> = FxHashMap::default();
        let mut all: Vec<(Vec<i64>, Gaps, Gaps)> = vec![Default::default(); devices.len()];
        for (stream, &device) in streams.iter().zip(&device_of_stream) {
            let Some(own) = work.get(stream.work.clone()) else { continue };
            let Some(before) = before.get(stream.work.clone()) else { continue };
            let Some(samples) = all.get_mut(device as usize) else { continue };
            let own_beside = beside_others.get(stream.work.clone()).unwrap_or_default();
            for (place, ((piece, before), &beside)) in own.iter().zip(before).zip(own_beside).enumerate() {
                if !learn(piece.submitted) {
                    continue;
                }
                let last = before.ended.and_then(|place| own.get(place));
                let call = calls.get(piece.call as usize);
                let since = last.map_or(i64::MIN, |last| last.submitted);
                if let Some(call) = call.filter(|call| waits_between(call.thread, since, call.start)) {
                    if let Some(slot) = is_after_wait.get_mut(stream.work.start + place) {
                        *slot = true;
                    }
                    // Work that may have waited for another stream teaches nothing about this one.
                    let is_idle = last.is_none_or(|last| last.end < call.start);
                    if is_idle && before.beside.is_none() && others_done(piece.stream, call.start) {
                        after_wait.entry(device).or_default().push(piece.start.saturating_sub(call.start));
                    }
                    continue;
                }
                let is_same_launch = last.is_some_and(|last| last.call == piece.call && call.is_some());
                let gap = last.map(|last| piece.start.saturating_sub(last.end));
                // Work that overlaps its predecessor has its own, negative lag.
                let gap = gap.filter(|&gap| gap >= 0 && gap < limits.device_limit_ns);
                if is_same_launch {
                    if let Some(gap) = gap.filter(|_| before.beside.is_none()) {
                        samples.2.add(gap, true);
                        gaps.entry((device, piece.name, true, beside)).or_default().add(gap, true);
                    }
                    continue;
                }
                let Some(call) = call else { continue };
                match last {
                    Some(last) if call.start <= last.end => {
                        let is_queued = call.start.saturating_add(QUEUED_NS.1) < last.end && before.beside.is_none();
                        if let Some(gap) = gap.filter(|_| is_queued) {
                            let surely = call.start.saturating_add(QUEUED_NS.0) < last.end;
                            samples.1.add(gap, surely);
                            gaps.entry((device, piece.name, false, beside)).or_default().add(gap, surely);
                        }
                    }
                    _ if before.beside.is_none() => {
                        let latency = piece.start.saturating_sub(call.start);
                        samples.0.push(latency);
                        launch.entry((device, call.name)).or_default().push(latency);
                    }
                    _ => {}
                }
            }
        }
        let devices = all
            .into_iter()
            .map(|(mut launch, mut gap, mut graph_gap)| {
                let launch_ns =
                    (launch.len() >= MIN_SAMPLES).then(|| centre(&mut launch, 25, limits.device_limit_ns)).flatten();
                let clamped = |gap: i64| gap.clamp(GAP_BOUNDS_NS.0, GAP_BOUNDS_NS.1);
                let gap_ns = gap.centre(limits).map_or(DEFAULT_GAP_NS, clamped);
                let graph_gap = graph_gap.centre(limits);
                DeviceConstants {
                    launch_ns: launch_ns.unwrap_or(DEFAULT_LAUNCH_NS).clamp(LAUNCH_BOUNDS_NS.0, LAUNCH_BOUNDS_NS.1),
                    gap_ns,
                    graph_gap_ns: graph_gap.map_or(gap_ns.min(1_000), clamped),
                    launch_samples: launch.len() as u64,
                    gap_samples: gap.all.len() as u64,
                }
            })
            .collect();
        let enough = launch.into_iter().filter(|(_, samples)| samples.len() >= MIN_SAMPLES);
        let by_api = enough
            .filter_map(|(key, mut samples)| {
                let latency =
                    centre(&mut samples, 25, limits.device_limit_ns)?.clamp(LAUNCH_BOUNDS_NS.0, LAUNCH_BOUNDS_NS.1);
                Some((key, (latency, samples.len() as u64)))
            })
            .collect();
        let enough = gaps.into_iter().filter(|(_, samples)| samples.all.len() >= MIN_SAMPLES);
        let by_kernel = enough.filter_map(|(key, mut samples)| {
            Some((key, samples.centre(limits)?.clamp(GAP_BOUNDS_NS.0, GAP_BOUNDS_NS.1)))
        });
        Self {
            devices,
            by_api,
            after_wait: after_wait
                .into_iter()
                .filter(|(_, samples)| samples.len() >= MIN_SAMPLES)
                .filter_map(|(device, mut samples)| Some((device, centre(&mut samples, 25, limits.device_limit_ns)?)))
                .map(|(device, latency)| (device, latency.clamp(LAUNCH_BOUNDS_NS.0, LAUNCH_BOUNDS_NS.1)))
                .collect(),
            is_after_wait,
            by_kernel: by_kernel.collect(),
            beside_others,
            return_ns: DEFAULT_RETURN_NS,
            return_of_api: FxHashMap::default(),
            event_ns: DEFAULT_EVENT_NS,
            device_of_stream,
            call_cost: FxHashMap::default(),
        }
    }

    /// From the returns of calls that waited: name of the call, its end less the end of what it waited for.
    pub fn learn_returns(&mut self, samples: &[(StrId, i64)], limits: &GraphOptions) {
        let learn = |samples: &mut Vec<i64>| {
            let value = if samples.len() >= MIN_SAMPLES { centre(samples, 10, limits.host_limit_ns) } else { None };
            value.map(|value| value.clamp(RETURN_BOUNDS_NS.0, RETURN_BOUNDS_NS.1))
        };
        let mut by_api: FxHashMap<StrId, Vec<i64>> = FxHashMap::default();
        for &(api, rest) in samples {
            by_api.entry(api).or_default().push(rest);
        }
        let known = by_api.into_iter().filter_map(|(api, mut samples)| Some((api, learn(&mut samples)?)));
        self.return_of_api = known.collect();
        self.return_ns = learn(&mut samples.iter().map(|sample| sample.1).collect()).unwrap_or(DEFAULT_RETURN_NS);
    }

    /// From the end of work to the return of a call of this name that waits for it.
    pub fn return_ns(&self, api: StrId) -> i64 {
        self.return_of_api.get(&api).copied().unwrap_or(self.return_ns)
    }

    /// From waits that were the last thing to hold work back: its start less the end of what it waited for.
    pub fn learn_events(&mut self, samples: &mut [i64]) {
        if samples.len() >= MIN_SAMPLES
            && let Some(value) = centre(samples, 50, 5_000)
        {
            self.event_ns = value.clamp(EVENT_BOUNDS_NS.0, EVENT_BOUNDS_NS.1);
        }
    }

    /// From calls that had nothing to wait for.
    pub fn learn_costs(&mut self, samples: FxHashMap<StrId, Vec<i64>>) {
        for (name, mut samples) in samples {
            if let Some(value) = quantile(&mut samples, 50) {
                self.call_cost.insert(name, value.clamp(CALL_BOUNDS_NS.0, CALL_BOUNDS_NS.1));
            }
        }
    }

    pub fn call_cost(&self, name: StrId) -> i64 {
        self.call_cost.get(&name).copied().unwrap_or(DEFAULT_CALL_NS)
    }

    pub fn device(&self, stream: u32) -> DeviceConstants {
        let device = self.device_of_stream.get(stream as usize).and_then(|&device| self.devices.get(device as usize));
        device.copied().unwrap_or(DeviceConstants {
            launch_ns: DEFAULT_LAUNCH_NS,
            gap_ns: DEFAULT_GAP_NS,
            graph_gap_ns: DEFAULT_GAP_NS,
            launch_samples: 0,
            gap_samples: 0,
        })
    }

    /// The gap before work of this name on a full stream.
    pub fn gap(&self, place: usize, work: &Work, in_graph: bool) -> i64 {
        let device = self.device_of_stream.get(work.stream as usize).copied().unwrap_or(0);
        let constants = self.device(work.stream);
        let beside = self.beside_others.get(place).copied().unwrap_or_default();
        let usual = if in_graph { constants.graph_gap_ns } else { constants.gap_ns };
        self.by_kernel.get(&(device, work.name, in_graph, beside)).copied().unwrap_or(usual)
    }

    /// From a call to the start of work that it launches on an idle stream.
    pub fn launch(&self, place: usize, work: &Work, api: StrId) -> i64 {
        let device = self.device_of_stream.get(work.stream as usize).copied().unwrap_or(0);
        let is_after_wait = self.is_after_wait.get(place).copied().unwrap_or_default();
        let after_wait = self.after_wait.get(&device).filter(|_| is_after_wait).copied();
        let of_api = || self.by_api.get(&(device, api)).map(|entry| entry.0);
        after_wait.or_else(of_api).unwrap_or_else(|| self.device(work.stream).launch_ns)
    }

    pub fn report(&self, trace: &Trace, rank: RankId) -> RankConstants {
        let mut launches: Vec<ApiLatency> = self
            .by_api
            .iter()
            .map(|(&(device, api), &(latency_ns, samples))| ApiLatency {
                device,
                api: trace.text(api).to_owned(),
                latency_ns,
                samples,
            })
            .collect();
        launches.sort_by(|a, b| (a.device, &a.api).cmp(&(b.device, &b.api)));
        let (return_ns, event_ns) = (self.return_ns, self.event_ns);
        RankConstants { rank, devices: self.devices.clone(), launches, return_ns, event_ns }
    }
}
