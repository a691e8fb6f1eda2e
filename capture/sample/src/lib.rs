//! Sampling a job from outside: native stacks, Python stacks, and when each thread had a processor.
//!
//! Nothing runs inside the job. The kernel takes native stacks and tells of context switches (`perf_event_open`), of
//! the processes to begin with and everything they start; Python stacks are read out of the interpreters' memory
//! without stopping them. [`Sampler`] is the door; [`on_cpu`] turns switches into intervals.
//!
//! - What is not permitted or not there is said once, by a [`Notice`], and the rest works: with
//!   `kernel.perf_event_paranoid` at 2 everything but time inside the kernel, with no perf events at all still Python.
//! - Sampling never waits for names: they are looked up on a thread of their own, once per address.
//! - Nothing is fetched from a network; symbols and debug information come from the files that lie here.
//! - Memory is bounded: queues drop what does not fit and say how much (`SampleEvent::Lost`).
//! - What the kernel writes is read with every length checked ([`record`]).
//!
//! Linux only.

mod event;
mod modules;
pub mod on_cpu;
mod perf;
mod permission;
mod procfs;
#[cfg(feature = "python")]
mod python;
mod queue;
pub mod record;
mod resolve;
mod sampler;
mod symbols;
mod unwind;

pub use event::{Frame, Notice, NoticeKind, ProcessChange, ProcessEvent, Sample, SampleEvent, StackKind, Switch};
pub use sampler::{KernelFrames, SampleOptions, Sampler};
