//! How a command fails: one line, a hint, an exit code.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use gapless_formats::OpenError;

use crate::output::styles;
use crate::text::clean;

/// A failure whose cause is the user's input or call: exit code 2.
#[derive(Debug)]
pub struct BadInput {
    message: String,
    hint: Option<String>,
}

impl BadInput {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BadInput {}

/// The steps became slower by more than the user allows: exit code 1. The report has said all about it.
#[derive(Debug)]
pub struct Regression;

impl fmt::Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the steps became slower")
    }
}

impl std::error::Error for Regression {}

impl From<OpenError> for BadInput {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NothingFound { what } => Self::new(format!("no trace file found at {what}"))
                .hint("give a file, a folder that holds traces, or a quoted pattern"),
            OpenError::Format { path, offset, reason } => {
                let path = path.display();
                let refused =
                    Self::new(format!("{path} is not a trace that Gapless can read: {reason} (at byte {offset})"));
                let says_what_is_read = reason.contains("Gapless reads");
                let hint = "Gapless reads Chrome/Kineto JSON traces (PyTorch profiler), plain or gzip";
                if says_what_is_read { refused } else { refused.hint(hint) }
            }
            OpenError::Ranks { reason, example } => {
                Self::new(reason).hint(format!("say which rank each file is, in the order given: --ranks {example}"))
            }
            error => Self::new(error.to_string()),
        }
    }
}

/// Whether `error` says that nobody reads our output any more (`gapless … | head`).
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// Prints what went wrong, if anything did, and gives the exit code.
pub fn report(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    if error.is::<Regression>() {
        return ExitCode::FAILURE;
    }
    let bad_input = error.chain().find_map(|cause| cause.downcast_ref::<BadInput>());
    // What follows a line break in a message says what to do.
    let message = format!("{error:#}");
    let (what, advice) = message.split_once('\n').unwrap_or((&message, ""));
    let own_hint = bad_input.and_then(|bad| bad.hint.as_deref());
    let hint = own_hint.or((!advice.is_empty()).then_some(advice));
    let (red, bold) = (styles::BAD, styles::STRONG);
    let mut stderr = anstream::stderr().lock();
    // Where even stderr is gone, the exit code has to do.
    let _ = writeln!(stderr, "{red}error:{red:#} {}", clean(what));
    if let Some(hint) = hint {
        for (place, line) in hint.lines().enumerate() {
            let before = if place == 0 { format!(" {bold}hint:{bold:#} ") } else { " ".repeat(7) };
            let _ = writeln!(stderr, "{before}{}", clean(line.trim_end()));
        }
    }
    if bad_input.is_some() { ExitCode::from(2) } else { ExitCode::FAILURE }
}
