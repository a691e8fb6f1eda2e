//! From times of CUPTI to ticks of the segment.
//!
//! CUPTI is asked to take its times from our clock. Whether it does is seen from the first time that comes: ticks and
//! nanoseconds of another clock are far apart. Where it does not, the two clocks are read together: the tightest of many
//! readings, first when the first records come (CUPTI's clock settles only once CUDA is up), then once a second, and
//! between two of them times are interpolated.

use cupti_sys::Cupti;
use gapless_ring::writer;

/// Readings of which the tightest counts.
const TRIES: usize = 100;
/// Between the first two readings.
const FIRST_SPAN: std::time::Duration = std::time::Duration::from_millis(100);
/// How far the first time may lie outside of the time since CUPTI was set up and still be in ticks: some seconds. Another
/// clock is off by years.
const MARGIN_TICKS: u64 = 1 << 35;
/// After this a further reading is due, in ns of CUPTI's clock.
const SPAN_NS: u64 = 1_000_000_000;

/// The time for CUPTI: ticks of the segment's clock.
pub(super) extern "C" fn now() -> u64 {
    writer::ticks()
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Ticks of the segment, in the middle.
    pub ticks: u64,
    /// CUPTI's time.
    pub cupti: u64,
    /// Ticks that reading took: the true moment lies within.
    pub width: u64,
}

/// How times are turned into ticks.
#[derive(Debug)]
pub(super) enum Clock {
    /// Not known before the first time comes; holds the ticks when CUPTI was set up, and whether it took our clock.
    Unknown(u64, bool),
    /// They are ticks.
    Own,
    /// They are of another clock, which was read at these two moments.
    Compared(Reading, Reading),
}

/// Reads both clocks: the tightest of many tries.
fn read(mut cupti: impl FnMut() -> Option<u64>, mut ticks: impl FnMut() -> u64) -> Option<Reading> {
    let mut best: Option<Reading> = None;
    for _ in 0..TRIES {
        let before = ticks();
        let time = cupti()?;
        let width = ticks().saturating_sub(before);
        if best.is_none_or(|best| width < best.width) {
            best = Some(Reading { ticks: before + width / 2, cupti: time, width });
        }
    }
    best
}

impl Clock {
    /// A clock for what comes after now.
    pub fn new(has_own_clock: bool) -> Clock {
        Clock::Unknown(writer::ticks(), has_own_clock)
    }

    /// Decides how to read times, now that the first one came; says so in the recording.
    pub fn settle(&mut self, first: u64, cupti: &Cupti) {
        let Clock::Unknown(from, has_own_clock) = *self else { return };
        let is_near = from.saturating_sub(MARGIN_TICKS) <= first && first <= writer::ticks() + MARGIN_TICKS;
        if has_own_clock && is_near {
            *self = Clock::Own;
            super::fact("cuda.clock", "the recording's own, read by CUPTI; times of devices as CUPTI converts them");
            super::fact("cuda.clock_error_ticks", "0");
            return;
        }
        let read_now = || read(|| cupti.timestamp(), writer::ticks);
        let Some(one) = read_now() else { return };
        std::thread::sleep(FIRST_SPAN);
        let Some(two) = read_now() else { return };
        *self = Clock::Compared(one, two);
        super::fact("cuda.clock", "CUPTI's own, compared with the recording's once a second");
        // Half the width on either side, and what the rate of the first span may be off until the next reading.
        let rate = (one.width + two.width) * SPAN_NS / (2 * two.cupti.saturating_sub(one.cupti)).max(1);
        super::fact("cuda.clock_error_ticks", &(two.width / 2 + rate).to_string());
    }

    /// Reads the clocks again where that is due.
    pub fn keep_up(&mut self, cupti: &Cupti) {
        let Clock::Compared(_, last) = *self else { return };
        if cupti.timestamp().is_some_and(|time| time.saturating_sub(last.cupti) >= SPAN_NS)
            && let Some(next) = read(|| cupti.timestamp(), writer::ticks)
        {
            *self = Clock::Compared(last, next);
        }
    }

    /// Ticks of a time; 0, which stands for no time, stays 0.
    #[inline(always)]
    pub fn ticks(&self, time: u64) -> u64 {
        match self {
            Clock::Compared(from, to) if time != 0 => between(from, to, time),
            _ => time,
        }
    }
}

fn between(from: &Reading, to: &Reading, time: u64) -> u64 {
    let span = i128::from(to.cupti) - i128::from(from.cupti);
    let span_ticks = i128::from(to.ticks) - i128::from(from.ticks);
    let offset = i128::from(time) - i128::from(from.cupti);
    (i128::from(from.ticks) + offset * span_ticks / span.max(1)).max(1) as u64
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_tightest_reading_counts_and_times_between_are_interpolated() {
        // Our clock counts 2.5 ticks in a nanosecond; reading CUPTI's takes 40 to 200 ticks.
        let state = std::cell::Cell::new((1_000_000u64, 0u64));
        let ticks = || state.get().0;
        let cupti = || {
            let (at, count) = state.get();
            let takes = if count == 57 { 40 } else { 200 };
            state.set((at + takes, count + 1));
            // In the middle of the call.
            Some((at + takes / 2) * 2 / 5 + 77)
        };
        let one = read(cupti, ticks).unwrap();
        assert_eq!(one.width, 40);
        state.set((251_000_000, 0));
        let two = read(cupti, ticks).unwrap();
        for expected in [900_000, 1_000_000, 100_000_000, 251_000_000, 500_000_000u64] {
            let found = between(&one, &two, expected * 2 / 5 + 77);
            assert!(found.abs_diff(expected) <= 40, "{found} for {expected}");
        }
        assert_eq!(Clock::Compared(one, two).ticks(0), 0);
    }
}
