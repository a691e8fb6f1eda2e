//! What CUPTI's numbers are called. Names that PyTorch's profiler gives the same things are kept, so that analyses that
//! know those know ours.

use gapless_ring::device::SCRATCH;

/// `Memcpy HtoD (Pinned -> Device)`.
pub(super) fn copy(direction: u8, from: u8, to: u8) -> String {
    let direction = match direction {
        1 => "HtoD",
        2 => "DtoH",
        3 => "HtoA",
        4 => "AtoH",
        5 => "AtoA",
        6 => "AtoD",
        7 => "DtoA",
        8 => "DtoD",
        9 => "HtoH",
        10 => "PtoP",
        _ => "Unknown",
    };
    format!("Memcpy {direction} ({} -> {})", memory(from), memory(to))
}

/// A kind of memory.
pub(super) fn memory(kind: u8) -> &'static str {
    match kind {
        1 => "Pageable",
        2 => "Pinned",
        3 => "Device",
        4 => "Array",
        5 => "Managed",
        6 => "Device Static",
        7 => "Managed Static",
        _ => "Unknown",
    }
}

/// What a counter of a kind of memory is called.
pub(super) fn memory_counter(kind: u32) -> &'static str {
    match kind {
        1 => "pageable memory, allocated",
        2 => "pinned memory, allocated",
        3 => "memory, allocated",
        4 => "arrays, allocated",
        5 => "managed memory, allocated",
        6 => "static memory, allocated",
        7 => "managed static memory, allocated",
        _ => "other memory, allocated",
    }
}

/// A wait.
pub(super) fn sync(of: u32) -> &'static str {
    match of {
        1 => "Event Sync",
        2 => "Stream Wait Event",
        3 => "Stream Sync",
        4 => "Context Sync",
        _ => "Unknown Sync",
    }
}

/// Scratch memory of AMD's queues (`rocprofiler_scratch_memory_operation_t`).
const SCRATCH_ALLOCATED: u32 = SCRATCH + 1;
const SCRATCH_FREED: u32 = SCRATCH + 2;
const SCRATCH_RECLAIMED: u32 = SCRATCH + 3;

/// What the device library itself takes time for.
pub(super) fn overhead(of: u32) -> &'static str {
    match of {
        1 => "Driver Compiler",
        0x1_0000 => "Buffer Flush",
        0x2_0000 => "Instrumentation",
        0x3_0000 => "Resource",
        0x4_0000 => "Runtime Triggered Module Loading",
        0x5_0000 => "Lazy Function Loading",
        0x6_0000 => "Command Buffer Full",
        0x7_0000 => "Activity Buffer Request",
        0x8_0000 => "UVM Activity Init",
        SCRATCH_ALLOCATED => "Scratch Memory Allocation",
        SCRATCH_FREED => "Scratch Memory Release",
        SCRATCH_RECLAIMED => "Scratch Memory Reclaim",
        _ => "Overhead",
    }
}

/// What is done when code is translated (`CUpti_ActivityJitOperationType`).
pub(super) fn jit(operation: u32) -> &'static str {
    match operation {
        1 => "JIT Cache Load",
        2 => "JIT Cache Store",
        3 => "JIT Compile",
        _ => "JIT",
    }
}

/// A kernel's name as a person writes it; names that are not mangled stay.
pub(super) fn demangled(name: &str) -> String {
    match cpp_demangle::Symbol::new(name) {
        Ok(symbol) => symbol.demangle().unwrap_or_else(|_| name.to_owned()),
        Err(_) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_analyses_know() {
        assert_eq!(copy(1, 2, 3), "Memcpy HtoD (Pinned -> Device)");
        assert_eq!(copy(10, 3, 3), "Memcpy PtoP (Device -> Device)");
        // The kernel's argument is cut off: what can be read is.
        assert_eq!(
            demangled("_Z40ncclDevKernel_AllReduce_Sum_f32_RING_LLP"),
            "ncclDevKernel_AllReduce_Sum_f32_RING_LLP"
        );
        assert_eq!(demangled("_Z9"), "_Z9");
        assert_eq!(demangled("_Z6kernelPfi"), "kernel(float*, int)");
        assert_eq!(demangled("_ZN2at6native6kernelIfEEvT_"), "void at::native::kernel<float>(float)");
        assert_eq!(demangled("triton_poi_fused_add_0"), "triton_poi_fused_add_0");
    }
}
