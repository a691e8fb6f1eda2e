//! Numbers as people read them: thousands separators, three significant figures, a unit that fits.

pub use gapless_trace::thousands as count;
use gapless_trace::three_figures;

fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut rest = units.iter();
    let mut unit = rest.next().copied().unwrap_or_default();
    // 999.5 and more would be shown with four figures.
    while value >= 999.5
        && let Some(&next) = rest.next()
    {
        value /= step;
        unit = next;
    }
    format!("{} {unit}", three_figures(value))
}

/// Memory and file sizes, in powers of 1024: `12.3 MiB`.
pub fn bytes(value: u64) -> String {
    if value < 1000 {
        format!("{value} B")
    } else {
        scaled(value as f64 / 1024.0, 1024.0, &["KiB", "MiB", "GiB", "TiB"])
    }
}

/// Bytes moved, in powers of 1000 as bandwidths are: `12.3 MB`.
pub fn decimal_bytes(value: u64) -> String {
    if value < 1000 { format!("{value} B") } else { scaled(value as f64 / 1e3, 1e3, &["kB", "MB", "GB", "TB", "PB"]) }
}

/// Bandwidth: `12.3 GB/s`.
pub fn rate(bytes_per_second: f64) -> String {
    if !bytes_per_second.is_finite() {
        return "–".to_owned();
    }
    scaled(bytes_per_second, 1e3, &["B/s", "kB/s", "MB/s", "GB/s", "TB/s"])
}

/// `42.3 %` of a whole; `–` when the whole is nothing.
pub fn share(part: i64, whole: i64) -> String {
    if whole == 0 { "–".to_owned() } else { percent(part as f64 / whole as f64) }
}

/// A fraction as `42.3 %`; something small but not nothing is `<0.1 %`.
pub fn percent(fraction: f64) -> String {
    let value = fraction * 100.0;
    if !value.is_finite() {
        "–".to_owned()
    } else if value > 0.0 && value < 0.1 {
        "<0.1 %".to_owned()
    } else if value < 99.95 || value == 100.0 {
        format!("{value:.1} %").replace("100.0", "100")
    } else if value < 100.0 {
        // Rounding must not claim the whole.
        ">99.9 %".to_owned()
    } else {
        format!("{value:.0} %")
    }
}

/// `text` without control characters: names come from files and must not steer the terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Namespaces of PyTorch that stand before most words of its kernels' names and tell none apart.
const NAMESPACES: [&str; 5] = ["at::native::", "at::detail::", "(anonymous namespace)::", "<unnamed>::", "c10::"];

/// A kernel's name without what all kernels have: the return type, the list of parameters, PyTorch's namespaces.
///
/// What tells kernels apart is the function and its template arguments. JSON has the whole name.
pub fn kernel_name(name: &str) -> String {
    let name = without_parameters(name.strip_prefix("void ").unwrap_or(name));
    NAMESPACES.iter().fold(name.to_owned(), |name, namespace| name.replace(namespace, ""))
}

fn without_parameters(name: &str) -> &str {
    if !name.ends_with(')') {
        return name;
    }
    let mut depth = 0_usize;
    for (place, c) in name.char_indices().rev() {
        match c {
            ')' => depth += 1,
            '(' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            // `Memcpy HtoD (Pinned -> Device)` ends in words, not in parameters.
            let head = name.get(..place).unwrap_or(name);
            return if head.is_empty() || head.ends_with(' ') { name } else { head };
        }
    }
    name
}

/// `text` in at most `columns` columns, shortened in the middle: kernels differ at both ends of their names.
pub fn shorten(text: &str, columns: usize) -> String {
    use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};
    let clean = clean(text);
    if clean.width() <= columns {
        return clean;
    }
    if columns < 3 {
        return "…".repeat(columns.min(1));
    }
    // The head says what it is (`void at::native::…`); the tail holds the template arguments that tell two apart.
    let head_columns = (columns - 1) * 3 / 5;
    let tail_columns = columns - 1 - head_columns;
    let fits = |limit: usize| {
        let mut used = 0;
        move |c: &char| {
            used += c.width().unwrap_or(0);
            used <= limit
        }
    };
    let head: String = clean.chars().take_while(fits(head_columns)).collect();
    let tail: Vec<char> = clean.chars().rev().take_while(fits(tail_columns)).collect();
    format!("{head}…{}", tail.into_iter().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_thousands_separators() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(26_538_001), "26,538,001");
    }

    #[test]
    fn sizes_and_rates_have_three_figures() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_024), "1.00 KiB");
        assert_eq!(bytes(1_048_575), "1.00 MiB");
        assert_eq!(bytes(12_900_000), "12.3 MiB");
        assert_eq!(decimal_bytes(12_300_000), "12.3 MB");
        assert_eq!(rate(1.5e12), "1.50 TB/s");
        assert_eq!(rate(12.0), "12.0 B/s");
        assert_eq!(rate(f64::NAN), "–");
    }

    #[test]
    fn shares_never_round_to_none_or_all() {
        assert_eq!(share(0, 5), "0.0 %");
        assert_eq!(share(5, 5), "100 %");
        assert_eq!(share(1, 1_000_000), "<0.1 %");
        assert_eq!(share(999_999, 1_000_000), ">99.9 %");
        assert_eq!(share(1, 3), "33.3 %");
        assert_eq!(share(1, 0), "–");
    }

    #[test]
    fn kernel_names_lose_what_all_have() {
        let check = |name: &str, short: &str| assert_eq!(kernel_name(name), short);
        check("void at::native::fill<4, at::native::F<float> >(int, F<float>)", "fill<4, F<float> >");
        check("void at::native::(anonymous namespace)::softmax<int>(int)", "softmax<int>");
        check("ncclKernel_AllReduce_RING_LL_Sum_float(ncclWorkElem)", "ncclKernel_AllReduce_RING_LL_Sum_float");
        check("void f<g(int)::{lambda()#1}>(int, void (*)(int))", "f<g(int)::{lambda()#1}>");
        check("Memcpy HtoD (Pinned -> Device)", "Memcpy HtoD (Pinned -> Device)");
        check("volta_sgemm_128x32_nt", "volta_sgemm_128x32_nt");
        check("(odd)", "(odd)");
        check("odd)", "odd)");
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(shorten("short", 10), "short");
        assert_eq!(shorten("void at::native::elementwise_kernel<4, 256>", 20), "void at::na…<4, 256>");
        assert_eq!(shorten("a\nb", 10), "a\u{fffd}b");
        assert_eq!(shorten("日本語のカーネル名", 9), "日本…ル名");
        assert_eq!(shorten("abcdef", 2), "…");
    }
}
