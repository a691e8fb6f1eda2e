//! How the SQLite library is let at a file that nobody vouches for.
//!
//! Connections only read, and take the file as it lies: no journal beside it is replayed, no lock is taken. Views,
//! triggers, virtual tables and computed columns never run (see [`catalogue`](super::catalogue)); what remains is
//! walking the pages of plain tables, which ends.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::Refused;
use crate::limits::Limits;
use crate::mapped::Bytes;

/// The first bytes of every SQLite file.
pub(crate) const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// How long reading the schema may take. Real exports take a millisecond.
const SCHEMA_TIME: Duration = Duration::from_secs(2);
/// Tables, indexes and views that a schema may name. Real exports have about 100.
const SCHEMA_OBJECTS: i32 = 20_000;
/// Content in memory up to this size is copied into each connection; larger content goes through a temporary file.
const COPIED_BYTES: usize = 8 << 20;
/// Virtual-machine steps between two looks at the clock.
const STEPS: i32 = 20_000;

/// Where the pages are.
#[derive(Debug)]
enum Place {
    /// In a file.
    File(PathBuf),
    /// In a file that is deleted with this value: content of archives.
    Temporary(tempfile::TempPath),
    /// In memory.
    Memory(Arc<Bytes>),
}

/// A file that connections are opened to.
#[derive(Debug)]
pub(crate) struct Database {
    place: Place,
    file_bytes: u64,
    longest: i32,
    /// Whether a schema that does not fit the file is read as far as it goes.
    salvages: bool,
    /// Set when the user gives up; every statement ends soon.
    stopped: Arc<AtomicBool>,
    idle: Mutex<Vec<Connection>>,
}

impl Database {
    /// The database in `bytes`, which are those of `file` if there is one.
    ///
    /// # Errors
    /// When a temporary file is needed and cannot be written.
    pub fn new(bytes: &Arc<Bytes>, file: Option<&Path>, limits: &Limits) -> Result<Self, Refused> {
        let place = match file {
            Some(path) => Place::File(path.to_owned()),
            None if bytes.len() <= COPIED_BYTES => Place::Memory(Arc::clone(bytes)),
            None => Place::Temporary(write_temporary(bytes)?),
        };
        // No string is longer than the file, whatever a damaged page says.
        let longest = limits.string_bytes.min(bytes.len()).max(4096);
        Ok(Self {
            place,
            file_bytes: bytes.len() as u64,
            longest: i32::try_from(longest).unwrap_or(i32::MAX),
            salvages: false,
            stopped: Arc::new(AtomicBool::new(false)),
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// From now on a schema or a header that does not fit the file is read as far as it goes.
    pub fn salvage(&mut self) {
        self.salvages = true;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Ends all statements soon.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Calls `work` with a connection that is kept for the next caller.
    ///
    /// # Errors
    /// When the connection cannot be opened, or `work` fails.
    pub fn with<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match kept {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let result = work(&connection);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = match &self.place {
            Place::File(path) => open_file(path, flags)?,
            Place::Temporary(path) => open_file(path, flags)?,
            Place::Memory(bytes) => {
                let flags = flags | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_MEMORY;
                let mut connection = Connection::open_in_memory_with_flags(flags)?;
                let (head, rest) = bytes.split_at_checked(20).unwrap_or((bytes, &[]));
                let mut head = head.to_vec();
                // A database in memory has no log beside it, whatever its head says.
                if let Some(versions) = head.get_mut(18..20) {
                    versions.fill(1);
                }
                connection.deserialize_read_exact("main", head.as_slice().chain(rest), bytes.len(), true)?;
                connection
            }
        };
        self.harden(&mut connection)?;
        Ok(connection)
    }

    fn harden(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        use DbConfig as Config;
        connection.set_db_config(Config::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(Config::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
        connection.set_db_config(Config::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        // A column that is missing is an error, never the text of its name.
        connection.set_db_config(Config::SQLITE_DBCONFIG_DQS_DML, false)?;
        // The library accepts a damaged schema only where it might be repaired by hand. Nothing can be written here.
        connection.set_db_config(Config::SQLITE_DBCONFIG_DEFENSIVE, !self.salvages)?;
        connection.set_db_config(Config::SQLITE_DBCONFIG_WRITABLE_SCHEMA, self.salvages)?;
        let limits = [
            (Limit::SQLITE_LIMIT_LENGTH, self.longest),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
            (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 0),
            (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
            (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 2),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, 64),
            (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
            (Limit::SQLITE_LIMIT_SCHEMA, SCHEMA_OBJECTS),
        ];
        for (limit, value) in limits {
            connection.set_limit(limit, value)?;
        }
        let stopped = Arc::clone(&self.stopped);
        connection.progress_handler(STEPS, Some(move || stopped.load(Ordering::Relaxed)))?;
        connection.execute_batch("pragma cell_size_check = on; pragma query_only = on; pragma temp_store = memory;")?;
        let mapped = i64::try_from(self.file_bytes).unwrap_or(i64::MAX);
        // Mapping saves copies; where it is not to be had, pages are read.
        let _ = connection.pragma_update(None, "mmap_size", mapped);
        Ok(())
    }

    /// Like [`with`](Self::with), but ends with an error when it takes longer than a schema may.
    pub fn with_deadline<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let mut connection = self.connect()?;
        let deadline = Instant::now() + SCHEMA_TIME;
        connection.progress_handler(STEPS, Some(move || Instant::now() > deadline))?;
        work(&connection)
    }
}

/// Why SQLite says no, for people.
pub(crate) fn reason(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(failure, text) => match failure.code {
            ErrorCode::NotADatabase => "the file is encrypted or is no SQLite database".to_owned(),
            ErrorCode::OperationInterrupted => "it takes too long".to_owned(),
            ErrorCode::TooBig => "a string or row is longer than the limit".to_owned(),
            _ => text.clone().unwrap_or_else(|| failure.to_string()),
        },
        other => other.to_string(),
    }
}

/// Whether `error` says that the pages do not make sense.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::SystemIoFailure))
}

fn open_file(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_READ_ONLY;
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        // A URI is the only way to say that nobody writes: then neither locks nor journals are looked for.
        let mut uri = String::from("file:");
        if path.is_absolute() {
            uri.push_str("//");
        }
        for &byte in path.as_os_str().as_bytes() {
            if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
                uri.push(char::from(byte));
            } else {
                uri.push_str(&format!("%{byte:02X}"));
            }
        }
        uri.push_str("?mode=ro&immutable=1");
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
    }
    #[cfg(not(unix))]
    Connection::open_with_flags(path, flags)
}

fn write_temporary(bytes: &[u8]) -> Result<tempfile::TempPath, Refused> {
    use std::io::Write;
    let write = || -> std::io::Result<tempfile::TempPath> {
        let mut file = tempfile::Builder::new().prefix("gapless-").suffix(".sqlite").tempfile()?;
        file.write_all(bytes)?;
        Ok(file.into_temp_path())
    };
    write().map_err(|error| {
        let text = format!("no temporary file can be written for it ({error}); unpack it and open it from disk");
        Refused::format(0, text)
    })
}
