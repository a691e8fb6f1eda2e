//! The control socket and the discovery of recorders, with real processes on both ends.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gapless_control::discover;
use gapless_control::message::{DetailWindow, Request, Response, Status, StepWindow, TimeWindow};
use gapless_control::socket::{Client, LONGEST_LINE, MOST_CLIENTS, Server};

fn status() -> Status {
    Status {
        pid: std::process::id(),
        folder: "/recordings/a b".into(),
        command: vec!["python".into(), "train \"it\".py".into()],
        is_recording: true,
        uptime_ms: 12_345,
        pids: vec![10, 11],
        ranks: vec![0, 1],
        events: 1 << 40,
        bytes: u64::MAX,
        drops: 3,
        disk_budget_left_bytes: Some(1 << 33),
        fullest_ring_permille: 999,
    }
}

fn answer(request: Request) -> Response {
    match request {
        Request::Status => Response::Status(Box::new(status())),
        Request::Quit => Response::Error { text: "not now".into() },
        other => Response::Done { text: format!("{other:?}") },
    }
}

/// Serves in a thread until it is dropped; hands the server back.
struct Served {
    stop: mpsc::Sender<()>,
    thread: Option<std::thread::JoinHandle<Server>>,
}

impl Served {
    fn new(mut server: Server) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            while stopped.try_recv().is_err() {
                server.poll(&mut answer);
                std::thread::sleep(Duration::from_millis(1));
            }
            server
        });
        Self { stop, thread: Some(thread) }
    }

    fn end(mut self) -> Server {
        self.stop.send(()).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

fn private() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

#[test]
fn every_request_has_its_answer_and_its_form_on_the_wire() {
    let folder = private();
    let path = folder.path().join("c.sock");
    let served = Served::new(Server::bind(&path).unwrap());
    let mut client = Client::connect(&path).unwrap();
    assert_eq!(client.server_pid(), std::process::id());
    for (request, line) in [
        (Request::Start, r#"{"request":"start"}"#),
        (Request::Stop, r#"{"request":"stop"}"#),
        (Request::Dump { seconds: None }, r#"{"request":"dump"}"#),
        (Request::Dump { seconds: Some(2.5) }, r#"{"request":"dump","seconds":2.5}"#),
        (Request::Mark { name: "a\n\"b\"".into() }, r#"{"request":"mark","name":"a\n\"b\""}"#),
        (
            Request::Detail(DetailWindow::Steps(StepWindow { first: 100, count: 3 })),
            r#"{"request":"detail","first":100,"count":3}"#,
        ),
        (
            Request::Detail(DetailWindow::Time(TimeWindow { duration_ms: 500 })),
            r#"{"request":"detail","duration_ms":500}"#,
        ),
    ] {
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        assert_eq!(client.ask(&request).unwrap(), Response::Done { text: format!("{request:?}") });
    }
    assert_eq!(client.ask(&Request::Status).unwrap(), Response::Status(Box::new(status())));
    assert_eq!(client.ask(&Request::Quit).unwrap(), Response::Error { text: "not now".into() });
    served.end();
    assert!(!path.exists());
}

fn lines(stream: &UnixStream, count: usize) -> Vec<String> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    BufReader::new(stream).lines().take(count).map(Result::unwrap).collect()
}

#[test]
fn what_is_no_request_is_answered_so_and_the_connection_goes_on() {
    let folder = private();
    let path = folder.path().join("c.sock");
    let served = Served::new(Server::bind(&path).unwrap());
    let mut stream = UnixStream::connect(&path).unwrap();
    let bad = [
        "hello",
        "{}",
        r#"{"request":"format"}"#,
        r#"{"request":"mark"}"#,
        r#"{"request":"dump","seconds":"many"}"#,
        r#"{"request":"dump","minutes":1}"#,
        r#"{"request":"detail"}"#,
        r#"{"request":"detail","first":1}"#,
        r#"{"request":"detail","first":-1,"count":1}"#,
        r#"{"request":"detail","first":1,"count":1,"duration_ms":5}"#,
        "[[[[[[[[",
        "\u{0}\u{1}",
    ];
    for line in bad {
        writeln!(stream, "{line}").unwrap();
    }
    stream.write_all(b"\xff\xfe\n\n\r\n{\"request\":\"status\"}\r\n").unwrap();
    let answers = lines(&stream, bad.len() + 2);
    for (answer, line) in answers.iter().zip(bad.iter().chain([&"not UTF-8"])) {
        assert!(answer.starts_with(r#"{"response":"error","text":"this is not a request"#), "{line}: {answer}");
    }
    assert!(answers.last().unwrap().starts_with(r#"{"response":"status""#), "{answers:?}");
    served.end();
}

#[test]
fn a_request_may_come_in_pieces_and_many_at_once() {
    let folder = private();
    let path = folder.path().join("c.sock");
    let mut server = Server::bind(&path).unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    for byte in br#"{"request":"stop"}"# {
        stream.write_all(&[*byte]).unwrap();
        assert_eq!(server.poll(&mut answer), 0);
    }
    stream.write_all(b"\n").unwrap();
    assert_eq!(server.poll(&mut answer), 1);
    stream.write_all("{\"request\":\"stop\"}\n".repeat(100).as_bytes()).unwrap();
    // The end comes with the rest: everything before it is answered.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut polls = 0;
    let mut answered = 0;
    while answered < 100 {
        let count = server.poll(&mut answer);
        assert!((1..=8).contains(&count), "a poll is bounded: {count}");
        (answered, polls) = (answered + count, polls + 1);
    }
    assert!(polls >= 12);
    server.poll(&mut answer);
    assert_eq!(server.clients(), 0);
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all.lines().count(), 101);
}

#[test]
fn a_line_without_end_is_cut_off() {
    let folder = private();
    let path = folder.path().join("c.sock");
    let served = Served::new(Server::bind(&path).unwrap());
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut sent = 0;
    while sent < 64 * LONGEST_LINE && stream.write_all(&[b'x'; 4096]).is_ok() {
        sent += 4096;
    }
    assert!(sent < 64 * LONGEST_LINE, "the server took {sent} bytes of one line");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    // The line that the client still sends may reset the connection before it reads the reason.
    assert!(answer.is_empty() || answer.contains("at most 65536 bytes"), "{answer}");
    let server = served.end();
    assert_eq!(server.clients(), 0);
}

#[test]
fn who_does_not_read_is_let_go_and_holds_up_nobody() {
    let folder = private();
    let path = folder.path().join("c.sock");
    let mut server = Server::bind(&path).unwrap();
    let mut slow = UnixStream::connect(&path).unwrap();
    slow.set_nonblocking(true).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    let mut longest = Duration::ZERO;
    let mut long_answer = |_| Response::Done { text: "x".repeat(50_000) };
    let begin = Instant::now();
    let mut rounds = 0;
    while server.clients() != 1 || rounds < 10 {
        let _ = slow.write(&b"{\"request\":\"status\"}\n".repeat(50));
        client.write_all(b"{\"request\":\"stop\"}\n").unwrap();
        let poll = Instant::now();
        server.poll(&mut long_answer);
        longest = longest.max(poll.elapsed());
        assert_eq!(lines(&client, 1)[0].len(), 50_000 + r#"{"response":"done","text":""}"#.len());
        rounds += 1;
        assert!(begin.elapsed() < Duration::from_secs(20), "the slow client stays");
    }
    println!("longest poll {longest:?} in {rounds} rounds");
    assert_eq!(server.clients(), 1);
}

#[test]
fn there_are_sixteen_places() {
    let folder = private();
    let path = folder.path().join("c.sock");
    let mut server = Server::bind(&path).unwrap();
    let clients: Vec<_> = (0..MOST_CLIENTS).map(|_| UnixStream::connect(&path).unwrap()).collect();
    server.poll(&mut answer);
    let extra = UnixStream::connect(&path).unwrap();
    server.poll(&mut answer);
    assert_eq!((server.clients(), server.refused()), (MOST_CLIENTS, 1));
    assert!(lines(&extra, 1)[0].contains("16 connections"));
    drop(clients);
    server.poll(&mut answer);
    assert_eq!(server.clients(), 0);
    let served = Served::new(server);
    assert!(Client::connect(&path).unwrap().ask(&Request::Status).is_ok());
    served.end();
}

#[test]
fn only_the_owner_reaches_it() {
    let folder = private();
    let path = folder.path().join("in/c.sock");
    let mut server = Server::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: only root can connect as another user");
        return;
    }
    // With the rights opened wide, the kernel's word on who connects is what is left.
    for open in [folder.path(), path.parent().unwrap()] {
        fs::set_permissions(open, fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let script = "import os, socket, sys\n\
        os.setuid(65534)\n\
        s = socket.socket(socket.AF_UNIX)\n\
        s.connect(sys.argv[1])\n\
        s.sendall(b'{\"request\":\"quit\"}\\n')\n\
        sys.exit(0 if s.recv(10) == b'' else 3)\n";
    let Ok(mut child) = std::process::Command::new("python3").args(["-c", script]).arg(&path).spawn() else {
        println!("skipped: no python3 to connect as another user");
        return;
    };
    let mut answered = 0;
    let end = loop {
        answered += server.poll(&mut answer);
        if let Some(end) = child.try_wait().unwrap() {
            break end;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    // A reset connection raises in the script; either way it got no answer.
    assert!(end.code() != Some(3));
    assert_eq!((answered, server.clients(), server.refused()), (0, 0, 1));
}

#[test]
fn a_socket_is_bound_only_where_nothing_else_is_lost() {
    let folder = private();
    let bind = |name: &str| Server::bind(&folder.path().join(name)).map_err(|e| e.to_string());
    // One that lives.
    let first = bind("c.sock").unwrap();
    assert!(bind("c.sock").unwrap_err().contains("already answers"));
    drop(first);
    // One that is dead.
    drop(UnixListener::bind(folder.path().join("c.sock")).unwrap());
    let second = bind("c.sock").unwrap();
    // A successor took the path: its socket is not removed with the first.
    fs::remove_file(second.path()).unwrap();
    let third = bind("c.sock").unwrap();
    drop(second);
    assert!(third.path().exists());
    // A file, a link.
    fs::write(folder.path().join("file"), "precious").unwrap();
    assert!(bind("file").unwrap_err().contains("not a socket"));
    assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "precious");
    symlink(folder.path().join("c.sock"), folder.path().join("link")).unwrap();
    assert!(bind("link").unwrap_err().contains("not a socket"));
    // Too long, and a folder that is open to others.
    assert!(bind(&"x".repeat(100)).unwrap_err().contains("107"));
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(bind("open/c.sock").unwrap_err().contains("0700"));
}

#[test]
fn a_client_says_what_is_wrong() {
    let folder = private();
    let connect = |path: &Path| Client::connect(path).unwrap_err().to_string();
    let missing = folder.path().join("none.sock");
    assert!(connect(&missing).contains("no recorder answers"));
    let dead = folder.path().join("dead.sock");
    drop(UnixListener::bind(&dead).unwrap());
    assert!(connect(&dead).contains("no recorder answers"));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(connect(&file).contains("not a socket"));
    // A recorder that is stopped, one that ends, one that talks nonsense.
    let path = folder.path().join("odd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let link = folder.path().join("link.sock");
    symlink(&path, &link).unwrap();
    assert!(connect(&link).contains("not a socket"));
    let mut client = Client::connect(&path).unwrap();
    client.set_patience(Duration::from_millis(100)).unwrap();
    assert!(client.ask(&Request::Status).unwrap_err().to_string().contains("in time"));
    drop(listener.accept().unwrap());
    let mut client = Client::connect(&path).unwrap();
    drop(listener.accept().unwrap());
    assert!(client.ask(&Request::Status).unwrap_err().to_string().contains("ended the connection"));
    let mut client = Client::connect(&path).unwrap();
    let mut accepted = listener.accept().unwrap().0;
    accepted.write_all(b"HTTP/1.1 400\n").unwrap();
    assert!(client.ask(&Request::Status).unwrap_err().to_string().contains("something unknown"));
}

/// Not a test by itself: a recorder in a process of its own, until its input ends.
#[test]
fn recorder_in_a_process() {
    let Some(runtime) = std::env::var_os("GAPLESS_TEST_RUNTIME").map(PathBuf::from) else { return };
    let command = ["python".into(), "train.py".into()];
    let server = discover::announce_in(&runtime, Path::new("/recordings/one"), &command).unwrap();
    let served = Served::new(server);
    let _ = std::io::stdin().read(&mut [0]);
    served.end();
}

fn recorder(runtime: &Path) -> std::process::Child {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "recorder_in_a_process"])
        .env("GAPLESS_TEST_RUNTIME", runtime)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while !discover::discover_in(runtime).iter().any(|found| found.pid == child.id()) {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

#[test]
fn recorders_are_found_and_dead_ones_forgotten() {
    let folder = private();
    let runtime = folder.path().join("gapless");
    assert!(discover::discover_in(&runtime).is_empty());
    let (mut first, mut second, mut third) = (recorder(&runtime), recorder(&runtime), recorder(&runtime));
    let found = discover::discover_in(&runtime);
    let mut pids = [first.id(), second.id(), third.id()];
    pids.sort_unstable();
    assert_eq!(found.iter().map(|recorder| recorder.pid).collect::<Vec<_>>(), pids);
    assert_eq!(found[0].folder.as_deref(), Some(Path::new("/recordings/one")));
    assert_eq!(found[0].command, ["python", "train.py"]);
    let status = Client::connect(&found[0].socket).unwrap().ask(&Request::Status).unwrap();
    assert!(matches!(status, Response::Status(_)));
    // One ends by itself, one is killed.
    drop(first.stdin.take());
    first.wait().unwrap();
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(runtime.join(format!("{}.sock", second.id())).exists());
    let found = discover::discover_in(&runtime);
    assert_eq!(found.iter().map(|recorder| recorder.pid).collect::<Vec<_>>(), [third.id()]);
    let mut left: Vec<_> = fs::read_dir(&runtime).unwrap().flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, [format!("{}.json", third.id()).as_str(), format!("{}.sock", third.id()).as_str()]);
    // A damaged description costs the description only.
    fs::write(runtime.join(format!("{}.json", third.id())), "{").unwrap();
    let found = discover::discover_in(&runtime);
    assert_eq!((found[0].pid, &found[0].folder), (third.id(), &None));
    // A socket that names another process, a link, a file: none is a recorder.
    let _listener = UnixListener::bind(runtime.join("1.sock")).unwrap();
    symlink(&found[0].socket, runtime.join("2.sock")).unwrap();
    fs::write(runtime.join("3.sock"), "").unwrap();
    assert_eq!(discover::discover_in(&runtime).len(), 1);
    // A folder that others may enter is not trusted.
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(discover::discover_in(&runtime).is_empty());
    third.kill().unwrap();
    third.wait().unwrap();
}
