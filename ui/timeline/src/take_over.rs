//! Showing a longer trace of the same recording in the place of a shorter one, without moving what the user looks at.

use gapless_trace::{EventId, RankId, Span, Trace};

use crate::index::TimelineIndex;
use crate::state::TimelineState;

impl TimelineState {
    /// Takes over where `old` looks, what is selected, dragged and folded there. `before` is what `old` shows, `after`
    /// what this state was made for. Ranks are the same by number, tracks by label, events by thread, start and name.
    pub fn take_over(&mut self, old: &mut Self, before: (&Trace, &TimelineIndex), after: (&Trace, &TimelineIndex)) {
        self.options = old.options.clone();
        self.shifts = old.shifts.clone();
        self.range = old.range;
        self.drag = old.drag;
        self.scroll_y = old.scroll_y;
        self.velocity = old.velocity;
        self.view.show(old.target().visible());
        self.selected = old.selected.and_then(|event| same_event(before.0, event, after.0));
        let (ranks, next) = (before.1.layout().ranks(), after.1.layout().ranks());
        if old.folds.shows_communication() != self.folds.shows_communication()
            && !before.1.layout().communication().is_empty()
        {
            self.folds.toggle_communication();
        }
        for (place, rank) in ranks.iter().enumerate() {
            let Some(same) = same_rank(before.0, rank.rank, after.0) else { continue };
            let Some((to, node)) = next.iter().enumerate().find(|(_, node)| node.rank == same) else { continue };
            self.folds.set_open(to, old.folds.is_open(place));
            for (track, of) in rank.tracks.iter().enumerate() {
                let Some(fold) = old.folds.chosen(place, track) else { continue };
                if let Some(same) = node.tracks.iter().position(|node| node.label == of.label) {
                    self.folds.set_track(to, same, fold);
                }
            }
        }
    }

    /// Shows as much time as now, up to the end of the trace.
    pub fn show_end(&mut self) {
        let (bounds, seen) = (self.view.bounds(), self.view.visible());
        let length = seen.duration();
        self.animation = None;
        self.view.show(Span { start: bounds.end - length, end: bounds.end });
    }
}

fn same_rank(before: &Trace, rank: RankId, after: &Trace) -> Option<RankId> {
    let number = before.rank(rank)?.number;
    let by_number = after.rank_ids().find(|(_, other)| number.is_some() && other.number == number).map(|(id, _)| id);
    by_number.or_else(|| after.rank(rank).filter(|other| other.number == number).map(|_| rank))
}

/// The event of `after` that `event` of `before` is: on the same track, of the same start and name. It may have grown.
fn same_event(before: &Trace, event: EventId, after: &Trace) -> Option<EventId> {
    let (_, track) = before.track_of(event)?;
    let (start, name) = (before.event(event).start, before.name(event));
    let pid = |trace: &Trace, id| trace.process(id).map(|process| trace.raw_id_text(process.pid));
    let rank = same_rank(before, track.rank, after)?;
    let same = after.tracks_of(rank).filter(|(_, other)| {
        other.kind == track.kind
            && after.raw_id_text(other.tid) == before.raw_id_text(track.tid)
            && pid(after, other.process) == pid(before, track.process)
    });
    let mut rows = same.flat_map(|(_, track)| after.rows_of(track));
    rows.find_map(|row| {
        let found = after.last_begun(row, start)?;
        (after.event(found).start == start && after.name(found) == name).then_some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_longer_trace_keeps_view_selection_and_folds() {
        let (short, long) = (fixtures::training(2, 3), fixtures::training(2, 9));
        let (before, after) = (TimelineIndex::build(&short), TimelineIndex::build(&long));
        let mut old = TimelineState::new(&before);
        old.options.animate = false;
        let relu = |trace: &Trace, nth| {
            let all = (0..trace.events().len() as u32).map(EventId);
            all.filter(|&id| trace.name(id) == "aten::relu" && trace.rank_of(id) == Some(RankId(1))).nth(nth).unwrap()
        };
        old.reveal(relu(&short, 1), &short, &before);
        old.set_rank_open(RankId(0), false);
        old.set_track_fold(1, 1, crate::TrackFold::Folded);
        old.folds.toggle_communication();
        let seen = old.view.visible();
        let mut new = TimelineState::new(&after);
        new.take_over(&mut old, (&short, &before), (&long, &after));
        assert_eq!(new.view.visible(), seen);
        assert_eq!(new.selected, Some(relu(&long, 1)));
        assert!(!new.is_rank_open(RankId(0)) && new.is_rank_open(RankId(1)));
        assert_eq!(new.folds.chosen(1, 1), Some(crate::TrackFold::Folded));
        assert!(!new.folds.shows_communication());
        new.show_end();
        assert_eq!(new.view.visible().end, long.span().unwrap().end);
        assert_eq!(new.view.visible().duration(), seen.duration());
    }
}
