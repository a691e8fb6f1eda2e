//! Each check on hand-made trees, positive and negative, and the whole on this machine.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gapless_control::doctor::job::{Job, Python};
use gapless_control::doctor::machine::{Machine, Space};
use gapless_control::doctor::{CHECKS, DoctorOptions, Finding, State, examine, report};

const GIB: u64 = 1 << 30;

/// A machine on which everything can be recorded; tests take away one thing after the other.
struct Tree {
    folder: tempfile::TempDir,
    machine: Machine,
    job: Job,
}

const STATUS: &str = "Name:\tgapless\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\nSeccomp:\t0\n";

impl Tree {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine {
            root: folder.path().into(),
            environment: BTreeMap::new(),
            shared_memory: Some(Space { total_bytes: 32 * GIB, free_bytes: 31 * GIB }),
            output: "/recordings".into(),
            output_space: Some(Space { total_bytes: 500 * GIB, free_bytes: 100 * GIB }),
            output_is_writable: true,
            architecture: "x86_64",
        };
        let mut tree = Self { folder, machine, job: Job::NotGiven };
        tree.set_packages(&[("torch", "2.15.0"), ("nvtx", "0.2.17"), ("nvidia-nccl-cu13", "2.30.7")]);
        for (path, text) in [
            ("etc/os-release", "NAME=x\nPRETTY_NAME=\"Some Linux 12\"\n"),
            ("proc/self/status", STATUS),
            ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu tsc constant_tsc nonstop_tsc\n\nprocessor\t: 1\n"),
            ("proc/sys/kernel/osrelease", "6.1.0-x\n"),
            ("proc/sys/kernel/perf_event_paranoid", "1\n"),
            ("proc/sys/kernel/yama/ptrace_scope", "0\n"),
            ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
            ("sys/bus/event_source/devices/cpu/type", "4\n"),
            ("boot/config-6.1.0-x", "CONFIG_PERF_EVENTS=y\nCONFIG_CROSS_MEMORY_ATTACH=y\n"),
            (
                "proc/driver/nvidia/version",
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC version:",
            ),
            ("proc/driver/nvidia/params", "ResmanDebugLevel: 4294967295\nRmProfilingAdminOnly: 0\n"),
            ("usr/lib/x86_64-linux-gnu/libcuda.so.1", ""),
            ("usr/lib/x86_64-linux-gnu/libmpi.so.40", ""),
        ] {
            tree.set(path, text);
        }
        tree
    }

    fn set(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn unset(&self, path: &str) {
        let path = self.folder.path().join(path);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }

    fn variable(&mut self, name: &str, value: &str) {
        self.machine.environment.insert(name.into(), value.into());
    }

    fn python(&mut self, change: impl FnOnce(&mut Python)) {
        let Job::Python(python) = &mut self.job else { panic!("no Python") };
        change(python);
    }

    fn set_packages(&mut self, packages: &[(&str, &str)]) {
        let packages = packages.iter().map(|(name, version)| ((*name).into(), (*version).into())).collect();
        self.job = Job::Python(Box::new(Python {
            executable: "/usr/bin/python3".into(),
            version: "3.12.1".into(),
            packages,
            has_itt: Some(true),
            has_kineto_socket: Some(true),
            isolating: None,
        }));
    }

    fn status(&self, from: &str, to: &str) {
        assert!(STATUS.contains(from));
        self.set("proc/self/status", &STATUS.replace(from, to));
    }

    fn find(&self, id: &str) -> Finding {
        report(&self.machine, &self.job).finding(id).unwrap().clone()
    }

    /// The line's state, and words that its reason or its fix must have.
    #[track_caller]
    fn expect(&self, id: &str, state: State, words: &[&str]) {
        let found = self.find(id);
        let text = format!("{} {}", found.reason, found.fix.clone().unwrap_or_default());
        assert_eq!(found.state, state, "{found:?}");
        for word in words {
            assert!(text.contains(word), "{word:?} in {found:?}");
        }
        // What does not work says what to do, or that nothing can be done is plain from the reason.
        assert!(!text.contains("  ") && !found.reason.is_empty() && !found.reason.ends_with('.'), "{text:?}");
    }
}

const SYS_PTRACE: &str = "0000000000080000";
const SYS_ADMIN: &str = "0000000000200000";
const PERFMON: &str = "0000004000000000";
const NO_RIGHTS: &str = "0000000000000000";

#[test]
fn a_good_machine_has_nothing_to_mend() {
    let tree = Tree::new();
    let report = report(&tree.machine, &tree.job);
    assert_eq!(report.findings.len(), CHECKS.len());
    for finding in &report.findings {
        // Only JAX is not in this job, and the GPU is NVIDIA's.
        let expected = if matches!(finding.id, "jax" | "amd") { State::No } else { State::Yes };
        assert_eq!((finding.state, &finding.fix), (expected, &None), "{finding:?}");
    }
    assert_eq!(report.machine, "Some Linux 12, kernel 6.1.0-x, x86_64 with 2 processors, user 1000");
    assert_eq!(
        report.job.unwrap(),
        "Python 3.12.1, nvidia-nccl-cu13 2.30.7, nvtx 0.2.17, torch 2.15.0 (/usr/bin/python3)"
    );
}

#[test]
fn a_machine_that_says_nothing_is_unknown_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine {
        root: folder.path().into(),
        environment: BTreeMap::new(),
        shared_memory: None,
        output: "/r".into(),
        output_space: None,
        output_is_writable: true,
        architecture: "x86_64",
    };
    let report = report(&machine, &Job::NotGiven);
    assert!(report.findings.iter().all(|finding| finding.id == "nvtx" || finding.state != State::Yes), "{report:?}");
    assert_eq!(report.machine, "Linux, kernel unknown, x86_64 with 0 processors, user unknown");
    // Nonsense where numbers should be.
    let tree = Tree::new();
    for path in
        ["proc/sys/kernel/perf_event_paranoid", "proc/self/status", "proc/cpuinfo", "proc/driver/nvidia/version"]
    {
        fs::write(tree.folder.path().join(path), b"\xff\x00: \n=").unwrap();
    }
    tree.expect("native_samples", State::Unknown, &["perf_event_paranoid"]);
    tree.expect("gpu", State::Yes, &["of unknown version"]);
}

#[test]
fn operators() {
    let mut tree = Tree::new();
    tree.expect("operators", State::Yes, &["torch 2.15.0"]);
    tree.python(|python| python.isolating = Some("-I".into()));
    tree.expect("operators", State::No, &["-I", "start the job without -I"]);
    tree.set_packages(&[("torch", "2.15.0")]);
    tree.variable("INTEL_LIBITTNOTIFY64", "/opt/vtune.so");
    tree.expect("operators", State::No, &["/opt/vtune.so", "unset INTEL_LIBITTNOTIFY64"]);
    tree.python(|python| python.has_itt = Some(false));
    tree.expect("operators", State::No, &["without ITT"]);
    tree.machine.environment.clear();
    tree.python(|python| python.has_itt = None);
    tree.expect("operators", State::Unknown, &["library was not found"]);
    tree.set_packages(&[]);
    tree.expect("operators", State::No, &["no torch"]);
    tree.job = Job::NotGiven;
    tree.expect("operators", State::Unknown, &["no command", "gapless doctor -- python train.py"]);
    tree.job = Job::Other { program: "torchrun".into(), python: Some("/v/bin/python".into()) };
    tree.expect("operators", State::Unknown, &["gapless doctor -- /v/bin/python train.py"]);
    tree.job = Job::Other { program: "srun".into(), python: None };
    tree.expect("operators", State::Unknown, &["srun is not a Python"]);
    tree.job = Job::Silent { program: "python9".into(), reason: "no such file".into() };
    tree.expect("operators", State::Unknown, &["python9", "no such file"]);
}

#[test]
fn nvtx_and_jax() {
    let mut tree = Tree::new();
    tree.expect("nvtx", State::Yes, &["0.2.17"]);
    tree.variable("NVTX_INJECTION64_PATH", "/opt/nsys.so");
    tree.expect("nvtx", State::No, &["/opt/nsys.so", "unset"]);
    tree.variable("NVTX_INJECTION64_PATH", "");
    tree.expect("nvtx", State::Yes, &[]);
    tree.expect("jax", State::No, &["no jax"]);
    tree.set_packages(&[("jax", "0.12.0")]);
    tree.expect("jax", State::Partly, &["0.12.0", "start_trace"]);
    tree.job = Job::NotGiven;
    tree.expect("jax", State::Unknown, &[]);
}

#[test]
fn mpi_and_gloo() {
    let mut tree = Tree::new();
    tree.expect("mpi", State::Yes, &["libmpi.so.40"]);
    tree.unset("usr/lib/x86_64-linux-gnu/libmpi.so.40");
    tree.set("usr/lib/x86_64-linux-gnu/libmpiX.so.40", "");
    tree.expect("mpi", State::Unknown, &["LD_LIBRARY_PATH"]);
    tree.set_packages(&[("torch", "2.15.0"), ("mpi4py", "4.1.2")]);
    tree.expect("mpi", State::Partly, &["mpi4py 4.1.2"]);
    tree.set("opt/mpich/lib/libmpi.so", "");
    tree.variable("LD_LIBRARY_PATH", "relative:/nowhere:/opt/mpich/lib");
    tree.expect("mpi", State::Yes, &["libmpi.so"]);

    tree.expect("gloo", State::Yes, &["torch 2.15.0"]);
    tree.python(|python| python.has_itt = Some(false));
    tree.expect("gloo", State::Partly, &["interposition only"]);
    tree.set_packages(&[]);
    tree.expect("gloo", State::No, &["no torch"]);
}

#[test]
fn python_stacks() {
    let tree = Tree::new();
    let yama = "proc/sys/kernel/yama/ptrace_scope";
    tree.expect("python_stacks", State::Yes, &[]);
    tree.set(yama, "1");
    tree.expect("python_stacks", State::Yes, &["running ones not", "ptrace_scope=0"]);
    tree.set(yama, "2");
    tree.expect("python_stacks", State::No, &["ptrace_scope=1"]);
    tree.set(yama, "3");
    tree.expect("python_stacks", State::No, &["boot"]);
    tree.status(NO_RIGHTS, SYS_PTRACE);
    tree.expect("python_stacks", State::Yes, &["CAP_SYS_PTRACE"]);
    tree.unset("proc/sys/kernel/yama");
    tree.status("Seccomp:\t0", "Seccomp:\t2");
    tree.expect("python_stacks", State::Partly, &["SYS_PTRACE"]);
    tree.status("Seccomp:\t0", "Seccomp:\t0");
    tree.expect("python_stacks", State::Yes, &[]);
    tree.set("boot/config-6.1.0-x", "# CONFIG_CROSS_MEMORY_ATTACH is not set\n");
    tree.expect("python_stacks", State::No, &["CONFIG_CROSS_MEMORY_ATTACH=y"]);
}

#[test]
fn native_samples_and_context_switches() {
    let tree = Tree::new();
    let paranoid = "proc/sys/kernel/perf_event_paranoid";
    // (level, CapEff, seccomp) → samples, switches
    for (level, rights, seccomp, samples, switches) in [
        ("-1", NO_RIGHTS, "0", State::Yes, State::Yes),
        ("1", NO_RIGHTS, "0", State::Yes, State::Yes),
        ("2", NO_RIGHTS, "0", State::Partly, State::Yes),
        ("2", PERFMON, "0", State::Yes, State::Yes),
        ("2", SYS_ADMIN, "0", State::Yes, State::Yes),
        ("2", SYS_PTRACE, "0", State::Partly, State::Yes),
        ("3", NO_RIGHTS, "0", State::No, State::No),
        ("4", NO_RIGHTS, "0", State::No, State::No),
        ("4", PERFMON, "0", State::Yes, State::Yes),
        ("1", NO_RIGHTS, "2", State::Partly, State::Partly),
        ("1", PERFMON, "2", State::Yes, State::Yes),
    ] {
        tree.set(paranoid, level);
        tree.set(
            "proc/self/status",
            &STATUS.replace(NO_RIGHTS, rights).replace("Seccomp:\t0", &format!("Seccomp:\t{seccomp}")),
        );
        let found = (tree.find("native_samples").state, tree.find("context_switches").state);
        assert_eq!(found, (samples, switches), "level {level}, rights {rights}, seccomp {seccomp}");
    }
    tree.set("proc/self/status", STATUS);
    tree.set(paranoid, "2");
    tree.expect("native_samples", State::Partly, &["the program only", "perf_event_paranoid=1", "setcap"]);
    tree.unset("sys/bus");
    tree.expect("native_samples", State::Partly, &["no hardware counters"]);
    tree.unset(paranoid);
    tree.expect("native_samples", State::No, &["CONFIG_PERF_EVENTS=y"]);
    tree.expect("context_switches", State::No, &["does not offer it"]);
    tree.set("boot/config-6.1.0-x", "# CONFIG_PERF_EVENTS is not set");
    tree.expect("context_switches", State::No, &["built without it"]);
}

#[test]
fn amd() {
    let mut tree = Tree::new();
    tree.expect("amd", State::No, &["no AMD driver"]);
    tree.set("usr/lib/x86_64-linux-gnu/libamdhip64.so.7", "");
    tree.expect("amd", State::No, &["no AMD driver"]);
    tree.set(".dockerenv", "");
    tree.expect("amd", State::No, &["--device=/dev/kfd"]);
    tree.set("dev/kfd", "");
    tree.expect("amd", State::No, &["no librocprofiler-sdk.so", "install"]);
    tree.set("opt/rocm/lib/librocprofiler-sdk.so.1", "");
    tree.expect("amd", State::Partly, &["where the loader does not look", "LD_LIBRARY_PATH"]);
    tree.set("etc/ld.so.cache", "glibc\0librocprofiler-sdk.so.1\0/opt/rocm/lib/librocprofiler-sdk.so.1\0");
    tree.expect("amd", State::Partly, &["kernels", "never tried"]);
    tree.unset("etc/ld.so.cache");
    tree.variable("LD_LIBRARY_PATH", "/opt/rocm/lib");
    tree.variable("ROCP_TOOL_LIBRARIES", "/other.so");
    tree.expect("amd", State::Partly, &["beside /other.so"]);
}

#[test]
fn gpu() {
    let tree = Tree::new();
    tree.expect("gpu", State::Yes, &["550.54.14"]);
    let params = "proc/driver/nvidia/params";
    tree.set(params, "RmProfilingAdminOnly: 1\n");
    tree.expect("gpu", State::Partly, &["counters", "NVreg_RestrictProfilingToAdminUsers=0"]);
    // CAP_PERFMON counts from driver 565 on only.
    tree.status(NO_RIGHTS, PERFMON);
    tree.expect("gpu", State::Partly, &[]);
    tree.set(
        "proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release",
    );
    tree.expect("gpu", State::Yes, &["570.86.10"]);
    tree.status("1000\t1000", "0\t0");
    tree.set("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14");
    tree.expect("gpu", State::Yes, &[]);
    tree.unset("usr/lib/x86_64-linux-gnu/libcuda.so.1");
    tree.expect("gpu", State::No, &["libcuda.so.1 is not there"]);
    tree.unset("proc/driver");
    tree.expect("gpu", State::No, &["no NVIDIA driver"]);
    tree.set("usr/lib64/libcuda.so.1", "");
    tree.expect("gpu", State::No, &["modprobe nvidia"]);
    tree.unset("usr/lib64");
    tree.set(".dockerenv", "");
    tree.expect("gpu", State::No, &["--gpus all"]);
}

#[test]
fn nccl() {
    let mut tree = Tree::new();
    tree.expect("nccl", State::Yes, &["2.30.7"]);
    tree.set_packages(&[("nvidia-nccl-cu12", "2.22.3")]);
    tree.expect("nccl", State::No, &["2.23"]);
    tree.set_packages(&[("nvidia-nccl-cu12", "2.23.4")]);
    tree.expect("nccl", State::Yes, &[]);
    tree.set_packages(&[]);
    tree.expect("nccl", State::No, &["brings no NCCL"]);
    tree.set("usr/lib64/libnccl.so.2", "");
    tree.expect("nccl", State::Unknown, &["2.23"]);
    tree.unset("usr/lib64");
    tree.job = Job::NotGiven;
    tree.expect("nccl", State::Unknown, &["no command"]);
    tree.variable("NCCL_PROFILER_PLUGIN", "example");
    tree.expect("nccl", State::No, &["example", "unset"]);
    tree.machine.environment.clear();
    tree.unset("proc/driver");
    tree.expect("nccl", State::No, &["no driver"]);
}

#[test]
fn kineto() {
    let mut tree = Tree::new();
    tree.expect("kineto", State::Yes, &["torch 2.15.0"]);
    tree.variable("KINETO_CONFIG", "/etc/libkineto.conf");
    tree.expect("kineto", State::Partly, &["ON_DEMAND_CONFIG_UPDATE_INTERVAL_SECS=1"]);
    tree.variable("KINETO_IPC_SOCKET_DIR", "/run/dyno");
    tree.expect("kineto", State::No, &["/run/dyno"]);
    tree.machine.environment.clear();
    tree.python(|python| python.has_kineto_socket = Some(false));
    tree.expect("kineto", State::No, &["newer torch"]);
    tree.python(|python| python.has_kineto_socket = None);
    tree.expect("kineto", State::Unknown, &[]);
    tree.set_packages(&[]);
    tree.expect("kineto", State::No, &["no torch"]);
}

#[test]
fn shared_memory_and_disk() {
    let mut tree = Tree::new();
    tree.expect("shared_memory", State::Yes, &["31 GiB free of 32 GiB"]);
    // What Docker gives when nothing is said.
    tree.machine.shared_memory = Some(Space { total_bytes: 64 << 20, free_bytes: 60 << 20 });
    tree.expect("shared_memory", State::Partly, &["60 MiB free of 64 MiB", "remount"]);
    tree.set("run/.containerenv", "");
    tree.expect("shared_memory", State::Partly, &["--shm-size=1g"]);
    tree.machine.shared_memory = Some(Space { total_bytes: 64 << 20, free_bytes: 1 << 20 });
    tree.expect("shared_memory", State::No, &["no room"]);
    tree.machine.shared_memory = None;
    tree.expect("shared_memory", State::No, &["not there", "tmpfs"]);

    tree.expect("disk", State::Yes, &["100 GiB free at /recordings"]);
    tree.machine.output_space = Some(Space { total_bytes: 500 * GIB, free_bytes: GIB + GIB / 2 });
    tree.expect("disk", State::Partly, &["1.5 GiB", "--output"]);
    tree.machine.output_space = Some(Space { total_bytes: 500 * GIB, free_bytes: 5 << 20 });
    tree.expect("disk", State::No, &["5 MiB"]);
    tree.machine.output_space = None;
    tree.expect("disk", State::Unknown, &[]);
    tree.machine.output_is_writable = false;
    tree.expect("disk", State::No, &["cannot write to /recordings"]);
}

#[test]
fn clock() {
    let mut tree = Tree::new();
    let source = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    tree.expect("clock", State::Yes, &["processor's counter"]);
    tree.set(source, "hpet");
    tree.expect("clock", State::Partly, &["hpet", "GAPLESS_CLOCK=monotonic"]);
    tree.set("proc/cpuinfo", "flags : tsc constant_tsc");
    tree.expect("clock", State::Partly, &["monotonic", "clocksource=tsc"]);
    tree.set(source, "kvm-clock");
    tree.expect("clock", State::Yes, &["monotonic clock (kvm-clock)"]);
    tree.machine.architecture = "aarch64";
    tree.set(source, "arch_sys_counter");
    tree.expect("clock", State::Yes, &["arch_sys_counter"]);
    tree.unset(source);
    tree.expect("clock", State::Unknown, &[]);
}

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn only_a_python_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let tree = Tree::new();
    let program = folder.path().join("torchrun");
    let trace = folder.path().join("was-started");
    executable(&program, &format!("#!/bin/sh\ntouch {}\n", trace.display()));
    let ask = |line: &str| Job::ask(&words(line), &tree.machine);
    assert!(matches!(ask(&format!("{} train.py", program.display())), Job::Other { python: None, .. }));
    executable(&program, "#!/v/bin/python3.12 -s\nimport x\n");
    let Job::Other { python, .. } = ask(&program.display().to_string()) else { panic!() };
    assert_eq!(python.as_deref(), Some("/v/bin/python3.12"));
    assert!(!trace.exists());
    assert_eq!(ask(""), Job::NotGiven);
    // Names that only look like one.
    for name in ["python-config", "pythonw", "ipython3", "python3-dbg"] {
        assert!(matches!(ask(name), Job::Other { .. }), "{name}");
    }
}

#[test]
fn a_python_that_does_not_answer_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let tree = Tree::new();
    let program = folder.path().join("python3");
    for (text, reason) in [
        ("#!/bin/sh\nexit 3\n", "status: 3"),
        ("#!/bin/sh\necho hello\n", "did not answer"),
        ("#!/bin/sh\necho 'gapless-doctor {'\n", "did not answer"),
        ("#!/bin/sh\nhead -c 3000000 /dev/zero; exit 0\n", ""),
    ] {
        executable(&program, text);
        let Job::Silent { reason: found, .. } = Job::ask(&[program.clone().into()], &tree.machine) else { panic!() };
        assert!(found.contains(reason), "{found}");
    }
    let missing = Job::ask(&words("/nowhere/python3 x.py"), &tree.machine);
    assert!(matches!(missing, Job::Silent { .. }), "{missing:?}");
}

#[test]
fn a_real_python_is_asked() {
    let tree = Tree::new();
    let Job::Python(python) = Job::ask(&words("python3 -u train.py -I"), &tree.machine) else {
        println!("skipped: no python3");
        return;
    };
    assert!(python.version.starts_with("3."), "{python:?}");
    assert!(Path::new(&python.executable).exists());
    assert_eq!(python.isolating, None, "an option of the job, not of Python");
}

#[test]
fn the_report_fits_any_width() {
    let mut tree = Tree::new();
    tree.set("proc/sys/kernel/perf_event_paranoid", "2");
    tree.job = Job::NotGiven;
    let report = report(&tree.machine, &tree.job);
    for width in [0, 40, 60, 80, 100, 200] {
        let text = report.render(width);
        for line in text.lines() {
            // Only a single word may be longer.
            let fits = line.chars().count() <= width.max(40) || line.split_whitespace().count() <= 2;
            assert!(fits, "{width}: {line:?}");
            assert_eq!(line, line.trim_end());
        }
        for finding in &report.findings {
            assert!(text.contains(finding.title), "{width}: {text}");
        }
        let end = text.lines().rev().take_while(|line| !line.is_empty()).collect::<Vec<_>>();
        let end = end.into_iter().rev().collect::<Vec<_>>().join(" ");
        assert_eq!(end, "8 of 15 can be recorded, 1 partly, 1 not, 5 unknown");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["findings"][0]["id"], "operators");
    assert_eq!(json["findings"][0]["state"], "unknown");
    assert_eq!(json["findings"][1].get("fix"), None);
    assert!(json.get("job").is_none());
}

#[test]
fn this_machine_can_be_examined() {
    let python = std::env::var("GAPLESS_TORCH").unwrap_or_else(|_| "python3".into());
    let options =
        DoctorOptions { command: Some(words(&format!("{python} train.py"))), output: Some("no/such/place".into()) };
    let report = examine(&options);
    println!("{}", report.render(110));
    assert_eq!(report.findings.len(), CHECKS.len());
    for id in ["python_stacks", "native_samples", "shared_memory", "disk", "clock"] {
        assert_ne!(report.finding(id).unwrap().state, State::Unknown, "{id}");
    }
    if std::env::var_os("GAPLESS_TORCH").is_some() {
        for id in ["operators", "gloo", "kineto"] {
            assert_eq!(report.finding(id).unwrap().state, State::Yes, "{:?}", report.finding(id));
        }
    }
}
