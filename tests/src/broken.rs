//! Traces that are damaged in a defined way, each with what must survive and what must be reported.

use gapless_trace::WarningKind;

use crate::oracle::{self, Slice};

/// A trace taken apart at its events.
#[derive(Clone, Debug)]
pub struct Document {
    /// Everything up to the bracket that opens the events, the bracket included.
    pub head: Vec<u8>,
    /// The events, each from `{` to `}`.
    pub events: Vec<Vec<u8>>,
    /// The bracket that closes the events, and everything after it.
    pub tail: Vec<u8>,
}

/// What must be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The reason.
    pub kind: WarningKind,
    /// How often.
    pub count: u64,
    /// The first place must lie in this range of the text; `None` if the place is not tested.
    pub within: Option<(u64, u64)>,
}

/// A damaged trace.
#[derive(Clone, Debug)]
pub struct Damaged {
    /// What was done to it.
    pub what: String,
    /// The text.
    pub bytes: Vec<u8>,
    /// The slices and instants that must be there, sorted; nothing else may be.
    pub slices: Vec<Slice>,
    /// What must be reported. Nothing else may be lost.
    pub reports: Vec<Report>,
    /// There is text that belongs to no event: its loss must be reported, but not how often.
    pub has_stray_text: bool,
}

const SEPARATOR: &[u8] = b",\n  ";

impl Document {
    /// Takes a valid trace apart.
    #[must_use]
    pub fn split(text: &[u8]) -> Option<Self> {
        let key = b"\"traceEvents\"";
        let found = text.windows(key.len()).position(|window| window == key)?;
        let open = found + text[found..].iter().position(|&byte| byte == b'[')?;
        let (ends, close) = object_ends(&text[open + 1..]);
        let mut events = Vec::new();
        let mut from = 0;
        for end in ends {
            let piece = &text[open + 1 + from..open + 1 + end];
            let brace = piece.iter().position(|&byte| byte == b'{')?;
            events.push(piece[brace..].to_vec());
            from = end;
        }
        Some(Self { head: text[..=open].to_vec(), events, tail: text[open + 1 + close?..].to_vec() })
    }

    /// The text, and where each event begins and ends in it.
    #[must_use]
    pub fn render(&self) -> (Vec<u8>, Vec<(u64, u64)>) {
        let mut text = self.head.clone();
        text.extend_from_slice(b"\n  ");
        let mut places = Vec::new();
        for (index, event) in self.events.iter().enumerate() {
            if index > 0 {
                text.extend_from_slice(SEPARATOR);
            }
            let from = text.len() as u64;
            text.extend_from_slice(event);
            places.push((from, text.len() as u64));
        }
        text.push(b'\n');
        text.extend_from_slice(&self.tail);
        (text, places)
    }

    /// The slices and instants of the undamaged document, one entry an event; `None` for events of other phases.
    ///
    /// # Errors
    /// When the document is not valid.
    pub fn slices(&self) -> serde_json::Result<Vec<Option<Slice>>> {
        let naive = oracle::read(&self.render().0)?;
        Ok(naive
            .events
            .iter()
            .map(|event| {
                let dur = if event.ph == "X" { event.dur? } else { 0 };
                matches!(event.ph.as_str(), "X" | "i").then_some((event.ts?, dur, event.name.clone()))
            })
            .collect())
    }
}

/// Ends of the objects of depth 1 in the text after an opening bracket (just after their `}`), and the place of the
/// bracket that closes the list. Strings are skipped; nothing else is understood.
#[must_use]
pub fn object_ends(text: &[u8]) -> (Vec<usize>, Option<usize>) {
    let (mut ends, mut depth, mut in_string, mut escaped) = (Vec::new(), 0_u32, false, false);
    for (at, &byte) in text.iter().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b']' if depth == 0 => return (ends, Some(at)),
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && byte == b'}' {
                    ends.push(at + 1);
                }
            }
            _ => {}
        }
    }
    (ends, None)
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let Some(at) = text.windows(from.len()).position(|window| window == from) else { return text.to_vec() };
    [&text[..at], to, &text[at + from.len()..]].concat()
}

/// Value of a field of a number, as text.
fn field_value<'a>(event: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let key = format!("\"{key}\": ");
    let at = event.windows(key.len()).position(|window| window == key.as_bytes())? + key.len();
    let rest = &event[at..];
    let end = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b'\n'))?;
    Some(&rest[..end])
}

/// What is done to a name: in words, the raw text, the name that is read, what is reported.
type Renaming<'a> = (&'a str, &'a [u8], &'a str, &'a [(WarningKind, u64)]);

/// Makes the cases from a valid document that Kineto's layout was used for.
struct Maker {
    document: Document,
    slices: Vec<Option<Slice>>,
    /// An operator in the middle of the file.
    victim: usize,
    cases: Vec<Damaged>,
}

/// What becomes of the event that is damaged.
enum Fate {
    /// It is as before.
    Same,
    /// It is another slice.
    Becomes(Slice),
    /// It is gone.
    Gone,
}

impl Maker {
    fn original(&self) -> (Vec<u8>, Slice) {
        let slice = self.slices[self.victim].clone().unwrap_or_default();
        (self.document.events[self.victim].clone(), slice)
    }

    /// Puts `event` in the victim's place.
    fn change(&mut self, what: &str, event: Vec<u8>, fate: Fate, reports: &[(WarningKind, u64)]) {
        let mut document = self.document.clone();
        document.events[self.victim] = event;
        let (bytes, places) = document.render();
        let mut slices = self.slices.clone();
        match fate {
            Fate::Same => {}
            Fate::Becomes(slice) => slices[self.victim] = Some(slice),
            Fate::Gone => slices[self.victim] = None,
        }
        let within = Some(places[self.victim]);
        let reports = reports.iter().map(|&(kind, count)| Report { kind, count, within }).collect();
        self.push(what, bytes, slices.into_iter().flatten().collect(), reports);
    }

    fn whole(&mut self, what: &str, bytes: Vec<u8>, reports: &[(WarningKind, u64)]) {
        let reports = reports.iter().map(|&(kind, count)| Report { kind, count, within: None }).collect();
        self.push(what, bytes, self.slices.iter().flatten().cloned().collect(), reports);
    }

    fn push(&mut self, what: &str, bytes: Vec<u8>, mut slices: Vec<Slice>, reports: Vec<Report>) {
        slices.sort_unstable();
        self.cases.push(Damaged { what: what.to_owned(), bytes, slices, reports, has_stray_text: false });
    }

    fn strings(&mut self) {
        use WarningKind::{BadEscape, ControlCharacter, InvalidUtf8, UnescapedQuote};
        let (event, slice) = self.original();
        let old = format!("\"name\": \"{}\"", slice.2);
        let renamed = |raw: &[u8]| replaced(&event, old.as_bytes(), &[b"\"name\": \"", raw, b"\""].concat());
        let named = |name: &str| Fate::Becomes((slice.0, slice.1, name.to_owned()));
        let cases: [Renaming; 11] = [
            ("a raw newline in a name", b"two\nlines", "two\nlines", &[(ControlCharacter, 1)]),
            ("a raw control character in a name", b"bell\x07", "bell\x07", &[(ControlCharacter, 1)]),
            (
                "bytes that are not UTF-8 in a name",
                b"bad \xff\xfe end",
                "bad \u{fffd}\u{fffd} end",
                &[(InvalidUtf8, 1)],
            ),
            ("a cut UTF-8 sequence in a name", b"cut \xe2\x82 end", "cut \u{fffd} end", &[(InvalidUtf8, 1)]),
            ("unescaped quotes in a name", b"say \"hi\" now", "say \"hi\" now", &[(UnescapedQuote, 1)]),
            ("an escape that JSON does not know", b"a \\q b", "a \\q b", &[(BadEscape, 1)]),
            ("escapes that JSON knows", b"\\u00e9 \\ud83d\\ude00 \\/ \\t \\\\ \\\"", "é 😀 / \t \\ \"", &[]),
            ("letters beyond ASCII", "größe 模型".as_bytes(), "größe 模型", &[]),
            (
                "a name that looks like an event",
                b"}, {\\\"ph\\\": \\\"X\\\", \\\"ts\\\": 1}",
                "}, {\"ph\": \"X\", \"ts\": 1}",
                &[],
            ),
            ("a name that ends in a backslash", b"C:\\\\", "C:\\", &[]),
            ("an empty name", b"", "", &[]),
        ];
        for (what, raw, name, reports) in cases {
            self.change(what, renamed(raw), named(name), reports);
        }
        let in_args = replaced(&event, b"\"args\": {", b"\"args\": {\"note\": \"an \"unescaped\" quote\", ");
        self.change("unescaped quotes in an argument", in_args, Fate::Same, &[]);
        let in_args = replaced(&event, b"\"args\": {", b"\"args\": {\"note\": \"\x01\x02\xff\", ");
        self.change("control characters and bytes that are not UTF-8 in an argument", in_args, Fate::Same, &[]);
    }

    fn numbers(&mut self) {
        use WarningKind::{
            DuplicateKey, NegativeDuration, NoDuration, NoTimestamp, NotANumber, TimeOutOfRange, WideId,
        };
        let (event, slice) = self.original();
        let ts = [b"\"ts\": ", field_value(&event, "ts").unwrap_or_default()].concat();
        let dur = [b"\"dur\": ", field_value(&event, "dur").unwrap_or_default()].concat();
        let with_dur = |dur_ns: i64| Fate::Becomes((slice.0, dur_ns, slice.2.clone()));
        for word in ["NaN", "Infinity", "-Infinity", "nan", "-inf"] {
            let text = format!("\"ts\": {word}");
            self.change(
                &format!("{word} as time"),
                replaced(&event, &ts, text.as_bytes()),
                Fate::Gone,
                &[(NoTimestamp, 1)],
            );
            let text = format!("\"dur\": {word}");
            self.change(
                &format!("{word} as duration"),
                replaced(&event, &dur, text.as_bytes()),
                with_dur(0),
                &[(NotANumber, 1)],
            );
            let text = format!("\"args\": {{\"value\": {word}, ");
            self.change(
                &format!("{word} as argument"),
                replaced(&event, b"\"args\": {", text.as_bytes()),
                Fate::Same,
                &[],
            );
        }
        self.change("no time", replaced(&event, &[&ts[..], b", "].concat(), b""), Fate::Gone, &[(NoTimestamp, 1)]);
        self.change("null as time", replaced(&event, &ts, b"\"ts\": null"), Fate::Gone, &[(NoTimestamp, 1)]);
        self.change("null as duration", replaced(&event, &dur, b"\"dur\": null"), with_dur(0), &[(NoDuration, 1)]);
        self.change(
            "no duration",
            replaced(&event, &[&b", "[..], &dur].concat(), b""),
            with_dur(0),
            &[(NoDuration, 1)],
        );
        self.change(
            "a negative duration",
            replaced(&event, &dur, b"\"dur\": -5.25"),
            with_dur(0),
            &[(NegativeDuration, 1)],
        );
        self.change(
            "a duration of 1e14 ns",
            replaced(&event, &dur, b"\"dur\": 100000000000.001"),
            with_dur(100_000_000_000_001),
            &[],
        );
        let huge = replaced(&event, &ts, b"\"ts\": 123456789012345678901234567890");
        self.change("a time of thirty digits", huge, Fate::Gone, &[(TimeOutOfRange, 1)]);
        let huge = replaced(&event, &ts, b"\"ts\": -99999999999999999999.5");
        self.change("a negative time of twenty digits", huge, Fate::Gone, &[(TimeOutOfRange, 1)]);
        let text = [b"\"ts\": \"", field_value(&event, "ts").unwrap_or_default(), b"\""].concat();
        self.change("a time in quotes", replaced(&event, &ts, &text), Fate::Same, &[]);
        let more = [&ts[..], b"0000000"].concat();
        self.change("a time with zeros after its digits", replaced(&event, &ts, &more), Fate::Same, &[]);
        let duration = format!("\"dur\": {}e-3", slice.1);
        self.change("a duration with an exponent", replaced(&event, &dur, duration.as_bytes()), Fate::Same, &[]);
        for wide in ["18446744073709551615", "9223372036854775808", "1000000000000000000000000000000", "4294967296"] {
            let text = format!("\"args\": {{\"correlation\": {wide}, ");
            let changed = replaced(&event, b"\"args\": {", text.as_bytes());
            self.change(&format!("{wide} as correlation"), changed, Fate::Same, &[(WideId, 1)]);
        }
        let twice = replaced(&event, b"\"name\":", b"\"name\": \"the first\", \"name\":");
        self.change("a key twice", twice, Fate::Same, &[(DuplicateKey, 1)]);
        for (what, pid) in [
            ("in quotes", "\"40000\""),
            ("negative", "-1"),
            ("null", "null"),
            ("a fraction", "1.5"),
            ("huge", "99999999999999999999"),
        ] {
            let old = [b"\"pid\": ", field_value(&event, "pid").unwrap_or_default()].concat();
            self.change(
                &format!("a process id {what}"),
                replaced(&event, &old, format!("\"pid\": {pid}").as_bytes()),
                Fate::Same,
                &[],
            );
            let old = [b"\"tid\": ", field_value(&event, "tid").unwrap_or_default()].concat();
            self.change(
                &format!("a thread id {what}"),
                replaced(&event, &old, format!("\"tid\": {pid}").as_bytes()),
                Fate::Same,
                &[],
            );
        }
    }

    fn structure(&mut self) {
        use WarningKind::{EventNotObject, MalformedEvent, MissingEnd, NoPhase, TrailingComma, UnknownPhase};
        let (event, _) = self.original();
        for (what, text) in
            [("null", "null"), ("a number", "17"), ("a text", "\"}, {\""), ("a list", "[{\"ph\": \"X\", \"ts\": 1}]")]
        {
            self.change(&format!("{what} among the events"), text.into(), Fate::Gone, &[(EventNotObject, 1)]);
        }
        self.change("an empty object among the events", b"{}".to_vec(), Fate::Gone, &[(WarningKind::EmptyEvent, 1)]);
        let phase = |to: &[u8]| replaced(&event, b"\"ph\": \"X\"", to);
        self.change("an event without phase", phase(b"\"hp\": \"X\""), Fate::Gone, &[(NoPhase, 1)]);
        self.change("a phase that nobody knows", phase(b"\"ph\": \"?\""), Fate::Gone, &[(UnknownPhase, 1)]);
        self.change(
            "a comma at the end of an event",
            replaced(&event, b"\n    }\n  }", b"\n    },\n  }"),
            Fate::Same,
            &[],
        );
        self.change(
            "a comma at the end of arguments",
            replaced(&event, b"\n    }\n  }", b",\n    }\n  }"),
            Fate::Same,
            &[],
        );
        let nested = replaced(
            &event,
            b"\"args\": {",
            b"\"args\": {\"traceEvents\": [{\"ph\": \"X\", \"name\": \"fake\", \"ts\": 1, \"dur\": 2, \"pid\": 1, \"tid\": 1},\n  {\n    \"ph\": \"X\", \"cat\": \"cpu_op\", \"name\": \"fake\", \"ts\": 1, \"dur\": 2, \"pid\": 1, \"tid\": 1}], ",
        );
        self.change("arguments that hold events", nested, Fate::Same, &[]);
        let big = [&b"\"args\": {\"blob\": \""[..], &b"x]}, {".repeat(1 << 20), b"\", "].concat();
        self.change("an event of six megabytes", replaced(&event, b"\"args\": {", &big), Fate::Same, &[]);
        let deep = ["\"args\": {\"deep\": ", &"[".repeat(300), &"]".repeat(300), ", "].concat();
        self.change("arguments 300 deep", replaced(&event, b"\"args\": {", deep.as_bytes()), Fate::Same, &[]);
        let swapped = {
            let inner = replaced(&event, b"{\n    \"ph\": \"X\", ", b"{\n    ");
            [&inner[..inner.len() - 1], b", \"ph\": \"X\"}"].concat()
        };
        self.change("the phase as last key", swapped, Fate::Same, &[]);
        let garbage = [b"@#$ ", &event[..], b" garbage"].concat();
        let (text, places) = self.document.render();
        let at = places[self.victim];
        let put = |middle: &[u8]| [&text[..at.0 as usize], middle, &text[at.1 as usize..]].concat();
        self.whole("text between events", put(&garbage), &[]);
        if let Some(case) = self.cases.last_mut() {
            case.has_stray_text = true;
        }
        self.whole("two commas between events", put(&[b",", &event[..]].concat()), &[]);
        let gap = at.0 as usize - SEPARATOR.len();
        self.whole("no comma between events", [&text[..gap], &text[gap + 1..]].concat(), &[]);
        // The event loses its end: what follows is an event of its own.
        let cut: Vec<u8> = event[..event.len() / 3].to_vec();
        self.change("an event that breaks off in the middle of the file", cut, Fate::Gone, &[(MalformedEvent, 1)]);

        let tail_at = text.len() - self.document.tail.len();
        self.whole(
            "a comma after the last event",
            [&text[..tail_at - 1], b",\n", &text[tail_at..]].concat(),
            &[(TrailingComma, 1)],
        );
        self.whole("no ]} at the end", text[..tail_at].to_vec(), &[(MissingEnd, 1)]);
        self.whole("a comma and no ]} at the end", [&text[..tail_at - 1], b",\n"].concat(), &[(MissingEnd, 1)]);
        self.whole("zeros after the end", [&text[..], &[0; 4096]].concat(), &[]);
    }

    fn headers(&mut self) {
        let (text, _) = self.document.render();
        let list = |document: &Document| {
            let (text, _) = document.render();
            text[document.head.len() - 1..text.len() - document.tail.len()].to_vec()
        };
        let events = [&list(&self.document)[..], b"]"].concat();
        let head = String::from_utf8_lossy(&self.document.head).into_owned();
        let keys = head.trim_start().trim_start_matches('{').trim_end().trim_end_matches('[').trim_end();
        let keys = keys.trim_end_matches("\"traceEvents\":").trim().trim_end_matches(',').to_owned();
        let join = |parts: &[&[u8]]| parts.concat();
        self.whole(
            "events before the other header keys",
            join(&[b"{\"traceEvents\": ", &events, b", ", keys.as_bytes(), b"}"]),
            &[],
        );
        let fake = b"{\"metadata\": {\"traceEvents\": [{\"ph\": \"X\", \"name\": \"fake\", \"ts\": 1, \"dur\": 1, \"pid\": 1, \"tid\": 1}]}, \"note\": \"\\\"traceEvents\\\": [{\", ";
        self.whole(
            "traceEvents inside an earlier key",
            join(&[fake, keys.as_bytes(), b", \"traceEvents\": ", &events, b"}"]),
            &[],
        );
        self.whole("a byte-order mark", join(&["\u{feff}".as_bytes(), &text]), &[]);
        self.whole("blank lines before the text", join(&[b"\n\r\n\t  ", &text]), &[]);
        let naive = oracle::read(&text).map_or(0, |naive| naive.base_ns);
        // A bare array has no header, so it has no base either.
        let bare: Vec<Slice> = self.slices.iter().flatten().map(|s| (s.0 - naive, s.1, s.2.clone())).collect();
        self.push("a bare array", events.clone(), bare.clone(), Vec::new());
        let report = Report { kind: WarningKind::MissingEnd, count: 1, within: None };
        self.push("a bare array that is not closed", join(&[&events[..events.len() - 1], b",\n"]), bare, vec![report]);
    }
}

/// All damages of one valid trace in Kineto's layout, with its first operator in the second half as the victim.
/// Empty if the text is not such a trace.
#[must_use]
pub fn cases(text: &[u8]) -> Vec<Damaged> {
    let Some(document) = Document::split(text) else { return Vec::new() };
    let Ok(slices) = document.slices() else { return Vec::new() };
    let is_victim = |event: &Vec<u8>| {
        let text = String::from_utf8_lossy(event);
        text.contains("\"cat\": \"cpu_op\"") && text.contains("\"name\": \"aten::")
    };
    let half = document.events.len() / 2;
    let Some(victim) = document.events.iter().skip(half).position(is_victim).map(|at| at + half) else {
        return Vec::new();
    };
    let mut maker = Maker { document, slices, victim, cases: Vec::new() };
    maker.strings();
    maker.numbers();
    maker.structure();
    maker.headers();
    maker.cases
}
