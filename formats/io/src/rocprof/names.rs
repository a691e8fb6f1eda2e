//! What the numbers in records mean: operations, kernels, roctx messages, devices.

use gapless_trace::{ArgValue, Args, DeviceInfo};
use rustc_hash::FxHashMap;

use super::document::Process;
use crate::json::{dict, list, text, uint};

/// Type of a GPU, in `rocprofiler_agent_type_t`.
const GPU: u64 = 2;

/// A processor.
#[derive(Debug)]
struct Agent {
    /// Number among the GPUs; `None` for other processors.
    gpu: Option<u32>,
    device: DeviceInfo,
}

/// Names of one process.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// By kind: its name and those of its operations.
    kinds: Vec<(String, Vec<String>)>,
    kernels: FxHashMap<u64, String>,
    /// Messages by correlation id.
    markers: FxHashMap<u64, String>,
    /// Names that the user gave kernels (`--kernel-rename`), by their number.
    renamed: FxHashMap<u64, String>,
    agents: FxHashMap<u64, Agent>,
}

impl Names {
    /// Of what `process` says.
    pub fn of(process: &Process) -> Self {
        let mut names = Self::default();
        let objects = |values: &[ArgValue]| -> Vec<Args> {
            let object = |value: &ArgValue| match value {
                ArgValue::Dict(object) => object.clone(),
                // Numbers are places in the list: a gap must stay.
                _ => Args::new(),
            };
            values.iter().map(object).collect()
        };
        for kind in objects(list(&process.strings, "buffer_records")) {
            let operations = list(&kind, "operations").iter().map(|name| name.as_str().unwrap_or_default().to_owned());
            names.kinds.push((text(&kind, "kind").to_owned(), operations.collect()));
        }
        let pairs = |values: &[ArgValue]| -> FxHashMap<u64, String> {
            objects(values)
                .iter()
                .filter_map(|pair| Some((uint(pair, "key")?, text(pair, "value").to_owned())))
                .collect()
        };
        names.markers = pairs(list(&process.strings, "marker_api"));
        if let Some(ids) = dict(&process.strings, "correlation_id") {
            names.renamed = pairs(list(ids, "external"));
        }
        for symbol in objects(&process.kernel_symbols) {
            let name = ["formatted_kernel_name", "demangled_kernel_name", "kernel_name"]
                .iter()
                .map(|key| text(&symbol, key))
                .find(|name| !name.is_empty());
            if let (Some(id), Some(name)) = (uint(&symbol, "kernel_id"), name) {
                names.kernels.insert(id, name.to_owned());
            }
        }
        let mut gpus = 0u32;
        for agent in objects(&process.agents) {
            let Some(handle) = dict(&agent, "id").and_then(|id| uint(id, "handle")) else { continue };
            let is_gpu = uint(&agent, "type") == Some(GPU);
            let number = |key: &str| uint(&agent, key).and_then(|value| u32::try_from(value).ok());
            // Where the file does not count GPUs, their order does.
            let gpu = is_gpu.then(|| number("logical_node_type_id").unwrap_or(gpus));
            gpus += u32::from(is_gpu);
            let name = Some(text(&agent, "product_name")).filter(|name| !name.is_empty());
            let memory = list(&agent, "mem_banks").iter().filter_map(|bank| match bank {
                ArgValue::Dict(bank) => uint(bank, "size_in_bytes"),
                _ => None,
            });
            let memory = memory.reduce(u64::saturating_add);
            let device = DeviceInfo {
                id: gpu.unwrap_or(0),
                name: name.unwrap_or_else(|| text(&agent, "name")).to_owned(),
                memory_bytes: memory,
                multiprocessors: number("cu_count"),
                compute_capability: None,
                properties: agent.into_iter().filter(|field| !matches!(field.1, ArgValue::List(_))).collect(),
            };
            names.agents.insert(handle, Agent { gpu, device });
        }
        names
    }

    /// Name of the kind, and of the operation, where they are known.
    pub fn operation(&self, kind: u64, operation: u64) -> Option<(&str, &str)> {
        let (kind, operations) = self.kinds.get(usize::try_from(kind).ok()?)?;
        let operation = operations.get(usize::try_from(operation).ok()?)?;
        (!operation.is_empty()).then_some((kind, operation))
    }

    /// Name of a kernel: the user's, else its own.
    pub fn kernel(&self, id: u64, rename: Option<u64>) -> Option<&str> {
        let renamed = rename.filter(|&number| number != 0).and_then(|number| self.renamed.get(&number));
        renamed.or_else(|| self.kernels.get(&id)).map(String::as_str)
    }

    /// The message of a roctx call.
    pub fn marker(&self, correlation: u64) -> Option<&str> {
        self.markers.get(&correlation).map(String::as_str)
    }

    /// Number of a GPU; `None` for another processor.
    pub fn gpu(&self, agent: u64) -> Option<u32> {
        self.agents.get(&agent)?.gpu
    }

    /// The GPUs, by number.
    pub fn devices(&self) -> impl Iterator<Item = DeviceInfo> {
        let mut devices: Vec<&DeviceInfo> =
            self.agents.values().filter(|agent| agent.gpu.is_some()).map(|agent| &agent.device).collect();
        devices.sort_by_key(|device| device.id);
        devices.into_iter().cloned()
    }
}
