//! Arguments of samples, parsed from their line when somebody asks.

use std::sync::Arc;

use gapless_trace::{ArgValue, Args, ArgsError, ArgsLoc, ArgsSource};

use super::line::{sample_line, stack_line};
use crate::mapped::Bytes;

/// A text of `perf script`; a location is the first line of a sample, or fields of a tracepoint within it.
#[derive(Debug)]
pub(super) struct ScriptArgs {
    text: Arc<Bytes>,
}

impl ScriptArgs {
    pub fn new(text: Arc<Bytes>) -> Self {
        Self { text }
    }
}

impl ArgsSource for ScriptArgs {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        let unreadable = || ArgsError::Unreadable { offset: loc.offset(), reason: "the file is shorter".to_owned() };
        let from = usize::try_from(loc.offset()).map_err(|_| unreadable())?;
        let text = self.text.get(from..from + loc.len()).ok_or_else(unreadable)?;
        Ok(match sample_line(text) {
            Some(line) => {
                let mut args = Args::new();
                args.extend(line.cpu.map(|cpu| ("cpu".to_owned(), ArgValue::Int(cpu))));
                args.extend(line.period.map(|period| ("period".to_owned(), ArgValue::UInt(period))));
                if stack_line(line.rest).is_none_or(|stack| stack.module.is_empty()) && !line.rest.is_empty() {
                    let fields = fields(line.rest);
                    match fields.is_empty() {
                        true => args.push(("fields".to_owned(), text_of(line.rest))),
                        false => args.extend(fields),
                    }
                }
                args
            }
            None => fields(text),
        })
    }
}

fn text_of(text: &[u8]) -> ArgValue {
    ArgValue::Text(String::from_utf8_lossy(text).into_owned())
}

/// `a=1 name=two words b=0x3`: a value lasts until the next word with an equals sign.
fn fields(text: &[u8]) -> Args {
    let mut args: Vec<(String, String)> = Vec::new();
    for word in text.split(|&byte| byte == b' ').filter(|word| !word.is_empty() && *word != b"==>") {
        let word = String::from_utf8_lossy(word);
        match (word.split_once('='), args.last_mut()) {
            (Some((key, value)), _) if !key.is_empty() => args.push((key.to_owned(), value.to_owned())),
            (_, Some(last)) => {
                last.1.push(' ');
                last.1.push_str(&word);
            }
            (_, None) => {}
        }
    }
    let value = |text: String| match text.parse() {
        Ok(number) => ArgValue::Int(number),
        Err(_) => ArgValue::Text(text),
    };
    args.into_iter().map(|(key, text)| (key, value(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_tracepoint_may_hold_spaces() {
        let text = |value: &str| ArgValue::Text(value.to_owned());
        let got = fields(b"prev_comm=my app prev_pid=7 prev_state=R+ ==> next_comm=b count: 0x3");
        let expected = [
            ("prev_comm", text("my app")),
            ("prev_pid", ArgValue::Int(7)),
            ("prev_state", text("R+")),
            ("next_comm", text("b count: 0x3")),
        ];
        assert_eq!(got, expected.map(|(key, value)| (key.to_owned(), value)));
        assert!(fields(b"fd: 3").is_empty());
    }
}
