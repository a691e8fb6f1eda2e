//! Device work: render stages, counters, correlations.

use gapless_trace::{EventKind, ProcessKind, TrackKind, WarningKind};
use perfetto_proto::{
    ComputeKernelLaunch, Dim3, EventType, ExtraComputeArg, GpuCorrelation, GpuCounter, GpuCounterDescriptor,
    GpuCounterEvent, GpuCounterSpec, GpuInfo, GpuInfoEntry, GpuRenderStageEvent, InternedData,
    InternedGpuCounterDescriptor, InternedGpuRenderStageSpecification, TrackEvent, extra_compute_arg, gpu_counter,
    gpu_render_stage_event,
};

use super::*;

fn specification(iid: u64, name: &str, category: i32) -> InternedGpuRenderStageSpecification {
    InternedGpuRenderStageSpecification {
        iid: Some(iid),
        name: Some(name.to_owned()),
        category: Some(category),
        ..InternedGpuRenderStageSpecification::default()
    }
}

fn stage(id: u64, duration: u64, queue: u64, stage: u64, name: &str) -> GpuRenderStageEvent {
    GpuRenderStageEvent {
        event_id: Some(id),
        duration: Some(duration),
        gpu_id: Some(1),
        hw_queue_iid: Some(queue),
        stage_iid: Some(stage),
        name_field: Some(gpu_render_stage_event::NameField::Name(name.to_owned())),
        ..GpuRenderStageEvent::default()
    }
}

#[test]
fn work_of_queues_lies_on_streams_and_is_joined_with_the_host() {
    let mut file = File::default();
    file.thread(2, 10, 11, "main");
    file.data(
        None,
        trace_packet::Data::GpuInfo(GpuInfo {
            gpus: vec![
                GpuInfoEntry { name: Some("first".to_owned()), ..GpuInfoEntry::default() },
                GpuInfoEntry {
                    name: Some("H100".to_owned()),
                    pci_bdf: Some("0000:01:00.0".to_owned()),
                    uuid: Some(vec![0xAB; 16]),
                    ..GpuInfoEntry::default()
                },
            ],
        }),
    );
    file.event(
        5,
        TrackEvent {
            gpu_correlation: Some(GpuCorrelation {
                render_stage_submission_event_ids: vec![1, 2],
                render_stage_wait_event_ids: vec![],
            }),
            ..named(EventType::SliceBegin, 2, "cudaLaunchKernel", "cuda_runtime")
        },
    );
    file.end(8, 2);
    let named_arg = |name: &str, value| ExtraComputeArg {
        name_field: Some(extra_compute_arg::NameField::Name(name.to_owned())),
        value: Some(extra_compute_arg::Value::IntValue(value)),
    };
    let mut gemm = stage(1, 50, 1, 10, "gemm");
    gemm.launch = Some(ComputeKernelLaunch {
        grid_size: Some(Dim3 { x: Some(4), y: Some(2), z: Some(1) }),
        workgroup_size: Some(Dim3 { x: Some(128), ..Dim3::default() }),
        args: vec![named_arg("registers", 32), named_arg("correlation", 9)],
    });
    let packet = file.data(Some(10), trace_packet::Data::GpuRenderStageEvent(Box::new(gemm)));
    packet.sequence_flags = Some(3);
    packet.interned_data = Some(InternedData {
        gpu_specifications: vec![
            specification(1, "stream 7", 0),
            specification(2, "copy engine", 0),
            specification(10, "Compute", 2),
            specification(11, "Memcpy", 0),
        ],
        ..InternedData::default()
    });
    // Overlaps the first on the same queue; a copy that waits for it; a fill.
    let add = |file: &mut File, time, event| {
        file.data(Some(time), trace_packet::Data::GpuRenderStageEvent(Box::new(event)));
    };
    add(&mut file, 20, stage(2, 100, 1, 10, "reduce"));
    add(&mut file, 70, GpuRenderStageEvent { event_wait_ids: vec![1], ..stage(3, 5, 2, 11, "HtoD") });
    add(&mut file, 80, stage(4, 5, 2, 10, "Memset (Device)"));
    add(&mut file, 90, GpuRenderStageEvent { event_wait_ids: vec![99], ..stage(5, 5, 77, 10, "lost") });
    file.event(
        120,
        TrackEvent {
            gpu_correlation: Some(GpuCorrelation {
                render_stage_submission_event_ids: vec![],
                render_stage_wait_event_ids: vec![2],
            }),
            ..named(EventType::SliceBegin, 2, "wait", "")
        },
    );
    file.end(130, 2);
    let trace = opened(file.bytes());

    let of = |name: &str| {
        let event = event_named(&trace, name);
        let (_, track) = trace.track_of(event.id).unwrap();
        let process = trace.process(track.process).unwrap();
        (event.kind, process.kind, trace.raw_id_text(track.tid), event.start.nanos(), event.dur.nanos())
    };
    let device = ProcessKind::Device(1);
    assert_eq!(of("gemm"), (EventKind::Kernel, device, "7".to_owned(), 10, 50));
    assert_eq!(of("reduce"), (EventKind::Kernel, device, "7".to_owned(), 20, 100));
    assert_eq!(of("HtoD"), (EventKind::Memcpy, device, "copy engine".to_owned(), 70, 5));
    assert_eq!(of("Memset (Device)"), (EventKind::Memset, device, "copy engine".to_owned(), 80, 5));
    let id = |name: &str| event_named(&trace, name).id;
    assert_eq!(
        trace.launches().pairs(),
        [(id("cudaLaunchKernel"), id("gemm")), (id("cudaLaunchKernel"), id("reduce"))]
    );
    let mut flows: Vec<_> = trace.flows().iter().map(|flow| (trace.name(flow.from), trace.name(flow.to))).collect();
    flows.sort_unstable();
    assert_eq!(flows, [("gemm", "HtoD"), ("reduce", "wait")]);
    let args: Vec<_> = trace.args(id("gemm")).unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        args,
        ["event id=1", "stage=Compute", "grid=[4, 2, 1]", "block=[128, 0, 0]", "registers=32", "correlation=9"]
    );
    assert_eq!(event_named(&trace, "gemm").correlation, Some(9));
    let devices = &trace.ranks()[0].devices;
    assert_eq!((devices[1].id, devices[1].name.as_str()), (1, "H100"));
    assert_eq!(devices[1].properties.len(), 2);
    let count = |kind| trace.warnings().count(kind);
    assert_eq!((count(WarningKind::FlowUnbound), count(WarningKind::UnknownId)), (1, 1));
}

#[test]
fn gpu_counters_are_named_by_their_descriptors() {
    let spec = |id, name: &str| GpuCounterSpec {
        counter_id: Some(id),
        name: Some(name.to_owned()),
        ..GpuCounterSpec::default()
    };
    let value = |id, value| GpuCounter { counter_id: Some(id), value: Some(gpu_counter::Value::IntValue(value)) };
    let mut file = File::default();
    file.data(
        Some(10),
        trace_packet::Data::GpuCounterEvent(GpuCounterEvent {
            counter_descriptor: Some(GpuCounterDescriptor { specs: vec![spec(1, "clock")] }),
            counters: vec![value(1, 5)],
            ..GpuCounterEvent::default()
        }),
    );
    file.data(
        Some(20),
        trace_packet::Data::GpuCounterEvent(GpuCounterEvent {
            counters: vec![value(1, 6), value(2, 1)],
            ..GpuCounterEvent::default()
        }),
    );
    let packet = file.data(
        Some(30),
        trace_packet::Data::GpuCounterEvent(GpuCounterEvent {
            counter_descriptor_iid: Some(4),
            gpu_id: Some(3),
            counters: vec![GpuCounter { counter_id: Some(1), value: Some(gpu_counter::Value::DoubleValue(0.5)) }],
            ..GpuCounterEvent::default()
        }),
    );
    packet.sequence_flags = Some(3);
    packet.interned_data = Some(InternedData {
        gpu_counter_descriptors: vec![InternedGpuCounterDescriptor {
            iid: Some(4),
            counter_descriptor: Some(GpuCounterDescriptor { specs: vec![spec(1, "power")] }),
            gpu_id: None,
        }],
        ..InternedData::default()
    });
    let trace = opened(file.bytes());
    let series: Vec<_> = trace
        .counters()
        .iter()
        .map(|series| (trace.text(series.name), series.times.clone(), series.values.clone()))
        .collect();
    assert_eq!(
        series,
        [
            ("GPU 0 clock", vec![10, 20], vec![5.0, 6.0]),
            ("GPU 0 counter 2", vec![20], vec![1.0]),
            ("GPU 3 power", vec![30], vec![0.5])
        ]
    );
    assert!(trace.tracks().iter().all(|track| track.kind == TrackKind::Counter));
}
