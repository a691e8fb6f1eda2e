//! What a panel asks the app to do.

use std::path::PathBuf;

use gapless_analysis::path::Category;
use gapless_trace::{EventId, RankId, Span};

use crate::BottomTab;
use crate::align::Alignment;
use crate::command::Command;
use crate::part::Part;
use crate::speeds::MachinePart;
use crate::state::Window;
use crate::table::TableId;

/// A change that a panel asks for. Only `update` carries it out.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Carry out a command.
    Run(Command),
    /// Open these paths as one trace.
    Open(Vec<PathBuf>),
    /// Compare the trace on the screen with what lies at these paths.
    Compare(Vec<PathBuf>),
    /// Open or close the details of a bar of the waterfall, by its place among the rows.
    OpenChange(usize),
    /// Light up a detail of a bar on both sides, by both places.
    ShowChange(usize, usize),
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
    /// Simulate a card of advice, or stop.
    TickAdvice(String),
    /// Simulate a machine with a part so many times as fast as recorded.
    SetSpeed(MachinePart, f64),
    /// Simulate the machine of the recording again.
    ResetSpeeds,
    /// Light up what a card of advice is about, and go there.
    ShowEvidence(String),
    /// Open or close the details of a card of advice.
    OpenAdvice(String),
    /// Bring ranks side by side in another way.
    Align(Alignment),
    /// Light up the time of a category on the critical path of the window.
    ShowCategory(Category),
    /// Go to a stretch of a critical path, by its place.
    ShowPathRow(usize),
    /// Go to a collective, by its place in the report, and show its arrivals.
    ShowCollective(usize),
    /// Light up the time that others wait for a rank alone.
    ShowLateness(RankId),
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
