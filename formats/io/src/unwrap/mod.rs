//! Archives and compressions around traces: gzip, zstd, zip, tar, one inside the other.
//!
//! The content decides. Everything stays in memory, within a budget; nothing is written, and names inside archives
//! are labels and never paths. What is damaged is counted and costs no more than the entry it lies in.

mod budget;
mod label;
mod stream;
mod tar;
mod zip;

use std::collections::BTreeMap;
use std::sync::Arc;

use gapless_trace::{SourceId, WarningKind, Warnings};

use crate::Progress;
use crate::error::Refused;
use crate::limits::Limits;
use crate::mapped::Bytes;
use stream::{Codec, Reached, codec_of};
use zip::{Method, Unlisted};

pub(crate) use budget::Budget;

/// First bytes of a content by which it is judged.
pub(crate) const HEAD: usize = 1 << 20;

/// What the caller makes of the beginning of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No trace.
    Foreign,
    /// A trace.
    Trace,
    /// A trace whose reader takes off gzip by itself, while it reads.
    TraceInGzip,
}

/// Judges a content by its first bytes and its name (without the folders).
pub(crate) type Judge<'a> = dyn Fn(&[u8], &str) -> Verdict + Sync + 'a;

/// A trace that was found.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Name inside the archives, cleaned; `None` where there is no archive.
    pub name: Option<String>,
    /// The bytes.
    pub bytes: Arc<Bytes>,
    /// Whether the bytes are still compressed by gzip: see [`Verdict::TraceInGzip`].
    pub is_gzip: bool,
    /// What was taken off, outermost first (`tar`, `gzip`).
    pub wrappers: Vec<&'static str>,
    /// What was odd or lost on the way.
    pub warnings: Warnings,
    /// What the file may still inflate to.
    pub budget: Arc<Budget>,
}

/// The traces in a file. A file that is neither archive nor compressed is its own only entry, whatever it is; so is
/// one that is only compressed by gzip and whose content cannot be judged: its reader says best what is wrong.
///
/// # Errors
/// When it goes beyond a limit; when it is an archive without any trace; when it cannot be read at all.
pub(crate) fn contents(
    file_name: &str,
    bytes: &Arc<Bytes>,
    limits: &Limits,
    judge: &Judge<'_>,
    progress: &dyn Progress,
) -> Result<Vec<Entry>, Refused> {
    let budget = Arc::new(Budget::new(bytes.len(), limits));
    let mut walk =
        Walk { judge, progress, budget, found: Vec::new(), warnings: Warnings::default(), replaced: BTreeMap::new() };
    let place = Place { name: None, file_name, wrappers: Vec::new() };
    walk.content(&place, Arc::clone(bytes))?;
    let Walk { mut found, warnings, budget, .. } = walk;
    match found.first_mut() {
        Some(first) => first.warnings.merge(warnings),
        None => {
            let odd = warnings.sorted().first().map(|warning| format!("; {warning}")).unwrap_or_default();
            let reason = match budget.entries() {
                0 => format!("what it inflates to is of no known format{odd}"),
                1 => format!("it is an archive with one entry, which is no trace{odd}"),
                many => format!("it is an archive with {many} entries, of which none is a trace{odd}"),
            };
            return Err(Refused::format(0, reason));
        }
    }
    Ok(found)
}

/// Whether there may be a trace in a file, by its first entries. For telling strangers in a folder.
pub(crate) fn may_hold_trace(file_name: &str, bytes: &Arc<Bytes>, judge: &Judge<'_>) -> bool {
    // Enough for archives with a manifest or two before the traces, and cheap for others.
    let limits = Limits { archive_entries: 64, inflated_bytes: 64 << 20, ..Limits::default() };
    match contents(file_name, bytes, &limits, judge, &crate::Silent) {
        Ok(_) | Err(Refused::Limit { .. } | Refused::Cancelled) => true,
        Err(Refused::Format { .. }) => false,
    }
}

/// The first bytes that compressed `bytes` inflate to, and whether they are all; `None` if they are not compressed.
pub(crate) fn inflated_head(bytes: &[u8]) -> Option<(Vec<u8>, bool)> {
    let mut head = Vec::new();
    let mut stream = stream::open(codec_of(bytes)?, bytes).ok()?;
    let budget = Budget::new(bytes.len(), &Limits::default());
    let reached = stream::pour(&mut *stream, &mut head, HEAD, &budget, &crate::Silent);
    Some((head, matches!(reached, Ok(Reached::End))))
}

/// Whether `bytes` begin like an archive or compressed data.
pub(crate) fn is_wrapped(bytes: &[u8]) -> bool {
    codec_of(bytes).is_some() || is_archive(bytes)
}

fn is_archive(bytes: &[u8]) -> bool {
    zip::is_zip(bytes) || tar::is_tar(bytes)
}

/// Where a content was found.
#[derive(Clone)]
struct Place<'a> {
    /// Name inside archives.
    name: Option<String>,
    /// Name of the file on disk.
    file_name: &'a str,
    /// What was taken off.
    wrappers: Vec<&'static str>,
}

impl Place<'_> {
    /// The same with one more wrapper around it.
    fn inside(&self, wrapper: &'static str) -> Self {
        let mut inside = self.clone();
        inside.wrappers.push(wrapper);
        inside
    }

    /// An entry of the archive here.
    fn entry(&self, raw_name: &[u8]) -> Self {
        let cleaned = label::clean(raw_name);
        let name = match &self.name {
            Some(outer) => format!("{outer}/{cleaned}"),
            None => cleaned,
        };
        Self { name: Some(name), ..self.clone() }
    }

    fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(self.file_name)
    }

    /// Last part of the name, to judge by.
    fn last_name(&self) -> &str {
        let label = self.label();
        label.rsplit_once('/').map_or(label, |(_, last)| last)
    }
}

struct Walk<'a> {
    judge: &'a Judge<'a>,
    progress: &'a dyn Progress,
    budget: Arc<Budget>,
    found: Vec<Entry>,
    warnings: Warnings,
    /// Where the entry of a name stands in `found`: a later one of the same name takes its place.
    replaced: BTreeMap<String, usize>,
}

impl Walk<'_> {
    fn judge(&self, place: &Place<'_>, content: &[u8]) -> Verdict {
        (self.judge)(content.get(..HEAD).unwrap_or(content), place.last_name())
    }

    /// Looks at a content that lies in memory or in a mapped file.
    fn content(&mut self, place: &Place<'_>, bytes: Arc<Bytes>) -> Result<(), Refused> {
        if let Some(codec) = codec_of(&bytes) {
            return self.compressed(place, codec, &bytes);
        }
        if tar::is_tar(&bytes) {
            return self.tar(&place.inside("tar"), &bytes);
        }
        if zip::is_zip(&bytes) {
            return self.zip(&place.inside("zip"), &bytes);
        }
        if place.wrappers.is_empty() || self.judge(place, &bytes) != Verdict::Foreign {
            self.push(place, bytes, false, Warnings::default());
        } else {
            self.skip(place);
        }
        Ok(())
    }

    fn push(&mut self, place: &Place<'_>, bytes: Arc<Bytes>, is_gzip: bool, warnings: Warnings) {
        let entry = Entry {
            name: place.name.clone(),
            bytes,
            is_gzip,
            wrappers: place.wrappers.clone(),
            warnings,
            budget: Arc::clone(&self.budget),
        };
        let Some(name) = &place.name else { return self.found.push(entry) };
        if let Some(old) = self.replaced.get(name).and_then(|&at| self.found.get_mut(at)) {
            // As when it is unpacked: the last one of a name stays.
            *old = entry;
            let detail = format!("{name}: a later entry has the same name");
            self.warnings.add(WarningKind::EntrySkipped, SourceId(0), None, &detail);
            return;
        }
        self.replaced.insert(name.clone(), self.found.len());
        self.found.push(entry);
    }

    fn skip(&mut self, place: &Place<'_>) {
        self.warnings.add(WarningKind::EntrySkipped, SourceId(0), None, place.label());
    }

    fn lose(&mut self, place: &Place<'_>, why: &str) {
        let detail = format!("{}: {why}", place.label());
        self.warnings.add(WarningKind::EntryUnreadable, SourceId(0), None, &detail);
    }

    /// Gzip or zstd around one content.
    fn compressed(&mut self, place: &Place<'_>, codec: Codec, bytes: &Arc<Bytes>) -> Result<(), Refused> {
        let inside = place.inside(if codec == Codec::Gzip { "gzip" } else { "zstd" });
        self.budget.depth(inside.wrappers.len())?;
        let mut stream = match stream::open(codec, bytes) {
            Ok(stream) => stream,
            Err(error) => {
                self.lose(place, &error.to_string());
                return Ok(());
            }
        };
        let mut text = Vec::new();
        let mut reached = stream::pour(&mut *stream, &mut text, HEAD, &self.budget, self.progress)?;
        let is_wrapped = is_wrapped(&text);
        let verdict = if is_wrapped { Verdict::Trace } else { self.judge(&inside, &text) };
        let is_plain_gzip = place.wrappers.is_empty() && codec == Codec::Gzip;
        let stays = codec == Codec::Gzip && verdict == Verdict::TraceInGzip;
        if stays || (verdict == Verdict::Foreign && is_plain_gzip) {
            self.budget.release(text.len());
            self.push(&inside, Arc::clone(bytes), true, Warnings::default());
            return Ok(());
        }
        if verdict == Verdict::Foreign {
            self.budget.release(text.len());
            match reached {
                Reached::Damage(reason) => self.lose(&inside, &reason),
                _ => self.skip(&inside),
            }
            return Ok(());
        }
        if reached == Reached::More {
            reserve(&mut text, self.budget.room(stream::claimed(codec, bytes)));
            reached = stream::pour(&mut *stream, &mut text, usize::MAX, &self.budget, self.progress)?;
        }
        drop(stream);
        let mut warnings = Warnings::default();
        if let Reached::Damage(reason) = reached {
            let detail = format!("{}: {reason}", place.label());
            warnings.add(WarningKind::GzipDamaged, SourceId(0), Some(text.len() as u64), &detail);
        }
        let content = Arc::new(Bytes::Owned(text));
        if is_wrapped {
            self.warnings.merge(warnings);
            return self.content(&inside, content);
        }
        self.push(&inside, content, false, warnings);
        Ok(())
    }

    fn tar(&mut self, place: &Place<'_>, bytes: &Arc<Bytes>) -> Result<(), Refused> {
        self.budget.depth(place.wrappers.len())?;
        let budget = Arc::clone(&self.budget);
        for entry in tar::list(bytes, &mut self.warnings, || budget.entry())? {
            let content = Bytes::slice(bytes, entry.data);
            self.content(&place.entry(&entry.name), Arc::new(content))?;
        }
        Ok(())
    }

    fn zip(&mut self, place: &Place<'_>, bytes: &Arc<Bytes>) -> Result<(), Refused> {
        self.budget.depth(place.wrappers.len())?;
        let budget = Arc::clone(&self.budget);
        let entries = match zip::list(bytes, &mut self.warnings, || budget.entry()) {
            Ok(entries) => entries,
            Err(Unlisted::Stopped(refused)) => return Err(refused),
            // The whole file is refused; an archive inside another costs only itself.
            Err(Unlisted::Format(offset, reason)) if place.name.is_none() => {
                return Err(Refused::format(offset, reason));
            }
            Err(Unlisted::Format(_, reason)) => {
                self.lose(place, &reason);
                return Ok(());
            }
        };
        // Folders have no contents.
        for entry in entries.into_iter().filter(|entry| !entry.name.ends_with(b"/")) {
            let place = place.entry(&entry.name);
            if entry.is_link {
                self.skip(&place);
                continue;
            }
            match &entry.method {
                Ok(Method::Stored) => {
                    let content = Arc::new(Bytes::slice(bytes, entry.data.clone()));
                    let before = self.found.len();
                    self.content(&place, Arc::clone(&content))?;
                    if self.found.len() > before {
                        self.add_damage(before, &place, damage_of(&entry, &content), entry.data.end);
                    }
                }
                Ok(Method::Deflate) => self.zip_entry(&place, &entry, Codec::Deflate, bytes)?,
                Ok(Method::Zstd) => self.zip_entry(&place, &entry, Codec::Zstd, bytes)?,
                Err(reason) => self.lose(&place, reason),
            }
        }
        Ok(())
    }

    fn zip_entry(
        &mut self,
        place: &Place<'_>,
        entry: &zip::ZipEntry,
        codec: Codec,
        bytes: &Arc<Bytes>,
    ) -> Result<(), Refused> {
        let packed = bytes.get(entry.data.clone()).unwrap_or_default();
        let mut text = Vec::new();
        let mut stream = match stream::open(codec, packed) {
            Ok(stream) => stream,
            Err(error) => {
                self.lose(place, &error.to_string());
                return Ok(());
            }
        };
        let mut reached = stream::pour(&mut *stream, &mut text, HEAD, &self.budget, self.progress)?;
        if !is_wrapped(&text) && self.judge(place, &text) == Verdict::Foreign {
            self.budget.release(text.len());
            match reached {
                Reached::Damage(reason) => self.lose(place, &reason),
                _ => self.skip(place),
            }
            return Ok(());
        }
        if reached == Reached::More {
            reserve(&mut text, self.budget.room(entry.size));
            reached = stream::pour(&mut *stream, &mut text, usize::MAX, &self.budget, self.progress)?;
        }
        let damage = match reached {
            Reached::Damage(reason) => Some(reason),
            _ => damage_of(entry, &text),
        };
        let before = self.found.len();
        self.content(place, Arc::new(Bytes::Owned(text)))?;
        self.add_damage(before, place, damage, entry.data.end);
        Ok(())
    }

    /// Counts the damage of an entry: at the trace in it, if one was found, else at the archive.
    fn add_damage(&mut self, before: usize, place: &Place<'_>, damage: Option<String>, at: usize) {
        let Some(reason) = damage else { return };
        let detail = format!("{}: {reason}", place.label());
        let warnings = match self.found.get_mut(before) {
            Some(entry) => &mut entry.warnings,
            None => &mut self.warnings,
        };
        warnings.add(WarningKind::ArchiveDamaged, SourceId(0), Some(at as u64), &detail);
    }
}

/// What is wrong with the contents of a zip entry.
fn damage_of(entry: &zip::ZipEntry, content: &[u8]) -> Option<String> {
    let told = entry.crc?;
    let mut crc = flate2::Crc::new();
    crc.update(content);
    if crc.sum() != told {
        return Some("the check sum differs".to_owned());
    }
    let size = content.len() as u64;
    (size != entry.size).then(|| format!("it has {size} bytes, not {}", entry.size))
}

/// Makes room for `bytes`; where there is none, growing step by step may still find it.
fn reserve(text: &mut Vec<u8>, bytes: usize) {
    let _ = text.try_reserve_exact(bytes.saturating_sub(text.len()));
}
