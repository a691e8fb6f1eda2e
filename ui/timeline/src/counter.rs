//! Counters: the lowest and highest value under each pixel, whatever the number of samples.

use std::ops::Range;

use gapless_trace::CounterSeries;

/// Samples (or entries of the level below) that an entry sums up.
const FANOUT: usize = 16;

/// Lowest and highest values of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Extent {
    pub low: f32,
    pub high: f32,
}

impl Extent {
    const NONE: Self = Self { low: f32::INFINITY, high: f32::NEG_INFINITY };

    fn of(value: f64) -> Self {
        // A value that is no number shows nothing.
        if value.is_nan() { Self::NONE } else { Self { low: value as f32, high: value as f32 } }
    }

    fn join(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    pub fn is_empty(self) -> bool {
        self.low > self.high
    }
}

/// Extents of a series in levels of one entry per 16, 256, … samples.
#[derive(Debug)]
pub(crate) struct CounterPyramid {
    levels: Vec<Vec<Extent>>,
    whole: Extent,
}

impl CounterPyramid {
    pub fn build(series: &CounterSeries) -> Self {
        let whole_of = |extents: &[Extent]| extents.iter().fold(Extent::NONE, |all, &extent| all.join(extent));
        let mut levels: Vec<Vec<Extent>> = Vec::new();
        let mut level: Vec<Extent> = series
            .values
            .chunks(FANOUT)
            .map(|part| part.iter().fold(Extent::NONE, |all, &value| all.join(Extent::of(value))))
            .collect();
        while level.len() > 1 {
            let next = level.chunks(FANOUT).map(whole_of).collect();
            levels.push(std::mem::replace(&mut level, next));
        }
        Self { whole: whole_of(&level), levels }
    }

    /// Of all samples.
    pub fn whole(&self) -> Extent {
        self.whole
    }

    pub fn heap_bytes(&self) -> usize {
        self.levels.iter().map(|level| level.capacity() * size_of::<Extent>()).sum()
    }

    /// Of the samples in `range`. O(16 log n).
    pub fn extent(&self, values: &[f64], range: Range<usize>) -> Extent {
        let Range { mut start, mut end } = range;
        let mut all = Extent::NONE;
        let of_value = |values: &[f64]| values.iter().fold(Extent::NONE, |all, &value| all.join(Extent::of(value)));
        // Peel the ragged ends of each level until what is left is whole entries of the next.
        let mut below: Option<&Vec<Extent>> = None;
        for level in self.levels.iter().map(Some).chain([None]) {
            let read = |range: Range<usize>| match below {
                None => of_value(values.get(range).unwrap_or_default()),
                Some(entries) => {
                    entries.get(range).unwrap_or_default().iter().fold(Extent::NONE, |all, &e| all.join(e))
                }
            };
            let (inner_start, inner_end) = (start.div_ceil(FANOUT), end / FANOUT);
            let Some(level) = level.filter(|_| inner_start < inner_end) else { return all.join(read(start..end)) };
            all = all.join(read(start..inner_start * FANOUT)).join(read(inner_end * FANOUT..end));
            (start, end) = (inner_start, inner_end);
            below = Some(level);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gapless_trace::{StrId, TrackId};

    #[test]
    fn extents_equal_those_of_the_samples() {
        let mut random = crate::fixtures::Random(7);
        for count in [0_usize, 1, 15, 16, 17, 255, 256, 1_000, 5_000] {
            let values: Vec<f64> = (0..count).map(|_| random.below(1_000_000) as f64).collect();
            let series = CounterSeries {
                track: TrackId(0),
                name: StrId::EMPTY,
                unit: StrId::EMPTY,
                times: (0..count as i64).collect(),
                values: values.clone(),
            };
            let pyramid = CounterPyramid::build(&series);
            let exact =
                |range: Range<usize>| values[range].iter().fold(Extent::NONE, |all, &v| all.join(Extent::of(v)));
            assert_eq!(pyramid.whole(), exact(0..count));
            for _ in 0..200 {
                let a = random.below(count as u64 + 1) as usize;
                let b = random.below(count as u64 + 1) as usize;
                let range = a.min(b)..a.max(b);
                assert_eq!(pyramid.extent(&values, range.clone()), exact(range.clone()), "{range:?} of {count}");
            }
        }
    }
}
