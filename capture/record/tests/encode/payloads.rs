//! Payloads of NVTX's extension, decoded by what describes them.

use gapless_ring::layout::Kind;
use proptest::prelude::*;

use super::support::*;

/// An entry of a structure as the process tells it.
struct Entry {
    name: &'static str,
    kind: u64,
    flags: u64,
    detail: u64,
    offset: Option<usize>,
}

fn entry(name: &'static str, kind: u64, offset: usize) -> Entry {
    Entry { name, kind, flags: 0, detail: 0, offset: Some(offset) }
}

fn array(name: &'static str, kind: u64, flags: u64, detail: u64, offset: Option<usize>) -> Entry {
    Entry { name, kind, flags, detail, offset }
}

fn structure(id: u64, kind: u64, size: Option<usize>, entries: &[Entry]) -> (String, String) {
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| {
            let offset = entry.offset.map_or(String::new(), |offset| format!(",\"offset\":{offset}"));
            format!(
                "{{\"name\":\"{}\",\"type\":{},\"flags\":{},\"detail\":{}{offset}}}",
                entry.name, entry.kind, entry.flags, entry.detail
            )
        })
        .collect();
    let size = size.map_or(String::new(), |size| format!(",\"size\":{size}"));
    let json =
        format!("{{\"id\":{id},\"name\":\"s\",\"type\":{kind},\"flags\":0{size},\"entries\":[{}]}}", entries.join(","));
    (format!("nvtx-schema:{id}"), json)
}

const FIRST: u64 = 1 << 24;
const FIXED: u64 = 1 << 4;
const ZERO: u64 = 2 << 4;
const BY_ENTRY: u64 = 3 << 4;

/// The arguments of a range whose payloads are these, and how many payloads were not decoded.
fn decoded(told: &[(String, String)], payloads: &[(u64, Vec<u8>)]) -> (Vec<String>, u64) {
    let mut job = Job::new();
    let (domain, name) = (job.id("lib"), job.id("x"));
    let mut slots = Vec::new();
    for (key, json) in told {
        let key = job.id(key);
        slots.extend(info(0, domain, key, json.as_bytes()));
    }
    slots.push(push(1, domain, name));
    for (id, bytes) in payloads {
        let key = job.id(&format!("nvtx-payload:{id}"));
        slots.extend(blob(1, domain, key, bytes));
    }
    slots.push(pop(2, domain));
    job.encode(0, &slots);
    let trace = job.trace();
    assert_clean(&trace);
    assert!(job.encoder.facts().is_empty(), "what describes payloads is no fact of the process");
    let all = told_of(&trace);
    (all, job.counts().undecoded)
}

fn told_of(trace: &gapless_trace::Trace) -> Vec<String> {
    let mut all = told(trace);
    let args = all.remove(0).args;
    args.into_iter().filter(|(key, _)| key != "domain").map(|(key, value)| format!("{key}={value}")).collect()
}

fn ok(told: &[(String, String)], id: u64, bytes: &[u8], expected: &[&str]) {
    let (args, undecoded) = decoded(told, &[(id, bytes.to_vec())]);
    assert_eq!(args, expected);
    assert_eq!(undecoded, 0);
}

fn bad(told: &[(String, String)], id: u64, bytes: &[u8]) {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(decoded(told, &[(id, bytes.to_vec())]), (vec![format!("nvtx-payload:{id}=\"{hex}\"")], 1));
}

#[test]
fn every_predefined_type() {
    let minus = |bytes: usize| vec![0xfe; bytes];
    // Type, bytes, what is told.
    let cases: Vec<(u64, Vec<u8>, &str)> = vec![
        (1, b"A".to_vec(), "\"A\""),
        (2, vec![200], "200"),
        (3, minus(2), "-258"),
        (4, minus(2), "65278"),
        (5, minus(4), "-16843010"),
        (6, minus(4), "4278124286"),
        (7, minus(8), "-72340172838076674"),
        (8, minus(8), "18374403900871474942"),
        (9, minus(8), "-72340172838076674"),
        (10, minus(8), "18374403900871474942"),
        (11, minus(1), "-2"),
        (12, minus(1), "254"),
        (13, minus(2), "-258"),
        (14, minus(2), "65278"),
        (15, minus(4), "-16843010"),
        (16, minus(4), "4278124286"),
        (17, minus(8), "-72340172838076674"),
        (18, minus(8), "18374403900871474942"),
        (19, 1.5f32.to_le_bytes().to_vec(), "1.5"),
        (20, (-0.1f64).to_le_bytes().to_vec(), "-0.1"),
        // 1.25 as an x86 extended number: 1.01b * 2^0.
        (21, [&0xa000_0000_0000_0000u64.to_le_bytes()[..], &0x3fffu64.to_le_bytes()].concat(), "1.25"),
        (22, 4096u64.to_le_bytes().to_vec(), "4096"),
        (23, 0x7f00_1234u64.to_le_bytes().to_vec(), "\"0x7f001234\""),
        (24, 0x1f600u32.to_le_bytes().to_vec(), "\"😀\""),
        (25, b"z".to_vec(), "\"z\""),
        (26, 0xe9u16.to_le_bytes().to_vec(), "\"é\""),
        (27, 0xe9u32.to_le_bytes().to_vec(), "\"é\""),
        (32, vec![0xab], "\"ab\""),
        (33, (-5i128).to_le_bytes().to_vec(), "-5"),
        (33, i128::MIN.to_le_bytes().to_vec(), "\"-170141183460469231731687303715884105728\""),
        (34, u128::MAX.to_le_bytes().to_vec(), "\"340282366920938463463374607431768211455\""),
        (34, 7u128.to_le_bytes().to_vec(), "7"),
        // IEEE 754 halves: 1.5, the smallest number, minus infinity.
        (42, 0x3e00u16.to_le_bytes().to_vec(), "1.5"),
        (42, 1u16.to_le_bytes().to_vec(), "5.960464477539063e-8"),
        (42, 0xfc00u16.to_le_bytes().to_vec(), "-inf"),
        (43, 1.5f32.to_le_bytes().to_vec(), "1.5"),
        (44, 2.5f64.to_le_bytes().to_vec(), "2.5"),
        // -3 as binary128: -1.1b * 2^1.
        (45, (1u128 << 127 | 0x4000 << 112 | 1 << 111).to_le_bytes().to_vec(), "-3.0"),
        (50, 0x3fc0u16.to_le_bytes().to_vec(), "1.5"),
        (52, 1.5f32.to_le_bytes().to_vec(), "1.5"),
        (67, 9u64.to_le_bytes().to_vec(), "9"),
        (68, 9u32.to_le_bytes().to_vec(), "9"),
        (69, 0xff00_80ffu32.to_le_bytes().to_vec(), "\"#0080ff\""),
        (70, 9u64.to_le_bytes().to_vec(), "9"),
        (71, 9u32.to_le_bytes().to_vec(), "9"),
        (72, 9u64.to_le_bytes().to_vec(), "9"),
        (73, 9u32.to_le_bytes().to_vec(), "9"),
        (74, 9u64.to_le_bytes().to_vec(), "9"),
        (75, b"text\0behind".to_vec(), "\"text\""),
        (76, "tëxt".as_bytes().to_vec(), "\"tëxt\""),
        (77, "tëxt".encode_utf16().flat_map(u16::to_le_bytes).collect(), "\"tëxt\""),
        (78, "tëxt".chars().flat_map(|symbol| u32::from(symbol).to_le_bytes()).collect(), "\"tëxt\""),
        (80, 0x10u64.to_le_bytes().to_vec(), "\"0x10\""),
        (1022, vec![1, 2], "\"0102\""),
        (1023, vec![1, 2], "\"0102\""),
        // Several of one type.
        (16, vec![1, 0, 0, 0, 2, 0, 0, 0], "[1, 2]"),
        (32, vec![1, 2, 3], "\"010203\""),
        (1, b"name\0".to_vec(), "\"name\""),
    ];
    for (kind, bytes, expected) in &cases {
        // As a payload of its own.
        ok(&[], *kind, bytes, &[&format!("payload={expected}")]);
        // As an entry of a structure, where it is one value: behind another and before padding.
        if !matches!(kind, 75..=80 | 1022 | 1023)
            && bytes.len() <= 16
            && !expected.starts_with('[')
            && *expected != "\"010203\""
            && *expected != "\"name\""
        {
            let told = [structure(FIRST, 1, None, &[entry("a", 12, 0), entry("b", *kind, 3)])];
            let payload = [&[7, 0, 0][..], bytes, &[0; 5]].concat();
            ok(&told, FIRST, &payload, &["a=7", &format!("b={expected}")]);
            // Too short by one byte.
            bad(&told, FIRST, &payload[..payload.len() - 6]);
        }
    }
    bad(&[], 15, &[1, 2, 3]);
    bad(&[], 15, &[]);
    bad(&[], 0, &[1]);
    bad(&[], 100, &[1]);
    bad(&[], 77, &[1]);
}

#[test]
fn structures_lists_and_enumerations() {
    let told = [
        (
            format!("nvtx-enum:{FIRST}"),
            r#"{"id":1,"name":"op","size":4,"values":[{"name":"sum","value":0,"flag":false},{"name":"a","value":1,"flag":true},{"name":"b","value":2,"flag":true}]}"#.to_owned(),
        ),
        structure(FIRST + 1, 1, Some(8), &[entry("x", 15, 0), entry("y", 19, 4)]),
        structure(
            FIRST + 2,
            1,
            Some(48),
            &[
                entry("op", FIRST, 0),
                entry("point", FIRST + 1, 4),
                array("points", FIRST + 1, FIXED, 2, Some(12)),
                array("ops", FIRST, FIXED, 3, Some(28)),
                array("raw", 32, FIXED, 2, Some(40)),
                array("", 12, FIXED, 2, Some(42)),
            ],
        ),
    ];
    let point = |x: i32, y: f32| [x.to_le_bytes(), y.to_le_bytes()].concat();
    let ops: Vec<u8> = [0u32, 3, 9].iter().flat_map(|op| op.to_le_bytes()).collect();
    let bytes = [
        &2u32.to_le_bytes()[..],
        &point(-1, 0.5),
        &point(1, 1.0),
        &point(2, 2.0),
        &ops,
        &[0xca, 0xfe, 3, 4, 0, 0, 0, 0],
    ]
    .concat();
    ok(
        &told,
        FIRST + 2,
        &bytes,
        &[
            "op=\"b\"",
            "point={x: -1, y: 0.5}",
            "points=[{x: 1, y: 1.0}, {x: 2, y: 2.0}]",
            "ops=[\"sum\", \"a | b\", 9]",
            "raw=\"cafe\"",
            "entry 5=[3, 4]",
        ],
    );
    // Every part of it that is too short to hold all entries.
    for len in 0..44 {
        bad(&told, FIRST + 2, &bytes[..len]);
    }
    // The enumeration as a payload.
    ok(&told, FIRST, &1u32.to_le_bytes(), &["payload=\"a\""]);
}

#[test]
fn parts_of_variable_length() {
    let told = [structure(
        FIRST,
        2,
        None,
        &[
            entry("n", 12, 0),
            array("values", 16, BY_ENTRY, 0, None),
            array("name", 75, ZERO, 0, None),
            array("dims", 14, FIXED, 2, None),
            array("grid", 12, BY_ENTRY, 3, None),
            array("zeros", 14, ZERO, 0, None),
            array("text", 76, BY_ENTRY, 0, None),
            array("names", 75, ZERO, 3, None),
        ],
    )];
    let bytes = [
        // n, aligned values, name.
        &[2, 0, 0, 0, 10, 0, 0, 0, 20, 0, 0, 0, b'a', b'b', 0, 0][..],
        // dims 2 x 3, grid.
        &[2, 0, 3, 0, 1, 2, 3, 4, 5, 6],
        // zeros, text of n, names.
        &[7, 0, 8, 0, 0, 0, b'h', b'i', b'x', b'y', b'z', b'u', 0, 0, 0, 0, 0],
    ]
    .concat();
    ok(
        &told,
        FIRST,
        &bytes,
        &[
            "n=2",
            "values=[10, 20]",
            "name=\"ab\"",
            "dims=[2, 3]",
            "grid=[[1, 2, 3], [4, 5, 6]]",
            "zeros=[7, 8]",
            "text=\"hi\"",
            "names=[\"xyz\", \"u\"]",
        ],
    );
    for len in 0..bytes.len() {
        bad(&told, FIRST, &bytes[..len]);
    }
    // A length beyond all bytes.
    let mut long = bytes.clone();
    long[0] = 255;
    bad(&told, FIRST, &long);
}

#[test]
fn unions_show_what_is_selected() {
    let told = [
        structure(FIRST, 3, Some(8), &[entry("whole", 17, 0), entry("part", 20, 0)]),
        structure(FIRST + 1, 1, Some(16), &[entry("which", 12, 0), array("value", FIRST, 0, 0, Some(8))]),
    ];
    let with = |which: u64, bits: u64| [which.to_le_bytes(), bits.to_le_bytes()].concat();
    ok(&told, FIRST + 1, &with(0, 5), &["which=0", "value={whole: 5}"]);
    ok(&told, FIRST + 1, &with(1, 0.5f64.to_bits()), &["which=1", "value={part: 0.5}"]);
    bad(&told, FIRST + 1, &with(2, 5));
    // Nothing says which member it is.
    bad(&told, FIRST, &5u64.to_le_bytes());
}

#[test]
fn what_was_told_in_another_way_is_not_repeated() {
    let told = [structure(
        FIRST,
        1,
        Some(48),
        &[
            entry("rank", 16, 0),
            array("far away", 75, 1 << 8, 0, Some(8)),
            array("not copied", 75, 0, 0, Some(16)),
            entry("by handle", 80, 24),
            array("name", 75, 1 << 10, 8, Some(32)),
            array("pointer", 16, 2, 0, Some(40)),
        ],
    )];
    let words: Vec<u8> =
        [3u64, 16, 32, 64, u64::from_le_bytes(*b"event 1\0"), 128].iter().flat_map(|word| word.to_le_bytes()).collect();
    ok(&told, FIRST, &words, &["rank=3", "not copied=\"0x20\"", "pointer=\"0x80\""]);
}

#[test]
fn what_cannot_be_followed_stays_as_it_came() {
    // Offsets and lengths from the ends of arithmetic, entries of no type, structures in themselves or in many others.
    let far = [structure(FIRST, 1, None, &[entry("far", 16, usize::MAX - 1)])];
    bad(&far, FIRST, &[0; 8]);
    let long = [structure(FIRST, 1, None, &[array("long", 18, FIXED, u64::MAX / 4, Some(0))])];
    bad(&long, FIRST, &[0; 8]);
    let huge = [structure(FIRST, 1, Some(usize::MAX), &[array("huge", FIRST, FIXED, 3, Some(0))])];
    bad(&huge, FIRST, &[0; 8]);
    let itself = [structure(FIRST, 1, Some(4), &[entry("again", FIRST, 0)])];
    bad(&itself, FIRST, &[0; 8]);
    let nothing = [
        structure(FIRST, 2, None, &[]),
        structure(FIRST + 1, 2, None, &[array("many", FIRST, FIXED, 1 << 40, Some(0))]),
    ];
    bad(&nothing, FIRST + 1, &[0; 8]);
    let offsets = [structure(FIRST, 1, None, &[array("behind", 16, 1 << 2, 0, Some(0))])];
    bad(&offsets, FIRST, &[0; 8]);
    let elsewhere = [structure(FIRST, 1, None, &[array("there", 16, 4 << 4, 0, Some(0))])];
    bad(&elsewhere, FIRST, &[0; 8]);
    // Each holds the next one a hundred times over: more values than fit into any memory.
    let doubling: Vec<_> = (0..12)
        .map(|level| {
            let inner = if level == 0 { 12 } else { FIRST + level - 1 };
            let entries: Vec<_> = (0..60).map(|_| entry("again", inner, 0)).collect();
            structure(FIRST + level, 1, Some(1), &entries)
        })
        .collect();
    bad(&doubling, FIRST + 11, &[0; 8]);
    // A description that is none is counted.
    let mut job = Job::new();
    let (key, name) = (job.id("nvtx-schema:16777216"), job.id("x"));
    let head = info(0, 0, key, b"{\"entries\":7}");
    job.encode(0, &[head, vec![push(1, 0, name), pop(2, 0)]].concat());
    assert_eq!(job.counts().unknown, 1);
}

#[test]
fn descriptions_may_come_after_what_they_describe() {
    let (key, json) = structure(FIRST, 1, Some(4), &[entry("bytes", 16, 0)]);
    let mut job = Job::new();
    let (domain, other, name) = (job.id("lib"), job.id("another"), job.id("x"));
    let (key, payload) = (job.id(&key), job.id(&format!("nvtx-payload:{FIRST}")));
    let mut slots = vec![push(1, domain, name)];
    slots.extend(blob(1, domain, payload, &5u32.to_le_bytes()));
    slots.push(gapless_ring::layout::Record { domain, name, payload: 1, ..record(Kind::Start, 2) });
    slots.extend(blob(2, domain, payload, &6u32.to_le_bytes()));
    // Of another domain, in which nothing is ever described.
    slots.push(push(3, other, name));
    slots.extend(blob(3, other, payload, &7u32.to_le_bytes()));
    job.encode(1, &slots);
    // From the ring of the thread that registered it.
    job.encode(0, &info(0, domain, key, json.as_bytes()));
    job.encode(1, &[pop(10, other), pop(11, domain)]);
    job.encode(0, &[gapless_ring::layout::Record { payload: 1, ..record(Kind::End, 12) }]);
    let trace = job.trace();
    assert_clean(&trace);
    let args: Vec<_> = told(&trace).iter().map(line).collect();
    assert_eq!(
        args,
        [
            "x 1..11 domain=\"lib\" bytes=5",
            "x 2..12 bytes=6",
            "x 3..10 domain=\"another\" nvtx-payload:16777216=\"07000000\"",
        ]
    );
    assert_eq!(job.counts().undecoded, 1);
}

proptest! {
    /// Whatever is said about payloads and whatever they hold.
    #[test]
    fn nothing_said_does_harm(
        entries in prop::collection::vec(
            (0..4usize, prop_oneof![0..110u64, FIRST..FIRST + 4], 0..8u64, 0..5u64, 0..20u64, prop::option::of(0..40usize)),
            0..30,
        ),
        sizes in prop::array::uniform4((prop::option::of(0..40usize), 0..6u64)),
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let told: Vec<_> = (0..4)
            .map(|index| {
                let own: Vec<_> = entries
                    .iter()
                    .filter(|entry| entry.0 == index)
                    .map(|&(_, kind, flags, array, detail, offset)| Entry {
                        name: "e", kind, flags: flags | array << 4, detail, offset,
                    })
                    .collect();
                structure(FIRST + index as u64, sizes[index].1, sizes[index].0, &own)
            })
            .collect();
        let payloads: Vec<_> = (0..4).map(|index| (FIRST + index, bytes.clone())).collect();
        let (_, undecoded) = decoded(&told, &payloads);
        prop_assert!(undecoded <= 4);
    }
}
