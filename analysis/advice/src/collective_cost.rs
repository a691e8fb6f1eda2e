//! What a collective costs apart from its bytes, and which links it uses.

use gapless_analysis::{CollectiveInstance, costs};
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
    fitted: FxHashMap<(u32, gapless_analysis::CollectiveKind), f64>,
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

    /// α of a collective like this one, in ns; `None` if the recording has too few sizes for a fit.
    #[must_use]
    pub fn fitted_ns(&self, instance: &CollectiveInstance) -> Option<f64> {
        self.fitted.get(&(instance.communicator, instance.kind)).copied()
    }
}
