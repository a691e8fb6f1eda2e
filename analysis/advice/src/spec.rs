//! Edits as text: `prefetch-input`, `link.nvlink=2x`, `scale(class=gemm)=0.5x`, `cuda-graph(min-launches=20)`.
//!
//! ```text
//! edit     = name [ "(" argument { "," argument } ")" ] [ "=" value ]
//! argument = term of a selector | parameter "=" value
//! value    = "2x" | "0.5x" | "50%" | number | word
//! ```
//!
//! A file of edits is TOML: `edits = ["prefetch-input", "link.nvlink=2x"]`, or a table for each:
//!
//! ```toml
//! name = "Faster input and links"
//! [[edit]]
//! do = "scale"
//! where = "class=gemm,rank=3"
//! by = "0.5x"
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::edits::{Transformation, transformation, transformations};
use crate::select::{Selector, SelectorError};

/// What is wrong with an edit or a file of edits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No transformation of this name.
    #[error("there is no edit `{name}`; {hint}")]
    UnknownEdit {
        /// The name.
        name: String,
        /// A name that is near, or where the list is.
        hint: String,
    },
    /// The transformation has no such parameter.
    #[error("`{edit}` has no parameter `{parameter}`; it has {known}")]
    UnknownParameter {
        /// Name of the edit.
        edit: &'static str,
        /// The parameter.
        parameter: String,
        /// Those that it has.
        known: String,
    },
    /// A value that cannot be read.
    #[error("`{value}` is no value for `{parameter}`: {expected}")]
    BadValue {
        /// The parameter, or the edit itself.
        parameter: String,
        /// What was given.
        value: String,
        /// What is expected.
        expected: String,
    },
    /// A selector that cannot be read.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// Brackets that do not match, or nothing before them.
    #[error("`{0}` is no edit: write NAME, NAME=VALUE or NAME(ARGUMENT, …)=VALUE")]
    Syntax(String),
    /// A file that is not the TOML that is expected.
    #[error("not a file of edits: {0}")]
    File(String),
}

/// One edit: a transformation with its selector and parameters.
#[derive(Clone, Debug)]
pub struct Edit {
    transformation: &'static dyn Transformation,
    part: Option<String>,
    selector: Selector,
    values: BTreeMap<String, String>,
    value: Option<String>,
    text: String,
}

impl PartialEq for Edit {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Edit {
    /// From text, as on the command line.
    ///
    /// # Errors
    /// [`SpecError`] with what to write instead.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let text = text.trim();
        let syntax = || SpecError::Syntax(text.to_owned());
        let (head, arguments, value) = match text.find('(') {
            // `name=value` may hold a bracket only after the sign.
            Some(open) if text.get(..open).is_some_and(|head| !head.contains('=')) => {
                let close = text.rfind(')').filter(|&close| close > open).ok_or_else(syntax)?;
                let rest = text.get(close + 1..).unwrap_or_default().trim();
                let value = match rest.strip_prefix('=') {
                    Some(value) => Some(value.trim()),
                    None if rest.is_empty() => None,
                    None => return Err(syntax()),
                };
                (text.get(..open).unwrap_or_default(), text.get(open + 1..close).unwrap_or_default(), value)
            }
            _ => match text.split_once('=') {
                Some((head, value)) => (head, "", Some(value.trim())),
                None => (text, "", None),
            },
        };
        let arguments = split_arguments(arguments);
        Self::of(head.trim(), &arguments, value, text)
    }

    fn of(head: &str, arguments: &[&str], value: Option<&str>, text: &str) -> Result<Self, SpecError> {
        if head.is_empty() || head.contains([')', '(']) {
            return Err(SpecError::Syntax(text.to_owned()));
        }
        let (name, part) = head.split_once('.').map_or((head, None), |(name, part)| (name, Some(part.to_owned())));
        let transformation = transformation(name).ok_or_else(|| unknown(name))?;
        if let Some(part) = &part
            && !transformation.parts().contains(&part.as_str())
        {
            return Err(SpecError::UnknownParameter {
                edit: transformation.id(),
                parameter: part.clone(),
                known: list(transformation.parts()),
            });
        }
        let mut terms = Vec::new();
        let mut values = BTreeMap::new();
        for argument in arguments {
            let (key, given) = argument.split_once('=').unwrap_or((argument, ""));
            if transformation.parameters().iter().any(|parameter| parameter.name == key.trim()) {
                values.insert(key.trim().to_owned(), given.trim().to_owned());
            } else if Selector::is_term(argument) {
                terms.push(*argument);
            } else {
                let known: Vec<&str> = transformation.parameters().iter().map(|parameter| parameter.name).collect();
                return Err(SpecError::UnknownParameter {
                    edit: transformation.id(),
                    parameter: key.trim().to_owned(),
                    known: format!(
                        "{} and terms of a selector (class=, kernel~, op=, comm=, rank=, step=)",
                        list(&known)
                    ),
                });
            }
        }
        let edit = Self {
            transformation,
            part,
            selector: Selector::parse(terms)?,
            values,
            value: value.map(str::to_owned),
            text: text.to_owned(),
        };
        transformation.check(&edit)?;
        Ok(edit)
    }

    /// All edits of a TOML file's text, in their order, and the file's name for them.
    ///
    /// # Errors
    /// When it is no such file, or an edit in it cannot be read.
    pub fn parse_file(text: &str) -> Result<(Option<String>, Vec<Self>), SpecError> {
        let file: EditFile = toml::from_str(text).map_err(|error| SpecError::File(error.to_string()))?;
        let mut edits = Vec::new();
        for line in &file.edits {
            edits.push(Self::parse(line)?);
        }
        for table in &file.edit {
            let Some(name) = table.get("do").and_then(toml::Value::as_str) else {
                return Err(SpecError::File("each [[edit]] needs do = \"NAME\"".to_owned()));
            };
            let as_text = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let mut arguments: Vec<String> = Vec::new();
            let mut value = None;
            for (key, given) in table {
                match key.as_str() {
                    "do" => {}
                    "by" | "to" | "value" => value = Some(as_text(given)),
                    "where" => arguments.extend(split_arguments(&as_text(given)).into_iter().map(str::to_owned)),
                    key => arguments.push(format!("{key}={}", as_text(given))),
                }
            }
            let mut line = name.to_owned();
            if !arguments.is_empty() {
                line.push_str(&format!("({})", arguments.join(",")));
            }
            if let Some(value) = value {
                line.push_str(&format!("={value}"));
            }
            edits.push(Self::parse(&line)?);
        }
        if edits.is_empty() {
            return Err(SpecError::File("it has no edits; write edits = [\"prefetch-input\"]".to_owned()));
        }
        Ok((file.name, edits))
    }

    /// What it does.
    #[must_use]
    pub fn transformation(&self) -> &'static dyn Transformation {
        self.transformation
    }

    /// What stands behind the dot of its name: `nvlink` of `link.nvlink`.
    #[must_use]
    pub fn part(&self) -> Option<&str> {
        self.part.as_deref()
    }

    /// What it touches.
    #[must_use]
    pub const fn selector(&self) -> &Selector {
        &self.selector
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value behind `=`, if any.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// The value of a parameter as text.
    #[must_use]
    pub fn word(&self, parameter: &str) -> Option<&str> {
        self.values.get(parameter).map(String::as_str)
    }

    /// The value behind `=` as a factor: `2x`, `0.5x`, `50%`, `2`.
    ///
    /// # Errors
    /// When there is none, or it is no positive number.
    pub fn factor(&self) -> Result<f64, SpecError> {
        let value = self.value.as_deref().unwrap_or_default();
        parse_factor(value).filter(|&factor| factor >= 0.0 && factor.is_finite()).ok_or_else(|| SpecError::BadValue {
            parameter: self.transformation.id().to_owned(),
            value: value.to_owned(),
            expected: "a factor such as 2x, 0.5x or 50%".to_owned(),
        })
    }

    /// A parameter as a number or factor.
    ///
    /// # Errors
    /// When it is given and no number.
    pub fn number(&self, parameter: &str) -> Result<Option<f64>, SpecError> {
        let Some(value) = self.values.get(parameter) else { return Ok(None) };
        let number = parse_factor(value).filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| SpecError::BadValue {
            parameter: parameter.to_owned(),
            value: value.clone(),
            expected: "a number".to_owned(),
        })
    }

    /// A parameter as a number, or what it is without.
    #[must_use]
    pub fn number_or(&self, parameter: &str, default: f64) -> f64 {
        self.number(parameter).ok().flatten().unwrap_or(default)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EditFile {
    name: Option<String>,
    #[serde(default)]
    edits: Vec<String>,
    #[serde(default)]
    edit: Vec<toml::Table>,
}

fn list(words: &[&str]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// At commas that are not within brackets or braces: regular expressions may hold them.
fn split_arguments(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut depth, mut begun) = (0_i32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth <= 0 => {
                found.push(text.get(begun..at).unwrap_or_default().trim());
                begun = at + 1;
            }
            _ => {}
        }
    }
    found.push(text.get(begun..).unwrap_or_default().trim());
    found.retain(|argument| !argument.is_empty());
    found
}

fn parse_factor(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Some(percent) = text.strip_suffix('%') {
        return percent.trim().parse::<f64>().ok().map(|percent| percent / 100.0);
    }
    text.strip_suffix(['x', '×']).unwrap_or(text).trim().parse().ok()
}

fn unknown(name: &str) -> SpecError {
    let near = transformations().iter().map(|known| (distance(name, known.id()), known.id())).min();
    let hint = match near {
        Some((distance, id)) if distance <= name.len().max(id.len()) / 2 => format!("did you mean `{id}`?"),
        _ => "`gapless whatif --list` shows all".to_owned(),
    };
    SpecError::UnknownEdit { name: name.to_owned(), hint }
}

/// Levenshtein's distance, in letters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut corner = i;
        let mut last = i + 1;
        if let Some(first) = row.first_mut() {
            *first = last;
        }
        for (j, right) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default();
            last = (corner + usize::from(left != *right)).min(above + 1).min(last + 1);
            corner = above;
            if let Some(slot) = row.get_mut(j + 1) {
                *slot = last;
            }
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_read_as_they_are_written() {
        let edit = Edit::parse("scale(class=gemm, kernel~a{1,2}b)=50%").expect("an edit");
        assert_eq!(edit.transformation().id(), "scale");
        assert_eq!(edit.selector().text(), "class=gemm,kernel~a{1,2}b");
        assert_eq!(edit.factor(), Ok(0.5));
        let edit = Edit::parse("link.nvlink=2x").expect("an edit");
        assert_eq!((edit.part(), edit.factor()), (Some("nvlink"), Ok(2.0)));
        let edit = Edit::parse("prefetch-input(workers=8)").expect("an edit");
        assert_eq!(edit.number("workers"), Ok(Some(8.0)));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let text = |edit: &str| Edit::parse(edit).expect_err("a mistake").to_string();
        assert!(text("prefech-input").contains("did you mean `prefetch-input`"), "{}", text("prefech-input"));
        assert!(text("scale(class=gem)=2x").contains("gemm"));
        assert!(text("scale=fast").contains("2x"));
        assert!(text("link.warp=2x").contains("nvlink"));
        assert!(text("scale(").contains("NAME"));
        assert!(text("prefetch-input(worker=2)").contains("workers"));
    }

    #[test]
    fn files_and_lines_say_the_same() {
        let (name, edits) = Edit::parse_file(
            "name = 'both'\nedits = ['prefetch-input']\n[[edit]]\ndo = 'scale'\nwhere = 'class=gemm,rank=3'\nby = '0.5x'\n",
        )
        .expect("a file");
        assert_eq!(name.as_deref(), Some("both"));
        let lines = ["prefetch-input", "scale(class=gemm,rank=3)=0.5x"].map(|line| Edit::parse(line).expect("an edit"));
        assert_eq!(edits, lines);
        assert!(Edit::parse_file("edit = 3").is_err());
    }
}
