//! The few arguments that analysis needs for every event, picked out while events are resolved.

use perfetto_proto::field::{annotation, track_event};

use super::args::Scope;
use super::record::Slot;
use crate::protobuf::{Field, Fields, field, varint, varint_key};

/// What an annotation's name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
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

impl Key {
    /// Keys in all.
    const COUNT: usize = Self::Own as usize + 1;

    const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Whether the writer added the annotation for the reader.
    const fn is_own(self) -> bool {
        self as u8 >= Self::OwnKind as u8
    }
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
        b"gapless.error" | b"gapless.args" => Key::Foreign,
        other if other.starts_with(b"gapless.arg.") => Key::Foreign,
        other if other.starts_with(b"gapless.") => Key::Own,
        other if other.eq_ignore_ascii_case(b"correlation") => Key::Correlation,
        other if other.eq_ignore_ascii_case(b"external id") => Key::External,
        _ => Key::Foreign,
    }
}

/// What ids of annotation names mean, within one generation of a sequence.
#[derive(Debug, Default)]
pub(super) struct KeyCache {
    /// By id; `None` if not looked up yet.
    of: Vec<Option<Key>>,
}

impl KeyCache {
    /// Forgets everything: ids mean something else from now on.
    pub fn clear(&mut self) {
        self.of.clear();
    }

    #[inline]
    fn key(&mut self, scope: &Scope<'_>, iid: u64) -> Key {
        let known = usize::try_from(iid).ok().and_then(|index| self.of.get(index).copied().flatten());
        known.unwrap_or_else(|| self.look_up(scope, iid))
    }

    #[cold]
    fn look_up(&mut self, scope: &Scope<'_>, iid: u64) -> Key {
        let key = scope.text(Slot::AnnotationNames, iid).map_or(Key::Foreign, key_of);
        if let Some(index) = usize::try_from(iid).ok().filter(|&index| index < 1 << 16) {
            if self.of.len() <= index {
                self.of.resize(index + 1, None);
            }
            if let Some(slot) = self.of.get_mut(index) {
                *slot = Some(key);
            }
        }
        key
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

/// A value of an annotation, as far as it is wanted.
#[derive(Clone, Copy)]
enum Found<'a> {
    UInt(u64),
    Int(i64),
    Bool,
    Text(&'a [u8]),
    Other,
}

/// Arguments that analysis needs, and flows. Used again event after event: of a value that is not set, nothing is
/// written.
pub(super) struct Wanted<'a> {
    /// Bits of the keys that the event has.
    set: u32,
    /// By key. The last of several arguments of one name counts.
    values: [Found<'a>; Key::COUNT],
    /// Whether there are arguments of the event's own.
    pub has_foreign: bool,
    /// Flows that the event is a point of: (id, whether it terminates).
    pub flows: Vec<(u64, bool)>,
}

fn found<'a>(scope: &Scope<'a>, field: &Field<'a>) -> Option<Found<'a>> {
    Some(match field.number {
        annotation::BOOL_VALUE => Found::Bool,
        annotation::UINT_VALUE => Found::UInt(field.uint()?),
        annotation::INT_VALUE => Found::Int(field.int()?),
        annotation::STRING_VALUE => Found::Text(field.bytes()?),
        annotation::STRING_VALUE_IID => Found::Text(scope.text(Slot::StringValues, field.uint()?)?),
        annotation::DOUBLE_VALUE | annotation::POINTER_VALUE | annotation::LEGACY_JSON_VALUE => Found::Other,
        _ => return None,
    })
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { set: 0, values: [Found::Other; Key::COUNT], has_foreign: false, flows: Vec::new() }
    }
}

impl<'a> Wanted<'a> {
    /// Takes what these fields of a track event hold; what was taken before is forgotten. `scope` is that of its
    /// packet.
    pub fn take(&mut self, scope: &Scope<'a>, keys: &mut KeyCache, fields: &'a [u8]) {
        (self.set, self.has_foreign) = (0, false);
        self.flows.clear();
        for field in Fields::new(fields) {
            match field.number {
                track_event::DEBUG_ANNOTATIONS => {
                    if let Some(message) = field.bytes() {
                        self.annotation(scope, keys, message);
                    }
                }
                track_event::FLOW_IDS => field.each_fixed64(|id| self.flows.push((id, false))),
                track_event::FLOW_IDS_OLD => field.each_varint(|id| self.flows.push((id, false))),
                track_event::TERMINATING_FLOW_IDS => field.each_fixed64(|id| self.flows.push((id, true))),
                track_event::TERMINATING_FLOW_IDS_OLD => field.each_varint(|id| self.flows.push((id, true))),
                _ => {}
            }
        }
    }

    #[inline]
    fn annotation(&mut self, scope: &Scope<'a>, keys: &mut KeyCache, message: &'a [u8]) {
        // As nearly all writers write it: the id of the name, then the value.
        let mut at = 0;
        if varint(message, &mut at) == Some(varint_key(annotation::NAME_IID))
            && let Some(iid) = varint(message, &mut at)
        {
            match keys.key(scope, iid) {
                Key::Foreign => return self.has_foreign = true,
                Key::OwnCollective => {}
                key => {
                    let value = varint(message, &mut at).and_then(|key| field(message, key, &mut at));
                    if let Some(value) = value.filter(|_| at == message.len()) {
                        return self.set(key, found(scope, &value).unwrap_or(Found::Other));
                    }
                }
            }
        }
        self.any_annotation(scope, keys, message);
    }

    #[cold]
    fn any_annotation(&mut self, scope: &Scope<'a>, keys: &mut KeyCache, message: &'a [u8]) {
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
        if key == Key::OwnCollective {
            value = Found::Text(message);
        }
        self.set(key, value);
    }

    #[inline]
    fn set(&mut self, key: Key, value: Found<'a>) {
        self.has_foreign |= !key.is_own();
        if let Some(slot) = self.values.get_mut(key as usize) {
            *slot = value;
        }
        self.set |= key.bit();
    }

    #[inline]
    fn get(&self, key: Key) -> Option<Found<'a>> {
        if self.set & key.bit() == 0 {
            return None;
        }
        self.values.get(key as usize).copied()
    }

    /// The number of this name; texts of digits are numbers, too.
    #[inline]
    pub fn number(&self, key: Key) -> Option<Number> {
        match self.get(key)? {
            Found::UInt(value) => Some(Number { value: i128::from(value), is_text: false }),
            Found::Int(value) => Some(Number { value: i128::from(value), is_text: false }),
            Found::Text(text) => {
                let value = std::str::from_utf8(text).ok()?.parse().ok()?;
                Some(Number { value, is_text: true })
            }
            Found::Bool | Found::Other => None,
        }
    }

    /// The same as an unsigned number.
    #[inline]
    pub fn unsigned(&self, key: Key) -> Option<u64> {
        self.number(key).and_then(Number::unsigned)
    }

    /// A number that is no text, as a signed one.
    #[inline]
    pub fn signed(&self, key: Key) -> Option<i64> {
        match self.get(key)? {
            Found::UInt(value) => i64::try_from(value).ok(),
            Found::Int(value) => Some(value),
            Found::Bool | Found::Text(_) | Found::Other => None,
        }
    }

    /// The text of this name; of a collective that the writer describes, the message of the annotation.
    #[inline]
    pub fn text(&self, key: Key) -> Option<&'a [u8]> {
        match self.get(key)? {
            Found::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A value that joins events, where the writer says it.
    #[inline]
    pub fn own(&self, key: Key) -> Own<u64> {
        match self.get(key) {
            Some(Found::Bool) => Own::Nothing,
            Some(Found::UInt(value)) => Own::Is(value),
            Some(Found::Int(value)) => u64::try_from(value).map_or(Own::Absent, Own::Is),
            Some(Found::Text(_) | Found::Other) | None => Own::Absent,
        }
    }
}
