//! Arguments of events: the columns of the row, read again when somebody asks.

use gapless_trace::{ArgValue, Args, ArgsError, ArgsLoc, ArgsSource};
use rusqlite::types::ValueRef;
use rustc_hash::FxHashMap;

use super::catalogue::{Catalogue, quoted};
use super::database::{Database, reason};
use super::payload::bytes_of;
use super::sink::{Shared, process_of};

/// Columns that hold the number of a string.
const STRINGS: [&str; 10] = [
    "demangledName",
    "shortName",
    "mangledName",
    "nameId",
    "endNameId",
    "textId",
    "jsonTextId",
    "name",
    "symbol",
    "module",
];

/// Columns that hold a value of an enumeration, and the table of its names.
pub(crate) const ENUMS: [(&str, &str); 15] = [
    ("launchType", "ENUM_CUDA_KERNEL_LAUNCH_TYPE"),
    ("cacheConfig", "ENUM_CUDA_FUNC_CACHE_CONFIG"),
    ("sharedMemoryLimitConfig", "ENUM_CUDA_SHARED_MEM_LIMIT_CONFIG"),
    ("copyKind", "ENUM_CUDA_MEMCPY_OPER"),
    ("srcKind", "ENUM_CUDA_MEM_KIND"),
    ("dstKind", "ENUM_CUDA_MEM_KIND"),
    ("memKind", "ENUM_CUDA_MEM_KIND"),
    ("memoryOperationType", "ENUM_CUDA_DEV_MEM_EVENT_OPER"),
    ("migrationCause", "ENUM_CUDA_UNIF_MEM_MIGRATION"),
    ("syncType", "ENUM_CUPTI_SYNC_TYPE"),
    ("overheadType", "ENUM_CUPTI_OVERHEAD_TYPE"),
    ("eventClass", "ENUM_NSYS_EVENT_CLASS"),
    ("eventType", "ENUM_NSYS_EVENT_TYPE"),
    ("threadState", "ENUM_SAMPLING_THREAD_STATE"),
    ("threadBlock", "ENUM_SAMPLING_THREAD_BLOCK"),
];

/// Names of values, by table and value.
pub(crate) type Enums = FxHashMap<&'static str, FxHashMap<i64, String>>;

/// The rows of a file.
#[derive(Debug)]
pub(crate) struct Rows {
    /// The file.
    pub database: Database,
    /// Its tables.
    pub catalogue: Catalogue,
    /// Its strings and payload schemas.
    pub shared: Shared,
    /// Its enumerations.
    pub enums: Enums,
    /// Names of NVTX categories, by process, domain and number.
    pub categories: FxHashMap<(i64, i64, i64), String>,
}

impl ArgsSource for Rows {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        if loc.is_empty() {
            return Ok(Args::new());
        }
        let unreadable = |reason: String| ArgsError::Unreadable { offset: loc.offset(), reason };
        let Some(table) = self.catalogue.by_number(loc.len()) else {
            return Err(unreadable("there is no such table".to_owned()));
        };
        let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
        let sql = format!(
            "select {} from {} not indexed where {} = ?1",
            columns.join(", "),
            quoted(&table.name),
            table.rowid
        );
        let id = i64::try_from(loc.offset()).unwrap_or(i64::MAX);
        let read = self.database.with(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query([id])?;
            let Some(row) = rows.next()? else { return Ok(Args::new()) };
            let mut values = Vec::with_capacity(table.columns.len());
            for (index, column) in table.columns.iter().enumerate() {
                values.push((column.as_str(), row.get_ref(index)?));
            }
            Ok(self.of_row(&values))
        });
        read.map_err(|error| unreadable(reason(&error)))
    }

    fn heap_bytes(&self) -> usize {
        self.shared.strings.heap_bytes()
    }
}

impl Rows {
    fn of_row(&self, values: &[(&str, ValueRef<'_>)]) -> Args {
        let int = |wanted: &str| {
            values.iter().find(|(column, _)| *column == wanted).and_then(|(_, value)| match value {
                ValueRef::Integer(value) => Some(*value),
                _ => None,
            })
        };
        let mut out = Args::new();
        for &(column, value) in values {
            let value = match value {
                ValueRef::Null => continue,
                ValueRef::Real(value) => ArgValue::Double(value),
                value if column == "binaryData" => {
                    let domain = int("domainId").unwrap_or(0);
                    if let Some(bytes) = bytes_of(value) {
                        out.extend(self.shared.schemas.decode(domain, &bytes, &self.shared.strings));
                    }
                    continue;
                }
                ValueRef::Text(text) => ArgValue::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Blob(bytes) => ArgValue::Text(format!("{} bytes", bytes.len())),
                ValueRef::Integer(number) if column == "color" => ArgValue::Text(format!("0x{:08x}", number as u32)),
                ValueRef::Integer(number) if column == "category" => {
                    let process = process_of(int("globalTid").unwrap_or(0));
                    let name = self.categories.get(&(process, int("domainId").unwrap_or(0), number));
                    name.map_or(ArgValue::Int(number), |name| ArgValue::Text(name.clone()))
                }
                ValueRef::Integer(number) => self.word(column, number).map_or(ArgValue::Int(number), ArgValue::Text),
            };
            out.push((column.to_owned(), value));
        }
        out
    }

    /// What a number in a column stands for.
    fn word(&self, column: &str, number: i64) -> Option<String> {
        if STRINGS.contains(&column) {
            return self.shared.strings.get(number).map(str::to_owned);
        }
        let (_, table) = ENUMS.iter().find(|entry| entry.0 == column)?;
        self.enums.get(table)?.get(&number).cloned()
    }
}
