//! Kernels that could be faster, or need not run.

use gapless_trace::{ArgValue, Args};

use super::{abstains, besides_syncs, found, gains, gains_within};
use crate::machine::{Kernel, Op, Program, inputs, launch, op, op_with};

const US: i64 = 1_000;
const A100: &str = "NVIDIA A100-SXM4-80GB";

/// Six steps of one body on an A100.
fn program(body: impl Fn(&mut Vec<Op>)) -> Program {
    let mut ops = Vec::new();
    for step in 0..6 {
        ops.push(Op::StepBegin(step));
        body(&mut ops);
        ops.push(Op::SyncDevice);
        ops.push(Op::StepEnd(step));
    }
    Program { device: A100.to_owned(), ..Program::one(ops) }
}

fn norms(ops: &mut Vec<Op>, count: usize) {
    for _ in 0..count {
        ops.push(op("aten::native_layer_norm", 10 * US, 7, "vectorized_layer_norm_kernel", 100 * US));
    }
}

fn fp32(count: usize, dur: i64, name: &str) -> Program {
    program(|ops| {
        norms(ops, 5);
        ops.extend((0..count).map(|_| {
            let args = inputs(&[&[4096, 1024], &[1024, 4096]], &["float", "float"], &["", ""]);
            op_with("aten::mm", args, 7, name, dur)
        }));
    })
}

#[test]
fn no_tensor_cores() {
    let before = fp32(10, 600 * US, "ampere_sgemm_128x64_tn");
    // Three times as fast but for the 2 µs that every kernel takes.
    gains(&before, &fp32(10, 200 * US, "ampere_s1688gemm_128x64_tn"), "no-tensor-cores", 0.02);
    assert_eq!(besides_syncs(&before), ["no-tensor-cores"]);
    assert!(found(&fp32(10, 200 * US, "ampere_tf32_s1688gemm_128x64_tn"), "no-tensor-cores").is_empty());
    // A few percent of the step.
    assert!(found(&fp32(1, 20 * US, "ampere_sgemm_128x64_tn"), "no-tensor-cores").is_empty());
    let nowhere = Program { device: String::new(), ..before };
    assert!(abstains(&nowhere, "no-tensor-cores"));
    // Volta has Tensor Cores for FP16 only.
    let volta = Program { device: "Tesla V100-SXM2-16GB".to_owned(), ..fp32(10, 600 * US, "volta_sgemm_128x64_tn") };
    let on_volta = found(&volta, "no-tensor-cores");
    assert_eq!(on_volta.len(), 1);
    assert_eq!(on_volta[0].finding.edits, ["precision.fp16"]);
}

/// Products of 4096×1024 with 1024×4096 in 200 µs, and one with `columns` columns in `dur`.
fn head(columns: i64, dur: i64) -> Program {
    let product = |columns: i64, dur: i64| {
        let args = inputs(&[&[4096, 1024], &[1024, columns]], &["c10::Half", "c10::Half"], &["", ""]);
        op_with("aten::mm", args, 7, "ampere_fp16_s16816gemm_fp16_128x64", dur)
    };
    program(|ops| {
        ops.extend((0..10).map(|_| product(4096, 200 * US)));
        ops.push(product(columns, dur));
    })
}

#[test]
fn gemm_shapes() {
    // Padded to 50264 columns it would take 200 µs for each 4096 of them.
    let padded = 200 * US * 50_264 / 4096;
    let before = head(50_257, 6_000 * US);
    gains(&before, &head(50_264, padded), "gemm-shapes", 0.02);
    assert_eq!(besides_syncs(&before), ["gemm-shapes"]);
    assert!(found(&head(50_264, padded), "gemm-shapes").is_empty());
    // Misaligned, but not slower; aligned, but slower; few columns.
    assert!(found(&head(50_257, 2_700 * US), "gemm-shapes").is_empty());
    assert!(found(&head(50_304, 6_000 * US), "gemm-shapes").is_empty());
    assert!(found(&head(3, 600 * US), "gemm-shapes").is_empty());
    let bare = program(|ops| ops.push(op("aten::mm", 10 * US, 7, "ampere_fp16_s16816gemm_fp16_128x64", 100 * US)));
    assert!(abstains(&bare, "gemm-shapes"));
}

/// Kernels with a grid, after others without.
fn grids(blocks: i64, dur: i64, count: usize) -> Program {
    let list = |numbers: [i64; 3]| ArgValue::List(numbers.iter().map(|&number| ArgValue::Int(number)).collect());
    let args: Args = vec![
        ("device".to_owned(), ArgValue::Int(0)),
        ("grid".to_owned(), list([blocks, 1, 1])),
        ("block".to_owned(), list([256, 1, 1])),
    ];
    program(|ops| {
        norms(ops, 5);
        for _ in 0..count {
            let kernel = Kernel { name: "kernel<float, 4>(int, float)".to_owned(), dur, args: args.clone() };
            ops.push(Op::Work(5 * US));
            ops.push(Op::Launch(4 * US, 7, kernel));
        }
    })
}

#[test]
fn low_occupancy() {
    let before = grids(27, 400 * US, 5);
    // A quarter of the multiprocessors has a block; 2 µs of a kernel do not depend on it.
    gains_within(&before, &grids(108, 102 * US, 5), "low-occupancy");
    assert_eq!(besides_syncs(&before), ["low-occupancy"]);
    // 8 blocks fit each of 108: 1.1 waves.
    assert_eq!(found(&grids(950, 400 * US, 5), "low-occupancy").len(), 1);
    assert!(found(&grids(10_000, 400 * US, 5), "low-occupancy").is_empty());
    // Short ones; nearly as many blocks as multiprocessors; nearly full waves.
    assert!(found(&grids(27, 8 * US, 5), "low-occupancy").is_empty());
    assert!(found(&grids(100, 400 * US, 5), "low-occupancy").is_empty());
    assert!(found(&grids(1_700, 400 * US, 5), "low-occupancy").is_empty());
    assert!(abstains(&program(|ops| norms(ops, 3)), "low-occupancy"));
}

/// Layers of attention: as single operators, or fused.
fn attention(fused: bool, softmax: i64) -> Program {
    let product = || op("aten::bmm", 10 * US, 7, "ampere_bf16_s16816gemm_bf16_128x64", 200 * US);
    program(|ops| {
        for _ in 0..6 {
            norms(ops, 1);
            ops.push(product());
            if !fused {
                ops.push(op("aten::div", 10 * US, 7, "void at::native::vectorized_elementwise_kernel", softmax));
                ops.push(op("aten::add", 10 * US, 7, "void at::native::vectorized_elementwise_kernel", softmax));
                ops.push(op("aten::_softmax", 10 * US, 7, "softmax_warp_forward", softmax));
                ops.push(op("aten::native_dropout", 10 * US, 7, "fused_dropout_kernel", softmax));
            }
            ops.push(product());
        }
    })
}

#[test]
fn unfused_attention() {
    let before = attention(false, 120 * US);
    gains(&before, &attention(true, 0), "unfused-attention", 0.02);
    assert!(found(&attention(true, 0), "unfused-attention").is_empty());
    // Tiny scores; and the softmax of the loss, with a product on one side only.
    assert!(found(&attention(false, US), "unfused-attention").is_empty());
    let loss = program(|ops| {
        norms(ops, 3);
        ops.push(op("aten::bmm", 10 * US, 7, "ampere_bf16_s16816gemm_bf16_128x64", 200 * US));
        ops.push(op("aten::_softmax", 10 * US, 7, "softmax_warp_forward", 500 * US));
        ops.push(op("aten::nll_loss", 10 * US, 7, "nll_loss_forward_reduce_cuda_kernel", 50 * US));
    });
    assert!(found(&loss, "unfused-attention").is_empty());
}

/// Convolutions with a kernel before each that turns the layout.
fn convolutions(turn: Option<i64>) -> Program {
    program(|ops| {
        for _ in 0..10 {
            let mut inner = vec![Op::Work(5 * US)];
            if let Some(dur) = turn {
                inner.push(launch(7, "void cudnn::ops::nchwToNhwcKernel<__half, __half, float, false>", dur));
            }
            inner.push(launch(7, "sm80_xmma_fprop_implicit_gemm_f16f16_f16f32_nhwckrsc", 300 * US));
            ops.push(Op::Operator("aten::cudnn_convolution".to_owned(), Args::new(), inner));
        }
    })
}

#[test]
fn layout_conversions() {
    let before = convolutions(Some(100 * US));
    gains(&before, &convolutions(None), "layout-conversions", 0.02);
    assert_eq!(besides_syncs(&before), ["layout-conversions"]);
    assert!(found(&convolutions(None), "layout-conversions").is_empty());
    assert!(found(&convolutions(Some(4 * US)), "layout-conversions").is_empty());
}

/// Products, each after a conversion of its weight from one type to another.
fn conversions(count: usize, from: &str, to: &str) -> Program {
    program(|ops| {
        for place in 0..20 {
            if place < count {
                let args = inputs(&[&[4096, 4096], &[4096, 4096]], &[to, from], &["", ""]);
                let copy = op_with("aten::copy_", args, 7, "void at::native::unrolled_elementwise_kernel", 60 * US);
                ops.push(Op::Operator("aten::to".to_owned(), Args::new(), vec![copy]));
            }
            ops.push(op("aten::mm", 10 * US, 7, "ampere_bf16_s16816gemm_bf16_128x64", 200 * US));
        }
    })
}

#[test]
fn type_casts() {
    let before = conversions(20, "float", "c10::BFloat16");
    gains(&before, &conversions(0, "float", "float"), "type-casts", 0.02);
    assert_eq!(besides_syncs(&before), ["type-casts"]);
    assert!(found(&conversions(0, "float", "float"), "type-casts").is_empty());
    // Copies that keep the type, conversions of whole numbers, and a few casts.
    assert!(found(&conversions(20, "float", "float"), "type-casts").is_empty());
    assert!(found(&conversions(20, "long int", "float"), "type-casts").is_empty());
    assert!(found(&conversions(6, "float", "c10::BFloat16"), "type-casts").is_empty());
}

/// Layers whose backward pass runs `again` forward kernels first.
fn checkpointed(again: usize, dur: i64) -> Program {
    program(|ops| {
        let forward = || op("aten::mm", 10 * US, 7, "ampere_bf16_s16816gemm_bf16_128x64", dur);
        ops.extend((0..8).map(|_| forward()));
        for _ in 0..4 {
            let mut inner: Vec<Op> = (0..again).map(|_| forward()).collect();
            let backward = (0..2).map(|_| op("aten::mm", 10 * US, 7, "ampere_bf16_s16816gemm_bf16_64x64", 200 * US));
            inner.push(Op::Operator(
                "autograd::engine::evaluate_function: MmBackward0".to_owned(),
                Args::new(),
                backward.collect(),
            ));
            ops.push(Op::Operator("CheckpointFunctionBackward".to_owned(), Args::new(), inner));
        }
    })
}

#[test]
fn recompute() {
    let before = checkpointed(2, 200 * US);
    gains(&before, &checkpointed(0, 200 * US), "recompute", 0.02);
    assert_eq!(besides_syncs(&before), ["recompute"]);
    assert!(found(&checkpointed(0, 200 * US), "recompute").is_empty());
    assert!(found(&checkpointed(1, 5 * US), "recompute").is_empty());
}
