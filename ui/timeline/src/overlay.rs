//! What a caller lays over the tracks: evidence of a finding, waiting, gaps, the events of a name.

use std::sync::Arc;

use egui::Color32;
use gapless_trace::{EventId, EventKind, RankId, RowId, Span, TrackId};

use crate::theme::Theme;

/// How a mark looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BarStyle {
    /// Filled.
    Solid,
    /// Filled quietly with stripes: waiting, idle, simulated.
    Hatched,
    /// A line around it.
    Outline,
    /// A light veil.
    Tint,
}

/// Which colour a mark has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OverlayColor {
    /// Advice and simulation.
    Accent,
    /// The critical path.
    Critical,
    /// Waiting and unexplained time.
    Waiting,
    /// Something to look at.
    Warning,
    /// The colour of a kind.
    Kind(EventKind),
}

impl OverlayColor {
    /// In a theme.
    #[must_use]
    pub fn resolve(self, theme: &Theme) -> Color32 {
        match self {
            Self::Accent => theme.ui.accent,
            Self::Critical => theme.ui.critical,
            Self::Waiting => theme.ui.waiting,
            Self::Warning => theme.ui.warning,
            Self::Kind(kind) => theme.kind(kind),
        }
    }
}

/// Where marks of time are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OverlayPlace {
    /// Over all rows.
    Everywhere,
    /// Over all rows of a rank, folded or open.
    Rank(RankId),
    /// Over all rows of a track.
    Track(TrackId),
    /// Over one row.
    Row(RowId),
}

/// What is marked.
#[derive(Clone, Debug)]
pub(crate) enum Marks {
    /// Events, ascending.
    Events(Arc<[EventId]>),
    /// Disjoint ranges of time, ascending.
    Spans(OverlayPlace, Arc<[Span]>),
}

/// Marks of one style. Cheap to clone; keep it rather than making it anew every frame, so that what was drawn of it
/// can be used again.
#[derive(Clone, Debug)]
pub struct Overlay {
    pub(crate) marks: Marks,
    pub(crate) style: BarStyle,
    pub(crate) color: OverlayColor,
}

impl Overlay {
    /// Marks events, in any order.
    #[must_use]
    pub fn events(mut events: Vec<EventId>, style: BarStyle, color: OverlayColor) -> Self {
        events.sort_unstable();
        events.dedup();
        Self { marks: Marks::Events(events.into()), style, color }
    }

    /// Marks ranges of time, in any order; ranges that overlap become one.
    #[must_use]
    pub fn spans(place: OverlayPlace, spans: Vec<Span>, style: BarStyle, color: OverlayColor) -> Self {
        Self { marks: Marks::Spans(place, disjoint(spans).into()), style, color }
    }

    /// Whether both show the same data in the same way.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same_marks = match (&self.marks, &other.marks) {
            (Marks::Events(a), Marks::Events(b)) => Arc::ptr_eq(a, b),
            (Marks::Spans(a_place, a), Marks::Spans(b_place, b)) => a_place == b_place && Arc::ptr_eq(a, b),
            _ => false,
        };
        same_marks && self.style == other.style && self.color == other.color
    }
}

/// The ranges of time that `spans` cover, ascending; ranges that touch become one.
pub(crate) fn disjoint(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    let mut disjoint: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match disjoint.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => disjoint.push(span),
        }
    }
    disjoint
}

#[cfg(test)]
mod tests {
    use super::*;
    use gapless_trace::Timestamp;

    #[test]
    fn spans_become_disjoint() {
        let span = |start, end| Span::new(Timestamp(start), Timestamp(end));
        let spans = vec![span(10, 20), span(0, 5), span(4, 8), span(20, 30), span(40, 50)];
        let overlay = Overlay::spans(OverlayPlace::Everywhere, spans, BarStyle::Tint, OverlayColor::Accent);
        let Marks::Spans(_, spans) = &overlay.marks else { unreachable!("made of spans") };
        assert_eq!(**spans, [span(0, 8), span(10, 30), span(40, 50)]);
    }
}
