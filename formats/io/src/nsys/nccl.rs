//! What NCCL's own NVTX ranges say about a collective: its name, and from the payload how large it is, among whom.

use gapless_trace::{CollectiveArgs, StrId};
use rusqlite::types::ValueRef;
use rustc_hash::FxHashMap;

use super::payload::bytes_of;
use super::sink::{Found, Shared};

/// Members of NCCL's payloads.
const COMMUNICATOR: &str = "NCCL communicator ID";
const BYTES: &str = "Message size [bytes]";
const RANKS: &str = "No. of ranks";

/// Calls of NCCL that move data, and which side of it the payload counts.
const CALLS: [(&str, Side); 12] = [
    ("ncclAllReduce", Side::In),
    ("ncclAllGather", Side::In),
    ("ncclReduceScatter", Side::Out),
    ("ncclBroadcast", Side::In),
    ("ncclBcast", Side::In),
    ("ncclReduce", Side::In),
    ("ncclSend", Side::In),
    ("ncclRecv", Side::Out),
    ("ncclAlltoAll", Side::PerPeer),
    ("ncclAllToAll", Side::PerPeer),
    ("ncclGather", Side::In),
    ("ncclScatter", Side::Out),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    In,
    Out,
    /// What goes to each of the others.
    PerPeer,
}

/// Notes the collective of the NVTX range `event` of this name, if it is one. Gives the size of a communicator where
/// the range is its making.
pub(crate) fn note(
    found: &mut Found,
    shared: &Shared,
    payload: ValueRef<'_>,
    domain: i64,
    name: StrId,
    event: u32,
) -> Option<(u64, u32)> {
    if !found.chunk.strings.get(name).starts_with("nccl") {
        return None;
    }
    let members = bytes_of(payload).map(|bytes| shared.schemas.decode(domain, &bytes, &shared.strings));
    let members = members.unwrap_or_default();
    let member = |name: &str| {
        let value = members.iter().find(|entry| entry.0 == name).map(|entry| &entry.1)?;
        // Numbers above i64::MAX are numbers too: communicators are hashes.
        match value {
            gapless_trace::ArgValue::UInt(value) => Some(*value),
            other => other.as_i64().map(|value| value as u64),
        }
    };
    let communicator = member(COMMUNICATOR);
    if let Some((_, side)) = CALLS.into_iter().find(|(call, _)| *call == found.chunk.strings.get(name)) {
        let bytes = member(BYTES);
        let group = communicator.map(|communicator| format!("{communicator:#x}"));
        let strings = &mut found.chunk.strings;
        found.chunk.collectives.push(CollectiveArgs {
            event,
            name,
            // The payload counts bytes.
            dtype: if bytes.is_some() { strings.intern("Byte") } else { StrId::EMPTY },
            group: group.map_or(StrId::EMPTY, |group| strings.intern(&group)),
            in_elems: bytes.filter(|_| side != Side::Out),
            out_elems: bytes.filter(|_| side == Side::Out),
            ..CollectiveArgs::default()
        });
    }
    communicator.zip(member(RANKS).and_then(|ranks| u32::try_from(ranks).ok()))
}

/// Adds the sizes of the communicators, which other ranges of the file tell.
pub(crate) fn add_sizes(found: &mut Found, communicators: &[(u64, u32)]) {
    let sizes: FxHashMap<String, u32> =
        communicators.iter().map(|(communicator, ranks)| (format!("{communicator:#x}"), *ranks)).collect();
    let strings = &found.chunk.strings;
    for collective in &mut found.chunk.collectives {
        collective.group_size = sizes.get(strings.get(collective.group)).copied();
        let name = strings.get(collective.name);
        if CALLS.iter().any(|(call, side)| *call == name && *side == Side::PerPeer) {
            // What one rank puts in goes to all; where their number is not known, neither is the sum.
            let ranks = collective.group_size.map(u64::from);
            collective.in_elems = collective.in_elems.zip(ranks).and_then(|(bytes, ranks)| bytes.checked_mul(ranks));
        }
    }
}
