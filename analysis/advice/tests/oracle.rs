//! Every transformation against a machine that really runs the changed program.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod machine;
#[path = "oracle/mod.rs"]
mod oracle;

use machine::{Op, Program, Rng, all_reduce, launch, op};
use oracle::{PROGRAMS, agree};

/// A training loop: loading, forward, backward, sometimes collectives, syncs.
fn program(rng: &mut Rng) -> Program {
    let ranks = 1 + rng.below(3) as usize;
    let shape = rng.next();
    let ranks = (0..ranks)
        .map(|_| {
            let (mut shape, mut own) = (Rng(shape), Rng(rng.next()));
            let mut ops = Vec::new();
            let mut sequence = 0;
            for step in 0..3 + shape.below(3) {
                ops.push(Op::StepBegin(step));
                ops.push(Op::Load(own.range(1_500_000, 4_000_000)));
                ops.push(Op::Work(own.range(2_000, 20_000)));
                for _ in 0..8 + shape.below(20) {
                    let (host, dur) = (own.range(3_000, 30_000), own.range(3_000, 300_000));
                    match shape.below(8) {
                        0 => ops.push(op("aten::mm", host, 7, "ampere_sgemm_128x64_tn", dur)),
                        1 => ops.push(op("aten::add_", host, 7, "void at::native::elementwise_kernel", dur)),
                        2 => ops.push(Op::SyncDevice),
                        3 => {
                            ops.push(Op::Work(own.range(2_000, 9_000)));
                            // Members end together: so clocks are aligned, and so it is on real links.
                            let elements = 1 << (10 + shape.below(10));
                            ops.push(all_reduce(7, sequence, elements, shape.range(20_000, 400_000)));
                            sequence += 1;
                        }
                        _ => ops.push(launch(7, "void at::native::reduce_kernel", dur)),
                    }
                    ops.push(Op::Work(own.range(1_000, 20_000)));
                }
                if shape.below(3) == 0 {
                    ops.push(Op::Gc(own.range(1_000_000, 5_000_000)));
                }
                ops.push(Op::SyncDevice);
                ops.push(Op::StepEnd(step));
            }
            (own.range(0, 50_000), ops)
        })
        .collect();
    Program { ranks, ..Program::default() }
}

/// Programs that have something to change, each changed and run again.
fn each(needs: impl Fn(&Op) -> bool, edits: &[&str], tolerance: f64, change: impl Fn(&mut Op)) {
    let mut tried = 0;
    for seed in 0.. {
        let before = program(&mut Rng(seed));
        let mut any = false;
        let mut after = before.clone();
        after.change(|_, op| {
            any |= needs(op);
            change(op);
        });
        if any {
            agree(seed, &before, &after, edits, tolerance);
            tried += 1;
        }
        if tried == PROGRAMS {
            return;
        }
    }
}

#[test]
fn scaled_kernels() {
    let gemm = |op: &Op| matches!(op, Op::Launch(_, _, kernel) if kernel.name.contains("gemm"));
    each(gemm, &["scale(class=gemm)=0.5x"], 0.01, |op| {
        if let Op::Launch(_, _, kernel) = op
            && kernel.name.contains("gemm")
        {
            kernel.dur = (kernel.dur as f64 * 0.5).round() as i64;
        }
    });
}

#[test]
fn prefetched_batches() {
    each(
        |_| true,
        &["prefetch-input(contention=1,hand-over-ms=0.2)"],
        0.01,
        |op| {
            if let Op::Load(dur) = op {
                *dur = (*dur).min(200_000);
            }
        },
    );
}

#[test]
fn no_collection_of_garbage() {
    each(
        |op| matches!(op, Op::Gc(_)),
        &["no-gc"],
        0.01,
        |op| {
            if let Op::Gc(dur) = op {
                *dur = 0;
            }
        },
    );
}

#[test]
fn faster_threads() {
    each(
        |_| true,
        &["host=2x"],
        0.01,
        |op| match op {
            Op::Work(dur) | Op::Load(dur) | Op::Gc(dur) => *dur = (*dur as f64 / 2.0).round() as i64,
            Op::Launch(cost, ..) | Op::Collective { cost, .. } => *cost = (*cost as f64 / 2.0).round() as i64,
            _ => {}
        },
    );
}

/// Nothing that can be asked for is without a machine that really does it.
#[test]
fn every_transformation_is_run() {
    let tests = [
        include_str!("oracle.rs"),
        include_str!("oracle_device.rs"),
        include_str!("oracle_host.rs"),
        include_str!("oracle_more.rs"),
        include_str!("oracle_ranks.rs"),
        include_str!("oracle_waits.rs"),
    ];
    let mut missing = Vec::new();
    for transformation in gapless_advice::transformations() {
        let id = transformation.id();
        let parts = transformation.parts();
        let names = if parts.is_empty() {
            vec![id.to_owned()]
        } else {
            parts.iter().map(|part| format!("{id}.{part}")).collect()
        };
        let is_run = |name: &String| {
            let begins = |end: char| tests.iter().any(|test| test.contains(&format!("\"{name}{end}")));
            ['"', '(', '='].into_iter().any(begins)
        };
        missing.extend(names.into_iter().filter(|name| !is_run(name)));
    }
    assert!(missing.is_empty(), "{missing:?}");
}
