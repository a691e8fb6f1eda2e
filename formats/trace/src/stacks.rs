//! Call stacks as a prefix tree: stacks that share their outer frames share the nodes of these.

use rustc_hash::FxHashMap;

use crate::{EventId, StrId};

/// A frame of one [`StackTable`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct FrameId(pub u32);

/// A call stack of one [`StackTable`]: its innermost frame's node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct StackId(pub u32);

/// A function in a call stack. Strings are of the table that goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame {
    /// Name of the function.
    pub name: StrId,
    /// Source file; may be empty.
    pub file: StrId,
    /// Binary or library; may be empty.
    pub module: StrId,
    /// Line in the source file; 0 if it is not known.
    pub line: u32,
}

/// The call stack of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventStack {
    /// The event.
    pub event: EventId,
    /// Its stack.
    pub stack: StackId,
    /// How much the sample stands for, in the unit of the sampler (periods, ns, counts); 1 where it is not known.
    pub weight: u64,
}

/// Frames and stacks, each stored once.
#[derive(Clone, Debug, Default)]
pub struct StackTable {
    frames: Vec<Frame>,
    /// (parent + 1, or 0 for an outermost frame; frame).
    nodes: Vec<(u32, FrameId)>,
    frame_index: FxHashMap<Frame, FrameId>,
    node_index: FxHashMap<(u32, FrameId), StackId>,
}

impl StackTable {
    /// The id of `frame`, stored if it is new.
    pub fn frame(&mut self, frame: Frame) -> FrameId {
        let frames = &mut self.frames;
        *self.frame_index.entry(frame).or_insert_with(|| {
            frames.push(frame);
            FrameId(frames.len() as u32 - 1)
        })
    }

    /// The stack in which `parent` calls `frame`; `None` for an outermost frame. Stored if it is new. A `parent` that
    /// is not of this table counts as none.
    pub fn push(&mut self, parent: Option<StackId>, frame: FrameId) -> StackId {
        let parent = parent.filter(|parent| (parent.0 as usize) < self.nodes.len()).map_or(0, |parent| parent.0 + 1);
        let nodes = &mut self.nodes;
        *self.node_index.entry((parent, frame)).or_insert_with(|| {
            nodes.push((parent, frame));
            StackId(nodes.len() as u32 - 1)
        })
    }

    /// The stack of `frames`, outermost first; `None` if there are none.
    pub fn push_all(&mut self, frames: impl IntoIterator<Item = Frame>) -> Option<StackId> {
        let mut stack = None;
        for frame in frames {
            let frame = self.frame(frame);
            stack = Some(self.push(stack, frame));
        }
        stack
    }

    /// Number of stacks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All frames, by id.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The innermost frame of `stack`, for an id of this table.
    #[must_use]
    pub fn innermost(&self, stack: StackId) -> Option<(FrameId, Frame)> {
        let id = self.nodes.get(stack.0 as usize)?.1;
        Some((id, *self.frames.get(id.0 as usize)?))
    }

    /// The stack without its innermost frame; `None` for an outermost one.
    #[must_use]
    pub fn parent(&self, stack: StackId) -> Option<StackId> {
        self.nodes.get(stack.0 as usize)?.0.checked_sub(1).map(StackId)
    }

    /// The frames of `stack`, innermost first.
    pub fn frames_of(&self, stack: StackId) -> impl Iterator<Item = Frame> + '_ {
        // A parent is always stored before its children, so this ends.
        std::iter::successors(Some(stack), |&at| self.parent(at)).filter_map(|at| Some(self.innermost(at)?.1))
    }

    /// Adds all of `other`, whose strings `text` translates; gives the id here of each of its stacks.
    pub fn adopt(&mut self, other: &Self, text: impl Fn(StrId) -> StrId) -> Vec<StackId> {
        let frames: Vec<FrameId> = other
            .frames
            .iter()
            .map(|frame| {
                self.frame(Frame {
                    name: text(frame.name),
                    file: text(frame.file),
                    module: text(frame.module),
                    line: frame.line,
                })
            })
            .collect();
        let mut stacks: Vec<StackId> = Vec::with_capacity(other.nodes.len());
        for &(parent, frame) in &other.nodes {
            let parent = parent.checked_sub(1).and_then(|parent| stacks.get(parent as usize)).copied();
            stacks.push(self.push(parent, frames.get(frame.0 as usize).copied().unwrap_or_default()));
        }
        stacks
    }

    /// Gives back what is needed only while stacks are added.
    pub(crate) fn shrink(&mut self) {
        self.frame_index = FxHashMap::default();
        self.node_index = FxHashMap::default();
        self.frames.shrink_to_fit();
        self.nodes.shrink_to_fit();
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.frames.capacity() * size_of::<Frame>()
            + self.nodes.capacity() * size_of::<(u32, FrameId)>()
            + self.frame_index.capacity() * size_of::<(Frame, FrameId)>()
            + self.node_index.capacity() * size_of::<((u32, FrameId), StackId)>()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn frame(name: u32) -> Frame {
        Frame { name: StrId(name), ..Frame::default() }
    }

    #[test]
    fn stacks_share_their_outer_frames() {
        let mut table = StackTable::default();
        let a = table.push_all([frame(1), frame(2), frame(3)]).unwrap();
        let b = table.push_all([frame(1), frame(2), frame(4)]).unwrap();
        assert_eq!(table.push_all([frame(1), frame(2), frame(3)]), Some(a));
        assert_eq!((table.len(), table.frames().len()), (4, 4));
        assert_eq!(table.parent(a), table.parent(b));
        let names: Vec<u32> = table.frames_of(b).map(|frame| frame.name.0).collect();
        assert_eq!(names, [4, 2, 1]);
        assert_eq!(table.push_all([]), None);
    }

    #[test]
    fn an_adopted_table_keeps_its_stacks() {
        let mut table = StackTable::default();
        table.push_all([frame(9)]);
        let mut other = StackTable::default();
        let stack = other.push_all([frame(1), frame(2)]).unwrap();
        let map = table.adopt(&other, |id| StrId(id.0 + 10));
        let names: Vec<u32> = table.frames_of(map[stack.0 as usize]).map(|frame| frame.name.0).collect();
        assert_eq!(names, [12, 11]);
    }
}
