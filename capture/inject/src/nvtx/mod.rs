//! NVTX: the tool's side of the injection interface (`NVTX_INJECTION64_PATH`).
//!
//! Each copy of NVTX in a process (every library that includes the headers has one) calls [`InitializeInjectionNvtx2`]
//! once and gets the same functions. What is handed out (domains, registered strings, resources) points to memory that
//! is never freed and knows its name, so it stays good in a forked child and after a domain is destroyed; the same
//! name gives the same handle.
//!
//! | call | record |
//! |---|---|
//! | push, pop | `Push`, `Pop` with the domain, as ranges of different domains need not nest |
//! | start, end | `Start`, `End` with an id that is unique in the process |
//! | mark | `Mark` |
//! | colour, payload | `Attr` "color", "payload" after the record |
//! | extended payload | `Blob` "nvtx-payload:ID" in the domain, after an `Info` "nvtx-schema:ID" told once |
//! | name of a thread | `ThreadName` with the thread's id |
//! | counter (extension) | `Counter` |
//!
//! Layouts are those of nvtx3 (`nvToolsExt.h`, `nvtxDetail/nvtxTypes.h`).

mod attributes;
mod core;
mod counters;
mod domains;
mod payload;
mod schema;
pub(crate) mod text;

use std::ffi::{c_int, c_uint, c_void};

use gapless_ring::layout::SOURCE_NVTX;
use gapless_ring::writer;

use crate::pin::pin;

/// "No tool that counts ranges": what push and pop answer while nothing is recorded.
const NO_TRACKING: c_int = -2;
/// Version of the NVTX interface that this tool was written for.
const NVTX_VERSION: u32 = 3;

const TABLE_CALLBACKS: u32 = 1;
const TABLE_VERSION: u32 = 3;
const MODULE_CORE: c_int = 1;
const MODULE_CORE2: c_int = 5;

/// A slot of NVTX for one function, and a table of pointers to slots.
type Slot = *mut *const c_void;
type SlotTable = *mut Slot;

/// `NvtxGetExportTableFunc_t`.
type GetExportTable = unsafe extern "C" fn(u32) -> *const c_void;

/// `NvtxExportTableCallbacks`.
#[repr(C)]
struct Callbacks {
    struct_size: usize,
    table_of: Option<unsafe extern "C" fn(c_int, *mut SlotTable, *mut c_uint) -> c_int>,
}

/// `NvtxExportTableVersionInfo`.
#[repr(C)]
struct VersionInfo {
    struct_size: usize,
    version: u32,
    reserved: u32,
    set_version: Option<unsafe extern "C" fn(u32)>,
}

/// Called by each copy of NVTX in the process before its first event. Returns 1: keep this image loaded.
///
/// # Safety
/// To be called by NVTX.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn InitializeInjectionNvtx2(get: Option<GetExportTable>) -> c_int {
    let Some(get) = get else { return 0 };
    pin();
    // SAFETY: NVTX gives null or tables that live as long as its image; sizes say which fields are there.
    unsafe {
        let callbacks = get(TABLE_CALLBACKS).cast::<Callbacks>();
        if callbacks.is_null() || (*callbacks).struct_size < size_of::<Callbacks>() {
            return 0;
        }
        let Some(table_of) = (*callbacks).table_of else { return 0 };
        let version = get(TABLE_VERSION).cast::<VersionInfo>();
        if !version.is_null()
            && (*version).struct_size >= size_of::<VersionInfo>()
            && let Some(set_version) = (*version).set_version
        {
            set_version(NVTX_VERSION);
        }
        fill(table_of, MODULE_CORE, &core::core_functions());
        fill(table_of, MODULE_CORE2, &core::core2_functions());
    }
    writer::note_source(SOURCE_NVTX);
    1
}

/// Puts functions into the slots of a module, as far as this copy of NVTX has them.
///
/// # Safety
/// `table_of` is NVTX's own.
unsafe fn fill(
    table_of: unsafe extern "C" fn(c_int, *mut SlotTable, *mut c_uint) -> c_int,
    module: c_int,
    functions: &[(usize, *const c_void)],
) {
    let mut table: SlotTable = std::ptr::null_mut();
    let mut slots: c_uint = 0;
    // SAFETY: both places are writable.
    if unsafe { table_of(module, &mut table, &mut slots) } == 0 || table.is_null() {
        return;
    }
    for &(index, function) in functions {
        if index < slots as usize {
            // SAFETY: the table has `slots` entries, each null or a place for a function.
            unsafe {
                let slot = *table.add(index);
                if !slot.is_null() {
                    *slot = function;
                }
            }
        }
    }
}

/// `nvtxExtModuleSegment_t`.
#[repr(C)]
struct Segment {
    id: usize,
    slots: usize,
    functions: *mut *const c_void,
}

/// `nvtxExtModuleInfo_t`.
#[repr(C)]
pub struct ExtensionModule {
    nvtx_version: u16,
    struct_size: u16,
    module: u16,
    compat: u16,
    segments_len: usize,
    segments: *mut Segment,
    get_export: *const c_void,
    info: *const c_void,
}

const EXTENSION_PAYLOAD: u16 = 2;
const EXTENSION_COUNTERS: u16 = 4;

/// Called once per extension and copy of NVTX. Returns 1 also for extensions that are not known here: their calls do
/// nothing then.
///
/// # Safety
/// To be called by NVTX.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn InitializeInjectionNvtxExtension(module: *mut ExtensionModule) -> c_int {
    pin();
    if module.is_null() {
        return 0;
    }
    // SAFETY: NVTX gives a module of at least `struct_size` bytes.
    let module = unsafe {
        if usize::from((*module).struct_size) < std::mem::offset_of!(ExtensionModule, get_export) {
            return 0;
        }
        &*module
    };
    if module.segments_len == 0 || module.segments.is_null() {
        return 0;
    }
    let functions: &[(usize, *const c_void)] = match module.module {
        EXTENSION_PAYLOAD => &payload::functions(),
        EXTENSION_COUNTERS => &counters::functions(),
        _ => &[],
    };
    // SAFETY: there is at least one segment, with as many slots as it says.
    unsafe {
        let segment = &*module.segments;
        for &(index, function) in functions {
            if index < segment.slots && !segment.functions.is_null() {
                *segment.functions.add(index) = function;
            }
        }
    }
    writer::note_source(SOURCE_NVTX);
    1
}
