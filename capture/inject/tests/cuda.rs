//! The CUDA side of the image against a STUB of the CUDA driver and of CUPTI (`tests/gpu/stub`), through the real C
//! interface. This proves our side only: no device and no code of NVIDIA's is part of it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gapless_ring::device::{DeviceKind, Launch, Moved};
use gapless_ring::layout::SOURCE_CUPTI;
use gapless_ring::reader::SegmentReader;

mod common;

use common::device::{Process, Told, lines_of_ours, read};

/// The stub and the job, built for one test.
struct Stub {
    folder: tempfile::TempDir,
}

impl Stub {
    /// `None`, with a line, where there is no compiler.
    fn build() -> Option<Stub> {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/gpu/stub");
        let cc = |args: &[&str], file: &str, output: &str| {
            Command::new("gcc")
                .args(["-O1", "-g", "-Wall", "-pthread", "-o"])
                .arg(folder.path().join(output))
                .arg(source.join(file))
                .args(args)
                .output()
        };
        let here = folder.path().display().to_string();
        let shared = |name: &str| format!("-Wl,-soname,{name}");
        let (link, path) = (format!("-L{here}"), format!("-Wl,-rpath,{here}"));
        for (args, file, output) in [
            (vec!["-fPIC", "-shared", &shared("libcuda.so.1"), "-ldl"], "libcuda.c", "libcuda.so.1"),
            (vec!["-fPIC", "-shared", &shared("libcupti.so.13")], "libcupti.c", "libcupti.so.13"),
            (vec![&link, &path, "-l:libcuda.so.1", "-ldl"], "job.c", "job"),
        ] {
            let Ok(made) = cc(&args, file, output) else {
                eprintln!("skipped: there is no gcc");
                return None;
            };
            assert!(made.status.success(), "{file}: {}", String::from_utf8_lossy(&made.stderr));
        }
        Some(Stub { folder })
    }

    fn rings(&self) -> PathBuf {
        let rings = self.folder.path().join("rings");
        std::fs::create_dir_all(&rings).unwrap();
        rings
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.folder.path().join("job"));
        command
            .args(words)
            .env("GAPLESS_RINGS", self.rings())
            .env("GAPLESS_CUPTI", self.folder.path().join("libcupti.so.13"))
            .env("CUDA_INJECTION64_PATH", common::image())
            .env("NVTX_INJECTION64_PATH", common::image());
        command
    }

    fn run(&self, words: &[&str], variables: &[(&str, &str)]) -> (Output, Vec<Process>) {
        let output = self.command(words).envs(variables.iter().copied()).output().unwrap();
        (output, read(&self.rings()))
    }
}

#[test]
fn every_kind_of_record_comes_with_its_fields() {
    let Some(stub) = Stub::build() else { return };
    let (output, processes) = stub.run(&["kinds"], &[]);
    assert!(output.status.success());
    assert_eq!(lines_of_ours(&output), Vec::<String>::new());
    let [process] = processes.as_slice() else { panic!("{} processes", processes.len()) };
    assert!(process.finished && process.sources & SOURCE_CUPTI != 0 && process.lost == 0);
    assert_eq!(process.fact("cuda.cupti_version"), Some("130500"));
    assert_eq!(process.fact("cuda.driver_version"), Some("13.5"));
    assert!(process.fact("cuda.clock").unwrap().starts_with("the recording's own"), "{:?}", process.facts);
    let device = process.fact("cuda.device").unwrap();
    assert!(device.contains("name=Stub GPU (no device)\n") && device.contains("multiprocessors=132\n"), "{device}");

    let kernels = process.of(DeviceKind::Kernel);
    let names: Vec<&str> = kernels.iter().map(|kernel| kernel.name.as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    let without_times = kernels.iter().filter(|kernel| kernel.record.payload == 0).count();
    assert_eq!(without_times, 1);
    let first = kernels.iter().find(|kernel| kernel.head.correlation == 1).unwrap();
    let expected = Launch {
        grid: [132, 2, 1],
        block: [256, 1, 1],
        static_shared_bytes: 1024,
        dynamic_shared_bytes: 49152,
        registers: 64,
        cluster: [2, 1, 1],
        channel: 3,
        channel_type: 1,
        ..Launch::default()
    };
    assert_eq!(first.launch, Some(expected));
    assert_eq!((first.head.device, first.head.context, first.head.stream), (0, 1, 7));
    assert!(first.name.starts_with("_ZN7cutlass6Kernel"));

    let copies: Vec<Moved> = process.of(DeviceKind::Copy).iter().map(|copy| copy.moved.unwrap()).collect();
    let what: Vec<_> = copies.iter().map(|copy| (copy.direction, copy.from, copy.to, copy.bytes)).collect();
    assert_eq!(what, [(2, 3, 1, 4096), (10, 3, 3, 65536)]);
    assert_eq!((copies[1].from_device, copies[1].to_device), (0, 1));
    let fills = process.of(DeviceKind::Fill);
    assert_eq!(fills.iter().map(|fill| fill.moved.unwrap().bytes).collect::<Vec<_>>(), [128]);

    let calls: Vec<(&str, u32)> =
        process.of(DeviceKind::Call).iter().map(|call| (call.name.as_str(), call.record.domain)).collect();
    assert_eq!(
        calls,
        [
            ("cudaLaunchKernel", 2),
            ("cuLaunchKernel", 1),
            ("cudaLaunchKernel", 2),
            ("cudaLaunchKernel", 2),
            ("cudaMemcpyAsync", 2),
            ("cudaMemcpyAsync", 2),
            ("cudaMemsetAsync", 2),
            ("cudaLaunchKernel", 2),
            ("cudaMalloc", 2),
            ("cudaEventRecord", 2),
            ("cudaStreamWaitEvent", 2),
            ("cudaStreamSynchronize", 2),
            ("cudaFree", 2),
            ("cudaDeviceSynchronize", 2),
        ],
        "what says nothing is left out"
    );
    // Each piece of work has a call with its id, begun before it.
    for work in kernels.iter().chain(&process.of(DeviceKind::Copy)).filter(|work| work.record.payload != 0) {
        let calls = process.of(DeviceKind::Call);
        let call = calls.iter().find(|call| call.head.correlation == work.head.correlation).unwrap();
        assert!(call.record.payload < work.record.payload && work.record.payload < work.head.end);
    }
    let syncs: Vec<u32> = process.of(DeviceKind::Sync).iter().map(|sync| sync.record.domain).collect();
    assert_eq!(syncs, [2, 3, 4]);
    let event = process.of(DeviceKind::Event)[0].clone();
    let wait = process.of(DeviceKind::Sync)[0].clone();
    assert_eq!((event.record.domain, event.head.stream, event.head.id), (4, 8, wait.head.id));
    let external = process.of(DeviceKind::External)[0].clone();
    assert_eq!((external.record.payload, external.record.domain), (77, 3));
    let joined: Vec<&Told> =
        kernels.iter().filter(|kernel| kernel.head.correlation == external.record.category).copied().collect();
    assert_eq!(joined.iter().map(|kernel| kernel.head.stream).collect::<Vec<_>>(), [8]);
    let overhead = process.of(DeviceKind::Overhead)[0].clone();
    assert_eq!(overhead.record.domain, 0x6_0000);
    assert!(overhead.head.device == overhead.head.context, "the main thread has the process's id");
    let memory: Vec<(u32, u64)> =
        process.of(DeviceKind::Memory).iter().map(|memory| (memory.record.domain, memory.head.end)).collect();
    assert_eq!(memory, [(1, 100), (2, 100)]);
}

#[test]
fn records_of_every_version_are_read_as_far_as_they_go() {
    let Some(stub) = Stub::build() else { return };
    for (version, has_sync_ids, has_channels) in
        [(18, false, true), (22, false, true), (28, true, true), (130_000, true, true), (130_300, true, true)]
    {
        let rings = stub.rings();
        std::fs::remove_dir_all(&rings).unwrap();
        let version = version.to_string();
        let variables = [("STUB_CUPTI_VERSION", version.as_str())];
        let (output, processes) = stub.run(&["kinds"], &variables);
        assert!(output.status.success(), "{version}");
        let process = &processes[0];
        let counts: Vec<usize> = [DeviceKind::Kernel, DeviceKind::Copy, DeviceKind::Fill, DeviceKind::Call]
            .map(|kind| process.of(kind).len())
            .to_vec();
        assert_eq!(counts, [4, 2, 1, 14], "{version}");
        let wait = process.of(DeviceKind::Sync)[0];
        assert_eq!(wait.head.id != 0, has_sync_ids, "{version}");
        let launch = process.of(DeviceKind::Kernel)[0].launch.unwrap();
        assert_eq!(launch.channel == 3, has_channels, "{version}");
        assert_eq!((launch.grid, launch.registers), ([132, 2, 1], 64), "{version}");
    }
    // CUDA 11 is too old: one line, and nothing else happens.
    std::fs::remove_dir_all(stub.rings()).unwrap();
    let (output, processes) = stub.run(&["kinds"], &[("STUB_CUPTI_VERSION", "14")]);
    assert!(output.status.success());
    let lines = lines_of_ours(&output);
    assert!(matches!(lines.as_slice(), [line] if line.contains("CUDA 12.1 or newer")), "{lines:?}");
    assert!(processes[0].told.is_empty());
}

#[test]
fn a_taken_place_a_refused_kind_and_a_driver_that_is_too_old_are_one_line_each() {
    let Some(stub) = Stub::build() else { return };
    /// Variables of the stub, words of the line, whether the rest is recorded.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, bool);
    let cases: [Case<'_>; 7] = [
        (&[("STUB_CUPTI_SUBSCRIBE", "39")], "another profiler uses CUPTI", false),
        (
            &[("STUB_CUPTI_SUBSCRIBE", "39"), ("STUB_CUPTI_HOLDER", "nsys 2026.2")],
            "(it calls itself \"nsys 2026.2\")",
            false,
        ),
        (&[("STUB_CUPTI_SUBSCRIBE", "35")], "NVreg_RestrictProfilingToAdminUsers", false),
        (&[("STUB_CUPTI_REFUSE", "49:14")], "allocations are not recorded: another tool in this process", true),
        (&[("STUB_CUPTI_REFUSE", "39:27")], "ids of other tools are not recorded", true),
        (&[("STUB_CUDA_VERSION", "12040")], "CUPTI is of CUDA 13, the driver of CUDA 12", true),
        (&[("GAPLESS_CUPTI", "/nowhere/libcupti.so.13")], "was not found (looked at /nowhere/libcupti.so.13)", false),
    ];
    for (variables, words, goes_on) in cases {
        std::fs::remove_dir_all(stub.rings()).unwrap();
        let (output, processes) = stub.run(&["train", "2"], variables);
        assert!(output.status.success(), "{variables:?}");
        let lines = lines_of_ours(&output);
        assert!(matches!(lines.as_slice(), [line] if line.contains(words)), "{variables:?}: {lines:?}");
        let process = &processes[0];
        assert!(matches!(process.notices().as_slice(), [notice] if notice.contains(words)), "{:?}", process.facts);
        assert_eq!(!process.of(DeviceKind::Kernel).is_empty(), goes_on, "{variables:?}");
        assert!(process.finished);
    }
}

#[test]
fn a_clock_of_cuptis_own_is_compared_with_ours() {
    let Some(stub) = Stub::build() else { return };
    for clock in ["", "monotonic"] {
        std::fs::remove_dir_all(stub.rings()).unwrap();
        let (output, processes) = stub.run(&["train", "3"], &[("STUB_CUPTI_OWN_CLOCK", "1"), ("GAPLESS_CLOCK", clock)]);
        assert!(output.status.success());
        let process = &processes[0];
        assert!(process.fact("cuda.clock").unwrap().starts_with("CUPTI's own"), "{:?}", process.facts);
        let error: u64 = process.fact("cuda.clock_error_ticks").unwrap().parse().unwrap();
        assert!(error > 0);
        // On one clock with what the image itself tells: a record is told after what it tells of has ended.
        for told in process.told.iter().filter(|told| told.record.payload != 0 && told.kind != DeviceKind::Memory) {
            assert!(told.record.payload <= told.head.end, "{told:?} by {:?}", process.clock);
            assert!(told.head.end <= told.record.ticks + error, "{told:?}");
            let age = told.record.ticks.saturating_sub(told.head.end);
            assert!(age < 20_000_000_000, "{age} ticks: {told:?}");
        }
    }
}

#[test]
fn dropped_records_are_counted_and_the_others_come() {
    let Some(stub) = Stub::build() else { return };
    let (output, processes) = stub.run(&["launches", "5000"], &[("STUB_CUPTI_DROP", "10")]);
    assert!(output.status.success());
    let process = &processes[0];
    let dropped: u64 = process.of(DeviceKind::Dropped).iter().map(|dropped| dropped.record.payload).sum();
    let came = process.told.len() - process.of(DeviceKind::Dropped).len();
    // 5,000 launches and kernels, a wait, its call, a context; the device is a fact.
    let made = 10_000 + 4;
    assert_eq!(dropped, made / 10);
    assert_eq!(came as u64 + process.fact("cuda.device").map_or(0, |_| 1), made - dropped);
}

#[test]
fn small_buffers_are_used_again() {
    let Some(stub) = Stub::build() else { return };
    // Slowly: each buffer holds fourteen launches, and all of them come.
    let (_, processes) = stub.run(&["long", "300"], &[("STUB_CUPTI_BUFFER", "4096")]);
    let process = &processes[0];
    let ids = |kind| {
        let mut ids: Vec<u32> = process.of(kind).iter().map(|told| told.head.correlation).collect();
        ids.sort_unstable();
        ids
    };
    let expected: Vec<u32> = (1..=300).collect();
    assert!(ids(DeviceKind::Kernel) == expected, "{} kernels", process.of(DeviceKind::Kernel).len());
    assert!(ids(DeviceKind::Call).get(..300) == Some(expected.as_slice()));
    assert_eq!((process.lost, process.of(DeviceKind::Dropped).len()), (0, 0));

    // Faster than anybody reads: what finds no buffer is counted, so the sum is what was made.
    std::fs::remove_dir_all(stub.rings()).unwrap();
    let (_, processes) = stub.run(&["launches", "50000"], &[("STUB_CUPTI_BUFFER", "4096")]);
    let process = &processes[0];
    let dropped: u64 = process.of(DeviceKind::Dropped).iter().map(|dropped| dropped.record.payload).sum();
    let came = process.told.len() - process.of(DeviceKind::Dropped).len() + 1;
    assert_eq!(dropped + came as u64, 100_000 + 4);
}

#[test]
fn graphs_and_ids_that_wrap() {
    let Some(stub) = Stub::build() else { return };
    let (_, processes) = stub.run(&["graph", "20000"], &[]);
    let kernels = processes[0].of(DeviceKind::Kernel);
    assert_eq!(kernels.len(), 20_000);
    assert!(kernels.iter().all(|kernel| kernel.head.correlation == 1 && kernel.launch.unwrap().graph == 5));
    let nodes: std::collections::BTreeSet<u64> = kernels.iter().map(|kernel| kernel.head.id).collect();
    assert_eq!(nodes.len(), 20_000);

    std::fs::remove_dir_all(stub.rings()).unwrap();
    let (_, processes) = stub.run(&["wrap"], &[]);
    let ids: Vec<u32> = processes[0].of(DeviceKind::Kernel).iter().map(|kernel| kernel.head.correlation).collect();
    let expected: Vec<u32> = (0..8).map(|place| 0xffff_fffcu32.wrapping_add(place)).collect();
    let mut sorted = ids.clone();
    sorted.sort_by_key(|id| id.wrapping_sub(0xffff_fffc));
    assert_eq!(sorted, expected);
}

#[test]
fn whatever_way_a_process_ends_the_job_decides() {
    let Some(stub) = Stub::build() else { return };
    // How, exit code, signal, whether the end of the process hands over what runs.
    let cases: BTreeMap<&str, (Option<i32>, Option<i32>, bool)> = BTreeMap::from([
        ("exit", (Some(0), None, true)),
        ("_exit", (Some(0), None, false)),
        ("kill", (None, Some(9), false)),
        ("abort", (None, Some(6), false)),
        ("thread", (Some(7), None, true)),
    ]);
    for (how, (code, signal, is_flushed)) in cases {
        std::fs::remove_dir_all(stub.rings()).unwrap();
        let started = std::time::Instant::now();
        let (output, processes) = stub.run(&["late", how], &[]);
        assert_eq!((output.status.code(), output.status.signal()), (code, signal), "{how}");
        assert!(started.elapsed().as_secs() < 4, "{how}: {:?}", started.elapsed());
        let process = &processes[0];
        let running: Vec<_> = process.of(DeviceKind::Kernel).into_iter().filter(|k| k.head.end == 0).collect();
        let done = process.of(DeviceKind::Kernel).iter().filter(|kernel| kernel.head.end != 0).count();
        if is_flushed {
            assert!(process.finished && done == 10 && !running.is_empty(), "{how}: {done}, {}", running.len());
            // A kernel that still ran has its begin and no end.
            assert!(running.iter().any(|kernel| kernel.record.payload != 0), "{how}");
        } else {
            assert!(!process.finished, "{how}");
        }
        if how == "kill" {
            // It was killed four tenths of a second after its last launch: what was done then had been handed over.
            assert_eq!(done, 10);
        }
    }
}

#[test]
fn a_cupti_that_is_stuck_holds_up_the_end_for_some_seconds_only() {
    let Some(stub) = Stub::build() else { return };
    let started = std::time::Instant::now();
    let (output, processes) = stub.run(&["train", "1"], &[("STUB_CUPTI_STUCK", "1")]);
    assert!(output.status.success());
    assert!((5..8).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    let lines = lines_of_ours(&output);
    assert!(matches!(lines.as_slice(), [line] if line.contains("did not hand it over")), "{lines:?}");
    assert!(processes[0].finished);
}

#[test]
fn forks_before_and_after_the_first_use() {
    let Some(stub) = Stub::build() else { return };
    let (output, processes) = stub.run(&["fork"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let kernels: usize = processes.iter().map(|process| process.of(DeviceKind::Kernel).len()).sum();
    assert_eq!(kernels, 11, "all of the parent's, none of the child's");

    std::fs::remove_dir_all(stub.rings()).unwrap();
    let (output, processes) = stub.run(&["forkfirst"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let counts: Vec<usize> = processes.iter().map(|process| process.of(DeviceKind::Kernel).len()).collect();
    assert_eq!(counts, [5, 5]);
}

#[test]
fn recording_that_is_off_costs_no_records_and_windows_are_exact() {
    let Some(stub) = Stub::build() else { return };
    let (output, processes) = stub.run(&["train", "2"], &[("GAPLESS_START", "off")]);
    assert!(output.status.success());
    assert!(processes[0].told.is_empty());

    // Switched on and off from outside, as the recorder does.
    std::fs::remove_dir_all(stub.rings()).unwrap();
    let mut child = stub.command(&["long", "900"]).env("GAPLESS_START", "off").spawn().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let segment = loop {
        assert!(std::time::Instant::now() < until, "no segment");
        if let Some(Ok(entry)) = std::fs::read_dir(stub.rings()).unwrap().next()
            && let Ok(reader) = SegmentReader::open(&entry.path())
        {
            break reader;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    std::thread::sleep(std::time::Duration::from_millis(200));
    let on = segment.clock().ticks();
    segment.set_recording(true);
    std::thread::sleep(std::time::Duration::from_millis(300));
    segment.set_recording(false);
    let off = segment.clock().ticks();
    // What is asked for now is there when the answer comes.
    segment.ask_for_flush();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while segment.is_flushing() {
        assert!(std::time::Instant::now() < until, "no answer");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let asked = read(&stub.rings());
    assert!(child.wait().unwrap().success());
    let process = &read(&stub.rings())[0];
    let calls = process.of(DeviceKind::Call);
    assert!((100..300).contains(&calls.len()), "{} calls in 300 ms", calls.len());
    assert!(asked[0].of(DeviceKind::Call).len() >= calls.len() - 30);
    let rate = (off - on) / 300;
    // The worker looks every 20 ms, and a busy machine may keep it waiting.
    assert!(calls.iter().all(|call| call.record.payload > on && call.record.payload < off + 200 * rate));
}

#[test]
fn without_a_recorder_or_where_it_is_switched_off_nothing_happens() {
    let Some(stub) = Stub::build() else { return };
    let output = stub.command(&["train", "1"]).env_remove("GAPLESS_RINGS").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let (output, processes) = stub.run(&["train", "1"], &[("GAPLESS_CUDA", "off")]);
    assert!(output.status.success() && output.stderr.is_empty());
    assert!(processes.iter().all(|process| process.told.is_empty() && process.sources & SOURCE_CUPTI == 0));
}
