//! The GPUs of the machine, as rocprofiler knows them.

use std::collections::HashMap;

use rocprofiler_sys::layout::{AGENT_GPU, agent, memory_bank};
use rocprofiler_sys::{Record, Rocprofiler};

/// What the agents of the machine are, by their handles.
#[derive(Debug, Default)]
pub(super) struct Devices {
    /// Numbers of the GPUs, counted in the order of their nodes.
    gpus: HashMap<u64, u32>,
    others: usize,
    /// What each GPU says of itself, in lines of `key=value`.
    pub texts: Vec<String>,
}

impl Devices {
    /// Asks for the agents.
    pub fn ask(rocprofiler: &Rocprofiler) -> Devices {
        let mut found: Vec<(u32, u64, String)> = Vec::new();
        let mut others = 0;
        let status = rocprofiler.each_agent(|agent| {
            if agent.u32(agent::TYPE) == AGENT_GPU {
                found.push((agent.u32(agent::LOGICAL_NODE), agent.u64(agent::ID), text(agent)));
            } else {
                others += 1;
            }
        });
        if !status.is_success() {
            super::tell(&format!("properties of AMD GPUs are not recorded: {status}"));
        }
        found.sort_by_key(|gpu| gpu.0);
        let (mut gpus, mut texts) = (HashMap::new(), Vec::new());
        for (number, (_, handle, text)) in (0..).zip(found) {
            gpus.insert(handle, number);
            texts.push(format!("id={number}\n{text}"));
        }
        Devices { gpus, others, texts }
    }

    /// The number of a GPU; `None` for processors and for handles that are not known.
    #[inline(always)]
    pub fn gpu(&self, handle: u64) -> Option<u32> {
        self.gpus.get(&handle).copied()
    }

    /// Whether the machine said what it has.
    pub fn is_known(&self) -> bool {
        !self.gpus.is_empty() || self.others > 0
    }
}

/// A GPU as lines of `key=value`, for the header of the trace.
fn text(agent: Record<'_>) -> String {
    // SAFETY: by the header, texts of agents live until the tool is finalised.
    let say = |field| unsafe { agent.text(field) }.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    let (name, product) = (say(agent::NAME), say(agent::PRODUCT));
    let shown = if product.is_empty() { &name } else { &product };
    let mut text = format!("vendor=AMD\nname={shown}\narchitecture={name}");
    let mut add = |key: &str, value: u64| text.push_str(&format!("\n{key}={value}"));
    add("memory_bytes", memory_bytes(agent));
    let number = |field| u64::from(agent.u32(field));
    add("multiprocessors", number(agent::COMPUTE_UNITS));
    add("threads_per_warp", number(agent::WAVE_FRONT));
    add("core_clock_khz", number(agent::CLOCK_MHZ) * 1000);
    add("max_warps_per_multiprocessor", number(agent::WAVES_PER_SIMD) * number(agent::SIMDS_PER_UNIT));
    add("max_shared_bytes_per_block", number(agent::LDS_KB) * 1024);
    add("accelerator_dies", number(agent::XCCS));
    // Bus, device and function, behind the domain.
    let location = agent.u32(agent::LOCATION);
    let (bus, device, function) = (location >> 8 & 0xff, location >> 3 & 0x1f, location & 7);
    text.push_str(&format!("\npci={:04x}:{bus:02x}:{device:02x}.{function}", agent.u32(agent::DOMAIN)));
    text
}

/// Bytes of the memory on the device. KFD names heaps: 1 and 2 are the device's own, open to the host or not.
fn memory_bytes(agent: Record<'_>) -> u64 {
    let (first, count) = (agent.u64(agent::MEMORY) as usize, agent.u32(agent::MEMORY_BANKS) as usize);
    let size = usize::from(memory_bank::ALL.bytes);
    if first == 0 || count > 64 {
        return 0;
    }
    (0..count)
        .map(|index| {
            // SAFETY: the agent says that so many banks lie there; they live as long as it does.
            let bytes = unsafe { std::slice::from_raw_parts((first + index * size) as *const u8, size) };
            let bank = Record::new(bytes);
            if matches!(bank.u32(memory_bank::HEAP), 1 | 2) { bank.u64(memory_bank::BYTES) } else { 0 }
        })
        .sum()
}
