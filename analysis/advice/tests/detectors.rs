//! Each detector on a trace that has its fault, on one that has not, and on a near miss.
#![allow(clippy::unwrap_used)]

#[path = "detectors/input.rs"]
mod input;
mod machine;

use gapless_advice::{Advice, Advised, Scene, Study, advise};
use machine::{Program, run, trace};

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
#[expect(dead_code, reason = "for traces on which only one detector may speak")]
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
