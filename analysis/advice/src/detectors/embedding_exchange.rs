//! D32: exchanges of embeddings between ranks.

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_analysis::{CollectiveKind, KernelClass};

use super::share::{longest_first, path_per_step, path_share};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Exchanges of embeddings that nothing hides.
#[derive(Debug)]
pub(super) struct EmbeddingExchange;

impl Detector for EmbeddingExchange {
    fn id(&self) -> &'static str {
        "embedding-exchange"
    }

    fn title(&self) -> &'static str {
        "Exchanges of embeddings hold up the step"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[Threshold {
            name: "share",
            default: 0.05,
            help: "share of the step that all-to-alls move data on the critical path",
        }]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let has_tables = study.nodes_of(NodeKind::Kernel).any(|id| study.facts().class(id) == KernelClass::Embedding);
        let kind = |id: NodeId| {
            study.facts().instance(id).and_then(|place| study.collectives().get(place)).map(|instance| instance.kind)
        };
        let transfers: Vec<NodeId> =
            study.nodes_of(NodeKind::Transfer).filter(|&id| kind(id) == Some(CollectiveKind::AllToAll)).collect();
        if !has_tables || transfers.is_empty() {
            return Verdict::nothing();
        }
        // Waiting for late ranks goes to those ranks on the critical path; the estimate of one rank is kept apart too.
        let of_step = path_share(scene, &transfers);
        if of_step < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        let steps = study.graph().steps().len();
        Verdict::one(Finding {
            title: format!("Exchanges of embeddings take {} of each step", percent(of_step)),
            paragraph: format!(
                "{} all-to-alls in each step exchange indices and pooled rows of embedding tables between ranks, and for {} \
                 of the step ({}) everything waits for the data to move. Waiting for late ranks is not counted.",
                transfers.len() / study.step_count() / study.trace().ranks().len().max(1),
                ms(path_per_step(scene, &transfers)),
                percent(of_step),
            ),
            fix: "Exchange the next batch's indices while this one computes, send less (FP16, BF16 or INT8 between ranks), \
                  and let the planner place tables so that less crosses hosts."
                .to_owned(),
            code: "pipeline = TrainPipelineSparseDist(model, optimizer, device)\npipeline.progress(dataloader_iter)\n\
                   qcomms = get_qcomm_codecs_registry(QCommsConfig(CommType.FP16, CommType.BF16))"
                .to_owned(),
            references: vec![
                "https://pytorch.org/torchrec/".to_owned(),
                "https://arxiv.org/abs/2310.02784".to_owned(),
            ],
            confidence: Some(Confidence::Medium),
            guards: vec![Guard { holds: steps >= 3, text: "A pipeline over steps needs three of them in the recording.".to_owned() }],
            edits: if steps >= 3 { vec!["pipeline-embeddings".to_owned()] } else { vec!["scale(comm=all-to-all)=0.5x".to_owned()] },
            evidence: scene.events_of(&longest_first(scene, &transfers)),
            nodes: transfers,
            ..Finding::default()
        })
    }
}
