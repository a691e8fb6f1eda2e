//! What the app's start screen and its following of recordings need of this machine.

use std::path::Path;

use gapless_control::doctor::{DoctorOptions, State, examine};
use gapless_desktop::{Ability, CheckLine, MachineCheck, Recording, RecordingState};
use gapless_record::manifest::Manifest;
use gapless_record::recover;

/// This machine and this program.
#[derive(Debug)]
pub struct Here;

impl Recording for Here {
    fn program(&self) -> String {
        let own = std::env::current_exe().ok();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join("gapless")).find(|file| file.is_file());
        let is_found =
            found.and_then(|file| file.canonicalize().ok()) == own.as_ref().and_then(|own| own.canonicalize().ok());
        match own {
            Some(own) if !is_found => own.to_string_lossy().into_owned(),
            _ => "gapless".to_owned(),
        }
    }

    fn check(&self) -> Result<MachineCheck, String> {
        let report = examine(&DoctorOptions::default());
        let line = |finding: gapless_control::doctor::Finding| CheckLine {
            title: finding.title.to_owned(),
            ability: match finding.state {
                State::Yes => Ability::Yes,
                State::Partly => Ability::Partly,
                State::No => Ability::No,
                State::Unknown => Ability::Unknown,
            },
            reason: finding.reason,
            fix: finding.fix,
        };
        Ok(MachineCheck { machine: report.machine, lines: report.findings.into_iter().map(line).collect() })
    }

    fn recording(&self, folder: &Path) -> Option<RecordingState> {
        let is_running = recover::state(folder)? == recover::State::Running;
        let began_unix_ns = Manifest::read(folder).ok()?.start_unix_ns;
        Some(RecordingState { is_running, began_unix_ns })
    }
}
