//! XPlane (`.xplane.pb`): what the profilers of JAX, TensorFlow and XLA write, one file per host.
//!
//! A file is one protobuf message (`tsl/profiler/protobuf/xplane.proto`):
//!
//! | message | fields |
//! |---|---|
//! | XSpace | planes 1, errors 2, warnings 3, hostnames 4 |
//! | XPlane | id 1, name 2, lines 3, event_metadata 4 (map), stat_metadata 5 (map), stats 6 |
//! | XLine | id 1, name 2, timestamp_ns 3, events 4, duration_ps 9, display_id 10, display_name 11 |
//! | XEvent | metadata_id 1, offset_ps 2, duration_ps 3, stats 4, num_occurrences 5 |
//! | XStat | metadata_id 1, double 2, uint64 3, int64 4, str 5, bytes 6, ref 7, gzip text 8 |
//! | XEventMetadata | id 1, name 2, metadata 3, display_name 4, stats 5, child_id 6 |
//! | XStatMetadata | id 1, name 2, description 3 |
//!
//! Events are walked where they stand, in parallel over stretches of lines. Their stats stay in the file and are
//! decoded when somebody asks. What is read:
//!
//! * Host planes: lines are threads. Names and stats say which events are steps (`step_num`), Python frames (`$…`),
//!   calls of CUDA or HIP, operators, and the user's own ranges; events without length are instants.
//! * GPU planes: lines are streams, `correlation_id` joins work with its launch. What post-processing makes from them
//!   (`Steps`, `XLA Modules`, `XLA Ops`, …) stands on tracks of annotations.
//! * TPU planes: `XLA Ops` is the work, collectives by opcode; everything else stands on tracks of annotations.
//! * Counters of devices, arrows between threads (`_p`/`_c`, `flow`), properties of devices, facts of the recording.
//! * All other planes: named tracks.
//!
//! Times count from `profile_start_time` where the file says it. Picoseconds are rounded down to nanoseconds at both
//! ends of an event.
//!
//! Not read: compiled programs (`/host:metadata` holds them whole; their names are kept), children of event types,
//! and sums of events without times, which are counted.

mod args;
mod events;
mod facts;
mod flows;
mod kinds;
mod message;
mod space;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gapless_trace::TracePart;
use rayon::prelude::*;
use rustc_hash::FxHashSet;

use crate::Progress;
use crate::error::Refused;
use crate::limits::Limits;
use crate::readers::{Head, Input, ReadPart};
use args::PlaneArgs;
use events::{Unit, UnitEvents, read_unit};
use facts::{Facts, process_of};
use message::{Fields, Slice, Value};
use space::Space;

/// Name of the format for people.
pub(crate) const FORMAT: &str = "XPlane";

/// Bytes of events that become one chunk.
const UNIT_BYTES: usize = 1 << 20;

/// Whether the content begins with planes: fields of the right numbers and types, and a plane with a printable name.
///
/// Perfetto's traces begin with the same byte. Their packets have no text in field 2, and fields that planes lack.
pub(crate) fn sniff(head: &Head<'_>) -> bool {
    let mut has_name = false;
    for field in Fields::new(Slice::new(head.bytes, 0)) {
        match field {
            (1, Value::Bytes(plane)) => match sniff_plane(plane) {
                Some(is_named) => has_name |= is_named,
                None => return false,
            },
            (2..=4, Value::Bytes(text)) if is_text(text.bytes, !text.is_whole) => {}
            _ => return false,
        }
    }
    has_name
}

/// Whether the plane has a name; `None` if it is no plane.
fn sniff_plane(plane: Slice<'_>) -> Option<bool> {
    let mut name: Option<&[u8]> = None;
    let mut fields = Fields::new(plane);
    for field in fields.by_ref() {
        match field {
            (1, Value::Varint(_)) | (3..=6, Value::Bytes(_)) => {}
            (2, Value::Bytes(text)) if is_text(text.bytes, !text.is_whole) => name = Some(text.bytes),
            _ => return None,
        }
    }
    // Only the end of what is looked at may cut a plane, unless its name leaves no doubt.
    let is_known =
        |name: &[u8]| [&b"/host:"[..], b"/device:", b"Task Environment"].iter().any(|known| name.starts_with(known));
    let is_cut_inside = fields.damage().is_some() && plane.is_whole;
    (!is_cut_inside || name.is_some_and(is_known)).then(|| name.is_some_and(|name| !name.is_empty()))
}

fn is_text(bytes: &[u8], is_cut: bool) -> bool {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if is_cut && error.error_len().is_none() => "",
        Err(_) => return false,
    };
    !text.chars().any(char::is_control)
}

/// Reads the file as one rank.
///
/// # Errors
/// When there is no plane, a limit is passed, or the user gave up.
pub(crate) fn read(input: &Input, progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    let file: &[u8] = &input.bytes;
    let mut part = input.part();
    let mut space = Space::new(file, &mut part.warnings);
    if space.planes.is_empty() {
        let reason =
            "it begins like an XPlane file but holds no plane; record it again, or copy it again if it was cut";
        return Err(Refused::format(0, reason));
    }
    check_limits(&space, &input.limits)?;
    let facts = Facts::new(file, &space, &mut part.warnings);
    let units = units(file, &space, &facts);
    let done = AtomicU64::new(0);
    let read: Vec<UnitEvents> = units
        .into_par_iter()
        .map(|unit| {
            if progress.is_cancelled() {
                return Err(Refused::Cancelled);
            }
            let bytes: usize = unit.pieces.iter().map(|piece| piece.1.len).sum();
            let events = read_unit(file, &unit, facts.clock);
            progress.done(done.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64);
            Ok(events)
        })
        .collect::<Result<_, _>>()?;
    let mut points = Vec::new();
    for (number, unit) in read.into_iter().enumerate() {
        points.extend(unit.points.into_iter().map(|mut point| {
            point.chunk = number as u32;
            point
        }));
        part.source.file_events += unit.chunk.file_events;
        part.chunks.push(unit.chunk);
    }
    part.edges = flows::edges(points, &mut part.warnings);
    adopt(&mut part, facts);
    let planes = space.planes.drain(..).map(|plane| (plane.place, plane.tables)).collect();
    part.args = Arc::new(PlaneArgs { bytes: Arc::clone(&input.bytes), planes });
    Ok(vec![part.into()])
}

/// Whether the part is of this format: one file per host, and no ranks.
pub(crate) fn is_one_host(part: &TracePart) -> bool {
    part.source.format.starts_with(FORMAT)
}

/// Leaves out of the files of a folder what the profiler writes beside `HOST.xplane.pb` for viewers: the same events,
/// with less about each (`HOST.trace.json.gz`, `perfetto_trace.json.gz`).
pub(crate) fn leave_out_exports(files: &mut Vec<PathBuf>) {
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let hosts: Vec<String> =
        files.iter().filter_map(|path| name(path).strip_suffix(".xplane.pb").map(str::to_owned)).collect();
    if hosts.is_empty() {
        return;
    }
    files.retain(|path| {
        let name = name(path);
        let stem = name.strip_suffix(".gz").unwrap_or(&name);
        let is_export = stem.strip_suffix(".trace.json").is_some_and(|stem| hosts.iter().any(|host| host == stem))
            || stem.ends_with("perfetto_trace.json");
        !is_export
    });
}

fn adopt(part: &mut TracePart, facts: Facts) {
    part.info.base_time_ns = facts.clock.base_ns;
    part.info.host = facts.host;
    part.info.devices = facts.devices;
    part.info.header = facts.header;
}

/// Planes and lines that a file may have: a plane is a device or process, a line is a thread or stream, and each costs
/// more memory than it takes in the file.
const MOST_PLANES: usize = 1 << 16;
const MOST_LINES: usize = 1 << 20;

fn check_limits(space: &Space, limits: &Limits) -> Result<(), Refused> {
    let lines = || space.planes.iter().flat_map(|plane| &plane.lines);
    let line_count = lines().count();
    if space.planes.len() > MOST_PLANES || line_count > MOST_LINES {
        let reason = format!(
            "it has {} planes with {line_count} lines; no recorder writes more than {MOST_PLANES} and {MOST_LINES}",
            space.planes.len()
        );
        return Err(Refused::format(0, reason));
    }
    let events = lines().fold(0u64, |sum, line| sum.saturating_add(line.events));
    if events > limits.events {
        return Err(Refused::Limit {
            what: format!("{events} events"),
            limit: limits.events.to_string(),
            flag: format!("events={events}"),
        });
    }
    let types = space.planes.iter().flat_map(|plane| plane.tables.types.entries());
    let stats = space.planes.iter().flat_map(|plane| plane.tables.stats.entries());
    let names = types.map(|entry| entry.name.len.max(entry.display_name.len)).chain(stats.map(|entry| entry.name.len));
    let names = names.chain(lines().map(|line| line.name.len)).chain(space.planes.iter().map(|plane| plane.name.len));
    let names = names.chain(space.messages.iter().chain(&space.hosts).map(|text| text.len));
    let longest = names.max().unwrap_or(0);
    if longest > limits.string_bytes {
        return Err(Refused::Limit {
            what: format!("a name of {longest} bytes"),
            limit: format!("{} bytes", limits.string_bytes),
            flag: format!("string={longest}"),
        });
    }
    Ok(())
}

/// Stretches of lines for one thread each: small lines together, large ones in pieces.
fn units<'a>(file: &[u8], space: &'a Space, facts: &Facts) -> Vec<Unit<'a>> {
    // Names of processes are kept by id, and ids of processes and devices are numbers alike.
    let devices: FxHashSet<i64> = space.planes.iter().filter_map(|plane| plane.kind.device().map(i64::from)).collect();
    let pids: Vec<i64> = space.planes.iter().map(|plane| process_of(file, plane).unwrap_or(facts.pid)).collect();
    let names_processes = !pids.iter().any(|pid| devices.contains(pid));
    let mut units = Vec::new();
    for (plane, &pid) in space.planes.iter().zip(&pids) {
        let new = || Unit { plane, pid, names_processes, pieces: Vec::new() };
        let (mut unit, mut bytes) = (new(), 0);
        for line in &plane.lines {
            for (number, &piece) in line.pieces.iter().enumerate() {
                unit.pieces.push((line, piece, number == 0));
                bytes += piece.len;
                if bytes >= UNIT_BYTES {
                    units.push(std::mem::replace(&mut unit, new()));
                    bytes = 0;
                }
            }
        }
        if !unit.pieces.is_empty() {
            units.push(unit);
        }
    }
    units
}
