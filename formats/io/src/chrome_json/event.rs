//! One event as Kineto writes it: its phase, its category, its arguments.

use gapless_trace::{ArgValue, Args, Event, EventKind, StrId, Trace, Track, TrackKind};
use rustc_hash::FxHashMap;

use crate::kineto::category::{kind_of_category, refine};

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A range on its thread.
    Complete,
    /// A point on its thread.
    Instant,
    /// A range of its own: a begin and an end.
    Async,
    /// A point of its own.
    AsyncInstant,
}

/// What Kineto's categories mean, for those of a trace.
pub(super) struct Categories {
    kinds: FxHashMap<StrId, EventKind>,
}

impl Categories {
    pub fn new(trace: &Trace) -> Self {
        let mut kinds = FxHashMap::default();
        let mut last = None;
        for &category in trace.events().categories() {
            if last != Some(category) {
                last = Some(category);
                kinds.entry(category).or_insert_with(|| kind_of_category(trace.text(category).as_bytes()));
            }
        }
        Self { kinds }
    }

    /// What a complete event of this category and name is taken for.
    fn read_as(&self, category: StrId, name: &str) -> EventKind {
        refine(self.kinds.get(&category).copied().unwrap_or(EventKind::Other), name)
    }

    /// Phase and category of `event`.
    pub fn form<'t>(&self, trace: &'t Trace, track: &Track, event: &Event) -> (Phase, &'t str) {
        let own = trace.text(event.category);
        match (track.kind, event.kind) {
            (TrackKind::Async, EventKind::Instant) => return (Phase::AsyncInstant, own),
            (TrackKind::Async, EventKind::Async) => return (Phase::Async, own),
            _ => {}
        }
        let read_as = self.read_as(event.category, trace.text(event.name));
        let is_same = read_as == event.kind || (read_as == EventKind::Kernel && event.kind.is_kernel());
        if event.kind.is_instant() {
            // A complete event can be a point too: one with ids, or with a length.
            let is_complete = is_same && (event.external.is_some() || event.dur.nanos() > 0);
            return (if is_complete { Phase::Complete } else { Phase::Instant }, own);
        }
        (Phase::Complete, if is_same { own } else { category_of(event.kind) })
    }
}

/// Kineto's category for a kind; empty for those that it lacks.
fn category_of(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Operator => "cpu_op",
        EventKind::PythonFunction => "python_function",
        EventKind::Annotation | EventKind::Step => "user_annotation",
        EventKind::RuntimeCall => "cuda_runtime",
        EventKind::DriverCall => "cuda_driver",
        EventKind::Kernel | EventKind::Collective | EventKind::PointToPoint => "kernel",
        EventKind::Memcpy => "gpu_memcpy",
        EventKind::Memset => "gpu_memset",
        EventKind::DeviceSync => "cuda_sync",
        EventKind::DeviceAnnotation => "gpu_user_annotation",
        EventKind::Overhead => "overhead",
        EventKind::ProfilerSpan => "Trace",
        EventKind::Instant
        | EventKind::MemoryInstant
        | EventKind::Async
        | EventKind::OsCall
        | EventKind::Scheduled
        | EventKind::Sample
        | EventKind::Other => "",
    }
}

/// Adds to `args` what the model holds of `event` beside them, under Kineto's names, where it is not there.
pub(super) fn complete_args(trace: &Trace, track: &Track, event: &Event, args: &mut Args) {
    let has_seq = args.iter().any(|entry| entry.0 == "seq");
    let mut add = |name: &str, value: Option<ArgValue>| {
        if let Some(value) = value
            && !args.iter().any(|entry| entry.0 == name)
        {
            args.push((name.to_owned(), value));
        }
    };
    let int = |value: u64| i64::try_from(value).map_or(ArgValue::UInt(value), ArgValue::Int);
    let text = |id: StrId| (id != StrId::EMPTY).then(|| ArgValue::Text(trace.text(id).to_owned()));
    // Eras of Kineto write the id in two ways.
    let is_external = |name: &str| name.eq_ignore_ascii_case("external id");
    add("correlation", event.correlation.map(|id| int(u64::from(id))));
    add("bytes", trace.copy_bytes(event.id).map(int));
    if event.kind.is_device_work() {
        let process = trace.process(track.process);
        let device = process.and_then(|process| match process.kind {
            gapless_trace::ProcessKind::Device(number) => Some(ArgValue::Int(i64::from(number))),
            _ => None,
        });
        add("device", device);
        add("stream", track.stream().map(ArgValue::Int));
    }
    if let Some(collective) = trace.collective(event.id) {
        add("Collective name", text(collective.name));
        add("dtype", text(collective.dtype));
        add("In msg nelems", collective.in_elems.map(int));
        add("Out msg nelems", collective.out_elems.map(int));
        add("Group size", collective.group_size.map(|size| int(u64::from(size))));
        add("Process Group Name", text(collective.group));
        add("Process Group Description", text(collective.group_desc));
        add("Seq", collective.seq.filter(|_| !has_seq).map(int));
    }
    if let Some(external) = event.external
        && !args.iter().any(|entry| is_external(&entry.0))
    {
        args.push(("External id".to_owned(), int(u64::from(external))));
    }
    if let Some(stack) = trace.stack_of(event.id) {
        let frames = trace.stacks().frames_of(stack.stack);
        let mut names: Vec<ArgValue> = frames.map(|frame| ArgValue::Text(trace.text(frame.name).to_owned())).collect();
        names.reverse();
        args.push(("stack".to_owned(), ArgValue::List(names)));
        args.push(("weight".to_owned(), int(stack.weight)));
    }
}
