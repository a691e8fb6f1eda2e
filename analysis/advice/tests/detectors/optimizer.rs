//! What the optimizer launches.

use gapless_trace::Args;

use super::{all_found, brings, products, silent, steps};
use crate::machine::{Op, Program, launch};

fn operator(name: &str, inner: Vec<Op>) -> Op {
    Op::Operator(name.to_owned(), Args::new(), inner)
}

#[test]
fn unfused_optimizer() {
    let training = |count: usize, kernel: &str, fused: bool| {
        Program::one(steps(4, true, |_, ops| {
            products(ops, 10, 100_000);
            let update = |place: usize| {
                // The last kernel stands for all; of the others a fifth of the host time stays.
                let inner = match (fused, place + 1 == count) {
                    (false, _) => vec![Op::Work(10_000), launch(7, kernel, 5_000)],
                    (true, true) => vec![Op::Work(10_000), launch(7, kernel, 3_000 * count as i64)],
                    (true, false) => vec![Op::Work(2_000)],
                };
                operator("aten::addcmul_", inner)
            };
            ops.push(Op::Annotation("Optimizer.step#Adam.step".to_owned(), (0..count).map(update).collect()));
        }))
    };
    let element = "void at::native::vectorized_elementwise_kernel";
    let before = training(200, element, false);
    brings(&before, &training(200, element, true), "unfused-optimizer", 0.01);
    silent(&training(200, element, true), "unfused-optimizer");
    // Few parameters, or kernels that take many at once.
    silent(&training(60, element, false), "unfused-optimizer");
    silent(&training(200, "void at::native::multi_tensor_apply_kernel", false), "unfused-optimizer");
}

#[test]
fn zeroed_gradients() {
    let training = |range: &str, outer: &str, fills: bool| {
        Program::one(steps(4, true, |_, ops| {
            products(ops, 10, 100_000);
            let fill = |_| {
                if fills {
                    let zero = operator("aten::zero_", vec![Op::Work(10_000), Op::Fill(4_000, 7, 2_000)]);
                    operator(outer, vec![zero])
                } else {
                    Op::Work(5_000)
                }
            };
            ops.push(Op::Annotation(range.to_owned(), (0..100).map(fill).collect()));
        }))
    };
    let zero_grad = "Optimizer.zero_grad#SGD.zero_grad";
    let before = training(zero_grad, "aten::zero_", true);
    brings(&before, &training(zero_grad, "aten::zero_", false), "zeroed-gradients", 0.01);
    // The host also waits at the end of each step.
    assert_eq!(all_found(&before), ["blocking-call", "zeroed-gradients"]);
    silent(&training(zero_grad, "aten::zero_", false), "zeroed-gradients");
    // New tensors must be filled.
    silent(&training("forward", "aten::zeros", true), "zeroed-gradients");
}
