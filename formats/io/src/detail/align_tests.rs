//! Threads that two tools watch, whose every reading may lie apart by a slice of the scheduler: which operator is which is
//! known by construction.

use proptest::prelude::*;

use super::*;

/// Numbers that look random; the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `from` to below `to`.
    fn range(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from).max(1) as u64) as i64
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.next().is_multiple_of(of)
    }
}

/// How the thread is disturbed.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    /// One reading in so many is followed by a pause, before the other tool reads.
    pause_in: u64,
    /// The longest pause, in ns.
    longest_ns: i64,
    /// One operator in so many is lost by one of the tools; 0 is none.
    lost_in: u64,
}

/// The recording's clock is ahead of the window's by so much.
const AHEAD_NS: i64 = 7_300;

/// What both tools saw of one thread: of each operator its number, and how it was seen.
struct Watched {
    recording: Vec<(usize, Seen)>,
    window: Vec<(usize, Seen)>,
}

/// A loop of steps that repeat, operators nested up to three deep, many of them alike. The window sees what begins in the
/// middle `share` of it.
fn watched(seed: u64, operators: usize, trouble: Trouble, share: f64) -> Watched {
    let mut shape = Random(seed);
    // A step: (name, depth) of its operators.
    let step: Vec<(u32, u16)> = {
        let mut depth = 0;
        let length = shape.range(40, 160);
        (0..length)
            .map(|_| {
                depth = (depth + shape.range(0, 3) - 1).clamp(0, 2);
                // Two in three are the same: an optimizer's row of products and sums.
                (if shape.one_in(3) { shape.range(1, 12) as u32 } else { 0 }, depth as u16)
            })
            .collect()
    };
    let mut random = Random(seed ^ 0xabcd);
    let mut now = 0;
    // A reading of both tools: the one after the other, with a pause between them now and then.
    let mut read = |random: &mut Random| {
        now += random.range(300, 6_000);
        let recording = now;
        now += random.range(40, 400);
        if random.one_in(trouble.pause_in) {
            now += random.range(10_000, trouble.longest_ns);
        }
        (recording, now - AHEAD_NS)
    };
    let place = |at: usize| RawPlace { chunk: 0, event: at as u32 };
    let mut found: Vec<(Seen, Seen)> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut names = step.iter().cycle();
    while found.len() < operators || !open.is_empty() {
        let next = if found.len() < operators { names.next().copied() } else { None };
        let depth = next.map_or(0, |next| usize::from(next.1));
        while open.len() > depth || (next.is_none() && !open.is_empty()) {
            let (in_recording, in_window) = read(&mut random);
            if let Some((recording, window)) = open.pop().and_then(|at| found.get_mut(at)) {
                (recording.end, window.end) = (in_recording, in_window);
            }
        }
        let Some((name, _)) = next else { continue };
        let (in_recording, in_window) = read(&mut random);
        let seen = |start| Seen { start, end: start, name, depth: 0, is_operator: true, place: place(found.len()) };
        let both = (seen(in_recording), seen(in_window));
        open.push(found.len());
        found.push(both);
    }
    let (first, last) =
        ((operators as f64 * (0.5 - share / 2.0)) as usize, (operators as f64 * (0.5 + share / 2.0)) as usize);
    let mut watched = Watched { recording: Vec::new(), window: Vec::new() };
    for (at, (recording, window)) in found.into_iter().enumerate() {
        let is_lost = trouble.lost_in > 0 && random.one_in(trouble.lost_in);
        let by_window = random.one_in(2);
        if !is_lost || by_window {
            watched.recording.push((at, recording));
        }
        if (first..last).contains(&at) && !(is_lost && by_window) {
            watched.window.push((at, window));
        }
    }
    watched
}

/// Places of the same operator in the window and in the recording.
type Pairs = Vec<(usize, usize)>;

/// The pairs that are found, and those that there are, by numbers of operators.
fn pairs_of(watched: &Watched) -> (Pairs, Pairs) {
    let in_order = |side: &[(usize, Seen)]| {
        let mut seen: Vec<Seen> = side.iter().map(|entry| entry.1).collect();
        in_order(&mut seen);
        seen
    };
    let (window, recording) = (in_order(&watched.window), in_order(&watched.recording));
    let thread = Thread::new(&window, &recording);
    let mut votes = thread.votes();
    votes.sort_unstable();
    let offset = votes.get(votes.len() / 2).copied().unwrap_or(AHEAD_NS);
    let number = |seen: &Seen| seen.place.event as usize;
    let found = thread.pairs(offset).into_iter().map(|(at, other)| (number(&window[at]), number(&recording[other])));
    let known: std::collections::BTreeSet<usize> = watched.recording.iter().map(|entry| entry.0).collect();
    let truth = window.iter().map(number).filter(|at| known.contains(at)).map(|at| (at, at)).collect();
    (found.collect(), truth)
}

const QUIET: Trouble = Trouble { pause_in: 1_000_000, longest_ns: 20_000, lost_in: 0 };
const BUSY: Trouble = Trouble { pause_in: 30, longest_ns: 3_000_000, lost_in: 0 };

#[test]
fn every_operator_finds_itself_on_a_quiet_and_on_a_busy_machine() {
    for seed in 0..40 {
        for trouble in [QUIET, BUSY] {
            let (found, truth) = pairs_of(&watched(seed, 6_000, trouble, 0.3));
            assert_eq!(found, truth, "seed {seed}, {trouble:?}");
        }
    }
}

#[test]
fn what_one_tool_lost_shifts_no_other_and_nothing_is_paired_twice() {
    let (mut right, mut all) = (0, 0);
    for seed in 0..40 {
        let (found, truth) = pairs_of(&watched(seed, 6_000, Trouble { lost_in: 300, ..BUSY }, 0.3));
        assert!(found.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1), "seed {seed}");
        // Where one of several alike in a row is lost, which one it was shows in the times only, and pauses blur them.
        right += truth.iter().filter(|pair| found.binary_search(pair).is_ok()).count();
        all += truth.len();
        // All that both saw is paired, whichever of its like with.
        assert!(found.len() >= truth.len(), "seed {seed}: {} of {}", found.len(), truth.len());
        assert!(found.len() <= truth.len() + 6_000 / 300, "seed {seed}: {} of {}", found.len(), truth.len());
    }
    assert!(right as f64 / all as f64 > 0.98, "{right} of {all}");
}

#[test]
fn a_window_of_few_operators_is_joined_by_the_nearest_in_order() {
    // Fewer than a stretch: nothing but names, order and times.
    for seed in 0..40 {
        let watched = watched(seed, 400, QUIET, 0.05);
        assert!(watched.window.len() < GRAM);
        let (found, truth) = pairs_of(&watched);
        assert_eq!(found, truth, "seed {seed}");
    }
}

#[test]
fn a_hundred_thousand_operators_are_no_table_of_their_square() {
    let (found, truth) = pairs_of(&watched(5, 100_000, Trouble { lost_in: 5_000, ..BUSY }, 0.9));
    let right = truth.iter().filter(|pair| found.binary_search(pair).is_ok()).count();
    assert!(right as f64 > truth.len() as f64 * 0.99, "{right} of {}", truth.len());
}

/// The largest sum of worths of pairs in order, by trying all.
fn by_trying(window: &[Seen], recording: &[Seen]) -> i64 {
    let (Some((first, rest)), Some(_)) = (window.split_first(), recording.first()) else { return 0 };
    let paired = recording.iter().enumerate().filter_map(|(at, other)| {
        let worth = worth(first, other, 0)?;
        Some(worth + by_trying(rest, recording.get(at + 1..).unwrap_or_default()))
    });
    paired.chain([by_trying(rest, recording)]).max().unwrap_or_default()
}

fn few() -> impl Strategy<Value = Vec<Seen>> {
    prop::collection::vec((0..3_u32, 0..2_000_000_i64, 1..500_000_i64), 0..7).prop_map(|raw| {
        let seen = |(at, (name, start, dur)): (usize, (u32, i64, i64))| Seen {
            start,
            end: start + dur,
            name,
            depth: 0,
            is_operator: true,
            place: RawPlace { chunk: 0, event: at as u32 },
        };
        let mut seen: Vec<Seen> = raw.into_iter().enumerate().map(seen).collect();
        in_order(&mut seen);
        seen
    })
}

proptest! {
    #[test]
    fn no_way_to_pair_is_worth_more(window in few(), recording in few()) {
        let mut pairs = Vec::new();
        best_pairs(&window, &recording, 0, (0, 0), &mut pairs);
        prop_assert!(pairs.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1));
        let sum: Option<i64> = pairs.iter().map(|&(at, other)| worth(&window[at], &recording[other], 0)).sum();
        prop_assert_eq!(sum, Some(by_trying(&window, &recording)));
    }

    #[test]
    fn the_longest_run_is_as_long_as_any(values in prop::collection::vec(0_i64..20, 0..12)) {
        let run = increasing(&values);
        prop_assert!(run.windows(2).all(|two| two[0] < two[1] && values[two[0]] <= values[two[1]]));
        let longest = (0..1_u32 << values.len()).filter_map(|chosen| {
            let run: Vec<i64> = (0..values.len()).filter(|at| chosen >> at & 1 == 1).map(|at| values[at]).collect();
            run.is_sorted().then_some(run.len())
        });
        prop_assert_eq!(Some(run.len()), longest.max());
    }
}
