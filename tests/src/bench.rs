//! What benches share: the file that they repeat, runs in processes of their own, medians.

use std::ffi::OsStr;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde::de::DeserializeOwned;

use crate::oracle::{read_inflated, real_traces};
use crate::replicate::Replicator;
use crate::synth::{Config, Workload, texts};

/// Says on the error stream that a build without optimisation measures nothing.
#[expect(clippy::print_stderr, reason = "benches print")]
pub fn note_profile() {
    if cfg!(debug_assertions) {
        eprintln!("note: this is no release build; figures say little");
    }
}

/// A Kineto trace of about `megabytes` (10⁶ bytes) in `folder`, made if it is not there: `base`, else a real trace of
/// a training job, else a synthetic one, again and again.
///
/// # Errors
/// If the base cannot be read or the file cannot be written.
#[expect(clippy::print_stderr, reason = "benches print")]
pub fn repeated_json(folder: &Path, base: Option<&Path>, megabytes: u64) -> anyhow::Result<PathBuf> {
    let real = || Some(real_traces()?.join("traces/hta/ddp-v100-fractional-us.json.gz")).filter(|path| path.exists());
    let base = base.map(Path::to_path_buf).or_else(real);
    let name = match &base {
        Some(base) => base.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        None => "synthetic".to_owned(),
    };
    let stem = name.trim_end_matches(".gz").trim_end_matches(".json");
    let path = folder.join(format!("{stem}-{megabytes}MB.json"));
    if path.exists() {
        return Ok(path);
    }
    let text = match &base {
        Some(base) => read_inflated(base)?,
        None => texts(&Config::new(Workload::DataParallel, 1, 1).sized(50_000)?)?.0.remove(0),
    };
    let replicator = Replicator::new(&text).with_context(|| format!("{name} is no Kineto trace"))?;
    whole_or_none(&path, |partial| {
        let (bytes, events) = replicator.write(BufWriter::new(File::create(partial)?), megabytes * 1_000_000)?;
        eprintln!("made {}: {bytes} bytes, {events} events", path.display());
        Ok(())
    })?;
    Ok(path)
}

/// Lets `make` write a file beside `path` and gives it that name once it is whole, so that a run that was stopped
/// leaves nothing that looks right.
///
/// # Errors
/// Those of `make`, or if the file cannot be renamed.
pub fn whole_or_none(path: &Path, make: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let partial = path.with_extension("partial");
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    make(&partial)?;
    std::fs::rename(&partial, path)?;
    Ok(())
}

/// Brings the file into the page cache.
///
/// # Errors
/// If it cannot be read.
pub fn warm(file: &Path) -> anyhow::Result<()> {
    std::io::copy(&mut File::open(file)?, &mut std::io::sink())?;
    Ok(())
}

/// Runs this program `runs` times (at least once) with `arguments` and so many threads; each prints one JSON value.
/// Gives the run with the median of `cpu_s`, which other work on the machine disturbs least.
///
/// # Errors
/// If a run fails or prints something else.
pub fn median_of_runs<R: DeserializeOwned>(
    name: &str,
    arguments: &[&OsStr],
    threads: usize,
    runs: usize,
    cpu_s: impl Fn(&R) -> f64,
) -> anyhow::Result<R> {
    let mut found = Vec::new();
    for _ in 0..runs.max(1) {
        let output = Command::new(std::env::current_exe()?)
            .args(arguments)
            .env("RAYON_NUM_THREADS", threads.to_string())
            .output()?;
        ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        found.push(serde_json::from_slice::<R>(&output.stdout).with_context(|| name.to_owned())?);
    }
    median(found, cpu_s).context("no run")
}

/// The run with the median of `cpu_s`.
pub fn median<R>(mut runs: Vec<R>, cpu_s: impl Fn(&R) -> f64) -> Option<R> {
    runs.sort_by(|a, b| cpu_s(a).total_cmp(&cpu_s(b)));
    let middle = runs.len() / 2;
    (middle < runs.len()).then(|| runs.swap_remove(middle))
}
