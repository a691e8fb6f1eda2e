//! What a comparison costs and says: `cargo run --release -p gapless-diff --example compare -- BASE NEW`.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Instant;

use gapless_diff::{DiffOptions, Recording, diff};
use gapless_formats::{OpenOptions, Silent, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let paths: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    let [base, new] = paths.as_slice() else { return Err("give two traces".into()) };
    let open = |path: &PathBuf| {
        open(&gapless_formats::expand(&[path.display().to_string()])?, &OpenOptions::default(), &Silent)
    };
    let (base, new) = (open(base)?, open(new)?);
    let begun = Instant::now();
    let (base, new) = (Recording::new(&base), Recording::new(&new));
    let built = begun.elapsed();
    let diff = diff(&base, &new, &DiffOptions::default());
    println!("graphs {built:?}, comparison {:?}", begun.elapsed() - built);
    println!(
        "{} nodes and edges",
        base.graph.len() + base.graph.edge_count() + new.graph.len() + new.graph.edge_count()
    );
    println!(
        "{:?} {:?}",
        diff.base.steps.iter().map(|s| s.ns / 1000).collect::<Vec<_>>(),
        diff.new.steps.iter().map(|s| s.ns / 1000).collect::<Vec<_>>()
    );
    println!(
        "{:?} {:+.3} {:?} {}",
        diff.verdict.verdict, diff.verdict.change, diff.verdict.interval, diff.verdict.text
    );
    println!(
        "{:.3} ms -> {:.3} ms, {:+.3} ms; sum {:+.3} ms",
        diff.base.typical_ns as f64 / 1e6,
        diff.new.typical_ns as f64 / 1e6,
        diff.delta_ns as f64 / 1e6,
        diff.rows.iter().map(|r| r.part_ns).sum::<i64>() as f64 / 1e6
    );
    for row in diff.rows.iter().take(16) {
        println!(
            "{:>10.3} ms  {:<40} {:.3} -> {:.3}  {:?}",
            row.part_ns as f64 / 1e6,
            row.label(),
            row.base_ns as f64 / 1e6,
            row.new_ns as f64 / 1e6,
            row.sureness
        );
        for detail in row.details.iter().take(4) {
            println!(
                "      {:>10.3} ms  {:<60} {:.3} -> {:.3} x{:.1} -> x{:.1} {:?} r{:?}",
                detail.part_ns as f64 / 1e6,
                detail.name,
                detail.base_ns as f64 / 1e6,
                detail.new_ns as f64 / 1e6,
                detail.base_count,
                detail.new_count,
                detail.sureness,
                detail.rank
            );
        }
    }
    println!("{:?}", diff.collectives);
    println!("{:?} {:?} {:?}", diff.alignment.base_share, diff.alignment.new_share, diff.notes);
    Ok(())
}
