//! What is in a Kineto file, read in the plainest way that can be right: serde_json for the structure, long-hand
//! arithmetic for the times. The product's reader is compared with it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

/// An event of any phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NaiveEvent {
    /// Phase.
    pub ph: String,
    /// Name.
    pub name: String,
    /// Category; empty for none.
    pub cat: String,
    /// Process id as JSON text.
    pub pid: String,
    /// Thread id as JSON text.
    pub tid: String,
    /// Time in ns, the base added; `None` if there is none that can be read.
    pub ts: Option<i64>,
    /// Duration in ns; `None` if there is none that can be read.
    pub dur: Option<i64>,
}

/// A whole file.
#[derive(Clone, Debug, Default)]
pub struct NaiveTrace {
    /// `baseTimeNanoseconds`, 0 without.
    pub base_ns: i64,
    /// Number of the rank in `distributedInfo`.
    pub rank: Option<u32>,
    /// Events in the order of the file.
    pub events: Vec<NaiveEvent>,
}

/// (start ns, duration ns, name): what identifies an event well enough to compare multisets.
pub type Slice = (i64, i64, String);

#[derive(Deserialize)]
struct Top<'a> {
    #[serde(rename = "traceEvents", borrow)]
    events: Vec<RawEvent<'a>>,
    #[serde(rename = "baseTimeNanoseconds")]
    base_ns: Option<i64>,
    #[serde(rename = "distributedInfo")]
    distributed: Option<Distributed>,
}

#[derive(Deserialize)]
struct Distributed {
    rank: Option<u32>,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    ph: Option<String>,
    name: Option<String>,
    cat: Option<String>,
    #[serde(borrow)]
    pid: Option<&'a RawValue>,
    #[serde(borrow)]
    tid: Option<&'a RawValue>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    dur: Option<&'a RawValue>,
}

/// Nanoseconds of a decimal number of microseconds, without floating point. Digits beyond the third after the point
/// are rounded to the nearest, halves to even. Exponents are not read: no trace has any.
#[must_use]
pub fn decimal_micros_to_ns(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (kept, rest) = fraction.split_at(fraction.len().min(3));
    let mut nanos = whole.parse::<i128>().ok()?.checked_mul(1000)? + format!("{kept:0<3}").parse::<i128>().ok()?;
    // As texts of digits compare: "5" < "50…01" and "5" = "500" once trailing zeros are gone.
    let rest = rest.trim_end_matches('0');
    if rest > "5" || (rest == "5" && nanos % 2 == 1) {
        nanos += 1;
    }
    i64::try_from(if negative { -nanos } else { nanos }).ok()
}

/// The bytes of a file, inflated if they are gzip.
///
/// # Errors
/// When it cannot be read.
pub fn read_inflated(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = std::fs::read(path)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut text)?;
        return Ok(text);
    }
    Ok(bytes)
}

/// Reads a valid Kineto file, object or bare array.
///
/// # Errors
/// When it is not valid.
pub fn read(text: &[u8]) -> serde_json::Result<NaiveTrace> {
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    let (events, base_ns, rank) = if first == Some(&b'[') {
        (serde_json::from_slice::<Vec<RawEvent<'_>>>(text)?, 0, None)
    } else {
        let top: Top<'_> = serde_json::from_slice(text)?;
        (top.events, top.base_ns.unwrap_or(0), top.distributed.and_then(|info| info.rank))
    };
    let raw = |value: Option<&RawValue>| value.map(|value| value.get().to_owned()).unwrap_or_default();
    let events = events
        .into_iter()
        .map(|event| NaiveEvent {
            ts: event.ts.and_then(|ts| decimal_micros_to_ns(ts.get())).map(|ns| ns + base_ns),
            dur: event.dur.and_then(|dur| decimal_micros_to_ns(dur.get())),
            pid: raw(event.pid),
            tid: raw(event.tid),
            ph: event.ph.unwrap_or_default(),
            name: event.name.unwrap_or_default(),
            cat: event.cat.unwrap_or_default(),
        })
        .collect();
    Ok(NaiveTrace { base_ns, rank, events })
}

impl NaiveTrace {
    /// Complete events and points in time, sorted.
    #[must_use]
    pub fn slices(&self) -> Vec<Slice> {
        let kept = self.events.iter().filter(|event| matches!(event.ph.as_str(), "X" | "i" | "I"));
        let mut slices: Vec<Slice> = kept
            .filter_map(|event| {
                // A negative duration is read as none at all.
                let dur = if event.ph == "X" { event.dur.unwrap_or(0).max(0) } else { 0 };
                Some((event.ts?, dur, event.name.clone()))
            })
            .collect();
        slices.sort_unstable();
        slices
    }

    /// How many events there are of each phase.
    #[must_use]
    pub fn phases(&self) -> BTreeMap<String, u64> {
        let mut phases = BTreeMap::new();
        for event in &self.events {
            *phases.entry(event.ph.clone()).or_default() += 1;
        }
        phases
    }
}

/// All events of a trace but those that came from asynchronous ranges, sorted.
#[must_use]
pub fn model_slices(trace: &gapless_trace::Trace) -> Vec<Slice> {
    let mut slices: Vec<Slice> = (0..trace.events().len() as u32)
        .map(gapless_trace::EventId)
        .filter(|&id| trace.track_of(id).is_none_or(|(_, track)| track.kind != gapless_trace::TrackKind::Async))
        .map(|id| {
            let event = trace.event(id);
            (event.start.nanos(), event.dur.nanos(), trace.name(id).to_owned())
        })
        .collect();
    slices.sort_unstable();
    slices
}

/// The folder of real traces: `GAPLESS_TRACES`, else `shared` beside the workspace; `None`, and a line that says so,
/// where there is none.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn real_traces() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let folder = std::env::var_os("GAPLESS_TRACES").map_or_else(|| workspace.join("../shared"), PathBuf::from);
    if folder.join("traces").is_dir() {
        return Some(folder);
    }
    eprintln!(
        "skipped: no real traces at {}; set GAPLESS_TRACES to the folder that holds traces/ and expected/",
        folder.display()
    );
    None
}

/// All files below `folder` whose name ends in one of `endings`, sorted.
///
/// # Errors
/// When a folder cannot be read.
pub fn files_below(folder: &Path, endings: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The JSON traces in `folder`, plain or compressed with gzip, by name.
///
/// # Errors
/// If the folder cannot be read.
pub fn json_traces_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries: Vec<std::fs::DirEntry> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    let is_json = |path: &PathBuf| [".json", ".json.gz"].iter().any(|end| path.to_string_lossy().ends_with(end));
    let mut files: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).filter(is_json).collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_digit_by_digit() {
        let check = |text: &str, ns: Option<i64>| assert_eq!(decimal_micros_to_ns(text), ns, "{text}");
        check("1712195495522265.474", Some(1_712_195_495_522_265_474));
        check("0", Some(0));
        check("-3.5", Some(-3_500));
        check("7.0004", Some(7_000));
        check("7.0005", Some(7_000));
        check("7.0015", Some(7_002));
        check("7.00051", Some(7_001));
        check("7.00049", Some(7_000));
        check("9223372036854775.807", Some(i64::MAX));
        check("9223372036854775.808", None);
        check("NaN", None);
        check("1e3", None);
        check("\"5\"", None);
    }
}
