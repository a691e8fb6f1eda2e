//! Each detector on a trace that has its fault, on one that has not, and on a near miss.
#![allow(clippy::unwrap_used)]

#[path = "detectors/communication.rs"]
mod communication;
#[path = "detectors/copies.rs"]
mod copies;
#[path = "detectors/input.rs"]
mod input;
#[path = "detectors/launches.rs"]
mod launches;
mod machine;
#[path = "detectors/optimizer.rs"]
mod optimizer;
#[path = "detectors/pipeline.rs"]
mod pipeline;
#[path = "detectors/ranks.rs"]
mod ranks;
#[path = "detectors/syncs.rs"]
mod syncs;

use gapless_advice::{Advice, Advised, Scene, Study, advise};
use machine::{Op, Program, op, run, trace};

/// Advice on what the machine records of a program.
fn advice(program: &Program) -> Advice {
    let recording = trace(&run(program));
    let study = Study::new(&recording);
    advise(&Scene::new(&study))
}

/// Findings of one detector that are worth acting on.
fn found(program: &Program, detector: &str) -> Vec<Advised> {
    let advice = advice(program);
    advice
        .findings
        .into_iter()
        .filter(|advised| advised.finding.detector == detector && !advised.finding.is_info)
        .collect()
}

/// The ids of all detectors with a finding worth acting on, sorted.
fn all_found(program: &Program) -> Vec<String> {
    let mut ids: Vec<String> = advice(program)
        .findings
        .into_iter()
        .filter(|advised| !advised.finding.is_info)
        .map(|advised| advised.finding.detector)
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

/// The only finding of a detector; its expected gain is what the machine gains with `after`, within a share of the step.
fn brings(before: &Program, after: &Program, detector: &str, tolerance: f64) -> Advised {
    let mut all = found(before, detector);
    assert_eq!(all.len(), 1, "{detector}: {:?}", advice(before));
    let advised = all.remove(0);
    let step = run(before).mean_step();
    let truth = step - run(after).mean_step();
    let gain = advised.gain.as_ref().unwrap_or_else(|| unreachable!("{:?}", advised.no_gain)).gain_ns;
    let share = |ns: f64| 100.0 * ns / step;
    assert!(
        (gain.mid - truth).abs() <= tolerance * step,
        "{detector}: predicted {:.2} % ({:.2} to {:.2}), executed {:.2} %",
        share(gain.mid),
        share(gain.low),
        share(gain.high),
        share(truth)
    );
    assert!(!advised.finding.evidence.is_empty() && !advised.finding.nodes.is_empty());
    assert!(advised.finding.paragraph.len() > 100 && !advised.finding.fix.is_empty());
    advised
}

/// Says nothing worth acting on.
fn silent(program: &Program, detector: &str) {
    let found = found(program, detector);
    assert!(found.is_empty(), "{found:?}");
}

/// Steps of one rank; `wait` says whether each ends with a wait for the device.
fn steps(count: u64, wait: bool, mut body: impl FnMut(u64, &mut Vec<Op>)) -> Vec<Op> {
    let mut ops = Vec::new();
    for step in 0..count {
        ops.push(Op::StepBegin(step));
        body(step, &mut ops);
        if wait {
            ops.push(Op::SyncDevice);
        }
        ops.push(Op::StepEnd(step));
    }
    ops.push(Op::SyncDevice);
    ops
}

/// Matrix products that keep the device busy.
fn products(ops: &mut Vec<Op>, count: usize, dur: i64) {
    for _ in 0..count {
        ops.push(op("aten::mm", 5_000, 7, "ampere_sgemm_128x64_tn", dur));
    }
}
