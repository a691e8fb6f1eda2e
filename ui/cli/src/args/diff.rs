//! Options of `gapless diff`.

use std::path::PathBuf;

use clap::Args;

use super::ReadArgs;

pub const DIFF_EXAMPLES: &str = "\
Examples:
  gapless diff before.json.gz after.json.gz
  gapless diff runs/main runs/branch --fail-above 3%
  gapless diff runs/main runs/branch --markdown >> \"$GITHUB_STEP_SUMMARY\"
  gapless diff --save-baseline main runs/main          keep it under a name
  gapless diff --baseline main runs/branch --fail-above 3%
  gapless diff before.json.gz after.json.gz --json | jq '.rows[] | {cause, class, part_ns}'

Exit codes:
  0  no regression: not slower, not by more than --fail-above, or it cannot be told
  1  surely slower, and by more than --fail-above
  2  wrong usage, or an input that cannot be read";

#[derive(Clone, Debug, Args)]
pub struct DiffArgs {
    /// Base and new recording, each a file, a folder of ranks or a quoted pattern; only the new one with --baseline
    #[arg(value_name = "BASE NEW", required = true, num_args = 1..=2)]
    pub traces: Vec<String>,
    /// Leave with exit code 1 if the typical step is surely slower, and by more than this
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub fail_above: Option<f64>,
    /// Changes below this are no change
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, default_value = "1%")]
    pub least: f64,
    /// Compare with the recording that was saved under this name
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,
    /// Keep the (new) recording under this name
    #[arg(long, value_name = "NAME")]
    pub save_baseline: Option<String>,
    /// File of the named recordings
    #[arg(long, value_name = "FILE", default_value = "gapless-baselines.json")]
    pub baselines: PathBuf,
    /// Bars of the waterfall [default: 10, and all with --json]
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Print one JSON object (docs/json-schema.md) instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Print Markdown for a pull request instead of text
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub markdown: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Parses `3%`, `3 %` and `3` as a share.
fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    let percent = number.parse::<f64>().ok().filter(|percent| (0.0..=1_000.0).contains(percent));
    percent.map(|percent| percent / 100.0).ok_or_else(|| "expected a percentage such as 3% or 0.5%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages() {
        assert_eq!(parse_percent("3%"), Ok(0.03));
        assert_eq!(parse_percent("0.5 %"), Ok(0.005));
        assert_eq!(parse_percent("3"), Ok(0.03));
        for wrong in ["", "%", "-1%", "x", "NaN", "3%%x"] {
            assert!(parse_percent(wrong).is_err(), "{wrong:?} must be refused");
        }
    }
}
