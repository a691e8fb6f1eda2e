//! A bar of parts, drawn with block characters.

use std::fmt::Write as _;

use anstyle::Style;

/// One part of a bar.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// How much, in any unit.
    pub amount: i64,
    /// The character that fills it: bars are told apart without colours too.
    pub fill: char,
    /// Its colour.
    pub style: Style,
}

/// A bar of `columns` columns whose parts are as long as their amounts, relative to `whole`.
///
/// Cells go to parts by largest remainder, so that the cells of a whole bar always add up to `columns`.
pub fn bar(parts: &[Part], whole: i64, columns: usize) -> String {
    let cells = cells(parts, whole, columns);
    let mut text = String::new();
    for (part, &cells) in parts.iter().zip(&cells) {
        if cells > 0 {
            let style = part.style;
            // Writing to a string cannot fail.
            let _ = write!(text, "{style}{}{style:#}", part.fill.to_string().repeat(cells));
        }
    }
    text.push_str(&" ".repeat(columns.saturating_sub(cells.iter().sum())));
    text
}

fn cells(parts: &[Part], whole: i64, columns: usize) -> Vec<usize> {
    let whole = whole.max(parts.iter().map(|part| part.amount.max(0)).sum());
    if whole <= 0 {
        return vec![0; parts.len()];
    }
    let exact: Vec<f64> = parts.iter().map(|part| part.amount.max(0) as f64 * columns as f64 / whole as f64).collect();
    let mut cells: Vec<usize> = exact.iter().map(|cells| cells.floor() as usize).collect();
    let wanted = exact.iter().sum::<f64>().round() as usize;
    let mut order: Vec<usize> = (0..parts.len()).collect();
    let remainder = |&place: &usize| exact.get(place).map_or(0.0, |cells| cells.fract());
    order.sort_by(|a, b| remainder(b).total_cmp(&remainder(a)));
    let missing = wanted.saturating_sub(cells.iter().sum());
    for place in order.into_iter().take(missing) {
        if let Some(cells) = cells.get_mut(place) {
            *cells += 1;
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(amount: i64, fill: char) -> Part {
        Part { amount, fill, style: Style::new() }
    }

    #[test]
    fn a_whole_bar_is_full() {
        assert_eq!(bar(&[part(1, 'a'), part(1, 'b'), part(1, 'c')], 3, 10).chars().count(), 10);
        assert_eq!(bar(&[part(50, 'a'), part(50, 'b')], 100, 10), "aaaaabbbbb");
        assert_eq!(bar(&[part(96, 'a'), part(2, 'b'), part(2, 'c')], 100, 10), "aaaaaaaaaa");
    }

    #[test]
    fn a_shorter_whole_leaves_room() {
        assert_eq!(bar(&[part(25, 'a')], 100, 8), "aa      ");
        assert_eq!(bar(&[part(0, 'a')], 0, 4), "    ");
        assert_eq!(bar(&[], 10, 4), "    ");
    }
}
