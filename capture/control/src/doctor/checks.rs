//! Checks of what the kernel and the machine allow.

use super::job::Job;
use super::machine::{Machine, Rights, Space};
use super::{Finding, State};

const PARANOID: &str = "proc/sys/kernel/perf_event_paranoid";
const YAMA: &str = "proc/sys/kernel/yama/ptrace_scope";
const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// `3.5 GiB`
fn size(bytes: u64) -> String {
    if bytes >= 10 * GIB {
        format!("{} GiB", bytes / GIB)
    } else if bytes >= GIB {
        format!("{:.1} GiB", bytes as f64 / GIB as f64)
    } else {
        format!("{} MiB", bytes / MIB)
    }
}

/// Python stacks: the sampler reads the memory of the job's processes.
pub fn python_stacks(machine: &Machine, _job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("python_stacks", "Python stacks", state, reason);
    if machine.kernel_option("CONFIG_CROSS_MEMORY_ATTACH") == Some('n') {
        return finding(State::No, "the kernel was built without reading the memory of other processes")
            .fix("use a kernel with CONFIG_CROSS_MEMORY_ATTACH=y");
    }
    let Some(rights) = machine.rights() else {
        return finding(State::Unknown, "/proc/self/status cannot be read").fix("mount /proc");
    };
    if rights.seccomp == 2 && !rights.can_trace() {
        return finding(
            State::Partly,
            "a seccomp filter is set, which may forbid reading the memory of other processes",
        )
        .fix("start the container with --cap-add SYS_PTRACE");
    }
    if rights.can_trace() {
        return finding(State::Yes, "this process may look into any other (CAP_SYS_PTRACE)");
    }
    match machine.number(YAMA) {
        None | Some(0) => finding(State::Yes, "processes of this user may be looked into"),
        Some(1) => {
            finding(State::Yes, "jobs that are started with `gapless record` may be looked into; running ones not")
                .fix("for running ones: sudo sysctl kernel.yama.ptrace_scope=0")
        }
        Some(2) => finding(State::No, "only administrators may look into processes (kernel.yama.ptrace_scope is 2)")
            .fix("sudo sysctl kernel.yama.ptrace_scope=1, or give this program CAP_SYS_PTRACE"),
        Some(level) => finding(
            State::No,
            &format!("nobody may look into processes (kernel.yama.ptrace_scope is {level}, until the next boot)"),
        )
        .fix("boot with kernel.yama.ptrace_scope=1"),
    }
}

/// What stands in the way of `perf_event_open` altogether, for the two checks that need it.
fn no_perf(machine: &Machine) -> Option<(State, String, String)> {
    if !machine.has(PARANOID) {
        let reason = if machine.kernel_option("CONFIG_PERF_EVENTS") == Some('n') {
            "the kernel was built without it"
        } else {
            "the kernel does not offer it (no perf_event_paranoid)"
        };
        return Some((State::No, reason.into(), "use a kernel with CONFIG_PERF_EVENTS=y".into()));
    }
    None
}

fn level(machine: &Machine) -> Option<(i64, Rights)> {
    Some((machine.number(PARANOID)?, machine.rights()?))
}

const LOWER: &str = "sudo sysctl kernel.perf_event_paranoid=1, or give this program CAP_PERFMON \
                     (sudo setcap cap_perfmon+ep on the gapless binary)";

/// Native stacks by sampling.
pub fn native_samples(machine: &Machine, _job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("native_samples", "native stacks", state, reason);
    if let Some((state, reason, fix)) = no_perf(machine) {
        return finding(state, &reason).fix(fix);
    }
    let Some((level, rights)) = level(machine) else {
        return finding(State::Unknown, "perf_event_paranoid or /proc/self/status cannot be read").fix("mount /proc");
    };
    let clock =
        if machine.has("sys/bus/event_source/devices/cpu") || machine.has("sys/bus/event_source/devices/armv8_pmuv3") {
            ""
        } else {
            "; samples are taken by time, as there are no hardware counters"
        };
    if rights.seccomp == 2 && !rights.can_sample() {
        return finding(State::Partly, "a seccomp filter is set, which in containers usually forbids sampling")
            .fix("start the container with --cap-add PERFMON, or --security-opt seccomp=unconfined");
    }
    if rights.can_sample() {
        return finding(State::Yes, &format!("of the program and the kernel{clock}"));
    }
    match level {
        ..=1 => finding(State::Yes, &format!("of the program and the kernel{clock}")),
        2 => finding(State::Partly, &format!("of the program only (perf_event_paranoid is 2){clock}")).fix(LOWER),
        _ => finding(State::No, &format!("sampling is for administrators only (perf_event_paranoid is {level})"))
            .fix(LOWER),
    }
}

/// When threads run and when they wait.
pub fn context_switches(machine: &Machine, _job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("context_switches", "running and waiting", state, reason);
    if let Some((state, reason, fix)) = no_perf(machine) {
        return finding(state, &reason).fix(fix);
    }
    let Some((level, rights)) = level(machine) else {
        return finding(State::Unknown, "perf_event_paranoid or /proc/self/status cannot be read").fix("mount /proc");
    };
    if rights.seccomp == 2 && !rights.can_sample() {
        return finding(State::Partly, "a seccomp filter is set, which in containers usually forbids it")
            .fix("start the container with --cap-add PERFMON, or --security-opt seccomp=unconfined");
    }
    if level > 2 && !rights.can_sample() {
        return finding(State::No, &format!("it is for administrators only (perf_event_paranoid is {level})"))
            .fix(LOWER);
    }
    finding(State::Yes, "of every thread of the job")
}

/// Room for the rings between the job and the recorder.
pub fn shared_memory(machine: &Machine, _job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("shared_memory", "shared memory", state, reason);
    let grow = if machine.is_container() {
        "start the container with --shm-size=1g (Kubernetes: an emptyDir with medium Memory at /dev/shm)"
    } else {
        "sudo mount -o remount,size=2g /dev/shm"
    };
    let Some(Space { total_bytes, free_bytes }) = machine.shared_memory else {
        return finding(State::No, "/dev/shm is not there").fix("mount a tmpfs at /dev/shm");
    };
    let text = format!("{} free of {} in /dev/shm", size(free_bytes), size(total_bytes));
    // A thread takes up to 8 MiB; a rank with its loader workers has a few dozen.
    match free_bytes {
        0..16_777_216 => finding(State::No, &format!("{text}: no room for the rings")).fix(grow),
        16_777_216..268_435_456 => {
            finding(State::Partly, &format!("{text}: rings of busy threads may stay small")).fix(grow)
        }
        _ => finding(State::Yes, &text),
    }
}

/// Room for the recording.
pub fn disk(machine: &Machine, _job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("disk", "disk space", state, reason);
    let place = machine.output.display();
    let elsewhere = "name another folder with --output";
    if !machine.output_is_writable {
        return finding(State::No, &format!("this user cannot write to {place}")).fix(elsewhere);
    }
    let Some(space) = machine.output_space else {
        return finding(State::Unknown, &format!("{place} cannot be looked at")).fix(elsewhere);
    };
    let text = format!("{} free at {place}", size(space.free_bytes));
    match space.free_bytes / MIB {
        0..100 => finding(State::No, &text).fix(elsewhere),
        100..2048 => finding(State::Partly, &format!("{text}: enough for a short recording")).fix(elsewhere),
        _ => finding(State::Yes, &text),
    }
}

/// What time is taken from.
pub fn clock(machine: &Machine, _job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("clock", "clock", state, reason);
    let Some(source) = machine.read("sys/devices/system/clocksource/clocksource0/current_clocksource") else {
        return finding(State::Unknown, "the kernel does not say what its clock is").fix("mount /sys");
    };
    if machine.architecture != "x86_64" {
        return finding(State::Yes, &format!("the kernel's monotonic clock ({source})"));
    }
    let info = machine.read("proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
    let is_steady = has("constant_tsc") && has("nonstop_tsc");
    let slow = "time costs more per event: boot with clocksource=tsc where the counter can be trusted";
    match (is_steady, source.as_str()) {
        (true, "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page") => {
            finding(State::Yes, &format!("the processor's counter, which is steady (the kernel uses {source})"))
        }
        (true, _) => finding(
            State::Partly,
            &format!("the processor's counter; but the kernel uses {source}, so it may not trust the counter"),
        )
        .fix("look for `clocksource` in the kernel's log; GAPLESS_CLOCK=monotonic takes the kernel's clock instead"),
        (false, "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page") => {
            finding(State::Yes, &format!("the kernel's monotonic clock ({source})"))
        }
        (false, _) => finding(State::Partly, &format!("the kernel's monotonic clock, from {source}")).fix(slow),
    }
}
