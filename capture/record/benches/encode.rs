//! What encoding costs: records per second and bytes per range, for ranges as operators leave them and for annotated
//! ones. Encoding alone: records in memory, packets in memory.
//!
//!     cargo bench -p gapless-record --bench encode

#![expect(clippy::print_stdout, reason = "prints its figures")]

use std::time::Instant;

use gapless_record::clock_map::ClockMap;
use gapless_record::encode::{ProcessEncoder, Strings};
use gapless_ring::device::{DeviceKind, Head, Launch};
use gapless_ring::layout::{ABOUT_OPEN_RANGE, AttrType, Class, Kind, RECORD_MARK, Record};
use gapless_ring::{Anchor, ClockKind, ThreadInstance};
use perfetto_proto::wire::Writer;

/// Operators of a training step have about so many names.
const NAMES: u32 = 200;
/// Ranges of a batch: what a thread leaves in 5 ms at 200,000 ranges a second.
const BATCH: usize = 1_000;
const BATCHES: usize = 1_000;
const ROUNDS: usize = 7;

struct Names;

const DOMAIN: u32 = NAMES + 1;
const OTHER: u32 = NAMES + 2;
const CATEGORY: u32 = NAMES + 3;
const KEY: u32 = NAMES + 4;
const TEXT: u32 = NAMES + 5;
const SCHEMA: u32 = NAMES + 6;
const PAYLOAD: u32 = NAMES + 7;

impl Strings for Names {
    fn get(&self, id: u32) -> Option<String> {
        Some(match id {
            0 => return None,
            id if id <= NAMES => format!("aten::operator_number_{id}"),
            DOMAIN => "a library".to_owned(),
            OTHER => "another library".to_owned(),
            CATEGORY => "input".to_owned(),
            KEY => "batch".to_owned(),
            TEXT => "a text as a value".to_owned(),
            SCHEMA => "nvtx-schema:16777216".to_owned(),
            PAYLOAD => "nvtx-payload:16777216".to_owned(),
            _ => return None,
        })
    }
}

fn record(kind: Kind, ticks: u64) -> Record {
    Record { ticks, kind: kind as u8, flags: RECORD_MARK, ..Record::default() }
}

fn attr(ticks: u64, kind: AttrType, payload: u64) -> Record {
    Record { class: kind as u8, name: KEY, payload, ..record(Kind::Attr, ticks) }
}

/// Adds the records of one range that begins at `ticks` and lasts 2 µs; `number` counts the ranges.
type Range = fn(slots: &mut Vec<Record>, ticks: u64, number: u32);

fn operator(slots: &mut Vec<Record>, ticks: u64, number: u32) {
    let name = 1 + number % NAMES;
    slots.push(Record { class: Class::Operator as u8, domain: DOMAIN, name, ..record(Kind::Push, ticks) });
    slots.push(Record { domain: DOMAIN, ..record(Kind::Pop, ticks + 2_000) });
}

fn annotated(slots: &mut Vec<Record>, ticks: u64, number: u32) {
    let name = 1 + number % NAMES;
    slots.push(Record { domain: DOMAIN, category: CATEGORY, name, ..record(Kind::Push, ticks) });
    slots.push(attr(ticks, AttrType::Color, 0xff00_80ff));
    slots.push(attr(ticks, AttrType::Unsigned, u64::from(number)));
    slots.push(attr(ticks, AttrType::String, u64::from(TEXT)));
    slots.push(Record { domain: DOMAIN, ..record(Kind::Pop, ticks + 2_000) });
}

fn late(slots: &mut Vec<Record>, ticks: u64, number: u32) {
    let name = 1 + number % NAMES;
    slots.push(Record { domain: DOMAIN, name, ..record(Kind::Push, ticks) });
    let fact = attr(ticks + 1_000, AttrType::Unsigned, u64::from(number));
    slots.push(Record { domain: DOMAIN, category: ABOUT_OPEN_RANGE, ..fact });
    slots.push(Record { domain: DOMAIN, ..record(Kind::Pop, ticks + 2_000) });
}

fn interleaved(slots: &mut Vec<Record>, ticks: u64, number: u32) {
    let name = 1 + number % NAMES;
    // Ranges by turns of two domains, of which each ends inside the next one.
    let (own, before) = if number.is_multiple_of(2) { (DOMAIN, OTHER) } else { (OTHER, DOMAIN) };
    slots.push(Record { domain: own, name, ..record(Kind::Push, ticks) });
    if number > 0 {
        slots.push(Record { domain: before, ..record(Kind::Pop, ticks + 1_000) });
    }
}

fn anywhere(slots: &mut Vec<Record>, ticks: u64, number: u32) {
    let payload = u64::from(number) + 1;
    slots.push(Record { name: 1 + number % NAMES, domain: DOMAIN, payload, ..record(Kind::Start, ticks) });
    slots.push(Record { domain: DOMAIN, payload, ..record(Kind::End, ticks + 2_000) });
}

fn payload(slots: &mut Vec<Record>, ticks: u64, number: u32) {
    slots.push(Record { domain: DOMAIN, name: 1 + number % NAMES, ..record(Kind::Push, ticks) });
    slots.push(Record { domain: DOMAIN, name: PAYLOAD, extra: 1, payload: 24, ..record(Kind::Blob, ticks) });
    // Three numbers of eight bytes, in the places of a record's first 24.
    slots.push(Record { ticks: 0x1122_3344, name: number, ..Record::default() });
    slots.push(Record { domain: DOMAIN, ..record(Kind::Pop, ticks + 2_000) });
}

/// A kernel as the thread of the image tells of it that reads CUPTI's buffers.
fn kernel(slots: &mut Vec<Record>, ticks: u64, number: u32) {
    let head = Head { end: ticks + 2_000, id: 0, correlation: number + 1, device: 0, context: 1, stream: 7 };
    let launch = Launch {
        grid: [132, 1 + number % 7, 1],
        block: [256, 1, 1],
        static_shared_bytes: 1024,
        registers: 64,
        channel: 3,
        channel_type: 1,
        ..Launch::default()
    };
    let (class, payload) = (DeviceKind::Kernel as u8, ticks);
    slots.push(Record { class, extra: 4, payload, name: 1 + number % NAMES, ..record(Kind::Device, ticks + 9_000) });
    slots.extend(launch.slots(head));
}

/// The call that launched it.
fn call(slots: &mut Vec<Record>, ticks: u64, number: u32) {
    let head = Head { end: ticks + 2_000, id: 0, correlation: number + 1, device: 1, context: 1, stream: u32::MAX };
    let (class, payload) = (DeviceKind::Call as u8, ticks);
    slots.push(Record {
        class,
        extra: 1,
        payload,
        name: 1 + number % 10,
        domain: 2,
        ..record(Kind::Device, ticks + 9_000)
    });
    slots.extend(head.slots());
}

/// What NCCL tells of a collective, nearly.
const SCHEMA_JSON: &str = r#"{"id":16777216,"name":"s","type":1,"flags":0,"size":24,"entries":[
{"name":"NCCL communicator ID","type":18,"flags":0,"detail":0,"offset":0},
{"name":"Message size [bytes]","type":16,"flags":0,"detail":0,"offset":12},
{"name":"Root","type":16,"flags":0,"detail":0,"offset":16}]}"#;

fn schema() -> Vec<Record> {
    let text = SCHEMA_JSON.as_bytes();
    let head = Record { domain: DOMAIN, name: SCHEMA, payload: text.len() as u64, ..record(Kind::Info, 0) };
    let mut slots = vec![Record { extra: text.len().div_ceil(32) as u8, ..head }];
    for chunk in text.chunks(32) {
        let word = |from: usize| {
            let bytes = chunk.get(from..(from + 8).min(chunk.len())).unwrap_or_default();
            bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let (second, third) = (word(8), word(16));
        let [kind, class, extra, flags, ..] = second.to_le_bytes();
        slots.push(Record {
            ticks: word(0),
            kind,
            class,
            extra,
            flags,
            name: (second >> 32) as u32,
            domain: third as u32,
            category: (third >> 32) as u32,
            payload: word(24),
        });
    }
    slots
}

/// Median seconds, slots, bytes.
fn measure(range: Range) -> (f64, usize, usize) {
    let first = Anchor { ticks: 0, monotonic_ns: 0, realtime_ns: 1_700_000_000_000_000_000, boottime_ns: 0 };
    let clock = ClockMap::new(ClockKind::Monotonic, first, first);
    let mut number = 0;
    let batches: Vec<Vec<Record>> = (0..BATCHES)
        .map(|_| {
            let mut slots = Vec::new();
            for _ in 0..BATCH {
                range(&mut slots, 1_000 + u64::from(number) * 5_000, number);
                number += 1;
            }
            slots
        })
        .collect();
    let slots: usize = batches.iter().map(Vec::len).sum();
    let instance = ThreadInstance { serial: 1, tid: 1 };
    let mut bytes = 0;
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let mut encoder = ProcessEncoder::new(1, 1, 2);
            let mut out = Writer::with_capacity(1 << 20);
            encoder.encode(instance, "main", &schema(), 0, &clock, &Names, &mut out);
            bytes = out.len();
            out.clear();
            let start = Instant::now();
            for batch in &batches {
                encoder.encode(instance, "main", batch, 0, &clock, &Names, &mut out);
                bytes += out.len();
                // The recorder writes it to the file.
                std::hint::black_box(out.as_bytes());
                out.clear();
            }
            encoder.finish(&clock, &Names, &mut out);
            let seconds = start.elapsed().as_secs_f64();
            let events = encoder.counts().events + encoder.device_counts().events();
            assert_eq!(events, (BATCH * BATCHES) as u64, "each range is written");
            assert_eq!(encoder.counts().undecoded, 0, "each payload is decoded");
            bytes += out.len();
            seconds
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    (seconds[ROUNDS / 2], slots, bytes)
}

fn main() {
    println!("{} ranges in batches of {BATCH}, median of {ROUNDS} rounds", BATCH * BATCHES);
    println!("| range | records/s | ns a range | bytes a range |\n|---|--:|--:|--:|");
    let cases: [(&str, Range); 8] = [
        ("operator", operator),
        ("annotation with domain, category, colour, number and text", annotated),
        ("annotation with a fact that comes later", late),
        ("annotations of two domains that interleave", interleaved),
        ("start/end", anywhere),
        ("annotation with a payload of three numbers", payload),
        ("kernel of a GPU", kernel),
        ("call of CUDA", call),
    ];
    for (name, range) in cases {
        let (seconds, slots, bytes) = measure(range);
        let ranges = (BATCH * BATCHES) as f64;
        println!(
            "| {name} | {:.1} M | {:.0} | {:.1} |",
            slots as f64 / seconds / 1e6,
            seconds / ranges * 1e9,
            bytes as f64 / ranges
        );
    }
}
