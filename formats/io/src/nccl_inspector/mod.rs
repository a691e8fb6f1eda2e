//! Logs of NCCL's inspector plugin (`ext-profiler/inspector`): JSON, one object a line, one file per process.
//!
//! Fields are those of `inspector.cc` and `inspector_json.cc`, formats v4.0 to v4.4: `header` (the communicator: `id`,
//! `comm_name`, `rank`, `n_ranks`, `nnodes`), `metadata` (`inspector_output_format_version`, `dump_timestamp_us`,
//! `hostname`, `pid`) and one of `coll_perf`, `p2p_perf`, `proxy_trace`, `dump_stats`. From v4.3 on the header and the
//! metadata stand on the line of `dump_stats` and hold for the lines after it.
//!
//! A log says how long a call took; when it happened it says only in its verbose form (`event_trace_ts`). Without
//! that, a call is shown to end when its line was written, and a note says so.

mod record;

use std::sync::Arc;

use gapless_trace::{ArgsLoc, SourceId, WarningKind};

use self::record::Log;
use crate::Progress;
use crate::error::Refused;
use crate::json::{document, is_unfinished, keys_of_head, too_many};
use crate::kineto::{Cursor, parse_object};
use crate::readers::{Head, Input, ReadPart, Role};
use crate::text::JsonText;

/// Whether `head` begins like a log of the inspector.
pub(crate) fn sniff(head: &Head<'_>) -> bool {
    let keys = keys_of_head(head.bytes);
    let has = |name: &[u8]| keys.iter().any(|key| key.0 == name);
    let is_record = has(b"coll_perf") || has(b"p2p_perf") || has(b"proxy_trace") || has(b"dump_stats");
    has(b"header") && has(b"metadata") && is_record
}

/// Reads a log.
pub(crate) fn read(input: &Input, progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    let bytes: &[u8] = &input.bytes;
    let mut part = input.part();
    part.args = Arc::new(JsonText::Plain(Arc::clone(&input.bytes)));
    let mut log = Log::default();
    let mut cursor = document(bytes);
    let mut records = 0u64;
    let mut wasted = 0usize;
    loop {
        cursor.skip_space();
        if cursor.is_at_end() {
            break;
        }
        let from = cursor.at;
        // A record is a line, or, in logs that were printed for people, a few.
        // What is damaged is read again line by line; how much so is bounded.
        let longest_end = from.saturating_add(input.limits.string_bytes);
        let line =
            memchr::memchr(b'\n', bytes.get(from..longest_end).or_else(|| bytes.get(from..)).unwrap_or_default());
        let may_go_on = wasted <= bytes.len().saturating_mul(4);
        let longest = line.filter(|_| !may_go_on).unwrap_or(input.limits.string_bytes);
        let end = from.saturating_add(longest);
        let mut record = Cursor::new(bytes.get(..end).unwrap_or(bytes), from).with_nesting(input.limits.nesting);
        let is_whole = record.peek() == b'{' && record.skip_value().is_some();
        if !is_whole {
            wasted += record.at.saturating_sub(from);
            let (kind, next) = match line {
                Some(length) => (WarningKind::MalformedEvent, from + length),
                None if longest_end < bytes.len() => (WarningKind::TextTooLong, bytes.len()),
                None if is_unfinished(bytes.get(from..).unwrap_or_default()) => (WarningKind::Truncated, bytes.len()),
                None => (WarningKind::MalformedEvent, bytes.len()),
            };
            log.chunk.warnings.add(kind, SourceId(0), Some(from as u64), "");
            cursor.at = next;
            continue;
        }
        cursor.at = record.at;
        records += 1;
        if records > input.limits.events {
            return Err(too_many("the log has more records", &input.limits));
        }
        if records.is_multiple_of(4_096) {
            progress.done(from as u64);
            if progress.is_cancelled() {
                return Err(Refused::Cancelled);
            }
        }
        let text = bytes.get(from..cursor.at).unwrap_or_default();
        let loc = ArgsLoc::new(from as u64, text.len()).unwrap_or_else(|| {
            log.chunk.warnings.add(WarningKind::ArgsTooLong, SourceId(0), Some(from as u64), "");
            ArgsLoc::NONE
        });
        log.record(&parse_object(text), loc, from as u64);
    }
    log.finish(&mut part);
    Ok(vec![ReadPart { part, role: Role::Companion, joins: Vec::new() }])
}
