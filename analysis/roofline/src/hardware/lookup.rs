//! Finding a device by what a user or a trace calls it.

use gapless_trace::DeviceInfo;
use serde::Serialize;

use super::{Fact, Gpu, HardwareTable};

/// How a device of a trace was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchedBy {
    /// By its name.
    Name,
    /// By multiprocessors and memory, since the trace gives no name.
    Properties,
}

/// A device of the table as one of a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceMatch {
    /// The device, with what the trace knows better in place of the table's values.
    pub gpu: Gpu,
    /// How it was found.
    pub by: MatchedBy,
    /// Where the trace's properties replaced the table's, in sentences.
    pub notes: Vec<String>,
}

/// Words that say who makes a device or how it is attached to a guest, not which device it is.
const IDLE_WORDS: [&str; 7] = ["nvidia", "amd", "intel", "instinct", "tesla", "geforce", "vf"];

/// Lower case, separators as spaces, without idle words.
fn plain(name: &str) -> String {
    let spaced: String =
        name.chars().map(|letter| if letter.is_alphanumeric() { letter.to_ascii_lowercase() } else { ' ' }).collect();
    spaced.split_whitespace().filter(|word| !IDLE_WORDS.contains(word)).collect::<Vec<_>>().join(" ")
}

impl HardwareTable {
    /// The device with this name or alias; maker's names, case and separators do not matter.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Gpu> {
        let wanted = plain(name);
        if wanted.is_empty() {
            return None;
        }
        let names = |gpu: &Gpu| gpu.name == name || gpu.aliases.iter().any(|alias| alias == name);
        let alike = |gpu: &Gpu| plain(&gpu.name) == wanted || gpu.aliases.iter().any(|alias| plain(alias) == wanted);
        self.gpus().iter().find(|gpu| names(gpu)).or_else(|| self.gpus().iter().find(|gpu| alike(gpu)))
    }

    /// The device that a trace's header describes; `None` where neither name nor properties fit one device alone.
    #[must_use]
    pub fn of_device(&self, device: &DeviceInfo) -> Option<DeviceMatch> {
        let (gpu, by) = match self.find(&device.name) {
            Some(gpu) => (gpu, MatchedBy::Name),
            // A name that is not known is another device, however alike.
            None if plain(&device.name).is_empty() => (self.by_properties(device)?, MatchedBy::Properties),
            None => return None,
        };
        let mut found = DeviceMatch { gpu: gpu.clone(), by, notes: Vec::new() };
        adapt(&mut found, device);
        Some(found)
    }

    /// The only device with these multiprocessors, this much memory, and the right maker.
    fn by_properties(&self, device: &DeviceInfo) -> Option<&Gpu> {
        let wanted = f64::from(device.multiprocessors?);
        let memory = device.memory_bytes? as f64;
        let wide = device.properties.iter().find(|(key, _)| key == "warpSize").and_then(|(_, value)| value.as_i64());
        let maker = wide.map(|wide| if wide == 64 { "AMD" } else { "NVIDIA" });
        let fits = |gpu: &&Gpu| {
            let multiprocessors = gpu.multiprocessors.as_ref().is_some_and(|fact| fact.value == wanted);
            // Labels mean 10⁹ or 2³⁰ bytes, and firmware keeps some for itself.
            let label = gpu.memory_gb.as_ref().map_or(0.0, |fact| fact.value);
            let memory = (label * 0.92e9..=label * 1.08 * 1e9).contains(&memory);
            multiprocessors && memory && maker.is_none_or(|maker| gpu.vendor == maker)
        };
        let mut fitting = self.gpus().iter().filter(fits);
        let found = fitting.next()?;
        fitting.next().is_none().then_some(found)
    }
}

/// What the trace knows better: multiprocessors (a part of a device has fewer) and memory bandwidth.
fn adapt(found: &mut DeviceMatch, device: &DeviceInfo) {
    let gpu = &mut found.gpu;
    let said = |value: f64| Fact {
        value,
        range: None,
        verified: true,
        unsure: false,
        source: "properties of the device in the trace".to_owned(),
    };
    if let (Some(seen), Some(table)) = (device.multiprocessors, gpu.multiprocessors.as_ref())
        && seen > 0
        && f64::from(seen) != table.value
    {
        let ratio = f64::from(seen) / table.value;
        found.notes.push(format!(
            "the trace says {seen} multiprocessors where the table has {}: rates are scaled by {ratio:.3}",
            table.value
        ));
        for peak in gpu.peaks.values_mut() {
            peak.value *= ratio;
            peak.source = format!("{}, scaled to the multiprocessors of the trace", peak.source);
        }
        gpu.multiprocessors = Some(said(f64::from(seen)));
    }
    // Nsight Systems writes bytes per second.
    let bandwidth = device.properties.iter().find(|(key, _)| key == "memoryBandwidth");
    if let Some(bandwidth) = bandwidth.and_then(|(_, value)| value.as_f64()).filter(|rate| *rate > 1e9) {
        let gb_per_s = bandwidth / 1e9;
        if gpu.memory_gb_per_s.as_ref().is_none_or(|fact| (fact.value - gb_per_s).abs() > 0.02 * fact.value) {
            found.notes.push(format!("the trace says {gb_per_s:.0} GB/s of memory bandwidth, which is used"));
        }
        gpu.memory_gb_per_s = Some(said(gb_per_s));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use gapless_trace::ArgValue;

    use super::*;
    use crate::Precision;

    fn named(name: &str) -> Option<String> {
        Some(HardwareTable::builtin().find(name)?.name.clone())
    }

    #[test]
    fn names_of_traces_find_their_device() {
        let cases = [
            ("NVIDIA H100 80GB HBM3", "H100 SXM5"),
            ("AMD Instinct MI300X VF", "MI300X"),
            ("AMD Instinct MI300X", "MI300X"),
            ("NVIDIA A100-SXM4-40GB", "A100 SXM 40GB"),
            ("NVIDIA A100-SXM4-80GB", "A100 SXM 80GB"),
            ("NVIDIA H100 PCIe", "H100 PCIe"),
            ("Tesla V100-SXM2-32GB", "V100 SXM2 32GB"),
            ("NVIDIA B200", "B200"),
            ("nvidia geforce rtx 4090", "RTX 4090"),
            ("AMD Instinct MI250X", "MI250X GCD"),
            ("b200", "B200"),
        ];
        for (name, expected) in cases {
            assert_eq!(named(name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(named("NVIDIA H100 NVL"), None, "another card than those of the table");
        assert_eq!(named("NVIDIA"), None);
        assert_eq!(named(""), None);
    }

    #[test]
    fn every_name_and_alias_finds_one_device() {
        let table = HardwareTable::builtin();
        for gpu in table.gpus() {
            for name in gpu.aliases.iter().chain([&gpu.name]) {
                let alike = |other: &&Gpu| {
                    plain(&other.name) == plain(name) || other.aliases.iter().any(|alias| plain(alias) == plain(name))
                };
                let found: Vec<_> = table.gpus().iter().filter(alike).map(|gpu| &gpu.name).collect();
                assert_eq!(found, [&gpu.name], "{name}");
            }
        }
    }

    fn device(name: &str, multiprocessors: u32, memory: u64, warp: i64) -> DeviceInfo {
        DeviceInfo {
            name: name.to_owned(),
            multiprocessors: Some(multiprocessors),
            memory_bytes: Some(memory),
            properties: vec![("warpSize".to_owned(), ArgValue::Int(warp))],
            ..DeviceInfo::default()
        }
    }

    #[test]
    fn a_device_without_a_name_is_found_by_its_properties() {
        let table = HardwareTable::builtin();
        // Properties of real traces.
        let found = table.of_device(&device("", 304, 206_141_652_992, 64)).unwrap();
        assert_eq!((found.gpu.name.as_str(), found.by), ("MI300X", MatchedBy::Properties));
        assert_eq!(table.of_device(&device("", 304, 274_000_000_000, 64)).unwrap().gpu.name, "MI325X");
        // 132 multiprocessors and 80 GB are an H100 or an H800.
        assert!(table.of_device(&device("", 132, 85_018_279_936, 32)).is_none());
        assert!(table.of_device(&device("Unheard Of 9000", 304, 206_141_652_992, 64)).is_none());
    }

    #[test]
    fn properties_of_the_trace_win_over_the_table() {
        let table = HardwareTable::builtin();
        let whole = table.of_device(&device("NVIDIA H100 80GB HBM3", 132, 85_018_279_936, 32)).unwrap();
        assert!(whole.notes.is_empty());
        let mut part = device("NVIDIA H100 80GB HBM3", 66, 42_000_000_000, 32);
        part.properties.push(("memoryBandwidth".to_owned(), ArgValue::Int(1_675_000_000_000)));
        let part = table.of_device(&part).unwrap();
        assert_eq!(part.notes.len(), 2);
        assert_eq!(part.gpu.peak(Precision::Bf16).unwrap() * 2.0, whole.gpu.peak(Precision::Bf16).unwrap());
        assert_eq!(part.gpu.memory_bytes_per_s(), Some(1.675e12));
    }
}
