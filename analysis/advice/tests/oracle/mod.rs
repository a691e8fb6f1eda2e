//! A prediction from the recording of one program, and the run of another.
#![allow(dead_code, clippy::unwrap_used)]

use gapless_advice::{Edit, Study, what_if_unchecked};

use crate::machine::{Program, run, trace};

/// How many random programs each transformation is tried on.
pub const PROGRAMS: u64 = 500;

/// Predicts a change from the recording of `before` and runs `after`: the expected step must be the executed one.
pub fn agree(seed: u64, before: &Program, after: &Program, edits: &[&str], tolerance: f64) {
    let recording = trace(&run(before));
    let study = Study::new(&recording);
    let edits: Vec<Edit> = edits.iter().map(|edit| Edit::parse(edit).unwrap()).collect();
    let predicted = what_if_unchecked(&study, &edits).unwrap();
    let executed = run(after).mean_step();
    let recorded = run(before).mean_step();
    // The model of the recording itself must be exact, else the rest says nothing.
    let base = predicted.base.mean_step_ns;
    assert!((base / recorded - 1.0).abs() < 1e-3, "seed {seed}: base {base} for {recorded}");
    let error = predicted.expected.mean_step_ns / executed - 1.0;
    assert!(
        error.abs() <= tolerance,
        "seed {seed}: {recorded} before, predicted {} executed {executed}: {:+.2} %",
        predicted.expected.mean_step_ns,
        error * 100.0
    );
}
