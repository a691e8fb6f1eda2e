//! `gapless trust`: how far the engine's model is from the recording.

use std::time::Instant;

use gapless_analysis::graph::{Graph, GraphInput, GraphOptions};
use gapless_analysis::trust::{Trust, trust};
use gapless_analysis::{ClockAlignment, match_collectives};
use serde::Serialize;

use super::info::{WarningInfo, warnings};
use super::{Opened, SCHEMA_VERSION};
use crate::args::TrustArgs;
use crate::{output, report};

/// What `gapless trust` prints, as JSON or as text. `docs/json-schema.md` documents every field.
#[derive(Debug, Serialize)]
pub struct TrustReport {
    pub schema_version: u32,
    pub command: &'static str,
    pub read_seconds: f64,
    pub analysis_seconds: f64,
    pub clocks: ClockAlignment,
    #[serde(flatten)]
    pub trust: Trust,
    pub warnings: Vec<WarningInfo>,
    pub lost: u64,
}

pub fn run(args: &TrustArgs) -> anyhow::Result<()> {
    let opened = super::read_trace(&args.paths, &args.read)?;
    let report = report_of(&opened);
    if args.json {
        output::print_json(&report)
    } else {
        output::print(&report::trust::render(&report, output::width()))
    }
}

/// The report on a trace that was opened.
pub fn report_of(opened: &Opened) -> TrustReport {
    let trace = &opened.trace;
    let begun = Instant::now();
    let clocks = ClockAlignment::new(trace);
    let collectives = match_collectives(trace, &clocks);
    let input = GraphInput { clocks: &clocks, collectives: &collectives };
    let graph = Graph::new(trace, &input, &GraphOptions::default());
    let trust = trust(trace, &graph, &input);
    TrustReport {
        schema_version: SCHEMA_VERSION,
        command: "trust",
        read_seconds: opened.read_time.as_secs_f64(),
        analysis_seconds: begun.elapsed().as_secs_f64(),
        clocks,
        trust,
        warnings: warnings(trace),
        lost: trace.warnings().lost(),
    }
}
