//! Rows of a table, walked in the order of their numbers.

use std::borrow::Cow;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::database::Database;
use crate::Progress;

/// A row: the row number first, then the columns that were asked for.
pub(crate) struct Row<'a, 'r> {
    row: &'a rusqlite::Row<'r>,
    /// Its number in the table.
    pub id: i64,
}

impl Row<'_, '_> {
    /// Column `index` (0 is the first that was asked for).
    pub fn value(&self, index: usize) -> ValueRef<'_> {
        self.row.get_ref(index + 1).unwrap_or(ValueRef::Null)
    }

    /// A whole number; also one that stands as text or as a fraction without a fractional part.
    #[inline]
    pub fn int(&self, index: usize) -> Option<i64> {
        match self.value(index) {
            ValueRef::Integer(value) => Some(value),
            other => int_of(other),
        }
    }

    /// A number.
    pub fn real(&self, index: usize) -> Option<f64> {
        match self.value(index) {
            ValueRef::Integer(value) => Some(value as f64),
            ValueRef::Real(value) => Some(value),
            _ => None,
        }
    }

    /// A text; bytes that are not UTF-8 are replaced.
    pub fn text(&self, index: usize) -> Option<Cow<'_, str>> {
        match self.value(index) {
            ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes)),
            _ => None,
        }
    }
}

fn int_of(value: ValueRef<'_>) -> Option<i64> {
    /// Whole numbers up to here have exactly one double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        ValueRef::Integer(value) => Some(value),
        ValueRef::Real(value) => (value.fract() == 0.0 && value.abs() < EXACT).then_some(value as i64),
        ValueRef::Text(bytes) => str::from_utf8(bytes).ok()?.trim().parse().ok(),
        ValueRef::Null | ValueRef::Blob(_) => None,
    }
}

/// How a walk ended.
#[derive(Debug)]
pub(crate) enum End {
    /// All rows were seen.
    Whole,
    /// The pages are damaged; the rows before the damage were seen.
    Damaged(String),
    /// [`Database::stop`] was called.
    Stopped,
}

/// Rows between two looks at whether to go on.
const ROWS_BETWEEN_LOOKS: u64 = 16_384;

/// Walks the rows of `sql` (see [`Table::select`](super::catalogue::Table::select)) between two row numbers.
///
/// # Errors
/// What SQLite refuses for another reason than damage.
pub(crate) fn walk(
    database: &Database,
    connection: &Connection,
    sql: &str,
    (first, last): (i64, i64),
    progress: &dyn Progress,
    each: &mut dyn FnMut(&Row<'_, '_>),
) -> rusqlite::Result<End> {
    let mut statement = match connection.prepare(sql) {
        Ok(statement) => statement,
        Err(error) if super::database::is_damage(&error) => return Ok(End::Damaged(super::database::reason(&error))),
        Err(error) => return Err(error),
    };
    let mut rows = statement.query((first, last))?;
    let mut before: Option<i64> = None;
    let mut seen = 0u64;
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(End::Whole),
            Err(_) if database.is_stopped() => return Ok(End::Stopped),
            Err(error) if super::database::is_damage(&error) => {
                return Ok(End::Damaged(super::database::reason(&error)));
            }
            Err(error) => return Err(error),
        };
        let ValueRef::Integer(id) = row.get_ref(0)? else { return Ok(End::Damaged("a row has no number".to_owned())) };
        // Pages that point at each other give rows over and over. SQLite does not notice; the numbers tell.
        if before.is_some_and(|before| id <= before) {
            return Ok(End::Damaged(format!("row {id} comes after row {}", before.unwrap_or_default())));
        }
        before = Some(id);
        each(&Row { row, id });
        seen += 1;
        if seen.is_multiple_of(ROWS_BETWEEN_LOOKS) {
            if progress.is_cancelled() {
                database.stop();
            }
            if database.is_stopped() {
                return Ok(End::Stopped);
            }
        }
    }
}
