//! JSON of any format: one value of the document is changed, so that the rest stays as it was.

use serde_json::{Value, json};

use super::change::{change_text, number, pick};
use super::kineto::TOKENS;
use crate::synth::Rng;

/// Changes a value of the document, or of one line where each line is a document; text that is no JSON, as text.
pub(super) fn change(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    if let Ok(mut value) = serde_json::from_slice::<Value>(bytes) {
        let other = serde_json::from_slice(pick::<Vec<u8>>(others, rng)).unwrap_or(Value::Null);
        change_value(&mut value, &other, rng);
        *bytes = value.to_string().into_bytes();
        return;
    }
    let mut lines: Vec<Vec<u8>> = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let at = rng.below(lines.len() as u64) as usize;
    match serde_json::from_slice::<Value>(&lines[at]) {
        Ok(mut value) if rng.chance(0.8) => {
            change_value(&mut value, &Value::Null, rng);
            lines[at] = value.to_string().into_bytes();
        }
        _ => change_text(&mut lines[at], &TOKENS, rng),
    }
    *bytes = lines.join(&b'\n');
}

fn change_value(value: &mut Value, other: &Value, rng: &mut Rng) {
    let goes_deeper = rng.chance(0.85);
    match value {
        Value::Object(fields) if goes_deeper && !fields.is_empty() => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            let key = pick(&keys, rng).clone();
            match rng.below(12) {
                0 => {
                    fields.remove(&key);
                }
                1 => {
                    let moved = fields.remove(&key).unwrap_or_default();
                    fields.insert(pick(&keys, rng).clone(), moved);
                }
                _ => {
                    if let Some(inner) = fields.get_mut(&key) {
                        change_value(inner, other, rng);
                    }
                }
            }
        }
        Value::Array(items) if goes_deeper && !items.is_empty() => {
            let at = rng.below(items.len() as u64) as usize;
            match rng.below(12) {
                0 => {
                    items.remove(at);
                }
                1 => {
                    let copy = items[at].clone();
                    items.insert(rng.below(items.len() as u64) as usize, copy);
                }
                2 => {
                    let place = rng.below(items.len() as u64) as usize;
                    items.swap(at, place);
                }
                _ => change_value(&mut items[at], other, rng),
            }
        }
        _ => *value = odd(value, other, rng),
    }
}

/// Something else in the place of `old`.
fn odd(old: &Value, other: &Value, rng: &mut Rng) -> Value {
    match rng.below(12) {
        0 => Value::Null,
        1 => json!(number(rng)),
        2 => json!(number(rng) as i64),
        3 => json!(f64::from_bits(rng.next_u64())),
        4 => json!(number(rng).to_string()),
        5 => json!("\u{0}\u{fffd} text"),
        6 => json!([old, old]),
        7 => json!({"name": old}),
        8 => json!([]),
        9 => other.clone(),
        10 => {
            let mut deep = old.clone();
            for _ in 0..rng.below(200) {
                deep = json!([deep]);
            }
            deep
        }
        _ => old.as_i64().map_or(json!(true), |old| json!(old.wrapping_add(rng.below(7) as i64 - 3))),
    }
}

/// The value as a pickle of protocol 2, as PyTorch writes it.
pub(super) fn pickle(value: &Value) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    put(&mut out, value);
    out.push(b'.');
    out
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(b'N'),
        Value::Bool(value) => out.push(if *value { 0x88 } else { 0x89 }),
        Value::Number(value) => match value.as_i64() {
            Some(value) => match i32::try_from(value) {
                Ok(value) => {
                    out.push(b'J');
                    out.extend(value.to_le_bytes());
                }
                Err(_) => {
                    out.extend([0x8A, 8]);
                    out.extend(value.to_le_bytes());
                }
            },
            None => {
                out.push(b'G');
                out.extend(value.as_f64().unwrap_or(0.0).to_be_bytes());
            }
        },
        Value::String(value) => {
            out.push(b'X');
            out.extend((value.len() as u32).to_le_bytes());
            out.extend(value.as_bytes());
            // Kept in the memo, where the next one may stand as well.
            out.extend([b'q', value.len() as u8]);
        }
        Value::Array(items) => {
            out.extend(b"](");
            items.iter().for_each(|item| put(out, item));
            out.push(b'e');
        }
        Value::Object(fields) => {
            out.extend(b"}(");
            for (key, value) in fields {
                put(out, &Value::String(key.clone()));
                put(out, value);
            }
            out.push(b'u');
        }
    }
}
