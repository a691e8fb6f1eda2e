//! Kernels that Inductor writes: `triton_poi_fused_add_mul_3` and the like.
//!
//! Their arguments are recorded as an operator of the kernel's name: tensors, then the numbers of elements. Bytes are
//! those of all tensors; which of them are both read and written no trace tells, so each counts once. FLOPs are one
//! pass of the operators that the name lists over all elements.

use gapless_analysis::Convention;

use super::{Answer, OperatorClass, OperatorCost};
use crate::operator::Tensor;
use crate::{DType, Operator};

/// Operators in names and their FLOPs for an element; longest first among those that begin alike. A name joins them with
/// the same sign that some of them hold, so that they are taken off from the left.
const OPERATORS: [(&str, f64); 51] = [
    ("native_layer_norm_backward", 9.0),
    ("native_layer_norm", 5.0),
    ("native_batch_norm_backward", 9.0),
    ("native_group_norm", 5.0),
    ("native_dropout", 2.0),
    ("threshold_backward", 1.0),
    ("leaky_relu", 1.0),
    ("reciprocal", 2.0),
    ("sigmoid", 4.0),
    ("maximum", 1.0),
    ("minimum", 1.0),
    ("softmax", 5.0),
    ("rsqrt", 2.0),
    ("clamp", 1.0),
    ("where", 1.0),
    ("gelu", 8.0),
    ("silu", 4.0),
    ("tanh", 4.0),
    ("sqrt", 2.0),
    ("relu", 1.0),
    ("mean", 1.0),
    ("amax", 1.0),
    ("amin", 1.0),
    ("rsub", 1.0),
    ("lerp", 3.0),
    ("log", 4.0),
    ("exp", 4.0),
    ("pow", 2.0),
    ("sum", 1.0),
    ("var", 2.0),
    ("abs", 1.0),
    ("neg", 1.0),
    ("add", 1.0),
    ("sub", 1.0),
    ("mul", 1.0),
    ("div", 1.0),
    ("sin", 4.0),
    ("cos", 4.0),
    ("erf", 8.0),
    ("ne", 1.0),
    ("eq", 1.0),
    ("lt", 1.0),
    ("gt", 1.0),
    ("le", 1.0),
    ("ge", 1.0),
    ("bitwise_and", 1.0),
    ("bitwise_not", 1.0),
    ("bitwise_or", 1.0),
    ("logical_not", 1.0),
    ("logical_and", 1.0),
    ("logical_or", 1.0),
];

/// Kind of kernel and what its name lists.
fn parts(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix("triton_")?;
    let (kind, rest) = rest.split_once('_')?;
    let listed = rest.strip_prefix("fused_").unwrap_or(rest);
    // The last part numbers the kernel.
    let listed = listed.trim_end_matches(|letter: char| letter.is_ascii_digit());
    Some((kind, listed.trim_end_matches('_')))
}

/// FLOPs for an element of the operators that a name lists; those that are not known move elements only.
fn flops_of(listed: &str) -> f64 {
    let mut rest = listed;
    let mut flops = 0.0;
    while !rest.is_empty() {
        let starts = |name: &&(&str, f64)| {
            rest.strip_prefix(name.0).is_some_and(|after| after.is_empty() || after.starts_with('_'))
        };
        if let Some((name, count)) = OPERATORS.iter().find(starts) {
            flops += count;
            rest = rest.get(name.len()..).unwrap_or_default().trim_start_matches('_');
        } else {
            rest = rest.split_once('_').map_or("", |(_, after)| after);
        }
    }
    flops
}

pub(super) fn cost(operator: &Operator, convention: Convention) -> Answer {
    let (kind, listed) = parts(&operator.name)?;
    let reduces = match kind {
        "poi" => false,
        "red" | "per" => true,
        "tem" | "mix" | "for" | "spl" => {
            return Some(Err("a template's kernel; its arguments do not tell the products".to_owned()));
        }
        _ => return None,
    };
    Some(fused(operator, listed, reduces, convention))
}

fn fused(operator: &Operator, listed: &str, reduces: bool, convention: Convention) -> Result<OperatorCost, String> {
    operator.tensors().next().ok_or("the arguments of the kernel are not recorded")?;
    let bytes: Result<f64, String> = operator.tensors().map(Tensor::bytes).sum();
    let mut bytes = bytes?;
    let counts: Vec<f64> =
        (0..operator.inputs.len()).filter_map(|index| operator.whole(index)).map(|n| n as f64).collect();
    let largest = operator.tensors().map(Tensor::elements).fold(0.0, f64::max);
    let elements = match counts.as_slice() {
        [.., outer, inner] if reduces => outer * inner,
        // Two dimensions are two numbers; other numbers before the last are sizes that the kernel computes with.
        [.., outer, inner] if *inner < largest && outer * inner == largest => largest,
        [.., last] => *last,
        [] => largest,
    };
    let dtype = operator.tensors().filter_map(|tensor| tensor.dtype).find(|dtype| dtype.is_float());
    if convention == Convention::TraceLens && !reduces {
        // It adds one more write of all elements.
        bytes += elements * operator.tensors().next().and_then(|tensor| tensor.dtype).map_or(0.0, DType::bytes);
    }
    let cost = OperatorCost::vector(OperatorClass::Fused, dtype, flops_of(listed) * elements, bytes);
    Ok(cost.approximate("tensors that are both read and written count once; FLOPs are those of the name"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType::{Bf16, F32, I32, I64};
    use crate::cost::cost;

    #[test]
    fn names_list_operators() {
        assert_eq!(
            parts("triton_red_fused__unsafe_view_add_mean_mul_pow_rsqrt_1"),
            Some(("red", "_unsafe_view_add_mean_mul_pow_rsqrt"))
        );
        assert_eq!(flops_of("_unsafe_view_add_mean_mul_pow_rsqrt"), 7.0);
        assert_eq!(flops_of("_to_copy"), 0.0);
        assert_eq!(flops_of("add_bitwise_and_lt_mul_sub"), 5.0);
        assert_eq!(flops_of("addmm"), 0.0, "another operator that begins alike");
        assert_eq!(parts("triton_poi_fused_0"), Some(("poi", "")));
        assert_eq!(parts("gemm"), None);
    }

    #[test]
    fn by_hand() {
        let reduce = Operator::new("triton_red_fused_add_mean_mul_pow_rsqrt_0")
            .tensor(&[8, 4096, 2048], Bf16)
            .tensor(&[2048], Bf16)
            .tensor(&[8, 4096, 2048], Bf16)
            .scalar("32768")
            .scalar("2048");
        let found = cost(&reduce, Convention::Exact).unwrap();
        assert_eq!((found.flops, found.bytes), (7.0 * 67_108_864.0, 2.0 * (2.0 * 67_108_864.0 + 2048.0)));
        let point = Operator::new("triton_poi_fused_add_cos_sin_0")
            .tensor(&[10, 10], F32)
            .tensor(&[10, 10], F32)
            .tensor(&[10, 10], F32)
            .scalar("100");
        let found = cost(&point, Convention::Exact).unwrap();
        assert_eq!((found.flops, found.bytes), (900.0, 1200.0));
        // Sizes before the number of elements are not a second dimension.
        let masked = Operator::new("triton_poi_fused_add_lt_0")
            .tensor(&[888], I32)
            .tensor(&[888], I64)
            .scalar("201088")
            .scalar("0")
            .scalar("888");
        assert_eq!(cost(&masked, Convention::Exact).unwrap().flops, 2.0 * 888.0);
    }
}
