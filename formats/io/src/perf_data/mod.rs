//! `perf.data`: what `perf record` writes, to a file or to a pipe, of either byte order, plain or compressed.
//!
//! The walk over the file is our own: a recording can be cut anywhere and can claim any size. Records are read in the
//! order of their times, for a core's buffer is written as a whole. Files do not hold the names of functions; a frame
//! is named by its module and the offset in it, and functions that the kernel made at run time by their names.

mod args;
mod attr;
mod fields;
mod layout;
mod maps;
mod record;
mod switch;

use std::sync::Arc;

use gapless_trace::{
    ArgValue, Args, ArgsLoc, Frame, FrameId, RawId, SourceId, StackId, StrId, TraceInfo, WarningKind, Warnings,
};
use rustc_hash::FxHashMap;

use crate::Progress;
use crate::cpu_samples::{Sample, SampleChunk};
use crate::error::Refused;
use crate::readers::{Head, Input, ReadPart, Role};
use args::{AS_END, RecordArgs, Space};
use attr::{Attr, AttrOfRecord, sample_bit};
use layout::{Cut, Layout, Records, clock_base_ns, feature, feature_strings};
use maps::{Mapping, Maps};
use record::{Record, SampleRecord, Trailer, Turn, record_type};
use switch::{SWITCH_EVENT, SwitchFormat};

/// Records between two looks at whether the user gave up.
const RECORDS_PER_LOOK: usize = 16_384;
/// Addresses from here up mark where a call chain changes between user and kernel.
const CONTEXT_MARKS: u64 = u64::MAX - 4095;
/// The mark before addresses of the kernel.
const CONTEXT_KERNEL: u64 = -128i64 as u64;
/// Bits of `misc` that say where a sample was taken, and their value for the kernel.
const CPU_MODE: u16 = 7;
const CPU_MODE_KERNEL: u16 = 1;
/// Process of the kernel's mappings.
const KERNEL: i32 = -1;

/// Whether the file begins like one.
pub(crate) fn sniff(head: &Head<'_>) -> bool {
    layout::big_endian(head.bytes).is_some()
}

/// Reads the whole file.
pub(crate) fn read(input: &Input, progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    let mut part = input.part();
    let layout = Layout::read(&input.bytes, &input.limits, &mut part.warnings)?;
    let mut recording = Recording::new(&layout);
    let order = recording.order(&mut part.warnings);
    for (place, &(_, at)) in order.iter().enumerate() {
        recording.record(at);
        if place.is_multiple_of(RECORDS_PER_LOOK) {
            recording.out.check(&input.limits)?;
            progress.done(input.source.file_bytes.saturating_mul(place as u64) / order.len().max(1) as u64);
            if progress.is_cancelled() {
                return Err(Refused::Cancelled);
            }
        }
    }
    recording.out.check(&input.limits)?;
    if recording.user_stacks > 0 {
        let detail = "copies of user stacks, from which callers would have to be worked out";
        part.warnings.add_many(WarningKind::UnknownPacket, SourceId(0), recording.user_stacks, None, detail);
    }
    part.source.file_events = recording.out.chunk.file_events;
    part.info = info(&layout);
    part.chunks = vec![recording.out.finish()];
    let space = Space { data_at: layout.data_at, data_len: layout.data.len(), big_endian: layout.big_endian };
    let format = recording.switch_format;
    part.args = Arc::new(RecordArgs::new(Arc::clone(&input.bytes), layout.inflated, space, layout.attrs, format));
    Ok(vec![ReadPart { part, role: Role::Companion, joins: Vec::new() }])
}

/// What the file says of itself.
fn info(layout: &Layout<'_>) -> TraceInfo {
    let strings = |bit: u32, is_list: bool| {
        let found = layout.features.get(&bit).map(|bytes| feature_strings(bytes, is_list, layout.big_endian));
        found.filter(|strings| !strings.is_empty())
    };
    let mut header = Args::new();
    let names = [
        (feature::OS_RELEASE, "os_release"),
        (feature::VERSION, "perf_version"),
        (feature::ARCH, "arch"),
        (feature::CPU_DESC, "cpu"),
    ];
    for (bit, name) in names {
        header.extend(strings(bit, false).map(|mut text| (name.to_owned(), ArgValue::Text(text.swap_remove(0)))));
    }
    header.extend(strings(feature::CMDLINE, true).map(|words| ("command".to_owned(), ArgValue::Text(words.join(" ")))));
    let events = layout.attrs.iter().map(|attr| ArgValue::Text(attr.label())).collect();
    header.push(("events".to_owned(), ArgValue::List(events)));
    TraceInfo {
        host: strings(feature::HOSTNAME, false).map(|mut text| text.swap_remove(0)),
        base_time_ns: layout.features.get(&feature::CLOCK_DATA).and_then(|data| clock_base_ns(data, layout.big_endian)),
        header,
        ..TraceInfo::default()
    }
}

/// A recording as far as it is read.
struct Recording<'a> {
    layout: &'a Layout<'a>,
    attr_of: AttrOfRecord,
    out: SampleChunk,
    maps: Maps,
    /// Functions of the kernel with a name, as if each were a module.
    kernel_symbols: Maps,
    categories: Vec<StrId>,
    /// Names of modules without their folders.
    short_names: FxHashMap<StrId, StrId>,
    frames: FxHashMap<(StrId, u64), FrameId>,
    switch_format: SwitchFormat,
    /// Whether switches come as a tracepoint; records of switches would tell the same again.
    has_tracepoint: bool,
    user_stacks: u64,
}

impl<'a> Recording<'a> {
    fn new(layout: &'a Layout<'a>) -> Self {
        let mut out = SampleChunk::new();
        let categories = layout.attrs.iter().map(|attr| out.chunk.strings.intern(&attr.label())).collect();
        let tracing_data = layout.features.get(&feature::TRACING_DATA);
        Self {
            layout,
            attr_of: AttrOfRecord::new(&layout.attrs),
            out,
            maps: Maps::default(),
            kernel_symbols: Maps::default(),
            categories,
            short_names: FxHashMap::default(),
            frames: FxHashMap::default(),
            switch_format: tracing_data.and_then(|data| SwitchFormat::find(data)).unwrap_or_default(),
            has_tracepoint: layout.attrs.iter().any(|attr| attr.name == SWITCH_EVENT),
            user_stacks: 0,
        }
    }

    fn attr(&self, is_sample: bool, body: &[u8]) -> (usize, Option<&'a Attr>) {
        let place = self.attr_of.of(is_sample, body, self.layout.big_endian);
        (place, self.layout.attrs.get(place))
    }

    /// Times and places of the records of the kernel, in the order of time; what was inflated comes after the file.
    fn order(&mut self, warnings: &mut Warnings) -> Vec<(u64, usize)> {
        let big_endian = self.layout.big_endian;
        let mut order = Vec::new();
        for (bytes, first) in [(self.layout.data, 0), (self.layout.inflated.as_slice(), self.layout.data.len())] {
            let mut records = Records::new(bytes, big_endian);
            let mut last = 0;
            loop {
                match records.next() {
                    Ok(Some(record)) if record.kind >= record_type::USER => {}
                    Ok(Some(record)) => {
                        let is_sample = record.kind == record_type::SAMPLE;
                        let attr = self.attr(is_sample, record.body).1;
                        let time = attr.and_then(|attr| match is_sample {
                            true => SampleRecord::read(record.body, attr, big_endian)?.time,
                            false => Trailer::read(record.body, attr, big_endian)?.time,
                        });
                        last = time.unwrap_or(last);
                        order.push((last, first + record.at));
                    }
                    Ok(None) => break,
                    Err(cut) => {
                        let at = Some((self.layout.data_at + first + records.place()) as u64);
                        let lost = bytes.len() - records.place();
                        let kind = match cut {
                            Cut::Truncated => WarningKind::Truncated,
                            Cut::Malformed => WarningKind::MalformedEvent,
                        };
                        warnings.add(kind, SourceId(0), at, &format!("{lost} bytes from there on could not be read"));
                        break;
                    }
                }
            }
        }
        // Stable: records of one time keep the order of the file.
        order.sort_by_key(|entry| entry.0);
        order
    }

    /// Takes the record at `at`.
    fn record(&mut self, at: usize) {
        let layout = self.layout;
        let big_endian = layout.big_endian;
        let record = match at.checked_sub(layout.data.len()) {
            Some(inflated) => Records::at(&layout.inflated, inflated, big_endian),
            None => Records::at(layout.data, at, big_endian),
        };
        let Some(record) = record else { return };
        let offset = (layout.data_at + at) as u64;
        self.out.chunk.file_events += 1;
        let is_sample = record.kind == record_type::SAMPLE;
        let (place, attr) = self.attr(is_sample, record.body);
        let Some(attr) = attr else { return };
        let is_understood = if is_sample {
            SampleRecord::read(record.body, attr, big_endian)
                .map(|sample| self.sample(&sample, attr, place, record.misc, at))
        } else {
            let trailer = Trailer::read(record.body, attr, big_endian);
            let body = Record::read(record.kind, record.misc, record.body, big_endian);
            trailer.zip(body).map(|(trailer, body)| self.other(body, trailer, record.kind, at))
        };
        if is_understood.is_none() {
            self.out.warn(WarningKind::MalformedEvent, offset, &format!("a record of type {}", record.kind));
        }
    }

    /// Where arguments of the record at `at` are, as those of `what`.
    fn args(&self, at: usize, what: usize) -> ArgsLoc {
        ArgsLoc::new(at as u64, what).unwrap_or_default()
    }

    fn time(&mut self, time: Option<u64>, offset: u64) -> Option<i64> {
        let Some(time) = time else {
            self.out.warn(WarningKind::NoTimestamp, offset, "");
            return None;
        };
        // Room is left for adding a base.
        let found = i64::try_from(time).ok().filter(|&time| time <= i64::MAX / 4);
        if found.is_none() {
            self.out.warn(WarningKind::TimeOutOfRange, offset, "");
        }
        found
    }

    fn sample(&mut self, sample: &SampleRecord<'a>, attr: &Attr, place: usize, misc: u16, at: usize) {
        let offset = (self.layout.data_at + at) as u64;
        let Some(time) = self.time(sample.time, offset) else { return };
        if attr.name == SWITCH_EVENT && self.switch(sample, time, at) && sample.callchain.is_none() {
            return;
        }
        let id = |id: Option<i32>| id.map_or(RawId::None, |id| RawId::Int(i64::from(id)));
        let (pid, tid) = (id(sample.pid), id(sample.tid));
        self.user_stacks += u64::from(attr.has(sample_bit::STACK_USER));
        let category = self.categories.get(place).copied().unwrap_or_default();
        let stack = self.stack(sample, misc, offset);
        let args = self.args(at, 1);
        let weight = sample.period.unwrap_or(1);
        self.out.sample(&Sample { pid, tid, time, category, stack, weight, args });
    }

    /// Interns the call chain, outermost first; without one, the place where the sample was taken.
    fn stack(&mut self, sample: &SampleRecord<'_>, misc: u16, offset: u64) -> Option<StackId> {
        let mut in_kernel = misc & CPU_MODE == CPU_MODE_KERNEL;
        let mut addresses: Vec<(u64, bool)> = Vec::new();
        match sample.callchain {
            Some(mut chain) => {
                while let Some(address) = chain.u64() {
                    if address >= CONTEXT_MARKS {
                        in_kernel = address == CONTEXT_KERNEL;
                    } else {
                        addresses.push((address, in_kernel));
                    }
                }
            }
            None => addresses.extend(sample.ip.map(|ip| (ip, in_kernel))),
        }
        let pid = sample.pid.unwrap_or(0);
        let mut stack = None;
        while let Some((address, in_kernel)) = addresses.pop() {
            let frame = self.frame(if in_kernel { KERNEL } else { pid }, address, offset);
            stack = Some(self.out.chunk.stacks.push(stack, frame));
        }
        stack
    }

    /// The frame at an address: a function of the kernel by name, else module and offset.
    fn frame(&mut self, pid: i32, address: u64, offset: u64) -> FrameId {
        let symbol = self.kernel_symbols.find(pid, address).map(|found| found.module);
        let found = self.maps.find(pid, address);
        let is_mapped = found.is_some();
        let (module, place) = match found {
            Some(found) => (found.module, found.offset_of(address)),
            // Code of the kernel beyond what it tells of itself: entries, trampolines, idle loops. It has no offset.
            None if pid == KERNEL => (self.out.text(b"[kernel.kallsyms]", offset), u64::MAX),
            None => (StrId::EMPTY, 0),
        };
        if let Some(name) = symbol {
            return self.out.chunk.stacks.frame(Frame { name, module, ..Frame::default() });
        }
        if let Some(&frame) = self.frames.get(&(module, place)) {
            return frame;
        }
        // An address that nothing was mapped at says nothing: it differs from run to run.
        let name = if !is_mapped {
            "[unknown]".to_owned()
        } else {
            let short = self.short_name(module, offset);
            format!("{}+{place:#x}", self.out.chunk.strings.get(short))
        };
        let name = self.out.chunk.strings.intern(&name);
        let frame = self.out.chunk.stacks.frame(Frame { name, module, ..Frame::default() });
        self.frames.insert((module, place), frame);
        frame
    }

    /// `/usr/lib/libc.so.6` without its folder.
    fn short_name(&mut self, module: StrId, offset: u64) -> StrId {
        if let Some(&short) = self.short_names.get(&module) {
            return short;
        }
        let path = self.out.chunk.strings.get(module);
        let short = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(path).to_owned();
        let short = self.out.text(short.as_bytes(), offset);
        self.short_names.insert(module, short);
        short
    }

    /// A switch as a tracepoint. Says whether it was understood and has a core.
    fn switch(&mut self, sample: &SampleRecord<'_>, time: i64, at: usize) -> bool {
        let offset = (self.layout.data_at + at) as u64;
        let found = sample.raw.and_then(|raw| self.switch_format.read(raw, self.layout.big_endian));
        let (Some(core), Some(found)) = (sample.cpu, found) else { return false };
        let (core, ends) = (i64::from(core), self.args(at, AS_END));
        self.out.switch_out(core, time, ends, found.prev_tid == 0, offset);
        if found.next_tid != 0 {
            let name = self.out.text(found.next_comm, offset);
            self.out.switch_in(core, time, name, self.args(at, 1), offset);
        }
        true
    }

    fn other(&mut self, record: Record<'_>, trailer: Trailer, kind: u32, at: usize) {
        let offset = (self.layout.data_at + at) as u64;
        let id = |id: i32| RawId::Int(i64::from(id));
        match record {
            Record::Map { pid, start, len, file_offset, path } => {
                // The kernel's own mapping names the symbol that it begins at.
                let path = match memchr::memchr(b']', path) {
                    Some(end) if path.starts_with(b"[kernel.kallsyms]") => path.get(..=end).unwrap_or(path),
                    _ => path,
                };
                let module = self.out.text(path, offset);
                let file_offset = if pid == KERNEL { 0 } else { file_offset };
                self.maps.map(pid, Mapping { start, end: start.saturating_add(len), file_offset, module });
            }
            Record::Comm { pid, tid, name, is_exec } => {
                let name = self.out.text(name, offset);
                self.out.name_thread(id(pid), id(tid), name);
                if is_exec {
                    self.maps.exec(pid);
                }
            }
            Record::Fork { pid, parent_pid, tid, parent_tid } => {
                self.maps.fork(pid, parent_pid);
                if let Some(name) = self.out.thread_name(id(parent_pid), id(parent_tid)) {
                    self.out.name_thread(id(pid), id(tid), name);
                }
            }
            Record::Lost(count) => {
                let place = Some(offset);
                self.out.chunk.warnings.add_many(WarningKind::PacketLost, SourceId(0), count, place, "");
            }
            Record::Switch(_) if self.has_tracepoint => {}
            Record::Switch(turn) => {
                let Some(time) = self.time(trailer.time, offset) else { return };
                let (Some(core), Some(pid), Some(tid)) = (trailer.cpu, trailer.pid, trailer.tid) else {
                    self.out.warn(WarningKind::UnknownPacket, offset, "a switch of threads without its core");
                    return;
                };
                let core = i64::from(core);
                match turn {
                    Turn::Begins if tid == 0 => {}
                    Turn::Begins => {
                        let name = self.out.thread_name(id(pid), id(tid));
                        let name = name.unwrap_or_else(|| self.out.chunk.strings.intern(&format!("thread {tid}")));
                        self.out.switch_in(core, time, name, self.args(at, 1), offset);
                    }
                    Turn::Stops { .. } => self.out.switch_out(core, time, self.args(at, AS_END), tid == 0, offset),
                }
            }
            Record::KernelSymbol { start, len, name, is_gone } => {
                let module = if is_gone { StrId::EMPTY } else { self.out.text(name, offset) };
                let end = start.saturating_add(len);
                self.kernel_symbols.map(KERNEL, Mapping { start, end, file_offset: 0, module });
            }
            Record::Unneeded => {}
            Record::Unknown => self.out.warn(WarningKind::UnknownPacket, offset, &format!("record type {kind}")),
        }
    }
}
