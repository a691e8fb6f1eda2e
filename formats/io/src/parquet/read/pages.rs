//! The pages of a column chunk: headers, decompression, levels, values.

use std::io::Read;

use rustc_hash::FxHashMap;

use super::bits::{hybrid, length};
use super::footer::{Chunk, FooterColumn, Group, Physical};
use super::thrift::{Value, read_struct};
use super::{Budget, Data, Failure};

/// Values of a column in a group of rows.
pub(super) struct ChunkValues {
    pub data: Data,
    /// Which rows have no value; empty where all have one.
    pub absent: Vec<bool>,
}

/// Values under way.
enum Decoded {
    Int(Vec<i64>),
    Float(Vec<f64>),
    Text(Texts),
}

/// Distinct texts and codes.
#[derive(Default)]
struct Texts {
    texts: Vec<String>,
    codes: Vec<u32>,
    index: FxHashMap<Vec<u8>, u32>,
}

impl Texts {
    fn code(&mut self, bytes: &[u8]) -> u32 {
        if let Some(&code) = self.index.get(bytes) {
            return code;
        }
        let code = self.texts.len() as u32;
        self.texts.push(String::from_utf8_lossy(bytes).into_owned());
        self.index.insert(bytes.to_vec(), code);
        code
    }
}

/// Reads a column of a group of rows.
pub(super) fn read_chunk(
    bytes: &[u8],
    column: &FooterColumn,
    group: &Group,
    budget: &mut Budget,
) -> Result<ChunkValues, Failure> {
    let missing = || Failure::Damaged(0, "it is not among the columns of a group of rows".to_owned());
    let chunk = group.chunks.iter().find(|chunk| chunk.column == column.name).ok_or_else(missing)?;
    let rows = group.rows;
    if chunk.values != rows {
        return Err(Failure::Damaged(chunk.offset, format!("it has {} values for {rows} rows", chunk.values)));
    }
    // Before anything is allocated: 8 bytes a value, one a row, and the codes on the way.
    budget.spend(rows.saturating_mul(16))?;
    let mut reader = ChunkReader { column, chunk, budget, rows: rows as usize, absent: Vec::new(), dictionary: None };
    let mut out = match column.physical {
        Physical::Bool | Physical::Int32 | Physical::Int64 => Decoded::Int(Vec::new()),
        Physical::Float | Physical::Double => Decoded::Float(Vec::new()),
        Physical::Bytes | Physical::Other => Decoded::Text(Texts::default()),
    };
    let (from, to) = (chunk.offset as usize, chunk.offset.saturating_add(chunk.bytes) as usize);
    let mut rest = bytes.get(from..to).unwrap_or_default();
    while !rest.is_empty() && reader.len(&out) < reader.rows {
        let offset = chunk.offset + (to - from - rest.len()) as u64;
        let damaged = |reason: &str| Failure::Damaged(offset, reason.to_owned());
        let (header, header_len) = read_struct(rest).ok_or_else(|| damaged("a page has no header"))?;
        let size = |field| header.int(field).and_then(|size| usize::try_from(size).ok());
        let (Some(plain_len), Some(packed_len)) = (size(2), size(3)) else {
            return Err(damaged("a page has no size"));
        };
        let body = header_len.checked_add(packed_len).and_then(|end| rest.get(header_len..end));
        let body = body.ok_or_else(|| damaged("a page ends after its column"))?;
        rest = rest.get(header_len + packed_len..).unwrap_or_default();
        reader.page(&header, body, plain_len, &mut out).map_err(|failure| match failure {
            PageFailure::Damaged(reason) => Failure::Damaged(offset, reason),
            PageFailure::Failure(failure) => failure,
        })?;
    }
    if reader.len(&out) != reader.rows {
        return Err(Failure::Damaged(chunk.offset, format!("its pages hold {} of {rows} rows", reader.len(&out))));
    }
    let absent = reader.absent;
    let data = match out {
        Decoded::Int(values) => Data::Int(values),
        Decoded::Float(values) => Data::Float(values),
        Decoded::Text(texts) => Data::Text { texts: texts.texts, codes: texts.codes },
    };
    Ok(ChunkValues { data, absent })
}

enum PageFailure {
    Damaged(String),
    Failure(Failure),
}

impl From<crate::error::Refused> for PageFailure {
    fn from(refused: crate::error::Refused) -> Self {
        Self::Failure(Failure::Refused(refused))
    }
}

fn damaged<T>(reason: impl Into<String>) -> Result<T, PageFailure> {
    Err(PageFailure::Damaged(reason.into()))
}

struct ChunkReader<'a, 'b> {
    column: &'a FooterColumn,
    chunk: &'a Chunk,
    budget: &'b mut Budget,
    rows: usize,
    absent: Vec<bool>,
    dictionary: Option<Dictionary>,
}

/// Distinct values that codes point to.
enum Dictionary {
    Int(Vec<i64>),
    Float(Vec<f64>),
    /// Codes of the texts under way.
    Text(Vec<u32>),
}

impl ChunkReader<'_, '_> {
    fn len(&self, out: &Decoded) -> usize {
        match out {
            Decoded::Int(values) => values.len(),
            Decoded::Float(values) => values.len(),
            Decoded::Text(texts) => texts.codes.len(),
        }
    }

    fn page(
        &mut self,
        header: &Value<'_>,
        body: &[u8],
        plain_len: usize,
        out: &mut Decoded,
    ) -> Result<(), PageFailure> {
        let count = |of: Option<&Value<'_>>, field| {
            of.and_then(|of| of.int(field)).and_then(|count| usize::try_from(count).ok())
        };
        match header.int(1) {
            Some(0) => {
                let page = header.field(5);
                let (Some(values), Some(encoding)) = (count(page, 1), page.and_then(|page| page.int(2))) else {
                    return damaged("a page does not say how many values it has");
                };
                let plain = self.unpack(body, plain_len)?;
                let mut rest = plain.as_slice();
                let mut levels = None;
                if self.column.is_optional {
                    if page.and_then(|page| page.int(3)) != Some(3) {
                        return damaged("the page says in an unknown way which values are missing");
                    }
                    let Some((len, after)) = length(rest) else { return damaged("a page is cut") };
                    let Some((bytes, after)) = after.split_at_checked(len) else { return damaged("a page is cut") };
                    levels = Some(bytes);
                    rest = after;
                }
                self.data(values, encoding, levels, rest, out)
            }
            Some(3) => {
                let page = header.field(8);
                let (Some(values), Some(encoding)) = (count(page, 1), page.and_then(|page| page.int(4))) else {
                    return damaged("a page does not say how many values it has");
                };
                let (Some(def_len), Some(rep_len)) = (count(page, 5), count(page, 6)) else {
                    return damaged("a page does not say which values are missing");
                };
                let Some((_, after)) = body.split_at_checked(rep_len) else { return damaged("a page is cut") };
                let Some((levels, packed)) = after.split_at_checked(def_len) else { return damaged("a page is cut") };
                let levels_len = rep_len.saturating_add(def_len);
                let is_packed = page.and_then(|page| page.bool(7)).unwrap_or(true);
                let plain = if is_packed {
                    self.unpack(packed, plain_len.saturating_sub(levels_len))?
                } else {
                    packed.to_vec()
                };
                self.data(values, encoding, self.column.is_optional.then_some(levels), &plain, out)
            }
            Some(2) => {
                let page = header.field(7);
                let Some(values) = count(page, 1) else { return damaged("a dictionary does not say its size") };
                if !matches!(page.and_then(|page| page.int(2)), Some(0 | 2)) {
                    return damaged("a dictionary is in an unknown encoding");
                }
                let plain = self.unpack(body, plain_len)?;
                self.dictionary = Some(self.read_dictionary(values, &plain, out)?);
                Ok(())
            }
            // An index is of no use here.
            Some(1) => Ok(()),
            _ => damaged("a page of an unknown kind"),
        }
    }

    /// Takes the compression off a page.
    fn unpack(&mut self, packed: &[u8], plain_len: usize) -> Result<Vec<u8>, PageFailure> {
        self.budget.spend(plain_len as u64)?;
        let plain = match self.chunk.codec {
            0 => packed.to_vec(),
            1 => {
                // The length stands in the bytes too; one that lies must not be believed.
                if snap::raw::decompress_len(packed).ok() != Some(plain_len) {
                    return damaged("a page is not as long as it says");
                }
                match snap::raw::Decoder::new().decompress_vec(packed) {
                    Ok(plain) => plain,
                    Err(error) => return damaged(format!("a page cannot be decompressed: {error}")),
                }
            }
            2 => {
                let mut plain = Vec::new();
                let limit = plain_len as u64 + 1;
                if let Err(error) = flate2::bufread::MultiGzDecoder::new(packed).take(limit).read_to_end(&mut plain) {
                    return damaged(format!("a page cannot be decompressed: {error}"));
                }
                plain
            }
            6 => match zstd::bulk::decompress(packed, plain_len) {
                Ok(plain) => plain,
                Err(error) => return damaged(format!("a page cannot be decompressed: {error}")),
            },
            other => {
                let name = match other {
                    3 => "LZO",
                    4 => "Brotli",
                    5 | 7 => "LZ4",
                    _ => "an unknown codec",
                };
                return damaged(format!(
                    "it is compressed with {name}; write the table again with Zstandard, Snappy, gzip or none"
                ));
            }
        };
        if plain.len() != plain_len {
            return damaged("a page is not as long as it says");
        }
        Ok(plain)
    }

    fn read_dictionary(&mut self, values: usize, plain: &[u8], out: &mut Decoded) -> Result<Dictionary, PageFailure> {
        // Each takes at least a bit of the page.
        if values > plain.len().saturating_mul(8) {
            return damaged("a dictionary has more values than bytes");
        }
        self.budget.spend(values as u64 * 8)?;
        let cut = || PageFailure::Damaged("a dictionary is cut".to_owned());
        Ok(match out {
            Decoded::Int(_) => Dictionary::Int(self.plain_ints(plain, values).ok_or_else(cut)?),
            Decoded::Float(_) => Dictionary::Float(self.plain_floats(plain, values).ok_or_else(cut)?),
            Decoded::Text(texts) => Dictionary::Text(plain_texts(plain, values, texts).ok_or_else(cut)?),
        })
    }

    /// The values of a data page.
    fn data(
        &mut self,
        values: usize,
        encoding: i64,
        levels: Option<&[u8]>,
        plain: &[u8],
        out: &mut Decoded,
    ) -> Result<(), PageFailure> {
        let before = self.len(out);
        if values > self.rows - before {
            return damaged("a page has more values than its group has rows");
        }
        let mut there = Vec::new();
        if let Some(levels) = levels {
            let Some(levels) = hybrid(levels, 1, values) else { return damaged("a page is cut") };
            there = levels;
        }
        let present = if levels.is_some() { there.iter().filter(|&&level| level == 1).count() } else { values };
        let cut = || PageFailure::Damaged("a page is cut".to_owned());
        let mut found = match encoding {
            0 => match out {
                Decoded::Int(_) => Dictionary::Int(self.plain_ints(plain, present).ok_or_else(cut)?),
                Decoded::Float(_) => Dictionary::Float(self.plain_floats(plain, present).ok_or_else(cut)?),
                Decoded::Text(texts) => Dictionary::Text(plain_texts(plain, present, texts).ok_or_else(cut)?),
            },
            2 | 8 => self.coded(plain, present)?,
            3 if self.column.physical == Physical::Bool => {
                let bits = length(plain).and_then(|(_, bits)| hybrid(bits, 1, present)).ok_or_else(cut)?;
                Dictionary::Int(bits.into_iter().map(i64::from).collect())
            }
            other => {
                let name = match other {
                    5 => "DELTA_BINARY_PACKED",
                    6 => "DELTA_LENGTH_BYTE_ARRAY",
                    7 => "DELTA_BYTE_ARRAY",
                    9 => "BYTE_STREAM_SPLIT",
                    _ => "an unknown one",
                };
                return damaged(format!(
                    "its encoding is {name}; write the table again with plain or dictionary encoding"
                ));
            }
        };
        if present < values {
            found = spread(found, &there);
            self.absent.resize(before, false);
            self.absent.extend(there.iter().map(|&level| level != 1));
        } else if !self.absent.is_empty() {
            self.absent.resize(before + values, false);
        }
        match (out, found) {
            (Decoded::Int(values), Dictionary::Int(found)) => values.extend(found),
            (Decoded::Float(values), Dictionary::Float(found)) => values.extend(found),
            (Decoded::Text(texts), Dictionary::Text(found)) => texts.codes.extend(found),
            _ => return damaged("a dictionary of another type"),
        }
        Ok(())
    }

    /// Values by their place in the dictionary.
    fn coded(&self, plain: &[u8], present: usize) -> Result<Dictionary, PageFailure> {
        let Some(dictionary) = &self.dictionary else { return damaged("a page without its dictionary") };
        let codes = match plain.split_first() {
            Some((&width, codes)) => hybrid(codes, u32::from(width), present),
            None => (present == 0).then(Vec::new),
        };
        let Some(codes) = codes else { return damaged("a page is cut") };
        let outside = || PageFailure::Damaged("a value is outside its dictionary".to_owned());
        fn pick<T: Copy>(values: &[T], codes: &[u32]) -> Option<Vec<T>> {
            codes.iter().map(|&code| values.get(code as usize).copied()).collect()
        }
        Ok(match dictionary {
            Dictionary::Int(values) => Dictionary::Int(pick(values, &codes).ok_or_else(outside)?),
            Dictionary::Float(values) => Dictionary::Float(pick(values, &codes).ok_or_else(outside)?),
            Dictionary::Text(values) => Dictionary::Text(pick(values, &codes).ok_or_else(outside)?),
        })
    }

    fn plain_ints(&self, plain: &[u8], count: usize) -> Option<Vec<i64>> {
        let is_unsigned = self.column.is_unsigned;
        match self.column.physical {
            Physical::Bool => {
                let bytes = plain.get(..count.div_ceil(8))?;
                Some((0..count).map(|i| i64::from(bytes.get(i / 8).copied().unwrap_or(0) >> (i % 8) & 1)).collect())
            }
            Physical::Int32 => numbers(plain, count, |bytes| {
                let value = i32::from_le_bytes(bytes);
                if is_unsigned { i64::from(value as u32) } else { i64::from(value) }
            }),
            _ => numbers(plain, count, |bytes| {
                let value = i64::from_le_bytes(bytes);
                if is_unsigned && value < 0 { i64::MAX } else { value }
            }),
        }
    }

    fn plain_floats(&self, plain: &[u8], count: usize) -> Option<Vec<f64>> {
        match self.column.physical {
            Physical::Float => numbers(plain, count, |bytes| f64::from(f32::from_le_bytes(bytes))),
            _ => numbers(plain, count, f64::from_le_bytes),
        }
    }
}

fn numbers<const N: usize, T>(plain: &[u8], count: usize, value: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    let bytes = plain.get(..count.checked_mul(N)?)?;
    Some(bytes.as_chunks::<N>().0.iter().map(|&bytes| value(bytes)).collect())
}

/// Texts with their lengths before them, as codes.
fn plain_texts(plain: &[u8], count: usize, texts: &mut Texts) -> Option<Vec<u32>> {
    let mut rest = plain;
    let mut codes = Vec::with_capacity(count.min(plain.len() / 4));
    for _ in 0..count {
        let (len, after) = length(rest)?;
        let (text, after) = after.split_at_checked(len)?;
        codes.push(texts.code(text));
        rest = after;
    }
    Some(codes)
}

/// Values at the rows that have one.
fn spread(values: Dictionary, levels: &[u32]) -> Dictionary {
    fn rows<T: Copy + Default>(values: Vec<T>, levels: &[u32]) -> Vec<T> {
        let mut values = values.into_iter();
        levels.iter().map(|&level| if level == 1 { values.next().unwrap_or_default() } else { T::default() }).collect()
    }
    match values {
        Dictionary::Int(values) => Dictionary::Int(rows(values, levels)),
        Dictionary::Float(values) => Dictionary::Float(rows(values, levels)),
        Dictionary::Text(values) => Dictionary::Text(rows(values, levels)),
    }
}
