//! Softmax and losses.

use gapless_analysis::Convention;

use super::{Answer, OperatorClass, OperatorCost};
use crate::Operator;

pub(super) fn cost(operator: &Operator, _: Convention) -> Answer {
    Some(match operator.base() {
        // Maximum, difference, exponential, sum, quotient: 5 an element. `half_to_float` writes FP32.
        "_softmax" | "_log_softmax" | "softmax" | "log_softmax" | "_safe_softmax" => forward(operator),
        // Gradient and result read, the input's gradient written.
        "_softmax_backward_data" | "_log_softmax_backward_data" => backward(operator),
        "nll_loss_forward" | "nll_loss2d_forward" => loss(operator),
        "nll_loss_backward" | "nll_loss2d_backward" => loss_backward(operator),
        _ => return None,
    })
}

fn forward(operator: &Operator) -> Result<OperatorCost, String> {
    let input = operator.need(0)?;
    let elements = input.elements();
    let result = if operator.truth(2) == Some(true) { 4.0 } else { input.element_bytes()? };
    let bytes = elements * (input.element_bytes()? + result);
    Ok(OperatorCost::vector(OperatorClass::Softmax, input.dtype, 5.0 * elements, bytes))
}

fn backward(operator: &Operator) -> Result<OperatorCost, String> {
    let (gradient, result) = (operator.need(0)?, operator.need(1)?);
    let elements = gradient.elements();
    let bytes = 2.0 * gradient.bytes()? + result.bytes()?;
    Ok(OperatorCost::vector(OperatorClass::Softmax, gradient.dtype, 4.0 * elements, bytes))
}

/// One probability is read for each target.
fn loss(operator: &Operator) -> Result<OperatorCost, String> {
    let (input, target) = (operator.need(0)?, operator.need(1)?);
    let bytes = target.bytes()? + target.elements() * input.element_bytes()?;
    Ok(OperatorCost::vector(OperatorClass::Softmax, input.dtype, 2.0 * target.elements(), bytes))
}

/// The whole gradient is filled with zeros, then one element for each target is written.
fn loss_backward(operator: &Operator) -> Result<OperatorCost, String> {
    let (input, target) = (operator.need(1)?, operator.need(2)?);
    let bytes = input.bytes()? + target.bytes()? + target.elements() * input.element_bytes()?;
    Ok(OperatorCost::vector(OperatorClass::Softmax, input.dtype, target.elements(), bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType::{Bf16, F32, I64};
    use crate::cost::cost;

    #[test]
    fn by_hand() {
        let both = |operator: Operator| {
            let cost = cost(&operator, Convention::Exact).unwrap();
            (cost.flops, cost.bytes)
        };
        let softmax = Operator::new("aten::_softmax").tensor(&[4, 8], Bf16).scalar("-1");
        assert_eq!(both(softmax.clone().scalar("False")), (160.0, 128.0));
        assert_eq!(both(softmax.scalar("True")), (160.0, 192.0));
        let backward = Operator::new("aten::_softmax_backward_data").tensor(&[4, 8], F32).tensor(&[4, 8], F32);
        assert_eq!(both(backward), (128.0, 3.0 * 128.0));
        let loss = Operator::new("aten::nll_loss_forward").tensor(&[4, 1000], F32).tensor(&[4], I64);
        assert_eq!(both(loss), (8.0, 32.0 + 16.0));
    }
}
