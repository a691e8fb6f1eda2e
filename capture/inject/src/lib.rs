//! What runs inside a recorded job, in one image that all injection variables name.
//!
//! Each source of events has a file or folder of its own: [`api`] is the C interface for the Python hook and for
//! whoever links nothing, [`nvtx`] and [`itt`] answer the two annotation interfaces, [`cuda`] the CUDA driver, `rocm`
//! AMD's rocprofiler-sdk, [`nccl`] is the plugin that NCCL asks for. `mpi` and `gloo` stand in front of communication libraries where the image is
//! preloaded. All write into the calling thread's ring
//! ([`gapless_ring::writer`]).
//!
//! - Nothing here prints, but one line where a source cannot work. Nothing blocks, nothing panics: a panic would not
//!   cross the C boundary but end the job.
//! - The image is pinned on its first call, because NVTX and NCCL close what they opened while threads still run in it.
//! - Without a recorder (`GAPLESS_RINGS` not set) every entry point is a few instructions that do nothing.

// Entry points of C interfaces take raw pointers and are found by name.
#![allow(unsafe_code)]

pub mod api;
mod classify;
pub mod cuda;
mod device;
mod gloo;
pub mod itt;
mod mpi;
pub mod nccl;
pub mod nvtx;
mod pin;
mod rocm;
mod symbols;
mod table;
