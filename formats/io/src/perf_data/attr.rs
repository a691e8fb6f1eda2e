//! What the recorder was asked for: one description per kind of event (`perf_event_attr`).

use super::fields::Fields;

/// Fields of a sample, by bit of `sample_type`.
pub(super) mod sample_bit {
    pub const IP: u64 = 1;
    pub const TID: u64 = 1 << 1;
    pub const TIME: u64 = 1 << 2;
    pub const ADDR: u64 = 1 << 3;
    pub const READ: u64 = 1 << 4;
    pub const CALLCHAIN: u64 = 1 << 5;
    pub const ID: u64 = 1 << 6;
    pub const CPU: u64 = 1 << 7;
    pub const PERIOD: u64 = 1 << 8;
    pub const STREAM_ID: u64 = 1 << 9;
    pub const RAW: u64 = 1 << 10;
    pub const STACK_USER: u64 = 1 << 13;
    pub const IDENTIFIER: u64 = 1 << 16;
}

/// Bits of `read_format`.
pub(super) mod read_bit {
    pub const ENABLED: u64 = 1;
    pub const RUNNING: u64 = 1 << 1;
    pub const ID: u64 = 1 << 2;
    pub const GROUP: u64 = 1 << 3;
    pub const LOST: u64 = 1 << 4;
}

/// Bit of `flags`: records that are no samples carry their thread, time and core at their end.
const SAMPLE_ID_ALL: u64 = 1 << 18;
/// The smallest description there is, in bytes.
const SMALLEST: u32 = 64;

/// A kind of event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attr {
    /// Name of the event (`cycles:u`).
    pub name: Vec<u8>,
    /// Ids that its records carry.
    pub ids: Vec<u64>,
    /// Type of the event, for those without a name.
    pub kind: u32,
    /// Which event of its type, for those without a name.
    pub config: u64,
    /// Which fields a sample has.
    pub sample_type: u64,
    /// Which fields a counter reading in a sample has.
    pub read_format: u64,
    /// Whether other records carry thread, time and core.
    pub has_trailer: bool,
}

impl Attr {
    /// Reads a description of `fields`, whose own size says how much belongs to it.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let mut head = *fields;
        let kind = head.u32()?;
        let size = head.u32()?;
        if size < SMALLEST {
            return None;
        }
        let config = head.u64()?;
        let _period = head.u64()?;
        let sample_type = head.u64()?;
        let read_format = head.u64()?;
        let flags = head.u64()?;
        fields.bytes(size as usize)?;
        Some(Self {
            name: Vec::new(),
            ids: Vec::new(),
            kind,
            config,
            sample_type,
            read_format,
            has_trailer: flags & SAMPLE_ID_ALL != 0,
        })
    }

    /// The event's name, or one made from its numbers.
    pub fn label(&self) -> String {
        if !self.name.is_empty() {
            return String::from_utf8_lossy(&self.name).into_owned();
        }
        match (self.kind, self.config) {
            (0, 0) => "cycles".to_owned(),
            (0, 1) => "instructions".to_owned(),
            (0, 3) => "cache-misses".to_owned(),
            (0, 5) => "branch-misses".to_owned(),
            (1, 0) => "cpu-clock".to_owned(),
            (1, 1) => "task-clock".to_owned(),
            (1, 2) => "page-faults".to_owned(),
            (1, 3) => "context-switches".to_owned(),
            (kind, config) => format!("event {kind}:{config:#x}"),
        }
    }

    /// Whether a sample has the field of `bit`.
    pub fn has(&self, bit: u64) -> bool {
        self.sample_type & bit != 0
    }
}

/// Which description a record belongs to.
#[derive(Debug)]
pub(super) struct AttrOfRecord {
    by_id: rustc_hash::FxHashMap<u64, usize>,
    /// Words before the id in a sample, and after its beginning from the end of any other record.
    in_sample: Option<usize>,
    from_end: Option<usize>,
}

impl AttrOfRecord {
    /// Finds where the id stands. All descriptions must agree on it, else every record counts as the first one's.
    pub fn new(attrs: &[Attr]) -> Self {
        use sample_bit::{ADDR, CPU, ID, IDENTIFIER, IP, STREAM_ID, TID, TIME};
        let by_id = attrs.iter().enumerate().flat_map(|(at, attr)| attr.ids.iter().map(move |&id| (id, at))).collect();
        let words = |attr: &Attr, bits: u64| (attr.sample_type & bits).count_ones() as usize;
        let in_sample = |attr: &Attr| match (attr.has(IDENTIFIER), attr.has(ID)) {
            (true, _) => Some(0),
            (false, true) => Some(words(attr, IP | TID | TIME | ADDR)),
            (false, false) => None,
        };
        let from_end = |attr: &Attr| match (attr.has_trailer, attr.has(IDENTIFIER), attr.has(ID)) {
            (true, true, _) => Some(1),
            (true, false, true) => Some(words(attr, ID | STREAM_ID | CPU)),
            _ => None,
        };
        let agreed = |of: &dyn Fn(&Attr) -> Option<usize>| {
            let first = attrs.first().and_then(of);
            first.filter(|_| attrs.len() > 1 && attrs.iter().all(|attr| of(attr) == first))
        };
        Self { by_id, in_sample: agreed(&in_sample), from_end: agreed(&from_end) }
    }

    /// The place of the description of a record with this body.
    pub fn of(&self, is_sample: bool, body: &[u8], big_endian: bool) -> usize {
        let at = match (is_sample, self.in_sample, self.from_end) {
            (true, Some(words), _) => Some(words * 8),
            (false, _, Some(words)) => body.len().checked_sub(words * 8),
            _ => None,
        };
        let id = at.and_then(|at| Fields::new(body.get(at..)?, big_endian).u64());
        id.and_then(|id| self.by_id.get(&id)).copied().unwrap_or(0)
    }
}
