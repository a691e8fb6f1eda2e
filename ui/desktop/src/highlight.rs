//! Time and events that a number stands for, lit up on the timeline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gapless_analysis::interval::IntervalSet;
use gapless_analysis::path::Category;
use gapless_analysis::{HostThread, RankWork};
use gapless_timeline::{BarStyle, Overlay, OverlayColor, OverlayPlace, Shifts, TimelineState};
use gapless_trace::{Duration, EventId, EventKind, RankId, Span, Timestamp, Trace, TrackId, TrackKind};

use crate::engine::PathRow;
use crate::engine_rows::{MOST_SEGMENTS, caused_by};
use crate::part::Part;
use crate::state::{Highlight, Piece};
use crate::update::Model;

impl Model {
    pub(crate) fn show_part(&mut self, rank: Option<RankId>, part: Part) {
        let of_rank = rank.map(|rank| move |other: RankId| other == rank);
        let label = |rank_label: Option<&str>| match rank_label {
            Some(rank_label) => format!("{rank_label}: {}", part.label()),
            None => format!("All ranks: {}", part.label()),
        };
        self.light_up(
            move |kind| part.holds(kind),
            of_rank,
            label,
            |work, host, waits, span| part.spans(work, host, waits, span),
        );
    }

    pub(crate) fn show_hidden_communication(&mut self) {
        let label = |_: Option<&str>| "All ranks: communication under compute".to_owned();
        self.light_up(EventKind::is_communication, None::<fn(RankId) -> bool>, label, |work, _, _, span| {
            let window = gapless_analysis::interval::Interval::new(span.start.0, span.end.0);
            let hidden = work.communication().clip(window).intersection(&work.compute().clip(window));
            let as_span = |piece: &gapless_analysis::interval::Interval| Span {
                start: Timestamp(piece.start),
                end: Timestamp(piece.end),
            };
            hidden.intervals().iter().map(as_span).collect()
        });
    }

    /// Lights up pieces of the chosen window of the ranks that `of_rank` picks (all if `None`), and goes there. Device
    /// work of `kinds` in the pieces keeps its colour.
    pub(crate) fn light_up(
        &mut self,
        kinds: impl Fn(EventKind) -> bool + Copy,
        of_rank: Option<impl Fn(RankId) -> bool>,
        label: impl Fn(Option<&str>) -> String,
        spans: impl Fn(&RankWork, Option<&HostThread>, Option<&IntervalSet>, Span) -> Vec<Span>,
    ) {
        let Some(loaded) = &mut self.state.loaded else { return };
        let (Some(report), Some(view)) = (&loaded.report, &loaded.view) else { return };
        let mut pieces = Vec::new();
        let mut events = Vec::new();
        let mut window: Option<Span> = None;
        let mut rank_label = None;
        let mut opened = None;
        for row in &view.rows {
            if of_rank.as_ref().is_some_and(|of_rank| !of_rank(row.rank)) {
                continue;
            }
            if of_rank.is_some() {
                rank_label = Some(row.label.as_str());
                opened = Some(row.rank);
            }
            let shown = loaded.shifts.shown(row.rank, row.span);
            window = Some(window.map_or(shown, |window| window.hull(shown)));
            if let Some(work) = report.works.get(row.rank.index()) {
                let host = report.hosts.get(row.rank.index()).and_then(Option::as_ref);
                let waits = loaded.engine.as_ref().and_then(|engine| engine.waiting.get(row.rank.index()));
                let spans = spans(work, host, waits, row.span);
                events.extend(events_in(&loaded.trace, row.rank, kinds, &spans));
                pieces.extend(spans.into_iter().map(|span| Piece { rank: row.rank, span }));
            }
        }
        let highlight = Highlight::new(&loaded.trace, &report.hosts, label(rank_label), pieces, events);
        loaded.highlight = Some(highlight);
        if let (Some(timeline), Some(window)) = (&mut self.timeline, window) {
            if let Some(rank) = opened {
                open_only(timeline, &loaded.trace, rank);
            }
            timeline.show_span(window);
        }
    }

    pub(crate) fn show_name(&mut self, rank: Option<RankId>, name: &str) {
        let Some(loaded) = &mut self.state.loaded else { return };
        let trace = &loaded.trace;
        let Some(wanted) = trace.strings().find(name) else { return };
        let mut pieces = Vec::new();
        let mut events = Vec::new();
        for (id, _) in trace.rank_ids().filter(|&(id, _)| rank.is_none_or(|rank| rank == id)) {
            for (_, track) in trace.tracks_of(id) {
                if matches!(track.kind, TrackKind::StreamSyncs | TrackKind::StreamAnnotations) {
                    continue;
                }
                let of_name = |event: &EventId| trace.events().names().get(event.index()) == Some(&wanted);
                for event in track.event_ids().filter(of_name) {
                    events.push(event);
                    pieces.push(Piece { rank: id, span: trace.event(event).span() });
                }
            }
        }
        let highlight = Highlight::new(trace, &[], name.to_owned(), pieces, events);
        let hull = highlight.hull(&loaded.shifts);
        loaded.highlight = Some(highlight);
        if let (Some(timeline), Some(hull)) = (&mut self.timeline, hull) {
            if let Some(rank) = rank {
                timeline.set_rank_open(rank, true);
            }
            // Where some of them can be seen already, the view stays.
            let seen = timeline.view.visible();
            let is_in_view = |piece: &Piece| !loaded.shifts.shown(piece.rank, piece.span).intersect(seen).is_empty();
            let is_seen = loaded.highlight.as_ref().is_some_and(|highlight| highlight.pieces.iter().any(is_in_view));
            if !is_seen {
                timeline.show_span(hull);
            }
        }
    }

    /// Lights up the time of a category on the critical path of the window.
    pub(crate) fn show_category(&mut self, category: Category) {
        let Some(loaded) = &self.state.loaded else { return };
        let Some(engine) = loaded.engine.clone() else { return };
        let rows = engine.rows.get(loaded.path.rows.clone()).unwrap_or_default();
        let mut rows: Vec<&PathRow> = rows.iter().filter(|row| row.category == category).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.span.duration()));
        rows.truncate(MOST_SEGMENTS);
        let found = |row: &&PathRow| {
            let piece = Piece { rank: row.rank?, span: engine.recorded(&loaded.trace, row) };
            Some((piece, row.track))
        };
        let pieces: Vec<_> = rows.iter().filter_map(found).collect();
        self.show_found(format!("Critical path: {}", category.label()), pieces, Vec::new());
    }

    /// Goes to a stretch of a critical path.
    pub(crate) fn show_path_row(&mut self, place: usize) {
        let Some(loaded) = &self.state.loaded else { return };
        let Some(engine) = loaded.engine.clone() else { return };
        let Some(row) = engine.rows.get(place) else { return };
        let name = loaded.path.segments.iter().find(|segment| segment.place == place);
        let label = name.map_or_else(|| row.category.label().to_owned(), |segment| segment.name.clone());
        let piece = row.rank.map(|rank| (Piece { rank, span: engine.recorded(&loaded.trace, row) }, row.track));
        self.show_found(format!("Critical path: {label}"), piece.into_iter().collect(), Vec::new());
    }

    /// Lights up what a card of advice is about.
    pub(crate) fn show_evidence(&mut self, id: &str) {
        let Some(loaded) = &self.state.loaded else { return };
        let Some(cards) = loaded.advice.clone() else { return };
        let Some(card) = cards.iter().find(|card| card.id == id) else { return };
        let pieces = card.pieces.iter().map(|&piece| (piece, None)).collect();
        self.show_found(card.title.clone(), pieces, card.evidence.clone());
    }

    /// Goes to a collective and shows who came when.
    pub(crate) fn show_collective(&mut self, place: usize) {
        let Some(loaded) = &mut self.state.loaded else { return };
        let Some(engine) = loaded.engine.clone() else { return };
        let Some(timed) = engine.collectives.collectives.get(place) else { return };
        loaded.chosen_collective = Some(place);
        let members = timed.instance.members.iter();
        let pieces = members.clone().map(|member| {
            let span = loaded.trace.event(member.event).span();
            (Piece { rank: member.rank, span }, None)
        });
        let label = format!("{} in {}", timed.instance.kind.label(), timed.instance.group);
        let (pieces, events) = (pieces.collect(), members.map(|member| member.event).collect());
        self.show_found(label, pieces, events);
        self.align_again();
    }

    /// Lights up the time that others wait for a rank alone.
    pub(crate) fn show_lateness(&mut self, rank: RankId) {
        let Some(loaded) = &self.state.loaded else { return };
        let Some(engine) = loaded.engine.clone() else { return };
        let waits = caused_by(&engine, rank);
        let label = loaded.trace.rank(rank).map(gapless_trace::Rank::label).unwrap_or_default();
        let piece = |&(rank, event, wait): &(RankId, EventId, Duration)| {
            let start = loaded.trace.event(event).start;
            (Piece { rank, span: Span::new(start, start + wait) }, None)
        };
        let pieces: Vec<_> = waits.iter().map(piece).collect();
        let events = waits.iter().map(|wait| wait.1).collect();
        self.show_found(format!("Waiting for {label} alone"), pieces, events);
    }

    /// Lights up pieces, on the tracks that are named with them, and goes there. `events` keep their colours.
    pub(crate) fn show_found(&mut self, label: String, found: Vec<(Piece, Option<TrackId>)>, events: Vec<EventId>) {
        let Some(loaded) = &mut self.state.loaded else { return };
        let mut by_track: BTreeMap<TrackId, Vec<Span>> = BTreeMap::new();
        for (piece, track) in &found {
            if let Some(track) = track {
                by_track.entry(*track).or_default().push(piece.span);
            }
        }
        let longest = found.iter().max_by_key(|(piece, _)| piece.span.duration()).map(|(piece, _)| piece.rank);
        let ranks: BTreeSet<RankId> = found.iter().map(|(piece, _)| piece.rank).collect();
        let pieces = found.into_iter().map(|(piece, _)| piece).collect();
        let mut highlight = Highlight::new(&loaded.trace, &[], label, pieces, events);
        if !by_track.is_empty() {
            let mark = |(track, spans)| {
                Overlay::spans(OverlayPlace::Track(track), spans, BarStyle::Tint, OverlayColor::Warning)
            };
            highlight.overlays = by_track.into_iter().map(mark).collect();
        }
        let hull = highlight.hull(&loaded.shifts);
        loaded.highlight = Some(highlight);
        if let (Some(timeline), Some(hull)) = (&mut self.timeline, hull) {
            // What is about one rank is best seen in full; what is about several, side by side.
            match longest {
                Some(rank) if ranks.len() == 1 => open_only(timeline, &loaded.trace, rank),
                _ => {}
            }
            let margin = Duration((hull.duration().0).max(1_000) / 2);
            timeline.show_span(Span { start: hull.start - margin, end: hull.end + margin });
        }
    }

    pub(crate) fn step_highlight(&mut self, by: isize) {
        let Some(loaded) = &mut self.state.loaded else { return };
        let Some(highlight) = &mut loaded.highlight else { return };
        let count = highlight.by_length.len();
        if count == 0 {
            return;
        }
        let next = match highlight.at {
            None if by >= 0 => 0,
            None => count - 1,
            Some(at) => (at as isize + by).rem_euclid(count as isize) as usize,
        };
        highlight.at = Some(next);
        let piece = highlight.by_length.get(next).and_then(|&place| highlight.pieces.get(place)).copied();
        if let (Some(piece), Some(timeline)) = (piece, &mut self.timeline) {
            open_only(timeline, &loaded.trace, piece.rank);
            // Room around it, so that one sees what comes before and after.
            let margin = Duration((piece.span.duration().0 * 2).max(1_000));
            let span = loaded.shifts.shown(piece.rank, piece.span);
            timeline.show_span(Span { start: span.start - margin, end: span.end + margin });
        }
    }

    pub(crate) fn clear_highlight(&mut self) {
        if let Some(loaded) = &mut self.state.loaded {
            loaded.highlight = None;
        }
    }
}

impl Highlight {
    /// A highlight with its pieces put in order.
    pub(crate) fn new(
        trace: &Trace,
        hosts: &[Option<HostThread>],
        label: String,
        mut pieces: Vec<Piece>,
        mut events: Vec<EventId>,
    ) -> Self {
        events.sort_unstable();
        pieces.sort_by_key(|piece| (piece.span.start, piece.rank, piece.span.end));
        let mut by_length: Vec<usize> = (0..pieces.len()).collect();
        by_length.sort_by_key(|&place| std::cmp::Reverse(pieces.get(place).map(|piece| piece.span.duration())));
        let events: Arc<[EventId]> = events.into();
        let overlays = if events.is_empty() { overlays(trace, hosts, &pieces) } else { Vec::new() };
        Self { label, pieces, by_length, at: None, events, overlays }
    }

    /// The summed length of its pieces.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.pieces.iter().map(|piece| piece.span.duration()).sum()
    }

    /// From the first piece to the last, as the view shows them.
    #[must_use]
    pub fn hull(&self, shifts: &Shifts) -> Option<Span> {
        self.pieces.iter().map(|piece| shifts.shown(piece.rank, piece.span)).reduce(Span::hull)
    }
}

/// Marks for time in which nothing runs: on the stream of each rank that has most work, since that is where it is
/// missed; on the measured thread of a rank without streams.
fn overlays(trace: &Trace, hosts: &[Option<HostThread>], pieces: &[Piece]) -> Vec<Overlay> {
    let mut by_rank: BTreeMap<RankId, Vec<Span>> = BTreeMap::new();
    for piece in pieces {
        by_rank.entry(piece.rank).or_default().push(piece.span);
    }
    let marks = by_rank.into_iter().map(|(rank, spans)| {
        let streams = trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Stream);
        let busiest = streams.max_by_key(|(id, track)| (track.events.len(), std::cmp::Reverse(*id)));
        let host = hosts.get(rank.index()).and_then(Option::as_ref).map(HostThread::track);
        let track = busiest.map(|(id, _)| id).or(host);
        let place = track.map_or(OverlayPlace::Rank(rank), OverlayPlace::Track);
        Overlay::spans(place, spans, BarStyle::Hatched, OverlayColor::Warning)
    });
    marks.collect()
}

/// The device work of `kinds` that touches one of `spans`, which ascend. O(spans × log events + found).
fn events_in(trace: &Trace, rank: RankId, kinds: impl Fn(EventKind) -> bool, spans: &[Span]) -> Vec<EventId> {
    let mut found = BTreeSet::new();
    for (_, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Stream) {
        for row in trace.rows_of(track) {
            for &span in spans {
                let events = trace.events_in(row, span).map(|index| EventId(index as u32));
                found.extend(events.filter(|&event| kinds(trace.event(event).kind)));
            }
        }
    }
    found.into_iter().collect()
}

/// Opens `rank` and folds the others: what a click leads to must be on the screen, however many ranks there are.
pub(crate) fn open_only(timeline: &mut TimelineState, trace: &Trace, rank: RankId) {
    for (id, _) in trace.rank_ids() {
        timeline.set_rank_open(id, id == rank);
    }
}
