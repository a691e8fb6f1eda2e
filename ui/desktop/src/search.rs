//! Search by name: a part of a name finds interned names, and those find events.

use std::collections::BTreeMap;
use std::sync::Arc;

use gapless_trace::{Duration, EventId, EventKind, StrId, Timestamp, Trace};

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchResult {
    /// What was searched for.
    pub query: String,
    /// All events whose name holds the query, whatever its case, ascending by id.
    pub events: Arc<[EventId]>,
    /// All names that hold the query, of frames too, ascending.
    pub matching_names: Arc<[StrId]>,
    /// Their names, the longest summed duration first.
    pub names: Vec<NameHits>,
}

/// The events of one name and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameHits {
    /// The name.
    pub name: StrId,
    /// What the first of them is.
    pub kind: EventKind,
    /// How many there are.
    pub count: u64,
    /// Their summed duration.
    pub total: Duration,
    /// The longest of them.
    pub longest: EventId,
}

/// Finds the events whose name holds `query`. O(strings + events).
#[must_use]
pub fn search(trace: &Trace, query: &str) -> SearchResult {
    let needle = query.to_lowercase();
    let mut result = SearchResult { query: query.to_owned(), ..SearchResult::default() };
    if needle.is_empty() {
        return result;
    }
    let matches: Vec<bool> = trace.strings().iter().map(|(_, text)| contains_ignoring_case(text, &needle)).collect();
    let events = trace.events();
    let mut found = Vec::new();
    let mut names: BTreeMap<StrId, NameHits> = BTreeMap::new();
    let columns = events.names().iter().zip(events.durs()).zip(events.kinds());
    for (index, ((&name, &dur), &kind)) in columns.enumerate() {
        if !matches.get(name.index()).copied().unwrap_or(false) {
            continue;
        }
        let id = EventId(index as u32);
        found.push(id);
        let fresh = NameHits { name, kind, count: 0, total: Duration::ZERO, longest: id };
        let hits = names.entry(name).or_insert(fresh);
        hits.count += 1;
        hits.total += Duration(dur);
        if dur > events.get(hits.longest).dur.0 {
            hits.longest = id;
        }
    }
    let ids = trace.strings().iter().zip(&matches).filter(|(_, matches)| **matches).map(|((id, _), _)| id);
    let mut ids: Vec<StrId> = ids.collect();
    ids.sort_unstable();
    result.matching_names = ids.into();
    result.events = found.into();
    result.names = names.into_values().collect();
    result.names.sort_by_key(|hits| (std::cmp::Reverse(hits.total), hits.name));
    result
}

/// Whether `text` holds `needle`, which is in lower case.
fn contains_ignoring_case(text: &str, needle: &str) -> bool {
    if text.is_ascii() && needle.is_ascii() {
        // Nearly all names; this way allocates nothing.
        return text.as_bytes().windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle.as_bytes()));
    }
    text.to_lowercase().contains(needle)
}

/// A place in time among hits: events at the same time are told apart by their id.
type Place = (Timestamp, EventId);

impl SearchResult {
    /// The hit after `from` in time, the first one after the last. O(hits).
    #[must_use]
    pub fn next(&self, trace: &Trace, from: Option<EventId>) -> Option<EventId> {
        let from = from.map(|event| place(trace, event));
        let places = || self.events.iter().map(|&event| place(trace, event));
        let after = places().filter(|&hit| from.is_none_or(|from| hit > from)).min();
        after.or_else(|| places().min()).map(|hit| hit.1)
    }

    /// The hit before `from` in time, the last one before the first. O(hits).
    #[must_use]
    pub fn previous(&self, trace: &Trace, from: Option<EventId>) -> Option<EventId> {
        let from = from.map(|event| place(trace, event));
        let places = || self.events.iter().map(|&event| place(trace, event));
        let before = places().filter(|&hit| from.is_none_or(|from| hit < from)).max();
        before.or_else(|| places().max()).map(|hit| hit.1)
    }

    /// The number of `event` among the hits in time, from 1; `None` if it is none of them. O(hits).
    #[must_use]
    pub fn position(&self, trace: &Trace, event: EventId) -> Option<usize> {
        self.events.binary_search(&event).ok()?;
        let own = place(trace, event);
        Some(self.events.iter().filter(|&&hit| place(trace, hit) <= own).count())
    }
}

fn place(trace: &Trace, event: EventId) -> Place {
    (trace.event(event).start, event)
}
