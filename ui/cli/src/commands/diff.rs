//! `gapless diff`: what made the steps of one recording slower or faster than those of another.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use gapless_diff::{Baseline, Diff, DiffOptions, Recording, VerdictKind, diff};
use serde::{Deserialize, Serialize};

use super::{Opened, SCHEMA_VERSION};
use crate::args::DiffArgs;
use crate::failure::{BadInput, Regression};
use crate::{output, report};

/// What `gapless diff` prints, as JSON, Markdown or text. `docs/json-schema.md` documents every field.
#[derive(Debug, Serialize)]
pub struct DiffReport {
    pub schema_version: u32,
    pub command: &'static str,
    pub read_seconds: f64,
    pub analysis_seconds: f64,
    /// As the user named it.
    pub base_name: String,
    pub new_name: String,
    pub fail_above: Option<f64>,
    pub is_regression: bool,
    #[serde(flatten)]
    pub diff: Diff,
    /// What was lost on import, of both.
    pub lost: u64,
}

/// The file of named recordings.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Baselines {
    schema_version: u32,
    baselines: BTreeMap<String, Baseline>,
}

/// Leaves with 1 for a regression alone: whatever else goes wrong is 2, so that a CI job can tell them apart.
pub fn run(args: &DiffArgs) -> anyhow::Result<()> {
    compare(args).map_err(|error| {
        let is_known = error.is::<Regression>() || error.is::<BadInput>() || error.is::<std::io::Error>();
        if is_known { error } else { BadInput::new(format!("{error:#}")).into() }
    })
}

fn compare(args: &DiffArgs) -> anyhow::Result<()> {
    let (base, new) = match (args.traces.as_slice(), &args.baseline) {
        ([new], Some(_)) => (None, new),
        ([base, new], None) => (Some(base.clone()), new),
        ([_, _], Some(_)) => {
            return Err(BadInput::new("with --baseline only the new recording is given").into());
        }
        ([trace], None) if args.save_baseline.is_some() => return save_alone(args, trace),
        _ => {
            return Err(BadInput::new("two recordings are needed: gapless diff BASE NEW")
                .hint("a name that was saved with --save-baseline can stand for the base: --baseline NAME")
                .into());
        }
    };
    let options = DiffOptions { least_effect: args.least, ..DiffOptions::default() };
    let mut seconds = Duration::ZERO;
    let mut open = |path: &str| -> anyhow::Result<Opened> {
        let opened = super::read_trace(&[path.to_owned()], &args.read)?;
        seconds += opened.read_time;
        Ok(opened)
    };
    let saved = args.baseline.as_deref().map(|name| find(&args.baselines, name)).transpose()?;
    let base_path = base.or_else(|| saved.as_ref().and_then(|saved| saved.paths.first().cloned()));
    // A saved recording whose file is gone is still good for a verdict.
    let is_gone =
        saved.is_some() && base_path.as_deref().is_none_or(|path| gapless_formats::expand(&[path.to_owned()]).is_err());
    let base_trace = match &base_path {
        Some(path) if !is_gone => Some(open(path)?),
        _ => None,
    };
    let new_trace = open(new)?;
    let begun = Instant::now();
    let new_recording = Recording::new(&new_trace.trace);
    let found = match (&base_trace, &saved) {
        (Some(base), _) => diff(&Recording::new(&base.trace), &new_recording, &options),
        (None, Some(saved)) => saved.compare(&new_recording, &options),
        (None, None) => return Err(BadInput::new("there is nothing to compare with").into()),
    };
    if let Some(name) = &args.save_baseline {
        save(&args.baselines, name, Baseline::of_new(&found, vec![new.clone()]))?;
    }
    let is_slower = found.verdict.verdict == VerdictKind::Slower;
    let is_regression = args.fail_above.is_some_and(|limit| is_slower && found.verdict.change > limit);
    let lost = |opened: &Opened| opened.trace.warnings().lost();
    let report = DiffReport {
        schema_version: SCHEMA_VERSION,
        command: "diff",
        read_seconds: seconds.as_secs_f64(),
        analysis_seconds: begun.elapsed().as_secs_f64(),
        base_name: args.baseline.clone().or(base_path).unwrap_or_default(),
        new_name: new.clone(),
        fail_above: args.fail_above,
        is_regression,
        diff: found,
        lost: base_trace.as_ref().map_or(0, lost) + lost(&new_trace),
    };
    if args.json {
        output::print_json(&report)?;
    } else if args.markdown {
        output::print_raw(report::diff::markdown(&report, args.top).as_bytes())?;
    } else {
        output::print(&report::diff::render(&report, args.top, output::width()))?;
    }
    if is_regression { Err(Regression.into()) } else { Ok(()) }
}

/// `gapless diff --save-baseline NAME TRACE`.
fn save_alone(args: &DiffArgs, path: &str) -> anyhow::Result<()> {
    let Some(name) = &args.save_baseline else { return Ok(()) };
    let opened = super::read_trace(&[path.to_owned()], &args.read)?;
    let baseline = Baseline::new(&Recording::new(&opened.trace).recorded(), vec![path.to_owned()]);
    let steps = baseline.step_ns.len() as u64;
    save(&args.baselines, name, baseline)?;
    let steps = report::plural(steps, "step", "steps");
    output::print(&format!("Saved {path} with {steps} as {name:?} in {}\n", args.baselines.display()))
}

fn read(file: &Path) -> anyhow::Result<Option<Baselines>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BadInput::new(format!("cannot read {}: {error}", file.display())).into()),
    };
    let wrong = |error: serde_json::Error| {
        BadInput::new(format!("{} is not a file of named recordings: {error}", file.display()))
            .hint("name another one with --baselines FILE")
    };
    Ok(Some(serde_json::from_str(&text).map_err(wrong)?))
}

fn find(file: &Path, name: &str) -> anyhow::Result<Baseline> {
    let Some(mut all) = read(file)? else {
        return Err(BadInput::new(format!("there is no file {} with named recordings", file.display()))
            .hint(format!("make it: gapless diff --save-baseline {name} TRACE"))
            .into());
    };
    all.baselines.remove(name).ok_or_else(|| {
        let known: Vec<&str> = all.baselines.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "it is empty".to_owned() } else { format!("it has {}", known.join(", ")) };
        BadInput::new(format!("{name:?} is not in {}: {known}", file.display())).into()
    })
}

/// Adds a recording to the file; the file appears whole or not at all.
fn save(file: &Path, name: &str, baseline: Baseline) -> anyhow::Result<()> {
    let mut all = read(file)?.unwrap_or_default();
    all.schema_version = SCHEMA_VERSION;
    all.baselines.insert(name.to_owned(), baseline);
    let mut text = serde_json::to_string_pretty(&all)?;
    text.push('\n');
    let beside = file.with_extension(format!("{}.tmp", std::process::id()));
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, file));
    written.with_context(|| format!("cannot write {}", file.display()))
}
