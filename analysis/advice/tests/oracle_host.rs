//! What detectors propose for the host and for single kernels, against a machine that really runs the changed program.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod machine;
#[path = "oracle/mod.rs"]
mod oracle;

use gapless_advice::{Edit, Study, what_if_unchecked};
use gapless_trace::{ArgValue, Args};
use machine::{Kernel, Op, Program, Rng, inputs, kernel, launch, op, run, trace};
use oracle::{PROGRAMS, agree, busy, steps};

/// Work that begins sooner after its launch.
#[test]
fn launches_that_reach_the_device_sooner() {
    for seed in 0..PROGRAMS {
        let mut rng = Rng(Rng(seed).next());
        let latency = rng.range(5_000, 40_000);
        let program = Program::one(steps(&mut rng, 3, |rng, ops| {
            for _ in 0..10 {
                let count = 1 + rng.below(4);
                busy(rng, ops, count);
                ops.push(Op::SyncStream(7));
            }
        }));
        let before = Program { launch_latency: Some(latency), ..program.clone() };
        let after = Program { launch_latency: Some((latency as f64 / 2.0).round() as i64), ..program };
        agree(seed, &before, &after, &["host.launch-latency=2x"], 0.01);
    }
}

/// A checkpoint that is written in some steps: host work, copies that block, kernels.
#[test]
fn work_within_a_function_that_is_not_done() {
    for seed in 0..PROGRAMS {
        let shape = Rng(Rng(seed).next());
        let make = |with: bool| {
            let mut rng = shape.clone();
            Program::one(steps(&mut rng, 4, |rng, ops| {
                busy(rng, ops, 15);
                let mut inner = Vec::new();
                for _ in 0..3 {
                    inner.push(Op::Work(rng.range(20_000, 400_000)));
                    inner.push(launch(7, "void at::native::reduce_kernel", rng.range(5_000, 60_000)));
                    let (bytes, dur) = (1 << 20, rng.range(40_000, 300_000));
                    let name = "Memcpy DtoH (Device -> Pageable)".to_owned();
                    inner.push(Op::Copy { cost: 6_000, stream: 7, name, bytes, dur, blocks: true });
                }
                if with {
                    ops.push(Op::Python("train.py(88): save_checkpoint".to_owned(), inner));
                }
                busy(rng, ops, 15);
            }))
        };
        agree(seed, &make(true), &make(false), &["skip(in=save_checkpoint)"], 0.01);
    }
}

/// `CUDA_LAUNCH_BLOCKING=1`, and without.
#[test]
fn launches_that_wait_and_launches_that_return() {
    for seed in 0..PROGRAMS {
        let shape = Rng(Rng(seed).next());
        let make = |waits: bool| {
            let mut rng = shape.clone();
            Program::one(steps(&mut rng, 3, |rng, ops| {
                for _ in 0..25 {
                    ops.push(Op::Work(rng.range(3_000, 60_000)));
                    let work = kernel("ampere_sgemm_128x64_tn", rng.range(10_000, 200_000));
                    ops.push(if waits { Op::BlockingLaunch(7, work) } else { Op::Launch(6_000, 7, work) });
                }
            }))
        };
        agree(seed, &make(true), &make(false), &["async-launches"], 0.01);
    }
}

/// A machine that multiplies so many FLOPs a ns where dimensions are multiples of eight, and less where they are not.
#[test]
fn products_of_padded_matrices() {
    const RATE: f64 = 150_000.0;
    for seed in 0..PROGRAMS {
        let shape = Rng(Rng(seed).next());
        let make = |padded: bool| {
            let mut rng = shape.clone();
            let program = Program::one(steps(&mut rng, 3, |rng, ops| {
                for number in 0..16 {
                    let mut dims = [0; 3].map(|_: i64| 8 * rng.range(64, 512));
                    let slower = rng.range(150, 400) as f64 / 100.0;
                    let mut rate = RATE;
                    if number % 4 == 0 {
                        let off = dims[rng.below(3) as usize % 3].min(7) as usize % 3;
                        dims[off] -= rng.range(1, 8);
                        rate = RATE / slower;
                    }
                    if padded {
                        dims = dims.map(|dim| (dim as u64).div_ceil(8) as i64 * 8);
                        rate = RATE;
                    }
                    let [m, k, n] = dims;
                    let dur = (2.0 * m as f64 * k as f64 * n as f64 / rate).round() as i64;
                    let args = inputs(&[&[m, k], &[k, n]], &["c10::Half", "c10::Half"], &["", ""]);
                    ops.push(machine::op_with("aten::mm", args, 7, "ampere_fp16_s16816gemm_fp16_128x128_tn", dur));
                }
            }));
            Program { device: "NVIDIA A100-SXM4-80GB".to_owned(), ..program }
        };
        agree(seed, &make(false), &make(true), &["pad-shapes"], 0.01);
    }
}

/// Kernels with fewer blocks than multiprocessors on a machine where time goes with the share of multiprocessors that
/// have one: the best that the edit takes for possible. What it expects is half of that, so only the range is claimed.
#[test]
fn kernels_that_fill_the_device() {
    for seed in 0..PROGRAMS {
        let shape = Rng(Rng(seed).next());
        let make = |fills: bool| {
            let mut rng = shape.clone();
            let program = Program::one(steps(&mut rng, 3, |rng, ops| {
                for _ in 0..15 {
                    ops.push(Op::Work(rng.range(1_000, 6_000)));
                    let (blocks, dur) = (rng.range(20, 107), rng.range(20_000, 200_000));
                    let dur = if fills { 2_000 + (dur - 2_000) * blocks / 108 } else { dur };
                    let list = |x: i64| ArgValue::List([x, 1, 1].map(ArgValue::Int).to_vec());
                    let grid = if fills { 108 } else { blocks };
                    let args = vec![("grid".to_owned(), list(grid)), ("block".to_owned(), list(256))];
                    let name = "ampere_sgemm_32x32_sliced1x4_tn".to_owned();
                    ops.push(Op::Launch(4_000, 7, Kernel { name, dur, args }));
                    ops.push(launch(7, "void at::native::reduce_kernel", rng.range(3_000, 50_000)));
                }
            }));
            Program { device: "NVIDIA A100-SXM4-80GB".to_owned(), ..program }
        };
        let recording = trace(&run(&make(false)));
        let study = Study::new(&recording);
        let found = what_if_unchecked(&study, &[Edit::parse("fill-device").unwrap()]).unwrap();
        let (executed, recorded) = (run(&make(true)).mean_step(), run(&make(false)).mean_step());
        assert!((found.base.mean_step_ns / recorded - 1.0).abs() < 1e-3, "seed {seed}");
        let band = found.mean_step_ns;
        assert!((band.low / executed - 1.0).abs() <= 0.01, "seed {seed}: {executed} executed, {band:?}");
        assert!(band.contains(recorded), "at worst nothing comes of it");
        assert!((band.mid / executed.midpoint(recorded) - 1.0).abs() <= 0.02, "seed {seed}: {band:?}");
    }
}

/// Attention out of single operators, and as one kernel that takes the time of its products.
#[test]
fn attention_in_one_kernel() {
    for seed in 0..PROGRAMS {
        let shape = Rng(Rng(seed).next());
        let make = |fused: bool| {
            let mut rng = shape.clone();
            Program::one(steps(&mut rng, 3, |rng, ops| {
                for _ in 0..6 {
                    busy(rng, ops, 4);
                    let products = [rng.range(20_000, 90_000), rng.range(20_000, 90_000)];
                    let glue = [
                        ("aten::div", "void at::native::vectorized_elementwise_kernel"),
                        ("aten::add", "void at::native::vectorized_elementwise_kernel"),
                        ("aten::_softmax", "void (anonymous namespace)::softmax_warp_forward"),
                        ("aten::dropout", "void at::native::fused_dropout_kernel_vec"),
                    ];
                    ops.push(op("aten::bmm", 4_000, 7, "ampere_sgemm_128x64_tn", products[0]));
                    for (name, kernel_name) in glue {
                        let (host, dur) = (rng.range(2_000, 20_000), rng.range(5_000, 90_000));
                        // Half of the host time of an operator goes with its launch.
                        let own = host + 1_000;
                        ops.push(if fused {
                            Op::Operator(name.to_owned(), Args::new(), vec![Op::Work(own - own / 2)])
                        } else {
                            op(name, host, 7, kernel_name, dur)
                        });
                    }
                    ops.push(op("aten::bmm", 4_000, 7, "ampere_sgemm_128x64_nn", products[1]));
                }
            }))
        };
        agree(seed, &make(false), &make(true), &["fuse-attention"], 0.01);
    }
}
