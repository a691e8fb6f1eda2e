//! What sampling costs a job: the time of its steps with the sampler on, against the same process with it off.
//!
//! One job runs all the while; the sampler is attached for a second and taken off for a second, in turns over all
//! settings, so that each figure compares neighbours in time. Prints medians over the pairs.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gapless_sample::{SampleEvent, SampleOptions, Sampler, StackKind};
use rustix::time::{ClockId, clock_gettime};

const WINDOW: Duration = Duration::from_millis(1000);
/// Left out at both ends of each window: attaching, taking off, finding names.
const MARGIN_NS: u64 = 100_000_000;

fn clock_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[derive(Default)]
struct Setting {
    name: &'static str,
    options: SampleOptions,
    /// Begin and end of each window, and of the one without the sampler before it.
    windows: Vec<[u64; 4]>,
    native: u64,
    python: u64,
    switches: u64,
    lost: u64,
    sampler_cpu_ns: u64,
    finish_ns: Vec<f64>,
}

fn main() {
    let rounds = std::env::args().skip_while(|a| a != "--rounds").nth(1).and_then(|n| n.parse().ok()).unwrap_or(8);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("step.so");
    let mut compile = Command::new("cc");
    compile.args(["-O1", "-shared", "-fPIC"]).arg(here.join("step.c")).arg("-o").arg(&library);
    if !compile.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: no C compiler");
        return;
    }
    let options = |frequency_hz, native, python, context_switches| SampleOptions {
        frequency_hz,
        native,
        python,
        context_switches,
        ..SampleOptions::default()
    };
    let setting = |name, options| Setting { name, options, ..Setting::default() };
    let mut settings = [
        setting("nothing (two windows without)", options(99, false, false, false)),
        setting("switches", options(99, false, false, true)),
        setting("native 99 Hz, switches", options(99, true, false, true)),
        setting("Python 99 Hz", options(99, false, true, false)),
        setting("all, 99 Hz", options(99, true, true, true)),
        setting("all, 499 Hz", options(499, true, true, true)),
        setting(
            "all, 499 Hz, 8 KiB of each stack",
            SampleOptions { unwind_stack_bytes: Some(8192), ..options(499, true, true, true) },
        ),
    ];
    let seconds = (rounds * settings.len()) as f64 * 3.5 + 5.0;
    let mut job = Command::new("python3")
        .arg(here.join("step.py"))
        .arg(&library)
        .arg(seconds.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe would fill while nobody reads, were the steps not printed at the end.
    std::thread::sleep(Duration::from_secs(1));
    let mut told = std::collections::BTreeSet::new();
    'rounds: for _ in 0..rounds {
        for setting in &mut settings {
            let off = clock_ns(ClockId::Monotonic);
            std::thread::sleep(WINDOW);
            let off_end = clock_ns(ClockId::Monotonic);
            let cpu = clock_ns(ClockId::ProcessCPUTime);
            let (mut sampler, notices) =
                Sampler::start(SampleOptions { root_pids: vec![job.id()], ..setting.options.clone() });
            told.extend(notices.into_iter().map(|notice| notice.text));
            let (native, python, switches, lost) =
                (&mut setting.native, &mut setting.python, &mut setting.switches, &mut setting.lost);
            let mut take = |event| match event {
                SampleEvent::Sample(sample) if sample.kind == StackKind::Native => *native += 1,
                SampleEvent::Sample(_) => *python += 1,
                SampleEvent::Switch(_) => *switches += 1,
                SampleEvent::Lost(count) => *lost += count,
                SampleEvent::Notice(notice) => drop(told.insert(notice.text)),
                SampleEvent::Process(_) => {}
            };
            let on = clock_ns(ClockId::Monotonic);
            let begin = Instant::now();
            while begin.elapsed() < WINDOW {
                std::thread::sleep(Duration::from_millis(50));
                sampler.poll(&mut take);
            }
            let on_end = clock_ns(ClockId::Monotonic);
            setting.sampler_cpu_ns += clock_ns(ClockId::ProcessCPUTime) - cpu;
            sampler.finish(&mut take);
            setting.finish_ns.push((clock_ns(ClockId::Monotonic) - on_end) as f64);
            setting.windows.push([off, off_end, on, on_end]);
            if job.try_wait().unwrap().is_some() {
                eprintln!("the job ended early; figures are of the rounds until then");
                break 'rounds;
            }
        }
    }
    let output = job.wait_with_output().unwrap();
    assert!(output.status.success());
    let steps: Vec<[u64; 3]> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let mut numbers = line.split(' ').map(|number| number.parse().unwrap());
            [numbers.next().unwrap(), numbers.next().unwrap(), numbers.next().unwrap()]
        })
        .collect();
    let within = |from: u64, to: u64, which: usize| {
        let inside = |step: &&[u64; 3]| step[0] > from + MARGIN_NS && step[0] + step[1] < to - MARGIN_NS;
        median(&mut steps.iter().filter(inside).map(|step| step[which] as f64).collect::<Vec<_>>())
    };
    let all = median(&mut steps.iter().map(|step| step[1] as f64 * 1e-6).collect::<Vec<_>>());
    println!("{} steps, median {all:.2} ms, {rounds} pairs of windows of {} s a row", steps.len(), WINDOW.as_secs());
    println!(
        "| sampled | step, wall | step, CPU | native/s | Python/s | switches/s | lost | sampler, % of a core | finish ms |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    for setting in &mut settings {
        let ratio = |which| {
            let mut ratios: Vec<f64> = setting
                .windows
                .iter()
                .map(|[off, off_end, on, on_end]| within(*on, *on_end, which) / within(*off, *off_end, which))
                .filter(|ratio| ratio.is_finite())
                .collect();
            (median(&mut ratios) - 1.0) * 100.0
        };
        let seconds: f64 = setting.windows.iter().map(|[_, _, on, end]| (end - on) as f64 * 1e-9).sum();
        println!(
            "| {} | {:+.1} % | {:+.1} % | {:.0} | {:.0} | {:.0} | {} | {:.1} | {:.0} |",
            setting.name,
            ratio(1),
            ratio(2),
            setting.native as f64 / seconds,
            setting.python as f64 / seconds,
            setting.switches as f64 / seconds,
            setting.lost,
            setting.sampler_cpu_ns as f64 * 1e-7 / seconds,
            median(&mut setting.finish_ns) * 1e-6,
        );
    }
    for line in told {
        println!("notice: {line}");
    }
}
