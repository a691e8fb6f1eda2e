//! Messages of `schema/protobuf/et_def.proto` of MLCommons Chakra, as arguments: each field by its name.

use gapless_trace::{ArgValue, Args};

use crate::protobuf::{Field, Fields, Value};

/// What a node is, in `NodeType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeType {
    Invalid,
    Metadata,
    MemLoad,
    MemStore,
    Comp,
    CommSend,
    CommRecv,
    CommColl,
    Storage,
    Batch,
    Checkpoint,
}

const NODE_TYPES: [(NodeType, &str); 11] = [
    (NodeType::Invalid, "INVALID_NODE"),
    (NodeType::Metadata, "METADATA_NODE"),
    (NodeType::MemLoad, "MEM_LOAD_NODE"),
    (NodeType::MemStore, "MEM_STORE_NODE"),
    (NodeType::Comp, "COMP_NODE"),
    (NodeType::CommSend, "COMM_SEND_NODE"),
    (NodeType::CommRecv, "COMM_RECV_NODE"),
    (NodeType::CommColl, "COMM_COLL_NODE"),
    (NodeType::Storage, "STORAGE_NODE"),
    (NodeType::Batch, "BATCH_NODE"),
    (NodeType::Checkpoint, "CHECKPOINT_NODE"),
];

/// Names of `CollectiveCommType`.
const COMM_TYPES: [&str; 10] = [
    "ALL_REDUCE",
    "REDUCE",
    "ALL_GATHER",
    "GATHER",
    "SCATTER",
    "BROADCAST",
    "ALL_TO_ALL",
    "REDUCE_SCATTER",
    "REDUCE_SCATTER_BLOCK",
    "BARRIER",
];

impl NodeType {
    /// The type of this number or name.
    pub fn of(value: Option<&ArgValue>) -> Self {
        let by_name = |name: &str| NODE_TYPES.iter().find(|entry| entry.1 == name).map(|entry| entry.0);
        let by_number =
            |number: i64| usize::try_from(number).ok().and_then(|number| NODE_TYPES.get(number)).map(|e| e.0);
        let found = value.and_then(|value| match value {
            ArgValue::Text(name) => by_name(name).or_else(|| by_number(name.parse().ok()?)),
            other => by_number(other.as_i64()?),
        });
        found.unwrap_or(Self::Invalid)
    }

    /// Its name in the schema.
    pub fn name(self) -> &'static str {
        NODE_TYPES.iter().find(|entry| entry.0 == self).map_or("INVALID_NODE", |entry| entry.1)
    }
}

/// Name of a kind of collective, a number or a name already.
pub(super) fn comm_type(value: &ArgValue) -> String {
    let number = value.as_i64().and_then(|number| usize::try_from(number).ok());
    number.and_then(|number| COMM_TYPES.get(number)).map_or_else(|| value.to_string(), |name| (*name).to_owned())
}

fn text(value: Value<&[u8]>) -> ArgValue {
    match value {
        Value::Bytes(bytes) => ArgValue::Text(String::from_utf8_lossy(bytes).into_owned()),
        other => number(other),
    }
}

fn number(value: Value<&[u8]>) -> ArgValue {
    let whole = |value: u64| i64::try_from(value).map_or(ArgValue::UInt(value), ArgValue::Int);
    match value {
        Value::Varint(value) | Value::Fixed64(value) => whole(value),
        Value::Fixed32(value) => ArgValue::Int(i64::from(value)),
        Value::Bytes(bytes) => ArgValue::Text(format!("({} bytes)", bytes.len())),
    }
}

/// How the numbers of an attribute are written; fields 3 and 4 are the first kind and a list of it, and so on.
#[derive(Clone, Copy)]
enum Scalar {
    Double,
    Float,
    Signed,
    Unsigned,
    Zigzag,
    Fixed32,
    Fixed64,
    SignedFixed32,
    SignedFixed64,
    Bool,
    Text,
    Bytes,
}

const SCALARS: [Scalar; 15] = [
    Scalar::Double,
    Scalar::Float,
    Scalar::Signed,
    Scalar::Signed,
    Scalar::Unsigned,
    Scalar::Unsigned,
    Scalar::Zigzag,
    Scalar::Zigzag,
    Scalar::Fixed32,
    Scalar::Fixed64,
    Scalar::SignedFixed32,
    Scalar::SignedFixed64,
    Scalar::Bool,
    Scalar::Text,
    Scalar::Bytes,
];

impl Scalar {
    fn value(self, value: Value<&[u8]>) -> ArgValue {
        match (self, value) {
            (Self::Double, Value::Fixed64(bits)) => ArgValue::Double(f64::from_bits(bits)),
            (Self::Float, Value::Fixed32(bits)) => ArgValue::Double(f64::from(f32::from_bits(bits))),
            (Self::Signed, Value::Varint(value)) => ArgValue::Int(value as i64),
            (Self::Zigzag, Value::Varint(value)) => ArgValue::Int((value >> 1) as i64 ^ -((value & 1) as i64)),
            (Self::SignedFixed32, Value::Fixed32(value)) => ArgValue::Int(i64::from(value as i32)),
            (Self::SignedFixed64, Value::Fixed64(value)) => ArgValue::Int(value as i64),
            (Self::Bool, Value::Varint(value)) => ArgValue::Bool(value != 0),
            (Self::Text, value) => text(value),
            (_, value) => number(value),
        }
    }

    /// Items of a list, which may be packed.
    fn list(self, message: &[u8]) -> ArgValue {
        let mut items = Vec::new();
        for entry in Fields::new(message).filter(|entry| entry.number == 1) {
            let value = entry.value;
            let Value::Bytes(packed) = value else {
                items.push(self.value(value));
                continue;
            };
            match self {
                Self::Text | Self::Bytes => items.push(self.value(value)),
                Self::Double | Self::Fixed64 | Self::SignedFixed64 => {
                    let words = packed.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
                    items.extend(words.map(|word| self.value(Value::Fixed64(word))));
                }
                Self::Float | Self::Fixed32 | Self::SignedFixed32 => {
                    let words = packed.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
                    items.extend(words.map(|word| self.value(Value::Fixed32(word))));
                }
                _ => entry.each_varint(|number| items.push(self.value(Value::Varint(number)))),
            }
        }
        ArgValue::List(items)
    }
}

/// An `AttributeProto`: its name and its value.
fn attribute(message: &[u8]) -> (String, ArgValue) {
    let (mut name, mut found) = (String::new(), ArgValue::Null);
    for Field { number: field, value, .. } in Fields::new(message) {
        match (field, value) {
            (1, Value::Bytes(bytes)) => name = String::from_utf8_lossy(bytes).into_owned(),
            (3..=32, value) => {
                let scalar = SCALARS.get((field as usize - 3) / 2).copied().unwrap_or(Scalar::Bytes);
                found = match (field % 2, value) {
                    (0, Value::Bytes(list)) => scalar.list(list),
                    _ => scalar.value(value),
                };
            }
            _ => {}
        }
    }
    (name, found)
}

/// A `GlobalMetadata`. `None` if the bytes are none.
pub(super) fn metadata(message: &[u8]) -> Option<Args> {
    let mut fields = Fields::new(message);
    let mut args = Args::new();
    for entry in fields.by_ref() {
        let value = entry.value;
        match (entry.number, value) {
            (1, Value::Bytes(_)) => args.push(("version".to_owned(), text(value))),
            (2, Value::Bytes(attr)) => args.push(attribute(attr)),
            _ => return None,
        }
    }
    (!fields.is_broken()).then_some(args)
}

/// An `IOInfo`; its values are texts as Python prints lists.
fn io_info(message: &[u8]) -> ArgValue {
    let mut args = Args::new();
    for Field { number: field, value, .. } in Fields::new(message) {
        let name = match field {
            1 => "values",
            2 => "shapes",
            3 => "types",
            _ => continue,
        };
        args.push((name.to_owned(), text(value)));
    }
    ArgValue::Dict(args)
}

/// A `Node`, its attributes by their names. `None` if the bytes are none.
pub(super) fn node(message: &[u8]) -> Option<Args> {
    let mut fields = Fields::new(message);
    let mut args = Args::new();
    let (mut ctrl_deps, mut data_deps, mut attrs) = (Vec::new(), Vec::new(), Args::new());
    for entry in fields.by_ref() {
        let value = entry.value;
        match (entry.number, value) {
            (1, Value::Varint(_)) => args.push(("id".to_owned(), number(value))),
            (2, Value::Bytes(_)) => args.push(("name".to_owned(), text(value))),
            (3, Value::Varint(_)) => {
                let kind = NodeType::of(Some(&number(value)));
                args.push(("type".to_owned(), ArgValue::Text(kind.name().to_owned())));
            }
            (4, Value::Varint(_) | Value::Bytes(_)) => entry.each_varint(|id| ctrl_deps.push(id)),
            (5, Value::Varint(_) | Value::Bytes(_)) => entry.each_varint(|id| data_deps.push(id)),
            (6, Value::Varint(_)) => args.push(("start_time_micros".to_owned(), number(value))),
            (7, Value::Varint(_)) => args.push(("duration_micros".to_owned(), number(value))),
            (8, Value::Bytes(info)) => args.push(("inputs".to_owned(), io_info(info))),
            (9, Value::Bytes(info)) => args.push(("outputs".to_owned(), io_info(info))),
            (10, Value::Bytes(attr)) => attrs.push(attribute(attr)),
            (11, Value::Bytes(info)) => args.push(("storage".to_owned(), storage(info))),
            // Fields of later schemas are left out; wire types that contradict the schema are no node.
            (12.., _) => {}
            _ => return None,
        }
    }
    if fields.is_broken() {
        return None;
    }
    for (name, deps) in [("ctrl_deps", ctrl_deps), ("data_deps", data_deps)] {
        if !deps.is_empty() {
            let ids = deps.into_iter().map(|id| i64::try_from(id).map_or(ArgValue::UInt(id), ArgValue::Int));
            args.push((name.to_owned(), ArgValue::List(ids.collect())));
        }
    }
    args.extend(attrs);
    Some(args)
}

/// A `StorageInfo`: the numbers of its operation.
fn storage(message: &[u8]) -> ArgValue {
    let mut args = Args::new();
    for Field { number: field, value, .. } in Fields::new(message) {
        match (field, value) {
            (1, _) => args.push(("level".to_owned(), number(value))),
            (10..=12, Value::Bytes(detail)) => {
                let names: &[&str] = match field {
                    10 => &["op", "pathname", "fd", "offset", "size_bytes", "flags"],
                    11 => &["op", "inode", "page_index", "nr_pages"],
                    _ => &["op", "queue_event", "device", "lba", "nr_sectors", "req_op_flags"],
                };
                for Field { number: field, value, .. } in Fields::new(detail) {
                    if let Some(name) = names.get((field as usize).saturating_sub(1)) {
                        args.push(((*name).to_owned(), text(value)));
                    }
                }
            }
            _ => {}
        }
    }
    ArgValue::Dict(args)
}
