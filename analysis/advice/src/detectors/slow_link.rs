//! D18: a communicator, or some of its collectives, moves data slower than its like.

use std::collections::BTreeMap;

use gapless_analysis::costs;
use gapless_analysis::graph::{NodeId, NodeKind};

use super::share::{counted, longest_first, median, path_share, share};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::collective_cost::tier_of;
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::{bytes as size, ms, percent};

/// Links below their peers, and links that are slow at times.
#[derive(Debug)]
pub(super) struct SlowLink;

const REFERENCES: [&str; 2] = [
    "https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md",
    "https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html",
];

impl Detector for SlowLink {
    fn id(&self) -> &'static str {
        "slow-link"
    }

    fn title(&self) -> &'static str {
        "Some links move data slower than their peers"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold {
                name: "of-peers",
                default: 0.6,
                help: "bus bandwidth below this share of that of collectives alike is slow",
            },
            Threshold { name: "least-bytes", default: 1_048_576.0, help: "smaller messages are bound by latency" },
            Threshold { name: "share", default: 0.01, help: "share of the step that the slow transfers must take" },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        if study.collectives().is_empty() {
            return Verdict::nothing();
        }
        if !study.timings().iter().any(|timing| !timing.is_estimated) {
            return Verdict::Abstains(
                "One rank was recorded: its collectives wait and move data in one kernel, so their bandwidth is unknown."
                    .to_owned(),
            );
        }
        let mut found = self.communicators(scene);
        found.extend(self.at_times(scene));
        Verdict::Findings(found)
    }
}

impl SlowLink {
    /// Communicators that are slower than others of their size with the same collective.
    fn communicators(&self, scene: &Scene<'_, '_>) -> Vec<Finding> {
        let study = scene.study();
        let (of_peers, least) = (threshold(scene, self, "of-peers"), threshold(scene, self, "least-bytes"));
        let tier: BTreeMap<u32, _> =
            study.collectives().iter().map(|instance| (instance.communicator, tier_of(study, instance))).collect();
        let rows = costs(study.collectives(), study.timings());
        // Alike are: what it does, how many ranks, which links, and the magnitude of its bytes.
        let mut alike: BTreeMap<_, Vec<(usize, f64)>> = BTreeMap::new();
        for (place, row) in rows.iter().enumerate().filter(|(_, row)| !row.is_estimated && row.ranks.is_some()) {
            for cost in &row.sizes {
                let (Some(count), Some(speed)) = (cost.bytes, cost.bus_gb_per_s) else { continue };
                if count as f64 >= least && cost.transfer.count >= 3 {
                    let is_inter = tier.get(&row.communicator) == Some(&crate::collective_cost::Tier::Inter);
                    let key = (row.kind, row.ranks, is_inter, count.ilog2());
                    alike.entry(key).or_default().push((place, speed));
                }
            }
        }
        let mut slow: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for entries in alike.values() {
            for &(place, speed) in entries {
                let mut peers: Vec<f64> =
                    entries.iter().filter(|(other, _)| *other != place).map(|&(_, speed)| speed).collect();
                if let Some(peer) = median(&mut peers).filter(|&peer| speed < of_peers * peer) {
                    slow.entry(place).or_default().push(peer / speed);
                }
            }
        }
        let mut found = Vec::new();
        for (place, mut ratios) in slow {
            let (Some(row), Some(ratio)) = (rows.get(place), median(&mut ratios)) else { continue };
            let nodes: Vec<NodeId> = study
                .nodes_of(NodeKind::Transfer)
                .filter(|&id| {
                    let instance = study.facts().instance(id).and_then(|place| study.collectives().get(place));
                    instance.is_some_and(|of| of.communicator == row.communicator && of.kind == row.kind)
                })
                .collect();
            if path_share(scene, &nodes) < threshold(scene, self, "share") {
                continue;
            }
            let name = row.kind.label();
            found.push(Finding {
                title: format!("{name} in group {} runs at {} of its peers' bandwidth", row.group, percent(1.0 / ratio)),
                paragraph: format!(
                    "Once all ranks have arrived, {name} in group {} moves data at {} of the bandwidth that other groups \
                     of {} ranks reach with messages of the same size. Waiting for late ranks is not counted. All members \
                     of the group are held up by its slowest link, for {} of each step on the critical path.",
                    row.group,
                    percent(1.0 / ratio),
                    row.ranks.unwrap_or_default(),
                    percent(path_share(scene, &nodes)),
                ),
                fix: "Look at the links of this group: a NIC or NVLink that is down or runs below its rate, a GPU that \
                      reaches its NIC through another socket, a rail that is shared. Run nccl-tests on these ranks alone."
                    .to_owned(),
                code: "NCCL_DEBUG=INFO NCCL_DEBUG_SUBSYS=INIT,NET,GRAPH ...  # which links does the group use?\n\
                       nvidia-smi topo -m; nvidia-smi nvlink --status; ibstat"
                    .to_owned(),
                references: REFERENCES.map(str::to_owned).to_vec(),
                confidence: Some(Confidence::High),
                guards: vec![Guard { holds: true, text: "Waits for late ranks are left out of the transfer.".to_owned() }],
                edits: vec![format!("link(group={},comm={})={:.3}x", row.group, name, ratio)],
                evidence: scene.events_of(&longest_first(scene, &nodes)),
                nodes,
                ..Finding::default()
            });
        }
        found
    }

    /// Collectives of one size and group, some of which are much slower than the others.
    fn at_times(&self, scene: &Scene<'_, '_>) -> Vec<Finding> {
        let study = scene.study();
        let (of_peers, least) = (threshold(scene, self, "of-peers"), threshold(scene, self, "least-bytes"));
        let mut alike: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (place, (instance, timing)) in study.collectives().iter().zip(study.timings()).enumerate() {
            // The first of a recording may set the communicator up.
            if !timing.is_estimated && !instance.edge && instance.bytes.is_some_and(|count| count as f64 >= least) {
                alike.entry((instance.communicator, instance.kind, instance.bytes)).or_default().push(place);
            }
        }
        let transfer = |place: usize| study.timings().get(place).map_or(0.0, |timing| timing.transfer_ns as f64);
        let mut found = Vec::new();
        for ((_, kind, count), places) in alike.into_iter().filter(|(_, places)| places.len() >= 8) {
            let Some(middle) = median(&mut places.iter().map(|&place| transfer(place)).collect::<Vec<_>>()) else {
                continue;
            };
            let slow: Vec<usize> =
                places.iter().copied().filter(|&place| transfer(place) > middle / of_peers).collect();
            let excess: f64 = slow.iter().map(|&place| transfer(place) - middle).sum();
            let Some(instance) = slow.first().and_then(|&place| study.collectives().get(place)) else { continue };
            let of_step = share(scene, excess / study.step_count() as f64);
            if slow.len() < 3 || slow.len() * 2 > places.len() || of_step < threshold(scene, self, "share") {
                continue;
            }
            let nodes: Vec<NodeId> = study
                .nodes_of(NodeKind::Transfer)
                .filter(|&id| study.facts().instance(id).is_some_and(|place| slow.contains(&place)))
                .collect();
            let name = kind.label();
            found.push(Finding {
                title: format!("{} of {} are slower than the others", counted(slow.len(), name), places.len()),
                paragraph: format!(
                    "{} of {} {name} calls of {} in group {} take longer than {}, while the median is {}; late ranks are \
                     not counted. Ranks, size and links are the same each time, so something else uses the link at these \
                     times, or it drops to a lower rate.",
                    slow.len(),
                    places.len(),
                    size(count.unwrap_or_default() as f64),
                    instance.group,
                    ms(middle / of_peers),
                    ms(middle),
                ),
                fix: "Look for what shares the link: other jobs, storage and checkpoints on the same NIC, congestion in the \
                      network, collectives of other groups at the same time."
                    .to_owned(),
                code: "NCCL_IB_QPS_PER_CONNECTION=4 NCCL_IB_TC=106 ...  # a traffic class of its own; adaptive routing"
                    .to_owned(),
                references: REFERENCES.map(str::to_owned).to_vec(),
                confidence: Some(Confidence::Medium),
                guards: vec![Guard { holds: true, text: "Waits for late ranks are left out of the transfer.".to_owned() }],
                edits: vec![format!("steady-link(group={},comm={name})", instance.group)],
                evidence: scene.events_of(&longest_first(scene, &nodes)),
                nodes,
                ..Finding::default()
            });
        }
        found
    }
}
