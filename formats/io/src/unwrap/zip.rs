//! The entries of a zip archive, from its directory, or from the entries themselves where that is missing.
//!
//! Nothing is copied: an entry is a range of compressed bytes. Every length in the file is taken for a claim.

use std::ops::Range;

use gapless_trace::{SourceId, WarningKind, Warnings};
use memchr::memmem;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END64: &[u8] = b"PK\x06\x06";
const LOCATOR64: &[u8] = b"PK\x06\x07";
const DESCRIPTOR: &[u8] = b"PK\x07\x08";

/// Length of the record that ends an archive and of its longest comment, in bytes.
const LONGEST_END: usize = 22 + 0xFFFF;

/// How an entry is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Stored,
    Deflate,
    Zstd,
}

/// A file in the archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ZipEntry {
    /// Name as it is stored.
    pub name: Vec<u8>,
    /// Where its header begins.
    pub header: usize,
    /// Where its compressed bytes lie.
    pub data: Range<usize>,
    /// How they are compressed; what stands in the way of reading them otherwise.
    pub method: Result<Method, String>,
    /// CRC-32 of the contents; `None` where the archive does not say it.
    pub crc: Option<u32>,
    /// Bytes of the contents, as claimed.
    pub size: u64,
    /// Whether it is a link to another file.
    pub is_link: bool,
}

/// Why the archive cannot be listed.
#[derive(Debug)]
pub(super) enum Unlisted<E> {
    /// It lies about itself: where and how.
    Format(u64, String),
    /// The caller's own reason.
    Stopped(E),
}

/// Whether `bytes` begins like a zip archive.
pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(LOCAL) || bytes.starts_with(END)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Lists the files of `bytes`. `count` is called for every entry and may end the walk.
///
/// # Errors
/// Whatever `count` says; when entries overlap.
pub(super) fn list<E>(
    bytes: &[u8],
    warnings: &mut Warnings,
    mut count: impl FnMut() -> Result<(), E>,
) -> Result<Vec<ZipEntry>, Unlisted<E>> {
    let mut damage = |at: usize, what: &str| {
        warnings.add(WarningKind::ArchiveDamaged, SourceId(0), Some(at as u64), what);
    };
    let (mut entries, directory) = match directory(bytes) {
        Some((at, told)) => {
            let (entries, end) = from_directory(bytes, at, &mut count).map_err(Unlisted::Stopped)?;
            if entries.len() as u64 != told {
                damage(end, &format!("the zip archive's directory has {} entries, not {told}", entries.len()));
            }
            (entries, at)
        }
        None => (Vec::new(), bytes.len()),
    };
    let has_none = entries.is_empty() && bytes.starts_with(LOCAL);
    if has_none {
        damage(bytes.len(), "the zip archive's directory is missing; its entries were looked for");
        entries = from_entries(bytes, &mut count).map_err(Unlisted::Stopped)?;
    }
    let end = if has_none { bytes.len() } else { directory };
    entries.sort_by_key(|entry| entry.header);
    let ends = entries.iter().skip(1).map(|next| next.header).chain([end]);
    for (entry, next) in entries.iter().zip(ends) {
        if entry.method.is_ok() && entry.data.end > next {
            let reason = "entries of the zip archive overlap, as in archives made to fill memory".to_owned();
            return Err(Unlisted::Format(entry.header as u64, reason));
        }
    }
    Ok(entries)
}

/// Where the directory begins and how many entries it claims to have.
fn directory(bytes: &[u8]) -> Option<(usize, u64)> {
    let low = bytes.len().saturating_sub(LONGEST_END);
    // The comment behind the record may hold what looks like another one.
    memmem::rfind_iter(bytes.get(low..)?, END).find_map(|at| directory_before(bytes, low + at))
}

/// The same by the record at `end`.
fn directory_before(bytes: &[u8], end: usize) -> Option<(usize, u64)> {
    let (mut told, mut at) = (u64::from(u16_at(bytes, end + 10)?), u64::from(u32_at(bytes, end + 16)?));
    let size = u64::from(u32_at(bytes, end + 12)?);
    let locator = end.checked_sub(20).filter(|&at| bytes.get(at..).is_some_and(|rest| rest.starts_with(LOCATOR64)));
    if let Some(locator) = locator
        && let Some(wide) = u64_at(bytes, locator + 8).and_then(|at| usize::try_from(at).ok())
        && bytes.get(wide..).is_some_and(|rest| rest.starts_with(END64))
    {
        told = u64_at(bytes, wide.checked_add(32)?)?;
        at = u64_at(bytes, wide.checked_add(48)?)?;
    }
    let begins = |at: u64| {
        let at = usize::try_from(at).ok()?;
        (at <= end && bytes.get(at..)?.starts_with(if told == 0 { END } else { CENTRAL })).then_some(at)
    };
    // Where the offset is wrong, the size of the directory may be right.
    let found = begins(at).or_else(|| begins((end as u64).checked_sub(size)?))?;
    Some((found, told))
}

/// Walks the directory at `at`; gives the entries and where the walk ended.
fn from_directory<E>(
    bytes: &[u8],
    mut at: usize,
    count: &mut impl FnMut() -> Result<(), E>,
) -> Result<(Vec<ZipEntry>, usize), E> {
    let mut entries = Vec::new();
    while let Some(record) = bytes.get(at..).filter(|rest| rest.starts_with(CENTRAL)) {
        let Some((entry, length)) = central(bytes, record) else { break };
        count()?;
        entries.push(entry);
        at += length;
    }
    Ok((entries, at))
}

/// The entry that a record of the directory describes, and the record's length.
fn central(bytes: &[u8], record: &[u8]) -> Option<(ZipEntry, usize)> {
    let name_length = usize::from(u16_at(record, 28)?);
    let extra_length = usize::from(u16_at(record, 30)?);
    let length = 46 + name_length + extra_length + usize::from(u16_at(record, 32)?);
    let name = record.get(46..46 + name_length)?;
    let mut wide = Wide::of(record.get(46 + name_length..46 + name_length + extra_length)?);
    let size = wide.or_narrow(u32_at(record, 24)?);
    let packed = wide.or_narrow(u32_at(record, 20)?);
    let header = wide.or_narrow(u32_at(record, 42)?);
    // The upper half of the attributes is the file's mode, if the archive was made on Unix.
    let mode = u32_at(record, 38)? >> 16;
    let is_unix = record.get(5) == Some(&3);
    let is_link = is_unix && mode & 0o170_000 == 0o120_000;
    let mut entry = ZipEntry {
        name: name.to_vec(),
        header: usize::try_from(header).unwrap_or(usize::MAX),
        data: 0..0,
        method: method_of(u16_at(record, 8)?, u16_at(record, 10)?),
        crc: u32_at(record, 16),
        size,
        is_link,
    };
    match place(bytes, entry.header, packed) {
        Some(data) => entry.data = data,
        None => entry.method = Err("its bytes do not lie in the archive".to_owned()),
    }
    Some((entry, length))
}

/// Where the compressed bytes lie of the entry whose own header is at `header`.
fn place(bytes: &[u8], header: usize, packed: u64) -> Option<Range<usize>> {
    let local = bytes.get(header..).filter(|rest| rest.starts_with(LOCAL))?;
    let from = header + 30 + usize::from(u16_at(local, 26)?) + usize::from(u16_at(local, 28)?);
    let end = from.checked_add(usize::try_from(packed).ok()?)?;
    (end <= bytes.len()).then_some(from..end)
}

fn method_of(flags: u16, method: u16) -> Result<Method, String> {
    if flags & 1 != 0 {
        return Err("it is encrypted".to_owned());
    }
    match method {
        0 => Ok(Method::Stored),
        8 => Ok(Method::Deflate),
        20 | 93 => Ok(Method::Zstd),
        other => {
            let name = match other {
                9 => " (Deflate64)",
                12 => " (bzip2)",
                14 => " (LZMA)",
                95 => " (xz)",
                98 => " (PPMd)",
                _ => "",
            };
            Err(format!("compression method {other}{name} is not read; use deflate or zstd"))
        }
    }
}

/// Numbers of the extra field that stand in for those that do not fit 32 bits, in order.
struct Wide<'a>(&'a [u8]);

impl<'a> Wide<'a> {
    fn of(mut extra: &'a [u8]) -> Self {
        while let (Some(id), Some(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
            let end = 4 + usize::from(length);
            if id == 1 {
                return Self(extra.get(4..end).unwrap_or_default());
            }
            extra = extra.get(end..).unwrap_or_default();
        }
        Self(&[])
    }

    /// `narrow`, unless it says that the number stands here.
    fn or_narrow(&mut self, narrow: u32) -> u64 {
        match u64_at(self.0, 0) {
            Some(wide) if narrow == u32::MAX => {
                self.0 = self.0.get(8..).unwrap_or_default();
                wide
            }
            _ => u64::from(narrow),
        }
    }
}

/// Looks for entries where there is no directory: the archive was cut off, or is being written.
fn from_entries<E>(bytes: &[u8], count: &mut impl FnMut() -> Result<(), E>) -> Result<Vec<ZipEntry>, E> {
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some(entry) = local(bytes, at) {
        count()?;
        let end = entry.data.end;
        entries.push(entry);
        let rest = bytes.get(end..).unwrap_or_default();
        match memmem::find(rest, LOCAL) {
            Some(next) => at = end + next,
            None => break,
        }
    }
    Ok(entries)
}

fn local(bytes: &[u8], at: usize) -> Option<ZipEntry> {
    let record = bytes.get(at..).filter(|rest| rest.starts_with(LOCAL))?;
    let flags = u16_at(record, 6)?;
    let name_length = usize::from(u16_at(record, 26)?);
    let extra_length = usize::from(u16_at(record, 28)?);
    let name = record.get(30..30 + name_length)?;
    let mut wide = Wide::of(record.get(30 + name_length..30 + name_length + extra_length)?);
    let mut size = wide.or_narrow(u32_at(record, 22)?);
    let mut packed = wide.or_narrow(u32_at(record, 18)?);
    let mut crc = u32_at(record, 14);
    let from = at + 30 + name_length + extra_length;
    let rest = bytes.get(from..)?;
    if flags & 8 != 0 && packed == 0 {
        // Sizes and sum follow the contents.
        (packed, size, crc) = match descriptor(rest) {
            Some((at, sum, size)) => (at as u64, size, Some(sum)),
            None => (rest.len() as u64, 0, None),
        };
    }
    let end = from.saturating_add(usize::try_from(packed).unwrap_or(usize::MAX)).min(bytes.len());
    Some(ZipEntry {
        name: name.to_vec(),
        header: at,
        data: from..end,
        method: method_of(flags, u16_at(record, 8)?),
        crc,
        size,
        is_link: false,
    })
}

/// The record behind contents of unknown length: where it begins, the sum and the size that it tells. It is known by
/// telling how far away it is.
fn descriptor(rest: &[u8]) -> Option<(usize, u32, u64)> {
    memmem::find_iter(rest, DESCRIPTOR).find_map(|at| {
        let sum = u32_at(rest, at + 4)?;
        if u64_at(rest, at + 8) == Some(at as u64) {
            return Some((at, sum, u64_at(rest, at + 16)?));
        }
        (u64::from(u32_at(rest, at + 8)?) == at as u64).then_some((at, sum, u64::from(u32_at(rest, at + 12)?)))
    })
}
