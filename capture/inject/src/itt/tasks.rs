//! Ranges and marks of ITT.

use std::ffi::{c_char, c_int, c_void};

use gapless_ring::facts::Facts;
use gapless_ring::layout::{AttrType, Class, Kind, Record};
use gapless_ring::names::Registered;
use gapless_ring::writer::{self, Thread};

use super::Id;
use super::handles::{self, DomainHandle, Inside, Name, StringHandle};
use crate::nvtx::text;
use crate::table::join;

static FRAME: Registered = Registered::fixed("frame");
static BEGIN_TICKS: Registered = Registered::fixed("begin_ticks");
static END_TICKS: Registered = Registered::fixed("end_ticks");
static PARAMETER: Registered = Registered::fixed("parameter");
static PAUSE: Registered = Registered::fixed("__itt_pause");
static RESUME: Registered = Registered::fixed("__itt_resume");

/// What a task of this name is in this domain.
#[inline(always)]
fn class(domain: Option<&Name>, name: Option<&Name>) -> Class {
    match domain.map_or(Inside::Annotations, |domain| domain.inside) {
        Inside::Torch => name.map_or(Class::Annotation, |name| name.torch),
        Inside::Operators => Class::Operator,
        Inside::Annotations => Class::Annotation,
    }
}

#[inline(always)]
pub(super) fn number(thread: &mut Thread, name: Option<&'static Name>) -> u32 {
    match name {
        Some(name) => thread.registered(&name.registered),
        None => 0,
    }
}

/// A record of a named thing in a domain.
///
/// # Safety
/// Both are null or handles of ITT.
#[inline(always)]
unsafe fn record(
    thread: &mut Thread,
    kind: Kind,
    domain: *const DomainHandle,
    name: *const StringHandle,
    payload: u64,
) -> Record {
    // SAFETY: by this function's own contract.
    let (domain, name) = unsafe { (handles::of_domain(domain), handles::of_string(name)) };
    Record {
        kind: kind as u8,
        class: class(domain, name) as u8,
        name: number(thread, name),
        domain: number(thread, domain),
        payload,
        ..Record::default()
    }
}

unsafe extern "C" fn task_begin(domain: *const DomainHandle, id: Id, _parent: Id, name: *const StringHandle) {
    writer::with(|thread| {
        let payload = id.given().map_or(0, |id| id_number(domain, id));
        // SAFETY: ITT passes on handles.
        let record = unsafe { record(thread, Kind::Push, domain, name, payload) };
        thread.push(record);
    });
}

unsafe extern "C" fn task_begin_ex(
    domain: *const DomainHandle,
    _clock: *const c_void,
    _timestamp: u64,
    id: Id,
    parent: Id,
    name: *const StringHandle,
) {
    // SAFETY: as above.
    unsafe { task_begin(domain, id, parent, name) };
}

unsafe extern "C" fn task_begin_fn(domain: *const DomainHandle, id: Id, _parent: Id, function: *const c_void) {
    writer::with(|thread| {
        // SAFETY: ITT passes on a handle; `dladdr` takes any address.
        unsafe {
            let payload = id.given().map_or(0, |id| id_number(domain, id));
            let mut record = record(thread, Kind::Push, domain, std::ptr::null(), payload);
            let mut info: libc::Dl_info = std::mem::zeroed();
            let found = libc::dladdr(function, &mut info) != 0 && !info.dli_sname.is_null();
            record.name = if found {
                thread.c_name(info.dli_sname)
            } else {
                thread.name(format!("{:#x}", function as usize).as_bytes())
            };
            thread.push(record);
        }
    });
}

unsafe extern "C" fn task_end(domain: *const DomainHandle) {
    writer::with(|thread| {
        // SAFETY: ITT passes on a handle.
        let domain = number(thread, unsafe { handles::of_domain(domain) });
        thread.pop_in(domain);
    });
}

unsafe extern "C" fn task_end_ex(domain: *const DomainHandle, _clock: *const c_void, _timestamp: u64) {
    // SAFETY: as above.
    unsafe { task_end(domain) };
}

/// The number that an id goes by in records.
#[inline]
pub(super) fn id_number(domain: *const DomainHandle, id: Id) -> u64 {
    join(join(domain as u64, id.d1), join(id.d2, id.d3))
}

unsafe extern "C" fn begin_by_id(domain: *const DomainHandle, id: Id, _parent: Id, name: *const StringHandle) {
    writer::with(|thread| {
        // SAFETY: ITT passes on handles.
        let record = unsafe { record(thread, Kind::Start, domain, name, id_number(domain, id)) };
        thread.put(record, &[]);
    });
}

unsafe extern "C" fn begin_by_id_ex(
    domain: *const DomainHandle,
    _clock: *const c_void,
    _timestamp: u64,
    id: Id,
    parent: Id,
    name: *const StringHandle,
) {
    // SAFETY: as above.
    unsafe { begin_by_id(domain, id, parent, name) };
}

unsafe extern "C" fn end_by_id(domain: *const DomainHandle, id: Id) {
    writer::with(|thread| {
        // SAFETY: ITT passes on a handle.
        let record = unsafe { record(thread, Kind::End, domain, std::ptr::null(), id_number(domain, id)) };
        thread.put(record, &[]);
    });
}

unsafe extern "C" fn end_by_id_ex(domain: *const DomainHandle, _clock: *const c_void, _timestamp: u64, id: Id) {
    // SAFETY: as above.
    unsafe { end_by_id(domain, id) };
}

/// Frames have no names of their own; without an id, a domain has one frame at a time on each thread.
unsafe fn frame(kind: Kind, domain: *const DomainHandle, id: *const Id) {
    writer::with(|thread| {
        // SAFETY: ITT passes on a handle and null or an id of its caller.
        unsafe {
            let id = match id.as_ref() {
                Some(id) => id_number(domain, *id),
                None => join(domain as u64, u64::from(libc::pthread_self() as usize as u32)),
            };
            let record = record(thread, kind, domain, std::ptr::null(), id);
            let name = if kind == Kind::Start { thread.registered(&FRAME) } else { 0 };
            thread.put(Record { name, ..record }, &[]);
        }
    });
}

unsafe extern "C" fn frame_begin(domain: *const DomainHandle, id: *const Id) {
    // SAFETY: ITT passes on what its caller gave.
    unsafe { frame(Kind::Start, domain, id) };
}

unsafe extern "C" fn frame_end(domain: *const DomainHandle, id: *const Id) {
    // SAFETY: as above.
    unsafe { frame(Kind::End, domain, id) };
}

unsafe extern "C" fn frame_begin_old(domain: *const DomainHandle) {
    // SAFETY: as above.
    unsafe { frame(Kind::Start, domain, std::ptr::null()) };
}

unsafe extern "C" fn frame_end_old(domain: *const DomainHandle) {
    // SAFETY: as above.
    unsafe { frame(Kind::End, domain, std::ptr::null()) };
}

unsafe extern "C" fn frame_submit(domain: *const DomainHandle, _id: *const Id, begin: u64, end: u64) {
    writer::with(|thread| {
        // SAFETY: as above.
        let record = unsafe { record(thread, Kind::Mark, domain, std::ptr::null(), 0) };
        let mut facts = Facts::default();
        facts.attr(thread.registered(&BEGIN_TICKS), AttrType::Unsigned, begin);
        facts.attr(thread.registered(&END_TICKS), AttrType::Unsigned, end);
        let name = thread.registered(&FRAME);
        thread.put_facts(Record { name, ..record }, &mut facts);
    });
}

unsafe extern "C" fn marker(domain: *const DomainHandle, _id: Id, name: *const StringHandle, _scope: c_int) {
    writer::with(|thread| {
        // SAFETY: ITT passes on handles.
        let record = unsafe { record(thread, Kind::Mark, domain, name, 0) };
        thread.put(record, &[]);
    });
}

unsafe extern "C" fn marker_ex(
    domain: *const DomainHandle,
    _clock: *const c_void,
    _timestamp: u64,
    id: Id,
    name: *const StringHandle,
    scope: c_int,
) {
    // SAFETY: as above.
    unsafe { marker(domain, id, name, scope) };
}

unsafe extern "C" fn mark(mark: c_int, parameter: *const c_char) -> c_int {
    writer::with(|thread| {
        let name = number(thread, handles::of_event(mark));
        let record = Record { kind: Kind::Mark as u8, name, ..Record::default() };
        let mut facts = Facts::default();
        if !parameter.is_null() {
            // SAFETY: ITT passes on a string of its caller.
            facts.blob(thread.registered(&PARAMETER), 0, unsafe { text::bytes(parameter) });
        }
        thread.put_facts(record, &mut facts);
    });
    0
}

/// Events are one per name and thread; a second begin of the same one is another range with the same number.
fn event(kind: Kind, event: c_int) -> c_int {
    writer::with(|thread| {
        let known = handles::of_event(event);
        // SAFETY: takes nothing and cannot fail.
        let here = unsafe { libc::pthread_self() } as u64;
        let name = if kind == Kind::Start { number(thread, known) } else { 0 };
        let payload = join(u64::from(event.unsigned_abs()), here);
        thread.put(Record { kind: kind as u8, name, payload, ..Record::default() }, &[]);
    });
    0
}

unsafe extern "C" fn event_start(number: c_int) -> c_int {
    event(Kind::Start, number)
}

unsafe extern "C" fn event_end(number: c_int) -> c_int {
    event(Kind::End, number)
}

unsafe extern "C" fn thread_set_name(name: *const c_char) {
    writer::with(|thread| {
        // SAFETY: ITT passes on a string of its caller.
        let name = unsafe { thread.c_name(name) };
        thread.put(Record { kind: Kind::ThreadName as u8, name, ..Record::default() }, &[]);
    });
}

unsafe extern "C" fn thr_name_set(name: *const c_char, _len: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { thread_set_name(name) };
    0
}

fn note(name: &'static Registered) {
    writer::with(|thread| {
        let name = thread.registered(name);
        thread.put(Record { kind: Kind::Mark as u8, name, ..Record::default() }, &[]);
    });
}

unsafe extern "C" fn pause() {
    note(&PAUSE);
}

unsafe extern "C" fn resume() {
    note(&RESUME);
}

unsafe extern "C" fn pause_scoped(_scope: c_int) {
    note(&PAUSE);
}

unsafe extern "C" fn resume_scoped(_scope: c_int) {
    note(&RESUME);
}

/// The functions of this file by entry point.
pub(super) fn function(name: &[u8]) -> Option<*const c_void> {
    Some(match name {
        b"task_begin" => task_begin as *const c_void,
        b"task_begin_ex" => task_begin_ex as *const c_void,
        b"task_begin_fn" => task_begin_fn as *const c_void,
        b"task_end" => task_end as *const c_void,
        b"task_end_ex" => task_end_ex as *const c_void,
        b"task_begin_overlapped" | b"region_begin" => begin_by_id as *const c_void,
        b"task_begin_overlapped_ex" => begin_by_id_ex as *const c_void,
        b"task_end_overlapped" | b"region_end" => end_by_id as *const c_void,
        b"task_end_overlapped_ex" => end_by_id_ex as *const c_void,
        b"frame_begin_v3" => frame_begin as *const c_void,
        b"frame_end_v3" => frame_end as *const c_void,
        b"frame_begin" => frame_begin_old as *const c_void,
        b"frame_end" => frame_end_old as *const c_void,
        b"frame_submit_v3" => frame_submit as *const c_void,
        b"marker" => marker as *const c_void,
        b"marker_ex" => marker_ex as *const c_void,
        b"mark" | b"markA" | b"mark_global" | b"mark_globalA" => mark as *const c_void,
        b"event_start" => event_start as *const c_void,
        b"event_end" => event_end as *const c_void,
        b"thread_set_name" | b"thread_set_nameA" => thread_set_name as *const c_void,
        b"thr_name_set" | b"thr_name_setA" => thr_name_set as *const c_void,
        b"pause" => pause as *const c_void,
        b"resume" => resume as *const c_void,
        b"pause_scoped" => pause_scoped as *const c_void,
        b"resume_scoped" => resume_scoped as *const c_void,
        _ => return None,
    })
}
