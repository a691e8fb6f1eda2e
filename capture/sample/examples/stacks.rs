//! Runs a command under the sampler and prints its most frequent stacks, outermost frame first.
//!
//!     cargo run -p gapless-sample --example stacks -- [--unwind] COMMAND ARGUMENTS…
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use gapless_sample::on_cpu::{ThreadState, ThreadStates};
use gapless_sample::{SampleEvent, SampleOptions, Sampler, StackKind};

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let unwind = arguments.first().is_some_and(|first| first == "--unwind");
    if unwind {
        arguments.remove(0);
    }
    let mut child = Command::new(&arguments[0]).args(&arguments[1..]).spawn().unwrap();
    let options = SampleOptions {
        root_pids: vec![child.id()],
        unwind_stack_bytes: unwind.then_some(16384),
        ..SampleOptions::default()
    };
    let (mut sampler, notices) = Sampler::start(options);
    for notice in notices {
        eprintln!("{notice}");
    }
    let mut stacks: BTreeMap<(Kind, String), u64> = BTreeMap::new();
    let mut states = ThreadStates::new();
    let (mut running_ns, mut off_ns, mut lost) = (0, 0, 0);
    let mut take = |event: SampleEvent| {
        states.event(&event, &mut |interval| match interval.state {
            ThreadState::Running { .. } => running_ns += interval.end_ns - interval.start_ns,
            ThreadState::Off { .. } => off_ns += interval.end_ns - interval.start_ns,
        });
        match event {
            SampleEvent::Sample(sample) => {
                let names: Vec<&str> = sample.stack.iter().rev().map(|frame| &*frame.name).collect();
                let kind = if sample.kind == StackKind::Native { "native" } else { "Python" };
                *stacks.entry((kind, names.join(";"))).or_default() += 1;
            }
            SampleEvent::Lost(count) => lost += count,
            SampleEvent::Notice(notice) => eprintln!("{notice}"),
            SampleEvent::Switch(_) | SampleEvent::Process(_) => {}
        }
    };
    while child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(20));
        sampler.poll(&mut take);
    }
    sampler.finish(&mut take);
    let mut stacks: Vec<_> = stacks.into_iter().collect();
    stacks.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for ((kind, stack), count) in stacks.into_iter().take(40) {
        println!("{count:6} {kind} {stack}");
    }
    println!("all threads: {:.2} s running, {:.2} s off, {lost} lost", running_ns as f64 * 1e-9, off_ns as f64 * 1e-9);
}

type Kind = &'static str;
