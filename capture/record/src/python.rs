//! The Python hook, carried in the program and written to the recording's scratch folder at the start.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::folder;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../python/gapless_hook/", $name)))),*]
    };
}

/// All files of the hook, by their path below its folder.
const FILES: [(&str, &str); 16] = files![
    "sitecustomize.py",
    "gapless.py",
    "_gapless/__init__.py",
    "_gapless/collective_functions.py",
    "_gapless/collectives.py",
    "_gapless/dataloader.py",
    "_gapless/facts.py",
    "_gapless/gc_events.py",
    "_gapless/imports.py",
    "_gapless/library.py",
    "_gapless/pth.py",
    "_gapless/stepaside.py",
    "_gapless/steps.py",
    "_gapless/threads.py",
    "_gapless/torch_ops.py",
    "_gapless/trouble.py",
];

/// Writes the hook below `scratch`, for its owner alone. Gives the folder that belongs in front of `PYTHONPATH`.
///
/// # Errors
/// What the system says.
pub fn write_hook(scratch: &Path) -> io::Result<PathBuf> {
    let root = scratch.join("python");
    let make = |path: &Path| DirBuilder::new().mode(0o700).create(path);
    make(&root)?;
    make(&root.join("_gapless"))?;
    for (name, text) in FILES {
        folder::create_file(&root.join(name))?.write_all(text.as_bytes())?;
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_is_written_whole() -> io::Result<()> {
        let scratch = tempfile::tempdir()?;
        let root = write_hook(scratch.path())?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/gapless_hook");
        let mut found = 0;
        for folder in ["", "_gapless"] {
            for entry in std::fs::read_dir(source.join(folder))? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "py") {
                    let below = path.strip_prefix(&source).map_err(io::Error::other)?;
                    assert_eq!(std::fs::read(root.join(below))?, std::fs::read(&path)?, "{}", below.display());
                    found += 1;
                }
            }
        }
        assert_eq!(found, FILES.len(), "a file of the hook is not carried");
        Ok(())
    }
}
