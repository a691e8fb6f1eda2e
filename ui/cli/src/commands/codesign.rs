//! `gapless codesign`: step time as a function of the machine.

use std::time::Instant;

use gapless_advice::{Axis, Codesign, Curve, Edit, Study, WhatIf, what_if};
use gapless_analysis::trust::Grade;
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::info::{WarningInfo, warnings};
use crate::args::CodesignArgs;
use crate::failure::BadInput;
use crate::{output, plot, report};

/// What `gapless codesign` prints, as JSON or as text. `docs/json-schema.md` documents every field.
#[derive(Debug, Serialize)]
pub struct CodesignReport {
    pub schema_version: u32,
    pub command: &'static str,
    pub read_seconds: f64,
    pub analysis_seconds: f64,
    pub grade: Grade,
    /// Mean step of the recording in the model, in ns.
    pub mean_step_ns: f64,
    /// Each axis, the one that helps most when doubled first.
    pub axes: Vec<Curve>,
    /// Other GPUs: each kernel by its own FLOPs and bytes.
    pub gpus: Vec<WhatIf>,
    /// Other degrees of parallelism: estimates from a model.
    pub parallel: Vec<WhatIf>,
    pub warnings: Vec<WarningInfo>,
    pub lost: u64,
}

/// Degrees that are estimated where the recording has what they need.
const DEGREES: [&str; 4] = ["parallel.data=2x", "parallel.data=8x", "parallel.tensor=2x", "batch=2x"];

pub fn run(args: &CodesignArgs) -> anyhow::Result<()> {
    let wanted = sweeps(&args.sweep)?;
    let opened = super::read_trace(&args.paths, &args.read)?;
    let trace = &opened.trace;
    let begun = Instant::now();
    let study = Study::with_hardware(trace, super::hardware_table(args.hardware.as_deref())?);
    if let Some(reason) = study.trust().refusal() {
        return Err(BadInput::new(format!("the recording cannot bear predictions: {reason}"))
            .hint("`gapless trust` shows every check".to_owned())
            .into());
    }
    let axes = Codesign::new(&study).curves(&wanted);
    let mut gpus = Vec::new();
    for name in &args.gpu {
        let from = args.from_gpu.as_ref().map_or_else(String::new, |from| format!("(from={from})"));
        let edit = Edit::parse(&format!("gpu{from}={name}")).map_err(|error| BadInput::new(error.to_string()))?;
        let estimate = what_if(&study, &[edit]).map_err(|error| {
            BadInput::new(error.to_string()).hint("name the recorded GPU with --from-gpu".to_owned())
        })?;
        gpus.push(estimate);
    }
    let parallel = DEGREES
        .iter()
        .filter_map(|text| Edit::parse(text).ok())
        .filter_map(|edit| what_if(&study, &[edit]).ok())
        .collect();
    let report = CodesignReport {
        schema_version: SCHEMA_VERSION,
        command: "codesign",
        read_seconds: opened.read_time.as_secs_f64(),
        analysis_seconds: begun.elapsed().as_secs_f64(),
        grade: study.trust().grade,
        mean_step_ns: study.base().mean_step_ns,
        axes,
        gpus,
        parallel,
        warnings: warnings(trace),
        lost: trace.warnings().lost(),
    };
    if let Some(path) = &args.plot {
        plot::write(path, &report.axes, report.mean_step_ns)?;
    }
    if args.json {
        output::print_json(&report)
    } else {
        output::print(&report::codesign::render(&report, output::width()))
    }
}

/// `memory=1..4x`: an axis and its range of rates.
fn sweeps(texts: &[String]) -> anyhow::Result<Vec<(Axis, f64, f64)>> {
    let mut found = Vec::new();
    for text in texts {
        let bad = |why: &str| {
            let axes: Vec<&str> = Axis::ALL.into_iter().map(Axis::label).collect();
            BadInput::new(format!("`{text}` is no sweep: {why}"))
                .hint(format!("write AXIS=FROM..TOx, for example memory=1..4x; axes are {}", axes.join(", ")))
        };
        let (axis, range) = text.split_once('=').ok_or_else(|| bad("there is no ="))?;
        let axis = Axis::from_label(axis.trim()).ok_or_else(|| bad("there is no such axis"))?;
        let (from, to) =
            range.trim().trim_end_matches(['x', '×']).split_once("..").ok_or_else(|| bad("there is no .."))?;
        let number = |text: &str| {
            text.trim().trim_end_matches(['x', '×']).parse::<f64>().ok().filter(|rate| (0.01..=1000.0).contains(rate))
        };
        let (from, to) = number(from).zip(number(to)).ok_or_else(|| bad("rates lie between 0.01 and 1000"))?;
        if from >= to {
            return Err(bad("the first rate must be the smaller one").into());
        }
        found.push((axis, from, to));
    }
    Ok(found)
}
