//! Files that appear whole or not at all.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// A larger level costs half the speed for a few per cent.
const GZIP_LEVEL: Compression = Compression::new(4);

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The output could not be written.
    #[error("cannot write: {0}")]
    Io(#[from] std::io::Error),
    /// The file could not be made.
    #[error("cannot write {path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// There is nothing to write.
    #[error("nothing to write: {0}")]
    Nothing(String),
    /// The user gave up.
    #[error("cancelled")]
    Cancelled,
}

/// Whether a file of this name is compressed.
pub(crate) fn is_gzip_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

/// Has `write` fill `path`, which appears whole or not at all; compressed with gzip if `gzip`.
pub(crate) fn write_whole<T>(
    path: &Path,
    gzip: bool,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, ExportError>,
) -> Result<T, ExportError> {
    let at_path = |reason| ExportError::File { path: path.to_owned(), reason };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".gapless-").tempfile_in(folder).map_err(at_path)?;
    let done = compressed(file.as_file_mut(), gzip, write).map_err(|error| match error {
        ExportError::Io(reason) => at_path(reason),
        other => other,
    })?;
    set_mode(file.as_file()).map_err(at_path)?;
    file.persist(path).map_err(|error| at_path(error.error))?;
    Ok(done)
}

/// Has `write` write to `out`, buffered, and compressed if `gzip`.
pub(crate) fn compressed<T>(
    out: impl Write + Send,
    gzip: bool,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, ExportError>,
) -> Result<T, ExportError> {
    let mut out = BufWriter::new(out);
    if !gzip {
        let done = write(&mut out)?;
        out.flush()?;
        return Ok(done);
    }
    let mut encoder = GzEncoder::new(out, GZIP_LEVEL);
    let done = write(&mut encoder)?;
    encoder.finish()?.flush()?;
    Ok(done)
}

/// A temporary file is private; the file that it becomes is one like any other.
#[cfg(unix)]
fn set_mode(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_mode(_file: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}
