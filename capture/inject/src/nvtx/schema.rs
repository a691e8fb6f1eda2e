//! Schemas of NVTX's extended payloads: read when they are registered, told as text once per process.

use std::ffi::c_char;
use std::fmt::Write;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use gapless_ring::layout::{Kind, Record};
use gapless_ring::writer::Thread;

use super::domains::{self, Domain};
use super::text;
use crate::table::{Table, join};

/// First id of a registered schema or enumeration; smaller ones are predefined types.
pub(super) const FIRST_ID: u64 = 1 << 24;
/// First id that the tool chooses.
const FIRST_DYNAMIC_ID: u64 = 1 << 32;
/// Most entries that are read of a schema or enumeration.
const MAX_ENTRIES: usize = 256;
/// Most bytes of the text of a schema: what fits into the slots of one record.
const MAX_TEXT_BYTES: usize = 8160;

const TYPE_CSTRING: u64 = 75;
const TYPE_CSTRING_UTF8: u64 = 76;
pub(super) const TYPE_REGISTERED: u64 = 80;
const FLAG_POINTER: u64 = 2;
const FLAG_ARRAY: u64 = 7 << 4;
const FLAG_DEEP_COPY: u64 = 1 << 8;
const FLAG_MESSAGE: u64 = 1 << 10;
const SCHEMA_STATIC: u64 = 1;

/// `nvtxPayloadSchemaEntry_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct EntryAttributes {
    flags: u64,
    kind: u64,
    name: *const c_char,
    description: *const c_char,
    detail: u64,
    offset: u64,
    semantics: *const std::ffi::c_void,
    reserved: *const std::ffi::c_void,
}

/// `nvtxPayloadSchemaAttr_t`. Only fields of the mask hold something.
#[repr(C)]
pub(super) struct SchemaAttributes {
    mask: u64,
    name: *const c_char,
    kind: u64,
    flags: u64,
    entries: *const EntryAttributes,
    entries_len: usize,
    static_size: usize,
    pack: usize,
    id: u64,
    extension: *const std::ffi::c_void,
}

/// `nvtxPayloadEnum_t`.
#[repr(C)]
pub(super) struct EnumEntry {
    name: *const c_char,
    value: u64,
    is_flag: i8,
}

/// `nvtxPayloadEnumAttr_t`.
#[repr(C)]
pub(super) struct EnumAttributes {
    mask: u64,
    name: *const c_char,
    entries: *const EnumEntry,
    entries_len: usize,
    size: usize,
    id: u64,
    extension: *const std::ffi::c_void,
}

const _: () = assert!(size_of::<EntryAttributes>() == 64 && size_of::<SchemaAttributes>() == 80);
const _: () = assert!(size_of::<EnumEntry>() == 24 && size_of::<EnumAttributes>() == 56);

/// A string that an event's payload only points to: a reader of the recording cannot follow, so it is copied.
pub(super) struct Pointed {
    pub name: Vec<u8>,
    pub offset: usize,
    /// A handle from registering a string, else the address of a C string.
    pub registered: bool,
    /// The string is the event's name.
    pub message: bool,
}

/// What is known of a registered schema or enumeration.
pub(super) struct Schema {
    text: String,
    /// Key of the text, and of payloads that follow it.
    text_key: String,
    pub payload_key: String,
    pub pointed: Vec<Pointed>,
    /// The entry that holds the event's name within the payload: offset and bytes.
    pub inline_message: Option<(usize, usize)>,
    /// Bytes and alignment of the structure, where both follow from the schema.
    size: Option<usize>,
    align: usize,
    /// Generation of the process that was told the text.
    told: AtomicU32,
}

static SCHEMAS: Table<Schema, 4096> = Table::new();
static NEXT_ID: AtomicU64 = AtomicU64::new(FIRST_DYNAMIC_ID);

fn key(domain: Option<&Domain>, id: u64) -> u64 {
    join(domain.map_or(0, |domain| domain.hash), id)
}

/// The schema with this id in the domain.
pub(super) fn find(domain: Option<&Domain>, id: u64) -> Option<&'static Schema> {
    SCHEMAS.get(key(domain, id))
}

impl Schema {
    /// Writes the text of the schema unless this process has it.
    pub fn tell(&self, thread: &mut Thread, domain: Option<&'static Domain>) {
        let generation = thread.generation();
        if self.told.load(Ordering::Relaxed) == generation {
            return;
        }
        let record = Record {
            kind: Kind::Info as u8,
            name: thread.name(self.text_key.as_bytes()),
            domain: domains::number(thread, domain),
            ..Record::default()
        };
        if thread.put_bytes(record, self.text.as_bytes()) {
            // Two threads may tell it at once, which does no harm.
            self.told.store(generation, Ordering::Relaxed);
        }
    }
}

/// Registers a schema and returns its id; 0 if it says nothing or there are more than thousands.
///
/// # Safety
/// `attributes` is null or as NVTX describes it.
pub(super) unsafe fn register(domain: Option<&'static Domain>, attributes: *const SchemaAttributes) -> u64 {
    // SAFETY: by this function's own contract.
    let Some(given) = (unsafe { attributes.as_ref() }) else { return 0 };
    let has = |bit: u32| given.mask & (1 << bit) != 0;
    if !has(4) || !has(5) || given.entries.is_null() || given.entries_len == 0 {
        return 0;
    }
    let name = if has(1) { given.name } else { std::ptr::null() };
    let kind = if has(2) { given.kind } else { 0 };
    let pack = if has(7) { given.pack } else { 0 };
    let static_size = if has(6) && given.static_size > 0 { Some(given.static_size) } else { None };
    let flags = if has(3) { given.flags } else { 0 };
    let id = if has(8) && given.id != 0 { given.id } else { NEXT_ID.fetch_add(1, Ordering::Relaxed) };
    let entries_len = given.entries_len.min(MAX_ENTRIES);
    // SAFETY: the caller gives this many entries.
    let entries = unsafe { std::slice::from_raw_parts(given.entries, entries_len) };

    let mut layout = Layout { pack, at: Some(0), align: 1 };
    let mut placed = Vec::new();
    let mut pointed = Vec::new();
    let mut inline_message = None;
    for (index, entry) in entries.iter().enumerate() {
        let offset = layout.place(domain, entry, index);
        placed.push((entry, offset));
        let Some(offset) = offset else { continue };
        let single = entry.flags & FLAG_ARRAY == 0;
        let is_text = matches!(entry.kind, TYPE_CSTRING | TYPE_CSTRING_UTF8);
        let message = entry.flags & FLAG_MESSAGE != 0;
        let registered = entry.kind == TYPE_REGISTERED;
        if single && (registered || is_text && entry.detail == 0 && entry.flags & FLAG_DEEP_COPY != 0) {
            // SAFETY: names of entries are C strings.
            let name = unsafe { text::bytes(entry.name) }.to_vec();
            pointed.push(Pointed { name, offset, registered, message });
        } else if single && is_text && entry.detail > 0 && entry.flags & FLAG_POINTER == 0 && message {
            inline_message = usize::try_from(entry.detail).ok().map(|len| (offset, len));
        }
    }
    let size = static_size.or_else(|| layout.end().filter(|_| kind == SCHEMA_STATIC));
    // SAFETY: names and descriptions are C strings.
    let text = unsafe { schema_text(id, name, kind, flags, size, &placed, entries_len < given.entries_len) };
    keep(domain, id, "schema", text, pointed, inline_message, size, layout.align)
}

/// Registers an enumeration and returns its id; 0 if it says nothing.
///
/// # Safety
/// `attributes` is null or as NVTX describes it.
pub(super) unsafe fn register_enum(domain: Option<&'static Domain>, attributes: *const EnumAttributes) -> u64 {
    // SAFETY: by this function's own contract.
    let Some(given) = (unsafe { attributes.as_ref() }) else { return 0 };
    let has = |bit: u32| given.mask & (1 << bit) != 0;
    if !has(2) || !has(3) || given.entries.is_null() || given.entries_len == 0 {
        return 0;
    }
    let id = if has(5) && given.id != 0 { given.id } else { NEXT_ID.fetch_add(1, Ordering::Relaxed) };
    let size = if has(4) { given.size } else { 0 };
    let mut out = format!("{{\"id\":{id},\"name\":");
    // SAFETY: names are C strings, and the caller gives this many entries.
    unsafe {
        quote(&mut out, if has(1) { text::bytes(given.name) } else { &[] });
        let _ = write!(out, ",\"size\":{size},\"values\":[");
        let entries = std::slice::from_raw_parts(given.entries, given.entries_len.min(MAX_ENTRIES));
        for (index, entry) in entries.iter().enumerate() {
            out.push_str(if index == 0 { "{\"name\":" } else { ",{\"name\":" });
            quote(&mut out, text::bytes(entry.name));
            let _ = write!(out, ",\"value\":{},\"flag\":{}}}", entry.value, entry.is_flag != 0);
        }
    }
    out.push_str("]}");
    keep(domain, id, "enum", out, Vec::new(), None, Some(size).filter(|size| *size > 0), size.max(1))
}

fn keep(
    domain: Option<&'static Domain>,
    id: u64,
    what: &str,
    text: String,
    pointed: Vec<Pointed>,
    inline_message: Option<(usize, usize)>,
    size: Option<usize>,
    align: usize,
) -> u64 {
    let schema = SCHEMAS.get_or_insert(key(domain, id), || Schema {
        text,
        text_key: format!("nvtx-{what}:{id}"),
        payload_key: format!("nvtx-payload:{id}"),
        pointed,
        inline_message,
        size,
        align,
        told: AtomicU32::new(0),
    });
    match schema {
        Some(schema) => {
            // Told now where it can be: enumerations are named by schemas only, not by payloads.
            gapless_ring::writer::with(|thread| schema.tell(thread, domain));
            id
        }
        None => 0,
    }
}

/// The schema as JSON: `{"id","name","type","flags","size","entries":[{"name","type","flags","detail","offset",
/// "description"}]}`, with numbers as in `nvToolsExtPayload.h` and an offset wherever it can be told.
///
/// # Safety
/// Names and descriptions are null or C strings.
unsafe fn schema_text(
    id: u64,
    name: *const c_char,
    kind: u64,
    flags: u64,
    size: Option<usize>,
    entries: &[(&EntryAttributes, Option<usize>)],
    cut: bool,
) -> String {
    let write_all = |descriptions: bool, count: usize| {
        let mut out = format!("{{\"id\":{id},\"name\":");
        // SAFETY: by the contract of the function around.
        quote(&mut out, unsafe { text::bytes(name) });
        let _ = write!(out, ",\"type\":{kind},\"flags\":{flags}");
        if let Some(size) = size {
            let _ = write!(out, ",\"size\":{size}");
        }
        if cut || count < entries.len() {
            out.push_str(",\"cut\":true");
        }
        out.push_str(",\"entries\":[");
        for (index, (entry, offset)) in entries.iter().take(count).enumerate() {
            out.push_str(if index == 0 { "{\"name\":" } else { ",{\"name\":" });
            // SAFETY: as above.
            quote(&mut out, unsafe { text::bytes(entry.name) });
            let _ = write!(out, ",\"type\":{},\"flags\":{},\"detail\":{}", entry.kind, entry.flags, entry.detail);
            if let Some(offset) = offset {
                let _ = write!(out, ",\"offset\":{offset}");
            }
            // SAFETY: as above.
            let description = unsafe { text::bytes(entry.description) };
            if descriptions && !description.is_empty() {
                out.push_str(",\"description\":");
                quote(&mut out, description);
            }
            out.push('}');
        }
        out.push_str("]}");
        out
    };
    let whole = write_all(true, entries.len());
    if whole.len() <= MAX_TEXT_BYTES {
        return whole;
    }
    // What does not fit into one record loses descriptions first, entries from the end then.
    (0..=entries.len())
        .rev()
        .map(|count| write_all(false, count))
        .find(|text| text.len() <= MAX_TEXT_BYTES)
        .unwrap_or_default()
}

fn quote(out: &mut String, bytes: &[u8]) {
    out.push('"');
    for symbol in String::from_utf8_lossy(bytes).chars() {
        match symbol {
            '"' | '\\' => {
                out.push('\\');
                out.push(symbol);
            }
            control if u32::from(control) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Where entries lie that say nothing of it: C's own rules, capped by the packing.
struct Layout {
    pack: usize,
    /// End of the entry before; `None` once an entry's size is not known.
    at: Option<usize>,
    align: usize,
}

impl Layout {
    fn place(&mut self, domain: Option<&Domain>, entry: &EntryAttributes, index: usize) -> Option<usize> {
        let (size, align) = entry_size(domain, entry).map_or((None, 1), |(size, align)| (size, align));
        let align = if self.pack > 0 { align.min(self.pack) } else { align }.max(1);
        // An offset of 0 in a later entry means "where it falls".
        let offset = if entry.offset > 0 || index == 0 {
            usize::try_from(entry.offset).ok()
        } else {
            self.at.and_then(|at| at.checked_next_multiple_of(align))
        };
        self.align = self.align.max(align);
        self.at = offset.zip(size).and_then(|(offset, size)| offset.checked_add(size));
        offset
    }

    fn end(&self) -> Option<usize> {
        self.at.and_then(|at| at.checked_next_multiple_of(self.align.max(1)))
    }
}

/// Bytes of an entry in its structure, where they follow from it, and its alignment.
fn entry_size(domain: Option<&Domain>, entry: &EntryAttributes) -> Option<(Option<usize>, usize)> {
    let pointer = size_of::<usize>();
    if entry.flags & FLAG_POINTER != 0 {
        return Some((Some(pointer), pointer));
    }
    let detail = usize::try_from(entry.detail).ok()?;
    let array = (entry.flags & FLAG_ARRAY) >> 4;
    if let Some(unit) = match entry.kind {
        TYPE_CSTRING | TYPE_CSTRING_UTF8 => Some(1usize),
        77 => Some(2),
        78 => Some(4),
        _ => None,
    } {
        return match (array, detail) {
            (0, 0) => Some((Some(pointer), pointer)),
            (0 | 1, len) => Some((unit.checked_mul(len), unit)),
            _ => Some((None, unit)),
        };
    }
    let (size, align) = match entry.kind {
        id if id >= FIRST_ID => {
            let schema = find(domain, id)?;
            (schema.size?, schema.align)
        }
        kind => predefined(kind)?,
    };
    match array {
        0 => Some((Some(size), align)),
        1 => Some((size.checked_mul(detail), align)),
        _ => Some((None, align)),
    }
}

/// Size and alignment of a predefined type (`NVTX_PAYLOAD_ENTRY_TYPE_*`) on 64-bit Linux.
pub(super) fn predefined(kind: u64) -> Option<(usize, usize)> {
    let size = match kind {
        1 | 2 | 11 | 12 | 25 | 32 => 1,
        3 | 4 | 13 | 14 | 26 | 42 | 50 => 2,
        5 | 6 | 15 | 16 | 19 | 24 | 27 | 43 | 52 | 68 | 69 | 71 | 73 => 4,
        7..=10 | 17 | 18 | 20 | 22 | 23 | 44 | 67 | 70 | 72 | 74 | TYPE_REGISTERED => 8,
        21 | 33 | 34 | 45 => 16,
        _ => return None,
    };
    Some((size, size))
}
