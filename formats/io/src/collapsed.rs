//! Collapsed stacks: a line per stack, `outermost;…;innermost count`, as flame-graph tools and `py-spy --format raw`
//! write them.
//!
//! There are no times. Samples stand in the order of the file, one nominal microsecond per count, which
//! [`WarningKind::NoTimes`] says.

use gapless_trace::{ArgsLoc, Frame, RawId, SourceId, StackId, StrId, TraceInfo, WarningKind};

use crate::Progress;
use crate::cpu_samples::{Sample, SampleChunk};
use crate::error::Refused;
use crate::readers::{Head, Input, ReadPart, Role};

/// Nominal length of a count.
const NS_PER_COUNT: i64 = 1_000;
/// Lines that are looked at to tell the format.
const SNIFFED_LINES: usize = 64;
/// Lines between two looks at whether the user gave up.
const LINES_PER_LOOK: u64 = 16_384;
/// Marks that tools put behind a function, and the module that they stand for.
const MARKS: [(&[u8], &str); 4] =
    [(b"_[k]", "[kernel]"), (b"_[j]", "[jit]"), (b"_[i]", "[inlined]"), (b"_[w]", "[waker]")];

/// Whether every line at the beginning is a stack and a count, and one of them has two frames.
pub(crate) fn sniff(head: &Head<'_>) -> bool {
    let mut lines: Vec<&[u8]> = head.bytes.split(|&byte| byte == b'\n').take(SNIFFED_LINES + 1).collect();
    // The last line may be cut.
    if lines.len() > 1 {
        lines.pop();
    }
    let mut lines = lines.into_iter().filter(|line| !line.trim_ascii().is_empty()).peekable();
    lines.peek().is_some()
        && lines.clone().all(|line| std::str::from_utf8(line).is_ok() && stack_and_count(line).is_some())
        && lines.any(|line| line.contains(&b';'))
}

/// `a;b 12` as (`a;b`, 12, whether digits after a point were cut).
fn stack_and_count(line: &[u8]) -> Option<(&[u8], u64, bool)> {
    let line = line.trim_ascii_end();
    let space = memchr::memrchr(b' ', line)?;
    let (stack, number) = (line.get(..space)?.trim_ascii_end(), line.get(space + 1..)?);
    let (whole, fraction) = match memchr::memchr(b'.', number) {
        Some(point) => (number.get(..point)?, number.get(point + 1..)?),
        None => (number, &b""[..]),
    };
    let is_number = !whole.is_empty() && whole.iter().chain(fraction).all(u8::is_ascii_digit);
    let count = std::str::from_utf8(whole).ok().filter(|_| is_number && !stack.is_empty())?.parse().ok()?;
    Some((stack, count, fraction.iter().any(|&digit| digit != b'0')))
}

/// Reads the whole text.
pub(crate) fn read(input: &Input, progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    let mut part = input.part();
    let mut out = SampleChunk::new();
    let category = out.chunk.strings.intern("samples");
    let name = out.chunk.strings.intern("all stacks");
    out.name_thread(RawId::None, RawId::None, name);
    let mut time = 0i64;
    let (mut at, mut lines) = (0, 0u64);
    while let Some(rest) = input.bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let len = input.limits.line(rest, at as u64)?;
        let (line, offset) = (rest.get(..len).unwrap_or_default(), at as u64);
        let is_ended = len < rest.len();
        at += len + 1;
        lines += 1;
        if lines.is_multiple_of(LINES_PER_LOOK) {
            progress.done(at as u64);
            if progress.is_cancelled() {
                return Err(Refused::Cancelled);
            }
        }
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            continue;
        }
        let Some((text, count, is_cut)) = stack_and_count(line) else {
            // Only a line that the file ends in may lack its count.
            let kind = if is_ended { WarningKind::MalformedEvent } else { WarningKind::Truncated };
            let detail = String::from_utf8_lossy(line.get(..80).unwrap_or(line)).into_owned();
            part.warnings.add(kind, SourceId(0), Some(offset), &detail);
            continue;
        };
        if is_cut {
            out.warn(WarningKind::FractionCut, offset, "");
        }
        out.chunk.file_events += 1;
        out.check(&input.limits)?;
        let stack = stack(&mut out, text, offset);
        let sample =
            Sample { pid: RawId::None, tid: RawId::None, time, category, stack, weight: count, args: ArgsLoc::NONE };
        out.sample(&sample);
        let length = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(NS_PER_COUNT);
        // Room is left for adding a base.
        time = time.saturating_add(length).min(i64::MAX / 4);
    }
    if out.chunk.file_events == 0 {
        return Err(Refused::format(0, "no line of it is a stack with a count"));
    }
    out.warn(WarningKind::NoTimes, 0, "collapsed stacks; one count is drawn as a microsecond");
    part.source.file_events = out.chunk.file_events;
    part.info = TraceInfo::default();
    part.chunks = vec![out.finish()];
    Ok(vec![ReadPart { part, role: Role::Companion, joins: Vec::new() }])
}

/// Interns `outermost;…;innermost`.
fn stack(out: &mut SampleChunk, text: &[u8], offset: u64) -> Option<StackId> {
    let mut stack = None;
    for frame in text.split(|&byte| byte == b';').filter(|frame| !frame.is_empty()) {
        let frame = frame_of(out, frame, offset);
        let frame = out.chunk.stacks.frame(frame);
        stack = Some(out.chunk.stacks.push(stack, frame));
    }
    stack
}

/// `name`, `name_[k]` or py-spy's `name (file.py:12)`.
fn frame_of(out: &mut SampleChunk, text: &[u8], offset: u64) -> Frame {
    for (mark, module) in MARKS {
        if let Some(name) = text.strip_suffix(mark) {
            let module = out.chunk.strings.intern(module);
            return Frame { name: out.text(name, offset), module, ..Frame::default() };
        }
    }
    if let Some((name, file, line)) = with_place(text) {
        return Frame { name: out.text(name, offset), file: out.text(file, offset), module: StrId::EMPTY, line };
    }
    Frame { name: out.text(text, offset), ..Frame::default() }
}

/// `name (file.py:12)` in its parts.
fn with_place(text: &[u8]) -> Option<(&[u8], &[u8], u32)> {
    let open = memchr::memmem::rfind(text, b" (")?;
    let inside = text.get(open + 2..)?.strip_suffix(b")")?;
    let colon = memchr::memrchr(b':', inside).filter(|&colon| colon > 0)?;
    let line = std::str::from_utf8(inside.get(colon + 1..)?).ok()?.parse().ok()?;
    Some((text.get(..open)?, inside.get(..colon)?, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stacks_with_counts_are_taken_for_the_format() {
        let check = |text: &str, expected: bool| {
            assert_eq!(sniff(&Head { bytes: text.as_bytes(), name: "x" }), expected, "{text}");
        };
        check("main;work;inner 12\nmain 3\n", true);
        check("\nmain;work 12.5\n", true);
        check("main;work 12", true);
        check("main;work 12\nmain;wo", true);
        check("a 1\nb 2\n", false);
        check("main;work 12\nhello;\nmain;work 1\n", false);
        check("a;b,c\n1;2,3\n", false);
        check("", false);
        check(";\n", false);
        check("{\"a\": 1;\n2 3 }\n", false);
    }
}
