//! The scanner: a cursor over JSON text that skips what nobody asked for and never looks back.
//!
//! It is tolerant: it accepts whatever can be understood, and reports the first thing that cannot as
//! `None`, after which the caller resynchronises at the next event.

use super::bytes::{flat_object_end, quote_or_backslash};

/// A cursor over `bytes`.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
    /// Deepest nesting of a value that is followed. Following costs no stack: it is a limit on what makes sense.
    pub nesting: u32,
    /// Whether a value was given up because it is nested deeper.
    pub is_too_deep: bool,
}

/// A string as it stands in the text, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawStr<'a> {
    pub text: &'a [u8],
    pub is_escaped: bool,
}

/// An exact number of nanoseconds from a decimal number of microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nanos {
    /// The value, rounded half to even where the text has more than three decimals.
    Value(i64),
    /// A number that does not fit.
    OutOfRange {
        /// Whether it lies below zero.
        negative: bool,
    },
    /// NaN or an infinity.
    NotANumber,
    /// Not a number at all.
    Missing,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, nesting: u32::MAX, is_too_deep: false }
    }

    /// The same with a limit on nesting.
    pub fn with_nesting(self, nesting: usize) -> Self {
        Self { nesting: u32::try_from(nesting).unwrap_or(u32::MAX), ..self }
    }

    /// The byte here; 0 at the end.
    #[inline(always)]
    pub fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Whether nothing is left.
    #[inline(always)]
    pub fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Moves over white space. Control characters count as white space between tokens.
    #[inline(always)]
    pub fn skip_space(&mut self) {
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte > b' ' {
                break;
            }
            self.at += 1;
        }
    }

    /// Takes `byte` if it is here.
    #[inline(always)]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte && !self.is_at_end();
        self.at += usize::from(found);
        found
    }

    /// A string whose opening quote is here.
    #[inline(always)]
    pub fn string(&mut self) -> Option<RawStr<'a>> {
        if !self.take(b'"') {
            return None;
        }
        self.string_rest()
    }

    /// The rest of a string whose opening quote was taken.
    #[inline(always)]
    pub fn string_rest(&mut self) -> Option<RawStr<'a>> {
        let from = self.at;
        let mut is_escaped = false;
        loop {
            let stop = quote_or_backslash(self.bytes, self.at)?;
            if self.bytes.get(stop) == Some(&b'"') {
                self.at = stop + 1;
                return Some(RawStr { text: self.bytes.get(from..stop)?, is_escaped });
            }
            is_escaped = true;
            self.at = stop + 2;
        }
    }

    /// A number, literal or bare word: up to the next delimiter.
    #[inline(always)]
    pub fn scalar(&mut self) -> Option<&'a [u8]> {
        let from = self.at;
        while let Some(&byte) = self.bytes.get(self.at) {
            if matches!(byte, b',' | b'}' | b']' | b':' | b'"' | b'{' | b'[') || byte <= b' ' {
                break;
            }
            self.at += 1;
        }
        if self.at == from { None } else { self.bytes.get(from..self.at) }
    }

    /// Moves over any value.
    #[inline]
    pub fn skip_value(&mut self) -> Option<()> {
        match self.peek() {
            b'"' => self.string().map(|_| ()),
            b'{' | b'[' => self.skip_nested(),
            _ => self.scalar().map(|_| ()),
        }
    }

    /// A string among keys and values: what follows it must be able to follow a string. An unescaped quote turns
    /// strings inside out, and is noticed here before it swallows the events that follow.
    #[inline(always)]
    fn string_in_structure(&mut self) -> Option<()> {
        self.string()?;
        let mut after = self.clone();
        after.skip_space();
        (after.is_at_end() || matches!(after.peek(), b':' | b',' | b'}' | b']')).then_some(())
    }

    /// Moves over the object or list that begins here.
    pub fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0u32;
        loop {
            let byte = *self.bytes.get(self.at)?;
            match byte {
                b'"' => {
                    self.string_in_structure()?;
                    continue;
                }
                b'{' | b'[' => {
                    depth += 1;
                    if depth > self.nesting {
                        self.is_too_deep = true;
                        return None;
                    }
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        self.at += 1;
                        return Some(());
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Moves to just after the `}` that closes the object whose inside is here, outside of any string.
    #[inline(always)]
    pub fn skip_object_rest(&mut self) -> Option<()> {
        if let Some(end) = flat_object_end(self.bytes, self.at) {
            self.at = end + 1;
            return Some(());
        }
        loop {
            match *self.bytes.get(self.at)? {
                b'"' => self.string_in_structure()?,
                b'{' | b'[' => self.skip_nested()?,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => self.at += 1,
            }
        }
    }

    /// A decimal number of microseconds, as a number or in quotes, to whole nanoseconds, exactly.
    pub fn micros_as_nanos(&mut self) -> Option<Nanos> {
        match self.quick_micros() {
            Some(nanos) => Some(Nanos::Value(nanos)),
            None => self.micros_slow(),
        }
    }

    /// The same for the common form; `None` sends the caller to [`micros_slow`](Self::micros_slow).
    #[inline(always)]
    pub fn quick_micros(&mut self) -> Option<i64> {
        let from = self.at;
        let mut whole = 0u64;
        let mut at = self.at;
        while let Some(digit) = self.bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit <= 9) {
            whole = whole.wrapping_mul(10).wrapping_add(u64::from(digit));
            at += 1;
        }
        // Up to 15 digits of microseconds fit in nanoseconds without a check; 16 digits are 1e16 µs = 1e19 ns.
        let digits = at - from;
        if digits == 0 || digits > 16 || (digits == 16 && whole > 9_000_000_000_000_000) {
            return None;
        }
        let mut nanos = whole * 1_000;
        if self.bytes.get(at) == Some(&b'.') {
            at += 1;
            let mut weight = 100u64;
            while let Some(digit) = self.bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit <= 9) {
                if weight == 0 {
                    return None;
                }
                nanos += u64::from(digit) * weight;
                weight /= 10;
                at += 1;
            }
        }
        // Anything but a delimiter means an exponent or something that is no number.
        if !matches!(self.bytes.get(at), None | Some(b',' | b'}' | b']' | 0..=b' ')) {
            return None;
        }
        self.at = at;
        Some(nanos as i64)
    }

    /// Any other form of the number: in quotes, negative, with an exponent or more decimals, or no number at all.
    #[cold]
    pub fn micros_slow(&mut self) -> Option<Nanos> {
        let text = match self.peek() {
            b'"' => self.string()?.text,
            b'{' | b'[' => {
                self.skip_nested()?;
                return Some(Nanos::Missing);
            }
            _ => self.scalar()?,
        };
        Some(decimal_micros_to_nanos(text))
    }

    /// An unsigned whole number, as a number or in quotes. `None` inside for anything else (which is skipped).
    #[inline(always)]
    pub fn unsigned(&mut self) -> Option<Option<u64>> {
        if self.peek() == b'"' {
            let text = self.string()?.text;
            return Some(parse_u64(text));
        }
        let from = self.at;
        let mut value = 0u64;
        while let Some(digit) = self.bytes.get(self.at).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit <= 9)
        {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
        let digits = self.at - from;
        if digits > 0 && digits < 19 && matches!(self.peek(), b',' | b'}' | b']' | 0..=b' ') {
            return Some(Some(value));
        }
        self.at = from;
        match self.peek() {
            b'{' | b'[' => {
                self.skip_nested()?;
                Some(None)
            }
            _ => Some(parse_u64(self.scalar()?)),
        }
    }
}

/// A whole number in decimal, or in hexadecimal after `0x`.
pub(crate) fn parse_u64(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Exact decimal arithmetic: optional sign, digits, fraction, exponent; microseconds to nanoseconds, half to even.
pub(crate) fn decimal_micros_to_nanos(text: &[u8]) -> Nanos {
    let (negative, body) = match text.first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    let lower = body.to_ascii_lowercase();
    if matches!(lower.as_slice(), b"nan" | b"inf" | b"infinity") {
        return Nanos::NotANumber;
    }
    let (mantissa, exponent) = match lower.iter().position(|&byte| byte == b'e') {
        Some(at) => {
            let exponent = lower.get(at + 1..).and_then(|text| std::str::from_utf8(text).ok());
            let exponent =
                exponent.map(|text| text.strip_prefix('+').unwrap_or(text)).and_then(|text| text.parse::<i64>().ok());
            match exponent {
                Some(exponent) => (lower.get(..at).unwrap_or_default(), exponent),
                None => return Nanos::Missing,
            }
        }
        None => (lower.as_slice(), 0),
    };
    let point = mantissa.iter().position(|&byte| byte == b'.').unwrap_or(mantissa.len());
    let digits: Vec<u8> = mantissa.iter().filter(|&&byte| byte != b'.').map(|byte| byte.wrapping_sub(b'0')).collect();
    if digits.is_empty() || digits.iter().any(|&digit| digit > 9) || mantissa.len() > digits.len() + 1 {
        return Nanos::Missing;
    }
    // The value is 0.d1d2d3… × 10^scale in nanoseconds.
    let scale = (point as i64).saturating_add(exponent).saturating_add(3);
    let leading = digits.iter().take_while(|&&digit| digit == 0).count();
    let scale = scale.saturating_sub(leading as i64);
    let digits = digits.get(leading..).unwrap_or_default();
    if digits.is_empty() {
        return Nanos::Value(0);
    }
    if scale > 19 {
        return Nanos::OutOfRange { negative };
    }
    if scale < 0 {
        return Nanos::Value(0);
    }
    let whole = scale as usize;
    let mut value: u128 = 0;
    for index in 0..whole {
        value = value * 10 + u128::from(digits.get(index).copied().unwrap_or(0));
    }
    let rest = digits.get(whole.min(digits.len())..).unwrap_or_default();
    let round_up = match rest.first() {
        Some(6..) => true,
        Some(5) => rest.iter().skip(1).any(|&digit| digit != 0) || value % 2 == 1,
        _ => false,
    };
    value += u128::from(round_up);
    match i64::try_from(value) {
        Ok(value) => Nanos::Value(if negative { -value } else { value }),
        Err(_) => Nanos::OutOfRange { negative },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, nanos: Nanos) {
        let mut cursor = Cursor::new(text.as_bytes(), 0);
        assert_eq!(cursor.micros_as_nanos(), Some(nanos), "{text}");
        assert!(cursor.is_at_end(), "{text}");
        assert_eq!(decimal_micros_to_nanos(text.trim_matches('"').as_bytes()), nanos, "{text}");
    }

    #[test]
    fn microseconds_become_exact_nanoseconds() {
        check("0", Nanos::Value(0));
        check("100", Nanos::Value(100_000));
        check("1712195495522265.474", Nanos::Value(1_712_195_495_522_265_474));
        check("4458676983543.183", Nanos::Value(4_458_676_983_543_183));
        check("1.5", Nanos::Value(1_500));
        check("0.0005", Nanos::Value(0));
        check("0.0015", Nanos::Value(2));
        check("0.0025", Nanos::Value(2));
        check("0.00250001", Nanos::Value(3));
        check("1.2345e3", Nanos::Value(1_234_500));
        check("12E-1", Nanos::Value(1_200));
        check("-3", Nanos::Value(-3_000));
        check("-0.001", Nanos::Value(-1));
        check("\"17\"", Nanos::Value(17_000));
        check("9223372036854775", Nanos::Value(9_223_372_036_854_775_000));
        check("9223372036854775.807", Nanos::Value(i64::MAX));
        check("9223372036854775.808", Nanos::OutOfRange { negative: false });
        check("1e300", Nanos::OutOfRange { negative: false });
        check("-1e300", Nanos::OutOfRange { negative: true });
        check("1e-300", Nanos::Value(0));
        check("NaN", Nanos::NotANumber);
        check("-Infinity", Nanos::NotANumber);
        check("null", Nanos::Missing);
        check("1.2.3", Nanos::Missing);
    }

    #[test]
    fn values_are_skipped_whole() {
        for text in [r#""a\"}""#, r#"{"a":[1,{"b":"]}"}]}"#, "12.5e3", "null", "[]", r#"{"k":"\\"}"#] {
            let mut cursor = Cursor::new(text.as_bytes(), 0);
            assert_eq!(cursor.skip_value(), Some(()), "{text}");
            assert!(cursor.is_at_end(), "{text}");
            assert_eq!(
                Cursor::new(&text.as_bytes()[..text.len() - 1], 0).skip_value().is_some(),
                text.ends_with(['3', 'l'])
            );
        }
        let deep = format!("{}{}", "[".repeat(513), "]".repeat(513));
        assert_eq!(Cursor::new(deep.as_bytes(), 0).skip_value(), Some(()));
        let mut limited = Cursor::new(deep.as_bytes(), 0).with_nesting(512);
        assert_eq!((limited.skip_value(), limited.is_too_deep), (None, true));
    }

    #[test]
    fn unsigned_numbers_come_in_all_forms() {
        let check = |text: &str, value| assert_eq!(Cursor::new(text.as_bytes(), 0).unsigned(), Some(value), "{text}");
        check("7,", Some(7));
        check("\"7\"", Some(7));
        check("\"0x1f\"", Some(31));
        check("18446744073709551615", Some(u64::MAX));
        check("10159970886766084423}", Some(10_159_970_886_766_084_423));
        check("-1,", None);
        check("1.5,", None);
        check("[1],", None);
    }
}
