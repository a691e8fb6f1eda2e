//! Times as text: for the ruler, the cursor and tooltips.

use gapless_trace::{thousands, three_figures};

/// A whole number with a comma between thousands: `1,234,567`.
#[must_use]
pub fn grouped(value: i64) -> String {
    let sign = if value < 0 { "−" } else { "" };
    format!("{sign}{}", thousands(value.unsigned_abs()))
}

const UNITS: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];

fn unit_for(nanos: f64) -> (f64, &'static str) {
    UNITS.into_iter().find(|unit| nanos.abs() >= unit.0 * 0.999_999).unwrap_or((1.0, "ns"))
}

/// A time with as many digits as tell it from another that is `resolution_ns` away: `12.345 ms`.
#[must_use]
pub fn precise(nanos: i64, resolution_ns: f64) -> String {
    let (unit, name) = unit_for(nanos as f64);
    with_decimals(nanos as f64, unit, name, resolution_ns)
}

fn decimals(unit: f64, resolution_ns: f64) -> usize {
    // A step of 0.5 units needs one decimal, of 0.25 two.
    ((unit / resolution_ns.max(1.0)).log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize
}

fn with_decimals(nanos: f64, unit: f64, name: &str, resolution_ns: f64) -> String {
    let decimals = decimals(unit, resolution_ns);
    let sign = if nanos < 0.0 { "−" } else { "" };
    format!("{sign}{:.decimals$} {name}", nanos.abs() / unit)
}

/// A counter's value: with its unit, bytes in binary multiples.
#[must_use]
pub fn counter_value(value: f64, unit: &str) -> String {
    let (divisor, prefix) = if unit.eq_ignore_ascii_case("bytes") {
        let (divisor, prefix) = scale(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"]);
        return format!("{} {prefix}", whole_or_three_figures(value / divisor));
    } else {
        scale(value, 1000.0, &["", "k", "M", "G", "T"])
    };
    format!("{} {prefix}{unit}", whole_or_three_figures(value / divisor)).trim_end().to_owned()
}

fn scale<'p>(value: f64, base: f64, prefixes: &[&'p str]) -> (f64, &'p str) {
    let mut divisor = 1.0;
    let mut prefixes = prefixes.iter();
    let mut prefix = prefixes.next().copied().unwrap_or_default();
    for next in prefixes {
        if value.abs() < divisor * base {
            break;
        }
        divisor *= base;
        prefix = next;
    }
    (divisor, prefix)
}

fn whole_or_three_figures(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1000.0 {
        return format!("{value:.0}");
    }
    three_figures(value)
}

/// Ticks of a ruler.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ticks {
    /// What is added to each label, where full times would be too long.
    pub base: Option<String>,
    /// Time from the start of the trace in ns, and label.
    pub labels: Vec<(i64, String)>,
    /// Distance between ticks in ns.
    pub step_ns: i64,
}

/// Ticks between `start_ns` and `end_ns` (from the start of the trace), at least `min_step_ns` apart, at 1, 2 or 5 times
/// a power of ten.
pub(crate) fn ticks(start_ns: i64, end_ns: i64, min_step_ns: f64) -> Ticks {
    let power = 10_f64.powf(min_step_ns.max(1.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= min_step_ns);
    let step_ns = (step.unwrap_or(power * 10.0).round() as i64).max(1);
    let largest = start_ns.unsigned_abs().max(end_ns.unsigned_abs()) as f64;
    let (unit, name) = unit_for(largest);
    // More decimals than this are hard to read at each tick.
    let is_long = decimals(unit, step_ns as f64) > 3;
    let base_ns = if is_long {
        let grid = 10_i64.saturating_pow((step_ns as f64 * 100.0).log10().ceil() as u32).max(1);
        start_ns.div_euclid(grid) * grid
    } else {
        0
    };
    let (unit, name) = if is_long { unit_for((end_ns - base_ns) as f64) } else { (unit, name) };
    let first = start_ns.div_euclid(step_ns) * step_ns;
    let last = end_ns.saturating_add(step_ns);
    let labels = std::iter::successors(Some(first), |tick| tick.checked_add(step_ns))
        .take_while(|&tick| tick <= last)
        .map(|tick| {
            let offset = (tick - base_ns) as f64;
            let sign = if is_long { "+" } else { "" };
            (tick, format!("{sign}{}", with_decimals(offset, unit, name, step_ns as f64)))
        })
        .collect();
    let base = is_long.then(|| precise(base_ns, 10_f64.powf((step_ns as f64 * 100.0).log10().ceil())));
    Ticks { base, labels, step_ns }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(start: i64, end: i64, min_step: f64) -> (Option<String>, Vec<String>) {
        let ticks = ticks(start, end, min_step);
        (ticks.base, ticks.labels.into_iter().map(|(_, text)| text).collect())
    }

    #[test]
    fn ticks_are_round_and_have_a_unit_that_fits() {
        assert_eq!(
            texts(0, 10_000_000, 1_500_000.0),
            (None, ["0 ms", "2 ms", "4 ms", "6 ms", "8 ms", "10 ms", "12 ms"].map(String::from).to_vec())
        );
        let (base, labels) = texts(1_234_500_000, 1_234_520_000, 4_000.0);
        assert_eq!(base.as_deref(), Some("1.234 s"));
        assert_eq!(labels, ["+500 µs", "+505 µs", "+510 µs", "+515 µs", "+520 µs", "+525 µs"]);
        assert_eq!(texts(0, 3, 0.4).1, ["0 ns", "1 ns", "2 ns", "3 ns", "4 ns"]);
        assert_eq!(texts(2_000_000, 2_500_000, 100_000.0).1.first().map(String::as_str), Some("2.0 ms"));
    }

    #[test]
    fn neighbouring_ticks_always_have_different_labels() {
        for start in [0_i64, 7, 999_999, 1_234_567_890, 3_600_000_000_000] {
            let mut span = 12.0_f64;
            while span < 4e12 {
                let ticks = ticks(start, start + span as i64, span / 10.0);
                for pair in ticks.labels.windows(2) {
                    assert_ne!(pair[0].1, pair[1].1, "start {start}, span {span}: {:?}", ticks.base);
                    assert!(pair[0].1.chars().count() <= 10, "{}", pair[0].1);
                }
                assert!(ticks.labels.len() <= 13);
                span *= 1.7;
            }
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(-999), "−999");
        assert_eq!(grouped(0), "0");
    }

    #[test]
    fn counters_have_units() {
        assert_eq!(counter_value(1_073_741_824.0, "bytes"), "1 GiB");
        assert_eq!(counter_value(1_500.0, "W"), "1.50 kW");
        assert_eq!(counter_value(0.0, ""), "0");
    }

    #[test]
    fn cursor_times_have_the_digits_that_the_zoom_shows() {
        assert_eq!(precise(12_345_678, 1_000.0), "12.346 ms");
        assert_eq!(precise(12_345_678, 1.0), "12.345678 ms");
        assert_eq!(precise(500, 1.0), "500 ns");
    }
}
