//! `gapless advise`: what to change, what it would bring, and how sure that is.

use std::time::Instant;

use gapless_advice::{Advice, Plan, Rules, Scene, Study, advise_with, plan};
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::info::{WarningInfo, warnings};
use crate::args::AdviseArgs;
use crate::failure::BadInput;
use crate::{output, report};

/// What `gapless advise` prints, as JSON or as text. `docs/json-schema.md` documents every field.
#[derive(Debug, Serialize)]
pub struct AdviseReport {
    pub schema_version: u32,
    pub command: &'static str,
    pub read_seconds: f64,
    pub analysis_seconds: f64,
    #[serde(flatten)]
    pub advice: Advice,
    pub plan: Option<Plan>,
    /// Where each finding's first event lies: rank, and time since the start of the trace.
    pub places: Vec<Option<Place>>,
    pub warnings: Vec<WarningInfo>,
    pub lost: u64,
}

/// Where to look.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    pub rank: Option<u32>,
    pub track: String,
    pub name: String,
    /// From the start of the trace, as `gapless open --range` takes it.
    pub since_start_ns: i64,
    pub duration_ns: i64,
}

pub fn run(args: &AdviseArgs) -> anyhow::Result<()> {
    let rules = match &args.rules {
        None => Rules::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| BadInput::new(format!("cannot read {}: {error}", path.display())))?;
            Rules::parse(&text).map_err(|error| BadInput::new(format!("{}: {error}", path.display())))?
        }
    };
    let opened = super::read_trace(&args.paths, &args.read)?;
    let trace = &opened.trace;
    let begun = Instant::now();
    let study = Study::new(trace);
    let scene = Scene::new(&study).with_thresholds(rules.thresholds().clone());
    let advice = advise_with(&scene, &rules);
    let plan = args.plan.map(|effort| plan(&study, &advice, effort));
    let places = places(&study, &advice);
    let report = AdviseReport {
        schema_version: SCHEMA_VERSION,
        command: "advise",
        read_seconds: opened.read_time.as_secs_f64(),
        analysis_seconds: begun.elapsed().as_secs_f64(),
        advice,
        plan,
        places,
        warnings: warnings(trace),
        lost: trace.warnings().lost(),
    };
    if args.json {
        output::print_json(&report)
    } else {
        output::print(&report::advise::render(&report, args.top, output::width()))
    }
}

/// The place of each finding's first event.
pub fn places(study: &Study<'_>, advice: &Advice) -> Vec<Option<Place>> {
    let trace = study.trace();
    let start = trace.span().map_or(0, |span| span.start.nanos());
    let place = |advised: &gapless_advice::Advised| {
        let event = *advised.finding.evidence.first()?;
        let (track, info) = trace.track_of(event)?;
        let own = trace.event(event);
        Some(Place {
            rank: trace.rank(info.rank).and_then(|rank| rank.number),
            track: trace.track_label(track),
            name: trace.name(event).to_owned(),
            since_start_ns: own.start.nanos().saturating_sub(start),
            duration_ns: own.dur.nanos(),
        })
    };
    advice.findings.iter().map(place).collect()
}
