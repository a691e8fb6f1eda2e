//! The formats that can be read, in the order in which they are tried.

use std::path::PathBuf;
use std::sync::Arc;

use gapless_trace::{ArgsLoc, Source, TracePart};

use crate::error::Refused;
use crate::limits::Limits;
use crate::mapped::Bytes;
use crate::text::JsonText;
use crate::{
    Progress, chakra, collapsed, execution_trace, flight_recorder, kineto, nccl_inspector, nsys, perf_data,
    perf_script, perfetto, rocprof, straggler, xplane,
};

/// The beginning of a file, for telling formats apart.
pub(crate) struct Head<'a> {
    /// The first bytes of the content, compression taken off; at most 1 MiB.
    pub bytes: &'a [u8],
    /// Name of the file in lower case. The content decides; the name only breaks ties.
    #[allow(dead_code)]
    pub name: &'a str,
}

/// A file to read.
pub(crate) struct Input {
    /// Its path as the user gave it; `archive.zip/entry` for the entry of an archive.
    pub path: PathBuf,
    /// Its content, compression taken off.
    pub bytes: Arc<Bytes>,
    /// Where the bytes are those of a file on disk.
    pub file: Option<PathBuf>,
    /// What is known of it so far; the reader sets `format` and `file_events`.
    pub source: Source,
    /// What it may cost.
    pub limits: Limits,
}

impl Input {
    /// An empty part for this file.
    pub fn part(&self) -> TracePart {
        TracePart::new(self.source.clone())
    }
}

/// What a file is for its rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A trace of the rank. A rank has one.
    Main,
    /// It adds to the trace of the same rank: a flight recorder, an execution trace, CPU samples. It is a trace of
    /// its own where there is no other.
    Companion,
    /// It says more about events of the trace of the same rank, by [`Join`]s: an execution trace. Its own events are
    /// shown only where the rank has no other file.
    Supplement,
    /// One process of a recording; a rank may have several: its own, workers, a launcher.
    Process {
        /// When it began, in ns of Unix time.
        start_unix_ns: i64,
    },
}

/// Further arguments for an event of the main trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    /// The event is the one whose argument `Record function id` is this.
    pub record_function: i64,
    /// The arguments, in the companion's source.
    pub args: ArgsLoc,
}

/// One rank that a reader found in a file.
pub(crate) struct ReadPart {
    /// Its events.
    pub part: TracePart,
    /// What it is for its rank.
    pub role: Role,
    /// What it adds to events of the main trace.
    pub joins: Vec<Join>,
}

impl From<TracePart> for ReadPart {
    fn from(part: TracePart) -> Self {
        Self { part, role: Role::Main, joins: Vec::new() }
    }
}

/// A format.
pub(crate) struct Reader {
    /// Stable name for machines.
    pub id: &'static str,
    /// Name for people.
    pub name: &'static str,
    /// Whether content that begins so is of this format.
    pub sniff: fn(&Head<'_>) -> bool,
    /// Reads the whole file.
    pub read: fn(&Input, &dyn Progress) -> Result<Vec<ReadPart>, Refused>,
}

/// All formats. The first whose `sniff` says yes reads the file.
pub(crate) const READERS: &[Reader] = &[
    Reader { id: "kineto", name: "Kineto or Chrome JSON", sniff: |head| kineto::sniff(head.bytes), read: read_kineto },
    Reader { id: "perfetto", name: "Perfetto protobuf", sniff: perfetto::sniff, read: perfetto::read },
    Reader { id: "xplane", name: xplane::FORMAT, sniff: xplane::sniff, read: xplane::read },
    Reader { id: "nsys", name: "Nsight Systems SQLite", sniff: nsys::sniff, read: nsys::read },
    Reader { id: "perf_data", name: "perf.data", sniff: perf_data::sniff, read: perf_data::read },
    Reader { id: "perf_script", name: "perf script", sniff: perf_script::sniff, read: perf_script::read },
    Reader {
        id: "execution_trace",
        name: "PyTorch execution trace",
        sniff: execution_trace::sniff,
        read: execution_trace::read,
    },
    Reader {
        id: "flight_recorder",
        name: "PyTorch flight recorder dump",
        sniff: flight_recorder::sniff,
        read: flight_recorder::read,
    },
    Reader {
        id: "nccl_inspector",
        name: "NCCL inspector log",
        sniff: nccl_inspector::sniff,
        read: nccl_inspector::read,
    },
    Reader { id: "rocprof", name: "rocprofv3 JSON", sniff: rocprof::sniff, read: rocprof::read },
    Reader { id: "chakra", name: "Chakra execution trace", sniff: chakra::sniff, read: chakra::read },
    Reader { id: "straggler", name: "operator table (Parquet)", sniff: straggler::sniff, read: straggler::read },
    Reader {
        id: "straggler_job",
        name: "description of a job (YAML)",
        sniff: straggler::sniff_job,
        read: straggler::read_job,
    },
    // Any text of lines that end in numbers: after all others.
    Reader { id: "collapsed", name: "collapsed stacks", sniff: collapsed::sniff, read: collapsed::read },
];

fn read_kineto(input: &Input, progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    let mut part = input.part();
    kineto::read_text(&input.bytes, &mut part, &input.limits, progress)?;
    part.args = Arc::new(JsonText::Plain(Arc::clone(&input.bytes)));
    Ok(vec![part.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_described() {
        let page = include_str!("../../../docs/formats.md");
        for reader in READERS {
            assert!(page.contains(reader.name), "docs/formats.md does not describe {:?}", reader.name);
        }
    }
}
