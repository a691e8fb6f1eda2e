//! Numbers and the time that they light up are the same.

use gapless_trace::{Duration, Span};

use super::fixture;
use super::user::model;
use crate::ThemeChoice;
use crate::part::Part;
use crate::state::{Loaded, Window};

fn check(loaded: &Loaded, window: Window) {
    let view = loaded.work_out(window).unwrap();
    let works = &loaded.report.as_ref().unwrap().works;
    assert_eq!(view.rows.len(), fixture::RANKS as usize);
    for row in &view.rows {
        let mut sum = Duration::ZERO;
        for part in Part::ALL {
            let time = part.duration(&row.partition);
            let spans = part.spans(&works[row.rank.index()], row.span);
            let lit: Duration = spans.iter().map(|span| span.duration()).sum();
            assert_eq!(lit, time, "{} {part:?} {window:?}", row.label);
            assert!(spans.iter().all(|span| span.intersect(row.span) == *span), "{} {part:?}", row.label);
            sum += time;
        }
        assert_eq!(sum, row.span.duration(), "{}", row.label);
    }
}

#[test]
fn every_number_lights_up_exactly_its_time() {
    let mut model = model(ThemeChoice::Dark);
    model.show_trace(fixture::trace(), "run");
    let loaded = model.state.loaded.as_ref().unwrap();
    let whole = loaded.trace.span().unwrap();
    for window in [Window::Whole, Window::Step(0), Window::Step(1), Window::Step(2)] {
        check(loaded, window);
    }
    for (from, to) in [(0, 500), (300, 900), (5_000, 15_000), (5_500, 5_501), (31_000, 40_000), (50_000, 60_000)] {
        let at = |us: i64| whole.start + Duration::from_micros(us);
        check(loaded, Window::Range(Span::new(at(from), at(to))));
    }
}

#[test]
fn the_typical_step_is_chosen_and_its_numbers_are_those_of_the_fixture() {
    let mut model = model(ThemeChoice::Dark);
    model.show_trace(fixture::trace(), "run");
    let loaded = model.state.loaded.as_ref().unwrap();
    // Of 10, 10 and 12 ms the median is 10: the second of the two.
    assert_eq!(loaded.window, Window::Step(1));
    let view = loaded.view.as_ref().unwrap();
    assert_eq!(view.title, "ProfilerStep#6");
    for (rank, row) in view.rows.iter().enumerate() {
        assert_eq!(row.partition.duration_ns, 10_000_000);
        assert_eq!(row.partition.compute_ns, 4_200_000);
        assert_eq!(row.partition.exposed_comm_ns, 4_000_000 - 1_000_000 * rank as i64);
        assert_eq!(row.partition.exposed_copy_ns, 300_000);
    }
    assert!(view.slowest().is_none());
}
