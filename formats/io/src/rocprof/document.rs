//! The outline of the file: small things parsed, records as places in the text.

use std::ops::Range;

use gapless_trace::{ArgValue, Args, SourceId, WarningKind, Warnings};

use crate::error::Refused;
use crate::json::{Elements, Next, document, next_key, skip_within, too_many};
use crate::kineto::{Cursor, parse_object};
use crate::limits::Limits;

/// What the records of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Records {
    Kernels,
    Copies,
    /// Calls of HIP, HSA, rocDecode, rocJPEG.
    Calls,
    Rccl,
    Markers,
    Allocations,
    Scratch,
    /// Kernels with hardware counters.
    Counters,
}

/// Lists that are read, by name. Kernels have two: older files have the plural.
const LISTS: [(&str, Records); 12] = [
    ("kernel_dispatch", Records::Kernels),
    ("kernel_dispatches", Records::Kernels),
    ("memory_copy", Records::Copies),
    ("hip_api", Records::Calls),
    ("hsa_api", Records::Calls),
    ("rocdecode_api", Records::Calls),
    ("rocjpeg_api", Records::Calls),
    ("rccl_api", Records::Rccl),
    ("marker_api", Records::Markers),
    ("memory_allocation", Records::Allocations),
    ("scratch_memory", Records::Scratch),
    ("counter_collection", Records::Counters),
];

/// A list of records of a process.
#[derive(Debug)]
pub(super) struct List {
    pub name: &'static str,
    pub records: Records,
    pub places: Vec<Range<usize>>,
}

/// One process of the file.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub metadata: Args,
    pub agents: Vec<ArgValue>,
    pub strings: Args,
    pub kernel_symbols: Vec<ArgValue>,
    pub lists: Vec<List>,
}

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub processes: Vec<Process>,
    /// Lists that have no place in the model: name, records, where.
    pub left_out: Vec<(String, u64, u64)>,
    events: u64,
}

/// A walk through the file; `is_over` once nothing more can be read.
struct Walk<'a, 'w> {
    cursor: Cursor<'a>,
    elements: Elements,
    warnings: &'w mut Warnings,
    limits: &'w Limits,
    is_over: bool,
}

impl Document {
    /// Reads the outline of `bytes`.
    ///
    /// # Errors
    /// When it is no object, or has more records than the limit.
    pub fn read(bytes: &[u8], limits: &Limits, warnings: &mut Warnings) -> Result<Self, Refused> {
        let mut found = Self::default();
        let mut walk = Walk {
            cursor: document(bytes).with_nesting(limits.nesting),
            elements: Elements::new(b"\"size\"", limits),
            warnings,
            limits,
            is_over: false,
        };
        if !walk.cursor.take(b'{') {
            return Err(Refused::format(walk.cursor.at as u64, "it is no file of rocprofv3"));
        }
        while let Some(key) = walk.key() {
            if key != b"rocprofiler-sdk-tool" {
                walk.skip(&key);
            } else if walk.cursor.take(b'[') {
                while walk.enter_next() {
                    found.process(&mut walk)?;
                }
            } else if walk.cursor.take(b'{') {
                found.process(&mut walk)?;
            } else {
                walk.skip(&key);
            }
        }
        Ok(found)
    }

    fn process(&mut self, walk: &mut Walk<'_, '_>) -> Result<(), Refused> {
        let mut process = Process::default();
        while let Some(key) = walk.key() {
            match key.as_slice() {
                b"metadata" => {
                    if let Some(ArgValue::Dict(metadata)) = walk.value(&key) {
                        process.metadata = metadata;
                    }
                }
                b"agents" => {
                    if let Some(ArgValue::List(agents)) = walk.value(&key) {
                        process.agents = agents;
                    }
                }
                b"strings" => {
                    if let Some(ArgValue::Dict(strings)) = walk.value(&key) {
                        process.strings = strings;
                    }
                }
                b"kernel_symbols" => {
                    if let Some(ArgValue::List(symbols)) = walk.value(&key) {
                        process.kernel_symbols = symbols;
                    }
                }
                b"buffer_records" | b"callback_records" if walk.cursor.take(b'{') => {
                    while let Some(list) = walk.key() {
                        self.list(walk, &list, &mut process)?;
                    }
                }
                _ => walk.skip(&key),
            }
        }
        // What was read of a process that breaks off counts.
        self.processes.push(process);
        Ok(())
    }

    fn list(&mut self, walk: &mut Walk<'_, '_>, name: &[u8], process: &mut Process) -> Result<(), Refused> {
        let offset = walk.cursor.at as u64;
        if !walk.cursor.take(b'[') {
            walk.skip(name);
            return Ok(());
        }
        let known = LISTS.iter().find(|list| list.0.as_bytes() == name);
        let (mut places, mut count) = (Vec::new(), 0u64);
        while let Some(place) = walk.elements.next(&mut walk.cursor, walk.warnings) {
            count += 1;
            self.events += 1;
            if self.events > walk.limits.events {
                return Err(too_many("the file has more records", walk.limits));
            }
            if known.is_some() {
                places.push(place);
            }
        }
        walk.is_over |= walk.elements.is_cut;
        match known {
            Some(&(name, records)) => process.lists.push(List { name, records, places }),
            None if count > 0 => self.left_out.push((String::from_utf8_lossy(name).into_owned(), count, offset)),
            None => {}
        }
        Ok(())
    }
}

impl Walk<'_, '_> {
    /// The next key of the object that the cursor is in; `None` at its end, or at the end of all.
    fn key(&mut self) -> Option<Vec<u8>> {
        if self.is_over {
            return None;
        }
        let at = self.cursor.at as u64;
        match next_key(&mut self.cursor) {
            Next::Item(key) => return Some(key.text.to_owned()),
            Next::End => return None,
            Next::Cut => self.warnings.add(WarningKind::MissingEnd, SourceId(0), Some(at), ""),
            Next::Bad => self.warnings.add(WarningKind::HeaderUnreadable, SourceId(0), Some(at), ""),
        }
        self.is_over = true;
        None
    }

    /// Enters the next object of a list of objects.
    fn enter_next(&mut self) -> bool {
        loop {
            if self.is_over {
                return false;
            }
            self.cursor.skip_space();
            match self.cursor.peek() {
                b',' => self.cursor.at += 1,
                b'{' => {
                    self.cursor.at += 1;
                    return true;
                }
                b']' => {
                    self.cursor.at += 1;
                    return false;
                }
                _ => {
                    let kind =
                        if self.cursor.is_at_end() { WarningKind::MissingEnd } else { WarningKind::HeaderUnreadable };
                    self.warnings.add(kind, SourceId(0), Some(self.cursor.at as u64), "");
                    self.is_over = true;
                }
            }
        }
    }

    fn skip(&mut self, key: &[u8]) {
        let from = self.cursor.at;
        if let Err(kind) = skip_within(&mut self.cursor, self.limits.string_bytes) {
            self.warnings.add(kind, SourceId(0), Some(from as u64), &String::from_utf8_lossy(key));
            self.is_over = true;
        }
    }

    /// The value at the cursor.
    fn value(&mut self, key: &[u8]) -> Option<ArgValue> {
        let from = self.cursor.at;
        self.skip(key);
        let text = self.cursor.bytes.get(from..self.cursor.at).filter(|_| !self.is_over)?;
        let member = [b"{\"value\":", text, b"}"].concat();
        parse_object(&member).pop().map(|field| field.1)
    }
}
