//! Arguments: read from the packet when somebody asks, with the strings that its sequence had interned by then.

use std::borrow::Cow;
use std::sync::Arc;

use gapless_trace::{ArgValue, Args, ArgsError, ArgsLoc, ArgsSource};
use perfetto_proto::field::{annotation, packet, track_event};

use super::record::Slot;
use super::state::{Sequences, entry_text, place};
use super::store::Store;
use crate::kineto::parse_json;
use crate::protobuf::{Field, Fields};

/// Names of annotations that the writer adds for the reader; see the writer's facts.
pub(super) const OWN_PREFIX: &str = "gapless.";
/// What the writer puts before the name of an argument that begins like its own.
const ESCAPE: &str = "gapless.arg.";
/// An annotation with this name is shown: it says that the arguments could not be read when the file was written.
const OWN_ERROR: &str = "gapless.error";

/// What ids of a sequence stand for, at some place in the file.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub sequences: &'a Sequences,
    pub store: &'a Store,
    pub sequence: u32,
    pub generation: u32,
    /// Most values inside values.
    pub nesting: usize,
}

impl<'a> Scope<'a> {
    /// The interned message of this id.
    pub fn message(&self, slot: Slot, iid: u64) -> Option<&'a [u8]> {
        self.store.bytes(self.sequences.interned(self.sequence, self.generation, slot, iid)?)
    }

    /// The interned text of this id.
    pub fn text(&self, slot: Slot, iid: u64) -> Option<&'a [u8]> {
        self.message(slot, iid).map(entry_text)
    }

    /// The same for people; a number stands for an id that was never defined.
    pub fn text_or_id(&self, slot: Slot, iid: u64) -> Cow<'a, str> {
        match self.text(slot, iid) {
            Some(text) => String::from_utf8_lossy(text),
            None => Cow::Owned(unknown_id(iid)),
        }
    }
}

/// What stands for an id that was never defined.
pub(super) fn unknown_id(iid: u64) -> String {
    format!("iid {iid}")
}

fn text(bytes: &[u8]) -> ArgValue {
    ArgValue::Text(String::from_utf8_lossy(bytes).into_owned())
}

/// A debug annotation: its name and value.
pub(super) fn annotation(scope: &Scope<'_>, message: &[u8], depth: usize) -> (String, ArgValue) {
    let mut name = String::new();
    let mut value = ArgValue::Null;
    let mut proto_type: Option<Cow<'_, str>> = None;
    for field in Fields::new(message) {
        match field.number {
            annotation::NAME_IID => {
                name = field.uint().map(|iid| scope.text_or_id(Slot::AnnotationNames, iid)).unwrap_or_default().into();
            }
            annotation::NAME => name = String::from_utf8_lossy(field.bytes().unwrap_or_default()).into_owned(),
            annotation::DICT_ENTRIES => {
                if !matches!(value, ArgValue::Dict(_)) {
                    value = ArgValue::Dict(Args::new());
                }
                if let (ArgValue::Dict(entries), Some(entry)) = (&mut value, field.bytes())
                    && depth < scope.nesting
                {
                    entries.push(annotation(scope, entry, depth + 1));
                }
            }
            annotation::ARRAY_VALUES => {
                if !matches!(value, ArgValue::List(_)) {
                    value = ArgValue::List(Vec::new());
                }
                if let (ArgValue::List(items), Some(item)) = (&mut value, field.bytes())
                    && depth < scope.nesting
                {
                    items.push(annotation(scope, item, depth + 1).1);
                }
            }
            13 => proto_type = field.uint().map(|iid| Cow::Owned(unknown_id(iid))),
            16 => proto_type = field.bytes().map(String::from_utf8_lossy),
            14 => {
                let len = field.bytes().map_or(0, <[u8]>::len);
                value = ArgValue::Text(format!("message of {len} bytes"));
            }
            _ => {
                if let Some(read) = scalar(scope, &field, depth) {
                    value = read;
                }
            }
        }
    }
    if let (Some(of), ArgValue::Text(text)) = (proto_type, &mut value) {
        text.push_str(&format!(" ({of})"));
    }
    (name, value)
}

/// A value that is one field.
fn scalar(scope: &Scope<'_>, field: &Field<'_>, depth: usize) -> Option<ArgValue> {
    Some(match field.number {
        annotation::BOOL_VALUE => ArgValue::Bool(field.uint()? != 0),
        annotation::UINT_VALUE => ArgValue::UInt(field.uint()?),
        annotation::INT_VALUE => ArgValue::Int(field.int()?),
        annotation::DOUBLE_VALUE => ArgValue::Double(field.double()?),
        annotation::STRING_VALUE => text(field.bytes()?),
        annotation::POINTER_VALUE => ArgValue::Text(format!("{:#x}", field.uint()?)),
        annotation::NESTED_VALUE => nested(field.bytes()?, depth, scope.nesting),
        annotation::LEGACY_JSON_VALUE => {
            let json = field.bytes()?;
            parse_json(json).unwrap_or_else(|| text(json))
        }
        annotation::STRING_VALUE_IID => {
            ArgValue::Text(scope.text_or_id(Slot::StringValues, field.uint()?).into_owned())
        }
        _ => return None,
    })
}

/// The older form of nested values.
fn nested(message: &[u8], depth: usize, most: usize) -> ArgValue {
    let (mut keys, mut values, mut items) = (Vec::new(), Vec::new(), Vec::new());
    let mut kind = 0;
    let mut value = ArgValue::Null;
    for field in Fields::new(message) {
        let inner = |field: &Field<'_>| match field.bytes() {
            Some(bytes) if depth < most => nested(bytes, depth + 1, most),
            _ => ArgValue::Null,
        };
        match field.number {
            1 => kind = field.uint().unwrap_or(0),
            2 => keys.push(String::from_utf8_lossy(field.bytes().unwrap_or_default()).into_owned()),
            3 => values.push(inner(&field)),
            4 => items.push(inner(&field)),
            5 => value = field.int().map_or(ArgValue::Null, ArgValue::Int),
            6 => value = field.double().map_or(ArgValue::Null, ArgValue::Double),
            7 => value = field.uint().map_or(ArgValue::Null, |value| ArgValue::Bool(value != 0)),
            8 => value = field.bytes().map_or(ArgValue::Null, text),
            _ => {}
        }
    }
    match kind {
        1 => ArgValue::Dict(keys.into_iter().zip(values).collect()),
        2 => ArgValue::List(items),
        _ => value,
    }
}

/// The arguments of a track event: its annotations, then what else is worth showing.
pub(super) fn of_track_event(scope: &Scope<'_>, message: &[u8]) -> Args {
    let mut args = Args::new();
    let mut more = Args::new();
    for field in Fields::new(message) {
        let bytes = field.bytes();
        match field.number {
            track_event::DEBUG_ANNOTATIONS => args.extend(bytes.map(|bytes| annotation(scope, bytes, 0))),
            track_event::SOURCE_LOCATION => more.extend(bytes.map(source_location)),
            track_event::SOURCE_LOCATION_IID => {
                let found = field.uint().and_then(|iid| scope.message(Slot::SourceLocations, iid));
                more.extend(found.map(source_location));
            }
            track_event::TASK_EXECUTION => {
                let iid = Fields::new(bytes.unwrap_or_default()).find(|field| field.number == 1);
                let found = iid.and_then(|iid| scope.message(Slot::SourceLocations, iid.uint()?));
                more.extend(found.map(|found| ("posted from".to_owned(), source_location(found).1)));
            }
            track_event::LOG_MESSAGE => more.extend(bytes.and_then(|bytes| log_message(scope, bytes))),
            track_event::CORRELATION_ID => {
                more.extend(field.uint().map(|id| ("correlation_id".to_owned(), ArgValue::UInt(id))));
            }
            track_event::CORRELATION_ID_STR => {
                more.extend(bytes.map(|bytes| ("correlation_id".to_owned(), text(bytes))));
            }
            track_event::CORRELATION_ID_STR_IID => more.extend(field.uint().map(|iid| {
                let id = scope.text_or_id(Slot::CorrelationIds, iid).into_owned();
                ("correlation_id".to_owned(), ArgValue::Text(id))
            })),
            _ => {}
        }
    }
    args.append(&mut more);
    args
}

fn source_location(message: &[u8]) -> (String, ArgValue) {
    let mut entries = Args::new();
    for field in Fields::new(message) {
        match field.number {
            2 => entries.extend(field.bytes().map(|bytes| ("file".to_owned(), text(bytes)))),
            3 => entries.extend(field.bytes().map(|bytes| ("function".to_owned(), text(bytes)))),
            4 => entries.extend(field.int().map(|line| ("line".to_owned(), ArgValue::Int(line)))),
            _ => {}
        }
    }
    ("source".to_owned(), ArgValue::Dict(entries))
}

fn log_message(scope: &Scope<'_>, message: &[u8]) -> Option<(String, ArgValue)> {
    let body = Fields::new(message).find(|field| field.number == 2)?.uint()?;
    Some(("log".to_owned(), ArgValue::Text(scope.text_or_id(Slot::LogBodies, body).into_owned())))
}

/// The arguments of the packet whose content is `content`.
pub(super) fn of_packet(scope: &Scope<'_>, content: &[u8]) -> Args {
    let mut args = Args::new();
    for field in Fields::new(content) {
        let Some(bytes) = field.bytes() else { continue };
        match field.number {
            packet::TRACK_EVENT => args = of_track_event(scope, bytes),
            packet::GPU_RENDER_STAGE_EVENT => args = super::gpu::stage_args(scope, bytes),
            packet::PERF_SAMPLE | packet::STACK_SAMPLE => args = super::samples::sample_args(field.number, bytes),
            _ => {}
        }
    }
    args
}

/// The sequence of the packet whose content is `content`.
pub(super) fn sequence_of(content: &[u8]) -> u32 {
    let found = Fields::new(content).find(|field| field.number == packet::SEQUENCE_ID);
    found.and_then(|field| field.uint()).unwrap_or(0) as u32
}

/// Arguments in the packets of a file.
#[derive(Debug)]
pub(super) struct PacketArgs {
    pub store: Store,
    pub sequences: Sequences,
    /// First offset and number of each piece, by offset.
    pub pieces: Vec<(u64, u32)>,
    /// Arguments that are no packet's; their offsets follow those of the store.
    pub arena: Arc<dyn ArgsSource>,
    /// Whether annotations that the writer added are left out.
    pub hides_own: bool,
    pub nesting: usize,
}

impl PacketArgs {
    /// What ids stand for at `offset`, for the packet with this content.
    pub fn scope(&self, offset: u64, content: &[u8]) -> Scope<'_> {
        let after = self.pieces.partition_point(|piece| piece.0 <= offset);
        let found = after.checked_sub(1).and_then(|index| self.pieces.get(index)).and_then(|&(base, piece)| {
            let at = u32::try_from(offset - base).unwrap_or(u32::MAX);
            self.sequences.at(sequence_of(content), place(piece, at))
        });
        let (sequence, generation) = found.unwrap_or((u32::MAX, 0));
        Scope { sequences: &self.sequences, store: &self.store, sequence, generation, nesting: self.nesting }
    }
}

impl ArgsSource for PacketArgs {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        if let Some(offset) = loc.offset().checked_sub(self.store.end()) {
            return self.arena.args(ArgsLoc::new(offset, loc.len()).unwrap_or_default());
        }
        let content = self.store.bytes(loc).ok_or_else(|| ArgsError::Unreadable {
            offset: loc.offset(),
            reason: "the file has become shorter since it was opened; open it again".to_owned(),
        })?;
        let mut args = of_packet(&self.scope(loc.offset(), content), content);
        if self.hides_own {
            args.retain_mut(|(name, _)| keep_foreign(name));
        }
        Ok(args)
    }

    fn heap_bytes(&self) -> usize {
        self.store.heap_bytes() + self.sequences.heap_bytes() + self.arena.heap_bytes()
    }
}

/// Whether the argument called `name` is the event's own; takes off what the writer put before it.
fn keep_foreign(name: &mut String) -> bool {
    if let Some(own) = name.strip_prefix(ESCAPE) {
        *name = own.to_owned();
        return true;
    }
    !name.starts_with(OWN_PREFIX) || name == OWN_ERROR
}
