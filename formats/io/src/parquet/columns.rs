//! Columns of a table: what they are called and hold, and their values for a group of rows.

use std::ops::Range;
use std::sync::Arc;

use ::parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use ::parquet::errors::ParquetError;
use ::parquet::schema::types::{Type, TypePtr};
use rustc_hash::FxHashMap;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnType {
    Int32,
    Int64,
    /// 64 bits without a sign: sizes and counts, as large as files state them.
    UInt64,
    Double,
    Text,
}

impl ColumnType {
    /// A stable name, as SQL has it.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::UInt64 => "uint64",
            Self::Double => "double",
            Self::Text => "string",
        }
    }
}

/// Code of an absent value in [`Values::Coded`].
pub(super) const ABSENT: u32 = u32::MAX;

/// Distinct values of a coded column.
#[derive(Debug)]
pub(super) enum Entries<'a> {
    Text(Vec<&'a str>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
}

/// The values of a column in a group of rows.
#[derive(Debug)]
pub(super) enum Values<'a> {
    /// Whole numbers, written as differences. With `levels`, one per row, 1 where there is a value.
    Int64 { values: Vec<i64>, levels: Option<Vec<i16>> },
    /// Numbers, written as they are.
    Double(Vec<f64>),
    /// Places in a dictionary; [`ABSENT`] for none.
    Coded { entries: Entries<'a>, codes: Vec<u32> },
    /// Texts of which few are equal.
    Texts(Vec<Option<&'a str>>),
}

impl Values<'_> {
    /// Whole numbers, one a row.
    pub fn numbers(values: impl Iterator<Item = i64>) -> Self {
        Self::Int64 { values: values.collect(), levels: None }
    }

    /// Whole numbers where there are any.
    pub fn optional(rows: impl Iterator<Item = Option<i64>>) -> Self {
        let mut levels = Vec::with_capacity(rows.size_hint().0);
        let mut values = Vec::new();
        for row in rows {
            levels.push(i16::from(row.is_some()));
            values.extend(row);
        }
        Self::Int64 { values, levels: Some(levels) }
    }

    /// Texts of which many are equal.
    pub fn texts<'a>(rows: impl Iterator<Item = Option<&'a str>>) -> Values<'a> {
        let mut places: FxHashMap<&str, u32> = FxHashMap::default();
        let mut entries = Vec::new();
        let mut code = |text| {
            *places.entry(text).or_insert_with(|| {
                entries.push(text);
                entries.len() as u32 - 1
            })
        };
        let codes = rows.map(|row| row.map_or(ABSENT, &mut code)).collect();
        Values::Coded { entries: Entries::Text(entries), codes }
    }
}

/// A group of rows that is encoded at a time.
#[derive(Debug, Default)]
pub(super) struct RowGroup {
    /// Which rows of the source of the table.
    pub rows: Range<usize>,
    /// Texts made for the group beforehand, column by column.
    pub texts: Vec<Vec<Option<String>>>,
}

/// Where the values of a column come from.
enum Origin<'t> {
    /// Made for the group of rows.
    Made(Box<dyn Fn(&RowGroup) -> Values<'t> + Sync + 't>),
    /// This place in the group's texts, few of which are equal.
    Texts(usize),
    /// This place in the group's texts, many of which are equal.
    EqualTexts(usize),
}

/// A column of a table.
pub(super) struct Column<'t> {
    pub name: String,
    pub of: ColumnType,
    pub is_optional: bool,
    origin: Origin<'t>,
}

impl<'t> Column<'t> {
    /// A column that has a value in every row.
    pub fn new(name: &str, of: ColumnType, make: impl Fn(&RowGroup) -> Values<'t> + Sync + 't) -> Self {
        Self { name: name.to_owned(), of, is_optional: false, origin: Origin::Made(Box::new(make)) }
    }

    /// A column whose rows may have no value.
    pub fn optional(name: &str, of: ColumnType, make: impl Fn(&RowGroup) -> Values<'t> + Sync + 't) -> Self {
        Self { is_optional: true, ..Self::new(name, of, make) }
    }

    /// A column of the texts at `place` of the group.
    pub fn of_texts(name: String, place: usize, many_are_equal: bool) -> Self {
        let origin = if many_are_equal { Origin::EqualTexts(place) } else { Origin::Texts(place) };
        Self { name, of: ColumnType::Text, is_optional: true, origin }
    }

    /// Its values for `group`.
    pub fn values<'g>(&self, group: &'g RowGroup) -> Values<'g>
    where
        't: 'g,
    {
        let texts = |place: usize| group.texts.get(place).into_iter().flatten().map(Option::as_deref);
        match &self.origin {
            Origin::Made(make) => make(group),
            Origin::Texts(place) => Values::Texts(texts(*place).collect()),
            Origin::EqualTexts(place) => Values::texts(texts(*place)),
        }
    }

    fn schema(&self) -> Result<Type, ParquetError> {
        let (physical, logical, converted) = match self.of {
            ColumnType::Int32 => (Physical::INT32, None, ConvertedType::NONE),
            ColumnType::Int64 => (Physical::INT64, None, ConvertedType::NONE),
            ColumnType::UInt64 => (Physical::INT64, Some(LogicalType::integer(64, false)), ConvertedType::UINT_64),
            ColumnType::Double => (Physical::DOUBLE, None, ConvertedType::NONE),
            ColumnType::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String), ConvertedType::UTF8),
        };
        Type::primitive_type_builder(&self.name, physical)
            .with_repetition(if self.is_optional { Repetition::OPTIONAL } else { Repetition::REQUIRED })
            .with_logical_type(logical)
            .with_converted_type(converted)
            .build()
    }
}

/// The schema of a table.
pub(super) fn schema(columns: &[Column<'_>]) -> Result<TypePtr, ParquetError> {
    let fields = columns.iter().map(|column| column.schema().map(Arc::new)).collect::<Result<_, _>>()?;
    Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
}
