//! Names inside archives. They are shown and never used as a path.

use std::fmt::Write;

/// Longest name that is shown, in characters; the end of a longer one says more than its beginning.
const LONGEST: usize = 160;

/// `raw` as a relative path that is safe to show: no drive, root, `.` or `..`, no control characters and nothing
/// that turns the direction of text around.
pub(super) fn clean(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let mut shown = String::new();
    for piece in text.split(['/', '\\']).filter(|piece| !matches!(*piece, "" | "." | "..")) {
        if !shown.is_empty() {
            shown.push('/');
        }
        for character in piece.chars() {
            if character.is_control() || turns_text(character) {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
            } else {
                shown.push(character);
            }
        }
    }
    if shown.is_empty() {
        return "(no name)".to_owned();
    }
    let length = shown.chars().count();
    if length <= LONGEST {
        return shown;
    }
    let rest: String = shown.chars().skip(length - LONGEST).collect();
    format!("…{rest}")
}

/// Invisible marks that change the direction in which text is shown.
fn turns_text(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_only_labels() {
        let check = |raw: &[u8], shown: &str| assert_eq!(clean(raw), shown);
        check(b"run/rank0.json", "run/rank0.json");
        check(b"../../etc/passwd", "etc/passwd");
        check(b"/etc/./passwd", "etc/passwd");
        check(b"C:\\..\\x.json", "C:/x.json");
        check(b"a\0b\x1b[2Jc", "a\\u{0}b\\u{1b}[2Jc");
        check("trace\u{202e}nosj.exe".as_bytes(), "trace\\u{202e}nosj.exe");
        check(b"\xff\xfe", "\u{fffd}\u{fffd}");
        check(b"", "(no name)");
        check(b"///..//", "(no name)");
        let huge = clean(&[b'x'; 1 << 20]);
        assert!(huge.chars().count() == LONGEST + 1 && huge.starts_with('…'));
    }
}
