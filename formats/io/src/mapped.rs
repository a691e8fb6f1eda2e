//! The bytes of a file: mapped, or in memory where they cannot be mapped.

use std::fs::File;
use std::io::Read;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

/// Bytes of a source.
pub(crate) enum Bytes {
    /// A mapped file.
    Mapped(Mmap),
    /// Bytes in memory.
    Owned(Vec<u8>),
    /// A stretch of others, which are not copied.
    Slice(Arc<Bytes>, Range<usize>),
}

impl Bytes {
    /// Opens `path`: mapped if it is a regular file, read whole if it is a pipe or a device.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(std::io::Error::other("it is a folder"));
        }
        if metadata.is_file() && metadata.len() > 0 {
            return map(&file).map(Self::Mapped);
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Self::Owned(bytes))
    }

    /// The bytes in `range` of `whole`, empty if they do not lie in it.
    pub fn slice(whole: &Arc<Self>, range: Range<usize>) -> Self {
        Self::Slice(Arc::clone(whole), range)
    }

    pub fn heap_bytes(&self) -> usize {
        match self {
            // What a slice belongs to is counted once, by nobody: several slices share it.
            Self::Mapped(_) | Self::Slice(..) => 0,
            Self::Owned(bytes) => bytes.capacity(),
        }
    }
}

#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is only read. If another process truncates the file meanwhile, reading the lost pages ends
    // this process (SIGBUS), as it does for every program that maps files; bytes that change meanwhile are only
    // ever parsed again with full bounds checks.
    let map = unsafe { Mmap::map(file) }?;
    #[cfg(unix)]
    // Read-ahead is a hint; without it the file is read all the same.
    let _ = map.advise(memmap2::Advice::Sequential);
    Ok(map)
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
            Self::Slice(whole, range) => whole.get(range.clone()).unwrap_or_default(),
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
