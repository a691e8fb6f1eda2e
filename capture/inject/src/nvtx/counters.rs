//! NVTX's counters extension: single numbers over time.

use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use gapless_ring::layout::{Kind, Record};
use gapless_ring::names::Registered;
use gapless_ring::writer;

use super::domains::{self, Domain};
use super::{schema, text};
use crate::table::{Table, join};

/// First id that the tool chooses.
const FIRST_DYNAMIC_ID: u64 = 1 << 32;

/// `nvtxCounterAttr_t`.
#[repr(C)]
struct CounterAttributes {
    struct_size: usize,
    schema: u64,
    name: *const c_char,
    description: *const c_char,
    scope: u64,
    semantics: *const c_void,
    id: u64,
}

struct Counter {
    name: Registered,
    /// Type of the samples.
    schema: u64,
}

static COUNTERS: Table<Counter, 4096> = Table::new();
static NEXT_ID: AtomicU64 = AtomicU64::new(FIRST_DYNAMIC_ID);

/// Functions of the extension by callback id. Batches with times of their own are left alone.
pub(super) fn functions() -> [(usize, *const c_void); 4] {
    [
        (0, register as *const c_void),
        (1, sample_integer as *const c_void),
        (2, sample_float as *const c_void),
        (3, sample as *const c_void),
    ]
}

fn key(domain: Option<&Domain>, id: u64) -> u64 {
    join(domain.map_or(0, |domain| domain.hash), id)
}

unsafe extern "C" fn register(domain: *const Domain, attributes: *const CounterAttributes) -> u64 {
    // SAFETY: NVTX passes on a handle of ours and what its caller gave, as large as it says.
    unsafe {
        if attributes.is_null() || (&raw const (*attributes).struct_size).read() < size_of::<CounterAttributes>() {
            return 0;
        }
        let given = &*attributes;
        let id = if given.id != 0 { given.id } else { NEXT_ID.fetch_add(1, Ordering::Relaxed) };
        let make = || Counter { name: Registered::new(text::bytes(given.name)), schema: given.schema };
        COUNTERS.get_or_insert(key(domains::of_handle(domain), id), make).map_or(0, |_| id)
    }
}

unsafe fn write(domain: *const Domain, id: u64, value: f64) {
    writer::with(|thread| {
        // SAFETY: NVTX passes on a handle of ours.
        let domain = unsafe { domains::of_handle(domain) };
        if let Some(counter) = COUNTERS.get(key(domain, id)) {
            let name = thread.registered(&counter.name);
            let domain = domains::number(thread, domain);
            let payload = value.to_bits();
            thread.put(Record { kind: Kind::Counter as u8, name, domain, payload, ..Record::default() }, &[]);
        }
    });
}

unsafe extern "C" fn sample_integer(domain: *const Domain, id: u64, value: i64) {
    // SAFETY: NVTX passes on a handle of ours.
    unsafe { write(domain, id, value as f64) };
}

unsafe extern "C" fn sample_float(domain: *const Domain, id: u64, value: f64) {
    // SAFETY: as above.
    unsafe { write(domain, id, value) };
}

/// A sample of the counter's own type. Groups of counters are not taken apart.
unsafe extern "C" fn sample(domain: *const Domain, id: u64, value: *const u8, size: usize) {
    // SAFETY: NVTX passes on a handle of ours and `size` bytes of its caller.
    unsafe {
        let Some(counter) = COUNTERS.get(key(domains::of_handle(domain), id)) else { return };
        let fits = schema::predefined(counter.schema).is_some_and(|(needed, _)| size >= needed);
        if value.is_null() || !fits {
            return;
        }
        let number = match counter.schema {
            1 | 11 => f64::from(value.cast::<i8>().read()),
            2 | 12 => f64::from(value.read()),
            3 | 13 => f64::from(value.cast::<i16>().read_unaligned()),
            4 | 14 => f64::from(value.cast::<u16>().read_unaligned()),
            5 | 15 => f64::from(value.cast::<i32>().read_unaligned()),
            6 | 16 => f64::from(value.cast::<u32>().read_unaligned()),
            7 | 9 | 17 => value.cast::<i64>().read_unaligned() as f64,
            8 | 10 | 18 | 22 => value.cast::<u64>().read_unaligned() as f64,
            19 | 43 => f64::from(value.cast::<f32>().read_unaligned()),
            20 | 44 => value.cast::<f64>().read_unaligned(),
            _ => return,
        };
        write(domain, id, number);
    }
}
