//! Prints all findings of recordings, one line each: `cargo run -p gapless-advice --example findings -- TRACE...`.
//!
//! Files of one folder given together are ranks of one job. `--long` adds the paragraphs.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::path::PathBuf;

use gapless_advice::{Scene, Study, advise};
use gapless_formats::{OpenOptions, Silent, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (options, paths): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let is_long = options.iter().any(|option| option == "--long");
    let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
    let trace = open(&paths, &OpenOptions::default(), &Silent)?;
    let study = Study::new(&trace);
    let advice = advise(&Scene::new(&study));
    let step = advice.mean_step_ns;
    println!(
        "{} steps of {:.3} ms, {} ranks, {:?}{}",
        study.graph().steps().len(),
        step / 1e6,
        trace.ranks().len(),
        advice.grade,
        advice.refusal.map(|reason| format!(": {reason}")).unwrap_or_default()
    );
    for (place, advised) in advice.findings.iter().enumerate() {
        let finding = &advised.finding;
        let gain = match (&advised.gain, &advised.no_gain) {
            (Some(gain), _) => {
                let share = |ns: f64| 100.0 * ns / step;
                format!(
                    "{:+.2} % ({:.2} to {:.2})",
                    share(gain.gain_ns.mid),
                    share(gain.gain_ns.low),
                    share(gain.gain_ns.high)
                )
            }
            (None, reason) => format!("no gain: {}", reason.as_deref().unwrap_or_default()),
        };
        let info = if finding.is_info { " [info]" } else { "" };
        let root = if advised.root == place { String::new() } else { format!(" (root {})", advised.root) };
        println!(
            "{place:2} {}{info}{root}: {} | {} | {gain}",
            finding.detector,
            finding.title,
            finding.edits.join(" ")
        );
        if is_long {
            println!("     {}", finding.paragraph);
            let shown = finding.evidence.iter().take(4).map(|&event| {
                let outer = trace.ancestors(event).next().map_or("", |outer| trace.name(outer));
                format!("{} in {outer}", trace.name(event).chars().take(60).collect::<String>())
            });
            println!("     > {}", shown.collect::<Vec<_>>().join("; "));
        }
    }
    for abstention in &advice.abstained {
        println!("   {} abstains: {}", abstention.detector, abstention.reason);
    }
    Ok(())
}
