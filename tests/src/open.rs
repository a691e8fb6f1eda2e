//! Opening text that lies in memory, through the product's own door.

use std::sync::LazyLock;

use gapless_formats::{OpenError, OpenOptions};
use gapless_trace::Trace;

/// Made once: compiling the patterns of communication kernels costs more than reading a small trace.
static OPTIONS: LazyLock<OpenOptions> = LazyLock::new(OpenOptions::default);

/// Opens `bytes` as the file `name`.
///
/// # Errors
/// As [`gapless_formats::open_bytes`].
pub fn open_bytes(name: &str, bytes: Vec<u8>) -> Result<Trace, OpenError> {
    gapless_formats::open_bytes(name, bytes, &OPTIONS)
}
