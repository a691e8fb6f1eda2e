//! How long an analysis takes: `cargo run -p gapless-analysis --example measure -- 1000000` makes a trace of about so
//! many events; paths instead of a number are opened.
#![allow(clippy::print_stdout)]

mod made;

use std::path::PathBuf;
use std::time::Instant;

use gapless_analysis::{AnalysisOptions, analyze};
use gapless_formats::{OpenOptions, Silent, open};

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
    let options = AnalysisOptions::default();
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let analysis = analyze(&trace, &options);
        times.push(begun.elapsed());
        std::hint::black_box(&analysis);
    }
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let analysis = analyze(&trace, &options);
    let device: u64 = analysis.ranks.iter().map(|rank| rank.breakdown.device_events).sum();
    println!("{} events, {device} on devices, {} steps: {median:?}", trace.events().len(), analysis.steps.len());
    Ok(())
}
