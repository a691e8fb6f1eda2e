//! Numbers as people read them. One place, so that the report, the timeline and the desktop write them alike.

/// With a comma between thousands: `212,304`.
#[must_use]
pub fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three significant figures of a number whose size is below 1000: `1.23`, `12.3`, `123`.
#[must_use]
pub fn three_figures(value: f64) -> String {
    let decimals = match value.abs() {
        below if below < 9.995 => 2,
        below if below < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_parted_by_commas() {
        let check = |value: u64, text: &str| assert_eq!(thousands(value), text);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(26_538, "26,538");
        check(u64::MAX, "18,446,744,073,709,551,615");
    }

    #[test]
    fn three_figures_never_become_four() {
        let check = |value: f64, text: &str| assert_eq!(three_figures(value), text);
        check(1.234, "1.23");
        check(9.994, "9.99");
        check(9.996, "10.0");
        check(99.94, "99.9");
        check(99.96, "100");
        check(-12.34, "-12.3");
    }
}
