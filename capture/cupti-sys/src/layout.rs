//! Where the fields of records lie, and how long records are, as data.
//!
//! Offsets are those of the newest form of each record; an older form is a prefix of it. The tests compile a C program
//! against the headers of each version and compare every line of these tables.

/// A field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the header.
    pub name: &'static str,
    /// Bytes from the begin of the record.
    pub offset: u16,
    /// Bytes that it takes.
    pub bytes: u16,
}

impl Field {
    const fn new(name: &'static str, offset: u16, bytes: u16) -> Field {
        Field { name, offset, bytes }
    }

    /// First byte behind it.
    pub const fn end(self) -> usize {
        self.offset as usize + self.bytes as usize
    }
}

/// The first field of every record.
pub const KIND: Field = Field::new("kind", 0, 4);

/// Versions whose headers were compared: what `cuptiGetVersion` says, and the release of CUDA.
pub const VERSIONS: [(u32, &str); 8] = [
    (18, "12.1"),
    (22, "12.4"),
    (24, "12.6"),
    (26, "12.8"),
    (28, "12.9"),
    (130_000, "13.0"),
    (130_101, "13.1"),
    (130_500, "13.5"),
];

/// The oldest version that is read.
pub const OLDEST: u32 = 18;

/// The place in [`VERSIONS`] that a library of this version follows: itself, or the newest before it, whose records are
/// prefixes of its own. `None` for versions that are too old.
pub fn version_place(version: u32) -> Option<usize> {
    VERSIONS.partition_point(|known| known.0 <= version).checked_sub(1)
}

/// Bytes of a record of this kind in a version, or the part of them that is known; `None` where the version does not
/// have the kind.
pub fn record_size(kind: Kind, version: u32) -> Option<usize> {
    let (_, size) = *forms(kind).get(version_place(version)?)?;
    (size != 0).then_some(size as usize)
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal $family:literal in $module:ident
        $forms:tt
        { $($field:ident $text:ident @ $offset:literal : $bytes:literal),* $(,)? })*) => {
        /// Kinds of records that are read here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Kind { $($(#[$doc])* $name = $number),* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];

            /// The kind with this number (`CUpti_ActivityKind`).
            #[inline(always)]
            pub fn from_number(number: u32) -> Option<Kind> {
                match number { $($number => Some(Kind::$name),)* _ => None }
            }

            /// The record's name in the headers without its version.
            pub fn family(self) -> &'static str {
                match self { $(Kind::$name => $family),* }
            }
        }

        /// For each of [`VERSIONS`] the version of the record (1 where its name has no number) and its bytes; zeros
        /// where the version does not have the kind.
        pub fn forms(kind: Kind) -> &'static [(u8, u16); VERSIONS.len()] {
            match kind { $(Kind::$name => &$forms),* }
        }

        /// The fields of a kind that are read.
        pub fn fields(kind: Kind) -> &'static [Field] {
            match kind { $(Kind::$name => $module::ALL),* }
        }

        $(
            #[doc = concat!("Fields of `", $family, "`.")]
            pub mod $module {
                use super::Field;
                $(
                    #[doc = concat!("`", stringify!($text), "`")]
                    pub const $field: Field = Field::new(stringify!($text), $offset, $bytes);
                )*
                pub(super) const ALL: &[Field] = &[$($field),*];
            }
        )*
    };
}

kinds! {
    /// A copy.
    Memcpy = 1 "CUpti_ActivityMemcpy" in memcpy
    [(5, 88), (5, 88), (5, 88), (6, 96), (6, 96), (6, 96), (6, 96), (7, 112)]
    {
        COPY_KIND copyKind @ 4: 1, SRC_KIND srcKind @ 5: 1, DST_KIND dstKind @ 6: 1, FLAGS flags @ 7: 1,
        BYTES bytes @ 8: 8, START start @ 16: 8, END end @ 24: 8, DEVICE deviceId @ 32: 4, CONTEXT contextId @ 36: 4,
        STREAM streamId @ 40: 4, CORRELATION correlationId @ 44: 4, RUNTIME_CORRELATION runtimeCorrelationId @ 48: 4,
        GRAPH_NODE graphNodeId @ 64: 8, GRAPH graphId @ 72: 4, CHANNEL channelID @ 76: 4,
        CHANNEL_TYPE channelType @ 80: 4, COPY_COUNT copyCount @ 88: 8,
    }
    /// A fill.
    Memset = 2 "CUpti_ActivityMemset" in memset
    [(4, 88), (4, 88), (4, 88), (4, 88), (4, 88), (4, 88), (4, 88), (5, 104)]
    {
        VALUE value @ 4: 4, BYTES bytes @ 8: 8, START start @ 16: 8, END end @ 24: 8, DEVICE deviceId @ 32: 4,
        CONTEXT contextId @ 36: 4, STREAM streamId @ 40: 4, CORRELATION correlationId @ 44: 4, FLAGS flags @ 48: 2,
        MEMORY_KIND memoryKind @ 50: 2, GRAPH_NODE graphNodeId @ 64: 8, GRAPH graphId @ 72: 4,
        CHANNEL channelID @ 76: 4, CHANNEL_TYPE channelType @ 80: 4,
    }
    /// A call of the driver.
    Driver = 4 "CUpti_ActivityAPI" in driver
    [(1, 40), (1, 40), (1, 40), (1, 40), (1, 40), (1, 40), (1, 40), (1, 40)]
    {
        CALLBACK cbid @ 4: 4, START start @ 8: 8, END end @ 16: 8, PROCESS processId @ 24: 4, THREAD threadId @ 28: 4,
        CORRELATION correlationId @ 32: 4, RETURN_VALUE returnValue @ 36: 4,
    }
    /// A call of the runtime.
    Runtime = 5 "CUpti_ActivityAPI" in runtime
    [(1, 40), (1, 40), (1, 40), (1, 40), (1, 40), (1, 40), (1, 40), (1, 40)]
    {
        CALLBACK cbid @ 4: 4, START start @ 8: 8, END end @ 16: 8, PROCESS processId @ 24: 4, THREAD threadId @ 28: 4,
        CORRELATION correlationId @ 32: 4, RETURN_VALUE returnValue @ 36: 4,
    }
    /// A device and what it can do.
    Device = 8 "CUpti_ActivityDevice" in device
    [(4, 176), (5, 184), (5, 184), (5, 184), (5, 184), (5, 184), (5, 184), (6, 192)]
    {
        BANDWIDTH globalMemoryBandwidth @ 8: 8, MEMORY globalMemorySize @ 16: 8, CONSTANT_MEMORY constantMemorySize @ 24: 4,
        L2_CACHE l2CacheSize @ 28: 4, WARP numThreadsPerWarp @ 32: 4, CORE_CLOCK coreClockRate @ 36: 4,
        COPY_ENGINES numMemcpyEngines @ 40: 4, MULTIPROCESSORS numMultiprocessors @ 44: 4, MAX_IPC maxIPC @ 48: 4,
        MAX_WARPS maxWarpsPerMultiprocessor @ 52: 4, MAX_BLOCKS maxBlocksPerMultiprocessor @ 56: 4,
        MAX_SHARED maxSharedMemoryPerMultiprocessor @ 60: 4, MAX_REGISTERS maxRegistersPerMultiprocessor @ 64: 4,
        MAX_REGISTERS_BLOCK maxRegistersPerBlock @ 68: 4, MAX_SHARED_BLOCK maxSharedMemoryPerBlock @ 72: 4,
        MAX_THREADS_BLOCK maxThreadsPerBlock @ 76: 4, MAJOR computeCapabilityMajor @ 104: 4,
        MINOR computeCapabilityMinor @ 108: 4, ID id @ 112: 4, ECC eccEnabled @ 116: 4, UUID uuid @ 120: 16,
        NAME name @ 136: 8, IS_MIG isMigEnabled @ 145: 1, GPU_INSTANCE gpuInstanceId @ 152: 4,
        COMPUTE_INSTANCE computeInstanceId @ 156: 4, NUMA_ID numaId @ 180: 4,
    }
    /// A context.
    Context = 9 "CUpti_ActivityContext" in context
    [(1, 16), (2, 24), (3, 32), (3, 32), (3, 32), (3, 32), (4, 40), (4, 40)]
    {
        ID contextId @ 4: 4, DEVICE deviceId @ 8: 4, API computeApiKind @ 12: 2, NULL_STREAM nullStreamId @ 14: 2,
        PARENT parentContextId @ 16: 4, IS_GREEN isGreenContext @ 20: 1,
    }
    /// A kernel.
    Kernel = 10 "CUpti_ActivityKernel" in kernel
    [(9, 208), (9, 208), (9, 208), (9, 208), (9, 208), (10, 216), (11, 224), (13, 248)]
    {
        REGISTERS registersPerThread @ 6: 2, START start @ 16: 8, END end @ 24: 8, COMPLETED completed @ 32: 8,
        DEVICE deviceId @ 40: 4, CONTEXT contextId @ 44: 4, STREAM streamId @ 48: 4, GRID_X gridX @ 52: 4,
        GRID_Y gridY @ 56: 4, GRID_Z gridZ @ 60: 4, BLOCK_X blockX @ 64: 4, BLOCK_Y blockY @ 68: 4,
        BLOCK_Z blockZ @ 72: 4, STATIC_SHARED staticSharedMemory @ 76: 4, DYNAMIC_SHARED dynamicSharedMemory @ 80: 4,
        LOCAL_PER_THREAD localMemoryPerThread @ 84: 4, CORRELATION correlationId @ 92: 4, GRID_ID gridId @ 96: 8,
        NAME name @ 104: 8, QUEUED queued @ 120: 8, SUBMITTED submitted @ 128: 8, LAUNCH_TYPE launchType @ 136: 1,
        SHARED_EXECUTED sharedMemoryExecuted @ 140: 4, GRAPH_NODE graphNodeId @ 144: 8, GRAPH graphId @ 156: 4,
        CHANNEL channelID @ 168: 4, CHANNEL_TYPE channelType @ 172: 4, CLUSTER_X clusterX @ 176: 4,
        CLUSTER_Y clusterY @ 180: 4, CLUSTER_Z clusterZ @ 184: 4, MAX_ACTIVE_CLUSTERS maxActiveClusters @ 204: 4,
        IS_DEVICE_LAUNCHED isDeviceLaunched @ 208: 1, PRIORITY priority @ 216: 4, SOURCE_GRAPH sourceGraphId @ 232: 4,
        SOURCE_GRAPH_NODE sourceGraphNodeId @ 240: 8,
    }
    /// Time that profiling itself takes.
    Overhead = 17 "CUpti_ActivityOverhead" in overhead
    [(1, 40), (3, 56), (3, 56), (3, 56), (3, 56), (3, 56), (3, 56), (3, 56)]
    {
        OVERHEAD_KIND overheadKind @ 4: 4, OBJECT_KIND objectKind @ 8: 4, OBJECT_ID objectId @ 12: 12,
        START start @ 24: 8, END end @ 32: 8, CORRELATION correlationId @ 40: 4,
    }
    /// A copy from one device to another.
    MemcpyPeer = 22 "CUpti_ActivityMemcpyPtoP" in memcpy_peer
    [(4, 96), (4, 96), (4, 96), (4, 96), (4, 96), (4, 96), (4, 96), (4, 96)]
    {
        COPY_KIND copyKind @ 4: 1, SRC_KIND srcKind @ 5: 1, DST_KIND dstKind @ 6: 1, FLAGS flags @ 7: 1,
        BYTES bytes @ 8: 8, START start @ 16: 8, END end @ 24: 8, DEVICE deviceId @ 32: 4, CONTEXT contextId @ 36: 4,
        STREAM streamId @ 40: 4, SRC_DEVICE srcDeviceId @ 44: 4, SRC_CONTEXT srcContextId @ 48: 4,
        DST_DEVICE dstDeviceId @ 52: 4, DST_CONTEXT dstContextId @ 56: 4, CORRELATION correlationId @ 60: 4,
        GRAPH_NODE graphNodeId @ 72: 8, GRAPH graphId @ 80: 4, CHANNEL channelID @ 84: 4,
        CHANNEL_TYPE channelType @ 88: 4,
    }
    /// An event that a stream recorded.
    CudaEvent = 36 "CUpti_ActivityCudaEvent" in cuda_event
    [(1, 24), (1, 24), (1, 24), (2, 56), (2, 56), (2, 56), (2, 56), (3, 80)]
    {
        CORRELATION correlationId @ 4: 4, CONTEXT contextId @ 8: 4, STREAM streamId @ 12: 4, EVENT eventId @ 16: 4,
        DEVICE deviceId @ 24: 4, DEVICE_TIMESTAMP deviceTimestamp @ 40: 8, SYNC_ID cudaEventSyncId @ 48: 8,
    }
    /// A stream.
    Stream = 37 "CUpti_ActivityStream" in stream
    [(1, 24), (1, 24), (1, 24), (1, 24), (1, 24), (1, 24), (1, 24), (1, 24)]
    {
        CONTEXT contextId @ 4: 4, ID streamId @ 8: 4, PRIORITY priority @ 12: 4, FLAG flag @ 16: 4,
        CORRELATION correlationId @ 20: 4,
    }
    /// A wait.
    Synchronization = 38 "CUpti_ActivitySynchronization" in synchronization
    [(1, 40), (1, 40), (1, 40), (2, 56), (2, 56), (2, 56), (2, 56), (2, 56)]
    {
        TYPE type @ 4: 4, START start @ 8: 8, END end @ 16: 8, CORRELATION correlationId @ 24: 4,
        CONTEXT contextId @ 28: 4, STREAM streamId @ 32: 4, EVENT cudaEventId @ 36: 4,
        SYNC_ID cudaEventSyncId @ 40: 8, RETURN_VALUE returnValue @ 48: 4,
    }
    /// Joins calls with ids that a tool pushed.
    ExternalCorrelation = 39 "CUpti_ActivityExternalCorrelation" in external_correlation
    [(1, 24), (1, 24), (1, 24), (1, 24), (1, 24), (1, 24), (1, 24), (1, 24)]
    {
        EXTERNAL_KIND externalKind @ 4: 4, EXTERNAL_ID externalId @ 8: 8, CORRELATION correlationId @ 16: 4,
    }
    /// Memory that was allocated or given back.
    Memory = 49 "CUpti_ActivityMemory" in memory
    [(3, 120), (3, 120), (4, 128), (4, 128), (4, 128), (4, 128), (4, 128), (4, 128)]
    {
        OPERATION memoryOperationType @ 4: 4, MEMORY_KIND memoryKind @ 8: 4, CORRELATION correlationId @ 12: 4,
        ADDRESS address @ 16: 8, BYTES bytes @ 24: 8, TIMESTAMP timestamp @ 32: 8, PROCESS processId @ 48: 4,
        DEVICE deviceId @ 52: 4, CONTEXT contextId @ 56: 4, STREAM streamId @ 60: 4, IS_ASYNC isAsync @ 72: 4,
    }
    /// A pool of memory.
    MemoryPool = 50 "CUpti_ActivityMemoryPool" in memory_pool
    [(2, 72), (2, 72), (2, 72), (2, 72), (2, 72), (3, 80), (3, 80), (3, 80)]
    {
        OPERATION memoryPoolOperationType @ 4: 4, POOL_TYPE memoryPoolType @ 8: 4, CORRELATION correlationId @ 12: 4,
        PROCESS processId @ 16: 4, DEVICE deviceId @ 20: 4, MIN_BYTES minBytesToKeep @ 24: 8, ADDRESS address @ 32: 8,
        SIZE size @ 40: 8, RELEASE_THRESHOLD releaseThreshold @ 48: 8, TIMESTAMP timestamp @ 56: 8,
        USED utilizedSize @ 64: 8,
    }
    /// A graph that is seen as a whole, where another tool asked for that.
    GraphTrace = 51 "CUpti_ActivityGraphTrace" in graph_trace
    [(1, 48), (2, 56), (2, 56), (2, 56), (2, 56), (2, 56), (2, 56), (2, 56)]
    {
        CORRELATION correlationId @ 4: 4, START start @ 8: 8, END end @ 16: 8, DEVICE deviceId @ 24: 4,
        GRAPH graphId @ 28: 4, CONTEXT contextId @ 32: 4, STREAM streamId @ 36: 4,
    }
    /// Code that the driver translates for the device.
    Jit = 52 "CUpti_ActivityJit" in jit
    [(1, 64), (2, 72), (2, 72), (2, 72), (2, 72), (2, 72), (2, 72), (2, 72)]
    {
        ENTRY jitEntryType @ 4: 4, OPERATION jitOperationType @ 8: 4, DEVICE deviceId @ 12: 4, START start @ 16: 8,
        END end @ 24: 8, CORRELATION correlationId @ 32: 4, CACHE_BYTES cacheSize @ 48: 8, PROCESS processId @ 64: 4,
        THREAD threadId @ 68: 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_between_two_reads_as_the_older_one() {
        for (version, expected) in [
            (17, None),
            (18, Some(0)),
            (21, Some(0)),
            (28, Some(4)),
            (29, Some(4)),
            (130_300, Some(6)),
            (140_000, Some(7)),
        ] {
            assert_eq!(version_place(version), expected, "{version}");
        }
        assert_eq!(record_size(Kind::Kernel, 130_200), Some(224));
        assert_eq!(record_size(Kind::Kernel, 12), None);
    }

    #[test]
    fn newer_records_are_never_shorter() {
        for &kind in Kind::ALL {
            assert!(forms(kind).is_sorted_by_key(|form| form.1), "{kind:?}");
            assert!(forms(kind).iter().all(|form| form.1 > 0 && form.1 % 8 == 0), "{kind:?}");
            let newest = forms(kind).last().map_or(0, |form| usize::from(form.1));
            assert!(fields(kind).iter().all(|field| field.end() <= newest), "{kind:?}");
        }
    }
}
