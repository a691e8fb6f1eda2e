//! Another GPU, or one with more of something.
//!
//! Another GPU by name scales each kernel by its own FLOPs and bytes where its operator's shapes are known
//! (`gapless-roofline`), and collectives within a host by the bandwidth of the links.

use gapless_analysis::graph::NodeKind;
use gapless_analysis::replay::Draft;
use gapless_roofline::{KernelFacts, class_of_name, scale_kernel};

use super::{Basis, Effect, Guard, Outlook, Parameter, Refusal, Transformation};
use crate::collective_cost::{Tier, nccl_alpha_ns, tier_of};
use crate::spec::{Edit, SpecError};
use crate::study::Study;

/// Scales compute kernels: `gpu.compute=2x`, `gpu.memory=2x`, `gpu=2x` (both), `gpu=B200`, `gpu(from=A100)=H100`.
#[derive(Debug)]
pub(super) struct Gpu;

/// What a kernel takes however little it does, in ns (design, §3(d)9).
pub(crate) const FLOOR_NS: f64 = 2_000.0;

impl Transformation for Gpu {
    fn id(&self) -> &'static str {
        "gpu"
    }

    fn title(&self) -> &'static str {
        "A GPU with another compute rate or memory bandwidth"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["compute", "memory"]
    }

    fn value(&self) -> Option<&'static str> {
        Some("rate as a factor: 2x is twice as fast; or the name of a GPU: B200")
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter { name: "from", help: "the recorded GPU, where the recording does not say it" }]
    }

    fn check(&self, edit: &Edit) -> Result<(), SpecError> {
        match (edit.part(), edit.value()) {
            // Names are looked up in the table of the study.
            (None, Some(name)) if name.starts_with(|letter: char| letter.is_ascii_alphabetic()) => Ok(()),
            _ => edit.factor().map(|_| ()),
        }
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
        if edit.factor().is_err()
            && let Some(name) = edit.value()
        {
            return other_device(edit, name, study, draft, outlook);
        }
        let by = edit.factor().ok().filter(|&by| by > 0.0).ok_or_else(|| Refusal::new("a rate of zero never ends"))?;
        let (compute, memory) = match edit.part() {
            Some("compute") => (by, 1.0),
            Some("memory") => (1.0, by),
            _ => (by, by),
        };
        let mut touched = Vec::new();
        for id in study.nodes_of(NodeKind::Kernel) {
            if !edit.selector().is_empty() && !edit.selector().fits(study, id) {
                continue;
            }
            let rate = rate_of(study.facts().class(id).is_arithmetic(), compute, memory, outlook);
            let dur = draft.duration_ns(id) as f64;
            let floor = FLOOR_NS.min(dur);
            draft.set_duration(id, (floor + (dur - floor) / rate).round() as i64);
            touched.push(id);
        }
        if touched.is_empty() {
            return Err(super::scale::nothing(edit));
        }
        let assumptions = vec![
            "Matrix products, attention and convolutions follow the compute rate, other kernels the memory bandwidth; the \
             range covers kernels that follow the other of the two."
                .to_owned(),
            format!("Each kernel has {} µs that do not scale.", FLOOR_NS / 1e3),
        ];
        Ok(Effect { touched, assumptions, ..Effect::default() })
    }
}

/// Every kernel on another device.
fn other_device(
    edit: &Edit,
    name: &str,
    study: &Study<'_>,
    draft: &mut Draft<'_>,
    outlook: Outlook,
) -> Result<Effect, Refusal> {
    let table = study.hardware();
    let find = |name: &str| {
        table.find(name).ok_or_else(|| {
            let known: Vec<&str> = table.gpus().iter().map(|gpu| gpu.name.as_str()).collect();
            Refusal::new(format!("the hardware table has no {name}; it has {}", known.join(", ")))
        })
    };
    let to = find(name)?;
    let told = edit.word("from").map(find).transpose()?;
    let mut touched = Vec::new();
    let (mut by_shape, mut by_class, mut left) = (0_usize, 0_usize, 0_usize);
    let mut sources: Vec<String> = Vec::new();
    let mut calibrated = false;
    for (rank, info) in study.trace().rank_ids() {
        let matched = info.devices.first().and_then(|device| table.of_device(device));
        let Some(from) = told.or_else(|| matched.as_ref().map(|found| &found.gpu)) else {
            return Err(Refusal::new(format!(
                "the recording does not say what GPU {} ran on; write gpu(from=A100)={name}",
                info.label()
            )));
        };
        if !sources.contains(&from.name) {
            sources.push(from.name.clone());
        }
        let calibration = table.calibration(from, to);
        calibrated |= calibration.is_some();
        let links = from.link_bytes_per_s().zip(to.link_bytes_per_s()).map(|(from, to)| to / from);
        let roofline = study.roofline(rank);
        for id in study.graph().node_ids() {
            let node = study.graph().node(id);
            if node.place.is_none_or(|place| place.rank != rank) {
                continue;
            }
            if !edit.selector().is_empty() && !edit.selector().fits(study, id) {
                continue;
            }
            let Some(event) = node.event else { continue };
            match node.kind {
                NodeKind::Kernel => {
                    let facts = roofline.and_then(|roofline| roofline.kernel_facts(study.trace(), event));
                    let dur_ns = draft.duration_ns(id) as f64;
                    let facts = facts.map_or_else(
                        || KernelFacts {
                            dur_ns,
                            class: class_of_name(study.name(id)),
                            cost: None,
                            tf32: false,
                            blocks: None,
                        },
                        |facts| KernelFacts { dur_ns, ..facts },
                    );
                    match scale_kernel(&facts, from, to, calibration) {
                        Ok(band) => {
                            let dur = outlook.pick(band.low, band.mid, band.high);
                            draft.set_duration(id, dur.round() as i64);
                            touched.push(id);
                            if facts.cost.is_some() {
                                by_shape += 1;
                            } else {
                                by_class += 1;
                            }
                        }
                        Err(_) => left += 1,
                    }
                }
                NodeKind::Transfer => {
                    let instance = study.facts().instance(id).and_then(|place| study.collectives().get(place));
                    let within = instance.is_some_and(|instance| tier_of(study, instance) == Tier::Intra);
                    if let Some(ratio) = links.filter(|_| within) {
                        let tau = draft.duration_ns(id) as f64;
                        let alpha = instance.map_or(0.0, |instance| nccl_alpha_ns(study, instance)).min(tau);
                        draft.set_duration(id, (alpha + (tau - alpha) / ratio).round() as i64);
                        touched.push(id);
                    }
                }
                _ => {}
            }
        }
    }
    if touched.is_empty() {
        return Err(super::scale::nothing(edit));
    }
    let unsure: Vec<String> = to.doubtful().into_iter().map(|(what, _)| what).collect();
    let mut guards = vec![Guard {
        holds: left == 0,
        text: format!(
            "{by_shape} kernels are scaled by their FLOPs and bytes, {by_class} by their class alone, {left} stay as they are."
        ),
    }];
    if !unsure.is_empty() {
        guards.push(Guard {
            holds: false,
            text: format!("Of {} these values are not verified: {}.", to.name, unsure.join(", ")),
        });
    }
    Ok(Effect {
        touched,
        guards,
        assumptions: vec![
            format!(
                "From {} to {}: the host, copies and networks between hosts stay as they are.",
                sources.join(", "),
                to.name
            ),
            if calibrated {
                "Classes of kernels are scaled by what other models showed on both devices.".to_owned()
            } else {
                "No model was measured on both devices: the range is the one of uncalibrated pairs.".to_owned()
            },
        ],
        ..Effect::default()
    })
}

/// By how much a kernel speeds up.
///
/// The best is the larger of the two ratios, the worst the smaller; half way (in the logarithm) from what its class says.
fn rate_of(is_arithmetic: bool, compute: f64, memory: f64, outlook: Outlook) -> f64 {
    let expected = if is_arithmetic { compute } else { memory };
    let toward = |other: f64| (expected * other).sqrt();
    match outlook {
        Outlook::Expected => expected,
        Outlook::Best => expected.max(toward(compute.max(memory))),
        Outlook::Worst => expected.min(toward(compute.min(memory))),
    }
}
