//! Children, the reader of what they leave, and damage to it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use gapless_ring::layout::{HEADER_BYTES, Kind, RINGS_OFFSET, Record, STRINGS_OFFSET};
use gapless_ring::reader::{SegmentReader, extra_bytes, extra_comm};
use tempfile::TempDir;

/// Numbers that look random, the same in each run (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A folder in memory where there is one, as the recorder uses it.
pub fn rings_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap()
}

/// This program as the child of a case.
pub fn command(case: &str, rings: &TempDir) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture", "--test-threads=1", "--quiet"])
        .env("RING_CASE", case)
        .env("GAPLESS_RINGS", rings.path())
        .env_remove("GAPLESS_RING_MIB")
        .env_remove("GAPLESS_RING_POLICY")
        .env_remove("GAPLESS_START");
    command
}

pub fn expect_success(mut child: Child) {
    let status = child.wait().unwrap();
    assert!(status.success(), "{status:?}");
}

/// Drains all the time, and answers each line `ready` of the child after one more drain that came later.
pub fn answer(child: &mut Child, collector: &mut Collector) {
    let (mut to_child, from_child) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let (send, requests) = std::sync::mpsc::channel();
    let listener = std::thread::spawn(move || {
        for line in from_child.lines().map_while(Result::ok) {
            if line == "ready" && send.send(()).is_err() {
                break;
            }
        }
    });
    loop {
        match requests.recv_timeout(std::time::Duration::from_millis(1)) {
            Ok(()) => {
                if collector.reads_on_request {
                    collector.drain();
                }
                to_child.write_all(b"\n").unwrap();
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) if collector.reads_always => collector.drain(),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    listener.join().unwrap();
}

/// A record with what belongs to it.
pub struct Owned {
    pub kind: Kind,
    pub ticks: u64,
    pub name: u32,
    pub payload: u64,
    pub number: u64,
    pub blob: Vec<u8>,
}

impl Owned {
    /// Blobs of these tests hold one byte again and again, as often as their domain's number says.
    pub fn is_whole(&self) -> bool {
        let Some(first) = self.blob.first() else { return true };
        self.blob.len() as u64 == self.number && self.blob.iter().all(|byte| byte == first)
    }
}

pub type Records = Vec<Owned>;

/// One process.
pub struct Segment {
    pub reader: SegmentReader,
    slots: Vec<(u64, Vec<Record>)>,
    lost: u64,
}

impl Segment {
    /// Records by thread, in order of the threads' beginning.
    pub fn threads(&self) -> Vec<Records> {
        let mut threads: Vec<&(u64, Vec<Record>)> = self.slots.iter().collect();
        threads.sort_by_key(|(serial, _)| *serial);
        threads.into_iter().map(|(_, slots)| owned(slots)).collect()
    }

    pub fn string(&self, id: u32) -> String {
        self.reader.string(id).expect("every name has a string")
    }

    /// Kinds and names of the first thread.
    pub fn words(&self) -> Vec<String> {
        self.threads()
            .first()
            .unwrap()
            .iter()
            .map(|record| match record.name {
                0 => format!("{:?}", record.kind).to_lowercase(),
                name => format!("{:?} {}", record.kind, self.string(name)).replacen("Push", "push", 1),
            })
            .collect()
    }
}

fn owned(slots: &[Record]) -> Records {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some(record) = slots.get(at) {
        let extra = &slots[at + 1..at + 1 + record.extra as usize];
        records.push(Owned {
            kind: Kind::from_number(record.kind).expect("a kind"),
            ticks: record.ticks,
            name: record.name,
            payload: record.payload,
            number: u64::from(record.domain),
            blob: if record.extra > 0 { extra_bytes(extra, u64::from(record.domain)).to_vec() } else { Vec::new() },
        });
        at += 1 + extra.len();
    }
    records
}

/// Reads all segments of a folder.
pub struct Collector {
    folder: PathBuf,
    /// In order of their making.
    pub segments: Vec<Segment>,
    /// Whether [`answer`] drains before each answer.
    pub reads_on_request: bool,
    /// Whether it drains all the time.
    pub reads_always: bool,
}

pub fn ring_files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

impl Collector {
    pub fn new(folder: &Path) -> Collector {
        Collector { folder: folder.to_path_buf(), segments: Vec::new(), reads_on_request: true, reads_always: true }
    }

    pub fn drain(&mut self) {
        for path in ring_files(&self.folder) {
            if self.segments.iter().all(|segment| segment.reader.path() != path)
                && let Ok(reader) = SegmentReader::open(&path)
            {
                self.segments.push(Segment { reader, slots: Vec::new(), lost: 0 });
            }
        }
        self.segments.sort_by_key(|segment| segment.reader.anchors().0.boottime_ns);
        for segment in &mut self.segments {
            let slots = &mut segment.slots;
            let drained = segment.reader.drain(&mut |batch| match slots
                .iter_mut()
                .find(|(serial, _)| *serial == batch.thread.serial)
            {
                Some((_, slots)) => slots.extend_from_slice(batch.slots),
                None => slots.push((batch.thread.serial, batch.slots.to_vec())),
            });
            segment.reader.commit();
            segment.lost += drained.lost;
        }
    }

    pub fn lost(&self) -> u64 {
        self.segments.iter().map(|segment| segment.lost).sum()
    }
}

/// Damages a segment in this many ways, one after the other, and reads each. How many could be opened.
pub fn fuzz(path: &Path, rounds: u64, mut random: Random) -> u64 {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    // What holds something: header and directory, strings, rings.
    let regions =
        [(0, HEADER_BYTES + 8192), (STRINGS_OFFSET, 8192), (RINGS_OFFSET, (len as usize - RINGS_OFFSET).min(96 << 10))];
    let whole: Vec<Vec<u8>> = regions
        .iter()
        .map(|&(at, len)| {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, at as u64).unwrap();
            bytes
        })
        .collect();
    let mut opened = 0;
    for round in 0..rounds {
        for ((at, _), bytes) in regions.iter().zip(&whole) {
            file.write_all_at(bytes, *at as u64).unwrap();
        }
        for _ in 0..=random.below(40) {
            let (at, region) = regions[random.below(3) as usize];
            // The parts that matter most lie at the beginnings.
            let span = [64, 256, 4096 + 512, region as u64][random.below(4) as usize].min(region as u64);
            let offset = at as u64 + random.below(span - 8);
            // Mostly values that bounds are made of.
            let word = match random.below(6) {
                0 => u64::MAX,
                1 => random.below(64),
                2 => 1 << random.below(64),
                3 => len - random.below(4096),
                4 => random.next() & !4095,
                _ => random.next(),
            };
            let width = [1, 2, 4, 8][random.below(4) as usize];
            // Magic number and version stay in most rounds: nothing else is looked at without them.
            if offset >= 12 || round % 16 == 0 {
                file.write_all_at(&word.to_le_bytes()[..width], offset).unwrap();
            }
        }
        if round % 64 == 63 {
            file.set_len(random.below(len)).unwrap();
        }
        if let Ok(mut reader) = SegmentReader::open(path) {
            opened += 1;
            read_everything(&mut reader);
            read_everything(&mut reader);
        }
        file.set_len(len).unwrap();
        if round % 64 == 63 {
            // What was cut off is zero now where it was not restored: whole again from the start.
            for ((at, _), bytes) in regions.iter().zip(&whole) {
                file.write_all_at(bytes, *at as u64).unwrap();
            }
        }
    }
    for ((at, _), bytes) in regions.iter().zip(&whole) {
        file.write_all_at(bytes, *at as u64).unwrap();
    }
    opened
}

/// Reads as the recorder does: every record, its slots, its strings.
fn read_everything(reader: &mut SegmentReader) {
    let mut ids = Vec::new();
    let mut sum = 0;
    reader.drain(&mut |batch| {
        let mut at = 0;
        while let Some(record) = batch.slots.get(at) {
            let extra = batch.slots.get(at + 1..).unwrap_or_default();
            let extra = extra.get(..record.extra as usize).unwrap_or(extra);
            sum += extra_bytes(extra, record.payload).len() as u64;
            sum += extra_comm(extra).map_or(0, |comm| u64::from(comm.dtype));
            ids.extend([record.name, record.domain, record.category]);
            at += 1 + record.extra as usize;
        }
    });
    reader.commit();
    for id in ids.into_iter().take(200) {
        sum += reader.string(id).map_or(0, |text| text.len() as u64);
    }
    std::hint::black_box((sum, reader.anchors(), reader.pid(), reader.clock()));
}
