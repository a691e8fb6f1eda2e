//! D34: things that no step should do.

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_trace::EventId;
use regex::Regex;

use super::share::{counted, longest_first, path_share, share};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::edits::launches::waiting_launches;
use crate::edits::skip::outermost;
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Debugging aids, compilation, checkpoints and old interfaces within steps.
#[derive(Debug)]
pub(super) struct Antipatterns;

/// An anti-pattern that names give away.
struct Named {
    title: &'static str,
    /// Names of events that show it.
    pattern: &'static str,
    why: &'static str,
    fix: &'static str,
    code: &'static str,
    reference: &'static str,
    /// The first step may do it: it is the warm-up.
    may_warm_up: bool,
    /// Whether leaving it out simulates the fix; else another interface does the same work in another way.
    can_skip: bool,
}

const NAMED: [Named; 6] = [
    Named {
        title: "Checkpoints are saved within steps",
        pattern: r"torch/serialization\.py\(\d+\): save$|^torch\.save$|^save_checkpoint$|: save_checkpoint$|torch/distributed/checkpoint/.*: (save|_save)|\): save_pretrained$|_save_checkpoint$",
        why: "The training thread copies the model to the host and writes it while the device waits.",
        fix: "Save asynchronously: copy to pinned memory, and write from a thread or process of its own.",
        code: "torch.distributed.checkpoint.async_save(state, checkpoint_id=path)",
        reference: "https://pytorch.org/docs/stable/distributed.checkpoint.html#torch.distributed.checkpoint.state_dict_saver.async_save",
        may_warm_up: false,
        can_skip: true,
    },
    Named {
        title: "Code is compiled within steps",
        pattern: r"^_compile\.compile_inner|compile_fx_inner|torch/_inductor/compile_fx\.py\(\d+\): compile_fx$|torch/_dynamo/convert_frame\.py\(\d+\): _compile$|triton/compiler/compiler\.py\(\d+\): compile$|triton/runtime/autotuner\.py\(\d+\): _bench|CachingAutotuner\.benchmark_all_configs|torch/utils/cpp_extension\.py\(\d+\): load",
        why: "A graph break, a new shape or an autotuner makes the compiler run again in a step that should be steady.",
        fix: "Warm up with all shapes, mark dimensions that change as dynamic, and keep the compiler's cache on disk.",
        code: "torch._dynamo.mark_dynamic(x, 0)\nTORCH_LOGS=recompiles python train.py   # says why",
        reference: "https://pytorch.org/docs/stable/torch.compiler_troubleshooting.html",
        may_warm_up: true,
        can_skip: true,
    },
    Named {
        title: "GPU code is loaded within steps",
        pattern: r"^(cuModuleLoad|cuModuleLoadData(Ex)?|cuLibraryLoad(Data|FromFile)|cudaModuleLoad\w*|hipModuleLoad\w*|cuLinkComplete|nvrtcCompileProgram|hiprtcCompileProgram)$",
        why: "Kernels are loaded when they are first used, and loading waits for the device.",
        fix: "Run every path once before measuring or serving, or load all at the start.",
        code: "CUDA_MODULE_LOADING=EAGER python train.py",
        reference: "https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#lazy-loading",
        may_warm_up: true,
        can_skip: true,
    },
    Named {
        title: "Anomaly detection is on",
        pattern: r"torch/autograd/anomaly_mode\.py|^detect_anomaly$|torch/fx/traceback.*anomaly",
        why: "Every function of the backward pass is checked for NaN, and the host waits for each answer.",
        fix: "Turn it off outside debugging.",
        code: "torch.autograd.set_detect_anomaly(False)",
        reference: "https://pytorch.org/tutorials/recipes/recipes/tuning_guide.html#disable-debugging-apis",
        may_warm_up: false,
        can_skip: false,
    },
    Named {
        title: "One process drives several GPUs with threads (DataParallel)",
        pattern: r"^DataParallel\.forward$|torch/nn/parallel/data_parallel\.py\(\d+\): forward|torch/nn/parallel/parallel_apply\.py",
        why: "One interpreter launches for all devices, and each step copies the model out and the results back.",
        fix: "Use DistributedDataParallel with one process for each GPU.",
        code: "torchrun --nproc-per-node=8 train.py   # model = DistributedDataParallel(model, device_ids=[local_rank])",
        reference: "https://pytorch.org/docs/stable/notes/cuda.html#use-nn-parallel-distributeddataparallel-instead-of-multiprocessing-or-nn-dataparallel",
        may_warm_up: false,
        can_skip: false,
    },
    Named {
        title: "Tensors of the GPU are exchanged by gloo",
        pattern: r"^gloo:(all_?reduce|all_?gather|all_?to_?all|reduce_?scatter|broadcast|reduce)",
        why: "gloo runs on the processor: data go to the host, over its network, and back.",
        fix: "Use NCCL (RCCL on AMD) for tensors on the device; keep gloo for control messages.",
        code: "torch.distributed.init_process_group(\"cpu:gloo,cuda:nccl\")",
        reference: "https://pytorch.org/docs/stable/distributed.html#which-backend-to-use",
        may_warm_up: false,
        can_skip: true,
    },
];

impl Detector for Antipatterns {
    fn id(&self) -> &'static str {
        "antipatterns"
    }

    fn title(&self) -> &'static str {
        "Steps do what no step should"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "share", default: 0.01, help: "share of the step that it takes on a thread" },
            Threshold { name: "waiting", default: 0.9, help: "share of launches that last as long as their work" },
            Threshold { name: "checks", default: 0.5, help: "checks for NaN for each function of the backward pass" },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let mut found: Vec<Finding> = NAMED.iter().filter_map(|named| self.named(scene, named)).collect();
        found.extend(self.blocking_launches(scene));
        if !found.iter().any(|finding| finding.title.starts_with("Anomaly")) {
            found.extend(self.nan_checks(scene));
        }
        Verdict::Findings(found)
    }
}

impl Antipatterns {
    fn named(&self, scene: &Scene<'_, '_>, named: &Named) -> Option<Finding> {
        let study = scene.study();
        let steps = study.graph().steps();
        let pattern = Regex::new(named.pattern).ok()?;
        let is_gloo = named.pattern.contains("gloo");
        // Only with device work there is something that would rather be on the device.
        study.nodes_of(NodeKind::Kernel).next()?;
        let step_of = |event: EventId| {
            let start = study.host_span(event).start.nanos();
            steps.iter().position(|step| (step.mark_start_ns..step.mark_end_ns).contains(&start))
        };
        // What begins at the latest in the step that warms up, or outside of all steps, does not count.
        let counts = |event: EventId| match step_of(event) {
            Some(step) => !(named.may_warm_up && step == 0 && steps.len() >= 2),
            None => steps.is_empty() && !named.may_warm_up,
        };
        let events: Vec<EventId> =
            outermost(study, |name| pattern.is_match(name)).into_iter().filter(|&event| counts(event)).collect();
        let nccl = study.collectives().iter().any(|instance| instance.on_device);
        if events.is_empty() || (is_gloo && nccl) {
            return None;
        }
        let ranks = study.trace().ranks().len().max(1) as f64;
        let time: i64 = events.iter().map(|&event| study.trace().event(event).dur.nanos()).sum();
        let per_step = time as f64 / study.step_count() as f64 / ranks;
        let of_step = share(scene, per_step);
        if of_step < threshold(scene, self, "share") && named.can_skip {
            return None;
        }
        let nodes: Vec<NodeId> = events
            .iter()
            .filter_map(|&event| Some((study.trace().track_of(event)?.0, event)))
            .flat_map(|(track, event)| study.host_nodes_in(track, study.host_span(event)).map(|(id, _)| id))
            .collect();
        let example: String = study.trace().name(*events.first()?).chars().take(80).collect();
        Some(Finding {
            title: named.title.to_owned(),
            paragraph: format!(
                "{} ({example}) run within steps and take {} of a thread in each ({}). {}",
                counted(events.len(), "call"),
                ms(per_step),
                percent(of_step),
                named.why,
            ),
            fix: named.fix.to_owned(),
            code: named.code.to_owned(),
            references: vec![named.reference.to_owned()],
            confidence: Some(Confidence::High),
            guards: vec![Guard {
                holds: true,
                text: if named.may_warm_up {
                    "The first step, which warms up, is left out.".to_owned()
                } else {
                    "They run within steps.".to_owned()
                },
            }],
            edits: if named.can_skip { vec![format!("skip(in={})", named.pattern)] } else { Vec::new() },
            evidence: events.into_iter().take(super::EVIDENCE).collect(),
            nodes,
            ..Finding::default()
        })
    }

    /// `CUDA_LAUNCH_BLOCKING=1`: every launch lasts until its kernel has ended.
    fn blocking_launches(&self, scene: &Scene<'_, '_>) -> Option<Finding> {
        let study = scene.study();
        let nodes = waiting_launches(study);
        let all = study.nodes_of(NodeKind::Launch).count();
        if all < 100 || (nodes.len() as f64) < threshold(scene, self, "waiting") * all as f64 {
            return None;
        }
        Some(Finding {
            title: "Every launch waits for its kernel".to_owned(),
            paragraph: format!(
                "{} of {} launches last until their kernel has ended, so the host never runs ahead of the device: launches \
                 take {} of the critical path. CUDA_LAUNCH_BLOCKING=1 (HIP_LAUNCH_BLOCKING, AMD_SERIALIZE_KERNEL) does that.",
                nodes.len(),
                all,
                percent(path_share(scene, &nodes)),
            ),
            fix: "Unset the variable outside debugging.".to_owned(),
            code: "unset CUDA_LAUNCH_BLOCKING HIP_LAUNCH_BLOCKING AMD_SERIALIZE_KERNEL".to_owned(),
            references: vec![
                "https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#cuda-environment-variables"
                    .to_owned(),
            ],
            confidence: Some(Confidence::High),
            guards: vec![Guard { holds: true, text: "Nearly all launches do, not only some.".to_owned() }],
            edits: vec!["async-launches".to_owned()],
            evidence: scene.events_of(&longest_first(scene, &nodes)),
            nodes,
            ..Finding::default()
        })
    }

    /// A check for NaN after every function of the backward pass.
    fn nan_checks(&self, scene: &Scene<'_, '_>) -> Option<Finding> {
        let study = scene.study();
        let trace = study.trace();
        let functions = outermost(study, |name| name.starts_with("autograd::engine::evaluate_function")).len();
        let checks: Vec<EventId> = outermost(study, |name| name == "aten::isnan")
            .into_iter()
            .filter(|&event| study.around(event).any(|name| name.starts_with("autograd::engine::evaluate_function")))
            .collect();
        if functions < 10 || (checks.len() as f64) < threshold(scene, self, "checks") * functions as f64 {
            return None;
        }
        let nodes: Vec<NodeId> = checks
            .iter()
            .filter_map(|&event| Some((trace.track_of(event)?.0, event)))
            .flat_map(|(track, event)| study.host_nodes_in(track, study.host_span(event)).map(|(id, _)| id))
            .collect();
        Some(Finding {
            title: "Anomaly detection is on".to_owned(),
            paragraph: format!(
                "{} functions of the backward pass are followed by {} checks for NaN (aten::isnan), and the host waits for \
                 each answer: this is what torch.autograd.set_detect_anomaly(True) does.",
                functions,
                checks.len(),
            ),
            fix: "Turn it off outside debugging.".to_owned(),
            code: "torch.autograd.set_detect_anomaly(False)".to_owned(),
            references: vec![
                "https://pytorch.org/tutorials/recipes/recipes/tuning_guide.html#disable-debugging-apis".to_owned(),
            ],
            confidence: Some(Confidence::Medium),
            guards: vec![Guard {
                holds: true,
                text: "The checks lie within functions of the backward pass.".to_owned(),
            }],
            edits: vec!["skip(in=^aten::(isnan|any|item|is_nonzero)$)".to_owned()],
            evidence: checks.into_iter().take(super::EVIDENCE).collect(),
            nodes,
            ..Finding::default()
        })
    }
}
