//! The column of headers: ranks, tracks, lines of communication.

use egui::{Id, Painter, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2};

use super::{Areas, Badge, Timeline};
use crate::chrome::{self, Header};
use crate::format::counter_value;
use crate::layout::{RowSource, TrackGroup};
use crate::placement::{BlockItem, PlacedBlock, Placement, TrackFold};
use crate::state::TimelineState;
use crate::theme::metrics;

impl Timeline<'_> {
    pub(super) fn headers(
        &self,
        ui: &Ui,
        state: &mut TimelineState,
        areas: &Areas,
        id: Id,
        pinned: &Placement,
        placed: &Placement,
    ) {
        let painter = ui.painter_at(areas.whole);
        let pinned_rect =
            Rect::from_min_max(pos2(areas.headers.left(), areas.pinned.top()), areas.pinned.left_bottom());
        let parts = [(pinned_rect, pinned, 0.0, true), (areas.headers, placed, state.scroll_y, false)];
        for (rect, placement, scroll_y, is_pinned) in parts {
            painter.rect_filled(rect, 0.0, self.theme.ui.panel);
            let painter = painter.with_clip_rect(rect);
            for block in placement.blocks_in(scroll_y, scroll_y + rect.height()) {
                let top = rect.top() + block.y - scroll_y;
                // A header stays on screen as long as some of its rows are.
                let room = top + block.height - rect.top();
                let stuck = if top < rect.top() && room > metrics::TRACK_ROW { rect.top() } else { top };
                let header = Rect::from_min_max(pos2(rect.left(), stuck), pos2(rect.right(), top + block.height));
                self.header(ui, &painter, state, id, header, rect, block, is_pinned);
            }
        }
        painter.vline(areas.rows.left(), areas.whole.y_range(), Stroke::new(1.0, self.theme.ui.hairline));
    }

    fn header(
        &self,
        ui: &Ui,
        painter: &Painter,
        state: &mut TimelineState,
        id: Id,
        rect: Rect,
        clip: Rect,
        block: &PlacedBlock,
        is_pinned: bool,
    ) {
        let ranks = self.index.layout().ranks();
        let theme = self.theme;
        let (rank, track) = match block.item {
            BlockItem::RankHeading(rank) | BlockItem::FoldedRank(rank) => (rank, None),
            BlockItem::Track(rank, track) => (rank, Some(track)),
            BlockItem::CommunicationHeading | BlockItem::Communication(..) => {
                self.communication_header(ui, painter, state, id, rect, clip, block);
                return;
            }
        };
        let Some(node) = ranks.get(rank) else { return };
        let track_node = track.and_then(|track| node.tracks.get(track));
        let rows = track_node.map_or(0, |node| node.rows.len());
        let group = track_node.map_or(TrackGroup::Marks, |node| node.group);
        let folded = match (block.item, track) {
            (BlockItem::FoldedRank(_), _) => Some(true),
            (BlockItem::RankHeading(_), _) => Some(false),
            (_, Some(track)) if rows > 1 && !is_pinned => {
                Some(state.folds.track(rank, track, group) == TrackFold::Folded)
            }
            _ => None,
        };
        let note = match track_node {
            None => {
                let badge = self.badges.iter().find(|badge| badge.rank == node.rank);
                let color = |badge: &Badge| if badge.is_warning { theme.ui.warning } else { theme.ui.dim };
                badge.map(|badge| (badge.text.clone(), color(badge)))
            }
            Some(node) => match node.rows.first().map(|row| row.source) {
                Some(RowSource::Counter(counter)) => {
                    let series = self.trace.counters().get(counter.index());
                    let extent = self.index.counter(counter).map(|pyramid| pyramid.whole());
                    let both = series.zip(extent.filter(|extent| !extent.is_empty()));
                    both.map(|(series, extent)| {
                        let most = counter_value(f64::from(extent.high), self.trace.text(series.unit));
                        (format!("max {most}"), theme.ui.faint)
                    })
                }
                _ if block.hidden_rows > 0 => Some((format!("+{} rows", block.hidden_rows), theme.ui.faint)),
                _ => None,
            },
        };
        let label = match track_node {
            // They stay on top while other ranks scroll by.
            Some(_) if is_pinned && ranks.len() > 1 => &format!("Steps · {}", node.label),
            Some(track) => &track.label,
            None => &node.label,
        };
        let label = label.as_str();
        let visible = rect.intersect(clip);
        if !visible.is_positive() {
            return;
        }
        let response = ui.interact(visible, id.with(("header", is_pinned, block.item)), Sense::click());
        response.widget_info(|| WidgetInfo::labeled(Role::Button, folded.is_some(), label));
        if let Some(folded) = folded {
            ui.ctx().accesskit_node_builder(response.id, |node| node.set_expanded(!folded));
        }
        let is_rank = track_node.is_none();
        let is_hovered = response.hovered() && folded.is_some();
        let note_below = group == TrackGroup::Counter;
        chrome::paint_header(painter, theme, &Header { rect, label, note, note_below, folded, is_rank, is_hovered });
        if response.clicked() && folded.is_some() {
            state.toggle(block.item, group, block.hidden_rows, rows);
            ui.ctx().request_repaint();
        }
        if let Some(node) = track_node {
            response.on_hover_text(&node.detail);
        }
    }

    /// The header of the communication of all ranks, or of a line of it.
    fn communication_header(
        &self,
        ui: &Ui,
        painter: &Painter,
        state: &mut TimelineState,
        id: Id,
        rect: Rect,
        clip: Rect,
        block: &PlacedBlock,
    ) {
        let groups = self.index.layout().communication();
        let (label, detail, note, folded) = match block.item {
            BlockItem::Communication(group, place) => {
                let Some(group) = groups.get(group) else { return };
                let Some(line) = group.ranks.get(place) else { return };
                let detail = format!("Communication of {} in {}", line.label, group.label);
                // The group is named once, beside its first rank.
                let note = (place == 0).then(|| (group.label.clone(), self.theme.ui.faint));
                (line.label.as_str(), detail, note, None)
            }
            _ => {
                let detail = "Communication of all ranks, by process group".to_owned();
                ("Communication", detail, None, Some(!state.folds.shows_communication()))
            }
        };
        let visible = rect.intersect(clip);
        if !visible.is_positive() {
            return;
        }
        let is_rank = folded.is_some();
        let response = ui.interact(visible, id.with(("header", block.item)), Sense::click());
        let name = if is_rank { label } else { detail.as_str() };
        response.widget_info(|| WidgetInfo::labeled(Role::Button, is_rank, name));
        if let Some(folded) = folded {
            ui.ctx().accesskit_node_builder(response.id, |node| node.set_expanded(!folded));
        }
        let is_hovered = response.hovered() && is_rank;
        let header = Header { rect, label, note, note_below: false, folded, is_rank, is_hovered };
        chrome::paint_header(painter, self.theme, &header);
        if response.clicked() && is_rank {
            state.toggle(block.item, TrackGroup::Marks, 0, 0);
            ui.ctx().request_repaint();
        }
        response.on_hover_text(detail);
    }
}
