//! Opens traces once, in a process of its own, and says what came of it and what it cost: for tests and figures of
//! files that must not fill memory.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use clap::Parser;
use gapless_formats::Limits;
use gapless_tests::hostile::open_once;

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
    println!("{}", serde_json::to_string(&open_once(&cli.paths, limits))?);
    Ok(())
}
