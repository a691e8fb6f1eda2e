//! Metadata of ITT: facts about tasks.

use std::ffi::{c_char, c_int, c_void};
use std::fmt::Write;

use gapless_ring::layout::{ABOUT_OPEN_RANGE, AttrType, Kind, Record};
use gapless_ring::names::Registered;
use gapless_ring::writer::{self, Thread};

use super::Id;
use super::counters::number_of;
use super::handles::{self, DomainHandle, StringHandle};
use super::tasks::{id_number, number};
use crate::nvtx::text;

static METADATA: Registered = Registered::fixed("metadata");

/// Most numbers of an array that are kept.
const MAX_NUMBERS: usize = 256;
/// Most bytes that are kept of a string.
const MAX_BYTES: usize = 4096;

/// Where a fact goes: to the innermost open task of the domain, or, where the task is named by an id, to a mark.
fn place(thread: &mut Thread, domain: u32, id: Option<u64>) -> (u32, u32) {
    match id {
        None => (domain, ABOUT_OPEN_RANGE),
        Some(id) => {
            let name = thread.registered(&METADATA);
            thread.put(Record { kind: Kind::Mark as u8, name, domain, payload: id, ..Record::default() }, &[]);
            (domain, 0)
        }
    }
}

fn write_text(domain: *const DomainHandle, id: Option<u64>, key: *const StringHandle, bytes: &[u8]) {
    writer::with(|thread| {
        // SAFETY: ITT passes on handles.
        let (domain, key) = unsafe { (handles::of_domain(domain), handles::of_string(key)) };
        let (domain, name) = (number(thread, domain), number(thread, key));
        let (domain, category) = place(thread, domain, id);
        let record = Record { kind: Kind::Blob as u8, name, domain, category, ..Record::default() };
        thread.put_bytes(record, bytes);
    });
}

unsafe fn write_numbers(
    domain: *const DomainHandle,
    id: Option<u64>,
    key: *const StringHandle,
    kind: c_int,
    count: usize,
    data: *const c_void,
) {
    if data.is_null() || count == 0 {
        return;
    }
    if count > 1 {
        // SAFETY: ITT passes on `count` numbers of this type.
        if let Some(text) = unsafe { array(kind, count, data) } {
            write_text(domain, id, key, text.as_bytes());
        }
        return;
    }
    // SAFETY: ITT passes on a number of this type.
    let (class, payload) = unsafe {
        match kind {
            1 => (AttrType::Unsigned, data.cast::<u64>().read_unaligned()),
            2 => (AttrType::Signed, data.cast::<u64>().read_unaligned()),
            3 | 5 => (AttrType::Unsigned, number_of(kind, data).unwrap_or_default() as u64),
            4 | 6 => (AttrType::Signed, number_of(kind, data).unwrap_or_default() as i64 as u64),
            7 | 8 => (AttrType::Float, number_of(kind, data).unwrap_or_default().to_bits()),
            _ => return,
        }
    };
    writer::with(|thread| {
        // SAFETY: ITT passes on handles.
        let (domain, key) = unsafe { (handles::of_domain(domain), handles::of_string(key)) };
        let (domain, name) = (number(thread, domain), number(thread, key));
        let (domain, category) = place(thread, domain, id);
        let record =
            Record { kind: Kind::Attr as u8, class: class as u8, name, domain, category, payload, ..Record::default() };
        thread.put(record, &[]);
    });
}

/// Numbers as a list in text.
///
/// # Safety
/// `data` points to `count` numbers of this type.
unsafe fn array(kind: c_int, count: usize, data: *const c_void) -> Option<String> {
    let width = match kind {
        1 | 2 | 8 => 8,
        3 | 4 | 7 => 4,
        5 | 6 => 2,
        _ => return None,
    };
    let mut out = String::from("[");
    for index in 0..count.min(MAX_NUMBERS) {
        if index > 0 {
            out.push_str(", ");
        }
        // SAFETY: the index is below `count`.
        let _ = unsafe {
            let at = data.byte_add(index * width);
            match kind {
                1 => write!(out, "{}", at.cast::<u64>().read_unaligned()),
                2 => write!(out, "{}", at.cast::<i64>().read_unaligned()),
                _ => write!(out, "{}", number_of(kind, at).unwrap_or_default()),
            }
        };
    }
    out.push_str(if count > MAX_NUMBERS { ", ...]" } else { "]" });
    Some(out)
}

/// Null is the task that the calling thread is in.
fn of_id(domain: *const DomainHandle, id: Id) -> Option<u64> {
    id.given().map(|id| id_number(domain, id))
}

unsafe extern "C" fn metadata_add(
    domain: *const DomainHandle,
    id: Id,
    key: *const StringHandle,
    kind: c_int,
    count: usize,
    data: *const c_void,
) {
    // SAFETY: ITT passes on what its caller gave.
    unsafe { write_numbers(domain, of_id(domain, id), key, kind, count, data) };
}

unsafe extern "C" fn metadata_str_add(
    domain: *const DomainHandle,
    id: Id,
    key: *const StringHandle,
    data: *const c_char,
    len: usize,
) {
    // SAFETY: as above.
    write_text(domain, of_id(domain, id), key, unsafe { string(data, len) });
}

/// A length of 0 means that the string ends with zero.
///
/// # Safety
/// `data` is null or points to `len` bytes, or to a C string where that is 0.
unsafe fn string<'a>(data: *const c_char, len: usize) -> &'a [u8] {
    // SAFETY: by this function's own contract.
    let bytes = unsafe {
        match len {
            _ if data.is_null() => &[][..],
            0 => text::bytes(data),
            len => std::slice::from_raw_parts(data.cast::<u8>(), len),
        }
    };
    bytes.get(..MAX_BYTES).unwrap_or(bytes)
}

unsafe extern "C" fn metadata_add_with_scope(
    domain: *const DomainHandle,
    _scope: c_int,
    key: *const StringHandle,
    kind: c_int,
    count: usize,
    data: *const c_void,
) {
    // SAFETY: as above.
    unsafe { write_numbers(domain, None, key, kind, count, data) };
}

unsafe extern "C" fn metadata_str_add_with_scope(
    domain: *const DomainHandle,
    _scope: c_int,
    key: *const StringHandle,
    data: *const c_char,
    len: usize,
) {
    // SAFETY: as above.
    write_text(domain, None, key, unsafe { string(data, len) });
}

/// The functions of this file by entry point.
pub(super) fn function(name: &[u8]) -> Option<*const c_void> {
    Some(match name {
        b"metadata_add" => metadata_add as *const c_void,
        b"metadata_str_add" | b"metadata_str_addA" => metadata_str_add as *const c_void,
        b"metadata_add_with_scope" => metadata_add_with_scope as *const c_void,
        b"metadata_str_add_with_scope" | b"metadata_str_add_with_scopeA" => {
            metadata_str_add_with_scope as *const c_void
        }
        _ => return None,
    })
}
