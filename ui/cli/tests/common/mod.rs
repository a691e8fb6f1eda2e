//! Runs the binary on small hand-made traces whose numbers are known.

// Each test file compiles this module for itself and uses a part of it.
#![allow(dead_code)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A folder that goes when the test ends.
pub struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file, with the folders above it, and gives its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make folder");
        fs::write(&path, content).expect("write");
        path
    }

    pub fn write_gzip(&self, name: &str, content: &str) -> PathBuf {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(content.as_bytes()).expect("compress");
        self.write(name, gzip.finish().expect("compress"))
    }

    /// Names of the files in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).expect("list");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Runs gapless in this folder.
    pub fn gapless(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().expect("run gapless");
        Ran::new(args, &output)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gapless"));
        command.args(args).current_dir(self.path());
        // What the terminal of the one who runs the tests is like must not matter.
        for name in ["COLUMNS", "NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "DISPLAY", "WAYLAND_DISPLAY"] {
            command.env_remove(name);
        }
        command
    }
}

/// What a run of gapless gave.
#[derive(Debug)]
pub struct Ran {
    pub args: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn new(args: &[&str], output: &Output) -> Self {
        Self {
            args: args.join(" "),
            code: output.status.code().expect("no signal ended it"),
            stdout: String::from_utf8(output.stdout.clone()).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr.clone()).expect("UTF-8"),
        }
    }

    /// It worked and had nothing to complain about.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        assert_eq!(self.stderr, "", "{self:#?}");
        self
    }

    /// It refused with exit code 2, one line of error that holds `what`, and at most one hint.
    #[track_caller]
    pub fn refused(self, what: &str) -> Self {
        assert_eq!(self.code, 2, "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        let mut lines = self.stderr.lines();
        let error = lines.next().expect("an error");
        assert!(error.starts_with("error: ") && error.contains(what), "{what:?} is not in the first line of {self:#?}");
        let rest: Vec<&str> = lines.collect();
        assert!(rest.len() <= 1 && rest.iter().all(|line| line.starts_with(" hint: ")), "{self:#?}");
        assert!(!self.stderr.contains("panicked") && !self.stderr.contains("backtrace"), "{self:#?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    #[track_caller]
    pub fn says(self, what: &str) -> Self {
        assert!(self.stdout.contains(what), "{what:?} is not in {self:#?}");
        self
    }
}

/// One event of a trace.
fn event(cat: &str, name: &str, pid: u32, tid: u32, ts: i64, dur: i64, args: &str) -> String {
    format!(
        r#"{{"ph":"X","cat":"{cat}","name":"{name}","pid":{pid},"tid":{tid},"ts":{ts},"dur":{dur},"args":{{{args}}}}}"#
    )
}

fn file(header: &str, events: &[String]) -> String {
    format!("{{{header}\"traceEvents\":[\n{}\n]}}\n", events.join(",\n"))
}

/// Two steps of 1,000 µs of one rank. In each: compute 100–500 µs, an all-reduce 300–700 µs on a second stream, a
/// copy 800–850 µs. So of each step 400 µs are compute, 200 exposed communication, 50 exposed copy, 350 idle.
pub fn gpu_trace(rank: u32, world_size: u32) -> String {
    let mut events = Vec::new();
    for step in 0..2_i64 {
        let at = step * 1_000;
        let id = step * 10;
        let launch = |correlation: i64, ts: i64| {
            let args = format!(r#""correlation":{correlation}"#);
            event("cuda_runtime", "cudaLaunchKernel", 900, 901, at + ts, 5, &args)
        };
        let on = |stream: u32, correlation: i64| format!(r#""device":0,"stream":{stream},"correlation":{correlation}"#);
        events.extend([
            event("user_annotation", &format!("ProfilerStep#{}", 11 + step), 900, 901, at, 1_000, ""),
            event("cpu_op", "aten::mm", 900, 901, at + 40, 60, ""),
            launch(id + 1, 50),
            launch(id + 2, 60),
            event("kernel", "sgemm_64x64", 0, 7, at + 100, 400, &on(7, id + 1)),
            event("kernel", "ncclDevKernel_AllReduce_Sum_f32_RING_LL", 0, 13, at + 300, 400, &on(13, id + 2)),
            event("cuda_runtime", "cudaMemcpyAsync", 900, 901, at + 790, 5, &format!(r#""correlation":{}"#, id + 3)),
            event(
                "gpu_memcpy",
                "Memcpy HtoD (Pinned -> Device)",
                0,
                7,
                at + 800,
                50,
                &format!(r#"{},"bytes":1000000"#, on(7, id + 3)),
            ),
        ]);
    }
    let header = format!(
        r#""schemaVersion":1,"deviceProperties":[{{"id":0,"name":"Test GPU","totalGlobalMem":8589934592,"numSms":80,"computeMajor":9,"computeMinor":0}}],"distributedInfo":{{"backend":"nccl","rank":{rank},"world_size":{world_size}}},"baseTimeNanoseconds":1700000000000000000,"#
    );
    file(&header, &events)
}

/// A trace without device work and without a rank.
pub fn cpu_trace() -> String {
    let events: Vec<String> = (0..3).map(|i| event("cpu_op", "aten::add", 900, 901, i * 100, 50, "")).collect();
    file("\"schemaVersion\":1,", &events)
}

/// A folder `run42` of four ranks, compressed.
pub fn run_of_four(scratch: &Scratch) {
    for rank in 0..4 {
        scratch.write_gzip(&format!("run42/rank{rank}.json.gz"), &gpu_trace(rank, 4));
    }
}
