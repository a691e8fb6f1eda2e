//! The text that `perf script` prints: samples with their call stacks, and switches of threads.
//!
//! ```text
//! python3  4738/4740  [001] 12167.536446:          4 page-faults:
//!                1b7ad _dl_start+0x3d (/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2)
//!                1ab78 _dl_start_user+0x0 (/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2)
//! ```
//!
//! Core, process, period and stack may be missing. Where a line holds one id only, it is the thread's. Times count
//! from the machine's start; `perf record -k CLOCK_MONOTONIC` and `perf script --header` together say when that was.

mod args;
mod line;
mod sched;

use std::sync::Arc;

use gapless_trace::{ArgValue, ArgsLoc, Frame, RawId, SourceId, StackId, StrId, TraceInfo, WarningKind, Warnings};
use memchr::memmem;

use crate::Progress;
use crate::cpu_samples::{Sample, SampleChunk};
use crate::error::Refused;
use crate::limits::Limits;
use crate::readers::{Head, Input, ReadPart, Role};
use args::ScriptArgs;
use line::{SampleLine, StackLine, clock_base_ns, is_place, sample_line, source_line, stack_line};
use sched::switch;

/// Lines between two looks at whether the user gave up.
const LINES_PER_LOOK: u64 = 16_384;

/// Whether the first line that is not a comment is the first line of a sample.
pub(crate) fn sniff(head: &Head<'_>) -> bool {
    let mut lines = head.bytes.split(|&byte| byte == b'\n').filter(|line| !is_comment(line));
    lines.find(|line| !line.trim_ascii().is_empty()).is_some_and(|line| sample_line(line).is_some())
}

fn is_comment(line: &[u8]) -> bool {
    line.first() == Some(&b'#')
}

/// Reads the whole text.
pub(crate) fn read(input: &Input, progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    let mut script = Script::new(&input.bytes, &input.limits);
    let mut lines = 0u64;
    let mut at = 0;
    while let Some(rest) = input.bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let len = input.limits.line(rest, at as u64)?;
        script.line(at, rest.get(..len).unwrap_or_default(), len < rest.len())?;
        at += len + 1;
        lines += 1;
        if lines.is_multiple_of(LINES_PER_LOOK) {
            progress.done(at as u64);
            if progress.is_cancelled() {
                return Err(Refused::Cancelled);
            }
        }
    }
    script.end_sample()?;
    if script.out.chunk.file_events == 0 {
        return Err(Refused::format(0, "no line of it is a sample that `perf script` prints"));
    }
    let mut part = input.part();
    part.source.file_events = script.out.chunk.file_events;
    part.info = script.info;
    part.warnings = script.warnings;
    part.chunks = vec![script.out.finish()];
    part.args = Arc::new(ScriptArgs::new(Arc::clone(&input.bytes)));
    Ok(vec![ReadPart { part, role: Role::Companion, joins: Vec::new() }])
}

/// A line of a stack, with the source line below it.
struct StackEntry<'a> {
    line: StackLine<'a>,
    source: Option<(&'a [u8], u32)>,
}

/// The text as far as it is read.
struct Script<'a> {
    text: &'a [u8],
    limits: &'a Limits,
    out: SampleChunk,
    info: TraceInfo,
    warnings: Warnings,
    /// The sample whose stack is being read, with its offset and length.
    open: Option<(SampleLine<'a>, usize, usize)>,
    /// Its stack, innermost first.
    stack: Vec<StackEntry<'a>>,
    /// Whether the line before made no sense: a run of such lines counts once.
    is_lost: bool,
}

impl<'a> Script<'a> {
    fn new(text: &'a [u8], limits: &'a Limits) -> Self {
        Self {
            text,
            limits,
            out: SampleChunk::new(),
            info: TraceInfo::default(),
            warnings: Warnings::default(),
            open: None,
            stack: Vec::new(),
            is_lost: false,
        }
    }

    /// Takes the line at `offset`.
    fn line(&mut self, offset: usize, line: &'a [u8], is_ended: bool) -> Result<(), Refused> {
        if line.len() > self.limits.string_bytes {
            return Err(Refused::Limit {
                what: format!("a line of {} bytes at byte {offset}", line.len()),
                limit: format!("{} bytes", self.limits.string_bytes),
                flag: format!("string={}", line.len()),
            });
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            self.is_lost = false;
            return self.end_sample();
        }
        if is_comment(line) {
            self.end_sample()?;
            self.comment(line);
            return Ok(());
        }
        // A line that the file breaks off in may be cut anywhere; only a closing bracket says that it is whole.
        if !is_ended && !line.ends_with(b")") && !line.ends_with(b": ") {
            self.warnings.add(WarningKind::Truncated, SourceId(0), Some(offset as u64), "");
            self.open = None;
            self.stack.clear();
            return Ok(());
        }
        // Where there are no call chains, first lines are indented too, and a thread may be called `cafe`.
        let sample = if memmem::find(line, b": ").is_some() { sample_line(line) } else { None };
        if sample.is_none() && self.open.is_some() && line.first().is_some_and(u8::is_ascii_whitespace) {
            if let Some(frame) = stack_line(line) {
                self.stack.push(StackEntry { line: frame, source: None });
                return Ok(());
            }
            if let Some(last) = self.stack.last_mut().filter(|_| is_place(line)) {
                last.source = source_line(line);
                return Ok(());
            }
        }
        match sample {
            Some(sample) => {
                self.end_sample()?;
                self.is_lost = false;
                self.open = Some((sample, offset, line.len()));
            }
            None if self.is_lost => {}
            None => {
                self.is_lost = true;
                let detail = String::from_utf8_lossy(line.get(..80).unwrap_or(line)).into_owned();
                self.warnings.add(WarningKind::MalformedEvent, SourceId(0), Some(offset as u64), &detail);
            }
        }
        Ok(())
    }

    /// `# hostname : node7`
    fn comment(&mut self, line: &[u8]) {
        if let Some(base_ns) = clock_base_ns(line) {
            self.info.base_time_ns = Some(base_ns);
        }
        let text = String::from_utf8_lossy(line);
        let Some((key, value)) = text.trim_start_matches('#').split_once(" : ") else { return };
        let (key, value) = (key.trim(), value.trim());
        if key == "hostname" {
            self.info.host = Some(value.to_owned());
        }
        self.info.header.push((key.to_owned(), ArgValue::Text(value.to_owned())));
    }

    /// Adds the sample that was being read.
    fn end_sample(&mut self) -> Result<(), Refused> {
        let Some((sample, offset, len)) = self.open.take() else { return Ok(()) };
        self.out.chunk.file_events += 1;
        self.out.check(self.limits)?;
        let at = offset as u64;
        let pid = sample.pid.map_or(RawId::None, RawId::Int);
        let tid = RawId::Int(sample.tid);
        if sample.event.starts_with(b"PERF_RECORD_") {
            self.record(&sample, offset);
            return Ok(());
        }
        let comm = self.out.text(sample.comm, at);
        self.out.name_thread(pid, tid, comm);
        let is_switch = sample.event == b"sched:sched_switch" && self.switch(&sample, offset, len);
        // A sample without a call chain has its address on the first line.
        if self.stack.is_empty()
            && let Some(line) = stack_line(sample.rest).filter(|line| !line.module.is_empty())
        {
            self.stack.push(StackEntry { line, source: None });
        }
        let stack = self.stack(at);
        if is_switch && stack.is_none() {
            return Ok(());
        }
        let category = self.out.text(sample.event, at);
        let args = ArgsLoc::new(at, len).unwrap_or_default();
        let weight = sample.period.unwrap_or(1);
        self.out.sample(&Sample { pid, tid, time: sample.time_ns, category, stack, weight, args });
        Ok(())
    }

    /// Interns the stack that was read, outermost first.
    fn stack(&mut self, at: u64) -> Option<StackId> {
        let mut stack = None;
        let mut module = StrId::EMPTY;
        while let Some(entry) = self.stack.pop() {
            // What was inlined lies in the module of the function it was inlined into.
            if !entry.line.is_inlined {
                module = self.out.text(entry.line.module, at);
            }
            let name = match entry.line.symbol {
                b"" => self.out.text(&[b"0x", entry.line.address].concat(), at),
                symbol => self.out.text(symbol, at),
            };
            let (file, line) = entry.source.map_or((StrId::EMPTY, 0), |(file, line)| (self.out.text(file, at), line));
            let frame = self.out.chunk.stacks.frame(Frame { name, file, module, line });
            stack = Some(self.out.chunk.stacks.push(stack, frame));
        }
        stack
    }

    /// One thread gives a core to another. Says whether the line was understood and has a core.
    fn switch(&mut self, sample: &SampleLine<'_>, offset: usize, len: usize) -> bool {
        let (Some(core), Some(found)) = (sample.cpu, switch(sample.rest)) else { return false };
        let at = offset as u64;
        // The fields end the line; spaces after them may have been cut.
        let line = self.text.get(offset..offset + len).unwrap_or_default();
        let Some(start) = memmem::rfind(line, sample.rest) else { return false };
        let loc = |range: std::ops::Range<usize>| {
            ArgsLoc::new((offset + start + range.start) as u64, range.len()).unwrap_or_default()
        };
        self.out.switch_out(core, sample.time_ns, loc(found.state), found.from_idle, at);
        if found.to_tid != 0 {
            let name = self.out.text(found.to_comm, at);
            self.out.switch_in(core, sample.time_ns, name, loc(found.to), at);
        }
        true
    }

    /// A record that is no sample.
    fn record(&mut self, sample: &SampleLine<'_>, offset: usize) {
        self.stack.clear();
        let at = offset as u64;
        let name = String::from_utf8_lossy(sample.event).into_owned();
        if name.starts_with("PERF_RECORD_LOST") {
            let digits = sample.rest.rsplit(|byte| !byte.is_ascii_digit()).find(|word| !word.is_empty());
            let count = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(1);
            self.warnings.add_many(WarningKind::PacketLost, SourceId(0), count, Some(at), &name);
            return;
        }
        match (sample.cpu, name.starts_with("PERF_RECORD_SWITCH")) {
            (Some(core), true) if sample.rest.starts_with(b"OUT") => {
                self.out.switch_out(core, sample.time_ns, ArgsLoc::NONE, sample.tid == 0, at);
            }
            (Some(core), true) if sample.rest.starts_with(b"IN") => {
                if sample.tid != 0 {
                    let comm = self.out.text(sample.comm, at);
                    self.out.switch_in(core, sample.time_ns, comm, ArgsLoc::NONE, at);
                }
            }
            // Names and mappings: every sample repeats what it needs of them.
            (_, false) if matches!(sample.event, b"PERF_RECORD_COMM" | b"PERF_RECORD_FORK" | b"PERF_RECORD_EXIT") => {}
            (_, false) if sample.event.starts_with(b"PERF_RECORD_MMAP") => {}
            _ => self.warnings.add(WarningKind::UnknownPacket, SourceId(0), Some(at), &name),
        }
    }
}
