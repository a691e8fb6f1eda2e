//! A Perfetto trace as other writers make it: several threads, each a sequence of its own, names interned where they
//! are first used, a few annotations on each slice, and what the recording service adds to every packet.

use std::io::{self, Write};

use perfetto_proto::field::{annotation, interned, packet, trace, track_event};
use perfetto_proto::wire::Writer;

/// Threads that write.
const THREADS: u64 = 8;
/// Names of events, and as many as one sequence interns.
const NAMES: u64 = 300;
/// Slices that lie in one another.
const DEPTH: u64 = 5;

/// What [`write()`] wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Packets, descriptions of tracks among them.
    pub packets: u64,
    /// Slices.
    pub slices: u64,
    /// Instants.
    pub instants: u64,
    /// Values of counters.
    pub values: u64,
}

/// Texts that a sequence has told so far.
#[derive(Clone, Default)]
struct Told {
    names: Vec<bool>,
    keys: bool,
}

/// Writes about `packets` packets, 60 to 120 bytes each on the mean.
///
/// # Errors
/// Those of `out`.
pub fn write(mut out: impl Write, packets: u64) -> io::Result<Written> {
    let mut written = Written::default();
    let mut writer = Writer::with_capacity(1 << 20);
    for thread in 0..THREADS {
        describe(&mut writer, thread);
        written.packets += 2;
    }
    let mut told = vec![Told { names: vec![false; NAMES as usize + 1], keys: false }; THREADS as usize];
    let mut open: Vec<u64> = vec![0; THREADS as usize];
    // A fixed walk through the states of a linear congruential generator: the same file every time.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut time = 1_700_000_000_000_000_u64;
    while written.packets < packets {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let dice = state >> 33;
        time += 150 + dice % 900;
        let thread = dice % THREADS;
        let (Some(depth), Some(told)) = (open.get_mut(thread as usize), told.get_mut(thread as usize)) else {
            continue;
        };
        let begins = *depth == 0 || (*depth < DEPTH && (dice >> 8).is_multiple_of(2));
        let kind = match (dice >> 12) % 32 {
            0 => 4,
            1 => 3,
            _ if begins => 1,
            _ => 2,
        };
        match kind {
            1 => (*depth, written.slices) = (*depth + 1, written.slices + 1),
            2 => *depth -= 1,
            3 => written.instants += 1,
            _ => written.values += 1,
        }
        one(&mut writer, told, thread, time, kind, dice);
        written.packets += 1;
        if writer.len() > 1 << 19 {
            out.write_all(writer.as_bytes())?;
            writer.clear();
        }
    }
    for (thread, depth) in open.into_iter().enumerate() {
        for _ in 0..depth {
            time += 500;
            one(&mut writer, &mut Told::default(), thread as u64, time, 2, 0);
            written.packets += 1;
        }
    }
    out.write_all(writer.as_bytes())?;
    out.flush()?;
    Ok(written)
}

/// The identity of a thread's track: writers hash addresses, so it is as long as a number can be.
fn track(thread: u64) -> u64 {
    (thread + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 << 63
}

/// The descriptions of a thread and of a counter of it.
fn describe(writer: &mut Writer, thread: u64) {
    writer.message(trace::PACKET, |out| {
        out.uint(packet::SEQUENCE_ID, thread + 2);
        out.uint(packet::SEQUENCE_FLAGS, 1);
        out.message(packet::TRACK_DESCRIPTOR, |descriptor| {
            descriptor.uint(1, track(thread));
            descriptor.message(4, |described| {
                described.int(1, 4711);
                described.int(2, 4711 + thread as i64);
                described.string(5, &format!("worker {thread}"));
            });
        });
    });
    writer.message(trace::PACKET, |out| {
        out.uint(packet::SEQUENCE_ID, thread + 2);
        out.message(packet::TRACK_DESCRIPTOR, |descriptor| {
            descriptor.uint(1, track(thread) ^ 1);
            descriptor.uint(5, track(thread));
            descriptor.string(2, &format!("queued {thread}"));
            descriptor.message(8, |_| {});
        });
    });
}

/// One event of `kind` (1 begins, 2 ends, 3 instant, 4 counter).
fn one(writer: &mut Writer, told: &mut Told, thread: u64, time: u64, kind: u64, dice: u64) {
    let name = 1 + (dice >> 4) % NAMES;
    writer.message(trace::PACKET, |out| {
        out.uint(packet::TIMESTAMP, time);
        out.message(packet::TRACK_EVENT, |event| {
            match kind {
                1 | 3 => event.uint(track_event::CATEGORY_IIDS, 1 + name % 3),
                4 => event.int(track_event::COUNTER_VALUE, (dice % 512) as i64),
                _ => {}
            }
            event.uint(track_event::TYPE, kind);
            if kind == 1 || kind == 3 {
                event.uint(track_event::NAME_IID, name);
            }
            event.uint(track_event::TRACK_UUID, track(thread) ^ u64::from(kind == 4));
            if kind == 1 {
                event.message(track_event::DEBUG_ANNOTATIONS, |value| {
                    value.uint(annotation::NAME_IID, 1);
                    value.int(annotation::INT_VALUE, (dice % 100_000) as i64);
                });
                event.message(track_event::DEBUG_ANNOTATIONS, |value| {
                    value.uint(annotation::NAME_IID, 2);
                    value.string(annotation::STRING_VALUE, TEXTS[(dice >> 7) as usize % TEXTS.len()]);
                });
                event.message(track_event::DEBUG_ANNOTATIONS, |value| {
                    value.uint(annotation::NAME_IID, 3);
                    value.double(annotation::DOUBLE_VALUE, dice as f64 / 7.0);
                });
            }
        });
        if kind == 1 || kind == 3 {
            tell(out, told, name);
        }
        out.uint(packet::TRUSTED_UID, 1000);
        out.uint(packet::SEQUENCE_ID, thread + 2);
        out.uint(packet::TRUSTED_PID, 4711);
        out.uint(packet::SEQUENCE_FLAGS, 2);
    });
}

const TEXTS: [&str; 4] = [
    "s3://datasets/tokenized/2026-11/shard-00017-of-01024.parquet",
    "prefill of 3 requests, 8,112 tokens",
    "decode: batch of 48 requests, 48 tokens, 12 waiting",
    "model.layers.31.self_attn.o_proj",
];

/// Interns what this packet uses first.
fn tell(out: &mut Writer, told: &mut Told, name: u64) {
    let Some(known) = told.names.get_mut(name as usize) else { return };
    if *known && told.keys {
        return;
    }
    out.message(packet::INTERNED_DATA, |data| {
        let mut entry = |field: u32, iid: u64, text: &str| {
            data.message(field, |entry| {
                entry.uint(interned::IID, iid);
                entry.string(interned::TEXT, text);
            });
        };
        if !*known {
            entry(interned::EVENT_NAMES, name, &format!("Scheduler::Step{name}::RunBatch"));
        }
        if !told.keys {
            for (iid, text) in (1..).zip(["loop", "io", "model"]) {
                entry(interned::EVENT_CATEGORIES, iid, text);
            }
            for (iid, text) in (1..).zip(["requests", "source", "score"]) {
                entry(interned::DEBUG_ANNOTATION_NAMES, iid, text);
            }
        }
    });
    (*known, told.keys) = (true, true);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use super::*;
    use crate::open::open_bytes;

    #[test]
    fn what_is_written_is_read_whole_and_has_the_size_that_it_promises() {
        let mut bytes = Vec::new();
        let written = write(&mut bytes, 20_000).unwrap_or_default();
        let mean = bytes.len() as f64 / written.packets as f64;
        assert!((60.0..120.0).contains(&mean), "{mean}");
        let Ok(trace) = open_bytes("typical.pftrace", bytes) else { panic!("it does not open") };
        assert_eq!(trace.events().len() as u64, written.slices + written.instants);
        let values: usize = trace.counters().iter().map(|series| series.times.len()).sum();
        assert_eq!(values as u64, written.values);
        assert!(trace.warnings().is_empty(), "{:?}", trace.warnings());
    }
}
