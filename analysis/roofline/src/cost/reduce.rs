//! Sums, means, norms, extremes, and scans.

use gapless_analysis::Convention;

use super::{Answer, OperatorClass, OperatorCost};
use crate::operator::Tensor;
use crate::{DType, Operator};

pub(super) fn cost(operator: &Operator, convention: Convention) -> Answer {
    // Which input names the dimensions, FLOPs an element, bytes of a result (0: as the input).
    let (dims, flops, result) = match operator.base() {
        "sum" | "mean" | "prod" | "amax" | "amin" | "logsumexp" | "nansum" => (1, 1.0, 0.0),
        "max" | "min" | "median" => (1, 1.0, 0.0),
        "argmax" | "argmin" => (1, 1.0, 8.0),
        "all" | "any" => (1, 1.0, 1.0),
        "var" | "std" | "var_mean" | "std_mean" => (1, 4.0, 0.0),
        "norm" | "linalg_norm" | "linalg_vector_norm" => {
            (2, if convention == Convention::TraceLens { 1.0 } else { 2.0 }, 0.0)
        }
        "cumsum" | "cumprod" | "cumsum_" => return Some(scan(operator)),
        _ => return None,
    };
    Some(reduce(operator, dims, flops, result, convention))
}

fn vector(input: &Tensor, flops: f64, bytes: f64) -> OperatorCost {
    OperatorCost::vector(OperatorClass::Reduction, input.dtype, flops, bytes)
}

fn reduce(
    operator: &Operator,
    dims: usize,
    flops: f64,
    result_bytes: f64,
    convention: Convention,
) -> Result<OperatorCost, String> {
    let input = operator.need(0)?;
    if convention == Convention::Exact
        && matches!(operator.base(), "max" | "min")
        && operator.get(1).is_some_and(|other| !other.shape.is_empty())
    {
        return Err("whether the second tensor is compared with or written to is not recorded".to_owned());
    }
    let results = match convention {
        // TraceLens takes every result for a single number.
        Convention::TraceLens => 1.0,
        Convention::Exact => results(operator, input, dims)?,
    };
    let element = input.element_bytes()?;
    // Sums of truth values and whole numbers are 64-bit.
    let summed = matches!(operator.base(), "sum" | "prod") && input.dtype.is_some_and(|dtype| !dtype.is_float());
    let result = if result_bytes > 0.0 {
        result_bytes
    } else if summed {
        DType::I64.bytes()
    } else {
        element
    };
    Ok(vector(input, flops * input.elements(), input.bytes()? + results * result))
}

/// How many results there are: the lengths of the dimensions that stay.
fn results(operator: &Operator, input: &Tensor, dims: usize) -> Result<f64, String> {
    let rank = input.shape.len() as i64;
    let reduced = match operator.inputs.get(dims) {
        // All of them: without dimensions, or with an argument of another kind in their place (a type).
        None | Some(crate::Input::Absent) => return Ok(1.0),
        Some(crate::Input::Scalar(text)) if text.is_empty() && operator.inputs.len() > dims + 1 => {
            return Err("the dimensions are not recorded".to_owned());
        }
        _ => operator.wholes(dims).unwrap_or_default(),
    };
    // `sum(input, dtype)` has two inputs and no dimensions.
    if reduced.is_empty() || operator.inputs.len() == 2 && dims == 1 && rank == 0 {
        return Ok(1.0);
    }
    let stays =
        |(at, _): &(usize, &u64)| !reduced.iter().any(|&dim| if dim < 0 { dim + rank } else { dim } == *at as i64);
    Ok(input.shape.iter().enumerate().filter(stays).map(|(_, &length)| length as f64).product())
}

fn scan(operator: &Operator) -> Result<OperatorCost, String> {
    let input = operator.need(0)?;
    Ok(vector(input, input.elements(), 2.0 * input.bytes()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType::{Bool, F32};
    use crate::cost::cost;

    #[test]
    fn by_hand() {
        let both = |operator: Operator| {
            let cost = cost(&operator, Convention::Exact).unwrap();
            (cost.flops, cost.bytes)
        };
        let mean =
            |dims: &str| Operator::new("aten::mean").tensor(&[4, 6, 8], F32).scalar(dims).scalar("True").absent();
        assert_eq!(both(mean("[-1]")), (192.0, 4.0 * (192.0 + 24.0)));
        assert_eq!(both(mean("[0, 2]")), (192.0, 4.0 * (192.0 + 6.0)));
        assert_eq!(both(Operator::new("aten::sum").tensor(&[4, 6], F32).absent()), (24.0, 100.0));
        assert_eq!(both(Operator::new("aten::all").tensor(&[4, 6], Bool)), (24.0, 25.0));
        let argmax = Operator::new("aten::argmax").tensor(&[32, 100], F32).scalar("-1").scalar("False");
        assert_eq!(both(argmax), (3200.0, 12_800.0 + 256.0));
        let norm = Operator::new("aten::linalg_vector_norm").tensor(&[4, 6], F32).scalar("2").scalar("[-1]");
        assert_eq!(both(norm), (48.0, 4.0 * 28.0));
    }

    #[test]
    fn dimensions_that_are_not_recorded_are_not_guessed() {
        let mean = Operator::new("aten::mean").tensor(&[4, 6, 8], F32).scalar("").scalar("").absent();
        assert!(cost(&mean, Convention::Exact).unwrap_err().reason.contains("dimensions"));
    }
}
