//! Fused element-wise operators of serving engines (vLLM, SGLang, AITER): gated activations, rotary embeddings, writing
//! keys and values into their cache.

use gapless_analysis::Convention;

use super::{Answer, OperatorClass, OperatorCost};
use crate::Operator;
use crate::operator::Tensor;

pub(super) fn cost(operator: &Operator, _: Convention) -> Answer {
    Some(match operator.base() {
        // result, input of twice its width: an activation of 4 FLOPs and a product.
        "silu_and_mul" | "gelu_and_mul" | "gelu_tanh_and_mul" => gated(operator),
        // positions, queries, keys: three FLOPs for each element (two products and a sum).
        "rotary_embedding" => rotary(operator),
        // keys, values, their caches, slots.
        "store_cache" | "reshape_and_cache_flash" | "reshape_and_cache" | "unified_kv_cache_update" => cache(operator),
        _ => return None,
    })
}

fn gated(operator: &Operator) -> Result<OperatorCost, String> {
    let (result, input) = (operator.need(0)?, operator.need(1)?);
    let bytes = result.bytes()? + input.bytes()?;
    Ok(OperatorCost::vector(OperatorClass::Elementwise, input.dtype, 5.0 * result.elements(), bytes))
}

fn rotary(operator: &Operator) -> Result<OperatorCost, String> {
    let queries = operator.need(1)?;
    let keys = operator.get(2);
    let elements = queries.elements() + keys.map_or(0.0, Tensor::elements);
    let bytes = 2.0 * (queries.bytes()? + keys.map_or(Ok(0.0), Tensor::bytes)?);
    Ok(OperatorCost::vector(OperatorClass::Elementwise, queries.dtype, 3.0 * elements, bytes))
}

fn cache(operator: &Operator) -> Result<OperatorCost, String> {
    let (keys, values) = (operator.need(0)?, operator.need(1)?);
    let bytes = 2.0 * (keys.bytes()? + values.bytes()?);
    Ok(OperatorCost::vector(OperatorClass::Movement, keys.dtype, 0.0, bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType::{Bf16, I64};
    use crate::cost::cost;

    #[test]
    fn by_hand() {
        let both = |operator: Operator| {
            let cost = cost(&operator, Convention::Exact).unwrap();
            (cost.flops, cost.bytes)
        };
        let gated = Operator::new("sgl_kernel::silu_and_mul").tensor(&[4, 8], Bf16).tensor(&[4, 16], Bf16);
        assert_eq!(both(gated), (160.0, 64.0 + 128.0));
        let rotary =
            Operator::new("_C::rotary_embedding").tensor(&[4], I64).tensor(&[4, 64], Bf16).tensor(&[4, 16], Bf16);
        assert_eq!(both(rotary), (960.0, 1280.0));
        let cache = Operator::new("sglang::store_cache").tensor(&[4, 16], Bf16).tensor(&[4, 16], Bf16);
        assert_eq!(both(cache), (0.0, 512.0));
    }
}
