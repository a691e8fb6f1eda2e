//! The top level of the file: what stands before and after the list of events.

use gapless_trace::{ArgValue, Args, DeviceInfo, SourceId, TraceInfo, WarningKind, Warnings};
use memchr::memmem;

use super::event::header_value;
use super::scan::Cursor;
use super::text::decode;
use crate::limits::Limits;

/// Where the events are.
pub(crate) struct Head {
    /// Just after the bracket that opens the list.
    pub events_at: usize,
    /// Whether the file is a bare list.
    pub is_bare: bool,
    /// Header fields before the list.
    pub fields: Args,
}

/// Why there is no list of events: where and what.
pub(crate) struct NoEvents {
    pub offset: usize,
    pub reason: String,
    /// Whether more text cannot change that.
    pub is_final: bool,
}

/// Finds the list of events. `bytes` must hold the head; values nested deeper than `nesting` make it unreadable.
pub(crate) fn find_events(bytes: &[u8], nesting: usize, warnings: &mut Warnings) -> Result<Head, NoEvents> {
    let start = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let mut cursor = Cursor::new(bytes, start).with_nesting(nesting);
    cursor.skip_space();
    if cursor.is_at_end() {
        return Err(NoEvents { offset: 0, reason: "the file is empty".to_owned(), is_final: false });
    }
    if cursor.take(b'[') {
        return Ok(Head { events_at: cursor.at, is_bare: true, fields: Args::new() });
    }
    let start = cursor.at;
    if !cursor.take(b'{') {
        let reason = "it is of none of the formats that Gapless reads (docs/formats.md lists them)".to_owned();
        return Err(NoEvents { offset: start, reason, is_final: true });
    }
    let mut fields = Args::new();
    loop {
        cursor.skip_space();
        match cursor.peek() {
            b',' => cursor.at += 1,
            b'"' => {
                let before = cursor.at;
                match field(&mut cursor, &mut fields) {
                    Some(Found::Events) => return Ok(Head { events_at: cursor.at, is_bare: false, fields }),
                    Some(Found::Field) => {}
                    None => return recover(bytes, before, fields, warnings),
                }
            }
            b'}' => {
                let reason = "it is JSON but has no list \"traceEvents\"".to_owned();
                return Err(NoEvents { offset: cursor.at, reason, is_final: true });
            }
            _ => return recover(bytes, cursor.at, fields, warnings),
        }
    }
}

enum Found {
    Events,
    Field,
}

fn field(cursor: &mut Cursor<'_>, fields: &mut Args) -> Option<Found> {
    let key = cursor.string()?;
    cursor.skip_space();
    if !cursor.take(b':') {
        return None;
    }
    cursor.skip_space();
    if key.text == b"traceEvents" && cursor.take(b'[') {
        return Some(Found::Events);
    }
    let value = header_value(cursor)?;
    fields.push((decode(key).0.into_owned(), value));
    Some(Found::Field)
}

/// A damaged header: the events begin after the next `"traceEvents": [`.
fn recover(bytes: &[u8], from: usize, fields: Args, warnings: &mut Warnings) -> Result<Head, NoEvents> {
    let rest = bytes.get(from..).unwrap_or_default();
    for at in memmem::find_iter(rest, b"\"traceEvents\"") {
        let mut cursor = Cursor::new(bytes, from + at + b"\"traceEvents\"".len());
        cursor.skip_space();
        if cursor.take(b':') {
            cursor.skip_space();
            if cursor.take(b'[') {
                warnings.add(WarningKind::HeaderUnreadable, SourceId(0), Some(from as u64), "");
                return Ok(Head { events_at: cursor.at, is_bare: false, fields });
            }
        }
    }
    let reason = "it begins like JSON but breaks off before any list \"traceEvents\"".to_owned();
    Err(NoEvents { offset: from, reason, is_final: false })
}

/// Reads the fields after the list, whose closing bracket stands at `at`, as far as `limits` allow.
pub(crate) fn read_tail(bytes: &[u8], at: usize, base: u64, head: &mut Head, limits: &Limits, warnings: &mut Warnings) {
    let whole = bytes.len();
    let bytes = bytes.get(..at.saturating_add(limits.string_bytes)).unwrap_or(bytes);
    let is_whole = bytes.len() == whole;
    let mut cursor = Cursor::new(bytes, at + 1).with_nesting(limits.nesting);
    let place = |cursor: &Cursor<'_>| Some(base + cursor.at as u64);
    loop {
        cursor.skip_space();
        match cursor.peek() {
            0 if cursor.is_at_end() => {
                if !is_whole {
                    warnings.add(
                        WarningKind::HeaderUnreadable,
                        SourceId(0),
                        place(&cursor),
                        "longer than the limit of strings",
                    );
                } else if !head.is_bare {
                    warnings.add(WarningKind::MissingEnd, SourceId(0), place(&cursor), "");
                }
                return;
            }
            b',' if !head.is_bare => cursor.at += 1,
            b'"' if !head.is_bare => {
                let before = place(&cursor);
                if field(&mut cursor, &mut head.fields).is_none() {
                    let why = match (cursor.is_too_deep, is_whole) {
                        (true, _) => "nested deeper than the limit",
                        (false, false) => "longer than the limit of strings",
                        (false, true) => "",
                    };
                    warnings.add(WarningKind::HeaderUnreadable, SourceId(0), before, why);
                    return;
                }
            }
            b'}' if !head.is_bare => {
                cursor.at += 1;
                cursor.skip_space();
                if !cursor.is_at_end() {
                    warnings.add(WarningKind::TrailingText, SourceId(0), place(&cursor), "");
                }
                return;
            }
            _ => {
                warnings.add(WarningKind::TrailingText, SourceId(0), place(&cursor), "");
                return;
            }
        }
    }
}

/// What the header fields mean.
pub(crate) fn interpret(mut fields: Args, warnings: &mut Warnings) -> TraceInfo {
    let mut info = TraceInfo::default();
    let get = |args: &Args, key: &str| args.iter().rev().find(|entry| entry.0 == key).map(|entry| entry.1.clone());
    if let Some(ArgValue::Dict(distributed)) = get(&fields, "distributedInfo") {
        let number = |key: &str| {
            get(&distributed, key).and_then(|value| value.as_i64()).and_then(|value| u32::try_from(value).ok())
        };
        info.rank = number("rank");
        info.world_size = number("world_size");
        info.backend = get(&distributed, "backend").and_then(|value| value.as_str().map(str::to_owned));
    }
    info.host = get(&fields, "host_name").and_then(|value| value.as_str().map(str::to_owned));
    // A base that leaves no room for times is no base.
    if let Some(value) = get(&fields, "baseTimeNanoseconds") {
        let whole = |value: f64| (value.fract() == 0.0 && value.abs() < 4e18).then_some(value as i64);
        let base = value.as_i64().or_else(|| value.as_f64().and_then(whole));
        info.base_time_ns = base.filter(|base| base.unsigned_abs() < i64::MAX as u64 / 2);
        if info.base_time_ns.is_none() {
            warnings.add(WarningKind::HeaderUnreadable, SourceId(0), None, "baseTimeNanoseconds");
        }
    }
    if let Some(ArgValue::List(devices)) = get(&fields, "deviceProperties") {
        info.devices = devices.into_iter().filter_map(device).collect();
    }
    fields.retain(|entry| entry.0 != "deviceProperties");
    info.header = fields;
    info
}

fn device(value: ArgValue) -> Option<DeviceInfo> {
    let ArgValue::Dict(properties) = value else { return None };
    let get = |key: &str| properties.iter().find(|entry| entry.0 == key).map(|entry| &entry.1);
    let number = |key: &str| get(key).and_then(ArgValue::as_i64).and_then(|value| u32::try_from(value).ok());
    Some(DeviceInfo {
        id: number("id").unwrap_or(0),
        name: get("name").and_then(ArgValue::as_str).unwrap_or_default().to_owned(),
        memory_bytes: get("totalGlobalMem").and_then(ArgValue::as_i64).and_then(|value| u64::try_from(value).ok()),
        multiprocessors: number("numSms"),
        compute_capability: number("computeMajor").zip(number("computeMinor")),
        properties,
    })
}
