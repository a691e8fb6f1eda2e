//! Detail windows from real PyTorch jobs that know nothing of it. Runs where `GAPLESS_TORCH` names a Python with torch
//! (`tests/python/setup-torch.sh` makes one); elsewhere each test says that it was skipped.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use gapless_control::kineto::{Detail, KinetoDaemon, State, Target, Window};
use serde_json::Value;

/// A small training job with a Linear layer; one optimizer step about every 12 ms.
const JOB: &str = r#"
import os, sys, time
import torch
seconds, folder = float(sys.argv[1]), sys.argv[2]
if "RANK" in os.environ:
    torch.distributed.init_process_group("gloo")
torch.set_num_threads(1)
model = torch.nn.Linear(8, 4)
if "RANK" in os.environ:
    model = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
begin, steps = time.time(), 0
while True:
    # All ranks must agree on the last step.
    is_over = time.time() - begin > seconds or os.path.exists(os.path.join(folder, "stop"))
    go = torch.tensor([0.0 if is_over else 1.0])
    if "RANK" in os.environ:
        torch.distributed.broadcast(go, 0)
    if go.item() == 0.0:
        break
    optimizer.zero_grad()
    model(torch.ones(2, 8)).sum().backward()
    optimizer.step()
    steps += 1
    if steps == 3:
        open(os.path.join(folder, f"stepping.{os.getpid()}"), "w").close()
    if steps % 10 == 0:
        path = os.path.join(folder, f"steps.{os.getpid()}")
        open(path + ".tmp", "w").write(str(steps))
        os.rename(path + ".tmp", path)
    time.sleep(0.01)
print("steps", steps, flush=True)
if "RANK" in os.environ:
    torch.distributed.destroy_process_group()
open(os.path.join(folder, f"done.{os.getpid()}"), "w").write(str(time.time()))
"#;

fn python() -> Option<PathBuf> {
    let found = std::env::var_os("GAPLESS_TORCH").map(PathBuf::from).filter(|path| path.exists());
    if found.is_none() {
        println!("skipped: GAPLESS_TORCH names no Python with torch");
    }
    found
}

struct Run {
    folder: tempfile::TempDir,
    daemon: KinetoDaemon,
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("job.py"), JOB).unwrap();
        let daemon = KinetoDaemon::start(&folder.path().join("kineto")).unwrap();
        Self { folder, daemon }
    }

    fn start(&self, command: &mut Command, seconds: f64) -> Child {
        let folder = self.folder.path();
        command.arg(folder.join("job.py")).arg(seconds.to_string()).arg(folder).envs(self.daemon.environment());
        command.env("OMP_NUM_THREADS", "1").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The processes that have made their first steps, as the recorder would hear of them through its rings.
    fn stepping(&self, count: usize) -> Vec<u32> {
        let begin = Instant::now();
        loop {
            let names = fs::read_dir(self.folder.path()).unwrap().flatten().map(|entry| entry.file_name());
            let pids: Vec<u32> =
                names.filter_map(|name| name.to_str()?.strip_prefix("stepping.")?.parse().ok()).collect();
            if pids.len() == count {
                return pids;
            }
            assert!(begin.elapsed() < Duration::from_secs(120), "the job does not step");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets the job end.
    fn stop(&self) {
        fs::write(self.folder.path().join("stop"), "").unwrap();
    }

    fn ask(&self, window: Window) -> u32 {
        let output = self.folder.path().join("detail.json");
        let detail = Detail { window, output, shapes: true, stacks: true, flops: true, memory: true };
        self.daemon.request(Target::All, detail).unwrap()
    }
}

fn finish(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    for line in said.lines().chain(errors.lines()) {
        assert!(!line.contains("Kineto") && !line.contains("dyno") && !line.contains("init.cpp"), "{line}");
    }
    output
}

fn events(path: &Path) -> Vec<Value> {
    let trace: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert!(trace["schemaVersion"].is_number() && trace["baseTimeNanoseconds"].is_number());
    trace["traceEvents"].as_array().unwrap().clone()
}

fn named<'a>(events: &'a [Value], name: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["name"] == name && event["ph"] == "X")
}

/// What every window of [`JOB`] holds; returns its optimizer steps.
fn check(path: &Path) -> usize {
    let events = events(path);
    // 2 × 8 times 8 × 4, and the 4 of the bias: the shapes are those of the program.
    let shapes = named(&events, "aten::addmm").map(|event| &event["args"]["Input Dims"]).next().unwrap();
    assert_eq!(shapes.to_string(), "[[4],[2,8],[8,4],[],[]]");
    assert!(events.iter().any(|event| event["cat"] == "python_function"), "stacks");
    assert!(events.iter().any(|event| event["cat"] == "fwdbwd"), "flows");
    named(&events, "Optimizer.step#SGD.step").count()
}

fn written(daemon: &KinetoDaemon) -> Vec<PathBuf> {
    let outputs = daemon.outputs();
    println!("{outputs:?}");
    let path = |output: &gapless_control::kineto::Output| match output.state {
        State::Written { events_bytes } => {
            assert_eq!(fs::metadata(&output.path).unwrap().len(), events_bytes);
            output.path.clone()
        }
        _ => panic!("{outputs:?}"),
    };
    outputs.iter().map(path).collect()
}

#[test]
fn windows_by_steps_and_by_time_from_one_process() {
    let Some(python) = python() else { return };
    let run = Run::new();
    // Asked for before the job begins, as `--detail-steps` does.
    run.ask(Window::Iterations { first: 250, count: 4 });
    let child = run.start(&mut Command::new(python), 100.0);
    let pids = run.stepping(1);
    run.daemon.job_is_stepping(pids[0]);
    let begin = Instant::now();
    while run.daemon.outputs().is_empty() || !run.daemon.wait(Duration::ZERO) {
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?} {:?}", run.daemon.outputs(), run.daemon.clients());
        std::thread::sleep(Duration::from_millis(50));
    }
    run.ask(Window::Duration(Duration::from_millis(300)));
    while run.daemon.outputs().len() < 2 || !run.daemon.wait(Duration::ZERO) {
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?} {:?}", run.daemon.outputs(), run.daemon.clients());
        std::thread::sleep(Duration::from_millis(50));
    }
    run.stop();
    finish(child);
    let paths = written(&run.daemon);
    assert_eq!(paths[0].file_name().unwrap().to_str().unwrap(), format!("detail_{}.json", pids[0]));
    assert_eq!(check(&paths[0]), 4, "exactly the steps asked for");
    assert!(check(&paths[1]) > 4);
    assert_eq!(run.daemon.ignored().total(), 0);
    let left: Vec<_> = fs::read_dir(run.folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_str().unwrap().starts_with('.')), "{left:?}");
}

#[test]
fn the_same_steps_of_two_ranks() {
    let Some(python) = python() else { return };
    let run = Run::new();
    let mut command = Command::new(python.parent().unwrap().join("torchrun"));
    let child = run.start(command.args(["--standalone", "--nproc-per-node", "2"]), 100.0);
    let pids = run.stepping(2);
    let begin = Instant::now();
    let mut is_asked = false;
    while run.daemon.outputs().len() < 2 || !run.daemon.wait(Duration::ZERO) {
        for &pid in &pids {
            let path = run.folder.path().join(format!("steps.{pid}"));
            if let Some(done) = fs::read_to_string(path).ok().and_then(|text| text.parse().ok()) {
                run.daemon.job_steps(pid, done);
                // The first step has passed by then: both ranks must agree on another one.
                if !is_asked && done > 50 {
                    run.ask(Window::Iterations { first: 1, count: 3 });
                    is_asked = true;
                }
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?} {:?}", run.daemon.outputs(), run.daemon.clients());
        std::thread::sleep(Duration::from_millis(50));
    }
    run.stop();
    finish(child);
    let mut steps = Vec::new();
    for path in written(&run.daemon) {
        assert_eq!(check(&path), 3);
        let events = events(&path);
        assert!(named(&events, "gloo:all_reduce").count() >= 3);
        // Each operator of a backward pass has a number that grows with the steps: equal ones are the same steps.
        let sequence = |event: &Value| event["args"]["Sequence number"].as_u64();
        steps.push(named(&events, "aten::addmm").filter_map(sequence).collect::<Vec<_>>());
    }
    assert_eq!(steps[0].len(), 3);
    assert_eq!(steps[0], steps[1], "the ranks recorded different steps");
    // The launcher asks, too, but never steps.
    assert!(run.daemon.clients().len() >= 2);
    assert_eq!(run.daemon.outputs().len(), 2);
}

/// Not a test by itself: the recorder that the next test kills.
#[test]
fn recorder_that_is_killed() {
    let Some(folder) = std::env::var_os("GAPLESS_TEST_FOLDER").map(PathBuf::from) else { return };
    fs::create_dir_all(&folder).unwrap();
    let daemon = KinetoDaemon::start(&folder.join("kineto")).unwrap();
    let all: Vec<_> =
        daemon.environment().into_iter().map(|(key, value)| (key, value.into_string().unwrap())).collect();
    fs::write(folder.join("environment.tmp"), serde_json::to_vec(&all).unwrap()).unwrap();
    fs::rename(folder.join("environment.tmp"), folder.join("environment")).unwrap();
    std::thread::sleep(Duration::from_secs(300));
}

#[test]
fn a_job_whose_recorder_is_killed_runs_on_silently_and_ends_at_once() {
    let Some(python) = python() else { return };
    // The run's own daemon is not used: it gives the folder.
    let run = Run::new();
    let folder = run.folder.path();
    let mut recorder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "recorder_that_is_killed"])
        .env("GAPLESS_TEST_FOLDER", folder.join("second"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let environment: Vec<(String, String)> = loop {
        if let Ok(text) = fs::read(folder.join("second/environment")) {
            break serde_json::from_slice(&text).unwrap();
        }
        assert!(begin.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    };
    let told = environment.iter().find(|(key, _)| key == "KINETO_IPC_SOCKET_DIR").unwrap();
    let dynolog = Path::new(&told.1).join("dynolog");
    assert!(dynolog.exists());
    let mut command = Command::new(python);
    command.arg(folder.join("job.py")).arg("6").arg(folder).envs(environment);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = run.stepping(1)[0];
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    // Against a socket that is there and that nobody serves, Kineto retries for ten seconds at each poll, and a job that
    // ends waits for that; against one that is gone it gives up at once.
    let gone = std::os::unix::net::UnixDatagram::unbound().unwrap().connect(&dynolog).unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::NotFound, "{gone}");
    let told = finish(child);
    let end = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(told.stderr.is_empty(), "{}", String::from_utf8_lossy(&told.stderr));
    let done: f64 = fs::read_to_string(folder.join(format!("done.{pid}"))).unwrap().parse().unwrap();
    println!("the job took {:.1} s to end", end - done);
}
