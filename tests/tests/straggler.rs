//! Tables of operators, compared with what pyarrow finds in the same file (`python/operator_table.py`), and with the
//! published answers where these say how long steps are.
//!
//! Python with venv and a package index is needed once (`python/setup.sh`); without it the part that needs it says
//! that it was skipped.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gapless_analysis::{AnalysisOptions, Blame, StepSource, analyze, stragglers};
use gapless_formats::{OpenOptions, Silent, open};
use gapless_tests::oracle::real_traces;
use gapless_tests::python;
use gapless_trace::{ArgValue, EventId, EventKind, Trace, WarningKind};
use serde_json::{Value, json};

fn python() -> Option<PathBuf> {
    python::interpreter().map_err(|reason| eprintln!("skipped: no Python with pyarrow: {reason}")).ok()
}

fn open_one(path: &Path) -> Trace {
    open(&[path.to_owned()], &OpenOptions::default(), &Silent).unwrap()
}

/// Compares the trace with what pyarrow says of its file.
fn check(trace: &Trace, of_file: &Value) {
    let mut groups: BTreeMap<String, (u64, i128)> = BTreeMap::new();
    let mut starts: BTreeMap<String, i128> = BTreeMap::new();
    let mut args: BTreeMap<String, BTreeMap<String, i128>> = BTreeMap::new();
    let mut rows = 0;
    let mut end_ns = 0;
    for (_, rank) in trace.rank_ids() {
        let number = rank.number.unwrap().to_string();
        for id in rank.events.clone().map(EventId) {
            let event = trace.event(id);
            end_ns = end_ns.max(event.end().nanos());
            if event.kind == EventKind::Step {
                continue;
            }
            rows += 1;
            let group = groups.entry(format!("{number}\t{}", trace.name(id))).or_default();
            *group = (group.0 + 1, group.1 + i128::from(event.dur.nanos()));
            *starts.entry(number.clone()).or_default() += i128::from(event.start.nanos());
            for (name, value) in trace.args(id).unwrap() {
                let ArgValue::Int(value) = value else { panic!("{name} is no whole number") };
                *args.entry(number.clone()).or_default().entry(name).or_default() += i128::from(value);
            }
        }
    }
    assert_eq!(of_file["rows"], rows);
    let groups: BTreeMap<_, _> =
        groups.into_iter().map(|(key, (count, sum))| (key, json!([count, sum.to_string()]))).collect();
    assert_eq!(of_file["groups"], json!(groups), "rows and durations by rank and operator");
    let starts: BTreeMap<_, _> = starts.into_iter().map(|(rank, sum)| (rank, sum.to_string())).collect();
    assert_eq!(of_file["starts"], json!(starts), "starts by rank, the steps one after the other");
    let args: BTreeMap<_, BTreeMap<_, _>> = args
        .into_iter()
        .map(|(rank, sums)| (rank, sums.into_iter().map(|(name, sum)| (name, sum.to_string())).collect()))
        .collect();
    assert_eq!(of_file["args"], json!(args), "other columns by rank");
    assert_eq!(of_file["end_ns"], end_ns.to_string());
}

/// Length of the steps, as the published answers have it; seconds of 32-bit floats.
fn check_steps(trace: &Trace, answers: &Value) {
    let lengths = answers["step_t_base"].as_object().unwrap();
    let of_trace: BTreeMap<String, f64> = trace
        .events()
        .kinds()
        .iter()
        .enumerate()
        .filter(|(_, kind)| **kind == EventKind::Step)
        .map(|(index, _)| {
            let event = trace.event(EventId(index as u32));
            let number = trace.text(event.name).strip_prefix("step ").unwrap().to_owned();
            (number, event.dur.as_secs_f64())
        })
        .collect();
    assert_eq!(of_trace.len(), lengths.len());
    for (step, seconds) in lengths {
        let (found, wanted) = (of_trace[step], seconds.as_f64().unwrap());
        assert!((found / wanted - 1.0).abs() < 1e-6, "step {step}: {found}, not {wanted}");
    }
}

fn check_real(name: &str, ranks: usize, steps: usize, world_size: u32) {
    let Some(root) = real_traces() else { return };
    let table = root.join(format!("traces/straggler/trace-{name}.parquet"));
    let trace = open_one(&table);
    assert_eq!(trace.ranks().len(), ranks);
    assert_eq!(trace.warnings().count(WarningKind::StepsPlaced), 1);
    assert_eq!(trace.warnings().sorted().len(), 1, "{:?}", trace.warnings());
    let answers = root.join(format!("expected/straggler/result-{name}.json"));
    let answers: Value = serde_json::from_slice(&std::fs::read(answers).unwrap()).unwrap();
    check_steps(&trace, &answers);
    for (_, rank) in trace.rank_ids() {
        assert_eq!(rank.world_size, Some(world_size));
        for (field, value) in answers["job_meta"].as_object().unwrap() {
            let (_, found) = rank.header.iter().find(|(name, _)| name == field).unwrap();
            assert_eq!(found.to_string(), value.to_string().trim_matches('"'), "{field}");
        }
        let kinds: Vec<EventKind> = rank
            .events
            .clone()
            .map(|id| trace.event(EventId(id)).kind)
            .filter(|&kind| kind == EventKind::Step)
            .collect();
        assert_eq!(kinds.len(), steps);
    }
    check_analysis(&trace, steps);
    let Some(python) = python() else { return };
    check(&trace, &python::run(&python, "operator_table.py", &[&table]).unwrap());
    // The same rows in other codecs and versions of pages.
    for (codec, version) in [("gzip", "1.0"), ("zstd", "2.0"), ("none", "2.0"), ("snappy", "1.0")] {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("trace-other.parquet");
        let args = ["--rewrite".as_ref(), codec.as_ref(), version.as_ref(), table.as_path(), other.as_path()];
        python::run(&python, "operator_table.py", &args).unwrap();
        let again = open_one(&other);
        assert_eq!(again.warnings().count(WarningKind::TableMissing), 1, "there is no meta-other.yaml");
        assert_eq!(again.events().starts(), trace.events().starts(), "{codec}, pages of version {version}");
        assert_eq!(again.events().durs(), trace.events().durs());
        let last = EventId(trace.events().len() as u32 - 1);
        assert_eq!(again.args(last).unwrap(), trace.args(last).unwrap());
    }
}

/// The exact intervals see steps, computation and communication, and split every step without rest.
fn check_analysis(trace: &Trace, steps: usize) {
    let analysis = analyze(trace, &AnalysisOptions::default());
    for rank in &analysis.ranks {
        assert_eq!(rank.steps_from, StepSource::ProfilerStep);
        assert_eq!(rank.steps.len(), steps);
        for step in &rank.steps {
            assert_eq!(step.partition.sum_ns(), step.end_ns - step.start_ns);
            assert!(
                step.partition.compute_ns > 0 && step.partition.exposed_comm_ns + step.partition.hidden_comm_ns > 0,
                "{step:?}"
            );
        }
    }
}

#[test]
fn the_table_of_a_long_last_stage_is_read() {
    check_real("ST", 8, 32, 8);
}

#[test]
fn the_table_of_one_slow_worker_is_read() {
    check_real("AR", 16, 44, 64);
}

/// Every number that was published about the two tables, to 1e-4 (T1).
fn check_published(name: &str, culprit: &Blame) {
    let Some(root) = real_traces() else { return };
    let trace = open_one(&root.join(format!("traces/straggler/trace-{name}.parquet")));
    let begun = std::time::Instant::now();
    let found = stragglers(&trace).unwrap().unwrap();
    eprintln!("{name}: {} in {:?}", trace.events().len(), begun.elapsed());
    let read = |what: &str| -> Value {
        let path = root.join(format!("expected/straggler/{what}-{name}.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let near = |what: &str, found: f64, wanted: &Value| {
        let wanted = wanted.as_f64().unwrap();
        assert!((found - wanted).abs() <= 1e-4 * wanted.abs().max(1e-3), "{name} {what}: {found}, not {wanted}");
    };
    let answers = read("result");
    let mut checked = 0;
    for (place, step) in found.steps.iter().enumerate() {
        let number = step.step.to_string();
        near("recorded", step.recorded_ns / 1e9, &answers["step_t_base"][&number]);
        near("no delay", step.no_delay_ns / 1e9, &answers["step_t_nodelay"][&number]);
        near("ideal", step.ideal_ns / 1e9, &answers["step_t_noblk"][&number]);
        near("slowdown of a step", step.no_delay_ns / step.ideal_ns, &answers["blocking_step_slowdown"][&number]);
        near("delay of a step", step.recorded_ns / step.no_delay_ns, &answers["launch_step_slowdown"][&number]);
        for (scores, what) in
            [(&found.by_replica, "dp_rank"), (&found.by_stage, "stage"), (&found.by_operator, "optype")]
        {
            let wanted = &answers[format!("blocking_decompose_by_{what}_per_step")][&number];
            assert_eq!(wanted.as_object().unwrap().len(), scores.len(), "{what}");
            for score in scores {
                near(&score.key, score.slowdown_by_step[place], &wanted[&score.key]);
                checked += 1;
            }
        }
    }
    near("slowdown", found.slowdown, &answers["blocking_slowdown"]);
    near("delay", found.delay_slowdown, &answers["launch_slowdown"]);
    for (scores, what) in [(&found.by_replica, "dp_rank"), (&found.by_stage, "stage"), (&found.by_operator, "optype")] {
        for score in scores {
            near(&score.key, score.slowdown, &answers[format!("blocking_decompose_by_{what}")][&score.key]);
        }
    }
    for (part, file, share) in [(&found.worst_workers, "mw", "Mw"), (&found.last_stage, "ms", "Ms")] {
        let answers = read(file);
        near("removed", part.removed_ns / 1e9, &answers["trem"]);
        near("added back", part.added_ns / 1e9, &answers["tadd"]);
        near("whole", found.mean.no_delay_ns / 1e9, &answers["tori"]);
        near("ideal", found.mean.ideal_ns / 1e9, &answers["tideal"]);
        near("removed share", part.removed_share, &answers["rem"]);
        near("added share", part.added_share, &answers["add"]);
        near("contribution", part.removed_share, &answers[share]);
    }
    assert!(checked > 500, "{checked}");
    assert_eq!(found.culprit, *culprit);
}

#[test]
fn a_long_last_stage_is_named_with_the_published_figures() {
    check_published("ST", &Blame::Stage(3));
}

#[test]
fn one_slow_worker_is_named_with_the_published_figures() {
    check_published("AR", &Blame::Workers(vec![0]));
}
