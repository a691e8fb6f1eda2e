//! Finishing what a recorder that was killed left behind: its rings still hold what it had not written.

use std::io::{self, Read as _};
use std::path::{Component, Path};

use gapless_ring::{Anchor, ClockKind, SegmentReader};

use crate::clock_map::ClockMap;
use crate::encode::{ENDED, HELD, LANE, LATEST, OPEN, OpenRun, Resumed, SCHEMA, STATE_FIELD};
use crate::error::RecordError;
use crate::manifest::{self, Manifest};
use crate::process::ProcessRecording;
use crate::{alone, folder, procfs};

/// How the names of traces end.
const TRACE_SUFFIX: &str = ".pftrace";

/// What a recording needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is whole.
    Finished,
    /// Its recorder is at work.
    Running,
    /// Its recorder is gone without an end; [`recover`] finishes it.
    Abandoned,
    /// The job recorded itself; [`recover`] makes traces of it once it has ended.
    ByItself,
}

/// What has become of the recording in `folder`; `None` where there is no manifest.
pub fn state(folder: &Path) -> Option<State> {
    let manifest = Manifest::read(folder).ok()?;
    Some(state_of(&manifest))
}

fn state_of(manifest: &Manifest) -> State {
    if manifest.finished {
        State::Finished
    } else if manifest.recorder.pid == 0 {
        State::ByItself
    } else if manifest.host == procfs::host_name()
        && manifest.recorder.boot_id == manifest::boot_id()
        && procfs::is_running(manifest.recorder.pid, manifest.recorder.start_time)
    {
        State::Running
    } else {
        State::Abandoned
    }
}

/// Adds to an abandoned recording what its rings still hold. Gives how many events came to it. Once none of its
/// processes runs any more, its manifest is finished and its rings are removed.
///
/// # Errors
/// There is no manifest, or a file cannot be written.
pub fn recover(folder: &Path) -> Result<u64, RecordError> {
    let error = |reason: String| RecordError::Recording { path: folder.to_owned(), reason };
    let mut manifest = Manifest::read(folder).map_err(|reason| error(reason.to_string()))?;
    match state_of(&manifest) {
        State::Abandoned => {}
        State::ByItself => return alone::collect(folder, &mut manifest),
        State::Finished | State::Running => return Ok(0),
    }
    // Rings outlive their writers only on the machine and boot where they were written.
    let is_here = manifest.host == procfs::host_name() && manifest.recorder.boot_id == manifest::boot_id();
    let rings = manifest.recorder.rings.clone();
    let has_rings = is_here && folder::is_rings_of(&rings, &manifest.id);
    let mut recovered = 0;
    let mut is_unfinished = false;
    if has_rings {
        remove_unused(folder, &manifest);
        let mut names: Vec<_> = std::fs::read_dir(&rings)
            .map_err(|reason| error(reason.to_string()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .filter(|name| name.ends_with(gapless_ring::layout::FILE_SUFFIX))
            .collect();
        names.sort_unstable();
        for name in names {
            let Ok(reader) = SegmentReader::open(&rings.join(&name)) else { continue };
            let known = manifest.processes.iter().position(|process| process.ring == name);
            let (index, recording) = match known {
                Some(index) => {
                    let resumed = resume(folder, &manifest, index, reader);
                    let again = || SegmentReader::open(&rings.join(&name)).map_err(io::Error::other);
                    (index, resumed.and_then(|made| made.map_or_else(|| take_up(folder, &manifest, again()?), Ok)))
                }
                // It appeared after the last manifest was written; its trace may have been begun.
                None => {
                    let made = take_up(folder, &manifest, reader);
                    if let Ok(process) = &made {
                        manifest.processes.push(process.entry_as_known().clone());
                    }
                    (manifest.processes.len().saturating_sub(1), made)
                }
            };
            let mut process = match recording {
                Ok(process) => process,
                // The others are not to suffer from it, and its ring stays for the next try.
                Err(reason) => {
                    let notice = format!("process {name} cannot be added: {reason}");
                    if !manifest.notices.contains(&notice) {
                        manifest.notices.push(notice);
                    }
                    is_unfinished = true;
                    continue;
                }
            };
            let mut budget = u64::MAX;
            process.drain(&mut budget);
            if process.is_done {
                process.finish(&mut budget);
            } else {
                is_unfinished = true;
            }
            let entry = process.entry().clone();
            recovered += entry.events;
            if let Some(place) = manifest.processes.get_mut(index) {
                let events = if known.is_some() { place.events } else { 0 };
                let file = std::fs::metadata(folder.join(&place.trace)).map_or(0, |meta| meta.len());
                *place = manifest::Process { events: events + entry.events, bytes: file, ..entry };
            }
        }
    }
    if is_unfinished {
        // Who runs writes on into its rings; whoever opens the recording next adds that.
        manifest.write(folder).map_err(|reason| error(reason.to_string()))?;
        return Ok(recovered);
    }
    manifest.finished = true;
    // Who ended before the recorder did has no ring any more.
    for process in manifest.processes.iter_mut().filter(|process| process.state == "running") {
        process.state = "gone".to_owned();
        if let Some(name) = own_file(&process.trace) {
            process.bytes = std::fs::symlink_metadata(folder.join(name)).map_or(process.bytes, |meta| meta.len());
        }
    }
    let notice = match (has_rings, is_here) {
        (true, _) => "the recorder was killed; what the rings still held was added afterwards",
        (false, true) => "the recorder was killed; what it had not written is lost, because its rings are gone",
        (false, false) => {
            "the recorder was killed; what it had not written is lost, because this is another machine or boot"
        }
    };
    manifest.notices.push(notice.to_owned());
    manifest.write(folder).map_err(|reason| error(reason.to_string()))?;
    if has_rings {
        let _ = std::fs::remove_dir_all(&rings);
    } else if is_here {
        folder::remove_empty_rings(&rings);
    }
    Ok(recovered)
}

/// A name in a manifest that is a file of the folder itself; anything else would lead out of it.
fn own_file(name: &str) -> Option<&str> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name => Some(name),
        _ => None,
    }
}

fn clock_map(manifest: &Manifest, reader: &SegmentReader) -> ClockMap {
    let (first, last) = reader.anchors();
    let unix = |monotonic_ns: u64| monotonic_ns.wrapping_add(manifest.recorder.unix_minus_monotonic_ns as u64);
    let start = Anchor { realtime_ns: unix(first.monotonic_ns), ..first };
    let mut map = ClockMap::new(reader.clock(), start, start);
    map.add(last);
    // The clocks of another machine or boot have nothing to do with these.
    if manifest.host == procfs::host_name() && manifest.recorder.boot_id == manifest::boot_id() {
        map.add(reader.clock().anchor());
    }
    map
}

/// Goes on with a process whose trace was begun; `None` where nothing of it was written or it is not there any more: then
/// it begins anew.
fn resume(
    folder: &Path,
    manifest: &Manifest,
    index: usize,
    reader: SegmentReader,
) -> io::Result<Option<ProcessRecording>> {
    let entry = manifest.processes.get(index).cloned().unwrap_or_default();
    let name = own_file(&entry.trace)
        .filter(|name| name.ends_with(TRACE_SUFFIX))
        .ok_or_else(|| io::Error::other("its trace is no trace of the recording"))?;
    let mut file = match folder::append_file(&folder.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("its trace is no file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let written = scan(&bytes);
    if written.whole == 0 {
        std::fs::remove_file(folder.join(name))?;
        return Ok(None);
    }
    if written.whole < bytes.len() as u64 {
        file.set_len(written.whole)?;
    }
    let clock = clock_map(manifest, &reader);
    Ok(Some(ProcessRecording::resume(reader, clock, file, entry, &written)))
}

/// Removes traces that were made and never written to, of processes that the manifest does not know yet.
fn remove_unused(folder: &Path, manifest: &Manifest) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().map_while(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_unused = name.ends_with(TRACE_SUFFIX)
            && manifest.processes.iter().all(|process| process.trace != name)
            && entry.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == 0);
        if is_unused {
            // One that stays is an empty trace, which holds nothing and harms nobody.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Begins the trace of a process that is in no manifest.
pub(crate) fn take_up(folder: &Path, manifest: &Manifest, reader: SegmentReader) -> io::Result<ProcessRecording> {
    let facts = procfs::facts(&reader);
    let start = Anchor {
        ticks: 0,
        monotonic_ns: (manifest.start_unix_ns - manifest.recorder.unix_minus_monotonic_ns) as u64,
        realtime_ns: manifest.start_unix_ns as u64,
        boottime_ns: ClockKind::Monotonic.anchor().boottime_ns,
    };
    let common = crate::process::Common {
        folder,
        id: &manifest.id,
        start,
        host: &manifest.host,
        steps: 0..u64::MAX,
        flight_seconds: None,
    };
    let clock = clock_map(manifest, &reader);
    let mut process = ProcessRecording::new(&common, reader, facts)?;
    process.set_clock(clock);
    Ok(process)
}

/// What a trace that was cut off holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes up to the last packet that says how far the rings were read, which each write ends with. What lies behind it
    /// is part of a write that was not completed, and is in the rings still.
    pub whole: u64,
    /// The highest sequence.
    pub last_sequence: u64,
    /// How far the rings were read, by the last packet that says so: serial and position.
    pub positions: Vec<(u64, u64)>,
    /// What its encoder must know to go on.
    pub state: Resumed,
}

/// What a trace holds that was cut off anywhere: whole writes, and what is needed to go on behind them.
pub fn scan(bytes: &[u8]) -> Written {
    let mut written = Written::default();
    let (mut tracks, mut schemas) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    while let Some((1, Field::Bytes(packet), after)) = field(rest) {
        let mut positions = Vec::new();
        // What is open and held back is said anew each time that positions are said.
        let mut now = Resumed::default();
        for (number, value) in fields(packet) {
            match (number, value) {
                (10, Field::Number(sequence)) => written.last_sequence = written.last_sequence.max(sequence),
                // Descriptors of ours begin with the track's id.
                (60, Field::Bytes(descriptor)) => tracks.push(number_in(descriptor, 1)),
                (STATE_FIELD, Field::Bytes(entry)) => match fields(entry).next() {
                    Some((1, Field::Number(serial))) => positions.push((serial, number_in(entry, 2))),
                    Some((OPEN, Field::Bytes(entry))) => now.open.push((number_in(entry, 1), runs(entry))),
                    Some((LANE, Field::Bytes(entry))) => {
                        now.lanes.push((number_in(entry, 1), number_in(entry, 2) as u32, number_in(entry, 3)));
                    }
                    Some((ENDED, Field::Bytes(entry))) => {
                        now.ended.push((number_in(entry, 1), number_in(entry, 2) as i64));
                    }
                    Some((LATEST, Field::Bytes(entry))) => {
                        now.latest.insert(number_in(entry, 1), number_in(entry, 2) as i64);
                    }
                    Some((HELD, Field::Bytes(entry))) => {
                        let slots = bytes_in(entry, 3).to_vec();
                        now.held.push((number_in(entry, 1), number_in(entry, 2) as u32, slots));
                    }
                    Some((SCHEMA, Field::Bytes(entry))) => {
                        let key = String::from_utf8_lossy(bytes_in(entry, 2)).into_owned();
                        schemas.push((number_in(entry, 1) as u32, key, bytes_in(entry, 3).to_vec()));
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        if !positions.is_empty() {
            written.positions = positions;
            let mut state = std::mem::take(&mut written.state);
            state.tracks.append(&mut tracks);
            state.schemas.append(&mut schemas);
            // Only threads that wrote something since say their latest time anew.
            state.latest.append(&mut now.latest);
            written.state = Resumed { tracks: state.tracks, schemas: state.schemas, latest: state.latest, ..now };
            written.whole = (bytes.len() - after.len()) as u64;
        }
        rest = after;
    }
    written
}

/// The fields of a message, up to the first that is damaged.
fn fields(message: &[u8]) -> impl Iterator<Item = (u32, Field<'_>)> {
    let mut rest = message;
    std::iter::from_fn(move || {
        let (number, value, after) = field(rest)?;
        rest = after;
        Some((number, value))
    })
}

fn number_in(message: &[u8], wanted: u32) -> u64 {
    let mut all = fields(message).filter(|(number, _)| *number == wanted);
    all.find_map(|(_, value)| if let Field::Number(value) = value { Some(value) } else { None }).unwrap_or(0)
}

fn bytes_in(message: &[u8], wanted: u32) -> &[u8] {
    let mut all = fields(message).filter(|(number, _)| *number == wanted);
    all.find_map(|(_, value)| if let Field::Bytes(value) = value { Some(value) } else { None }).unwrap_or_default()
}

/// Open ranges of a thread.
fn runs(message: &[u8]) -> Vec<OpenRun> {
    let run = |(number, value)| {
        let (2, Field::Bytes(run)) = (number, value) else { return None };
        let ended = fields(run).any(|(number, _)| number == 3);
        Some(OpenRun {
            domain: number_in(run, 1) as u32,
            is_apart: number_in(run, 2) != 0,
            ended_ns: ended.then(|| number_in(run, 3) as i64),
            count: number_in(run, 4),
        })
    };
    fields(message).filter_map(run).collect()
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The next field: its number, its value, and what follows.
fn field(bytes: &[u8]) -> Option<(u32, Field<'_>, &[u8])> {
    let (key, rest) = varint(bytes)?;
    let number = u32::try_from(key >> 3).ok()?;
    match key & 7 {
        0 => {
            let (value, rest) = varint(rest)?;
            Some((number, Field::Number(value), rest))
        }
        1 => Some((number, Field::Bytes(rest.get(..8)?), rest.get(8..)?)),
        2 => {
            let (len, rest) = varint(rest)?;
            let len = usize::try_from(len).ok()?;
            Some((number, Field::Bytes(rest.get(..len)?), rest.get(len..)?))
        }
        5 => Some((number, Field::Bytes(rest.get(..4)?), rest.get(4..)?)),
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use perfetto_proto::wire::Writer;

    #[test]
    fn the_last_positions_of_whole_packets_count() {
        let mut out = Writer::default();
        let mut ends = vec![(0, 0)];
        for (sequence, position) in [(1u64, 100u64), (5, 200), (3, 300)] {
            out.message(1, |out| {
                out.uint(10, sequence);
                out.message(STATE_FIELD, |out| {
                    out.uint(1, 7);
                    out.uint(2, position);
                });
            });
            ends.push((out.len(), position));
        }
        let bytes = out.as_bytes();
        let whole = scan(bytes);
        let positions = vec![(7, 300)];
        assert_eq!(
            whole,
            Written { whole: bytes.len() as u64, last_sequence: 5, positions, state: Resumed::default() }
        );
        for cut in 0..bytes.len() {
            let part = scan(&bytes[..cut]);
            let &(end, position) = ends.iter().rfind(|&&(end, _)| end <= cut).unwrap_or(&(0, 0));
            let found = part.positions.first().map_or(0, |&(_, position)| position);
            assert_eq!((part.whole, found), (end as u64, position), "cut at {cut}");
        }
    }
}
