//! The roofline of one rank as its tab shows it: operators against the limits of their device, worked out beside the
//! frames.

use std::sync::Arc;

use gapless_roofline::{Bound, HardwareTable, OperatorClass, OperatorGroup, Roofline};
use gapless_trace::{Duration, EventId, RankId, Trace};

use crate::BottomTab;
use crate::format::{counted, duration_f64, figure, percent, three_figures};
use crate::update::Model;

/// Operators that are shown, those with the most device time.
pub const MOST_OPERATORS: usize = 1_000;

/// All calls of an operator with the same inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorPoint {
    /// Its name.
    pub name: String,
    /// Its tensors in words.
    pub shapes: String,
    /// How often it was called.
    pub calls: u64,
    /// How long its device work ran.
    pub device: Duration,
    /// That ÷ the device time of the rank, 0 to 1.
    pub share: f64,
    /// What limits it; `None` where the device is not known.
    pub bound: Option<Bound>,
    /// FLOPs for each byte; 0 if it only moves data.
    pub flops_per_byte: f64,
    /// FLOPs a second that were reached.
    pub flops_per_s: f64,
    /// Bytes a second that were reached.
    pub bytes_per_s: f64,
    /// How many times as fast as measured good kernels would be.
    pub attainable_factor: Option<f64>,
    /// Its time above what good kernels would take.
    pub headroom: Option<Duration>,
    /// Whether it is faster than its device can be.
    pub is_impossible: bool,
    /// Its longest call.
    pub longest: Option<EventId>,
}

impl OperatorPoint {
    fn new(group: &OperatorGroup) -> Option<Self> {
        // What communicates is limited by links and by other ranks, and the host's link is no memory of the device.
        if matches!(group.class, OperatorClass::Communication | OperatorClass::Copy) || group.device_ns <= 0 {
            return None;
        }
        group.cost?;
        let attainable = group.attainable_ns.filter(|ns| *ns > 0.0);
        Some(Self {
            name: group.name.clone(),
            shapes: group.shapes.clone(),
            calls: group.calls,
            device: Duration(group.device_ns),
            share: group.share,
            bound: group.bound,
            flops_per_byte: group.flops_per_byte.unwrap_or_default(),
            flops_per_s: group.tflops_per_s.unwrap_or_default() * 1e12,
            bytes_per_s: group.gb_per_s.unwrap_or_default() * 1e9,
            attainable_factor: attainable.map(|ns| group.device_ns as f64 / ns),
            headroom: group.headroom_ns.map(duration_f64),
            is_impossible: group.is_impossible,
            longest: group.longest,
        })
    }

    /// Whether it has a place on a plot whose axes are logarithmic.
    #[must_use]
    pub fn is_on_plot(&self) -> bool {
        self.flops_per_byte > 0.0 && self.flops_per_s > 0.0
    }

    /// What it reached and what is attainable: `641 of 742 TFLOP/s attainable`.
    #[must_use]
    pub fn rates(&self) -> String {
        let (rate, unit) = if self.is_on_plot() { (self.flops_per_s, "FLOP/s") } else { (self.bytes_per_s, "B/s") };
        match self.attainable_factor {
            Some(factor) => format!("{} of {} attainable", rate_text(rate, unit), rate_text(rate * factor, unit)),
            None => rate_text(rate, unit),
        }
    }

    /// All that is known of it, line by line, its name aside.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "{}, {} on the device, {} of the rank's",
                counted(self.calls, "call", "calls"),
                self.device,
                percent(self.share)
            ),
            self.rates(),
        ];
        if self.is_on_plot() {
            lines.push(format!("{} FLOP/byte", figure(self.flops_per_byte)));
        } else {
            lines.push("It computes nothing, so it has no place on the plot".to_owned());
        }
        if let (Some(bound), Some(headroom)) = (self.bound, self.headroom) {
            lines.push(format!("Limited by {}, {headroom} above what good kernels take", limit(bound)));
        }
        if self.is_impossible {
            lines.push(
                "Faster than the device can be: a wrong shape, data that stayed in caches, sparsity or a clock"
                    .to_owned(),
            );
        }
        lines
    }
}

/// What a bound means, for the middle of a sentence.
#[must_use]
pub const fn limit(bound: Bound) -> &'static str {
    match bound {
        Bound::Compute => "arithmetic",
        Bound::Memory => "memory",
        Bound::Link => "links",
        Bound::Latency => "latency",
    }
}

/// The limits of the device.
#[derive(Clone, Debug, PartialEq)]
pub struct Roofs {
    /// Bytes a second of its memory.
    pub bytes_per_s: f64,
    /// Its dense peaks that operators of the rank were measured against: name and FLOPs a second, ascending.
    pub peaks: Vec<(&'static str, f64)>,
}

/// The roofline of one rank.
#[derive(Clone, Debug, PartialEq)]
pub struct RooflineView {
    /// The rank.
    pub rank: RankId,
    /// The limits of its device; `None` where they are not known.
    pub roofs: Option<Roofs>,
    /// Its device, or why it is not known.
    pub device: String,
    /// What to know about the device's figures, in sentences.
    pub doubts: Vec<String>,
    /// What is most worth knowing.
    pub summary: String,
    /// Operators with known costs, those with the most headroom first.
    pub operators: Vec<OperatorPoint>,
    /// Operators that are left out for there being too many.
    pub left_out: usize,
    /// Why there is nothing to show, and what to do.
    pub empty: Option<String>,
}

impl RooflineView {
    /// The roofline of `rank` on the device that its header names.
    #[must_use]
    pub fn new(trace: &Trace, rank: RankId) -> Self {
        let found = Roofline::new(trace, rank, &HardwareTable::builtin());
        let mut operators: Vec<OperatorPoint> = found.groups.iter().filter_map(OperatorPoint::new).collect();
        // Groups come by device time, so what is cut off is the least.
        let left_out = operators.len().saturating_sub(MOST_OPERATORS);
        operators.truncate(MOST_OPERATORS);
        operators.sort_by_key(|point| (std::cmp::Reverse(point.headroom), std::cmp::Reverse(point.device)));
        let (device, doubts) = device(&found);
        Self {
            rank,
            roofs: roofs(&found),
            device,
            doubts,
            summary: summary(&found),
            empty: operators.is_empty().then(|| nothing(&found)),
            operators,
            left_out,
        }
    }
}

fn roofs(found: &Roofline) -> Option<Roofs> {
    let gpu = &found.device.as_ref()?.gpu;
    let mut precisions: Vec<_> = found.groups.iter().filter_map(|group| group.precision).collect();
    precisions.sort_unstable();
    precisions.dedup();
    let mut peaks: Vec<_> =
        precisions.into_iter().filter_map(|precision| Some((precision.label(), gpu.peak(precision)?))).collect();
    peaks.sort_by(|a, b| a.1.total_cmp(&b.1));
    Some(Roofs { bytes_per_s: gpu.memory_bytes_per_s()?, peaks })
}

/// The device in a line, and what to know about its figures.
fn device(found: &Roofline) -> (String, Vec<String>) {
    let Some(device) = &found.device else {
        let reason = found.no_device.as_deref().unwrap_or("the device is not known");
        return (format!("No roofs: {reason} (options of gapless roofline)"), Vec::new());
    };
    let mut doubts = device.notes.clone();
    let doubtful = device.gpu.doubtful();
    for (is_unsure, text) in [(true, "Sources dispute"), (false, "Not checked against a datasheet:")] {
        let names: Vec<_> =
            doubtful.iter().filter(|(_, fact)| fact.unsure == is_unsure).map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            doubts.push(format!("{text} {}", names.join(", ")));
        }
    }
    doubts.extend(device.gpu.note.clone());
    (device.gpu.name.clone(), doubts)
}

/// How much time is above what good kernels take, and how much of the device the model uses.
fn summary(found: &Roofline) -> String {
    let headroom: f64 = found.groups.iter().filter_map(|group| group.headroom_ns).sum();
    let mut text = format!("Device work of {}", Duration(found.device_ns));
    if found.device.is_some() {
        text.push_str(&format!(", {} above what good kernels take", duration_f64(headroom)));
    }
    text.push_str(&format!(". FLOPs and bytes are known for {} of what computes.", percent(1.0 - found.unknown_share)));
    if let Some(mfu) = found.utilisation.mfu {
        let least = if found.utilisation.unknown_share > 0.0 { "at least " } else { "" };
        let window = if found.utilisation.window_is_steps { "the steps" } else { "first to last device work" };
        text.push_str(&format!(" MFU {least}{} over {window}.", percent(mfu)));
    }
    text
}

/// Why no operator has a cost, and what to do.
fn nothing(found: &Roofline) -> String {
    if found.device_ns == 0 {
        return "No device work in this rank".to_owned();
    }
    if found.groups.iter().all(|group| group.operator.inputs.is_empty()) {
        return "The recording has no shapes of inputs, from which FLOPs and bytes of operators follow. Record with \
                torch.profiler.profile(record_shapes=True), or some steps with gapless record --detail-steps 100:103"
            .to_owned();
    }
    let reason = found.groups.iter().find_map(|group| group.unknown.as_deref());
    format!("FLOPs and bytes of no operator are known: {}", reason.unwrap_or("no operator computes"))
}

/// A rate with a decimal prefix: `641 TFLOP/s`.
#[must_use]
pub fn rate_text(per_s: f64, unit: &str) -> String {
    let scales = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (scale, prefix) = scales.into_iter().find(|(scale, _)| per_s >= scale * 0.9995).unwrap_or((1.0, ""));
    format!("{} {prefix}{unit}", three_figures(per_s / scale))
}

impl Model {
    /// Works out the roofline of the rank of the tables, if its tab is open and shows another one.
    pub(crate) fn want_roofline(&mut self) {
        let Some(loaded) = &mut self.state.loaded else { return };
        // Which rank the tables are about is decided by the report.
        if self.state.tab != BottomTab::Roofline
            || loaded.report.is_none()
            || loaded.roofline_of == Some(loaded.table_rank)
        {
            return;
        }
        loaded.roofline_of = Some(loaded.table_rank);
        loaded.roofline = None;
        self.jobs.roofline(loaded.generation, Arc::clone(&loaded.trace), loaded.table_rank);
    }

    /// Takes a roofline over, unless another rank was chosen or the recording grew meanwhile.
    pub(crate) fn take_roofline(&mut self, trace: &Arc<Trace>, view: Arc<RooflineView>) {
        let Some(loaded) = &mut self.state.loaded else { return };
        if Arc::ptr_eq(&loaded.trace, trace) && loaded.roofline_of == Some(view.rank) {
            loaded.roofline = Some(view);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_figures_read_well() {
        assert_eq!(rate_text(641.4e12, "FLOP/s"), "641 TFLOP/s");
        assert_eq!(rate_text(3.35e12, "B/s"), "3.35 TB/s");
        assert_eq!(rate_text(999.9e9, "B/s"), "1.00 TB/s");
        assert_eq!(rate_text(12.0, "B/s"), "12.0 B/s");
        assert_eq!((figure(0.125), figure(1_365.3), figure(0.000_3)), ("0.12".into(), "1,365".into(), "3.0e-4".into()));
    }
}
