//! What is read before the events: strings, names, payload schemas, call chains, the header.

use gapless_trace::{SourceId, WarningKind, Warnings};
use rusqlite::Connection;

use super::args::{ENUMS, Enums};
use super::catalogue::Catalogue;
use super::chains::Chains;
use super::counters::{METRIC_NAME, with_unit};
use super::database::Database;
use super::header::{self, Header};
use super::parts::Names;
use super::payload::Entry;
use super::scan::{End, Row, walk};
use super::sink::{ChainTable, Shared};
use crate::Progress;
use crate::readers::Input;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    /// What events need.
    pub shared: Shared,
    /// Names of values.
    pub enums: Enums,
    /// Names of processes, threads and streams.
    pub names: Names,
    /// What the file says about itself.
    pub header: Header,
    /// What was odd or lost.
    pub warnings: Warnings,
}

struct Loader<'a> {
    database: &'a Database,
    connection: &'a Connection,
    catalogue: &'a Catalogue,
    progress: &'a dyn Progress,
    warnings: Warnings,
}

impl Loader<'_> {
    fn each(&mut self, name: &str, columns: &[&str], mut take: impl FnMut(&Row<'_, '_>)) -> rusqlite::Result<()> {
        let Some(table) = self.catalogue.table(name) else { return Ok(()) };
        let all = (i64::MIN, i64::MAX);
        let end = walk(self.database, self.connection, &table.select(columns), all, self.progress, &mut take)?;
        if let End::Damaged(reason) = end {
            self.damaged(&format!("{name}: {reason}"));
        }
        Ok(())
    }

    fn damaged(&mut self, what: &str) {
        self.warnings.add(WarningKind::TableDamaged, SourceId(0), None, what);
    }
}

/// Reads it.
///
/// # Errors
/// What SQLite refuses for another reason than damage.
pub(crate) fn lookups(
    database: &Database,
    connection: &Connection,
    catalogue: &Catalogue,
    input: &Input,
    progress: &dyn Progress,
) -> rusqlite::Result<Lookups> {
    let warnings = Warnings::default();
    let mut loader = Loader { database, connection, catalogue, progress, warnings };
    let mut shared = Shared { limits: input.limits, ..Shared::default() };
    let mut replaced = 0u64;
    let strings = &mut shared.strings;
    loader.each("StringIds", &["id", "value"], |row| {
        if let (Some(number), Some(text)) = (row.int(0), row.text(1)) {
            replaced += u64::from(matches!(text, std::borrow::Cow::Owned(_)));
            strings.push(number, &text);
        }
    })?;
    shared.strings.finish();
    loader.warnings.add_many(WarningKind::InvalidUtf8, SourceId(0), replaced, None, "StringIds");
    schemas(&mut loader, &mut shared)?;
    let names = names(&mut loader, &shared)?;
    shared.threads.clone_from(&names.threads);
    loader.each("TARGET_INFO_GPU_METRICS", METRIC_NAME, |row| {
        if let (Some(number), Some(name)) = (row.int(1), row.text(2)) {
            shared.metrics.insert((row.int(0), number), with_unit(&name));
        }
    })?;
    for (place, name) in ChainTable::NAMES.into_iter().enumerate() {
        let (chains, damage) = Chains::read(database, connection, catalogue, name, progress)?;
        if let Some(slot) = shared.chains.get_mut(place) {
            *slot = chains;
        }
        if let Some(damage) = damage {
            loader.damaged(&damage);
        }
    }
    let mut enums = Enums::default();
    for (_, table) in ENUMS {
        for row in header::rows(connection, catalogue, table).unwrap_or_default() {
            let label = header::text(&row, "label").or_else(|| header::text(&row, "name"));
            if let (Some(id), Some(label)) = (header::int(&row, "id"), label) {
                enums.entry(table).or_default().insert(id, label.to_owned());
            }
        }
    }
    let header = Header::read(connection, catalogue);
    Ok(Lookups { shared, enums, names, header, warnings: loader.warnings })
}

fn schemas(loader: &mut Loader<'_>, shared: &mut Shared) -> rusqlite::Result<()> {
    let unsigned = |row: &Row<'_, '_>, index: usize| row.int(index).map(|value| value as u64);
    let columns = ["domainId", "schemaId", "idx", "flags", "type", "name", "arrayOrUnionDetail", "offset"];
    let schemas = &mut shared.schemas;
    loader.each("NVTX_PAYLOAD_SCHEMA_ENTRIES", &columns, |row| {
        let Some(schema) = unsigned(row, 1) else { return };
        let entry = Entry {
            index: row.int(2).unwrap_or(0),
            flags: unsigned(row, 3).unwrap_or(0),
            kind: unsigned(row, 4).unwrap_or(0),
            name: row.text(5).map(std::borrow::Cow::into_owned).unwrap_or_default(),
            detail: unsigned(row, 6).unwrap_or(0),
            offset: unsigned(row, 7),
        };
        schemas.add(row.int(0).unwrap_or(0), schema, entry);
    })?;
    loader.each("NVTX_PAYLOAD_ENUM_ENTRIES", &["domainId", "schemaId", "name", "value"], |row| {
        if let (Some(schema), Some(name), Some(value)) = (unsigned(row, 1), row.text(2), row.int(3)) {
            schemas.add_enum(row.int(0).unwrap_or(0), schema, value, name.into_owned());
        }
    })?;
    schemas.finish();
    Ok(())
}

fn names(loader: &mut Loader<'_>, shared: &Shared) -> rusqlite::Result<Names> {
    let mut names = Names::default();
    loader.each("PROCESSES", &["globalPid", "name"], |row| {
        if let (Some(global), Some(name)) = (row.int(0), row.text(1)) {
            names.processes.insert(super::sink::process_of(global), name.into_owned());
        }
    })?;
    loader.each("ThreadNames", &["globalTid", "nameId"], |row| {
        let name = row.int(1).and_then(|number| shared.strings.get(number));
        if let (Some(global), Some(name)) = (row.int(0), name) {
            names.threads.insert(global, name.to_owned());
        }
    })?;
    loader.each("TARGET_INFO_CUDA_STREAM", &["processId", "streamId", "priority", "flag"], |row| {
        /// The stream that is used where none is named.
        const NULL_STREAM: i64 = 3;
        if let (Some(pid), Some(stream)) = (row.int(0), row.int(1)) {
            let mut name = format!("stream {stream}");
            if row.int(3) == Some(NULL_STREAM) {
                name.push_str(" (null stream)");
            }
            // A signed number that some exports write as an unsigned one.
            if let Some(priority) = row.int(2).map(|priority| priority as i32).filter(|&priority| priority != 0) {
                name.push_str(&format!(" (priority {priority})"));
            }
            names.streams.insert((pid, stream), name);
        }
    })?;
    Ok(names)
}
