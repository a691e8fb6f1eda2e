//! Writing speedscope's own JSON: an evented profile per thread, a sampled one per track of samples.
//!
//! Written as a stream; the table of frames stands at the end.

use std::io::Write;

use gapless_trace::{EventId, Frame, Span, StrId, Trace};
use rustc_hash::FxHashMap;

use super::ProfileSummary;
use super::walk::{Step, Thread};
use crate::Progress;
use crate::output::ExportError;

/// What the file says it is.
const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

/// Frames of the file, each stored once.
#[derive(Default)]
struct Frames {
    places: FxHashMap<Frame, usize>,
    list: Vec<Frame>,
}

impl Frames {
    fn place(&mut self, frame: Frame) -> usize {
        let list = &mut self.list;
        *self.places.entry(frame).or_insert_with(|| {
            list.push(frame);
            list.len() - 1
        })
    }

    fn of_event(&mut self, trace: &Trace, id: EventId) -> usize {
        self.place(Frame { name: trace.event(id).name, ..Frame::default() })
    }
}

/// Writes what runs on `threads` in `span`.
pub(super) fn write(
    trace: &Trace,
    span: Span,
    threads: &[Thread<'_>],
    out: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Result<ProfileSummary, ExportError> {
    let name = trace.sources().first().map_or("trace", |source| source.path.as_str());
    write!(out, "{{\"$schema\": \"{SCHEMA}\", \"exporter\": \"gapless {}\", \"name\": ", env!("CARGO_PKG_VERSION"))?;
    text(name, out)?;
    out.write_all(b", \"activeProfileIndex\": 0,\n\"profiles\": [")?;
    let mut frames = Frames::default();
    let mut summary = ProfileSummary::default();
    for thread in threads {
        if progress.is_cancelled() {
            return Err(ExportError::Cancelled);
        }
        if summary.threads > 0 {
            out.write_all(b",")?;
        }
        summary.threads += 1;
        summary.events += if thread.is_sampled() {
            sampled(trace, thread, span, &mut frames, out)?
        } else {
            evented(trace, thread, span, &mut frames, out)?
        };
        progress.done(summary.events);
    }
    out.write_all(b"],\n\"shared\": {\"frames\": [")?;
    for (place, frame) in frames.list.iter().enumerate() {
        out.write_all(if place == 0 { b"\n" } else { b",\n" })?;
        write_frame(trace, frame, out)?;
    }
    out.write_all(b"\n]}}\n")?;
    Ok(summary)
}

fn write_frame(trace: &Trace, frame: &Frame, out: &mut (dyn Write + Send)) -> Result<(), ExportError> {
    out.write_all(b"{\"name\": ")?;
    text(trace.text(frame.name), out)?;
    // A place in the source says more than the module.
    let file = if frame.file == StrId::EMPTY { frame.module } else { frame.file };
    if file != StrId::EMPTY {
        out.write_all(b", \"file\": ")?;
        text(trace.text(file), out)?;
    }
    if frame.line > 0 {
        write!(out, ", \"line\": {}", frame.line)?;
    }
    Ok(out.write_all(b"}")?)
}

fn text(text: &str, out: &mut (dyn Write + Send)) -> Result<(), ExportError> {
    serde_json::to_writer(out, text).map_err(|error| ExportError::Io(error.into()))
}

fn head(
    thread: &Thread<'_>,
    kind: &str,
    unit: &str,
    end: u64,
    out: &mut (dyn Write + Send),
) -> Result<(), ExportError> {
    write!(out, "\n{{\"type\": \"{kind}\", \"name\": ")?;
    text(&format!("{} · {}", thread.process, thread.name), out)?;
    Ok(write!(out, ", \"unit\": \"{unit}\", \"startValue\": 0, \"endValue\": {end}, ")?)
}

/// Gives the number of events.
fn evented(
    trace: &Trace,
    thread: &Thread<'_>,
    span: Span,
    frames: &mut Frames,
    out: &mut (dyn Write + Send),
) -> Result<u64, ExportError> {
    let steps = thread.steps(trace, span);
    let last = steps.last().map_or(0, |step| step.0);
    let end = span.end.nanos().saturating_sub(span.start.nanos()).max(last);
    head(thread, "evented", "nanoseconds", end.unsigned_abs(), out)?;
    out.write_all(b"\"events\": [")?;
    for (place, (time, step)) in steps.iter().enumerate() {
        let (kind, id) = match step {
            Step::Begin(id) => ('O', *id),
            Step::End(id) => ('C', *id),
        };
        let frame = frames.of_event(trace, id);
        let comma = if place == 0 { "" } else { "," };
        write!(out, "{comma}{{\"type\":\"{kind}\",\"frame\":{frame},\"at\":{time}}}")?;
    }
    out.write_all(b"]}")?;
    Ok(steps.len() as u64 / 2)
}

/// Gives the number of samples.
fn sampled(
    trace: &Trace,
    thread: &Thread<'_>,
    span: Span,
    frames: &mut Frames,
    out: &mut (dyn Write + Send),
) -> Result<u64, ExportError> {
    let samples = thread.samples(trace, span);
    let stack_of = |id: EventId| trace.stack_of(id);
    let weight = |id: EventId| stack_of(id).map_or(1, |stack| stack.weight);
    let total = samples.iter().fold(0u64, |sum, &id| sum.saturating_add(weight(id)));
    // These events count ns of time; what others count has no unit here.
    let is_clock = samples.iter().all(|&id| {
        let event = trace.text(trace.event(id).category);
        event.starts_with("cpu-clock") || event.starts_with("task-clock")
    });
    head(thread, "sampled", if is_clock { "nanoseconds" } else { "none" }, total, out)?;
    out.write_all(b"\"samples\": [")?;
    for (place, &id) in samples.iter().enumerate() {
        let mut stack: Vec<usize> = match stack_of(id) {
            Some(stack) => trace.stacks().frames_of(stack.stack).map(|frame| frames.place(frame)).collect(),
            None => vec![frames.of_event(trace, id)],
        };
        stack.reverse();
        out.write_all(if place == 0 { b"[" } else { b",[" })?;
        for (place, frame) in stack.iter().enumerate() {
            write!(out, "{}{frame}", if place == 0 { "" } else { "," })?;
        }
        out.write_all(b"]")?;
    }
    out.write_all(b"], \"weights\": [")?;
    for (place, &id) in samples.iter().enumerate() {
        write!(out, "{}{}", if place == 0 { "" } else { "," }, weight(id))?;
    }
    out.write_all(b"]}")?;
    Ok(samples.len() as u64)
}
