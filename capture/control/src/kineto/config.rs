//! The text that tells Kineto which window to record.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::{Detail, Window};
use crate::error::{Error, Result};

/// Kineto reads its numbers as 32-bit integers and refuses the whole text otherwise.
const MOST: u64 = i32::MAX as u64;

/// Refuses what Kineto would misunderstand.
pub(crate) fn check(window: Window) -> Result<()> {
    let bad = |text: &str| Err(Error::BadWindow(text.into()));
    match window {
        Window::Iterations { count: 0, .. } => bad("it has no steps; ask for at least one"),
        Window::Iterations { first, count } if first.saturating_add(count) > MOST => {
            bad("its last step is beyond 2147483647, the highest that Kineto counts to")
        }
        Window::Duration(length) if length < Duration::from_millis(1) => bad("it is shorter than a millisecond"),
        Window::Duration(length) if length > Duration::from_hours(1) => {
            bad("it is longer than an hour; Kineto keeps a window in the job's memory until it ends")
        }
        _ => Ok(()),
    }
}

/// The configuration for one window of one process, which writes to `file`. The path must have neither `#` (a comment
/// for Kineto) nor `=` (a second value) nor a line's end: it is one of ours.
pub(crate) fn text(detail: &Detail, file: &Path) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key}={value}");
    };
    line("ACTIVITIES_LOG_FILE", &file.display());
    // The default is five seconds during which nothing is kept.
    line("ACTIVITIES_WARMUP_PERIOD_SECS", &0);
    match detail.window {
        Window::Iterations { first, count } => {
            // With a duration beside it, Kineto would fall back to time when it counts no steps.
            line("ACTIVITIES_DURATION_MSECS", &0);
            line("PROFILE_START_ITERATION", &first);
            // Only looked at when `first` has passed: ranks that learn of it within the same few steps then begin
            // together, though each asks at a time of its own.
            line("PROFILE_START_ITERATION_ROUNDUP", &LATE_START_MULTIPLE);
            line("ACTIVITIES_WARMUP_ITERATIONS", &0);
            line("ACTIVITIES_ITERATIONS", &count);
        }
        Window::Duration(length) => line("ACTIVITIES_DURATION_MSECS", &length.as_millis()),
    }
    line("PROFILE_REPORT_INPUT_SHAPES", &detail.shapes);
    line("PROFILE_WITH_STACK", &detail.stacks);
    line("PROFILE_WITH_MODULES", &detail.stacks);
    line("PROFILE_WITH_FLOPS", &detail.flops);
    line("PROFILE_PROFILE_MEMORY", &detail.memory);
    text
}

/// A window whose first step has passed begins at the next multiple of so many steps.
pub const LATE_START_MULTIPLE: u64 = 10;
