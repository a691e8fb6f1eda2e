//! One door for all traces.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gapless_trace::{BuildOptions, Source, SourceId, Trace, WarningKind, Warnings};
use rayon::prelude::*;

use crate::error::Refused;
use crate::limits::Limits;
use crate::mapped::Bytes;
use crate::merge::merge;
use crate::ranks::rank_in_name;
use crate::readers::{Head, Input, READERS, ReadPart, Reader, Role};
use crate::text::{JsonText, KeptBytes};
use crate::unwrap::{self, Budget, Verdict};
use crate::{OpenError, Progress, Silent, kineto, xplane};

/// How to open traces.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Rank numbers of the files in the order given; overrides what the files say.
    pub ranks: Option<Vec<u32>>,
    /// Which kernels communicate.
    pub build: BuildOptions,
    /// What a file may cost.
    pub limits: Limits,
}

/// The format of content that begins with `head`.
fn reader_of(head: &[u8], path: &Path) -> Option<&'static Reader> {
    let head = Head { bytes: head.get(..unwrap::HEAD).unwrap_or(head), name: &name_of(path) };
    READERS.iter().find(|reader| (reader.sniff)(&head))
}

/// Name of a file in lower case.
fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// The files that `args` name: files, folders (all traces in them; where there are none, all traces in the folders
/// below, as profilers lay them out: `log/plugins/profile/RUN/HOST.xplane.pb`), and patterns (`rank*.json.gz`).
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
            traces_below(&path)?
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
pub(crate) fn natural_key(path: &Path) -> Vec<(String, u64)> {
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

/// How deep below a folder without traces they are looked for.
const DEEPEST: usize = 5;
/// How many folders are looked into.
const MOST_FOLDERS: usize = 4_096;

/// The traces of `folder`, or else those of the nearest level below that has some.
fn traces_below(folder: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut level = vec![folder.to_owned()];
    let mut looked_into = 0;
    for _ in 0..=DEEPEST {
        let mut found = Vec::new();
        let mut below = Vec::new();
        for folder in &level {
            looked_into += 1;
            if looked_into > MOST_FOLDERS {
                break;
            }
            let (traces, folders) = traces_in(folder)?;
            found.extend(traces);
            below.extend(folders);
        }
        if !found.is_empty() || below.is_empty() {
            return Ok(found);
        }
        level = below;
    }
    Ok(Vec::new())
}

/// The traces and the folders in `folder`. Links to folders are not followed: they may lead in circles.
fn traces_in(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), OpenError> {
    let io = |error: std::io::Error| OpenError::Io { path: folder.to_owned(), reason: error.to_string() };
    let (mut found, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(path);
        } else if path.is_file() && !is_foreign(&path) {
            found.push(path);
        }
    }
    xplane::leave_out_exports(&mut found);
    Ok((found, folders))
}

/// Whether a file of a folder is something else than a trace. What cannot be told (an empty or damaged file whose
/// name says JSON) is no stranger: it is opened, and what is wrong with it is said.
fn is_foreign(path: &Path) -> bool {
    let name = name_of(path);
    if name.starts_with('.') {
        return true;
    }
    let is_named_so = name.ends_with(".json") || name.ends_with(".json.gz");
    let Ok(bytes) = Bytes::open(path) else { return !is_named_so };
    let inflated = unwrap::inflated_head(&bytes);
    let (head, is_whole) = match &inflated {
        Some((head, is_whole)) => (head.as_slice(), *is_whole),
        None => (bytes.get(..unwrap::HEAD).unwrap_or(&bytes), bytes.len() <= unwrap::HEAD),
    };
    if unwrap::is_wrapped(head) {
        return !unwrap::may_hold_trace(&name, &Arc::new(bytes), &judge);
    }
    if reader_of(head, path).is_some() {
        return false;
    }
    let is_json = head.iter().find(|&&byte| byte > b' ').is_none_or(|&first| first == b'{' || first == b'[');
    // A whole JSON file without events is another file: a manifest, a configuration.
    let can_tell = !head.iter().all(|&byte| byte <= b' ') && (is_whole || !is_json);
    can_tell || !is_named_so
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
    let parts: Vec<Vec<ReadPart>> = files
        .into_par_iter()
        .zip(paths)
        .enumerate()
        .map(|(index, (file, path))| read_file(path, file, options, &kept, &sum.of(index)))
        .collect::<Result<_, _>>()?;
    if progress.is_cancelled() {
        return Err(OpenError::Cancelled);
    }
    if let (true, Some(path)) = (parts.iter().all(Vec::is_empty), paths.first()) {
        let reason = "it describes a trace and holds no events itself; open the trace beside it".to_owned();
        return Err(OpenError::Format { path: path.clone(), offset: 0, reason });
    }
    progress.stage("Sorting events", 0);
    let parts: Vec<ReadPart> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return Err(nothing_in(paths.first().map_or(Path::new(""), PathBuf::as_path)));
    }
    let parts = merge(parts, options.ranks.as_deref())?;
    Ok(Trace::from_parts(parts, &options.build)?)
}

/// Opens bytes in memory as a trace; `name` stands for the path in messages.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(name: &str, bytes: Vec<u8>, options: &OpenOptions) -> Result<Trace, OpenError> {
    let read = read_file(Path::new(name), Bytes::Owned(bytes), options, &KeptBytes::default(), &Silent)?;
    if read.is_empty() {
        return Err(nothing_in(Path::new(name)));
    }
    let parts = merge(read, options.ranks.as_deref())?;
    Ok(Trace::from_parts(parts, &options.build)?)
}

/// The file can be read, but only describes others.
fn nothing_in(path: &Path) -> OpenError {
    Refused::format(0, "there is no trace in it; open it together with the file that it describes").at(path)
}

/// Reads one file: looks into archives, takes compression off, finds the format, reads.
fn read_file(
    path: &Path,
    file: Bytes,
    options: &OpenOptions,
    kept: &KeptBytes,
    progress: &dyn Progress,
) -> Result<Vec<ReadPart>, OpenError> {
    let is_on_disk = matches!(file, Bytes::Mapped(_));
    let bytes = Arc::new(file);
    let file_bytes = bytes.len() as u64;
    let entries = unwrap::contents(&name_of(path), &bytes, &options.limits, &judge, progress)
        .map_err(|refused| refused.at(path))?;
    let is_archive = entries.iter().any(|entry| entry.name.is_some());
    let is_only = entries.len() == 1;
    let mut parts = Vec::new();
    let mut unread: Vec<(PathBuf, Refused, Warnings)> = Vec::new();
    for entry in entries {
        let is_whole_file = is_on_disk && entry.wrappers.is_empty();
        let place = entry.name.as_ref().map_or_else(|| path.to_owned(), |name| path.join(name));
        let mut input = Input {
            file: is_whole_file.then(|| path.to_owned()),
            source: Source {
                path: place.display().to_string(),
                file_bytes: if is_archive { entry.bytes.len() as u64 } else { file_bytes },
                text_bytes: entry.bytes.len() as u64,
                ..Source::default()
            },
            path: place,
            bytes: entry.bytes,
            limits: options.limits,
        };
        let wrapped: String = entry.wrappers.iter().map(|wrapper| format!(", {wrapper}")).collect();
        let read = if entry.is_gzip {
            read_kineto_gzip(&input, &wrapped, kept, &entry.budget, progress)
        } else {
            // It is the format of most files; what is wrong with an unknown one is best said by its reader.
            let kineto = || READERS.iter().find(|reader| reader.id == "kineto");
            match reader_of(&input.bytes, &input.path).or_else(kineto) {
                Some(reader) => read_as(reader, &mut input, &wrapped, progress),
                None => Err(Refused::format(0, "no format is known")),
            }
        };
        match read {
            Ok(mut read) => {
                if let Some(first) = read.first_mut() {
                    first.part.warnings.merge(entry.warnings);
                }
                let own_name = rank_in_name(&input.path);
                take_rank_of_name(&mut read, own_name.or_else(|| rank_in_name(path).filter(|_| is_only)), options);
                parts.extend(read);
            }
            Err(refused @ Refused::Format { .. }) if is_archive => unread.push((input.path, refused, entry.warnings)),
            Err(refused) => return Err(refused.at(&input.path)),
        }
    }
    let Some(first) = parts.first_mut() else {
        // A file that only describes others has no part of its own.
        return unread.into_iter().next().map_or(Ok(parts), |(place, refused, _)| Err(refused.at(&place)));
    };
    for (place, refused, warnings) in unread {
        first.part.warnings.merge(warnings);
        let detail = refused.at(&place).to_string();
        first.part.warnings.add(WarningKind::EntryUnreadable, SourceId(0), None, &detail);
    }
    Ok(parts)
}

/// What the readers make of the beginning of a content.
fn judge(head: &[u8], name: &str) -> Verdict {
    match reader_of(head, Path::new(name)) {
        Some(reader) if reader.id == "kineto" => Verdict::TraceInGzip,
        Some(_) => Verdict::Trace,
        None => Verdict::Foreign,
    }
}

/// Gives a part the rank of its file's name where the content says none. A rank that the user gives needs no guess,
/// and several ranks of one file have not its name's.
fn take_rank_of_name(parts: &mut [ReadPart], rank: Option<u32>, options: &OpenOptions) {
    let mut mains = parts.iter_mut().filter(|read| options.ranks.is_none() || read.role == Role::Companion);
    if let (Some(read), None) = (mains.next(), mains.next())
        && read.part.info.rank.is_none()
        && let Some(rank) = rank
    {
        read.part.info.rank = Some(rank);
        read.part.warnings.add(WarningKind::RankAssumed, SourceId(0), None, &format!("rank {rank}"));
    }
}

fn read_as(
    reader: &Reader,
    input: &mut Input,
    wrapped: &str,
    progress: &dyn Progress,
) -> Result<Vec<ReadPart>, Refused> {
    input.source.format = format!("{}{wrapped}", reader.name);
    (reader.read)(input, progress)
}

/// Text of this format is parsed while it is inflated.
fn read_kineto_gzip(
    input: &Input,
    wrapped: &str,
    kept: &KeptBytes,
    budget: &Budget,
    progress: &dyn Progress,
) -> Result<Vec<ReadPart>, Refused> {
    let mut part = input.part();
    part.source.format = format!("Kineto or Chrome JSON{wrapped}");
    let kept = kineto::read_gzip(&input.bytes, Arc::clone(kept), &mut part, budget, &input.limits, progress)?;
    part.args = Arc::new(JsonText::of_gzip(kept, Arc::clone(&input.bytes), part.source.text_bytes));
    Ok(vec![part.into()])
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
