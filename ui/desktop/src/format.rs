//! Numbers for people.

use gapless_trace::Duration;
pub use gapless_trace::{thousands, three_figures};

/// `value` with the word that fits: `1 event`, `2,304 events`.
#[must_use]
pub fn counted(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(value), if value == 1 { one } else { many })
}

/// A share of 1 as a percentage with three significant figures at most: `35.4 %`, `0.32 %`, `100 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    let decimals = match value.abs() {
        below if below < 0.005 => 0,
        below if below < 1.0 => 2,
        below if below < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} %")
}

/// Bytes with a decimal unit and three significant figures: `1.50 MB`.
#[must_use]
pub fn bytes(value: u64) -> String {
    let scales = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    for (scale, unit) in scales {
        // From 999.5 of the smaller unit on, three figures read better in this one.
        if value as f64 >= scale * 0.9995 {
            return format!("{} {unit}", three_figures(value as f64 / scale));
        }
    }
    format!("{value} B")
}

/// A duration from fractional nanoseconds, as means and medians are.
#[must_use]
pub fn duration_f64(nanos: f64) -> Duration {
    Duration(nanos.round() as i64)
}

/// A number from any scale: three figures while it is small, whole above.
#[must_use]
pub fn figure(value: f64) -> String {
    match value {
        small if small < 0.01 => format!("{small:.1e}"),
        middle if middle < 1_000.0 => three_figures(middle),
        great => thousands(great.round() as u64),
    }
}

/// The exact nanoseconds, for tooltips: `19,760,123 ns`.
#[must_use]
pub fn exact(duration: Duration) -> String {
    let sign = if duration.0 < 0 { "−" } else { "" };
    format!("{sign}{} ns", thousands(duration.0.unsigned_abs()))
}

/// A duration for the middle of a sentence: its number and its unit stay on one line.
#[must_use]
pub fn in_text(duration: Duration) -> String {
    duration.to_string().replace(' ', "\u{a0}")
}

/// `text` cut to at most `limit` characters, with `…` where something is missing.
#[must_use]
pub fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_212_304), "1,212,304");
        assert_eq!(counted(1, "event", "events"), "1 event");
        assert_eq!(counted(2_304, "event", "events"), "2,304 events");
        assert_eq!(percent(0.354), "35.4 %");
        assert_eq!(percent(0.0032), "0.32 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500_000), "1.50 MB");
        assert_eq!(bytes(999_700), "1.00 MB");
        assert_eq!(exact(Duration(19_760_123)), "19,760,123 ns");
        assert_eq!(exact(Duration(-5)), "−5 ns");
        assert_eq!(shorten("abcdef", 4), "abc…");
        assert_eq!(shorten("abcd", 4), "abcd");
    }
}
