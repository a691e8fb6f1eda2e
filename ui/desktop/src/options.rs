//! What a caller can ask of the app: a window or a picture.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use gapless_formats::OpenOptions;
use gapless_trace::Duration;

use crate::record::Recording;

/// How to open the window.
#[derive(Clone, Debug, Default)]
pub struct AppOptions {
    /// Trace files to load, one rank each; empty shows how to open one.
    pub paths: Vec<PathBuf>,
    /// How to open them.
    pub open: OpenOptions,
    /// Dark if not given.
    pub theme: Option<ThemeChoice>,
    /// What draws the window.
    pub renderer: RendererChoice,
    /// What the surroundings know about recording.
    pub recording: Option<Arc<dyn Recording>>,
    /// The recording to compare with; empty compares with none.
    pub compare: Vec<PathBuf>,
}

/// What to show on a picture that is made without a display.
#[derive(Clone, Debug)]
pub struct ScreenshotOptions {
    /// Trace files to load, one rank each; empty shows the screen before anything is opened.
    pub paths: Vec<PathBuf>,
    /// How to open them.
    pub open: OpenOptions,
    /// What the surroundings know about recording.
    pub recording: Option<Arc<dyn Recording>>,
    /// The PNG file to write.
    pub output: PathBuf,
    /// Width and height in points; the picture has `pixels_per_point` times as many pixels.
    pub size: [u32; 2],
    /// Pixels per point; 2 for displays of high density.
    pub pixels_per_point: f32,
    /// Dark or light.
    pub theme: ThemeChoice,
    /// Time range to show, since the start of the trace; the chosen step if not given.
    pub range: Option<RelativeRange>,
    /// Step to choose: its name, or the number at the end of its name, or its place from 0.
    pub step: Option<String>,
    /// Event to select: the longest one of this name, else the longest one whose name holds this text; of
    /// `expanded_rank`, if that is given.
    pub select: Option<String>,
    /// Number of the rank to open in full.
    pub expanded_rank: Option<u32>,
    /// Tab of the bottom panel; the breakdown, or the selection when an event is selected.
    pub tab: Option<BottomTab>,
    /// Whether the checks of the model are open.
    pub shows_trust: bool,
    /// Cards of advice to simulate, by id, and speeds of the machine: `link=2x`, `gpu=2x`, `host=2x`.
    pub simulate: Vec<String>,
    /// The recording to compare with; empty compares with none.
    pub compare: Vec<PathBuf>,
    /// Bar of the waterfall whose details are open, by its label or a part of it.
    pub change: Option<String>,
}

impl ScreenshotOptions {
    /// A dark picture of 1600 × 1000 pixels.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>, output: PathBuf) -> Self {
        Self {
            paths,
            open: OpenOptions::default(),
            recording: None,
            output,
            size: [1600, 1000],
            pixels_per_point: 1.0,
            theme: ThemeChoice::default(),
            range: None,
            step: None,
            select: None,
            expanded_rank: None,
            tab: None,
            shows_trust: false,
            simulate: Vec::new(),
            compare: Vec::new(),
            change: None,
        }
    }
}

/// Why the text of an option could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionError(String);

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OptionError {}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The text that names it on the command line.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.id())
            }
        }

        impl FromStr for $name {
            type Err = OptionError;

            fn from_str(text: &str) -> Result<Self, OptionError> {
                let found = Self::ALL.iter().find(|choice| choice.id().eq_ignore_ascii_case(text.trim()));
                found.copied().ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|choice| choice.id()).collect();
                    OptionError(format!("\"{text}\" is not known; choose one of {}", known.join(", ")))
                })
            }
        }
    };
}

choice! {
    /// Dark or light.
    ThemeChoice {
        /// Light text on a dark ground.
        #[default]
        Dark = "dark",
        /// Dark text on a light ground.
        Light = "light",
    }
}

choice! {
    /// What draws the window.
    RendererChoice {
        /// Vulkan through wgpu; OpenGL if that does not start.
        #[default]
        Auto = "auto",
        /// Only wgpu.
        Wgpu = "wgpu",
        /// Only OpenGL.
        Glow = "glow",
    }
}

choice! {
    /// A tab of the bottom panel.
    BottomTab {
        /// The selected event.
        Selection = "selection",
        /// Where the time of each rank went.
        #[default]
        Breakdown = "breakdown",
        /// What decided how long steps take.
        Path = "path",
        /// Collectives over ranks.
        Collectives = "collectives",
        /// Ranks that come late.
        Stragglers = "stragglers",
        /// Operators against the limits of their device.
        Roofline = "roofline",
        /// What made steps longer or shorter than those of another recording.
        Compare = "compare",
        /// Kernels by name.
        Kernels = "kernels",
        /// Operators by name.
        Operators = "operators",
        /// Copies and collectives.
        Transfers = "transfers",
        /// What was odd or lost on import.
        Warnings = "warnings",
    }
}

impl BottomTab {
    /// Its title.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Selection => "Selection",
            Self::Breakdown => "Breakdown",
            Self::Kernels => "Kernels",
            Self::Operators => "Operators",
            Self::Transfers => "Copies & collectives",
            Self::Path => "Critical path",
            Self::Collectives => "Collectives",
            Self::Stragglers => "Stragglers",
            Self::Roofline => "Roofline",
            Self::Compare => "Compare",
            Self::Warnings => "Warnings",
        }
    }
}

/// A time range that counts from the start of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelativeRange {
    /// From the start of the trace to the start of the range.
    pub start: Duration,
    /// From the start of the trace to the end of the range.
    pub end: Duration,
}

/// `1.2ms..3ms`; units ns, us, µs, ms, s; numbers without a unit are milliseconds.
impl FromStr for RelativeRange {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let bad = || OptionError(format!("\"{text}\" is not a time range; write for example 1.2ms..3ms"));
        let (start, end) = text.split_once("..").ok_or_else(bad)?;
        let (start, end) = (parse_time(start).ok_or_else(bad)?, parse_time(end).ok_or_else(bad)?);
        if start >= end {
            return Err(OptionError(format!("the range \"{text}\" ends before it begins")));
        }
        Ok(Self { start, end })
    }
}

/// A number with a unit as nanoseconds.
fn parse_time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| c != '.' && c != '-' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let scale = match unit.trim() {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" | "" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    let nanos = number.parse::<f64>().ok()? * scale;
    (nanos.is_finite() && nanos.abs() < 9e18).then_some(Duration(nanos.round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_units_and_refuse_nonsense() {
        let range = |text: &str| text.parse::<RelativeRange>().map(|range| (range.start.0, range.end.0));
        assert_eq!(range("1.5ms..3ms"), Ok((1_500_000, 3_000_000)));
        assert_eq!(range(" 10 .. 20 "), Ok((10_000_000, 20_000_000)));
        assert_eq!(range("500us..0.002s"), Ok((500_000, 2_000_000)));
        assert_eq!(range("7ns..9µs"), Ok((7, 9_000)));
        for bad in ["", "1ms", "3ms..2ms", "1ms..1ms", "a..b", "1h..2h", "..", "1ms..2ms..3ms", "1e9..2e9"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn choices_read_back_and_name_what_is_known() {
        for &tab in BottomTab::ALL {
            assert_eq!(tab.to_string().parse(), Ok(tab));
        }
        assert_eq!("LIGHT".parse(), Ok(ThemeChoice::Light));
        let error = "vulkan".parse::<RendererChoice>().expect_err("not a choice");
        assert_eq!(error.to_string(), "\"vulkan\" is not known; choose one of auto, wgpu, glow");
    }
}
