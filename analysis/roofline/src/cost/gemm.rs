//! Matrix products: `mm`, `addmm`, `bmm`, `baddbmm`, `linear`, `mv`, scaled products, and the like of serving engines.
//!
//! (M, K) × (K, N): 2MNK FLOPs, plus MN where something is added; bytes of both factors, the result and the addend
//! (NVIDIA, *Matrix Multiplication Background User's Guide*).

use gapless_analysis::Convention;

use super::{Answer, OperatorClass, OperatorCost};
use crate::{DType, Operator};

/// Places of the inputs.
#[derive(Clone, Copy)]
enum Form {
    /// (M, K) × (K, N).
    Plain,
    /// An addend, then the factors.
    Added,
    /// (B, M, K) × (B, K, N).
    Batched,
    /// An addend, then batched factors.
    BatchedAdded,
    /// (…, K) × (N, K), and perhaps an addend: weights as layers keep them.
    Layer,
    /// (M, K) × (K).
    Vector,
    /// An addend, then matrix and vector.
    VectorAdded,
    /// (K) × (K).
    Dot,
    /// Scaled factors of few bits.
    Scaled,
}

fn form(operator: &Operator) -> Option<Form> {
    Some(match operator.base() {
        "mm" | "_int_mm" | "mm_out" => Form::Plain,
        "addmm" | "addmm_" | "_addmm_activation" => Form::Added,
        "bmm" => Form::Batched,
        "baddbmm" | "baddbmm_" => Form::BatchedAdded,
        "linear" | "rocm_unquantized_gemm" | "gemm_a16w16" | "_nnpack_linear" => Form::Layer,
        "mv" => Form::Vector,
        "addmv" | "addmv_" => Form::VectorAdded,
        "dot" | "vdot" => Form::Dot,
        "_scaled_mm" => Form::Scaled,
        _ => return None,
    })
}

pub(super) fn cost(operator: &Operator, convention: Convention) -> Answer {
    form(operator).map(|form| of_form(operator, form, convention))
}

fn of_form(operator: &Operator, form: Form, convention: Convention) -> Result<OperatorCost, String> {
    let (at, added) = match form {
        Form::Added | Form::BatchedAdded | Form::VectorAdded => (1, true),
        _ => (0, false),
    };
    let (a, b) = (operator.need(at)?, operator.need(at + 1)?);
    let (batch, m, n, k, inner) = match form {
        Form::Plain | Form::Added | Form::Scaled => (1.0, a.dim(0)?, b.dim(1)?, a.dim(1)?, b.dim(0)?),
        Form::Batched | Form::BatchedAdded => (a.dim(0)?, a.dim(1)?, b.dim(2)?, a.dim(2)?, b.dim(1)?),
        Form::Layer => {
            let k = a.last_dim()?;
            (1.0, a.elements() / k.max(1.0), b.dim(0)?, k, b.last_dim()?)
        }
        Form::Vector | Form::VectorAdded => (1.0, a.dim(0)?, 1.0, a.dim(1)?, b.dim(0)?),
        Form::Dot => (1.0, 1.0, 1.0, a.dim(0)?, b.dim(0)?),
    };
    if k != inner {
        return Err(format!("the factors do not fit each other: {k} and {inner}"));
    }
    let (bytes_a, bytes_b) = (a.element_bytes()?, b.element_bytes()?);
    let mut flops = 2.0 * batch * m * n * k;
    let mut bytes = batch * (bytes_a * m * k + bytes_b * k * n);
    let result = match form {
        Form::Scaled => scaled_result(operator).unwrap_or(DType::Bf16).bytes(),
        _ => bytes_a,
    };
    bytes += batch * result * m * n;
    let addend = match form {
        Form::Layer => operator.get(2).filter(|addend| addend.elements() == n),
        _ if added => Some(operator.need(0)?),
        _ => None,
    };
    if let Some(addend) = addend {
        flops += batch * m * n;
        // TraceLens takes every addend for a vector, even one of the size of the result.
        let length = if convention == Convention::TraceLens { batch * n } else { addend.elements() };
        bytes += length * addend.element_bytes()?;
    }
    if let Form::Scaled = form {
        for scale in [2, 3].into_iter().filter_map(|index| operator.get(index)) {
            bytes += scale.bytes()?;
        }
    }
    let dtype = a.dtype;
    let cost = OperatorCost::matrix(OperatorClass::Gemm, dtype, flops, bytes);
    Ok(match form {
        Form::Scaled if scaled_result(operator).is_none() => {
            cost.approximate("the type of the result is not recorded and taken as 2 bytes")
        }
        _ => cost,
    })
}

/// The result type of `_scaled_mm(a, b, scale_a, scale_b, bias, scale_result, out_dtype, …)`, a number of PyTorch's.
fn scaled_result(operator: &Operator) -> Option<DType> {
    match operator.whole(6)? {
        5 => Some(DType::F16),
        6 => Some(DType::F32),
        15 => Some(DType::Bf16),
        23..=26 => Some(DType::F8),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cost::cost;
    use DType::{Bf16, F8, F32};

    fn both(operator: Operator) -> (f64, f64) {
        let cost = cost(&operator, Convention::Exact).unwrap();
        assert_eq!(cost.class, OperatorClass::Gemm);
        (cost.flops, cost.bytes)
    }

    #[test]
    fn by_hand() {
        // 2·2·5·3 = 60; 2·(6 + 15 + 10) = 62.
        assert_eq!(both(Operator::new("aten::mm").tensor(&[2, 3], Bf16).tensor(&[3, 5], Bf16)), (60.0, 62.0));
        // An addend of 5: 60 + 10, 62 + 10.
        let addmm = |addend: &[u64]| {
            Operator::new("aten::addmm").tensor(addend, Bf16).tensor(&[2, 3], Bf16).tensor(&[3, 5], Bf16)
        };
        assert_eq!(both(addmm(&[5])), (70.0, 72.0));
        assert_eq!(both(addmm(&[2, 5])), (70.0, 82.0), "an addend of the size of the result is read whole");
        let bmm = Operator::new("aten::bmm").tensor(&[7, 2, 3], F32).tensor(&[7, 3, 5], F32);
        assert_eq!(both(bmm), (420.0, 7.0 * 124.0));
        let linear = Operator::new("aten::linear").tensor(&[2, 2, 3], F32).tensor(&[5, 3], F32).tensor(&[5], F32);
        // 4 rows: 2·4·5·3 + 20; 4·(12 + 15 + 20 + 5).
        assert_eq!(both(linear), (140.0, 208.0));
        assert_eq!(both(Operator::new("aten::mv").tensor(&[4, 3], F32).tensor(&[3], F32)), (24.0, 4.0 * 19.0));
        let scaled = Operator::new("aten::_scaled_mm")
            .tensor(&[16, 32], F8)
            .tensor(&[32, 8], F8)
            .tensor(&[], F32)
            .tensor(&[], F32)
            .absent()
            .absent()
            .scalar("15");
        // 512 + 256 bytes of factors, 128 results of 2 bytes, two scales of 4.
        assert_eq!(both(scaled), (8192.0, 768.0 + 256.0 + 8.0));
    }

    #[test]
    fn factors_that_do_not_fit_are_refused() {
        let wrong = Operator::new("aten::mm").tensor(&[2, 3], Bf16).tensor(&[4, 5], Bf16);
        assert!(cost(&wrong, Convention::Exact).unwrap_err().reason.contains("do not fit"));
    }
}
