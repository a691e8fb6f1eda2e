//! The one error type of the crate.

use std::io;
use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Each text says what to do where something can be done; paths come last.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot {action}: {source}: {}", path.display())]
    System {
        /// What was tried, as an infinitive ("bind the socket").
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder or socket that others may reach, so it is not used.
    #[error("{reason}; remove it or name another: {}", path.display())]
    NotPrivate {
        /// Which rule it breaks.
        reason: &'static str,
        /// The offending path.
        path: PathBuf,
    },
    /// The path of a socket must fit into 108 bytes with its end.
    #[error("the socket's path has {} bytes, more than the {limit} that fit; use a shorter folder: {}", path.as_os_str().len(), path.display())]
    PathTooLong {
        /// Most bytes that fit.
        limit: usize,
        /// The path that does not.
        path: PathBuf,
    },
    /// A recorder already answers there.
    #[error("another recorder already answers on this socket: {}", .0.display())]
    InUse(PathBuf),
    /// Nobody answers there.
    #[error("no recorder answers on this socket; `gapless ctl status --all` lists those that run: {}", .0.display())]
    NobodyThere(PathBuf),
    /// The recorder's side broke the protocol or closed the connection.
    #[error("the recorder {0}")]
    Broken(String),
    /// A detail window that cannot be asked for.
    #[error("the detail window cannot be recorded: {0}")]
    BadWindow(String),
}

impl Error {
    /// Wraps what the system said, with what was tried on which path.
    pub(crate) fn system(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::System { action, path, source }
    }
}
