//! NVTX: ranges, marks, and the names they give to domains, categories and threads.

use gapless_trace::{EventKind, RawBeginEnd, StrId, TrackKind, WarningKind};

use super::scan::Row;
use super::sink::{Found, NO_ID, Owner, Shared, Sink, StepCandidate, pid_of, process_of};
use super::{nccl, steps};

/// Columns that [`event`] reads.
pub(crate) const NVTX: &[&str] =
    &["start", "end", "eventType", "category", "text", "globalTid", "textId", "domainId", "binaryData"];

/// Types of events, as `ENUM_NSYS_EVENT_TYPE` numbers them; the second of two is that of an imported text file.
const CATEGORY: [i64; 2] = [33, 64];
const MARK: [i64; 2] = [34, 65];
const THREAD_NAME: [i64; 2] = [39, 72];
const PUSH_POP: [i64; 2] = [59, 70];
const START_END: [i64; 2] = [60, 71];
const DOMAIN: i64 = 75;
const DOMAIN_END: i64 = 76;

/// Takes a row.
pub(crate) fn event(sink: &mut Sink<'_>, row: &Row<'_, '_>) {
    let kind = row.int(2).unwrap_or(0);
    let thread = row.int(5);
    let domain = row.int(7).unwrap_or(0);
    let owner = thread.map_or(Owner::System, |thread| Owner::Process(process_of(thread)));
    let thread = thread.unwrap_or(0);
    if PUSH_POP.contains(&kind) {
        range(sink, row, owner, thread, domain);
    } else if START_END.contains(&kind) {
        free_range(sink, row, owner, thread, domain);
    } else if MARK.contains(&kind) {
        mark(sink, row, owner, thread, domain);
    } else {
        define(sink, row, owner, thread, domain, kind);
    }
}

/// The name of an event, and what it is: an operator where PyTorch wrote the range (`emit_nvtx`), else `plain`.
fn name(found: &mut Found, shared: &Shared, row: &Row<'_, '_>, plain: EventKind) -> (StrId, EventKind) {
    let read = |text: &str| match operator(text) {
        Some(operator) if plain == EventKind::Annotation => (operator.to_owned(), EventKind::Operator),
        _ => (text.to_owned(), plain),
    };
    if let Some(text) = row.text(4) {
        return match operator(&text) {
            Some(operator) if plain == EventKind::Annotation => {
                (found.chunk.strings.intern(operator), EventKind::Operator)
            }
            _ => (found.chunk.strings.intern(&text), plain),
        };
    }
    match row.int(6) {
        Some(number) => found.call(shared, number, row, read),
        None => (found.chunk.strings.intern("NVTX range without a text"), plain),
    }
}

/// The name of the operator in a text of PyTorch's `emit_nvtx` (`aten::mul, seq = 45328, op_id = 990726`). The
/// numbers differ from call to call; they stay in the arguments.
fn operator(text: &str) -> Option<&str> {
    let at = memchr::memchr_iter(b',', text.as_bytes()).find(|&at| {
        let rest = text.as_bytes().get(at + 1..).unwrap_or_default();
        let number = rest.strip_prefix(b" seq = ").or_else(|| rest.strip_prefix(b" op_id = "));
        number.and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit)
    })?;
    text.get(..at).filter(|name| !name.is_empty())
}

fn range(sink: &mut Sink<'_>, row: &Row<'_, '_>, owner: Owner, thread: i64, domain: i64) {
    let shared = sink.shared;
    let found = sink.of(owner);
    let (name, kind) = name(found, shared, row, EventKind::Annotation);
    let category = category(found, domain);
    let track = found.thread(TrackKind::Thread, thread);
    let args = found.args(row);
    let Some((start, dur)) = closed(found, row, track, name, category, kind) else { return };
    let event = found.chunk.len() as u32;
    if kind == EventKind::Annotation
        && let Some((words, number)) = steps::parse(found.chunk.strings.get(name))
    {
        let words = found.chunk.strings.intern(&words);
        found.steps.push(StepCandidate { event, words, number, thread });
    }
    found.chunk.push(start, dur, name, category, kind, track, NO_ID, NO_ID, args);
    if domain != 0
        && let Some(communicator) = nccl::note(found, shared, row.value(8), domain, name, event)
    {
        sink.definitions.communicators.push(communicator);
    }
}

/// A range that any thread may end.
fn free_range(sink: &mut Sink<'_>, row: &Row<'_, '_>, owner: Owner, thread: i64, domain: i64) {
    let shared = sink.shared;
    let found = sink.of(owner);
    let (name, kind) = name(found, shared, row, EventKind::Async);
    let category = category(found, domain);
    let track = found.async_track(pid_of(thread), category);
    let args = found.args(row);
    let Some((start, dur)) = closed(found, row, track, name, category, kind) else { return };
    found.chunk.push(start, dur, name, category, kind, track, NO_ID, NO_ID, args);
}

/// Start and duration of a range. One that was not ended when the recording was is noted as open instead.
fn closed(
    found: &mut Found,
    row: &Row<'_, '_>,
    track: u32,
    name: StrId,
    category: StrId,
    kind: EventKind,
) -> Option<(i64, i64)> {
    if row.int(1).is_some() {
        return found.span(row, 0, 1);
    }
    let time = found.time(row, 0)?;
    let (args, offset) = (found.args(row), row.id as u64);
    found.chunk.begin_ends.push(RawBeginEnd { begins: true, track, time, name, category, kind, args, offset });
    None
}

fn mark(sink: &mut Sink<'_>, row: &Row<'_, '_>, owner: Owner, thread: i64, domain: i64) {
    let shared = sink.shared;
    let found = sink.of(owner);
    let (name, kind) = name(found, shared, row, EventKind::Instant);
    let category = category(found, domain);
    let track = found.thread(TrackKind::ThreadInstants, thread);
    let args = found.args(row);
    let Some(time) = found.time(row, 0) else { return };
    found.chunk.push(time, 0, name, category, kind, track, NO_ID, NO_ID, args);
}

fn category(found: &mut Found, domain: i64) -> StrId {
    if domain == 0 { found.fixed("nvtx") } else { found.domain(domain) }
}

/// Takes a row that names something, or one that is no event.
fn define(sink: &mut Sink<'_>, row: &Row<'_, '_>, owner: Owner, thread: i64, domain: i64, kind: i64) {
    let text = match row.text(4) {
        Some(text) => Some(text.into_owned()),
        None => row.int(6).and_then(|number| sink.shared.strings.get(number)).map(str::to_owned),
    };
    let process = process_of(thread);
    sink.of(owner).chunk.file_events += 1;
    match text {
        Some(name) if kind == DOMAIN => sink.definitions.domains.push((process, domain, name)),
        Some(name) if THREAD_NAME.contains(&kind) => sink.definitions.threads.push((thread, name)),
        Some(name) if CATEGORY.contains(&kind) => {
            let category = row.int(3).unwrap_or(0);
            sink.definitions.categories.push((process, domain, category, name));
        }
        _ if kind == DOMAIN_END => {}
        _ => sink.of(owner).warn(WarningKind::MetadataUnused, row, &format!("event type {kind}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_of_pytorch_are_told_from_other_texts() {
        let check = |text: &str, name: Option<&str>| assert_eq!(operator(text), name, "{text}");
        check("aten::mul, seq = 45328, op_id = 990726", Some("aten::mul"));
        check("aten::empty, op_id = 990346", Some("aten::empty"));
        check(
            "autograd::engine::evaluate_function: MulBackward0, seq = 3",
            Some("autograd::engine::evaluate_function: MulBackward0"),
        );
        check("aten::mm, op_id = 7, sizes = [[2, 3], [3, 4]]", Some("aten::mm"));
        check("load batch, op_id = none", None);
        check("forward", None);
        check(", seq = 1", None);
    }
}
