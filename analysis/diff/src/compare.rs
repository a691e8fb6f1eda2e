//! The comparison as one value.

use std::collections::BTreeMap;

use gapless_analysis::graph::NodeKind;
use gapless_trace::{EventId, EventKind, Trace};
use serde::{Serialize, Serializer};

use crate::align;
use crate::cause::Cause;
use crate::groups::{Finder, Group, Sample};
use crate::label::Names;
use crate::noise::{Verdict, judge, shift, typical, typical_ns};
use crate::side::{Recording, Side, alike, hash, shapes};
use crate::split::{rounded, split};
use crate::waits::shared;

/// What matters to a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiffOptions {
    /// A change of the typical step below this share is no change.
    ///
    /// 1 %: what runs of one program on one machine differ by from day to day is of this size.
    pub least_effect: f64,
    /// If the change surely lies within ± this share, there is none.
    pub equal_within: f64,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self { least_effect: 0.01, equal_within: 0.03 }
    }
}

/// One step of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepLength {
    /// Its name in the trace.
    pub name: String,
    /// Its number, where it has one.
    pub number: Option<u64>,
    /// Its length, in ns.
    pub ns: i64,
    /// Whether it is one of those that make the typical step.
    pub is_typical: bool,
}

/// What one recording shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Its steps, by time.
    pub steps: Vec<StepLength>,
    /// Length of its typical step, in ns.
    pub typical_ns: i64,
    /// Number of ranks.
    pub ranks: u64,
    /// Names of its devices, each once.
    pub devices: Vec<String>,
    /// Hash of what a typical step does: operators, calls, marks; in hexadecimal.
    pub signature: String,
}

/// How sure it is that a row's work changed at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sureness {
    /// Its time per step changed by more than steps vary (99 %).
    BeyondNoise,
    /// It may be noise.
    WithinNoise,
    /// There are too few steps to tell, or it has no time of its own.
    Unknown,
}

/// Where a change can be seen: events of both traces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The event in the base; `None` if only the new recording has it.
    #[serde(serialize_with = "maybe_event")]
    pub base_event: Option<EventId>,
    /// The name of that event; empty without one.
    pub base_name: String,
    /// The event in the new recording; `None` if only the base has it.
    #[serde(serialize_with = "maybe_event")]
    pub new_event: Option<EventId>,
    /// The name of that event; empty without one.
    pub new_name: String,
    /// Its time in the base, in ns.
    pub base_ns: i64,
    /// Its time in the new recording, in ns.
    pub new_ns: i64,
    /// Shapes of the operator's inputs in the base, where the file has them and they changed.
    pub base_shapes: Option<String>,
    /// Shapes in the new recording.
    pub new_shapes: Option<String>,
}

/// A share of a row: one kernel, operator, call or collective.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detail {
    /// Its name: `aten::mm · volta_sgemm_128x32_nt`.
    pub name: String,
    /// What it adds to the step, in ns.
    pub part_ns: i64,
    /// Its time in a typical step of the base over all ranks, in ns; not its effect on the step.
    pub base_ns: i64,
    /// Its time in a typical step of the new recording, in ns.
    pub new_ns: i64,
    /// Pieces in a step of the base, on average.
    pub base_count: f64,
    /// Pieces in a step of the new recording, on average.
    pub new_count: f64,
    /// Whether its time changed by more than noise.
    pub sureness: Sureness,
    /// The rank (its number in the job) of which nearly all of the change is, in recordings of several.
    pub rank: Option<u32>,
    /// The pairs that differ most in typical steps.
    pub evidence: Vec<Evidence>,
}

/// One bar of the waterfall.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The kind of reason.
    pub cause: Cause,
    /// Class of kernels; empty for other causes.
    pub class: String,
    /// What it adds to the step, in ns; negative if it saves time.
    pub part_ns: i64,
    /// `part_ns` ÷ length of the base's typical step.
    pub share: f64,
    /// Its time in a typical step of the base over all ranks, in ns; not its effect on the step.
    pub base_ns: i64,
    /// Its time in a typical step of the new recording, in ns.
    pub new_ns: i64,
    /// Whether its time changed by more than noise.
    pub sureness: Sureness,
    /// What it consists of, by size of the part.
    pub details: Vec<Detail>,
}

impl Row {
    /// Its name for people.
    #[must_use]
    pub fn label(&self) -> String {
        if self.class.is_empty() {
            self.cause.label().to_owned()
        } else {
            format!("{}: {}", self.cause.label(), self.class)
        }
    }
}

/// Collectives of one kind, in a typical step over all ranks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CollectiveChange {
    /// Its kind (`allreduce`), or the kernel's name where the file does not say it.
    pub name: String,
    /// Time in which members waited for others, in ns. With one rank it is estimated.
    pub base_wait_ns: i64,
    /// The same in the new recording.
    pub new_wait_ns: i64,
    /// Time in which data moved, in ns.
    pub base_transfer_ns: i64,
    /// The same in the new recording.
    pub new_transfer_ns: i64,
}

/// How far the recordings show one program.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Alignment {
    /// Steps of the base (by place) and those of the new recording that they were compared with.
    pub steps: Vec<(usize, usize)>,
    /// Ranks of the base and of the new recording (by place) that were compared.
    pub ranks: Vec<(u32, u32)>,
    /// Share of the base's device time that has a counterpart; `None` without device work.
    pub base_share: Option<f64>,
    /// Share of the new recording's device time that has one.
    pub new_share: Option<f64>,
    /// Whether the sequences of calls are not the same.
    pub sequences_differ: bool,
}

/// What made the steps of one recording slower or faster than those of another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diff {
    /// The base.
    pub base: Recorded,
    /// The new recording.
    pub new: Recorded,
    /// Change of the typical step, in ns.
    pub delta_ns: i64,
    /// What can be said about it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The waterfall, largest part first; parts sum to `delta_ns` exactly. Rows without part are things that changed
    /// without an effect on the step.
    pub rows: Vec<Row>,
    /// Collectives, if there are any.
    pub collectives: Vec<CollectiveChange>,
    /// How far the recordings show one program.
    pub alignment: Alignment,
    /// What the reader should know.
    pub notes: Vec<String>,
}

fn maybe_event<S: Serializer>(event: &Option<EventId>, serializer: S) -> Result<S::Ok, S::Error> {
    event.map(|event| event.0).serialize(serializer)
}

/// Groups that get a replay of their own, by the size of both graphs; what matters less goes together.
const fn most_groups(size: usize) -> usize {
    match size {
        0..2_000_000 => 64,
        2_000_000..20_000_000 => 24,
        _ => 10,
    }
}

/// Calls above which shapes are not read for the alignment: each costs a look into the file.
const MOST_SHAPES: usize = 200_000;
/// A change of less than this share of the step, without effect on it, is not listed.
const LEAST_HIDDEN: f64 = 0.002;
/// Below this share of device time with a counterpart the reader is warned.
const LEAST_COVERED: f64 = 0.5;
const OTHERS: &str = "others";

/// Compares two recordings.
#[must_use]
pub fn diff<'t>(base: &Recording<'t>, new: &Recording<'t>, options: &DiffOptions) -> Diff {
    let (base_alike, new_alike) = alike(base, new);
    let (base, new) = (base_alike.as_ref().unwrap_or(base), new_alike.as_ref().unwrap_or(new));
    let (base_lengths, new_lengths) = (base.step_lengths(), new.step_lengths());
    let (of_base, of_new) = (typical(&base_lengths), typical(&new_lengths));
    let count = |recording: &Recording<'_>| recording.trace.launches().len();
    let with_shapes = count(base).max(count(new)) <= MOST_SHAPES;
    let sides = |base, new| rayon::join(|| Side::new(base, with_shapes), || Side::new(new, with_shapes));
    let lengths = (base_lengths.as_slice(), new_lengths.as_slice());
    let (base_more, new_more) = {
        let (base_side, new_side) = sides(base, new);
        let aligned = align::Alignment::new(&base_side, &new_side, lengths);
        shared((base, &base_side), (new, &new_side), &aligned)
    };
    let (base, new) = (base_more.as_ref().unwrap_or(base), new_more.as_ref().unwrap_or(new));
    let (base_side, new_side) = sides(base, new);
    let aligned = align::Alignment::new(&base_side, &new_side, lengths);
    let mut finder = Finder::new(&base_side, &new_side, &aligned, [&of_base, &of_new]);
    finder.find();
    let coverage = finder.coverage;
    let (groups, names) = (std::mem::take(&mut finder.groups), std::mem::take(&mut finder.names));
    let mut names = names;
    let groups = fewer(groups.into_values().collect(), &mut names, size(base) + size(new));
    let found = split(&base.graph, &new.graph, [&of_base, &of_new], &groups);
    let delta_ns = typical_ns(&new_lengths).saturating_sub(typical_ns(&base_lengths));
    let mut parts = found.parts;
    parts.push(found.rest);
    let mut parts = rounded(&parts, found.unit, delta_ns);
    let rest = parts.pop().unwrap_or_default();
    let maker = Maker {
        traces: [base.trace, new.trace],
        names: &names,
        typical: [&of_base, &of_new],
        steps: [base_lengths.len(), new_lengths.len()],
        whole: typical_ns(&base_lengths),
    };
    let is_structural = coverage.odd_edges > 0 || groups.iter().any(|group| group.cause.is_structural());
    let mut rows = maker.rows(groups, &parts, rest, if is_structural { Cause::Overlap } else { Cause::Unexplained });
    rows.sort_by(|a, b| {
        let size = |row: &Row| (row.part_ns.saturating_abs(), row.new_ns.saturating_sub(row.base_ns).saturating_abs());
        size(b).cmp(&size(a)).then_with(|| (a.cause, &a.class).cmp(&(b.cause, &b.class)))
    });
    let share = |(all, covered): (i64, i64)| (all > 0).then(|| covered as f64 / all as f64);
    let alignment = Alignment {
        steps: aligned.steps.iter().copied().enumerate().collect(),
        ranks: aligned.ranks.clone(),
        base_share: share(coverage.base),
        new_share: share(coverage.new),
        sequences_differ: aligned.sequences_differ,
    };
    let (base_recorded, new_recorded) =
        (recorded(&base_side, &base_lengths, &of_base), recorded(&new_side, &new_lengths, &of_new));
    Diff {
        notes: notes(&base_recorded, &new_recorded, &alignment, (base, new)),
        base: base_recorded,
        new: new_recorded,
        delta_ns,
        verdict: judge(&base_lengths, &new_lengths, options.least_effect, options.equal_within),
        rows,
        collectives: collectives([&base_side, &new_side], [&of_base, &of_new]),
        alignment,
    }
}

fn size(recording: &Recording<'_>) -> usize {
    recording.graph.len() + recording.graph.edge_count()
}

/// Puts together what matters little, and tells faster kernels from slower ones.
fn fewer(groups: Vec<Group>, names: &mut Names, size: usize) -> Vec<Group> {
    let mut groups = groups;
    for group in &mut groups {
        if group.cause == Cause::SlowerKernels {
            let mean = |sums: &[i64]| sums.iter().map(|&sum| i128::from(sum)).sum::<i128>();
            let [base, new] = &group.sums;
            // Compared as means, without a division.
            if mean(new) * (base.len() as i128) < mean(base) * new.len() as i128 {
                group.cause = Cause::FasterKernels;
            }
        }
    }
    groups.sort_by_key(|group| (std::cmp::Reverse(group.weight()), group.cause, group.class, group.name));
    let most = most_groups(size);
    let others = names.of(OTHERS);
    let mut kept: Vec<Group> = Vec::new();
    for (place, mut group) in groups.into_iter().enumerate() {
        if place < most {
            kept.push(group);
            continue;
        }
        let same = |other: &&mut Group| (other.cause, other.class, other.name) == (group.cause, group.class, others);
        match kept.iter_mut().find(same) {
            Some(other) => other.absorb(group),
            None => {
                group.name = others;
                kept.push(group);
            }
        }
    }
    // The order of the chain is one of causes, whatever their sizes.
    kept.sort_by_key(|group| (group.cause, group.class, group.name));
    kept
}

/// A row in the making: its part, its time in each step of both sides, what it consists of.
type Draft = (i64, [Vec<i64>; 2], Vec<Detail>);

/// Makes rows of groups.
struct Maker<'a> {
    traces: [&'a Trace; 2],
    names: &'a Names,
    typical: [&'a [usize]; 2],
    steps: [usize; 2],
    whole: i64,
}

impl Maker<'_> {
    /// Mean over the typical steps.
    fn per_step(&self, sums: &[Vec<i64>; 2]) -> [i64; 2] {
        let mut means = [0; 2];
        for ((mean, sums), typical) in means.iter_mut().zip(sums).zip(self.typical) {
            let sum: i128 = typical.iter().filter_map(|&step| sums.get(step)).map(|&sum| i128::from(sum)).sum();
            *mean = i64::try_from(sum / typical.len().max(1) as i128).unwrap_or_default();
        }
        means
    }

    fn sureness(&self, sums: &[Vec<i64>; 2]) -> Sureness {
        let [base, new] = sums;
        match shift(base, new) {
            _ if base == new => Sureness::WithinNoise,
            None => Sureness::Unknown,
            Some((low, high)) if low > 0.0 || high < 0.0 => Sureness::BeyondNoise,
            Some(_) => Sureness::WithinNoise,
        }
    }

    fn rows(&self, groups: Vec<Group>, parts: &[i64], rest: i64, rest_cause: Cause) -> Vec<Row> {
        let mut by_row: BTreeMap<(Cause, String), Draft> = BTreeMap::new();
        for (group, &part) in groups.iter().zip(parts) {
            let class = self.names.text(group.class).to_owned();
            let empty = || (0, group.sums.clone().map(|sums| vec![0; sums.len()]), Vec::new());
            let row = by_row.entry((group.cause, class)).or_insert_with(empty);
            row.0 = i64::saturating_add(row.0, part);
            for (sums, more) in row.1.iter_mut().zip(&group.sums) {
                for (sum, more) in sums.iter_mut().zip(more) {
                    *sum = sum.saturating_add(*more);
                }
            }
            let detail = self.detail(group, part);
            if part != 0 || detail.base_ns != detail.new_ns {
                row.2.push(detail);
            }
        }
        let hidden = (self.whole as f64 * LEAST_HIDDEN) as i64;
        if rest != 0 {
            let [base, new] = self.steps;
            by_row
                .entry((rest_cause, String::new()))
                .or_insert_with(|| (0, [vec![0; base], vec![0; new]], Vec::new()))
                .0 += rest;
        }
        let row = |((cause, class), (part_ns, sums, mut details)): ((Cause, String), Draft)| {
            let [base_ns, new_ns] = self.per_step(&sums);
            let sureness = self.sureness(&sums);
            let is_hidden =
                sureness == Sureness::BeyondNoise && new_ns.saturating_sub(base_ns).saturating_abs() > hidden;
            details.sort_by(|a, b| {
                let size = |detail: &Detail| {
                    (detail.part_ns.saturating_abs(), detail.new_ns.saturating_sub(detail.base_ns).saturating_abs())
                };
                size(b).cmp(&size(a)).then_with(|| a.name.cmp(&b.name))
            });
            let share = part_ns as f64 / self.whole.max(1) as f64;
            (part_ns != 0 || is_hidden).then_some(Row {
                cause,
                class,
                part_ns,
                share,
                base_ns,
                new_ns,
                sureness,
                details,
            })
        };
        by_row.into_iter().filter_map(row).collect()
    }

    fn detail(&self, group: &Group, part_ns: i64) -> Detail {
        let [base_ns, new_ns] = self.per_step(&group.sums);
        let [base_count, new_count] = group.counts;
        let [base_steps, new_steps] = self.steps;
        Detail {
            name: self.names.text(group.name).to_owned(),
            part_ns,
            base_ns,
            new_ns,
            base_count: base_count as f64 / base_steps.max(1) as f64,
            new_count: new_count as f64 / new_steps.max(1) as f64,
            sureness: self.sureness(&group.sums),
            rank: self.mostly(group),
            evidence: group.samples.iter().map(|sample| self.evidence(sample)).collect(),
        }
    }

    /// The rank of which at least three quarters of the change are.
    fn mostly(&self, group: &Group) -> Option<u32> {
        let [base_steps, new_steps] = self.steps.map(|steps| steps.max(1) as f64);
        let change = |&[base, new]: &[i64; 2]| (new as f64 / new_steps - base as f64 / base_steps).abs();
        let all: f64 = group.by_rank.values().map(change).sum();
        let (rank, most) =
            group.by_rank.iter().map(|(rank, sums)| (rank, change(sums))).max_by(|a, b| a.1.total_cmp(&b.1))?;
        let [trace, _] = self.traces;
        let number = trace.ranks().get(*rank as usize)?.number;
        (group.by_rank.len() > 1 && most > 0.75 * all).then_some(number.unwrap_or(*rank))
    }

    fn evidence(&self, sample: &Sample) -> Evidence {
        let [base, new] = self.traces;
        let base_shapes = sample.base.and_then(|event| operator_shapes(base, event));
        let new_shapes = sample.new.and_then(|event| operator_shapes(new, event));
        let changed = base_shapes != new_shapes;
        Evidence {
            base_event: sample.base,
            base_name: sample.base.map_or_else(String::new, |event| base.name(event).to_owned()),
            new_event: sample.new,
            new_name: sample.new.map_or_else(String::new, |event| new.name(event).to_owned()),
            base_ns: sample.base_ns,
            new_ns: sample.new_ns,
            base_shapes: base_shapes.filter(|_| changed),
            new_shapes: new_shapes.filter(|_| changed),
        }
    }
}

/// Shapes of the innermost operator around an event, or around the call that launched it.
fn operator_shapes(trace: &Trace, event: EventId) -> Option<String> {
    let call = trace.launches().launch_of(event).unwrap_or(event);
    let kinds = trace.events().kinds();
    let is_operator = |id: &EventId| kinds.get(id.index()) == Some(&EventKind::Operator);
    let operator = std::iter::once(call).chain(trace.ancestors(call)).find(is_operator)?;
    shapes(trace, operator)
}

impl Recording<'_> {
    /// What it shows.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        let lengths = self.step_lengths();
        recorded(&Side::new(self, false), &lengths, &typical(&lengths))
    }
}

fn recorded(side: &Side<'_>, lengths: &[i64], typical: &[usize]) -> Recorded {
    let names = side.recording.step_names();
    let steps = lengths.iter().zip(names).enumerate().map(|(place, (&ns, (name, number)))| StepLength {
        name,
        number,
        ns,
        is_typical: typical.contains(&place),
    });
    let mut devices: Vec<String> = Vec::new();
    for device in side.trace().ranks().iter().flat_map(|rank| &rank.devices) {
        let name = device.name.clone();
        if !name.is_empty() && !devices.contains(&name) {
            devices.push(name);
        }
    }
    // Of threads in the order of what they do, since their numbers differ from run to run.
    let mut of_threads: Vec<String> = Vec::new();
    for steps in side.threads.values() {
        let step = typical.first().and_then(|&step| steps.get(step));
        let text: Vec<String> =
            step.into_iter().flatten().map(|element| format!("{:x}", element.signatures[2])).collect();
        of_threads.push(text.join(","));
    }
    of_threads.sort_unstable();
    let parts: Vec<&str> = of_threads.iter().map(String::as_str).collect();
    Recorded {
        steps: steps.collect(),
        typical_ns: typical_ns(lengths),
        ranks: side.trace().ranks().len() as u64,
        devices,
        signature: format!("{:016x}", hash(&parts)),
    }
}

fn notes(
    base: &Recorded,
    new: &Recorded,
    alignment: &Alignment,
    sides: (&Recording<'_>, &Recording<'_>),
) -> Vec<String> {
    let mut notes = Vec::new();
    let name = |devices: &[String]| devices.join(", ");
    if base.devices != new.devices && !base.devices.is_empty() && !new.devices.is_empty() {
        notes.push(format!("The devices differ: {} in the base, {} now.", name(&base.devices), name(&new.devices)));
    }
    for (recording, which) in [(sides.0, "base"), (sides.1, "new recording")] {
        if recording.graph.steps().is_empty() {
            notes.push(format!("The {which} has no steps: all of it is compared as one."));
        }
    }
    if base.ranks != new.ranks {
        notes.push(format!(
            "The base has {} and the new recording {}; {} compared.",
            ranks(base.ranks),
            ranks(new.ranks),
            if alignment.ranks.len() == 1 {
                "1 pair is".to_owned()
            } else {
                format!("{} pairs are", alignment.ranks.len())
            }
        ));
    }
    let covered = [alignment.base_share, alignment.new_share].into_iter().flatten().fold(1.0, f64::min);
    if covered < LEAST_COVERED {
        notes.push(format!(
            "Only {:.0} % of the device time has a counterpart: these may be two programs.",
            covered * 100.0
        ));
    }
    notes
}

fn ranks(count: u64) -> String {
    if count == 1 { "1 rank".to_owned() } else { format!("{count} ranks") }
}

/// Waiting and transfer of collectives in typical steps of both sides, by kind.
fn collectives(sides: [&Side<'_>; 2], typical: [&[usize]; 2]) -> Vec<CollectiveChange> {
    let mut by_name: BTreeMap<String, [[i128; 2]; 2]> = BTreeMap::new();
    for (which, (side, typical)) in sides.into_iter().zip(typical).enumerate() {
        let graph = &side.recording.graph;
        for id in graph.node_ids() {
            let node = graph.node(id);
            let is_counted =
                node.kind == NodeKind::Transfer && side.step(id.0).is_some_and(|step| typical.contains(&step));
            if !is_counted {
                continue;
            }
            let Some(event) = node.event else { continue };
            let trace = side.trace();
            let name = trace.collective(event).map_or(trace.name(event), |args| trace.text(args.name));
            // What a kernel, or a thread in a call, takes beyond the transfer is waiting.
            let wait = trace.event(event).dur.nanos().saturating_sub(node.dur_ns).max(0);
            if let Some(sums) = by_name.entry(name.to_owned()).or_default().get_mut(which) {
                sums[0] += i128::from(wait);
                sums[1] += i128::from(node.dur_ns);
            }
        }
    }
    let [of_base, of_new] = typical.map(|typical| typical.len().max(1) as i128);
    let ns = |sum: i128, steps: i128| i64::try_from(sum / steps).unwrap_or(i64::MAX);
    let row = |(name, [base, new]): (String, [[i128; 2]; 2])| CollectiveChange {
        name,
        base_wait_ns: ns(base[0], of_base),
        new_wait_ns: ns(new[0], of_new),
        base_transfer_ns: ns(base[1], of_base),
        new_transfer_ns: ns(new[1], of_new),
    };
    by_name.into_iter().map(row).collect()
}
