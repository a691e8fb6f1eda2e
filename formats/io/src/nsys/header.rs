//! What a file says about itself: how it was recorded and exported, on which machine, with which devices.

use gapless_trace::{ArgValue, Args, DeviceInfo, SourceId, WarningKind, Warnings};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::catalogue::{Catalogue, quoted};

/// Rows of a small table that are looked at.
const MOST_ROWS: usize = 20_000;
/// Bytes of one value of the header that are kept.
const LONGEST: usize = 4_096;

/// Rows of a small table, each with its columns that are not null.
pub(crate) fn rows(connection: &Connection, catalogue: &Catalogue, name: &str) -> rusqlite::Result<Vec<Args>> {
    let Some(table) = catalogue.table(name) else { return Ok(Vec::new()) };
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("select {} from {} not indexed limit {MOST_ROWS}", columns.join(", "), quoted(&table.name));
    let mut statement = connection.prepare(&sql)?;
    let mut cursor = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = cursor.next()? {
        let mut values = Args::new();
        for (index, column) in table.columns.iter().enumerate() {
            let value = match row.get_ref(index)? {
                ValueRef::Integer(value) => ArgValue::Int(value),
                ValueRef::Real(value) => ArgValue::Double(value),
                ValueRef::Text(text) => ArgValue::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Null | ValueRef::Blob(_) => continue,
            };
            values.push((column.clone(), value));
        }
        found.push(values);
    }
    Ok(found)
}

/// The value of a column.
pub(crate) fn get<'a>(row: &'a Args, column: &str) -> Option<&'a ArgValue> {
    row.iter().find(|entry| entry.0.eq_ignore_ascii_case(column)).map(|entry| &entry.1)
}

/// A whole number in a column.
pub(crate) fn int(row: &Args, column: &str) -> Option<i64> {
    get(row, column)?.as_i64()
}

/// A text in a column.
pub(crate) fn text<'a>(row: &'a Args, column: &str) -> Option<&'a str> {
    get(row, column)?.as_str()
}

/// What the file says about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Header {
    /// For people: all of it but the environment, which may hold secrets.
    pub fields: Args,
    /// Name of the machine.
    pub host: Option<String>,
    /// The rank that a launcher told the recorded program, and the number of ranks.
    pub launched: (Option<u32>, Option<u32>),
    /// When the recording began, in ns of Unix time.
    pub began_utc_ns: Option<i64>,
    /// What the clock of the machine said then.
    pub began_clock_ns: Option<i64>,
    /// How long it lasted.
    pub duration_ns: Option<i64>,
    /// Whether the export wrote times as Unix time.
    pub is_unix_time: bool,
    /// Devices, by number of the system.
    pub devices: Vec<DeviceInfo>,
    /// (process number, number of the device in the process, number of the device in the system).
    pub visible: Vec<(i64, i64, i64)>,
    /// What the profiler had to report, and other things.
    pub warnings: Warnings,
}

/// Where the recorder and the exporter write about themselves; older exports turn the words round.
const ABOUT: [&str; 4] = ["META_DATA_CAPTURE", "META_DATA_EXPORT", "CAPTURE_META_DATA", "EXPORT_META_DATA"];

/// Variables of the environment that are shown: settings of the job, no secrets.
const SHOWN: [&str; 8] = [
    "CUDA_VISIBLE_DEVICES",
    "WORLD_SIZE",
    "RANK",
    "LOCAL_RANK",
    "NCCL_",
    "CUDA_LAUNCH",
    "OMP_NUM_THREADS",
    "TORCH_NCCL",
];

/// Variables by which launchers tell the rank, and the number of ranks.
const RANK: [&str; 5] = ["RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"];
const WORLD: [&str; 4] = ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"];

impl Header {
    /// Reads it. What cannot be read is counted.
    pub fn read(connection: &Connection, catalogue: &Catalogue) -> Self {
        let mut header = Self::default();
        let mut lost = Warnings::default();
        let mut read = |name: &str| {
            rows(connection, catalogue, name).unwrap_or_else(|error| {
                let text = format!("{name}: {}", super::database::reason(&error));
                lost.add(WarningKind::HeaderUnreadable, SourceId(0), None, &text);
                Vec::new()
            })
        };
        let mut environment: Vec<(String, String)> = Vec::new();
        for table in ABOUT {
            for row in read(table) {
                let (Some(name), Some(value)) = (text(&row, "name"), get(&row, "value")) else { continue };
                if name.ends_with("ENVIRONMENT_VARIABLE") {
                    environment.extend(value.as_str().and_then(variable));
                } else {
                    header.is_unix_time |= name == "EXPORT_PARAM_TIME_NORMALIZE" && value.as_str() == Some("true");
                    header.add(name, value.clone());
                }
            }
        }
        header.environment(environment);
        for row in read("TARGET_INFO_SYSTEM_ENV") {
            let (Some(name), Some(value)) = (text(&row, "name"), get(&row, "value")) else { continue };
            if name == "Hostname" {
                header.host = value.as_str().map(str::to_owned).filter(|host| !host.is_empty());
            }
            if name != "DeviceEnvironment" {
                header.add(name, value.clone());
            }
        }
        if let Some(row) = read("TARGET_INFO_SESSION_START_TIME").first() {
            header.began_utc_ns = int(row, "utcEpochNs");
            header.began_clock_ns = int(row, "systemClockNs");
        }
        if let Some(row) = read("ANALYSIS_DETAILS").first() {
            header.duration_ns = int(row, "duration");
            header.began_clock_ns = int(row, "startTime").or(header.began_clock_ns);
        }
        header.devices = read("TARGET_INFO_GPU").into_iter().filter_map(device).collect();
        for row in read("TARGET_INFO_CUDA_DEVICE") {
            if let (Some(pid), Some(cuda), Some(gpu)) = (int(&row, "pid"), int(&row, "cudaId"), int(&row, "gpuId")) {
                header.visible.push((pid, cuda, gpu));
            }
        }
        for row in read("DIAGNOSTIC_EVENT") {
            /// Severities from here on are worth reporting: warning and error.
            const WARNING: [i64; 2] = [2, 3];
            if int(&row, "severity").is_some_and(|severity| WARNING.contains(&severity)) {
                let what = text(&row, "text").unwrap_or("no text");
                let what: String = what.chars().take(300).collect();
                header.warnings.add(WarningKind::RecorderMessage, SourceId(0), None, &what);
            }
        }
        header.warnings.merge(lost);
        header
    }

    fn add(&mut self, name: &str, mut value: ArgValue) {
        if let ArgValue::Text(text) = &mut value
            && text.len() > LONGEST
        {
            let end = (0..=LONGEST).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        if self.fields.len() < MOST_ROWS {
            self.fields.push((name.to_owned(), value));
        }
    }

    fn environment(&mut self, variables: Vec<(String, String)>) {
        let number = |names: &[&str]| {
            let of = |name: &&str| variables.iter().find(|entry| entry.0 == **name)?.1.parse().ok();
            names.iter().find_map(of)
        };
        self.launched = (number(&RANK), number(&WORLD));
        for (name, value) in variables {
            if SHOWN.iter().any(|shown| name.starts_with(shown)) {
                self.add(&format!("environment {name}"), ArgValue::Text(value));
            }
        }
    }

    /// What times count from, in ns of Unix time, for events between `first` and `last`.
    ///
    /// Times count from the beginning of the recording, unless they cannot: then they are those of the machine's clock.
    pub fn base_ns(&self, first: i64, last: i64) -> Option<i64> {
        /// Events may lie a little outside the recording as it was measured.
        const SLACK_NS: i64 = 10_000_000_000;
        if self.is_unix_time {
            return Some(0);
        }
        let utc = self.began_utc_ns?;
        let (Some(clock), Some(duration)) = (self.began_clock_ns, self.duration_ns) else { return Some(utc) };
        let fits_recording = last <= duration.saturating_add(SLACK_NS);
        let fits_clock = first >= clock.saturating_sub(SLACK_NS);
        if !fits_recording && fits_clock { utc.checked_sub(clock) } else { Some(utc) }
    }
}

/// Name and value of `NAME="value"`.
fn variable(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    Some((name.to_owned(), value.trim_matches('"').to_owned()))
}

fn device(row: Args) -> Option<DeviceInfo> {
    let number = |column: &str| int(&row, column).and_then(|value| u32::try_from(value).ok());
    Some(DeviceInfo {
        id: number("id").or_else(|| number("gpuId"))?,
        name: text(&row, "name").unwrap_or_default().to_owned(),
        memory_bytes: int(&row, "totalMemory").and_then(|bytes| u64::try_from(bytes).ok()),
        multiprocessors: number("smCount"),
        compute_capability: number("computeMajor").zip(number("computeMinor")),
        properties: row,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_the_beginning_unless_they_cannot() {
        let header = Header {
            began_utc_ns: Some(1_000_000_000_000),
            began_clock_ns: Some(70_000_000_000),
            duration_ns: Some(5_000_000_000),
            ..Header::default()
        };
        assert_eq!(header.base_ns(0, 4_000_000_000), Some(1_000_000_000_000));
        assert_eq!(header.base_ns(70_500_000_000, 74_000_000_000), Some(930_000_000_000));
        let unix = Header { is_unix_time: true, ..header };
        assert_eq!(unix.base_ns(0, 0), Some(0));
        assert_eq!(Header::default().base_ns(0, 0), None);
    }
}
