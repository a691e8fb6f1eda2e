//! Long work beside the frames: loading, analysis, search. Results come back over a channel, and a frame never waits.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use gapless_advice::Study;
use gapless_analysis::{Analysis, AnalysisOptions, HostThread, RankWork, analyze};
use gapless_diff::{DiffOptions, Recording, diff};
use gapless_formats::{OpenError, OpenOptions, Progress};
use gapless_timeline::TimelineIndex;
use gapless_trace::{EventId, RankId, Trace};

use crate::advice::{AdviceCard, cards};
use crate::compare::Compared;
use crate::engine::Engine;
use crate::follow::Stamp;
use crate::record::{MachineCheck, Recording as RecordingHost};
use crate::roofline::RooflineView;
use crate::same_name::SameName;
use crate::search::{SearchResult, search};
use crate::simulate::{Asked, Simulation};

/// Tells apart the traces that were opened one after another: late results of a closed one are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation(pub u64);

/// A trace that can be shown.
#[derive(Debug)]
pub struct Opened {
    /// The events.
    pub trace: Arc<Trace>,
    /// What the timeline draws from.
    pub index: Arc<TimelineIndex>,
}

/// Where the time went.
#[derive(Debug)]
pub struct Report {
    /// Steps and tables.
    pub analysis: Analysis,
    /// The measured work of each rank, in the order of the trace, for any window of time.
    pub works: Vec<RankWork>,
    /// What the main thread of each rank did, for any window of time; of ranks without device work.
    pub hosts: Vec<Option<HostThread>>,
}

impl Report {
    /// Analyses `trace`.
    #[must_use]
    pub fn new(trace: &Trace) -> Self {
        let options = AnalysisOptions::default();
        let analysis = analyze(trace, &options);
        let works: Vec<_> = trace.rank_ids().map(|(rank, _)| RankWork::new(trace, rank, &options)).collect();
        let of_rank = |((rank, _), work): ((RankId, _), &RankWork)| {
            work.busy().is_empty().then(|| HostThread::new(trace, rank)).flatten()
        };
        let hosts = trace.rank_ids().zip(&works).map(of_rank).collect();
        Self { analysis, works, hosts }
    }
}

/// What a piece of work brings back.
pub enum Done {
    /// A trace was opened; with the files that it was read from, as they were before.
    Opened(Generation, Opened, Option<(Vec<PathBuf>, Stamp)>),
    /// The files of the trace on the screen were looked at.
    Looked(Generation, Stamp),
    /// They were read again; `None` if they cannot be read at this moment.
    ReadAgain(Generation, Option<Box<(Opened, Report)>>),
    /// The machine was looked at.
    Checked(Result<MachineCheck, String>),
    /// A trace could not be opened.
    Failed(Generation, String),
    /// The user gave up.
    Cancelled(Generation),
    /// The trace was analysed.
    Analysed(Generation, Box<Report>),
    /// The engine ran on the trace.
    Engine(Generation, Arc<Trace>, Arc<Engine>),
    /// There is advice for the trace.
    Advised(Generation, Arc<Trace>, Arc<Vec<AdviceCard>>),
    /// Ticked advice was replayed.
    Simulated(Generation, Arc<Simulation>),
    /// The roofline of a rank is worked out.
    Roofline(Generation, Arc<Trace>, Arc<RooflineView>),
    /// The work of a comparison has brought something; with the comparison's number.
    Compared(u64, Compared),
    /// A search ended.
    Found(Generation, SearchResult),
    /// The statistics of the selected event's name are there.
    SameName(Generation, EventId, Option<SameName>),
    /// The open dialog was closed with these paths; `None` if it was cancelled or is not available.
    Picked {
        /// What was chosen.
        paths: Option<Vec<PathBuf>>,
        /// Whether there was time to choose: a dialog that ends at once was never seen.
        was_shown: bool,
    },
    /// Something went wrong that should not.
    Crashed(String),
}

/// How far opening has come; shared with the work.
#[derive(Debug)]
pub struct OpenProgress {
    stage: Mutex<String>,
    total: AtomicU64,
    done: AtomicU64,
    is_cancelled: AtomicBool,
    began: Instant,
}

impl OpenProgress {
    /// Of work that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stage: Mutex::new("Opening".to_owned()),
            total: AtomicU64::new(0),
            done: AtomicU64::new(0),
            is_cancelled: AtomicBool::new(false),
            began: Instant::now(),
        }
    }

    /// Of work that is done already.
    #[cfg(test)]
    #[must_use]
    pub fn finished() -> Self {
        Self::new()
    }

    /// What is being done.
    #[must_use]
    pub fn stage_text(&self) -> String {
        self.stage.lock().map(|stage| stage.clone()).unwrap_or_default()
    }

    /// Bytes done and bytes in all; 0 in all if that is not known.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// Since when.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Asks the work to end.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }
}

impl Progress for OpenProgress {
    fn stage(&self, what: &str, total_bytes: u64) {
        if let Ok(mut stage) = self.stage.lock() {
            what.clone_into(&mut stage);
        }
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total_bytes, Ordering::Relaxed);
    }

    fn done(&self, bytes: u64) {
        self.done.store(bytes, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

/// Where work runs.
#[derive(Clone, Debug)]
enum Mode {
    /// On threads; the window is woken when something is done.
    Threads(egui::Context),
    /// At once, before the call returns: for pictures and tests.
    Inline,
}

/// Work that waits for cards of advice to replay; it ends when this is dropped.
#[derive(Debug)]
pub struct Advisor(Sender<Asked>);

impl Advisor {
    /// Asks for a replay. What was asked before and not begun is forgotten.
    pub fn ask(&self, asked: Asked) {
        // Where the work has ended, it has said why.
        self.0.send(asked).ok();
    }
}

/// Takes results, and wakes the window for each.
struct Reporter {
    sender: Sender<Done>,
    ctx: Option<egui::Context>,
}

impl Reporter {
    fn send(&self, done: Done) -> Result<(), SendError<Done>> {
        self.sender.send(done)?;
        if let Some(ctx) = &self.ctx {
            ctx.request_repaint();
        }
        Ok(())
    }
}

/// Starts work and collects its results.
#[derive(Debug)]
pub struct Jobs {
    mode: Mode,
    sender: Sender<Done>,
    receiver: Receiver<Done>,
}

impl Jobs {
    /// Work on threads that wakes `ctx`.
    #[must_use]
    pub fn on_threads(ctx: egui::Context) -> Self {
        Self::new(Mode::Threads(ctx))
    }

    /// Work that is done when the call returns.
    #[must_use]
    pub fn inline() -> Self {
        Self::new(Mode::Inline)
    }

    fn new(mode: Mode) -> Self {
        let (sender, receiver) = channel();
        Self { mode, sender, receiver }
    }

    /// What is done since the last call.
    pub fn finished(&self) -> Option<Done> {
        self.receiver.try_recv().ok()
    }

    fn spawn(&self, work: impl FnOnce(&Reporter) + Send + 'static) {
        let ctx = match &self.mode {
            Mode::Inline => None,
            Mode::Threads(ctx) => Some(ctx.clone()),
        };
        let is_inline = ctx.is_none();
        let reporter = Reporter { sender: self.sender.clone(), ctx };
        let guarded = move || {
            // A bug in the work must end as a message in the window, not as work that never ends.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| work(&reporter))) {
                reporter.send(Done::Crashed(panic_text(payload.as_ref()))).ok();
            }
        };
        if is_inline {
            guarded();
        } else if let Err(error) = std::thread::Builder::new().name("gapless job".to_owned()).spawn(guarded) {
            self.sender.send(Done::Crashed(format!("no thread could be started: {error}"))).ok();
        }
    }

    /// Opens `paths` as one trace.
    pub fn open(
        &self,
        generation: Generation,
        paths: Vec<PathBuf>,
        options: OpenOptions,
        recording: Option<Arc<dyn RecordingHost>>,
    ) -> Arc<OpenProgress> {
        let progress = Arc::new(OpenProgress::new());
        let shared = Arc::clone(&progress);
        self.spawn(move |sender| {
            // Before reading: what is written meanwhile is a change.
            let stamp = Stamp::of(&paths, recording.as_deref());
            let opened = read(&paths, &options, shared.as_ref());
            let done = match opened {
                Ok(_) if shared.is_cancelled() => Done::Cancelled(generation),
                Ok(opened) => Done::Opened(generation, opened, Some((paths, stamp))),
                Err(OpenError::Cancelled) => Done::Cancelled(generation),
                Err(error) => Done::Failed(generation, error.to_string()),
            };
            sender.send(done).ok();
        });
        progress
    }

    /// Finds out where the time went.
    pub fn analyse(&self, generation: Generation, trace: Arc<Trace>) {
        self.spawn(move |sender| {
            sender.send(Done::Analysed(generation, Box::new(Report::new(&trace)))).ok();
        });
    }

    /// Runs the engine, then works out advice. What it returns takes sets of cards to replay: the work keeps its graph for
    /// that until it is dropped. `None` where work is done at once.
    pub fn run_engine(&self, generation: Generation, trace: Arc<Trace>) -> Option<Advisor> {
        let (asks, asked) = channel::<Asked>();
        let is_inline = matches!(self.mode, Mode::Inline);
        self.spawn(move |sender| {
            let study = Study::new(&trace);
            let engine = Arc::new(Engine::new(&study));
            sender.send(Done::Engine(generation, Arc::clone(&trace), Arc::clone(&engine))).ok();
            let cards = Arc::new(cards(&study, &engine));
            sender.send(Done::Advised(generation, Arc::clone(&trace), Arc::clone(&cards))).ok();
            if is_inline {
                return;
            }
            while let Ok(mut next) = asked.recv() {
                // Only the last of what was asked meanwhile is still of use.
                next = asked.try_iter().last().unwrap_or(next);
                let simulation = Arc::new(Simulation::new(&study, &engine, &cards, next));
                sender.send(Done::Simulated(generation, simulation)).ok();
            }
        });
        (!is_inline).then_some(Advisor(asks))
    }

    /// Replays what is asked for, at once.
    pub fn simulate(&self, generation: Generation, trace: Arc<Trace>, asked: Asked) {
        self.spawn(move |sender| {
            let study = Study::new(&trace);
            let engine = Engine::new(&study);
            let simulation = Arc::new(Simulation::new(&study, &engine, &cards(&study, &engine), asked));
            sender.send(Done::Simulated(generation, simulation)).ok();
        });
    }

    /// Reads `paths` and finds out what made the steps of `new` longer or shorter than theirs.
    pub fn compare(
        &self,
        id: u64,
        paths: Vec<PathBuf>,
        options: OpenOptions,
        new: Arc<Trace>,
        progress: Arc<OpenProgress>,
    ) {
        self.spawn(move |sender| {
            let send = |compared| {
                sender.send(Done::Compared(id, compared)).ok();
            };
            let opened = match read(&paths, &options, progress.as_ref()) {
                Ok(opened) if !progress.is_cancelled() => opened,
                Ok(_) | Err(OpenError::Cancelled) => return send(Compared::Cancelled),
                Err(error) => return send(Compared::Failed(error.to_string())),
            };
            let base = Arc::clone(&opened.trace);
            send(Compared::Base(opened));
            send(Compared::Report(Box::new(Report::new(&base))));
            let found = Arc::new(diff(&Recording::new(&base), &Recording::new(&new), &DiffOptions::default()));
            send(Compared::Found(new, found));
            // Last, since only hatching and the path of the base wait for it.
            send(Compared::Engine(Arc::new(Engine::new(&Study::new(&base)))));
        });
    }

    /// Works out the roofline of a rank.
    pub fn roofline(&self, generation: Generation, trace: Arc<Trace>, rank: RankId) {
        self.spawn(move |sender| {
            let view = Arc::new(RooflineView::new(&trace, rank));
            sender.send(Done::Roofline(generation, trace, view)).ok();
        });
    }

    /// Looks whether files have changed.
    pub fn look(&self, generation: Generation, paths: Vec<PathBuf>, recording: Option<Arc<dyn RecordingHost>>) {
        self.spawn(move |sender| {
            sender.send(Done::Looked(generation, Stamp::of(&paths, recording.as_deref()))).ok();
        });
    }

    /// Reads `paths` again and finds out where the time went.
    pub fn read_again(&self, generation: Generation, paths: Vec<PathBuf>, options: OpenOptions) -> Arc<OpenProgress> {
        let progress = Arc::new(OpenProgress::new());
        let shared = Arc::clone(&progress);
        self.spawn(move |sender| {
            let again = read(&paths, &options, shared.as_ref()).ok().filter(|_| !shared.is_cancelled()).map(|opened| {
                let report = Report::new(&opened.trace);
                Box::new((opened, report))
            });
            sender.send(Done::ReadAgain(generation, again)).ok();
        });
        progress
    }

    /// Looks at what can be recorded on this machine.
    pub fn check(&self, recording: Arc<dyn RecordingHost>) {
        self.spawn(move |sender| {
            sender.send(Done::Checked(recording.check())).ok();
        });
    }

    /// Searches by name.
    pub fn search(&self, generation: Generation, trace: Arc<Trace>, query: String) {
        self.spawn(move |sender| {
            sender.send(Done::Found(generation, search(&trace, &query))).ok();
        });
    }

    /// Collects the events of the same name.
    pub fn same_name(&self, generation: Generation, trace: Arc<Trace>, event: EventId) {
        self.spawn(move |sender| {
            sender.send(Done::SameName(generation, event, SameName::new(&trace, event))).ok();
        });
    }

    /// Runs `dialog`, which waits for the user.
    pub fn pick(&self, dialog: impl FnOnce() -> Option<Vec<PathBuf>> + Send + 'static) {
        self.spawn(move |sender| {
            let began = Instant::now();
            let paths = dialog();
            let was_shown = paths.is_some() || began.elapsed().as_millis() > 400;
            sender.send(Done::Picked { paths, was_shown }).ok();
        });
    }
}

/// Opens what `paths` name and builds its timeline.
fn read(paths: &[PathBuf], options: &OpenOptions, progress: &OpenProgress) -> Result<Opened, OpenError> {
    let text: Vec<_> = paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let files = gapless_formats::expand(&text)?;
    let trace = gapless_formats::open(&files, options, progress)?;
    progress.stage("Building the timeline", 0);
    let index = Arc::new(TimelineIndex::build(&trace));
    Ok(Opened { trace: Arc::new(trace), index })
}

/// What a panic said.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("an unknown error").to_owned()
}
