//! The encoder: records by hand, read back through Perfetto's messages and through our own reader.
#![expect(clippy::unwrap_used, reason = "tests")]

mod communication;
mod devices;
mod model;
mod payloads;
mod ranges;
mod recovery;
mod support;
