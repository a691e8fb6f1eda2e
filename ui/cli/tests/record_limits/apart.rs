//! Recordings beside and inside each other, and manifests that lead elsewhere.

use super::*;

#[test]
fn two_recordings_at_once_and_one_inside_another_keep_apart() {
    let Some(python) = python() else { return };
    let scratch = Scratch::new();
    scratch.write("steps.py", STEPS);
    let job = [python, "steps.py", "200"];
    let start = |folder: &str| {
        recorded(&scratch, "", &["-o", folder], &job).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (one, two) = (start("one"), start("two"));
    for (folder, child) in [("one", one), ("two", two)] {
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "done\n"));
        assert_eq!(events(&info(&scratch, folder), "step"), 200, "{folder}");
        no_rings_left(&manifest(&scratch, folder));
    }
    let inner = [env!("CARGO_BIN_EXE_gapless"), "record", "-q", "-o", "inner", "--", job[0], job[1], job[2]];
    let with = recorded(&scratch, "", &["-o", "outer"], &inner).output().unwrap();
    let said = said(&alone(&scratch, "", &job).output().unwrap(), &with);
    assert!(problems(&said).len() <= 1, "{said:#?}");
    assert_eq!(events(&info(&scratch, "inner"), "step"), 200);
    for folder in ["outer", "inner"] {
        no_rings_left(&manifest(&scratch, folder));
        assert_eq!(manifest(&scratch, folder)["finished"], Value::from(true));
    }
}

/// A recorder that was killed leaves a manifest; whoever writes one by hand must not lead `gapless` out of the folder.
#[test]
fn a_manifest_that_leads_elsewhere_moves_nothing_there() {
    let Some(job) = limits_job() else { return };
    let scratch = Scratch::new();
    let mut child =
        recorded(&scratch, "", &["-q", "-o", "run"], &[job, "loops", "200000"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    // It dies when it has begun to write.
    let has_trace = || {
        let files = std::fs::read_dir(scratch.path().join("run")).unwrap().map(Result::unwrap);
        let manifest = std::fs::read_to_string(scratch.path().join("run/manifest.json")).unwrap_or_default();
        manifest.contains(".pftrace")
            && files
                .filter(|file| file.path().extension().is_some_and(|ending| ending == "pftrace"))
                .any(|file| file.metadata().unwrap().len() > 0)
    };
    while !has_trace() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(lines.map(Result::unwrap).last().as_deref(), Some("200000"));
    std::thread::sleep(Duration::from_millis(100));
    let original = manifest(&scratch, "run");
    let rings = PathBuf::from(original["recorder"]["rings"].as_str().unwrap());

    // A folder of the user that is named as ours are, with a ring and other things in it.
    let private = scratch.path().join("gapless-private");
    std::fs::create_dir(&private).unwrap();
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o700)).unwrap();
    scratch.write("gapless-private/thesis.txt", "years of work");
    scratch.write("gapless-private/deep/more.txt", "more of it");
    for entry in std::fs::read_dir(&rings).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().ends_with(".ring") {
            // The ring of a job, sparse as it is.
            assert!(
                Command::new("cp").arg("--sparse=always").arg(entry.path()).arg(&private).status().unwrap().success()
            );
        }
    }
    scratch.write("outside", "not a trace");
    let before = tree(&private);
    let write = |change: &dyn Fn(&mut Value)| {
        let mut manifest = original.clone();
        change(&mut manifest);
        scratch.write("run/manifest.json", manifest.to_string());
    };
    let shm_like = PathBuf::from("/dev/shm").join(format!("gapless-private-{}", std::process::id()));
    std::fs::create_dir(&shm_like).unwrap();
    std::fs::set_permissions(&shm_like, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(shm_like.join("thesis.txt"), "years of work").unwrap();
    for rings in [private.to_str().unwrap(), shm_like.to_str().unwrap(), "/", "", "..", "/dev/shm"] {
        write(&|manifest| manifest["recorder"]["rings"] = Value::from(rings));
        let output = scratch.command(&["info", "--json", "run"]).output().unwrap();
        assert!(output.status.success(), "{rings}: {}", text(&output.stderr));
        assert!(text(&output.stderr).lines().count() <= 1, "{rings}: {}", text(&output.stderr));
        assert!(private.join("thesis.txt").exists(), "{rings}");
        assert_eq!(tree(&private), before, "{rings}");
        assert!(shm_like.join("thesis.txt").exists(), "{rings}");
        assert!(Path::new(&original["recorder"]["rings"].as_str().unwrap()).exists(), "{rings}");
    }
    std::fs::remove_dir_all(&shm_like).unwrap();
    let trace = original["processes"][0]["trace"].as_str().unwrap().to_owned();
    for elsewhere in ["../outside", "..", "/", "", scratch.path().join("outside").to_str().unwrap()] {
        write(&|manifest| manifest["processes"][0]["trace"] = Value::from(elsewhere));
        let output = scratch.command(&["info", "--json", "run"]).output().unwrap();
        assert!(
            output.status.success() && text(&output.stderr).lines().count() <= 1,
            "{elsewhere}: {}",
            text(&output.stderr)
        );
        assert_eq!(std::fs::read(scratch.path().join("outside")).unwrap(), b"not a trace", "{elsewhere}");
    }
    // A link in the folder, to a file and to a device that never ends.
    let path = scratch.path().join("run").join(&trace);
    for target in [scratch.path().join("outside"), PathBuf::from("/dev/zero")] {
        std::fs::rename(&path, scratch.path().join("kept")).unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        write(&|_| {});
        let mut limited = shell(
            &scratch,
            "ulimit -v 4000000",
            &[env!("CARGO_BIN_EXE_gapless"), "info", "--json", "run"].map(OsString::from),
        );
        let output = limited.output().unwrap();
        assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
        assert!(output.status.code().is_some(), "{:?}", output.status);
        assert_eq!(std::fs::read(scratch.path().join("outside")).unwrap(), b"not a trace");
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(scratch.path().join("kept"), &path).unwrap();
    }
    // As it was, it can still be finished, and its rings go.
    write(&|_| {});
    let found = events(&info(&scratch, "run"), "annotation");
    assert_eq!(found, 200_000);
    no_rings_left(&original);
}

/// Names and contents of all files below a folder, but not of rings, which are large.
pub(crate) fn tree(folder: &Path) -> Vec<(PathBuf, usize)> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                left.push(entry.path());
            } else {
                found.push((entry.path(), meta.len() as usize));
            }
        }
    }
    found.sort();
    found
}
