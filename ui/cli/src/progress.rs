//! Progress bars: shown after half a second, on stderr, only where that is a terminal.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gapless_formats::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::text::{count, shorten};

/// Work that is done sooner shows no bar: it would only flicker.
const SHOW_AFTER: Duration = Duration::from_millis(500);

/// Paths can be long; the bar and the figures matter more.
const MESSAGE_COLUMNS: usize = 36;

/// What a bar counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Events,
}

/// A bar on stderr.
pub struct Bar {
    bar: ProgressBar,
    unit: Unit,
    live: Arc<AtomicBool>,
}

impl Bar {
    /// A bar that appears after half a second, or never when `quiet` or where stderr is no terminal.
    pub fn new(quiet: bool, unit: Unit) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let live = Arc::new(AtomicBool::new(!quiet && std::io::stderr().is_terminal()));
        if live.load(Ordering::Relaxed) {
            let (weak, live) = (bar.downgrade(), Arc::clone(&live));
            // A stage may run long without a word, so the clock and not the work makes the bar appear.
            std::thread::spawn(move || {
                std::thread::sleep(SHOW_AFTER);
                if let Some(bar) = weak.upgrade().filter(|_| live.load(Ordering::Acquire)) {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                    bar.enable_steady_tick(Duration::from_millis(100));
                }
            });
        }
        Self { bar, unit, live }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.live.store(false, Ordering::Release);
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn stage(&self, what: &str, total_bytes: u64) {
        let template = match self.unit {
            _ if total_bytes == 0 => "{spinner} {msg} {elapsed}",
            Unit::Bytes => "{msg} {bar:20} {binary_bytes}/{binary_total_bytes} · {binary_bytes_per_sec} · {eta} left",
            Unit::Events => "{msg} {bar:20} {human_pos}/{human_len} events · {rate}/s · {eta} left",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                // A bar that cannot be drawn is no reason to stop.
                let _ = out.write_str(&count(state.per_sec() as u64));
            };
            self.bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ ").with_key("rate", rate));
        }
        self.bar.set_length(total_bytes);
        self.bar.set_position(0);
        self.bar.reset_eta();
        self.bar.set_message(shorten(what, MESSAGE_COLUMNS));
    }

    fn done(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }
}
