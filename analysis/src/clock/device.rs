//! A device's clock against its host's: no work begins before its launch.
//!
//! Profilers convert device times to host times. Where that is off, work seems to begin before the call that launched
//! it; where it drifts, the shortest delay from launch to start moves through the recording. Both are looked for in
//! windows of a second and corrected piecewise linearly.

use gapless_trace::{RankId, Trace, TrackKind};
use serde::Serialize;

/// Length of a window in ns.
const WINDOW_NS: i64 = 1_000_000_000;

/// Work may seem to begin this much before its launch without anything being wrong, in ns: the times are rounded.
const EARLY_NS: i64 = 1_000;

/// The shortest delay of a sound conversion stays within this, in ns.
const STABLE_NS: i64 = 3_000;

/// Launches on an idle stream that a window needs before its shortest delay says anything about the clock.
const IDLE_LAUNCHES: u64 = 5;

/// What one window of a second shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceWindow {
    /// Its beginning on the rank's clock, in ns.
    pub start_ns: i64,
    /// Launched work that begins in it.
    pub launches: u64,
    /// Those of them whose stream was idle when they were launched.
    pub idle_launches: u64,
    /// The shortest delay from a launch to its work, in ns; negative if the work seems to begin before.
    pub least_delay_ns: i64,
    /// The shortest delay of a launch on an idle stream, in ns; `None` with fewer than five.
    pub least_idle_delay_ns: Option<i64>,
    /// What is added to device times in the middle of the window, in ns.
    pub correction_ns: i64,
}

/// How the device times of a rank lie to its host times.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DeviceClock {
    /// Its windows, by time; only those with launches.
    pub windows: Vec<DeviceWindow>,
    /// Whether device times are corrected.
    pub is_corrected: bool,
    /// By which share the device's clock runs fast against the host's; zero where it does not drift.
    pub drift: f64,
}

impl DeviceClock {
    pub(crate) fn of_rank(trace: &Trace, rank: RankId) -> Self {
        let mut windows = windows(trace, rank);
        let drift = correct(&mut windows);
        let is_corrected = windows.iter().any(|window| window.correction_ns != 0);
        Self { windows, is_corrected, drift: if is_corrected { drift } else { 0.0 } }
    }

    /// A recorded device time on the host's clock: linear between the middles of windows.
    #[must_use]
    pub fn corrected(&self, at: i64) -> i64 {
        if !self.is_corrected {
            return at;
        }
        let middle = |window: &DeviceWindow| window.start_ns.saturating_add(WINDOW_NS / 2);
        let next = self.windows.partition_point(|window| middle(window) <= at);
        let before = next.checked_sub(1).and_then(|place| self.windows.get(place));
        let add = match (before, self.windows.get(next)) {
            (Some(before), Some(after)) => {
                let share = at.saturating_sub(middle(before)) as f64
                    / middle(after).saturating_sub(middle(before)).max(1) as f64;
                let (from, to) = (before.correction_ns as f64, after.correction_ns as f64);
                (from + (to - from) * share).round() as i64
            }
            // Before the first and behind the last middle the drift goes on.
            (Some(only), None) | (None, Some(only)) => {
                let since = at.saturating_sub(middle(only)) as f64;
                only.correction_ns.saturating_sub((since * self.drift).round() as i64)
            }
            (None, None) => 0,
        };
        at.saturating_add(add)
    }
}

fn windows(trace: &Trace, rank: RankId) -> Vec<DeviceWindow> {
    let (starts, kinds) = (trace.events().starts(), trace.events().kinds());
    // Start of the work, of its launch, and whether its stream was idle then.
    let mut launched: Vec<(i64, i64, bool)> = Vec::new();
    for (_, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Stream) {
        let is_work = |index: usize| kinds.get(index).is_some_and(|kind| kind.is_device_work());
        let mut work: Vec<(i64, usize)> = track
            .event_ids()
            .filter(|id| is_work(id.index()))
            .filter_map(|id| Some((*starts.get(id.index())?, id.index())))
            .collect();
        work.sort_unstable();
        let mut busy_until = i64::MIN;
        for (start, index) in work {
            if let Some(launch) = trace.launches().launch_of(gapless_trace::EventId(index as u32)) {
                let at = starts.get(launch.index()).copied().unwrap_or(start);
                launched.push((start, at, busy_until <= at));
            }
            busy_until = busy_until.max(trace.events().end_at(index));
        }
    }
    launched.sort_unstable();
    let Some(&(first, ..)) = launched.first() else { return Vec::new() };
    let mut windows: Vec<DeviceWindow> = Vec::new();
    for (start, launch, was_idle) in launched {
        let from = first.saturating_add(start.saturating_sub(first) / WINDOW_NS * WINDOW_NS);
        if windows.last().is_none_or(|window| window.start_ns != from) {
            windows.push(DeviceWindow {
                start_ns: from,
                launches: 0,
                idle_launches: 0,
                least_delay_ns: i64::MAX,
                least_idle_delay_ns: None,
                correction_ns: 0,
            });
        }
        let Some(window) = windows.last_mut() else { continue };
        let delay = start.saturating_sub(launch);
        window.launches += 1;
        window.least_delay_ns = window.least_delay_ns.min(delay);
        if was_idle {
            window.idle_launches += 1;
            let least = window.least_idle_delay_ns.unwrap_or(i64::MAX).min(delay);
            window.least_idle_delay_ns = Some(least);
        }
    }
    for window in windows.iter_mut().filter(|window| window.idle_launches < IDLE_LAUNCHES) {
        window.least_idle_delay_ns = None;
    }
    windows
}

/// Fills in the corrections; gives the drift of the device's clock.
fn correct(windows: &mut [DeviceWindow]) -> f64 {
    let points: Vec<(f64, f64)> = windows
        .iter()
        .filter_map(|window| Some((window.start_ns as f64, window.least_idle_delay_ns? as f64)))
        .collect();
    let mut slope = 0.0;
    let usual = median(points.iter().map(|point| point.1));
    if points.len() >= 3 {
        let first = points.first().map_or(0.0, |point| point.0);
        // Theil–Sen: the median of all slopes, deaf to windows in which every launch was late.
        let pairs = points.iter().enumerate().flat_map(|(index, a)| points.iter().skip(index + 1).map(move |b| (a, b)));
        slope = median(pairs.map(|(a, b)| (b.1 - a.1) / (b.0 - a.0).max(1.0))).unwrap_or(0.0);
        let at_first = median(points.iter().map(|point| point.1 - slope * (point.0 - first))).unwrap_or(0.0);
        let off = median(points.iter().map(|point| (point.1 - at_first - slope * (point.0 - first)).abs()));
        let span = points.last().map_or(0.0, |point| point.0 - first);
        let moved = (slope * span).abs();
        // A drift is a line: what lies off it must be small against what it moves.
        if moved > STABLE_NS as f64 && off.unwrap_or(0.0) * 3.0 < moved {
            for window in windows.iter_mut() {
                let delay = at_first + slope * (window.start_ns as f64 - first);
                window.correction_ns = (usual.unwrap_or(at_first) - delay).round() as i64;
            }
        } else {
            slope = 0.0;
        }
    }
    for window in windows.iter_mut() {
        let delay = window.least_delay_ns.saturating_add(window.correction_ns);
        if delay < -EARLY_NS {
            // The work cannot have begun before its launch; how much later it did is as good a guess as in other windows.
            let least = usual.filter(|&usual| usual > 0.0).map_or(0, |usual| usual.round() as i64);
            window.correction_ns = window.correction_ns.saturating_add(least.saturating_sub(delay));
        }
    }
    slope
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1)
}
