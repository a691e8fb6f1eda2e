//! Starting a job and staying out of its way.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::error::RecordError;
use crate::manifest::Manifest;
use crate::rocm::{self, Place};
use crate::session::{Session, SessionOptions};
use crate::signals::{Signals, unblock_in_child};
use crate::trigger::{SlowSteps, StepWindow};

/// File name of the library that runs inside the job.
pub const INJECT: &str = "libgapless_inject.so";

/// What to start and how to record it.
#[derive(Clone, Debug)]
pub struct LaunchOptions {
    /// The job: program and arguments.
    pub command: Vec<OsString>,
    /// Folder, budget and the like.
    pub session: SessionOptions,
    /// The library that runs inside the job.
    pub inject: PathBuf,
    /// What the Python hook turns on (`operators,optimizer,…`); `None` leaves the hook out.
    pub python: Option<String>,
    /// Record NVTX ranges.
    pub nvtx: bool,
    /// Record ITT tasks: PyTorch's operators, oneDNN's primitives.
    pub itt: bool,
    /// Record GPU work: kernels, copies, waits, and the calls of CUDA and HIP.
    pub cuda: bool,
    /// Record NCCL's calls and collectives, and what this names beside (`proxy,channels`; empty for nothing); `None`
    /// leaves NCCL alone.
    pub nccl: Option<String>,
    /// Preload the library, for MPI and gloo calls.
    pub preload: bool,
    /// Most bytes of the rings of a process, in MiB.
    pub ring_mib: Option<u64>,
    /// Start recording so long after the job.
    pub delay: Option<Duration>,
    /// Stop recording so long after it began.
    pub duration: Option<Duration>,
    /// Record only these steps.
    pub steps: Option<StepWindow>,
    /// Dump a flight recorder when a step takes so many times the median.
    pub slow_step_factor: Option<f64>,
    /// Further variables of the job.
    pub environment: Vec<(OsString, OsString)>,
}

/// Something that is looked after while the job runs: the control socket, sampling, detail windows.
pub trait Attachment {
    /// Called many times a second.
    fn poll(&mut self, session: &mut Session, job: u32);
    /// Called once, after the job ended and before the last records are read.
    fn finish(&mut self, session: &mut Session);
}

/// How a recorded job ended.
#[derive(Debug)]
pub struct Outcome {
    /// What the system says of the job's end.
    pub status: ExitStatus,
    /// The last manifest.
    pub manifest: Manifest,
    /// The recording's folder.
    pub folder: PathBuf,
}

/// How long processes that outlive the job's first one may take to end before the recording closes.
const GRACE: Duration = Duration::from_millis(500);

/// Starts the job, records it until it ends.
///
/// # Errors
/// The folders cannot be made or the command cannot be started. Once the job runs there is no error any more, only
/// notices in the manifest.
pub fn record(
    options: &LaunchOptions,
    attach: impl FnOnce(&mut Session, &mut Vec<(OsString, OsString)>) -> Vec<Box<dyn Attachment>>,
) -> Result<Outcome, RecordError> {
    let Some((program, arguments)) = options.command.split_first() else {
        return Err(RecordError::Start {
            command: String::new(),
            reason: io::Error::new(io::ErrorKind::InvalidInput, "no command was given"),
        });
    };
    let mut session_options = options.session.clone();
    session_options.starts_on = starts_on(options);
    session_options.steps = options.steps.map_or(0..u64::MAX, |window| window.first..window.end);
    // Before any thread starts: a thread that does not block them would take the signals.
    let signals = Signals::take()
        .map_err(|reason| RecordError::System { what: "cannot watch the signals of the job", reason })?;
    let mut session = Session::start(session_options)?;
    let hook = options.python.as_ref().and_then(|_| match crate::python::write_hook(session.rings()) {
        Ok(hook) => Some(hook),
        Err(error) => {
            session.notice(&format!("Python is not recorded: the hook cannot be written: {error}"));
            None
        }
    });
    let (mut variables, notices) =
        environment(options, session.rings(), session.folder(), hook.as_deref(), |name| std::env::var_os(name));
    for notice in &notices {
        session.notice(notice);
    }
    let mut attachments = attach(&mut session, &mut variables);
    become_subreaper();
    let mut command = Command::new(program);
    command.args(arguments).envs(variables);
    // SAFETY: between fork and exec only `signal` and `pthread_sigmask` are called, which may be.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(unblock_in_child);
    }
    let started = command.spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(reason) => {
            // Nothing was recorded: nothing stays.
            let folder = session.folder().to_owned();
            session.finish(None);
            let _ = std::fs::remove_dir_all(&folder);
            return Err(RecordError::Start { command: program.to_string_lossy().into_owned(), reason });
        }
    };
    let status = watch(options, &mut session, &mut child, &signals, &mut attachments);
    for attachment in &mut attachments {
        attachment.finish(&mut session);
    }
    // A flight recorder is for the end that nobody expected.
    if options.session.flight_seconds.is_some() && !status.success() {
        dump(&mut session);
    }
    let folder = session.folder().to_owned();
    let exit = status.code().or_else(|| status.signal().map(|signal| -signal));
    let manifest = session.finish(exit);
    Ok(Outcome { status, manifest, folder })
}

/// Records a job that runs already, as far as that is possible from outside: what the attachments see. Ends when the
/// process ends, after `duration`, or by a signal; the job goes on.
///
/// # Errors
/// There is no such process, or the folders cannot be made.
pub fn attach(
    pid: u32,
    options: SessionOptions,
    duration: Option<Duration>,
    attach: impl FnOnce(&mut Session) -> Vec<Box<dyn Attachment>>,
) -> Result<(Manifest, PathBuf), RecordError> {
    let Some((_, start_time)) = crate::procfs::state(pid) else {
        return Err(RecordError::NoProcess { pid });
    };
    let signals = Signals::take().map_err(|reason| RecordError::System { what: "cannot watch signals", reason })?;
    let mut session = Session::start(options)?;
    let mut attachments = attach(&mut session);
    let started = Instant::now();
    loop {
        let is_asked = std::iter::from_fn(|| signals.next())
            .any(|signal| matches!(signal.number, libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT));
        let is_over = duration.is_some_and(|duration| started.elapsed() >= duration);
        if is_asked || is_over || !crate::procfs::is_running(pid, start_time) {
            break;
        }
        let wait = session.poll();
        for attachment in &mut attachments {
            attachment.poll(&mut session, pid);
        }
        signals.wait(wait.as_millis().max(1) as i32);
    }
    for attachment in &mut attachments {
        attachment.finish(&mut session);
    }
    let folder = session.folder().to_owned();
    let manifest = session.finish(None);
    Ok((manifest, folder))
}

fn watch(
    options: &LaunchOptions,
    session: &mut Session,
    child: &mut Child,
    signals: &Signals,
    attachments: &mut [Box<dyn Attachment>],
) -> ExitStatus {
    let started = Instant::now();
    let mut began = options.delay.is_none().then_some(started);
    let mut has_stopped = false;
    let mut ended: Option<(ExitStatus, Instant)> = None;
    // A defect of the recorder must not take the job along: then it is only waited for.
    let mut is_broken = false;
    let mut slow = options.slow_step_factor.map(SlowSteps::new);
    loop {
        while let Some(signal) = signals.next() {
            match signal.number {
                libc::SIGCHLD => {}
                libc::SIGUSR2 if options.session.flight_seconds.is_some() => dump(session),
                _ if signal.is_from_terminal => {}
                number => send(child.id(), number),
            }
        }
        if ended.is_none() {
            reap_others(child.id());
            if let Ok(Some(status)) = child.try_wait() {
                ended = Some((status, Instant::now()));
            }
        }
        if began.is_none() && options.delay.is_some_and(|delay| started.elapsed() >= delay) {
            session.set_recording(true);
            began = Some(Instant::now());
        }
        if let (false, Some(began), Some(duration)) = (has_stopped, began, options.duration)
            && began.elapsed() >= duration
        {
            session.set_recording(false);
            has_stopped = true;
        }
        let mut wait = Duration::from_millis(10);
        if !is_broken {
            let job = child.id();
            let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                wait = session.poll();
                go_by_steps(options.steps, &mut slow, session);
                for attachment in attachments.iter_mut() {
                    attachment.poll(session, job);
                }
            }));
            if looked.is_err() {
                is_broken = true;
                session.notice("the recorder failed while the job ran; the job went on, the recording ends there");
            }
        }
        if let Some((status, at)) = ended
            && (is_broken || session.running().next().is_none() || at.elapsed() >= GRACE)
        {
            return status;
        }
        signals.wait(wait.as_millis().max(1) as i32);
    }
}

/// Whether processes record from their start.
fn starts_on(options: &LaunchOptions) -> bool {
    options.delay.is_none() && options.steps.is_none_or(|window| window.is_open(None))
}

/// Opens and closes the window of steps, and dumps after a slow step.
fn go_by_steps(window: Option<StepWindow>, slow: &mut Option<SlowSteps>, session: &mut Session) {
    if let Some(window) = window {
        let done = session.steps_done().into_iter().map(|(_, steps)| steps).max();
        let is_open = window.is_open(done);
        if is_open != session.is_recording() {
            session.set_recording(is_open);
        }
    }
    let Some(slow) = slow else { return };
    for duration_ns in session.take_step_durations() {
        if let Some(times) = slow.add(duration_ns, Instant::now()) {
            session.mark(&format!("slow step: {times:.1} times the median"));
            dump(session);
        }
    }
}

fn dump(session: &mut Session) {
    if let Err(error) = session.dump(None) {
        session.notice(&format!("a dump could not be written: {error}"));
    }
}

/// The variables that make a job record itself, and what had to be left out because the job uses it already.
fn environment(
    options: &LaunchOptions,
    rings: &Path,
    folder: &Path,
    hook: Option<&Path>,
    current: impl Fn(&str) -> Option<OsString>,
) -> (Vec<(OsString, OsString)>, Vec<String>) {
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    let mut notices = Vec::new();
    let mut set = |name: &str, value: &OsStr| variables.push((name.into(), value.to_owned()));
    set("GAPLESS_RINGS", rings.as_os_str());
    set("GAPLESS_RECORDING", folder.as_os_str());
    set("GAPLESS_INJECT", options.inject.as_os_str());
    if let Some(mib) = options.ring_mib {
        set("GAPLESS_RING_MIB", OsStr::new(&mib.to_string()));
    }
    if let Some(window) = options.steps {
        set("GAPLESS_STEPS", OsStr::new(&format!("{}:{}", window.first, window.end)));
    }
    if !starts_on(options) {
        set("GAPLESS_START", OsStr::new("off"));
    }
    for (is_wanted, name, what) in [
        (options.nvtx, "NVTX_INJECTION64_PATH", "NVTX ranges"),
        (options.itt, "INTEL_LIBITTNOTIFY64", "operators (ITT)"),
        (options.cuda, "CUDA_INJECTION64_PATH", "GPU work"),
        (options.nccl.is_some(), "NCCL_PROFILER_PLUGIN", "NCCL's collectives"),
    ] {
        if !is_wanted {
            continue;
        }
        match current(name).filter(|value| !value.is_empty()) {
            // A tool that the user chose stays.
            Some(other) if other != options.inject.as_os_str() => notices.push(format!(
                "{what} are not recorded: {name} is set to {}; unset it to record them",
                other.to_string_lossy()
            )),
            _ => set(name, options.inject.as_os_str()),
        }
    }
    if options.cuda {
        // Where this variable is set and rocprofiler-sdk cannot be loaded, HIP ends the process: it is set only where any HIP
        // finds it.
        match rocm::find(&current) {
            Some(Place::ByName(_)) => set(rocm::TOOLS, &rocm::with_tool(&options.inject, current(rocm::TOOLS))),
            Some(Place::InRocm(path)) => notices.push(format!(
                "AMD GPU work may not be recorded: the loader does not find {} by its name; add its folder to \
                 LD_LIBRARY_PATH",
                path.display()
            )),
            None => {}
        }
    } else {
        // rocprofiler-sdk looks through all images of a process, so leaving the variable alone is not enough.
        set("GAPLESS_HIP", OsStr::new("off"));
    }
    if let Some(events) = options.nccl.as_deref().filter(|events| !events.is_empty()) {
        set("GAPLESS_NCCL", OsStr::new(events));
    }
    if options.preload {
        set("LD_PRELOAD", &in_front(&options.inject, current("LD_PRELOAD")));
    }
    if let (Some(hook), Some(sources)) = (hook, &options.python) {
        set("PYTHONPATH", &in_front(hook, current("PYTHONPATH")));
        // Pythons that ignore PYTHONPATH find the hook through a .pth file, where the user has installed that.
        set("GAPLESS_HOOK", hook.as_os_str());
        if !sources.is_empty() {
            set("GAPLESS_PYTHON", OsStr::new(sources));
        }
    }
    variables.extend(options.environment.iter().cloned());
    (variables, notices)
}

fn in_front(first: &Path, rest: Option<OsString>) -> OsString {
    let mut value = first.as_os_str().to_owned();
    if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
        value.push(":");
        value.push(rest);
    }
    value
}

/// The library beside the program that runs, where the user names none.
///
/// # Errors
/// It is not there.
pub fn find_inject() -> Result<PathBuf, RecordError> {
    let mut tried: Vec<PathBuf> = std::env::var_os("GAPLESS_INJECT").map(PathBuf::from).into_iter().collect();
    if let Some(folder) =
        std::env::current_exe().ok().and_then(|exe| exe.canonicalize().ok()).as_deref().and_then(Path::parent)
    {
        // Beside the program in an archive or build folder; below a prefix where it was installed; and one up from
        // where test programs are built.
        tried.push(folder.join(INJECT));
        tried.push(folder.join("../lib/gapless").join(INJECT));
        tried.push(folder.join("..").join(INJECT));
    }
    match tried.iter().find(|path| path.is_file()) {
        Some(path) => {
            path.canonicalize().map_err(|reason| RecordError::System { what: "cannot find the library", reason })
        }
        None => Err(RecordError::Inject {
            name: INJECT,
            tried: tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// Descendants whose parent dies become ours, so that their end can be told from ours.
#[allow(unsafe_code)]
fn become_subreaper() {
    // SAFETY: a plain setting; where the kernel refuses, orphans go to init as ever.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Takes leave of orphans that ended; the job itself is left to `try_wait`.
#[allow(unsafe_code)]
fn reap_others(job: u32) {
    loop {
        // SAFETY: a zeroed `siginfo_t` is a valid one to write into; WNOWAIT leaves the process for the wait below.
        let ended = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            if libc::waitid(libc::P_ALL, 0, &mut info, flags) != 0 { 0 } else { info.si_pid() }
        };
        // The job hides orphans that end after it; by then its own end is what counts.
        if ended == 0 || ended as u32 == job {
            return;
        }
        // SAFETY: a child of ours that has ended.
        unsafe { libc::waitpid(ended, std::ptr::null_mut(), libc::WNOHANG) };
    }
}

#[allow(unsafe_code)]
fn send(process: u32, signal: libc::c_int) {
    // SAFETY: the job is a child that was not waited for, so the number is still its own.
    unsafe { libc::kill(process as libc::pid_t, signal) };
}

/// Becomes the job, without a recorder. Comes back only where it cannot be started.
pub fn run_unrecorded(command: &[OsString]) -> RecordError {
    let Some((program, arguments)) = command.split_first() else {
        let reason = io::Error::new(io::ErrorKind::InvalidInput, "no command was given");
        return RecordError::Start { command: String::new(), reason };
    };
    let mut command = Command::new(program);
    // SAFETY: only `signal` and `pthread_sigmask` are called.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(unblock_in_child);
    }
    let reason = command.args(arguments).exec();
    RecordError::Start { command: program.to_string_lossy().into_owned(), reason }
}

/// Ends this process as the job ended: with its code, or by its signal.
#[allow(unsafe_code)]
pub fn exit_like(status: ExitStatus) -> ! {
    if let Some(signal) = status.signal() {
        // SAFETY: plain settings of this process; a second core file would only confuse.
        unsafe {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &none);
            libc::signal(signal, libc::SIG_DFL);
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, signal);
            libc::sigprocmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
            libc::raise(signal);
        }
        std::process::exit(128 + signal);
    }
    std::process::exit(status.code().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> LaunchOptions {
        LaunchOptions {
            command: vec!["true".into()],
            session: SessionOptions {
                folder: "x".into(),
                command: Vec::new(),
                flight_seconds: None,
                steps: 0..u64::MAX,
                disk_bytes: 1 << 30,
                starts_on: true,
            },
            inject: "/g/lib.so".into(),
            python: Some(String::new()),
            nvtx: true,
            itt: true,
            cuda: true,
            nccl: Some("channels".to_owned()),
            preload: true,
            ring_mib: None,
            delay: None,
            duration: None,
            steps: None,
            slow_step_factor: None,
            environment: Vec::new(),
        }
    }

    #[test]
    fn what_the_user_has_set_stays() {
        let current = |name: &str| match name {
            "LD_PRELOAD" => Some(OsString::from("/a.so")),
            "PYTHONPATH" => Some(OsString::from("src")),
            "NVTX_INJECTION64_PATH" => Some(OsString::from("/other.so")),
            _ => None,
        };
        let (variables, notices) =
            environment(&options(), Path::new("/r"), Path::new("/f"), Some(Path::new("/h/python")), current);
        let get = |name: &str| {
            variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.to_string_lossy().into_owned())
        };
        assert_eq!(get("LD_PRELOAD").as_deref(), Some("/g/lib.so:/a.so"));
        assert_eq!(get("PYTHONPATH").as_deref(), Some("/h/python:src"));
        assert_eq!(get("INTEL_LIBITTNOTIFY64").as_deref(), Some("/g/lib.so"));
        assert_eq!(get("CUDA_INJECTION64_PATH").as_deref(), Some("/g/lib.so"));
        assert_eq!(get("NCCL_PROFILER_PLUGIN").as_deref(), Some("/g/lib.so"));
        assert_eq!(get("GAPLESS_NCCL").as_deref(), Some("channels"));
        assert_eq!(get("NVTX_INJECTION64_PATH"), None);
        assert_eq!(get("GAPLESS_HIP"), None);
        assert!(matches!(notices.as_slice(), [notice] if notice.contains("/other.so")));
    }
    #[test]
    fn another_plugin_of_nccl_stays() {
        let current = |name: &str| (name == "NCCL_PROFILER_PLUGIN").then(|| OsString::from("inspector"));
        let (variables, notices) = environment(&options(), Path::new("/r"), Path::new("/f"), None, current);
        assert!(!variables.iter().any(|(name, _)| name == "NCCL_PROFILER_PLUGIN"));
        assert_eq!(
            notices,
            ["NCCL's collectives are not recorded: NCCL_PROFILER_PLUGIN is set to inspector; unset it to record them"]
        );
        let none = LaunchOptions { nccl: None, ..options() };
        let (variables, notices) = environment(&none, Path::new("/r"), Path::new("/f"), None, |_| None);
        assert!(notices.is_empty() && !variables.iter().any(|(name, _)| name.to_string_lossy().contains("NCCL")));
    }
}
