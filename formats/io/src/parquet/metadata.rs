//! `gapless.json`: what the tables do not say, and what they are.

use gapless_trace::{ArgValue, Args, DeviceInfo, Rank, Source, Trace};
use serde_json::{Map, Value, json};

use super::columns::Column;
use super::tables::partitions;

/// Version of the layout of the folder.
pub(super) const VERSION: u32 = 1;

/// The metadata of `trace`. `tables` are those written: path, rows, columns.
pub(super) fn metadata(trace: &Trace, tables: Vec<Value>) -> Value {
    json!({
        "format": "gapless-parquet",
        "version": VERSION,
        "gapless": env!("CARGO_PKG_VERSION"),
        "time_unit": "ns",
        "start_ns": trace.span().map(|span| span.start.nanos()),
        "end_ns": trace.span().map(|span| span.end.nanos()),
        "tables": tables,
        "ranks": trace.ranks().iter().zip(partitions(trace)).map(|(rank, number)| of_rank(rank, number)).collect::<Vec<_>>(),
        "sources": trace.sources().iter().map(of_source).collect::<Vec<_>>(),
    })
}

/// A table for the metadata. A path with `*` stands for several files.
pub(super) fn of_table(path: &str, rows: u64, columns: &[Column<'_>], partition: Option<&str>) -> Value {
    let column =
        |column: &Column<'_>| json!({ "name": column.name, "type": column.of.id(), "nullable": column.is_optional });
    json!({
        "path": path,
        "rows": rows,
        "partition": partition,
        "columns": columns.iter().map(column).collect::<Vec<_>>(),
    })
}

fn of_rank(rank: &Rank, partition: i32) -> Value {
    json!({
        "partition": partition,
        "number": rank.number,
        "world_size": rank.world_size,
        "host": rank.host,
        "backend": rank.backend,
        "base_time_ns": rank.base_time_ns,
        "clock_offset_ns": rank.clock_offset_ns,
        "source": rank.source.0,
        "companions": rank.companions.iter().map(|source| source.0).collect::<Vec<_>>(),
        "first_event": rank.events.start,
        "events": rank.events.end.saturating_sub(rank.events.start),
        "devices": rank.devices.iter().map(of_device).collect::<Vec<_>>(),
        "header": of_args(&rank.header),
    })
}

fn of_device(device: &DeviceInfo) -> Value {
    json!({
        "id": device.id,
        "name": device.name,
        "memory_bytes": device.memory_bytes,
        "multiprocessors": device.multiprocessors,
        "compute_capability": device.compute_capability.map(|(major, minor)| [major, minor]),
        "properties": of_args(&device.properties),
    })
}

fn of_source(source: &Source) -> Value {
    json!({
        "path": source.path,
        "format": source.format,
        "origin": source.origin,
        "file_bytes": source.file_bytes,
        "text_bytes": source.text_bytes,
        "file_events": source.file_events,
    })
}

fn of_args(args: &Args) -> Value {
    Value::Object(args.iter().map(|(name, value)| (name.clone(), of_value(value))).collect::<Map<_, _>>())
}

fn of_value(value: &ArgValue) -> Value {
    match value {
        ArgValue::Null => Value::Null,
        ArgValue::Bool(value) => Value::Bool(*value),
        ArgValue::Int(value) => json!(value),
        ArgValue::UInt(value) => json!(value),
        ArgValue::Double(value) => json!(value),
        ArgValue::Text(value) => json!(value),
        ArgValue::List(items) => Value::Array(items.iter().map(of_value).collect()),
        ArgValue::Dict(entries) => of_args(entries),
    }
}
