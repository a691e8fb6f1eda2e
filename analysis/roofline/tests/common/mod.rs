//! What the tests on real traces share: where they are, and reading the tables of TraceLens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gapless_formats::{OpenOptions, Silent, open};
use gapless_trace::{ArgValue, Trace};

/// The folder of real traces, or `None` with a line that says so.
pub fn shared() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("GAPLESS_TRACES").map_or_else(default, PathBuf::from);
    if folder.join("expected/tracelens").is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no real traces at {}; set GAPLESS_TRACES", folder.display());
    None
}

/// The trace of a report (`h100/owlv2`).
pub fn trace(folder: &Path, report: &str) -> Trace {
    let file = match report {
        "mi300/resnet-act-checkpoint" => "mi300/resnet-act-checkpoint-ddp-rank0of8",
        report => report,
    };
    let path = folder.join("traces/tracelens").join(format!("{file}.json.gz"));
    open(&[path], &OpenOptions::default(), &Silent).unwrap()
}

/// Rows of a CSV file by column name; quoted fields may hold commas and doubled quotes.
#[allow(dead_code, reason = "not every test reads tables")]
pub fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<Vec<String>> = vec![vec![String::new()]];
    let mut letters = text.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        let field = lines.last_mut().unwrap().last_mut().unwrap();
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => lines.last_mut().unwrap().push(String::new()),
            '\r' if !quoted => {}
            '\n' if !quoted => lines.push(vec![String::new()]),
            letter => field.push(letter),
        }
    }
    lines.retain(|fields| fields.len() > 1);
    if lines.is_empty() {
        return Vec::new();
    }
    let header = lines.remove(0);
    lines.into_iter().map(|fields| header.iter().cloned().zip(fields).collect()).collect()
}

/// A Python literal of tuples, lists, dictionaries, texts and numbers.
#[allow(dead_code, reason = "not every test reads tables")]
pub fn literal(text: &str) -> ArgValue {
    let mut rest = text.trim();
    value(&mut rest)
}

fn value(rest: &mut &str) -> ArgValue {
    *rest = rest.trim_start();
    match rest.chars().next() {
        Some('(' | '[') => {
            *rest = &rest[1..];
            let mut items = Vec::new();
            loop {
                *rest = rest.trim_start_matches([' ', ',']);
                if rest.starts_with([')', ']']) || rest.is_empty() {
                    *rest = rest.get(1..).unwrap_or_default();
                    return ArgValue::List(items);
                }
                items.push(value(rest));
            }
        }
        Some('{') => {
            *rest = &rest[1..];
            let mut entries = Vec::new();
            loop {
                *rest = rest.trim_start_matches([' ', ',']);
                if rest.starts_with('}') || rest.is_empty() {
                    *rest = rest.get(1..).unwrap_or_default();
                    return ArgValue::Dict(entries);
                }
                let key = value(rest).to_string();
                *rest = rest.trim_start_matches([' ', ':']);
                entries.push((key, value(rest)));
            }
        }
        Some(quote @ ('\'' | '"')) => {
            let (inside, after) = rest[1..].split_once(quote).unwrap();
            *rest = after;
            ArgValue::Text(inside.to_owned())
        }
        _ => {
            let end = rest.find([',', ')', ']', '}', ' ']).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            *rest = after;
            word.parse().map_or_else(|_| ArgValue::Text(word.to_owned()), ArgValue::Int)
        }
    }
}
