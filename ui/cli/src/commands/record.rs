//! `gapless record`: runs a job unchanged and leaves a folder with its timelines.

#[cfg(feature = "sampling")]
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use gapless_record::attach::Control;
use gapless_record::folder::default_name;
use gapless_record::launch::{Attachment, exit_like, find_inject, run_unrecorded};
#[cfg(feature = "sampling")]
use gapless_record::sampling::{Sampling, SamplingOptions};
use gapless_record::trigger::StepWindow;
use gapless_record::{LaunchOptions, Manifest, RecordError, SessionOptions};
use gapless_trace::thousands;

#[cfg(feature = "sampling")]
use crate::args::AttachArgs;
use crate::args::RecordArgs;
use crate::failure::BadInput;
use crate::output::styles;
use crate::text::clean;

/// Runs the job; ends this process as the job ended.
pub fn run(args: &RecordArgs) -> anyhow::Result<()> {
    let options = launch_options(args)?;
    let recorded = gapless_record::record(&options, |session, variables| {
        let control = Control::start(session, &args.command, !args.no_detail, args.detail_steps, variables);
        #[cfg_attr(not(feature = "sampling"), expect(unused_mut, reason = "sampling adds to it"))]
        let mut attachments: Vec<Box<dyn Attachment>> = vec![Box::new(control)];
        #[cfg(feature = "sampling")]
        if let Some(frequency_hz) = args.sample {
            let sampling = SamplingOptions { frequency_hz, native: args.sample_native, unwind_stack_bytes: None };
            attachments.push(Box::new(Sampling::new(session, sampling)));
        }
        attachments
    });
    let outcome = match recorded {
        // A disk that is full now is no reason not to train.
        Err(error @ RecordError::NotWritable { .. }) => {
            let warn = styles::WARN;
            let _ = writeln!(anstream::stderr(), "{warn}note:{warn:#} the job runs and is not recorded: {error}");
            return Err(refused(run_unrecorded(&args.command)));
        }
        recorded => recorded.map_err(refused)?,
    };
    if !args.quiet {
        summary(&outcome.manifest, &outcome.folder);
    }
    exit_like(outcome.status)
}

fn refused(error: RecordError) -> anyhow::Error {
    match error {
        error @ (RecordError::Folder { .. } | RecordError::Start { .. } | RecordError::NoProcess { .. }) => {
            BadInput::new(error.to_string()).into()
        }
        error => error.into(),
    }
}

fn launch_options(args: &RecordArgs) -> anyhow::Result<LaunchOptions> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let folder: PathBuf = args.output.clone().unwrap_or_else(|| default_name(&args.command, now.as_secs()));
    let seconds = |duration: gapless_trace::Duration| std::time::Duration::from_nanos(duration.0.max(0) as u64);
    Ok(LaunchOptions {
        command: args.command.clone(),
        session: SessionOptions {
            folder,
            command: args.command.clone(),
            flight_seconds: args.flight_recorder.map(|keep| keep.0 as f64 / 1e9),
            disk_bytes: args.disk_budget,
            steps: 0..u64::MAX,
            starts_on: true,
        },
        inject: find_inject().map_err(refused)?,
        python: (!args.no_python).then(String::new),
        nvtx: !args.no_nvtx,
        itt: !args.no_operators,
        cuda: !args.no_cuda,
        nccl: args.nccl.variable(),
        preload: args.preload.is_on(&args.command),
        ring_mib: args.ring_memory,
        delay: args.delay.map(seconds),
        duration: args.duration.map(seconds),
        steps: args.steps.map(|steps| StepWindow { first: steps.first, end: steps.first + steps.count }),
        slow_step_factor: args.dump_on_slow_step,
        environment: Vec::new(),
    })
}

/// Records a job that runs already.
#[cfg(feature = "sampling")]
pub fn attach(args: &AttachArgs) -> anyhow::Result<()> {
    let command: Vec<OsString> = std::fs::read(format!("/proc/{}/cmdline", args.pid))
        .unwrap_or_default()
        .split(|&byte| byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| OsString::from(String::from_utf8_lossy(word).into_owned()))
        .collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let options = SessionOptions {
        folder: args.output.clone().unwrap_or_else(|| default_name(&command, now.as_secs())),
        command,
        flight_seconds: None,
        disk_bytes: args.disk_budget,
        steps: 0..u64::MAX,
        starts_on: true,
    };
    let duration = args.duration.map(|duration| std::time::Duration::from_nanos(duration.0.max(0) as u64));
    let (manifest, folder) = gapless_record::attach(args.pid, options, duration, |session| {
        let sampling =
            SamplingOptions { frequency_hz: args.sample, native: args.sample_native, unwind_stack_bytes: None };
        vec![Box::new(Sampling::new(session, sampling)) as Box<dyn Attachment>]
    })
    .map_err(refused)?;
    if !args.quiet {
        summary(&manifest, &folder);
    }
    Ok(())
}

/// A few lines on stderr, after all that the job printed.
fn summary(manifest: &Manifest, folder: &Path) {
    let events: u64 = manifest.processes.iter().map(|process| process.events).sum();
    let bytes: u64 = manifest.processes.iter().map(|process| process.bytes).sum();
    let lost: u64 = manifest.processes.iter().map(|process| process.lost.events()).sum();
    let seconds = manifest.end_unix_ns.unwrap_or(manifest.start_unix_ns).saturating_sub(manifest.start_unix_ns);
    let (bold, warn) = (styles::STRONG, styles::WARN);
    let folder = folder.display();
    let mut stderr = anstream::stderr().lock();
    let processes = manifest.processes.len();
    let plural = if processes == 1 { "" } else { "es" };
    // Where stderr is gone, the exit code and the folder still say it.
    let _ = writeln!(
        stderr,
        "{bold}gapless:{bold:#} {} events of {processes} process{plural}, {:.1} MB, {}",
        thousands(events),
        bytes as f64 / 1e6,
        gapless_trace::Duration(seconds)
    );
    if lost > 0 {
        let _ = writeln!(
            stderr,
            "{warn}lost:{warn:#} {} events, because rings were full; more room: --ring-memory MIB",
            thousands(lost)
        );
    }
    let names: u64 = manifest.processes.iter().map(|process| process.lost.names).sum();
    if names > 0 {
        let _ = writeln!(
            stderr,
            "{warn}lost:{warn:#} {} names that found no room in time; their events are there without one",
            thousands(names)
        );
    }
    for notice in &manifest.notices {
        let _ = writeln!(stderr, "{warn}note:{warn:#} {}", clean(notice));
    }
    if manifest.stacks + manifest.switches > 0 {
        let (stacks, switches) = (thousands(manifest.stacks), thousands(manifest.switches));
        let _ = writeln!(stderr, "  from outside: {stacks} stacks, {switches} switches between threads");
    } else if processes == 0 && manifest.notices.is_empty() {
        let _ = writeln!(
            stderr,
            "{warn}note:{warn:#} nothing in the job called NVTX, ITT, MPI, NCCL's plugin or the Python hook; `gapless doctor -- COMMAND` says why"
        );
    }
    let _ = writeln!(stderr, "  see it:  gapless open {folder}");
}
