//! The tables of layouts against the headers of rocprofiler-sdk that packages bring: Triton's wheels, with part of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rocprofiler_sys::layout::{AGENT_GPU, Field, STRUCTURES, Source, Structure, VERSIONS};

/// Folders with headers; none, with a line, where they cannot be had.
fn includes() -> Vec<(String, PathBuf)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/gpu/setup-rocprofiler.sh");
    // Beside the build, wherever that is: target/debug/deps/this test.
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_path_buf();
    let output = Command::new("sh").arg(script).arg(target).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Vec<(String, PathBuf)> =
        text.lines().filter_map(|line| line.split_once(' ')).map(|(v, path)| (v.to_owned(), path.into())).collect();
    if found.len() < 2 {
        eprintln!("skipped for {} of 2 wheels: {}", 2 - found.len(), String::from_utf8_lossy(&output.stderr));
    }
    found
}

/// Bytes of a structure that may have grown, and the field's place in it.
fn lines(structure: &Structure, source: &mut String, expected: &mut String) {
    let name = structure.name;
    writeln!(source, "printf(\"{name} %d\\n\", sizeof({name}) >= {});", structure.bytes).unwrap();
    writeln!(expected, "{name} 1").unwrap();
    for Field { name: field, offset, bytes } in structure.fields {
        writeln!(
            source,
            "printf(\"{name}.{field} %zu %zu\\n\", offsetof({name}, {field}), sizeof((({name}*)0)->{field}));"
        )
        .unwrap();
        writeln!(expected, "{name}.{field} {offset} {bytes}").unwrap();
    }
}

#[test]
fn every_offset_that_published_headers_have_is_the_headers() {
    if Command::new("cc").arg("--version").output().is_err() {
        eprintln!("skipped: there is no cc");
        return;
    }
    let compiled: Vec<u32> =
        VERSIONS.iter().filter(|version| version.2 == Source::Compiled).map(|version| version.0).collect();
    let folder = tempfile::tempdir().unwrap();
    // Arguments of calls are not read; their headers need all of HIP.
    for what in ["hip", "marker"] {
        let inner = folder.path().join("rocprofiler-sdk").join(what);
        std::fs::create_dir_all(&inner).unwrap();
        let text = format!(
            "typedef struct {{ int x; }} rocprofiler_{what}_api_args_t;\n\
             typedef struct {{ int x; }} rocprofiler_{what}_api_retval_t;\n"
        );
        std::fs::write(inner.join("api_args.h"), text).unwrap();
    }
    for (wheel, include) in includes() {
        let texts: String = ["buffer_tracing.h", "callback_tracing.h", "agent.h"]
            .iter()
            .map(|file| std::fs::read_to_string(include.join("rocprofiler-sdk").join(file)).unwrap())
            .collect();
        let mut source = String::from(
            "#include <stdio.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <stdbool.h>\n\
             #include <rocprofiler-sdk/version.h>\n#include <rocprofiler-sdk/agent.h>\n\
             #include <rocprofiler-sdk/registration.h>\n#include <rocprofiler-sdk/buffer.h>\n\
             #include <rocprofiler-sdk/buffer_tracing.h>\n#include <rocprofiler-sdk/callback_tracing.h>\n\
             int main(void) {\n",
        );
        let mut expected = String::new();
        let mut checked = 0;
        for structure in STRUCTURES {
            // Only the newest form of those that the package brings.
            let is_newest =
                STRUCTURES.iter().all(|other| other.name != structure.name || other.since <= structure.since);
            if is_newest && texts.contains(structure.name) {
                checked += 1;
                lines(structure, &mut source, &mut expected);
            }
        }
        assert!(checked >= 4, "kernels, symbols, agents and their memory in {wheel}: {checked}");
        // What the library passes by value or reads of us, and the numbers that are not asked for by name.
        for (text, value) in [
            ("sizeof(rocprofiler_callback_tracing_record_t)", 64),
            ("offsetof(rocprofiler_callback_tracing_record_t, operation)", 44),
            ("offsetof(rocprofiler_callback_tracing_record_t, phase)", 48),
            ("offsetof(rocprofiler_callback_tracing_record_t, payload)", 56),
            ("sizeof(rocprofiler_correlation_id_t)", 24),
            ("offsetof(rocprofiler_correlation_id_t, ancestor)", 16),
            ("sizeof(rocprofiler_async_correlation_id_t)", 16),
            ("sizeof(rocprofiler_record_header_t)", 16),
            ("offsetof(rocprofiler_record_header_t, payload)", 8),
            ("sizeof(rocprofiler_tool_configure_result_t)", 32),
            ("offsetof(rocprofiler_tool_configure_result_t, initialize)", 8),
            ("offsetof(rocprofiler_tool_configure_result_t, finalize)", 16),
            ("offsetof(rocprofiler_tool_configure_result_t, tool_data)", 24),
            ("sizeof(rocprofiler_client_id_t)", 24),
            ("offsetof(rocprofiler_client_id_t, name)", 8),
            ("ROCPROFILER_BUFFER_CATEGORY_TRACING", 1),
            ("ROCPROFILER_BUFFER_POLICY_LOSSLESS", 2),
            ("ROCPROFILER_CODE_OBJECT_DEVICE_KERNEL_SYMBOL_REGISTER", 2),
            ("ROCPROFILER_CALLBACK_PHASE_LOAD", 1),
            ("ROCPROFILER_AGENT_INFO_VERSION_0", 1),
            ("ROCPROFILER_AGENT_TYPE_GPU", AGENT_GPU as usize),
            ("ROCPROFILER_STATUS_ERROR_KIND_NOT_FOUND", 4),
            ("ROCPROFILER_STATUS_ERROR_CONTEXT_CONFLICT", 12),
            ("ROCPROFILER_STATUS_ERROR_BUFFER_BUSY", 14),
            ("ROCPROFILER_STATUS_ERROR_CONFIGURATION_LOCKED", 16),
            ("ROCPROFILER_STATUS_ERROR_NOT_IMPLEMENTED", 17),
            ("ROCPROFILER_MEMORY_COPY_HOST_TO_HOST", 1),
            ("ROCPROFILER_MEMORY_COPY_HOST_TO_DEVICE", 2),
            ("ROCPROFILER_MEMORY_COPY_DEVICE_TO_HOST", 3),
            ("ROCPROFILER_MEMORY_COPY_DEVICE_TO_DEVICE", 4),
            ("ROCPROFILER_MEMORY_ALLOCATION_ALLOCATE", 1),
            ("ROCPROFILER_MEMORY_ALLOCATION_VMEM_ALLOCATE", 2),
            ("ROCPROFILER_MEMORY_ALLOCATION_FREE", 3),
            ("ROCPROFILER_MEMORY_ALLOCATION_VMEM_FREE", 4),
        ] {
            writeln!(source, "printf(\"{text} %zu\\n\", (size_t)({text}));").unwrap();
            writeln!(expected, "{text} {value}").unwrap();
        }
        source += "printf(\"version %d\\n\", 10000 * ROCPROFILER_SDK_VERSION_MAJOR + 100 * \
                   ROCPROFILER_SDK_VERSION_MINOR + ROCPROFILER_SDK_VERSION_PATCH);\nreturn 0; }\n";
        let (program, file) = (folder.path().join("probe"), folder.path().join("probe.c"));
        std::fs::write(&file, source).unwrap();
        let made = Command::new("cc")
            .arg("-w")
            .arg(&file)
            .arg("-o")
            .arg(&program)
            .arg(format!("-I{}", folder.path().display()))
            .arg(format!("-I{}", include.display()))
            .output()
            .unwrap();
        assert!(made.status.success(), "{wheel}: {}", String::from_utf8_lossy(&made.stderr));
        let found = String::from_utf8(Command::new(&program).output().unwrap().stdout).unwrap();
        for (found, expected) in found.lines().zip(expected.lines()) {
            assert_eq!(found, expected, "Triton {wheel}");
        }
        assert_eq!(found.lines().count(), expected.lines().count() + 1);
        let version: u32 = found.lines().last().unwrap().strip_prefix("version ").unwrap().parse().unwrap();
        assert!(compiled.contains(&version), "Triton {wheel} brings rocprofiler-sdk {version}: note it in VERSIONS");
        eprintln!("Triton {wheel}: rocprofiler-sdk {version}, {checked} structures");
    }
}
