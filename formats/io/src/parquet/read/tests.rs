//! Tables that the `parquet` crate writes come back; damaged ones end in an error or a counted loss.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use gapless_trace::{WarningKind, Warnings};
use proptest::prelude::*;

use super::*;
use crate::Silent;

const SCHEMA: &str = "message schema {
    REQUIRED INT32 number;
    OPTIONAL INT64 maybe;
    OPTIONAL FLOAT fraction;
    REQUIRED DOUBLE double;
    OPTIONAL BYTE_ARRAY text (UTF8);
    REQUIRED BOOLEAN truth;
}";

#[derive(Clone, Debug)]
struct Row {
    number: i32,
    maybe: Option<i64>,
    fraction: Option<f32>,
    double: f64,
    text: Option<String>,
    truth: bool,
}

fn row() -> impl Strategy<Value = Row> {
    let text = prop_oneof![Just("a".to_owned()), Just(String::new()), "[a-zé]{0,9}"];
    (
        prop_oneof![Just(7), -3..3_i32, any::<i32>()],
        prop::option::of(prop_oneof![Just(1), any::<i64>()]),
        prop::option::of(-1e3_f32..1e3),
        -1e9_f64..1e9,
        prop::option::of(text),
        any::<bool>(),
    )
        .prop_map(|(number, maybe, fraction, double, text, truth)| Row {
            number,
            maybe,
            fraction,
            double,
            text,
            truth,
        })
}

fn levels<T>(values: &[Option<T>]) -> Vec<i16> {
    values.iter().map(|value| i16::from(value.is_some())).collect()
}

fn write(groups: &[Vec<Row>], properties: WriterPropertiesBuilder) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build())).unwrap();
    for rows in groups {
        let mut group = writer.next_row_group().unwrap();
        let mut place = 0;
        while let Some(mut column) = group.next_column().unwrap() {
            match column.untyped() {
                ColumnWriter::Int32ColumnWriter(writer) => {
                    writer.write_batch(&rows.iter().map(|row| row.number).collect::<Vec<_>>(), None, None)
                }
                ColumnWriter::Int64ColumnWriter(writer) => {
                    let all: Vec<_> = rows.iter().map(|row| row.maybe).collect();
                    let there: Vec<i64> = all.iter().copied().flatten().collect();
                    writer.write_batch(&there, Some(&levels(&all)), None)
                }
                ColumnWriter::FloatColumnWriter(writer) => {
                    let all: Vec<_> = rows.iter().map(|row| row.fraction).collect();
                    let there: Vec<f32> = all.iter().copied().flatten().collect();
                    writer.write_batch(&there, Some(&levels(&all)), None)
                }
                ColumnWriter::DoubleColumnWriter(writer) => {
                    writer.write_batch(&rows.iter().map(|row| row.double).collect::<Vec<_>>(), None, None)
                }
                ColumnWriter::ByteArrayColumnWriter(writer) => {
                    let all: Vec<_> = rows.iter().map(|row| row.text.clone()).collect();
                    let there: Vec<ByteArray> =
                        all.iter().flatten().map(|text| ByteArray::from(text.as_bytes().to_vec())).collect();
                    writer.write_batch(&there, Some(&levels(&all)), None)
                }
                ColumnWriter::BoolColumnWriter(writer) => {
                    writer.write_batch(&rows.iter().map(|row| row.truth).collect::<Vec<_>>(), None, None)
                }
                _ => unreachable!("column {place}"),
            }
            .unwrap();
            column.close().unwrap();
            place += 1;
        }
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

fn read(bytes: &[u8]) -> (Result<Table, Refused>, Warnings) {
    let mut warnings = Warnings::default();
    let table = read_table(bytes, &["number"], &Limits::default(), &mut warnings, &Silent);
    (table, warnings)
}

fn properties(is_new: bool, has_dictionary: bool, is_packed: bool) -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_writer_version(if is_new { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 })
        .set_dictionary_enabled(has_dictionary)
        .set_encoding(Encoding::PLAIN)
        .set_data_page_row_count_limit(17)
        .set_write_batch_size(5)
        .set_compression(if is_packed {
            Compression::ZSTD(ZstdLevel::try_new(1).unwrap())
        } else {
            Compression::UNCOMPRESSED
        })
}

fn check(table: &Table, rows: &[Row]) {
    assert_eq!(table.rows, rows.len());
    let column = |name: &str| table.column(name).unwrap();
    for (place, row) in rows.iter().enumerate() {
        assert_eq!(column("number").int(place), Some(i64::from(row.number)));
        assert_eq!(column("maybe").int(place), row.maybe);
        assert_eq!(column("fraction").float(place), row.fraction.map(f64::from));
        assert_eq!(column("double").float(place), Some(row.double));
        assert_eq!(column("text").text(place).map(|(_, text)| text), row.text.as_deref());
        assert_eq!(column("truth").int(place), Some(i64::from(row.truth)));
    }
}

proptest! {
    #[test]
    fn tables_come_back(
        groups in prop::collection::vec(prop::collection::vec(row(), 0..60), 0..4),
        is_new: bool,
        has_dictionary: bool,
        is_packed: bool,
    ) {
        let bytes = write(&groups, properties(is_new, has_dictionary, is_packed));
        let (table, warnings) = read(&bytes);
        prop_assert!(warnings.is_empty(), "{warnings:?}");
        check(&table.unwrap(), &groups.concat());
    }

    /// A changed byte anywhere gives an error, a counted loss, or another table, and always an end.
    #[test]
    fn a_changed_byte_does_no_harm(
        rows in prop::collection::vec(row(), 1..40),
        at: prop::sample::Index,
        byte: u8,
        is_new: bool,
        has_dictionary: bool,
    ) {
        let mut bytes = write(&[rows], properties(is_new, has_dictionary, true));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = read(&bytes);
    }

    #[test]
    fn a_cut_file_is_refused(rows in prop::collection::vec(row(), 1..40), at: prop::sample::Index) {
        let bytes = write(&[rows], properties(false, true, true));
        let cut = &bytes[..at.index(bytes.len())];
        let refused = matches!(read(cut).0, Err(Refused::Format { .. }));
        prop_assert!(refused);
    }
}

fn rows(count: usize) -> Vec<Row> {
    let row = |index: usize| Row {
        number: index as i32,
        maybe: None,
        fraction: Some(1.5),
        double: index as f64,
        text: Some(format!("text {}", index % 3)),
        truth: index.is_multiple_of(2),
    };
    (0..count).map(row).collect()
}

fn reason(refused: Result<Table, Refused>) -> String {
    match refused.unwrap_err() {
        Refused::Format { reason, .. } => reason,
        Refused::Limit { what, limit, flag } => format!("{what}; {limit}; {flag}"),
        Refused::Cancelled => "cancelled".to_owned(),
    }
}

#[test]
fn a_damaged_group_is_lost_and_counted() {
    let groups = [rows(30), rows(20), rows(10)];
    let mut bytes = write(&groups, properties(false, false, true));
    let first = Footer::read(&bytes).unwrap().groups[1].chunks[0].clone();
    // The header of the first page of the only column that is needed.
    let at = first.offset as usize;
    bytes[at..at + 8].fill(0xFF);
    let (table, warnings) = read(&bytes);
    check(&table.unwrap(), &[rows(30), rows(10)].concat());
    assert_eq!(warnings.count(WarningKind::RowsLost), 20);
    assert_eq!(warnings.lost(), 20);

    let mut bytes = write(&groups, properties(false, false, true));
    let other = Footer::read(&bytes).unwrap().groups[1].chunks[3].clone();
    let at = other.offset as usize;
    bytes[at..at + 8].fill(0xFF);
    let (table, warnings) = read(&bytes);
    let table = table.unwrap();
    assert_eq!(table.rows, 60);
    let double = table.column("double").unwrap();
    assert_eq!(
        (double.float(29), double.float(30), double.float(49), double.float(50)),
        (Some(29.0), None, None, Some(0.0))
    );
    assert_eq!(warnings.count(WarningKind::HeaderUnreadable), 1);
}

#[test]
fn footers_that_lie_are_refused() {
    let bytes = write(&[rows(30)], properties(false, true, true));
    let len = bytes.len();
    let mut huge = bytes.clone();
    huge[len - 8..len - 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(reason(read(&huge).0).contains("more than the file has"));
    let mut other = bytes.clone();
    other[len - 4..].copy_from_slice(b"PAR2");
    assert!(reason(read(&other).0).contains("ends before the footer"));
    assert!(reason(read(b"PAR1").0).contains("ends before the footer"));
    assert!(reason(read(b"PAR1....PARE").0).contains("encrypted"));
    assert!(reason(read(b"").0).contains("ends before the footer"));
    // A footer of zeros only: a structure without fields.
    let mut empty = b"PAR1".to_vec();
    empty.extend_from_slice(&[0; 16]);
    empty.extend_from_slice(&16_u32.to_le_bytes());
    empty.extend_from_slice(b"PAR1");
    assert!(reason(read(&empty).0).contains("schema makes no sense"));
    // Larger than any honest one.
    let mut wide = vec![0; 5 << 20];
    wide[..4].copy_from_slice(b"PAR1");
    wide.extend_from_slice(&((5_u32 << 20) - 4).to_le_bytes());
    wide.extend_from_slice(b"PAR1");
    assert!(reason(read(&wide).0).contains("footer is of"));
}

#[test]
fn bombs_meet_a_limit_before_memory_does() {
    // A million equal rows in some KB.
    let many = vec![rows(1).remove(0); 500_000];
    let groups: Vec<Vec<Row>> = vec![many; 2];
    let unlimited = properties(false, true, true).set_data_page_row_count_limit(1 << 20).set_write_batch_size(1 << 16);
    let bytes = write(&groups, unlimited);
    assert!(bytes.len() < 20_000, "{}", bytes.len());
    let text = reason(read(&bytes).0);
    assert!(text.contains("ratio="), "{text}");

    // A page of zeros: 100 MB in some ten KB.
    let mut row = rows(1).remove(0);
    row.text = Some("\0".repeat(100_000_000));
    let bytes = write(&[vec![row]], properties(false, false, true));
    assert!(bytes.len() < 100_000, "{}", bytes.len());
    let text = reason(read(&bytes).0);
    assert!(text.contains("ratio="), "{text}");

    let limits = Limits { events: 10, ..Limits::default() };
    let bytes = write(&[rows(30)], properties(false, true, true));
    let text = reason(read_table(&bytes, &[], &limits, &mut Warnings::default(), &Silent));
    assert!(text.contains("30 rows") && text.contains("events=30"), "{text}");
}

#[test]
fn what_is_not_read_is_named() {
    let delta = properties(false, false, true).set_encoding(Encoding::DELTA_BINARY_PACKED);
    let schema = Arc::new(parse_message_type("message schema { REQUIRED INT32 number; }").unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(delta.build())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<::parquet::data_type::Int32Type>().write_batch(&[1, 2, 3], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    let bytes = writer.into_inner().unwrap();
    let text = reason(read(&bytes).0);
    assert!(text.contains("DELTA_BINARY_PACKED") && text.contains("write the table again"), "{text}");
}
