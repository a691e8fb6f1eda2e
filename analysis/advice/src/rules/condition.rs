//! Conditions on columns: `mean >= 50 us`, `name ~ softmax`, `bytes < 64 KiB`.

use regex::Regex;

use super::table::{Cell, Column, Row, Table, Unit};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Less,
    AtMost,
    More,
    AtLeast,
    Is,
    IsNot,
}

#[derive(Clone, Debug)]
enum Test {
    Number(Compare, f64),
    Text(Compare, String),
    Matches(Regex, bool),
}

/// One condition on a column.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    column: &'static str,
    test: Test,
}

/// Signs, longer ones first.
const SIGNS: [&str; 8] = ["!~", "!=", "<=", ">=", "~", "=", "<", ">"];

impl Condition {
    /// From text.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn parse(text: &str, table: Table) -> Result<Self, String> {
        let at = text.find(['!', '<', '>', '=', '~']).ok_or_else(|| {
            format!("`{text}` is no condition; write COLUMN SIGN VALUE with one of {}", SIGNS.join(" "))
        })?;
        let (name, rest) = text.split_at(at);
        let sign = SIGNS
            .into_iter()
            .find(|sign| rest.starts_with(sign))
            .ok_or_else(|| format!("`{text}` has no sign; write one of {}", SIGNS.join(" ")))?;
        let (name, value) = (name.trim(), rest.get(sign.len()..).unwrap_or_default().trim());
        let column: &Column = table
            .columns()
            .iter()
            .find(|column| column.name == name)
            .ok_or_else(|| format!("`{}` has no column `{name}`; it has {}", table.label(), table.names()))?;
        let compare = match sign {
            "<" => Compare::Less,
            "<=" => Compare::AtMost,
            ">" => Compare::More,
            ">=" => Compare::AtLeast,
            "!=" => Compare::IsNot,
            _ => Compare::Is,
        };
        let test = match (sign, column.unit) {
            ("~" | "!~", Unit::Text) => {
                let regex = Regex::new(value).map_err(|why| format!("`{value}` is no regular expression: {why}"))?;
                Test::Matches(regex, sign == "~")
            }
            ("~" | "!~", _) => return Err(format!("`{name}` is a number; compare it with <, <=, >, >=, = or !=")),
            ("=" | "!=", Unit::Text) => Test::Text(compare, value.to_owned()),
            (_, Unit::Text) => return Err(format!("`{name}` is a text; compare it with =, !=, ~ or !~")),
            (_, unit) => Test::Number(compare, number(value, unit).map_err(|why| format!("`{text}`: {why}"))?),
        };
        Ok(Self { column: column.name, test })
    }

    /// Whether a row fulfils it. What a row does not know fulfils nothing.
    pub fn fits(&self, columns: &[Column], row: &Row) -> bool {
        let place = columns.iter().position(|column| column.name == self.column);
        match (place.and_then(|place| row.cells.get(place)), &self.test) {
            (Some(Cell::Text(text)), Test::Matches(regex, wanted)) => regex.is_match(text) == *wanted,
            (Some(Cell::Text(text)), Test::Text(compare, value)) => (text == value) == (*compare == Compare::Is),
            (Some(Cell::Number(value)), Test::Number(compare, limit)) => match compare {
                Compare::Less => value < limit,
                Compare::AtMost => value <= limit,
                Compare::More => value > limit,
                Compare::AtLeast => value >= limit,
                Compare::Is => (value - limit).abs() < f64::EPSILON * limit.abs().max(1.0),
                Compare::IsNot => (value - limit).abs() >= f64::EPSILON * limit.abs().max(1.0),
            },
            _ => false,
        }
    }
}

/// A number with its unit, in ns, bytes, or as a share.
///
/// # Errors
/// What to write.
pub(super) fn number(text: &str, unit: Unit) -> Result<f64, String> {
    let at = text.find(|letter: char| letter.is_alphabetic() || letter == '%').unwrap_or(text.len());
    // An exponent belongs to the number.
    let (digits, suffix) = match text.parse::<f64>() {
        Ok(_) => (text, ""),
        Err(_) => text.split_at(at),
    };
    let value: f64 = digits.trim().parse().map_err(|_| format!("`{text}` is no number"))?;
    let by = match (unit, suffix.trim()) {
        (Unit::Time, "ns") => 1.0,
        (Unit::Time, "us" | "µs") => 1e3,
        (Unit::Time, "ms") => 1e6,
        (Unit::Time, "s") => 1e9,
        (Unit::Time, "") if value == 0.0 => 1.0,
        (Unit::Time, _) => return Err("a time needs a unit: ns, us, ms or s, such as 50 us".to_owned()),
        (Unit::Bytes, "" | "B") => 1.0,
        (Unit::Bytes, "kB") => 1e3,
        (Unit::Bytes, "KiB") => 1024.0,
        (Unit::Bytes, "MB") => 1e6,
        (Unit::Bytes, "MiB") => 1_048_576.0,
        (Unit::Bytes, "GB") => 1e9,
        (Unit::Bytes, "GiB") => 1_073_741_824.0,
        (Unit::Bytes, _) => return Err("bytes have the units B, kB, KiB, MB, MiB, GB, GiB".to_owned()),
        (Unit::Share, "%") => 0.01,
        (Unit::Share | Unit::Count | Unit::Text, "") => 1.0,
        (Unit::Share, _) => return Err("a share is a number from 0 to 1, or such as 3 %".to_owned()),
        (Unit::Count | Unit::Text, _) => return Err("it is a count and takes no unit".to_owned()),
    };
    Ok(value * by)
}
