//! What the operators of a table are.

use gapless_trace::EventKind;

/// Where operators of a kind run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Compute,
    /// Point-to-point communication of the pipeline. Sends and receives of both directions run at the same time, each
    /// on a stream of its own.
    ForwardSend,
    ForwardReceive,
    BackwardSend,
    BackwardReceive,
    OtherPointToPoint,
    /// Collectives among data-parallel workers.
    DataParallel,
    /// Collectives among tensor-parallel workers.
    TensorParallel,
    /// Other collectives.
    Collectives,
    /// What the device does otherwise.
    Other,
    /// The process: garbage collection, loading of data.
    Host,
}

impl Lane {
    /// Name of its track.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::ForwardSend => "forward send",
            Self::ForwardReceive => "forward receive",
            Self::BackwardSend => "backward send",
            Self::BackwardReceive => "backward receive",
            Self::OtherPointToPoint => "send and receive",
            Self::DataParallel => "data-parallel communication",
            Self::TensorParallel => "tensor-parallel communication",
            Self::Collectives => "collectives",
            Self::Other => "other",
            Self::Host => "host",
        }
    }

    /// Category of its events.
    pub const fn category(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::ForwardSend
            | Self::ForwardReceive
            | Self::BackwardSend
            | Self::BackwardReceive
            | Self::OtherPointToPoint => "pp-comm",
            Self::DataParallel => "dp-comm",
            Self::TensorParallel => "tp-comm",
            Self::Collectives => "comm",
            Self::Other => "other",
            Self::Host => "host",
        }
    }
}

/// An operator's place, kind, and the collective that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    pub lane: Lane,
    pub kind: EventKind,
    /// Name of the collective, where its name says one.
    pub collective: Option<&'static str>,
}

/// What an operator of this name is.
///
/// `optimizer-clip-main-grad` counts as communication: it waits for the norm of the gradients of all workers.
pub(super) fn classify(name: &str) -> Operator {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let has = |part: &str| plain.contains(part);
    let collectives = [
        ("reducescatter", "reduce_scatter"),
        ("allreduce", "all_reduce"),
        ("allgather", "all_gather"),
        ("alltoall", "all_to_all"),
        ("broadcast", "broadcast"),
    ];
    let collective = collectives.into_iter().find(|(part, _)| has(part)).map(|(_, name)| name);
    let of = |lane, kind| Operator { lane, kind, collective: None };
    if collective.is_some() {
        let lane = match () {
            () if plain.starts_with("tp") || has("layernorm") => Lane::TensorParallel,
            () if has("embedding") => Lane::Collectives,
            () if has("grads") || has("params") || plain.starts_with("dp") => Lane::DataParallel,
            () => Lane::Collectives,
        };
        return Operator { lane, kind: EventKind::Collective, collective };
    }
    // Two directions at once (`forward-send-backward-recv`) are of neither alone.
    let directions = ["forwardsend", "forwardrecv", "backwardsend", "backwardrecv"];
    if let (Some(first), None) = {
        let mut found = directions.into_iter().filter(|direction| has(direction));
        (found.next(), found.next())
    } {
        let lane = match first {
            "forwardsend" => Lane::ForwardSend,
            "forwardrecv" => Lane::ForwardReceive,
            "backwardsend" => Lane::BackwardSend,
            _ => Lane::BackwardReceive,
        };
        return of(lane, EventKind::PointToPoint);
    }
    if has("send") || has("recv") {
        return of(Lane::OtherPointToPoint, EventKind::PointToPoint);
    }
    if has("clipmaingrad") {
        return Operator { lane: Lane::Collectives, kind: EventKind::Collective, collective: Some("all_reduce") };
    }
    if has("compute") || has("forward") || has("backward") || has("optimizer") {
        return of(Lane::Compute, EventKind::Kernel);
    }
    if plain == "gc" || plain.starts_with("data") {
        return of(Lane::Host, EventKind::Other);
    }
    of(Lane::Other, EventKind::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_of_published_tables_are_known() {
        let check = |name: &str, lane: Lane, kind: EventKind, collective: Option<&str>| {
            assert_eq!(classify(name), Operator { lane, kind, collective: classify(name).collective }, "{name}");
            assert_eq!(classify(name).collective, collective, "{name}");
        };
        check("forward-compute", Lane::Compute, EventKind::Kernel, None);
        check("backward-compute", Lane::Compute, EventKind::Kernel, None);
        check("backward-wgrad-compute", Lane::Compute, EventKind::Kernel, None);
        check("optimizer", Lane::Compute, EventKind::Kernel, None);
        check("optimizer-clip-main-grad", Lane::Collectives, EventKind::Collective, Some("all_reduce"));
        check("forward-send", Lane::ForwardSend, EventKind::PointToPoint, None);
        check("forward-recv", Lane::ForwardReceive, EventKind::PointToPoint, None);
        check("backward-send", Lane::BackwardSend, EventKind::PointToPoint, None);
        check("backward-recv", Lane::BackwardReceive, EventKind::PointToPoint, None);
        check("forward-send-backward-recv", Lane::OtherPointToPoint, EventKind::PointToPoint, None);
        check("grads-reduce-scatter", Lane::DataParallel, EventKind::Collective, Some("reduce_scatter"));
        check("params-all-gather", Lane::DataParallel, EventKind::Collective, Some("all_gather"));
        check("separate-grads-all-reduce", Lane::DataParallel, EventKind::Collective, Some("all_reduce"));
        check("layernorm-grads-all-reduce", Lane::TensorParallel, EventKind::Collective, Some("all_reduce"));
        check("embedding-grads-all-reduce", Lane::Collectives, EventKind::Collective, Some("all_reduce"));
        check("tp-allgather", Lane::TensorParallel, EventKind::Collective, Some("all_gather"));
        check("gc", Lane::Host, EventKind::Other, None);
        check("data-load", Lane::Host, EventKind::Other, None);
        check("unheard-of", Lane::Other, EventKind::Other, None);
    }
}
