//! Where the fields of NCCL's event descriptors lie, by version of the profiler interface.
//!
//! Read from the headers `profiler_v1.h` … `profiler_v7.h` that NCCL publishes; `tests/nccl.rs` holds them against the
//! layouts that NCCL's own library was compiled with. From version 4 on a version only appends fields, and from
//! version 5 on the type of an event takes eight bytes instead of one.

/// A field that a version does not have.
pub const ABSENT: usize = usize::MAX;

/// Offset in bytes of what all events begin with: the type lies at 0.
pub const PARENT: usize = 8;
/// Offset of the rank that an event is of.
pub const RANK: usize = 16;

/// Offsets of the fields of a collective.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields have NCCL's names")]
pub struct Coll {
    pub name: usize,
    pub comm_hash: usize,
    pub seq_number: usize,
    pub func: usize,
    pub count: usize,
    pub root: usize,
    pub datatype: usize,
    pub n_channels: usize,
    pub n_warps: usize,
    pub algo: usize,
    pub proto: usize,
    pub parent_group: usize,
    pub kernel_variant: usize,
    pub is_sym_coll: usize,
    pub user_tag: usize,
}

/// Offsets of the fields of a send or receive.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields have NCCL's names")]
pub struct P2p {
    pub name: usize,
    pub comm_hash: usize,
    pub func: usize,
    pub datatype: usize,
    pub count: usize,
    pub peer: usize,
    pub n_channels: usize,
    pub parent_group: usize,
    pub user_tag: usize,
}

/// Offsets of the fields of a call of NCCL.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields have NCCL's names")]
pub struct Api {
    pub func: usize,
    pub count: usize,
    pub datatype: usize,
    pub root: usize,
    pub stream: usize,
    pub graph_captured: usize,
    pub user_tag: usize,
}

/// A version of the interface.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Number of the version.
    pub version: u32,
    /// Bytes of a descriptor.
    pub size: usize,
    /// Bytes of the type at the descriptor's beginning.
    pub type_bytes: usize,
    /// Whether function, data type, algorithm and protocol are numbers instead of strings.
    pub has_numbers: bool,
    /// A collective.
    pub coll: Coll,
    /// A send or receive.
    pub p2p: P2p,
    /// `ncclAllReduce` and the like.
    pub coll_api: Api,
    /// `ncclSend` and `ncclRecv`.
    pub p2p_api: Api,
    /// A collective of copy engines: as [`Layout::coll`] as far as it has the fields; further ones have fixed places.
    pub ce_user_tag: usize,
}

const NO_API: Api = Api {
    func: ABSENT,
    count: ABSENT,
    datatype: ABSENT,
    root: ABSENT,
    stream: ABSENT,
    graph_captured: ABSENT,
    user_tag: ABSENT,
};

/// 2.23.
const V1: Layout = Layout {
    version: 1,
    size: 120,
    type_bytes: 1,
    has_numbers: true,
    coll: Coll {
        name: 24,
        comm_hash: 32,
        seq_number: 40,
        func: 48,
        count: 72,
        root: 80,
        datatype: 84,
        n_channels: 104,
        n_warps: 105,
        algo: 106,
        proto: 107,
        parent_group: ABSENT,
        kernel_variant: ABSENT,
        is_sym_coll: ABSENT,
        user_tag: ABSENT,
    },
    p2p: P2p {
        name: 24,
        comm_hash: 32,
        func: 40,
        datatype: 56,
        count: 64,
        peer: 72,
        n_channels: ABSENT,
        parent_group: ABSENT,
        user_tag: ABSENT,
    },
    coll_api: NO_API,
    p2p_api: NO_API,
    ce_user_tag: ABSENT,
};

/// 2.24 and 2.25: numbers become strings.
const V2: Layout = Layout {
    version: 2,
    size: 128,
    has_numbers: false,
    coll: Coll { datatype: 88, algo: 112, proto: 120, ..V1.coll },
    ..V1
};

/// 2.26: the traffic estimate goes.
const V3: Layout = Layout {
    version: 3,
    size: 120,
    coll: Coll { n_channels: 96, n_warps: 97, algo: 104, proto: 112, ..V2.coll },
    ..V2
};

/// 2.27: name and hash of the communicator are told at its beginning.
const V4: Layout = Layout {
    version: 4,
    size: 104,
    coll: Coll {
        name: ABSENT,
        comm_hash: ABSENT,
        seq_number: 24,
        func: 32,
        count: 56,
        root: 64,
        datatype: 72,
        n_channels: 80,
        n_warps: 81,
        algo: 88,
        proto: 96,
        ..V3.coll
    },
    p2p: P2p { name: ABSENT, comm_hash: ABSENT, func: 24, datatype: 40, count: 48, peer: 56, n_channels: 60, ..V3.p2p },
    ..V3
};

/// 2.28: calls, and launches of kernels.
const V5: Layout = Layout {
    version: 5,
    size: 112,
    type_bytes: 8,
    coll: Coll { parent_group: 104, ..V4.coll },
    p2p: P2p { parent_group: 64, ..V4.p2p },
    coll_api: Api { func: 24, count: 32, datatype: 40, root: 48, stream: 56, graph_captured: 64, user_tag: ABSENT },
    p2p_api: Api { func: 24, count: 32, datatype: 40, root: ABSENT, stream: 48, graph_captured: 56, user_tag: ABSENT },
    ..V4
};

/// 2.29 and 2.30: copy engines.
const V6: Layout = Layout { version: 6, ..V5 };

/// 2.31 and 2.32: phases of kernels, tags of the user.
const V7: Layout = Layout {
    version: 7,
    size: 136,
    coll: Coll { kernel_variant: 112, is_sym_coll: 120, user_tag: 128, ..V6.coll },
    p2p: P2p { user_tag: 72, ..V6.p2p },
    coll_api: Api { user_tag: 72, ..V6.coll_api },
    p2p_api: Api { user_tag: 64, ..V6.p2p_api },
    ce_user_tag: 112,
    ..V6
};

/// All versions, oldest first.
pub const LAYOUTS: [Layout; 7] = [V1, V2, V3, V4, V5, V6, V7];

/// Offsets that are the same in all versions that have the event.
#[allow(missing_docs, reason = "the fields have NCCL's names")]
pub mod fixed {
    pub const GROUP_API_CAPTURED: usize = 24;
    pub const GROUP_API_DEPTH: usize = 28;
    pub const KERNEL_LAUNCH_STREAM: usize = 24;
    pub const PROXY_OP_PID: usize = 24;
    pub const PROXY_OP_CHANNEL: usize = 28;
    pub const PROXY_OP_PEER: usize = 32;
    pub const PROXY_OP_STEPS: usize = 36;
    pub const PROXY_OP_CHUNK: usize = 40;
    pub const PROXY_OP_IS_SEND: usize = 44;
    pub const PROXY_STEP: usize = 24;
    pub const KERNEL_CHANNEL: usize = 24;
    /// Not in version 3.
    pub const KERNEL_TIMER: usize = 32;
    pub const NET_ID: usize = 24;
    pub const NET_DATA: usize = 32;
    pub const CE_SYNC_STRATEGY: usize = 80;
    pub const CE_INTRA_BATCH_SYNC: usize = 88;
    pub const CE_BATCH_SIZE: usize = 92;
    pub const CE_BATCHES: usize = 96;
    pub const CE_SEQUENCE: usize = 100;
    pub const CE_STREAM: usize = 104;
    pub const CE_SYNC_COMPLETE: usize = 24;
    pub const CE_SYNC_RANKS: usize = 28;
    pub const CE_BATCH_OPS: usize = 24;
    pub const CE_BATCH_BYTES: usize = 32;
    pub const PHASE_CHANNEL: usize = 24;
    pub const PHASE_NAME: usize = 32;
    pub const PHASE_TIMER: usize = 40;
}

/// A field as NCCL calls it (`coll.seqNumber`) with its offset and size in bytes.
pub type Named = (&'static str, usize, usize);

impl Layout {
    /// All fields that this version has and that are read, for comparison with other sources.
    #[must_use]
    pub fn fields(&self) -> Vec<Named> {
        let word = if self.has_numbers { 1 } else { 8 };
        let (coll, p2p, api, p2p_api) = (&self.coll, &self.p2p, &self.coll_api, &self.p2p_api);
        let mut all = vec![
            ("type", 0, self.type_bytes),
            ("parentObj", PARENT, 8),
            ("rank", RANK, 4),
            ("coll.name", coll.name, 8),
            ("coll.commHash", coll.comm_hash, 8),
            ("coll.seqNumber", coll.seq_number, 8),
            ("coll.func", coll.func, word),
            ("coll.count", coll.count, 8),
            ("coll.root", coll.root, 4),
            ("coll.datatype", coll.datatype, word),
            (if self.version < 4 { "coll.nMaxChannels" } else { "coll.nChannels" }, coll.n_channels, 1),
            ("coll.nWarps", coll.n_warps, 1),
            ("coll.algo", coll.algo, word),
            ("coll.proto", coll.proto, word),
            ("coll.parentGroup", coll.parent_group, 8),
            ("coll.kernelVariant", coll.kernel_variant, 8),
            ("coll.isSymColl", coll.is_sym_coll, 1),
            ("coll.userTag", coll.user_tag, 8),
            ("p2p.name", p2p.name, 8),
            ("p2p.commHash", p2p.comm_hash, 8),
            ("p2p.func", p2p.func, word),
            ("p2p.datatype", p2p.datatype, word),
            ("p2p.count", p2p.count, 8),
            ("p2p.peer", p2p.peer, 4),
            ("p2p.nChannels", p2p.n_channels, 1),
            ("p2p.parentGroup", p2p.parent_group, 8),
            ("p2p.userTag", p2p.user_tag, 8),
            ("collApi.func", api.func, 8),
            ("collApi.count", api.count, 8),
            ("collApi.datatype", api.datatype, 8),
            ("collApi.root", api.root, 4),
            ("collApi.stream", api.stream, 8),
            ("collApi.graphCaptured", api.graph_captured, 1),
            ("collApi.userTag", api.user_tag, 8),
            ("p2pApi.func", p2p_api.func, 8),
            ("p2pApi.count", p2p_api.count, 8),
            ("p2pApi.datatype", p2p_api.datatype, 8),
            ("p2pApi.stream", p2p_api.stream, 8),
            ("p2pApi.graphCaptured", p2p_api.graph_captured, 1),
            ("p2pApi.userTag", p2p_api.user_tag, 8),
            ("proxyOp.pid", fixed::PROXY_OP_PID, 4),
            ("proxyOp.channelId", fixed::PROXY_OP_CHANNEL, 1),
            ("proxyOp.peer", fixed::PROXY_OP_PEER, 4),
            ("proxyOp.nSteps", fixed::PROXY_OP_STEPS, 4),
            ("proxyOp.chunkSize", fixed::PROXY_OP_CHUNK, 4),
            ("proxyOp.isSend", fixed::PROXY_OP_IS_SEND, 4),
            ("proxyStep.step", fixed::PROXY_STEP, 4),
        ];
        if self.version >= 3 {
            all.push(("kernelCh.channelId", fixed::KERNEL_CHANNEL, 1));
            all.push(("netPlugin.id", fixed::NET_ID, 8));
            all.push(("netPlugin.data", fixed::NET_DATA, 8));
        }
        if self.version >= 4 {
            all.push(("kernelCh.pTimer", fixed::KERNEL_TIMER, 8));
        }
        if self.version >= 5 {
            all.push(("groupApi.graphCaptured", fixed::GROUP_API_CAPTURED, 1));
            all.push(("groupApi.groupDepth", fixed::GROUP_API_DEPTH, 4));
            all.push(("kernelLaunch.stream", fixed::KERNEL_LAUNCH_STREAM, 8));
        }
        if self.version >= 6 {
            all.extend([
                ("ceColl.seqNumber", coll.seq_number, 8),
                ("ceColl.func", coll.func, 8),
                ("ceColl.count", coll.count, 8),
                ("ceColl.root", coll.root, 4),
                ("ceColl.datatype", coll.datatype, 8),
                ("ceColl.syncStrategy", fixed::CE_SYNC_STRATEGY, 8),
                ("ceColl.intraBatchSync", fixed::CE_INTRA_BATCH_SYNC, 1),
                ("ceColl.batchSize", fixed::CE_BATCH_SIZE, 4),
                ("ceColl.numBatches", fixed::CE_BATCHES, 4),
                ("ceColl.ceSeqNum", fixed::CE_SEQUENCE, 4),
                ("ceColl.stream", fixed::CE_STREAM, 8),
                ("ceColl.userTag", self.ce_user_tag, 8),
                ("ceCollSync.isComplete", fixed::CE_SYNC_COMPLETE, 1),
                ("ceCollSync.nRanks", fixed::CE_SYNC_RANKS, 4),
                ("ceCollBatch.numOps", fixed::CE_BATCH_OPS, 4),
                ("ceCollBatch.totalBytes", fixed::CE_BATCH_BYTES, 8),
            ]);
        }
        if self.version >= 7 {
            all.extend([
                ("kernelPhase.channelId", fixed::PHASE_CHANNEL, 1),
                ("kernelPhase.phaseName", fixed::PHASE_NAME, 8),
                ("kernelPhase.pTimer", fixed::PHASE_TIMER, 8),
            ]);
        }
        all.retain(|(_, offset, _)| *offset != ABSENT);
        all
    }
}

/// A descriptor as NCCL hands it over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    base: *const u8,
    pub layout: &'static Layout,
}

impl Descriptor {
    /// # Safety
    /// `base` points to a descriptor of this version, which stays until the value is dropped.
    pub unsafe fn new(base: *const u8, layout: &'static Layout) -> Descriptor {
        Descriptor { base, layout }
    }

    /// The bytes at an offset; zeros where the version has no such field.
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> [u8; N] {
        if offset == ABSENT || offset + N > self.layout.size {
            return [0; N];
        }
        // SAFETY: the descriptor has `size` bytes, by the contract of `new`.
        unsafe { self.base.add(offset).cast::<[u8; N]>().read_unaligned() }
    }

    pub fn u8(&self, offset: usize) -> u8 {
        u8::from_le_bytes(self.bytes(offset))
    }

    pub fn i32(&self, offset: usize) -> i32 {
        i32::from_le_bytes(self.bytes(offset))
    }

    pub fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.bytes(offset))
    }

    /// The bit of the event's type.
    pub fn kind(&self) -> u64 {
        if self.layout.type_bytes == 1 { u64::from(self.u8(0)) } else { self.u64(0) }
    }

    /// A string, without its NUL; empty for null.
    pub fn text<'a>(&'a self, offset: usize) -> &'a [u8] {
        let address = self.u64(offset) as usize as *const std::ffi::c_char;
        if address.is_null() {
            return b"";
        }
        // SAFETY: NCCL gives NUL-terminated strings, which stay longer than the descriptor.
        unsafe { std::ffi::CStr::from_ptr::<'a>(address) }.to_bytes()
    }

    /// A string that version 1 has as a number.
    pub fn word<'a>(&'a self, offset: usize, names: &[&'static str]) -> &'a [u8] {
        if !self.layout.has_numbers {
            return self.text(offset);
        }
        names.get(usize::from(self.u8(offset))).copied().unwrap_or_default().as_bytes()
    }
}

/// What the numbers of version 1 (NCCL 2.23) mean.
pub(super) mod numbers {
    pub const FUNCTIONS: [&str; 8] =
        ["Broadcast", "Reduce", "AllGather", "ReduceScatter", "AllReduce", "SendRecv", "Send", "Recv"];
    pub const TYPES: [&str; 10] = [
        "ncclInt8",
        "ncclUint8",
        "ncclInt32",
        "ncclUint32",
        "ncclInt64",
        "ncclUint64",
        "ncclFloat16",
        "ncclFloat32",
        "ncclFloat64",
        "ncclBfloat16",
    ];
    pub const ALGORITHMS: [&str; 7] = ["TREE", "RING", "COLLNET_DIRECT", "COLLNET_CHAIN", "NVLS", "NVLS_TREE", "PAT"];
    pub const PROTOCOLS: [&str; 3] = ["LL", "LL128", "SIMPLE"];
}
