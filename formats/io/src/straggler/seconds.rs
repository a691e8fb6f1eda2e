//! Seconds in binary floating point as whole nanoseconds, without rounding on the way.

/// `seconds` in ns, to the nearest, halves up; `None` if it is no number or does not fit.
///
/// A float is a whole number times a power of two; the product with 10⁹ is taken in whole numbers.
pub(super) fn to_ns(seconds: f64) -> Option<i64> {
    if !seconds.is_finite() {
        return None;
    }
    let bits = seconds.to_bits();
    let exponent = (bits >> 52 & 0x7FF) as i32;
    let fraction = i128::from(bits & ((1 << 52) - 1));
    // Subnormal numbers lack the leading one.
    let (whole, power) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    let signed = if seconds.is_sign_negative() { -whole } else { whole };
    // At most 2⁵³ × 10⁹, some 2⁸³.
    let product = signed * 1_000_000_000;
    let ns = match u32::try_from(power) {
        Ok(0..=40) => product << power,
        Ok(_) => return if product == 0 { Some(0) } else { None },
        // Half of the last place is added, then what is below is cut towards the past.
        Err(_) => match power.unsigned_abs() {
            shift @ 1..=100 => (product + (1 << (shift - 1))) >> shift,
            _ => 0,
        },
    };
    i64::try_from(ns).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_the_nearest_nanosecond() {
        let check = |seconds: f64, ns: Option<i64>| assert_eq!(to_ns(seconds), ns, "{seconds:e}");
        check(0.0, Some(0));
        check(-0.0, Some(0));
        check(1.0, Some(1_000_000_000));
        check(-1.5, Some(-1_500_000_000));
        check(1e-9, Some(1));
        check(0.4e-9, Some(0));
        check(0.6e-9, Some(1));
        check(-0.6e-9, Some(-1));
        // 2⁻³⁰ s is 0.931… ns; 2⁻¹ of a nanosecond that a float holds exactly is 5⁹ × 2⁻… and does not exist.
        check(f64::from(2.688_330_4_f32), Some(2_688_330_412));
        check(f64::MIN_POSITIVE, Some(0));
        check(f64::from_bits(1), Some(0));
        check(9e9, Some(9_000_000_000_000_000_000));
        check(1e10, None);
        check(-1e300, None);
        check(f64::NAN, None);
        check(f64::INFINITY, None);
    }

    proptest::proptest! {
        #[test]
        fn whole_nanoseconds_within_a_day_come_back(ns in -86_400_000_000_000_i64..86_400_000_000_000) {
            // Six decimal places are left of a double at a day.
            proptest::prop_assert!((to_ns(ns as f64 / 1e9).unwrap_or_default() - ns).abs() <= 1);
        }

        #[test]
        fn any_number_ends(bits in 0_u64..=u64::MAX) {
            let seconds = f64::from_bits(bits);
            if let Some(ns) = to_ns(seconds) {
                proptest::prop_assert!((ns as f64 / 1e9 - seconds).abs() <= seconds.abs() * 1e-12 + 1e-9);
            }
        }
    }
}
