//! Tables: columns as wide as their cells, numbers to the right, one flexible column for names.

use anstyle::Style;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{clean, shorten};
use crate::output::styles;

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Names.
    Left,
    /// Numbers.
    Right,
    /// Names that may be shortened so that the table fits the terminal.
    Name,
    /// Drawings with colours of their own; the only cells that may hold control characters.
    Drawing,
}

/// A table without lines: the eye follows aligned columns.
#[derive(Debug, Default)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<(Vec<String>, Style)>,
}

const INDENT: &str = "  ";
const BETWEEN: &str = "  ";
/// A name is not shortened below this, whatever the terminal.
const MIN_NAME_COLUMNS: usize = 16;

impl Table {
    /// A table with these columns.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        Self {
            columns: columns.into_iter().map(|(title, align)| (title.to_owned(), align)).collect(),
            rows: Vec::new(),
        }
    }

    /// Appends a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.styled_row(Style::new(), cells);
    }

    /// Appends a row in a colour.
    pub fn styled_row(&mut self, style: Style, cells: impl IntoIterator<Item = String>) {
        let cleaned = |(cell, (_, align)): (String, &(String, Align))| {
            if *align == Align::Drawing { cell } else { clean(&cell) }
        };
        self.rows.push((cells.into_iter().zip(&self.columns).map(cleaned).collect(), style));
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Drops columns in which no row says anything (empty or `–` everywhere).
    pub fn without_empty_columns(mut self) -> Self {
        let silent = |place: usize| {
            self.rows.iter().all(|(cells, _)| cells.get(place).is_none_or(|cell| cell.is_empty() || cell == "–"))
        };
        let keep: Vec<bool> = (0..self.columns.len()).map(|place| !silent(place)).collect();
        let mut keep_columns = keep.iter().copied();
        self.columns.retain(|_| keep_columns.next().unwrap_or(true));
        for (cells, _) in &mut self.rows {
            let mut keep_cells = keep.iter().copied();
            cells.retain(|_| keep_cells.next().unwrap_or(true));
        }
        self
    }

    /// The table as text in at most `columns` columns where names can be shortened that far.
    pub fn render(&self, columns: usize) -> String {
        let widths = self.widths(columns);
        let mut text = String::new();
        let titles = self.columns.iter().map(|(title, _)| title.as_str());
        self.line(&mut text, titles, &widths, styles::DIM);
        for (cells, style) in &self.rows {
            self.line(&mut text, cells.iter().map(String::as_str), &widths, *style);
        }
        text
    }

    fn widths(&self, columns: usize) -> Vec<usize> {
        let widest = |place: usize, title: &str| {
            let cells = self.rows.iter().filter_map(|(cells, _)| cells.get(place));
            cells.map(|cell| visible_width(cell)).chain([title.width()]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(place, (title, _))| widest(place, title)).collect();
        let gaps = INDENT.len() + BETWEEN.len() * widths.len().saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(columns);
        // The widest name gives way first, down to the next widest.
        while excess > 0 {
            let names = self.columns.iter().zip(&mut widths).filter(|((_, align), _)| *align == Align::Name);
            let Some(width) = names.map(|(_, width)| width).max().filter(|width| **width > MIN_NAME_COLUMNS) else {
                break;
            };
            *width -= 1;
            excess -= 1;
        }
        widths
    }

    fn line<'a>(&self, text: &mut String, cells: impl Iterator<Item = &'a str>, widths: &[usize], style: Style) {
        let mut line = String::from(INDENT);
        for (place, ((cell, &width), (_, align))) in cells.zip(widths).zip(&self.columns).enumerate() {
            if place > 0 {
                line.push_str(BETWEEN);
            }
            let cell = if *align == Align::Name { shorten(cell, width) } else { cell.to_owned() };
            let padding = " ".repeat(width.saturating_sub(visible_width(&cell)));
            let (before, after) = if *align == Align::Right { (padding.as_str(), "") } else { ("", padding.as_str()) };
            line.push_str(before);
            line.push_str(&cell);
            line.push_str(after);
        }
        text.push_str(&format!("{style}{}{style:#}\n", line.trim_end()));
    }
}

/// Columns that `text` takes in a terminal; ANSI styles take none.
fn visible_width(text: &str) -> usize {
    let mut width = 0;
    let mut in_escape = false;
    for c in text.chars() {
        if in_escape {
            in_escape = c != 'm';
        } else if c == '\u{1b}' {
            in_escape = true;
        } else {
            width += c.width().unwrap_or(0);
        }
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(table: &Table, columns: usize) -> String {
        anstream::adapter::strip_str(&table.render(columns)).to_string()
    }

    #[test]
    fn numbers_stand_to_the_right_and_names_give_way() {
        let mut table = Table::new([("Kernel", Align::Name), ("Count", Align::Right)]);
        table.row(["a_kernel_with_a_long_name_that_does_not_fit".to_owned(), "7".to_owned()]);
        table.row(["short".to_owned(), "1,234".to_owned()]);
        let text = plain(&table, 30);
        assert_eq!(
            text,
            "  Kernel                 Count\n  a_kernel_wit…_not_fit      7\n  short                  1,234\n"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 30));
    }

    #[test]
    fn columns_that_say_nothing_are_dropped() {
        let mut table = Table::new([("A", Align::Left), ("B", Align::Right), ("C", Align::Right)]);
        table.row(["x".to_owned(), "–".to_owned(), "1".to_owned()]);
        table.row(["y".to_owned(), String::new(), "2".to_owned()]);
        assert_eq!(plain(&table.without_empty_columns(), 80), "  A  C\n  x  1\n  y  2\n");
    }
}
