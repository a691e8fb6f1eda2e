//! What to change, what it would bring, and how sure that is.
//!
//! A [`Study`] holds a trace with its execution graph. An [`Edit`] changes the graph (`prefetch-input`, `link=2x`), and
//! [`what_if`] replays all edits of a set at once: gains are differences between two replays of one model, as a range,
//! never sums. Where the model is too far from the recording, or a change cannot be made, there is no figure but a reason.

mod advise;
mod codesign;
mod collective_cost;
mod contention;
pub mod detectors;
mod device;
pub mod edits;
mod facts;
mod figures;
mod idle;
mod ids;
mod occupancy;
mod patterns;
mod plan;
mod products;
pub mod rules;
mod scene;
mod select;
mod shapes;
mod spec;
mod study;
pub mod text;
mod whatif;

pub use advise::{Abstention, Advice, Advised, advise, advise_with};
pub use codesign::{Axis, Codesign, Curve, Machine, Point};
pub use detectors::{Confidence, Culprit, Detector, Fault, Finding, Threshold, Verdict, Whose, culprits, detectors};
pub use edits::{
    Basis, ClassError, Effect, Guard, Outlook, Parameter, Refusal, Transformation, transformation, transformations,
};
pub use facts::Facts;
pub use figures::{Figures, figures, of_times};
pub use gapless_roofline::Band;
pub use idle::{Gap, GapCause, Idle, Wait};
pub use patterns::Pattern;
pub use plan::{Plan, PlanStep, effort, plan};
pub use rules::{Rules, RulesError};
pub use scene::Scene;
pub use select::{Selector, SelectorError};
pub use shapes::{Product, Shapes};
pub use spec::{Edit, SpecError};
pub use study::Study;
pub use whatif::{
    Applied, Interaction, Interactions, UNVALIDATED_GAIN_ERROR, WhatIf, WhatIfError, draft, interactions, step_band,
    what_if, what_if_unchecked,
};
