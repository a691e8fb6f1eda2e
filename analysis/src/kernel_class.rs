//! What kind of work a kernel does, by its name and by the operator that launched it.

use serde::Serialize;

/// Kind of device work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelClass {
    /// Matrix products.
    Gemm,
    /// Fused attention.
    Attention,
    /// Convolutions.
    Convolution,
    /// Batch, layer, group and RMS norms.
    Norm,
    /// One output element from one element of each input.
    Elementwise,
    /// Sums, means, softmax and others that fold a dimension.
    Reduction,
    /// Lookups in tables and their gradients.
    Embedding,
    /// Updates of parameters.
    Optimizer,
    /// Sorting, gathering, scattering, concatenating and changes of layout.
    Movement,
    /// Made by a compiler out of several operators.
    Fused,
    /// Communication.
    Communication,
    /// A copy by the copy engine.
    Copy,
    /// A fill.
    Fill,
    /// None of these, or the names do not say.
    Other,
}

impl KernelClass {
    /// All, in declaration order.
    pub const ALL: [Self; 14] = [
        Self::Gemm,
        Self::Attention,
        Self::Convolution,
        Self::Norm,
        Self::Elementwise,
        Self::Reduction,
        Self::Embedding,
        Self::Optimizer,
        Self::Movement,
        Self::Fused,
        Self::Communication,
        Self::Copy,
        Self::Fill,
        Self::Other,
    ];

    /// Its name in selectors, in lower case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Gemm => "gemm",
            Self::Attention => "attention",
            Self::Convolution => "convolution",
            Self::Norm => "norm",
            Self::Elementwise => "elementwise",
            Self::Reduction => "reduction",
            Self::Embedding => "embedding",
            Self::Optimizer => "optimizer",
            Self::Movement => "movement",
            Self::Fused => "fused",
            Self::Communication => "communication",
            Self::Copy => "copy",
            Self::Fill => "fill",
            Self::Other => "other",
        }
    }

    /// A few words for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Gemm => "matrix product",
            Self::Norm => "normalisation",
            Self::Movement => "data movement",
            Self::Fused => "fused by a compiler",
            _ => self.label(),
        }
    }

    /// From its name in selectors.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.label() == label)
    }

    /// Whether arithmetic limits it on large inputs; other classes are limited by memory.
    #[must_use]
    pub const fn is_arithmetic(self) -> bool {
        matches!(self, Self::Gemm | Self::Attention | Self::Convolution)
    }

    /// Of a kernel, by its name, and by the name of the operator that launched it (empty if unknown).
    ///
    /// The kernel's name goes first where it is plain: an operator may launch helpers of another kind.
    #[must_use]
    pub fn of_kernel(kernel: &str, operator: &str) -> Self {
        let kernel = kernel.to_ascii_lowercase();
        let operator = operator.to_ascii_lowercase();
        let kernel_has = |words: &[&str]| words.iter().any(|word| kernel.contains(word));
        let operator_has = |words: &[&str]| words.iter().any(|word| operator.contains(word));
        if kernel_has(&["triton_", "inductor"]) && !kernel_has(&["_mm_", "triton_mm", "triton_tem_"]) {
            return Self::Fused;
        }
        // Fused optimizers of tables are part of their backward lookup.
        if kernel_has(&["embedding", "split_embedding", "tbe_"]) || operator_has(&["embedding", "fbgemm"]) {
            return Self::Embedding;
        }
        if kernel_has(&["multi_tensor_apply", "adam", "sgd_", "_foreach", "multi_tensor_lamb", "lamb_stage"])
            || operator_has(&["_foreach_", "_fused_adam", "_fused_sgd", "optimizer.step"])
        {
            return Self::Optimizer;
        }
        if kernel_has(&["flash", "fmha", "attention", "attn_", "_attn"]) {
            return Self::Attention;
        }
        if kernel_has(&[
            "nchwtonhwc",
            "nhwctonchw",
            "transpose",
            "catarray",
            "cat_array",
            "indexselect",
            "gather",
            "scatter",
            "sort",
            "copy_device_to_device",
            "direct_copy",
        ]) {
            return Self::Movement;
        }
        if operator_has(&["conv"])
            || kernel_has(&["implicit_convolve", "winograd", "_dgrad", "_wgrad", "fprop", "conv2d", "igemm", "miopen"])
        {
            // Helpers of a convolution that only add or transform.
            return if kernel_has(&["elementwise", "bias", "add_"]) { Self::Elementwise } else { Self::Convolution };
        }
        if kernel_has(&[
            "gemm",
            "cutlass",
            "cublas",
            "cijk_",
            "nvjet",
            "matmul",
            "hgemm",
            "sgemm",
            "wmma",
            "s884",
            "s1688",
            "s16816",
            "splitk",
            "triton_mm",
            "triton_tem_",
        ]) {
            return Self::Gemm;
        }
        if kernel_has(&["norm", "welford", "batch_norm", "bn_fw", "bn_bw"]) || operator_has(&["norm"]) {
            return Self::Norm;
        }
        if kernel_has(&["reduce", "softmax", "_sum", "argmax", "cumsum", "scan", "nll_loss"]) {
            return Self::Reduction;
        }
        if kernel_has(&["elementwise", "vectorized", "pointwise", "gelu", "relu", "dropout", "fillfunctor", "unrolled"])
        {
            return Self::Elementwise;
        }
        if operator_has(&["::mm", "::addmm", "::bmm", "::matmul", "::linear", "::baddbmm"]) {
            return Self::Gemm;
        }
        Self::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_the_class() {
        let of = KernelClass::of_kernel;
        assert_eq!(of("ampere_sgemm_128x64_tn", "aten::mm"), KernelClass::Gemm);
        assert_eq!(
            of("void at::native::(anonymous namespace)::launch_clamp_scalar(c10::Scalar)::{lambda()#1}", "aten::clamp"),
            KernelClass::Other
        );
        assert_eq!(
            of("void at::native::vectorized_elementwise_kernel<4, {lambda(float)#1}>", "aten::relu"),
            KernelClass::Elementwise
        );
        assert_eq!(of("split_embedding_backward_codegen_adagrad_unweighted_kernel", ""), KernelClass::Embedding);
        assert_eq!(
            of("void at::native::multi_tensor_apply_kernel<FusedAdam>", "aten::_fused_adam_"),
            KernelClass::Optimizer
        );
        assert_eq!(of("triton_poi_fused_add_relu_0", ""), KernelClass::Fused);
        assert_eq!(of("cudnn::ops::nchwToNhwcKernel", "aten::cudnn_convolution"), KernelClass::Movement);
        assert_eq!(of("pytorch_flash::flash_fwd_kernel", "aten::_flash_attention_forward"), KernelClass::Attention);
        // The same for people.
        let title = |kernel, operator| KernelClass::of_kernel(kernel, operator).title();
        assert_eq!(title("volta_sgemm_128x32_nt", "aten::mm"), "matrix product");
        assert_eq!(title("sm80_xmma_gemm_f32", "aten::cudnn_convolution"), "convolution");
        assert_eq!(title("void cutlass::Kernel<flash_fwd>", ""), "attention");
        assert_eq!(title("my_kernel", ""), "other");
    }
}
