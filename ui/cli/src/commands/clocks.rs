//! `gapless clocks`: how the clocks of the ranks lie to one another, and how sure that is.

use gapless_analysis::ClockAlignment;
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::info::{WarningInfo, warnings};
use crate::args::ClocksArgs;
use crate::{output, report};

/// What `gapless clocks` prints, as JSON or as text. `docs/json-schema.md` documents every field.
#[derive(Debug, Serialize)]
pub struct ClocksReport {
    pub schema_version: u32,
    pub command: &'static str,
    pub read_seconds: f64,
    #[serde(flatten)]
    pub clocks: ClockAlignment,
    pub warnings: Vec<WarningInfo>,
    pub lost: u64,
}

pub fn run(args: &ClocksArgs) -> anyhow::Result<()> {
    let opened = super::read_trace(&args.paths, &args.read)?;
    let report = ClocksReport {
        schema_version: SCHEMA_VERSION,
        command: "clocks",
        read_seconds: opened.read_time.as_secs_f64(),
        clocks: ClockAlignment::new(&opened.trace),
        warnings: warnings(&opened.trace),
        lost: opened.trace.warnings().lost(),
    };
    if args.json {
        output::print_json(&report)
    } else {
        output::print(&report::clocks::render(&report, output::width()))
    }
}
