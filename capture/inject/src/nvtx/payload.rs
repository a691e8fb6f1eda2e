//! NVTX's payload extension: events with structures that registered schemas describe.

use std::ffi::{CStr, c_int, c_void};

use gapless_ring::facts::Facts;
use gapless_ring::layout::{AttrType, Class, Kind, Record};
use gapless_ring::names::Registered;
use gapless_ring::writer::{self, Thread};

use super::NO_TRACKING;
use super::core::{write_push, write_put};
use super::domains::{self, Domain};
use super::schema::{self, EnumAttributes, Schema, SchemaAttributes};

/// Most payloads that are read of one event.
const MAX_PAYLOADS: usize = 6;

/// `nvtxPayloadData_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct PayloadData {
    schema: u64,
    size: usize,
    payload: *const u8,
}

const _: () = assert!(size_of::<PayloadData>() == 24);

/// Functions of the extension by callback id. Events with times of their own (`nvtxEventSubmit`), time domains and
/// scopes are left alone: their calls do nothing.
pub(super) fn functions() -> [(usize, *const c_void); 9] {
    [
        (0, schema_register as *const c_void),
        (1, enum_register as *const c_void),
        (2, mark as *const c_void),
        (3, push as *const c_void),
        (4, pop as *const c_void),
        (5, start as *const c_void),
        (6, end as *const c_void),
        (7, is_enabled as *const c_void),
        (8, timestamp as *const c_void),
    ]
}

/// Adds an event's payloads to its facts; an entry that is the event's message becomes its name.
///
/// # Safety
/// `data` is null or points to `count` payloads, each of as many bytes as it says and laid out as its schema says.
pub(super) unsafe fn tell<'a>(
    thread: &mut Thread,
    domain: Option<&'static Domain>,
    data: *const PayloadData,
    count: usize,
    record: &mut Record,
    facts: &mut Facts<'a>,
) {
    if data.is_null() {
        return;
    }
    for index in 0..count.min(MAX_PAYLOADS) {
        // SAFETY: by this function's own contract; the caller's structures may be packed.
        let data = unsafe { data.add(index).read_unaligned() };
        if data.payload.is_null() {
            continue;
        }
        let known = schema::find(domain, data.schema);
        // A size of all ones leaves it to the tool, which can only be told for strings that end with zero.
        let size = match data.size {
            // SAFETY: as above.
            usize::MAX if matches!(data.schema, 75 | 76) => {
                unsafe { CStr::from_ptr(data.payload.cast()) }.count_bytes()
            }
            usize::MAX => continue,
            size => size,
        };
        // SAFETY: the caller gives this many bytes.
        let bytes: &'a [u8] = unsafe { std::slice::from_raw_parts(data.payload, size) };
        match known {
            Some(known) => {
                known.tell(thread, domain);
                // SAFETY: by this function's own contract.
                unsafe { tell_pointed(thread, known, bytes, record, facts) };
                facts.blob(thread.name(known.payload_key.as_bytes()), record.domain, bytes);
            }
            None => {
                let key = format!("nvtx-payload:{}", data.schema);
                facts.blob(thread.name(key.as_bytes()), record.domain, bytes);
            }
        }
    }
}

/// Strings that a payload points to, and the event's message.
///
/// # Safety
/// The bytes are laid out as the schema says.
unsafe fn tell_pointed(thread: &mut Thread, schema: &Schema, bytes: &[u8], record: &mut Record, facts: &mut Facts<'_>) {
    for pointed in &schema.pointed {
        let end = pointed.offset.saturating_add(size_of::<usize>());
        let Some(word) = bytes.get(pointed.offset..end).and_then(|word| word.try_into().ok()) else { continue };
        let address = usize::from_ne_bytes(word);
        if address == 0 {
            continue;
        }
        let number = if pointed.registered {
            // SAFETY: handles of registered strings are ours and never freed.
            thread.registered(unsafe { &*(address as *const Registered) })
        } else {
            // SAFETY: the schema says that this is the address of a C string to be copied.
            thread.name(unsafe { CStr::from_ptr(address as *const _) }.to_bytes())
        };
        if pointed.message {
            record.name = number;
        } else {
            facts.attr(thread.name(&pointed.name), AttrType::String, u64::from(number));
        }
    }
    if let Some((offset, len)) = schema.inline_message
        && let Some(text) = bytes.get(offset..offset.saturating_add(len))
    {
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        record.name = thread.name(text);
    }
}

unsafe extern "C" fn schema_register(domain: *const Domain, attributes: *const SchemaAttributes) -> u64 {
    // SAFETY: NVTX passes on a handle of ours and what its caller gave.
    unsafe { schema::register(domains::of_handle(domain), attributes) }
}

unsafe extern "C" fn enum_register(domain: *const Domain, attributes: *const EnumAttributes) -> u64 {
    // SAFETY: as above.
    unsafe { schema::register_enum(domains::of_handle(domain), attributes) }
}

/// A record of this kind with the payloads as its facts.
///
/// # Safety
/// As for [`tell`].
unsafe fn with_payload<R>(
    kind: Kind,
    domain: *const Domain,
    data: *const PayloadData,
    count: usize,
    write: impl FnOnce(&mut Thread, Record, &mut Facts<'_>) -> R,
) -> Option<R> {
    writer::with(|thread| {
        // SAFETY: by this function's own contract.
        unsafe {
            let domain = domains::of_handle(domain);
            let class = Class::Annotation as u8;
            let domain_number = domains::number(thread, domain);
            let mut record = Record { kind: kind as u8, class, domain: domain_number, ..Record::default() };
            let mut facts = Facts::default();
            tell(thread, domain, data, count, &mut record, &mut facts);
            write(thread, record, &mut facts)
        }
    })
}

unsafe extern "C" fn mark(domain: *const Domain, data: *const PayloadData, count: usize) {
    // SAFETY: NVTX passes on what its caller gave.
    unsafe { with_payload(Kind::Mark, domain, data, count, write_put) };
}

unsafe extern "C" fn push(domain: *const Domain, data: *const PayloadData, count: usize) -> c_int {
    // SAFETY: as above.
    unsafe { with_payload(Kind::Push, domain, data, count, write_push) }.unwrap_or(NO_TRACKING)
}

unsafe extern "C" fn pop(domain: *const Domain, data: *const PayloadData, count: usize) -> c_int {
    let write = |thread: &mut Thread, record: Record, facts: &mut Facts<'_>| {
        let level = thread.leave(record.domain);
        thread.pop_facts(record.domain, facts);
        level.map_or(-1, |level| c_int::try_from(level).unwrap_or(c_int::MAX))
    };
    // SAFETY: as above.
    unsafe { with_payload(Kind::Pop, domain, data, count, write) }.unwrap_or(NO_TRACKING)
}

unsafe extern "C" fn start(domain: *const Domain, data: *const PayloadData, count: usize) -> u64 {
    let write = |thread: &mut Thread, record: Record, facts: &mut Facts<'_>| {
        let id = thread.new_id();
        write_put(thread, Record { payload: id, ..record }, facts);
        id
    };
    // SAFETY: as above.
    unsafe { with_payload(Kind::Start, domain, data, count, write) }.unwrap_or(0)
}

unsafe extern "C" fn end(domain: *const Domain, id: u64, data: *const PayloadData, count: usize) {
    if id == 0 {
        return;
    }
    let write = |thread: &mut Thread, record: Record, facts: &mut Facts<'_>| {
        write_put(thread, Record { payload: id, ..record }, facts);
    };
    // SAFETY: as above.
    unsafe { with_payload(Kind::End, domain, data, count, write) };
}

unsafe extern "C" fn is_enabled(_domain: *const Domain) -> u8 {
    u8::from(writer::is_active())
}

unsafe extern "C" fn timestamp() -> i64 {
    writer::ticks() as i64
}
