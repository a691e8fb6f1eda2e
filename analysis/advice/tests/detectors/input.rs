//! Faults of the way that data take to the device.

use super::found;
use crate::machine::{Op, Program, op};

const MS: i64 = 1_000_000;

/// Steps that load for `load`, run 20 operators of `work` on the device, and sync.
fn training(load: i64, work: i64) -> Program {
    let mut ops = Vec::new();
    for step in 0..6 {
        ops.push(Op::StepBegin(step));
        ops.push(Op::Load(load));
        for _ in 0..20 {
            ops.push(op("aten::mm", 10_000, 7, "ampere_sgemm_128x64_tn", work));
        }
        ops.push(Op::SyncDevice);
        ops.push(Op::StepEnd(step));
    }
    Program::one(ops)
}

#[test]
fn input_stall() {
    let stalled = found(&training(8 * MS, MS), "input-stall");
    assert_eq!(stalled.len(), 1);
    // 8 ms of 28 are gone but for the hand-over of 1.4 ms, and other host work takes 5 % longer.
    let gain = stalled[0].gain.as_ref().unwrap().gain_ns;
    assert!((gain.mid / 1e6 - 6.6).abs() < 0.3, "{gain:?}");
    assert!(!stalled[0].finding.evidence.is_empty());
    // Without loading, and with loading that takes 1 % of the step.
    assert!(found(&training(1_000, MS), "input-stall").is_empty());
    assert!(found(&training(200_000, MS), "input-stall").is_empty());
}

/// Loading that the device's backlog hides is no fault: the step is as long without it.
#[test]
fn loading_behind_a_busy_device_is_no_input_stall() {
    let mut program = training(3 * MS, MS);
    // The host never waits within the loop.
    for (_, ops) in &mut program.ranks {
        ops.retain(|op| !matches!(op, Op::SyncDevice));
        ops.push(Op::SyncDevice);
    }
    assert!(found(&program, "input-stall").is_empty());
}
