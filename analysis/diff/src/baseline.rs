//! What is kept of a recording under a name, so that later ones can be compared with it.

use serde::{Deserialize, Serialize};

use crate::compare::{Diff, Recorded};

/// A named recording: where it is, what program it shows, how long its steps took.
///
/// With the trace at its place a comparison is split over causes; without it, only the lengths of steps are judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Paths of the trace, as they were given when it was saved.
    pub paths: Vec<String>,
    /// Hash of the operators and calls of a typical step, in hexadecimal: tells whether it is the same program.
    pub signature: String,
    /// Lengths of all steps, in ns.
    pub step_ns: Vec<i64>,
    /// Names of the devices.
    pub devices: Vec<String>,
}

impl Baseline {
    /// What to keep of a recording.
    #[must_use]
    pub fn new(recorded: &Recorded, paths: Vec<String>) -> Self {
        Self {
            paths,
            signature: recorded.signature.clone(),
            step_ns: recorded.steps.iter().map(|step| step.ns).collect(),
            devices: recorded.devices.clone(),
        }
    }

    /// The new recording of a comparison.
    #[must_use]
    pub fn of_new(diff: &Diff, paths: Vec<String>) -> Self {
        Self::new(&diff.new, paths)
    }
}
