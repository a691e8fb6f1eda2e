//! Call stacks: samples of threads, and stacks that hang on events.

use gapless_trace::{ArgValue, Args, EventKind, Frame, RawEventStack, StackId, StrId, TrackKind, WarningKind};
use perfetto_proto::field::packet;

use super::record::{Record, Slot, What};
use super::resolve::{Home, NO_ID, Resolver};
use crate::protobuf::Fields;

/// Most frames of a stack.
const MOST_FRAMES: usize = 4_096;

/// What a sample says, in either form.
#[derive(Default)]
struct Sample<'a> {
    pid: i64,
    tid: i64,
    stack_iid: u64,
    inline: Option<&'a [u8]>,
    weight: Option<u64>,
    lost: u64,
}

impl<'a> Resolver<'a> {
    /// A sample of a thread.
    pub(super) fn sample(&mut self, record: &Record, time: i64) {
        let number = if record.what == What::PerfSample { packet::PERF_SAMPLE } else { packet::STACK_SAMPLE };
        let found = Fields::new(self.content(record)).filter(|field| field.number == number).last();
        let message = found.and_then(|field| field.bytes()).unwrap_or_default();
        let sample =
            if record.what == What::PerfSample { perf_sample(message) } else { self.stack_sample(record, message) };
        if sample.lost > 0 {
            let detail = format!("the kernel lost {} samples", sample.lost);
            self.warn(WarningKind::PacketLost, record, &detail);
        }
        let stack = match sample.inline {
            Some(inline) => self.inline_stack(inline, record),
            None if sample.stack_iid > 0 => self.interned_stack(sample.stack_iid, record),
            None => None,
        };
        let Some(stack) = stack else {
            self.warn(WarningKind::UnknownPacket, record, "a sample without a call stack");
            return;
        };
        let name = self.out.chunk.stacks.innermost(stack).map_or(StrId::EMPTY, |(_, frame)| frame.name);
        let home = Home::Thread { pid: sample.pid, tid: sample.tid };
        let out = self.out_of(u32::MAX, home, TrackKind::Samples, StrId::EMPTY);
        let args = self.packet_loc(record);
        let event = self.push(time, 0, name, StrId::EMPTY, EventKind::Sample, out, (NO_ID, NO_ID), args);
        let period = self.defaults(record).and_then(|defaults| defaults.sample_period);
        let weight = sample.weight.or(period).unwrap_or(1);
        self.out.chunk.event_stacks.push(RawEventStack { event, stack, weight });
    }

    fn stack_sample(&self, record: &Record, message: &'a [u8]) -> Sample<'a> {
        let mut sample = Sample::default();
        for field in Fields::new(message) {
            let context = match field.number {
                1 => field.bytes(),
                2 => field.uint().and_then(|iid| self.scope(record).message(Slot::TaskContexts, iid)),
                5 => {
                    sample.inline = field.bytes();
                    None
                }
                6 => {
                    sample.stack_iid = field.uint().unwrap_or(0);
                    None
                }
                11 => {
                    sample.weight = field.uint();
                    None
                }
                _ => None,
            };
            for field in Fields::new(context.unwrap_or_default()) {
                match field.number {
                    2 => sample.pid = field.int().unwrap_or(0),
                    3 => sample.tid = field.int().unwrap_or(0),
                    _ => {}
                }
            }
        }
        sample
    }

    /// A stack written out, outermost frame first.
    pub(super) fn inline_stack(&mut self, message: &'a [u8], record: &Record) -> Option<StackId> {
        let mut stack = None;
        for field in Fields::new(message).filter(|field| field.number == 1).take(MOST_FRAMES) {
            let mut frame = Frame::default();
            for field in Fields::new(field.bytes().unwrap_or_default()) {
                match (field.number, field.bytes()) {
                    (1, Some(name)) => frame.name = self.text(name, record),
                    (2, Some(file)) => frame.file = self.text(file, record),
                    (3, _) => frame.line = field.uint().and_then(|line| u32::try_from(line).ok()).unwrap_or(0),
                    _ => {}
                }
            }
            let frame = self.out.chunk.stacks.frame(frame);
            stack = Some(self.out.chunk.stacks.push(stack, frame));
        }
        stack
    }

    /// An interned stack.
    pub(super) fn interned_stack(&mut self, iid: u64, record: &Record) -> Option<StackId> {
        let scope = self.scope(record);
        let key = (scope.sequence, scope.generation, iid);
        if let Some(&known) = self.stacks.get(&key) {
            return known;
        }
        let Some(message) = scope.message(Slot::Callstacks, iid) else {
            self.warn(WarningKind::UnknownId, record, &format!("call stack {iid}"));
            return None;
        };
        let mut frames = Vec::new();
        for field in Fields::new(message).filter(|field| field.number == 2) {
            field.each_varint(|frame| frames.push(frame));
        }
        let mut stack = None;
        for frame in frames.into_iter().take(MOST_FRAMES) {
            let frame = self.frame(frame, record);
            let frame = self.out.chunk.stacks.frame(frame);
            stack = Some(self.out.chunk.stacks.push(stack, frame));
        }
        self.stacks.insert(key, stack);
        stack
    }

    fn frame(&mut self, iid: u64, record: &Record) -> Frame {
        let mut frame = Frame::default();
        let Some(message) = self.scope(record).message(Slot::Frames, iid) else {
            let text = format!("frame {iid}");
            self.warn(WarningKind::UnknownId, record, &text);
            frame.name = self.out.chunk.strings.intern(&text);
            return frame;
        };
        let mut address = None;
        for field in Fields::new(message) {
            let value = field.uint().unwrap_or(0);
            match field.number {
                2 => frame.name = self.interned_text(Slot::Functions, value, record),
                3 => frame.module = self.module(value, record),
                4 => address = Some(value),
                5 => frame.file = self.interned_text(Slot::SourcePaths, value, record),
                6 => frame.line = u32::try_from(value).unwrap_or(0),
                _ => {}
            }
        }
        // Without symbols there is still an address.
        if let (StrId::EMPTY, Some(address), None) = (frame.name, address, self.shared.facts) {
            frame.name = self.out.chunk.strings.intern(&format!("{address:#x}"));
        }
        frame
    }

    fn module(&mut self, iid: u64, record: &Record) -> StrId {
        let Some(message) = self.scope(record).message(Slot::Mappings, iid) else {
            return StrId::EMPTY;
        };
        let mut parts = Vec::new();
        for field in Fields::new(message).filter(|field| field.number == 7) {
            field.each_varint(|part| parts.push(part));
        }
        if let [one] = parts.as_slice() {
            return self.interned_text(Slot::MappingPaths, *one, record);
        }
        let mut path = String::new();
        for part in parts.into_iter().take(MOST_FRAMES) {
            let part = self.interned_text(Slot::MappingPaths, part, record);
            path.push('/');
            path.push_str(self.out.chunk.strings.get(part));
        }
        self.out.chunk.strings.intern(&path)
    }
}

fn perf_sample<'a>(message: &[u8]) -> Sample<'a> {
    let mut sample = Sample::default();
    for field in Fields::new(message) {
        let value = field.uint().unwrap_or(0);
        match field.number {
            2 => sample.pid = value as i64,
            3 => sample.tid = value as i64,
            4 => sample.stack_iid = value,
            17 => sample.lost = value,
            _ => {}
        }
    }
    sample
}

/// The arguments of a sample.
pub(super) fn sample_args(number: u32, message: &[u8]) -> Args {
    let mut args = Args::new();
    let mut put = |name: &str, value: ArgValue| args.push((name.to_owned(), value));
    if number == packet::STACK_SAMPLE {
        for field in Fields::new(message) {
            match field.number {
                7 => {
                    let text = String::from_utf8_lossy(field.bytes().unwrap_or_default());
                    put("unwinding failed", ArgValue::Text(text.into_owned()));
                }
                11 => put("weight", ArgValue::UInt(field.uint().unwrap_or(0))),
                _ => {}
            }
        }
        return args;
    }
    for field in Fields::new(message) {
        let value = field.uint().unwrap_or(0);
        match field.number {
            1 => put("core", ArgValue::UInt(value)),
            5 => {
                let mode = match value {
                    1 => "kernel",
                    2 => "user",
                    3 => "hypervisor",
                    4 => "guest kernel",
                    5 => "guest user",
                    _ => "unknown",
                };
                put("mode", ArgValue::Text(mode.to_owned()));
            }
            6 => put("count", ArgValue::UInt(value)),
            _ => {}
        }
    }
    args
}
