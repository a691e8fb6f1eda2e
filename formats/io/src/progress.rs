//! How far a long piece of work has come, and whether to go on.

/// Told how far a long piece of work has come. Called from several threads.
pub trait Progress: Sync {
    /// A new stage begins (`Reading rank0.json.gz`), with the total of its units; 0 if it is not known.
    fn stage(&self, what: &str, total_bytes: u64);
    /// So many units (bytes of the file on disk) are done in this stage, in all.
    fn done(&self, bytes: u64);
    /// Whether the user gave up. The work ends soon with [`OpenError::Cancelled`](crate::OpenError::Cancelled).
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _what: &str, _total_bytes: u64) {}
    fn done(&self, _bytes: u64) {}
}
