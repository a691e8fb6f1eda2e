//! What a trace costs in memory, measured.

/// Heap bytes of a [`Trace`](crate::Trace) by part; mapped files are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// Events in the columns.
    pub events: usize,
    /// Events of any phase in the files: columns, flow points, counter samples, names.
    pub file_events: u64,
    /// Event columns.
    pub event_columns: usize,
    /// Launch links and flows.
    pub links: usize,
    /// Collective and copy side tables.
    pub side_tables: usize,
    /// Counter series.
    pub counters: usize,
    /// Interned strings.
    pub strings: usize,
    /// Tracks and rows.
    pub tracks: usize,
    /// Inflated text that compressed sources keep for arguments.
    pub source_text: usize,
}

impl MemoryReport {
    /// All parts together.
    #[must_use]
    pub fn total(&self) -> usize {
        self.event_columns
            + self.links
            + self.side_tables
            + self.counters
            + self.strings
            + self.tracks
            + self.source_text
    }

    /// Bytes per event of the files, of the model itself: all but the inflated text.
    #[must_use]
    pub fn bytes_per_event(&self) -> f64 {
        if self.file_events == 0 { 0.0 } else { (self.total() - self.source_text) as f64 / self.file_events as f64 }
    }
}
