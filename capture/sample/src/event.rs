//! What the sampler delivers: stacks, switches, the life of processes, and what is not possible here.

use std::fmt;
use std::sync::Arc;

/// One frame of a call stack. Strings are shared between all frames that say the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Name of the function, demangled. Where no symbol is known: module and offset in its file, `libc.so.6+0x2f10`.
    pub name: Arc<str>,
    /// File name of the program or library, `[kernel]`, `[vdso]`, `[anonymous]` for generated code, or `python3.11`.
    pub module: Arc<str>,
    /// Source file, where debug information or the Python code object names it.
    pub file: Option<Arc<str>>,
    /// Line in `file`, counted from 1.
    pub line: Option<u32>,
    /// A frame of the Python interpreter's own stack.
    pub is_python: bool,
    /// A frame of the operating system's kernel.
    pub is_kernel: bool,
}

/// Where the stack of a sample comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StackKind {
    /// The processor's call stack, taken by the kernel while the thread ran.
    Native,
    /// The Python interpreter's stack, read out of the process's memory.
    Python,
}

/// One stack of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Process.
    pub pid: u32,
    /// Thread, as the kernel numbers it.
    pub tid: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub monotonic_ns: u64,
    /// Processor, `None` for Python stacks.
    pub cpu: Option<u32>,
    /// Frames, innermost first. Functions that the compiler inlined are frames of their own.
    pub stack: Vec<Frame>,
    /// Which stack this is.
    pub kind: StackKind,
    /// Whether the thread was running. Always so for native stacks; Python stacks are taken of waiting threads too.
    pub running: bool,
}

/// A thread got a processor or gave it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Processor.
    pub cpu: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub monotonic_ns: u64,
    /// The thread left the processor.
    pub is_out: bool,
    /// It left while it could have run on: another thread took the processor. Only said of `is_out`.
    pub preempted: bool,
}

/// Something in the life of a process or thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEvent {
    /// Process.
    pub pid: u32,
    /// Thread; equal to `pid` for the first one.
    pub tid: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub monotonic_ns: u64,
    /// What happened.
    pub change: ProcessChange,
}

/// What happened to a process or thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessChange {
    /// The process was made by another.
    Fork {
        /// The process that called fork.
        parent_pid: u32,
    },
    /// The process replaced its program.
    Exec {
        /// The kernel's short name of the new program, at most 15 bytes.
        name: Arc<str>,
    },
    /// The thread began.
    ThreadStart,
    /// The thread has this name, at most 15 bytes.
    ThreadName {
        /// The name.
        name: Arc<str>,
    },
    /// The thread ended.
    ThreadExit,
    /// The last thread of the process that was seen ended.
    Exit,
}

/// One thing that the sampler found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SampleEvent {
    /// A stack.
    Sample(Sample),
    /// A context switch.
    Switch(Switch),
    /// The life of a process or thread.
    Process(ProcessEvent),
    /// So many samples or switches were lost since the last event of this kind, by the kernel because its ring was
    /// full or by the sampler because its queue was.
    Lost(u64),
    /// Something is not possible here, found out while sampling.
    Notice(Notice),
}

/// What a notice is about, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// Native stacks and context switches are not possible.
    NoPerf,
    /// Native stacks work, time inside the kernel is not sampled.
    UserOnly,
    /// Frames of the kernel have no names.
    KernelNames,
    /// Frames of some program have no names.
    NoNames,
    /// Native stacks are taken by frame pointers only although unwind tables were asked for.
    NoUnwinding,
    /// A process could not be attached to.
    Process,
    /// Python stacks are not possible, of one process or at all.
    NoPython,
    /// Stacks are taken less often than asked for.
    Rate,
}

/// One clear line on what is not possible here and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub kind: NoticeKind,
    /// The line, without a final period.
    pub text: String,
}

impl Notice {
    pub(crate) fn new(kind: NoticeKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
