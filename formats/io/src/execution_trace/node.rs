//! One node of the file.

use gapless_trace::{
    ArgValue, Args, ArgsLoc, CollectiveArgs, EventKind, RawChunk, RawId, SourceId, TrackKind, WarningKind,
};

use super::graph::{Node, Tracks};
use crate::json::{dict, get, list, text, value_of};
use crate::kineto::{Cursor, Nanos};

/// The scope of a range that the user named, in PyTorch's `RecordScope`.
const USER_SCOPE: i64 = 7;

/// Tensors of one node that are followed.
const MOST_TENSORS: usize = 4_096;

/// The value of a field: since schema 1.0.2 most are entries of `attrs`, before they were fields of the node.
pub(super) fn attr<'a>(node: &'a Args, name: &str) -> Option<&'a ArgValue> {
    let of_attrs = list(node, "attrs").iter().find_map(|entry| match entry {
        ArgValue::Dict(entry) if text(entry, "name") == name => get(entry, "value"),
        _ => None,
    });
    of_attrs.or_else(|| get(node, name))
}

fn number(node: &Args, name: &str) -> Option<i64> {
    attr(node, name)?.as_i64()
}

fn unsigned(node: &Args, name: &str) -> Option<u64> {
    number(node, name).and_then(|value| u64::try_from(value).ok())
}

/// Which record function a node is; 0 stands for none.
pub(super) fn record_function(node: &Args) -> Option<i64> {
    number(node, "rf_id").filter(|&id| id != 0)
}

/// What is read from a node beside `raw`, its text. `None` if it is no node.
pub(super) fn node(
    fields: &Args,
    raw: &[u8],
    pid: RawId,
    chunk: &mut RawChunk,
    tracks: &mut Tracks,
    args: ArgsLoc,
) -> Option<Node> {
    let id = get(fields, "id").and_then(ArgValue::as_i64).and_then(|id| u64::try_from(id).ok())?;
    let name = get(fields, "name").and_then(ArgValue::as_str)?;
    let parent = match get(fields, "ctrl_deps").or_else(|| get(fields, "parent")) {
        Some(ArgValue::List(callers)) => callers.first().and_then(ArgValue::as_i64),
        Some(value) => value.as_i64(),
        None => None,
    };
    let category = text(fields, "cat");
    let kind = match (category, number(fields, "scope")) {
        ("kernel", _) => EventKind::Kernel,
        ("gpu_memcpy", _) => EventKind::Memcpy,
        ("gpu_memset", _) => EventKind::Memset,
        _ if name.starts_with("[pytorch|profiler|execution_") => EventKind::ProfilerSpan,
        _ if name.starts_with("ProfilerStep") => EventKind::Step,
        (_, Some(USER_SCOPE)) => EventKind::Annotation,
        _ => EventKind::Operator,
    };
    let track = if kind.is_device_work() {
        let stream = number(fields, "stream").unwrap_or(0);
        tracks.get(chunk, TrackKind::Stream, RawId::Int(0), RawId::Int(stream))
    } else if name.ends_with("|process]") {
        tracks.get(chunk, TrackKind::ProfilerSpans, pid, RawId::None)
    } else {
        tracks.get(chunk, TrackKind::Thread, pid, number(fields, "tid").map_or(RawId::None, RawId::Int))
    };
    // Traces that were linked with a Kineto trace carry its times.
    let mut nanos = |key: &str| {
        let value = value_of(raw, key).filter(|_| get(fields, key).is_some())?;
        match Cursor::new(value, 0).micros_as_nanos()? {
            Nanos::Value(value) if value.abs() < crate::json::FARTHEST_NS => Some(value),
            Nanos::Value(_) | Nanos::OutOfRange { .. } => {
                chunk.warnings.add(WarningKind::TimeOutOfRange, SourceId(0), Some(args.offset()), name);
                None
            }
            _ => None,
        }
    };
    let (start, dur) = (nanos("ts"), nanos("inclusive_dur"));
    let collective = collective(fields, chunk);
    let tensors = |side: &str, values: &str, types: &str| {
        let mut found = Vec::new();
        let (values, types) = match dict(fields, side) {
            Some(side) => (list(side, "values"), list(side, "types")),
            None => (list(fields, values), list(fields, types)),
        };
        for (value, kind) in values.iter().zip(types) {
            if kind.as_str().is_some_and(|kind| kind.contains("Tensor")) {
                add_tensors(value, 0, &mut found);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    };
    Some(Node {
        id,
        parent: parent.and_then(|id| u64::try_from(id).ok()).filter(|&parent| parent != id),
        name: chunk.strings.intern(name),
        category: chunk.strings.intern(if category.is_empty() { "execution_trace" } else { category }),
        kind: Some(kind),
        track,
        start,
        dur,
        args,
        inputs: tensors("inputs", "inputs", "input_types"),
        outputs: tensors("outputs", "outputs", "output_types"),
        data_deps: Vec::new(),
        collective,
    })
}

/// Ids of the tensors in `value`: `[tensor, storage, offset, elements, bytes of one, device]`, or lists of these.
fn add_tensors(value: &ArgValue, depth: usize, found: &mut Vec<u64>) {
    let ArgValue::List(items) = value else { return };
    let numbers = items.iter().take_while(|item| matches!(item, ArgValue::Int(_))).count();
    if (5..=7).contains(&items.len()) && numbers >= 5 {
        // Id 0 stands for a tensor that is not defined.
        let id = items.first().and_then(ArgValue::as_i64).and_then(|id| u64::try_from(id).ok());
        found.extend(id.filter(|&id| id != 0 && found.len() < MOST_TENSORS));
    } else if depth < 3 {
        items.iter().for_each(|item| add_tensors(item, depth + 1, found));
    }
}

fn collective(node: &Args, chunk: &mut RawChunk) -> Option<CollectiveArgs> {
    let name = attr(node, "collective_name")?.as_str()?;
    let mut text = |key: &str| {
        let value = attr(node, key).map(ToString::to_string).unwrap_or_default();
        chunk.strings.intern(&value)
    };
    let (dtype, group, group_desc) = (text("dtype"), text("pg_name"), text("pg_desc"));
    Some(CollectiveArgs {
        event: 0,
        name: chunk.strings.intern(name),
        dtype,
        group,
        group_desc,
        in_elems: unsigned(node, "in_msg_nelems"),
        out_elems: unsigned(node, "out_msg_nelems"),
        group_size: unsigned(node, "pg_size").and_then(|size| u32::try_from(size).ok()),
        seq: None,
    })
}
