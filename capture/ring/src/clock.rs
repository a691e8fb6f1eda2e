//! Ticks: the processor's time-stamp counter where it can be trusted, else `CLOCK_MONOTONIC`.

use crate::sys;

/// Which clock the ticks of a segment are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockKind {
    /// The time-stamp counter, constant and the same on all cores. 15 ns where reading `CLOCK_MONOTONIC` takes 35.
    Tsc,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    Monotonic,
}

impl ClockKind {
    /// The number that a segment's header carries.
    pub fn number(self) -> u32 {
        match self {
            ClockKind::Tsc => 1,
            ClockKind::Monotonic => 2,
        }
    }

    /// The kind with this number.
    pub fn from_number(number: u32) -> Option<ClockKind> {
        match number {
            1 => Some(ClockKind::Tsc),
            2 => Some(ClockKind::Monotonic),
            _ => None,
        }
    }

    /// The best clock of this machine: the counter only where the processor says that it neither stops nor changes its
    /// rate (CPUID 8000_0007h, EDX bit 8) and `GAPLESS_CLOCK=monotonic` does not ask for the other.
    pub fn best() -> ClockKind {
        if std::env::var_os("GAPLESS_CLOCK").is_some_and(|value| value == "monotonic") {
            return ClockKind::Monotonic;
        }
        if invariant_counter() { ClockKind::Tsc } else { ClockKind::Monotonic }
    }

    /// Now.
    #[inline(always)]
    pub fn ticks(self) -> u64 {
        match self {
            ClockKind::Tsc => counter(),
            ClockKind::Monotonic => sys::clock_ns(libc::CLOCK_MONOTONIC),
        }
    }

    /// Reads all clocks as nearly at once as can be had: the tightest of five tries.
    pub fn anchor(self) -> Anchor {
        let mut best: Option<(u64, Anchor)> = None;
        for _ in 0..5 {
            let before = self.ticks();
            let monotonic_ns = sys::clock_ns(libc::CLOCK_MONOTONIC);
            let realtime_ns = sys::clock_ns(libc::CLOCK_REALTIME);
            let boottime_ns = sys::clock_ns(libc::CLOCK_BOOTTIME);
            let monotonic_after_ns = sys::clock_ns(libc::CLOCK_MONOTONIC);
            let after = self.ticks();
            let width = after.wrapping_sub(before);
            // All are put at the middle of the reading.
            let anchor = Anchor {
                ticks: before + width / 2,
                monotonic_ns: monotonic_ns + monotonic_after_ns.saturating_sub(monotonic_ns) / 2,
                realtime_ns,
                boottime_ns,
            };
            if best.is_none_or(|(least, _)| width < least) {
                best = Some((width, anchor));
            }
        }
        best.map(|(_, anchor)| anchor).unwrap_or_default()
    }
}

/// The same moment on all clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchor {
    /// Ticks of the segment's clock.
    pub ticks: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME` in nanoseconds since 1970.
    pub realtime_ns: u64,
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub boottime_ns: u64,
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn counter() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: the virtual counter may be read in user mode on Linux.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter() -> u64 {
    sys::clock_ns(libc::CLOCK_MONOTONIC)
}

#[cfg(target_arch = "x86_64")]
fn invariant_counter() -> bool {
    let highest = core::arch::x86_64::__cpuid(0x8000_0000).eax;
    highest >= 0x8000_0007 && core::arch::x86_64::__cpuid(0x8000_0007).edx & (1 << 8) != 0
}

#[cfg(not(target_arch = "x86_64"))]
fn invariant_counter() -> bool {
    cfg!(target_arch = "aarch64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_ascend_on_every_clock() {
        for clock in [ClockKind::best(), ClockKind::Monotonic] {
            let first = clock.anchor();
            let second = clock.anchor();
            assert!(second.ticks > first.ticks && second.monotonic_ns > first.monotonic_ns, "{clock:?}");
            assert!(second.boottime_ns >= first.boottime_ns);
            assert_eq!(ClockKind::from_number(clock.number()), Some(clock));
        }
    }
}
