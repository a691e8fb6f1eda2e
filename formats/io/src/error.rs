//! Why a file could not be opened or written. Each message says what to do.

use std::path::PathBuf;

/// Why traces could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No path matched.
    #[error(
        "no trace file found at {what}; give a file, a folder that holds *.json, *.json.gz traces, or a quoted pattern"
    )]
    NothingFound {
        /// What was asked for.
        what: String,
    },
    /// The file could not be read.
    #[error("cannot read {path}: {reason}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The content is of no format that is known.
    #[error("{path} is not a trace that Gapless can read: {reason} (at byte {offset})", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Where in the (uncompressed) content.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The rank of a file is not known, or two files have the same.
    #[error("{reason}; say which rank each file is, in the order given, with --ranks {example}")]
    Ranks {
        /// What is unclear.
        reason: String,
        /// An example for the option.
        example: String,
    },
    /// The parts do not make a trace.
    #[error(transparent)]
    Build(#[from] gapless_trace::BuildError),
    /// The user gave up.
    #[error("cancelled")]
    Cancelled,
}
