//! Counters of ITT.

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use gapless_ring::layout::{Kind, Record};
use gapless_ring::names::{self, Registered};
use gapless_ring::writer;

use super::handles::{self, DomainHandle, StringHandle};
use crate::nvtx::text;
use crate::table::{Table, join};

/// `__itt_counter_info`, which a counter's handle points to.
#[repr(C)]
struct CounterHandle {
    name: *const c_char,
    name_wide: *const c_void,
    domain: *const c_char,
    domain_wide: *const c_void,
    kind: c_int,
    index: c_long,
    extra1: c_int,
    known: AtomicPtr<Counter>,
    next: *mut CounterHandle,
}

struct Counter {
    name: Registered,
    domain: Registered,
    kind: c_int,
    /// What increments add to: the bits of an `f64` for floating types, else a wrapping integer.
    value: AtomicU64,
    handle: CounterHandle,
    _texts: (CString, CString),
}

// SAFETY: the pointers lead to memory that is never freed or changed.
unsafe impl Sync for Counter {}

static COUNTERS: Table<Counter, 8192> = Table::new();

const UNSIGNED_64: c_int = 1;
const SIGNED_64: c_int = 2;
const UNSIGNED_32: c_int = 3;
const SIGNED_32: c_int = 4;
const UNSIGNED_16: c_int = 5;
const SIGNED_16: c_int = 6;
const FLOAT_32: c_int = 7;
const FLOAT_64: c_int = 8;

/// A number of a metadata type as `f64`.
///
/// # Safety
/// `value` points to a number of this type, aligned or not.
pub(super) unsafe fn number_of(kind: c_int, value: *const c_void) -> Option<f64> {
    // SAFETY: by this function's own contract.
    unsafe {
        Some(match kind {
            // Counters made without a type are unsigned.
            0 | UNSIGNED_64 => value.cast::<u64>().read_unaligned() as f64,
            SIGNED_64 => value.cast::<i64>().read_unaligned() as f64,
            UNSIGNED_32 => f64::from(value.cast::<u32>().read_unaligned()),
            SIGNED_32 => f64::from(value.cast::<i32>().read_unaligned()),
            UNSIGNED_16 => f64::from(value.cast::<u16>().read_unaligned()),
            SIGNED_16 => f64::from(value.cast::<i16>().read_unaligned()),
            FLOAT_32 => f64::from(value.cast::<f32>().read_unaligned()),
            FLOAT_64 => value.cast::<f64>().read_unaligned(),
            _ => return None,
        })
    }
}

fn counter(name: &[u8], domain: &[u8], kind: c_int) -> Option<&'static Counter> {
    let key = join(names::hash(name), join(names::hash(domain), u64::from(kind.unsigned_abs())));
    let counter = COUNTERS.get_or_insert(key, || {
        let texts = (CString::new(name).unwrap_or_default(), CString::new(domain).unwrap_or_default());
        Counter {
            name: Registered::new(name),
            domain: Registered::new(domain),
            kind,
            value: AtomicU64::new(0),
            handle: CounterHandle {
                name: texts.0.as_ptr(),
                name_wide: null(),
                domain: texts.1.as_ptr(),
                domain_wide: null(),
                kind,
                index: 0,
                extra1: 0,
                known: AtomicPtr::new(null_mut()),
                next: null_mut(),
            },
            _texts: texts,
        }
    })?;
    counter.handle.known.store(std::ptr::from_ref(counter).cast_mut(), Ordering::Release);
    Some(counter)
}

/// # Safety
/// `handle` is null or a counter of ITT.
unsafe fn of_handle(handle: *const CounterHandle) -> Option<&'static Counter> {
    // SAFETY: by this function's own contract; counters are never freed.
    unsafe {
        let handle = handle.as_ref()?;
        if let Some(counter) = handle.known.load(Ordering::Acquire).as_ref() {
            return Some(counter);
        }
        // Made before the collector came.
        let found = counter(text::bytes(handle.name), text::bytes(handle.domain), handle.kind)?;
        handle.known.store(std::ptr::from_ref(found).cast_mut(), Ordering::Release);
        Some(found)
    }
}

unsafe extern "C" fn create(name: *const c_char, domain: *const c_char) -> *const CounterHandle {
    // SAFETY: ITT passes on strings of its caller.
    unsafe { create_typed(name, domain, UNSIGNED_64) }
}

unsafe extern "C" fn create_typed(name: *const c_char, domain: *const c_char, kind: c_int) -> *const CounterHandle {
    // SAFETY: as above.
    let (name, domain) = unsafe { (text::bytes(name), text::bytes(domain)) };
    counter(name, domain, kind).map_or(null(), |counter| &raw const counter.handle)
}

unsafe extern "C" fn create_v3(domain: *const DomainHandle, name: *const c_char, kind: c_int) -> *const CounterHandle {
    // SAFETY: ITT passes on a handle and a string of its caller.
    unsafe {
        let domain = handles::of_domain(domain).map_or(&[][..], |domain| domain.registered.bytes());
        counter(text::bytes(name), domain, kind).map_or(null(), |counter| &raw const counter.handle)
    }
}

fn write(counter: &'static Counter, value: f64) {
    writer::with(|thread| {
        let name = thread.registered(&counter.name);
        let domain = if counter.domain.bytes().is_empty() { 0 } else { thread.registered(&counter.domain) };
        let payload = value.to_bits();
        thread.put(Record { kind: Kind::Counter as u8, name, domain, payload, ..Record::default() }, &[]);
    });
}

fn add(counter: &'static Counter, delta: i64) {
    let signed = matches!(counter.kind, SIGNED_64 | SIGNED_32 | SIGNED_16);
    let value = match counter.kind {
        FLOAT_32 | FLOAT_64 => {
            let sum = |bits| Some((f64::from_bits(bits) + delta as f64).to_bits());
            let before = counter.value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
            f64::from_bits(before.unwrap_or_default()) + delta as f64
        }
        _ => {
            let sum = counter.value.fetch_add(delta as u64, Ordering::Relaxed).wrapping_add(delta as u64);
            if signed { sum as i64 as f64 } else { sum as f64 }
        }
    };
    write(counter, value);
}

/// What increments go on from after a value was set.
fn remember(counter: &Counter, value: f64) {
    let bits = match counter.kind {
        FLOAT_32 | FLOAT_64 => value.to_bits(),
        SIGNED_64 | SIGNED_32 | SIGNED_16 => value as i64 as u64,
        _ => value as u64,
    };
    counter.value.store(bits, Ordering::Relaxed);
}

unsafe extern "C" fn set_value(handle: *const CounterHandle, value: *const c_void) {
    // SAFETY: ITT passes on a handle and a number of the counter's type.
    unsafe {
        let Some(counter) = of_handle(handle) else { return };
        if value.is_null() {
            return;
        }
        if let Some(number) = number_of(counter.kind, value) {
            remember(counter, number);
            write(counter, number);
        }
    }
}

unsafe extern "C" fn set_value_ex(
    handle: *const CounterHandle,
    _clock: *const c_void,
    _timestamp: u64,
    value: *const c_void,
) {
    // SAFETY: as above.
    unsafe { set_value(handle, value) };
}

unsafe fn change(handle: *const CounterHandle, delta: i64) {
    // SAFETY: ITT passes on a handle.
    if let Some(counter) = unsafe { of_handle(handle) } {
        add(counter, delta);
    }
}

unsafe extern "C" fn inc(handle: *const CounterHandle) {
    // SAFETY: as above.
    unsafe { change(handle, 1) };
}

unsafe extern "C" fn inc_delta(handle: *const CounterHandle, delta: u64) {
    // SAFETY: as above.
    unsafe { change(handle, delta as i64) };
}

unsafe extern "C" fn dec(handle: *const CounterHandle) {
    // SAFETY: as above.
    unsafe { change(handle, -1) };
}

unsafe extern "C" fn dec_delta(handle: *const CounterHandle, delta: u64) {
    // SAFETY: as above.
    unsafe { change(handle, (delta as i64).wrapping_neg()) };
}

/// Counters of the third version go by a domain and a name.
unsafe fn change_named(domain: *const DomainHandle, name: *const StringHandle, delta: i64) {
    // SAFETY: ITT passes on handles.
    unsafe {
        let Some(name) = handles::of_string(name) else { return };
        let domain = handles::of_domain(domain).map_or(&[][..], |domain| domain.registered.bytes());
        // Below zero is as possible as above.
        if let Some(counter) = counter(name.registered.bytes(), domain, SIGNED_64) {
            add(counter, delta);
        }
    }
}

unsafe extern "C" fn inc_v3(domain: *const DomainHandle, name: *const StringHandle) {
    // SAFETY: as above.
    unsafe { change_named(domain, name, 1) };
}

unsafe extern "C" fn inc_delta_v3(domain: *const DomainHandle, name: *const StringHandle, delta: u64) {
    // SAFETY: as above.
    unsafe { change_named(domain, name, delta as i64) };
}

unsafe extern "C" fn dec_v3(domain: *const DomainHandle, name: *const StringHandle) {
    // SAFETY: as above.
    unsafe { change_named(domain, name, -1) };
}

unsafe extern "C" fn dec_delta_v3(domain: *const DomainHandle, name: *const StringHandle, delta: u64) {
    // SAFETY: as above.
    unsafe { change_named(domain, name, (delta as i64).wrapping_neg()) };
}

/// The functions of this file by entry point.
pub(super) fn function(name: &[u8]) -> Option<*const c_void> {
    Some(match name {
        b"counter_create" | b"counter_createA" => create as *const c_void,
        b"counter_create_typed" | b"counter_create_typedA" => create_typed as *const c_void,
        b"counter_create_v3" | b"counter_createA_v3" => create_v3 as *const c_void,
        b"counter_set_value" | b"counter_set_value_v3" => set_value as *const c_void,
        b"counter_set_value_ex" => set_value_ex as *const c_void,
        b"counter_inc" => inc as *const c_void,
        b"counter_inc_delta" => inc_delta as *const c_void,
        b"counter_dec" => dec as *const c_void,
        b"counter_dec_delta" => dec_delta as *const c_void,
        b"counter_inc_v3" => inc_v3 as *const c_void,
        b"counter_inc_delta_v3" => inc_delta_v3 as *const c_void,
        b"counter_dec_v3" => dec_v3 as *const c_void,
        b"counter_dec_delta_v3" => dec_delta_v3 as *const c_void,
        _ => return None,
    })
}
