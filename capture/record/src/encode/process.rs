//! One process: a header, then its threads.

use std::ops::Range;

use gapless_ring::ThreadInstance;
use gapless_ring::layout::{Kind, Record};
use perfetto_proto::field::{packet, trace, track_event};
use perfetto_proto::wire::Writer;
use rustc_hash::FxHashMap;

use super::device::{DeviceCounts, DeviceEncoder, Surroundings};
use super::event::Event;
use super::lanes::{End, Lanes};
use super::schema::Schemas;
use super::sequence::write_begin;
use super::state::{self, Resumed, STATE_FIELD};
use super::thread::{BlobKind, RANGES, Shared, ThreadCounts, ThreadEncoder, declare, lane_uuid, process_uuid};
use crate::clock_map::ClockMap;

/// Where the strings of a segment come from.
pub trait Strings {
    /// The string with this number.
    fn get(&self, id: u32) -> Option<String>;
}

impl Strings for gapless_ring::SegmentStrings {
    fn get(&self, id: u32) -> Option<String> {
        gapless_ring::SegmentStrings::get(self, id)
    }
}

/// What the header of a process's trace says.
#[derive(Clone, Debug, Default)]
pub struct ProcessHeader {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// What the process is called.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Further facts: text by key, `gapless.rank` and the like.
    pub attributes: Vec<(String, String)>,
    /// The three clocks at one moment, in ns: Unix time, monotonic, boot time.
    pub clocks_ns: [u64; 3],
}

/// Encodes one process.
#[derive(Debug)]
pub struct ProcessEncoder {
    pid: u32,
    start_time: u64,
    next_sequence: u64,
    threads: FxHashMap<ThreadInstance, ThreadEncoder>,
    /// In the order in which they were first seen.
    order: Vec<ThreadInstance>,
    lanes: Lanes,
    device: DeviceEncoder,
    /// Records that the ring of the thread that tells of devices dropped.
    device_lost: u64,
    declared: FxHashMap<u64, ()>,
    facts: Vec<(String, String)>,
    schemas: Schemas,
    blob_kinds: FxHashMap<u32, BlobKind>,
    /// Names given by other threads to threads that were not seen yet, by thread id.
    names: FxHashMap<u32, String>,
    renames: Vec<(u32, String)>,
    /// What was read before a recording broke off and is not in the file.
    resumed: Resumed,
    keeps_ends: bool,
    /// Which steps are written.
    steps: Range<u64>,
    is_recording: bool,
}

/// Names that are kept for threads that were not seen yet.
const MOST_NAMES: usize = 16_384;

/// The sequence of headers.
pub(super) const HEADER_SEQUENCE: u64 = 1;

impl ProcessEncoder {
    /// An encoder whose threads take sequences from `first_sequence` on (at least 2): a file that is taken up again
    /// must not go on in sequences whose state is not known.
    pub fn new(pid: u32, start_time: u64, first_sequence: u64) -> ProcessEncoder {
        ProcessEncoder {
            pid,
            start_time,
            next_sequence: first_sequence.max(HEADER_SEQUENCE + 1),
            threads: FxHashMap::default(),
            order: Vec::new(),
            lanes: Lanes::default(),
            device: DeviceEncoder::default(),
            device_lost: 0,
            declared: FxHashMap::default(),
            facts: Vec::new(),
            schemas: Schemas::default(),
            blob_kinds: FxHashMap::default(),
            names: FxHashMap::default(),
            renames: Vec::new(),
            resumed: Resumed::default(),
            keeps_ends: false,
            steps: 0..u64::MAX,
            is_recording: true,
        }
    }

    /// Goes on with a file that a recorder that is gone began, and ends what it began.
    pub fn resume(&mut self, resumed: Resumed) {
        self.keeps_ends = true;
        self.declared.extend(resumed.tracks.iter().map(|uuid| (*uuid, ())));
        for (domain, key, text) in &resumed.schemas {
            self.schemas.tell(*domain, key, text);
        }
        self.resumed = resumed;
    }

    /// Writes only these steps: processes tell of all, also while nothing else is recorded.
    pub fn keep_steps(&mut self, steps: Range<u64>) {
        self.steps = steps;
    }

    /// Whether steps that begin from now on are written.
    pub fn set_recording(&mut self, on: bool) {
        self.is_recording = on;
    }

    /// Writes what begins the file.
    pub fn header(&self, header: &ProcessHeader, out: &mut Writer) {
        write_header(&header.attributes, header.clocks_ns, out);
        out.message(trace::PACKET, |out| {
            out.uint(packet::SEQUENCE_ID, HEADER_SEQUENCE);
            out.message(packet::TRACK_DESCRIPTOR, |out| {
                out.uint(1, process_uuid(self.pid));
                out.message(3, |out| {
                    out.uint(1, u64::from(self.pid));
                    for word in &header.command {
                        out.string(2, word);
                    }
                    out.string(6, &header.name);
                });
            });
        });
    }

    /// Writes records of a thread, each followed by its extra slots.
    pub fn encode(
        &mut self,
        instance: ThreadInstance,
        name: &str,
        slots: &[Record],
        lost: u64,
        clock: &ClockMap,
        strings: &dyn Strings,
        out: &mut Writer,
    ) {
        self.take_up(clock, strings, out);
        self.encode_slots(instance, name, slots, lost, clock, strings, out);
    }

    /// Encodes what a recorder that is gone had read and not written.
    fn take_up(&mut self, clock: &ClockMap, strings: &dyn Strings, out: &mut Writer) {
        for (id, domain, lane) in std::mem::take(&mut self.resumed.lanes) {
            let Ok(lane) = usize::try_from(lane) else { continue };
            let known = |lane: usize| self.declared.contains_key(&lane_uuid(self.pid, domain, lane));
            if known(lane) {
                let count = (0..).take_while(|&lane| known(lane)).count();
                self.lanes.leave_out(domain, count);
                self.lanes.keep(domain, lane, id, Event { domain, ..Event::default() });
            }
        }
        for (id, time_ns) in std::mem::take(&mut self.resumed.ended) {
            self.lanes.end(id, End { time_ns, args: Vec::new(), raw: Vec::new() });
        }
        for (serial, tid, bytes) in std::mem::take(&mut self.resumed.held) {
            let slots = state::slots_of(&bytes);
            self.encode_slots(ThreadInstance { serial, tid }, "", &slots, 0, clock, strings, out);
        }
    }

    fn encode_slots(
        &mut self,
        instance: ThreadInstance,
        name: &str,
        slots: &[Record],
        lost: u64,
        clock: &ClockMap,
        strings: &dyn Strings,
        out: &mut Writer,
    ) {
        // The thread of the image that tells of devices tells nothing else, but facts of the process.
        let is_of_device = |record: &Record| record.kind == Kind::Device as u8;
        let is_fact = |record: &Record| record.kind == Kind::Info as u8;
        if slots.first().is_some_and(|first| is_of_device(first) || is_fact(first)) {
            let (of_device, facts, rest) = split(slots, is_of_device, is_fact);
            if rest.is_empty() {
                self.device_slots(instance, &of_device, &facts, lost, clock, strings, out);
                return;
            }
        }
        let thread = match self.threads.entry(instance) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                self.order.push(instance);
                let next = self.next_sequence;
                self.next_sequence += 1;
                let given = self.names.remove(&instance.tid);
                let name = given.as_deref().unwrap_or(name);
                let thread = entry.insert(ThreadEncoder::new(next, self.pid, self.start_time, instance, name));
                let uuid = thread.uuid();
                if let Some((_, runs)) = self.resumed.open.iter().find(|(track, _)| *track == uuid) {
                    thread.restore(runs);
                }
                if let Some(&latest_ns) = self.resumed.latest.get(&uuid) {
                    thread.continue_after(latest_ns);
                }
                thread
            }
        };
        thread.counts.lost += lost;
        let mut shared = Shared {
            strings,
            clock,
            lanes: &mut self.lanes,
            declared: &mut self.declared,
            facts: &mut self.facts,
            schemas: &mut self.schemas,
            blob_kinds: &mut self.blob_kinds,
            renames: &mut self.renames,
            pid: self.pid,
            keeps_ends: self.keeps_ends,
            steps: &self.steps,
            is_recording: self.is_recording,
        };
        let told = shared.facts.len();
        thread.encode(&mut shared, out, slots);
        // Any thread may tell of devices, among whatever else it does.
        for (key, text) in self.facts.get(told..).unwrap_or_default().to_vec() {
            self.tell(&key, &text, out);
        }
        for (tid, name) in std::mem::take(&mut self.renames) {
            // An id that is used again means the thread that has it now.
            let named = self.order.iter().rev().find(|instance| instance.tid == tid);
            match named.and_then(|instance| self.threads.get_mut(instance)) {
                Some(thread) => thread.rename(name, self.pid, out),
                None if self.names.len() < MOST_NAMES => {
                    self.names.insert(tid, name);
                }
                None => {}
            }
        }
    }

    /// Writes what a thread of the image tells of devices, and facts of the process that come with it.
    fn device_slots(
        &mut self,
        instance: ThreadInstance,
        of_device: &[Record],
        facts: &[Record],
        lost: u64,
        clock: &ClockMap,
        strings: &dyn Strings,
        out: &mut Writer,
    ) {
        self.device_lost += lost;
        let mut rest = facts;
        while let Some((record, after)) = rest.split_first() {
            let extra = after.get(..record.extra as usize).unwrap_or(after);
            rest = after.get(record.extra as usize..).unwrap_or_default();
            self.fact(record, extra, strings, out);
        }
        if !of_device.is_empty() {
            self.with_device(clock, strings, |device, around| device.encode(around, out, instance, of_device));
        }
    }

    /// A fact of the process, from a thread that may have no track.
    fn fact(&mut self, record: &Record, extra: &[Record], strings: &dyn Strings, out: &mut Writer) {
        let Some(key) = strings.get(record.name) else { return };
        let value = gapless_ring::reader::extra_bytes(extra, record.payload);
        if Schemas::is_key(&key) {
            super::thread::tell_schema(&mut self.schemas, record.domain, &key, value, out);
            return;
        }
        let text = String::from_utf8_lossy(value).into_owned();
        self.tell(&key, &text, out);
        self.facts.push((key, text));
    }

    /// What a fact says of devices goes into the trace.
    fn tell(&mut self, key: &str, text: &str, out: &mut Writer) {
        if matches!(key, "cuda.device" | "hip.device") {
            self.device.tell_device(text, out);
        } else if key.starts_with("cuda.") || key.starts_with("hip.") {
            write_attributes(&[(format!("gapless.{key}"), text.to_owned())], out);
        }
    }

    fn with_device(
        &mut self,
        clock: &ClockMap,
        strings: &dyn Strings,
        act: impl FnOnce(&mut DeviceEncoder, &mut Surroundings<'_>),
    ) {
        let mut around = Surroundings {
            strings,
            clock,
            pid: self.pid,
            start_time: self.start_time,
            next_sequence: &mut self.next_sequence,
            declared: &mut self.declared,
        };
        act(&mut self.device, &mut around);
    }

    /// What was written of devices.
    pub fn device_counts(&self) -> DeviceCounts {
        self.device.counts()
    }

    /// Says how far the rings are read, for each ring its serial and position, and what is open or held back there. Each
    /// write ends with this: what a file holds behind the last one is a write that was not completed.
    pub fn positions(&mut self, positions: &[(u64, u64)], out: &mut Writer) {
        out.message(trace::PACKET, |out| {
            out.uint(packet::SEQUENCE_ID, HEADER_SEQUENCE);
            // No ring has the serial 0: it stands for itself where there is no ring any more.
            for &(serial, position) in [(0, 0)].iter().chain(positions) {
                out.message(STATE_FIELD, |out| {
                    out.uint(1, serial);
                    out.uint(2, position);
                });
            }
            for instance in &self.order {
                if let Some(thread) = self.threads.get_mut(instance) {
                    thread.write_state(out);
                }
            }
            state::write_lanes(&mut self.lanes, out);
            self.device.write_state(out);
        });
    }

    /// Writes a mark of the recorder's own on the track of the process.
    pub fn mark(&mut self, name: &str, time_ns: i64, out: &mut Writer) {
        out.message(trace::PACKET, |out| {
            out.uint(packet::TIMESTAMP, time_ns.max(0) as u64);
            // Unix time in Perfetto's numbering of clocks.
            out.uint(packet::CLOCK_ID, 1);
            out.uint(packet::SEQUENCE_ID, HEADER_SEQUENCE);
            out.message(packet::TRACK_EVENT, |event| {
                // An instant.
                event.uint(track_event::TYPE, 3);
                event.uint(track_event::TRACK_UUID, process_uuid(self.pid));
                event.string(track_event::NAME, name);
                event.string(track_event::CATEGORIES, "user_annotation");
            });
        });
    }

    /// Steps that the process has done: one less than the highest number that began, and one more when it ended.
    pub fn steps_done(&self) -> Option<u64> {
        self.threads.values().filter_map(ThreadEncoder::steps_done).max()
    }

    /// Durations of the steps that ended since the last call, in ns.
    pub fn take_step_durations(&mut self) -> Vec<i64> {
        self.threads.values_mut().flat_map(ThreadEncoder::take_step_durations).collect()
    }

    /// Writes what was held back for arguments that did not come.
    pub fn flush(&mut self, clock: &ClockMap, strings: &dyn Strings, out: &mut Writer) {
        self.take_up(clock, strings, out);
        self.each(clock, strings, |thread, shared| thread.flush(shared, out));
    }

    /// Ends what has no end of its own: the last step of each thread.
    pub fn finish(&mut self, clock: &ClockMap, strings: &dyn Strings, out: &mut Writer) {
        self.take_up(clock, strings, out);
        self.each(clock, strings, |thread, shared| thread.finish(shared, out));
        self.with_device(clock, strings, |device, around| device.finish(around, out));
    }

    /// Makes what follows readable without what came before. What is open then is in `opening` only: a file that begins
    /// here takes both, one that began before has the begins already.
    pub fn restart(&mut self, strings: &dyn Strings, opening: &mut Writer) {
        self.declared.clear();
        self.device.restart(opening);
        for instance in &self.order {
            if let Some(thread) = self.threads.get_mut(instance) {
                thread.restart();
                thread.write_opening(strings, self.pid, opening);
            }
        }
        for (_, taken) in self.lanes.open() {
            let uuid = lane_uuid(self.pid, taken.domain, taken.lane);
            let domain = strings.get(taken.domain).unwrap_or_else(|| RANGES.to_owned());
            declare(HEADER_SEQUENCE, opening, uuid, process_uuid(self.pid), &domain, false);
            let begin = &taken.begin;
            let name = strings.get(begin.name).unwrap_or_default();
            let (time_ns, class) = (begin.time_ns, begin.class);
            write_begin(opening, HEADER_SEQUENCE, strings, time_ns, uuid, &name, class, &begin.args);
        }
    }

    fn each(
        &mut self,
        clock: &ClockMap,
        strings: &dyn Strings,
        mut act: impl FnMut(&mut ThreadEncoder, &mut Shared<'_>),
    ) {
        for instance in &self.order {
            let Some(thread) = self.threads.get_mut(instance) else { continue };
            let mut shared = Shared {
                strings,
                clock,
                lanes: &mut self.lanes,
                declared: &mut self.declared,
                facts: &mut self.facts,
                schemas: &mut self.schemas,
                blob_kinds: &mut self.blob_kinds,
                renames: &mut self.renames,
                pid: self.pid,
                keeps_ends: self.keeps_ends,
                steps: &self.steps,
                is_recording: self.is_recording,
            };
            act(thread, &mut shared);
        }
    }

    /// What was written so far, all threads together.
    pub fn counts(&self) -> ThreadCounts {
        let mut sum = ThreadCounts { ends_without_begin: self.lanes.unmatched(), ..ThreadCounts::default() };
        sum.lost += self.device_lost;
        for thread in self.threads.values() {
            sum.events += thread.counts.events;
            sum.ends_without_begin += thread.counts.ends_without_begin;
            sum.interleaved += thread.counts.interleaved;
            sum.facts_without_event += thread.counts.facts_without_event;
            sum.undecoded += thread.counts.undecoded;
            sum.lost += thread.counts.lost;
            sum.unknown += thread.counts.unknown;
        }
        sum
    }

    /// Threads seen.
    pub fn thread_count(&self) -> usize {
        self.order.len()
    }

    /// Ranges that are open now, all threads together.
    pub fn open_ranges(&self) -> usize {
        self.threads.values().map(ThreadEncoder::depth).sum()
    }

    /// Facts that the process told, in order.
    pub fn facts(&self) -> &[(String, String)] {
        &self.facts
    }
}

/// Writes what begins each trace of a recording: the clocks (Unix, monotonic and boot time, in ns) and facts by name.
pub fn write_header(attributes: &[(String, String)], clocks_ns: [u64; 3], out: &mut Writer) {
    out.message(trace::PACKET, |out| {
        out.uint(packet::SEQUENCE_ID, HEADER_SEQUENCE);
        out.uint(packet::SEQUENCE_FLAGS, 1);
        out.message(packet::CLOCK_SNAPSHOT, |out| {
            // Perfetto's numbers: 1 Unix time, 3 monotonic, 6 boot time.
            for (clock, ns) in [1u64, 3, 6].into_iter().zip(clocks_ns) {
                out.message(1, |out| {
                    out.uint(1, clock);
                    out.uint(2, ns);
                });
            }
            out.uint(2, 1);
        });
    });
    write_attributes(attributes, out);
}

/// Slots of device records, of facts, and of all others, each with its extra slots.
fn split(
    slots: &[Record],
    is_of_device: impl Fn(&Record) -> bool,
    is_fact: impl Fn(&Record) -> bool,
) -> (Vec<Record>, Vec<Record>, Vec<Record>) {
    let mut parts = (Vec::with_capacity(slots.len()), Vec::new(), Vec::new());
    let mut rest = slots;
    while let Some(record) = rest.first() {
        let (own, after) = rest.split_at((1 + record.extra as usize).min(rest.len()));
        rest = after;
        let part = match (is_of_device(record), is_fact(record)) {
            (true, _) => &mut parts.0,
            (false, true) => &mut parts.1,
            (false, false) => &mut parts.2,
        };
        part.extend_from_slice(own);
    }
    parts
}

/// Writes facts of the recording by name.
fn write_attributes(attributes: &[(String, String)], out: &mut Writer) {
    out.message(trace::PACKET, |out| {
        out.uint(packet::SEQUENCE_ID, HEADER_SEQUENCE);
        out.message(packet::TRACE_ATTRIBUTES, |out| {
            for (key, value) in attributes {
                out.message(1, |out| {
                    out.string(1, key);
                    out.string(3, value);
                });
            }
        });
    });
}
