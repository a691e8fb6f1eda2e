//! Collectives: the bytes that one rank must send at least.

use gapless_analysis::CollectiveKind;

use super::{OperatorClass, OperatorCost, UnknownCost};
use crate::{DType, Unit};

/// The bytes that a rank must send, and as much receive, for a collective over `ranks` ranks: S times the bus factor of
/// the NCCL tests (`doc/PERFORMANCE.md`), S being the full size: of the result where parts are gathered, of the input
/// else.
///
/// # Errors
/// What is missing.
pub fn collective_cost(
    kind: CollectiveKind,
    ranks: Option<u32>,
    elements_in: Option<u64>,
    elements_out: Option<u64>,
    dtype: Option<DType>,
) -> Result<OperatorCost, UnknownCost> {
    let unknown = |reason: &str| UnknownCost { class: OperatorClass::Communication, reason: reason.to_owned() };
    if matches!(kind, CollectiveKind::Barrier | CollectiveKind::Other) {
        return Err(unknown("this kind of communication moves no known number of bytes"));
    }
    let ranks = ranks.filter(|&ranks| ranks > 0).ok_or_else(|| unknown("the size of the group is not recorded"))?;
    let (taken, put) = (elements_in.filter(|&n| n > 0), elements_out.filter(|&n| n > 0));
    let all = |part: Option<u64>| part.map(|part| part as f64 * f64::from(ranks));
    let whole = |part: Option<u64>| part.map(|part| part as f64);
    let elements = match kind {
        CollectiveKind::AllGather | CollectiveKind::Gather => whole(put).or_else(|| all(taken)),
        CollectiveKind::ReduceScatter | CollectiveKind::Scatter => whole(taken).or_else(|| all(put)),
        _ => whole(taken).or(whole(put)),
    };
    let elements = elements.ok_or_else(|| unknown("the number of elements is not recorded"))?;
    let dtype = dtype.ok_or_else(|| unknown("the element type is not recorded"))?;
    let bytes = elements * dtype.bytes() * kind.bus_factor(ranks);
    Ok(OperatorCost {
        flops: 0.0,
        model_flops: 0.0,
        bytes,
        class: OperatorClass::Communication,
        dtype: None,
        unit: Unit::Vector,
        approximate: None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let bytes = |kind, elements_in, elements_out| {
            collective_cost(kind, Some(8), elements_in, elements_out, Some(DType::F32)).unwrap().bytes
        };
        assert_eq!(bytes(CollectiveKind::AllReduce, Some(1000), Some(1000)), 7000.0);
        assert_eq!(bytes(CollectiveKind::AllGather, Some(100), Some(800)), 2800.0);
        assert_eq!(bytes(CollectiveKind::AllGather, Some(100), None), 2800.0);
        assert_eq!(bytes(CollectiveKind::ReduceScatter, Some(800), Some(100)), 2800.0);
        assert_eq!(bytes(CollectiveKind::AllToAll, Some(800), Some(800)), 2800.0);
        assert_eq!(bytes(CollectiveKind::Broadcast, Some(100), Some(100)), 400.0);
    }

    #[test]
    fn what_is_missing_is_said() {
        let error = |ranks, elements, dtype| {
            collective_cost(CollectiveKind::AllReduce, ranks, elements, None, dtype).unwrap_err().reason
        };
        assert!(error(None, Some(1), Some(DType::F32)).contains("group"));
        assert!(error(Some(2), None, Some(DType::F32)).contains("elements"));
        assert!(error(Some(2), Some(1), None).contains("type"));
    }
}
