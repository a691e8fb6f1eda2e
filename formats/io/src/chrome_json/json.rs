//! JSON text.

use gapless_trace::{ArgValue, Args};

/// Appends `text` as a JSON string.
pub(super) fn push_text(text: &str, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

/// Appends `value` as JSON. What JSON cannot write as a number is text.
pub(super) fn push_value(value: &ArgValue, out: &mut Vec<u8>) {
    match value {
        ArgValue::Null => out.extend_from_slice(b"null"),
        ArgValue::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        ArgValue::Int(value) => push_display(value, out),
        ArgValue::UInt(value) => push_display(value, out),
        ArgValue::Double(value) => push_double(*value, out),
        ArgValue::Text(value) => push_text(value, out),
        ArgValue::List(items) => {
            out.push(b'[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.extend_from_slice(b", ");
                }
                push_value(item, out);
            }
            out.push(b']');
        }
        ArgValue::Dict(entries) => push_dict(entries, out),
    }
}

/// Appends `entries` as an object.
pub(super) fn push_dict(entries: &Args, out: &mut Vec<u8>) {
    out.push(b'{');
    for (place, (name, value)) in entries.iter().enumerate() {
        if place > 0 {
            out.extend_from_slice(b", ");
        }
        push_text(name, out);
        out.extend_from_slice(b": ");
        push_value(value, out);
    }
    out.push(b'}');
}

/// Appends a number; one that is not finite as text.
pub(super) fn push_double(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        // With a point or an exponent, so that it reads back as a number that is not whole.
        push_debug(value, out);
    } else if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else {
        out.extend_from_slice(if value > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    }
}

fn push_debug(value: f64, out: &mut Vec<u8>) {
    use std::io::Write;
    let _ = write!(out, "{value:?}");
}

/// Appends what displays without quotes.
pub(super) fn push_display(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    use std::io::Write;
    let _ = write!(out, "{value}");
}

/// Appends a time of `nanos` as microseconds with three digits.
pub(super) fn push_micros(nanos: i128, out: &mut Vec<u8>) {
    use std::io::Write;
    let (whole, rest) = (nanos.unsigned_abs() / 1000, nanos.unsigned_abs() % 1000);
    let sign = if nanos < 0 { "-" } else { "" };
    let _ = write!(out, "{sign}{whole}.{rest:03}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn values_read_back_as_they_were() {
        let args: Args = vec![
            ("a \"b\"\\".to_owned(), ArgValue::Text("line\n\u{0}\u{2028}中\u{10FFFF}".to_owned())),
            ("big".to_owned(), ArgValue::UInt(u64::MAX)),
            ("list".to_owned(), ArgValue::List(vec![ArgValue::Int(i64::MIN), ArgValue::Null, ArgValue::Bool(true)])),
            ("whole".to_owned(), ArgValue::Double(5.0)),
            ("tiny".to_owned(), ArgValue::Double(1e-300)),
            ("huge".to_owned(), ArgValue::Double(-1.7e308)),
            ("empty".to_owned(), ArgValue::Dict(Args::new())),
        ];
        let mut out = Vec::new();
        push_dict(&args, &mut out);
        assert_eq!(crate::kineto::parse_object(&out), args);
        assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        let mut out = Vec::new();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            push_double(value, &mut out);
        }
        assert_eq!(String::from_utf8(out).unwrap(), "\"NaN\"\"Infinity\"\"-Infinity\"");
    }

    #[test]
    fn microseconds_have_three_digits() {
        let check = |nanos: i128, text: &str| {
            let mut out = Vec::new();
            push_micros(nanos, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        };
        check(0, "0.000");
        check(1, "0.001");
        check(-1, "-0.001");
        check(-1_500, "-1.500");
        check(1_712_195_495_522_265_474, "1712195495522265.474");
        check(i128::from(i64::MIN) - i128::from(i64::MAX), "-18446744073709551.615");
    }
}
