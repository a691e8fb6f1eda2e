//! Programs to sample, and what became of them.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stderr)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gapless_sample::{Notice, NoticeKind, Sample, SampleEvent, SampleOptions, Sampler, StackKind};

/// Above `-O0` compilers leave the frame out of functions that call nothing, and the chain loses their callers.
pub const FRAME_POINTERS: &[&str] = &["-O0", "-g"];
pub const NO_FRAME_POINTERS: &[&str] = &["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls"];

pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs")
}

/// Compiles a program of `tests/programs`; `None`, with a line, where there is no C compiler.
pub fn compile(folder: &Path, source: &str, flags: &[&str]) -> Option<PathBuf> {
    let out = folder.join(source.trim_end_matches(".c"));
    let run = Command::new("cc").args(flags).arg("-pthread").arg(programs().join(source)).arg("-o").arg(&out).status();
    match run {
        Ok(status) => {
            assert!(status.success(), "cc fails on {source}");
            Some(out)
        }
        Err(error) => {
            eprintln!("skipped: no C compiler ({error})");
            None
        }
    }
}

/// A folder that other users may look into.
pub fn open_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A program that waits to be let go, as one that `gapless record` starts.
pub struct Gated {
    pub child: Child,
}

impl Gated {
    pub fn new(program: &Path, arguments: &[&str]) -> Self {
        let child = Command::new("sh")
            .args(["-c", "read go; exec \"$@\"", "sh"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn go(&mut self) {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
}

/// What a run gave.
pub struct Outcome {
    pub pid: u32,
    pub events: Vec<SampleEvent>,
    pub notices: Vec<Notice>,
    pub stdout: String,
}

impl Outcome {
    pub fn samples(&self, kind: StackKind) -> impl Iterator<Item = &Sample> {
        self.events.iter().filter_map(move |event| match event {
            SampleEvent::Sample(sample) if sample.kind == kind => Some(sample),
            _ => None,
        })
    }

    pub fn lost(&self) -> u64 {
        self.events.iter().map(|event| if let SampleEvent::Lost(count) = event { *count } else { 0 }).sum()
    }

    /// Whether the kernel's part was possible; a line where not.
    pub fn has_perf(&self, test: &str) -> bool {
        let refused =
            self.notices.iter().find(|notice| matches!(notice.kind, NoticeKind::NoPerf | NoticeKind::Process));
        if let Some(refused) = refused {
            eprintln!("{test} is skipped: {refused}");
        }
        refused.is_none()
    }
}

/// Runs a program under the sampler from its first instruction to its last.
pub fn sampled(program: &Path, arguments: &[&str], options: SampleOptions) -> Outcome {
    let mut gated = Gated::new(program, arguments);
    let pid = gated.pid();
    let (mut sampler, notices) = Sampler::start(SampleOptions { root_pids: vec![pid], ..options });
    gated.go();
    let mut events = Vec::new();
    while gated.child.try_wait().unwrap().is_none() {
        sampler.poll(&mut |event| events.push(event));
        std::thread::sleep(Duration::from_millis(10));
    }
    sampler.finish(&mut |event| events.push(event));
    let output = gated.child.wait_with_output().unwrap();
    assert!(output.status.success(), "the program itself fails: {output:?}");
    Outcome { pid, events, notices, stdout: String::from_utf8(output.stdout).unwrap() }
}

pub fn names(sample: &Sample) -> Vec<&str> {
    sample.stack.iter().map(|frame| &*frame.name).collect()
}

/// Whether `chain` is a run of neighbours in `names`; of Python's qualified names (`Thread.run`) the last part counts.
pub fn holds(names: &[&str], chain: &[&str]) -> bool {
    let names: Vec<&str> = names.iter().map(|name| name.rsplit('.').next().unwrap_or(name)).collect();
    names.windows(chain.len()).any(|window| window == chain)
}

/// Interpreters that work here, by version.
pub fn pythons() -> Vec<PathBuf> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    let mut names = vec!["python3".to_owned()];
    names.extend((8..=15).map(|minor| format!("python3.{minor}")));
    let mut candidates: Vec<PathBuf> = std::env::var("GAPLESS_TEST_PYTHONS")
        .map(|list| list.split(':').map(PathBuf::from).collect())
        .unwrap_or_default();
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        candidates.extend(names.iter().map(|name| folder.join(name)));
    }
    for candidate in candidates {
        let question = "import sys; print(sys.version_info[:2], sys.executable)";
        let Ok(answer) = Command::new(&candidate).args(["-c", question]).output() else { continue };
        let answer = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        let Some((version, path)) = answer.split_once(") ") else { continue };
        if !found.iter().any(|(known, _)| known == version) {
            found.push((version.to_owned(), PathBuf::from(path)));
        }
    }
    found.into_iter().map(|(_, path)| path).collect()
}
