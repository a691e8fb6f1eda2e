//! The host cannot keep up with the device.

use gapless_trace::Args;

use super::{advice, all_found, brings, products, silent, steps};
use crate::machine::{Kernel, Op, Program, kernel, launch};

/// Steps of 60 different kernels of `dur`, each with 30 µs of host work behind it.
fn eager(dur: i64) -> Program {
    Program::one(steps(5, true, |_, ops| {
        for number in 0..60 {
            ops.push(Op::Launch(4_000, 7, kernel(&format!("kernel_{number}"), dur)));
            ops.push(Op::Work(30_000));
        }
    }))
}

#[test]
fn launch_bound() {
    let graph = Program::one(steps(5, true, |_, ops| {
        let kernels: Vec<Kernel> = (0..60).map(|number| kernel(&format!("kernel_{number}"), 5_000)).collect();
        ops.push(Op::Graph(10_000 + 20 * 60, 7, kernels));
        ops.push(Op::Work(30_000));
    }));
    let before = eager(5_000);
    brings(&before, &graph, "launch-bound", 0.01);
    assert_eq!(all_found(&before), ["launch-bound"]);
    silent(&graph, "launch-bound");
    // Kernels that take a little longer than the host.
    silent(&eager(40_000), "launch-bound");
}

#[test]
fn device_gap() {
    let training = |work: i64, wait: bool| {
        Program::one(steps(6, wait, |_, ops| {
            ops.push(Op::Python("train.py(12): write_metrics".to_owned(), vec![Op::Work(work)]));
            products(ops, 20, 300_000);
        }))
    };
    let before = training(3_000_000, true);
    // The first step is left as it is.
    let mut after = before.clone();
    let mut seen = 0;
    after.change(|_, op| {
        if let Op::Python(_, inner) = op {
            seen += 1;
            if seen > 1 {
                inner.clear();
            }
        }
    });
    let advised = brings(&before, &after, "device-gap", 0.01);
    assert!(advised.finding.paragraph.contains("write_metrics"), "{}", advised.finding.paragraph);
    silent(&training(0, true), "device-gap");
    // The device has work for longer than the host needs.
    silent(&training(3_000_000, false), "device-gap");
    // Too short to matter.
    silent(&training(300_000, true), "device-gap");
}

#[test]
fn low_use() {
    let training = |work: i64, dur: i64| {
        Program::one(steps(6, true, |_, ops| {
            for _ in 0..20 {
                ops.push(Op::Work(work));
                ops.push(launch(7, "ampere_sgemm_128x64_tn", dur));
            }
        }))
    };
    let leads = |program: &Program| {
        let advice = advice(program);
        let found = advice.findings.iter().filter(|advised| advised.finding.detector == "low-use").count();
        let abstains = advice.abstained.iter().any(|abstention| abstention.detector == "low-use");
        (found, abstains)
    };
    assert_eq!(leads(&training(1_000_000, 300_000)), (1, false));
    assert_eq!(leads(&training(10_000, 1_000_000)), (0, false));
    // The same in a recording of 4 ms says nothing.
    assert_eq!(leads(&training(20_000, 6_000)), (0, true));
}

#[test]
fn short_kernels() {
    let element = "void at::native::vectorized_elementwise_kernel";
    let training = |rows: usize, name: &str, fused: bool| {
        Program::one(steps(3, true, |_, ops| {
            for _ in 0..rows {
                ops.push(launch(7, "ampere_sgemm_128x64_tn", 9_000));
                for place in 0..4 {
                    // 70 % of the host time of what is fused goes; half of the intermediate traffic does.
                    let inner = match (fused, place) {
                        (false, _) => vec![Op::Work(1_000), launch(7, name, 6_000)],
                        (true, 0) => vec![Op::Work(1_000), launch(7, name, 15_000)],
                        (true, _) => vec![Op::Work(300)],
                    };
                    ops.push(Op::Operator("aten::add".to_owned(), Args::new(), inner));
                }
            }
        }))
    };
    let before = training(300, element, false);
    brings(&before, &training(300, element, true), "short-kernels", 0.01);
    assert_eq!(all_found(&before), ["short-kernels"]);
    silent(&training(300, "triton_poi_fused_add_0", false), "short-kernels");
    // 750 kernels a step.
    silent(&training(150, element, false), "short-kernels");
}

#[test]
fn gc_pause() {
    let training = |pauses: &[u64]| {
        Program::one(steps(6, true, |step, ops| {
            products(ops, 5, 300_000);
            if pauses.contains(&step) {
                ops.push(Op::Gc(5_000_000));
            }
            products(ops, 15, 300_000);
        }))
    };
    let before = training(&[1, 3]);
    brings(&before, &training(&[]), "gc-pause", 0.01);
    assert_eq!(all_found(&before), ["gc-pause"]);
    silent(&training(&[]), "gc-pause");
    // One alone may be chance.
    silent(&training(&[2]), "gc-pause");
}
