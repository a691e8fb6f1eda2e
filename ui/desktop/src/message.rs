//! What a panel asks the app to do.

use std::path::PathBuf;

use gapless_trace::{EventId, RankId, Span};

use crate::BottomTab;
use crate::command::Command;
use crate::part::Part;
use crate::state::Window;
use crate::table::TableId;

/// A change that a panel asks for. Only `update` carries it out.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Carry out a command.
    Run(Command),
    /// Open these paths as one trace.
    Open(Vec<PathBuf>),
    /// Give up opening.
    CancelLoading,
    /// The failure was read.
    DismissFailure,
    /// Close whatever lies over the window: palette, help, path field.
    CloseOverlay,
    /// The text of the palette.
    PaletteQuery(String),
    /// Another line of the palette.
    PaletteChoose(usize),
    /// The text of the path field.
    PathText(String),
    /// Choose the stretch of time that the numbers are about.
    ChooseWindow(Window),
    /// Choose a tab.
    ShowTab(BottomTab),
    /// Light up a part of one rank, or of all, and go there.
    ShowPart(Option<RankId>, Part),
    /// Light up what communicates while something computes, of all ranks.
    ShowHiddenCommunication,
    /// Light up the events of a name of one rank, or of all, and go there.
    ShowName(Option<RankId>, String),
    /// Go to the stretch of time of one rank.
    ShowSpan(Option<RankId>, Span),
    /// Look at another piece of the highlight: forward or back, by length.
    StepHighlight(isize),
    /// Take the highlight away.
    ClearHighlight,
    /// Select an event and go there.
    Select(EventId),
    /// Another event is selected on the timeline already.
    SelectionChanged(Option<EventId>),
    /// Another range is dragged on the timeline already.
    RangeChanged(Option<Span>),
    /// Open or close the checks of the model.
    ShowTrust(bool),
    /// The text of the search field.
    SearchText(String),
    /// Open or close the list of names that were found.
    SearchList(bool),
    /// The rank whose tables are shown.
    ChooseTableRank(RankId),
    /// Put a text on the clipboard.
    Copy(String),
    /// Sort a table by a column; by the same again turns it around.
    SortTable(TableId, usize),
}
