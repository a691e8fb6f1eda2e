//! Files that are made to fill memory, time or disk, and what opening one costs.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use gapless_formats::{Limits, OpenOptions, Silent, open};
use serde::{Deserialize, Serialize};

use crate::archive::{Method, ZipPart, gzip, zip};
use crate::measure::{cpu_seconds, status_bytes};

/// What came of opening files, and what it cost.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Events of the trace, where it opens.
    pub events: Option<usize>,
    /// Its warnings.
    pub warnings: Vec<String>,
    /// Why it does not open.
    pub error: Option<String>,
    /// Wall time.
    pub seconds: f64,
    /// CPU time of all threads; 0 where the system does not tell it.
    pub cpu_seconds: f64,
    /// Peak of resident memory of the process, mapped files counted; 0 where the system does not tell it.
    pub peak_bytes: u64,
}

/// Opens `paths` as one trace, once, and says what came of it: for a process of its own, whose peak of memory is told.
#[must_use]
pub fn open_once(paths: &[PathBuf], limits: Limits) -> Outcome {
    let options = OpenOptions { limits, ..OpenOptions::default() };
    let (begun, cpu_before) = (Instant::now(), cpu_seconds().unwrap_or(0.0));
    let outcome = open(paths, &options, &Silent);
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_seconds = cpu_seconds().unwrap_or(0.0) - cpu_before;
    let peak_bytes = status_bytes("VmHWM").unwrap_or(0);
    match &outcome {
        Ok(trace) => {
            let warnings = trace.warnings().sorted().iter().map(ToString::to_string).collect();
            Outcome { events: Some(trace.events().len()), warnings, error: None, seconds, cpu_seconds, peak_bytes }
        }
        Err(error) => Outcome {
            events: None,
            warnings: Vec::new(),
            error: Some(error.to_string()),
            seconds,
            cpu_seconds,
            peak_bytes,
        },
    }
}

/// A small event.
pub const EVENT: &str = r#"{"ph": "X", "name": "a", "pid": 1, "tid": 1, "ts": 1, "dur": 1}"#;
/// More than any text may be long.
pub const TWO_GIB: u64 = 2 << 30;

/// Writes text with a hole of `hole` bytes in the middle: zeros that take no room on the disk.
///
/// # Errors
/// Those of the file.
pub fn write_hole(file: &mut File, before: &str, hole: u64, after: &str) -> io::Result<()> {
    file.write_all(before.as_bytes())?;
    file.seek(SeekFrom::Current(hole as i64))?;
    file.write_all(after.as_bytes())
}

/// A trace whose second event has a name of 2 GB, compressed to a gzip file of 2 MB or a zstd file of less.
///
/// # Errors
/// None but those of the encoders.
pub fn compressed_string(gzip: bool) -> io::Result<Vec<u8>> {
    let before = format!(r#"{{"traceEvents": [{EVENT}, {{"name": ""#);
    let encode = |out: &mut dyn Write| -> io::Result<()> {
        out.write_all(before.as_bytes())?;
        let piece = vec![b'a'; 32 << 20];
        (0..64).try_for_each(|_| out.write_all(&piece))?;
        out.write_all(b"\"}]}")
    };
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encode(&mut encoder)?;
        encoder.finish()
    } else {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1)?;
        encode(&mut encoder)?;
        encoder.finish()
    }
}
/// A key and a length of a protobuf field.
#[must_use]
pub fn claim(field: u64, length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut value in [field << 3 | 2, length] {
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
    }
    bytes
}

/// `content` in fields inside fields.
#[must_use]
pub fn nested(fields: &[u64], depth: usize, content: &[u8]) -> Vec<u8> {
    // Built from the inside out, and turned at the end: copying at each level would take forever.
    let mut reversed: Vec<u8> = content.iter().rev().copied().collect();
    for level in 0..depth {
        let claim = claim(fields[level % fields.len()], reversed.len() as u64);
        reversed.extend(claim.iter().rev());
    }
    reversed.reverse();
    reversed
}

/// Schemas that would run for ever, or fill memory, if a reader trusted them: (what, SQL).
#[must_use]
pub fn hostile_schemas() -> [(&'static str, String); 3] {
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i as start, i as end from n";
    let kernels = "CUPTI_ACTIVITY_KIND_KERNEL";
    [
        ("view", format!("create view {kernels} as {endless}")),
        (
            "column",
            format!(
                "create table {kernels} (end int); insert into {kernels} values (1); alter table {kernels} add column \
                 start int generated always as (length(hex(zeroblob(400000000)))) virtual"
            ),
        ),
        (
            "lie",
            format!(
                "create table NVTX_EVENTS (start int, end int); pragma writable_schema = on; \
                 update sqlite_schema set sql = 'create view NVTX_EVENTS as {endless}'"
            ),
        ),
    ]
}

/// Makes a database with a table of strings, so that it looks like one of Nsight Systems, and runs `sql` in it.
///
/// # Errors
/// Those of SQLite.
pub fn sqlite_with(path: &Path, sql: &str) -> rusqlite::Result<()> {
    let connection = rusqlite::Connection::open(path)?;
    connection.execute_batch("create table StringIds (id integer primary key, value text)")?;
    connection.execute_batch(sql)?;
    connection.close().map_err(|(_, error)| error)
}

/// Writes the files that a table of figures is made of to `folder`: (what it is, the file).
///
/// # Errors
/// If a file cannot be made.
pub fn write_all(folder: &Path) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let mut files = Vec::new();
    let mut add = |what: &'static str, name: &str, write: &dyn Fn(&Path) -> anyhow::Result<()>| -> anyhow::Result<()> {
        let path = folder.join(name);
        write(&path)?;
        files.push((what, path));
        Ok(())
    };
    let bytes = |bytes: Vec<u8>| move |path: &Path| Ok(std::fs::write(path, &bytes)?);
    let head = format!(r#"{{"traceEvents": [{EVENT}, "#);
    add("JSON: a string of 2 GiB", "string.json", &|path| {
        let end = r#"", "ph": "X", "ts": 1, "dur": 1}]}"#;
        Ok(write_hole(&mut File::create(path)?, &format!(r#"{head}{{"name": ""#), TWO_GIB, end)?)
    })?;
    add("the same in a gzip file of 2 MB", "string.json.gz", &bytes(compressed_string(true)?))?;
    add("the same in a zstd file", "string.json.zst", &bytes(compressed_string(false)?))?;
    let zeros = vec![0; 200 << 20];
    let mut nested_zip = gzip(&zeros);
    for _ in 0..3 {
        let parts = [ZipPart::new("a", &nested_zip, Method::Deflate), ZipPart::new("b", &nested_zip, Method::Zstd)];
        nested_zip = zip(&parts);
    }
    add("archive bomb: zip in zip in zip, 8 × 200 MB of zeros", "nested.zip", &bytes(nested_zip))?;
    let entry = ZipPart::new("a", zeros.get(..64 << 20).unwrap_or_default(), Method::Deflate);
    let overlapping = crate::archive::overlapping_zip(&entry, 60_000);
    add("archive bomb: 60,000 entries over one another, 4 TB", "overlap.zip", &bytes(overlapping))?;
    let mut deep = compressed_string(true)?;
    for _ in 0..100 {
        deep = gzip(&deep);
    }
    add("gzip in gzip, 100 deep", "deep.gz", &bytes(deep))?;
    for (what, name, depth) in
        [("JSON: 10,000 levels", "levels.json", 10_000), ("JSON: 1,000,000 levels", "more-levels.json", 1_000_000)]
    {
        let value = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let text = format!(r#"{head}{{"ph": "X", "ts": 1, "dur": 1, "name": "deep", "args": {{"a": {value}}}}}]}}"#);
        add(what, name, &bytes(text.into_bytes()))?;
    }
    let tail = vec![0; 100];
    let packet = [claim(1, 4), vec![0x40, 5, 0x50, 1]].concat();
    add("Perfetto: a length of 2^63", "a.pftrace", &bytes([packet, claim(1, 1 << 63), tail.clone()].concat()))?;
    let plane = [claim(1, 17), claim(2, 13), b"/host:CPU abcd".to_vec(), claim(3, 1 << 63), tail.clone()].concat();
    add("XPlane: a length of 2^63", "a.xplane.pb", &bytes(plane))?;
    let chakra = claim(1, 1 << 63).into_iter().skip(1).chain(tail).collect();
    add("Chakra: a length of 2^63", "a.et", &bytes(chakra))?;
    let annotation = nested(&[11, 12], 200_000, &[0x20, 1]);
    let event = [&[0x48, 3, 0x58, 1][..], &claim(4, annotation.len() as u64), &annotation].concat();
    let packet = [&[0x40, 9, 0x50, 1][..], &claim(11, event.len() as u64), &event].concat();
    let annotations = [claim(1, packet.len() as u64), packet].concat().repeat(3);
    add("Perfetto: annotations 200,000 deep", "annotations.pftrace", &bytes(annotations))?;
    for ((_, sql), (what, name)) in hostile_schemas().iter().zip([
        ("SQLite: a table that is an endless query", "view.sqlite"),
        ("SQLite: a column computed from 400 MB", "column.sqlite"),
        ("SQLite: a table that says it is an endless query", "lie.sqlite"),
    ]) {
        add(what, name, &|path| Ok(sqlite_with(path, sql)?))?;
    }
    Ok(files)
}
