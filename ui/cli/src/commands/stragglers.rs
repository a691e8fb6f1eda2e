//! `gapless stragglers`: which ranks hold the others up, what that costs, and why.

use std::time::Instant;

use gapless_advice::{Culprit, Edit, Study, culprits, what_if_unchecked};
use gapless_analysis::{CollectiveReport, DelayCost, RankLateness, Stragglers, delay_costs, stragglers};
use serde::Serialize;

use super::info::{WarningInfo, warnings};
use super::{Opened, SCHEMA_VERSION};
use crate::args::StragglersArgs;
use crate::failure::BadInput;
use crate::{output, report};

/// Ranks whose share is replayed one by one: each takes two replays of the whole job.
const MOST_REPLAYED: usize = 32;
/// Steps that are shorter without stragglers by less than this share have none worth replaying.
const LEAST_SLOWDOWN: f64 = 0.005;

/// What `gapless stragglers` prints, as JSON or as text. `docs/json-schema.md` documents every field.
#[derive(Debug, Serialize)]
pub struct StragglersReport {
    pub schema_version: u32,
    pub command: &'static str,
    /// The sentence at the top of the text.
    pub summary: String,
    pub read_seconds: f64,
    pub analysis_seconds: f64,
    /// Of a table of operators.
    pub table: Option<Stragglers>,
    /// Of a trace of several ranks.
    pub trace: Option<TraceStragglers>,
    pub warnings: Vec<WarningInfo>,
    pub lost: u64,
}

/// Stragglers of a trace of several ranks.
#[derive(Debug, Serialize)]
pub struct TraceStragglers {
    pub lateness: Vec<RankLateness>,
    /// Who holds the job up and by what, beyond chance and by at least a hundredth of a step; greatest gain first.
    pub culprits: Vec<Culprit>,
    /// Waits of others, charged to what late ranks did for longer; highest first.
    pub delay_costs: Vec<DelayCost>,
    /// Length of a step in the model, in ns.
    pub step_ns: f64,
    /// The same if all ranks took the median of all for the same work; `None` where the model is not to be trusted.
    pub ideal_step_ns: Option<f64>,
    /// Why there are no replays.
    pub refusal: Option<String>,
    /// Share of each rank in the difference, from both sides.
    pub ranks: Vec<RankShare>,
}

/// What a rank contributes to the difference between a step and one without stragglers.
#[derive(Debug, Serialize)]
pub struct RankShare {
    pub rank: u32,
    /// Step if it alone took the median for its work, in ns.
    pub removed_ns: f64,
    /// Step if all but it did, in ns.
    pub added_ns: f64,
    /// Share of the difference that goes with it.
    pub removed_share: f64,
    /// Share of it that comes back with it.
    pub added_share: f64,
}

pub fn run(args: &StragglersArgs) -> anyhow::Result<()> {
    let opened = super::read_trace(&args.paths, &args.read)?;
    let report = report_of(&opened)?;
    if args.json {
        output::print_json(&report)
    } else {
        output::print(&report::stragglers::render(&report, args.top, output::width()))
    }
}

/// The report on a trace that was opened.
pub fn report_of(opened: &Opened) -> anyhow::Result<StragglersReport> {
    let trace = &opened.trace;
    let begun = Instant::now();
    let table = stragglers(trace)
        .transpose()
        .map_err(|reason| BadInput::new(format!("the schedule of this table of operators is not known: {reason}")))?;
    let found = if table.is_some() { None } else { Some(of_trace(trace)?) };
    let mut report = StragglersReport {
        schema_version: SCHEMA_VERSION,
        command: "stragglers",
        summary: String::new(),
        read_seconds: opened.read_time.as_secs_f64(),
        analysis_seconds: begun.elapsed().as_secs_f64(),
        table,
        trace: found,
        warnings: warnings(trace),
        lost: trace.warnings().lost(),
    };
    report.summary = report::stragglers::summary(&report);
    Ok(report)
}

fn of_trace(trace: &gapless_trace::Trace) -> anyhow::Result<TraceStragglers> {
    if trace.ranks().len() < 2 {
        return Err(BadInput::new("the recording has one rank: there is nothing to compare it with")
            .hint("give the traces of all ranks: gapless stragglers run42/")
            .into());
    }
    let collectives = CollectiveReport::new(trace);
    let delay_costs = delay_costs(trace, &collectives.collectives);
    let study = Study::new(trace);
    let step_ns = study.base().mean_step_ns;
    let mut found = TraceStragglers {
        lateness: collectives.lateness,
        culprits: culprits(&study),
        delay_costs,
        step_ns,
        ideal_step_ns: None,
        refusal: study.trust().refusal(),
        ranks: Vec::new(),
    };
    if found.refusal.is_some() {
        return Ok(found);
    }
    let replay = |edits: &[String]| -> Option<f64> {
        let edits: Result<Vec<Edit>, _> = edits.iter().map(|edit| Edit::parse(edit)).collect();
        Some(what_if_unchecked(&study, &edits.ok()?).ok()?.expected.mean_step_ns)
    };
    let ideal = replay(&["no-stragglers".to_owned()]);
    found.ideal_step_ns = ideal;
    let Some(ideal) = ideal.filter(|ideal| (step_ns - ideal) / step_ns >= LEAST_SLOWDOWN) else { return Ok(found) };
    let number = |(id, rank): (gapless_trace::RankId, &gapless_trace::Rank)| rank.number.unwrap_or(id.0);
    let all: Vec<u32> = trace.rank_ids().map(number).collect();
    if all.len() > MOST_REPLAYED {
        return Ok(found);
    }
    let edit = |rank: &u32| format!("no-stragglers(rank={rank})");
    for rank in &all {
        let others: Vec<String> = all.iter().filter(|other| *other != rank).map(edit).collect();
        let (Some(removed_ns), Some(added_ns)) = (replay(&[edit(rank)]), replay(&others)) else { continue };
        let whole = step_ns - ideal;
        found.ranks.push(RankShare {
            rank: *rank,
            removed_ns,
            added_ns,
            removed_share: (step_ns - removed_ns) / whole,
            added_share: (added_ns - ideal) / whole,
        });
    }
    let least = |share: &RankShare| share.removed_share.min(share.added_share);
    found.ranks.sort_by(|a, b| least(b).total_cmp(&least(a)).then_with(|| a.rank.cmp(&b.rank)));
    Ok(found)
}
