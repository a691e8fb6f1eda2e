//! `gapless`: profiler and trace visualizer for ML training and serving.
//!
//! The one binary. It reads the command line, calls the crates that do the work and prints what they found: text for
//! people, JSON for programs. Exit codes: 0 done, 1 something went wrong, 2 wrong usage or an unreadable input; `diff` has
//! its own.

mod args;
mod commands;
mod failure;
mod output;
mod plot;
mod progress;
mod report;
mod text;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Color, Command, OpenArgs, ReadArgs};
use failure::BadInput;

fn main() -> ExitCode {
    // clap prints help, versions and usage errors itself and leaves with 0 or 2.
    let cli = Cli::parse();
    failure::report(run(cli))
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let Some(command) = cli.command else { return run_bare(&cli.open) };
    match command {
        Command::Open(args) => {
            prepare(&args.read)?;
            commands::open::run(&args)
        }
        Command::Analyze(args) => {
            prepare(&args.read)?;
            commands::analyze::run(&args)
        }
        Command::Advise(args) => {
            prepare(&args.read)?;
            commands::advise::run(&args)
        }
        Command::WhatIf(args) => {
            prepare(&args.read)?;
            commands::whatif::run(&args)
        }
        Command::Codesign(args) => {
            prepare(&args.read)?;
            commands::codesign::run(&args)
        }
        Command::Collectives(args) => {
            prepare(&args.read)?;
            commands::collectives::run(&args)
        }
        Command::Stragglers(args) => {
            prepare(&args.read)?;
            commands::stragglers::run(&args)
        }
        Command::Path(args) => {
            prepare(&args.read)?;
            commands::path::run(&args)
        }
        Command::Trust(args) => {
            prepare(&args.read)?;
            commands::trust::run(&args)
        }
        Command::Clocks(args) => {
            prepare(&args.read)?;
            commands::clocks::run(&args)
        }
        Command::Roofline(args) => {
            prepare(&args.read)?;
            commands::roofline::run(&args)
        }
        Command::Diff(args) => {
            prepare(&args.read)?;
            commands::diff::run(&args)
        }
        Command::Convert(args) => {
            prepare(&args.read)?;
            commands::convert::run(&args)
        }
        Command::Info(args) => {
            prepare(&args.read)?;
            commands::info::run(&args)
        }
        #[cfg(target_os = "linux")]
        Command::Record(args) => commands::record::run(&args),
        #[cfg(all(target_os = "linux", feature = "sampling"))]
        Command::Attach(args) => commands::record::attach(&args),
        #[cfg(target_os = "linux")]
        Command::Ctl(args) => commands::ctl::run(&args),
        #[cfg(target_os = "linux")]
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
    }
}

/// `gapless` alone says what it can do; `gapless PATH…` opens.
fn run_bare(args: &OpenArgs) -> anyhow::Result<()> {
    if args.paths.is_empty() && args.screenshot.is_none() {
        return output::print(&Cli::command().render_help().ansi().to_string());
    }
    prepare(&args.read)?;
    if let Some(word) = args.paths.first()
        && let Some(command) = mistyped_command(word)
    {
        return Err(BadInput::new(format!("there is no command {word:?}"))
            .hint(format!("did you mean `gapless {command}`?"))
            .into());
    }
    commands::open::run(args)
}

fn prepare(read: &ReadArgs) -> anyhow::Result<()> {
    let choice = match read.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
    commands::set_threads(read)
}

/// The command that `word` nearly is, when it is no path: `gapless analzye x` would otherwise open a file "analzye".
fn mistyped_command(word: &str) -> Option<String> {
    if std::path::Path::new(word).exists() {
        return None;
    }
    let command = Cli::command();
    let names = command.get_subcommands().map(|command| command.get_name().to_owned());
    names
        .chain(["help".to_owned()])
        .map(|name| (edits(word, &name), name))
        .filter(|near| near.0 <= 2)
        .min()
        .map(|near| near.1)
}

/// Levenshtein distance of two short words.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = replaced.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_commands_are_recognised() {
        assert_eq!(mistyped_command("analzye").as_deref(), Some("analyze"));
        assert_eq!(mistyped_command("conver").as_deref(), Some("convert"));
        assert_eq!(mistyped_command("inf").as_deref(), Some("info"));
        assert_eq!(mistyped_command("trace.json"), None);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
    }
}
