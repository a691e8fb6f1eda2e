//! What the calls of device runtimes and drivers do, by name.

use gapless_trace::{StrId, Trace};

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// Nothing that matters for order.
    Other,
    /// Launches a kernel or a graph.
    Launch,
    /// Copies, perhaps blocking.
    Copy,
    /// Fills.
    Fill,
    /// Waits for a stream.
    StreamSync,
    /// Waits for all streams.
    DeviceSync,
    /// Waits for an event.
    EventSync,
    /// A stream waits for an event; the call returns at once.
    WaitEvent,
    /// Records an event on a stream.
    RecordEvent,
    /// Allocates or frees memory or loads code; may wait for the device.
    Memory,
}

impl Api {
    /// Whether it is there to wait for the device.
    pub const fn is_sync(self) -> bool {
        matches!(self, Self::StreamSync | Self::DeviceSync | Self::EventSync)
    }

    fn of(name: &str) -> Self {
        let rest = match name.strip_prefix("cuda").or_else(|| name.strip_prefix("hip")) {
            Some(rest) => rest,
            None => match name.strip_prefix("cu") {
                Some(rest) if rest.starts_with(|letter: char| letter.is_ascii_uppercase()) => rest,
                _ => return Self::Other,
            },
        };
        let has = |word: &str| rest.contains(word);
        if has("StreamSynchronize") {
            Self::StreamSync
        } else if has("DeviceSynchronize") || has("CtxSynchronize") {
            Self::DeviceSync
        } else if has("EventSynchronize") {
            Self::EventSync
        } else if has("StreamWaitEvent") {
            Self::WaitEvent
        } else if has("EventRecord") {
            Self::RecordEvent
        } else if has("Memcpy") {
            Self::Copy
        } else if has("Memset") {
            Self::Fill
        } else if has("Launch") {
            Self::Launch
        } else if has("Async") {
            // Allocation in stream order does not wait.
            Self::Other
        } else if ["Malloc", "MemAlloc", "Free", "HostAlloc", "HostRegister", "ModuleLoad"].into_iter().any(has) {
            Self::Memory
        } else {
            Self::Other
        }
    }
}

/// The class of every string of a trace.
#[derive(Clone, Debug)]
pub(crate) struct Apis {
    classes: Vec<Api>,
}

impl Apis {
    pub fn new(trace: &Trace) -> Self {
        let mut classes = Vec::new();
        for (id, text) in trace.strings().iter() {
            let place = id.0 as usize;
            if classes.len() <= place {
                classes.resize(place + 1, Api::Other);
            }
            if let Some(class) = classes.get_mut(place) {
                *class = Api::of(text);
            }
        }
        Self { classes }
    }

    pub fn of(&self, name: StrId) -> Api {
        self.classes.get(name.0 as usize).copied().unwrap_or(Api::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_vendors_say_what_a_call_does() {
        let cases = [
            ("cudaLaunchKernelExC", Api::Launch),
            ("hipExtModuleLaunchKernel", Api::Launch),
            ("cuLaunchKernel", Api::Launch),
            ("cudaGraphLaunch", Api::Launch),
            ("hipMemcpyWithStream", Api::Copy),
            ("cuMemcpyHtoDAsync_v2", Api::Copy),
            ("cudaMemsetAsync", Api::Fill),
            ("cudaStreamSynchronize", Api::StreamSync),
            ("cuCtxSynchronize", Api::DeviceSync),
            ("hipEventSynchronize", Api::EventSync),
            ("cudaStreamWaitEvent", Api::WaitEvent),
            ("cudaEventRecordWithFlags", Api::RecordEvent),
            ("cudaMalloc", Api::Memory),
            ("cudaFreeAsync", Api::Other),
            ("cudaStreamIsCapturing", Api::Other),
            ("cudaEventQuery", Api::Other),
            ("custom_launch", Api::Other),
            ("aten::LaunchKernel", Api::Other),
        ];
        for (name, class) in cases {
            assert_eq!(Api::of(name), class, "{name}");
        }
    }
}
