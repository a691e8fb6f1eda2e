//! What describes the payloads of NVTX's extension: structures and enumerations, as the process told them.
//!
//! Numbers of types and flags are those of `nvToolsExtPayload.h` (NVTX 3.2). Told as JSON: a structure as
//! `{"id","name","type","flags","size","entries":[{"name","type","flags","detail","offset"}]}`, an enumeration as
//! `{"id","name","size","values":[{"name","value","flag"}]}`.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Deserializer};

/// First id of a structure or enumeration; smaller ones are predefined types.
pub(super) const FIRST_ID: u64 = 1 << 24;
pub(super) const CHAR: u64 = 1;
pub(super) const WCHAR: u64 = 24;
pub(super) const CHAR8: u64 = 25;
pub(super) const CHAR16: u64 = 26;
pub(super) const CHAR32: u64 = 27;
pub(super) const BYTE: u64 = 32;
pub(super) const CSTRING: u64 = 75;
pub(super) const CSTRING_UTF8: u64 = 76;
pub(super) const CSTRING_UTF16: u64 = 77;
pub(super) const CSTRING_UTF32: u64 = 78;
pub(super) const REGISTERED: u64 = 80;
pub(super) const FLAG_POINTER: u64 = 1 << 1;

/// Most structures and enumerations that are kept of a process.
const MOST: usize = 65_536;

/// A structure.
#[derive(Debug, Deserialize)]
pub(super) struct Schema {
    /// Static, dynamic, union or union with a selector inside: 1 to 4.
    #[serde(rename = "type", default)]
    pub kind: u64,
    /// Bytes, where they are always the same.
    pub size: Option<usize>,
    pub entries: Vec<Entry>,
    /// Found out when it is told, as what it consists of is told before.
    #[serde(skip)]
    pub align: usize,
}

/// An entry of a structure.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    #[serde(deserialize_with = "shared_text")]
    pub name: Arc<str>,
    #[serde(rename = "type")]
    pub kind: u64,
    #[serde(default)]
    pub flags: u64,
    /// Length of an array or string, or which entry holds it; of a union, which entry says what it holds.
    #[serde(default)]
    pub detail: u64,
    /// Where it begins; absent behind what has no fixed length.
    pub offset: Option<usize>,
}

fn shared_text<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(from).map(Arc::from)
}

/// An enumeration.
#[derive(Debug, Deserialize)]
pub(super) struct Enumeration {
    /// Bytes of a value.
    #[serde(default)]
    pub size: usize,
    pub values: Vec<Named>,
}

/// A value of an enumeration.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub name: String,
    pub value: u64,
    /// Whether it may stand together with others.
    #[serde(default)]
    pub flag: bool,
}

impl Enumeration {
    /// Bytes of a value; C's own choice where the process did not say.
    pub fn bytes(&self) -> usize {
        if self.size == 0 { 4 } else { self.size }
    }

    /// What a value is called: its name, or those of the flags that make it up; `None` where it has none.
    pub fn text(&self, value: u64) -> Option<String> {
        let mask = 1u64.checked_shl(self.bytes() as u32 * 8).map_or(u64::MAX, |bit| bit - 1);
        if let Some(named) = self.values.iter().find(|named| named.value & mask == value) {
            return Some(named.name.clone());
        }
        let mut rest = value;
        let mut text = String::new();
        for named in self.values.iter().filter(|named| named.flag && named.value & mask != 0) {
            if rest & named.value & mask == named.value & mask {
                rest &= !named.value;
                text.push_str(if text.is_empty() { "" } else { " | " });
                text.push_str(&named.name);
            }
        }
        (rest == 0 && !text.is_empty()).then_some(text)
    }
}

/// All that a process told, by domain (a string's number) and id.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    structures: FxHashMap<(u32, u64), Schema>,
    enumerations: FxHashMap<(u32, u64), Enumeration>,
}

impl Schemas {
    /// Whether a fact of a process with this key describes payloads.
    pub fn is_key(key: &str) -> bool {
        key.starts_with("nvtx-schema:") || key.starts_with("nvtx-enum:")
    }

    /// Keeps what was told under a key. Whether it could be read.
    pub fn tell(&mut self, domain: u32, key: &str, json: &[u8]) -> bool {
        if self.structures.len() + self.enumerations.len() >= MOST {
            return false;
        }
        let id = |prefix: &str| key.strip_prefix(prefix).and_then(|id| id.parse::<u64>().ok());
        if let Some(id) = id("nvtx-schema:")
            && let Ok(mut schema) = serde_json::from_slice::<Schema>(json)
        {
            schema.align = schema.entries.iter().map(|entry| self.alignment(domain, entry)).max().unwrap_or(1);
            self.structures.insert((domain, id), schema);
            true
        } else if let Some(id) = id("nvtx-enum:")
            && let Ok(enumeration) = serde_json::from_slice::<Enumeration>(json)
            && matches!(enumeration.bytes(), 1 | 2 | 4 | 8)
        {
            self.enumerations.insert((domain, id), enumeration);
            true
        } else {
            false
        }
    }

    pub fn structure(&self, domain: u32, id: u64) -> Option<&Schema> {
        self.structures.get(&(domain, id))
    }

    pub fn enumeration(&self, domain: u32, id: u64) -> Option<&Enumeration> {
        self.enumerations.get(&(domain, id))
    }

    /// Alignment of an entry; 1 where it is not known.
    pub fn alignment(&self, domain: u32, entry: &Entry) -> usize {
        let is_pointer = entry.flags & FLAG_POINTER != 0
            || matches!(entry.kind, CSTRING..=CSTRING_UTF32) && entry.detail == 0 && entry.flags >> 4 & 7 == 0;
        let align = match entry.kind {
            _ if is_pointer => 8,
            CSTRING | CSTRING_UTF8 => 1,
            CSTRING_UTF16 => 2,
            CSTRING_UTF32 => 4,
            kind if kind >= FIRST_ID => match self.enumeration(domain, kind) {
                Some(enumeration) => enumeration.bytes(),
                None => self.structure(domain, kind).map_or(1, |schema| schema.align),
            },
            kind => predefined_bytes(kind).unwrap_or(1),
        };
        align.max(1)
    }
}

/// Bytes of a predefined type on 64-bit Linux; its alignment is the same.
pub(super) fn predefined_bytes(kind: u64) -> Option<usize> {
    Some(match kind {
        1 | 2 | 11 | 12 | CHAR8 | BYTE => 1,
        3 | 4 | 13 | 14 | CHAR16 | 42 | 50 => 2,
        5 | 6 | 15 | 16 | 19 | WCHAR | CHAR32 | 43 | 52 | 68 | 69 | 71 | 73 => 4,
        7..=10 | 17 | 18 | 20 | 22 | 23 | 44 | 67 | 70 | 72 | 74 | REGISTERED => 8,
        21 | 33 | 34 | 45 => 16,
        _ => return None,
    })
}
