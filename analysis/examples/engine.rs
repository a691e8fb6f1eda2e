//! What the engine costs: `cargo run --release -p gapless-analysis --example engine -- 1000000` makes a trace of about so
//! many events; paths instead of a number are opened.
//!
//! A replay is compared with a plain pass over as much memory: the maximum of sums of two columns of the edges' length.
#![allow(clippy::print_stdout)]

mod made;

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gapless_analysis::graph::{Graph, GraphInput, GraphOptions, NodeKind};
use gapless_analysis::path::{slack, step_path, whole_path};
use gapless_analysis::replay::{Delta, Edit, Mode, Scenario, replay, replay_many, simulate};
use gapless_analysis::trust::trust;
use gapless_analysis::{ClockAlignment, match_collectives};
use gapless_formats::{OpenOptions, Silent, open};

/// The median of a few runs.
fn timed<R>(mut run: impl FnMut() -> R) -> Duration {
    let mut times: Vec<Duration> = (0..7)
        .map(|_| {
            let begun = Instant::now();
            black_box(run());
            begun.elapsed()
        })
        .collect();
    times.sort();
    times.get(3).copied().unwrap_or_default()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let count = args.first().map_or(Some(1_000_000), |arg| arg.parse().ok());
    let trace = match count {
        Some(events) => made::made(events)?,
        None => {
            let paths: Vec<PathBuf> = args.iter().map(PathBuf::from).collect();
            open(&paths, &OpenOptions::default(), &Silent)?
        }
    };
    let events = trace.events().len();
    let clocks = ClockAlignment::new(&trace);
    let collectives = match_collectives(&trace, &clocks);
    let input = GraphInput { clocks: &clocks, collectives: &collectives };
    let build = || Graph::new(&trace, &input, &GraphOptions::default());
    let graph = build();
    let (nodes, edges) = (graph.len(), graph.edge_count());
    println!("{events} events, {nodes} nodes, {edges} edges, {} steps", graph.steps().len());
    println!("{:.1} bytes an event", graph.heap_bytes() as f64 / events.max(1) as f64);
    let per_second = |time: Duration| (nodes + edges) as f64 / time.as_secs_f64() / 1e6;

    println!("graph: {:?}", timed(build));
    println!("critical path of the whole: {:?}", timed(|| whole_path(&graph)));
    println!(
        "critical paths of all steps: {:?}",
        timed(|| { (0..graph.steps().len()).map(|step| step_path(&graph, step)).collect::<Vec<_>>() })
    );
    let last = whole_path(&graph).last;
    println!("slack of every node: {:?}", timed(|| last.map(|last| slack(&graph, last, graph.origin_ns()))));
    println!("trust: {:?}", timed(|| trust(&trace, &graph, &input)));

    println!("scenario made: {:?}", timed(|| Scenario::new(&graph, Mode::Model)));
    let scenario = Scenario::new(&graph, Mode::Model);
    let once = timed(|| replay(&scenario));
    let eight: Vec<Scenario<'_>> = (0..8).map(|_| scenario.clone()).collect();
    let many = timed(|| replay_many(&eight));
    let (a, b): (Vec<i64>, Vec<i64>) = (0..(nodes + edges) as i64).map(|i| (i, i ^ 5)).unzip();
    let plain = timed(|| a.iter().zip(&b).fold(i64::MIN, |most, (a, b)| most.max(a.saturating_add(*b))));
    println!("replay: {once:?}, {:.0} M nodes and edges a second", per_second(once));
    println!("replay, each of eight at once: {:?}, {:.0} M a second", many / 8, per_second(many / 8));
    println!("plain pass of as many elements: {plain:?}, {:.0} M a second", per_second(plain));
    println!(
        "replay ÷ plain pass: {:.1}; each of eight ÷ plain pass: {:.1}",
        once.as_secs_f64() / plain.as_secs_f64(),
        many.as_secs_f64() / 8.0 / plain.as_secs_f64()
    );

    let kernels: Vec<_> = graph.node_ids().filter(|&id| graph.node(id).kind == NodeKind::Kernel).collect();
    let mut delta = Delta::new(scenario.clone());
    for place in [0, kernels.len() / 2, kernels.len().saturating_sub(1)] {
        let Some(&kernel) = kernels.get(place) else { continue };
        let dur = graph.node(kernel).dur_ns;
        let computed = delta.apply(&[Edit::Duration(kernel, dur * 2)]);
        delta.apply(&[Edit::Duration(kernel, dur)]);
        let mut longer = true;
        let time = timed(|| {
            longer = !longer;
            delta.apply(&[Edit::Duration(kernel, if longer { dur } else { dur * 2 })])
        });
        println!("delta, kernel {place} of {}: {time:?}, {computed} nodes computed", kernels.len());
    }
    let resources = gapless_analysis::replay::Resources::streams(&graph);
    let begun = Instant::now();
    let simulated = simulate(&scenario, &resources);
    println!(
        "event simulation: {:?}, {}",
        begun.elapsed(),
        simulated.map_or_else(|e| e.to_string(), |_| "done".to_owned())
    );
    Ok(())
}
