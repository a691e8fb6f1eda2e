//! Replay: what the times would be if durations, latencies or dependencies were others.
//!
//! A [`Scenario`] holds durations, delays and lags beside a [`Graph`](crate::graph::Graph); one pass over the columns gives all times. Three
//! modes say what becomes of the residuals (what the edges do not explain):
//!
//! - **identity** keeps all of them: the replay is the recording, to the nanosecond. It proves that the order and the
//!   edges are sound.
//! - **model** keeps only what is unexplained; noise around the constants goes. What is left of the difference to the
//!   recording is the error of the model, and predictions are differences between two replays of this mode.
//! - **ideal** drops all of them.

mod bounds;
mod delta;
mod des;
mod draft;
mod pass;
mod scenario;

pub use bounds::{Bound, Bounds, bounds};
pub use delta::{Delta, Edit};
pub use des::{Deadlock, Discipline, Resource, Resources, simulate};
pub use draft::{At, Circle, Draft, DraftTimes};
pub use pass::{Times, replay, replay_many};
pub use scenario::{Mode, Scenario};
