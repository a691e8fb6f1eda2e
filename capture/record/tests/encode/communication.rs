//! Communications that begin on one thread and end on another.
#![allow(clippy::panic)]

use gapless_ring::layout::{AttrType, Class, Comm, Kind, Record};
use gapless_ring::reader::comm_slots;
use gapless_trace::EventKind;

use super::support::*;

#[test]
fn a_communication_ends_anywhere_and_is_told_about_by_its_id() {
    let mut job = Job::new();
    let (name, track, group, dtype) = (job.id("AllReduce"), job.id("NCCL dp"), job.id("dp #ab"), job.id("Float16"));
    let (key, late, note) = (job.id("nccl_id"), job.id("device_end_ns"), job.id("note"));
    let comm = Comm {
        communicator: 3,
        bytes: 128,
        sequence: 9,
        rank: 1,
        size: 4,
        peer: -1,
        tag: -1,
        count: 64,
        dtype,
        members: 0xab,
        ..Comm::default()
    };
    let id = 1 << 63 | 77;
    let begin = Record {
        class: Class::Communication as u8,
        extra: 2,
        name,
        domain: track,
        category: group,
        payload: id,
        ..record(Kind::CommStart, 10)
    };
    let [first, second] = comm_slots(&comm);
    let about = Record { name: note, payload: id, ..record(Kind::Mark, 20) };
    let facts = [attr(10, key, AttrType::Unsigned, 5), about, attr(20, late, AttrType::Unsigned, 999)];
    job.encode(0, &[&[begin, first, second], facts.as_slice()].concat());
    // The next record of its thread, or a pause, ends the facts of a record.
    job.flush();
    job.encode(1, &[Record { domain: track, payload: id, ..record(Kind::End, 30) }]);
    let trace = job.trace();
    assert_clean(&trace);
    let lines = lines(&trace);
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(
        line,
        "NCCL dp: AllReduce 10..30 Process Group Name=\"dp #ab\" Collective name=\"AllReduce\" bytes=128 communicator=3 \
         members=\"000000ab\" Rank=1 Group size=4 Seq=9 In msg nelems=64 dtype=\"Float16\" nccl_id=5 device_end_ns=999"
    );
    // Readers take it for a collective.
    let [collective] = trace.collectives() else { panic!("{:?}", trace.collectives()) };
    assert_eq!(trace.event(collective.event).kind, EventKind::Annotation);
    assert_eq!((trace.text(collective.name), trace.text(collective.group)), ("AllReduce", "dp #ab"));
    assert_eq!((collective.seq, collective.group_size, collective.in_elems), (Some(9), Some(4), Some(64)));
}
