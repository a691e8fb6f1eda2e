//! What the job's own Python says of its packages.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::machine::Machine;
use crate::sys;

/// Asks for versions from the packages' metadata, and looks for two strings in torch's library; imports no package.
const SCRIPT: &str = include_str!("packages.py");
/// What the script says begins with this, so that nothing that the user's own start-up prints is taken for it.
const MARK: &str = "gapless-doctor ";
/// How long a Python may take to start and answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// No command was given.
    NotGiven,
    /// Its first word is not a Python.
    Other {
        /// That word.
        program: String,
        /// The Python in its first line, when it is a script for one (torchrun is).
        python: Option<String>,
    },
    /// Its Python did not answer.
    Silent {
        /// That Python.
        program: String,
        /// Why.
        reason: String,
    },
    /// Its Python answered.
    Python(Box<Python>),
}

/// What the job's Python said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Python {
    /// The interpreter's file.
    pub executable: String,
    /// `3.11.7`
    pub version: String,
    /// Versions by name, of those packages that are there.
    pub packages: BTreeMap<String, String>,
    /// Whether torch's library can load an ITT collector; none when there is no torch or the library was not found.
    pub has_itt: Option<bool>,
    /// Whether torch's library can be told of the folder of our socket; none as above.
    pub has_kineto_socket: Option<bool>,
    /// Options of the command that keep our hook from being loaded: `-E`, `-I` or `-S`.
    #[serde(skip)]
    pub isolating: Option<String>,
}

impl Python {
    /// The version of a package.
    pub fn package(&self, name: &str) -> Option<&str> {
        self.packages.get(name).map(String::as_str)
    }
}

/// `python`, `python3`, `python3.12`, with any folder before it.
fn is_python(word: &OsStr) -> bool {
    let name = Path::new(word).file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("python").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.' || c == 't'))
}

/// Single-letter options before the script that switch off the environment or `site`.
fn isolating(words: &[OsString]) -> Option<String> {
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        let word = word.to_str()?;
        if word == "-" || !word.starts_with('-') {
            return None;
        }
        if word == "--check-hash-based-pycs" {
            // The only long option that takes a word of its own.
            words.next();
        }
        if word.starts_with("--") {
            continue;
        }
        for letter in word.chars().skip(1) {
            match letter {
                'E' | 'I' | 'S' => return Some(format!("-{letter}")),
                // The rest of the word, or the next one, is their value; after these two come the job's own words.
                'c' | 'm' => return None,
                'W' | 'X' => {
                    if word.ends_with(letter) {
                        words.next();
                    }
                    break;
                }
                _ => {}
            }
        }
    }
    None
}

impl Job {
    /// Looks at a command; starts its first word when that is a Python.
    pub fn ask(command: &[OsString], machine: &Machine) -> Self {
        let Some(word) = command.first() else { return Self::NotGiven };
        let program = word.to_string_lossy().into_owned();
        if !is_python(word) {
            return Self::Other { program, python: script_python(word, machine) };
        }
        match run(word) {
            Ok(said) => match said.lines().find_map(|line| line.strip_prefix(MARK)).map(serde_json::from_str::<Python>)
            {
                Some(Ok(python)) => Self::Python(Box::new(Python { isolating: isolating(command), ..python })),
                _ => Self::Silent { program, reason: "it did not answer what it was asked".into() },
            },
            Err(reason) => Self::Silent { program, reason },
        }
    }

    /// The Python, when it answered.
    pub fn python(&self) -> Option<&Python> {
        match self {
            Self::Python(python) => Some(python),
            _ => None,
        }
    }

    /// One line on what was found.
    pub fn describe(&self) -> Option<String> {
        let python = self.python()?;
        let mut text = format!("Python {}", python.version);
        for (name, version) in &python.packages {
            text.push_str(&format!(", {name} {version}"));
        }
        Some(format!("{text} ({})", python.executable))
    }

    /// Why nothing is known of the packages, and what to do; none when the Python answered.
    pub(crate) fn unknown(&self) -> Option<(String, String)> {
        let doctor = "gapless doctor -- python train.py";
        match self {
            Self::NotGiven => Some(("no command was given".into(), format!("name the job: {doctor}"))),
            Self::Other { program, python: Some(python) } => Some((
                format!("{program} is a script of {python}, which was not asked"),
                format!("name the job's Python: gapless doctor -- {python} train.py"),
            )),
            Self::Other { program, python: None } => Some((
                format!("{program} is not a Python, so none was asked"),
                format!("name the job's Python: {doctor}"),
            )),
            Self::Silent { program, reason } => Some((
                format!("{program} could not be asked: {reason}"),
                "see whether the command starts by hand".into(),
            )),
            Self::Python(_) => None,
        }
    }
}

/// The Python that a script's first line names.
fn script_python(word: &OsStr, machine: &Machine) -> Option<String> {
    let paths: Vec<PathBuf> = if word.to_string_lossy().contains('/') {
        vec![word.into()]
    } else {
        let folders = machine.variable("PATH").unwrap_or_default();
        std::env::split_paths(folders).map(|folder| folder.join(word)).collect()
    };
    let mut head = Vec::new();
    let file = paths.iter().find_map(|path| std::fs::File::open(path).ok())?;
    file.take(512).read_to_end(&mut head).ok()?;
    let line = String::from_utf8_lossy(&head).lines().next()?.strip_prefix("#!")?.trim().to_owned();
    let words: Vec<_> = line.split_whitespace().collect();
    let python = words.iter().find(|word| is_python(OsStr::new(word)))?;
    Some((*python).to_owned())
}

/// Runs the script with a bound on time and output.
fn run(python: &OsStr) -> Result<String, String> {
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A group of its own: whatever it starts ends with it when it takes too long.
    let mut child = command.process_group(0).spawn().map_err(|e| e.to_string())?;
    let Some(output) = child.stdout.take() else { return Err("it has no output".into()) };
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = output.take(1024 * 1024).read_to_end(&mut text);
        // Nobody may wait any more.
        let _ = sender.send(text);
    });
    let begin = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break status,
            None if begin.elapsed() > PATIENCE => {
                let _ = sys::kill_group(child.id());
                let _ = child.wait();
                return Err(format!("it did not answer within {} s", PATIENCE.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    if !status.success() {
        return Err(format!("it ended with {status}"));
    }
    // Something that it left running may hold its output open.
    let text = receiver.recv_timeout(Duration::from_secs(5)).map_err(|_| "its output does not end".to_owned())?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pythons_own_options_isolate() {
        for (line, expected) in [
            ("python3 -I train.py", Some("-I")),
            ("python3 -uE train.py", Some("-E")),
            ("python3 -X dev -W ignore -S train.py", Some("-S")),
            ("python3 -XI -Wignore::E train.py", None),
            ("python3 -Wignore -m torch.distributed.run -E", None),
            ("python3 -c -I", None),
            ("python3 -uc -I", None),
            ("python3 - -I", None),
            ("python3 train.py -I", None),
            ("python3 --check-hash-based-pycs never -I train.py", Some("-I")),
            ("python3", None),
        ] {
            let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(isolating(&words).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn names_of_pythons() {
        for name in ["python", "python3", "python3.12", "python3.13t", "/v/bin/python"] {
            assert!(is_python(OsStr::new(name)), "{name}");
        }
        for name in ["", "python-config", "pythonw", "ipython3", "python3-dbg", "pypy3", "/python3/x"] {
            assert!(!is_python(OsStr::new(name)), "{name}");
        }
    }
}
