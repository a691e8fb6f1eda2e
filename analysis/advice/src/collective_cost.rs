//! What a collective costs apart from its bytes, and which links it uses.

use gapless_analysis::{CollectiveInstance, CollectiveKind, costs};
use rustc_hash::FxHashMap;

use crate::study::Study;

/// Which links a collective uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Within one host.
    Intra,
    /// Between hosts.
    Inter,
}

/// The tier of a collective: between hosts if its members name several, or if the job spans more ranks than a host of
/// eight while the members' hosts are unknown.
#[must_use]
pub fn tier_of(study: &Study<'_>, instance: &CollectiveInstance) -> Tier {
    let hosts: Vec<Option<&str>> = instance
        .members
        .iter()
        .map(|member| study.trace().rank(member.rank).and_then(|rank| rank.host.as_deref()))
        .collect();
    let mut known: Vec<&str> = hosts.iter().copied().flatten().collect();
    known.sort_unstable();
    known.dedup();
    if known.len() > 1 || (hosts.contains(&None) && instance.size.is_some_and(|size| size > 8)) {
        Tier::Inter
    } else {
        Tier::Intra
    }
}

/// Latencies that the recording itself shows: α of the fit over sizes, by communicator and kind.
#[derive(Clone, Debug, Default)]
pub struct Alpha {
    fitted: FxHashMap<(u32, CollectiveKind), f64>,
}

impl Alpha {
    /// Fits every communicator of a study with enough sizes.
    #[must_use]
    pub fn new(study: &Study<'_>) -> Self {
        let rows = costs(study.collectives(), study.timings());
        let fitted = rows.into_iter().filter_map(|row| {
            let model = row.model?;
            Some(((row.communicator, row.kind), model.alpha_ns))
        });
        Self { fitted: fitted.collect() }
    }

    /// α of a collective like this one as fitted, else NCCL's constants, in ns.
    #[must_use]
    pub fn of(&self, study: &Study<'_>, instance: &CollectiveInstance) -> f64 {
        self.fitted_ns(instance).unwrap_or_else(|| nccl_alpha_ns(study, instance))
    }

    /// α of a collective like this one, in ns; `None` if the recording has too few sizes for a fit.
    #[must_use]
    pub fn fitted_ns(&self, instance: &CollectiveInstance) -> Option<f64> {
        self.fitted.get(&(instance.communicator, instance.kind)).copied()
    }
}

/// α of NCCL's ring with the low-latency protocol (its tuning model, `src/graph/tuning.cc`), in ns.
#[must_use]
pub fn nccl_alpha_ns(study: &Study<'_>, instance: &CollectiveInstance) -> f64 {
    let ranks = f64::from(instance.size.unwrap_or(2).max(2));
    let (base, hop) = match tier_of(study, instance) {
        Tier::Intra => (6.6, 0.6),
        Tier::Inter => (6.6, 2.7),
    };
    let hops = match instance.kind {
        CollectiveKind::AllReduce => 2.0 * (ranks - 1.0),
        CollectiveKind::AllGather | CollectiveKind::ReduceScatter => ranks - 1.0,
        _ => 1.0,
    };
    (base + hop * hops) * 1e3
}
