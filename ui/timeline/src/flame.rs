//! Sampled call stacks as flame strips: rows of frames over time.
//!
//! A sample stands for the time until the next one. Frames of neighbouring samples join where they and all frames around
//! them are the same function. Where no sample falls within [`GAP`] periods nothing is drawn: the thread did not run, or
//! was not sampled.

use gapless_trace::{EventId, EventKind, Frame, StackId, StrId, Timestamp, Trace, Track};

use crate::sequence::Columns;
use crate::theme::ColorId;

/// Periods between samples from which on there is a gap.
const GAP: f64 = 2.5;
/// Frames beyond this depth are not drawn; recursion can make thousands.
const DEEPEST: usize = 256;
/// Rows of a folded strip.
pub(crate) const FOLDED_ROWS: usize = 5;

/// One function over a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlameBar {
    /// When the first of its samples was taken.
    pub start: Timestamp,
    /// When the first sample without it was taken, or one period after its last.
    pub end: Timestamp,
    /// The function, as its first sample has it.
    pub frame: Frame,
    /// What it is drawn as: a Python frame, or any other.
    pub kind: EventKind,
    /// Its first sample.
    pub first: EventId,
    /// Its samples.
    pub samples: u32,
    /// Those of them in which it is the innermost function.
    pub own_samples: u32,
}

/// The frames of one depth, by time.
pub type FlameRow = Vec<FlameBar>;

/// The samples of one thread.
#[derive(Clone, Debug, Default)]
pub struct Flame {
    /// By depth, outermost first.
    pub rows: Vec<FlameRow>,
    /// Samples in all.
    pub samples: u32,
    /// Depth of the first row that tells anything: the rows above it show one function all the time.
    pub first_telling: usize,
}

/// A frame that is still on the stack.
struct Open {
    bar: FlameBar,
    key: (StrId, StrId, StrId),
}

/// Where one function goes on from sample to sample, whatever its line.
fn key_of(frame: &Frame) -> (StrId, StrId, StrId) {
    (frame.name, frame.file, frame.module)
}

impl Flame {
    /// The strips of a track of samples. O(samples × depth).
    #[must_use]
    pub fn new(trace: &Trace, track: &Track) -> Self {
        let mut samples: Vec<(Timestamp, EventId, StackId)> =
            track.event_ids().filter_map(|id| Some((trace.event(id).start, id, trace.stack_of(id)?.stack))).collect();
        samples.sort_unstable();
        let period = period_of(&samples);
        let mut flame = Self { samples: samples.len() as u32, ..Self::default() };
        let mut open: Vec<Open> = Vec::new();
        let mut last: Option<Timestamp> = None;
        let mut frames: Vec<Frame> = Vec::new();
        for &(time, id, stack) in &samples {
            if let Some(before) = last.filter(|&before| (time - before).0 as f64 > GAP * period as f64) {
                flame.close(&mut open, 0, Timestamp(before.0.saturating_add(period)));
            }
            last = Some(time);
            frames.clear();
            frames.extend(trace.stacks().frames_of(stack));
            frames.reverse();
            frames.truncate(DEEPEST);
            let common = open.iter().zip(&frames).take_while(|(open, frame)| open.key == key_of(frame)).count();
            flame.close(&mut open, common, time);
            for frame in frames.iter().skip(common) {
                let bar = FlameBar {
                    start: time,
                    end: time,
                    frame: *frame,
                    kind: kind_of(trace, frame),
                    first: id,
                    samples: 0,
                    own_samples: 0,
                };
                open.push(Open { bar, key: key_of(frame) });
            }
            for open in &mut open {
                open.bar.samples += 1;
            }
            if let Some(innermost) = open.last_mut() {
                innermost.bar.own_samples += 1;
            }
        }
        if let Some(last) = last {
            flame.close(&mut open, 0, Timestamp(last.0.saturating_add(period)));
        }
        let tells = |row: &FlameRow| {
            row.iter().any(|bar| row.first().is_some_and(|one| key_of(&one.frame) != key_of(&bar.frame)))
        };
        flame.first_telling = flame.rows.iter().position(tells).unwrap_or(0);
        flame
    }

    /// Ends the frames from `depth` on.
    fn close(&mut self, open: &mut Vec<Open>, depth: usize, end: Timestamp) {
        for (place, open) in open.drain(depth.min(open.len())..).enumerate() {
            let row = depth + place;
            if self.rows.len() <= row {
                self.rows.resize_with(row + 1, Vec::new);
            }
            if let Some(row) = self.rows.get_mut(row) {
                row.push(FlameBar { end, ..open.bar });
            }
        }
    }

    /// Samples of the function of `bar` at any depth; recursion counts once, so the sum over rows is an upper bound that
    /// holds exactly where the function does not call itself.
    #[must_use]
    pub fn samples_of(&self, bar: &FlameBar) -> u32 {
        let key = key_of(&bar.frame);
        let all = self.rows.iter().flatten().filter(|other| key_of(&other.frame) == key);
        all.map(|other| other.samples).sum::<u32>().min(self.samples)
    }
}

/// The usual time between two samples: the median; 1 ms where there are too few to tell.
fn period_of(samples: &[(Timestamp, EventId, StackId)]) -> i64 {
    let mut gaps: Vec<i64> = samples
        .windows(2)
        .filter_map(|pair| match pair {
            [(a, ..), (b, ..)] => Some(b.0.saturating_sub(a.0)),
            _ => None,
        })
        .filter(|&gap| gap > 0)
        .collect();
    let middle = gaps.len() / 2;
    if gaps.is_empty() { 1_000_000 } else { *gaps.select_nth_unstable(middle).1 }
}

/// A row of a strip as the painter sees it.
#[derive(Clone, Copy)]
pub(crate) struct FlameSequence<'a> {
    pub columns: Columns<'a>,
    pub bars: &'a [FlameBar],
}

impl crate::sequence::Sequence for FlameSequence<'_> {
    fn len(&self) -> usize {
        self.bars.len()
    }

    #[inline]
    fn start(&self, index: usize) -> i64 {
        self.bars.get(index).map_or(0, |bar| bar.start.0)
    }

    #[inline]
    fn dur(&self, index: usize) -> i64 {
        self.bars.get(index).map_or(0, |bar| (bar.end - bar.start).0)
    }

    fn color(&self, index: usize) -> ColorId {
        let Some(bar) = self.bars.get(index) else { return ColorId::default() };
        ColorId::new(bar.kind, self.columns.shade(bar.frame.name))
    }

    fn id(&self, index: usize) -> EventId {
        self.bars.get(index).map_or(EventId(u32::MAX), |bar| bar.first)
    }

    fn name(&self, index: usize) -> Option<StrId> {
        self.bars.get(index).map(|bar| bar.frame.name)
    }
}

/// What a frame is drawn as: one of Python by its file, as every sampler of Python gives it.
fn kind_of(trace: &Trace, frame: &Frame) -> EventKind {
    let file = trace.text(frame.file);
    if file.ends_with(".py") || file.starts_with('<') { EventKind::PythonFunction } else { EventKind::Async }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::layout::{RowSource, TimelineLayout, TrackGroup};

    #[test]
    fn neighbouring_samples_of_one_function_join_and_pauses_are_gaps() {
        let trace = fixtures::samples();
        let layout = TimelineLayout::new(&trace);
        let [flame] = layout.flames() else { panic!("one sampled thread") };
        let begin = trace.span().unwrap().start;
        let bars = |depth: usize| -> Vec<(&str, i64, i64, u32, u32)> {
            let ms = |time: Timestamp| (time - begin).0 / 1_000_000;
            let row = flame.rows[depth].iter();
            row.map(|bar| (trace.text(bar.frame.name), ms(bar.start), ms(bar.end), bar.samples, bar.own_samples))
                .collect()
        };
        assert_eq!(flame.samples, 20);
        assert_eq!(bars(0), [("main", 0, 10, 10, 0), ("main", 20, 30, 10, 0)]);
        assert_eq!(bars(1), [("load", 0, 5, 5, 5), ("train", 5, 10, 5, 2), ("train", 20, 30, 10, 5)]);
        assert_eq!(bars(2).len(), 8);
        assert_eq!(bars(2)[0], ("mm", 5, 6, 1, 1));
        assert_eq!(flame.first_telling, 1, "all of the time is in main");
        assert_eq!(flame.samples_of(&flame.rows[1][1]), 15);
        assert!(flame.rows.iter().flatten().all(|bar| bar.kind == EventKind::PythonFunction));
    }

    #[test]
    fn strips_stand_below_their_thread_and_every_sample_has_a_row() {
        let trace = fixtures::samples();
        let layout = TimelineLayout::new(&trace);
        let tracks = &layout.ranks()[0].tracks;
        let at = |wanted: &str| tracks.iter().position(|node| node.label == wanted).unwrap();
        let (thread, samples) =
            (at("thread 2 (two)".trim_start_matches("thread 2 (").trim_end_matches(')')), at("two · samples"));
        assert_eq!(samples, thread + 1, "{:?}", tracks.iter().map(|node| &node.label).collect::<Vec<_>>());
        let node = &tracks[samples];
        assert_eq!((node.group, node.folded.start, node.rows.len()), (TrackGroup::Samples, 1, 3));
        let track = trace.track(node.track.unwrap()).unwrap();
        for event in track.event_ids() {
            assert_eq!(layout.find(&trace, event), Some((0, samples, 0)));
        }
        assert!(matches!(node.rows[2].source, RowSource::Flame(_, 2)));
    }
}
