//! Faults of links and of what is sent over them.

use super::{abstains, besides_syncs, found, gains, gains_within};
use crate::machine::{Collective, Op, Program, inputs, launch, op, op_with};

const US: i64 = 1_000;

fn collective(stream: i64, group: &str, sequence: &mut u64, elements: u64, transfer: i64) -> Op {
    *sequence += 1;
    let what = Collective {
        name: "allreduce".to_owned(),
        group: group.to_owned(),
        sequence: *sequence,
        elements,
        dtype: "Float".to_owned(),
    };
    Op::Collective { cost: 5 * US, stream, what, transfer }
}

/// Steps of work between their marks.
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

fn products(ops: &mut Vec<Op>, count: usize, dur: i64) {
    for _ in 0..count {
        ops.push(op("aten::mm", 10 * US, 7, "ampere_bf16_s16816gemm_bf16_128x64", dur));
    }
}

/// Two groups of two ranks reduce 4 MiB; the second takes `slow` for it.
fn two_groups(slow: i64, elements: u64) -> Program {
    let rank = |group: &str, transfer: i64| {
        let (mut own, mut all) = (0, 0);
        steps(6, |_, ops| {
            products(ops, 4, 200 * US);
            ops.push(collective(7, group, &mut own, elements, transfer));
            ops.push(collective(7, "world", &mut all, 16, 20 * US));
        })
    };
    Program::of(vec![rank("a", 400 * US), rank("a", 400 * US), rank("b", slow), rank("b", slow)])
}

#[test]
fn slow_link_of_a_group() {
    let (elements, before) = (1 << 20, two_groups(1_000 * US, 1 << 20));
    let finding = gains(&before, &two_groups(400 * US, elements), "slow-link", 0.03).finding;
    assert!(finding.title.contains("group b"), "{}", finding.title);
    // The reductions run between kernels, on their stream.
    assert_eq!(besides_syncs(&before), ["exposed-reduction", "slow-link"]);
    assert!(found(&two_groups(400 * US, elements), "slow-link").is_empty());
    // At three quarters of the bandwidth, or with small messages.
    assert!(found(&two_groups(550 * US, elements), "slow-link").is_empty());
    assert!(found(&two_groups(1_000 * US, 1_000), "slow-link").is_empty());
    // One rank alone does not tell transfer from waiting.
    let mut one = two_groups(1_000 * US, elements);
    one.ranks.truncate(1);
    assert!(abstains(&one, "slow-link"));
}

/// Two ranks reduce 4 MiB in each of twelve steps, and take longer in some.
fn at_times(slow: &[u64]) -> Program {
    let rank = || {
        let mut sequence = 0;
        steps(12, |step, ops| {
            products(ops, 4, 200 * US);
            let transfer = if slow.contains(&step) { 1_600 * US } else { 400 * US };
            ops.push(collective(7, "0", &mut sequence, 1 << 20, transfer));
        })
    };
    Program::of(vec![rank(), rank()])
}

#[test]
fn slow_link_at_times() {
    gains(&at_times(&[2, 5, 7, 8]), &at_times(&[]), "slow-link", 0.01);
    assert!(found(&at_times(&[]), "slow-link").is_empty());
    assert!(found(&at_times(&[2, 5]), "slow-link").is_empty());
}

/// Small messages of four sizes, one after the other; or one with all they hold. `needed` makes each wait for the last.
fn small_messages(count: u64, elements: u64, needed: bool, merged: bool) -> Program {
    // 25 µs and 10 GB/s.
    let time = |elements: u64| 25 * US + (elements * 4 / 10) as i64;
    let rank = || {
        let mut sequence = 0;
        steps(4, |_, ops| {
            products(ops, 6, 300 * US);
            if merged {
                let all: u64 = (0..count).map(|place| elements << (place % 4)).sum();
                ops.push(collective(7, "0", &mut sequence, all, time(all)));
                return;
            }
            for place in 0..count {
                let own = elements << (place % 4);
                ops.push(collective(7, "0", &mut sequence, own, time(own)));
                if needed {
                    ops.push(launch(7, "ampere_bf16_s16816gemm_bf16_128x64", 20 * US));
                }
            }
        })
    };
    Program::of(vec![rank(), rank()])
}

#[test]
fn tiny_collectives() {
    let before = small_messages(60, 500, false, false);
    gains(&before, &small_messages(60, 500, false, true), "tiny-collectives", 0.1);
    assert_eq!(besides_syncs(&before), ["tiny-collectives"]);
    // Larger than what the latency would carry; fewer; and each needed before the next, as with tensor parallelism.
    assert!(found(&small_messages(60, 500_000, false, false), "tiny-collectives").is_empty());
    assert!(found(&small_messages(40, 500, false, false), "tiny-collectives").is_empty());
    assert!(found(&small_messages(60, 500, true, false), "tiny-collectives").is_empty());
}

/// Micro-batches of products and reductions of these sizes; the optimizer runs after all, or after each.
fn accumulation(micro_batches: usize, reduced: &[usize], sizes: &[u64], each: bool) -> Program {
    let rank = || {
        let mut sequence = 0;
        steps(4, |_, ops| {
            for batch in 0..micro_batches {
                products(ops, 4, 200 * US);
                for &elements in sizes.iter().filter(|_| reduced.contains(&batch)) {
                    ops.push(collective(7, "0", &mut sequence, elements, 100 * US + elements as i64 / 10));
                }
                if each || batch + 1 == micro_batches {
                    ops.push(op("Optimizer.step#AdamW.step", 10 * US, 7, "multi_tensor_apply_kernel", 100 * US));
                }
            }
        })
    };
    Program::of(vec![rank(), rank()])
}

#[test]
fn repeated_gradients() {
    let sizes = [2_000_000, 4_000_000, 1_000_000];
    let all = [0, 1, 2, 3];
    let before = accumulation(4, &all, &sizes, false);
    let finding = gains(&before, &accumulation(4, &[3], &sizes, false), "repeated-gradients", 0.02).finding;
    assert!(finding.title.contains("4 times"), "{}", finding.title);
    assert!(found(&accumulation(4, &[3], &sizes, false), "repeated-gradients").is_empty());
    // Several updates in what is marked as one step; layers that all reduce the same size.
    assert!(found(&accumulation(4, &all, &sizes, true), "repeated-gradients").is_empty());
    assert!(found(&accumulation(4, &all, &[2_000_000; 3], false), "repeated-gradients").is_empty());
}

/// Products alone, and as many beside a reduction on another stream, which then take `beside`.
fn overlap(beside: i64, rows: i64) -> Program {
    let product = |dur: i64, rows: i64| {
        let args = inputs(&[&[rows, 1024], &[1024, 1024]], &["c10::BFloat16", "c10::BFloat16"], &["", ""]);
        op_with("aten::mm", args, 7, "ampere_bf16_s16816gemm_bf16_128x64", dur)
    };
    let rank = || {
        let mut sequence = 0;
        let mut event = 0;
        steps(4, |_, ops| {
            ops.extend((0..6).map(|_| product(200 * US, 4096)));
            event += 1;
            ops.push(Op::Record(7, event));
            ops.push(Op::Wait(20, event));
            ops.push(collective(20, "0", &mut sequence, 1 << 22, 1_700 * US));
            ops.extend((0..6).map(|_| product(beside, rows)));
            ops.extend((0..4).map(|_| launch(7, "void at::native::reduce_kernel", 300 * US)));
        })
    };
    Program::of(vec![rank(), rank()])
}

#[test]
fn comm_slows_compute() {
    let before = overlap(280 * US, 4096);
    gains(&before, &overlap(200 * US, 4096), "comm-slows-compute", 0.02);
    assert_eq!(besides_syncs(&before), ["comm-slows-compute"]);
    assert!(found(&overlap(200 * US, 4096), "comm-slows-compute").is_empty());
    // Five percent; and other products beside the reduction than alone.
    assert!(found(&overlap(210 * US, 4096), "comm-slows-compute").is_empty());
    assert!(found(&overlap(280 * US, 6144), "comm-slows-compute").is_empty());
}

#[test]
fn ranges_of_gains_hold_the_truth() {
    gains_within(&two_groups(1_000 * US, 1 << 20), &two_groups(400 * US, 1 << 20), "slow-link");
    gains_within(&overlap(280 * US, 4096), &overlap(200 * US, 4096), "comm-slows-compute");
}
