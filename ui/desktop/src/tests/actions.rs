//! What a user does, and what follows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable as _;
use gapless_trace::{Duration, EventKind};

use super::user::User;
use crate::state::Window;
use crate::{BottomTab, ThemeChoice};

const CTRL_SHIFT: Modifiers = Modifiers::COMMAND.plus(Modifiers::SHIFT);

#[test]
fn the_empty_window_says_how_to_open_a_trace() {
    let mut user = User::at_start();
    assert!(user.sees_part("Drop trace files or a folder here"));
    user.click("Open path…");
    user.type_into("Path", "/no/such/trace.json");
    user.press(Modifiers::NONE, Key::Enter);
    assert!(user.sees("Cannot open trace.json"));
    assert!(user.sees_part("no trace file found at /no/such/trace.json"));
    user.click("Dismiss");
    assert!(!user.sees("Cannot open trace.json"));
}

#[test]
fn a_trace_that_cannot_be_opened_leaves_the_open_one_on_the_screen() {
    let mut user = User::with_trace();
    user.model().open(vec![PathBuf::from("/no/such/folder")]);
    user.settle();
    assert!(user.sees("Cannot open folder"));
    assert_eq!(user.loaded().name, "run");
    assert!(user.sees("Timeline"));
    user.type_into("Search", "adam");
    assert!(user.sees("12 hits"), "and it still answers");
}

#[test]
fn a_dropped_file_is_opened() {
    #[derive(Debug)]
    struct Dropped(PathBuf);
    impl egui::DroppedFile for Dropped {
        fn path(&self) -> &Path {
            &self.0
        }
        fn bytes(&self) -> Result<Vec<u8>, String> {
            Err("nobody reads it this way".to_owned())
        }
    }
    let mut user = User::at_start();
    let folder = std::env::temp_dir().join(format!("gapless-drop-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("rank0.json");
    let text = r#"{"traceEvents":[{"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":1,"dur":2,"args":{"device":0,"stream":7}}]}"#;
    std::fs::write(&file, text).unwrap();
    user.harness.input_mut().dropped_files.push(Arc::new(Dropped(file)));
    user.settle();
    assert_eq!(user.loaded().trace.events().len(), 1);
    assert_eq!(user.loaded().name, "rank0.json");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_number_of_the_breakdown_leads_to_its_time() {
    let mut user = User::with_trace();
    let whole = user.loaded().trace.span().unwrap();
    user.model().timeline.as_mut().unwrap().fit_all();
    assert!(user.sees("Rank 1: exposed communication 1.00 ms"));
    user.click("Rank 1: waiting for late ranks 2.00 ms");
    let lit = user.loaded().highlight.as_ref().unwrap();
    assert_eq!(lit.total(), Duration::from_millis(2));
    assert!(user.sees_part("Rank 1: waiting for late ranks · 2.00 ms in 1 piece"));
    let seen = user.model().timeline.as_ref().unwrap().view.visible();
    let step = user.loaded().view.as_ref().unwrap().hull;
    assert!(seen.start <= step.start && step.end <= seen.end, "the step is in view");
    assert!(seen.duration() < whole.duration(), "and not all of the trace");

    user.click("Next piece by length");
    let seen = user.model().timeline.as_ref().unwrap().view.visible();
    let piece = user.loaded().highlight.as_ref().unwrap().pieces[0].span;
    assert!(seen.start < piece.start && piece.end < seen.end);
    user.click("Clear the highlight");
    assert!(user.loaded().highlight.is_none());
}

#[test]
fn a_number_of_the_summary_lights_up_all_ranks() {
    let mut user = User::with_trace();
    user.click("waiting for late ranks: 1.50 ms");
    let lit = user.loaded().highlight.as_ref().unwrap();
    assert_eq!(lit.pieces.len(), 3);
    assert_eq!(lit.total(), Duration::from_millis(3 + 2 + 1));
    user.click("waiting for late ranks: 3.00 ms on Rank 0");
    assert_eq!(user.loaded().highlight.as_ref().unwrap().pieces.len(), 1);
    user.press(Modifiers::NONE, Key::Escape);
    assert!(user.loaded().highlight.is_none());
}

#[test]
fn tabs_show_tables_that_sort() {
    let mut user = User::with_trace();
    let first = |user: &User| {
        let rows = &user.loaded().report.as_ref().unwrap().analysis.ranks[0].tables.kernels;
        rows[user.loaded().orders[0][0] as usize].name.clone()
    };
    user.click("Kernels");
    assert_eq!(user.model().state.tab, BottomTab::Kernels);
    // Rank 0 waits 4, 4 and 4 ms inside the all-reduce: more than any kernel of one name lasts.
    assert!(first(&user).starts_with("ncclDevKernel_AllReduce"));
    user.click("name");
    assert!(first(&user).starts_with("Memcpy"));
    user.click("name");
    assert!(first(&user).starts_with("vectorized_elementwise_kernel"));
    user.click("max");
    assert!(first(&user).starts_with("ncclDevKernel_AllReduce"));
    user.click("max");
    assert!(first(&user).starts_with("multi_tensor_apply_kernel"));
    user.click("multi_tensor_apply_kernel");
    let lit = user.loaded().highlight.as_ref().unwrap();
    assert_eq!(lit.events.len(), 3, "one in each step of the rank");
    for tab in ["Operators", "Copies & collectives", "Warnings", "Selection", "Breakdown"] {
        user.click(tab);
    }
    assert_eq!(user.model().state.tab, BottomTab::Breakdown);
}

#[test]
fn warnings_are_listed_with_their_place() {
    let mut user = User::with_trace();
    user.click("Warnings");
    assert!(user.sees_part("an event without a usable timestamp was dropped"));
    assert!(user.sees_part("Copy the path /traces/run/rank2.json"));
}

#[test]
fn searching_finds_steps_through_and_selects() {
    let mut user = User::with_trace();
    user.type_into("Search", "ALLREDUCE");
    // One kernel and one operator for each of 4 ranks and 3 steps.
    assert!(user.sees("24 hits"));
    assert!(user.sees_part("ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>): 12 ×"));
    user.press(Modifiers::NONE, Key::Enter);
    let first = user.loaded().selection.as_ref().unwrap().event;
    assert!(user.sees("1 of 24"));
    user.press(Modifiers::NONE, Key::Enter);
    assert!(user.sees("2 of 24"), "the field keeps the keyboard");
    let second = user.loaded().selection.as_ref().unwrap().event;
    let trace = Arc::clone(&user.loaded().trace);
    assert_ne!(first, second);
    assert!((trace.event(first).start, first) < (trace.event(second).start, second));
    user.click("Previous search hit");
    user.click("Previous search hit");
    assert!(user.sees("24 of 24"), "before the first comes the last");
    user.click("Next search hit");
    assert!(user.sees("1 of 24"));
    user.click("Clear the search");
    assert!(user.loaded().search.result.events.is_empty());
    user.type_into("Search", "no such name");
    assert!(user.sees("0 hits"));
    assert!(user.sees_part("No event has this in its name"));
}

#[test]
fn the_selection_leads_to_what_caused_it() {
    let mut user = User::with_trace();
    let trace = Arc::clone(&user.loaded().trace);
    let kernel = *trace
        .tracks_of(gapless_trace::RankId(1))
        .flat_map(|(_, track)| track.event_ids())
        .filter(|&id| trace.event(id).kind == EventKind::Collective)
        .collect::<Vec<_>>()
        .first()
        .unwrap();
    user.model().update(crate::message::Message::Select(kernel));
    user.settle();
    assert_eq!(user.model().state.tab, BottomTab::Selection);
    assert!(user.sees("12 events of this name"));
    assert!(user.sees("Duration: 3.00 ms · 3,000,000 ns"));
    user.click("Go to cudaLaunchKernel");
    let call = user.loaded().selection.as_ref().unwrap().event;
    assert_eq!(Some(call), trace.launches().launch_of(kernel));
    user.click("Go to c10d::allreduce_");
    let operator = user.loaded().selection.as_ref().unwrap().event;
    assert_eq!(trace.parent(call), Some(operator));
    assert_eq!(user.model().timeline.as_ref().unwrap().selected, Some(operator));
}

#[test]
fn a_selected_event_shows_its_call_stack_innermost_first() {
    let mut user = User::with_trace();
    let trace = Arc::clone(&user.loaded().trace);
    let with_stack = trace.event_stacks()[0].event;
    user.model().update(crate::message::Message::Select(with_stack));
    user.settle();
    assert!(user.sees("Call stack"));
    let top = |label: &str| user.harness.get_by_label(label).rect().top();
    assert!(top("train_step") < top("main"));
    assert!(user.sees("train.py:40"));
}

#[test]
fn the_theme_changes_and_changes_back() {
    let mut user = User::with_trace();
    let dark = user.picture();
    user.click("Switch to light");
    assert_eq!(user.model().state.theme_choice, ThemeChoice::Light);
    assert_ne!(user.picture().get(5, 5), dark.get(5, 5));
    user.press(CTRL_SHIFT, Key::L);
    assert_eq!(user.model().state.theme_choice, ThemeChoice::Dark);
    assert_eq!(user.picture().get(5, 5), dark.get(5, 5));
}

#[test]
fn the_palette_runs_commands() {
    let mut user = User::with_trace();
    user.press(CTRL_SHIFT, Key::P);
    user.type_into("Command", "show kernels");
    user.press(Modifiers::NONE, Key::Enter);
    assert_eq!(user.model().state.tab, BottomTab::Kernels);
    assert!(user.model().state.palette.is_none());

    user.type_into("Search", ">next st");
    assert!(user.sees("Next step"));
    user.press(Modifiers::NONE, Key::Enter);
    assert_eq!(user.loaded().window, Window::Step(2));

    user.press(CTRL_SHIFT, Key::P);
    user.press(Modifiers::NONE, Key::Escape);
    assert!(user.model().state.palette.is_none());
}

#[test]
fn help_opens_on_a_question_mark_and_closes_on_escape() {
    let mut user = User::with_trace();
    user.harness.event(egui::Event::Text("?".to_owned()));
    user.settle();
    assert!(user.model().state.shows_help);
    user.press(Modifiers::NONE, Key::Escape);
    assert!(!user.model().state.shows_help);
}

#[test]
fn steps_are_chosen_from_the_bar_and_the_chart() {
    let mut user = User::with_trace();
    user.click("Step");
    user.harness.get_by_label_contains("ProfilerStep#7 12.0 ms").click();
    user.settle();
    assert_eq!(user.loaded().window, Window::Step(2));
    user.click("ProfilerStep#5: 10.0 ms");
    assert_eq!(user.loaded().window, Window::Step(0));
    user.press(Modifiers::COMMAND, Key::ArrowRight);
    assert_eq!(user.loaded().window, Window::Step(1));
}

#[test]
fn a_dragged_range_is_what_the_numbers_are_about() {
    let mut user = User::with_trace();
    let start = user.loaded().trace.span().unwrap().start;
    let range = gapless_trace::Span { start, end: start + Duration::from_millis(1) };
    user.model().timeline.as_mut().unwrap().range = Some(range);
    user.model().follow_timeline();
    user.settle();
    assert_eq!(user.loaded().window, Window::Range(range));
    assert!(user.loaded().view.as_ref().unwrap().rows.iter().all(|row| row.partition.duration_ns == 1_000_000));
    user.model().timeline.as_mut().unwrap().range = None;
    user.model().follow_timeline();
    user.settle();
    assert_eq!(user.loaded().window, Window::Step(1));
}

#[test]
fn panels_hide_and_the_trace_closes() {
    let mut user = User::with_trace();
    user.press(Modifiers::COMMAND, Key::J);
    assert!(!user.sees("Kernels"));
    user.press(CTRL_SHIFT, Key::B);
    assert!(!user.sees("Where the time goes"));
    user.press(Modifiers::COMMAND, Key::Num3);
    assert!(user.sees("Kernels"), "a tab that is asked for opens its panel");
    user.press(Modifiers::COMMAND, Key::W);
    assert!(user.sees_part("Drop trace files"));
}

#[test]
fn numbers_of_a_screenshot_are_checked_before_it_is_drawn() {
    let folder = std::env::temp_dir().join(format!("gapless-shot-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (file, output) = (folder.join("rank3.json"), folder.join("out.png"));
    let event = |name: &str, ts: u32, dur: u32| {
        format!(
            r#"{{"ph":"X","cat":"kernel","name":"{name}","pid":0,"tid":7,"ts":{ts},"dur":{dur},"args":{{"device":0,"stream":7}}}}"#
        )
    };
    let events = [event("gemm", 10, 20), event("gemm_long", 40, 50)].join(",");
    std::fs::write(&file, format!(r#"{{"traceEvents":[{events}]}}"#)).unwrap();
    let mut options = crate::ScreenshotOptions::new(vec![file], output.clone());
    options.size = [640, 480];
    options.select = Some("gemm".to_owned());
    crate::screenshot(&options).unwrap();
    let bytes = std::fs::read(&output).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"));

    let fails = |change: &dyn Fn(&mut crate::ScreenshotOptions), text: &str| {
        let mut changed = options.clone();
        change(&mut changed);
        let error = format!("{:#}", crate::screenshot(&changed).unwrap_err());
        assert!(error.contains(text), "{error}");
    };
    fails(&|options| options.select = Some("relu".to_owned()), "no event has \"relu\" in its name");
    fails(&|options| options.step = Some("99".to_owned()), "no step \"99\"");
    fails(&|options| options.expanded_rank = Some(8), "no rank 8");
    fails(&|options| options.size = [0, 10], "cannot be made");
    fails(&|options| options.range = Some("5s..6s".parse().unwrap()), "outside the trace");
    fails(&|options| options.paths = vec!["/no/such".into()], "no trace file found");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_breakdown_of_a_job_on_the_cpu_leads_to_its_time() {
    let mut user = User::with_host_trace();
    assert!(user.sees("Rank 0: waiting for communication 3.50 ms"));
    user.click("Rank 1: data loading 2.00 ms");
    let highlight = user.loaded().highlight.as_ref().unwrap();
    assert_eq!((highlight.label.as_str(), highlight.total().0), ("Rank 1: data loading", 2_000_000));
    assert_eq!(highlight.overlays.len(), 1);
    assert!(user.sees_part("waits least in communication"));
}
