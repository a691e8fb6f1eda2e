//! Tables of operators: one row per operator of a worker and a step, in Parquet, with the sizes of the job in YAML
//! beside it (`trace-X.parquet`, `meta-X.yaml`), as published with studies of stragglers in large training jobs.
//!
//! | column | meaning |
//! |---|---|
//! | `rank` | global rank of the worker |
//! | `step` | training step |
//! | `optype` | operator: `forward-compute`, `backward-send`, `grads-reduce-scatter`, … |
//! | `start_ts`, `duration` | seconds; the start may count from the start of the step |
//! | `dp_rank`, `stage`, `tp_rank` | place of the worker in the parallel layout |
//! | `seq_id`, `mb_id`, `mc`, `gmc` and others | arguments, as the table has them |
//!
//! Each rank becomes a part with a device, whose streams are computation and each kind of communication, and a heading
//! with the steps and what the host does.
//!
//! Where times count from the start of each step, the steps stand one after the other, in the order of their numbers:
//! the first second of a step is the end of the longest worker of the step before. The file does not say what passed
//! between them.

mod job;
mod operator;
mod rows;
mod seconds;
mod worker;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use gapless_trace::{SourceId, WarningKind};

use crate::Progress;
use crate::error::Refused;
use crate::parquet::read;
use crate::readers::{Head, Input, ReadPart};
use job::Job;

/// Columns without which a row is no operator.
const NEEDED: [&str; 5] = ["rank", "step", "optype", "start_ts", "duration"];
/// Columns that a message names.
const NAMED: usize = 12;

/// Whether a file is in Parquet. What its columns are stands at its end, so that only reading says whether it is a
/// table of operators.
pub(crate) fn sniff(head: &Head<'_>) -> bool {
    head.bytes.starts_with(read::MAGIC) || head.bytes.starts_with(b"PARE")
}

/// Whether a file describes the job of a table.
pub(crate) fn sniff_job(head: &Head<'_>) -> bool {
    (head.name.ends_with(".yaml") || head.name.ends_with(".yml"))
        && std::str::from_utf8(head.bytes).is_ok_and(|text| Job::parse(text).is_whole())
}

/// A description of a job is read along with its table and has no events itself: none where the table stands beside
/// it, which is to be opened.
pub(crate) fn read_job(input: &Input, _progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    let table = job::table_beside(&input.path);
    if table.as_deref().is_some_and(Path::is_file) {
        return Ok(Vec::new());
    }
    let name = table.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| "trace-X.parquet".to_owned());
    Err(Refused::format(0, format!("it describes a job and holds no events; open its table of operators, {name}")))
}

/// Reads a table of operators.
pub(crate) fn read(input: &Input, progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    check_columns(&read::column_names(&input.bytes)?)?;
    let mut part = input.part();
    let table = read::read_table(&input.bytes, &NEEDED, &input.limits, &mut part.warnings, progress)?;
    let job = match input.file.as_deref().map(job::read_beside) {
        Some(Ok(job)) => Some(job),
        Some(Err(missing)) => {
            part.warnings.add(WarningKind::TableMissing, SourceId(0), None, &missing);
            None
        }
        None => None,
    };
    if let Some(job) = &job {
        part.warnings.add_many(WarningKind::HeaderUnreadable, SourceId(0), job.unreadable_lines, None, &job.path);
    }
    let workers = rows::group(&table, &mut part.warnings)?;
    worker::parts(Arc::new(table), workers, job.as_ref(), part)
}

/// Refuses a table that is none of operators, naming what it has and lacks.
fn check_columns(names: &[String]) -> Result<(), Refused> {
    let has = |name: &str| names.iter().any(|other| other == name);
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !has(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if ["event", "start_ns", "dur_ns", "track_kind"].into_iter().all(has) {
        return Err(Refused::format(
            0,
            "it is a table that Gapless wrote for SQL; open the trace that it was made from (gapless.json beside it \
             names it), or export that to Perfetto",
        ));
    }
    let mut found = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMED {
        found.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    Err(Refused::format(
        0,
        format!(
            "of Parquet, only tables of operators can be read, with the columns {}; this one lacks {} and has {}",
            NEEDED.join(", "),
            missing.join(", "),
            if names.is_empty() { "none" } else { &found },
        ),
    ))
}
