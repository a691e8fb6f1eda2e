//! One recorded process: its rings are drained, encoded and written.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use gapless_ring::layout::{
    SOURCE_CUPTI, SOURCE_GLOO, SOURCE_ITT, SOURCE_MPI, SOURCE_NCCL, SOURCE_NVTX, SOURCE_PYTHON, SOURCE_ROCPROFILER,
};
use gapless_ring::{Anchor, SegmentReader};
use perfetto_proto::wire::Writer;

use crate::clock_map::ClockMap;
use crate::encode::{ProcessEncoder, ProcessHeader};
use crate::flight::Flight;
use crate::folder;
use crate::manifest;
use crate::procfs::{self, ProcessFacts};
use crate::recover::Written;

/// Where the bytes of a process's trace go.
pub enum Sink {
    /// To its file, at once.
    File(File),
    /// Kept in memory, the last seconds of them; written by a dump.
    Flight(Flight),
    /// Nowhere any more: the disk or the budget is full.
    Full,
    /// The process has ended and all of it is in its file.
    Closed,
}

/// One process.
pub struct ProcessRecording {
    /// Until the process has ended: jobs may start thousands, and each takes descriptors and shared memory.
    reader: Option<SegmentReader>,
    encoder: ProcessEncoder,
    clock: ClockMap,
    /// Whether this machine's clocks say nothing of the process's, because it ran on another one or in another boot.
    is_clock_fixed: bool,
    keeps_ring: bool,
    facts_taken: usize,
    sink: Sink,
    out: Writer,
    header: Vec<u8>,
    entry: manifest::Process,
    start_time: u64,
    name: String,
    /// Whether the process has ended and all is read.
    pub is_done: bool,
}

/// What all processes of a recording have in common.
pub struct Common<'a> {
    /// The recording's folder.
    pub folder: &'a Path,
    /// Name of the recording.
    pub id: &'a str,
    /// The clocks when the recording started.
    pub start: Anchor,
    /// Machine.
    pub host: &'a str,
    /// Which steps are written.
    pub steps: std::ops::Range<u64>,
    /// Seconds that a flight recorder keeps; `None` writes everything at once.
    pub flight_seconds: Option<f64>,
}

/// What one look at a process brought.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Slots read.
    pub slots: u64,
    /// Bytes written.
    pub bytes: u64,
    /// The fullest ring, in thousandths.
    pub fullest_permille: u32,
}

impl ProcessRecording {
    /// Takes up a process. `facts` is what the kernel says of it now.
    ///
    /// # Errors
    /// Its file cannot be made.
    pub fn new(common: &Common<'_>, reader: SegmentReader, facts: ProcessFacts) -> io::Result<ProcessRecording> {
        let header = reader.header();
        let pid = reader.pid();
        let start_time = header.start_time.load(Ordering::Relaxed);
        let parent_pid = header.parent_pid.load(Ordering::Relaxed);
        let (first, _) = reader.anchors();
        let mut clock = ClockMap::new(reader.clock(), common.start, common.start);
        clock.add(reader.clock().anchor());
        let stem = match facts.rank {
            Some(rank) => format!("rank{rank}-pid{pid}"),
            None => format!("pid{pid}"),
        };
        let start_unix_ns =
            first.monotonic_ns.wrapping_add(common.start.realtime_ns).wrapping_sub(common.start.monotonic_ns) as i64;
        // A flight recorder makes files only when it is asked to.
        let (trace, file) = match common.flight_seconds {
            Some(_) => (format!("{stem}.pftrace"), None),
            None => {
                let (path, file) = new_file(common.folder, &stem)?;
                (path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(), Some(file))
            }
        };
        let mut attributes = vec![
            ("gapless.recording".to_owned(), common.id.to_owned()),
            ("gapless.host".to_owned(), common.host.to_owned()),
            ("gapless.pid".to_owned(), pid.to_string()),
            ("gapless.parent_pid".to_owned(), parent_pid.to_string()),
            ("gapless.start_unix_ns".to_owned(), start_unix_ns.to_string()),
        ];
        let mut fact = |key: &str, value: Option<u32>| {
            attributes.extend(value.map(|value| (key.to_owned(), value.to_string())));
        };
        fact("gapless.rank", facts.rank);
        fact("gapless.world_size", facts.world_size);
        fact("gapless.local_rank", facts.local_rank);
        let name = display_name(&facts.command, pid);
        let mut encoder = ProcessEncoder::new(pid, start_time, 2);
        encoder.keep_steps(common.steps.clone());
        let mut out = Writer::with_capacity(1 << 16);
        let process_header = ProcessHeader {
            pid,
            start_time,
            name: name.clone(),
            command: facts.command.clone(),
            attributes,
            clocks_ns: [common.start.realtime_ns, common.start.monotonic_ns, common.start.boottime_ns],
        };
        encoder.header(&process_header, &mut out);
        let header = out.as_bytes().to_vec();
        let sink = match file {
            Some(file) => Sink::File(file),
            None => {
                out.clear();
                Sink::Flight(Flight::new(common.flight_seconds.unwrap_or_default()))
            }
        };
        let entry = manifest::Process {
            pid,
            parent_pid,
            rank: facts.rank,
            world_size: facts.world_size,
            local_rank: facts.local_rank,
            command: facts.command,
            trace,
            ring: reader.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            start_unix_ns,
            state: "running".to_owned(),
            ..manifest::Process::default()
        };
        let reader = Some(reader);
        Ok(ProcessRecording {
            reader,
            encoder,
            clock,
            is_clock_fixed: false,
            keeps_ring: false,
            facts_taken: 0,
            sink,
            out,
            header,
            entry,
            start_time,
            name,
            is_done: false,
        })
    }

    /// Goes on with a process whose recorder is gone: `file` is its trace, of which `written` says what it holds, and
    /// `entry` what the manifest says of it.
    pub fn resume(
        reader: SegmentReader,
        clock: ClockMap,
        file: File,
        entry: manifest::Process,
        written: &Written,
    ) -> ProcessRecording {
        let start_time = reader.header().start_time.load(Ordering::Relaxed);
        let mut reader = reader;
        reader.resume(&written.positions);
        let mut encoder = ProcessEncoder::new(entry.pid, start_time, written.last_sequence + 1);
        encoder.resume(written.state.clone());
        ProcessRecording {
            reader: Some(reader),
            encoder,
            clock,
            is_clock_fixed: false,
            keeps_ring: false,
            facts_taken: 0,
            sink: Sink::File(file),
            out: Writer::default(),
            header: Vec::new(),
            name: display_name(&entry.command, entry.pid),
            entry,
            start_time,
            is_done: false,
        }
    }

    /// Whether the process holds records of devices that are not in its rings yet, and can be asked for them.
    pub fn has_device_source(&self) -> bool {
        let calls = |reader: &SegmentReader| {
            reader.header().sources.load(Ordering::Relaxed) & (SOURCE_CUPTI | SOURCE_ROCPROFILER) != 0
        };
        !self.is_done && self.reader.as_ref().is_some_and(calls)
    }

    /// Asks the process for what device libraries still hold.
    pub fn ask_for_flush(&self) {
        if let Some(reader) = &self.reader {
            reader.ask_for_flush();
        }
    }

    /// Whether it has not answered yet.
    pub fn is_flushing(&self) -> bool {
        self.reader.as_ref().is_some_and(SegmentReader::is_flushing)
            && procfs::is_running(self.entry.pid, self.start_time)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.entry.pid
    }

    /// What the process is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks the process to record or not.
    pub fn set_recording(&mut self, on: bool) {
        self.encoder.set_recording(on);
        if let Some(reader) = &self.reader {
            reader.set_recording(on);
        }
    }

    /// Goes by another map of the clocks.
    pub fn set_clock(&mut self, clock: ClockMap) {
        self.clock = clock;
    }

    /// Adds no more readings of the clocks.
    pub fn fix_clock(&mut self) {
        self.is_clock_fixed = true;
    }

    /// Leaves the removal of the process's ring file to the caller.
    pub fn keep_ring(&mut self) {
        self.keeps_ring = true;
    }

    /// Writes what the threads of a process that has ended wrote out by themselves; to be called before anything is drained.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn add_spilled(&mut self, disk_bytes_left: &mut u64) -> io::Result<()> {
        let Some(reader) = self.reader.take() else { return Ok(()) };
        let strings = reader.strings();
        let read = reader.spilled(&mut |batch| {
            let (encoder, out) = (&mut self.encoder, &mut self.out);
            encoder.encode(batch.thread, batch.name, batch.slots, batch.lost, &self.clock, &strings, out);
            self.write(&reader, disk_bytes_left);
        });
        self.reader = Some(reader);
        read
    }

    /// Reads what the process wrote since the last time, and writes it. `disk_bytes_left` is what the recording may
    /// still write.
    pub fn drain(&mut self, disk_bytes_left: &mut u64) -> Progress {
        let Some(mut reader) = self.reader.take() else { return Progress::default() };
        // The end is looked at first: what was written before it is then read below.
        let has_ended = !procfs::is_running(self.entry.pid, self.start_time);
        if !self.is_clock_fixed {
            self.clock.add(reader.clock().anchor());
        }
        if let Sink::Flight(flight) = &mut self.sink
            && flight.wants_restart()
        {
            let mut opening = Writer::default();
            self.encoder.restart(&reader.strings(), &mut opening);
            flight.set_opening(opening.as_bytes());
        }
        let (encoder, clock, out) = (&mut self.encoder, &self.clock, &mut self.out);
        let strings = reader.strings();
        let drained = reader.drain(&mut |batch| {
            encoder.encode(batch.thread, batch.name, batch.slots, batch.lost, clock, &strings, out);
        });
        if drained.slots == 0 || has_ended {
            self.encoder.flush(&self.clock, &strings, &mut self.out);
        }
        if has_ended {
            self.encoder.finish(&self.clock, &strings, &mut self.out);
            let finished = reader.header().finished.load(Ordering::Relaxed) != 0;
            self.entry.state = if finished { "exited" } else { "gone" }.to_owned();
            self.is_done = true;
        }
        let bytes = self.write(&reader, disk_bytes_left);
        reader.commit();
        if has_ended {
            self.count(&reader);
            self.close(reader);
        } else {
            self.reader = Some(reader);
        }
        Progress { slots: drained.slots, bytes, fullest_permille: drained.fullest_permille }
    }

    /// Writes what was held back, and ends steps that are open: nothing more will come.
    pub fn finish(&mut self, disk_bytes_left: &mut u64) {
        let Some(reader) = self.reader.take() else { return };
        self.encoder.finish(&self.clock, &reader.strings(), &mut self.out);
        self.write(&reader, disk_bytes_left);
        self.is_done = true;
        self.reader = Some(reader);
    }

    /// Gives back what only a process that runs needs. Its ring file is read to the end, and all of it is written.
    fn close(&mut self, reader: SegmentReader) {
        if matches!(self.sink, Sink::File(_)) {
            self.sink = Sink::Closed;
        }
        if !self.keeps_ring {
            // One that cannot be removed goes with its folder.
            let _ = std::fs::remove_file(reader.path());
        }
    }

    fn write(&mut self, reader: &SegmentReader, disk_bytes_left: &mut u64) -> u64 {
        if self.out.is_empty() {
            return 0;
        }
        if matches!(self.sink, Sink::File(_)) {
            let positions = reader.positions();
            self.encoder.positions(&positions, &mut self.out);
        }
        let bytes = self.out.as_bytes();
        let len = bytes.len() as u64;
        let mut written = 0;
        match &mut self.sink {
            Sink::File(file) => {
                if len <= *disk_bytes_left && write_whole(file, bytes).is_ok() {
                    *disk_bytes_left -= len;
                    self.entry.bytes += len;
                    written = len;
                } else {
                    self.sink = Sink::Full;
                    self.entry.lost.bytes_not_written += len;
                }
            }
            Sink::Flight(flight) => flight.add(bytes),
            Sink::Full | Sink::Closed => self.entry.lost.bytes_not_written += len,
        }
        self.out.clear();
        written
    }

    /// Steps that the process has done; `None` before its first.
    pub fn steps_done(&self) -> Option<u64> {
        self.encoder.steps_done()
    }

    /// Durations of the steps that ended since the last call, in ns.
    pub fn take_step_durations(&mut self) -> Vec<i64> {
        self.encoder.take_step_durations()
    }

    /// Facts of this name that the process told since the last call; only one name may be asked for.
    pub fn take_facts(&mut self, name: &str) -> Vec<String> {
        let all = self.encoder.facts();
        let new = all.get(self.facts_taken..).unwrap_or_default();
        self.facts_taken = all.len();
        new.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// Puts a mark on the process's timeline, now.
    pub fn mark(&mut self, name: &str, disk_bytes_left: &mut u64) {
        let Some(reader) = self.reader.take() else { return };
        let anchor = reader.clock().anchor();
        self.clock.add(anchor);
        self.encoder.mark(name, self.clock.unix_ns(anchor.ticks), &mut self.out);
        self.write(&reader, disk_bytes_left);
        self.reader = Some(reader);
    }

    /// Whether its file can take no more.
    pub fn is_full(&self) -> bool {
        matches!(self.sink, Sink::Full)
    }

    /// Writes what a flight recorder keeps, of the last `seconds` (all that it keeps where `None`), to the file `stem`
    /// in the folder. Gives the path, or `None` where nothing is kept.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn dump(&mut self, folder: &Path, label: &str, seconds: Option<f64>) -> io::Result<Option<PathBuf>> {
        let Sink::Flight(flight) = &mut self.sink else { return Ok(None) };
        if flight.is_empty() {
            return Ok(None);
        }
        let stem = self.entry.trace.trim_end_matches(".pftrace");
        let (path, mut file) = new_file(folder, &format!("{stem}-{label}"))?;
        file.write_all(&self.header)?;
        flight.write(seconds, &mut file)?;
        Ok(Some(path))
    }

    /// What the manifest says of the process so far.
    pub fn entry_as_known(&self) -> &manifest::Process {
        &self.entry
    }

    /// What the manifest says of the process, with all numbers as they are now.
    pub fn entry(&mut self) -> &manifest::Process {
        if let Some(reader) = self.reader.take() {
            self.count(&reader);
            self.reader = Some(reader);
        }
        &self.entry
    }

    fn count(&mut self, reader: &SegmentReader) {
        let header = reader.header();
        let counts = self.encoder.counts();
        let load = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
        let lost = &mut self.entry.lost;
        lost.ring_full = counts.lost;
        lost.ends_without_begin = counts.ends_without_begin;
        lost.unknown = counts.unknown;
        lost.facts = counts.facts_without_event;
        let devices = self.encoder.device_counts();
        lost.of_devices = devices.dropped + devices.without_time + devices.unknown;
        lost.no_ring = load(&header.dropped_without_ring);
        lost.names = load(&header.names_lost);
        lost.names_cut = load(&header.names_cut);
        self.entry.events = counts.events + devices.events();
        self.entry.devices = devices;
        self.entry.interleaved = counts.interleaved;
        self.entry.undecoded_payloads = counts.undecoded;
        self.entry.threads = self.encoder.thread_count() as u64;
        self.entry.sources = sources(header.sources.load(Ordering::Relaxed));
        self.entry.facts = self.encoder.facts().to_vec();
    }
}

/// Writes all of it or nothing that a reader would stumble over: what a full disk took of it is cut off again.
fn write_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(bytes).inspect_err(|_| {
        let _ = file.set_len(before);
    })
}

fn new_file(folder: &Path, stem: &str) -> io::Result<(PathBuf, File)> {
    let mut last = None;
    // A process id comes again when a process runs one program after the other, or after many processes.
    for number in 1..1000 {
        let name = if number == 1 { format!("{stem}.pftrace") } else { format!("{stem}-{number}.pftrace") };
        let path = folder.join(name);
        match folder::create_file(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists)))
}

/// `python train.py` rather than the path of an interpreter.
fn display_name(command: &[String], pid: u32) -> String {
    let base = |word: &String| Path::new(word).file_name().map(|name| name.to_string_lossy().into_owned());
    let Some(program) = command.first().and_then(base) else { return format!("process {pid}") };
    match command.iter().skip(1).find(|word| !word.starts_with('-')).filter(|word| word.ends_with(".py")).and_then(base)
    {
        Some(script) => format!("{program} {script}"),
        None => program,
    }
}

fn sources(bits: u32) -> Vec<String> {
    [
        (SOURCE_NVTX, "nvtx"),
        (SOURCE_ITT, "itt"),
        (SOURCE_PYTHON, "python"),
        (SOURCE_MPI, "mpi"),
        (SOURCE_GLOO, "gloo"),
        (SOURCE_CUPTI, "cupti"),
        (SOURCE_NCCL, "nccl"),
        (SOURCE_ROCPROFILER, "rocprofiler"),
    ]
    .into_iter()
    .filter(|&(bit, _)| bits & bit != 0)
    .map(|(_, name)| name.to_owned())
    .collect()
}
