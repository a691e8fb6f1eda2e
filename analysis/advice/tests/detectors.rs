//! Each detector on a trace that has its fault, on one that has not, and on a near miss.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "detectors/antipatterns.rs"]
mod antipatterns;
#[path = "detectors/communication.rs"]
mod communication;
#[path = "detectors/copies.rs"]
mod copies;
#[path = "detectors/input.rs"]
mod input;
#[path = "detectors/kernels.rs"]
mod kernels;
#[path = "detectors/launches.rs"]
mod launches;
#[path = "detectors/links.rs"]
mod links;
mod machine;
#[path = "detectors/optimizer.rs"]
mod optimizer;
#[path = "detectors/pipeline.rs"]
mod pipeline;
#[path = "detectors/ranks.rs"]
mod ranks;
#[path = "detectors/recsys.rs"]
mod recsys;
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

/// The same without what is right about any program here that waits for the device at the end of each step.
fn besides_syncs(program: &Program) -> Vec<String> {
    all_found(program).into_iter().filter(|id| id != "blocking-call").collect()
}

/// Whether a detector could not tell.
fn abstains(program: &Program, detector: &str) -> bool {
    advice(program).abstained.iter().any(|abstention| abstention.detector == detector)
}

/// The one finding of a detector on a program with its fault. Its expected gain must be what the machine gains when it
/// runs the program without the fault, within a share of that.
fn gains(before: &Program, after: &Program, detector: &str, tolerance: f64) -> Advised {
    let found = found(before, detector);
    assert_eq!(found.len(), 1, "{:?}", advice(before));
    let truth = run(before).mean_step() - run(after).mean_step();
    let gain = found[0].gain.as_ref().unwrap_or_else(|| panic!("{:?}", found[0].no_gain));
    let error = gain.gain_ns.mid / truth - 1.0;
    assert!(error.abs() <= tolerance, "{:?} for {truth}", gain.gain_ns);
    assert!(!found[0].finding.evidence.is_empty());
    found.into_iter().next().unwrap()
}

/// The same, where the model does not claim to know it exactly: the range holds what the machine gains.
fn gains_within(before: &Program, after: &Program, detector: &str) -> Advised {
    let found = found(before, detector);
    assert_eq!(found.len(), 1, "{:?}", advice(before));
    let truth = run(before).mean_step() - run(after).mean_step();
    let gain = found[0].gain.as_ref().unwrap_or_else(|| panic!("{:?}", found[0].no_gain));
    assert!(gain.gain_ns.contains(truth), "{:?} for {truth}", gain.gain_ns);
    assert!(gain.gain_ns.mid > 0.0 && !found[0].finding.evidence.is_empty());
    found.into_iter().next().unwrap()
}
