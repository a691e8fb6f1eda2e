//! The system's own open dialog.

use std::path::PathBuf;

/// What to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One or more files.
    Files,
    /// A folder.
    Folder,
}

/// Why the field for a path is shown instead of the dialog.
pub const UNAVAILABLE: &str =
    "The system's open dialog is not available here (no desktop portal); type the path instead";

/// Whether a dialog can be expected: portals are reached over the session bus.
#[must_use]
pub fn is_available() -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let socket = std::env::var_os("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("bus"));
    is_set("DBUS_SESSION_BUS_ADDRESS") || socket.is_some_and(|socket| socket.exists())
}

/// Endings that traces usually have. The content decides what a file is, so all files are shown at first.
const TRACE_ENDINGS: &[&str] = &[
    "json",
    "gz",
    "pftrace",
    "perfetto-trace",
    "sqlite",
    "pb",
    "parquet",
    "jsonl",
    "data",
    "txt",
    "folded",
    "et",
    "zip",
    "tar",
    "tgz",
    "zst",
];

/// Shows the dialog and waits for the user. `None` if nothing was chosen.
#[must_use]
pub fn pick(kind: Kind) -> Option<Vec<PathBuf>> {
    let dialog = rfd::FileDialog::new().set_title("Open a trace");
    match kind {
        Kind::Files => dialog.add_filter("All files", &["*"]).add_filter("Traces", TRACE_ENDINGS).pick_files(),
        Kind::Folder => dialog.pick_folder().map(|folder| vec![folder]),
    }
}
