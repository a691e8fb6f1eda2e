//! What turning CUPTI's records into records of the ring costs: records per second of one core, and bytes of the ring per
//! record. The records are made here and the stride is that of the STUB of CUPTI (`tests/gpu/stub`): no device and no
//! code of NVIDIA's takes part. The real CUPTI's own stride function may take longer.
//!
//!     cargo bench -p gapless-inject --bench cuda

#![allow(unsafe_code)]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its figures and may fail")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use cupti_sys::layout::{kernel, runtime};
use cupti_sys::{Cupti, Field, Kind};
use gapless_inject::cuda::{Decoder, Out};
use gapless_ring::layout::Record;

/// Records in all.
const RECORDS: usize = 10_000_000;
/// Bytes of a buffer, as the image gives them.
const BUFFER_BYTES: usize = 2 << 20;
/// Slots that are written over and over, as many as the largest ring has.
const SLOTS: usize = 1 << 19;
const ROUNDS: usize = 7;
/// Kernels of a training step have about so many names.
const NAMES: usize = 200;

struct Memory {
    slots: Vec<Record>,
    head: usize,
    names: u32,
}

impl Out for Memory {
    fn name(&mut self, _bytes: &[u8]) -> u32 {
        self.names += 1;
        self.names
    }

    #[inline(always)]
    fn put(&mut self, record: Record, extra: &[Record]) {
        for slot in std::iter::once(&record).chain(extra) {
            if let Some(place) = self.slots.get_mut(self.head & (SLOTS - 1)) {
                *place = *slot;
            }
            self.head += 1;
        }
    }

    fn fact(&mut self, _key: &str, _value: &str) {}
}

/// Builds the stub; `None` where there is no compiler.
fn stub(folder: &Path) -> Option<Cupti> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/gpu/stub/libcupti.c");
    let path: PathBuf = folder.join("libcupti.so.13");
    let made =
        Command::new("gcc").args(["-O2", "-fPIC", "-shared", "-pthread", "-o"]).arg(&path).arg(source).status().ok()?;
    assert!(made.success());
    // SAFETY: the stub has no initialisers.
    let library = unsafe { libloading::os::unix::Library::new(&path).unwrap() };
    Some(Cupti::of(library, path).unwrap())
}

fn put(buffer: &mut [u8], at: usize, field: Field, value: u64) {
    let bytes = value.to_ne_bytes();
    let from = at + field.offset as usize;
    let kept = bytes.get(..field.bytes as usize).unwrap();
    buffer.get_mut(from..from + kept.len()).unwrap().copy_from_slice(kept);
}

/// A buffer full of records of these kinds by turns; how many, and bytes that hold them.
fn fill(cupti: &Cupti, kinds: &[Kind], names: &[Vec<u8>], buffer: &mut [u8]) -> (usize, usize) {
    let (mut at, mut count) = (0, 0);
    loop {
        let kind = *kinds.get(count % kinds.len()).unwrap();
        let size = cupti.record_size(kind);
        if at + size > buffer.len() {
            return (count, at);
        }
        put(buffer, at, Field { name: "kind", offset: 0, bytes: 4 }, kind as u64);
        let time = 1_000_000 + 10 * count as u64;
        if kind == Kind::Kernel {
            let name = names.get(count % names.len()).unwrap().as_ptr() as u64;
            for (field, value) in [
                (kernel::START, time),
                (kernel::END, time + 5_000),
                (kernel::NAME, name),
                (kernel::CORRELATION, count as u64),
                (kernel::GRID_X, 132),
                (kernel::BLOCK_X, 256),
            ] {
                put(buffer, at, field, value);
            }
        } else {
            for (field, value) in
                [(runtime::START, time), (runtime::END, time + 90), (runtime::CALLBACK, 211), (runtime::THREAD, 4711)]
            {
                put(buffer, at, field, value);
            }
        }
        at += size;
        count += 1;
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let Some(cupti) = stub(folder.path()) else {
        println!("skipped: there is no gcc");
        return;
    };
    // Names of kernels are long.
    let names: Vec<Vec<u8>> = (0..NAMES)
        .map(|number| {
            format!("_ZN2at6native29vectorized_elementwise_kernelILi{number}E{}\0", "x".repeat(120)).into_bytes()
        })
        .collect();
    println!(
        "{RECORDS} records, buffers of 2 MiB, median of {ROUNDS} rounds (stub of CUPTI, version {})",
        cupti.version()
    );
    println!("| records | M records/s | ns a record | ring bytes a record |\n|---|--:|--:|--:|");
    for (what, kinds) in [
        ("kernels", &[Kind::Kernel][..]),
        ("calls of the runtime", &[Kind::Runtime]),
        ("a call and a kernel by turns", &[Kind::Runtime, Kind::Kernel]),
    ] {
        let mut buffer = vec![0u8; BUFFER_BYTES];
        let (count, valid_bytes) = fill(&cupti, kinds, &names, &mut buffer);
        let mut ring_bytes = 0.0;
        let mut seconds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let mut decoder = Decoder::of_ticks();
                let mut out = Memory { slots: vec![Record::default(); SLOTS], head: 0, names: 0 };
                let is_wanted = |ticks: u64| ticks > 1_000;
                let start = Instant::now();
                let mut done = 0;
                while done < RECORDS {
                    // SAFETY: the buffer holds whole records up to here.
                    unsafe { decoder.buffer(&cupti, buffer.as_mut_ptr(), valid_bytes, &is_wanted, &mut out) };
                    done += count;
                }
                let seconds = start.elapsed().as_secs_f64() * RECORDS as f64 / done as f64;
                assert_eq!(decoder.counts.kept, done as u64, "each record is passed on");
                ring_bytes = out.head as f64 * 32.0 / done as f64;
                std::hint::black_box(&out.slots);
                seconds
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds.get(ROUNDS / 2).copied().unwrap_or_default();
        println!(
            "| {what} | {:.1} | {:.1} | {ring_bytes:.0} |",
            RECORDS as f64 / median / 1e6,
            median / RECORDS as f64 * 1e9
        );
    }
}
