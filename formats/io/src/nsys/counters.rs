//! Quantities over time: metrics of devices, and memory as it is allocated.

use gapless_trace::{RawCounter, RawId, WarningKind};
use rustc_hash::FxHashMap;

use super::device::memory_kind;
use super::scan::Row;
use super::sink::{Owner, Sink, process_of};

/// Columns that [`metric`] reads.
pub(crate) const METRIC: &[&str] = &["timestamp|start", "typeId|deviceId", "metricId", "value"];

/// Columns of the names of metrics.
pub(crate) const METRIC_NAME: &[&str] = &["typeId", "metricId|id", "metricName|name"];

/// Columns of an allocation.
pub(crate) const ALLOCATION: &[&str] = &["start", "globalPid", "deviceId", "memKind", "memoryOperationType", "bytes"];

/// Names and units of metrics, by type and number; type `None` where the file does not say it.
pub(crate) type Metrics = FxHashMap<(Option<i64>, i64), (String, String)>;

/// Name and unit of a metric: `SMs Active [Throughput %]` has the unit `%`.
pub(crate) fn with_unit(name: &str) -> (String, String) {
    let unit = name.rsplit_once('[').and_then(|(_, rest)| rest.strip_suffix(']'));
    let unit = unit.and_then(|unit| unit.split_whitespace().last()).unwrap_or_default();
    (name.to_owned(), unit.to_owned())
}

/// Takes a value of a metric.
pub(crate) fn metric(sink: &mut Sink<'_>, row: &Row<'_, '_>) {
    let shared = sink.shared;
    let kind = row.int(1);
    // The number of the device is the lowest byte; above it stand the machine and the kind of metric.
    let device = kind.unwrap_or(0) & 0xFF;
    let found = sink.of(Owner::Device(device));
    let Some(time) = found.time(row, 0) else { return };
    let Some(value) = row.real(3) else { return found.warn(WarningKind::CounterNotNumeric, row, "") };
    let number = row.int(2).unwrap_or(-1);
    let known = shared.metrics.get(&(kind, number)).or_else(|| shared.metrics.get(&(None, number)));
    let name = found.made((kind.unwrap_or(-1), number, 0), || {
        known.map_or_else(|| format!("metric {number}"), |known| known.0.clone())
    });
    let unit = found.made((kind.unwrap_or(-1), number, 1), || known.map(|known| known.1.clone()).unwrap_or_default());
    found.chunk.counters.push(RawCounter { pid: RawId::Int(device), name, unit, time, value });
}

/// An allocation or a release of device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Allocation {
    time: i64,
    row: i64,
    process: Option<i64>,
    device: i64,
    memory: Option<i64>,
    bytes: i64,
}

impl Allocation {
    /// The one in a row, if it has a time.
    pub fn of(row: &Row<'_, '_>) -> Option<Self> {
        /// The operation that gives memory back.
        const RELEASE: i64 = 1;
        let bytes = row.int(5).unwrap_or(0);
        Some(Self {
            time: row.int(0)?,
            row: row.id,
            process: row.int(1),
            device: row.int(2).unwrap_or(0),
            memory: row.int(3),
            bytes: if row.int(4) == Some(RELEASE) { bytes.checked_neg().unwrap_or(i64::MAX) } else { bytes },
        })
    }
}

/// Sums allocations up: a counter for each process, device and kind of memory, from 0 where the recording begins.
pub(crate) fn sum(sink: &mut Sink<'_>, mut allocations: Vec<Allocation>) {
    allocations.sort_unstable();
    let mut held: FxHashMap<(Option<i64>, i64, Option<i64>), i64> = FxHashMap::default();
    for allocation in allocations {
        let now = held.entry((allocation.process, allocation.device, allocation.memory)).or_default();
        *now = now.saturating_add(allocation.bytes);
        let value = *now as f64;
        let owner = allocation.process.map_or(Owner::System, |global| Owner::Process(process_of(global)));
        let found = sink.of(owner);
        let name = found.made((allocation.memory.unwrap_or(-1), -1, 2), || {
            format!("memory allocated ({})", memory_kind(allocation.memory).unwrap_or("unknown"))
        });
        let unit = found.fixed_text("bytes");
        let pid = RawId::Int(allocation.device);
        found.chunk.counters.push(RawCounter { pid, name, unit, time: allocation.time, value });
        found.chunk.file_events += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_stands_in_brackets() {
        let unit = |name: &str| with_unit(name).1;
        assert_eq!(unit("SMs Active [Throughput %]"), "%");
        assert_eq!(unit("GPC Clock Frequency [MHz]"), "MHz");
        assert_eq!(unit("Warps"), "");
    }
}
