//! Hand-made tables of operators with known answers, whole and damaged.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use gapless_trace::{ArgValue, EventId, EventKind, Trace, TrackKind};
use proptest::prelude::*;

use super::*;
use crate::{OpenError, OpenOptions, Silent, open, open_bytes};

/// rank, step, operator, start, duration, data-parallel rank.
type Row = (Option<i64>, Option<i64>, Option<&'static str>, Option<f64>, Option<f64>, i64);

fn write(rows: &[Row], schema: &str) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut place = 0;
    while let Some(mut column) = group.next_column().unwrap() {
        let levels = |there: Vec<bool>| there.into_iter().map(i16::from).collect::<Vec<i16>>();
        match column.untyped() {
            ColumnWriter::Int64ColumnWriter(writer) => {
                let of = |row: &Row| match place {
                    0 => row.0,
                    1 => row.1,
                    _ => Some(row.5),
                };
                let values: Vec<i64> = rows.iter().filter_map(of).collect();
                let levels = levels(rows.iter().map(|row| of(row).is_some()).collect());
                writer.write_batch(&values, Some(&levels), None)
            }
            ColumnWriter::DoubleColumnWriter(writer) => {
                let of = |row: &Row| if place == 3 { row.3 } else { row.4 };
                let values: Vec<f64> = rows.iter().filter_map(of).collect();
                let levels = levels(rows.iter().map(|row| of(row).is_some()).collect());
                writer.write_batch(&values, Some(&levels), None)
            }
            ColumnWriter::ByteArrayColumnWriter(writer) => {
                let values: Vec<ByteArray> = rows.iter().filter_map(|row| row.2.map(ByteArray::from)).collect();
                let levels = levels(rows.iter().map(|row| row.2.is_some()).collect());
                writer.write_batch(&values, Some(&levels), None)
            }
            _ => unreachable!("column {place}"),
        }
        .unwrap();
        column.close().unwrap();
        place += 1;
    }
    group.close().unwrap();
    writer.into_inner().unwrap()
}

const SCHEMA: &str = "message schema { OPTIONAL INT64 rank; OPTIONAL INT64 step; OPTIONAL BYTE_ARRAY optype (UTF8);
    OPTIONAL DOUBLE start_ts; OPTIONAL DOUBLE duration; OPTIONAL INT64 dp_rank; }";

fn table(rows: &[Row]) -> Vec<u8> {
    write(rows, SCHEMA)
}

fn row(rank: i64, step: i64, optype: &'static str, start: f64, duration: f64) -> Row {
    (Some(rank), Some(step), Some(optype), Some(start), Some(duration), rank / 2)
}

fn read(bytes: Vec<u8>) -> Trace {
    open_bytes("table.parquet", bytes, &OpenOptions::default()).unwrap()
}

fn reason(bytes: Vec<u8>) -> String {
    open_bytes("table.parquet", bytes, &OpenOptions::default()).unwrap_err().to_string()
}

/// rank, name, kind, start, duration of every event.
fn events(trace: &Trace) -> Vec<(u32, String, EventKind, i64, i64)> {
    let all = trace.rank_ids().flat_map(|(_, rank)| rank.events.clone().map(|id| (rank.number.unwrap(), EventId(id))));
    all.map(|(rank, id)| {
        let event = trace.event(id);
        (rank, trace.name(id).to_owned(), event.kind, event.start.nanos(), event.dur.nanos())
    })
    .collect()
}

#[test]
fn steps_stand_one_after_the_other() {
    let trace = read(table(&[
        row(3, 20, "forward-compute", 0.5, 1.0),
        row(3, 10, "forward-compute", 0.25, 1.0),
        row(0, 10, "gc", 0.5, 1.5),
        row(0, 20, "forward-send", -0.125, 0.25),
    ]));
    let second = 1_000_000_000;
    // Step 10 lasts until 2 s, where rank 0 ends; step 20 begins an eighth of a second before its zero.
    assert_eq!(
        events(&trace),
        [
            (0, "forward-send".to_owned(), EventKind::PointToPoint, 2 * second, second / 4),
            (0, "step 10".to_owned(), EventKind::Step, 0, 2 * second),
            (0, "step 20".to_owned(), EventKind::Step, 2 * second, second * 13 / 8),
            (0, "gc".to_owned(), EventKind::Other, second / 2, second * 3 / 2),
            (3, "forward-compute".to_owned(), EventKind::Kernel, second / 4, second),
            (3, "forward-compute".to_owned(), EventKind::Kernel, second * 21 / 8, second),
            (3, "step 10".to_owned(), EventKind::Step, 0, 2 * second),
            (3, "step 20".to_owned(), EventKind::Step, 2 * second, second * 13 / 8),
        ]
    );
    assert_eq!(trace.warnings().count(WarningKind::StepsPlaced), 1);
    let last = EventId(trace.events().len() as u32 - 3);
    let args = trace.args(last).unwrap();
    assert_eq!(args, [("step".to_owned(), ArgValue::Int(20)), ("dp_rank".to_owned(), ArgValue::Int(1))]);
    let (id, track) = trace.track_of(last).unwrap();
    assert_eq!((track.kind, trace.track_label(id).as_str()), (TrackKind::Stream, "compute"));
    assert_eq!(trace.text(trace.processes()[1].labels), "dp_rank 0");
}

#[test]
fn steps_that_follow_one_another_already_stay() {
    let trace = read(table(&[row(0, 1, "forward-compute", 100.0, 1.0), row(0, 2, "forward-compute", 101.0, 1.0)]));
    let starts: Vec<i64> = events(&trace).iter().map(|event| event.3 / 1_000_000_000).collect();
    assert_eq!(starts, [100, 101, 100, 101]);
    assert!(trace.warnings().is_empty());
}

#[test]
fn rows_that_are_no_events_are_counted() {
    let good: Row = row(0, 1, "forward-compute", 1.0, 1.0);
    let with = |change: fn(&mut Row)| {
        let mut row = good;
        change(&mut row);
        row
    };
    let trace = read(table(&[
        good,
        with(|row| row.0 = None),
        with(|row| row.0 = Some(-1)),
        with(|row| row.0 = Some(1 << 40)),
        with(|row| row.2 = None),
        with(|row| row.3 = None),
        with(|row| row.3 = Some(f64::NAN)),
        with(|row| row.3 = Some(1e300)),
        with(|row| row.4 = None),
        with(|row| row.4 = Some(f64::NAN)),
        with(|row| row.4 = Some(-1.0)),
        with(|row| row.4 = Some(f64::INFINITY)),
        with(|row| row.1 = None),
    ]));
    let count = |kind| trace.warnings().count(kind);
    assert_eq!(count(WarningKind::RowsLost), 4);
    assert_eq!(count(WarningKind::NoTimestamp), 2);
    assert_eq!(count(WarningKind::TimeOutOfRange), 1);
    assert_eq!(count(WarningKind::NoDuration), 2);
    assert_eq!(count(WarningKind::NegativeDuration), 1);
    assert_eq!(count(WarningKind::DurationOutOfRange), 1);
    let rows = events(&trace).iter().filter(|event| event.2 != EventKind::Step).count();
    assert_eq!(rows, 6);
    assert_eq!(trace.sources()[0].file_events, 6);
}

#[test]
fn other_tables_are_refused_with_their_columns() {
    let other = SCHEMA.replace("optype", "operator").replace("duration", "took");
    let text = reason(write(&[row(0, 1, "a", 0.0, 1.0)], &other));
    assert!(text.contains("lacks optype, duration and has rank, step, operator, start_ts, took, dp_rank"), "{text}");
    let text = reason(table(&[]));
    assert!(text.contains("no row that is an operator"), "{text}");

    let json =
        br#"{"traceEvents": [{"ph": "X", "name": "a", "cat": "cpu_op", "pid": 1, "tid": 1, "ts": 1, "dur": 2}]}"#;
    let trace = open_bytes("trace.json", json.to_vec(), &OpenOptions::default()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("out");
    crate::parquet::write_folder(&trace, &folder, &crate::parquet::WriteOptions::default(), &Silent).unwrap();
    let text = reason(std::fs::read(folder.join("events/rank=0/events.parquet")).unwrap());
    assert!(text.contains("Gapless wrote for SQL"), "{text}");
}

#[test]
fn the_job_beside_the_table_is_read_and_is_no_trace_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let options = OpenOptions::default();
    std::fs::write(path("trace-X.parquet"), table(&[row(5, 1, "grads-reduce-scatter", 0.0, 1.0)])).unwrap();
    let alone = open(&[path("trace-X.parquet")], &options, &Silent).unwrap();
    assert_eq!(alone.warnings().count(WarningKind::TableMissing), 1);
    assert_eq!(alone.ranks()[0].world_size, None);

    std::fs::write(path("meta-X.yaml"), "trial_name: X\ndp_size: 4\nworld_size: 16\nodd: [1]\n").unwrap();
    let with_job = open(&[path("trace-X.parquet")], &options, &Silent).unwrap();
    assert_eq!(with_job.warnings().count(WarningKind::TableMissing), 0);
    assert_eq!(with_job.warnings().count(WarningKind::HeaderUnreadable), 1);
    let rank = &with_job.ranks()[0];
    assert_eq!((rank.number, rank.world_size), (Some(5), Some(16)));
    assert_eq!(rank.header[0], ("trial_name".to_owned(), ArgValue::Text("X".to_owned())));
    let collective = with_job.collectives()[0];
    assert_eq!((with_job.text(collective.name), collective.group_size), ("reduce_scatter", Some(4)));

    std::fs::write(path("meta-X.yaml"), "trial_name: X\nworld_size: 16\n").unwrap();
    let both = open(&[path("trace-X.parquet"), path("meta-X.yaml")], &options, &Silent).unwrap();
    assert_eq!(both.ranks().len(), 1);
    let refused = open(&[path("meta-X.yaml")], &options, &Silent).unwrap_err();
    assert!(matches!(refused, OpenError::Format { .. }), "{refused}");
    std::fs::remove_file(path("trace-X.parquet")).unwrap();
    let text = open(&[path("meta-X.yaml")], &options, &Silent).unwrap_err().to_string();
    assert!(text.contains("open its table of operators, trace-X.parquet"), "{text}");
}

#[test]
fn a_job_is_looked_for_only_beside_a_file_on_disk() {
    let input = |file: Option<&Path>| file.map(job::read_beside);
    assert!(input(None).is_none());
    let bytes = table(&[row(0, 1, "a", 0.0, 1.0)]);
    let trace = open_bytes("trace-X.parquet", bytes, &OpenOptions::default()).unwrap();
    assert!(trace.warnings().is_empty());
}

proptest! {
    #[test]
    fn changed_bytes_do_no_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = table(&[row(0, 1, "forward-compute", 0.0, 1.0), row(1, 2, "forward-send", 0.5, 1.0)]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = open_bytes("table.parquet", bytes, &OpenOptions::default());
    }
}
