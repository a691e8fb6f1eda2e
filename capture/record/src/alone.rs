//! Recordings that a job made without a recorder: its threads wrote their rings out, and whoever opens the folder once the
//! job has ended makes traces of them.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use gapless_ring::SegmentReader;
use gapless_ring::layout::FILE_SUFFIX;

use crate::error::RecordError;
use crate::manifest::{self, Manifest};
use crate::{folder, procfs, recover};

/// Makes traces of the processes that have ended. Gives how many events they hold. The manifest is finished, and the rings
/// go, when none runs any more.
///
/// # Errors
/// A file cannot be read or written.
pub(crate) fn collect(folder: &Path, manifest: &mut Manifest) -> Result<u64, RecordError> {
    let error = |reason: io::Error| RecordError::Recording { path: folder.to_owned(), reason: reason.to_string() };
    let folder = &folder.canonicalize().map_err(error)?;
    // The folder may have been moved or be mounted elsewhere by now.
    let rings = folder.join(gapless_ring::alone::RINGS_FOLDER);
    if !folder::is_rings_of(&rings, &manifest.id) {
        manifest.finished = true;
        manifest.notices.push("what the job recorded is lost, because its rings are gone".to_owned());
        manifest.write(folder).map_err(error)?;
        return Ok(0);
    }
    let mut names: Vec<String> = std::fs::read_dir(&rings)
        .map_err(error)?
        .filter_map(|entry| entry.ok().map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .filter(|name| name.ends_with(FILE_SUFFIX))
        .collect();
    names.sort_unstable();
    let is_host = manifest.host == procfs::host_name();
    let is_boot = is_host && manifest.recorder.boot_id == manifest::boot_id();
    let (mut events, mut is_unfinished) = (0, false);
    for name in names {
        let path = rings.join(&name);
        if manifest.processes.iter().any(|process| process.ring == name) {
            // Its trace is whole; only its ring was not removed any more.
            remove(&path);
            continue;
        }
        let Ok(reader) = SegmentReader::open(&path) else { continue };
        let header = reader.header();
        let number = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
        let runs = is_boot && procfs::is_running(reader.pid(), number(&header.start_time));
        // Of a process on another machine only its own word tells that it has ended.
        if runs || !is_host && header.finished.load(Ordering::Relaxed) == 0 {
            is_unfinished = true;
            continue;
        }
        match collect_process(folder, manifest, reader, is_boot) {
            Ok(entry) => {
                events += entry.events;
                manifest.processes.push(entry);
                manifest.write(folder).map_err(error)?;
                remove(&path);
            }
            Err(reason) => {
                let notice = format!("process {name} cannot be added: {reason}");
                if !manifest.notices.contains(&notice) {
                    manifest.notices.push(notice);
                }
                is_unfinished = true;
            }
        }
    }
    let notice =
        format!("processes of the job still run on {}; open the recording there when they have ended", manifest.host);
    manifest.notices.retain(|known| *known != notice);
    if is_unfinished {
        manifest.notices.push(notice);
    } else {
        manifest.finished = true;
    }
    manifest.write(folder).map_err(error)?;
    if !is_unfinished {
        let _ = std::fs::remove_dir_all(&rings);
    }
    Ok(events)
}

fn collect_process(
    folder: &Path,
    manifest: &Manifest,
    reader: SegmentReader,
    is_boot: bool,
) -> io::Result<manifest::Process> {
    // Somebody who was interrupted here has left a trace that nobody names.
    let end = format!("pid{}.pftrace", reader.pid());
    for entry in std::fs::read_dir(folder)?.map_while(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(&end) && manifest.processes.iter().all(|process| process.trace != name) {
            std::fs::remove_file(entry.path())?;
        }
    }
    let mut process = recover::take_up(folder, manifest, reader)?;
    // It goes when the manifest names the trace.
    process.keep_ring();
    if !is_boot {
        process.fix_clock();
    }
    let mut budget = u64::MAX;
    process.add_spilled(&mut budget)?;
    process.drain(&mut budget);
    process.finish(&mut budget);
    if process.is_full() {
        return Err(io::Error::from(io::ErrorKind::StorageFull));
    }
    Ok(process.entry().clone())
}

/// Removes a segment and what its threads wrote out.
fn remove(segment: &Path) {
    // What cannot be removed goes with the folder.
    for path in gapless_ring::alone::spill_files(segment).unwrap_or_default() {
        let _ = std::fs::remove_file(path);
    }
    let _ = std::fs::remove_file(segment);
}
