//! The timeline widget: viewport, level of detail, painting, hit test.
//!
//! A [`TimelineIndex`] is built once per trace, off the UI thread; [`TimelineState`] holds what the user does;
//! [`Timeline`] draws both each frame. This crate knows egui and the model of a trace, and neither windows nor files.
//!
//! # Invariants
//!
//! - No work per event in a frame: bars and texels are bounded by pixels ([`FrameStats`] counts them).
//! - Colours and sizes come from [`theme`] alone.
//! - Times are whole nanoseconds; positions are computed relative to the start of the view.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::print_stdout))]

mod chrome;
mod communication;
mod counter;
#[cfg(test)]
mod fixtures;
mod flame;
mod format;
mod hit;
mod index;
mod input;
mod layout;
mod links;
mod lod;
mod names;
mod on_cpu;
mod overlay;
mod path;
mod placement;
mod scene;
mod sequence;
mod shifts;
mod state;
mod take_over;
pub mod theme;
mod viewport;
mod widget;
#[cfg(test)]
mod widget_tests;

pub use communication::{CollectiveWaits, CommunicationGroup, CommunicationRank};
pub use flame::{Flame, FlameBar, FlameRow};
pub use format::{counter_value, grouped, precise};
pub use index::TimelineIndex;
pub use input::{KEYS, KeyHelp};
pub use layout::{BelowSteps, FlameId, ListId, RankNode, RowSource, TimelineLayout, TrackGroup, TrackNode, TrackRow};
pub use links::{Link, links_of, next_linked, previous_linked};
pub use names::display_name;
pub use overlay::{BarStyle, Overlay, OverlayColor, OverlayPlace};
pub use path::{PathKind, PathLayer, PathPiece};
pub use placement::TrackFold;
pub use scene::{FrameStats, paint_hatched};
pub use shifts::Shifts;
pub use state::{TimelineCommand, TimelineState, ViewOptions};
pub use theme::{ColorId, Theme};
pub use viewport::{MIN_SPAN_NS, Viewport};
pub use widget::{Badge, SimulatedTrack, Timeline, TimelineResponse};
