//! From a trace to its graph: ranks in parallel, then collectives, then one order for all.

use gapless_trace::{EventId, RankId, Span, Timestamp, Trace};
use rayon::prelude::*;

use super::anchors::Regions;
use super::api::Apis;
use super::assemble::{Raw, assemble};
use super::collective::{Joined, join};
use super::rank::{self, RankGraph, Shared, StepMark};
use super::{Graph, GraphOptions, GraphStep};
use crate::{ClockAlignment, CollectiveInstance, steps};

/// What a graph is built from, beside the trace.
#[derive(Clone, Copy, Debug)]
pub struct GraphInput<'a> {
    /// Puts the times of all ranks on one clock.
    pub clocks: &'a ClockAlignment,
    /// Collectives over the ranks, on that clock.
    pub collectives: &'a [CollectiveInstance],
}

impl Graph {
    /// Builds the execution graph of all ranks of `trace`, in parallel over ranks.
    #[must_use]
    pub fn new(trace: &Trace, input: &GraphInput<'_>, options: &GraphOptions) -> Self {
        let (apis, regions) = (Apis::new(trace), Regions::new(trace));
        let members = members(input.collectives);
        let (mut step_list, marks) = steps_of_ranks(trace, input);
        let clock = |rank: RankId, at: i64, on_device: bool| input.time(rank, at, on_device);
        let shared = Shared { trace, apis: &apis, regions: &regions, options, members: &members, clock: &clock };
        let ranks: Vec<(RankId, Vec<StepMark>)> = trace.rank_ids().map(|(id, _)| id).zip(marks).collect();
        let parts: Vec<RankGraph> =
            ranks.into_par_iter().map(|(rank, marks)| rank::build(&shared, rank, &marks)).collect();
        let mut raw = Raw::default();
        let mut joined: Vec<(u32, Joined)> = Vec::new();
        let mut begins: Vec<(u32, u32)> = Vec::new();
        let mut ends: Vec<(u32, u32)> = Vec::new();
        let mut constants = Vec::with_capacity(parts.len());
        for part in parts {
            let by = raw.append(part.raw);
            joined.extend(part.joined.into_iter().map(|(instance, member)| {
                (instance, Joined { arrival: member.arrival + by, transfer: member.transfer + by, ..member })
            }));
            ends.extend(part.ends.into_iter().map(|(step, node)| (step, node + by)));
            begins.extend(part.begins.into_iter().map(|(step, node)| (step, node + by)));
            constants.push(part.constants);
        }
        // Stable: members of one instance stay in rank order.
        joined.sort_by_key(|entry| entry.0);
        for members in joined.chunk_by(|a, b| a.0 == b.0) {
            let members: Vec<Joined> = members.iter().map(|entry| entry.1).collect();
            join(&mut raw, &members);
        }
        let (mut graph, new_id) = assemble(raw, options.clone());
        for (step, node) in ends {
            if let (Some(step), Some(&node)) = (step_list.get_mut(step as usize), new_id.get(node as usize)) {
                step.ends.push(node);
            }
        }
        for (step, node) in begins {
            if let (Some(step), Some(&node)) = (step_list.get_mut(step as usize), new_id.get(node as usize)) {
                step.begins.push(node);
            }
        }
        for step in &mut step_list {
            step.begins.sort_unstable();
            step.ends.sort_unstable();
            step.ends.dedup();
        }
        step_list.retain(|step: &GraphStep| !step.ends.is_empty());
        graph.steps = step_list;
        graph.constants = constants;
        graph
    }
}

impl GraphInput<'_> {
    /// A time of a rank's host or device in ns, on the common clock.
    ///
    /// Times of damaged files are cut off at ±73 years of whatever clock, so that differences stay in range.
    pub(crate) fn time(&self, rank: RankId, at: i64, on_device: bool) -> i64 {
        let at = Timestamp(at);
        let at = self.clocks.span_on(rank, Span { start: at, end: at }, on_device).start.nanos();
        at.clamp(-FARTHEST_NS, FARTHEST_NS)
    }
}

/// 2⁶¹ ns.
const FARTHEST_NS: i64 = 1 << 61;

/// Events that take part in a collective with several members in the recording.
fn members(collectives: &[CollectiveInstance]) -> Vec<(EventId, u32)> {
    let several = collectives.iter().enumerate().filter(|(_, instance)| instance.members.len() > 1);
    let mut members: Vec<(EventId, u32)> = several
        .flat_map(|(place, instance)| instance.members.iter().map(move |member| (member.event, place as u32)))
        .collect();
    members.sort_unstable();
    members.dedup_by_key(|member| member.0);
    members
}

/// Steps over all ranks, by number where all marks have one, else by place; and the marks of each rank.
fn steps_of_ranks(trace: &Trace, input: &GraphInput<'_>) -> (Vec<GraphStep>, Vec<Vec<StepMark>>) {
    let of_ranks: Vec<Vec<steps::StepWindow>> = trace
        .rank_ids()
        .map(|(rank, _)| rank)
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|rank| steps::windows(trace, rank))
        .collect();
    let numbered = of_ranks.iter().flatten().all(|step| step.number.is_some());
    let key = |place: usize, step: &steps::StepWindow| if numbered { step.number } else { Some(place as u64) };
    let mut keys: Vec<Option<u64>> =
        of_ranks.iter().flat_map(|steps| steps.iter().enumerate().map(|(place, step)| key(place, step))).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut list: Vec<GraphStep> = keys
        .iter()
        .map(|_| GraphStep {
            name: String::new(),
            number: None,
            mark_start_ns: i64::MAX,
            mark_end_ns: i64::MIN,
            begins: Vec::new(),
            ends: Vec::new(),
        })
        .collect();
    let mut marks = Vec::with_capacity(of_ranks.len());
    for (rank, own) in of_ranks.iter().enumerate() {
        let rank = RankId(rank as u32);
        let mut of_rank = Vec::with_capacity(own.len());
        for (place, step) in own.iter().enumerate() {
            let Ok(index) = keys.binary_search(&key(place, step)) else { continue };
            let on_device = step.event.is_none();
            let start = input.time(rank, step.start, on_device);
            let end = input.time(rank, step.end, on_device);
            if let Some(entry) = list.get_mut(index) {
                if entry.name.is_empty() {
                    entry.name.clone_from(&step.name);
                    entry.number = step.number;
                }
                entry.mark_start_ns = entry.mark_start_ns.min(start);
                entry.mark_end_ns = entry.mark_end_ns.max(end);
            }
            of_rank.push(StepMark { step: index as u32, start, end, event: step.event });
        }
        marks.push(of_rank);
    }
    (list, marks)
}
