//! The roofline, as a user meets it: by label.

use std::path::PathBuf;
use std::sync::Arc;

use gapless_formats::{OpenOptions, Silent};
use gapless_roofline::{HardwareTable, OperatorClass, Roofline};
use gapless_trace::{RankId, Trace};

use super::user::{User, model};
use crate::app::App;
use crate::message::Message;
use crate::roofline::RooflineView;
use crate::{BottomTab, ThemeChoice};

/// The sample that the first run opens: four ranks of H100 with shapes.
fn sample() -> Arc<Trace> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/sample");
    let files = gapless_formats::expand(&[folder.to_string_lossy().into_owned()]).unwrap();
    Arc::new(gapless_formats::open(&files, &OpenOptions::default(), &Silent).unwrap())
}

fn open(trace: Arc<Trace>) -> User {
    let mut model = model(ThemeChoice::Dark);
    model.show_trace(trace, "run");
    User::new(App::new(model), [1440.0, 900.0])
}

#[test]
fn the_tab_says_what_the_library_says_and_leads_to_the_longest_call() {
    let trace = sample();
    let mut user = open(Arc::clone(&trace));
    assert!(user.loaded().roofline.is_none(), "nobody asked for it");
    user.click("Roofline");
    assert_eq!(user.model().state.tab, BottomTab::Roofline);
    let rank = user.loaded().table_rank;
    let view = Arc::clone(user.loaded().roofline.as_ref().unwrap());
    let found = Roofline::new(&trace, rank, &HardwareTable::builtin());
    assert!(user.sees_part(&format!("Device: {}", found.device.as_ref().unwrap().gpu.name)));
    assert!(user.sees(&view.summary));

    let best = found
        .groups
        .iter()
        .filter(|group| group.class != OperatorClass::Copy)
        .max_by(|a, b| a.headroom_ns.unwrap_or(0.0).total_cmp(&b.headroom_ns.unwrap_or(0.0)))
        .unwrap();
    let first = &view.operators[0];
    assert_eq!((&first.name, &first.shapes, first.longest), (&best.name, &best.shapes, best.longest));
    assert_eq!(first.headroom.unwrap().0, best.headroom_ns.unwrap().round() as i64);
    // What is attainable is what all its FLOPs take at least.
    let product = view.operators.iter().find(|point| point.name == "aten::mm" || point.name == "aten::addmm").unwrap();
    let group = found.groups.iter().find(|group| group.longest == product.longest).unwrap();
    let attainable = group.cost.unwrap().flops * group.calls as f64 / group.attainable_ns.unwrap() * 1e9;
    assert!((product.flops_per_s * product.attainable_factor.unwrap() / attainable - 1.0).abs() < 1e-9);
    let on_plot = view.operators.iter().filter(|point| point.is_on_plot()).count();
    assert!(on_plot > 0 && user.sees(&format!("Achieved FLOP/s against FLOP/byte, {on_plot} operators")));

    let label = format!("{} {}: {} above what good kernels take", first.name, first.shapes, first.headroom.unwrap());
    user.click_part(&label);
    assert_eq!(user.loaded().selection.as_ref().unwrap().event, best.longest.unwrap());
}

#[test]
fn another_rank_has_its_own_roofline_and_late_ones_are_dropped() {
    let trace = sample();
    let mut user = open(Arc::clone(&trace));
    user.click("Roofline");
    let other = RankId(u32::from(user.loaded().table_rank == RankId(0)));
    let before = Arc::clone(user.loaded().roofline.as_ref().unwrap());
    user.update(Message::ChooseTableRank(other));
    let view = Arc::clone(user.loaded().roofline.as_ref().unwrap());
    assert_eq!(*view, RooflineView::new(&trace, other));
    user.model().take_roofline(&trace, Arc::clone(&before));
    assert_eq!(user.loaded().roofline.as_ref().unwrap().rank, other, "the rank was left meanwhile");
    user.model().take_roofline(&super::fixture::trace(), before);
    assert_eq!(user.loaded().roofline.as_ref().unwrap().rank, other, "so was the trace");
}

#[test]
fn a_trace_without_shapes_says_what_to_record() {
    let mut user = User::with_trace();
    user.click("Roofline");
    assert!(user.sees_part("The recording has no shapes of inputs"));
    assert!(user.sees_part("record_shapes=True"));
    let mut user = User::with_host_trace();
    user.click("Roofline");
    assert!(user.sees("No device work in this rank"));
}
