//! Reads what the image told of devices.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::Ordering::Relaxed;

use gapless_ring::device::{DeviceKind, Head, Launch, Moved};
use gapless_ring::layout::{Kind, Record};
use gapless_ring::reader::{SegmentReader, extra_bytes};

/// A device record as it came.
#[derive(Clone, Debug)]
pub struct Told {
    pub kind: DeviceKind,
    pub name: String,
    pub record: Record,
    pub head: Head,
    pub launch: Option<Launch>,
    pub moved: Option<Moved>,
}

/// A process.
pub struct Process {
    pub sources: u32,
    pub finished: bool,
    pub lost: u64,
    pub clock: gapless_ring::ClockKind,
    pub facts: Vec<(String, String)>,
    pub told: Vec<Told>,
}

/// All processes of a folder of rings.
pub fn read(rings: &Path) -> Vec<Process> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(rings).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| read_one(path)).collect()
}

fn read_one(path: &Path) -> Process {
    let mut reader = SegmentReader::open(path).unwrap();
    let mut slots: Vec<Record> = Vec::new();
    let lost = reader.drain(&mut |batch| slots.extend_from_slice(batch.slots)).lost;
    let header = reader.header();
    let mut process = Process {
        sources: header.sources.load(Relaxed),
        finished: header.finished.load(Relaxed) == 1,
        lost,
        clock: reader.clock(),
        facts: Vec::new(),
        told: Vec::new(),
    };
    let text = |id| reader.string(id).unwrap_or_default();
    let mut at = 0;
    while let Some(record) = slots.get(at) {
        let extra = &slots[at + 1..at + 1 + record.extra as usize];
        at += 1 + extra.len();
        if record.kind == Kind::Info as u8 {
            let value = String::from_utf8(extra_bytes(extra, record.payload).to_vec()).unwrap();
            process.facts.push((text(record.name), value));
        } else if record.kind == Kind::Device as u8 {
            process.told.push(Told {
                kind: DeviceKind::from_number(record.class).unwrap(),
                name: text(record.name),
                record: *record,
                head: Head::of(extra).unwrap_or_default(),
                launch: Launch::of(extra),
                moved: Moved::of(extra),
            });
        }
    }
    process
}

impl Process {
    pub fn of(&self, kind: DeviceKind) -> Vec<&Told> {
        self.told.iter().filter(|told| told.kind == kind).collect()
    }

    pub fn fact(&self, key: &str) -> Option<&str> {
        self.facts.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    pub fn notices(&self) -> Vec<&str> {
        self.facts.iter().filter(|(key, _)| key.ends_with(".notice")).map(|(_, value)| value.as_str()).collect()
    }
}

/// What the image said on stderr.
pub fn lines_of_ours(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().filter(|line| line.starts_with("gapless:")).map(str::to_owned).collect()
}
