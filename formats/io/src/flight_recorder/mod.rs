//! Dumps of PyTorch's flight recorder (NCCL, Gloo and other backends): a ring of the last calls of collectives, as
//! JSON or as a pickle.
//!
//! Fields are those of `torch/csrc/distributed/c10d/FlightRecorderDetail.hpp`, versions 1.x to 2.10: an object with
//! `version`, `pg_config`, `pg_status`, `comm_lib_version`, `nccl_comm_state` and `entries`; the oldest dumps are the
//! bare list of entries. The pickle is what PyTorch's own pickler writes (protocol 2), or Python's.
//!
//! Times are host times: `time_created_ns` is when the call was enqueued, `time_discovered_started_ns` and
//! `time_discovered_completed_ns` are when the watchdog noticed, always later than it happened. The events are
//! therefore asynchronous ranges of the host, never device work.

mod entry;
mod graph;
mod pickle;

use std::sync::Arc;

use gapless_trace::{ArgValue, Args, ArgsError, ArgsLoc, ArgsSource, Frame, SourceId, StackId, WarningKind, Warnings};
use memchr::memmem;
use rustc_hash::{FxHashMap, FxHashSet};

use self::entry::Recorder;
use self::graph::{Graph, Id};
use crate::Progress;
use crate::error::Refused;
use crate::json::{Elements, Next, document, keys_of_head, next_key, skip_within, too_many};
use crate::kineto::parse_object;
use crate::readers::{Head, Input, ReadPart, Role};
use crate::text::JsonText;

/// Whether `head` begins like a dump of the flight recorder, or like any pickle: no other pickle is a trace, and the
/// refusal says so.
pub(crate) fn sniff(head: &Head<'_>) -> bool {
    pickle::sniff(head.bytes) || is_old_pickle(head.bytes) || is_json(head.bytes)
}

/// Pickles of protocol 0 and 1 have no mark at their beginning.
fn is_old_pickle(head: &[u8]) -> bool {
    let names = [&b"record_id"[..], b"pg_config", b"profiling_name"];
    matches!(head.first(), Some(b'(' | b'}' | b']')) && names.iter().any(|name| memmem::find(head, name).is_some())
}

fn is_json(head: &[u8]) -> bool {
    let keys = keys_of_head(head);
    let has = |name: &[u8]| keys.iter().any(|key| key.0 == name);
    if has(b"pg_config") && has(b"pg_status") && !has(b"traceEvents") {
        return true;
    }
    // The entries come before the groups, and are longer than the head of the file.
    let entries = keys.iter().find(|key| key.0 == b"entries").and_then(|key| head.get(key.1..));
    entries.is_some_and(|list| {
        let mut cursor = document(list);
        cursor.take(b'[') && {
            let first = keys_of_head(cursor.bytes.get(cursor.at..).unwrap_or_default());
            let has = |name: &[u8]| first.iter().any(|key| key.0 == name);
            has(b"record_id") && has(b"profiling_name")
        }
    })
}

/// Reads a dump.
pub(crate) fn read(input: &Input, progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    let mut part = input.part();
    let is_pickle = input.bytes.first().is_some_and(|&byte| byte == 0x80) || is_old_pickle(&input.bytes);
    let (recorder, header) = if is_pickle {
        part.source.format = part.source.format.replacen("dump", "dump (pickle)", 1);
        let read = read_pickle(input, progress, &mut part.warnings)?;
        part.args = Arc::new(PickleArgs(read.graph));
        read.recorder.refuse_others(&read.header)?;
        (read.recorder, read.header)
    } else {
        let read = read_json(input, progress, &mut part.warnings)?;
        part.args = Arc::new(JsonText::Plain(Arc::clone(&input.bytes)));
        read
    };
    if let Some(version) = crate::json::get(&header, "version").and_then(ArgValue::as_str)
        && !matches!(version.split('.').next(), Some("1" | "2"))
    {
        let detail = format!("flight recorder {version}; 2.10 is the newest that is known");
        part.warnings.add(WarningKind::UnknownVersion, SourceId(0), None, &detail);
    }
    let (mut chunk, backend) = recorder.finish();
    chunk.warnings.merge(std::mem::take(&mut part.warnings));
    part.source.file_events = chunk.file_events;
    part.info.backend = backend;
    part.info.header = vec![("flight recorder".to_owned(), ArgValue::Dict(header))];
    part.chunks.push(chunk);
    Ok(vec![ReadPart { part, role: Role::Companion, joins: Vec::new() }])
}

fn read_json(input: &Input, progress: &dyn Progress, warnings: &mut Warnings) -> Result<(Recorder, Args), Refused> {
    let bytes: &[u8] = &input.bytes;
    let mut cursor = document(bytes).with_nesting(input.limits.nesting);
    let mut walk = Elements::new(b"\"collective_seq_id\"", &input.limits);
    let mut places = Vec::new();
    let mut header = Args::new();
    if !cursor.take(b'{') {
        return Err(Refused::format(cursor.at as u64, "it is no dump of the flight recorder"));
    }
    loop {
        let at = cursor.at;
        match next_key(&mut cursor) {
            Next::Item(key) if key.text == b"entries" && cursor.take(b'[') => {
                while let Some(place) = walk.next(&mut cursor, warnings) {
                    if places.len() as u64 >= input.limits.events {
                        return Err(too_many("the dump has more entries", &input.limits));
                    }
                    places.push(place);
                }
                if walk.is_cut {
                    break;
                }
            }
            Next::Item(key) => {
                let from = cursor.at;
                if let Err(kind) = skip_within(&mut cursor, input.limits.string_bytes) {
                    warnings.add(kind, SourceId(0), Some(from as u64), &String::from_utf8_lossy(key.text));
                    break;
                }
                let value = bytes.get(at..cursor.at).unwrap_or_default();
                let start = value.iter().position(|&byte| byte == b'"').unwrap_or(0);
                let member = [b"{", value.get(start..).unwrap_or_default(), b"}"].concat();
                header.extend(parse_object(&member));
            }
            Next::End => {
                cursor.skip_space();
                if !cursor.is_at_end() {
                    warnings.add(WarningKind::TrailingText, SourceId(0), Some(cursor.at as u64), "");
                }
                break;
            }
            Next::Cut => {
                warnings.add(WarningKind::MissingEnd, SourceId(0), Some(bytes.len() as u64), "");
                break;
            }
            Next::Bad => {
                warnings.add(WarningKind::HeaderUnreadable, SourceId(0), Some(cursor.at as u64), "");
                break;
            }
        }
    }
    let mut recorder = Recorder::new(&header);
    for (count, place) in places.into_iter().enumerate() {
        if count.is_multiple_of(4_096) {
            cancelled(progress, place.start)?;
        }
        let loc = ArgsLoc::new(place.start as u64, place.len()).unwrap_or_else(|| {
            recorder.chunk.warnings.add(WarningKind::ArgsTooLong, SourceId(0), Some(place.start as u64), "");
            ArgsLoc::NONE
        });
        let offset = place.start as u64;
        let mut entry = parse_object(bytes.get(place).unwrap_or_default());
        let stack = recorder.json_stack(&mut entry);
        recorder.entry(&entry, loc, stack, offset);
    }
    Ok((recorder, header))
}

fn cancelled(progress: &dyn Progress, done: usize) -> Result<(), Refused> {
    progress.done(done as u64);
    if progress.is_cancelled() { Err(Refused::Cancelled) } else { Ok(()) }
}

struct FromPickle {
    graph: Graph,
    header: Args,
    recorder: Recorder,
}

/// Values of one entry that are looked at; an entry of a thousand tensors has some ten thousand.
const ENTRY_BUDGET: usize = 1 << 17;

fn read_pickle(input: &Input, progress: &dyn Progress, warnings: &mut Warnings) -> Result<FromPickle, Refused> {
    let pickle::Pickle { graph, root, partial } = pickle::parse(&input.bytes, &input.limits, warnings)?;
    let entries = graph.member(root, "entries").or_else(|| graph.items(root).map(|_| root));
    let mut budget = ENTRY_BUDGET;
    let header = graph.args(root, "entries", &mut budget);
    let mut recorder = Recorder::new(&header);
    recorder.has_entries = entries.is_some();
    let partial: FxHashSet<Id> = partial.into_iter().collect();
    let mut seen: FxHashSet<Id> = FxHashSet::default();
    let mut stacks = Stacks::default();
    // The tree of a pickle can be far larger than the pickle; that of an honest dump is not.
    let mut left = graph.values.len().saturating_mul(32).saturating_add(1 << 20);
    for (count, &id) in entries.and_then(|entries| graph.items(entries)).unwrap_or_default().iter().enumerate() {
        if count as u64 >= input.limits.events {
            return Err(too_many("the dump has more entries", &input.limits));
        }
        if count.is_multiple_of(4_096) {
            cancelled(progress, 0)?;
        }
        if partial.contains(&id) {
            continue;
        }
        if graph.entries(id).is_none() || !seen.insert(id) {
            recorder.chunk.warnings.add(WarningKind::EventNotObject, SourceId(0), None, "");
            continue;
        }
        let mut budget = ENTRY_BUDGET.min(left);
        let before = budget;
        let entry = graph.args(id, "frames", &mut budget);
        left -= before - budget;
        if left == 0 {
            return Err(Refused::format(
                0,
                "the pickle refers to the same values again and again; it is no dump of the flight recorder",
            ));
        }
        let stack = graph.member(id, "frames").and_then(|frames| stacks.of(&graph, frames, &mut recorder));
        let loc = ArgsLoc::new(u64::from(id), 1).unwrap_or_default();
        recorder.entry(&entry, loc, stack, 0);
    }
    if seen.is_empty() && recorder.chunk.warnings.count(WarningKind::EventNotObject) > 0 {
        return Err(Refused::format(0, "it is a Python pickle, but no dump of PyTorch's flight recorder"));
    }
    Ok(FromPickle { graph, header, recorder })
}

/// Call stacks of the graph that were seen: entries share frames, and the pickle shares them too.
#[derive(Default)]
struct Stacks {
    lists: FxHashMap<Id, Option<StackId>>,
    frames: FxHashMap<Id, Frame>,
}

/// Frames of a stack that are kept, from the innermost.
const MOST_FRAMES: usize = 1_024;

impl Stacks {
    fn of(&mut self, graph: &Graph, list: Id, recorder: &mut Recorder) -> Option<StackId> {
        if let Some(&known) = self.lists.get(&list) {
            return known;
        }
        let ids = graph.items(list).unwrap_or_default();
        let ids = ids.get(..MOST_FRAMES).unwrap_or(ids);
        // The dump has the innermost frame first.
        let frames: Vec<Frame> = ids
            .iter()
            .rev()
            .map(|&id| {
                *self.frames.entry(id).or_insert_with(|| {
                    let text = |key: &str| graph.member(id, key).and_then(|id| graph.text(id)).unwrap_or_default();
                    let line = graph.member(id, "line").and_then(|id| graph.int(id));
                    recorder.frame(text("name"), text("filename"), line)
                })
            })
            .collect();
        let stack = recorder.chunk.stacks.push_all(frames);
        self.lists.insert(list, stack);
        stack
    }
}

/// Arguments of the entries of a pickle: the offset of a location is the entry's place in the graph.
#[derive(Debug)]
struct PickleArgs(Graph);

impl ArgsSource for PickleArgs {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        let mut budget = ENTRY_BUDGET;
        Ok(self.0.args(loc.offset() as Id, "frames", &mut budget))
    }

    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}
