//! Which recorders of this user run on this machine.
//!
//! Each recorder binds `<runtime folder>/<its pid>.sock` and writes `<its pid>.json` beside it. Whoever looks connects
//! to each socket: the kernel says whether somebody listens and which process it is, so a dead recorder's files are
//! recognised without trusting them, and removed.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::socket::Server;
use crate::{folder, sys};

/// A recorder that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recorder {
    /// Its process.
    pub pid: u32,
    /// Its control socket.
    pub socket: PathBuf,
    /// The folder it writes to; `None` when its description is missing or damaged.
    pub folder: Option<PathBuf>,
    /// What it was told to start, empty when it was attached or its description is missing.
    pub command: Vec<String>,
}

/// The description that lies beside the socket.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    folder: PathBuf,
    command: Vec<String>,
}

/// Opens this process's control socket where [`discover`] finds it.
///
/// # Errors
/// As [`Server::bind`], and when no runtime folder can be used.
pub fn announce(recording: &Path, command: &[OsString]) -> Result<Server> {
    announce_in(&folder::runtime()?, recording, command)
}

/// [`announce`] in a folder of the caller's choice.
///
/// # Errors
/// As [`announce`].
pub fn announce_in(runtime: &Path, recording: &Path, command: &[OsString]) -> Result<Server> {
    let pid = std::process::id();
    let mut server = Server::bind(&runtime.join(format!("{pid}.sock")))?;
    let path = runtime.join(format!("{pid}.json"));
    let command = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let text = serde_json::to_vec(&Description { folder: recording.to_path_buf(), command })
        .map_err(|e| Error::system("describe the recording in", &path)(io::Error::other(e)))?;
    // A file of a dead recorder that had our number may lie there; `create_new` never writes through a link.
    let _ = fs::remove_file(&path);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::system("describe the recording in", &path))?;
    server.beside.push(path.clone());
    file.write_all(&text).map_err(Error::system("describe the recording in", &path))?;
    Ok(server)
}

/// Every recorder of this user that runs here, by process number. What dead ones left is removed.
pub fn discover() -> Vec<Recorder> {
    let mut found: Vec<_> = folder::runtime_candidates().iter().flat_map(|folder| discover_in(folder)).collect();
    found.sort_by_key(|recorder| recorder.pid);
    found
}

/// [`discover`] in one folder. A folder that others may enter is not looked into.
pub fn discover_in(runtime: &Path) -> Vec<Recorder> {
    if folder::check_private(runtime).is_err() {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(runtime) else { return Vec::new() };
    let mut found: Vec<_> = entries.flatten().filter_map(|entry| look_at(&entry.path())).collect();
    found.sort_by_key(|recorder| recorder.pid);
    found
}

fn look_at(socket: &Path) -> Option<Recorder> {
    if socket.extension()? != "sock" {
        return None;
    }
    let pid: u32 = socket.file_stem()?.to_str()?.parse().ok()?;
    let meta = fs::symlink_metadata(socket).ok()?;
    if !meta.file_type().is_socket() || meta.uid() != sys::effective_user() {
        return None;
    }
    let description = socket.with_extension("json");
    match UnixStream::connect(socket) {
        Ok(stream) => {
            // The number in the name is only a name: who answers is what counts.
            let peer =
                sys::peer_of(&stream).ok().filter(|peer| peer.user == sys::effective_user() && peer.pid == pid)?;
            let said = read_description(&description);
            let (folder, command) = said.map_or((None, Vec::new()), |said| (Some(said.folder), said.command));
            Some(Recorder { pid: peer.pid, socket: socket.to_path_buf(), folder, command })
        }
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            // A recorder that has bound its socket and not listened yet refuses, too.
            let is_new = meta.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age < Duration::from_secs(2)));
            if is_new && Path::new("/proc").join(pid.to_string()).exists() {
                return None;
            }
            let _ = fs::remove_file(socket);
            let _ = fs::remove_file(&description);
            None
        }
        Err(_) => None,
    }
}

fn read_description(path: &Path) -> Option<Description> {
    let mut text = Vec::new();
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
    file.take(1024 * 1024).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}
