//! JSON documents of many entries, walked without building them: members of an object, elements of a list, and the
//! next whole element after a damaged one.

use std::ops::Range;

use gapless_trace::{ArgValue, Args, SourceId, WarningKind, Warnings};
use memchr::memmem;

use crate::error::Refused;
use crate::kineto::{Cursor, RawStr};
use crate::limits::Limits;

/// Times beyond this are dropped, so that a base and a duration can be added without overflow.
pub(crate) const FARTHEST_NS: i64 = i64::MAX / 4;

/// What a walk meets.
pub(crate) enum Next<T> {
    /// One more.
    Item(T),
    /// The closing bracket, which is taken.
    End,
    /// The end of the text.
    Cut,
    /// Something that cannot stand here.
    Bad,
}

/// A cursor at the first byte of the document that is no white space; a byte order mark is left out.
pub(crate) fn document(bytes: &[u8]) -> Cursor<'_> {
    let mut cursor = Cursor::new(bytes, if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 });
    cursor.skip_space();
    cursor
}

/// The next key of an object whose `{` was taken; the cursor stands at its value then.
pub(crate) fn next_key<'a>(cursor: &mut Cursor<'a>) -> Next<RawStr<'a>> {
    loop {
        cursor.skip_space();
        if cursor.is_at_end() {
            return Next::Cut;
        }
        match cursor.peek() {
            b',' => cursor.at += 1,
            b'}' => {
                cursor.at += 1;
                return Next::End;
            }
            b'"' => {
                let Some(key) = cursor.string() else { return Next::Cut };
                cursor.skip_space();
                let has_colon = cursor.take(b':');
                cursor.skip_space();
                return match (has_colon, cursor.is_at_end()) {
                    (_, true) => Next::Cut,
                    (true, false) => Next::Item(key),
                    (false, false) => Next::Bad,
                };
            }
            _ => return Next::Bad,
        }
    }
}

/// The keys of the object that `head` begins with, as far as `head` reaches, each with the place of its value.
/// Empty where it begins with something else.
pub(crate) fn keys_of_head(head: &[u8]) -> Vec<(&[u8], usize)> {
    let mut cursor = document(head);
    let mut keys = Vec::new();
    if !cursor.take(b'{') {
        return keys;
    }
    while let Next::Item(key) = next_key(&mut cursor) {
        keys.push((key.text, cursor.at));
        // What tells formats apart stands in front; a file of a million keys is none of ours.
        if keys.len() > 64 || cursor.skip_value().is_none() {
            break;
        }
    }
    keys
}

/// The text of the value of `key` in an object.
pub(crate) fn value_of<'a>(object: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let mut cursor = document(object);
    let mut found = None;
    if cursor.take(b'{') {
        while let Next::Item(name) = next_key(&mut cursor) {
            let from = cursor.at;
            if cursor.skip_value().is_none() {
                break;
            }
            if name.text == key.as_bytes() {
                found = object.get(from..cursor.at);
            }
        }
    }
    found
}

/// Walks the elements of lists, past damaged ones.
///
/// An element that breaks off is left at the next `{` that begins with the key that the elements before it began
/// with. All that is read twice so is bounded by a few times the length of the text.
pub(crate) struct Elements {
    /// With its quotes.
    first_key: Vec<u8>,
    is_learned: bool,
    /// Longest element, in bytes.
    longest: usize,
    /// Deepest nesting of an element.
    nesting: usize,
    wasted: usize,
    /// Whether the text ended within a list.
    pub is_cut: bool,
}

/// Text that may be read again, as a multiple of the whole.
const MOST_REREAD: usize = 4;

impl Elements {
    /// `first_key`, with its quotes, is what elements begin with as long as none was read.
    pub fn new(first_key: &[u8], limits: &Limits) -> Self {
        Self {
            first_key: first_key.to_owned(),
            is_learned: false,
            longest: limits.string_bytes,
            nesting: limits.nesting,
            wasted: 0,
            is_cut: false,
        }
    }

    /// The place of the next element of a list whose `[` was taken; `None` at its end, which is taken.
    pub fn next(&mut self, cursor: &mut Cursor<'_>, warnings: &mut Warnings) -> Option<Range<usize>> {
        let whole = cursor.bytes;
        loop {
            cursor.skip_space();
            if cursor.is_at_end() {
                warnings.add(WarningKind::MissingEnd, SourceId(0), Some(cursor.at as u64), "");
                self.is_cut = true;
                return None;
            }
            match cursor.peek() {
                b',' => {
                    cursor.at += 1;
                    continue;
                }
                b']' => {
                    cursor.at += 1;
                    return None;
                }
                _ => {}
            }
            let from = cursor.at;
            let window = whole.get(..from.saturating_add(self.longest)).unwrap_or(whole);
            let mut element = Cursor::new(window, from).with_nesting(self.nesting);
            let is_whole = element.skip_value().is_some() && {
                let end = element.at;
                element.skip_space();
                let follows = element.is_at_end() || matches!(element.peek(), b',' | b']');
                element.at = end;
                follows
            };
            if is_whole {
                cursor.at = element.at;
                self.learn(window, from);
                return Some(from..element.at);
            }
            let is_too_long = window.len() < whole.len()
                && !element.is_too_deep
                && is_unfinished(window.get(from..).unwrap_or_default());
            if is_too_long {
                // What follows would have to be searched for through a text that may be as long as the file.
                warnings.add(WarningKind::TextTooLong, SourceId(0), Some(from as u64), "");
                self.is_cut = true;
                cursor.at = whole.len();
                return None;
            }
            self.wasted += element.at.saturating_sub(from) + 1;
            let may_go_on = self.wasted <= whole.len().saturating_mul(MOST_REREAD);
            match next_start(whole, from + 1, &self.first_key).filter(|_| may_go_on) {
                Some(start) => {
                    let kind = if element.is_too_deep { WarningKind::TooDeep } else { WarningKind::MalformedEvent };
                    warnings.add(kind, SourceId(0), Some(from as u64), "");
                    cursor.at = start;
                }
                None => {
                    let kind = if element.is_too_deep { WarningKind::TooDeep } else { WarningKind::Truncated };
                    warnings.add(kind, SourceId(0), Some(from as u64), "");
                    self.is_cut = true;
                    cursor.at = whole.len();
                    return None;
                }
            }
        }
    }
}

impl Elements {
    /// Keeps the first key of the first object.
    fn learn(&mut self, text: &[u8], from: usize) {
        let mut cursor = Cursor::new(text, from);
        if self.is_learned || !cursor.take(b'{') {
            return;
        }
        cursor.skip_space();
        let start = cursor.at;
        if cursor.string().is_some() {
            self.first_key = text.get(start..cursor.at).unwrap_or_default().to_owned();
            self.is_learned = true;
        }
    }
}

/// The next `{` at or after `from` whose first key is `first_key`.
fn next_start(bytes: &[u8], from: usize, first_key: &[u8]) -> Option<usize> {
    let rest = bytes.get(from..)?;
    memmem::find_iter(rest, first_key).find_map(|at| {
        let before = rest.get(..at)?;
        let brace = before.iter().rposition(|&byte| byte > b' ')?;
        (before.get(brace) == Some(&b'{')).then_some(from + brace)
    })
}

/// Moves over the value at the cursor, looking no further than `longest` bytes.
///
/// # Errors
/// Where it does not end there: what that is called.
pub(crate) fn skip_within(cursor: &mut Cursor<'_>, longest: usize) -> Result<(), WarningKind> {
    let (whole, from) = (cursor.bytes, cursor.at);
    let window = whole.get(..from.saturating_add(longest)).unwrap_or(whole);
    cursor.bytes = window;
    let skipped = cursor.skip_value();
    cursor.bytes = whole;
    if skipped.is_some() {
        return Ok(());
    }
    let is_unfinished = !cursor.is_too_deep && is_unfinished(window.get(from..).unwrap_or_default());
    Err(match (cursor.is_too_deep, is_unfinished) {
        (true, _) => WarningKind::TooDeep,
        (false, true) if window.len() < whole.len() => WarningKind::TextTooLong,
        (false, true) => WarningKind::Truncated,
        (false, false) => WarningKind::HeaderUnreadable,
    })
}

/// Whether `text` is one value that breaks off: the file was cut there. Else it is damaged otherwise.
pub(crate) fn is_unfinished(text: &[u8]) -> bool {
    let mut cursor = Cursor::new(text, 0);
    let mut depth = 0i64;
    while !cursor.is_at_end() {
        match cursor.peek() {
            b'"' => {
                if cursor.string().is_none() {
                    return true;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        cursor.at += 1;
    }
    depth > 0
}

/// The value of `key`; the last one counts.
pub(crate) fn get<'a>(args: &'a Args, key: &str) -> Option<&'a ArgValue> {
    args.iter().rev().find(|entry| entry.0 == key).map(|entry| &entry.1)
}

/// The whole number of `key`.
pub(crate) fn int(args: &Args, key: &str) -> Option<i64> {
    get(args, key)?.as_i64()
}

/// The whole number of `key`, if it is not negative.
pub(crate) fn uint(args: &Args, key: &str) -> Option<u64> {
    match get(args, key)? {
        ArgValue::UInt(value) => Some(*value),
        other => u64::try_from(other.as_i64()?).ok(),
    }
}

/// The text of `key`; empty where there is none.
pub(crate) fn text<'a>(args: &'a Args, key: &str) -> &'a str {
    get(args, key).and_then(ArgValue::as_str).unwrap_or_default()
}

/// The object of `key`.
pub(crate) fn dict<'a>(args: &'a Args, key: &str) -> Option<&'a Args> {
    match get(args, key)? {
        ArgValue::Dict(entries) => Some(entries),
        _ => None,
    }
}

/// The list of `key`; empty where there is none.
pub(crate) fn list<'a>(args: &'a Args, key: &str) -> &'a [ArgValue] {
    match get(args, key) {
        Some(ArgValue::List(items)) => items,
        _ => &[],
    }
}

/// The refusal of a file that has more entries than the limit; `what` begins a sentence (`the log has more records`).
pub(crate) fn too_many(what: &str, limits: &Limits) -> Refused {
    Refused::Limit {
        what: what.to_owned(),
        limit: format!("{} events", limits.events),
        flag: format!("events={}", limits.events.saturating_mul(2)),
    }
}

/// Microseconds as nanoseconds, if they lie in the range of times.
pub(crate) fn micros_to_nanos(micros: i64) -> Option<i64> {
    micros.checked_mul(1_000).filter(|nanos| (-FARTHEST_NS..=FARTHEST_NS).contains(nanos))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn elements(text: &str) -> (Vec<String>, Warnings) {
        let mut cursor = Cursor::new(text.as_bytes(), 0);
        assert!(cursor.take(b'['));
        let (mut walk, mut warnings, mut found) =
            (Elements::new(b"\"id\"", &Limits::default()), Warnings::default(), Vec::new());
        while let Some(range) = walk.next(&mut cursor, &mut warnings) {
            found.push(text[range].to_owned());
        }
        (found, warnings)
    }

    #[test]
    fn elements_come_one_by_one_whatever_they_hold() {
        let (found, warnings) = elements(r#"[ {"id": 1, "x": [{"a": "]}"}]}, 5 ,"s",{"id":2}] {"id": 3}"#);
        assert_eq!(found, [r#"{"id": 1, "x": [{"a": "]}"}]}"#, "5", "\"s\"", r#"{"id":2}"#]);
        assert!(warnings.is_empty());
    }

    #[test]
    fn a_damaged_element_costs_itself_alone() {
        let (found, warnings) = elements(
            "[{\"id\": 1, \"name\": \"a \"quoted\" word\", \"x\": []},\n {  \"id\": 2}, {\"id\": 3}}, {\"id\": 4}]",
        );
        assert_eq!(found, ["{  \"id\": 2}", "{\"id\": 4}"]);
        assert_eq!(warnings.count(WarningKind::MalformedEvent), 2);
    }

    #[test]
    fn a_cut_says_where_and_keeps_what_came_before() {
        let text = r#"[{"id": 1},{"id": 2},{"id": 3}"#;
        let (found, warnings) = elements(text);
        assert_eq!((found.len(), warnings.count(WarningKind::MissingEnd)), (3, 1));
        for cut in 2..text.len() {
            let (found, warnings) = elements(&text[..cut]);
            let whole = text[..cut].matches('}').count();
            assert_eq!(found.len(), whole, "{cut}");
            let clean = matches!(text.as_bytes()[cut - 1], b'}' | b',' | b'[');
            let kind = if clean { WarningKind::MissingEnd } else { WarningKind::Truncated };
            assert_eq!(warnings.count(kind), 1, "{cut}");
        }
    }

    #[test]
    fn text_is_not_read_again_and_again() {
        // Each object opens one more inside the one before: every retry would run to the end.
        let text = format!("[{}", "{\"id\":[".repeat(100_000));
        let (found, warnings) = elements(&text);
        assert!(found.is_empty());
        // Each try ends at the deepest nesting that is followed; all together end at a few times the text.
        assert!((1..2_000).contains(&warnings.count(WarningKind::TooDeep)), "{warnings:?}");
    }

    #[test]
    fn keys_of_a_head_are_those_of_the_outer_object() {
        let keys = keys_of_head(b" {\"a\": {\"b\": 1}, \"c\": [1, 2], \"d\": \"cut he");
        assert_eq!(keys.iter().map(|key| key.0).collect::<Vec<_>>(), [b"a", b"c", b"d"]);
        assert!(keys_of_head(b"[{\"a\": 1}]").is_empty());
        assert_eq!(value_of(b"{\"a\": 1, \"b\": {\"c\": [2]}, \"a\": 3}", "a"), Some(&b"3"[..]));
        assert_eq!(value_of(b"{\"a\": 1, \"b\": {\"c\": [2]}}", "b"), Some(&b"{\"c\": [2]}"[..]));
    }
}
