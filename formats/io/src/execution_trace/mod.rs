//! Execution traces of PyTorch (`ExecutionTraceObserver`): which operators ran, called by which, on which tensors.
//!
//! Fields are those of `torch/csrc/profiler/standalone/execution_trace_observer.cpp`, schemas 1.0.x (fields of the
//! node) and 1.0.2-chakra.0.0.4 to 1.1.1-chakra.0.0.4 (`attrs`); and of Chakra's trace linker, which adds `ts`,
//! `inclusive_dur`, `cat` and `stream` of the Kineto trace, and nodes for device work.
//!
//! The observer records no times. Beside a Kineto trace of the same rank the nodes give their shapes, types, schema
//! and dependencies to the events of the same record function; alone they are shown in their order.

pub(crate) mod graph;
mod node;

use std::sync::Arc;

use gapless_trace::{ArgValue, Args, ArgsError, ArgsLoc, ArgsSource, RawChunk, RawId, SourceId, WarningKind};

use self::graph::Tracks;
use crate::Progress;
use crate::error::Refused;
use crate::json::{Elements, Next, document, get, int, keys_of_head, next_key, skip_within, text, too_many};
use crate::kineto::parse_object;
use crate::readers::{Head, Input, Join, ReadPart, Role};
use crate::text::JsonText;

/// Whether `head` begins like an execution trace.
pub(crate) fn sniff(head: &Head<'_>) -> bool {
    let keys = keys_of_head(head.bytes);
    let has = |name: &[u8]| keys.iter().any(|key| key.0 == name);
    let nodes = keys.iter().find(|key| key.0 == b"nodes").and_then(|key| head.bytes.get(key.1..));
    let Some(nodes) = nodes.filter(|_| has(b"schema") && !has(b"traceEvents")) else { return false };
    let mut cursor = document(nodes);
    cursor.take(b'[') && {
        let rest = cursor.bytes.get(cursor.at..).unwrap_or_default();
        let first = keys_of_head(rest);
        let has = |name: &[u8]| first.iter().any(|key| key.0 == name);
        // A trace of nothing has an empty list.
        (has(b"id") && (has(b"ctrl_deps") || has(b"parent") || has(b"rf_id"))) || document(rest).peek() == b']'
    }
}

/// Reads an execution trace.
pub(crate) fn read(input: &Input, progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    let bytes: &[u8] = &input.bytes;
    let mut part = input.part();
    let mut cursor = document(bytes).with_nesting(input.limits.nesting);
    if !cursor.take(b'{') {
        return Err(Refused::format(cursor.at as u64, "it is no execution trace"));
    }
    let mut walk = Elements::new(b"\"id\"", &input.limits);
    let mut header = Args::new();
    let mut places = Vec::new();
    loop {
        let before = cursor.at;
        match next_key(&mut cursor) {
            Next::Item(key) if key.text == b"nodes" && cursor.take(b'[') => {
                while let Some(place) = walk.next(&mut cursor, &mut part.warnings) {
                    places.push(place);
                    if places.len() as u64 > input.limits.events {
                        return Err(too_many("the execution trace has more nodes", &input.limits));
                    }
                }
                if walk.is_cut {
                    break;
                }
            }
            Next::Item(_) => {
                let from = cursor.at;
                if let Err(kind) = skip_within(&mut cursor, input.limits.string_bytes) {
                    part.warnings.add(kind, SourceId(0), Some(from as u64), "");
                    break;
                }
                let member = bytes.get(before..cursor.at).unwrap_or_default();
                let start = member.iter().position(|&byte| byte == b'"').unwrap_or(0);
                let member = [b"{", member.get(start..).unwrap_or_default(), b"}"].concat();
                header.extend(parse_object(&member));
            }
            Next::End => {
                cursor.skip_space();
                if !cursor.is_at_end() {
                    part.warnings.add(WarningKind::TrailingText, SourceId(0), Some(cursor.at as u64), "");
                }
                break;
            }
            Next::Cut => {
                part.warnings.add(WarningKind::MissingEnd, SourceId(0), Some(bytes.len() as u64), "");
                break;
            }
            Next::Bad => {
                part.warnings.add(WarningKind::HeaderUnreadable, SourceId(0), Some(cursor.at as u64), "");
                break;
            }
        }
    }
    let schema = text(&header, "schema");
    if !schema.starts_with("1.") {
        let detail = format!("schema {schema}; 1.1.1-chakra.0.0.4 is the newest that is known");
        part.warnings.add(WarningKind::UnknownVersion, SourceId(0), None, &detail);
    }
    let pid = int(&header, "pid").map_or(RawId::None, RawId::Int);
    let mut chunk = RawChunk::default();
    let mut tracks = Tracks::default();
    let mut nodes = Vec::with_capacity(places.len());
    let mut joins = Vec::new();
    for (count, place) in places.into_iter().enumerate() {
        if count.is_multiple_of(4_096) {
            progress.done(place.start as u64);
            if progress.is_cancelled() {
                return Err(Refused::Cancelled);
            }
        }
        let offset = place.start as u64;
        let args = ArgsLoc::new(offset, place.len()).unwrap_or_else(|| {
            chunk.warnings.add(WarningKind::ArgsTooLong, SourceId(0), Some(offset), "");
            ArgsLoc::NONE
        });
        let raw = bytes.get(place).unwrap_or_default();
        let fields = parse_object(raw);
        match node::node(&fields, raw, pid, &mut chunk, &mut tracks, args) {
            Some(node) => {
                joins.extend(node::record_function(&fields).map(|record_function| Join { record_function, args }));
                nodes.push(node);
            }
            None if raw.first() == Some(&b'{') => {
                chunk.warnings.add(WarningKind::MalformedEvent, SourceId(0), Some(offset), "a node without id or name");
            }
            None => chunk.warnings.add(WarningKind::EventNotObject, SourceId(0), Some(offset), ""),
        }
    }
    part.args = Arc::new(NodeArgs(JsonText::Plain(Arc::clone(&input.bytes))));
    part.info.header = vec![("execution trace".to_owned(), ArgValue::Dict(header))];
    graph::lay_out(nodes, chunk, input.limits.nesting, &mut part);
    Ok(vec![ReadPart { part, role: Role::Supplement, joins }])
}

/// Arguments of nodes: their fields, those in `attrs` by their names.
#[derive(Debug)]
struct NodeArgs(JsonText);

impl ArgsSource for NodeArgs {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        let mut fields = self.0.args(loc)?;
        // The event has its name, and most fields of most nodes are empty.
        let attrs = fields.iter().position(|field| field.0 == "attrs").map(|place| fields.remove(place).1);
        fields.retain(|field| field.0 != "name");
        if let Some(ArgValue::List(attrs)) = attrs {
            for attr in attrs {
                let ArgValue::Dict(attr) = attr else { continue };
                if let Some(value) = get(&attr, "value").filter(|value| value.as_str() != Some("")) {
                    fields.push((text(&attr, "name").to_owned(), value.clone()));
                }
            }
        }
        Ok(fields)
    }

    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}
