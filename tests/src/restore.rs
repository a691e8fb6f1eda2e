//! A Perfetto file of Gapless's own, put together again in the plainest way that can be right: whole messages through
//! prost, tables looked up where they are needed. The product's reader is held to the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use gapless_trace::{
    ArgValue, Args, ArgsLoc, ArgsSource, BuildOptions, CollectiveArgs, DeviceInfo, EventKind, Frame, RawChunk,
    RawCounter, RawEdge, RawEventStack, RawId, RawMeta, RawPlace, Source, SourceId, StrId, Trace, TracePart, TrackKind,
    WarningKind, Warnings,
};
use perfetto_proto::{
    DebugAnnotation, EventType, InternedData, Message, TrackEvent, annotation, trace_packet, track_event,
};

use crate::arbitrary::ListedArgs;

/// Interned entries of one sequence, by field and id.
#[derive(Default)]
struct Known {
    texts: HashMap<(u32, u64), String>,
    mappings: HashMap<u64, u64>,
    frames: HashMap<u64, perfetto_proto::Frame>,
    stacks: HashMap<u64, Vec<u64>>,
}

impl Known {
    fn add(&mut self, data: &InternedData) -> Result<()> {
        let mut text = |field: u32, iid: Option<u64>, text: &str| {
            let iid = iid.unwrap_or(0);
            ensure!(iid != 0, "id 0 in field {field}");
            let old = self.texts.insert((field, iid), text.to_owned());
            ensure!(old.is_none(), "id {iid} of field {field} is given twice");
            Ok(())
        };
        for entry in &data.event_categories {
            text(1, entry.iid, entry.name())?;
        }
        for entry in &data.event_names {
            text(2, entry.iid, entry.name())?;
        }
        for entry in &data.debug_annotation_names {
            text(3, entry.iid, entry.name())?;
        }
        let others = [
            (5, &data.function_names),
            (17, &data.mapping_paths),
            (18, &data.source_paths),
            (29, &data.debug_annotation_string_values),
        ];
        for (field, entries) in others {
            for entry in entries {
                text(field, entry.iid, std::str::from_utf8(entry.str())?)?;
            }
        }
        for mapping in &data.mappings {
            self.mappings.insert(mapping.iid(), *mapping.path_string_ids.first().context("a mapping without a path")?);
        }
        self.frames.extend(data.frames.iter().map(|frame| (frame.iid(), frame.clone())));
        self.stacks.extend(data.callstacks.iter().map(|stack| (stack.iid(), stack.frame_ids.clone())));
        Ok(())
    }

    fn text(&self, field: u32, iid: u64) -> Result<&str> {
        if iid == 0 {
            return Ok("");
        }
        self.texts.get(&(field, iid)).map(String::as_str).with_context(|| format!("no text {iid} of field {field}"))
    }

    fn args(&self, annotations: &[DebugAnnotation]) -> Result<Args> {
        annotations.iter().map(|entry| self.named(entry)).collect()
    }

    fn named(&self, entry: &DebugAnnotation) -> Result<(String, ArgValue)> {
        use annotation::NameField;
        let name = match &entry.name_field {
            Some(NameField::NameIid(iid)) => self.text(3, *iid)?.to_owned(),
            Some(NameField::Name(name)) => name.clone(),
            None => String::new(),
        };
        Ok((name, self.value(entry)?))
    }

    fn value(&self, entry: &DebugAnnotation) -> Result<ArgValue> {
        use annotation::Value;
        Ok(match &entry.value {
            Some(Value::BoolValue(value)) => ArgValue::Bool(*value),
            Some(Value::UintValue(value)) => ArgValue::UInt(*value),
            Some(Value::IntValue(value)) => ArgValue::Int(*value),
            Some(Value::DoubleValue(value)) => ArgValue::Double(*value),
            Some(Value::StringValue(text)) => ArgValue::Text(text.clone()),
            Some(Value::StringValueIid(iid)) => ArgValue::Text(self.text(29, *iid)?.to_owned()),
            Some(Value::LegacyJsonValue(json)) => Json { rest: json }.whole()?,
            Some(Value::PointerValue(_)) => bail!("a pointer is never written"),
            None if !entry.dict_entries.is_empty() => ArgValue::Dict(self.args(&entry.dict_entries)?),
            None => ArgValue::List(entry.array_values.iter().map(|item| self.value(item)).collect::<Result<_>>()?),
        })
    }
}

/// The little of JSON that the writer writes, and `NaN` and `Infinity`.
struct Json<'a> {
    rest: &'a str,
}

impl Json<'_> {
    fn whole(mut self) -> Result<ArgValue> {
        let value = self.value()?;
        ensure!(self.rest.is_empty(), "text after a JSON value");
        Ok(value)
    }

    fn take(&mut self, token: &str) -> bool {
        let after = self.rest.strip_prefix(token);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn until(&mut self, end: usize) -> &str {
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        text
    }

    fn string(&mut self) -> Result<String> {
        let mut escaped = false;
        let end = self.rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        Ok(serde_json::from_str(self.until(end.context("a text without an end")? + 2))?)
    }

    fn value(&mut self) -> Result<ArgValue> {
        for (word, value) in [
            ("null", ArgValue::Null),
            ("true", ArgValue::Bool(true)),
            ("false", ArgValue::Bool(false)),
            ("NaN", ArgValue::Double(f64::NAN)),
            ("Infinity", ArgValue::Double(f64::INFINITY)),
            ("-Infinity", ArgValue::Double(f64::NEG_INFINITY)),
        ] {
            if self.take(word) {
                return Ok(value);
            }
        }
        if self.take("[") {
            let mut items = Vec::new();
            while !self.take("]") {
                items.push(self.value()?);
                self.take(",");
            }
            return Ok(ArgValue::List(items));
        }
        if self.take("{") {
            let mut entries = Args::new();
            while !self.take("}") {
                let name = self.string()?;
                ensure!(self.take(":"), "no colon");
                entries.push((name, self.value()?));
                self.take(",");
            }
            return Ok(ArgValue::Dict(entries));
        }
        if self.rest.starts_with('"') {
            return Ok(ArgValue::Text(self.string()?));
        }
        let end = self.rest.find([',', ']', '}']).unwrap_or(self.rest.len());
        let number = self.until(end);
        if let Ok(value) = number.parse() {
            return Ok(ArgValue::Int(value));
        }
        if let Ok(value) = number.parse() {
            return Ok(ArgValue::UInt(value));
        }
        Ok(ArgValue::Double(number.parse()?))
    }
}

/// A value of a dict, by name.
trait Look {
    fn look(&self, name: &str) -> Option<&ArgValue>;

    fn int(&self, name: &str) -> Option<i64> {
        self.look(name).and_then(ArgValue::as_i64)
    }

    fn uint(&self, name: &str) -> Option<u64> {
        match self.look(name)? {
            ArgValue::Int(value) => u64::try_from(*value).ok(),
            ArgValue::UInt(value) => Some(*value),
            _ => None,
        }
    }

    fn u32(&self, name: &str) -> Option<u32> {
        self.uint(name).and_then(|value| value.try_into().ok())
    }

    fn str(&self, name: &str) -> Option<&str> {
        self.look(name).and_then(ArgValue::as_str)
    }

    fn text(&self, name: &str) -> String {
        self.str(name).unwrap_or_default().to_owned()
    }

    fn dict(&self, name: &str) -> Args {
        match self.look(name) {
            Some(ArgValue::Dict(entries)) => entries.clone(),
            _ => Args::new(),
        }
    }

    fn dicts(&self, name: &str) -> Vec<Args> {
        let Some(ArgValue::List(items)) = self.look(name) else { return Vec::new() };
        let entries = |item: &ArgValue| match item {
            ArgValue::Dict(entries) => entries.clone(),
            _ => Args::new(),
        };
        items.iter().map(entries).collect()
    }
}

impl Look for Args {
    fn look(&self, name: &str) -> Option<&ArgValue> {
        self.iter().find(|entry| entry.0 == name).map(|entry| &entry.1)
    }
}

/// A track event with what its packet and sequence add to it.
struct Placed {
    time: u64,
    event: TrackEvent,
    name: String,
    category: String,
    args: Args,
    /// Frames from the outermost: name, file, module, line.
    stack: Vec<([String; 3], u32)>,
}

/// Reads a file that the exporter wrote.
///
/// # Errors
/// When the file breaks one of the rules that its own reader relies on.
pub fn restore(bytes: &[u8]) -> Result<Trace> {
    let mut facts = Vec::new();
    let mut events = Vec::new();
    let mut sequences: HashMap<u32, Known> = HashMap::new();
    for packet in perfetto_proto::Trace::decode(bytes)?.packet {
        let known = sequences.entry(packet.trusted_packet_sequence_id()).or_default();
        if let Some(data) = &packet.interned_data {
            known.add(data)?;
        }
        let time = packet.timestamp.context("a packet without a time")?;
        let Some(trace_packet::Data::TrackEvent(event)) = packet.data else { continue };
        let placed = place(known, time, *event)?;
        if placed.category == "gapless.facts" && placed.args.look("gapless.version") == Some(&ArgValue::Int(2)) {
            ensure!(events.is_empty(), "facts after an event");
            facts.push(placed.args);
        } else {
            events.push(placed);
        }
    }
    // Stable: the order of the file among equal times.
    events.sort_by_key(|placed| placed.time);
    Restoring::new(facts)?.run(events)
}

fn place(known: &Known, time: u64, event: TrackEvent) -> Result<Placed> {
    use track_event::{CallstackField, NameField};
    let name = match &event.name_field {
        Some(NameField::NameIid(iid)) => known.text(2, *iid)?.to_owned(),
        Some(NameField::Name(name)) => name.clone(),
        None => String::new(),
    };
    ensure!(event.category_iids.len() + event.categories.len() <= 1, "several categories");
    let category = match event.category_iids.first() {
        Some(&iid) => known.text(1, iid)?.to_owned(),
        None => event.categories.first().cloned().unwrap_or_default(),
    };
    let mut stack = Vec::new();
    if let Some(CallstackField::CallstackIid(iid)) = event.callstack_field {
        for iid in known.stacks.get(&iid).context("no such call stack")? {
            let frame = known.frames.get(iid).context("no such frame")?;
            let path = match frame.mapping_id() {
                0 => 0,
                mapping => *known.mappings.get(&mapping).context("no such mapping")?,
            };
            let texts = [
                known.text(5, frame.function_name_id())?,
                known.text(18, frame.source_path_iid())?,
                known.text(17, path)?,
            ];
            stack.push((texts.map(str::to_owned), frame.line_number()));
        }
    }
    let args = known.args(&event.debug_annotations)?;
    Ok(Placed { time, event, name, category, args, stack })
}

/// What a track of the file is: rank, its kind and ids, or its counter's name and unit.
struct Home {
    rank: usize,
    track: u32,
    counter: Option<(String, String)>,
}

/// Place of an event: its chunk and its place there.
type Place = (usize, u32);

struct Restoring {
    facts: Vec<Args>,
    chunks: Vec<RawChunk>,
    homes: HashMap<u64, Home>,
    kinds: HashMap<String, EventKind>,
    shift_ns: i64,
    listed: Vec<Args>,
    /// Both ends of each flow.
    flows: BTreeMap<u64, (Option<Place>, Option<Place>)>,
}

impl Restoring {
    fn new(facts: Vec<Args>) -> Result<Self> {
        let mut this = Self {
            shift_ns: facts.first().and_then(|facts| facts.int("gapless.shift_ns")).unwrap_or(0),
            kinds: HashMap::new(),
            chunks: Vec::new(),
            homes: HashMap::new(),
            listed: Vec::new(),
            flows: BTreeMap::new(),
            facts: Vec::new(),
        };
        for entry in facts.first().map(|facts| facts.dicts("gapless.kinds")).unwrap_or_default() {
            let kind = entry.str("kind").and_then(EventKind::from_id).context("an unknown kind")?;
            this.kinds.insert(entry.text("category"), kind);
        }
        for (rank, facts) in facts.iter().enumerate() {
            let chunk = this.tracks(rank, facts)?;
            this.chunks.push(chunk);
        }
        this.facts = facts;
        Ok(this)
    }

    fn tracks(&mut self, rank: usize, facts: &Args) -> Result<RawChunk> {
        let mut chunk = RawChunk::default();
        let raw_id = |chunk: &mut RawChunk, value: Option<&ArgValue>| match value {
            Some(ArgValue::Int(value)) => RawId::Int(*value),
            Some(ArgValue::Text(text)) => RawId::Text(chunk.strings.intern(text)),
            _ => RawId::None,
        };
        let mut pids = Vec::new();
        for process in facts.dicts("gapless.processes") {
            let pid = raw_id(&mut chunk, process.look("pid"));
            pids.push(pid);
            if let Some(name) = process.str("name") {
                let name = chunk.strings.intern(name);
                chunk.metas.push(RawMeta::ProcessName(pid, name));
            }
            if let Some(labels) = process.str("labels") {
                let labels = chunk.strings.intern(labels);
                chunk.metas.push(RawMeta::ProcessLabels(pid, labels));
            }
            chunk.metas.extend(process.int("sort_index").map(|index| RawMeta::ProcessSort(pid, index)));
        }
        for track in facts.dicts("gapless.tracks") {
            let kind = track.str("kind").and_then(TrackKind::from_id).context("an unknown kind of track")?;
            let process = track.uint("process").context("a track without a process")?;
            let pid = *pids.get(process as usize).context("no such process")?;
            let tid = raw_id(&mut chunk, track.look("tid"));
            let uuid = track.uint("uuid").context("a track without an id")?;
            let is_counter = kind == TrackKind::Counter;
            let counter = is_counter.then(|| (track.text("counter"), track.text("unit")));
            if !is_counter {
                if let Some(name) = track.str("name") {
                    let name = chunk.strings.intern(name);
                    chunk.metas.push(RawMeta::ThreadName(pid, tid, name));
                }
                chunk.metas.extend(track.int("sort_index").map(|index| RawMeta::ThreadSort(pid, tid, index)));
            }
            let home = Home { rank, track: chunk.track(kind, pid, tid), counter };
            ensure!(self.homes.insert(uuid, home).is_none(), "track {uuid} is listed twice");
        }
        Ok(chunk)
    }

    fn run(mut self, events: Vec<Placed>) -> Result<Trace> {
        let mut open: HashMap<u64, Vec<(usize, u32, u64, bool)>> = HashMap::new();
        let mut counts: HashMap<u64, u64> = HashMap::new();
        for placed in events {
            let uuid = placed.event.track_uuid();
            *counts.entry(uuid).or_default() += u64::from(placed.event.r#type() != EventType::SliceEnd);
            match placed.event.r#type() {
                EventType::SliceEnd => {
                    let stack = open.entry(uuid).or_default();
                    let (rank, event, begin, is_told) = stack.pop().context("an end without a begin")?;
                    if !is_told && let Some(dur) = self.chunks.get_mut(rank).and_then(|c| c.dur.get_mut(event as usize))
                    {
                        *dur = i64::try_from(placed.time - begin)?;
                    }
                }
                EventType::SliceBegin | EventType::Instant => {
                    let (rank, event) = self.event(&placed)?;
                    if placed.event.r#type() == EventType::SliceBegin {
                        let is_told = placed.args.look("gapless.dur").is_some();
                        open.entry(uuid).or_default().push((rank, event, placed.time, is_told));
                    }
                }
                EventType::Counter => self.counter(&placed)?,
                other => bail!("unexpected {other:?}"),
            }
        }
        ensure!(open.values().all(Vec::is_empty), "a begin without an end");
        for track in self.facts.iter().flat_map(|facts| facts.dicts("gapless.tracks")) {
            let uuid = track.uint("uuid").unwrap_or(0);
            let told = track.uint("events").unwrap_or(0);
            ensure!(counts.get(&uuid).copied().unwrap_or(0) == told, "track {uuid} has not the {told} events it says");
        }
        let edges = self.edges()?;
        let args: Arc<dyn ArgsSource> = Arc::new(ListedArgs(std::mem::take(&mut self.listed)));
        let mut parts = Vec::new();
        for ((facts, chunk), edges) in self.facts.iter().zip(std::mem::take(&mut self.chunks)).zip(edges) {
            let mut part = part(facts)?;
            part.args = Arc::clone(&args);
            part.chunks = vec![chunk];
            part.edges = edges;
            parts.push(part);
        }
        Ok(Trace::from_parts(parts, &BuildOptions::default())?)
    }

    fn time(&self, placed: &Placed, rank: usize) -> Result<i64> {
        let in_file = i64::try_from(i128::from(placed.time) - i128::from(self.shift_ns));
        let time = match placed.args.int("gapless.start") {
            Some(time) => time,
            None => in_file?,
        };
        let base =
            self.facts.get(rank).map(|facts| facts.dict("gapless.rank")).and_then(|rank| rank.int("base_time_ns"));
        Ok(time.saturating_sub(base.unwrap_or(0)))
    }

    fn event(&mut self, placed: &Placed) -> Result<(usize, u32)> {
        let home = self.homes.get(&placed.event.track_uuid()).context("an event on a track that is not listed")?;
        let (rank, track) = (home.rank, home.track);
        let (start, dur) = (self.time(placed, rank)?, placed.args.int("gapless.dur").unwrap_or(0));
        let of_category = self.kinds.get(&placed.category).copied();
        let kind = placed.args.str("gapless.kind").and_then(EventKind::from_id).or(of_category).context("no kind")?;
        let own: Args = placed
            .args
            .iter()
            .filter(|(name, _)| !name.starts_with("gapless.") || name.starts_with("gapless.arg."))
            .map(|(name, value)| (name.strip_prefix("gapless.arg.").unwrap_or(name).to_owned(), value.clone()))
            .collect();
        let correlation = id(&placed.args, &own, "gapless.correlation", "correlation");
        let external = id(&placed.args, &own, "gapless.external", "External id");
        let mut loc = ArgsLoc::NONE;
        if !own.is_empty() || placed.args.look("gapless.args").is_some() {
            loc = ArgsLoc::new(self.listed.len() as u64, 1).context("too many arguments")?;
            self.listed.push(own);
        }
        let chunk = self.chunks.get_mut(rank).context("no such rank")?;
        let event = chunk.len() as u32;
        let (name, category) = (chunk.strings.intern(&placed.name), chunk.strings.intern(&placed.category));
        chunk.push(start, dur, name, category, kind, track, correlation, external, loc);
        chunk.copy_bytes.extend(placed.args.uint("gapless.bytes").map(|bytes| (event, bytes)));
        if placed.args.look("gapless.collective").is_some() {
            let said = placed.args.dict("gapless.collective");
            let mut text = |name: &str| chunk.strings.intern(said.str(name).unwrap_or_default());
            let entry = CollectiveArgs {
                event,
                name: text("name"),
                dtype: text("dtype"),
                group: text("group"),
                group_desc: text("group_desc"),
                in_elems: said.uint("in_elems"),
                out_elems: said.uint("out_elems"),
                group_size: said.u32("group_size"),
                seq: said.uint("seq"),
            };
            chunk.collectives.push(entry);
        }
        let frames: Vec<Frame> = placed
            .stack
            .iter()
            .map(|(texts, line)| {
                let [name, file, module] = texts.each_ref().map(|text| chunk.strings.intern(text));
                Frame { name, file, module, line: *line }
            })
            .collect();
        if let Some(stack) = chunk.stacks.push_all(frames) {
            let weight = placed.event.callstack_weight.map_or(1, |weight| weight as u64);
            let weight = placed.args.uint("gapless.weight").unwrap_or(weight);
            chunk.event_stacks.push(RawEventStack { event, stack, weight });
        }
        for &flow in &placed.event.flow_ids {
            let end = &mut self.flows.entry(flow).or_default().0;
            ensure!(end.replace((rank, event)).is_none(), "flow {flow} begins twice");
        }
        for &flow in &placed.event.terminating_flow_ids {
            let end = &mut self.flows.entry(flow).or_default().1;
            ensure!(end.replace((rank, event)).is_none(), "flow {flow} ends twice");
        }
        Ok((rank, event))
    }

    fn counter(&mut self, placed: &Placed) -> Result<()> {
        use track_event::CounterValueField;
        let home = self.homes.get(&placed.event.track_uuid()).context("a value on a track that is not listed")?;
        let rank = home.rank;
        let (name, unit) = home.counter.clone().context("a value on a track that is no counter")?;
        let time = self.time(placed, rank)?;
        let value = match placed.event.counter_value_field {
            Some(CounterValueField::CounterValue(value)) => value as f64,
            Some(CounterValueField::DoubleCounterValue(value)) => value,
            None => bail!("a counter without a value"),
        };
        let track = home.track;
        let chunk = self.chunks.get_mut(rank).context("no such rank")?;
        let (_, pid, _) = *chunk.tracks.get(track as usize).context("no such track")?;
        let (name, unit) = (chunk.strings.intern(&name), chunk.strings.intern(&unit));
        chunk.counters.push(RawCounter { pid, name, unit, time, value });
        Ok(())
    }

    fn edges(&mut self) -> Result<Vec<Vec<RawEdge>>> {
        let mut edges = vec![Vec::new(); self.chunks.len()];
        let ranges = self.facts.first().map(|facts| facts.dicts("gapless.flows")).unwrap_or_default();
        for (&flow, &(first, last)) in &self.flows {
            let (first, last) = (first.context("a flow without a begin")?, last.context("a flow without an end")?);
            let holds = |range: &&Args| {
                let begin = range.uint("first").unwrap_or(0);
                (begin..begin + range.uint("count").unwrap_or(0)).contains(&flow)
            };
            let range = ranges.iter().find(holds).context("a flow of no range")?;
            let is_reversed = range.look("reversed") == Some(&ArgValue::Bool(true));
            let (from, to) = if is_reversed { (last, first) } else { (first, last) };
            ensure!(from.0 == to.0, "a flow between ranks");
            let chunk = self.chunks.get_mut(from.0).context("no such rank")?;
            let category: Option<StrId> = range.str("category").map(|category| chunk.strings.intern(category));
            let place = |end: (usize, u32)| RawPlace { chunk: 0, event: end.1 };
            let of_rank: Option<&mut Vec<RawEdge>> = edges.get_mut(from.0);
            of_rank.context("no such rank")?.push(RawEdge { from: place(from), to: place(to), category });
        }
        Ok(edges)
    }
}

fn id(all: &Args, own: &Args, gapless: &str, argument: &str) -> u32 {
    match all.look(gapless) {
        Some(ArgValue::Bool(_)) => return u32::MAX,
        Some(_) => return all.u32(gapless).unwrap_or(u32::MAX),
        None => {}
    }
    let said = own.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(argument)).map(|(_, value)| value);
    let said = match said {
        Some(ArgValue::Int(value)) => u32::try_from(*value).ok(),
        Some(ArgValue::UInt(value)) => u32::try_from(*value).ok(),
        _ => None,
    };
    said.unwrap_or(u32::MAX)
}

fn source(facts: &Args) -> Source {
    let origin =
        facts.str("origin").map_or_else(|| format!("{}, {}", facts.text("path"), facts.text("format")), str::to_owned);
    Source { path: "restored".to_owned(), origin: Some(origin), ..Source::default() }
}

fn part(facts: &Args) -> Result<TracePart> {
    let mut part = TracePart::new(source(&facts.dict("gapless.source")));
    part.is_restored = true;
    let rank = facts.dict("gapless.rank");
    part.info.rank = rank.u32("number");
    part.info.world_size = rank.u32("world_size");
    part.info.host = rank.str("host").map(str::to_owned);
    part.info.backend = rank.str("backend").map(str::to_owned);
    part.info.base_time_ns = rank.int("base_time_ns");
    ensure!(rank.int("clock_offset_ns") == Some(0), "no trace has a clock offset yet");
    part.info.header = facts.dict("gapless.header");
    for device in facts.dicts("gapless.devices") {
        let capability = match device.look("compute_capability") {
            Some(ArgValue::List(numbers)) => match numbers.as_slice() {
                [major, minor] => {
                    let number = |value: &ArgValue| value.as_i64().and_then(|value| u32::try_from(value).ok());
                    Some((number(major).unwrap_or(0), number(minor).unwrap_or(0)))
                }
                _ => bail!("a capability of {} numbers", numbers.len()),
            },
            _ => None,
        };
        part.info.devices.push(DeviceInfo {
            id: device.u32("id").context("a device without an id")?,
            name: device.text("name"),
            memory_bytes: device.uint("memory_bytes"),
            multiprocessors: device.u32("multiprocessors"),
            compute_capability: capability,
            properties: device.dict("properties"),
        });
    }
    part.companions = facts.dicts("gapless.companions").iter().map(source).collect();
    part.companion_warnings = vec![Warnings::default(); part.companions.len()];
    for warning in facts.dicts("gapless.warnings") {
        let kind = WarningKind::ALL.iter().find(|kind| Some(kind.id()) == warning.str("kind"));
        let kind = *kind.context("an unknown kind of warning")?;
        let list = match warning.uint("source") {
            None | Some(0) => &mut part.warnings,
            Some(place) => part.companion_warnings.get_mut(place as usize - 1).context("no such companion")?,
        };
        let offsets: Vec<u64> = match warning.look("offsets") {
            Some(ArgValue::List(offsets)) => {
                let offset = |value: &ArgValue| match value {
                    ArgValue::Int(value) => *value as u64,
                    ArgValue::UInt(value) => *value,
                    _ => 0,
                };
                offsets.iter().map(offset).collect()
            }
            _ => Vec::new(),
        };
        let more = (offsets.len() as u64).saturating_sub(1);
        let count = warning.uint("count").context("a warning without a count")? - more;
        list.add_many(kind, SourceId(0), count, offsets.first().copied(), warning.str("detail").unwrap_or_default());
        for &offset in offsets.iter().skip(1) {
            list.add(kind, SourceId(0), Some(offset), "");
        }
    }
    Ok(part)
}
