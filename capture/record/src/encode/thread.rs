//! One thread: records in, packets of its sequence out.

use std::ops::Range;
use std::sync::Arc;

use gapless_ring::layout::{ABOUT_OPEN_RANGE, Kind, Record};
use gapless_ring::reader::extra_bytes;
use gapless_ring::{Class, ThreadInstance};
use perfetto_proto::field::{packet, trace, track_event};
use perfetto_proto::wire::Writer;
use rustc_hash::FxHashMap;

use super::annotation::{Annotation, Key, Value, attr_value, comm_args};
use super::event::{self, Event, RawPayload};
use super::lanes::{End, Lanes};
use super::open::{Open, OpenRanges, Popped};
use super::process::{HEADER_SEQUENCE, Strings};
use super::schema::Schemas;
use super::sequence::{COUNTER, INSTANT, SLICE_BEGIN, SLICE_END, Sequence, TrackEvent, write_begin};
use super::state::{self, OpenRun, SCHEMA};
use crate::clock_map::ClockMap;

/// What was written of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ThreadCounts {
    /// Begins, instants and counter values.
    pub events: u64,
    /// Ends of ranges whose begin is not in the recording: begun before it, or before a fork.
    pub ends_without_begin: u64,
    /// Ranges that ended while a range of another domain was open inside them; they end with that one in the trace.
    pub interleaved: u64,
    /// Facts about ranges or events that are not in the recording, or whose end is not.
    pub facts_without_event: u64,
    /// Payloads that are kept as they came, because nothing describes them or they do not fit what does.
    pub undecoded: u64,
    /// Records that the ring dropped.
    pub lost: u64,
    /// Records of a kind that this version does not know, or that are damaged.
    pub unknown: u64,
}

/// What the key of a blob says about its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlobKind {
    Text,
    Json,
    /// A payload of this type.
    Payload(u64),
}

/// What all threads of a process share while they are encoded.
pub(super) struct Shared<'a> {
    pub strings: &'a dyn Strings,
    pub clock: &'a ClockMap,
    pub lanes: &'a mut Lanes,
    /// Tracks of the process that are declared already, by uuid.
    pub declared: &'a mut FxHashMap<u64, ()>,
    /// Facts of the process, for the manifest.
    pub facts: &'a mut Vec<(String, String)>,
    pub schemas: &'a mut Schemas,
    /// By the number of a blob's key.
    pub blob_kinds: &'a mut FxHashMap<u32, BlobKind>,
    /// Names that one thread gave to another: thread id and name.
    pub renames: &'a mut Vec<(u32, String)>,
    pub pid: u32,
    /// Whether ends without a begin are written: their begins are in the file already.
    pub keeps_ends: bool,
    /// Which steps are written, and whether any are now.
    pub steps: &'a Range<u64>,
    pub is_recording: bool,
}

/// Encodes one thread.
#[derive(Debug)]
pub(super) struct ThreadEncoder {
    sequence: Sequence,
    uuid: u64,
    instance: ThreadInstance,
    name: String,
    /// The latest time of any record.
    last_ns: i64,
    /// What of it recovery knows.
    told_last_ns: i64,
    open: OpenRanges,
    pending: Option<Event>,
    /// The slots that `pending` was made of.
    held: Vec<Record>,
    /// Number and begin of the step that is open.
    step: Option<(i64, i64)>,
    steps_done: Option<u64>,
    /// Durations of steps that ended since they were last taken.
    step_durations_ns: Vec<i64>,
    /// Whether the end of a step was seen.
    has_ended_step: bool,
    pub counts: ThreadCounts,
}

/// A track id from what identifies the track, so that a recording that is taken up again goes on on the same tracks.
pub(super) fn track_uuid(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |state: u64, &part| {
        let product = u128::from(state ^ part) * 0xd1b5_4a32_d192_ed03;
        (product >> 64) as u64 ^ product as u64
    }) | 1
}

impl ThreadEncoder {
    pub fn new(sequence: u64, pid: u32, start_time: u64, instance: ThreadInstance, name: &str) -> ThreadEncoder {
        let uuid = track_uuid(&[u64::from(pid), start_time, instance.serial]);
        ThreadEncoder {
            sequence: Sequence::new(sequence, uuid),
            uuid,
            instance,
            name: name.to_owned(),
            last_ns: 0,
            told_last_ns: 0,
            open: OpenRanges::default(),
            pending: None,
            held: Vec::new(),
            step: None,
            steps_done: None,
            step_durations_ns: Vec::new(),
            has_ended_step: false,
            counts: ThreadCounts::default(),
        }
    }

    /// Steps that the thread has done; `None` where it never stepped.
    pub fn steps_done(&self) -> Option<u64> {
        self.steps_done
    }

    /// Durations of the steps that ended since the last call, in ns.
    pub fn take_step_durations(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.step_durations_ns)
    }

    /// Ranges that are open.
    pub fn depth(&self) -> usize {
        self.open.depth()
    }

    /// Track of the thread.
    pub fn uuid(&self) -> u64 {
        self.uuid
    }

    /// Takes up ranges that were open when the recording broke off.
    pub fn restore(&mut self, runs: &[OpenRun]) {
        state::restore(runs, &mut self.open);
    }

    /// Goes on after this time, the latest that is in the file.
    pub fn continue_after(&mut self, latest_ns: i64) {
        self.last_ns = latest_ns;
    }

    /// Writes what recovery needs beyond the packets.
    pub fn write_state(&mut self, out: &mut Writer) {
        if self.told_last_ns != self.last_ns {
            self.told_last_ns = self.last_ns;
            state::write_latest(self.uuid, self.last_ns, out);
        }
        state::write_open(self.uuid, &self.open, out);
        state::write_held(self.instance.serial, self.instance.tid, &self.held, out);
    }

    /// Makes the packets that follow readable without those before: names are written anew.
    pub fn restart(&mut self) {
        self.sequence.forget();
    }

    /// Begins the ranges that are open at their own times, so that a file may begin with the packets that follow.
    pub fn write_opening(&self, strings: &dyn Strings, pid: u32, out: &mut Writer) {
        if self.step.is_none() && self.open.iter().next().is_none() {
            return;
        }
        self.describe(HEADER_SEQUENCE, pid, out);
        if let Some((step, time_ns)) = self.step {
            let uuid = self.steps_uuid();
            declare(HEADER_SEQUENCE, out, uuid, self.uuid, STEPS, false);
            write_begin(out, HEADER_SEQUENCE, strings, time_ns, uuid, &step_name(step), Class::Step, &[]);
        }
        for open in self.open.iter() {
            let begin = &open.begin;
            let uuid = open.apart().map_or(self.uuid, |domain| self.domain_uuid(domain));
            if let Some(domain) = open.apart() {
                declare(HEADER_SEQUENCE, out, uuid, self.uuid, &domain_name(strings, domain), false);
            }
            let name = strings.get(begin.name).unwrap_or_default();
            write_begin(out, HEADER_SEQUENCE, strings, begin.time_ns, uuid, &name, begin.class, &begin.args);
        }
    }

    /// Encodes records, each followed by its extra slots.
    pub fn encode(&mut self, shared: &mut Shared<'_>, out: &mut Writer, slots: &[Record]) {
        let Some(first) = slots.first() else { return };
        let first_ns = self.ascending(shared.clock.unix_ns(first.ticks));
        self.start_batch(shared, out, first_ns.min(self.pending.as_ref().map_or(i64::MAX, |pending| pending.time_ns)));
        let mut rest = slots;
        // Where the event begins that is pending when all is read.
        let mut pending_at = None;
        while let Some((record, after)) = rest.split_first() {
            if self.record(shared, out, record, after.get(..record.extra as usize).unwrap_or(after)) {
                pending_at = Some(rest);
            }
            rest = after.get(record.extra as usize..).unwrap_or_default();
        }
        if let Some(slots) = pending_at {
            self.held.clear();
            self.held.extend_from_slice(slots);
        } else if self.pending.is_some() {
            self.held.extend_from_slice(slots);
        }
        if self.pending.is_none() {
            self.held.clear();
        }
    }

    /// Writes what was held back for arguments.
    pub fn flush(&mut self, shared: &mut Shared<'_>, out: &mut Writer) {
        if let Some(pending) = self.pending.take() {
            self.held.clear();
            self.ensure_started(shared, out, pending.time_ns);
            self.write(shared, out, pending);
        }
    }

    /// Ends the step that is open. Nothing more will come of this thread.
    pub fn finish(&mut self, shared: &mut Shared<'_>, out: &mut Writer) {
        self.flush(shared, out);
        self.end_step(shared, out, self.last_ns);
        self.counts.facts_without_event += self.open.take_facts();
    }

    /// Gives the thread a name.
    pub fn rename(&mut self, name: String, pid: u32, out: &mut Writer) {
        self.name = name;
        if self.sequence.is_started() {
            self.describe(self.sequence.id(), pid, out);
        }
    }

    fn ascending(&self, time_ns: i64) -> i64 {
        // Counters of cores agree to some ticks only; a thread that moves may see a step back.
        time_ns.max(self.last_ns)
    }

    /// Takes in a record. Whether it is pending now.
    fn record(&mut self, shared: &mut Shared<'_>, out: &mut Writer, record: &Record, extra: &[Record]) -> bool {
        let Some(kind) = Kind::from_number(record.kind) else {
            self.counts.unknown += 1;
            return false;
        };
        match kind {
            Kind::Attr | Kind::Blob => {
                self.fact(shared, out, kind, record, extra);
                return false;
            }
            Kind::Info => {
                self.info(shared, out, record, extra);
                return false;
            }
            _ => {}
        }
        // Any other record ends the arguments of the one before.
        if let Some(pending) = self.pending.take() {
            self.write(shared, out, pending);
        }
        let time_ns = self.ascending(shared.clock.unix_ns(record.ticks));
        self.last_ns = time_ns;
        match kind {
            Kind::ThreadName => {
                self.thread_name(shared, out, record);
                false
            }
            Kind::Step => {
                self.step(shared, out, record.payload as i64, time_ns);
                false
            }
            _ => {
                let class = Class::from_number(record.class);
                let mut args = Vec::new();
                // Domain and category say where an event comes from; for operators the domain is always the framework,
                // and ranges that may end anywhere lie on a track with the domain's name.
                let shows_domain = matches!(kind, Kind::Push | Kind::CommPush | Kind::Mark | Kind::CommDone);
                if record.domain != 0 && class == Class::Annotation && shows_domain {
                    args.push(Annotation::fixed("domain", Value::Id(record.domain)));
                }
                let is_comm = matches!(kind, Kind::CommPush | Kind::CommStart);
                if record.category != 0 {
                    let key = if is_comm { "Process Group Name" } else { "category" };
                    args.push(Annotation::fixed(key, Value::Id(record.category)));
                }
                if kind == Kind::CommStart {
                    // With this name, readers take the event for a collective or message itself, not for a call.
                    args.push(Annotation::fixed("Collective name", Value::Id(record.name)));
                }
                match kind {
                    Kind::CommPush | Kind::CommStart => comm_args(extra, &mut args),
                    Kind::CommDone => args.push(Annotation::fixed("request", Value::Unsigned(record.payload))),
                    _ => {}
                }
                let (name, domain, payload) = (record.name, record.domain, record.payload);
                self.pending = Some(Event { kind, time_ns, class, name, domain, payload, args, raw: Vec::new() });
                true
            }
        }
    }

    fn thread_name(&mut self, shared: &mut Shared<'_>, out: &mut Writer, record: &Record) {
        let Some(name) = shared.strings.get(record.name) else { return };
        match u32::try_from(record.payload) {
            Ok(tid) if tid == 0 || tid == self.instance.tid => self.rename(name, shared.pid, out),
            Ok(tid) => shared.renames.push((tid, name)),
            // No thread id of this system; perhaps a handle.
            Err(_) => self.counts.facts_without_event += 1,
        }
    }

    /// A fact of the process, or what describes payloads.
    fn info(&mut self, shared: &mut Shared<'_>, out: &mut Writer, record: &Record, extra: &[Record]) {
        let Some(key) = shared.strings.get(record.name) else { return };
        let value = extra_bytes(extra, record.payload);
        if !Schemas::is_key(&key) {
            shared.facts.push((key, String::from_utf8_lossy(value).into_owned()));
        } else if !tell_schema(shared.schemas, record.domain, &key, value, out) {
            self.counts.unknown += 1;
        }
    }

    /// A fact about the record before it, or about an open range.
    fn fact(&mut self, shared: &mut Shared<'_>, out: &mut Writer, kind: Kind, record: &Record, extra: &[Record]) {
        let (args, raw) = if record.category == ABOUT_OPEN_RANGE {
            // The range that is meant may be the one that was begun last.
            if let Some(pending) = self.pending.take() {
                self.write(shared, out, pending);
            }
            let Some(open) = self.open.innermost_mut(record.domain) else {
                self.counts.facts_without_event += 1;
                return;
            };
            (&mut open.late, &mut open.begin.raw)
        } else {
            let Some(pending) = &mut self.pending else {
                self.counts.facts_without_event += 1;
                return;
            };
            (&mut pending.args, &mut pending.raw)
        };
        if kind == Kind::Attr {
            match attr_value(record) {
                Some(value) => args.push(Annotation { key: Key::Id(record.name), value }),
                None => self.counts.unknown += 1,
            }
            return;
        }
        let bytes = extra_bytes(extra, record.payload);
        let kind = *shared.blob_kinds.entry(record.name).or_insert_with(|| {
            let key = shared.strings.get(record.name).unwrap_or_default();
            match key.strip_prefix("nvtx-payload:").and_then(|id| id.parse().ok()) {
                Some(id) => BlobKind::Payload(id),
                None if key == "json" => BlobKind::Json,
                None => BlobKind::Text,
            }
        });
        match kind {
            BlobKind::Text => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                args.push(Annotation { key: Key::Id(record.name), value: Value::Text(text) });
            }
            BlobKind::Json => match serde_json::from_slice::<serde_json::Value>(bytes) {
                Ok(serde_json::Value::Object(entries)) => args.extend(entries.iter().map(|(name, value)| Annotation {
                    key: Key::Text(Arc::from(name.as_str())),
                    value: Value::of_json(value),
                })),
                _ => self.counts.unknown += 1,
            },
            BlobKind::Payload(id) => {
                if !event::decode(shared.schemas, record.domain, id, bytes, args) {
                    raw.push(RawPayload { key: record.name, domain: record.domain, id, bytes: bytes.to_vec() });
                }
            }
        }
    }

    fn step(&mut self, shared: &mut Shared<'_>, out: &mut Writer, step: i64, time_ns: i64) {
        self.end_step(shared, out, time_ns);
        let Ok(number) = u64::try_from(step) else { return };
        self.steps_done = Some(number);
        // The recorder switches a moment late; where the window is given by steps, the steps themselves say.
        let is_on = shared.is_recording || shared.steps.start > 0;
        if is_on && shared.steps.contains(&number) {
            self.step = Some((step, time_ns));
            let uuid = self.steps_uuid();
            self.declare(shared, out, uuid, self.uuid, STEPS, false);
            self.counts.events += 1;
            self.sequence.plain(out, time_ns, |event| {
                event.uint(track_event::TYPE, SLICE_BEGIN);
                event.uint(track_event::TRACK_UUID, uuid);
                event.string(track_event::NAME, &step_name(step));
                event.string(track_event::CATEGORIES, "user_annotation");
            });
        }
    }

    fn end_step(&mut self, shared: &mut Shared<'_>, out: &mut Writer, time_ns: i64) {
        let step = self.step.take();
        let is_known = step.is_some();
        // In a file that is taken up again the open step was begun by the recorder before.
        let was_known = shared.keeps_ends
            && !std::mem::replace(&mut self.has_ended_step, true)
            && shared.declared.contains_key(&self.steps_uuid());
        if is_known || was_known {
            if let Some((_, begin_ns)) = step {
                self.step_durations_ns.push(time_ns.saturating_sub(begin_ns));
            }
            self.ensure_started(shared, out, time_ns);
            let uuid = self.steps_uuid();
            self.declare(shared, out, uuid, self.uuid, STEPS, false);
            self.sequence.plain(out, time_ns, |event| {
                event.uint(track_event::TYPE, SLICE_END);
                event.uint(track_event::TRACK_UUID, uuid);
            });
        }
    }

    fn write(&mut self, shared: &mut Shared<'_>, out: &mut Writer, mut event: Event) {
        match event.kind {
            Kind::Push | Kind::CommPush => {
                // In a file that is taken up again, the track says that the domain did not nest before.
                if shared.keeps_ends && shared.declared.contains_key(&self.domain_uuid(event.domain)) {
                    self.open.set_apart(event.domain);
                }
                let is_apart = self.open.is_apart(event.domain);
                let track = is_apart.then(|| self.domain_track(shared, out, event.domain));
                self.event(shared, out, &event, SLICE_BEGIN, track);
                self.open.push(Open { begin: event, is_apart, ended_ns: None, late: Vec::new() });
            }
            // An end waits for its arguments too: what a call received is known when it returns.
            Kind::Pop => self.pop(shared, out, event),
            Kind::Mark if event.payload != 0 => self.about_id(shared, out, event),
            Kind::Mark | Kind::CommDone => {
                self.settle(shared, &event.raw, &mut event.args);
                self.event(shared, out, &event, INSTANT, None);
            }
            Kind::Start | Kind::CommStart => {
                self.skip_unknown_lanes(shared, event.domain);
                let (lane, end) = shared.lanes.begin(event.domain, event.payload, event.time_ns);
                let uuid = lane_uuid(shared.pid, event.domain, lane);
                if !shared.declared.contains_key(&uuid) {
                    let domain = shared.strings.get(event.domain).unwrap_or_else(|| RANGES.to_owned());
                    self.declare(shared, out, uuid, process_uuid(shared.pid), &domain, false);
                }
                self.event(shared, out, &event, SLICE_BEGIN, Some(uuid));
                match end {
                    Some(mut end) => {
                        self.settle(shared, &event.raw, &mut end.args);
                        // Later than what follows on this sequence.
                        self.end(shared, out, Some(uuid), end, true);
                    }
                    None => shared.lanes.keep(event.domain, lane, event.payload, event),
                }
            }
            Kind::End => {
                let end = End { time_ns: event.time_ns, args: event.args, raw: event.raw };
                if let Some((taken, mut end)) = shared.lanes.end(event.payload, end) {
                    let uuid = lane_uuid(shared.pid, taken.domain, taken.lane);
                    let mut args = taken.late;
                    self.settle(shared, &taken.begin.raw, &mut args);
                    args.append(&mut end.args);
                    end.args = args;
                    let is_later = end.time_ns > event.time_ns;
                    self.end(shared, out, Some(uuid), end, is_later);
                }
            }
            Kind::Counter => {
                // Counters of two domains may have one name.
                let place = u64::from(event.name) | u64::from(event.domain) << 32;
                let uuid = track_uuid(&[u64::from(shared.pid), 3, place]);
                if !shared.declared.contains_key(&uuid) {
                    let mut name = shared.strings.get(event.name).unwrap_or_default();
                    if event.domain != 0 {
                        name = format!("{}: {name}", domain_name(shared.strings, event.domain));
                    }
                    self.declare(shared, out, uuid, process_uuid(shared.pid), &name, true);
                }
                self.counts.events += 1;
                self.sequence.plain(out, event.time_ns, |out| {
                    out.uint(track_event::TYPE, COUNTER);
                    out.uint(track_event::TRACK_UUID, uuid);
                    out.double(track_event::DOUBLE_COUNTER_VALUE, f64::from_bits(event.payload));
                });
            }
            _ => self.counts.unknown += 1,
        }
    }

    fn pop(&mut self, shared: &mut Shared<'_>, out: &mut Writer, event: Event) {
        let Event { domain, time_ns, mut args, raw, .. } = event;
        match self.open.pop(domain, time_ns) {
            Popped::Unmatched if shared.keeps_ends => {
                self.end(shared, out, None, End { time_ns, args, raw }, false);
            }
            Popped::Unmatched => {
                self.counts.ends_without_begin += 1;
                self.counts.facts_without_event += (args.len() + raw.len()) as u64;
            }
            Popped::Waits(index) => {
                self.counts.interleaved += 1;
                if let Some(open) = self.open.at_mut(index) {
                    open.late.append(&mut args);
                    open.begin.raw.extend(raw);
                    let domain = open.begin.domain;
                    self.domain_track(shared, out, domain);
                }
            }
            Popped::Ended(open) => {
                let track = open.apart();
                self.end_open(shared, out, open, End { time_ns, args, raw });
                while let Some(mut open) = self.open.take_waiting(track) {
                    if let Some(ended_ns) = open.ended_ns {
                        let earlier_ns = time_ns.saturating_sub(ended_ns).max(0) as u64;
                        open.late.push(Annotation::fixed("ended_earlier_ns", Value::Unsigned(earlier_ns)));
                    }
                    self.end_open(shared, out, open, End { time_ns, args: Vec::new(), raw: Vec::new() });
                }
            }
        }
    }

    fn end_open(&mut self, shared: &mut Shared<'_>, out: &mut Writer, open: Open, mut end: End) {
        let track = open.apart().map(|domain| self.domain_uuid(domain));
        if !open.late.is_empty() || !open.begin.raw.is_empty() {
            let mut args = open.late;
            self.settle(shared, &open.begin.raw, &mut args);
            args.append(&mut end.args);
            end.args = args;
        }
        self.end(shared, out, track, end, false);
    }

    /// Facts about a range that is named by the id it was given; about one that is not open they stand alone.
    fn about_id(&mut self, shared: &mut Shared<'_>, out: &mut Writer, mut event: Event) {
        event.args.retain(|arg| arg.key != Key::Fixed("domain"));
        let place = match self.open.with_id_mut(event.payload) {
            Some(open) => Some((&mut open.late, &mut open.begin.raw)),
            None => shared.lanes.with_id_mut(event.payload).map(|taken| (&mut taken.late, &mut taken.begin.raw)),
        };
        match place {
            Some((late, raw)) => {
                late.append(&mut event.args);
                raw.append(&mut event.raw);
            }
            None => {
                self.settle(shared, &event.raw, &mut event.args);
                event.args.push(Annotation::fixed("id", Value::Unsigned(event.payload)));
                self.event(shared, out, &event, INSTANT, None);
            }
        }
    }

    /// Decodes what can be decoded now; the rest stays as it came.
    fn settle(&mut self, shared: &Shared<'_>, raw: &[RawPayload], args: &mut Vec<Annotation>) {
        for payload in raw {
            if !payload.decode(shared.schemas, args) {
                self.counts.undecoded += 1;
                args.push(payload.as_text());
            }
        }
    }

    /// A begin or an instant.
    fn event(&mut self, shared: &Shared<'_>, out: &mut Writer, event: &Event, kind: u64, track: Option<u64>) {
        self.counts.events += 1;
        let named = Some((event.name, event.class));
        let packet = TrackEvent { kind, track, named, args: &event.args };
        self.sequence.event(out, shared.strings, event.time_ns, false, &packet);
    }

    fn end(&mut self, shared: &Shared<'_>, out: &mut Writer, track: Option<u64>, mut end: End, is_later: bool) {
        self.settle(shared, &end.raw, &mut end.args);
        let packet = TrackEvent { kind: SLICE_END, track, named: None, args: &end.args };
        self.sequence.event(out, shared.strings, end.time_ns, is_later, &packet);
    }

    /// What the packets of the sequence have in common, unless it is written.
    fn ensure_started(&mut self, shared: &mut Shared<'_>, out: &mut Writer, time_ns: i64) {
        if !self.sequence.is_started() {
            self.start_batch(shared, out, time_ns);
        }
    }

    /// Where the clock of the sequence is; for the first batch also what its packets have in common.
    fn start_batch(&mut self, shared: &mut Shared<'_>, out: &mut Writer, first_ns: i64) {
        if !self.sequence.is_started() {
            self.sequence.start(out);
            // A file that is taken up again knows the thread, perhaps by a better name than the kernel's.
            if shared.declared.insert(self.uuid, ()).is_none() {
                self.describe(self.sequence.id(), shared.pid, out);
            }
        }
        self.sequence.set_clock(out, first_ns);
    }

    fn describe(&self, sequence: u64, pid: u32, out: &mut Writer) {
        out.message(trace::PACKET, |out| {
            out.uint(packet::SEQUENCE_ID, sequence);
            out.message(packet::TRACK_DESCRIPTOR, |out| {
                out.uint(1, self.uuid);
                out.message(4, |out| {
                    out.uint(1, u64::from(pid));
                    out.uint(2, u64::from(self.instance.tid));
                    out.string(5, &self.name);
                });
            });
        });
    }

    fn steps_uuid(&self) -> u64 {
        track_uuid(&[self.uuid, 1])
    }

    fn domain_uuid(&self, domain: u32) -> u64 {
        track_uuid(&[self.uuid, 2, u64::from(domain)])
    }

    /// The track of a domain whose ranges do not nest in those of others.
    fn domain_track(&self, shared: &mut Shared<'_>, out: &mut Writer, domain: u32) -> u64 {
        let uuid = self.domain_uuid(domain);
        if !shared.declared.contains_key(&uuid) {
            let name = domain_name(shared.strings, domain);
            self.declare(shared, out, uuid, self.uuid, &name, false);
        }
        uuid
    }

    /// In a file that is taken up again, lanes hold ranges that are not known.
    fn skip_unknown_lanes(&self, shared: &mut Shared<'_>, domain: u32) {
        if shared.keeps_ends && !shared.lanes.has_domain(domain) {
            let is_known = |lane: usize| shared.declared.contains_key(&lane_uuid(shared.pid, domain, lane));
            let known = (0..).take_while(|&lane| is_known(lane)).count();
            shared.lanes.leave_out(domain, known);
        }
    }

    fn declare(&self, shared: &mut Shared<'_>, out: &mut Writer, uuid: u64, parent: u64, name: &str, is_counter: bool) {
        if shared.declared.insert(uuid, ()).is_none() {
            declare(self.sequence.id(), out, uuid, parent, name, is_counter);
        }
    }
}

/// Takes what describes payloads, and writes it for recovery. False where it is damaged.
pub(super) fn tell_schema(schemas: &mut Schemas, domain: u32, key: &str, value: &[u8], out: &mut Writer) -> bool {
    if !schemas.tell(domain, key, value) {
        return false;
    }
    out.message(trace::PACKET, |out| {
        out.uint(packet::SEQUENCE_ID, HEADER_SEQUENCE);
        state::write(SCHEMA, out, |out| {
            out.uint(1, u64::from(domain));
            out.string(2, key);
            out.bytes(3, value);
        });
    });
    true
}

/// Name of the track of steps.
const STEPS: &str = "Steps";
/// Name of the track of ranges that may end anywhere and have no domain.
pub(super) const RANGES: &str = "Ranges";

/// The name that the analysis knows steps by.
fn step_name(step: i64) -> String {
    format!("ProfilerStep#{step}")
}

fn domain_name(strings: &dyn Strings, domain: u32) -> String {
    strings.get(domain).filter(|_| domain != 0).unwrap_or_else(|| "default domain".to_owned())
}

/// Describes a track below another one.
pub(super) fn declare(sequence: u64, out: &mut Writer, uuid: u64, parent: u64, name: &str, is_counter: bool) {
    out.message(trace::PACKET, |out| {
        out.uint(packet::SEQUENCE_ID, sequence);
        out.message(packet::TRACK_DESCRIPTOR, |out| {
            out.uint(1, uuid);
            out.uint(5, parent);
            out.string(2, name);
            if is_counter {
                out.message(8, |_| {});
            }
        });
    });
}

/// Track of a process.
pub(super) fn process_uuid(pid: u32) -> u64 {
    track_uuid(&[u64::from(pid), 1])
}

/// Track of ranges that may end anywhere.
pub(super) fn lane_uuid(pid: u32, domain: u32, lane: usize) -> u64 {
    track_uuid(&[u64::from(pid), 2, u64::from(domain), lane as u64])
}
