//! What made the steps of one recording slower or faster than those of another.
//!
//! [`diff`] takes two recordings of about one program and gives a [`Diff`]: a verdict with the noise of steps taken into
//! account, and the change of the typical step split exactly over causes. No I/O.
//!
//! # Method
//!
//! - The **typical step** of a recording is the mean of the middle half of its steps by length. A step lasts from the
//!   completion of the one before, or its own mark if that is later, to its own completion.
//! - **Alignment**: steps by the rank of their length, ranks by number, threads by what they call, calls by path of
//!   operators, kernels and shapes (longest common subsequence), work by the call that launched it.
//! - **Split**: a chain of replays of both execution graphs, in which one cause after the other is given the values of the
//!   other side, in two orders. Every part is the difference of two neighbouring replays, so parts sum to the change.
//! - **Verdict**: the interval of Hodges and Lehmann for the shift of step lengths at 99 %, and a least effect.

mod align;
mod baseline;
mod cause;
mod compare;
mod groups;
mod host;
mod label;
mod lcs;
mod noise;
mod side;
mod split;
mod waits;

pub use baseline::Baseline;
pub use cause::Cause;
pub use compare::{
    Alignment, CollectiveChange, Detail, Diff, DiffOptions, Evidence, Recorded, Row, StepLength, Sureness, diff,
};
pub use noise::{Verdict, VerdictKind, judge, typical_ns};
pub use side::Recording;
