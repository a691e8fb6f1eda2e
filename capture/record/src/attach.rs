//! What is looked after while a job runs: the control socket and detail windows.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gapless_control::kineto::{Detail, KinetoDaemon, State, Target, Window};
use gapless_control::message::{DetailWindow, Request, Response, Status};
use gapless_control::socket::Server;

use crate::launch::Attachment;
use crate::session::Session;

/// Steps that are recorded in full detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetailSteps {
    /// The first step, from 0.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// The control socket and the daemon for detail windows of one recording.
pub struct Control {
    server: Option<Server>,
    daemon: Option<KinetoDaemon>,
    started: Instant,
    /// Asked for on the command line and not yet passed on.
    wanted: Option<DetailSteps>,
    windows: u32,
    /// Windows that processes asked for themselves: process, request.
    asked_by_job: Vec<(u32, u32)>,
    /// Windows whose outcome was told already, by process and path.
    told: Vec<(u32, u32)>,
    has_quit: bool,
}

/// How long the last window may take to be written after the job has ended: Kineto writes at the job's exit at latest.
const PATIENCE: Duration = Duration::from_secs(2);

impl Control {
    /// Opens the socket and starts the daemon; what cannot be had is a notice. Adds the job's variables.
    pub fn start(
        session: &mut Session,
        command: &[OsString],
        wants_windows: bool,
        wanted: Option<DetailSteps>,
        variables: &mut Vec<(OsString, OsString)>,
    ) -> Control {
        let server = match gapless_control::discover::announce(session.folder(), command) {
            Ok(server) => Some(server),
            Err(error) => {
                session.notice(&format!("`gapless ctl` cannot reach this recording: {error}"));
                None
            }
        };
        let daemon = wants_windows.then(|| KinetoDaemon::start(&session.rings().join("kineto")));
        let daemon = match daemon {
            Some(Ok(daemon)) => {
                variables.extend(daemon.environment().into_iter().map(|(name, value)| (name.into(), value)));
                Some(daemon)
            }
            Some(Err(error)) => {
                session.notice(&format!("detail windows are not possible: {error}"));
                None
            }
            None => None,
        };
        Control {
            server,
            daemon,
            started: Instant::now(),
            wanted,
            windows: 0,
            asked_by_job: Vec::new(),
            told: Vec::new(),
            has_quit: false,
        }
    }

    fn request_window(&mut self, session: &Session, target: Target, window: Window) -> Result<u32, String> {
        let Some(daemon) = &self.daemon else {
            return Err("this recording was started without detail windows (--no-detail)".to_owned());
        };
        self.windows += 1;
        let output: PathBuf = session.folder().join(format!("detail{}.json", self.windows));
        let detail = Detail { window, output, shapes: true, stacks: true, flops: false, memory: false };
        daemon.request(target, detail).map_err(|error| error.to_string())
    }

    /// Asks for the windows that processes want of themselves: one at a time each, as a profiler does one at a time.
    fn request_asked(&mut self, session: &mut Session) {
        for (pid, first, count) in session.take_asked_windows() {
            let has_one =
                self.asked_by_job.iter().any(|&(asker, request)| asker == pid && self.is_under_way(pid, request));
            let asked = if has_one {
                Err("another one is under way".to_owned())
            } else {
                self.request_window(session, Target::Pid(pid), Window::Iterations { first, count })
            };
            match asked {
                Ok(request) => self.asked_by_job.push((pid, request)),
                Err(reason) => {
                    session.notice(&format!("process {pid} asked for a detail window and got none: {reason}"))
                }
            }
        }
    }

    fn is_under_way(&self, pid: u32, request: u32) -> bool {
        let Some(daemon) = &self.daemon else { return false };
        let found = daemon.outputs().into_iter().find(|output| (output.pid, output.request) == (pid, request));
        found.is_none_or(|output| output.state == State::Waiting)
    }

    fn answer(&mut self, session: &mut Session, request: Request) -> Response {
        let done = |text: String| Response::Done { text };
        match request {
            Request::Start => {
                session.set_recording(true);
                done("recording".to_owned())
            }
            Request::Stop => {
                session.set_recording(false);
                done("stopped; the job goes on".to_owned())
            }
            Request::Dump { seconds } => match session.dump(seconds) {
                Ok(paths) if paths.is_empty() => Response::Error {
                    text: "there is nothing to dump: this recording writes everything at once; start it with \
                           --flight-recorder TIME to keep only the last part"
                        .to_owned(),
                },
                Ok(paths) => {
                    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                    done(paths.join("\n"))
                }
                Err(error) => Response::Error { text: format!("the dump cannot be written: {error}") },
            },
            Request::Status => {
                let totals = session.totals();
                Response::Status(Box::new(Status {
                    pid: std::process::id(),
                    folder: session.folder().to_owned(),
                    command: session.command().to_vec(),
                    is_recording: session.is_recording(),
                    uptime_ms: self.started.elapsed().as_millis() as u64,
                    pids: session.running().collect(),
                    ranks: session.ranks(),
                    events: totals.events,
                    bytes: totals.bytes,
                    drops: totals.lost,
                    disk_budget_left_bytes: Some(session.disk_bytes_left()),
                    fullest_ring_permille: totals.fullest_permille,
                }))
            }
            Request::Mark { name } => {
                session.mark(&name);
                done("marked".to_owned())
            }
            Request::Detail(window) => {
                let window = match window {
                    DetailWindow::Steps(steps) => Window::Iterations { first: steps.first, count: steps.count },
                    DetailWindow::Time(time) => Window::Duration(Duration::from_millis(time.duration_ms)),
                };
                match self.request_window(session, Target::All, window) {
                    Ok(_) => done("the window was asked for; its files appear in the recording".to_owned()),
                    Err(text) => Response::Error { text },
                }
            }
            Request::Quit => {
                session.set_recording(false);
                self.has_quit = true;
                done("recording has ended; the job goes on".to_owned())
            }
        }
    }

    fn tell_outcomes(&mut self, session: &mut Session) {
        let Some(daemon) = &self.daemon else { return };
        for output in daemon.outputs() {
            let State::Failed(reason) = &output.state else { continue };
            if !self.told.contains(&(output.request, output.pid)) {
                self.told.push((output.request, output.pid));
                session.notice(&format!("a detail window of process {} was not recorded: {reason}", output.pid));
            }
        }
    }
}

impl Attachment for Control {
    fn poll(&mut self, session: &mut Session, _job: u32) {
        if let Some(daemon) = &self.daemon {
            // A window that is asked for while PyTorch is still imported comes out empty.
            for (pid, steps) in session.steps_done() {
                daemon.job_is_stepping(pid);
                daemon.job_steps(pid, steps);
            }
        }
        if let Some(wanted) = self.wanted.take() {
            let window = Window::Iterations { first: wanted.first, count: wanted.count };
            if let Err(reason) = self.request_window(session, Target::All, window) {
                session.notice(&format!("detail windows are not possible: {reason}"));
            }
        }
        self.request_asked(session);
        if let Some(mut server) = self.server.take() {
            server.poll(&mut |request| self.answer(session, request));
            if !self.has_quit {
                self.server = Some(server);
            }
        }
        self.tell_outcomes(session);
    }

    fn finish(&mut self, session: &mut Session) {
        if let Some(daemon) = &self.daemon {
            daemon.wait(PATIENCE);
            let outputs = daemon.outputs();
            for &(pid, request) in &self.asked_by_job {
                if !outputs.iter().any(|output| (output.pid, output.request) == (pid, request)) {
                    session.notice(&format!(
                        "process {pid} asked for a detail window and got none: PyTorch's profiler in it did not ask for its \
                         settings any more, which it does about once a second"
                    ));
                }
            }
        }
        self.tell_outcomes(session);
    }
}
