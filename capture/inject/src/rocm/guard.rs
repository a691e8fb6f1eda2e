//! Keeps jobs alive that use HIP where there is no rocprofiler-sdk.
//!
//! ROCm's runtimes register with `librocprofiler-register`. That looks for a function `rocprofiler_configure` among the
//! images that are loaded for all, and ends the process where there is one but no `librocprofiler-sdk`. This image has
//! that function, so where it is preloaded (for MPI) on a machine with HIP alone it would end the job. It therefore stands in
//! front of the registration too, and lets it through where rocprofiler-sdk can be loaded, or where it would be loaded
//! without us.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::symbols::Symbol;

static REGISTER: Symbol = Symbol::new("rocprofiler_register_library_api_table\0", "librocprofiler-register");

/// `ROCP_REG_NO_TOOLS`
const NO_TOOLS: c_int = 1;
/// Names that rocprofiler-sdk has in releases of ROCm.
const NAMES: [&str; 3] = ["librocprofiler-sdk.so", "librocprofiler-sdk.so.1", "librocprofiler-sdk.so.0"];

type Register = unsafe extern "C" fn(*const c_char, *const c_void, u32, *mut *mut c_void, u64, *mut c_void) -> c_int;

/// In front of `librocprofiler-register`'s function: a ROCm runtime tells its table of functions.
///
/// # Safety
/// As for the function of that library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rocprofiler_register_library_api_table(
    name: *const c_char,
    import: *const c_void,
    version: u32,
    tables: *mut *mut c_void,
    count: u64,
    id: *mut c_void,
) -> c_int {
    let Some(address) = REGISTER.get() else { return NO_TOOLS };
    if !std::panic::catch_unwind(|| may_register(address)).unwrap_or(true) {
        return NO_TOOLS;
    }
    // SAFETY: the library's function of this name, with the caller's own arguments.
    unsafe {
        let register: Register = std::mem::transmute(address);
        register(name, import, version, tables, count, id)
    }
}

/// Whether registering does no harm. Decided once.
fn may_register(register: usize) -> bool {
    static ANSWER: AtomicU8 = AtomicU8::new(0);
    match ANSWER.load(Ordering::Relaxed) {
        1 => return true,
        2 => return false,
        _ => {}
    }
    let is_fine = is_asked_for() || rocprofiler_sys::is_loaded() || load(register);
    ANSWER.store(if is_fine { 1 } else { 2 }, Ordering::Relaxed);
    if !is_fine && gapless_ring::writer::is_recorded() {
        super::tell(
            "AMD GPU work is not recorded: this ROCm has no librocprofiler-sdk; install the package rocprofiler-sdk of \
             the same release",
        );
    }
    is_fine
}

/// Whether rocprofiler-sdk would be loaded without this image, too.
fn is_asked_for() -> bool {
    let variables = ["ROCP_TOOL_LIBRARIES", "ROCPROFILER_REGISTER_LIBRARY", "ROCPROFILER_REGISTER_FORCE_LOAD"];
    if variables.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return true;
    }
    // SAFETY: the name is a C string; this only looks behind this image in the order of loading.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"rocprofiler_configure".as_ptr()) };
    !next.is_null()
}

/// Loads rocprofiler-sdk as the registration does: beside the registering library, then by name.
fn load(register: usize) -> bool {
    let beside = folder_of(register);
    let places = beside.iter().flat_map(|folder| NAMES.iter().map(move |name| format!("{folder}/{name}")));
    places.chain(NAMES.iter().map(|name| (*name).to_owned())).any(|place| {
        let Ok(place) = CString::new(place) else { return false };
        // SAFETY: loading what the registration would load next; it stays.
        !unsafe { libc::dlopen(place.as_ptr(), libc::RTLD_LAZY | libc::RTLD_GLOBAL) }.is_null()
    })
}

/// The folder of the image that has this address.
fn folder_of(address: usize) -> Option<String> {
    // SAFETY: `dladdr` only looks the address up, and writes to a place of ours; the path it gives is a C string.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(address as *const c_void, &mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        let path = CStr::from_ptr(info.dli_fname).to_string_lossy().into_owned();
        path.rsplit_once('/').map(|(folder, _)| folder.to_owned())
    }
}
