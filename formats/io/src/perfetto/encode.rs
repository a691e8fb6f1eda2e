//! Encoding one batch of a sequence, straight into the wire format.

use gapless_trace::{ArgValue, Args, CounterId, Event, EventId, StrId, Trace};
use perfetto_proto::field::{annotation, interned, packet, trace as trace_field, track_event};
use perfetto_proto::wire::Writer;
use perfetto_proto::{EventType, SequenceFlags};

use super::facts::KindOfCategory;
use super::flows::FlowTable;
use super::intern::{IdSet, Interned, Interner, RepeatInterner};
use super::lane::Op;

/// Deepest nesting of lists and dicts that is written as such; what lies deeper is written as JSON text.
/// Protobuf decoders stop at 100 nested messages.
const MAX_NESTING: usize = 32;
/// Largest whole number that a double holds exactly along with all smaller ones.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// What all encoders share.
pub(super) struct Context<'t> {
    pub trace: &'t Trace,
    pub flows: &'t FlowTable,
    pub kinds: &'t KindOfCategory,
    pub shift_ns: i64,
    pub arguments: bool,
}

impl Context<'_> {
    /// A time as the file has it.
    pub(super) fn time(&self, time_ns: i64) -> u64 {
        u64::try_from(time_ns.saturating_add(self.shift_ns)).unwrap_or(0)
    }
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
}

/// Interned strings of annotations.
#[derive(Default)]
struct Strings {
    names: Interner,
    values: RepeatInterner,
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
                vec![("gapless.error".to_owned(), ArgValue::Text(error.to_string()))]
            })
        } else {
            Args::new()
        };
        for (name, value) in &args {
            self.annotate(name, value);
        }
        if context.kinds.get(event.category) != Some(event.kind) {
            self.annotate("gapless.kind", &ArgValue::Text(event.kind.id().to_owned()));
        }
        self.ids(&event, &args);
        self.packet(context.time(event.start.nanos()), true);
    }

    /// Writes the ids that join events, where the arguments do not say them.
    fn ids(&mut self, event: &Event, args: &Args) {
        let ids = [
            ("correlation", "gapless.correlation", event.correlation),
            ("External id", "gapless.external", event.external),
        ];
        for (argument, own, id) in ids {
            let said = args.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(argument));
            let said_id = said.and_then(|(_, value)| value.as_i64()).and_then(|value| u32::try_from(value).ok());
            match id {
                Some(id) if said_id != Some(id) => self.annotate(own, &ArgValue::Int(id.into())),
                None if said.is_some() => self.annotate(own, &ArgValue::Bool(false)),
                _ => {}
            }
        }
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
            self.event.clear();
            self.event.uint(track_event::TYPE, EventType::Counter as u64);
            self.event.uint(track_event::TRACK_UUID, uuid);
            // Negative zero has no whole form; everything else that is whole and small enough is shorter as such.
            if value.fract() == 0.0 && value.abs() <= MAX_EXACT && !(value == 0.0 && value.is_sign_negative()) {
                self.event.int(track_event::COUNTER_VALUE, value as i64);
            } else {
                self.event.double(track_event::DOUBLE_COUNTER_VALUE, value);
            }
            self.packet(context.time(time), false);
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

/// Tells the sequence what an id stands for.
fn define(interned_data: &mut Writer, field: u32, id: u64, text: &str) {
    interned_data.message(field, |entry| {
        entry.uint(interned::IID, id);
        entry.string(interned::TEXT, text);
    });
}

/// Appends a debug annotation to `event`; list entries have no name.
fn annotate(
    event: &mut Writer,
    interned_data: &mut Writer,
    strings: &mut Strings,
    field: u32,
    name: Option<&str>,
    value: &ArgValue,
    nesting: usize,
) {
    let message = event.open(field);
    if let Some(name) = name {
        match strings.names.intern(name) {
            Interned::Known(id) => event.uint(annotation::NAME_IID, id),
            Interned::New(id) => {
                define(interned_data, interned::DEBUG_ANNOTATION_NAMES, id, name);
                event.uint(annotation::NAME_IID, id);
            }
            Interned::Inline => event.string(annotation::NAME, name),
        }
    }
    match value {
        ArgValue::Bool(value) => event.bool(annotation::BOOL_VALUE, *value),
        ArgValue::Int(value) => event.int(annotation::INT_VALUE, *value),
        ArgValue::UInt(value) => event.uint(annotation::UINT_VALUE, *value),
        ArgValue::Double(value) => event.double(annotation::DOUBLE_VALUE, *value),
        ArgValue::Text(value) => match strings.values.intern(value) {
            Interned::Known(id) => event.uint(annotation::STRING_VALUE_IID, id),
            Interned::New(id) => {
                define(interned_data, interned::DEBUG_ANNOTATION_STRING_VALUES, id, value);
                event.uint(annotation::STRING_VALUE_IID, id);
            }
            Interned::Inline => event.string(annotation::STRING_VALUE, value),
        },
        ArgValue::List(items) if !items.is_empty() && nesting < MAX_NESTING => {
            for item in items {
                annotate(event, interned_data, strings, annotation::ARRAY_VALUES, None, item, nesting + 1);
            }
        }
        ArgValue::Dict(entries) if !entries.is_empty() && nesting < MAX_NESTING => {
            for (name, item) in entries {
                annotate(event, interned_data, strings, annotation::DICT_ENTRIES, Some(name), item, nesting + 1);
            }
        }
        // Null, and lists and dicts without entries, have no form of their own.
        ArgValue::Null | ArgValue::List(_) | ArgValue::Dict(_) => {
            let mut json = String::new();
            write_json(value, &mut json);
            event.string(annotation::LEGACY_JSON_VALUE, &json);
        }
    }
    event.close(message);
}

fn write_json(value: &ArgValue, out: &mut String) {
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    match value {
        ArgValue::Null => out.push_str("null"),
        ArgValue::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        ArgValue::Int(value) => out.push_str(&value.to_string()),
        ArgValue::UInt(value) => out.push_str(&value.to_string()),
        // JSON has no infinities; `Value::from` makes them null.
        ArgValue::Double(value) => out.push_str(&serde_json::Value::from(*value).to_string()),
        ArgValue::Text(value) => out.push_str(&quote(value)),
        ArgValue::List(items) => {
            for (index, item) in items.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                write_json(item, out);
            }
            out.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        ArgValue::Dict(entries) => {
            for (index, (name, item)) in entries.iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                out.push_str(&quote(name));
                out.push(':');
                write_json(item, out);
            }
            out.push_str(if entries.is_empty() { "{}" } else { "}" });
        }
    }
}
