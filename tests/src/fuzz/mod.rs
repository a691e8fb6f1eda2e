//! Inputs for the fuzzer of the readers: valid files of each format, changed at random in structure and in bytes.
//!
//! An input depends on the format, the seed and its number only (and on the real traces, where those are asked for),
//! so that a crash can be made again without having been saved.

mod archives;
mod change;
mod json;
mod kineto;
mod protobuf;
mod seeds;
mod sqlite;
mod table;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use gapless_trace::{EventId, Trace};

use crate::synth::Rng;
use change::{change_binary, change_lines, change_text, pack, pick};

/// Makes inputs.
pub trait Maker {
    /// An input.
    fn make(&self, rng: &mut Rng) -> Vec<u8>;
}

/// Valid files and how they are changed.
struct Seeded {
    seeds: Vec<Vec<u8>>,
    change: fn(&mut Vec<u8>, &[Vec<u8>], &mut Rng),
    change_bytes: fn(&mut Vec<u8>, &mut Rng),
}

impl Maker for Seeded {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = pick(&self.seeds, rng).clone();
        for _ in 0..rng.below(6) {
            (self.change)(&mut bytes, &self.seeds, rng);
        }
        if rng.chance(0.3) {
            for _ in 0..=rng.below(4) {
                (self.change_bytes)(&mut bytes, rng);
            }
        }
        if rng.chance(0.03) { pack(&bytes, rng) } else { bytes }
    }
}

/// A format that is fuzzed.
pub struct Target {
    /// Its name.
    pub format: &'static str,
    /// What the model calls it: real files of it are told by that. Empty where no real files are taken.
    pub model_name: &'static str,
    /// Name of its files.
    pub file_name: &'static str,
    /// Makes the valid files.
    seeds: fn() -> io::Result<Vec<Vec<u8>>>,
    /// Changes one of them.
    change: fn(&mut Vec<u8>, &[Vec<u8>], &mut Rng),
    /// Changes one of them without knowing the format.
    change_bytes: fn(&mut Vec<u8>, &mut Rng),
}

fn change_json_text(bytes: &mut Vec<u8>, rng: &mut Rng) {
    change_text(bytes, &kineto::TOKENS, rng);
}

fn change_words(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let word = seeds::word(rng);
    change_text(bytes, &[word], rng);
}

fn no_seeds() -> io::Result<Vec<Vec<u8>>> {
    Ok(Vec::new())
}

fn change_only_bytes(bytes: &mut Vec<u8>, _: &[Vec<u8>], rng: &mut Rng) {
    change_binary(bytes, rng);
}

macro_rules! targets {
    ($($format:literal, $model:literal, $file:literal, $seeds:path, $change:path, $bytes:path;)*) => {
        /// All formats.
        pub const TARGETS: &[Target] = &[$(Target {
            format: $format, model_name: $model, file_name: $file, seeds: $seeds, change: $change, change_bytes: $bytes,
        },)*];
    };
}

targets! {
    "kineto", "", "rank0.json", no_seeds, change_only_bytes, change_json_text;
    "archives", "", "run.bin", no_seeds, change_only_bytes, change_binary;
    "perfetto", "Perfetto", "a.pftrace", seeds::perfetto, protobuf::change, change_binary;
    "xplane", "XPlane", "host.xplane.pb", seeds::xplane, protobuf::change, change_binary;
    "nsys", "Nsight", "a.sqlite", sqlite::seeds, sqlite::change, change_binary;
    "straggler", "operator table", "table.parquet", table::seeds, table::change, change_binary;
    "perf_data", "perf.data", "perf.data", seeds::perf_data, change_only_bytes, change_binary;
    "perf_script", "perf script", "perf.txt", seeds::perf_script, change_lines, change_words;
    "collapsed", "collapsed", "a.folded", seeds::collapsed, change_lines, change_words;
    "execution_trace", "PyTorch execution", "et.json", seeds::execution_trace, json::change, change_json_text;
    "flight_recorder", "PyTorch flight", "dump_0", seeds::flight_recorder_json, json::change, change_json_text;
    "flight_recorder_pickle", "", "dump_0", seeds::flight_recorder_pickle, change_only_bytes, change_binary;
    "nccl_inspector", "NCCL", "a.log", seeds::nccl_inspector, json::change, change_json_text;
    "rocprof", "rocprofv3", "a_results.json", seeds::rocprof, json::change, change_json_text;
    "chakra", "", "chakra.0.et", seeds::chakra_protobuf, protobuf::change_frames, change_binary;
    "chakra_json", "Chakra", "et.json", seeds::chakra_json, json::change, change_json_text;
}

/// Longest real file that inputs are made from, in bytes: more is slow and finds no more.
const LONGEST_REAL: u64 = 300_000;

impl Target {
    /// The target of a format.
    #[must_use]
    pub fn find(format: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.format == format)
    }

    /// What makes its inputs; also from small real traces `with_real`.
    ///
    /// # Errors
    /// When valid files cannot be made.
    pub fn maker(&self, with_real: bool) -> io::Result<Box<dyn Maker>> {
        match self.format {
            "kineto" => return Ok(Box::new(kineto::Corpus::new()?)),
            "archives" => return Ok(Box::new(archives::Archives::new()?)),
            _ => {}
        }
        let mut seeds = self.valid()?;
        if with_real && !self.model_name.is_empty() {
            seeds.extend(self.real());
        }
        Ok(Box::new(Seeded { seeds, change: self.change, change_bytes: self.change_bytes }))
    }

    /// The valid files that inputs are made from.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn valid(&self) -> io::Result<Vec<Vec<u8>>> {
        (self.seeds)()
    }

    /// Small real traces of this format.
    fn real(&self) -> Vec<Vec<u8>> {
        let Some(folder) = crate::oracle::real_traces() else { return Vec::new() };
        let files = crate::oracle::files_below(&folder, &[""]).unwrap_or_default();
        let small = files.iter().filter(|path| path.metadata().is_ok_and(|data| data.len() <= LONGEST_REAL));
        let read = small.filter_map(|path| std::fs::read(path).ok());
        let is_ours = |bytes: &Vec<u8>| {
            let trace = crate::open::open_bytes(self.file_name, bytes.clone());
            trace.is_ok_and(|trace| trace.sources().iter().any(|source| source.format.starts_with(self.model_name)))
        };
        read.filter(is_ours).collect()
    }

    /// Opens an input and checks everything that must hold for any. Gives the number of events; `None` for a refusal.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn check(&self, bytes: Vec<u8>, twice: bool) -> Result<Option<usize>, String> {
        let again = twice.then(|| bytes.clone());
        let opened = crate::open::open_bytes(self.file_name, bytes);
        if let Some(again) = again {
            let same = crate::open::open_bytes(self.file_name, again);
            let (first, second) = (opened.as_ref().map(digest), same.as_ref().map(digest));
            if first.as_ref().ok() != second.as_ref().ok() {
                return Err("reading it twice gives two traces".to_owned());
            }
        }
        let trace = match opened {
            Ok(trace) => trace,
            Err(error) if error.to_string().is_empty() => return Err("an error without a message".to_owned()),
            Err(_) => return Ok(None),
        };
        if matches!(self.format, "kineto" | "archives") {
            let told: u64 = trace.sources().iter().map(|source| source.file_events).sum();
            let events = trace.events().len();
            if events as u64 > told {
                return Err(format!("{events} events in the model, but {told} in the file"));
            }
        }
        // Arguments in a database are read when somebody asks: a damaged page is then an error that says so.
        check(&trace, self.format == "nsys")?;
        Ok(Some(trace.events().len()))
    }
}

/// What must be the same when a file is read twice.
fn digest(trace: &Trace) -> u64 {
    let mut hasher = DefaultHasher::new();
    let events = trace.events();
    (events.starts(), events.durs()).hash(&mut hasher);
    for index in 0..events.len().min(5_000) as u32 {
        trace.name(EventId(index)).hash(&mut hasher);
    }
    format!("{:?} {:?}", trace.warnings().sorted(), trace.launches().len()).hash(&mut hasher);
    format!("{:?} {:?}", trace.flows().len(), trace.tracks().len()).hash(&mut hasher);
    hasher.finish()
}

/// Arguments and relatives of so many events are looked at, so that a large input stays fast.
const LOOKED_AT: u32 = 20_000;

fn check(trace: &Trace, args_may_fail: bool) -> Result<(), String> {
    crate::check::invariants(trace)?;
    let events = trace.events().len();
    for index in 0..(events as u32).min(LOOKED_AT) {
        let event = EventId(index);
        if let Err(error) = trace.args(event)
            && !args_may_fail
        {
            return Err(format!("arguments of event {index}: {error}"));
        }
        if trace.children(event).any(|child| trace.parent(EventId(child as u32)) != Some(event)) {
            return Err(format!("a child of event {index} has another parent"));
        }
    }
    for (id, _) in trace.track_ids() {
        let _ = trace.track_label(id);
    }
    for warning in trace.warnings().sorted() {
        if warning.count == 0 || warning.to_string().is_empty() {
            return Err(format!("an empty warning: {warning:?}"));
        }
    }
    let analysis = gapless_analysis::analyze(trace, &gapless_analysis::AnalysisOptions::default());
    for rank in &analysis.ranks {
        for step in rank.steps.iter().chain([&rank.whole]) {
            if step.partition.sum_ns() != step.partition.duration_ns {
                return Err(format!(
                    "the parts of {} sum to {} ns: {:?}",
                    step.name,
                    step.partition.sum_ns(),
                    step.partition
                ));
            }
        }
    }
    Ok(())
}

/// The input of a number.
#[must_use]
pub fn input(maker: &dyn Maker, seed: u64, number: u64) -> Vec<u8> {
    maker.make(&mut Rng::derived(seed, &[number]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use super::*;

    #[test]
    fn inputs_depend_on_seed_and_number_only() {
        for target in TARGETS {
            let maker = target.maker(false).expect("generates");
            for number in 0..30 {
                assert_eq!(input(&*maker, 3, number), input(&*maker, 3, number), "{}", target.format);
            }
            assert!((0..9).any(|number| input(&*maker, 3, number) != input(&*maker, 4, number)), "{}", target.format);
        }
    }

    #[test]
    fn valid_files_open_as_their_format() {
        for target in TARGETS {
            for (index, bytes) in target.valid().expect("generates").into_iter().enumerate() {
                // The first ones are valid in every respect.
                if index > 0 && target.format == "nsys" {
                    continue;
                }
                let trace = crate::open::open_bytes(target.file_name, bytes);
                let trace = trace.unwrap_or_else(|error| panic!("{} {index}: {error}", target.format));
                let format = &trace.sources()[0].format;
                assert!(format.starts_with(target.model_name), "{} {index} is {format}", target.format);
                assert!(!trace.events().is_empty(), "{} {index}: {:?}", target.format, trace.warnings().sorted());
            }
        }
    }

    #[test]
    fn many_inputs_open_and_none_breaks_anything() {
        let mut failures = Vec::new();
        for target in TARGETS {
            let maker = target.maker(false).expect("generates");
            let count = if target.format == "kineto" { 500 } else { 150 };
            let results: Vec<_> =
                (0..count).map(|number| target.check(input(&*maker, 1, number), number % 8 == 0)).collect();
            let wrong: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
            if !wrong.is_empty() {
                failures.push(format!("{}: {wrong:?}", target.format));
            }
            let opened = results.iter().filter(|result| matches!(result, Ok(Some(_)))).count();
            if opened <= count as usize / 5 {
                failures.push(format!("{}: only {opened} of {count} open", target.format));
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}
