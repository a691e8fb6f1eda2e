//! The values of a pickle as a graph: each value once, however often it is referred to.
//!
//! Nothing is ever expanded as a whole: a few bytes can refer to themselves so often that the tree of them has more
//! values than memory. Whoever walks the graph does so with a bound.

use std::sync::Arc;

use gapless_trace::{ArgValue, Args};

use crate::mapped::Bytes;

/// A value of one [`Graph`].
pub(crate) type Id = u32;

/// A value. Text and bytes stay where they are in the file.
#[derive(Debug)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    /// Text at a place in the file; valid UTF-8.
    Text(u64, u64),
    /// Text that is not in the file as it is: escaped, or repaired.
    Owned(Box<str>),
    /// Bytes, of which only the length is shown.
    Bytes(u64),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
}

/// All values of a pickle.
#[derive(Debug)]
pub(crate) struct Graph {
    bytes: Arc<Bytes>,
    pub values: Vec<Value>,
}

/// Deepest nesting of a value that is shown.
const MAX_DEPTH: usize = 16;

impl Graph {
    pub fn new(bytes: Arc<Bytes>) -> Self {
        Self { bytes, values: Vec::new() }
    }

    /// The value of `id`.
    pub fn get(&self, id: Id) -> Option<&Value> {
        self.values.get(id as usize)
    }

    fn slice(&self, at: u64, len: u64) -> &[u8] {
        let end = at.saturating_add(len);
        usize::try_from(at)
            .ok()
            .zip(usize::try_from(end).ok())
            .and_then(|(at, end)| self.bytes.get(at..end))
            .unwrap_or(&[])
    }

    /// The text of `id`, if it is text.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id)? {
            Value::Text(at, len) => std::str::from_utf8(self.slice(*at, *len)).ok(),
            Value::Owned(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number of `id`, if it is one.
    pub fn int(&self, id: Id) -> Option<i64> {
        match self.get(id)? {
            Value::Int(value) => Some(*value),
            Value::UInt(value) => i64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The items of the list, tuple or set `id`.
    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id)? {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of the dictionary `id`.
    pub fn entries(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id)? {
            Value::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of `key` in the dictionary `id`; the last one counts.
    pub fn member(&self, id: Id, key: &str) -> Option<Id> {
        let entries = self.entries(id)?;
        entries.iter().rev().find(|entry| self.text(entry.0) == Some(key)).map(|entry| entry.1)
    }

    /// The dictionary `id` without `left_out`, as arguments. Each value costs one of `budget`; where that is spent,
    /// or values nest too deep, what is left out shows as "…".
    pub fn args(&self, id: Id, left_out: &str, budget: &mut usize) -> Args {
        let entries = self.entries(id).unwrap_or_default().iter().filter(|entry| self.text(entry.0) != Some(left_out));
        let mut args = Args::new();
        for &(key, value) in entries {
            if *budget == 0 {
                args.push(("…".to_owned(), ArgValue::Null));
                break;
            }
            args.push((self.key(key), self.value(value, 1, budget)));
        }
        args
    }

    fn key(&self, id: Id) -> String {
        match (self.text(id), self.int(id)) {
            (Some(text), _) => text.to_owned(),
            (None, Some(number)) => number.to_string(),
            (None, None) => "(not a text)".to_owned(),
        }
    }

    fn value(&self, id: Id, depth: usize, budget: &mut usize) -> ArgValue {
        const LEFT_OUT: &str = "…";
        // Long texts that many values share cost what they are long.
        let cost = 1 + self.text(id).map_or(0, str::len) / 16;
        let is_affordable = *budget >= cost;
        *budget = budget.saturating_sub(cost);
        if !is_affordable || depth > MAX_DEPTH {
            return ArgValue::Text(LEFT_OUT.to_owned());
        }
        match self.get(id) {
            None | Some(Value::None) => ArgValue::Null,
            Some(Value::Bool(value)) => ArgValue::Bool(*value),
            Some(Value::Int(value)) => ArgValue::Int(*value),
            Some(Value::UInt(value)) => ArgValue::UInt(*value),
            Some(Value::Float(value)) => ArgValue::Double(*value),
            Some(Value::Text(..) | Value::Owned(_)) => ArgValue::Text(self.text(id).unwrap_or_default().to_owned()),
            Some(Value::Bytes(len)) => ArgValue::Text(format!("({len} bytes)")),
            Some(Value::List(items)) => {
                let mut list = Vec::new();
                for &item in items {
                    list.push(self.value(item, depth + 1, budget));
                    if *budget == 0 {
                        break;
                    }
                }
                ArgValue::List(list)
            }
            Some(Value::Dict(entries)) => {
                let mut dict = Args::new();
                for &(key, item) in entries {
                    dict.push((self.key(key), self.value(item, depth + 1, budget)));
                    if *budget == 0 {
                        break;
                    }
                }
                ArgValue::Dict(dict)
            }
        }
    }

    /// Heap bytes held beside the file's.
    pub fn heap_bytes(&self) -> usize {
        let of_value = |value: &Value| match value {
            Value::Owned(text) => text.len(),
            Value::List(items) => items.capacity() * size_of::<Id>(),
            Value::Dict(entries) => entries.capacity() * size_of::<(Id, Id)>(),
            _ => 0,
        };
        self.values.capacity() * size_of::<Value>()
            + self.values.iter().map(of_value).sum::<usize>()
            + self.bytes.heap_bytes()
    }
}
