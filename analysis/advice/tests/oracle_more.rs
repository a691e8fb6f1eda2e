//! More edits against a machine that really runs the changed program: memory calls, gathers, stages.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod machine;
#[path = "oracle/mod.rs"]
mod oracle;

use machine::{Collective, Op, Program, Rng, launch};
use oracle::{PROGRAMS, agree, steps};

/// Calls for memory that wait for the device, and calls that cost more than they wait.
#[test]
fn memory_from_a_cache() {
    for seed in 0..PROGRAMS {
        let shape = Rng(Rng(seed).next());
        let make = |with: bool| {
            let mut rng = shape.clone();
            Program::one(steps(&mut rng, 3, |rng, ops| {
                for _ in 0..4 {
                    for _ in 0..8 {
                        ops.push(Op::Work(rng.range(1_000, 8_000)));
                        ops.push(launch(7, "ampere_sgemm_128x64_tn", rng.range(10_000, 90_000)));
                    }
                    let cost = rng.range(50_000, 400_000);
                    if with {
                        ops.push(Op::Blocking("cudaMalloc".to_owned(), cost));
                    }
                    ops.push(Op::Work(rng.range(1_000, 90_000)));
                }
            }))
        };
        agree(seed, &make(true), &make(false), &["no-gc.allocator"], 0.01);
    }
}

/// Units that gather their parameters on a stream of their own and then compute with them: the host launches a gather
/// just before it is needed, or one unit ahead.
#[test]
fn gathers_one_unit_ahead() {
    for seed in 0..PROGRAMS {
        let shape = Rng(Rng(seed).next());
        let make = |ahead: bool| {
            let rank = |rank: u64| {
                let (mut rng, mut own) = (shape.clone(), Rng(seed * 7 + rank));
                let (mut sequence, mut event) = (0, 0);
                steps(&mut rng, 3, |rng, ops| {
                    let units = 4 + rng.below(5) as usize;
                    let transfers: Vec<i64> = (0..units).map(|_| rng.range(50_000, 300_000)).collect();
                    let mut gathered: Vec<usize> = vec![0; units];
                    let mut gather = |ops: &mut Vec<Op>, unit: usize, event: &mut usize, gathered: &mut Vec<usize>| {
                        let what = Collective {
                            name: "all_gather".to_owned(),
                            group: "0".to_owned(),
                            sequence,
                            elements: 1 << 20,
                            dtype: "Float".to_owned(),
                        };
                        ops.push(Op::Collective { cost: 2_000, stream: 20, what, transfer: transfers[unit] });
                        ops.push(Op::Record(20, *event));
                        gathered[unit] = *event;
                        *event += 1;
                        sequence += 1;
                    };
                    let computed = |rng: &mut Rng, own: &mut Rng, ops: &mut Vec<Op>| {
                        // The host is slower than its own launches, so that a late launch costs.
                        for _ in 0..4 {
                            ops.push(Op::Work(rng.range(20_000, 60_000)));
                            ops.push(launch(7, "ampere_sgemm_128x64_tn", own.range(20_000, 90_000)));
                        }
                    };
                    gather(ops, 0, &mut event, &mut gathered);
                    for unit in 0..units {
                        if !ahead && unit > 0 {
                            gather(ops, unit, &mut event, &mut gathered);
                        }
                        if ahead && unit + 1 < units {
                            gather(ops, unit + 1, &mut event, &mut gathered);
                        }
                        ops.push(Op::Wait(7, gathered[unit]));
                        computed(rng, &mut own, ops);
                    }
                })
            };
            Program::of((0..2).map(rank).collect())
        };
        agree(seed, &make(false), &make(true), &["overlap-comm.prefetch(unlimited=1)"], 0.02);
    }
}

/// One rank has more layers; spread evenly each has the mean of the work.
#[test]
fn stages_of_equal_work() {
    for seed in 0..PROGRAMS {
        let shape = Rng(Rng(seed).next());
        let more = 1.2 + (seed % 5) as f64 / 10.0;
        let make = |factors: [f64; 3]| {
            let rank = |rank: usize| {
                let mut rng = shape.clone();
                let mut sequence = 0;
                steps(&mut rng, 4, |rng, ops| {
                    for _ in 0..4 {
                        for _ in 0..6 {
                            ops.push(Op::Work(rng.range(1_000, 8_000)));
                            let dur = rng.range(20_000, 90_000) as f64 * factors[rank];
                            ops.push(launch(7, "ampere_sgemm_128x64_tn", dur.round() as i64));
                        }
                        ops.push(machine::all_reduce(7, sequence, 1 << 16, rng.range(20_000, 90_000)));
                        sequence += 1;
                    }
                })
            };
            Program::of((0..3).map(rank).collect())
        };
        // A tenth of the imbalance is expected to stay.
        let mean = (2.0 + more) / 3.0;
        let even = |factor: f64| mean + 0.1 * (factor - mean);
        agree(seed, &make([1.0, 1.0, more]), &make([even(1.0), even(1.0), even(more)]), &["balance-stages"], 0.01);
    }
}
