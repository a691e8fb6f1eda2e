//! Work that one event hands on and another takes up, named by the same number.

use gapless_trace::{RawEdge, RawPlace, SourceId, StrId, WarningKind, Warnings};
use rayon::prelude::*;

/// Whether an event hands work on, takes it up, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// It hands work on.
    Out,
    /// It takes work up and hands it on.
    InOut,
    /// It takes work up.
    In,
}

/// One end of an arrow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Numbers of producers and of flows are counted apart.
    pub space: u8,
    /// Part of the program that counts the numbers.
    pub context: u64,
    /// The number.
    pub id: u64,
    /// Which end.
    pub direction: Direction,
    /// Start of the event in ns.
    pub start: i64,
    /// Chunk of the event.
    pub chunk: u32,
    /// Place of the event in the chunk.
    pub event: u32,
    /// Name of the context, of the chunk's strings.
    pub category: StrId,
    /// Where the event stands in the file.
    pub offset: usize,
}

impl Point {
    const fn place(&self) -> RawPlace {
        RawPlace { chunk: self.chunk, event: self.event }
    }
}

/// Arrows between points of one number, in the order of time: from all that handed work on since it was last taken up
/// (requests that form a batch), else from the last one that did (one piece of work for several threads). Numbers may
/// be used again. O(points log points), and no more arrows than points.
pub(super) fn edges(mut points: Vec<Point>, warnings: &mut Warnings) -> Vec<RawEdge> {
    let key = |point: &Point| (point.space, point.context, point.id);
    points.par_sort_unstable_by_key(|point| (key(point), point.start, point.direction, point.chunk, point.event));
    let mut edges = Vec::new();
    for group in points.chunk_by(|a, b| key(a) == key(b)) {
        let mut open: Vec<&Point> = Vec::new();
        let mut last: Option<&Point> = None;
        // Clocks of threads and devices differ a little: what is taken up first may have been handed on later.
        let later = group.iter().find(|point| point.direction == Direction::Out);
        for point in group {
            if point.direction != Direction::Out {
                let from: Vec<&Point> =
                    if open.is_empty() { last.or(later).into_iter().collect() } else { std::mem::take(&mut open) };
                if from.is_empty() {
                    warnings.add(WarningKind::FlowWithoutStart, SourceId(0), Some(point.offset as u64), "");
                }
                let arrow =
                    |from: &Point| RawEdge { from: from.place(), to: point.place(), category: Some(from.category) };
                edges.extend(from.iter().filter(|from| from.place() != point.place()).map(|from| arrow(from)));
                last = from.last().copied().or(last);
            }
            if point.direction != Direction::In {
                open.push(point);
                last = Some(point);
            }
        }
        // A start whose only end came before it is no loose end.
        let is_taken = group.iter().any(|point| point.direction != Direction::Out);
        if let Some(first) = open.first().filter(|_| !is_taken) {
            let (count, offset) = (open.len() as u64, first.offset as u64);
            warnings.add_many(WarningKind::FlowWithoutEnd, SourceId(0), count, Some(offset), "");
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(id: u64, direction: Direction, start: i64, event: u32) -> Point {
        let (space, context, category, offset) = (0, 1, StrId::EMPTY, event as usize);
        Point { space, context, id, direction, start, chunk: 0, event, category, offset }
    }

    fn arrows(points: &[Point]) -> (Vec<(u32, u32)>, Warnings) {
        let mut warnings = Warnings::default();
        let found = edges(points.to_vec(), &mut warnings);
        (found.iter().map(|edge| (edge.from.event, edge.to.event)).collect(), warnings)
    }

    #[test]
    fn work_goes_from_its_producers_to_its_consumers() {
        use Direction::{In, InOut, Out};
        let check = |points: &[Point], expected: &[(u32, u32)]| {
            let (found, warnings) = arrows(points);
            assert_eq!(found, expected);
            assert!(warnings.is_empty());
        };
        // One to one, and the number again later.
        check(&[point(1, Out, 0, 0), point(1, In, 5, 1), point(1, Out, 10, 2), point(1, In, 15, 3)], &[(0, 1), (2, 3)]);
        // One to several, several to one, a chain.
        check(&[point(1, Out, 0, 0), point(1, In, 5, 1), point(1, In, 6, 2)], &[(0, 1), (0, 2)]);
        check(&[point(1, Out, 0, 0), point(1, Out, 1, 1), point(1, In, 6, 2)], &[(0, 2), (1, 2)]);
        check(&[point(1, Out, 0, 0), point(1, InOut, 1, 1), point(1, In, 6, 2)], &[(0, 1), (1, 2)]);
        // Clocks that differ.
        check(&[point(1, In, 0, 0), point(1, Out, 1, 1)], &[(1, 0)]);
    }

    #[test]
    fn loose_ends_are_counted() {
        use Direction::{In, Out};
        let (found, warnings) = arrows(&[point(1, Out, 0, 0), point(1, Out, 1, 1), point(2, In, 0, 2)]);
        assert_eq!(found, []);
        assert_eq!(warnings.count(WarningKind::FlowWithoutEnd), 2);
        assert_eq!(warnings.count(WarningKind::FlowWithoutStart), 1);
    }
}
