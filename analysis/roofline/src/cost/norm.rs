//! Normalisation: layer, batch, group and RMS, forward and backward.
//!
//! FLOPs are conventional counts (those of TraceLens): 5 for each element forward (mean, variance, scale, weight, bias),
//! 4 for RMS, 9 backward. Bytes: input read, output written, parameters and statistics once. Statistics are kept as
//! FP32.

use gapless_analysis::Convention;

use super::{Answer, OperatorClass, OperatorCost};
use crate::Operator;
use crate::operator::Tensor;

pub(super) fn cost(operator: &Operator, convention: Convention) -> Answer {
    let base = operator.base();
    Some(match base {
        "layer_norm" | "native_layer_norm" => layer(operator, [2, 3], convention),
        "native_layer_norm_backward" => layer_backward(operator, 1, 5),
        "group_norm" => group(operator, [2, 3]),
        "native_group_norm" => group(operator, [1, 2]),
        "native_group_norm_backward" => layer_backward(operator, 1, 4),
        "batch_norm" | "native_batch_norm" | "cudnn_batch_norm" | "miopen_batch_norm" | "_batch_norm_impl_index" => {
            batch(operator)
        }
        "native_batch_norm_backward" => batch_backward(operator, 1, 2, 7),
        "cudnn_batch_norm_backward" | "miopen_batch_norm_backward" => batch_backward(operator, 0, 2, usize::MAX),
        // input, shape, weight.
        "rms_norm" | "_fused_rms_norm" if operator.name.starts_with("aten::") => rms(operator, 0, 2, false),
        "_fused_rms_norm_backward" => layer_backward(operator, 1, 4),
        // input, weight; result, input, weight; the same with a sum that is kept.
        "rms_norm" if operator.get(1).is_some_and(|weight| weight.shape.len() == 1) => rms(operator, 0, 1, false),
        "rms_norm" | "rmsnorm" => rms(operator, 1, 2, false),
        "fused_add_rms_norm" | "fused_add_rmsnorm" => rms(operator, 0, 2, true),
        "add_rmsnorm" | "rmsnorm2d_fwd_with_add" | "rmsnorm2d_fwd_with_add_ck" => rms(operator, 1, 4, true),
        "rmsnorm2d_fwd" | "rmsnorm2d_fwd_ck" => rms(operator, 0, 1, false),
        _ => return None,
    })
}

fn vector(input: &Tensor, flops: f64, bytes: f64) -> OperatorCost {
    OperatorCost::vector(OperatorClass::Normalization, input.dtype, flops, bytes)
}

/// Bytes of inputs that may be absent.
fn optional(operator: &Operator, places: &[usize]) -> Result<f64, String> {
    places.iter().filter_map(|&place| operator.get(place)).map(Tensor::bytes).sum()
}

/// Bytes of an FP32 statistic.
const STATISTIC: f64 = 4.0;

fn layer(operator: &Operator, parameters: [usize; 2], convention: Convention) -> Result<OperatorCost, String> {
    let input = operator.need(0)?;
    let size = match operator.get(parameters[0]) {
        Some(weight) => weight.elements(),
        None => {
            let shape = operator.wholes(1).ok_or("the normalised shape is not recorded")?;
            shape.iter().map(|&length| length as f64).product()
        }
    };
    let rows = input.elements() / size.max(1.0);
    if convention == Convention::TraceLens {
        // It takes a layer for a batch: six statistics and parameters a channel, of the input's type.
        let bytes = 2.0 * input.bytes()? + 6.0 * size * input.element_bytes()?;
        return Ok(vector(input, 5.0 * input.elements() + 6.0 * size, bytes));
    }
    let bytes = 2.0 * input.bytes()? + optional(operator, &parameters)? + 2.0 * rows * STATISTIC;
    Ok(vector(input, 5.0 * input.elements() + 2.0 * rows, bytes))
}

/// Gradient and input read, the input's gradient written, parameters read and their gradients written.
fn layer_backward(operator: &Operator, input: usize, weight: usize) -> Result<OperatorCost, String> {
    let input = operator.need(input)?;
    let parameters = operator.get(weight).map_or(Ok(0.0), Tensor::bytes)?;
    Ok(vector(input, 9.0 * input.elements(), 3.0 * input.bytes()? + 3.0 * parameters))
}

fn group(operator: &Operator, parameters: [usize; 2]) -> Result<OperatorCost, String> {
    let input = operator.need(0)?;
    Ok(vector(input, 5.0 * input.elements(), 2.0 * input.bytes()? + optional(operator, &parameters)?))
}

fn batch(operator: &Operator) -> Result<OperatorCost, String> {
    let input = operator.need(0)?;
    let channels = input.dim(1)?;
    let elements = input.elements();
    let training = operator.truth(5).ok_or("whether it trains is not recorded")?;
    if training {
        // Weight, bias, and running statistics read and written.
        let bytes = 2.0 * input.bytes()? + 6.0 * channels * input.element_bytes()?;
        return Ok(vector(input, 5.0 * elements + 6.0 * channels, bytes));
    }
    Ok(vector(input, 2.0 * elements, 2.0 * input.bytes()? + 4.0 * channels * input.element_bytes()?))
}

/// Gradient and input read, the input's gradient written; of the channels weight and statistics, and two gradients.
fn batch_backward(operator: &Operator, input: usize, weight: usize, training: usize) -> Result<OperatorCost, String> {
    let input = operator.need(input)?;
    let channels = operator.get(weight).map_or_else(|| input.dim(1), |weight| Ok(weight.elements()))?;
    let elements = input.elements();
    let eval = operator.truth(training) == Some(false);
    let flops = if eval { 5.0 * elements } else { 9.0 * elements };
    Ok(vector(input, flops, 3.0 * input.bytes()? + 4.0 * channels * input.element_bytes()?))
}

fn rms(operator: &Operator, input: usize, weight: usize, adds: bool) -> Result<OperatorCost, String> {
    let input = operator.need(input)?;
    let size = match operator.get(weight) {
        Some(weight) => weight.elements(),
        None => input.last_dim()?,
    };
    let parameters = operator.get(weight).map_or(Ok(0.0), Tensor::bytes)?;
    let rows = input.elements() / size.max(1.0);
    // With a sum both terms are read and both the sum and the result are written.
    let (flops, passes) = if adds { (5.0, 4.0) } else { (4.0, 2.0) };
    Ok(vector(input, flops * input.elements() + 2.0 * rows, passes * input.bytes()? + parameters))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType::{Bf16, F32};
    use crate::cost::cost;

    fn both(operator: &Operator) -> (f64, f64) {
        let cost = cost(operator, Convention::Exact).unwrap();
        assert_eq!(cost.class, OperatorClass::Normalization);
        (cost.flops, cost.bytes)
    }

    #[test]
    fn by_hand() {
        let layer = Operator::new("aten::layer_norm")
            .tensor(&[2, 3, 8], Bf16)
            .scalar("[8]")
            .tensor(&[8], Bf16)
            .tensor(&[8], Bf16);
        // 48 elements in 6 rows: 240 + 12; 2·96 + 32 + 6·8.
        assert_eq!(both(&layer), (252.0, 192.0 + 32.0 + 48.0));
        let plain = Operator::new("aten::layer_norm").tensor(&[2, 3, 8], Bf16).scalar("[3, 8]").absent().absent();
        assert_eq!(both(&plain), (244.0, 192.0 + 16.0));
        let batch = |training: &str| {
            let mut operator = Operator::new("aten::batch_norm").tensor(&[2, 3, 4, 4], F32);
            for _ in 0..4 {
                operator = operator.tensor(&[3], F32);
            }
            operator.scalar(training)
        };
        assert_eq!(both(&batch("True")), (5.0 * 96.0 + 18.0, 4.0 * (192.0 + 18.0)));
        assert_eq!(both(&batch("False")), (192.0, 4.0 * (192.0 + 12.0)));
        let rms = Operator::new("aiter::rms_norm").tensor(&[4, 16], Bf16).tensor(&[16], Bf16);
        assert_eq!(both(&rms), (264.0, 2.0 * (128.0 + 16.0)));
    }
}
