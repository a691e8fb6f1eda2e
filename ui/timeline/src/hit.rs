//! Which event lies under the pointer.

use egui::Rangef;
use gapless_trace::{EventId, Timestamp, Trace};

use crate::index::TimelineIndex;
use crate::layout::{ListId, RowSource};
use crate::placement::{PlacedRow, RowContent};
use crate::scene::sources_of;
use crate::sequence::{Sequence, with_sequence};
use crate::state::FramePlace;
use crate::viewport::Viewport;

/// How far from an event, in logical pixels, the pointer still means it.
pub(crate) const REACH: f32 = 3.0;

/// The event of `row` at `pointer_x`: the one that covers its time, else the nearest within [`REACH`].
pub(crate) fn event_at(
    trace: &Trace,
    index: &TimelineIndex,
    row: &PlacedRow,
    view: &Viewport,
    x: Rangef,
    pointer_x: f32,
) -> Option<EventId> {
    let mut single = [RowSource::List(ListId(0))];
    let sources = sources_of(index, row.content, &mut single);
    let time = view.time_at(pointer_x, x);
    let reach_ns = f64::from(REACH) * view.ns_per_px(x);
    let candidates = sources.iter().filter_map(|&source| {
        let (sequence, _) = index.sequence(trace, source)?;
        with_sequence!(sequence, events => nearest(&events, time, reach_ns))
    });
    // Of the streams of a folded rank, the first with the nearest event.
    candidates.reduce(|best, next| if next.1 < best.1 { next } else { best }).map(|(id, _)| id)
}

/// The bar of a flame strip at `pointer_x`.
pub(crate) fn frame_at(
    trace: &Trace,
    index: &TimelineIndex,
    row: &PlacedRow,
    view: &Viewport,
    x: Rangef,
    pointer_x: f32,
) -> Option<FramePlace> {
    let RowContent::Source(source @ RowSource::Flame(flame, depth)) = row.content else { return None };
    let (sequence, _) = index.sequence(trace, source)?;
    let time = view.time_at(pointer_x, x);
    let reach_ns = f64::from(REACH) * view.ns_per_px(x);
    let place = with_sequence!(sequence, bars => nearest_place(&bars, time, reach_ns))?.0;
    Some(FramePlace { flame, depth, place })
}

/// The event nearest to `time` and its distance in ns (0 if it covers `time`), within `reach_ns`.
fn nearest(events: &impl Sequence, time: Timestamp, reach_ns: f64) -> Option<(EventId, f64)> {
    nearest_place(events, time, reach_ns).map(|(index, distance)| (events.id(index), distance))
}

/// The same with the place of the event.
fn nearest_place(events: &impl Sequence, time: Timestamp, reach_ns: f64) -> Option<(usize, f64)> {
    let after = events.first_starting_at(0..events.len(), time.0.saturating_add(1));
    let distance = |index: usize| {
        let before = events.start(index).saturating_sub(time.0);
        // An event does not cover its end, but touches it.
        let past = time.0.saturating_sub(events.end(index)).saturating_add(1);
        if before <= 0 && past <= 0 { 0.0 } else { before.max(past) as f64 }
    };
    let candidates = after.saturating_sub(1)..(after + 1).min(events.len());
    let (index, distance) =
        candidates.map(|index| (index, distance(index))).reduce(|a, b| if b.1 < a.1 { b } else { a })?;
    (distance <= reach_ns).then_some((index, distance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::placement::{Folds, Placement};

    #[test]
    fn hits_equal_those_of_a_search_through_all_events() {
        let trace = fixtures::kernels(3, 3_000, 5);
        let index = TimelineIndex::build(&trace);
        let (_, placement) = Placement::new(index.layout(), &Folds::new(index.layout()), false, 8);
        let x = Rangef::new(200.0, 1_400.0);
        let mut random = fixtures::Random(11);
        let mut view = Viewport::new(trace.span().unwrap());
        let (mut hits, mut misses) = (0, 0);
        for zoom in 0..40 {
            for _ in 0..200 {
                let row = &placement.rows[random.below(placement.rows.len() as u64) as usize];
                let pointer = x.min + random.below(1_200_000) as f32 / 1_000.0;
                let RowContent::Source(RowSource::Row(id)) = row.content else { continue };
                let time = view.time_at(pointer, x);
                let reach = f64::from(REACH) * view.ns_per_px(x);
                // The distance in whole nanoseconds from a half-open range, by looking at every event.
                let brute = trace.rows()[id.index()]
                    .indices()
                    .map(|i| (i, trace.event(EventId(i as u32)).span()))
                    .map(|(i, span)| {
                        let distance = if span.contains(time) {
                            0
                        } else if time < span.start {
                            span.start.0 - time.0
                        } else {
                            time.0 - span.end.0 + 1
                        };
                        (distance, i)
                    })
                    .min()
                    .filter(|&(distance, _)| distance as f64 <= reach);
                let hit = event_at(&trace, &index, row, &view, x, pointer);
                assert_eq!(hit, brute.map(|(_, i)| EventId(i as u32)), "at {time:?}, zoom {zoom}");
                if hit.is_some() { hits += 1 } else { misses += 1 }
            }
            view.zoom(1.35, 0.37);
        }
        assert!(hits > 1_000 && misses > 100, "{hits} hits and {misses} misses test both");
    }

    #[test]
    fn points_in_time_can_be_hit() {
        let trace = fixtures::training(1, 1);
        let index = TimelineIndex::build(&trace);
        let instant =
            (0..trace.events().len() as u32).map(EventId).find(|&id| trace.event(id).kind.is_instant()).unwrap();
        let (_, placement) = Placement::new(index.layout(), &Folds::new(index.layout()), true, 8);
        let row = placement.row_of(&trace, index.layout(), instant).unwrap();
        let x = Rangef::new(0.0, 1_000.0);
        let view = Viewport::new(trace.span().unwrap());
        let at = view.x_of(trace.event(instant).start, x);
        assert_eq!(event_at(&trace, &index, row, &view, x, at + 1.0), Some(instant));
    }
}
