//! What of the options is possible on this machine, and the lines that say what is not and why.

use std::fs;
use std::io;

use crate::event::{Notice, NoticeKind};
use crate::perf::{Measure, try_open};
use crate::procfs;
use crate::sampler::{KernelFrames, SampleOptions};

/// What will be done.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What the kernel measures, if anything.
    pub(crate) measure: Option<Measure>,
    /// Whether Python stacks are taken.
    pub(crate) python: bool,
}

/// The least and most bytes of a stack to copy. A record has at most 64 KiB.
const STACK_BYTES: (u32, u32) = (1024, 32 << 10);

/// Tries what the options ask for.
pub(crate) fn plan(options: &SampleOptions) -> (Plan, Vec<Notice>) {
    let mut notices = Vec::new();
    let measure = if options.native || options.context_switches { measure(options, &mut notices) } else { None };
    let python = options.python && python(&mut notices);
    (Plan { measure, python }, notices)
}

fn measure(options: &SampleOptions, notices: &mut Vec<Notice>) -> Option<Measure> {
    let mut wanted = Measure {
        frequency_hz: if options.native { frequency(options.frequency_hz, notices) } else { 0 },
        context_switches: options.context_switches,
        kernel: options.native && options.kernel != KernelFrames::Off,
        stack_bytes: 0,
    };
    if let (true, Some(bytes)) = (options.native, options.unwind_stack_bytes) {
        if cfg!(target_arch = "x86_64") {
            wanted.stack_bytes = bytes.clamp(STACK_BYTES.0, STACK_BYTES.1) / 8 * 8;
        } else {
            notices.push(Notice::new(
                NoticeKind::NoUnwinding,
                "native stacks are taken by frame pointers only: unwinding by tables is known for x86-64",
            ));
        }
    }
    let refused = match try_open(wanted) {
        Ok(()) => {
            if wanted.kernel && !procfs::kernel_addresses_shown() {
                notices.push(Notice::new(
                    NoticeKind::KernelNames,
                    "frames of the kernel have no names: /proc/kallsyms hides its addresses; set \
                     kernel.kptr_restrict to 0, or give CAP_SYSLOG",
                ));
            }
            return Some(wanted);
        }
        Err(error) => error,
    };
    let user_only = Measure { kernel: false, ..wanted };
    if wanted.kernel && try_open(user_only).is_ok() {
        notices.push(Notice::new(
            NoticeKind::UserOnly,
            format!(
                "time inside the kernel is not sampled: perf_event_open refused it ({}); set \
                 kernel.perf_event_paranoid to 1, or give CAP_PERFMON",
                because(&refused)
            ),
        ));
        return Some(user_only);
    }
    notices.push(Notice::new(
        NoticeKind::NoPerf,
        format!(
            "native stacks and context switches are not possible: perf_event_open was refused ({}); {}",
            because(&refused),
            way_out(&refused)
        ),
    ));
    None
}

/// The frequency, within what the kernel permits.
fn frequency(wanted_hz: u32, notices: &mut Vec<Notice>) -> u32 {
    let most = fs::read_to_string("/proc/sys/kernel/perf_event_max_sample_rate").ok();
    let most = most.and_then(|most| most.trim().parse::<u32>().ok()).unwrap_or(u32::MAX);
    let wanted_hz = wanted_hz.max(1);
    if wanted_hz > most {
        notices.push(Notice::new(
            NoticeKind::Rate,
            format!(
                "native stacks are taken {most} times a second instead of {wanted_hz}: \
                 kernel.perf_event_max_sample_rate permits no more"
            ),
        ));
    }
    wanted_hz.min(most.max(1))
}

fn because(error: &io::Error) -> String {
    match procfs::paranoid_level() {
        Some(level) => format!("{}, kernel.perf_event_paranoid is {level}", plain(error)),
        None => plain(error),
    }
}

/// The kernel's words without the number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn way_out(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => "the kernel or the container's system-call filter has no perf events",
        // With a level of 2 every user may measure own processes: then a filter of system calls is what refuses.
        Some(libc::EACCES | libc::EPERM) if procfs::paranoid_level().is_some_and(|level| level <= 2) => {
            "a container's system-call filter or security module forbids it: allow perf_event_open there"
        }
        Some(libc::EACCES | libc::EPERM) => "set kernel.perf_event_paranoid to 2 or less, or give CAP_PERFMON",
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files with `ulimit -n`",
        _ => "this kernel lacks what is asked for",
    }
}

pub(crate) fn no_rings(error: &io::Error) -> Notice {
    let way_out = match error.raw_os_error() {
        Some(libc::EPERM | libc::ENOMEM | libc::EAGAIN) => {
            "raise kernel.perf_event_mlock_kb or `ulimit -l`, or end other profilers of this user"
        }
        _ => way_out(error),
    };
    Notice::new(
        NoticeKind::NoPerf,
        format!(
            "native stacks and context switches are not possible: no memory to share with the kernel ({}); {way_out}",
            plain(error)
        ),
    )
}

pub(crate) fn not_attached(pid: u32, error: &io::Error) -> Notice {
    let way_out = match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => {
            "each thread needs one open file per processor: raise the limit with `ulimit -n`, or start the job with Gapless"
        }
        _ => "it must run as the same user, or give CAP_PERFMON",
    };
    Notice::new(
        NoticeKind::Process,
        format!("native stacks and context switches of process {pid} are incomplete ({}); {way_out}", plain(error)),
    )
}

pub(crate) fn no_thread(error: &io::Error) -> Notice {
    Notice::new(NoticeKind::NoPerf, format!("sampling is not possible: no thread could be started ({})", plain(error)))
}

#[cfg(feature = "python")]
fn python(notices: &mut Vec<Notice>) -> bool {
    const CAP_SYS_PTRACE: u32 = 19;
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
    let scope = scope.and_then(|scope| scope.trim().parse::<u32>().ok()).unwrap_or(0);
    if scope >= 3 || (scope == 2 && !has_capability(CAP_SYS_PTRACE)) {
        notices.push(Notice::new(
            NoticeKind::NoPython,
            format!(
                "Python stacks are not possible: kernel.yama.ptrace_scope is {scope}; set it to 1{}",
                if scope == 2 { ", or give CAP_SYS_PTRACE" } else { " (this needs a restart)" }
            ),
        ));
        return false;
    }
    true
}

#[cfg(not(feature = "python"))]
fn python(notices: &mut Vec<Notice>) -> bool {
    notices.push(Notice::new(
        NoticeKind::NoPython,
        "Python stacks are not possible: this program was built without the feature `python`",
    ));
    false
}

#[cfg(feature = "python")]
fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|bits| bits >> number & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_asked_nothing_said() {
        let options =
            SampleOptions { native: false, python: false, context_switches: false, ..SampleOptions::default() };
        let (plan, notices) = plan(&options);
        assert!(plan.measure.is_none() && !plan.python && notices.is_empty(), "{plan:?} {notices:?}");
    }

    #[test]
    fn every_line_names_the_reason_and_a_way_out() {
        let refused = io::Error::from_raw_os_error(libc::EMFILE);
        for notice in [no_rings(&refused), not_attached(7, &refused)] {
            assert!(notice.text.contains("Too many open files") && notice.text.contains("ulimit -n"), "{notice}");
            assert!(!notice.text.contains('\n') && !notice.text.ends_with('.'), "{notice}");
        }
    }
}
