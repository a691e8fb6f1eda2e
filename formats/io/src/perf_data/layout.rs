//! Where things are in the file: header, descriptions of events, features, records.

use std::io::Read;

use gapless_trace::{SourceId, WarningKind, Warnings};
use rustc_hash::FxHashMap;

use super::attr::Attr;
use super::fields::{Fields, text};
use super::record::record_type;
use crate::error::Refused;
use crate::limits::Limits;

/// Features of the file that are read.
pub(super) mod feature {
    pub const TRACING_DATA: u32 = 1;
    pub const HOSTNAME: u32 = 3;
    pub const OS_RELEASE: u32 = 4;
    pub const VERSION: u32 = 5;
    pub const ARCH: u32 = 6;
    pub const CPU_DESC: u32 = 8;
    pub const CMDLINE: u32 = 11;
    pub const EVENT_DESC: u32 = 12;
    pub const CLOCK_DATA: u32 = 29;
    /// Bits of the header.
    pub const COUNT: u32 = 256;
}

/// Header of a file that was written to disk.
const FILE_HEADER_BYTES: usize = 104;
/// Header of one that was written to a pipe: records describe all else.
const PIPE_HEADER_BYTES: usize = 16;
/// Header of a record.
const RECORD_HEADER_BYTES: usize = 8;
/// Inflated bytes that are allowed whatever the compressed bytes are.
const FREE_INFLATED_BYTES: u64 = 64 << 20;

/// Byte order of a file that begins with `head`; `None` if it is none of this format.
pub(super) fn big_endian(head: &[u8]) -> Option<bool> {
    match head.get(..8)? {
        b"PERFILE2" => Some(false),
        b"2ELIFREP" => Some(true),
        _ => None,
    }
}

/// The parts of a file.
pub(super) struct Layout<'a> {
    pub big_endian: bool,
    pub attrs: Vec<Attr>,
    pub features: FxHashMap<u32, &'a [u8]>,
    /// Records, and where they stand in the file.
    pub data: &'a [u8],
    pub data_at: usize,
    /// Records that were compressed.
    pub inflated: Vec<u8>,
}

/// A record.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawRecord<'a> {
    /// Where it stands among the bytes that were walked.
    pub at: usize,
    pub kind: u32,
    pub misc: u16,
    pub body: &'a [u8],
}

/// Walks records up to the end or to what is none.
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

/// What ended a walk before its bytes did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The bytes end within a record.
    Truncated,
    /// A record says that it is smaller than its header.
    Malformed,
}

impl<'a> Records<'a> {
    pub fn new(bytes: &'a [u8], big_endian: bool) -> Self {
        Self { bytes, at: 0, big_endian }
    }

    /// The record at `at`.
    pub fn at(bytes: &'a [u8], at: usize, big_endian: bool) -> Option<RawRecord<'a>> {
        let mut fields = Fields::new(bytes.get(at..)?, big_endian);
        let (kind, misc, size) = (fields.u32()?, fields.u16()?, fields.u16()?);
        let body = fields.bytes(usize::from(size).checked_sub(RECORD_HEADER_BYTES)?)?;
        Some(RawRecord { at, kind, misc, body })
    }

    /// Where the walk stands.
    pub fn place(&self) -> usize {
        self.at
    }

    /// The next record; `Ok(None)` at the end.
    pub fn next(&mut self) -> Result<Option<RawRecord<'a>>, Cut> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let size = Fields::new(rest.get(6..).unwrap_or_default(), self.big_endian).u16().ok_or(Cut::Truncated)?;
        if usize::from(size) < RECORD_HEADER_BYTES {
            return Err(Cut::Malformed);
        }
        let record = Self::at(self.bytes, self.at, self.big_endian).ok_or(Cut::Truncated)?;
        // Two kinds of records say how many bytes follow them.
        let mut fields = Fields::new(record.body, self.big_endian);
        let follows = match record.kind {
            record_type::AUXTRACE => fields.u64().and_then(|len| usize::try_from(len).ok()),
            record_type::HEADER_TRACING_DATA => fields.u32().map(|len| (len as usize).next_multiple_of(8)),
            _ => Some(0),
        };
        let end = (self.at + usize::from(size)).checked_add(follows.ok_or(Cut::Truncated)?);
        self.at = end.filter(|&end| end <= self.bytes.len()).ok_or(Cut::Truncated)?;
        Ok(Some(record))
    }
}

impl<'a> Layout<'a> {
    /// Reads all but the records' bodies.
    pub fn read(bytes: &'a [u8], limits: &Limits, warnings: &mut Warnings) -> Result<Self, Refused> {
        let no_header = || Refused::format(0, "its header is cut; record it again, or copy the whole file");
        let big_endian = big_endian(bytes).ok_or_else(no_header)?;
        let mut header = Fields::new(bytes.get(8..).unwrap_or_default(), big_endian);
        let size = header.u64().ok_or_else(no_header)?;
        let mut layout = Self {
            big_endian,
            attrs: Vec::new(),
            features: FxHashMap::default(),
            data: &[],
            data_at: 0,
            inflated: Vec::new(),
        };
        if size == PIPE_HEADER_BYTES as u64 {
            layout.data_at = PIPE_HEADER_BYTES;
            layout.data = bytes.get(PIPE_HEADER_BYTES..).unwrap_or_default();
        } else {
            layout.read_header(bytes, header, warnings).ok_or_else(no_header)?;
        }
        layout.read_metadata(warnings);
        if let Some(attrs) = layout.features.get(&feature::EVENT_DESC).and_then(|desc| event_desc(desc, big_endian)) {
            layout.attrs = attrs;
        }
        if layout.attrs.is_empty() {
            return Err(Refused::format(0, "it does not say which events were recorded"));
        }
        layout.inflate(limits, warnings)?;
        Ok(layout)
    }

    fn read_header(&mut self, bytes: &'a [u8], mut header: Fields<'a>, warnings: &mut Warnings) -> Option<()> {
        bytes.get(..FILE_HEADER_BYTES)?;
        let attr_bytes = header.u64()?;
        let attrs = (header.u64()?, header.u64()?);
        let (data_at, data_len) = (header.u64()?, header.u64()?);
        let _event_types = (header.u64()?, header.u64()?);
        let mut bits = Vec::new();
        for word in 0..feature::COUNT / 64 {
            let mask = header.u64()?;
            bits.extend((0..64).filter(|bit| mask >> bit & 1 == 1).map(|bit| word * 64 + bit));
        }
        let section = |at: u64, len: u64| {
            let at = usize::try_from(at).ok()?;
            bytes.get(at..at.checked_add(usize::try_from(len).ok()?)?)
        };
        let mut unreadable = |what: &str, at: u64| {
            warnings.add(WarningKind::HeaderUnreadable, SourceId(0), Some(at), what);
        };

        self.data_at = usize::try_from(data_at).ok().filter(|&at| at <= bytes.len())?;
        self.data = match section(data_at, data_len).filter(|data| !data.is_empty()) {
            Some(data) => data,
            // The recorder sets the length when it ends; one that was killed did not.
            None => {
                unreadable("the length of the data: the recording was not ended, or the file is cut", data_at);
                bytes.get(self.data_at..)?
            }
        };
        match section(attrs.0, attrs.1).and_then(|attrs| self.read_attrs(bytes, attrs, attr_bytes)) {
            Some(attrs) => self.attrs = attrs,
            None => unreadable("the descriptions of events", attrs.0),
        }
        let features_at = data_at.saturating_add(data_len);
        for (place, &bit) in bits.iter().enumerate() {
            let entry = features_at.saturating_add(16 * place as u64);
            let found = section(entry, 16).and_then(|entry| {
                let mut entry = Fields::new(entry, self.big_endian);
                section(entry.u64()?, entry.u64()?)
            });
            match found {
                Some(found) => {
                    self.features.insert(bit, found);
                }
                None => unreadable(&format!("feature {bit}"), entry),
            }
        }
        Some(())
    }

    /// The section of descriptions: each is followed by where its ids are.
    fn read_attrs(&self, bytes: &[u8], section: &[u8], attr_bytes: u64) -> Option<Vec<Attr>> {
        let attr_bytes = usize::try_from(attr_bytes).ok().filter(|&len| len > 16)?;
        let mut attrs = Vec::new();
        // Honest descriptions do not share their ids: all of them fit into the file.
        let mut room = bytes.len();
        for entry in section.chunks_exact(attr_bytes) {
            let (description, ids) = entry.split_at_checked(attr_bytes - 16)?;
            let mut attr = Attr::read(&mut Fields::new(description, self.big_endian))?;
            let mut ids = Fields::new(ids, self.big_endian);
            let (at, len) = (usize::try_from(ids.u64()?).ok()?, usize::try_from(ids.u64()?).ok()?);
            room = room.checked_sub(len)?;
            let ids = bytes.get(at..at.checked_add(len)?)?;
            let mut ids = Fields::new(ids, self.big_endian);
            attr.ids = std::iter::from_fn(|| ids.u64()).collect();
            attrs.push(attr);
        }
        Some(attrs)
    }

    /// Records that describe the file itself, as a recording to a pipe has them.
    fn read_metadata(&mut self, warnings: &mut Warnings) {
        let mut records = Records::new(self.data, self.big_endian);
        let from_records = self.attrs.is_empty();
        let mut names: FxHashMap<u64, &[u8]> = FxHashMap::default();
        while let Ok(Some(record)) = records.next() {
            let mut fields = Fields::new(record.body, self.big_endian);
            match record.kind {
                record_type::HEADER_ATTR if from_records => match Attr::read(&mut fields) {
                    Some(mut attr) => {
                        attr.ids = std::iter::from_fn(|| fields.u64()).collect();
                        self.attrs.push(attr);
                    }
                    None => {
                        let at = (self.data_at + record.at) as u64;
                        warnings.add(WarningKind::HeaderUnreadable, SourceId(0), Some(at), "a description of an event");
                    }
                },
                record_type::HEADER_FEATURE => {
                    if let Some(bit) = fields.u64().and_then(|bit| u32::try_from(bit).ok()) {
                        self.features.entry(bit).or_insert(fields.rest());
                    }
                }
                record_type::HEADER_TRACING_DATA => {
                    let from = record.at + RECORD_HEADER_BYTES + record.body.len();
                    if let Some(data) = self.data.get(from..records.place()) {
                        self.features.entry(feature::TRACING_DATA).or_insert(data);
                    }
                }
                record_type::EVENT_UPDATE => {
                    // 2 is the name.
                    if let (Some(2), Some(id)) = (fields.u64(), fields.u64()) {
                        names.insert(id, fields.text());
                    }
                }
                _ => {}
            }
        }
        for attr in &mut self.attrs {
            if let Some(name) = attr.ids.iter().find_map(|id| names.get(id)) {
                attr.name = name.to_vec();
            }
        }
    }

    /// Inflates compressed records: together they are one stream, whose records need not end where they do.
    fn inflate(&mut self, limits: &Limits, warnings: &mut Warnings) -> Result<(), Refused> {
        let mut records = Records::new(self.data, self.big_endian);
        let mut pieces: Vec<&[u8]> = Vec::new();
        while let Ok(Some(record)) = records.next() {
            let mut fields = Fields::new(record.body, self.big_endian);
            match record.kind {
                record_type::COMPRESSED => pieces.push(record.body),
                record_type::COMPRESSED2 => {
                    let len = fields.u64().and_then(|len| usize::try_from(len).ok());
                    pieces.push(len.and_then(|len| fields.bytes(len)).unwrap_or_default());
                }
                _ => {}
            }
        }
        if pieces.is_empty() {
            return Ok(());
        }
        let compressed: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let by_ratio = FREE_INFLATED_BYTES.max(compressed.saturating_mul(limits.ratio));
        let most = limits.inflated_bytes.min(by_ratio);
        let stream = Pieces { pieces: pieces.into_iter(), current: &[] };
        let damaged = match zstd::stream::read::Decoder::new(stream) {
            // The recording may end within a frame: what came out of it is whole.
            Ok(decoder) => decoder.take(most.saturating_add(1)).read_to_end(&mut self.inflated).err(),
            Err(error) => Some(error),
        };
        if self.inflated.len() as u64 > most {
            let flag = match by_ratio < limits.inflated_bytes {
                true => format!("ratio={}", limits.ratio.saturating_mul(10)),
                false => format!("inflated={}", most.saturating_mul(4)),
            };
            return Err(Refused::Limit {
                what: "the size of its compressed records once inflated".to_owned(),
                limit: format!("{most} bytes"),
                flag,
            });
        }
        if let Some(error) = damaged.filter(|error| error.kind() != std::io::ErrorKind::UnexpectedEof) {
            let at = Some(self.data_at as u64);
            warnings.add(WarningKind::GzipDamaged, SourceId(0), at, &format!("zstd: {error}"));
        }
        Ok(())
    }
}

/// Slices as one stream.
struct Pieces<'a> {
    pieces: std::vec::IntoIter<&'a [u8]>,
    current: &'a [u8],
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            let Some(next) = self.pieces.next() else { return Ok(0) };
            self.current = next;
        }
        self.current.read(out)
    }
}

/// Descriptions with names and ids.
fn event_desc(bytes: &[u8], big_endian: bool) -> Option<Vec<Attr>> {
    let mut fields = Fields::new(bytes, big_endian);
    let (count, attr_bytes) = (fields.u32()?, fields.u32()? as usize);
    let mut attrs = Vec::new();
    for _ in 0..count {
        let mut attr = Attr::read(&mut fields.part(attr_bytes)?)?;
        let ids = fields.u32()?;
        let len = fields.u32()? as usize;
        attr.name = text(fields.bytes(len)?).to_vec();
        for _ in 0..ids {
            attr.ids.push(fields.u64()?);
        }
        attrs.push(attr);
    }
    (!attrs.is_empty()).then_some(attrs)
}

/// Strings of a feature: a length each, padded with zeros.
pub(super) fn feature_strings(bytes: &[u8], is_list: bool, big_endian: bool) -> Vec<String> {
    let mut fields = Fields::new(bytes, big_endian);
    let count = if is_list { fields.u32().unwrap_or(0) } else { 1 };
    let mut strings = Vec::new();
    for _ in 0..count {
        let Some(found) = fields.u32().and_then(|len| fields.bytes(len as usize)) else { break };
        strings.push(String::from_utf8_lossy(text(found)).into_owned());
    }
    strings
}

/// What the clock of the file reads in ns of Unix time when it reads 0, where the recorder wrote it down.
pub(super) fn clock_base_ns(bytes: &[u8], big_endian: bool) -> Option<i64> {
    let mut fields = Fields::new(bytes, big_endian);
    let (version, _clock) = (fields.u32()?, fields.u32()?);
    let (unix_ns, clock_ns) = (i64::try_from(fields.u64()?).ok()?, i64::try_from(fields.u64()?).ok()?);
    // A base that leaves no room for times is no base.
    let base = unix_ns.checked_sub(clock_ns)?;
    (version == 1 && base.unsigned_abs() < i64::MAX as u64 / 2).then_some(base)
}
