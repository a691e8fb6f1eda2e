//! The trace on the screen beside an earlier recording of the job, and what made its steps longer or shorter.

use std::path::PathBuf;
use std::sync::Arc;

use gapless_diff::{Detail, Diff, Row, VerdictKind};
use gapless_timeline::TimelineState;
use gapless_trace::{Duration, EventId, Span, Trace};

use crate::BottomTab;
use crate::align::Alignment;
use crate::engine::Engine;
use crate::format::{counted, figure, percent};
use crate::highlight::open_only;
use crate::jobs::{OpenProgress, Opened, Report};
use crate::simulate::signed;
use crate::state::{Failure, Highlight, Loaded, Piece, Window, name_of};
use crate::update::Model;

/// Pieces of a change that are lit up at once.
const MOST_PIECES: usize = 200;

/// The recording that the trace on the screen is compared with.
pub struct Comparison {
    /// Tells late results of another comparison apart.
    pub id: u64,
    /// What was asked for.
    pub name: String,
    /// Where it lies.
    pub paths: Vec<PathBuf>,
    /// How far reading has come.
    pub progress: Arc<OpenProgress>,
    /// The base, once it is read.
    pub base: Option<Loaded>,
    /// What differs, once that is worked out.
    pub found: Option<Arc<Diff>>,
    /// Whether the trace on the screen has grown since.
    pub is_stale: bool,
    /// What is added to a time of the trace on the screen for the time of the base that stands at the same place.
    pub by: Duration,
    /// The bar of the waterfall whose details are shown.
    pub opened: Option<usize>,
    /// The bar, and its detail, that is lit up.
    pub chosen: Option<(usize, Option<usize>)>,
}

/// What the work of a comparison brings back.
pub enum Compared {
    /// The base was read.
    Base(Opened),
    /// It was analysed.
    Report(Box<Report>),
    /// What differs from this trace.
    Found(Arc<Trace>, Arc<Diff>),
    /// The engine ran on the base.
    Engine(Arc<Engine>),
    /// The base cannot be read.
    Failed(String),
    /// The user gave up.
    Cancelled,
}

/// A bar of the waterfall: from the length of a step before its cause to the length after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Its place among the rows of the comparison.
    pub row: usize,
    /// Before.
    pub from_ns: i64,
    /// After.
    pub to_ns: i64,
}

/// The bars of what has a part in the change, in the order of the rows; the last ends at the length of the new step.
#[must_use]
pub fn waterfall(found: &Diff) -> Vec<Bar> {
    let mut at = found.base.typical_ns;
    let with_part = found.rows.iter().enumerate().filter(|(_, row)| row.part_ns != 0);
    let bar = |(place, row): (usize, &Row)| {
        let from_ns = at;
        at = at.saturating_add(row.part_ns);
        Bar { row: place, from_ns, to_ns: at }
    };
    with_part.map(bar).collect()
}

/// `19.9 ms → 21.2 ms, +1.30 ms (+6.5 %)`.
#[must_use]
pub fn lengths(found: &Diff) -> String {
    let (base, new) = (Duration(found.base.typical_ns), Duration(found.new.typical_ns));
    format!("{base} → {new}, {} ({})", signed(Duration(found.delta_ns)), signed_percent(found.verdict.change))
}

/// What is said at a glance.
#[must_use]
pub fn headline(found: &Diff) -> &'static str {
    match found.verdict.verdict {
        VerdictKind::Slower => "Steps are slower",
        VerdictKind::Faster => "Steps are faster",
        VerdictKind::NoChange => "Steps are as long as before",
        VerdictKind::CannotTell => "There is no telling whether steps changed",
    }
}

/// A share with its sign.
#[must_use]
pub fn signed_percent(share: f64) -> String {
    if share > 0.0 { format!("+{}", percent(share)) } else { percent(share).replace('-', "−") }
}

/// `12.0 µs → 24.0 µs over all ranks, 8 → 8 pieces`: the time of a detail, which is not its effect.
#[must_use]
pub fn times(detail: &Detail) -> String {
    let (base, new) = (Duration(detail.base_ns), Duration(detail.new_ns));
    let pieces = if (detail.base_count - detail.new_count).abs() < 0.005 {
        let word = if (detail.new_count - 1.0).abs() < 0.005 { "piece" } else { "pieces" };
        format!("{} {word}", figure(detail.new_count))
    } else {
        format!("{} → {} pieces", figure(detail.base_count), figure(detail.new_count))
    };
    format!("{base} → {new} in {pieces} of a typical step")
}

impl Comparison {
    /// What stands above the waterfall if there is none yet.
    #[must_use]
    pub fn status(&self) -> String {
        match (&self.base, &self.found) {
            (None, _) => format!("Reading {}", self.name),
            (Some(_), None) => format!("Comparing with {}", self.name),
            (Some(_), Some(_)) => String::new(),
        }
    }

    /// The step of the base that is compared with the step at `place` of `loaded`; its typical one if none is.
    #[must_use]
    pub fn step_of_base(&self, loaded: &Loaded, place: usize) -> Option<usize> {
        let base = self.base.as_ref()?;
        let aligned = || {
            let found = self.found.as_ref()?;
            let name = &loaded.steps().get(place)?.name;
            let nth = loaded.steps().iter().take(place).filter(|step| step.name == *name).count();
            let in_new = found.new.steps.iter().enumerate().filter(|(_, step)| step.name == *name).nth(nth)?.0;
            let pairs = found.alignment.steps.iter().filter(|pair| pair.1 == in_new).map(|pair| pair.0);
            let is_typical = |of_base: &usize| found.base.steps.get(*of_base).is_some_and(|step| step.is_typical);
            let of_base = pairs.max_by_key(is_typical)?;
            let name = &found.base.steps.get(of_base)?.name;
            let nth = found.base.steps.iter().take(of_base).filter(|step| step.name == *name).count();
            base.steps().iter().enumerate().filter(|(_, step)| step.name == *name).nth(nth).map(|(place, _)| place)
        };
        aligned().or_else(|| base.typical_step())
    }

    /// Brings the chosen step of `loaded` and the one of the base that is compared with it together, at their beginnings.
    fn align_steps(&mut self, loaded: &Loaded) {
        let own = loaded.view.as_ref().map(|view| view.hull);
        let window = match loaded.window {
            Window::Step(place) => self.step_of_base(loaded, place).map(Window::Step),
            Window::Whole => Some(Window::Whole),
            // A stretch that the user dragged out is looked at where it stands.
            Window::Range(_) => return,
        };
        let Some(base) = &mut self.base else { return };
        let view = base.work_out(window.unwrap_or(Window::Whole));
        let hull = view.as_ref().map(|view| view.hull).or_else(|| base.trace.span());
        base.window = window.unwrap_or(Window::Whole);
        base.view = view;
        if let (Some(own), Some(hull)) = (own.or_else(|| loaded.trace.span()), hull) {
            self.by = hull.start - own.start;
        }
    }

    /// Events of a bar, or of one of its details: those of the base and those of the trace on the screen.
    fn evidence(&self, row: usize, detail: Option<usize>) -> [Vec<EventId>; 2] {
        let details = self.found.iter().filter_map(|found| found.rows.get(row)).flat_map(|row| &row.details);
        let chosen = details.enumerate().filter(|(place, _)| detail.is_none_or(|detail| detail == *place));
        let evidence: Vec<_> = chosen.flat_map(|(_, detail)| &detail.evidence).take(MOST_PIECES).collect();
        let of = |event: fn(&gapless_diff::Evidence) -> Option<EventId>| -> Vec<EventId> {
            let mut events: Vec<EventId> = evidence.iter().filter_map(|evidence| event(evidence)).collect();
            events.dedup();
            events
        };
        [of(|evidence| evidence.base_event), of(|evidence| evidence.new_event)]
    }
}

/// Lights up `events` of one side. Returns the first of them with its time as the side shows it.
fn light_up(loaded: &mut Loaded, timeline: &mut TimelineState, events: &[EventId], label: &str) -> Option<Span> {
    loaded.highlight = None;
    let trace = &loaded.trace;
    let piece = |&event: &EventId| Some(Piece { rank: trace.rank_of(event)?, span: trace.event(event).span() });
    let pieces: Vec<Piece> = events.iter().filter_map(piece).collect();
    let first = *pieces.first()?;
    loaded.highlight = Some(Highlight::new(trace, &[], label.to_owned(), pieces, events.to_vec()));
    open_only(timeline, trace, first.rank);
    if let Some(&event) = events.first() {
        timeline.scroll_to_row_of(event, trace, &loaded.index);
    }
    Some(loaded.shifts.shown(first.rank, first.span))
}

impl Model {
    /// Compares the trace on the screen with what lies at `paths`.
    pub(crate) fn compare(&mut self, paths: Vec<PathBuf>) {
        let Some(loaded) = &self.state.loaded else { return };
        if paths.is_empty() {
            return;
        }
        let new = Arc::clone(&loaded.trace);
        self.end_comparison();
        self.comparisons += 1;
        self.state.failure = None;
        self.state.path_field = None;
        let (id, options) = (self.comparisons, self.state.open_options.clone());
        // Small files are read before `compare` returns where work is done at once, so that the state comes first.
        let progress = Arc::new(OpenProgress::new());
        self.state.comparison = Some(Comparison {
            id,
            name: name_of(&paths),
            paths: paths.clone(),
            progress: Arc::clone(&progress),
            base: None,
            found: None,
            is_stale: false,
            by: Duration::ZERO,
            opened: None,
            chosen: None,
        });
        self.jobs.compare(id, paths, options, new, progress);
        self.show_tab(BottomTab::Compare);
    }

    /// Compares with the same base once more.
    pub(crate) fn compare_again(&mut self) {
        if let Some(comparison) = &self.state.comparison {
            let paths = comparison.paths.clone();
            self.compare(paths);
        }
    }

    /// Shows the trace alone again.
    pub(crate) fn end_comparison(&mut self) {
        if let Some(comparison) = self.state.comparison.take() {
            comparison.progress.cancel();
        }
        self.base_timeline = None;
    }

    /// Takes over what the work of a comparison has brought.
    pub(crate) fn take_compared(&mut self, id: u64, compared: Compared) {
        let Some(comparison) = self.state.comparison.as_mut().filter(|comparison| comparison.id == id) else { return };
        match compared {
            Compared::Base(opened) => {
                let mut timeline = TimelineState::new(&opened.index);
                timeline.options.show_overview = false;
                if let Some(own) = &self.timeline {
                    timeline.options.header_width = own.options.header_width;
                }
                self.base_timeline = Some(timeline);
                let generation = crate::jobs::Generation::default();
                comparison.base = Some(Loaded::new(generation, opened, comparison.name.clone(), None));
            }
            Compared::Report(report) => {
                if let Some(base) = &mut comparison.base {
                    base.report = Some(*report);
                }
                self.align_comparison();
            }
            Compared::Found(trace, found) => {
                let is_shown = self.state.loaded.as_ref().is_some_and(|loaded| Arc::ptr_eq(&loaded.trace, &trace));
                // A recording that grew meanwhile has events of its own.
                comparison.is_stale = !is_shown;
                if is_shown {
                    comparison.found = Some(found);
                }
                self.align_comparison();
            }
            Compared::Engine(engine) => {
                if let Some(base) = &mut comparison.base {
                    base.engine = Some(engine);
                    base.align_by(Alignment::Clock);
                    if let Some(timeline) = &mut self.base_timeline {
                        timeline.shifts = base.shifts.clone();
                    }
                }
                self.align_comparison();
            }
            Compared::Failed(text) => {
                let title = format!("Cannot open {}", comparison.name);
                self.end_comparison();
                self.state.failure = Some(Failure { title, text });
            }
            Compared::Cancelled => self.end_comparison(),
        }
    }

    /// Brings the steps of both sides together.
    pub(crate) fn align_comparison(&mut self) {
        if let (Some(comparison), Some(loaded)) = (&mut self.state.comparison, &self.state.loaded) {
            comparison.align_steps(loaded);
        }
    }

    /// The trace on the screen is a longer one now: what was found names events of the one before.
    pub(crate) fn comparison_is_stale(&mut self) {
        if let Some(comparison) = &mut self.state.comparison {
            comparison.is_stale = true;
            comparison.found = None;
            (comparison.opened, comparison.chosen) = (None, None);
        }
    }

    /// Opens or closes the details of a bar, and lights up what it is about.
    pub(crate) fn open_change(&mut self, row: usize) {
        let Some(comparison) = &mut self.state.comparison else { return };
        if comparison.opened == Some(row) {
            (comparison.opened, comparison.chosen) = (None, None);
            if let Some(base) = &mut comparison.base {
                base.highlight = None;
            }
            self.clear_highlight();
            return;
        }
        comparison.opened = Some(row);
        self.show_change(row, None);
    }

    /// Lights up a bar, or one of its details, on both sides; the first pair of events stands one above the other.
    pub(crate) fn show_change(&mut self, row: usize, detail: Option<usize>) {
        let Some(comparison) = &mut self.state.comparison else { return };
        let Some(label) = comparison.found.as_ref().and_then(|found| {
            let row = found.rows.get(row)?;
            let detail = detail.and_then(|detail| row.details.get(detail));
            Some(detail.map_or_else(|| row.label(), |detail| format!("{}: {}", row.label(), detail.name)))
        }) else {
            return;
        };
        comparison.chosen = Some((row, detail));
        let [of_base, of_new] = comparison.evidence(row, detail);
        let (Some(base), Some(base_timeline)) = (&mut comparison.base, &mut self.base_timeline) else { return };
        let (Some(loaded), Some(timeline)) = (&mut self.state.loaded, &mut self.timeline) else { return };
        let in_base = light_up(base, base_timeline, &of_base, &label);
        let in_new = light_up(loaded, timeline, &of_new, &label);
        if let (Some(base), Some(new)) = (in_base, in_new) {
            comparison.by = base.start - new.start;
        }
        let by = comparison.by;
        let of_base = in_base.map(|span| Span { start: span.start - by, end: span.end - by });
        if let Some(span) = in_new.into_iter().chain(of_base).reduce(Span::hull) {
            // Room around it, so that one sees what comes before and after.
            let margin = Duration((span.duration().0 * 2).max(1_000));
            timeline.show_span(Span { start: span.start - margin, end: span.end + margin });
        }
    }
}

/// How many steps the verdict rests on.
#[must_use]
pub fn steps_text(found: &Diff) -> String {
    let steps = |count: usize| counted(count as u64, "step", "steps");
    format!("{} against {}", steps(found.new.steps.len()), steps(found.base.steps.len()))
}
