//! Why a file could not be opened or written. Each message says what to do.

use std::path::{Path, PathBuf};

/// Why traces could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No path matched.
    #[error("no trace file found at {what}; give a file, a folder that holds traces, or a quoted pattern")]
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
    /// The content goes beyond a limit.
    #[error(
        "{path} goes beyond a limit: {what} (the limit is {limit}); if you trust the file, raise it with --limit {flag}",
        path = path.display()
    )]
    Limit {
        /// The file.
        path: PathBuf,
        /// What is too large.
        what: String,
        /// The limit, for people.
        limit: String,
        /// The value of `--limit` that raises it (`inflated=32GiB`).
        flag: String,
    },
    /// The rank of a file is not known, or two files have the same.
    #[error("{reason}; say which rank each file is, in the order given, with --ranks {example}")]
    Ranks {
        /// What is unclear.
        reason: String,
        /// An example for the option.
        example: String,
    },
    /// A file that adds to a trace finds none.
    #[error("{reason}; open it together with the trace of its rank, or alone")]
    Companion {
        /// What is unclear.
        reason: String,
    },
    /// The parts do not make a trace.
    #[error(transparent)]
    Build(#[from] gapless_trace::BuildError),
    /// The user gave up.
    #[error("cancelled")]
    Cancelled,
}

/// Why the content of a file is no trace. The path is not known here; [`at`](Self::at) adds it.
#[derive(Debug)]
pub(crate) enum Refused {
    /// What is wrong, and where.
    Format {
        /// Where in the (uncompressed) content.
        offset: u64,
        /// What is wrong there, and what to do.
        reason: String,
    },
    /// It goes beyond a limit.
    Limit {
        /// What is too large.
        what: String,
        /// The limit, for people.
        limit: String,
        /// The value of `--limit` that raises it.
        flag: String,
    },
    /// The user gave up.
    Cancelled,
}

impl Refused {
    /// Refused for `reason` at `offset`.
    pub fn format(offset: u64, reason: impl Into<String>) -> Self {
        Self::Format { offset, reason: reason.into() }
    }

    /// The error for the file at `path`.
    pub fn at(self, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::Format { offset, reason } => OpenError::Format { path, offset, reason },
            Self::Limit { what, limit, flag } => OpenError::Limit { path, what, limit, flag },
            Self::Cancelled => OpenError::Cancelled,
        }
    }
}
