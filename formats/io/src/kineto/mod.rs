//! Kineto and Chrome JSON, plain and gzip, of all eras.
//!
//! A specialised scanner walks the bytes once and fills columns; nothing is materialised in between. Facts about
//! the format's eras are in the crate's tests, one each.

mod args;
mod bytes;
pub(crate) mod category;
mod event;
mod gzip;
mod header;
mod intern;
mod pieces;
mod resync;
mod scan;
mod text;
mod wanted;

use gapless_trace::{SourceId, TracePart, WarningKind};

use crate::Progress;
use crate::error::Refused;
use crate::limits::Limits;
use header::{Head, find_events, interpret, read_tail};
use pieces::{End, Events, parse_all, too_long};

pub(crate) use args::{parse_json, parse_object};
pub(crate) use category::{is_launch_flow, is_point_to_point, issues_collective, kind_of_category, refine, track_kind};
pub(crate) use gzip::read_gzip;
pub(crate) use scan::{Cursor, Nanos, RawStr};

/// Whether `head`, the first bytes of a text, may be a trace of this format.
pub(crate) fn sniff(head: &[u8]) -> bool {
    let body = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let Some(first) = body.iter().position(|&byte| byte > b' ') else { return false };
    match body.get(first) {
        Some(b'[') => {
            let rest = body.get(first + 1..).unwrap_or_default();
            let next = rest.iter().find(|&&byte| byte > b' ');
            matches!(next, Some(b'{')) && memchr::memmem::find(rest, b"\"ph\"").is_some()
        }
        Some(b'{') => memchr::memmem::find(body, b"\"traceEvents\"").is_some(),
        _ => false,
    }
}

/// Reads plain text into `part`: chunks, header, warnings.
pub(crate) fn read_text(
    bytes: &[u8],
    part: &mut TracePart,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<(), Refused> {
    // What stands before the events is no longer than a string may be.
    let window = bytes.get(..limits.string_bytes).unwrap_or(bytes);
    let is_whole = window.len() == bytes.len();
    let head =
        find_events(window, limits.nesting, &mut part.warnings).map_err(|none| match is_whole || none.is_final {
            true => Refused::format(none.offset as u64, none.reason),
            false => too_long(none.offset as u64, limits),
        })?;
    let events = parse_all(bytes, head.events_at, limits, progress)?;
    finish(bytes, 0, head, events, part, limits)
}

/// Reads what follows the events and fills `part`. `tail` begins at `base` in the source and holds the list's end.
fn finish(
    tail: &[u8],
    base: u64,
    mut head: Head,
    events: Events,
    part: &mut TracePart,
    limits: &Limits,
) -> Result<(), Refused> {
    let is_bare = head.is_bare;
    match events.end {
        End::List(at) => read_tail(tail, at, base, &mut head, limits, &mut part.warnings),
        End::Text(Some(at)) => {
            part.warnings.add(WarningKind::Truncated, SourceId(0), Some(base + at as u64), "");
        }
        End::Text(None) | End::At(_) | End::Broken(_) => {
            let end = base + tail.len() as u64;
            part.warnings.add(WarningKind::MissingEnd, SourceId(0), Some(end), "");
        }
    }
    part.source.file_events = events.chunks.iter().map(|chunk| chunk.file_events).sum();
    part.chunks = events.chunks;
    part.info = interpret(head.fields, &mut part.warnings);
    let found_nothing = part.source.file_events == 0;
    let too_deep: u64 = part.chunks.iter().map(|chunk| chunk.warnings.count(WarningKind::TooDeep)).sum();
    if found_nothing && too_deep > 0 {
        return Err(Refused::Limit {
            what: format!("values are nested more than {} deep in each of its events", limits.nesting),
            limit: limits.nesting.to_string(),
            flag: format!("nesting={}", limits.nesting.saturating_mul(100)),
        });
    }
    if is_bare && found_nothing {
        return Err(Refused::Format {
            offset: 0,
            reason: "it is a JSON list without any trace event in it".to_owned(),
        });
    }
    Ok(())
}
