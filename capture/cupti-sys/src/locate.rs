//! Which CUPTI belongs to the CUDA of this process.

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// A place where CUPTI may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// A path, or a name that the loader looks up.
    pub path: PathBuf,
    /// Take it only where it is loaded already.
    pub is_loaded: bool,
}

/// Whether the driver's library is in this process. Looks, and loads nothing.
pub fn is_driver_loaded() -> bool {
    loaded(c"libcuda.so.1").is_some()
}

/// The library of this name where the process has it already.
fn loaded(name: &CStr) -> Option<Library> {
    // SAFETY: RTLD_NOLOAD runs no initialiser: it only takes a further reference to a library that is there.
    unsafe { Library::open(Some(std::ffi::OsStr::new(name.to_str().ok()?)), libc::RTLD_NOW | libc::RTLD_NOLOAD).ok() }
}

/// The major version of the CUDA that this process runs: of the runtime that it has loaded, else of the driver.
pub(crate) fn cuda_major() -> u32 {
    for (major, name) in [(13, c"libcudart.so.13"), (12, c"libcudart.so.12")] {
        if loaded(name).is_some() {
            return major;
        }
    }
    driver_version().map_or(13, |version| version / 1000)
}

/// What `cuDriverGetVersion` says: 13050 for CUDA 13.5.
pub fn driver_version() -> Option<u32> {
    let driver = loaded(c"libcuda.so.1")?;
    // SAFETY: the function of this name has this signature and may be called before `cuInit`.
    unsafe {
        let ask = driver.get::<unsafe extern "C" fn(*mut c_int) -> c_int>(b"cuDriverGetVersion\0").ok()?;
        let mut version = 0;
        (ask(&mut version) == 0).then_some(u32::try_from(version).ok()?)
    }
}

/// Where to look for CUPTI of this major version, best first: what the user names, what is loaded, what lies beside the
/// loaded CUDA runtime (packages from PyPI), what the loader finds, where toolkits are installed.
pub fn candidates(major: u32) -> Vec<Candidate> {
    candidates_of(major, &|name| std::env::var_os(name).map(PathBuf::from), &loaded_paths())
}

fn candidates_of(major: u32, variable: &dyn Fn(&str) -> Option<PathBuf>, images: &[PathBuf]) -> Vec<Candidate> {
    let name = format!("libcupti.so.{major}");
    if let Some(path) = variable("GAPLESS_CUPTI") {
        return vec![Candidate { path, is_loaded: false }];
    }
    let mut found = vec![Candidate { path: PathBuf::from(&name), is_loaded: true }];
    let mut add = |path: PathBuf| {
        if !found.iter().any(|known| !known.is_loaded && known.path == path) {
            found.push(Candidate { path, is_loaded: false });
        }
    };
    for image in images {
        let is_runtime = image.file_name().is_some_and(|file| {
            let file = file.to_string_lossy();
            ["libcudart.so", "libcupti.so", "libcublas.so", "libnvrtc.so"].iter().any(|known| file.starts_with(known))
        });
        let Some(folder) = image.parent().filter(|_| is_runtime) else { continue };
        // nvidia/cu13/lib holds all of CUDA 13; nvidia/cuda_runtime/lib is a package beside nvidia/cuda_cupti/lib.
        for place in [folder.join(&name), folder.join("../../cuda_cupti/lib").join(&name)] {
            if place.is_file() {
                add(place);
            }
        }
    }
    add(PathBuf::from(&name));
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(variable);
    let usual = [PathBuf::from(format!("/usr/local/cuda-{major}")), PathBuf::from("/usr/local/cuda")];
    for toolkit in toolkits.chain(usual) {
        add(toolkit.join("extras/CUPTI/lib64").join(&name));
        add(toolkit.join("lib64").join(&name));
    }
    found
}

/// Opens a candidate.
pub(crate) fn open(candidate: &Candidate) -> Option<Library> {
    if candidate.is_loaded {
        let name = CString::new(candidate.path.to_string_lossy().into_owned()).ok()?;
        return loaded(&name);
    }
    if candidate.path.is_absolute() && !candidate.path.is_file() {
        return None;
    }
    // SAFETY: loading CUPTI runs its initialisers, which is what was asked for.
    unsafe { Library::open(Some(&candidate.path), RTLD_NOW | RTLD_LOCAL).ok() }
}

/// Files of the images of this process.
fn loaded_paths() -> Vec<PathBuf> {
    unsafe extern "C" fn collect(info: *mut libc::dl_phdr_info, _bytes: usize, paths: *mut std::ffi::c_void) -> c_int {
        // SAFETY: the loader gives a valid entry; `paths` is what is passed below.
        unsafe {
            let name: *const c_char = (*info).dlpi_name;
            if !name.is_null() && *name != 0 {
                let path = CStr::from_ptr(name).to_string_lossy().into_owned();
                (*paths.cast::<Vec<PathBuf>>()).push(Path::new(&path).to_path_buf());
            }
        }
        0
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    // SAFETY: the callback gets the vector back, and only during this call.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut paths).cast()) };
    paths
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn packages_beside_the_runtime_come_before_toolkits() {
        let folder = tempfile::tempdir().unwrap();
        let site = folder.path().join("nvidia");
        let runtime = site.join("cuda_runtime/lib/libcudart.so.12");
        let cupti = site.join("cuda_cupti/lib/libcupti.so.12");
        for file in [&runtime, &cupti] {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        let variable = |name: &str| (name == "CUDA_HOME").then(|| PathBuf::from("/opt/cuda"));
        let found = candidates_of(12, &variable, std::slice::from_ref(&runtime));
        let paths: Vec<String> = found.iter().map(|found| found.path.display().to_string()).collect();
        let beside = runtime.parent().unwrap().join("../../cuda_cupti/lib/libcupti.so.12").display().to_string();
        assert_eq!(
            paths.get(..4).unwrap(),
            ["libcupti.so.12", beside.as_str(), "libcupti.so.12", "/opt/cuda/extras/CUPTI/lib64/libcupti.so.12"]
        );
        assert_eq!(found.iter().filter(|found| found.is_loaded).count(), 1);

        let named = |name: &str| (name == "GAPLESS_CUPTI").then(|| PathBuf::from("/x/libcupti.so"));
        let only = Candidate { path: PathBuf::from("/x/libcupti.so"), is_loaded: false };
        assert_eq!(candidates_of(12, &named, &[runtime]), [only]);
    }

    #[test]
    fn without_a_driver_nothing_is_loaded() {
        // Neither this test nor its libraries use CUDA.
        assert!(!is_driver_loaded());
        assert!(matches!(crate::Cupti::load(), Err(crate::CuptiError::NoDriver)));
    }
}
