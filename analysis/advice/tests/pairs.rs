//! T7: real recordings before and after a change. The prediction from the first alone holds the second in its range.
//!
//! `GAPLESS_TRACES` names the folder of real traces (`../shared` beside the workspace if it is not set). Where it is
//! missing the tests say so and pass.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use gapless_advice::{Edit, Study, what_if};
use gapless_formats::{OpenOptions, Silent, open};
use gapless_trace::Trace;

fn shared() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("GAPLESS_TRACES").map_or_else(default, PathBuf::from);
    if folder.join("traces").is_dir() {
        return Some(folder.join("traces"));
    }
    eprintln!("skipped: no real traces at {}; set GAPLESS_TRACES", folder.display());
    None
}

fn read(path: PathBuf) -> Trace {
    open(&[path], &OpenOptions::default(), &Silent).unwrap()
}

#[test]
fn workers_for_data_loading_are_predicted() {
    let Some(folder) = shared() else { return };
    for pair in ["pairA", "pairB"] {
        let trace = |what: &str| read(folder.join(format!("kineto-resnet50/{pair}-{what}.json.gz")));
        let (before, after) = (trace("before-workers0"), trace("after-workers4"));
        let (before, after) = (Study::new(&before), Study::new(&after));
        let truth = after.base().median_step_ns;
        let prediction = what_if(&before, &[Edit::parse("prefetch-input").unwrap()]).unwrap();
        let band = prediction.median_step_ns;
        eprintln!(
            "{pair}: {:.1} ms before, predicted {:.1} ({:.1}–{:.1}), after {:.1} ms",
            before.base().median_step_ns / 1e6,
            band.mid / 1e6,
            band.low / 1e6,
            band.high / 1e6,
            truth / 1e6
        );
        assert!(band.contains(truth), "{pair}: {band:?} without {truth}");
        assert!((band.mid / truth - 1.0).abs() <= 0.06, "{pair}: {band:?} for {truth}");
        // A range that holds everything says nothing.
        assert!((band.high - band.low) / truth < 0.2, "{pair}: {band:?}");
    }
}
