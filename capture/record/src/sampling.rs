//! Stacks and scheduling of the job, taken from outside: a trace beside those of each rank's processes.
//!
//! Of a process that runs Python, Python stacks are kept; of any other, native ones. Both of one thread on one row would
//! tell each time twice.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;

use gapless_sample::{Frame, ProcessChange, SampleEvent, SampleOptions, Sampler, StackKind};
use perfetto_proto::wire::Writer;

use crate::encode::SampleEncoder;
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

/// The trace of a rank; of the processes without a rank together.
struct Part {
    file: Option<File>,
    encoder: SampleEncoder,
    out: Writer,
}

/// A process of the job.
#[derive(Default)]
struct Process {
    has_python: bool,
    /// Names of threads.
    names: BTreeMap<u32, String>,
    /// Its rank, once the recording knows it.
    rank: Option<u32>,
}

/// The sampler of a recording; starts with the job.
pub struct Sampling {
    options: SamplingOptions,
    sampler: Option<Sampler>,
    has_started: bool,
    processes: BTreeMap<u32, Process>,
    parts: BTreeMap<Option<u32>, Part>,
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
            parts: BTreeMap::new(),
            unix_minus_monotonic_ns: start.realtime_ns.wrapping_sub(start.monotonic_ns) as i64,
            boot_minus_monotonic_ns: start.boottime_ns.wrapping_sub(start.monotonic_ns) as i64,
            lost: 0,
        }
    }

    fn take(&mut self, event: SampleEvent, session: &mut Session) {
        if !session.is_recording() {
            return;
        }
        let (pid, is_native) = match &event {
            SampleEvent::Sample(sample) => (sample.pid, sample.kind == StackKind::Native),
            SampleEvent::Switch(switch) => (switch.pid, true),
            SampleEvent::Process(process) => (process.pid, true),
            SampleEvent::Lost(_) | SampleEvent::Notice(_) => (0, true),
        };
        let process = self.processes.entry(pid).or_default();
        process.has_python |= !is_native;
        process.rank = process.rank.or_else(|| session.process(pid)?.rank);
        let period_ns = 1_000_000_000 / u64::from(self.options.frequency_hz.max(1));
        let part = self.parts.entry(process.rank).or_insert_with(|| Part {
            file: None,
            encoder: SampleEncoder::new(period_ns),
            out: Writer::default(),
        });
        match event {
            SampleEvent::Sample(sample) => {
                let keeps = if self.options.native { is_native } else { !is_native || !process.has_python };
                // Python stacks are read of waiting threads too; they would count as work.
                if keeps && (is_native || sample.running) {
                    let unix_ns = (sample.monotonic_ns as i64).saturating_add(self.unix_minus_monotonic_ns);
                    let frames = sample.stack.iter().map(frame_key);
                    part.encoder.sample((pid, sample.tid), sample.cpu, unix_ns, frames, &mut part.out);
                }
            }
            SampleEvent::Switch(switch) => {
                let boot_ns = (switch.monotonic_ns as i64).saturating_add(self.boot_minus_monotonic_ns).max(0) as u64;
                let name = process.names.entry(switch.tid).or_insert_with(|| thread_name(pid, switch.tid));
                let state = i64::from(switch.is_out && !switch.preempted);
                let (from, to) = if switch.is_out { (switch.tid, 0) } else { (0, switch.tid) };
                let shown = if switch.is_out { "" } else { name.as_str() };
                part.encoder.switch(switch.cpu, boot_ns, from, to, shown, state, &mut part.out);
            }
            SampleEvent::Process(event) => {
                if let ProcessChange::ThreadName { name } = event.change {
                    process.names.insert(event.tid, name.to_string());
                }
            }
            SampleEvent::Lost(lost) => self.lost += lost,
            SampleEvent::Notice(notice) => session.notice(&notice.to_string()),
        }
    }

    fn write(&mut self, session: &mut Session) {
        for (&rank, part) in &mut self.parts {
            if part.out.is_empty() {
                continue;
            }
            if part.file.is_none() {
                part.file = make_file(session, rank);
            }
            let bytes = part.out.as_bytes();
            let is_written = session.take_disk_bytes(bytes.len() as u64)
                && part.file.as_mut().is_some_and(|file| file.write_all(bytes).is_ok());
            if !is_written {
                self.lost += std::mem::take(&mut part.encoder.samples) + std::mem::take(&mut part.encoder.switches);
            }
            part.out.clear();
        }
        let sum = |of: fn(&SampleEncoder) -> u64| self.parts.values().map(|part| of(&part.encoder)).sum();
        session.set_sampled(sum(|encoder| encoder.samples), sum(|encoder| encoder.switches));
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

/// The file of a rank, with what begins it.
fn make_file(session: &Session, rank: Option<u32>) -> Option<File> {
    let stem = rank.map_or_else(|| "samples".to_owned(), |rank| format!("rank{rank}-samples"));
    let mut file = folder::create_file(&session.folder().join(format!("{stem}.pftrace"))).ok()?;
    let mut attributes = session.attributes();
    // Behind the processes' own traces, which lead.
    attributes.push(("gapless.start_unix_ns".to_owned(), i64::MAX.to_string()));
    attributes.extend(rank.map(|rank| ("gapless.rank".to_owned(), rank.to_string())));
    let start = session.start_anchor();
    let mut out = Writer::default();
    crate::encode::write_header(&attributes, [start.realtime_ns, start.monotonic_ns, start.boottime_ns], &mut out);
    file.write_all(out.as_bytes()).ok()?;
    Some(file)
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
