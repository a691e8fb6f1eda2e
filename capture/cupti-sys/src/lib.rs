//! CUPTI's activity interface, found and loaded at run time, so that one build serves CUDA 12.1 to 13.5.
//!
//! - [`Cupti::load`] finds the library that belongs to the CUDA of the process and takes some thirty functions from it
//!   by name. It refuses where `libcuda.so.1` is not in the process yet: some releases of CUPTI crash without a driver.
//! - [`layout`] says as data where each field of each kind of record lies and how long records are in each version.
//! - [`Record`] reads a record of any of these versions: a field that the loaded version does not have is zero.
//!
//! Sources: the headers `cupti_activity.h`, `cupti_callbacks.h` and `cupti_result.h` of the versions in
//! [`layout::VERSIONS`], against which the tests compare every offset and size.

// Functions of a C library that is loaded at run time, and its records, cannot be had without it.
#![allow(unsafe_code)]

pub mod layout;
mod library;
mod locate;
mod record;
mod result;

pub use layout::{Field, Kind};
pub use library::{
    BufferCompleted, BufferRequested, Cupti, CuptiError, DOMAIN_DRIVER, DOMAIN_RUNTIME, FLUSH_FORCED, Subscriber,
    THREAD_ID_SYSTEM, TimestampCallback,
};
pub use locate::{candidates, driver_version, is_driver_loaded};
pub use record::Record;
pub use result::CuptiResult;
