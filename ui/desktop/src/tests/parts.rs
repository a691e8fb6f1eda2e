//! Numbers and the time that they light up are the same.

use gapless_trace::{Duration, Span};

use super::fixture;
use super::user::model;
use crate::ThemeChoice;
use crate::part::{HostPart, Part};
use crate::state::{Loaded, Window};

fn check(loaded: &Loaded, window: Window) {
    let view = loaded.work_out(window).unwrap();
    let report = loaded.report.as_ref().unwrap();
    assert_eq!(view.rows.len(), loaded.trace.ranks().len());
    for row in &view.rows {
        let mut sum = Duration::ZERO;
        for &part in loaded.parts() {
            let time = row.time(part);
            let place = row.rank.index();
            let waits = loaded.engine.as_ref().map(|engine| &engine.waiting[place]);
            let spans = part.spans(&report.works[place], report.hosts[place].as_ref(), waits, row.span);
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
        assert_eq!(row.time(Part::ExposedCommunication), Duration::from_millis(1), "only then all ranks are there");
        assert_eq!(row.time(Part::WaitingForRanks), Duration::from_millis(3 - rank as i64));
        assert_eq!(row.partition.exposed_copy_ns, 300_000);
    }
    assert!(view.slowest().is_none());
}

#[test]
fn a_job_on_the_cpu_is_split_by_what_its_main_thread_did() {
    let mut model = model(ThemeChoice::Dark);
    model.show_trace(fixture::host_trace(), "cpu");
    let loaded = model.state.loaded.as_ref().unwrap();
    let whole = loaded.trace.span().unwrap();
    for window in [Window::Whole, Window::Step(0), Window::Step(3)] {
        check(loaded, window);
    }
    for (from, to) in [(0, 500), (1_000, 9_000), (4_999, 5_001), (-50, 60_000)] {
        let at = |us: i64| whole.start + Duration::from_micros(us);
        check(loaded, Window::Range(Span::new(at(from), at(to))));
    }
    let view = loaded.view.as_ref().unwrap();
    let times = |rank: usize| {
        use HostPart as P;
        let parts = [P::DataLoading, P::Operators, P::CommunicationWait, P::Optimizer, P::Other];
        parts.map(|part| view.rows[rank].time(Part::Host(part)).0 / 1_000)
    };
    assert_eq!(times(0), [2_000, 3_000, 3_500, 1_000, 500]);
    assert_eq!(times(1), [2_000, 5_000, 1_500, 1_000, 500]);
    // Rank 0 waits; rank 1 is the one that it waits for.
    assert_eq!(crate::view::waited_for(view).map(|row| row.rank.0), Some(1));
}
