//! Look-ups: embeddings, bags of them, and FBGEMM's batched tables, forward and backward.

use gapless_analysis::Convention;

use super::{Answer, OperatorClass, OperatorCost};
use crate::operator::Tensor;
use crate::{DType, Operator};

pub(super) fn cost(operator: &Operator, _: Convention) -> Answer {
    let base = operator.base();
    if operator.name.starts_with("fbgemm::") {
        return fbgemm(operator, base);
    }
    Some(match base {
        "embedding" => embedding(operator),
        "embedding_dense_backward" => dense_backward(operator),
        "_embedding_bag" | "_embedding_bag_forward_only" => bag(operator),
        "_embedding_bag_backward" | "_embedding_bag_dense_backward" => bag_backward(operator, base),
        _ => return None,
    })
}

fn look_up(dtype: Option<DType>, flops: f64, bytes: f64) -> OperatorCost {
    OperatorCost::vector(OperatorClass::Embedding, dtype, flops, bytes)
}

/// Indices read, one row read and written for each.
fn embedding(operator: &Operator) -> Result<OperatorCost, String> {
    let (weight, indices) = (operator.need(0)?, operator.need(1)?);
    let rows = indices.elements() * weight.last_dim()? * weight.element_bytes()?;
    Ok(look_up(weight.dtype, 0.0, indices.bytes()? + 2.0 * rows))
}

/// gradient, indices, rows of the table: the whole gradient of the table is filled with zeros, then the row of each
/// index is read and written.
fn dense_backward(operator: &Operator) -> Result<OperatorCost, String> {
    let (gradient, indices) = (operator.need(0)?, operator.need(1)?);
    let rows = operator.whole(2).ok_or("the number of rows of the table is not recorded")? as f64;
    let (size, bytes) = (gradient.last_dim()?, gradient.element_bytes()?);
    let looked_up = indices.elements() * size;
    let moved = gradient.bytes()? + indices.bytes()? + rows * size * bytes + 2.0 * looked_up * bytes;
    Ok(look_up(gradient.dtype, looked_up, moved).approximate("every index is taken to touch a row of its own"))
}

/// table, indices, offsets: L rows read, summed to one for each bag.
fn bag(operator: &Operator) -> Result<OperatorCost, String> {
    let (weight, indices, offsets) = (operator.need(0)?, operator.need(1)?, operator.need(2)?);
    let last = operator.truth(8) == Some(true);
    let bags = (offsets.elements() - f64::from(u8::from(last))).max(0.0);
    let (size, bytes) = (weight.last_dim()?, weight.element_bytes()?);
    let moved = indices.bytes()? + offsets.bytes()? + (indices.elements() + bags) * size * bytes;
    Ok(look_up(weight.dtype, (indices.elements() - bags).max(0.0) * size, moved))
}

/// gradient (bags × size), indices, offsets, the bag of each index, …: the gradient of a bag goes to each of its rows.
fn bag_backward(operator: &Operator, base: &str) -> Result<OperatorCost, String> {
    let (gradient, indices) = (operator.need(0)?, operator.need(1)?);
    // Places of the table's length differ: gradient, indices, offsets, bags of indices, sizes, maxima, rows; the dense
    // one has no offsets.
    let place = if base == "_embedding_bag_backward" { 6 } else { 5 };
    let rows = operator.whole(place).ok_or("the number of rows of the table is not recorded")? as f64;
    let (size, bytes) = (gradient.last_dim()?, gradient.element_bytes()?);
    let sparse = base == "_embedding_bag_backward" && operator.truth(9) == Some(true);
    let looked_up = indices.elements() * size;
    let table = if sparse { looked_up * bytes } else { rows * size * bytes + 2.0 * looked_up * bytes };
    Ok(look_up(gradient.dtype, looked_up, gradient.bytes()? + 2.0 * indices.bytes()? + table)
        .approximate("every index is taken to touch a row of its own"))
}

/// FBGEMM's table-batched embeddings. The look-ups of all tables are one list of indices; only its whole length is
/// known, so that the width of a row is a mean over tables.
fn fbgemm(operator: &Operator, base: &str) -> Answer {
    // Table, offsets of widths, their sum, indices, offsets of bags.
    let places = if base.starts_with("split_embedding_codegen_lookup_") {
        Places { weights: 1, widths: 6, total: 7, indices: 11, offsets: 12, momentum: Some(20) }
    } else if base.starts_with("dense_embedding_codegen_lookup_") {
        Places { weights: 0, widths: 2, total: 3, indices: 7, offsets: 8, momentum: None }
    } else if base.starts_with("split_embedding_codegen_forward_") {
        Places { weights: 0, widths: 5, total: 6, indices: 8, offsets: 9, momentum: None }
    } else if base.starts_with("split_embedding_backward_codegen_") {
        return Some(fbgemm_backward(operator, base));
    } else if let "bounds_check_indices" = base {
        return Some(bounds(operator));
    } else {
        return None;
    };
    Some(batched(operator, base, &places))
}

struct Places {
    weights: usize,
    widths: usize,
    total: usize,
    indices: usize,
    offsets: usize,
    momentum: Option<usize>,
}

/// Rows are read and checked, and written where they are wrong.
fn bounds(operator: &Operator) -> Result<OperatorCost, String> {
    let bytes: Result<f64, String> = operator.tensors().take(3).map(Tensor::bytes).sum();
    Ok(look_up(None, 0.0, bytes?))
}

fn batched(operator: &Operator, base: &str, places: &Places) -> Result<OperatorCost, String> {
    let (indices, offsets) = (operator.need(places.indices)?, operator.need(places.offsets)?);
    let weights = operator.need(places.weights)?;
    let tables = operator.need(places.widths)?.elements() - 1.0;
    if tables < 1.0 {
        return Err("the number of tables is not recorded".to_owned());
    }
    let bags = (offsets.elements() - 1.0).max(0.0);
    let momentum = places.momentum.and_then(|place| operator.get(place)).map_or(0.0, Tensor::elements);
    let (width, exact) = match operator.whole(places.total) {
        Some(total) => (total as f64 / tables, tables == 1.0),
        // Row-wise optimizers keep one number for each row.
        None if base.contains("rowwise") && momentum >= 1.0 => (weights.elements() / momentum, tables == 1.0),
        None => return Err("the width of the tables is not recorded".to_owned()),
    };
    let looked_up = indices.elements() * width;
    // Results are FP32 unless asked for otherwise.
    let moved = indices.bytes()? + offsets.bytes()? + looked_up * weights.element_bytes()? + bags * width * 4.0;
    let cost = look_up(weights.dtype, (looked_up - bags * width).max(0.0), moved);
    Ok(if exact { cost } else { cost.approximate("rows of all tables are taken to have the mean width") })
}

/// Gradient, tables, …, indices: the gradient of each bag is read, the row of each index read and written, and its
/// optimizer state.
fn fbgemm_backward(operator: &Operator, base: &str) -> Result<OperatorCost, String> {
    let gradient = operator.need(0)?;
    let weights = operator.need(1)?;
    let indices = operator.need(10)?;
    let offsets = operator.need(11)?;
    let bags = (offsets.elements() - 1.0).max(0.0);
    let samples = gradient.dim(0)?;
    if samples <= 0.0 || bags < samples {
        return Err("the number of tables is not recorded".to_owned());
    }
    let width = gradient.last_dim()? / (bags / samples);
    let rows = indices.elements();
    // One number for each row, or one for each of its elements.
    let state = if base.contains("rowwise") { 1.0 } else { width };
    let moved = gradient.bytes()?
        + indices.bytes()?
        + offsets.bytes()?
        + 2.0 * rows * width * weights.element_bytes()?
        + 2.0 * rows * state * 4.0;
    Ok(look_up(weights.dtype, 3.0 * rows * width, moved)
        .approximate("every index is taken to touch a row of its own, of the mean width"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType::{F32, I32, I64};
    use crate::cost::cost;

    fn both(operator: &Operator) -> (f64, f64) {
        let cost = cost(operator, Convention::Exact).unwrap();
        assert_eq!(cost.class, OperatorClass::Embedding);
        (cost.flops, cost.bytes)
    }

    #[test]
    fn by_hand() {
        let embedding = Operator::new("aten::embedding").tensor(&[1000, 16], F32).tensor(&[4, 5], I64);
        assert_eq!(both(&embedding), (0.0, 160.0 + 2.0 * 20.0 * 64.0));
        let backward = Operator::new("aten::embedding_dense_backward")
            .tensor(&[4, 5, 16], F32)
            .tensor(&[4, 5], I64)
            .scalar("1000");
        // Gradient 1280, indices 160, zeros 64,000, rows twice 1280.
        assert_eq!(both(&backward), (320.0, 1280.0 + 160.0 + 64_000.0 + 2560.0));
        let bag = Operator::new("aten::_embedding_bag").tensor(&[1000, 16], F32).tensor(&[20], I64).tensor(&[4], I64);
        // 16 sums of 16; indices, offsets, 20 rows in, 4 out.
        assert_eq!(both(&bag), (256.0, 160.0 + 32.0 + 24.0 * 64.0));
    }

    #[test]
    fn batched_tables_by_hand() {
        // As in a real trace: one table of 1,000 rows, known by the state of its row-wise optimizer.
        let mut operator = Operator::new("fbgemm::split_embedding_codegen_lookup_rowwise_adagrad_function")
            .tensor(&[0], F32)
            .tensor(&[96_000], F32)
            .tensor(&[0], F32)
            .tensor(&[0, 0], F32)
            .tensor(&[1], I32)
            .tensor(&[1], I64)
            .tensor(&[2], I32)
            .scalar("")
            .scalar("")
            .tensor(&[2], I64)
            .scalar("")
            .tensor(&[61_072], I64)
            .tensor(&[8193], I64);
        for _ in 13..20 {
            operator = operator.absent();
        }
        let nameless = operator.clone();
        let operator = operator.tensor(&[1000], F32);
        let moved = 8.0 * (61_072.0 + 8193.0) + 61_072.0 * 96.0 * 4.0 + 8192.0 * 96.0 * 4.0;
        assert_eq!(both(&operator), ((61_072.0 - 8192.0) * 96.0, moved));
        assert!(cost(&nameless, Convention::Exact).unwrap_err().reason.contains("width"));
    }
}
