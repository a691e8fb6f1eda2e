//! What GPUs can do: peaks, bandwidths, and which fraction of them good kernels reach.
//!
//! The built-in table is `assets/hardware.toml`; a user's file of the same form adds to it and wins over it. Every value
//! carries its source, whether it was read there, and whether sources dispute it.

mod lookup;
mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{DType, OperatorClass};

pub use lookup::{DeviceMatch, MatchedBy};
pub use table::{HardwareError, HardwareTable};

/// One value of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// The value that is used.
    pub value: f64,
    /// From where to where sources put it, where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
    /// Whether it was read where `source` says, not only recalled.
    #[serde(default)]
    pub verified: bool,
    /// Whether sources dispute it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
    /// Where it comes from.
    #[serde(default)]
    pub source: String,
}

/// Precision of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// FP64 outside matrix units.
    Fp64,
    /// FP64 on matrix units.
    Fp64Matrix,
    /// FP32 outside matrix units.
    Fp32,
    /// FP32 on matrix units.
    Fp32Matrix,
    /// TF32 on matrix units.
    Tf32,
    /// BF16 on matrix units.
    Bf16,
    /// FP16 on matrix units.
    Fp16,
    /// FP8 on matrix units.
    Fp8,
    /// FP4 on matrix units.
    Fp4,
    /// INT8 on matrix units.
    Int8,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Fp64,
        Self::Fp64Matrix,
        Self::Fp32,
        Self::Fp32Matrix,
        Self::Tf32,
        Self::Bf16,
        Self::Fp16,
        Self::Fp8,
        Self::Fp4,
        Self::Int8,
    ];

    /// The key in the table.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Fp64 => "fp64_tflops",
            Self::Fp64Matrix => "fp64_matrix_tflops",
            Self::Fp32 => "fp32_tflops",
            Self::Fp32Matrix => "fp32_matrix_tflops",
            Self::Tf32 => "tf32_tflops",
            Self::Bf16 => "bf16_tflops",
            Self::Fp16 => "fp16_tflops",
            Self::Fp8 => "fp8_tflops",
            Self::Fp4 => "fp4_tflops",
            Self::Int8 => "int8_tops",
        }
    }

    /// A short name for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Fp64 => "fp64",
            Self::Fp64Matrix => "fp64 matrix",
            Self::Fp32 => "fp32",
            Self::Fp32Matrix => "fp32 matrix",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
            Self::Fp8 => "fp8",
            Self::Fp4 => "fp4",
            Self::Int8 => "int8",
        }
    }
}

/// Which unit of a device computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Tensor cores, matrix cores.
    Matrix,
    /// Everything else.
    Vector,
}

/// One device of the table, or one as a trace describes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Gpu {
    /// Its name in the table.
    pub name: String,
    /// Who makes it.
    pub vendor: String,
    /// What its multiprocessors are called (`SM`, `CU`).
    pub unit: String,
    /// Names that traces give it.
    pub aliases: Vec<String>,
    /// How many multiprocessors it has.
    pub multiprocessors: Option<Fact>,
    /// Device memory as the vendor labels it, in GB.
    pub memory_gb: Option<Fact>,
    /// Bandwidth of device memory in 10⁹ bytes per second.
    pub memory_gb_per_s: Option<Fact>,
    /// Dense rates in 10¹² operations per second.
    #[serde(serialize_with = "by_key")]
    pub peaks: BTreeMap<Precision, Fact>,
    /// Bandwidth of links between devices, both directions together, in 10⁹ bytes per second.
    pub link_gb_per_s: Option<Fact>,
    /// How the host is attached (`PCIe5`).
    pub host_link: Option<String>,
    /// Power limit in W.
    pub power_w: Option<Fact>,
    /// What else to know.
    pub note: Option<String>,
    /// Fractions of the peaks that good kernels reach, by key (`gemm`, `gemm_fp8`, `streaming`); the table's defaults
    /// are filled in.
    pub achievable: BTreeMap<String, Fact>,
}

fn by_key<S: serde::Serializer>(peaks: &BTreeMap<Precision, Fact>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(peaks.iter().map(|(precision, fact)| (precision.key(), fact)))
}

impl Gpu {
    /// Bytes per second of device memory.
    #[must_use]
    pub fn memory_bytes_per_s(&self) -> Option<f64> {
        Some(self.memory_gb_per_s.as_ref()?.value * 1e9).filter(|rate| *rate > 0.0)
    }

    /// Bytes per second of the links to other devices, one direction.
    #[must_use]
    pub fn link_bytes_per_s(&self) -> Option<f64> {
        Some(self.link_gb_per_s.as_ref()?.value * 1e9 / 2.0).filter(|rate| *rate > 0.0)
    }

    /// Operations per second at a precision.
    #[must_use]
    pub fn peak(&self, precision: Precision) -> Option<f64> {
        Some(self.peaks.get(&precision)?.value * 1e12).filter(|rate| *rate > 0.0)
    }

    /// The precision whose rate limits work of a type on a unit; `None` where the device cannot do it or the table does
    /// not know. Half types outside matrix units run at the rate of FP32, though packed instructions may double it.
    #[must_use]
    pub fn precision_of(&self, dtype: DType, unit: Unit) -> Option<Precision> {
        let wanted: &[Precision] = match (unit, dtype) {
            (Unit::Vector, DType::F64 | DType::Complex128) => &[Precision::Fp64],
            (Unit::Vector, _) => &[Precision::Fp32],
            (Unit::Matrix, DType::F64 | DType::Complex128) => &[Precision::Fp64Matrix, Precision::Fp64],
            (Unit::Matrix, DType::F32 | DType::Complex64) => &[Precision::Fp32Matrix, Precision::Fp32],
            (Unit::Matrix, DType::F16) => &[Precision::Fp16],
            (Unit::Matrix, DType::Bf16) => &[Precision::Bf16],
            (Unit::Matrix, DType::F8) => &[Precision::Fp8],
            (Unit::Matrix, DType::F4) => &[Precision::Fp4],
            (Unit::Matrix, DType::I8) => &[Precision::Int8],
            (Unit::Matrix, DType::I64 | DType::I32 | DType::I16 | DType::Bool) => &[],
        };
        wanted.iter().copied().find(|precision| self.peak(*precision).is_some())
    }

    /// The fraction of the peak that good kernels of a class reach, at a precision.
    #[must_use]
    pub fn achievable(&self, class: OperatorClass, precision: Option<Precision>) -> Option<&Fact> {
        let key = class.achievable_key();
        let special = precision.and_then(|precision| self.achievable.get(&format!("{key}_{}", precision.label())));
        special.or_else(|| self.achievable.get(key))
    }

    /// The fraction of memory bandwidth that streaming kernels reach.
    #[must_use]
    pub fn achievable_streaming(&self) -> f64 {
        self.achievable.get("streaming").map_or(1.0, |fact| fact.value)
    }

    /// The facts of the values that a prediction rests on which were not read anywhere or are disputed, as
    /// `(what, fact)`.
    #[must_use]
    pub fn doubtful(&self) -> Vec<(String, &Fact)> {
        let named = [
            ("multiprocessors", &self.multiprocessors),
            ("memory_gb_per_s", &self.memory_gb_per_s),
            ("link_gb_per_s", &self.link_gb_per_s),
        ];
        let named = named.into_iter().filter_map(|(name, fact)| Some((name.to_owned(), fact.as_ref()?)));
        let peaks = self.peaks.iter().map(|(precision, fact)| (precision.key().to_owned(), fact));
        named.chain(peaks).filter(|(_, fact)| fact.unsure || !fact.verified).collect()
    }
}
