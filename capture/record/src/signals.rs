//! Signals of the recorder: forwarded to the job, so that it behaves as without a recorder in between.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Signals that are read instead of taken.
const READ: [libc::c_int; 7] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD];

/// Whether SIGPIPE was ignored when this program was started. Rust's runtime sets it to ignored before `main`, and a
/// `Command` to its default, so that neither can tell any more.
static PIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

#[allow(unsafe_code)]
extern "C" fn look_at_pipe() {
    // SAFETY: only asks; the structure is plain data to be written to.
    let action = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &mut action);
        action
    };
    PIPE_WAS_IGNORED.store(action.sa_sigaction == libc::SIG_IGN, Ordering::Relaxed);
}

// SAFETY: the loader runs what stands in this section before `main`; the function needs nothing that is made later.
#[allow(unsafe_code)]
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = look_at_pipe;

/// What is to be done with SIGXFSZ before the recorder changes it, as it was found.
static FILE_SIZE: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its number.
    pub number: libc::c_int,
    /// Whether the kernel sent it, as a terminal does to the whole group: then the job has got it too.
    pub is_from_terminal: bool,
}

/// Reads signals through a descriptor.
#[derive(Debug)]
pub struct Signals {
    descriptor: OwnedFd,
}

#[allow(unsafe_code)]
fn set() -> libc::sigset_t {
    // SAFETY: plain writes into a local set.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in READ {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

impl Signals {
    /// Blocks the signals for this thread and all it starts, and reads them from now on.
    ///
    /// # Errors
    /// What the system says.
    #[allow(unsafe_code)]
    pub fn take() -> io::Result<Signals> {
        let set = set();
        // SAFETY: the set is valid; the descriptor that comes back is ours.
        unsafe {
            let error = libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            let descriptor = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            // A trace that reaches the limit of file sizes is an error of a write, not the end of the recorder.
            let before = libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            if before == libc::SIG_IGN {
                FILE_SIZE.store(before, Ordering::Relaxed);
            }
            Ok(Signals { descriptor: OwnedFd::from_raw_fd(descriptor) })
        }
    }

    /// The next signal that waits.
    #[allow(unsafe_code)]
    pub fn next(&self) -> Option<Signal> {
        // SAFETY: the kernel writes at most one whole structure of plain numbers.
        unsafe {
            let mut info: libc::signalfd_siginfo = std::mem::zeroed();
            let size = size_of::<libc::signalfd_siginfo>();
            let got = libc::read(self.descriptor.as_raw_fd(), (&raw mut info).cast(), size);
            if got != size as isize {
                return None;
            }
            Some(Signal { number: info.ssi_signo as libc::c_int, is_from_terminal: info.ssi_code == libc::SI_KERNEL })
        }
    }

    /// Waits until a signal comes, at most `milliseconds`.
    #[allow(unsafe_code)]
    pub fn wait(&self, milliseconds: i32) {
        let mut poll = libc::pollfd { fd: self.descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, which lives through the call.
        unsafe { libc::poll(&mut poll, 1, milliseconds) };
    }
}

/// Gives the signals back in a child as they were found, before it becomes the job. Only calls that are allowed between fork and exec.
#[allow(unsafe_code)]
pub fn unblock_in_child() -> io::Result<()> {
    let set = set();
    // SAFETY: the set is valid; the disposition is one that the kernel gave.
    let error = unsafe {
        libc::signal(libc::SIGXFSZ, FILE_SIZE.load(Ordering::Relaxed));
        if PIPE_WAS_IGNORED.load(Ordering::Relaxed) {
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut())
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}
