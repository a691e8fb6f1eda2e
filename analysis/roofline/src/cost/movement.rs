//! What only moves elements: concatenations, gathers, scatters, pads. Copies are element-wise operators.

use gapless_analysis::Convention;

use super::optimizer::of_kernels;
use super::{Answer, OperatorClass, OperatorCost};
use crate::operator::Tensor;
use crate::{DType, Operator};

pub(super) fn cost(operator: &Operator, _: Convention) -> Answer {
    let base = operator.base();
    Some(match base {
        "cat" | "_cat" | "stack" | "concat" => cat(operator),
        "index_select" => index_select(operator),
        "gather" | "take_along_dim" => gather(operator),
        "index" => index(operator),
        "index_put_" | "_index_put_impl_" | "index_add_" | "index_copy_" | "scatter_add_" | "scatter_" | "scatter" => {
            scatter(operator, base)
        }
        // Filled with zeros, then a part is copied; the result has the shape of the input before the cut.
        "slice_backward" | "select_backward" => cut_backward(operator),
        "flip" | "roll" | "repeat_interleave" | "tril" | "triu" | "tril_" | "triu_" => map(operator),
        "permute_2D_sparse_data" | "permute_sparse_features" | "permute_pooled_embs_auto_grad" => map_all(operator),
        "max_pool2d_with_indices" | "avg_pool2d" => pool(operator),
        "max_pool2d_with_indices_backward" => pool_backward(operator),
        "nonzero" | "masked_select" | "_unique2" | "unique_dim" => {
            Err("how much comes out depends on the data".to_owned())
        }
        _ => return None,
    })
}

fn moved(dtype: Option<DType>, bytes: f64) -> OperatorCost {
    OperatorCost::vector(OperatorClass::Movement, dtype, 0.0, bytes)
}

/// Bytes of an element of a list, which only kernels tell (`OpaqueType<2u>`, a type as template argument).
fn list_bytes(operator: &Operator, tensors: &[Tensor]) -> Result<f64, String> {
    if let Some(dtype) = tensors.first().and_then(|tensor| tensor.dtype) {
        return Ok(dtype.bytes());
    }
    let opaque = operator.kernels.iter().find_map(|name| {
        let (_, rest) = name.split_once("OpaqueType<")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<f64>().ok().filter(|bytes| (1.0..=16.0).contains(bytes))
    });
    opaque
        .or_else(|| of_kernels(&operator.kernels).map(DType::bytes))
        .ok_or_else(|| "the element type of a list of tensors is not recorded".to_owned())
}

fn cat(operator: &Operator) -> Result<OperatorCost, String> {
    let tensors = operator.need_list(0)?;
    let elements: f64 = tensors.iter().map(Tensor::elements).sum();
    Ok(moved(None, 2.0 * elements * list_bytes(operator, tensors)?))
}

/// input, dimension, indices: the result has as many slices as there are indices.
fn index_select(operator: &Operator) -> Result<OperatorCost, String> {
    let (input, indices) = (operator.need(0)?, operator.need(2)?);
    let dim = operator.whole(1).ok_or("the dimension is not recorded")?;
    let at = if dim < 0 { dim + input.shape.len() as i64 } else { dim };
    let length = usize::try_from(at).map_err(|_| "the dimension is absurd".to_owned()).and_then(|at| input.dim(at))?;
    let result = input.bytes()? / length.max(1.0) * indices.elements();
    Ok(moved(input.dtype, 2.0 * result + indices.bytes()?))
}

fn gather(operator: &Operator) -> Result<OperatorCost, String> {
    let (input, indices) = (operator.need(0)?, operator.need(2)?);
    Ok(moved(input.dtype, 2.0 * indices.elements() * input.element_bytes()? + indices.bytes()?))
}

/// input, a list of indices (`None` for a dimension that stays whole); one index selects slices of the first dimension.
fn index(operator: &Operator) -> Result<OperatorCost, String> {
    let input = operator.need(0)?;
    let indices = operator.need_list(1)?;
    let [only] = indices else {
        return Err("several indices at once; which dimensions stay whole is not recorded".to_owned());
    };
    if only.shape.is_empty() {
        return Err("the shape of the index is not recorded".to_owned());
    }
    if only.shape == input.shape {
        return Err("a mask may select any number of elements".to_owned());
    }
    let slice = input.bytes()? / input.dim(0)?.max(1.0);
    Ok(moved(input.dtype, 2.0 * slice * only.elements() + 8.0 * only.elements()))
}

/// What is written is read before where it is added.
fn scatter(operator: &Operator, base: &str) -> Result<OperatorCost, String> {
    let input = operator.need(0)?;
    let (indices, source) = match base {
        "index_put_" | "_index_put_impl_" => {
            let indices: f64 = operator.need_list(1)?.iter().map(Tensor::elements).sum();
            (8.0 * indices, operator.need(2)?)
        }
        _ => (operator.need(2)?.bytes()?, operator.need(3)?),
    };
    let passes = if base.contains("add") || operator.truth(3) == Some(true) { 3.0 } else { 2.0 };
    let written = source.elements().max(1.0) * input.element_bytes()?;
    Ok(moved(input.dtype, indices + passes * written))
}

fn cut_backward(operator: &Operator) -> Result<OperatorCost, String> {
    let gradient = operator.need(0)?;
    let shape = operator.wholes(1).ok_or("the shape of the result is not recorded")?;
    let result: f64 = shape.iter().map(|&length| length as f64).product();
    Ok(moved(gradient.dtype, 2.0 * gradient.bytes()? + result * gradient.element_bytes()?))
}

fn map(operator: &Operator) -> Result<OperatorCost, String> {
    let input = operator.need(0)?;
    Ok(moved(input.dtype, 2.0 * input.bytes()?))
}

/// All tensors among the inputs are read and about as much is written.
fn map_all(operator: &Operator) -> Result<OperatorCost, String> {
    operator.need(0)?;
    let bytes: Result<f64, String> = operator.tensors().map(Tensor::bytes).sum();
    Ok(moved(None, 2.0 * bytes?).approximate("as much is taken to be written as is read"))
}

/// input, kernel, stride, padding, dilation, ceiling: every input read once, every result and its place written.
fn pool(operator: &Operator) -> Result<OperatorCost, String> {
    let input = operator.need(0)?;
    let missing = "the size of the window is not recorded";
    let (kernel, stride, padding) = (operator.wholes(1), operator.wholes(2), operator.wholes(3));
    let (kernel, stride, padding) = (kernel.ok_or(missing)?, stride.ok_or(missing)?, padding.ok_or(missing)?);
    let stride = if stride.is_empty() { kernel.clone() } else { stride };
    let spatial = kernel.len();
    let leading = input.shape.len().checked_sub(spatial).ok_or("the window has more dimensions than the input")?;
    let mut results: f64 = crate::operator::elements(input.shape.get(..leading).unwrap_or_default());
    let windows = input.shape.iter().skip(leading).zip(kernel.iter().zip(stride.iter().zip(&padding)));
    for (&length, (&window, (&step, &pad))) in windows {
        if step <= 0 {
            return Err(missing.to_owned());
        }
        results *= ((length as f64 + 2.0 * pad as f64 - window as f64) / step as f64).floor() + 1.0;
    }
    let window: f64 = kernel.iter().map(|&length| length as f64).product();
    let places = if operator.base() == "max_pool2d_with_indices" { 8.0 } else { 0.0 };
    let bytes = input.bytes()? + results * (input.element_bytes()? + places);
    Ok(OperatorCost::vector(OperatorClass::Reduction, input.dtype, results * window, bytes))
}

/// gradient, input, …, places: the input's gradient is filled with zeros, then one element for each result is added to.
fn pool_backward(operator: &Operator) -> Result<OperatorCost, String> {
    let (gradient, input) = (operator.need(0)?, operator.need(1)?);
    let places = 8.0 * gradient.elements();
    let bytes = gradient.bytes()? + places + input.bytes()? + 2.0 * gradient.bytes()?;
    Ok(OperatorCost::vector(OperatorClass::Movement, gradient.dtype, gradient.elements(), bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType::{Bf16, F32, I64};
    use crate::cost::cost;

    fn bytes(operator: &Operator) -> f64 {
        let cost = cost(operator, Convention::Exact).unwrap();
        assert_eq!(cost.flops, 0.0);
        cost.bytes
    }

    #[test]
    fn by_hand() {
        assert_eq!(bytes(&Operator::new("aten::cat").list(&[&[4, 8], &[2, 8]], Some(F32))), 2.0 * 48.0 * 4.0);
        let mut cat = Operator::new("aten::cat").list(&[&[4, 8], &[2, 8]], None);
        cat.kernels = vec!["CatArrayBatchedCopy<OpaqueType<2u>, unsigned int, 4, 64, 64>".to_owned()];
        assert_eq!(bytes(&cat), 2.0 * 48.0 * 2.0, "the kernel names the size of an element");
        let select = Operator::new("aten::index_select").tensor(&[512, 64], Bf16).scalar("0").tensor(&[141], I64);
        assert_eq!(bytes(&select), 2.0 * 141.0 * 128.0 + 141.0 * 8.0);
        let gather = Operator::new("aten::gather").tensor(&[10, 10], F32).scalar("0").tensor(&[3, 5], I64);
        assert_eq!(bytes(&gather), 2.0 * 60.0 + 120.0);
        let index = Operator::new("aten::index").tensor(&[8, 16], F32).list(&[&[3]], None);
        assert_eq!(bytes(&index), 2.0 * 3.0 * 64.0 + 24.0);
        let slice = Operator::new("aten::slice_backward").tensor(&[4, 2], F32).scalar("[4, 8]");
        assert_eq!(bytes(&slice), 2.0 * 32.0 + 128.0);
    }

    #[test]
    fn pooling_by_hand() {
        let pool = Operator::new("aten::max_pool2d_with_indices")
            .tensor(&[1, 2, 8, 8], F32)
            .scalar("[3, 3]")
            .scalar("[2, 2]")
            .scalar("[1, 1]");
        let found = cost(&pool, Convention::Exact).unwrap();
        // 2×4×4 results of windows of 9; results and 8-byte places.
        assert_eq!((found.flops, found.bytes), (288.0, 4.0 * 128.0 + 32.0 * 12.0));
    }

    #[test]
    fn what_depends_on_data_is_not_guessed() {
        let nonzero = Operator::new("aten::nonzero").tensor(&[8], F32);
        assert!(cost(&nonzero, Convention::Exact).unwrap_err().reason.contains("depends on the data"));
    }
}
