//! Which tables hold events, and the walk through all of them, in parallel.

use std::sync::atomic::{AtomicU64, Ordering};

use gapless_trace::{SourceId, WarningKind, Warnings};
use rayon::prelude::*;

use super::catalogue::{Catalogue, Table};
use super::database::{Database, is_damage, reason};
use super::scan::{End, Row, walk};
use super::sink::{Definitions, Found, Owner, Shared, Sink};
use super::{counters, device, host, nvtx, scheduler};
use crate::Progress;

/// How the rows of a table become events.
type Take = fn(&mut Sink<'_>, &Row<'_, '_>);

/// What is done with a table.
enum Work {
    /// Each row for itself.
    Rows(Take),
    /// All switches of a core together.
    Switches,
    /// All allocations together.
    Allocations,
}

/// A table with events.
pub(crate) struct Reading<'a> {
    table: &'a Table,
    columns: &'static [&'static str],
    work: Work,
}

/// Tables that are known by name.
const KNOWN: [(&str, &[&str], Work); 14] = [
    ("CUPTI_ACTIVITY_KIND_KERNEL", device::KERNEL, Work::Rows(device::kernel)),
    ("CUPTI_ACTIVITY_KIND_MEMCPY", device::COPY, Work::Rows(device::copy)),
    ("CUPTI_ACTIVITY_KIND_MEMSET", device::FILL, Work::Rows(device::fill)),
    ("CUPTI_ACTIVITY_KIND_GRAPH_TRACE", device::GRAPH, Work::Rows(device::graph)),
    ("CUPTI_ACTIVITY_KIND_SYNCHRONIZATION", device::SYNC, Work::Rows(device::sync)),
    ("CUPTI_ACTIVITY_KIND_CUDA_EVENT", device::CUDA_EVENT, Work::Rows(device::cuda_event)),
    ("CUPTI_ACTIVITY_KIND_RUNTIME", host::CUDA_CALL, Work::Rows(host::cuda_call)),
    ("CUPTI_ACTIVITY_KIND_OVERHEAD", host::OVERHEAD, Work::Rows(host::overhead)),
    ("PROFILER_OVERHEAD", host::OVERHEAD, Work::Rows(host::overhead)),
    ("NVTX_EVENTS", nvtx::NVTX, Work::Rows(nvtx::event)),
    ("COMPOSITE_EVENTS", host::SAMPLE, Work::Rows(host::sample)),
    ("GPU_METRICS", counters::METRIC, Work::Rows(counters::metric)),
    ("SCHED_EVENTS", scheduler::SWITCH, Work::Switches),
    ("CUDA_GPU_MEMORY_USAGE_EVENTS", counters::ALLOCATION, Work::Allocations),
];

/// Tables of calls that tell more about calls of another table.
const TOLD_ELSEWHERE: [&str; 2] = ["CUDA_GRAPH_EVENTS", "CUDA_GRAPH_NODE_EVENTS"];

/// Tables of exports that hold no events of their own, by the beginning of their names.
const SECONDARY: [&str; 13] = [
    "ANALYSIS_",
    "ENUM_",
    "EXPORT_META",
    "META_DATA",
    "CAPTURE_META",
    "NVTX_PAYLOAD",
    "PROCESSES",
    "ProcessStreams",
    "StringIds",
    "TARGET_INFO",
    "ThreadNames",
    "DIAGNOSTIC_EVENT",
    "UCP_WORKERS",
];

/// Whether a table of this name says that the file is an export.
pub(crate) fn is_of_export(name: &str) -> bool {
    const SURE: [&str; 6] = ["StringIds", "TARGET_INFO", "CUPTI_", "META_DATA_EXPORT", "META_DATA_CAPTURE", "NVTX_"];
    SURE.iter().any(|prefix| name.starts_with(prefix)) || name == "EXPORT_META_DATA"
}

/// The tables with events that a file has.
pub(crate) fn readings(catalogue: &Catalogue) -> Vec<Reading<'_>> {
    let known = KNOWN
        .into_iter()
        .filter_map(|(name, columns, work)| Some(Reading { table: catalogue.table(name)?, columns, work }));
    let calls = catalogue.tables().iter().filter(|table| is_calls(table)).map(|table| {
        if table.name.starts_with("OSRT_") || table.name.starts_with("SYSCALL") {
            Reading { table, columns: host::OS_CALL, work: Work::Rows(host::os_call) }
        } else {
            Reading { table, columns: host::OTHER_CALL, work: Work::Rows(host::other_call) }
        }
    });
    known.chain(calls).collect()
}

/// Whether a table that is not known by name holds calls on threads.
fn is_calls(table: &Table) -> bool {
    let is_known = KNOWN.iter().any(|known| known.0.eq_ignore_ascii_case(&table.name));
    let has = |column: &str| table.column(column).is_some();
    let is_plain = has("start") && has("end") && has("globalTid") && (has("nameId") || has("textId"));
    !is_known && is_plain && !TOLD_ELSEWHERE.contains(&table.name.as_str())
}

/// Tables of the file that this reader has no use for.
pub(crate) fn unread(catalogue: &Catalogue) -> Vec<&str> {
    let is_secondary = |name: &str| {
        SECONDARY.iter().any(|prefix| name.starts_with(prefix))
            || name.ends_with("CALLCHAINS")
            || TOLD_ELSEWHERE.contains(&name)
    };
    let is_read =
        |table: &Table| is_calls(table) || KNOWN.iter().any(|known| known.0.eq_ignore_ascii_case(&table.name));
    let rest = catalogue.tables().iter().filter(|table| !is_read(table) && !is_secondary(&table.name));
    rest.map(|table| table.name.as_str()).collect()
}

/// Row numbers of one walk.
const ROWS: i64 = 1 << 18;
/// Walks of one table.
const MOST_WALKS: i64 = 256;

/// A stretch of a table.
struct Job<'a, 'c> {
    reading: &'a Reading<'c>,
    sql: String,
    span: (i64, i64),
}

/// Walks all tables.
///
/// # Errors
/// What SQLite refuses for another reason than damage.
pub(crate) fn read_all(
    database: &Database,
    catalogue: &Catalogue,
    readings: &[Reading<'_>],
    shared: &Shared,
    progress: &dyn Progress,
    warnings: &mut Warnings,
) -> rusqlite::Result<(Vec<Found>, Definitions)> {
    let mut damage = Vec::new();
    let jobs = jobs(database, readings, &mut damage)?;
    debug_assert!(readings.iter().all(|reading| catalogue.table(&reading.table.name).is_some()));
    let done = AtomicU64::new(0);
    let all = jobs.len().max(1) as u64;
    let walked: Vec<(Vec<Found>, Definitions, Option<String>)> = jobs
        .into_par_iter()
        .map(|job| {
            let result = run(database, &job, shared, progress);
            let part = done.fetch_add(1, Ordering::Relaxed) + 1;
            progress.done((u128::from(database.file_bytes()) * u128::from(part) / u128::from(all)) as u64);
            result
        })
        .collect::<rusqlite::Result<_>>()?;
    let (mut found, mut definitions) = (Vec::new(), Definitions::default());
    for (more, names, broken) in walked {
        found.extend(more);
        definitions.merge(names);
        damage.extend(broken);
    }
    for what in damage {
        warnings.add(WarningKind::TableDamaged, SourceId(0), None, &what);
    }
    Ok((found, definitions))
}

fn jobs<'a, 'c>(
    database: &Database,
    readings: &'a [Reading<'c>],
    damage: &mut Vec<String>,
) -> rusqlite::Result<Vec<Job<'a, 'c>>> {
    let mut jobs = Vec::new();
    for reading in readings {
        let span = match database.with(|connection| reading.table.span(connection)) {
            Ok(Some(span)) => span,
            Ok(None) => continue,
            Err(error) if is_damage(&error) => {
                damage.push(format!("{}: {}", reading.table.name, reason(&error)));
                // What comes before the damage can still be walked.
                (i64::MIN, i64::MAX)
            }
            Err(error) => return Err(error),
        };
        let (first, last) = (i128::from(span.0), i128::from(span.1));
        let is_whole = !matches!(reading.work, Work::Rows(_)) || span == (i64::MIN, i64::MAX);
        let walks = if is_whole { 1 } else { ((last - first) / i128::from(ROWS) + 1).clamp(1, i128::from(MOST_WALKS)) };
        let step = (last - first) / walks + 1;
        for walk in 0..walks {
            let from = first + walk * step;
            let to = (from + step - 1).min(last);
            if let (Ok(from), Ok(to)) = (i64::try_from(from), i64::try_from(to)) {
                jobs.push(Job { reading, sql: reading.table.select(reading.columns), span: (from, to) });
            }
        }
    }
    Ok(jobs)
}

/// Walks one stretch.
fn run(
    database: &Database,
    job: &Job<'_, '_>,
    shared: &Shared,
    progress: &dyn Progress,
) -> rusqlite::Result<(Vec<Found>, Definitions, Option<String>)> {
    let table = job.reading.table;
    let mut sink = Sink::new(shared, &table.name, table.number);
    let end = database.with(|connection| {
        let go = |each: &mut dyn FnMut(&Row<'_, '_>)| walk(database, connection, &job.sql, job.span, progress, each);
        match job.reading.work {
            Work::Rows(take) => {
                let mut rows = 0u32;
                go(&mut |row| {
                    take(&mut sink, row);
                    rows = rows.wrapping_add(1);
                    if rows.is_multiple_of(1 << 16) && sink.is_over_limit() {
                        database.stop();
                    }
                })
            }
            Work::Switches => {
                let mut switches = Vec::new();
                let end = go(&mut |row| match scheduler::Switch::of(row) {
                    Some(switch) => switches.push(switch),
                    None => sink.of(Owner::System).warn(WarningKind::NoTimestamp, row, ""),
                });
                scheduler::join(&mut sink, switches);
                end
            }
            Work::Allocations => {
                let mut allocations = Vec::new();
                let end = go(&mut |row| match counters::Allocation::of(row) {
                    Some(allocation) => allocations.push(allocation),
                    None => sink.of(Owner::System).warn(WarningKind::NoTimestamp, row, ""),
                });
                counters::sum(&mut sink, allocations);
                end
            }
        }
    })?;
    if sink.is_over_limit() {
        database.stop();
    }
    let damage = if let End::Damaged(reason) = end { Some(format!("{}: {reason}", table.name)) } else { None };
    let (found, definitions) = sink.finish();
    Ok((found, definitions, damage))
}
