//! Copies to the device.

use super::{all_found, brings, products, silent, steps};
use crate::machine::{Op, Program};

fn copy(stream: i64, pinned: bool, bytes: u64, gb_per_s: f64) -> Op {
    let name = if pinned { "Memcpy HtoD (Pinned -> Device)" } else { "Memcpy HtoD (Pageable -> Device)" };
    let dur = (bytes as f64 / gb_per_s).round() as i64;
    Op::Copy { cost: 6_000, stream, name: name.to_owned(), bytes, dur, blocks: !pinned }
}

/// Steps that copy a batch and compute for 3 ms.
fn training(pinned: bool, bytes: u64) -> Program {
    let mut event = 0;
    Program::one(steps(5, true, |_, ops| {
        if pinned {
            ops.push(copy(21, true, bytes, 25.0));
            ops.push(Op::Record(21, event));
            ops.push(Op::Wait(7, event));
            event += 1;
        } else {
            ops.push(copy(7, false, bytes, 3.0));
        }
        products(ops, 10, 300_000);
    }))
}

#[test]
fn pageable_copy() {
    let before = training(false, 8 << 20);
    brings(&before, &training(true, 8 << 20), "pageable-copy", 0.01);
    assert_eq!(all_found(&before), ["pageable-copy"]);
    silent(&training(true, 8 << 20), "pageable-copy");
    // Small ones cost their latency only.
    silent(&training(false, 32 << 10), "pageable-copy");
}

/// Beside kernels a slow copy costs nothing.
#[test]
fn a_hidden_copy_is_no_fault() {
    let program = Program::one(steps(5, true, |_, ops| {
        products(ops, 30, 300_000);
        ops.push(copy(21, false, 8 << 20, 3.0));
    }));
    silent(&program, "pageable-copy");
}
