//! Element by element: one pass over all inputs, broadcast to a common shape, and one result.
//!
//! One FLOP for each result, whatever the function costs: the unit for these is memory, not arithmetic.

use gapless_analysis::Convention;

use super::{Answer, OperatorClass, OperatorCost, wider};
use crate::operator::{Tensor, elements};
use crate::{DType, Operator};

/// What becomes of the inputs.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// One input, a result of its type.
    Unary,
    /// Inputs that are broadcast, a result of their common type.
    Map,
    /// The same with truth values as result.
    Compare,
    /// The first input is written, the second read.
    Copy,
    /// The first input is written.
    Fill,
    /// A gradient and a saved tensor, a result of the gradient's type.
    Backward,
    /// A mask of one byte is written beside the result.
    Dropout,
}

fn form(base: &str) -> Option<Form> {
    // In-place forms end with an underscore.
    let base = base.strip_suffix('_').unwrap_or(base);
    Some(match base {
        "copy" => Form::Copy,
        "fill" | "zero" | "normal" | "uniform" | "bernoulli" | "random" => Form::Fill,
        "abs"
        | "neg"
        | "exp"
        | "exp2"
        | "expm1"
        | "log"
        | "log1p"
        | "log2"
        | "sqrt"
        | "rsqrt"
        | "reciprocal"
        | "sin"
        | "cos"
        | "tan"
        | "tanh"
        | "sigmoid"
        | "relu"
        | "relu6"
        | "silu"
        | "gelu"
        | "elu"
        | "leaky_relu"
        | "mish"
        | "softplus"
        | "hardtanh"
        | "hardswish"
        | "hardsigmoid"
        | "erf"
        | "floor"
        | "ceil"
        | "round"
        | "trunc"
        | "sign"
        | "clamp"
        | "clamp_min"
        | "clamp_max"
        | "threshold"
        | "square"
        | "bitwise_not"
        | "log_sigmoid"
        | "log_sigmoid_forward"
        | "nan_to_num"
        | "logit"
        | "glu" => Form::Unary,
        "add"
        | "sub"
        | "rsub"
        | "mul"
        | "div"
        | "pow"
        | "maximum"
        | "minimum"
        | "fmod"
        | "remainder"
        | "atan2"
        | "bitwise_and"
        | "bitwise_or"
        | "bitwise_xor"
        | "where"
        | "addcmul"
        | "addcdiv"
        | "lerp"
        | "masked_fill"
        | "floor_divide"
        | "mse_loss"
        | "smooth_l1_loss"
        | "binary_cross_entropy" => Form::Map,
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "logical_and" | "logical_or" | "logical_not" | "logical_xor"
        | "isnan" | "isinf" | "isfinite" => Form::Compare,
        "threshold_backward"
        | "gelu_backward"
        | "silu_backward"
        | "tanh_backward"
        | "sigmoid_backward"
        | "elu_backward"
        | "leaky_relu_backward"
        | "hardtanh_backward"
        | "mse_loss_backward"
        | "native_dropout_backward"
        | "binary_cross_entropy_backward"
        | "softplus_backward" => Form::Backward,
        "native_dropout" | "_fused_dropout" => Form::Dropout,
        _ => return None,
    })
}

pub(super) fn cost(operator: &Operator, convention: Convention) -> Answer {
    form(operator.base()).map(|form| of_form(operator, form, convention))
}

fn vector(dtype: Option<DType>, flops: f64, bytes: f64) -> OperatorCost {
    OperatorCost::vector(OperatorClass::Elementwise, dtype, flops, bytes)
}

fn of_form(operator: &Operator, form: Form, convention: Convention) -> Result<OperatorCost, String> {
    match form {
        Form::Unary => {
            let input = operator.need(0)?;
            // A gate takes two halves to one.
            let result = if operator.base() == "glu" { 0.5 } else { 1.0 };
            Ok(vector(input.dtype, input.elements(), (1.0 + result) * input.bytes()?))
        }
        Form::Copy => {
            let (to, from) = (operator.need(0)?, operator.need(1)?);
            // TraceLens takes what is read to be as large as what is written, and a copy for one FLOP an element.
            let (flops, read) = match convention {
                Convention::TraceLens => (to.elements(), to.elements() * from.element_bytes()?),
                Convention::Exact => (0.0, from.bytes()?),
            };
            Ok(vector(to.dtype, flops, to.bytes()? + read))
        }
        Form::Fill => {
            let to = operator.need(0)?;
            Ok(vector(to.dtype, 0.0, to.bytes()?))
        }
        Form::Dropout => {
            let input = operator.need(0)?;
            Ok(vector(input.dtype, 2.0 * input.elements(), 2.0 * input.bytes()? + input.elements()))
        }
        Form::Backward => {
            let first = operator.need(0)?;
            let shape = broadcast(operator)?;
            let bytes: Result<f64, String> = read(operator).map(Tensor::bytes).sum();
            Ok(vector(first.dtype, elements(&shape), bytes? + elements(&shape) * first.element_bytes()?))
        }
        Form::Map | Form::Compare => map(operator, form, convention),
    }
}

/// The tensors that are read. What follows them is the result, given by the caller (`out=`).
fn read(operator: &Operator) -> impl Iterator<Item = &Tensor> {
    let base = operator.base();
    let count = match base.strip_suffix('_').unwrap_or(base) {
        "where"
        | "addcmul"
        | "addcdiv"
        | "lerp"
        | "mse_loss_backward"
        | "binary_cross_entropy_backward"
        | "smooth_l1_loss_backward" => 3,
        "isnan" | "isinf" | "isfinite" | "logical_not" => 1,
        _ => 2,
    };
    (0..count).filter_map(|index| operator.get(index))
}

/// The common shape of the tensors that are read.
fn broadcast(operator: &Operator) -> Result<Vec<u64>, String> {
    let mut common: Vec<u64> = Vec::new();
    for tensor in read(operator) {
        if tensor.shape.len() > common.len() {
            let missing = tensor.shape.len() - common.len();
            common.splice(0..0, std::iter::repeat_n(1, missing));
        }
        for (have, &new) in common.iter_mut().rev().zip(tensor.shape.iter().rev()) {
            match (*have, new) {
                (have, new) if have == new => {}
                (1, _) => *have = new,
                (_, 1) => {}
                _ => return Err(format!("shapes cannot be broadcast: {have} and {new}")),
            }
        }
    }
    Ok(common)
}

fn map(operator: &Operator, form: Form, convention: Convention) -> Result<OperatorCost, String> {
    // One of the first two may be a number.
    operator.need(0).or_else(|_| operator.need(1))?;
    let shape = broadcast(operator)?;
    let bytes: Result<f64, String> = read(operator).map(Tensor::bytes).sum();
    let mut bytes = bytes?;
    // Numbers, and tensors without dimensions beside some with, do not widen the result but from whole to floating.
    let sized = |tensor: &&Tensor| tensor.shape.is_empty() == shape.is_empty();
    let condition = |tensor: &&Tensor| tensor.dtype != Some(DType::Bool);
    let types = || read(operator).filter(sized);
    let masks = matches!(operator.base(), "where" | "masked_fill" | "masked_fill_");
    let dtype =
        types().filter(|tensor| !masks || condition(tensor)).fold(None, |dtype, tensor| wider(dtype, tensor.dtype));
    let dtype = dtype.or_else(|| read(operator).find(condition).and_then(|tensor| tensor.dtype));
    let in_place = operator.base().ends_with('_');
    let dtype = if in_place { operator.get(0).and_then(|first| first.dtype).or(dtype) } else { dtype };
    let mut result = match form {
        Form::Compare => 1.0,
        _ => dtype.map_or(0.0, DType::bytes),
    };
    // Dividing whole numbers gives floating-point ones.
    if operator.base() == "div" && dtype.is_some_and(|dtype| !dtype.is_float() && dtype.bytes() <= 8.0) {
        result = 4.0;
    }
    if convention == Convention::TraceLens && operator.base() != "pow" {
        // It reads a number as an element of 4 bytes, and writes the wider type of the first two inputs.
        let of = |index: usize| operator.get(index).filter(sized).and_then(|tensor| tensor.dtype).map(DType::bytes);
        let number = matches!(operator.inputs.get(1), Some(crate::Input::Scalar(_)));
        bytes += if number { 4.0 } else { 0.0 };
        result = of(0).unwrap_or(0.0).max(of(1).unwrap_or(0.0));
    }
    let written = elements(&shape);
    Ok(vector(dtype, written, bytes + written * result))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType::{Bf16, Bool, F32, F64, I64};
    use crate::cost::cost;

    fn both(operator: &Operator) -> (f64, f64) {
        let cost = cost(operator, Convention::Exact).unwrap();
        assert_eq!(cost.class, OperatorClass::Elementwise);
        (cost.flops, cost.bytes)
    }

    #[test]
    fn by_hand() {
        let op = Operator::new;
        assert_eq!(both(&op("aten::silu").tensor(&[4, 8], Bf16)), (32.0, 128.0));
        assert_eq!(both(&op("aten::relu_").tensor(&[4, 8], F32)), (32.0, 256.0));
        let add = op("aten::add").tensor(&[4, 8], Bf16).tensor(&[4, 8], Bf16).scalar("1");
        assert_eq!(both(&add), (32.0, 192.0));
        // Broadcast: 32 results, 32 + 8 inputs; FP32 with BF16 gives FP32.
        let mixed = op("aten::mul").tensor(&[4, 8], Bf16).tensor(&[8], F32);
        assert_eq!(both(&mixed), (32.0, 64.0 + 32.0 + 128.0));
        // A tensor without dimensions does not widen.
        let zero = op("aten::mul").tensor(&[4, 8], Bf16).tensor(&[], F64);
        assert_eq!(both(&zero), (32.0, 64.0 + 8.0 + 64.0));
        let outer = op("aten::add").tensor(&[4, 1], F32).tensor(&[1, 8], F32);
        assert_eq!(both(&outer), (32.0, 16.0 + 32.0 + 128.0));
        let compare = op("aten::eq").tensor(&[4, 8], I64).scalar("1");
        assert_eq!(both(&compare), (32.0, 256.0 + 32.0));
        let copy = op("aten::copy_").tensor(&[4, 8], Bf16).tensor(&[4, 8], F32).scalar("False");
        assert_eq!(both(&copy), (0.0, 64.0 + 128.0));
        let spread = op("aten::copy_").tensor(&[4, 8], F32).tensor(&[8], F32).scalar("False");
        assert_eq!(both(&spread), (0.0, 128.0 + 32.0));
        assert_eq!(both(&op("aten::fill_").tensor(&[4, 8], F32).scalar("0")), (0.0, 128.0));
        let choose = op("aten::where").tensor(&[4, 8], Bool).tensor(&[], Bf16).tensor(&[4, 8], Bf16);
        assert_eq!(both(&choose), (32.0, 32.0 + 2.0 + 64.0 + 64.0));
        let backward = op("aten::threshold_backward").tensor(&[4, 8], Bf16).tensor(&[4, 8], Bf16).scalar("0");
        assert_eq!(both(&backward), (32.0, 192.0));
        // The caller gives the result, which is not read.
        let out = op("aten::mul").tensor(&[512], Bf16).tensor(&[], F64).tensor(&[512], Bf16);
        assert_eq!(both(&out), (512.0, 1024.0 + 8.0 + 1024.0));
        let dropout = op("aten::native_dropout").tensor(&[4, 8], Bf16).scalar("0.1");
        assert_eq!(both(&dropout), (64.0, 128.0 + 32.0));
    }

    #[test]
    fn shapes_that_cannot_be_broadcast_are_refused() {
        let wrong = Operator::new("aten::add").tensor(&[4, 8], F32).tensor(&[3, 8], F32);
        assert!(cost(&wrong, Convention::Exact).unwrap_err().reason.contains("broadcast"));
    }
}
