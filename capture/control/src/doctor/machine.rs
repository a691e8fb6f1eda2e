//! Facts about the machine, read below a root folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::sys;

/// Rights by their bit in `CapEff` (`capabilities(7)`).
const PTRACE: u32 = 19;
const ADMIN: u32 = 21;
const PERFMON: u32 = 38;
/// No file of /proc or /sys that is read here is larger.
const LARGEST: u64 = 1024 * 1024;

/// Size of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Of the whole file system.
    pub total_bytes: u64,
    /// What an ordinary user may still take.
    pub free_bytes: u64,
}

/// The machine, as far as files say what it is; the rest are plain values, so that a test can state them.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `/`, or a hand-made tree.
    pub root: PathBuf,
    /// The variables that the job would inherit.
    pub environment: BTreeMap<String, String>,
    /// `/dev/shm`; none when it is not there.
    pub shared_memory: Option<Space>,
    /// Where the recording would lie.
    pub output: PathBuf,
    /// The file system of [`Machine::output`]; none when the folder cannot be looked at.
    pub output_space: Option<Space>,
    /// Whether that folder can be written to.
    pub output_is_writable: bool,
    /// `x86_64`, `aarch64`, …
    pub architecture: &'static str,
}

/// `/proc/self/status`, as far as it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// The user.
    pub user: u32,
    /// `CapEff`
    effective: u64,
    /// 0 none, 1 strict, 2 a filter: what container engines set.
    pub seccomp: u32,
}

impl Rights {
    /// May look into other processes in spite of Yama.
    pub fn can_trace(self) -> bool {
        self.effective >> PTRACE & 1 == 1
    }

    /// May sample in spite of `perf_event_paranoid`.
    pub fn can_sample(self) -> bool {
        (self.effective >> PERFMON | self.effective >> ADMIN) & 1 == 1
    }
}

fn space(path: &Path) -> Option<Space> {
    let found = sys::space_of(path).ok()?;
    Some(Space { total_bytes: found.total_bytes, free_bytes: found.free_bytes })
}

impl Machine {
    /// This machine; the recording would lie in `output`, else in the current folder.
    pub fn here(output: Option<&Path>) -> Self {
        let mut folder = output.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
        // The recording's own folder may not be there yet: its first ancestor that is decides.
        while !folder.is_dir() && folder.pop() {}
        if folder.as_os_str().is_empty() {
            folder = PathBuf::from(".");
        }
        let utf8 = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        Self {
            root: "/".into(),
            environment: std::env::vars_os().filter_map(utf8).collect(),
            shared_memory: space(Path::new("/dev/shm")),
            output_space: space(&folder),
            output_is_writable: sys::is_writable(&folder),
            output: folder.canonicalize().unwrap_or(folder),
            architecture: std::env::consts::ARCH,
        }
    }

    /// A file below the root, without the white space around it; none when it cannot be read.
    pub fn read(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        fs::File::open(self.root.join(path)).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file below the root that holds one number.
    pub fn number(&self, path: &str) -> Option<i64> {
        self.read(path)?.parse().ok()
    }

    /// Whether there is something at the path below the root.
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// A variable that is set and not empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// What this process may do; none when the kernel does not say.
    pub fn rights(&self) -> Option<Rights> {
        let status = self.read("proc/self/status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()
        };
        Some(Rights {
            // Real, effective, saved, file system: the second counts.
            user: status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1))?.parse().ok()?,
            effective: u64::from_str_radix(field("CapEff")?, 16).ok()?,
            seccomp: field("Seccomp").and_then(|text| text.parse().ok()).unwrap_or(0),
        })
    }

    /// An option of the running kernel's configuration: `y`, `m`, `n` (stated as not set), or none when the configuration
    /// is not there as text.
    pub fn kernel_option(&self, name: &str) -> Option<char> {
        let release = self.read("proc/sys/kernel/osrelease")?;
        let paths = [format!("boot/config-{release}"), format!("lib/modules/{release}/config")];
        let config = paths.iter().find_map(|path| self.read(path))?;
        let (set, unset) = (format!("{name}="), format!("# {name} is not set"));
        config.lines().find_map(|line| {
            if line == unset { Some('n') } else { line.strip_prefix(&set).and_then(|value| value.chars().next()) }
        })
    }

    /// Whether this runs in a container, by the marks that engines leave.
    pub fn is_container(&self) -> bool {
        self.has(".dockerenv") || self.has("run/.containerenv") || self.variable("KUBERNETES_SERVICE_HOST").is_some()
    }

    /// The first file in the folders of the dynamic linker whose name is `name` or begins with `name.`.
    pub fn library(&self, name: &str) -> Option<PathBuf> {
        let triple = format!("usr/lib/{}-linux-gnu", self.architecture);
        let usual = ["usr/local/lib", &triple, "usr/lib64", "usr/lib", "lib64", "usr/local/cuda/compat"];
        let named = self.variable("LD_LIBRARY_PATH").unwrap_or_default().split(':');
        let named = named.filter_map(|folder| folder.strip_prefix('/'));
        let longer = format!("{name}.");
        let is_it = |path: &PathBuf| {
            let found = path.file_name().unwrap_or_default().to_string_lossy();
            found == name || found.starts_with(&longer)
        };
        named.chain(usual).find_map(|folder| {
            let files = fs::read_dir(self.root.join(folder)).ok()?;
            files.flatten().map(|file| file.path()).filter(is_it).min()
        })
    }

    /// One line on what it is.
    pub fn describe(&self) -> String {
        let system = self.read("etc/os-release").unwrap_or_default();
        let name = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let name = name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned());
        let kernel = self.read("proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into());
        let info = self.read("proc/cpuinfo").unwrap_or_default();
        let count = info.lines().filter(|line| line.starts_with("processor")).count();
        let user = match self.rights() {
            Some(rights) if rights.user == 0 => "root".to_owned(),
            Some(rights) => format!("user {}", rights.user),
            None => "user unknown".to_owned(),
        };
        let container = if self.is_container() { ", in a container" } else { "" };
        format!("{name}, kernel {kernel}, {} with {count} processors, {user}{container}", self.architecture)
    }
}
