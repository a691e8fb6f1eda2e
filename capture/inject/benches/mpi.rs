//! What the preloaded image adds to MPI calls of 8 bytes: a program with and without it by turns, on 2 ranks.
//!
//!     cargo bench -p gapless-inject --bench mpi
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use gapless_ring::reader::SegmentReader;

const TURNS: usize = 11;

fn image() -> PathBuf {
    let bench = std::env::current_exe().unwrap();
    bench.parent().unwrap().join("libgapless_inject.so")
}

fn run(launcher: &str, program: &Path, rings: Option<&Path>) -> BTreeMap<String, f64> {
    let mut command = Command::new(launcher);
    command.args(["-n", "2"]).arg(program);
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    if let Some(rings) = rings {
        std::fs::create_dir(rings).unwrap();
        command.env("GAPLESS_RINGS", rings).env("LD_PRELOAD", image());
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if let Some(rings) = rings {
        let mut segments = 0;
        for entry in std::fs::read_dir(rings).unwrap() {
            let mut reader = SegmentReader::open(&entry.unwrap().path()).unwrap();
            let mut slots = 0;
            reader.drain(&mut |batch| {
                assert_eq!(batch.lost, 0, "dropping would be cheaper than recording");
                slots += batch.slots.len();
            });
            assert!(slots > 100_000);
            segments += 1;
        }
        assert_eq!(segments, 2);
        std::fs::remove_dir_all(rings).unwrap();
    }
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, ns)| (name.to_owned(), ns.parse().unwrap()))
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // Rings lie where recordings put them.
    let shared = Path::new("/dev/shm");
    let folder = tempfile::tempdir_in(if shared.is_dir() { shared } else { Path::new("/tmp") }).unwrap();
    println!("| library | call | ns without | ns with | added ns (median of {TURNS} pairs) |");
    println!("|---|---|--:|--:|--:|");
    for (name, compiler, launcher) in
        [("Open MPI", "mpicc.openmpi", "mpiexec.openmpi"), ("MPICH", "mpicc.mpich", "mpiexec.mpich")]
    {
        let program = folder.path().join(compiler);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/mpi.c");
        let compiled = Command::new(compiler).args(["-O2", "-o"]).arg(&program).arg(source).status();
        if !compiled.is_ok_and(|status| status.success()) {
            println!("{name}: skipped, no {compiler}; tests/mpi/setup.sh installs it");
            continue;
        }
        let rings = folder.path().join("rings");
        let pairs: Vec<_> =
            (0..TURNS).map(|_| (run(launcher, &program, None), run(launcher, &program, Some(&rings)))).collect();
        for (key, what) in [
            ("allreduce", "`MPI_Allreduce` on 2 ranks"),
            ("exchange", "`MPI_Irecv`, `MPI_Isend`, 2 `MPI_Wait` between 2 ranks"),
            ("allreduce_self", "`MPI_Allreduce` with itself"),
            ("exchange_self", "`MPI_Irecv`, `MPI_Isend`, 2 `MPI_Wait` with itself"),
        ] {
            let without = median(pairs.iter().map(|pair| pair.0[key]).collect());
            let with = median(pairs.iter().map(|pair| pair.1[key]).collect());
            let added = median(pairs.iter().map(|pair| pair.1[key] - pair.0[key]).collect());
            println!("| {name} | {what} | {without:.0} | {with:.0} | {added:.0} |");
        }
    }
}
