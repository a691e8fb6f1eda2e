//! One entry of the dump into an event.

use gapless_trace::{
    ArgValue, Args, ArgsLoc, CollectiveArgs, EventKind, Frame, RawChunk, RawEventStack, RawId, RawMeta, SourceId,
    StackId, StrId, TrackKind, WarningKind,
};
use rustc_hash::FxHashMap;

use crate::error::Refused;
use crate::json::{FARTHEST_NS, get, int, list, text, uint};

/// Absent correlation or external id.
const NO_ID: u32 = u32::MAX;

/// Events under construction.
pub(super) struct Recorder {
    pub chunk: RawChunk,
    /// Whether the dump has a list of entries, if an empty one.
    pub has_entries: bool,
    category: StrId,
    pid: RawId,
    tracks: FxHashMap<(String, String), u32>,
    /// Ranks in each process group, by name.
    sizes: FxHashMap<String, u32>,
    backends: Vec<String>,
}

impl Recorder {
    /// Nothing yet; group sizes are in `header`.
    pub fn new(header: &Args) -> Self {
        let mut chunk = RawChunk::default();
        let category = chunk.strings.intern("flight_recorder");
        let pid = RawId::Text(chunk.strings.intern("Flight recorder"));
        let mut sizes = FxHashMap::default();
        if let Some(ArgValue::Dict(groups)) = get(header, "pg_config") {
            for (name, group) in groups {
                let ArgValue::Dict(group) = group else { continue };
                // A text like "[0, 1, 2]".
                let ranks = text(group, "ranks").bytes().filter(|&byte| byte == b',').count();
                let is_empty = !text(group, "ranks").bytes().any(|byte| byte.is_ascii_digit());
                if !is_empty {
                    sizes.insert(name.clone(), u32::try_from(ranks + 1).unwrap_or(u32::MAX));
                }
            }
        }
        Self { chunk, has_entries: true, category, pid, tracks: FxHashMap::default(), sizes, backends: Vec::new() }
    }

    /// Refuses a pickle that holds something else.
    pub fn refuse_others(&self, header: &Args) -> Result<(), Refused> {
        if self.has_entries || get(header, "pg_config").is_some() || get(header, "version").is_some() {
            return Ok(());
        }
        Err(Refused::format(0, "it is a Python pickle, but no dump of PyTorch's flight recorder"))
    }

    /// Adds the event of `entry`, or counts why not.
    pub fn entry(&mut self, entry: &Args, args: ArgsLoc, stack: Option<StackId>, offset: u64) {
        let at = (offset > 0).then_some(offset);
        let Some(name) = get(entry, "profiling_name").and_then(ArgValue::as_str) else {
            return self.chunk.warnings.add(WarningKind::MalformedEvent, SourceId(0), at, "no profiling_name");
        };
        // 0 (JSON) and null (pickle) stand for a time that was not recorded.
        let time = |key: &str| int(entry, key).filter(|&time| time != 0);
        let Some(created) = time("time_created_ns") else {
            return self.chunk.warnings.add(WarningKind::NoTimestamp, SourceId(0), at, name);
        };
        let in_range = |time: &i64| (-FARTHEST_NS..=FARTHEST_NS).contains(time);
        if !in_range(&created) {
            return self.chunk.warnings.add(WarningKind::TimeOutOfRange, SourceId(0), at, name);
        }
        let started = time("time_discovered_started_ns").filter(in_range);
        let completed = time("time_discovered_completed_ns").filter(in_range);
        let start = started.unwrap_or(created);
        // How long a call took that nobody saw end is not known.
        let dur = completed.map_or(0, |end| end - start);
        if dur < 0 {
            self.chunk.warnings.add(WarningKind::NegativeDuration, SourceId(0), at, name);
        }
        let (group, desc) = match get(entry, "process_group") {
            Some(ArgValue::List(pair)) => {
                let at = |place: usize| pair.get(place).and_then(ArgValue::as_str).unwrap_or_default();
                (at(0), at(1))
            }
            _ => ("", ""),
        };
        let track = self.track(group, desc, uint(entry, "pg_id"));
        let (backend, call) = name.split_once(':').unwrap_or(("", name));
        if !backend.is_empty() && !self.backends.iter().any(|known| known == backend) && self.backends.len() < 8 {
            self.backends.push(backend.to_owned());
        }
        let is_p2p = matches!(get(entry, "is_p2p"), Some(ArgValue::Bool(true)));
        let event = self.chunk.len() as u32;
        let sizes = |key: &str| elements(list(entry, key));
        let dtype = |key: &str| list(entry, key).first().and_then(ArgValue::as_str);
        let strings = &mut self.chunk.strings;
        let collective = CollectiveArgs {
            event,
            name: strings.intern(call),
            dtype: strings.intern(dtype("input_dtypes").or_else(|| dtype("output_dtypes")).unwrap_or_default()),
            group: strings.intern(group),
            group_desc: strings.intern(desc),
            in_elems: sizes("input_sizes"),
            out_elems: sizes("output_sizes"),
            group_size: self.sizes.get(group).copied(),
            seq: uint(entry, if is_p2p { "p2p_seq_id" } else { "collective_seq_id" }).or_else(|| uint(entry, "seq_id")),
        };
        let name = strings.intern(name);
        self.chunk.push(start, dur.max(0), name, self.category, EventKind::Async, track, NO_ID, NO_ID, args);
        self.chunk.collectives.push(collective);
        if let Some(stack) = stack {
            self.chunk.event_stacks.push(RawEventStack { event, stack, weight: 1 });
        }
        self.chunk.file_events += 1;
    }

    fn track(&mut self, group: &str, desc: &str, id: Option<u64>) -> u32 {
        if let Some(&track) = self.tracks.get(&(group.to_owned(), desc.to_owned())) {
            return track;
        }
        let label = match (group, desc, id) {
            ("", "", Some(id)) => format!("group {id}"),
            ("", "", None) => "group".to_owned(),
            (name, "" | "undefined", _) => format!("group {name}"),
            (name, desc, _) => format!("group {name} ({desc})"),
        };
        let label = self.chunk.strings.intern(&label);
        // Known ones were found above; looking through all tracks again would take long where there are many.
        self.chunk.tracks.push((TrackKind::Custom, self.pid, RawId::Text(label)));
        let track = self.chunk.tracks.len() as u32 - 1;
        self.chunk.metas.push(RawMeta::ThreadName(self.pid, RawId::Text(label), label));
        self.tracks.insert((group.to_owned(), desc.to_owned()), track);
        track
    }

    /// A frame of a call stack.
    pub fn frame(&mut self, name: &str, file: &str, line: Option<i64>) -> Frame {
        let strings = &mut self.chunk.strings;
        Frame {
            name: strings.intern(name),
            file: strings.intern(file),
            module: StrId::EMPTY,
            line: line.and_then(|line| u32::try_from(line).ok()).unwrap_or(0),
        }
    }

    /// Takes the call stack out of an entry in JSON, where there is one.
    pub fn json_stack(&mut self, entry: &mut Args) -> Option<StackId> {
        let place = entry.iter().position(|(name, _)| name == "frames")?;
        let (_, ArgValue::List(frames)) = entry.remove(place) else { return None };
        let mut known = Vec::with_capacity(frames.len());
        // The dump has the innermost frame first.
        for frame in frames.iter().rev() {
            if let ArgValue::Dict(frame) = frame {
                known.push(self.frame(text(frame, "name"), text(frame, "filename"), int(frame, "line")));
            }
        }
        self.chunk.stacks.push_all(known)
    }

    /// The events, and the backends that they name.
    pub fn finish(mut self) -> (RawChunk, Option<String>) {
        let RawId::Text(name) = self.pid else { return (self.chunk, None) };
        self.chunk.metas.push(RawMeta::ProcessName(self.pid, name));
        let backend = (!self.backends.is_empty()).then(|| self.backends.join(", "));
        (self.chunk, backend)
    }
}

/// Elements of all tensors of these sizes; `None` where there are none, or one is no size.
fn elements(sizes: &[ArgValue]) -> Option<u64> {
    if sizes.is_empty() {
        return None;
    }
    sizes.iter().try_fold(0u64, |sum, tensor| {
        let ArgValue::List(dims) = tensor else { return None };
        let product = dims.iter().try_fold(1u64, |product, dim| {
            let dim = dim.as_i64().and_then(|dim| u64::try_from(dim).ok())?;
            product.checked_mul(dim)
        })?;
        sum.checked_add(product)
    })
}
