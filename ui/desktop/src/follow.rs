//! Following a recording while it grows: look whether its files changed, read them anew beside the frames, take the new
//! trace over without moving what the user looks at.
//!
//! Invariant: no frame waits. A look begins [`PAUSE`] after the last one, and after reading at least as long as reading
//! took, so that following costs half a core at most.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use gapless_timeline::TimelineState;
use gapless_trace::{RankId, Trace};

use crate::jobs::{Generation, OpenProgress, Opened, Report};
use crate::record::{Recording, RecordingState};
use crate::state::{Selection, Window};
use crate::update::Model;

/// Between two looks at the files.
pub const PAUSE: Duration = Duration::from_secs(2);

/// What a look at the files saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Name, length and time of change of each file, by name.
    files: Vec<(PathBuf, u64, Option<SystemTime>)>,
    /// What the recorder's manifest says, where the path is a recording.
    pub recording: Option<RecordingState>,
}

impl Stamp {
    /// Looks at what `paths` name: files, and the files in folders.
    #[must_use]
    pub fn of(paths: &[PathBuf], recording: Option<&dyn Recording>) -> Self {
        let mut files = Vec::new();
        let mut state = None;
        for path in paths {
            if path.is_dir() {
                state = state.or_else(|| recording.and_then(|recording| recording.recording(path)));
                let inside = std::fs::read_dir(path).into_iter().flatten().flatten();
                // The manifest changes without any event.
                let traces = inside.map(|entry| entry.path()).filter(|path| !path.ends_with("manifest.json"));
                files.extend(traces.filter_map(|path| stamp_of(&path)));
            } else {
                files.extend(stamp_of(path));
            }
        }
        files.sort_unstable();
        Self { files, recording: state }
    }

    /// Whether the recorder is at work.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.recording.is_some_and(|state| state.is_running)
    }

    /// Whether the files are the same.
    #[must_use]
    pub fn has_same_files(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

fn stamp_of(path: &Path) -> Option<(PathBuf, u64, Option<SystemTime>)> {
    let data = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some((path.to_owned(), data.len(), data.modified().ok()))
}

/// The trace on the screen as files that may grow.
#[derive(Debug)]
pub struct Followed {
    /// What was opened.
    pub paths: Vec<PathBuf>,
    /// As it was when the trace on the screen was read.
    pub stamp: Stamp,
    /// When the files were last looked at.
    pub looked: Instant,
    /// When they were last seen to have grown.
    pub grown: Instant,
    /// Until when no look begins.
    pub next: Instant,
    /// Whether a look or a reading is on its way.
    pub work: Work,
}

/// What is on its way.
#[derive(Debug)]
pub enum Work {
    /// Nothing.
    None,
    /// A look at the files.
    Looking,
    /// Reading them anew.
    Reading(Arc<OpenProgress>, Stamp),
}

impl Followed {
    /// Right after the files were read.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>, stamp: Stamp) -> Self {
        let now = Instant::now();
        Self { paths, stamp, looked: now, grown: now, next: now + PAUSE, work: Work::None }
    }

    /// The line that says that the recording goes on; `None` if it does not. `now_unix_ns` is the present.
    #[must_use]
    pub fn status(&self, now_unix_ns: i64, now: Instant) -> Option<String> {
        let state = self.stamp.recording.filter(|state| state.is_running)?;
        let seconds = now_unix_ns.saturating_sub(state.began_unix_ns).max(0) / 1_000_000_000;
        /// From here on it is worth saying that nothing comes.
        const SILENCE: Duration = Duration::from_secs(10);
        let silent = now.saturating_duration_since(self.grown);
        let more = if silent > SILENCE { format!(" · nothing new for {} s", silent.as_secs()) } else { String::new() };
        Some(format!("recording, {} s{more}", crate::format::thousands(seconds.unsigned_abs())))
    }
}

impl Model {
    /// Looks at the files again when it is time to. Returns after how long to come back; `None` if nothing is followed.
    pub fn follow(&mut self) -> Option<Duration> {
        let watches = self.state.follows_end;
        let loaded = self.state.loaded.as_mut()?;
        let generation = loaded.generation;
        let followed = loaded.followed.as_mut()?;
        if !(watches || followed.stamp.is_running()) {
            return None;
        }
        let now = Instant::now();
        if now < followed.next {
            return Some(followed.next - now);
        }
        if matches!(followed.work, Work::None) && self.state.loading.is_none() {
            followed.work = Work::Looking;
            followed.looked = now;
            self.jobs.look(generation, followed.paths.clone(), self.state.recording.clone());
        }
        Some(PAUSE)
    }

    /// Takes over what a look saw: reads the files if they have changed.
    pub(crate) fn looked(&mut self, generation: Generation, stamp: Stamp) {
        let Some(loaded) = self.state.loaded.as_mut().filter(|loaded| loaded.generation == generation) else { return };
        let Some(followed) = &mut loaded.followed else { return };
        followed.work = Work::None;
        followed.next = Instant::now() + PAUSE;
        if stamp.has_same_files(&followed.stamp) {
            followed.stamp = stamp;
            return;
        }
        followed.grown = Instant::now();
        let options = self.state.open_options.clone();
        let progress = self.jobs.read_again(generation, followed.paths.clone(), options);
        followed.work = Work::Reading(progress, stamp);
    }

    /// Shows the longer trace in place of the shorter one. `None` says that it could not be read: a file may be half
    /// written at any moment, and the next look tries again.
    pub(crate) fn read_again(&mut self, generation: Generation, again: Option<(Opened, Report)>) {
        let follows_end = self.state.follows_end;
        let Some(loaded) = self.state.loaded.as_mut().filter(|loaded| loaded.generation == generation) else { return };
        let Some(followed) = &mut loaded.followed else { return };
        let Work::Reading(progress, stamp) = std::mem::replace(&mut followed.work, Work::None) else { return };
        followed.next = Instant::now() + PAUSE.max(progress.began().elapsed());
        let Some((opened, report)) = again else { return };
        followed.stamp = stamp;
        let before = Arc::clone(&loaded.trace);
        let table_rank = same_rank(&before, loaded.table_rank, &opened.trace).unwrap_or_default();
        if let Some(timeline) = &mut self.timeline {
            let mut next = TimelineState::new(&opened.index);
            next.take_over(timeline, (&before, &loaded.index), (&opened.trace, &opened.index));
            if follows_end {
                next.show_end();
            }
            *timeline = next;
        }
        let selected = self.timeline.as_ref().and_then(|timeline| timeline.selected);
        let known = loaded.selection.take();
        loaded.selection = selected.zip(known).map(|(event, _)| Selection {
            event,
            args: opened.trace.args(event).map_err(|error| error.to_string()),
            same_name: None,
            frame: None,
        });
        let is_chosen = loaded.report.is_some();
        loaded.trace = opened.trace;
        loaded.index = opened.index;
        loaded.report = Some(report);
        loaded.engine = None;
        loaded.advice = None;
        loaded.simulation = None;
        loaded.roofline_of = None;
        loaded.roofline = None;
        // What is lit up names events of the trace before.
        loaded.highlight = None;
        loaded.table_rank = table_rank;
        let query = loaded.search.query.trim().to_owned();
        let window = if is_chosen { loaded.window } else { loaded.typical_step().map_or(Window::Whole, Window::Step) };
        let trace = Arc::clone(&loaded.trace);
        if !query.is_empty() {
            self.jobs.search(generation, Arc::clone(&trace), query);
        }
        if let Some(event) = selected {
            self.jobs.same_name(generation, trace, event);
        }
        self.comparison_is_stale();
        self.window_again(window);
        self.want_roofline();
        self.run_engine();
    }
}

/// The rank of `to` with the number of `rank` in `from`, else at its place.
fn same_rank(from: &Trace, rank: RankId, to: &Trace) -> Option<RankId> {
    let number = from.rank(rank)?.number;
    let same = to.rank_ids().find(|(_, other)| number.is_some() && other.number == number);
    same.map(|(id, _)| id).or_else(|| to.rank(rank).map(|_| rank))
}
