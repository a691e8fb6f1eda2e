//! Arguments: the stats of an event and of its type, decoded when somebody asks.

use std::io::Read;
use std::sync::Arc;

use gapless_trace::{ArgValue, Args, ArgsError, ArgsLoc, ArgsSource};

use crate::mapped::Bytes;

use super::message::{Fields, Slice, Value};
use super::tables::{StatValue, Stretch, Tables, read_stat};

/// Bytes of text that are shown, inflated where it is compressed.
const MOST_TEXT: usize = 1 << 20;
/// Bytes that are no text that are shown.
const MOST_BYTES: usize = 64 << 10;

/// The file with what its planes say about ids.
#[derive(Debug)]
pub(super) struct PlaneArgs {
    /// The file.
    pub bytes: Arc<Bytes>,
    /// Where planes stand, in the order of the file, and their tables.
    pub planes: Vec<(Stretch, Tables)>,
}

impl ArgsSource for PlaneArgs {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        let unreadable = |reason: &str| ArgsError::Unreadable { offset: loc.offset(), reason: reason.to_owned() };
        let at = usize::try_from(loc.offset()).map_err(|_| unreadable("it lies beyond this machine's memory"))?;
        let before = self.planes.partition_point(|(place, _)| place.at <= at);
        let plane = before.checked_sub(1).and_then(|index| self.planes.get(index));
        let (_, tables) = plane.ok_or_else(|| unreadable("it lies in no plane"))?;
        Ok(event_args(&self.bytes, tables, Stretch { at, len: loc.len() }.of(&self.bytes)))
    }

    fn heap_bytes(&self) -> usize {
        let tables: usize = self.planes.iter().map(|(_, tables)| tables.heap_bytes()).sum();
        self.bytes.heap_bytes() + self.planes.capacity() * size_of::<(Stretch, Tables)>() + tables
    }
}

fn event_args(file: &[u8], tables: &Tables, event: Slice<'_>) -> Args {
    let mut args = Args::new();
    let id = Fields::new(event).find_map(|field| match field {
        (1, Value::Varint(id)) => Some(id as i64),
        _ => None,
    });
    if let Some(entry) = tables.types.get(id.unwrap_or(0)) {
        if entry.display_name.len > 0 && entry.name.len > 0 {
            args.push(("long_name".to_owned(), shown(entry.name.of(file).bytes)));
        }
        // What holds for all events of the type comes before what holds for this one.
        for field in Fields::new(entry.message.of(file)) {
            match field {
                (5, Value::Bytes(stat)) => args.extend(stat_arg(file, tables, stat)),
                (3, Value::Bytes(bytes)) => args.push(("metadata".to_owned(), shown(bytes.bytes))),
                _ => {}
            }
        }
    }
    for field in Fields::new(event) {
        if let (4, Value::Bytes(stat)) = field {
            args.extend(stat_arg(file, tables, stat));
        }
    }
    args
}

fn stat_arg(file: &[u8], tables: &Tables, stat: Slice<'_>) -> Option<(String, ArgValue)> {
    let (id, value) = read_stat(stat);
    let name = match tables.stats.get(id) {
        Some(stat) => String::from_utf8_lossy(stat.name.of(file).bytes).into_owned(),
        None => format!("stat {id}"),
    };
    Some((name, arg_value(file, tables, value)))
}

/// The value of a stat.
pub(super) fn arg_value(file: &[u8], tables: &Tables, value: StatValue<'_>) -> ArgValue {
    match value {
        StatValue::None => ArgValue::Null,
        StatValue::Double(value) => ArgValue::Double(value),
        StatValue::UInt(value) => i64::try_from(value).map_or(ArgValue::UInt(value), ArgValue::Int),
        StatValue::Int(value) => ArgValue::Int(value),
        StatValue::Text(text) | StatValue::Bytes(text) => shown(text.bytes),
        StatValue::Ref(id) => match tables.stats.get(id) {
            Some(stat) => shown(stat.name.of(file).bytes),
            None => ArgValue::Text(format!("stat {id}")),
        },
        StatValue::Gzip(bytes) => {
            let mut text = Vec::new();
            // One byte more than is shown tells whether there is more.
            let most = MOST_TEXT as u64 + 1;
            match flate2::read::GzDecoder::new(bytes.bytes).take(most).read_to_end(&mut text) {
                Ok(_) => shown(&text),
                Err(error) => ArgValue::Text(format!("{} bytes of gzip: {error}", bytes.bytes.len())),
            }
        }
    }
}

/// Text as it is, other bytes in hexadecimal digits; of long text the beginning, of other long bytes how many there are.
fn shown(bytes: &[u8]) -> ArgValue {
    let text = match bytes.get(..MOST_TEXT) {
        // The cut may lie within a letter.
        Some(beginning) => match std::str::from_utf8(beginning) {
            Err(error) if error.valid_up_to() + 4 > MOST_TEXT => {
                std::str::from_utf8(beginning.get(..error.valid_up_to()).unwrap_or_default())
            }
            other => other,
        },
        None => std::str::from_utf8(bytes),
    };
    match text {
        Ok(text) if text.len() < bytes.len() => ArgValue::Text(format!("{text}… (cut)")),
        Ok(text) => ArgValue::Text(text.to_owned()),
        Err(_) if bytes.len() > MOST_BYTES => ArgValue::Text(format!("{} bytes", bytes.len())),
        Err(_) => {
            let mut text = String::with_capacity(bytes.len() * 2);
            for byte in bytes {
                for digit in [byte >> 4, byte & 15] {
                    text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
                }
            }
            ArgValue::Text(text)
        }
    }
}
