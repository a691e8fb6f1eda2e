//! Where the next event begins, found without knowing where we are: for cutting a file into pieces, and for
//! going on after damage.

use memchr::memchr;

use super::scan::Cursor;

/// First keys by which an event is known.
const KEYS: [&[u8]; 13] = [
    b"ph\"", b"name\"", b"cat\"", b"pid\"", b"tid\"", b"ts\"", b"dur\"", b"args\"", b"id\"", b"id2\"", b"s\"", b"bp\"",
    b"tts\"",
];

/// The first `{` at or after `from` that looks like the start of an event: a comma or the opening bracket of the
/// list before it, a known key after it. Quotes inside strings are escaped, so a fake inside a string does not match.
pub(crate) fn next_event(bytes: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + memchr(b'{', bytes.get(from..)?)?;
        if looks_like_event(bytes, at) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn looks_like_event(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(..at).and_then(|head| head.iter().rev().find(|&&byte| byte > b' '));
    if !matches!(before, Some(b',')) {
        return false;
    }
    let Some(rest) = bytes.get(at + 1..) else { return false };
    let Some(first) = rest.iter().position(|&byte| byte > b' ') else { return false };
    let key = rest.get(first..).unwrap_or_default();
    key.first() == Some(&b'"') && KEYS.iter().any(|known| key.get(1..).is_some_and(|key| key.starts_with(known)))
}

/// Just after the `}` that ends the arguments which began at `from`, if they are the last field of the event
/// before what is at `next`, an event or the end of the list: the text between ends in `} }` and maybe a comma.
pub(crate) fn args_end_before(bytes: &[u8], from: usize, next: usize) -> Option<usize> {
    let last = |end: usize, byte: u8| {
        let at = bytes.get(from..end)?.iter().rposition(|&found| found > b' ')?;
        (bytes.get(from + at) == Some(&byte)).then_some(from + at)
    };
    let end = last(next, b',').unwrap_or(next);
    let event_end = last(end, b'}')?;
    last(event_end, b'}').map(|at| at + 1)
}

/// The `]` that ends the list of events of a whole text: after a `}`, and with nothing behind it but a
/// closing `}` or fields `,"key":`. For damage in the last event, behind which no event follows.
pub(crate) fn list_end(bytes: &[u8]) -> Option<usize> {
    // The fields behind the list are few; damage that hides more text than this is given up.
    const LONGEST: usize = 1 << 20;
    let low = bytes.len().saturating_sub(LONGEST);
    let mut end = bytes.len();
    let mut found = None;
    while let Some(at) = bytes.get(low..end).and_then(|text| memchr::memrchr(b']', text)).map(|at| low + at) {
        let follows_event = bytes.get(low..at)?.iter().rev().find(|&&byte| byte > b' ') == Some(&b'}');
        if follows_event && only_fields_follow(bytes, at + 1) {
            found = Some(at);
        }
        end = at;
    }
    found
}

fn only_fields_follow(bytes: &[u8], from: usize) -> bool {
    let mut cursor = Cursor::new(bytes, from);
    loop {
        cursor.skip_space();
        if cursor.is_at_end() {
            return true;
        }
        if cursor.take(b'}') {
            cursor.skip_space();
            return cursor.is_at_end();
        }
        if !cursor.take(b',') {
            return false;
        }
        cursor.skip_space();
        let is_key = cursor.string().is_some();
        cursor.skip_space();
        if !is_key || !cursor.take(b':') {
            return false;
        }
        cursor.skip_space();
        if cursor.skip_value().is_none() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_and_fakes_in_strings_are_not() {
        let text = br#"[{"ph":"X"}, {"a":1},  {"name":"x, {\"ph\":"}, { "ts" : 1}]"#;
        let second = next_event(text, 2);
        assert_eq!(second, text.windows(7).position(|w| w == br#"{"name""#));
        let third = second.and_then(|at| next_event(text, at + 1));
        assert_eq!(third, text.windows(6).position(|w| w == br#"{ "ts""#));
        assert_eq!(third.and_then(|at| next_event(text, at + 1)), None);
    }

    #[test]
    fn arguments_turned_inside_out_end_at_the_last_braces() {
        let text = br#"{"args": {"a": "x"y"} }, {"ph":"X"}"#;
        let next = next_event(text, 1);
        assert_eq!(next.and_then(|next| args_end_before(text, 9, next)), Some(21));
    }
}
