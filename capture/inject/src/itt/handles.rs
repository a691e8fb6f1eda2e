//! Handles of ITT: domains, strings and the names that legacy calls make.
//!
//! ITT's own structures have a field for the collector: it points to what is known of the name. A handle that was made
//! before the collector came has null there; it is filled when the handle is first used.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr::{NonNull, null, null_mut};
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use gapless_ring::layout::Class;
use gapless_ring::names::{self, Registered};

use crate::classify;
use crate::nvtx::text;
use crate::table::Table;

/// What is known of a name, decided once.
pub(super) struct Name {
    pub registered: Registered,
    /// What a task of this name is in PyTorch's domain.
    pub torch: Class,
    /// What tasks in a domain of this name are, unless it is PyTorch's.
    pub inside: Inside,
    /// `__itt_event` of this name.
    pub event: c_int,
    string: StringHandle,
    domain: DomainHandle,
    /// The name as a C string, for the handles.
    _text: CString,
}

/// Which class the tasks of a domain have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Inside {
    /// That of their names in PyTorch.
    Torch,
    /// Operators of a library, such as oneDNN's primitives.
    Operators,
    /// Ranges of whoever wrote the program.
    Annotations,
}

/// `___itt_string_handle`.
#[repr(C)]
pub(super) struct StringHandle {
    text: *const c_char,
    wide: *const c_void,
    extra1: c_int,
    known: AtomicPtr<Name>,
    next: *mut StringHandle,
}

/// `___itt_domain`.
#[repr(C)]
pub(super) struct DomainHandle {
    flags: c_int,
    name: *const c_char,
    wide: *const c_void,
    extra1: c_int,
    known: AtomicPtr<Name>,
    next: *mut DomainHandle,
}

// SAFETY: the pointers lead to memory that is never freed or changed.
unsafe impl Sync for Name {}

static NAMES: Table<Name, 131_072> = Table::new();
static EVENTS: Table<AtomicPtr<Name>, 8192> = Table::new();
static NEXT_EVENT: AtomicI32 = AtomicI32::new(1);

/// What is known of a name. `None` where there are more names than the table holds.
#[inline]
pub(super) fn name(bytes: &[u8]) -> Option<&'static Name> {
    let hash = names::hash(bytes);
    match NAMES.get(hash) {
        Some(found) => Some(found),
        None => add(bytes, hash),
    }
}

#[cold]
fn add(bytes: &[u8], hash: u64) -> Option<&'static Name> {
    let name = NAMES.get_or_insert(hash, || make(bytes))?;
    let itself = std::ptr::from_ref(name).cast_mut();
    // Handles are used only after this; a thread that finds the name earlier fills them with the same.
    name.string.known.store(itself, Ordering::Release);
    name.domain.known.store(itself, Ordering::Release);
    Some(name)
}

fn make(bytes: &[u8]) -> Name {
    // A C string has no zero inside.
    let text = CString::new(bytes).unwrap_or_default();
    let at = text.as_ptr();
    let inside = match bytes {
        b"PyTorch" => Inside::Torch,
        _ if bytes.starts_with(b"dnnl") => Inside::Operators,
        _ => Inside::Annotations,
    };
    Name {
        registered: Registered::new(bytes),
        torch: classify::torch_range(bytes),
        inside,
        event: NEXT_EVENT.fetch_add(1, Ordering::Relaxed),
        string: StringHandle { text: at, wide: null(), extra1: 0, known: AtomicPtr::new(null_mut()), next: null_mut() },
        // Not zero: enabled.
        domain: DomainHandle {
            flags: 1,
            name: at,
            wide: null(),
            extra1: 0,
            known: AtomicPtr::new(null_mut()),
            next: null_mut(),
        },
        _text: text,
    }
}

#[inline(always)]
unsafe fn known_or(known: &AtomicPtr<Name>, text: *const c_char) -> Option<&'static Name> {
    // SAFETY: null or a name that is never freed.
    match unsafe { known.load(Ordering::Acquire).as_ref() } {
        Some(name) => Some(name),
        // SAFETY: the handle's own text.
        None => unsafe { adopt(known, text) },
    }
}

#[cold]
unsafe fn adopt(known: &AtomicPtr<Name>, text: *const c_char) -> Option<&'static Name> {
    // SAFETY: by the callers' contracts.
    let found = name(unsafe { text::bytes(text) })?;
    known.store(std::ptr::from_ref(found).cast_mut(), Ordering::Release);
    Some(found)
}

/// What is known of the name behind a string handle.
///
/// # Safety
/// `handle` is null or a handle of ITT.
#[inline(always)]
pub(super) unsafe fn of_string(handle: *const StringHandle) -> Option<&'static Name> {
    // SAFETY: by this function's own contract.
    let handle = unsafe { handle.as_ref()? };
    // SAFETY: as above.
    unsafe { known_or(&handle.known, handle.text) }
}

/// What is known of the name of a domain.
///
/// # Safety
/// `handle` is null or a domain of ITT.
#[inline(always)]
pub(super) unsafe fn of_domain(handle: *const DomainHandle) -> Option<&'static Name> {
    // SAFETY: by this function's own contract.
    let handle = unsafe { handle.as_ref()? };
    // SAFETY: as above.
    unsafe { known_or(&handle.known, handle.name) }
}

/// The name of an event that [`event_create`] numbered.
pub(super) fn of_event(event: c_int) -> Option<&'static Name> {
    let name = EVENTS.get(u64::from(event.unsigned_abs()).wrapping_mul(0x9e37_79b9_7f4a_7c15))?;
    // SAFETY: names are never freed.
    unsafe { name.load(Ordering::Acquire).as_ref() }
}

unsafe extern "C" fn string_handle_create(text: *const c_char) -> *const StringHandle {
    let Some(text) = NonNull::new(text.cast_mut()) else { return null() };
    // SAFETY: ITT passes on a string of its caller.
    match name(unsafe { text::bytes(text.as_ptr()) }) {
        Some(name) => &raw const name.string,
        None => null(),
    }
}

unsafe extern "C" fn domain_create(text: *const c_char) -> *const DomainHandle {
    let Some(text) = NonNull::new(text.cast_mut()) else { return null() };
    // SAFETY: as above.
    match name(unsafe { text::bytes(text.as_ptr()) }) {
        Some(name) => &raw const name.domain,
        None => null(),
    }
}

/// Numbers a name: events, marks and frames of the older interface go by numbers.
unsafe extern "C" fn event_create(text: *const c_char, len: c_int) -> c_int {
    if text.is_null() {
        return 0;
    }
    // The length comes without the zero, but not every caller counts right.
    // SAFETY: ITT passes on a string of its caller.
    let bytes = unsafe { text::bytes(text) };
    let kept = usize::try_from(len).ok().filter(|len| *len > 0).and_then(|len| bytes.get(..len)).unwrap_or(bytes);
    number(kept)
}

unsafe extern "C" fn mark_create(text: *const c_char) -> c_int {
    // SAFETY: as above.
    number(unsafe { text::bytes(text) })
}

fn number(bytes: &[u8]) -> c_int {
    let Some(name) = name(bytes) else { return 0 };
    let key = u64::from(name.event.unsigned_abs()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match EVENTS.get_or_insert(key, || AtomicPtr::new(std::ptr::from_ref(name).cast_mut())) {
        Some(_) => name.event,
        None => 0,
    }
}

/// The functions of this file by entry point.
pub(super) fn function(name: &[u8]) -> Option<*const c_void> {
    Some(match name {
        b"domain_create" | b"domain_createA" => domain_create as *const c_void,
        b"string_handle_create" | b"string_handle_createA" => string_handle_create as *const c_void,
        b"event_create" | b"event_createA" => event_create as *const c_void,
        b"mark_create" | b"mark_createA" => mark_create as *const c_void,
        // A frame of the older interface is the domain's name.
        b"frame_create" | b"frame_createA" => domain_create as *const c_void,
        _ => return None,
    })
}
