//! Call stacks, told to a sequence once each.
//!
//! Ids are those of the model, one up where they begin at 0: the format takes no id 0. Strings have the numbers of
//! the trace's table; the empty string, which is number 0, is left out.

use gapless_trace::{Frame, StackId, StrId, Trace};
use perfetto_proto::field::interned;
use perfetto_proto::wire::Writer;

use super::annotate::define;
use super::intern::IdSet;

/// What a sequence has been told of call stacks.
#[derive(Debug, Default)]
pub(super) struct KnownStacks {
    stacks: IdSet,
    frames: IdSet,
    functions: IdSet,
    files: IdSet,
    modules: IdSet,
}

impl KnownStacks {
    /// The id of `stack` in the file; appends to `interned_data` what the sequence does not know yet.
    pub(super) fn id(&mut self, trace: &Trace, stack: StackId, interned_data: &mut Writer) -> u64 {
        let id = u64::from(stack.0) + 1;
        if !self.stacks.insert(stack.0) {
            return id;
        }
        let table = trace.stacks();
        let mut frames = Vec::new();
        for at in std::iter::successors(Some(stack), |&at| table.parent(at)) {
            let Some((frame_id, frame)) = table.innermost(at) else { continue };
            frames.push(u64::from(frame_id.0) + 1);
            if self.frames.insert(frame_id.0) {
                self.frame(trace, u64::from(frame_id.0) + 1, frame, interned_data);
            }
        }
        interned_data.message(interned::CALLSTACKS, |entry| {
            entry.uint(interned::IID, id);
            // Perfetto begins at the outermost frame.
            for &frame in frames.iter().rev() {
                entry.uint(interned::CALLSTACK_FRAME_IDS, frame);
            }
        });
        id
    }

    fn frame(&mut self, trace: &Trace, id: u64, frame: Frame, interned_data: &mut Writer) {
        let mut text = |known: &mut IdSet, field: u32, text: StrId| -> bool {
            let is_new = text != StrId::EMPTY && known.insert(text.0);
            if is_new {
                define(interned_data, field, text.0.into(), trace.text(text));
            }
            is_new
        };
        text(&mut self.functions, interned::FUNCTION_NAMES, frame.name);
        text(&mut self.files, interned::SOURCE_PATHS, frame.file);
        if text(&mut self.modules, interned::MAPPING_PATHS, frame.module) {
            interned_data.message(interned::MAPPINGS, |entry| {
                entry.uint(interned::IID, frame.module.0.into());
                entry.uint(interned::MAPPING_PATH_STRING_IDS, frame.module.0.into());
            });
        }
        interned_data.message(interned::FRAMES, |entry| {
            entry.uint(interned::IID, id);
            let ids = [
                (interned::FRAME_FUNCTION_NAME_ID, frame.name.0),
                (interned::FRAME_MAPPING_ID, frame.module.0),
                (interned::FRAME_SOURCE_PATH_IID, frame.file.0),
                (interned::FRAME_LINE_NUMBER, frame.line),
            ];
            for (field, id) in ids.into_iter().filter(|&(_, id)| id != 0) {
                entry.uint(field, id.into());
            }
        });
    }
}

/// The double that says `weight`, if one does so exactly.
pub(super) fn exact_double(weight: u64) -> Option<f64> {
    let double = weight as f64;
    // The largest weights round up to 2^64, which is none.
    (double < u64::MAX as f64 && double as u64 == weight).then_some(double)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_no_double_holds_are_told_apart() {
        for weight in [0, 1, 1 << 53, 1 << 63, (1 << 53) + 2] {
            assert!(exact_double(weight).is_some_and(|double| double as u64 == weight), "{weight}");
        }
        for weight in [(1 << 53) + 1, u64::MAX, u64::MAX - 1] {
            assert_eq!(exact_double(weight), None, "{weight}");
        }
    }
}
