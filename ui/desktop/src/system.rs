//! Whether a window can open here, found out before any library is loaded: the windowing crates panic when one of
//! theirs is missing, and a panic says nothing that a user can act on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A library that is loaded at run time, and the Debian or Ubuntu package that holds it.
struct Library {
    /// File name as the loader looks it up.
    file: &'static str,
    /// Package.
    package: &'static str,
}

/// What X11 windows need.
const X11: &[Library] = &[
    Library { file: "libX11.so.6", package: "libx11-6" },
    Library { file: "libX11-xcb.so.1", package: "libx11-xcb1" },
    Library { file: "libXcursor.so.1", package: "libxcursor1" },
    Library { file: "libXi.so.6", package: "libxi6" },
    Library { file: "libxkbcommon-x11.so.0", package: "libxkbcommon-x11-0" },
];

/// What Wayland windows need.
const WAYLAND: &[Library] = &[
    Library { file: "libwayland-client.so.0", package: "libwayland-client0" },
    Library { file: "libxkbcommon.so.0", package: "libxkbcommon0" },
];

/// What draws: one of Vulkan and OpenGL is enough.
const VULKAN: &[Library] = &[Library { file: "libvulkan.so.1", package: "libvulkan1 mesa-vulkan-drivers" }];
const OPENGL: &[Library] = &[
    Library { file: "libEGL.so.1", package: "libegl1" },
    Library { file: "libGL.so.1", package: "libgl1 libgl1-mesa-dri" },
];

/// The part of the surroundings that decides.
struct Surroundings<'a> {
    display: Option<&'a str>,
    wayland_display: Option<&'a str>,
    has_library: &'a dyn Fn(&str) -> bool,
}

/// Why no window can open here, and what to do; `None` when nothing is known to be missing.
#[must_use]
pub fn display_problem() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (display, wayland_display) =
        (variable("DISPLAY"), variable("WAYLAND_DISPLAY").or_else(|| variable("WAYLAND_SOCKET")));
    let folders = library_folders();
    problem(&Surroundings {
        display: display.as_deref(),
        wayland_display: wayland_display.as_deref(),
        has_library: &|file| folders.iter().any(|folder| folder.join(file).exists()),
    })
}

/// What to say when the window did not open although nothing was known to be missing.
#[must_use]
pub(crate) fn advice_after_failure() -> &'static str {
    "the graphics driver may be missing or too old; for software drawing install\n  \
     apt install mesa-vulkan-drivers libgl1-mesa-dri libegl1 libgl1\n\
     without a window, `gapless open … --screenshot out.png` makes a picture and `gapless analyze …` prints the report"
}

fn problem(surroundings: &Surroundings<'_>) -> Option<String> {
    let no_window = "without a window, `gapless open … --screenshot out.png` makes a picture and \
                     `gapless analyze …` prints the report";
    let windows = match (surroundings.wayland_display, surroundings.display) {
        (None, None) => {
            return Some(format!("there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)\n{no_window}"));
        }
        (Some(_), None) => WAYLAND,
        // With both, a missing Wayland library lets the window fall back to X11, so that X11 decides.
        (_, Some(_)) => X11,
    };
    let is_missing = |library: &&Library| !(surroundings.has_library)(library.file);
    let mut missing: Vec<_> = windows.iter().filter(is_missing).collect();
    let lacks_vulkan = VULKAN.iter().any(|library| is_missing(&library));
    let lacks_opengl = OPENGL.iter().any(|library| is_missing(&library));
    if lacks_vulkan && lacks_opengl {
        missing.extend(OPENGL.iter().filter(is_missing));
    }
    if missing.is_empty() {
        return None;
    }
    let files: Vec<_> = missing.iter().map(|library| library.file).collect();
    let packages: Vec<_> = missing.iter().map(|library| library.package).collect();
    Some(format!(
        "a window needs system libraries that are not installed: {}\non Debian and Ubuntu:\n  apt install {}\n{no_window}",
        files.join(", "),
        packages.join(" "),
    ))
}

/// The folders where the dynamic loader looks, as far as they can be known without it.
fn library_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(paths) = std::env::var_os("LD_LIBRARY_PATH") {
        folders.extend(std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()));
    }
    let mut seen = BTreeSet::new();
    read_loader_config(Path::new("/etc/ld.so.conf"), &mut folders, &mut seen);
    let machine = std::env::consts::ARCH;
    for folder in ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"] {
        folders.push(PathBuf::from(folder));
        folders.push(Path::new(folder).join(format!("{machine}-linux-gnu")));
    }
    folders.push(PathBuf::from("/run/opengl-driver/lib"));
    folders
}

/// Reads `/etc/ld.so.conf` and what it includes (`include /etc/ld.so.conf.d/*.conf`).
fn read_loader_config(path: &Path, folders: &mut Vec<PathBuf>, seen: &mut BTreeSet<PathBuf>) {
    if !seen.insert(path.to_owned()) {
        return;
    }
    let Ok(text) = std::fs::read_to_string(path) else { return };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include ") {
            let Some(folder) = Path::new(pattern.trim()).parent() else { continue };
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
            files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
            files.sort();
            for file in files {
                read_loader_config(&file, folders, seen);
            }
        } else if line.starts_with('/') {
            folders.push(PathBuf::from(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(display: Option<&str>, wayland_display: Option<&str>, missing: &[&str]) -> Option<String> {
        problem(&Surroundings { display, wayland_display, has_library: &|file| !missing.contains(&file) })
    }

    #[test]
    fn no_display_names_what_works_without_one() {
        let text = check(None, None, &[]).expect("a problem");
        assert!(text.contains("no display"), "{text}");
        assert!(text.contains("--screenshot out.png") && text.contains("gapless analyze"), "{text}");
    }

    #[test]
    fn missing_libraries_name_their_packages() {
        let text = check(Some(":0"), None, &["libxkbcommon-x11.so.0", "libXi.so.6"]).expect("a problem");
        assert!(text.contains("apt install libxi6 libxkbcommon-x11-0"), "{text}");
        assert_eq!(check(Some(":0"), None, &[]), None);
        // An X11 library is not missed on Wayland.
        assert_eq!(check(None, Some("wayland-0"), &["libXi.so.6"]), None);
    }

    #[test]
    fn one_of_vulkan_and_opengl_is_enough() {
        assert_eq!(check(Some(":0"), None, &["libvulkan.so.1"]), None);
        assert_eq!(check(Some(":0"), None, &["libEGL.so.1", "libGL.so.1"]), None);
        let text = check(Some(":0"), None, &["libvulkan.so.1", "libEGL.so.1"]).expect("a problem");
        assert!(text.contains("libegl1"), "{text}");
    }
}
