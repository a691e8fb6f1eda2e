//! A trace of any size.

use gapless_trace::{ArgsLoc, BuildOptions, EventKind, RawChunk, RawId, Source, Trace, TracePart, TrackKind};

const NO_ID: u32 = u32::MAX;

/// Steps of 2,000 kernels, each with its launch under two operators; every 20th communicates on a stream of its own.
pub fn made(events: usize) -> Result<Trace, Box<dyn std::error::Error>> {
    let mut chunk = RawChunk::default();
    let thread = chunk.track(TrackKind::Thread, RawId::Int(1), RawId::Int(1));
    let streams = [7, 20].map(|stream| chunk.track(TrackKind::Stream, RawId::Int(0), RawId::Int(stream)));
    let names: Vec<_> = (0..200).map(|index| chunk.strings.intern(&format!("kernel_{index}"))).collect();
    let operators: Vec<_> = (0..50).map(|index| chunk.strings.intern(&format!("aten::op_{index}"))).collect();
    let reduce = chunk.strings.intern("ncclDevKernel_AllReduce_Sum_bf16_RING_LL");
    let call = chunk.strings.intern("cudaLaunchKernel");
    let category = chunk.strings.intern("");
    for index in 0..events / 4 {
        let id = index as u32;
        let at = index as i64 * 10_000;
        let mut push = |start, dur, name, kind, track, id| {
            chunk.push(start, dur, name, category, kind, track, id, NO_ID, ArgsLoc::NONE);
        };
        let name = |from: &[gapless_trace::StrId], at: usize| from.get(at % from.len()).copied().unwrap_or_default();
        push(at, 9_000, name(&operators, index), EventKind::Operator, thread, NO_ID);
        push(at + 500, 7_000, name(&operators, index / 7), EventKind::Operator, thread, NO_ID);
        push(at + 1_000, 5_000, call, EventKind::RuntimeCall, thread, id);
        let dur = 4_000 + (id.wrapping_mul(2_654_435_761) >> 20) as i64;
        if index % 20 == 0 {
            push(at + 20_000, dur * 8, reduce, EventKind::Kernel, streams[1], id);
        } else {
            push(at + 20_000, dur, name(&names, index / 3), EventKind::Kernel, streams[0], id);
        }
    }
    for step in 0..events / 8_000 {
        let name = chunk.strings.intern(&format!("ProfilerStep#{step}"));
        let start = step as i64 * 20_000_000;
        chunk.push(start, 20_000_000, name, category, EventKind::Step, thread, NO_ID, NO_ID, ArgsLoc::NONE);
    }
    let source = Source { path: "made".to_owned(), format: "made".to_owned(), ..Source::default() };
    let mut part = TracePart::new(source);
    part.chunks.push(chunk);
    Ok(Trace::from_parts(vec![part], &BuildOptions::default())?)
}
