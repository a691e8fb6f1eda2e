//! A recording in progress: finds the processes of the job and drains them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gapless_ring::layout::FILE_SUFFIX;
use gapless_ring::reader::SegmentError;
use gapless_ring::{Anchor, ClockKind, SegmentReader};

use crate::error::RecordError;
use crate::manifest::{self, Manifest};
use crate::process::{Common, ProcessRecording};
use crate::{folder, procfs};

/// How to record.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The recording's folder; must be new or empty.
    pub folder: PathBuf,
    /// The job, for the manifest.
    pub command: Vec<OsString>,
    /// Keep only the last so many seconds, in memory, until a dump is asked for.
    pub flight_seconds: Option<f64>,
    /// Most bytes that the recording may take on disk.
    pub disk_bytes: u64,
    /// Which steps are written.
    pub steps: std::ops::Range<u64>,
    /// Whether processes record from their start.
    pub starts_on: bool,
}

/// Bytes of disk that are always left to others.
const LEAST_FREE_BYTES: u64 = 1 << 30;
/// How often the folder of the rings is looked at for new processes.
const LOOK: Duration = Duration::from_millis(20);
/// How often the manifest is written.
const MANIFEST: Duration = Duration::from_secs(2);
/// How long a process may take to hand over what device libraries hold.
const FLUSH: Duration = Duration::from_millis(500);
/// How often the free space of the disk is asked for.
const SPACE: Duration = Duration::from_secs(1);

/// What is happening, for `ctl status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Processes that run.
    pub running: u64,
    /// Processes seen.
    pub processes: u64,
    /// Events written.
    pub events: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Events lost.
    pub lost: u64,
    /// The fullest ring lately, in thousandths.
    pub fullest_permille: u32,
}

/// A recording in progress.
pub struct Session {
    folder: PathBuf,
    rings: PathBuf,
    start: Anchor,
    manifest: Manifest,
    options: SessionOptions,
    processes: Vec<ProcessRecording>,
    /// Ring files that were taken up or cannot be.
    known: BTreeMap<OsString, ()>,
    is_recording: bool,
    disk_bytes_left: u64,
    looked: Option<Instant>,
    wrote_manifest: Option<Instant>,
    looked_at_space: Option<Instant>,
    fullest_permille: u32,
    dumps: u32,
}

impl Session {
    /// Makes the folders and writes a first manifest.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn start(options: SessionOptions) -> Result<Session, RecordError> {
        let folder = folder::make(&options.folder)?;
        let made = folder.clone();
        let clock = ClockKind::best();
        let start = clock.anchor();
        let pid = std::process::id();
        let id = format!("{:016x}{:08x}", start.realtime_ns, pid);
        let rings = folder::place_of_rings(&folder);
        let manifest = Manifest {
            gapless_recording: manifest::VERSION,
            gapless_version: env!("CARGO_PKG_VERSION").to_owned(),
            id,
            command: options.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            working_directory: std::env::current_dir().unwrap_or_default(),
            host: procfs::host_name(),
            kernel: procfs::kernel_release(),
            start_unix_ns: start.realtime_ns as i64,
            clock: match clock {
                ClockKind::Tsc => "tsc",
                ClockKind::Monotonic => "monotonic",
            }
            .to_owned(),
            recorder: manifest::Recorder {
                pid,
                start_time: procfs::state(pid).map_or(0, |(_, start)| start),
                boot_id: manifest::boot_id(),
                rings: rings.clone(),
                unix_minus_monotonic_ns: start.realtime_ns.wrapping_sub(start.monotonic_ns) as i64,
            },
            ..Manifest::default()
        };
        let mut session = Session {
            is_recording: options.starts_on,
            disk_bytes_left: options.disk_bytes,
            folder,
            rings,
            start,
            manifest,
            options,
            processes: Vec::new(),
            known: BTreeMap::new(),
            looked: None,
            wrote_manifest: None,
            looked_at_space: None,
            fullest_permille: 0,
            dumps: 0,
        };
        let failed = |reason| RecordError::of_folder(&made, reason);
        session.manifest.write(&session.folder).map_err(failed)?;
        if folder::make_rings(&session.rings, &session.manifest.id).is_err() {
            session.rings = folder::inside(&session.folder);
            session.manifest.recorder.rings.clone_from(&session.rings);
            session.manifest.write(&session.folder).map_err(failed)?;
            folder::make_rings(&session.rings, &session.manifest.id).map_err(failed)?;
        }
        Ok(session)
    }

    /// The recording's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of the rings.
    pub fn rings(&self) -> &Path {
        &self.rings
    }

    /// Whether processes are asked to record.
    pub fn is_recording(&self) -> bool {
        self.is_recording
    }

    /// Adds a notice to the manifest, once.
    pub fn notice(&mut self, text: &str) {
        if !self.manifest.notices.iter().any(|known| known == text) {
            self.manifest.notices.push(text.to_owned());
        }
    }

    /// Counts stacks and switches that were taken from outside.
    pub fn set_sampled(&mut self, stacks: u64, switches: u64) {
        self.manifest.stacks = stacks;
        self.manifest.switches = switches;
    }

    /// What could not be recorded so far.
    pub fn notices(&self) -> &[String] {
        &self.manifest.notices
    }

    /// Process ids that are recorded and run.
    pub fn running(&self) -> impl Iterator<Item = u32> + '_ {
        self.processes.iter().filter(|process| !process.is_done).map(ProcessRecording::pid)
    }

    /// Ranks among the processes that run, ascending.
    pub fn ranks(&self) -> Vec<u32> {
        let running = self.processes.iter().filter(|process| !process.is_done);
        let mut ranks: Vec<u32> = running.filter_map(|process| process.entry_as_known().rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        ranks
    }

    /// The clocks when the recording started.
    pub fn start_anchor(&self) -> Anchor {
        self.start
    }

    /// What each trace of the recording says of it.
    pub fn attributes(&self) -> Vec<(String, String)> {
        vec![
            ("gapless.recording".to_owned(), self.manifest.id.clone()),
            ("gapless.host".to_owned(), self.manifest.host.clone()),
        ]
    }

    /// A process that is recorded, the last one with this id.
    pub fn process(&self, pid: u32) -> Option<&manifest::Process> {
        self.processes.iter().rev().map(ProcessRecording::entry_as_known).find(|process| process.pid == pid)
    }

    /// Takes bytes from what the recording may write; false where that is used up.
    pub fn take_disk_bytes(&mut self, bytes: u64) -> bool {
        match self.disk_bytes_left.checked_sub(bytes) {
            Some(left) => {
                self.disk_bytes_left = left;
                true
            }
            None => false,
        }
    }

    /// The job, word by word.
    pub fn command(&self) -> &[String] {
        &self.manifest.command
    }

    /// Processes that step, with the number of steps that they have done.
    pub fn steps_done(&self) -> Vec<(u32, u64)> {
        let running = self.processes.iter().filter(|process| !process.is_done);
        running.filter_map(|process| Some((process.pid(), process.steps_done()?))).collect()
    }

    /// Durations of the steps that ended since the last call, in ns, all processes together.
    pub fn take_step_durations(&mut self) -> Vec<i64> {
        self.processes.iter_mut().flat_map(ProcessRecording::take_step_durations).collect()
    }

    /// Windows of full detail that processes asked for since the last call (`gapless.record_window` in Python): process,
    /// first step, steps.
    pub fn take_asked_windows(&mut self) -> Vec<(u32, u64, u64)> {
        let mut asked = Vec::new();
        for process in self.processes.iter_mut().filter(|process| !process.is_done) {
            let pid = process.pid();
            for text in process.take_facts("record_window") {
                let numbers = text.split_once(':').map(|(first, end)| (first.parse(), end.parse()));
                if let Some((Ok(first), Ok(end))) = numbers
                    && let Some(count) = u64::checked_sub(end, first).filter(|&count| count > 0)
                {
                    asked.push((pid, first, count));
                }
            }
        }
        asked
    }

    /// Puts a mark on the timeline of each process, now.
    pub fn mark(&mut self, name: &str) {
        for process in self.processes.iter_mut().filter(|process| !process.is_done) {
            process.mark(name, &mut self.disk_bytes_left);
        }
    }

    /// Looks for new processes, drains all, writes. Gives how long to wait until the next time.
    pub fn poll(&mut self) -> Duration {
        let now = Instant::now();
        if self.looked.is_none_or(|last| now.duration_since(last) >= LOOK) {
            self.looked = Some(now);
            self.look_for_processes();
        }
        if self.wrote_manifest.is_none_or(|last| now.duration_since(last) >= MANIFEST) {
            self.wrote_manifest = Some(now);
            // Before anything of a new process is written: recovery goes on with the traces that the manifest names. One
            // that cannot be written now may be written later; the traces stand for themselves.
            let _ = self.write_manifest();
        }
        if self.looked_at_space.is_none_or(|last| now.duration_since(last) >= SPACE) {
            self.looked_at_space = Some(now);
            let free = folder::free_bytes(&self.folder).unwrap_or(u64::MAX);
            self.disk_bytes_left = self.disk_bytes_left.min(free.saturating_sub(LEAST_FREE_BYTES));
        }
        let mut fullest = 0;
        for process in &mut self.processes {
            if process.is_done {
                continue;
            }
            let progress = process.drain(&mut self.disk_bytes_left);
            fullest = fullest.max(progress.fullest_permille);
        }
        self.fullest_permille = fullest;
        if self.processes.iter().any(ProcessRecording::is_full) {
            self.notice("the disk or the disk budget is full: the rest of the job is not recorded (see --disk-budget)");
        }
        match fullest {
            // Rings that are a third full when they are looked at want to be looked at more often.
            300.. => Duration::from_millis(1),
            100.. => Duration::from_millis(4),
            _ => Duration::from_millis(10),
        }
    }

    fn look_for_processes(&mut self) {
        let entries = match std::fs::read_dir(&self.rings) {
            Ok(entries) => entries,
            Err(error) => return self.notice(&short_of(&error)),
        };
        let mut names: Vec<OsString> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.file_name()))
            .filter(|name| name.to_string_lossy().ends_with(FILE_SUFFIX) && !self.known.contains_key(name))
            .collect();
        names.sort_unstable();
        for name in names {
            let reader = match SegmentReader::open(&self.rings.join(&name)) {
                Ok(reader) => reader,
                // Its maker is at it.
                Err(SegmentError::Unfinished(_)) => continue,
                Err(SegmentError::Io(_, error)) if is_passing(&error) => {
                    self.notice(&short_of(&error));
                    continue;
                }
                Err(error) => {
                    self.known.insert(name, ());
                    self.notice(&error.to_string());
                    continue;
                }
            };
            self.known.insert(name.clone(), ());
            let facts = procfs::facts(&reader);
            let common = Common {
                folder: &self.folder,
                id: &self.manifest.id,
                start: self.start,
                host: &self.manifest.host,
                steps: self.options.steps.clone(),
                flight_seconds: self.options.flight_seconds,
            };
            match ProcessRecording::new(&common, reader, facts) {
                Ok(mut process) => {
                    if !self.is_recording {
                        process.set_recording(false);
                    }
                    self.processes.push(process);
                    self.wrote_manifest = None;
                }
                Err(error) if is_passing(&error) => {
                    self.known.remove(&name);
                    self.notice(&short_of(&error));
                }
                Err(error) => self.notice(&format!("a process is not recorded: cannot write its trace: {error}")),
            }
        }
    }

    /// Has processes hand over what device libraries still hold, and reads it. Waits for them, but not for ever.
    fn flush_devices(&mut self) {
        let asked: Vec<usize> = (0..self.processes.len())
            .filter(|&place| self.processes.get(place).is_some_and(|process| process.has_device_source()))
            .collect();
        for process in asked.iter().filter_map(|&place| self.processes.get(place)) {
            process.ask_for_flush();
        }
        let until = Instant::now() + FLUSH;
        for &place in &asked {
            let Some(process) = self.processes.get_mut(place) else { continue };
            // Rings must be read meanwhile: what comes may be more than they hold.
            while process.is_flushing() && Instant::now() < until {
                process.drain(&mut self.disk_bytes_left);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Switches recording on or off in all processes, and those that come.
    pub fn set_recording(&mut self, on: bool) {
        self.is_recording = on;
        for process in &mut self.processes {
            process.set_recording(on);
        }
    }

    /// Writes what a flight recorder keeps of the last `seconds`. Gives the files.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn dump(&mut self, seconds: Option<f64>) -> io::Result<Vec<PathBuf>> {
        self.dumps += 1;
        self.flush_devices();
        let label = format!("dump{}", self.dumps);
        let mut paths = Vec::new();
        for process in &mut self.processes {
            process.drain(&mut self.disk_bytes_left);
            paths.extend(process.dump(&self.folder, &label, seconds)?);
        }
        Ok(paths)
    }

    /// What is happening.
    pub fn totals(&mut self) -> Totals {
        let mut totals = Totals { fullest_permille: self.fullest_permille, ..Totals::default() };
        for process in &mut self.processes {
            totals.processes += 1;
            totals.running += u64::from(!process.is_done);
            let entry = process.entry();
            totals.events += entry.events;
            totals.bytes += entry.bytes;
            totals.lost += entry.lost.events();
        }
        totals
    }

    /// Bytes that the recording may still write.
    pub fn disk_bytes_left(&self) -> u64 {
        self.disk_bytes_left
    }

    fn write_manifest(&mut self) -> io::Result<()> {
        self.manifest.processes = self.processes.iter_mut().map(|process| process.entry().clone()).collect();
        self.manifest.write(&self.folder)
    }

    /// Reads what is left, writes the last manifest and removes the rings. `exit` is how the job ended. Gives the manifest,
    /// with a notice where it could not be written.
    pub fn finish(mut self, exit: Option<i32>) -> Manifest {
        self.look_for_processes();
        for process in self.processes.iter_mut().filter(|process| !process.is_done) {
            process.drain(&mut self.disk_bytes_left);
        }
        let still_running = self.running().count();
        if still_running > 0 {
            // Who outlives the job goes on unrecorded.
            self.flush_devices();
            self.set_recording(false);
        }
        for process in self.processes.iter_mut().filter(|process| !process.is_done) {
            process.drain(&mut self.disk_bytes_left);
            process.finish(&mut self.disk_bytes_left);
        }
        if still_running > 0 {
            self.notice(&format!(
                "{still_running} processes of the job went on after it ended; the rest of them is not recorded"
            ));
        }
        self.manifest.finished = true;
        self.manifest.exit = exit;
        let now = ClockKind::Monotonic.anchor().monotonic_ns.wrapping_sub(self.start.monotonic_ns);
        self.manifest.end_unix_ns = Some(self.start.realtime_ns.wrapping_add(now) as i64);
        // Rings are in memory that others need. Nothing else was ever put there. They go before the manifest says that all
        // is done: a recorder that is killed in between must leave something that the next opening takes up.
        let _ = std::fs::remove_dir_all(&self.rings);
        if let Err(error) = self.write_manifest() {
            self.notice(&format!("the last {} could not be written: {error}", manifest::FILE_NAME));
        }
        self.manifest
    }
}

/// Errors of a recorder that has too little of something now, and may have more in a moment.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

fn short_of(error: &io::Error) -> String {
    format!("the recorder could not look at some processes at once; their events may be missing: {error}")
}
