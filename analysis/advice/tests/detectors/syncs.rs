//! Calls that wait for the device.

use gapless_trace::Args;

use super::{brings, found, products, silent, steps};
use crate::machine::{CALL, Op, Program, launch};

fn item(waits: bool, stream: i64) -> Op {
    let name = "Memcpy DtoH (Device -> Pageable)".to_owned();
    let wait = if waits { Op::SyncStream(stream) } else { Op::Work(CALL) };
    let inner = vec![Op::Copy { cost: 3_000, stream, name, bytes: 4, dur: 1_500, blocks: false }, wait];
    Op::Operator("aten::item".to_owned(), Args::new(), inner)
}

#[test]
fn read_back() {
    let training = |waits: &dyn Fn(u64) -> bool| {
        Program::one(steps(6, false, |step, ops| {
            for _ in 0..6 {
                products(ops, 5, 100_000);
                ops.push(item(waits(step), 7));
                ops.push(Op::Work(60_000));
            }
        }))
    };
    // One step in ten still reads: of six, the first.
    let before = training(&|_| true);
    brings(&before, &training(&|step| step == 0), "read-back", 0.01);
    silent(&training(&|_| false), "read-back");
    silent(&before, "blocking-call");
    // What waits on a stream beside a busy one leaves nothing idle.
    let beside = Program::one(steps(6, false, |_, ops| {
        products(ops, 30, 100_000);
        ops.push(launch(21, "void at::native::reduce_kernel", 5_000));
        ops.push(item(true, 21));
        ops.push(Op::Work(60_000));
    }));
    silent(&beside, "read-back");
}

#[test]
fn blocking_call() {
    let training = |call: &dyn Fn() -> Op| {
        Program::one(steps(5, false, |_, ops| {
            for _ in 0..4 {
                products(ops, 6, 100_000);
                ops.push(call());
                ops.push(Op::Work(80_000));
            }
        }))
    };
    let free = training(&|| Op::Work(CALL));
    let waits = brings(&training(&|| Op::SyncDevice), &free, "blocking-call", 0.01);
    assert_eq!(waits.finding.edits, ["remove-sync(call=cudaDeviceSynchronize)"]);
    silent(&free, "blocking-call");
    // Allocation has another fix.
    let none = training(&|| Op::Work(0));
    let allocation = brings(&training(&|| Op::Blocking("cudaMalloc".to_owned(), 50_000)), &none, "blocking-call", 0.01);
    assert_eq!(allocation.finding.edits, ["no-gc.allocator"]);
    // A wait for a side stream, while the device has work for long.
    let beside = Program::one(steps(5, false, |_, ops| {
        for _ in 0..4 {
            products(ops, 12, 100_000);
            ops.push(launch(21, "void at::native::reduce_kernel", 5_000));
            ops.push(Op::SyncStream(21));
            ops.push(Op::Work(80_000));
        }
    }));
    silent(&beside, "blocking-call");
}

/// Loading of data after a wait is the loader's fault.
#[test]
fn a_wait_before_loading_is_not_blamed() {
    let program = Program::one(steps(5, true, |_, ops| {
        ops.push(Op::Load(4_000_000));
        products(ops, 10, 300_000);
    }));
    assert_eq!(found(&program, "input-stall").len(), 1);
    silent(&program, "blocking-call");
    silent(&program, "device-gap");
}
