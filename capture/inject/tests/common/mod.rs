//! Runs programs with the image as their tool and tells what they recorded.

#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

pub mod device;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gapless_ring::layout::{ABOUT_OPEN_RANGE, AttrType, Class, Kind, Record};
use gapless_ring::reader::{SegmentReader, extra_bytes, extra_comm};

/// The image that this build made.
pub fn image() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
    [folder.join("libgapless_inject.so"), folder.join("../libgapless_inject.so")]
        .into_iter()
        .find(|path| path.is_file())
        .expect("cargo builds the image beside the tests")
        .canonicalize()
        .unwrap()
}

/// Where `tests/python/setup-annotations.sh` put a part; `None`, with a line, where it cannot be had.
pub fn fetched(part: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Beside the build, wherever that is.
    let target = image().ancestors().nth(3).unwrap().to_path_buf();
    let script = workspace.join("tests/python/setup-annotations.sh");
    let output = Command::new("sh").arg(script).arg(target).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.lines().find_map(|line| line.strip_prefix(part)?.strip_prefix('=').map(PathBuf::from));
    if found.is_none() {
        eprintln!("skipped: {part} cannot be fetched: {}", String::from_utf8_lossy(&output.stderr));
    }
    found
}

/// Compiles a program of `tests/c`; `None`, with a line, where there is no compiler.
pub fn compile(folder: &Path, source: &str, output: &str, args: &[&str]) -> Option<PathBuf> {
    let made = folder.join(output);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(source);
    let run =
        Command::new("gcc").args(["-O2", "-g", "-Wall", "-pthread", "-o"]).arg(&made).arg(&source).args(args).output();
    let Ok(run) = run else {
        eprintln!("skipped: there is no gcc");
        return None;
    };
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Some(made)
}

/// Runs a program with the image as tool of both interfaces and the rings in `rings`.
pub fn run_recorded(rings: &Path, program: &Path, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .env("GAPLESS_RINGS", rings)
        .env("NVTX_INJECTION64_PATH", image())
        .env("INTEL_LIBITTNOTIFY64", image())
        .output()
        .unwrap()
}

/// Fails with the program's own words where it failed.
pub fn expect_success(output: &Output) {
    let words = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}\n{}\n{}", output.status, words.0, words.1);
}

/// The records of one process, a list of lines for each thread in the order in which they began.
pub struct Segment {
    pub pid: u32,
    pub parent: u32,
    pub sources: u32,
    pub finished: bool,
    pub lost: u64,
    pub threads: Vec<Vec<String>>,
    /// Facts of the process: domain, key and value.
    pub info: Vec<(String, String, String)>,
}

/// All processes that left rings, in order of their making.
pub fn read(rings: &Path) -> Vec<Segment> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(rings).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort_by_key(|path| std::fs::metadata(path).unwrap().created().unwrap());
    let mut segments: Vec<(u64, Segment)> = paths.iter().map(|path| read_one(path)).collect();
    segments.sort_by_key(|(made, _)| *made);
    segments.into_iter().map(|(_, segment)| segment).collect()
}

fn read_one(path: &Path) -> (u64, Segment) {
    use std::sync::atomic::Ordering::Relaxed;
    let mut reader = SegmentReader::open(path).unwrap();
    let header = reader.header();
    let mut segment = Segment {
        pid: reader.pid(),
        parent: header.parent_pid.load(Relaxed),
        sources: header.sources.load(Relaxed),
        finished: header.finished.load(Relaxed) == 1,
        lost: 0,
        threads: Vec::new(),
        info: Vec::new(),
    };
    let made = reader.anchors().0.boottime_ns;
    let mut slots: Vec<(u64, Vec<Record>)> = Vec::new();
    segment.lost += reader
        .drain(&mut |batch| match slots.iter_mut().find(|(serial, _)| *serial == batch.thread.serial) {
            Some((_, slots)) => slots.extend_from_slice(batch.slots),
            None => slots.push((batch.thread.serial, batch.slots.to_vec())),
        })
        .lost;
    slots.sort_by_key(|(serial, _)| *serial);
    let mut ids = HashMap::new();
    for (_, slots) in &slots {
        let mut lines = Vec::new();
        let mut at = 0;
        let mut last = 0;
        while let Some(record) = slots.get(at) {
            assert!(record.ticks >= last, "times of a thread ascend");
            last = record.ticks;
            let extra = &slots[at + 1..at + 1 + record.extra as usize];
            if record.kind == Kind::Info as u8 {
                let text = String::from_utf8(extra_bytes(extra, record.payload).to_vec()).unwrap();
                let word = |id| reader.string(id).unwrap_or_default();
                segment.info.push((word(record.domain), word(record.name), text));
            } else {
                lines.push(line(&reader, record, extra, &mut ids));
            }
            at += 1 + extra.len();
        }
        segment.threads.push(lines);
    }
    (made, segment)
}

/// A record in words; ids of ranges become numbers in order of appearance.
fn line(reader: &SegmentReader, record: &Record, extra: &[Record], ids: &mut HashMap<u64, usize>) -> String {
    let kind = Kind::from_number(record.kind).unwrap();
    let word = |id: u32| reader.string(id).unwrap_or_else(|| format!("<{id}>"));
    let mut out = match kind {
        Kind::Attr | Kind::Blob => String::from(" "),
        other => format!("{other:?}").to_lowercase(),
    };
    if record.name != 0 {
        let name = word(record.name);
        out += &format!(" {}", if name.is_empty() { "\"\"" } else { &name });
    }
    let known = ids.len() + 1;
    match kind {
        Kind::Start | Kind::CommStart | Kind::End => {
            out += &format!(" #{}", ids.entry(record.payload).or_insert(known));
        }
        Kind::Push | Kind::Mark if record.payload != 0 => {
            out += &format!(" #{}", ids.entry(record.payload).or_insert(known));
        }
        Kind::Counter => out += &format!(" = {}", f64::from_bits(record.payload)),
        Kind::ThreadName if record.payload != 0 => out += " (of a thread id)",
        Kind::Blob => {
            let bytes = extra_bytes(extra, record.payload);
            out += &match std::str::from_utf8(bytes) {
                Ok(text) if text.chars().all(|symbol| !symbol.is_control()) => format!(" = {text:?}"),
                _ => format!(" = {}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            };
        }
        Kind::Attr => {
            out += &match AttrType::from_number(record.class).unwrap() {
                AttrType::Unsigned => format!(" = {}u", record.payload),
                AttrType::Signed => format!(" = {}i", record.payload as i64),
                AttrType::Float => format!(" = {}f", f64::from_bits(record.payload)),
                AttrType::String => format!(" = {:?}", word(record.payload as u32)),
                AttrType::Color => format!(" = #{:08x}", record.payload),
            };
        }
        _ => {}
    }
    if let Some(comm) = extra_comm(extra).filter(|_| matches!(kind, Kind::CommPush | Kind::CommStart)) {
        let (number, rank, size, bytes, count) = (comm.communicator, comm.rank, comm.size, comm.bytes, comm.count);
        out += &format!(" comm {number} rank {rank}/{size} {count} x {} = {bytes} B", word(comm.dtype));
        out += &format!(" peer {} sequence {} members {:08x}", comm.peer, comm.sequence as i64, comm.members);
    }
    if record.domain != 0 {
        out += &format!(" @{}", word(record.domain));
    }
    match (kind, record.category) {
        (_, 0) => {}
        (_, ABOUT_OPEN_RANGE) => out += " (open range)",
        (_, category) => out += &format!(" [{}]", word(category)),
    }
    if matches!(kind, Kind::Push | Kind::Mark | Kind::Start) && record.class != Class::Annotation as u8 {
        out += &format!(" {:?}", Class::from_number(record.class));
    }
    out
}

/// Compares lines one by one, so that a failure shows where they part.
pub fn assert_lines(found: &[String], expected: &str) {
    let expected: Vec<&str> = expected.lines().map(|line| line.trim_end()).filter(|line| !line.is_empty()).collect();
    let found: Vec<&str> = found.iter().map(|line| line.as_str()).collect();
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "line {index}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}
