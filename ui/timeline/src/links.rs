//! What an event is linked to: launches and device work, flows.

use gapless_trace::{EventId, EventKind, Trace};

/// Links of one event that are followed and drawn at most; a graph launch may have thousands.
pub(crate) const MAX_LINKS: usize = 64;

/// An arrow between two events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// Where it starts: the launch, or the start of a flow.
    pub from: EventId,
    /// Where it ends: the device work, or the end of a flow.
    pub to: EventId,
    /// Whether it is a launch; else it is a flow.
    pub is_launch: bool,
}

/// The arrows of an event, at most 64: from a launch, or from the launches inside an operator, to the device work;
/// from device work back to its launch; flows in both directions.
#[must_use]
pub fn links_of(trace: &Trace, event: EventId) -> Vec<Link> {
    let launch = |(from, to)| Link { from, to, is_launch: true };
    let mut links: Vec<Link> = Vec::new();
    if trace.event(event).kind.is_device_work() {
        links.extend(trace.launches().launch_of(event).map(|from| launch((from, event))));
    } else {
        links.extend(trace.launches().device_work_of(event).take(MAX_LINKS).map(|to| launch((event, to))));
        if links.is_empty() {
            links.extend(launches_within(trace, event).take(MAX_LINKS).map(launch));
        }
    }
    links.extend(trace.flows_of(event).map(|flow| Link { from: flow.from, to: flow.to, is_launch: false }));
    links.truncate(MAX_LINKS);
    links
}

/// The links of the calls that an operator or annotation encloses, in order of the calls' rows.
fn launches_within(trace: &Trace, event: EventId) -> impl Iterator<Item = (EventId, EventId)> + '_ {
    let span = trace.event(event).span();
    let encloses = matches!(
        trace.event(event).kind,
        EventKind::Operator | EventKind::PythonFunction | EventKind::RuntimeCall | EventKind::DriverCall
    );
    let place = trace.row_of(event).filter(|_| encloses && !span.is_empty());
    let below = place.into_iter().flat_map(move |(id, own)| {
        let rest = trace.rows().get(id.index() + 1..).unwrap_or_default();
        rest.iter().take_while(|row| row.track == own.track && row.lane == own.lane)
    });
    below.flat_map(move |row| {
        let inside = trace.events_in(row, span);
        let pairs = trace.launches().pairs();
        let from = pairs.partition_point(|pair| pair.0.index() < inside.start);
        pairs.get(from..).unwrap_or_default().iter().take_while(move |pair| pair.0.index() < inside.end).copied()
    })
}

/// Where `]` leads: the first event that `event` leads to.
#[must_use]
pub fn next_linked(trace: &Trace, event: EventId) -> Option<EventId> {
    links_of(trace, event).iter().find(|link| link.to != event).map(|link| link.to)
}

/// Where `[` leads: the event that led to `event`.
#[must_use]
pub fn previous_linked(trace: &Trace, event: EventId) -> Option<EventId> {
    links_of(trace, event).iter().find(|link| link.to == event).map(|link| link.from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn first(trace: &Trace, name: &str) -> EventId {
        let ids = (0..trace.events().len() as u32).map(EventId);
        ids.into_iter().find(|&id| trace.name(id) == name).unwrap()
    }

    #[test]
    fn a_launch_leads_to_its_kernel_and_back() {
        let trace = fixtures::training(1, 1);
        let launch = first(&trace, "cudaLaunchKernel");
        let kernel = next_linked(&trace, launch).unwrap();
        assert_eq!(trace.event(kernel).correlation, trace.event(launch).correlation);
        assert_eq!(previous_linked(&trace, kernel), Some(launch));
        assert_eq!(next_linked(&trace, kernel), None);
    }

    #[test]
    fn an_operator_leads_to_the_work_of_its_calls() {
        let trace = fixtures::training(1, 1);
        let operator = first(&trace, "aten::relu");
        let links = links_of(&trace, operator);
        assert_eq!(links.len(), 1);
        assert_eq!(trace.name(links[0].to), "void at::native::kernel_2<float>(int)");
        assert_eq!(trace.name(links[0].from), "cudaLaunchKernel");
    }

    #[test]
    fn a_step_does_not_draw_an_arrow_to_all_its_kernels() {
        let trace = fixtures::training(1, 1);
        assert!(links_of(&trace, first(&trace, "ProfilerStep#0")).is_empty());
    }
}
