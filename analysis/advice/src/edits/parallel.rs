//! Other degrees of parallelism. Model-based: the recording holds one degree only.

use std::collections::BTreeMap;

use gapless_analysis::CollectiveKind;
use gapless_analysis::graph::NodeKind;
use gapless_analysis::replay::Draft;
use gapless_trace::RankId;

use super::gpu::FLOOR_NS;
use super::{Basis, Effect, Outlook, Parameter, Refusal, Transformation};
use crate::collective_cost::Alpha;
use crate::spec::{Edit, SpecError};
use crate::study::Study;
use gapless_analysis::KernelClass;

/// `parallel.data=2x`, `parallel.tensor=2x`, `parallel.pipeline(stages=4,now=4)=2x`, `parallel.microbatches(stages=4,now=8)=2x`.
#[derive(Debug)]
pub(super) struct Parallel;

impl Transformation for Parallel {
    fn id(&self) -> &'static str {
        "parallel"
    }

    fn title(&self) -> &'static str {
        "Another number of replicas, tensor shards, stages or micro-batches"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["data", "tensor", "pipeline", "microbatches"]
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter { name: "stages", help: "stages of the recorded pipeline" },
            Parameter { name: "now", help: "micro-batches of the recorded step" },
            Parameter { name: "interleave", help: "chunks of layers a stage has (1)" },
        ]
    }

    fn value(&self) -> Option<&'static str> {
        Some("degree as a factor of the recorded one: 2x doubles it")
    }

    fn basis(&self) -> Basis {
        Basis::Model
    }

    fn check(&self, edit: &Edit) -> Result<(), SpecError> {
        if edit.part().is_none() {
            return Err(SpecError::BadValue {
                parameter: "parallel".to_owned(),
                value: edit.text().to_owned(),
                expected: "write parallel.data, parallel.tensor, parallel.pipeline or parallel.microbatches".to_owned(),
            });
        }
        for parameter in self.parameters() {
            edit.number(parameter.name)?;
        }
        edit.factor().map(|_| ())
    }

    fn apply(
        &self,
        edit: &Edit,
        study: &Study<'_>,
        draft: &mut Draft<'_>,
        outlook: Outlook,
    ) -> Result<Effect, Refusal> {
        let by =
            edit.factor().ok().filter(|&by| by > 0.0).ok_or_else(|| Refusal::new("a degree of zero does nothing"))?;
        match edit.part() {
            Some("data") => data(edit, study, draft, by, outlook),
            Some("tensor") => tensor(edit, study, draft, by, outlook),
            part => pipeline(edit, study, draft, by, part == Some("microbatches")),
        }
    }
}

/// More replicas: collectives over more ranks, and a later last one.
///
/// τ′ = α · (hops′ ÷ hops) + (τ − α) · F(n′) ÷ F(n), with F the bus factor of the collective; the wait for the last of n
/// ranks grows as the expectation of the largest of n normal values does.
fn data(edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, by: f64, outlook: Outlook) -> Result<Effect, Refusal> {
    let alpha = Alpha::new(study);
    let mut touched = Vec::new();
    // How much ranks differ: compute time of each by step.
    let mut sums: BTreeMap<Option<usize>, BTreeMap<RankId, f64>> = BTreeMap::new();
    for id in study.nodes_of(NodeKind::Kernel) {
        if let Some(place) = study.graph().node(id).place {
            *sums.entry(study.facts().step(id)).or_default().entry(place.rank).or_default() +=
                study.graph().node(id).dur_ns as f64;
        }
    }
    let deviations: Vec<f64> =
        sums.values().filter(|ranks| ranks.len() > 1).map(|ranks| deviation(ranks.values())).collect();
    let deviation_ns = deviations.iter().sum::<f64>() / deviations.len().max(1) as f64;
    let mut slowest_added = std::collections::BTreeSet::new();
    for id in study.nodes_of(NodeKind::Transfer) {
        if !edit.selector().is_empty() && !edit.selector().fits(study, id) {
            continue;
        }
        let Some(instance) = study.facts().instance(id).and_then(|place| study.collectives().get(place)) else {
            continue;
        };
        let Some(size) = instance.size.filter(|&size| size > 1) else { continue };
        let new = (f64::from(size) * by).round().max(1.0);
        let factor = |ranks: f64| instance.kind.bus_factor(ranks as u32);
        let tau = draft.duration_ns(id) as f64;
        let alpha_ns = alpha.fitted_ns(instance).unwrap_or(20_000.0).min(tau);
        let hops = if instance.kind == CollectiveKind::Broadcast { 1.0 } else { (new - 1.0) / f64::from(size - 1) };
        let latency = alpha_ns
            * outlook.pick(1.0_f64.max(new.log2() / f64::from(size).log2().max(1.0)).min(hops.max(0.0)), hops, hops);
        let transfer = (tau - alpha_ns) * factor(new) / factor(f64::from(size)).max(f64::MIN_POSITIVE);
        let growth = expected_largest(new) - expected_largest(f64::from(size));
        let step = study.facts().step(id);
        let wait = if slowest_added.insert((step, study.rank(id))) { (deviation_ns * growth).max(0.0) } else { 0.0 };
        draft.set_duration(id, (latency + transfer + wait).round() as i64);
        touched.push(id);
    }
    if touched.is_empty() {
        return Err(Refusal::new("the recording has no collectives between ranks whose number is known"));
    }
    Ok(Effect {
        touched,
        assumptions: vec![
            "Links per rank stay as fast; collectives scale by their bus factor and hops.".to_owned(),
            format!(
                "Ranks differ by {:.1} µs a step (deviation); the last of more ranks comes later.",
                deviation_ns / 1e3
            ),
        ],
        samples: Some(by),
        ..Effect::default()
    })
}

/// More tensor shards: matrix products and attention shrink, all-reduces carry the same activations.
fn tensor(edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, by: f64, outlook: Outlook) -> Result<Effect, Refusal> {
    let mut touched = Vec::new();
    for id in study.nodes_of(NodeKind::Kernel) {
        if !edit.selector().is_empty() && !edit.selector().fits(study, id) {
            continue;
        }
        let class = study.facts().class(id);
        // Norms and residuals are done by all shards.
        if matches!(class, KernelClass::Norm | KernelClass::Embedding | KernelClass::Other) {
            continue;
        }
        let dur = draft.duration_ns(id) as f64;
        let floor = FLOOR_NS.min(dur);
        // Smaller matrices use the device less well.
        let by = if by > 1.0 { by * outlook.pick(1.0, 0.9, 0.75) } else { by };
        draft.set_duration(id, (floor + (dur - floor) / by.max(f64::MIN_POSITIVE)).round() as i64);
        touched.push(id);
    }
    if touched.is_empty() {
        return Err(Refusal::new("the recording has no kernels"));
    }
    Ok(Effect {
        touched,
        assumptions: vec![
            "Matrix products, attention, elementwise work and the optimizer are split; norms are not; shards of a product \
             are 75 to 100 % as efficient."
                .to_owned(),
            "Collectives of tensor parallelism that the recording has stay; one that has none yet would add them.".to_owned(),
        ],
        ..Effect::default()
    })
}

/// Other stages or micro-batches: time of a step ∝ (m + (p − 1) ÷ v) ÷ (m · p) for a fixed batch.
fn pipeline(edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, by: f64, micro: bool) -> Result<Effect, Refusal> {
    let need =
        |name: &str| {
            edit.number(name).ok().flatten().filter(|&value| value >= 1.0).ok_or_else(|| {
                Refusal::new(format!("the recording does not say its schedule: give {name}= in brackets"))
            })
        };
    let (p, m, v) = (need("stages")?, need("now")?, edit.number_or("interleave", 1.0).max(1.0));
    let (new_p, new_m) = if micro { (p, (m * by).max(1.0)) } else { ((p * by).max(1.0), m) };
    let time = |p: f64, m: f64| (m + (p - 1.0) / v) / (m * p);
    let ratio = time(new_p, new_m) / time(p, m);
    let mut touched = Vec::new();
    for id in study.graph().node_ids() {
        let kind = study.graph().node(id).kind;
        if kind.is_host_work() || matches!(kind, NodeKind::Kernel | NodeKind::EstimatedWait) {
            draft.scale_duration(id, ratio);
            touched.push(id);
        }
    }
    Ok(Effect {
        touched,
        assumptions: vec![
            format!("Idle share of the pipeline is (p − 1) ÷ (v·m + p − 1): p {p} → {new_p}, m {m} → {new_m}, v {v}."),
            "Stages are balanced and transfers between them hidden.".to_owned(),
        ],
        ..Effect::default()
    })
}

fn deviation<'v>(values: impl Iterator<Item = &'v f64> + Clone) -> f64 {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count.max(1.0);
    (values.map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0)).sqrt()
}

/// Expectation of the largest of n standard normal values: √(2 ln n) with the usual correction, 0 for one.
fn expected_largest(n: f64) -> f64 {
    if n <= 1.0 {
        return 0.0;
    }
    let root = (2.0 * n.ln()).sqrt();
    // Cramér 1946, 28.6; γ is Euler's constant.
    let value = root - ((4.0 * std::f64::consts::PI * n.ln()).ln() - 2.0 * 0.577_215_664_9) / (2.0 * root);
    value.max(0.564 * (n - 1.0).min(1.0))
}
