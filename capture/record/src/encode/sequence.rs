//! A packet sequence: its clock, and what it has given numbers to.

use gapless_ring::Class;
use perfetto_proto::field::{annotation, interned, packet, trace, track_event};
use perfetto_proto::wire::Writer;
use rustc_hash::FxHashMap;

use super::annotation::{Annotation, Key, Value};
use super::process::Strings;

/// Clock of a sequence that counts from one packet to the next (ids 64 to 127 belong to a sequence).
pub(super) const INCREMENTAL_CLOCK: u64 = 64;
/// Unix time in Perfetto's numbering of clocks.
pub(super) const REALTIME_CLOCK: u64 = 1;
/// The sequence's state was cleared here.
pub(super) const STATE_CLEARED: u64 = 1;
/// The packet needs what was interned before it.
pub(super) const NEEDS_STATE: u64 = 2;
/// Types of a `TrackEvent`.
pub(super) const SLICE_BEGIN: u64 = 1;
pub(super) const SLICE_END: u64 = 2;
pub(super) const INSTANT: u64 = 3;
pub(super) const COUNTER: u64 = 4;

/// Categories of the classes of records, in the order of their numbers. Kineto's names, so that every reader knows what
/// they are.
const CATEGORIES: [&str; 12] = [
    "user_annotation",
    "cpu_op",
    "cpu_op",
    "user_annotation",
    "user_annotation",
    "gc",
    "python_function",
    "user_annotation",
    "collective_comm",
    "cuda_runtime",
    "cuda_driver",
    "overhead",
];

/// The category of a class.
pub(super) fn category(class: Class) -> &'static str {
    CATEGORIES.get(class as usize).copied().unwrap_or("user_annotation")
}

/// What a packet says of a range, an instant or an end.
pub(super) struct TrackEvent<'a> {
    /// Type of the `TrackEvent`.
    pub kind: u64,
    /// Its track where that is not the sequence's own.
    pub track: Option<u64>,
    /// Name (a string's number) and class; an end has none.
    pub named: Option<(u32, Class)>,
    /// Its arguments.
    pub args: &'a [Annotation],
}

/// The sequence of one thread.
#[derive(Debug)]
pub(super) struct Sequence {
    id: u64,
    /// Track of packets that name none.
    track: u64,
    is_started: bool,
    /// Where the clock of the sequence is in the file.
    clock_ns: i64,
    names: FxHashMap<u32, u64>,
    keys: FxHashMap<Key, u64>,
    texts: FxHashMap<u32, u64>,
    categories: u16,
    /// Of the event at hand: numbers of the names of its arguments, and of values that are strings of the segment.
    arg_ids: Vec<(u64, u64)>,
    /// What is to be interned with it: list, number, text.
    fresh: Vec<(u32, u64, String)>,
}

impl Sequence {
    pub fn new(id: u64, track: u64) -> Sequence {
        Sequence {
            id,
            track,
            is_started: false,
            clock_ns: 0,
            names: FxHashMap::default(),
            keys: FxHashMap::default(),
            texts: FxHashMap::default(),
            categories: 0,
            arg_ids: Vec::new(),
            fresh: Vec::new(),
        }
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether packets may be written.
    pub fn is_started(&self) -> bool {
        self.is_started
    }

    /// What was given numbers before counts no more.
    pub fn forget(&mut self) {
        self.is_started = false;
        self.names.clear();
        self.keys.clear();
        self.texts.clear();
        self.categories = 0;
    }

    /// Writes what packets of the sequence have in common.
    pub fn start(&mut self, out: &mut Writer) {
        self.is_started = true;
        out.message(trace::PACKET, |out| {
            out.uint(packet::SEQUENCE_ID, self.id);
            out.uint(packet::SEQUENCE_FLAGS, STATE_CLEARED);
            out.message(packet::DEFAULTS, |out| {
                out.uint(58, INCREMENTAL_CLOCK);
                out.message(11, |out| out.uint(track_event::TRACK_UUID, self.track));
            });
        });
    }

    /// Sets the clock of the sequence.
    pub fn set_clock(&mut self, out: &mut Writer, time_ns: i64) {
        self.clock_ns = time_ns;
        write_clock(out, self.id, time_ns);
    }

    /// Writes an event. `is_later` says that others of the sequence that come after it may be earlier: its time then
    /// leaves the clock of the sequence, which only counts forward, where it is.
    pub fn event(
        &mut self,
        out: &mut Writer,
        strings: &dyn Strings,
        time_ns: i64,
        is_later: bool,
        event: &TrackEvent<'_>,
    ) {
        let named = event.named.map(|(name, class)| (self.name_id(strings, name), self.category_id(class)));
        self.arg_ids.clear();
        for arg in event.args {
            let key = self.key_id(strings, &arg.key);
            let text = if let Value::Id(id) = arg.value { self.text_id(strings, id) } else { 0 };
            self.arg_ids.push((key, text));
        }
        let open = out.open(trace::PACKET);
        if is_later {
            out.uint(packet::TIMESTAMP, time_ns.max(0) as u64);
            out.uint(packet::CLOCK_ID, REALTIME_CLOCK);
        } else {
            let delta = time_ns.saturating_sub(self.clock_ns).max(0);
            self.clock_ns += delta;
            out.uint(packet::TIMESTAMP, delta as u64);
        }
        out.uint(packet::SEQUENCE_ID, self.id);
        out.uint(packet::SEQUENCE_FLAGS, NEEDS_STATE);
        if !self.fresh.is_empty() {
            out.message(packet::INTERNED_DATA, |out| {
                for (list, iid, text) in self.fresh.drain(..) {
                    out.message(list, |out| {
                        out.uint(interned::IID, iid);
                        out.string(interned::TEXT, &text);
                    });
                }
            });
        }
        out.message(packet::TRACK_EVENT, |out| {
            out.uint(track_event::TYPE, event.kind);
            if let Some((name, category)) = named {
                out.uint(track_event::NAME_IID, name);
                out.uint(track_event::CATEGORY_IIDS, category);
            }
            if let Some(uuid) = event.track {
                out.uint(track_event::TRACK_UUID, uuid);
            }
            for (arg, &(key, text)) in event.args.iter().zip(&self.arg_ids) {
                out.message(track_event::DEBUG_ANNOTATIONS, |out| {
                    out.uint(annotation::NAME_IID, key);
                    match text {
                        0 => arg.value.write(out, strings),
                        iid => out.uint(annotation::STRING_VALUE_IID, iid),
                    }
                });
            }
        });
        out.close(open);
    }

    /// Writes an event that needs nothing interned; `fill` adds what it says.
    pub fn plain(&mut self, out: &mut Writer, time_ns: i64, fill: impl FnOnce(&mut Writer)) {
        let delta = time_ns.saturating_sub(self.clock_ns).max(0);
        self.clock_ns += delta;
        out.message(trace::PACKET, |out| {
            out.uint(packet::TIMESTAMP, delta as u64);
            out.uint(packet::SEQUENCE_ID, self.id);
            out.uint(packet::SEQUENCE_FLAGS, NEEDS_STATE);
            out.message(packet::TRACK_EVENT, fill);
        });
    }

    fn name_id(&mut self, strings: &dyn Strings, name: u32) -> u64 {
        let next = self.names.len() as u64 + 1;
        *self.names.entry(name).or_insert_with(|| {
            self.fresh.push((interned::EVENT_NAMES, next, strings.get(name).unwrap_or_default()));
            next
        })
    }

    fn text_id(&mut self, strings: &dyn Strings, text: u32) -> u64 {
        let next = self.texts.len() as u64 + 1;
        *self.texts.entry(text).or_insert_with(|| {
            let list = interned::DEBUG_ANNOTATION_STRING_VALUES;
            self.fresh.push((list, next, strings.get(text).unwrap_or_default()));
            next
        })
    }

    fn key_id(&mut self, strings: &dyn Strings, key: &Key) -> u64 {
        if let Some(&iid) = self.keys.get(key) {
            return iid;
        }
        let iid = self.keys.len() as u64 + 1;
        self.keys.insert(key.clone(), iid);
        self.fresh.push((interned::DEBUG_ANNOTATION_NAMES, iid, key.text(strings)));
        iid
    }

    fn category_id(&mut self, class: Class) -> u64 {
        let iid = class as u64 + 1;
        if self.categories & 1 << class as u16 == 0 {
            self.categories |= 1 << class as u16;
            self.fresh.push((interned::EVENT_CATEGORIES, iid, category(class).to_owned()));
        }
        iid
    }
}

/// Sets the incremental clock of the sequence `id`.
pub(super) fn write_clock(out: &mut Writer, id: u64, time_ns: i64) {
    let ns = time_ns.max(0) as u64;
    out.message(trace::PACKET, |out| {
        out.uint(packet::SEQUENCE_ID, id);
        out.message(packet::CLOCK_SNAPSHOT, |out| {
            out.message(1, |out| {
                out.uint(1, REALTIME_CLOCK);
                out.uint(2, ns);
            });
            out.message(1, |out| {
                out.uint(1, INCREMENTAL_CLOCK);
                out.uint(2, ns);
                out.bool(3, true);
            });
            out.uint(2, REALTIME_CLOCK);
        });
    });
}

/// Writes the begin of a range with all that it says written out, on a clock and a sequence (`id`) that need nothing
/// written before.
pub(super) fn write_begin(
    out: &mut Writer,
    id: u64,
    strings: &dyn Strings,
    time_ns: i64,
    track: u64,
    name: &str,
    class: Class,
    args: &[Annotation],
) {
    out.message(trace::PACKET, |out| {
        out.uint(packet::TIMESTAMP, time_ns.max(0) as u64);
        out.uint(packet::CLOCK_ID, REALTIME_CLOCK);
        out.uint(packet::SEQUENCE_ID, id);
        out.message(packet::TRACK_EVENT, |out| {
            out.uint(track_event::TYPE, SLICE_BEGIN);
            out.uint(track_event::TRACK_UUID, track);
            out.string(track_event::NAME, name);
            out.string(track_event::CATEGORIES, category(class));
            for arg in args {
                out.message(track_event::DEBUG_ANNOTATIONS, |out| {
                    out.string(annotation::NAME, &arg.key.text(strings));
                    arg.value.write(out, strings);
                });
            }
        });
    });
}
