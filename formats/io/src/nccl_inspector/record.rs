//! One record of the log into an event.

use gapless_trace::{
    ArgValue, Args, ArgsLoc, CollectiveArgs, EventKind, RawChunk, RawId, RawMeta, SourceId, StrId, TracePart,
    TrackKind, WarningKind,
};
use rustc_hash::FxHashMap;

use crate::json::{dict, get, int, list, micros_to_nanos, text, uint};

/// Absent correlation or external id.
const NO_ID: u32 = u32::MAX;

/// A communicator, as the header of a record names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Communicator {
    id: String,
    name: String,
    rank: Option<u32>,
    ranks: Option<u32>,
}

impl Communicator {
    fn of(header: &Args) -> Self {
        let number = |key: &str| uint(header, key).and_then(|value| u32::try_from(value).ok());
        let name = text(header, "comm_name");
        Self {
            id: text(header, "id").to_owned(),
            name: if name == "unknown" { String::new() } else { name.to_owned() },
            rank: number("rank"),
            ranks: number("n_ranks"),
        }
    }

    fn label(&self) -> String {
        let of = self.rank.zip(self.ranks).map_or(String::new(), |(rank, ranks)| format!(", rank {rank} of {ranks}"));
        match self.name.as_str() {
            "" => format!("communicator {}{of}", self.id),
            name => format!("{name} ({}){of}", self.id),
        }
    }
}

/// Who wrote a record, and when.
#[derive(Clone, Debug, Default)]
struct Dump {
    communicator: Communicator,
    pid: Option<i64>,
    time_us: Option<i64>,
}

/// A log under construction.
#[derive(Default)]
pub(super) struct Log {
    pub chunk: RawChunk,
    /// What records without a header of their own belong to.
    current: Option<Dump>,
    tracks: FxHashMap<(Communicator, Option<i64>, bool), u32>,
    /// Records of each communicator.
    communicators: FxHashMap<Communicator, u64>,
    host: Option<String>,
    versions: Vec<String>,
}

/// What kinds of records there are.
#[derive(Clone, Copy)]
struct Form {
    key: &'static str,
    /// What its fields begin with.
    prefix: &'static str,
}

const FORMS: [Form; 2] = [Form { key: "coll_perf", prefix: "coll" }, Form { key: "p2p_perf", prefix: "p2p" }];

impl Log {
    /// Adds the event of `record`, or counts why not.
    pub fn record(&mut self, record: &Args, args: ArgsLoc, offset: u64) {
        let at = Some(offset);
        let dump = match (dict(record, "header"), dict(record, "metadata")) {
            (None, None) => match &self.current {
                Some(dump) => dump.clone(),
                None => return self.lose(WarningKind::MalformedEvent, at, "no header"),
            },
            (header, metadata) => self.dump(header, metadata),
        };
        if let Some(stats) = dict(record, "dump_stats") {
            let lost = |key: &str| uint(stats, key).unwrap_or(0);
            let count =
                ["coll_dropped_since_last_dump", "p2p_dropped_since_last_dump", "proxy_dropped_since_last_dump"]
                    .iter()
                    .fold(0u64, |sum, key| sum.saturating_add(lost(key)));
            self.chunk.warnings.add_many(WarningKind::PacketLost, SourceId(0), count, at, "");
            self.current = Some(dump);
            return;
        }
        if let Some(proxy) = dict(record, "proxy_trace") {
            return self.proxy(&dump, proxy, args, offset);
        }
        let form = FORMS.iter().find_map(|form| Some((form, dict(record, form.key)?)));
        let Some((form, perf)) = form else {
            let detail = record.last().map_or("", |entry| entry.0.as_str()).to_owned();
            return self.lose(WarningKind::UnknownPacket, at, &detail);
        };
        self.call(&dump, form, perf, args, offset);
    }

    fn lose(&mut self, kind: WarningKind, at: Option<u64>, detail: &str) {
        self.chunk.warnings.add(kind, SourceId(0), at, detail);
    }

    fn dump(&mut self, header: Option<&Args>, metadata: Option<&Args>) -> Dump {
        if let Some(metadata) = metadata {
            if self.host.is_none() {
                self.host = Some(text(metadata, "hostname").to_owned()).filter(|host| !host.is_empty());
            }
            let version = text(metadata, "inspector_output_format_version");
            if !self.versions.iter().any(|known| known == version) && self.versions.len() < 8 {
                self.versions.push(version.to_owned());
            }
        }
        Dump {
            communicator: header.map(Communicator::of).unwrap_or_default(),
            pid: metadata.and_then(|metadata| int(metadata, "pid")),
            time_us: metadata.and_then(|metadata| int(metadata, "dump_timestamp_us")),
        }
    }

    /// A collective, or a send or receive.
    fn call(&mut self, dump: &Dump, form: &Form, perf: &Args, args: ArgsLoc, offset: u64) {
        let at = Some(offset);
        let field = |name: &str| format!("{}_{name}", form.prefix);
        let name = text(perf, form.prefix);
        if name.is_empty() {
            return self.lose(WarningKind::MalformedEvent, at, form.key);
        }
        let exec_us = int(perf, &field("exec_time_us")).or_else(|| {
            // Some builds print it as a decimal fraction.
            let value = get(perf, &field("exec_time_us")).and_then(ArgValue::as_f64)?;
            (value.is_finite() && value.abs() < 1e15).then_some(value as i64)
        });
        let Some((start, dur, is_exact)) = place(dump, form, perf, exec_us) else {
            return self.lose(WarningKind::NoTimestamp, at, name);
        };
        if !is_exact {
            self.chunk.warnings.add(WarningKind::EndAssumed, SourceId(0), at, "");
        }
        if dur < 0 {
            self.lose(WarningKind::NegativeDuration, at, name);
        }
        let category = self.chunk.strings.intern(form.key);
        let track = self.track(dump, false);
        let event = self.chunk.len() as u32;
        let strings = &mut self.chunk.strings;
        let communicator = &dump.communicator;
        let collective = CollectiveArgs {
            event,
            name: strings.intern(name),
            // The log has bytes, not elements; they are among the arguments.
            dtype: StrId::EMPTY,
            group: strings.intern(&communicator.id),
            group_desc: strings.intern(&communicator.name),
            in_elems: None,
            out_elems: None,
            group_size: communicator.ranks,
            seq: uint(perf, &field("sn")),
        };
        let name = strings.intern(name);
        self.chunk.push(start, dur.max(0), name, category, EventKind::Async, track, NO_ID, NO_ID, args);
        self.chunk.collectives.push(collective);
        self.chunk.file_events += 1;
        *self.communicators.entry(communicator.clone()).or_default() += 1;
    }

    /// What the proxy thread did for a call: an operation or a step of one.
    fn proxy(&mut self, dump: &Dump, proxy: &Args, args: ArgsLoc, offset: u64) {
        let at = Some(offset);
        let kind = text(proxy, "record_type");
        let times = dict(proxy, "event_trace_ts");
        let time = |names: [&str; 2]| names.iter().find_map(|name| int(times?, name)).and_then(micros_to_nanos);
        let Some(start) = time(["proxy_op_start_ts", "proxy_step_start_ts"]) else {
            return self.lose(WarningKind::NoTimestamp, at, kind);
        };
        let end = time(["proxy_op_stop_ts", "proxy_step_stop_ts"]);
        let name = format!("{kind} {}", text(proxy, "direction"));
        let track = self.track(dump, true);
        let name = self.chunk.strings.intern(name.trim());
        let category = self.chunk.strings.intern("proxy_trace");
        let dur = end.map_or(0, |end| (end - start).max(0));
        self.chunk.push(start, dur, name, category, EventKind::Async, track, NO_ID, NO_ID, args);
        self.chunk.file_events += 1;
    }

    fn track(&mut self, dump: &Dump, is_proxy: bool) -> u32 {
        let key = (dump.communicator.clone(), dump.pid, is_proxy);
        if let Some(&track) = self.tracks.get(&key) {
            return track;
        }
        let mut label = dump.communicator.label();
        if is_proxy {
            label.push_str(" / proxy");
        }
        let label = self.chunk.strings.intern(&label);
        let pid = dump.pid.map_or(RawId::None, RawId::Int);
        // Known ones were found above; looking through all tracks again would take long where there are many.
        self.chunk.tracks.push((TrackKind::Custom, pid, RawId::Text(label)));
        let track = self.chunk.tracks.len() as u32 - 1;
        self.chunk.metas.push(RawMeta::ThreadName(pid, RawId::Text(label), label));
        self.tracks.insert(key, track);
        track
    }

    /// Fills `part`. The rank of a process is its rank in the largest communicator that it is part of.
    pub fn finish(mut self, part: &mut TracePart) {
        let world = self.communicators.keys().filter_map(|one| one.ranks).max();
        let mut ranks: Vec<u32> =
            self.communicators.keys().filter(|one| one.ranks == world).filter_map(|one| one.rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        // A process that drives several devices is several ranks; it counts as its first.
        part.info.rank = ranks.first().copied();
        part.info.world_size = world;
        part.info.host = self.host;
        part.info.backend = Some("nccl".to_owned());
        for version in &self.versions {
            if !version.starts_with("v4.") {
                let detail = format!("inspector {version}; v4.4 is the newest that is known");
                self.chunk.warnings.add(WarningKind::UnknownVersion, SourceId(0), None, &detail);
            }
        }
        let versions = self.versions.into_iter().map(ArgValue::Text).collect();
        part.info.header = vec![("inspector_output_format_version".to_owned(), ArgValue::List(versions))];
        part.source.file_events = self.chunk.file_events;
        part.chunks.push(self.chunk);
    }
}

/// When a call began and how long it took, in ns, and whether the log says so.
///
/// Kernel times of the verbose form come first: from the first start to the last stop over all channels. Where it has
/// the times of the call itself only, it begins there. Else it ends when the record was written.
fn place(dump: &Dump, form: &Form, perf: &Args, exec_us: Option<i64>) -> Option<(i64, i64, bool)> {
    let nanos = |micros: i64| micros_to_nanos(micros).filter(|&nanos| nanos > 0);
    if let Some(times) = dict(perf, "event_trace_ts") {
        let of_kernels = |key: &'static str| {
            list(times, "kernel_events").iter().filter_map(move |event| match event {
                ArgValue::Dict(event) => int(event, key).and_then(nanos),
                _ => None,
            })
        };
        if let (Some(start), Some(end)) = (of_kernels("kernel_start_ts").min(), of_kernels("kernel_stop_ts").max()) {
            return Some((start, end - start, true));
        }
        if let Some(start) = int(times, &format!("{}_start_ts", form.prefix)).and_then(nanos) {
            return Some((start, exec_us.and_then(micros_to_nanos).unwrap_or(0), true));
        }
    }
    let end = dump.time_us.and_then(nanos)?;
    let dur = exec_us.and_then(micros_to_nanos).unwrap_or(0);
    Some((end - dur.max(0), dur, false))
}
