//! Arguments of events.

use perfetto_proto::field::annotation;
use perfetto_proto::wire::Writer;

/// Name of an argument.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A name that the recorder gives.
    Fixed(&'static str),
    /// A string of the segment.
    Id(u32),
    /// Anything else.
    Text(String),
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
    Dict(Vec<(String, Value)>),
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
                entries.iter().map(|(key, value)| (key.clone(), Self::of_json_at(value, depth + 1))).collect(),
            ),
        }
    }

    /// Writes the value into an open annotation. `text_of` gives strings of the segment.
    pub(super) fn write(&self, out: &mut Writer, text_of: &dyn Fn(u32) -> String) {
        match self {
            Value::Unsigned(value) => out.uint(annotation::UINT_VALUE, *value),
            Value::Signed(value) => out.int(annotation::INT_VALUE, *value),
            Value::Float(value) => out.double(annotation::DOUBLE_VALUE, *value),
            Value::Bool(value) => out.bool(annotation::BOOL_VALUE, *value),
            Value::Text(text) => out.string(annotation::STRING_VALUE, text),
            Value::Id(id) => out.string(annotation::STRING_VALUE, &text_of(*id)),
            Value::List(items) => {
                for item in items {
                    out.message(annotation::ARRAY_VALUES, |out| item.write(out, text_of));
                }
            }
            Value::Dict(entries) => {
                for (key, value) in entries {
                    out.message(annotation::DICT_ENTRIES, |out| {
                        out.string(annotation::NAME, key);
                        value.write(out, text_of);
                    });
                }
            }
        }
    }
}
