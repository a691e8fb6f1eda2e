//! Names as labels show them: what tells one from another comes first.

use std::borrow::Cow;

/// The part of an event's name that fits on a bar: kernels without return type, namespaces of the framework,
/// template arguments and parameters; Python frames without folders.
#[must_use]
pub fn display_name(name: &str) -> Cow<'_, str> {
    let name = name.trim();
    let name = name.strip_prefix("void ").unwrap_or(name);
    if let Some((path, rest)) = name.split_once(".py(") {
        // `torch/nn/modules/linear.py(114): forward`
        let file = path.rsplit('/').next().unwrap_or(path);
        return Cow::Owned(format!("{file}.py({rest}"));
    }
    let anonymous = "(anonymous namespace)::";
    let name: Cow<'_, str> =
        if name.contains(anonymous) { Cow::Owned(name.replace(anonymous, "")) } else { Cow::Borrowed(name) };
    let cut = |text: &str| -> std::ops::Range<usize> {
        let end = text
            .find(['<', '('])
            .filter(|&end| end > 0 && text.contains("::") || text.ends_with(')') || text.ends_with('>'));
        let head = text.get(..end.unwrap_or(text.len())).unwrap_or(text);
        // `aten::mm` and `c10d::allreduce_` are names of operators: one namespace stays.
        let long = head.matches("::").count() > 1;
        let start = if long { head.rfind("::").map_or(0, |at| at + 2) } else { 0 };
        if start < head.len() { start..head.len() } else { 0..text.len() }
    };
    match name {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(cut(text)).unwrap_or(text).trim_end()),
        Cow::Owned(text) => Cow::Owned(text.get(cut(&text)).unwrap_or(&text).trim_end().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_begin_with_what_tells_names_apart() {
        let check = |name: &str, label: &str| assert_eq!(display_name(name), label, "of {name}");
        check("aten::mm", "aten::mm");
        check("c10d::allreduce_", "c10d::allreduce_");
        check("ProfilerStep#12", "ProfilerStep#12");
        check("cudaLaunchKernel", "cudaLaunchKernel");
        check("Memcpy HtoD (Pinned -> Device)", "Memcpy HtoD");
        check(
            "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
            "ncclDevKernel_AllReduce_Sum_f32_RING_LL",
        );
        check(
            "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>(int, float)",
            "vectorized_elementwise_kernel",
        );
        check("void at::native::(anonymous namespace)::softmax_warp_forward<float>(float*)", "softmax_warp_forward");
        check("torch/nn/modules/linear.py(114): forward", "linear.py(114): forward");
        check("<built-in method mm>", "<built-in method mm>");
        check("Optimizer.step#Adam.step", "Optimizer.step#Adam.step");
        check("nn.Module: Linear_0", "nn.Module: Linear_0");
        check("", "");
    }
}
