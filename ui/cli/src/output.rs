//! Standard output: colours only where a terminal shows them, and no panic when a pipe closes.

use std::io::Write;

use anyhow::Context as _;
use serde::Serialize;

/// Colours of the report. They only repeat what words and places already say.
pub mod styles {
    use anstyle::{AnsiColor, Style};

    pub const STRONG: Style = Style::new().bold();
    pub const DIM: Style = Style::new().dimmed();
    pub const WARN: Style = AnsiColor::Yellow.on_default();
    pub const BAD: Style = AnsiColor::Red.on_default().bold();
    pub const COMPUTE: Style = AnsiColor::Blue.on_default();
    pub const COMMUNICATION: Style = AnsiColor::Yellow.on_default();
    pub const COPY: Style = AnsiColor::Green.on_default();
    pub const OTHER: Style = AnsiColor::Cyan.on_default();
}

/// Writes `text`, which may hold ANSI styles, to standard output.
///
/// # Errors
/// When standard output cannot be written; a closed pipe included, which `failure::report` forgives.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes `value` as one JSON object and a line break.
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    text.push('\n');
    print_raw(text.as_bytes())
}

/// Columns of the terminal, or 100 where the output is not one.
pub fn width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse::<usize>().ok());
    let terminal = || terminal_size::terminal_size_of(std::io::stdout()).map(|size| usize::from(size.0.0));
    told.or_else(terminal).map_or(100, |columns| columns.clamp(60, 160))
}

/// Writes `bytes` as they are.
///
/// # Errors
/// As [`print()`].
pub fn print_raw(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}
