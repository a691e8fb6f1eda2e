//! Keeps this image mapped, and finishes the segment when the process ends in order.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

use gapless_ring::writer;

/// Not a `Once`: a child that was forked while another thread ran it would wait for ever.
static PINNED: AtomicBool = AtomicBool::new(false);

/// To be called by every entry point that another library may close later. Cheap after the first time.
pub(crate) fn pin() {
    if PINNED.load(Ordering::Relaxed) || PINNED.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: `dladdr` gets an address of this image and a place to write to; the path it gives is a C string of
    // the loader. `atexit` gets a plain function, which stays mapped from here on.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(pin as *const c_void, &mut info) != 0 && !info.dli_fname.is_null() {
            libc::dlopen(info.dli_fname, libc::RTLD_NOW | libc::RTLD_NODELETE | libc::RTLD_NOLOAD);
        }
        libc::atexit(at_exit);
    }
}

extern "C" fn at_exit() {
    writer::finish();
}
