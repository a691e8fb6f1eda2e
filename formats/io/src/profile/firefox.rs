//! Writing profiles for the Firefox Profiler (profiler.firefox.com): threads and streams with their stacks, and marks
//! for annotations and steps.
//!
//! A stack of nested events is a sample that weighs as many microseconds as its innermost event takes itself: the
//! profile's interval is one microsecond. What is shorter is added up along the thread. Sampled stacks weigh what the
//! sampler says, or one each where it says the same of all. The profile is made in memory; its size is that of the
//! selection.

use std::io::Write;

use fx::{CategoryColor, CategoryHandle, CpuDelta, FrameFlags, FrameInfo, Profile, StackHandle, ThreadHandle};
use fxprof_processed_profile as fx;
use gapless_trace::{EventId, EventKind, RawId, Span, StrId, Trace};
use rustc_hash::FxHashMap;

use super::ProfileSummary;
use super::walk::{Step, Thread, cut};
use crate::Progress;
use crate::output::ExportError;

/// What a unit of weight stands for.
const UNIT_NS: i64 = 1_000;

/// Samples that a stretch of time is divided into at most: 38 hours.
const MOST_PARTS: usize = 64;

/// Writes what runs on `threads` in `span`.
pub(super) fn write(
    trace: &Trace,
    span: Span,
    threads: &[Thread<'_>],
    out: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Result<ProfileSummary, ExportError> {
    let mut writer = Writer::new(trace, span);
    for thread in threads {
        if progress.is_cancelled() {
            return Err(ExportError::Cancelled);
        }
        writer.thread(thread);
        progress.done(writer.summary.events);
    }
    serde_json::to_writer(out, &writer.profile).map_err(|error| ExportError::Io(error.into()))?;
    Ok(writer.summary)
}

/// A range that the user or the framework named.
struct RangeMarker {
    name: fx::StringHandle,
    category: CategoryHandle,
}

impl fx::StaticSchemaMarker for RangeMarker {
    const UNIQUE_MARKER_TYPE_NAME: &'static str = "Range";
    const CHART_LABEL: Option<&'static str> = Some("{marker.name}");
    const TABLE_LABEL: Option<&'static str> = Some("{marker.name}");
    const FIELDS: &'static [fx::StaticSchemaMarkerField] = &[];

    fn name(&self, _profile: &mut Profile) -> fx::StringHandle {
        self.name
    }

    fn category(&self, _profile: &mut Profile) -> CategoryHandle {
        self.category
    }

    fn string_field_value(&self, _field_index: u32) -> fx::StringHandle {
        self.name
    }

    fn number_field_value(&self, _field_index: u32) -> f64 {
        0.0
    }
}

/// A profile under construction.
struct Writer<'t> {
    trace: &'t Trace,
    span: Span,
    profile: Profile,
    summary: ProfileSummary,
    processes: FxHashMap<String, fx::ProcessHandle>,
    categories: FxHashMap<&'static str, CategoryHandle>,
    /// Text of the trace as text of the profile.
    strings: FxHashMap<StrId, fx::StringHandle>,
}

impl<'t> Writer<'t> {
    fn new(trace: &'t Trace, span: Span) -> Self {
        let name = trace.sources().first().map_or("trace", |source| source.path.as_str());
        let is_unix_time = trace.ranks().iter().any(|rank| rank.base_time_ns.is_some());
        let start_ms = if is_unix_time { span.start.nanos() as f64 / 1e6 } else { 0.0 };
        let start = fx::ReferenceTimestamp::from_millis_since_unix_epoch(start_ms);
        let interval = fx::SamplingInterval::from_nanos(UNIT_NS.unsigned_abs());
        Self {
            trace,
            span,
            profile: Profile::new(name, start, interval),
            summary: ProfileSummary::default(),
            processes: FxHashMap::default(),
            categories: FxHashMap::default(),
            strings: FxHashMap::default(),
        }
    }

    fn time(ns: i64) -> fx::Timestamp {
        fx::Timestamp::from_nanos_since_reference(u64::try_from(ns).unwrap_or(0))
    }

    fn string(&mut self, text: StrId) -> fx::StringHandle {
        let (trace, profile) = (self.trace, &mut self.profile);
        *self.strings.entry(text).or_insert_with(|| profile.intern_string(trace.text(text)))
    }

    fn category(&mut self, kind: EventKind) -> CategoryHandle {
        let (name, color) = category_of(kind);
        let profile = &mut self.profile;
        *self.categories.entry(name).or_insert_with(|| profile.add_category(name, color))
    }

    fn thread(&mut self, thread: &Thread<'_>) {
        let number = |id: Option<RawId>| match id {
            Some(RawId::Int(id)) => u32::try_from(id).unwrap_or(u32::MAX),
            _ => 0,
        };
        let pid = number(self.trace.process(thread.track.process).map(|process| process.pid));
        let tid = number(Some(thread.track.tid));
        let profile = &mut self.profile;
        let process = *self
            .processes
            .entry(thread.process.clone())
            .or_insert_with(|| profile.add_process(&thread.process, pid, Self::time(0)));
        // A main thread would lose its name to its process.
        let handle = profile.add_thread(process, tid, Self::time(0), false);
        profile.set_thread_name(handle, &thread.name);
        // Streams have marks too; the profiler shows those of main threads only, unless it is told to.
        profile.set_thread_show_markers_in_timeline(handle, true);
        self.summary.threads += 1;
        if thread.is_sampled() { self.sampled(thread, handle) } else { self.nested(thread, handle) }
    }

    fn frame(&mut self, thread: ThreadHandle, name: StrId, kind: EventKind) -> fx::FrameHandle {
        let category = self.category(kind);
        let frame = fx::Frame::Label(self.string(name));
        self.profile
            .intern_frame(thread, FrameInfo { frame, category_pair: category.into(), flags: FrameFlags::empty() })
    }

    /// One sample per stretch of time in which nothing begins or ends.
    fn nested(&mut self, thread: &Thread<'_>, handle: ThreadHandle) {
        let trace = self.trace;
        let steps = thread.steps(trace, self.span);
        let mut frames: FxHashMap<(StrId, EventKind), fx::FrameHandle> = FxHashMap::default();
        let mut open: Vec<StackHandle> = Vec::new();
        let mut line = Line { thread: handle, since: 0, busy_ns: 0, rest_ns: 0 };
        for &(time, step) in &steps {
            line.until(time, open.last().copied(), &mut self.profile);
            match step {
                Step::Begin(id) => {
                    let event = trace.event(id);
                    let frame = match frames.get(&(event.name, event.kind)) {
                        Some(&frame) => frame,
                        None => {
                            let frame = self.frame(handle, event.name, event.kind);
                            frames.insert((event.name, event.kind), frame);
                            frame
                        }
                    };
                    open.push(self.profile.intern_stack(handle, open.last().copied(), frame));
                    self.marker(id, handle);
                    self.summary.events += 1;
                }
                Step::End(_) => {
                    open.pop();
                }
            }
        }
        line.close(&mut self.profile);
    }

    /// A mark for an annotation or a step.
    fn marker(&mut self, id: EventId, thread: ThreadHandle) {
        let event = self.trace.event(id);
        if !matches!(event.kind, EventKind::Annotation | EventKind::Step | EventKind::DeviceAnnotation) {
            return;
        }
        let (start, end) = cut(self.trace, id, self.span);
        let from = self.span.start.nanos();
        let timing =
            fx::MarkerTiming::Interval(Self::time(start.saturating_sub(from)), Self::time(end.saturating_sub(from)));
        let marker = RangeMarker { name: self.string(event.name), category: self.category(event.kind) };
        self.profile.add_marker(thread, timing, marker);
        self.summary.markers += 1;
    }

    fn sampled(&mut self, thread: &Thread<'_>, handle: ThreadHandle) {
        let trace = self.trace;
        let samples = thread.samples(trace, self.span);
        let weight = |id: EventId| trace.stack_of(id).map_or(1, |stack| stack.weight);
        let first = samples.first().map_or(1, |&id| weight(id));
        let is_even = samples.iter().all(|&id| weight(id) == first);
        let mut last = 0;
        for id in samples {
            let mut names: Vec<StrId> = match trace.stack_of(id) {
                Some(stack) => trace.stacks().frames_of(stack.stack).map(|frame| frame.name).collect(),
                None => vec![trace.event(id).name],
            };
            names.reverse();
            let mut stack = None;
            for name in names {
                let frame = self.frame(handle, name, EventKind::Sample);
                stack = Some(self.profile.intern_stack(handle, stack, frame));
            }
            let weight = if is_even { 1 } else { i32::try_from(weight(id)).unwrap_or(i32::MAX) };
            let time = cut(trace, id, self.span).0.saturating_sub(self.span.start.nanos());
            let busy = CpuDelta::from_nanos((time - last).unsigned_abs());
            self.profile.add_sample(handle, Self::time(time), stack, busy, weight);
            last = time;
            self.summary.events += 1;
        }
    }
}

/// The samples of a thread, one per stretch of time.
struct Line {
    thread: ThreadHandle,
    /// Where the stretch begins, in ns.
    since: i64,
    /// How long the last stretch was busy, which goes with the next sample.
    busy_ns: u64,
    /// What is too short for a unit of weight.
    rest_ns: i64,
}

impl Line {
    /// The stretch with `stack` lasts until `time`.
    fn until(&mut self, time: i64, stack: Option<StackHandle>, profile: &mut Profile) {
        let length = time - self.since;
        if length <= 0 {
            return;
        }
        let at = Writer::time(self.since);
        let busy = CpuDelta::from_nanos(std::mem::take(&mut self.busy_ns));
        self.since = time;
        if stack.is_none() {
            profile.add_sample(self.thread, at, None, busy, 0);
            return;
        }
        self.busy_ns = length.unsigned_abs();
        let all = length.saturating_add(self.rest_ns);
        let mut weight = all / UNIT_NS;
        self.rest_ns = all % UNIT_NS;
        let mut busy = Some(busy);
        // A weight has 31 bits. An event of days has a wrong length, and is cut.
        for _ in 0..MOST_PARTS {
            let part = i32::try_from(weight).unwrap_or(i32::MAX);
            weight -= i64::from(part);
            profile.add_sample(self.thread, at, stack, busy.take().unwrap_or(CpuDelta::ZERO), part);
            if weight == 0 {
                return;
            }
        }
    }

    /// The last stretch ends: the thread is idle from here on.
    fn close(&mut self, profile: &mut Profile) {
        let busy = CpuDelta::from_nanos(std::mem::take(&mut self.busy_ns));
        profile.add_sample(self.thread, Writer::time(self.since), None, busy, 0);
    }
}

fn category_of(kind: EventKind) -> (&'static str, CategoryColor) {
    match kind {
        EventKind::Operator => ("Operator", CategoryColor::Blue),
        EventKind::PythonFunction => ("Python", CategoryColor::Yellow),
        EventKind::Annotation | EventKind::Step | EventKind::DeviceAnnotation => ("Annotation", CategoryColor::Gray),
        EventKind::RuntimeCall | EventKind::DriverCall => ("Device call", CategoryColor::Orange),
        EventKind::Kernel => ("Kernel", CategoryColor::Green),
        EventKind::Collective | EventKind::PointToPoint => ("Communication", CategoryColor::Purple),
        EventKind::Memcpy | EventKind::Memset => ("Copy", CategoryColor::Brown),
        EventKind::OsCall => ("System call", CategoryColor::Red),
        EventKind::Overhead | EventKind::ProfilerSpan | EventKind::DeviceSync => ("Profiler", CategoryColor::DarkGray),
        EventKind::Sample => ("Native", CategoryColor::LightBlue),
        EventKind::Scheduled => ("Running", CategoryColor::LightGreen),
        EventKind::Instant | EventKind::MemoryInstant | EventKind::Async | EventKind::Other => {
            ("Other", CategoryColor::Gray)
        }
    }
}
