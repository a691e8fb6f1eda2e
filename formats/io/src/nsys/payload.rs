//! NVTX payloads: structures of the recorded program, described by schemas of the file.
//!
//! A payload is a 32-byte head (domain, schema, size of the payload, size with the head; little-endian, 64 bits each)
//! and the bytes of the structure. Several may follow one another.

use std::borrow::Cow;

use gapless_trace::{ArgValue, Args};
use rusqlite::types::ValueRef;
use rustc_hash::FxHashMap;

use super::strings::Strings;

const HEAD: usize = 32;
/// First number of schemas and enumerations that a program defines itself.
const FIRST_OWN_TYPE: u64 = 65_536;
/// Structures inside structures.
const DEEPEST: usize = 8;
/// Values that one payload is shown with.
const MOST_VALUES: usize = 4_096;

const POINTER: u64 = 1 << 1;
const ARRAY: u64 = 7 << 4;
const FIXED_ARRAY: u64 = 1 << 4;
const TERMINATED_ARRAY: u64 = 2 << 4;
const COUNTED_ARRAY: u64 = 3 << 4;
const HIDDEN: u64 = 1 << 9;

/// A member of a structure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// Its place among the members.
    pub index: i64,
    /// `NVTX_PAYLOAD_ENTRY_FLAG_*`.
    pub flags: u64,
    /// Its type.
    pub kind: u64,
    /// Its name.
    pub name: String,
    /// Length of an array or string, or the member that holds it.
    pub detail: u64,
    /// Where it stands; after the one before it if the schema does not say.
    pub offset: Option<u64>,
}

/// Layouts and enumerations, by domain and number.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    schemas: FxHashMap<(i64, u64), Vec<Entry>>,
    enums: FxHashMap<(i64, u64), Vec<(i64, String)>>,
    /// Bytes of the structures.
    sizes: FxHashMap<(i64, u64), usize>,
}

impl Schemas {
    /// Adds a member of the structure `schema` of `domain`. A file names them once for each process; the first counts.
    pub fn add(&mut self, domain: i64, schema: u64, entry: Entry) {
        let entries = self.schemas.entry((domain, schema)).or_default();
        if let Err(place) = entries.binary_search_by_key(&entry.index, |old| old.index) {
            entries.insert(place, entry);
        }
    }

    /// Adds a name of a value of the enumeration `schema` of `domain`.
    pub fn add_enum(&mut self, domain: i64, schema: u64, value: i64, name: String) {
        let entries = self.enums.entry((domain, schema)).or_default();
        if entries.iter().all(|entry| entry.0 != value) {
            entries.push((value, name));
        }
    }

    /// To be called when all are there: finds out how large the structures are.
    pub fn finish(&mut self) {
        let mut sizes = FxHashMap::default();
        for &key in self.schemas.keys() {
            self.measure(key, 0, &mut sizes);
        }
        self.sizes = sizes;
    }

    fn measure(&self, key: (i64, u64), depth: usize, sizes: &mut FxHashMap<(i64, u64), usize>) -> usize {
        if let Some(&known) = sizes.get(&key) {
            return known;
        }
        let Some(entries) = self.schemas.get(&key).filter(|_| depth < DEEPEST) else { return 0 };
        // A structure that holds itself has no size; inside itself it counts as nothing.
        sizes.insert(key, 0);
        let mut end = 0usize;
        for entry in entries {
            let inner = (key.0, entry.kind);
            let size = match plain_size(entry) {
                Some(size) => size,
                None if self.schemas.contains_key(&inner) => self.measure(inner, depth + 1, sizes),
                None => ENUM_SIZE,
            };
            let is_several = entry.flags & ARRAY == FIXED_ARRAY || matches!(entry.kind, 75..=78);
            let count = if is_several { usize::try_from(entry.detail).unwrap_or(usize::MAX) } else { 1 };
            let at = entry.offset.and_then(|at| usize::try_from(at).ok()).unwrap_or(end.next_multiple_of(align(size)));
            end = end.max(at.saturating_add(size.saturating_mul(count))).min(LARGEST);
        }
        sizes.insert(key, end);
        end
    }

    /// Whether any structure of `domain` has a member of this name.
    pub fn names(&self, domain: i64, member: &str) -> bool {
        let mut of_domain = self.schemas.iter().filter(|(key, _)| key.0 == domain);
        of_domain.any(|(_, entries)| entries.iter().any(|entry| entry.name == member))
    }

    /// The members of all payloads in `bytes`; the bytes themselves where no schema fits.
    pub fn decode(&self, domain: i64, bytes: &[u8], strings: &Strings) -> Args {
        let mut out = Args::new();
        let mut budget = MOST_VALUES;
        for (schema, body) in payloads(bytes) {
            match self.schemas.get(&(domain, schema)) {
                Some(entries) => {
                    let walk = Walk { schemas: self, domain, strings };
                    walk.structure(entries, body, 0, &mut budget, &mut out);
                }
                None => out.push((format!("payload of schema {schema}"), ArgValue::Text(hex(body)))),
            }
        }
        if out.is_empty() && !bytes.is_empty() {
            out.push(("binaryData".to_owned(), ArgValue::Text(hex(bytes))));
        }
        out
    }
}

/// The payload in a column: bytes, or bytes written as hexadecimal digits.
pub(crate) fn bytes_of(value: ValueRef<'_>) -> Option<Cow<'_, [u8]>> {
    match value {
        ValueRef::Blob(bytes) => Some(Cow::Borrowed(bytes)),
        ValueRef::Text(digits) if !digits.is_empty() => {
            let digits = digits.strip_prefix(b"0x").unwrap_or(digits);
            let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
            let pairs = digits.chunks(2).map(|pair| match pair {
                &[high, low] => Some(digit(high)? << 4 | digit(low)?),
                _ => None,
            });
            pairs.collect::<Option<Vec<u8>>>().map(Cow::Owned)
        }
        _ => None,
    }
}

/// Schema and body of each payload.
fn payloads(mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let (schema, size, whole) = (word(8)?, word(16)?, word(24)?);
        let size = usize::try_from(size).ok()?;
        let body = bytes.get(HEAD..HEAD.checked_add(size)?)?;
        let whole = usize::try_from(whole).ok().filter(|&whole| whole >= HEAD + size).unwrap_or(HEAD + size);
        bytes = bytes.get(whole..).unwrap_or_default();
        Some((schema, body))
    })
}

/// Bytes of an enumeration in C.
const ENUM_SIZE: usize = 4;
/// No structure is larger.
const LARGEST: usize = 1 << 30;

/// Bytes of one element of a type of NVTX's own; `None` for a type of the program's.
fn plain_size(entry: &Entry) -> Option<usize> {
    if entry.flags & POINTER != 0 {
        return Some(8);
    }
    Some(match entry.kind {
        1 | 2 | 11 | 12 | 25 | 32 | 75 | 76 | 100 => 1,
        3 | 4 | 13 | 14 | 26 | 42 | 50 | 77 => 2,
        5 | 6 | 15 | 16 | 19 | 24 | 27 | 43 | 52 | 68 | 69 | 71 | 73 | 78 => 4,
        7..=10 | 17 | 18 | 20 | 22 | 23 | 44 | 70 | 72 | 74 | 80 => 8,
        21 | 33 | 34 | 45 => 16,
        own if own >= FIRST_OWN_TYPE => return None,
        _ => 0,
    })
}

/// To what a value of `size` bytes is aligned in C.
fn align(size: usize) -> usize {
    if size.is_power_of_two() { size.min(8) } else { 8.min(size.max(1).next_power_of_two()) }
}

struct Walk<'a> {
    schemas: &'a Schemas,
    domain: i64,
    strings: &'a Strings,
}

impl Walk<'_> {
    fn structure(&self, entries: &[Entry], body: &[u8], depth: usize, budget: &mut usize, out: &mut Args) {
        let mut numbers: FxHashMap<u64, u64> = FxHashMap::default();
        let mut next = 0usize;
        for (place, entry) in entries.iter().enumerate() {
            if *budget == 0 {
                return;
            }
            let size = self.size(entry);
            let at = match entry.offset {
                Some(offset) => usize::try_from(offset).unwrap_or(usize::MAX),
                None => next.next_multiple_of(align(size)),
            };
            let Some(rest) = body.get(at..) else { continue };
            let Some((value, used)) = self.member(entry, size, rest, &numbers, depth, budget) else { continue };
            next = at.saturating_add(used).min(LARGEST);
            match &value {
                ArgValue::Int(number) => numbers.insert(place as u64, *number as u64),
                ArgValue::UInt(number) => numbers.insert(place as u64, *number),
                _ => None,
            };
            if entry.flags & HIDDEN == 0 {
                let name = if entry.name.is_empty() { format!("member {place}") } else { entry.name.clone() };
                out.push((name, value));
            }
        }
    }

    /// Bytes of one element of `entry`.
    fn size(&self, entry: &Entry) -> usize {
        let key = (self.domain, entry.kind);
        plain_size(entry).unwrap_or_else(|| match self.schemas.sizes.get(&key) {
            Some(&size) => size,
            None => ENUM_SIZE,
        })
    }

    /// The value of `entry` at the beginning of `bytes`, and how many bytes it takes.
    fn member(
        &self,
        entry: &Entry,
        size: usize,
        bytes: &[u8],
        numbers: &FxHashMap<u64, u64>,
        depth: usize,
        budget: &mut usize,
    ) -> Option<(ArgValue, usize)> {
        if entry.flags & POINTER != 0 || size == 0 {
            let address = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
            *budget = budget.checked_sub(1)?;
            return Some((ArgValue::Text(format!("0x{address:x}")), 8));
        }
        let available = bytes.len() / size;
        let count = match entry.flags & ARRAY {
            FIXED_ARRAY => usize::try_from(entry.detail).unwrap_or(usize::MAX),
            COUNTED_ARRAY => usize::try_from(*numbers.get(&entry.detail)?).unwrap_or(usize::MAX),
            TERMINATED_ARRAY => bytes.chunks_exact(size).position(|item| item.iter().all(|&byte| byte == 0))?,
            _ if matches!(entry.kind, 75..=78) => usize::try_from(entry.detail).unwrap_or(usize::MAX),
            _ => 1,
        };
        let is_array = entry.flags & ARRAY != 0;
        let used = count.min(available).saturating_mul(size);
        if matches!(entry.kind, 75..=78) || (is_array && matches!(entry.kind, 1 | 25)) {
            *budget = budget.checked_sub(1)?;
            return Some((ArgValue::Text(text(entry.kind, bytes.get(..used)?)), used));
        }
        if !is_array {
            return Some((self.scalar(entry, bytes.get(..size)?, depth, budget)?, size));
        }
        let mut items = Vec::new();
        for item in bytes.get(..used)?.chunks_exact(size) {
            match self.scalar(entry, item, depth, budget) {
                Some(value) => items.push(value),
                None => break,
            }
        }
        Some((ArgValue::List(items), used))
    }

    fn scalar(&self, entry: &Entry, bytes: &[u8], depth: usize, budget: &mut usize) -> Option<ArgValue> {
        *budget = budget.checked_sub(1)?;
        let mut wide = [0u8; 16];
        wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let unsigned = u128::from_le_bytes(wide);
        let small = unsigned as u64;
        let bits = bytes.len() as u32 * 8;
        let signed = || (unsigned << (128 - bits)) as i128 >> (128 - bits);
        let plain = |value: u64| i64::try_from(value).map_or(ArgValue::UInt(value), ArgValue::Int);
        Some(match entry.kind {
            1 | 3 | 5 | 7 | 9 | 11 | 13 | 15 | 17 => ArgValue::Int(signed() as i64),
            19 | 43 | 52 => ArgValue::Double(f64::from(f32::from_bits(small as u32))),
            20 | 44 => ArgValue::Double(f64::from_bits(small)),
            42 => ArgValue::Double(half(small as u16)),
            50 => ArgValue::Double(f64::from(f32::from_bits((small as u32) << 16))),
            23 => ArgValue::Text(format!("0x{small:x}")),
            69 => ArgValue::Text(format!("0x{small:08x}")),
            33 => ArgValue::Text(signed().to_string()),
            34 => ArgValue::Text(unsigned.to_string()),
            21 | 45 => ArgValue::Text(hex(bytes)),
            80 => match i64::try_from(small).ok().and_then(|number| self.strings.get(number)) {
                Some(text) => ArgValue::Text(text.to_owned()),
                None => plain(small),
            },
            own if own >= FIRST_OWN_TYPE => {
                if let Some(entries) = self.schemas.schemas.get(&(self.domain, own)) {
                    let mut inner = Args::new();
                    self.structure(entries, bytes, depth + 1, budget, &mut inner);
                    return Some(ArgValue::Dict(inner));
                }
                let value = signed() as i64;
                let names = self.schemas.enums.get(&(self.domain, own));
                match names.and_then(|names| names.iter().find(|entry| entry.0 == value)) {
                    Some((_, name)) => ArgValue::Text(name.clone()),
                    None => ArgValue::Int(value),
                }
            }
            _ => plain(small),
        })
    }
}

fn text(kind: u64, bytes: &[u8]) -> String {
    match kind {
        77 => {
            let units: Vec<u16> = bytes
                .as_chunks()
                .0
                .iter()
                .map(|unit| u16::from_le_bytes(*unit))
                .take_while(|&unit| unit != 0)
                .collect();
            String::from_utf16_lossy(&units)
        }
        78 => {
            let points =
                bytes.as_chunks().0.iter().map(|unit| u32::from_le_bytes(*unit)).take_while(|&point| point != 0);
            points.map(|point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        _ => {
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
        }
    }
}

/// A 16-bit float of IEEE 754.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let fraction = f64::from(bits & 0x3FF);
    match bits >> 10 & 0x1F {
        0 => sign * fraction * 2f64.powi(-24),
        0x1F if fraction == 0.0 => sign * f64::INFINITY,
        0x1F => f64::NAN,
        exponent => sign * (1.0 + fraction / 1024.0) * 2f64.powi(i32::from(exponent) - 15),
    }
}

/// Bytes shown of a payload that no schema explains.
const SHOWN: usize = 256;

fn hex(bytes: &[u8]) -> String {
    let mut out: String = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn entry(index: i64, kind: u64, name: &str) -> Entry {
        Entry { index, kind, name: name.to_owned(), ..Entry::default() }
    }

    fn payload(schema: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [1, schema, body.len() as u64, (HEAD + body.len()) as u64] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn structures_arrays_texts_and_enumerations_are_decoded() {
        let mut schemas = Schemas::default();
        let outer = FIRST_OWN_TYPE + 1;
        let inner = FIRST_OWN_TYPE + 2;
        let names = FIRST_OWN_TYPE + 3;
        schemas.add_enum(1, names, 2, "Max".to_owned());
        schemas.add(1, inner, entry(0, 42, "half"));
        schemas.add(1, inner, entry(1, 50, "bf16"));
        schemas.add(1, outer, entry(0, 5, "int"));
        schemas.add(1, outer, entry(1, 18, "wide"));
        schemas.add(1, outer, Entry { flags: FIXED_ARRAY, detail: 3, ..entry(2, 13, "shorts") });
        schemas.add(1, outer, Entry { detail: 4, ..entry(3, 76, "text") });
        schemas.add(1, outer, Entry { offset: Some(28), ..entry(4, names, "op") });
        schemas.add(1, outer, entry(5, inner, "inner"));
        schemas.add(1, outer, Entry { flags: HIDDEN, ..entry(6, 5, "hidden") });
        // Named twice, as a file does for two processes.
        schemas.add(1, outer, entry(0, 18, "int"));
        schemas.finish();
        let mut body = Vec::new();
        body.extend_from_slice(&(-7i32).to_le_bytes());
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(&u64::MAX.to_le_bytes());
        for short in [1i16, -2, 3] {
            body.extend_from_slice(&short.to_le_bytes());
        }
        body.extend_from_slice(b"ab\0\0");
        body.extend_from_slice(&[0; 2]);
        body.extend_from_slice(&2u32.to_le_bytes());
        body.extend_from_slice(&0x3E00u16.to_le_bytes());
        body.extend_from_slice(&0x3FC0u16.to_le_bytes());
        body.extend_from_slice(&9u32.to_le_bytes());
        let text = |text: &str| ArgValue::Text(text.to_owned());
        let shorts = ArgValue::List([1, -2, 3].map(ArgValue::Int).to_vec());
        let halves = [("half", 1.5), ("bf16", 1.5)].map(|(name, value)| (name.to_owned(), ArgValue::Double(value)));
        let expected = [
            ("int", ArgValue::Int(-7)),
            ("wide", ArgValue::UInt(u64::MAX)),
            ("shorts", shorts),
            ("text", text("ab")),
            ("op", text("Max")),
            ("inner", ArgValue::Dict(halves.to_vec())),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let bytes = payload(outer, &body);
        assert_eq!(schemas.decode(1, &bytes, &Strings::default()), expected);
        // Two payloads in one event; the second of an unknown schema.
        let mut two = bytes.clone();
        two.extend(payload(77, b"\x01\xff"));
        let decoded = schemas.decode(1, &two, &Strings::default());
        assert_eq!(decoded.last().unwrap(), &("payload of schema 77".to_owned(), text("01ff")));
        assert_eq!(decoded.len(), 7);
        // Whatever is cut off, nothing is read beyond the end.
        for length in 0..bytes.len() {
            schemas.decode(1, &bytes[..length], &Strings::default());
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] = 0xFF;
            schemas.decode(1, &damaged, &Strings::default());
        }
    }

    #[test]
    fn a_structure_that_holds_itself_ends() {
        let mut schemas = Schemas::default();
        let own = FIRST_OWN_TYPE + 1;
        for index in 0..8 {
            schemas.add(0, own, entry(index, own, "again"));
        }
        schemas.finish();
        schemas.decode(0, &payload(own, &[0; 64]), &Strings::default());
    }

    #[test]
    fn payloads_come_as_bytes_or_digits() {
        assert_eq!(bytes_of(ValueRef::Text(b"0x01fF")).unwrap().as_ref(), [1, 255]);
        assert_eq!(bytes_of(ValueRef::Blob(b"ab")).unwrap().as_ref(), b"ab");
        assert!(bytes_of(ValueRef::Text(b"0x1")).is_none() && bytes_of(ValueRef::Null).is_none());
    }
}
