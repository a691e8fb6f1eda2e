//! A small export made by hand.
#![allow(dead_code)]

use gapless_formats::{OpenError, OpenOptions, Silent, open};
use gapless_trace::Trace;
use rusqlite::Connection;
use tempfile::TempDir;

/// Process with device 1.
pub const PID_A: i64 = 100;
/// Process with device 0.
pub const PID_B: i64 = 200;
/// Process without device work.
pub const PID_C: i64 = 300;

/// A global thread id.
pub fn tid(pid: i64, tid: i64) -> i64 {
    pid << 24 | tid
}

/// A database in a folder of its own.
pub struct Fixture {
    folder: TempDir,
    connection: Option<Connection>,
}

impl Fixture {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("export.sqlite")).unwrap();
        connection.execute_batch("pragma journal_mode = off; pragma synchronous = off").unwrap();
        Self { folder, connection: Some(connection) }
    }

    /// A file with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("export.sqlite"), bytes).unwrap();
        Self { folder, connection: None }
    }

    fn connection(&mut self) -> &Connection {
        let path = self.folder.path().join("export.sqlite");
        self.connection.get_or_insert_with(|| {
            let connection = Connection::open(path).unwrap();
            connection.execute_batch("pragma journal_mode = off; pragma synchronous = off").unwrap();
            connection
        })
    }

    pub fn run(&mut self, sql: &str) {
        self.connection().execute_batch(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    /// Whether the database takes `sql`.
    pub fn try_run(&mut self, sql: &str) -> bool {
        self.connection().execute_batch(sql).is_ok()
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("export.sqlite")
    }

    pub fn bytes(&mut self) -> Vec<u8> {
        self.connection = None;
        std::fs::read(self.path()).unwrap()
    }

    pub fn open(&mut self) -> Result<Trace, OpenError> {
        self.open_with(&OpenOptions::default())
    }

    pub fn open_with(&mut self, options: &OpenOptions) -> Result<Trace, OpenError> {
        self.connection = None;
        open(&[self.path()], options, &Silent)
    }

    pub fn trace(&mut self) -> Trace {
        self.open().unwrap()
    }

    /// All tables with their columns.
    pub fn names(&mut self) -> Vec<(String, Vec<String>)> {
        let connection = self.connection();
        let list = |sql: &str| -> Vec<String> {
            let mut statement = connection.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| row.get(0)).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let tables = list("select name from sqlite_schema where type = 'table'");
        let columns = |table: &String| list(&format!("select name from pragma_table_info('{table}')"));
        tables.into_iter().map(|table| (table.clone(), columns(&table))).collect()
    }
}

/// A payload as the recorder writes it: a head, then the structure.
fn payload(domain: u64, schema: u64, body: &[u8]) -> String {
    let words = [domain, schema, body.len() as u64, body.len() as u64 + 32];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).chain(body.iter().copied()).collect();
    let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("x'{digits}'")
}

/// An export with every kind of table.
pub fn full() -> Fixture {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    Fixture::of(BYTES.get_or_init(|| full_in("UTF-8").bytes()))
}

/// The same with texts in this encoding.
pub fn full_in(encoding: &str) -> Fixture {
    let mut fixture = Fixture::new();
    fixture.run(&format!("pragma encoding = '{encoding}'"));
    let (a, b, c) = (PID_A << 24, PID_B << 24, PID_C << 24);
    let (thread_a, thread_b, thread_c) = (tid(PID_A, 77), tid(PID_B, 88), tid(PID_C, 99));
    let communicator = 0xFEDC_BA98_7654_3210u64;
    let mut all_reduce = communicator.to_le_bytes().to_vec();
    all_reduce.extend_from_slice(&(1u64 << 20).to_le_bytes());
    all_reduce.extend_from_slice(&0u32.to_le_bytes());
    all_reduce.extend_from_slice(&[0; 4]);
    let mut init = communicator.to_le_bytes().to_vec();
    init.extend_from_slice(&2i32.to_le_bytes());
    init.extend_from_slice(&1i32.to_le_bytes());
    let all_reduce = payload(2, 16_777_221, &all_reduce);
    let init = payload(2, 16_777_216, &init);
    fixture.run(&format!(
        "begin;
         create table META_DATA_EXPORT (name text, value text);
         insert into META_DATA_EXPORT values ('EXPORT_SCHEMA_VERSION', '3.25.0'),
           ('EXPORT_PARAM_TIME_NORMALIZE', 'false');
         create table META_DATA_CAPTURE (name text, value text);
         insert into META_DATA_CAPTURE values ('RATE_HZ', '0'),
           ('PROCESS_0:ENVIRONMENT_VARIABLE', 'NCCL_DEBUG=\"INFO\"'),
           ('PROCESS_0:ENVIRONMENT_VARIABLE', 'TOKEN=\"SECRET\"');
         create table TARGET_INFO_SESSION_START_TIME (utcEpochNs int, utcTime text, localTime text, systemClockNs int);
         insert into TARGET_INFO_SESSION_START_TIME values (1700000000000000000, '', '', 9000000000000);
         create table ANALYSIS_DETAILS (globalVid int, duration int, startTime int, stopTime int);
         insert into ANALYSIS_DETAILS values (0, 100000, 9000000000000, 9000000100000);
         create table TARGET_INFO_SYSTEM_ENV (globalVid int, devStateName text, name text, nameEnum int, value text);
         insert into TARGET_INFO_SYSTEM_ENV values (0, '', 'Hostname', 619, 'node7'),
           (0, '', 'DeviceEnvironment', 610, 'TOKEN=SECRET');
         create table TARGET_INFO_GPU (vmId int, id int, name text, totalMemory int, smCount int, computeMajor int,
           computeMinor int);
         insert into TARGET_INFO_GPU values (0, 0, 'H100 A', 85899345920, 132, 9, 0),
           (0, 1, 'H100 B', 85899345920, 132, 9, 0);
         create table DIAGNOSTIC_EVENT (timestamp int, timestampType int, source int, severity int, text text,
           globalPid int);
         insert into DIAGNOSTIC_EVENT values (0, 1, 1, 3, 'CUPTI ran out of buffers', {a}), (0, 1, 1, 1, 'fine', {a});
         create table StringIds (id integer primary key, value text);
         insert into StringIds values (1, 'vectorAdd<float>(float*)'), (2, 'vectorAdd'), (3, '_Z9vectorAddPf'),
           (4, 'ncclDevKernel_AllReduce'), (5, 'cudaLaunchKernel_v7000'), (6, 'cuLaunchKernelEx'),
           (7, 'cudaMemcpyAsync_v3020'), (8, 'cudaStreamSynchronize_v3020'), (9, 'cudaGraphLaunch_v10000'),
           (10, 'Command Buffer Full'), (11, 'registered text'), (12, 'ncclAllReduce'), (13, 'ncclGroupStart'),
           (14, 'python'), (15, 'pthread_cond_wait'), (16, 'MPI_Barrier'), (17, 'leaf'), (18, 'middle'),
           (19, 'main'), (20, 'libwork.so'), (21, 'ncclCommInitRank'), (22, 'cudaMalloc_v3020');
         create table PROCESSES (globalPid int, pid int, name text);
         insert into PROCESSES values ({a}, {PID_A}, 'trainer'), ({b}, {PID_B}, 'trainer'), ({c}, {PID_C}, 'helper');
         create table ThreadNames (nameId int, priority int, globalTid int);
         insert into ThreadNames values (14, 20, {thread_a});
         create table TARGET_INFO_CUDA_STREAM (streamId int, hwId int, vmId int, processId int, contextId int,
           priority int, flag int);
         insert into TARGET_INFO_CUDA_STREAM values (7, 0, 0, {PID_A}, 1, 0, 3);
         create table ENUM_CUDA_KERNEL_LAUNCH_TYPE (id int, name text, label text);
         insert into ENUM_CUDA_KERNEL_LAUNCH_TYPE values (1, 'CUDA_KERNEL_LAUNCH_TYPE_REGULAR', 'Regular');
         create table ENUM_CUPTI_OVERHEAD_TYPE (id int, name text, label text);
         insert into ENUM_CUPTI_OVERHEAD_TYPE values (8, 'X', 'Command buffer full (CUDA)');
         create table ENUM_SAMPLING_THREAD_STATE (id int, name text, label text);
         insert into ENUM_SAMPLING_THREAD_STATE values (1, 'R', 'Running');
         create table CUPTI_ACTIVITY_KIND_KERNEL (start int, end int, deviceId int, contextId int, streamId int,
           correlationId int, globalPid int, demangledName int, shortName int, mangledName int, launchType int,
           gridX int, gridY int, gridZ int, graphNodeId int);
         insert into CUPTI_ACTIVITY_KIND_KERNEL values
           (2000, 2500, 1, 1, 7, 10, {a}, 1, 2, 3, 1, 32, 1, 1, null),
           (2000, 2900, 0, 1, 7, 10, {b}, 4, 4, 4, 1, 8, 1, 1, null);
         create table CUPTI_ACTIVITY_KIND_MEMCPY (start int, end int, deviceId int, streamId int, correlationId int,
           globalPid int, bytes int, copyKind int, srcKind int, dstKind int);
         insert into CUPTI_ACTIVITY_KIND_MEMCPY values (3000, 3100, 1, 7, 11, {a}, 4096, 1, 1, 2);
         create table CUPTI_ACTIVITY_KIND_MEMSET (start int, end int, deviceId int, streamId int, correlationId int,
           globalPid int, value int, bytes int, memKind int);
         insert into CUPTI_ACTIVITY_KIND_MEMSET values (3200, 3210, 1, 7, 99, {a}, 0, 64, 2);
         create table CUPTI_ACTIVITY_KIND_GRAPH_TRACE (start int, end int, deviceId int, streamId int,
           correlationId int, globalPid int, graphId int, graphExecId int);
         insert into CUPTI_ACTIVITY_KIND_GRAPH_TRACE values (4000, 4900, 1, 7, 13, {a}, 5, 6);
         create table CUPTI_ACTIVITY_KIND_SYNCHRONIZATION (start int, end int, deviceId int, streamId int,
           correlationId int, globalPid int, syncType int, eventId int);
         insert into CUPTI_ACTIVITY_KIND_SYNCHRONIZATION values (5000, 5500, 1, 7, 12, {a}, 3, 0);
         create table CUPTI_ACTIVITY_KIND_CUDA_EVENT (timestamp int, deviceId int, streamId int, correlationId int,
           globalPid int, eventId int);
         insert into CUPTI_ACTIVITY_KIND_CUDA_EVENT values (2600, 1, 7, 14, {a}, 3);
         create table CUPTI_ACTIVITY_KIND_RUNTIME (start int, end int, eventClass int, globalTid int,
           correlationId int, nameId int, returnValue int, callchainId int);
         insert into CUPTI_ACTIVITY_KIND_RUNTIME values (1500, 1600, 0, {thread_a}, 10, 5, 0, null),
           (1500, 1600, 1, {thread_b}, 10, 6, 0, null), (1700, 1750, 0, {thread_a}, 11, 7, 0, null),
           (4950, 5600, 0, {thread_a}, 12, 8, 0, null), (3500, 3600, 0, {thread_a}, 13, 9, 0, null),
           (10, 20, 0, {thread_c}, 10, 22, 0, null);
         create table CUPTI_ACTIVITY_KIND_OVERHEAD (start int, end int, eventClass int, globalTid int,
           correlationId int, nameId int, overheadType int);
         insert into CUPTI_ACTIVITY_KIND_OVERHEAD values (1510, 1590, 103, {thread_a}, 10, 10, 8);
         create table NVTX_EVENTS (start int, end int, eventType int, rangeId int, category int, color int, text text,
           globalTid int, endGlobalTid int, textId int, domainId int, int64Value int, jsonText text, binaryData blob);
         insert into NVTX_EVENTS values
           (0, null, 75, null, null, null, 'my.domain', {thread_a}, null, null, 1, null, null, null),
           (0, null, 75, null, null, null, 'NCCL', {thread_b}, null, null, 2, null, null, null),
           (0, null, 33, null, 4, null, 'compute', {thread_a}, null, null, 0, null, null, null),
           (0, null, 39, null, null, null, 'main loop', {thread_a}, null, null, 0, null, null, null),
           (0, null, 97, null, null, null, 'a device', {thread_a}, null, null, 0, null, null, null),
           (1000, 6000, 59, null, 4, 4278255360, 'forward', {thread_a}, null, null, 0, -3, null, null),
           (1100, 1200, 59, null, null, null, null, {thread_a}, null, 11, 1, null, null, null),
           (1300, 1400, 59, null, null, null, 'aten::mul, seq = 12, op_id = 99', {thread_a}, null, null, 0, null, null,
             null),
           (1000, 8000, 60, 1, null, null, 'transfer', {thread_a}, {thread_b}, null, 0, null, null, null),
           (1250, null, 34, null, null, null, 'checkpoint', {thread_a}, null, null, 0, null, null, null),
           (9000, null, 59, null, null, null, 'never ended', {thread_a}, null, null, 0, null, null, null),
           (1000, 1900, 59, null, null, null, null, {thread_b}, null, 12, 2, null, null, {all_reduce}),
           (500, 600, 59, null, null, null, null, {thread_b}, null, 21, 2, null, null, {init}),
           (950, 990, 59, null, null, null, null, {thread_b}, null, 13, 2, null, null, null),
           (100, 200, 59, null, null, null, 'helper range', {thread_c}, null, null, 0, null, null, null),
           (10000, 11000, 59, null, null, null, 'iteration 1', {thread_a}, null, null, 0, null, null, null),
           (11000, 12000, 59, null, null, null, 'iteration 2', {thread_a}, null, null, 0, null, null, null);
         create table NVTX_PAYLOAD_SCHEMAS (domainId int, schemaId int, name text, type int, flags int, numEntries int,
           payloadSize int, alignTo int);
         insert into NVTX_PAYLOAD_SCHEMAS values (2, 16777221, null, 1, null, 3, 24, null);
         create table NVTX_PAYLOAD_SCHEMA_ENTRIES (domainId int, schemaId int, idx int, flags int, type int, name text,
           description text, arrayOrUnionDetail int, offset int);
         insert into NVTX_PAYLOAD_SCHEMA_ENTRIES values
           (2, 16777216, 0, null, 18, 'NCCL communicator ID', null, null, null),
           (2, 16777216, 1, null, 5, 'No. of ranks', null, null, 8),
           (2, 16777216, 2, null, 5, 'Rank', null, null, 12),
           (2, 16777221, 0, null, 18, 'NCCL communicator ID', null, null, null),
           (2, 16777221, 1, null, 22, 'Message size [bytes]', null, null, 8),
           (2, 16777221, 2, null, 16777230, 'Reduction operation', null, null, 16);
         create table NVTX_PAYLOAD_ENUM_ENTRIES (domainId int, schemaId int, idx int, name text, value int, isFlag int);
         insert into NVTX_PAYLOAD_ENUM_ENTRIES values (2, 16777230, 0, 'Sum', 0, 0), (2, 16777230, 1, 'Prod', 1, 0);
         create table OSRT_API (start int, end int, eventClass int, globalTid int, nameId int, returnValue int,
           nestingLevel int, callchainId int);
         insert into OSRT_API values (1000, 4000, 27, {thread_c}, 15, 0, 0, 5);
         create table OSRT_CALLCHAINS (id int, symbol int, module int, stackDepth int);
         insert into OSRT_CALLCHAINS values (5, 17, 20, 0), (5, 19, 20, 1);
         create table MPI_OTHER_EVENTS (start int, end int, globalTid int, textId int);
         insert into MPI_OTHER_EVENTS values (7000, 7100, {thread_a}, 16);
         create table COMPOSITE_EVENTS (id integer primary key, start int, cpu int, threadState int, globalTid int,
           cpuCycles int);
         insert into COMPOSITE_EVENTS values (40, 1800, 3, 1, {thread_a}, 1234), (41, 1900, 3, 1, {thread_a}, 0);
         create table SAMPLING_CALLCHAINS (id int, symbol int, module int, kernelMode int, unresolved int,
           stackDepth int);
         insert into SAMPLING_CALLCHAINS values (40, 19, 20, 0, 0, 2), (40, 17, 20, 0, 0, 0), (40, 18, 20, 0, 0, 1);
         create table SCHED_EVENTS (start int, cpu int, isSchedIn int, globalTid int);
         insert into SCHED_EVENTS values (2100, 3, 0, {thread_a}), (500, 3, 0, {thread_b}), (1000, 3, 1, {thread_a}),
           (1500, 3, 0, {thread_a}), (2000, 3, 1, {thread_a});
         create table TARGET_INFO_GPU_METRICS (typeId int, sourceId int, typeName text, metricId int, metricName text);
         insert into TARGET_INFO_GPU_METRICS values (256, 0, '', 1, 'SMs Active [Throughput %]'),
           (257, 0, '', 2, 'DRAM Read [MB/s]');
         create table GPU_METRICS (rawTimestamp int, timestamp int, typeId int, metricId int, value int);
         insert into GPU_METRICS values (0, 1000, 256, 1, 50), (0, 2000, 256, 1, 60), (0, 1000, 257, 2, 7.5);
         create table CUDA_GPU_MEMORY_USAGE_EVENTS (start int, globalPid int, deviceId int, contextId int, address int,
           bytes int, memKind int, memoryOperationType int);
         insert into CUDA_GPU_MEMORY_USAGE_EVENTS values (1000, {a}, 1, 1, 1, 4096, 2, 0), (2000, {a}, 1, 1, 2, 8192, 2, 0),
           (3000, {a}, 1, 1, 1, 4096, 2, 1);
         create table SOC_METRICS (timestamp int, value int);
         insert into SOC_METRICS values (1, 1);
         commit;"
    ));
    fixture
}
