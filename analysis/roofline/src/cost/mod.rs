//! FLOPs and bytes of operators from the shapes of their inputs.
//!
//! A multiply-add is two FLOPs. Bytes are what must cross the device's memory at least: every input read once, every
//! output written once; caches can beat it, repeated reads exceed it. One file per family; a family that knows an
//! operator's name but lacks a shape says why, and nothing is guessed.

mod attention;
mod collective;
mod convolution;
mod elementwise;
mod embedding;
mod gemm;
mod moe;
mod movement;
mod norm;
mod optimizer;
mod reduce;
mod serving;
mod softmax;
mod triton;

use gapless_analysis::Convention;
use serde::Serialize;

use crate::{DType, Operator, Unit};

pub use collective::collective_cost;
pub use moe::grouped_gemm;

/// What an operator does, as far as it matters for its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorClass {
    /// Matrix products.
    Gemm,
    /// Matrix products by expert.
    Moe,
    /// Attention in one kernel.
    Attention,
    /// Convolutions.
    Convolution,
    /// Layer, batch, group and RMS normalisation.
    Normalization,
    /// Softmax and losses.
    Softmax,
    /// Element by element.
    Elementwise,
    /// Sums, means, norms, scans.
    Reduction,
    /// Copies, concatenations, gathers, scatters, pads.
    Movement,
    /// Look-ups in tables.
    Embedding,
    /// Steps of optimizers.
    Optimizer,
    /// Kernels that a compiler fused.
    Fused,
    /// Collectives and transfers between devices.
    Communication,
    /// Copies between host and device, and fills.
    Copy,
    /// Anything else.
    Other,
}

impl OperatorClass {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Gemm,
        Self::Moe,
        Self::Attention,
        Self::Convolution,
        Self::Normalization,
        Self::Softmax,
        Self::Elementwise,
        Self::Reduction,
        Self::Movement,
        Self::Embedding,
        Self::Optimizer,
        Self::Fused,
        Self::Communication,
        Self::Copy,
        Self::Other,
    ];

    /// A short name for people and machines.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Gemm => "gemm",
            Self::Moe => "moe",
            Self::Attention => "attention",
            Self::Convolution => "convolution",
            Self::Normalization => "normalization",
            Self::Softmax => "softmax",
            Self::Elementwise => "elementwise",
            Self::Reduction => "reduction",
            Self::Movement => "movement",
            Self::Embedding => "embedding",
            Self::Optimizer => "optimizer",
            Self::Fused => "fused",
            Self::Communication => "communication",
            Self::Copy => "copy",
            Self::Other => "other",
        }
    }

    /// The key of its achievable fraction in the hardware table.
    #[must_use]
    pub const fn achievable_key(self) -> &'static str {
        match self {
            Self::Gemm | Self::Moe => "gemm",
            Self::Attention => "attention",
            Self::Convolution => "convolution",
            Self::Communication => "collective",
            _ => "streaming",
        }
    }

    /// Whether its FLOPs count for the utilisation of a model (matrix products in the widest sense).
    #[must_use]
    pub const fn counts_for_utilisation(self) -> bool {
        matches!(self, Self::Gemm | Self::Moe | Self::Attention | Self::Convolution)
    }
}

/// What an operator must do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OperatorCost {
    /// Floating-point operations, 2 for a multiply-add.
    pub flops: f64,
    /// The same without what is computed a second time to save memory (attention backward).
    pub model_flops: f64,
    /// Bytes that must cross device memory; for communication, bytes that must leave or reach the device.
    pub bytes: f64,
    /// What it does.
    pub class: OperatorClass,
    /// Type that it computes in; `None` where nothing is computed.
    pub dtype: Option<DType>,
    /// Unit that computes.
    pub unit: Unit,
    /// Why the figures are an approximation or a bound; `None` if the shapes determine them.
    pub approximate: Option<&'static str>,
}

/// An operator whose cost cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownCost {
    /// What it does.
    pub class: OperatorClass,
    /// What is missing, as a sentence without a full stop.
    pub reason: String,
}

impl OperatorCost {
    pub(crate) const fn vector(class: OperatorClass, dtype: Option<DType>, flops: f64, bytes: f64) -> Self {
        Self { flops, model_flops: flops, bytes, class, dtype, unit: Unit::Vector, approximate: None }
    }

    pub(crate) const fn matrix(class: OperatorClass, dtype: Option<DType>, flops: f64, bytes: f64) -> Self {
        Self { flops, model_flops: flops, bytes, class, dtype, unit: Unit::Matrix, approximate: None }
    }

    pub(crate) const fn approximate(mut self, why: &'static str) -> Self {
        self.approximate = Some(why);
        self
    }

    /// A part of it.
    #[must_use]
    pub fn times(mut self, factor: f64) -> Self {
        self.flops *= factor;
        self.model_flops *= factor;
        self.bytes *= factor;
        self
    }
}

/// What a family says of an operator: `None` if the name is not its, else a cost or the reason why there is none.
type Answer = Option<Result<OperatorCost, String>>;
type Family = (OperatorClass, fn(&Operator, Convention) -> Answer);

/// In this order; the first that knows the name answers.
const FAMILIES: [Family; 13] = [
    (OperatorClass::Gemm, gemm::cost),
    (OperatorClass::Moe, moe::cost),
    (OperatorClass::Attention, attention::cost),
    (OperatorClass::Convolution, convolution::cost),
    (OperatorClass::Normalization, norm::cost),
    (OperatorClass::Softmax, softmax::cost),
    (OperatorClass::Embedding, embedding::cost),
    (OperatorClass::Optimizer, optimizer::cost),
    (OperatorClass::Movement, movement::cost),
    (OperatorClass::Reduction, reduce::cost),
    (OperatorClass::Fused, triton::cost),
    (OperatorClass::Elementwise, serving::cost),
    (OperatorClass::Elementwise, elementwise::cost),
];

/// What `operator` must do, by the shapes of its inputs.
///
/// `convention` chooses whose rules are followed where ours differ from TraceLens's; each place says why.
///
/// # Errors
/// The class as far as the name tells it, and what is missing.
pub fn cost(operator: &Operator, convention: Convention) -> Result<OperatorCost, UnknownCost> {
    for (class, family) in FAMILIES {
        match family(operator, convention) {
            None => {}
            Some(Ok(cost)) if cost.flops.is_finite() && cost.bytes.is_finite() => return Ok(cost),
            Some(Ok(cost)) => {
                return Err(UnknownCost { class: cost.class, reason: "the shapes are absurd".to_owned() });
            }
            Some(Err(reason)) => return Err(UnknownCost { class, reason }),
        }
    }
    Err(UnknownCost { class: OperatorClass::Other, reason: "no cost model knows this operator".to_owned() })
}

/// Whether kernels of operators inside this one count as its: the parts are an implementation, the whole has the
/// shapes. Of several such operators around a kernel the outermost counts.
#[must_use]
pub fn is_whole(name: &str) -> bool {
    const WHOLE: [&str; 29] = [
        "_cudnn_attention_forward",
        "_efficient_attention_forward",
        "_embedding_bag",
        "_embedding_bag_backward",
        "_embedding_bag_forward_only",
        "_flash_attention_backward",
        "_flash_attention_forward",
        "_scaled_dot_product_cudnn_attention",
        "_scaled_dot_product_cudnn_attention_backward",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_efficient_attention_backward",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_flash_attention_backward",
        "batch_norm",
        "convolution",
        "convolution_backward",
        "cumsum",
        "embedding_dense_backward",
        "group_norm",
        "layer_norm",
        "linalg_norm",
        "max_pool2d_with_indices_backward",
        "native_batch_norm_backward",
        "native_group_norm_backward",
        "native_layer_norm_backward",
        "nll_loss_backward",
        "rms_norm",
        "rocm_unquantized_gemm",
        "unified_attention_with_output",
    ];
    let base = name.rsplit("::").next().unwrap_or(name);
    WHOLE.binary_search(&base).is_ok()
}

/// The type of elements that computing in both gives.
fn wider(a: Option<DType>, b: Option<DType>) -> Option<DType> {
    match (a, b) {
        (Some(a), Some(b)) if a == b => Some(a),
        // A floating-point type wins over whole numbers, then the wider one; BF16 with FP16 gives FP32.
        (Some(a), Some(b)) => match (a.is_float(), b.is_float()) {
            (true, false) => Some(a),
            (false, true) => Some(b),
            (true, true) if a.bytes() == b.bytes() => Some(DType::F32),
            _ => Some(if a.bytes() >= b.bytes() { a } else { b }),
        },
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_operators_say_so() {
        let error = cost(&Operator::new("my::op"), Convention::Exact);
        let reason = "no cost model knows this operator".to_owned();
        assert_eq!(error, Err(UnknownCost { class: OperatorClass::Other, reason }));
        let error = cost(&Operator::new("aten::mm"), Convention::Exact);
        let reason = "the trace has no shapes (record with record_shapes=True)".to_owned();
        assert_eq!(error, Err(UnknownCost { class: OperatorClass::Gemm, reason }));
    }

    #[test]
    fn wholes_are_sorted_for_the_search() {
        for name in ["aten::batch_norm", "aten::_embedding_bag", "vllm::unified_attention_with_output"] {
            assert!(is_whole(name), "{name}");
        }
        assert!(!is_whole("aten::linear"));
        assert!(!is_whole("aten::scaled_dot_product_attention"), "its plain implementation is products of its own");
    }
}
