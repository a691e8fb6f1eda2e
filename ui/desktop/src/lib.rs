//! The desktop app: a window on a trace, or a picture of one.
//!
//! Constraints of this crate:
//! - Panels (`view`) read the state and return messages; only `update` changes it.
//! - A frame never waits: opening, analysis and search run as jobs (`jobs`), and the last good result stays on screen.
//! - Every action is a `Command` of one table, with its name, shortcut, menu place and palette entry.
//! - Colours and sizes come from `gapless_timeline::Theme`; none are named here.
//! - A picture ([`screenshot()`]) is drawn by the same code as the window, without a display or a GPU driver.

mod advice;
mod align;
mod app;
mod command;
mod compare;
mod dialog;
mod engine;
mod engine_rows;
mod follow;
mod format;
mod highlight;
mod icon;
mod jobs;
mod message;
mod options;
mod part;
mod raster;
mod record;
mod roofline;
mod same_name;
mod screenshot;
mod search;
mod simulate;
mod speeds;
mod state;
mod system;
mod table;
mod tables;
mod update;
mod view;
mod window;

#[cfg(test)]
mod tests;

pub use options::{AppOptions, BottomTab, OptionError, RelativeRange, RendererChoice, ScreenshotOptions, ThemeChoice};
pub use raster::{Picture, SoftwarePainter};
pub use record::{Ability, CheckLine, MachineCheck, Recording, RecordingState};
pub use screenshot::{picture, screenshot, write_png};
pub use system::display_problem;
pub use window::run;
