//! Figures in sentences.

/// A duration given in ns, with three significant figures and a unit that fits: `53.9 ms`.
#[must_use]
pub fn ms(ns: f64) -> String {
    let (value, unit) = match ns.abs() {
        size if size >= 1e9 => (ns / 1e9, "s"),
        size if size >= 1e6 => (ns / 1e6, "ms"),
        size if size >= 1e3 => (ns / 1e3, "µs"),
        _ => return format!("{ns:.0} ns"),
    };
    format!("{} {unit}", gapless_trace::three_figures(value))
}

/// A share as a percentage without decimals, with one below ten: `35 %`, `4.2 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    if value.abs() < 9.95 { format!("{value:.1} %") } else { format!("{value:.0} %") }
}

/// Bytes with three figures and a decimal unit: `4.19 MB`.
#[must_use]
pub fn bytes(count: f64) -> String {
    let (value, unit) = match count.abs() {
        size if size >= 1e12 => (count / 1e12, "TB"),
        size if size >= 1e9 => (count / 1e9, "GB"),
        size if size >= 1e6 => (count / 1e6, "MB"),
        size if size >= 1e3 => (count / 1e3, "kB"),
        _ => return format!("{count:.0} B"),
    };
    format!("{} {unit}", gapless_trace::three_figures(value))
}
