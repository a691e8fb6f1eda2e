//! Checks of what the job's packages and libraries offer.

use super::job::{Job, Python};
use super::machine::Machine;
use super::{Finding, State};

/// The job's Python, or the finding that it is not known.
fn ask<'a>(id: &'static str, title: &'static str, job: &'a Job) -> Result<&'a Python, Finding> {
    match (job.python(), job.unknown()) {
        (Some(python), _) => Ok(python),
        (None, unknown) => {
            let (reason, fix) = unknown.unwrap_or_default();
            Err(Finding::new(id, title, State::Unknown, reason).fix(fix))
        }
    }
}

/// A version's first two numbers.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Why our Python hook is not loaded.
fn no_hook(python: &Python) -> Option<(String, String)> {
    let option = python.isolating.as_ref()?;
    Some((
        format!("the command's {option} keeps the hook from being loaded"),
        format!("start the job without {option}"),
    ))
}

/// Operators through ITT.
pub fn operators(machine: &Machine, job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("operators", "PyTorch operators", state, reason);
    let python = match ask("operators", "PyTorch operators", job) {
        Ok(python) => python,
        Err(unknown) => return unknown,
    };
    let Some(torch) = python.package("torch") else {
        return finding(State::No, "the job's Python has no torch");
    };
    if python.has_itt == Some(false) {
        return finding(State::No, &format!("torch {torch} was built without ITT, through which operators are seen"))
            .fix("use the wheels of pytorch.org or PyPI for x86_64, or build with USE_ITT=1");
    }
    if let Some((reason, fix)) = no_hook(python) {
        return finding(State::No, &reason).fix(fix);
    }
    if let Some(other) = machine.variable("INTEL_LIBITTNOTIFY64") {
        return finding(State::No, &format!("INTEL_LIBITTNOTIFY64 names another collector, {other}"))
            .fix("unset INTEL_LIBITTNOTIFY64");
    }
    match python.has_itt {
        Some(_) => finding(State::Yes, &format!("torch {torch}: operators, autograd nodes, optimizer steps")),
        None => finding(State::Unknown, &format!("torch {torch}: its library was not found where wheels have it")),
    }
}

/// Ranges of NVTX.
pub fn nvtx(machine: &Machine, job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("nvtx", "NVTX ranges", state, reason);
    if let Some(other) = machine.variable("NVTX_INJECTION64_PATH") {
        return finding(State::No, &format!("NVTX_INJECTION64_PATH names another tool, {other}"))
            .fix("unset NVTX_INJECTION64_PATH");
    }
    match job.python().and_then(|python| python.package("nvtx")) {
        Some(version) => finding(State::Yes, &format!("of any program with NVTX 3, and of the nvtx package {version}")),
        None => finding(State::Yes, "of any program with NVTX 3; no GPU is needed"),
    }
}

/// MPI by interposition.
pub fn mpi(machine: &Machine, job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("mpi", "MPI", state, reason);
    // OpenMPI and MPICH name it so; MPICH of Debian has its own name beside.
    let library = ["libmpi.so", "libmpich.so"].iter().find_map(|name| machine.library(name));
    let mpi4py = job.python().and_then(|python| python.package("mpi4py"));
    match (library, mpi4py) {
        (Some(library), _) => {
            let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
            finding(State::Yes, &format!("{name} is there; calls are seen by interposition (LD_PRELOAD)"))
        }
        (None, Some(version)) => {
            finding(State::Partly, &format!("mpi4py {version} is there, but no MPI library in the usual folders"))
                .fix("load the MPI module first, or add its folder to LD_LIBRARY_PATH")
        }
        (None, None) => finding(State::Unknown, "no MPI library in the usual folders; the job may bring its own")
            .fix("load the MPI module first, or add its folder to LD_LIBRARY_PATH"),
    }
}

/// gloo by ITT and by interposition.
pub fn gloo(machine: &Machine, job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("gloo", "gloo collectives", state, reason);
    let python = match ask("gloo", "gloo collectives", job) {
        Ok(python) => python,
        Err(unknown) => return unknown,
    };
    let Some(torch) = python.package("torch") else {
        return finding(State::No, "the job's Python has no torch");
    };
    if python.isolating.is_some() || python.has_itt == Some(false) || machine.variable("INTEL_LIBITTNOTIFY64").is_some()
    {
        return finding(
            State::Partly,
            &format!("torch {torch}: calls by interposition only, without sizes and groups"),
        )
        .fix("see the line on operators");
    }
    finding(State::Yes, &format!("torch {torch}: ranges on gloo's own threads, with group, size and sequence"))
}

/// Work on the GPU.
pub fn gpu(machine: &Machine, _job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("gpu", "GPU work (CUPTI)", state, reason);
    let driver = machine.read("proc/driver/nvidia/version");
    let library = machine.library("libcuda.so");
    let Some(driver) = driver else {
        let reason = if library.is_some() { "libcuda is there, but no driver is loaded" } else { "no NVIDIA driver" };
        return if machine.is_container() && library.is_none() {
            finding(State::No, "no NVIDIA driver is visible in this container")
                .fix("start the container with --gpus all")
        } else if library.is_some() {
            finding(State::No, reason).fix("sudo modprobe nvidia")
        } else {
            finding(State::No, reason)
        };
    };
    // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb …"
    let is_version = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let version = driver.split_whitespace().find(is_version).unwrap_or("of unknown version");
    if library.is_none() {
        return finding(State::No, &format!("the driver {version} is loaded, but libcuda.so.1 is not there"))
            .fix("install the driver's user libraries, or start the container with --gpus all");
    }
    // The driver names NVreg_RestrictProfilingToAdminUsers so.
    let parameters = machine.read("proc/driver/nvidia/params").unwrap_or_default();
    let is_restricted = parameters.lines().any(|line| line.replace(' ', "") == "RmProfilingAdminOnly:1");
    let major = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    // Driver R565 is the first that takes CAP_PERFMON for CAP_SYS_ADMIN; `can_sample` is either.
    let is_exempt = machine.rights().is_some_and(|rights| rights.user == 0 || (rights.can_sample() && major >= 565));
    if is_restricted && !is_exempt {
        return finding(
            State::Partly,
            &format!("driver {version}: kernels and copies, but performance counters are for administrators only"),
        )
        .fix(
            "put `options nvidia NVreg_RestrictProfilingToAdminUsers=0` into /etc/modprobe.d/nvidia.conf and load the \
             driver anew",
        );
    }
    finding(State::Yes, &format!("driver {version}: kernels, copies and performance counters"))
}

/// Work on GPUs of AMD's.
pub fn amd(machine: &Machine, _job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("amd", "AMD GPU work (rocprofiler)", state, reason);
    if !machine.has("dev/kfd") {
        return if machine.is_container() && machine.library("libamdhip64.so").is_some() {
            finding(State::No, "no AMD driver is visible in this container")
                .fix("start the container with --device=/dev/kfd --device=/dev/dri")
        } else {
            finding(State::No, "no AMD driver")
        };
    }
    let name = "librocprofiler-sdk.so";
    // The loader's cache names files with their folders.
    let is_cached = machine.read("etc/ld.so.cache").is_some_and(|cache| cache.contains(&format!("/{name}")));
    if machine.library(name).is_some() || is_cached {
        let beside = match machine.variable("ROCP_TOOL_LIBRARIES") {
            Some(other) => format!("; beside {other}"),
            None => String::new(),
        };
        // As long as nobody has tried it.
        return finding(
            State::Partly,
            &format!("kernels, copies, calls of HIP and RCCL{beside}; built without such a GPU and never tried on one"),
        );
    }
    let folder = "opt/rocm/lib";
    let is_there = ["", ".1", ".0"].iter().any(|version| machine.has(&format!("{folder}/{name}{version}")));
    if is_there {
        return finding(State::Partly, &format!("{name} is in /{folder}, where the loader does not look"))
            .fix("add /opt/rocm/lib to LD_LIBRARY_PATH");
    }
    finding(State::No, &format!("no {name}")).fix("install the package rocprofiler-sdk of the ROCm that the job uses")
}

/// The newest interface of profiler plugins that a release of NCCL has, and what it tells.
fn plugin(release: (u32, u32)) -> (u32, &'static str) {
    let interface = match release {
        (2, 23) => 1,
        (2, 24 | 25) => 2,
        (2, 26) => 3,
        (2, 27) => 4,
        (2, 28) => 5,
        (2, 29 | 30) => 6,
        _ => 7,
    };
    match interface {
        ..=3 => (interface, "collectives and messages; group sizes, calls and launches take 2.28 or later"),
        4 => (interface, "collectives and messages; calls and launches take 2.28 or later"),
        _ => (interface, "calls, collectives, messages, launches"),
    }
}

/// NCCL through its profiler plugin.
pub fn nccl(machine: &Machine, job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("nccl", "NCCL collectives", state, reason);
    if let Some(other) = machine.variable("NCCL_PROFILER_PLUGIN") {
        return finding(State::No, &format!("NCCL_PROFILER_PLUGIN names another plugin, {other}"))
            .fix("unset NCCL_PROFILER_PLUGIN");
    }
    let packages = ["nvidia-nccl-cu13", "nvidia-nccl-cu12", "nvidia-nccl-cu11"];
    let version = job.python().and_then(|python| packages.iter().find_map(|name| python.package(name)));
    if !machine.has("proc/driver/nvidia/version") {
        return finding(State::No, "NCCL needs an NVIDIA GPU, and no driver is loaded");
    }
    match (version, version.and_then(release)) {
        (Some(version), Some(release)) if release < (2, 23) => {
            finding(State::No, &format!("NCCL {version} has no profiler plugins")).fix("use NCCL 2.23 or later")
        }
        (Some(version), Some(release)) => {
            let (interface, what) = plugin(release);
            finding(State::Yes, &format!("NCCL {version} takes a profiler plugin, interface {interface}: {what}"))
        }
        _ => match machine.library("libnccl.so") {
            Some(_) => finding(State::Unknown, "the NCCL of this system is there; plugins need 2.23 or later"),
            None => match job.unknown() {
                Some((reason, fix)) => finding(State::Unknown, &reason).fix(fix),
                None => finding(State::No, "the job's Python brings no NCCL"),
            },
        },
    }
}

/// JAX.
pub fn jax(_machine: &Machine, job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("jax", "JAX", state, reason);
    let python = match ask("jax", "JAX", job) {
        Ok(python) => python,
        Err(unknown) => return unknown,
    };
    match python.package("jax") {
        None => finding(State::No, "the job's Python has no jax"),
        Some(version) => finding(
            State::Partly,
            &format!("jax {version}: stacks and waits; XLA's own operations only through jax.profiler"),
        )
        .fix("call jax.profiler.start_trace in the job; Gapless opens what it writes"),
    }
}

/// Detail windows from inside PyTorch.
pub fn kineto(machine: &Machine, job: &Job) -> Finding {
    let finding = |state, reason: &str| Finding::new("kineto", "detail windows", state, reason);
    let python = match ask("kineto", "detail windows", job) {
        Ok(python) => python,
        Err(unknown) => return unknown,
    };
    let Some(torch) = python.package("torch") else {
        return finding(State::No, "the job's Python has no torch");
    };
    if let Some(folder) = machine.variable("KINETO_IPC_SOCKET_DIR") {
        return finding(
            State::No,
            &format!("KINETO_IPC_SOCKET_DIR leads PyTorch's profiler to another daemon in {folder}"),
        )
        .fix("unset KINETO_IPC_SOCKET_DIR");
    }
    match python.has_kineto_socket {
        Some(false) => finding(State::No, &format!("torch {torch} cannot be led to a daemon of our own"))
            .fix("use a newer torch; 2.15 can"),
        None => finding(State::Unknown, &format!("torch {torch}: its library was not found where wheels have it")),
        Some(true) => match machine.variable("KINETO_CONFIG") {
            Some(_) => finding(
                State::Partly,
                &format!(
                    "torch {torch}: shapes, stacks and flows; KINETO_CONFIG of the user decides how soon they begin"
                ),
            )
            .fix("put ON_DEMAND_CONFIG_UPDATE_INTERVAL_SECS=1 into that file, or unset KINETO_CONFIG"),
            None => finding(State::Yes, &format!("torch {torch}: shapes, stacks and flows of chosen steps")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_nccl_have_their_interfaces() {
        let interfaces = [23, 24, 25, 26, 27, 28, 29, 30, 31, 32].map(|minor| plugin((2, minor)).0);
        assert_eq!(interfaces, [1, 2, 2, 3, 4, 5, 6, 6, 7, 7]);
        assert!(plugin((2, 27)).1.contains("2.28 or later") && !plugin((2, 28)).1.contains("later"));
    }
}
