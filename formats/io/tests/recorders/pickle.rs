//! The same dumps as pickles, written by hand, by Python, and by somebody hostile.

use std::process::Command;
use std::time::Instant;

use gapless_formats::{OpenOptions, open_bytes};
use gapless_trace::{ArgValue, Trace, WarningKind};

use super::{arg, find, flight_recorder, read, refusal, timeline, warnings};

/// A value to be pickled.
#[derive(Clone)]
enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(&'static str, Value)>),
    /// A value that was kept in the memo.
    Kept(u32),
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Protocol 2 as PyTorch's pickler writes it: texts in the memo, whole containers behind one mark.
struct Protocol2 {
    out: Vec<u8>,
    memo: Vec<String>,
}

impl Protocol2 {
    fn write(&mut self, value: &Value) {
        match value {
            Value::None => self.out.push(b'N'),
            Value::Bool(flag) => self.out.push(if *flag { 0x88 } else { 0x89 }),
            Value::Int(number @ 0..=255) => self.out.extend([b'K', *number as u8]),
            Value::Int(number) if i32::try_from(*number).is_ok() => {
                self.out.push(b'J');
                self.out.extend((*number as i32).to_le_bytes());
            }
            Value::Int(number) => {
                self.out.extend([0x8A, 8]);
                self.out.extend(number.to_le_bytes());
            }
            Value::Float(number) => {
                self.out.push(b'G');
                self.out.extend(number.to_be_bytes());
            }
            Value::Text(text) => match self.memo.iter().position(|known| known == text) {
                Some(place) => self.out.extend([b'h', place as u8]),
                None => {
                    self.out.push(b'X');
                    self.out.extend((text.len() as u32).to_le_bytes());
                    self.out.extend(text.as_bytes());
                    self.out.extend([b'q', self.memo.len() as u8]);
                    self.memo.push(text.clone());
                }
            },
            Value::List(items) => {
                self.out.extend(b"](");
                items.iter().for_each(|item| self.write(item));
                self.out.push(b'e');
            }
            Value::Tuple(items) if items.len() == 2 => {
                items.iter().for_each(|item| self.write(item));
                self.out.push(0x86);
            }
            Value::Tuple(items) => {
                self.out.push(b'(');
                items.iter().for_each(|item| self.write(item));
                self.out.push(b't');
            }
            Value::Dict(entries) => {
                self.out.extend(b"}(");
                for (key, value) in entries {
                    self.write(&text(key));
                    self.write(value);
                }
                self.out.push(b'u');
            }
            Value::Kept(place) => {
                self.out.push(b'j');
                self.out.extend(place.to_le_bytes());
            }
        }
    }
}

fn protocol_2(value: &Value) -> Vec<u8> {
    let mut writer = Protocol2 { out: vec![0x80, 2], memo: Vec::new() };
    writer.write(value);
    writer.out.push(b'.');
    writer.out
}

/// Protocol 4 as Python writes it: a frame, short texts, a memo without numbers, items one by one or in batches.
fn protocol_4(value: &Value) -> Vec<u8> {
    fn write(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Text(text) => {
                out.extend([0x8C, text.len() as u8]);
                out.extend(text.as_bytes());
                out.push(0x94);
            }
            Value::List(items) => {
                out.extend([b']', 0x94]);
                for item in items {
                    write(item, out);
                    out.push(b'a');
                }
            }
            Value::Tuple(items) => {
                items.iter().for_each(|item| write(item, out));
                out.extend([0x84 + items.len() as u8, 0x94]);
            }
            Value::Dict(entries) => {
                out.extend([b'}', 0x94]);
                for (key, value) in entries {
                    write(&text(key), out);
                    write(value, out);
                    out.push(b's');
                }
            }
            other => {
                let mut writer = Protocol2 { out: Vec::new(), memo: Vec::new() };
                writer.write(other);
                out.extend(writer.out);
            }
        }
    }
    let mut body = Vec::new();
    write(value, &mut body);
    body.push(b'.');
    let mut out = vec![0x80, 4, 0x95];
    out.extend((body.len() as u64).to_le_bytes());
    out.extend(body);
    out
}

const T: i64 = 1_795_445_318_000_000_000;

fn entry(name: &str, times: [Option<i64>; 3], group: [&str; 2], more: Vec<(&'static str, Value)>) -> Value {
    let time = |time: Option<i64>| time.map_or(Value::None, |offset| Value::Int(T + offset));
    let sizes = |sizes: &[&[i64]]| {
        Value::List(sizes.iter().map(|size| Value::List(size.iter().map(|&dim| Value::Int(dim)).collect())).collect())
    };
    let is_p2p = name.contains("send");
    let mut fields = vec![
        ("record_id", Value::Int(41)),
        ("pg_id", Value::Int(0)),
        ("process_group", Value::Tuple(vec![text(group[0]), text(group[1])])),
        ("collective_seq_id", Value::Int(7)),
        ("p2p_seq_id", Value::Int(3)),
        ("op_id", Value::Int(9)),
        ("profiling_name", text(name)),
        ("time_created_ns", time(times[0])),
        ("input_sizes", sizes(&[&[4, 1024], &[16]])),
        ("input_dtypes", Value::List(vec![text("BFloat16"), text("BFloat16")])),
        ("output_sizes", sizes(&[&[8192]])),
        ("output_dtypes", Value::List(vec![text("Float")])),
        ("state", text("completed")),
        ("time_discovered_started_ns", time(times[1])),
        ("time_discovered_completed_ns", time(times[2])),
        ("retired", Value::Bool(true)),
        ("timeout_ms", Value::Int(600_000)),
        ("is_p2p", Value::Bool(is_p2p)),
    ];
    fields.extend(more);
    Value::Dict(fields)
}

fn file(entries: Vec<Value>) -> Value {
    let group =
        |ranks: &str| Value::Dict(vec![("name", text("0")), ("desc", text("default_pg")), ("ranks", text(ranks))]);
    Value::Dict(vec![
        ("version", text("2.10")),
        ("pg_config", Value::Dict(vec![("0", group("[0, 1, 2, 3]")), ("tp", group("[]"))])),
        ("comm_lib_version", text("2.21.5")),
        ("pg_status", Value::Dict(vec![])),
        ("entries", Value::List(entries)),
    ])
}

fn frame(name: &str, line: i64) -> Value {
    Value::Dict(vec![("name", text(name)), ("filename", text("train.py")), ("line", Value::Int(line))])
}

fn entries() -> Vec<Value> {
    let stack = |inner: &str, line| Value::List(vec![frame(inner, line), frame("step", 20), frame("<module>", 90)]);
    let frames = vec![("duration_ms", Value::Float(0.25)), ("frames", stack("all_reduce", 11))];
    vec![
        entry("nccl:all_reduce", [Some(0), Some(100), Some(400)], ["0", "default_pg"], frames),
        entry(
            "nccl:_all_gather_base",
            [Some(500), Some(700), None],
            ["0", "default_pg"],
            vec![("frames", stack("gather", 12))],
        ),
        entry("nccl:send 0->1", [Some(900), None, None], ["tp", "undefined"], vec![]),
    ]
}

pub fn dump_protocol_2() -> Vec<u8> {
    protocol_2(&file(entries()))
}

/// The same events as the dump in JSON.
fn check_same(trace: &Trace) {
    let json = read("nccl_trace_rank_3", flight_recorder::dump());
    assert_eq!(timeline(trace), timeline(&json));
    for (ours, theirs) in trace.collectives().iter().zip(json.collectives()) {
        let texts = |trace: &Trace, call: &gapless_trace::Collective| {
            [call.name, call.dtype, call.group, call.group_desc].map(|id| trace.text(id).to_owned())
        };
        assert_eq!(texts(trace, ours), texts(&json, theirs));
        assert_eq!((ours.in_elems, ours.out_elems, ours.seq), (theirs.in_elems, theirs.out_elems, theirs.seq));
    }
    assert_eq!(trace.collectives().len(), 3);
    let done = find(trace, "nccl:all_reduce");
    assert_eq!(arg(&trace.args(done).unwrap(), "duration_ms"), &ArgValue::Double(0.25));
    let stack = trace.stack_of(done).unwrap();
    let frames: Vec<_> =
        trace.stacks().frames_of(stack.stack).map(|f| (trace.text(f.name), trace.text(f.file), f.line)).collect();
    assert_eq!(frames, [("all_reduce", "train.py", 11), ("step", "train.py", 20), ("<module>", "train.py", 90)]);
    assert_eq!(trace.stacks().len(), 4, "stacks share their outer frames");
    assert!(trace.args(done).unwrap().iter().all(|arg| arg.0 != "frames"));
    assert_eq!(warnings(trace), []);
}

#[test]
fn pickles_of_pytorch_and_of_python_hold_what_the_json_holds() {
    check_same(&read("nccl_trace_rank_3", dump_protocol_2()));
    check_same(&read("nccl_trace_rank_3", protocol_4(&file(entries()))));
    // The first dumps were the bare list.
    let trace = read("nccl_trace_rank_3", protocol_2(&Value::List(entries())));
    assert_eq!((trace.events().len(), trace.collectives()[0].group_size), (3, None));
}

/// What Python prints for `script`, as bytes; nothing where there is no Python.
fn python(script: &str) -> Option<Vec<u8>> {
    let out = Command::new("python3").args(["-c", script]).output().ok().filter(|out| out.status.success());
    if out.is_none() {
        println!("skipped: there is no python3");
    }
    Some(out?.stdout)
}

#[test]
fn every_protocol_of_python_reads_the_same() {
    let json = flight_recorder::dump();
    for protocol in 0..=5 {
        let script = format!(
            r#"
import json, pickle, sys
d = json.loads({json:?})
frame = lambda n, l: {{'name': n, 'filename': 'train.py', 'line': l}}
step, module = frame('step', 20), frame('<module>', 90)
d['entries'][0]['frames'] = [frame('all_reduce', 11), step, module]
d['entries'][1]['frames'] = [frame('gather', 12), step, module]
for e in d['entries']:
    e['process_group'] = tuple(e['process_group'])
    e['odd'] = [None, True, -5, 2**40, 2**63, -2**70, 1.5, 'µ\n\\ "quote\'中', (1,), (), {{}}]
    # Before protocols 3 and 4 bytes and sets are calls.
    if {protocol} >= 4: e['odd'] += [b'raw', {{1}}, frozenset([2])]
sys.stdout.buffer.write(pickle.dumps(d, protocol={protocol}))
"#
        );
        let Some(bytes) = python(&script) else { return };
        let trace = read("nccl_trace_rank_3", bytes);
        let args = trace.args(find(&trace, "nccl:send 0->1")).unwrap();
        let odd = arg(&args, "odd").to_string();
        let mut expected =
            r#"[null, true, -5, 1099511627776, 9223372036854775808, "-1180591620717411303424", 1.5, "µ\n\\ \"quote'中", [1], [], {}]"#
                .to_owned();
        if protocol >= 4 {
            expected.truncate(expected.len() - 1);
            expected.push_str(r#", "(3 bytes)", [1], [2]]"#);
        }
        assert_eq!(odd, expected, "protocol {protocol}");
        check_same(&trace);
    }
}

#[test]
fn a_pickle_that_wants_to_run_something_is_refused_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("ran");
    let command = format!("touch {}", mark.display());
    let by_hand = |head: &[u8], tail: &[u8]| [head, command.as_bytes(), tail].concat();
    // A call hidden among the fields of a dump, and as the whole of a pickle.
    let mut hidden = protocol_2(&file(entries()));
    hidden.truncate(hidden.len() - 2);
    hidden.extend(by_hand(b"X\x01\x00\x00\x00acposix\nsystem\n(X\x10\x00\x00\x00", b"tRu."));
    let whole = by_hand(b"\x80\x02cos\nsystem\n(S'", b"'\ntR.");
    for hostile in [hidden, whole, b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.".to_vec()] {
        let refused = refusal("nccl_trace_rank_0", hostile);
        assert!(refused.contains("asks to run code") && refused.contains("runs nothing"), "{refused}");
    }
    let table: [(&[u8], &str); 8] = [
        (b"\x80\x02}(X\x01\x00\x00\x00acbuiltins\neval\nu.", "GLOBAL builtins.eval"),
        (b"\x80\x02](ios\nsystem\n.", "INST os.system"),
        (b"\x80\x02](o.", "OBJ"),
        (b"\x80\x02]}b.", "BUILD"),
        (b"\x80\x02])\x81.", "NEWOBJ"),
        (b"\x80\x04])}\x92.", "NEWOBJ_EX"),
        (b"\x80\x02]\x82\x01.", "EXT"),
        (b"\x80\x02]X\x01\x00\x00\x00aQ.", "PERSID"),
    ];
    for (bytes, what) in table {
        let refused = refusal("nccl_trace_rank_0", bytes);
        assert!(refused.contains(&format!("({what})")), "{what}: {refused}");
    }
    if let Some(bytes) = python(
        "import os, pickle, sys\nclass A:\n def __reduce__(self): return (os.system, ('exit 3',))\nsys.stdout.buffer.write(pickle.dumps([A()]))",
    ) {
        assert!(refusal("nccl_trace_rank_0", bytes).contains("asks to run code"));
    }
    assert!(!mark.exists());
}

#[test]
fn pickles_of_other_things_are_refused_in_words() {
    for other in [Value::Int(5), Value::Dict(vec![("weights", Value::List(vec![]))]), text("hello")] {
        let refused = refusal("model.pkl", protocol_2(&other));
        assert!(refused.contains("no dump of PyTorch's flight recorder"), "{refused}");
    }
    let broken: [&[u8]; 5] =
        [b"\x80\x02]h\x05.", b"\x80\x02]\xFF.", b"\x80\x02]0.", b"\x80\x02}]](e\x85\x87\x87.", b"\x80\x02]Ix\n."];
    for bytes in broken {
        let refused = refusal("x", bytes);
        assert!(refused.contains("pickle is damaged"), "{bytes:?}: {refused}");
    }
}

/// The dump with `value` among the fields of its first entry.
fn with_field(before: &[u8], value: Value) -> Vec<u8> {
    let mut writer = Protocol2 { out: vec![0x80, 2], memo: Vec::new() };
    writer.out.extend(before);
    let mut all = entries();
    if let Value::Dict(fields) = &mut all[0] {
        fields.push(("input_sizes", value));
    }
    writer.write(&file(all));
    writer.out.push(b'.');
    writer.out
}

#[test]
fn a_value_that_refers_to_itself_again_and_again_costs_no_more_than_its_bytes() {
    let begun = Instant::now();
    // Forty lists of ten references to the list before: 10^40 values in a few hundred bytes.
    let mut laughs = b"]r\xE8\x03\x00\x00".to_vec();
    for level in 1..40u32 {
        laughs.extend(b"](");
        for _ in 0..10 {
            laughs.push(b'j');
            laughs.extend((999 + level).to_le_bytes());
        }
        laughs.extend(b"er");
        laughs.extend((1_000 + level).to_le_bytes());
    }
    laughs.extend(b"0".repeat(40));
    let trace = read("nccl_trace_rank_3", with_field(&laughs, Value::Kept(1_039)));
    assert_eq!(trace.events().len(), 3);
    let shown = format!("{:?}", trace.args(find(&trace, "nccl:all_reduce")).unwrap());
    assert!(shown.len() < 16 << 20, "{}", shown.len());
    // A list that holds itself.
    let trace = read("nccl_trace_rank_3", with_field(b"]r\xE8\x03\x00\x00j\xE8\x03\x00\x00a0", Value::Kept(1_000)));
    assert_eq!(trace.events().len(), 3);
    // A long list that every entry has as its sizes.
    let long: Vec<u8> = [b"](".as_slice(), &b"N".repeat(100_000), b"er\xE8\x03\x00\x000"].concat();
    let mut writer = Protocol2 { out: [b"\x80\x02".as_slice(), &long].concat(), memo: Vec::new() };
    let many = |_| entry("nccl:a", [Some(0), None, None], ["0", ""], vec![("input_sizes", Value::Kept(1_000))]);
    writer.write(&file((0..64).map(many).collect()));
    writer.out.push(b'.');
    assert!(refusal("nccl_trace_rank_3", writer.out).contains("again and again"));
    // The same entry a hundred thousand times is one event.
    let mut writer = Protocol2 { out: b"\x80\x02".to_vec(), memo: Vec::new() };
    writer.write(&entry("nccl:a", [Some(0), None, None], ["0", ""], vec![]));
    writer.out.extend(b"r\xE8\x03\x00\x000");
    writer.write(&Value::List(vec![Value::Kept(1_000); 100_000]));
    writer.out.push(b'.');
    let trace = read("nccl_trace_rank_3", writer.out);
    assert_eq!((trace.events().len(), warnings(&trace)), (1, vec![(WarningKind::EventNotObject, 99_999)]));
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[test]
fn depth_length_and_number_of_values_are_bounded() {
    // A million lists in one another.
    let deep = [b"\x80\x02".as_slice(), &b"](".repeat(1_000_000), &b"e".repeat(1_000_000), b"."].concat();
    assert!(refusal("nccl_trace_rank_0", deep.clone()).contains("no dump of PyTorch's flight recorder"));
    assert_eq!(read("nccl_trace_rank_3", with_field(&deep[2..deep.len() - 1], Value::None)).events().len(), 3);
    // More values than any recorder keeps.
    let many = [b"\x80\x02](".as_slice(), &b"]".repeat(4 << 20), b"e."].concat();
    assert!(refusal("nccl_trace_rank_0", many).contains("more than 3145728 values"));
    let memo = [b"\x80\x02]".as_slice(), &b"\x94".repeat(4 << 20), b"."].concat();
    assert!(refusal("nccl_trace_rank_0", memo).contains("more than"));
    // A length that no file has: what came before is kept.
    for head in [
        b"\x8D\0\0\0\0\0\0\0\x80".as_slice(),
        b"X\xFF\xFF\xFF\xFF",
        b"\x8E\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        b"\x8B\xFF\xFF\xFF\x7F",
    ] {
        let mut bytes = dump_protocol_2();
        bytes.truncate(bytes.len() - 2);
        bytes.extend(head);
        let trace = read("nccl_trace_rank_3", bytes);
        assert_eq!((trace.events().len(), warnings(&trace)), (3, vec![(WarningKind::Truncated, 1)]), "{head:?}");
    }
    // A text longer than the limit.
    let mut options = OpenOptions::default();
    options.limits.string_bytes = 8;
    let refused = open_bytes("nccl_trace_rank_3", dump_protocol_2(), &options).unwrap_err().to_string();
    assert!(refused.contains("--limit string="), "{refused}");
}

#[test]
fn a_pickle_that_is_cut_keeps_its_whole_entries() {
    for bytes in [dump_protocol_2(), protocol_4(&file(entries()))] {
        let whole = read("nccl_trace_rank_3", bytes.clone());
        let mut last = 0;
        for cut in 3..bytes.len() {
            let Ok(trace) = open_bytes("nccl_trace_rank_3", bytes[..cut].to_vec(), &OpenOptions::default()) else {
                assert_eq!(last, 0, "{cut}");
                continue;
            };
            let found = timeline(&trace);
            assert!(found.len() >= last && found == timeline(&whole)[..found.len()], "{cut}");
            assert_eq!(warnings(&trace).iter().filter(|one| one.0 == WarningKind::Truncated).count(), 1, "{cut}");
            last = found.len();
        }
        assert_eq!(last, 3);
    }
}

#[test]
fn no_byte_that_is_changed_makes_it_fail() {
    let bytes = dump_protocol_2();
    let mut seed = 7u64;
    for _ in 0..2_000 {
        let mut changed = bytes.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (seed >> 33) as usize % changed.len();
            changed[place] = (seed >> 17) as u8;
        }
        if let Ok(trace) = open_bytes("nccl_trace_rank_3", changed, &OpenOptions::default()) {
            super::ids(&trace).for_each(|id| drop(trace.args(id)));
        }
    }
}
