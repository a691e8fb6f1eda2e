//! Things that no step should do.

use gapless_trace::Args;

use super::{advice, besides_syncs, found, gains};
use crate::machine::{Op, Program, kernel, op};

const US: i64 = 1_000;
const MS: i64 = 1_000_000;

/// Six steps, with something at the end of each.
fn program(extra: impl Fn(u64) -> Vec<Op>) -> Program {
    let mut ops = Vec::new();
    for step in 0..6 {
        ops.push(Op::StepBegin(step));
        ops.extend((0..10).map(|_| op("aten::mm", 10 * US, 7, "ampere_bf16_s16816gemm_bf16_128x64", 300 * US)));
        ops.push(Op::SyncDevice);
        ops.extend(extra(step));
        ops.push(Op::StepEnd(step));
    }
    Program::one(ops)
}

fn frame(name: &str, ops: Vec<Op>) -> Op {
    Op::Python(name.to_owned(), ops)
}

#[test]
fn checkpoints_within_steps() {
    let save = |steps: &'static [u64], dur: i64| {
        program(move |step| {
            if !steps.contains(&step) {
                return Vec::new();
            }
            vec![frame(
                "torch/serialization.py(965): save",
                vec![Op::Work(dur), frame("pickle.py(1): dump", vec![Op::Work(dur)])],
            )]
        })
    };
    let before = save(&[2, 4], 10 * MS);
    let finding = gains(&before, &save(&[], 0), "antipatterns", 0.01).finding;
    assert!(finding.title.contains("Checkpoints"), "{}", finding.title);
    assert!(found(&save(&[], 0), "antipatterns").is_empty());
    // A short save, and a function of another name.
    assert!(found(&save(&[2], 20 * US), "antipatterns").is_empty());
    let other = program(|_| vec![frame("app/cache.py(10): save_metrics", vec![Op::Work(10 * MS)])]);
    assert!(found(&other, "antipatterns").is_empty());
}

#[test]
fn compilation_in_steady_steps() {
    let compile = |at: u64, dur: i64| {
        program(move |step| {
            let compile = frame("torch/_dynamo/convert_frame.py(500): _compile", vec![Op::Work(dur)]);
            if step == at { vec![compile] } else { Vec::new() }
        })
    };
    gains(&compile(3, 30 * MS), &compile(9, 0), "antipatterns", 0.01);
    // Warm-up is what the first step is for.
    assert!(found(&compile(0, 30 * MS), "antipatterns").is_empty());
    assert!(found(&compile(9, 0), "antipatterns").is_empty());
}

#[test]
fn code_loaded_in_steady_steps() {
    let load = |at: u64| {
        program(
            move |step| {
                if step == at { vec![Op::Blocking("cuModuleLoadData".to_owned(), 8 * MS)] } else { Vec::new() }
            },
        )
    };
    gains(&load(3), &load(9), "antipatterns", 0.02);
    assert!(found(&load(0), "antipatterns").is_empty());
    assert!(found(&load(9), "antipatterns").is_empty());
}

#[test]
fn launches_that_wait() {
    let steps = |waiting: usize| {
        let mut ops = Vec::new();
        for step in 0..6 {
            ops.push(Op::StepBegin(step));
            for place in 0..40 {
                ops.push(Op::Work(30 * US));
                let gemm = kernel("ampere_bf16_s16816gemm_bf16_128x64", 60 * US);
                ops.push(if place < waiting { Op::BlockingLaunch(7, gemm) } else { Op::Launch(6 * US, 7, gemm) });
            }
            ops.push(Op::SyncDevice);
            ops.push(Op::StepEnd(step));
        }
        Program::one(ops)
    };
    let finding = gains(&steps(40), &steps(0), "antipatterns", 0.02).finding;
    assert!(finding.title.contains("launch"), "{}", finding.title);
    assert!(found(&steps(0), "antipatterns").is_empty());
    assert!(found(&steps(20), "antipatterns").is_empty());
}

#[test]
fn checks_for_nan() {
    let backward = |checked: usize| {
        program(move |_| {
            let function = |place: usize| {
                let mut inner = vec![op("aten::mm", 10 * US, 7, "ampere_bf16_s16816gemm_bf16_64x64", 100 * US)];
                if place < checked {
                    let check = vec![
                        Op::Work(5 * US),
                        op("aten::ne", 5 * US, 7, "void at::native::vectorized_elementwise_kernel", 20 * US),
                    ];
                    inner.push(Op::Operator("aten::isnan".to_owned(), Args::new(), check));
                    let wait = vec![Op::SyncStream(7)];
                    inner.push(Op::Operator("aten::is_nonzero".to_owned(), Args::new(), wait));
                }
                Op::Operator("autograd::engine::evaluate_function: MmBackward0".to_owned(), Args::new(), inner)
            };
            (0..10).map(function).collect()
        })
    };
    let finding = gains(&backward(10), &backward(0), "antipatterns", 0.05).finding;
    assert!(finding.title.contains("Anomaly"), "{}", finding.title);
    assert!(found(&backward(0), "antipatterns").is_empty());
    assert!(found(&backward(2), "antipatterns").is_empty());
}

#[test]
fn data_parallel_threads() {
    let forward = |name: &'static str| program(move |_| vec![Op::Annotation(name.to_owned(), vec![Op::Work(5 * MS)])]);
    let all = found(&forward("DataParallel.forward"), "antipatterns");
    assert_eq!(all.len(), 1);
    // Another interface does the same work in another way: no replay shows it.
    assert!(all[0].gain.is_none() && all[0].no_gain.is_some());
    assert!(found(&forward("DistributedDataParallel.forward"), "antipatterns").is_empty());
}

#[test]
fn gloo_beside_a_device() {
    let reduce =
        |dur: i64| program(move |_| vec![Op::Operator("gloo:all_reduce".to_owned(), Args::new(), vec![Op::Work(dur)])]);
    assert_eq!(found(&reduce(5 * MS), "antipatterns").len(), 1, "{:?}", advice(&reduce(5 * MS)));
    // A control message now and then.
    assert!(found(&reduce(10 * US), "antipatterns").is_empty());
    assert!(found(&program(|_| vec![Op::Work(5 * MS)]), "antipatterns").is_empty());
    assert_eq!(besides_syncs(&program(|_| Vec::new())), Vec::<String>::new());
}
