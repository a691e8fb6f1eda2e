//! The messages of `xplane.proto`, decoded whole by prost: a second reading that shares nothing with the first.

#![allow(missing_docs)]

use std::collections::BTreeMap;

#[derive(Clone, PartialEq, prost::Message)]
pub struct XSpace {
    #[prost(message, repeated, tag = "1")]
    pub planes: Vec<XPlane>,
    #[prost(string, repeated, tag = "2")]
    pub errors: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub warnings: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub hostnames: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct XPlane {
    #[prost(int64, tag = "1")]
    pub id: i64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "3")]
    pub lines: Vec<XLine>,
    #[prost(btree_map = "int64, message", tag = "4")]
    pub event_metadata: BTreeMap<i64, XEventMetadata>,
    #[prost(btree_map = "int64, message", tag = "5")]
    pub stat_metadata: BTreeMap<i64, XStatMetadata>,
    #[prost(message, repeated, tag = "6")]
    pub stats: Vec<XStat>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct XLine {
    #[prost(int64, tag = "1")]
    pub id: i64,
    #[prost(int64, tag = "10")]
    pub display_id: i64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "11")]
    pub display_name: String,
    #[prost(int64, tag = "3")]
    pub timestamp_ns: i64,
    #[prost(int64, tag = "9")]
    pub duration_ps: i64,
    #[prost(message, repeated, tag = "4")]
    pub events: Vec<XEvent>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct XEvent {
    #[prost(int64, tag = "1")]
    pub metadata_id: i64,
    #[prost(oneof = "Data", tags = "2, 5")]
    pub data: Option<Data>,
    #[prost(int64, tag = "3")]
    pub duration_ps: i64,
    #[prost(message, repeated, tag = "4")]
    pub stats: Vec<XStat>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub enum Data {
    #[prost(int64, tag = "2")]
    OffsetPs(i64),
    #[prost(int64, tag = "5")]
    NumOccurrences(i64),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct XStat {
    #[prost(int64, tag = "1")]
    pub metadata_id: i64,
    #[prost(oneof = "Stat", tags = "2, 3, 4, 5, 6, 7, 8")]
    pub value: Option<Stat>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Stat {
    #[prost(double, tag = "2")]
    Double(f64),
    #[prost(uint64, tag = "3")]
    Uint64(u64),
    #[prost(int64, tag = "4")]
    Int64(i64),
    #[prost(string, tag = "5")]
    Str(String),
    #[prost(bytes = "vec", tag = "6")]
    Bytes(Vec<u8>),
    #[prost(uint64, tag = "7")]
    Ref(u64),
    #[prost(bytes = "vec", tag = "8")]
    Gzip(Vec<u8>),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct XEventMetadata {
    #[prost(int64, tag = "1")]
    pub id: i64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub display_name: String,
    #[prost(bytes = "vec", tag = "3")]
    pub metadata: Vec<u8>,
    #[prost(message, repeated, tag = "5")]
    pub stats: Vec<XStat>,
    #[prost(int64, repeated, tag = "6")]
    pub child_id: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct XStatMetadata {
    #[prost(int64, tag = "1")]
    pub id: i64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub description: String,
}

/// A stat of the plane, its name interned.
pub fn stat(plane: &mut XPlane, name: &str, value: Stat) -> XStat {
    XStat { metadata_id: stat_id(plane, name), value: Some(value) }
}

/// A stat whose text is the name of another one, as the recorders write texts that repeat.
pub fn text_stat(plane: &mut XPlane, name: &str, text: &str) -> XStat {
    let value = Stat::Ref(stat_id(plane, text) as u64);
    stat(plane, name, value)
}

fn stat_id(plane: &mut XPlane, name: &str) -> i64 {
    if let Some((&id, _)) = plane.stat_metadata.iter().find(|(_, entry)| entry.name == name) {
        return id;
    }
    let id = plane.stat_metadata.len() as i64 + 1;
    plane.stat_metadata.insert(id, XStatMetadata { id, name: name.to_owned(), description: String::new() });
    id
}

/// Id of the event type of this name, interned.
pub fn event_type(plane: &mut XPlane, name: &str) -> i64 {
    if let Some((&id, _)) = plane.event_metadata.iter().find(|(_, entry)| entry.name == name) {
        return id;
    }
    let id = plane.event_metadata.len() as i64 + 1;
    plane.event_metadata.insert(id, XEventMetadata { id, name: name.to_owned(), ..XEventMetadata::default() });
    id
}

/// An empty plane.
pub fn plane(name: &str) -> XPlane {
    XPlane { name: name.to_owned(), ..XPlane::default() }
}

/// Appends an event to the line `id` of the plane, which is added with `line` as its name where it is new. Times in ps.
pub fn add(
    plane: &mut XPlane,
    (id, line): (i64, &str),
    name: &str,
    (offset_ps, duration_ps): (i64, i64),
    stats: Vec<XStat>,
) {
    let metadata_id = event_type(plane, name);
    let event = XEvent { metadata_id, data: Some(Data::OffsetPs(offset_ps)), duration_ps, stats };
    if let Some(found) = plane.lines.iter_mut().find(|found| found.id == id) {
        found.events.push(event);
        return;
    }
    plane.lines.push(XLine { id, name: line.to_owned(), timestamp_ns: 1_000, events: vec![event], ..XLine::default() });
}
