//! Arguments of events.

use std::sync::Arc;

use gapless_ring::layout::{AttrType, Record};
use gapless_ring::reader::extra_comm;
use perfetto_proto::field::annotation;
use perfetto_proto::wire::Writer;

use super::process::Strings;

/// Name of an argument.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A name that the recorder gives.
    Fixed(&'static str),
    /// A string of the segment.
    Id(u32),
    /// Anything else.
    Text(Arc<str>),
}

impl Key {
    /// The name as text.
    pub(super) fn text(&self, strings: &dyn Strings) -> String {
        match self {
            Key::Fixed(name) => (*name).to_owned(),
            Key::Id(id) => strings.get(*id).unwrap_or_default(),
            Key::Text(name) => name.to_string(),
        }
    }
}

/// Value of an argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Whole, without a sign.
    Unsigned(u64),
    /// Whole.
    Signed(i64),
    /// Number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Text.
    Text(String),
    /// A string of the segment.
    Id(u32),
    /// Several values.
    List(Vec<Value>),
    /// Named values.
    Dict(Vec<(Arc<str>, Value)>),
}

/// An argument.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Its name.
    pub key: Key,
    /// Its value.
    pub value: Value,
}

impl Annotation {
    /// An argument with a name that the recorder gives.
    pub fn fixed(name: &'static str, value: Value) -> Annotation {
        Annotation { key: Key::Fixed(name), value }
    }
}

/// Deepest nesting of JSON that is kept as structure; what lies deeper is kept as text.
const DEEPEST: usize = 16;

impl Value {
    /// A colour, given as ARGB in the low bits.
    pub(super) fn color(argb: u64) -> Value {
        Value::Text(format!("#{:06x}", argb & 0xff_ffff))
    }

    /// The value of a JSON text.
    pub fn of_json(json: &serde_json::Value) -> Value {
        Self::of_json_at(json, 0)
    }

    fn of_json_at(json: &serde_json::Value, depth: usize) -> Value {
        match json {
            _ if depth > DEEPEST => Value::Text(json.to_string()),
            serde_json::Value::Null => Value::Text("null".to_owned()),
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Value::Signed(value),
                (None, Some(value)) => Value::Unsigned(value),
                (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Value::Text(text.clone()),
            serde_json::Value::Array(items) => {
                Value::List(items.iter().map(|item| Self::of_json_at(item, depth + 1)).collect())
            }
            serde_json::Value::Object(entries) => Value::Dict(
                entries
                    .iter()
                    .map(|(key, value)| (Arc::from(key.as_str()), Self::of_json_at(value, depth + 1)))
                    .collect(),
            ),
        }
    }

    /// Writes the value into an open annotation.
    pub(super) fn write(&self, out: &mut Writer, strings: &dyn Strings) {
        match self {
            Value::Unsigned(value) => out.uint(annotation::UINT_VALUE, *value),
            Value::Signed(value) => out.int(annotation::INT_VALUE, *value),
            Value::Float(value) => out.double(annotation::DOUBLE_VALUE, *value),
            Value::Bool(value) => out.bool(annotation::BOOL_VALUE, *value),
            Value::Text(text) => out.string(annotation::STRING_VALUE, text),
            Value::Id(id) => out.string(annotation::STRING_VALUE, &strings.get(*id).unwrap_or_default()),
            Value::List(items) => {
                for item in items {
                    out.message(annotation::ARRAY_VALUES, |out| item.write(out, strings));
                }
            }
            Value::Dict(entries) => {
                for (key, value) in entries {
                    out.message(annotation::DICT_ENTRIES, |out| {
                        out.string(annotation::NAME, key);
                        value.write(out, strings);
                    });
                }
            }
        }
    }
}

/// The value of a record of kind `Attr`; `None` where its type is of a newer writer.
pub(super) fn attr_value(record: &Record) -> Option<Value> {
    Some(match AttrType::from_number(record.class)? {
        AttrType::Unsigned => Value::Unsigned(record.payload),
        AttrType::Signed => Value::Signed(record.payload as i64),
        AttrType::Float => Value::Float(f64::from_bits(record.payload)),
        AttrType::String => Value::Id(record.payload as u32),
        AttrType::Color => Value::color(record.payload),
    })
}

/// What is known of a communication call, under the names that Kineto gives the same facts where it has them.
pub(super) fn comm_args(extra: &[Record], args: &mut Vec<Annotation>) {
    let Some(comm) = extra_comm(extra) else { return };
    let mut add = |name, value| args.push(Annotation::fixed(name, value));
    add("bytes", Value::Unsigned(comm.bytes));
    if comm.communicator != 0 {
        add("communicator", Value::Unsigned(comm.communicator));
        add("members", Value::Text(format!("{:08x}", comm.members)));
        add("Rank", Value::Signed(i64::from(comm.rank)));
        add("Group size", Value::Signed(i64::from(comm.size)));
    }
    if comm.sequence != u64::MAX {
        add("Seq", Value::Unsigned(comm.sequence));
    }
    if comm.count != 0 {
        add("In msg nelems", Value::Unsigned(comm.count));
    }
    if comm.dtype != 0 {
        add("dtype", Value::Id(comm.dtype));
    }
    if comm.peer != -1 {
        add(if comm.sequence == u64::MAX { "peer" } else { "root" }, Value::Signed(i64::from(comm.peer)));
    }
    if comm.tag != -1 {
        add("tag", Value::Signed(i64::from(comm.tag)));
    }
    if comm.request != 0 {
        add("request", Value::Unsigned(comm.request));
    }
}
