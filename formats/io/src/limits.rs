//! What a file may cost before it is refused. A damaged or hostile file cannot fill memory or disk.

/// Limits on what is read. Generous for honest files; the command line raises them with `--limit name=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that compressed content may inflate to where it is kept in memory, per file, in all its entries.
    pub inflated_bytes: u64,
    /// How many times larger than the compressed bytes the inflated ones may be, beyond the first 64 MiB.
    pub ratio: u64,
    /// Archives inside archives.
    pub archive_depth: usize,
    /// Entries of an archive.
    pub archive_entries: usize,
    /// Bytes of one string or one event.
    pub string_bytes: usize,
    /// Values inside values (JSON, debug annotations).
    pub nesting: usize,
    /// Events of one file.
    pub events: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inflated_bytes: 8 << 30,
            ratio: 200,
            archive_depth: 3,
            archive_entries: 65_536,
            string_bytes: 64 << 20,
            nesting: 512,
            events: u32::MAX as u64 - 1,
        }
    }
}
