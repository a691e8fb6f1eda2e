//! The part of each rank: tracks, events, steps, what the row says otherwise as arguments.

use std::sync::Arc;

use gapless_trace::{
    ArgValue, Args, ArgsError, ArgsLoc, ArgsSource, CollectiveArgs, EventKind, RawChunk, RawId, RawMeta, StrId,
    TracePart, TrackKind,
};

use super::NEEDED;
use super::job::Job;
use super::operator::{Lane, Operator, classify};
use super::rows::Worker;
use crate::error::Refused;
use crate::parquet::read::{Column, Data, Table};
use crate::readers::ReadPart;

/// No correlation or external id.
const NO_ID: u32 = u32::MAX;

/// One part per worker. `base` has the source and the warnings, which go to the first.
pub(super) fn parts(
    table: Arc<Table>,
    workers: Vec<Worker>,
    job: Option<&Job>,
    base: TracePart,
) -> Result<Vec<ReadPart>, Refused> {
    if workers.is_empty() {
        return Err(Refused::format(0, "the table has no row that is an operator"));
    }
    let names: Vec<(String, Operator)> = match table.column("optype").map(|column| &column.data) {
        Some(Data::Text { texts, .. }) => texts.iter().map(|text| (text.clone(), classify(text))).collect(),
        _ => Vec::new(),
    };
    let args: Arc<dyn ArgsSource> = Arc::new(RowArgs { table: Arc::clone(&table) });
    let mut warnings = Some(base.warnings);
    let parts = workers.into_iter().map(|worker| {
        let mut part = TracePart::new(base.source.clone());
        part.warnings = warnings.take().unwrap_or_default();
        part.source.file_events = worker.rows.len() as u64;
        part.args = Arc::clone(&args);
        // A table has no launches, so that none are missed: its links are whole as they are, namely none.
        part.is_restored = true;
        part.info.rank = Some(worker.rank);
        part.info.world_size = job.and_then(Job::world_size);
        part.info.header = job.map(|job| job.fields.clone()).unwrap_or_default();
        let place = place(&table, &worker);
        part.info.header.extend(place.iter().map(|(name, number)| (name.clone(), ArgValue::Int(*number))));
        part.chunks.push(chunk(&worker, &names, &place, job));
        part.into()
    });
    Ok(parts.collect())
}

/// The worker's place in the parallel layout, as its first row has it.
fn place(table: &Table, worker: &Worker) -> Vec<(String, i64)> {
    let Some(first) = worker.rows.first() else { return Vec::new() };
    let of = |name: &str| Some((name.to_owned(), table.column(name)?.int(first.row as usize)?));
    ["dp_rank", "stage", "tp_rank"].into_iter().filter_map(of).collect()
}

fn chunk(worker: &Worker, names: &[(String, Operator)], place: &[(String, i64)], job: Option<&Job>) -> RawChunk {
    let mut chunk = RawChunk { file_events: worker.rows.len() as u64, ..RawChunk::default() };
    chunk.reserve(worker.rows.len() + worker.steps.len());
    let host = RawId::Text(chunk.strings.intern("worker"));
    let device = RawId::Int(0);
    let labels = place.iter().map(|(name, number)| format!("{name} {number}")).collect::<Vec<_>>().join(", ");
    let labels = chunk.strings.intern(&labels);
    let host_name = chunk.strings.intern(&format!("worker {}", worker.rank));
    chunk.metas.extend([
        RawMeta::ProcessName(host, host_name),
        RawMeta::ProcessLabels(host, labels),
        RawMeta::ProcessSort(host, 0),
    ]);

    let steps = chunk.strings.intern("steps");
    let step_track = chunk.track(TrackKind::Thread, host, RawId::Text(steps));
    chunk.metas.push(RawMeta::ThreadName(host, RawId::Text(steps), steps));
    chunk.metas.push(RawMeta::ThreadSort(host, RawId::Text(steps), 0));
    let step_category = chunk.strings.intern("step");
    for step in &worker.steps {
        let name = chunk.strings.intern(&format!("step {}", step.number));
        let dur_ns = step.end_ns.saturating_sub(step.start_ns);
        chunk.push(
            step.start_ns,
            dur_ns,
            name,
            step_category,
            EventKind::Step,
            step_track,
            NO_ID,
            NO_ID,
            ArgsLoc::NONE,
        );
    }

    // Of each operator, once it is met: name, category, track, collective.
    let mut known: Vec<Option<Known>> = vec![None; names.len()];
    for row in &worker.rows {
        let Some((name, operator)) = names.get(row.optype as usize) else { continue };
        let Some(slot) = known.get_mut(row.optype as usize) else { continue };
        let known = *slot.get_or_insert_with(|| Known::new(&mut chunk, name, *operator, host, device, place, job));
        let args = ArgsLoc::new(u64::from(row.row), 1).unwrap_or_default();
        let event = chunk.len() as u32;
        chunk.collectives.extend(known.collective.map(|collective| CollectiveArgs { event, ..collective }));
        chunk.push(
            row.start_ns,
            row.dur_ns,
            known.name,
            known.category,
            operator.kind,
            known.track,
            NO_ID,
            NO_ID,
            args,
        );
    }
    chunk
}

/// What all events of an operator share.
#[derive(Clone, Copy)]
struct Known {
    name: StrId,
    category: StrId,
    track: u32,
    collective: Option<CollectiveArgs>,
}

impl Known {
    fn new(
        chunk: &mut RawChunk,
        name: &str,
        operator: Operator,
        host: RawId,
        device: RawId,
        place: &[(String, i64)],
        job: Option<&Job>,
    ) -> Self {
        let lane = chunk.strings.intern(operator.lane.name());
        let (kind, pid, tid) = match operator.lane {
            Lane::Host => (TrackKind::Thread, host, RawId::Text(lane)),
            other => (TrackKind::Stream, device, RawId::Int(other as i64)),
        };
        let track = chunk.track(kind, pid, tid);
        chunk.metas.push(RawMeta::ThreadName(pid, tid, lane));
        chunk.metas.push(RawMeta::ThreadSort(pid, tid, operator.lane as i64 + 1));
        let collective = operator.collective.map(|collective| {
            // The workers of one stage share their parameters and reduce them together.
            let is_data_parallel = operator.lane == Lane::DataParallel;
            let others: Vec<String> = place
                .iter()
                .filter(|(name, _)| is_data_parallel && name != "dp_rank")
                .map(|(name, number)| format!("{name} {number}"))
                .collect();
            let group = if others.is_empty() { String::new() } else { format!("dp of {}", others.join(", ")) };
            CollectiveArgs {
                name: chunk.strings.intern(collective),
                group: chunk.strings.intern(&group),
                group_size: job.filter(|_| is_data_parallel).and_then(|job| job.size("dp_size")),
                ..CollectiveArgs::default()
            }
        });
        Self {
            name: chunk.strings.intern(name),
            category: chunk.strings.intern(operator.lane.category()),
            track,
            collective,
        }
    }
}

/// Arguments are the other columns of a row; a location's offset is the number of the row.
#[derive(Debug)]
struct RowArgs {
    table: Arc<Table>,
}

impl RowArgs {
    fn value(column: &Column, row: usize) -> Option<ArgValue> {
        let text = || column.text(row).map(|(_, text)| ArgValue::Text(text.to_owned()));
        column.int(row).map(ArgValue::Int).or_else(|| column.float(row).map(ArgValue::Double)).or_else(text)
    }
}

impl ArgsSource for RowArgs {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        let row = usize::try_from(loc.offset()).unwrap_or(usize::MAX);
        let is_arg = |column: &&Column| {
            // Rank, operator and times are the event itself; its step is an argument.
            column.name == "step" || !NEEDED.contains(&column.name.as_str())
        };
        let columns = self.table.columns.iter().filter(is_arg);
        Ok(columns.filter_map(|column| Some((column.name.clone(), Self::value(column, row)?))).collect())
    }

    fn heap_bytes(&self) -> usize {
        let of_data = |data: &Data| match data {
            Data::Int(values) => values.capacity() * 8,
            Data::Float(values) => values.capacity() * 8,
            Data::Text { texts, codes } => {
                codes.capacity() * 4 + texts.iter().map(|text| text.capacity() + size_of::<String>()).sum::<usize>()
            }
        };
        self.table.columns.iter().map(|column| of_data(&column.data) + column.absent.capacity()).sum()
    }
}
