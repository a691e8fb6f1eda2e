//! Device records: late, in any order, over several batches, cut off and taken up again.

use gapless_record::encode::ProcessEncoder;
use gapless_record::recover::scan;
use gapless_ring::device::{DeviceKind, Head, Launch, Moved};
use gapless_ring::layout::{Kind, Record};
use gapless_trace::{EventId, EventKind};
use perfetto_proto::wire::Writer;

use super::support::*;

/// The thread of the image that tells of devices.
const TELLER: u32 = 9;

fn device(kind: DeviceKind, start: u64, head: Head) -> Vec<Record> {
    let head = head.slots();
    let record = Record { class: kind as u8, extra: 1, payload: start, ..record(Kind::Device, 100_000) };
    [vec![record], head.to_vec()].concat()
}

fn head(end: u64, correlation: u32, stream: u32) -> Head {
    Head { end, id: 0, correlation, device: 0, context: 1, stream }
}

fn kernel(name: u32, start: u64, end: u64, correlation: u32, stream: u32) -> Vec<Record> {
    let launch = Launch { grid: [4, 2, 1], block: [128, 1, 1], registers: 40, ..Launch::default() };
    let slots = launch.slots(head(end, correlation, stream));
    let record =
        Record { class: DeviceKind::Kernel as u8, extra: 4, name, payload: start, ..record(Kind::Device, 100_000) };
    [vec![record], slots.to_vec()].concat()
}

/// A call of the runtime on the thread 100.
fn call(name: u32, start: u64, end: u64, correlation: u32) -> Vec<Record> {
    let mut slots =
        device(DeviceKind::Call, start, Head { device: 100, context: PID, ..head(end, correlation, u32::MAX) });
    slots[0] = Record { name, domain: 2, ..slots[0] };
    slots
}

fn event(event: u32, number: u64, correlation: u32, stream: u32) -> Vec<Record> {
    let mut slots = device(DeviceKind::Event, 0, Head { id: number, ..head(0, correlation, stream) });
    slots[0] = Record { domain: event, ..slots[0] };
    slots
}

/// CUPTI's type 2: a stream waits for an event.
fn wait(start: u64, event: u32, number: u64, correlation: u32, stream: u32, told: u64) -> Vec<Record> {
    let head = Head { id: number, device: event, ..head(start + 1, correlation, stream) };
    let mut slots = device(DeviceKind::Sync, start, head);
    slots[0] = Record { domain: 2, ticks: told, ..slots[0] };
    slots
}

#[test]
fn work_in_any_order_hangs_under_the_operators_that_launched_it() {
    let mut job = Job::new();
    let (outer, inner, launch, driver) =
        (job.id("aten::linear"), job.id("aten::addmm"), job.id("cudaLaunchKernel"), job.id("cuLaunchKernel"));
    let (gemm, add) = (job.id("_Z4gemmPfi"), job.id("add_kernel"));
    job.encode(0, &[operator(push(1_000, 0, outer)), operator(push(1_100, 0, inner))]);
    job.encode(0, &[pop(1_900, 0), pop(2_000, 0)]);
    // Later calls come first; a driver call lies in its runtime call and came before it, in another batch.
    let mut driver_call = call(driver, 1_220, 1_280, 1);
    driver_call[0].domain = 1;
    job.encode(TELLER, &[kernel(add, 9_000, 9_500, 2, 7), call(launch, 3_000, 3_100, 2), driver_call].concat());
    job.encode(TELLER, &[kernel(gemm, 5_000, 8_000, 1, 7), call(launch, 1_200, 1_300, 1)].concat());
    // Two kernels of one stream beside each other: branches of a graph.
    job.encode(TELLER, &[kernel(add, 20_000, 21_000, 2, 7), kernel(gemm, 20_500, 21_500, 2, 7)].concat());
    assert_eq!(job.encoder.device_counts().events(), 7);
    let trace = job.trace();
    assert_clean(&trace);
    // In order of time.
    let find = |name: &str, nth: usize| {
        let of_name = |&id: &EventId| trace.name(id) == name;
        let mut ids: Vec<EventId> = (0..trace.events().len() as u32).map(EventId).filter(of_name).collect();
        ids.sort_by_key(|&id| trace.event(id).start);
        ids[nth]
    };
    assert_eq!(trace.event(find("gemm(float*, int)", 0)).kind, EventKind::Kernel);
    let launches = trace.launches().pairs();
    let work_of = |nth| -> Vec<String> {
        let call = find("cudaLaunchKernel", nth);
        let mut names: Vec<String> =
            launches.iter().filter(|p| p.0 == call).map(|p| trace.name(p.1).to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(work_of(0), ["gemm(float*, int)"]);
    assert_eq!(work_of(1), ["add_kernel", "add_kernel", "gemm(float*, int)"]);
    let lines = lines(&trace);
    let has = |text: &str| assert!(lines.iter().any(|line| line.contains(text)), "{text} in {lines:#?}");
    has("gemm(float*, int) 5000..8000");
    has("grid=[4, 2, 1] block=[128, 1, 1]");
    has("registers per thread=40");
    has("cuLaunchKernel 1220..1280 correlation=1");
    // The call is a child of the operator, on the operator's own thread.
    let call = find("cudaLaunchKernel", 0);
    assert_eq!(trace.parent(call).map(|parent| trace.name(parent).to_owned()).as_deref(), Some("aten::addmm"));
    assert_eq!(trace.parent(find("cuLaunchKernel", 0)), Some(call));
}

#[test]
fn waits_are_told_with_the_recording_they_are_for_whenever_that_comes() {
    let mut job = Job::new();
    let name = job.id("k");
    job.encode(TELLER, &kernel(name, 10, 20, 1, 7));
    // The newest recording before the wait, of the same event; one of a later call does not count.
    let plain = [event(3, 0, 10, 7), event(3, 0, 12, 8), wait(5_000, 3, 0, 11, 20, 100_000), event(4, 77, 15, 9)];
    job.encode(TELLER, &plain.concat());
    job.encode(TELLER, &wait(6_000, 5, 88, 16, 21, 100_001));
    job.encode(TELLER, &event(5, 88, 14, 9));
    // Nobody tells of this one.
    job.encode(TELLER, &wait(7_000, 6, 99, 17, 22, 100_002));
    let trace = job.trace();
    let lines = lines(&trace);
    let of = |start: u64| {
        let text = format!("Stream Wait Event {start}..");
        lines.iter().find(|line| line.contains(&text)).expect(&text).clone()
    };
    assert!(of(5_000).contains("wait_on_stream=7 wait_on_cuda_event_record_corr_id=10"), "{}", of(5_000));
    assert!(of(6_000).contains("wait_on_stream=9 wait_on_cuda_event_record_corr_id=14"), "{}", of(6_000));
    assert!(!of(7_000).contains("wait_on_stream"), "{}", of(7_000));
}

#[test]
fn a_wait_that_was_held_back_when_the_recorder_died_is_in_the_trace_once() {
    let mut job = Job::new();
    job.encode(TELLER, &wait(6_000, 5, 88, 16, 21, 100_001));
    job.encoder.positions(&[(1, 1)], &mut job.out);
    let written = scan(job.out.as_bytes());
    let mut encoder = ProcessEncoder::new(PID, START_TIME, written.last_sequence + 1);
    encoder.resume(written.state);
    job.encoder = encoder;
    job.encode(TELLER, &event(5, 88, 14, 9));
    let trace = job.trace();
    let waits: Vec<String> = lines(&trace).into_iter().filter(|line| line.contains("Stream Wait Event")).collect();
    assert!(matches!(waits.as_slice(), [wait] if wait.contains("wait_on_stream=9")), "{waits:?}");
}

#[test]
fn what_has_no_time_or_no_end_is_counted_and_never_invented() {
    let mut job = Job::new();
    let (name, api) = (job.id("k"), job.id("cudaMalloc"));
    let dropped = Record { class: DeviceKind::Dropped as u8, payload: 12, ..record(Kind::Device, 50_000) };
    job.encode(TELLER, &[dropped]);
    job.encode(TELLER, &[kernel(name, 0, 0, 1, 7), kernel(name, 400, 0, 2, 7), call(api, 300, 350, 2)].concat());
    let short = Record { class: DeviceKind::Kernel as u8, payload: 5, ..record(Kind::Device, 50_000) };
    let newer = Record { class: 200, ..record(Kind::Device, 50_000) };
    job.encode(TELLER, &[short, newer]);
    let moved = Moved { bytes: 1 << 20, direction: 1, from: 1, to: 3, ..Moved::default() }.slots(head(900, 3, 7));
    let copy = Record { class: DeviceKind::Copy as u8, extra: 2, payload: 800, ..record(Kind::Device, 100_000) };
    job.encode(TELLER, &[vec![copy], moved.to_vec()].concat());
    let memory = |operation, bytes, start| {
        let mut slots = device(DeviceKind::Memory, start, Head { id: 4096, ..head(bytes, 4, 7) });
        slots[0] = Record { domain: operation, category: 3, ..slots[0] };
        slots
    };
    job.encode(TELLER, &[memory(1, 1 << 20, 1_000), memory(2, 0, 2_000)].concat());
    let counts = job.encoder.device_counts();
    assert_eq!((counts.dropped, counts.without_time, counts.unfinished, counts.unknown), (12, 1, 1, 2));
    let trace = job.trace();
    let lines = lines(&trace);
    assert!(lines.iter().any(|line| line.contains("k 400..400") && line.contains("unfinished=1")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("12 records of the GPU were dropped")), "{lines:#?}");
    let copied = (0..trace.events().len() as u32)
        .map(EventId)
        .find(|&id| trace.name(id) == "Memcpy HtoD (Pageable -> Device)")
        .unwrap();
    assert_eq!(trace.copy_bytes(copied), Some(1 << 20));
}

#[test]
fn a_flight_recorder_begins_anew_and_describes_devices_again() {
    let mut job = Job::new();
    let (name, key) = (job.id("k"), job.id("cuda.device"));
    let text = b"id=1\nname=Some GPU\nmemory_bytes=1024\nmultiprocessors=8\nuuid=00ff";
    job.encode(TELLER, &info(1, 0, key, text));
    job.encode(TELLER, &kernel(name, 10, 20, 1, 7));
    let mut opening = Writer::default();
    job.encoder.restart(&job.names, &mut opening);
    let mut out = job.header();
    std::mem::swap(&mut job.out, &mut out);
    let piece = [job.out.as_bytes(), opening.as_bytes()].concat();
    job.out.clear();
    job.encode(TELLER, &kernel(name, 30, 40, 2, 7));
    job.finish();
    let trace = read(&[piece.as_slice(), job.out.as_bytes()].concat());
    let kernels: Vec<String> = lines(&trace).into_iter().filter(|line| line.contains(": k ")).collect();
    assert!(matches!(kernels.as_slice(), [kernel] if kernel.contains("k 30..40")), "{kernels:?}");
    let (_, rank) = trace.rank_ids().next().unwrap();
    let device = rank.devices.first().unwrap();
    assert_eq!((device.id, device.name.as_str(), device.memory_bytes), (1, "Some GPU", Some(1024)));
}

/// The thread that first launches something tells of devices among whatever else it does.
#[test]
fn a_thread_of_the_job_may_tell_of_devices_too() {
    let mut job = Job::new();
    let (name, range) = (job.id("k"), job.id("forward"));
    let (device, version) = (job.id("cuda.device"), job.id("cuda.cupti_version"));
    let mut slots = vec![push(1, 1, range)];
    slots.extend(info(2, 0, version, b"28"));
    slots.extend(info(3, 0, device, b"id=0\nname=Some GPU\nmultiprocessors=8"));
    slots.push(pop(9, 1));
    job.encode(0, &slots);
    job.encode(TELLER, &kernel(name, 10, 20, 1, 7));
    let trace = job.trace();
    let (_, rank) = trace.rank_ids().next().unwrap();
    assert_eq!(rank.devices.first().map(|device| device.name.as_str()), Some("Some GPU"));
    let told = rank.header.iter().find(|(key, _)| key.ends_with("cupti_version"));
    assert_eq!(told.map(|(_, value)| value.to_string()), Some("28".to_owned()), "{:?}", rank.header);
}
