//! Finds the functions that this image stands in front of when it is preloaded.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Looked for and not there.
const MISSING: usize = 1;

/// A function of another image, looked up when it is first needed.
pub(crate) struct Symbol {
    /// NUL-terminated.
    name: &'static str,
    /// Part of the file name of the image that has it.
    image: &'static str,
    address: AtomicUsize,
}

impl Symbol {
    /// `name` ends with a NUL; `image` is part of the file name of the image that has it.
    pub(crate) const fn new(name: &'static str, image: &'static str) -> Symbol {
        Symbol { name, image, address: AtomicUsize::new(0) }
    }

    /// Its address, where some image of the process has it.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<usize> {
        match self.address.load(Ordering::Relaxed) {
            0 => self.find(),
            MISSING => None,
            found => Some(found),
        }
    }

    #[cold]
    #[inline(never)]
    fn find(&self) -> Option<usize> {
        let found = CStr::from_bytes_with_nul(self.name.as_bytes()).ok().and_then(|name| find(name, self.image));
        self.address.store(found.unwrap_or(MISSING), Ordering::Relaxed);
        found
    }
}

/// The address of a variable of an image whose file name has `libmpi` in it. A program may hold the one copy of a
/// library's variable, so the order of loading from its begin comes first; `name` ends with a NUL.
pub(crate) fn object(name: &'static str) -> Option<usize> {
    let name = CStr::from_bytes_with_nul(name.as_bytes()).ok()?;
    // SAFETY: the name is a C string.
    let first = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if first.is_null() { find(name, "libmpi") } else { Some(first as usize) }
}

/// The address of a symbol behind this image in the order of loading, else in an image whose file name has `image` in
/// it, else in any image. Python loads extension modules, and with them their libraries, where `RTLD_NEXT` does not
/// look.
fn find(name: &CStr, image: &str) -> Option<usize> {
    // SAFETY: the name is a C string.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if !next.is_null() {
        return Some(next as usize);
    }
    let mut paths: Vec<CString> = Vec::new();
    // SAFETY: the callback gets the vector back, and only during this call.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut paths).cast()) };
    let own = own_base();
    // Opening happens after the walk, which holds a lock of the loader.
    let hinted = |path: &&CString| path.to_bytes().windows(image.len()).any(|part| part == image.as_bytes());
    let (first, rest): (Vec<_>, Vec<_>) = paths.iter().partition(hinted);
    first.into_iter().chain(rest).find_map(|path| {
        // SAFETY: the path is a C string, and RTLD_NOLOAD loads nothing. The handle is kept: a library whose functions
        // we call must not go.
        unsafe {
            let handle = libc::dlopen(path.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
            if handle.is_null() {
                return None;
            }
            let found = libc::dlsym(handle, name.as_ptr());
            if found.is_null() || base_of(found as usize) == own {
                libc::dlclose(handle);
                return None;
            }
            Some(found as usize)
        }
    })
}

unsafe extern "C" fn collect(info: *mut libc::dl_phdr_info, _size: usize, paths: *mut c_void) -> c_int {
    // SAFETY: the loader gives a valid entry; `paths` is what `find` passed.
    unsafe {
        let name: *const c_char = (*info).dlpi_name;
        if !name.is_null() && *name != 0 {
            (*paths.cast::<Vec<CString>>()).push(CStr::from_ptr(name).to_owned());
        }
    }
    0
}

/// Where the image begins that holds this address; `None` for memory that belongs to none.
pub(crate) fn base_of(address: usize) -> Option<usize> {
    // SAFETY: `dladdr` only looks the address up, and writes to a place of ours.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        (libc::dladdr(address as *const c_void, &mut info) != 0).then_some(info.dli_fbase as usize)
    }
}

fn own_base() -> Option<usize> {
    base_of(own_base as *const () as usize)
}
