//! Folders that only their owner can look into.
//!
//! Sockets lie in such folders, so the folder's rights are what keeps other users out: a socket's own mode is not
//! honoured everywhere, and between binding and chmod it would stand open.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sys;

/// Makes `path` (and what lies above it) if it is not there, and refuses it unless it is a folder of this user that
/// nobody else can enter. Links are refused: their target could be changed by others.
///
/// # Errors
/// [`Error::NotPrivate`] with the rule that is broken; [`Error::System`] when it cannot be made or looked at.
pub fn private(path: &Path) -> Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above).map_err(Error::system("make the folder", above))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(Error::system("make the folder", path)(e)),
    }
    check_private(path)
}

/// The check of [`private`], without making anything.
///
/// # Errors
/// As [`private`].
pub fn check_private(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path).map_err(Error::system("look at the folder", path))?;
    let refuse = |reason| Err(Error::NotPrivate { reason, path: path.to_path_buf() });
    if found.file_type().is_symlink() {
        return refuse("it is a link, which is not followed");
    }
    if !found.is_dir() {
        return refuse("it is not a folder");
    }
    if found.uid() != sys::effective_user() {
        return refuse("it belongs to another user");
    }
    if found.mode() & 0o077 != 0 {
        return refuse("other users may enter it (its mode must be 0700)");
    }
    Ok(())
}

/// Where sockets of this user's recorders may lie, best first: `$XDG_RUNTIME_DIR/gapless`, then `/tmp/gapless-<uid>`.
pub fn runtime_candidates() -> Vec<PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| {
        // After `su` or `sudo` the variable may still name the folder of somebody else.
        folder.is_absolute() && fs::metadata(folder).is_ok_and(|m| m.is_dir() && m.uid() == sys::effective_user())
    });
    let shared = PathBuf::from(format!("/tmp/gapless-{}", sys::effective_user()));
    own.map(|folder| folder.join("gapless")).into_iter().chain([shared]).collect()
}

/// The first of [`runtime_candidates`] that can be used, made if it is not there.
///
/// # Errors
/// That of the last candidate when none can be used.
pub fn runtime() -> Result<PathBuf> {
    let mut last = None;
    for folder in runtime_candidates() {
        match private(&folder) {
            Ok(()) => return Ok(folder),
            Err(e) => last = Some(e),
        }
    }
    Err(last.unwrap_or_else(|| Error::NobodyThere(PathBuf::new())))
}
