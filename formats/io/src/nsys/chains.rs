//! Call chains: rows of (chain, depth, symbol, module), joined into stacks.

use rusqlite::Connection;

use super::catalogue::Catalogue;
use super::database::Database;
use super::scan::{End, walk};
use crate::Progress;

/// The chains of one table.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    /// (chain, its first frame), by chain.
    firsts: Vec<(i64, usize)>,
    /// (symbol, module), numbers of strings, innermost first.
    frames: Vec<(i64, i64)>,
}

impl Chains {
    /// Reads the chains of the table of this name; none if it is not there. The text says what was damaged.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn read(
        database: &Database,
        connection: &Connection,
        catalogue: &Catalogue,
        name: &str,
        progress: &dyn Progress,
    ) -> rusqlite::Result<(Self, Option<String>)> {
        let Some(table) = catalogue.table(name) else { return Ok((Self::default(), None)) };
        let mut rows: Vec<(i64, i64, i64, i64)> = Vec::new();
        let sql = table.select(&["id", "stackDepth", "symbol", "module"]);
        let end = walk(database, connection, &sql, (i64::MIN, i64::MAX), progress, &mut |row| {
            if let (Some(id), Some(depth)) = (row.int(0), row.int(1)) {
                rows.push((id, depth, row.int(2).unwrap_or(i64::MIN), row.int(3).unwrap_or(i64::MIN)));
            }
        })?;
        let damage = if let End::Damaged(reason) = end { Some(format!("{name}: {reason}")) } else { None };
        Ok((Self::of(rows), damage))
    }

    /// The chains of rows (chain, depth, symbol, module); depth 0 is the innermost frame.
    fn of(mut rows: Vec<(i64, i64, i64, i64)>) -> Self {
        if !rows.is_sorted() {
            rows.sort_unstable();
        }
        let mut chains = Self { firsts: Vec::new(), frames: Vec::with_capacity(rows.len()) };
        for (id, _, symbol, module) in rows {
            if chains.firsts.last().is_none_or(|last| last.0 != id) {
                chains.firsts.push((id, chains.frames.len()));
            }
            chains.frames.push((symbol, module));
        }
        chains
    }

    /// Symbol and module of the innermost frame of `chain`.
    pub fn innermost(&self, chain: i64) -> Option<(i64, i64)> {
        self.frames_of(chain).first().copied()
    }

    /// Symbols and modules of `chain`, outermost first.
    pub fn outermost_first(&self, chain: i64) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.frames_of(chain).iter().rev().copied()
    }

    fn frames_of(&self, chain: i64) -> &[(i64, i64)] {
        let Ok(place) = self.firsts.binary_search_by_key(&chain, |entry| entry.0) else { return &[] };
        let first = self.firsts.get(place).map_or(0, |entry| entry.1);
        let end = self.firsts.get(place + 1).map_or(self.frames.len(), |entry| entry.1);
        self.frames.get(first..end).unwrap_or_default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.firsts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_joined_in_whatever_order_the_rows_come() {
        let chains = Chains::of(vec![(2, 1, 20, 0), (1, 0, 10, 5), (2, 0, 21, 0), (2, 2, 22, 0)]);
        assert_eq!(chains.innermost(2), Some((21, 0)));
        assert_eq!(chains.outermost_first(2).map(|frame| frame.0).collect::<Vec<_>>(), [22, 20, 21]);
        assert_eq!(chains.outermost_first(1).collect::<Vec<_>>(), [(10, 5)]);
        assert_eq!(chains.outermost_first(3).count(), 0);
    }
}
