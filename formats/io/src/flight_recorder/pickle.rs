//! Python's pickle, for plain data only, of protocols 0 to 5: the pickle machine without the opcodes that import,
//! call or build anything. A pickle that asks for those is refused; nothing of it is ever run.
//!
//! Opcodes and their arguments are those of Python's `pickletools`. Every opcode adds at most one value, so that
//! values are bounded by the length of the file, and by [`MOST_VALUES`] beyond.

use std::sync::Arc;

use gapless_trace::{SourceId, WarningKind, Warnings};
use rustc_hash::FxHashMap;

use super::graph::{Graph, Id, Value};
use crate::error::Refused;
use crate::limits::Limits;
use crate::mapped::Bytes;

/// Most values, memo places and open marks: enough for a recorder of a hundred thousand calls.
const MOST_VALUES: usize = 3 << 20;

/// What a pickle holds.
pub(crate) struct Pickle {
    pub graph: Graph,
    /// The value that the pickle is.
    pub root: Id,
    /// Dictionaries that the end of the file cut.
    pub partial: Vec<Id>,
}

/// Whether `head` begins like a pickle of protocol 2 or above.
///
/// The third byte tells it from a length-delimited protobuf stream, which may begin with the same two.
pub(crate) fn sniff(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, opcode, ..] if b"}](cXK\x8cN\x95\x88\x89JM)\x8aG\x8fBC\x8eU\x8d".contains(opcode))
}

/// Reads the pickle in `bytes`.
///
/// A pickle that breaks off gives what it holds up to there.
///
/// # Errors
/// When it asks to run something, is no pickle, or goes beyond a limit.
pub(crate) fn parse(bytes: &Arc<Bytes>, limits: &Limits, warnings: &mut Warnings) -> Result<Pickle, Refused> {
    let mut machine = Machine {
        bytes,
        at: 0,
        graph: Graph::new(Arc::clone(bytes)),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: FxHashMap::default(),
        longest: limits.string_bytes,
        warnings,
    };
    // Shared by all uses.
    machine.graph.values.extend([Value::None, Value::Bool(false), Value::Bool(true)]);
    loop {
        let from = machine.at;
        match machine.step() {
            Ok(false) => {}
            Ok(true) => {
                let root = machine.stack.last().copied().unwrap_or(NONE);
                return Ok(Pickle { graph: machine.graph, root, partial: Vec::new() });
            }
            Err(Stop::Refused(refused)) => return Err(refused),
            Err(Stop::Cut) => {
                machine.warnings.add(WarningKind::Truncated, SourceId(0), Some(from as u64), "");
                let partial = machine.collapse();
                let root = machine.stack.first().copied();
                let root = root.ok_or_else(|| Refused::format(0, "the pickle is empty: it ends before any value"))?;
                return Ok(Pickle { graph: machine.graph, root, partial });
            }
        }
    }
}

const NONE: Id = 0;
const FALSE: Id = 1;
const TRUE: Id = 2;

enum Stop {
    /// The file ends.
    Cut,
    Refused(Refused),
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    graph: Graph,
    stack: Vec<Id>,
    /// Lengths of the stack at open marks.
    marks: Vec<u32>,
    memo: FxHashMap<u32, Id>,
    longest: usize,
    warnings: &'a mut Warnings,
}

type Step<T> = Result<T, Stop>;

impl<'a> Machine<'a> {
    /// Takes one opcode; true at the end of the pickle.
    fn step(&mut self) -> Step<bool> {
        let from = self.at;
        let opcode = *self.take(1)?.first().ok_or(Stop::Cut)?;
        match opcode {
            b'.' => {
                return if self.stack.is_empty() {
                    Err(self.broken(from, "it ends without a value"))
                } else {
                    Ok(true)
                };
            }
            // PROTO and FRAME: the content does not depend on them.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => {
                self.bound(self.marks.len(), from)?;
                self.marks.push(self.stack.len() as u32);
            }
            b'0' => {
                if self.stack.len() > self.floor() {
                    self.stack.pop();
                } else if self.marks.pop().is_none() {
                    return Err(self.underflow(from));
                }
            }
            b'1' => drop(self.pop_mark(from)?),
            b'2' => {
                let top = self.top(from)?;
                self.stack.push(top);
            }
            b'N' => self.stack.push(NONE),
            0x88 => self.stack.push(TRUE),
            0x89 => self.stack.push(FALSE),
            b'K' | b'M' | b'J' | b'I' | b'L' | 0x8A | 0x8B | b'G' | b'F' => self.number(opcode, from)?,
            b'X' | 0x8C | 0x8D | b'V' | b'U' | b'T' | b'S' => self.text(opcode, from)?,
            b'C' | b'B' | 0x8E | 0x96 => {
                let width = match opcode {
                    b'C' => 1,
                    b'B' => 4,
                    _ => 8,
                };
                let (_, len) = self.sized(width, from)?;
                self.push(Value::Bytes(len), from)?;
            }
            b']' | b')' | b'}' | 0x8F | b'a' | b'e' | b'l' | b't' | 0x85..=0x87 | b's' | b'u' | b'd' | 0x90 | 0x91 => {
                self.container(opcode, from)?;
            }
            b'g' | b'h' | b'j' | b'p' | b'q' | b'r' | 0x94 => self.memo(opcode, from)?,
            _ => return Err(self.refused(opcode, from)),
        }
        Ok(false)
    }

    fn number(&mut self, opcode: u8, from: usize) -> Step<()> {
        let value = match opcode {
            b'K' => Value::Int(self.unsigned(1)? as i64),
            b'M' => Value::Int(self.unsigned(2)? as i64),
            b'J' => Value::Int(i64::from(self.unsigned(4)? as u32 as i32)),
            b'G' => {
                let bytes = self.take(8)?.first_chunk::<8>().ok_or(Stop::Cut)?;
                Value::Float(f64::from_be_bytes(*bytes))
            }
            0x8A | 0x8B => {
                let (at, len) = self.sized(if opcode == 0x8A { 1 } else { 4 }, from)?;
                self.long(at, len)
            }
            _ => {
                let line = self.line()?;
                let text = std::str::from_utf8(line).unwrap_or_default().trim();
                match (opcode, text) {
                    (b'I', "01") => Value::Bool(true),
                    (b'I', "00") => Value::Bool(false),
                    (b'F', _) => match text.parse() {
                        Ok(value) => Value::Float(value),
                        Err(_) => return Err(self.broken(from, "a number is none")),
                    },
                    _ => {
                        let digits = text.trim_end_matches('L');
                        match (digits.parse::<i64>(), digits.parse::<u64>()) {
                            (Ok(value), _) => Value::Int(value),
                            (_, Ok(value)) => Value::UInt(value),
                            // A number that is too large for either is kept as it is written.
                            _ if digits.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()) => {
                                Value::Owned(digits.into())
                            }
                            _ => return Err(self.broken(from, "a number is none")),
                        }
                    }
                }
            }
        };
        self.push(value, from)
    }

    /// A whole number in two's complement, little-endian.
    fn long(&self, at: u64, len: u64) -> Value {
        let bytes = self.bytes.get(at as usize..(at + len) as usize).unwrap_or_default();
        let negative = bytes.last().is_some_and(|&byte| byte & 0x80 != 0);
        let fill = if negative { 0xFF } else { 0 };
        let mut word = [fill; 16];
        let significant = bytes.len() - bytes.iter().rev().take_while(|&&byte| byte == fill).count();
        if significant > word.len() {
            return Value::Owned(format!("a number of {len} bytes").into());
        }
        for (place, &byte) in word.iter_mut().zip(bytes) {
            *place = byte;
        }
        let value = i128::from_le_bytes(word);
        match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => Value::Int(value),
            (_, Ok(value)) => Value::UInt(value),
            _ => Value::Owned(value.to_string().into()),
        }
    }

    fn text(&mut self, opcode: u8, from: usize) -> Step<()> {
        let value = match opcode {
            // Texts of protocol 0 are Latin-1, with escapes for the rest.
            b'V' | b'S' => {
                let line = self.line()?;
                let inside = if opcode == b'S' { unquoted(line) } else { Some(line) };
                let inside = inside.ok_or_else(|| self.broken(from, "a text has no quotes"))?;
                let text: String = inside.iter().map(|&byte| char::from(byte)).collect();
                Value::Owned(unescaped(&text, opcode == b'V').into())
            }
            _ => {
                let width = match opcode {
                    0x8C | b'U' => 1,
                    0x8D => 8,
                    _ => 4,
                };
                let (at, len) = self.sized(width, from)?;
                let bytes = self.bytes.get(at as usize..(at + len) as usize).unwrap_or_default();
                match std::str::from_utf8(bytes) {
                    Ok(_) => Value::Text(at, len),
                    Err(_) => Value::Owned(self.repaired(bytes, from).into()),
                }
            }
        };
        self.push(value, from)
    }

    fn repaired(&mut self, bytes: &[u8], from: usize) -> String {
        self.warnings.add(WarningKind::InvalidUtf8, SourceId(0), Some(from as u64), "");
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn container(&mut self, opcode: u8, from: usize) -> Step<()> {
        match opcode {
            b']' | b')' | 0x8F => self.push(Value::List(Vec::new()), from),
            b'}' => self.push(Value::Dict(Vec::new()), from),
            b't' | b'l' | 0x91 => {
                let items = self.pop_mark(from)?;
                self.push(Value::List(items), from)
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84), from)?;
                self.push(Value::List(items), from)
            }
            b'd' => {
                let items = self.pop_mark(from)?;
                self.push(Value::Dict(pairs(&items)), from)
            }
            b'a' | b'e' | 0x90 => {
                let items = if opcode == b'a' { self.pop_many(1, from)? } else { self.pop_mark(from)? };
                let target = self.top(from)?;
                match self.graph.values.get_mut(target as usize) {
                    Some(Value::List(list)) => list.extend(items),
                    _ => return Err(self.broken(from, "items are added to what is no list")),
                }
                Ok(())
            }
            _ => {
                let items = if opcode == b's' { self.pop_many(2, from)? } else { self.pop_mark(from)? };
                let target = self.top(from)?;
                match self.graph.values.get_mut(target as usize) {
                    Some(Value::Dict(dict)) => dict.extend(pairs(&items)),
                    _ => return Err(self.broken(from, "entries are added to what is no dictionary")),
                }
                Ok(())
            }
        }
    }

    fn memo(&mut self, opcode: u8, from: usize) -> Step<()> {
        let place = match opcode {
            0x94 => self.memo.len() as u32,
            b'h' | b'q' => self.unsigned(1)? as u32,
            b'j' | b'r' => self.unsigned(4)? as u32,
            _ => {
                let line = self.line()?;
                let number = std::str::from_utf8(line).ok().and_then(|text| text.trim().parse().ok());
                number.ok_or_else(|| self.broken(from, "a place in the memo is no number"))?
            }
        };
        if matches!(opcode, b'g' | b'h' | b'j') {
            let value = self.memo.get(&place).copied();
            let value = value.ok_or_else(|| self.broken(from, "it refers to a value that it never kept"))?;
            self.stack.push(value);
        } else {
            self.bound(self.memo.len(), from)?;
            let top = self.top(from)?;
            self.memo.insert(place, top);
        }
        Ok(())
    }

    /// Closes all that is open, innermost first; gives the dictionaries among it.
    fn collapse(&mut self) -> Vec<Id> {
        let mut partial = Vec::new();
        while let Some(mark) = self.marks.pop() {
            let items = self.stack.split_off((mark as usize).min(self.stack.len()));
            let Some(&target) = self.stack.last() else {
                // The outermost mark has nothing under it: what lies above is the value.
                self.stack = items;
                break;
            };
            match self.graph.values.get_mut(target as usize) {
                Some(Value::List(list)) => list.extend(items),
                Some(Value::Dict(dict)) => {
                    dict.extend(pairs(&items));
                    partial.push(target);
                }
                _ => {}
            }
        }
        // An entry that is set without a mark stands above its dictionary.
        if let &[target, key, value, ..] = self.stack.as_slice()
            && let Some(Value::Dict(dict)) = self.graph.values.get_mut(target as usize)
        {
            dict.push((key, value));
        }
        partial
    }

    fn take(&mut self, len: usize) -> Step<&'a [u8]> {
        let bytes: &'a [u8] = self.bytes;
        let end = self.at.checked_add(len).ok_or(Stop::Cut)?;
        let taken = bytes.get(self.at..end).ok_or(Stop::Cut)?;
        self.at = end;
        Ok(taken)
    }

    fn line(&mut self) -> Step<&'a [u8]> {
        let bytes: &'a [u8] = self.bytes;
        let rest = bytes.get(self.at..).ok_or(Stop::Cut)?;
        let end = memchr::memchr(b'\n', rest).ok_or(Stop::Cut)?;
        self.at += end + 1;
        rest.get(..end).ok_or(Stop::Cut)
    }

    fn unsigned(&mut self, width: usize) -> Step<u64> {
        Ok(self.take(width)?.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    /// The place of bytes behind their length, which has `width` bytes.
    fn sized(&mut self, width: usize, from: usize) -> Step<(u64, u64)> {
        let len = self.unsigned(width)?;
        let at = self.at as u64;
        self.take(usize::try_from(len).map_err(|_| Stop::Cut)?)?;
        if len > self.longest as u64 {
            return Err(Stop::Refused(Refused::Limit {
                what: format!("a string of {len} bytes at byte {from}"),
                limit: format!("{} bytes", self.longest),
                flag: format!("string={len}"),
            }));
        }
        Ok((at, len))
    }

    fn push(&mut self, value: Value, from: usize) -> Step<()> {
        self.bound(self.graph.values.len(), from)?;
        self.stack.push(self.graph.values.len() as Id);
        self.graph.values.push(value);
        Ok(())
    }

    fn bound(&self, count: usize, from: usize) -> Step<()> {
        if count < MOST_VALUES {
            return Ok(());
        }
        Err(self.broken(from, &format!("it holds more than {MOST_VALUES} values; no flight recorder keeps as many")))
    }

    /// Where the stack of the innermost mark begins.
    fn floor(&self) -> usize {
        self.marks.last().map_or(0, |&mark| mark as usize)
    }

    fn top(&self, from: usize) -> Step<Id> {
        let above = self.stack.get(self.floor()..).unwrap_or_default();
        above.last().copied().ok_or_else(|| self.underflow(from))
    }

    fn pop_many(&mut self, count: usize, from: usize) -> Step<Vec<Id>> {
        let left = self.stack.len().checked_sub(count).filter(|&left| left >= self.floor());
        Ok(self.stack.split_off(left.ok_or_else(|| self.underflow(from))?))
    }

    fn pop_mark(&mut self, from: usize) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| self.underflow(from))? as usize;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn underflow(&self, from: usize) -> Stop {
        self.broken(from, "it takes a value that is not there")
    }

    fn broken(&self, from: usize, reason: &str) -> Stop {
        Stop::Refused(Refused::format(from as u64, format!("the pickle is damaged: {reason}")))
    }

    /// Opcodes that import, call or build, and bytes that are none.
    fn refused(&mut self, opcode: u8, from: usize) -> Stop {
        let name = match opcode {
            b'c' => "GLOBAL",
            0x93 => "STACK_GLOBAL",
            b'R' => "REDUCE",
            b'b' => "BUILD",
            b'i' => "INST",
            b'o' => "OBJ",
            0x81 => "NEWOBJ",
            0x92 => "NEWOBJ_EX",
            0x82..=0x84 => "EXT",
            b'P' | b'Q' => "PERSID",
            0x97 | 0x98 => "an outside buffer",
            _ => return self.broken(from, &format!("byte {opcode:#04x} is no opcode")),
        };
        let mut what = name.to_owned();
        if matches!(opcode, b'c' | b'i')
            && let (Ok(module), Ok(function)) = (self.line(), self.line())
        {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..64).unwrap_or(bytes)).into_owned();
            what = format!("{name} {}.{}", text(module), text(function));
        }
        let reason = format!(
            "the pickle asks to run code ({what}); Gapless runs nothing that a file contains, and a dump of the \
             flight recorder needs none: do not load this file with Python either"
        );
        Stop::Refused(Refused::format(from as u64, reason))
    }
}

fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    items.as_chunks::<2>().0.iter().map(|&[key, value]| (key, value)).collect()
}

/// The inside of a text in single or double quotes.
fn unquoted(line: &[u8]) -> Option<&[u8]> {
    match line.trim_ascii() {
        [b'\'', inside @ .., b'\''] | [b'"', inside @ .., b'"'] => Some(inside),
        _ => None,
    }
}

/// Resolves the escapes of Python's text forms; what is no escape stays. Raw texts have those of characters only.
fn unescaped(text: &str, is_raw: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        let Some(kind) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        let after = rest.get(kind.len_utf8()..).unwrap_or_default();
        let digits = match kind {
            'x' if !is_raw => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let code = after.get(..digits).filter(|_| digits > 0).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        rest = after;
        match (kind, code) {
            (_, Some(code)) => {
                out.push(char::from_u32(code).unwrap_or('\u{FFFD}'));
                rest = after.get(digits..).unwrap_or_default();
            }
            ('n', _) if !is_raw => out.push('\n'),
            ('t', _) if !is_raw => out.push('\t'),
            ('r', _) if !is_raw => out.push('\r'),
            ('\\' | '\'' | '"', _) if !is_raw => out.push(kind),
            _ => {
                out.push('\\');
                out.push(kind);
            }
        }
    }
    out.push_str(rest);
    out
}
