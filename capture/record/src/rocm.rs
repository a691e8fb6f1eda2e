//! Where AMD's rocprofiler-sdk is, and how a job is told of our tool.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The tools that rocprofiler-sdk loads, separated by colons.
pub const TOOLS: &str = "ROCP_TOOL_LIBRARIES";

/// Where rocprofiler-sdk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where the loader finds it by name, whichever HIP a job brings.
    ByName(PathBuf),
    /// In a folder of ROCm where the loader does not look: only a HIP from beside it finds it.
    InRocm(PathBuf),
}

/// Where a job finds rocprofiler-sdk, by its variables: `LD_LIBRARY_PATH`, the loader's cache and the folders of the system;
/// else what `ROCM_PATH` names and `/opt/rocm`.
pub fn find(variable: &impl Fn(&str) -> Option<OsString>) -> Option<Place> {
    find_below(Path::new("/"), variable)
}

const NAME: &str = "librocprofiler-sdk.so";

fn find_below(root: &Path, variable: &impl Fn(&str) -> Option<OsString>) -> Option<Place> {
    let named = variable("LD_LIBRARY_PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&named).filter(|path| path.is_absolute()).collect();
    let triple = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    folders.extend([&triple, "usr/lib64", "usr/lib"].map(|path| root.join(path)));
    if let Some(found) = in_folders(&folders) {
        return Some(Place::ByName(found));
    }
    // The cache names files with their folders, each ended by a zero byte.
    let cache = std::fs::read(root.join("etc/ld.so.cache")).unwrap_or_default();
    let path = format!("/{NAME}");
    let is_it = |entry: &&[u8]| entry.windows(path.len()).any(|part| part == path.as_bytes());
    if let Some(entry) = cache.split(|&byte| byte == 0).find(is_it) {
        return Some(Place::ByName(PathBuf::from(String::from_utf8_lossy(entry).into_owned())));
    }
    let rocm = ["ROCM_PATH", "ROCM_HOME", "HIP_PATH"].into_iter().filter_map(variable).filter(|path| !path.is_empty());
    let mut folders: Vec<PathBuf> = rocm.map(|path| PathBuf::from(path).join("lib")).collect();
    folders.push(root.join("opt/rocm/lib"));
    in_folders(&folders).map(Place::InRocm)
}

fn in_folders(folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().find_map(|folder| {
        let files = std::fs::read_dir(folder).ok()?;
        let is_it = |path: &PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(NAME));
        files.flatten().map(|file| file.path()).filter(is_it).min()
    })
}

/// The variable's value with our tool behind those of the user.
///
/// rocprofiler-sdk forgets what stands behind the last colon of a list, as its documentation warns, so a list ends with
/// one; one tool alone has none.
pub(crate) fn with_tool(tool: &Path, tools: Option<OsString>) -> OsString {
    let is_ours = |word: &[u8]| word == tool.as_os_str().as_encoded_bytes();
    match tools.filter(|tools| !tools.is_empty() && !is_ours(tools.as_encoded_bytes())) {
        None => tool.as_os_str().to_owned(),
        Some(tools) if tools.as_encoded_bytes().split(|&byte| byte == b':').any(is_ours) => tools,
        Some(mut tools) => {
            if !tools.as_encoded_bytes().ends_with(b":") {
                tools.push(OsStr::new(":"));
            }
            tools.push(tool);
            tools.push(OsStr::new(":"));
            tools
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn tools_of_the_user_stay_and_lists_end_with_a_colon() {
        let with = |tools: Option<&str>| with_tool(Path::new("/g/lib.so"), tools.map(OsString::from));
        assert_eq!(with(None), "/g/lib.so");
        assert_eq!(with(Some("")), "/g/lib.so");
        assert_eq!(with(Some("/g/lib.so")), "/g/lib.so");
        assert_eq!(with(Some("/a.so")), "/a.so:/g/lib.so:");
        assert_eq!(with(Some("/a.so:/b.so:")), "/a.so:/b.so:/g/lib.so:");
        assert_eq!(with(Some("/a.so:/g/lib.so:")), "/a.so:/g/lib.so:");
    }

    #[test]
    fn it_is_found_where_rocm_is_and_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let none = |_: &str| None;
        assert_eq!(find_below(root.path(), &none), None);
        let lib = root.path().join("opt/rocm/lib");
        std::fs::create_dir_all(&lib).unwrap();
        std::fs::write(lib.join("librocprofiler-sdk-roctx.so.1"), "").unwrap();
        assert_eq!(find_below(root.path(), &none), None);
        let file = lib.join("librocprofiler-sdk.so.1");
        std::fs::write(&file, "").unwrap();
        assert_eq!(find_below(root.path(), &none), Some(Place::InRocm(file.clone())));
        let named = |name: &str| (name == "LD_LIBRARY_PATH").then(|| lib.clone().into_os_string());
        assert_eq!(find_below(root.path(), &named), Some(Place::ByName(file)));
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        let cache = b"glibc-ld.so.cache1.1\0\x01\0librocprofiler-sdk.so.1\0/opt/rocm-6.4/lib/librocprofiler-sdk.so.1\0";
        std::fs::write(root.path().join("etc/ld.so.cache"), cache).unwrap();
        let found = PathBuf::from("/opt/rocm-6.4/lib/librocprofiler-sdk.so.1");
        assert_eq!(find_below(root.path(), &none), Some(Place::ByName(found)));
    }
}
