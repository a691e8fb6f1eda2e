//! Payloads of NVTX's extension: bytes that a structure describes become named values.
//!
//! Where an entry of fixed place lies is told with the structure; what lies behind a part of variable length is found by
//! C's rules of alignment. Nothing is believed: every place and length is checked against the bytes that came, and a
//! payload in which anything does not fit is not decoded at all.

use std::sync::Arc;

use super::annotation::Value;
use super::schema::{
    BYTE, CHAR, CHAR8, CHAR16, CHAR32, CSTRING, CSTRING_UTF8, CSTRING_UTF16, CSTRING_UTF32, Entry, FIRST_ID,
    FLAG_POINTER, REGISTERED, Schema, Schemas, WCHAR, predefined_bytes,
};

/// Deepest nesting of structures.
const DEEPEST: usize = 16;
/// Most values of one payload. Structures that overlap could make billions of some kilobytes.
const MOST_VALUES: usize = 65_536;

/// Memory that other payloads point into, and memory of no type.
const REFERENCED: u64 = 1022;
const RAW: u64 = 1023;

const FLAG_OFFSET: u64 = 1 << 2 | 1 << 3;
const FLAG_DEEP_COPY: u64 = 1 << 8;
const FLAG_MESSAGE: u64 = 1 << 10;

const UNION: u64 = 3;
const UNION_SELECTED_INSIDE: u64 = 4;

/// A payload does not fit what describes it, or is described in a way that cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Values by name.
type Entries = Vec<(Arc<str>, Value)>;

/// How an entry repeats its type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Array {
    No,
    Fixed,
    ZeroEnds,
    LengthInEntry,
}

impl Array {
    fn of(flags: u64) -> Result<Array, Unreadable> {
        match flags >> 4 & 7 {
            0 => Ok(Array::No),
            1 => Ok(Array::Fixed),
            2 => Ok(Array::ZeroEnds),
            3 => Ok(Array::LengthInEntry),
            // The length lies in another payload of the event.
            _ => Err(Unreadable),
        }
    }
}

/// Decodes a payload of the type `id` in a domain: its values by name.
///
/// Entries that the process sent as facts of their own, because a payload only points to them, are left out, and so is
/// the entry that became the event's name.
pub(super) fn decode(schemas: &Schemas, domain: u32, id: u64, bytes: &[u8]) -> Result<Entries, Unreadable> {
    let mut decoder = Decoder { schemas, domain, values_left: MOST_VALUES };
    if let Some(schema) = schemas.structure(domain, id) {
        return Ok(decoder.structure(schema, bytes, 0)?.0);
    }
    let value = match id {
        REFERENCED | RAW => Value::Text(hex(bytes)),
        CSTRING..=CSTRING_UTF32 => Value::Text(text(id, bytes)?),
        _ => {
            let (size, _) = decoder.size(id)?;
            match bytes.len() {
                len if len == size => decoder.value(id, bytes, 0)?.0,
                0 => return Err(Unreadable),
                len if len.is_multiple_of(size) => decoder.list(id, bytes, len / size, 0)?.0,
                _ => return Err(Unreadable),
            }
        }
    };
    Ok(vec![("payload".into(), value)])
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value & 15)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

struct Decoder<'a> {
    schemas: &'a Schemas,
    domain: u32,
    values_left: usize,
}

impl Decoder<'_> {
    fn spend(&mut self) -> Result<(), Unreadable> {
        self.values_left = self.values_left.checked_sub(1).ok_or(Unreadable)?;
        Ok(())
    }

    /// Bytes and alignment of a type, where all its values have the same size. Never 0 bytes.
    fn size(&self, kind: u64) -> Result<(usize, usize), Unreadable> {
        if kind >= FIRST_ID {
            if let Some(enumeration) = self.schemas.enumeration(self.domain, kind) {
                return Ok((enumeration.bytes(), enumeration.bytes()));
            }
            let schema = self.schemas.structure(self.domain, kind).ok_or(Unreadable)?;
            let size = schema.size.filter(|&size| size > 0).ok_or(Unreadable)?;
            return Ok((size, schema.align));
        }
        let size = predefined_bytes(kind).ok_or(Unreadable)?;
        Ok((size, size))
    }

    /// The values of a structure, and the bytes that it takes.
    fn structure(&mut self, schema: &Schema, bytes: &[u8], depth: usize) -> Result<(Entries, usize), Unreadable> {
        if depth > DEEPEST || schema.kind == UNION || schema.kind == UNION_SELECTED_INSIDE {
            return Err(Unreadable);
        }
        let mut values = Vec::with_capacity(schema.entries.len());
        // What each entry holds as a count, for those whose length is the value of another.
        let mut counts: Vec<Vec<u64>> = Vec::with_capacity(schema.entries.len());
        let (mut at, mut end) = (0usize, 0usize);
        for (index, entry) in schema.entries.iter().enumerate() {
            let start = match entry.offset {
                Some(offset) => offset,
                None => at.checked_next_multiple_of(self.schemas.alignment(self.domain, entry)).ok_or(Unreadable)?,
            };
            let here = bytes.get(start..).ok_or(Unreadable)?;
            let (value, taken) = self.entry(entry, here, &counts, depth)?;
            counts.push(value.as_ref().map(counts_of).unwrap_or_default());
            at = start.checked_add(taken).ok_or(Unreadable)?;
            end = end.max(at);
            if let Some(value) = value {
                let name =
                    if entry.name.is_empty() { Arc::from(format!("entry {index}")) } else { Arc::clone(&entry.name) };
                values.push((name, value));
            }
        }
        // What is missing behind the last entry is padding.
        let size = schema.size.unwrap_or(end);
        if end > size { Err(Unreadable) } else { Ok((values, size)) }
    }

    /// The value of an entry that begins where `bytes` does, and the bytes that it takes. `None` for what the process
    /// told in another way.
    fn entry(
        &mut self,
        entry: &Entry,
        bytes: &[u8],
        counts: &[Vec<u64>],
        depth: usize,
    ) -> Result<(Option<Value>, usize), Unreadable> {
        self.spend()?;
        let array = Array::of(entry.flags)?;
        if entry.flags & FLAG_OFFSET != 0 {
            return Err(Unreadable);
        }
        if entry.flags & FLAG_POINTER != 0 {
            // The message of an event that is pointed to cannot have become its name.
            return Ok((Some(address(bytes)?), 8));
        }
        match entry.kind {
            CSTRING..=CSTRING_UTF32 => self.string(entry, array, bytes, counts),
            REGISTERED if array == Array::No => {
                bytes.get(..8).ok_or(Unreadable)?;
                Ok((None, 8))
            }
            kind => {
                let selected = || {
                    let entry = usize::try_from(entry.detail).ok()?;
                    counts.get(entry)?.first().copied()
                };
                if let Some(schema) = self.schemas.structure(self.domain, kind)
                    && schema.kind == UNION
                    && array == Array::No
                {
                    let (value, size) = self.union(schema, selected().ok_or(Unreadable)?, bytes, depth + 1)?;
                    return Ok((Some(value), size));
                }
                let (value, size) = match array {
                    Array::No => self.value(kind, bytes, depth)?,
                    Array::Fixed => self.list(kind, bytes, usize_of(entry.detail)?, depth)?,
                    Array::ZeroEnds => {
                        let (size, _) = self.size(kind)?;
                        let count = bytes.chunks_exact(size).position(|item| item.iter().all(|byte| *byte == 0));
                        let count = count.ok_or(Unreadable)?;
                        let (value, taken) = self.list(kind, bytes, count, depth)?;
                        (value, taken + size)
                    }
                    Array::LengthInEntry => {
                        let lengths = counts.get(usize_of(entry.detail)?).ok_or(Unreadable)?;
                        self.grid(kind, bytes, lengths, depth)?
                    }
                };
                Ok((Some(value), size))
            }
        }
    }

    /// A string entry: within the payload, or pointed to.
    fn string(
        &mut self,
        entry: &Entry,
        array: Array,
        bytes: &[u8],
        counts: &[Vec<u64>],
    ) -> Result<(Option<Value>, usize), Unreadable> {
        let unit = unit(entry.kind);
        let detail = usize_of(entry.detail)?;
        let is_narrow = matches!(entry.kind, CSTRING | CSTRING_UTF8);
        let fixed = |units: usize| {
            let len = units.checked_mul(unit).ok_or(Unreadable)?;
            Ok((bytes.get(..len).ok_or(Unreadable)?, len))
        };
        match (array, detail) {
            (Array::No, 0) => {
                let pointer = address(bytes)?;
                let is_told = is_narrow && entry.flags & FLAG_DEEP_COPY != 0;
                Ok(((!is_told).then_some(pointer), 8))
            }
            (Array::No | Array::Fixed, units) => {
                let (kept, len) = fixed(units)?;
                let is_name = array == Array::No && is_narrow && entry.flags & FLAG_MESSAGE != 0;
                let value = if is_name { None } else { Some(Value::Text(text(entry.kind, kept)?)) };
                Ok((value, len))
            }
            (Array::ZeroEnds, 0) => {
                let units = bytes.chunks_exact(unit).position(|unit| unit.iter().all(|byte| *byte == 0));
                let (kept, len) = fixed(units.ok_or(Unreadable)?)?;
                Ok((Some(Value::Text(text(entry.kind, kept)?)), len + unit))
            }
            (Array::ZeroEnds, units) => {
                let (_, len) = fixed(units)?;
                let mut items = Vec::new();
                for item in bytes.chunks_exact(len) {
                    if item.iter().all(|byte| *byte == 0) {
                        let taken = (items.len() + 1) * len;
                        return Ok((Some(Value::List(items)), taken));
                    }
                    self.spend()?;
                    items.push(Value::Text(text(entry.kind, item)?));
                }
                Err(Unreadable)
            }
            (Array::LengthInEntry, index) => {
                let lengths = counts.get(index).ok_or(Unreadable)?;
                let &[units] = lengths.as_slice() else { return Err(Unreadable) };
                let (kept, len) = fixed(usize_of(units)?)?;
                Ok((Some(Value::Text(text(entry.kind, kept)?)), len))
            }
        }
    }

    /// The member of a union that `selected` names by its place.
    fn union(
        &mut self,
        schema: &Schema,
        selected: u64,
        bytes: &[u8],
        depth: usize,
    ) -> Result<(Value, usize), Unreadable> {
        if depth > DEEPEST {
            return Err(Unreadable);
        }
        let member = schema.entries.get(usize_of(selected)?).ok_or(Unreadable)?;
        // Members lie upon one another, so none can name the length of another.
        let (value, taken) = self.entry(member, bytes, &[], depth)?;
        let size = schema.size.unwrap_or(taken);
        if taken > size {
            return Err(Unreadable);
        }
        let entries = value.map(|value| (Arc::clone(&member.name), value)).into_iter().collect();
        Ok((Value::Dict(entries), size))
    }

    /// As many values of a type as `lengths` multiply to, in rows of rows.
    fn grid(&mut self, kind: u64, bytes: &[u8], lengths: &[u64], depth: usize) -> Result<(Value, usize), Unreadable> {
        match lengths {
            [] => Err(Unreadable),
            [count] => self.list(kind, bytes, usize_of(*count)?, depth),
            _ if lengths.len() > DEEPEST => Err(Unreadable),
            [rows, inner @ ..] => {
                let mut items = Vec::new();
                let mut at = 0usize;
                for _ in 0..*rows {
                    self.spend()?;
                    let (row, size) = self.grid(kind, bytes.get(at..).ok_or(Unreadable)?, inner, depth)?;
                    at += size;
                    items.push(row);
                }
                Ok((Value::List(items), at))
            }
        }
    }

    /// Several values of a type. Characters make a text, bytes hexadecimal digits.
    fn list(&mut self, kind: u64, bytes: &[u8], count: usize, depth: usize) -> Result<(Value, usize), Unreadable> {
        let is_dynamic = self.schemas.structure(self.domain, kind).is_some_and(|schema| schema.size.is_none());
        if !is_dynamic {
            let (size, _) = self.size(kind)?;
            let len = size.checked_mul(count).ok_or(Unreadable)?;
            let kept = bytes.get(..len).ok_or(Unreadable)?;
            match kind {
                BYTE => return Ok((Value::Text(hex(kept)), len)),
                CHAR | CHAR8 | CHAR16 | CHAR32 | WCHAR => return Ok((Value::Text(text(kind, kept)?), len)),
                _ => {}
            }
        }
        let mut items = Vec::new();
        let mut at = 0usize;
        for _ in 0..count {
            self.spend()?;
            let (value, size) = self.value(kind, bytes.get(at..).ok_or(Unreadable)?, depth)?;
            at += size;
            items.push(value);
        }
        Ok((Value::List(items), at))
    }

    /// One value, and the bytes that it takes.
    fn value(&mut self, kind: u64, bytes: &[u8], depth: usize) -> Result<(Value, usize), Unreadable> {
        if let Some(schema) = self.schemas.structure(self.domain, kind) {
            let (entries, size) = self.structure(schema, bytes, depth + 1)?;
            return Ok((Value::Dict(entries), size));
        }
        let (size, _) = self.size(kind)?;
        let bytes = bytes.get(..size).ok_or(Unreadable)?;
        if let Some(enumeration) = self.schemas.enumeration(self.domain, kind) {
            let value = unsigned(bytes);
            let named = enumeration.text(value).map_or(Value::Unsigned(value), Value::Text);
            return Ok((named, size));
        }
        let value = match kind {
            CHAR | CHAR8 | CHAR16 | CHAR32 | WCHAR => Value::Text(text(kind, bytes)?),
            3 | 5 | 7 | 9 | 11 | 13 | 15 | 17 => Value::Signed(signed(bytes)),
            19 | 43 | 52 => Value::Float(f64::from(f32::from_bits(unsigned(bytes) as u32))),
            20 | 44 => Value::Float(f64::from_bits(unsigned(bytes))),
            21 => Value::Float(long_double(bytes)),
            23 | REGISTERED => address(bytes)?,
            BYTE => Value::Text(hex(bytes)),
            33 => wide(wide_bits(bytes) as i128),
            34 => match u64::try_from(wide_bits(bytes)) {
                Ok(value) => Value::Unsigned(value),
                Err(_) => Value::Text(wide_bits(bytes).to_string()),
            },
            42 => Value::Float(small_float(unsigned(bytes), 5, 10)),
            45 => Value::Float(quad(wide_bits(bytes))),
            50 => Value::Float(f64::from(f32::from_bits((unsigned(bytes) as u32) << 16))),
            69 => Value::color(unsigned(bytes)),
            _ => Value::Unsigned(unsigned(bytes)),
        };
        Ok((value, size))
    }
}

fn usize_of(value: u64) -> Result<usize, Unreadable> {
    usize::try_from(value).map_err(|_| Unreadable)
}

/// What an entry may say about the length of another.
fn counts_of(value: &Value) -> Vec<u64> {
    match value {
        Value::Unsigned(value) => vec![*value],
        Value::Signed(value) => u64::try_from(*value).map_or_else(|_| Vec::new(), |value| vec![value]),
        Value::List(items) => items.iter().flat_map(counts_of).collect(),
        _ => Vec::new(),
    }
}

/// Bytes of a unit of a string type.
fn unit(kind: u64) -> usize {
    match kind {
        CSTRING_UTF16 | CHAR16 => 2,
        CSTRING_UTF32 | CHAR32 | WCHAR => 4,
        _ => 1,
    }
}

/// A string up to its first zero.
fn text(kind: u64, bytes: &[u8]) -> Result<String, Unreadable> {
    let unit = unit(kind);
    if !bytes.len().is_multiple_of(unit) {
        return Err(Unreadable);
    }
    let units = bytes.chunks_exact(unit).map(unsigned).take_while(|unit| *unit != 0);
    Ok(match unit {
        1 => String::from_utf8_lossy(&units.map(|unit| unit as u8).collect::<Vec<_>>()).into_owned(),
        2 => String::from_utf16_lossy(&units.map(|unit| unit as u16).collect::<Vec<_>>()),
        _ => units.map(|unit| char::from_u32(unit as u32).unwrap_or(char::REPLACEMENT_CHARACTER)).collect(),
    })
}

fn address(bytes: &[u8]) -> Result<Value, Unreadable> {
    Ok(Value::Text(format!("{:#x}", unsigned(bytes.get(..8).ok_or(Unreadable)?))))
}

/// Up to eight bytes, little-endian.
fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn signed(bytes: &[u8]) -> i64 {
    let unused = 64 - 8 * bytes.len().clamp(1, 8) as u32;
    (unsigned(bytes) << unused) as i64 >> unused
}

fn wide_bits(bytes: &[u8]) -> u128 {
    bytes.iter().take(16).rev().fold(0, |value, byte| value << 8 | u128::from(*byte))
}

fn wide(value: i128) -> Value {
    i64::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Signed)
}

/// A binary floating-point number of up to 32 bits by the widths of its fields (IEEE 754).
fn small_float(bits: u64, exponent_bits: u32, mantissa_bits: u32) -> f64 {
    let mantissa = bits & ((1 << mantissa_bits) - 1);
    let exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
    let sign = if bits >> (mantissa_bits + exponent_bits) & 1 == 1 { -1.0 } else { 1.0 };
    let bias = (1i32 << (exponent_bits - 1)) - 1;
    let fraction = mantissa as f64 / (1u64 << mantissa_bits) as f64;
    sign * match exponent {
        0 => fraction * 2f64.powi(1 - bias),
        all if all == (1 << exponent_bits) - 1 => {
            if mantissa == 0 {
                f64::INFINITY
            } else {
                f64::NAN
            }
        }
        _ => (1.0 + fraction) * 2f64.powi(exponent as i32 - bias),
    }
}

/// C's `long double` on x86-64: 80 bits, whose leading bit of the mantissa is written.
fn long_double(bytes: &[u8]) -> f64 {
    let bits = wide_bits(bytes);
    scaled(bits >> 79 & 1 == 1, (bits >> 64) as i32 & 0x7fff, bits as u64, (bits as u64) << 1 == 0)
}

/// IEEE 754's 128 bits.
fn quad(bits: u128) -> f64 {
    let exponent = (bits >> 112) as i32 & 0x7fff;
    let fraction = bits & ((1 << 112) - 1);
    let leading = if exponent == 0 { 0 } else { 1 << 63 };
    // What a double cannot hold may be cut, but must not look like a round number.
    let kept = (fraction >> 49) as u64 | u64::from(fraction & ((1 << 49) - 1) != 0);
    scaled(bits >> 127 == 1, exponent, leading | kept, fraction == 0)
}

/// A number from a mantissa with 63 bits behind the point and an exponent of 15 bits.
fn scaled(is_negative: bool, exponent: i32, mantissa: u64, is_infinite: bool) -> f64 {
    let sign = if is_negative { -1.0 } else { 1.0 };
    if exponent == 0x7fff {
        return sign * if is_infinite { f64::INFINITY } else { f64::NAN };
    }
    // In two steps, as 2^-63 times a small power would be lost.
    let power = exponent.max(1) - 16_383 - 63;
    sign * (mantissa as f64) * 2f64.powi(power / 2) * 2f64.powi(power - power / 2)
}
