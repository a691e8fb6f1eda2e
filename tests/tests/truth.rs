//! From the file to the report: what Gapless reads and computes equals what the simulation knows, to the nanosecond.

use gapless_analysis::{Analysis, AnalysisOptions, StepSource, analyze};
use gapless_formats::{OpenOptions, Silent, expand, open};
use gapless_tests::synth::{
    Class, Config, Era, Layout, RankTruth, SlowRank, TimeByClasses, Truth, Vendor, Workload, write_files,
};
use gapless_tests::{check, oracle};
use gapless_trace::{EventId, EventKind, ProcessKind, RankId, Trace, TrackKind, WarningKind};

const JOBS: [Workload; 3] = [Workload::DataParallel, Workload::Pipeline, Workload::Recommendation];

/// Generates, opens as a folder, analyses.
fn through(config: &Config, gzip: bool) -> (Trace, Analysis, Truth) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (_, truth) = write_files(config, folder.path(), gzip).expect("generates");
    let paths = expand(&[folder.path().to_string_lossy().into_owned()]).expect("finds the files");
    let trace = open(&paths, &OpenOptions::default(), &Silent).expect("opens");
    let analysis = analyze(&trace, &AnalysisOptions::default());
    (trace, analysis, truth)
}

/// Compares everything that the answers speak of.
fn compare(config: &Config, gzip: bool) {
    let (trace, analysis, truth) = through(config, gzip);
    check::invariants(&trace).expect("invariants");
    assert_eq!(trace.ranks().len(), config.ranks as usize);
    assert_eq!(trace.warnings().lost(), 0, "{:?}", trace.warnings().sorted());
    for (index, rank) in truth.ranks.iter().enumerate() {
        compare_model(config, &trace, RankId(index as u32), rank);
        compare_analysis(&trace, &analysis, index, rank);
    }
    compare_warnings(&trace, &truth);
    compare_collectives(config, &trace, &truth);
}

fn compare_model(config: &Config, trace: &Trace, id: RankId, truth: &RankTruth) {
    let rank = trace.rank(id).expect("the rank");
    assert_eq!((rank.number, rank.world_size), (Some(truth.rank), Some(config.ranks)));
    assert_eq!(trace.source(rank.source).expect("its source").file_events, truth.events);
    let count = |wanted: &dyn Fn(EventKind) -> bool| {
        (rank.events.clone()).filter(|&event| wanted(trace.event(EventId(event)).kind)).count() as u64
    };
    assert_eq!(u64::from(rank.events.end - rank.events.start), truth.slices + truth.instants);
    assert_eq!(count(&EventKind::is_instant), truth.instants);
    assert_eq!(count(&EventKind::is_device_work), truth.device_events);
    assert_eq!(count(&|kind| kind == EventKind::DeviceAnnotation), truth.device_annotations);
    for (_, track) in trace.tracks_of(id) {
        let events = u64::from(track.events.end - track.events.start);
        if events == 0 {
            continue;
        }
        match (track.kind, track.tid) {
            (TrackKind::Stream, _) => {
                let stream = track.stream().expect("streams have numbers");
                assert_eq!(events, truth.streams[&stream].0, "stream {stream}");
            }
            (TrackKind::Thread, gapless_trace::RawId::Int(tid)) => {
                assert_eq!(events, truth.host_slices[&tid], "thread {tid}");
            }
            _ => {}
        }
    }
    let own = |event: EventId| rank.events.contains(&event.0);
    let links = trace.launches().pairs().iter().filter(|pair| own(pair.1)).count() as u64;
    assert_eq!(links, truth.launch_links);
    let flows: Vec<_> = trace.flows().iter().filter(|flow| own(flow.from)).collect();
    assert_eq!(flows.len() as u64, truth.flows);
    for flow in flows {
        assert_eq!(trace.text(flow.category), "fwdbwd");
        assert_eq!((trace.name(flow.from), trace.name(flow.to)), ("aten::addmm", "AddmmBackward0"));
    }
    let samples: usize = trace
        .counters()
        .iter()
        .filter(|series| trace.track(series.track).is_some_and(|track| track.rank == id))
        .map(|series| series.times.len())
        .sum();
    // Each [memory] instant gives the bytes allocated and reserved; two instants are the profiler's own.
    assert_eq!(samples as u64, truth.counters + 2 * (truth.instants - 2));
}

fn compare_times(name: &str, partition: &gapless_analysis::Partition, time: &TimeByClasses) {
    assert_eq!(partition.duration_ns, time.total_ns(), "{name}");
    assert_eq!(partition.compute_ns, time.union_of(Class::Compute), "{name}");
    assert_eq!(partition.exposed_comm_ns, time.exposed_comm_ns(), "{name}");
    assert_eq!(partition.exposed_copy_ns, time.exposed_copy_ns(), "{name}");
    assert_eq!(partition.other_device_ns, 0, "{name}");
    assert_eq!(partition.idle_ns, time.idle_ns(), "{name}");
    assert_eq!(partition.hidden_comm_ns, time.overlap_comm_compute_ns(), "{name}");
    assert_eq!(partition.hidden_copy_ns, time.mem_union_ns() - time.exposed_copy_ns(), "{name}");
}

fn compare_analysis(trace: &Trace, analysis: &Analysis, index: usize, truth: &RankTruth) {
    let rank = &analysis.ranks[index];
    let whole = &rank.breakdown;
    assert_eq!(whole.rank, Some(truth.rank));
    assert_eq!(whole.device_events, truth.device_events);
    assert_eq!(whole.first_ns, Some(truth.first_ns));
    assert_eq!(whole.span_ns, truth.span_ns());
    assert_eq!(whole.busy_ns, truth.time.busy_ns());
    assert_eq!(whole.idle_ns, truth.time.idle_ns());
    assert_eq!(whole.compute_union_ns, truth.time.union_of(Class::Compute));
    assert_eq!(whole.comm_union_ns, truth.time.union_of(Class::Communication));
    assert_eq!(whole.mem_union_ns, truth.time.mem_union_ns());
    assert_eq!(whole.overlap_comm_compute_ns, truth.time.overlap_comm_compute_ns());
    assert_eq!(whole.exposed_comm_ns, truth.time.exposed_comm_ns());
    assert_eq!(whole.streams.len(), truth.streams.len());
    for stream in &whole.streams {
        let number = trace.track(stream.track).and_then(gapless_trace::Track::stream).expect("a number");
        assert_eq!((stream.device_events, stream.busy_ns), truth.streams[&number], "stream {number}");
    }
    assert_eq!(rank.steps_from, StepSource::ProfilerStep);
    assert_eq!(rank.steps.len(), truth.steps.len());
    for (step, told) in rank.steps.iter().zip(&truth.steps) {
        assert_eq!((&step.name, step.start_ns, step.end_ns), (&told.name, told.start_ns, told.end_ns));
        compare_times(&step.name, &step.partition, &told.time);
    }
    for row in &rank.tables.kernels {
        let told = &truth.work[&row.name];
        let stats = &row.stats;
        assert_eq!(
            (stats.count, stats.sum_ns, stats.min_ns, stats.max_ns),
            (told.count, told.sum_ns, told.min_ns, told.max_ns)
        );
    }
    let copies: Vec<_> = truth.work.iter().filter(|(name, _)| name.starts_with("Mem")).collect();
    assert_eq!(rank.tables.kernels.len(), truth.work.len());
    assert_eq!(rank.tables.copies.len(), copies.len());
    for row in &rank.tables.copies {
        let told = &truth.work[&row.name];
        assert_eq!((row.stats.count, row.stats.sum_ns, row.bytes), (told.count, told.sum_ns, Some(told.bytes)));
    }
}

fn compare_warnings(trace: &Trace, truth: &Truth) {
    let sum = |of: fn(&RankTruth) -> u64| truth.ranks.iter().map(of).sum::<u64>();
    let warnings = trace.warnings();
    assert_eq!(warnings.count(WarningKind::FlowWithoutStart), sum(|rank| rank.orphan_flow_ends));
    assert_eq!(warnings.count(WarningKind::DeviceWorkWithoutLaunch), sum(|rank| rank.unlaunched));
    assert_eq!(warnings.count(WarningKind::DeviceWorkBeforeLaunch), 0);
}

/// Every kernel of every collective carries the arguments and begins and ends when the schedule says.
fn compare_collectives(config: &Config, trace: &Trace, truth: &Truth) {
    let mut expected: Vec<_> = truth
        .collectives
        .iter()
        .flat_map(|collective| collective.arrivals.iter().map(move |arrival| (collective, arrival)))
        .map(|(collective, arrival)| {
            let offset = config.clock_offset(arrival.rank);
            let (start, end) = (arrival.start_ns + offset, collective.end_ns + offset);
            let group = collective.group.to_string();
            (arrival.rank, start, end, arrival.name.to_owned(), group, Some(collective.seq), collective.arrivals.len())
        })
        .collect();
    expected.sort();
    let mut found: Vec<_> = trace
        .collectives()
        .iter()
        .filter(|entry| trace.event(entry.event).kind.is_communication())
        .map(|entry| {
            let event = trace.event(entry.event);
            let rank = trace.rank_of(entry.event).and_then(|id| trace.rank(id)?.number).expect("a rank");
            let (name, group) = (trace.text(entry.name).to_owned(), trace.text(entry.group).to_owned());
            (
                rank,
                event.start.nanos(),
                event.end().nanos(),
                name,
                group,
                entry.seq,
                entry.group_size.unwrap_or(0) as usize,
            )
        })
        .collect();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn every_job_of_every_era_gives_the_known_answers() {
    for workload in JOBS {
        for era in [Era::Legacy, Era::IntegerMicros, Era::FractionalMicros, Era::Relative] {
            compare(&Config { era, layers: 5, ..Config::new(workload, 3, 3) }, false);
        }
    }
}

#[test]
fn graphs_with_overlapping_kernels_lose_none() {
    for workload in JOBS {
        compare(&Config { graphs: true, layers: 6, ..Config::new(workload, 2, 3) }, true);
    }
}

#[test]
fn frames_that_were_left_open_change_nothing_else() {
    compare(&Config { open_frames: true, ..Config::new(Workload::DataParallel, 2, 2) }, false);
}

#[test]
fn amd_on_stream_zero_with_generic_names() {
    for workload in JOBS {
        compare(&Config { vendor: Vendor::Amd, graphs: true, ..Config::new(workload, 2, 2) }, true);
    }
}

#[test]
fn slow_ranks_and_wrong_clocks() {
    for device in [false, true] {
        let config = Config {
            slow: Some(SlowRank { rank: 1, factor: 2.5, device }),
            clock_offsets_ns: vec![0, 123_456_789, -987_654_321],
            jitter: 0.3,
            ..Config::new(Workload::Recommendation, 3, 2)
        };
        compare(&config, true);
    }
}

#[test]
fn no_jitter_no_python_no_memory_and_many_layouts() {
    for layout in [Layout::Compact, Layout::Pretty, Layout::Crlf] {
        let config = Config {
            jitter: 0.0,
            python: false,
            memory: false,
            orphan_flow_ends: false,
            unlaunched: 0,
            layout,
            ..Config::new(Workload::Pipeline, 4, 2)
        };
        compare(&config, false);
    }
}

/// Large enough that a file is cut into pieces that are parsed in parallel.
#[test]
fn a_file_of_many_pieces_gives_the_known_answers() {
    let config = Config::new(Workload::DataParallel, 1, 1).sized(150_000).expect("sizes");
    compare(&config, false);
    compare(&Config { layout: Layout::Compact, seed: 9, ..config }, true);
}

#[test]
fn the_sample_gives_the_known_answers_and_names_the_slow_rank() {
    let config = Config::sample();
    compare(&config, true);
    let (_, _, truth) = through(&config, true);
    let slow = config.slow.expect("has a slow rank").rank;
    // The slow rank waits for nobody: its communication is exposed least.
    let least = truth.ranks.iter().min_by_key(|rank| rank.time.exposed_comm_ns()).expect("ranks");
    assert_eq!(least.rank, slow);
    assert!(
        truth.collectives.iter().filter(|collective| collective.late_rank == slow).count() * 2
            > truth.collectives.len()
    );
}

/// A rank has its process, its device and the profiler's headings, and nothing on any track is made up.
#[test]
fn every_process_and_track_has_something_on_it() {
    for era in [Era::Legacy, Era::Relative] {
        let config = Config { era, ..Config::new(Workload::DataParallel, 2, 1) };
        let (trace, _, _) = through(&config, false);
        for (id, track) in trace.track_ids() {
            let empty = track.events.is_empty() && track.counter.is_none();
            assert!(!empty, "{era:?}: {} ({}) is empty", trace.track_label(id), track.kind.id());
        }
        for rank in trace.ranks() {
            let processes = &trace.processes()[rank.processes.start as usize..rank.processes.end as usize];
            let hosts = processes.iter().filter(|process| process.kind == ProcessKind::Host).count();
            let devices = processes.iter().filter(|process| matches!(process.kind, ProcessKind::Device(_))).count();
            assert_eq!((hosts, devices), (1, 1), "{era:?}: {processes:?}");
        }
    }
}

/// The model read from the sample equals a plain reading of its files.
#[test]
fn the_sample_in_assets_opens_as_one_trace() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/sample");
    let paths = expand(&[folder.to_string_lossy().into_owned()]).expect("finds the files");
    let trace = open(&paths, &OpenOptions::default(), &Silent).expect("opens");
    let mut expected = Vec::new();
    for path in &paths {
        let text = oracle::read_inflated(path).expect("readable");
        expected.extend(oracle::read(&text).expect("valid").slices());
    }
    expected.sort_unstable();
    assert!(oracle::model_slices(&trace) == expected);
}
