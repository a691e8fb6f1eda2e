//! Kineto and Chrome JSON: valid traces, changed at random in structure and in bytes.

use super::Maker;
use super::change::{change_text, pack};
use crate::broken::Document;
use crate::synth::{Config, Era, Layout, Rng, Vendor, Workload, texts};

/// Events of the phases that the generator does not write.
const OTHER_PHASES: [&str; 15] = [
    r#"{"ph": "B", "name": "outer", "cat": "cpu_op", "pid": 1, "tid": 2, "ts": 10.5, "args": {"a": 1}}"#,
    r#"{"ph": "B", "name": "inner", "pid": 1, "tid": 2, "ts": 11}"#,
    r#"{"ph": "E", "pid": 1, "tid": 2, "ts": 12.25, "args": {"b": 2}}"#,
    r#"{"ph": "E", "pid": 1, "tid": 2, "ts": 20}"#,
    r#"{"ph": "b", "name": "range", "cat": "net", "id": "0x1f", "pid": 1, "tid": 2, "ts": 5}"#,
    r#"{"ph": "n", "name": "range", "cat": "net", "id": "0x1f", "pid": 1, "tid": 2, "ts": 6}"#,
    r#"{"ph": "e", "name": "range", "cat": "net", "id": "0x1f", "pid": 1, "tid": 2, "ts": 9}"#,
    r#"{"ph": "I", "name": "mark", "pid": 1, "tid": 2, "ts": 7, "s": "g"}"#,
    r#"{"ph": "C", "name": "memory", "pid": 1, "ts": 7, "args": {"used": 17, "free": 2.5, "text": "no"}}"#,
    r#"{"ph": "s", "name": "flow", "cat": "f", "id": 7, "pid": 1, "tid": 2, "ts": 10.75}"#,
    r#"{"ph": "t", "name": "flow", "cat": "f", "id": 7, "pid": 1, "tid": 2, "ts": 11.5}"#,
    r#"{"ph": "f", "name": "flow", "cat": "f", "id": 7, "pid": 1, "tid": 2, "ts": 12, "bp": "e"}"#,
    r#"{"ph": "X", "name": "Stream Sync", "cat": "cuda_sync", "pid": 0, "tid": 4294967295, "ts": 1, "dur": 3, "args": {"stream": 4294967295, "correlation": 5}}"#,
    r#"{"ph": "X", "name": "nest", "pid": 1, "tid": 2, "ts": 3, "dur": 1, "args": {"list": [{"ph": "X", "name": "a", "ts": 1}, {"ph": "X", "name": "b", "ts": 2}]}}"#,
    r#"{"ph": "M", "name": "thread_name", "pid": 1, "tid": 2, "args": {"name": "worker"}}"#,
];

/// Pieces of text that readers stumble over.
pub(super) const TOKENS: [&[u8]; 42] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    b"1e308",
    b"1e-400",
    b"-0",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"18446744073709551616",
    b"9223372036854775.807",
    b"-9223372036854775.808",
    b"0.0005",
    b"99999999999999999999999999",
    b"\\u0000",
    b"\\ud800",
    b"\\udc00\\ud800",
    b"\\uZZZZ",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\x00",
    b"\n",
    b"\x1b",
    b"\xef\xbb\xbf",
    b"\"ph\": \"X\", ",
    b"\"ts\": 1, ",
    b"\"args\": {",
    b"\"dur\": -1, ",
    b"\"traceEvents\": [",
    b"},\n  {",
    b"/*",
    b"'",
    b"\"ph\":\"B\",",
];

/// Values that a field can be given.
pub(super) const VALUES: [&str; 30] = [
    "0",
    "-1",
    "1",
    "1.5",
    "-0.0001",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775.807",
    "9223372036854775.808",
    "-9223372036854775.807",
    "1e300",
    "1e18",
    "1e-5",
    "NaN",
    "null",
    "true",
    "\"\"",
    "\"7\"",
    "\"stream 7\"",
    "\"0x10\"",
    "[]",
    "{}",
    "[1, [2]]",
    "{\"name\": \"x\", \"ts\": 3}",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "\"\\u00e9\\ud83d\"",
    "-",
    "1.2.3",
];

/// Bytes of an input that is large enough for several pieces of text.
const LARGE: usize = 18 << 20;

const KEYS: [&str; 20] = [
    "ph",
    "cat",
    "name",
    "pid",
    "tid",
    "ts",
    "dur",
    "id",
    "args",
    "s",
    "bp",
    "correlation",
    "External id",
    "stream",
    "bytes",
    "device",
    "Collective name",
    "In msg nelems",
    "Group size",
    "Addr",
];

/// The valid traces that inputs are made from.
#[derive(Debug)]
pub(super) struct Corpus {
    documents: Vec<Document>,
}

impl Corpus {
    /// Small traces of every job, era, vendor and layout.
    ///
    /// # Errors
    /// Never, but for memory.
    pub(super) fn new() -> std::io::Result<Self> {
        let mut documents = Vec::new();
        let eras = [Era::Legacy, Era::IntegerMicros, Era::FractionalMicros, Era::Relative];
        let layouts = [Layout::Kineto, Layout::Pretty, Layout::Compact, Layout::Crlf];
        for workload in [Workload::DataParallel, Workload::Pipeline, Workload::Recommendation] {
            for (era, layout) in eras.into_iter().zip(layouts) {
                let vendor = if era == Era::Relative { Vendor::Amd } else { Vendor::Nvidia };
                let ranks = if workload == Workload::Pipeline { 2 } else { 1 };
                let config = Config {
                    layers: 1,
                    micro_batches: 1,
                    graphs: true,
                    open_frames: true,
                    era,
                    layout,
                    vendor,
                    ..Config::new(workload, ranks, 1)
                };
                documents.extend(texts(&config)?.0.iter().filter_map(|text| Document::split(text)));
            }
        }
        Ok(Self { documents })
    }

    fn pick(&self, rng: &mut Rng) -> &Document {
        &self.documents[rng.below(self.documents.len() as u64) as usize]
    }

    /// Keeps a stretch of the events, so that inputs are small and fast.
    fn thin(&self, document: &mut Document, rng: &mut Rng) {
        let count = document.events.len() as u64;
        let keep = 1 + rng.below(60);
        let from = rng.below(count);
        let to = (from + keep).min(count);
        document.events = document.events[from as usize..to as usize].to_vec();
    }

    fn change_structure(&self, document: &mut Document, rng: &mut Rng) {
        let count = document.events.len() as u64;
        let at = rng.below(count.max(1)) as usize;
        match rng.below(12) {
            0 => {
                let other = self.pick(rng);
                let event = other.events[rng.below(other.events.len() as u64) as usize].clone();
                document.events.insert(at.min(document.events.len()), event);
            }
            1..=3 => {
                for _ in 0..=rng.below(4) {
                    let event = OTHER_PHASES[rng.below(OTHER_PHASES.len() as u64) as usize];
                    document.events.insert(at.min(document.events.len()), event.into());
                }
            }
            4 => document.head.clone_from(&self.pick(rng).head),
            5 => document.tail.clone_from(&self.pick(rng).tail),
            _ if count == 0 => {}
            6 => {
                document.events.remove(at);
            }
            7 => {
                let event = document.events[at].clone();
                document.events.insert(rng.below(count) as usize, event);
            }
            8 => document.events.swap(at, rng.below(count) as usize),
            _ => change_field(&mut document.events[at], rng),
        }
    }
}

/// Gives a field of an event another value.
fn change_field(event: &mut Vec<u8>, rng: &mut Rng) {
    let key = format!("\"{}\":", KEYS[rng.below(KEYS.len() as u64) as usize]);
    let value = VALUES[rng.below(VALUES.len() as u64) as usize];
    let Some(found) = event.windows(key.len()).position(|window| window == key.as_bytes()) else {
        // Not there yet: becomes the first field.
        let text = format!("{key} {value}, ");
        event.splice(1..1, text.bytes());
        return;
    };
    let from = found + key.len();
    let end = event[from..].iter().position(|byte| matches!(byte, b',' | b'}')).map_or(event.len(), |at| from + at);
    event.splice(from..end, format!(" {value}").bytes());
}

impl Maker for Corpus {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        let mut document = self.pick(rng).clone();
        self.thin(&mut document, rng);
        for _ in 0..rng.below(6) {
            self.change_structure(&mut document, rng);
        }
        // Now and then a file that is cut into several pieces, with what was changed in each.
        let large = rng.chance(0.0005);
        if large {
            let size: usize = document.events.iter().map(|event| event.len() + 4).sum();
            let events = document.events.clone();
            for _ in 0..LARGE / size.max(1) {
                document.events.extend_from_slice(&events);
            }
        }
        let (mut bytes, _) = document.render();
        // Some inputs keep whole bytes, so that the builder and the analysis see more than the scanner lets through.
        if rng.chance(0.6) {
            for _ in 0..=rng.below(6) {
                change_text(&mut bytes, &TOKENS, rng);
            }
        }
        if rng.chance(if large { 0.5 } else { 0.06 }) {
            bytes = pack(&bytes, rng);
        }
        bytes
    }
}
