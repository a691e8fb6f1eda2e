//! SQLite databases: exports of Nsight Systems made here, their values and schema odd, then their pages changed.

use std::io;

use rusqlite::Connection;

use super::change::{change_binary, number, pick};
use crate::synth::Rng;

/// Tables and rows of a small recording; more of them make no difference to the reader.
const EXPORT: &str = "
create table StringIds (id integer primary key, value text not null);
insert into StringIds values (1, 'kernel'), (2, 'void kernel<int>()'), (3, 'cudaLaunchKernel_v7000'), (4, 'step'),
  (5, 'NCCL'), (6, 'poll'), (7, 'python'), (8, 'libc.so.6');
create table META_DATA_EXPORT (name text, value text);
insert into META_DATA_EXPORT values ('EXPORT_SCHEMA_VERSION', '3.11.0');
create table TARGET_INFO_SESSION_START_TIME (utcEpochNs int, utcTime text, localTime text);
insert into TARGET_INFO_SESSION_START_TIME values (1700000000000000000, '', '');
create table TARGET_INFO_GPU (id int, name text, totalMemory int, smCount int, cuDevice int, busLocation text);
insert into TARGET_INFO_GPU values (0, 'GPU', 1000, 8, 0, ''), (1, 'GPU', 1000, 8, 1, '');
create table PROCESSES (globalPid int, pid int, name text);
insert into PROCESSES values (1677721600, 100, 'python'), (3355443200, 200, 'python');
create table ThreadNames (nameId int, priority int, globalTid int);
insert into ThreadNames values (7, 0, 1677721701);
create table CUPTI_ACTIVITY_KIND_KERNEL (start int, end int, deviceId int, contextId int, greenContextId int,
  streamId int, correlationId int, globalPid int, demangledName int, shortName int, mangledName int, gridX int,
  gridY int, gridZ int, blockX int, blockY int, blockZ int, graphNodeId int, registersPerThread int,
  staticSharedMemory int, dynamicSharedMemory int);
insert into CUPTI_ACTIVITY_KIND_KERNEL values
  (1000, 2000, 0, 1, null, 7, 11, 1677721600, 2, 1, null, 1, 1, 1, 32, 1, 1, null, 16, 0, 0),
  (2500, 3000, 0, 1, null, 7, 12, 1677721600, 2, 1, null, 1, 1, 1, 32, 1, 1, null, 16, 0, 0),
  (1500, 1800, 1, 1, null, 8, 13, 3355443200, 2, 1, null, 1, 1, 1, 32, 1, 1, 5, 16, 0, 0);
create table CUPTI_ACTIVITY_KIND_MEMCPY (start int, end int, deviceId int, contextId int, streamId int,
  correlationId int, globalPid int, bytes int, copyKind int, srcKind int, dstKind int);
insert into CUPTI_ACTIVITY_KIND_MEMCPY values (100, 200, 0, 1, 7, 14, 1677721600, 4096, 1, 0, 2);
create table CUPTI_ACTIVITY_KIND_MEMSET (start int, end int, deviceId int, contextId int, streamId int,
  correlationId int, globalPid int, value int, bytes int, memKind int);
insert into CUPTI_ACTIVITY_KIND_MEMSET values (300, 400, 0, 1, 7, 15, 1677721600, 0, 64, 2);
create table CUPTI_ACTIVITY_KIND_SYNCHRONIZATION (start int, end int, deviceId int, contextId int, streamId int,
  correlationId int, globalPid int, syncType int, eventId int);
insert into CUPTI_ACTIVITY_KIND_SYNCHRONIZATION values (3100, 3200, 0, 1, 7, 16, 1677721600, 1, 0);
create table CUPTI_ACTIVITY_KIND_RUNTIME (start int, end int, eventClass int, globalTid int, correlationId int,
  nameId int, returnValue int, callchainId int);
insert into CUPTI_ACTIVITY_KIND_RUNTIME values (900, 950, 0, 1677721701, 11, 3, 0, 1), (960, 990, 0, 1677721701, 12, 3, 0, null);
create table NVTX_EVENTS (start int, end int, eventType int, rangeId int, category int, color int, text text,
  globalTid int, endGlobalTid int, textId int, domainId int, uint64Value int, int64Value int, doubleValue real,
  uint32Value int, int32Value int, floatValue real, jsonTextId int, jsonText text, binaryData text);
insert into NVTX_EVENTS (start, end, eventType, text, globalTid, textId, domainId) values
  (0, 5000, 59, null, 1677721701, 4, 0), (10, null, 34, 'mark', 1677721701, null, 0),
  (20, 900, 60, 'range', 1677721701, null, 1), (0, null, 75, 'NCCL', 1677721701, 5, 1);
create table OSRT_API (start int, end int, eventClass int, globalTid int, nameId int, returnValue int, callchainId int);
insert into OSRT_API values (30, 40, 27, 1677721701, 6, 0, 1);
create table SCHED_EVENTS (start int, cpu int, isSchedIn int, globalTid int, threadState int, threadBlock int);
insert into SCHED_EVENTS values (5, 0, 1, 1677721701, 0, 0), (50, 0, 0, 1677721701, 0, 0);
create table COMPOSITE_EVENTS (id integer primary key, start int, cpu int, threadState int, globalTid int, cpuCycles int);
insert into COMPOSITE_EVENTS values (1, 35, 0, 1, 1677721701, 1000);
create table SAMPLING_CALLCHAINS (id int, symbol int, module int, kernelMode int, thumbCode int, unresolved int,
  specialEntry int, originalIP int, unwindMethod int, stackDepth int);
insert into SAMPLING_CALLCHAINS values (1, 6, 8, 0, 0, 0, 0, 4096, 0, 0), (1, 7, 8, 0, 0, 0, 0, 8192, 0, 1);
create table GPU_METRICS (timestamp int, typeId int, metricId int, value int);
insert into GPU_METRICS values (10, 1, 1, 50), (20, 1, 1, 60);
create table TARGET_INFO_GPU_METRICS (typeId int, sourceId int, typeName text, metricId int, metricName text);
insert into TARGET_INFO_GPU_METRICS values (1, 0, 'GPU', 1, 'SM Active');
";

/// Values that no column expects.
const VALUES: [&str; 9] =
    ["null", "-1", "9223372036854775807", "-9223372036854775808", "'text'", "x'ff00'", "1.5", "1e300", "0"];

/// A few databases: as it is, and with values, tables and columns that do not fit.
pub(super) fn seeds() -> io::Result<Vec<Vec<u8>>> {
    let mut rng = Rng::new(7);
    let mut seeds = vec![database(EXPORT, "")?];
    for _ in 0..24 {
        seeds.push(database(EXPORT, &odd(&mut rng))?);
    }
    Ok(seeds)
}

/// Statements that make the export odd.
fn odd(rng: &mut Rng) -> String {
    let tables: Vec<&str> = EXPORT.split("create table ").skip(1).filter_map(|text| text.split(' ').next()).collect();
    let mut sql = String::new();
    for _ in 0..=rng.below(6) {
        let table = *pick(&tables, rng);
        let columns = columns_of(table);
        let column = pick(&columns, rng);
        let value = *pick(&VALUES, rng);
        let statement = match rng.below(6) {
            0 => format!("drop table if exists {table};"),
            1 => format!("alter table {table} rename column {column} to other{};", rng.below(1_000_000)),
            2 => format!("delete from {table};"),
            3 => format!("update {table} set {column} = {};", number(rng) as i64),
            4 => format!("insert into {table} select * from {table};"),
            _ => format!("update {table} set {column} = {value};"),
        };
        sql.push_str(&statement);
    }
    sql
}

fn columns_of(table: &str) -> Vec<String> {
    let key = format!("create table {table} (");
    let Some((_, rest)) = EXPORT.split_once(&key) else { return vec!["start".to_owned()] };
    let body = rest.split_once(')').map_or(rest, |(body, _)| body);
    body.split(',').filter_map(|column| column.split_whitespace().next()).map(str::to_owned).collect()
}

fn database(sql: &str, odd: &str) -> io::Result<Vec<u8>> {
    let mut connection = Connection::open_in_memory().map_err(io::Error::other)?;
    connection.execute_batch("pragma page_size = 512;").map_err(io::Error::other)?;
    connection.execute_batch(sql).map_err(io::Error::other)?;
    for statement in odd.split_inclusive(';') {
        // What an earlier statement made impossible is left out.
        let _ = connection.execute_batch(statement);
    }
    let bytes = connection.serialize("main").map_err(io::Error::other)?;
    Ok(bytes.to_vec())
}

/// Changes a page, the file's header, or the text of the schema.
// All changes have one form; others grow the bytes.
#[allow(clippy::ptr_arg)]
pub(super) fn change(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    let size = bytes.get(16..18).map_or(512, |size| usize::from(u16::from_be_bytes([size[0], size[1]]))).max(512);
    let pages = (bytes.len() / size).max(1);
    let page = rng.below(pages as u64) as usize * size;
    let end = (page + size).min(bytes.len());
    match rng.below(8) {
        // The head of a page: its type, its counts, its pointers to cells.
        0 | 1 => {
            let at = page + if page == 0 { 100 } else { 0 } + rng.below(40) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = number(rng) as u8;
            }
        }
        2 => {
            let from = rng.below(pages as u64) as usize * size;
            let copy = bytes.get(from..from + (end - page)).map(<[u8]>::to_vec).unwrap_or_default();
            if copy.len() == end - page {
                bytes[page..end].copy_from_slice(&copy);
            }
        }
        3 => {
            let at = rng.below(100) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = number(rng) as u8;
            }
        }
        4 => {
            // Words of the schema, at the same length.
            let words: [(&[u8], &[u8]); 5] = [
                (b"create table", b"create  view"),
                (b" int,", b" txt,"),
                (b"start", b"stxrt"),
                (b"(start", b"(((((("),
                (b"text", b"blob"),
            ];
            let (from, to) = pick(&words, rng);
            let lower: Vec<u8> = bytes.to_ascii_lowercase();
            let places: Vec<usize> = lower
                .windows(from.len())
                .enumerate()
                .filter(|window| window.1 == *from)
                .map(|window| window.0)
                .collect();
            if !places.is_empty() {
                let at = *pick(&places, rng);
                bytes[at..at + to.len()].copy_from_slice(to);
            }
        }
        5 => {
            let other = pick::<Vec<u8>>(others, rng);
            if let Some(copy) = other.get(page..end) {
                bytes[page..end].copy_from_slice(copy);
            }
        }
        _ => {
            let mut piece = bytes[page..end].to_vec();
            change_binary(&mut piece, rng);
            piece.resize(end - page, 0);
            bytes[page..end].copy_from_slice(&piece);
        }
    }
}
