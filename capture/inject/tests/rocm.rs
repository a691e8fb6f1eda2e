//! AMD's side of the image against a STUB of HIP, RCCL, rocprofiler-register and rocprofiler-sdk (`tests/gpu/stub`), through
//! the real C interface. This proves our side only: no device and no code of AMD's is part of it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gapless_ring::device::{DeviceKind, Moved};
use gapless_ring::layout::SOURCE_ROCPROFILER;
use gapless_ring::reader::SegmentReader;

mod common;

use common::device::{Process, lines_of_ours, read};

/// The stub and the job, built for one test.
struct Stub {
    folder: tempfile::TempDir,
}

/// Versions with records of different forms, and numbers of kinds and functions that moved.
const VERSIONS: [&str; 5] = ["400", "602", "10000", "10201", "10305"];

impl Stub {
    /// `None`, with a line, where there is no compiler.
    fn build(definitions: &[&str]) -> Option<Stub> {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/gpu/stub");
        let here = folder.path().display().to_string();
        let (link, path) = (format!("-L{here}"), format!("-Wl,-rpath,{here}"));
        let named = |name: &str| format!("-Wl,-soname,{name}");
        let (register, hip) = ("-l:librocprofiler-register.so.0", "-l:libamdhip64.so.7");
        for (file, output, args) in [
            ("librocprofiler-register.c", "librocprofiler-register.so.0", vec!["-shared", "-fPIC"]),
            ("librocprofiler-sdk.c", "librocprofiler-sdk.so.1", [&["-shared", "-fPIC"], definitions].concat()),
            ("libamdhip64.c", "libamdhip64.so.7", vec!["-shared", "-fPIC", &link, &path, register]),
            ("rocp_tool.c", "other.so", vec!["-shared", "-fPIC"]),
            ("hipjob.c", "hipjob", vec![&link, &path, hip]),
        ] {
            let name = named(output);
            let made = Command::new("gcc")
                .args(["-O1", "-g", "-Wall", "-pthread", "-o"])
                .arg(folder.path().join(output))
                .arg(source.join(file))
                .args(args)
                .args((output.contains(".so.")).then_some(&name))
                .arg("-ldl")
                .output();
            let Ok(made) = made else {
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
        let mut command = Command::new(self.folder.path().join("hipjob"));
        command.args(words).env("GAPLESS_RINGS", self.rings()).env("ROCP_TOOL_LIBRARIES", common::image());
        command
    }

    /// Runs the job with rings of its own.
    fn run(&self, words: &[&str], variables: &[(&str, &str)]) -> (Output, Vec<Process>) {
        let _ = std::fs::remove_dir_all(self.rings());
        let output = self.command(words).envs(variables.iter().copied()).env("GAPLESS_RINGS", self.rings()).output();
        (output.unwrap(), read(&self.rings()))
    }
}

fn one(processes: &[Process]) -> &Process {
    let [process] = processes else { panic!("{} processes", processes.len()) };
    process
}

#[test]
fn every_kind_of_record_comes_with_its_fields_in_every_version() {
    let Some(stub) = Stub::build(&[]) else { return };
    for version in VERSIONS {
        let (output, processes) = stub.run(&["kinds"], &[("STUB_ROCP_VERSION", version)]);
        assert!(output.status.success(), "{version}: {output:?}");
        assert_eq!(lines_of_ours(&output), Vec::<String>::new(), "{version}");
        let process = one(&processes);
        assert!(process.finished && process.sources & SOURCE_ROCPROFILER != 0 && process.lost == 0);
        let number: u32 = version.parse().unwrap();
        let text = format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100);
        assert_eq!(process.fact("hip.rocprofiler_version"), Some(text.as_str()));
        let devices: Vec<&str> =
            process.facts.iter().filter(|(key, _)| key == "hip.device").map(|(_, value)| value.as_str()).collect();
        assert_eq!(devices.len(), 2, "two GPUs, no processor");
        for line in [
            "id=0",
            "vendor=AMD",
            "name=Stub AMD Instinct (no device)",
            "architecture=gfx942",
            "memory_bytes=206141652992",
            "multiprocessors=304",
            "threads_per_warp=64",
            "core_clock_khz=2100000",
            "max_warps_per_multiprocessor=32",
            "max_shared_bytes_per_block=65536",
            "pci=0000:85:00.0",
        ] {
            assert!(devices[0].lines().any(|known| known == line), "{version}: {line} in {}", devices[0]);
        }

        let calls: Vec<(&str, u32)> =
            process.of(DeviceKind::Call).iter().map(|call| (call.name.as_str(), call.record.domain)).collect();
        let memory = [("hipMalloc", 2), ("hipFree", 2), ("hipFree", 2)];
        let mut expected = vec![("hipLaunchKernel", 2)];
        expected.extend([("hipMemcpyAsync", 2); 4]);
        expected.extend([("hipExtLaunchKernel", 2), ("ncclAllReduce", 3)]);
        expected.extend(memory);
        expected.extend([("hipStreamSynchronize", 2); 2]);
        assert_eq!(calls, expected, "{version}: without hipGetDevice");

        let kernels = process.of(DeviceKind::Kernel);
        let of = |name: &str| *kernels.iter().find(|kernel| kernel.name.contains(name)).unwrap();
        let gemm = of("_ZN7cutlass6KernelI4gemmEEvPfi");
        assert!(!gemm.name.ends_with(".kd"), "{}", gemm.name);
        let launch = gemm.launch.unwrap();
        assert_eq!((launch.grid, launch.block), ([128, 1, 1], [256, 1, 1]));
        assert_eq!((launch.static_shared_bytes, launch.dynamic_shared_bytes, launch.registers), (1024, 3072, 96));
        assert_eq!((gemm.head.device, of("ncclDevKernel").head.device), (1, 0));
        assert_ne!(gemm.head.stream, of("ncclDevKernel").head.stream);
        // A kernel has the id of the innermost call around its launch, which lies in RCCL's.
        let call =
            |name: &str| process.told.iter().find(|told| told.kind == DeviceKind::Call && told.name == name).unwrap();
        assert_eq!(of("ncclDevKernel").head.correlation, call("hipExtLaunchKernel").head.correlation);
        let (outer, inner) = (call("ncclAllReduce"), call("hipExtLaunchKernel"));
        assert!(outer.record.payload <= inner.record.payload && inner.head.end <= outer.head.end);
        assert_eq!(outer.head.device, inner.head.device, "of one thread");
        // Times of the device are those that the stub played.
        for kernel in &kernels {
            let ticks = kernel.head.end - kernel.record.payload;
            assert!(ticks > 0 && kernel.record.payload >= call("hipLaunchKernel").record.payload, "{kernel:?}");
        }

        let copies: Vec<Moved> = process.of(DeviceKind::Copy).iter().map(|copy| copy.moved.unwrap()).collect();
        let mut what: Vec<_> =
            copies.iter().map(|copy| (copy.bytes, copy.direction, copy.from_device, copy.to_device)).collect();
        what.sort_unstable();
        assert_eq!(what, [(4096, 1, 0, 0), (8192, 2, 1, 1), (16384, 8, 0, 0), (32768, 10, 0, 1)], "{version}");

        let memory: Vec<(u32, u32, u64)> = process
            .of(DeviceKind::Memory)
            .iter()
            .map(|told| (told.record.domain, told.record.category, told.head.end))
            .collect();
        let told: &[(u32, u32, u64)] = if number >= 600 { &[(1, 3, 100), (2, 3, 100)] } else { &[] };
        assert_eq!(memory, told, "{version}: what was given back is as large as what was allocated");
        let scratch = process.of(DeviceKind::Overhead);
        assert_eq!(scratch.len(), 1);
        assert_eq!(scratch[0].record.domain, gapless_ring::device::SCRATCH + 1);
        assert_eq!(scratch[0].head.device, outer.head.device, "the thread");
        assert!(scratch[0].head.end > scratch[0].record.payload);
        assert_eq!(process.fact("hip.records_damaged"), None);
    }
}

#[test]
fn times_are_on_the_recordings_clock() {
    let Some(stub) = Stub::build(&[]) else { return };
    for clock in ["", "monotonic"] {
        let (output, processes) = stub.run(&["train", "3"], &[("GAPLESS_CLOCK", clock)]);
        assert!(output.status.success());
        let process = one(&processes);
        let error: u64 = process.fact("hip.clock_error_ticks").unwrap().parse().unwrap();
        assert!(error > 0);
        assert_eq!(process.of(DeviceKind::Kernel).len(), 9);
        for told in process.told.iter().filter(|told| told.kind != DeviceKind::Memory && told.record.payload != 0) {
            assert!(told.record.payload <= told.head.end, "{told:?} by {:?}", process.clock);
            assert!(told.head.end <= told.record.ticks + error, "told after it ended: {told:?}");
        }
        // A kernel begins after the call that launched it.
        for kernel in process.of(DeviceKind::Kernel) {
            let call = process
                .told
                .iter()
                .find(|told| told.kind == DeviceKind::Call && told.head.correlation == kernel.head.correlation);
            assert!(call.unwrap().record.payload <= kernel.record.payload + error, "{kernel:?}");
        }
    }
}

#[test]
fn drops_strange_records_and_damage_are_counted_and_the_rest_comes() {
    let Some(stub) = Stub::build(&[]) else { return };
    let (_, processes) = stub.run(&["launches", "5000"], &[("STUB_ROCP_DROP", "10")]);
    let process = one(&processes);
    let dropped: u64 = process.of(DeviceKind::Dropped).iter().map(|dropped| dropped.record.payload).sum();
    let came = process.told.len() - process.of(DeviceKind::Dropped).len();
    // Launches and kernels, and a wait.
    assert_eq!(dropped, 10_001 / 10);
    assert_eq!(came as u64 + dropped, 10_001);

    for (variable, fact, count) in
        [("STUB_ROCP_UNKNOWN", "hip.records_of_other_kinds", 402), ("STUB_ROCP_DAMAGED", "hip.records_damaged", 402)]
    {
        let (output, processes) = stub.run(&["launches", "100"], &[(variable, "1")]);
        assert!(output.status.success());
        let process = one(&processes);
        assert_eq!(process.of(DeviceKind::Kernel).len(), 100, "{variable}");
        let told: Vec<&str> =
            process.facts.iter().filter(|(key, _)| key == fact).map(|(_, value)| value.as_str()).collect();
        assert_eq!(told.last().unwrap().parse::<u64>().unwrap(), count, "{variable}");
    }
}

#[test]
fn small_buffers_lose_nothing() {
    let Some(stub) = Stub::build(&[]) else { return };
    let (_, processes) = stub.run(&["launches", "20000"], &[("STUB_ROCP_BUFFER", "8192")]);
    let process = one(&processes);
    let mut ids: Vec<u32> = process.of(DeviceKind::Kernel).iter().map(|told| told.head.correlation).collect();
    ids.sort_unstable();
    let dropped: u64 = process.of(DeviceKind::Dropped).iter().map(|dropped| dropped.record.payload).sum();
    assert_eq!((ids.len() as u64 + process.lost + dropped, dropped), (20_000, 0), "{} lost", process.lost);
    ids.dedup();
    assert_eq!(ids.len() as u64 + process.lost, 20_000);
}

#[test]
fn what_is_refused_or_missing_is_one_line_and_the_job_goes_on() {
    let Some(stub) = Stub::build(&[]) else { return };
    let (output, processes) = stub.run(&["kinds"], &[("STUB_ROCP_REFUSE", "MEMORY_COPY:12")]);
    assert!(output.status.success());
    let lines = lines_of_ours(&output);
    assert!(
        matches!(lines.as_slice(), [line] if line.contains("copies are not recorded") && line.contains("error 12"))
    );
    let process = one(&processes);
    assert_eq!((process.of(DeviceKind::Copy).len(), process.of(DeviceKind::Kernel).len()), (0, 2));
    assert_eq!(process.notices().len(), 1);

    let (output, processes) = stub.run(&["kinds"], &[("STUB_ROCP_VERSION", "302")]);
    assert!(output.status.success());
    let lines = lines_of_ours(&output);
    assert!(matches!(lines.as_slice(), [line] if line.contains("ROCm 6.2 or newer")), "{lines:?}");
    assert!(one(&processes).told.is_empty());

    // A library without one of the functions.
    let Some(stub) = Stub::build(&["-DWITHOUT_AGENTS"]) else { return };
    let (output, processes) = stub.run(&["kinds"], &[]);
    assert!(output.status.success());
    let lines = lines_of_ours(&output);
    let is_it = |line: &str| line.contains("rocprofiler_query_available_agents");
    assert!(matches!(lines.as_slice(), [line] if is_it(line)), "{lines:?}");
    assert!(one(&processes).told.is_empty());
}

#[test]
fn two_tools_record_beside_each_other() {
    let Some(stub) = Stub::build(&[]) else { return };
    let other = stub.folder.path().join("other.so");
    let tools = format!("{}:{}:", other.display(), common::image().display());
    let (output, processes) =
        stub.run(&["launches", "100"], &[("ROCP_TOOL_LIBRARIES", &tools), ("STUB_ROCP_TELL", "1")]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("another tool: 100 kernels"), "{text}");
    assert!(text.contains("tool 1 is gapless, active"), "{text}");
    assert_eq!(one(&processes).of(DeviceKind::Kernel).len(), 100);
}

#[test]
fn whatever_way_a_process_ends_the_job_decides() {
    let Some(stub) = Stub::build(&[]) else { return };
    // How, exit code, signal, kernels of the eleven that end.
    for (how, code, signal, expected) in [
        ("exit", Some(0), None, 11),
        ("_exit", Some(0), None, 0),
        ("kill", None, Some(9), 11),
        ("abort", None, Some(6), 0),
        ("thread", Some(7), None, 11),
    ] {
        let started = std::time::Instant::now();
        let (output, processes) = stub.run(&["late", how], &[]);
        assert_eq!((output.status.code(), output.status.signal()), (code, signal), "{how}");
        assert!(started.elapsed().as_secs() < 4, "{how}: {:?}", started.elapsed());
        let process = one(&processes);
        let kernels = process.of(DeviceKind::Kernel).len();
        assert!(process.of(DeviceKind::Kernel).iter().all(|kernel| kernel.head.end != 0));
        if how == "thread" {
            assert!(kernels >= expected, "{how}: {kernels}");
        } else if expected > 0 {
            assert_eq!(kernels, expected, "{how}: the long one ends after the tool was asked for the last time");
        }
        assert_eq!(process.finished, code.is_some() && how != "_exit", "{how}");
    }
}

#[test]
fn a_rocprofiler_that_is_stuck_holds_up_the_end_for_some_seconds_only() {
    let Some(stub) = Stub::build(&[]) else { return };
    let started = std::time::Instant::now();
    let (output, processes) = stub.run(&["train", "1"], &[("STUB_ROCP_STUCK", "1")]);
    assert!(output.status.success());
    assert!((5..8).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    let lines = lines_of_ours(&output);
    assert!(matches!(lines.as_slice(), [line] if line.contains("did not hand it over")), "{lines:?}");
    assert!(one(&processes).finished);
}

#[test]
fn forks_before_and_after_the_first_use() {
    let Some(stub) = Stub::build(&[]) else { return };
    let (output, processes) = stub.run(&["fork"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let kernels: usize = processes.iter().map(|process| process.of(DeviceKind::Kernel).len()).sum();
    assert_eq!(kernels, 11, "all of the parent's, none of the child's");

    let (output, processes) = stub.run(&["forkfirst"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let counts: Vec<usize> = processes.iter().map(|process| process.of(DeviceKind::Kernel).len()).collect();
    assert_eq!(counts, [5, 5]);
}

#[test]
fn recording_follows_the_switch_and_hands_over_what_is_asked_for() {
    let Some(stub) = Stub::build(&[]) else { return };
    let (output, processes) = stub.run(&["train", "2"], &[("GAPLESS_START", "off")]);
    assert!(output.status.success());
    assert!(one(&processes).told.is_empty());

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
    segment.ask_for_flush();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while segment.is_flushing() {
        assert!(std::time::Instant::now() < until, "no answer");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let asked = read(&stub.rings());
    assert!(child.wait().unwrap().success());
    let processes = read(&stub.rings());
    let calls = one(&processes).of(DeviceKind::Call);
    assert!((50..300).contains(&calls.len()), "{} calls in 300 ms", calls.len());
    assert!(one(&asked).of(DeviceKind::Call).len() >= calls.len() - 60);
    let rate = (off - on) / 300;
    // The worker looks every 20 ms, and a busy machine may keep it waiting.
    assert!(calls.iter().all(|call| call.record.payload > on && call.record.payload < off + 200 * rate));
}

#[test]
fn where_it_is_not_wanted_nothing_happens() {
    let Some(stub) = Stub::build(&[]) else { return };
    let output = stub.command(&["train", "1"]).env_remove("GAPLESS_RINGS").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let (output, processes) = stub.run(&["train", "1"], &[("GAPLESS_HIP", "off")]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(processes.iter().all(|process| process.told.is_empty() && process.sources & SOURCE_ROCPROFILER == 0));
    let (output, processes) = stub.run(&["nothing"], &[]);
    assert!(output.status.success() && output.stderr.is_empty());
    assert!(processes.iter().all(|process| process.facts.iter().all(|(key, _)| !key.starts_with("hip."))));
}

#[test]
fn a_job_with_hip_alone_lives_though_the_image_is_preloaded() {
    let Some(stub) = Stub::build(&[]) else { return };
    let preloaded = |variables: &[(&str, &str)]| {
        let _ = std::fs::remove_dir_all(stub.rings());
        let mut command = stub.command(&["launches", "20"]);
        command.env_remove("ROCP_TOOL_LIBRARIES").env("LD_PRELOAD", common::image());
        command.envs(variables.iter().copied()).env("GAPLESS_RINGS", stub.rings());
        (command.output().unwrap(), read(&stub.rings()))
    };
    // With the SDK beside HIP nothing needs to be set.
    let (output, processes) = preloaded(&[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(one(&processes).of(DeviceKind::Kernel).len(), 20);

    let (sdk, aside) = (stub.folder.path().join("librocprofiler-sdk.so.1"), stub.folder.path().join("aside"));
    std::fs::rename(&sdk, &aside).unwrap();
    let (output, processes) = preloaded(&[]);
    assert!(output.status.success(), "{output:?}");
    let lines = lines_of_ours(&output);
    assert!(matches!(lines.as_slice(), [line] if line.contains("no librocprofiler-sdk")), "{lines:?}");
    assert!(processes.iter().all(|process| process.told.is_empty()));
    // Whoever asks for a tool gets what ROCm does.
    let (output, _) = preloaded(&[("ROCP_TOOL_LIBRARIES", "/nowhere.so")]);
    assert_eq!(output.status.signal(), Some(6));
}
