//! Operators with the device work that they launched.
//!
//! Device work belongs to the innermost operator around the call that launched it, on the thread of that call; its
//! time also counts in all operators around that one. An operator inside another of the same name (recursion) does not
//! count twice in the totals of the name.

use gapless_trace::{EventId, StrId, Trace};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::host::HostTree;
use crate::interval::Interval;
use crate::kernels::share;
use crate::tables::{Longest, by_time_then_name};
use crate::work::DeviceWork;

/// All calls of an operator.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatorRow {
    /// Its name.
    pub name: String,
    /// How often it was called, inside itself included.
    pub calls: u64,
    /// Time on the host from its begin to its end.
    pub host_total_ns: i64,
    /// `host_total_ns` without the operators inside it; calls into the device's runtime are part of it.
    pub host_self_ns: i64,
    /// Summed durations of the device work launched by it or by operators inside it.
    pub device_total_ns: i64,
    /// Summed durations of the device work launched by it and by no operator inside it.
    pub device_self_ns: i64,
    /// Device work of `device_self_ns`.
    pub device_events: u64,
    /// `device_self_ns` ÷ summed durations of all device work of the rank, 0 to 1.
    pub share: f64,
    /// The device work of `device_self_ns` by name, by time.
    pub kernels: Vec<OperatorKernel>,
    /// The call that took longest on the host, the first of equals.
    #[serde(serialize_with = "crate::ids::event")]
    pub longest_event: EventId,
    /// Start of that call, in ns.
    pub longest_start_ns: i64,
}

/// Device work of one name that an operator launched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperatorKernel {
    /// Its name.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Their summed durations.
    pub sum_ns: i64,
}

/// Device work that belongs to no operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WithoutOperator {
    /// Device work whose launch is not in the recording.
    pub no_launch_events: u64,
    /// Its summed durations.
    pub no_launch_ns: i64,
    /// Device work that was launched outside any operator.
    pub no_operator_events: u64,
    /// Its summed durations.
    pub no_operator_ns: i64,
}

/// What is known of the calls of one name.
#[derive(Clone, Debug, Default)]
struct Sums {
    name: StrId,
    calls: u64,
    host_total: i64,
    host_self: i64,
    device_total: i64,
    device_self: i64,
    device_events: u64,
    /// Places in `Collector::kernels`.
    kernels: Vec<usize>,
}

#[derive(Default)]
struct Collector {
    places: FxHashMap<StrId, usize>,
    sums: Vec<Sums>,
    longest: Vec<Longest>,
    kernel_places: FxHashMap<(StrId, StrId), usize>,
    /// Name, count and time of the device work of one operator name and one kernel name.
    kernels: Vec<(StrId, u64, i64)>,
}

impl Collector {
    fn place(&mut self, name: StrId) -> usize {
        *self.places.entry(name).or_insert_with(|| {
            self.sums.push(Sums { name, ..Sums::default() });
            self.sums.len() - 1
        })
    }

    fn sums(&mut self, name: StrId) -> Option<&mut Sums> {
        let place = self.place(name);
        self.sums.get_mut(place)
    }

    /// Adds device work of the name `kernel` to the operator that launched it.
    fn add_kernel(&mut self, operator: StrId, kernel: StrId, duration: i64) {
        let fresh = self.kernels.len();
        let place = *self.kernel_places.entry((operator, kernel)).or_insert(fresh);
        if place == fresh {
            self.kernels.push((kernel, 0, 0));
        }
        if let Some(row) = self.kernels.get_mut(place) {
            row.1 += 1;
            add(&mut row.2, duration);
        }
        if let Some(sums) = self.sums(operator) {
            add(&mut sums.device_self, duration);
            sums.device_events += 1;
            if place == fresh {
                sums.kernels.push(place);
            }
        }
    }
}

pub(crate) fn rows(trace: &Trace, device: &DeviceWork, host: &HostTree) -> (Vec<OperatorRow>, WithoutOperator) {
    let mut all = Collector::default();
    add_host(trace, host, &mut all);
    let without = add_device(trace, device, host, &mut all);
    let total: f64 = device.work.iter().map(|work| work.duration() as f64).sum();
    let mut rows: Vec<OperatorRow> = Vec::with_capacity(all.sums.len());
    for (sums, longest) in all.sums.iter().zip(&all.longest) {
        let of_place = |&place: &usize| all.kernels.get(place).copied();
        let mut kernels: Vec<_> = sums.kernels.iter().filter_map(of_place).collect();
        kernels.sort_by(|a, b| by_time_then_name((a.2, trace.text(a.0)), (b.2, trace.text(b.0))));
        let kernel = |(name, count, sum_ns)| OperatorKernel { name: trace.text(name).to_owned(), count, sum_ns };
        rows.push(OperatorRow {
            name: trace.text(sums.name).to_owned(),
            calls: sums.calls,
            host_total_ns: sums.host_total,
            host_self_ns: sums.host_self,
            device_total_ns: sums.device_total,
            device_self_ns: sums.device_self,
            device_events: sums.device_events,
            share: share(sums.device_self, total),
            kernels: kernels.into_iter().map(kernel).collect(),
            longest_event: longest.event,
            longest_start_ns: longest.start,
        });
    }
    rows.sort_by(|a, b| {
        by_time_then_name((a.device_self_ns, ""), (b.device_self_ns, ""))
            .then_with(|| by_time_then_name((a.host_self_ns, &a.name), (b.host_self_ns, &b.name)))
    });
    (rows, without)
}

/// Counts and host times. Sees every operator, so that every later look-up of a name finds its place.
fn add_host(trace: &Trace, host: &HostTree, all: &mut Collector) {
    for call in host.operators() {
        let event = trace.event(call.event);
        let duration = event.dur.nanos();
        let place = all.place(event.name);
        Longest::note(&mut all.longest, place, call.event, event.start.nanos(), duration);
        if let Some(sums) = all.sums.get_mut(place) {
            sums.calls += 1;
            add(&mut sums.host_self, duration);
            add(&mut sums.host_total, if call.recursive { 0 } else { duration });
        }
        let Some(outer) = host.operator_around(call.event).map(|outer| trace.event(outer)) else { continue };
        // An operator that was left open ends after the one around it; only what both share is taken away.
        let shared = Interval::new(event.start.nanos(), event.end().min(outer.end()).nanos()).length();
        if let Some(sums) = all.sums(outer.name) {
            sums.host_self = sums.host_self.saturating_sub(shared);
        }
    }
}

/// Times of a damaged file may be absurd; their sums must not overflow.
fn add(sum: &mut i64, ns: i64) {
    *sum = sum.saturating_add(ns);
}

/// Device times. Linear: each operator hands its total on to the one around it, from the inside out.
fn add_device(trace: &Trace, device: &DeviceWork, host: &HostTree, all: &mut Collector) -> WithoutOperator {
    let names = trace.events().names();
    let name_of = |id: EventId| names.get(id.index()).copied().unwrap_or_default();
    let mut without = WithoutOperator::default();
    let mut inside = vec![0_i64; host.operators().len()];
    for work in &device.work {
        let duration = work.duration();
        let Some(launch) = work.launch() else {
            without.no_launch_events += 1;
            add(&mut without.no_launch_ns, duration);
            continue;
        };
        let place = host.place_around(launch);
        let operator = place.and_then(|place| Some((inside.get_mut(place)?, host.operators().get(place)?.event)));
        let Some((inside, operator)) = operator else {
            without.no_operator_events += 1;
            add(&mut without.no_operator_ns, duration);
            continue;
        };
        add(inside, duration);
        all.add_kernel(name_of(operator), name_of(work.event), duration);
    }
    for (place, call) in host.operators().iter().enumerate().rev() {
        let Some(total) = inside.get(place).copied().filter(|&total| total > 0) else { continue };
        if let Some(sums) = all.sums(name_of(call.event)).filter(|_| !call.recursive) {
            add(&mut sums.device_total, total);
        }
        if let Some(outer) = host.place_around(call.event).and_then(|outer| inside.get_mut(outer)) {
            add(outer, total);
        }
    }
    without
}
