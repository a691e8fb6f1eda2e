//! What can go wrong before a job starts. Once it runs, problems are notices, and the job goes on.

use std::io;
use std::path::PathBuf;

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
