//! Detail windows from inside a running PyTorch job, which is not changed for it.
//!
//! PyTorch's profiler library, Kineto, asks a daemon about once a second whether a window is wanted, when
//! `KINETO_USE_DAEMON` is set at its start. [`KinetoDaemon`] is that daemon for one recording: it answers on a socket of
//! its own, so several recordings and a real dynolog on one machine never meet.
//!
//! What was measured with PyTorch 2.15, and what is done about it:
//!
//! - A configuration that arrives while `import torch` still runs gives an *empty* trace, or is refused because no steps
//!   are counted yet. So nothing is sent to a process before [`KinetoDaemon::job_is_stepping`] names it, each file is
//!   looked into, and a window that came back empty or not at all is asked for once more.
//! - Kineto **aborts the job** when an answer comes from a socket whose path does not begin, byte by byte, with
//!   `KINETO_IPC_SOCKET_DIR`; and it copies `<that folder>/dynoconfigclient<36 characters>` into the 108 bytes of a
//!   socket address without looking at its length. So the path is bound exactly as it is told to the job, and is short.
//! - When the daemon dies and its socket file stays, each poll retries for ten seconds, and a job that ends meanwhile
//!   waits for it (7.2 s measured). So the job is given the path `/proc/<recorder>/fd/<folder>` where the kernel allows
//!   it: it vanishes with the recorder, however that dies.
//! - A missing daemon, and the registration itself, print lines to the job's stderr. So [`KinetoDaemon::environment`]
//!   turns Kineto's own log off; a value that the user has set should win.
//! - A path in a configuration ends at `#` and breaks at `=`, and must lie under `KINETO_ONDEMAND_TRACE_DIR`. So Kineto
//!   is given a plain path in our folder, where a link leads to the folder that the caller wants.

mod check;
mod config;
mod desk;
mod protocol;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::config::LATE_START_MULTIPLE;
use self::desk::Desk;
use crate::error::{Error, Result};
use crate::{folder, sys};

/// A process that asks for configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its number as it sees it itself; the file names of its windows have it.
    pub pid: u32,
    /// Its number as this process sees it: another one when the job runs in a container.
    pub host_pid: u32,
    /// Its parent, the parent of that, and so on, as it sees them.
    pub ancestors: Vec<u32>,
    /// Slurm's job number, else 0.
    pub job_id: i64,
    /// A window runs or is being written.
    pub busy: bool,
    /// When it last asked.
    pub last_seen: Instant,
}

/// Whose window it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Every process that steps. A window by steps stays open for processes that begin to step later; one by time only
    /// until a few seconds after the first process has got it.
    All,
    /// One process.
    Pid(u32),
}

/// Which part of a run is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// `count` optimizer steps from step `first` of the run, counted from 0. A process learns of it within about a
    /// second. When `first` passes before that, the window begins later: where [`KinetoDaemon::job_steps`] has said how
    /// the job steps, with the same step on every rank, about three seconds on; else each process begins by itself at
    /// the next multiple of [`LATE_START_MULTIPLE`].
    Iterations {
        /// The first step.
        first: u64,
        /// How many.
        count: u64,
    },
    /// So long, from when the process learns of it: within about a second.
    Duration(Duration),
}

/// One window, and what is kept in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// When.
    pub window: Window,
    /// The file, ending in `.json`; each process puts `_<pid>` before that ending. Its folder must be there.
    pub output: PathBuf,
    /// Shapes and types of operator inputs.
    pub shapes: bool,
    /// Python stacks and modules.
    pub stacks: bool,
    /// Floating point operations of operators.
    pub flops: bool,
    /// Allocations. PyTorch 2.15 takes the wish but writes none into windows of this kind: its allocators report to the
    /// profiler of their own thread only.
    pub memory: bool,
}

/// How a window of one process stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It was asked for.
    Waiting,
    /// The file is there, whole, and holds events.
    Written {
        /// Its size in bytes.
        events_bytes: u64,
    },
    /// There will be no file, and why.
    Failed(String),
}

/// The window of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// What [`KinetoDaemon::request`] returned.
    pub request: u32,
    /// The process, as it sees itself.
    pub pid: u32,
    /// Where the trace is, once it is written.
    pub path: PathBuf,
    /// How often it was asked for: at most twice.
    pub attempts: u32,
    /// Why the first attempt failed, when there was a second.
    pub first_failure: Option<String>,
    /// How it stands.
    pub state: State,
}

/// Datagrams that were not answered, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Shorter than what they must hold.
    pub short: u64,
    /// Longer than any real one, or not of the sizes that they state.
    pub wrong_size: u64,
    /// Of an unknown kind.
    pub unknown: u64,
    /// From another user.
    pub foreign: u64,
    /// Without an address in our folder to answer to.
    pub unaddressed: u64,
    /// From more processes than are kept apart.
    pub overflow: u64,
}

impl Ignored {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.short + self.wrong_size + self.unknown + self.foreign + self.unaddressed + self.overflow
    }
}

/// The daemon of one recording. It ends, with its files, when it is dropped.
#[derive(Debug)]
pub struct KinetoDaemon {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Our folder: configuration, links to the output folders, and the socket.
    home: PathBuf,
    home_was_made: bool,
    /// The same folder as the job is told of it.
    told: PathBuf,
    /// Keeps `/proc/<pid>/fd/<n>` alive.
    _handle: File,
}

#[derive(Debug)]
struct Shared {
    desk: Mutex<Desk>,
    stop: AtomicBool,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        // The desk holds only plain values, each changed in one step: after a panic elsewhere it is still whole.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often files are looked at, and how soon threads notice the end.
const TICK: Duration = Duration::from_millis(100);
/// `dynoconfigclient`, a UUID, a slash and the NUL must fit behind the folder in 108 bytes.
const LONGEST_FOLDER: usize = 108 - 1 - 1 - 16 - 36;

impl KinetoDaemon {
    /// Starts to answer. `folder` becomes a private folder (0700) if it is not there, and is refused if others may enter
    /// it; it should hold nothing else. Where its path is one that Kineto cannot read, a short folder beside the control
    /// sockets is used instead.
    ///
    /// # Errors
    /// When no folder can be used, or a socket is there already.
    pub fn start(folder: &Path) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut home = folder.to_path_buf();
        if !is_plain(&home) {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let runtime = folder::runtime()?;
            clear_dead(&runtime);
            home = runtime.join(format!("kineto-{}-{count}", std::process::id()));
        }
        let home_was_made = !home.exists();
        folder::private(&home)?;
        let handle = File::open(&home).map_err(Error::system("open the folder", &home))?;
        let told = told_path(&home, &handle)?;
        let path = told.join("dynolog");
        if let Err(e) = UnixDatagram::unbound().and_then(|probe| probe.connect(&path))
            && e.kind() == std::io::ErrorKind::ConnectionRefused
        {
            fs::remove_file(&path).map_err(Error::system("remove the old socket", &path))?;
        }
        let socket = UnixDatagram::bind(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::AddrInUse => Error::InUse(home.join("dynolog")),
            _ => Error::system("bind the socket", &path)(e),
        })?;
        let prepare = Error::system("prepare the socket", &path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .and_then(|()| sys::want_credentials(&socket))
            .and_then(|()| socket.set_read_timeout(Some(TICK)))
            // A client that reads no answers must not keep the others waiting.
            .and_then(|()| socket.set_write_timeout(Some(Duration::from_millis(5))))
            .map_err(prepare)?;
        write_config(&home)?;
        let shared = Arc::new(Shared { desk: Mutex::new(Desk::default()), stop: AtomicBool::new(false) });
        let mut daemon = Self {
            shared: shared.clone(),
            threads: Vec::new(),
            home,
            home_was_made,
            told: told.clone(),
            _handle: handle,
        };
        // Two threads: Kineto waits only 50 ms for an answer, and looking into files may take longer.
        for (name, body) in [
            ("gapless-kineto", Box::new(move || serve(&shared, &socket, &told)) as Box<dyn FnOnce() + Send>),
            ("gapless-windows", {
                let shared = daemon.shared.clone();
                Box::new(move || watch(&shared))
            }),
        ] {
            let thread = std::thread::Builder::new().name(name.into()).spawn(body);
            daemon.threads.push(thread.map_err(Error::system("start a thread for", folder))?);
        }
        Ok(daemon)
    }

    /// What the job's environment must hold, before its first `import torch`. `KINETO_LOG_LEVEL` and `KINETO_CONFIG`
    /// should be left alone where the user has set them; a `KINETO_CONFIG` of the user then decides how often Kineto
    /// asks (five seconds when it says nothing).
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("KINETO_USE_DAEMON", "1".into()),
            ("KINETO_IPC_SOCKET_DIR", self.told.clone().into()),
            ("KINETO_CONFIG", self.home.join(CONFIG).into()),
            ("KINETO_ONDEMAND_TRACE_DIR", self.home.clone().into()),
            // One above its highest severity.
            ("KINETO_LOG_LEVEL", "5".into()),
        ]
    }

    /// Processes that have asked, by number; those that ended stay.
    pub fn clients(&self) -> Vec<Client> {
        self.shared.desk().clients()
    }

    /// The process `pid` (as it sees itself) is past its imports and runs steps: it may be sent windows from now on.
    pub fn job_is_stepping(&self, pid: u32) {
        self.shared.desk().note_steps(pid, None, Instant::now());
    }

    /// The process `pid` has finished `done` optimizer steps, now; also says what [`KinetoDaemon::job_is_stepping`] does.
    /// Said about once a second or more often, it lets a late window begin with the same step on every rank, and a
    /// window that Kineto refused be noticed once its steps have passed.
    pub fn job_steps(&self, pid: u32, done: u64) {
        self.shared.desk().note_steps(pid, Some(done), Instant::now());
    }

    /// Asks for a window; returns the number under which [`KinetoDaemon::outputs`] lists it. A process takes one window
    /// after the other.
    ///
    /// # Errors
    /// [`Error::BadWindow`] when Kineto could not record it, and when the output's folder cannot be used.
    pub fn request(&self, target: Target, detail: Detail) -> Result<u32> {
        config::check(detail.window)?;
        let bad = |text: &str| Error::BadWindow(format!("{text}: {}", detail.output.display()));
        if detail.output.extension() != Some("json".as_ref()) {
            return Err(bad("the output's name must end in .json"));
        }
        let parent = detail.output.parent().ok_or_else(|| bad("the output has no folder"))?;
        let parent = fs::canonicalize(parent).map_err(Error::system("find the folder of the window", parent))?;
        if !parent.is_dir() {
            return Err(bad("the output's folder is not a folder"));
        }
        let mut desk = self.shared.desk();
        let number = desk.next_number();
        let link = self.home.join(format!("o{number}"));
        symlink(&parent, &link).map_err(Error::system("link to the folder of the window", &link))?;
        Ok(desk.ask(
            target,
            Detail { output: parent.join(detail.output.file_name().unwrap_or_default()), ..detail },
            link,
        ))
    }

    /// Does not offer the window to further processes; those that have it keep it.
    pub fn close(&self, request: u32) {
        self.shared.desk().close(request);
    }

    /// The windows of every process that was asked for one.
    pub fn outputs(&self) -> Vec<Output> {
        self.shared.desk().outputs()
    }

    /// Datagrams that were not answered.
    pub fn ignored(&self) -> Ignored {
        self.shared.desk().ignored
    }

    /// Waits until no process has a window under way, at most as long as `patience`; false when some still have.
    pub fn wait(&self, patience: Duration) -> bool {
        let begin = Instant::now();
        loop {
            if self.outputs().iter().all(|output| output.state != State::Waiting) {
                return true;
            }
            if begin.elapsed() >= patience {
                return false;
            }
            std::thread::sleep(TICK.min(patience));
        }
    }
}

impl Drop for KinetoDaemon {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to say.
            let _ = thread.join();
        }
        clear(&self.home);
        if self.home_was_made {
            let _ = fs::remove_dir(&self.home);
        }
    }
}

/// Removes what a daemon and its clients left in its folder: only names that we or Kineto gave.
fn clear(home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if name == "dynolog" || name == CONFIG || name.starts_with("dynoconfigclient") || is_link {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes the folders beside the control sockets whose daemons were killed.
fn clear_dead(runtime: &Path) {
    for entry in fs::read_dir(runtime).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("kineto-")?.split('-').next()?.parse::<u32>().ok());
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            clear(&entry.path());
            let _ = fs::remove_dir(entry.path());
        }
    }
}

const CONFIG: &str = "kineto.conf";

fn write_config(home: &Path) -> Result<()> {
    let path = home.join(CONFIG);
    let _ = fs::remove_file(&path);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(b"ON_DEMAND_CONFIG_UPDATE_INTERVAL_SECS=1\n"))
        .map_err(Error::system("write", &path))
}

/// Whether Kineto reads the path in a configuration as it is.
fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && path.to_str().is_some_and(|text| {
            !text.chars().any(|c| c == '#' || c == '=' || c.is_control())
                && text.trim() == text
                && !text.contains("..")
                // Kineto puts the process's number before the first of these.
                && !text.contains(".json")
        })
}

/// The path under which the job finds our folder: one that vanishes with this process where the kernel shows our open
/// files to others of our user (it does not for programs with file capabilities), else the folder's own.
fn told_path(home: &Path, handle: &File) -> Result<PathBuf> {
    let ours = PathBuf::from(format!("/proc/{}/fd", std::process::id()));
    let magic = ours.join(handle.as_raw_fd().to_string());
    let is_shown = fs::metadata(&ours).is_ok_and(|m| m.uid() == sys::effective_user())
        && match (fs::metadata(&magic), fs::metadata(home)) {
            (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => false,
        };
    let told = if is_shown { magic } else { home.to_path_buf() };
    if told.as_os_str().as_bytes().len() > LONGEST_FOLDER {
        return Err(Error::PathTooLong { limit: LONGEST_FOLDER, path: told });
    }
    Ok(told)
}

/// Answers datagrams until the end.
fn serve(shared: &Shared, socket: &UnixDatagram, told: &Path) {
    let mut buffer = vec![0; 64 * 1024];
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok(datagram) = sys::receive(socket, &mut buffer) else { continue };
        let Some(peer) = datagram.peer.filter(|peer| peer.user == sys::effective_user()) else {
            shared.desk().ignored.foreign += 1;
            continue;
        };
        if datagram.is_cut {
            shared.desk().ignored.wrong_size += 1;
            continue;
        }
        let message = match protocol::read(buffer.get(..datagram.length).unwrap_or_default()) {
            Ok(message) => message,
            Err(damage) => {
                let ignored = &mut shared.desk().ignored;
                match damage {
                    protocol::Damage::Short => ignored.short += 1,
                    protocol::Damage::Size => ignored.wrong_size += 1,
                    protocol::Damage::Kind => ignored.unknown += 1,
                }
                continue;
            }
        };
        let Some(from) = datagram.from.filter(|from| from.parent() == Some(told)) else {
            shared.desk().ignored.unaddressed += 1;
            continue;
        };
        match message {
            protocol::Message::Register => {
                // One user of the GPU: the process itself.
                let _ = socket.send_to(&protocol::write("ctxt", &1i32.to_le_bytes()), &from);
            }
            protocol::Message::Poll { is_ready, job_id, pids } => {
                let poll = desk::Poll { host_pid: peer.pid, address: from.clone(), is_ready, job_id, pids };
                let offer = shared.desk().poll(poll, Instant::now());
                let text = offer.as_ref().map(|offer| offer.text.as_str()).unwrap_or_default();
                let is_sent = socket.send_to(&protocol::write("req", text.as_bytes()), &from).is_ok();
                if let Some(offer) = offer.filter(|_| is_sent) {
                    shared.desk().sent(offer, Instant::now());
                }
            }
        }
    }
}

/// Looks for the files of windows until the end.
fn watch(shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        let looks = shared.desk().looks();
        for look in looks {
            // The lock is not held while files are read.
            let seen = look.see();
            shared.desk().saw(&look, seen, Instant::now());
        }
        std::thread::sleep(TICK);
    }
}
