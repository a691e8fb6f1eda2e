//! `manifest.json`: what a recording holds, for people and programs, and what recovery needs.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::encode::DeviceCounts;
use crate::folder;

/// Name of the file in a recording's folder.
pub const FILE_NAME: &str = "manifest.json";
/// Version of its form.
pub const VERSION: u32 = 1;

/// A recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// Version of this form: [`VERSION`].
    pub gapless_recording: u32,
    /// Version of the program that wrote it.
    pub gapless_version: String,
    /// Random name of the recording; all its traces carry it.
    pub id: String,
    /// Whether the recorder came to its end.
    pub finished: bool,
    /// The job.
    pub command: Vec<String>,
    /// Where it was started.
    pub working_directory: PathBuf,
    /// Machine.
    pub host: String,
    /// Release of its kernel.
    pub kernel: String,
    /// Start, in ns of Unix time.
    pub start_unix_ns: i64,
    /// End, in ns of Unix time; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_unix_ns: Option<i64>,
    /// Exit code of the job, or minus the signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// Clock of the processes' time stamps: `tsc` or `monotonic`.
    pub clock: String,
    /// The recorder itself.
    pub recorder: Recorder,
    /// Processes that were recorded, in the order in which they appeared.
    pub processes: Vec<Process>,
    /// Stacks that were taken from outside.
    pub stacks: u64,
    /// Times that a thread got a core or gave it up.
    pub switches: u64,
    /// What could not be recorded, in words.
    pub notices: Vec<String>,
}

/// The recorder, so that others can tell whether it still runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recorder {
    /// Process id; 0 where the job recorded itself.
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// Boot of the machine, as the kernel names it.
    pub boot_id: String,
    /// Folder of the rings.
    pub rings: PathBuf,
    /// Unix time minus monotonic time at the start, in ns.
    pub unix_minus_monotonic_ns: i64,
}

/// A recorded process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Process id of its parent.
    pub parent_pid: u32,
    /// Rank in the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// Ranks of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub world_size: Option<u32>,
    /// Rank on the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_rank: Option<u32>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Its trace, in the recording's folder.
    pub trace: String,
    /// Its ring file, in the folder of the rings.
    pub ring: String,
    /// First seen, in ns of Unix time.
    pub start_unix_ns: i64,
    /// Whether it ended in order (`exited`), was gone (`gone`), or runs (`running`).
    pub state: String,
    /// What called in: `nvtx`, `itt`, `python`, `mpi`, `gloo`, `cupti`, `nccl`.
    pub sources: Vec<String>,
    /// Threads.
    pub threads: u64,
    /// Begins, instants and values written.
    pub events: u64,
    /// Ranges that ended while a range of another domain was open inside them: in the trace they end with that one.
    pub interleaved: u64,
    /// Payloads that are in the trace as hexadecimal digits, because nothing describes them or they are damaged.
    pub undecoded_payloads: u64,
    /// What was written and lost of its devices.
    pub devices: DeviceCounts,
    /// Bytes of its trace.
    pub bytes: u64,
    /// What was lost.
    pub lost: Lost,
    /// What the process told: versions, process groups.
    pub facts: Vec<(String, String)>,
}

/// What was lost of a process, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lost {
    /// Records that full rings dropped.
    pub ring_full: u64,
    /// Records of threads that could get no ring.
    pub no_ring: u64,
    /// Names that could not be kept; their events have none.
    pub names: u64,
    /// Names that were cut.
    pub names_cut: u64,
    /// Ends whose begin is not in the recording.
    pub ends_without_begin: u64,
    /// Facts about events that are not in the recording, or about ranges whose end is not.
    pub facts: u64,
    /// Records that were damaged or of a newer kind.
    pub unknown: u64,
    /// Records of devices that the device's library dropped, or that have no time.
    pub of_devices: u64,
    /// Bytes of trace that the disk or the budget did not take.
    pub bytes_not_written: u64,
}

impl Lost {
    /// Events that are missing.
    pub fn events(&self) -> u64 {
        self.ring_full + self.no_ring + self.unknown + self.of_devices
    }
}

impl Manifest {
    /// Reads the manifest of a recording.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn read(folder: &Path) -> io::Result<Manifest> {
        let bytes = std::fs::read(folder.join(FILE_NAME))?;
        serde_json::from_slice(&bytes).map_err(io::Error::other)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        text.push(b'\n');
        folder::replace_file(&folder.join(FILE_NAME), &text)
    }
}

/// The running boot of this machine.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
