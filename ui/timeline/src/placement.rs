//! What is folded, and where everything lies from top to bottom.

use rustc_hash::FxHashMap;

use gapless_trace::{EventId, RankId, RowId, Trace, TrackId};

use crate::communication::CommunicationGroup;
use crate::layout::{BelowSteps, RankNode, RowSource, TimelineLayout, TrackGroup, TrackNode, TrackRow, is_crowded};
use crate::theme::metrics;

/// How much of a track is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrackFold {
    /// Its outermost row.
    Folded,
    /// Its rows down to the depth of [`ViewOptions::max_depth`](crate::ViewOptions::max_depth).
    #[default]
    Capped,
    /// All its rows.
    Full,
}

/// What is folded and what is open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folds {
    /// By place of the rank.
    open: Vec<bool>,
    /// Whether a rank has so many threads that its streams would lie below the window, by place.
    crowded: Vec<bool>,
    /// By place of the rank and of the track in it.
    tracks: FxHashMap<(usize, usize), TrackFold>,
    /// Whether the lines of communication are shown.
    communication: bool,
    /// Changes with every change.
    pub revision: u64,
}

impl Folds {
    /// The first rank open, the others folded.
    pub fn new(layout: &TimelineLayout) -> Self {
        let crowded = layout.ranks().iter().map(|rank| is_crowded(rank.tracks.iter())).collect();
        /// With more lines than these the ranks themselves would lie below the window.
        const MOST_LINES: usize = 16;
        let lines: usize =
            layout.communication().iter().flat_map(|group| &group.ranks).map(|rank| rank.lines.len()).sum();
        // One rank alone has nobody to be compared with.
        let communication = layout.ranks().len() > 1 && lines <= MOST_LINES;
        let open = (0..layout.ranks().len()).map(|rank| rank == 0).collect();
        Self { open, crowded, communication, ..Self::default() }
    }

    pub fn is_open(&self, rank: usize) -> bool {
        self.open.get(rank).copied().unwrap_or(false)
    }

    pub fn set_open(&mut self, rank: usize, open: bool) {
        if let Some(entry) = self.open.get_mut(rank) {
            *entry = open;
            self.revision += 1;
        }
    }

    pub fn shows_communication(&self) -> bool {
        self.communication
    }

    pub fn toggle_communication(&mut self) {
        self.communication = !self.communication;
        self.revision += 1;
    }

    pub fn set_all_open(&mut self, open: bool) {
        self.open.fill(open);
        self.revision += 1;
    }

    /// Python frames, and threads where there are many, are folded until they are asked for.
    pub fn track(&self, rank: usize, track: usize, group: TrackGroup) -> TrackFold {
        let is_crowded = self.crowded.get(rank).copied().unwrap_or(false);
        let initial = match group {
            TrackGroup::Python | TrackGroup::Samples => TrackFold::Folded,
            TrackGroup::Thread if is_crowded => TrackFold::Folded,
            _ => TrackFold::default(),
        };
        self.tracks.get(&(rank, track)).copied().unwrap_or(initial)
    }

    /// How a track was folded or opened, if it was.
    pub fn chosen(&self, rank: usize, track: usize) -> Option<TrackFold> {
        self.tracks.get(&(rank, track)).copied()
    }

    pub fn set_track(&mut self, rank: usize, track: usize, fold: TrackFold) {
        self.tracks.insert((rank, track), fold);
        self.revision += 1;
    }
}

/// What a block shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BlockItem {
    /// The heading of an open rank, by its place.
    RankHeading(usize),
    /// A folded rank, by its place.
    FoldedRank(usize),
    /// A track: places of the rank and of the track in it.
    Track(usize, usize),
    /// The heading of the communication of all ranks.
    CommunicationHeading,
    /// What a rank communicates: places of the group and of the rank in it.
    Communication(usize, usize),
}

/// Something with a header, from top to bottom.
#[derive(Clone, Debug)]
pub(crate) struct PlacedBlock {
    pub item: BlockItem,
    pub y: f32,
    pub height: f32,
    /// Its rows in [`Placement::rows`].
    pub rows: std::ops::Range<usize>,
    /// Rows that the depth limit or folding hides.
    pub hidden_rows: usize,
}

/// What a row draws.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RowContent {
    /// A row of a track.
    Source(RowSource),
    /// A line of communication, whose events are drawn on tracks of their own too.
    Collectives(RowSource),
    /// Device work of a folded rank, by its place.
    Device(usize),
    /// Communication of a folded rank, by its place.
    Communication(usize),
}

/// A row on its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PlacedRow {
    pub content: RowContent,
    pub rank: RankId,
    pub depth: u16,
    pub y: f32,
    pub height: f32,
    /// The track that it is a row of.
    pub track: Option<TrackId>,
    /// When the track's thread ran, for a thin line along the top.
    pub on_cpu: Option<RowSource>,
    /// Whether it is the first of its track, or of a folded rank: what belongs to the track as a whole is drawn here.
    pub is_first: bool,
    /// Whether it is of a thread.
    pub is_host: bool,
}

/// Blocks and rows from top to bottom, y ascending from 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placement {
    pub blocks: Vec<PlacedBlock>,
    pub rows: Vec<PlacedRow>,
    pub height: f32,
    /// Places in `rows`: of rows of the trace, of the first row of each track, of folded ranks.
    anchors: Anchors,
}

#[derive(Clone, Debug, Default)]
struct Anchors {
    rows: FxHashMap<RowId, u32>,
    tracks: FxHashMap<TrackId, u32>,
    folded: FxHashMap<RankId, u32>,
}

impl Placement {
    /// The steps of the first rank that has any: they stay on top. And everything else; the steps of other ranks are on
    /// their main threads.
    pub fn new(layout: &TimelineLayout, folds: &Folds, show_hidden: bool, max_depth: u16) -> (Self, Self) {
        let (mut pinned, mut scrolled) = (Self::default(), Self::default());
        let mut pinned_rank = None;
        scrolled.push_communication(layout.communication(), folds.shows_communication());
        for (place, rank) in layout.ranks().iter().enumerate() {
            let open = folds.is_open(place);
            if open {
                scrolled.push_block(BlockItem::RankHeading(place), metrics::RANK_HEADING, 0);
            } else {
                scrolled.push_folded(place, rank);
            }
            for (track, node) in rank.tracks.iter().enumerate() {
                let pin = node.group == TrackGroup::Steps && pinned.blocks.is_empty();
                if pin {
                    pinned_rank = Some(place);
                    pinned.push_track((place, track), rank, node, TrackFold::Full, max_depth);
                } else if open && node.group != TrackGroup::Steps && (show_hidden || !node.hidden) {
                    let fold = folds.track(place, track, node.group);
                    // What stays on top is not said again below.
                    match below_steps(node).filter(|_| pinned_rank == Some(place)) {
                        Some(node) => scrolled.push_track((place, track), rank, &node, fold, max_depth),
                        None => scrolled.push_track((place, track), rank, node, fold, max_depth),
                    }
                }
            }
            scrolled.height += metrics::SPACE;
        }
        scrolled.find_anchors();
        (pinned, scrolled)
    }

    fn find_anchors(&mut self) {
        for (row, place) in self.rows.iter().zip(0..) {
            match (row.content, row.track) {
                (RowContent::Device(_), _) => drop(self.anchors.folded.insert(row.rank, place)),
                (RowContent::Source(source), Some(track)) => {
                    if row.is_first {
                        self.anchors.tracks.insert(track, place);
                    }
                    if let RowSource::Row(id) = source {
                        self.anchors.rows.entry(id).or_insert(place);
                    }
                }
                _ => {}
            }
        }
    }

    /// Where something of a track is drawn: in its row of the trace, else in the first row of its track, else in its
    /// folded rank. O(1).
    pub fn anchor(&self, rank: RankId, track: TrackId, row: Option<RowId>) -> Option<&PlacedRow> {
        let of_row = row.and_then(|row| self.anchors.rows.get(&row));
        let place = of_row.or_else(|| self.anchors.tracks.get(&track)).or_else(|| self.anchors.folded.get(&rank));
        self.rows.get(*place? as usize)
    }

    fn push_block(&mut self, item: BlockItem, height: f32, hidden_rows: usize) {
        let rows = self.rows.len()..self.rows.len();
        self.blocks.push(PlacedBlock { item, y: self.height, height, rows, hidden_rows });
        self.height += height;
    }

    fn push_communication(&mut self, groups: &[CommunicationGroup], open: bool) {
        if groups.is_empty() {
            return;
        }
        self.push_block(BlockItem::CommunicationHeading, metrics::RANK_HEADING, 0);
        let places = groups.iter().enumerate().flat_map(|(group, node)| {
            node.ranks.iter().enumerate().map(move |(rank, line)| (BlockItem::Communication(group, rank), rank, line))
        });
        for (item, place, line) in places.filter(|_| open) {
            if place == 0 {
                self.height += metrics::SPACE / 2.0;
            }
            let (y, first) = (self.height, self.rows.len());
            for (row, &source) in line.lines.iter().enumerate() {
                let y = y + row as f32 * metrics::DEPTH_ROW;
                let content = RowContent::Collectives(source);
                let height = metrics::DEPTH_ROW;
                self.rows.push(PlacedRow {
                    content,
                    rank: line.rank,
                    depth: 0,
                    y,
                    height,
                    track: None,
                    on_cpu: None,
                    is_first: false,
                    is_host: false,
                });
            }
            self.push_block(item, line.lines.len() as f32 * metrics::DEPTH_ROW, 0);
            if let Some(block) = self.blocks.last_mut() {
                block.rows.start = first;
            }
        }
        self.height += metrics::SPACE;
    }

    fn push_folded(&mut self, place: usize, node: &RankNode) {
        let y = self.height;
        let first = self.rows.len();
        let mut push = |content, y, height| {
            let is_first = matches!(content, RowContent::Device(_));
            self.rows.push(PlacedRow {
                content,
                rank: node.rank,
                depth: 0,
                y,
                height,
                track: None,
                on_cpu: None,
                is_first,
                is_host: false,
            });
        };
        push(RowContent::Device(place), y + 2.0, 11.0);
        push(RowContent::Communication(place), y + 14.0, 6.0);
        self.push_block(BlockItem::FoldedRank(place), metrics::FOLDED_RANK, 0);
        if let Some(block) = self.blocks.last_mut() {
            block.rows.start = first;
        }
    }

    fn push_track(
        &mut self,
        places: (usize, usize),
        rank: &RankNode,
        node: &TrackNode,
        fold: TrackFold,
        max_depth: u16,
    ) {
        let y = self.height;
        let first = self.rows.len();
        let mut height = 0.0;
        for (place, row) in node.rows.iter().enumerate() {
            let shown = match fold {
                TrackFold::Folded => node.folded.contains(&place),
                TrackFold::Capped => row.depth < max_depth.max(1),
                TrackFold::Full => true,
            };
            if !shown {
                continue;
            }
            let row_height = row_height(node.group, place);
            self.rows.push(PlacedRow {
                content: RowContent::Source(row.source),
                rank: rank.rank,
                depth: row.depth,
                y: y + height,
                height: row_height,
                track: node.track,
                on_cpu: node.on_cpu.filter(|_| height == 0.0),
                is_first: height == 0.0 && !matches!(node.group, TrackGroup::Python | TrackGroup::Samples),
                is_host: matches!(node.group, TrackGroup::MainThread | TrackGroup::Thread | TrackGroup::Python),
            });
            height += row_height;
        }
        let shown = self.rows.len() - first;
        self.push_block(BlockItem::Track(places.0, places.1), height, node.rows.len() - shown);
        if let Some(block) = self.blocks.last_mut() {
            block.rows.start = first;
        }
        self.height += metrics::SPACE;
    }

    /// The blocks that touch `[top, bottom)`.
    pub fn blocks_in(&self, top: f32, bottom: f32) -> &[PlacedBlock] {
        let first = self.blocks.partition_point(|block| block.y + block.height <= top);
        let last = self.blocks.partition_point(|block| block.y < bottom);
        self.blocks.get(first..last.max(first)).unwrap_or_default()
    }

    /// The rows that touch `[top, bottom)`.
    pub fn rows_in(&self, top: f32, bottom: f32) -> &[PlacedRow] {
        let first = self.rows.partition_point(|row| row.y + row.height <= top);
        let last = self.rows.partition_point(|row| row.y < bottom);
        self.rows.get(first..last.max(first)).unwrap_or_default()
    }

    /// The row at `y`.
    pub fn row_at(&self, y: f32) -> Option<&PlacedRow> {
        let place = self.rows.partition_point(|row| row.y + row.height <= y);
        self.rows.get(place).filter(|row| row.y <= y)
    }

    /// The row that shows an event: its own, else the nearest above it that is shown, else its folded rank's.
    pub fn row_of(&self, trace: &Trace, layout: &TimelineLayout, event: EventId) -> Option<&PlacedRow> {
        let (rank, track, inner) = layout.find(trace, event)?;
        let source = layout.ranks().get(rank)?.tracks.get(track)?.rows.get(inner)?.source;
        let block = self.blocks.iter().find(|block| match block.item {
            BlockItem::FoldedRank(place) => place == rank,
            BlockItem::Track(of, place) => of == rank && place == track,
            BlockItem::RankHeading(_) | BlockItem::CommunicationHeading | BlockItem::Communication(..) => false,
        })?;
        let rows = self.rows.get(block.rows.clone())?;
        if let BlockItem::FoldedRank(_) = block.item {
            let line = usize::from(trace.event(event).kind.is_communication());
            return rows.get(line);
        }
        let own = rows.iter().find(|placed| placed.content == RowContent::Source(source));
        let node = layout.ranks().get(rank)?.tracks.get(track)?;
        let shows = |list| rows.iter().find(|placed| placed.content == RowContent::Source(RowSource::List(list)));
        match node.rows.get(inner)?.below_steps {
            // What stays on top is drawn there alone.
            BelowSteps::Rest(list) if own.is_none() && shows(list).is_some() => {
                return shows(list).filter(|_| layout.position(trace, list, event).is_some());
            }
            BelowSteps::Nothing if own.is_none() && rows.len() > 1 => return None,
            BelowSteps::All | BelowSteps::Nothing | BelowSteps::Rest(_) => {}
        }
        own.or_else(|| rows.get(inner.min(rows.len().saturating_sub(1))))
    }
}

/// The line of communication that shows an event, beside its own row.
pub(crate) fn collectives_row<'a>(
    placement: &'a Placement,
    trace: &Trace,
    layout: &TimelineLayout,
    event: EventId,
) -> Option<&'a PlacedRow> {
    let lines = placement.rows.iter().take_while(|row| matches!(row.content, RowContent::Collectives(_)));
    let rank = trace.rank_of(event)?;
    lines.filter(|row| row.rank == rank).find(|row| match row.content {
        RowContent::Collectives(RowSource::List(list)) => layout.position(trace, list, event).is_some(),
        _ => false,
    })
}

/// A track without what the steps show; `None` if it shows nothing of that, or nothing else.
fn below_steps(node: &TrackNode) -> Option<TrackNode> {
    let rest = node.rows.iter().filter_map(|row| match row.below_steps {
        BelowSteps::All => Some(*row),
        BelowSteps::Nothing => None,
        BelowSteps::Rest(list) => Some(TrackRow { source: RowSource::List(list), ..*row }),
    });
    let rest: Vec<TrackRow> = rest.collect();
    (rest != node.rows && !rest.is_empty()).then(|| TrackNode { rows: rest, ..node.clone() })
}

fn row_height(group: TrackGroup, place: usize) -> f32 {
    match group {
        TrackGroup::Counter => metrics::COUNTER_ROW,
        TrackGroup::Copies => metrics::COPY_ROW,
        TrackGroup::Samples => metrics::DEPTH_ROW,
        _ if place == 0 => metrics::TRACK_ROW,
        _ => metrics::DEPTH_ROW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use gapless_trace::EventKind;

    fn placed(show_hidden: bool, fold: impl FnOnce(&mut Folds)) -> (Placement, Placement, Trace) {
        let trace = fixtures::training(3, 2);
        let layout = TimelineLayout::new(&trace);
        let mut folds = Folds::new(&layout);
        fold(&mut folds);
        let (pinned, scrolled) = Placement::new(&layout, &folds, show_hidden, 8);
        (pinned, scrolled, trace)
    }

    #[test]
    fn blocks_do_not_overlap_and_rows_lie_in_their_blocks() {
        let (_, placement, _) = placed(true, |folds| folds.set_open(2, true));
        for pair in placement.blocks.windows(2) {
            assert!(pair[0].y + pair[0].height <= pair[1].y, "{pair:?}");
        }
        for block in &placement.blocks {
            for row in &placement.rows[block.rows.clone()] {
                assert!(row.y >= block.y && row.y + row.height <= block.y + block.height, "{row:?} in {block:?}");
            }
        }
        assert!(placement.rows.windows(2).all(|pair| pair[0].y + pair[0].height <= pair[1].y));
    }

    #[test]
    fn folded_ranks_have_two_lines_and_steps_stay_on_top() {
        let (pinned, placement, _) = placed(false, |_| {});
        assert_eq!(pinned.blocks.len(), 1);
        let folded = placement.blocks.iter().filter(|block| matches!(block.item, BlockItem::FoldedRank(_)));
        assert!(folded.clone().all(|block| block.rows.len() == 2 && block.height == metrics::FOLDED_RANK));
        assert_eq!(folded.count(), 2);
    }

    #[test]
    fn what_stays_on_top_is_not_repeated_below() {
        let (pinned, placement, trace) = placed(false, |folds| folds.set_open(1, true));
        let layout = TimelineLayout::new(&trace);
        let shown = |placement: &Placement, rank: u32| {
            let rows = placement.rows.iter().filter(move |row| row.rank == RankId(rank));
            let ids = rows.flat_map(|row| match row.content {
                RowContent::Source(RowSource::Row(id)) => {
                    trace.rows()[id.index()].indices().map(|id| EventId(id as u32)).collect::<Vec<_>>()
                }
                RowContent::Source(RowSource::List(list)) => layout.list(list).to_vec(),
                _ => Vec::new(),
            });
            ids.filter(|&id| trace.event(id).kind == EventKind::Step).count()
        };
        assert_eq!((shown(&pinned, 0), shown(&placement, 0), shown(&placement, 1)), (2, 0, 2));
        let steps = |rank| {
            (0..trace.events().len() as u32)
                .map(EventId)
                .find(|&id| trace.event(id).kind == EventKind::Step && trace.rank_of(id) == Some(RankId(rank)))
        };
        assert!(placement.row_of(&trace, &layout, steps(0).unwrap()).is_none());
        assert!(placement.row_of(&trace, &layout, steps(1).unwrap()).is_some());
    }

    #[test]
    fn every_event_has_a_row_wherever_it_is_folded() {
        let (pinned, placement, trace) = placed(true, |folds| folds.set_track(0, 1, TrackFold::Folded));
        let layout = TimelineLayout::new(&trace);
        for (id, track) in trace.track_ids() {
            for event in track.event_ids() {
                let on_top = || {
                    pinned.rows.iter().find(|row| match row.content {
                        RowContent::Source(RowSource::List(list)) => layout.position(&trace, list, event).is_some(),
                        _ => false,
                    })
                };
                let row = placement.row_of(&trace, &layout, event).or_else(on_top).unwrap();
                let open = track.rank.0 == 0;
                assert_eq!(open, matches!(row.content, RowContent::Source(_)), "{id:?}");
                if !open && trace.event(event).kind == EventKind::Collective {
                    assert!(matches!(row.content, RowContent::Communication(_)));
                }
            }
        }
    }

    #[test]
    fn hidden_tracks_appear_on_demand() {
        let (_, few, _) = placed(false, |_| {});
        let (_, all, _) = placed(true, |_| {});
        assert!(all.blocks.len() > few.blocks.len());
    }
}
