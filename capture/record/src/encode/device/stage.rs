//! Work of GPU queues, and memory counters, on a sequence of their own.

use std::collections::BTreeMap;

use gapless_ring::device::{Head, Launch, Moved};
use perfetto_proto::field::{interned, packet, trace, track_event};
use perfetto_proto::wire::Writer;
use rustc_hash::FxHashMap;

use super::{Surroundings, names};
use crate::encode::sequence::{COUNTER, INCREMENTAL_CLOCK, INSTANT, NEEDS_STATE, STATE_CLEARED, write_clock};
use crate::encode::thread::{process_uuid, track_uuid};

/// Fields of `InternedData` that only GPU work has.
const SPECIFICATIONS: u32 = 24;
const COMPUTE_KERNELS: u32 = 1000;
const COMPUTE_ARG_NAMES: u32 = 1001;
/// A specification's category: compute.
const COMPUTE: u64 = 2;
/// Stream ids that stand for none.
const NO_STREAM: u32 = u32::MAX;

/// What a piece of work is.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// A kernel; its name is a string's number.
    Kernel { name: u32, launch: Launch },
    /// A copy, or so many in one batch.
    Copy { moved: Moved, copies: u32 },
    /// A fill.
    Fill { moved: Moved, value: u32 },
    /// A graph, seen as a whole.
    Graph { graph: u32 },
    /// A wait, and where known the correlation id and stream of the recording that it waits for.
    Sync { of: u32, event: u32, recording: Option<(u32, u32)> },
}

/// A piece of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub start_ns: i64,
    pub end_ns: i64,
    /// Whether its end is known.
    pub is_finished: bool,
    pub head: Head,
    pub what: What,
}

/// A value of a counter.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub time_ns: i64,
    pub name: String,
    pub value: i64,
}

/// What all launches of a kernel with the same code and sizes have in common: said once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct KernelKey {
    name: u32,
    registers: u16,
    launch_type: u8,
    static_shared_bytes: u32,
    dynamic_shared_bytes: u32,
    local_bytes: u32,
    shared_executed_bytes: u32,
    cluster: [u32; 3],
    max_active_clusters: u32,
}

/// A queue of Perfetto: work of a stream that does not overlap, or its waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Specification {
    Stream { stream: u32, lane: u32 },
    Waits { stream: u32 },
    Kind(&'static str),
}

/// What is to be interned with the next packet.
#[derive(Debug)]
enum Fresh {
    Specification(u64, String),
    Kernel(u64, KernelKey, String),
    ArgName(u64, &'static str),
    Name(u64, String),
}

/// The sequence of all work of a process.
#[derive(Debug, Default)]
pub(super) struct Stages {
    id: Option<u64>,
    is_started: bool,
    clock_ns: i64,
    specifications: FxHashMap<Specification, u64>,
    kernels: FxHashMap<KernelKey, u64>,
    arg_names: FxHashMap<&'static str, u64>,
    names: FxHashMap<String, u64>,
    fresh: Vec<Fresh>,
    /// Numbers of pieces of work, which are not taken up by who resumes the recording: those begin higher.
    events: u64,
    /// Ends of the lanes of each device and stream.
    lanes: FxHashMap<(u32, u32), Vec<i64>>,
    /// Tracks of counters.
    counters: BTreeMap<String, u64>,
}

/// Something to be written at a time.
enum Item<'a> {
    Work(&'a Work),
    Value(&'a Value),
    Dropped(u64),
}

impl Stages {
    /// Makes what follows readable without what came before.
    pub fn forget(&mut self) {
        self.is_started = false;
        self.specifications.clear();
        self.kernels.clear();
        self.arg_names.clear();
        self.names.clear();
    }

    /// Writes a batch in the order of time.
    pub fn write(
        &mut self,
        around: &mut Surroundings<'_>,
        out: &mut Writer,
        work: Vec<Work>,
        values: Vec<Value>,
        dropped: &[(i64, u64)],
    ) {
        let mut items: Vec<(i64, Item<'_>)> = Vec::with_capacity(work.len() + values.len() + dropped.len());
        items.extend(work.iter().map(|work| (work.start_ns, Item::Work(work))));
        items.extend(values.iter().map(|value| (value.time_ns, Item::Value(value))));
        items.extend(dropped.iter().map(|&(time_ns, count)| (time_ns, Item::Dropped(count))));
        // Stable: what begins at one time stays in the order in which it came.
        items.sort_by_key(|item| item.0);
        let Some(&(first_ns, _)) = items.first() else { return };
        let id = self.start(around, out, first_ns);
        for (time_ns, item) in items {
            match item {
                Item::Work(work) => self.work(around, out, id, work),
                Item::Value(value) => self.value(around, out, id, value),
                Item::Dropped(count) => {
                    let text = format!("{count} records of the GPU were dropped by the device library");
                    self.packet(out, id, time_ns, |out| {
                        out.message(packet::TRACK_EVENT, |out| {
                            out.uint(track_event::TYPE, INSTANT);
                            out.uint(track_event::TRACK_UUID, process_uuid(around.pid));
                            out.string(track_event::NAME, &text);
                            out.string(track_event::CATEGORIES, "overhead");
                        });
                    });
                }
            }
        }
    }

    fn start(&mut self, around: &mut Surroundings<'_>, out: &mut Writer, first_ns: i64) -> u64 {
        let id = match self.id {
            Some(id) => id,
            None => {
                let id = around.take_sequence();
                // A resumed recording takes sequences that were not used: its numbers differ from those before.
                self.events = id << 32;
                self.id = Some(id);
                id
            }
        };
        if !self.is_started {
            self.is_started = true;
            out.message(trace::PACKET, |out| {
                out.uint(packet::SEQUENCE_ID, id);
                out.uint(packet::SEQUENCE_FLAGS, STATE_CLEARED);
                out.message(packet::DEFAULTS, |out| out.uint(packet::CLOCK_ID, INCREMENTAL_CLOCK));
            });
        }
        self.clock_ns = first_ns;
        write_clock(out, id, first_ns);
        id
    }

    fn packet(&mut self, out: &mut Writer, id: u64, time_ns: i64, fill: impl FnOnce(&mut Writer)) {
        let delta = time_ns.saturating_sub(self.clock_ns).max(0);
        self.clock_ns += delta;
        let open = out.open(trace::PACKET);
        out.uint(packet::TIMESTAMP, delta as u64);
        out.uint(packet::SEQUENCE_ID, id);
        out.uint(packet::SEQUENCE_FLAGS, NEEDS_STATE);
        if !self.fresh.is_empty() {
            let arg_names = &mut self.arg_names;
            out.message(packet::INTERNED_DATA, |out| {
                for fresh in self.fresh.drain(..) {
                    fresh.write(arg_names, out);
                }
            });
        }
        fill(out);
        out.close(open);
    }

    /// The lane of a stream in which a piece of work does not overlap others.
    fn lane(&mut self, work: &Work) -> u32 {
        let lanes = self.lanes.entry((work.head.device, work.head.stream)).or_default();
        let free = lanes.iter().position(|&end_ns| end_ns <= work.start_ns);
        let lane = match free {
            Some(lane) => lane,
            // Hundreds of kernels at once are no lanes any more.
            None if lanes.len() < 256 => {
                lanes.push(i64::MIN);
                lanes.len() - 1
            }
            None => 0,
        };
        if let Some(end_ns) = lanes.get_mut(lane) {
            *end_ns = (*end_ns).max(work.end_ns);
        }
        lane as u32
    }

    fn work(&mut self, around: &Surroundings<'_>, out: &mut Writer, id: u64, work: &Work) {
        let (kind, queue) = match work.what {
            What::Sync { .. } => ("cuda_sync", Specification::Waits { stream: work.head.stream }),
            What::Kernel { .. } | What::Graph { .. } => ("kernel", self.queue(work)),
            What::Copy { .. } => ("gpu_memcpy", self.queue(work)),
            What::Fill { .. } => ("gpu_memset", self.queue(work)),
        };
        let says_stream = !matches!(queue, Specification::Stream { lane: 0, .. });
        let queue = self.specification(queue);
        let stage = self.specification(Specification::Kind(kind));
        let (name, kernel) = match work.what {
            What::Kernel { name, launch } => (0, self.kernel(around, name, &launch)),
            What::Copy { moved, .. } => (self.name(&names::copy(moved.direction, moved.from, moved.to)), 0),
            What::Fill { moved, .. } => (self.name(&format!("Memset ({})", names::memory(moved.to))), 0),
            What::Graph { graph } => (self.name(&format!("CUDA graph {graph}")), 0),
            What::Sync { of, .. } => (self.name(names::sync(of)), 0),
        };
        let mut said: Vec<(&'static str, i64)> = Vec::with_capacity(12);
        args(work, says_stream, &mut said);
        let args: Vec<(u64, i64)> = said.into_iter().map(|(name, value)| (self.arg_name(name), value)).collect();
        self.events += 1;
        let event = self.events;
        let head = work.head;
        let dims = match work.what {
            What::Kernel { launch, .. } => Some((launch.grid, launch.block)),
            _ => None,
        };
        self.packet(out, id, work.start_ns, |out| {
            let open = out.open(packet::GPU_RENDER_STAGE_EVENT);
            out.uint(1, event);
            out.uint(2, work.end_ns.saturating_sub(work.start_ns).max(0) as u64);
            if head.device != 0 {
                out.uint(11, u64::from(head.device));
            }
            out.uint(13, queue);
            out.uint(14, stage);
            if kernel != 0 {
                out.uint(19, kernel);
            }
            if name != 0 {
                out.uint(20, name);
            }
            let launch = out.open(21);
            if let Some((grid, block)) = dims {
                for (field, sizes) in [(1, grid), (2, block)] {
                    out.message(field, |out| {
                        for (axis, size) in (1..).zip(sizes) {
                            out.uint(axis, u64::from(size));
                        }
                    });
                }
            }
            for &(name, value) in &args {
                out.message(3, |out| {
                    out.uint(1, name);
                    match u64::try_from(value) {
                        Ok(value) => out.uint(4, value),
                        Err(_) => out.int(3, value),
                    }
                });
            }
            out.close(launch);
            out.close(open);
        });
    }

    fn queue(&mut self, work: &Work) -> Specification {
        Specification::Stream { stream: work.head.stream, lane: self.lane(work) }
    }

    fn specification(&mut self, of: Specification) -> u64 {
        let next = self.specifications.len() as u64 + 1;
        let fresh = &mut self.fresh;
        *self.specifications.entry(of).or_insert_with(|| {
            let stream_text = |stream: u32| match stream {
                NO_STREAM => "all streams".to_owned(),
                stream => format!("stream {stream}"),
            };
            let text = match of {
                Specification::Stream { stream, lane: 0 } => stream_text(stream),
                Specification::Stream { stream, lane } => format!("stream {stream} ({})", lane + 1),
                Specification::Waits { stream } => format!("{}, waits", stream_text(stream)),
                Specification::Kind(kind) => kind.to_owned(),
            };
            fresh.push(Fresh::Specification(next, text));
            next
        })
    }

    fn kernel(&mut self, around: &Surroundings<'_>, name: u32, launch: &Launch) -> u64 {
        let key = KernelKey {
            name,
            registers: launch.registers,
            launch_type: launch.launch_type,
            static_shared_bytes: launch.static_shared_bytes,
            dynamic_shared_bytes: launch.dynamic_shared_bytes,
            local_bytes: launch.local_bytes,
            shared_executed_bytes: launch.shared_executed_bytes,
            cluster: launch.cluster,
            max_active_clusters: launch.max_active_clusters,
        };
        let next = self.kernels.len() as u64 + 1;
        let fresh = &mut self.fresh;
        *self.kernels.entry(key).or_insert_with(|| {
            let text = around.strings.get(name).unwrap_or_default();
            fresh.push(Fresh::Kernel(next, key, text));
            next
        })
    }

    fn name(&mut self, text: &str) -> u64 {
        if let Some(&known) = self.names.get(text) {
            return known;
        }
        let next = self.names.len() as u64 + 1;
        self.names.insert(text.to_owned(), next);
        self.fresh.push(Fresh::Name(next, text.to_owned()));
        next
    }

    fn arg_name(&mut self, name: &'static str) -> u64 {
        arg_name(&mut self.arg_names, name, |iid| self.fresh.push(Fresh::ArgName(iid, name)))
    }

    fn value(&mut self, around: &mut Surroundings<'_>, out: &mut Writer, id: u64, value: &Value) {
        let uuid = match self.counters.get(&value.name) {
            Some(&uuid) => uuid,
            None => {
                let hash = value.name.bytes().fold(0u64, |hash, byte| hash.wrapping_mul(131) + u64::from(byte));
                let uuid = track_uuid(&[u64::from(around.pid), around.start_time, 6, hash]);
                self.counters.insert(value.name.clone(), uuid);
                uuid
            }
        };
        if around.declared.insert(uuid, ()).is_none() {
            out.message(trace::PACKET, |out| {
                out.uint(packet::SEQUENCE_ID, id);
                out.message(packet::TRACK_DESCRIPTOR, |out| {
                    out.uint(1, uuid);
                    out.uint(5, process_uuid(around.pid));
                    out.string(2, &value.name);
                    // In bytes.
                    out.message(8, |out| out.uint(3, 3));
                });
            });
        }
        self.packet(out, id, value.time_ns, |out| {
            out.message(packet::TRACK_EVENT, |out| {
                out.uint(track_event::TYPE, COUNTER);
                out.uint(track_event::TRACK_UUID, uuid);
                out.int(track_event::COUNTER_VALUE, value.value);
            });
        });
    }
}

/// What is said of each piece of work by itself.
fn args(work: &Work, says_stream: bool, args: &mut Vec<(&'static str, i64)>) {
    let head = &work.head;
    let mut add = |name, value| args.push((name, value));
    let graph = match work.what {
        What::Kernel { launch, .. } => launch.graph,
        What::Copy { moved, .. } | What::Fill { moved, .. } => moved.graph,
        What::Graph { graph } => graph,
        What::Sync { .. } => 0,
    };
    if graph != 0 {
        add("graph id", i64::from(graph));
        if head.id != 0 {
            add("graph node id", head.id as i64);
        }
    }
    add("correlation", i64::from(head.correlation));
    if says_stream {
        add("stream", if head.stream == NO_STREAM { -1 } else { i64::from(head.stream) });
    }
    add("context", i64::from(head.context));
    if !work.is_finished {
        add("unfinished", 1);
    }
    match work.what {
        What::Kernel { launch, .. } => {
            for (name, value) in [
                ("priority", i64::from(launch.priority)),
                ("channel", i64::from(launch.channel)),
                ("source graph id", i64::from(launch.source_graph)),
                ("source graph node id", launch.source_node as i64),
                ("launched by the device", i64::from(launch.is_device_launched)),
            ] {
                if value != 0 {
                    add(name, value);
                }
            }
        }
        What::Copy { moved, copies } => {
            add("bytes", moved.bytes as i64);
            add("asynchronous", i64::from(moved.flags & 1));
            if moved.from_device != moved.to_device {
                add("from device", i64::from(moved.from_device));
                add("to device", i64::from(moved.to_device));
            }
            if copies > 1 {
                add("copies", i64::from(copies));
            }
            if moved.channel != 0 {
                add("channel", i64::from(moved.channel));
            }
        }
        What::Fill { moved, value } => {
            add("bytes", moved.bytes as i64);
            add("value", i64::from(value));
            add("asynchronous", i64::from(moved.flags & 1));
        }
        What::Sync { recording, of, event } => {
            if let Some((correlation, stream)) = recording {
                add("wait_on_stream", i64::from(stream));
                add("wait_on_cuda_event_record_corr_id", i64::from(correlation));
            }
            if matches!(of, 1 | 2) {
                add("wait_on_cuda_event_id", i64::from(event));
            }
        }
        What::Graph { .. } => {}
    }
}

fn arg_name(known: &mut FxHashMap<&'static str, u64>, name: &'static str, mut say: impl FnMut(u64)) -> u64 {
    let next = known.len() as u64 + 1;
    *known.entry(name).or_insert_with(|| {
        say(next);
        next
    })
}

impl Fresh {
    fn write(self, arg_names: &mut FxHashMap<&'static str, u64>, out: &mut Writer) {
        let text = |out: &mut Writer, list: u32, iid: u64, text: &str| {
            out.message(list, |out| {
                out.uint(interned::IID, iid);
                out.string(interned::TEXT, text);
            });
        };
        match self {
            Fresh::Specification(iid, name) => out.message(SPECIFICATIONS, |out| {
                out.uint(interned::IID, iid);
                out.string(2, &name);
                out.uint(4, COMPUTE);
            }),
            Fresh::ArgName(iid, name) => text(out, COMPUTE_ARG_NAMES, iid, name),
            Fresh::Name(iid, name) => text(out, interned::EVENT_NAMES, iid, &name),
            Fresh::Kernel(iid, key, name) => {
                let shared = key.static_shared_bytes.saturating_add(key.dynamic_shared_bytes);
                let [x, y, z] = key.cluster;
                let args = [
                    ("registers per thread", u64::from(key.registers)),
                    ("shared memory", u64::from(shared)),
                    ("static shared memory", u64::from(key.static_shared_bytes)),
                    ("dynamic shared memory", u64::from(key.dynamic_shared_bytes)),
                    ("shared memory executed", u64::from(key.shared_executed_bytes)),
                    ("local memory per thread", u64::from(key.local_bytes)),
                    ("launch type", u64::from(key.launch_type)),
                    ("cluster x", u64::from(x)),
                    ("cluster y", u64::from(y)),
                    ("cluster z", u64::from(z)),
                    ("max active clusters", u64::from(key.max_active_clusters)),
                ];
                // The first two are said even where they are zero: occupancy follows from them.
                let said = args.into_iter().enumerate().filter(|(place, (_, value))| *place < 2 || *value != 0);
                let said: Vec<(u64, u64)> = said
                    .map(|(_, (name, value))| {
                        (arg_name(arg_names, name, |iid| text(out, COMPUTE_ARG_NAMES, iid, name)), value)
                    })
                    .collect();
                out.message(COMPUTE_KERNELS, |out| {
                    out.uint(interned::IID, iid);
                    out.string(2, &name);
                    out.string(3, &names::demangled(&name));
                    for (name, value) in said {
                        out.message(5, |out| {
                            out.uint(1, name);
                            out.uint(4, value);
                        });
                    }
                });
            }
        }
    }
}
