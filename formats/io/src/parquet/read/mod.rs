//! Reading flat Parquet tables: columns of numbers and texts, whole, in memory.
//!
//! This is a reader of its own because nothing in a file may make it panic, recurse or allocate beyond its limits;
//! general readers trust a footer further than that. It knows what common writers use for such tables: pages of both
//! versions, plain and dictionary encodings, Zstandard, Snappy and gzip. What it does not know it names.

mod bits;
mod footer;
mod pages;
mod thrift;

#[cfg(test)]
mod tests;

use gapless_trace::{SourceId, WarningKind, Warnings};

use crate::Progress;
use crate::error::Refused;
use crate::limits::Limits;
use footer::Footer;
pub(crate) use footer::MAGIC;
use pages::{ChunkValues, read_chunk};
use rustc_hash::FxHashMap;

/// Values of a column, one a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    /// Whole numbers; truth values are 0 and 1.
    Int(Vec<i64>),
    /// Numbers.
    Float(Vec<f64>),
    /// Texts: the distinct ones, and the place of each row's among them.
    Text { texts: Vec<String>, codes: Vec<u32> },
}

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    /// Its name.
    pub name: String,
    /// Its values; what stands where there is none means nothing.
    pub data: Data,
    /// Which rows have no value; empty where all have one.
    pub absent: Vec<bool>,
}

impl Column {
    /// Whether a row has a value.
    pub fn is_there(&self, row: usize) -> bool {
        !self.absent.get(row).copied().unwrap_or(false)
    }

    /// The whole number in a row.
    pub fn int(&self, row: usize) -> Option<i64> {
        match &self.data {
            Data::Int(values) if self.is_there(row) => values.get(row).copied(),
            _ => None,
        }
    }

    /// The number in a row.
    pub fn float(&self, row: usize) -> Option<f64> {
        match &self.data {
            Data::Float(values) if self.is_there(row) => values.get(row).copied(),
            _ => None,
        }
    }

    /// The text in a row, and its place among the distinct ones.
    pub fn text(&self, row: usize) -> Option<(u32, &str)> {
        match &self.data {
            Data::Text { texts, codes } if self.is_there(row) => {
                let &code = codes.get(row)?;
                Some((code, texts.get(code as usize)?))
            }
            _ => None,
        }
    }
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    /// Number of rows that were read.
    pub rows: usize,
    /// Columns, all of as many rows.
    pub columns: Vec<Column>,
}

impl Table {
    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Bytes that may still be made of the file.
pub(super) struct Budget {
    left: u64,
    limits: Limits,
}

impl Budget {
    /// First bytes that no ratio bounds, as for other compressed content.
    const FREE: u64 = 64 << 20;

    fn new(file_bytes: usize, limits: Limits) -> Self {
        let by_ratio = Self::FREE.saturating_add((file_bytes as u64).saturating_mul(limits.ratio));
        Self { left: by_ratio.min(limits.inflated_bytes), limits }
    }

    /// Takes `bytes`, before they are allocated.
    pub fn spend(&mut self, bytes: u64) -> Result<(), Refused> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Refused::Limit {
                what: "its columns take more memory than its size allows".to_owned(),
                limit: format!(
                    "{} times the file's size beyond {} MiB, and {} MiB in all",
                    self.limits.ratio,
                    Self::FREE >> 20,
                    self.limits.inflated_bytes >> 20
                ),
                flag: format!("ratio={}", self.limits.ratio.saturating_mul(10)),
            }),
        }
    }
}

/// Why a piece of a file could not be read.
pub(super) enum Failure {
    /// It is damaged, or of a kind that is not known: at this offset, for this reason.
    Damaged(u64, String),
    /// Reading must stop.
    Refused(Refused),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Places of the distinct texts of a column.
type TextIndex = FxHashMap<String, u32>;

/// Names of the columns of the file, nested ones by their outermost name.
///
/// # Errors
/// When it has no footer that can be read.
pub(crate) fn column_names(bytes: &[u8]) -> Result<Vec<String>, Refused> {
    Ok(Footer::read(bytes)?.columns.into_iter().map(|column| column.name).collect())
}

/// Reads all flat columns. `needed` are those without which a row means nothing: where one of them is damaged, the rows
/// of that group are lost; where another is, its values are. Both are counted.
///
/// # Errors
/// When there is no footer that can be read, no group of rows can be, or a limit is met.
pub(crate) fn read_table(
    bytes: &[u8],
    needed: &[&str],
    limits: &Limits,
    warnings: &mut Warnings,
    progress: &dyn Progress,
) -> Result<Table, Refused> {
    let footer = Footer::read(bytes)?;
    if footer.rows > limits.events {
        return Err(Refused::Limit {
            what: format!("it has {} rows", footer.rows),
            limit: limits.events.to_string(),
            flag: format!("events={}", footer.rows),
        });
    }
    let mut budget = Budget::new(bytes.len(), *limits);
    let mut table = Table::default();
    for column in &footer.columns {
        match column.empty() {
            Some(data) => {
                table.columns.push(Column { name: column.name.clone(), data, absent: Vec::new() });
            }
            None => warnings.add(WarningKind::UnknownPacket, SourceId(0), None, &format!("column {}", column.name)),
        }
    }
    let mut indexes = vec![TextIndex::default(); table.columns.len()];
    let mut first_failure = None;
    for group in &footer.groups {
        if progress.is_cancelled() {
            return Err(Refused::Cancelled);
        }
        let mut read = Vec::with_capacity(table.columns.len());
        let mut failure = None;
        for column in &mut table.columns {
            let Some(of_footer) = footer.columns.iter().find(|other| other.name == column.name) else { continue };
            match read_chunk(bytes, of_footer, group, &mut budget) {
                Ok(chunk) => read.push(Some(chunk)),
                Err(Failure::Refused(refused)) => return Err(refused),
                Err(Failure::Damaged(offset, reason)) if needed.contains(&column.name.as_str()) => {
                    failure = Some((offset, format!("column {}: {reason}", column.name)));
                    break;
                }
                Err(Failure::Damaged(offset, reason)) => {
                    let detail = format!("column {}: {reason}", column.name);
                    warnings.add(WarningKind::HeaderUnreadable, SourceId(0), Some(offset), &detail);
                    read.push(None);
                }
            }
        }
        if let Some((offset, reason)) = failure {
            warnings.add_many(WarningKind::RowsLost, SourceId(0), group.rows, Some(offset), &reason);
            first_failure.get_or_insert((offset, reason));
            continue;
        }
        for ((column, index), chunk) in table.columns.iter_mut().zip(&mut indexes).zip(read) {
            column.append(table.rows, group.rows as usize, chunk, index);
        }
        table.rows += group.rows as usize;
        progress.done(group.end);
    }
    match first_failure {
        Some((offset, reason)) if table.rows == 0 => Err(Refused::format(offset, reason)),
        _ => Ok(table),
    }
}

impl Column {
    /// Appends a group's values; `None` where they could not be read.
    fn append(&mut self, before: usize, rows: usize, chunk: Option<ChunkValues>, index: &mut TextIndex) {
        let (data, absent) = match chunk {
            Some(chunk) => (Some(chunk.data), chunk.absent),
            None => (None, vec![true; rows]),
        };
        if !absent.is_empty() || !self.absent.is_empty() {
            self.absent.resize(before, false);
            self.absent.extend(absent);
            self.absent.resize(before + rows, false);
        }
        match (&mut self.data, data) {
            (Data::Int(values), Some(Data::Int(more))) => values.extend(more),
            (Data::Float(values), Some(Data::Float(more))) => values.extend(more),
            (Data::Text { texts, codes }, Some(Data::Text { texts: more, codes: more_codes })) => {
                let mut place = |text: String| {
                    *index.entry(text).or_insert_with_key(|text| {
                        texts.push(text.clone());
                        texts.len() as u32 - 1
                    })
                };
                let places: Vec<u32> = more.into_iter().map(&mut place).collect();
                codes.extend(more_codes.iter().map(|&code| places.get(code as usize).copied().unwrap_or_default()));
            }
            (Data::Int(values), _) => values.resize(before + rows, 0),
            (Data::Float(values), _) => values.resize(before + rows, 0.0),
            (Data::Text { codes, .. }, _) => codes.resize(before + rows, 0),
        }
    }
}
