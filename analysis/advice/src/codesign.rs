//! Step time as a function of the machine: compute rate, memory bandwidth, links, launches, host.
//!
//! Along one axis, with everything else as it is, durations are linear in s = 1 ÷ rate, so the step, a longest path, is
//! convex and piecewise linear in s. [`Axis::curve`] therefore needs no grid: tangents at two points either meet on the
//! curve (then there is one break between them) or the curve is cut there and looked at again. Each break is where the
//! next bottleneck takes over.

use rayon::prelude::*;
use serde::Serialize;

use gapless_analysis::graph::{EdgeKind, NodeKind};
use gapless_analysis::replay::Draft;

use crate::collective_cost::Alpha;
use crate::figures::figures;
use crate::study::Study;

/// What a machine can have more or less of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axis {
    /// Arithmetic per second: matrix products, attention, convolutions.
    Compute,
    /// Memory bandwidth: all other kernels, fills.
    Memory,
    /// Bandwidth of links between devices.
    Link,
    /// 1 ÷ latency of collectives.
    LinkLatency,
    /// Bandwidth between host and device: copies.
    Copy,
    /// 1 ÷ latency of launches.
    LaunchLatency,
    /// Speed of threads.
    Host,
}

impl Axis {
    /// All axes.
    pub const ALL: [Self; 7] =
        [Self::Compute, Self::Memory, Self::Link, Self::LinkLatency, Self::Copy, Self::LaunchLatency, Self::Host];

    /// Its name in texts.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
            Self::Link => "link",
            Self::LinkLatency => "link-latency",
            Self::Copy => "copy",
            Self::LaunchLatency => "launch-latency",
            Self::Host => "host",
        }
    }

    /// What it is, for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Compute => "compute rate",
            Self::Memory => "memory bandwidth",
            Self::Link => "link bandwidth",
            Self::LinkLatency => "link latency",
            Self::Copy => "host-device bandwidth",
            Self::LaunchLatency => "launch latency",
            Self::Host => "host speed",
        }
    }

    /// From its name in texts; `hbm` and `nvlink` too.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        match label {
            "hbm" => Some(Self::Memory),
            "nvlink" | "network" => Some(Self::Link),
            "pcie" => Some(Self::Copy),
            _ => Self::ALL.into_iter().find(|axis| axis.label() == label),
        }
    }
}

/// Part of each kernel that scales with no rate, in ns (design, §3(d)9).
const FLOOR_NS: f64 = crate::edits::FLOOR_NS;

/// Times as they would be with other rates, 1.0 for each that stays.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    rates: [f64; Axis::ALL.len()],
}

impl Default for Machine {
    fn default() -> Self {
        Self { rates: [1.0; Axis::ALL.len()] }
    }
}

impl Machine {
    /// The recorded machine with `rate` times as much of one thing.
    #[must_use]
    pub fn with(mut self, axis: Axis, rate: f64) -> Self {
        if let Some(slot) = self.rates.get_mut(axis as usize) {
            *slot = rate;
        }
        self
    }

    fn rate(&self, axis: Axis) -> f64 {
        self.rates.get(axis as usize).copied().unwrap_or(1.0)
    }
}

/// A study with what a change of the machine needs, computed once.
#[derive(Debug)]
pub struct Codesign<'s, 't> {
    study: &'s Study<'t>,
    alpha: Alpha,
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Rate, as a factor of the recorded one.
    pub rate: f64,
    /// Mean step, in ns.
    pub mean_step_ns: f64,
}

/// Step time along one axis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// The axis.
    pub axis: Axis,
    /// Points from the least to the greatest rate; between two the step is linear in 1 ÷ rate.
    pub points: Vec<Point>,
    /// Rates at which the next bottleneck takes over, ascending.
    pub breaks: Vec<f64>,
    /// Share of the step that follows this axis: −d ln(step) ÷ d ln(rate) at the recorded rate, from above.
    pub elasticity: f64,
    /// Mean step with twice the rate, in ns.
    pub doubled_ns: f64,
    /// Mean step with an endless rate, in ns.
    pub endless_ns: f64,
}

impl<'s, 't> Codesign<'s, 't> {
    /// Prepares.
    #[must_use]
    pub fn new(study: &'s Study<'t>) -> Self {
        Self { study, alpha: Alpha::new(study) }
    }

    /// Mean step on a machine, in ns.
    #[must_use]
    pub fn step_ns(&self, machine: &Machine) -> f64 {
        figures(&self.draft(machine)).map_or(f64::NAN, |figures| figures.mean_step_ns)
    }

    /// The recording on a machine.
    #[must_use]
    pub fn draft(&self, machine: &Machine) -> Draft<'s> {
        let study = self.study;
        let graph = study.graph();
        let mut draft = Draft::new(graph);
        let scaled = |dur: f64, floor: f64, axis: Axis| {
            let floor = floor.min(dur);
            floor + (dur - floor) / machine.rate(axis)
        };
        let changes = |axes: &[Axis]| axes.iter().any(|&axis| (machine.rate(axis) - 1.0).abs() > f64::EPSILON);
        let durations = changes(&[Axis::Compute, Axis::Memory, Axis::Link, Axis::LinkLatency, Axis::Copy, Axis::Host]);
        for id in graph.node_ids().filter(|_| durations) {
            let kind = graph.node(id).kind;
            let dur = draft.duration_ns(id) as f64;
            let new = match kind {
                NodeKind::Kernel if study.facts().class(id).is_arithmetic() => scaled(dur, FLOOR_NS, Axis::Compute),
                NodeKind::Kernel | NodeKind::Fill => scaled(dur, FLOOR_NS, Axis::Memory),
                NodeKind::Copy => scaled(dur, FLOOR_NS, Axis::Copy),
                NodeKind::Transfer => {
                    let instance = study.facts().instance(id).and_then(|place| study.collectives().get(place));
                    let alpha = instance.map_or(0.0, |instance| self.alpha.of(study, instance)).min(dur);
                    alpha / machine.rate(Axis::LinkLatency) + (dur - alpha) / machine.rate(Axis::Link)
                }
                kind if kind.is_host_work() => dur / machine.rate(Axis::Host),
                _ => continue,
            };
            draft.set_duration(id, new.round() as i64);
        }
        if changes(&[Axis::LaunchLatency]) {
            for id in graph.node_ids() {
                for edge in graph.edges_to(id).filter(|edge| edge.kind == EdgeKind::Launch) {
                    if let Some(lag) = draft.lag_ns(edge.index) {
                        let new = lag as f64 / machine.rate(Axis::LaunchLatency);
                        draft.set_lag(edge.index, Some(new.round() as i64));
                    }
                }
            }
        }
        draft
    }

    /// Step time along an axis between two rates.
    #[must_use]
    pub fn curve(&self, axis: Axis, from: f64, to: f64) -> Curve {
        let at = |s: f64| self.step_ns(&Machine::default().with(axis, 1.0 / s.max(1e-9)));
        let (s0, s1) = (1.0 / to.max(from), 1.0 / from.min(to));
        let base = self.study.base().mean_step_ns;
        let mut points = vec![(s0, at(s0))];
        refine(&at, (s0, at(s0)), (s1, at(s1)), base * TOLERANCE, 0, &mut points);
        points.push((s1, at(s1)));
        // The recorded rate and its double are always there.
        for s in [1.0, 0.5] {
            if (s0..=s1).contains(&s) && points.iter().all(|point| (point.0 - s).abs() > 1e-9) {
                points.push((s, at(s)));
            }
        }
        points.sort_by(|a, b| b.0.total_cmp(&a.0));
        let slope = |a: (f64, f64), b: (f64, f64)| (a.1 - b.1) / (a.0 - b.0);
        let mut breaks = Vec::new();
        for three in points.windows(3) {
            let [a, b, c] = *three else { continue };
            let (before, after) = (slope(a, b), slope(b, c));
            // A change of slope by less than 2 % of the step is none that anybody could see.
            if (before - after).abs() > 0.02 * base {
                breaks.push(1.0 / b.0);
            }
        }
        const STEP: f64 = 1.02;
        let elasticity = -(at(1.0 / STEP).ln() - at(1.0).ln()) / STEP.ln();
        Curve {
            axis,
            points: points.into_iter().map(|(s, mean_step_ns)| Point { rate: 1.0 / s, mean_step_ns }).collect(),
            breaks,
            elasticity,
            doubled_ns: at(0.5),
            endless_ns: at(1e-9),
        }
    }

    /// All axes, those that help most when doubled first. Ranges of `wanted`, else from half to four times the rate.
    #[must_use]
    pub fn curves(&self, wanted: &[(Axis, f64, f64)]) -> Vec<Curve> {
        let ranges: Vec<(Axis, f64, f64)> =
            if wanted.is_empty() { Axis::ALL.map(|axis| (axis, 0.5, 4.0)).to_vec() } else { wanted.to_vec() };
        let mut curves: Vec<Curve> =
            ranges.into_par_iter().map(|(axis, from, to)| self.curve(axis, from, to)).collect();
        curves.sort_by(|a, b| a.doubled_ns.total_cmp(&b.doubled_ns).then(a.axis.cmp(&b.axis)));
        curves
    }
}

/// How far a chord may be from the curve, as a share of the step, before the curve is cut.
const TOLERANCE: f64 = 0.002;
/// How often it is cut at most.
const DEPTH: u32 = 5;

/// Adds points between two until chords follow the curve.
fn refine(
    at: &impl Fn(f64) -> f64,
    a: (f64, f64),
    b: (f64, f64),
    tolerance: f64,
    depth: u32,
    points: &mut Vec<(f64, f64)>,
) {
    if depth >= DEPTH {
        return;
    }
    // Where the tangents meet is the break, if there is only one.
    let small = (b.0 - a.0) * 0.02;
    let from_left = (at(a.0 + small) - a.1) / small;
    let from_right = (b.1 - at(b.0 - small)) / small;
    let meet = if (from_right - from_left).abs() > f64::EPSILON {
        (a.1 - b.1 + from_right * b.0 - from_left * a.0) / (from_right - from_left)
    } else {
        f64::midpoint(a.0, b.0)
    };
    let s = if meet > a.0 + small && meet < b.0 - small { meet } else { f64::midpoint(a.0, b.0) };
    let point = (s, at(s));
    let chord = a.1 + (b.1 - a.1) * (s - a.0) / (b.0 - a.0);
    if (chord - point.1).abs() <= tolerance {
        return;
    }
    refine(at, a, point, tolerance, depth + 1, points);
    points.push(point);
    refine(at, point, b, tolerance, depth + 1, points);
}
