//! Databases that lie: what they would run is not run, what is damaged is said, and all of it ends soon.
#![allow(clippy::unwrap_used, clippy::panic)]

mod nsys_fixture;

use gapless_formats::{Limits, OpenError, OpenOptions, open_bytes};
use gapless_trace::{Trace, WarningKind};
use nsys_fixture::{Fixture, full};

/// An endless query.
const ENDLESS: &str =
    "with recursive n(i) as (select 1 union all select i + 1 from n) select i as start, i as end from n";

fn refusal(fixture: &mut Fixture) -> String {
    match fixture.open() {
        Ok(trace) => panic!("it opened: {:?}", trace.warnings()),
        Err(error) => error.to_string(),
    }
}

fn detail(trace: &Trace, kind: WarningKind) -> String {
    let warnings = trace.warnings().sorted();
    warnings.iter().find(|warning| warning.kind == kind).map(|warning| warning.detail.clone()).unwrap_or_default()
}

#[test]
fn a_database_of_something_else_is_told_from_an_export() {
    let mut fixture = Fixture::new();
    fixture.run("create table songs (title text); insert into songs values ('a')");
    let text = refusal(&mut fixture);
    assert!(text.contains("no export of Nsight Systems") && text.contains("nsys export"), "{text}");
}

#[test]
fn a_view_is_not_run() {
    let mut fixture = full();
    fixture.run("drop table CUPTI_ACTIVITY_KIND_KERNEL");
    fixture.run(&format!("create view CUPTI_ACTIVITY_KIND_KERNEL as {ENDLESS}"));
    let trace = fixture.trace();
    assert_eq!(trace.warnings().count(WarningKind::TableLeftOut), 1);
    assert!(detail(&trace, WarningKind::TableLeftOut).contains("CUPTI_ACTIVITY_KIND_KERNEL is no plain table"));

    let mut alone = Fixture::new();
    alone.run(&format!("create view CUPTI_ACTIVITY_KIND_KERNEL as {ENDLESS}"));
    assert!(refusal(&mut alone).contains("CUPTI_ACTIVITY_KIND_KERNEL is no plain table"));
}

#[test]
fn a_view_that_says_it_is_a_table_is_not_run() {
    let mut fixture = full();
    fixture.run("drop table NVTX_EVENTS; create table NVTX_EVENTS (start int, end int)");
    fixture.run(&format!(
        "pragma writable_schema = on;
         update sqlite_schema set sql = 'create view NVTX_EVENTS as {ENDLESS}' where name = 'NVTX_EVENTS'"
    ));
    match fixture.open() {
        Ok(trace) => assert!(trace.warnings().count(WarningKind::TableLeftOut) > 0),
        Err(error) => assert!(error.to_string().contains("schema"), "{error}"),
    }
}

#[test]
fn a_virtual_table_is_not_run() {
    let mut fixture = full();
    fixture.run("drop table NVTX_EVENTS; create virtual table NVTX_EVENTS using fts5(start, end, eventType)");
    let trace = fixture.trace();
    assert!(trace.warnings().count(WarningKind::TableLeftOut) >= 1);
}

#[test]
fn a_computed_column_is_not_computed() {
    let mut fixture = full();
    fixture.run(
        "drop table CUPTI_ACTIVITY_KIND_KERNEL;
         create table CUPTI_ACTIVITY_KIND_KERNEL (end int, deviceId int, streamId int, correlationId int, globalPid int,
           demangledName int, start int generated always as (length(hex(zeroblob(400000000)))) virtual);
         insert into CUPTI_ACTIVITY_KIND_KERNEL (end, deviceId, demangledName) values (10, 0, 1), (20, 0, 1)",
    );
    let trace = fixture.trace();
    assert!(
        detail(&trace, WarningKind::TableLeftOut).contains("CUPTI_ACTIVITY_KIND_KERNEL.start is a computed column")
    );
    assert_eq!(trace.warnings().count(WarningKind::NoTimestamp), 2);
}

#[test]
fn indexes_and_triggers_and_checks_are_not_run() {
    let mut fixture = full();
    let expected = fixture.trace().events().len();
    fixture.run(
        "create index costly on CUPTI_ACTIVITY_KIND_RUNTIME (start, end, globalTid, correlationId, nameId, eventClass,
           callchainId, length(hex(zeroblob(1000))));
         create trigger watch after insert on NVTX_EVENTS begin delete from NVTX_EVENTS; end",
    );
    assert_eq!(fixture.trace().events().len(), expected);
}

#[test]
fn a_schema_that_makes_no_sense_is_refused() {
    for sql in ["create table", "select 1", "create table t (a int) strict without rowid)", "", "drop table StringIds"]
    {
        let mut fixture = full();
        fixture.run(&format!(
            "pragma writable_schema = on; update sqlite_schema set sql = '{sql}' where name = 'PROCESSES'"
        ));
        let text = refusal(&mut fixture);
        assert!(text.contains("schema of the database cannot be read"), "{sql}: {text}");
    }
}

#[test]
fn a_schema_of_very_many_tables_is_refused() {
    let mut fixture = Fixture::new();
    fixture.run("create table StringIds (id integer primary key, value text); create table t (a int)");
    fixture.run(
        "pragma writable_schema = on;
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 50000)
         insert into sqlite_schema select 'table', 'x' || i, 'x' || i, 3, 'create table x' || i || '(a)' from n",
    );
    assert!(refusal(&mut fixture).contains("schema"));
}

#[test]
fn what_is_cut_off_is_counted_and_the_rest_is_read() {
    let bytes = full().bytes();
    let (mut opened, mut refused) = (0, 0);
    for length in (0..bytes.len()).step_by(509) {
        match open_bytes("cut.sqlite", bytes[..length].to_vec(), &OpenOptions::default()) {
            Ok(trace) => {
                opened += 1;
                assert!(trace.warnings().count(WarningKind::TableDamaged) > 0, "{length}");
            }
            Err(_) => refused += 1,
        }
    }
    assert!(opened > 50 && refused > 0, "{opened} opened, {refused} refused");
}

/// A number that follows from `state`.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn damaged_bytes_end_in_a_trace_or_in_an_error() {
    let bytes = full().bytes();
    let mut state = 7;
    for _ in 0..400 {
        let mut damaged = bytes.clone();
        for _ in 0..=next(&mut state) % 40 {
            let at = next(&mut state) as usize % damaged.len();
            damaged[at] = next(&mut state) as u8;
        }
        // A page of garbage, now and then.
        if next(&mut state).is_multiple_of(4) {
            let page = next(&mut state) as usize % (damaged.len() / 4096);
            for byte in &mut damaged[page * 4096 + 100 * usize::from(page == 0)..(page + 1) * 4096] {
                *byte = next(&mut state) as u8;
            }
        }
        if let Ok(trace) = open_bytes("damaged.sqlite", damaged, &OpenOptions::default()) {
            for id in 0..trace.events().len() as u32 {
                // The row may be gone; reading it again must not end the program.
                let _ = trace.args(gapless_trace::EventId(id));
            }
        }
    }
}

#[test]
fn pages_that_point_at_each_other_end() {
    let mut fixture = Fixture::new();
    fixture.run(
        "create table StringIds (id integer primary key, value text);
         insert into StringIds values (1, 'kernel');
         create table CUPTI_ACTIVITY_KIND_KERNEL (start int, end int, deviceId int, demangledName int);
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
         insert into CUPTI_ACTIVITY_KIND_KERNEL select i, i + 1, 0, 1 from n",
    );
    let whole = fixture.trace().events().len();
    assert_eq!(whole, 20_000);
    let mut bytes = fixture.bytes();
    let root = {
        let connection = rusqlite::Connection::open(fixture.path()).unwrap();
        let sql = "select rootpage from sqlite_schema where name = 'CUPTI_ACTIVITY_KIND_KERNEL'";
        connection.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap() as usize
    };
    let page = &mut bytes[(root - 1) * 4096..root * 4096];
    assert_eq!(page[0], 5, "the root is an interior page");
    let cells = usize::from(u16::from_be_bytes([page[3], page[4]]));
    let cell =
        |page: &[u8], index: usize| usize::from(u16::from_be_bytes([page[12 + 2 * index], page[13 + 2 * index]]));
    // Every child is the first one.
    let first: [u8; 4] = page[cell(page, 0)..][..4].try_into().unwrap();
    for index in 1..cells {
        let at = cell(page, index);
        page[at..at + 4].copy_from_slice(&first);
    }
    let trace = open_bytes("ring.sqlite", bytes, &OpenOptions::default()).unwrap();
    assert!(trace.events().len() < whole);
    assert!(detail(&trace, WarningKind::TableDamaged).contains("comes after row"), "{:?}", trace.warnings());
}

#[test]
fn limits_are_kept_and_named() {
    let with = |limits: Limits| OpenOptions { limits, ..OpenOptions::default() };
    let mut fixture = full();
    fixture.run("insert into StringIds values (500, replace(hex(zeroblob(50000)), '0', 'x'))");
    let error = fixture.open_with(&with(Limits { string_bytes: 10_000, ..Limits::default() })).unwrap_err();
    assert!(matches!(&error, OpenError::Limit { flag, .. } if flag.starts_with("string=")), "{error}");
    let error = full().open_with(&with(Limits { events: 10, ..Limits::default() })).unwrap_err();
    assert!(matches!(&error, OpenError::Limit { flag, .. } if flag.starts_with("events=")), "{error}");
}
