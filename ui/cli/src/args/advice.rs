//! Options of the commands that advise.

use std::path::PathBuf;

use clap::Args;

use super::ReadArgs;

pub const ADVISE_EXAMPLES: &str = "\
Examples:
  gapless advise run42/
  gapless advise run42/ --plan 6            the best set of fixes for six points of effort
  gapless advise run42/ --json | jq '.findings[] | {title, gain: .gain.gain_ns}'";

pub const WHATIF_EXAMPLES: &str = "\
Examples:
  gapless whatif --list                     all edits and their parameters
  gapless whatif run42/ --edit prefetch-input
  gapless whatif run42/ --edit 'scale(class=gemm)=0.5x' --edit link.nvlink=2x
  gapless whatif run42/ --file ours.toml --interactions
  gapless whatif run42/ --edit host=2x --json | jq '.what_if.mean_step_ns'

A file of edits is TOML: edits = [\"prefetch-input\", \"link=2x\"]. docs/whatif.md tells the language.";

pub const CODESIGN_EXAMPLES: &str = "\
Examples:
  gapless codesign run42/
  gapless codesign run42/ --sweep memory=1..4x,link=1..4x
  gapless codesign run42/ --gpu B200,MI300X
  gapless codesign run42/ --plot codesign.svg
  gapless codesign run42/ --json | jq '.axes[] | {axis, elasticity}'";

#[derive(Clone, Debug, Args)]
pub struct AdviseArgs {
    /// Trace files, folders or quoted patterns
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
    /// Findings to print in full [default: 5, and all with --json]
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// TOML file of rules of your own and thresholds of detectors (docs/rules.md)
    #[arg(long, value_name = "FILE", help_heading = "Reading")]
    pub rules: Option<PathBuf>,
    /// Also search the best set of fixes for this many points of effort (a loader's option is 1, new hardware 8)
    #[arg(long, value_name = "POINTS")]
    pub plan: Option<u32>,
    /// Print one JSON object (docs/json-schema.md) instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}

#[derive(Clone, Debug, Args)]
pub struct WhatIfArgs {
    /// Trace files, folders or quoted patterns
    #[arg(value_name = "PATH", required_unless_present = "list")]
    pub paths: Vec<String>,
    /// An edit: NAME, NAME=VALUE or NAME(ARGUMENT,…)=VALUE; several are replayed together
    #[arg(long, value_name = "EDIT")]
    pub edit: Vec<String>,
    /// A TOML file of edits
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// TOML table of hardware whose values go before the built-in ones
    #[arg(long, value_name = "FILE", help_heading = "Reading")]
    pub hardware: Option<PathBuf>,
    /// Also replay each edit alone and each pair: which bring the same thing twice
    #[arg(long)]
    pub interactions: bool,
    /// List all edits with their parameters
    #[arg(long)]
    pub list: bool,
    /// Print one JSON object (docs/json-schema.md) instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}

#[derive(Clone, Debug, Args)]
pub struct CodesignArgs {
    /// Trace files, folders or quoted patterns
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
    /// Axes and ranges: compute, memory, link, link-latency, launch-latency, host; each as AXIS=FROM..TOx
    /// [default: all from 0.5x to 4x]
    #[arg(long, value_name = "AXIS=A..Bx,…", value_delimiter = ',')]
    pub sweep: Vec<String>,
    /// Other GPUs to estimate, by name: B200,MI300X
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub gpu: Vec<String>,
    /// The recorded GPU, where the trace does not say it
    #[arg(long, value_name = "NAME")]
    pub from_gpu: Option<String>,
    /// TOML table of hardware whose values go before the built-in ones
    #[arg(long, value_name = "FILE", help_heading = "Reading")]
    pub hardware: Option<PathBuf>,
    /// Write a plot of step time against each axis to this file: .svg or .png
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    pub plot: Option<PathBuf>,
    /// Print one JSON object (docs/json-schema.md) instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}
