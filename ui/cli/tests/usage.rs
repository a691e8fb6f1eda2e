//! Help, usage errors, completions, pipes: what the command line itself promises.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{Scratch, cpu_trace, gpu_trace, run_of_four};

#[test]
fn alone_it_prints_a_short_help_with_examples() {
    let ran = Scratch::new().gapless(&[]).ok().says("Examples:").says("gapless analyze run42/");
    assert!(ran.stdout.lines().count() <= 32, "short help is short: {}", ran.stdout);
}

#[test]
fn every_command_has_help_with_examples() {
    for command in ["open", "analyze", "convert", "info", "completions"] {
        Scratch::new().gapless(&[command, "--help"]).ok().says("Examples:").says(&format!("gapless {command}"));
    }
    Scratch::new().gapless(&["--help"]).ok().says("Exit codes:");
    Scratch::new().gapless(&["--version"]).ok().says("gapless ");
}

#[test]
fn the_examples_of_the_help_run() {
    let scratch = Scratch::new();
    run_of_four(&scratch);
    scratch.write_gzip("rank0.pt.trace.json.gz", &gpu_trace(0, 4));
    scratch.write_gzip("rank0.json.gz", &gpu_trace(0, 4));
    scratch.write("ours.toml", "patterns = [\"^my_ring_\"]");
    let mut ran = 0;
    for command in ["open", "analyze", "convert", "info", "completions"] {
        let help = scratch.gapless(&[command, "--help"]).ok();
        for line in help.stdout.lines().filter_map(|line| line.trim().strip_prefix("gapless ")) {
            // What comes after a pipe or an arrow is the shell's.
            let own = line.split(['|', '>']).next().unwrap();
            let args: Vec<&str> = own.split_whitespace().map(|word| word.trim_matches('\'')).collect();
            let opens_a_window = command == "open" && !args.contains(&"--screenshot");
            if opens_a_window || (command == "open" && !cfg!(feature = "desktop")) {
                continue;
            }
            scratch.gapless(&args).ok();
            ran += 1;
        }
    }
    assert!(ran >= 14, "only {ran} examples were found");
}

#[test]
fn typing_errors_are_answered_with_a_suggestion() {
    let scratch = Scratch::new();
    let ran = scratch.gapless(&["analzye", "x.json"]).refused("no command \"analzye\"");
    assert!(ran.stderr.contains("did you mean `gapless analyze`?"), "{ran:#?}");
    let ran = scratch.gapless(&["info", "--jsno", "x.json"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--json"), "{ran:#?}");
    for wrong in [
        &["analyze"][..],
        &["convert", "x.json"],
        &["info", "x.json", "--threads", "0"],
        &["open", "x.json", "--screenshot", "a.png", "--size", "0x0"],
        &["open", "x.json", "--screenshot", "a.png", "--range", "5ms..1ms"],
        &["open", "x.json", "--range", "1ms..5ms"],
        &["analyze", "x.json", "--section", "nonsense"],
        &["completions", "cmd.exe"],
    ] {
        let ran = scratch.gapless(wrong);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:#?}");
    }
}

#[test]
fn completions_are_scripts_for_the_shell() {
    let scratch = Scratch::new();
    for (shell, sign) in [("bash", "complete -F"), ("zsh", "#compdef gapless"), ("fish", "complete -c gapless")] {
        scratch.gapless(&["completions", shell]).ok().says(sign).says("analyze").says("screenshot");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let scratch = Scratch::new();
    scratch.write("t.json", gpu_trace(0, 1));
    for args in [
        &["completions", "bash"][..],
        &["info", "t.json"],
        &["analyze", "t.json"],
        &["analyze", "t.json", "--json"],
        &[],
    ] {
        // Nobody reads from the beginning on, so that every write meets a closed pipe.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = scratch.command(args).stdout(writer).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn colours_are_for_terminals_only() {
    let scratch = Scratch::new();
    scratch.write("t.json", gpu_trace(0, 1));
    let plain = scratch.gapless(&["analyze", "t.json"]).ok();
    assert!(!plain.stdout.contains('\u{1b}'), "{plain:#?}");
    let coloured = scratch.gapless(&["analyze", "t.json", "--color", "always"]).ok();
    assert!(coloured.stdout.contains("\u{1b}["), "{coloured:#?}");
    let json = scratch.gapless(&["analyze", "t.json", "--color", "always", "--json"]).ok();
    assert!(!json.stdout.contains('\u{1b}'));
}

#[test]
fn tables_fit_the_terminal() {
    let scratch = Scratch::new();
    run_of_four(&scratch);
    for columns in ["80", "120"] {
        for command in ["analyze", "info"] {
            let output = scratch.command(&[command, "run42"]).env("COLUMNS", columns).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let limit: usize = columns.parse().unwrap();
            let too_long: Vec<&str> = text.lines().filter(|line| line.chars().count() > limit).collect();
            assert!(too_long.is_empty(), "{command} in {columns} columns: {too_long:#?}");
        }
    }
}

#[cfg(feature = "desktop")]
#[test]
fn without_a_display_open_says_what_to_do() {
    let scratch = Scratch::new();
    scratch.write("t.json", cpu_trace());
    let ran = scratch.gapless(&["open", "t.json"]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("--screenshot"), "{ran:#?}");
    assert!(ran.stderr.lines().count() == 2 && ran.stderr.contains("\n hint: "), "{ran:#?}");
}

#[cfg(not(feature = "desktop"))]
#[test]
fn without_the_desktop_app_open_says_so() {
    let scratch = Scratch::new();
    scratch.write("t.json", cpu_trace());
    scratch.gapless(&["open", "t.json"]).refused("without the desktop app");
}

#[cfg(feature = "desktop")]
#[test]
fn a_screenshot_is_a_png_and_never_replaces_an_input() {
    let scratch = Scratch::new();
    let input = scratch.write("t.json", gpu_trace(0, 1));
    scratch.gapless(&["t.json", "--screenshot", "out.png", "--size", "640x400"]).ok();
    assert!(std::fs::read(scratch.path().join("out.png")).unwrap().starts_with(b"\x89PNG\r\n"));
    scratch.gapless(&["open", "t.json", "--screenshot", "t.json"]).refused("is an input");
    assert_eq!(std::fs::read_to_string(input).unwrap(), gpu_trace(0, 1));
    scratch.write("notes.txt", "this is not a trace\n");
    scratch.gapless(&["open", "notes.txt", "--screenshot", "no.png"]).refused("notes.txt");
    assert_eq!(scratch.names(), ["notes.txt", "out.png", "t.json"]);
}
