//! The entries of a tar archive: ustar, with the long names of GNU and of pax. Nothing is copied: an entry is a range.

use std::ops::Range;

use gapless_trace::{SourceId, WarningKind, Warnings};

/// Size of a header, and what contents are padded to, in bytes.
const BLOCK: usize = 512;
/// Longest name or pax header that is read, in bytes; what lies beyond is left out.
const LONGEST_EXTRA: usize = 1 << 20;

/// A file in the archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TarEntry {
    /// Name as it is stored.
    pub name: Vec<u8>,
    /// Where its bytes lie.
    pub data: Range<usize>,
}

/// Whether `bytes` begins with the header of a tar archive.
pub(super) fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(..BLOCK).is_some_and(is_header)
}

/// Whether the sum in `block` is that of its bytes, with blanks in the place of the sum itself.
fn is_header(block: &[u8]) -> bool {
    let Some(told) = block.get(148..156).and_then(number) else { return false };
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    let own: u64 = block.get(148..156).unwrap_or_default().iter().map(|&byte| u64::from(byte)).sum();
    // A block of zeros has a sum too, but no name.
    block.first() != Some(&0) && sum - own + 8 * u64::from(b' ') == told
}

/// A number in a header: octal digits, or two's complement with the highest bit set where those do not suffice.
fn number(field: &[u8]) -> Option<u64> {
    if field.first()? & 0x80 != 0 {
        let first = u64::from(field.first()? & 0x7F);
        // Bits that are shifted out must be zero: a larger number is none.
        return field.get(1..)?.iter().try_fold(first, |value, &byte| Some(value.checked_mul(256)? | u64::from(byte)));
    }
    let digits = field.iter().skip_while(|&&byte| byte == b' ').take_while(|byte| (b'0'..=b'7').contains(byte));
    let mut any = false;
    let value = digits.fold(0u64, |value, &digit| {
        any = true;
        value.wrapping_mul(8).wrapping_add(u64::from(digit - b'0'))
    });
    any.then_some(value)
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// What a pax header says about the next entry.
#[derive(Default)]
struct Extra {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

impl Extra {
    /// Reads records `length key=value\n`.
    fn read_pax(&mut self, mut records: &[u8]) {
        while let Some(space) = records.iter().position(|&byte| byte == b' ') {
            let length = records.get(..space).and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok());
            let Some(length) = length.filter(|&length| length > space + 1) else { return };
            let Some(record) = records.get(space + 1..length) else { return };
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            if let Some(equals) = record.iter().position(|&byte| byte == b'=') {
                let value = record.get(equals + 1..).unwrap_or_default();
                match record.get(..equals).unwrap_or_default() {
                    b"path" => self.name = Some(value.to_vec()),
                    b"size" => self.size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
                    key => self.is_sparse |= key.starts_with(b"GNU.sparse"),
                }
            }
            records = records.get(length..).unwrap_or_default();
        }
    }
}

/// Lists the files of `bytes`. `count` is called for every entry, whatever it is, and may end the walk.
///
/// # Errors
/// Whatever `count` says.
pub(super) fn list<E>(
    bytes: &[u8],
    warnings: &mut Warnings,
    mut count: impl FnMut() -> Result<(), E>,
) -> Result<Vec<TarEntry>, E> {
    let mut entries = Vec::new();
    let mut extra = Extra::default();
    let mut at = 0usize;
    let damage = |warnings: &mut Warnings, at: usize, what: &str| {
        warnings.add(WarningKind::ArchiveDamaged, SourceId(0), Some(at as u64), what);
    };
    let mut is_lost = false;
    loop {
        let Some(block) = bytes.get(at..at + BLOCK) else {
            // A whole archive ends with blocks of zeros.
            damage(warnings, at.min(bytes.len()), "the tar archive is cut off");
            return Ok(entries);
        };
        if block.iter().all(|&byte| byte == 0) {
            return Ok(entries);
        }
        if !is_header(block) {
            if !is_lost {
                damage(warnings, at, "a header of the tar archive is damaged");
            }
            is_lost = true;
            extra = Extra::default();
            at += BLOCK;
            continue;
        }
        is_lost = false;
        let field = |range: Range<usize>| block.get(range).unwrap_or_default();
        let told = extra.size.or_else(|| number(field(124..136)));
        let kind = field(156..157).first().copied().unwrap_or_default();
        let from = at + BLOCK;
        // Links and devices have no contents, whatever they say.
        let has_data = !matches!(kind, b'1'..=b'6');
        let size = if has_data { told.and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX) } else { 0 };
        let end = from.saturating_add(size);
        let data = from.min(bytes.len())..end.min(bytes.len());
        let is_cut = end > bytes.len();
        at = end.checked_next_multiple_of(BLOCK).unwrap_or(usize::MAX).min(bytes.len().next_multiple_of(BLOCK));
        let contents = || {
            let contents = bytes.get(data.clone()).unwrap_or_default();
            contents.get(..LONGEST_EXTRA).unwrap_or(contents)
        };
        match kind {
            b'L' => extra.name = Some(until_zero(contents()).to_vec()),
            b'x' => extra.read_pax(contents()),
            // Long names of links, and what holds for all entries: nothing that is needed.
            b'K' | b'g' => {}
            _ => {
                count()?;
                let extra = std::mem::take(&mut extra);
                let name = extra.name.unwrap_or_else(|| short_name(block));
                match kind {
                    b'0' | 0 | b'7' if !extra.is_sparse => entries.push(TarEntry { name, data: data.clone() }),
                    b'5' => {}
                    b'0' | 0 | b'7' | b'S' => {
                        let detail = format!("{}: a sparse file", super::label::clean(&name));
                        warnings.add(WarningKind::EntryUnreadable, SourceId(0), Some(from as u64), &detail);
                    }
                    _ => {
                        let what = if matches!(kind, b'1' | b'2') { "a link" } else { "no file" };
                        let detail = format!("{}: {what}", super::label::clean(&name));
                        warnings.add(WarningKind::EntrySkipped, SourceId(0), Some(from as u64), &detail);
                    }
                }
            }
        }
        if is_cut {
            damage(warnings, bytes.len(), "the tar archive is cut off inside an entry");
            return Ok(entries);
        }
    }
}

fn short_name(block: &[u8]) -> Vec<u8> {
    let name = until_zero(block.get(..100).unwrap_or_default());
    let is_ustar = block.get(257..262) == Some(b"ustar");
    // GNU's own layout uses the place of the prefix for times.
    let has_prefix = is_ustar && block.get(262) == Some(&0);
    match until_zero(block.get(345..500).unwrap_or_default()) {
        prefix if has_prefix && !prefix.is_empty() => [prefix, b"/", name].concat(),
        _ => name.to_vec(),
    }
}
