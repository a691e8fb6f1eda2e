//! What is said of what lies under the pointer.

use egui::Ui;
use gapless_trace::EventId;

use super::Timeline;
use crate::communication::wait_of;
use crate::flame::{Flame, FlameBar};
use crate::format::{counter_value, grouped, precise};
use crate::state::TimelineState;
use crate::theme::metrics;

impl Timeline<'_> {
    /// An event in one sentence, for screen readers.
    pub(super) fn describe(&self, event: EventId) -> String {
        let entry = self.trace.event(event);
        let start = entry.start - self.index.span().start;
        format!("{}, {}, {} at {start}", self.trace.name(event), entry.kind.label(), entry.dur)
    }

    pub(super) fn frame_tooltip_ui(&self, ui: &mut Ui, flame: &Flame, bar: &FlameBar) {
        let colors = &self.theme.ui;
        ui.set_max_width(440.0);
        ui.spacing_mut().item_spacing.y = 2.0;
        let small = |text: String, color| egui::RichText::new(text).size(metrics::TRACK_FONT).color(color);
        let name = self.trace.text(bar.frame.name);
        ui.add(egui::Label::new(egui::RichText::new(name).color(colors.text).strong()).wrap());
        let counted = |count: u32| format!("{} sample{}", grouped(i64::from(count)), if count == 1 { "" } else { "s" });
        ui.label(small(format!("about {} here · {}", bar.end - bar.start, counted(bar.samples)), colors.text));
        let all = flame.samples_of(bar);
        let share = 100.0 * f64::from(all) / f64::from(flame.samples.max(1));
        let of = format!(
            "{share:.1} % of the thread's {}, {} of them its own here",
            counted(flame.samples),
            bar.own_samples
        );
        ui.label(small(of, colors.dim));
        let place = match (self.trace.text(bar.frame.file), bar.frame.line) {
            ("", _) => self.trace.text(bar.frame.module).to_owned(),
            (file, 0) => file.to_owned(),
            (file, line) => format!("{file}:{line}"),
        };
        if !place.is_empty() {
            ui.add(egui::Label::new(small(place, colors.dim)).wrap());
        }
    }

    pub(super) fn tooltip_ui(&self, ui: &mut Ui, state: &TimelineState, event: EventId) {
        let colors = &self.theme.ui;
        let entry = self.trace.event(event);
        ui.set_max_width(440.0);
        ui.spacing_mut().item_spacing.y = 2.0;
        ui.add(egui::Label::new(egui::RichText::new(self.trace.name(event)).color(colors.text).strong()).wrap());
        let at = precise((entry.start - self.index.span().start).0, state.view.ns_per_px(egui::Rangef::new(0.0, 1e3)));
        let exact = format!("{} · {} ns · at {at}", entry.dur, grouped(entry.dur.0));
        ui.label(egui::RichText::new(exact).size(metrics::TRACK_FONT).color(colors.text));
        let mut place = entry.kind.label().to_owned();
        if let Some((id, track)) = self.trace.track_of(event) {
            let rank = self.trace.rank(track.rank).filter(|_| self.trace.ranks().len() > 1);
            for part in rank.map(gapless_trace::Rank::label).into_iter().chain([self.trace.track_label(id)]) {
                place.push_str(&format!(" · {part}"));
            }
        }
        if let Some(bytes) = self.trace.copy_bytes(event) {
            place.push_str(&format!(" · {}", counter_value(bytes as f64, "bytes")));
        }
        ui.label(egui::RichText::new(place).size(metrics::TRACK_FONT).color(colors.dim));
        if let Some(wait) = self.waits.and_then(|waits| wait_of(waits, event)) {
            let text = format!("waits {wait} for other ranks, then {} of transfer", entry.dur - wait);
            ui.label(egui::RichText::new(text).size(metrics::TRACK_FONT).color(colors.warning));
        }
        if self.path.is_some_and(|path| path.runs_through(self.trace, event)) {
            let text = egui::RichText::new("the critical path runs through it");
            ui.label(text.size(metrics::TRACK_FONT).color(colors.critical));
        }
        if let Some(launch) = self.trace.launches().launch_of(event).filter(|_| entry.kind.is_device_work()) {
            let by = self
                .trace
                .ancestors(launch)
                .find(|&id| self.trace.event(id).kind == gapless_trace::EventKind::Operator);
            let name = self.trace.name(by.unwrap_or(launch));
            let delay = entry.start - self.trace.event(launch).start;
            let text = format!("launched by {} {delay} before", crate::names::display_name(name));
            ui.label(egui::RichText::new(text).size(metrics::TRACK_FONT).color(colors.dim));
        }
    }
}
