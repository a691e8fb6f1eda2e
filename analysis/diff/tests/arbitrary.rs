//! Comparisons of anything with anything: no panic, parts that sum, the same answer twice, nothing against itself.
#![allow(missing_docs)]

use gapless_diff::{DiffOptions, Recording, diff};
use gapless_tests::arbitrary::plan;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn parts_of_absurd_recordings_sum(base in plan(0..60), new in plan(0..60)) {
        let (Ok(base), Ok(new)) = (base.build(), new.build()) else { return Ok(()) };
        let (base, new) = (Recording::new(&base), Recording::new(&new));
        let options = DiffOptions::default();
        let found = diff(&base, &new, &options);
        let sum: i128 = found.rows.iter().map(|row| i128::from(row.part_ns)).sum();
        prop_assert_eq!(sum, i128::from(found.delta_ns));
        prop_assert_eq!(&found, &diff(&base, &new, &options));
        let own = diff(&base, &base, &options);
        prop_assert_eq!((own.delta_ns, own.rows.len()), (0, 0));
    }
}
