//! Which thread ran on which core, from the switches that the kernel reported.

use gapless_trace::{EventKind, RawId, SourceId, TrackKind, WarningKind};

use super::scan::Row;
use super::sink::{NO_ID, Owner, Sink, process_of, tid_of};

/// Columns of a switch.
pub(crate) const SWITCH: &[&str] = &["start", "cpu", "isSchedIn", "globalTid"];

/// A thread came onto a core or left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Switch {
    core: i64,
    time: i64,
    /// Sorted so that a thread leaves before the next one comes at the same time.
    comes: bool,
    thread: i64,
    row: i64,
}

impl Switch {
    /// The switch in a row, if it has a time.
    pub fn of(row: &Row<'_, '_>) -> Option<Self> {
        Some(Self {
            core: row.int(1).unwrap_or(-1),
            time: row.int(0)?,
            comes: row.int(2).unwrap_or(0) != 0,
            thread: row.int(3).unwrap_or(0),
            row: row.id,
        })
    }
}

/// Joins switches to stretches of running.
pub(crate) fn join(sink: &mut Sink<'_>, mut switches: Vec<Switch>) {
    switches.sort_unstable();
    let last_time = switches.iter().map(|switch| switch.time).max().unwrap_or_default();
    for of_core in switches.chunk_by(|a, b| a.core == b.core) {
        let mut running: Option<Switch> = None;
        for switch in of_core {
            if switch.comes {
                if let Some(before) = running.replace(*switch) {
                    // It left unseen, at the latest when the next one came.
                    push(sink, before, switch.time, None);
                    warn(sink, WarningKind::BeginWithoutEnd, before);
                }
                continue;
            }
            match running.take() {
                Some(before) if before.thread == switch.thread => push(sink, before, switch.time, Some(switch.row)),
                kept => {
                    running = kept;
                    warn(sink, WarningKind::EndWithoutBegin, *switch);
                }
            }
        }
        if let Some(before) = running {
            push(sink, before, last_time, None);
            warn(sink, WarningKind::BeginWithoutEnd, before);
        }
    }
}

fn owner(switch: Switch) -> Owner {
    Owner::Process(process_of(switch.thread))
}

fn warn(sink: &mut Sink<'_>, kind: WarningKind, switch: Switch) {
    let detail = format!("row {} of {}", switch.row, sink.table_name());
    sink.of(owner(switch)).chunk.warnings.add(kind, SourceId(0), None, &detail);
}

fn push(sink: &mut Sink<'_>, from: Switch, end: i64, left: Option<i64>) {
    let shared = sink.shared;
    let found = sink.of(owner(from));
    let name = found.made((from.thread, 0, 0), || {
        let tid = tid_of(from.thread);
        match shared.threads.get(&from.thread) {
            Some(name) if !name.is_empty() => format!("{name} {tid}"),
            _ => format!("thread {tid}"),
        }
    });
    let category = found.fixed("sched");
    let core = RawId::Text(found.fixed_text("CPU"));
    let track = found.chunk.track(TrackKind::Cpu, core, RawId::Int(from.core));
    let args = found.args_at(from.row);
    let dur = end.saturating_sub(from.time).max(0);
    if let Some(left) = left {
        let args = found.args_at(left);
        found.chunk.more_args.push((found.chunk.len() as u32, args));
    }
    found.chunk.push(from.time, dur, name, category, EventKind::Scheduled, track, NO_ID, NO_ID, args);
    found.chunk.file_events += 1;
}
