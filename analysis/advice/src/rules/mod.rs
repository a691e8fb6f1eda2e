//! Rules of the user: thresholds of detectors, and findings of their own over the tables of a recording.
//!
//! ```toml
//! [detector.input-stall]
//! share = 0.1
//!
//! [[rule]]
//! id = "slow-softmax"
//! table = "kernels"
//! where = ["name ~ softmax", "mean >= 50 us"]
//! share = "3 %"
//! title = "Softmax takes {share} of each step"
//! text = "{rows} kernels, {count} runs, {time} in each step; the longest is {name}."
//! edits = ["scale(kernel~softmax)=0.5x"]
//! ```

mod condition;
mod table;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::detectors::{Confidence, EVIDENCE, Finding, detectors};
use crate::scene::Scene;
use crate::spec::Edit;
use crate::text::{ms, percent};
use condition::{Condition, number};
pub use table::Table;
use table::{Cell, Column, Row, Unit};

/// What is wrong with a file of rules, and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// It is not the TOML that is expected.
    #[error("not a file of rules: {0}")]
    File(String),
    /// A rule that cannot be used.
    #[error("rule `{rule}`: {reason}")]
    Rule {
        /// Its id, or its place.
        rule: String,
        /// What is wrong, and what to write.
        reason: String,
    },
    /// A threshold that no detector has.
    #[error("[detector.{detector}]: {reason}")]
    Threshold {
        /// The detector.
        detector: String,
        /// What is wrong, and what there is.
        reason: String,
    },
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    id: String,
    table: Table,
    conditions: Vec<Condition>,
    share: f64,
    title: String,
    text: String,
    fix: String,
    code: String,
    references: Vec<String>,
    edits: Vec<String>,
}

/// All that a file says.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    thresholds: BTreeMap<(String, String), f64>,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    detector: BTreeMap<String, BTreeMap<String, toml::Value>>,
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: String,
    table: String,
    #[serde(default, rename = "where")]
    conditions: Vec<String>,
    share: Option<toml::Value>,
    title: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    fix: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    references: Vec<String>,
    #[serde(default)]
    edits: Vec<String>,
}

impl Rules {
    /// From the text of a TOML file.
    ///
    /// # Errors
    /// When anything in it is not known: keys, tables, columns, detectors, thresholds, edits. The message says what there
    /// is.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let file: File = toml::from_str(text).map_err(|error| RulesError::File(error.to_string()))?;
        let mut this = Self::default();
        for (detector, thresholds) in file.detector {
            for (name, value) in thresholds {
                let value = threshold(&detector, &name, &value)?;
                this.thresholds.insert((detector.clone(), name), value);
            }
        }
        for raw in file.rule {
            let rule = Rule::of(raw)?;
            let is_taken = detectors().iter().any(|detector| detector.id() == rule.id)
                || this.rules.iter().any(|other| other.id == rule.id);
            if is_taken {
                let reason = "another rule or a detector has this id; choose one of your own".to_owned();
                return Err(RulesError::Rule { rule: rule.id, reason });
            }
            this.rules.push(rule);
        }
        Ok(this)
    }

    /// Thresholds of detectors, for [`Scene::with_thresholds`].
    #[must_use]
    pub const fn thresholds(&self) -> &BTreeMap<(String, String), f64> {
        &self.thresholds
    }

    /// The rules, in their order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

fn threshold(detector: &str, name: &str, value: &toml::Value) -> Result<f64, RulesError> {
    let error = |reason: String| RulesError::Threshold { detector: detector.to_owned(), reason };
    let Some(known) = detectors().iter().find(|known| known.id() == detector) else {
        let ids: Vec<&str> = detectors().iter().map(|known| known.id()).collect();
        return Err(error(format!("there is no such detector; there are {}", ids.join(", "))));
    };
    if !known.thresholds().iter().any(|threshold| threshold.name == name) {
        let names: Vec<&str> = known.thresholds().iter().map(|threshold| threshold.name).collect();
        let has = if names.is_empty() { "no thresholds".to_owned() } else { names.join(", ") };
        return Err(error(format!("it has no threshold `{name}`; it has {has}")));
    }
    plain(value).ok_or_else(|| error(format!("`{name}` must be a number, for example {name} = 0.1")))
}

/// A number, or a text such as `3 %`.
fn plain(value: &toml::Value) -> Option<f64> {
    match value {
        toml::Value::Float(value) => Some(*value),
        toml::Value::Integer(value) => Some(*value as f64),
        toml::Value::String(text) => number(text, Unit::Share).ok(),
        _ => None,
    }
    .filter(|value| value.is_finite())
}

impl Rule {
    fn of(raw: RawRule) -> Result<Self, RulesError> {
        let error = |reason: String| RulesError::Rule { rule: raw.id.clone(), reason };
        let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if raw.id.is_empty() || !raw.id.chars().all(is_plain) {
            return Err(error("an id is of lower-case letters, digits and hyphens".to_owned()));
        }
        let table = Table::from_label(&raw.table).ok_or_else(|| {
            error(format!("there is no table `{}`; there are {}", raw.table, Table::ALL.map(Table::label).join(", ")))
        })?;
        let conditions: Result<Vec<Condition>, String> =
            raw.conditions.iter().map(|text| Condition::parse(text, table)).collect();
        let conditions = conditions.map_err(&error)?;
        let share = match &raw.share {
            None => 0.0,
            Some(value) => plain(value)
                .filter(|share| (0.0..=1.0).contains(share))
                .ok_or_else(|| error("`share` is a part of the step from 0 to 1, or such as \"3 %\"".to_owned()))?,
        };
        for template in [&raw.title, &raw.text] {
            check_template(template, table).map_err(&error)?;
        }
        for edit in &raw.edits {
            Edit::parse(edit).map_err(|why| error(why.to_string()))?;
        }
        Ok(Self {
            id: raw.id,
            table,
            conditions,
            share,
            title: raw.title,
            text: raw.text,
            fix: raw.fix,
            code: raw.code,
            references: raw.references,
            edits: raw.edits,
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The finding, if rows fit and take enough of the steps.
    #[must_use]
    pub fn find(&self, scene: &Scene<'_, '_>) -> Option<Finding> {
        let columns = self.table.columns();
        let mut rows = self.table.rows(scene);
        rows.retain(|row| self.conditions.iter().all(|condition| condition.fits(columns, row)));
        rows.sort_by(|a, b| b.time_ns.total_cmp(&a.time_ns));
        let first = rows.first()?;
        let ranks = if self.table.is_path() { 1 } else { scene.study().trace().ranks().len().max(1) };
        let per_step = rows.iter().map(|row| row.time_ns).sum::<f64>() / (scene.study().step_count() * ranks) as f64;
        let share = per_step / scene.study().base().mean_step_ns.max(1.0);
        if share < self.share {
            return None;
        }
        let fill = |template: &str| filled(template, columns, first, rows.len(), per_step, share);
        let mut evidence = Vec::new();
        for row in &rows {
            evidence.extend(row.event.filter(|event| !evidence.contains(event)));
            if evidence.len() >= EVIDENCE {
                break;
            }
        }
        Some(Finding {
            detector: self.id.clone(),
            title: fill(&self.title),
            paragraph: fill(&self.text),
            fix: self.fix.clone(),
            code: self.code.clone(),
            references: self.references.clone(),
            confidence: Some(Confidence::Medium),
            edits: self.edits.clone(),
            evidence,
            nodes: rows.iter().filter_map(|row| row.node).collect(),
            ..Finding::default()
        })
    }
}

/// What every rule may name beside the columns of its table.
const SUMS: [&str; 3] = ["rows", "time", "share"];

/// A text, and the name in braces behind it.
type Part<'t> = (&'t str, &'t str);

/// Names in braces, each with the text before it; what stays at the end is the last text.
fn parts(template: &str) -> Result<(Vec<Part<'_>>, &str), String> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, left) = after.split_once('}').ok_or_else(|| format!("`{template}` has no closing brace"))?;
        found.push((before, name.trim()));
        rest = left;
    }
    Ok((found, rest))
}

fn check_template(template: &str, table: Table) -> Result<(), String> {
    for (_, name) in parts(template)?.0 {
        if !SUMS.contains(&name) && !table.columns().iter().any(|column| column.name == name) {
            return Err(format!(
                "`{{{name}}}` is no column of `{}`; write {} or {}",
                table.label(),
                SUMS.join(", "),
                table.names()
            ));
        }
    }
    Ok(())
}

fn filled(template: &str, columns: &[Column], first: &Row, rows: usize, per_step_ns: f64, share: f64) -> String {
    let Ok((parts, rest)) = parts(template) else { return template.to_owned() };
    let mut text = String::new();
    for (before, name) in parts {
        text.push_str(before);
        match name {
            "rows" => text.push_str(&gapless_trace::thousands(rows as u64)),
            "time" => text.push_str(&ms(per_step_ns)),
            // A column of the same name is the row's; the sum is what a sentence wants.
            "share" => text.push_str(&percent(share)),
            name => {
                let place = columns.iter().position(|column| column.name == name);
                if let Some((column, cell)) = place.and_then(|place| columns.get(place).zip(first.cells.get(place))) {
                    text.push_str(&cell.text(column.unit));
                }
            }
        }
    }
    text + rest
}

impl Cell {
    fn text(&self, unit: Unit) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Nothing => "unknown".to_owned(),
            Self::Number(value) => match unit {
                Unit::Time => ms(*value),
                Unit::Share => percent(*value),
                Unit::Bytes => crate::text::bytes(*value),
                Unit::Count | Unit::Text => {
                    if value.fract() == 0.0 && *value >= 0.0 {
                        gapless_trace::thousands(*value as u64)
                    } else {
                        format!("{value:.3}")
                    }
                }
            },
        }
    }
}
