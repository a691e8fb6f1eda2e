//! Real Nsight Systems exports: counts, sums, names and joins equal those of SQL over the same file.
#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gapless_formats::{OpenOptions, Silent, open};
use gapless_trace::{EventId, EventKind, Severity, Trace, TrackKind};
use rusqlite::Connection;

/// The exports; none where the real traces are not there.
fn files() -> Vec<PathBuf> {
    let folder = std::env::var_os("GAPLESS_TRACES").map_or_else(|| PathBuf::from("../../../shared"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(folder.join("traces/nsys")) else {
        eprintln!("skipped: no real traces at {}", folder.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sqlite"));
    files.sort();
    assert!(!files.is_empty());
    files
}

struct Real {
    path: PathBuf,
    sql: Connection,
    trace: Trace,
}

fn for_each(check: impl Fn(&Real)) {
    for path in files() {
        let sql = Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let trace = open(std::slice::from_ref(&path), &OpenOptions::default(), &Silent).unwrap();
        check(&Real { path, sql, trace });
    }
}

impl Real {
    fn number(&self, sql: &str) -> i64 {
        self.sql.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// (name, count, sum) rows.
    fn table(&self, sql: &str) -> BTreeMap<String, (i64, i64)> {
        let mut statement = self.sql.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn events(&self) -> impl Iterator<Item = EventId> {
        (0..self.trace.events().len() as u32).map(EventId)
    }

    fn category(&self, id: EventId) -> &str {
        self.trace.text(self.trace.event(id).category)
    }

    /// (name, count, sum of durations) of the events of a category.
    fn sums(&self, category: &str) -> BTreeMap<String, (i64, i64)> {
        let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for id in self.events().filter(|&id| self.category(id) == category) {
            let sum = sums.entry(self.trace.name(id).to_owned()).or_default();
            *sum = (sum.0 + 1, sum.1 + self.trace.event(id).dur.0);
        }
        sums
    }
}

#[test]
fn kernels_equal_those_of_sql() {
    for_each(|real| {
        let sql = "select s.value, count(*), sum(k.end - k.start) from CUPTI_ACTIVITY_KIND_KERNEL k
                   join StringIds s on s.id = k.demangledName group by 1";
        let expected = real.table(sql);
        assert!(expected.len() > 10);
        assert_eq!(real.sums("kernel"), expected, "{}", real.path.display());
        let kernels = real.events().filter(|&id| real.trace.event(id).kind.is_kernel()).count() as i64;
        assert_eq!(kernels, real.number("select count(*) from CUPTI_ACTIVITY_KIND_KERNEL"));
    });
}

#[test]
fn copies_and_fills_equal_those_of_sql() {
    for_each(|real| {
        for (kind, table) in [(EventKind::Memcpy, "MEMCPY"), (EventKind::Memset, "MEMSET")] {
            let (mut count, mut time, mut bytes) = (0, 0, 0);
            for id in real.events().filter(|&id| real.trace.event(id).kind == kind) {
                count += 1;
                time += real.trace.event(id).dur.0;
                bytes += real.trace.copy_bytes(id).unwrap() as i64;
            }
            let of = |what: &str| real.number(&format!("select {what} from CUPTI_ACTIVITY_KIND_{table}"));
            let expected = (of("count(*)"), of("sum(end - start)"), of("sum(bytes)"));
            assert_eq!((count, time, bytes), expected, "{}", real.path.display());
        }
        let named = real.sums("gpu_memcpy").into_iter().filter(|entry| entry.0.starts_with("Memcpy DtoD"));
        let count: i64 = named.map(|entry| entry.1.0).sum();
        assert_eq!(count, real.number("select count(*) from CUPTI_ACTIVITY_KIND_MEMCPY where copyKind = 8"));
    });
}

#[test]
fn calls_equal_those_of_sql() {
    for_each(|real| {
        // The version of the entry point goes: `_v` and at least four digits.
        let named = |class: i64| {
            let sql = format!(
                "select rtrim(rtrim(rtrim(s.value, '0123456789'), 'v'), '_'), count(*), sum(r.end - r.start)
                 from CUPTI_ACTIVITY_KIND_RUNTIME r join StringIds s on s.id = r.nameId
                 where r.eventClass = {class} and s.value glob '*_v[0-9][0-9][0-9][0-9]*' group by 1
                 union select s.value, count(*), sum(r.end - r.start)
                 from CUPTI_ACTIVITY_KIND_RUNTIME r join StringIds s on s.id = r.nameId
                 where r.eventClass = {class} and s.value not glob '*_v[0-9][0-9][0-9][0-9]*' group by 1"
            );
            real.table(&sql)
        };
        assert_eq!(real.sums("cuda_runtime"), named(0), "{}", real.path.display());
        assert_eq!(real.sums("cuda_driver"), named(1), "{}", real.path.display());
    });
}

#[test]
fn ranges_equal_those_of_sql() {
    for_each(|real| {
        let ranges = real.events().filter(|&id| matches!(real.category(id), "nvtx" | "NCCL"));
        let (mut count, mut time) = (0, 0);
        for id in ranges {
            count += 1;
            time += real.trace.event(id).dur.0;
        }
        assert_eq!(count, real.number("select count(*) from NVTX_EVENTS where eventType = 59"));
        assert_eq!(time, real.number("select sum(end - start) from NVTX_EVENTS where eventType = 59"));
        // The operators of PyTorch: what stands before the first number.
        let sql = "select substr(text, 1, min(ifnull(nullif(instr(text, ', seq = '), 0), 99999),
                          ifnull(nullif(instr(text, ', op_id = '), 0), 99999)) - 1), count(*), sum(end - start)
                   from NVTX_EVENTS where text glob '*, op_id = [0-9]*' or text glob '*, seq = [0-9]*' group by 1";
        let expected = real.table(sql);
        let operators = real.sums("nvtx").into_iter().filter(|entry| expected.contains_key(&entry.0));
        assert_eq!(operators.collect::<BTreeMap<_, _>>(), expected, "{}", real.path.display());
        let nccl = real.number("select count(*) from NVTX_EVENTS where domainId = 1");
        assert_eq!(real.sums("NCCL").values().map(|entry| entry.0).sum::<i64>(), nccl);
    });
}

#[test]
fn launches_equal_the_join_of_sql() {
    for_each(|real| {
        let mut expected = 0;
        for table in ["KERNEL", "MEMCPY", "MEMSET", "SYNCHRONIZATION"] {
            expected += real.number(&format!(
                "select count(*) from CUPTI_ACTIVITY_KIND_{table} d join CUPTI_ACTIVITY_KIND_RUNTIME r
                 on r.correlationId = d.correlationId and (r.globalTid >> 24) = (d.globalPid >> 24)"
            ));
        }
        assert!(expected > 1_000);
        assert_eq!(real.trace.launches().len() as i64, expected, "{}", real.path.display());
    });
}

#[test]
fn processes_with_gpus_are_ranks_and_nothing_is_lost() {
    for_each(|real| {
        let mut statement = real
            .sql
            .prepare("select globalPid >> 24 & 0xffffff, count(*) from CUPTI_ACTIVITY_KIND_KERNEL group by 1 order by min(deviceId)")
            .unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let expected: Vec<(i64, i64)> = rows.map(Result::unwrap).collect();
        assert_eq!(real.trace.ranks().len(), expected.len());
        for (rank, (pid, kernels)) in real.trace.ranks().iter().zip(expected) {
            let ids = rank.events.clone().map(EventId);
            let found = ids.clone().filter(|&id| real.trace.event(id).kind.is_kernel()).count() as i64;
            assert_eq!(found, kernels, "process {pid}");
            let mut threads = ids.filter_map(|id| {
                let (_, track) = real.trace.track_of(id)?;
                (track.kind == TrackKind::Thread).then(|| real.trace.process(track.process).unwrap().pid)
            });
            assert!(threads.all(|own| own == gapless_trace::RawId::Int(pid)));
        }
        let lost: Vec<_> = real.trace.warnings().sorted();
        assert!(lost.iter().all(|warning| warning.kind.severity() != Severity::Lost), "{lost:?}");
    });
}

#[test]
fn arguments_are_the_columns_of_the_row() {
    for_each(|real| {
        let kernel = real.events().find(|&id| real.category(id) == "kernel").unwrap();
        let args = real.trace.args(kernel).unwrap();
        let int = |name: &str| args.iter().find(|entry| entry.0 == name).and_then(|entry| entry.1.as_i64()).unwrap();
        let sql = format!(
            "select count(*) from CUPTI_ACTIVITY_KIND_KERNEL where start = {} and correlationId = {} and gridX = {}
             and registersPerThread = {}",
            int("start"),
            int("correlationId"),
            int("gridX"),
            int("registersPerThread")
        );
        assert_eq!(real.number(&sql), 1);
        assert_eq!(args.iter().find(|entry| entry.0 == "launchType").unwrap().1.to_string(), "Regular");
        let all = real.events().filter(|&id| real.trace.args(id).unwrap().is_empty()).count();
        assert_eq!(all, 0, "events without arguments");
    });
}

#[test]
fn files_say_when_they_were_recorded() {
    for_each(|real| {
        let base = real.number("select utcEpochNs from TARGET_INFO_SESSION_START_TIME");
        assert!(real.trace.ranks().iter().all(|rank| rank.base_time_ns == Some(base)), "{}", real.path.display());
        assert!(Path::new(&real.trace.sources()[0].path).ends_with(real.path.file_name().unwrap()));
    });
}
