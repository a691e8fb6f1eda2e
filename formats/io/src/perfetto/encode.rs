//! Encoding one batch of a sequence, straight into the wire format.

use gapless_trace::{ArgValue, Args, CounterId, EventId, StrId, Trace};
use perfetto_proto::field::{interned, packet, trace as trace_field, track_event};
use perfetto_proto::wire::Writer;
use perfetto_proto::{EventType, SequenceFlags};

use super::annotate::{Strings, annotate, define};
use super::facts::KindOfCategory;
use super::flows::FlowTable;
use super::intern::IdSet;
use super::lane::Op;
use super::own::{self, SideTables};
use super::stacks::{KnownStacks, exact_double};

/// Largest whole number that a double holds exactly along with all smaller ones.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// What all encoders share.
pub(super) struct Context<'t> {
    pub trace: &'t Trace,
    pub flows: &'t FlowTable,
    pub kinds: &'t KindOfCategory,
    pub sides: &'t SideTables,
    pub shift_ns: i64,
    pub arguments: bool,
}

impl Context<'_> {
    /// A time as the file has it.
    pub(super) fn time(&self, time_ns: i64) -> u64 {
        file_time(time_ns, self.shift_ns)
    }

    /// `time_ns` itself where the file has another time, because there is no room for it.
    pub(super) fn cut(&self, time_ns: i64) -> Option<i64> {
        let in_file = i128::from(self.time(time_ns)) - i128::from(self.shift_ns);
        (in_file != i128::from(time_ns)).then_some(time_ns)
    }
}

/// A time as the file has it; cut where it has no room.
pub(super) fn file_time(time_ns: i64, shift_ns: i64) -> u64 {
    u64::try_from(time_ns.saturating_add(shift_ns)).unwrap_or(0)
}

/// A stretch of work on one track.
#[derive(Debug)]
pub(super) enum Run {
    /// Slices and instants: so many of the batch's ops.
    Lane { uuid: u64, ops: usize },
    /// Values of a counter: these of the series.
    Counter { uuid: u64, series: CounterId, values: std::ops::Range<usize> },
}

/// What an encoder does next.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub runs: Vec<Run>,
    pub ops: Vec<Op>,
    /// Ops and counter values in all.
    pub len: usize,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.runs.clear();
        self.ops.clear();
        self.len = 0;
    }
}

/// What an encoder has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub slices: u64,
    pub instants: u64,
    pub counter_values: u64,
    pub unreadable_args: u64,
}

/// Encodes packets of one sequence. Kept from batch to batch with what the sequence has been told.
pub(super) struct Encoder {
    sequence: u64,
    started: bool,
    pub out: Writer,
    pub counts: Counts,
    interned: Writer,
    event: Writer,
    names: IdSet,
    categories: IdSet,
    strings: Strings,
    stacks: KnownStacks,
}

impl Encoder {
    /// An encoder for the sequence with this id, which must not be 0.
    pub(super) fn new(sequence: u64) -> Self {
        Self {
            sequence,
            started: false,
            out: Writer::default(),
            counts: Counts::default(),
            interned: Writer::default(),
            event: Writer::default(),
            names: IdSet::default(),
            categories: IdSet::default(),
            strings: Strings::default(),
            stacks: KnownStacks::default(),
        }
    }

    /// Appends the packets of `batch` to `out`.
    pub(super) fn encode(&mut self, context: &Context<'_>, batch: &Batch) {
        let mut ops = batch.ops.iter();
        for run in &batch.runs {
            match run {
                Run::Lane { uuid, ops: count } => {
                    for op in ops.by_ref().take(*count) {
                        self.op(context, *uuid, *op);
                    }
                }
                Run::Counter { uuid, series, values } => self.counter(context, *uuid, *series, values.clone()),
            }
        }
    }

    fn op(&mut self, context: &Context<'_>, uuid: u64, op: Op) {
        match op {
            Op::Begin(id) => {
                self.counts.slices += 1;
                self.event(context, uuid, id, EventType::SliceBegin);
            }
            Op::Instant(id) => {
                self.counts.instants += 1;
                self.event(context, uuid, id, EventType::Instant);
            }
            Op::End(id) => {
                let end = context.trace.event(id).end();
                self.event.clear();
                self.event.uint(track_event::TYPE, EventType::SliceEnd as u64);
                self.event.uint(track_event::TRACK_UUID, uuid);
                self.packet(context.time(end.nanos()), false);
            }
        }
    }

    fn event(&mut self, context: &Context<'_>, uuid: u64, id: EventId, kind: EventType) {
        let event = context.trace.event(id);
        self.head(context.trace, uuid, kind, event.name, event.category);
        for (flow, ends) in context.flows.of(id) {
            let field = if ends { track_event::TERMINATING_FLOW_IDS } else { track_event::FLOW_IDS };
            self.event.fixed64(field, flow);
        }
        let args = if context.arguments {
            context.trace.args(id).unwrap_or_else(|error| {
                self.counts.unreadable_args += 1;
                self.annotate(own::ERROR, &ArgValue::Text(error.to_string()));
                Args::new()
            })
        } else {
            Args::new()
        };
        for (name, value) in &args {
            if own::is_taken(name) {
                self.annotate(&own::escaped(name), value);
            } else {
                self.annotate(name, value);
            }
        }
        if args.is_empty() && context.arguments && context.trace.has_args(id) {
            self.annotate(own::EMPTY_ARGS, &ArgValue::Bool(true));
        }
        own::of_event(context, &event, &args, |name, value| self.annotate(name, &value));
        if let Some(stack) = context.sides.stack_of(context.trace, id) {
            let iid = self.stacks.id(context.trace, stack.stack, &mut self.interned);
            self.event.uint(track_event::CALLSTACK_IID, iid);
            if stack.weight != 1 {
                self.event.double(track_event::CALLSTACK_WEIGHT, stack.weight as f64);
            }
            if exact_double(stack.weight).is_none() {
                self.annotate(own::WEIGHT, &ArgValue::UInt(stack.weight));
            }
        }
        self.packet(context.time(event.start.nanos()), true);
    }

    /// An instant with `args`, whose name and category are written out.
    pub(super) fn facts(&mut self, time: u64, uuid: u64, name: &str, category: &str, args: &Args) {
        self.interned.clear();
        self.event.clear();
        self.event.uint(track_event::TYPE, EventType::Instant as u64);
        self.event.uint(track_event::TRACK_UUID, uuid);
        self.event.string(track_event::NAME, name);
        self.event.string(track_event::CATEGORIES, category);
        for (name, value) in args {
            self.annotate(name, value);
        }
        self.packet(time, true);
    }

    fn counter(&mut self, context: &Context<'_>, uuid: u64, series: CounterId, values: std::ops::Range<usize>) {
        let Some(series) = context.trace.counters().get(series.index()) else { return };
        let times = series.times.get(values.clone()).unwrap_or_default();
        let values = series.values.get(values).unwrap_or_default();
        for (&time, &value) in times.iter().zip(values) {
            self.counts.counter_values += 1;
            self.interned.clear();
            self.event.clear();
            self.event.uint(track_event::TYPE, EventType::Counter as u64);
            self.event.uint(track_event::TRACK_UUID, uuid);
            // Negative zero has no whole form; everything else that is whole and small enough is shorter as such.
            if value.fract() == 0.0 && value.abs() <= MAX_EXACT && !(value == 0.0 && value.is_sign_negative()) {
                self.event.int(track_event::COUNTER_VALUE, value as i64);
            } else {
                self.event.double(track_event::DOUBLE_COUNTER_VALUE, value);
            }
            let cut = context.cut(time);
            if let Some(time) = cut {
                self.annotate(own::START, &ArgValue::Int(time));
            }
            self.packet(context.time(time), cut.is_some());
        }
    }

    /// Begins a track event: type, track, name, category.
    fn head(&mut self, trace: &Trace, uuid: u64, kind: EventType, name: StrId, category: StrId) {
        self.interned.clear();
        self.event.clear();
        self.event.uint(track_event::TYPE, kind as u64);
        self.event.uint(track_event::TRACK_UUID, uuid);
        // Id 0 is not valid, and the empty string needs none: it is what a reader takes for an absent name.
        if name != StrId::EMPTY {
            self.event.uint(track_event::NAME_IID, u64::from(name.0));
            if self.names.insert(name.0) {
                define(&mut self.interned, interned::EVENT_NAMES, name.0.into(), trace.text(name));
            }
        }
        if category != StrId::EMPTY {
            self.event.uint(track_event::CATEGORY_IIDS, u64::from(category.0));
            if self.categories.insert(category.0) {
                define(&mut self.interned, interned::EVENT_CATEGORIES, category.0.into(), trace.text(category));
            }
        }
    }

    fn annotate(&mut self, name: &str, value: &ArgValue) {
        annotate(
            &mut self.event,
            &mut self.interned,
            &mut self.strings,
            track_event::DEBUG_ANNOTATIONS,
            Some(name),
            value,
            0,
        );
    }

    /// Ends a packet with the track event and the interned strings that were gathered.
    fn packet(&mut self, time: u64, uses_interned: bool) {
        let message = self.out.open(trace_field::PACKET);
        self.out.uint(packet::TIMESTAMP, time);
        self.out.uint(packet::SEQUENCE_ID, self.sequence);
        let mut flags = 0;
        if !self.started {
            // The importer drops, without an error, what needs the state of a sequence that never began.
            self.started = true;
            flags |= SequenceFlags::IncrementalStateCleared as u64;
            self.out.bool(packet::FIRST_PACKET_ON_SEQUENCE, true);
        }
        if uses_interned {
            flags |= SequenceFlags::NeedsIncrementalState as u64;
        }
        if flags != 0 {
            self.out.uint(packet::SEQUENCE_FLAGS, flags);
        }
        if uses_interned && !self.interned.is_empty() {
            self.out.bytes(packet::INTERNED_DATA, self.interned.as_bytes());
        }
        self.out.bytes(packet::TRACK_EVENT, self.event.as_bytes());
        self.out.close(message);
    }
}
