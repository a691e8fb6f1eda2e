//! Walking the packets of a piece into records. Knows nothing of what came before the piece, so pieces are walked in
//! parallel.

use gapless_trace::{ArgsLoc, SourceId, WarningKind};
use perfetto_proto::field::{packet, track_event};
use rustc_hash::FxHashMap;

use super::super::derived;
use super::bounds::frame;
use super::record::{Change, ChangeAt, Compressed, InternedEntry, Rare, Record, Slot, Walked, What, flag};
use crate::protobuf::{Field, Fields, Value, bytes_key, delimited, field, fixed64_key, varint, varint_key};

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

/// Sequences that are found without hashing.
const RECENT: usize = 64;

/// Walks all packets of `piece`. `records` is room to put records into.
pub(super) fn walk(piece: Piece<'_>, mut records: Vec<Record>) -> Walked {
    records.clear();
    let mut walker = Walker {
        piece,
        out: Walked { records, ..Walked::default() },
        places: FxHashMap::default(),
        recent: [(0, u32::MAX); RECENT],
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
    /// Sequences that were met last, by the lowest bits of their ids: (id, place), `u32::MAX` for none.
    recent: [(u32, u32); RECENT],
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

/// Parts of a packet.
struct Parts<'a> {
    head: PacketHead,
    data: Option<Data<'a>>,
    /// Place in the piece, and content.
    interned: Option<(usize, &'a [u8])>,
    defaults: Option<(usize, &'a [u8])>,
}

/// What a track event holds beside what its record does.
struct EventFields {
    kind: u64,
    /// Value of a counter.
    value: Option<f64>,
    /// Where the first field begins that [`Walked::details`] are about; of use where there is one.
    details: usize,
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
        let slot = id as usize % RECENT;
        if let Some(&(known, place)) = self.recent.get(slot)
            && known == id
            && place != u32::MAX
        {
            return place;
        }
        let sequences = &mut self.out.sequences;
        let place = *self.places.entry(id).or_insert_with(|| {
            sequences.push(id);
            sequences.len() as u32 - 1
        });
        if let Some(recent) = self.recent.get_mut(slot) {
            *recent = (id, place);
        }
        place
    }

    fn packet(&mut self, frame: usize, from: usize, to: usize) {
        let bytes = self.piece.bytes;
        let Some(content) = bytes.get(from..to) else { return };
        let Some(Parts { mut head, data, interned, defaults }) = self.parts(content, frame, from, to) else {
            self.warn(WarningKind::MalformedPacket, from, "");
            return;
        };
        // What an analysis found is no part of the recording.
        if head.sequence == derived::SEQUENCE {
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
        if let Some(message) = defaults.and_then(|(at, content)| self.loc(at, content.len())) {
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

    /// Takes a packet apart; `None` where it is broken.
    ///
    /// This and [`track_event`](Self::track_event) are where the time goes: the fields that nearly every packet has
    /// are told by their whole key, in one jump.
    #[inline(always)]
    fn parts(&mut self, content: &'a [u8], frame: usize, from: usize, to: usize) -> Option<Parts<'a>> {
        const TIMESTAMP: u64 = varint_key(packet::TIMESTAMP);
        const SEQUENCE_ID: u64 = varint_key(packet::SEQUENCE_ID);
        const SEQUENCE_FLAGS: u64 = varint_key(packet::SEQUENCE_FLAGS);
        const TRUSTED_UID: u64 = varint_key(packet::TRUSTED_UID);
        const TRUSTED_PID: u64 = varint_key(packet::TRUSTED_PID);
        const TRACK_EVENT: u64 = bytes_key(packet::TRACK_EVENT);
        const INTERNED_DATA: u64 = bytes_key(packet::INTERNED_DATA);
        let mut parts = Parts { head: PacketHead::default(), data: None, interned: None, defaults: None };
        let head = &mut parts.head;
        let mut at = 0;
        while at < content.len() {
            match varint(content, &mut at)? {
                TIMESTAMP => {
                    head.time = varint(content, &mut at)?;
                    head.flags |= flag::TIME;
                }
                SEQUENCE_ID => head.sequence = varint(content, &mut at)? as u32,
                TRACK_EVENT => {
                    // Of several, the last counts.
                    let event = delimited(content, &mut at)?;
                    let event_at = from + at - event.len();
                    parts.data = Some(Data { field: packet::TRACK_EVENT, content: event, at: event_at });
                }
                SEQUENCE_FLAGS => head.sequence_flags = varint(content, &mut at)?,
                // Who wrote the packet: not shown.
                TRUSTED_UID | TRUSTED_PID => {
                    varint(content, &mut at)?;
                }
                INTERNED_DATA => {
                    let data = delimited(content, &mut at)?;
                    parts.interned = Some((from + at - data.len(), data));
                }
                key => {
                    let field = field(content, key, &mut at)?;
                    match (field.number, field.value) {
                        (packet::CLOCK_ID, Value::Varint(clock)) => {
                            head.clock = clock as u32;
                            head.flags |= flag::CLOCK;
                        }
                        (packet::DEFAULTS, Value::Bytes(content)) => parts.defaults = Some((from + field.at, content)),
                        (packet::INCREMENTAL_STATE_CLEARED, Value::Varint(value)) => head.is_cleared = value != 0,
                        (packet::PREVIOUS_PACKET_DROPPED, Value::Varint(value)) => head.is_lossy = value != 0,
                        (packet::FIRST_PACKET_ON_SEQUENCE, Value::Varint(value)) => head.is_first = value != 0,
                        (packet::MACHINE_ID, Value::Varint(_)) => {}
                        (packet::COMPRESSED | packet::COMPRESSED_ZSTD, Value::Bytes(content)) => {
                            let at = from + field.at;
                            let is_zstd = field.number == packet::COMPRESSED_ZSTD;
                            self.compressed(Compressed { frame, end: to, from: at, to: at + content.len(), is_zstd });
                        }
                        (number, Value::Bytes(content)) => {
                            parts.data = Some(Data { field: number, content, at: from + field.at });
                        }
                        (number, _) => self.unknown(number, from),
                    }
                }
            }
        }
        Some(parts)
    }

    fn change(&mut self, sequence: u32, at: u32, change: Change) {
        self.out.changes.push(ChangeAt { before: self.out.records.len() as u32, sequence, at, change });
    }

    #[inline(always)]
    fn push(&mut self, record: Record, clock: u32) {
        if record.has(flag::CLOCK) {
            self.out.clocks.push((self.out.records.len() as u32, clock));
        }
        self.out.records.push(record);
    }

    #[inline(always)]
    fn track_event(&mut self, mut record: Record, data: Data<'a>, clock: u32) {
        let Some(EventFields { kind, value, details }) = self.event_fields(&mut record, data.content) else {
            self.warn(WarningKind::MalformedPacket, record.at as usize, "its track event is broken");
            return;
        };
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
        if record.flags & flag::DETAILS != 0 {
            self.out.details.push((data.at + details) as u32..(data.at + data.content.len()) as u32);
        }
        self.push(record, clock);
    }

    /// Puts what a track event holds into its record, and gives the rest. `None` where it is broken.
    #[inline(always)]
    fn event_fields(&mut self, record: &mut Record, content: &'a [u8]) -> Option<EventFields> {
        const TYPE: u64 = varint_key(track_event::TYPE);
        const TRACK_UUID: u64 = varint_key(track_event::TRACK_UUID);
        const NAME_IID: u64 = varint_key(track_event::NAME_IID);
        const CATEGORY_IIDS: u64 = varint_key(track_event::CATEGORY_IIDS);
        const DEBUG_ANNOTATIONS: u64 = bytes_key(track_event::DEBUG_ANNOTATIONS);
        const COUNTER_VALUE: u64 = varint_key(track_event::COUNTER_VALUE);
        const FLOW_IDS: u64 = fixed64_key(track_event::FLOW_IDS);
        const TERMINATING_FLOW_IDS: u64 = fixed64_key(track_event::TERMINATING_FLOW_IDS);
        let (mut kind, mut value, mut details) = (0, None, usize::MAX);
        let mut at = 0;
        while at < content.len() {
            let from = at;
            match varint(content, &mut at)? {
                TYPE => kind = varint(content, &mut at)?,
                TRACK_UUID => {
                    record.track = varint(content, &mut at)?;
                    record.flags |= flag::TRACK;
                }
                NAME_IID => match varint(content, &mut at)? {
                    iid @ 0..=MAX_IID => record.name = iid as u32,
                    _ => record.flags |= flag::MORE,
                },
                CATEGORY_IIDS => match varint(content, &mut at)? {
                    iid @ 1..=MAX_IID if record.category == 0 => record.category = iid as u32,
                    _ => record.flags |= flag::MORE,
                },
                DEBUG_ANNOTATIONS => {
                    delimited(content, &mut at)?;
                    record.flags |= flag::ARGS;
                    details = details.min(from);
                }
                COUNTER_VALUE => value = Some(varint(content, &mut at)? as i64 as f64),
                key @ (FLOW_IDS | TERMINATING_FLOW_IDS) => {
                    field(content, key, &mut at)?;
                    record.flags |= flag::FLOWS;
                    details = details.min(from);
                }
                key => {
                    let field = field(content, key, &mut at)?;
                    self.rare_event_field(record, field, &mut value);
                    if record.flags & flag::DETAILS != 0 {
                        details = details.min(from);
                    }
                }
            }
        }
        Some(EventFields { kind, value, details })
    }

    /// A field that few track events have.
    fn rare_event_field(&mut self, record: &mut Record, field: Field<'a>, value: &mut Option<f64>) {
        match (field.number, field.value) {
            (track_event::DOUBLE_COUNTER_VALUE, Value::Fixed64(bits)) => *value = Some(f64::from_bits(bits)),
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
            (track_event::DEBUG_ANNOTATIONS | track_event::TASK_EXECUTION | track_event::LOG_MESSAGE, _)
            | (track_event::SOURCE_LOCATION | track_event::SOURCE_LOCATION_IID, _)
            | (track_event::CORRELATION_ID..=track_event::CORRELATION_ID_STR_IID, _) => record.flags |= flag::ARGS,
            // The older forms, and packed ones.
            (track_event::FLOW_IDS | track_event::TERMINATING_FLOW_IDS, _)
            | (track_event::FLOW_IDS_OLD | track_event::TERMINATING_FLOW_IDS_OLD, _) => record.flags |= flag::FLOWS,
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
                        36 | 33 | 35 | 46 | 69 | 87 | 89 | 90 | crate::RECORDING_POSITION => {}
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
