//! What stands before the events: the header, and the names of processes and threads.

use gapless_trace::{ArgValue, Args, CounterId, EventKind, RankId, RawId, Trace, TrackKind};
use rustc_hash::FxHashSet;

use super::encode::Context;
use super::json::{push_dict, push_text, push_value};
use super::place::lane_name;
use super::write::Lanes;

/// The header up to the bracket that opens the list of events.
pub(super) fn header(trace: &Trace, ranks: &[RankId], base_ns: Option<i64>, out: &mut Vec<u8>) {
    let rank = match ranks {
        [only] => trace.rank(*only),
        _ => None,
    };
    let mut fields: Args = Vec::new();
    let own = |key: &str| {
        let header = rank.map(|rank| rank.header.as_slice()).unwrap_or_default();
        header.iter().find(|entry| entry.0 == key).map(|entry| entry.1.clone())
    };
    fields.push(("schemaVersion".to_owned(), own("schemaVersion").unwrap_or(ArgValue::Int(1))));
    if let Some(rank) = rank {
        let devices = rank.devices.iter().map(|device| ArgValue::Dict(device_fields(device))).collect();
        fields.push(("deviceProperties".to_owned(), ArgValue::List(devices)));
        if let Some(distributed) = own("distributedInfo").or_else(|| distributed(rank)) {
            fields.push(("distributedInfo".to_owned(), distributed));
        }
        let host = rank.host.as_ref().filter(|_| own("host_name").is_none());
        fields.extend(host.map(|host| ("host_name".to_owned(), ArgValue::Text(host.clone()))));
        let written = ["schemaVersion", "deviceProperties", "distributedInfo", "baseTimeNanoseconds", "traceEvents"];
        fields.extend(rank.header.iter().filter(|entry| !written.contains(&entry.0.as_str())).cloned());
    }
    if !fields.iter().any(|entry| entry.0 == "displayTimeUnit") {
        fields.push(("displayTimeUnit".to_owned(), ArgValue::Text("ms".to_owned())));
    }
    fields.extend(base_ns.map(|base| ("baseTimeNanoseconds".to_owned(), ArgValue::Int(base))));
    out.extend_from_slice(b"{\n");
    for (key, value) in &fields {
        push_text(key, out);
        out.extend_from_slice(b": ");
        push_value(value, out);
        out.extend_from_slice(b",\n");
    }
    out.extend_from_slice(b"\"traceEvents\": [");
}

fn distributed(rank: &gapless_trace::Rank) -> Option<ArgValue> {
    let mut fields: Args = Vec::new();
    let int = |value: u32| ArgValue::Int(i64::from(value));
    fields.extend(rank.backend.clone().map(|backend| ("backend".to_owned(), ArgValue::Text(backend))));
    fields.extend(rank.number.map(|number| ("rank".to_owned(), int(number))));
    fields.extend(rank.world_size.map(|size| ("world_size".to_owned(), int(size))));
    (!fields.is_empty()).then_some(ArgValue::Dict(fields))
}

/// The properties that the source has, or those that the model knows.
fn device_fields(device: &gapless_trace::DeviceInfo) -> Args {
    if !device.properties.is_empty() {
        return device.properties.clone();
    }
    let int = |value: u64| i64::try_from(value).map_or(ArgValue::UInt(value), ArgValue::Int);
    let mut fields: Args =
        vec![("id".to_owned(), int(u64::from(device.id))), ("name".to_owned(), ArgValue::Text(device.name.clone()))];
    fields.extend(device.memory_bytes.map(|bytes| ("totalGlobalMem".to_owned(), int(bytes))));
    fields.extend(device.compute_capability.into_iter().flat_map(|(major, minor)| {
        [("computeMajor".to_owned(), int(u64::from(major))), ("computeMinor".to_owned(), int(u64::from(minor)))]
    }));
    fields.extend(device.multiprocessors.map(|count| ("numSms".to_owned(), int(u64::from(count)))));
    fields
}

/// Names and places of processes and threads; each entry begins with a comma.
pub(super) fn metadata(context: &Context<'_>, out: &mut Vec<u8>) {
    let trace = context.trace;
    let several = context.ranks.len() > 1;
    let mut named: FxHashSet<(RankId, RawId)> = FxHashSet::default();
    for (id, process) in trace.processes().iter().enumerate() {
        // A host process and a device may share an id, and then the name that goes with it.
        if !context.ranks.contains(&process.rank) || !named.insert((process.rank, process.pid)) {
            continue;
        }
        let mut entry = |name: &str, key: &str, value: &ArgValue| {
            open(name, out);
            context.places.push_pid(gapless_trace::ProcessId(id as u32), out);
            close(key, value, out);
        };
        let text = |id| ArgValue::Text(trace.text(id).to_owned());
        if process.name != gapless_trace::StrId::EMPTY {
            entry("process_name", "name", &text(process.name));
        }
        let labels = trace.text(process.labels);
        if several {
            let rank = trace.rank(process.rank).map(gapless_trace::Rank::label).unwrap_or_default();
            entry("process_labels", "labels", &ArgValue::Text(format!("{rank} {labels}").trim().to_owned()));
        } else if !labels.is_empty() {
            entry("process_labels", "labels", &text(process.labels));
        }
        if let Some(index) = process.sort_index {
            entry("process_sort_index", "sort_index", &ArgValue::Int(index));
        }
    }
    threads(context, out);
}

fn threads(context: &Context<'_>, out: &mut Vec<u8>) {
    let trace = context.trace;
    let mut named: FxHashSet<(RankId, RawId, RawId)> = FxHashSet::default();
    for (id, track) in trace.track_ids().filter(|(_, track)| context.ranks.contains(&track.rank)) {
        // Asynchronous tracks and counters belong to no thread.
        if matches!(track.kind, TrackKind::Async | TrackKind::Counter) {
            continue;
        }
        let pid = trace.process(track.process).map_or(RawId::None, |process| process.pid);
        if named.insert((track.rank, pid, track.tid)) {
            let mut entry = |name: &str, key: &str, value: &ArgValue| {
                open(name, out);
                context.places.push_pid(track.process, out);
                context.places.push_tid(id, out);
                close(key, value, out);
            };
            if track.name != gapless_trace::StrId::EMPTY {
                entry("thread_name", "name", &ArgValue::Text(trace.text(track.name).to_owned()));
            }
            if let Some(index) = track.sort_index {
                entry("thread_sort_index", "sort_index", &ArgValue::Int(index));
            }
        }
        if context.options.lanes == Lanes::Apart && track.lanes > 1 {
            let name = trace.text(track.name);
            let rows = trace.rows_of(track).iter().filter(|row| row.lane > 0 && row.depth == 0);
            for row in rows.filter(|_| !name.is_empty()) {
                open("thread_name", out);
                context.places.push_pid(track.process, out);
                context.places.push_tid_of_row(trace, row, out);
                close("name", &ArgValue::Text(lane_name(name, row.lane)), out);
            }
        }
    }
}

fn open(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\n{\"ph\": \"M\", \"name\": ");
    push_text(name, out);
    out.extend_from_slice(b", ");
}

fn close(key: &str, value: &ArgValue, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"args\": ");
    push_dict(&vec![(key.to_owned(), value.clone())], out);
    out.push(b'}');
}

/// What follows the list of events.
pub(super) fn tail(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\n]}\n");
}

/// Counters that a reader derives from allocator events once more, as long as their arguments are written.
pub(super) fn derived_counters(trace: &Trace) -> FxHashSet<CounterId> {
    let is_memory = |track: &gapless_trace::Track| {
        let ids = track.events.start as usize..track.events.end as usize;
        track.kind == TrackKind::ThreadInstants
            && trace.events().kinds().get(ids).unwrap_or_default().contains(&EventKind::MemoryInstant)
    };
    let pid_of = |track: &gapless_trace::Track| {
        (track.rank, trace.process(track.process).map_or(RawId::None, |process| process.pid))
    };
    let owners: FxHashSet<(RankId, RawId)> =
        trace.tracks().iter().filter(|track| is_memory(track)).map(pid_of).collect();
    let is_derived = |track: &gapless_trace::Track, name: &str, unit: &str| {
        let of_device = name.strip_prefix("CPU").or_else(|| {
            let rest = name.strip_prefix("GPU ")?;
            Some(rest.trim_start_matches(|letter: char| letter.is_ascii_digit()))
        });
        unit == "bytes"
            && matches!(of_device, Some(" memory allocated" | " memory reserved"))
            && owners.contains(&pid_of(track))
    };
    let counters = trace.tracks().iter().filter_map(|track| {
        let id = track.counter?;
        let series = trace.counters().get(id.index())?;
        is_derived(track, trace.text(series.name), trace.text(series.unit)).then_some(id)
    });
    counters.collect()
}

/// What the times of the file count from: the base of its rank, or the earliest of several.
pub(super) fn base_ns(trace: &Trace, ranks: &[RankId]) -> Option<i64> {
    ranks.iter().filter_map(|&rank| trace.rank(rank)?.base_time_ns).min()
}
