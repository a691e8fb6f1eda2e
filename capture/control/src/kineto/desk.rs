//! Who has asked, which windows are wanted, and how each stands. No I/O but what [`Look::see`] does: the two threads of
//! the daemon bring datagrams and files here, and time is given, so that every course of events can be tested.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::check::{self, Found};
use super::{Client, Detail, Ignored, LATE_START_MULTIPLE, Output, State, Target, Window, config};

/// Processes that are kept apart; a job with more on one machine is not one.
const MOST_CLIENTS: usize = 4096;
/// A window by time is offered for so long after the first process has got it.
const ADMISSION: Duration = Duration::from_secs(5);
/// After its window, Kineto is given so long to show a file, or to show that it is busy at all.
const GRACE: Duration = Duration::from_secs(10);
/// A window by steps that would begin sooner is put off: each process asks once a second, so after this time every
/// rank knows of it, and all begin with the same step.
const NOTICE: Duration = Duration::from_secs(3);
/// A window is asked for so often.
const MOST_ATTEMPTS: u32 = 2;

/// One "is there a configuration for me?".
#[derive(Debug)]
pub(crate) struct Poll {
    pub host_pid: u32,
    pub address: PathBuf,
    pub is_ready: bool,
    pub job_id: i64,
    pub pids: Vec<u32>,
}

/// A configuration to send; [`Desk::sent`] is told when that was done.
#[derive(Debug)]
pub(crate) struct Offer {
    pub text: String,
    request: u32,
    host_pid: u32,
    attempt: u32,
    window: Window,
}

#[derive(Debug)]
struct Known {
    client: Client,
    address: PathBuf,
}

#[derive(Debug)]
struct Asked {
    target: Target,
    detail: Detail,
    /// A plain path that leads to the output's folder.
    link: PathBuf,
    first_sent: Option<Instant>,
    is_closed: bool,
}

/// How a process steps, as far as the caller said.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    /// The first count and the last one, with their times.
    counts: Option<[(Instant, u64); 2]>,
}

impl Pace {
    fn note(&mut self, done: u64, now: Instant) {
        let first = self.counts.map_or((now, done), |[first, _]| first);
        self.counts = Some([first, (now, done)]);
    }

    fn done(self) -> Option<u64> {
        self.counts.map(|[_, (_, done)]| done)
    }

    /// The step that it will have reached at `then`, if it goes on as it did.
    fn expected(self, then: Instant) -> Option<u64> {
        let [(begin, first), (end, last)] = self.counts?;
        let seconds = end.duration_since(begin).as_secs_f64();
        let per_second = if seconds > 0.0 { last.saturating_sub(first) as f64 / seconds } else { 0.0 };
        Some(last + (per_second * then.duration_since(end).as_secs_f64()).ceil() as u64)
    }
}

/// The window of one process.
#[derive(Debug)]
struct Job {
    request: u32,
    host_pid: u32,
    pid: u32,
    attempts: u32,
    /// Why the first attempt failed.
    first_failure: Option<String>,
    phase: Phase,
    path: PathBuf,
}

#[derive(Debug)]
enum Phase {
    /// Kineto has it.
    Sent {
        at: Instant,
        /// It was seen busy since.
        was_busy: bool,
        /// It was seen idle after having been busy.
        idle_since: Option<Instant>,
        /// What the last look found.
        last: Found,
    },
    /// It failed once and is offered again.
    Again,
    Done(State),
}

/// Where to look for the file of one window.
#[derive(Debug)]
pub(crate) struct Look {
    request: u32,
    host_pid: u32,
    attempt: u32,
    /// Newer versions put the process's number before the ending, older ones do not.
    candidates: [PathBuf; 2],
    wanted: PathBuf,
}

/// What a look found.
#[derive(Debug)]
pub(crate) struct Seen {
    found: Found,
    at: PathBuf,
    /// The process is there.
    is_alive: bool,
    trouble: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Desk {
    known: BTreeMap<u32, Known>,
    /// Steps that were done, of processes that step; by the number that they have for themselves.
    steps: BTreeMap<u32, Pace>,
    asked: Vec<Asked>,
    jobs: Vec<Job>,
    pub ignored: Ignored,
}

/// The name while it is written. Its own, so that no half-written file ever has the wanted name.
fn name_in_flight(request: u32, pid: u32, attempt: u32) -> String {
    format!(".gapless-window-{request}-{pid}-{attempt}.json")
}

fn with_pid(path: &Path, pid: u32, again: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let more = if again == 0 { String::new() } else { format!("-{}", again + 1) };
    path.with_file_name(format!("{stem}_{pid}{more}.json"))
}

impl Desk {
    pub fn next_number(&self) -> u32 {
        self.asked.len() as u32
    }

    pub fn ask(&mut self, target: Target, detail: Detail, link: PathBuf) -> u32 {
        let number = self.next_number();
        self.asked.push(Asked { target, detail, link, first_sent: None, is_closed: false });
        number
    }

    pub fn close(&mut self, request: u32) {
        if let Some(asked) = self.asked.get_mut(request as usize) {
            asked.is_closed = true;
        }
    }

    pub fn note_steps(&mut self, pid: u32, done: Option<u64>, now: Instant) {
        let pace = self.steps.entry(pid).or_default();
        if let Some(done) = done {
            pace.note(done, now);
        }
    }

    pub fn clients(&self) -> Vec<Client> {
        let mut clients: Vec<_> = self.known.values().map(|known| known.client.clone()).collect();
        clients.sort_by_key(|client| client.pid);
        clients
    }

    pub fn outputs(&self) -> Vec<Output> {
        let state = |job: &Job| match &job.phase {
            Phase::Done(state) => state.clone(),
            Phase::Sent { .. } | Phase::Again => State::Waiting,
        };
        let output = |job: &Job| Output {
            request: job.request,
            pid: job.pid,
            path: job.path.clone(),
            attempts: job.attempts,
            first_failure: job.first_failure.clone(),
            state: state(job),
        };
        self.jobs.iter().map(output).collect()
    }

    /// Notes who asked, and what that says of its windows; returns what to send.
    pub fn poll(&mut self, poll: Poll, now: Instant) -> Option<Offer> {
        let Poll { host_pid, address, is_ready, job_id, mut pids } = poll;
        if !self.known.contains_key(&host_pid) && self.known.len() >= MOST_CLIENTS {
            self.ignored.overflow += 1;
            return None;
        }
        let pid = if pids.is_empty() { host_pid } else { pids.remove(0) };
        let client = Client { pid, host_pid, ancestors: pids, job_id, busy: !is_ready, last_seen: now };
        let before = self.known.insert(host_pid, Known { client, address: address.clone() });
        if before.is_some_and(|before| before.address != address) {
            // The process has replaced itself (exec), or its number was given out again: it begins anew.
            self.steps.remove(&pid);
            self.give_up(host_pid, "the process started another program during the window");
        }
        for job in self.jobs.iter_mut().filter(|job| job.host_pid == host_pid) {
            if let Phase::Sent { was_busy, idle_since, .. } = &mut job.phase {
                if !is_ready {
                    *was_busy = true;
                    *idle_since = None;
                } else if *was_busy && idle_since.is_none() {
                    *idle_since = Some(now);
                }
            }
        }
        if is_ready { self.offer(host_pid, pid, now) } else { None }
    }

    /// The first window that the process has not got yet. None while it has one: Kineto ignores a second.
    fn offer(&mut self, host_pid: u32, pid: u32, now: Instant) -> Option<Offer> {
        let has_one = |job: &Job| job.host_pid == host_pid && matches!(job.phase, Phase::Sent { .. });
        if !self.steps.contains_key(&pid) || self.jobs.iter().any(has_one) {
            return None;
        }
        for (asked, request) in self.asked.iter().zip(0..) {
            let attempt = match self.jobs.iter().find(|job| (job.request, job.host_pid) == (request, host_pid)) {
                Some(Job { phase: Phase::Again, attempts, .. }) => attempts + 1,
                Some(_) => continue,
                None => {
                    let is_late = matches!(asked.detail.window, Window::Duration(_))
                        && asked.first_sent.is_some_and(|at| now.duration_since(at) > ADMISSION);
                    if asked.is_closed || is_late {
                        continue;
                    }
                    1
                }
            };
            if !matches!(asked.target, Target::All) && asked.target != Target::Pid(pid) {
                continue;
            }
            let file = asked.link.join(name_in_flight(request, pid, attempt));
            let window = self.put_off(asked, attempt, now);
            let text = config::text(&Detail { window, ..asked.detail.clone() }, &file);
            return Some(Offer { text, request, host_pid, attempt, window });
        }
        None
    }

    /// A window by steps whose first step passes before every rank knows of it begins later; the same step for all.
    fn put_off(&self, asked: &Asked, attempt: u32, now: Instant) -> Window {
        if asked.first_sent.is_some() && attempt == 1 {
            return asked.detail.window;
        }
        let Window::Iterations { first, count } = asked.detail.window else { return asked.detail.window };
        let earliest = self.steps.values().filter_map(|pace| pace.expected(now + NOTICE)).max().unwrap_or(0);
        Window::Iterations { first: first.max(earliest), count }
    }

    /// The offer has reached the process.
    pub fn sent(&mut self, offer: Offer, now: Instant) {
        let (Some(asked), Some(known)) = (self.asked.get_mut(offer.request as usize), self.known.get(&offer.host_pid))
        else {
            return;
        };
        asked.first_sent.get_or_insert(now);
        asked.detail.window = offer.window;
        let pid = known.client.pid;
        let phase = Phase::Sent { at: now, was_busy: false, idle_since: None, last: Found::NotYet };
        let is_it = |job: &&mut Job| (job.request, job.host_pid) == (offer.request, offer.host_pid);
        if let Some(job) = self.jobs.iter_mut().find(is_it) {
            (job.attempts, job.phase) = (offer.attempt, phase);
        } else {
            let path = with_pid(&asked.detail.output, pid, 0);
            let (request, host_pid) = (offer.request, offer.host_pid);
            let attempts = offer.attempt;
            self.jobs.push(Job { request, host_pid, pid, attempts, first_failure: None, phase, path });
        }
    }

    /// Where files are to be looked for.
    pub fn looks(&self) -> Vec<Look> {
        let look = |job: &Job| {
            let asked = self.asked.get(job.request as usize)?;
            // A window that waits for its second attempt is looked after for the end of its process, too.
            let is_open = matches!(job.phase, Phase::Sent { .. } | Phase::Again);
            let name = name_in_flight(job.request, job.pid, job.attempts);
            let plain = asked.detail.output.with_file_name(&name);
            let candidates = [with_pid(&plain, job.pid, 0), plain];
            let (request, host_pid, attempt) = (job.request, job.host_pid, job.attempts);
            is_open.then(|| Look { request, host_pid, attempt, candidates, wanted: asked.detail.output.clone() })
        };
        self.jobs.iter().filter_map(look).collect()
    }

    /// Notes what a look found.
    pub fn saw(&mut self, look: &Look, seen: Seen, now: Instant) {
        let steps = |pid| self.steps.get(&pid).and_then(|pace| pace.done());
        let Some(window) = self.asked.get(look.request as usize).map(|asked| asked.detail.window) else { return };
        let is_it = |job: &&mut Job| (job.request, job.host_pid) == (look.request, look.host_pid);
        let Some(job) = self.jobs.iter_mut().find(is_it) else { return };
        if job.attempts != look.attempt {
            return;
        }
        let Phase::Sent { at, was_busy, idle_since, last } = &mut job.phase else {
            if matches!(job.phase, Phase::Again) && !seen.is_alive {
                job.phase = Phase::Done(State::Failed("the process ended before it was asked again".into()));
            }
            return;
        };
        if let Some(trouble) = seen.trouble {
            job.phase = Phase::Done(State::Failed(trouble));
            return;
        }
        // What was seen twice is what was written: an old version writes in place.
        let is_settled = *last == seen.found;
        let failure = match seen.found {
            Found::Whole { bytes } if is_settled => match take_over(&seen.at, &look.wanted, job.pid) {
                Ok(path) => {
                    job.path = path;
                    job.phase = Phase::Done(State::Written { events_bytes: bytes });
                    return;
                }
                Err(e) => {
                    let text = format!("its file cannot be given its name ({e})");
                    job.phase = Phase::Done(State::Failed(text));
                    return;
                }
            },
            Found::Empty if is_settled => {
                let _ = fs::remove_file(&seen.at);
                Some("Kineto wrote a trace without events")
            }
            Found::Whole { .. } | Found::Empty => {
                *last = seen.found;
                None
            }
            Found::NotYet => {
                *last = Found::NotYet;
                if !seen.is_alive {
                    let text = "the process ended before its window was written".into();
                    job.phase = Phase::Done(State::Failed(text));
                    return;
                }
                let is_past = match window {
                    Window::Duration(length) => now.duration_since(*at) > length + GRACE,
                    Window::Iterations { first, count } => {
                        // Twice the multiple: a late start, and steps that were counted differently.
                        let last_step = first.saturating_add(count).saturating_add(2 * LATE_START_MULTIPLE);
                        now.duration_since(*at) > GRACE && steps(job.pid).is_some_and(|done| done > last_step)
                    }
                };
                if idle_since.is_some_and(|since| now.duration_since(since) > GRACE) {
                    Some("Kineto took the window but wrote no file")
                } else if is_past && !*was_busy {
                    Some("Kineto did not take the window")
                } else {
                    None
                }
            }
        };
        if let Some(reason) = failure {
            fail(job, reason);
        }
        if !seen.is_alive {
            self.steps.remove(&job.pid);
        }
    }

    fn give_up(&mut self, host_pid: u32, reason: &str) {
        for job in self.jobs.iter_mut().filter(|job| job.host_pid == host_pid) {
            if !matches!(job.phase, Phase::Done(_)) {
                job.phase = Phase::Done(State::Failed(reason.into()));
            }
        }
    }
}

/// Offers it again, or ends it.
fn fail(job: &mut Job, reason: &str) {
    job.phase = if job.attempts < MOST_ATTEMPTS {
        job.first_failure = Some(reason.into());
        Phase::Again
    } else {
        Phase::Done(State::Failed(format!("{reason}, twice; the job's own use of torch.profiler may be in the way")))
    };
}

/// Gives a finished file its name, which no other file has; makes it the user's alone.
fn take_over(at: &Path, wanted: &Path, pid: u32) -> std::io::Result<PathBuf> {
    fs::set_permissions(at, fs::Permissions::from_mode(0o600))?;
    let path = (0..1000).map(|again| with_pid(wanted, pid, again)).find(|path| fs::symlink_metadata(path).is_err());
    let path = path.ok_or_else(|| std::io::Error::other("a thousand windows have this name"))?;
    fs::rename(at, &path)?;
    Ok(path)
}

impl Look {
    /// Looks for the file. Whether the process is there is asked first: what it wrote before it ended is then seen.
    pub fn see(&self) -> Seen {
        // A process outside of our namespace has no number here and counts as alive.
        let is_alive = self.host_pid == 0 || is_running(self.host_pid);
        let mut seen = Seen { found: Found::NotYet, at: PathBuf::new(), is_alive, trouble: None };
        for path in &self.candidates {
            match check::look_at(path) {
                Ok(Found::NotYet) => {}
                Ok(found) => {
                    (seen.found, seen.at) = (found, path.clone());
                    break;
                }
                Err(e) => seen.trouble = Some(format!("its file cannot be read ({e})")),
            }
        }
        seen
    }
}

/// A process that ended but was not waited for runs no more.
fn is_running(pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name in brackets may hold anything; the state follows the last bracket.
    let state = text.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, Some('Z' | 'X'))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn ready(pid: u32) -> Poll {
        let address = PathBuf::from(format!("/x/{pid}"));
        Poll { host_pid: pid, address, is_ready: true, job_id: 0, pids: vec![pid] }
    }

    fn ask(desk: &mut Desk, window: Window) -> u32 {
        let output = "/nowhere/w.json".into();
        let detail = Detail { window, output, shapes: false, stacks: false, flops: false, memory: false };
        desk.ask(Target::All, detail, "/nowhere/o".into())
    }

    /// Polls, and takes what is offered.
    fn take(desk: &mut Desk, pid: u32, now: Instant) -> bool {
        let Some(offer) = desk.poll(ready(pid), now) else { return false };
        desk.sent(offer, now);
        true
    }

    fn see_nothing(desk: &mut Desk, now: Instant) {
        for look in desk.looks() {
            let seen = Seen { found: Found::NotYet, at: PathBuf::new(), is_alive: true, trouble: None };
            desk.saw(&look, seen, now);
        }
    }

    const STEPS: Window = Window::Iterations { first: 50, count: 5 };
    const TIME: Window = Window::Duration(Duration::from_secs(2));

    #[test]
    fn a_refused_window_by_time_is_offered_twice() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        ask(&mut desk, TIME);
        desk.note_steps(1, None, now);
        assert!(take(&mut desk, 1, now));
        see_nothing(&mut desk, now + Duration::from_secs(11));
        assert!(!take(&mut desk, 1, now + Duration::from_secs(11)), "2 s of window and 10 s of grace are not over");
        see_nothing(&mut desk, now + Duration::from_secs(13));
        assert!(take(&mut desk, 1, now + Duration::from_secs(13)));
        see_nothing(&mut desk, now + Duration::from_secs(30));
        assert!(!take(&mut desk, 1, now + Duration::from_secs(30)));
        let State::Failed(reason) = &desk.outputs()[0].state else { panic!("{:?}", desk.outputs()) };
        assert!(reason.contains("did not take the window, twice"), "{reason}");
    }

    #[test]
    fn a_window_by_steps_waits_for_its_steps_however_long() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        ask(&mut desk, STEPS);
        desk.note_steps(1, None, now);
        assert!(take(&mut desk, 1, now));
        see_nothing(&mut desk, now + Duration::from_secs(100_000));
        desk.note_steps(1, Some(60), now);
        see_nothing(&mut desk, now + Duration::from_secs(100_001));
        assert_eq!(desk.outputs()[0].state, State::Waiting, "a late start may still come");
        assert!(desk.poll(ready(1), now).is_none());
        desk.note_steps(1, Some(76), now);
        see_nothing(&mut desk, now + Duration::from_secs(100_002));
        assert!(take(&mut desk, 1, now + Duration::from_secs(100_003)), "offered again");
    }

    #[test]
    fn a_busy_process_has_all_the_time_and_an_idle_one_some_seconds() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        ask(&mut desk, TIME);
        desk.note_steps(1, None, now);
        assert!(take(&mut desk, 1, now));
        assert!(desk.poll(Poll { is_ready: false, ..ready(1) }, now).is_none());
        see_nothing(&mut desk, now + Duration::from_secs(1000));
        assert_eq!(desk.outputs()[0].attempts, 1);
        assert!(desk.poll(ready(1), now + Duration::from_secs(1000)).is_none());
        see_nothing(&mut desk, now + Duration::from_secs(1009));
        assert!(desk.poll(ready(1), now + Duration::from_secs(1009)).is_none());
        see_nothing(&mut desk, now + Duration::from_secs(1011));
        assert!(take(&mut desk, 1, now + Duration::from_secs(1012)));
        assert_eq!(desk.outputs()[0].attempts, 2);
    }

    #[test]
    fn a_window_by_time_is_not_for_those_who_come_later() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        ask(&mut desk, TIME);
        let by_steps = ask(&mut desk, STEPS);
        for pid in 1..=4 {
            desk.note_steps(pid, None, now);
        }
        let late = now + Duration::from_secs(1000);
        assert!(take(&mut desk, 1, late), "nobody had it before");
        assert!(take(&mut desk, 2, late + Duration::from_secs(4)));
        assert!(take(&mut desk, 3, late + Duration::from_secs(6)));
        desk.close(by_steps);
        assert!(!take(&mut desk, 4, late + Duration::from_secs(6)));
        let requests: Vec<_> = desk.outputs().iter().map(|output| (output.pid, output.request)).collect();
        assert_eq!(requests, [(1, 0), (2, 0), (3, by_steps)]);
    }

    #[test]
    fn a_process_that_starts_another_program_must_step_again() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        ask(&mut desk, STEPS);
        desk.note_steps(1, None, now);
        assert!(take(&mut desk, 1, now));
        let other = || Poll { address: "/x/other".into(), ..ready(1) };
        assert!(desk.poll(other(), now).is_none());
        assert!(matches!(&desk.outputs()[0].state, State::Failed(reason) if reason.contains("another program")));
        ask(&mut desk, TIME);
        assert!(desk.poll(other(), now).is_none());
        desk.note_steps(1, None, now);
        assert!(desk.poll(other(), now).is_some());
    }

    #[test]
    fn a_lost_answer_is_given_again() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        ask(&mut desk, TIME);
        desk.note_steps(1, None, now);
        assert!(desk.poll(ready(1), now).is_some(), "and it could not be sent");
        assert!(desk.outputs().is_empty());
        assert!(take(&mut desk, 1, now));
    }

    #[test]
    fn the_number_of_processes_is_bounded() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        for pid in 0..MOST_CLIENTS as u32 + 7 {
            desk.poll(ready(pid), now);
        }
        assert_eq!((desk.clients().len(), desk.ignored.overflow), (MOST_CLIENTS, 7));
    }

    #[test]
    fn a_late_window_begins_with_the_same_step_everywhere() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        // Ten steps a second, and a second rank of which nothing but its beginning is known.
        desk.note_steps(1, Some(100), now);
        desk.note_steps(1, Some(200), after(10));
        desk.note_steps(2, None, now);
        ask(&mut desk, STEPS);
        let text = |offer: &Offer| {
            offer.text.lines().find(|line| line.starts_with("PROFILE_START_ITERATION=")).map(str::to_owned)
        };
        let offer = desk.poll(ready(1), after(11)).unwrap();
        assert_eq!(text(&offer).unwrap(), "PROFILE_START_ITERATION=240", "200 steps, and 4 s of 10 each");
        desk.sent(offer, after(11));
        let offer = desk.poll(ready(2), after(12)).unwrap();
        assert_eq!(text(&offer).unwrap(), "PROFILE_START_ITERATION=240");
        // One that is far enough ahead stays where it is.
        let mut desk = Desk::default();
        desk.note_steps(1, Some(20), now);
        ask(&mut desk, STEPS);
        assert_eq!(text(&desk.poll(ready(1), after(12)).unwrap()).unwrap(), "PROFILE_START_ITERATION=50");
    }
}
