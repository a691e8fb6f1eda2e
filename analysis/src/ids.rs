//! Ids of the model as numbers in JSON.

use gapless_trace::{EventId, RankId, Timestamp, TrackId};
use serde::Serializer;

pub(crate) fn event<S: Serializer>(id: &EventId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(id.0)
}

pub(crate) fn maybe_event<S: Serializer>(id: &Option<EventId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => serializer.serialize_some(&id.0),
        None => serializer.serialize_none(),
    }
}

pub(crate) fn rank<S: Serializer>(id: &RankId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(id.0)
}

pub(crate) fn track<S: Serializer>(id: &TrackId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(id.0)
}

pub(crate) fn time<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(at.nanos())
}

pub(crate) fn maybe_rank<S: Serializer>(id: &Option<RankId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => serializer.serialize_some(&id.0),
        None => serializer.serialize_none(),
    }
}

pub(crate) fn maybe_time<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.serialize_some(&at.nanos()),
        None => serializer.serialize_none(),
    }
}
