//! The few arguments that analysis needs for every event, picked out while events are resolved.

use perfetto_proto::field::{annotation, packet, track_event};
use rustc_hash::FxHashMap;

use super::args::Scope;
use super::record::Slot;
use crate::protobuf::{Field, Fields};

/// What an annotation's name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Nothing that is wanted.
    Foreign,
    Correlation,
    External,
    Bytes,
    Device,
    Stream,
    Collective,
    Dtype,
    Group,
    GroupDesc,
    InElems,
    OutElems,
    GroupSize,
    Seq,
    Allocated,
    Reserved,
    DeviceType,
    DeviceId,
    OwnKind,
    OwnCorrelation,
    OwnExternal,
    OwnBytes,
    OwnCollective,
    OwnWeight,
    OwnStart,
    OwnDur,
    /// Another one that the writer added.
    Own,
}

fn key_of(name: &[u8]) -> Key {
    match name {
        b"bytes" => Key::Bytes,
        b"device" => Key::Device,
        b"stream" => Key::Stream,
        b"Collective name" => Key::Collective,
        b"dtype" => Key::Dtype,
        b"Process Group Name" => Key::Group,
        b"Process Group Description" => Key::GroupDesc,
        b"In msg nelems" => Key::InElems,
        b"Out msg nelems" => Key::OutElems,
        b"Group size" => Key::GroupSize,
        b"Seq" | b"seq" => Key::Seq,
        b"Total Allocated" => Key::Allocated,
        b"Total Reserved" => Key::Reserved,
        b"Device Type" => Key::DeviceType,
        b"Device Id" => Key::DeviceId,
        b"gapless.kind" => Key::OwnKind,
        b"gapless.correlation" => Key::OwnCorrelation,
        b"gapless.external" => Key::OwnExternal,
        b"gapless.bytes" => Key::OwnBytes,
        b"gapless.collective" => Key::OwnCollective,
        b"gapless.weight" => Key::OwnWeight,
        b"gapless.start" => Key::OwnStart,
        b"gapless.dur" => Key::OwnDur,
        // The event's own, with a prefix against confusion; and what the writer says about reading it.
        b"gapless.error" => Key::Foreign,
        other if other.starts_with(b"gapless.arg.") => Key::Foreign,
        other if other.starts_with(b"gapless.") => Key::Own,
        other if other.eq_ignore_ascii_case(b"correlation") => Key::Correlation,
        other if other.eq_ignore_ascii_case(b"external id") => Key::External,
        _ => Key::Foreign,
    }
}

/// What ids of annotation names mean.
#[derive(Debug, Default)]
pub(super) struct KeyCache {
    /// By sequence and generation: by id, the key; `None` if not looked up yet.
    of: FxHashMap<(u32, u32), Vec<Option<Key>>>,
}

impl KeyCache {
    fn key(&mut self, scope: &Scope<'_>, iid: u64) -> Key {
        let look_up = || scope.text(Slot::AnnotationNames, iid).map_or(Key::Foreign, key_of);
        let Some(index) = usize::try_from(iid).ok().filter(|&index| index < 1 << 16) else { return look_up() };
        let keys = self.of.entry((scope.sequence, scope.generation)).or_default();
        if keys.len() <= index {
            keys.resize(index + 1, None);
        }
        match keys.get_mut(index) {
            Some(slot) => *slot.get_or_insert_with(look_up),
            None => look_up(),
        }
    }
}

/// A value that joins events, where the writer says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Own<T> {
    /// It says nothing.
    #[default]
    Absent,
    /// There is none, whatever the arguments say.
    Nothing,
    /// This one.
    Is(T),
}

/// A number as an annotation has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub value: i128,
    /// Whether it is a text of digits.
    pub is_text: bool,
}

impl Number {
    pub fn unsigned(self) -> Option<u64> {
        u64::try_from(self.value).ok()
    }

    pub fn signed(self) -> Option<i64> {
        i64::try_from(self.value).ok()
    }
}

/// Arguments that analysis needs.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    pub correlation: Option<Number>,
    pub external: Option<Number>,
    pub bytes: Option<Number>,
    pub device: Option<Number>,
    pub stream: Option<Number>,
    pub collective: Option<&'a [u8]>,
    pub dtype: Option<&'a [u8]>,
    pub group: Option<&'a [u8]>,
    pub group_desc: Option<&'a [u8]>,
    pub in_elems: Option<Number>,
    pub out_elems: Option<Number>,
    pub group_size: Option<Number>,
    pub seq: Option<Number>,
    pub allocated: Option<Number>,
    pub reserved: Option<Number>,
    pub device_type: Option<Number>,
    pub device_id: Option<Number>,
    pub own_kind: Option<&'a [u8]>,
    pub own_correlation: Own<u64>,
    pub own_external: Own<u64>,
    pub own_bytes: Own<u64>,
    /// The message of the annotation.
    pub own_collective: Option<&'a [u8]>,
    pub own_weight: Option<u64>,
    pub own_start: Option<i64>,
    pub own_dur: Option<i64>,
    /// Whether there are arguments of the event's own.
    pub has_foreign: bool,
}

/// A value of an annotation, as far as it is wanted.
#[derive(Clone, Copy)]
enum Found<'a> {
    Number(i128),
    Bool,
    Text(&'a [u8]),
    Other,
}

fn found<'a>(scope: &Scope<'a>, field: &Field<'a>) -> Option<Found<'a>> {
    Some(match field.number {
        annotation::BOOL_VALUE => Found::Bool,
        annotation::UINT_VALUE => Found::Number(i128::from(field.uint()?)),
        annotation::INT_VALUE => Found::Number(i128::from(field.int()?)),
        annotation::STRING_VALUE => Found::Text(field.bytes()?),
        annotation::STRING_VALUE_IID => Found::Text(scope.text(Slot::StringValues, field.uint()?)?),
        annotation::DOUBLE_VALUE | annotation::POINTER_VALUE | annotation::LEGACY_JSON_VALUE => Found::Other,
        _ => return None,
    })
}

fn number(found: Found<'_>) -> Option<Number> {
    match found {
        Found::Number(value) => Some(Number { value, is_text: false }),
        Found::Text(text) => {
            let value = std::str::from_utf8(text).ok()?.parse().ok()?;
            Some(Number { value, is_text: true })
        }
        Found::Bool | Found::Other => None,
    }
}

fn own(found: Found<'_>) -> Own<u64> {
    match found {
        Found::Bool => Own::Nothing,
        Found::Number(value) => u64::try_from(value).map_or(Own::Absent, Own::Is),
        Found::Text(_) | Found::Other => Own::Absent,
    }
}

impl<'a> Wanted<'a> {
    /// Picks from the track event in the packet `content`. `scope` is that of the packet.
    pub fn pick(scope: &Scope<'a>, keys: &mut KeyCache, content: &'a [u8]) -> Self {
        let mut wanted = Self::default();
        for field in Fields::new(content).filter(|field| field.number == packet::TRACK_EVENT) {
            for field in Fields::new(field.bytes().unwrap_or_default()) {
                if field.number == track_event::DEBUG_ANNOTATIONS
                    && let Some(message) = field.bytes()
                {
                    wanted.annotation(scope, keys, message);
                }
            }
        }
        wanted
    }

    #[inline]
    fn annotation(&mut self, scope: &Scope<'a>, keys: &mut KeyCache, message: &'a [u8]) {
        let mut key = Key::Foreign;
        let mut has_name = false;
        let mut value = Found::Other;
        for field in Fields::new(message) {
            match field.number {
                annotation::NAME_IID => (key, has_name) = (keys.key(scope, field.uint().unwrap_or(0)), true),
                annotation::NAME => (key, has_name) = (key_of(field.bytes().unwrap_or_default()), true),
                // The name comes first in what writers write; a value of no use is not looked up.
                _ if has_name && key == Key::Foreign => break,
                _ => {
                    if let Some(read) = found(scope, &field) {
                        value = read;
                    }
                }
            }
        }
        let text = match value {
            Found::Text(text) => Some(text),
            _ => None,
        };
        let signed = match value {
            Found::Number(value) => i64::try_from(value).ok(),
            _ => None,
        };
        let is_own = matches!(
            key,
            Key::OwnKind
                | Key::OwnCorrelation
                | Key::OwnExternal
                | Key::OwnBytes
                | Key::OwnCollective
                | Key::OwnWeight
                | Key::OwnStart
                | Key::OwnDur
                | Key::Own
        );
        self.has_foreign |= !is_own;
        // The last of several arguments of one name counts.
        match key {
            Key::Foreign | Key::Own => {}
            Key::Correlation => self.correlation = number(value),
            Key::External => self.external = number(value),
            Key::Bytes => self.bytes = number(value),
            Key::Device => self.device = number(value),
            Key::Stream => self.stream = number(value),
            Key::Collective => self.collective = text,
            Key::Dtype => self.dtype = text,
            Key::Group => self.group = text,
            Key::GroupDesc => self.group_desc = text,
            Key::InElems => self.in_elems = number(value),
            Key::OutElems => self.out_elems = number(value),
            Key::GroupSize => self.group_size = number(value),
            Key::Seq => self.seq = number(value),
            Key::Allocated => self.allocated = number(value),
            Key::Reserved => self.reserved = number(value),
            Key::DeviceType => self.device_type = number(value),
            Key::DeviceId => self.device_id = number(value),
            Key::OwnKind => self.own_kind = text,
            Key::OwnCorrelation => self.own_correlation = own(value),
            Key::OwnExternal => self.own_external = own(value),
            Key::OwnBytes => self.own_bytes = own(value),
            Key::OwnCollective => self.own_collective = Some(message),
            Key::OwnWeight => {
                self.own_weight = match own(value) {
                    Own::Is(weight) => Some(weight),
                    Own::Absent | Own::Nothing => None,
                };
            }
            Key::OwnStart => self.own_start = signed,
            Key::OwnDur => self.own_dur = signed,
        }
    }
}
