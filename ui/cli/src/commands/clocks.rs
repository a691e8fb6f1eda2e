//! `gapless clocks`: how the clocks of the ranks lie to one another, and how sure that is.

use gapless_analysis::ClockAlignment;
use serde::Serialize;

use super::info::{WarningInfo, warnings};
use super::{Opened, SCHEMA_VERSION};
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

/// The report on a trace that was opened.
pub fn report_of(opened: &Opened) -> ClocksReport {
    ClocksReport {
        schema_version: SCHEMA_VERSION,
        command: "clocks",
        read_seconds: opened.read_time.as_secs_f64(),
        clocks: ClockAlignment::new(&opened.trace),
        warnings: warnings(&opened.trace),
        lost: opened.trace.warnings().lost(),
    }
}

pub fn run(args: &ClocksArgs) -> anyhow::Result<()> {
    let opened = super::read_trace(&args.paths, &args.read)?;
    let report = report_of(&opened);
    if args.json {
        output::print_json(&report)
    } else {
        output::print(&report::clocks::render(&report, output::width()))
    }
}
