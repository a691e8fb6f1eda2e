//! What can go wrong before a job starts. Once it runs, problems are notices, and the job goes on.

use std::io;
use std::path::{Path, PathBuf};

/// Why a recording cannot start or be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The folder for the recording cannot be used.
    #[error("cannot record into {path}: {reason}", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The folder for the recording is right, and the system does not let it be written to.
    #[error("cannot write to {path}: {reason}", path = path.display())]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The library that runs inside the job was not found.
    #[error("cannot find {name}, which lies beside the gapless program; tried {tried}")]
    Inject {
        /// Its file name.
        name: &'static str,
        /// Where it was looked for.
        tried: String,
    },
    /// The command cannot be started.
    #[error("cannot start {command}: {reason}")]
    Start {
        /// The program.
        command: String,
        /// What the system says.
        reason: io::Error,
    },
    /// There is no such process to attach to.
    #[error("there is no process {pid} on this machine")]
    NoProcess {
        /// Its id.
        pid: u32,
    },
    /// The system refused something else.
    #[error("{what}: {reason}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        reason: io::Error,
    },
    /// A recording that cannot be read.
    #[error("{path} is no recording that can be taken up: {reason}", path = path.display())]
    Recording {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl RecordError {
    /// What the system's refusal of a folder means: a name that will never do, or a disk that does not take anything now,
    /// which is no reason not to run the job.
    pub(crate) fn of_folder(path: &Path, reason: io::Error) -> RecordError {
        let path = path.to_owned();
        match reason.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded => RecordError::NotWritable { path, reason },
            _ => RecordError::Folder { path, reason: reason.to_string() },
        }
    }
}
