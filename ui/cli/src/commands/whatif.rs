//! `gapless whatif`: what a set of changes would bring, from one replay of all of them.

use std::time::Instant;

use anyhow::Context as _;
use gapless_advice::{Basis, Edit, Interactions, Parameter, Study, WhatIf, interactions, transformations, what_if};
use gapless_analysis::trust::Grade;
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::info::{WarningInfo, warnings};
use crate::args::WhatIfArgs;
use crate::failure::BadInput;
use crate::{output, report};

/// What `gapless whatif` prints, as JSON or as text. `docs/json-schema.md` documents every field.
#[derive(Debug, Serialize)]
pub struct WhatIfReport {
    pub schema_version: u32,
    pub command: &'static str,
    pub read_seconds: f64,
    pub analysis_seconds: f64,
    pub replay_seconds: f64,
    /// Name of the file's set of edits.
    pub name: Option<String>,
    pub grade: Grade,
    pub steps: u64,
    pub what_if: WhatIf,
    pub interactions: Option<Interactions>,
    pub warnings: Vec<WarningInfo>,
    pub lost: u64,
}

/// One kind of edit, for `--list`.
#[derive(Debug, Serialize)]
pub struct EditInfo {
    pub id: &'static str,
    pub title: &'static str,
    pub parts: &'static [&'static str],
    pub value: Option<&'static str>,
    pub basis: Basis,
    pub parameters: &'static [Parameter],
}

pub fn run(args: &WhatIfArgs) -> anyhow::Result<()> {
    if args.list {
        let list: Vec<EditInfo> = transformations()
            .iter()
            .map(|edit| EditInfo {
                id: edit.id(),
                title: edit.title(),
                parts: edit.parts(),
                value: edit.value(),
                basis: edit.basis(),
                parameters: edit.parameters(),
            })
            .collect();
        return if args.json {
            output::print_json(&list)
        } else {
            output::print(&report::whatif::list(&list, output::width()))
        };
    }
    let (name, edits) = edits(args)?;
    let opened = super::read_trace(&args.paths, &args.read)?;
    let trace = &opened.trace;
    let begun = Instant::now();
    let study = Study::with_hardware(trace, super::hardware_table(args.hardware.as_deref())?);
    let analysis_seconds = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let refused = |error: gapless_advice::WhatIfError| {
        let hint = match error {
            gapless_advice::WhatIfError::NotTrusted { .. } => "`gapless trust` shows every check".to_owned(),
            gapless_advice::WhatIfError::Refused { .. } => {
                "`gapless whatif --list` shows what each edit needs".to_owned()
            }
            gapless_advice::WhatIfError::Circle { .. } => "try the edits one by one".to_owned(),
        };
        BadInput::new(error.to_string()).hint(hint)
    };
    let what_if = what_if(&study, &edits).map_err(refused)?;
    let replay_seconds = begun.elapsed().as_secs_f64();
    let interactions = args.interactions.then(|| interactions(&study, &edits)).transpose().map_err(refused)?;
    let report = WhatIfReport {
        schema_version: SCHEMA_VERSION,
        command: "whatif",
        read_seconds: opened.read_time.as_secs_f64(),
        analysis_seconds,
        replay_seconds,
        name,
        grade: study.trust().grade,
        steps: study.graph().steps().len() as u64,
        what_if,
        interactions,
        warnings: warnings(trace),
        lost: trace.warnings().lost(),
    };
    if args.json {
        output::print_json(&report)
    } else {
        output::print(&report::whatif::render(&report, output::width()))
    }
}

/// Edits of the file, then those of the command line.
fn edits(args: &WhatIfArgs) -> anyhow::Result<(Option<String>, Vec<Edit>)> {
    let bad = |error: gapless_advice::SpecError| BadInput::new(error.to_string());
    let (mut name, mut edits) = (None, Vec::new());
    if let Some(path) = &args.file {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        (name, edits) = Edit::parse_file(&text).map_err(|error| bad(error).hint(format!("in {}", path.display())))?;
    }
    for text in &args.edit {
        edits.push(Edit::parse(text).map_err(bad)?);
    }
    if edits.is_empty() {
        return Err(BadInput::new("no edit is given".to_owned())
            .hint("give --edit prefetch-input, or see `gapless whatif --list`".to_owned())
            .into());
    }
    Ok((name, edits))
}
