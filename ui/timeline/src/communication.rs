//! Communication gathered from all ranks: for each process group one line per rank, so that one sees who comes late.
//!
//! The lines refer to events that are drawn on their own tracks too: kernels of device streams; and where a rank has no
//! such kernels, the ranges of communication libraries on its threads.

use std::collections::BTreeMap;

use gapless_trace::{Duration, EventId, EventKind, RankId, Timestamp, Trace, TrackKind};

use crate::layout::{ListId, RowSource};

/// Names of ranges in which a library of the host communicates, as recorders and PyTorch write them.
const HOST_PREFIXES: [&str; 8] = ["gloo:", "nccl:", "rccl:", "ucc:", "xccl:", "mpi:", "MPI_", "PMPI_"];
/// Categories of such ranges, whatever their names.
const HOST_CATEGORIES: [&str; 2] = ["communication", "collective_comm"];
/// The call that hands a collective over to a library's own thread: the range on that thread is the one to show.
const DISPATCHER: &str = "c10d::";

/// How long an event waits for other ranks before anything is transferred, by event, ascending.
pub type CollectiveWaits = [(EventId, Duration)];

/// A process group, or all of a library's communication where groups are not recorded.
#[derive(Clone, Debug)]
pub struct CommunicationGroup {
    /// Its description, name, or the name of the library.
    pub label: String,
    /// Its ranks, in order.
    pub ranks: Vec<CommunicationRank>,
}

/// What one rank does in a process group.
#[derive(Clone, Debug)]
pub struct CommunicationRank {
    /// The rank.
    pub rank: RankId,
    /// Its name.
    pub label: String,
    /// Its events; a second line and more where they overlap.
    pub lines: Vec<RowSource>,
}

/// Gathers the communication of all ranks. Looks at each event's kind once, and at the names of host ranges once each.
pub(crate) fn gather(trace: &Trace, lists: &mut Vec<Vec<EventId>>) -> Vec<CommunicationGroup> {
    let is_host = host_names(trace);
    let mut groups: BTreeMap<String, Vec<CommunicationRank>> = BTreeMap::new();
    for (rank, node) in trace.rank_ids() {
        let mut found = of_kinds(trace, rank, TrackKind::Stream, |event| event_kind(trace, event).is_communication());
        if found.is_empty() {
            found = of_kinds(trace, rank, TrackKind::Thread, |event| is_on_host(trace, event, &is_host));
        }
        let mut by_group: BTreeMap<String, Vec<EventId>> = BTreeMap::new();
        for event in found {
            by_group.entry(group_of(trace, event)).or_default().push(event);
        }
        for (group, events) in by_group {
            let lines = lines(trace, events).into_iter().map(|line| {
                lists.push(line);
                RowSource::List(ListId(lists.len() as u32 - 1))
            });
            let line = CommunicationRank { rank, label: node.label(), lines: lines.collect() };
            groups.entry(group).or_default().push(line);
        }
    }
    groups.into_iter().map(|(label, ranks)| CommunicationGroup { label, ranks }).collect()
}

fn event_kind(trace: &Trace, event: EventId) -> EventKind {
    trace.events().kinds().get(event.index()).copied().unwrap_or(EventKind::Other)
}

fn of_kinds(trace: &Trace, rank: RankId, kind: TrackKind, matches: impl Fn(EventId) -> bool) -> Vec<EventId> {
    let tracks = trace.tracks_of(rank).filter(|(_, track)| track.kind == kind);
    tracks.flat_map(|(_, track)| track.event_ids()).filter(|&event| matches(event)).collect()
}

/// Whether a string is the name of communication on the host, by string id.
fn host_names(trace: &Trace) -> Vec<bool> {
    let is_host = |text: &str| HOST_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
    trace.strings().iter().map(|(_, text)| is_host(text)).collect()
}

fn is_on_host(trace: &Trace, event: EventId, is_host: &[bool]) -> bool {
    if !matches!(event_kind(trace, event), EventKind::Operator | EventKind::Annotation | EventKind::Other) {
        return false;
    }
    let events = trace.events();
    let named = events.names().get(event.index()).and_then(|name| is_host.get(name.index())).copied();
    let by_category = || {
        let category = events.categories().get(event.index()).map_or("", |&category| trace.text(category));
        HOST_CATEGORIES.contains(&category) && !trace.name(event).starts_with(DISPATCHER)
    };
    named.unwrap_or(false) || by_category()
}

/// The description of an event's process group, else its name, else the library's name.
fn group_of(trace: &Trace, event: EventId) -> String {
    let collective = trace.collective(event).or_else(|| {
        // Kineto puts the arguments on the operator that issued the kernel.
        let launch = trace.launches().launch_of(event)?;
        trace.ancestors(launch).find_map(|id| trace.collective(id))
    });
    let texts = collective.map(|collective| [collective.group_desc, collective.group].map(|id| trace.text(id)));
    let named = texts.into_iter().flatten().find(|text| !text.is_empty() && *text != "undefined");
    if let Some(name) = named {
        return name.to_owned();
    }
    let name = trace.name(event);
    let library = HOST_PREFIXES.iter().find(|prefix| name.starts_with(**prefix));
    match library {
        Some(prefix) if prefix.ends_with('_') => "MPI".to_owned(),
        Some(prefix) => prefix.trim_end_matches(':').to_owned(),
        None => "collectives".to_owned(),
    }
}

/// Events without overlap in each line, as few lines as there are events at once.
fn lines(trace: &Trace, mut events: Vec<EventId>) -> Vec<Vec<EventId>> {
    events.sort_unstable_by_key(|&id| {
        let event = trace.event(id);
        (event.start, std::cmp::Reverse(event.end()), id)
    });
    let mut lines: Vec<(Timestamp, Vec<EventId>)> = Vec::new();
    for id in events {
        let event = trace.event(id);
        match lines.iter_mut().find(|line| line.0 <= event.start) {
            Some((end, line)) => {
                *end = event.end();
                line.push(id);
            }
            None => lines.push((event.end(), vec![id])),
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

/// How long `event` waits, where that is known.
pub(crate) fn wait_of(waits: &CollectiveWaits, event: EventId) -> Option<Duration> {
    let place = waits.binary_search_by_key(&event, |wait| wait.0).ok()?;
    waits.get(place).map(|wait| wait.1)
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::layout::TimelineLayout;

    #[test]
    fn kernels_of_a_group_stand_rank_below_rank() {
        let trace = fixtures::training(3, 4);
        let layout = TimelineLayout::new(&trace);
        let [group] = layout.communication() else { panic!("one group: {:?}", layout.communication()) };
        assert_eq!((group.label.as_str(), group.ranks.len()), ("collectives", 3));
        for line in &group.ranks {
            let [RowSource::List(list)] = line.lines[..] else { panic!("one line: {line:?}") };
            assert_eq!(layout.list(list).len(), 4);
            assert!(layout.list(list).iter().all(|&id| trace.rank_of(id) == Some(line.rank)));
        }
    }

    #[test]
    fn ranges_of_the_host_stand_in_where_there_are_no_kernels_and_overlap_gets_a_line() {
        let trace = fixtures::host_communication();
        let layout = TimelineLayout::new(&trace);
        let labels: Vec<&str> = layout.communication().iter().map(|group| group.label.as_str()).collect();
        assert_eq!(labels, ["MPI", "gloo"]);
        let gloo = &layout.communication()[1];
        assert_eq!(gloo.ranks.iter().map(|rank| rank.lines.len()).collect::<Vec<_>>(), [2, 2]);
        let all: Vec<&str> = gloo.ranks[0]
            .lines
            .iter()
            .flat_map(|line| match line {
                RowSource::List(list) => layout.list(*list).iter().map(|&id| trace.name(id)),
                _ => unreachable!("a list"),
            })
            .collect();
        // The dispatcher's call on the main thread is not shown twice.
        assert_eq!(all, ["gloo:all_reduce", "gloo:broadcast", "gloo:all_reduce"]);
    }
}
