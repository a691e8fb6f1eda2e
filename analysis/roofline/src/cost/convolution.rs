//! Convolutions of one to three dimensions, forward, transposed and backward.
//!
//! Forward: 2·out·(C_in/g)·Πk FLOPs and one more for each result where a bias is added. Backward is one such product for
//! the gradient of the input and one for that of the weights; which are wanted is an input.

use gapless_analysis::Convention;

use super::{Answer, OperatorClass, OperatorCost};
use crate::Operator;
use crate::operator::{Tensor, elements};

pub(super) fn cost(operator: &Operator, convention: Convention) -> Answer {
    Some(match operator.base() {
        // input, weight, bias, stride, padding, dilation, transposed, output padding, groups.
        "convolution" | "_convolution" | "convolution_overrideable" => forward(operator, convention),
        // Gradient of the result, input, weight, bias sizes, stride, padding, dilation, transposed, output padding,
        // groups, which gradients are wanted.
        "convolution_backward" => backward(operator, convention),
        // input, weight, padding, stride, dilation, groups: no bias.
        "cudnn_convolution" => cudnn(operator),
        _ => return None,
    })
}

/// How a convolution steps over its input.
struct Steps {
    stride: Vec<i64>,
    padding: Vec<i64>,
    dilation: Vec<i64>,
    transposed: bool,
    output_padding: Vec<i64>,
    groups: f64,
}

impl Steps {
    fn of(operator: &Operator, at: usize) -> Result<Self, String> {
        let missing = "stride, padding or dilation are not recorded";
        let list = |index: usize| operator.wholes(at + index).ok_or(missing);
        Ok(Self {
            stride: list(0)?,
            padding: list(1)?,
            dilation: list(2)?,
            transposed: operator.truth(at + 3).ok_or("whether it is transposed is not recorded")?,
            output_padding: list(4)?,
            groups: operator.whole(at + 5).filter(|&groups| groups > 0).ok_or("the groups are not recorded")? as f64,
        })
    }

    /// Shape of the result.
    fn output(&self, input: &Tensor, weight: &Tensor) -> Result<Vec<u64>, String> {
        let (batch, channels) = match (input.shape.first(), weight.shape.first(), weight.shape.get(1)) {
            (Some(&batch), Some(&out), _) if !self.transposed => (batch, out),
            (Some(&batch), _, Some(&out)) => (batch, out.saturating_mul(self.groups as u64)),
            _ => return Err("input or weight have too few dimensions".to_owned()),
        };
        let mut shape = vec![batch, channels];
        // A list of one holds for all dimensions.
        let pick = |list: &[i64], at: usize, default: i64| {
            list.get(at).or_else(|| list.first().filter(|_| list.len() == 1)).copied().unwrap_or(default)
        };
        let lengths = input.shape.iter().skip(2).zip(weight.shape.iter().skip(2));
        for (at, (&length, &kernel)) in lengths.enumerate() {
            let signed = |value: u64| i64::try_from(value).map_err(|_| "a dimension is absurd".to_owned());
            let (length, kernel) = (signed(length)?, signed(kernel)?);
            let (stride, padding) = (pick(&self.stride, at, 1), pick(&self.padding, at, 0));
            let reach = pick(&self.dilation, at, 1).checked_mul(kernel - 1);
            let fits = |reach: i64| {
                let both = padding.checked_mul(2)?;
                let out = if self.transposed {
                    let span = (length - 1).checked_mul(stride)?;
                    span.checked_sub(both)?.checked_add(reach)?.checked_add(pick(&self.output_padding, at, 0))? + 1
                } else {
                    length.checked_add(both)?.checked_sub(reach)?.checked_sub(1)?.checked_div(stride)? + 1
                };
                u64::try_from(out).ok()
            };
            shape.push(reach.and_then(fits).ok_or("stride, padding and kernel do not fit the input")?);
        }
        Ok(shape)
    }

    /// FLOPs of one product: every result, or every input where it is transposed, meets a kernel of each channel.
    fn flops(&self, input: &Tensor, weight: &Tensor, output: &[u64]) -> f64 {
        // Weights are (out, in/g, k…), transposed ones (in, out/g, k…): each product skips the first.
        let kernel = elements(weight.shape.get(1..).unwrap_or_default());
        2.0 * kernel * if self.transposed { input.elements() } else { elements(output) }
    }
}

fn matrix(input: &Tensor, flops: f64, bytes: f64) -> OperatorCost {
    OperatorCost::matrix(OperatorClass::Convolution, input.dtype, flops, bytes)
}

fn forward(operator: &Operator, convention: Convention) -> Result<OperatorCost, String> {
    let (input, weight) = (operator.need(0)?, operator.need(1)?);
    let steps = Steps::of(operator, 3)?;
    let output = steps.output(input, weight)?;
    // TraceLens leaves the bias out.
    let bias = operator.get(2).filter(|_| convention == Convention::Exact);
    let flops = steps.flops(input, weight, &output) + bias.map_or(0.0, |_| elements(&output));
    let bytes = input.bytes()? + weight.bytes()? + elements(&output) * input.element_bytes()?;
    Ok(matrix(input, flops, bytes + bias.map_or(Ok(0.0), Tensor::bytes)?))
}

fn cudnn(operator: &Operator) -> Result<OperatorCost, String> {
    let (input, weight) = (operator.need(0)?, operator.need(1)?);
    let missing = "stride, padding or dilation are not recorded";
    let steps = Steps {
        padding: operator.wholes(2).ok_or(missing)?,
        stride: operator.wholes(3).ok_or(missing)?,
        dilation: operator.wholes(4).ok_or(missing)?,
        transposed: false,
        output_padding: Vec::new(),
        groups: operator.whole(5).filter(|&groups| groups > 0).ok_or("the groups are not recorded")? as f64,
    };
    let output = steps.output(input, weight)?;
    let bytes = input.bytes()? + weight.bytes()? + elements(&output) * input.element_bytes()?;
    Ok(matrix(input, steps.flops(input, weight, &output), bytes))
}

fn backward(operator: &Operator, convention: Convention) -> Result<OperatorCost, String> {
    let (gradient, input, weight) = (operator.need(0)?, operator.need(1)?, operator.need(2)?);
    let steps = Steps::of(operator, 4)?;
    let mut wanted =
        operator.truths(10).filter(|wanted| wanted.len() == 3).ok_or("which gradients are wanted is not recorded")?;
    if convention == Convention::TraceLens {
        // It always counts input and weights, and no bias.
        wanted = vec![true, true, false];
    }
    let product = steps.flops(input, weight, &gradient.shape);
    let whole = gradient.bytes()? + input.bytes()? + weight.bytes()?;
    let mut cost = matrix(input, 0.0, 0.0);
    for (is_wanted, flops, bytes) in [
        // Gradient and weights read, the input's gradient written; then gradient and input read, the weights' written.
        (wanted.first(), product, whole),
        (wanted.get(1), product, whole),
        // The bias's gradient is summed up while the gradient passes by.
        (wanted.get(2), gradient.elements(), steps_bias(weight, &steps) * weight.element_bytes()?),
    ] {
        if is_wanted == Some(&true) {
            cost.flops += flops;
            cost.model_flops += flops;
            cost.bytes += bytes;
        }
    }
    Ok(cost)
}

/// Channels of the result.
fn steps_bias(weight: &Tensor, steps: &Steps) -> f64 {
    let at = usize::from(steps.transposed);
    weight.shape.get(at).map_or(0.0, |&channels| channels as f64) * if steps.transposed { steps.groups } else { 1.0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType::F32;
    use crate::cost::cost;

    fn convolution(input: &[u64], weight: &[u64], rest: [&str; 6], bias: Option<u64>) -> Operator {
        let operator = Operator::new("aten::convolution").tensor(input, F32).tensor(weight, F32);
        let operator = match bias {
            Some(channels) => operator.tensor(&[channels], F32),
            None => operator.absent(),
        };
        rest.iter().fold(operator, |operator, value| operator.scalar(value))
    }

    fn both(operator: &Operator) -> (f64, f64) {
        let cost = cost(operator, Convention::Exact).unwrap();
        assert_eq!(cost.class, OperatorClass::Convolution);
        (cost.flops, cost.bytes)
    }

    #[test]
    fn forward_by_hand() {
        // 2×3×8×8 by 4×3×3×3, stride 2, padding 1: 2×4×4×4 results of 27 products.
        let plain = ["[2, 2]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1"];
        let operator = convolution(&[2, 3, 8, 8], &[4, 3, 3, 3], plain, None);
        assert_eq!(both(&operator), (2.0 * 128.0 * 27.0, 4.0 * (384.0 + 108.0 + 128.0)));
        let operator = convolution(&[2, 3, 8, 8], &[4, 3, 3, 3], plain, Some(4));
        assert_eq!(both(&operator), (2.0 * 128.0 * 27.0 + 128.0, 4.0 * (384.0 + 108.0 + 128.0 + 4.0)));
        // Depthwise: 6 groups, one channel each.
        let operator = convolution(&[1, 6, 5, 5], &[6, 1, 3, 3], ["[1]", "[0]", "[1]", "False", "[0]", "6"], None);
        assert_eq!(both(&operator).0, 2.0 * 6.0 * 9.0 * 9.0);
        // Transposed, stride 2: 5 → 2·4 + 3 = 11; every input meets 4·9 weights.
        let operator = convolution(&[1, 2, 5, 5], &[2, 4, 3, 3], ["[2]", "[0]", "[1]", "True", "[0]", "1"], None);
        assert_eq!(both(&operator), (2.0 * 50.0 * 36.0, 4.0 * (50.0 + 72.0 + 4.0 * 121.0)));
    }

    #[test]
    fn backward_counts_the_gradients_that_are_wanted() {
        let backward = |mask: &str| {
            let operator = Operator::new("aten::convolution_backward")
                .tensor(&[2, 4, 4, 4], F32)
                .tensor(&[2, 3, 8, 8], F32)
                .tensor(&[4, 3, 3, 3], F32);
            let rest = ["[4]", "[2, 2]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1", mask];
            rest.iter().fold(operator, |operator, value| operator.scalar(value))
        };
        let product = 2.0 * 128.0 * 27.0;
        let bytes = 4.0 * (384.0 + 108.0 + 128.0);
        assert_eq!(both(&backward("[True, True, False]")), (2.0 * product, 2.0 * bytes));
        assert_eq!(both(&backward("[False, True, False]")), (product, bytes));
        assert_eq!(both(&backward("[True, True, True]")), (2.0 * product + 128.0, 2.0 * bytes + 16.0));
    }

    #[test]
    fn a_kernel_wider_than_its_input_is_refused() {
        let wrong = convolution(&[1, 1, 2, 2], &[1, 1, 5, 5], ["[1]", "[0]", "[1]", "False", "[0]", "1"], None);
        assert!(cost(&wrong, Convention::Exact).is_err());
        let no_stride = convolution(&[1, 1, 2, 2], &[1, 1, 1, 1], ["[0]", "[0]", "[1]", "False", "[0]", "1"], None);
        assert!(cost(&no_stride, Convention::Exact).is_err(), "a stride of zero");
    }
}
