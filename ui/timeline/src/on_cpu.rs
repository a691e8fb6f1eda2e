//! When threads ran on processors: from the tracks of processors to those of threads.

use gapless_trace::{EventId, EventKind, RankId, RawId, StrId, Trace, TrackId, TrackKind};
use rustc_hash::FxHashMap;

/// Arguments that are read where names alone do not tell threads apart; beyond these, only names are.
const MOST_READ: usize = 200_000;
/// Names of the argument with the thread's id, as the readers of `perf`, Perfetto and nsys have it.
const THREAD_IDS: [&str; 4] = ["tid", "globalTid", "next_pid", "thread"];

/// The runs of each of `threads`, ascending by start, for those that ran.
///
/// A run names its thread: by an argument where two threads have one name, else by its name, which ends in the id of the
/// thread or is the thread's name.
pub(crate) fn runs(trace: &Trace, rank: RankId, threads: &[TrackId]) -> Vec<(TrackId, Vec<EventId>)> {
    let mut all: Vec<EventId> = trace
        .tracks_of(rank)
        .filter(|(_, track)| track.kind == TrackKind::Cpu)
        .flat_map(|(_, track)| track.event_ids())
        .filter(|&id| trace.events().kinds().get(id.index()) == Some(&EventKind::Scheduled))
        .collect();
    if all.is_empty() || threads.is_empty() {
        return Vec::new();
    }
    all.sort_unstable_by_key(|&id| (trace.event(id).start, id));
    let mut by_tid: FxHashMap<i64, TrackId> = FxHashMap::default();
    let mut by_label: FxHashMap<String, Vec<TrackId>> = FxHashMap::default();
    for &id in threads {
        let Some(track) = trace.track(id) else { continue };
        if let RawId::Int(tid) = track.tid {
            // The thread itself comes before its samples.
            by_tid.entry(tid).or_insert(id);
        }
        let same_name = by_label.entry(plain_name(&trace.track_label(id))).or_default();
        let is_same_thread = |other: &TrackId| {
            trace.track(*other).is_some_and(|other| (other.process, other.tid) == (track.process, track.tid))
        };
        if !same_name.iter().any(is_same_thread) {
            same_name.push(id);
        }
    }
    let mut known: FxHashMap<StrId, Option<TrackId>> = FxHashMap::default();
    let mut read = 0;
    let mut found: FxHashMap<TrackId, Vec<EventId>> = FxHashMap::default();
    for id in all {
        let name = trace.event(id).name;
        let by_name = *known.entry(name).or_insert_with(|| {
            let text = trace.text(name);
            let number = text.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
            let by_number = number.and_then(|tid: i64| by_tid.get(&tid)).copied();
            by_number.or_else(|| match by_label.get(&plain_name(text)).map(Vec::as_slice) {
                Some([one]) => Some(*one),
                _ => None,
            })
        });
        let thread = by_name.or_else(|| {
            read += 1;
            let args = (read <= MOST_READ && trace.has_args(id)).then(|| trace.args(id).ok()).flatten()?;
            let tid =
                args.iter().find(|(key, _)| THREAD_IDS.contains(&key.as_str())).and_then(|(_, value)| match value {
                    gapless_trace::ArgValue::Int(tid) => Some(*tid),
                    _ => None,
                })?;
            by_tid.get(&tid).copied()
        });
        if let Some(thread) = thread {
            found.entry(thread).or_default().push(id);
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_unstable_by_key(|entry| entry.0);
    found
}

/// `python` of `thread 12 (python)` and of `python 12`.
fn plain_name(label: &str) -> String {
    let inner = label.strip_suffix(')').and_then(|name| name.split_once(" (")).map_or(label, |(_, inner)| inner);
    let inner = inner.strip_suffix(" · samples").unwrap_or(inner);
    inner.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches([' ', '·', ':', '/', '-']).to_owned()
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use crate::fixtures;
    use crate::layout::{RowSource, TimelineLayout};

    #[test]
    fn runs_of_a_processor_stand_on_their_threads() {
        let trace = fixtures::samples();
        let layout = TimelineLayout::new(&trace);
        let with: Vec<_> = layout.ranks()[0].tracks.iter().filter(|node| node.on_cpu.is_some()).collect();
        assert_eq!(with.len(), 2, "threads, and not their samples too");
        for node in with {
            let Some(RowSource::List(list)) = node.on_cpu else { panic!("a list") };
            let own = trace.track_label(node.track.unwrap());
            let runs = layout.list(list);
            assert_eq!(runs.len(), 5);
            assert!(runs.iter().all(|&run| own.contains(trace.name(run))), "{own}");
        }
    }
}
