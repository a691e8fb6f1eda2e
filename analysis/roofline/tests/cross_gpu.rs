//! Kernel sums of four models carried from H100 to MI300X and back, against what was measured there.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::collections::HashMap;

use common::{shared, trace};
use gapless_roofline::{
    Band, Calibration, Gpu, HardwareTable, KernelFacts, Operator, Roofline, Sample, Unit, precision, scale_kernel,
};
use gapless_trace::{EventId, RankId, Trace};

const MODELS: [&str; 4] = ["bert-small", "falconsai-vit", "owlv2", "qwen1.5-0.5b"];

/// A model on one device.
struct Run {
    trace: Trace,
    roofline: Roofline,
}

impl Run {
    fn gpu(&self) -> &Gpu {
        &self.roofline.device.as_ref().unwrap().gpu
    }

    /// Its kernels, but for those that no operator launched: each recording began within other work, which left kernels
    /// behind that are not the model's.
    fn kernels(&self) -> Vec<KernelFacts> {
        let calls = self.roofline.calls().iter().filter(|call| call.event.is_some());
        let work = calls.flat_map(|call| &call.work);
        let kernels = work.filter(|id| self.trace.event(**id).kind.is_kernel());
        kernels.map(|&id| self.roofline.kernel_facts(&self.trace, id).unwrap()).collect()
    }

    fn sum(&self) -> f64 {
        self.kernels().iter().map(|kernel| kernel.dur_ns).sum()
    }
}

fn longest(run: &Run, work: &[EventId]) -> EventId {
    *work.iter().max_by_key(|id| run.trace.event(**id).dur).unwrap()
}

/// Operators that both runs have, with their time for a call on each.
fn samples(from: &Run, to: &Run) -> Vec<Sample> {
    let mut other: HashMap<&Operator, f64> = HashMap::new();
    for group in &to.roofline.groups {
        other.insert(&group.operator, group.device_ns as f64 / group.calls as f64);
    }
    let mut found = Vec::new();
    for group in &from.roofline.groups {
        let Some(&to_ns) = other.get(&group.operator) else { continue };
        let is_of = |call: &&gapless_roofline::Call| call.event == group.longest;
        let Some(call) = from.roofline.calls().iter().find(is_of) else { continue };
        let facts = from.roofline.kernel_facts(&from.trace, longest(from, &call.work)).unwrap();
        let count = group.calls as f64;
        let facts = KernelFacts { dur_ns: group.device_ns as f64 / count, cost: group.cost, ..facts };
        found.push(Sample { facts, to_ns, count });
    }
    found
}

/// The usual way: by peaks, compute- or memory-bound by the ridge of the source, memory where nothing is known.
fn by_peaks(kernel: &KernelFacts, from: &Gpu, to: &Gpu) -> f64 {
    let memory = from.memory_bytes_per_s().unwrap() / to.memory_bytes_per_s().unwrap();
    let compute = || {
        let cost = kernel.cost.filter(|cost| cost.unit == Unit::Matrix)?;
        let of = |gpu: &Gpu| gpu.peak(precision(&cost, gpu, kernel.tf32)?);
        let (source, target) = (of(from)?, of(to)?);
        (cost.flops / source > cost.bytes / from.memory_bytes_per_s()?).then_some(source / target)
    };
    kernel.dur_ns * compute().unwrap_or(memory)
}

#[test]
fn kernel_sums_on_the_other_device() {
    let Some(folder) = shared() else { return };
    let table = HardwareTable::builtin();
    let run = |device: &str, model: &str| {
        let trace = trace(&folder, &format!("{device}/{model}"));
        let roofline = Roofline::new(&trace, RankId(0), &table);
        Run { trace, roofline }
    };
    let [h100, mi300] = ["h100", "mi300"].map(|device| MODELS.map(|model| run(device, model)));
    let mut missing = 0;
    for (from, to) in [(&h100, &mi300), (&mi300, &h100)] {
        let all: Vec<Vec<Sample>> = from.iter().zip(to).map(|(from, to)| samples(from, to)).collect();
        let (source, target) = (from[0].gpu(), to[0].gpu());
        eprintln!("\n{} -> {}", source.name, target.name);
        eprintln!("| model | measured there ms | predicted | band | error | by peaks | error |");
        let (mut ours, mut peaks, mut within) = (0.0, 0.0, 0);
        for (place, model) in MODELS.iter().enumerate() {
            // Never learnt from the model that is predicted.
            let others: Vec<_> =
                (0..MODELS.len()).filter(|&other| other != place).map(|other| all[other].clone()).collect();
            let calibration = Calibration::fit(&others, source, target, "the other models");
            let kernels = from[place].kernels();
            let scaled = kernels.iter().map(|kernel| scale_kernel(kernel, source, target, Some(&calibration)).unwrap());
            let predicted: Band = scaled.sum();
            let naive: f64 = kernels.iter().map(|kernel| by_peaks(kernel, source, target)).sum();
            let measured = to[place].sum();
            let (error, naive_error) = (predicted.mid / measured - 1.0, naive / measured - 1.0);
            ours += error.abs() / MODELS.len() as f64;
            peaks += naive_error.abs() / MODELS.len() as f64;
            within += usize::from(predicted.contains(measured));
            let ms = |ns: f64| format!("{:.3}", ns / 1e6);
            eprintln!(
                "| {model} | {} | {} | {} to {} | {:+.1} % | {} | {:+.1} % |",
                ms(measured),
                ms(predicted.mid),
                ms(predicted.low),
                ms(predicted.high),
                error * 100.0,
                ms(naive),
                naive_error * 100.0
            );
        }
        eprintln!(
            "MAPE {:.1} %, by peaks {:.1} %, {within} of {} in the band",
            ours * 100.0,
            peaks * 100.0,
            MODELS.len()
        );
        assert!(ours < peaks, "better than peaks: {ours} {peaks}");
        let shipped = Calibration::fit(&all, source, target, "");
        eprintln!("[[calibration]]\nfrom = {:?}\nto = {:?}", source.name, target.name);
        let floors = (shipped.from_floor_ns.unwrap(), shipped.to_floor_ns.unwrap());
        eprintln!("from_floor_ns = {:.0}\nto_floor_ns = {:.0}", floors.0, floors.1);
        for (class, factor) in &shipped.classes {
            eprintln!("classes.{} = {{ factor = {:.4}, spread = {:.4} }}", class.key(), factor.factor, factor.spread);
        }
        // The table ships what is learnt from all of them.
        let found = table.calibration(source, target);
        let Some(found) = found else {
            missing += 1;
            continue;
        };
        let near = |a: f64, b: f64| (a - b).abs() <= 2e-3 * b.abs();
        assert!(near(found.from_floor_ns.unwrap(), shipped.from_floor_ns.unwrap()));
        assert!(near(found.to_floor_ns.unwrap(), shipped.to_floor_ns.unwrap()));
        assert_eq!(found.classes.keys().collect::<Vec<_>>(), shipped.classes.keys().collect::<Vec<_>>());
        for (class, factor) in &shipped.classes {
            let found = found.classes[class];
            assert!(near(found.factor, factor.factor) && near(found.spread, factor.spread), "{class:?}: {factor:?}");
        }
    }
    assert_eq!(missing, 0, "the table has both pairs");
}
