//! Nsight Systems exports: SQLite files with a table for each kind of event.
//!
//! Tables and columns differ between versions; what is there is asked for and read, what is missing is null. A process
//! with device work is a rank. Arguments are read from the row when somebody asks.

mod args;
mod catalogue;
mod chains;
mod counters;
mod database;
mod device;
mod header;
mod host;
mod load;
mod nccl;
mod nvtx;
mod parts;
mod payload;
mod scan;
mod scheduler;
mod sink;
mod steps;
mod strings;
mod tables;

use std::sync::Arc;

use gapless_trace::{ArgsSource, SourceId, WarningKind, Warnings};

use self::catalogue::Catalogue;
use self::database::{Database, MAGIC, is_damage, reason};
use self::sink::Found;
use crate::Progress;
use crate::error::Refused;
use crate::readers::{Head, Input, ReadPart};

/// Whether `head` is the beginning of an SQLite file. Whether it is an export, only its tables tell.
pub(crate) fn sniff(head: &Head<'_>) -> bool {
    head.bytes.starts_with(MAGIC)
}

/// Reads an export; one part for each process with device work.
pub(crate) fn read(input: &Input, progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    let mut database = Database::new(&input.bytes, input.file.as_deref(), &input.limits)?;
    let mut warnings = Warnings::default();
    let catalogue = catalogue(&mut database, input, &mut warnings)?;
    for what in &catalogue.left_out {
        warnings.add(WarningKind::TableLeftOut, SourceId(0), None, what);
    }
    let readings = tables::readings(&catalogue);
    if readings.is_empty() && !catalogue.tables().iter().any(|table| tables::is_of_export(&table.name)) {
        let mut text =
            "it is an SQLite database, but no export of Nsight Systems: it has none of its tables".to_owned();
        if let Some(what) = catalogue.left_out.first() {
            text.push_str(&format!(" ({what})"));
        }
        text.push_str("; make one with nsys export --type sqlite");
        return Err(Refused::format(0, text));
    }
    for name in tables::unread(&catalogue) {
        warnings.add(WarningKind::MetadataUnused, SourceId(0), None, &format!("the table {name}"));
    }
    let lookups = database.with(|connection| load::lookups(&database, connection, &catalogue, input, progress));
    let mut lookups = lookups.map_err(|error| refuse(&database, input, &error))?;
    warnings.merge(std::mem::take(&mut lookups.warnings));
    let (mut found, definitions) =
        tables::read_all(&database, &catalogue, &readings, &lookups.shared, progress, &mut warnings)
            .map_err(|error| refuse(&database, input, &error))?;
    if progress.is_cancelled() {
        return Err(Refused::Cancelled);
    }
    if lookups.shared.events.load(std::sync::atomic::Ordering::Relaxed) > input.limits.events {
        return Err(over_events(input));
    }
    let is_empty = found.iter().all(Found::is_empty);
    if is_empty && warnings.count(WarningKind::TableDamaged) > 0 {
        let text = warnings
            .sorted()
            .iter()
            .find(|warning| warning.kind == WarningKind::TableDamaged)
            .map_or("", |w| &w.detail);
        return Err(Refused::format(0, format!("the database is damaged and nothing can be read from it ({text})")));
    }
    parts::complete(&mut found, &definitions, &lookups.shared.schemas);
    lookups.names.threads.extend(definitions.threads);
    let categories = definitions.categories.into_iter();
    let rows: Arc<dyn ArgsSource> = Arc::new(args::Rows {
        database,
        catalogue,
        shared: lookups.shared,
        enums: lookups.enums,
        categories: categories.map(|(process, domain, number, name)| ((process, domain, number), name)).collect(),
    });
    warnings.merge(std::mem::take(&mut lookups.header.warnings));
    let mut parts = parts::parts(input, &lookups.header, &lookups.names, found, &rows);
    if let Some(first) = parts.first_mut() {
        first.warnings.merge(warnings);
    }
    progress.done(input.source.file_bytes);
    Ok(parts.into_iter().map(ReadPart::from).collect())
}

/// Reads the schema; of a file that was cut off, as far as it goes.
fn catalogue(database: &mut Database, input: &Input, warnings: &mut Warnings) -> Result<Catalogue, Refused> {
    let missing = missing_bytes(&input.bytes);
    if let Some(missing) = missing {
        let text = format!("{missing} bytes are missing at the end of the database");
        warnings.add(WarningKind::TableDamaged, SourceId(0), None, &text);
    }
    let refused = |error: &rusqlite::Error| {
        let text = format!("the schema of the database cannot be read: {}", reason(error));
        Refused::format(0, format!("{text}; export the report again with nsys export --type sqlite"))
    };
    match database.with_deadline(Catalogue::read) {
        Ok(catalogue) => Ok(catalogue),
        Err(error) if missing.is_some() && is_damage(&error) => {
            database.salvage();
            database.with_deadline(Catalogue::read).map_err(|error| refused(&error))
        }
        Err(error) => Err(refused(&error)),
    }
}

/// How many bytes the head of an SQLite file promises beyond those that are there.
fn missing_bytes(bytes: &[u8]) -> Option<u64> {
    let page = u64::from(u16::from_be_bytes(bytes.get(16..18)?.try_into().ok()?));
    let page = if page == 1 { 65_536 } else { page };
    // Some writers leave the number of pages behind; then the two counts of changes differ.
    if bytes.get(24..28)? != bytes.get(92..96)? {
        return None;
    }
    let pages = u64::from(u32::from_be_bytes(bytes.get(28..32)?.try_into().ok()?));
    pages.checked_mul(page)?.checked_sub(bytes.len() as u64).filter(|&missing| missing > 0)
}

/// The refusal for what SQLite says.
fn refuse(database: &Database, input: &Input, error: &rusqlite::Error) -> Refused {
    if matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::TooBig)) {
        let limit = input.limits.string_bytes;
        return Refused::Limit {
            what: "a string or row of the database is too long".to_owned(),
            limit: format!("{limit} bytes"),
            flag: format!("string={}", limit.saturating_mul(8)),
        };
    }
    if database.is_stopped() {
        return Refused::Cancelled;
    }
    Refused::format(0, format!("the database cannot be read: {}", reason(error)))
}

fn over_events(input: &Input) -> Refused {
    let limit = input.limits.events;
    Refused::Limit {
        what: "the file has too many events".to_owned(),
        limit: limit.to_string(),
        flag: format!("events={}", limit.saturating_mul(8)),
    }
}
