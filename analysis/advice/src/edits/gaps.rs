//! What the host does while the device stands still is done elsewhere.

use gapless_analysis::graph::NodeKind;
use gapless_analysis::replay::Draft;

use super::{Basis, Effect, Outlook, Parameter, Refusal, Transformation};
use crate::idle::{GapCause, Idle};
use crate::spec::Edit;
use crate::study::Study;

/// Long stretches of the host within gaps of the device take no time: `fill-gaps`, `fill-gaps(longer-us=500)`.
#[derive(Debug)]
pub(super) struct FillGaps;

impl Transformation for FillGaps {
    fn id(&self) -> &'static str {
        "fill-gaps"
    }

    fn title(&self) -> &'static str {
        "Host work that keeps the device waiting for long is done elsewhere"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter { name: "longer-us", help: "length of a gap of the device from which on it counts, in µs (500)" }]
    }

    fn basis(&self) -> Basis {
        Basis::Replay
    }

    fn apply(
        &self,
        edit: &Edit,
        study: &Study<'_>,
        draft: &mut Draft<'_>,
        outlook: Outlook,
    ) -> Result<Effect, Refusal> {
        let least = (edit.number_or("longer-us", 500.0) * 1e3) as i64;
        let mut touched = Vec::new();
        // How much of it can really go is not known: all, or at worst half.
        let goes = outlook.pick(1.0, 1.0, 0.5);
        for gap in Idle::new(study).gaps() {
            let Some((node, ns)) = gap.longest.filter(|_| gap.cause == GapCause::Stretch && gap.duration_ns() >= least)
            else {
                continue;
            };
            let is_wanted = edit.selector().is_empty() || edit.selector().fits_host(study, node);
            if is_wanted && study.graph().node(node).kind == NodeKind::Host {
                let less = (ns as f64 * goes).round() as i64;
                draft.set_duration(node, draft.duration_ns(node).saturating_sub(less));
                touched.push(node);
            }
        }
        if touched.is_empty() {
            return Err(Refusal::new(format!(
                "no gap of the device of {} µs or more is due to one stretch of host work",
                least / 1_000
            )));
        }
        Ok(Effect {
            touched,
            assumptions: vec![
                "Nothing that the device does next needs that work; half of it stays at worst.".to_owned(),
            ],
            ..Effect::default()
        })
    }
}
