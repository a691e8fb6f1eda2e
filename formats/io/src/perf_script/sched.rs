//! The tracepoint `sched:sched_switch`: one thread gives a core to another.

use memchr::memmem;

/// A switch, in either of the forms that perf prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Switch<'a> {
    /// Whether the thread that stops is the idle one.
    pub from_idle: bool,
    /// Where the state in which it stops stands in the text.
    pub state: std::ops::Range<usize>,
    /// Name of the thread that begins.
    pub to_comm: &'a [u8],
    /// Its id; 0 is the idle thread.
    pub to_tid: i64,
    /// Where what is said of it stands in the text.
    pub to: std::ops::Range<usize>,
}

/// Reads `prev_comm=a prev_pid=1 prev_prio=120 prev_state=S ==> next_comm=b next_pid=2 next_prio=120`, or the short
/// form `a:1 [120] S ==> b:2 [120]`. Names may hold spaces and signs.
pub(super) fn switch(text: &[u8]) -> Option<Switch<'_>> {
    let arrow = memmem::find(text, b" ==> ")?;
    let (before, to_at) = (text.get(..arrow)?, arrow + b" ==> ".len());
    let after = text.get(to_at..)?;
    let to = to_at..text.len();
    if let Some(next) = after.strip_prefix(b"next_comm=") {
        let state_at = memmem::rfind(before, b"prev_state=")?;
        let (_, from_tid) = named(before.strip_prefix(b"prev_comm=")?, b" prev_pid=")?;
        let (to_comm, to_tid) = named(next, b" next_pid=")?;
        return Some(Switch { from_idle: from_tid == 0, state: state_at..arrow, to_comm, to_tid, to });
    }
    let (from, state) = short(before)?;
    let (to_comm, to_tid) = short(after)?.0;
    Some(Switch { from_idle: from.1 == 0, state: arrow - state.len()..arrow, to_comm, to_tid, to })
}

/// `name key=7 …` as (name, 7).
fn named<'a>(text: &'a [u8], key: &[u8]) -> Option<(&'a [u8], i64)> {
    let at = memmem::rfind(text, key)?;
    Some((text.get(..at)?, leading_number(text.get(at + key.len()..)?)?))
}

/// `name:7 [120] S` as ((name, 7), `S`).
#[allow(clippy::type_complexity)]
fn short(text: &[u8]) -> Option<((&[u8], i64), &[u8])> {
    let prio = memmem::rfind(text, b" [")?;
    let head = text.get(..prio)?;
    let colon = memchr::memrchr(b':', head)?;
    let close = memchr::memchr(b']', text.get(prio..)?)? + prio;
    let state = text.get(close + 1..)?.trim_ascii();
    Some(((head.get(..colon)?, leading_number(head.get(colon + 1..)?)?), state))
}

fn leading_number(text: &[u8]) -> Option<i64> {
    let len = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    std::str::from_utf8(text.get(..len)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(text: &str, from_idle: bool, state: &str, to: (&str, i64)) {
        let got = switch(text.as_bytes()).unwrap();
        let state_text = text.get(got.state.clone()).unwrap();
        assert_eq!((got.from_idle, state_text, got.to_comm, got.to_tid), (from_idle, state, to.0.as_bytes(), to.1));
        assert!(text.get(got.to).unwrap().contains(to.0));
    }

    #[test]
    fn both_forms_are_read() {
        check(
            "prev_comm=perf prev_pid=4732 prev_prio=120 prev_state=D ==> next_comm=migration/0 next_pid=18 next_prio=0",
            false,
            "prev_state=D",
            ("migration/0", 18),
        );
        check(
            "prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R+ ==> next_comm=a next_pid=7 b next_pid=9 next_prio=1",
            true,
            "prev_state=R+",
            ("a next_pid=7 b", 9),
        );
        check("my app:12 [120] S ==> swapper/3:0 [120]", false, "S", ("swapper/3", 0));
        for text in ["", "a ==> b", "prev_comm=a ==> next_comm=b", "a:1 [1] S ==> b:x [1]"] {
            assert_eq!(switch(text.as_bytes()), None, "{text}");
        }
    }
}
