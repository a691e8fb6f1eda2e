//! What detectors propose for work between ranks, against a machine that really runs the changed program.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod machine;
#[path = "oracle/mod.rs"]
mod oracle;

use gapless_trace::ArgValue;
use machine::{Collective, Kernel, Op, Program, Rng, launch};
use oracle::{PROGRAMS, agree, busy, collective, ranks, steps};

/// A collective on a stream of its own, which the stream of the kernels waits for.
fn beside(ops: &mut Vec<Op>, event: &mut usize, what: Option<Collective>, transfer: i64) {
    ops.push(Op::Record(7, *event));
    ops.push(Op::Wait(20, *event));
    if let Some(what) = what {
        ops.push(Op::Collective { cost: 1_000, stream: 20, what, transfer });
    }
    ops.push(Op::Record(20, *event + 1));
    ops.push(Op::Wait(7, *event + 1));
    *event += 2;
}

#[test]
fn gradients_reduced_once_a_step() {
    for seed in 0..PROGRAMS {
        let make = |once: bool| {
            ranks(seed, 2 + seed as usize % 2, |shape, own, _| {
                let (mut sequence, mut event) = (0, 0);
                let micro_batches = 2 + shape.below(3);
                steps(shape, 3, |shape, ops| {
                    let transfers: Vec<i64> = (0..3).map(|_| shape.range(50_000, 400_000)).collect();
                    for batch in 0..micro_batches {
                        for &transfer in &transfers {
                            busy(own, ops, 5);
                            let stays = !once || batch + 1 == micro_batches;
                            let what = stays.then(|| collective("allreduce", sequence, 1 << 18));
                            sequence += u64::from(stays);
                            beside(ops, &mut event, what, transfer);
                        }
                    }
                })
            })
        };
        let micro_batches = 2 + Rng(Rng(seed).next()).below(3);
        let edit = format!("no-sync(micro-batches={micro_batches})");
        agree(seed, &make(false), &make(true), &[&edit], 0.01);
    }
}

/// A link that is slow now and then, and one that never is.
#[test]
fn links_that_are_never_slow() {
    for seed in 0..PROGRAMS {
        let make = |steady: bool| {
            ranks(seed, 2 + seed as usize % 3, |shape, own, _| {
                let mut sequence = 0;
                let sizes: Vec<(u64, i64)> =
                    (0..3).map(|size| (1_u64 << (16 + 2 * size), shape.range(30_000, 300_000))).collect();
                let mut number = shape.below(4);
                steps(shape, 5, |shape, ops| {
                    for &(elements, usual) in sizes.iter().cycle().take(6) {
                        busy(own, ops, 4);
                        // One in four, so that most of each size are as usual.
                        let slow = if number % 4 == 0 { shape.range(150, 600) } else { 100 };
                        number += 1;
                        let transfer = if steady { usual } else { usual * slow / 100 };
                        let what = collective("allreduce", sequence, elements);
                        ops.push(Op::Collective { cost: 5_000, stream: 7, what, transfer });
                        sequence += 1;
                    }
                })
            })
        };
        agree(seed, &make(false), &make(true), &["steady-link"], 0.01);
    }
}

/// Kernels that share the device with a collective take longer, and then do not.
#[test]
fn kernels_as_fast_beside_collectives_as_alone() {
    for seed in 0..PROGRAMS {
        let make = |contends: bool| {
            ranks(seed, 2, |shape, _, _| {
                let (mut sequence, mut event) = (0, 0);
                let gamma = shape.range(110, 150);
                let dur = shape.range(20_000, 60_000);
                steps(shape, 3, |shape, ops| {
                    let work = |rng: &mut Rng, is_beside: bool| {
                        let grid = ArgValue::List([512, 1, 1].map(ArgValue::Int).to_vec());
                        let slower = if is_beside && contends { gamma } else { 100 };
                        let dur = (dur + rng.range(-500, 500)) * slower / 100;
                        let name = "ampere_sgemm_128x64_nt".to_owned();
                        Op::Launch(4_000, 7, Kernel { name, dur, args: vec![("grid".to_owned(), grid)] })
                    };
                    for _ in 0..15 {
                        ops.push(work(shape, false));
                    }
                    ops.push(Op::Record(7, event));
                    ops.push(Op::Wait(20, event));
                    // As long as thirty kernels with contention; less than the forty that follow without.
                    let transfer = dur * gamma / 100 * 30;
                    let what = collective("allreduce", sequence, 1 << 22);
                    ops.push(Op::Collective { cost: 1_000, stream: 20, what, transfer });
                    (event, sequence) = (event + 1, sequence + 1);
                    for place in 0..60 {
                        ops.push(work(shape, place < 30));
                    }
                })
            })
        };
        agree(seed, &make(true), &make(false), &["no-contention"], 0.01);
    }
}

/// Shards of different size, and of one.
#[test]
fn shards_of_one_size() {
    for seed in 0..PROGRAMS {
        let count = 2 + seed as usize % 3;
        let shape = Rng(Rng(seed).next());
        // Of each rank and step the time of its lookups.
        let mut rng = shape.clone();
        let lookups: Vec<Vec<[i64; 3]>> =
            (0..count).map(|_| (0..4).map(|_| [0; 3].map(|_| rng.range(20_000, 400_000))).collect()).collect();
        let make = |even: bool| {
            ranks(seed, count, |shape, own, rank| {
                let (mut sequence, mut step) = (0, 0);
                steps(shape, 4, |_, ops| {
                    busy(own, ops, 6);
                    let own_sum: i64 = lookups[rank][step].iter().sum();
                    let all: i64 = lookups.iter().map(|steps| steps[step].iter().sum::<i64>()).sum();
                    for dur in lookups[rank][step] {
                        let fair = dur as f64 * (all as f64 / count as f64) / own_sum as f64;
                        let dur = if even { fair.round() as i64 } else { dur };
                        ops.push(Op::Work(3_000));
                        ops.push(launch(7, "split_embedding_codegen_forward_unweighted_kernel", dur));
                    }
                    let what = collective("all_to_all", sequence, 1 << 16);
                    ops.push(Op::Collective { cost: 5_000, stream: 7, what, transfer: 40_000 });
                    busy(own, ops, 6);
                    (sequence, step) = (sequence + 1, step + 1);
                })
            })
        };
        agree(seed, &make(false), &make(true), &["balance(class=embedding)"], 0.01);
    }
}

/// Rings of more ranks on links that are as fast: each hop costs its latency, each byte goes around once more.
#[test]
fn more_replicas() {
    for seed in 0..PROGRAMS {
        let shape = Rng(Rng(seed).next());
        let make = |count: usize| {
            let one = |_: usize| {
                let mut rng = shape.clone();
                let mut sequence = 0;
                let latency = rng.range(1_000, 5_000);
                steps(&mut rng, 4, |rng, ops| {
                    for size in 0..8 {
                        busy(rng, ops, 3);
                        let elements = 1_u64 << (14 + size);
                        let (n, bytes) = (count as f64, elements as f64 * 4.0);
                        let transfer = latency as f64 * 2.0 * (n - 1.0) + 2.0 * (n - 1.0) / n * bytes / 100.0;
                        let what = collective("allreduce", sequence, elements);
                        ops.push(Op::Collective { cost: 5_000, stream: 7, what, transfer: transfer.round() as i64 });
                        sequence += 1;
                    }
                })
            };
            Program::of((0..count).map(one).collect())
        };
        let count = 2 + seed as usize % 3;
        agree(seed, &make(count), &make(2 * count), &["parallel.data=2x"], 0.01);
    }
}

/// A pipeline that fills and drains (GPipe): each stage computes each micro-batch forward, then each backward, and sends
/// what it made to its neighbour.
fn pipeline(seed: u64, stages: usize, micro_batches: i64) -> Program {
    let mut rng = Rng(Rng(seed).next());
    // A stage's whole batch forward and backward, in ns.
    let (forward, backward) = (rng.range(8_000_000, 20_000_000), rng.range(16_000_000, 40_000_000));
    let stage = |stage: usize| {
        let mut sequences = vec![0_u64; 2 * stages];
        let mut rng = Rng(seed);
        steps(&mut rng, 3, |_, ops| {
            let mut meet = |ops: &mut Vec<Op>, link: usize| {
                // Both ends of a link meet; what moves is hidden.
                let what =
                    Collective { group: format!("link{link}"), ..collective("broadcast", sequences[link], 1 << 10) };
                sequences[link] += 1;
                ops.push(Op::Collective { cost: 2_000, stream: 7, what, transfer: 1_000 });
            };
            for _ in 0..micro_batches {
                if stage > 0 {
                    meet(ops, stage - 1);
                }
                ops.push(launch(7, "ampere_sgemm_128x64_tn", forward / micro_batches));
                if stage + 1 < stages {
                    meet(ops, stage);
                }
            }
            for _ in 0..micro_batches {
                if stage + 1 < stages {
                    meet(ops, stages + stage);
                }
                ops.push(launch(7, "ampere_sgemm_128x64_nt", backward / micro_batches));
                if stage > 0 {
                    meet(ops, stages + stage - 1);
                }
            }
        })
    };
    Program::of((0..stages).map(stage).collect())
}

#[test]
fn more_micro_batches() {
    for seed in 0..PROGRAMS {
        let (stages, now) = (2 + seed as usize % 3, 2 + (seed as i64 / 3) % 4);
        let edit = format!("parallel.microbatches(stages={stages},now={now})=2x");
        agree(seed, &pipeline(seed, stages, now), &pipeline(seed, stages, 2 * now), &[&edit], 0.01);
    }
}

/// More stages share the same layers.
#[test]
fn more_stages() {
    for seed in 0..PROGRAMS {
        let (stages, now) = (2 + seed as usize % 2, 3 + (seed as i64 / 3) % 4);
        let edit = format!("parallel.pipeline(stages={stages},now={now})=2x");
        // A stage of twice as many has half of the layers.
        let before = pipeline(seed, stages, now);
        let mut after = pipeline(seed, 2 * stages, now);
        after.change(|_, op| {
            if let Op::Launch(_, _, kernel) = op {
                kernel.dur /= 2;
            }
        });
        agree(seed, &before, &after, &[&edit], 0.01);
    }
}

/// Products cut in two on a machine that is nine tenths as efficient with the halves; norms are done by both.
#[test]
fn more_shards() {
    for seed in 0..PROGRAMS {
        let make = |by: f64| {
            ranks(seed, 2, |shape, own, _| {
                let mut sequence = 0;
                steps(shape, 3, |shape, ops| {
                    for _ in 0..8 {
                        for _ in 0..3 {
                            ops.push(Op::Work(own.range(1_000, 8_000)));
                            let dur = 2_000.0 + own.range(10_000, 200_000) as f64 / by;
                            ops.push(launch(7, "ampere_sgemm_128x64_tn", dur.round() as i64));
                        }
                        ops.push(launch(7, "void at::native::layer_norm_kernel", own.range(5_000, 30_000)));
                        let what = collective("allreduce", sequence, 1 << 20);
                        let transfer = shape.range(20_000, 90_000);
                        ops.push(Op::Collective { cost: 5_000, stream: 7, what, transfer });
                        sequence += 1;
                    }
                })
            })
        };
        agree(seed, &make(1.0), &make(2.0 * 0.9), &["parallel.tensor=2x"], 0.01);
    }
}
