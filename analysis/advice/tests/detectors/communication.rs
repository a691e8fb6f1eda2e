//! Communication that is not hidden.

use gapless_trace::Args;

use super::{brings, products, silent, steps};
use crate::machine::{Collective, Op, Program, launch, op};

fn collective(name: &str, sequence: &mut u64, transfer: i64) -> Op {
    let what = Collective {
        name: name.to_owned(),
        group: "0".to_owned(),
        sequence: *sequence,
        elements: 1 << 20,
        dtype: "Float".to_owned(),
    };
    *sequence += 1;
    Op::Collective { cost: 1_000, stream: 20, what, transfer }
}

/// What comes next on stream `to` waits for all before it on stream `from`.
fn join(ops: &mut Vec<Op>, event: &mut usize, from: i64, to: i64) {
    ops.push(Op::Record(from, *event));
    ops.push(Op::Wait(to, *event));
    *event += 1;
}

/// Two ranks: a forward pass, a backward pass whose gradients are reduced in `buckets`, an optimizer.
fn backward(buckets: usize, transfer: i64) -> Program {
    let rank = || {
        let (mut sequence, mut event) = (0, 0);
        steps(4, true, |_, ops| {
            products(ops, 10, 60_000);
            let mut inner = Vec::new();
            let part = 20_000 + (transfer - 20_000) / buckets as i64;
            for number in 0..24 {
                inner.push(op("aten::mm", 500, 7, "ampere_sgemm_128x64_nt", 63_000));
                if (number + 1) % (24 / buckets) == 0 && number != 23 {
                    join(&mut inner, &mut event, 7, 20);
                    inner.push(collective("allreduce", &mut sequence, part));
                }
            }
            join(&mut inner, &mut event, 7, 20);
            inner.push(collective("allreduce", &mut sequence, part));
            let name = "autograd::engine::evaluate_function: MmBackward0".to_owned();
            ops.push(Op::Operator(name, Args::new(), inner));
            join(ops, &mut event, 20, 7);
            ops.push(launch(7, "multi_tensor_apply_kernel", 50_000));
        })
    };
    Program::of(vec![rank(), rank()])
}

#[test]
fn exposed_reduction() {
    brings(&backward(1, 900_000), &backward(8, 900_000), "exposed-reduction", 0.03);
    silent(&backward(8, 900_000), "exposed-reduction");
    // 2 % of the step.
    silent(&backward(1, 60_000), "exposed-reduction");
}

/// Layers of tensor parallelism need the sum at once: no bucket could hide it.
#[test]
fn reductions_between_layers_are_no_gradients() {
    let rank = || {
        let (mut sequence, mut event) = (0, 0);
        steps(4, true, |_, ops| {
            for _ in 0..8 {
                let mut inner = Vec::new();
                products(&mut inner, 3, 60_000);
                join(&mut inner, &mut event, 7, 20);
                inner.push(collective("allreduce", &mut sequence, 90_000));
                join(&mut inner, &mut event, 20, 7);
                ops.push(Op::Operator("RowParallelLinear".to_owned(), Args::new(), inner));
            }
            products(ops, 3, 60_000);
        })
    };
    silent(&Program::of(vec![rank(), rank()]), "exposed-reduction");
}

/// Two ranks of eight units whose parameters are gathered `ahead` units before, the host one unit ahead of the device.
fn sharded(ahead: usize, transfer: i64) -> Program {
    let rank = || {
        let mut sequence = 0;
        let done = |step: u64, unit: usize| 1_000 + 100 * step as usize + unit;
        steps(4, true, |step, ops| {
            let mut gathered = 0;
            for unit in 0..8 {
                while gathered < (unit + 1 + ahead).min(8) {
                    ops.push(collective("all_gather", &mut sequence, transfer));
                    ops.push(Op::Record(20, done(step, gathered)));
                    gathered += 1;
                }
                ops.push(Op::Wait(7, done(step, unit)));
                products(ops, 4, 100_000);
                ops.push(Op::SyncStream(7));
            }
        })
    };
    Program::of(vec![rank(), rank()])
}

#[test]
fn late_gather() {
    brings(&sharded(0, 300_000), &sharded(1, 300_000), "late-gather", 0.02);
    silent(&sharded(1, 300_000), "late-gather");
    // Launched in time, but the link is too slow: gathers wait for one another.
    silent(&sharded(4, 700_000), "late-gather");
}
