//! Arguments of formats whose own bytes cannot be parsed one event at a time: kept as JSON text.

use std::sync::Arc;

use gapless_trace::{ArgValue, Args, ArgsLoc, ArgsSource};

use crate::text::JsonText;

/// Arguments under construction.
#[derive(Debug, Default)]
pub(crate) struct ArgsArena {
    text: Vec<u8>,
}

impl ArgsArena {
    /// Keeps `args`; gives where they lie. No arguments, and what does not fit a location, give [`ArgsLoc::NONE`].
    pub fn push(&mut self, args: &Args) -> ArgsLoc {
        if args.is_empty() {
            return ArgsLoc::NONE;
        }
        let start = self.text.len();
        write_dict(args, &mut self.text);
        ArgsLoc::new(start as u64, self.text.len() - start).unwrap_or_default()
    }

    /// The source to read them from.
    pub fn finish(self) -> Arc<dyn ArgsSource> {
        Arc::new(JsonText::Inflated(vec![(0, self.text)]))
    }
}

/// Appends `value` as JSON. Numbers that JSON lacks are written as words (`NaN`, `-Infinity`), which our own parser
/// knows.
pub(crate) fn write_json(value: &ArgValue, out: &mut Vec<u8>) {
    match value {
        ArgValue::Null => out.extend_from_slice(b"null"),
        ArgValue::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        ArgValue::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        ArgValue::UInt(value) => out.extend_from_slice(value.to_string().as_bytes()),
        ArgValue::Double(value) if value.is_nan() => out.extend_from_slice(b"NaN"),
        ArgValue::Double(f64::INFINITY) => out.extend_from_slice(b"Infinity"),
        ArgValue::Double(f64::NEG_INFINITY) => out.extend_from_slice(b"-Infinity"),
        // This form always has a point or an exponent, so that it stays a double.
        ArgValue::Double(value) => out.extend_from_slice(format!("{value:?}").as_bytes()),
        ArgValue::Text(value) => write_text(value, out),
        ArgValue::List(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json(item, out);
            }
            out.push(b']');
        }
        ArgValue::Dict(entries) => write_dict(entries, out),
    }
}

fn write_dict(entries: &Args, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, item)) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(name, out);
        out.push(b':');
        write_json(item, out);
    }
    out.push(b'}');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn arguments_come_back_as_they_were() {
        let args: Args = vec![
            ("a \"quoted\" name".to_owned(), ArgValue::Text("line\nbreak \u{0} 中".to_owned())),
            (
                "numbers".to_owned(),
                ArgValue::List(vec![ArgValue::Int(-1), ArgValue::UInt(u64::MAX), ArgValue::Double(1.5)]),
            ),
            (
                "infinite".to_owned(),
                ArgValue::List([f64::INFINITY, f64::NEG_INFINITY, -0.0].map(ArgValue::Double).into()),
            ),
            ("whole".to_owned(), ArgValue::Double(3.0)),
            (
                "nested".to_owned(),
                ArgValue::Dict(vec![("null".to_owned(), ArgValue::Null), ("b".to_owned(), ArgValue::Bool(true))]),
            ),
        ];
        let mut arena = ArgsArena::default();
        assert_eq!(arena.push(&Args::new()), ArgsLoc::NONE);
        arena.push(&vec![("other".to_owned(), ArgValue::Int(1))]);
        let loc = arena.push(&args);
        assert_eq!(arena.finish().args(loc).unwrap(), args);
    }
}
