//! Kernels, copies and fills by name; and how much time goes to short ones.

use gapless_trace::{EventId, StrId, Trace};
use serde::Serialize;

use crate::stats::Stats;
use crate::tables::{Groups, Longest, by_time_then_name};
use crate::work::{DeviceWork, WorkClass};

/// All device work of one name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelRow {
    /// Its name.
    pub name: String,
    /// What it does.
    pub class: WorkClass,
    /// Its durations.
    #[serde(flatten)]
    pub stats: Stats,
    /// `sum_ns` ÷ summed durations of all device work of the rank, 0 to 1.
    pub share: f64,
    /// The longest one, the first of equals.
    #[serde(serialize_with = "crate::ids::event")]
    pub longest_event: EventId,
    /// Start of the longest one, in ns.
    pub longest_start_ns: i64,
}

/// Kernels below a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ShortLimit {
    /// The length in ns; kernels shorter than this are counted.
    pub below_ns: i64,
    /// How many there are.
    pub count: u64,
    /// Their summed durations.
    pub sum_ns: i64,
}

/// How many kernels are short, communication included, copies not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShortKernels {
    /// All kernels.
    pub kernels: u64,
    /// Summed durations of all kernels.
    pub sum_ns: i64,
    /// By length, ascending; each includes the ones before.
    pub limits: Vec<ShortLimit>,
}

/// Device work by name and class, by time.
pub(crate) fn rows(trace: &Trace, device: &DeviceWork) -> Vec<KernelRow> {
    let mut groups: Groups<(StrId, WorkClass)> = Groups::default();
    let mut longest: Vec<Longest> = Vec::new();
    for work in &device.work {
        let name = trace.events().names().get(work.event.index()).copied().unwrap_or_default();
        let place = groups.add((name, work.class), work.duration());
        Longest::note(&mut longest, place, work.event, work.start, work.duration());
    }
    let total: f64 = device.work.iter().map(|work| work.duration() as f64).sum();
    let rows = groups.into_stats().zip(longest).map(|(((name, class), stats), longest)| KernelRow {
        name: trace.text(name).to_owned(),
        class,
        stats,
        share: share(stats.sum_ns, total),
        longest_event: longest.event,
        longest_start_ns: longest.start,
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|a, b| {
        by_time_then_name((a.stats.sum_ns, &a.name), (b.stats.sum_ns, &b.name)).then(a.class.cmp(&b.class))
    });
    rows
}

/// `part / total`, zero if there is no total.
pub(crate) fn share(part: i64, total: f64) -> f64 {
    if total > 0.0 { part as f64 / total } else { 0.0 }
}

/// Limits of [`ShortKernels`] in ns: 1 to 100 µs.
const LIMITS_NS: [i64; 7] = [1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000];

pub(crate) fn short(device: &DeviceWork) -> ShortKernels {
    let mut limits = LIMITS_NS.map(|below_ns| ShortLimit { below_ns, count: 0, sum_ns: 0 });
    let mut short = ShortKernels::default();
    for work in device.work.iter().filter(|work| work.class != WorkClass::Copy) {
        let duration = work.duration();
        short.kernels += 1;
        short.sum_ns = short.sum_ns.saturating_add(duration);
        for limit in limits.iter_mut().rev().take_while(|limit| duration < limit.below_ns) {
            limit.count += 1;
            limit.sum_ns = limit.sum_ns.saturating_add(duration);
        }
    }
    short.limits = limits.to_vec();
    short
}
