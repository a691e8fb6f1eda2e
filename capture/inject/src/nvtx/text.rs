//! Strings as NVTX hands them over.

use std::ffi::{CStr, c_char};

use gapless_ring::layout::MAX_STRING_BYTES;

/// Most characters read of a wide string, so that one without an end does no harm.
const MAX_WIDE: usize = MAX_STRING_BYTES;

/// The bytes of a C string; none for null.
///
/// # Safety
/// `text` is null or a NUL-terminated string that lives as long as the answer is used.
#[inline(always)]
pub(crate) unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: by this function's own contract.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

/// A wide string (UTF-32 on Linux) as UTF-8; what is no character becomes U+FFFD.
///
/// # Safety
/// `text` is null or a NUL-terminated wide string.
pub(crate) unsafe fn wide(text: *const libc::wchar_t) -> String {
    let mut out = String::new();
    if text.is_null() {
        return out;
    }
    for index in 0..MAX_WIDE {
        // SAFETY: no zero was met before `index`, so the string goes on at least to here.
        let unit = unsafe { text.add(index).read_unaligned() } as u32;
        if unit == 0 {
            break;
        }
        out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    out
}

/// A name without what makes it different in each call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut<'a> {
    /// What comes before.
    pub name: &'a [u8],
    /// `, seq = N`.
    pub sequence: Option<i64>,
    /// `, op_id = N`.
    pub op_id: Option<u64>,
    /// `, sizes = [..]`.
    pub sizes: Option<&'a [u8]>,
    /// `, input_op_ids = [..]`.
    pub inputs: Option<&'a [u8]>,
}

impl Cut<'_> {
    /// Whether anything was cut off.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.sequence.is_some() || self.op_id.is_some() || self.sizes.is_some() || self.inputs.is_some()
    }
}

/// Takes apart the messages of PyTorch's `emit_nvtx`, as `getNvtxStr` of torch/csrc/profiler/util.cpp makes them:
/// `aten::add, seq = 0, op_id = 17, sizes = [[2, 3], []], input_op_ids = [(3,0)]`, each part optional.
#[inline]
pub(crate) fn cut(message: &[u8]) -> Cut<'_> {
    match message.last() {
        Some(b'0'..=b'9' | b']') => cut_parts(message),
        _ => Cut { name: message, ..Cut::default() },
    }
}

fn cut_parts(message: &[u8]) -> Cut<'_> {
    let mut cut = Cut { name: message, ..Cut::default() };
    // From the end, so that a comma inside a name stays in the name.
    if message.ends_with(b"]") {
        if let Some((before, text)) = split_last(cut.name, b", input_op_ids = ") {
            (cut.name, cut.inputs) = (before, Some(text));
        }
        if let Some((before, text)) = split_last(cut.name, b", sizes = ") {
            (cut.name, cut.sizes) = (before, Some(text));
        }
    }
    if let Some((before, number)) = split_number(cut.name, b", op_id = ") {
        (cut.name, cut.op_id) = (before, Some(number));
    }
    if let Some((before, number)) = split_number(cut.name, b", seq = ") {
        (cut.name, cut.sequence) = (before, i64::try_from(number).ok());
    }
    cut
}

fn split_last<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(mark.len()).rposition(|window| window == mark)?;
    Some((text.get(..at)?, text.get(at + mark.len()..)?))
}

/// What comes before `mark` and the number that ends the text.
fn split_number<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], u64)> {
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (stem, number) = text.split_at_checked(text.len() - digits)?;
    let before = stem.strip_suffix(mark)?;
    Some((before, std::str::from_utf8(number).ok()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emit_nvtx_messages_come_apart() {
        let cut = cut(b"aten::add, seq = 12, op_id = 17, sizes = [[2, 3], []], input_op_ids = [(3,0)]");
        assert_eq!(cut.name, b"aten::add");
        assert_eq!((cut.sequence, cut.op_id), (Some(12), Some(17)));
        assert_eq!(cut.sizes, Some(&b"[[2, 3], []]"[..]));
        assert_eq!(cut.inputs, Some(&b"[(3,0)]"[..]));
    }

    #[test]
    fn other_names_stay_whole() {
        for name in ["", "layer 3", "a, b", "AddmmBackward0", ", seq = x1", "x, seq = 1 of 3", "x[3]"] {
            let cut = cut(name.as_bytes());
            assert_eq!((cut.name, cut.any()), (name.as_bytes(), false), "{name}");
        }
        assert_eq!(cut(b"f, g, seq = 3").name, b"f, g");
        assert_eq!(cut(b"torch::f, op_id = 3").op_id, Some(3));
    }

    #[test]
    fn wide_strings_become_utf8() {
        let text: Vec<libc::wchar_t> = [0x41, 0xe4, 0x4e2d, 0x1f600, 0xd800, 0].into_iter().collect();
        // SAFETY: the text ends with zero.
        assert_eq!(unsafe { wide(text.as_ptr()) }, "A\u{e4}\u{4e2d}\u{1f600}\u{fffd}");
        // SAFETY: null is allowed.
        assert_eq!(unsafe { wide(std::ptr::null()) }, "");
    }
}
