//! The generator itself: its bytes are the same every time, its files are valid, its answers agree with what a plain
//! reading of its files gives, and its schedule keeps its own rules.

use std::collections::BTreeMap;
use std::path::Path;

use gapless_tests::oracle;
use gapless_tests::synth::{Config, Era, Layout, SlowRank, Truth, Vendor, Workload, file_name, texts, write_files};

const JOBS: [Workload; 3] = [Workload::DataParallel, Workload::Pipeline, Workload::Recommendation];
const ERAS: [Era; 4] = [Era::Legacy, Era::IntegerMicros, Era::FractionalMicros, Era::Relative];

fn small(workload: Workload, era: Era) -> Config {
    Config { era, layers: 4, graphs: true, open_frames: true, ..Config::new(workload, 3, 2) }
}

#[test]
fn equal_configurations_give_equal_bytes() {
    let config = small(Workload::Recommendation, Era::Relative);
    let first = texts(&config).expect("generates");
    assert_eq!(first, texts(&config).expect("generates"));
    let other = Config { seed: 2, ..config };
    assert_ne!(first.0, texts(&other).expect("generates").0);
}

#[test]
fn files_are_valid_and_hold_what_the_answers_say() {
    for workload in JOBS {
        for era in ERAS {
            let config = small(workload, era);
            let (files, truth) = texts(&config).expect("generates");
            for (text, rank) in files.iter().zip(&truth.ranks) {
                let naive = oracle::read(text).expect("valid JSON");
                let phases = naive.phases();
                let count = |phase: &str| phases.get(phase).copied().unwrap_or(0);
                assert_eq!(naive.rank, Some(rank.rank));
                assert_eq!(naive.events.len() as u64, rank.events);
                assert_eq!((count("X"), count("i"), count("C")), (rank.slices, rank.instants, rank.counters));
                assert_eq!(count("s"), rank.launch_links + rank.flows - graph_extra(&naive, rank.launch_links));
                assert!(naive.events.iter().all(|event| event.ts.is_some()));
                let device: Vec<_> = naive.events.iter().filter(|event| is_device_work(&event.cat)).collect();
                assert_eq!(device.len() as u64, rank.device_events);
                let first = device.iter().filter_map(|event| event.ts).min();
                let last = device.iter().filter_map(|event| Some(event.ts? + event.dur?)).max();
                assert_eq!((first, last), (Some(rank.first_ns), Some(rank.last_ns)), "{workload:?} {era:?}");
                let mut by_name: BTreeMap<&str, (u64, i64)> = BTreeMap::new();
                for event in &device {
                    let entry = by_name.entry(&event.name).or_default();
                    entry.0 += 1;
                    entry.1 += event.dur.unwrap_or_default();
                }
                let told: BTreeMap<&str, (u64, i64)> =
                    rank.work.iter().map(|(name, work)| (name.as_str(), (work.count, work.sum_ns))).collect();
                assert_eq!(by_name, told);
            }
        }
    }
}

/// A graph launch begins one flow and has many kernels, each of which ends it.
fn graph_extra(naive: &oracle::NaiveTrace, links: u64) -> u64 {
    let launches =
        naive.events.iter().filter(|event| event.cat.eq_ignore_ascii_case("cuda_runtime") || event.cat == "Runtime");
    let work = |name: &str| ["Launch", "Memcpy", "Memset"].iter().any(|part| name.contains(part));
    links - launches.filter(|event| work(&event.name)).count() as u64
}

fn is_device_work(category: &str) -> bool {
    matches!(category, "kernel" | "Kernel" | "gpu_memcpy" | "Memcpy" | "gpu_memset" | "Memset")
}

#[test]
fn a_layout_changes_the_text_and_nothing_else() {
    let config = Config { layout: Layout::Kineto, ..small(Workload::DataParallel, Era::FractionalMicros) };
    let (files, truth) = texts(&config).expect("generates");
    for layout in [Layout::Pretty, Layout::Compact, Layout::Crlf] {
        let (others, same) = texts(&Config { layout, ..config.clone() }).expect("generates");
        assert_eq!(truth, same);
        for (text, other) in files.iter().zip(&others) {
            assert_ne!(text, other);
            let (left, right) = (oracle::read(text).expect("valid"), oracle::read(other).expect("valid"));
            assert_eq!(left.events, right.events);
        }
    }
}

#[test]
fn collectives_end_together_and_wait_for_the_last() {
    for workload in JOBS {
        let config =
            Config { slow: Some(SlowRank { rank: 1, factor: 1.6, device: true }), ..small(workload, Era::Relative) };
        let (_, truth) = texts(&config).expect("generates");
        assert!(!truth.collectives.is_empty());
        let mut late = 0;
        for collective in &truth.collectives {
            let last = collective.arrivals.iter().map(|arrival| arrival.start_ns).max().expect("has members");
            assert_eq!(collective.end_ns, last + collective.transfer_ns);
            assert!(collective.transfer_ns > 0);
            late += usize::from(collective.late_rank == 1);
        }
        let share = late as f64 / truth.collectives.len() as f64;
        assert!(share > 0.5, "{workload:?}: the slow rank is late in {late} of {}", truth.collectives.len());
    }
}

#[test]
fn the_parts_of_a_step_sum_to_the_step() {
    for workload in JOBS {
        let (_, truth) = texts(&small(workload, Era::IntegerMicros)).expect("generates");
        for step in truth.ranks.iter().flat_map(|rank| &rank.steps) {
            assert_eq!(step.time.total_ns(), step.end_ns - step.start_ns);
            assert!(step.time.busy_ns() > 0 && step.time.idle_ns() > 0, "{step:?}");
        }
    }
}

#[test]
fn clock_errors_shift_a_rank_and_leave_its_lengths() {
    let config = small(Workload::Pipeline, Era::IntegerMicros);
    let skewed = Config { clock_offsets_ns: vec![0, -5_000_999, 12_345_000], ..config.clone() };
    let (one, two) = (texts(&config).expect("generates").1, texts(&skewed).expect("generates").1);
    for (rank, offset) in [(0, 0), (1, -5_000_000), (2, 12_345_000)] {
        let (a, b) = (&one.ranks[rank], &two.ranks[rank]);
        assert_eq!(a.first_ns + offset, b.first_ns);
        assert_eq!(a.time, b.time);
    }
    assert_eq!(one.collectives, two.collectives);
}

#[test]
fn a_size_is_met() {
    for (workload, events) in
        [(Workload::DataParallel, 1_000), (Workload::Pipeline, 1_000), (Workload::Recommendation, 100_000)]
    {
        let config = Config::new(workload, 2, 1).sized(events).expect("sizes");
        let (_, truth): (_, Truth) = texts(&config).expect("generates");
        let ratio = truth.events() as f64 / events as f64;
        assert!((0.5..2.0).contains(&ratio), "{workload:?}: {} for {events}", truth.events());
    }
}

#[test]
fn amd_has_one_name_for_all_collectives_and_computes_on_stream_0() {
    let config = Config { vendor: Vendor::Amd, ..small(Workload::Recommendation, Era::Relative) };
    let (files, truth) = texts(&config).expect("generates");
    for (text, rank) in files.iter().zip(&truth.ranks) {
        let text = String::from_utf8_lossy(text);
        assert!(text.contains("hipLaunchKernel") && !text.contains("cudaLaunch"));
        assert!(rank.streams.contains_key(&0));
        assert_eq!(rank.work.keys().filter(|name| name.starts_with("nccl")).count(), 1);
    }
}

#[test]
fn the_sample_in_assets_is_what_the_generator_writes() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/sample");
    let (files, _) = texts(&Config::sample()).expect("generates");
    let mut bytes = 0;
    for (rank, text) in (0..).zip(&files) {
        let path = assets.join(file_name(rank, true));
        bytes += path.metadata().expect("the sample is there").len();
        let stored = oracle::read_inflated(&path).expect("inflates");
        assert!(
            stored == *text,
            "{} differs; run: cargo run -p gapless-tests --bin gapless-synth -- sample assets/sample",
            path.display()
        );
    }
    assert_eq!(std::fs::read_dir(&assets).expect("folder").count(), files.len());
    assert!(bytes < 300_000, "the sample is {bytes} bytes");
}

#[test]
fn files_on_disk_are_the_texts() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let config = small(Workload::Pipeline, Era::Relative);
    let (files, truth) = texts(&config).expect("generates");
    for gzip in [false, true] {
        let (paths, told) = write_files(&config, folder.path(), gzip).expect("writes");
        assert_eq!(told, truth);
        for (path, text) in paths.iter().zip(&files) {
            assert!(oracle::read_inflated(path).expect("reads") == *text);
        }
    }
}
