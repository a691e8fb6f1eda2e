//! What the children do.

use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use gapless_ring::Facts;
use gapless_ring::layout::{AttrType, Kind, Record};
use gapless_ring::writer;

use crate::support::Random;

pub const GROWTH_RECORDS: u64 = 300_000;
pub const THREADS_AT_ONCE: u64 = 2_000;
pub const THREADS_IN_TURN: u64 = 10_000;
pub const RANGES_A_THREAD: u64 = 10;
pub const FORKS: u64 = 100;
pub const OVERWRITTEN: u64 = 200_000;
const NESTED_RANGES: u64 = 500_000;
const BUDGET_STEPS: u64 = 200_000;

pub fn run(case: &str) {
    match case {
        "nested" => nested(),
        "growth" => (0..GROWTH_RECORDS).for_each(mark),
        "budget" => budget(),
        "threads_at_once" => threads_at_once(),
        "threads_in_turn" => threads_in_turn(),
        "fork" => fork(),
        "fork_names" => fork_names(),
        "overwrite" => overwrite(),
        "endless" => endless(),
        "job" => job(),
        "sample" => sample(),
        name if name.starts_with("exec_") => exec(name),
        other => panic!("no case {other}"),
    }
    writer::finish();
}

fn push(name: &str, payload: u64) {
    writer::with(|thread| {
        let name = thread.name(name.as_bytes());
        thread.push(Record { kind: Kind::Push as u8, name, payload, ..Record::default() });
    });
}

fn pop() {
    writer::with(|thread| thread.pop());
}

fn mark(payload: u64) {
    writer::with(|thread| {
        let name = thread.name(b"mark");
        thread.put(Record { kind: Kind::Mark as u8, name, payload, ..Record::default() }, &[]);
    });
}

/// A record with bytes that tell whether they are whole.
fn blob(number: u64) {
    let len = number % 200;
    writer::with(|thread| {
        let record = Record { kind: Kind::Blob as u8, domain: len as u32, ..Record::default() };
        thread.put_bytes(record, &vec![number as u8; len as usize]);
    });
}

/// Tells the parent that it may look now, and waits until it has.
fn wait_for_reader() {
    let mut out = std::io::stdout();
    out.write_all(b"ready\n").unwrap();
    out.flush().unwrap();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
}

pub enum Step {
    Begin(u64),
    End,
}

/// Half a million ranges that nest up to 40 deep, by a rule that both sides follow.
pub fn nested_steps() -> impl Iterator<Item = Step> {
    let mut random = Random(7);
    let (mut begun, mut open) = (0, 0);
    std::iter::from_fn(move || {
        let may_begin = begun < NESTED_RANGES && open < 40;
        if may_begin && (open == 0 || random.below(100) < 52) {
            (begun, open) = (begun + 1, open + 1);
            return Some(Step::Begin(begun - 1));
        }
        if open == 0 {
            return None;
        }
        open -= 1;
        Some(Step::End)
    })
}

fn nested() {
    let names: Vec<String> = (0..1000).map(|number| format!("range {number}")).collect();
    for (index, step) in nested_steps().enumerate() {
        match step {
            Step::Begin(number) => push(&names[number as usize % 1000], number),
            Step::End => pop(),
        }
        // The reader runs all the time; where the machine lets it wait, the child waits too, before rings are full.
        if index % 100_000 == 99_999 {
            wait_for_reader();
        }
    }
}

enum BudgetStep {
    Push,
    PushFacts,
    Pop,
    Mark,
}

fn budget_steps() -> impl Iterator<Item = BudgetStep> {
    let mut random = Random(11);
    let (mut left, mut open) = (BUDGET_STEPS, 0u32);
    std::iter::from_fn(move || {
        if left == 0 {
            return (open > 0).then(|| {
                open -= 1;
                BudgetStep::Pop
            });
        }
        left -= 1;
        let step = match random.below(10) {
            0..=2 if open < 30 => BudgetStep::Push,
            3 if open < 30 => BudgetStep::PushFacts,
            4..=8 if open > 0 => BudgetStep::Pop,
            _ => BudgetStep::Mark,
        };
        match step {
            BudgetStep::Push | BudgetStep::PushFacts => open += 1,
            BudgetStep::Pop => open -= 1,
            BudgetStep::Mark => {}
        }
        Some(step)
    })
}

/// Records that the case emits beside ends.
pub fn budget_emitted() -> u64 {
    budget_steps()
        .map(|step| match step {
            BudgetStep::Push | BudgetStep::Mark => 1,
            BudgetStep::PushFacts => 3,
            BudgetStep::Pop => 0,
        })
        .sum()
}

fn budget() {
    for (index, step) in budget_steps().enumerate() {
        let number = index as u64;
        match step {
            BudgetStep::Push => push("range", number),
            BudgetStep::Mark => mark(number),
            BudgetStep::Pop => pop(),
            BudgetStep::PushFacts => {
                writer::with(|thread| {
                    let name = thread.name(b"with facts");
                    let mut facts = Facts::default();
                    facts.attr(name, AttrType::Unsigned, number);
                    facts.attr(name, AttrType::Unsigned, number);
                    let record = Record { kind: Kind::Push as u8, name, payload: number, ..Record::default() };
                    thread.push_facts(record, &mut facts);
                });
            }
        }
        if index % 50_000 == 49_999 {
            wait_for_reader();
        }
    }
}

fn threads_at_once() {
    let all = Arc::new(Barrier::new(THREADS_AT_ONCE as usize));
    let threads: Vec<_> = (0..THREADS_AT_ONCE)
        .map(|thread| {
            let all = all.clone();
            let work = move || {
                all.wait();
                for step in 0..RANGES_A_THREAD {
                    push("work", thread * RANGES_A_THREAD + step);
                }
                (0..RANGES_A_THREAD).for_each(|_| pop());
                all.wait();
            };
            std::thread::Builder::new().stack_size(64 << 10).spawn(work).unwrap()
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn threads_in_turn() {
    for thread in 0..THREADS_IN_TURN {
        let work = move || {
            push("work", thread);
            pop();
        };
        std::thread::Builder::new().stack_size(64 << 10).spawn(work).unwrap().join().unwrap();
        if thread % 200 == 199 {
            wait_for_reader();
        }
    }
}

/// Forks; the child runs `act` and ends without running anything of the parent's.
fn in_child(act: impl FnOnce()) -> i32 {
    // SAFETY: the child only records and ends.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        act();
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }
    pid
}

fn wait_for(pid: i32) {
    let mut status = 0;
    // SAFETY: the place is writable.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0);
}

fn fork() {
    push("outer", 0);
    push("inner", 0);
    let child = in_child(|| {
        // A name of the parent's gets another number here.
        push("of the child", 0);
        push("outer", 0);
        pop();
        pop();
        // Ends of what the parent began.
        pop();
        pop();
    });
    wait_for(child);
    pop();
    pop();
}

fn fork_names() {
    let stop = Arc::new(AtomicBool::new(false));
    let other = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            for number in 0.. {
                push(&format!("name {number}"), 0);
                pop();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        })
    };
    for number in 0..FORKS {
        wait_for(in_child(|| {
            push(&format!("child {number}"), number);
            push(&format!("shared {}", number % 7), number);
            pop();
            pop();
        }));
    }
    stop.store(true, Ordering::Relaxed);
    other.join().unwrap();
}

fn exec(name: &str) {
    push(name, 0);
    let left: u32 = name.trim_start_matches("exec_").parse().unwrap();
    if left > 0 {
        let mut next = std::process::Command::new(std::env::current_exe().unwrap());
        next.args(std::env::args_os().skip(1)).env("RING_CASE", format!("exec_{}", left - 1));
        panic!("{}", next.exec());
    }
}

fn overwrite() {
    let again: u64 = std::env::var("RING_AGAIN").map_or(1, |text| text.parse().unwrap());
    for number in 0..OVERWRITTEN * again {
        mark(number);
        if number % 5 == 0 {
            blob(number);
        }
    }
}

/// Writes until it is killed, and says now and then how far it got.
fn endless() {
    let mut out = std::fs::File::from(std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned().unwrap());
    mark(0);
    out.write_all(b"begun\n").unwrap();
    for number in 1..3_000_000 {
        mark(number);
        if number % 3 == 0 {
            blob(number);
        }
        if number % 64 == 0 {
            out.write_all(&number.to_le_bytes()).unwrap();
        }
    }
    // Too slow to be killed: waits for it.
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

/// A job that does not care whether it is recorded.
fn job() {
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            std::thread::spawn(move || {
                let mut sum = 0u64;
                for step in 0..20_000 {
                    push(&format!("name {}", step % 3000), step);
                    if step % 7 == 0 {
                        blob(step);
                    }
                    sum = sum.wrapping_mul(31).wrapping_add(step * thread);
                    pop();
                }
                sum
            })
        })
        .collect();
    let result = threads.into_iter().map(|thread| thread.join().unwrap()).fold(0, u64::wrapping_add);
    println!("result {result}");
}

/// What the job computes.
pub fn job_result() -> u64 {
    (0..4u64)
        .map(|thread| (0..20_000u64).fold(0u64, |sum, step| sum.wrapping_mul(31).wrapping_add(step * thread)))
        .fold(0, u64::wrapping_add)
}

/// A segment with some of everything, for damaging it.
fn sample() {
    for number in 0..300 {
        push(&format!("name {}", number % 50), number);
        mark(number);
        blob(number);
        pop();
    }
    std::thread::spawn(|| (0..100).for_each(mark)).join().unwrap();
}
