//! Stacks and scheduling of the job, taken from outside, in a trace beside that of each process.
//!
//! Of a process that runs Python, Python stacks are kept; of any other, native ones. Both of one thread on one row would
//! tell each time twice.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use gapless_sample::{Frame, ProcessChange, SampleEvent, SampleOptions, Sampler, StackKind};
use perfetto_proto::wire::Writer;

use crate::encode::{ProcessEncoder, ProcessHeader, SampleEncoder};
use crate::folder;
use crate::launch::Attachment;
use crate::session::Session;

/// What to sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingOptions {
    /// Stacks a second.
    pub frequency_hz: u32,
    /// Native stacks of Python processes instead of Python stacks.
    pub native: bool,
    /// Bytes of each stack to copy for unwinding without frame pointers.
    pub unwind_stack_bytes: Option<u32>,
}

struct Process {
    file: Option<File>,
    encoder: SampleEncoder,
    out: Writer,
    has_python: bool,
    /// Names of threads.
    names: BTreeMap<u32, String>,
}

/// The sampler of a recording; starts with the job.
pub struct Sampling {
    options: SamplingOptions,
    sampler: Option<Sampler>,
    has_started: bool,
    processes: BTreeMap<u32, Process>,
    /// Unix time and boot time minus monotonic time, in ns.
    unix_minus_monotonic_ns: i64,
    boot_minus_monotonic_ns: i64,
    lost: u64,
}

impl Sampling {
    /// A sampler for the job of `session`.
    pub fn new(session: &Session, options: SamplingOptions) -> Sampling {
        let start = session.start_anchor();
        Sampling {
            options,
            sampler: None,
            has_started: false,
            processes: BTreeMap::new(),
            unix_minus_monotonic_ns: start.realtime_ns.wrapping_sub(start.monotonic_ns) as i64,
            boot_minus_monotonic_ns: start.boottime_ns.wrapping_sub(start.monotonic_ns) as i64,
            lost: 0,
        }
    }

    fn take(&mut self, event: SampleEvent, session: &mut Session) {
        if !session.is_recording() {
            return;
        }
        let period_ns = 1_000_000_000 / u64::from(self.options.frequency_hz.max(1));
        let processes = &mut self.processes;
        let mut process = |pid: u32| {
            processes.entry(pid).or_insert_with(|| Process {
                file: None,
                encoder: SampleEncoder::new(pid, period_ns),
                out: Writer::default(),
                has_python: false,
                names: BTreeMap::new(),
            });
        };
        match event {
            SampleEvent::Sample(sample) => {
                process(sample.pid);
                let Some(process) = self.processes.get_mut(&sample.pid) else { return };
                let is_python = sample.kind == StackKind::Python;
                process.has_python |= is_python;
                let keeps = if self.options.native { !is_python } else { is_python || !process.has_python };
                // Python stacks are read of waiting threads too; they would count as work.
                if !keeps || (is_python && !sample.running) {
                    return;
                }
                let unix_ns = (sample.monotonic_ns as i64).saturating_add(self.unix_minus_monotonic_ns);
                let frames = sample.stack.iter().map(frame_key);
                process.encoder.sample(sample.tid, sample.cpu, unix_ns, frames, &mut process.out);
            }
            SampleEvent::Switch(switch) => {
                process(switch.pid);
                let Some(process) = self.processes.get_mut(&switch.pid) else { return };
                let boot_ns = (switch.monotonic_ns as i64).saturating_add(self.boot_minus_monotonic_ns).max(0) as u64;
                let name = process.names.entry(switch.tid).or_insert_with(|| thread_name(switch.pid, switch.tid));
                let state = i64::from(switch.is_out && !switch.preempted);
                let (from, to) = if switch.is_out { (switch.tid, 0) } else { (0, switch.tid) };
                let shown = if switch.is_out { "" } else { name.as_str() };
                process.encoder.switch(switch.cpu, boot_ns, from, to, shown, state, &mut process.out);
            }
            SampleEvent::Process(event) => {
                if let (ProcessChange::ThreadName { name }, Some(process)) =
                    (event.change, self.processes.get_mut(&event.pid))
                {
                    process.names.insert(event.tid, name.to_string());
                }
            }
            SampleEvent::Lost(lost) => self.lost += lost,
            SampleEvent::Notice(notice) => session.notice(&notice.to_string()),
        }
    }

    fn write(&mut self, session: &mut Session) {
        for (&pid, process) in &mut self.processes {
            if process.out.is_empty() {
                continue;
            }
            if process.file.is_none() {
                // The recording may not know the process yet; a moment later it does, and then its rank.
                let Some((file, header)) = make_file(session, pid) else { continue };
                process.file = Some(file);
                if let Some(file) = &mut process.file {
                    let _ = file.write_all(&header);
                }
            }
            let bytes = process.out.as_bytes();
            let is_written = session.take_disk_bytes(bytes.len() as u64)
                && process.file.as_mut().is_some_and(|file| file.write_all(bytes).is_ok());
            if !is_written {
                self.lost += process.encoder.samples;
            }
            process.out.clear();
        }
    }
}

fn frame_key(frame: &Frame) -> (String, String, String, u32) {
    let file = frame.file.as_deref().unwrap_or_default();
    (frame.name.to_string(), frame.module.to_string(), file.to_owned(), frame.line.unwrap_or(0))
}

fn thread_name(pid: u32, tid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm"));
    name.map(|name| name.trim_end().to_owned()).unwrap_or_default()
}

/// The file of a process, and what begins it.
fn make_file(session: &Session, pid: u32) -> Option<(File, Vec<u8>)> {
    let known = session.process(pid);
    let rank = known.and_then(|process| process.rank);
    let stem = rank.map_or_else(|| format!("pid{pid}"), |rank| format!("rank{rank}-pid{pid}"));
    let path = session.folder().join(format!("{stem}-samples.pftrace"));
    let file = folder::create_file(Path::new(&path)).ok()?;
    let mut attributes = session.attributes();
    attributes.push(("gapless.pid".to_owned(), pid.to_string()));
    // Behind the process's own trace, which leads.
    attributes.push(("gapless.start_unix_ns".to_owned(), i64::MAX.to_string()));
    if let Some(rank) = rank {
        attributes.push(("gapless.rank".to_owned(), rank.to_string()));
    }
    let start = session.start_anchor();
    let command = known.map(|process| process.command.clone()).unwrap_or_default();
    let header = ProcessHeader {
        pid,
        start_time: 0,
        name: known
            .map_or_else(|| thread_name(pid, pid), |process| crate::process::display_name(&process.command, pid)),
        command,
        attributes,
        clocks_ns: [start.realtime_ns, start.monotonic_ns, start.boottime_ns],
    };
    let mut out = Writer::default();
    ProcessEncoder::new(pid, 0, 2).header(&header, &mut out);
    Some((file, out.as_bytes().to_vec()))
}

impl Attachment for Sampling {
    fn poll(&mut self, session: &mut Session, job: u32) {
        if !std::mem::replace(&mut self.has_started, true) {
            let options = SampleOptions {
                root_pids: vec![job],
                frequency_hz: self.options.frequency_hz,
                unwind_stack_bytes: self.options.unwind_stack_bytes,
                python: !self.options.native,
                ..SampleOptions::default()
            };
            let (sampler, notices) = Sampler::start(options);
            for notice in notices {
                session.notice(&notice.to_string());
            }
            self.sampler = Some(sampler);
        }
        let Some(mut sampler) = self.sampler.take() else { return };
        sampler.poll(&mut |event| self.take(event, session));
        self.sampler = Some(sampler);
        self.write(session);
    }

    fn finish(&mut self, session: &mut Session) {
        if let Some(sampler) = self.sampler.take() {
            sampler.finish(&mut |event| self.take(event, session));
        }
        self.write(session);
        if self.lost > 0 {
            session.notice(&format!("{} samples or switches were lost, because the machine was busy", self.lost));
        }
    }
}
