//! What rocprofiler's functions return.

/// A `rocprofiler_status_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Status(pub i32);

impl Status {
    /// It worked.
    pub const SUCCESS: Status = Status(0);
    /// No such kind in this version.
    pub const KIND_NOT_FOUND: Status = Status(4);
    /// Asked for too late.
    pub const CONFIGURATION_LOCKED: Status = Status(16);
    /// Not in this version.
    pub const NOT_IMPLEMENTED: Status = Status(17);

    /// Whether it worked.
    pub fn is_success(self) -> bool {
        self == Status::SUCCESS
    }

    /// Whether this version or machine does not have what was asked for: nothing is wrong then.
    pub fn is_absent(self) -> bool {
        matches!(self, Status::KIND_NOT_FOUND | Status::NOT_IMPLEMENTED)
    }

    /// The cause in words, with what to do where something can be done. Numbers up to 16 are the same in all versions.
    pub fn meaning(self) -> &'static str {
        match self.0 {
            0 => "it worked",
            1 => "rocprofiler failed without a reason",
            2 | 9 | 10 => "rocprofiler does not take the context",
            3 => "rocprofiler does not take the buffer",
            4 => "this version of rocprofiler does not have this kind of record",
            11 => "the context could not be started",
            12 => "another tool in this process uses what does not go together with this one",
            14 => "rocprofiler is busy with the buffer",
            15 => "it was asked for already",
            16 => "the tool was loaded too late: ROCm was in use already",
            17 => "this version of rocprofiler does not have it",
            _ => "rocprofiler gives no reason that is known here",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} (rocprofiler error {})", self.meaning(), self.0)
    }
}
