//! Where the fields of records lie, as data.
//!
//! A kind of record has one form or several: from ROCm 7.0 on, calls say the call around them too, which moved what stood
//! behind that. Within a form, newer versions only append. The tests compile a C program against the headers that are
//! published and compare every line of these tables that those headers have.

/// A field of a record or of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the header; fields of a structure within are named with a dot.
    pub name: &'static str,
    /// Bytes from the begin.
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

/// How a version of the tables came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Compared with compiled headers by the tests.
    Compiled,
    /// Read in the published source; no package brings these headers.
    Read,
}

/// Versions that were looked at: what `rocprofiler_configure` is told (10,000 times major, 100 times minor, patch), the
/// release of ROCm, and how.
pub const VERSIONS: [(u32, &str, Source); 5] = [
    (400, "6.2", Source::Read),
    (600, "6.4", Source::Read),
    (10_000, "7.0", Source::Read),
    (10_201, "7.x", Source::Compiled),
    (10_305, "10.0", Source::Read),
];

/// The oldest version that is read.
pub const OLDEST: u32 = 400;
/// From this version on a call says the call around it.
pub const WITH_ANCESTOR: u32 = 10_000;

/// Every record begins so: its own size, then kind and operation.
pub mod head {
    use super::Field;
    /// `size`
    pub const SIZE: Field = Field::new("size", 0, 8);
    /// `kind`
    pub const KIND: Field = Field::new("kind", 8, 4);
    /// `operation`
    pub const OPERATION: Field = Field::new("operation", 12, 4);
}

macro_rules! structures {
    ($($(#[$doc:meta])* $module:ident $name:literal since $since:literal size $size:literal {
        $($field:ident $text:literal @ $offset:literal : $bytes:literal),* $(,)?
    })*) => {
        $(
            $(#[$doc])*
            pub mod $module {
                use super::{Field, Structure};
                $(
                    #[doc = concat!("`", $text, "`")]
                    pub const $field: Field = Field::new($text, $offset, $bytes);
                )*
                /// The whole of it.
                pub const ALL: Structure =
                    Structure { name: $name, since: $since, bytes: $size, fields: &[$($field),*] };
            }
        )*
        /// All of them.
        pub const STRUCTURES: &[Structure] = &[$($module::ALL),*];
    };
}

/// A structure of the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Its name there.
    pub name: &'static str,
    /// The first version with this form.
    pub since: u32,
    /// Least bytes of this form: newer versions may have more.
    pub bytes: u16,
    /// What is read of it.
    pub fields: &'static [Field],
}

structures! {
    /// A kernel that ran.
    kernel "rocprofiler_buffer_tracing_kernel_dispatch_record_t" since 400 size 184 {
        CORRELATION "correlation_id.internal" @ 16: 8, THREAD "thread_id" @ 32: 8, START "start_timestamp" @ 40: 8,
        END "end_timestamp" @ 48: 8, AGENT "dispatch_info.agent_id" @ 64: 8, QUEUE "dispatch_info.queue_id" @ 72: 8,
        KERNEL "dispatch_info.kernel_id" @ 80: 8, DISPATCH "dispatch_info.dispatch_id" @ 88: 8,
        PRIVATE_BYTES "dispatch_info.private_segment_size" @ 96: 4,
        GROUP_BYTES "dispatch_info.group_segment_size" @ 100: 4,
        WORKGROUP "dispatch_info.workgroup_size" @ 104: 12, GRID "dispatch_info.grid_size" @ 116: 12,
    }
    /// Bytes that were copied.
    copy "rocprofiler_buffer_tracing_memory_copy_record_t" since 400 size 80 {
        CORRELATION "correlation_id.internal" @ 16: 8, THREAD "thread_id" @ 32: 8, START "start_timestamp" @ 40: 8,
        END "end_timestamp" @ 48: 8, TO_AGENT "dst_agent_id" @ 56: 8, FROM_AGENT "src_agent_id" @ 64: 8,
        BYTES "bytes" @ 72: 8,
    }
    /// A call of HIP or RCCL, up to ROCm 6.4.
    old_call "rocprofiler_buffer_tracing_hip_api_record_t" since 400 size 56 {
        CORRELATION "correlation_id.internal" @ 16: 8, START "start_timestamp" @ 32: 8, END "end_timestamp" @ 40: 8,
        THREAD "thread_id" @ 48: 8,
    }
    /// A call of HIP or RCCL, from ROCm 7.0 on.
    call "rocprofiler_buffer_tracing_hip_api_record_t" since 10_000 size 64 {
        CORRELATION "correlation_id.internal" @ 16: 8, ANCESTOR "correlation_id.ancestor" @ 32: 8,
        START "start_timestamp" @ 40: 8, END "end_timestamp" @ 48: 8, THREAD "thread_id" @ 56: 8,
    }
    /// Memory that was allocated or given back, up to ROCm 6.4.
    old_allocation "rocprofiler_buffer_tracing_memory_allocation_record_t" since 600 size 80 {
        CORRELATION "correlation_id.internal" @ 16: 8, THREAD "thread_id" @ 32: 8, START "start_timestamp" @ 40: 8,
        END "end_timestamp" @ 48: 8, AGENT "agent_id" @ 56: 8, ADDRESS "address" @ 64: 8,
        BYTES "allocation_size" @ 72: 8,
    }
    /// Memory that was allocated or given back, from ROCm 7.0 on.
    allocation "rocprofiler_buffer_tracing_memory_allocation_record_t" since 10_000 size 88 {
        CORRELATION "correlation_id.internal" @ 16: 8, THREAD "thread_id" @ 40: 8, START "start_timestamp" @ 48: 8,
        END "end_timestamp" @ 56: 8, AGENT "agent_id" @ 64: 8, ADDRESS "address" @ 72: 8,
        BYTES "allocation_size" @ 80: 8,
    }
    /// Scratch memory of queues, in ROCm 6.2.
    oldest_scratch "rocprofiler_buffer_tracing_scratch_memory_record_t" since 400 size 80 {
        AGENT "agent_id" @ 16: 8, QUEUE "queue_id" @ 24: 8, THREAD "thread_id" @ 32: 8, START "start_timestamp" @ 40: 8,
        END "end_timestamp" @ 48: 8,
    }
    /// Scratch memory of queues, in ROCm 6.4.
    old_scratch "rocprofiler_buffer_tracing_scratch_memory_record_t" since 600 size 80 {
        AGENT "agent_id" @ 32: 8, QUEUE "queue_id" @ 40: 8, THREAD "thread_id" @ 48: 8, START "start_timestamp" @ 56: 8,
        END "end_timestamp" @ 64: 8,
    }
    /// Scratch memory of queues, from ROCm 7.0 on.
    scratch "rocprofiler_buffer_tracing_scratch_memory_record_t" since 10_000 size 88 {
        AGENT "agent_id" @ 40: 8, QUEUE "queue_id" @ 48: 8, THREAD "thread_id" @ 56: 8, START "start_timestamp" @ 64: 8,
        END "end_timestamp" @ 72: 8,
    }
    /// A kernel of a code object that was loaded.
    symbol "rocprofiler_callback_tracing_code_object_kernel_symbol_register_data_t" since 400 size 72 {
        KERNEL "kernel_id" @ 8: 8, NAME "kernel_name" @ 24: 8, GROUP_BYTES "group_segment_size" @ 48: 4,
        PRIVATE_BYTES "private_segment_size" @ 52: 4, SGPRS "sgpr_count" @ 56: 4, VGPRS "arch_vgpr_count" @ 60: 4,
        ACCUMULATORS "accum_vgpr_count" @ 64: 4,
    }
    /// A processor or GPU. What stands behind differs between versions and is not read.
    agent "rocprofiler_agent_v0_t" since 400 size 288 {
        ID "id" @ 8: 8, TYPE "type" @ 16: 4, MEMORY_BANKS "mem_banks_count" @ 28: 4, WAVES_PER_SIMD "max_waves_per_simd" @ 48: 4,
        LDS_KB "lds_size_in_kb" @ 52: 4, WAVE_FRONT "wave_front_size" @ 64: 4, XCCS "num_xcc" @ 68: 4,
        COMPUTE_UNITS "cu_count" @ 72: 4, SIMDS_PER_UNIT "simd_per_cu" @ 92: 4,
        GFX_VERSION "gfx_target_version" @ 100: 4, LOCATION "location_id" @ 108: 4, DOMAIN "domain" @ 112: 4,
        CLOCK_MHZ "max_engine_clk_fcompute" @ 140: 4, MEMORY "mem_banks" @ 224: 8, NAME "name" @ 248: 8,
        PRODUCT "product_name" @ 264: 8, NODE "node_id" @ 280: 4, LOGICAL_NODE "logical_node_id" @ 284: 4,
    }
    /// A part of an agent's memory.
    memory_bank "rocprofiler_agent_mem_bank_t" since 400 size 24 {
        HEAP "heap_type" @ 0: 4, BYTES "size_in_bytes" @ 16: 8,
    }
}

/// What an agent is, by its `type`: a GPU.
pub const AGENT_GPU: u32 = 2;

/// Kinds of records that are read here, in the order in which they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A kernel.
    Kernel,
    /// A copy.
    Copy,
    /// A call of the HIP runtime.
    Hip,
    /// A call of RCCL.
    Rccl,
    /// Scratch memory.
    Scratch,
    /// Memory that was allocated or given back.
    Allocation,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] = [Kind::Kernel, Kind::Copy, Kind::Hip, Kind::Rccl, Kind::Scratch, Kind::Allocation];

    /// The name that rocprofiler gives it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kernel => "KERNEL_DISPATCH",
            Kind::Copy => "MEMORY_COPY",
            Kind::Hip => "HIP_RUNTIME_API",
            Kind::Rccl => "RCCL_API",
            Kind::Scratch => "SCRATCH_MEMORY",
            Kind::Allocation => "MEMORY_ALLOCATION",
        }
    }

    /// The forms of its records, the newest first.
    pub fn forms(self) -> &'static [Structure] {
        match self {
            Kind::Kernel => &[kernel::ALL],
            Kind::Copy => &[copy::ALL],
            Kind::Hip | Kind::Rccl => &[call::ALL, old_call::ALL],
            Kind::Scratch => &[scratch::ALL, old_scratch::ALL, oldest_scratch::ALL],
            Kind::Allocation => &[allocation::ALL, old_allocation::ALL],
        }
    }

    /// The form of its records in a version; `None` where that does not have the kind.
    #[inline(always)]
    pub fn form(self, version: u32) -> Option<&'static Structure> {
        self.forms().iter().find(|form| form.since <= version)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn fields_lie_within_their_structures_and_apart() {
        for structure in STRUCTURES {
            let mut fields = structure.fields.to_vec();
            fields.sort_by_key(|field| field.offset);
            assert!(fields.iter().all(|field| field.end() <= structure.bytes as usize), "{structure:?}");
            assert!(fields.windows(2).all(|pair| pair[0].end() <= pair[1].offset as usize), "{structure:?}");
        }
    }

    #[test]
    fn a_version_between_two_reads_as_the_older_one() {
        assert_eq!(Kind::Hip.form(602).unwrap().bytes, 56);
        assert_eq!(Kind::Hip.form(10_102).unwrap().bytes, 64);
        assert_eq!(Kind::Scratch.form(10_400), Some(&scratch::ALL));
        assert_eq!(Kind::Scratch.form(501), Some(&oldest_scratch::ALL));
        assert_eq!(Kind::Allocation.form(400), None);
        assert_eq!(Kind::Kernel.form(OLDEST - 1), None);
    }
}
