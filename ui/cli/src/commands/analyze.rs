//! `gapless analyze`: where the time of each rank and step went.

use std::time::Instant;

use gapless_advice::{Advice, Scene, Study, advise};
use gapless_analysis::{
    Analysis, AnalysisOptions, Convention, IdleCause, RankAnalysis, RankWork, StepSummary, Tables, analyze,
};
use gapless_trace::{EventId, Trace};
use serde::Serialize;

use super::advise::{Place, places};
use super::clocks::{self, ClocksReport};
use super::info::{WarningInfo, warnings};
use super::path::{self, CriticalPathReport};
use super::stragglers::{self, StragglersReport};
use super::trust::{self, TrustReport};
use super::{Opened, SCHEMA_VERSION};
use crate::args::{self, AnalyzeArgs};
use crate::failure::BadInput;
use crate::report::sentence;
use crate::{output, report};

/// What `gapless analyze` prints, as JSON or as text. `docs/json-schema.md` documents every field.
#[derive(Debug, Serialize)]
pub struct AnalyzeReport {
    pub schema_version: u32,
    pub command: &'static str,
    pub convention: &'static str,
    /// The sentence at the top of the text.
    pub summary: String,
    pub events: u64,
    pub start_ns: Option<i64>,
    pub span_ns: i64,
    pub read_seconds: f64,
    pub analysis_seconds: f64,
    pub ranks: Vec<RankAnalysis>,
    pub steps: Vec<StepSummary>,
    pub longest_idle: Vec<IdleInfo>,
    /// What to change; `None` where only a part of the trace was asked for.
    pub advice: Option<AdviceInfo>,
    /// What the engine says, each where its section was asked for.
    #[serde(flatten)]
    pub engine: EngineInfo,
    pub warnings: Vec<WarningInfo>,
    pub lost: u64,
}

/// Reports of other commands on the same trace.
#[derive(Debug, Default, Serialize)]
pub struct EngineInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<CriticalPathReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stragglers: Option<StragglersReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clocks: Option<ClocksReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustReport>,
}

/// Advice, and where each finding's first event lies.
#[derive(Debug, Serialize)]
pub struct AdviceInfo {
    #[serde(flatten)]
    pub advice: Advice,
    pub places: Vec<Option<Place>>,
}

/// One of the longest idle gaps of all ranks, with names.
#[derive(Debug, Serialize)]
pub struct IdleInfo {
    pub rank: Option<u32>,
    pub file: String,
    pub start_ns: i64,
    /// From the start of the trace, as the text shows it and `gapless open --range` takes it.
    pub since_start_ns: i64,
    pub duration_ns: i64,
    pub cause: IdleCause,
    pub next: Option<String>,
    pub launch: Option<String>,
}

pub fn run(args: &AnalyzeArgs) -> anyhow::Result<()> {
    let opened = super::read_trace(&args.paths, &args.read)?;
    let convention = match args.convention {
        args::Convention::Gapless => Convention::Exact,
        args::Convention::Tracelens => Convention::TraceLens,
    };
    let options = AnalysisOptions { convention, ..AnalysisOptions::default() };
    let begun = Instant::now();
    let mut analysis = analyze(&opened.trace, &options);
    let analysis_seconds = begun.elapsed().as_secs_f64();
    select(&opened.trace, &mut analysis, &options, args)?;
    let mut report = AnalyzeReport::new(&opened, analysis, analysis_seconds);
    report.summary = sentence::summary(&report);
    // Advice is on the whole job, in our own definitions.
    let whole = args.rank.is_none() && args.step.is_none() && convention == Convention::Exact;
    if whole && (args.section.is_empty() || args.section.contains(&args::Section::Advice)) {
        let study = Study::new(&opened.trace);
        let advice = advise(&Scene::new(&study));
        let places = places(&study, &advice);
        report.advice = Some(AdviceInfo { advice, places });
    }
    let asked = |section| args.section.contains(&section);
    if asked(args::Section::Path) {
        report.engine.path = Some(path::report_of(&opened, args.step)?);
    }
    if asked(args::Section::Stragglers) {
        report.engine.stragglers = Some(stragglers::report_of(&opened)?);
    }
    if asked(args::Section::Clocks) {
        report.engine.clocks = Some(clocks::report_of(&opened));
    }
    if asked(args::Section::Trust) {
        report.engine.trust = Some(trust::report_of(&opened));
    }
    report.engine.without_warnings();
    if args.json {
        // A program wants all rows unless it said how many.
        if let Some(top) = args.top {
            for rank in &mut report.ranks {
                truncate(&mut rank.tables, top);
            }
        }
        output::print_json(&report)
    } else {
        output::print(&report::analyze::render(&report, args, output::width()))
    }
}

/// Keeps what `--rank` and `--step` ask for.
fn select(trace: &Trace, analysis: &mut Analysis, options: &AnalysisOptions, args: &AnalyzeArgs) -> anyhow::Result<()> {
    if let Some(wanted) = args.rank {
        let known: Vec<String> =
            analysis.ranks.iter().filter_map(|rank| Some(rank.breakdown.rank?.to_string())).collect();
        analysis.ranks.retain(|rank| rank.breakdown.rank == Some(wanted));
        if analysis.ranks.is_empty() {
            let hint = if known.is_empty() {
                "the files do not say their ranks; give them with --ranks".to_owned()
            } else {
                format!("this trace has {}", known.join(", "))
            };
            return Err(BadInput::new(format!("there is no rank {wanted} in this trace")).hint(hint).into());
        }
    }
    if let Some(wanted) = args.step {
        let steps = || analysis.ranks.iter().flat_map(|rank| &rank.steps);
        let numbered = steps().any(|step| step.number.is_some());
        let number = |step_number: Option<u64>, index: u32| if numbered { step_number } else { Some(u64::from(index)) };
        let mut known: Vec<u64> = steps().filter_map(|step| number(step.number, step.index)).collect();
        known.sort_unstable();
        known.dedup();
        if !known.contains(&wanted) {
            let listed: Vec<String> = known.iter().take(20).map(u64::to_string).collect();
            let more = if known.len() > 20 { ", …" } else { "" };
            return Err(BadInput::new(format!("there is no step {wanted} in this trace"))
                .hint(format!("it has {}{more}", listed.join(", ")))
                .into());
        }
        for rank in &mut analysis.ranks {
            rank.steps.retain(|step| number(step.number, step.index) == Some(wanted));
            // The longest gaps of the recording need not be in this step.
            let work = RankWork::new(trace, rank.breakdown.rank_id, options);
            let gaps = rank.steps.iter().flat_map(|step| work.largest_idle(step.span(), options.largest_idle));
            rank.largest_idle = gaps.collect();
        }
        analysis.steps.retain(|step| number(step.number, step.index) == Some(wanted));
    }
    Ok(())
}

fn truncate(tables: &mut Tables, rows: usize) {
    tables.kernels.truncate(rows);
    tables.operators.truncate(rows);
    tables.copies.truncate(rows);
    tables.collectives.truncate(rows);
    tables.launches.truncate(rows);
    tables.queues.truncate(rows);
    tables.graphs.truncate(rows);
}

impl EngineInfo {
    /// Warnings stand once, at the end of the whole report.
    fn without_warnings(&mut self) {
        let lists = [
            self.path.as_mut().map(|report| &mut report.warnings),
            self.stragglers.as_mut().map(|report| &mut report.warnings),
            self.clocks.as_mut().map(|report| &mut report.warnings),
            self.trust.as_mut().map(|report| &mut report.warnings),
        ];
        lists.into_iter().flatten().for_each(Vec::clear);
    }
}

impl AnalyzeReport {
    fn new(opened: &Opened, analysis: Analysis, analysis_seconds: f64) -> Self {
        let trace = &opened.trace;
        Self {
            schema_version: SCHEMA_VERSION,
            command: "analyze",
            convention: convention_name(analysis.convention),
            summary: String::new(),
            events: trace.events().len() as u64,
            start_ns: trace.span().map(|span| span.start.nanos()),
            span_ns: trace.span().map_or(0, |span| span.duration().nanos()),
            read_seconds: opened.read_time.as_secs_f64(),
            analysis_seconds,
            longest_idle: longest_idle(trace, &analysis),
            ranks: analysis.ranks,
            steps: analysis.steps,
            advice: None,
            engine: EngineInfo::default(),
            warnings: warnings(trace),
            lost: trace.warnings().lost(),
        }
    }
}

const fn convention_name(convention: Convention) -> &'static str {
    match convention {
        Convention::Exact => "gapless",
        Convention::TraceLens => "tracelens",
    }
}

fn longest_idle(trace: &Trace, analysis: &Analysis) -> Vec<IdleInfo> {
    let start = trace.span().map_or(0, |span| span.start.nanos());
    let name = |event: Option<EventId>| event.map(|event| trace.name(event).to_owned());
    let gaps = analysis.ranks.iter().flat_map(|rank| {
        rank.largest_idle.iter().map(move |gap| IdleInfo {
            rank: rank.breakdown.rank,
            file: rank.breakdown.file.clone(),
            start_ns: gap.start_ns,
            since_start_ns: gap.start_ns.saturating_sub(start),
            duration_ns: gap.duration_ns,
            cause: gap.cause,
            next: name(gap.next_event),
            launch: name(gap.launch_event),
        })
    });
    let mut gaps: Vec<IdleInfo> = gaps.collect();
    gaps.sort_by_key(|gap| (std::cmp::Reverse(gap.duration_ns), gap.start_ns, gap.rank));
    gaps.truncate(20);
    gaps
}
