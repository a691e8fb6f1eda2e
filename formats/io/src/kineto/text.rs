//! Strings of the file as text: escapes resolved, bad bytes shown, and counted.

use std::borrow::Cow;

use super::scan::RawStr;

/// What had to be repaired in a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repairs {
    pub invalid_utf8: bool,
    pub control_character: bool,
    pub bad_escape: bool,
}

/// The text of a raw string.
pub(crate) fn decode<'a>(raw: RawStr<'a>) -> (Cow<'a, str>, Repairs) {
    let mut repairs = Repairs { control_character: raw.text.iter().any(|&byte| byte < b' '), ..Repairs::default() };
    let text = match std::str::from_utf8(raw.text) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            repairs.invalid_utf8 = true;
            String::from_utf8_lossy(raw.text)
        }
    };
    if raw.is_escaped {
        let (text, bad_escape) = unescape(&text);
        repairs.bad_escape = bad_escape;
        return (Cow::Owned(text), repairs);
    }
    (text, repairs)
}

/// Resolves JSON escapes; an unknown one stays as it stands. Also says whether there was one.
fn unescape(text: &str) -> (String, bool) {
    let mut out = String::with_capacity(text.len());
    let mut bad = false;
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        let Some(kind) = rest.chars().next() else {
            out.push('\\');
            bad = true;
            break;
        };
        let mut used = kind.len_utf8();
        match kind {
            '"' | '\\' | '/' => out.push(kind),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'u' => match unicode_escape(rest.get(1..).unwrap_or_default()) {
                Some((character, length)) => {
                    out.push(character);
                    used += length;
                }
                None => {
                    out.push_str("\\u");
                    bad = true;
                }
            },
            other => {
                out.push('\\');
                out.push(other);
                bad = true;
            }
        }
        rest = rest.get(used..).unwrap_or_default();
    }
    out.push_str(rest);
    (out, bad)
}

/// The character of four hex digits, or of a surrogate pair, with the length used. A lone surrogate shows as �.
fn unicode_escape(text: &str) -> Option<(char, usize)> {
    let unit = |text: &str| text.get(..4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
    let first = unit(text)?;
    if let Some(second) = text.get(4..).and_then(|rest| rest.strip_prefix("\\u")).and_then(unit)
        && let Some(Ok(character)) = char::decode_utf16([first, second]).next()
        && (0xD800..0xDC00).contains(&first)
    {
        return Some((character, 10));
    }
    Some((char::from_u32(u32::from(first)).unwrap_or('\u{FFFD}'), 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &[u8], text: &str, repairs: Repairs) {
        let (got, found) = decode(RawStr { text: raw, is_escaped: raw.contains(&b'\\') });
        assert_eq!((got.as_ref(), found), (text, repairs));
    }

    #[test]
    fn escapes_resolve_and_damage_shows() {
        let fine = Repairs::default();
        check(b"plain", "plain", fine);
        check(br#"a\"b\\c\/d\n"#, "a\"b\\c/d\n", fine);
        check(br"\u00b5s \ud83d\ude00", "µs 😀", fine);
        check(br"\ud83d x", "\u{FFFD} x", fine);
        check(br"C:\path", "C:\\path", Repairs { bad_escape: true, ..fine });
        check(br"\u12", "\\u12", Repairs { bad_escape: true, ..fine });
        check(b"a\x01b", "a\u{1}b", Repairs { control_character: true, ..fine });
        check(b"a\xFFb", "a\u{FFFD}b", Repairs { invalid_utf8: true, ..fine });
    }
}
