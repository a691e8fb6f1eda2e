//! Chakra execution traces of MLCommons: protobuf (`.et`: messages behind their lengths, `GlobalMetadata` first, then
//! one `Node` each), and two JSON forms: what Chakra's jsonizer makes of a protobuf file (one object behind the other)
//! and the `workload_graph` that its feeder reads.
//!
//! Fields are those of `schema/protobuf/et_def.proto`. Node types decide what an event is; `ctrl_deps` is the caller,
//! `data_deps` become arrows. Nodes lie at `start_time_micros` where the file has it; the converter of PyTorch traces
//! writes lengths only, and the order of ids stands for time then.

mod schema;

use std::path::Path;
use std::sync::Arc;

use gapless_trace::{
    ArgValue, Args, ArgsError, ArgsLoc, ArgsSource, CollectiveArgs, EventKind, RawChunk, RawId, SourceId, StrId,
    TrackKind, WarningKind, Warnings,
};

use self::schema::NodeType;
use crate::Progress;
use crate::error::Refused;
use crate::execution_trace::graph::{Node, Tracks, lay_out};
use crate::json::{
    Elements, Next, document, get, int, keys_of_head, list, micros_to_nanos, next_key, skip_within, text, too_many,
    uint,
};
use crate::kineto::{Cursor, parse_object};
use crate::mapped::Bytes;
use crate::protobuf::delimited;
use crate::readers::{Head, Input, Join, ReadPart, Role};
use crate::text::JsonText;

/// Whether `head` begins like a Chakra trace.
pub(crate) fn sniff(head: &Head<'_>) -> bool {
    is_workload_graph(head.bytes) || is_jsonized(head.bytes) || is_protobuf(head.bytes, head.name.ends_with(".et"))
}

/// The first message must be metadata, and the second a node, to the last byte.
fn is_protobuf(head: &[u8], is_named_so: bool) -> bool {
    let mut at = 0;
    let mut message = || delimited(head, &mut at);
    let is_node = |message: &[u8]| {
        let node = schema::node(message).unwrap_or_default();
        get(&node, "name").is_some() && (get(&node, "id").is_some() || get(&node, "type").is_some())
    };
    let Some(metadata) = message().and_then(schema::metadata) else { return false };
    if metadata.is_empty() && !is_named_so {
        return false;
    }
    message().map_or(is_named_so, is_node)
}

fn is_workload_graph(head: &[u8]) -> bool {
    keys_of_head(head).iter().any(|key| key.0 == b"workload_graph" && head.get(key.1) == Some(&b'['))
}

fn is_jsonized(head: &[u8]) -> bool {
    let mut cursor = document(head);
    if cursor.peek() != b'{' {
        return false;
    }
    let of_metadata = |key: &&[u8]| matches!(*key, b"version" | b"attr");
    if !keys_of_head(head).iter().map(|key| key.0).all(|key| of_metadata(&key)) || cursor.skip_value().is_none() {
        return false;
    }
    let keys = keys_of_head(head.get(cursor.at..).unwrap_or_default());
    let has = |name: &[u8]| keys.iter().any(|key| key.0 == name);
    has(b"name") && (has(b"type") || has(b"ctrlDeps") || has(b"dataDeps") || has(b"durationMicros"))
}

/// Reads a Chakra trace.
pub(crate) fn read(input: &Input, progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    let bytes: &[u8] = &input.bytes;
    let mut part = input.part();
    let mut made = Made::default();
    // What tells the forms apart stands in front.
    let head = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
    let is_json = document(bytes).peek() == b'{' && (is_workload_graph(head) || is_jsonized(head));
    let metadata = if is_json {
        part.source.format.push_str(" (JSON)");
        part.args = Arc::new(JsonArgs(JsonText::Plain(Arc::clone(&input.bytes))));
        if is_workload_graph(head) {
            read_workload_graph(input, progress, &mut made)?
        } else {
            read_jsonized(input, progress, &mut made)?
        }
    } else {
        part.args = Arc::new(ProtobufArgs(Arc::clone(&input.bytes)));
        read_protobuf(input, progress, &mut made)?
    };
    // Traces of simulators are named by their rank: `name.3.et`.
    if let Some(rank) = rank_before_ending(&input.path) {
        part.info.rank = Some(rank);
        part.warnings.add(WarningKind::RankAssumed, SourceId(0), None, &format!("rank {rank}"));
    }
    part.info.header = vec![("chakra".to_owned(), ArgValue::Dict(metadata))];
    let Made { chunk, nodes, joins, .. } = made;
    lay_out(nodes, chunk, input.limits.nesting, &mut part);
    Ok(vec![ReadPart { part, role: Role::Supplement, joins }])
}

/// Bytes at the beginning of a file that tell its form.
const HEAD_BYTES: usize = 1 << 20;

fn rank_before_ending(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".et")?.rsplit_once('.')?.1.parse().ok()
}

fn read_protobuf(input: &Input, progress: &dyn Progress, made: &mut Made) -> Result<Args, Refused> {
    let bytes: &[u8] = &input.bytes;
    let mut end = 0;
    let mut metadata = Args::new();
    let mut is_first = true;
    while end < bytes.len() {
        let from = end as u64;
        let Some(message) = delimited(bytes, &mut end) else {
            made.chunk.warnings.add(WarningKind::Truncated, SourceId(0), Some(from), "");
            break;
        };
        let at = end - message.len();
        if std::mem::take(&mut is_first)
            && let Some(found) = schema::metadata(message)
        {
            made.pid = int(&found, "pid");
            metadata = found;
            continue;
        }
        made.check(input, progress, at)?;
        let loc = made.loc(at, message.len());
        match schema::node(message) {
            Some(node) => made.node(&node, loc, from),
            None => made.chunk.warnings.add(WarningKind::MalformedEvent, SourceId(0), Some(from), ""),
        }
    }
    Ok(metadata)
}

fn read_workload_graph(input: &Input, progress: &dyn Progress, made: &mut Made) -> Result<Args, Refused> {
    let bytes: &[u8] = &input.bytes;
    let mut cursor = document(bytes).with_nesting(input.limits.nesting);
    let mut walk = Elements::new(b"\"Id\"", &input.limits);
    let mut warnings = Warnings::default();
    cursor.take(b'{');
    loop {
        match next_key(&mut cursor) {
            Next::Item(key) if key.text == b"workload_graph" && cursor.take(b'[') => {
                while let Some(place) = walk.next(&mut cursor, &mut warnings) {
                    made.check(input, progress, place.start)?;
                    made.json_node(bytes.get(place.clone()).unwrap_or_default(), place.start);
                }
            }
            Next::Item(_) => {
                let from = cursor.at;
                if let Err(kind) = skip_within(&mut cursor, input.limits.string_bytes) {
                    warnings.add(kind, SourceId(0), Some(from as u64), "");
                    break;
                }
            }
            Next::Cut if !walk.is_cut => {
                warnings.add(WarningKind::MissingEnd, SourceId(0), Some(bytes.len() as u64), "");
                break;
            }
            Next::End | Next::Cut | Next::Bad => break,
        }
    }
    made.chunk.warnings.merge(warnings);
    Ok(Args::new())
}

fn read_jsonized(input: &Input, progress: &dyn Progress, made: &mut Made) -> Result<Args, Refused> {
    let bytes: &[u8] = &input.bytes;
    let mut cursor = document(bytes).with_nesting(input.limits.nesting);
    let mut metadata = Args::new();
    let mut is_first = true;
    loop {
        cursor.skip_space();
        let from = cursor.at;
        if cursor.is_at_end() {
            return Ok(metadata);
        }
        let end = from.saturating_add(input.limits.string_bytes);
        let mut object = Cursor::new(bytes.get(..end).unwrap_or(bytes), from).with_nesting(input.limits.nesting);
        if object.peek() != b'{' || object.skip_value().is_none() {
            let kind = match skip_within(&mut cursor, input.limits.string_bytes) {
                Err(kind) if kind != WarningKind::HeaderUnreadable => kind,
                _ => WarningKind::TrailingText,
            };
            made.chunk.warnings.add(kind, SourceId(0), Some(from as u64), "");
            return Ok(metadata);
        }
        cursor.at = object.at;
        let text = bytes.get(from..cursor.at).unwrap_or_default();
        if std::mem::take(&mut is_first) {
            metadata = snake_case(parse_object(text));
            made.pid = int(&metadata, "pid");
        } else {
            made.check(input, progress, from)?;
            made.json_node(text, from);
        }
    }
}

/// Nodes of a file under construction.
#[derive(Default)]
struct Made {
    chunk: RawChunk,
    tracks: Tracks,
    nodes: Vec<Node>,
    joins: Vec<Join>,
    pid: Option<i64>,
}

impl Made {
    fn check(&self, input: &Input, progress: &dyn Progress, at: usize) -> Result<(), Refused> {
        if self.nodes.len() as u64 >= input.limits.events {
            return Err(too_many("the trace has more nodes", &input.limits));
        }
        if self.nodes.len().is_multiple_of(4_096) {
            progress.done(at as u64);
            if progress.is_cancelled() {
                return Err(Refused::Cancelled);
            }
        }
        Ok(())
    }

    fn loc(&mut self, at: usize, len: usize) -> ArgsLoc {
        ArgsLoc::new(at as u64, len).unwrap_or_else(|| {
            self.chunk.warnings.add(WarningKind::ArgsTooLong, SourceId(0), Some(at as u64), "");
            ArgsLoc::NONE
        })
    }

    fn json_node(&mut self, text: &[u8], at: usize) {
        if text.first() != Some(&b'{') {
            return self.chunk.warnings.add(WarningKind::EventNotObject, SourceId(0), Some(at as u64), "");
        }
        let loc = self.loc(at, text.len());
        self.node(&snake_case(parse_object(text)), loc, at as u64);
    }

    fn node(&mut self, node: &Args, args: ArgsLoc, offset: u64) {
        // The proto3 default of an id is 0 and not written.
        let id = uint(node, "id").unwrap_or(0);
        let name = text(node, "name");
        if name.is_empty() && get(node, "id").is_none() {
            return self.chunk.warnings.add(
                WarningKind::MalformedEvent,
                SourceId(0),
                Some(offset),
                "a node without id or name",
            );
        }
        let kind_of_node = NodeType::of(get(node, "type"));
        let on_host = match get(node, "is_cpu_op") {
            Some(ArgValue::Bool(flag)) => Some(*flag),
            Some(value) => value.as_i64().map(|flag| flag != 0),
            None => None,
        };
        let kind = match (kind_of_node, on_host) {
            (NodeType::Comp, Some(false)) => EventKind::Kernel,
            (NodeType::CommColl, None | Some(false)) => EventKind::Collective,
            (NodeType::CommSend | NodeType::CommRecv, None | Some(false)) => EventKind::PointToPoint,
            (NodeType::MemLoad | NodeType::MemStore, None | Some(false)) => EventKind::Memcpy,
            (NodeType::Metadata, _) => EventKind::ProfilerSpan,
            (NodeType::Storage, _) => EventKind::OsCall,
            (NodeType::Invalid | NodeType::Batch | NodeType::Checkpoint, _) => EventKind::Other,
            _ => EventKind::Operator,
        };
        let number = |key: &str| int(node, key).map_or(RawId::Int(0), RawId::Int);
        let pid = RawId::Int(self.pid.unwrap_or(0));
        let track = if kind.is_device_work() {
            self.tracks.get(&mut self.chunk, TrackKind::Stream, RawId::Int(0), number("stream"))
        } else {
            self.tracks.get(&mut self.chunk, TrackKind::Thread, pid, number("tid"))
        };
        let strings = &mut self.chunk.strings;
        let collective = (matches!(kind_of_node, NodeType::CommColl)).then(|| CollectiveArgs {
            event: 0,
            name: strings.intern(&get(node, "comm_type").map_or_else(String::new, schema::comm_type)),
            // The schema has bytes (`comm_size`), not elements; they are among the arguments.
            dtype: StrId::EMPTY,
            group: strings.intern(text(node, "pg_name")),
            ..CollectiveArgs::default()
        });
        let ids = |key: &str| -> Vec<u64> {
            let one = |value: &ArgValue| value.as_i64().and_then(|id| u64::try_from(id).ok());
            list(node, key).iter().filter_map(one).collect()
        };
        // 0 is the default of both, and stands for a time that was not recorded.
        let micros = |key: &str| int(node, key).filter(|&micros| micros > 0).and_then(micros_to_nanos);
        let is_far = |key: &str| {
            uint(node, key).is_some_and(|value| i64::try_from(value).ok().and_then(micros_to_nanos).is_none())
        };
        if is_far("start_time_micros") || is_far("duration_micros") {
            self.chunk.warnings.add(WarningKind::TimeOutOfRange, SourceId(0), Some(offset), name);
        }
        self.nodes.push(Node {
            id,
            parent: ids("ctrl_deps").first().copied().filter(|&parent| parent != id),
            name: strings.intern(name),
            category: strings.intern(kind_of_node.name()),
            kind: Some(kind),
            track,
            start: micros("start_time_micros"),
            dur: micros("duration_micros"),
            args,
            inputs: Vec::new(),
            outputs: Vec::new(),
            data_deps: ids("data_deps"),
            collective,
        });
        if let Some(record_function) = int(node, "rf_id").filter(|&id| id != 0) {
            self.joins.push(Join { record_function, args });
        }
    }
}

/// The names of the schema for those that JSON writers use; attributes by their names.
fn snake_case(node: Args) -> Args {
    let mut args = Args::new();
    for (name, value) in node {
        let name = match name.as_str() {
            "ctrlDeps" => "ctrl_deps",
            "dataDeps" => "data_deps",
            "startTimeMicros" => "start_time_micros",
            "durationMicros" | "runtime" => "duration_micros",
            "Id" => "id",
            "Name" => "name",
            "NodeType" => "type",
            "attr" => {
                let ArgValue::List(attrs) = value else { continue };
                for attr in attrs {
                    let ArgValue::Dict(mut attr) = attr else { continue };
                    // The one other field (`int64Val`, `stringList`) is the value; numbers of 64 bits are texts.
                    let place = attr.iter().position(|field| field.0 != "name" && field.0 != "docString");
                    let value = place.map_or(ArgValue::Null, |place| attr.remove(place).1);
                    args.push((text(&attr, "name").to_owned(), value));
                }
                continue;
            }
            other => other,
        };
        args.push((name.to_owned(), value));
    }
    args
}

/// Arguments of a node: its fields and attributes, without its name, which the event has.
fn without_name(mut node: Args) -> Args {
    node.retain(|field| field.0 != "name");
    node
}

/// Arguments in a protobuf file.
#[derive(Debug)]
struct ProtobufArgs(Arc<Bytes>);

impl ArgsSource for ProtobufArgs {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        let at = usize::try_from(loc.offset()).unwrap_or(usize::MAX);
        let message = self.0.get(at..at.saturating_add(loc.len())).ok_or_else(|| ArgsError::Unreadable {
            offset: loc.offset(),
            reason: "the file has become shorter since it was opened; open it again".to_owned(),
        })?;
        Ok(without_name(schema::node(message).unwrap_or_default()))
    }

    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

/// Arguments in a JSON file.
#[derive(Debug)]
struct JsonArgs(JsonText);

impl ArgsSource for JsonArgs {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        Ok(without_name(snake_case(self.0.args(loc)?)))
    }

    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}
