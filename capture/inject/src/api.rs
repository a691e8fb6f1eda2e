//! The C interface of the image, for the Python hook.

use std::ffi::{CStr, c_char, c_double, c_int, c_longlong};
use std::sync::OnceLock;

use gapless_ring::facts::Facts;
use gapless_ring::layout::{Class, Kind, Record, SOURCE_PYTHON};
use gapless_ring::writer;

use crate::pin::pin;

/// Version of this interface.
#[unsafe(no_mangle)]
pub extern "C" fn gapless_version() -> c_int {
    pin();
    1
}

/// 1 when this process is being recorded now, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn gapless_active() -> c_int {
    pin();
    c_int::from(writer::is_active())
}

/// The Python hook is there.
#[unsafe(no_mangle)]
pub extern "C" fn gapless_python() {
    pin();
    writer::note_source(SOURCE_PYTHON);
}

/// A range of the calling thread begins.
///
/// # Safety
/// `name` is null or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gapless_push(name: *const c_char) {
    // SAFETY: by this function's own contract.
    unsafe { gapless_push_kind(name, Class::Annotation as c_int) };
}

/// A range of the calling thread begins; `class` is a number of [`Class`].
///
/// # Safety
/// `name` is null or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gapless_push_kind(name: *const c_char, class: c_int) {
    writer::with(|thread| {
        // SAFETY: by this function's own contract.
        let name = unsafe { thread.c_name(name) };
        let class = Class::from_number(class.clamp(0, 255) as u8) as u8;
        thread.push(Record { kind: Kind::Push as u8, class, name, ..Record::default() });
    });
}

/// The innermost range of the calling thread ends.
#[unsafe(no_mangle)]
pub extern "C" fn gapless_pop() {
    writer::with(|thread| thread.pop());
}

/// Something happened on the calling thread.
///
/// # Safety
/// `name` is null or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gapless_mark(name: *const c_char) {
    writer::with(|thread| {
        // SAFETY: by this function's own contract.
        let name = unsafe { thread.c_name(name) };
        thread.put(Record { kind: Kind::Mark as u8, name, ..Record::default() }, &[]);
    });
}

/// A counter of the process has this value now.
///
/// # Safety
/// `name` is null or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gapless_counter(name: *const c_char, value: c_double) {
    writer::with(|thread| {
        // SAFETY: by this function's own contract.
        let name = unsafe { thread.c_name(name) };
        let record = Record { kind: Kind::Counter as u8, name, payload: value.to_bits(), ..Record::default() };
        thread.put(record, &[]);
    });
}

/// The name of the calling thread.
///
/// # Safety
/// `name` is null or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gapless_thread_name(name: *const c_char) {
    writer::with(|thread| {
        // SAFETY: by this function's own contract.
        let name = unsafe { thread.c_name(name) };
        thread.put(Record { kind: Kind::ThreadName as u8, name, ..Record::default() }, &[]);
    });
}

/// The steps that are recorded, where `GAPLESS_STEPS=FIRST:END` names some. The process switches itself, so that the
/// window is exact; the recorder, which learns of steps later, switches those that do not step.
fn step_window() -> Option<(i64, i64)> {
    static WINDOW: OnceLock<Option<(i64, i64)>> = OnceLock::new();
    *WINDOW.get_or_init(|| {
        let text = std::env::var("GAPLESS_STEPS").ok()?;
        let (first, end) = text.split_once(':')?;
        Some((first.parse().ok()?, end.parse().ok()?))
    })
}

/// Step `step` of the calling thread begins, which ends the one before; a negative number only ends it.
#[unsafe(no_mangle)]
pub extern "C" fn gapless_step(step: c_longlong) {
    if let Some((first, end)) = step_window() {
        if step == first {
            writer::set_recording(true);
            crate::cuda::recording_changed(true);
            crate::rocm::recording_changed(true);
        } else if step == end {
            writer::set_recording(false);
            crate::cuda::recording_changed(false);
            crate::rocm::recording_changed(false);
        }
    }
    // The recorder goes by steps, so it must see them while it does not record.
    writer::with_even_if_off(|thread| {
        let record =
            Record { kind: Kind::Step as u8, class: Class::Step as u8, payload: step as u64, ..Record::default() };
        thread.put(record, &[]);
    });
}

/// Identity of a collective that the calling thread has just enqueued, as a small JSON object.
///
/// # Safety
/// `json` is null or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gapless_collective(json: *const c_char) {
    if json.is_null() {
        return;
    }
    // SAFETY: by this function's own contract.
    let bytes = unsafe { CStr::from_ptr(json) }.to_bytes();
    writer::with(|thread| {
        let name = thread.name(b"collective");
        let record = Record { kind: Kind::Mark as u8, class: Class::Communication as u8, name, ..Record::default() };
        let key = thread.name(b"json");
        let mut facts = Facts::default();
        facts.blob(key, 0, bytes);
        thread.put_facts(record, &mut facts);
    });
}

/// A fact of the process, for the manifest.
///
/// # Safety
/// `key` and `value` are null or NUL-terminated strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gapless_info(key: *const c_char, value: *const c_char) {
    if key.is_null() || value.is_null() {
        return;
    }
    // SAFETY: by this function's own contract.
    let value = unsafe { CStr::from_ptr(value) }.to_bytes();
    writer::with_even_if_off(|thread| {
        // SAFETY: as above.
        let name = unsafe { thread.c_name(key) };
        thread.put_bytes(Record { kind: Kind::Info as u8, name, ..Record::default() }, value);
    });
}
