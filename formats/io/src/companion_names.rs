//! Threads of a companion as the trace of its rank knows them.

use gapless_trace::{RawChunk, RawId, RawMeta, TrackKind};
use rustc_hash::{FxHashMap, FxHashSet};

/// What the main trace says of its threads; numbers only, for texts are each chunk's own.
#[derive(Default)]
pub(crate) struct KnownThreads {
    /// The process of a thread; `None` where several have a thread of this id.
    process_of: FxHashMap<i64, Option<i64>>,
    processes: FxHashSet<i64>,
    threads: FxHashSet<(i64, i64)>,
}

impl KnownThreads {
    /// Those of `chunks`.
    pub fn new(chunks: &[RawChunk]) -> Self {
        let mut known = Self::default();
        for chunk in chunks {
            for track in &chunk.tracks {
                if let (TrackKind::Thread, RawId::Int(pid), RawId::Int(tid)) = *track {
                    let process = known.process_of.entry(tid).or_insert(Some(pid));
                    *process = process.filter(|&old| old == pid);
                }
            }
            for meta in &chunk.metas {
                match *meta {
                    RawMeta::ProcessName(RawId::Int(pid), _) => {
                        known.processes.insert(pid);
                    }
                    RawMeta::ThreadName(RawId::Int(pid), RawId::Int(tid), _) => {
                        known.threads.insert((pid, tid));
                    }
                    _ => {}
                }
            }
        }
        known
    }

    /// Gives threads of `chunk` whose process is not known the one that they have here, and leaves out names for what
    /// has one here.
    pub fn apply(&self, chunk: &mut RawChunk) {
        let process = |pid: &mut RawId, tid: RawId| {
            if let (RawId::None, RawId::Int(thread)) = (*pid, tid)
                && let Some(&Some(found)) = self.process_of.get(&thread)
            {
                *pid = RawId::Int(found);
            }
        };
        for (_, pid, tid) in &mut chunk.tracks {
            process(pid, *tid);
        }
        for meta in &mut chunk.metas {
            if let RawMeta::ThreadName(pid, tid, _) | RawMeta::ThreadSort(pid, tid, _) = meta {
                process(pid, *tid);
            }
        }
        chunk.metas.retain(|meta| match *meta {
            RawMeta::ProcessName(RawId::Int(pid), _) => !self.processes.contains(&pid),
            RawMeta::ThreadName(RawId::Int(pid), RawId::Int(tid), _) => !self.threads.contains(&(pid, tid)),
            _ => true,
        });
    }
}
