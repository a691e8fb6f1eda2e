//! The engine on real traces: the identity replay is exact on every one, and what the model is off by is printed beside
//! the figures of the prototype that the design quotes.
//!
//! `GAPLESS_TRACES` names the folder of real traces (`../shared` beside the workspace if it is not set). Where it is
//! missing the tests say so and pass.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use gapless_analysis::graph::{Graph, GraphInput, GraphOptions, NodeId, NodeKind};
use gapless_analysis::replay::{Mode, Scenario, replay};
use gapless_analysis::{ClockAlignment, match_collectives};
use gapless_formats::{OpenOptions, Silent, open};
use gapless_trace::Trace;

fn shared() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("GAPLESS_TRACES").map_or_else(default, PathBuf::from);
    if folder.join("traces").is_dir() {
        return Some(folder.join("traces"));
    }
    eprintln!("skipped: no real traces at {}; set GAPLESS_TRACES", folder.display());
    None
}

fn read(paths: &[PathBuf]) -> Trace {
    open(paths, &OpenOptions::default(), &Silent).unwrap()
}

/// Every trace of the folder, those of one job together.
fn all(folder: &Path) -> Vec<(String, Vec<PathBuf>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        let mut own = Vec::new();
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if [".json.gz", ".sqlite", ".pb"].iter().any(|ending| name.ends_with(ending)) {
                own.push((name, path));
            }
        }
        own.sort();
        let place = at.strip_prefix(folder).unwrap().display().to_string();
        if place == "dlrm-8xV100" {
            found.push((place, own.into_iter().map(|(_, path)| path).collect()));
        } else {
            found.extend(own.into_iter().map(|(name, path)| (format!("{place}/{name}"), vec![path])));
        }
    }
    found.sort();
    found
}

fn percentile(values: &mut [i64], percent: usize) -> i64 {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

#[test]
fn identity_is_exact_on_every_trace() {
    let Some(folder) = shared() else { return };
    let mut with_devices = 0;
    for (name, paths) in all(&folder) {
        let trace = read(&paths);
        let begun = std::time::Instant::now();
        let clocks = ClockAlignment::new(&trace);
        let collectives = match_collectives(&trace, &clocks);
        let input = GraphInput { clocks: &clocks, collectives: &collectives };
        let graph = Graph::new(&trace, &input, &GraphOptions::default());
        let built = begun.elapsed();
        let identity = replay(&Scenario::new(&graph, Mode::Identity));
        for id in graph.node_ids() {
            assert_eq!(identity.start_ns(id), graph.node(id).start_ns, "{name}: node {} {:?}", id.0, graph.node(id));
        }
        let devices = graph.node_ids().filter(|&id| graph.node(id).kind.is_device_start()).count();
        if devices == 0 {
            continue;
        }
        with_devices += 1;
        let model = replay(&Scenario::new(&graph, Mode::Model));
        let measured = graph.end_ns() - graph.origin_ns();
        let mut shifts: Vec<i64> = graph
            .node_ids()
            .filter(|&id| graph.node(id).kind.is_device_start())
            .map(|id| (model.start_ns(id) - graph.node(id).start_ns).abs())
            .collect();
        let unexplained: i64 = graph.node_ids().map(|id| graph.unexplained_ns(id)).sum();
        let constants = graph.constants().first().unwrap();
        let device = constants.devices.first().unwrap();
        eprintln!(
            "{name:<62} T {:>8.2} ms  L {:>5.1} K {:>4.1} R {:>4.1} µs  model {:+.3} %  med {:>7.1} p95 {:>8.1} µs  X {:>7.2} ms  {} nodes {} edges built {:.0} ms",
            measured as f64 / 1e6,
            device.launch_ns as f64 / 1e3,
            device.gap_ns as f64 / 1e3,
            constants.return_ns as f64 / 1e3,
            ((model.end_ns - graph.origin_ns()) as f64 / measured as f64 - 1.0) * 100.0,
            percentile(&mut shifts, 50) as f64 / 1e3,
            percentile(&mut shifts, 95) as f64 / 1e3,
            unexplained as f64 / 1e6,
            graph.len(),
            graph.edge_count(),
            built.as_secs_f64() * 1e3,
        );
        for (kind, report) in graph.reports().filter(|(_, report)| report.contradicted + report.circular > 0) {
            eprintln!("      {}: {report:?}", kind.label());
        }
    }
    assert!(with_devices >= 30, "only {with_devices} traces have device work");
}

/// Lengths of the steps between their marks on the host, in ns.
fn marked_steps(graph: &Graph, start: impl Fn(NodeId) -> i64) -> Vec<i64> {
    let mut lengths = Vec::new();
    for step in graph.steps() {
        let is_mark = |id: &&NodeId| graph.node(**id).kind == NodeKind::Mark;
        let end = step.ends.iter().filter(is_mark).map(|&id| start(id)).max().unwrap();
        let begin = step.begins.iter().map(|&id| start(id)).min().unwrap();
        lengths.push(end - begin);
    }
    lengths
}

fn median(mut values: Vec<i64>) -> f64 {
    values.sort_unstable();
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] as f64 } else { (values[middle - 1] + values[middle]) as f64 / 2.0 }
}

/// Fetching a batch costs this much with worker processes: read from the recordings with workers.
const HANDED_OVER_NS: i64 = 1_400_000;

/// The batch of each step comes from worker processes, and other host time is multiplied by `contention`.
fn with_workers(graph: &Graph, contention: f64) -> f64 {
    let mut scenario = Scenario::new(graph, Mode::Model);
    // One fetch is one node, unless something else is marked inside of it.
    scenario.change_durations(|node| match node.kind {
        NodeKind::DataLoader => Some(node.dur_ns.min(HANDED_OVER_NS)),
        kind if kind.is_host_work() => Some((node.dur_ns as f64 * contention).round() as i64),
        _ => None,
    });
    let times = replay(&scenario);
    median(marked_steps(graph, |id| times.start_ns(id)))
}

/// Real pairs: the same training with a data loader in the process, and with four workers.
#[test]
fn input_prefetch_predicts_the_recording_with_workers() {
    let Some(folder) = shared() else { return };
    for pair in ["pairA", "pairB"] {
        let graph_of = |what: &str| {
            let trace = read(&[folder.join(format!("kineto-resnet50/{pair}-{what}.json.gz"))]);
            let clocks = ClockAlignment::new(&trace);
            let collectives = match_collectives(&trace, &clocks);
            Graph::new(&trace, &GraphInput { clocks: &clocks, collectives: &collectives }, &GraphOptions::default())
        };
        let (before, after) = (graph_of("before-workers0"), graph_of("after-workers4"));
        let measured = |graph: &Graph| median(marked_steps(graph, |id| graph.node(id).start_ns));
        let truth = measured(&after);
        let [low, mid, high] = [1.0, 1.05, 1.1].map(|contention| with_workers(&before, contention));
        let error = mid / truth - 1.0;
        eprintln!(
            "{pair}: {:.1} ms before; predicted {:.1} ms ({:.1}–{:.1}), measured {:.1} ms, {:+.1} %",
            measured(&before) / 1e6,
            mid / 1e6,
            low / 1e6,
            high / 1e6,
            truth / 1e6,
            error * 100.0
        );
        assert!(error.abs() <= 0.06, "{pair}: {error}");
        // Better than to subtract the time of fetching.
        let fetched: i64 = before
            .node_ids()
            .map(|id| before.node(id))
            .filter(|node| node.kind == NodeKind::DataLoader)
            .map(|node| node.dur_ns)
            .sum();
        let subtracted = measured(&before) - fetched as f64 / before.steps().len() as f64 + HANDED_OVER_NS as f64;
        eprintln!("   by subtraction {:.1} ms, {:+.1} %", subtracted / 1e6, (subtracted / truth - 1.0) * 100.0);
        assert!(error.abs() < (subtracted / truth - 1.0).abs(), "{pair}");
    }
}
