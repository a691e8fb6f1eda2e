//! Options of the commands that record: they speak to the kernel of Linux.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use gapless_trace::Duration;

use super::parse_duration;

pub const RECORD_EXAMPLES: &str = "\
Examples:
  gapless record -- python train.py
  gapless record -o run42 -- torchrun --nproc-per-node 8 train.py
  gapless record -- mpirun -n 4 ./solver
  srun -n 16 gapless record -o run42.$SLURM_PROCID -- python train.py
  gapless record --delay 60s --duration 10s -- python train.py
  gapless record --flight-recorder 30s -- python serve.py     kill -USR2 writes the last 30 s

The job runs as it would alone: same output, same signals, same exit code. The folder holds one
Perfetto trace per process and manifest.json; `gapless open FOLDER` shows it, also while it grows.";

#[cfg(feature = "sampling")]
pub const ATTACH_EXAMPLES: &str = "\
Examples:
  gapless attach 4711 --duration 10s
  gapless attach 4711 --sample 499 -o run42

Ctrl-C ends the recording; the job goes on. What needs something inside the job (operators, steps,
NVTX, MPI) takes `gapless record`.";

pub const CTL_EXAMPLES: &str = "\
Examples:
  gapless ctl status
  gapless ctl stop --recorder run42
  gapless ctl dump 10s --all
  gapless ctl mark 'new data set'
  gapless ctl detail 100:103";

pub const DOCTOR_EXAMPLES: &str = "\
Examples:
  gapless doctor
  gapless doctor -- python train.py";

#[derive(Clone, Debug, Args)]
pub struct RecordArgs {
    /// The job: a program and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<std::ffi::OsString>,
    /// Folder for the recording, new or empty [default: gapless-recordings/JOB-DATE]
    #[arg(short, long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// Start recording so long after the job: 60s
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "When")]
    pub delay: Option<Duration>,
    /// Stop recording after so long; the job goes on
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "When")]
    pub duration: Option<Duration>,
    /// Keep only the last so long, in memory; SIGUSR2 to gapless, `gapless ctl dump` or a crash of the job writes it
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "When")]
    pub flight_recorder: Option<Duration>,
    /// Take so many stacks a second from outside the job: Python stacks of Python processes, native ones of others, and
    /// which thread runs on which core
    #[cfg(feature = "sampling")]
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "What")]
    pub sample: Option<u32>,
    /// Take native stacks of Python processes too, instead of Python stacks
    #[cfg(feature = "sampling")]
    #[arg(long, requires = "sample", help_heading = "What")]
    pub sample_native: bool,
    /// Leave NVTX ranges out
    #[arg(long, help_heading = "What")]
    pub no_nvtx: bool,
    /// Leave the framework's operators out (ITT): the largest part of the cost
    #[arg(long, help_heading = "What")]
    pub no_operators: bool,
    /// Leave GPU work and the calls of CUDA and HIP out, for example to leave CUPTI to another profiler
    #[arg(long, help_heading = "What")]
    pub no_cuda: bool,
    /// Leave the Python hook out: no steps, data waits, collections, collectives from PyTorch
    #[arg(long, help_heading = "What")]
    pub no_python: bool,
    /// Of NCCL beside calls and collectives: proxy, steps, network (of each transfer), channels, phases (times on the
    /// device), copies (of copy engines), separated by commas; none leaves NCCL out
    #[arg(long, value_name = "EVENTS", value_parser = parse_nccl, default_value = "", hide_default_value = true,
          help_heading = "What")]
    pub nccl: NcclEvents,
    /// Record MPI and gloo calls, by preloading the library; auto does so under mpirun, mpiexec, srun and torchrun
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Preload::Auto, num_args = 0..=1,
          default_missing_value = "always", require_equals = true, help_heading = "What")]
    pub preload: Preload,
    /// Most disk that the recording may take: 20GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "100GiB", help_heading = "Limits")]
    pub disk_budget: u64,
    /// Most shared memory for the rings of a process, in MiB [default: 128]
    #[arg(long, value_name = "MIB", help_heading = "Limits")]
    pub ring_memory: Option<u64>,
    /// Record only these steps: 100:103
    #[arg(long, value_name = "A:B", value_parser = parse_steps, conflicts_with_all = ["delay", "duration"], help_heading = "When")]
    pub steps: Option<gapless_record::attach::DetailSteps>,
    /// Write what the flight recorder keeps when a step takes so many times the median
    #[arg(long, value_name = "TIMES", requires = "flight_recorder", help_heading = "When")]
    pub dump_on_slow_step: Option<f64>,
    /// Record these steps with shapes and Python stacks too, through PyTorch's own profiler: 100:103
    #[arg(long, value_name = "A:B", value_parser = parse_steps, help_heading = "When")]
    pub detail_steps: Option<gapless_record::attach::DetailSteps>,
    /// Leave out what detail windows need (variables of Kineto's on-demand protocol)
    #[arg(long, conflicts_with = "detail_steps", help_heading = "What")]
    pub no_detail: bool,
    /// No summary at the end
    #[arg(short, long)]
    pub quiet: bool,
}

/// What is recorded of NCCL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NcclEvents {
    /// Nothing.
    None,
    /// Calls, collectives, and these.
    Also(String),
}

impl NcclEvents {
    /// The list of events beside the usual ones, where NCCL is recorded.
    pub fn variable(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Also(events) => Some(events.clone()),
        }
    }
}

/// `channels,proxy`, or `none`.
fn parse_nccl(text: &str) -> Result<NcclEvents, String> {
    const EVENTS: [&str; 6] = ["proxy", "steps", "network", "channels", "phases", "copies"];
    if text == "none" {
        return Ok(NcclEvents::None);
    }
    match text.split(',').find(|word| !word.is_empty() && !EVENTS.contains(word)) {
        Some(word) => Err(format!("NCCL has no events {word:?}; there are {}, and none", EVENTS.join(", "))),
        None => Ok(NcclEvents::Also(text.to_owned())),
    }
}

/// When the library is preloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preload {
    Auto,
    Always,
    Never,
}

impl Preload {
    /// Whether to preload for this job. Shells and small tools of a job need not pay for it, so it takes a launcher of
    /// ranks among the first words.
    pub fn is_on(self, command: &[std::ffi::OsString]) -> bool {
        const LAUNCHERS: [&str; 7] =
            ["mpirun", "mpiexec", "orterun", "srun", "torchrun", "torch.distributed.run", "torch.distributed.launch"];
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => command.iter().take(4).any(|word| {
                let word = std::path::Path::new(word).file_name().unwrap_or_default().to_string_lossy().into_owned();
                // mpiexec.openmpi, mpirun.mpich, and the like.
                LAUNCHERS.iter().any(|launcher| word == *launcher || word.starts_with(&format!("{launcher}.")))
            }),
        }
    }
}

#[cfg(feature = "sampling")]
#[derive(Clone, Debug, Args)]
pub struct AttachArgs {
    /// A process of the job; its children are recorded too
    #[arg(value_name = "PID")]
    pub pid: u32,
    /// Folder for the recording, new or empty [default: gapless-recordings/JOB-DATE]
    #[arg(short, long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// Stop after so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Stacks a second
    #[arg(long, value_name = "HZ", default_value_t = 99, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub sample: u32,
    /// Native stacks of Python processes, instead of Python stacks
    #[arg(long)]
    pub sample_native: bool,
    /// Most disk that the recording may take: 20GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "100GiB")]
    pub disk_budget: u64,
    /// No summary at the end
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Clone, Debug, Args)]
pub struct CtlArgs {
    /// What to do
    #[command(subcommand)]
    pub request: CtlRequest,
    /// The recorder with this process id, or the one of this recording folder
    #[arg(long, value_name = "PID|FOLDER", global = true, conflicts_with = "all")]
    pub recorder: Option<String>,
    /// All recorders of this user on this machine
    #[arg(long, global = true)]
    pub all: bool,
    /// Print one JSON object per recorder
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub enum CtlRequest {
    /// List recorders and how they stand
    Status,
    /// Record, or go on recording
    Start,
    /// Stop recording; the job goes on
    Stop,
    /// Write what a flight recorder keeps
    Dump {
        /// Only the last so long
        #[arg(value_name = "TIME", value_parser = parse_duration)]
        last: Option<Duration>,
    },
    /// Put a mark on the timeline
    Mark {
        /// Its text
        #[arg(value_name = "TEXT")]
        name: String,
    },
    /// Record steps (100:103) or a time (500ms) with shapes and Python stacks
    Detail {
        /// Steps A:B, or a length of time
        #[arg(value_name = "A:B|TIME")]
        window: String,
    },
    /// End the recording; the job goes on
    Quit,
}

#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// The job that is to be recorded; its Python is asked for what it has
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<std::ffi::OsString>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Parses `100:103`: from step 100 up to and without step 103.
pub fn parse_steps(text: &str) -> Result<gapless_record::attach::DetailSteps, String> {
    let wrong = || "expected FIRST:END, such as 100:103 for the steps 100, 101 and 102".to_owned();
    let (first, end) = text.split_once(':').ok_or_else(wrong)?;
    let first: u64 = first.trim().parse().map_err(|_| wrong())?;
    let end: u64 = end.trim().parse().map_err(|_| wrong())?;
    match end.checked_sub(first) {
        Some(count) if count > 0 => Ok(gapless_record::attach::DetailSteps { first, count }),
        _ => Err(wrong()),
    }
}

/// Parses `20GiB`, `500MB`, `1024`.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        unit => return Err(format!("{unit:?} is not a unit of size; use MB, GB, MiB or GiB")),
    };
    let number: u64 = number.parse().map_err(|_| "expected a whole number and a unit, such as 20GiB".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| format!("{text} is too much"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_of_ranks_are_told() {
        let is_on = |words: &str| {
            let words: Vec<std::ffi::OsString> = words.split(' ').map(Into::into).collect();
            Preload::Auto.is_on(&words)
        };
        for words in [
            "/usr/bin/mpirun -n 4 ./a",
            "mpiexec.openmpi -n 2 x",
            "torchrun train.py",
            "python -m torch.distributed.run x",
        ] {
            assert!(is_on(words), "{words}");
        }
        for words in ["python train.py", "./mpirunner", "bash run.sh mpirun x y mpirun"] {
            assert_eq!(is_on(words), words.contains(" mpirun x"), "{words}");
        }
    }
}
