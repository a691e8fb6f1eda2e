//! Synthetic training traces whose every answer is known.
//!
//! A small simulation runs a job on several ranks: host threads run operators and launch device work, streams run
//! it in order, collectives end on all ranks together. Its schedule is in whole nanoseconds; the trace files are
//! written from it, and so are the answers ([`Truth`]), by other code than the product's.
//!
//! Equal configurations give equal bytes, on every machine.

mod config;
mod device;
mod json;
mod rank;
mod rng;
mod truth;
mod workload;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub use config::{Change, Config, Era, Layout, SlowRank, Vendor, Workload};
pub use json::{Ev, Id, KinetoWriter, Val, escape_into};
pub use rng::Rng;
pub use truth::{Arrival, Class, CollectiveTruth, RankTruth, StepTruth, TimeByClasses, Truth, WorkTruth};

use device::Collectives;
use rank::RankSim;

/// Simulates the job and writes one trace to each sink, one sink a rank. Events are written as the simulation goes;
/// kept in memory are 40 bytes for each piece of device work.
///
/// # Errors
/// When a sink fails, or when the number of sinks is not that of the ranks.
pub fn write_traces<W: Write>(config: &Config, sinks: Vec<W>) -> io::Result<(Vec<W>, Truth)> {
    if sinks.len() != config.ranks as usize {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "one sink a rank is needed"));
    }
    let made: io::Result<Vec<_>> = (0..).zip(sinks).map(|(rank, sink)| RankSim::new(config, rank, sink)).collect();
    let mut ranks = made?;
    let mut collectives = Collectives::default();
    for rank in &mut ranks {
        rank.unlaunched(config.unlaunched);
    }
    for step in 0..config.steps {
        let states: Vec<_> = ranks.iter_mut().map(|rank| rank.first_half(step)).collect();
        resolve(&mut ranks, &mut collectives)?;
        for (rank, state) in ranks.iter_mut().zip(&states) {
            rank.second_half(step, state);
        }
    }
    resolve(&mut ranks, &mut collectives)?;
    let mut truth = Truth { ranks: Vec::new(), collectives: collectives.truth };
    let mut sinks = Vec::new();
    for rank in ranks {
        let (sink, answers) = rank.finish()?;
        sinks.push(sink);
        truth.ranks.push(answers);
    }
    Ok((sinks, truth))
}

/// Gives every launched piece of work its time on the device.
fn resolve<W: Write>(ranks: &mut [RankSim<'_, W>], collectives: &mut Collectives) -> io::Result<()> {
    let mut moved = true;
    while moved {
        moved = false;
        for rank in ranks.iter_mut() {
            moved |= rank.advance(collectives);
        }
    }
    if ranks.iter().any(|rank| !rank.device.queue.is_empty()) {
        return Err(io::Error::other(
            "the simulated job waits for itself: its ranks disagree on the order of collectives",
        ));
    }
    for rank in ranks {
        rank.close_steps();
    }
    Ok(())
}

/// File name of a rank's trace.
#[must_use]
pub fn file_name(rank: u32, gzip: bool) -> String {
    format!("rank{rank}.pt.trace.json{}", if gzip { ".gz" } else { "" })
}

/// Writes the traces of all ranks into `folder`, which is made if need be. Gives the files, by rank, and the answers.
///
/// # Errors
/// When a file cannot be written.
pub fn write_files(config: &Config, folder: &Path, gzip: bool) -> io::Result<(Vec<PathBuf>, Truth)> {
    std::fs::create_dir_all(folder)?;
    let paths: Vec<PathBuf> = (0..config.ranks).map(|rank| folder.join(file_name(rank, gzip))).collect();
    let files: io::Result<Vec<File>> = paths.iter().map(File::create).collect();
    let truth = if gzip {
        let level = flate2::Compression::new(6);
        let sinks = files?.into_iter().map(|file| flate2::write::GzEncoder::new(BufWriter::new(file), level)).collect();
        let (sinks, truth) = write_traces(config, sinks)?;
        for sink in sinks {
            sink.finish()?.flush()?;
        }
        truth
    } else {
        write_traces(config, files?)?.1
    };
    Ok((paths, truth))
}

/// The traces of all ranks as text, by rank, and the answers.
///
/// # Errors
/// When the configuration cannot run.
pub fn texts(config: &Config) -> io::Result<(Vec<Vec<u8>>, Truth)> {
    write_traces(config, vec![Vec::new(); config.ranks as usize])
}
