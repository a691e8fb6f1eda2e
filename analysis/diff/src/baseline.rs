//! What is kept of a recording under a name, so that later ones can be compared with it.

use serde::{Deserialize, Serialize};

use crate::compare::{Alignment, Diff, DiffOptions, Recorded, StepLength};
use crate::noise::{judge, typical, typical_ns};
use crate::side::Recording;

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

    /// Judges the steps of a new recording by the lengths that were kept. Without the trace nothing is split: the result
    /// has no rows.
    #[must_use]
    pub fn compare(&self, new: &Recording<'_>, options: &DiffOptions) -> Diff {
        let new = new.recorded();
        let lengths: Vec<i64> = new.steps.iter().map(|step| step.ns).collect();
        let places = typical(&self.step_ns);
        let step = |(place, &ns): (usize, &i64)| StepLength {
            name: String::new(),
            number: None,
            ns,
            is_typical: places.contains(&place),
        };
        let base = Recorded {
            steps: self.step_ns.iter().enumerate().map(step).collect(),
            typical_ns: typical_ns(&self.step_ns),
            ranks: new.ranks,
            devices: self.devices.clone(),
            signature: self.signature.clone(),
        };
        let mut notes =
            vec!["The trace of the base is not at its place: only lengths of steps are compared.".to_owned()];
        if base.signature != new.signature {
            notes.push("The typical step does not make the calls that it made in the base.".to_owned());
        }
        Diff {
            delta_ns: new.typical_ns.saturating_sub(base.typical_ns),
            verdict: judge(&self.step_ns, &lengths, options.least_effect, options.equal_within),
            base,
            new,
            rows: Vec::new(),
            collectives: Vec::new(),
            alignment: Alignment::default(),
            notes,
        }
    }

    /// The new recording of a comparison.
    #[must_use]
    pub fn of_new(diff: &Diff, paths: Vec<String>) -> Self {
        Self::new(&diff.new, paths)
    }
}
