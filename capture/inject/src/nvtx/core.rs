//! The functions of NVTX's modules CORE and CORE2.

use std::ffi::{c_char, c_int, c_void};

use gapless_ring::facts::Facts;
use gapless_ring::layout::{Kind, Record};
use gapless_ring::writer::{self, Thread};
use libc::wchar_t;

use super::NO_TRACKING;
use super::attributes::{Attributes, Message, RESOURCE_THREAD, Resource, describe};
use super::domains::{self, Domain};
use super::text;

/// Functions of CORE by callback id.
pub(super) fn core_functions() -> [(usize, *const c_void); 15] {
    [
        (1, mark_ex as *const c_void),
        (2, mark_a as *const c_void),
        (3, mark_w as *const c_void),
        (4, start_ex as *const c_void),
        (5, start_a as *const c_void),
        (6, start_w as *const c_void),
        (7, end as *const c_void),
        (8, push_ex as *const c_void),
        (9, push_a as *const c_void),
        (10, push_w as *const c_void),
        (11, pop as *const c_void),
        (12, name_category_a as *const c_void),
        (13, name_category_w as *const c_void),
        (14, name_thread_a as *const c_void),
        (15, name_thread_w as *const c_void),
    ]
}

/// Functions of CORE2 by callback id.
pub(super) fn core2_functions() -> [(usize, *const c_void); 15] {
    [
        (1, domain_mark_ex as *const c_void),
        (2, domain_start_ex as *const c_void),
        (3, domain_end as *const c_void),
        (4, domain_push_ex as *const c_void),
        (5, domain_pop as *const c_void),
        (6, resource_create as *const c_void),
        (7, resource_destroy as *const c_void),
        (8, domain_name_category_a as *const c_void),
        (9, domain_name_category_w as *const c_void),
        (10, register_string_a as *const c_void),
        (11, register_string_w as *const c_void),
        (12, domain_create_a as *const c_void),
        (13, domain_create_w as *const c_void),
        (14, domain_destroy as *const c_void),
        (15, initialize as *const c_void),
    ]
}

/// Writes a range's begin, and how deep it lies.
#[inline(always)]
pub(super) fn write_push(thread: &mut Thread, record: Record, facts: &mut Facts) -> c_int {
    let level = thread.enter(record.domain);
    if facts.is_empty() {
        thread.push(record);
    } else {
        thread.push_facts(record, facts);
    }
    level.map_or(NO_TRACKING, |level| c_int::try_from(level).unwrap_or(c_int::MAX))
}

/// Writes anything else.
#[inline(always)]
pub(super) fn write_put(thread: &mut Thread, record: Record, facts: &mut Facts) {
    if facts.is_empty() {
        thread.put(record, &[]);
    } else {
        thread.put_facts(record, facts);
    }
}

/// Writes a range's end, and how deep it lay; -1 where the domain had none open on this thread.
#[inline(always)]
pub(super) fn write_pop(thread: &mut Thread, domain: Option<&'static Domain>) -> c_int {
    let domain = domains::number(thread, domain);
    let level = thread.leave(domain);
    thread.pop_in(domain);
    level.map_or(-1, |level| c_int::try_from(level).unwrap_or(c_int::MAX))
}

#[inline(always)]
unsafe fn push_message(message: Message) -> c_int {
    writer::with(|thread| {
        let mut record = Record { kind: Kind::Push as u8, ..Record::default() };
        let mut facts = Facts::default();
        // SAFETY: the caller made the message from a string of its kind.
        unsafe { message.tell(thread, &mut record, &mut facts) };
        write_push(thread, record, &mut facts)
    })
    .unwrap_or(NO_TRACKING)
}

unsafe extern "C" fn push_a(message: *const c_char) -> c_int {
    // SAFETY: NVTX passes on a string of its caller.
    unsafe { push_message(Message::ascii(message)) }
}

unsafe extern "C" fn push_w(message: *const wchar_t) -> c_int {
    // SAFETY: as above.
    unsafe { push_message(Message::wide(message)) }
}

unsafe extern "C" fn push_ex(attributes: *const Attributes) -> c_int {
    // SAFETY: NVTX passes on what its caller gave.
    unsafe { domain_push_ex(std::ptr::null(), attributes) }
}

unsafe extern "C" fn domain_push_ex(domain: *const Domain, attributes: *const Attributes) -> c_int {
    writer::with(|thread| {
        // SAFETY: NVTX passes on a handle of ours and attributes of its caller.
        unsafe {
            let domain = domains::of_handle(domain);
            let mut record = Record { kind: Kind::Push as u8, ..Record::default() };
            let mut facts = Facts::default();
            describe(thread, domain, &Attributes::read(attributes), &mut record, &mut facts);
            write_push(thread, record, &mut facts)
        }
    })
    .unwrap_or(NO_TRACKING)
}

unsafe extern "C" fn pop() -> c_int {
    writer::with(|thread| write_pop(thread, None)).unwrap_or(NO_TRACKING)
}

unsafe extern "C" fn domain_pop(domain: *const Domain) -> c_int {
    // SAFETY: NVTX passes on a handle of ours.
    writer::with(|thread| write_pop(thread, unsafe { domains::of_handle(domain) })).unwrap_or(NO_TRACKING)
}

#[inline(always)]
unsafe fn put_message(kind: Kind, message: Message) -> u64 {
    writer::with(|thread| {
        let id = if kind == Kind::Start { thread.new_id() } else { 0 };
        let mut record = Record { kind: kind as u8, payload: id, ..Record::default() };
        let mut facts = Facts::default();
        // SAFETY: the caller made the message from a string of its kind.
        unsafe { message.tell(thread, &mut record, &mut facts) };
        write_put(thread, record, &mut facts);
        id
    })
    .unwrap_or(0)
}

#[inline(always)]
unsafe fn put_attributes(kind: Kind, domain: *const Domain, attributes: *const Attributes) -> u64 {
    writer::with(|thread| {
        let id = if kind == Kind::Start { thread.new_id() } else { 0 };
        let mut record = Record { kind: kind as u8, payload: id, ..Record::default() };
        let mut facts = Facts::default();
        // SAFETY: NVTX passes on a handle of ours and attributes of its caller.
        unsafe {
            let domain = domains::of_handle(domain);
            describe(thread, domain, &Attributes::read(attributes), &mut record, &mut facts);
        }
        write_put(thread, record, &mut facts);
        id
    })
    .unwrap_or(0)
}

unsafe extern "C" fn mark_a(message: *const c_char) {
    // SAFETY: NVTX passes on a string of its caller.
    unsafe { put_message(Kind::Mark, Message::ascii(message)) };
}

unsafe extern "C" fn mark_w(message: *const wchar_t) {
    // SAFETY: as above.
    unsafe { put_message(Kind::Mark, Message::wide(message)) };
}

unsafe extern "C" fn mark_ex(attributes: *const Attributes) {
    // SAFETY: NVTX passes on what its caller gave.
    unsafe { put_attributes(Kind::Mark, std::ptr::null(), attributes) };
}

unsafe extern "C" fn domain_mark_ex(domain: *const Domain, attributes: *const Attributes) {
    // SAFETY: as above.
    unsafe { put_attributes(Kind::Mark, domain, attributes) };
}

unsafe extern "C" fn start_a(message: *const c_char) -> u64 {
    // SAFETY: NVTX passes on a string of its caller.
    unsafe { put_message(Kind::Start, Message::ascii(message)) }
}

unsafe extern "C" fn start_w(message: *const wchar_t) -> u64 {
    // SAFETY: as above.
    unsafe { put_message(Kind::Start, Message::wide(message)) }
}

unsafe extern "C" fn start_ex(attributes: *const Attributes) -> u64 {
    // SAFETY: NVTX passes on what its caller gave.
    unsafe { put_attributes(Kind::Start, std::ptr::null(), attributes) }
}

unsafe extern "C" fn domain_start_ex(domain: *const Domain, attributes: *const Attributes) -> u64 {
    // SAFETY: as above.
    unsafe { put_attributes(Kind::Start, domain, attributes) }
}

unsafe extern "C" fn end(id: u64) {
    // SAFETY: null is the default domain.
    unsafe { domain_end(std::ptr::null(), id) };
}

unsafe extern "C" fn domain_end(domain: *const Domain, id: u64) {
    if id == 0 {
        // Started while nothing was recorded.
        return;
    }
    writer::with(|thread| {
        // SAFETY: NVTX passes on a handle of ours.
        let domain = domains::number(thread, unsafe { domains::of_handle(domain) });
        thread.put(Record { kind: Kind::End as u8, domain, payload: id, ..Record::default() }, &[]);
    });
}

unsafe extern "C" fn name_category_a(id: u32, name: *const c_char) {
    // SAFETY: null is the default domain; the name is a string of NVTX's caller.
    unsafe { domain_name_category_a(std::ptr::null(), id, name) };
}

unsafe extern "C" fn name_category_w(id: u32, name: *const wchar_t) {
    // SAFETY: as above.
    unsafe { domain_name_category_w(std::ptr::null(), id, name) };
}

unsafe extern "C" fn domain_name_category_a(domain: *const Domain, id: u32, name: *const c_char) {
    // SAFETY: NVTX passes on a handle of ours and a string of its caller.
    unsafe { domains::name_category(domains::of_handle(domain), id, text::bytes(name)) };
}

unsafe extern "C" fn domain_name_category_w(domain: *const Domain, id: u32, name: *const wchar_t) {
    // SAFETY: as above.
    unsafe { domains::name_category(domains::of_handle(domain), id, text::wide(name).as_bytes()) };
}

fn name_thread(tid: u64, name: &[u8]) {
    writer::with(|thread| {
        let name = thread.name(name);
        thread.put(Record { kind: Kind::ThreadName as u8, name, payload: tid, ..Record::default() }, &[]);
    });
}

unsafe extern "C" fn name_thread_a(tid: u32, name: *const c_char) {
    // SAFETY: the name is a string of NVTX's caller.
    name_thread(u64::from(tid), unsafe { text::bytes(name) });
}

unsafe extern "C" fn name_thread_w(tid: u32, name: *const wchar_t) {
    // SAFETY: as above.
    name_thread(u64::from(tid), unsafe { text::wide(name) }.as_bytes());
}

unsafe extern "C" fn resource_create(_domain: *const Domain, resource: *const c_void) -> *const c_void {
    // SAFETY: NVTX passes on what its caller gave.
    unsafe {
        let Some(resource) = Resource::read(resource) else { return std::ptr::null() };
        let name = resource.message.text();
        if resource.kind == RESOURCE_THREAD {
            name_thread(resource.identifier, &name);
        }
        // Other resources have no place in a recording; the handle only says that there is one.
        std::ptr::from_ref(domains::registered(&name)).cast()
    }
}

unsafe extern "C" fn resource_destroy(_resource: *const c_void) {}

unsafe extern "C" fn register_string_a(_domain: *const Domain, text: *const c_char) -> *const c_void {
    // SAFETY: the text is a string of NVTX's caller.
    std::ptr::from_ref(domains::registered(unsafe { text::bytes(text) })).cast()
}

unsafe extern "C" fn register_string_w(_domain: *const Domain, text: *const wchar_t) -> *const c_void {
    // SAFETY: as above.
    std::ptr::from_ref(domains::registered(unsafe { text::wide(text) }.as_bytes())).cast()
}

unsafe extern "C" fn domain_create_a(name: *const c_char) -> *const Domain {
    // SAFETY: the name is a string of NVTX's caller.
    domains::domain(unsafe { text::bytes(name) }).map_or(std::ptr::null(), std::ptr::from_ref)
}

unsafe extern "C" fn domain_create_w(name: *const wchar_t) -> *const Domain {
    // SAFETY: as above.
    domains::domain(unsafe { text::wide(name) }.as_bytes()).map_or(std::ptr::null(), std::ptr::from_ref)
}

/// Other threads may still hold the handle, and a domain of the same name may come again.
unsafe extern "C" fn domain_destroy(_domain: *const Domain) {}

unsafe extern "C" fn initialize(_reserved: *const c_void) {}
