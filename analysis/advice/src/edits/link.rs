//! Links with another bandwidth or latency.

use gapless_analysis::graph::NodeKind;
use gapless_analysis::replay::Draft;

use super::{Basis, Effect, Outlook, Parameter, Refusal, Transformation};
use crate::collective_cost::{Alpha, Tier, nccl_alpha_ns, tier_of};
use crate::spec::Edit;
use crate::study::Study;

/// `link=2x`, `link.nvlink=2x` (within a host), `link.network=2x` (between hosts), `link.latency=2x` (half the α).
#[derive(Debug)]
pub(super) struct Link;

impl Transformation for Link {
    fn id(&self) -> &'static str {
        "link"
    }

    fn title(&self) -> &'static str {
        "Links have another bandwidth, or a lower latency"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["nvlink", "network", "latency"]
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "alpha-us",
            help: "latency α of a collective, in µs (without: fitted from the recording, else NCCL's constants)",
        }]
    }

    fn value(&self) -> Option<&'static str> {
        Some("bandwidth as a factor: 2x is twice as fast")
    }

    fn basis(&self) -> Basis {
        Basis::ReplayAndModel
    }

    fn apply(
        &self,
        edit: &Edit,
        study: &Study<'_>,
        draft: &mut Draft<'_>,
        outlook: Outlook,
    ) -> Result<Effect, Refusal> {
        let by =
            edit.factor().ok().filter(|&by| by > 0.0).ok_or_else(|| Refusal::new("a link needs some bandwidth"))?;
        let tier = match edit.part() {
            Some("nvlink") => Some(Tier::Intra),
            Some("network") => Some(Tier::Inter),
            _ => None,
        };
        let alpha = Alpha::new(study);
        let told = edit.number("alpha-us").ok().flatten().map(|us| us * 1e3);
        let mut touched = Vec::new();
        let (mut fitted, mut prior) = (0_usize, 0_usize);
        for id in study.nodes_of(NodeKind::Transfer) {
            if !edit.selector().is_empty() && !edit.selector().fits(study, id) {
                continue;
            }
            let instance = study.facts().instance(id).and_then(|place| study.collectives().get(place));
            if tier.is_some_and(|tier| instance.is_none_or(|instance| tier_of(study, instance) != tier)) {
                continue;
            }
            let tau = draft.duration_ns(id) as f64;
            let known = told.or_else(|| instance.and_then(|instance| alpha.fitted_ns(instance)));
            if known.is_some() {
                fitted += 1;
            } else {
                prior += 1;
            }
            // Without a fit the latency is between nothing and NCCL's constant for the size of the group.
            let alpha_ns = known.unwrap_or_else(|| {
                let nccl = instance.map_or(0.0, |instance| nccl_alpha_ns(study, instance));
                if by >= 1.0 { outlook.pick(0.0, nccl, 2.0 * nccl) } else { outlook.pick(2.0 * nccl, nccl, 0.0) }
            });
            let alpha_ns = alpha_ns.clamp(0.0, tau);
            let new = if edit.part() == Some("latency") {
                alpha_ns / by + (tau - alpha_ns)
            } else {
                alpha_ns + (tau - alpha_ns) / by
            };
            draft.set_duration(id, new.round() as i64);
            touched.push(id);
        }
        if touched.is_empty() {
            return Err(Refusal::new(match tier {
                Some(Tier::Intra) => "no collective runs within a host",
                Some(Tier::Inter) => "no collective runs between hosts (the recording knows of one host only)",
                None => "the recording has no collectives",
            }));
        }
        let mut assumptions =
            vec!["A collective takes α + bytes ÷ bandwidth; only the second part changes.".to_owned()];
        if prior > 0 {
            assumptions.push(format!(
                "α of {prior} of {} transfers is not in the recording: NCCL's constants, from none to twice of them.",
                prior + fitted
            ));
        }
        Ok(Effect { touched, assumptions, ..Effect::default() })
    }
}
