//! Arguments and header values: any JSON value, as far as it can be understood.

use gapless_trace::{ArgValue, Args};

use super::scan::Cursor;
use super::text::decode;

/// Deepest nesting that is kept; deeper values show as text.
const MAX_DEPTH: u32 = 64;

/// The entries of the object in `bytes`, up to the first thing that cannot be understood.
pub(crate) fn parse_object(bytes: &[u8]) -> Args {
    let mut cursor = Cursor::new(bytes, 0);
    cursor.skip_space();
    if cursor.take(b'{') { object_rest(&mut cursor, 0) } else { Args::new() }
}

/// The value that `bytes` are.
pub(crate) fn parse_json(bytes: &[u8]) -> Option<ArgValue> {
    parse_value(&mut Cursor::new(bytes, 0), 0)
}

/// The value at the cursor.
pub(crate) fn parse_value(cursor: &mut Cursor<'_>, depth: u32) -> Option<ArgValue> {
    cursor.skip_space();
    match cursor.peek() {
        b'"' => Some(ArgValue::Text(decode(cursor.string()?).0.into_owned())),
        b'{' | b'[' if depth >= MAX_DEPTH => {
            let from = cursor.at;
            cursor.skip_nested()?;
            let text = cursor.bytes.get(from..cursor.at).unwrap_or_default();
            Some(ArgValue::Text(String::from_utf8_lossy(text).into_owned()))
        }
        b'{' => {
            cursor.at += 1;
            Some(ArgValue::Dict(object_rest(cursor, depth + 1)))
        }
        b'[' => {
            cursor.at += 1;
            let mut items = Vec::new();
            loop {
                cursor.skip_space();
                match cursor.peek() {
                    b']' => {
                        cursor.at += 1;
                        return Some(ArgValue::List(items));
                    }
                    b',' => cursor.at += 1,
                    _ => items.push(parse_value(cursor, depth + 1)?),
                }
            }
        }
        _ => Some(scalar(cursor.scalar()?)),
    }
}

fn object_rest(cursor: &mut Cursor<'_>, depth: u32) -> Args {
    let mut entries = Args::new();
    loop {
        cursor.skip_space();
        match cursor.peek() {
            b'}' => {
                cursor.at += 1;
                return entries;
            }
            b',' => cursor.at += 1,
            _ => {
                let Some(key) = cursor.string() else { return entries };
                cursor.skip_space();
                if !cursor.take(b':') {
                    return entries;
                }
                let Some(value) = parse_value(cursor, depth) else { return entries };
                entries.push((decode(key).0.into_owned(), value));
            }
        }
    }
}

fn scalar(text: &[u8]) -> ArgValue {
    let text = String::from_utf8_lossy(text);
    match text.as_ref() {
        "null" => return ArgValue::Null,
        "true" => return ArgValue::Bool(true),
        "false" => return ArgValue::Bool(false),
        _ => {}
    }
    if let Ok(value) = text.parse::<i64>() {
        return ArgValue::Int(value);
    }
    if let Ok(value) = text.parse::<u64>() {
        return ArgValue::UInt(value);
    }
    // Words (NaN, Infinity) parse too; they are numbers here as they were for the program that wrote them.
    text.parse::<f64>().map_or_else(|_| ArgValue::Text(text.into_owned()), ArgValue::Double)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_all_types_keep_their_order_and_size() {
        let args = parse_object(
            br#" {"b": 1, "a": [1, "x", [2.5]], "big": 10159970886766084423, "d": {"k": null}, "t": true, "b": -2}"#,
        );
        let text: Vec<String> = args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(text, ["b=1", "a=[1, \"x\", [2.5]]", "big=10159970886766084423", "d={k: null}", "t=true", "b=-2"]);
    }

    #[test]
    fn damage_ends_the_list_and_keeps_what_came_before() {
        assert_eq!(parse_object(br#"{"a": 1, "b": "#), vec![("a".to_owned(), ArgValue::Int(1))]);
        assert!(parse_object(b"[1]").is_empty());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
        assert_eq!(parse_object(deep.as_bytes()).len(), 1);
    }
}
