//! What a frame of the timeline costs: `bench_frame [EVENTS…]` (default 1e6 1e7 1e8).
//!
//! A synthetic trace of 50 streams is drawn at 1920 pixels, all 50 rows on screen, at five zooms, panning in every frame
//! so that nothing can be used again. A frame is `Context::run_ui` and `Context::tessellate`; the upload of textures
//! to a GPU is not part of it.
//!
//! Times are of the thread: the wall clock less the time that the thread waited for a processor
//! (`/proc/thread-self/schedstat`, second number, exact at every switch), because machines are shared. The mean of the
//! kernel's own count of CPU time (first number; brought up to date every few milliseconds, so that only sums over many
//! frames mean anything) and the wall clock stand beside them.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use anyhow::{Context as _, Result};
use egui::{Pos2, RawInput, Rect, vec2};
use gapless_timeline::{Theme, Timeline, TimelineIndex, TimelineState};
use gapless_trace::{
    ArgsLoc, BuildOptions, EventKind, RawChunk, RawId, Source, Span, StrId, Timestamp, Trace, TraceInfo, TracePart,
    TrackKind,
};

const STREAMS: u64 = 50;
const NAMES: u64 = 500;
const WIDTH: f32 = 1920.0;
/// High enough for all 50 rows at once.
const HEIGHT: f32 = 1300.0;
const FRAMES: usize = 200;
const WARM_UP: usize = 5;
const ZOOMS: [f64; 5] = [1.0, 0.1, 0.01, 0.001, 0.000_1];

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn log_uniform(&mut self, low: f64, high: f64) -> i64 {
        (low.ln() + self.share() * (high / low).ln()).exp() as i64
    }
}

/// Kernels of 2 to 200 µs with gaps of 0.2 to 50 µs, and a pause of 0.5 ms every 2000; every tenth stream has collectives.
fn stream(number: u64, events: usize) -> RawChunk {
    let mut random = Random(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut chunk = RawChunk::default();
    chunk.reserve(events);
    let names: Vec<StrId> = (0..NAMES)
        .map(|name| chunk.strings.intern(&format!("void at::native::kernel_{name}<float, {number}>(int)")))
        .collect();
    let category = chunk.strings.intern("kernel");
    let track = chunk.track(TrackKind::Stream, RawId::Int(0), RawId::Int(number as i64 + 7));
    let kind = if number % 10 == 9 { EventKind::Collective } else { EventKind::Kernel };
    let mut time = 0;
    for index in 0..events {
        time += match index % 2000 {
            1999 => 500_000,
            _ if random.share() < 0.8 => random.log_uniform(200.0, 2_000.0),
            _ => random.log_uniform(2_000.0, 50_000.0),
        };
        let dur = random.log_uniform(2_000.0, 200_000.0);
        let pick = random.next();
        let name = names.get((pick % NAMES) as usize).copied().unwrap_or_default();
        chunk.push(time, dur, name, category, kind, track, u32::MAX, u32::MAX, ArgsLoc::default());
        time += dur;
    }
    chunk
}

fn trace(events: usize) -> Result<Trace> {
    let source = Source {
        path: "synthetic".into(),
        format: "synthetic".into(),
        file_bytes: 0,
        text_bytes: 0,
        file_events: events as u64,
        ..Source::default()
    };
    let mut part = TracePart::new(source);
    part.info = TraceInfo { rank: Some(0), base_time_ns: Some(1_767_225_600_000_000_000), ..TraceInfo::default() };
    part.chunks = (0..STREAMS).map(|number| stream(number, events / STREAMS as usize)).collect();
    Ok(Trace::from_parts(vec![part], &BuildOptions::default())?)
}

/// Of this thread so far, in ns: on a processor, and waiting for one.
fn thread_ns() -> Result<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").context("this bench needs Linux")?;
    let mut numbers = text.split_whitespace().map(str::parse);
    let mut next = || anyhow::Ok(numbers.next().context("schedstat is too short")??);
    Ok((next()?, next()?))
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

fn frames(trace: &Trace, index: &TimelineIndex, zoom: f64) -> Result<()> {
    let theme = Theme::dark();
    let mut state = TimelineState::new(index);
    state.options.animate = false;
    let context = egui::Context::default();
    theme.apply(&context);
    let whole = index.span();
    let span_ns = (whole.duration().0 as f64 * zoom) as i64;
    let start = whole.start.0 + ((whole.duration().0 - span_ns) as f64 * 0.37) as i64;
    state.view.show(Span::new(Timestamp(start), Timestamp(start + span_ns)));
    let mut millis = Vec::with_capacity(FRAMES);
    let mut wall_millis = Vec::with_capacity(FRAMES);
    let (mut cpu, mut most) = (0, gapless_timeline::FrameStats::default());
    for frame in 0..FRAMES + WARM_UP {
        if frame == WARM_UP {
            cpu = thread_ns()?.0;
        }
        // A thousandth of the view and a bit: no frame sees the pixels of another.
        state.view.pan(span_ns as f64 * if frame % 2 == 0 { 0.001_3 } else { -0.000_9 });
        let screen = Rect::from_min_size(Pos2::ZERO, vec2(WIDTH, HEIGHT));
        let input = RawInput { screen_rect: Some(screen), time: Some(frame as f64 / 60.0), ..RawInput::default() };
        let (_, waited) = thread_ns()?;
        let begin = Instant::now();
        let mut output = context.run_ui(input, |ui| {
            Timeline::new(trace, index, &theme).show(ui, &mut state);
        });
        let meshes = context.tessellate(std::mem::take(&mut output.shapes), 1.0);
        let elapsed = begin.elapsed();
        let waited = thread_ns()?.1 - waited;
        std::hint::black_box(&meshes);
        output.drop_without_applying_deltas();
        let stats = state.stats();
        anyhow::ensure!(!stats.reused, "every frame must be drawn anew");
        most.bars = most.bars.max(stats.bars);
        most.vertices = most.vertices.max(stats.vertices);
        most.texels = most.texels.max(stats.texels);
        most.labels = most.labels.max(stats.labels);
        most.read = most.read.max(stats.read);
        most.rows = most.rows.max(stats.rows);
        if frame >= WARM_UP {
            let wall = elapsed.as_secs_f64() * 1e3;
            wall_millis.push(wall);
            millis.push((wall - waited as f64 * 1e-6).max(0.0));
        }
    }
    let cpu_mean = (thread_ns()?.0 - cpu) as f64 * 1e-6 / FRAMES as f64;
    millis.sort_by(f64::total_cmp);
    wall_millis.sort_by(f64::total_cmp);
    println!(
        "{:>12} {:>8}  {:>7.2} {:>7.2} {:>7.2} {:>9.2} {:>9.2}  {:>5} {:>7} {:>8} {:>7} {:>7} {:>8}",
        trace.events().len(),
        format!("{} %", zoom * 100.0),
        quantile(&millis, 0.5),
        quantile(&millis, 0.95),
        quantile(&millis, 1.0),
        cpu_mean,
        quantile(&wall_millis, 0.95),
        most.rows,
        most.bars,
        most.vertices,
        most.texels,
        most.labels,
        most.read,
    );
    Ok(())
}

fn main() -> Result<()> {
    let given: Vec<f64> = std::env::args().skip(1).map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    let sizes = if given.is_empty() { vec![1e6, 1e7, 1e8] } else { given };
    for events in sizes.into_iter().map(|events| events as usize) {
        let begin = Instant::now();
        let trace = trace(events)?;
        let made = begin.elapsed();
        let begin = Instant::now();
        let index = TimelineIndex::build(&trace);
        let built = begin.elapsed();
        let count = trace.events().len().max(1) as f64;
        println!(
            "{events} events: made in {made:.1?}, index in {built:.2?} ({:.1} ns and {:.2} bytes an event; all threads)",
            built.as_secs_f64() * 1e9 / count,
            index.memory_bytes() as f64 / count,
        );
        println!(
            "      events     zoom   median     p95     max  cpu mean  wall p95   rows    bars vertices  texels  labels     read   (ms a frame)"
        );
        for zoom in ZOOMS {
            frames(&trace, &index, zoom)?;
        }
    }
    Ok(())
}
