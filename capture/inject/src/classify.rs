//! What a range of PyTorch is, told by its name.

use gapless_ring::layout::Class;

/// The class of a range that PyTorch's own instrumentation names (ITT domain "PyTorch", `emit_nvtx`).
pub(crate) fn torch_range(name: &[u8]) -> Class {
    let starts = |prefix: &str| name.starts_with(prefix.as_bytes());
    if starts("gloo:") || starts("nccl:") || starts("mpi:") || starts("ucc:") || starts("c10d::") || starts("xccl:") {
        return Class::Communication;
    }
    if starts("Optimizer.step#") || starts("Optimizer.zero_grad#") {
        return Class::Optimizer;
    }
    if starts("enumerate(DataLoader)#") {
        return Class::DataLoading;
    }
    if starts("ProfilerStep#") {
        return Class::Step;
    }
    if starts("autograd::engine::evaluate_function") || starts("torch::autograd::") || is_backward(name) {
        return Class::AutogradNode;
    }
    // Operators have a namespace; two of them run under their bare names inside others.
    let text = std::str::from_utf8(name).unwrap_or_default();
    if text.contains("::") && !text.contains(' ') || matches!(text, "detach" | "detach_") {
        return Class::Operator;
    }
    Class::Annotation
}

/// `AddmmBackward0`, and `MyFunctionBackward` of a custom autograd function.
fn is_backward(name: &[u8]) -> bool {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let stem = name.get(..name.len() - digits).unwrap_or_default();
    stem.ends_with(b"Backward") && stem.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_real_jobs() {
        for (name, class) in [
            ("aten::addmm", Class::Operator),
            ("aten::_foreach_add_", Class::Operator),
            ("torchvision::nms", Class::Operator),
            ("detach", Class::Operator),
            ("AddmmBackward0", Class::AutogradNode),
            ("NativeLayerNormBackward0", Class::AutogradNode),
            ("MyFunctionBackward", Class::AutogradNode),
            ("autograd::engine::evaluate_function: MulBackward0", Class::AutogradNode),
            ("torch::autograd::AccumulateGrad", Class::AutogradNode),
            ("Optimizer.step#AdamW.step", Class::Optimizer),
            ("Optimizer.zero_grad#AdamW.zero_grad", Class::Optimizer),
            ("enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__", Class::DataLoading),
            ("gloo:all_reduce", Class::Communication),
            ("nccl:all_gather", Class::Communication),
            ("c10d::allreduce_", Class::Communication),
            ("ProfilerStep#7", Class::Step),
            ("DistributedDataParallel.forward", Class::Annotation),
            ("my loss::part 2", Class::Annotation),
            ("", Class::Annotation),
        ] {
            assert_eq!(torch_range(name.as_bytes()), class, "{name}");
        }
    }
}
