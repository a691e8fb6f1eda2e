//! Gzip: one thread inflates, the others parse what is there already.
//!
//! The text is cut into blocks at event boundaries. If a cut proves wrong (a list of objects inside an event that
//! looks like events), the file is read once more in one thread, where the parser itself says how far it came.

use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use flate2::bufread::MultiGzDecoder;
use gapless_trace::{RawChunk, SourceId, TracePart, WarningKind};

use super::finish;
use super::header::{Head, find_events};
use super::pieces::{End, Events, Text, parse_events, too_long, within_events};
use super::resync::next_event;
use crate::Progress;
use crate::error::Refused;
use crate::limits::Limits;
use crate::text::{KeptBytes, KeptText};
use crate::unwrap::Budget;

/// Bytes of inflated text per block.
const BLOCK: usize = 8 << 20;
/// How far back from the end of a block a cut is looked for first.
const CUT_WINDOW: usize = 4 << 10;

/// A block that was parsed.
struct Parsed {
    index: usize,
    chunk: RawChunk,
    end: End,
    /// Where the block was cut; `None` for the last one.
    cut: Option<usize>,
    base: u64,
    /// Text from where the list ends, or of the whole block if it is the last one.
    tail: Vec<u8>,
}

/// Reads a gzip file into `part`; the text is kept for arguments as long as it fits.
pub(crate) fn read_gzip(
    file: &[u8],
    in_all: KeptBytes,
    part: &mut TracePart,
    budget: &Budget,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<KeptText, Refused> {
    // The last four bytes of a gzip file say how long its text is (modulo 4 GiB, of its last member).
    let length = file.last_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let mut kept = KeptText::new(in_all, length as usize);
    let outcome = match read_blocks(file, &mut kept, budget, limits, progress)? {
        Some(outcome) => outcome,
        None => {
            kept.clear();
            read_serially(file, &mut kept, budget, limits, progress)?
        }
    };
    within_events(outcome.events.chunks.iter().map(|chunk| chunk.file_events).sum(), limits)?;
    if let Some(reason) = outcome.damage {
        part.warnings.add(WarningKind::GzipDamaged, SourceId(0), Some(outcome.text_bytes), &reason);
    }
    part.warnings.merge(outcome.warnings);
    part.source.text_bytes = outcome.text_bytes;
    finish(&outcome.tail, outcome.tail_base, outcome.head, outcome.events, part, limits)?;
    Ok(kept)
}

struct Outcome {
    head: Head,
    events: Events,
    tail: Vec<u8>,
    tail_base: u64,
    text_bytes: u64,
    damage: Option<String>,
    warnings: gapless_trace::Warnings,
}

/// Inflates into `buffer` from `filled` on, until it is full or the stream ends. Gives the new length and whether it ended.
fn fill(
    decoder: &mut MultiGzDecoder<&[u8]>,
    buffer: &mut [u8],
    filled: usize,
    damage: &mut Option<String>,
) -> (usize, bool) {
    let mut length = filled;
    while let Some(room) = buffer.get_mut(length..).filter(|room| !room.is_empty()) {
        match decoder.read(room) {
            Ok(0) => return (length, true),
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                *damage = Some(error.to_string());
                return (length, true);
            }
        }
    }
    (length, false)
}

fn read_blocks(
    file: &[u8],
    kept: &mut KeptText,
    budget: &Budget,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<Option<Outcome>, Refused> {
    let mut decoder = MultiGzDecoder::new(file);
    let parsed: Mutex<Vec<Parsed>> = Mutex::new(Vec::new());
    let texts: Mutex<&mut KeptText> = Mutex::new(kept);
    let in_flight = AtomicUsize::new(0);
    let total_text = AtomicU64::new(0);
    let most_in_flight = 2 * rayon::current_num_threads() + 2;
    let mut damage = None;
    let mut head: Option<Head> = None;
    let mut warnings = gapless_trace::Warnings::default();
    let pool: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    let (parsed_ref, texts_ref, in_flight_ref, pool_ref) = (&parsed, &texts, &in_flight, &pool);
    let nesting = limits.nesting;
    let events = AtomicU64::new(0);
    let events_ref = &events;
    let fits_blocks = rayon::in_place_scope(|scope| -> Result<bool, Refused> {
        let mut carry: Vec<u8> = Vec::new();
        let mut base = 0u64;
        let mut index = 0usize;
        loop {
            if progress.is_cancelled() {
                return Err(Refused::Cancelled);
            }
            // A used buffer costs no fresh pages. What lies behind `length` in it is left over from before.
            let mut buffer = pool_ref.lock().ok().and_then(|mut pool| pool.pop()).unwrap_or_default();
            let have = carry.len();
            // Twice the room each time, so that what does not fit is looked at a few times only.
            let room = have + BLOCK.max(have);
            if buffer.len() < room {
                buffer.resize(room, 0);
            }
            let (Some(old), Some(inflated)) = (buffer.get_mut(..have), carry.get(..)) else { continue };
            old.copy_from_slice(inflated);
            let (length, ended) = fill(&mut decoder, buffer.get_mut(..room).unwrap_or_default(), have, &mut damage);
            let text = buffer.get(..length).unwrap_or_default();
            total_text.fetch_add((length - have) as u64, Ordering::Relaxed);
            budget.inflate(length - have)?;
            within_events(events_ref.load(Ordering::Relaxed), limits)?;
            progress.done((file.len() - decoder.get_ref().len()) as u64);
            let mut start = 0;
            if head.is_none() {
                match find_events(text, nesting, &mut warnings) {
                    Ok(found) => {
                        start = found.events_at;
                        head = Some(found);
                    }
                    Err(none) if !ended && !none.is_final && length >= limits.string_bytes => {
                        return Err(too_long(none.offset as u64, limits));
                    }
                    Err(none) if ended || none.is_final => {
                        let reason = match &damage {
                            Some(damage) => format!("{}; the gzip stream is damaged: {damage}", none.reason),
                            None => none.reason,
                        };
                        return Err(Refused::Format { offset: none.offset as u64, reason });
                    }
                    Err(_) => {
                        // The header is longer than a block.
                        warnings = gapless_trace::Warnings::default();
                        carry = text.to_vec();
                        continue;
                    }
                }
            }
            let cut = if ended { None } else { cut_of(text, start) };
            if cut.is_none() && !ended {
                // One event fills the block: go on until its end is here, or read on without cutting blindly.
                if length >= limits.string_bytes.max(BLOCK) {
                    return Ok(false);
                }
                carry = text.to_vec();
                if index == 0 {
                    head = None;
                }
                continue;
            }
            carry.clear();
            carry.extend_from_slice(cut.and_then(|cut| text.get(cut..)).unwrap_or_default());
            let here = base;
            base += cut.unwrap_or(length) as u64;
            let number = index;
            index += 1;
            let job = move || {
                let bytes = buffer.get(..length).unwrap_or_default();
                let text = if cut.is_some() { Text::Partial } else { Text::Whole };
                let (chunk, end) = parse_events(bytes, start, cut.unwrap_or(usize::MAX), here, text, nesting);
                events_ref.fetch_add(chunk.file_events, Ordering::Relaxed);
                let tail = if cut.is_none() { bytes.to_vec() } else { Vec::new() };
                if let Ok(mut parsed) = parsed_ref.lock() {
                    parsed.push(Parsed { index: number, chunk, end, cut, base: here, tail });
                }
                if let Ok(mut texts) = texts_ref.lock() {
                    texts.keep(here, bytes.get(..cut.unwrap_or(length)).unwrap_or_default());
                }
                if let Ok(mut pool) = pool_ref.lock() {
                    pool.push(buffer);
                }
                in_flight_ref.fetch_sub(1, Ordering::Relaxed);
            };
            if in_flight_ref.fetch_add(1, Ordering::Relaxed) < most_in_flight {
                scope.spawn(move |_| job());
            } else {
                job();
            }
            if ended {
                return Ok(true);
            }
        }
    });
    if !fits_blocks? {
        return Ok(None);
    }
    let mut parsed = parsed.into_inner().unwrap_or_default();
    parsed.sort_by_key(|block| block.index);
    // Every block but the last must have ended exactly at its cut.
    let fits = |block: &Parsed| match (block.cut, block.end) {
        (Some(cut), End::At(at)) => at == cut,
        (None, _) => true,
        _ => false,
    };
    if !parsed.iter().all(fits) {
        return Ok(None);
    }
    let (Some(head), Some(last)) = (head, parsed.last_mut()) else { return Ok(None) };
    let (end, tail, tail_base) = (last.end, std::mem::take(&mut last.tail), last.base);
    let chunks = parsed.into_iter().map(|block| block.chunk).collect();
    let text_bytes = total_text.into_inner();
    Ok(Some(Outcome { head, events: Events { chunks, end }, tail, tail_base, text_bytes, damage, warnings }))
}

/// The last event start in `buffer` after `start`.
fn cut_of(buffer: &[u8], start: usize) -> Option<usize> {
    let mut window = CUT_WINDOW;
    loop {
        let from = buffer.len().saturating_sub(window).max(start + 1);
        if let Some(mut cut) = next_event(buffer, from) {
            while let Some(later) = next_event(buffer, cut + 1) {
                cut = later;
            }
            return Some(cut);
        }
        if from <= start + 1 {
            return None;
        }
        window *= 4;
    }
}

/// An event that is longer than this is damaged.
const LONGEST_EVENT: usize = 64 << 20;

/// One thread: parse what is there, keep what is not whole, inflate more. For texts whose blocks cannot be cut
/// blindly: damaged ones, and those with events inside events.
fn read_serially(
    file: &[u8],
    kept: &mut KeptText,
    budget: &Budget,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<Outcome, Refused> {
    let mut decoder = MultiGzDecoder::new(file);
    let mut damage = None;
    let mut warnings = gapless_trace::Warnings::default();
    let mut buffer: Vec<u8> = Vec::new();
    let (mut base, mut text_bytes) = (0u64, 0u64);
    let mut head: Option<Head> = None;
    let mut chunks = Vec::new();
    let mut ended = false;
    let mut events = 0u64;
    // What was broken with this much text after it is damaged; before, it may only be cut off.
    let mut enough = BLOCK;
    loop {
        if progress.is_cancelled() {
            return Err(Refused::Cancelled);
        }
        if !ended {
            let have = buffer.len();
            buffer.resize(have + BLOCK, 0);
            let (length, at_end) = fill(&mut decoder, &mut buffer, have, &mut damage);
            buffer.truncate(length);
            text_bytes += (length - have) as u64;
            budget.inflate(length - have)?;
            progress.done((file.len() - decoder.get_ref().len()) as u64);
            ended = at_end;
        }
        let mut start = 0;
        if head.is_none() {
            let mut found_warnings = gapless_trace::Warnings::default();
            match find_events(&buffer, limits.nesting, &mut found_warnings) {
                Ok(found) => {
                    start = found.events_at;
                    head = Some(found);
                    warnings.merge(found_warnings);
                }
                Err(none) if !ended && !none.is_final && buffer.len() >= limits.string_bytes => {
                    return Err(too_long(none.offset as u64, limits));
                }
                Err(none) if ended || none.is_final => {
                    return Err(Refused::Format { offset: none.offset as u64, reason: none.reason });
                }
                Err(_) => continue,
            }
        }
        // A broken event with enough text after it is skipped: the stretch up to the next one is parsed as a whole.
        let is_damaged = !ended && buffer.len() > enough;
        let (text, stop) = match next_event(&buffer, start + 1) {
            _ if ended => (Text::Whole, usize::MAX),
            Some(next) if is_damaged => (Text::Whole, next),
            _ => (Text::Partial, usize::MAX),
        };
        let (chunk, end) = parse_events(&buffer, start, stop, base, text, limits.nesting);
        events += chunk.file_events;
        within_events(events, limits)?;
        let is_stuck = matches!(end, End::Broken(0) | End::Text(Some(0)));
        if is_stuck && !ended && buffer.len() >= limits.string_bytes.max(BLOCK) {
            return Err(too_long(base, limits));
        }
        let next = match end {
            End::At(at) => at,
            End::Broken(at) => {
                if at == start && start == 0 {
                    enough = (enough * 2).min(LONGEST_EVENT);
                    continue;
                }
                at
            }
            End::Text(None) if !ended => buffer.len(),
            End::Text(Some(at)) if !ended => at,
            End::Text(_) | End::List(_) => {
                chunks.push(chunk);
                if !ended {
                    // The fields after the list, as far as they are looked at.
                    let before = buffer.len();
                    let rest = decoder.by_ref().take(limits.string_bytes as u64).read_to_end(&mut buffer);
                    damage = rest.err().map(|error| error.to_string()).or(damage);
                    budget.inflate(buffer.len() - before)?;
                    text_bytes = base + buffer.len() as u64;
                }
                kept.keep(base, &buffer);
                let head = head.ok_or_else(|| Refused::Format { offset: 0, reason: "the file is empty".to_owned() })?;
                let events = Events { chunks, end };
                return Ok(Outcome { head, events, tail: buffer, tail_base: base, text_bytes, damage, warnings });
            }
        };
        chunks.push(chunk);
        let rest = buffer.get(next..).unwrap_or_default().to_vec();
        kept.keep(base, buffer.get(..next).unwrap_or_default());
        base += next as u64;
        buffer = rest;
        if matches!(end, End::At(_)) {
            enough = BLOCK;
        }
    }
}
