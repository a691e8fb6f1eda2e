//! How fast collectives are, by group and size, and what they would cost at other sizes.
//!
//! The cost of a transfer of S bytes is modelled as `τ = α + F · S ÷ B` with the bus factor F of the collective (see
//! [`CollectiveKind::bus_factor`]), so that B compares to the speed of a link in one direction. The fit minimises
//! relative errors, so that small messages count as much as large ones (Thakur, Rabenseifner, Gropp, "Optimization of
//! collective communication operations in MPICH", 2005, for the model).

use std::collections::BTreeMap;

use serde::Serialize;

use super::CollectiveInstance;
use super::timing::CollectiveTiming;
use crate::collectives::CollectiveKind;
use crate::stats::Stats;

/// Transfers of one size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SizeCost {
    /// Full size S in bytes; `None` where the trace does not tell it.
    pub bytes: Option<u64>,
    /// Transfer times τ.
    #[serde(flatten)]
    pub transfer: Stats,
    /// S ÷ median τ, in 10⁹ bytes per second.
    pub algorithm_gb_per_s: Option<f64>,
    /// F · S ÷ median τ, in 10⁹ bytes per second; `None` where the size of the group is not known.
    pub bus_gb_per_s: Option<f64>,
}

/// `τ = α + F · S ÷ B`, fitted over sizes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CostModel {
    /// α: time of an empty message, in ns.
    pub alpha_ns: f64,
    /// B: bus bandwidth of an endless message, in 10⁹ bytes per second.
    pub bus_gb_per_s: f64,
    /// Sizes that the fit rests on.
    pub sizes: u32,
    /// Mean of |model − median| ÷ median over the sizes.
    pub mean_error_share: f64,
    /// The largest of them.
    pub max_error_share: f64,
}

impl CostModel {
    /// Time of a transfer of `bytes` by a collective of bus factor `factor`, in ns.
    #[must_use]
    pub fn transfer_ns(&self, bytes: u64, factor: f64) -> f64 {
        // 10⁹ bytes per second are one byte per ns.
        self.alpha_ns + factor * bytes as f64 / self.bus_gb_per_s
    }
}

/// All instances of one kind in one communicator.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CollectiveCost {
    /// The group, as in its instances.
    pub group: String,
    /// The communicator, as in its instances.
    pub communicator: u32,
    /// What it does.
    pub kind: CollectiveKind,
    /// Ranks in the group, where known.
    pub ranks: Option<u32>,
    /// Whether the recording tells only of the hand-over to devices: then no transfer is known, and all are 0.
    pub enqueued_only: bool,
    /// Whether the transfers are estimates, because no second rank shows the calls.
    pub is_estimated: bool,
    /// Instances.
    pub count: u64,
    /// Time that members waited for others, summed over members and instances that are no edges, in ns.
    pub wait_sum_ns: i64,
    /// Transfer times summed over instances, in ns.
    pub transfer_sum_ns: i64,
    /// By size, smallest first, unknown first of all.
    pub sizes: Vec<SizeCost>,
    /// The fitted model; `None` with fewer than three sizes, or if they span less than a factor of four.
    pub model: Option<CostModel>,
}

/// Costs of all `instances`, by communicator and kind. `timings` are theirs, in the same order.
#[must_use]
pub fn costs(instances: &[CollectiveInstance], timings: &[CollectiveTiming]) -> Vec<CollectiveCost> {
    let mut groups: BTreeMap<(u32, CollectiveKind), Vec<(&CollectiveInstance, &CollectiveTiming)>> = BTreeMap::new();
    for (instance, timing) in instances.iter().zip(timings) {
        groups.entry((instance.communicator, instance.kind)).or_default().push((instance, timing));
    }
    groups.into_iter().filter_map(|((communicator, kind), all)| cost(communicator, kind, &all)).collect()
}

fn cost(
    communicator: u32,
    kind: CollectiveKind,
    all: &[(&CollectiveInstance, &CollectiveTiming)],
) -> Option<CollectiveCost> {
    // Where some instances are seen from several ranks, single ones are no better than a guess.
    let is_estimated = all.iter().all(|(_, timing)| timing.is_estimated);
    let used = || all.iter().filter(|(_, timing)| timing.is_estimated == is_estimated);
    let ranks = all.iter().filter_map(|(instance, _)| instance.size).max();
    // A group of one moves nothing.
    let factor = ranks.filter(|&ranks| ranks > 1).map(|ranks| kind.bus_factor(ranks));
    let mut by_size: BTreeMap<Option<u64>, Vec<i64>> = BTreeMap::new();
    for (instance, timing) in used() {
        by_size.entry(instance.bytes).or_default().push(timing.transfer_ns);
    }
    let sizes: Vec<SizeCost> = by_size
        .into_iter()
        .map(|(bytes, mut transfers)| {
            let transfer = Stats::of(&mut transfers);
            let per_ns = bytes.map(|bytes| bytes as f64 / transfer.median_ns).filter(|speed| speed.is_finite());
            let bus = per_ns.zip(factor).map(|(speed, factor)| speed * factor);
            SizeCost { bytes, transfer, algorithm_gb_per_s: per_ns, bus_gb_per_s: bus }
        })
        .collect();
    let points: Vec<(f64, f64)> = sizes
        .iter()
        .filter_map(|size| Some((factor? * size.bytes? as f64, size.transfer.median_ns)))
        .filter(|point| point.0 > 0.0 && point.1 > 0.0)
        .collect();
    let sum = |values: &mut dyn Iterator<Item = i64>| values.fold(0, i64::saturating_add);
    Some(CollectiveCost {
        group: all.first()?.0.group.clone(),
        communicator,
        kind,
        ranks,
        enqueued_only: all.iter().all(|(instance, _)| instance.enqueued_only),
        is_estimated,
        count: all.len() as u64,
        wait_sum_ns: sum(&mut all.iter().filter(|(i, _)| !i.edge).map(|(_, timing)| timing.wait_sum_ns)),
        transfer_sum_ns: sum(&mut used().map(|(_, timing)| timing.transfer_ns)),
        sizes,
        model: fit(&points),
    })
}

/// Fits `τ = α + β x` to points (x, τ) with least relative squares, α ≥ 0 and β > 0. `None` for fewer than three sizes, or
/// if they span less than a factor of four, or if larger ones are not slower.
fn fit(points: &[(f64, f64)]) -> Option<CostModel> {
    let least = points.iter().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = points.iter().map(|point| point.0).fold(0.0, f64::max);
    if points.len() < 3 || most < 4.0 * least {
        return None;
    }
    // With weights 1/τ²: minimise Σ (α/τ + β x/τ − 1)².
    let (mut aa, mut ab, mut bb, mut a1, mut b1) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for &(x, tau) in points {
        let (a, b) = (1.0 / tau, x / tau);
        aa += a * a;
        ab += a * b;
        bb += b * b;
        a1 += a;
        b1 += b;
    }
    let determinant = aa * bb - ab * ab;
    let (mut alpha, mut beta) = ((a1 * bb - b1 * ab) / determinant, (aa * b1 - ab * a1) / determinant);
    if !alpha.is_finite() || alpha < 0.0 {
        (alpha, beta) = (0.0, b1 / bb);
    }
    if !beta.is_finite() || beta <= 0.0 {
        return None;
    }
    let errors = points.iter().map(|&(x, tau)| (alpha + beta * x - tau).abs() / tau);
    Some(CostModel {
        alpha_ns: alpha,
        bus_gb_per_s: 1.0 / beta,
        sizes: points.len() as u32,
        mean_error_share: errors.clone().sum::<f64>() / points.len() as f64,
        max_error_share: errors.fold(0.0, f64::max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_finds_what_made_the_points() {
        let points: Vec<(f64, f64)> =
            (10..30).map(|power| 2.0_f64.powi(power)).map(|x| (x, 20_000.0 + x / 180.0)).collect();
        let model = fit(&points).expect("a model");
        assert!((model.alpha_ns - 20_000.0).abs() < 1.0 && (model.bus_gb_per_s - 180.0).abs() < 0.01, "{model:?}");
        assert!(model.max_error_share < 1e-6);
        assert!((model.transfer_ns(1 << 30, 1.75) - (20_000.0 + 1.75 * 2.0_f64.powi(30) / 180.0)).abs() < 10.0);
    }

    #[test]
    fn nothing_is_fitted_to_sizes_that_say_nothing() {
        assert_eq!(fit(&[(1e6, 1e4), (1e6, 1e4), (2e6, 2e4)]), None);
        assert_eq!(fit(&[(1e3, 1e4), (1e6, 2e4)]), None);
        // Larger messages that are faster.
        assert_eq!(fit(&[(1e3, 9e4), (1e4, 5e4), (1e6, 1e4)]), None);
    }

    #[test]
    fn a_start_that_would_be_negative_is_zero() {
        let model = fit(&[(1e6, 5e3), (1e7, 8e4), (1e8, 1e6)]).expect("a model");
        assert!(model.alpha_ns >= 0.0 && model.bus_gb_per_s > 0.0);
    }
}
