//! What holds for every trace, whatever file it came from.

use gapless_trace::{EventId, EventKind, Trace};

/// Checks the invariants of the model.
///
/// # Errors
/// Says which one does not hold.
pub fn invariants(trace: &Trace) -> Result<(), String> {
    let events = trace.events();
    let count = events.len();
    let all = [events.durs().len(), events.names().len(), events.categories().len(), events.kinds().len()];
    ensure(all == [count; 4], || "columns differ in length".to_owned())?;
    ensure(events.durs().iter().all(|&dur| dur >= 0), || "a duration is negative".to_owned())?;
    let mut next_event = 0;
    let mut next_row = 0;
    for (id, track) in trace.track_ids() {
        ensure(track.rows.start == next_row && track.rows.end >= next_row, || {
            format!("{id:?}: rows are not in order")
        })?;
        next_row = track.rows.end;
        ensure(track.events.start == next_event, || format!("{id:?}: events are not in order"))?;
        ensure(trace.rank(track.rank).is_some(), || format!("{id:?}: no rank"))?;
        ensure(trace.process(track.process).is_some(), || format!("{id:?}: no process"))?;
        for row in trace.rows_of(track) {
            ensure(row.track == id && row.events.start == next_event, || format!("{id:?}: a row out of order"))?;
            ensure(row.lane < track.lanes.max(1), || format!("{id:?}: lane {} of {}", row.lane, track.lanes))?;
            next_event = row.events.end;
            for index in row.indices().skip(1) {
                let (start, before) = (events.starts()[index], events.starts()[index - 1]);
                ensure(before <= start, || format!("{id:?}: event {index} starts before its predecessor"))?;
                ensure(events.end_at(index - 1) <= start, || {
                    format!("{id:?}: event {index} overlaps its predecessor")
                })?;
            }
            if row.depth > 0 {
                for index in row.indices() {
                    let event = EventId(index as u32);
                    let inside = trace.parent(event).is_some_and(|parent| {
                        let parent = trace.event(parent).span();
                        let own = trace.event(event).span();
                        parent.start <= own.start && own.end <= parent.end
                    });
                    ensure(inside, || format!("{id:?}: event {index} at depth {} has no parent", row.depth))?;
                }
            }
        }
        ensure(track.events.end == next_event, || format!("{id:?}: events beyond its rows"))?;
    }
    ensure(next_event as usize == count, || format!("{next_event} of {count} events lie on tracks"))?;
    let known = |id: EventId| id.index() < count;
    let links = trace.launches().pairs();
    ensure(links.windows(2).all(|pair| pair[0] <= pair[1]), || "links are not sorted".to_owned())?;
    for &(launch, work) in links {
        ensure(known(launch) && known(work), || "a link leads nowhere".to_owned())?;
        let kind = events.get(work).kind;
        let is_device = kind.is_device_work() || kind == EventKind::DeviceSync;
        ensure(is_device, || format!("a link leads to an event of kind {}", kind.id()))?;
        ensure(trace.launches().launch_of(work) == Some(launch), || "a link is not found from its work".to_owned())?;
        ensure(trace.rank_of(launch) == trace.rank_of(work), || "a link leads to another rank".to_owned())?;
    }
    ensure(trace.flows().windows(2).all(|pair| pair[0] <= pair[1]), || "flows are not sorted".to_owned())?;
    for flow in trace.flows() {
        ensure(known(flow.from) && known(flow.to), || "a flow leads nowhere".to_owned())?;
    }
    for series in trace.counters() {
        ensure(series.times.len() == series.values.len(), || "a counter lacks values".to_owned())?;
        ensure(series.times.is_sorted(), || "a counter is not sorted".to_owned())?;
    }
    for entry in trace.collectives() {
        ensure(known(entry.event), || "collective arguments of no event".to_owned())?;
    }
    if let Some(span) = trace.span() {
        let inside =
            (0..count).all(|index| events.starts()[index] >= span.start.0 && events.end_at(index) <= span.end.0);
        ensure(inside, || "an event lies outside the span".to_owned())?;
    }
    Ok(())
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}
