//! `gapless path`: the chain of events that decided how long each step took.

use std::time::Instant;

use gapless_analysis::graph::{Graph, GraphInput, GraphOptions};
use gapless_analysis::path::PathReport;
use gapless_analysis::{ClockAlignment, match_collectives};
use serde::Serialize;

use super::info::{WarningInfo, warnings};
use super::{Opened, SCHEMA_VERSION};
use crate::args::PathArgs;
use crate::failure::BadInput;
use crate::{output, report};

/// What `gapless path` prints, as JSON or as text. `docs/json-schema.md` documents every field.
#[derive(Debug, Serialize)]
pub struct CriticalPathReport {
    pub schema_version: u32,
    pub command: &'static str,
    pub read_seconds: f64,
    pub analysis_seconds: f64,
    pub start_ns: Option<i64>,
    /// Number of each rank in the job, by place in the trace.
    pub ranks: Vec<Option<u32>>,
    #[serde(flatten)]
    pub report: PathReport,
    pub warnings: Vec<WarningInfo>,
    pub lost: u64,
}

pub fn run(args: &PathArgs) -> anyhow::Result<()> {
    let opened = super::read_trace(&args.paths, &args.read)?;
    let mut report = report_of(&opened, args.step)?;
    if args.json {
        // A program wants all rows unless it said how many.
        if let Some(top) = args.top {
            truncate(&mut report.report, top);
        }
        output::print_json(&report)
    } else {
        output::print(&report::path::render(&report, args.top, output::width()))
    }
}

/// The report on a trace that was opened, of one of its steps if that is asked for.
pub fn report_of(opened: &Opened, step: Option<u64>) -> anyhow::Result<CriticalPathReport> {
    let trace = &opened.trace;
    let begun = Instant::now();
    let clocks = ClockAlignment::new(trace);
    let collectives = match_collectives(trace, &clocks);
    let input = GraphInput { clocks: &clocks, collectives: &collectives };
    let graph = Graph::new(trace, &input, &GraphOptions::default());
    // Steps without numbers are asked for by their place.
    let numbered = graph.steps().iter().any(|step| step.number.is_some());
    let wanted = |number: Option<u64>, index: usize| {
        step.is_none_or(|step| if numbered { number == Some(step) } else { index as u64 == step })
    };
    if let Some(step) = step
        && !graph.steps().iter().enumerate().any(|(index, known)| wanted(known.number, index))
    {
        return Err(no_step(&graph, step, numbered).into());
    }
    Ok(CriticalPathReport {
        schema_version: SCHEMA_VERSION,
        command: "path",
        read_seconds: opened.read_time.as_secs_f64(),
        start_ns: trace.span().map(|span| span.start.nanos()),
        ranks: trace.ranks().iter().map(|rank| rank.number).collect(),
        report: PathReport::new(trace, &graph, &input, wanted),
        warnings: warnings(trace),
        lost: trace.warnings().lost(),
        analysis_seconds: begun.elapsed().as_secs_f64(),
    })
}

fn no_step(graph: &Graph, step: u64, numbered: bool) -> BadInput {
    let numbers = graph.steps().iter().enumerate();
    let mut known: Vec<String> = numbers
        .filter_map(|(index, step)| if numbered { step.number } else { Some(index as u64) })
        .map(|number| number.to_string())
        .collect();
    let more = if known.len() > 20 { ", …" } else { "" };
    known.truncate(20);
    let hint = if known.is_empty() {
        "it has no steps; without --step the whole recording is shown".to_owned()
    } else {
        format!("it has {}{more}", known.join(", "))
    };
    BadInput::new(format!("there is no step {step} in this trace")).hint(hint)
}

fn truncate(report: &mut PathReport, rows: usize) {
    let attribution = &mut report.attribution;
    let tables = [
        &mut attribution.operators,
        &mut attribution.outer_operators,
        &mut attribution.modules,
        &mut attribution.annotations,
        &mut attribution.frames,
        &mut attribution.kernels,
    ];
    for table in tables {
        table.truncate(rows);
    }
}
