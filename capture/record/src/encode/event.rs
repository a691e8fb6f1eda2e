//! What a record says together with the facts that follow it.

use gapless_ring::Class;
use gapless_ring::layout::Kind;

use super::annotation::{Annotation, Key, Value};
use super::payload::{self, hex};
use super::schema::Schemas;

/// A record whose facts may still come, or that began a range which is open.
#[derive(Debug)]
pub(super) struct Event {
    pub kind: Kind,
    pub time_ns: i64,
    pub class: Class,
    /// String's number.
    pub name: u32,
    /// String's number.
    pub domain: u32,
    pub payload: u64,
    pub args: Vec<Annotation>,
    /// Payloads that could not be decoded when they came.
    pub raw: Vec<RawPayload>,
}

impl Default for Event {
    fn default() -> Self {
        Event {
            kind: Kind::Push,
            time_ns: 0,
            class: Class::Annotation,
            name: 0,
            domain: 0,
            payload: 0,
            args: Vec::new(),
            raw: Vec::new(),
        }
    }
}

/// A payload that is not decoded: what describes it may come later, from the ring of another thread.
#[derive(Debug)]
pub(super) struct RawPayload {
    /// Name of the fact, a string's number.
    pub key: u32,
    /// String's number.
    pub domain: u32,
    /// Its type.
    pub id: u64,
    pub bytes: Vec<u8>,
}

impl RawPayload {
    /// Adds the values of a payload to `args`. Whether it could be decoded; if not, it is as it was.
    pub fn decode(&self, schemas: &Schemas, args: &mut Vec<Annotation>) -> bool {
        decode(schemas, self.domain, self.id, &self.bytes, args)
    }

    /// The payload as it came.
    pub fn as_text(&self) -> Annotation {
        Annotation { key: Key::Id(self.key), value: Value::Text(hex(&self.bytes)) }
    }
}

/// Adds the values of a payload of the type `id` to `args`. Whether it could be decoded.
pub(super) fn decode(schemas: &Schemas, domain: u32, id: u64, bytes: &[u8], args: &mut Vec<Annotation>) -> bool {
    match payload::decode(schemas, domain, id, bytes) {
        Ok(values) => {
            args.extend(values.into_iter().map(|(name, value)| Annotation { key: Key::Text(name), value }));
            true
        }
        Err(payload::Unreadable) => false,
    }
}
