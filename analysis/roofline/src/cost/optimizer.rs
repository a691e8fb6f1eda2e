//! Steps of optimizers, fused over lists of tensors, and the other operators over lists.
//!
//! A trace gives the shapes of a list but not its type; the kernel's name often does.

use gapless_analysis::Convention;

use super::{Answer, OperatorClass, OperatorCost};
use crate::operator::Tensor;
use crate::{DType, Operator};

pub(super) fn cost(operator: &Operator, _: Convention) -> Answer {
    let base = operator.base();
    let base = base.strip_suffix('_').unwrap_or(base);
    Some(match base {
        // Parameters, moments and second moments are read and written, gradients read: 28 bytes of FP32.
        "_fused_adam" | "_fused_adamw" => fused(operator, 4, 3, 12.0),
        // Parameters and momenta read and written, gradients read.
        "_fused_sgd" => fused(operator, 3, 2, 4.0),
        "_fused_adagrad" => fused(operator, 3, 2, 6.0),
        _ => return foreach(operator, base.strip_prefix("_foreach_")?),
    })
}

/// The element type of lists: of the list, else what the kernels' names say.
fn list_type(operator: &Operator, tensors: &[Tensor]) -> Result<DType, String> {
    let known = tensors.first().and_then(|tensor| tensor.dtype);
    known.or_else(|| of_kernels(&operator.kernels)).ok_or_else(|| {
        "the element type of a list of tensors is not recorded, and its kernels do not name one type".to_owned()
    })
}

/// The one type that the template arguments of kernels name.
pub(super) fn of_kernels(kernels: &[String]) -> Option<DType> {
    let mut found = None;
    for name in kernels {
        let types = [
            ("c10::BFloat16", DType::Bf16),
            ("__hip_bfloat16", DType::Bf16),
            ("__nv_bfloat16", DType::Bf16),
            ("c10::Half", DType::F16),
            ("__half", DType::F16),
            ("<float", DType::F32),
            ("<double", DType::F64),
            ("<long", DType::I64),
            ("<int,", DType::I32),
        ];
        // The first one that is named counts: later ones are types of sums and scalars.
        let first = types.iter().filter_map(|(text, dtype)| Some((name.find(text)?, *dtype))).min_by_key(|at| at.0);
        let dtype = first?.1;
        if found.is_some_and(|found| found != dtype) {
            return None;
        }
        found = Some(dtype);
    }
    found
}

fn total(tensors: &[Tensor]) -> f64 {
    tensors.iter().map(Tensor::elements).sum()
}

fn fused(operator: &Operator, reads: usize, writes: usize, flops: f64) -> Result<OperatorCost, String> {
    let parameters = operator.need_list(0)?;
    let elements = total(parameters);
    let dtype = list_type(operator, parameters)?;
    // A list that is empty is not used (SGD without momentum).
    let used = (0..reads).filter(|&index| matches!(operator.need_list(index), Ok(list) if total(list) > 0.0)).count();
    let missing = reads - used;
    let bytes = elements * dtype.bytes() * (used + writes - missing.min(writes)) as f64;
    Ok(OperatorCost::vector(OperatorClass::Optimizer, Some(dtype), flops * elements, bytes))
}

/// `_foreach_add` and the like: one pass over lists, written to the first or to a new one.
fn foreach(operator: &Operator, base: &str) -> Answer {
    let (flops, writes) = match base {
        "add" | "sub" | "mul" | "div" | "neg" | "abs" | "sqrt" | "reciprocal" | "maximum" | "minimum" | "sign"
        | "clamp_min" | "clamp_max" | "exp" | "pow" => (1.0, 1.0),
        "addcmul" | "addcdiv" | "lerp" => (3.0, 1.0),
        "norm" => (2.0, 0.0),
        "zero" => {
            return Some(operator.need_list(0).and_then(|list| {
                let dtype = list_type(operator, list)?;
                let bytes = total(list) * dtype.bytes();
                Ok(OperatorCost::vector(OperatorClass::Optimizer, Some(dtype), 0.0, bytes))
            }));
        }
        // Written, not read, is the first list.
        "copy" => {
            return Some(operator.need_list(0).and_then(|list| {
                let dtype = list_type(operator, list)?;
                let bytes = 2.0 * total(list) * dtype.bytes();
                Ok(OperatorCost::vector(OperatorClass::Optimizer, Some(dtype), 0.0, bytes))
            }));
        }
        _ => return None,
    };
    Some(operator.need_list(0).and_then(|first| {
        let dtype = list_type(operator, first)?;
        let elements = total(first);
        let lists = (0..operator.inputs.len()).filter_map(|index| operator.need_list(index).ok());
        let read: f64 = lists.map(total).sum();
        let bytes = (read + writes * elements) * dtype.bytes();
        Ok(OperatorCost::vector(OperatorClass::Optimizer, Some(dtype), flops * elements, bytes))
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cost::cost;

    #[test]
    fn by_hand() {
        let shapes: &[&[u64]] = &[&[10, 10], &[28]];
        let mut adam = Operator::new("aten::_fused_adamw_");
        for _ in 0..4 {
            adam = adam.list(shapes, Some(DType::F32));
        }
        let found = cost(&adam, Convention::Exact).unwrap();
        assert_eq!((found.flops, found.bytes), (12.0 * 128.0, 28.0 * 128.0));
        let sgd = Operator::new("aten::_fused_sgd_").list(shapes, Some(DType::F32)).list(shapes, Some(DType::F32));
        let momentum = sgd.clone().list(shapes, Some(DType::F32));
        assert_eq!(cost(&sgd, Convention::Exact).unwrap().bytes, 12.0 * 128.0);
        assert_eq!(cost(&momentum, Convention::Exact).unwrap().bytes, 20.0 * 128.0);
    }

    #[test]
    fn the_kernels_name_the_type_of_a_list() {
        let mut add = Operator::new("aten::_foreach_add_").list(&[&[128, 128], &[128]], None);
        add = add.list(&[&[128, 128], &[128]], None).scalar("-0.001");
        assert!(cost(&add, Convention::Exact).unwrap_err().reason.contains("element type"));
        add.kernels = vec!["multi_tensor_apply_kernel<TensorListMetadata<2>, BinaryOpListAlphaFunctor<float, 2, 2, 0>, std::plus<float>, float>".to_owned()];
        let found = cost(&add, Convention::Exact).unwrap();
        assert_eq!((found.flops, found.bytes), (16_512.0, 3.0 * 4.0 * 16_512.0));
    }
}
