//! Bodies of records.

use super::attr::{Attr, read_bit, sample_bit};
use super::fields::{Fields, text};

/// Types of records.
pub(super) mod record_type {
    pub const MMAP: u32 = 1;
    pub const LOST: u32 = 2;
    pub const COMM: u32 = 3;
    pub const EXIT: u32 = 4;
    pub const FORK: u32 = 7;
    pub const SAMPLE: u32 = 9;
    pub const MMAP2: u32 = 10;
    pub const LOST_SAMPLES: u32 = 13;
    pub const SWITCH: u32 = 14;
    pub const SWITCH_CPU_WIDE: u32 = 15;
    pub const KSYMBOL: u32 = 17;
    /// From here on records are the recorder's own.
    pub const USER: u32 = 64;
    pub const HEADER_ATTR: u32 = 64;
    pub const HEADER_TRACING_DATA: u32 = 66;
    pub const AUXTRACE: u32 = 71;
    pub const EVENT_UPDATE: u32 = 78;
    pub const HEADER_FEATURE: u32 = 80;
    pub const COMPRESSED: u32 = 81;
    pub const COMPRESSED2: u32 = 83;
}

/// Bit of `misc`: the thread stops, in a record of a switch.
const SWITCH_OUT: u16 = 1 << 13;
/// Bit of `misc`: it could have run on.
const SWITCH_OUT_PREEMPT: u16 = 1 << 14;
/// Bit of `misc`: the name is that of a program that was started.
const COMM_EXEC: u16 = 1 << 13;
/// The mapping holds a build id instead of an inode; both take the same room.
const MMAP2_IDS_BYTES: usize = 24;

/// A sample.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SampleRecord<'a> {
    pub ip: Option<u64>,
    pub pid: Option<i32>,
    pub tid: Option<i32>,
    pub time: Option<u64>,
    pub cpu: Option<u32>,
    pub period: Option<u64>,
    /// Addresses, innermost first, with marks between user and kernel.
    pub callchain: Option<Fields<'a>>,
    /// Fields of a tracepoint.
    pub raw: Option<&'a [u8]>,
}

impl<'a> SampleRecord<'a> {
    /// Reads what `attr` says a sample holds, up to the last field that is wanted.
    pub fn read(body: &'a [u8], attr: &Attr, big_endian: bool) -> Option<Self> {
        let mut fields = Fields::new(body, big_endian);
        let mut sample = Self::default();
        let word = |bit: u64, fields: &mut Fields<'a>| match attr.has(bit) {
            true => fields.u64().map(Some),
            false => Some(None),
        };
        word(sample_bit::IDENTIFIER, &mut fields)?;
        sample.ip = word(sample_bit::IP, &mut fields)?;
        if attr.has(sample_bit::TID) {
            (sample.pid, sample.tid) = (Some(fields.i32()?), Some(fields.i32()?));
        }
        sample.time = word(sample_bit::TIME, &mut fields)?;
        for bit in [sample_bit::ADDR, sample_bit::ID, sample_bit::STREAM_ID] {
            word(bit, &mut fields)?;
        }
        if attr.has(sample_bit::CPU) {
            sample.cpu = Some(fields.u32()?);
            fields.u32()?;
        }
        sample.period = word(sample_bit::PERIOD, &mut fields)?;
        if attr.has(sample_bit::READ) {
            skip_reading(&mut fields, attr.read_format)?;
        }
        if attr.has(sample_bit::CALLCHAIN) {
            let len = usize::try_from(fields.u64()?).ok()?.checked_mul(8)?;
            sample.callchain = Some(fields.part(len)?);
        }
        if attr.has(sample_bit::RAW) {
            let len = fields.u32()? as usize;
            sample.raw = Some(fields.bytes(len)?);
        }
        Some(sample)
    }
}

/// Skips the values of counters, of one event or of its group.
fn skip_reading(fields: &mut Fields<'_>, format: u64) -> Option<()> {
    let has = |bit: u64| usize::from(format & bit != 0);
    let each = 1 + has(read_bit::ID) + has(read_bit::LOST);
    let times = has(read_bit::ENABLED) + has(read_bit::RUNNING);
    let words = if format & read_bit::GROUP != 0 {
        usize::try_from(fields.u64()?).ok()?.checked_mul(each)?.checked_add(times)?
    } else {
        each + times
    };
    fields.bytes(words.checked_mul(8)?)?;
    Some(())
}

/// Thread, time and core at the end of a record that is no sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trailer {
    pub pid: Option<i32>,
    pub tid: Option<i32>,
    pub time: Option<u64>,
    pub cpu: Option<u32>,
}

impl Trailer {
    /// Reads it from the end of `body`; empty where the recorder was not asked for it.
    pub fn read(body: &[u8], attr: &Attr, big_endian: bool) -> Option<Self> {
        use sample_bit::{CPU, ID, IDENTIFIER, STREAM_ID, TID, TIME};
        let mut trailer = Self::default();
        if !attr.has_trailer {
            return Some(trailer);
        }
        let words = (attr.sample_type & (TID | TIME | ID | STREAM_ID | CPU | IDENTIFIER)).count_ones() as usize;
        let mut fields = Fields::new(body.get(body.len().checked_sub(words * 8)?..)?, big_endian);
        if attr.has(TID) {
            (trailer.pid, trailer.tid) = (Some(fields.i32()?), Some(fields.i32()?));
        }
        if attr.has(TIME) {
            trailer.time = Some(fields.u64()?);
        }
        for bit in [ID, STREAM_ID] {
            if attr.has(bit) {
                fields.u64()?;
            }
        }
        if attr.has(CPU) {
            trailer.cpu = Some(fields.u32()?);
        }
        Some(trailer)
    }
}

/// A record that is read for more than its thread and time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Record<'a> {
    /// A file or the kernel lies at these addresses.
    Map { pid: i32, start: u64, len: u64, file_offset: u64, path: &'a [u8] },
    /// A thread has this name from now on.
    Comm { pid: i32, tid: i32, name: &'a [u8], is_exec: bool },
    /// A thread began.
    Fork { pid: i32, parent_pid: i32, tid: i32, parent_tid: i32 },
    /// Records were lost.
    Lost(u64),
    /// A thread begins or stops to run.
    Switch(Turn),
    /// A function of the kernel that was made at run time.
    KernelSymbol { start: u64, len: u64, name: &'a [u8], is_gone: bool },
    /// Nothing that is missed.
    Unneeded,
    /// No place in the model.
    Unknown,
}

/// What a switch does to its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Begins,
    /// Stops; whether it could have run on.
    Stops {
        preempted: bool,
    },
}

impl<'a> Record<'a> {
    /// Reads the body of a record that is no sample.
    pub fn read(kind: u32, misc: u16, body: &'a [u8], big_endian: bool) -> Option<Self> {
        use record_type::{COMM, EXIT, FORK, KSYMBOL, LOST, LOST_SAMPLES, MMAP, MMAP2, SWITCH, SWITCH_CPU_WIDE};
        let mut fields = Fields::new(body, big_endian);
        Some(match kind {
            MMAP | MMAP2 => {
                let (pid, _tid) = (fields.i32()?, fields.u32()?);
                let (start, len, file_offset) = (fields.u64()?, fields.u64()?, fields.u64()?);
                if kind == MMAP2 {
                    fields.bytes(MMAP2_IDS_BYTES + 8)?;
                }
                Self::Map { pid, start, len, file_offset, path: fields.text() }
            }
            COMM => {
                let (pid, tid) = (fields.i32()?, fields.i32()?);
                Self::Comm { pid, tid, name: fields.text(), is_exec: misc & COMM_EXEC != 0 }
            }
            FORK => {
                let (pid, parent_pid, tid, parent_tid) = (fields.i32()?, fields.i32()?, fields.i32()?, fields.i32()?);
                Self::Fork { pid, parent_pid, tid, parent_tid }
            }
            LOST => {
                fields.u64()?;
                Self::Lost(fields.u64()?)
            }
            LOST_SAMPLES => Self::Lost(fields.u64()?),
            SWITCH | SWITCH_CPU_WIDE => Self::Switch(match misc & SWITCH_OUT != 0 {
                true => Turn::Stops { preempted: misc & SWITCH_OUT_PREEMPT != 0 },
                false => Turn::Begins,
            }),
            KSYMBOL => {
                let (start, len, _kind, flags) = (fields.u64()?, fields.u32()?, fields.u16()?, fields.u16()?);
                let is_gone = flags & 1 != 0;
                Self::KernelSymbol { start, len: u64::from(len), name: text(fields.rest()), is_gone }
            }
            EXIT => Self::Unneeded,
            _ => Self::Unknown,
        })
    }
}
