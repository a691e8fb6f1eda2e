//! What each operator could take on its GPU, and what it would take on another.
//!
//! [`Operator`] is an operator with the shapes of its inputs; [`cost`] says how many FLOPs and bytes it needs at least;
//! [`HardwareTable`] knows what devices can do; [`Roofline`] puts them together for one rank of a trace;
//! [`scale_kernel`] carries a measured kernel over to another device.
//!
//! The crate does no I/O: the hardware table's text comes in as `&str`. Formulas and their sources are in
//! `docs/roofline.md`.

mod band;
mod calls;
mod cost;
mod dtype;
mod hardware;
mod operator;
mod roofline;
mod scale;

pub use band::Band;
pub use calls::{Call, class_of_name};
pub use cost::{OperatorClass, OperatorCost, UnknownCost, collective_cost, cost, grouped_gemm, is_whole};
pub use dtype::DType;
pub use hardware::{DeviceMatch, Fact, Gpu, HardwareError, HardwareTable, MatchedBy, Precision, Unit};
pub use operator::{Batch, Input, Operator, Requests, Tensor};
pub use roofline::{
    Bound, GroupKernel, IMPOSSIBLE, KernelCost, OperatorGroup, RateUse, Roof, Roofline, Utilisation, precision, roof,
};
pub use scale::{Calibration, ClassFactor, KernelFacts, Sample, ScaleClass, ScaleError, scale_kernel};
