//! Carrying a measured kernel over to another device.
//!
//! d̂ = floor′ + c·(d − floor)·ρ, where ρ is the ratio of what the two devices can attain for the kernel's FLOPs and
//! bytes, floors are what the smallest kernels take, and c is a factor that a calibration gives for a class of kernels
//! and a pair of devices (1 without). The source's efficiency is kept: a kernel that is slow for its shape stays slow.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::roofline::precision;
use crate::{Band, Gpu, OperatorClass, OperatorCost, Unit};

/// What the smallest kernels take where nothing was measured, in ns (2 µs, a design value).
const FLOOR_NS: f64 = 2_000.0;

/// What the smallest kernels of a device take, in ns.
#[must_use]
pub(crate) const fn floor_ns(_: &Gpu) -> f64 {
    FLOOR_NS
}

/// Band of a prediction without a calibration, as factors of the estimate: the range of errors of five models between
/// H100 and MI300X with achievable rates.
const UNCALIBRATED: (f64, f64) = (0.7, 1.35);

/// Least spread (standard deviation of the logarithm) of a calibrated class: a few models do not show more certainty.
const LEAST_SPREAD: f64 = 0.2;

/// Standard deviations on each side of a band: 80 % of a normal distribution.
const DEVIATIONS: f64 = 1.28;

/// Weight of "as the rates say" (a factor of 1) in a fit, in models whose time is all of the class.
const PRIOR: f64 = 0.3;

/// A measured kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelFacts {
    /// Its duration in ns.
    pub dur_ns: f64,
    /// What it does.
    pub class: OperatorClass,
    /// Its FLOPs and bytes; `None` where they are not known.
    pub cost: Option<OperatorCost>,
    /// Whether FP32 products run as TF32.
    pub tf32: bool,
    /// Thread blocks, where known.
    pub blocks: Option<u64>,
}

/// Classes that calibrations tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleClass {
    /// Products that arithmetic limits on the source.
    GemmCompute,
    /// Products that memory limits on the source.
    GemmMemory,
    /// Attention in one kernel.
    Attention,
    /// Convolutions.
    Convolution,
    /// Everything that memory limits.
    Streaming,
}

impl ScaleClass {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::GemmCompute, Self::GemmMemory, Self::Attention, Self::Convolution, Self::Streaming];

    /// The class of a kernel measured on `from`.
    #[must_use]
    pub fn of(facts: &KernelFacts, from: &Gpu) -> Self {
        match facts.class {
            OperatorClass::Attention => Self::Attention,
            OperatorClass::Convolution => Self::Convolution,
            OperatorClass::Gemm | OperatorClass::Moe => {
                let times = facts.cost.and_then(|cost| times(&cost, from, facts, None));
                match times {
                    Some((compute, memory)) if compute > memory => Self::GemmCompute,
                    Some(_) => Self::GemmMemory,
                    None => Self::GemmCompute,
                }
            }
            _ => Self::Streaming,
        }
    }

    /// The key in the table.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::GemmCompute => "gemm_compute",
            Self::GemmMemory => "gemm_memory",
            Self::Attention => "attention",
            Self::Convolution => "convolution",
            Self::Streaming => "streaming",
        }
    }
}

/// How kernels of a class were found to differ from what rates say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassFactor {
    /// Measured ÷ predicted, a geometric mean weighted by time.
    pub factor: f64,
    /// Standard deviation of the logarithm of measured ÷ predicted.
    pub spread: f64,
}

/// Measured differences of a pair of devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// What the smallest kernels of the source take, in ns.
    pub from_floor_ns: Option<f64>,
    /// What the smallest kernels of the target take, in ns.
    pub to_floor_ns: Option<f64>,
    /// Factors by class; a class that is missing was not measured.
    pub classes: BTreeMap<ScaleClass, ClassFactor>,
    /// What it was learnt from.
    pub source: String,
}

/// Why a kernel cannot be carried over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    /// A device of the table lacks a value.
    #[error("the hardware table has no {what} for {gpu}")]
    Missing {
        /// The device.
        gpu: String,
        /// What is missing.
        what: String,
    },
    /// Communication depends on links and partners, not on one device.
    #[error("communication is scaled by links, not by a device")]
    Communication,
    /// Copies over the host's link depend on the host.
    #[error("copies between host and device are scaled by the host's link, not by a device")]
    HostCopy,
}

/// Attainable times (compute, memory) of a cost in ns. Kernels of fewer blocks than the device has multiprocessors use
/// only as many.
fn times(cost: &OperatorCost, gpu: &Gpu, facts: &KernelFacts, blocks: Option<u64>) -> Option<(f64, f64)> {
    let memory = cost.bytes / (gpu.memory_bytes_per_s()? * gpu.achievable_streaming()) * 1e9;
    if cost.flops <= 0.0 {
        return Some((0.0, memory));
    }
    let rate = precision(cost, gpu, facts.tf32)?;
    let reach = match cost.unit {
        Unit::Matrix => gpu.achievable(cost.class, Some(rate)).map_or(1.0, |fact| fact.value),
        Unit::Vector => gpu.achievable_streaming(),
    };
    let multiprocessors = gpu.multiprocessors.as_ref().map_or(0.0, |fact| fact.value);
    let used = match blocks {
        Some(blocks) if multiprocessors > 0.0 => (blocks as f64 / multiprocessors).min(1.0),
        _ => 1.0,
    };
    Some((cost.flops / (gpu.peak(rate)? * reach * used) * 1e9, memory))
}

fn streaming_rate(gpu: &Gpu) -> Result<f64, ScaleError> {
    let rate = gpu.memory_bytes_per_s().map(|rate| rate * gpu.achievable_streaming());
    rate.ok_or_else(|| ScaleError::Missing { gpu: gpu.name.clone(), what: "memory bandwidth".to_owned() })
}

/// The ratio of attainable times, target ÷ source, as (low, mid, high).
fn ratio(facts: &KernelFacts, from: &Gpu, to: &Gpu) -> Result<(f64, f64, f64), ScaleError> {
    let memory = streaming_rate(from)? / streaming_rate(to)?;
    let is_matrix = facts.cost.is_none_or(|cost| cost.unit == Unit::Matrix);
    if let Some(cost) = facts.cost.filter(|cost| cost.bytes > 0.0 || cost.flops > 0.0) {
        // Vector work follows memory unless arithmetic takes longer.
        // Libraries of another maker cut the work into other blocks.
        let blocks = facts.blocks.filter(|_| from.vendor == to.vendor);
        let of = |gpu: &Gpu| {
            times(&cost, gpu, facts, blocks).map(|(compute, memory)| compute.max(memory)).ok_or_else(|| {
                let what = cost.dtype.map_or_else(|| "rate".to_owned(), |dtype| format!("rate for {}", dtype.label()));
                ScaleError::Missing { gpu: gpu.name.clone(), what }
            })
        };
        let (source, target) = (of(from)?, of(to)?);
        if source > 0.0 {
            let ratio = target / source;
            return Ok((ratio, ratio, ratio));
        }
    }
    // Nothing is known but the class: memory, or, for products, anything between memory and arithmetic.
    let products = matches!(
        facts.class,
        OperatorClass::Gemm | OperatorClass::Moe | OperatorClass::Attention | OperatorClass::Convolution
    );
    if !products || !is_matrix {
        return Ok((memory, memory, memory));
    }
    let rate = |gpu: &Gpu| {
        let precision = crate::Precision::Bf16;
        let peak = gpu.peak(precision).or_else(|| gpu.peak(crate::Precision::Fp16));
        let reach = gpu.achievable(facts.class, Some(precision)).map_or(1.0, |fact| fact.value);
        peak.map(|peak| peak * reach)
    };
    let compute = match (rate(from), rate(to)) {
        (Some(from), Some(to)) => from / to,
        _ => memory,
    };
    Ok((memory.min(compute), (memory * compute).sqrt(), memory.max(compute)))
}

/// The time that a kernel measured on `from` would take on `to`, in ns.
///
/// # Errors
/// When the table lacks a rate that is needed, or another thing than a device decides.
pub fn scale_kernel(
    facts: &KernelFacts,
    from: &Gpu,
    to: &Gpu,
    calibration: Option<&Calibration>,
) -> Result<Band, ScaleError> {
    match facts.class {
        OperatorClass::Communication => return Err(ScaleError::Communication),
        OperatorClass::Copy => return Err(ScaleError::HostCopy),
        _ => {}
    }
    if from == to {
        return Ok(Band::exact(facts.dur_ns));
    }
    let (low, mid, high) = ratio(facts, from, to)?;
    let floors = floors(calibration);
    let above = above_floor(facts.dur_ns, floors.0);
    let known = calibration.and_then(|calibration| calibration.classes.get(&ScaleClass::of(facts, from)));
    let (factor, under, over) = match known {
        Some(class) => {
            let width = (class.spread.max(LEAST_SPREAD) * DEVIATIONS).exp();
            (class.factor, 1.0 / width, width)
        }
        None => (1.0, UNCALIBRATED.0, UNCALIBRATED.1),
    };
    // No kernel is shorter than the shortest, but the shortest differ as much as the others.
    let at = |ratio: f64, width: f64| (floors.1 + factor * above * ratio) * width;
    Ok(Band { low: at(low, under), mid: at(mid, 1.0), high: at(high, over) })
}

fn floors(calibration: Option<&Calibration>) -> (f64, f64) {
    let of = |floor: Option<f64>| floor.unwrap_or(FLOOR_NS);
    calibration.map_or((FLOOR_NS, FLOOR_NS), |found| (of(found.from_floor_ns), of(found.to_floor_ns)))
}

/// What of a duration lies above the floor; of the shortest kernels a twentieth, so that none vanishes.
fn above_floor(dur_ns: f64, floor_ns: f64) -> f64 {
    (dur_ns - floor_ns).max(0.05 * dur_ns)
}

/// Kernels of one kind measured on both devices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// One of them on the source.
    pub facts: KernelFacts,
    /// Its duration on the target, in ns.
    pub to_ns: f64,
    /// How often it runs.
    pub count: f64,
}

impl Calibration {
    /// Learns floors and factors from models measured on both devices, each model of equal weight and its kernels
    /// weighted by their time on the target.
    #[must_use]
    pub fn fit(models: &[Vec<Sample>], from: &Gpu, to: &Gpu, source: &str) -> Self {
        let all = || models.iter().flatten().filter(|sample| sample.facts.class != OperatorClass::Communication);
        // The smallest streaming kernels: the lower third is not disturbed by what they do.
        let is_small = |sample: &&Sample| {
            ScaleClass::of(&sample.facts, from) == ScaleClass::Streaming
                && sample.facts.dur_ns.min(sample.to_ns) < 6_000.0
                && sample.facts.dur_ns.max(sample.to_ns) < 10_000.0
        };
        let third = |of: fn(&Sample) -> f64| {
            let mut found: Vec<f64> = all().filter(is_small).map(of).collect();
            found.sort_by(f64::total_cmp);
            found.get(found.len() / 3).copied()
        };
        let mut this = Self {
            from_floor_ns: third(|sample| sample.facts.dur_ns),
            to_floor_ns: third(|sample| sample.to_ns),
            classes: BTreeMap::new(),
            source: source.to_owned(),
        };
        for class in ScaleClass::ALL {
            if let Some(factor) = this.fit_class(models, class, from, to) {
                this.classes.insert(class, factor);
            }
        }
        this
    }

    fn fit_class(&self, models: &[Vec<Sample>], class: ScaleClass, from: &Gpu, to: &Gpu) -> Option<ClassFactor> {
        let floors = floors(Some(self));
        // Weight and logarithm of measured ÷ predicted.
        let mut found: Vec<(f64, f64)> = Vec::new();
        for model in models {
            let total: f64 = model.iter().map(|sample| sample.count * sample.to_ns).sum();
            for sample in model.iter().filter(|sample| ScaleClass::of(&sample.facts, from) == class) {
                let Ok((_, ratio, _)) = ratio(&sample.facts, from, to) else { continue };
                // Durations near both floors say nothing of what lies above them.
                if sample.facts.dur_ns < 2.0 * floors.0 && sample.to_ns < 2.0 * floors.1 {
                    continue;
                }
                let predicted = above_floor(sample.facts.dur_ns, floors.0) * ratio;
                // A measured duration near the floor says little of what lies above it.
                let measured = (sample.to_ns - floors.1).max(0.15 * sample.to_ns);
                if predicted > 0.0 && measured > 0.0 && total > 0.0 {
                    found.push((sample.count * sample.to_ns / total, (measured / predicted).ln()));
                }
            }
        }
        let weight: f64 = found.iter().map(|(weight, _)| weight).sum();
        if weight <= 0.0 {
            return None;
        }
        let factor = found.iter().map(|(weight, log)| weight * log).sum::<f64>() / (weight + PRIOR);
        let square = |(weight, log): &(f64, f64)| weight * (log - factor) * (log - factor);
        let spread = (found.iter().map(square).sum::<f64>() / weight).sqrt();
        Some(ClassFactor { factor: factor.exp(), spread })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{DType, HardwareTable};

    fn gpu(name: &str) -> Gpu {
        HardwareTable::builtin().find(name).unwrap().clone()
    }

    fn facts(dur_ns: f64, class: OperatorClass, flops: f64, bytes: f64) -> KernelFacts {
        let unit = if class.counts_for_utilisation() { Unit::Matrix } else { Unit::Vector };
        let cost =
            OperatorCost { flops, model_flops: flops, bytes, class, dtype: Some(DType::Bf16), unit, approximate: None };
        KernelFacts { dur_ns, class, cost: Some(cost), tf32: false, blocks: None }
    }

    #[test]
    fn memory_bound_work_follows_bandwidth_and_products_arithmetic() {
        let (from, to) = (gpu("A100-SXM4-80GB"), gpu("H100"));
        let copy = facts(102_000.0, OperatorClass::Movement, 0.0, 1e8);
        let band = scale_kernel(&copy, &from, &to, None).unwrap();
        let expected = 2_000.0 + 100_000.0 * 2039.0 / 3350.0;
        assert!((band.mid - expected).abs() < 1.0, "{band:?} {expected}");
        assert!((band.low - 0.7 * band.mid).abs() < 1.0 && (band.high - 1.35 * band.mid).abs() < 1.0);
        let product = facts(102_000.0, OperatorClass::Gemm, 1e13, 1e6);
        let band = scale_kernel(&product, &from, &to, None).unwrap();
        assert!((band.mid - (2_000.0 + 100_000.0 * 312.0 / 989.4)).abs() < 1.0, "{band:?}");
    }

    #[test]
    fn the_same_device_changes_nothing() {
        let from = gpu("H100");
        let band = scale_kernel(&facts(1_000.0, OperatorClass::Gemm, 1.0, 1.0), &from, &from, None).unwrap();
        assert_eq!(band, Band::exact(1_000.0));
    }

    #[test]
    fn few_blocks_do_not_use_more_multiprocessors() {
        let (from, to) = (gpu("A100-SXM4-80GB"), gpu("H100"));
        let product = KernelFacts { blocks: Some(54), ..facts(102_000.0, OperatorClass::Gemm, 1e13, 1e6) };
        let band = scale_kernel(&product, &from, &to, None).unwrap();
        // Half of 108 against 54 of 132.
        let ratio = 312.0 / 989.4 * 0.5 / (54.0 / 132.0);
        assert!((band.mid - (2_000.0 + 100_000.0 * ratio)).abs() < 1.0, "{band:?}");
    }

    #[test]
    fn what_a_device_cannot_do_is_refused() {
        let (from, to) = (gpu("H100"), gpu("V100"));
        let error = scale_kernel(&facts(1e5, OperatorClass::Gemm, 1e12, 1e6), &from, &to, None).unwrap_err();
        assert_eq!(error.to_string(), "the hardware table has no rate for bf16 for V100 SXM2 32GB");
        let error = scale_kernel(&facts(1e5, OperatorClass::Communication, 0.0, 1e6), &from, &to, None).unwrap_err();
        assert_eq!(error, ScaleError::Communication);
    }

    #[test]
    fn without_shapes_the_band_spans_what_may_limit() {
        let (from, to) = (gpu("H100"), gpu("MI300X"));
        let unknown = KernelFacts { cost: None, ..facts(102_000.0, OperatorClass::Gemm, 0.0, 0.0) };
        let band = scale_kernel(&unknown, &from, &to, None).unwrap();
        assert!(band.low < band.mid && band.mid < band.high);
        assert!(band.high / band.low > 1.35 / 0.7 * 1.2, "{band:?}");
    }

    #[test]
    fn a_fit_finds_planted_floors_and_factors() {
        let (from, to) = (gpu("H100"), gpu("MI300X"));
        let rate = |gpu: &Gpu| gpu.memory_bytes_per_s().unwrap() * gpu.achievable_streaming();
        let ratio = rate(&from) / rate(&to);
        let model: Vec<Sample> = (0..60)
            .map(|index| {
                let above = if index < 30 { 0.0 } else { f64::from(index) * 10_000.0 };
                let facts = facts(1_500.0 + above, OperatorClass::Elementwise, 0.0, 1e6);
                Sample { facts, to_ns: 4_500.0 + 1.5 * ratio * above, count: 1.0 }
            })
            .collect();
        let found = Calibration::fit(&[model.clone(), model.clone(), model], &from, &to, "made");
        assert_eq!((found.from_floor_ns, found.to_floor_ns), (Some(1_500.0), Some(4_500.0)));
        let class = found.classes[&ScaleClass::Streaming];
        // Three models against a prior of 0.3 at factor 1.
        let expected = (1.5_f64.ln() * 3.0 / 3.3).exp();
        assert!((class.factor - expected).abs() < 0.01, "{class:?}");
        assert!(class.spread < 0.1, "{class:?}");
        let facts = facts(101_500.0, OperatorClass::Elementwise, 0.0, 1e6);
        let band = scale_kernel(&facts, &from, &to, Some(&found)).unwrap();
        assert!(band.contains(4_500.0 + 1.5 * ratio * 100_000.0), "{band:?}");
    }
}
