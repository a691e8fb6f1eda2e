//! The tables of layouts against the headers of CUPTI, and the strides and names against its libraries.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, unsafe_code)]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use cupti_sys::layout::{VERSIONS, fields, forms};
use cupti_sys::{Cupti, DOMAIN_DRIVER, DOMAIN_RUNTIME, Kind};

/// What the script fetched of one version.
struct Wheel {
    version: String,
    library: PathBuf,
    include: Vec<PathBuf>,
}

fn wheels() -> Vec<Wheel> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/gpu/setup-cupti.sh");
    // Beside the build, wherever that is: target/debug/deps/this test.
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_path_buf();
    let output = Command::new("sh").arg(script).arg(target).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let wheels: Vec<Wheel> = text
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let version = words.next().unwrap().to_owned();
            let library = PathBuf::from(words.next().unwrap());
            Wheel { version, library, include: words.map(PathBuf::from).collect() }
        })
        .collect();
    if wheels.len() < VERSIONS.len() {
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        eprintln!("skipped for {} of {} versions: {reason}", VERSIONS.len() - wheels.len(), VERSIONS.len());
    }
    wheels
}

/// The release in [`VERSIONS`] that a package is of.
fn place_of(version: &str) -> usize {
    VERSIONS.iter().position(|(_, release)| version.starts_with(&format!("{release}."))).unwrap()
}

fn struct_name(kind: Kind, place: usize) -> String {
    match forms(kind)[place].0 {
        1 => kind.family().to_owned(),
        form => format!("{}{form}", kind.family()),
    }
}

#[test]
fn every_offset_and_size_is_the_headers() {
    if Command::new("cc").arg("--version").output().is_err() {
        eprintln!("skipped: there is no cc");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for wheel in wheels() {
        let place = place_of(&wheel.version);
        let mut source = String::from(
            "#include <stdio.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <stdbool.h>\n#include <cuda.h>\n\
             #include <cupti.h>\nint main(void) {\nprintf(\"version %d\\n\", (int)CUPTI_API_VERSION);\n",
        );
        let mut expected = format!("version {}\n", VERSIONS[place].0);
        for &kind in Kind::ALL {
            let name = struct_name(kind, place);
            let size = usize::from(forms(kind)[place].1);
            writeln!(source, "printf(\"{name} %zu\\n\", sizeof({name}));").unwrap();
            writeln!(expected, "{name} {size}").unwrap();
            for field in fields(kind).iter().filter(|field| field.end() <= size) {
                let field_name = field.name;
                writeln!(
                    source,
                    "printf(\"{name}.{field_name} %zu %zu\\n\", offsetof({name}, {field_name}), \
                     sizeof((({name}*)0)->{field_name}));"
                )
                .unwrap();
                writeln!(expected, "{name}.{field_name} {} {}", field.offset, field.bytes).unwrap();
            }
            // The number of the kind, by its name.
            let constant = constant_of(kind);
            writeln!(source, "printf(\"{constant} %d\\n\", (int){constant});").unwrap();
            writeln!(expected, "{constant} {}", kind as u32).unwrap();
        }
        source += "return 0; }\n";
        let (program, file) = (folder.path().join("probe"), folder.path().join("probe.c"));
        std::fs::write(&file, source).unwrap();
        let include = wheel.include.iter().map(|folder| format!("-I{}", folder.display()));
        let made = Command::new("cc").arg("-w").arg(&file).arg("-o").arg(&program).args(include).output().unwrap();
        assert!(made.status.success(), "{}: {}", wheel.version, String::from_utf8_lossy(&made.stderr));
        let found = String::from_utf8(Command::new(&program).output().unwrap().stdout).unwrap();
        for (found, expected) in found.lines().zip(expected.lines()) {
            assert_eq!(found, expected, "CUDA {}", wheel.version);
        }
        assert_eq!(found.lines().count(), expected.lines().count());
    }
}

fn constant_of(kind: Kind) -> String {
    let name = match kind {
        Kind::Memcpy => "MEMCPY",
        Kind::Memset => "MEMSET",
        Kind::Driver => "DRIVER",
        Kind::Runtime => "RUNTIME",
        Kind::Device => "DEVICE",
        Kind::Context => "CONTEXT",
        Kind::Kernel => "CONCURRENT_KERNEL",
        Kind::Overhead => "OVERHEAD",
        Kind::MemcpyPeer => "MEMCPY2",
        Kind::CudaEvent => "CUDA_EVENT",
        Kind::Stream => "STREAM",
        Kind::Synchronization => "SYNCHRONIZATION",
        Kind::ExternalCorrelation => "EXTERNAL_CORRELATION",
        Kind::Memory => "MEMORY2",
        Kind::MemoryPool => "MEMORY_POOL",
        Kind::GraphTrace => "GRAPH_TRACE",
        Kind::Jit => "JIT",
    };
    format!("CUPTI_ACTIVITY_KIND_{name}")
}

/// The real libraries of CUDA 12 and 13.0 and 13.1 go through a buffer and tell names without a driver; later ones do
/// not work without one, and some of them crash, so they are left alone.
#[test]
fn real_libraries_stride_as_the_tables_say_and_know_the_names_of_calls() {
    for wheel in wheels() {
        let place = place_of(&wheel.version);
        if VERSIONS[place].0 > 130_101 {
            continue;
        }
        // SAFETY: the real library, whose initialisers need no driver.
        let library = unsafe { libloading::os::unix::Library::new(&wheel.library).unwrap() };
        let cupti = Cupti::of(library, wheel.library.clone()).unwrap();
        assert_eq!(cupti.version(), VERSIONS[place].0);
        for &kind in Kind::ALL {
            let mut buffer = vec![0u64; 512];
            let size = cupti.record_size(kind);
            assert_eq!(size, usize::from(forms(kind)[place].1));
            let words = size / 8;
            buffer[0] = kind as u64;
            buffer[words] = kind as u64;
            buffer[2 * words] = Kind::Runtime as u64;
            let valid = 2 * size + cupti.record_size(Kind::Runtime);
            let mut seen = Vec::new();
            // SAFETY: the buffer holds these records.
            let count = unsafe {
                cupti.each_record(buffer.as_mut_ptr().cast(), valid, |number, record| {
                    seen.push((number, record.map(|(kind, _)| kind)));
                })
            };
            let expected = [kind, kind, Kind::Runtime].map(|kind| (kind as u32, Some(kind)));
            assert_eq!((count, seen.as_slice()), (3, expected.as_slice()), "{kind:?} in CUDA {}", wheel.version);
        }
        let name = |domain, callback| cupti.callback_name(domain, callback).unwrap().to_str().unwrap().to_owned();
        for (domain, callback, expected) in [
            (DOMAIN_RUNTIME, 211, "cudaLaunchKernel_v7000"),
            (DOMAIN_RUNTIME, 430, "cudaLaunchKernelExC_v11060"),
            (DOMAIN_RUNTIME, 311, "cudaGraphLaunch_v10000"),
            (DOMAIN_RUNTIME, 131, "cudaStreamSynchronize_v3020"),
            (DOMAIN_RUNTIME, 17, "cudaGetDevice_v3020"),
            (DOMAIN_DRIVER, 307, "cuLaunchKernel"),
            (DOMAIN_DRIVER, 652, "cuLaunchKernelEx"),
            (DOMAIN_DRIVER, 304, "cuCtxGetCurrent"),
            (DOMAIN_DRIVER, 392, "cuDevicePrimaryCtxGetState"),
        ] {
            assert_eq!(name(domain, callback), expected, "CUDA {}", wheel.version);
        }
    }
}
