//! A column of a group of rows as the bytes of a Parquet column chunk.
//!
//! Whole numbers are written as differences and plain numbers as they are, by the library's own column writer. Columns
//! with few distinct values are coded here: names are interned in the model already, so that a code costs a look into
//! a table where the library would hash and compare the text of every row.

use std::sync::Arc;

use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::column::page::{CompressedPage, Page, PageWriter};
use ::parquet::column::writer::{ColumnCloseResult, ColumnWriter, get_column_writer};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use ::parquet::file::statistics::Statistics;
use ::parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use ::parquet::schema::types::ColumnDescPtr;
use bytes::Bytes;

use super::columns::{ABSENT, Entries, Values};
use super::hybrid;

/// Higher levels gain a few per cent for twice the time.
const ZSTD_LEVEL: i32 = 1;
/// Rows of a page. Readers decode page by page.
const PAGE_ROWS: usize = 1 << 17;
/// Bytes of a page of texts that are not coded, beyond which the next one begins.
const PAGE_BYTES: usize = 1 << 20;
/// Bytes of distinct texts beyond which a column is not coded.
const MOST_DICTIONARY_BYTES: usize = 64 << 20;

/// The bytes of a column chunk, and what the file's footer says of it.
pub(super) struct Encoded {
    pub bytes: Bytes,
    pub close: ColumnCloseResult,
}

/// How the library writes whole numbers and plain numbers.
pub(super) struct Properties {
    whole: WriterPropertiesPtr,
    plain: WriterPropertiesPtr,
}

impl Properties {
    pub fn new() -> Result<Self, ParquetError> {
        let common = |encoding| -> Result<WriterPropertiesPtr, ParquetError> {
            let properties = WriterProperties::builder()
                .set_created_by(concat!("gapless ", env!("CARGO_PKG_VERSION")).to_owned())
                .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
                .set_dictionary_enabled(false)
                .set_encoding(encoding)
                .set_statistics_enabled(EnabledStatistics::Chunk)
                .set_offset_index_disabled(true)
                .set_data_page_row_count_limit(PAGE_ROWS)
                .set_write_batch_size(PAGE_ROWS)
                .build();
            Ok(Arc::new(properties))
        };
        Ok(Self { whole: common(Encoding::DELTA_BINARY_PACKED)?, plain: common(Encoding::PLAIN)? })
    }

    /// Those of the file.
    pub fn of_file(&self) -> WriterPropertiesPtr {
        Arc::clone(&self.whole)
    }
}

/// Encodes `values` as the column `description`.
pub(super) fn encode(
    values: &Values<'_>,
    description: &ColumnDescPtr,
    properties: &Properties,
) -> Result<Encoded, ParquetError> {
    match values {
        Values::Int64 { values, levels: Some(levels) } if values.is_empty() => {
            let mut chunk = Chunk::new(description)?;
            for rows in levels.chunks(PAGE_ROWS) {
                chunk.data_page(rows.len(), &vec![false; rows.len()], Encoding::PLAIN, &[])?;
            }
            chunk.finish(levels.len(), None)
        }
        Values::Int64 { values, levels } => by_library(description, &properties.whole, |writer| match writer {
            ColumnWriter::Int64ColumnWriter(writer) => writer.write_batch(values, levels.as_deref(), None),
            _ => Err(ParquetError::General("whole numbers in a column of another type".to_owned())),
        }),
        Values::Double(values) => by_library(description, &properties.plain, |writer| match writer {
            ColumnWriter::DoubleColumnWriter(writer) => writer.write_batch(values, None, None),
            _ => Err(ParquetError::General("plain numbers in a column of another type".to_owned())),
        }),
        Values::Coded { entries: Entries::Text(entries), codes }
            if entries.iter().map(|text| text.len() + 4).sum::<usize>() > MOST_DICTIONARY_BYTES =>
        {
            let text = |&code: &u32| entries.get(code as usize).copied();
            plain_texts(&codes.iter().map(text).collect::<Vec<_>>(), description)
        }
        Values::Coded { entries, codes } => coded(entries, codes, description),
        Values::Texts(texts) => plain_texts(texts, description),
    }
}

/// Lets the library write the column.
fn by_library(
    description: &ColumnDescPtr,
    properties: &WriterPropertiesPtr,
    write: impl FnOnce(&mut ColumnWriter<'_>) -> Result<usize, ParquetError>,
) -> Result<Encoded, ParquetError> {
    let mut sink = TrackedWrite::new(Vec::new());
    let pages = Box::new(SerializedPageWriter::new(&mut sink));
    let mut writer = get_column_writer(Arc::clone(description), Arc::clone(properties), pages);
    write(&mut writer)?;
    let close = writer.close()?;
    Ok(Encoded { bytes: Bytes::from(sink.into_inner()?), close })
}

/// Codes and the dictionary that they point into.
fn coded(entries: &Entries<'_>, codes: &[u32], description: &ColumnDescPtr) -> Result<Encoded, ParquetError> {
    let mut chunk = Chunk::new(description)?;
    let count = match entries {
        Entries::Text(entries) => entries.len(),
        Entries::Int32(entries) => entries.len(),
        Entries::Int64(entries) => entries.len(),
    };
    if count > 0 {
        chunk.dictionary_page(entries, count)?;
    }
    let encoding = if count > 0 { Encoding::RLE_DICTIONARY } else { Encoding::PLAIN };
    let width = hybrid::bit_width((count as u32).saturating_sub(1));
    let (mut values, mut there, mut present) = (Vec::new(), Vec::new(), Vec::new());
    let mut absent = 0;
    for rows in codes.chunks(PAGE_ROWS) {
        values.clear();
        let mut kept = rows;
        if chunk.is_optional() {
            there.clear();
            there.extend(rows.iter().map(|&code| code != ABSENT));
            present.clear();
            present.extend(rows.iter().copied().filter(|&code| code != ABSENT));
            kept = &present;
            absent += rows.len() - present.len();
        }
        if count > 0 {
            values.push(width);
            hybrid::encode(kept, width, &mut values);
        }
        chunk.data_page(rows.len(), &there, encoding, &values)?;
    }
    let nulls = Some(absent as u64);
    let statistics = match entries {
        Entries::Text(_) => None,
        Entries::Int32(entries) => {
            Some(Statistics::int32(entries.iter().min().copied(), entries.iter().max().copied(), None, nulls, false))
        }
        Entries::Int64(entries) => {
            Some(Statistics::int64(entries.iter().min().copied(), entries.iter().max().copied(), None, nulls, false))
        }
    };
    chunk.finish(codes.len(), statistics)
}

/// Texts one after the other.
fn plain_texts(texts: &[Option<&str>], description: &ColumnDescPtr) -> Result<Encoded, ParquetError> {
    let mut chunk = Chunk::new(description)?;
    let mut rest = texts;
    let mut values = Vec::new();
    let mut there = Vec::new();
    while !rest.is_empty() {
        values.clear();
        there.clear();
        for text in rest {
            there.push(text.is_some());
            if let Some(text) = text {
                values.extend_from_slice(&length(text.len())?);
                values.extend_from_slice(text.as_bytes());
            }
            if values.len() > PAGE_BYTES || there.len() == PAGE_ROWS {
                break;
            }
        }
        chunk.data_page(there.len(), &there, Encoding::PLAIN, &values)?;
        rest = rest.get(there.len()..).unwrap_or_default();
    }
    chunk.finish(texts.len(), None)
}

fn length(bytes: usize) -> Result<[u8; 4], ParquetError> {
    let too_long = || ParquetError::General("a text is longer than 2 GiB, which Parquet cannot hold".to_owned());
    Ok(i32::try_from(bytes).map_err(|_| too_long())?.to_le_bytes())
}

/// A column chunk that is written page by page.
struct Chunk {
    description: ColumnDescPtr,
    sink: TrackedWrite<Vec<u8>>,
    compressor: zstd::bulk::Compressor<'static>,
    dictionary_offset: Option<i64>,
    data_offset: Option<i64>,
    encodings: Vec<Encoding>,
    uncompressed_bytes: usize,
}

impl Chunk {
    fn new(description: &ColumnDescPtr) -> Result<Self, ParquetError> {
        Ok(Self {
            description: Arc::clone(description),
            sink: TrackedWrite::new(Vec::new()),
            compressor: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
            dictionary_offset: None,
            data_offset: None,
            encodings: vec![Encoding::RLE, Encoding::PLAIN],
            uncompressed_bytes: 0,
        })
    }

    fn is_optional(&self) -> bool {
        self.description.max_def_level() > 0
    }

    fn dictionary_page(&mut self, entries: &Entries<'_>, count: usize) -> Result<(), ParquetError> {
        let mut plain = Vec::new();
        match entries {
            Entries::Text(entries) => {
                for text in entries {
                    plain.extend_from_slice(&length(text.len())?);
                    plain.extend_from_slice(text.as_bytes());
                }
            }
            Entries::Int32(entries) => plain.extend(entries.iter().flat_map(|value| value.to_le_bytes())),
            Entries::Int64(entries) => plain.extend(entries.iter().flat_map(|value| value.to_le_bytes())),
        }
        let offset = self.page(&plain, |buf| Page::DictionaryPage {
            buf,
            num_values: count as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        })?;
        self.dictionary_offset = Some(offset);
        Ok(())
    }

    /// A page of `rows` rows; `there` says which have a value, in columns where some may have none.
    fn data_page(
        &mut self,
        rows: usize,
        there: &[bool],
        encoding: Encoding,
        values: &[u8],
    ) -> Result<(), ParquetError> {
        let mut plain = Vec::with_capacity(values.len() + rows / 8 + 16);
        if self.is_optional() {
            plain.extend_from_slice(&[0; 4]);
            let levels: Vec<u32> = there.iter().map(|&there| u32::from(there)).collect();
            hybrid::encode(&levels, 1, &mut plain);
            let bytes = length(plain.len() - 4)?;
            plain.splice(..4, bytes);
        }
        plain.extend_from_slice(values);
        let offset = self.page(&plain, |buf| Page::DataPage {
            buf,
            num_values: rows as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })?;
        self.data_offset.get_or_insert(offset);
        if !self.encodings.contains(&encoding) {
            self.encodings.push(encoding);
        }
        Ok(())
    }

    /// Writes a page; gives where it begins.
    fn page(&mut self, plain: &[u8], page: impl FnOnce(Bytes) -> Page) -> Result<i64, ParquetError> {
        let compressed = self.compressor.compress(plain)?;
        let page = CompressedPage::new(page(Bytes::from(compressed)), plain.len());
        let written = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed_bytes += written.uncompressed_size;
        Ok(written.offset as i64)
    }

    fn finish(mut self, rows: usize, statistics: Option<Statistics>) -> Result<Encoded, ParquetError> {
        if self.data_offset.is_none() {
            self.data_page(0, &[], Encoding::PLAIN, &[])?;
        }
        let bytes = self.sink.into_inner()?;
        let mut metadata = ColumnChunkMetaData::builder(self.description)
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
            .set_encodings(self.encodings)
            .set_num_values(rows as i64)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed_bytes as i64)
            .set_dictionary_page_offset(self.dictionary_offset)
            .set_data_page_offset(self.data_offset.unwrap_or_default());
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok(Encoded { bytes: Bytes::from(bytes), close })
    }
}
