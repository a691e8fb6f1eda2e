//! The writer: tables, group of rows by group of rows, each encoded in parallel.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ::parquet::errors::ParquetError;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::SchemaDescriptor;
use gapless_trace::Trace;
use rayon::prelude::*;

use super::columns::{Column, RowGroup, schema};
use super::encode::{Encoded, Properties, encode};
use super::events::Events;
use super::metadata::{metadata, of_table};
use super::tables::{Texts, partitions, tables};
use crate::Progress;

/// Rows of a group. Engines read groups in parallel and skip those that a filter rules out.
const GROUP_ROWS: usize = 1 << 20;
/// Rows of a group where arguments are written, whose texts are held in memory.
const GROUP_ROWS_WITH_TEXTS: usize = 1 << 17;

/// What to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Whether to write the arguments of events as JSON text, in the column `args`.
    pub arguments: bool,
    /// Names of arguments that get a column of their own: `arg_` and the name.
    pub argument_columns: Vec<String>,
}

/// Why a trace could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The folder is there already.
    #[error("{} is there already and not an empty folder; give another name, or remove it first", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error("cannot write {}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The user gave up.
    #[error("cancelled")]
    Cancelled,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteSummary {
    /// Events.
    pub events: u64,
    /// Files, `gapless.json` included.
    pub files: u64,
    /// Bytes of the events' files.
    pub event_bytes: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Events whose arguments could not be read any more.
    pub unreadable_args: u64,
}

/// Writes `trace` as tables into the new folder `folder`, which appears whole or not at all.
///
/// # Errors
/// When the folder is there already and holds something, cannot be written, or the user gave up.
pub fn write_folder(
    trace: &Trace,
    folder: &Path,
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<WriteSummary, WriteError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |reason: std::io::Error| WriteError::File { path, reason: reason.to_string() }
    };
    // An empty folder is replaced by the rename; anything else is the user's.
    match std::fs::symlink_metadata(folder) {
        Ok(there) => {
            let is_empty = there.is_dir() && std::fs::read_dir(folder).map_err(at(folder))?.next().is_none();
            if !is_empty {
                return Err(WriteError::Exists { path: folder.to_owned() });
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(folder)(error)),
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = tempfile::Builder::new().prefix(".gapless-").tempdir_in(parent).map_err(at(folder))?;
    let mut writer =
        Writer { trace, root: made.path(), options, progress, summary: WriteSummary::default(), tables: Vec::new() };
    writer.write()?;
    let summary = writer.summary;
    set_mode(made.path()).map_err(at(folder))?;
    std::fs::rename(made.path(), folder).map_err(at(folder))?;
    // It has its name now; there is nothing left to clean up.
    let _ = made.keep();
    Ok(summary)
}

/// A temporary folder is private; the folder that it becomes is one like any other.
#[cfg(unix)]
fn set_mode(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn set_mode(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

struct Writer<'t> {
    trace: &'t Trace,
    root: &'t Path,
    options: &'t WriteOptions,
    progress: &'t dyn Progress,
    summary: WriteSummary,
    /// Descriptions of the tables for the metadata.
    tables: Vec<serde_json::Value>,
}

impl Writer<'_> {
    fn write(&mut self) -> Result<(), WriteError> {
        self.progress.stage("Writing Parquet", self.trace.events().len() as u64);
        self.write_events()?;
        self.summary.event_bytes = self.summary.bytes;
        let texts = Texts::new(self.trace);
        for table in tables(self.trace, &texts) {
            let path = format!("{}.parquet", table.name);
            self.write_table(&path, 0..table.rows, &table.columns, None)?;
            self.tables.push(of_table(&path, table.rows as u64, &table.columns, None));
        }
        let path = self.root.join("gapless.json");
        let mut text = serde_json::to_vec_pretty(&metadata(self.trace, std::mem::take(&mut self.tables)))
            .map_err(|reason| WriteError::File { path: path.clone(), reason: reason.to_string() })?;
        text.push(b'\n');
        std::fs::write(&path, &text).map_err(|reason| WriteError::File { path, reason: reason.to_string() })?;
        self.summary.files += 1;
        self.summary.bytes += text.len() as u64;
        Ok(())
    }

    fn write_events(&mut self) -> Result<(), WriteError> {
        let events = Events::new(self.trace, self.options);
        let columns = events.columns();
        for (rank, number) in self.trace.ranks().iter().zip(partitions(self.trace)) {
            // The name is made of a number alone: nothing of the trace's content gets into a path.
            let folder = format!("events/rank={number}");
            let path = self.root.join(&folder);
            std::fs::create_dir_all(&path).map_err(|reason| WriteError::File { path, reason: reason.to_string() })?;
            let rows = rank.events.start as usize..rank.events.end as usize;
            self.write_table(&format!("{folder}/events.parquet"), rows, &columns, Some(&events))?;
        }
        let rows = self.trace.events().len() as u64;
        self.summary.events = rows;
        self.tables.push(of_table("events/rank=*/events.parquet", rows, &columns, Some("rank")));
        Ok(())
    }

    /// Writes one file. `events` makes the texts of a group where it is the table of events.
    fn write_table(
        &mut self,
        path: &str,
        rows: Range<usize>,
        columns: &[Column<'_>],
        events: Option<&Events<'_>>,
    ) -> Result<(), WriteError> {
        let path = self.root.join(path);
        let failed = |reason: String| WriteError::File { path: path.clone(), reason };
        let wrong = |error: ParquetError| failed(error.to_string());
        let file = File::create(&path).map_err(|error| failed(error.to_string()))?;
        let schema = schema(columns).map_err(wrong)?;
        let descriptions = SchemaDescriptor::new(schema.clone());
        let properties = Properties::new().map_err(wrong)?;
        let mut file = SerializedFileWriter::new(BufWriter::new(file), schema, properties.of_file()).map_err(wrong)?;
        let events = events.filter(|events| events.needs_texts());
        let group_rows = if events.is_some() { GROUP_ROWS_WITH_TEXTS } else { GROUP_ROWS };
        let mut groups =
            rows.clone().step_by(group_rows).map(|start| start..rows.end.min(start.saturating_add(group_rows)));
        loop {
            // As many groups at a time as there are threads: memory is bounded by what they encode to.
            let mut batch: Vec<RowGroup> = groups
                .by_ref()
                .take(rayon::current_num_threads().max(1))
                .map(|rows| RowGroup { rows, texts: Vec::new() })
                .collect();
            if batch.is_empty() {
                break;
            }
            if self.progress.is_cancelled() {
                return Err(WriteError::Cancelled);
            }
            if let Some(events) = events {
                for group in &mut batch {
                    let (texts, unreadable) = events.texts(&group.rows);
                    group.texts = texts;
                    self.summary.unreadable_args += unreadable;
                }
            }
            let work: Vec<(&RowGroup, usize)> =
                batch.iter().flat_map(|group| (0..columns.len()).map(move |place| (group, place))).collect();
            let encoded: Vec<Encoded> = work
                .into_par_iter()
                .with_max_len(1)
                .map(|(group, place)| {
                    let column = columns.get(place).ok_or(ParquetError::IndexOutOfBound(place, columns.len()))?;
                    encode(&column.values(group), &descriptions.column(place), &properties)
                })
                .collect::<Result<_, _>>()
                .map_err(wrong)?;
            let mut encoded = encoded.into_iter();
            for _ in &batch {
                let mut group = file.next_row_group().map_err(wrong)?;
                for column in encoded.by_ref().take(columns.len()) {
                    group.append_column(&column.bytes, column.close).map_err(wrong)?;
                }
                group.close().map_err(wrong)?;
            }
            let done = batch.last().map_or(0, |group| group.rows.end);
            if self.summary.event_bytes == 0 {
                self.progress.done(done as u64);
            }
        }
        // Writes the footer.
        let mut file = file.into_inner().map_err(wrong)?;
        let written =
            file.flush().and_then(|()| file.get_ref().metadata()).map_err(|error| failed(error.to_string()))?;
        self.summary.bytes += written.len();
        self.summary.files += 1;
        Ok(())
    }
}
