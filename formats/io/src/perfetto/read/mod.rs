//! Reading Perfetto traces (`.pftrace`, `.perfetto-trace`): any run of packets of Perfetto's protobuf format.
//!
//! ```text
//! bounds    finds where packets begin and end, and cuts the file into pieces      in order, lengths only
//! walk      packets of a piece → records, changes of sequence state               parallel
//! state     what is interned, defaults, clocks                                    in order, changes only
//! resolve   records → events with names, times, tracks                            parallel
//! pair      slices that cross pieces, tracks whose times go back                  in order, few
//! finish    tracks named, counters, arrows, ranks                                 in order
//! ```
//!
//! A stretch of the file goes through the first four steps at a time, so records never take more room than that.
//! Arguments stay where they are: an event keeps the place of its packet, and what its sequence had interned is kept
//! as places too (`args`, `state`, `store`).
//!
//! A trace that Gapless wrote says what the model was (`facts`); then the same model comes back.

mod args;
mod bounds;
mod clocks;
mod cores;
mod event;
mod facts;
mod finish;
mod flows;
mod gpu;
mod inflate;
mod legacy;
mod pair;
mod record;
mod resolve;
mod samples;
mod sched;
mod state;
mod store;
mod tracks;
mod walk;
mod wanted;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use gapless_trace::{ArgValue, Args, ArgsSource, SourceId, TracePart, WarningKind, Warnings};
use rayon::prelude::*;

use crate::Progress;
use crate::args_arena::ArgsArena;
use crate::error::Refused;
use crate::readers::{Head, Input, ReadPart, Role};
use args::PacketArgs;
use bounds::Bounds;
use facts::Facts;
use inflate::{Inflated, inflate};
use record::{Compressed, Rare, Record, Walked};
use resolve::{Resolved, Shared, resolve};
use state::Sequences;
use store::Store;
use tracks::Tracks;
use walk::{Piece, walk};

/// What the format is called.
const FORMAT: &str = "Perfetto protobuf";

/// Whether a file that begins with `head` is a Perfetto trace.
pub(crate) fn sniff(head: &Head<'_>) -> bool {
    bounds::sniff(head.bytes)
}

/// Reads a Perfetto trace: a part per rank.
pub(crate) fn read(input: &Input, progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    let parts = match read_as(input, progress, true)? {
        Ok(parts) => parts,
        Err(reason) => {
            let mut parts = read_as(input, progress, false)?.unwrap_or_default();
            if let Some(first) = parts.first_mut() {
                first.warnings.add(WarningKind::FactsUnused, SourceId(0), None, &reason);
            }
            parts
        }
    };
    Ok(parts.into_iter().map(recorded).collect())
}

/// A part of a recording by `gapless record` says so, and which process it is; any other is a trace of its own.
fn recorded(mut part: TracePart) -> ReadPart {
    let info = &mut part.info;
    let text = |header: &Args, name: &str| match header.iter().find(|entry| entry.0 == name) {
        Some((_, ArgValue::Text(value))) => Some(value.clone()),
        _ => None,
    };
    if part.is_restored || text(&info.header, "gapless.recording").is_none() {
        return part.into();
    }
    let number = |name: &str| text(&info.header, name).and_then(|value| value.parse::<i64>().ok());
    let narrow = |name: &str| number(name).and_then(|value| u32::try_from(value).ok());
    let start_unix_ns = number("gapless.start_unix_ns").unwrap_or(0);
    let (rank, world_size) = (narrow("gapless.rank"), narrow("gapless.world_size"));
    let host = text(&info.header, "gapless.host");
    info.rank = rank.or(info.rank);
    info.world_size = world_size.or(info.world_size);
    info.host = host.or(info.host.take());
    ReadPart { part, role: Role::Process { start_unix_ns }, joins: Vec::new() }
}

/// Reads the trace. With `use_facts`, one that Gapless wrote is restored; the inner `Err` says why it cannot be.
fn read_as(input: &Input, progress: &dyn Progress, use_facts: bool) -> Result<Result<Vec<TracePart>, String>, Refused> {
    let mut reading = Reading::new(input, use_facts);
    let bytes = Arc::clone(&input.bytes);
    let mut bounds = Bounds::new(&bytes, 0);
    loop {
        let window: Vec<Range<usize>> =
            std::iter::from_fn(|| bounds.next_piece(&mut reading.warnings)).take(window_len()).collect();
        if window.is_empty() {
            break;
        }
        if progress.is_cancelled() {
            return Err(Refused::Cancelled);
        }
        if let Err(reason) = reading.window(&bytes, &window)? {
            return Ok(Err(reason));
        }
        progress.done(bounds.done() as u64);
    }
    if reading.resolved.is_empty() {
        let reason = "it holds no packet of a Perfetto trace";
        return Err(Refused::format(0, reason));
    }
    Ok(reading.finish())
}

/// Pieces that are worked on at a time: enough for all threads, few enough that bytes and records stay in the caches.
fn window_len() -> usize {
    match rayon::current_num_threads() {
        1 => 1,
        threads => (2 * threads).min(64),
    }
}

/// A trace that is being read.
struct Reading<'a> {
    input: &'a Input,
    use_facts: bool,
    store: Store,
    sequences: Sequences,
    facts: Option<Facts>,
    resolved: Vec<Resolved>,
    rares: Vec<Rare>,
    /// Offset and number of each piece.
    pieces: Vec<(u64, u32)>,
    events: u64,
    warnings: Warnings,
    room: Room,
}

/// Room for records, used again window after window: fresh pages cost as much as walking does.
#[derive(Default)]
struct Room(Mutex<Vec<Vec<Record>>>);

impl Room {
    fn take(&self) -> Vec<Record> {
        self.0.lock().ok().and_then(|mut free| free.pop()).unwrap_or_default()
    }

    fn give_back(&self, records: Vec<Record>) {
        if let Ok(mut free) = self.0.lock() {
            free.push(records);
        }
    }
}

/// A piece before its bytes are looked up: where it lies.
#[derive(Clone, Copy)]
struct Extent {
    base: u64,
    len: usize,
    may_inflate: bool,
}

impl<'a> Reading<'a> {
    fn new(input: &'a Input, use_facts: bool) -> Self {
        Self {
            input,
            use_facts,
            store: Store::new(Arc::clone(&input.bytes)),
            sequences: Sequences::default(),
            facts: None,
            resolved: Vec::new(),
            rares: Vec::new(),
            pieces: Vec::new(),
            events: 0,
            warnings: Warnings::default(),
            room: Room::default(),
        }
    }

    /// Reads the pieces `window` of the file.
    fn window(&mut self, bytes: &[u8], window: &[Range<usize>]) -> Result<Result<(), String>, Refused> {
        let extent = |range: &Range<usize>| Extent { base: range.start as u64, len: range.len(), may_inflate: true };
        let mut work: Vec<(Extent, Walked)> = window
            .par_iter()
            .map(|range| {
                let piece_bytes = bytes.get(range.clone()).unwrap_or_default();
                let piece = Piece { base: range.start as u64, bytes: piece_bytes, may_inflate: true };
                (extent(range), walk(piece, self.room.take()))
            })
            .collect();
        if work.iter().any(|(_, walked)| !walked.compressed.is_empty()) {
            work = self.inflate_all(bytes, work)?;
        }
        let first = self.pieces.len() as u32;
        for (number, (extent, walked)) in (first..).zip(&mut work) {
            self.pieces.push((extent.base, number));
            self.rares.append(&mut walked.rares);
            self.sequences.advance(walked, number, &self.store);
        }
        if let Err(reason) = self.read_facts(&work, first) {
            return Ok(Err(reason));
        }
        let shared = Shared {
            sequences: &self.sequences,
            store: &self.store,
            facts: self.facts.as_ref(),
            nesting: self.input.limits.nesting,
        };
        let room = &self.room;
        let resolved: Vec<Resolved> = work
            .into_par_iter()
            .map(|(extent, mut walked)| {
                let bytes = shared.store.slice(extent.base, extent.len).unwrap_or_default();
                let piece = Piece { base: extent.base, bytes, may_inflate: false };
                let resolved = resolve(shared, piece, &mut walked);
                room.give_back(walked.records);
                resolved
            })
            .collect();
        self.events += resolved.iter().map(|piece| piece.chunk.len() as u64).sum::<u64>();
        if self.events > self.input.limits.events {
            return Err(Refused::Limit {
                what: format!("it has more than {} events", self.input.limits.events),
                limit: self.input.limits.events.to_string(),
                flag: "events=N".to_owned(),
            });
        }
        self.resolved.extend(resolved);
        Ok(Ok(()))
    }

    /// Puts what compressed packets hold in their place: each piece is cut at them and walked anew.
    fn inflate_all(&mut self, bytes: &[u8], work: Vec<(Extent, Walked)>) -> Result<Vec<(Extent, Walked)>, Refused> {
        let limits = self.input.limits;
        let inflated: Vec<Vec<(Compressed, Inflated)>> = work
            .par_iter()
            .map(|(extent, walked)| {
                let inflate_one = |compressed: &Compressed| {
                    let from = extent.base as usize;
                    let content = bytes.get(from + compressed.from..from + compressed.to).unwrap_or_default();
                    (*compressed, inflate(compressed, content, &limits))
                };
                walked.compressed.par_iter().map(inflate_one).collect()
            })
            .collect();
        let mut extents: Vec<(Extent, Option<Walked>)> = Vec::new();
        for ((extent, walked), inflated) in work.into_iter().zip(inflated) {
            if inflated.is_empty() {
                extents.push((extent, Some(walked)));
                continue;
            }
            let mut from = 0;
            for (compressed, inflated) in inflated {
                let before = Extent {
                    base: extent.base + from as u64,
                    len: compressed.frame.saturating_sub(from),
                    may_inflate: false,
                };
                if before.len > 0 {
                    extents.push((before, None));
                }
                from = compressed.end;
                let offset = Some(extent.base + compressed.frame as u64);
                let block = match inflated {
                    Inflated::Whole(block) => block,
                    Inflated::Damaged(block) => {
                        self.warnings.add(WarningKind::GzipDamaged, SourceId(0), offset, "a compressed packet");
                        block
                    }
                    Inflated::TooMuch => return Err(too_much(limits.inflated_bytes)),
                };
                let inflated_so_far = self.store.end() - self.input.bytes.len() as u64;
                if inflated_so_far + block.len() as u64 > limits.inflated_bytes {
                    return Err(too_much(limits.inflated_bytes));
                }
                let base = self.store.end();
                let mut bounds = Bounds::new(&block, base);
                while let Some(range) = bounds.next_piece(&mut self.warnings) {
                    let piece = Extent { base: base + range.start as u64, len: range.len(), may_inflate: false };
                    extents.push((piece, None));
                }
                self.store.push(block);
            }
            let rest =
                Extent { base: extent.base + from as u64, len: extent.len - from.min(extent.len), may_inflate: false };
            if rest.len > 0 {
                extents.push((rest, None));
            }
        }
        let (store, room) = (&self.store, &self.room);
        let walk_one = |(extent, walked): (Extent, Option<Walked>)| {
            let walked = walked.unwrap_or_else(|| {
                let bytes = store.slice(extent.base, extent.len).unwrap_or_default();
                walk(Piece { base: extent.base, bytes, may_inflate: extent.may_inflate }, room.take())
            });
            (extent, walked)
        };
        Ok(extents.into_par_iter().map(walk_one).collect())
    }

    /// Reads the facts of the pieces in `work`, whose first has the number `first`.
    fn read_facts(&mut self, work: &[(Extent, Walked)], first: u32) -> Result<(), String> {
        if !self.use_facts || work.iter().all(|(_, walked)| walked.facts.is_empty()) {
            return Ok(());
        }
        if self.facts.is_none() && self.events > 0 {
            return Err("they stand behind events".to_owned());
        }
        let mut facts = self.facts.take().unwrap_or_default();
        for (number, (extent, walked)) in (first..).zip(work) {
            for &loc in &walked.facts {
                let content = self.store.bytes(loc).unwrap_or_default();
                let at = state::place(number, u32::try_from(loc.offset() - extent.base).unwrap_or(u32::MAX));
                let (sequence, generation) = self.sequences.at(args::sequence_of(content), at).unwrap_or((u32::MAX, 0));
                let scope = args::Scope {
                    sequences: &self.sequences,
                    store: &self.store,
                    sequence,
                    generation,
                    nesting: self.input.limits.nesting,
                };
                facts.add(&args::of_packet(&scope, content));
            }
        }
        self.facts = Some(facts);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<TracePart>, String> {
        let tracks = Tracks::read(&self.rares, &self.store, &mut self.warnings);
        let whole = finish::Whole {
            pieces: std::mem::take(&mut self.resolved),
            tracks,
            unix_delta_ns: self.sequences.clocks.unix_delta_ns(),
            warnings: std::mem::take(&mut self.warnings),
        };
        let new_part = || {
            let mut part = self.input.part();
            part.source.format = FORMAT.to_owned();
            part
        };
        let (mut parts, arena): (Vec<TracePart>, Arc<dyn ArgsSource>) = match &self.facts {
            Some(facts) => (finish::restored(whole, facts, new_part)?, ArgsArena::default().finish()),
            None => finish::generic(whole, &self.store, new_part),
        };
        self.pieces.sort_unstable();
        let source: Arc<dyn ArgsSource> = Arc::new(PacketArgs {
            store: self.store,
            sequences: self.sequences,
            pieces: self.pieces,
            arena,
            hides_own: self.facts.is_some(),
            nesting: self.input.limits.nesting,
        });
        for part in &mut parts {
            part.source.file_events = part.chunks.iter().map(|chunk| chunk.file_events).sum();
            part.args = Arc::clone(&source);
        }
        Ok(parts)
    }
}

fn too_much(limit: u64) -> Refused {
    Refused::Limit {
        what: "compressed packets inflate to more than is allowed".to_owned(),
        limit: format!("{limit} bytes in all, or the ratio of inflated to compressed bytes"),
        flag: "inflated=32GiB".to_owned(),
    }
}
