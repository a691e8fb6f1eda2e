//! Arguments of samples and switches, read from their record when somebody asks.

use std::sync::Arc;

use gapless_trace::{ArgValue, Args, ArgsError, ArgsLoc, ArgsSource};

use super::attr::{Attr, AttrOfRecord};
use super::layout::Records;
use super::record::{Record, SampleRecord, Trailer, Turn, record_type};
use super::switch::{SWITCH_EVENT, SwitchFormat};
use crate::mapped::Bytes;

/// Length of a location that stands for the thread that stops; that of the others is 1.
pub(super) const AS_END: usize = 2;

/// Where records are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    pub data_at: usize,
    pub data_len: usize,
    pub big_endian: bool,
}

/// The records of a file. The offset of a location counts from the first record; those that were inflated come after.
#[derive(Debug)]
pub(super) struct RecordArgs {
    bytes: Arc<Bytes>,
    inflated: Vec<u8>,
    space: Space,
    attr_of: AttrOfRecord,
    attrs: Vec<Attr>,
    switch_format: SwitchFormat,
}

impl RecordArgs {
    pub fn new(
        bytes: Arc<Bytes>,
        inflated: Vec<u8>,
        space: Space,
        attrs: Vec<Attr>,
        switch_format: SwitchFormat,
    ) -> Self {
        Self { bytes, inflated, space, attr_of: AttrOfRecord::new(&attrs), attrs, switch_format }
    }

    fn read(&self, loc: ArgsLoc) -> Option<Args> {
        let at = usize::try_from(loc.offset()).ok()?;
        let big_endian = self.space.big_endian;
        let record = match at.checked_sub(self.space.data_len) {
            Some(inflated) => Records::at(&self.inflated, inflated, big_endian)?,
            None => Records::at(self.bytes.get(self.space.data_at..)?, at, big_endian)?,
        };
        let is_sample = record.kind == record_type::SAMPLE;
        let attr = self.attrs.get(self.attr_of.of(is_sample, record.body, big_endian))?;
        let mut args = Args::new();
        let mut push = |name: &str, value: ArgValue| args.push((name.to_owned(), value));
        let int = |value: i32| ArgValue::Int(i64::from(value));
        if !is_sample {
            let trailer = Trailer::read(record.body, attr, big_endian)?;
            match Record::read(record.kind, record.misc, record.body, big_endian)? {
                Record::Switch(Turn::Stops { preempted }) => push("preempted", ArgValue::Bool(preempted)),
                _ => {
                    push("pid", int(trailer.pid?));
                    push("tid", int(trailer.tid?));
                }
            }
            return Some(args);
        }
        let sample = SampleRecord::read(record.body, attr, big_endian)?;
        if attr.name == SWITCH_EVENT
            && let Some(switch) = sample.raw.and_then(|raw| self.switch_format.read(raw, big_endian))
        {
            match loc.len() {
                AS_END => push("prev_state", ArgValue::Text(switch.prev_state)),
                _ => push("next_pid", int(switch.next_tid)),
            }
            return Some(args);
        }
        if let Some(cpu) = sample.cpu {
            push("cpu", ArgValue::Int(i64::from(cpu)));
        }
        if let Some(period) = sample.period {
            push("period", ArgValue::UInt(period));
        }
        Some(args)
    }
}

impl ArgsSource for RecordArgs {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        let reason = "the record cannot be read again".to_owned();
        self.read(loc).ok_or(ArgsError::Unreadable { offset: loc.offset(), reason })
    }

    fn heap_bytes(&self) -> usize {
        self.inflated.capacity()
    }
}
