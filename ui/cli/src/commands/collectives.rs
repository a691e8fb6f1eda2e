//! `gapless collectives`: which collectives the ranks took part in, who waited for whom, and how fast they were.

use gapless_analysis::CollectiveReport;
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::info::{WarningInfo, warnings};
use crate::args::CollectivesArgs;
use crate::{output, report};

/// What `gapless collectives` prints, as JSON or as text. `docs/json-schema.md` documents every field.
#[derive(Debug, Serialize)]
pub struct CollectivesReport {
    pub schema_version: u32,
    pub command: &'static str,
    /// The sentence at the top of the text.
    pub summary: String,
    pub read_seconds: f64,
    pub start_ns: Option<i64>,
    #[serde(flatten)]
    pub found: CollectiveReport,
    pub warnings: Vec<WarningInfo>,
    pub lost: u64,
}

pub fn run(args: &CollectivesArgs) -> anyhow::Result<()> {
    let opened = super::read_trace(&args.paths, &args.read)?;
    let mut report = CollectivesReport {
        schema_version: SCHEMA_VERSION,
        command: "collectives",
        summary: String::new(),
        read_seconds: opened.read_time.as_secs_f64(),
        start_ns: opened.trace.span().map(|span| span.start.nanos()),
        found: CollectiveReport::new(&opened.trace),
        warnings: warnings(&opened.trace),
        lost: opened.trace.warnings().lost(),
    };
    report.summary = report::collectives::summary(&report.found);
    if args.json {
        output::print_json(&report)
    } else {
        output::print(&report::collectives::render(&report, args.top, output::width()))
    }
}
