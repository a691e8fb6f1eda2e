//! Reads what the image wrote in a test.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use gapless_ring::layout::{Comm, Kind, Record};
use gapless_ring::reader::{SegmentReader, ThreadInstance, extra_bytes, extra_comm};

/// A request that ended.
#[derive(Debug, Default)]
pub struct Done {
    pub number: u64,
    pub facts: BTreeMap<String, i64>,
}

/// A communication call.
#[derive(Debug, Default)]
pub struct Call {
    pub name: String,
    pub thread: u64,
    pub tid: u32,
    pub class: u8,
    pub depth: usize,
    pub begin_ticks: u64,
    pub end_ticks: u64,
    pub comm: Comm,
    pub dtype: String,
    pub facts: BTreeMap<String, i64>,
    pub done: Vec<Done>,
}

/// A process.
#[derive(Debug, Default)]
pub struct Process {
    pub pid: u32,
    pub sources: u32,
    pub finished: bool,
    pub lost: u64,
    pub infos: HashMap<String, String>,
    /// Ranges in order of begin: calls of MPI, and plain ranges with a name.
    pub calls: Vec<Call>,
}

/// The image, as cargo built it beside this test.
pub fn image() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    [folder, folder.parent().unwrap()]
        .iter()
        .map(|folder| folder.join("libgapless_inject.so"))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("no libgapless_inject.so near {}", test.display()))
}

/// All segments of a folder, each read to its end.
pub fn read(folder: &Path) -> Vec<Process> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| read_segment(path)).collect()
}

fn read_segment(path: &Path) -> Process {
    let mut reader = SegmentReader::open(path).unwrap();
    let mut threads: BTreeMap<ThreadInstance, Vec<Record>> = BTreeMap::new();
    let mut lost = 0;
    reader.drain(&mut |batch| {
        threads.entry(batch.thread).or_default().extend_from_slice(batch.slots);
        lost += batch.lost;
    });
    let header = reader.header();
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    let mut process = Process {
        pid: reader.pid(),
        sources: header.sources.load(relaxed),
        finished: header.finished.load(relaxed) == 1,
        lost: lost + header.dropped_without_ring.load(relaxed) + header.names_lost.load(relaxed),
        ..Process::default()
    };
    for (thread, slots) in threads {
        read_thread(&reader, thread, &slots, &mut process);
    }
    process
}

fn read_thread(reader: &SegmentReader, thread: ThreadInstance, slots: &[Record], process: &mut Process) {
    let text = |id: u32| reader.string(id).unwrap_or_default();
    let mut open: Vec<usize> = Vec::new();
    // What the facts that follow are about: the begin or end of this range, or the last request that it ended.
    let mut about = usize::MAX;
    let mut about_done = false;
    let mut at = 0;
    while at < slots.len() {
        let record = slots[at];
        let extra = &slots[at + 1..at + 1 + record.extra as usize];
        at += 1 + extra.len();
        let kind = Kind::from_number(record.kind).unwrap();
        match kind {
            Kind::CommPush | Kind::Push => {
                let comm = extra_comm(extra).unwrap_or_default();
                assert_eq!(kind == Kind::CommPush, extra.len() == 2);
                (about, about_done) = (process.calls.len(), false);
                open.push(about);
                process.calls.push(Call {
                    name: text(record.name),
                    thread: thread.serial,
                    tid: thread.tid,
                    class: record.class,
                    depth: open.len() - 1,
                    begin_ticks: record.ticks,
                    comm,
                    dtype: text(comm.dtype),
                    ..Call::default()
                });
            }
            Kind::Pop => {
                let index = open.pop().expect("an end has a begin");
                process.calls[index].end_ticks = record.ticks;
                (about, about_done) = (index, false);
            }
            Kind::CommDone => {
                let index = *open.last().expect("requests end inside a call");
                process.calls[index].done.push(Done { number: record.payload, ..Done::default() });
                (about, about_done) = (index, true);
            }
            Kind::Attr => {
                assert_eq!(record.category, 0);
                let call = &mut process.calls[about];
                let facts = if about_done { &mut call.done.last_mut().unwrap().facts } else { &mut call.facts };
                assert!(facts.insert(text(record.name), record.payload as i64).is_none(), "a fact is written once");
            }
            Kind::Info => {
                let value = String::from_utf8(extra_bytes(extra, record.payload).to_vec()).unwrap();
                process.infos.insert(text(record.name), value);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(open.is_empty(), "every range ends");
}
