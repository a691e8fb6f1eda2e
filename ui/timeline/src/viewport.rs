//! Which part of time is on screen, and where.
//!
//! Positions are computed relative to the start of the view: differences of integer nanoseconds are exact,
//! so that nothing jitters however deep one zooms into a trace whose clock is Unix time (about 1.7e18 ns,
//! where an `f64` has steps of 256 ns).

use egui::Rangef;
use gapless_trace::{Duration, Span, Timestamp};

/// The shortest time that a view can show, in nanoseconds.
pub const MIN_SPAN_NS: f64 = 10.0;
/// How far a view may go beyond the trace on each side, in parts of the trace.
const MARGIN: f64 = 0.05;

/// The time range on screen: from a point in nanoseconds plus a fraction, for a length that need not be whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Viewport {
    start_ns: i64,
    /// Part of a nanosecond after `start_ns`, in [0, 1): panning at deep zoom moves by less than a nanosecond.
    start_fraction: f64,
    span_ns: f64,
    bounds: Span,
}

impl Viewport {
    /// A view of all of `bounds`.
    #[must_use]
    pub fn new(bounds: Span) -> Self {
        let mut view = Self { start_ns: bounds.start.0, start_fraction: 0.0, span_ns: MIN_SPAN_NS, bounds };
        view.fit();
        view
    }

    /// The time range of the trace.
    #[must_use]
    pub fn bounds(&self) -> Span {
        self.bounds
    }

    /// Length of the visible time in nanoseconds.
    #[must_use]
    pub fn span_ns(&self) -> f64 {
        self.span_ns
    }

    /// The visible range, rounded outwards to whole nanoseconds.
    #[must_use]
    pub fn visible(&self) -> Span {
        let end = self.start_ns.saturating_add((self.start_fraction + self.span_ns).ceil() as i64);
        Span::new(Timestamp(self.start_ns), Timestamp(end))
    }

    /// Shows the whole trace.
    pub fn fit(&mut self) {
        self.show(self.bounds);
    }

    /// Shows exactly `span`, as far as the bounds of view allow.
    pub fn show(&mut self, span: Span) {
        self.start_ns = span.start.0;
        self.start_fraction = 0.0;
        self.span_ns = (span.duration().0 as f64).max(MIN_SPAN_NS);
        self.clamp();
    }

    /// Nanoseconds from the start of the view to `time`. Exact for whatever can be on screen.
    #[must_use]
    pub fn offset_ns(&self, time: Timestamp) -> f64 {
        time.0.saturating_sub(self.start_ns) as f64 - self.start_fraction
    }

    /// Where `time` lies in `x`.
    #[must_use]
    pub fn x_of(&self, time: Timestamp, x: Rangef) -> f32 {
        (f64::from(x.min) + self.offset_ns(time) / self.span_ns * f64::from(x.span())) as f32
    }

    /// The time at `at` in `x`, rounded down to whole nanoseconds.
    #[must_use]
    pub fn time_at(&self, at: f32, x: Rangef) -> Timestamp {
        let offset = self.start_fraction + Self::share_at(at, x) * self.span_ns;
        Timestamp(self.start_ns.saturating_add(offset.floor() as i64))
    }

    /// The place of `at` in `x`, from 0 to 1, in double precision: [`Viewport::zoom`] multiplies it with the whole view.
    #[must_use]
    pub fn share_at(at: f32, x: Rangef) -> f64 {
        f64::from(at - x.min) / f64::from(x.span().max(1.0))
    }

    /// Nanoseconds per logical pixel.
    #[must_use]
    pub fn ns_per_px(&self, x: Rangef) -> f64 {
        self.span_ns / f64::from(x.span().max(1.0))
    }

    /// The view on a clock that shows `by` more at the same moment, wherever that lies.
    #[must_use]
    pub fn shifted(&self, by: Duration) -> Self {
        let bounds = Span::new(self.bounds.start + by, self.bounds.end + by);
        Self { start_ns: self.start_ns.saturating_add(by.0), bounds, ..*self }
    }

    /// The view of the time that `other` shows, `by` later, with the own bounds.
    #[must_use]
    pub fn like(&self, other: &Self, by: Duration) -> Self {
        Self { bounds: self.bounds, ..other.shifted(by) }
    }

    /// Moves the view by `delta_ns`, later in time if positive.
    pub fn pan(&mut self, delta_ns: f64) {
        if !delta_ns.is_finite() {
            return;
        }
        let moved = self.start_fraction + delta_ns;
        let whole = moved.floor();
        self.start_ns = self.start_ns.saturating_add(whole as i64);
        self.start_fraction = moved - whole;
        self.clamp();
    }

    /// Shows `factor` times less time (zooms in if above 1), keeping the time at `share` of the width in place.
    pub fn zoom(&mut self, factor: f64, share: f64) {
        if !(factor.is_finite() && factor > 0.0) {
            return;
        }
        let span = (self.span_ns / factor).clamp(MIN_SPAN_NS, self.max_span_ns());
        let shift = (self.span_ns - span) * share.clamp(0.0, 1.0);
        self.span_ns = span;
        self.pan(shift);
    }

    /// Part of the way from `self` to `target`: the start and the logarithm of the span move evenly.
    #[must_use]
    pub fn toward(&self, target: &Self, share: f64) -> Self {
        if share >= 1.0 {
            return *target;
        }
        let span = (self.span_ns.ln() + (target.span_ns.ln() - self.span_ns.ln()) * share).exp();
        // The point that both views show at the same place stays put, so a zoom does not swing sideways.
        let distance = (target.start_ns - self.start_ns) as f64 + target.start_fraction - self.start_fraction;
        let shrink = self.span_ns - target.span_ns;
        let offset = if shrink.abs() > 1e-3 * self.span_ns.max(target.span_ns) {
            distance * (self.span_ns - span) / shrink
        } else {
            distance * share
        };
        let mut view = Self { span_ns: span, ..*self };
        view.pan(offset);
        view
    }

    fn trace_ns(&self) -> f64 {
        (self.bounds.duration().0 as f64).max(MIN_SPAN_NS)
    }

    fn max_span_ns(&self) -> f64 {
        self.trace_ns() * (1.0 + 2.0 * MARGIN)
    }

    fn clamp(&mut self) {
        self.span_ns = self.span_ns.clamp(MIN_SPAN_NS, self.max_span_ns());
        let margin = (self.span_ns * 0.5).min(self.trace_ns() * MARGIN);
        let first = -margin;
        let last = (self.trace_ns() + margin - self.span_ns).max(first);
        let offset = self.start_ns.saturating_sub(self.bounds.start.0) as f64 + self.start_fraction;
        let clamped = offset.clamp(first, last);
        if clamped != offset {
            let whole = clamped.floor();
            self.start_ns = self.bounds.start.0.saturating_add(whole as i64);
            self.start_fraction = clamped - whole;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: Rangef = Rangef { min: 100.0, max: 1100.0 };
    const UNIX_2026: i64 = 1_767_225_600_000_000_000;

    fn span(start: i64, end: i64) -> Span {
        Span::new(Timestamp(start), Timestamp(end))
    }

    #[test]
    fn ends_of_the_view_lie_at_the_ends_of_the_area() {
        let view = Viewport::new(span(1_000, 2_000));
        assert_eq!(view.x_of(Timestamp(1_000), X), X.min);
        assert_eq!(view.x_of(Timestamp(2_000), X), X.max);
        assert_eq!(view.time_at(X.center(), X), Timestamp(1_500));
    }

    #[test]
    fn zoom_keeps_the_time_under_the_cursor() {
        let mut view = Viewport::new(span(UNIX_2026, UNIX_2026 + 60_000_000_000));
        let x = 417.0;
        let share = Viewport::share_at(x, X);
        let under = view.time_at(x, X);
        while view.span_ns() > 20.0 {
            view.zoom(1.3, share);
            assert!((view.x_of(under, X) - x).abs() <= 1.0 + (1.0 / view.ns_per_px(X)) as f32, "{view:?}");
        }
        view.zoom(1e9, share);
        assert_eq!(view.span_ns(), MIN_SPAN_NS);
    }

    #[test]
    fn neighbouring_nanoseconds_keep_their_distance_at_unix_times() {
        let mut view = Viewport::new(span(UNIX_2026, UNIX_2026 + 3_600_000_000_000));
        let at = UNIX_2026 + 1_800_000_000_007;
        view.show(span(at, at + 20));
        let first = view.x_of(Timestamp(at), X);
        for step in 0..20 {
            let x = view.x_of(Timestamp(at + step), X);
            assert!((x - first - 50.0 * step as f32).abs() < 1e-3, "{step}: {x}");
        }
    }

    #[test]
    fn small_pans_add_up() {
        let mut view = Viewport::new(span(UNIX_2026, UNIX_2026 + 1_000_000));
        view.show(span(UNIX_2026 + 500, UNIX_2026 + 510));
        let before = view.x_of(Timestamp(UNIX_2026 + 505), X);
        for _ in 0..1_000 {
            view.pan(0.001);
        }
        let moved = before - view.x_of(Timestamp(UNIX_2026 + 505), X);
        assert!((moved - 100.0).abs() < 0.01, "1 ns of 10 ns over 1000 px is 100 px, got {moved}");
    }

    #[test]
    fn the_view_stays_near_the_trace() {
        let mut view = Viewport::new(span(0, 1_000_000));
        view.zoom(10.0, 0.5);
        view.pan(1e30);
        assert!(view.visible().start.0 < 1_000_000);
        view.pan(-1e30);
        assert!(view.visible().end.0 > 0);
        view.zoom(1e-9, 0.5);
        assert!(view.span_ns() <= 1.1e6);
        view.zoom(f64::NAN, 0.5);
        view.pan(f64::INFINITY);
        assert!(view.span_ns().is_finite());
    }

    #[test]
    fn an_empty_trace_has_a_view() {
        let view = Viewport::new(span(5, 5));
        assert_eq!(view.span_ns(), MIN_SPAN_NS);
        assert!(view.x_of(Timestamp(5), X).is_finite());
    }

    #[test]
    fn an_animation_begins_and_ends_at_its_views() {
        let from = Viewport::new(span(0, 1_000_000));
        let mut to = from;
        to.show(span(300_000, 301_000));
        assert_eq!(from.toward(&to, 1.0), to);
        let first = from.toward(&to, 0.0);
        assert!((first.span_ns() - from.span_ns()).abs() < 1.0);
        let middle = from.toward(&to, 0.5);
        assert!(middle.span_ns() < from.span_ns() && middle.span_ns() > to.span_ns());
        let seen = middle.visible();
        assert!(seen.start <= to.visible().start && seen.end >= to.visible().end);
    }
}
