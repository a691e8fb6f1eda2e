//! Opens traces once, in a process of its own, and says what came of it and what it cost: for tests and figures of
//! files that must not fill memory.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use gapless_formats::{Limits, OpenOptions, Silent, open};
use gapless_tests::measure::status_bytes;

/// Opens files as one trace.
#[derive(Parser)]
struct Cli {
    /// The files.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// A limit, as for `gapless`.
    #[arg(long)]
    limit: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let mut limits = Limits::default();
    for assignment in &cli.limit {
        limits.set(assignment).map_err(anyhow::Error::msg)?;
    }
    let options = OpenOptions { limits, ..OpenOptions::default() };
    let begun = Instant::now();
    let outcome = open(&cli.paths, &options, &Silent);
    let seconds = begun.elapsed().as_secs_f64();
    let peak = status_bytes("VmHWM").unwrap_or(0);
    let (events, warnings, error) = match &outcome {
        Ok(trace) => {
            let warnings = trace.warnings().sorted().iter().map(ToString::to_string).collect();
            (Some(trace.events().len()), warnings, None)
        }
        Err(error) => (None, Vec::<String>::new(), Some(error.to_string())),
    };
    let report = serde_json::json!({
        "events": events, "warnings": warnings, "error": error, "seconds": seconds, "peak_bytes": peak,
    });
    println!("{report}");
    Ok(())
}
