//! Recording without a recorder: only the injection variables are set, and [`RECORDING_VARIABLE`] names a folder.
//!
//! The first process of the job makes the folder, with a manifest that says that nobody records it. Each thread writes its
//! own ring out when it is full, to a file beside the segment; there is no thread of ours in the job, and nothing to be
//! done at its end: what is left in the rings is read from there. Whoever opens the recording first, once the job has
//! ended, makes traces of it.
//!
//! A spill file holds a header and then the slots of one ring, in order from the first. The ring's tail is moved when they
//! are written, so of a write that was cut off nothing counts that lies beyond the tail.

use std::ffi::{CStr, CString, OsString};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::ClockKind;
use crate::layout::Record;
use crate::sys;

/// Variable that names the folder of the recording.
pub const RECORDING_VARIABLE: &str = "GAPLESS_RECORDING";
/// Folder of the rings within it.
pub const RINGS_FOLDER: &str = ".rings";
/// File in the folder of the rings that holds the recording's id.
pub const OWNER_FILE: &str = "recording";
/// How the names of spill files end; they begin with the segment's name and the ring's serial.
pub const SPILL_SUFFIX: &str = ".spill";
/// First bytes of a spill file.
pub const SPILL_MAGIC: [u8; 8] = *b"gaplessS";
/// Bytes before the first slot.
pub const SPILL_HEADER_BYTES: usize = 64;
/// Bytes of disk that are always left to others.
const LEAST_FREE_BYTES: u64 = 1 << 30;

/// Whether this process records itself. Kept by forked children.
static IS_ALONE: AtomicBool = AtomicBool::new(false);

/// Whether this process records itself.
pub(crate) fn is_alone() -> bool {
    IS_ALONE.load(Ordering::Relaxed)
}

/// The folder for the segment of this process, if it is to record itself.
pub(crate) fn rings_folder() -> Option<OsString> {
    let folder = std::env::var_os(RECORDING_VARIABLE).filter(|folder| !folder.is_empty())?;
    match prepare(Path::new(&folder)) {
        Ok(rings) => {
            IS_ALONE.store(true, Ordering::Relaxed);
            Some(rings.into_os_string())
        }
        Err(error) => {
            // The job's own stderr is all there is to say it on.
            let line = format!("gapless: not recorded: {}: {error}\n", folder.to_string_lossy());
            let _ = io::stderr().write_all(line.as_bytes());
            None
        }
    }
}

/// The folder of the rings, made by the first process that comes.
fn prepare(folder: &Path) -> io::Result<PathBuf> {
    let folder = std::path::absolute(folder)?;
    match DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let rings = folder.join(RINGS_FOLDER);
    let manifest = folder.join("manifest.json");
    if !rings.exists() && manifest.exists() {
        return Err(io::Error::other("it holds a recording; name a new folder"));
    }
    match DirBuilder::new().mode(0o700).create(&rings) {
        Ok(()) => {}
        // Another process of the job was first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(rings),
        Err(error) => return Err(error),
    }
    let anchor = ClockKind::best().anchor();
    let id = format!("{:016x}{:08x}", anchor.realtime_ns, std::process::id());
    create(&rings.join(OWNER_FILE), id.as_bytes())?;
    // Whole or not at all: somebody may open the folder at any time.
    let unfinished = rings.join("manifest");
    create(&unfinished, manifest_text(&id, &rings, anchor.realtime_ns, anchor.monotonic_ns).as_bytes())?;
    std::fs::rename(unfinished, manifest)?;
    Ok(rings)
}

fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?
        .write_all(content)
}

/// What the recorder would have written at its start, with 0 as its process id.
fn manifest_text(id: &str, rings: &Path, realtime_ns: u64, monotonic_ns: u64) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let command = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let words: Vec<String> = command
        .split(|&byte| byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| quoted(&String::from_utf8_lossy(word)))
        .collect();
    let clock = match ClockKind::best() {
        ClockKind::Tsc => "tsc",
        ClockKind::Monotonic => "monotonic",
    };
    format!(
        r#"{{
  "gapless_recording": 1,
  "gapless_version": {},
  "id": {},
  "finished": false,
  "command": [{}],
  "working_directory": {},
  "host": {},
  "kernel": {},
  "start_unix_ns": {realtime_ns},
  "clock": "{clock}",
  "recorder": {{
    "pid": 0,
    "start_time": 0,
    "boot_id": {},
    "rings": {},
    "unix_minus_monotonic_ns": {}
  }}
}}
"#,
        quoted(env!("CARGO_PKG_VERSION")),
        quoted(id),
        words.join(", "),
        quoted(&std::env::current_dir().unwrap_or_default().to_string_lossy()),
        quoted(&read("/proc/sys/kernel/hostname")),
        quoted(&read("/proc/sys/kernel/osrelease")),
        quoted(&read("/proc/sys/kernel/random/boot_id")),
        quoted(&rings.to_string_lossy()),
        realtime_ns.wrapping_sub(monotonic_ns) as i64,
    )
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            ' '.. => out.push(letter),
            control => out.push_str(&format!("\\u{:04x}", control as u32)),
        }
    }
    out.push('"');
    out
}

/// Whose slots a spill file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpillHeader {
    /// Serial of the ring.
    pub serial: u64,
    /// Serial of the thread's first ring.
    pub thread_serial: u64,
    /// Thread id of the kernel.
    pub tid: u32,
    /// Name of the thread, zero padded.
    pub name: [u8; 16],
}

impl SpillHeader {
    fn to_bytes(self) -> [u8; SPILL_HEADER_BYTES] {
        let mut bytes = [0; SPILL_HEADER_BYTES];
        let mut at = 0;
        for part in [
            &SPILL_MAGIC[..],
            &self.serial.to_le_bytes(),
            &self.thread_serial.to_le_bytes(),
            &self.tid.to_le_bytes(),
            &self.name,
        ] {
            if let Some(place) = bytes.get_mut(at..at + part.len()) {
                place.copy_from_slice(part);
            }
            at += part.len();
        }
        bytes
    }

    /// The header of a spill file; `None` where it is not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<SpillHeader> {
        let rest = bytes.strip_prefix(&SPILL_MAGIC)?;
        let (serial, rest) = rest.split_first_chunk()?;
        let (thread_serial, rest) = rest.split_first_chunk()?;
        let (tid, rest) = rest.split_first_chunk()?;
        let (name, _) = rest.split_first_chunk()?;
        Some(SpillHeader {
            serial: u64::from_le_bytes(*serial),
            thread_serial: u64::from_le_bytes(*thread_serial),
            tid: u32::from_le_bytes(*tid),
            name: *name,
        })
    }
}

/// Path of a ring's spill file.
fn spill_path(segment: &CStr, serial: u64) -> Option<CString> {
    let mut path = segment.to_bytes().to_vec();
    path.extend(format!(".{serial:08}{SPILL_SUFFIX}").into_bytes());
    CString::new(path).ok()
}

/// Appends slots `from..` of a ring to its file. `first` and `second` are the two pieces in which they lie in the ring.
pub(crate) fn spill(segment: &CStr, header: SpillHeader, from: u64, pieces: [&[u8]; 2]) -> io::Result<()> {
    let path = spill_path(segment, header.serial).ok_or(io::ErrorKind::InvalidInput)?;
    let file = sys::open(&path, libc::O_WRONLY | libc::O_CREAT)?;
    if sys::free_bytes(&file)? < LEAST_FREE_BYTES {
        return Err(io::Error::from_raw_os_error(libc::ENOSPC));
    }
    let begin = SPILL_HEADER_BYTES as u64 + from * size_of::<Record>() as u64;
    // A write that was cut off is written over; its rest lies beyond the tail and does not count.
    if from == 0 {
        write_at(&file, &header.to_bytes(), 0)?;
    }
    let [first, second] = pieces;
    write_at(&file, first, begin)?;
    write_at(&file, second, begin + first.len() as u64)
}

fn write_at(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    sys::check_size_limit(at + bytes.len() as u64)?;
    while !bytes.is_empty() {
        // SAFETY: the descriptor is open, and the bytes are readable for as many as are said.
        let written = unsafe { libc::pwrite(file.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), at as libc::off_t) };
        match usize::try_from(written) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                at += written as u64;
            }
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Names of the spill files of a segment, in the order of their rings.
///
/// # Errors
/// The folder cannot be read.
pub fn spill_files(segment: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (segment.parent(), segment.file_name()) else { return Ok(Vec::new()) };
    let mut prefix = name.to_owned().into_vec();
    prefix.push(b'.');
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map_while(Result::ok)
        .filter(|entry| {
            let name = entry.file_name().into_vec();
            name.starts_with(&prefix) && name.ends_with(SPILL_SUFFIX.as_bytes())
        })
        .map(|entry| entry.path())
        .collect();
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back() {
        let header = SpillHeader { serial: 7, thread_serial: 3, tid: 4711, name: *b"worker 12\0\0\0\0\0\0\0" };
        assert_eq!(SpillHeader::from_bytes(&header.to_bytes()), Some(header));
        assert_eq!(SpillHeader::from_bytes(b"gaplessS"), None);
        assert_eq!(SpillHeader::from_bytes(&[0; SPILL_HEADER_BYTES]), None);
    }

    #[test]
    fn text_is_quoted_for_json() {
        assert_eq!(quoted("a \"b\" \\ \n ü"), r#""a \"b\" \\ \u000a ü""#);
    }
}
