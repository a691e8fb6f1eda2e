//! Recording, as far as the desktop knows of it: the command to type, and what the surroundings can find out.

use std::fmt::Debug;
use std::path::Path;

/// What the desktop asks about recording on this machine. Whoever opens the window hands it in; without it the window
/// offers the commands and no more.
pub trait Recording: Debug + Send + Sync {
    /// How the program is called from a shell: `gapless`, or its path where that is not found.
    fn program(&self) -> String;

    /// Looks at what can be recorded here. May take seconds; it is called on a thread of its own.
    ///
    /// # Errors
    /// When the machine cannot be looked at; the text says why.
    fn check(&self) -> Result<MachineCheck, String>;

    /// What has become of the recording in `folder`; `None` if there is none in it.
    fn recording(&self, folder: &Path) -> Option<RecordingState>;
}

/// A folder that a recorder writes or wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingState {
    /// Whether the recorder is at work.
    pub is_running: bool,
    /// When it began, in ns of Unix time.
    pub began_unix_ns: i64,
}

/// What can be recorded on a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineCheck {
    /// The machine in a line.
    pub machine: String,
    /// One line for each capability.
    pub lines: Vec<CheckLine>,
}

/// Whether something can be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckLine {
    /// What it is about.
    pub title: String,
    /// Whether it can be recorded.
    pub ability: Ability,
    /// What was found.
    pub reason: String,
    /// How to get what is missing.
    pub fix: Option<String>,
}

/// How much of something can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// Wholly.
    Yes,
    /// Not all of it.
    Partly,
    /// Not at all.
    No,
    /// It cannot be known.
    Unknown,
}

impl Ability {
    /// Its word in lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partly => "partly",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// A command to type, and the job that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordCommand {
    /// The job (`One process`, `Inside this Slurm job`).
    pub job: &'static str,
    /// What to type.
    pub command: String,
}

/// What of a machine the commands depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// How the program is called.
    pub program: String,
    /// Whether the shell finds `python`; many systems only have `python3`.
    pub has_python: bool,
    /// Whether a Slurm allocation is at hand.
    pub in_slurm: bool,
    /// GPUs, as far as device files tell.
    pub gpus: usize,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn here(recording: Option<&dyn Recording>) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_gpu = |name: &str| {
            let number = name.strip_prefix("nvidia").unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        };
        let devices = std::fs::read_dir("/dev").into_iter().flatten().flatten();
        Self {
            program: recording.map_or_else(|| "gapless".to_owned(), Recording::program),
            has_python: std::env::split_paths(&path).any(|folder| folder.join("python").is_file()),
            in_slurm: std::env::var_os("SLURM_JOB_ID").is_some_and(|id| !id.is_empty()),
            gpus: devices.filter(|entry| entry.file_name().to_str().is_some_and(is_gpu)).count(),
        }
    }

    /// The commands that fit, the likeliest first.
    #[must_use]
    pub fn commands(&self) -> Vec<RecordCommand> {
        let program = if self.program.contains(' ') { format!("'{}'", self.program) } else { self.program.clone() };
        let python = if self.has_python { "python" } else { "python3" };
        let ranks = if self.gpus > 1 { self.gpus } else { 2 };
        let slurm = self.in_slurm.then(|| RecordCommand {
            job: "Inside this Slurm job",
            command: format!("{program} record -- srun {python} train.py"),
        });
        let single = RecordCommand { job: "One process", command: format!("{program} record -- {python} train.py") };
        let ranks = RecordCommand {
            job: "Several ranks",
            command: format!("{program} record -- torchrun --nproc-per-node {ranks} train.py"),
        };
        slurm.into_iter().chain([single, ranks]).collect()
    }
}

/// The answer to "what can be recorded here", while its sheet is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// It is being looked at.
    Running,
    /// What was found, or why nothing was.
    Done(Result<MachineCheck, String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_fit_the_machine() {
        let laptop = Surroundings { program: "gapless".into(), has_python: true, ..Surroundings::default() };
        let commands = |at: &Surroundings| at.commands().into_iter().map(|line| line.command).collect::<Vec<_>>();
        assert_eq!(
            commands(&laptop),
            ["gapless record -- python train.py", "gapless record -- torchrun --nproc-per-node 2 train.py"]
        );
        let node = Surroundings { program: "/opt/my tools/gapless".into(), has_python: false, in_slurm: true, gpus: 8 };
        assert_eq!(
            commands(&node),
            [
                "'/opt/my tools/gapless' record -- srun python3 train.py",
                "'/opt/my tools/gapless' record -- python3 train.py",
                "'/opt/my tools/gapless' record -- torchrun --nproc-per-node 8 train.py"
            ]
        );
    }
}
