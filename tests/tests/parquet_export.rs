//! Parquet exports, read back by readers that share no code with the writer: pyarrow and DuckDB from PyPI, and the
//! record reader of the `parquet` crate. Every value of every event must come back, and every small table whole.
//!
//! Python with venv and a package index is needed once (`python/setup.sh`); without it the part that needs it says
//! that it was skipped.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::{Field, Row};
use gapless_formats::parquet::{WriteOptions, WriteSummary, write_folder};
use gapless_formats::{OpenOptions, Silent, open};
use gapless_tests::oracle::{json_traces_in, real_traces};
use gapless_tests::python;
use gapless_tests::synth::{Config, Workload, texts};
use gapless_trace::{EventId, ProcessKind, Trace};
use serde_json::{Value, json};

fn rows_of(path: &Path) -> Vec<Row> {
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let metadata = reader.metadata();
    let footer: i64 = metadata.row_groups().iter().map(|group| group.num_rows()).sum();
    let rows: Vec<Row> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len() as i64, footer, "{}", path.display());
    rows
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Int(value) => json!(value),
        Field::Long(value) => json!(value),
        Field::ULong(value) => json!(value),
        Field::Double(value) => json!(value.to_bits()),
        Field::Str(value) => json!(value),
        other => panic!("a value of another type: {other:?}"),
    }
}

fn object(row: &Row) -> BTreeMap<String, Value> {
    row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect()
}

/// Each event as the model has it, through its public questions one event at a time.
fn expected(trace: &Trace, id: EventId) -> BTreeMap<String, Value> {
    let event = trace.event(id);
    let (_, row) = trace.row_of(id).unwrap();
    let (track_id, track) = trace.track_of(id).unwrap();
    let process = trace.process(track.process).unwrap();
    let collective = trace.collective(id);
    let text = |id: Option<gapless_trace::StrId>| json!(id.map(|id| trace.text(id)));
    let device = match process.kind {
        ProcessKind::Device(number) => Some(number),
        _ => None,
    };
    [
        ("event", json!(id.0)),
        ("start_ns", json!(event.start.nanos())),
        ("dur_ns", json!(event.dur.nanos())),
        ("name", json!(trace.text(event.name))),
        ("category", json!(trace.text(event.category))),
        ("kind", json!(event.kind.id())),
        ("process", json!(trace.text(process.name))),
        ("pid", json!(trace.raw_id_text(process.pid))),
        ("track", json!(track_id.0)),
        ("track_name", json!(trace.track_label(track_id))),
        ("track_kind", json!(track.kind.id())),
        ("tid", json!(trace.raw_id_text(track.tid))),
        ("device", json!(device)),
        ("stream", json!(track.stream())),
        ("lane", json!(row.lane)),
        ("depth", json!(row.depth)),
        ("parent", json!(trace.parent(id).map(|parent| parent.0))),
        ("correlation", json!(event.correlation)),
        ("external", json!(event.external)),
        ("launch", json!(trace.launches().launch_of(id).map(|launch| launch.0))),
        ("bytes", json!(trace.copy_bytes(id))),
        ("collective", text(collective.map(|entry| entry.name))),
        ("collective_dtype", text(collective.map(|entry| entry.dtype))),
        ("collective_group", text(collective.map(|entry| entry.group))),
        ("collective_group_desc", text(collective.map(|entry| entry.group_desc))),
        ("collective_in_elems", json!(collective.and_then(|entry| entry.in_elems))),
        ("collective_out_elems", json!(collective.and_then(|entry| entry.out_elems))),
        ("collective_group_size", json!(collective.and_then(|entry| entry.group_size))),
        ("collective_seq", json!(collective.and_then(|entry| entry.seq))),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The sums that SQL must find.
#[derive(Default)]
struct Sums {
    groups: BTreeMap<String, (u64, i128)>,
    /// Values and their sum, by column.
    columns: BTreeMap<String, (u64, i128)>,
}

/// Reads the events back with the Rust crate and compares each with the model.
fn check_events(trace: &Trace, folder: &Path, arguments: bool) -> Sums {
    let mut sums = Sums::default();
    let metadata: Value = serde_json::from_slice(&std::fs::read(folder.join("gapless.json")).unwrap()).unwrap();
    for (rank, facts) in trace.ranks().iter().zip(metadata["ranks"].as_array().unwrap()) {
        assert_eq!(facts["number"], json!(rank.number));
        assert_eq!(facts["base_time_ns"], json!(rank.base_time_ns));
        assert_eq!(facts["events"], rank.events.len());
        let partition = &facts["partition"];
        let rows = rows_of(&folder.join(format!("events/rank={partition}/events.parquet")));
        assert_eq!(rows.len(), rank.events.len());
        for (row, id) in rows.iter().zip(rank.events.clone()) {
            let id = EventId(id);
            let mut found = object(row);
            if arguments {
                let text = found.remove("args").unwrap();
                let parsed = text.as_str().map(|text| serde_json::from_str::<Value>(text).unwrap());
                assert_eq!(parsed.is_some(), trace.has_args(id));
                let args = trace.args(id).unwrap();
                for (name, value) in parsed.iter().flat_map(|parsed| parsed.as_object().unwrap()) {
                    let of_model = &args.iter().rfind(|(key, _)| key == name).unwrap().1;
                    match of_model.as_str() {
                        Some(text) => assert_eq!(value, text),
                        None => assert!(!value.is_string()),
                    }
                }
                let stream = found.remove("arg_stream").unwrap();
                let of_model = args.iter().rfind(|(key, _)| key == "stream").map(|(_, value)| value.to_string());
                assert_eq!(stream, json!(of_model), "{args:?}");
            }
            let expected = expected(trace, id);
            assert_eq!(found, expected, "event {id:?}");
            let key = format!("{partition}\t{}\t{}", expected["kind"].as_str().unwrap(), trace.name(id));
            let group = sums.groups.entry(key).or_default();
            *group = (group.0 + 1, group.1 + i128::from(trace.event(id).dur.nanos()));
            for (name, value) in &expected {
                let column = sums.columns.entry(name.clone()).or_default();
                let number = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)).unwrap_or(0);
                *column = (column.0 + u64::from(!value.is_null()), column.1 + number);
            }
        }
    }
    sums
}

/// Compares the small tables with the model.
fn check_tables(trace: &Trace, folder: &Path) {
    let table = |name: &str| -> Vec<BTreeMap<String, Value>> {
        rows_of(&folder.join(format!("{name}.parquet"))).iter().map(object).collect()
    };
    let column = |rows: &[BTreeMap<String, Value>], name: &str| -> Vec<Value> {
        rows.iter().map(|row| row[name].clone()).collect()
    };
    let tracks = table("tracks");
    assert_eq!(tracks.len(), trace.tracks().len());
    for (row, (id, track)) in tracks.iter().zip(trace.track_ids()) {
        assert_eq!(row["track"], id.0);
        assert_eq!(row["name"], trace.track_label(id));
        assert_eq!(row["kind"], track.kind.id());
        assert_eq!(row["events"], track.events.len());
        let counter = track.counter.map(|id| trace.text(trace.counters()[id.index()].name));
        assert_eq!(row["counter"], json!(counter));
    }
    let samples: Vec<(Value, Value, Value)> = trace
        .counters()
        .iter()
        .flat_map(|series| {
            let name = json!(trace.text(series.name));
            let samples = series.times.iter().zip(&series.values);
            samples.map(move |(time, value)| (name.clone(), json!(time), json!(value.to_bits())))
        })
        .collect();
    let found =
        table("counters").into_iter().map(|row| (row["name"].clone(), row["time_ns"].clone(), row["value"].clone()));
    assert_eq!(found.collect::<Vec<_>>(), samples);
    let launches = table("launches");
    let pairs = trace.launches().pairs();
    assert_eq!(column(&launches, "launch"), pairs.iter().map(|pair| json!(pair.0.0)).collect::<Vec<_>>());
    assert_eq!(column(&launches, "device_work"), pairs.iter().map(|pair| json!(pair.1.0)).collect::<Vec<_>>());
    let flows = table("flows");
    assert_eq!(column(&flows, "from_event"), trace.flows().iter().map(|flow| json!(flow.from.0)).collect::<Vec<_>>());
    assert_eq!(column(&flows, "to_event"), trace.flows().iter().map(|flow| json!(flow.to.0)).collect::<Vec<_>>());
    assert_eq!(table("stacks").len(), trace.stacks().len());
    assert_eq!(table("event_stacks").len(), trace.event_stacks().len());
    let warnings = trace.warnings().sorted();
    let found = table("warnings");
    assert_eq!(column(&found, "kind"), warnings.iter().map(|entry| json!(entry.kind.id())).collect::<Vec<_>>());
    assert_eq!(column(&found, "count"), warnings.iter().map(|entry| json!(entry.count)).collect::<Vec<_>>());
}

/// Compares what pyarrow and DuckDB find with the model.
fn check_sql(trace: &Trace, folder: &Path, sums: &Sums) {
    let python = match python::interpreter() {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("skipped: no Python with pyarrow and duckdb: {reason}");
            return;
        }
    };
    let read = python::run(&python, "parquet_readback.py", &[folder]).unwrap();
    let groups: BTreeMap<String, Value> =
        sums.groups.iter().map(|(key, sum)| (key.clone(), json!([sum.0, sum.1 as i64]))).collect();
    for reader in ["pyarrow", "duckdb"] {
        let of_reader = &read[reader];
        assert_eq!(of_reader["rows"], trace.events().len(), "{reader}");
        let found: BTreeMap<String, Value> = serde_json::from_value(of_reader["groups"].clone()).unwrap();
        assert_eq!(found, groups, "{reader}: count and sum(dur_ns) by rank, kind and name");
        for (name, &(count, sum)) in &sums.columns {
            let found = &of_reader["sums"][name];
            assert_eq!(found[0], count, "{reader}: values of {name}");
            if let Some(text) = found[1].as_str() {
                assert_eq!(text, sum.to_string(), "{reader}: sum of {name}");
            }
        }
        assert!(sums.columns.is_empty() || of_reader["sums"]["dur_ns"][1].is_string());
        assert_eq!(of_reader["sums"]["rank"][0], trace.events().len(), "{reader}: the partition is a column");
    }
    for (name, rows) in read["tables"].as_object().unwrap() {
        assert_eq!(rows[0], rows[1], "{name}");
    }
    assert_eq!(read["tables"].as_object().unwrap().len(), 7);
}

fn check(trace: &Trace, name: &str, arguments: bool) -> WriteSummary {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("out");
    let argument_columns = if arguments { vec!["stream".to_owned()] } else { Vec::new() };
    let options = WriteOptions { arguments, argument_columns };
    let summary = write_folder(trace, &folder, &options, &Silent).unwrap();
    assert_eq!(summary.events, trace.events().len() as u64);
    assert_eq!(summary.unreadable_args, 0);
    let sums = check_events(trace, &folder, arguments);
    check_tables(trace, &folder);
    check_sql(trace, &folder, &sums);
    let left: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["out"], "nothing is left beside the folder");
    eprintln!(
        "{name}: {} events, {:.2} bytes an event",
        summary.events,
        summary.event_bytes as f64 / summary.events.max(1) as f64
    );
    summary
}

fn synthetic(workload: Workload, ranks: u32) -> (tempfile::TempDir, Trace) {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::new(workload, ranks, 1).sized(4_000).unwrap();
    let files: Vec<PathBuf> = texts(&config)
        .unwrap()
        .0
        .into_iter()
        .enumerate()
        .map(|(rank, text)| {
            let path = folder.path().join(format!("rank{rank}.json"));
            std::fs::write(&path, text).unwrap();
            path
        })
        .collect();
    let trace = open(&files, &OpenOptions::default(), &Silent).unwrap();
    (folder, trace)
}

#[test]
fn synthetic_ranks_come_back() {
    let (_files, trace) = synthetic(Workload::DataParallel, 3);
    assert_eq!(trace.ranks().len(), 3);
    check(&trace, "three ranks", false);
}

#[test]
fn arguments_come_back() {
    let (_files, trace) = synthetic(Workload::DataParallel, 1);
    check(&trace, "with arguments", true);
}

#[test]
fn an_empty_trace_is_a_folder_of_empty_tables() {
    let trace = gapless_tests::open::open_bytes("empty.json", br#"{"traceEvents": []}"#.to_vec()).unwrap();
    assert!(trace.events().is_empty());
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("out");
    let summary = write_folder(&trace, &folder, &WriteOptions::default(), &Silent).unwrap();
    assert_eq!((summary.events, summary.files), (0, 9));
    assert_eq!(rows_of(&folder.join("events/rank=0/events.parquet")).len(), 0);
    check_sql(&trace, &folder, &Sums::default());
}

fn check_real(folder: &str) {
    let Some(root) = real_traces() else {
        eprintln!("skipped: no real traces");
        return;
    };
    let files = json_traces_in(&root.join("traces").join(folder)).unwrap();
    assert!(!files.is_empty(), "no traces in {folder}");
    for file in files {
        let Ok(trace) = open(std::slice::from_ref(&file), &OpenOptions::default(), &Silent) else { continue };
        check(&trace, &file.display().to_string(), false);
    }
}

#[test]
fn hta_traces_come_back() {
    check_real("hta");
}

#[test]
fn gloo_traces_come_back() {
    check_real("pytorch-cpu-gloo");
}

#[test]
fn eight_ranks_come_back_as_eight_partitions() {
    let Some(root) = real_traces() else {
        eprintln!("skipped: no real traces");
        return;
    };
    let files: Vec<PathBuf> =
        (0..8).map(|rank| root.join(format!("traces/dlrm-8xV100/worker{rank}.pt.trace.json.gz"))).collect();
    let trace = open(&files, &OpenOptions::default(), &Silent).unwrap();
    check(&trace, "eight ranks", false);
}
