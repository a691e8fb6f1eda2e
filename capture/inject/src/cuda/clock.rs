//! From times of CUPTI to ticks of the segment.
//!
//! CUPTI is asked to take its times from our clock. Whether it does is seen from the first time that comes: ticks and
//! nanoseconds of another clock are far apart. Where it does not, the two clocks are read together: the tightest of many
//! readings, first when the first records come (CUPTI's clock settles only once CUDA is up), then once a second, and
//! between two of them times are interpolated.

use cupti_sys::Cupti;
use gapless_ring::writer;

use crate::device::clock::{Compared, FIRST_SPAN, Reading};

/// How far the first time may lie outside of the time since CUPTI was set up and still be in ticks: some seconds. Another
/// clock is off by years.
const MARGIN_TICKS: u64 = 1 << 35;

/// The time for CUPTI: ticks of the segment's clock.
pub(super) extern "C" fn now() -> u64 {
    writer::ticks()
}

/// How times are turned into ticks.
#[derive(Debug)]
pub(super) enum Clock {
    /// Not known before the first time comes; holds the ticks when CUPTI was set up, and whether it took our clock.
    Unknown(u64, bool),
    /// They are ticks.
    Own,
    /// They are of another clock, which is read beside ours.
    Compared(Compared),
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
        let read_now = || Reading::take(|| cupti.timestamp(), writer::ticks);
        let Some(one) = read_now() else { return };
        std::thread::sleep(FIRST_SPAN);
        let Some(two) = read_now() else { return };
        let compared = Compared::new(one, two);
        super::fact("cuda.clock", "CUPTI's own, compared with the recording's once a second");
        super::fact("cuda.clock_error_ticks", &compared.error_ticks().to_string());
        *self = Clock::Compared(compared);
    }

    /// Reads the clocks again where that is due.
    pub fn keep_up(&mut self, cupti: &Cupti) {
        let Clock::Compared(compared) = self else { return };
        if cupti.timestamp().is_some_and(|time| compared.is_due(time))
            && let Some(next) = Reading::take(|| cupti.timestamp(), writer::ticks)
        {
            compared.advance(next);
        }
    }

    /// Ticks of a time; 0, which stands for no time, stays 0.
    #[inline(always)]
    pub fn ticks(&self, time: u64) -> u64 {
        match self {
            Clock::Compared(compared) => compared.ticks(time),
            _ => time,
        }
    }
}
