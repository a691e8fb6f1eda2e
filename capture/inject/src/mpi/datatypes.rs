//! Sizes and names of data types.
//!
//! A handle that is wrong must fail in the job's own call and nowhere else, so a type is only asked about when it is
//! the library's own, was just committed, or was just used by a call that succeeded.

use std::ffi::c_int;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicUsize, Ordering};

use super::library::{ask, library, text};
use super::places::{Place, Places};

/// What is known of a data type.
pub(super) struct Datatype {
    size_bytes: AtomicI64,
    name: AtomicPtr<u8>,
    name_len: AtomicUsize,
}

static DATATYPES: Places<Datatype, 4096> = Places {
    places: [const {
        Place {
            key: std::sync::atomic::AtomicU64::new(0),
            value: Datatype {
                size_bytes: AtomicI64::new(0),
                name: AtomicPtr::new(std::ptr::null_mut()),
                name_len: AtomicUsize::new(0),
            },
        }
    }; 4096],
    writing: Mutex::new(()),
};

/// Names that were given to data types; a job that makes up ever new ones gets "derived" for the rest.
static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
const MOST_NAMES: usize = 256;

impl Datatype {
    /// Bytes of one element.
    pub(super) fn size_bytes(&self) -> u64 {
        u64::try_from(self.size_bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Its name in MPI, "derived" where it has none.
    pub(super) fn name(&self) -> &'static [u8] {
        let name = self.name.load(Ordering::Relaxed);
        if name.is_null() {
            return b"";
        }
        // SAFETY: both were written, before the place was published, from a string that is never freed.
        unsafe { std::slice::from_raw_parts(name, self.name_len.load(Ordering::Relaxed)) }
    }
}

/// What is known of a type; the library's own are asked about on first sight.
#[inline(always)]
pub(super) fn find(handle: u64) -> Option<&'static Datatype> {
    DATATYPES.find(handle).or_else(|| first_sight(handle))
}

#[cold]
#[inline(never)]
fn first_sight(handle: u64) -> Option<&'static Datatype> {
    if library().is_own_datatype(handle) { learn(handle) } else { None }
}

/// Asks about a type that is known to be valid.
pub(super) fn learn(handle: u64) -> Option<&'static Datatype> {
    if !library().is_datatype(handle) {
        return None;
    }
    let mut size_bytes: i64 = 0;
    if !ask!("Type_size_x", handle, &raw mut size_bytes) {
        return None;
    }
    let name = text(|buffer, len: *mut c_int| ask!("Type_get_name", handle, buffer, len));
    let name = keep(if name.is_empty() { "derived" } else { &name });
    DATATYPES.add(handle, |place| {
        place.size_bytes.store(size_bytes, Ordering::Relaxed);
        place.name.store(name.as_ptr().cast_mut(), Ordering::Relaxed);
        place.name_len.store(name.len(), Ordering::Relaxed);
    })
}

/// The handle may mean another type from now on.
pub(super) fn forget(handle: u64) {
    DATATYPES.remove(handle);
}

fn keep(name: &str) -> &'static str {
    let mut names = NAMES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = names.iter().find(|known| **known == name) {
        return known;
    }
    if names.len() >= MOST_NAMES {
        return "derived";
    }
    let kept: &'static str = Box::leak(name.into());
    names.push(kept);
    kept
}
