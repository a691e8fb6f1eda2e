//! Events of NCCL as records.

use std::ffi::c_int;
use std::sync::atomic::Ordering;

use gapless_ring::layout::{AttrType, Class, Comm, Kind, Record};
use gapless_ring::names::Registered;
use gapless_ring::reader::comm_slots;
use gapless_ring::writer::{self, Thread};

use super::communicators::{self, Communicator, Identity};
use super::handle::{self, Handle};
use super::layout::{ABSENT, Api, Coll, Descriptor, P2p, PARENT, RANK, fixed, numbers};
use super::options::{bit, known};

macro_rules! words {
    ($($name:ident $text:literal)*) => { $(static $name: Registered = Registered::fixed($text);)* };
}

words! {
    CALLS "NCCL"
    GROUPS "NCCL groups"
    PROXY "NCCL proxy"
    CHANNELS "NCCL channels on the device"
    COPIES "NCCL copy engines"
    ID "nccl_id"
    CAUSE "nccl_parent"
    LAUNCH "nccl_launch"
    THREAD "thread"
    ALGORITHM "algorithm"
    PROTOCOL "protocol"
    CHANNEL_COUNT "channels"
    WARPS "warps"
    VARIANT "kernel_variant"
    SYMMETRIC "symmetric"
    IS_CAPTURED "graph_captured"
    USER_TAG "user_tag"
    STREAM "stream_handle"
    ROOT "root"
    OUT_ELEMENTS "Out msg nelems"
    DEPTH "depth"
    COMMUNICATOR "communicator"
    CHANNEL "channel"
    PEER "peer"
    STEPS "steps"
    CHUNK_BYTES "chunk_bytes"
    STEP "step"
    BYTES "bytes"
    OF_PROCESS "origin_pid"
    OF_RANK "origin_rank"
    DEVICE_START "device_start_ns"
    DEVICE_END "device_end_ns"
    NETWORK "network_plugin"
    NET_DEVICE "network_device"
    QUEUE_PAIR "queue_pair"
    OPERATION "operation"
    SOCKET "socket"
    SYNC_STRATEGY "sync_strategy"
    BATCH_SIZE "batch_size"
    BATCHES "batches"
    OPERATIONS "operations"
    RANKS "ranks"
}

/// Facts about the record that was written last.
struct Told<'a> {
    thread: &'a mut Thread,
}

impl Told<'_> {
    fn put(&mut self, key: &Registered, class: AttrType, payload: u64) {
        let name = self.thread.registered(key);
        let kind = Kind::Attr as u8;
        self.thread.put(Record { kind, class: class as u8, name, payload, ..Record::default() }, &[]);
    }

    fn number(&mut self, key: &Registered, value: u64) {
        self.put(key, AttrType::Unsigned, value);
    }

    /// Where it says something.
    fn some(&mut self, key: &Registered, value: u64) {
        if value != 0 {
            self.number(key, value);
        }
    }

    fn signed(&mut self, key: &Registered, value: i32) {
        self.put(key, AttrType::Signed, i64::from(value) as u64);
    }

    fn text(&mut self, key: &Registered, value: &[u8]) {
        if !value.is_empty() {
            let id = self.thread.name(value);
            self.put(key, AttrType::String, u64::from(id));
        }
    }

    fn of(&mut self, handle: Handle, parent: Option<Handle>) {
        self.number(&ID, handle.number());
        if let Some(parent) = parent {
            self.number(&CAUSE, parent.number());
        }
    }
}

/// An event that begins, with what NCCL says.
struct Begin<'a, 'b> {
    thread: &'a mut Thread,
    descriptor: &'b Descriptor,
    communicator: Option<&'static Communicator>,
    bit: u32,
}

/// An event begins. Returns its handle, 0 where it is not recorded.
pub(super) fn start(context: u64, descriptor: &Descriptor) -> u64 {
    writer::with(|thread| {
        let kind = descriptor.kind();
        if !kind.is_power_of_two() || u64::from(known(descriptor.layout.version)) & kind == 0 {
            return None;
        }
        let bit = kind.trailing_zeros();
        let index = handle::index_of(context, thread.generation());
        let communicator = index.and_then(|index| communicator(index, bit, descriptor));
        if let Some(communicator) = communicator {
            communicator.tell(thread);
        }
        Begin { thread, descriptor, communicator, bit }.start()
    })
    .flatten()
    .map_or(0, Handle::raw)
}

/// The communicator of an event. Before version 4 its first collective says who it is.
fn communicator(index: u32, bit: u32, descriptor: &Descriptor) -> Option<&'static Communicator> {
    let layout = descriptor.layout;
    let (name, hash) = match bit {
        bit::COLL => (layout.coll.name, layout.coll.comm_hash),
        bit::P2P => (layout.p2p.name, layout.p2p.comm_hash),
        _ => return communicators::find(index),
    };
    communicators::learn(index, || Identity {
        hash: descriptor.u64(hash),
        rank: descriptor.i32(RANK),
        size: 0,
        nodes: 0,
        name: if name == ABSENT { Vec::new() } else { descriptor.text(name).to_vec() },
    })
}

/// Bytes of an element, 0 for types that are not known.
fn element_bytes(datatype: &[u8]) -> u64 {
    match datatype {
        b"Int8" | b"Uint8" => 1,
        b"Float16" | b"Bfloat16" => 2,
        b"Int32" | b"Uint32" | b"Float32" => 4,
        b"Int64" | b"Uint64" | b"Float64" => 8,
        _ if datatype.starts_with(b"Float8") => 1,
        _ => 0,
    }
}

/// Elements that a rank gives in, from NCCL's count, which is of one rank's part where there are parts. `None` where
/// that takes a number of ranks that is not known.
fn given(function: &[u8], count: u64, size: u64, is_root: bool) -> Option<u64> {
    match function {
        b"ReduceScatter" | b"AlltoAll" | b"AllToAll" if size == 0 => None,
        b"ReduceScatter" | b"AlltoAll" | b"AllToAll" => count.checked_mul(size),
        b"Scatter" if is_root => count.checked_mul(size),
        _ => Some(count),
    }
}

fn is_rooted(function: &[u8]) -> bool {
    matches!(function, b"Broadcast" | b"Reduce" | b"Gather" | b"Scatter")
}

/// What a collective or message moves.
struct Moves<'a> {
    function: &'a [u8],
    datatype: &'a [u8],
    count: u64,
    root: i32,
    sequence: u64,
}

impl Begin<'_, '_> {
    fn start(mut self) -> Option<Handle> {
        let layout = self.descriptor.layout;
        match self.bit {
            bit::COLL_API => self.call(&layout.coll_api),
            bit::P2P_API => self.call(&layout.p2p_api),
            bit::KERNEL_LAUNCH => self.launch(),
            bit::COLL => self.collective(&layout.coll),
            bit::CE_COLL => self.copy_collective(),
            bit::P2P => self.message(&layout.p2p),
            bit::GROUP_API | bit::GROUP => self.group(),
            bit::PROXY_OP => self.proxy_operation(),
            bit::PROXY_STEP => {
                let step = self.descriptor.i32(fixed::PROXY_STEP);
                self.lane(&PROXY, b"proxy step", false, |told, _| told.signed(&STEP, step))
            }
            bit::KERNEL_CHANNEL => self.channel(),
            bit::KERNEL_PHASE => self.phase(),
            bit::NET_PLUGIN => self.network(),
            bit::CE_SYNC => {
                let ranks = self.descriptor.i32(fixed::CE_SYNC_RANKS);
                self.lane(&COPIES, b"copy-engine synchronisation", false, |told, _| told.signed(&RANKS, ranks))
            }
            bit::CE_BATCH => {
                let operations = self.descriptor.i32(fixed::CE_BATCH_OPS);
                let bytes = self.descriptor.u64(fixed::CE_BATCH_BYTES);
                self.lane(&COPIES, b"copy-engine batch", false, |told, _| {
                    told.signed(&OPERATIONS, operations);
                    told.number(&BYTES, bytes);
                })
            }
            _ => self.lane(&PROXY, b"proxy thread", false, |_, _| ()),
        }
    }

    fn parent(&self) -> Option<Handle> {
        Handle::of_raw(self.descriptor.u64(PARENT), self.thread.generation())
    }

    fn handle(&self, flag: bool) -> Handle {
        Handle::new(self.thread.generation(), self.bit, flag)
    }

    /// Who moves what, as a [`Comm`].
    fn comm(&mut self, moves: &Moves<'_>) -> Comm {
        let identity = self.communicator.map(|communicator| &communicator.identity);
        let size = identity.map_or(0, |identity| identity.size.max(0));
        let rank = identity.map_or(-1, |identity| identity.rank);
        let datatype = moves.datatype.strip_prefix(b"nccl").unwrap_or(moves.datatype);
        let elements = given(moves.function, moves.count, size as u64, rank == moves.root).unwrap_or(0);
        Comm {
            communicator: self.communicator.map_or(0, |communicator| communicator.number),
            bytes: elements.saturating_mul(element_bytes(datatype)),
            request: 0,
            sequence: moves.sequence,
            rank,
            size,
            peer: moves.root,
            tag: -1,
            count: elements,
            dtype: if datatype.is_empty() { 0 } else { self.thread.name(datatype) },
            members: self.communicator.map_or(0, Communicator::members),
        }
    }

    fn group_name(&mut self) -> u32 {
        self.communicator.map_or(0, |communicator| self.thread.registered(&communicator.group))
    }

    /// `ncclAllReduce` and the like on the calling thread.
    fn call(&mut self, at: &Api) -> Option<Handle> {
        let descriptor = self.descriptor;
        let is_captured = descriptor.u8(at.graph_captured) != 0;
        let handle = self.handle(is_captured);
        let parent = self.parent();
        let function = descriptor.text(at.func);
        let root = if at.root != ABSENT && is_rooted(function) { descriptor.i32(at.root) } else { -1 };
        let (datatype, count) = (descriptor.text(at.datatype), descriptor.u64(at.count));
        // Which peer a message is for, and a collective's number, are told when the device gets it.
        let comm = self.comm(&Moves { function, datatype, count, root: -1, sequence: u64::MAX });
        let mut name = [0; 64];
        let name = prefixed(b"nccl", function, &mut name);
        let record = Record {
            kind: Kind::CommPush as u8,
            class: Class::Communication as u8,
            name: self.thread.name(name),
            domain: self.thread.registered(&CALLS),
            category: self.group_name(),
            ..Record::default()
        };
        if !handle::enter(handle) {
            return None;
        }
        if self.thread.push_with(record, &comm_slots(&comm)) {
            let mut told = Told { thread: self.thread };
            told.of(handle, parent);
            told.some(&STREAM, descriptor.u64(at.stream));
            told.some(&IS_CAPTURED, u64::from(is_captured));
            told.some(&USER_TAG, descriptor.u64(at.user_tag));
            if root >= 0 {
                told.signed(&ROOT, root);
            }
        }
        Some(handle)
    }

    /// The launch of a kernel on the calling thread; under capture its recording into the graph.
    fn launch(&mut self) -> Option<Handle> {
        let parent = self.parent();
        let is_captured = parent.is_some_and(Handle::is_captured);
        let handle = self.handle(is_captured);
        if !handle::enter(handle) {
            return None;
        }
        let record = Record {
            kind: Kind::Push as u8,
            class: Class::Communication as u8,
            name: self.thread.name(b"NCCL kernel launch"),
            domain: self.thread.registered(&CALLS),
            ..Record::default()
        };
        let number = self.communicator.map_or(0, |communicator| communicator.number);
        if self.thread.push_with(record, &[]) {
            let mut told = Told { thread: self.thread };
            told.of(handle, parent);
            told.some(&COMMUNICATOR, number);
            told.some(&STREAM, self.descriptor.u64(fixed::KERNEL_LAUNCH_STREAM));
            told.some(&IS_CAPTURED, u64::from(is_captured));
        }
        if let Some(communicator) = self.communicator {
            communicator.last_launch.store(handle.number(), Ordering::Relaxed);
        }
        Some(handle)
    }

    /// Something that is handed to the device: a range on the track of its communicator.
    fn transfer(&mut self, moves: &Moves<'_>, more: impl FnOnce(&mut Told<'_>, &Descriptor)) -> Option<Handle> {
        let parent = self.parent();
        let is_captured = parent.is_some_and(Handle::is_captured);
        let handle = self.handle(is_captured);
        let comm = self.comm(moves);
        let domain = match self.communicator {
            Some(communicator) => self.thread.registered(&communicator.track),
            None => self.thread.registered(&CALLS),
        };
        let record = Record {
            kind: Kind::CommStart as u8,
            class: Class::Communication as u8,
            name: self.thread.name(moves.function),
            domain,
            category: self.group_name(),
            payload: handle.raw(),
            ..Record::default()
        };
        if !self.thread.put(record, &comm_slots(&comm)) {
            return None;
        }
        // NCCL launches a plan and then tells of what is in it. A captured plan is told of again at each launch of the
        // graph, by another thread.
        let launch = self.communicator.map_or(0, |communicator| communicator.last_launch.load(Ordering::Relaxed));
        let descriptor = self.descriptor;
        let mut told = Told { thread: self.thread };
        told.of(handle, parent);
        if is_captured {
            told.number(&IS_CAPTURED, 1);
        } else {
            told.some(&LAUNCH, launch);
            told.number(&THREAD, u64::from(thread_id()));
        }
        more(&mut told, descriptor);
        Some(handle)
    }

    fn collective(&mut self, at: &Coll) -> Option<Handle> {
        let descriptor = self.descriptor;
        let function = descriptor.word(at.func, &numbers::FUNCTIONS);
        let is_captured = self.parent().is_some_and(Handle::is_captured);
        let root = if is_rooted(function) { descriptor.i32(at.root) } else { -1 };
        let count = descriptor.u64(at.count);
        let moves = Moves {
            function,
            datatype: descriptor.word(at.datatype, &numbers::TYPES),
            count,
            root: if is_captured { -1 } else { root },
            sequence: if is_captured { u64::MAX } else { descriptor.u64(at.seq_number) },
        };
        let size = self.communicator.map_or(0, |communicator| communicator.identity.size.max(0)) as u64;
        self.transfer(&moves, |told, descriptor| {
            told.text(&ALGORITHM, descriptor.word(at.algo, &numbers::ALGORITHMS));
            told.text(&PROTOCOL, descriptor.word(at.proto, &numbers::PROTOCOLS));
            told.some(&CHANNEL_COUNT, u64::from(descriptor.u8(at.n_channels)));
            told.some(&WARPS, u64::from(descriptor.u8(at.n_warps)));
            told.text(&VARIANT, descriptor.text(at.kernel_variant));
            told.some(&SYMMETRIC, u64::from(descriptor.u8(at.is_sym_coll)));
            told.some(&USER_TAG, descriptor.u64(at.user_tag));
            if is_captured && root >= 0 {
                told.signed(&ROOT, root);
            }
            if given(moves.function, count, size, false).is_none() {
                told.number(&OUT_ELEMENTS, count);
            }
        })
    }

    /// A collective that copy engines do, without a kernel.
    fn copy_collective(&mut self) -> Option<Handle> {
        let (descriptor, at) = (self.descriptor, &self.descriptor.layout.coll);
        let function = descriptor.text(at.func);
        let moves = Moves {
            function,
            datatype: descriptor.text(at.datatype),
            count: descriptor.u64(at.count),
            root: if is_rooted(function) { descriptor.i32(at.root) } else { -1 },
            sequence: descriptor.u64(at.seq_number),
        };
        self.transfer(&moves, |told, descriptor| {
            told.text(&ALGORITHM, b"copy engines");
            told.text(&SYNC_STRATEGY, descriptor.text(fixed::CE_SYNC_STRATEGY));
            told.some(&BATCH_SIZE, descriptor.i32(fixed::CE_BATCH_SIZE).max(0) as u64);
            told.some(&BATCHES, descriptor.i32(fixed::CE_BATCHES).max(0) as u64);
            told.some(&STREAM, descriptor.u64(fixed::CE_STREAM));
            told.some(&USER_TAG, descriptor.u64(descriptor.layout.ce_user_tag));
        })
    }

    fn message(&mut self, at: &P2p) -> Option<Handle> {
        let descriptor = self.descriptor;
        let moves = Moves {
            function: descriptor.word(at.func, &numbers::FUNCTIONS),
            datatype: descriptor.word(at.datatype, &numbers::TYPES),
            count: descriptor.u64(at.count),
            root: descriptor.i32(at.peer),
            sequence: u64::MAX,
        };
        self.transfer(&moves, |told, descriptor| {
            told.some(&CHANNEL_COUNT, u64::from(descriptor.u8(at.n_channels)));
            told.some(&USER_TAG, descriptor.u64(at.user_tag));
        })
    }

    /// Calls that are made together. User code lies inside, so it is no range of the thread.
    fn group(&mut self) -> Option<Handle> {
        if self.bit == bit::GROUP {
            // Since version 5 NCCL tells of the group of each plan unasked; calls say more.
            if self.descriptor.layout.version >= 5 {
                return None;
            }
            return self.lane(&GROUPS, b"NCCL group", false, |_, _| ());
        }
        let descriptor = self.descriptor;
        let is_captured = descriptor.u8(fixed::GROUP_API_CAPTURED) != 0;
        self.lane(&GROUPS, b"ncclGroup", is_captured, |told, descriptor| {
            told.signed(&DEPTH, descriptor.i32(fixed::GROUP_API_DEPTH));
            told.some(&IS_CAPTURED, u64::from(is_captured));
        })
    }

    /// A range on a track of the process.
    fn lane(
        &mut self,
        domain: &Registered,
        name: &[u8],
        flag: bool,
        more: impl FnOnce(&mut Told<'_>, &Descriptor),
    ) -> Option<Handle> {
        let parent = self.parent();
        self.lane_of(domain, name, flag, parent, more)
    }

    fn lane_of(
        &mut self,
        domain: &Registered,
        name: &[u8],
        flag: bool,
        parent: Option<Handle>,
        more: impl FnOnce(&mut Told<'_>, &Descriptor),
    ) -> Option<Handle> {
        let handle = self.handle(flag);
        let record = Record {
            kind: Kind::Start as u8,
            class: Class::Communication as u8,
            name: self.thread.name(name),
            domain: self.thread.registered(domain),
            payload: handle.raw(),
            ..Record::default()
        };
        if !self.thread.put(record, &[]) {
            return None;
        }
        let number = self.communicator.map_or(0, |communicator| communicator.number);
        let descriptor = self.descriptor;
        let mut told = Told { thread: self.thread };
        told.of(handle, parent);
        told.some(&COMMUNICATOR, number);
        more(&mut told, descriptor);
        Some(handle)
    }

    fn proxy_operation(&mut self) -> Option<Handle> {
        let descriptor = self.descriptor;
        let is_send = descriptor.i32(fixed::PROXY_OP_IS_SEND) != 0;
        let pid = descriptor.i32(fixed::PROXY_OP_PID);
        // With PXN a proxy works for a rank of another process; what it names as parent lies there.
        let is_own = pid == std::process::id() as i32;
        if !is_own {
            self.communicator = None;
        }
        let parent = if is_own { self.parent() } else { None };
        let name: &[u8] = match (is_send, descriptor.layout.version) {
            (true, ..4) => b"proxy send",
            (false, ..4) => b"proxy receive",
            (true, _) => b"proxy send queued",
            (false, _) => b"proxy receive queued",
        };
        self.lane_of(&PROXY, name, is_send, parent, |told, descriptor| {
            told.number(&CHANNEL, u64::from(descriptor.u8(fixed::PROXY_OP_CHANNEL)));
            told.signed(&PEER, descriptor.i32(fixed::PROXY_OP_PEER));
            told.signed(&STEPS, descriptor.i32(fixed::PROXY_OP_STEPS));
            told.signed(&CHUNK_BYTES, descriptor.i32(fixed::PROXY_OP_CHUNK));
            if !is_own {
                told.signed(&OF_PROCESS, pid);
                told.signed(&OF_RANK, descriptor.i32(RANK));
            }
        })
    }

    fn channel(&mut self) -> Option<Handle> {
        self.lane(&CHANNELS, b"NCCL channel", false, |told, descriptor| {
            told.number(&CHANNEL, u64::from(descriptor.u8(fixed::KERNEL_CHANNEL)));
            if descriptor.layout.version >= 4 {
                told.some(&DEVICE_START, descriptor.u64(fixed::KERNEL_TIMER));
            }
        })
    }

    fn phase(&mut self) -> Option<Handle> {
        let descriptor = self.descriptor;
        self.lane(&CHANNELS, descriptor.text(fixed::PHASE_NAME), false, |told, descriptor| {
            told.number(&CHANNEL, u64::from(descriptor.u8(fixed::PHASE_CHANNEL)));
            told.some(&DEVICE_START, descriptor.u64(fixed::PHASE_TIMER));
        })
    }

    /// What a network plugin tells. Who defines the data stands in the upper half of the id, in which version in the lower.
    fn network(&mut self) -> Option<Handle> {
        const IB: u64 = 1 << 16 | 1;
        const SOCKETS: u64 = 2 << 16 | 1;
        let id = self.descriptor.u64(fixed::NET_ID);
        let data = self.descriptor.u64(fixed::NET_DATA) as usize as *const u8;
        let name: &[u8] = match id {
            IB => b"InfiniBand work request",
            SOCKETS => b"socket operation",
            _ => b"network plugin",
        };
        self.lane(&PROXY, name, false, |told, _| {
            told.number(&NETWORK, id);
            if data.is_null() {
                return;
            }
            // SAFETY: these are NCCL's own plugins, and their data of this version has these fields: a type of one byte,
            // then from offset 8 on a structure, whose last field is the length.
            let (word, long) = unsafe {
                (
                    |at: usize| data.add(at).cast::<i32>().read_unaligned(),
                    |at: usize| data.add(at).cast::<u64>().read_unaligned(),
                )
            };
            match id {
                IB => {
                    told.signed(&NET_DEVICE, word(8));
                    told.signed(&OPERATION, word(24));
                    told.signed(&QUEUE_PAIR, word(28));
                    told.number(&BYTES, long(32));
                }
                SOCKETS => {
                    told.signed(&SOCKET, word(8));
                    told.signed(&OPERATION, word(12));
                    told.number(&BYTES, long(16));
                }
                _ => {}
            }
        })
    }
}

/// `prefix` and `text`, as far as they fit.
fn prefixed<'a>(prefix: &[u8], text: &[u8], place: &'a mut [u8; 64]) -> &'a [u8] {
    let mut length = 0;
    for (to, from) in place.iter_mut().zip(prefix.iter().chain(text)) {
        *to = *from;
        length += 1;
    }
    place.get(..length).unwrap_or_default()
}

fn thread_id() -> u32 {
    // SAFETY: asks for a number.
    unsafe { libc::gettid() as u32 }
}

/// Track of ranges of a type that are not on their thread; `None` for those that are.
fn track_of(kind: u32) -> Option<&'static Registered> {
    match kind {
        bit::COLL_API | bit::P2P_API | bit::KERNEL_LAUNCH => None,
        bit::GROUP | bit::GROUP_API => Some(&GROUPS),
        bit::PROXY_OP | bit::PROXY_STEP | bit::PROXY_CTRL | bit::NET_PLUGIN => Some(&PROXY),
        bit::KERNEL_CHANNEL | bit::KERNEL_PHASE => Some(&CHANNELS),
        bit::CE_SYNC | bit::CE_BATCH => Some(&COPIES),
        // The track of the communicator, which the id finds.
        _ => Some(&CALLS),
    }
}

/// An event ends: a call returns, a collective was handed to the device, a proxy operation is done.
pub(super) fn stop(raw: u64) {
    // Also while recording is off, so that the list of open ranges stays right.
    let ended = handle::leave_raw(raw);
    writer::with(|thread| {
        let Some(handle) = Handle::of_raw(raw, thread.generation()) else { return };
        match track_of(handle.kind()) {
            None => {
                let domain = thread.registered(&CALLS);
                (0..ended).for_each(|_| thread.pop_in(domain));
            }
            Some(track) => {
                let domain = thread.registered(track);
                thread.put(Record { kind: Kind::End as u8, domain, payload: raw, ..Record::default() }, &[]);
            }
        }
    });
}

/// States of steps of the proxy, by NCCL's number.
fn step_state(state: c_int) -> Option<&'static [u8]> {
    Some(match state {
        8 => b"send: wait for the GPU",
        20 => b"send: wait for the peer",
        9 => b"send: on the network",
        10 => b"receive: on the network",
        11 => b"receive: flush to the GPU",
        12 => b"receive: wait for the GPU",
        _ => return None,
    })
}

const OPERATION_IN_PROGRESS: c_int = 19;
const CHANNEL_STOP: c_int = 22;
const PHASE_STOP: c_int = 31;

/// An event is in a new state; `value` are the first eight bytes of its arguments.
pub(super) fn state(raw: u64, state: c_int, value: u64) {
    writer::with(|thread| {
        let Some(handle) = Handle::of_raw(raw, thread.generation()) else { return };
        match (handle.kind(), state) {
            (bit::KERNEL_CHANNEL, CHANNEL_STOP) | (bit::KERNEL_PHASE, PHASE_STOP) if value != 0 => {
                // A fact about the open range with this id.
                let name = thread.registered(&CHANNELS);
                if thread.put(Record { kind: Kind::Mark as u8, name, payload: raw, ..Record::default() }, &[]) {
                    Told { thread }.number(&DEVICE_END, value);
                }
            }
            (bit::PROXY_OP, OPERATION_IN_PROGRESS) => {
                // Of a proxy operation the flag says which way it goes.
                let name: &[u8] = if handle.is_captured() { b"proxy send" } else { b"proxy receive" };
                go_on(thread, handle, name, 0);
            }
            (bit::PROXY_STEP, _) => {
                if let Some(name) = step_state(state) {
                    go_on(thread, handle, name, value);
                }
            }
            _ => {}
        }
    });
}

/// An event goes on under another name: its range ends, and the next begins.
fn go_on(thread: &mut Thread, handle: Handle, name: &[u8], bytes: u64) {
    let (domain, payload) = (thread.registered(&PROXY), handle.raw());
    thread.put(Record { kind: Kind::End as u8, domain, payload, ..Record::default() }, &[]);
    let (kind, class) = (Kind::Start as u8, Class::Communication as u8);
    let name = thread.name(name);
    if thread.put(Record { kind, class, name, domain, payload, ..Record::default() }, &[]) {
        let mut told = Told { thread };
        told.number(&ID, handle.number());
        told.some(&BYTES, bytes);
    }
}

/// A communicator ends.
pub(super) fn finalize(context: u64) {
    writer::with_even_if_off(|thread| {
        let index = handle::index_of(context, thread.generation());
        if let Some(communicator) = index.and_then(communicators::find) {
            communicator.close();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_become_what_a_rank_gives() {
        assert_eq!(given(b"AllReduce", 100, 8, false), Some(100));
        assert_eq!(given(b"AllGather", 100, 8, false), Some(100));
        assert_eq!(given(b"ReduceScatter", 100, 8, false), Some(800));
        assert_eq!(given(b"ReduceScatter", 100, 0, false), None);
        assert_eq!((given(b"Scatter", 100, 8, true), given(b"Scatter", 100, 8, false)), (Some(800), Some(100)));
        assert_eq!(given(b"AlltoAll", u64::MAX, 8, false), None);
        assert_eq!([b"Bfloat16".as_slice(), b"Float8e4m3", b"Uint64", b"Odd"].map(element_bytes), [2, 1, 8, 0]);
    }

    #[test]
    fn long_names_are_cut() {
        let mut place = [0; 64];
        assert_eq!(prefixed(b"nccl", b"AllReduce", &mut place), b"ncclAllReduce");
        assert_eq!(prefixed(b"nccl", &[b'x'; 100], &mut place).len(), 64);
    }
}
