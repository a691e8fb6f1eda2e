//! What a file may still inflate to. One budget for a file and everything inside it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::error::Refused;
use crate::limits::Limits;

/// Bytes that any file may inflate to, however small it is.
const ALWAYS_FINE: u64 = 64 << 20;

/// Counts what comes out of a file: all of it, so that a bomb cannot hide its size in levels or entries.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    file_bytes: u64,
    inflated: AtomicU64,
    kept: AtomicU64,
    entries: AtomicUsize,
}

impl Budget {
    /// The budget of a file of `file_bytes`.
    pub fn new(file_bytes: usize, limits: &Limits) -> Self {
        Self {
            limits: *limits,
            file_bytes: file_bytes as u64,
            inflated: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            entries: AtomicUsize::new(0),
        }
    }

    /// Counts inflated bytes, kept in memory or not.
    ///
    /// # Errors
    /// When that is more than the ratio allows.
    pub fn inflate(&self, bytes: usize) -> Result<(), Refused> {
        let inflated = self.inflated.fetch_add(bytes as u64, Ordering::Relaxed).saturating_add(bytes as u64);
        let ratio = self.limits.ratio;
        if inflated <= self.file_bytes.saturating_mul(ratio).max(ALWAYS_FINE) {
            return Ok(());
        }
        Err(Refused::Limit {
            what: format!("{} of compressed data inflate to more than {}", size(self.file_bytes), size(inflated)),
            limit: format!("{ratio} times as much"),
            flag: format!("ratio={}", ratio.saturating_mul(10)),
        })
    }

    /// Counts inflated bytes that stay in memory.
    ///
    /// # Errors
    /// When that is more than fits, or than the ratio allows.
    pub fn keep(&self, bytes: usize) -> Result<(), Refused> {
        self.inflate(bytes)?;
        let kept = self.kept.fetch_add(bytes as u64, Ordering::Relaxed).saturating_add(bytes as u64);
        let most = self.limits.inflated_bytes;
        if kept <= most {
            return Ok(());
        }
        Err(Refused::Limit {
            what: format!("the compressed data inflate to more than {}", size(most)),
            limit: size(most),
            flag: format!("inflated={}", size(most.saturating_mul(4)).replace(' ', "")),
        })
    }

    /// Gives back what was counted by [`keep`](Self::keep) and is no longer in memory.
    pub fn release(&self, bytes: usize) {
        self.kept.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Room to make at once for content that claims to have `bytes`.
    pub fn room(&self, bytes: u64) -> usize {
        let left = self.limits.inflated_bytes.saturating_sub(self.kept.load(Ordering::Relaxed));
        // A claim is believed as far as the ratio allows it.
        let most = left.min(self.file_bytes.saturating_mul(self.limits.ratio).max(ALWAYS_FINE));
        usize::try_from(bytes.min(most)).unwrap_or(0)
    }

    /// Counts an entry of an archive.
    ///
    /// # Errors
    /// When there are too many.
    pub fn entry(&self) -> Result<(), Refused> {
        let most = self.limits.archive_entries;
        if self.entries.fetch_add(1, Ordering::Relaxed) < most {
            return Ok(());
        }
        Err(Refused::Limit {
            what: format!("the archive has more than {most} entries"),
            limit: most.to_string(),
            flag: format!("entries={}", most.saturating_mul(10)),
        })
    }

    /// Entries counted so far.
    pub fn entries(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Checks that content inside `depth` archives and compressions may be looked into.
    ///
    /// # Errors
    /// When that is too deep.
    pub fn depth(&self, depth: usize) -> Result<(), Refused> {
        let most = self.limits.archive_depth;
        if depth <= most {
            return Ok(());
        }
        Err(Refused::Limit {
            what: format!("more than {most} archives or compressions inside one another"),
            limit: most.to_string(),
            flag: format!("depth={}", most.saturating_mul(2)),
        })
    }
}

/// `bytes` for people, in whole units.
fn size(bytes: u64) -> String {
    match bytes {
        0..0x40_0000 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        0x40_0000..0x1_0000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}
