//! Pipelines over ranks.

use super::{brings, silent, steps};
use crate::machine::{Collective, Op, Program, launch};

/// Stages that compute `forward[stage]` and twice of it backward for each of `m` micro-batches, all forward first.
fn pipeline(m: usize, forward: &[i64]) -> Program {
    let stages = forward.len();
    let rank = |stage: usize| {
        let mut sequences = vec![0; stages];
        let mut exchange = move |ops: &mut Vec<Op>, boundary: usize| {
            let what = Collective {
                name: "sendrecv".to_owned(),
                group: format!("boundary {boundary}"),
                sequence: sequences[boundary],
                elements: 1 << 16,
                dtype: "Float".to_owned(),
            };
            sequences[boundary] += 1;
            ops.push(Op::Work(1_000));
            ops.push(Op::Collective { cost: 1_000, stream: 7, what, transfer: 10_000 });
        };
        steps(4, true, |_, ops| {
            for _ in 0..m {
                if stage > 0 {
                    exchange(ops, stage - 1);
                }
                ops.push(launch(7, "ampere_sgemm_128x64_tn", forward[stage]));
                if stage + 1 < stages {
                    exchange(ops, stage);
                }
            }
            for _ in 0..m {
                if stage + 1 < stages {
                    exchange(ops, stage);
                }
                ops.push(launch(7, "ampere_sgemm_128x64_nt", 2 * forward[stage]));
                if stage > 0 {
                    exchange(ops, stage - 1);
                }
            }
        })
    };
    Program::of((0..stages).map(rank).collect())
}

#[test]
fn uneven_stages() {
    let before = pipeline(16, &[500_000, 800_000]);
    // A tenth of the imbalance is expected to stay.
    let after = pipeline(16, &[635_000, 665_000]);
    brings(&before, &after, "uneven-stages", 0.01);
    silent(&before, "pipeline-bubble");
    silent(&pipeline(16, &[650_000, 650_000]), "uneven-stages");
    silent(&pipeline(16, &[640_000, 655_000]), "uneven-stages");
}

#[test]
fn pipeline_bubble() {
    let before = pipeline(4, &[400_000; 4]);
    brings(&before, &pipeline(8, &[200_000; 4]), "pipeline-bubble", 0.04);
    silent(&before, "uneven-stages");
    silent(&before, "late-rank");
    // 3 of 43.
    silent(&pipeline(40, &[100_000; 4]), "pipeline-bubble");
}
