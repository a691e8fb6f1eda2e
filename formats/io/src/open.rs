//! One door for all traces.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gapless_trace::{BuildOptions, Source, SourceId, Trace, TracePart, WarningKind};
use rayon::prelude::*;

use crate::kineto;
use crate::mapped::Bytes;
use crate::ranks::{rank_in_name, settle_ranks};
use crate::text::{JsonText, KeptBytes};
use crate::{OpenError, Progress, Silent};

/// How to open traces.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Rank numbers of the files in the order given; overrides what the files say.
    pub ranks: Option<Vec<u32>>,
    /// Which kernels communicate.
    pub build: BuildOptions,
}

/// First bytes of a text that are looked at to tell whether a file in a folder is a trace.
const SNIFFED: u64 = 1 << 20;

/// The files that `args` name: files, folders (all traces in them, not deeper), and patterns (`rank*.json.gz`).
///
/// Files of folders and patterns come in the order of their names, numbers in them compared as numbers. A file that
/// is named twice is taken once.
///
/// # Errors
/// When one of them names nothing.
pub fn expand(args: &[String]) -> Result<Vec<PathBuf>, OpenError> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut known: BTreeSet<PathBuf> = BTreeSet::new();
    for arg in args {
        let path = PathBuf::from(arg);
        let mut found = if path.is_dir() {
            traces_in(&path)?
        } else if !path.exists() && arg.contains(['*', '?', '[']) {
            let matches =
                glob::glob(arg).map_err(|error| OpenError::NothingFound { what: format!("{arg} ({error})") })?;
            matches.filter_map(Result::ok).filter(|path| path.is_file()).collect()
        } else if path.exists() {
            vec![path]
        } else {
            Vec::new()
        };
        if found.is_empty() {
            return Err(OpenError::NothingFound { what: arg.clone() });
        }
        found.sort_by_cached_key(|path| natural_key(path));
        for path in found {
            // The same file by another way is the same file.
            if known.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

/// Splits a name into text and numbers, so that rank10 comes after rank9.
fn natural_key(path: &Path) -> Vec<(String, u64)> {
    let name = path.to_string_lossy().into_owned();
    let mut key = Vec::new();
    let mut rest = name.as_str();
    while !rest.is_empty() {
        let digits_at = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(digits_at);
        let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (number, tail) = tail.split_at(digits);
        key.push((text.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = tail;
    }
    key
}

fn traces_in(folder: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let io = |error: std::io::Error| OpenError::Io { path: folder.to_owned(), reason: error.to_string() };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_file() && !is_foreign(&path) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Whether a file of a folder is something else than a trace. What cannot be told (an empty or damaged file whose
/// name says JSON) is no stranger: it is opened, and what is wrong with it is said.
fn is_foreign(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    if name.starts_with('.') {
        return true;
    }
    let is_named_so = name.ends_with(".json") || name.ends_with(".json.gz");
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(SNIFFED).read_to_end(&mut head));
    if read.is_err() {
        return !is_named_so;
    }
    let mut is_cut = head.len() as u64 == SNIFFED;
    if is_gzip(&head) {
        let mut text = Vec::new();
        let inflated = flate2::bufread::GzDecoder::new(head.as_slice()).take(SNIFFED).read_to_end(&mut text);
        // The head of a longer file ends early; what came out of it is enough.
        is_cut |= inflated.is_err() || text.len() as u64 == SNIFFED;
        head = text;
    }
    if kineto::sniff(&head) {
        return false;
    }
    let is_json = head.iter().find(|&&byte| byte > b' ').is_none_or(|&first| first == b'{' || first == b'[');
    // A whole JSON file without events is another file: a manifest, a configuration.
    let can_tell = !head.iter().all(|&byte| byte <= b' ') && (!is_cut || !is_json);
    can_tell || !is_named_so
}

fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1F, 0x8B])
}

/// Opens `paths` as one trace, one rank each, ordered by rank.
///
/// # Errors
/// When a file cannot be read at all, its format is not known, or ranks are unclear. What is damaged inside a
/// file is no error: it is counted in [`Trace::warnings`].
pub fn open(paths: &[PathBuf], options: &OpenOptions, progress: &dyn Progress) -> Result<Trace, OpenError> {
    if paths.is_empty() {
        return Err(OpenError::NothingFound { what: "no path".to_owned() });
    }
    let files: Vec<Bytes> = paths
        .iter()
        .map(|path| Bytes::open(path).map_err(|error| OpenError::Io { path: path.clone(), reason: error.to_string() }))
        .collect::<Result<_, _>>()?;
    let total: u64 = files.iter().map(|file| file.len() as u64).sum();
    let what = match paths {
        [only] => format!("Reading {}", only.display()),
        _ => format!("Reading {} files", paths.len()),
    };
    progress.stage(&what, total);
    let kept = KeptBytes::default();
    let sum = SumProgress::new(progress, files.len());
    let parts: Vec<TracePart> = files
        .into_par_iter()
        .zip(paths)
        .enumerate()
        .map(|(index, (file, path))| read_part(path, file, options.ranks.is_some(), &kept, &sum.of(index)))
        .collect::<Result<_, _>>()?;
    if progress.is_cancelled() {
        return Err(OpenError::Cancelled);
    }
    progress.stage("Sorting events", 0);
    let parts = settle_ranks(parts, options.ranks.as_deref())?;
    Ok(Trace::from_parts(parts, &options.build)?)
}

/// Opens bytes in memory as a trace of one rank; `name` stands for the path in messages.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(name: &str, bytes: Vec<u8>, options: &OpenOptions) -> Result<Trace, OpenError> {
    let part =
        read_part(Path::new(name), Bytes::Owned(bytes), options.ranks.is_some(), &KeptBytes::default(), &Silent)?;
    let parts = settle_ranks(vec![part], options.ranks.as_deref())?;
    Ok(Trace::from_parts(parts, &options.build)?)
}

fn read_part(
    path: &Path,
    file: Bytes,
    ranks_given: bool,
    kept: &KeptBytes,
    progress: &dyn Progress,
) -> Result<TracePart, OpenError> {
    let bytes = Arc::new(file);
    let source = Source {
        path: path.display().to_string(),
        format: "Kineto or Chrome JSON".to_owned(),
        file_bytes: bytes.len() as u64,
        text_bytes: bytes.len() as u64,
        file_events: 0,
    };
    let mut part = TracePart::new(source);
    if is_gzip(&bytes) {
        part.source.format.push_str(", gzip");
        let kept =
            kineto::read_gzip(&bytes, Arc::clone(kept), &mut part, progress).map_err(|refused| refused.at(path))?;
        part.args = Arc::new(JsonText::of_gzip(kept, bytes));
    } else {
        kineto::read_text(&bytes, &mut part, progress).map_err(|refused| refused.at(path))?;
        part.args = Arc::new(JsonText::Plain(bytes));
    }
    // A rank that the user gives needs no guess.
    if part.info.rank.is_none()
        && !ranks_given
        && let Some(rank) = rank_in_name(path)
    {
        part.info.rank = Some(rank);
        part.warnings.add(WarningKind::RankAssumed, SourceId(0), None, &format!("rank {rank}"));
    }
    Ok(part)
}

/// Progress of several files read at once, as one.
struct SumProgress<'a> {
    whole: &'a dyn Progress,
    done: Vec<std::sync::atomic::AtomicU64>,
}

struct PartProgress<'a> {
    sum: &'a SumProgress<'a>,
    index: usize,
}

impl<'a> SumProgress<'a> {
    fn new(whole: &'a dyn Progress, parts: usize) -> Self {
        Self { whole, done: (0..parts).map(|_| std::sync::atomic::AtomicU64::new(0)).collect() }
    }

    fn of(&'a self, index: usize) -> PartProgress<'a> {
        PartProgress { sum: self, index }
    }
}

impl Progress for PartProgress<'_> {
    fn stage(&self, _what: &str, _total_bytes: u64) {}

    fn done(&self, bytes: u64) {
        use std::sync::atomic::Ordering::Relaxed;
        if let Some(own) = self.sum.done.get(self.index) {
            own.fetch_max(bytes, Relaxed);
        }
        self.sum.whole.done(self.sum.done.iter().map(|part| part.load(Relaxed)).sum());
    }

    fn is_cancelled(&self) -> bool {
        self.sum.whole.is_cancelled()
    }
}
