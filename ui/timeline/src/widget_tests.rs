//! The widget as users and screen readers meet it: by label.

use std::sync::Arc;

use egui::{Key, Modifiers, Pos2, Rect, pos2, vec2};
use egui_kittest::{Harness, kittest::Queryable};
use gapless_trace::{EventId, EventKind, RankId, Span, Timestamp, Trace};

use crate::fixtures;
use crate::{BarStyle, FrameStats, Overlay, OverlayColor, OverlayPlace, Theme, Timeline, TimelineIndex, TimelineState};

struct App {
    trace: Trace,
    index: TimelineIndex,
    theme: Theme,
    state: TimelineState,
    matches: Option<Arc<[EventId]>>,
    names: Option<Arc<[gapless_trace::StrId]>>,
    overlays: Vec<Overlay>,
    path: Option<Arc<crate::PathLayer>>,
    clicked: Option<EventId>,
}

fn harness(trace: Trace) -> Harness<'static, App> {
    let index = TimelineIndex::build(&trace);
    let mut state = TimelineState::new(&index);
    state.options.animate = false;
    let app = App {
        trace,
        index,
        theme: Theme::dark(),
        state,
        matches: None,
        names: None,
        overlays: Vec::new(),
        path: None,
        clicked: None,
    };
    let mut harness = Harness::builder().with_size(vec2(1_200.0, 700.0)).with_step_dt(0.05).build_ui_state(
        |ui, app: &mut App| {
            let timeline = Timeline::new(&app.trace, &app.index, &app.theme)
                .matches(app.matches.as_ref())
                .matching_names(app.names.as_ref())
                .overlays(&app.overlays)
                .critical_path(app.path.as_ref());
            let response = timeline.show(ui, &mut app.state);
            app.clicked = response.clicked.or(app.clicked);
        },
        app,
    );
    harness.run();
    harness
}

fn find(trace: &Trace, name: &str) -> EventId {
    (0..trace.events().len() as u32).map(EventId).find(|&id| trace.name(id) == name).unwrap()
}

/// Where an event that is on screen is drawn: the row of its track's header.
fn position(harness: &Harness<'_, App>, event: EventId, header: &str) -> Pos2 {
    let app = harness.state();
    let canvas = harness.get_by_label("Timeline").rect();
    let span = app.trace.event(event).span();
    let middle = Timestamp(span.start.0.midpoint(span.end.0));
    pos2(app.state.view.x_of(middle, canvas.x_range()), harness.get_by_label(header).rect().center().y)
}

fn click(harness: &mut Harness<'_, App>, at: Pos2) {
    harness.hover_at(at);
    harness.step();
    for pressed in [true, false] {
        let button = egui::PointerButton::Primary;
        harness.event(egui::Event::PointerButton { pos: at, button, pressed, modifiers: Modifiers::NONE });
        harness.step();
    }
    harness.run_steps(2);
}

#[test]
fn headers_fold_and_open_ranks() {
    let mut harness = harness(fixtures::training(2, 3));
    assert!(harness.query_by_label("GPU 0 · stream 7").is_some());
    harness.get_by_label("Rank 0").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("GPU 0 · stream 7").is_none());
    assert!(!harness.state().state.is_rank_open(RankId(0)));
    harness.get_by_label("Rank 1").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("GPU 0 · stream 7").is_some());
}

#[test]
fn a_click_selects_and_the_canvas_says_what() {
    let mut harness = harness(fixtures::training(1, 3));
    let kernel = find(&harness.state().trace, "void at::native::kernel_1<float>(int)");
    let at = position(&harness, kernel, "GPU 0 · stream 7");
    click(&mut harness, at);
    assert_eq!(harness.state().state.selected, Some(kernel));
    assert_eq!(harness.state().clicked, Some(kernel));
    let value = harness.get_by_label("Timeline").value().unwrap();
    assert!(value.contains("kernel_1") && value.contains("55.0 µs"), "{value}");
    harness.key_press(Key::Escape);
    harness.run_steps(2);
    assert_eq!(harness.state().state.selected, None);
}

#[test]
fn a_double_click_zooms_to_the_event() {
    let mut harness = harness(fixtures::training(1, 3));
    let kernel = find(&harness.state().trace, "void at::native::kernel_1<float>(int)");
    let at = position(&harness, kernel, "GPU 0 · stream 7");
    harness.hover_at(at);
    harness.step();
    for pressed in [true, false, true, false] {
        let button = egui::PointerButton::Primary;
        harness.event(egui::Event::PointerButton { pos: at, button, pressed, modifiers: Modifiers::NONE });
        harness.step();
    }
    harness.run_steps(3);
    let span_ns = harness.state().state.view.span_ns();
    assert!((55_000.0..90_000.0).contains(&span_ns), "{span_ns}");
}

#[test]
fn ctrl_wheel_zooms_at_the_pointer() {
    let mut harness = harness(fixtures::training(1, 20));
    let canvas = harness.get_by_label("Timeline").rect();
    let at = pos2(canvas.left() + canvas.width() * 0.3, canvas.center().y);
    harness.hover_at(at);
    harness.run_steps(2);
    let before = harness.state().state.view;
    let under = before.time_at(at.x, canvas.x_range());
    for _ in 0..5 {
        harness.event(egui::Event::Zoom(1.4));
        harness.step();
    }
    let after = harness.state().state.view;
    assert!(after.span_ns() < before.span_ns() / 4.0);
    assert!((after.x_of(under, canvas.x_range()) - at.x).abs() < 1.0);
}

#[test]
fn keys_walk_fit_and_move() {
    let mut harness = harness(fixtures::training(1, 3));
    let first = find(&harness.state().trace, "aten::linear");
    harness.state_mut().state.selected = Some(first);
    harness.key_press(Key::Period);
    harness.run_steps(2);
    let second = harness.state().state.selected.unwrap();
    assert_eq!(harness.state().trace.name(second), "aten::addmm");
    harness.key_press(Key::F);
    harness.run_steps(2);
    assert!(harness.state().state.view.span_ns() < 70_000.0);
    harness.key_press(Key::Home);
    harness.run_steps(2);
    let app = harness.state();
    assert_eq!(app.state.view.visible(), app.index.span());
    harness.key_down(Key::W);
    harness.run_steps(10);
    harness.key_up(Key::W);
    harness.run_steps(30);
    let app = harness.state();
    assert!(app.state.view.span_ns() < app.index.span().duration().0 as f64 * 0.9, "W zooms in while it is held");
}

#[test]
fn a_drag_selects_a_range_and_with_shift_moves() {
    let mut harness = harness(fixtures::training(1, 3));
    let canvas = harness.get_by_label("Timeline").rect();
    let (a, b) = (canvas.center(), canvas.center() + vec2(200.0, 0.0));
    harness.hover_at(a);
    harness.step();
    harness.drag_at(a);
    harness.step();
    harness.hover_at(b);
    harness.step();
    harness.drop_at(b);
    harness.step();
    let range = harness.state().state.range.unwrap();
    let view = harness.state().state.view;
    assert!((view.x_of(range.start, canvas.x_range()) - a.x).abs() < 1.0);
    assert!((view.x_of(range.end, canvas.x_range()) - b.x).abs() < 1.0);
    harness.key_press(Key::F);
    harness.run_steps(2);
    assert_eq!(harness.state().state.view.visible(), range, "F fits the range");
}

#[test]
fn a_frame_in_which_nothing_changes_is_drawn_again() {
    let mut harness = harness(fixtures::kernels(4, 40_000, 2));
    harness.run_steps(2);
    assert!(harness.state().state.stats().reused);
    harness.state_mut().state.view.pan(10_000.0);
    harness.step();
    assert!(!harness.state().state.stats().reused);
    harness.step();
    assert!(harness.state().state.stats().reused);
    harness.state_mut().matches = Some(Arc::from([EventId(3)]));
    harness.step();
    assert!(!harness.state().state.stats().reused, "matches change the picture");
}

#[test]
fn matches_stand_out_in_strips_and_in_bars() {
    for zoomed in [false, true] {
        let mut harness = harness(fixtures::kernels(1, 30_000, 2));
        let event = EventId(15_000);
        if zoomed {
            let span = harness.state().trace.event(event).span();
            let around = gapless_trace::Duration::from_millis(1);
            harness.state_mut().state.zoom_to(Span::new(span.start - around, span.end + around));
        }
        harness.step();
        let bright = |harness: &Harness<'_, App>| {
            let app = harness.state();
            let color = crate::theme::mix(app.theme.kind(EventKind::Kernel), app.theme.ui.background, 0.5);
            app.state.cache.bright_pixels(color)
        };
        let before = bright(&harness);
        harness.state_mut().matches = Some(Arc::from([event]));
        harness.step();
        let after = bright(&harness);
        assert!(before > 3 && (1..=3).contains(&after), "{before} bright bars and texels become {after}");
        harness.state_mut().matches = Some(Arc::from([]));
        harness.step();
        assert_eq!(bright(&harness), 0, "nothing is bright where nothing matches");
    }
}

#[test]
fn a_frame_is_bounded_by_its_pixels() {
    let mut harness = harness(fixtures::kernels(20, 1_000_000, 1));
    let spans = vec![Span::new(Timestamp(fixtures::BASE), Timestamp(fixtures::BASE + 5_000_000))];
    let evenly: Vec<EventId> = (0..1_000_000).step_by(3).map(EventId).collect();
    harness.state_mut().overlays = vec![
        Overlay::spans(OverlayPlace::Everywhere, spans, BarStyle::Hatched, OverlayColor::Waiting),
        Overlay::events(evenly.clone(), BarStyle::Solid, OverlayColor::Accent),
    ];
    let width = harness.get_by_label("Timeline").rect().width() as usize;
    let mut seen: Vec<FrameStats> = Vec::new();
    for matches in [None, Some(Arc::from(evenly))] {
        harness.state_mut().matches = matches;
        harness.state_mut().state.view.fit();
        for _ in 0..24 {
            harness.step();
            let stats = harness.state().state.stats();
            let rows = stats.rows;
            assert!(rows <= 40, "{rows} rows are on screen");
            // Rows of bars have at most w/8 of them; marks at most one every other pixel, and a hatched mark has
            // a stripe every six pixels; long events of a strip are at least 38 pixels apart.
            assert!(stats.bars <= rows * (width / 8 + width / 2 + width / 6 + width / 38 + 4), "{stats:?}");
            assert!(stats.vertices <= 4 * (stats.bars + 2 * rows), "{stats:?}");
            assert!(stats.texels <= rows * width, "{stats:?}");
            assert!(stats.labels <= rows * width / 30, "{stats:?}");
            assert!(stats.read <= rows * (3 * width + 4 * 4_096), "{stats:?}");
            seen.push(stats);
            harness.state_mut().state.view.zoom(1.9, 0.41);
        }
    }
    assert!(seen.iter().any(|stats| stats.texels > 0) && seen.iter().any(|stats| stats.texels == 0 && stats.bars > 0));
    assert!(seen.iter().any(|stats| stats.labels > 0), "deep zooms have labels");
}

#[test]
fn a_path_of_a_million_pieces_is_bounded_by_pixels() {
    let mut harness = harness(fixtures::kernels(20, 1_000_000, 1));
    let trace = &harness.state().trace;
    let mut ids: Vec<EventId> = (0..trace.events().len() as u32).map(EventId).collect();
    ids.sort_by_key(|&id| trace.event(id).start);
    let piece = |id: EventId| {
        let (row, entry) = trace.row_of(id).unwrap();
        let span = trace.event(id).span();
        let rank = trace.rank_of(id).unwrap();
        crate::PathPiece {
            rank,
            track: entry.track,
            row: Some(row),
            span,
            common: span.start,
            kind: crate::PathKind::Work,
        }
    };
    let pieces: Vec<_> = ids.into_iter().map(piece).collect();
    let delays: Vec<_> = pieces.iter().step_by(2).filter_map(|piece| Some((piece.row?, piece.span))).collect();
    let layer = Arc::new(crate::PathLayer::new(&pieces, &delays));
    assert!(layer.hops() > 500_000);
    let width = harness.get_by_label("Timeline").rect().width() as usize;
    let mut drawn = 0;
    for _ in 0..24 {
        harness.state_mut().path = None;
        harness.step();
        let without = harness.state().state.stats();
        harness.state_mut().path = Some(Arc::clone(&layer));
        harness.step();
        let with = harness.state().state.stats();
        // An outline has four sides and at most every other pixel has one, with the hatch of a delay; a column of pixels
        // has at most three connectors, each with a way along and a way down that labels cut.
        let bound = with.rows * (4 * width / 2 + width / 2 + width / 6) + 3 * width * (2 + with.rows);
        assert!(with.bars > without.bars && with.bars - without.bars <= bound, "{with:?} and {without:?}");
        assert!(with.vertices <= 4 * (with.bars + 2 * with.rows), "{with:?}");
        drawn = drawn.max(with.bars - without.bars);
        harness.state_mut().state.view.zoom(1.9, 0.41);
    }
    assert!(drawn > 1_000, "{drawn}");
}

#[test]
fn arrows_and_overlays_draw_for_every_kind_of_event() {
    let mut harness = harness(fixtures::training(3, 4));
    let count = harness.state().trace.events().len() as u32;
    for event in (0..count).step_by(7).map(EventId) {
        let app = harness.state_mut();
        app.state.reveal(event, &app.trace, &app.index);
        harness.step();
        let app = harness.state();
        assert_eq!(app.state.selected, Some(event));
        let visible = app.state.view.visible();
        assert!(app.trace.event(event).start <= visible.end && visible.start <= app.trace.event(event).end());
    }
    assert!((0..count).any(|id| harness.state().trace.event(EventId(id)).kind == EventKind::Collective));
}

#[test]
fn an_empty_trace_shows_an_empty_timeline() {
    let trace = Trace::from_parts(Vec::new(), &gapless_trace::BuildOptions::default()).unwrap();
    let harness = harness(trace);
    assert!(harness.query_by_label("Timeline").is_some());
    assert_eq!(harness.state().state.stats().bars, 0);
}

#[test]
fn a_tiny_area_does_no_harm() {
    let trace = fixtures::training(1, 2);
    let index = TimelineIndex::build(&trace);
    let theme = Theme::light();
    for size in [vec2(1.0, 1.0), vec2(50.0, 20.0), vec2(220.0, 60.0)] {
        let mut state = TimelineState::new(&index);
        let context = egui::Context::default();
        let input = egui::RawInput { screen_rect: Some(Rect::from_min_size(Pos2::ZERO, size)), ..Default::default() };
        let mut output = context.run_ui(input, |ui| {
            Timeline::new(&trace, &index, &theme).show(ui, &mut state);
        });
        let shapes = std::mem::take(&mut output.shapes);
        assert!(!context.tessellate(shapes, 1.0).is_empty() || size.x < 60.0);
        output.drop_without_applying_deltas();
    }
}

#[test]
fn matches_stand_out_in_long_lists() {
    // 40,000 operators of one thread are gathered in one list.
    let mut harness = harness(fixtures::python_stack(20_000));
    let bright = |harness: &mut Harness<'_, App>, matches: Vec<EventId>| {
        harness.state_mut().matches = Some(Arc::from(matches));
        harness.step();
        let app = harness.state();
        let color = crate::theme::mix(app.theme.kind(EventKind::Operator), app.theme.ui.background, 0.5);
        app.state.cache.bright_pixels(color)
    };
    let trace = &harness.state().trace;
    let ids = (0..trace.events().len() as u32).map(EventId);
    let found: Vec<EventId> = ids.filter(|&id| trace.name(id) == "aten::relu").skip(9_000).take(1).collect();
    let none = bright(&mut harness, Vec::new());
    let some = bright(&mut harness, found);
    assert!(some > none, "{some} bright pixels with a match, {none} without");
}

#[test]
fn a_search_lights_frames_inside_of_stacks() {
    for zoomed in [false, true] {
        let mut harness = harness(fixtures::sampled(if zoomed { 40 } else { 20_000 }));
        let place = harness.state().index.layout().ranks()[0]
            .tracks
            .iter()
            .position(|node| node.group == crate::TrackGroup::Samples);
        harness.state_mut().state.set_track_fold(0, place.unwrap(), crate::TrackFold::Full);
        let bright = |harness: &mut Harness<'_, App>, name: &str| {
            // No event has the name of a function that is never innermost.
            harness.state_mut().matches = Some(Arc::from([]));
            let names = harness.state().trace.strings().find(name);
            harness.state_mut().names = Some(names.into_iter().collect());
            harness.step();
            let app = harness.state();
            let color = crate::theme::mix(app.theme.kind(EventKind::PythonFunction), app.theme.ui.background, 0.5);
            app.state.cache.bright_pixels(color)
        };
        let (outer, none) = (bright(&mut harness, "outer_a"), bright(&mut harness, "no such function"));
        assert!(outer > none, "{outer} bright pixels where a frame matches, {none} where none does");
        assert_eq!(none, 0);
    }
}

#[test]
fn strips_of_samples_and_lines_of_processors_are_bounded_by_pixels() {
    let mut harness = harness(fixtures::sampled(200_000));
    let samples = harness.state().index.layout().ranks()[0]
        .tracks
        .iter()
        .position(|node| node.group == crate::TrackGroup::Samples);
    harness.state_mut().state.set_track_fold(0, samples.unwrap(), crate::TrackFold::Full);
    harness.step();
    let width = harness.get_by_label("Timeline").rect().width() as usize;
    let (mut most_bars, mut most_texels, mut labels) = (0, 0, 0);
    for _ in 0..30 {
        harness.step();
        let stats = harness.state().state.stats();
        // A row of bars has at most w/8 of them, a strip none but long ones, a line at most one every other pixel.
        assert!(stats.rows >= 4, "{stats:?}");
        assert!(stats.bars <= stats.rows * (width / 8 + width / 38 + 4) + width / 2 + 2, "{stats:?}");
        assert!(stats.texels <= stats.rows * width, "{stats:?}");
        assert!(stats.read <= stats.rows * (3 * width + 4 * 4_096), "{stats:?}");
        most_bars = most_bars.max(stats.bars);
        most_texels = most_texels.max(stats.texels);
        labels = labels.max(stats.labels);
        harness.state_mut().state.view.zoom(1.9, 0.41);
    }
    assert!(most_bars > width / 4, "the line and the frames are drawn: {most_bars}");
    assert!(most_texels > width && labels > 0, "{most_texels} texels, {labels} labels");
}
