//! The simulated track: what the devices of a rank would do, beside what they did.

use std::sync::Arc;

use egui::{Mesh, Painter, Rangef, Rect, Shape, Stroke, Ui, pos2, vec2};
use gapless_trace::{RankId, Span, Timestamp};

use super::{Areas, Timeline};
use crate::chrome;
use crate::overlay::disjoint;
use crate::scene::{push_quad, push_stripes};
use crate::state::TimelineState;
use crate::theme::{fade, metrics, mix};

/// Height of the track.
pub(super) const HEIGHT: f32 = 24.0;

/// What a replay gives, ready to be drawn. Make it once, beside the frames.
#[derive(Clone, Debug, Default)]
pub struct SimulatedTrack {
    /// What is simulated.
    label: String,
    /// Busy time of the devices of each rank, on its clock, ascending.
    busy: Vec<Vec<Span>>,
    /// Where each step ends, on the clock of each rank.
    ends: Vec<Vec<Timestamp>>,
    /// What stands at the end of each step (`17.9 ms, −1.9 ms`).
    texts: Vec<String>,
}

impl SimulatedTrack {
    /// The track of `label`: times in which devices are busy and ends of steps, by rank and on the rank's clock; a text
    /// for each step.
    #[must_use]
    pub fn new(label: String, busy: Vec<Vec<Span>>, ends: Vec<Vec<Timestamp>>, texts: Vec<String>) -> Self {
        Self { label, busy: busy.into_iter().map(disjoint).collect(), ends, texts }
    }

    /// When the devices of a rank are busy.
    #[must_use]
    pub fn busy_of(&self, rank: RankId) -> &[Span] {
        self.busy.get(rank.index()).map_or(&[], Vec::as_slice)
    }

    /// What stands at the ends of steps.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

/// Runs of `spans` in pixels, those within a pixel of one another as one. At most one every other pixel; each next one is
/// found by a search.
fn runs(spans: &[Span], x_of: impl Fn(Timestamp) -> f32, time_at: impl Fn(f32) -> Timestamp, x: Rangef) -> Vec<Rangef> {
    let mut at = spans.partition_point(|span| span.end <= time_at(x.min));
    let mut found: Vec<Rangef> = Vec::new();
    while let Some(span) = spans.get(at) {
        let run = Rangef::new(x_of(span.start).max(x.min), x_of(span.end).min(x.max));
        if run.min >= x.max {
            break;
        }
        let run = Rangef::new(run.min, run.max.max(run.min + 1.0));
        match found.last_mut() {
            Some(last) if run.min <= last.max + 1.0 => last.max = last.max.max(run.max),
            _ => found.push(run),
        }
        let covered = time_at(run.max);
        let rest = spans.get(at + 1..).unwrap_or_default();
        at += 1 + rest.partition_point(|span| span.end <= covered);
    }
    found
}

impl Timeline<'_> {
    /// The first open rank: the one that is compared.
    fn simulated_rank(&self, state: &TimelineState) -> RankId {
        let ranks = self.index.layout().ranks();
        let open = ranks.iter().find(|rank| state.is_rank_open(rank.rank));
        open.or(ranks.first()).map_or(RankId(0), |rank| rank.rank)
    }

    pub(super) fn paint_simulated(&self, ui: &Ui, painter: &Painter, state: &TimelineState, areas: &Areas) {
        let Some(track) = self.simulated else { return };
        let area = areas.simulated;
        let (theme, rank) = (self.theme, self.simulated_rank(state));
        let view = state.view_of(rank);
        let x = areas.rows.x_range();
        let clipped = painter.with_clip_rect(area);
        let ground = mix(theme.ui.background, theme.ui.accent, 0.10);
        clipped.rect_filled(area, 0.0, ground);
        let y = area.y_range().shrink(4.0);
        let mut mesh = Mesh::default();
        for run in runs(track.busy_of(rank), |time| view.x_of(time, x), |at| view.time_at(at, x), x) {
            let bar = Rect::from_x_y_ranges(run, y);
            push_quad(&mut mesh, bar, fade(theme.ui.accent, 0.75));
            // In print and for eyes that tell no green, stripes say that it did not happen.
            if bar.width() > 6.0 {
                push_stripes(&mut mesh, bar, fade(ground, 0.45));
            }
        }
        clipped.add(Arc::new(mesh));
        self.simulated_ends(painter, track, rank, state, areas);
        let header = Rect::from_min_max(pos2(areas.whole.left(), area.top()), pos2(area.left(), area.bottom()));
        let painter = painter.with_clip_rect(header);
        painter.rect_filled(header, 0.0, mix(theme.ui.panel, theme.ui.accent, 0.12));
        let name = self.trace.rank(rank).map(gapless_trace::Rank::label).unwrap_or_default();
        let several = self.index.layout().ranks().len() > 1;
        let text = if several { format!("{name}, {}", track.label) } else { track.label.clone() };
        let galley = chrome::cut_text(&painter, &text, metrics::TRACK_FONT, header.width() - 32.0);
        painter.galley(pos2(header.left() + 24.0, header.center().y - galley.size().y / 2.0), galley, theme.ui.accent);
        let response = ui.interact(header, ui.scope_id().with("simulated"), egui::Sense::hover());
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, format!("Simulated: {text}")));
        response.on_hover_text(format!("Simulated: {text}"));
    }

    /// Dashed lines where steps would end, with what they would last.
    fn simulated_ends(
        &self,
        painter: &Painter,
        track: &SimulatedTrack,
        rank: RankId,
        state: &TimelineState,
        areas: &Areas,
    ) {
        /// Ends nearer to one another have no text.
        const ROOM: f32 = 120.0;
        let (theme, area) = (self.theme, areas.simulated);
        let view = state.view_of(rank);
        let x = areas.rows.x_range();
        let ends = track.ends.get(rank.index()).map_or(&[][..], Vec::as_slice);
        let from = ends.partition_point(|end| view.x_of(*end, x) < x.min);
        let to = ends.partition_point(|end| view.x_of(*end, x) <= x.max);
        let shown = ends.get(from..to.max(from)).unwrap_or_default();
        if shown.len() as f32 * 6.0 > x.span() {
            return;
        }
        let canvas = painter.with_clip_rect(areas.simulated.union(areas.rows));
        let has_room = shown.len() as f32 * ROOM < x.span();
        for (end, place) in shown.iter().zip(from..) {
            let at = view.x_of(*end, x);
            let line = [pos2(at, area.top()), pos2(at, areas.rows.bottom())];
            canvas.extend(Shape::dashed_line(&line, Stroke::new(1.5, theme.ui.accent), 5.0, 4.0));
            if let Some(text) = track.texts.get(place).filter(|_| has_room) {
                let galley = canvas.layout_no_wrap(text.clone(), chrome::font(metrics::BAR_FONT), theme.ui.accent);
                let size = galley.size() + vec2(8.0, 2.0);
                // Left of the line where there is no room to its right.
                let left = if at + 6.0 + size.x > x.max { at - 6.0 - size.x } else { at + 6.0 };
                let rect = Rect::from_min_size(pos2(left, area.center().y - size.y / 2.0), size);
                canvas.rect_filled(rect, 3.0, theme.ui.raised);
                canvas.galley(rect.min + vec2(4.0, 1.0), galley, theme.ui.accent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_bounded_by_pixels_and_lose_nothing_long() {
        let x = Rangef::new(0.0, 100.0);
        let spans: Vec<Span> = (0..10_000)
            .map(|i| Span::new(Timestamp(i * 10), Timestamp(i * 10 + if i == 5_000 { 10 } else { 1 })))
            .collect();
        let of = |ns_per_px: f64| {
            runs(
                &spans,
                move |time| (time.0 as f64 / ns_per_px) as f32,
                move |at| Timestamp((f64::from(at) * ns_per_px) as i64),
                x,
            )
        };
        assert_eq!(of(1_000.0).len(), 1, "all of it is busy as far as can be seen");
        let near = of(2.0);
        assert!(near.len() <= 50 && near.len() > 10, "{}", near.len());
        assert!(near.windows(2).all(|pair| pair[0].max < pair[1].min));
    }
}
