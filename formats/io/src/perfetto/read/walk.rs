//! Walking the packets of a piece into records. Knows nothing of what came before the piece, so pieces are walked in
//! parallel.

use gapless_trace::{ArgsLoc, SourceId, WarningKind};
use perfetto_proto::field::{packet, track_event};
use rustc_hash::FxHashMap;

use super::bounds::frame;
use super::record::{Change, ChangeAt, Compressed, InternedEntry, Rare, Record, Slot, Walked, What, flag};
use crate::protobuf::{Fields, Value};

/// Where a piece lies: its bytes, and the place of the first one in the source.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub base: u64,
    pub bytes: &'a [u8],
    /// Whether compressed packets may stand in it: those in inflated ones are refused.
    pub may_inflate: bool,
}

/// Largest 32-bit id that is kept in a record.
const MAX_IID: u64 = u32::MAX as u64 - 1;

/// Walks all packets of `piece`. `records` is room to put records into.
pub(super) fn walk(piece: Piece<'_>, mut records: Vec<Record>) -> Walked {
    records.clear();
    let mut walker = Walker {
        piece,
        out: Walked { records, ..Walked::default() },
        places: FxHashMap::default(),
        last: (u32::MAX, 0),
        unknown: Vec::new(),
    };
    walker.out.records.reserve(piece.bytes.len() / 40);
    let mut at = 0;
    while let Some(content) = frame(piece.bytes, at) {
        walker.packet(at, content.start, content.end);
        at = content.end;
    }
    walker.finish()
}

struct Walker<'a> {
    piece: Piece<'a>,
    out: Walked,
    /// Places of sequences by id.
    places: FxHashMap<u32, u32>,
    last: (u32, u32),
    /// (field, count, first offset) of data that is not used.
    unknown: Vec<(u32, u64, u64)>,
}

/// What the head of a packet says.
#[derive(Default)]
struct PacketHead {
    time: u64,
    flags: u16,
    sequence: u32,
    clock: u32,
    sequence_flags: u64,
    is_cleared: bool,
    is_lossy: bool,
    is_first: bool,
}

/// Data of a packet.
#[derive(Clone, Copy)]
struct Data<'a> {
    field: u32,
    content: &'a [u8],
    /// Place of the content in the packet.
    at: usize,
}

impl<'a> Walker<'a> {
    fn warn(&mut self, kind: WarningKind, at: usize, detail: &str) {
        self.out.warnings.add(kind, SourceId(0), Some(self.piece.base + at as u64), detail);
    }

    fn loc(&mut self, at: usize, len: usize) -> Option<ArgsLoc> {
        let loc = ArgsLoc::new(self.piece.base + at as u64, len);
        if loc.is_none() {
            self.warn(WarningKind::ArgsTooLong, at, "");
        }
        loc.filter(|loc| !loc.is_empty())
    }

    fn sequence(&mut self, id: u32) -> u32 {
        if self.last.0 == id && !self.out.sequences.is_empty() {
            return self.last.1;
        }
        let sequences = &mut self.out.sequences;
        let place = *self.places.entry(id).or_insert_with(|| {
            sequences.push(id);
            sequences.len() as u32 - 1
        });
        self.last = (id, place);
        place
    }

    fn packet(&mut self, frame: usize, from: usize, to: usize) {
        let bytes = self.piece.bytes;
        let Some(content) = bytes.get(from..to) else { return };
        let mut head = PacketHead::default();
        let mut data: Option<Data<'a>> = None;
        let (mut interned, mut defaults) = (None, None);
        let mut fields = Fields::new(content);
        // Not `by_ref`, which is not inlined: these two loops are where the time goes.
        for field in fields.by_ref() {
            match (field.number, field.value) {
                (packet::TIMESTAMP, Value::Varint(time)) => {
                    head.time = time;
                    head.flags |= flag::TIME;
                }
                (packet::SEQUENCE_ID, Value::Varint(id)) => head.sequence = id as u32,
                (packet::TRACK_EVENT, Value::Bytes(content)) => {
                    data = Some(Data { field: packet::TRACK_EVENT, content, at: from + field.at });
                }
                (packet::SEQUENCE_FLAGS, Value::Varint(flags)) => head.sequence_flags = flags,
                (packet::INTERNED_DATA, Value::Bytes(content)) => interned = Some((from + field.at, content)),
                (packet::CLOCK_ID, Value::Varint(clock)) => {
                    head.clock = clock as u32;
                    head.flags |= flag::CLOCK;
                }
                (packet::DEFAULTS, Value::Bytes(content)) => defaults = Some((from + field.at, content.len())),
                (packet::INCREMENTAL_STATE_CLEARED, Value::Varint(value)) => head.is_cleared = value != 0,
                (packet::PREVIOUS_PACKET_DROPPED, Value::Varint(value)) => head.is_lossy = value != 0,
                (packet::FIRST_PACKET_ON_SEQUENCE, Value::Varint(value)) => head.is_first = value != 0,
                // Who wrote the packet: not shown.
                (packet::TRUSTED_UID | packet::TRUSTED_PID | packet::MACHINE_ID, Value::Varint(_)) => {}
                (packet::COMPRESSED | packet::COMPRESSED_ZSTD, Value::Bytes(content)) => {
                    let at = from + field.at;
                    let is_zstd = field.number == packet::COMPRESSED_ZSTD;
                    self.compressed(Compressed { frame, end: to, from: at, to: at + content.len(), is_zstd });
                }
                (number, Value::Bytes(content)) => {
                    data = Some(Data { field: number, content, at: from + field.at });
                }
                (number, _) => self.unknown(number, from),
            }
        }
        if fields.is_broken() {
            self.warn(WarningKind::MalformedPacket, from, "");
            return;
        }
        let at = from as u32;
        let sequence = self.sequence(head.sequence);
        let is_cleared = head.is_cleared || head.sequence_flags & 1 != 0;
        if is_cleared {
            self.change(sequence, at, Change::Cleared { generation: 0 });
        }
        if head.is_lossy {
            // The first packet of a sequence says so because nobody knows what was before it.
            if !head.is_first {
                self.warn(WarningKind::PacketLost, from, "");
            }
            if !is_cleared {
                self.change(sequence, at, Change::Lost);
            }
        }
        if head.sequence_flags & 2 != 0 {
            head.flags |= flag::NEEDS_STATE;
        }
        if let Some(message) = defaults.and_then(|(at, len)| self.loc(at, len)) {
            self.change(sequence, at, Change::Defaults { message, place: 0 });
        }
        if let Some((interned_at, content)) = interned {
            self.interned(interned_at, content, sequence, at);
        }
        let record = Record {
            time: head.time,
            track: 0,
            name: 0,
            category: 0,
            at,
            len: u32::try_from(content.len()).unwrap_or(u32::MAX),
            sequence,
            what: What::Time,
            flags: head.flags,
        };
        match data {
            Some(data) if data.field == packet::TRACK_EVENT => {
                if head.sequence == 0 {
                    self.warn(WarningKind::NoSequence, from, "");
                } else {
                    self.track_event(record, data, head.clock);
                }
            }
            Some(data) => self.other(record, data, head.clock),
            None if head.flags & flag::TIME != 0 => self.push(record, head.clock),
            None => {}
        }
    }

    fn change(&mut self, sequence: u32, at: u32, change: Change) {
        self.out.changes.push(ChangeAt { before: self.out.records.len() as u32, sequence, at, change });
    }

    fn push(&mut self, record: Record, clock: u32) {
        if record.has(flag::CLOCK) {
            self.out.clocks.push((self.out.records.len() as u32, clock));
        }
        self.out.records.push(record);
    }

    #[inline(always)]
    fn track_event(&mut self, mut record: Record, data: Data<'a>, clock: u32) {
        let mut kind = 0;
        let mut value = None;
        let mut fields = Fields::new(data.content);
        for field in fields.by_ref() {
            match (field.number, field.value) {
                (track_event::TYPE, Value::Varint(value)) => kind = value,
                (track_event::TRACK_UUID, Value::Varint(uuid)) => {
                    record.track = uuid;
                    record.flags |= flag::TRACK;
                }
                (track_event::NAME_IID, Value::Varint(iid @ 0..=MAX_IID)) => record.name = iid as u32,
                (track_event::CATEGORY_IIDS, Value::Varint(iid @ 1..=MAX_IID)) if record.category == 0 => {
                    record.category = iid as u32;
                }
                (track_event::DEBUG_ANNOTATIONS, _) => record.flags |= flag::ARGS,
                (track_event::COUNTER_VALUE, Value::Varint(whole)) => value = Some(whole as i64 as f64),
                (track_event::DOUBLE_COUNTER_VALUE, Value::Fixed64(bits)) => value = Some(f64::from_bits(bits)),
                (track_event::TIMESTAMP_DELTA_US, Value::Varint(delta)) => {
                    record.time = delta;
                    record.flags = record.flags & !flag::TIME | flag::DELTA | flag::MORE;
                    self.out.has_deltas = true;
                }
                (track_event::TIMESTAMP_ABSOLUTE_US, Value::Varint(us)) => {
                    let ns = (us as i64).checked_mul(1_000);
                    // Too far away for ns: the resolver finds a time out of range.
                    record.time = ns.unwrap_or(i64::MAX) as u64;
                    record.flags = record.flags & !flag::TIME | flag::MONOTONIC | flag::MORE;
                }
                // Shown with the arguments.
                (track_event::TASK_EXECUTION | track_event::LOG_MESSAGE, _)
                | (track_event::SOURCE_LOCATION | track_event::SOURCE_LOCATION_IID, _)
                | (track_event::CORRELATION_ID..=track_event::CORRELATION_ID_STR_IID, _) => {
                    record.flags |= flag::ARGS;
                }
                (track_event::CATEGORIES, Value::Bytes(text)) => {
                    record.flags |= flag::MORE;
                    if text == super::super::FACTS_CATEGORY.as_bytes() {
                        let packet = self.loc(record.at as usize, record.len as usize);
                        self.out.facts.extend(packet);
                    }
                }
                _ => record.flags |= flag::MORE,
            }
        }
        if fields.is_broken() {
            self.warn(WarningKind::MalformedPacket, record.at as usize, "its track event is broken");
            return;
        }
        record.what = match kind {
            1 => What::Begin,
            2 => What::End,
            3 => What::Instant,
            4 => What::Counter,
            5 => What::State,
            _ => What::Legacy,
        };
        if record.what == What::Counter {
            let Some(value) = value else {
                self.warn(WarningKind::CounterNotNumeric, record.at as usize, "");
                return;
            };
            let bits = value.to_bits();
            (record.name, record.category) = (bits as u32, (bits >> 32) as u32);
        }
        self.push(record, clock);
    }

    /// Data that is no track event.
    fn other(&mut self, mut record: Record, data: Data<'a>, clock: u32) {
        let at = record.at;
        let what = match data.field {
            packet::GPU_RENDER_STAGE_EVENT => What::GpuStage,
            packet::GPU_COUNTER_EVENT => What::GpuCounters,
            packet::PERF_SAMPLE => What::PerfSample,
            packet::STACK_SAMPLE => What::StackSample,
            packet::FTRACE_EVENTS => What::Ftrace,
            field => {
                if let Some(message) = self.loc(data.at, data.content.len()) {
                    match field {
                        packet::CLOCK_SNAPSHOT => self.change(record.sequence, at, Change::Clocks { message }),
                        packet::THREAD_DESCRIPTOR => {
                            self.change(record.sequence, at, Change::Thread { message, place: 0 });
                            self.out.rares.push(Rare { field, message });
                        }
                        packet::TRACK_DESCRIPTOR
                        | packet::PROCESS_TREE
                        | packet::PROCESS_DESCRIPTOR
                        | packet::GPU_INFO
                        | packet::SYSTEM_INFO
                        | packet::TRACE_ATTRIBUTES => self.out.rares.push(Rare { field, message }),
                        // The pattern at which packet bounds are found again, the configuration, statistics and ids.
                        36 | 33 | 35 | 46 | 69 | 87 | 89 | 90 => {}
                        _ => self.unknown(field, at as usize),
                    }
                }
                What::Time
            }
        };
        record.what = what;
        if what != What::Time || record.has(flag::TIME) {
            self.push(record, clock);
        }
    }

    fn unknown(&mut self, field: u32, at: usize) {
        // A file of fields that nobody knows must not make a list of its own size: what is beyond goes to the last.
        let is_full = self.unknown.len() >= 64;
        let known = self.unknown.iter().position(|entry| entry.0 == field).or(is_full.then_some(63));
        match known.and_then(|place| self.unknown.get_mut(place)) {
            Some(entry) => entry.1 += 1,
            None => self.unknown.push((field, 1, self.piece.base + at as u64)),
        }
    }

    fn compressed(&mut self, compressed: Compressed) {
        if self.piece.may_inflate {
            self.out.compressed.push(compressed);
        } else {
            self.warn(WarningKind::MalformedPacket, compressed.frame, "compressed packets in compressed packets");
        }
    }

    fn interned(&mut self, at: usize, content: &'a [u8], sequence: u32, packet_at: u32) {
        let from = self.out.interned.len() as u32;
        let mut fields = Fields::new(content);
        for field in fields.by_ref() {
            let (Some(slot), Some(entry)) = (Slot::of_field(field.number), field.bytes()) else { continue };
            // Every kind of entry has its id in field 1, and nearly all write it first.
            let iid = Fields::new(entry).find(|field| field.number == 1).and_then(|field| field.uint());
            if let (Some(iid), Some(message)) = (iid, self.loc(at + field.at, entry.len())) {
                self.out.interned.push(InternedEntry { slot, iid, message });
            }
        }
        if fields.is_broken() {
            self.warn(WarningKind::MalformedPacket, at, "its interned data is broken");
        }
        let to = self.out.interned.len() as u32;
        if to > from {
            self.change(sequence, packet_at, Change::Interned { from, to });
        }
    }

    fn finish(mut self) -> Walked {
        for (field, count, first) in std::mem::take(&mut self.unknown) {
            let detail = packet_name(field).map_or_else(|| format!("field {field}"), str::to_owned);
            self.out.warnings.add_many(WarningKind::UnknownPacket, SourceId(0), count, Some(first), &detail);
        }
        self.out
    }
}

/// What data of a packet is called, for notes.
fn packet_name(field: u32) -> Option<&'static str> {
    Some(match field {
        5 => "chrome_events",
        7 => "sys_stats",
        9 => "process_stats",
        37 => "profile_packet",
        38 => "battery",
        39 => "android_log",
        51 => "chrome_metadata",
        61 => "module_symbols",
        63 => "gpu_log",
        65 => "vulkan_api_event",
        67 => "cpu_info",
        71 => "gpu_mem_total_event",
        72 => "extension_descriptor",
        73 => "memory_tracker_snapshot",
        78 => "ui_state",
        82 => "translation_table",
        129 => "generic_gpu_frequency_event",
        _ => return None,
    })
}
