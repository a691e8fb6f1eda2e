//! Attention in one kernel, forward and backward: PyTorch's scaled dot products, FlashAttention with equal or varying
//! lengths, and the engines of serving.
//!
//! Forward is two products, QKᵀ and PV: 2·H·pairs·(d_qk + d_v) FLOPs, where *pairs* counts the queries and keys that
//! meet: N_q·N_kv for each sequence, the triangle under the diagonal where it is causal. Grouped queries change only the
//! bytes of K and V. Backward is five products, one of them (QKᵀ) computed anew: 2·H·pairs·(3·d_qk + 2·d_v), 2.5 times
//! forward for equal heads (Dao, *FlashAttention-2*, 2023, §4.1).

use gapless_analysis::Convention;

use super::{Answer, OperatorClass, OperatorCost};
use crate::operator::{Requests, Tensor};
use crate::{DType, Operator};

/// How the dimensions of queries, keys and values are ordered.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// Batch, heads, length, size.
    HeadsFirst,
    /// Batch, length, heads, size.
    LengthFirst,
}

/// One attention: sizes of all sequences together.
struct Sizes {
    heads: f64,
    /// Queries that meet keys, over all sequences.
    pairs: f64,
    size_qk: f64,
    size_v: f64,
    /// Elements of queries, keys, values and result.
    elements: [f64; 4],
    dtype: Option<DType>,
    element_bytes: f64,
    approximate: Option<&'static str>,
}

pub(super) fn cost(operator: &Operator, convention: Convention) -> Answer {
    use Layout::{HeadsFirst, LengthFirst};
    // Where q lies, its layout, which input says whether it is causal, and whether it is the backward pass.
    let (at, layout, causal, backward) = match operator.base() {
        "_scaled_dot_product_flash_attention" => (0, HeadsFirst, 4, false),
        "_scaled_dot_product_efficient_attention" | "_scaled_dot_product_cudnn_attention" => (0, HeadsFirst, 6, false),
        "_scaled_dot_product_fused_attention_overrideable" => (0, HeadsFirst, 5, false),
        "_scaled_dot_product_flash_attention_backward" | "_scaled_dot_product_efficient_attention_backward" => {
            (1, HeadsFirst, 11, true)
        }
        "_scaled_dot_product_cudnn_attention_backward" => (1, HeadsFirst, 14, true),
        "_flash_attention_forward" => (0, LengthFirst, 8, false),
        "_flash_attention_backward" => (1, LengthFirst, 11, true),
        "_flash_attn_forward" => (0, LengthFirst, 5, false),
        "_flash_attn_backward" => (1, LengthFirst, 11, true),
        "_flash_attn_varlen_forward" => (0, LengthFirst, 9, false),
        "unified_attention_with_output" | "unified_attention" | "attention_paged_attention_ragged" => {
            return Some(serving(operator, convention));
        }
        _ => return None,
    };
    let sizes = sizes(operator, at, layout, causal, convention);
    Some(sizes.map(|sizes| if backward { sizes.backward() } else { sizes.forward() }))
}

impl Sizes {
    fn forward(&self) -> OperatorCost {
        let flops = 2.0 * self.heads * self.pairs * (self.size_qk + self.size_v);
        let bytes = self.element_bytes * self.elements.iter().sum::<f64>();
        OperatorCost {
            approximate: self.approximate,
            ..OperatorCost::matrix(OperatorClass::Attention, self.dtype, flops, bytes)
        }
    }

    /// Reads q, k, v, the result and its gradient; writes three gradients.
    fn backward(&self) -> OperatorCost {
        let pairs = 2.0 * self.heads * self.pairs;
        let [q, k, v, out] = self.elements;
        let bytes = self.element_bytes * (2.0 * (q + k + v) + 2.0 * out);
        OperatorCost {
            flops: pairs * (3.0 * self.size_qk + 2.0 * self.size_v),
            model_flops: 2.0 * pairs * (self.size_qk + self.size_v),
            approximate: self.approximate,
            ..OperatorCost::matrix(OperatorClass::Attention, self.dtype, 0.0, bytes)
        }
    }
}

/// Queries and keys that meet in one causal sequence, with the diagonal at the start (`is_causal` of PyTorch) or at the
/// end (FlashAttention since 2.1).
fn causal_pairs(queries: f64, keys: f64, from_end: bool) -> f64 {
    if queries <= keys {
        let triangle = queries * (queries + 1.0) / 2.0;
        return if from_end { triangle + queries * (keys - queries) } else { triangle };
    }
    let triangle = keys * (keys + 1.0) / 2.0;
    if from_end { triangle } else { triangle + keys * (queries - keys) }
}

fn sizes(
    operator: &Operator,
    at: usize,
    layout: Layout,
    causal: usize,
    convention: Convention,
) -> Result<Sizes, String> {
    let [q, k, v] = [operator.need(at)?, operator.need(at + 1)?, operator.need(at + 2)?];
    let is_causal = operator.truth(causal).ok_or("whether it is causal is not recorded")?;
    if q.shape.len() == 3 {
        return varying(operator, at, [q, k, v], is_causal);
    }
    let of = |tensor: &Tensor| -> Result<[f64; 4], String> {
        let [batch, second, third, size] = [tensor.dim(0)?, tensor.dim(1)?, tensor.dim(2)?, tensor.dim(3)?];
        Ok(if layout == Layout::HeadsFirst { [batch, second, third, size] } else { [batch, third, second, size] })
    };
    let ([batch, heads, queries, size_qk], [_, _, keys, _], [_, _, _, size_v]) = (of(q)?, of(k)?, of(v)?);
    let pairs = match (is_causal, convention) {
        // TraceLens halves squares and leaves the diagonal out of account.
        (true, Convention::TraceLens) if queries == keys => queries * keys / 2.0,
        (true, Convention::Exact) => causal_pairs(queries, keys, layout == Layout::LengthFirst),
        _ => queries * keys,
    };
    Ok(Sizes {
        heads,
        pairs: batch * pairs,
        size_qk,
        size_v,
        elements: [q.elements(), k.elements(), v.elements(), batch * heads * queries * size_v],
        dtype: q.dtype,
        element_bytes: q.element_bytes()?,
        approximate: None,
    })
}

/// Sequences of varying lengths, one after the other: (tokens, heads, size), with the cumulative lengths as a tensor
/// whose values no trace holds. Only their number is known.
fn varying(operator: &Operator, at: usize, [q, k, v]: [&Tensor; 3], is_causal: bool) -> Result<Sizes, String> {
    let cumulative = operator.inputs.iter().enumerate().skip(at + 3).find_map(|(index, _)| {
        let tensor = operator.get(index)?;
        let is_index = matches!(tensor.dtype, Some(DType::I32 | DType::I64));
        (is_index && tensor.shape.len() == 1 && tensor.elements() >= 2.0).then(|| tensor.elements())
    });
    let sequences = cumulative.ok_or("the number of sequences is not recorded")? - 1.0;
    let (heads, size_qk, size_v) = (q.dim(1)?, q.dim(2)?, v.dim(2)?);
    let (queries, keys) = (q.dim(0)? / sequences, k.dim(0)? / sequences);
    let pairs = if is_causal { causal_pairs(queries, keys, true) } else { queries * keys };
    Ok(Sizes {
        heads,
        pairs: sequences * pairs,
        size_qk,
        size_v,
        elements: [q.elements(), k.elements(), v.elements(), q.dim(0)? * heads * size_v],
        dtype: q.dtype,
        element_bytes: q.element_bytes()?,
        // Squares of lengths that differ are more than the square of their mean.
        approximate: (sequences > 1.0).then_some("sequences are taken for equally long: a lower bound"),
    })
}

/// Attention of a serving engine: (tokens, heads, size) of new tokens; what was read before lies in a cache of which
/// only the engine's annotation tells the lengths.
fn serving(operator: &Operator, convention: Convention) -> Result<OperatorCost, String> {
    let q = operator.need(0)?;
    let batch = operator.batch.ok_or("the lengths of the requests are not recorded")?;
    let (heads, size) = (q.dim(1)?, q.dim(2)?);
    // The cache's own shape (blocks, 1, heads, size), or the new keys'.
    let cache = [3, 1].into_iter().find_map(|index| operator.get(index).filter(|cache| cache.shape.len() == 4));
    let heads_kv = match cache {
        Some(cache) => cache.dim(2)?,
        None => operator.need(1)?.dim(1)?,
    };
    let element_bytes = q.element_bytes()?;
    let both = |pick: fn(Requests) -> u64| (pick(batch.context) + pick(batch.generation)) as f64;
    let context = batch.context;
    let (squares, products) = (context.queries_squared as f64, context.queries_keys as f64);
    // A request of q new tokens among k: each query meets the keys before it and itself. TraceLens takes q²/2 for
    // q(q − 1)/2.
    let hidden = match convention {
        Convention::TraceLens => squares / 2.0,
        Convention::Exact => (squares - context.queries as f64) / 2.0,
    };
    let pairs = products - hidden + batch.generation.queries_keys as f64;
    let flops = 2.0 * heads * pairs * (size + size);
    let (queries, keys) = (both(|requests| requests.queries), both(|requests| requests.keys));
    let bytes = element_bytes * (2.0 * queries * heads * size + keys * heads_kv * 2.0 * size);
    Ok(OperatorCost::matrix(OperatorClass::Attention, q.dtype, flops, bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cost::cost;
    use DType::{Bf16, F32, I32};

    fn flash(q: &[u64], k: &[u64], causal: &str) -> Operator {
        Operator::new("aten::_scaled_dot_product_flash_attention")
            .tensor(q, Bf16)
            .tensor(k, Bf16)
            .tensor(k, Bf16)
            .scalar("0.")
            .scalar(causal)
    }

    fn both(operator: &Operator) -> (f64, f64) {
        let cost = cost(operator, Convention::Exact).unwrap();
        (cost.flops, cost.bytes)
    }

    #[test]
    fn forward_by_hand() {
        // 3 sequences, 4 heads, 5 queries, 7 keys, size 8: 2·3·4·35·16; 2·(2·480 + 2·672) with all heads.
        assert_eq!(both(&flash(&[3, 4, 5, 8], &[3, 4, 7, 8], "False")), (13_440.0, 4_608.0));
        // 2 of 4 heads in keys and values: the same FLOPs, half the bytes of K and V.
        assert_eq!(both(&flash(&[3, 4, 5, 8], &[3, 2, 7, 8], "False")), (13_440.0, 3_264.0));
        // Causal: 15 of 25 pairs.
        assert_eq!(both(&flash(&[1, 1, 5, 8], &[1, 1, 5, 8], "True")).0, 2.0 * 15.0 * 16.0);
    }

    #[test]
    fn causal_pairs_are_counted_one_by_one() {
        for (queries, keys) in [(1, 1), (5, 5), (3, 7), (7, 3), (1, 9), (9, 1)] {
            let count = |from_end: bool| {
                let shift = if from_end { keys - queries } else { 0 };
                let meets = |q: i64, k: i64| k <= q + shift;
                (0..queries).map(|q| (0..keys).filter(|&k| meets(q, k)).count()).sum::<usize>() as f64
            };
            for from_end in [false, true] {
                assert_eq!(causal_pairs(queries as f64, keys as f64, from_end), count(from_end), "{queries} {keys}");
            }
        }
    }

    #[test]
    fn backward_is_two_and_a_half_times_forward_and_recomputes_a_fifth() {
        let shape = [2, 4, 64, 32];
        let mut backward = Operator::new("aten::_scaled_dot_product_flash_attention_backward");
        for _ in 0..5 {
            backward = backward.tensor(&shape, Bf16);
        }
        backward = backward.tensor(&[2, 4, 64], F32);
        for value in ["", "", "64", "64", "0.", "False"] {
            backward = backward.scalar(value);
        }
        let forward = cost(&flash(&shape, &shape, "False"), Convention::Exact).unwrap();
        let backward = cost(&backward, Convention::Exact).unwrap();
        assert_eq!(backward.flops, 2.5 * forward.flops);
        assert_eq!(backward.model_flops, 2.0 * forward.flops);
        assert_eq!(backward.bytes, 2.0 * forward.bytes);
    }

    #[test]
    fn what_is_not_recorded_is_not_guessed() {
        let silent = Operator::new("aten::_scaled_dot_product_flash_attention")
            .tensor(&[1, 1, 2, 2], Bf16)
            .tensor(&[1, 1, 2, 2], Bf16)
            .tensor(&[1, 1, 2, 2], Bf16)
            .scalar("")
            .scalar("");
        assert!(cost(&silent, Convention::Exact).unwrap_err().reason.contains("causal"));
        let paged = Operator::new("vllm::unified_attention_with_output")
            .tensor(&[4, 2, 8], Bf16)
            .tensor(&[4, 1, 8], Bf16)
            .tensor(&[4, 1, 8], Bf16);
        assert!(cost(&paged, Convention::Exact).unwrap_err().reason.contains("requests"));
    }

    #[test]
    fn varying_lengths_are_a_bound() {
        let operator = Operator::new("flash_attn::_flash_attn_varlen_forward")
            .tensor(&[12, 2, 8], Bf16)
            .tensor(&[12, 2, 8], Bf16)
            .tensor(&[12, 2, 8], Bf16)
            .tensor(&[4], I32)
            .tensor(&[4], I32)
            .scalar("6")
            .scalar("6")
            .scalar("0.")
            .scalar("0.3")
            .scalar("False");
        let found = cost(&operator, Convention::Exact).unwrap();
        // Three sequences of 4: 2 heads · 48 pairs · 16 · 2.
        assert_eq!(found.flops, 2.0 * 2.0 * 48.0 * 16.0);
        assert!(found.approximate.is_some());
    }
}
