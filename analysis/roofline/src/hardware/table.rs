//! Reading the table.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Fact, Gpu, Precision};
use crate::Calibration;

/// The table that ships with Gapless.
const BUILTIN: &str = include_str!("../../../../assets/hardware.toml");

/// Why a hardware file cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HardwareError {
    /// No TOML, or not of the table's form.
    #[error("the hardware file cannot be used: {0}")]
    Shape(String),
    /// A version that this program does not know.
    #[error("the hardware file has schema {0}; this version reads schema 1")]
    Schema(i64),
    /// A value that no device has.
    #[error("the hardware file gives {gpu} {key} = {value}; it must be a number above 0{more}")]
    Value {
        /// The device.
        gpu: String,
        /// The key.
        key: String,
        /// The value as text.
        value: String,
        /// What else holds for the key.
        more: &'static str,
    },
    /// An entry without a name.
    #[error("an entry [[gpu]] of the hardware file has no name; add name = \"…\"")]
    NoName,
}

/// All known devices.
#[derive(Clone, Debug, PartialEq)]
pub struct HardwareTable {
    gpus: Vec<Gpu>,
    achievable: BTreeMap<String, Fact>,
    network: BTreeMap<String, Fact>,
    /// From, to, and what was learnt.
    calibrations: Vec<(String, String, Calibration)>,
}

/// A fact, or a bare number as users write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Number(f64),
    Fact(Fact),
}

impl Value {
    fn into_fact(self) -> Fact {
        match self {
            Self::Fact(fact) => fact,
            Self::Number(value) => {
                Fact { value, range: None, verified: true, unsure: false, source: "given by the user".to_owned() }
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "one")]
    schema: i64,
    #[serde(default)]
    achievable: BTreeMap<String, Value>,
    #[serde(default)]
    network: BTreeMap<String, Value>,
    #[serde(default)]
    gpu: Vec<Entry>,
    #[serde(default)]
    calibration: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    from: String,
    to: String,
    #[serde(flatten)]
    calibration: Calibration,
}

const fn one() -> i64 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    name: String,
    vendor: Option<String>,
    unit: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    multiprocessors: Option<Value>,
    memory_gb: Option<Value>,
    memory_gb_per_s: Option<Value>,
    fp64_tflops: Option<Value>,
    fp64_matrix_tflops: Option<Value>,
    fp32_tflops: Option<Value>,
    fp32_matrix_tflops: Option<Value>,
    tf32_tflops: Option<Value>,
    bf16_tflops: Option<Value>,
    fp16_tflops: Option<Value>,
    fp8_tflops: Option<Value>,
    fp4_tflops: Option<Value>,
    int8_tops: Option<Value>,
    link_gb_per_s: Option<Value>,
    host_link: Option<String>,
    power_w: Option<Value>,
    note: Option<String>,
    #[serde(default)]
    achievable: BTreeMap<String, Value>,
}

impl HardwareTable {
    /// The table that ships with Gapless.
    #[must_use]
    pub fn builtin() -> Self {
        // A test reads the built-in text, so that it cannot fail here.
        Self::parse(BUILTIN).unwrap_or_else(|_| Self::empty())
    }

    fn empty() -> Self {
        Self { gpus: Vec::new(), achievable: BTreeMap::new(), network: BTreeMap::new(), calibrations: Vec::new() }
    }

    /// A table of `text` alone.
    ///
    /// # Errors
    /// When the text is no table of this form or a value is not above zero.
    pub fn parse(text: &str) -> Result<Self, HardwareError> {
        Self::empty().with(text)
    }

    /// This table with the values of `text` added; where both have a value, the one of `text` wins.
    ///
    /// # Errors
    /// When the text is no table of this form or a value is not above zero.
    pub fn with(mut self, text: &str) -> Result<Self, HardwareError> {
        let file: File = toml::from_str(text).map_err(|error| HardwareError::Shape(first_line(&error, text)))?;
        if file.schema != 1 {
            return Err(HardwareError::Schema(file.schema));
        }
        let default = "the defaults";
        for (key, value) in file.achievable {
            let fact = fraction(default, &key, value)?;
            for gpu in &mut self.gpus {
                // A device that has the default takes the new one.
                if gpu.achievable.get(&key) == self.achievable.get(&key) {
                    gpu.achievable.insert(key.clone(), fact.clone());
                }
            }
            self.achievable.insert(key, fact);
        }
        for (key, value) in file.network {
            let fact = positive("the network", &key, value)?;
            self.network.insert(key, fact);
        }
        for entry in file.gpu {
            self.add(entry)?;
        }
        for Pair { from, to, calibration } in file.calibration {
            for factor in calibration.classes.values() {
                if !(factor.factor.is_finite() && factor.factor > 0.0 && factor.spread >= 0.0) {
                    let (key, value) = (format!("calibration to {to}"), factor.factor.to_string());
                    return Err(HardwareError::Value { gpu: from, key, value, more: "" });
                }
            }
            self.calibrations.retain(|(old_from, old_to, _)| (old_from, old_to) != (&from, &to));
            self.calibrations.push((from, to, calibration));
        }
        Ok(self)
    }

    fn add(&mut self, entry: Entry) -> Result<(), HardwareError> {
        if entry.name.trim().is_empty() {
            return Err(HardwareError::NoName);
        }
        let place = self.gpus.iter().position(|gpu| gpu.name == entry.name);
        let mut gpu = match place.and_then(|place| self.gpus.get(place)) {
            Some(gpu) => gpu.clone(),
            None => Gpu { name: entry.name.clone(), achievable: self.achievable.clone(), ..Gpu::default() },
        };
        let name = entry.name;
        let set = |slot: &mut Option<Fact>, key: &str, value: Option<Value>| -> Result<(), HardwareError> {
            if let Some(value) = value {
                *slot = Some(positive(&name, key, value)?);
            }
            Ok(())
        };
        set(&mut gpu.multiprocessors, "multiprocessors", entry.multiprocessors)?;
        set(&mut gpu.memory_gb, "memory_gb", entry.memory_gb)?;
        set(&mut gpu.memory_gb_per_s, "memory_gb_per_s", entry.memory_gb_per_s)?;
        set(&mut gpu.link_gb_per_s, "link_gb_per_s", entry.link_gb_per_s)?;
        set(&mut gpu.power_w, "power_w", entry.power_w)?;
        let peaks = [
            (Precision::Fp64, entry.fp64_tflops),
            (Precision::Fp64Matrix, entry.fp64_matrix_tflops),
            (Precision::Fp32, entry.fp32_tflops),
            (Precision::Fp32Matrix, entry.fp32_matrix_tflops),
            (Precision::Tf32, entry.tf32_tflops),
            (Precision::Bf16, entry.bf16_tflops),
            (Precision::Fp16, entry.fp16_tflops),
            (Precision::Fp8, entry.fp8_tflops),
            (Precision::Fp4, entry.fp4_tflops),
            (Precision::Int8, entry.int8_tops),
        ];
        for (precision, value) in peaks {
            if let Some(value) = value {
                gpu.peaks.insert(precision, positive(&name, precision.key(), value)?);
            }
        }
        for (key, value) in entry.achievable {
            let fact = fraction(&name, &key, value)?;
            gpu.achievable.insert(key, fact);
        }
        let take = |slot: &mut String, value: Option<String>| *slot = value.unwrap_or_else(|| std::mem::take(slot));
        take(&mut gpu.vendor, entry.vendor);
        take(&mut gpu.unit, entry.unit);
        gpu.host_link = entry.host_link.or(gpu.host_link);
        gpu.note = entry.note.or(gpu.note);
        for alias in entry.aliases {
            if !gpu.aliases.contains(&alias) {
                gpu.aliases.push(alias);
            }
        }
        match place.and_then(|place| self.gpus.get_mut(place)) {
            Some(slot) => *slot = gpu,
            None => self.gpus.push(gpu),
        }
        Ok(())
    }

    /// All devices in the order of the table.
    #[must_use]
    pub fn gpus(&self) -> &[Gpu] {
        &self.gpus
    }

    /// What was learnt of a pair of devices, by their names in the table.
    #[must_use]
    pub fn calibration(&self, from: &Gpu, to: &Gpu) -> Option<&Calibration> {
        let found = self.calibrations.iter().find(|(a, b, _)| *a == from.name && *b == to.name);
        found.map(|(_, _, calibration)| calibration)
    }

    /// Bandwidths of networks between hosts in 10⁹ bytes per second and direction, by key.
    #[must_use]
    pub fn network(&self) -> &BTreeMap<String, Fact> {
        &self.network
    }
}

fn positive(gpu: &str, key: &str, value: Value) -> Result<Fact, HardwareError> {
    let fact = value.into_fact();
    if fact.value.is_finite() && fact.value > 0.0 {
        return Ok(fact);
    }
    Err(HardwareError::Value { gpu: gpu.to_owned(), key: key.to_owned(), value: fact.value.to_string(), more: "" })
}

fn fraction(gpu: &str, key: &str, value: Value) -> Result<Fact, HardwareError> {
    let fact = positive(gpu, key, value)?;
    if fact.value <= 1.0 {
        return Ok(fact);
    }
    let value = fact.value.to_string();
    Err(HardwareError::Value { gpu: gpu.to_owned(), key: format!("achievable.{key}"), value, more: " and at most 1" })
}

/// The parser's reason with its line; the drawing of the place is left out.
fn first_line(error: &toml::de::Error, text: &str) -> String {
    let reason = error.message().lines().next().unwrap_or_default();
    match error.span() {
        Some(span) => {
            let line = text.get(..span.start).map_or(0, |before| before.matches('\n').count()) + 1;
            format!("line {line}: {reason}")
        }
        None => reason.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_table_is_whole() {
        let table = HardwareTable::parse(BUILTIN).unwrap();
        assert_eq!(table.gpus().len(), 37);
        for gpu in table.gpus() {
            assert!(gpu.memory_bytes_per_s().is_some(), "{} has a bandwidth", gpu.name);
            assert!(!gpu.peaks.is_empty() && !gpu.aliases.is_empty() && !gpu.vendor.is_empty(), "{}", gpu.name);
            for key in ["gemm", "streaming", "attention", "convolution", "collective"] {
                assert!(gpu.achievable.contains_key(key), "{} has {key}", gpu.name);
            }
            let facts = [&gpu.multiprocessors, &gpu.memory_gb, &gpu.memory_gb_per_s, &gpu.link_gb_per_s, &gpu.power_w];
            let facts = facts.into_iter().flatten().chain(gpu.peaks.values()).chain(gpu.achievable.values());
            for fact in facts {
                assert!(!fact.source.is_empty(), "{}: {fact:?}", gpu.name);
                assert!(fact.range.is_none_or(|(low, high)| low <= fact.value && fact.value <= high), "{}", gpu.name);
                assert_eq!(
                    fact.verified,
                    !fact.source.contains("recalled")
                        && !fact.source.contains("design value")
                        && !fact.source.starts_with("as "),
                    "{}: {fact:?}",
                    gpu.name
                );
            }
        }
    }

    #[test]
    fn a_users_file_wins() {
        let text = "[[gpu]]\nname = \"H100 SXM5\"\nmemory_gb_per_s = 3000\nachievable.gemm = 0.6\n\
                    [[gpu]]\nname = \"Own\"\naliases = [\"My card\"]\nbf16_tflops = { value = 10, source = \"lab\" }\n\
                    [achievable]\nattention = 0.5\n";
        let table = HardwareTable::builtin().with(text).unwrap();
        let h100 = table.find("H100").unwrap();
        assert_eq!(h100.memory_bytes_per_s(), Some(3e12));
        assert_eq!(h100.achievable["gemm"].value, 0.6);
        assert_eq!(h100.achievable["attention"].value, 0.5);
        assert_eq!(h100.peak(Precision::Bf16), Some(989.4e12), "what the file does not say stays");
        let own = table.find("my card").unwrap();
        assert_eq!(own.peak(Precision::Bf16), Some(10e12));
        assert_eq!(own.achievable["attention"].value, 0.5);
        assert!(!own.peaks[&Precision::Bf16].verified);
    }

    #[test]
    fn wrong_files_say_what_is_wrong() {
        let error = |text: &str| HardwareTable::parse(text).unwrap_err().to_string();
        assert!(error("[[gpu]]\nname = \"x\"\nbf16_tflops = -1").contains("x bf16_tflops = -1"));
        assert!(error("[[gpu]]\nname = \"x\"\nachievable.gemm = 75").contains("at most 1"));
        assert!(error("schema = 2").contains("schema 2"));
        assert!(error("[[gpu]]\nbf16_tflops = 1").contains("no name"));
        assert!(error("\n[[gpu]]\nname = \"x\"\nspeed = 1").contains("line 4: unknown field `speed`"));
    }
}
