//! Two recordings of one job, as a user compares them: by label.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gapless_diff::{DiffOptions, Recording, VerdictKind, diff};
use gapless_formats::{OpenOptions, Silent};
use gapless_timeline::{TimelineCommand, TimelineState};
use gapless_trace::{Duration, Trace};

use super::user::{User, model};
use crate::app::App;
use crate::command::Command;
use crate::compare::waterfall;
use crate::message::Message;
use crate::{BottomTab, ThemeChoice};

/// Twelve steps of two operators, whose kernels take so long, in µs; steps vary by a few µs. `begins` is when the first
/// step begins.
fn job(folder: &Path, name: &str, begins: i64, gemm: i64, add: i64) -> PathBuf {
    let mut text = String::from("{\"traceEvents\": [\n");
    let mut at = begins;
    for step in 0..12_i64 {
        let noise = (step * 7 + begins) % 5;
        let (first, second) = (gemm + noise, add);
        let end = at + 40 + first + second + 20;
        let mut event = |category: &str, name: &str, (pid, tid): (&str, i64), from: i64, dur: i64, args: &str| {
            writeln!(
                text,
                "{{\"ph\": \"X\", \"cat\": \"{category}\", \"name\": \"{name}\", \"pid\": {pid}, \"tid\": {tid}, \"ts\": {from}, \
                 \"dur\": {dur}, \"args\": {{{args}}}}},"
            )
            .unwrap();
        };
        let (host, device) = (("100", 100), ("0", 7));
        let (one, two) = (step * 2 + 1, step * 2 + 2);
        event("user_annotation", &format!("ProfilerStep#{step}"), host, at, end - at, "");
        event("cpu_op", "aten::mm", host, at + 2, 14, "");
        event("cuda_runtime", "cudaLaunchKernel", host, at + 6, 6, &format!("\"correlation\": {one}"));
        event("cpu_op", "aten::add", host, at + 18, 12, "");
        event("cuda_runtime", "cudaLaunchKernel", host, at + 20, 6, &format!("\"correlation\": {two}"));
        event(
            "cuda_runtime",
            "cudaDeviceSynchronize",
            host,
            at + 34,
            end - at - 36,
            &format!("\"correlation\": {}", 1_000 + step),
        );
        let stream = "\"device\": 0, \"stream\": 7, ";
        event("kernel", "sgemm_128x64", device, at + 30, first, &format!("{stream}\"correlation\": {one}"));
        event(
            "kernel",
            "vectorized_add",
            device,
            at + 30 + first + 2,
            second,
            &format!("{stream}\"correlation\": {two}"),
        );
        at = end;
    }
    text.push_str("{\"ph\": \"M\", \"name\": \"process_name\", \"pid\": 100, \"args\": {\"name\": \"python\"}}]}\n");
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn read(path: &Path) -> Trace {
    gapless_formats::open(&[path.to_owned()], &OpenOptions::default(), &Silent).unwrap()
}

/// Both recordings open, the second compared with the first.
fn compared(base: &Path, new: &Path) -> User {
    let mut model = model(ThemeChoice::Dark);
    model.compare_with = Some(vec![base.to_owned()]);
    model.open(vec![new.to_owned()]);
    model.collect();
    if let Some(timeline) = &mut model.timeline {
        timeline.options.animate = false;
    }
    User::new(App::new(model), [1440.0, 900.0])
}

#[test]
fn the_waterfall_says_what_the_library_says_and_its_bars_lead_to_both_recordings() {
    let folder = tempfile::tempdir().unwrap();
    let (base, new) = (job(folder.path(), "a.json", 1_000, 400, 100), job(folder.path(), "b.json", 9_000, 400, 190));
    let mut user = compared(&base, &new);
    assert_eq!(user.model().state.tab, BottomTab::Compare);
    let (of_base, of_new) = (read(&base), read(&new));
    let wanted = diff(&Recording::new(&of_base), &Recording::new(&of_new), &DiffOptions::default());
    assert_eq!(wanted.verdict.verdict, VerdictKind::Slower);
    assert!((wanted.delta_ns - 90_000).abs() <= 2_000, "{}", wanted.delta_ns);
    let found = user.model().state.comparison.as_ref().unwrap().found.clone().unwrap();
    assert_eq!(*found, wanted);

    assert!(user.sees("Steps are slower"));
    assert!(user.sees(&wanted.verdict.text));
    assert!(user.sees_part("Base · a.json") && user.sees_part("New · b.json"));
    let bars = waterfall(&found);
    assert_eq!(bars.first().unwrap().from_ns, found.base.typical_ns);
    assert_eq!(bars.last().unwrap().to_ns, found.new.typical_ns);
    for bar in &bars {
        let row = &found.rows[bar.row];
        assert!(user.sees_part(&format!("{}: ", row.label())), "{}", row.label());
    }

    // The largest bar, and in it the kernel that was made slower.
    let row = &found.rows[bars[0].row];
    let detail = &row.details[0];
    assert!(detail.name.contains("vectorized_add"), "{}", detail.name);
    user.click_part(&format!("{}: +", row.label()));
    user.click_part(&format!("{}: +", detail.name));
    let state = &user.model().state;
    let comparison = state.comparison.as_ref().unwrap();
    let (in_base, in_new) = (comparison.base.as_ref().unwrap(), state.loaded.as_ref().unwrap());
    let evidence = &detail.evidence[0];
    let (event_of_base, event_of_new) = (evidence.base_event.unwrap(), evidence.new_event.unwrap());
    assert!(in_base.highlight.as_ref().unwrap().events.contains(&event_of_base));
    assert!(in_new.highlight.as_ref().unwrap().events.contains(&event_of_new));
    // The pair stands one above the other.
    let difference = in_base.trace.event(event_of_base).start - in_new.trace.event(event_of_new).start;
    assert_eq!(comparison.by, difference);
    user.settle();
    let model = user.model();
    let start = |timeline: &Option<TimelineState>| timeline.as_ref().unwrap().view.visible().start;
    assert_eq!(start(&model.base_timeline) - start(&model.timeline), difference);

    user.press(egui::Modifiers::NONE, egui::Key::Escape);
    user.click("End the comparison");
    assert!(user.model().state.comparison.is_none() && user.model().base_timeline.is_none());
    assert!(user.sees("Compare with files…"));
}

#[test]
fn both_timelines_show_the_same_time_whichever_is_moved() {
    let folder = tempfile::tempdir().unwrap();
    let (base, new) = (job(folder.path(), "a.json", 1_000, 400, 100), job(folder.path(), "b.json", 9_000, 400, 100));
    let mut user = compared(&base, &new);
    let spans = |user: &mut User| {
        user.settle();
        let model = user.model();
        let by = model.state.comparison.as_ref().unwrap().by;
        let own = model.timeline.as_ref().unwrap().view.visible();
        (own, model.base_timeline.as_ref().unwrap().view.visible(), by)
    };
    // Steps begin together: 8 ms lie between the recordings, and the same step stands beside itself.
    let (own, other, by) = spans(&mut user);
    assert_eq!(other.start - own.start, by);
    user.update(Message::Run(Command::Timeline(TimelineCommand::ZoomIn)));
    let (zoomed, other, by) = spans(&mut user);
    assert!(zoomed.duration() < own.duration());
    assert_eq!((other.start - zoomed.start, other.duration()), (by, zoomed.duration()));
    let before = zoomed;
    let model = user.model();
    let timeline = model.base_timeline.as_mut().unwrap();
    timeline.view.zoom(0.5, 0.5);
    user.settle();
    // Moved from outside of a frame it is brought back: only what its own widget does moves the other.
    let (after, other, by) = spans(&mut user);
    assert_eq!((after, other.start - after.start), (before, by));
    let shift = user.model().base_timeline.as_ref().unwrap().view.visible();
    user.scroll_at(egui::pos2(700.0, 200.0), egui::vec2(-120.0, 0.0));
    let (after, other, by) = spans(&mut user);
    assert_ne!(other, shift, "the wheel moved the base");
    assert_eq!((other.start - after.start, other.duration()), (by, after.duration()));
}

#[test]
fn a_trace_against_itself_is_no_change_and_has_no_bar() {
    let folder = tempfile::tempdir().unwrap();
    let path = job(folder.path(), "a.json", 1_000, 400, 100);
    let mut user = compared(&path, &path);
    assert!(user.sees("Steps are as long as before"));
    let found = user.model().state.comparison.as_ref().unwrap().found.clone().unwrap();
    assert!(waterfall(&found).is_empty());
    assert_eq!(user.model().state.comparison.as_ref().unwrap().by, Duration::ZERO);
    // A recording that grows is compared anew when the user says so.
    user.model().comparison_is_stale();
    user.settle();
    assert!(user.sees("The recording has grown since it was compared"));
    user.click("Compare again");
    assert!(user.sees("Steps are as long as before"));
}

#[test]
fn a_base_that_cannot_be_read_says_why_and_the_trace_stays() {
    let folder = tempfile::tempdir().unwrap();
    let new = job(folder.path(), "b.json", 9_000, 400, 100);
    let mut user = compared(&folder.path().join("none.json"), &new);
    assert!(user.model().state.comparison.is_none());
    assert_eq!(user.model().state.failure.as_ref().unwrap().title, "Cannot open none.json");
    assert!(user.sees_part("b.json · 1 rank"));
    // Opening another trace ends a comparison.
    let base = job(folder.path(), "a.json", 1_000, 400, 100);
    user.update(Message::Compare(vec![base.clone()]));
    assert!(user.model().state.comparison.is_some());
    user.update(Message::Open(vec![base]));
    assert!(user.model().state.comparison.is_none());
}
