//! Rows as events: times in ns, steps laid out on one time line, grouped by rank.

use std::collections::BTreeMap;

use gapless_trace::{SourceId, WarningKind, Warnings};

use super::seconds::to_ns;
use crate::error::Refused;
use crate::parquet::read::{Column, Table};

/// Ranks of a table. Each costs some KiB, however few its rows are.
const MOST_RANKS: usize = 65_536;

/// A row that is an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its place in the table.
    pub row: u32,
    /// Place of its operator among the distinct ones.
    pub optype: u32,
    pub start_ns: i64,
    pub dur_ns: i64,
}

/// A step on the time line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub number: i64,
    pub start_ns: i64,
    pub end_ns: i64,
}

/// All of one rank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Worker {
    pub rank: u32,
    pub rows: Vec<Row>,
    /// Steps that it has rows of, by time.
    pub steps: Vec<Step>,
}

/// The time of a step: first start and last end of all ranks, as the table has them.
#[derive(Clone, Copy, Debug)]
struct Extent {
    first_ns: i64,
    last_ns: i64,
}

/// The rows of each rank, by rank.
pub(super) fn group(table: &Table, warnings: &mut Warnings) -> Result<Vec<Worker>, Refused> {
    let column = |name: &str| {
        let missing = || Refused::format(0, format!("the column {name} cannot be read"));
        table.column(name).ok_or_else(missing)
    };
    let (rank, step, optype) = (column("rank")?, column("step")?, column("optype")?);
    let (start, duration) = (column("start_ts")?, column("duration")?);
    let mut workers: BTreeMap<u32, Worker> = BTreeMap::new();
    let mut extents: BTreeMap<Option<i64>, Extent> = BTreeMap::new();
    for row in 0..table.rows {
        let mut warn = |kind, detail: &str| warnings.add(kind, SourceId(0), Some(row as u64), detail);
        let place = whole(rank, row).and_then(|rank| u32::try_from(rank).ok());
        let (Some(rank), Some((optype, _)), Ok(place)) = (place, optype.text(row), u32::try_from(row)) else {
            warn(WarningKind::RowsLost, "a row has no rank or no operator");
            continue;
        };
        let Some(seconds) = number(start, row).filter(|seconds| seconds.is_finite()) else {
            warn(WarningKind::NoTimestamp, "start_ts");
            continue;
        };
        let Some(start_ns) = to_ns(seconds) else {
            warn(WarningKind::TimeOutOfRange, "start_ts");
            continue;
        };
        let dur_ns = match number(duration, row) {
            None => {
                warn(WarningKind::NoDuration, "duration");
                0
            }
            Some(seconds) if seconds.is_nan() => {
                warn(WarningKind::NoDuration, "duration");
                0
            }
            Some(seconds) if seconds < 0.0 => {
                warn(WarningKind::NegativeDuration, "duration");
                0
            }
            Some(seconds) => to_ns(seconds).unwrap_or_else(|| {
                warn(WarningKind::DurationOutOfRange, "duration");
                i64::MAX
            }),
        };
        // The end must fit too.
        let dur_ns = dur_ns.min(i64::MAX.saturating_sub(start_ns.max(0)));
        let worker = workers.entry(rank).or_default();
        worker.rank = rank;
        worker.rows.push(Row { row: place, optype, start_ns, dur_ns });
        if workers.len() > MOST_RANKS {
            return Err(Refused::format(0, format!("it names more than {MOST_RANKS} ranks")));
        }
        let (first_ns, last_ns) = (start_ns, start_ns.saturating_add(dur_ns));
        let extent = extents.entry(whole(step, row)).or_insert(Extent { first_ns, last_ns });
        extent.first_ns = extent.first_ns.min(first_ns);
        extent.last_ns = extent.last_ns.max(last_ns);
    }
    let places = lay_out(&extents, warnings);
    for worker in workers.values_mut() {
        let mut own: Vec<Step> = Vec::new();
        for row in &mut worker.rows {
            let number = whole(step, row.row as usize);
            let Some(&(moved_by, placed)) = places.get(&number) else { continue };
            row.start_ns = row.start_ns.saturating_add(moved_by);
            if let Some(number) = number {
                own.push(Step { number, start_ns: placed.first_ns, end_ns: placed.last_ns });
            }
        }
        own.sort_by_key(|step| (step.start_ns, step.number));
        own.dedup();
        worker.steps = own;
    }
    Ok(workers.into_values().collect())
}

/// The whole number in a row. Data frames make floats of whole numbers where one is missing.
fn whole(column: &Column, row: usize) -> Option<i64> {
    let whole = |value: f64| (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64);
    column.int(row).or_else(|| column.float(row).and_then(whole))
}

fn number(column: &Column, row: usize) -> Option<f64> {
    // Whole seconds are exact in a float as far as they can be a time.
    column.float(row).or_else(|| column.int(row).map(|seconds| seconds as f64))
}

/// How far each step's times are moved, and where it lies then.
fn lay_out(extents: &BTreeMap<Option<i64>, Extent>, warnings: &mut Warnings) -> BTreeMap<Option<i64>, (i64, Extent)> {
    let follow = extents.values().zip(extents.values().skip(1)).all(|(a, b)| a.last_ns <= b.first_ns);
    if follow {
        return extents.iter().map(|(&step, &extent)| (step, (0, extent))).collect();
    }
    let detail = format!("{} steps", extents.len());
    warnings.add(WarningKind::StepsPlaced, SourceId(0), None, &detail);
    let mut next_ns = 0_i64;
    extents
        .iter()
        .map(|(&step, extent)| {
            // The step begins at its zero, or at its first event where that is earlier.
            let first_ns = extent.first_ns.min(0);
            let moved_by = next_ns.saturating_sub(first_ns);
            let placed = Extent { first_ns: next_ns, last_ns: extent.last_ns.saturating_add(moved_by) };
            next_ns = placed.last_ns;
            (step, (moved_by, placed))
        })
        .collect()
}
