//! Products by expert: grouped GEMMs and fused expert layers.
//!
//! Each token meets the weights of its experts only, so that FLOPs depend on how many rows there are, not on how they
//! are spread over experts. Bytes count the weights of all experts: those without a token are not read, but which they
//! are depends on the data.

use gapless_analysis::Convention;

use super::{Answer, OperatorClass, OperatorCost};
use crate::{DType, Operator};

const ALL_EXPERTS: &str = "the weights of all experts are taken to be read";

pub(super) fn cost(operator: &Operator, _: Convention) -> Answer {
    Some(match operator.base() {
        "_grouped_mm" | "_scaled_grouped_mm" => grouped(operator),
        // hidden states, up and gate weights, down weights, weights of the chosen experts, their numbers.
        "inplace_fused_experts" | "outplace_fused_experts" | "fused_experts" => experts(operator),
        "moe_forward" | "moe_forward_shared" => Err("the shapes of the experts' weights are not recorded".to_owned()),
        _ => return None,
    })
}

/// The cost of `rows` rows of `inner` elements through `experts` matrices to `outer` elements.
///
/// `read` and `written` are elements of the input and the result, which a fused kernel may gather and reduce;
/// `weight` is the type of the matrices.
#[must_use]
pub fn grouped_gemm(
    rows: f64,
    inner: f64,
    outer: f64,
    experts: f64,
    (read, written): (f64, f64),
    activation: DType,
    weight: DType,
) -> OperatorCost {
    let flops = 2.0 * rows * inner * outer;
    let bytes = (read + written) * activation.bytes() + experts * inner * outer * weight.bytes();
    // Weights of few bits are widened before they meet activations: the product runs at the wider type.
    OperatorCost::matrix(OperatorClass::Moe, Some(activation), flops, bytes).approximate(ALL_EXPERTS)
}

/// (rows, K) × (experts, K, N), or experts on both sides.
fn grouped(operator: &Operator) -> Result<OperatorCost, String> {
    let (a, b) = (operator.need(0)?, operator.need(1)?);
    let activation = a.dtype.ok_or("the element type of an input is not recorded")?;
    let weight = b.dtype.ok_or("the element type of an input is not recorded")?;
    match (a.shape.len(), b.shape.len()) {
        (2, 3) => {
            let (rows, inner, outer) = (a.dim(0)?, a.dim(1)?, b.dim(2)?);
            if inner != b.dim(1)? {
                return Err(format!("the factors do not fit each other: {inner} and {}", b.dim(1)?));
            }
            Ok(grouped_gemm(rows, inner, outer, b.dim(0)?, (rows * inner, rows * outer), activation, weight))
        }
        (3, 3) => {
            let (groups, rows, inner, outer) = (a.dim(0)?, a.dim(1)?, a.dim(2)?, b.dim(2)?);
            let sizes = (groups * rows * inner, groups * rows * outer);
            let mut cost = grouped_gemm(groups * rows, inner, outer, groups, sizes, activation, weight);
            cost.approximate = None;
            Ok(cost)
        }
        _ => Err("two-dimensional factors are cut by offsets that no trace holds".to_owned()),
    }
}

/// Up (with its gate), activation and down in one operator.
fn experts(operator: &Operator) -> Result<OperatorCost, String> {
    let (hidden, up, down) = (operator.need(0)?, operator.need(1)?, operator.need(2)?);
    let chosen = operator.need(4)?;
    let activation = hidden.dtype.ok_or("the element type of an input is not recorded")?;
    let weight = up.dtype.ok_or("the element type of an input is not recorded")?;
    if weight == DType::I8 {
        return Err("the weights are packed in bytes; how many to a byte is not recorded".to_owned());
    }
    let (tokens, width) = (hidden.dim(0)?, hidden.dim(1)?);
    let rows = tokens * chosen.dim(1)?;
    let (experts, wide, inner) = (up.dim(0)?, up.dim(1)?, down.dim(2)?);
    let first = grouped_gemm(rows, width, wide, experts, (tokens * width, rows * wide), activation, weight);
    let second = grouped_gemm(rows, inner, width, experts, (rows * inner, tokens * width), activation, weight);
    Ok(OperatorCost {
        flops: first.flops + second.flops,
        model_flops: first.flops + second.flops,
        bytes: first.bytes + second.bytes,
        ..first
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType::{Bf16, F32, I32};
    use crate::cost::cost;

    #[test]
    fn by_hand() {
        let grouped =
            Operator::new("aten::_grouped_mm").tensor(&[10, 4], Bf16).tensor(&[3, 4, 8], Bf16).tensor(&[3], I32);
        let found = cost(&grouped, Convention::Exact).unwrap();
        assert_eq!((found.flops, found.bytes), (640.0, 2.0 * (40.0 + 96.0 + 80.0)));
        let experts = Operator::new("vllm::inplace_fused_experts")
            .tensor(&[5, 4], Bf16)
            .tensor(&[3, 16, 4], Bf16)
            .tensor(&[3, 4, 8], Bf16)
            .tensor(&[5, 2], F32)
            .tensor(&[5, 2], I32);
        let found = cost(&experts, Convention::Exact).unwrap();
        // 10 rows: 2·10·(4·16 + 8·4); up 20 + 160 + 192, down 80 + 20 + 96 elements.
        assert_eq!((found.flops, found.bytes), (1920.0, 2.0 * 568.0));
    }

    #[test]
    fn weights_that_are_not_recorded_are_not_guessed() {
        let moe = Operator::new("vllm::moe_forward").tensor(&[5, 4], Bf16).tensor(&[5, 32], Bf16).scalar("layer.3");
        assert!(cost(&moe, Convention::Exact).unwrap_err().reason.contains("experts"));
    }
}
