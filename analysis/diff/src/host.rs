//! What a thread does between calls: its time by innermost operator, range or frame.

use gapless_analysis::ClockAlignment;
use gapless_analysis::graph::Node;
use gapless_trace::{EventId, EventKind, Trace, TrackId};
use rustc_hash::FxHashMap;

use crate::label::{Names, stable, without_numbers};

/// Time of a thread that no operator, range or frame names.
pub(crate) const NAMELESS: &str = "outside operators";

/// From each time on the name of what runs, and its event.
type Profile = Vec<(i64, u32, Option<EventId>)>;

/// Profiles of the threads of one side, made when asked for.
pub(crate) struct Host<'t> {
    trace: &'t Trace,
    clocks: &'t ClockAlignment,
    /// Frames name time too. Only if both sides have them, or the same time would have two names.
    with_frames: bool,
    profiles: FxHashMap<TrackId, Profile>,
}

/// A share of a thread's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub name: u32,
    pub ns: i64,
    pub event: Option<EventId>,
}

impl<'t> Host<'t> {
    pub fn new(trace: &'t Trace, clocks: &'t ClockAlignment, with_frames: bool) -> Self {
        Self { trace, clocks, with_frames, profiles: FxHashMap::default() }
    }

    /// The time of a node by name; sums to its duration.
    pub fn shares(&mut self, node: &Node, names: &mut Names) -> Vec<Share> {
        let Some(place) = node.place else { return Vec::new() };
        let (trace, clocks, with_frames) = (self.trace, self.clocks, self.with_frames);
        let profile =
            self.profiles.entry(place.track).or_insert_with(|| profile(trace, clocks, with_frames, place.track, names));
        let (from, to) = (node.start_ns, node.end_ns());
        let nameless = (names.of(NAMELESS), None);
        let first = profile.partition_point(|entry| entry.0 <= from);
        let entry = |entry: &(i64, u32, Option<EventId>)| (entry.1, entry.2);
        let mut shown = first.checked_sub(1).and_then(|place| profile.get(place)).map_or(nameless, entry);
        let mut shares: Vec<Share> = Vec::new();
        let mut add = |(name, event): (u32, Option<EventId>), ns: i64| {
            if ns <= 0 {
                return;
            }
            match shares.iter_mut().find(|share| share.name == name) {
                Some(share) => share.ns = share.ns.saturating_add(ns),
                None => shares.push(Share { name, ns, event }),
            }
        };
        let mut at = from;
        for next in profile.get(first..).unwrap_or_default().iter().take_while(|next| next.0 < to) {
            add(shown, next.0.saturating_sub(at));
            (at, shown) = (next.0, entry(next));
        }
        add(shown, to.saturating_sub(at));
        shares
    }
}

/// Whether threads of a trace have Python frames.
pub(crate) fn has_frames(trace: &Trace) -> bool {
    trace.events().kinds().contains(&EventKind::PythonFunction)
}

fn profile(trace: &Trace, clocks: &ClockAlignment, with_frames: bool, track: TrackId, names: &mut Names) -> Profile {
    let Some(info) = trace.track(track) else { return Profile::new() };
    let time = |at| clocks.to_common(info.rank, at).nanos();
    let mut own: Vec<(i64, i64, EventId, u32)> = Vec::new();
    for id in info.event_ids() {
        let event = trace.event(id);
        let name = match event.kind {
            EventKind::Operator => trace.text(event.name).to_owned(),
            EventKind::Annotation => without_numbers(trace.text(event.name)),
            EventKind::PythonFunction if with_frames => stable(trace.text(event.name)),
            _ => continue,
        };
        own.push((time(event.start), time(event.end()), id, names.of(&name)));
    }
    own.sort_by_key(|&(start, end, id, _)| (start, std::cmp::Reverse(end), id));
    let nameless = names.of(NAMELESS);
    let mut profile = Profile::new();
    let mut open: Vec<(i64, EventId, u32)> = Vec::new();
    let close = |open: &mut Vec<(i64, EventId, u32)>, profile: &mut Profile, to: i64| {
        while let Some(&(end, ..)) = open.last().filter(|last| last.0 <= to) {
            open.pop();
            let outer = open.last().map_or((nameless, None), |outer| (outer.2, Some(outer.1)));
            profile.push((end, outer.0, outer.1));
        }
    };
    for (start, end, id, name) in own {
        close(&mut open, &mut profile, start);
        // What outlives the frame around it ends with it.
        let end = open.last().map_or(end, |outer| end.min(outer.0));
        open.push((end, id, name));
        profile.push((start, name, Some(id)));
    }
    close(&mut open, &mut profile, i64::MAX);
    profile
}
