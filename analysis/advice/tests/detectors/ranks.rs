//! Ranks that are slower than others.

use gapless_trace::{ArgValue, Args};

use super::{advice, all_found, brings, silent, steps};
use crate::machine::{Kernel, Op, Program, all_reduce};

/// What a rank does in a step: factors on its kernels and on its host work, elements of its operators, extra host work.
#[derive(Clone, Copy)]
struct Load {
    device: f64,
    host: f64,
    rows: i64,
    extra: i64,
}

const EVEN: Load = Load { device: 1.0, host: 1.0, rows: 1_000, extra: 0 };

/// Three ranks that compute and reduce four times per step.
fn job(host: i64, kernel: i64, transfer: i64, load: impl Fn(usize, u64) -> Load) -> Program {
    let rank = |rank: usize| {
        let mut sequence = 0;
        steps(6, true, |step, ops| {
            let load = load(rank, step);
            for _ in 0..4 {
                for number in 0..6 {
                    let dims = ArgValue::List(vec![ArgValue::List(vec![ArgValue::Int(load.rows), ArgValue::Int(64)])]);
                    let args: Args = vec![("Input Dims".to_owned(), dims)];
                    let dur = (kernel as f64 * load.device * (1.0 + 0.1 * f64::from(number))) as i64;
                    let name = format!("ampere_sgemm_128x64_tn_{number}");
                    let inner = vec![
                        Op::Work((host as f64 * load.host) as i64),
                        Op::Launch(4_000, 7, Kernel { name, dur, args: Args::new() }),
                    ];
                    ops.push(Op::Operator("aten::mm".to_owned(), args, inner));
                }
                if load.extra > 0 {
                    ops.push(Op::Work(load.extra));
                }
                ops.push(all_reduce(7, sequence, 1 << 16, transfer));
                sequence += 1;
            }
        })
    };
    Program::of((0..3).map(rank).collect())
}

#[test]
fn late_rank() {
    let late =
        |rank: usize, extra: i64| move |own: usize, _: u64| Load { extra: if own == rank { extra } else { 0 }, ..EVEN };
    let before = job(20_000, 10_000, 20_000, late(2, 400_000));
    let advised = brings(&before, &job(20_000, 10_000, 20_000, late(2, 0)), "late-rank", 0.02);
    assert_eq!(advised.finding.rank_id, Some(2));
    // Why it is late is told, too.
    assert!(all_found(&before).contains(&"slow-host".to_owned()), "{:?}", all_found(&before));
    silent(&job(20_000, 10_000, 20_000, |_, _| EVEN), "late-rank");
    // Another rank in each step.
    let changing = |own: usize, step: u64| Load { extra: if own as u64 == step % 3 { 400_000 } else { 0 }, ..EVEN };
    silent(&job(20_000, 10_000, 20_000, changing), "late-rank");
    // It is late, but moving the data takes far longer.
    silent(&job(20_000, 10_000, 4_000_000, late(2, 100_000)), "late-rank");
}

#[test]
fn slow_device() {
    let slow =
        |by: f64, rows: i64| move |own: usize, _: u64| if own == 1 { Load { device: by, rows, ..EVEN } } else { EVEN };
    let before = job(3_000, 60_000, 50_000, slow(1.3, 1_000));
    let advised = brings(&before, &job(3_000, 60_000, 50_000, |_, _| EVEN), "slow-device", 0.01);
    assert_eq!(advised.finding.rank_id, Some(1));
    assert_eq!(advised.finding.edits, ["no-stragglers.compute(rank=1)"]);
    silent(&before, "slow-host");
    silent(&before, "uneven-batches");
    silent(&job(3_000, 60_000, 50_000, |_, _| EVEN), "slow-device");
    silent(&job(3_000, 60_000, 50_000, slow(1.03, 1_000)), "slow-device");
    // It has more to do.
    silent(&job(3_000, 60_000, 50_000, slow(1.3, 1_300)), "slow-device");
}

#[test]
fn slow_host() {
    let slow = |own: usize, _: u64| if own == 0 { Load { host: 1.8, ..EVEN } } else { EVEN };
    let before = job(30_000, 10_000, 20_000, slow);
    let advised = brings(&before, &job(30_000, 10_000, 20_000, |_, _| EVEN), "slow-host", 0.02);
    assert_eq!(advised.finding.rank_id, Some(0));
    silent(&before, "slow-device");
    silent(&job(30_000, 10_000, 20_000, |_, _| EVEN), "slow-host");
    // As slow, but its device is busy all the time.
    silent(&job(30_000, 90_000, 20_000, slow), "slow-host");
}

#[test]
fn uneven_batches() {
    // Shares of one batch: the largest goes round.
    let shares = [0.7, 0.9, 1.4];
    let uneven = |rows: bool| {
        move |own: usize, step: u64| {
            let share = shares[(own + step as usize) % 3];
            Load { device: share, rows: if rows { (1_000.0 * share) as i64 } else { 1_000 }, ..EVEN }
        }
    };
    let before = job(3_000, 60_000, 20_000, uneven(true));
    brings(&before, &job(3_000, 60_000, 20_000, |_, _| EVEN), "uneven-batches", 0.01);
    silent(&before, "slow-device");
    silent(&before, "late-rank");
    silent(&job(3_000, 60_000, 20_000, |_, _| EVEN), "uneven-batches");
    // Times differ although shapes do not.
    silent(&job(3_000, 60_000, 20_000, uneven(false)), "uneven-batches");
}

/// One rank alone cannot be compared.
#[test]
fn one_rank_is_no_straggler() {
    let mut program = job(3_000, 60_000, 50_000, |_, _| EVEN);
    program.ranks.truncate(1);
    let abstained: Vec<String> = advice(&program).abstained.into_iter().map(|abstention| abstention.detector).collect();
    for detector in ["late-rank", "slow-device", "slow-host", "uneven-batches"] {
        assert!(abstained.iter().any(|other| other == detector), "{detector}: {abstained:?}");
    }
}
