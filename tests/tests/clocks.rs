//! Clocks of ranks: errors put into real and made-up recordings are found again.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::io::Read as _;
use std::path::{Path, PathBuf};

use gapless_analysis::{ClockAlignment, ClockSource, match_collectives};
use gapless_formats::{OpenOptions, Silent, open};
use gapless_tests::synth::Rng;

fn shared() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("GAPLESS_TRACES").map_or_else(default, PathBuf::from);
    if folder.join("traces").is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no real traces at {}; set GAPLESS_TRACES", folder.display());
    None
}

/// The text with every time of an event, in whole µs of 16 digits, mapped.
fn with_times(text: &[u8], map: impl Fn(i64) -> i64) -> Vec<u8> {
    let mark = b"\"ts\": ";
    let mut out = text.to_vec();
    let mut from = 0;
    while let Some(found) = out[from..].windows(mark.len()).position(|window| window == mark) {
        let digits = from + found + mark.len()..from + found + mark.len() + 16;
        let time: i64 = std::str::from_utf8(&out[digits.clone()]).unwrap().parse().unwrap();
        let mapped = format!("{:016}", map(time));
        out[digits.clone()].copy_from_slice(mapped.as_bytes());
        from = digits.end;
    }
    out
}

struct Recovered {
    /// Largest error of any rank's offset in one injection, in µs.
    worst_us: Vec<f64>,
    /// Errors of all ranks, in µs.
    all_us: Vec<f64>,
}

/// Puts random errors into the eight clocks of the DLRM recording and finds them again.
fn inject(folder: &Path, times: u64, most_drift: f64) -> Recovered {
    let texts: Vec<Vec<u8>> = (0..8)
        .map(|rank| {
            let file = std::fs::File::open(folder.join(format!("traces/dlrm-8xV100/worker{rank}.pt.trace.json.gz")));
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(file.unwrap()).read_to_end(&mut text).unwrap();
            text
        })
        .collect();
    // Middle of the recording's collectives: where offsets are compared when clocks drift.
    let middle_us = 1_694_128_201_436_000;
    let temp = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..8).map(|rank| temp.path().join(format!("worker{rank}.json"))).collect();
    let mut recovered = Recovered { worst_us: Vec::new(), all_us: Vec::new() };
    for seed in 0..times {
        let mut rng = Rng::derived(seed, &[11]);
        let errors: Vec<(i64, f64)> = (0..8)
            .map(|_| {
                // Rounded to the grain of the file, so that nothing but the estimate is off.
                let offset_us = (rng.unit() * 100_000.0 - 50_000.0).round() as i64;
                (offset_us, (rng.unit() * 2.0 - 1.0) * most_drift)
            })
            .collect();
        for ((path, text), (offset_us, drift)) in paths.iter().zip(&texts).zip(&errors) {
            let mapped = with_times(text, |us| us + offset_us + ((us - middle_us) as f64 * drift).round() as i64);
            std::fs::write(path, mapped).unwrap();
        }
        let trace = open(&paths, &OpenOptions::default(), &Silent).unwrap();
        let clocks = ClockAlignment::new(&trace);
        assert_eq!(clocks.components.len(), 1);
        let mut worst: f64 = 0.0;
        for (clock, error) in clocks.ranks.iter().zip(&errors) {
            let wanted_us = (error.0 - errors[0].0) as f64;
            let off = (clock.offset_ns as f64 / 1e3 - wanted_us).abs();
            assert!(clock.source == ClockSource::Reference || clock.source == ClockSource::Collectives);
            let (least, most) = clock.bounds_ns.unwrap();
            assert!(least <= clock.offset_ns && clock.offset_ns <= most, "{clock:?}");
            recovered.all_us.push(off);
            worst = worst.max(off);
        }
        let found = match_collectives(&trace, &clocks);
        assert!(found.len() == 8 && found.iter().all(|instance| instance.members.len() == 8));
        recovered.worst_us.push(worst);
    }
    recovered
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

#[test]
fn two_hundred_offsets_put_into_dlrm_are_found_within_two_microseconds() {
    let Some(folder) = shared() else { return };
    let mut found = inject(&folder, 200, 0.0);
    let (median, p95) = (quantile(&mut found.all_us, 0.5), quantile(&mut found.all_us, 0.95));
    let worst = quantile(&mut found.worst_us, 1.0);
    eprintln!(
        "200 injections of offsets ±50 ms: error of a rank median {median:.2}, p95 {p95:.2}, worst {worst:.2} µs"
    );
    assert!(worst <= 2.0);
}

#[test]
fn drifts_over_twenty_milliseconds_do_no_harm() {
    let Some(folder) = shared() else { return };
    // ±50 ppm over half of 20 ms are 0.5 µs, too little to be seen and rounded to whole µs: 1 µs more than without.
    let mut found = inject(&folder, 40, 50e-6);
    let worst = quantile(&mut found.worst_us, 1.0);
    eprintln!("40 injections of offsets ±50 ms and drifts ±50 ppm: worst {worst:.2} µs");
    assert!(worst <= 3.0);
}
