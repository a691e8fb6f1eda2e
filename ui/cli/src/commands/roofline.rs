//! `gapless roofline`: what each operator took, and what it could take on its device.

use std::path::Path;
use std::time::Instant;

use gapless_analysis::Convention;
use gapless_roofline::{DeviceMatch, Gpu, HardwareTable, OperatorGroup, Roofline, Utilisation};
use gapless_trace::EventId;
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::info::{WarningInfo, warnings};
use crate::args::RooflineArgs;
use crate::failure::BadInput;
use crate::{output, report};

/// What `gapless roofline` prints, as JSON or as text. `docs/json-schema.md` documents every field.
#[derive(Debug, Serialize)]
pub struct RooflineReport {
    pub schema_version: u32,
    pub command: &'static str,
    pub read_seconds: f64,
    pub analysis_seconds: f64,
    pub ranks: Vec<RankRoofline>,
    pub warnings: Vec<WarningInfo>,
    pub lost: u64,
}

/// The roofline of one rank.
#[derive(Debug, Serialize)]
pub struct RankRoofline {
    pub rank_id: u32,
    pub rank: Option<u32>,
    pub device: Option<DeviceMatch>,
    pub no_device: Option<String>,
    pub device_ns: i64,
    pub unknown_share: f64,
    pub utilisation: Utilisation,
    pub operators: Vec<OperatorEntry>,
}

/// A group with the place of its longest call.
#[derive(Debug, Serialize)]
pub struct OperatorEntry {
    #[serde(flatten)]
    pub group: OperatorGroup,
    pub longest_event: Option<u32>,
}

pub fn run(args: &RooflineArgs) -> anyhow::Result<()> {
    // A wrong hardware file or name is found before a long read.
    let table = table(args.hardware.as_deref())?;
    let gpu = args.gpu.as_deref().map(|name| gpu(&table, name)).transpose()?;
    let opened = super::read_trace(&args.paths, &args.read)?;
    let trace = &opened.trace;
    let begun = Instant::now();
    let mut ranks = Vec::new();
    for (id, rank) in trace.rank_ids().filter(|(_, rank)| args.rank.is_none_or(|wanted| rank.number == Some(wanted))) {
        let found = Roofline::with(trace, id, &table, gpu, Convention::Exact);
        let operators = found.groups.into_iter().take(args.top.filter(|_| args.json).unwrap_or(usize::MAX));
        let entry =
            |group: OperatorGroup| OperatorEntry { longest_event: group.longest.map(|EventId(event)| event), group };
        ranks.push(RankRoofline {
            rank_id: id.0,
            rank: rank.number,
            device: found.device,
            no_device: found.no_device,
            device_ns: found.device_ns,
            unknown_share: found.unknown_share,
            utilisation: found.utilisation,
            operators: operators.map(entry).collect(),
        });
    }
    if let Some(wanted) = args.rank.filter(|_| ranks.is_empty()) {
        return Err(BadInput::new(format!("there is no rank {wanted}")).hint("`gapless info` lists the ranks").into());
    }
    let report = RooflineReport {
        schema_version: SCHEMA_VERSION,
        command: "roofline",
        read_seconds: opened.read_time.as_secs_f64(),
        analysis_seconds: begun.elapsed().as_secs_f64(),
        ranks,
        warnings: warnings(trace),
        lost: trace.warnings().lost(),
    };
    if args.json {
        output::print_json(&report)
    } else {
        output::print(&report::roofline::render(&report, args.top.unwrap_or(10), output::width()))
    }
}

/// The built-in table with the user's file over it.
fn table(file: Option<&Path>) -> anyhow::Result<HardwareTable> {
    let table = HardwareTable::builtin();
    let Some(file) = file else { return Ok(table) };
    let wrong = |reason: String| BadInput::new(format!("cannot use {}: {reason}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    Ok(table
        .with(&text)
        .map_err(|error| wrong(error.to_string()).hint("docs/roofline.md shows the form of the file"))?)
}

fn gpu<'a>(table: &'a HardwareTable, name: &str) -> anyhow::Result<&'a Gpu> {
    table.find(name).ok_or_else(|| {
        let names: Vec<&str> = table.gpus().iter().map(|gpu| gpu.name.as_str()).collect();
        BadInput::new(format!("the hardware table has no device {name:?}"))
            .hint(format!("it has {}; --hardware FILE adds others", names.join(", ")))
            .into()
    })
}
