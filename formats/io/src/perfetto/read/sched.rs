//! Which thread runs on which core, from the kernel's scheduling events.

use gapless_trace::{SourceId, StrId, WarningKind};
use perfetto_proto::field::packet;

use super::clocks::{BOOTTIME, ClockKey, FARTHEST_NS};
use super::record::Record;
use super::resolve::Resolver;
use crate::protobuf::{Fields, varint};

/// A core goes over to another thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switch {
    pub time: i64,
    pub core: u32,
    /// The thread that runs from here on; 0 for none.
    pub next: i64,
    /// Its name, of the strings of the piece.
    pub name: StrId,
    pub priority: i64,
    /// Why the thread before stopped; `None` if it is not known.
    pub previous_state: Option<i64>,
}

/// A thread is woken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waking {
    pub time: i64,
    pub thread: i64,
    /// The thread that woke it, where known.
    pub waker: Option<i64>,
}

/// What a piece says about scheduling.
#[derive(Debug, Default)]
pub(super) struct SchedFound {
    pub switches: Vec<Switch>,
    pub wakings: Vec<Waking>,
}

const SCHED_SWITCH: u32 = 4;
const SCHED_WAKING: u32 = 20;

impl<'a> Resolver<'a> {
    /// Events of the kernel on one core.
    pub(super) fn ftrace(&mut self, record: &Record) {
        let found = Fields::new(self.content(record)).filter(|field| field.number == packet::FTRACE_EVENTS).last();
        let bundle = found.and_then(|field| field.bytes()).unwrap_or_default();
        let (mut core, mut own, mut boot) = (0, None, None);
        for field in Fields::new(bundle) {
            match field.number {
                1 => core = field.uint().and_then(|core| u32::try_from(core).ok()).unwrap_or(0),
                3 if field.uint() != Some(0) => self.warn(WarningKind::PacketLost, record, "events of the kernel"),
                6 => own = field.int(),
                7 => boot = field.int(),
                _ => {}
            }
        }
        // The kernel may count on another clock and say how that one lies to the time since boot.
        let shift = own.zip(boot).map_or(0, |(own, boot): (i64, i64)| boot.saturating_sub(own));
        let mut others = 0;
        for field in Fields::new(bundle) {
            let Some(message) = field.bytes() else { continue };
            match field.number {
                2 => others += u64::from(!self.ftrace_event(message, core, shift, record)),
                4 => self.compact(message, core, shift, record),
                _ => {}
            }
        }
        let offset = Some(self.piece.base + u64::from(record.at));
        let warnings = &mut self.out.chunk.warnings;
        warnings.add_many(
            WarningKind::UnknownPacket,
            SourceId(0),
            others,
            offset,
            "events of the kernel other than switches",
        );
    }

    /// A time of the kernel on the trace's clock.
    fn kernel_time(&mut self, time: Option<u64>, shift: i64, record: &Record) -> Option<i64> {
        let ns = time.and_then(|time| i64::try_from(time).ok())?.saturating_add(shift);
        let clocks = &self.shared.sequences.clocks;
        let on_trace = match clocks.is_primary(Some(BOOTTIME)) {
            true => Some(ns),
            false => clocks.to_trace(ClockKey::new(BOOTTIME, 0), ns),
        };
        let Some(ns) = on_trace else {
            self.warn(WarningKind::NoClock, record, "time since boot");
            return None;
        };
        if (-FARTHEST_NS..=FARTHEST_NS).contains(&ns) {
            return Some(ns);
        }
        self.warn(WarningKind::TimeOutOfRange, record, "");
        None
    }

    /// Reads one event; false if it is of no use here.
    fn ftrace_event(&mut self, message: &'a [u8], core: u32, shift: i64, record: &Record) -> bool {
        let (mut time, mut current, mut data) = (None, None, None);
        for field in Fields::new(message) {
            match field.number {
                1 => time = field.uint(),
                2 => current = field.int(),
                SCHED_SWITCH | SCHED_WAKING => data = field.bytes().map(|bytes| (field.number, bytes)),
                _ => {}
            }
        }
        let Some((number, data)) = data else { return false };
        let Some(time) = self.kernel_time(time, shift, record) else { return true };
        if number == SCHED_WAKING {
            let thread = Fields::new(data).find(|field| field.number == 2).and_then(|field| field.int());
            self.out.sched.wakings.extend(thread.map(|thread| Waking { time, thread, waker: current }));
            return true;
        }
        let mut switch = Switch { time, core, next: 0, name: StrId::EMPTY, priority: 0, previous_state: None };
        for field in Fields::new(data) {
            match field.number {
                4 => switch.previous_state = field.int(),
                5 => switch.name = self.text(field.bytes().unwrap_or_default(), record),
                6 => switch.next = field.int().unwrap_or(0),
                7 => switch.priority = field.int().unwrap_or(0),
                _ => {}
            }
        }
        self.out.sched.switches.push(switch);
        true
    }

    /// Switches and wakings as parallel lists; times are differences.
    fn compact(&mut self, message: &'a [u8], core: u32, shift: i64, record: &Record) {
        let mut names = Vec::new();
        let mut lists: [Vec<u64>; 13] = Default::default();
        for field in Fields::new(message) {
            if field.number == 5 {
                let name = self.text(field.bytes().unwrap_or_default(), record);
                names.push(name);
                continue;
            }
            let Some(list) = lists.get_mut(field.number as usize) else { continue };
            match field.bytes() {
                Some(bytes) => {
                    let mut at = 0;
                    while let Some(value) = varint(bytes, &mut at) {
                        list.push(value);
                    }
                }
                None => list.extend(field.uint()),
            }
        }
        let [_, times, states, threads, priorities, _, comms, wake_times, woken, ..] = &lists;
        let mut time = 0u64;
        for (index, &delta) in times.iter().enumerate() {
            time = time.saturating_add(delta);
            let Some(at) = self.kernel_time(Some(time), shift, record) else { continue };
            let Some(&next) = threads.get(index) else {
                self.warn(WarningKind::MalformedPacket, record, "a switch without a thread");
                break;
            };
            let name = comms.get(index).and_then(|&comm| names.get(usize::try_from(comm).ok()?)).copied();
            self.out.sched.switches.push(Switch {
                time: at,
                core,
                next: next as i64,
                name: name.unwrap_or_default(),
                priority: priorities.get(index).map_or(0, |&priority| priority as i64),
                previous_state: states.get(index).map(|&state| state as i64),
            });
        }
        let mut time = 0u64;
        for (&delta, &thread) in wake_times.iter().zip(woken) {
            time = time.saturating_add(delta);
            if let Some(at) = self.kernel_time(Some(time), shift, record) {
                self.out.sched.wakings.push(Waking { time: at, thread: thread as i64, waker: None });
            }
        }
    }
}
