//! Readers in Python that share no code with ours, in the environment that `python/setup.sh` makes once.

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

/// The interpreter that has the packages, made at the first call; why not, where it cannot be made.
///
/// # Errors
/// Where Python, venv or the package index are missing.
pub fn interpreter() -> Result<PathBuf, String> {
    let output = Command::new("sh").arg(folder().join("setup.sh")).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// What a script of `tests/python` prints, as JSON.
///
/// # Errors
/// When it fails, or prints something else.
pub fn run(python: &Path, script: &str, args: &[&Path]) -> Result<serde_json::Value, String> {
    let output = Command::new(python)
        .arg(folder().join(script))
        .args(args)
        .output()
        .map_err(|error| format!("{}: {error}", python.display()))?;
    if !output.status.success() {
        return Err(format!("{script}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{script}: {error}"))
}
