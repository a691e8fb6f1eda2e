//! The control socket: a Unix stream socket that only its owner reaches, one JSON object per line.
//!
//! The recorder owns a [`Server`] and calls [`Server::poll`] from its loop. That call never waits: neither a client
//! that sends nothing, nor one that does not read its answers, nor one that sends without end can hold up a recording.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::message::{Request, Response};
use crate::{folder, sys};

/// Connections that are served at once.
pub const MOST_CLIENTS: usize = 16;
/// Longest line that is read, in bytes.
pub const LONGEST_LINE: usize = 64 * 1024;
/// Answers that wait for a client which does not read, in bytes; beyond that it is let go.
const MOST_UNREAD: usize = 1024 * 1024;
/// Requests that are answered per client and poll, so that one client cannot keep the recorder from its work.
const REQUESTS_PER_POLL: usize = 8;
/// A connection that was silent for so long gives way to a new one when all places are taken.
const IDLE: Duration = Duration::from_secs(10);
/// `sockaddr_un` holds 108 bytes with the ending NUL.
const LONGEST_PATH: usize = 107;

/// The recorder's end.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket that was bound, so that only it is removed at the end.
    identity: (u64, u64),
    /// Further files that live as long as the socket.
    pub(crate) beside: Vec<PathBuf>,
    clients: Vec<Connection>,
    refused: u64,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    last_heard: Instant,
    /// No more requests are read; it ends once the answers are out.
    is_closing: bool,
}

impl Server {
    /// Opens the socket at `path`, in a folder that is made with mode 0700 and refused if others may enter it. A socket
    /// that a dead recorder left there is replaced; anything else there is left alone.
    ///
    /// # Errors
    /// [`Error::NotPrivate`], [`Error::InUse`], [`Error::PathTooLong`], or what the system said.
    pub fn bind(path: &Path) -> Result<Self> {
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(Error::PathTooLong { limit: LONGEST_PATH, path: path.to_path_buf() });
        }
        folder::private(path.parent().unwrap_or(Path::new("/")))?;
        make_way(path)?;
        let listener = UnixListener::bind(path).map_err(Error::system("bind the socket", path))?;
        // The folder already keeps others out; the mode says so to who looks.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(Error::system("set the mode of", path))?;
        listener.set_nonblocking(true).map_err(Error::system("prepare the socket", path))?;
        let found = fs::symlink_metadata(path).map_err(Error::system("look at the socket", path))?;
        let identity = (found.dev(), found.ino());
        Ok(Self { listener, path: path.to_path_buf(), identity, beside: Vec::new(), clients: Vec::new(), refused: 0 })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Connections that are open.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Connections that were turned away: other users, or no place.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes new connections, reads what came, lets `answer` answer each complete request and writes what can be
    /// written. Never waits. Returns how many requests were answered.
    pub fn poll(&mut self, answer: &mut dyn FnMut(Request) -> Response) -> usize {
        self.accept();
        let mut answered = 0;
        self.clients.retain_mut(|client| {
            let (count, stays) = client.poll(answer);
            answered += count;
            stays
        });
        answered
    }

    fn accept(&mut self) {
        // As many as there are places: the queue of the kernel holds the rest.
        for _ in 0..MOST_CLIENTS {
            let Ok((stream, _)) = self.listener.accept() else { return };
            let is_owner = sys::peer_of(&stream).is_ok_and(|peer| peer.user == sys::effective_user());
            if !is_owner || stream.set_nonblocking(true).is_err() {
                self.refused += 1;
                continue;
            }
            if self.clients.len() >= MOST_CLIENTS {
                let oldest =
                    (0..).zip(&self.clients).min_by_key(|(_, c)| c.last_heard).map(|(at, c)| (at, c.last_heard));
                match oldest {
                    Some((at, heard)) if heard.elapsed() >= IDLE => drop(self.clients.swap_remove(at)),
                    _ => {
                        self.refused += 1;
                        let text = format!("the recorder serves {MOST_CLIENTS} connections already; close one");
                        // One line fits into a fresh socket's buffer; if it does not, the client sees the end.
                        let _ = (&stream).write(&line_of(&Response::Error { text }));
                        continue;
                    }
                }
            }
            self.clients.push(Connection {
                stream,
                incoming: Vec::new(),
                outgoing: Vec::new(),
                last_heard: Instant::now(),
                is_closing: false,
            });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only what is still ours: a successor may have bound the same path.
        if fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity) {
            for path in self.beside.iter().chain([&self.path]) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Connection {
    /// Returns how many requests were answered, and whether the connection stays.
    fn poll(&mut self, answer: &mut dyn FnMut(Request) -> Response) -> (usize, bool) {
        let mut answered = 0;
        let mut is_over = false;
        if !self.is_closing {
            is_over = self.read();
            while answered < REQUESTS_PER_POLL && !self.is_closing {
                let Some(end) = self.incoming.iter().position(|&b| b == b'\n') else { break };
                let line: Vec<u8> = self.incoming.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let response = match serde_json::from_slice(line.trim_ascii()) {
                    Ok(request) => answer(request),
                    Err(e) => Response::Error { text: format!("this is not a request ({e})") },
                };
                answered += 1;
                self.outgoing.extend(line_of(&response));
            }
            if self.incoming.len() > LONGEST_LINE && !self.incoming.contains(&b'\n') {
                let text = format!("a request has at most {LONGEST_LINE} bytes");
                self.outgoing.extend(line_of(&Response::Error { text }));
                self.is_closing = true;
            }
        }
        let stays = self.write() && self.outgoing.len() <= MOST_UNREAD;
        let has_more = !self.incoming.is_empty() && self.incoming.contains(&b'\n');
        let is_done = self.outgoing.is_empty() && (self.is_closing || (is_over && !has_more));
        if is_over && !has_more {
            self.is_closing = true;
        }
        (answered, stays && !is_done)
    }

    /// Reads what is there, up to the longest line; true at the end of the stream.
    fn read(&mut self) -> bool {
        let mut piece = [0; 4096];
        while self.incoming.len() <= LONGEST_LINE {
            match self.stream.read(&mut piece) {
                Ok(0) => return true,
                Ok(count) => {
                    self.incoming.extend(piece.get(..count).unwrap_or_default());
                    self.last_heard = Instant::now();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.is_closing = true;
                    return true;
                }
            }
        }
        false
    }

    /// Writes what the other side takes; false when the connection is broken.
    fn write(&mut self) -> bool {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(0) => return false,
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

fn line_of(response: &Response) -> Vec<u8> {
    // A response holds only strings and numbers; a number that JSON cannot say (NaN) becomes null.
    let mut line = serde_json::to_vec(response).unwrap_or_else(|_| b"{\"response\":\"error\",\"text\":\"\"}".to_vec());
    line.push(b'\n');
    line
}

/// Removes the socket of a dead recorder at `path`; anything that is not one of ours, or lives, is an error.
fn make_way(path: &Path) -> Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::system("look at", path))?,
    };
    if !found.file_type().is_socket() || found.uid() != sys::effective_user() {
        return Err(Error::NotPrivate {
            reason: "there is something that is not a socket of this user",
            path: path.into(),
        });
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(Error::system("remove the old socket", path))
        }
        _ => Err(Error::InUse(path.into())),
    }
}

/// The end of `gapless ctl`.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    server: sys::Peer,
}

impl Client {
    /// Connects to the recorder at `path`, which must be a socket of this user (a link is refused), served by a process
    /// of this user. An answer is awaited for 10 seconds; see [`Client::set_patience`].
    ///
    /// # Errors
    /// [`Error::NobodyThere`], [`Error::NotPrivate`], or what the system said.
    pub fn connect(path: &Path) -> Result<Self> {
        let found = match fs::symlink_metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Error::NobodyThere(path.into())),
            other => other.map_err(Error::system("look at", path))?,
        };
        if !found.file_type().is_socket() {
            return Err(Error::NotPrivate { reason: "it is not a socket", path: path.into() });
        }
        if found.uid() != sys::effective_user() {
            return Err(Error::NotPrivate { reason: "it belongs to another user", path: path.into() });
        }
        let stream = match UnixStream::connect(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => return Err(Error::NobodyThere(path.into())),
            other => other.map_err(Error::system("connect to", path))?,
        };
        let server = sys::peer_of(&stream).map_err(Error::system("ask who serves", path))?;
        if server.user != sys::effective_user() {
            return Err(Error::NotPrivate { reason: "a process of another user answers", path: path.into() });
        }
        let client = Self { stream: BufReader::new(stream), server };
        client.set_patience(Duration::from_secs(10)).map_err(Error::system("prepare", path))?;
        Ok(client)
    }

    /// How long [`Client::ask`] waits; a dump of a large recording takes its time.
    ///
    /// # Errors
    /// When `patience` is zero.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(patience))?;
        self.stream.get_ref().set_write_timeout(Some(patience))
    }

    /// The recorder's process, as the kernel says.
    pub fn server_pid(&self) -> u32 {
        self.server.pid
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// [`Error::Broken`] when the recorder ends, says something else, or does not answer in time.
    pub fn ask(&mut self, request: &Request) -> Result<Response> {
        let broken = |e: io::Error| {
            Error::Broken(match e.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "does not answer in time".into(),
                _ => format!("ended the connection ({e})"),
            })
        };
        let mut line = serde_json::to_vec(request).map_err(|e| Error::Broken(format!("cannot be asked this ({e})")))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(broken)?;
        let mut reply = Vec::new();
        // An answer is small; the bound keeps a broken server from filling the memory.
        (&mut self.stream).take(16 * 1024 * 1024).read_until(b'\n', &mut reply).map_err(broken)?;
        if reply.is_empty() {
            return Err(Error::Broken("ended the connection".into()));
        }
        serde_json::from_slice(&reply).map_err(|e| Error::Broken(format!("said something unknown ({e})")))
    }
}
