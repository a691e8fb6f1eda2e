//! The protocol, spoken by a client written here from its description, without the daemon's own code.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gapless_control::kineto::{Detail, KinetoDaemon, State, Target, Window};

fn variable(daemon: &KinetoDaemon, name: &str) -> String {
    let all = daemon.environment();
    all.iter().find(|(key, _)| *key == name).unwrap().1.to_str().unwrap().to_owned()
}

/// What Kineto does, as far as the protocol goes.
struct Job {
    socket: UnixDatagram,
    dynolog: PathBuf,
    pids: Vec<u32>,
}

impl Job {
    fn new(daemon: &KinetoDaemon, name: &str, pids: &[u32]) -> Self {
        let folder = PathBuf::from(variable(daemon, "KINETO_IPC_SOCKET_DIR"));
        let socket = UnixDatagram::bind(folder.join(format!("dynoconfigclient-{name}"))).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { socket, dynolog: folder.join("dynolog"), pids: pids.to_vec() }
    }

    fn datagram(kind: &[u8], body: &[u8]) -> Vec<u8> {
        let mut all = (body.len() as u64).to_le_bytes().to_vec();
        let mut name = [0; 32];
        name[..kind.len()].copy_from_slice(kind);
        all.extend(name);
        all.extend(body);
        all
    }

    fn request(&self, accepts: i32) -> Vec<u8> {
        let mut body = accepts.to_le_bytes().to_vec();
        body.extend((self.pids.len() as i32).to_le_bytes());
        body.extend(77i64.to_le_bytes());
        body.extend(self.pids.iter().flat_map(|pid| pid.to_le_bytes()));
        Self::datagram(b"req", &body)
    }

    fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, &self.dynolog).unwrap();
    }

    fn receive(&self) -> (String, Vec<u8>) {
        let mut buffer = [0; 65536];
        let (length, from) = self.socket.recv_from(&mut buffer).unwrap();
        // Kineto aborts the job when this name is another one.
        assert_eq!(from.as_pathname().unwrap(), self.dynolog);
        assert_eq!(u64::from_le_bytes(buffer[..8].try_into().unwrap()) as usize, length - 40);
        let kind = buffer[8..40].split(|&b| b == 0).next().unwrap();
        (String::from_utf8(kind.to_vec()).unwrap(), buffer[40..length].to_vec())
    }

    fn poll(&self, accepts: i32) -> String {
        self.send(&self.request(accepts));
        let (kind, body) = self.receive();
        assert_eq!(kind, "req");
        String::from_utf8(body).unwrap()
    }
}

/// The value of a key in a configuration, read as Kineto reads it: comments off, two parts around one `=`.
fn value<'a>(config: &'a str, key: &str) -> Option<&'a str> {
    config.lines().find_map(|line| {
        let parts: Vec<_> = line.split('#').next().unwrap().split('=').map(str::trim).collect();
        (parts.len() == 2 && parts[0] == key).then(|| parts[1])
    })
}

fn detail(window: Window, output: &Path) -> Detail {
    Detail { window, output: output.into(), shapes: true, stacks: false, flops: true, memory: false }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As Kineto names it: the process's number before the first `.json`.
fn kineto_name(config: &str, pid: u32) -> PathBuf {
    value(config, "ACTIVITIES_LOG_FILE").unwrap().replacen(".json", &format!("_{pid}.json"), 1).into()
}

const WHOLE: &str = r#"{"traceEvents": [ {"ph": "X", "cat": "cpu_op", "name": "aten::add"} ]}"#;
const EMPTY: &str = r#"{"traceEvents": [ {"ph": "X", "cat": "Trace", "name": "PyTorch Profiler (0)"} ]}"#;

#[test]
fn a_window_goes_to_a_process_that_steps_and_its_file_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    // A folder that Kineto itself could not read from a configuration.
    let recording = folder.path().join("run=3 #1.json.d");
    fs::create_dir(&recording).unwrap();
    let daemon = KinetoDaemon::start(&folder.path().join("kineto")).unwrap();
    let me = std::process::id();
    let job = Job::new(&daemon, "a", &[me, 17, 1]);
    assert_eq!(job.poll(2), "");
    let window = Window::Iterations { first: 100, count: 3 };
    let request = daemon.request(Target::All, detail(window, &recording.join("detail.json"))).unwrap();
    assert_eq!(job.poll(2), "", "not before it steps");
    daemon.job_is_stepping(me);
    assert_eq!(job.poll(0), "", "not while it is busy");
    assert!(daemon.clients()[0].busy);
    let config = job.poll(2);
    for (key, expected) in [
        ("PROFILE_START_ITERATION", "100"),
        ("ACTIVITIES_ITERATIONS", "3"),
        ("ACTIVITIES_DURATION_MSECS", "0"),
        ("ACTIVITIES_WARMUP_PERIOD_SECS", "0"),
        ("PROFILE_REPORT_INPUT_SHAPES", "true"),
        ("PROFILE_WITH_STACK", "false"),
        ("PROFILE_WITH_FLOPS", "true"),
        ("PROFILE_PROFILE_MEMORY", "false"),
    ] {
        assert_eq!(value(&config, key), Some(expected), "{key} in {config}");
    }
    let file = kineto_name(&config, me);
    assert!(file.starts_with(variable(&daemon, "KINETO_ONDEMAND_TRACE_DIR")), "{}", file.display());
    assert_eq!(job.poll(2), "", "one window only once");
    assert_eq!(daemon.outputs()[0].state, State::Waiting);
    fs::write(&file, WHOLE).unwrap();
    assert!(daemon.wait(Duration::from_secs(20)));
    let outputs = daemon.outputs();
    assert_eq!(outputs.len(), 1);
    assert_eq!(outputs[0].request, request);
    assert_eq!(outputs[0].state, State::Written { events_bytes: WHOLE.len() as u64 });
    assert_eq!(outputs[0].path, recording.canonicalize().unwrap().join(format!("detail_{me}.json")));
    assert_eq!(fs::read_to_string(&outputs[0].path).unwrap(), WHOLE);
    assert_eq!(fs::metadata(&outputs[0].path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&recording).unwrap().count(), 1, "nothing half-written is left");

    let client = &daemon.clients()[0];
    assert_eq!((client.pid, client.host_pid, client.job_id), (me, me, 77));
    assert_eq!(client.ancestors, [17, 1]);
    assert!(!client.busy);
    assert_eq!(daemon.ignored().total(), 0);
}

#[test]
fn an_empty_trace_is_asked_for_once_more_and_then_reported() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = KinetoDaemon::start(&folder.path().join("kineto")).unwrap();
    let me = std::process::id();
    let job = Job::new(&daemon, "a", &[me]);
    daemon.job_is_stepping(me);
    let window = Window::Duration(Duration::from_millis(250));
    daemon.request(Target::Pid(me), detail(window, &folder.path().join("w.json"))).unwrap();
    let mut files = Vec::new();
    for attempt in 1..=2 {
        let mut config = String::new();
        until("the configuration", || {
            config = job.poll(2);
            !config.is_empty()
        });
        assert_eq!(value(&config, "ACTIVITIES_DURATION_MSECS"), Some("250"));
        assert_eq!(value(&config, "PROFILE_START_ITERATION"), None);
        files.push(kineto_name(&config, me));
        fs::write(files.last().unwrap(), EMPTY).unwrap();
        until("its removal", || !files.last().unwrap().exists());
        assert_eq!(daemon.outputs()[0].attempts, attempt);
    }
    assert_ne!(files[0], files[1], "a late first file cannot pass for the second");
    assert!(daemon.wait(Duration::from_secs(20)));
    let State::Failed(reason) = &daemon.outputs()[0].state else { panic!("{:?}", daemon.outputs()) };
    assert!(reason.contains("without events"), "{reason}");
    assert_eq!(job.poll(2), "", "no third time");
}

#[test]
fn a_second_attempt_may_succeed_and_windows_come_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = KinetoDaemon::start(&folder.path().join("kineto")).unwrap();
    let me = std::process::id();
    let job = Job::new(&daemon, "a", &[me]);
    daemon.job_is_stepping(me);
    let window = Window::Duration(Duration::from_millis(100));
    for _ in 0..2 {
        daemon.request(Target::All, detail(window, &folder.path().join("w.json"))).unwrap();
    }
    let next = || {
        let mut config = String::new();
        until("the configuration", || {
            config = job.poll(2);
            !config.is_empty()
        });
        assert_eq!(job.poll(2), "", "one at a time");
        kineto_name(&config, me)
    };
    let first = next();
    fs::write(&first, EMPTY).unwrap();
    until("its removal", || !first.exists());
    fs::write(next(), WHOLE).unwrap();
    until("the first window", || matches!(daemon.outputs()[0].state, State::Written { .. }));
    fs::write(next(), WHOLE).unwrap();
    until("the second window", || daemon.outputs().len() == 2 && daemon.wait(Duration::ZERO));
    let outputs = daemon.outputs();
    assert_eq!([outputs[0].attempts, outputs[1].attempts], [2, 1]);
    // Both wanted the same name: neither is lost.
    assert_ne!(outputs[0].path, outputs[1].path);
    assert!(outputs.iter().all(|output| fs::read_to_string(&output.path).unwrap() == WHOLE));
}

#[test]
fn a_window_for_one_process_goes_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = KinetoDaemon::start(&folder.path().join("kineto")).unwrap();
    let me = std::process::id();
    let job = Job::new(&daemon, "a", &[me]);
    daemon.job_is_stepping(me);
    let window = Window::Duration(Duration::from_millis(100));
    daemon.request(Target::Pid(me + 1), detail(window, &folder.path().join("w.json"))).unwrap();
    assert_eq!(job.poll(2), "");
    assert!(daemon.outputs().is_empty());
}

/// Not a test by itself: the process that the next test starts. It asks until it has a window, then ends without it.
#[test]
fn child_that_takes_a_window_and_ends() {
    let Some(folder) = std::env::var_os("KINETO_IPC_SOCKET_DIR").map(PathBuf::from) else { return };
    let socket = UnixDatagram::bind(folder.join("dynoconfigclient-child")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // Its own number is another one than the kernel's, as in a container.
    let job = Job { socket, dynolog: folder.join("dynolog"), pids: vec![7, 1] };
    until("the configuration", || !job.poll(2).is_empty());
}

#[test]
fn a_window_dies_with_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = KinetoDaemon::start(&folder.path().join("kineto")).unwrap();
    let window = Window::Iterations { first: 1000, count: 1 };
    daemon.request(Target::All, detail(window, &folder.path().join("w.json"))).unwrap();
    daemon.job_is_stepping(7);
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_takes_a_window_and_ends"])
        .envs(daemon.environment())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let host_pid = child.id();
    // A process that ended but was not waited for counts as ended.
    assert!({
        until("its end", || daemon.outputs().first().is_some_and(|output| output.state != State::Waiting));
        child.wait().unwrap().success()
    });
    let State::Failed(reason) = &daemon.outputs()[0].state else { panic!("{:?}", daemon.outputs()) };
    assert!(reason.contains("ended before"), "{reason}");
    let client = &daemon.clients()[0];
    assert_eq!((client.pid, client.host_pid), (7, host_pid));
}

#[test]
fn hostile_datagrams_are_counted_and_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = KinetoDaemon::start(&folder.path().join("kineto")).unwrap();
    let job = Job::new(&daemon, "a", &[std::process::id()]);
    let good = job.request(2);
    let mut bad = 0;
    let mut send = |datagram: &[u8]| {
        job.send(datagram);
        bad += 1;
    };
    // Cut anywhere: too short, or shorter than it says.
    for length in 1..good.len() {
        send(&good[..length]);
        std::thread::yield_now();
    }
    // Longer than it says, and than any.
    send(&[good.clone(), vec![0]].concat());
    send(&[good.clone(), vec![0; 100_000]].concat());
    // Sizes and counts that would run over.
    for size in [0u64, 1, u64::MAX, i64::MAX as u64, 1 << 40] {
        let mut datagram = good.clone();
        datagram[..8].copy_from_slice(&size.to_le_bytes());
        send(&datagram);
    }
    for count in [-1i32, 2, i32::MAX, i32::MIN] {
        let mut datagram = good.clone();
        datagram[44..48].copy_from_slice(&count.to_le_bytes());
        send(&datagram);
    }
    // Kinds that are none: unknown, without an end.
    send(&Job::datagram(b"stop", &[0; 16]));
    send(&Job::datagram(&[b'r'; 32], &[0; 16]));
    // Senders without an address, or with one elsewhere.
    UnixDatagram::unbound().unwrap().send_to(&good, &job.dynolog).unwrap();
    let elsewhere = UnixDatagram::bind(folder.path().join("elsewhere")).unwrap();
    elsewhere.send_to(&good, &job.dynolog).unwrap();
    bad += 2;
    until("the count", || daemon.ignored().total() == bad);
    let ignored = daemon.ignored();
    assert_eq!((ignored.unknown, ignored.unaddressed), (2, 2));
    assert!(ignored.short > 0 && ignored.wrong_size > 10, "{ignored:?}");
    assert!(daemon.clients().is_empty());
    // It still answers.
    assert_eq!(job.poll(2), "");
    job.send(&Job::datagram(b"ctxt", &[0; 16]));
    assert_eq!(job.receive(), ("ctxt".to_owned(), 1i32.to_le_bytes().to_vec()));
    assert_eq!(daemon.clients().len(), 1);
}

#[test]
fn another_user_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = KinetoDaemon::start(&folder.path().join("kineto")).unwrap();
    let dynolog = folder.path().join("kineto/dynolog");
    assert_eq!(fs::metadata(&dynolog).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(folder.path().join("kineto")).unwrap().mode() & 0o777, 0o700);
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: only root can send as another user");
        return;
    }
    // The rights are opened wide here, so that only the credentials are left to keep the sender out.
    for path in [folder.path().to_path_buf(), folder.path().join("kineto")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(&dynolog, fs::Permissions::from_mode(0o666)).unwrap();
    let script = "import os, socket, struct, sys\n\
        os.setuid(65534)\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
        s.bind(sys.argv[1] + '/dynoconfigclient-x')\n\
        s.sendto(struct.pack('<Q32siiqi', 20, b'req', 2, 1, 0, 1), sys.argv[1] + '/dynolog')\n";
    let status = std::process::Command::new("python3").args(["-c", script]).arg(folder.path().join("kineto")).status();
    if !status.is_ok_and(|status| status.success()) {
        println!("skipped: no python3 to send as another user");
        return;
    }
    until("the count", || daemon.ignored().foreign == 1);
    assert!(daemon.clients().is_empty());
}

#[test]
fn the_told_folder_vanishes_with_the_daemon_and_is_short() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x".repeat(150));
    let daemon = KinetoDaemon::start(&long).unwrap();
    let told = variable(&daemon, "KINETO_IPC_SOCKET_DIR");
    assert!(told.len() <= 54, "{told}");
    assert!(fs::metadata(&told).unwrap().is_dir());
    // The configuration is what sets the pace of the questions.
    let config = fs::read_to_string(variable(&daemon, "KINETO_CONFIG")).unwrap();
    assert_eq!(config.trim(), "ON_DEMAND_CONFIG_UPDATE_INTERVAL_SECS=1");
    let _job = Job::new(&daemon, "left-behind", &[1]);
    drop(daemon);
    assert!(!long.exists(), "what it made is gone");
    assert!(fs::metadata(&told).is_err());
}

#[test]
fn a_folder_that_others_may_enter_or_a_link_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(KinetoDaemon::start(&open).unwrap_err().to_string().contains("0700"));
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(&own, folder.path().join("link")).unwrap();
    assert!(KinetoDaemon::start(&folder.path().join("link")).unwrap_err().to_string().contains("link"));
    // Two never share a folder, and the socket of a dead one is no obstacle.
    let first = KinetoDaemon::start(&own).unwrap();
    assert!(KinetoDaemon::start(&own).unwrap_err().to_string().contains("already"));
    drop(first);
    drop(UnixDatagram::bind(own.join("dynolog")).unwrap());
    KinetoDaemon::start(&own).unwrap();
}

#[test]
fn a_folder_that_kineto_cannot_read_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = KinetoDaemon::start(&folder.path().join("lr=0.1")).unwrap();
    let traces = variable(&daemon, "KINETO_ONDEMAND_TRACE_DIR");
    assert!(!traces.contains('='), "{traces}");
    assert_eq!(fs::metadata(&traces).unwrap().mode() & 0o777, 0o700);
    // What a daemon left that was killed: its process is gone (numbers end at 4194304), so the next one tidies up.
    let dead = Path::new(&traces).parent().unwrap().join("kineto-4194305-0");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("kineto.conf"), "").unwrap();
    let second = KinetoDaemon::start(&folder.path().join("lr=0.2")).unwrap();
    assert!(!dead.exists() && Path::new(&traces).exists());
    assert_ne!(variable(&second, "KINETO_ONDEMAND_TRACE_DIR"), traces);
    drop(daemon);
    assert!(!Path::new(&traces).exists());
}

#[test]
fn windows_that_cannot_be_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = KinetoDaemon::start(&folder.path().join("kineto")).unwrap();
    let good = folder.path().join("w.json");
    let hours = Window::Duration(Duration::from_hours(5));
    for (window, output, reason) in [
        (Window::Iterations { first: 1, count: 0 }, &good, "no steps"),
        (Window::Iterations { first: u64::MAX, count: 1 }, &good, "2147483647"),
        (Window::Duration(Duration::ZERO), &good, "millisecond"),
        (hours, &good, "hour"),
        (Window::Iterations { first: 1, count: 1 }, &folder.path().join("w.txt"), ".json"),
        (Window::Iterations { first: 1, count: 1 }, &folder.path().join("no/w.json"), "cannot find"),
    ] {
        let error = daemon.request(Target::All, detail(window, output)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert!(daemon.outputs().is_empty());
}
