//! What devices did, and the calls that made them: told after the fact, by a thread of its own, in any order.
//!
//! - Kernels, copies, fills and waits become work of GPU queues (`GpuRenderStageEvent`), one packet each, on a sequence
//!   of their own; `stage.rs` writes them.
//! - Calls of the runtime and driver become slices on the threads that made them, joined with their work by the argument
//!   `correlation`; `calls.rs` writes them. They have Perfetto tracks of their own that describe the same thread, as they
//!   come later than what the thread itself records: readers put both in the order of time.
//! - Memory becomes counters.
//! - A wait for an event is told with the call that recorded the event, which `Recordings` finds.
//!
//! Within a batch all is put in the order of time. What needs facts that have not come yet is held back, and said in the
//! state that recovery reads.

mod calls;
mod names;
mod stage;

use std::collections::BTreeMap;

use gapless_ring::device::{DeviceKind, Head, Launch, Moved};
use gapless_ring::layout::{RECORD_MARK, Record};
use gapless_ring::{Kind, ThreadInstance};
use perfetto_proto::field::{packet, trace};
use perfetto_proto::wire::Writer;
use rustc_hash::FxHashMap;

use super::process::{HEADER_SEQUENCE, Strings};
use super::state;
use crate::clock_map::ClockMap;
use calls::{Call, Calls};
use stage::{Stages, Work};

/// What was written of devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct DeviceCounts {
    /// Kernels, copies, fills and waits.
    pub work: u64,
    /// Calls of the runtime and driver, and overheads.
    pub calls: u64,
    /// Values of memory counters.
    pub values: u64,
    /// Records that the device library dropped before they came to us.
    pub dropped: u64,
    /// Records without a time, which have no place on a timeline.
    pub without_time: u64,
    /// Work that had not ended when the process did.
    pub unfinished: u64,
    /// Records that are damaged or of a newer kind.
    pub unknown: u64,
}

impl DeviceCounts {
    /// Events and values.
    pub fn events(&self) -> u64 {
        self.work + self.calls + self.values
    }
}

/// What the encoding of devices needs from its process.
pub(super) struct Surroundings<'a> {
    pub strings: &'a dyn Strings,
    pub clock: &'a ClockMap,
    pub pid: u32,
    pub start_time: u64,
    /// Gives the next free sequence.
    pub next_sequence: &'a mut u64,
    /// Tracks of the process that are declared already, by uuid.
    pub declared: &'a mut FxHashMap<u64, ()>,
}

impl Surroundings<'_> {
    fn take_sequence(&mut self) -> u64 {
        *self.next_sequence += 1;
        *self.next_sequence - 1
    }
}

/// A wait whose recording is not known yet.
#[derive(Clone, Copy, Debug)]
struct Held {
    instance: ThreadInstance,
    record: Record,
    head: Head,
}

/// How long a wait is held back for the recording that it waits for, in ns.
const HOLD_NS: i64 = 1_000_000_000;
/// CUPTI's types of waits.
const EVENT_SYNC: u32 = 1;
const STREAM_WAIT_EVENT: u32 = 2;
/// CUPTI's kind of memory on the device.
const MEMORY_ALLOCATED: u32 = 1;
const MEMORY_RELEASED: u32 = 2;

/// Encodes what devices did for one process.
#[derive(Debug, Default)]
pub(super) struct DeviceEncoder {
    stages: Stages,
    calls: Calls,
    recordings: Recordings,
    /// Devices of contexts.
    devices: FxHashMap<u32, u32>,
    held: Vec<Held>,
    /// Ids that somebody pushed, by correlation id of the call.
    externals: FxHashMap<u32, u64>,
    /// Bytes in use by device and kind of memory.
    memory: BTreeMap<(u32, u32), i64>,
    /// Allocations whose bytes are known, by address.
    allocations: FxHashMap<u64, u64>,
    /// Properties of devices, by number.
    properties: BTreeMap<u32, Vec<(String, String)>>,
    counts: DeviceCounts,
}

/// Most entries of the tables that grow with a job: what is older than so many calls is not asked for any more.
const MOST_ENTRIES: usize = 1 << 18;

/// Where events were recorded.
#[derive(Debug, Default)]
struct Recordings {
    /// Correlation id and stream by event and number of the recording, where CUPTI numbers them.
    numbered: FxHashMap<(u32, u64), (u32, u32)>,
    /// By context and event: all recordings as they came, correlation id and stream; the newest few.
    plain: FxHashMap<(u32, u32), Vec<(u32, u32)>>,
}

impl Recordings {
    fn add(&mut self, event: u32, head: &Head) {
        if self.numbered.len() + self.plain.len() > MOST_ENTRIES {
            self.numbered.clear();
            self.plain.clear();
        }
        if head.id != 0 {
            self.numbered.insert((event, head.id), (head.correlation, head.stream));
        } else {
            let all = self.plain.entry((head.context, event)).or_default();
            if all.len() >= 64 {
                all.drain(..32);
            }
            all.push((head.correlation, head.stream));
        }
    }

    /// The recording that a wait is for: correlation id and stream.
    fn find(&self, wait: &Head) -> Option<(u32, u32)> {
        let event = wait.device;
        if wait.id != 0 {
            return self.numbered.get(&(event, wait.id)).copied();
        }
        let all = self.plain.get(&(wait.context, event))?;
        // The newest that is older than the wait; ids count up and wrap.
        let age = |correlation: u32| wait.correlation.wrapping_sub(correlation);
        all.iter().filter(|(id, _)| age(*id) < u32::MAX / 2).min_by_key(|(id, _)| age(*id)).copied()
    }
}

/// What is gathered of one batch, to be written in the order of time.
#[derive(Debug, Default)]
struct Batch {
    work: Vec<Work>,
    calls: Vec<Call>,
    values: Vec<stage::Value>,
    dropped: Vec<(i64, u64)>,
}

impl DeviceEncoder {
    /// Encodes device records of a thread of the image, each followed by its extra slots.
    pub fn encode(
        &mut self,
        around: &mut Surroundings<'_>,
        out: &mut Writer,
        instance: ThreadInstance,
        slots: &[Record],
    ) {
        let mut batch = Batch::default();
        let mut rest = slots;
        let mut newest_ns = i64::MIN;
        while let Some((record, after)) = rest.split_first() {
            let extra = after.get(..record.extra as usize).unwrap_or(after);
            rest = after.get(record.extra as usize..).unwrap_or_default();
            newest_ns = newest_ns.max(around.clock.unix_ns(record.ticks));
            self.record(around, &mut batch, instance, record, extra);
        }
        self.settle_held(around, &mut batch, newest_ns);
        self.write(around, out, batch);
    }

    fn record(
        &mut self,
        around: &Surroundings<'_>,
        batch: &mut Batch,
        instance: ThreadInstance,
        record: &Record,
        extra: &[Record],
    ) {
        let Some(kind) = DeviceKind::from_number(record.class) else {
            self.counts.unknown += 1;
            return;
        };
        let told_ns = around.clock.unix_ns(record.ticks);
        match kind {
            DeviceKind::Dropped => {
                self.counts.dropped += record.payload;
                batch.dropped.push((told_ns, record.payload));
                return;
            }
            DeviceKind::External => {
                if self.externals.len() > MOST_ENTRIES {
                    self.externals.clear();
                }
                self.externals.insert(record.category, record.payload);
                return;
            }
            _ => {}
        }
        let Some(head) = Head::of(extra) else {
            self.counts.unknown += 1;
            return;
        };
        match kind {
            DeviceKind::Context => {
                self.devices.insert(head.context, head.device);
                return;
            }
            DeviceKind::Event => {
                self.recordings.add(record.domain, &head);
                return;
            }
            // Streams are named by their work.
            DeviceKind::Stream => return,
            _ => {}
        }
        if record.payload == 0 {
            self.counts.without_time += 1;
            return;
        }
        let start_ns = around.clock.unix_ns(record.payload);
        let is_finished = head.end != 0;
        let end_ns = if is_finished { around.clock.unix_ns(head.end).max(start_ns) } else { start_ns };
        let work = |what: stage::What| Work { start_ns, end_ns, is_finished, head, what };
        match kind {
            DeviceKind::Kernel => match Launch::of(extra) {
                Some(launch) => batch.work.push(work(stage::What::Kernel { name: record.name, launch })),
                None => self.counts.unknown += 1,
            },
            DeviceKind::Copy | DeviceKind::Fill => match Moved::of(extra) {
                Some(moved) if kind == DeviceKind::Copy => {
                    batch.work.push(work(stage::What::Copy { moved, copies: record.domain }));
                }
                Some(moved) => batch.work.push(work(stage::What::Fill { moved, value: record.domain })),
                None => self.counts.unknown += 1,
            },
            DeviceKind::Graph => batch.work.push(work(stage::What::Graph { graph: record.domain })),
            DeviceKind::Sync if matches!(record.domain, EVENT_SYNC | STREAM_WAIT_EVENT) => {
                // Recordings of this batch may stand behind their waits.
                self.held.push(Held { instance, record: *record, head });
            }
            DeviceKind::Sync => {
                batch.work.push(work(stage::What::Sync { of: record.domain, event: 0, recording: None }));
            }
            DeviceKind::Call => {
                let is_driver = record.domain == 1;
                let external = self.externals.remove(&head.correlation);
                let what = calls::What::Api { is_driver, name: record.name, returned: record.category, external };
                batch.calls.push(Call { start_ns, end_ns, thread: head.device, correlation: head.correlation, what });
            }
            DeviceKind::Overhead => {
                let thread = if head.device != 0 { head.device } else { around.pid };
                let what = calls::What::Overhead { of: record.domain };
                batch.calls.push(Call { start_ns, end_ns, thread, correlation: head.correlation, what });
            }
            DeviceKind::Jit => {
                let thread = if head.context != 0 { head.context } else { around.pid };
                let what = calls::What::Jit { operation: record.category };
                batch.calls.push(Call { start_ns, end_ns, thread, correlation: head.correlation, what });
            }
            DeviceKind::Memory => self.memory(batch, record, &head, start_ns),
            DeviceKind::Pool => batch.values.push(stage::Value {
                time_ns: start_ns,
                name: format!("GPU {} memory pools, in use", head.device),
                value: head.id as i64,
            }),
            DeviceKind::Dropped
            | DeviceKind::External
            | DeviceKind::Context
            | DeviceKind::Event
            | DeviceKind::Stream => {}
        }
    }

    fn memory(&mut self, batch: &mut Batch, record: &Record, head: &Head, time_ns: i64) {
        let (address, said) = (head.id, head.end);
        let bytes = match record.domain {
            MEMORY_ALLOCATED => {
                if self.allocations.len() < MOST_ENTRIES {
                    self.allocations.insert(address, said);
                }
                said as i64
            }
            MEMORY_RELEASED => {
                let known = self.allocations.remove(&address);
                -((if said != 0 { said } else { known.unwrap_or(0) }) as i64)
            }
            _ => {
                self.counts.unknown += 1;
                return;
            }
        };
        let sum = self.memory.entry((head.device, record.category)).or_default();
        *sum = sum.saturating_add(bytes);
        // What was allocated before recording began may be given back now.
        let value = (*sum).max(0);
        let name = format!("GPU {} {}", head.device, names::memory_counter(record.category));
        batch.values.push(stage::Value { time_ns, name, value });
    }

    /// Writes waits whose recording is known now, and those that were held back long enough.
    fn settle_held(&mut self, around: &Surroundings<'_>, batch: &mut Batch, newest_ns: i64) {
        let recordings = &self.recordings;
        self.held.retain(|held| {
            let recording = recordings.find(&held.head);
            let told_ns = around.clock.unix_ns(held.record.ticks);
            if recording.is_none() && newest_ns.saturating_sub(told_ns) < HOLD_NS {
                return true;
            }
            let start_ns = around.clock.unix_ns(held.record.payload);
            let is_finished = held.head.end != 0;
            let end_ns = if is_finished { around.clock.unix_ns(held.head.end).max(start_ns) } else { start_ns };
            let what = stage::What::Sync { of: held.record.domain, event: held.head.device, recording };
            batch.work.push(Work { start_ns, end_ns, is_finished, head: held.head, what });
            false
        });
    }

    fn write(&mut self, around: &mut Surroundings<'_>, out: &mut Writer, mut batch: Batch) {
        for work in &batch.work {
            // A wait has no device of its own, only a context.
            if !matches!(work.what, stage::What::Sync { .. }) {
                self.devices.entry(work.head.context).or_insert(work.head.device);
            }
            self.counts.unfinished += u64::from(!work.is_finished);
        }
        let first_device = self.devices.values().copied().min().unwrap_or(0);
        for work in &mut batch.work {
            if matches!(work.what, stage::What::Sync { .. }) {
                work.head.device = self.devices.get(&work.head.context).copied().unwrap_or(first_device);
            }
        }
        self.counts.work += batch.work.len() as u64;
        self.counts.calls += batch.calls.len() as u64;
        self.counts.values += batch.values.len() as u64;
        self.calls.write(around, out, batch.calls);
        self.stages.write(around, out, batch.work, batch.values, &batch.dropped);
    }

    /// Writes what was held back: nothing more will come.
    pub fn finish(&mut self, around: &mut Surroundings<'_>, out: &mut Writer) {
        if !self.held.is_empty() {
            let mut batch = Batch::default();
            self.settle_held(around, &mut batch, i64::MAX);
            self.write(around, out, batch);
        }
    }

    /// Makes the packets that follow readable without those before.
    pub fn restart(&mut self, opening: &mut Writer) {
        self.stages.forget();
        self.calls.forget();
        for (id, properties) in &self.properties {
            write_device(*id, properties, opening);
        }
    }

    /// Takes the properties of a device: lines of `key=value`.
    pub fn tell_device(&mut self, text: &str, out: &mut Writer) {
        let pairs: Vec<(String, String)> =
            text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let id = pairs.iter().find(|(key, _)| key == "id").and_then(|(_, id)| id.parse().ok());
        let Some(id) = id else {
            self.counts.unknown += 1;
            return;
        };
        if self.properties.insert(id, pairs.clone()).as_ref() != Some(&pairs) {
            write_device(id, &pairs, out);
        }
    }

    /// Writes what recovery needs beyond the packets.
    pub fn write_state(&self, out: &mut Writer) {
        for held in &self.held {
            let [head] = held.head.slots();
            let record = Record { extra: 1, kind: Kind::Device as u8, flags: RECORD_MARK, ..held.record };
            state::write_held(held.instance.serial, held.instance.tid, &[record, head], out);
        }
    }

    /// What was written.
    pub fn counts(&self) -> DeviceCounts {
        self.counts
    }
}

/// A device as Perfetto describes it, with what Perfetto has no field for as named facts.
fn write_device(id: u32, properties: &[(String, String)], out: &mut Writer) {
    out.message(trace::PACKET, |out| {
        out.uint(packet::SEQUENCE_ID, HEADER_SEQUENCE);
        out.message(packet::GPU_INFO, |out| {
            out.message(1, |out| {
                let get =
                    |key: &str| properties.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
                out.string(1, get("name").unwrap_or_default());
                out.string(2, get("vendor").unwrap_or("NVIDIA"));
                if let Some(architecture) = get("architecture") {
                    out.string(4, architecture);
                }
                let uuid: Vec<u8> = get("uuid")
                    .unwrap_or_default()
                    .as_bytes()
                    .chunks(2)
                    .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                    .collect();
                out.bytes(5, &uuid);
                let mut fact = |key: &str, value: &str| {
                    out.message(6, |out| {
                        out.string(1, key);
                        out.string(2, value);
                    });
                };
                fact("id", &id.to_string());
                let has_field = |key: &str| matches!(key, "id" | "name" | "uuid" | "vendor" | "architecture");
                for (key, value) in properties.iter().filter(|(key, _)| !has_field(key)) {
                    fact(key, value);
                }
            });
        });
    });
}
