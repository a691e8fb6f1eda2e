//! What the system says about this process. Linux only; `None` elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// CPU seconds of all threads of this process, user and system: to the microsecond for threads that still run, to a
/// hundredth for what those took that ended.
#[must_use]
pub fn cpu_seconds() -> Option<f64> {
    cpu_seconds_of("self")
}

/// The same of a process by its id, as text.
#[must_use]
pub fn cpu_seconds_of(process: &str) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold spaces.
    let rest = text.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    // Linux counts in hundredths of a second on every architecture that Rust supports (USER_HZ).
    let counted = ticks as f64 / 100.0;
    Some(running_seconds_of(process).map_or(counted, |exact| counted.max(exact)))
}

/// CPU seconds of the threads of a process that still run.
fn running_seconds_of(process: &str) -> Option<f64> {
    let mut nanos = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).ok()? {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanos += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(nanos as f64 / 1e9)
}

/// A line of `/proc/self/status` (`VmHWM`, `RssAnon`), in bytes.
#[must_use]
pub fn status_bytes(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with(key) && line[key.len()..].starts_with(':'))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Lets the peak of resident memory (`VmHWM`) count from now on. Whether the system can do that.
pub fn reset_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Watches how much memory beside mapped files this process holds at most.
#[derive(Debug)]
pub struct PeakMemory {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    watcher: Option<JoinHandle<()>>,
}

impl PeakMemory {
    /// Begins to watch: the kernel keeps a peak of all resident memory, but none of that without mapped files.
    #[must_use]
    pub fn watch() -> Self {
        let (stop, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, highest) = (stop.clone(), peak.clone());
        let watcher = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                highest.fetch_max(status_bytes("RssAnon").unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { stop, peak, watcher: Some(watcher) }
    }

    /// The peak so far in bytes; ends the watch.
    #[must_use]
    pub fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
        self.peak.load(Ordering::Relaxed).max(status_bytes("RssAnon").unwrap_or(0))
    }
}
