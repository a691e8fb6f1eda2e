//! A prediction from the recording of one program, and the run of another.
#![allow(dead_code, clippy::unwrap_used)]

use gapless_advice::{Edit, Study, what_if_unchecked};

use crate::machine::{Collective, Op, Program, Rng, launch, run, trace};

/// How many random programs each transformation is tried on.
pub const PROGRAMS: u64 = 500;

/// Predicts a change from the recording of `before` and runs `after`: the expected step must be the executed one; of every
/// fifth program also with noise, where the executed step must lie in the range.
pub fn agree(seed: u64, before: &Program, after: &Program, edits: &[&str], tolerance: f64) {
    let recording = trace(&run(before));
    let study = Study::new(&recording);
    let edits: Vec<Edit> = edits.iter().map(|edit| Edit::parse(edit).unwrap()).collect();
    let predicted = what_if_unchecked(&study, &edits).unwrap();
    let executed = run(after).mean_step();
    let recorded = run(before).mean_step();
    // The model of the recording itself must be exact, else the rest says nothing.
    let base = predicted.base.mean_step_ns;
    assert!((base / recorded - 1.0).abs() < 1e-3, "seed {seed}: base {base} for {recorded}");
    let error = predicted.expected.mean_step_ns / executed - 1.0;
    assert!(
        error.abs() <= tolerance,
        "seed {seed}: {recorded} before, predicted {} executed {executed}: {:+.2} %",
        predicted.expected.mean_step_ns,
        error * 100.0
    );
    if seed.is_multiple_of(NOISY) {
        hold_under_noise(seed, before, after, &edits);
    }
}

thread_local! {
    /// Ranges of this test that were held against noisy runs, and those that did not hold.
    static UNDER_NOISE: std::cell::Cell<(u32, u32)> = const { std::cell::Cell::new((0, 0)) };
}

/// One program in so many is also run with noise.
const NOISY: u64 = 5;

/// Everything that takes time takes 15 % more or less, before and after by chance of their own: the executed step lies in
/// the range, chance of the recording included, in nearly all cases: 95 % are promised, 90 % asked for.
fn hold_under_noise(seed: u64, before: &Program, after: &Program, edits: &[Edit]) {
    let recording = trace(&run(&noisy(before, seed * 2 + 1)));
    let study = Study::new(&recording);
    let predicted = what_if_unchecked(&study, edits).unwrap();
    let executed = run(&noisy(after, seed * 2 + 2)).mean_step();
    let (band, scatter) = (predicted.mean_step_ns, predicted.scatter_ns);
    let is_held = (band.low - scatter..=band.high + scatter).contains(&executed);
    let (all, missed) = UNDER_NOISE.get();
    let (all, missed) = (all + 1, missed + u32::from(!is_held));
    UNDER_NOISE.set((all, missed));
    assert!(
        missed * 10 <= all.max(100),
        "seed {seed}: {missed} of {all} missed, now {executed} by {band:?} ± {scatter}"
    );
}

/// The program with noise; members of a collective agree on its transfer.
pub fn noisy(program: &Program, seed: u64) -> Program {
    fn vary(rng: &mut Rng, dur: &mut i64) {
        *dur = (*dur as f64 * (0.85 + rng.below(300) as f64 / 1000.0)) as i64;
    }
    let (mut program, mut rng) = (program.clone(), Rng(seed));
    program.change(|_, op| match op {
        Op::Work(dur) | Op::Load(dur) | Op::Gc(dur) | Op::Blocking(_, dur) => vary(&mut rng, dur),
        Op::Launch(cost, _, kernel) => {
            vary(&mut rng, cost);
            vary(&mut rng, &mut kernel.dur);
        }
        Op::BlockingLaunch(_, kernel) => vary(&mut rng, &mut kernel.dur),
        Op::Graph(cost, _, kernels) => {
            vary(&mut rng, cost);
            kernels.iter_mut().for_each(|kernel| vary(&mut rng, &mut kernel.dur));
        }
        Op::Copy { cost, dur, .. } | Op::Fill(cost, _, dur) => {
            vary(&mut rng, cost);
            vary(&mut rng, dur);
        }
        Op::Collective { cost, what, transfer, .. } => {
            vary(&mut rng, cost);
            let group = what.group.bytes().fold(0_u64, |sum, byte| sum * 31 + u64::from(byte));
            vary(&mut Rng(seed ^ (group << 32) ^ (what.sequence + 1)), transfer);
        }
        _ => {}
    });
    program
}

/// Steps of `pieces`, each followed by a wait for the device.
pub fn steps(rng: &mut Rng, count: u64, mut pieces: impl FnMut(&mut Rng, &mut Vec<Op>)) -> Vec<Op> {
    let mut ops = Vec::new();
    for step in 0..count {
        ops.push(Op::StepBegin(step));
        pieces(rng, &mut ops);
        ops.push(Op::SyncDevice);
        ops.push(Op::StepEnd(step));
    }
    ops
}

/// Kernels of a stream that keep the device busy.
pub fn busy(rng: &mut Rng, ops: &mut Vec<Op>, count: u64) {
    for _ in 0..count {
        ops.push(Op::Work(rng.range(1_000, 8_000)));
        ops.push(launch(7, "ampere_sgemm_128x64_tn", rng.range(10_000, 90_000)));
    }
}

/// A collective over all ranks.
pub fn collective(name: &str, sequence: u64, elements: u64) -> Collective {
    Collective { name: name.to_owned(), group: "0".to_owned(), sequence, elements, dtype: "Float".to_owned() }
}

/// Runs a program of several ranks: `body` gets the shape that they share, a source of their own, and the rank.
pub fn ranks(seed: u64, count: usize, body: impl Fn(&mut Rng, &mut Rng, usize) -> Vec<Op>) -> Program {
    let shape = Rng(Rng(seed).next());
    Program::of((0..count).map(|rank| body(&mut shape.clone(), &mut Rng(seed * 31 + rank as u64), rank)).collect())
}
