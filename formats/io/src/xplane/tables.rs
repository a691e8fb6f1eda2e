//! What a plane says once for all of its events: names of stats, names and constant stats of event types.

use std::borrow::Cow;

use gapless_trace::EventKind;
use rustc_hash::{FxHashMap, FxHashSet};

use super::kinds::{PlaneKind, TypeKind, kind_of_type};
use super::message::{Fields, Slice, Value};
use crate::protobuf::varint;

/// Bytes of a name that are looked at to tell what it names.
const MOST_LOOKED_AT: usize = 4 << 10;

/// A stretch of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Offset of the first byte.
    pub at: usize,
    /// Bytes.
    pub len: usize,
}

impl Stretch {
    /// Its bytes, as a message.
    pub fn of(self, file: &[u8]) -> Slice<'_> {
        let end = self.at.saturating_add(self.len);
        Slice::new(file.get(self.at..end).unwrap_or_default(), self.at)
    }

    /// Its bytes, as text.
    pub fn text(self, file: &[u8]) -> Cow<'_, str> {
        String::from_utf8_lossy(self.of(file).bytes)
    }

    /// As much of the text as is looked at to tell what it names: an endless one costs no time.
    pub fn beginning(self, file: &[u8]) -> Cow<'_, str> {
        Self { at: self.at, len: self.len.min(MOST_LOOKED_AT) }.text(file)
    }
}

impl From<Slice<'_>> for Stretch {
    fn from(slice: Slice<'_>) -> Self {
        Self { at: slice.at, len: slice.bytes.len() }
    }
}

/// The value of a stat as the file holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum StatValue<'a> {
    /// None was given.
    None,
    /// A number.
    Double(f64),
    /// A whole number without a sign.
    UInt(u64),
    /// A whole number.
    Int(i64),
    /// Text.
    Text(Slice<'a>),
    /// Bytes.
    Bytes(Slice<'a>),
    /// The text is the name of the stat with this id.
    Ref(i64),
    /// Text compressed with gzip.
    Gzip(Slice<'a>),
}

impl StatValue<'_> {
    /// As a whole number of 64 bits; a sign is kept as its bits.
    pub const fn bits(self) -> Option<u64> {
        match self {
            Self::UInt(value) => Some(value),
            Self::Int(value) => Some(value as u64),
            _ => None,
        }
    }

    /// As a number.
    pub const fn number(self) -> Option<f64> {
        match self {
            Self::Double(value) => Some(value),
            Self::UInt(value) => Some(value as f64),
            Self::Int(value) => Some(value as f64),
            _ => None,
        }
    }
}

/// Id of the stat and its value.
pub(super) fn read_stat(stat: Slice<'_>) -> (i64, StatValue<'_>) {
    let (mut id, mut value) = (0, StatValue::None);
    for field in Fields::new(stat) {
        match field {
            (1, Value::Varint(number)) => id = number as i64,
            (2, Value::Fixed64(bits)) => value = StatValue::Double(f64::from_bits(bits)),
            (3, Value::Varint(number)) => value = StatValue::UInt(number),
            (4, Value::Varint(number)) => value = StatValue::Int(number as i64),
            (5, Value::Bytes(text)) => value = StatValue::Text(text),
            (6, Value::Bytes(bytes)) => value = StatValue::Bytes(bytes),
            (7, Value::Varint(number)) => value = StatValue::Ref(number as i64),
            (8, Value::Bytes(bytes)) => value = StatValue::Gzip(bytes),
            _ => {}
        }
    }
    (id, value)
}

/// Id of the stat alone. Writers put it first.
#[inline]
pub(super) fn stat_id(stat: Slice<'_>) -> i64 {
    if stat.bytes.first() == Some(&0x08) {
        let mut at = 1;
        return varint(stat.bytes, &mut at).unwrap_or(0) as i64;
    }
    read_stat(stat).0
}

/// What a stat means for the time line. All others are arguments and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An argument.
    None,
    /// Joins a launch with its device work.
    CorrelationId,
    /// The event is a step.
    StepNumber,
    /// The event runs an operation of a compiled program.
    HloOp,
    /// What sort of operation it is.
    HloCategory,
    /// A copy, with its bytes.
    CopyDetails,
    /// A fill, with its bytes.
    FillDetails,
    /// An allocation, a release or a note on where memory lies.
    MemoryDetails,
    /// A value of a performance counter.
    CounterValue,
    /// Kind of work that the event hands on.
    ProducerType,
    /// Number of the work that the event hands on.
    ProducerId,
    /// Kind of work that the event takes up.
    ConsumerType,
    /// Number of the work that the event takes up.
    ConsumerId,
    /// Direction, number and kind of work in one.
    Flow,
}

fn role_of(name: &[u8]) -> Role {
    match name {
        b"correlation_id" => Role::CorrelationId,
        b"step_num" => Role::StepNumber,
        b"hlo_op" => Role::HloOp,
        b"hlo_category" => Role::HloCategory,
        b"memcpy_details" => Role::CopyDetails,
        b"Memset_details" | b"memset_details" => Role::FillDetails,
        b"memalloc_details" | b"MemFree_details" | b"MemoryResidency_details" => Role::MemoryDetails,
        b"counter_value" => Role::CounterValue,
        b"_pt" => Role::ProducerType,
        b"_p" => Role::ProducerId,
        b"_ct" => Role::ConsumerType,
        b"_c" => Role::ConsumerId,
        b"flow" => Role::Flow,
        _ => Role::None,
    }
}

/// Entries found by id. Ids mostly count from 1, so most are found by place.
#[derive(Debug)]
pub(super) struct ById<T> {
    entries: Vec<T>,
    /// Place + 1 of small ids; 0 for none.
    small: Vec<u32>,
    others: FxHashMap<i64, u32>,
}

impl<T> Default for ById<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), small: Vec::new(), others: FxHashMap::default() }
    }
}

impl<T> ById<T> {
    fn new(found: Vec<(i64, T)>) -> Self {
        let mut table = Self { entries: Vec::with_capacity(found.len()), ..Self::default() };
        let dense = found.len().saturating_mul(2).saturating_add(64);
        for (id, entry) in found {
            let place = table.entries.len() as u32;
            table.entries.push(entry);
            match usize::try_from(id).ok().filter(|&id| id < dense) {
                Some(id) => {
                    if table.small.len() <= id {
                        table.small.resize(id + 1, 0);
                    }
                    // Of entries with one id the last one counts, as protobuf maps have it.
                    if let Some(slot) = table.small.get_mut(id) {
                        *slot = place.saturating_add(1);
                    }
                }
                None => {
                    table.others.insert(id, place);
                }
            }
        }
        table
    }

    /// Place of the entry with `id`.
    #[inline]
    pub fn place(&self, id: i64) -> Option<usize> {
        match usize::try_from(id).ok().and_then(|id| self.small.get(id)) {
            Some(0) => None,
            Some(&place) => Some(place as usize - 1),
            None => self.others.get(&id).map(|&place| place as usize),
        }
    }

    /// The entry with `id`.
    #[inline]
    pub fn get(&self, id: i64) -> Option<&T> {
        self.entries.get(self.place(id)?)
    }

    /// All entries, in the order of the file.
    pub fn entries(&self) -> &[T] {
        &self.entries
    }

    /// Heap bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<T>()
            + self.small.capacity() * size_of::<u32>()
            + self.others.capacity() * size_of::<(i64, u32)>()
    }
}

/// What a plane says about stats with one id.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatType {
    /// Its name. Values that are repeated are written as such names, too.
    pub name: Stretch,
    /// What it means.
    pub role: Role,
}

/// What a plane says about events of one type.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventType {
    /// Its name.
    pub name: Stretch,
    /// A shorter name for display; empty where there is none.
    pub display_name: Stretch,
    /// Sort of operation (`convolution fusion`); empty where it is not said.
    pub category: Stretch,
    /// The whole entry, for its arguments.
    pub message: Stretch,
    /// What its name and category make of its events.
    pub kind: TypeKind,
}

impl EventType {
    /// The name that events are shown with.
    pub const fn label(&self) -> Stretch {
        if self.display_name.len > 0 { self.display_name } else { self.name }
    }
}

/// Both tables of a plane.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Stats by id.
    pub stats: ById<StatType>,
    /// Event types by id.
    pub types: ById<EventType>,
}

impl Tables {
    /// Reads the entries of both maps. O(entries).
    pub fn new(file: &[u8], stats: &[Stretch], types: &[Stretch], plane: &PlaneKind) -> Self {
        let read_name = |&entry: &Stretch| {
            let (id, message) = map_entry(entry.of(file));
            let name = Fields::new(message).find_map(|field| match field {
                (2, Value::Bytes(name)) => Some(name),
                _ => None,
            });
            let name = name.unwrap_or(Slice::new(&[], message.at));
            (id, StatType { name: name.into(), role: role_of(name.bytes) })
        };
        let stats = ById::new(stats.iter().map(read_name).collect());
        // Texts that stats repeat are kept as names of stats. A range on a thread that is called so is no user's: it
        // is the operation that other events name in `hlo_op`.
        let repeated: FxHashSet<&[u8]> = match plane {
            PlaneKind::Host => stats.entries().iter().map(|stat| stat.name.of(file).bytes).collect(),
            _ => FxHashSet::default(),
        };
        let read_type = |&entry: &Stretch| {
            let (id, message) = map_entry(entry.of(file));
            let mut found = event_type(file, message, &stats, plane);
            if found.kind.host == EventKind::Annotation && repeated.contains(found.name.of(file).bytes) {
                found.kind.host = EventKind::Operator;
            }
            (id, found)
        };
        let types = ById::new(types.iter().map(read_type).collect());
        Self { stats, types }
    }

    /// The text of a value that is one: written out, or the name of another stat.
    pub fn text<'a>(&self, file: &'a [u8], value: StatValue<'a>) -> Option<&'a [u8]> {
        match value {
            StatValue::Text(text) => Some(text.bytes),
            StatValue::Ref(id) => self.stats.get(id).map(|stat| stat.name.of(file).bytes),
            _ => None,
        }
    }

    /// Heap bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.stats.heap_bytes() + self.types.heap_bytes()
    }
}

/// Key and value of a map's entry.
fn map_entry(entry: Slice<'_>) -> (i64, Slice<'_>) {
    let (mut id, mut message) = (0, Slice::new(&[], entry.at));
    for field in Fields::new(entry) {
        match field {
            (1, Value::Varint(key)) => id = key as i64,
            (2, Value::Bytes(value)) => message = value,
            _ => {}
        }
    }
    (id, message)
}

fn event_type(file: &[u8], message: Slice<'_>, stats: &ById<StatType>, plane: &PlaneKind) -> EventType {
    let mut found = EventType {
        name: Stretch::default(),
        display_name: Stretch::default(),
        category: Stretch::default(),
        message: message.into(),
        kind: TypeKind::default(),
    };
    for field in Fields::new(message) {
        match field {
            (2, Value::Bytes(name)) => found.name = name.into(),
            (4, Value::Bytes(name)) => found.display_name = name.into(),
            (5, Value::Bytes(stat)) if stats.get(stat_id(stat)).is_some_and(|stat| stat.role == Role::HloCategory) => {
                found.category = match read_stat(stat).1 {
                    StatValue::Text(text) => text.into(),
                    StatValue::Ref(id) => stats.get(id).map(|stat| stat.name).unwrap_or_default(),
                    _ => Stretch::default(),
                };
            }
            _ => {}
        }
    }
    found.kind = kind_of_type(plane, &found.label().beginning(file), &found.category.beginning(file));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_small_large_and_negative_ids_and_the_last_of_one_id_counts() {
        let table = ById::new(vec![(1, 'a'), (i64::MAX, 'b'), (-5, 'c'), (1, 'd'), (0, 'e')]);
        let check = |id: i64, entry: Option<char>| assert_eq!(table.get(id).copied(), entry, "{id}");
        check(1, Some('d'));
        check(i64::MAX, Some('b'));
        check(-5, Some('c'));
        check(0, Some('e'));
        check(2, None);
        check(i64::MIN, None);
    }

    #[test]
    fn a_stat_gives_its_id_wherever_it_stands() {
        let check = |bytes: &[u8], id: i64, value: StatValue<'_>| {
            let stat = Slice::new(bytes, 0);
            assert_eq!((stat_id(stat), read_stat(stat)), (id, (id, value)));
        };
        check(&[0x08, 7, 0x18, 9], 7, StatValue::UInt(9));
        check(&[0x18, 9, 0x08, 7], 7, StatValue::UInt(9));
        check(&[0x20, 9], 0, StatValue::Int(9));
        check(&[0x08, 7], 7, StatValue::None);
        check(&[], 0, StatValue::None);
        assert_eq!(stat_id(Slice::new(&[0x08, 0x80], 0)), 0);
    }
}
