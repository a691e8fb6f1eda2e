//! Which kernels communicate, by name: NCCL and RCCL of all generations, DeepEP, NVSHMEM, MSCCL and
//! MSCCL++, and the custom all-reduce kernels of vLLM, SGLang and TensorRT-LLM.
//!
//! Kineto's collective arguments decide before any name does; names are for kernels without them.
//!
//! PyTorch's symmetric-memory kernels (`multimem_all_reduce_kernel`) are not in the list: the interval reference that
//! the tests hold us to counts them as compute. A pattern file adds them (`docs/opening-traces.md`).

use std::sync::LazyLock;

use regex::RegexSet;

use crate::EventKind;

/// Kernel names of collectives, as case-insensitive regular expressions, with what they belong to.
const COLLECTIVES: &[(&str, &str)] = &[
    ("NCCL", r"^nccl(Dev)?Kernel|^nccl"),
    ("RCCL", r"^rccl"),
    ("MSCCL", r"^msccl"),
    ("MSCCL++", r"mscclpp"),
    ("NVSHMEM", r"nvshmem"),
    ("DeepEP", r"(^|::|[ _])(internode|intranode|internode_ll)::|notify_dispatch|(^|::|[ _])deep_?ep::"),
    ("vLLM, SGLang custom all-reduce", r"cross_device_reduce|quick_?reduce|custom_?all_?reduce"),
    (
        "TensorRT-LLM custom all-reduce",
        r"all_?reduce_.stage|one_?shot_?all_?reduce|two_?shot_?all_?reduce|oneShotAllReduce|twoShotAllReduce|lamport.*all_?reduce|all_?reduce_fusion_kernel",
    ),
];

/// Names among those that move data between two peers.
const POINT_TO_POINT: &str = r"^nccl(Dev)?Kernel_?SendRecv|^nccl.*SendRecv|^rccl.*SendRecv";

/// A pattern that is not a regular expression.
#[derive(Debug, thiserror::Error)]
#[error("communication pattern {pattern:?} is not a regular expression: {reason}")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What the regular-expression parser says.
    pub reason: String,
}

/// Names of communication kernels.
#[derive(Clone, Debug)]
pub struct CommunicationPatterns {
    set: RegexSet,
    point_to_point: RegexSet,
}

impl CommunicationPatterns {
    /// The built-in patterns and `more`, case-insensitive regular expressions on the kernel's name.
    ///
    /// # Errors
    /// When one of `more` is not a regular expression.
    pub fn with(more: &[String]) -> Result<Self, PatternError> {
        for pattern in more {
            Self::compile(&[pattern])?;
        }
        let all: Vec<&str> = COLLECTIVES.iter().map(|entry| entry.1).chain(more.iter().map(String::as_str)).collect();
        Ok(Self { set: Self::compile(&all)?, point_to_point: Self::compile(&[POINT_TO_POINT])? })
    }

    fn compile(patterns: &[&str]) -> Result<RegexSet, PatternError> {
        regex::RegexSetBuilder::new(patterns).case_insensitive(true).build().map_err(|error| PatternError {
            pattern: patterns.last().copied().unwrap_or_default().to_owned(),
            reason: error.to_string(),
        })
    }

    /// The kind of a communication kernel of this name; `None` if the name is not one's.
    #[must_use]
    pub fn classify(&self, name: &str) -> Option<EventKind> {
        if self.point_to_point.is_match(name) {
            Some(EventKind::PointToPoint)
        } else {
            self.set.is_match(name).then_some(EventKind::Collective)
        }
    }
}

/// The built-in patterns; compiled once.
static BUILT_IN: LazyLock<CommunicationPatterns> = LazyLock::new(|| {
    let empty = || RegexSet::empty();
    CommunicationPatterns::with(&[]).unwrap_or_else(|_| CommunicationPatterns { set: empty(), point_to_point: empty() })
});

impl Default for CommunicationPatterns {
    fn default() -> Self {
        BUILT_IN.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_generations_are_known() {
        let patterns = CommunicationPatterns::default();
        let check = |name: &str, kind: Option<EventKind>| assert_eq!(patterns.classify(name), kind, "{name}");
        check("ncclKernel_AllReduce_RING_LL_Sum_float(ncclWorkElem)", Some(EventKind::Collective));
        check("ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)", Some(EventKind::Collective));
        check("ncclAllReduceRingLLKernel_sum_f32(ncclColl)", Some(EventKind::Collective));
        check("ncclKernel_SendRecv_RING_SIMPLE_Sum_int8_t", Some(EventKind::PointToPoint));
        check("ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)", Some(EventKind::PointToPoint));
        check("ncclDevKernel_Generic(ncclDevComm*, ...)", Some(EventKind::Collective));
        check("void deep_ep::intranode::dispatch<8>(...)", Some(EventKind::Collective));
        check("void vllm::cross_device_reduce_1stage<__nv_bfloat16, 8>(...)", Some(EventKind::Collective));
        check("void tensorrt_llm::kernels::twoShotAllReduceKernel<half>(...)", Some(EventKind::Collective));
        check("void mscclpp::allreduce(...)", Some(EventKind::Collective));
        check("nvshmemi_transfer", Some(EventKind::Collective));
        check("void at::native::reduce_kernel<512, 1>(...)", None);
        check("ampere_sgemm_128x64_nn", None);
        check("void cub::DeviceReduceKernel", None);
        check("void splitKreduce_kernel", None);
    }

    #[test]
    fn a_user_pattern_adds_and_a_wrong_one_is_named() {
        let patterns = CommunicationPatterns::with(&["^my_ring".to_owned()]);
        assert_eq!(patterns.ok().and_then(|p| p.classify("my_ring_step")), Some(EventKind::Collective));
        let wrong = CommunicationPatterns::with(&["ok".to_owned(), "(".to_owned()]);
        assert_eq!(wrong.err().map(|e| e.pattern), Some("(".to_owned()));
    }
}
