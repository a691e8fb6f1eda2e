//! A graph of nodes (an execution trace, a Chakra trace) as a part: places in time, tracks, arrows of data.
//!
//! Nodes that have times lie where these say. Where a file has none, the order of ids, which is the order in which
//! calls began, becomes time: a node without children takes its own length or one microsecond, one after the other
//! over all threads, and a caller spans what it called.

use gapless_trace::{
    ArgsLoc, CollectiveArgs, EventKind, RawChunk, RawEdge, RawId, RawPlace, SourceId, StrId, TracePart, TrackKind,
    WarningKind,
};
use rustc_hash::{FxHashMap, FxHashSet};

/// Absent correlation or external id.
const NO_ID: u32 = u32::MAX;
/// Length of a node that has none, in ns.
const NOMINAL_NS: i64 = 1_000;
/// Length of all nodes together at most, so that nothing overflows, in ns.
const LONGEST_NS: i64 = i64::MAX / 8;

/// A node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// Its id in the file.
    pub id: u64,
    /// Its caller.
    pub parent: Option<u64>,
    /// Its name, in the chunk's strings.
    pub name: StrId,
    /// Its category, in the chunk's strings.
    pub category: StrId,
    /// What it is; `None` is [`EventKind::Other`].
    pub kind: Option<EventKind>,
    /// Place in the chunk's tracks.
    pub track: u32,
    /// Start in ns, where the file has it.
    pub start: Option<i64>,
    /// Length in ns, where the file has it.
    pub dur: Option<i64>,
    /// Its arguments.
    pub args: ArgsLoc,
    /// Tensors that it takes and makes.
    pub inputs: Vec<u64>,
    /// Tensors that it makes.
    pub outputs: Vec<u64>,
    /// Nodes that it waits for.
    pub data_deps: Vec<u64>,
    /// Collective arguments; `event` is filled in later.
    pub collective: Option<CollectiveArgs>,
}

/// Lays `nodes`, whose strings and tracks are those of `chunk`, out as events of `part`.
pub(crate) fn lay_out(mut nodes: Vec<Node>, mut chunk: RawChunk, nesting: usize, part: &mut TracePart) {
    nodes.sort_by_key(|node| node.id);
    let mut place_of: FxHashMap<u64, u32> = FxHashMap::default();
    for (place, node) in nodes.iter().enumerate() {
        place_of.entry(node.id).or_insert(place as u32);
    }
    let parents = parents(&nodes, &place_of, nesting);
    let has_times = nodes.iter().any(|node| node.start.is_some());
    if !has_times && !nodes.is_empty() {
        part.warnings.add(WarningKind::NoTimes, SourceId(0), None, "");
    }
    let spans = if has_times { timed(&nodes, &parents) } else { ordered(&nodes, &parents) };
    chunk.reserve(nodes.len());
    // Nodes that have no place in time are no events; the others keep their order.
    let mut event_of = vec![None; nodes.len()];
    for ((node, span), event) in nodes.iter().zip(&spans).zip(&mut event_of) {
        let Some((start, end)) = *span else {
            let name = chunk.strings.get(node.name).to_owned();
            chunk.warnings.add(WarningKind::NoTimestamp, SourceId(0), None, &name);
            continue;
        };
        let index = chunk.len() as u32;
        *event = Some(index);
        let kind = node.kind.unwrap_or(EventKind::Other);
        chunk.push(start, end - start, node.name, node.category, kind, node.track, NO_ID, NO_ID, node.args);
        if let Some(collective) = node.collective {
            chunk.collectives.push(CollectiveArgs { event: index, ..collective });
        }
    }
    let arrows = data_arrows(&nodes, &parents, &place_of);
    if !arrows.is_empty() {
        let category = Some(chunk.strings.intern("data"));
        let place = |node: u32| {
            let event = event_of.get(node as usize).copied().flatten()?;
            Some(RawPlace { chunk: 0, event })
        };
        part.edges = arrows
            .into_iter()
            .filter_map(|(from, to)| Some(RawEdge { from: place(from)?, to: place(to)?, category }))
            .collect();
    }
    part.source.file_events = nodes.len() as u64;
    part.chunks.push(chunk);
}

/// The place of each node's caller. A caller began before what it calls, so its id is smaller; a link to a larger one
/// could lead in a circle and is left to the arguments. What nests deeper than `nesting` becomes a sibling.
fn parents(nodes: &[Node], place_of: &FxHashMap<u64, u32>, nesting: usize) -> Vec<Option<u32>> {
    let mut depths: Vec<usize> = Vec::with_capacity(nodes.len());
    let mut parents: Vec<Option<u32>> = Vec::with_capacity(nodes.len());
    for (place, node) in nodes.iter().enumerate() {
        let parent = node.parent.and_then(|id| place_of.get(&id).copied()).filter(|&parent| (parent as usize) < place);
        let depth_of = |parent: u32| depths.get(parent as usize).copied().unwrap_or(0);
        let parent = match parent {
            Some(parent) if depth_of(parent) + 1 > nesting => parents.get(parent as usize).copied().flatten(),
            parent => parent,
        };
        depths.push(parent.map_or(0, |parent| depth_of(parent) + 1));
        parents.push(parent);
    }
    parents
}

type Span = Option<(i64, i64)>;

fn hull(a: Span, b: Span) -> Span {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (one, other) => one.or(other),
    }
}

/// Spans from the order of the nodes.
fn ordered(nodes: &[Node], parents: &[Option<u32>]) -> Vec<Span> {
    let mut has_children = vec![false; nodes.len()];
    for parent in parents.iter().flatten() {
        if let Some(flag) = has_children.get_mut(*parent as usize) {
            *flag = true;
        }
    }
    let mut now = 0i64;
    let mut spans: Vec<Span> = Vec::with_capacity(nodes.len());
    for (node, has_children) in nodes.iter().zip(has_children) {
        spans.push((!has_children).then(|| {
            let start = now;
            let length = node.dur.filter(|&dur| dur > 0).unwrap_or(NOMINAL_NS);
            now = now.saturating_add(length).min(LONGEST_NS);
            (start, now)
        }));
    }
    span_children(&mut spans, parents, |_| true);
    spans
}

/// Spans from the times of the file. A node without one spans what it called, or stands where its caller begins.
fn timed(nodes: &[Node], parents: &[Option<u32>]) -> Vec<Span> {
    let of_node = |node: &Node| node.start.map(|start| (start, start.saturating_add(node.dur.unwrap_or(0).max(0))));
    let mut spans: Vec<Span> = nodes.iter().map(of_node).collect();
    span_children(&mut spans, parents, |place| nodes.get(place).is_some_and(|node| node.start.is_none()));
    for place in 0..spans.len() {
        let of_parent = parents.get(place).copied().flatten().and_then(|parent| *spans.get(parent as usize)?);
        if let (Some(span @ None), Some((start, _))) = (spans.get_mut(place), of_parent) {
            *span = Some((start, start));
        }
    }
    spans
}

/// Widens the spans of callers for which `may_grow` to those of what they called.
fn span_children(spans: &mut [Span], parents: &[Option<u32>], may_grow: impl Fn(usize) -> bool) {
    for place in (0..spans.len()).rev() {
        let span = spans.get(place).copied().flatten();
        if let Some(parent) = parents.get(place).copied().flatten()
            && may_grow(parent as usize)
            && let Some(of_parent) = spans.get_mut(parent as usize)
        {
            *of_parent = hull(*of_parent, span);
        }
    }
}

/// Arrows (from, to) of data: those that the file names, and those of tensors.
///
/// A tensor is named by an operator and by all its callers: it counts for the innermost one. An arrow goes from the
/// last node that made a tensor to each that takes it.
fn data_arrows(nodes: &[Node], parents: &[Option<u32>], place_of: &FxHashMap<u64, u32>) -> Vec<(u32, u32)> {
    let mut arrows = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        let from = node.data_deps.iter().filter_map(|id| place_of.get(id).copied());
        arrows.extend(from.filter(|&from| from as usize != place).map(|from| (from, place as u32)));
    }
    // What the nodes called by a node take and make. Callees stand behind their callers.
    let mut taken_below: FxHashSet<(u32, u64)> = FxHashSet::default();
    let mut made_below: FxHashSet<(u32, u64)> = FxHashSet::default();
    let mut takes: Vec<Vec<u64>> = Vec::with_capacity(nodes.len());
    let mut makes: Vec<Vec<u64>> = Vec::with_capacity(nodes.len());
    for (place, node) in nodes.iter().enumerate().rev() {
        let parent = parents.get(place).copied().flatten();
        let own = |tensors: &[u64], below: &mut FxHashSet<(u32, u64)>| {
            let own: Vec<u64> =
                tensors.iter().copied().filter(|&tensor| !below.contains(&(place as u32, tensor))).collect();
            if let Some(parent) = parent {
                below.extend(tensors.iter().map(|&tensor| (parent, tensor)));
            }
            own
        };
        takes.push(own(&node.inputs, &mut taken_below));
        makes.push(own(&node.outputs, &mut made_below));
    }
    let mut made_by: FxHashMap<u64, u32> = FxHashMap::default();
    for (place, (takes, makes)) in takes.into_iter().rev().zip(makes.into_iter().rev()).enumerate() {
        let place = place as u32;
        let mut from: Vec<u32> = takes.iter().filter_map(|tensor| made_by.get(tensor).copied()).collect();
        from.sort_unstable();
        from.dedup();
        arrows.extend(from.into_iter().filter(|&from| from != place).map(|from| (from, place)));
        made_by.extend(makes.into_iter().map(|tensor| (tensor, place)));
    }
    arrows.sort_unstable();
    arrows.dedup();
    arrows
}

/// The track of a thread, stream or group of nodes, found by what it is.
#[derive(Default)]
pub(crate) struct Tracks {
    known: FxHashMap<(TrackKind, RawId, RawId), u32>,
}

impl Tracks {
    /// Its place in the chunk's tracks.
    pub fn get(&mut self, chunk: &mut RawChunk, kind: TrackKind, pid: RawId, tid: RawId) -> u32 {
        *self.known.entry((kind, pid, tid)).or_insert_with(|| {
            chunk.tracks.push((kind, pid, tid));
            chunk.tracks.len() as u32 - 1
        })
    }
}
