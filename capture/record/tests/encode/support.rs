//! Records by hand, and what a trace says of them.

use std::collections::BTreeMap;

use gapless_formats::{OpenOptions, open_bytes};
use gapless_record::clock_map::ClockMap;
use gapless_record::encode::{ProcessEncoder, ProcessHeader, Strings, ThreadCounts};
use gapless_ring::layout::{AttrType, Class, Kind, RECORD_MARK, Record};
use gapless_ring::{Anchor, ClockKind, ThreadInstance};
use gapless_trace::{ArgValue, EventId, Trace};
use perfetto_proto::wire::Writer;

/// Unix time of tick 0.
pub const EPOCH_NS: i64 = 1_700_000_000_000_000_000;

/// Strings of a segment.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// Number of a string.
    pub fn id(&mut self, text: &str) -> u32 {
        let known = self.0.iter().position(|name| name == text);
        let index = known.unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        });
        index as u32 + 1
    }
}

impl Strings for Names {
    fn get(&self, id: u32) -> Option<String> {
        self.0.get((id as usize).checked_sub(1)?).cloned()
    }
}

pub fn record(kind: Kind, ticks: u64) -> Record {
    Record { ticks, kind: kind as u8, flags: RECORD_MARK, ..Record::default() }
}

pub fn push(ticks: u64, domain: u32, name: u32) -> Record {
    Record { domain, name, ..record(Kind::Push, ticks) }
}

pub fn pop(ticks: u64, domain: u32) -> Record {
    Record { domain, ..record(Kind::Pop, ticks) }
}

pub fn attr(ticks: u64, key: u32, kind: AttrType, payload: u64) -> Record {
    Record { class: kind as u8, name: key, payload, ..record(Kind::Attr, ticks) }
}

/// A record whose extra slots hold bytes.
pub fn with_bytes(head: Record, bytes: &[u8]) -> Vec<Record> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let slot = |chunk: &[u8]| {
        let mut all = [0; 32];
        all[..chunk.len()].copy_from_slice(chunk);
        Record {
            ticks: number(&all[..8]),
            kind: all[8],
            class: all[9],
            extra: all[10],
            flags: all[11],
            name: number(&all[12..16]) as u32,
            domain: number(&all[16..20]) as u32,
            category: number(&all[20..24]) as u32,
            payload: number(&all[24..]),
        }
    };
    let mut slots = vec![Record { extra: bytes.len().div_ceil(32) as u8, payload: bytes.len() as u64, ..head }];
    slots.extend(bytes.chunks(32).map(slot));
    slots
}

pub fn blob(ticks: u64, domain: u32, key: u32, bytes: &[u8]) -> Vec<Record> {
    with_bytes(Record { name: key, domain, ..record(Kind::Blob, ticks) }, bytes)
}

pub fn info(ticks: u64, domain: u32, key: u32, bytes: &[u8]) -> Vec<Record> {
    with_bytes(Record { name: key, domain, ..record(Kind::Info, ticks) }, bytes)
}

pub fn operator(record: Record) -> Record {
    Record { class: Class::Operator as u8, ..record }
}

/// A process whose threads have the ids 100, 101, ….
pub struct Job {
    pub names: Names,
    pub encoder: ProcessEncoder,
    pub clock: ClockMap,
    pub out: Writer,
}

pub const PID: u32 = 4711;
pub const START_TIME: u64 = 99;

pub fn clock() -> ClockMap {
    let first = Anchor { ticks: 0, monotonic_ns: 0, realtime_ns: EPOCH_NS as u64, boottime_ns: 0 };
    ClockMap::new(ClockKind::Monotonic, first, first)
}

impl Job {
    pub fn new() -> Job {
        let encoder = ProcessEncoder::new(PID, START_TIME, 2);
        let mut job = Job { names: Names::default(), encoder, clock: clock(), out: Writer::default() };
        job.out = job.header();
        job
    }

    pub fn header(&self) -> Writer {
        let header = ProcessHeader {
            pid: PID,
            start_time: START_TIME,
            name: "job".to_owned(),
            clocks_ns: [EPOCH_NS as u64, 1, 2],
            ..ProcessHeader::default()
        };
        let mut out = Writer::default();
        self.encoder.header(&header, &mut out);
        out
    }

    pub fn id(&mut self, text: &str) -> u32 {
        self.names.id(text)
    }

    pub fn encode(&mut self, thread: u32, slots: &[Record]) {
        let instance = ThreadInstance { serial: u64::from(thread) + 1, tid: 100 + thread };
        self.encoder.encode(instance, "worker", slots, 0, &self.clock, &self.names, &mut self.out);
    }

    pub fn flush(&mut self) {
        self.encoder.flush(&self.clock, &self.names, &mut self.out);
    }

    pub fn finish(&mut self) {
        self.encoder.finish(&self.clock, &self.names, &mut self.out);
    }

    pub fn counts(&self) -> ThreadCounts {
        self.encoder.counts()
    }

    /// Finishes and reads.
    pub fn trace(&mut self) -> Trace {
        self.finish();
        read(self.out.as_bytes())
    }
}

pub fn read(bytes: &[u8]) -> Trace {
    open_bytes("pid1.pftrace", bytes.to_vec(), &OpenOptions::default()).unwrap()
}

/// A range or instant as a trace tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// Ticks.
    pub begin: i64,
    pub end: i64,
    pub name: String,
    pub args: Vec<(String, String)>,
}

/// The arguments of an event, values as text.
pub fn args(trace: &Trace, event: EventId) -> Vec<(String, String)> {
    trace.args(event).unwrap().into_iter().map(|(name, value)| (name, text(&value))).collect()
}

pub fn text(value: &ArgValue) -> String {
    match value {
        ArgValue::Null => "null".to_owned(),
        ArgValue::Bool(value) => value.to_string(),
        ArgValue::Int(value) => value.to_string(),
        ArgValue::UInt(value) => value.to_string(),
        ArgValue::Double(value) => format!("{value:?}"),
        ArgValue::Text(text) => format!("{text:?}"),
        ArgValue::List(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", ")),
        ArgValue::Dict(entries) => {
            let entries: Vec<_> = entries.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// All events of a trace by the label of their track.
pub fn by_track(trace: &Trace) -> BTreeMap<String, Vec<Told>> {
    let mut all: BTreeMap<String, Vec<Told>> = BTreeMap::new();
    for index in 0..trace.events().len() as u32 {
        let id = EventId(index);
        let (track, _) = trace.track_of(id).unwrap();
        let event = trace.event(id);
        let told = Told {
            begin: event.start.0 - EPOCH_NS,
            end: event.end().0 - EPOCH_NS,
            name: trace.name(id).to_owned(),
            args: args(trace, id),
        };
        all.entry(trace.track_label(track)).or_default().push(told);
    }
    for list in all.values_mut() {
        list.sort();
    }
    all
}

/// All events of a trace.
pub fn told(trace: &Trace) -> Vec<Told> {
    let mut all: Vec<Told> = by_track(trace).into_values().flatten().collect();
    all.sort();
    all
}

/// An event in words: `name begin..end key=value`.
pub fn line(told: &Told) -> String {
    let mut line = format!("{} {}..{}", told.name, told.begin, told.end);
    for (key, value) in &told.args {
        line.push_str(&format!(" {key}={value}"));
    }
    line
}

pub fn lines(trace: &Trace) -> Vec<String> {
    by_track(trace)
        .into_iter()
        .flat_map(|(track, list)| list.iter().map(|told| format!("{track}: {}", line(told))).collect::<Vec<_>>())
        .collect()
}

/// Nothing odd was found in the trace.
pub fn assert_clean(trace: &Trace) {
    assert!(trace.warnings().is_empty(), "{:?}", trace.warnings().sorted());
}
