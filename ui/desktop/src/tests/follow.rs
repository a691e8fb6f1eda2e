//! Recording and following: the start screen's offer, and a folder that grows while it is open.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use gapless_trace::Timestamp;

use super::user::{User, model};
use crate::app::App;
use crate::record::{Ability, CheckLine, MachineCheck, Recording, RecordingState};
use crate::{ThemeChoice, state::Window};

/// A machine of which all is known.
#[derive(Debug, Default)]
struct Machine {
    is_running: AtomicBool,
}

impl Recording for Machine {
    fn program(&self) -> String {
        "gapless".to_owned()
    }

    fn check(&self) -> Result<MachineCheck, String> {
        let line = |title: &str, ability, fix: Option<&str>| CheckLine {
            title: title.to_owned(),
            ability,
            reason: format!("{title}, looked at"),
            fix: fix.map(str::to_owned),
        };
        let lines = vec![
            line("PyTorch operators", Ability::Yes, None),
            line("Native samples", Ability::No, Some("sysctl kernel.perf_event_paranoid=2")),
        ];
        Ok(MachineCheck { machine: "a machine".to_owned(), lines })
    }

    fn recording(&self, _folder: &Path) -> Option<RecordingState> {
        Some(RecordingState { is_running: self.is_running.load(Ordering::Relaxed), began_unix_ns: 0 })
    }
}

/// A trace of a main thread with `steps` steps of 10 ms.
fn write_steps(folder: &Path, steps: u32) {
    let event = |category: &str, name: &str, ts: u32, dur: u32| {
        format!(r#"{{"ph":"X","cat":"{category}","name":"{name}","pid":7,"tid":7,"ts":{ts},"dur":{dur}}}"#)
    };
    let of_step = |step: u32| {
        let begin = step * 10_000;
        let name = format!("ProfilerStep#{step}");
        [event("user_annotation", &name, begin, 10_000), event("cpu_op", "aten::mm", begin + 1_000, 4_000)]
    };
    let events: Vec<String> = (0..steps).flat_map(of_step).collect();
    std::fs::write(folder.join("rank0.json"), format!("[{}]", events.join(","))).unwrap();
}

fn opened(folder: &Path, machine: &Arc<Machine>) -> User {
    let mut model = model(ThemeChoice::Dark);
    model.offer_recording(Some(Arc::clone(machine) as Arc<dyn Recording>));
    model.open(vec![folder.to_owned()]);
    model.collect();
    assert!(model.state.failure.is_none(), "{:?}", model.state.failure);
    model.timeline.as_mut().unwrap().options.animate = false;
    User::new(App::new(model), [1440.0, 900.0])
}

/// Lets the time until the next look pass.
fn look_again(user: &mut User) {
    user.model().state.loaded.as_mut().unwrap().followed.as_mut().unwrap().next = Instant::now();
    user.settle();
}

fn steps(user: &User) -> usize {
    user.loaded().steps().len()
}

#[test]
fn a_folder_that_grows_is_followed_and_the_view_stays_until_it_is_told_to_follow() {
    let folder = tempfile::tempdir().unwrap();
    write_steps(folder.path(), 3);
    let machine = Arc::new(Machine::default());
    machine.is_running.store(true, Ordering::Relaxed);
    let mut user = opened(folder.path(), &machine);
    assert!(user.sees_part("recording, "));
    assert_eq!(steps(&user), 3);
    let seen = user.model().timeline.as_ref().unwrap().view.visible();
    let window = user.loaded().window;

    write_steps(folder.path(), 9);
    user.settle();
    assert_eq!(steps(&user), 3, "not before the pause is over");
    look_again(&mut user);
    assert_eq!(steps(&user), 9);
    assert_eq!(user.model().timeline.as_ref().unwrap().view.visible(), seen);
    assert_eq!(user.loaded().window, window);
    assert!(matches!(window, Window::Step(_)));

    user.click("Follow");
    write_steps(folder.path(), 20);
    look_again(&mut user);
    let end = |user: &mut User| user.model().timeline.as_ref().unwrap().view.visible().end;
    let last: Timestamp = user.loaded().trace.span().unwrap().end;
    assert_eq!((steps(&user), end(&mut user)), (20, last));

    machine.is_running.store(false, Ordering::Relaxed);
    look_again(&mut user);
    assert!(user.sees("not recording any more"));
    user.click("Follow");
    assert!(!user.sees_part("recording, ") && !user.sees("Follow"));
}

#[test]
fn a_file_that_cannot_be_read_for_a_moment_leaves_the_trace_on_the_screen() {
    let folder = tempfile::tempdir().unwrap();
    write_steps(folder.path(), 4);
    let machine = Arc::new(Machine::default());
    machine.is_running.store(true, Ordering::Relaxed);
    let mut user = opened(folder.path(), &machine);
    std::fs::remove_file(folder.path().join("rank0.json")).unwrap();
    look_again(&mut user);
    assert_eq!(steps(&user), 4);
    assert!(user.model().state.failure.is_none());
    write_steps(folder.path(), 5);
    look_again(&mut user);
    assert_eq!(steps(&user), 5);
}

#[test]
fn a_finished_recording_is_not_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    write_steps(folder.path(), 4);
    let mut user = opened(folder.path(), &Arc::new(Machine::default()));
    assert!(!user.sees_part("recording, "));
    write_steps(folder.path(), 5);
    look_again(&mut user);
    assert_eq!(steps(&user), 4);
}

#[test]
fn the_start_offers_the_command_and_the_check_of_the_machine() {
    let user = User::at_start();
    assert!(user.sees("Copy gapless record -- python train.py"));
    assert!(!user.sees("Check this machine"), "nobody here can look");

    let mut model = model(ThemeChoice::Dark);
    model.offer_recording(Some(Arc::new(Machine::default())));
    let command = model.state.record_commands[0].command.clone();
    let mut user = User::new(App::new(model), [1280.0, 800.0]);
    user.click(&format!("Copy {command}"));
    assert_eq!(user.model().state.copied.as_ref(), Some(&command));
    user.click("Check this machine");
    assert!(user.sees("PyTorch operators") && user.sees("Native samples, looked at"));
    assert!(user.sees_part("perf_event_paranoid"));
    user.press(egui::Modifiers::NONE, egui::Key::Escape);
    assert!(!user.sees("PyTorch operators"));
}
