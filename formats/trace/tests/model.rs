//! What the model promises, held against plain loops over generated events.
#![allow(clippy::unwrap_used)]

use gapless_trace::{
    ArgsLoc, BuildOptions, EventId, EventKind, RawChunk, RawEdge, RawFlow, RawId, RawPlace, Source, Span, Timestamp,
    Trace, TracePart, TrackKind,
};
use proptest::prelude::*;

/// (thread, start, duration, chunk) of an event.
type Raw = (i64, i64, i64, usize);

const CHUNKS: usize = 3;

fn source() -> Source {
    Source { path: "generated".to_owned(), format: "test".to_owned(), ..Source::default() }
}

fn build(events: &[Raw]) -> Trace {
    let mut part = TracePart::new(source());
    part.chunks = (0..CHUNKS).map(|_| RawChunk::default()).collect();
    for (index, &(thread, start, dur, chunk)) in events.iter().enumerate() {
        let chunk = &mut part.chunks[chunk];
        let name = chunk.strings.intern(&format!("event {index}"));
        let track = chunk.track(TrackKind::Thread, RawId::Int(1), RawId::Int(thread));
        chunk.push(start, dur, name, name, EventKind::Operator, track, u32::MAX, u32::MAX, ArgsLoc::NONE);
    }
    Trace::from_parts(vec![part], &BuildOptions::default()).unwrap()
}

fn raw_events() -> impl Strategy<Value = Vec<Raw>> {
    // Few distinct times, so that ties, zero lengths, touching and crossing ranges all happen.
    prop::collection::vec((0..3i64, 0..40i64, 0..12i64, 0..CHUNKS), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_event_is_kept_once_with_its_times(events in raw_events()) {
        let trace = build(&events);
        let mut got: Vec<(String, i64, i64)> = (0..trace.events().len() as u32)
            .map(EventId)
            .map(|id| (trace.name(id).to_owned(), trace.event(id).start.nanos(), trace.event(id).dur.nanos()))
            .collect();
        let mut expected: Vec<_> = events.iter().enumerate().map(|(i, e)| (format!("event {i}"), e.1, e.2)).collect();
        got.sort();
        expected.sort();
        prop_assert_eq!(got, expected);
        let first = events.iter().map(|event| event.1).min();
        let last = events.iter().map(|event| event.1 + event.2).max();
        prop_assert_eq!(trace.span().map(|span| (span.start.nanos(), span.end.nanos())), first.zip(last));
    }

    #[test]
    fn rows_are_in_order_and_cover_the_columns(events in raw_events()) {
        let trace = build(&events);
        let mut next = 0;
        for row in trace.rows() {
            prop_assert_eq!(row.events.start, next);
            next = row.events.end;
            for pair in row.indices().collect::<Vec<_>>().windows(2) {
                let (a, b) = (trace.event(EventId(pair[0] as u32)), trace.event(EventId(pair[1] as u32)));
                prop_assert!(a.end() <= b.start, "events of a row overlap");
            }
            for id in row.events.clone().map(EventId) {
                prop_assert_eq!(trace.row_of(id).unwrap().1.events.clone(), row.events.clone());
                let parent = trace.parent(id);
                prop_assert_eq!(parent.is_some(), row.depth > 0);
                if let Some(parent) = parent {
                    let (outer, inner) = (trace.event(parent), trace.event(id));
                    prop_assert!(outer.start <= inner.start && outer.end() >= inner.end(), "a parent covers its child");
                }
            }
        }
        prop_assert_eq!(next as usize, trace.events().len());
        for (id, track) in trace.track_ids() {
            prop_assert_eq!(trace.rows_of(track).iter().map(|row| row.events.len()).sum::<usize>(), track.events.len());
            prop_assert!(track.event_ids().all(|event| trace.track_of(event).unwrap().0 == id));
        }
    }

    #[test]
    fn ranges_and_children_equal_plain_loops(events in raw_events(), from in -2..45i64, length in 0..20i64) {
        let trace = build(&events);
        let span = Span::new(Timestamp(from), Timestamp(from + length));
        for row in trace.rows() {
            let touches = |id: EventId| {
                let event = trace.event(id);
                event.start < span.end && (event.end() > span.start || event.start >= span.start)
            };
            let expected: Vec<u32> = row.events.clone().filter(|&id| touches(EventId(id))).collect();
            let got: Vec<u32> = trace.events_in(row, span).map(|index| index as u32).collect();
            prop_assert_eq!(got, expected);
            let at = Timestamp(from);
            let covering = row.events.clone().map(EventId).find(|&id| trace.event(id).span().contains(at));
            prop_assert_eq!(trace.event_at(row, at), covering);
        }
        let all: Vec<EventId> = (0..trace.events().len() as u32).map(EventId).collect();
        for &id in &all {
            let expected: Vec<usize> = all.iter().filter(|&&child| trace.parent(child) == Some(id)).map(|child| child.index()).collect();
            prop_assert_eq!(trace.children(id).collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn ranks_keep_apart_what_shares_ids() {
    let part = |rank: u32, base: i64| {
        let mut part = TracePart::new(source());
        part.info.rank = Some(rank);
        part.info.base_time_ns = Some(base);
        let mut chunk = RawChunk::default();
        let (call, kernel) = (chunk.strings.intern("cudaLaunchKernel"), chunk.strings.intern("k"));
        let thread = chunk.track(TrackKind::Thread, RawId::Int(7), RawId::Int(7));
        let stream = chunk.track(TrackKind::Stream, RawId::Int(0), RawId::Int(7));
        chunk.push(10, 2, call, call, EventKind::RuntimeCall, thread, 5, u32::MAX, ArgsLoc::NONE);
        chunk.push(20, 2, kernel, kernel, EventKind::Kernel, stream, 5, u32::MAX, ArgsLoc::NONE);
        part.chunks.push(chunk);
        part
    };
    let trace = Trace::from_parts(vec![part(0, 1_000), part(1, 5_000)], &BuildOptions::default()).unwrap();
    assert_eq!(trace.launches().len(), 2);
    for &(launch, kernel) in trace.launches().pairs() {
        assert_eq!(trace.rank_of(launch), trace.rank_of(kernel));
        assert_eq!(trace.launches().launch_of(kernel), Some(launch));
    }
    assert_eq!(trace.span(), Some(Span::new(Timestamp(1_010), Timestamp(5_022))));
    assert_eq!(trace.ranks().iter().map(|rank| rank.events.len()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(trace.tracks().len(), 4);
}

#[test]
fn arrows_that_a_file_calls_launches_are_launches_only_where_they_can_be() {
    let mut part = TracePart::new(source());
    let mut chunk = RawChunk::default();
    let name = chunk.strings.intern("event");
    let kinds = [EventKind::RuntimeCall, EventKind::RuntimeCall, EventKind::Kernel, EventKind::Operator];
    for (at, kind) in kinds.into_iter().enumerate() {
        let place = if kind == EventKind::Kernel { TrackKind::Stream } else { TrackKind::Thread };
        let track = chunk.track(place, RawId::Int(1), RawId::Int(1));
        // The same correlation id says once more what the first arrow says.
        let correlation = if at == 3 { u32::MAX } else { 7 };
        chunk.push(at as i64 * 10, 5, name, name, kind, track, correlation, u32::MAX, ArgsLoc::NONE);
    }
    part.chunks = vec![chunk];
    let arrow = |from: u32, to: u32| {
        let place = |event| RawPlace { chunk: 0, event };
        RawEdge { from: place(from), to: place(to), category: None }
    };
    // A launch, a second one of the same kernel, one of what is no work of a device, one of nothing.
    part.edges = vec![arrow(0, 2), arrow(1, 2), arrow(0, 3), arrow(0, 9)];
    let trace = Trace::from_parts(vec![part], &BuildOptions::default()).unwrap();
    assert_eq!(trace.launches().len(), 1);
    let (launch, work) = trace.launches().pairs()[0];
    assert_eq!((trace.event(launch).start.nanos(), trace.event(work).kind), (0, EventKind::Kernel));
    assert_eq!(trace.launches().launch_of(work), Some(launch));
    assert_eq!(trace.flows().len(), 2);
    assert!(trace.warnings().is_empty(), "{:?}", trace.warnings().sorted());
}

/// An arrow between two times of the first thread.
fn arrow(chunk: &mut RawChunk, number: i64, from: i64, to: i64) {
    let track = chunk.track(TrackKind::Thread, RawId::Int(1), RawId::Int(0));
    let (category, name) = (chunk.strings.intern("arrow"), chunk.strings.intern("arrow"));
    for (phase, time) in [(b's', from), (b'f', to)] {
        let id = RawId::Int(number);
        chunk.flows.push(RawFlow { id, time, track, category, name, phase, is_launch: false, offset: 0 });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// A damaged file nests as deep as it has events: places with few rows and with many find the same events.
    #[test]
    fn arrows_lie_on_the_innermost_event_however_deep_it_lies(
        depth in 1..400i64,
        events in raw_events(),
        arrows in prop::collection::vec((-5..1_000i64, 0..1_000i64), 1..60),
    ) {
        let mut part = TracePart::new(source());
        let mut chunk = RawChunk::default();
        let track = chunk.track(TrackKind::Thread, RawId::Int(1), RawId::Int(0));
        // Two of each begin, as a begin without an end and the one after it.
        let nested = (0..depth).map(|at| (at / 2, 1_000 - at));
        let spans: Vec<(i64, i64)> = nested.chain(events.iter().map(|event| (event.1 * 10, event.2 * 10))).collect();
        for &(start, dur) in &spans {
            let name = chunk.strings.intern("event");
            chunk.push(start, dur, name, name, EventKind::Operator, track, u32::MAX, u32::MAX, ArgsLoc::NONE);
        }
        for (number, &(from, length)) in arrows.iter().enumerate() {
            arrow(&mut chunk, number as i64, from, from + length);
        }
        part.chunks = vec![chunk];
        let trace = Trace::from_parts(vec![part], &BuildOptions::default()).unwrap();
        let place = |id: EventId| (trace.event(id).start.nanos(), trace.row_of(id).unwrap().1.depth);
        let innermost = |time: i64| {
            let ids = (0..trace.events().len() as u32).map(EventId);
            let covers = |id: &EventId| trace.event(*id).start.nanos() <= time && trace.event(*id).end().nanos() >= time;
            ids.filter(covers).map(place).max()
        };
        let mut wanted: Vec<_> = arrows
            .iter()
            .filter_map(|&(from, length)| Some((innermost(from)?, innermost(from + length)?)))
            .collect();
        let mut got: Vec<_> = trace.flows().iter().map(|flow| (place(flow.from), place(flow.to))).collect();
        wanted.sort_unstable();
        got.sort_unstable();
        prop_assert_eq!(got, wanted);
    }
}
