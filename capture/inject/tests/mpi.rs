//! MPI as the preloaded image sees it, on real MPI libraries. Each program says what it knows of every call; that must
//! be what was recorded, call by call.
//!
//! `tests/mpi/setup.sh` installs the libraries; what is missing is said in one line and skipped.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{Call, Process};

const RANKS: usize = 4;

/// An MPI library of this machine.
#[derive(Clone, Copy)]
struct Library {
    name: &'static str,
    cc: &'static str,
    fortran: &'static str,
    run: &'static str,
}

const LIBRARIES: [Library; 2] = [
    Library { name: "Open MPI", cc: "mpicc.openmpi", fortran: "mpif90.openmpi", run: "mpiexec.openmpi" },
    Library { name: "MPICH", cc: "mpicc.mpich", fortran: "mpif90.mpich", run: "mpiexec.mpich" },
];

fn exists(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The libraries that are there. Of each that is not, one line says so.
fn libraries(needed: impl Fn(&Library) -> Vec<&'static str>) -> Vec<Library> {
    LIBRARIES
        .into_iter()
        .filter(|library| {
            let missing = needed(library).into_iter().find(|program| !exists(program));
            if let Some(program) = missing {
                eprintln!("skipped for {}: no {program}; tests/mpi/setup.sh installs it", library.name);
            }
            missing.is_none()
        })
        .collect()
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mpi").join(name)
}

fn compile(compiler: &str, name: &str, folder: &Path) -> PathBuf {
    let program = folder.join(Path::new(name).file_stem().unwrap());
    let output = Command::new(compiler).args(["-w", "-O1", "-o"]).arg(&program).arg(source(name)).output().unwrap();
    assert!(output.status.success(), "{compiler} {name}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Runs a command on some ranks, with the image in front of everything where `rings` is given.
fn run(library: &Library, ranks: usize, command: &[&str], log: &Path, rings: Option<&Path>) -> Output {
    let mut launcher = Command::new(library.run);
    launcher.args(["-n", &ranks.to_string()]).args(command);
    launcher.env("LOG", log);
    // Open MPI wants to be told that a container's root and more ranks than cores are meant.
    launcher.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    launcher.env("OMPI_MCA_rmaps_base_oversubscribe", "1").env("OMPI_MCA_btl_base_warn_component_unused", "0");
    match rings {
        Some(rings) => launcher.env("GAPLESS_RINGS", rings).env("LD_PRELOAD", support::image()),
        None => launcher.env_remove("GAPLESS_RINGS").env_remove("LD_PRELOAD"),
    };
    launcher.output().unwrap()
}

/// Standard output by lines in order of text: ranks write when they like.
fn lines(output: &Output) -> Vec<String> {
    assert!(
        output.status.success(),
        "{:?}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What was recorded and what the program knew, by rank.
struct Recorded {
    processes: BTreeMap<usize, Process>,
    known: BTreeMap<usize, Vec<String>>,
}

/// Runs a program without and with the image; results must be the same.
fn record(library: &Library, command: &[&str], folder: &Path) -> Recorded {
    let rings = folder.join("rings");
    std::fs::create_dir(&rings).unwrap();
    let log = folder.join("log");
    let plain = lines(&run(library, RANKS, command, &folder.join("plain"), None));
    assert!(!plain.is_empty());
    let with = run(library, RANKS, command, &log, Some(&rings));
    assert_eq!(plain, lines(&with), "{}: standard output", library.name);
    let processes = support::read(&rings);
    // The launcher and its helpers carry the image too, and leave nothing.
    assert_eq!(processes.len(), RANKS, "{}: processes recorded", library.name);
    let mut by_rank = BTreeMap::new();
    for process in processes {
        assert_eq!(process.lost, 0);
        let rank: usize = process.infos["mpi:rank"].parse().unwrap();
        assert!(process.infos["mpi:library"].contains(library.name), "{}", process.infos["mpi:library"]);
        by_rank.insert(rank, process);
    }
    let known = (0..RANKS)
        .map(|rank| {
            let text = std::fs::read_to_string(format!("{}.{rank}", log.display())).unwrap();
            (rank, text.lines().map(str::to_owned).collect())
        })
        .collect();
    Recorded { processes: by_rank, known }
}

/// What is compared from call to call of one process.
#[derive(Default)]
struct State {
    communicators: HashMap<String, u64>,
    requests: HashMap<String, u64>,
    ended: BTreeSet<u64>,
}

/// Compares every recorded call with what the program knew of it.
fn compare(recorded: &Recorded) {
    // By communicator: the hash of its members on each rank.
    let mut hashes: BTreeMap<String, BTreeMap<usize, u32>> = BTreeMap::new();
    for (rank, process) in &recorded.processes {
        let known = &recorded.known[rank];
        let mut state = State::default();
        for (index, line) in known.iter().enumerate() {
            let Some(call) = process.calls.get(index) else {
                panic!("rank {rank}: recorded {} calls, missing from: {line}", index)
            };
            let place = format!("rank {rank}, call {index}: {line}\nrecorded: {call:?}");
            compare_call(line, call, process, &mut state, &place);
            if let Some(label) = line.split(' ').find_map(|word| word.strip_prefix("comm=")) {
                hashes.entry(label.to_owned()).or_default().insert(*rank, call.comm.members);
            }
        }
        let extra: Vec<&str> = process.calls.iter().skip(known.len()).map(|call| call.name.as_str()).collect();
        assert!(extra.is_empty(), "rank {rank}: recorded beyond what the program knows: {extra:?}");
        let open: Vec<_> = state
            .requests
            .iter()
            .filter(|(label, number)| !state.ended.contains(number) && !label.starts_with("given_up"))
            .collect();
        assert!(open.is_empty(), "rank {rank}: requests without an end: {open:?}");
    }
    let mut seen = BTreeMap::new();
    for (label, ranks) in &hashes {
        let distinct: BTreeSet<u32> = ranks.values().copied().collect();
        assert_eq!(distinct.len(), 1, "members of {label} have one hash on all ranks: {ranks:?}");
        for hash in distinct {
            if let Some(other) = seen.insert(hash, label.clone()) {
                panic!("communicators {label} and {other} have the same hash");
            }
        }
    }
}

fn compare_call(line: &str, call: &Call, process: &Process, state: &mut State, place: &str) {
    let depth = line.bytes().take_while(|byte| *byte == b'>').count();
    let mut words = line[depth..].split(' ');
    assert_eq!(words.next().unwrap(), call.name, "{place}");
    assert_eq!(depth, call.depth, "{place}");
    assert!(call.end_ticks >= call.begin_ticks, "{place}");
    let pairs: HashMap<&str, &str> = words.filter_map(|word| word.split_once('=')).collect();
    let fact = |key: &str| call.facts.get(key).copied();
    for (&key, &value) in &pairs {
        let number = || value.parse::<i64>().unwrap_or_else(|_| panic!("{key}={value}: {place}"));
        let same = |found: i64| assert_eq!(found, number(), "{key}: {place}");
        match key {
            "bytes" => same(call.comm.bytes as i64),
            "count" => same(call.comm.count as i64),
            "peer" => same(i64::from(call.comm.peer)),
            "tag" => same(i64::from(call.comm.tag)),
            "size" => same(i64::from(call.comm.size)),
            "rank" => same(i64::from(call.comm.rank)),
            "dtype" => assert_eq!(call.dtype.replace(' ', "_"), value, "{place}"),
            "seq" if value == "none" => assert_eq!(call.comm.sequence, u64::MAX, "{place}"),
            "seq" => same(call.comm.sequence as i64),
            "bytes_later" => assert_eq!((call.comm.bytes, fact("bytes")), (0, Some(number())), "{place}"),
            "got_bytes" => assert_eq!(fact("received_bytes"), Some(number()), "{place}"),
            "got_source" => assert_eq!(fact("source"), Some(number()), "{place}"),
            "got_tag" => assert_eq!(fact("received_tag"), Some(number()), "{place}"),
            "receive_peer" | "receive_tag" | "receive_bytes" => assert_eq!(fact(key), Some(number()), "{place}"),
            "polls" => assert_eq!(fact("polls").unwrap_or(0), number(), "{place}"),
            "error" => assert!(fact("error").is_some_and(|code| code != 0), "{place}"),
            "comm" => {
                let number = call.comm.communicator;
                assert_ne!(number, 0, "{place}");
                let first = !state.communicators.values().any(|known| *known == number);
                let known = *state.communicators.entry(value.to_owned()).or_insert(number);
                assert_eq!(known, number, "{place}");
                assert!(first || state.communicators[value] == number, "{place}");
            }
            "members" => {
                let info = &process.infos[&format!("mpi:communicator:{:08x}", call.comm.members)];
                assert!(info.contains(&format!("\"ranks\":\"{value}\"")), "{info}: {place}");
            }
            "begins" => {
                assert_ne!(call.comm.request, 0, "{place}");
                assert!(!state.requests.values().any(|known| *known == call.comm.request), "{place}");
                state.requests.insert(value.to_owned(), call.comm.request);
            }
            "waits" if value == "none" => assert_eq!(call.comm.request, 0, "{place}"),
            "waits" => assert_eq!(call.comm.request, state.requests[value], "{place}"),
            "ends" => compare_ends(value, &pairs, call, state, place),
            "of" | "all" => {}
            other => panic!("unknown key {other}: {place}"),
        }
    }
    assert!(pairs.contains_key("error") || fact("error").is_none(), "{place}");
    assert!(pairs.contains_key("ends") || call.done.is_empty(), "{place}");
}

fn compare_ends(value: &str, pairs: &HashMap<&str, &str>, call: &Call, state: &mut State, place: &str) {
    for done in &call.done {
        assert!(state.ended.insert(done.number), "request {} ended twice: {place}", done.number);
    }
    let Some(prefix) = pairs.get("of") else {
        let expected: Vec<&str> = value.split(',').collect();
        assert_eq!(call.done.len(), expected.len(), "{place}");
        for (expected, done) in expected.iter().zip(&call.done) {
            let mut parts = expected.split(':');
            assert_eq!(state.requests[parts.next().unwrap()], done.number, "{expected}: {place}");
            for key in ["received_bytes", "source", "received_tag"] {
                if let Some(value) = parts.next() {
                    assert_eq!(done.facts.get(key), Some(&value.parse().unwrap()), "{expected}, {key}: {place}");
                }
            }
        }
        return;
    };
    let own: BTreeSet<u64> =
        state.requests.iter().filter(|(label, _)| label.starts_with(prefix)).map(|(_, number)| *number).collect();
    assert!(call.done.iter().all(|done| own.contains(&done.number)), "{place}");
    if value == "ANY1" {
        assert_eq!(call.done.len(), 1, "{place}");
    }
    if let Some(all) = pairs.get("all") {
        assert_eq!(own.intersection(&state.ended).count(), all.parse::<usize>().unwrap(), "{place}");
    }
}

#[test]
fn every_call_of_a_c_program_is_recorded_as_it_was() {
    for library in libraries(|library| vec![library.cc, library.run]) {
        let folder = tempfile::tempdir().unwrap();
        let program = compile(library.cc, "program.c", folder.path());
        compare(&record(&library, &[program.to_str().unwrap()], folder.path()));
    }
}

/// A Python that has mpi4py: `GAPLESS_MPI_PYTHON`, else what `tests/mpi/setup.sh` made.
fn python() -> Option<String> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/mpi-venv/bin/python");
    let python = std::env::var("GAPLESS_MPI_PYTHON").unwrap_or_else(|_| venv.to_string_lossy().into_owned());
    let found =
        Command::new(&python).args(["-c", "import mpi4py"]).output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: no Python with mpi4py; tests/mpi/setup.sh makes one");
    }
    found.then_some(python)
}

/// What tells mpi4py's wheel which library to take. It asks for MPICH under the name `libmpi.so.12`, which Debian has
/// under another.
fn mpi4py_environment(library: &Library, folder: &Path) -> Vec<String> {
    let program = compile(library.cc, "tiny.c", folder);
    let output = Command::new("ldd").arg(&program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let path = text.lines().find(|line| line.contains("libmpi")).and_then(|line| line.split(' ').nth(2)).unwrap();
    let (abi, name) = if library.name == "MPICH" { ("mpich", "libmpi.so.12") } else { ("openmpi", "libmpi.so.40") };
    let link = folder.join(name);
    std::os::unix::fs::symlink(path, &link).unwrap();
    vec![
        "env".to_owned(),
        format!("MPI4PY_MPIABI={abi}"),
        format!("MPI4PY_LIBMPI={}", link.display()),
        format!("LD_LIBRARY_PATH={}", folder.display()),
    ]
}

#[test]
fn every_call_of_an_mpi4py_job_is_recorded_as_it_was() {
    let Some(python) = python() else { return };
    for library in libraries(|library| vec![library.cc, library.run]) {
        let folder = tempfile::tempdir().unwrap();
        let environment = mpi4py_environment(&library, folder.path());
        let job = source("job.py");
        let command: Vec<&str> =
            environment.iter().map(String::as_str).chain([python.as_str(), job.to_str().unwrap()]).collect();
        compare(&record(&library, &command, folder.path()));
    }
}

#[test]
fn fortran_is_recorded_as_it_was() {
    for library in libraries(|library| vec![library.fortran, library.run]) {
        for name in ["fortran.f90", "fortran2008.f90"] {
            let folder = tempfile::tempdir().unwrap();
            let program = compile(library.fortran, name, folder.path());
            compare(&record(&library, &[program.to_str().unwrap()], folder.path()));
        }
    }
}

#[test]
fn requests_of_many_threads_end_once_each() {
    for library in libraries(|library| vec![library.cc, library.run]) {
        let folder = tempfile::tempdir().unwrap();
        let program = compile(library.cc, "threads.c", folder.path());
        let rings = folder.path().join("rings");
        std::fs::create_dir(&rings).unwrap();
        let command = [program.to_str().unwrap()];
        let log = folder.path().join("log");
        let plain = lines(&run(&library, RANKS, &command, &log, None));
        assert_eq!(plain, lines(&run(&library, RANKS, &command, &log, Some(&rings))));
        let processes = support::read(&rings);
        assert_eq!(processes.len(), RANKS);
        for process in &processes {
            assert_eq!(process.lost, 0);
            let of = |name: &str| process.calls.iter().filter(|call| call.name == name).collect::<Vec<_>>();
            let (receives, sends, waits) = (of("MPI_Irecv"), of("MPI_Isend"), of("MPI_Wait"));
            assert_eq!((receives.len(), sends.len(), waits.len()), (2000, 2000, 4000), "{}", library.name);
            let begun: BTreeSet<u64> = receives.iter().chain(&sends).map(|call| call.comm.request).collect();
            assert_eq!(begun.len(), 4000);
            let mut ended = BTreeSet::new();
            for wait in &waits {
                assert_eq!(wait.done.len(), 1);
                assert!(ended.insert(wait.done[0].number), "ended twice");
            }
            assert_eq!(begun, ended);
            // The receive's tag is the thread that began it; another thread waited.
            let receiver: HashMap<u64, &&Call> = receives.iter().map(|call| (call.comm.request, call)).collect();
            for wait in &waits {
                if let Some(receive) = receiver.get(&wait.done[0].number) {
                    assert_ne!(receive.thread, wait.thread);
                    assert_eq!(wait.done[0].facts["received_tag"], i64::from(receive.comm.tag));
                }
            }
        }
    }
}

#[test]
fn programs_without_mpi_do_not_notice() {
    let folder = tempfile::tempdir().unwrap();
    let rings = folder.path().join("rings");
    std::fs::create_dir(&rings).unwrap();
    let script =
        "echo out; echo error >&2; (exec sh -c 'echo child; ls /nowhere 2>/dev/null; exit 4'); echo $?; exit 9";
    let run = |preload: bool| {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        if preload {
            command.env("LD_PRELOAD", support::image()).env("GAPLESS_RINGS", &rings);
        }
        let output = command.output().unwrap();
        (output.status.code(), output.stdout, output.stderr)
    };
    assert_eq!(run(false), run(true));
    assert_eq!(std::fs::read_dir(&rings).unwrap().count(), 0, "nothing is made where nothing is called");
}

#[test]
fn without_a_recording_the_image_only_passes_on() {
    for library in libraries(|library| vec![library.cc, library.run]) {
        let folder = tempfile::tempdir().unwrap();
        let program = compile(library.cc, "program.c", folder.path());
        let command = [program.to_str().unwrap()];
        let log = folder.path().join("log");
        let plain = lines(&run(&library, RANKS, &command, &log, None));
        let preload = format!("LD_PRELOAD={}", support::image().display());
        let through = ["env", preload.as_str(), program.to_str().unwrap()];
        assert_eq!(plain, lines(&run(&library, RANKS, &through, &log, None)), "{}", library.name);
    }
}
