//! Waits and gaps of the device that are taken away, against a machine that really runs the changed program.
#![allow(clippy::unwrap_used)]

mod machine;
#[path = "oracle/mod.rs"]
mod oracle;

use gapless_trace::Args;
use machine::{CALL, Op, Program, Rng, launch};
use oracle::{PROGRAMS, agree};

/// Four steps of `pieces`; the last one ends with a wait for the device.
fn steps(rng: &mut Rng, mut pieces: impl FnMut(&mut Rng, &mut Vec<Op>)) -> Program {
    let mut ops = Vec::new();
    for step in 0..4 {
        ops.push(Op::StepBegin(step));
        pieces(rng, &mut ops);
        ops.push(Op::StepEnd(step));
    }
    ops.push(Op::SyncDevice);
    Program::one(ops)
}

fn busy(rng: &mut Rng, ops: &mut Vec<Op>, count: u64) {
    for _ in 0..count {
        ops.push(Op::Work(rng.range(1_000, 8_000)));
        ops.push(launch(7, "ampere_sgemm_128x64_tn", rng.range(10_000, 90_000)));
    }
}

/// Only waits in operators that copy to the host go; others stay.
#[test]
fn waits_for_copies_to_the_host() {
    for seed in 0..PROGRAMS {
        let shape = Rng(Rng(seed).next());
        let make = |waits: bool| {
            steps(&mut shape.clone(), |rng, ops| {
                for _ in 0..4 {
                    busy(rng, ops, 5);
                    let name = "Memcpy DtoH (Device -> Pageable)".to_owned();
                    let copy = Op::Copy { cost: 3_000, stream: 7, name, bytes: 4, dur: 1_500, blocks: false };
                    let wait = if waits { Op::SyncStream(7) } else { Op::Work(CALL) };
                    ops.push(Op::Operator("aten::copy_".to_owned(), Args::new(), vec![copy, wait]));
                    ops.push(Op::Work(rng.range(1_000, 200_000)));
                }
                busy(rng, ops, 3);
                ops.push(Op::Operator("aten::other".to_owned(), Args::new(), vec![Op::SyncStream(7)]));
                ops.push(Op::Work(rng.range(1_000, 90_000)));
            })
        };
        agree(seed, &make(true), &make(false), &["remove-sync(kernel~DtoH)"], 0.01);
    }
}

/// Only calls of that name.
#[test]
fn waits_by_their_call() {
    for seed in 0..PROGRAMS {
        let shape = Rng(Rng(seed).next());
        let make = |waits: bool| {
            steps(&mut shape.clone(), |rng, ops| {
                for _ in 0..4 {
                    busy(rng, ops, 5);
                    ops.push(if waits { Op::SyncStream(7) } else { Op::Work(CALL) });
                    ops.push(Op::Work(rng.range(1_000, 200_000)));
                }
                ops.push(Op::SyncDevice);
            })
        };
        agree(seed, &make(true), &make(false), &["remove-sync(call=cudaStreamSynchronize)"], 0.01);
    }
}

/// Work of the host that keeps an idle device waiting is done elsewhere; what a busy device hides stays.
#[test]
fn filled_gaps() {
    for seed in 0..PROGRAMS {
        let shape = Rng(Rng(seed).next());
        let make = |with: bool| {
            steps(&mut shape.clone(), |rng, ops| {
                for _ in 0..3 {
                    busy(rng, ops, 2);
                    ops.push(Op::SyncDevice);
                    let stretch = rng.range(600_000, 3_000_000);
                    ops.push(Op::Work(if with { stretch } else { 0 }));
                    for _ in 0..12 {
                        ops.push(launch(7, "ampere_sgemm_128x64_tn", rng.range(90_000, 190_000)));
                        ops.push(Op::Work(rng.range(1_000, 8_000)));
                    }
                    // The device has work for longer than this.
                    ops.push(Op::Work(rng.range(200_000, 600_000)));
                }
            })
        };
        agree(seed, &make(true), &make(false), &["fill-gaps"], 0.01);
    }
}
