//! Level of detail: a pyramid per long row, so that a frame costs pixels and not events.
//!
//! # Shape
//!
//! A row is cut into blocks of [`BLOCK_EVENTS`] events. A block covers the time from its first event to the next
//! block's first, in 2^m cells of equal length (about two events each), then half as many, down to one. A cell holds
//! the share of its time that is busy, and the length and colour of its longest event. Blocks adapt to density: a
//! burst of a million events within a second of an hour still has cells of its own, which one uniform grid over
//! the row would not give.
//!
//! # Cost
//!
//! At most 8 bytes an event (2^(m+1) − 1 cells of 8 bytes for at least 2^(m+1) events). Drawing a row of `w` pixels
//! reads at most about `3 w` cells plus one per block that is narrower than a pixel; where the finest cells are
//! wider than 0.7 pixels, fewer than three events a pixel are left on average, and the events themselves are read.

use std::ops::Range;

use rayon::prelude::*;

use crate::sequence::Sequence;
use crate::theme::ColorId;

/// Events in a block.
pub(crate) const BLOCK_EVENTS: usize = 4096;
/// Rows with fewer events have no pyramid: reading them all is as cheap.
pub(crate) const MIN_EVENTS: usize = 1024;

/// Least number of cells under a column: below it, the events themselves are read. More cells are truer and slower.
const CELLS_PER_COLUMN: f64 = std::f64::consts::SQRT_2;

/// Some time of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cell {
    /// Length of the longest event that touches the cell, in ns, at least 1; 0 if none does.
    longest_ns: f32,
    /// Busy share of the cell, of 65535.
    busy: u16,
    /// Colour of the longest event.
    color: ColorId,
}

/// Some consecutive events of a row.
#[derive(Clone, Copy, Debug)]
struct Block {
    start_ns: i64,
    end_ns: i64,
    /// Exponent of the number of cells of the finest level.
    exponent: u32,
    /// Its first cell among the fine ones.
    first_fine: usize,
}

impl Block {
    fn cell_ns(&self, level: u32) -> f64 {
        (self.end_ns - self.start_ns).max(1) as f64 / f64::from(1_u32 << (self.exponent - level))
    }

    /// Exponent of the number of cells of the finest level that is stored with the coarse ones.
    fn coarse_exponent(&self) -> u32 {
        self.exponent.min(COARSE_EXPONENT)
    }
}

/// Levels of at most 2^4 cells a block are stored apart, side by side for all blocks: a view of many blocks reads little
/// of each, and would miss the caches for each.
const COARSE_EXPONENT: u32 = 4;
const COARSE_CELLS: usize = (2 << COARSE_EXPONENT) - 1;
/// A rest of fewer events is no block of its own but part of the block before it.
const MIN_REST: usize = 2 << (COARSE_EXPONENT + 1);

/// The pyramid of one row.
#[derive(Debug, Default)]
pub(crate) struct Pyramid {
    blocks: Vec<Block>,
    /// Levels of more than [`COARSE_CELLS`] cells, block by block, the finest first.
    fine: Vec<Cell>,
    /// The other levels.
    coarse: Vec<Cell>,
}

/// What a column of pixels shows of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PixelColumn {
    /// Busy share of the column's time, from 0; rounding may carry it a little above 1.
    pub busy: f32,
    /// Length of the longest event that touches the column, in ns, at least 1; 0 if none does.
    pub longest_ns: f32,
    /// Colour of the longest event.
    pub color: ColorId,
}

/// How time maps onto columns of pixels: column 0 begins at `start_ns` + `start_fraction`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub start_ns: i64,
    pub start_fraction: f64,
    pub ns_per_column: f64,
    pub columns: usize,
}

impl Grid {
    fn end_ns(&self) -> i64 {
        let span = self.start_fraction + self.ns_per_column * self.columns as f64;
        self.start_ns.saturating_add(span.ceil() as i64)
    }

    /// First time of a column, rounded down.
    pub fn time(&self, column: f64) -> i64 {
        self.start_ns.saturating_add((self.start_fraction + column * self.ns_per_column).floor() as i64)
    }

    /// The events of a row that touch the grid.
    pub fn touching(&self, row: &impl Sequence, pyramid: Option<&Pyramid>) -> Range<usize> {
        let (start, end) = (self.start_ns, self.end_ns());
        let Some(pyramid) = pyramid else { return row.touching(start, end) };
        // Searching the few block starts first keeps the search of long rows within two pages of the columns.
        let blocks = &pyramid.blocks;
        let block_at = |time: i64| blocks.partition_point(|block| block.start_ns < time).saturating_sub(1);
        let within = |block: usize| block_events(block, blocks.len(), row.len());
        let (from, to) = (within(block_at(start)), within(block_at(end)));
        let mut first = row.first_starting_at(from.clone(), start);
        if first > 0 && row.end(first - 1) > start {
            first -= 1;
        }
        first..row.first_starting_at(to.start.max(first)..to.end, end)
    }
}

impl Pyramid {
    /// The pyramid of a row; `None` for rows that are short enough without. In parallel over blocks.
    pub fn build(row: &impl Sequence) -> Option<Self> {
        if row.len() < MIN_EVENTS {
            return None;
        }
        let count = (row.len() + BLOCK_EVENTS - MIN_REST) / BLOCK_EVENTS;
        let mut blocks = Vec::with_capacity(count);
        let mut fine = 0;
        for index in 0..count.max(1) {
            let range = block_events(index, count.max(1), row.len());
            let end_ns = if range.end < row.len() { row.start(range.end) } else { row.end(range.end - 1) };
            let exponent = (range.len() / 2).ilog2().min(BLOCK_EVENTS.ilog2() - 1);
            blocks.push(Block { start_ns: row.start(range.start), end_ns, exponent, first_fine: fine });
            fine += (2 << exponent) - (2 << COARSE_EXPONENT);
        }
        let mut fine = vec![Cell::default(); fine];
        let mut coarse = vec![Cell::default(); blocks.len() * COARSE_CELLS];
        // Only the last block can be smaller, so chunks of one size are the blocks.
        let chunks =
            fine.par_chunks_mut(BLOCK_EVENTS - (2 << COARSE_EXPONENT)).zip(coarse.par_chunks_mut(COARSE_CELLS));
        chunks.zip(&blocks).enumerate().for_each(|(index, ((fine, coarse), block))| {
            fill_block(row, block_events(index, blocks.len(), row.len()), block, fine, coarse);
        });
        Some(Self { blocks, fine, coarse })
    }

    /// The cells of a block at `level`, 0 the finest.
    fn cells(&self, index: usize, block: &Block, level: u32) -> &[Cell] {
        let exponent = block.exponent - level;
        let coarse = block.coarse_exponent();
        let (cells, from) = if exponent > coarse {
            let whole = 2_usize << block.exponent;
            (&self.fine, block.first_fine + whole - (whole >> level))
        } else {
            (&self.coarse, index * COARSE_CELLS + (2 << coarse) - (2 << exponent))
        };
        cells.get(from..from + (1 << exponent)).unwrap_or_default()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>()
            + (self.fine.capacity() + self.coarse.capacity()) * size_of::<Cell>()
    }

    /// Adds the row to `columns` (of the grid's length): cells where they are fine enough, else events.
    /// Returns how many cells and events were read.
    pub fn add_to(&self, row: &impl Sequence, grid: &Grid, columns: &mut [PixelColumn]) -> usize {
        let (start, end) = (grid.start_ns, grid.end_ns());
        let first = self.blocks.partition_point(|block| block.end_ns <= start);
        let per_ns = 1.0 / grid.ns_per_column;
        let mut read = 0;
        for (index, block) in self.blocks.iter().enumerate().skip(first) {
            if block.start_ns >= end {
                break;
            }
            let finest = block.cell_ns(0) * per_ns;
            let Ok(finer) = u32::try_from(floor_log2(1.0 / (finest * CELLS_PER_COLUMN))) else {
                let within = block_events(index, self.blocks.len(), row.len());
                let touching = row.touching_within(within, start, end);
                read += touching.len();
                add_events(row, touching, grid, columns);
                continue;
            };
            let mut level = finer.min(block.exponent);
            if block.exponent - level <= COARSE_EXPONENT {
                // With this many blocks on screen, one cell a column must do.
                level = u32::try_from(floor_log2(1.0 / finest)).unwrap_or(level).min(block.exponent);
            }
            let cells = self.cells(index, block, level);
            let step = finest * f64::from(1_u32 << level);
            let x0 = (block.start_ns.saturating_sub(start) as f64 - grid.start_fraction) * per_ns;
            let is_inside = x0 >= 0.0 && x0 + cells.len() as f64 * step <= grid.columns as f64;
            let (skipped, past) = if is_inside {
                (0, cells.len())
            } else {
                let skipped = ((-x0 / step).max(0.0) as usize).min(cells.len());
                (skipped, (((grid.columns as f64 - x0) / step).max(0.0) as usize + 1).clamp(skipped, cells.len()))
            };
            let visible = cells.get(skipped..past).unwrap_or_default();
            read += visible.len();
            add_cells(visible, x0 + skipped as f64 * step, step, columns);
        }
        read
    }
}

impl PixelColumn {
    /// Adds a share of the column's time, and the colour of an event if it is the longest so far.
    #[inline]
    fn add(&mut self, share: f64, longest_ns: f32, color: impl FnOnce() -> ColorId) {
        self.busy += share as f32;
        if longest_ns > self.longest_ns {
            self.longest_ns = longest_ns;
            self.color = color();
        }
    }
}

/// The events of a block: the last one has the rest.
fn block_events(index: usize, blocks: usize, events: usize) -> Range<usize> {
    let end = if index + 1 < blocks { (index + 1) * BLOCK_EVENTS } else { events };
    (index * BLOCK_EVENTS).min(end)..end
}

/// The logarithm of a positive number to base 2, rounded down: its exponent.
fn floor_log2(value: f64) -> i32 {
    ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

/// Adds cells of `step` columns each, at most one column, the first at `left`.
// Casts truncate where `floor` would be the clearer word: without SSE 4.1, which the x86-64 baseline lacks, `floor` is a
// function call, and made this loop three times as slow.
fn add_cells(cells: &[Cell], left: f64, step: f64, columns: &mut [PixelColumn]) {
    for (cell, place) in cells.iter().zip(0_u32..) {
        if cell.longest_ns <= 0.0 {
            continue;
        }
        let x0 = (left + f64::from(place) * step).max(0.0);
        let x1 = left + f64::from(place + 1) * step;
        let column = x0 as usize;
        let edge = (column + 1) as f64;
        let busy = f64::from(cell.busy) * (1.0 / 65535.0);
        let Some(entry) = columns.get_mut(column) else { return };
        if x1 <= edge {
            entry.add(busy * (x1 - x0), cell.longest_ns, || cell.color);
            continue;
        }
        // A cell that two columns share shows its colour where most of it lies.
        let (before, after) = (edge - x0, x1 - edge);
        let of_most = |share, other| if share >= other { cell.longest_ns } else { 0.0 };
        entry.add(busy * before, of_most(before, after), || cell.color);
        if let Some(entry) = columns.get_mut(column + 1) {
            entry.add(busy * after, of_most(after, before), || cell.color);
        }
    }
}

/// Adds events one by one: exact. A point in time touches the column that it lies in.
pub(crate) fn add_events(row: &impl Sequence, range: Range<usize>, grid: &Grid, columns: &mut [PixelColumn]) {
    /// The column that events are being added to: in registers, and written once it is left.
    struct Open {
        column: usize,
        busy: f64,
        longest_ns: f32,
        /// The longest event.
        event: usize,
    }
    let width = grid.columns as f64;
    let per_ns = 1.0 / grid.ns_per_column;
    let mut open = Open { column: usize::MAX, busy: 0.0, longest_ns: 0.0, event: 0 };
    let write = |columns: &mut [PixelColumn], open: &Open| {
        if let Some(column) = columns.get_mut(open.column) {
            column.add(open.busy, open.longest_ns, || row.color(open.event));
        }
    };
    for event in range {
        let (start, dur) = (row.start(event), row.dur(event));
        let x = (start.saturating_sub(grid.start_ns) as f64 - grid.start_fraction) * per_ns;
        let (x0, x1) = (x.max(0.0), (x + dur as f64 * per_ns).min(width));
        let longest_ns = (dur as f32).max(1.0);
        let first = x0 as usize;
        if first != open.column {
            write(columns, &open);
            open = Open { column: first, busy: 0.0, longest_ns: 0.0, event };
        }
        if longest_ns > open.longest_ns {
            open.longest_ns = longest_ns;
            open.event = event;
        }
        let edge = (first + 1) as f64;
        if x1 <= edge {
            open.busy += (x1 - x0).max(0.0);
            continue;
        }
        open.busy += edge - x0;
        write(columns, &open);
        let last = x1 as usize;
        for column in columns.get_mut(first + 1..last).unwrap_or_default() {
            column.add(1.0, longest_ns, || row.color(event));
        }
        let rest = x1 - last as f64;
        open = Open { column: last, busy: rest, longest_ns: if rest > 0.0 { longest_ns } else { 0.0 }, event };
    }
    write(columns, &open);
}

/// Fills the cells of one block, finest level first.
fn fill_block(row: &impl Sequence, range: Range<usize>, block: &Block, fine: &mut [Cell], coarse: &mut [Cell]) {
    let count = 1_usize << block.exponent;
    let mut sums = vec![PixelColumn::default(); count];
    // A little wider than they are, so that a point in time at the very end lies in the last cell.
    let ns_per_column = block.cell_ns(0) * (1.0 + 1e-9);
    let grid = Grid { start_ns: block.start_ns, start_fraction: 0.0, ns_per_column, columns: count };
    add_events(row, range, &grid, &mut sums);
    let to_cell = |sum: &PixelColumn| Cell {
        longest_ns: sum.longest_ns,
        busy: (sum.busy.min(1.0) * 65535.0 + 0.5) as u16,
        color: sum.color,
    };
    let mut level: Vec<Cell> = sums.iter().map(to_cell).collect();
    let mut places = fine.iter_mut().chain(coarse);
    loop {
        for (cell, place) in level.iter().zip(places.by_ref()) {
            *place = *cell;
        }
        if level.len() < 2 {
            return;
        }
        level = level.chunks_exact(2).filter_map(|pair| <&[Cell; 2]>::try_from(pair).ok()).map(join).collect();
    }
}

/// A cell of twice the length.
fn join([a, b]: &[Cell; 2]) -> Cell {
    let longer = if a.longest_ns >= b.longest_ns { a } else { b };
    Cell { busy: (u32::from(a.busy) + u32::from(b.busy)).div_ceil(2) as u16, ..*longer }
}

#[cfg(test)]
mod tests {
    use gapless_trace::{EventId, Trace};

    use super::*;
    use crate::fixtures;
    use crate::index::TimelineIndex;
    use crate::layout::RowSource;
    use crate::sequence::{AnySequence, with_sequence};

    const WIDTH: usize = 1920;

    fn grid(trace: &Trace, part: f64) -> Grid {
        let span = trace.span().unwrap();
        let whole = span.duration().0 as f64;
        let start = span.start.0 + (whole * (1.0 - part) * 0.37) as i64;
        Grid { start_ns: start, start_fraction: 0.0, ns_per_column: whole * part / WIDTH as f64, columns: WIDTH }
    }

    /// Mean absolute difference of occupancy over touched columns, and share of columns of the same colour.
    fn compare(trace: &Trace, part: f64) -> (f64, f64) {
        let index = TimelineIndex::build(trace);
        let grid = grid(trace, part);
        let (mut error, mut same, mut count) = (0.0, 0, 0);
        for row in 0..trace.rows().len() as u32 {
            let (sequence, pyramid) = index.sequence(trace, RowSource::Row(gapless_trace::RowId(row))).unwrap();
            let mut exact = vec![PixelColumn::default(); WIDTH];
            let mut fast = exact.clone();
            with_sequence!(sequence, events => {
                add_events(&events, grid.touching(&events, None), &grid, &mut exact);
                let read = pyramid.unwrap().add_to(&events, &grid, &mut fast);
                assert!(read <= 3 * WIDTH + 4 * BLOCK_EVENTS, "{read} cells and events are read for {WIDTH} columns");
            });
            for (exact, fast) in exact.iter().zip(&fast).filter(|(exact, _)| exact.longest_ns > 0.0) {
                error += f64::from((exact.busy - fast.busy).abs());
                same += usize::from(exact.color == fast.color);
                count += 1;
            }
        }
        (error / f64::from(count), same as f64 / f64::from(count))
    }

    #[test]
    fn strips_from_the_pyramid_are_true_to_the_events() {
        let trace = fixtures::kernels(2, 1_000_000, 3);
        for part in [1.0, 0.1, 0.01] {
            let (error, same_color) = compare(&trace, part);
            // The design note measured 0.7 to 2.5 % and 51 to 77 % for uniform grids.
            assert!(error <= 0.025, "mean occupancy error {error:.4} at {part}");
            assert!(same_color >= 0.5, "only {same_color:.2} of the columns keep their colour at {part}");
            println!("part {part}: mean occupancy error {error:.4}, same colour {same_color:.3}");
        }
    }

    #[test]
    fn strips_of_many_blocks_are_true_to_the_events() {
        let trace = fixtures::kernels(1, 2_000_000, 12);
        let (error, same_color) = compare(&trace, 1.0);
        println!("488 blocks: mean occupancy error {error:.4}, same colour {same_color:.3}");
        assert!(error <= 0.025 && same_color >= 0.5, "error {error:.4}, same colour {same_color:.2}");
    }

    #[test]
    fn bursts_keep_their_shape() {
        // 200,000 short events within the first thousandth of the row, and one at its end.
        let trace = fixtures::burst(200_000);
        for part in [1.0, 0.001, 0.000_1] {
            let index = TimelineIndex::build(&trace);
            let span = trace.span().unwrap();
            let ns_per_column = span.duration().0 as f64 * part / WIDTH as f64;
            let grid = Grid { start_ns: span.start.0, start_fraction: 0.0, ns_per_column, columns: WIDTH };
            let (sequence, pyramid) = index.sequence(&trace, RowSource::Row(gapless_trace::RowId(0))).unwrap();
            let AnySequence::Range(events) = sequence else { unreachable!("a row") };
            let mut exact = vec![PixelColumn::default(); WIDTH];
            let mut fast = exact.clone();
            add_events(&events, grid.touching(&events, None), &grid, &mut exact);
            pyramid.unwrap().add_to(&events, &grid, &mut fast);
            let worst = exact.iter().zip(&fast).map(|(a, b)| (a.busy - b.busy).abs()).fold(0.0, f32::max);
            assert!(worst < 0.05, "an occupancy is off by {worst} at {part}");
        }
    }

    #[test]
    fn the_index_costs_at_most_eight_bytes_an_event() {
        let trace = fixtures::kernels(3, 300_000, 9);
        let index = TimelineIndex::build(&trace);
        let events = trace.events().len();
        let cells = index.memory_bytes();
        assert!(cells <= 8 * events + 64 * 1024, "{cells} bytes for {events} events");
    }

    #[test]
    fn the_search_through_blocks_equals_the_search_through_events() {
        let trace = fixtures::kernels(1, 50_000, 4);
        let index = TimelineIndex::build(&trace);
        let (sequence, pyramid) = index.sequence(&trace, RowSource::Row(gapless_trace::RowId(0))).unwrap();
        let span = trace.span().unwrap();
        let mut random = fixtures::Random(8);
        for _ in 0..2_000 {
            let start_ns = span.start.0 + random.below(span.duration().0 as u64 + 1_000_000) as i64 - 500_000;
            let ns_per_column = random.log_uniform(1.0, 1e6) as f64;
            let grid = Grid { start_ns, start_fraction: 0.0, ns_per_column, columns: 100 };
            with_sequence!(sequence, events => {
                assert_eq!(grid.touching(&events, pyramid), grid.touching(&events, None));
            });
        }
    }

    #[test]
    fn busy_columns_are_never_empty() {
        let trace = fixtures::kernels(1, 20_000, 6);
        let index = TimelineIndex::build(&trace);
        let grid = grid(&trace, 1.0);
        let (sequence, pyramid) = index.sequence(&trace, RowSource::Row(gapless_trace::RowId(0))).unwrap();
        let mut columns = vec![PixelColumn::default(); WIDTH];
        with_sequence!(sequence, events => pyramid.unwrap().add_to(&events, &grid, &mut columns));
        let mut exact = vec![PixelColumn::default(); WIDTH];
        with_sequence!(sequence, events => add_events(&events, 0..events.len(), &grid, &mut exact));
        let kind = trace.event(EventId(0)).kind;
        for (column, exact) in columns.iter().zip(&exact) {
            assert!(column.longest_ns > 0.0 || exact.busy < 0.3, "{column:?} for {exact:?}");
            assert!(column.longest_ns == 0.0 || column.color.kind() == kind);
        }
    }
}
