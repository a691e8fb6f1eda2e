//! Faults of recommendation models.

use gapless_trace::Args;

use super::{abstains, besides_syncs, found, gains};
use crate::machine::{Collective, Op, Program, inputs, launch, op};

const US: i64 = 1_000;

fn steps(count: u64, mut body: impl FnMut(u64, &mut Vec<Op>)) -> Vec<Op> {
    let mut ops = Vec::new();
    for step in 0..count {
        ops.push(Op::StepBegin(step));
        body(step, &mut ops);
        ops.push(Op::SyncDevice);
        ops.push(Op::StepEnd(step));
    }
    ops
}

fn collective(name: &str, group: &str, stream: i64, sequence: u64, elements: u64, transfer: i64) -> Op {
    let (name, group) = (name.to_owned(), group.to_owned());
    let what = Collective { name, group, sequence, elements, dtype: "Float".to_owned() };
    Op::Collective { cost: 5 * US, stream, what, transfer }
}

fn products(ops: &mut Vec<Op>, count: usize) {
    for _ in 0..count {
        ops.push(op("aten::mm", 10 * US, 7, "ampere_bf16_s16816gemm_bf16_128x64", 300 * US));
    }
}

/// The gradient of a table of `rows`, with or without zeros for all of them.
fn gradient(rows: i64, zeros: Option<i64>) -> Program {
    Program::one(steps(5, |_, ops| {
        products(ops, 6);
        let rows = rows.to_string();
        let args = inputs(&[&[8192, 64], &[8192]], &["float", "long int"], &["", "", &rows, "-1", "False"]);
        let mut inner = vec![Op::Work(5 * US)];
        if let Some(dur) = zeros {
            inner.push(launch(7, "vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>", dur));
        }
        inner.push(launch(7, "embedding_backward_feature_kernel", 50 * US));
        ops.push(Op::Operator("aten::embedding_dense_backward".to_owned(), args, inner));
    }))
}

#[test]
fn dense_embedding_gradient() {
    let before = gradient(4_000_000, Some(700 * US));
    gains(&before, &gradient(4_000_000, None), "dense-embedding-gradient", 0.02);
    assert_eq!(besides_syncs(&before), ["dense-embedding-gradient"]);
    // A table of about as many rows as were read, and one whose zeros cost nothing.
    assert!(found(&gradient(30_000, Some(700 * US)), "dense-embedding-gradient").is_empty());
    assert!(found(&gradient(4_000_000, Some(2 * US)), "dense-embedding-gradient").is_empty());
    let plain = Program::one(steps(5, |_, ops| products(ops, 6)));
    assert!(found(&plain, "dense-embedding-gradient").is_empty());
}

/// Steps that exchange embeddings, look them up and compute; `ahead` exchanges those of the next step.
fn exchange(transfer: i64, ahead: bool, tables: bool) -> Program {
    let rank = || {
        let send = |step: u64, ops: &mut Vec<Op>| {
            ops.push(collective("all_to_all", "0", 20, step, 1 << 20, transfer));
            ops.push(Op::Record(20, step as usize));
        };
        steps(6, |step, ops| {
            if !ahead || step == 0 {
                send(step, ops);
            }
            if ahead && step < 5 {
                send(step + 1, ops);
            }
            ops.push(Op::Wait(7, step as usize));
            if tables {
                ops.push(op("aten::embedding_bag", 10 * US, 7, "EmbeddingBag_updateOutputKernel_sum_mean", 100 * US));
            } else {
                ops.push(op("aten::index_select", 10 * US, 7, "indexSelectLargeIndex", 100 * US));
            }
            products(ops, 10);
            ops.push(collective("allreduce", "1", 7, step, 1 << 20, 100 * US));
        })
    };
    Program::of(vec![rank(), rank()])
}

#[test]
fn embedding_exchange() {
    let before = exchange(1_000 * US, false, true);
    gains(&before, &exchange(1_000 * US, true, true), "embedding-exchange", 0.1);
    assert_eq!(besides_syncs(&before), ["embedding-exchange"]);
    assert!(found(&exchange(1_000 * US, true, true), "embedding-exchange").is_empty());
    // A short exchange, and one of something else than embeddings.
    assert!(found(&exchange(100 * US, false, true), "embedding-exchange").is_empty());
    assert!(found(&exchange(1_000 * US, false, false), "embedding-exchange").is_empty());
}

/// Four ranks look up tables for the times of each step, compute, and reduce.
fn lookups(count: u64, times: impl Fn(u64, usize) -> i64) -> Program {
    let rank = |rank: usize| {
        steps(count, |step, ops| {
            ops.push(op(
                "aten::embedding_bag",
                10 * US,
                7,
                "EmbeddingBag_updateOutputKernel_sum_mean",
                times(step, rank),
            ));
            products(ops, 4);
            ops.push(collective("allreduce", "0", 7, step, 1 << 20, 100 * US));
        })
    };
    Program::of((0..4).map(rank).collect())
}

#[test]
fn shard_imbalance() {
    let uneven = |_: u64, rank: usize| if rank == 2 { 1_200 * US } else { 400 * US };
    let before = lookups(5, uneven);
    let finding = gains(&before, &lookups(5, |_, _| 600 * US), "shard-imbalance", 0.02).finding;
    assert_eq!(finding.rank_id, Some(2));
    assert!(found(&lookups(5, |_, _| 600 * US), "shard-imbalance").is_empty());
    // Another rank in each step; ten percent; too few steps to tell.
    let wandering = |step: u64, rank: usize| if step as usize % 4 == rank { 1_200 * US } else { 400 * US };
    assert!(found(&lookups(5, wandering), "shard-imbalance").is_empty());
    let slight = |_: u64, rank: usize| if rank == 2 { 440 * US } else { 400 * US };
    assert!(found(&lookups(5, slight), "shard-imbalance").is_empty());
    assert!(abstains(&lookups(2, uneven), "shard-imbalance"));
    let mut one = before;
    one.ranks.truncate(1);
    assert!(abstains(&one, "shard-imbalance"));
}

/// Four ranks exchange; the third has `most` of the elements, and the exchange takes its time.
fn tokens(most: u64) -> Program {
    let rank = |rank: usize| {
        steps(5, |step, ops| {
            products(ops, 2);
            let elements = if rank == 2 { most } else { 1_000_000 };
            ops.push(collective("all_to_all", "0", 7, step, elements, (most / 2) as i64));
        })
    };
    Program::of((0..4).map(rank).collect())
}

#[test]
fn imbalance_of_exchanges() {
    let before = tokens(3_000_000);
    // Evenly each has 1.5 million.
    let mut after = before.clone();
    after.change(|_, op| {
        if let Op::Collective { transfer, .. } = op {
            *transfer /= 2;
        }
    });
    gains(&before, &after, "shard-imbalance", 0.02);
    assert!(found(&tokens(1_000_000), "shard-imbalance").is_empty());
    assert!(found(&tokens(1_200_000), "shard-imbalance").is_empty());
}

#[test]
fn programs_without_embeddings_have_none_of_these() {
    let plain = Program::one(steps(4, |_, ops| {
        products(ops, 4);
        ops.push(Op::Operator("aten::linear".to_owned(), Args::new(), vec![Op::Work(US)]));
    }));
    assert_eq!(besides_syncs(&plain), Vec::<String>::new());
}
