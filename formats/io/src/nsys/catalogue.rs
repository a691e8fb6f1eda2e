//! Which tables and columns a file has, as far as they may be read.
//!
//! Only plain tables are: a view, a virtual table or a computed column would run what the file says.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

/// A plain table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its name in the file.
    pub name: String,
    /// Its plain columns.
    pub columns: Vec<String>,
    /// The name by which the row number is asked for.
    pub rowid: &'static str,
    /// Its number among the tables, from 1: the length in the location of arguments.
    pub number: u32,
}

/// All plain tables of a file.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    tables: Vec<Table>,
    /// What was left out because it would run, in words.
    pub left_out: Vec<String>,
}

/// Columns of a table that are looked at.
const MOST_COLUMNS: usize = 256;

impl Catalogue {
    /// Reads the schema.
    ///
    /// # Errors
    /// When the schema is damaged.
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut found = Self::default();
        let mut plain: Vec<String> = Vec::new();
        let sql = "select type, name, rootpage, substr(sql, 1, 16) from sqlite_schema";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (ValueRef::Text(kind), ValueRef::Text(name)) = (row.get_ref(0)?, row.get_ref(1)?) else { continue };
            let Ok(name) = str::from_utf8(name) else { continue };
            if !matches!(kind, b"table" | b"view") || name.starts_with("sqlite_") {
                continue;
            }
            let is_stored = matches!(row.get_ref(2)?, ValueRef::Integer(page) if page > 0);
            if kind == b"table" && is_stored && row.get_ref(3)?.as_str().is_ok_and(begins_as_table) {
                plain.push(name.to_owned());
            } else {
                found.left_out.push(format!("{name} is no plain table"));
            }
        }
        plain.sort_unstable();
        for name in plain {
            found.add(connection, name)?;
        }
        Ok(found)
    }

    fn add(&mut self, connection: &Connection, name: String) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(&format!("pragma table_xinfo({})", quoted(&name)))?;
        let mut rows = statement.query([])?;
        let mut columns = Vec::new();
        while let Some(row) = rows.next()? {
            let ValueRef::Text(column) = row.get_ref("name")? else { continue };
            let Ok(column) = str::from_utf8(column) else { continue };
            if !matches!(row.get_ref("hidden")?, ValueRef::Integer(0)) {
                self.left_out.push(format!("{name}.{column} is a computed column"));
            } else if columns.len() < MOST_COLUMNS {
                columns.push(column.to_owned());
            }
        }
        let hides = |alias: &str| columns.iter().any(|column: &String| column.eq_ignore_ascii_case(alias));
        let Some(rowid) = ["_rowid_", "rowid", "oid"].into_iter().find(|alias| !hides(alias)) else {
            self.left_out.push(format!("{name} hides its row numbers"));
            return Ok(());
        };
        // A table without row numbers (WITHOUT ROWID) is no table of an export.
        if connection.prepare(&format!("select {rowid} from {}", quoted(&name))).is_err() {
            self.left_out.push(format!("{name} has no row numbers"));
            return Ok(());
        }
        let number = self.tables.len() as u32 + 1;
        self.tables.push(Table { name, columns, rowid, number });
        Ok(())
    }

    /// All tables, by name.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The table of this name, whatever its case.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name))
    }

    /// The table with this number.
    pub fn by_number(&self, number: usize) -> Option<&Table> {
        self.tables.get(number.checked_sub(1)?)
    }
}

impl Table {
    /// The column of this name, whatever its case.
    pub fn column(&self, name: &str) -> Option<&str> {
        self.columns.iter().find(|column| column.eq_ignore_ascii_case(name)).map(String::as_str)
    }

    /// A query for the row number and `columns` of the rows between two row numbers, in the order of row numbers.
    /// A column may have an older name behind a bar (`metricName|name`); one that is missing is null.
    pub fn select(&self, columns: &[&str]) -> String {
        let mut sql = format!("select {}", self.rowid);
        for names in columns {
            let column = names.split('|').find_map(|name| self.column(name));
            sql.push_str(", ");
            sql.push_str(&column.map_or_else(|| "null".to_owned(), quoted));
        }
        // An index might hold an expression; the table itself holds values only.
        sql.push_str(&format!(
            " from {} not indexed where {1} between ?1 and ?2 order by {1}",
            quoted(&self.name),
            self.rowid
        ));
        sql
    }

    /// The smallest and the largest row number; `None` if there are no rows.
    pub fn span(&self, connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
        let of = |which: &str| {
            let sql = format!("select {which}({}) from {} not indexed", self.rowid, quoted(&self.name));
            connection.query_row(&sql, [], |row| row.get::<_, Option<i64>>(0))
        };
        Ok(of("min")?.zip(of("max")?))
    }
}

/// `name` as SQL writes identifiers.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn begins_as_table(sql: &str) -> bool {
    let mut words = sql.split_whitespace();
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("create"))
        && words.next().is_some_and(|word| word.eq_ignore_ascii_case("table"))
}
