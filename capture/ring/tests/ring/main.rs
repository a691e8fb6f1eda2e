//! Rings across real processes. The writer is global to its process, so each case runs this program again as a child
//! (`RING_CASE` names the case) and reads what it left.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::print_stdout, unsafe_code)]

mod cases;
mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use gapless_ring::layout::Kind;
use support::{Collector, Random, Records, answer, command, expect_success, rings_folder};

/// The entry of the children; does nothing on its own.
#[test]
fn child() {
    if let Ok(case) = std::env::var("RING_CASE") {
        cases::run(&case);
    }
}

/// Numbers in the payloads of a kind, in order.
fn payloads(records: &Records, kind: Kind) -> Vec<u64> {
    records.iter().filter(|record| record.kind == kind).map(|record| record.payload).collect()
}

/// Depth after each record must never fall below zero, and must end there.
fn assert_balanced(records: &Records) {
    let mut depth = 0u64;
    for record in records.iter() {
        match record.kind {
            Kind::Push => depth += 1,
            Kind::Pop => depth = depth.checked_sub(1).expect("an end without a begin"),
            _ => {}
        }
    }
    assert_eq!(depth, 0, "begins without ends");
}

#[test]
fn half_a_million_nested_ranges_arrive_exactly_while_a_reader_drains() {
    let folder = rings_folder();
    let mut child = command("nested", &folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut collector = Collector::new(folder.path());
    answer(&mut child, &mut collector);
    expect_success(child);
    collector.drain();
    assert_eq!(collector.lost(), 0);
    let [segment] = &collector.segments[..] else { panic!("one process") };
    let [records] = &segment.threads()[..] else { panic!("one thread") };
    // The child begins and ends ranges by a rule that is followed here again.
    let mut stack = Vec::new();
    let mut found = records.iter();
    let mut steps = cases::nested_steps();
    for step in &mut steps {
        let record = found.next().expect("a record is missing");
        match step {
            cases::Step::Begin(number) => {
                let name = segment.string(record.name);
                assert_eq!((record.kind, record.payload), (Kind::Push, number));
                assert_eq!(name, format!("range {}", number % 1000));
                stack.push(number);
            }
            cases::Step::End => {
                assert_eq!(record.kind, Kind::Pop);
                stack.pop().unwrap();
            }
        }
    }
    assert!(found.next().is_none() && stack.is_empty());
    assert!(records.iter().zip(records.iter().skip(1)).all(|(a, b)| a.ticks <= b.ticks));
    assert!(segment.reader.header().finished.load(Relaxed) == 1);
}

#[test]
fn a_ring_that_nobody_reads_grows_and_keeps_the_order() {
    let folder = rings_folder();
    expect_success(command("growth", &folder).spawn().unwrap());
    let mut collector = Collector::new(folder.path());
    collector.drain();
    let [segment] = &collector.segments[..] else { panic!("one process") };
    assert_eq!(collector.lost(), 0);
    let [records] = &segment.threads()[..] else { panic!("one thread") };
    assert!(payloads(records, Kind::Mark).into_iter().eq(0..cases::GROWTH_RECORDS));
    assert!(segment.reader.header().rings.load(Relaxed) >= 4, "it must have moved to larger rings");
}

#[test]
fn what_a_full_budget_drops_is_counted_to_the_record() {
    // Once with nobody reading until the end, once with a slow reader that lets it begin again and again.
    for reading in [false, true] {
        let folder = rings_folder();
        let mut child = command("budget", &folder)
            .env("GAPLESS_RING_MIB", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut collector = Collector::new(folder.path());
        collector.reads_on_request = reading;
        answer(&mut child, &mut collector);
        expect_success(child);
        collector.drain();
        let [segment] = &collector.segments[..] else { panic!("one process") };
        let [records] = &segment.threads()[..] else { panic!("one thread") };
        let recorded = records.iter().filter(|record| record.kind != Kind::Pop).count() as u64;
        assert_eq!(recorded + collector.lost(), cases::budget_emitted(), "reading: {reading}");
        assert!(collector.lost() > 0, "the budget must have been too small");
        assert_balanced(records);
        // Facts follow the record that they are about.
        let mut about = None;
        for record in records.iter() {
            match record.kind {
                Kind::Attr => assert_eq!(Some(record.payload), about, "a fact went to another record"),
                Kind::Push | Kind::Mark => about = Some(record.payload),
                _ => about = None,
            }
        }
        let used = segment.reader.header().file_end.load(Relaxed) - gapless_ring::layout::RINGS_OFFSET as u64;
        assert!(used <= 1 << 20, "the budget was kept: {used}");
    }
}

#[test]
fn two_thousand_threads_at_once() {
    let folder = rings_folder();
    expect_success(command("threads_at_once", &folder).spawn().unwrap());
    let mut collector = Collector::new(folder.path());
    collector.drain();
    let [segment] = &collector.segments[..] else { panic!("one process") };
    let without_ring = segment.reader.header().dropped_without_ring.load(Relaxed);
    assert_eq!((collector.lost(), without_ring), (0, 0));
    let threads = segment.threads();
    assert_eq!(threads.len(), cases::THREADS_AT_ONCE as usize);
    let mut seen = BTreeSet::new();
    for records in &threads {
        assert_balanced(records);
        let numbers = payloads(records, Kind::Push);
        let first = *numbers.first().unwrap();
        assert!(numbers.iter().copied().eq(first..first + cases::RANGES_A_THREAD));
        assert!(records.iter().all(|record| record.kind == Kind::Pop || segment.string(record.name) == "work"));
        seen.insert(first / cases::RANGES_A_THREAD);
    }
    assert!(seen.into_iter().eq(0..cases::THREADS_AT_ONCE));
}

#[test]
fn ten_thousand_threads_one_after_the_other_share_few_rings() {
    let folder = rings_folder();
    let mut child = command("threads_in_turn", &folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut collector = Collector::new(folder.path());
    answer(&mut child, &mut collector);
    expect_success(child);
    collector.drain();
    let [segment] = &collector.segments[..] else { panic!("one process") };
    assert_eq!((collector.lost(), segment.reader.header().dropped_without_ring.load(Relaxed)), (0, 0));
    let threads = segment.threads();
    let mut numbers: Vec<u64> = threads.iter().flat_map(|records| payloads(records, Kind::Push)).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..cases::THREADS_IN_TURN));
    // Each thread is told apart, though ids of threads come again.
    assert_eq!(threads.iter().filter(|records| !payloads(records, Kind::Push).is_empty()).count(), 10_000);
    assert!(segment.reader.header().rings.load(Relaxed) < 500, "rings of ended threads are used again");
}

#[test]
fn a_fork_in_the_middle_of_a_range() {
    let folder = rings_folder();
    expect_success(command("fork", &folder).spawn().unwrap());
    let mut collector = Collector::new(folder.path());
    collector.drain();
    let [parent, child] = &collector.segments[..] else { panic!("two processes") };
    assert_eq!(child.reader.header().parent_pid.load(Relaxed), parent.reader.pid());
    assert_ne!(child.reader.pid(), parent.reader.pid());
    assert_eq!(parent.words(), ["push outer", "push inner", "pop", "pop"]);
    assert_eq!(child.words(), ["push of the child", "push outer", "pop", "pop", "pop", "pop"]);
}

#[test]
fn forks_while_another_thread_learns_names() {
    let folder = rings_folder();
    expect_success(command("fork_names", &folder).spawn().unwrap());
    let mut collector = Collector::new(folder.path());
    collector.drain();
    let children: Vec<_> =
        collector.segments.iter().filter(|segment| segment.words().iter().any(|word| word.contains("child"))).collect();
    assert_eq!(children.len(), cases::FORKS as usize);
    for segment in children {
        let number = segment.threads()[0].first().unwrap().payload;
        let expected =
            [format!("push child {number}"), format!("push shared {}", number % 7), "pop".into(), "pop".into()];
        assert_eq!(segment.words(), expected);
    }
}

#[test]
fn a_chain_of_programs_in_one_process() {
    let folder = rings_folder();
    expect_success(command("exec_3", &folder).spawn().unwrap());
    let mut collector = Collector::new(folder.path());
    collector.drain();
    let words: Vec<Vec<String>> = collector.segments.iter().map(|segment| segment.words()).collect();
    // The range that is open at an exec has no end.
    let expected: Vec<Vec<String>> =
        ["exec_3", "exec_2", "exec_1", "exec_0"].iter().map(|name| vec![format!("push {name}")]).collect();
    assert_eq!(words, expected);
    let pids: BTreeSet<u32> = collector.segments.iter().map(|segment| segment.reader.pid()).collect();
    assert_eq!(pids.len(), 1);
    assert!(collector.segments.iter().all(|segment| segment.reader.header().start_time.load(Relaxed) > 0));
}

#[test]
fn overwriting_keeps_the_last_records() {
    let folder = rings_folder();
    expect_success(command("overwrite", &folder).env("GAPLESS_RING_POLICY", "overwrite").spawn().unwrap());
    let mut collector = Collector::new(folder.path());
    collector.drain();
    let [segment] = &collector.segments[..] else { panic!("one process") };
    let [records] = &segment.threads()[..] else { panic!("one thread") };
    let numbers = payloads(records, Kind::Mark);
    let first = *numbers.first().unwrap();
    assert!(numbers.iter().copied().eq(first..cases::OVERWRITTEN), "the newest, without a hole");
    assert!(numbers.len() > 4_000, "{}", numbers.len());
    assert!(records.iter().all(|record| record.is_whole()));
}

#[test]
fn overwriting_never_shows_torn_records_to_a_reader() {
    let folder = rings_folder();
    let mut child =
        command("overwrite", &folder).env("GAPLESS_RING_POLICY", "overwrite").env("RING_AGAIN", "20").spawn().unwrap();
    let mut collector = Collector::new(folder.path());
    while child.try_wait().unwrap().is_none() {
        collector.drain();
    }
    expect_success(child);
    collector.drain();
    let [segment] = &collector.segments[..] else { panic!("one process") };
    let [records] = &segment.threads()[..] else { panic!("one thread") };
    assert!(records.iter().all(|record| record.is_whole()));
    let numbers = payloads(records, Kind::Mark);
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(numbers.last().copied(), Some(20 * cases::OVERWRITTEN - 1));
    assert!(collector.lost() > 0);
}

#[test]
fn a_killed_process_leaves_all_it_had_written() {
    let mut random = Random(0x5eed_0001);
    let mut written = 0;
    for round in 0..100 {
        let folder = rings_folder();
        let mut child = command("endless", &folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdout.take().unwrap();
        let mut bytes = Vec::new();
        // The first word from the child: it writes now.
        let mut first = [0u8; 4096];
        while !bytes.windows(6).any(|word| word == b"begun\n") {
            let len = pipe.read(&mut first).unwrap();
            assert!(len > 0, "the child ended");
            bytes.extend_from_slice(&first[..len]);
        }
        std::thread::sleep(Duration::from_micros(random.below(8_000)));
        // SAFETY: the child is ours and not yet waited for.
        unsafe { libc::kill(child.id() as i32, libc::SIGKILL) };
        pipe.read_to_end(&mut bytes).unwrap();
        child.wait().unwrap();
        let at = bytes.windows(6).position(|word| word == b"begun\n").unwrap() + 6;
        let published = bytes[at..].chunks_exact(8).last().map(|word| u64::from_le_bytes(word.try_into().unwrap()));

        let mut collector = Collector::new(folder.path());
        collector.drain();
        let [segment] = &collector.segments[..] else { panic!("one process") };
        let [records] = &segment.threads()[..] else { panic!("one thread") };
        let numbers = payloads(records, Kind::Mark);
        assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "round {round}");
        assert!(records.iter().all(|record| record.is_whole()), "round {round}");
        if let Some(published) = published {
            assert!(numbers.len() as u64 > published, "round {round}: {published} of {}", numbers.len());
            written += published;
        }
        assert_eq!(segment.reader.header().finished.load(Relaxed), 0);
    }
    assert!(written > 0, "no child came to publish anything");
}

/// The job's own result: what it prints, and how it ends.
fn assert_unharmed(mut command: std::process::Command, place: &str) {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert!(output.status.success(), "{place}: {:?} {}", output.status, String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(&format!("result {}\n", cases::job_result())), "{place}: {text}");
    assert!(output.stderr.is_empty(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn folders_where_nothing_can_be_made_do_not_change_the_job() {
    let folder = rings_folder();
    let missing = folder.path().join("not there");
    let file = folder.path().join("a file");
    std::fs::write(&file, "").unwrap();
    // Not even root makes files in this one.
    let read_only = Path::new("/proc/self/fd");
    for place in [missing.as_path(), &file, read_only, Path::new(""), Path::new("relative")] {
        let mut command = command("job", &folder);
        command.env("GAPLESS_RINGS", place);
        assert_unharmed(command, &place.display().to_string());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");
}

#[test]
fn limits_of_file_sizes_do_not_change_the_job() {
    for limit in [0, 4096, 1 << 20, 67 << 20, 70 << 20, 80 << 20] {
        let folder = rings_folder();
        let mut command = command("job", &folder);
        // SAFETY: setrlimit may be called between fork and exec.
        unsafe {
            command.pre_exec(move || {
                let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
                libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
                Ok(())
            })
        };
        assert_unharmed(command, &format!("{limit} bytes"));
    }
}

#[test]
fn a_full_disk_does_not_change_the_job() {
    for size in ["16k", "64k", "256k", "400k", "1m", "4m"] {
        let folder = rings_folder();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .output();
        if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: no small file system can be mounted here: {mounted:?}");
            return;
        }
        let unharmed = std::panic::catch_unwind(|| assert_unharmed(command("job", &folder), size));
        // What got in is whole.
        let read = std::panic::catch_unwind(|| {
            let mut collector = Collector::new(folder.path());
            collector.drain();
            for segment in &collector.segments {
                for records in segment.threads() {
                    assert!(records.iter().all(|record| record.is_whole()));
                }
            }
        });
        let gone = std::process::Command::new("umount").arg(folder.path()).status().unwrap();
        assert!(gone.success() && unharmed.is_ok() && read.is_ok(), "{size}");
    }
}

#[test]
fn garbage_in_a_segment_is_read_without_harm() {
    let folder = rings_folder();
    expect_success(command("sample", &folder).spawn().unwrap());
    let path = support::ring_files(folder.path()).remove(0);
    let begun = Instant::now();
    let opened = support::fuzz(&path, 10_000, Random(0x5eed_0002));
    eprintln!("{opened} of 10,000 damaged segments opened, in {:?}", begun.elapsed());
    assert!(opened > 1_000, "most damage must get past the header");
    // The undamaged bytes are read as before.
    let mut collector = Collector::new(folder.path());
    collector.drain();
    assert!(collector.segments[0].threads().iter().map(|records| records.len()).sum::<usize>() > 1_000);
}

#[test]
fn files_that_are_no_segments_say_so() {
    let folder = rings_folder();
    let mut messages = Vec::new();
    for (name, bytes) in [("empty", &b""[..]), ("short", b"gaplessR"), ("folder", b"")] {
        let path = folder.path().join(name);
        if name == "folder" {
            std::fs::create_dir(&path).unwrap();
        } else {
            std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        }
        let error = gapless_ring::SegmentReader::open(&path).err().unwrap();
        messages.push(error.to_string().replace(&folder.path().display().to_string(), ""));
    }
    assert_eq!(messages[0], "the ring file is not complete yet: /empty");
    assert_eq!(messages[1], "the ring file is not complete yet: /short");
    assert!(messages[2].starts_with("cannot read the ring file: "), "{}", messages[2]);
}
