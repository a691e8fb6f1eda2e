//! When recording was on: what devices tell comes late, and counts by when it began.

use std::sync::Mutex;

/// Times in which recording is on, in ticks; the last may be open. Held for a moment, never while another library is
/// called.
#[derive(Debug)]
pub(crate) struct Windows(Mutex<Vec<(u64, u64)>>);

impl Windows {
    /// None yet.
    pub const fn new() -> Windows {
        Windows(Mutex::new(Vec::new()))
    }

    /// Recording begins or ends now.
    pub fn turn(&self, on: bool, now: u64) {
        let Ok(mut windows) = self.0.lock() else { return };
        let open = windows.last_mut().filter(|last| last.1 == u64::MAX);
        match (open, on) {
            (Some(open), false) => open.1 = now,
            (None, true) => windows.push((now, u64::MAX)),
            _ => {}
        }
    }

    /// Whether recording is on.
    pub fn is_open(&self) -> bool {
        self.0.lock().is_ok_and(|windows| windows.last().is_some_and(|last| last.1 == u64::MAX))
    }

    /// All of them so far.
    pub fn all(&self) -> Vec<(u64, u64)> {
        self.0.lock().map(|windows| windows.clone()).unwrap_or_default()
    }
}

/// Whether a time lies in one of the windows.
#[inline(always)]
pub(crate) fn holds(windows: &[(u64, u64)], ticks: u64) -> bool {
    windows.iter().rev().find(|window| window.0 <= ticks).is_some_and(|window| ticks < window.1)
}
