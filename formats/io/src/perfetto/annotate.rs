//! Debug annotations: argument values of every type, so that they come back exactly.
//!
//! Most types have a field of their own. Null, empty lists and empty dicts have none and are written as JSON text,
//! as is what is nested very deep. A text is never taken for JSON, because it has its own field.

use gapless_trace::ArgValue;
use perfetto_proto::field::{annotation, interned};
use perfetto_proto::wire::Writer;

use super::intern::{Interned, Interner, RepeatInterner};
use crate::args_arena::write_json;

/// Deepest nesting of lists and dicts that is written as such; what lies deeper is written as JSON text.
/// Protobuf decoders stop at 100 nested messages.
const MAX_NESTING: usize = 32;

/// Names and text values that a sequence has been told.
#[derive(Default)]
pub(super) struct Strings {
    names: Interner,
    values: RepeatInterner,
}

/// Tells the sequence what an id stands for.
pub(super) fn define(interned_data: &mut Writer, field: u32, id: u64, text: &str) {
    interned_data.message(field, |entry| {
        entry.uint(interned::IID, id);
        entry.string(interned::TEXT, text);
    });
}

/// Appends a debug annotation to `event`; list entries have no name.
pub(super) fn annotate(
    event: &mut Writer,
    interned_data: &mut Writer,
    strings: &mut Strings,
    field: u32,
    name: Option<&str>,
    value: &ArgValue,
    nesting: usize,
) {
    let message = event.open(field);
    if let Some(name) = name {
        match strings.names.intern(name) {
            Interned::Known(id) => event.uint(annotation::NAME_IID, id),
            Interned::New(id) => {
                define(interned_data, interned::DEBUG_ANNOTATION_NAMES, id, name);
                event.uint(annotation::NAME_IID, id);
            }
            Interned::Inline => event.string(annotation::NAME, name),
        }
    }
    match value {
        ArgValue::Bool(value) => event.bool(annotation::BOOL_VALUE, *value),
        ArgValue::Int(value) => event.int(annotation::INT_VALUE, *value),
        ArgValue::UInt(value) => event.uint(annotation::UINT_VALUE, *value),
        ArgValue::Double(value) => event.double(annotation::DOUBLE_VALUE, *value),
        ArgValue::Text(value) => match strings.values.intern(value) {
            Interned::Known(id) => event.uint(annotation::STRING_VALUE_IID, id),
            Interned::New(id) => {
                define(interned_data, interned::DEBUG_ANNOTATION_STRING_VALUES, id, value);
                event.uint(annotation::STRING_VALUE_IID, id);
            }
            Interned::Inline => event.string(annotation::STRING_VALUE, value),
        },
        ArgValue::List(items) if !items.is_empty() && nesting < MAX_NESTING => {
            for item in items {
                annotate(event, interned_data, strings, annotation::ARRAY_VALUES, None, item, nesting + 1);
            }
        }
        ArgValue::Dict(entries) if !entries.is_empty() && nesting < MAX_NESTING => {
            for (name, item) in entries {
                annotate(event, interned_data, strings, annotation::DICT_ENTRIES, Some(name), item, nesting + 1);
            }
        }
        // Null, and lists and dicts without entries, have no form of their own.
        ArgValue::Null | ArgValue::List(_) | ArgValue::Dict(_) => {
            let mut json = Vec::new();
            write_json(value, &mut json);
            event.bytes(annotation::LEGACY_JSON_VALUE, &json);
        }
    }
    event.close(message);
}
