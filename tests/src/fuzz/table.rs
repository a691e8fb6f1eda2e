//! Tables of operators in Parquet: pages of both versions, plain and coded, packed and not, and the footer.

use std::io;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::change::{change_binary, number};
use crate::synth::Rng;

const SCHEMA: &str = "message schema { OPTIONAL INT32 dp_rank; OPTIONAL INT32 stage; OPTIONAL INT32 rank;
    OPTIONAL INT64 step; OPTIONAL BYTE_ARRAY optype (UTF8); OPTIONAL FLOAT start_ts; OPTIONAL FLOAT duration;
    OPTIONAL INT32 mb_id; }";
const OPERATORS: [&str; 5] = ["forward-compute", "forward-send", "grads-reduce-scatter", "gc", "optimizer"];

/// Valid tables.
pub(super) fn seeds() -> io::Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for (version, is_coded, is_packed) in [
        (WriterVersion::PARQUET_1_0, true, false),
        (WriterVersion::PARQUET_1_0, false, true),
        (WriterVersion::PARQUET_2_0, true, true),
        (WriterVersion::PARQUET_2_0, false, false),
    ] {
        let zstd = ZstdLevel::try_new(1).map_err(io::Error::other)?;
        let properties = WriterProperties::builder()
            .set_writer_version(version)
            .set_dictionary_enabled(is_coded)
            .set_encoding(parquet::basic::Encoding::PLAIN)
            .set_compression(if is_packed { Compression::ZSTD(zstd) } else { Compression::UNCOMPRESSED })
            .set_data_page_row_count_limit(16)
            .set_write_batch_size(8)
            .build();
        seeds.push(table(Arc::new(properties)).map_err(io::Error::other)?);
    }
    Ok(seeds)
}

/// Two groups of forty rows: two steps of two ranks.
fn table(properties: Arc<WriterProperties>) -> Result<Vec<u8>, ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties)?;
    for step in 0..2 {
        let mut group = writer.next_row_group()?;
        let mut place = 0;
        let levels = |place: usize| (0..40).map(|row| i16::from(place < 7 || row % 5 != 0)).collect::<Vec<i16>>();
        while let Some(mut column) = group.next_column()? {
            let levels = levels(place);
            let there = (0..40_i32).filter(|&row| levels[row as usize] == 1);
            match column.untyped() {
                ColumnWriter::Int32ColumnWriter(writer) => {
                    let value = |row: i32| match place {
                        0 => row % 2,
                        1 => row % 4 / 2,
                        2 => row % 4,
                        _ => row / 4,
                    };
                    writer.write_batch(&there.map(value).collect::<Vec<_>>(), Some(&levels), None)?
                }
                ColumnWriter::Int64ColumnWriter(writer) => {
                    writer.write_batch(&there.map(|_| 10 + step).collect::<Vec<_>>(), Some(&levels), None)?
                }
                ColumnWriter::FloatColumnWriter(writer) => {
                    let value = |row: i32| if place == 5 { row as f32 * 0.01 } else { 0.008 + row as f32 * 0.0001 };
                    writer.write_batch(&there.map(value).collect::<Vec<_>>(), Some(&levels), None)?
                }
                ColumnWriter::ByteArrayColumnWriter(writer) => {
                    let value = |row: i32| ByteArray::from(OPERATORS[row as usize % OPERATORS.len()]);
                    writer.write_batch(&there.map(value).collect::<Vec<_>>(), Some(&levels), None)?
                }
                _ => 0,
            };
            column.close()?;
            place += 1;
        }
        group.close()?;
    }
    writer.into_inner()
}

/// Changes a table at one place. Most places of a file are values; what decides is the footer and its length, so these
/// are met more often, and the length is put right after them.
pub(super) fn change(bytes: &mut Vec<u8>, _: &[Vec<u8>], rng: &mut Rng) {
    let Some(end) = bytes.len().checked_sub(8).filter(|_| bytes.ends_with(b"PAR1")) else {
        return change_binary(bytes, rng);
    };
    let size = u32::from_le_bytes([bytes[end], bytes[end + 1], bytes[end + 2], bytes[end + 3]]) as usize;
    let Some(start) = end.checked_sub(size).filter(|_| size > 0) else { return change_binary(bytes, rng) };
    match rng.below(8) {
        0 => bytes[end..end + 4].copy_from_slice(&(number(rng) as u32).to_le_bytes()),
        1..=5 => {
            let mut footer = bytes[start..end].to_vec();
            let at = rng.below(footer.len() as u64) as usize;
            match rng.below(4) {
                0 => footer[at] = rng.below(256) as u8,
                1 => footer[at] = footer[at].wrapping_add(rng.below(5) as u8).wrapping_sub(2),
                2 => {
                    let mut rest = number(rng);
                    let mut varint = Vec::new();
                    while rest >= 0x80 {
                        varint.push(rest as u8 | 0x80);
                        rest >>= 7;
                    }
                    varint.push(rest as u8);
                    footer.splice(at..=at, varint);
                }
                _ => change_binary(&mut footer, rng),
            }
            bytes.truncate(start);
            bytes.extend_from_slice(&footer);
            bytes.extend_from_slice(&(footer.len() as u32).to_le_bytes());
            bytes.extend_from_slice(b"PAR1");
        }
        _ => {
            let at = rng.below(start.max(1) as u64) as usize;
            bytes[at] = *super::pick(&[0, 1, 2, 0x7F, 0x80, 0xFF, rng.below(256) as u8], rng);
        }
    }
}
