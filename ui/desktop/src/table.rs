//! Tables that sort by any column and lay out only the rows on the screen.

use std::cmp::Ordering;

use egui::text::{LayoutJob, TextFormat, TextWrapping};
use egui::{Align, Align2, Color32, FontId, Rect, Role, ScrollArea, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};
use gapless_timeline::Theme;
use gapless_timeline::theme::metrics;

use crate::message::Message;
use crate::view::widgets::triangle;

/// A table of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableId {
    /// Kernels by name.
    Kernels,
    /// Operators by name.
    Operators,
    /// Copies and fills by direction.
    Copies,
    /// Collectives by name and group.
    Collectives,
    /// Stretches of the critical path.
    Segments,
    /// Single collectives over ranks.
    Instances,
    /// How ranks come to their collectives.
    Lateness,
}

impl TableId {
    /// How many there are.
    pub const COUNT: usize = 7;
    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Kernels,
        Self::Operators,
        Self::Copies,
        Self::Collectives,
        Self::Segments,
        Self::Instances,
        Self::Lateness,
    ];

    /// How many of them are of one rank, from the first on.
    pub const OF_RANK: usize = 4;

    /// Its place in arrays.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// How a table is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sort {
    /// By which column.
    pub column: usize,
    /// Whether the largest comes first.
    pub descends: bool,
}

/// What a cell is sorted by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Key<'a> {
    /// A number; missing ones are [`f64::NEG_INFINITY`].
    Number(f64),
    /// Text.
    Text(&'a str),
}

impl Key<'_> {
    /// A count or a time.
    #[must_use]
    pub fn whole(value: i64) -> Self {
        Self::Number(value as f64)
    }

    /// A number that may be missing; missing ones are the smallest.
    #[must_use]
    pub fn maybe(value: Option<f64>) -> Self {
        Self::Number(value.unwrap_or(f64::NEG_INFINITY))
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

/// A column of a table with rows of type `R`.
pub struct Column<R: 'static> {
    /// Its title.
    pub title: &'static str,
    /// Its width in points; the column with 0 takes what is left.
    pub width: f32,
    /// Whether it holds numbers, which stand at the right.
    pub is_number: bool,
    /// What the title means.
    pub tip: &'static str,
    /// The text of a cell.
    pub text: fn(&R) -> String,
    /// All of it, for the tooltip of the row, where the cell shows a part.
    pub full: Option<fn(&R) -> String>,
    /// What a cell is sorted by.
    pub key: for<'a> fn(&'a R) -> Key<'a>,
}

/// The order of `rows` by `sort`; equal rows keep their order. O(n log n).
#[must_use]
pub fn order<R>(rows: &[R], columns: &[Column<R>], sort: Sort) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    if let Some(column) = columns.get(sort.column) {
        let key = |place: &u32| rows.get(*place as usize).map(column.key);
        order.sort_by(|a, b| {
            let (Some(a), Some(b)) = (key(a), key(b)) else { return Ordering::Equal };
            if sort.descends { b.compare(&a) } else { a.compare(&b) }
        });
    }
    order
}

const ROW_HEIGHT: f32 = 20.0;
const HEADER_HEIGHT: f32 = 24.0;
const CELL_PADDING: f32 = 8.0;
/// A column that takes what is left never gets narrower than this.
const MIN_FILL: f32 = 160.0;

/// How a table looks and what a click on a row does.
pub struct TableView<'a, R: 'static> {
    /// Which table.
    pub id: TableId,
    /// Its columns.
    pub columns: &'a [Column<R>],
    /// Its rows.
    pub rows: &'a [R],
    /// The order of its rows.
    pub order: &'a [u32],
    /// How that order came about.
    pub sort: Sort,
    /// Colour of the mark before a row, if rows have one.
    pub mark: &'a dyn Fn(&R) -> Option<Color32>,
    /// What the click on a row asks for.
    pub click: &'a dyn Fn(&R) -> Message,
    /// Titles of columns that say nothing about this trace.
    pub without: &'a [&'a str],
    /// What stands in the place of rows when there are none.
    pub empty: &'a str,
}

impl<R> TableView<'_, R> {
    /// Draws the table into all space that is left.
    pub fn show(&self, ui: &mut Ui, theme: &Theme, messages: &mut Vec<Message>) {
        let shown = self.shown(ui.available_width());
        let width = self.width(&shown, ui.available_width());
        ScrollArea::horizontal().id_salt(("table", self.id.index())).auto_shrink([false, false]).show(ui, |ui| {
            ui.set_width(width);
            ui.spacing_mut().item_spacing.y = 0.0;
            self.header_ui(ui, theme, &shown, width, messages);
            if self.rows.is_empty() {
                ui.add_space(2.0 * metrics::SPACE);
                ui.colored_label(theme.ui.dim, self.empty);
                return;
            }
            let rows = ScrollArea::vertical().id_salt(("rows", self.id.index())).auto_shrink([false, false]);
            rows.show_rows(ui, ROW_HEIGHT, self.order.len(), |ui, range| {
                for place in self.order.get(range).unwrap_or_default() {
                    if let Some(row) = self.rows.get(*place as usize) {
                        self.row_ui(ui, theme, &shown, width, row, messages);
                    }
                }
            });
        });
    }

    /// The places of the columns that a table of this width shows: from its statistics those that say least go first,
    /// so that names can still be told apart.
    fn shown(&self, available: f32) -> Vec<usize> {
        const GOOD_FILL: f32 = 260.0;
        const DISPENSABLE: [&str; 5] = ["p95", "min", "mean", "max", "median"];
        let columns = self.columns.iter().enumerate();
        let mut shown: Vec<usize> =
            columns.filter(|(_, column)| !self.without.contains(&column.title)).map(|(place, _)| place).collect();
        for title in DISPENSABLE {
            if self.fixed(&shown) + GOOD_FILL <= available {
                break;
            }
            shown.retain(|&place| {
                place == self.sort.column || self.columns.get(place).is_some_and(|column| column.title != title)
            });
        }
        shown
    }

    /// The widths of the columns that do not take what is left.
    fn fixed(&self, shown: &[usize]) -> f32 {
        shown.iter().filter_map(|&place| self.columns.get(place)).map(|column| column.width).sum()
    }

    fn width(&self, shown: &[usize], available: f32) -> f32 {
        let fills = self.columns.iter().any(|column| column.width == 0.0);
        let fixed = self.fixed(shown);
        if fills { available.max(fixed + MIN_FILL) } else { fixed }
    }

    /// The columns with their places in `rect`.
    fn places<'s>(&'s self, shown: &'s [usize], rect: Rect) -> impl Iterator<Item = (usize, &'s Column<R>, Rect)> {
        let fill = (rect.width() - self.fixed(shown)).max(MIN_FILL);
        let mut left = rect.left();
        shown.iter().filter_map(|&place| Some((place, self.columns.get(place)?))).map(move |(place, column)| {
            let width = if column.width == 0.0 { fill } else { column.width };
            let cell = Rect::from_min_size(pos2(left, rect.top()), vec2(width, rect.height()));
            left += width;
            (place, column, cell)
        })
    }

    fn header_ui(&self, ui: &mut Ui, theme: &Theme, shown: &[usize], width: f32, messages: &mut Vec<Message>) {
        let (rect, _) = ui.allocate_exact_size(vec2(width, HEADER_HEIGHT), Sense::hover());
        for (place, column, cell) in self.places(shown, rect) {
            let response = ui.interact(cell, ui.scope_id().with(("head", self.id.index(), place)), Sense::click());
            let is_sorted = self.sort.column == place;
            let color = if is_sorted || response.hovered() { theme.ui.text } else { theme.ui.dim };
            let inner = cell.shrink2(vec2(CELL_PADDING, 0.0));
            let font = FontId::proportional(metrics::TRACK_FONT);
            let width = paint_text(ui, inner, column.is_number, column.title, font, color);
            if is_sorted {
                let x = if column.is_number { inner.right() - width - 9.0 } else { inner.left() + width + 9.0 };
                triangle(ui, pos2(x, inner.center().y), theme.ui.dim, self.sort.descends);
            }
            response.widget_info(|| WidgetInfo::labeled(Role::ColumnHeader, true, column.title));
            let response = if column.tip.is_empty() { response } else { response.on_hover_text(column.tip) };
            if response.clicked() {
                messages.push(Message::SortTable(self.id, place));
            }
        }
        ui.painter().hline(rect.x_range(), rect.bottom() - 0.5, Stroke::new(1.0, theme.ui.hairline));
    }

    fn row_ui(&self, ui: &mut Ui, theme: &Theme, shown: &[usize], width: f32, row: &R, messages: &mut Vec<Message>) {
        let (rect, response) = ui.allocate_exact_size(vec2(width, ROW_HEIGHT), Sense::click());
        if response.hovered() {
            ui.painter().rect_filled(rect, 0.0, theme.ui.hover);
        }
        let mark = (self.mark)(row);
        for (place, column, cell) in self.places(shown, rect) {
            let mut inner = cell.shrink2(vec2(CELL_PADDING, 0.0));
            if place == 0
                && let Some(color) = mark
            {
                let center = pos2(inner.left() + 4.0, inner.center().y);
                ui.painter().rect_filled(Rect::from_center_size(center, vec2(8.0, 8.0)), 2.0, color);
                inner.min.x += 8.0 + CELL_PADDING;
            }
            let color = if place == 0 { theme.ui.text } else { theme.ui.dim };
            let font = FontId::proportional(metrics::TRACK_FONT);
            paint_text(ui, inner, column.is_number, &(column.text)(row), font, color);
        }
        let name = || self.columns.first().map_or_else(String::new, |column| column.full.unwrap_or(column.text)(row));
        response.widget_info(|| WidgetInfo::labeled(Role::Row, true, name()));
        if response.clicked() {
            messages.push((self.click)(row));
        }
        response.on_hover_ui(|ui| {
            ui.set_max_width(520.0);
            ui.label(name());
            ui.colored_label(theme.ui.dim, "Click to light up its events");
        });
    }
}

/// Paints one line of text in the middle of `rect`, cut at its end with `…`. Returns its width.
pub(crate) fn paint_text(ui: &Ui, rect: Rect, at_right: bool, text: &str, font: FontId, color: Color32) -> f32 {
    let mut job = LayoutJob::single_section(text.to_owned(), TextFormat::simple(font, color));
    job.wrap = TextWrapping::truncate_at_width(rect.width());
    job.halign = Align::Min;
    let galley = ui.painter().layout_job(job);
    let align = if at_right { Align2::RIGHT_CENTER } else { Align2::LEFT_CENTER };
    let width = galley.size().x;
    let place = align.align_size_within_rect(galley.size(), rect);
    ui.painter()
        .with_clip_rect(rect.expand2(vec2(1.0, 4.0)).intersect(ui.clip_rect()))
        .galley(place.min, galley, color);
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column<(&str, Option<f64>)>] = &[
        Column {
            title: "name",
            width: 0.0,
            is_number: false,
            tip: "",
            full: None,
            text: |row| row.0.to_owned(),
            key: |row| Key::Text(row.0),
        },
        Column {
            title: "value",
            width: 50.0,
            is_number: true,
            tip: "",
            full: None,
            text: |row| format!("{:?}", row.1),
            key: |row| Key::maybe(row.1),
        },
    ];

    #[test]
    fn rows_sort_by_any_column_and_missing_numbers_are_the_smallest() {
        let rows = [("b", Some(2.0)), ("a", None), ("c", Some(10.0)), ("d", Some(2.0))];
        let by = |column, descends| order(&rows, COLUMNS, Sort { column, descends });
        assert_eq!(by(0, false), [1, 0, 2, 3]);
        assert_eq!(by(0, true), [3, 2, 0, 1]);
        assert_eq!(by(1, true), [2, 0, 3, 1]);
        assert_eq!(by(1, false), [1, 0, 3, 2]);
        assert_eq!(by(7, false), [0, 1, 2, 3]);
    }
}
