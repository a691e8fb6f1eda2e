//! What can be recorded on this machine and of this job, what blocks the rest, and how to get it.
//!
//! [`machine::Machine`] reads facts (kernel settings, rights, libraries, sizes) below a root folder, so tests give it
//! hand-made trees; [`job::Job`] holds what the job's own Python says; each check in [`checks`] and [`packages`] is a
//! function from these two to one [`Finding`]. Nothing is changed, loaded or started, but the job's Python, and that
//! only when the user named it.

pub mod checks;
pub mod job;
pub mod machine;
pub mod packages;

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use self::job::Job;
use self::machine::Machine;

/// What is to be looked at.
#[derive(Debug, Clone, Default)]
pub struct DoctorOptions {
    /// The job as it would be started. When its first word is a Python, that is asked (without importing anything) for
    /// the packages that matter.
    pub command: Option<Vec<OsString>>,
    /// Where the recording would lie; the current folder when none.
    pub output: Option<PathBuf>,
}

/// Whether something can be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Wholly.
    Yes,
    /// Not all of it; the reason says what is missing.
    Partly,
    /// Not at all.
    No,
    /// It cannot be known from here.
    Unknown,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partly => "partly",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name for programs.
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// Whether it can be recorded.
    pub state: State,
    /// What was found.
    pub reason: String,
    /// How to get what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    pub(crate) fn new(id: &'static str, title: &'static str, state: State, reason: impl Into<String>) -> Self {
        Self { id, title, state, reason: reason.into(), fix: None }
    }

    pub(crate) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

/// What was found, one line per capability, always in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// System, processors, rights in one line.
    pub machine: String,
    /// The job's Python in one line, when one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// One for each capability.
    pub findings: Vec<Finding>,
}

/// A check: facts in, one line out.
pub type Check = fn(&Machine, &Job) -> Finding;

/// Every check, in the order of the report.
pub const CHECKS: [Check; 15] = [
    packages::operators,
    packages::nvtx,
    packages::mpi,
    packages::gloo,
    checks::python_stacks,
    checks::native_samples,
    checks::context_switches,
    packages::gpu,
    packages::amd,
    packages::nccl,
    packages::jax,
    packages::kineto,
    checks::shared_memory,
    checks::disk,
    checks::clock,
];

/// Looks at this machine and, where one is given, at the job's Python.
pub fn examine(options: &DoctorOptions) -> Report {
    let machine = Machine::here(options.output.as_deref());
    let job = options.command.as_ref().map_or(Job::NotGiven, |command| Job::ask(command, &machine));
    report(&machine, &job)
}

/// [`examine`] on given facts.
pub fn report(machine: &Machine, job: &Job) -> Report {
    let findings = CHECKS.iter().map(|check| check(machine, job)).collect();
    Report { machine: machine.describe(), job: job.describe(), findings }
}

impl Report {
    /// The finding with this name.
    pub fn finding(&self, id: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.id == id)
    }

    /// The report as text for a terminal of `width` columns, at least 40.
    pub fn render(&self, width: usize) -> String {
        let width = width.max(40);
        let mut text = String::new();
        for line in std::iter::once(&self.machine).chain(&self.job) {
            wrap(&mut text, "", "  ", line, width);
        }
        text.push('\n');
        let title_width = self.findings.iter().map(|finding| finding.title.chars().count()).max().unwrap_or(0);
        for finding in &self.findings {
            let lead = format!("{:<8}{:<title_width$}  ", finding.state.word(), finding.title);
            // Beside the titles where there is room, else below them.
            if lead.chars().count() + 30 <= width {
                let indent = " ".repeat(lead.chars().count());
                wrap(&mut text, &lead, &indent, &finding.reason, width);
                if let Some(fix) = &finding.fix {
                    wrap(&mut text, &format!("{indent}→ "), &format!("{indent}  "), fix, width);
                }
            } else {
                let _ = writeln!(text, "{}", lead.trim_end());
                wrap(&mut text, "    ", "    ", &finding.reason, width);
                if let Some(fix) = &finding.fix {
                    wrap(&mut text, "    → ", "      ", fix, width);
                }
            }
        }
        let count = |state| self.findings.iter().filter(|finding| finding.state == state).count();
        let mut sum = format!("{} of {} can be recorded", count(State::Yes), self.findings.len());
        for (state, words) in [(State::Partly, "partly"), (State::No, "not"), (State::Unknown, "unknown")] {
            if count(state) > 0 {
                let _ = write!(sum, ", {} {words}", count(state));
            }
        }
        text.push('\n');
        wrap(&mut text, "", "", &sum, width);
        text
    }
}

/// Writes `words` in lines of at most `width` characters; a longer word has a line of its own.
fn wrap(text: &mut String, first: &str, next: &str, words: &str, width: usize) {
    let mut line = first.to_owned();
    let mut is_begun = false;
    for word in words.split_whitespace() {
        if is_begun && line.chars().count() + 1 + word.chars().count() > width {
            let _ = writeln!(text, "{line}");
            next.clone_into(&mut line);
            is_begun = false;
        }
        if is_begun {
            line.push(' ');
        }
        line.push_str(word);
        is_begun = true;
    }
    let _ = writeln!(text, "{}", line.trim_end());
}
