//! The list of events, cut at event boundaries and parsed in parallel.
//!
//! Cuts are guesses (see [`next_event`]); each piece must end exactly where the next one began, or the next one is
//! parsed again from where the events really go on.

use std::sync::atomic::{AtomicU64, Ordering};

use gapless_trace::{RawChunk, WarningKind};
use rayon::prelude::*;

use super::event::EventParser;
use super::resync::next_event;
use super::scan::Cursor;
use crate::Progress;
use crate::error::Refused;
use crate::limits::Limits;

/// Bytes of a piece: small enough to keep all threads busy, large enough that joining pieces costs little.
const PIECE: usize = 8 << 20;
/// Bytes per event that room is made for, at most; events of real traces have 220 to 320 bytes.
const BYTES_PER_EVENT: usize = 320;

/// How a stretch of events ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At the bracket that closes the list.
    List(usize),
    /// Before the event that begins here, at or after the stop.
    At(usize),
    /// With the text; an event that was begun at the place given is not whole.
    Text(Option<usize>),
    /// At an event that makes no sense, or not yet: the text that is here is not all.
    Broken(usize),
}

/// Whether the text that is here is all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// All of it, as far as the stop at least: what makes no sense is damaged and skipped.
    Whole,
    /// More follows: what makes no sense may only be cut off, so parsing stops there.
    Partial,
    /// More follows, but behind the stop there is as much text as an event may have: what is cut off is too long.
    Window,
}

/// Parses events from `at` until one begins at or after `stop`. `bytes` begins at `base` in the source.
pub(crate) fn parse_events(
    bytes: &[u8],
    at: usize,
    stop: usize,
    base: u64,
    text: Text,
    nesting: usize,
) -> (RawChunk, End) {
    let mut parser = EventParser::new(bytes, at, base, text, nesting);
    parser.chunk.reserve(stop.min(bytes.len()).saturating_sub(at) / BYTES_PER_EVENT);
    let mut after_comma = None;
    let end = loop {
        parser.cursor.skip_space();
        if parser.cursor.is_at_end() {
            break End::Text(None);
        }
        let from = parser.cursor.at;
        match parser.cursor.peek() {
            b'{' => {
                if from >= stop {
                    break End::At(from);
                }
                after_comma = None;
                if parser.event().is_some() {
                    continue;
                }
                if let Some(end) = too_deep(&mut parser, from) {
                    parser.cursor.at = end;
                    continue;
                }
                if text == Text::Partial {
                    break End::Broken(from);
                }
                match after_damage(&mut parser, from) {
                    After::Event(next) => {
                        parser.warn(WarningKind::MalformedEvent, from);
                        parser.cursor.at = next;
                    }
                    After::ListEnd(end) => {
                        parser.warn(WarningKind::MalformedEvent, from);
                        break End::List(end);
                    }
                    After::Nothing => break End::Text(Some(from)),
                }
            }
            b',' => {
                after_comma = Some(from);
                parser.cursor.at += 1;
            }
            b']' => {
                if let Some(comma) = after_comma {
                    parser.warn(WarningKind::TrailingComma, comma);
                }
                break End::List(from);
            }
            _ if from >= stop => break End::At(from),
            _ if text == Text::Partial => break End::Broken(from),
            _ => {
                after_comma = None;
                let is_value = parser.cursor.skip_value().is_some();
                let kind = if is_value { WarningKind::EventNotObject } else { WarningKind::MalformedEvent };
                parser.warn(kind, from);
                if !is_value {
                    match after_damage(&mut parser, from) {
                        After::Event(next) => parser.cursor.at = next,
                        After::ListEnd(end) => break End::List(end),
                        After::Nothing if text == Text::Window => break End::Text(Some(from)),
                        After::Nothing => break End::Text(None),
                    }
                }
            }
        }
    };
    (parser.chunk, end)
}

/// The end of the event at `from`, if it was given up for its nesting; that is counted.
fn too_deep(parser: &mut EventParser<'_>, from: usize) -> Option<usize> {
    if !std::mem::take(&mut parser.cursor.is_too_deep) {
        return None;
    }
    let mut whole = Cursor::new(parser.cursor.bytes, from);
    whole.skip_nested()?;
    parser.warn(WarningKind::TooDeep, from);
    Some(whole.at)
}

/// Where it goes on after damage.
enum After {
    Event(usize),
    ListEnd(usize),
    Nothing,
}

/// Where it goes on after the damaged event at `from`.
fn after_damage(parser: &mut EventParser<'_>, from: usize) -> After {
    let bytes = parser.cursor.bytes;
    let list_end = parser.list_end_after(from);
    match next_event(bytes, from + 1) {
        // Objects in a list of an event that the end of the text cuts off look like events too; nothing follows them.
        Some(next) if list_end.is_none() && parser.text != Text::Window && is_cut_around(bytes, from, next) => {
            After::Nothing
        }
        Some(next) => After::Event(next),
        None => list_end.map_or(After::Nothing, After::ListEnd),
    }
}

/// Whether the event at `from` is cut off by the end of the text and `next` lies in a list of that event.
fn is_cut_around(bytes: &[u8], from: usize, next: usize) -> bool {
    let before = bytes.get(from..next).unwrap_or_default();
    let opens_list = memchr::memrchr(b'[', before) > memchr::memrchr(b']', before);
    opens_list && Cursor::new(bytes, from).skip_nested().is_none()
}

/// What became of the whole list.
pub(crate) struct Events {
    pub chunks: Vec<RawChunk>,
    /// How the list ended: never [`End::At`].
    pub end: End,
}

/// Parses all events of `bytes` from `at`, in parallel.
///
/// # Errors
/// When an event is too long, there are too many, or the user gave up.
pub(crate) fn parse_all(bytes: &[u8], at: usize, limits: &Limits, progress: &dyn Progress) -> Result<Events, Refused> {
    parse_all_in_pieces(bytes, at, PIECE, limits, progress)
}

fn parse_all_in_pieces(
    bytes: &[u8],
    at: usize,
    piece: usize,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<Events, Refused> {
    let done = AtomicU64::new(at as u64);
    let counted = AtomicU64::new(0);
    let parse = |start: usize, stop: usize| {
        // No piece looks further than a whole event may reach: an endless string costs no more than that.
        let window = bytes.get(..stop.saturating_add(limits.string_bytes)).filter(|_| stop != usize::MAX);
        match window {
            Some(window) => parse_events(window, start, stop, 0, Text::Window, limits.nesting),
            None => parse_events(bytes, start, stop, 0, Text::Whole, limits.nesting),
        }
    };
    let mut chunks = Vec::new();
    let mut expected = at;
    loop {
        let (starts, last_stop) = cuts(bytes, expected, piece, limits.string_bytes);
        let stop_of = |index: usize| starts.get(index + 1).copied().unwrap_or(last_stop);
        let parsed: Vec<Option<(RawChunk, End)>> = starts
            .par_iter()
            .enumerate()
            .map(|(index, &start)| {
                if progress.is_cancelled() || counted.load(Ordering::Relaxed) > limits.events {
                    return None;
                }
                let stop = stop_of(index);
                let result = parse(start, stop);
                counted.fetch_add(result.0.file_events, Ordering::Relaxed);
                let bytes_done = (stop.min(bytes.len()) - start) as u64;
                progress.done(done.fetch_add(bytes_done, Ordering::Relaxed) + bytes_done);
                Some(result)
            })
            .collect();
        if progress.is_cancelled() {
            return Err(Refused::Cancelled);
        }
        within_events(counted.load(Ordering::Relaxed), limits)?;
        for (index, (result, &start)) in parsed.into_iter().zip(&starts).enumerate() {
            let Some((mut chunk, mut end)) = result else { return Err(Refused::Cancelled) };
            let stop = stop_of(index);
            if expected != start {
                if expected >= stop {
                    // An event of the piece before swallowed this one whole.
                    continue;
                }
                (chunk, end) = parse(expected, stop);
            }
            chunks.push(chunk);
            let window = stop.saturating_add(limits.string_bytes);
            match end {
                End::At(next) => expected = next,
                End::Text(Some(from)) if window < bytes.len() => return Err(too_long(from as u64, limits)),
                // Blanks as far as one may look.
                End::Text(None) if window < bytes.len() => expected = window,
                End::List(_) | End::Text(_) | End::Broken(_) => return Ok(Events { chunks, end }),
            }
        }
        if last_stop == usize::MAX {
            return Ok(Events { chunks, end: End::Text(None) });
        }
    }
}

/// Where pieces begin, the first at `at`, and where the last one stops: nowhere, or where no event was found for as
/// long as one may be, so that it must be parsed to know where it goes on.
fn cuts(bytes: &[u8], at: usize, piece: usize, reach: usize) -> (Vec<usize>, usize) {
    let mut starts = vec![at];
    let mut from = at.saturating_add(piece);
    while from < bytes.len() {
        let end = from.saturating_add(reach).min(bytes.len());
        match next_event(bytes.get(..end).unwrap_or(bytes), from) {
            Some(start) => {
                starts.push(start);
                from = start.saturating_add(piece);
            }
            None if end == bytes.len() => break,
            None => return (starts, end),
        }
    }
    (starts, usize::MAX)
}

/// Refuses more events than the limit.
pub(crate) fn within_events(events: u64, limits: &Limits) -> Result<(), Refused> {
    if events <= limits.events {
        return Ok(());
    }
    Err(Refused::Limit {
        what: format!("more than {} events", limits.events),
        limit: limits.events.to_string(),
        flag: format!("events={}", limits.events.saturating_mul(10)),
    })
}

/// The refusal of a text at `offset` that goes on for longer than a string or an event may.
pub(crate) fn too_long(offset: u64, limits: &Limits) -> Refused {
    let mib = limits.string_bytes.div_ceil(1 << 20);
    Refused::Limit {
        what: format!("what begins at byte {offset} goes on for longer than an event or a string may"),
        limit: format!("{mib} MiB"),
        flag: format!("string={}MiB", mib.saturating_mul(10)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Silent;

    fn starts_of(events: &Events) -> Vec<i64> {
        events.chunks.iter().flat_map(|chunk| chunk.start.iter().copied()).collect()
    }

    #[test]
    fn a_stray_brace_before_a_list_is_skipped() {
        let text = br#"[{"ph":"X","ts":1},},{"ph":"X","ts":2,"args":{"a":[1}}},{"ph":"X","ts":3},{"a":[},{"ts":"#;
        let events = parse_all(text, 1, &Limits::default(), &Silent).unwrap();
        assert_eq!(starts_of(&events).first(), Some(&1_000));
        assert!(starts_of(&events).contains(&3_000));
    }

    #[test]
    fn any_cut_gives_the_same_events() {
        let mut text = b"[".to_vec();
        for i in 0..300 {
            // Every seventh event holds a list of objects that look like events: cuts inside it are wrong.
            let inner = if i % 7 == 0 { r#""list": [{"name": "a"}, {"ph": "X", "ts": 5}, {"ts": 1}], "# } else { "" };
            let event = format!(
                "{{\"ph\": \"X\", \"name\": \"n{}\", \"pid\": 1, \"tid\": 2, \"ts\": {i}, \"dur\": 1, \"args\": {{{inner}\"x\": 1}}}},\n",
                i % 5
            );
            text.extend_from_slice(event.as_bytes());
        }
        text.truncate(text.len() - 2);
        text.extend_from_slice(b"]");
        let whole = parse_all_in_pieces(&text, 1, usize::MAX / 2, &Limits::default(), &Silent).unwrap();
        assert_eq!(starts_of(&whole), (0..300).map(|i| i * 1_000).collect::<Vec<i64>>());
        for piece in 1..400 {
            let cut = parse_all_in_pieces(&text, 1, piece, &Limits::default(), &Silent).unwrap();
            assert_eq!(starts_of(&cut), starts_of(&whole), "piece of {piece}");
            assert_eq!(cut.end, whole.end);
            assert!(cut.chunks.iter().all(|chunk| chunk.warnings.is_empty()));
        }
    }
}
