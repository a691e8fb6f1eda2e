//! The kernel's `perf_event` records, from bytes. Nothing here trusts a length.
//!
//! The layout is that of `linux/perf_event.h` for the one `sample_type` that the sampler asks for:
//! `IDENTIFIER | TID | TIME | CPU | CALLCHAIN`, and `REGS_USER | STACK_USER` where stacks are copied. Every record
//! that is no sample ends with the same facts (`sample_id_all`).

/// Process and thread of a record, its time, processor, and the event that wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub time_ns: u64,
    /// Processor.
    pub cpu: u32,
    /// Identity of the event at whose opening this one began; inherited events bear that of their ancestor.
    pub event_id: u64,
}

/// Registers and stack bytes of a sample, for unwinding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserStack {
    /// Registers in the order of their bits in the mask that was asked for.
    pub registers: Vec<u64>,
    /// Memory from the stack pointer upwards.
    pub bytes: Vec<u8>,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A stack: addresses, innermost first, with the kernel's context markers between them.
    Sample {
        /// Addresses and markers.
        chain: Vec<u64>,
        /// Copied stack, where asked for and possible.
        stack: Option<UserStack>,
    },
    /// A context switch of the origin's thread.
    Switch {
        /// Away from the processor.
        is_out: bool,
        /// While it could have run on.
        preempted: bool,
    },
    /// A file was mapped with the right to run it.
    Map {
        /// Process.
        pid: u32,
        /// First address.
        address: u64,
        /// Length in bytes.
        len: u64,
        /// Offset in the file, bytes.
        file_offset: u64,
        /// Path, or a name like `[vdso]` or `//anon`.
        path: String,
    },
    /// A thread's name, or a new program.
    Comm {
        /// Process.
        pid: u32,
        /// Thread.
        tid: u32,
        /// The name.
        name: String,
        /// The process replaced its program.
        is_exec: bool,
    },
    /// A process or thread began.
    Fork {
        /// Process of the new thread.
        pid: u32,
        /// Process that made it.
        parent_pid: u32,
        /// The new thread.
        tid: u32,
    },
    /// A thread ended.
    Exit {
        /// Process.
        pid: u32,
        /// Thread.
        tid: u32,
    },
    /// The kernel had no room for so many records.
    Lost(u64),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who, when, where.
    pub origin: Origin,
    /// What.
    pub body: Body,
}

/// What was asked of the kernel beyond the fixed part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Number of user registers in a sample; zero where no stacks are copied.
    pub registers: usize,
}

/// What came of a run of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Records of kinds that are of no interest.
    pub skipped: u64,
    /// Records whose content contradicts their length.
    pub malformed: u64,
    /// Bytes at the end that hold no whole record. Zero after reading what the kernel wrote.
    pub rest_bytes: usize,
}

const MMAP: u32 = 1;
const LOST: u32 = 2;
const COMM: u32 = 3;
const EXIT: u32 = 4;
const FORK: u32 = 7;
const SAMPLE: u32 = 9;
const MMAP2: u32 = 10;
const LOST_SAMPLES: u32 = 13;
const SWITCH: u32 = 14;

const MISC_COMM_EXEC: u16 = 1 << 13;
const MISC_SWITCH_OUT: u16 = 1 << 13;
const MISC_SWITCH_OUT_PREEMPT: u16 = 1 << 14;

/// Bytes of a record's header: type, flags, size.
const HEADER_BYTES: usize = 8;
/// Bytes of the facts that end every record but samples.
const TRAILER_BYTES: usize = 32;

/// Reads all records of `bytes` and hands each to `emit`.
///
/// A record whose content contradicts its length is counted and left out; a length that cannot be right ends the
/// reading, because nothing says where the next record begins.
pub fn parse(bytes: &[u8], layout: Layout, mut emit: impl FnMut(Record)) -> Parsed {
    let mut parsed = Parsed::default();
    let mut rest = bytes;
    loop {
        let mut header = Cursor(rest);
        let (Some(kind), Some(misc), Some(size)) = (header.u32(), header.u16(), header.u16()) else { break };
        let size = usize::from(size);
        let Some(content) = rest.get(HEADER_BYTES..size) else { break };
        match kind {
            MMAP | LOST | COMM | EXIT | FORK | SAMPLE | MMAP2 | LOST_SAMPLES | SWITCH => {
                match record(kind, misc, content, layout) {
                    Some(record) => emit(record),
                    None => parsed.malformed += 1,
                }
            }
            _ => parsed.skipped += 1,
        }
        rest = rest.get(size..).unwrap_or_default();
    }
    parsed.rest_bytes = rest.len();
    parsed
}

fn record(kind: u32, misc: u16, content: &[u8], layout: Layout) -> Option<Record> {
    if kind == SAMPLE {
        return sample(content, layout);
    }
    let split = content.len().checked_sub(TRAILER_BYTES)?;
    let (fields, trailer) = content.split_at_checked(split)?;
    let mut trailer = Cursor(trailer);
    let origin = Origin {
        pid: trailer.u32()?,
        tid: trailer.u32()?,
        time_ns: trailer.u64()?,
        cpu: {
            let cpu = trailer.u32()?;
            trailer.u32()?;
            cpu
        },
        event_id: trailer.u64()?,
    };
    let mut fields = Cursor(fields);
    let body = match kind {
        MMAP | MMAP2 => {
            let (pid, _tid) = (fields.u32()?, fields.u32()?);
            let (address, len, file_offset) = (fields.u64()?, fields.u64()?, fields.u64()?);
            if kind == MMAP2 {
                // Device and inode, or the build id, then protection and flags.
                fields.skip(24 + 8)?;
            }
            Body::Map { pid, address, len, file_offset, path: fields.text() }
        }
        COMM => Body::Comm {
            pid: fields.u32()?,
            tid: fields.u32()?,
            name: fields.text(),
            is_exec: misc & MISC_COMM_EXEC != 0,
        },
        EXIT | FORK => {
            let (pid, parent_pid, tid, _parent_tid) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
            if kind == FORK { Body::Fork { pid, parent_pid, tid } } else { Body::Exit { pid, tid } }
        }
        LOST => {
            fields.skip(8)?;
            Body::Lost(fields.u64()?)
        }
        LOST_SAMPLES => Body::Lost(fields.u64()?),
        SWITCH => Body::Switch {
            is_out: misc & MISC_SWITCH_OUT != 0,
            preempted: misc & MISC_SWITCH_OUT != 0 && misc & MISC_SWITCH_OUT_PREEMPT != 0,
        },
        _ => return None,
    };
    Some(Record { origin, body })
}

fn sample(content: &[u8], layout: Layout) -> Option<Record> {
    let mut fields = Cursor(content);
    let event_id = fields.u64()?;
    let (pid, tid, time_ns) = (fields.u32()?, fields.u32()?, fields.u64()?);
    let cpu = fields.u32()?;
    fields.u32()?;
    let count = usize::try_from(fields.u64()?).ok()?;
    let chain = fields.words(count)?;
    let stack = if layout.registers > 0 { user_stack(&mut fields, layout.registers)? } else { None };
    Some(Record { origin: Origin { pid, tid, time_ns, cpu, event_id }, body: Body::Sample { chain, stack } })
}

/// `Some(None)`: the kernel had no registers or no stack to give, as for a thread of the kernel.
fn user_stack(fields: &mut Cursor<'_>, registers: usize) -> Option<Option<UserStack>> {
    const ABI_64: u64 = 2;
    let abi = fields.u64()?;
    // With no ABI there are no registers in the record either.
    let registers = if abi == 0 { Vec::new() } else { fields.words(registers)? };
    let size = usize::try_from(fields.u64()?).ok()?;
    if size == 0 {
        return Some(None);
    }
    let bytes = fields.bytes(size)?;
    let filled = usize::try_from(fields.u64()?).ok()?.min(size);
    if abi != ABI_64 || filled == 0 {
        return Some(None);
    }
    Some(Some(UserStack { registers, bytes: bytes.get(..filled)?.to_vec() }))
}

/// Reads little pieces off the front of bytes; `None` where they do not reach.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.bytes(len).map(|_| ())
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }

    fn words(&mut self, count: usize) -> Option<Vec<u64>> {
        let bytes = self.bytes(count.checked_mul(8)?)?;
        Some(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect())
    }

    /// The text up to the first NUL, or all that is left.
    fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        String::from_utf8_lossy(self.0.get(..end).unwrap_or_default()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(kind: u32, misc: u16, content: &[u8]) -> Vec<u8> {
        let mut out = kind.to_ne_bytes().to_vec();
        out.extend(misc.to_ne_bytes());
        out.extend(u16::try_from(content.len() + HEADER_BYTES).unwrap_or(u16::MAX).to_ne_bytes());
        out.extend(content);
        out
    }

    fn trailer() -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(7u32.to_ne_bytes());
        out.extend(8u32.to_ne_bytes());
        out.extend(1234u64.to_ne_bytes());
        out.extend(1u32.to_ne_bytes());
        out.extend(0u32.to_ne_bytes());
        out.extend(99u64.to_ne_bytes());
        out
    }

    const ORIGIN: Origin = Origin { pid: 7, tid: 8, time_ns: 1234, cpu: 1, event_id: 99 };

    fn sample_bytes(chain: &[u64], stack: Option<(&[u64], &[u8])>) -> Vec<u8> {
        let mut out = 99u64.to_ne_bytes().to_vec();
        out.extend(7u32.to_ne_bytes());
        out.extend(8u32.to_ne_bytes());
        out.extend(1234u64.to_ne_bytes());
        out.extend(1u32.to_ne_bytes());
        out.extend(0u32.to_ne_bytes());
        out.extend((chain.len() as u64).to_ne_bytes());
        out.extend(chain.iter().flat_map(|word| word.to_ne_bytes()));
        if let Some((registers, bytes)) = stack {
            out.extend(2u64.to_ne_bytes());
            out.extend(registers.iter().flat_map(|word| word.to_ne_bytes()));
            out.extend((bytes.len() as u64).to_ne_bytes());
            out.extend(bytes);
            out.extend((bytes.len() as u64 - 8).to_ne_bytes());
        }
        out
    }

    fn all(bytes: &[u8], layout: Layout) -> (Vec<Record>, Parsed) {
        let mut records = Vec::new();
        let parsed = parse(bytes, layout, |record| records.push(record));
        (records, parsed)
    }

    #[test]
    fn every_kind_of_record() {
        let mut bytes = framed(SAMPLE, 0, &sample_bytes(&[1, 2, 3], None));
        bytes.extend(framed(SWITCH, MISC_SWITCH_OUT | MISC_SWITCH_OUT_PREEMPT, &trailer()));
        bytes.extend(framed(SWITCH, 0, &trailer()));
        let mut map = [7u32, 8].iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<_>>();
        map.extend([0x1000u64, 0x2000, 0x3000].iter().flat_map(|v| v.to_ne_bytes()));
        map.extend([0u8; 32]);
        map.extend(b"/lib/x.so\0\0\0\0\0\0\0");
        map.extend(trailer());
        bytes.extend(framed(MMAP2, 0, &map));
        let mut comm = [7u32, 8].iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<_>>();
        comm.extend(b"python\0\0");
        comm.extend(trailer());
        bytes.extend(framed(COMM, MISC_COMM_EXEC, &comm));
        let mut task = [70u32, 7, 71, 8].iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<_>>();
        task.extend(5u64.to_ne_bytes());
        task.extend(trailer());
        bytes.extend(framed(FORK, 0, &task));
        bytes.extend(framed(EXIT, 0, &task));
        let mut lost = [4u64, 5].iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<_>>();
        lost.extend(trailer());
        bytes.extend(framed(LOST, 0, &lost));
        bytes.extend(framed(77, 0, &[0; 16]));

        let (records, parsed) = all(&bytes, Layout::default());
        assert_eq!(parsed, Parsed { skipped: 1, malformed: 0, rest_bytes: 0 });
        assert!(records.iter().all(|record| record.origin == ORIGIN));
        let bodies: Vec<Body> = records.into_iter().map(|record| record.body).collect();
        assert_eq!(
            bodies,
            [
                Body::Sample { chain: vec![1, 2, 3], stack: None },
                Body::Switch { is_out: true, preempted: true },
                Body::Switch { is_out: false, preempted: false },
                Body::Map { pid: 7, address: 0x1000, len: 0x2000, file_offset: 0x3000, path: "/lib/x.so".into() },
                Body::Comm { pid: 7, tid: 8, name: "python".into(), is_exec: true },
                Body::Fork { pid: 70, parent_pid: 7, tid: 71 },
                Body::Exit { pid: 70, tid: 71 },
                Body::Lost(5),
            ]
        );
    }

    #[test]
    fn copied_stacks() {
        let bytes = framed(SAMPLE, 0, &sample_bytes(&[9], Some((&[10, 11, 12], &[1; 24]))));
        let (records, parsed) = all(&bytes, Layout { registers: 3 });
        assert_eq!(parsed, Parsed::default());
        let stack = Some(UserStack { registers: vec![10, 11, 12], bytes: vec![1; 16] });
        assert_eq!(records, [Record { origin: ORIGIN, body: Body::Sample { chain: vec![9], stack } }]);
    }

    #[test]
    fn lengths_that_lie() {
        let mut content = sample_bytes(&[1, 2, 3], None);
        // The number of addresses, far beyond the record.
        content.splice(32..40, (u64::MAX / 8 + 2).to_ne_bytes());
        let mut bytes = framed(SAMPLE, 0, &content);
        bytes.extend(framed(SWITCH, 0, &trailer()));
        bytes.extend(framed(SWITCH, 0, &[0; 31]));
        // A size below the header's own ends the reading.
        bytes.extend([14, 0, 0, 0, 0, 0, 4, 0, 1, 2, 3]);
        let (records, parsed) = all(&bytes, Layout::default());
        assert_eq!(records.len(), 1);
        assert_eq!(parsed, Parsed { skipped: 0, malformed: 2, rest_bytes: 11 });
    }

    /// Flips, cuts and repeats bytes of good records, with a fixed seed. What comes out must stay within what went in.
    #[test]
    fn damaged_bytes_never_harm() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut good = framed(SAMPLE, 0, &sample_bytes(&[1, 2, 3], Some((&[10, 11, 12], &[1; 64]))));
        for kind in [MMAP, LOST, COMM, EXIT, FORK, MMAP2, LOST_SAMPLES, SWITCH] {
            let mut content = vec![65; 80];
            content.extend(trailer());
            good.extend(framed(kind, 0x6000, &content));
        }
        let mut kept = 0;
        for round in 0..200_000 {
            let mut bytes = good.clone();
            for _ in 0..=next() % 8 {
                let at = usize::try_from(next()).unwrap_or(0) % bytes.len();
                bytes[at] = next() as u8;
            }
            bytes.truncate(usize::try_from(next()).unwrap_or(0) % (bytes.len() + 1));
            let layout = Layout { registers: round % 5 };
            let (records, parsed) = all(&bytes, layout);
            let words: usize = records
                .iter()
                .map(|record| match &record.body {
                    Body::Sample { chain, stack } => chain.len() * 8 + stack.as_ref().map_or(0, |s| s.bytes.len()),
                    _ => 8,
                })
                .sum();
            assert!(words <= bytes.len() && parsed.rest_bytes <= bytes.len());
            kept += records.len();
        }
        // Most damage leaves most records readable; a parser that dropped everything would pass the rest.
        assert!(kept > 200_000, "{kept}");
    }
}
