//! D2: batches are copied from pageable memory while the device waits.

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_analysis::interval::{Interval, IntervalSet};

use super::common::{each, longest_first, per_step, share};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::{bytes, ms, percent};

/// Copies from pageable memory that no kernel hides.
#[derive(Debug)]
pub(super) struct PageableCopy;

const CODE: &str = "DataLoader(..., pin_memory=True)\nbatch = batch.to(device, non_blocking=True)";

impl Detector for PageableCopy {
    fn id(&self) -> &'static str {
        "pageable-copy"
    }

    fn title(&self) -> &'static str {
        "The device waits for copies from pageable memory"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "bytes", default: 65_536.0, help: "bytes from which on a copy counts" },
            Threshold {
                name: "share",
                default: 0.005,
                help: "share of the step in which such copies run and no kernel does",
            },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let each = each(scene);
        let graph = study.graph();
        let least = threshold(scene, self, "bytes");
        let size = |id: NodeId| graph.node(id).event.and_then(|event| study.trace().copy_bytes(event));
        // Without bytes only the time can tell: 10 µs are about 64 KiB at 6 GB/s.
        let copies: Vec<NodeId> = study
            .nodes_of(NodeKind::Copy)
            .filter(|&id| study.name(id).contains("HtoD") && study.name(id).contains("Pageable"))
            .filter(|&id| size(id).map_or(graph.node(id).dur_ns >= 10_000, |bytes| bytes as f64 >= least))
            .collect();
        if copies.is_empty() {
            return Verdict::nothing();
        }
        let exposed: i64 = copies
            .iter()
            .map(|&id| {
                let node = graph.node(id);
                let own = Interval::new(node.start_ns, node.end_ns());
                let compute = node.place.and_then(|place| scene.idle().computing(place.rank));
                compute.map_or(own.length(), |compute| compute.gaps(own).length())
            })
            .sum();
        let ranks = scene.idle().ranks().len().max(1) as i64;
        let exposed = exposed / ranks;
        if share(scene, exposed) < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        let all = IntervalSet::from_unsorted(
            copies.iter().map(|&id| graph.node(id)).map(|node| Interval::new(node.start_ns, node.end_ns())).collect(),
        );
        let moved: u64 = copies.iter().filter_map(|&id| size(id)).sum();
        let speed = moved as f64 / copies.iter().map(|&id| graph.node(id).dur_ns).sum::<i64>().max(1) as f64;
        let known = if moved > 0 {
            format!(" They move {} in all, at {speed:.1} GB/s.", bytes(moved as f64))
        } else {
            String::new()
        };
        Verdict::one(Finding {
            title: format!("Copies from pageable memory hold up {each} for {}", ms(per_step(scene, exposed))),
            paragraph: format!(
                "{} copies to the device come from pageable memory, {} per step, and for {} of {each} ({}) no kernel \
                 runs beside them.{known} From pageable memory the driver copies in pieces through a buffer of its own, and \
                 the call blocks the thread, so nothing can be launched meanwhile.",
                copies.len(),
                ms(per_step(scene, all.length())),
                ms(per_step(scene, exposed)),
                percent(share(scene, exposed)),
            ),
            fix: "Let the data loader pin its batches and copy them without blocking, on a stream of their own, one batch \
                  ahead."
                .to_owned(),
            code: CODE.to_owned(),
            references: vec![
                "https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html".to_owned(),
                "https://docs.pytorch.org/docs/stable/notes/cuda.html#use-pinned-memory-buffers".to_owned(),
            ],
            confidence: Some(Confidence::High),
            guards: vec![Guard {
                holds: true,
                text: format!("Each copy moves at least {}, and no kernel runs meanwhile.", bytes(least)),
            }],
            edits: vec!["async-copy(kernel~HtoD.*Pageable)".to_owned()],
            evidence: scene.events_of(&longest_first(study, copies.clone())),
            nodes: copies,
            ..Finding::default()
        })
    }
}
