//! End-to-end tests, the synthetic-trace generator, benches, fuzz targets.

pub mod arbitrary;
pub mod archive;
pub mod bench;
pub mod broken;
pub mod check;
pub mod fuzz;
pub mod hostile;
pub mod job;
pub mod measure;
pub mod open;
pub mod oracle;
pub mod packets;
pub mod python;
pub mod replicate;
pub mod restore;
pub mod same;
pub mod synth;
