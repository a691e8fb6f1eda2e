//! One thread: records in, packets of its sequence out.

use std::ops::Range;

use gapless_ring::layout::{AttrType, Kind, Record};
use gapless_ring::reader::{extra_bytes, extra_comm};
use gapless_ring::{Class, ThreadInstance};
use perfetto_proto::field::{annotation, interned, packet, trace, track_event};
use perfetto_proto::wire::Writer;
use rustc_hash::FxHashMap;

use super::CATEGORIES;
use super::annotation::{Annotation, Key, Value};
use super::lanes::Lanes;
use super::process::Strings;
use crate::clock_map::ClockMap;

/// Clock of a sequence that counts from one packet to the next (ids 64 to 127 belong to a sequence).
const INCREMENTAL_CLOCK: u64 = 64;
/// Unix time in Perfetto's numbering of clocks.
const REALTIME_CLOCK: u64 = 1;
/// The sequence's state was cleared here.
const STATE_CLEARED: u64 = 1;
/// The packet needs what was interned before it.
const NEEDS_STATE: u64 = 2;
/// Types of a `TrackEvent`.
const SLICE_BEGIN: u64 = 1;
const SLICE_END: u64 = 2;
const INSTANT: u64 = 3;
const COUNTER: u64 = 4;

/// What was written of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ThreadCounts {
    /// Begins, instants and counter values.
    pub events: u64,
    /// Ends of ranges whose begin is not in the recording: begun before it, or before a fork.
    pub ends_without_begin: u64,
    /// Records that the ring dropped.
    pub lost: u64,
    /// Records of a kind that this version does not know, or that are damaged.
    pub unknown: u64,
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
    pub pid: u32,
    /// Whether ends without a begin are written: their begins are in the file already.
    pub keeps_ends: bool,
    /// Which steps are written, and whether any are now.
    pub steps: &'a Range<u64>,
    pub is_recording: bool,
}

/// An event whose arguments may still come.
#[derive(Debug)]
struct Pending {
    kind: Kind,
    time_ns: i64,
    class: Class,
    name: u32,
    domain: u32,
    category: u32,
    payload: u64,
    args: Vec<Annotation>,
}

/// A range that is open at the end of what was read.
#[derive(Clone, Copy, Debug)]
struct Open {
    name: u32,
    class: Class,
    time_ns: i64,
}

/// Encodes one thread.
#[derive(Debug)]
pub(super) struct ThreadEncoder {
    sequence: u64,
    uuid: u64,
    instance: ThreadInstance,
    name: String,
    is_started: bool,
    names: FxHashMap<u32, u64>,
    keys: FxHashMap<Key, u64>,
    categories: u16,
    /// The latest time of any record.
    last_ns: i64,
    /// Where the clock of the sequence is in the file.
    clock_ns: i64,
    open: Vec<Open>,
    pending: Option<Pending>,
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
        ThreadEncoder {
            sequence,
            uuid: track_uuid(&[u64::from(pid), start_time, instance.serial]),
            instance,
            name: name.to_owned(),
            is_started: false,
            names: FxHashMap::default(),
            keys: FxHashMap::default(),
            categories: 0,
            last_ns: 0,
            clock_ns: 0,
            open: Vec::new(),
            pending: None,
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
        self.open.len()
    }

    /// Makes the packets that follow readable without those before: names are written anew, and ranges that are open
    /// begin again at their own time. For recordings that keep only the last seconds.
    pub fn restart(&mut self, shared: &mut Shared<'_>, out: &mut Writer) {
        self.flush(shared, out);
        self.is_started = false;
        let open = std::mem::take(&mut self.open);
        let begun = open.first().map(|range| range.time_ns).into_iter().chain(self.step.map(|(_, time_ns)| time_ns));
        let Some(first_ns) = begun.min() else { return };
        self.start_batch(shared, out, first_ns);
        if let Some((step, time_ns)) = self.step {
            self.begin_step(shared, out, step, time_ns);
            // The clock of the sequence only counts forward, and ranges may have begun before the step.
            self.start_batch(shared, out, first_ns);
        }
        for range in &open {
            let pending = Pending {
                kind: Kind::Push,
                time_ns: range.time_ns,
                class: range.class,
                name: range.name,
                domain: 0,
                category: 0,
                payload: 0,
                args: Vec::new(),
            };
            self.event(shared, out, &pending, SLICE_BEGIN, None);
        }
        self.open = open;
    }

    /// Encodes records, each followed by its extra slots.
    pub fn encode(&mut self, shared: &mut Shared<'_>, out: &mut Writer, slots: &[Record]) {
        let Some(first) = slots.first() else { return };
        let first_ns = self.ascending(shared.clock.unix_ns(first.ticks));
        self.start_batch(shared, out, first_ns.min(self.pending.as_ref().map_or(i64::MAX, |pending| pending.time_ns)));
        let mut rest = slots;
        while let Some((record, after)) = rest.split_first() {
            let extra = after.get(..record.extra as usize).unwrap_or(after);
            rest = after.get(record.extra as usize..).unwrap_or_default();
            self.record(shared, out, record, extra);
        }
        // The arguments of a record are published with it, so they are in the same batch. Nothing is held back beyond
        // it: what is read must be in the file when the rings' positions are.
        self.flush(shared, out);
    }

    /// Writes what was held back for arguments.
    pub fn flush(&mut self, shared: &mut Shared<'_>, out: &mut Writer) {
        if let Some(pending) = self.pending.take() {
            self.write(shared, out, pending);
        }
    }

    /// Ends the step that is open.
    pub fn finish(&mut self, shared: &mut Shared<'_>, out: &mut Writer) {
        self.flush(shared, out);
        self.end_step(shared, out, self.last_ns);
    }

    fn ascending(&self, time_ns: i64) -> i64 {
        // Counters of cores agree to some ticks only; a thread that moves may see a step back.
        time_ns.max(self.last_ns)
    }

    fn record(&mut self, shared: &mut Shared<'_>, out: &mut Writer, record: &Record, extra: &[Record]) {
        let Some(kind) = Kind::from_number(record.kind) else {
            self.counts.unknown += 1;
            return;
        };
        match kind {
            Kind::Attr => {
                if let Some(value) = attr_value(record)
                    && let Some(pending) = &mut self.pending
                {
                    pending.args.push(Annotation { key: Key::Id(record.name), value });
                }
                return;
            }
            Kind::Blob => {
                self.blob(shared, record, extra);
                return;
            }
            Kind::Info => {
                let value = String::from_utf8_lossy(extra_bytes(extra, record.payload)).into_owned();
                if let Some(key) = shared.strings.get(record.name) {
                    shared.facts.push((key, value));
                }
                return;
            }
            _ => {}
        }
        // Any other record ends the arguments of the one before.
        self.flush(shared, out);
        let time_ns = self.ascending(shared.clock.unix_ns(record.ticks));
        self.last_ns = time_ns;
        match kind {
            Kind::ThreadName => {
                if let Some(name) = shared.strings.get(record.name) {
                    self.name = name;
                    self.describe(shared, out);
                }
            }
            Kind::Step => {
                self.end_step(shared, out, time_ns);
                let step = record.payload as i64;
                if step >= 0 {
                    self.steps_done = Some(step as u64);
                    // The recorder switches a moment late; where the window is given by steps, the steps themselves say.
                    let is_on = shared.is_recording || shared.steps.start > 0;
                    if is_on && shared.steps.contains(&(step as u64)) {
                        self.step = Some((step, time_ns));
                        self.begin_step(shared, out, step, time_ns);
                    }
                }
            }
            Kind::End => {
                if let Some((domain, lane)) = shared.lanes.end(record.payload, time_ns) {
                    let uuid = lane_uuid(shared.pid, domain, lane);
                    self.packet(out, time_ns, |event| {
                        event.uint(track_event::TYPE, SLICE_END);
                        event.uint(track_event::TRACK_UUID, uuid);
                    });
                }
            }
            _ => {
                let mut args = Vec::new();
                match kind {
                    Kind::CommPush => comm_args(extra, &mut args),
                    Kind::CommDone => args.push(Annotation::fixed("request", Value::Unsigned(record.payload))),
                    _ => {}
                }
                self.pending = Some(Pending {
                    kind,
                    time_ns,
                    class: Class::from_number(record.class),
                    name: record.name,
                    domain: record.domain,
                    category: record.category,
                    payload: record.payload,
                    args,
                });
            }
        }
    }

    fn blob(&mut self, shared: &Shared<'_>, record: &Record, extra: &[Record]) {
        let Some(pending) = &mut self.pending else { return };
        let bytes = extra_bytes(extra, record.payload);
        let key = shared.strings.get(record.name).unwrap_or_default();
        if key == "json" {
            match serde_json::from_slice::<serde_json::Value>(bytes) {
                Ok(serde_json::Value::Object(entries)) => {
                    for (name, value) in &entries {
                        pending.args.push(Annotation { key: Key::Text(name.clone()), value: Value::of_json(value) });
                    }
                }
                _ => self.counts.unknown += 1,
            }
            return;
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        pending.args.push(Annotation { key: Key::Text(key), value: Value::Text(text) });
    }

    fn begin_step(&mut self, shared: &mut Shared<'_>, out: &mut Writer, step: i64, time_ns: i64) {
        let uuid = self.track(shared, out, "Steps", 1);
        // The name that the analysis knows steps by.
        let name = format!("ProfilerStep#{step}");
        self.counts.events += 1;
        self.packet(out, time_ns, |event| {
            event.uint(track_event::TYPE, SLICE_BEGIN);
            event.uint(track_event::TRACK_UUID, uuid);
            event.string(track_event::NAME, &name);
            event.string(track_event::CATEGORIES, "user_annotation");
        });
    }

    fn end_step(&mut self, shared: &mut Shared<'_>, out: &mut Writer, time_ns: i64) {
        let step = self.step.take();
        let is_known = step.is_some();
        // In a file that is taken up again the open step was begun by the recorder before.
        let was_known = shared.keeps_ends
            && !std::mem::replace(&mut self.has_ended_step, true)
            && shared.declared.contains_key(&track_uuid(&[self.uuid, 1]));
        if is_known || was_known {
            if let Some((_, begin_ns)) = step {
                self.step_durations_ns.push(time_ns.saturating_sub(begin_ns));
            }
            let uuid = self.track(shared, out, "Steps", 1);
            self.packet(out, time_ns, |event| {
                event.uint(track_event::TYPE, SLICE_END);
                event.uint(track_event::TRACK_UUID, uuid);
            });
        }
    }

    fn write(&mut self, shared: &mut Shared<'_>, out: &mut Writer, pending: Pending) {
        match pending.kind {
            Kind::Push | Kind::CommPush => {
                self.open.push(Open { name: pending.name, class: pending.class, time_ns: pending.time_ns });
                self.event(shared, out, &pending, SLICE_BEGIN, None);
            }
            // An end waits for its arguments too: what a call received is known when it returns.
            Kind::Pop => {
                if self.open.pop().is_none() && !shared.keeps_ends {
                    self.counts.ends_without_begin += 1;
                } else {
                    self.end(shared, out, &pending);
                }
            }
            Kind::Mark | Kind::CommDone => self.event(shared, out, &pending, INSTANT, None),
            Kind::Start => {
                let begun = shared.lanes.begin(pending.domain, pending.payload, pending.time_ns);
                let uuid = lane_uuid(shared.pid, pending.domain, begun.lane);
                if begun.is_new {
                    let domain = shared.strings.get(pending.domain).unwrap_or_else(|| "Ranges".to_owned());
                    self.declare(shared, out, uuid, process_uuid(shared.pid), &domain, None);
                }
                self.event(shared, out, &pending, SLICE_BEGIN, Some(uuid));
                if let Some(end_ns) = begun.end_ns {
                    // Later than what follows on this sequence, so on a clock that does not count from packet to packet.
                    self.absolute_packet(out, end_ns, |event| {
                        event.uint(track_event::TYPE, SLICE_END);
                        event.uint(track_event::TRACK_UUID, uuid);
                    });
                }
            }
            Kind::Counter => {
                let name = shared.strings.get(pending.name).unwrap_or_default();
                let uuid = track_uuid(&[u64::from(shared.pid), 3, u64::from(pending.name)]);
                self.declare(shared, out, uuid, process_uuid(shared.pid), &name, Some(()));
                self.counts.events += 1;
                self.packet(out, pending.time_ns, |event| {
                    event.uint(track_event::TYPE, COUNTER);
                    event.uint(track_event::TRACK_UUID, uuid);
                    event.double(track_event::DOUBLE_COUNTER_VALUE, f64::from_bits(pending.payload));
                });
            }
            _ => self.counts.unknown += 1,
        }
    }

    /// A begin or an instant with its name, category and arguments.
    fn event(&mut self, shared: &mut Shared<'_>, out: &mut Writer, pending: &Pending, kind: u64, track: Option<u64>) {
        self.counts.events += 1;
        let text_of = |id: u32| shared.strings.get(id).unwrap_or_default();
        let (name_iid, name_is_new) = match self.names.get(&pending.name) {
            Some(&iid) => (iid, false),
            None => {
                let iid = self.names.len() as u64 + 1;
                self.names.insert(pending.name, iid);
                (iid, true)
            }
        };
        let class = pending.class as usize;
        let category_is_new = self.categories & 1 << class == 0;
        self.categories |= 1 << class;
        // Domain and category say where a range comes from; for operators the domain is always the framework.
        let mut args: Vec<Annotation> = Vec::new();
        if pending.domain != 0 && pending.class == Class::Annotation && track.is_none() {
            args.push(Annotation::fixed("domain", Value::Id(pending.domain)));
        }
        if pending.category != 0 {
            args.push(Annotation::fixed("category", Value::Id(pending.category)));
        }
        let all = args.iter().chain(&pending.args);
        let (keys, new_keys) = self.key_ids(all.clone(), &text_of);
        let delta = self.delta(pending.time_ns);
        out.message(trace::PACKET, |out| {
            out.uint(packet::TIMESTAMP, delta);
            out.uint(packet::SEQUENCE_ID, self.sequence);
            out.uint(packet::SEQUENCE_FLAGS, NEEDS_STATE);
            if name_is_new || category_is_new || !new_keys.is_empty() {
                out.message(packet::INTERNED_DATA, |out| {
                    let mut entry = |list: u32, iid: u64, text: &str| {
                        out.message(list, |out| {
                            out.uint(interned::IID, iid);
                            out.string(interned::TEXT, text);
                        });
                    };
                    if name_is_new {
                        entry(interned::EVENT_NAMES, name_iid, &text_of(pending.name));
                    }
                    if category_is_new {
                        let category = CATEGORIES.get(class).copied().unwrap_or("user_annotation");
                        entry(interned::EVENT_CATEGORIES, class as u64 + 1, category);
                    }
                    for (iid, name) in &new_keys {
                        entry(interned::DEBUG_ANNOTATION_NAMES, *iid, name);
                    }
                });
            }
            out.message(packet::TRACK_EVENT, |event| {
                event.uint(track_event::TYPE, kind);
                event.uint(track_event::NAME_IID, name_iid);
                event.uint(track_event::CATEGORY_IIDS, class as u64 + 1);
                if let Some(uuid) = track {
                    event.uint(track_event::TRACK_UUID, uuid);
                }
                write_args(all, &keys, event, &text_of);
            });
        });
    }

    /// An end with its arguments.
    fn end(&mut self, shared: &Shared<'_>, out: &mut Writer, pending: &Pending) {
        if pending.args.is_empty() {
            self.packet(out, pending.time_ns, |event| event.uint(track_event::TYPE, SLICE_END));
            return;
        }
        let text_of = |id: u32| shared.strings.get(id).unwrap_or_default();
        let (keys, new_keys) = self.key_ids(pending.args.iter(), &text_of);
        let delta = self.delta(pending.time_ns);
        out.message(trace::PACKET, |out| {
            out.uint(packet::TIMESTAMP, delta);
            out.uint(packet::SEQUENCE_ID, self.sequence);
            out.uint(packet::SEQUENCE_FLAGS, NEEDS_STATE);
            if !new_keys.is_empty() {
                out.message(packet::INTERNED_DATA, |out| {
                    for (iid, name) in &new_keys {
                        out.message(interned::DEBUG_ANNOTATION_NAMES, |out| {
                            out.uint(interned::IID, *iid);
                            out.string(interned::TEXT, name);
                        });
                    }
                });
            }
            out.message(packet::TRACK_EVENT, |event| {
                event.uint(track_event::TYPE, SLICE_END);
                write_args(pending.args.iter(), &keys, event, &text_of);
            });
        });
    }

    /// Numbers of the names of arguments, and those that are new with their texts.
    fn key_ids<'a>(
        &mut self,
        args: impl Iterator<Item = &'a Annotation>,
        text_of: &dyn Fn(u32) -> String,
    ) -> (Vec<u64>, Vec<(u64, String)>) {
        let mut new = Vec::new();
        let ids = args
            .map(|arg| match self.keys.get(&arg.key) {
                Some(&iid) => iid,
                None => {
                    let iid = self.keys.len() as u64 + 1;
                    self.keys.insert(arg.key.clone(), iid);
                    let text = match &arg.key {
                        Key::Fixed(name) => (*name).to_owned(),
                        Key::Id(id) => text_of(*id),
                        Key::Text(name) => name.clone(),
                    };
                    new.push((iid, text));
                    iid
                }
            })
            .collect();
        (ids, new)
    }

    fn delta(&mut self, time_ns: i64) -> u64 {
        let delta = time_ns.saturating_sub(self.clock_ns).max(0);
        self.clock_ns += delta;
        delta as u64
    }

    fn packet(&mut self, out: &mut Writer, time_ns: i64, write: impl FnOnce(&mut Writer)) {
        let delta = self.delta(time_ns);
        out.message(trace::PACKET, |out| {
            out.uint(packet::TIMESTAMP, delta);
            out.uint(packet::SEQUENCE_ID, self.sequence);
            out.uint(packet::SEQUENCE_FLAGS, NEEDS_STATE);
            out.message(packet::TRACK_EVENT, write);
        });
    }

    fn absolute_packet(&mut self, out: &mut Writer, time_ns: i64, write: impl FnOnce(&mut Writer)) {
        out.message(trace::PACKET, |out| {
            out.uint(packet::TIMESTAMP, time_ns.max(0) as u64);
            out.uint(packet::CLOCK_ID, REALTIME_CLOCK);
            out.uint(packet::SEQUENCE_ID, self.sequence);
            out.uint(packet::SEQUENCE_FLAGS, NEEDS_STATE);
            out.message(packet::TRACK_EVENT, write);
        });
    }

    /// Where the clock of the sequence is; for the first batch also what its packets have in common.
    fn start_batch(&mut self, shared: &mut Shared<'_>, out: &mut Writer, first_ns: i64) {
        if !self.is_started {
            self.names.clear();
            self.keys.clear();
            self.categories = 0;
            out.message(trace::PACKET, |out| {
                out.uint(packet::SEQUENCE_ID, self.sequence);
                out.uint(packet::SEQUENCE_FLAGS, STATE_CLEARED);
                out.message(packet::DEFAULTS, |out| {
                    out.uint(58, INCREMENTAL_CLOCK);
                    out.message(11, |out| out.uint(track_event::TRACK_UUID, self.uuid));
                });
            });
            self.is_started = true;
            // A file that is taken up again knows the thread, perhaps by a better name than the kernel's.
            if shared.declared.insert(self.uuid, ()).is_none() {
                self.describe(shared, out);
            }
        }
        self.clock_ns = first_ns;
        out.message(trace::PACKET, |out| {
            out.uint(packet::SEQUENCE_ID, self.sequence);
            out.message(packet::CLOCK_SNAPSHOT, |out| {
                out.message(1, |out| {
                    out.uint(1, REALTIME_CLOCK);
                    out.uint(2, first_ns.max(0) as u64);
                });
                out.message(1, |out| {
                    out.uint(1, INCREMENTAL_CLOCK);
                    out.uint(2, first_ns.max(0) as u64);
                    out.bool(3, true);
                });
                out.uint(2, REALTIME_CLOCK);
            });
        });
    }

    fn describe(&self, shared: &Shared<'_>, out: &mut Writer) {
        out.message(trace::PACKET, |out| {
            out.uint(packet::SEQUENCE_ID, self.sequence);
            out.message(packet::TRACK_DESCRIPTOR, |out| {
                out.uint(1, self.uuid);
                out.message(4, |out| {
                    out.uint(1, u64::from(shared.pid));
                    out.uint(2, u64::from(self.instance.tid));
                    out.string(5, &self.name);
                });
            });
        });
    }

    /// A track below this thread's.
    fn track(&self, shared: &mut Shared<'_>, out: &mut Writer, name: &str, number: u64) -> u64 {
        let uuid = track_uuid(&[self.uuid, number]);
        self.declare(shared, out, uuid, self.uuid, name, None);
        uuid
    }

    fn declare(
        &self,
        shared: &mut Shared<'_>,
        out: &mut Writer,
        uuid: u64,
        parent: u64,
        name: &str,
        counter: Option<()>,
    ) {
        if shared.declared.insert(uuid, ()).is_some() {
            return;
        }
        out.message(trace::PACKET, |out| {
            out.uint(packet::SEQUENCE_ID, self.sequence);
            out.message(packet::TRACK_DESCRIPTOR, |out| {
                out.uint(1, uuid);
                out.uint(5, parent);
                out.string(2, name);
                if counter.is_some() {
                    out.message(8, |_| {});
                }
            });
        });
    }
}

fn write_args<'a>(
    args: impl Iterator<Item = &'a Annotation>,
    keys: &[u64],
    event: &mut Writer,
    text_of: &dyn Fn(u32) -> String,
) {
    for (arg, &iid) in args.zip(keys) {
        event.message(track_event::DEBUG_ANNOTATIONS, |out| {
            out.uint(annotation::NAME_IID, iid);
            arg.value.write(out, text_of);
        });
    }
}

/// Track of a process.
pub(super) fn process_uuid(pid: u32) -> u64 {
    track_uuid(&[u64::from(pid), 1])
}

fn lane_uuid(pid: u32, domain: u32, lane: usize) -> u64 {
    track_uuid(&[u64::from(pid), 2, u64::from(domain), lane as u64])
}

fn attr_value(record: &Record) -> Option<Value> {
    Some(match AttrType::from_number(record.class)? {
        AttrType::Unsigned => Value::Unsigned(record.payload),
        AttrType::Signed => Value::Signed(record.payload as i64),
        AttrType::Float => Value::Float(f64::from_bits(record.payload)),
        AttrType::String => Value::Id(record.payload as u32),
        AttrType::Color => Value::Text(format!("#{:06x}", record.payload & 0xff_ffff)),
    })
}

/// What is known of a communication call, under the names that Kineto gives the same facts where it has them.
fn comm_args(extra: &[Record], args: &mut Vec<Annotation>) {
    let Some(comm) = extra_comm(extra) else { return };
    let mut add = |name, value| args.push(Annotation::fixed(name, value));
    add("bytes", Value::Unsigned(comm.bytes));
    if comm.communicator != 0 {
        add("communicator", Value::Unsigned(comm.communicator));
        add("members", Value::Text(format!("{:08x}", comm.members)));
        add("Rank", Value::Signed(i64::from(comm.rank)));
        add("Group size", Value::Signed(i64::from(comm.size)));
    }
    if comm.sequence != u64::MAX {
        add("Seq", Value::Unsigned(comm.sequence));
    }
    if comm.count != 0 {
        add("In msg nelems", Value::Unsigned(comm.count));
    }
    if comm.dtype != 0 {
        add("dtype", Value::Id(comm.dtype));
    }
    if comm.peer != -1 {
        add(if comm.sequence == u64::MAX { "peer" } else { "root" }, Value::Signed(i64::from(comm.peer)));
    }
    if comm.tag != -1 {
        add("tag", Value::Signed(i64::from(comm.tag)));
    }
    if comm.request != 0 {
        add("request", Value::Unsigned(comm.request));
    }
}
