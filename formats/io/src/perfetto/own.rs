//! What an event carries beside its own arguments, so that a reader gets back what the model holds of it.
//!
//! Each is an annotation whose name begins with `gapless.` and is left out where the rest of the file says the same.
//! An argument of the event whose name begins so is written as `gapless.arg.` and its name.
//!
//! | annotation | content |
//! |---|---|
//! | `gapless.kind` | kind, where the category does not say it (`gapless.kinds` of the facts) |
//! | `gapless.correlation`, `gapless.external` | id, where the last argument `correlation` or `External id` is not that whole number; `false` for "none although the argument is one" |
//! | `gapless.start`, `gapless.dur` | exact time in ns, not shifted, where the file has no room for it |
//! | `gapless.bytes` | bytes that a copy or fill moves |
//! | `gapless.collective` | `name`, `dtype`, `group`, `group_desc`, `in_elems`, `out_elems`, `group_size`, `seq`; what is empty or not known is left out |
//! | `gapless.weight` | what the call stack stands for, where no double holds it exactly |
//! | `gapless.args` | `true`: the event has arguments, though there are none in them |
//! | `gapless.error` | why the arguments could not be read when the file was written |

use std::borrow::Cow;

use gapless_trace::{ArgValue, Args, Collective, Event, EventId, EventStack, StrId, Trace};

use super::encode::Context;
use super::facts::{dict, not_empty, optional, uint};

/// What names of our own begin with.
const PREFIX: &str = "gapless.";
/// What stands before an argument's name that begins so.
const ARGUMENT: &str = "gapless.arg.";
/// Exact start.
pub(super) const START: &str = "gapless.start";
/// Exact weight of a call stack.
pub(super) const WEIGHT: &str = "gapless.weight";
/// Arguments that hold nothing.
pub(super) const EMPTY_ARGS: &str = "gapless.args";
/// Why arguments could not be read.
pub(super) const ERROR: &str = "gapless.error";

/// Whether an argument's name would be taken for one of our own.
pub(super) fn is_taken(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The name that an argument gets whose own is taken.
pub(super) fn escaped(name: &str) -> Cow<'static, str> {
    Cow::Owned(format!("{ARGUMENT}{name}"))
}

/// Which events have entries in the side tables: a bit each, which is quicker than a search for each.
#[derive(Debug)]
pub(super) struct SideTables {
    bits: Vec<u64>,
}

impl SideTables {
    /// The bits of `trace`. O(entries).
    pub(super) fn new(trace: &Trace) -> Self {
        let mut bits = vec![0u64; trace.events().len() / 64 + 1];
        let collectives = trace.collectives().iter().map(|entry| entry.event);
        let copies = trace.copies().iter().map(|entry| entry.0);
        let stacks = trace.event_stacks().iter().map(|entry| entry.event);
        for event in collectives.chain(copies).chain(stacks) {
            if let Some(word) = bits.get_mut(event.index() / 64) {
                *word |= 1 << (event.0 % 64);
            }
        }
        Self { bits }
    }

    fn has(&self, event: EventId) -> bool {
        self.bits.get(event.index() / 64).is_some_and(|word| word >> (event.0 % 64) & 1 == 1)
    }

    /// The call stack of an event.
    pub(super) fn stack_of(&self, trace: &Trace, event: EventId) -> Option<EventStack> {
        if self.has(event) { trace.stack_of(event) } else { None }
    }
}

/// Gives every annotation of our own that `event`, whose arguments are `args`, needs; its call stack apart.
pub(super) fn of_event(
    context: &Context<'_>,
    event: &Event,
    args: &Args,
    mut annotate: impl FnMut(&'static str, ArgValue),
) {
    if context.kinds.get(event.category) != Some(event.kind) {
        annotate("gapless.kind", ArgValue::Text(event.kind.id().to_owned()));
    }
    let ids = [
        ("correlation", "gapless.correlation", event.correlation),
        ("External id", "gapless.external", event.external),
    ];
    for (argument, own, id) in ids {
        let said = args.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(argument));
        match (id, said.and_then(|(_, value)| whole_id(value))) {
            (Some(id), said) if said != Some(id) => annotate(own, ArgValue::Int(id.into())),
            (None, Some(_)) => annotate(own, ArgValue::Bool(false)),
            _ => {}
        }
    }
    times(context, event, &mut annotate);
    if context.sides.has(event.id) {
        let trace = context.trace;
        if let Some(bytes) = trace.copy_bytes(event.id) {
            annotate("gapless.bytes", uint(bytes));
        }
        if let Some(collective) = trace.collective(event.id) {
            annotate("gapless.collective", collective_dict(trace, collective));
        }
    }
}

/// An id as a reader takes it from an argument: a whole number, not a text of digits.
fn whole_id(value: &ArgValue) -> Option<u32> {
    let id = match value {
        ArgValue::Int(value) => u32::try_from(*value).ok(),
        ArgValue::UInt(value) => u32::try_from(*value).ok(),
        _ => None,
    };
    id.filter(|&id| id != u32::MAX)
}

fn times(context: &Context<'_>, event: &Event, annotate: &mut impl FnMut(&'static str, ArgValue)) {
    let (start, dur) = (event.start.nanos(), event.dur.nanos());
    if let Some(start) = context.cut(start) {
        annotate(START, ArgValue::Int(start));
    }
    let in_file = context.time(event.end().nanos()).saturating_sub(context.time(start));
    if u64::try_from(dur) != Ok(in_file) {
        annotate("gapless.dur", ArgValue::Int(dur));
    }
}

fn collective_dict(trace: &Trace, collective: &Collective) -> ArgValue {
    let text = |id: StrId| not_empty(trace.text(id));
    dict([
        ("name", text(collective.name)),
        ("dtype", text(collective.dtype)),
        ("group", text(collective.group)),
        ("group_desc", text(collective.group_desc)),
        ("in_elems", optional(collective.in_elems, uint)),
        ("out_elems", optional(collective.out_elems, uint)),
        ("group_size", optional(collective.group_size, |size| uint(size.into()))),
        ("seq", optional(collective.seq, uint)),
    ])
}
