//! Protobuf messages, taken apart by guess and changed field by field, so that what is around the change stays whole.

use super::change::{change_binary, number, pick};
use crate::synth::Rng;

/// A field and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub number: u64,
    pub value: Value,
}

/// A value as it stands on the wire.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(Vec<u8>),
    Four([u8; 4]),
}

/// A number.
pub(super) fn int(number: u64, value: u64) -> Field {
    Field { number, value: Value::Varint(value) }
}

/// A text.
pub(super) fn text(number: u64, value: &str) -> Field {
    Field { number, value: Value::Bytes(value.into()) }
}

/// A number of double precision.
pub(super) fn double(number: u64, value: f64) -> Field {
    Field { number, value: Value::Eight(value.to_le_bytes()) }
}

/// A message.
pub(super) fn message(number: u64, fields: &[Field]) -> Field {
    Field { number, value: Value::Bytes(encode(fields)) }
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes of a message.
pub(super) fn encode(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        let wire = match &field.value {
            Value::Varint(_) => 0,
            Value::Eight(_) => 1,
            Value::Bytes(_) => 2,
            Value::Four(_) => 5,
        };
        put_varint(&mut out, field.number << 3 | wire);
        match &field.value {
            Value::Varint(value) => put_varint(&mut out, *value),
            Value::Eight(value) => out.extend(value),
            Value::Four(value) => out.extend(value),
            Value::Bytes(value) => {
                put_varint(&mut out, value.len() as u64);
                out.extend(value);
            }
        }
    }
    out
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The fields of `bytes`, if they are a message to the last byte.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Field>> {
    let (mut fields, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let key = varint(bytes, &mut at)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(bytes, &mut at)?),
            1 => Value::Eight(*bytes.get(at..)?.first_chunk()?),
            2 => {
                let length = usize::try_from(varint(bytes, &mut at)?).ok()?;
                Value::Bytes(bytes.get(at..at.checked_add(length)?)?.to_vec())
            }
            5 => Value::Four(*bytes.get(at..)?.first_chunk()?),
            _ => return None,
        };
        at += match &value {
            Value::Varint(_) => 0,
            Value::Eight(_) => 8,
            Value::Bytes(value) => value.len(),
            Value::Four(_) => 4,
        };
        if key >> 3 == 0 {
            return None;
        }
        fields.push(Field { number: key >> 3, value });
    }
    Some(fields)
}

/// Changes one field somewhere in the message `bytes`; `others` are messages of the same kind.
pub(super) fn change(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    let Some(mut fields) = decode(bytes).filter(|fields| !fields.is_empty()) else {
        return change_binary(bytes, rng);
    };
    let at = rng.below(fields.len() as u64) as usize;
    // Most of what is worth changing lies deep.
    if rng.chance(0.8)
        && let Value::Bytes(inner) = &mut fields[at].value
        && decode(inner).is_some_and(|inner| !inner.is_empty())
    {
        let others: Vec<Vec<u8>> = Vec::from([inner.clone()]);
        change(inner, &others, rng);
        *bytes = encode(&fields);
        return;
    }
    match rng.below(10) {
        0 => {
            fields.remove(at);
        }
        1 => {
            let field = fields[at].clone();
            fields.insert(rng.below(fields.len() as u64) as usize, field);
        }
        2 => {
            let other = rng.below(fields.len() as u64) as usize;
            fields.swap(at, other);
        }
        3 => {
            if let Some(other) = decode(pick::<Vec<u8>>(others, rng)).filter(|other| !other.is_empty()) {
                fields.insert(at, pick(&other, rng).clone());
            }
        }
        4 => fields[at].number = 1 + rng.below(64),
        5 => fields[at].value = Value::Varint(number(rng)),
        6 => fields[at].value = Value::Bytes(Vec::new()),
        7 => {
            // A length that is a lie, to the end of all.
            let mut out = encode(&fields[..at]);
            put_varint(&mut out, fields[at].number << 3 | 2);
            put_varint(&mut out, number(rng));
            out.extend(encode(&fields[at..]));
            *bytes = out;
            return;
        }
        _ => match &mut fields[at].value {
            Value::Varint(value) => *value = number(rng),
            Value::Eight(value) => *value = number(rng).to_le_bytes(),
            Value::Four(value) => *value = (number(rng) as u32).to_le_bytes(),
            Value::Bytes(value) => change_binary(value, rng),
        },
    }
    *bytes = encode(&fields);
}

/// The same for a file of messages, each behind its length.
pub(super) fn change_frames(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    let (mut frames, mut at) = (Vec::new(), 0);
    while let Some(length) = varint(bytes, &mut at) {
        let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
        let Some(frame) = end.and_then(|end| bytes.get(at..end)) else { break };
        frames.push(frame.to_vec());
        at += frame.len();
    }
    if frames.is_empty() || rng.chance(0.1) {
        return change_binary(bytes, rng);
    }
    let place = rng.below(frames.len() as u64) as usize;
    match rng.below(8) {
        0 => {
            frames.remove(place);
        }
        1 => {
            let frame = frames[place].clone();
            frames.insert(rng.below(frames.len() as u64) as usize, frame);
        }
        _ => change(&mut frames[place], others, rng),
    }
    bytes.clear();
    for frame in frames {
        put_varint(bytes, frame.len() as u64);
        bytes.extend(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_apart_and_together() {
        let fields = [int(1, 300), text(2, "name"), message(9, &[double(1, 0.5), int(7, u64::MAX)])];
        assert_eq!(decode(&encode(&fields)).as_deref(), Some(&fields[..]));
        assert_eq!(decode(&encode(&fields)[..5]), None);
    }
}
