//! The host does not wait for the device.

use gapless_analysis::graph::{EdgeKind, NodeId, NodeKind};
use gapless_analysis::replay::Draft;
use gapless_trace::EventId;
use rustc_hash::FxHashSet;

use super::{Basis, Effect, Guard, Outlook, Parameter, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;

/// Drops what returns of blocking calls wait for: `remove-sync`, `remove-sync(op=aten::item, keep=0.01)`,
/// `remove-sync(kernel~DtoH)`.
#[derive(Debug)]
pub(super) struct RemoveSync;

/// Operators whose result the host may need to go on.
const READ_BACK: [&str; 6] = [
    "aten::item",
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::is_nonzero",
    "aten::equal",
    "aten::masked_select",
];

impl Transformation for RemoveSync {
    fn id(&self) -> &'static str {
        "remove-sync"
    }

    fn title(&self) -> &'static str {
        "Blocking calls do not wait for the device"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "keep",
            help: "share of the steps in which the wait stays (0 without): logging every N steps is 1/N",
        }]
    }

    fn basis(&self) -> Basis {
        Basis::Replay
    }

    fn apply(&self, edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, _: Outlook) -> Result<Effect, Refusal> {
        let keep = edit.number_or("keep", 0.0).clamp(0.0, 1.0);
        let every = if keep > 0.0 { (1.0 / keep).round().max(1.0) as usize } else { usize::MAX };
        let graph = study.graph();
        let selected = Selected::new(edit, study);
        let mut touched = Vec::new();
        let mut read_back: Vec<&str> = Vec::new();
        for id in graph.node_ids() {
            if graph.node(id).kind != NodeKind::Return {
                continue;
            }
            // Selected are calls, by their operator, rank or step; the return has no kind of its own.
            if !edit.selector().is_empty() && !selected.fits(edit, study, id) {
                continue;
            }
            if every != usize::MAX && study.facts().step(id).is_some_and(|step| step % every == 0) {
                continue;
            }
            let mut waits = false;
            for edge in graph.edges_to(id) {
                if edge.kind == EdgeKind::SyncReturn {
                    draft.set_lag(edge.index, None);
                    waits = true;
                }
            }
            // A wait whose cause is not in the recording is unexplained time of the return.
            if waits || graph.unexplained_ns(id) > 0 {
                draft.set_delay(id, 0);
                touched.push(id);
                let name = study.operator_name(id);
                if READ_BACK.contains(&name) && !read_back.contains(&name) {
                    read_back.push(name);
                }
            }
        }
        if touched.is_empty() {
            return Err(super::scale::nothing(edit));
        }
        let mut guards = Vec::new();
        if !read_back.is_empty() {
            read_back.sort_unstable();
            guards.push(Guard {
                holds: keep > 0.0,
                text: format!(
                    "The host reads values back in {}: it can go on without waiting only where no decision depends on them.",
                    read_back.join(", ")
                ),
            });
        }
        Ok(Effect {
            touched,
            guards,
            assumptions: vec!["Nothing that the host does next needs the result.".to_owned()],
            ..Effect::default()
        })
    }
}

/// Launches and operators of selected device work: `kernel~DtoH` selects the waits for such copies.
#[derive(Default)]
struct Selected {
    launches: FxHashSet<NodeId>,
    operators: FxHashSet<EventId>,
}

impl Selected {
    fn new(edit: &Edit, study: &Study<'_>) -> Self {
        let mut this = Self::default();
        if edit.selector().is_empty() || !edit.selector().names_device_work() {
            return this;
        }
        for id in edit.selector().nodes(study) {
            this.launches.extend(study.facts().launch(id));
            this.operators.extend(study.facts().operator(id));
        }
        this
    }

    fn fits(&self, edit: &Edit, study: &Study<'_>, id: NodeId) -> bool {
        // The call before the return on the thread carries the same event.
        let graph = study.graph();
        let call = graph.edges_to(id).find(|edge| edge.kind == EdgeKind::ThreadOrder).map(|edge| edge.from);
        call.is_some_and(|call| {
            edit.selector().fits_host(study, call)
                || self.launches.contains(&call)
                || study.facts().operator(id).is_some_and(|operator| self.operators.contains(&operator))
        })
    }
}
