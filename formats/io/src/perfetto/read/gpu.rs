//! Work of GPU queues and values of GPU counters.

use gapless_trace::{ArgValue, Args, ArgsLoc, EventKind, RawId, RawMeta, StrId, WarningKind};
use perfetto_proto::field::packet;

use super::args::Scope;
use super::clocks::FARTHEST_NS;
use super::record::{Record, Slot};
use super::resolve::{Home, NO_ID, Resolver};
use crate::kineto::{kind_of_category, track_kind};
use crate::protobuf::{Field, Fields};

/// How an event and a piece of queue work belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// The event submitted the work.
    Submits,
    /// The event waited for the work.
    WaitsFor,
}

/// A value of a GPU counter.
#[derive(Clone, Copy, Debug)]
pub(super) struct GpuValue {
    pub gpu: i64,
    pub counter: u64,
    /// The interned descriptor; none where the trace's own describes the counter.
    pub descriptor: ArgsLoc,
    pub time: i64,
    pub value: f64,
}

/// What a piece says about GPUs, to be joined with the other pieces.
#[derive(Debug, Default)]
pub(super) struct GpuFound {
    /// (id of queue work, event).
    pub ids: Vec<(u64, u32)>,
    /// (event, id of queue work, how).
    pub joins: Vec<(u32, u64, Join)>,
    pub values: Vec<GpuValue>,
    /// Descriptors of counters.
    pub descriptors: Vec<ArgsLoc>,
    /// Older descriptions of queues and stages.
    pub specifications: Vec<ArgsLoc>,
    /// (event, queue, stage) by the older numbers.
    pub numbered: Vec<(u32, i64, i64)>,
}

/// What a message of queue work says.
#[derive(Default)]
struct Stage<'a> {
    id: Option<u64>,
    duration: u64,
    queue: Option<u64>,
    stage: Option<u64>,
    old_queue: i64,
    old_stage: Option<i64>,
    gpu: i64,
    name: Option<&'a [u8]>,
    name_iid: u64,
    kernel_iid: u64,
    waits: Vec<u64>,
    launch: Option<&'a [u8]>,
}

fn last_digits(name: &str) -> Option<i64> {
    let digits_from = name.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    // A letter before the digits makes them part of a word, unless it is a mark.
    name.get(digits_from..).filter(|digits| !digits.is_empty())?.parse().ok()
}

/// What work is, by the name of its stage and its own. A stage may have the name of one of Kineto's categories.
pub(super) fn kind_of_stage(stage: &str, name: &str) -> EventKind {
    if let kind @ (EventKind::Kernel | EventKind::Memcpy | EventKind::Memset | EventKind::DeviceSync) =
        kind_of_category(stage.as_bytes())
    {
        return kind;
    }
    let stage = stage.to_ascii_lowercase();
    let name = name.to_ascii_lowercase();
    let any = |text: &str, words: &[&str]| words.iter().any(|word| text.contains(word));
    if name.starts_with("memcpy") || any(&stage, &["memcpy", "copy", "transfer", "dma"]) {
        EventKind::Memcpy
    } else if name.starts_with("memset") || any(&stage, &["memset", "fill"]) {
        EventKind::Memset
    } else if any(&stage, &["synchron", "barrier"]) || stage == "sync" || stage == "wait" {
        EventKind::DeviceSync
    } else {
        EventKind::Kernel
    }
}

impl<'a> Resolver<'a> {
    fn data_of(&self, record: &Record, number: u32) -> &'a [u8] {
        let found = Fields::new(self.content(record)).filter(|field| field.number == number).last();
        found.and_then(|field| field.bytes()).unwrap_or_default()
    }

    /// Work of a queue.
    pub(super) fn gpu_stage(&mut self, record: &Record, time: i64) {
        let mut stage = Stage::default();
        for field in Fields::new(self.data_of(record, packet::GPU_RENDER_STAGE_EVENT)) {
            match field.number {
                1 => stage.id = field.uint(),
                2 => stage.duration = field.uint().unwrap_or(0),
                3 => stage.old_queue = field.int().unwrap_or(0),
                4 => stage.old_stage = field.int(),
                7 => {
                    if let Some(message) = field.bytes() {
                        let at = message.as_ptr() as usize - self.piece.bytes.as_ptr() as usize;
                        let loc = ArgsLoc::new(self.piece.base + at as u64, message.len());
                        self.out.gpu.specifications.extend(loc.filter(|loc| !loc.is_empty()));
                    }
                }
                11 => stage.gpu = field.int().unwrap_or(0),
                13 => stage.queue = field.uint(),
                14 => stage.stage = field.uint(),
                17 => stage.name = field.bytes(),
                18 => field.each_varint(|id| stage.waits.push(id)),
                19 => stage.kernel_iid = field.uint().unwrap_or(0),
                20 => stage.name_iid = field.uint().unwrap_or(0),
                21 => stage.launch = field.bytes(),
                _ => {}
            }
        }
        // A packet without an id describes queues and stages only.
        let Some(id) = stage.id else { return };
        let stage_name = match stage.stage {
            Some(iid) => self.interned_text(Slot::GpuSpecifications, iid, record),
            None => StrId::EMPTY,
        };
        let name = self.stage_name(record, &stage, stage_name);
        let strings = &self.out.chunk.strings;
        let kind = kind_of_stage(strings.get(stage_name), strings.get(name));

        let scope = self.scope(record);
        let launch = launch_args(&scope, stage.launch.unwrap_or_default());
        let said = |name: &str| launch.iter().find(|entry| entry.0 == name).and_then(|entry| entry.1.as_i64());
        let device = said("device").unwrap_or(stage.gpu);
        let queue = self.queue(record, &stage, device, said("stream"));
        let narrow = |id: Option<i64>| id.and_then(|id| u32::try_from(id).ok()).unwrap_or(NO_ID);
        let ids = (narrow(said("correlation")), narrow(said("External id")));
        let dur = match i64::try_from(stage.duration) {
            Ok(dur) if dur <= FARTHEST_NS => dur,
            _ => {
                self.warn(WarningKind::DurationOutOfRange, record, "");
                FARTHEST_NS
            }
        };
        let out = self.out_of(u32::MAX, Home::Queue { device, queue }, track_kind(kind), StrId::EMPTY);
        let args = self.packet_loc(record);
        let event = self.push(time, dur, name, stage_name, kind, out, ids, args);
        self.out.gpu.ids.push((id, event));
        self.out.gpu.joins.extend(stage.waits.iter().map(|&id| (event, id, Join::WaitsFor)));
        if let (None, Some(old_stage)) = (stage.stage, stage.old_stage) {
            self.out.gpu.numbered.push((event, stage.old_queue, old_stage));
        }
        if kind == EventKind::Memcpy || kind == EventKind::Memset {
            let bytes = said("bytes").and_then(|bytes| u64::try_from(bytes).ok());
            self.out.chunk.copy_bytes.extend(bytes.map(|bytes| (event, bytes)));
        }
    }

    fn stage_name(&mut self, record: &Record, stage: &Stage<'a>, stage_name: StrId) -> StrId {
        if let Some(name) = stage.name {
            return self.text(name, record);
        }
        if stage.name_iid > 0 {
            return self.interned_text(Slot::Names, stage.name_iid, record);
        }
        let kernel = self.scope(record).message(Slot::ComputeKernels, stage.kernel_iid);
        let of_kernel = kernel.and_then(|message| {
            let text =
                |number| Fields::new(message).find(|field| field.number == number).and_then(|field| field.bytes());
            text(3).or_else(|| text(2))
        });
        of_kernel.map_or(stage_name, |name| self.text(name, record))
    }

    /// The queue: its number where its name has one.
    fn queue(&mut self, record: &Record, stage: &Stage<'a>, device: i64, stream: Option<i64>) -> RawId {
        if let Some(stream) = stream {
            return RawId::Int(stream);
        }
        let Some(iid) = stage.queue else { return RawId::Int(stage.old_queue) };
        let name = self.interned_text(Slot::GpuSpecifications, iid, record);
        let text = self.out.chunk.strings.get(name);
        match last_digits(text) {
            Some(number) if text.starts_with("stream ") => RawId::Int(number),
            Some(number) => {
                let queue = RawId::Int(number);
                let out = super::resolve::Out {
                    lane: u32::MAX,
                    home: Home::Queue { device, queue },
                    kind: gapless_trace::TrackKind::Stream,
                    text: StrId::EMPTY,
                };
                if !self.out.outs.contains(&out) {
                    self.out.chunk.metas.push(RawMeta::ThreadName(RawId::Int(device), queue, name));
                }
                queue
            }
            None => RawId::Text(name),
        }
    }

    /// Which work of queues an event submitted or waited for.
    pub(super) fn gpu_correlation(&mut self, message: &[u8], event: u32) {
        for field in Fields::new(message) {
            let how = match field.number {
                1 => Join::Submits,
                2 => Join::WaitsFor,
                _ => continue,
            };
            field.each_varint(|id| self.out.gpu.joins.push((event, id, how)));
        }
    }

    /// Values of counters.
    pub(super) fn gpu_counters(&mut self, record: &Record, time: i64) {
        let message = self.data_of(record, packet::GPU_COUNTER_EVENT);
        let loc_of = |bytes: &[u8]| {
            let at = (bytes.as_ptr() as usize).checked_sub(self.piece.bytes.as_ptr() as usize)?;
            ArgsLoc::new(self.piece.base + at as u64, bytes.len()).filter(|loc| !loc.is_empty())
        };
        let (mut gpu, mut descriptor) = (0, ArgsLoc::NONE);
        let mut described = None;
        for field in Fields::new(message) {
            match field.number {
                1 => described = field.bytes().and_then(loc_of),
                3 => gpu = field.int().unwrap_or(0),
                4 => {
                    let scope = self.scope(record);
                    let iid = field.uint().unwrap_or(0);
                    let found =
                        scope.sequences.interned(scope.sequence, scope.generation, Slot::GpuCounterDescriptors, iid);
                    descriptor = found.unwrap_or_default();
                }
                _ => {}
            }
        }
        self.out.gpu.descriptors.extend(described);
        for field in Fields::new(message).filter(|field| field.number == 2) {
            let (mut counter, mut value) = (0, None);
            for field in Fields::new(field.bytes().unwrap_or_default()) {
                match field.number {
                    1 => counter = field.uint().unwrap_or(0),
                    2 => value = field.int().map(|value| value as f64),
                    3 => value = field.double(),
                    _ => {}
                }
            }
            match value {
                Some(value) => self.out.gpu.values.push(GpuValue { gpu, counter, descriptor, time, value }),
                None => self.warn(WarningKind::CounterNotNumeric, record, ""),
            }
        }
    }
}

/// The arguments of a launch: extents, then the named ones.
fn launch_args(scope: &Scope<'_>, message: &[u8]) -> Args {
    let mut args = Args::new();
    for field in Fields::new(message) {
        let Some(bytes) = field.bytes() else { continue };
        match field.number {
            1 => args.push(("grid".to_owned(), extents(bytes))),
            2 => args.push(("block".to_owned(), extents(bytes))),
            3 => args.extend(compute_arg(scope, bytes)),
            _ => {}
        }
    }
    args
}

fn extents(message: &[u8]) -> ArgValue {
    let mut sizes = [0, 0, 0];
    for field in Fields::new(message) {
        let place = (field.number as usize).checked_sub(1).and_then(|index| sizes.get_mut(index));
        if let (Some(place), Some(size)) = (place, field.int()) {
            *place = size;
        }
    }
    ArgValue::List(sizes.into_iter().map(ArgValue::Int).collect())
}

fn compute_arg(scope: &Scope<'_>, message: &[u8]) -> Option<(String, ArgValue)> {
    let mut name = String::new();
    let mut value = ArgValue::Null;
    let text = |field: &Field<'_>| String::from_utf8_lossy(field.bytes().unwrap_or_default()).into_owned();
    for field in Fields::new(message) {
        match field.number {
            1 => name = scope.text_or_id(Slot::ComputeArgNames, field.uint()?).into_owned(),
            2 => name = text(&field),
            3 => value = ArgValue::Int(field.int()?),
            4 => value = ArgValue::UInt(field.uint()?),
            5 => value = ArgValue::Double(field.double()?),
            6 => value = ArgValue::Text(text(&field)),
            7 => value = ArgValue::Text(scope.text_or_id(Slot::StringValues, field.uint()?).into_owned()),
            _ => {}
        }
    }
    Some((name, value))
}

/// The arguments of work of a queue.
pub(super) fn stage_args(scope: &Scope<'_>, message: &[u8]) -> Args {
    let mut args = Args::new();
    let mut waits = Vec::new();
    for field in Fields::new(message) {
        match field.number {
            1 => args.extend(field.uint().map(|id| ("event id".to_owned(), ArgValue::UInt(id)))),
            5 => {
                let context = field.uint().and_then(|iid| scope.message(Slot::GraphicsContexts, iid));
                args.extend(context.map(graphics_context));
            }
            6 => {
                let (mut name, mut value) = (String::new(), ArgValue::Null);
                for field in Fields::new(field.bytes().unwrap_or_default()) {
                    let text = String::from_utf8_lossy(field.bytes().unwrap_or_default()).into_owned();
                    match field.number {
                        1 => name = text,
                        2 => value = ArgValue::Text(text),
                        _ => {}
                    }
                }
                args.push((name, value));
            }
            10 => args.extend(field.int().map(|id| ("submission id".to_owned(), ArgValue::Int(id)))),
            14 => {
                let stage = field.uint().map(|iid| scope.text_or_id(Slot::GpuSpecifications, iid).into_owned());
                args.extend(stage.map(|stage| ("stage".to_owned(), ArgValue::Text(stage))));
            }
            18 => field.each_varint(|id| waits.push(ArgValue::UInt(id))),
            19 => {
                let kernel = field.uint().and_then(|iid| scope.message(Slot::ComputeKernels, iid));
                for field in Fields::new(kernel.unwrap_or_default()) {
                    let text =
                        || ArgValue::Text(String::from_utf8_lossy(field.bytes().unwrap_or_default()).into_owned());
                    match field.number {
                        2 => args.push(("kernel".to_owned(), text())),
                        4 => args.push(("architecture".to_owned(), text())),
                        5 => args.extend(field.bytes().and_then(|bytes| compute_arg(scope, bytes))),
                        _ => {}
                    }
                }
            }
            21 => args.extend(launch_args(scope, field.bytes().unwrap_or_default())),
            _ => {}
        }
    }
    if !waits.is_empty() {
        args.push(("waits for".to_owned(), ArgValue::List(waits)));
    }
    args
}

fn graphics_context(message: &[u8]) -> (String, ArgValue) {
    let mut entries = Args::new();
    for field in Fields::new(message) {
        match (field.number, field.int()) {
            (2, Some(pid)) => entries.push(("pid".to_owned(), ArgValue::Int(pid))),
            (3, Some(api)) => {
                let name = match api {
                    1 => "OpenGL",
                    2 => "Vulkan",
                    3 => "OpenCL",
                    4 => "CUDA",
                    5 => "HIP",
                    _ => "unknown",
                };
                entries.push(("api".to_owned(), ArgValue::Text(name.to_owned())));
            }
            _ => {}
        }
    }
    ("context".to_owned(), ArgValue::Dict(entries))
}
