//! Made-up jobs of several ranks: their clocks, collectives, costs and stragglers are found as they were made.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use gapless_analysis::{ClockAlignment, ClockSource, CollectiveReport, LatenessVerdict, MatchedBy, match_collectives};
use gapless_formats::{OpenOptions, Silent, open};
use gapless_tests::job::{BEGIN_NS, Group, Job, Shown};
use gapless_tests::synth::{Config, Era, Rng, Vendor, Workload, write_files};
use gapless_trace::{RankId, Timestamp};

/// Largest difference, in ns, between what two aligned clocks show at one true time, over the length of the job.
fn worst_error_ns(job: &Job, clocks: &ClockAlignment, length_ns: i64) -> f64 {
    let mut worst: f64 = 0.0;
    for share in 0..=10 {
        let at = BEGIN_NS + length_ns / 10 * share;
        let common = |rank: u32| clocks.to_common(RankId(rank), Timestamp(job.local(rank, at))).nanos();
        for rank in 1..job.ranks {
            worst = worst.max((common(rank) - common(0)).abs() as f64);
        }
    }
    worst
}

/// Length of a made-up job, in ns.
fn length_ns(happened: &[gapless_tests::job::Happened]) -> i64 {
    happened.last().map_or(0, |last| last.ends[0] - BEGIN_NS)
}

fn random_clocks(rng: &mut Rng, ranks: u32, offset_ns: f64, drift: f64) -> Vec<(i64, f64)> {
    let both = |rng: &mut Rng| rng.unit() * 2.0 - 1.0;
    (0..ranks).map(|_| ((both(rng) * offset_ns) as i64, both(rng) * drift)).collect()
}

#[test]
fn offsets_and_drifts_of_a_hundred_jobs_are_found() {
    let (mut worst, mut within): (f64, u32) = (0.0, 0);
    for seed in 0..100 {
        let mut rng = Rng::derived(seed, &[21]);
        let ranks = 2 + rng.below(14) as u32;
        let mut job = Job::new(seed, ranks, 300 + rng.below(200) as u32);
        job.clocks = random_clocks(&mut rng, ranks, 5e9, 50e-6);
        job.with_sequence = seed % 2 == 0;
        let (trace, happened) = job.make();
        assert!(length_ns(&happened) > 2_000_000_000);
        let clocks = ClockAlignment::new(&trace);
        let error = worst_error_ns(&job, &clocks, length_ns(&happened));
        worst = worst.max(error);
        let told = clocks.ranks.iter().map(|clock| clock.error_ns).fold(0.0, f64::max);
        within += u32::from(error <= 3.0 * told.max(1.0));
        // Ends differ by up to 4 µs from one another; averages over hundreds by far less.
        assert!(error <= 2_000.0, "seed {seed}: {error} ns");
        for clock in &clocks.ranks {
            let (least, most) = clock.bounds_ns.unwrap();
            assert!(least <= clock.offset_ns && clock.offset_ns <= most);
            assert!(clock.held_out_ns.unwrap() < 2_000.0);
        }
    }
    eprintln!("100 jobs, offsets ±5 s, drifts ±50 ppm: worst error at any time {worst:.0} ns; {within} within 3 σ");
    assert_eq!(within, 100);
}

/// Pairs of neighbours that share a name, and two groups across them.
fn tensor_and_data(named: bool) -> Vec<Group> {
    let name = |text: &str| named.then(|| text.to_owned());
    let pair = |first: u32| Group {
        name: name(&format!("tp{first}")),
        ranks: vec![first, first + 1],
        sizes: vec![1 << 20; 2],
    };
    let across = |first: u32| Group {
        name: name(&format!("dp{first}")),
        ranks: vec![first, first + 2, first + 4, first + 6],
        sizes: vec![1 << 24],
    };
    vec![pair(0), pair(2), pair(4), pair(6), across(0), across(1)]
}

#[test]
fn groups_are_chained_through_the_ranks_they_share() {
    for seed in 0..20 {
        let mut rng = Rng::derived(seed, &[22]);
        let mut job = Job::new(seed, 8, 40);
        job.groups = tensor_and_data(true);
        job.with_sequence = seed % 2 == 0;
        job.clocks = random_clocks(&mut rng, 8, 50e6, 0.0);
        let (trace, happened) = job.make();
        let clocks = ClockAlignment::new(&trace);
        assert_eq!(clocks.components.len(), 1);
        let error = worst_error_ns(&job, &clocks, length_ns(&happened));
        assert!(error <= 2_000.0, "seed {seed}: {error} ns");
        let found = match_collectives(&trace, &clocks);
        assert_eq!(found.len(), happened.len());
        assert!(found.iter().all(|instance| instance.is_complete()));
    }
}

#[test]
fn ranks_that_share_nothing_are_not_aligned() {
    let mut job = Job::new(5, 6, 20);
    job.groups = tensor_and_data(true).into_iter().take(2).collect();
    let (trace, _) = job.make();
    let clocks = ClockAlignment::new(&trace);
    // {0, 1}, {2, 3}, {4}, {5}.
    assert_eq!(clocks.components.len(), 4);
    let components: Vec<u32> = clocks.ranks.iter().map(|clock| clock.component).collect();
    assert_eq!(components, [0, 0, 1, 1, 2, 3]);
    assert!(clocks.are_aligned(RankId(2), RankId(3)) && !clocks.are_aligned(RankId(0), RankId(2)));
    assert_eq!(clocks.error_between_ns(RankId(0), RankId(4)), None);
    assert_eq!(clocks.ranks[4].source, ClockSource::NotAligned);
}

#[test]
fn communicators_without_names_are_told_apart_by_causality() {
    for seed in 0..20 {
        let mut rng = Rng::derived(seed, &[23]);
        let mut job = Job::new(seed, 8, 30);
        // Only the pairs, all on one stream and without names.
        job.groups = tensor_and_data(false).into_iter().take(4).collect();
        job.with_sequence = false;
        job.clocks = random_clocks(&mut rng, 8, 50e6, 0.0);
        let (trace, happened) = job.make();
        let found = match_collectives(&trace, &ClockAlignment::new(&trace));
        assert_eq!(found.len(), happened.len(), "seed {seed}");
        for instance in found {
            let ranks: Vec<u32> = instance.members.iter().map(|member| member.rank.0).collect();
            assert!(
                ranks.len() == 2 && ranks[0].is_multiple_of(2) && ranks[1] == ranks[0] + 1,
                "seed {seed}: {ranks:?}"
            );
        }
    }
}

#[test]
fn recordings_that_begin_later_are_matched_where_they_begin() {
    for seed in 0..40 {
        let mut rng = Rng::derived(seed, &[24]);
        let mut job = Job::new(seed, 4, 25);
        job.groups[0].sizes = vec![1 << 22; 3];
        job.with_sequence = false;
        job.clocks = random_clocks(&mut rng, 4, 50e6, 0.0);
        job.missed = (0..4).map(|_| rng.below(12) as usize).collect();
        let (trace, happened) = job.make();
        let clocks = ClockAlignment::new(&trace);
        let error = worst_error_ns(&job, &clocks, length_ns(&happened));
        assert!(error <= 3_000.0, "seed {seed}: {error} ns, missed {:?}", job.missed);
        let found = match_collectives(&trace, &clocks);
        // All calls that any rank recorded, each once.
        let least = *job.missed.iter().min().unwrap();
        assert_eq!(found.len(), happened.len() - least, "seed {seed}");
        let whole = found.iter().filter(|instance| instance.members.len() == 4).count();
        assert_eq!(whole, happened.len() - job.missed.iter().max().unwrap(), "seed {seed}");
    }
}

#[test]
fn arrivals_waits_and_transfers_are_those_that_were_made() {
    let mut rng = Rng::derived(7, &[25]);
    let mut job = Job::new(7, 6, 30);
    job.clocks = random_clocks(&mut rng, 6, 50e6, 0.0);
    let (trace, happened) = job.make();
    let report = CollectiveReport::new(&trace);
    assert_eq!(report.collectives.len(), happened.len());
    for (found, truth) in report.collectives.iter().zip(&happened) {
        assert_eq!(found.instance.sequence, Some(truth.sequence));
        assert_eq!(found.instance.matched_by, MatchedBy::Sequence);
        let last = truth.arrivals.iter().max().unwrap();
        assert!((found.timing.transfer_ns - truth.transfer_ns).abs() < 4_000);
        for (wait, arrival) in found.timing.waits_ns.iter().zip(&truth.arrivals) {
            assert!((wait - (last - arrival)).abs() < 4_000);
        }
        if let Some(delayer) = found.timing.delayer {
            assert_eq!(truth.arrivals[delayer.index()], *last);
        }
    }
    // Waits differ by tens of microseconds, clocks by less than two: most delayers can be named.
    let named = report.collectives.iter().filter(|found| found.timing.delayer.is_some()).count();
    assert!(named * 2 > happened.len(), "{named} of {}", happened.len());
    let edges: Vec<usize> = (0..happened.len()).filter(|&place| report.collectives[place].instance.edge).collect();
    assert_eq!(edges, [0, happened.len() - 1]);
}

#[test]
fn alpha_and_beta_are_those_that_were_made() {
    for seed in 0..20 {
        let mut rng = Rng::derived(seed, &[26]);
        let mut job = Job::new(seed, 8, 12);
        job.groups[0].sizes = (14..=28).map(|power| 1 << power).collect();
        job.alpha_ns = 15_000.0 + rng.unit() * 60_000.0;
        job.gb_per_s = 20.0 + rng.unit() * 300.0;
        job.clocks = random_clocks(&mut rng, 8, 50e6, 0.0);
        let (trace, _) = job.make();
        let report = CollectiveReport::new(&trace);
        let [cost] = report.costs.as_slice() else { panic!("one group") };
        let model = cost.model.unwrap();
        // The skew of ends, ±2 µs, is what the fit may be off by.
        assert!((model.alpha_ns - job.alpha_ns).abs() < 2_000.0, "seed {seed}: {model:?}");
        assert!((model.bus_gb_per_s / job.gb_per_s - 1.0).abs() < 0.02, "seed {seed}: {model:?} {}", job.gb_per_s);
        assert!(model.mean_error_share < 0.05 && cost.sizes.len() == 15);
        let large = cost.sizes.last().unwrap();
        assert!(large.bus_gb_per_s.unwrap() <= job.gb_per_s * 1.01);
        assert!((large.bus_gb_per_s.unwrap() / large.algorithm_gb_per_s.unwrap() - 1.75).abs() < 1e-9);
    }
}

fn random_job(seed: u64) -> Job {
    let mut rng = Rng::derived(seed, &[27]);
    let ranks = 2 + rng.below(15) as u32;
    let mut job = Job::new(seed, ranks, 6 + rng.below(60) as u32);
    job.jitter = 0.005 + rng.unit() * 0.06;
    job.clocks = random_clocks(&mut rng, ranks, 50e6, 0.0);
    job.skew_ns = 500.0 + rng.unit() * 10_000.0;
    job.with_sequence = rng.chance(0.5);
    job
}

#[test]
fn a_hundred_planted_stragglers_are_named_and_nobody_else() {
    let mut missed = Vec::new();
    for seed in 0..100 {
        let mut job = random_job(seed);
        let mut rng = Rng::derived(seed, &[28]);
        let rank = rng.below(u64::from(job.ranks)) as u32;
        // From one and a half times the jitter on; below, a rank is no straggler but noise.
        job.slow = Some((rank, job.jitter * 1.5 + 0.02 + rng.unit() * 0.3));
        let (trace, _) = job.make();
        let report = CollectiveReport::new(&trace);
        let late: Vec<u32> = report.late().map(|late| late.rank.0).collect();
        assert!(late.iter().all(|&late| late == rank), "seed {seed}: {late:?} instead of {rank}");
        if late.is_empty() {
            missed.push(seed);
        }
    }
    eprintln!("100 planted stragglers: {} named, none wrongly; not named: seeds {missed:?}", 100 - missed.len());
    assert!(missed.is_empty());
}

#[test]
fn a_hundred_jobs_without_stragglers_name_nobody() {
    for seed in 1_000..1_100 {
        let job = random_job(seed);
        let (trace, _) = job.make();
        let report = CollectiveReport::new(&trace);
        let late: Vec<_> = report.late().collect();
        assert!(late.is_empty(), "seed {seed}: {late:?}");
    }
}

#[test]
fn too_short_a_recording_names_nobody() {
    let mut job = Job::new(3, 4, 2);
    job.slow = Some((1, 0.5));
    job.groups[0].sizes.truncate(1);
    let (trace, _) = job.make();
    let report = CollectiveReport::new(&trace);
    assert!(report.lateness.iter().all(|rank| rank.verdict == LatenessVerdict::TooFew));
}

#[test]
fn a_shared_host_clock_is_kept_unless_it_is_disproved() {
    let mut job = Job::new(11, 4, 20);
    job.hosts = ["a", "a", "b", "b"].map(str::to_owned).into();
    // Host b is 3 ms ahead; rank 3 has, against its host's word, a clock of its own.
    job.clocks = vec![(0, 0.0), (0, 0.0), (3_000_000, 0.0), (9_000_000, 0.0)];
    let (trace, _) = job.make();
    let clocks = ClockAlignment::new(&trace);
    let sources: Vec<ClockSource> = clocks.ranks.iter().map(|clock| clock.source).collect();
    use ClockSource::{Collectives, Reference, SharedHost};
    assert_eq!(sources, [Reference, SharedHost, Collectives, Collectives]);
    assert_eq!(clocks.ranks[1].offset_ns, 0);
    for (rank, wanted) in [(2, 3_000_000), (3, 9_000_000)] {
        assert!((clocks.ranks[rank].offset_ns - wanted).abs() < 2_000);
    }
}

#[test]
fn device_clocks_are_held_against_launches() {
    // Rank 1's device times are 40 µs early: work would begin before its launch. Rank 2's drift by 20 ppm.
    let mut job = Job::new(13, 3, 600);
    job.devices = vec![(0, 0.0), (-40_000, 0.0), (0, 20e-6)];
    let (trace, happened) = job.make();
    let clocks = ClockAlignment::new(&trace);
    let corrected: Vec<bool> = clocks.ranks.iter().map(|clock| clock.device.is_corrected).collect();
    assert_eq!(corrected, [false, true, true]);
    assert!((clocks.ranks[2].device.drift - 20e-6).abs() < 2e-6, "{}", clocks.ranks[2].device.drift);
    // Work then lies within 3 µs of where it lies to its launches on a sound rank, over all of the recording.
    let found = match_collectives(&trace, &clocks);
    for (instance, truth) in found.iter().zip(&happened) {
        let off: Vec<i64> =
            instance.members.iter().zip(&truth.arrivals).map(|(member, at)| member.start.nanos() - at).collect();
        assert!(off.iter().all(|own| (own - off[0]).abs() < 8_000), "{off:?}");
    }
}

#[test]
fn ranges_of_cpu_backends_are_matched_by_what_is_noted_about_them() {
    for (shown, group) in [(Shown::Gloo, "0"), (Shown::Mpi, "communicator 1a2b3c4d")] {
        check_cpu_backend(shown, group);
    }
}

fn check_cpu_backend(shown: Shown, group: &str) {
    let mut job = Job::new(17, 3, 12);
    job.shown = shown;
    job.missed = vec![0, 4, 1];
    job.skew_ns = 10_000.0;
    let (trace, happened) = job.make();
    let report = CollectiveReport::new(&trace);
    assert_eq!(report.collectives.len(), happened.len());
    for (found, truth) in report.collectives.iter().zip(&happened) {
        assert_eq!((found.instance.sequence, found.instance.on_device), (Some(truth.sequence), false));
        assert_eq!((found.instance.group.as_str(), found.instance.expected_size), (group, Some(3)));
    }
    assert_eq!(report.collectives[1].instance.bytes, Some(26_214_400));
    assert_eq!(report.collectives.iter().filter(|found| found.instance.is_complete()).count(), happened.len() - 4);
}

#[test]
fn one_rank_alone_gets_estimates_that_say_so() {
    let mut job = Job::new(19, 4, 20);
    job.groups[0].sizes = vec![1 << 24];
    let (trace, happened) = job.make();
    let whole = CollectiveReport::new(&trace);
    // The same job of which only rank 2 was recorded.
    job.missed = (0..4).map(|rank| if rank == 2 { 0 } else { usize::MAX }).collect();
    let (trace, _) = job.make();
    let alone = CollectiveReport::new(&trace);
    assert_eq!(alone.collectives.len(), happened.len());
    assert!(alone.collectives.iter().all(|found| found.timing.is_estimated && found.timing.delayer.is_none()));
    assert!(alone.costs[0].is_estimated && !whole.costs[0].is_estimated);
    // The shortest of twenty calls waited for nobody, or hardly.
    let transfer = alone.costs[0].sizes[0].transfer.median_ns;
    assert!((transfer / happened[0].transfer_ns as f64 - 1.0).abs() < 0.15, "{transfer} {}", happened[0].transfer_ns);
}

#[test]
fn simulated_files_of_every_workload_are_aligned_and_matched() {
    for workload in [Workload::DataParallel, Workload::Pipeline, Workload::Recommendation] {
        for (era, vendor) in [
            (Era::Relative, Vendor::Nvidia),
            (Era::IntegerMicros, Vendor::Nvidia),
            (Era::FractionalMicros, Vendor::Amd),
        ] {
            let offsets = vec![0, 31_415_926, -27_182_818, 1_414_213];
            let config = Config { era, vendor, clock_offsets_ns: offsets, ..Config::new(workload, 4, 4) };
            let temp = tempfile::tempdir().unwrap();
            let (paths, truth) = write_files(&config, temp.path(), false).unwrap();
            let trace = open(&paths, &OpenOptions::default(), &Silent).unwrap();
            let report = CollectiveReport::new(&trace);
            let what = format!("{workload:?} {era:?} {vendor:?}");
            assert_eq!(report.clocks.components.len(), 1, "{what}");
            for clock in &report.clocks.ranks {
                let wanted = config.clock_offset(clock.rank.0) - config.clock_offset(0);
                assert!((clock.offset_ns - wanted).abs() <= 1, "{what}: {clock:?}");
            }
            assert_eq!(report.collectives.len(), truth.collectives.len(), "{what}");
            for found in &report.collectives {
                let end = found.instance.members[0].end.nanos();
                let known = truth.collectives.iter().find(|known| (known.end_ns - end).abs() <= 1);
                let known = known.unwrap_or_else(|| panic!("{what}: nothing ends at {end}"));
                assert_eq!(found.instance.sequence, Some(known.seq), "{what}");
                assert_eq!(found.timing.transfer_ns, known.transfer_ns, "{what}");
                assert_eq!(found.instance.members.len(), known.arrivals.len(), "{what}");
                if let Some(late) = found.timing.delayer {
                    assert_eq!(late.0, known.late_rank, "{what}");
                }
            }
        }
    }
}

#[test]
fn the_slow_rank_of_a_simulated_job_is_named() {
    use gapless_tests::synth::SlowRank;
    for seed in 0..8 {
        let rank = seed as u32 % 4;
        let slow = Some(SlowRank { rank, factor: 1.25, device: true });
        let config = Config {
            seed,
            slow,
            clock_offsets_ns: vec![0, 9_000_000, -5_000_000],
            ..Config::new(Workload::DataParallel, 4, 6)
        };
        for (config, named) in [(config.clone(), true), (Config { slow: None, ..config }, false)] {
            let temp = tempfile::tempdir().unwrap();
            let (paths, _) = write_files(&config, temp.path(), false).unwrap();
            let trace = open(&paths, &OpenOptions::default(), &Silent).unwrap();
            let report = CollectiveReport::new(&trace);
            let late: Vec<u32> = report.late().map(|late| late.rank.0).collect();
            assert_eq!(late, if named { vec![rank] } else { Vec::new() }, "seed {seed}: {:#?}", report.lateness);
        }
    }
}

/// What the slow rank did for longer is what others' waits are charged to: its kernels, or its thread.
#[test]
fn waits_are_charged_to_what_made_the_rank_late() {
    use gapless_analysis::{DelayKind, delay_costs};
    use gapless_tests::synth::SlowRank;
    for seed in 0..8 {
        let rank = seed as u32 % 4;
        let device = seed % 2 == 0;
        let slow = Some(SlowRank { rank, factor: if device { 1.25 } else { 3.0 }, device });
        let config = Config {
            seed,
            slow,
            clock_offsets_ns: vec![0, 9_000_000, -5_000_000],
            ..Config::new(Workload::DataParallel, 4, 6)
        };
        let temp = tempfile::tempdir().unwrap();
        let (paths, _) = write_files(&config, temp.path(), false).unwrap();
        let trace = open(&paths, &OpenOptions::default(), &Silent).unwrap();
        let report = CollectiveReport::new(&trace);
        let costs = delay_costs(&trace, &report.collectives);
        let all: i64 = costs.iter().map(|cost| cost.charged_ns).sum();
        let kind = if device { DelayKind::Device } else { DelayKind::Host };
        let right = costs.iter().filter(|cost| cost.rank.0 == rank && cost.kind == kind);
        let right: i64 = right.map(|cost| cost.charged_ns).sum();
        eprintln!(
            "seed {seed}: {:.0} % to {kind:?} of rank {rank}: {:?}",
            right as f64 / all as f64 * 100.0,
            costs.first()
        );
        assert!(right * 10 > all * 8, "seed {seed}: {right} of {all}: {costs:#?}");
    }
}
