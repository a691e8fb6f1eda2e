//! The folder of a recording, and the one for its rings. Both belong to their owner alone, and nothing in them is
//! reached through a link.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::RecordError;

/// Where recordings go when the user names no folder.
pub const DEFAULT_PARENT: &str = "gapless-recordings";
/// Free bytes of `/dev/shm` below which rings go to the recording's folder: jobs need it for their own workers.
const LEAST_SHM_BYTES: u64 = 512 << 20;
/// Shared memory of the system.
const SHM: &str = "/dev/shm";
/// File in the folder of the rings that says whose they are.
const OWNER: &str = "recording";

/// Makes the folder of a recording, for its owner alone.
///
/// # Errors
/// It exists and is not empty, is a link, belongs to somebody else, or cannot be made.
pub fn make(path: &Path) -> Result<PathBuf, RecordError> {
    let error = |reason: String| RecordError::Folder { path: path.to_owned(), reason };
    let failed = |reason: io::Error| RecordError::of_folder(path, reason);
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(reason) if reason.kind() == io::ErrorKind::AlreadyExists => {
            let meta = std::fs::symlink_metadata(path).map_err(failed)?;
            if meta.file_type().is_symlink() {
                return Err(error("it is a link; name the folder itself".to_owned()));
            }
            if !meta.is_dir() {
                return Err(error("it is a file; name a folder".to_owned()));
            }
            if meta.uid() != own_user() {
                return Err(error("it belongs to another user".to_owned()));
            }
            let mut entries = std::fs::read_dir(path).map_err(failed)?;
            if entries.next().is_some() {
                return Err(error("it is not empty; name a new folder, or leave -o out".to_owned()));
            }
        }
        Err(reason) => return Err(failed(reason)),
    }
    path.canonicalize().map_err(failed)
}

/// A name for the recording of `command`: what runs, and when in UTC.
pub fn default_name(command: &[OsString], unix_seconds: u64) -> PathBuf {
    let words = command.iter().map(|word| word.to_string_lossy());
    // `python train.py` is told by its script, `torchrun --nproc 2 train.py` too; a plain program by its name.
    let telling =
        words.clone().find(|word| word.ends_with(".py")).or_else(|| command.first().map(|word| word.to_string_lossy()));
    let telling = telling.unwrap_or_default().into_owned();
    let name = Path::new(&telling).file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).take(40).collect();
    let (year, month, day) = date(unix_seconds / 86_400);
    let (hour, minute, second) = (unix_seconds / 3600 % 24, unix_seconds / 60 % 60, unix_seconds % 60);
    let stamp = format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}");
    Path::new(DEFAULT_PARENT).join(format!("{}-{stamp}", if name.is_empty() { "job" } else { &name }))
}

/// Year, month and day of a day since 1970. After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Where the rings go: to shared memory where that has room to spare, else to the recording's folder. Nothing is made
/// yet, so that the manifest can name the folder before it is there: else a recorder that is killed in between leaves one
/// that nobody knows of.
pub fn place_of_rings(recording: &Path) -> PathBuf {
    if free_bytes(Path::new(SHM)).is_some_and(|free| free >= LEAST_SHM_BYTES) {
        Path::new(SHM).join(format!("{}{}-{:x}", shm_prefix(), std::process::id(), random()))
    } else {
        inside(recording)
    }
}

/// Where the rings go when shared memory does not take them.
pub fn inside(recording: &Path) -> PathBuf {
    recording.join(".rings")
}

fn shm_prefix() -> String {
    format!("gapless-{}-", own_user())
}

/// Makes the folder for the rings. It holds the recording's `id`, by which [`is_rings_of`] knows it again.
///
/// # Errors
/// What the system says.
pub fn make_rings(path: &Path, id: &str) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    create_file(&path.join(OWNER)).and_then(|mut file| file.write_all(id.as_bytes())).inspect_err(|_| {
        let _ = std::fs::remove_dir_all(path);
    })
}

/// Removes a folder for rings in which there is nothing yet: its recorder was killed when it had just made it.
pub fn remove_empty_rings(path: &Path) {
    let is_named_so = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&shm_prefix()));
    if path.parent() == Some(Path::new(SHM)) && is_named_so {
        let _ = std::fs::remove_dir(path);
    }
}

/// Whether `path` is the folder of the rings of the recording with this `id`. A manifest is a file that anybody may have
/// written, and what it names is read from and removed: only a folder that this user's recorder made for the same
/// recording will do.
pub fn is_rings_of(path: &Path, id: &str) -> bool {
    let is_ours = std::fs::symlink_metadata(path)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == own_user() && meta.mode() & 0o077 == 0);
    let mut owner = String::new();
    is_ours
        && path.is_absolute()
        && !id.is_empty()
        && OpenOptions::new()
            .read(true)
            // A pipe of that name would otherwise be waited for.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path.join(OWNER))
            .and_then(|file| file.take(4096).read_to_string(&mut owner))
            .is_ok()
        && owner == id
}

/// Creates a file for its owner alone; a link or a file that exists is refused.
pub fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Opens a file of a recording for appending; a link is refused.
pub fn append_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).read(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Replaces a file whole.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(".new");
    let other = path.with_file_name(name);
    match std::fs::remove_file(&other) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_file(&other)?;
    let replaced = file.write_all(content).and_then(|()| std::fs::rename(&other, path));
    // What a full disk took of it is of no use.
    replaced.inspect_err(|_| {
        let _ = std::fs::remove_file(&other);
    })
}

/// The user that this process acts for.
#[allow(unsafe_code)]
pub fn own_user() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds this from the system's random numbers.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Free bytes of a file system for this user.
#[allow(unsafe_code)]
pub fn free_bytes(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: `stat` is plain numbers, the path a NUL-terminated string.
    unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(name.as_ptr(), &mut stat) == 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_script_and_the_time() {
        let name = |words: &[&str]| {
            let command: Vec<OsString> = words.iter().map(OsString::from).collect();
            default_name(&command, 1_795_457_655).to_string_lossy().into_owned()
        };
        assert_eq!(
            name(&["torchrun", "--nproc-per-node", "2", "src/train.py"]),
            "gapless-recordings/train-20261123-181415"
        );
        assert_eq!(name(&["/usr/bin/env"]), "gapless-recordings/env-20261123-181415");
        assert_eq!(name(&["we ird/na me"]), "gapless-recordings/na_me-20261123-181415");
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(19_782), (2024, 2, 29));
    }

    #[test]
    fn a_folder_that_holds_something_or_is_a_link_is_refused() -> io::Result<()> {
        let scratch = tempfile::tempdir()?;
        let folder = scratch.path().join("a/b");
        assert!(make(&folder).is_ok());
        assert_eq!(std::fs::metadata(&folder)?.mode() & 0o777, 0o700);
        assert!(make(&folder).is_ok(), "an empty one is taken");
        std::fs::write(folder.join("x"), "x")?;
        assert!(make(&folder).is_err_and(|error| error.to_string().contains("not empty")));
        std::os::unix::fs::symlink(&folder, scratch.path().join("link"))?;
        assert!(make(&scratch.path().join("link")).is_err_and(|error| error.to_string().contains("link")));
        assert!(make(&folder.join("x")).is_err());
        Ok(())
    }

    #[test]
    fn files_do_not_go_through_links() -> io::Result<()> {
        let scratch = tempfile::tempdir()?;
        let target = scratch.path().join("target");
        std::os::unix::fs::symlink(&target, scratch.path().join("manifest.json"))?;
        assert!(create_file(&scratch.path().join("manifest.json")).is_err());
        replace_file(&scratch.path().join("manifest.json"), b"{}")?;
        assert!(!target.exists(), "the link was replaced, not followed");
        assert_eq!(std::fs::read(scratch.path().join("manifest.json"))?, b"{}");
        Ok(())
    }
}
