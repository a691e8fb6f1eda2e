//! Lines of `perf script`: the first line of a sample, and the lines of its stack.

/// The first line of a sample: `comm pid/tid [cpu] time: period event: rest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SampleLine<'a> {
    /// Name of the thread; may hold spaces.
    pub comm: &'a [u8],
    /// Process, where the line has both ids.
    pub pid: Option<i64>,
    /// Thread.
    pub tid: i64,
    /// Processor core, where the line has one.
    pub cpu: Option<i64>,
    /// Time in ns of the recording's clock.
    pub time_ns: i64,
    /// Events since the last sample, where the line has it.
    pub period: Option<u64>,
    /// Name of the event with its modifiers (`cycles:u`), or the record (`PERF_RECORD_LOST`).
    pub event: &'a [u8],
    /// What follows: fields of a tracepoint, the address of a sample without a call chain, or nothing.
    pub rest: &'a [u8],
}

/// A line of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StackLine<'a> {
    /// The address as the file has it: hexadecimal digits.
    pub address: &'a [u8],
    /// Name of the function; empty where the file gives none.
    pub symbol: &'a [u8],
    /// Module; empty where the file gives none.
    pub module: &'a [u8],
    /// Whether the function was inlined into the next one, whose module it shares.
    pub is_inlined: bool,
}

/// Words of a line with where they start.
struct Words<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Words<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.line.get(self.at..)?;
        let start = self.at + rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let word = self.line.get(start..)?;
        let len = word.iter().position(u8::is_ascii_whitespace).unwrap_or(word.len());
        self.at = start + len;
        Some((start, word.get(..len)?))
    }
}

/// Reads the first line of a sample; `None` if it is not one.
///
/// The name of a thread may hold anything, so the line is read from its time on: `seconds.fraction:` after the ids.
pub(super) fn sample_line(line: &[u8]) -> Option<SampleLine<'_>> {
    let mut words = Words { line, at: 0 };
    let mut before: [Option<(usize, &[u8])>; 2] = [None, None];
    while let Some((start, word)) = words.next() {
        if let Some(time_ns) = time_ns(word)
            && let Some(Thread { at, pid, tid, cpu }) = thread_before(before)
        {
            let rest = line.get(words.at..)?;
            let (period, event, rest) = event(rest)?;
            let comm = line.get(..at)?.trim_ascii();
            return Some(SampleLine { comm, pid, tid, cpu, time_ns, period, event, rest });
        }
        before = [before.get(1).copied().flatten(), Some((start, word))];
    }
    None
}

/// Which thread a line is about.
struct Thread {
    /// Where its ids start in the line.
    at: usize,
    pid: Option<i64>,
    tid: i64,
    cpu: Option<i64>,
}

/// The ids, and the core, in the two words before the time.
fn thread_before(before: [Option<(usize, &[u8])>; 2]) -> Option<Thread> {
    let [first, last] = before;
    let cpu = core(last?.1);
    let (at, word) = if cpu.is_some() { first? } else { last? };
    let (pid, tid) = ids(word)?;
    Some(Thread { at, pid, tid, cpu })
}

/// `[003]`
fn core(word: &[u8]) -> Option<i64> {
    number(word.strip_prefix(b"[")?.strip_suffix(b"]")?)
}

/// `pid/tid` or `tid`
fn ids(word: &[u8]) -> Option<(Option<i64>, i64)> {
    match memchr::memchr(b'/', word) {
        Some(at) => Some((Some(number(word.get(..at)?)?), number(word.get(at + 1..)?)?)),
        None => Some((None, number(word)?)),
    }
}

/// A whole number; perf writes −1 for no thread.
fn number(text: &[u8]) -> Option<i64> {
    let is_number = text.strip_prefix(b"-").unwrap_or(text).iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// `12165.199531:` in ns.
fn time_ns(word: &[u8]) -> Option<i64> {
    seconds_as_ns(word.strip_suffix(b":")?)
}

/// `12165.199531` in ns. Digits below a nanosecond are cut.
fn seconds_as_ns(text: &[u8]) -> Option<i64> {
    let point = memchr::memchr(b'.', text)?;
    let (seconds, fraction) = (text.get(..point)?, text.get(point + 1..)?);
    if seconds.is_empty() || fraction.is_empty() || !seconds.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let mut nanos = 0i64;
    for place in 0..9 {
        let digit = fraction.get(place).map_or(0, |digit| i64::from(digit - b'0'));
        nanos = nanos * 10 + digit;
    }
    number(seconds)?.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// What the clock of the file reads in ns of Unix time when it reads 0, from the header's line
/// `# reference time: … = 1795444952.495206 (TOD) = 12165.145641289 (monotonic)`.
pub(super) fn clock_base_ns(line: &[u8]) -> Option<i64> {
    line.strip_prefix(b"# reference time: ")?;
    let mut parts = line.rsplit(|&byte| byte == b'=');
    let mut reading = || seconds_as_ns(Words { line: parts.next()?, at: 0 }.next()?.1);
    let (clock, unix) = (reading()?, reading()?);
    // A base that leaves no room for times is no base.
    unix.checked_sub(clock).filter(|base| base.unsigned_abs() < i64::MAX as u64 / 2)
}

/// `period event: rest`, `event: rest` or `PERF_RECORD_… rest`.
fn event(text: &[u8]) -> Option<(Option<u64>, &[u8], &[u8])> {
    let mut words = Words { line: text, at: 0 };
    let mut word = words.next()?.1;
    let period = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
    if period.is_some() {
        word = words.next()?.1;
    }
    let rest = text.get(words.at..).unwrap_or_default().trim_ascii();
    if let Some(name) = word.strip_suffix(b":").filter(|name| !name.is_empty()) {
        return Some((period, name, rest));
    }
    // Records that are no samples: their name ends at a colon, a bracket or a space.
    let len = word.iter().position(|&byte| byte != b'_' && !byte.is_ascii_alphanumeric()).unwrap_or(word.len());
    let name = word.get(..len).filter(|name| name.starts_with(b"PERF_RECORD_"))?;
    Some((period, name, rest))
}

/// Reads a line of a stack, `address symbol+offset (module)`; `None` if it is not one.
pub(super) fn stack_line(line: &[u8]) -> Option<StackLine<'_>> {
    let text = line.trim_ascii();
    let len = text.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(text.len());
    let (address, rest) = text.split_at_checked(len)?;
    if !(1..=16).contains(&len) || rest.first().is_some_and(|&byte| byte != b' ') {
        return None;
    }
    let rest = rest.trim_ascii();
    let (symbol, module) = match module_at(rest) {
        Some(at) => (rest.get(..at)?.trim_ascii(), rest.get(at + 1..rest.len() - 1)?),
        None => (rest, &b""[..]),
    };
    let is_inlined = module == b"inlined";
    let module = if is_inlined { b"" } else { module };
    Some(StackLine { address, symbol: without_offset(symbol), module, is_inlined })
}

/// Where the brackets that close the line open: modules may hold brackets (`(/tmp/a (deleted))`), functions too.
fn module_at(text: &[u8]) -> Option<usize> {
    if text.last() != Some(&b')') {
        return None;
    }
    let mut depth = 0usize;
    for (at, byte) in text.iter().enumerate().rev() {
        match byte {
            b')' => depth += 1,
            b'(' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            // A module stands apart from its function: `f()` alone has none.
            return (at == 0 || text.get(at - 1) == Some(&b' ')).then_some(at);
        }
    }
    None
}

/// `name+0x1f` without its offset.
fn without_offset(symbol: &[u8]) -> &[u8] {
    let Some(at) = memchr::memmem::rfind(symbol, b"+0x") else { return symbol };
    let digits = symbol.get(at + 3..).unwrap_or_default();
    let is_offset = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    if is_offset { symbol.get(..at).unwrap_or(symbol) } else { symbol }
}

/// Reads `file.c:123` below a line of a stack (`-F +srcline`): file and line.
pub(super) fn source_line(line: &[u8]) -> Option<(&[u8], u32)> {
    let text = line.trim_ascii();
    let colon = memchr::memrchr(b':', text).filter(|&at| at > 0)?;
    let number = std::str::from_utf8(text.get(colon + 1..)?).ok()?.parse().ok()?;
    Some((text.get(..colon)?, number))
}

/// Whether a line below a stack line says where its code is, though not by file and line (`[kernel.kallsyms][ffff…]`).
pub(super) fn is_place(line: &[u8]) -> bool {
    line.starts_with(b"  ") && line.get(2).is_some_and(|byte| !byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(
        line: &str,
        comm: &str,
        ids: (Option<i64>, i64, Option<i64>),
        time_ns: i64,
        event: (Option<u64>, &str, &str),
    ) {
        let got = sample_line(line.as_bytes()).unwrap();
        let (pid, tid, cpu) = ids;
        let (period, event, rest) = (event.0, event.1.as_bytes(), event.2.as_bytes());
        assert_eq!(got, SampleLine { comm: comm.as_bytes(), pid, tid, cpu, time_ns, period, event, rest }, "{line}");
    }

    #[test]
    fn first_lines_of_all_forms_are_read() {
        let plain = "python3  4738 12167.536357:          1 page-faults: ";
        check(plain, "python3", (None, 4738, None), 12_167_536_357_000, (Some(1), "page-faults", ""));
        let core = "bash  4596/4597  [001] 12165.199531987:    2004008 cpu-clock:ppp: ";
        check(core, "bash", (Some(4596), 4597, Some(1)), 12_165_199_531_987, (Some(2_004_008), "cpu-clock:ppp", ""));
        let spaces = "tokio 5 w 1.5:x 77 [012] 0.000001: 3 cycles:u: ";
        check(spaces, "tokio 5 w 1.5:x", (None, 77, Some(12)), 1_000, (Some(3), "cycles:u", ""));
        let bare = "Isolated Web Co 9/-1 7.5: cpu_core/cycles/: 7f2e _IO+0x1 (/lib/c.so)";
        let rest = (None, "cpu_core/cycles/", "7f2e _IO+0x1 (/lib/c.so)");
        check(bare, "Isolated Web Co", (Some(9), -1, None), 7_500_000_000, rest);
        check("4 [0] 1.0: e: x", "", (None, 4, Some(0)), 1_000_000_000, (None, "e", "x"));
        let lost = "perf  4 [000] 1.0: PERF_RECORD_LOST lost 12";
        check(lost, "perf", (None, 4, Some(0)), 1_000_000_000, (None, "PERF_RECORD_LOST", "lost 12"));
        let exit = "bash 7 [000] 1.0: PERF_RECORD_EXIT(7:7):(1:1)";
        check(exit, "bash", (None, 7, Some(0)), 1_000_000_000, (None, "PERF_RECORD_EXIT", ""));
    }

    #[test]
    fn other_text_is_no_first_line() {
        for line in
            ["", "hello", "a 1 2:", "a b 1.5: 1 e:", "a 1 1.x: 1 e:", "a 1 1.5:", "a 1 1.5: 17", "a 1 1.5: word"]
        {
            assert_eq!(sample_line(line.as_bytes()), None, "{line}");
        }
        assert_eq!(sample_line(b"a 1 99999999999999999999.5: 1 e:"), None);
        assert_eq!(sample_line(b"a 1 9999999999.5: 1 e:"), None);
    }

    #[test]
    fn the_header_may_say_what_the_clock_counts_from() {
        let line =
            b"# reference time: 2026-11-23 14:42:32.495206 = 1795444952.495206 (TOD) = 12165.145641289 (monotonic)";
        assert_eq!(clock_base_ns(line), Some(1_795_444_952_495_206_000 - 12_165_145_641_289));
        assert_eq!(clock_base_ns(b"# reference time: 2026-11-23"), None);
        assert_eq!(clock_base_ns(b"# clockid: monotonic (1)"), None);
    }

    #[test]
    fn stack_lines_of_all_forms_are_read() {
        let check = |line: &str, expected: Option<(&str, &str, bool)>| {
            let got = stack_line(line.as_bytes()).map(|line| (line.symbol, line.module, line.is_inlined));
            assert_eq!(
                got,
                expected.map(|(symbol, module, inlined)| (symbol.as_bytes(), module.as_bytes(), inlined)),
                "{line}"
            );
        };
        check(
            "\tffffffff821ed511 do_syscall_64+0x71 ([kernel.kallsyms])",
            Some(("do_syscall_64", "[kernel.kallsyms]", false)),
        );
        check("\t  1bccb _dl_start_final+0x55b (inlined)", Some(("_dl_start_final", "", true)));
        check("\t 0 [unknown] ([unknown])", Some(("[unknown]", "[unknown]", false)));
        check(
            "\t 401 std::map<int, f(*)(int)>::at(int const&) const+0x1f (/tmp/a (deleted))",
            Some(("std::map<int, f(*)(int)>::at(int const&) const", "/tmp/a (deleted)", false)),
        );
        check("\t 401 f(int)", Some(("f(int)", "", false)));
        check("\t 401", Some(("", "", false)));
        check("\t 401 (/bin/x)", Some(("", "/bin/x", false)));
        check("\t 401 a+0xzz (m)", Some(("a+0xzz", "m", false)));
        check("\t xyz main (m)", None);
        check("\t 11112222333344445 main (m)", None);
    }
}
