//! What the app knows. Panels read it and return messages; only `update` changes it.

use std::path::PathBuf;
use std::sync::Arc;

use gapless_analysis::interval::Interval;
use gapless_analysis::{HostParts, Partition, StepBreakdown, StepSummary};
use gapless_formats::OpenOptions;
use gapless_timeline::{Overlay, Shifts, Theme, TimelineIndex};
use gapless_trace::{Args, Duration, EventId, RankId, Span, Timestamp, Trace, TrackKind};

use crate::advice::AdviceCard;
use crate::align::Alignment;
use crate::command::Needs;
use crate::compare::Comparison;
use crate::engine::Engine;
use crate::engine_rows::PathView;
use crate::follow::Followed;
use crate::jobs::{Advisor, Generation, OpenProgress, Opened, Report};
use crate::part::{Part, exposed_waits};
use crate::record::{CheckState, RecordCommand, Recording};
use crate::roofline::RooflineView;
use crate::same_name::SameName;
use crate::search::SearchResult;
use crate::simulate::{Asked, Simulation};
use crate::table::{Sort, TableId};
use crate::{BottomTab, ThemeChoice};

/// Everything but the timeline's own state, which the widget keeps.
pub struct State {
    /// Dark or light.
    pub theme_choice: ThemeChoice,
    /// Its colours.
    pub theme: Theme,
    /// How traces are opened.
    pub open_options: OpenOptions,
    /// The last trace that was asked for.
    pub generation: Generation,
    /// A trace that is on its way.
    pub loading: Option<Loading>,
    /// The trace on the screen.
    pub loaded: Option<Loaded>,
    /// The recording that it is compared with.
    pub comparison: Option<Comparison>,
    /// What went wrong last, until the user has read it.
    pub failure: Option<Failure>,
    /// Tab of the bottom panel.
    pub tab: BottomTab,
    /// Whether the panel on the right is open.
    pub shows_summary: bool,
    /// Whether the panel at the bottom is open.
    pub shows_bottom: bool,
    /// Whether the help is open.
    pub shows_help: bool,
    /// The cards of advice that are simulated, and the machine that they are simulated on.
    pub asked: Asked,
    /// The card of advice whose details are open.
    pub opened_advice: Option<String>,
    /// Whether the panel with the checks of the model is open.
    pub shows_trust: bool,
    /// Whether the end of a growing recording is kept in view.
    pub follows_end: bool,
    /// What the surroundings know about recording.
    pub recording: Option<Arc<dyn Recording>>,
    /// The commands that record on this machine.
    pub record_commands: Vec<RecordCommand>,
    /// The text that was put on the clipboard last.
    pub copied: Option<String>,
    /// What can be recorded on this machine, while that is shown.
    pub check: Option<CheckState>,
    /// The command palette, while it is open.
    pub palette: Option<Palette>,
    /// The field for a path, while it is open.
    pub path_field: Option<PathField>,
    /// What the system's dialog is open for.
    pub picking: Option<OpenFor>,
    /// How the tables are sorted, one per table.
    pub sorts: [Sort; TableId::COUNT],
}

impl State {
    /// Whether what a command needs is there.
    #[must_use]
    pub fn can(&self, needs: Needs) -> bool {
        match needs {
            Needs::Nothing => true,
            Needs::Trace => self.loaded.is_some(),
            Needs::Comparison => self.comparison.is_some(),
            Needs::Recorder => self.recording.is_some(),
        }
    }
}

/// A trace that is on its way.
pub struct Loading {
    /// Whose result it waits for.
    pub generation: Generation,
    /// What was asked for.
    pub what: String,
    /// How far it has come.
    pub progress: Arc<OpenProgress>,
}

/// Something went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What did not work.
    pub title: String,
    /// Why, and what to do.
    pub text: String,
}

/// The list of commands while it is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Palette {
    /// What was typed.
    pub query: String,
    /// The place of the chosen line.
    pub chosen: usize,
}

/// What becomes of a path that is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpenFor {
    /// It is opened.
    #[default]
    Trace,
    /// The trace on the screen is compared with it.
    Base,
}

/// The field for a path while it is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathField {
    /// What was typed.
    pub text: String,
    /// Why the field is shown, if not asked for.
    pub note: String,
    /// What becomes of the path.
    pub purpose: OpenFor,
}

/// Which stretch of time the numbers are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The whole recording.
    Whole,
    /// A step, by its place in the analysis.
    Step(usize),
    /// A range that the user dragged on the timeline.
    Range(Span),
}

/// The partition of one rank in the chosen window.
#[derive(Clone, Debug)]
pub struct RankRow {
    /// The rank.
    pub rank: RankId,
    /// Its name.
    pub label: String,
    /// Its own window: steps begin at different times on different ranks.
    pub span: Span,
    /// Where its time went.
    pub partition: Partition,
    /// What its main thread did, where no device work of it was recorded.
    pub host: Option<HostParts>,
    /// How much of its exposed communication waits for late ranks, where that is known.
    pub waiting: Duration,
}

impl RankRow {
    /// How long a part lasts.
    #[must_use]
    pub fn time(&self, part: Part) -> Duration {
        part.duration(&self.partition, self.host.as_ref(), self.waiting)
    }

    /// Time without progress because of communication: exposed on the device; or on the main thread, in calls and
    /// waiting for them.
    #[must_use]
    pub fn exposed_communication(&self) -> Duration {
        let host = self.host.map_or(0, |host| host.communication_ns + host.communication_wait_ns);
        Duration(self.partition.exposed_comm_ns + host)
    }
}

/// The chosen window, worked out.
#[derive(Clone, Debug)]
pub struct WindowView {
    /// Its name (`ProfilerStep#10`, `Whole recording`, `Selected range`).
    pub title: String,
    /// From the first start to the last end over ranks, as the timeline shows them.
    pub hull: Span,
    /// The ranks that take part, in order.
    pub rows: Vec<RankRow>,
}

impl WindowView {
    /// The rank whose window lasts longest; `None` if all last equally long.
    #[must_use]
    pub fn slowest(&self) -> Option<&RankRow> {
        let longest = self.rows.iter().max_by_key(|row| (row.partition.duration_ns, std::cmp::Reverse(row.rank)))?;
        let shortest = self.rows.iter().map(|row| row.partition.duration_ns).min()?;
        (self.rows.len() > 1 && longest.partition.duration_ns > shortest).then_some(longest)
    }

    /// The mean over ranks of a part, in ns.
    #[must_use]
    pub fn mean_ns(&self, part: Part) -> f64 {
        self.mean_of(|row| row.time(part).0)
    }

    /// The mean over ranks of any number of a partition; 0 without ranks.
    #[must_use]
    pub fn mean(&self, value: impl Fn(&Partition) -> i64) -> f64 {
        self.mean_of(|row| value(&row.partition))
    }

    fn mean_of(&self, value: impl Fn(&RankRow) -> i64) -> f64 {
        let sum: i128 = self.rows.iter().map(|row| i128::from(value(row))).sum();
        if self.rows.is_empty() { 0.0 } else { sum as f64 / self.rows.len() as f64 }
    }
}

/// Events that a number stands for, lit up on the timeline.
#[derive(Clone, Debug)]
pub struct Highlight {
    /// What it is.
    pub label: String,
    /// Its pieces, by time.
    pub pieces: Vec<Piece>,
    /// Places of the pieces, the longest first.
    pub by_length: Vec<usize>,
    /// The place in `by_length` that is looked at; `None` while all are.
    pub at: Option<usize>,
    /// Events to keep bright, ascending; empty if it is about time and not about events.
    pub events: Arc<[EventId]>,
    /// How the timeline draws it.
    pub overlays: Vec<Overlay>,
}

/// A stretch of time of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The rank.
    pub rank: RankId,
    /// When.
    pub span: Span,
}

/// What is known about the selected event beside the event.
#[derive(Debug)]
pub struct Selection {
    /// The event.
    pub event: EventId,
    /// Its arguments, or why they cannot be read.
    pub args: Result<Args, String>,
    /// The events of the same name, once they are counted.
    pub same_name: Option<SameName>,
    /// The frame of its stack that was clicked, in a sentence.
    pub frame: Option<String>,
}

/// The search field and what it found.
#[derive(Debug, Default)]
pub struct Search {
    /// What is in the field.
    pub query: String,
    /// What was found for the last query that was done.
    pub result: SearchResult,
    /// Number of the selected hit in time, from 1.
    pub position: Option<usize>,
    /// Whether the list of names is open.
    pub shows_list: bool,
}

/// A trace on the screen.
pub struct Loaded {
    /// Whose results are about it.
    pub generation: Generation,
    /// The events.
    pub trace: Arc<Trace>,
    /// What the timeline draws from.
    pub index: Arc<TimelineIndex>,
    /// Name of the folder or file.
    pub name: String,
    /// The files that it was read from, which may grow.
    pub followed: Option<Followed>,
    /// Where the time went, once it is known.
    pub report: Option<Report>,
    /// What the engine found, once it has run.
    pub engine: Option<Arc<Engine>>,
    /// What to do, once that is worked out.
    pub advice: Option<Arc<Vec<AdviceCard>>>,
    /// The work that replays advice.
    pub advisor: Option<Advisor>,
    /// What was asked for gives, once it was replayed.
    pub simulation: Option<Arc<Simulation>>,
    /// The rank whose roofline was asked for last.
    pub roofline_of: Option<RankId>,
    /// Its roofline, once that is worked out.
    pub roofline: Option<Arc<RooflineView>>,
    /// By what ranks are brought side by side on the timeline.
    pub alignment: Alignment,
    /// By how much that shifts them.
    pub shifts: Shifts,
    /// The critical path of the window.
    pub path: PathView,
    /// The collective whose arrivals are shown, by place in the report.
    pub chosen_collective: Option<usize>,
    /// Which stretch of time the numbers are about.
    pub window: Window,
    /// That stretch worked out; `None` until the report is there.
    pub view: Option<WindowView>,
    /// What is lit up.
    pub highlight: Option<Highlight>,
    /// The selected event.
    pub selection: Option<Selection>,
    /// Search by name.
    pub search: Search,
    /// The rank whose tables are shown.
    pub table_rank: RankId,
    /// The order of the rows of each table of `table_rank`, one per table.
    pub orders: [Vec<u32>; TableId::COUNT],
}

impl Loaded {
    /// A trace right after it was opened.
    #[must_use]
    pub fn new(generation: Generation, opened: Opened, name: String, followed: Option<Followed>) -> Self {
        Self {
            generation,
            trace: opened.trace,
            index: opened.index,
            name,
            followed,
            report: None,
            engine: None,
            advice: None,
            advisor: None,
            simulation: None,
            roofline_of: None,
            roofline: None,
            alignment: Alignment::default(),
            shifts: Shifts::default(),
            path: PathView::default(),
            chosen_collective: None,
            window: Window::Whole,
            view: None,
            highlight: None,
            selection: None,
            search: Search::default(),
            table_rank: RankId(0),
            orders: Default::default(),
        }
    }

    /// `dlrm-8xV100 · 8 ranks · 212,304 events`.
    #[must_use]
    pub fn title(&self) -> String {
        let ranks = self.trace.ranks().len() as u64;
        let events = self.trace.events().len() as u64;
        format!(
            "{} · {} · {}",
            self.name,
            crate::format::counted(ranks, "rank", "ranks"),
            crate::format::counted(events, "event", "events")
        )
    }

    /// The steps of `rank` and the whole recording, worked out for `window`.
    #[must_use]
    pub fn work_out(&self, window: Window) -> Option<WindowView> {
        let report = self.report.as_ref()?;
        let whole = self.trace.span()?;
        let title = match window {
            Window::Whole => "Whole recording".to_owned(),
            Window::Step(place) => report.analysis.steps.get(place)?.name.clone(),
            Window::Range(_) => "Selected range".to_owned(),
        };
        let mut rows = Vec::new();
        for ((rank, work), host) in report.analysis.ranks.iter().zip(&report.works).zip(&report.hosts) {
            let of_step = |step: &StepBreakdown| {
                (Span { start: Timestamp(step.start_ns), end: Timestamp(step.end_ns) }, step.partition, step.host)
            };
            let found = match window {
                // Only threads and streams count for it; a recording of samples alone has neither.
                Window::Whole if rank.whole.start_ns >= rank.whole.end_ns => Some((whole, work.partition(whole), None)),
                Window::Whole => Some(of_step(&rank.whole)),
                Window::Step(place) => step_of(&report.analysis.steps, place, &rank.steps).map(of_step),
                Window::Range(span) => {
                    let span = self.shifts.recorded(rank.breakdown.rank_id, span);
                    let interval = Interval::new(span.start.0, span.end.0);
                    Some((span, work.partition(span), host.as_ref().map(|host| host.parts(interval))))
                }
            };
            if let Some((span, partition, host)) = found {
                let label = self.trace.rank(rank.breakdown.rank_id).map(gapless_trace::Rank::label).unwrap_or_default();
                let waits = self.engine.as_ref().and_then(|engine| engine.waiting.get(rank.breakdown.rank_id.index()));
                let interval = Interval::new(span.start.0, span.end.0);
                let waiting = waits.map_or(0, |waits| exposed_waits(work, waits, interval).length());
                let waiting = Duration(waiting);
                rows.push(RankRow { rank: rank.breakdown.rank_id, label, span, partition, host, waiting });
            }
        }
        let shown = |row: &RankRow| self.shifts.shown(row.rank, row.span);
        let hull = rows.iter().map(shown).reduce(Span::hull).unwrap_or(whole);
        Some(WindowView { title, hull, rows })
    }

    /// Whether any rank recorded device work.
    #[must_use]
    pub fn has_device_work(&self) -> bool {
        self.trace.tracks().iter().any(|track| track.kind == TrackKind::Stream && !track.events.is_empty())
    }

    /// What the time of a window is split into, in the order of bars.
    #[must_use]
    pub fn parts(&self) -> &'static [Part] {
        if self.has_device_work() { &Part::ALL } else { &Part::HOST }
    }

    /// The steps over all ranks; none where the analysis takes the whole recording for want of steps.
    #[must_use]
    pub fn steps(&self) -> &[StepSummary] {
        let Some(report) = &self.report else { return &[] };
        let has_steps = report.analysis.ranks.iter().flat_map(|rank| &rank.steps).any(|step| step.event.is_some());
        if has_steps { &report.analysis.steps } else { &[] }
    }

    /// The step that stands for the others: its duration is the median, the lower one of two.
    #[must_use]
    pub fn typical_step(&self) -> Option<usize> {
        let steps = self.steps();
        let mut places: Vec<_> = steps.iter().enumerate().map(|(place, step)| (step.duration_ns, place)).collect();
        places.sort_unstable();
        places.get(places.len().checked_sub(1)? / 2).map(|&(_, place)| place)
    }
}

/// The step of a rank that belongs to the step at `place` over all ranks: ranks may begin to record at different
/// steps, so they are joined by name, the k-th of equal names with the k-th.
fn step_of<'a>(steps: &[StepSummary], place: usize, of_rank: &'a [StepBreakdown]) -> Option<&'a StepBreakdown> {
    let name = &steps.get(place)?.name;
    let before = steps.iter().take(place).filter(|step| step.name == *name).count();
    of_rank.iter().filter(|step| step.name == *name).nth(before)
}

/// What to call the trace made of `paths`: the file's name, or that of the folder that holds the files.
#[must_use]
pub fn name_of(paths: &[PathBuf]) -> String {
    let last = |path: &std::path::Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    match paths {
        [] => "trace".to_owned(),
        [one] => last(one).unwrap_or_else(|| one.to_string_lossy().into_owned()),
        [first, ..] => {
            let folder = first.parent().filter(|folder| paths.iter().all(|path| path.parent() == Some(folder)));
            folder.and_then(last).unwrap_or_else(|| format!("{} files", paths.len()))
        }
    }
}
