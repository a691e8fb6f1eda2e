//! What the user has done to a timeline: where they look, what is folded and selected.

use egui::Rangef;
use gapless_trace::{Duration, EventId, RankId, Span, Timestamp, Trace};

use crate::flame::{Flame, FlameBar};
use crate::index::TimelineIndex;
use crate::layout::{FlameId, RowSource, TimelineLayout, TrackGroup};
use crate::links::{next_linked, previous_linked};
use crate::placement::{BlockItem, Folds, Placement, TrackFold};
use crate::scene::FrameStats;
use crate::shifts::Shifts;
use crate::theme::metrics;
use crate::viewport::Viewport;
use crate::widget::Cache;

/// What is shown of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewOptions {
    /// Whether empty tracks, synchronisation marks, points in time and the profiler's own spans are shown.
    pub show_hidden: bool,
    /// Whether jumps are animated.
    pub animate: bool,
    /// Width of the column of track headers in logical pixels.
    pub header_width: f32,
    /// Nesting depths that a track shows until it is opened fully.
    pub max_depth: u16,
    /// Whether the overview is shown.
    pub show_overview: bool,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self {
            show_hidden: false,
            animate: true,
            header_width: metrics::HEADER_WIDTH,
            max_depth: 6,
            show_overview: true,
        }
    }
}

/// What a menu, a palette or a key asks of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimelineCommand {
    /// Shows the whole trace.
    FitAll,
    /// Shows the selected range, else the selected event.
    FitSelection,
    /// Shows half as much time.
    ZoomIn,
    /// Shows twice as much time.
    ZoomOut,
    /// Goes back in time by a quarter of the view.
    PanLeft,
    /// Goes on in time by a quarter of the view.
    PanRight,
    /// Selects the next event of the row.
    NextSlice,
    /// Selects the previous event of the row.
    PreviousSlice,
    /// Selects the event that encloses the selected one.
    ParentSlice,
    /// Selects the first event inside the selected one.
    ChildSlice,
    /// Selects what the selected event launched or leads to.
    FollowForward,
    /// Selects what launched the selected event or led to it.
    FollowBack,
    /// Selects nothing.
    ClearSelection,
    /// Opens all ranks.
    OpenAllRanks,
    /// Folds all ranks.
    FoldAllRanks,
}

/// A bar of a flame strip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FramePlace {
    pub flame: FlameId,
    pub depth: u16,
    /// Its place in the row.
    pub place: usize,
}

impl FramePlace {
    pub fn find(self, index: &TimelineIndex) -> Option<(&Flame, FlameBar)> {
        let flame = index.layout().flames().get(self.flame.0 as usize)?;
        Some((flame, *flame.rows.get(usize::from(self.depth))?.get(self.place)?))
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Animation {
    pub from: Viewport,
    pub to: Viewport,
    /// From 0 to 1.
    pub progress: f64,
}

/// What a drag does, from press to release.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Drag {
    /// Selects time from here.
    Range(Timestamp),
    /// Moves the view.
    Pan,
    /// Moves the window of the overview.
    Window,
}

/// The state of a timeline: keep one per open trace.
#[derive(Debug)]
pub struct TimelineState {
    /// The visible time. Assign or change it freely; see also [`TimelineState::zoom_to`].
    pub view: Viewport,
    /// The selected event.
    pub selected: Option<EventId>,
    /// The selected range of time.
    pub range: Option<Span>,
    /// The frame of sampled stacks that was clicked: valid while its first sample is selected.
    pub(crate) frame: Option<FramePlace>,
    /// What is shown.
    pub options: ViewOptions,
    /// By how much ranks are shifted on screen.
    pub shifts: Shifts,
    pub(crate) folds: Folds,
    pub(crate) scroll_y: f32,
    pub(crate) animation: Option<Animation>,
    pub(crate) drag: Option<Drag>,
    /// Velocities of the keys W A S D: zoom in octaves and pan in widths, per second.
    pub(crate) velocity: (f64, f64),
    /// An event that the next frame scrolls to: only then the heights are known.
    pub(crate) scroll_to: Option<EventId>,
    pub(crate) cache: Cache,
    pub(crate) stats: FrameStats,
}

impl TimelineState {
    /// The whole trace, the first rank open.
    #[must_use]
    pub fn new(index: &TimelineIndex) -> Self {
        Self {
            view: Viewport::new(index.span()),
            selected: None,
            range: None,
            frame: None,
            options: ViewOptions::default(),
            shifts: Shifts::default(),
            folds: Folds::new(index.layout()),
            scroll_y: 0.0,
            animation: None,
            drag: None,
            velocity: (0.0, 0.0),
            scroll_to: None,
            cache: Cache::default(),
            stats: FrameStats::default(),
        }
    }

    /// The selected frame of sampled stacks, with the samples of its thread; `None` if something else is selected.
    #[must_use]
    pub fn selected_frame<'a>(&self, index: &'a TimelineIndex) -> Option<(&'a Flame, FlameBar)> {
        let (flame, bar) = self.frame?.find(index)?;
        (Some(bar.first) == self.selected).then_some((flame, bar))
    }

    /// The view on the clock of a rank.
    pub(crate) fn view_of(&self, rank: RankId) -> Viewport {
        self.view.shifted(self.shifts.of(rank))
    }

    /// Where an event stands in the view.
    #[must_use]
    pub fn shown_span(&self, trace: &Trace, event: EventId) -> Span {
        let span = trace.event(event).span();
        trace.rank_of(event).map_or(span, |rank| self.shifts.shown(rank, span))
    }

    /// What the last frame drew.
    #[must_use]
    pub fn stats(&self) -> FrameStats {
        self.stats
    }

    /// Whether a rank is open.
    #[must_use]
    pub fn is_rank_open(&self, rank: RankId) -> bool {
        self.folds.is_open(rank.index())
    }

    /// Opens or folds a rank.
    pub fn set_rank_open(&mut self, rank: RankId, open: bool) {
        self.folds.set_open(rank.index(), open);
    }

    /// Folds a track or opens it fully, by the place of its rank and its place among the rank's tracks.
    pub fn set_track_fold(&mut self, rank: usize, track: usize, fold: TrackFold) {
        self.folds.set_track(rank, track, fold);
    }

    /// Shows the whole trace.
    pub fn fit_all(&mut self) {
        let bounds = self.view.bounds();
        self.zoom_to(bounds);
    }

    /// Shows exactly `span`, with motion if that is wanted.
    pub fn zoom_to(&mut self, span: Span) {
        let mut target = self.view;
        target.show(span);
        self.go_to(target);
    }

    /// Shows `span` with a margin on both sides.
    pub fn show_span(&mut self, span: Span) {
        let margin = Duration((span.duration().0 / 10).max(2));
        self.zoom_to(Span::new(span.start - margin, span.end + margin));
    }

    /// Shows at once what `leader` shows, `by` later on the own clock: for timelines that stand one above the other.
    pub fn follow(&mut self, leader: &Self, by: Duration) {
        self.animation = None;
        self.view = self.view.like(&leader.view, by);
    }

    /// Whether the view is in motion by itself.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.animation.is_some() || self.velocity != (0.0, 0.0)
    }

    fn go_to(&mut self, target: Viewport) {
        if self.options.animate {
            self.animation = Some(Animation { from: self.view, to: target, progress: 0.0 });
        } else {
            self.animation = None;
            self.view = target;
        }
    }

    /// The view that the present motion ends in.
    pub(crate) fn target(&self) -> Viewport {
        self.animation.map_or(self.view, |animation| animation.to)
    }

    /// Selects an event and brings it into view: opens its rank, scrolls to it, moves to its time, and zooms in if it
    /// would be too small to see.
    pub fn reveal(&mut self, event: EventId, trace: &Trace, index: &TimelineIndex) {
        self.selected = Some(event);
        self.show_row(event, trace, index.layout());
        let span = self.shown_span(trace, event);
        let mut target = self.target();
        let dur_ns = span.duration().0 as f64;
        /// An event of less than this part of the view is too small.
        const SMALL: f64 = 0.01;
        let before = target;
        if dur_ns < target.span_ns() * SMALL || dur_ns > target.span_ns() * 2.0 {
            let around = Duration((span.duration().0 * 3).max(20));
            target.show(Span::new(span.start - around, span.end + around));
        } else {
            center_if_outside(&mut target, span);
        }
        if target != before {
            self.go_to(target);
        }
    }

    /// Opens the rank and the track of an event and scrolls to it; time and selection stay.
    pub fn scroll_to_row_of(&mut self, event: EventId, trace: &Trace, index: &TimelineIndex) {
        self.show_row(event, trace, index.layout());
    }

    fn show_row(&mut self, event: EventId, trace: &Trace, layout: &TimelineLayout) {
        self.scroll_to = Some(event);
        let Some((rank, track, inner)) = layout.find(trace, event) else { return };
        let Some(node) = layout.ranks().get(rank).and_then(|node| node.tracks.get(track)) else { return };
        if !self.folds.is_open(rank) {
            self.folds.set_open(rank, true);
        }
        if node.hidden {
            self.options.show_hidden = true;
        }
        let depth = node.rows.get(inner).map_or(0, |row| row.depth);
        let is_shown = match self.folds.track(rank, track, node.group) {
            TrackFold::Full => true,
            TrackFold::Capped => depth < self.options.max_depth,
            TrackFold::Folded => node.folded.contains(&inner),
        };
        if !is_shown {
            let enough = depth < self.options.max_depth && node.group != TrackGroup::Samples;
            self.folds.set_track(rank, track, if enough { TrackFold::Capped } else { TrackFold::Full });
        }
    }

    /// Selects an event that is near, without zooming.
    fn step_to(&mut self, event: Option<EventId>, trace: &Trace, index: &TimelineIndex) {
        let Some(event) = event else { return };
        self.selected = Some(event);
        self.show_row(event, trace, index.layout());
        let mut target = self.target();
        let before = target;
        center_if_outside(&mut target, self.shown_span(trace, event));
        if target != before {
            self.go_to(target);
        }
    }

    /// Does what a command says. Commands that need a selection do nothing without one.
    pub fn apply(&mut self, command: TimelineCommand, trace: &Trace, index: &TimelineIndex) {
        use TimelineCommand as C;
        let selected = self.selected;
        let mut target = self.target();
        match command {
            C::FitAll => self.fit_all(),
            C::FitSelection => match (self.range, selected) {
                (Some(range), _) if !range.is_empty() => self.zoom_to(range),
                (_, Some(event)) => {
                    self.show_row(event, trace, index.layout());
                    self.show_span(self.shown_span(trace, event));
                }
                _ => {}
            },
            C::ZoomIn | C::ZoomOut => {
                target.zoom(if command == C::ZoomIn { 2.0 } else { 0.5 }, 0.5);
                self.go_to(target);
            }
            C::PanLeft | C::PanRight => {
                let quarter = target.span_ns() / 4.0;
                target.pan(if command == C::PanLeft { -quarter } else { quarter });
                self.go_to(target);
            }
            C::NextSlice => self.step_to(selected.and_then(|id| neighbour(trace, index.layout(), id, 1)), trace, index),
            C::PreviousSlice => {
                self.step_to(selected.and_then(|id| neighbour(trace, index.layout(), id, -1)), trace, index)
            }
            C::ParentSlice => self.step_to(selected.and_then(|id| trace.parent(id)), trace, index),
            C::ChildSlice => {
                let child = selected.map(|id| trace.children(id)).filter(|range| !range.is_empty());
                self.step_to(child.map(|range| EventId(range.start as u32)), trace, index);
            }
            C::FollowForward => {
                if let Some(event) = selected.and_then(|id| next_linked(trace, id)) {
                    self.reveal(event, trace, index);
                }
            }
            C::FollowBack => {
                if let Some(event) = selected.and_then(|id| previous_linked(trace, id)) {
                    self.reveal(event, trace, index);
                }
            }
            C::ClearSelection => {
                self.selected = None;
                self.range = None;
            }
            C::OpenAllRanks => self.folds.set_all_open(true),
            C::FoldAllRanks => self.folds.set_all_open(false),
        }
    }

    /// Moves an animation on by `seconds`. Returns whether it goes on.
    pub(crate) fn advance(&mut self, seconds: f64) -> bool {
        const LENGTH_SECONDS: f64 = 0.18;
        let Some(animation) = &mut self.animation else { return false };
        animation.progress += seconds / LENGTH_SECONDS;
        let left = (1.0 - animation.progress).max(0.0);
        self.view = animation.from.toward(&animation.to, 1.0 - left.powi(3));
        if animation.progress >= 1.0 {
            self.animation = None;
        }
        self.animation.is_some()
    }

    /// Scrolls so that `scroll_to` is on screen, now that heights are known.
    pub(crate) fn finish_scroll(&mut self, trace: &Trace, layout: &TimelineLayout, placement: &Placement, height: f32) {
        if let Some(row) = self.scroll_to.take().and_then(|event| placement.row_of(trace, layout, event)) {
            let visible = Rangef::new(self.scroll_y + metrics::TRACK_ROW, self.scroll_y + height - metrics::TRACK_ROW);
            if row.y < visible.min || row.y + row.height > visible.max {
                self.scroll_y = row.y - height / 3.0;
            }
        }
        self.scroll_y = self.scroll_y.clamp(0.0, (placement.height - height).max(0.0));
    }

    /// Does what a click on a header does.
    pub(crate) fn toggle(&mut self, item: BlockItem, group: TrackGroup, hidden_rows: usize, rows: usize) {
        match item {
            BlockItem::CommunicationHeading => self.folds.toggle_communication(),
            BlockItem::Communication(..) => {}
            BlockItem::RankHeading(rank) => self.folds.set_open(rank, false),
            BlockItem::FoldedRank(rank) => self.folds.set_open(rank, true),
            BlockItem::Track(rank, track) => {
                let next = match self.folds.track(rank, track, group) {
                    TrackFold::Folded if group == TrackGroup::Samples => TrackFold::Full,
                    TrackFold::Folded => TrackFold::Capped,
                    TrackFold::Capped if hidden_rows > 0 => TrackFold::Full,
                    TrackFold::Capped | TrackFold::Full if rows > 1 => TrackFold::Folded,
                    fold => fold,
                };
                self.folds.set_track(rank, track, next);
            }
        }
    }
}

/// Moves a view so that `span` is in its middle, unless some of it is well on screen.
fn center_if_outside(view: &mut Viewport, span: Span) {
    let start = view.offset_ns(span.start) / view.span_ns();
    let end = view.offset_ns(span.end) / view.span_ns();
    if end < 0.03 || start > 0.97 || (start < 0.0 && end < 0.2) {
        let middle = (start + end) / 2.0;
        view.pan((middle - 0.5) * view.span_ns());
    }
}

/// The event `by` places further in the row that shows `event`.
fn neighbour(trace: &Trace, layout: &TimelineLayout, event: EventId, by: isize) -> Option<EventId> {
    let (rank, track, inner) = layout.find(trace, event)?;
    match layout.ranks().get(rank)?.tracks.get(track)?.rows.get(inner)?.source {
        RowSource::List(list) => {
            let place = layout.position(trace, list, event)?;
            layout.list(list).get(place.checked_add_signed(by)?).copied()
        }
        RowSource::Row(row) => {
            let next = event.index().checked_add_signed(by)?;
            trace.rows().get(row.index())?.indices().contains(&next).then_some(EventId(next as u32))
        }
        RowSource::Counter(_) | RowSource::Flame(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn first(trace: &Trace, name: &str) -> EventId {
        (0..trace.events().len() as u32).map(EventId).find(|&id| trace.name(id) == name).unwrap()
    }

    fn still(index: &TimelineIndex) -> TimelineState {
        let mut state = TimelineState::new(index);
        state.options.animate = false;
        state
    }

    #[test]
    fn slices_are_walked_within_their_row() {
        let trace = fixtures::training(1, 2);
        let index = TimelineIndex::build(&trace);
        let mut state = still(&index);
        state.selected = Some(first(&trace, "aten::linear"));
        state.apply(TimelineCommand::NextSlice, &trace, &index);
        assert_eq!(state.selected.map(|id| trace.name(id)), Some("aten::addmm"));
        state.apply(TimelineCommand::PreviousSlice, &trace, &index);
        state.apply(TimelineCommand::PreviousSlice, &trace, &index);
        assert_eq!(state.selected.map(|id| trace.name(id)), Some("aten::linear"), "the first of its row stays");
        state.apply(TimelineCommand::ParentSlice, &trace, &index);
        assert_eq!(state.selected.map(|id| trace.name(id)), Some("forward"));
    }

    #[test]
    fn links_are_followed_across_folds() {
        let trace = fixtures::training(2, 2);
        let index = TimelineIndex::build(&trace);
        let mut state = still(&index);
        state.apply(TimelineCommand::FoldAllRanks, &trace, &index);
        state.selected = Some(first(&trace, "cudaLaunchKernel"));
        state.apply(TimelineCommand::FollowForward, &trace, &index);
        let kernel = state.selected.unwrap();
        assert!(trace.event(kernel).kind.is_kernel());
        assert!(state.is_rank_open(RankId(0)), "its rank opens");
        let seen = state.view.visible();
        assert!(seen.start <= trace.event(kernel).start && trace.event(kernel).end() <= seen.end);
        state.apply(TimelineCommand::FollowBack, &trace, &index);
        assert_eq!(state.selected, Some(first(&trace, "cudaLaunchKernel")));
    }

    #[test]
    fn revealing_a_tiny_event_zooms_in_and_a_visible_one_stays() {
        let trace = fixtures::training(1, 50);
        let index = TimelineIndex::build(&trace);
        let mut state = still(&index);
        let copy = first(&trace, "Memcpy HtoD");
        state.reveal(copy, &trace, &index);
        let zoomed = state.view;
        assert!(zoomed.span_ns() < 100_000.0);
        state.reveal(copy, &trace, &index);
        assert_eq!(state.view, zoomed);
    }

    #[test]
    fn slices_between_python_frames_are_walked_and_frames_are_opened() {
        let trace = fixtures::python_stack(3);
        let index = TimelineIndex::build(&trace);
        let mut state = still(&index);
        state.selected = Some(first(&trace, "aten::linear"));
        state.apply(TimelineCommand::NextSlice, &trace, &index);
        assert_eq!(state.selected.map(|id| trace.name(id)), Some("aten::relu"), "though it lies at another depth");
        let frame = first(&trace, "linear.py(3): forward");
        state.reveal(frame, &trace, &index);
        let (_, placement) = Placement::new(index.layout(), &state.folds, false, state.options.max_depth);
        let row = placement.row_of(&trace, index.layout(), frame).unwrap();
        assert_eq!(row.depth, 9, "the Python frames are open");
    }

    #[test]
    fn an_animation_ends_at_its_target() {
        let trace = fixtures::training(1, 10);
        let index = TimelineIndex::build(&trace);
        let mut state = TimelineState::new(&index);
        let span = trace.event(index.layout().steps()[3]).span();
        state.zoom_to(span);
        assert!(state.advance(0.05));
        assert_ne!(state.view.visible(), span);
        assert!(!state.advance(1.0));
        assert_eq!(state.view.visible(), span);
    }
}
