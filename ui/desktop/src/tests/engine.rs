//! What the engine finds, as a user meets it: by label.

use std::sync::Arc;

use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable as _;
use gapless_advice::Study;
use gapless_trace::{Duration, EventKind, RankId};

use super::user::User;
use super::{fixture, user};
use crate::BottomTab;
use crate::advice::{AdviceCard, Section};
use crate::align::Alignment;
use crate::app::App;
use crate::engine::Engine;
use crate::state::Window;

fn engine(user: &User) -> Arc<Engine> {
    Arc::clone(user.loaded().engine.as_ref().unwrap())
}

#[test]
fn the_path_of_a_step_is_whole_and_waits_are_those_of_the_fixture() {
    let trace = fixture::trace();
    let engine = Engine::new(&Study::new(&trace));
    assert_eq!(engine.steps.len(), 3);
    for step in &engine.steps {
        let rows = &engine.rows[step.rows.clone()];
        assert!(rows.windows(2).all(|pair| pair[0].span.end == pair[1].span.start), "no gap and no overlap");
        let sum: i64 = rows.iter().map(|row| row.span.duration().0).sum();
        assert_eq!(sum, step.span.duration().0);
    }
    // Rank 3 comes last; each rank before it waits a millisecond longer.
    for (rank, wait) in [(0, 3), (1, 2), (2, 1)] {
        let waits: Vec<Duration> = engine
            .waits
            .iter()
            .filter(|(event, _)| trace.rank_of(*event) == Some(RankId(rank)))
            .map(|wait| wait.1)
            .collect();
        assert_eq!(waits, vec![Duration::from_millis(wait); 3], "rank {rank}");
    }
    assert!(engine.waits.iter().all(|(event, _)| trace.rank_of(*event) != Some(RankId(3))));
}

#[test]
fn the_pill_says_the_grade_and_opens_all_checks() {
    let mut user = User::with_trace();
    let trust = engine(&user).trust.clone();
    let pill = format!("Trust: {}", trust.grade.label());
    assert!(!user.sees_part("The model of this recording is"));
    user.click(&pill);
    assert!(user.sees_part("The model of this recording is"));
    for check in &trust.checks {
        assert!(user.sees(&format!("{}: {}", check.grade.label(), check.text)), "{}", check.text);
    }
    user.click(&pill);
    assert!(!user.sees_part("The model of this recording is"), "the pill closes it too");
    user.press(Modifiers::COMMAND, Key::T);
    assert!(user.sees_part("The model of this recording is"));
}

#[test]
fn the_critical_path_tab_lights_up_categories_and_goes_to_stretches() {
    let mut user = User::with_trace();
    user.click("Critical path");
    assert_eq!(user.model().state.tab, BottomTab::Path);
    let path = user.loaded().path.clone();
    let sum: i64 = path.categories.iter().map(|row| row.ns).sum();
    assert_eq!(sum, path.total.0);
    let step = engine(&user).step_of(1, user.loaded().steps()).unwrap().span.duration();
    assert_eq!((user.loaded().window, path.total), (Window::Step(1), step));
    let first = path.categories[0];
    user.click(&format!("Critical path: {} {}", first.category.label(), Duration(first.ns)));
    let lit = user.loaded().highlight.as_ref().unwrap();
    assert_eq!(lit.total(), Duration(first.ns));
    assert!(lit.label.contains(first.category.label()));

    let order = user.loaded().orders[crate::table::TableId::Segments.index()].clone();
    let segment = path.segments[order[0] as usize].clone();
    assert!(path.segments.iter().all(|other| other.duration <= segment.duration), "the longest first");
    user.update(crate::message::Message::ShowPathRow(segment.place));
    let row = engine(&user).rows[segment.place];
    let lit = user.loaded().highlight.as_ref().unwrap();
    assert_eq!((lit.pieces.len(), lit.total()), (1, segment.duration));
    let seen = user.model().timeline.as_ref().unwrap().view.visible();
    assert!(seen.start <= row.span.start && row.span.end <= seen.end);
    assert!(user.model().timeline.as_ref().unwrap().is_rank_open(row.rank.unwrap()));
}

#[test]
fn a_collective_shows_who_came_when() {
    let mut user = User::with_trace();
    user.click("Collectives");
    let chosen = user.loaded().chosen_collective.unwrap();
    assert!(user.sees("Rank 0 waits 3.00 ms for the last"));
    assert!(user.sees("Rank 2 waits 1.00 ms for the last"));
    let other = engine(&user).instances.iter().find(|row| row.place != chosen).unwrap().clone();
    user.update(crate::message::Message::ShowCollective(other.place));
    assert_eq!(user.loaded().chosen_collective, Some(other.place));
    let lit = user.loaded().highlight.as_ref().unwrap();
    assert_eq!(lit.events.len(), fixture::RANKS as usize, "all members keep their colours");
    user.click("Rank 1 waits 2.00 ms for the last");
    let selected = user.loaded().selection.as_ref().unwrap().event;
    let trace = Arc::clone(&user.loaded().trace);
    assert_eq!((trace.event(selected).kind, trace.rank_of(selected)), (EventKind::Collective, Some(RankId(1))));
}

#[test]
fn stragglers_are_listed_and_lead_to_the_time_that_others_wait() {
    let mut user = User::with_trace();
    user.click("Stragglers");
    assert!(user.sees_part("Too short to call any rank late"), "one collective that counts is not enough");
    user.harness.get_by_label_contains("Rank 3 is late by").click();
    user.settle();
    let lit = user.loaded().highlight.as_ref().unwrap();
    assert_eq!((lit.pieces.len(), lit.total()), (3, Duration::from_millis(3 + 2 + 1)));
    assert!(user.sees_part("Waiting for Rank 3 alone"));
}

#[test]
fn ranks_are_brought_side_by_side_by_clock_and_step() {
    // The clock of rank 2 is 3 ms ahead.
    let mut model = user::model(crate::ThemeChoice::Dark);
    model.show_trace(fixture::skewed_trace(2, 3_000), "run");
    let mut user = User::new(App::new(model), [1440.0, 900.0]);
    let by = |user: &User| user.loaded().shifts.of(RankId(2)).0 - user.loaded().shifts.of(RankId(0)).0;
    assert_eq!(user.loaded().alignment, Alignment::Clock);
    assert!((by(&user) - 3_000_000).abs() < 2_000, "{}", by(&user));
    let hull = user.loaded().view.as_ref().unwrap().hull;
    assert!(hull.duration() < Duration::from_millis(11), "the step stands at one place: {}", hull.duration());
    for (alignment, expected) in
        [(Alignment::Step, 3_000_000), (Alignment::Collective, 3_000_000), (Alignment::Recorded, 0)]
    {
        user.click("Alignment of ranks");
        user.click(alignment.label());
        assert_eq!(user.loaded().alignment, alignment);
        assert!((by(&user) - expected).abs() < 2_000, "{alignment:?}: {}", by(&user));
    }
    let shifts = user.model().timeline.as_ref().unwrap().shifts.clone();
    assert_eq!(shifts.of(RankId(2)), Duration::ZERO, "and the timeline follows");
}

#[test]
fn ticking_advice_draws_what_it_would_bring() {
    let mut user = User::with_trace();
    let cards = Arc::clone(user.loaded().advice.as_ref().unwrap());
    assert!(cards.len() > 1, "{:?}", cards.iter().map(|card| &card.id).collect::<Vec<_>>());
    let ranked = |pair: &[AdviceCard]| {
        pair[0].section < pair[1].section || pair[0].section == pair[1].section && pair[0].mid_ns() >= pair[1].mid_ns()
    };
    assert!(cards.windows(2).all(ranked), "by section, then by gain");
    for card in cards.iter().filter(|card| card.section == Section::Sensitivity) {
        let gain = card.gain.clone().unwrap();
        assert!(gain.low_ns <= gain.mid_ns && gain.mid_ns <= gain.high_ns && gain.high_ns > 0, "{card:?}");
        assert!(!card.pieces.is_empty(), "{card:?} has evidence");
    }
    let cards: Vec<AdviceCard> = cards.iter().filter(|card| !card.changes.is_empty()).cloned().collect();
    let card = cards[0].clone();
    assert!(!user.sees_part("Simulated: "));
    user.click(&format!("Simulate: {}", card.title));
    let replayed = |user: &User| {
        let replayed = user.loaded().simulation.as_ref().unwrap().outcome.as_ref().unwrap();
        (replayed.difference(), replayed.simulated, Arc::clone(&replayed.track))
    };
    let (difference, alone, track) = replayed(&user);
    assert!((difference.0 + card.mid_ns()).abs() <= 1, "the replay gives the figure of the card");
    assert!(user.sees_part("Replayed: "));
    assert!(user.sees("Simulated: Rank 0, simulated"), "the track stands on the timeline");
    assert_eq!(track.texts().len(), 3, "an end for each step");
    assert!(!track.busy_of(RankId(0)).is_empty());

    let other = cards[1].clone();
    // By keys: it may lie below the edge of the panel.
    user.press_on(&format!("Simulate: {}", other.title), Key::Enter, 1);
    assert_eq!(user.loaded().simulation.as_ref().unwrap().asked.ids.len(), 2);
    assert!(replayed(&user).1 <= alone, "one replay of both");
    user.click(&format!("Stop simulating: {}", card.title));
    user.press_on(&format!("Stop simulating: {}", other.title), Key::Enter, 1);
    assert!(user.loaded().simulation.is_none() && !user.sees_part("Simulated: "));

    user.click(&format!("Show evidence: {}", card.title));
    assert_eq!(user.loaded().highlight.as_ref().unwrap().label, card.title);
    user.click(&format!("Details: {}", card.title));
    assert!(user.sees("Assumed"));
}

#[test]
fn an_edit_of_the_what_if_engine_replays_to_its_own_figure() {
    use crate::advice::{Change, GainBand};
    use crate::simulate::{Asked, Simulation};
    use gapless_advice::{Edit, what_if};
    let trace = fixture::trace();
    let study = Study::new(&trace);
    let engine = Engine::new(&study);
    for text in ["host=2x", "remove(kind=copy)", "scale(kind=kernel)=0.5x"] {
        let edit = Edit::parse(text).unwrap();
        let expected = what_if(&study, &[edit]).unwrap();
        let card = AdviceCard {
            id: text.to_owned(),
            title: String::new(),
            tag: String::new(),
            section: Section::Finding,
            gain: Ok(GainBand::default()),
            changes: vec![Change::Edit(text.to_owned())],
            paragraph: String::new(),
            evidence: Vec::new(),
            pieces: Vec::new(),
            example: None,
            assumptions: Vec::new(),
        };
        let asked = Asked { ids: vec![text.to_owned()], ..Asked::default() };
        let simulation = Simulation::new(&study, &engine, &[card], asked);
        let replayed = simulation.outcome.unwrap();
        let lengths = (expected.base.mean_step_ns.round() as i64, expected.expected.mean_step_ns.round() as i64);
        assert_eq!((replayed.model.0, replayed.simulated.0), lengths, "{text}");
        let range = (expected.mean_step_ns.low.round() as i64, expected.mean_step_ns.high.round() as i64);
        assert_eq!((replayed.low.0, replayed.high.0), range, "{text}");
        // Kernels are not on the path of the fixture, whose host is late.
        assert_eq!(expected.gain_ns.mid > 0.0, !text.contains("kernel"), "{text}");
    }
}

#[test]
fn sliders_replay_another_machine() {
    use crate::message::Message;
    use crate::speeds::MachinePart;
    use gapless_advice::{Edit, what_if};
    let mut user = User::with_trace();
    assert!(!user.sees("As recorded"), "nothing to take back yet");
    user.press_on("Host speed", Key::ArrowRight, 40);
    let factor = user.model().state.asked.speeds.factor(MachinePart::Host);
    assert!(factor > 1.05, "{factor}");
    // The figure that the command line prints for the same edits.
    let trace = fixture::trace();
    let study = Study::new(&trace);
    let prints = |edits: &[String]| {
        let edits: Vec<Edit> = edits.iter().map(|edit| Edit::parse(edit).unwrap()).collect();
        what_if(&study, &edits).unwrap().expected.mean_step_ns.round() as i64
    };
    let shown = |user: &User| user.loaded().simulation.as_ref().unwrap().outcome.as_ref().unwrap().simulated.0;
    let alone = shown(&user);
    assert_eq!(alone, prints(&[format!("host={factor:.2}x")]));
    assert!(user.sees_part("Replayed: ") && user.sees("Simulated: Rank 0, simulated"));
    user.update(Message::SetSpeed(MachinePart::Gpu, 0.5));
    assert_eq!(shown(&user), prints(&["gpu=0.50x".to_owned(), format!("host={factor:.2}x")]));
    assert!(shown(&user) > alone, "the device is the slower one now");
    user.click("As recorded");
    assert!(user.loaded().simulation.is_none() && !user.sees_part("Replayed: "));
}

#[test]
fn half_of_a_cause_gone_is_half_as_long_in_the_replay() {
    use gapless_analysis::graph::NodeKind;
    use gapless_analysis::replay::Draft;
    let trace = fixture::trace();
    let study = Study::new(&trace);
    let engine = Engine::new(&study);
    let mut draft = Draft::new(study.graph());
    crate::advice::Cause::Kernels.take_out(&engine, &mut draft, 0.5);
    let mut kernels = 0;
    for id in study.graph().node_ids() {
        let node = study.graph().node(id);
        let expected = if node.kind == NodeKind::Kernel { node.dur_ns / 2 } else { node.dur_ns };
        assert_eq!(draft.duration_ns(id), expected);
        kernels += usize::from(node.kind == NodeKind::Kernel);
    }
    assert_eq!(kernels, 4 * 3 * 11);
}

#[test]
fn a_recording_without_a_device_says_why_there_are_no_predictions() {
    let mut user = User::with_host_trace();
    let trust = engine(&user).trust.clone();
    assert!(user.sees(&format!("Trust: {}", trust.grade.label())));
    for tab in ["Critical path", "Collectives", "Stragglers"] {
        user.click(tab);
    }
    if let Some(reason) = trust.refusal() {
        assert!(user.sees_part("No predictions"), "{reason}");
        assert!(user.loaded().advice.as_ref().unwrap().iter().all(|card| card.gain.is_err()));
    }
}

/// The sample's third rank has a slower device: what it ran for longer leads to its kernels.
#[test]
fn what_made_a_rank_late_leads_to_its_events() {
    let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/sample");
    let files = gapless_formats::expand(&[folder.to_string_lossy().into_owned()]).unwrap();
    let trace =
        gapless_formats::open(&files, &gapless_formats::OpenOptions::default(), &gapless_formats::Silent).unwrap();
    let mut model = user::model(crate::ThemeChoice::Dark);
    model.show_trace(Arc::new(trace), "run");
    let mut user = User::new(App::new(model), [1440.0, 900.0]);
    user.click("Stragglers");
    let cost = user.loaded().engine.as_ref().unwrap().delay_costs[0].clone();
    assert_eq!((cost.rank, cost.kind), (RankId(2), gapless_analysis::DelayKind::Device));
    let name = cost.path.rsplit(" > ").next().unwrap().to_owned();
    user.click_part(&format!("others wait {}", Duration(cost.charged_ns)));
    let highlight = user.loaded().highlight.as_ref().unwrap();
    assert_eq!(highlight.label, name);
    assert!(highlight.pieces.iter().all(|piece| piece.rank == RankId(2)) && !highlight.pieces.is_empty());
}
