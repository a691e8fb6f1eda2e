//! How ids are written in JSON.

use gapless_trace::EventId;
use serde::Serializer;
use serde::ser::SerializeSeq;

pub(crate) fn events<S: Serializer>(events: &[EventId], to: S) -> Result<S::Ok, S::Error> {
    let mut list = to.serialize_seq(Some(events.len()))?;
    for event in events {
        list.serialize_element(&event.0)?;
    }
    list.end()
}
