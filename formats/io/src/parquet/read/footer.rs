//! What the footer says: columns, groups of rows, and where the chunks of columns lie.

use super::Data;
use super::thrift::{Value, read_struct};
use crate::error::Refused;

/// Bytes of a footer. That of a table of some columns takes some KiB a thousand groups of rows.
const MAX_FOOTER: usize = 4 << 20;
/// Columns of a table. More are no table of operators, and each is looked for by its name.
const MAX_COLUMNS: usize = 1_000;
/// The bytes at both ends of a file.
pub(crate) const MAGIC: &[u8; 4] = b"PAR1";

/// How values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Physical {
    Bool,
    Int32,
    Int64,
    Float,
    Double,
    Bytes,
    /// Another one, which is not read.
    Other,
}

/// A column at the top of the schema.
#[derive(Clone, Debug)]
pub(super) struct FooterColumn {
    pub name: String,
    pub physical: Physical,
    /// Whether rows may have no value.
    pub is_optional: bool,
    /// Whether whole numbers have no sign.
    pub is_unsigned: bool,
}

impl FooterColumn {
    /// No values of its type; `None` if the type is not read.
    pub fn empty(&self) -> Option<Data> {
        match self.physical {
            Physical::Bool | Physical::Int32 | Physical::Int64 => Some(Data::Int(Vec::new())),
            Physical::Float | Physical::Double => Some(Data::Float(Vec::new())),
            Physical::Bytes => Some(Data::Text { texts: Vec::new(), codes: Vec::new() }),
            Physical::Other => None,
        }
    }
}

/// A column's bytes in a group of rows.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub column: String,
    pub codec: i64,
    pub values: u64,
    pub offset: u64,
    pub bytes: u64,
}

/// A group of rows.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub rows: u64,
    pub chunks: Vec<Chunk>,
    /// Where its last chunk ends in the file.
    pub end: u64,
}

/// The footer.
#[derive(Clone, Debug)]
pub(super) struct Footer {
    pub columns: Vec<FooterColumn>,
    pub groups: Vec<Group>,
    pub rows: u64,
}

impl Footer {
    pub fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let len = bytes.len();
        if bytes.ends_with(b"PARE") {
            return Err(Refused::format(0, "it is an encrypted Parquet file; write it again without encryption"));
        }
        let tail = bytes.len().checked_sub(8).and_then(|at| bytes.get(at..)).unwrap_or_default();
        let (Some((size, _)), true) = (tail.split_first_chunk::<4>(), bytes.ends_with(MAGIC) && len >= 12) else {
            return Err(Refused::format(
                len as u64,
                "it begins as a Parquet file and ends before the footer, without which nothing in it can be found; \
                 it was cut while it was written or copied: write or copy it again",
            ));
        };
        let size = u32::from_le_bytes(*size) as usize;
        let end = len - 8;
        let start = end.checked_sub(size).filter(|&start| start >= MAGIC.len()).ok_or_else(|| {
            Refused::format(end as u64, format!("its footer would be of {size} bytes, more than the file has"))
        })?;
        if size > MAX_FOOTER {
            let reason = format!("its footer is of {size} bytes; {MAX_FOOTER} is the most for a table of operators");
            return Err(Refused::format(start as u64, reason));
        }
        let wrong = |what: &str| Refused::format(start as u64, format!("its footer is damaged: {what}"));
        let (footer, _) =
            read_struct(bytes.get(start..end).unwrap_or_default()).ok_or_else(|| wrong("it ends too early"))?;
        let columns = columns(footer.list(2)).ok_or_else(|| wrong("the schema makes no sense"))?;
        if columns.len() > MAX_COLUMNS {
            let reason = format!("it has {} columns; a table of operators has some ten", columns.len());
            return Err(Refused::format(start as u64, reason));
        }
        let groups: Vec<Group> = footer
            .list(4)
            .iter()
            .map(|group| read_group(group, start as u64))
            .collect::<Option<_>>()
            .ok_or_else(|| wrong("a group of rows has no size, or lies outside the file"))?;
        let rows = groups.iter().try_fold(0_u64, |sum, group| sum.checked_add(group.rows));
        let rows = rows.ok_or_else(|| wrong("it has more rows than can be counted"))?;
        if footer.int(3).and_then(|rows| u64::try_from(rows).ok()) != Some(rows) {
            return Err(wrong("its groups have not as many rows as the whole"));
        }
        Ok(Self { columns, groups, rows })
    }
}

/// The columns at the top of the schema. Nested and repeated ones are of another type.
fn columns(elements: &[Value<'_>]) -> Option<Vec<FooterColumn>> {
    let mut elements = elements.iter();
    let mut missing = elements.next()?.int(5)?;
    let mut columns = Vec::new();
    while missing > 0 {
        let element = elements.next()?;
        missing -= 1;
        let name = element.text(4)?.to_owned();
        let children = element.int(5).unwrap_or(0);
        let is_flat = children == 0 && element.int(3)? != 2;
        // What is nested is read over, without recursion.
        let mut below = children;
        while below > 0 {
            below = (below - 1).checked_add(elements.next()?.int(5).unwrap_or(0).max(0))?;
        }
        columns.push(FooterColumn {
            name,
            physical: match element.int(1) {
                _ if !is_flat => Physical::Other,
                Some(0) => Physical::Bool,
                Some(1) => Physical::Int32,
                Some(2) => Physical::Int64,
                Some(4) => Physical::Float,
                Some(5) => Physical::Double,
                Some(6) => Physical::Bytes,
                _ => Physical::Other,
            },
            is_optional: element.int(3) == Some(1),
            // UINT_8 to UINT_64.
            is_unsigned: matches!(element.int(6), Some(11..=14)),
        });
    }
    Some(columns)
}

fn read_group(group: &Value<'_>, end_of_data: u64) -> Option<Group> {
    let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    let rows = positive(group.int(3))?;
    let mut chunks = Vec::new();
    let mut end = 0;
    if group.list(1).len() > 16 * MAX_COLUMNS {
        return None;
    }
    for chunk in group.list(1) {
        let metadata = chunk.field(3)?;
        let [name] = metadata.list(3) else { continue };
        let data = positive(metadata.int(9))?;
        // Some writers give 0 where there is no dictionary.
        let dictionary = positive(metadata.int(11)).filter(|&offset| offset > 0 && offset < data);
        let (offset, bytes) = (dictionary.unwrap_or(data), positive(metadata.int(7))?);
        end = end.max(offset.checked_add(bytes).filter(|&end| end <= end_of_data)?);
        chunks.push(Chunk {
            column: name.as_text()?.to_owned(),
            codec: metadata.int(4)?,
            values: positive(metadata.int(5))?,
            offset,
            bytes,
        });
    }
    Some(Group { rows, chunks, end })
}
