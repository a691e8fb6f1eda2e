//! Stacks and scheduling of the processes of a rank, as a trace of their own beside theirs.

use perfetto_proto::field::{interned, packet, trace};
use perfetto_proto::wire::Writer;
use rustc_hash::FxHashMap;

/// Unix time in Perfetto's numbering of clocks.
const REALTIME_CLOCK: u64 = 1;
/// Sequence of the samples.
const SEQUENCE: u64 = 2;

/// A frame as it is written: function, module, file, line.
pub type FrameKey = (String, String, String, u32);

/// Encodes samples and switches.
#[derive(Debug)]
pub struct SampleEncoder {
    period_ns: u64,
    is_started: bool,
    functions: FxHashMap<String, u64>,
    modules: FxHashMap<String, u64>,
    files: FxHashMap<String, u64>,
    frames: FxHashMap<FrameKey, u64>,
    /// Stacks by their frames, outermost first.
    stacks: FxHashMap<Vec<u64>, u64>,
    /// Samples written.
    pub samples: u64,
    /// Switches written.
    pub switches: u64,
}

/// The number of `key`, and whether it is new.
fn number_of<K: std::hash::Hash + Eq + Clone>(known: &mut FxHashMap<K, u64>, key: &K) -> (u64, bool) {
    match known.get(key) {
        Some(&number) => (number, false),
        None => {
            let number = known.len() as u64 + 1;
            known.insert(key.clone(), number);
            (number, true)
        }
    }
}

impl SampleEncoder {
    /// For stacks that stand for `period_ns` each.
    pub fn new(period_ns: u64) -> SampleEncoder {
        SampleEncoder {
            period_ns,
            is_started: false,
            functions: FxHashMap::default(),
            modules: FxHashMap::default(),
            files: FxHashMap::default(),
            frames: FxHashMap::default(),
            stacks: FxHashMap::default(),
            samples: 0,
            switches: 0,
        }
    }

    fn start(&mut self, out: &mut Writer) {
        if std::mem::replace(&mut self.is_started, true) {
            return;
        }
        out.message(trace::PACKET, |out| {
            out.uint(packet::SEQUENCE_ID, SEQUENCE);
            out.uint(packet::SEQUENCE_FLAGS, 1);
            out.message(packet::DEFAULTS, |out| {
                // Times are Unix time; a sample stands for so many ns.
                out.uint(58, REALTIME_CLOCK);
                out.message(12, |out| {
                    out.message(1, |out| {
                        out.uint(1, self.period_ns);
                        out.string(10, "time");
                    });
                });
            });
        });
    }

    /// A stack of a thread, innermost frame first.
    pub fn sample(
        &mut self,
        (pid, tid): (u32, u32),
        cpu: Option<u32>,
        unix_ns: i64,
        stack: impl DoubleEndedIterator<Item = FrameKey>,
        out: &mut Writer,
    ) {
        self.start(out);
        self.samples += 1;
        let mut new = Writer::default();
        let mut frames = Vec::new();
        for key in stack.rev() {
            frames.push(self.frame(&key, &mut new));
        }
        let (stack, is_new) = number_of(&mut self.stacks, &frames);
        if is_new {
            new.message(interned::CALLSTACKS, |out| {
                out.uint(interned::IID, stack);
                for &frame in &frames {
                    out.uint(interned::CALLSTACK_FRAME_IDS, frame);
                }
            });
        }
        out.message(trace::PACKET, |out| {
            out.uint(packet::TIMESTAMP, unix_ns.max(0) as u64);
            out.uint(packet::SEQUENCE_ID, SEQUENCE);
            out.uint(packet::SEQUENCE_FLAGS, 2);
            if !new.is_empty() {
                out.bytes(packet::INTERNED_DATA, new.as_bytes());
            }
            out.message(packet::PERF_SAMPLE, |out| {
                if let Some(cpu) = cpu {
                    out.uint(1, u64::from(cpu));
                }
                out.uint(2, u64::from(pid));
                out.uint(3, u64::from(tid));
                out.uint(4, stack);
            });
        });
    }

    fn frame(&mut self, key: &FrameKey, new: &mut Writer) -> u64 {
        let (frame, is_new) = number_of(&mut self.frames, key);
        if !is_new {
            return frame;
        }
        let (name, module, file, line) = key;
        let text = |new: &mut Writer, list: u32, number: u64, text: &str| {
            new.message(list, |out| {
                out.uint(interned::IID, number);
                out.string(interned::TEXT, text);
            });
        };
        let (function, is_new) = number_of(&mut self.functions, name);
        if is_new {
            text(new, interned::FUNCTION_NAMES, function, name);
        }
        let (mapping, is_new) = number_of(&mut self.modules, module);
        if is_new {
            text(new, interned::MAPPING_PATHS, mapping, module);
            new.message(interned::MAPPINGS, |out| {
                out.uint(interned::IID, mapping);
                out.uint(interned::MAPPING_PATH_STRING_IDS, mapping);
            });
        }
        let source = if file.is_empty() {
            None
        } else {
            let (source, is_new) = number_of(&mut self.files, file);
            if is_new {
                text(new, interned::SOURCE_PATHS, source, file);
            }
            Some(source)
        };
        new.message(interned::FRAMES, |out| {
            out.uint(interned::IID, frame);
            out.uint(interned::FRAME_FUNCTION_NAME_ID, function);
            out.uint(interned::FRAME_MAPPING_ID, mapping);
            if let Some(source) = source {
                out.uint(interned::FRAME_SOURCE_PATH_IID, source);
            }
            if *line > 0 {
                out.uint(interned::FRAME_LINE_NUMBER, u64::from(*line));
            }
        });
        frame
    }

    /// A thread got processor `cpu` (`tid` above 0) or gave it up (`tid` 0: to whom is not known, only that it is no
    /// thread of this process). `state` is why the thread before stopped, in the kernel's numbers: 0 could run on, 1
    /// waits.
    pub fn switch(&mut self, cpu: u32, boot_ns: u64, from: u32, tid: u32, name: &str, state: i64, out: &mut Writer) {
        self.switches += 1;
        out.message(trace::PACKET, |out| {
            out.uint(packet::SEQUENCE_ID, SEQUENCE + 1);
            out.message(packet::FTRACE_EVENTS, |out| {
                out.uint(1, u64::from(cpu));
                out.message(2, |out| {
                    out.uint(1, boot_ns);
                    out.uint(2, u64::from(from));
                    out.message(4, |out| {
                        out.uint(2, u64::from(from));
                        out.int(4, state);
                        out.string(5, name);
                        out.uint(6, u64::from(tid));
                    });
                });
            });
        });
    }
}
