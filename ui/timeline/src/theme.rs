//! Design tokens: every colour and size of the user interface, for dark and light.
//!
//! Invariant: this is the only file of the user interface that names colours.

use std::sync::Arc;

use egui::{Color32, CornerRadius, Stroke, Visuals};
use gapless_trace::EventKind;

/// Sizes in logical pixels.
pub mod metrics {
    /// Height of a track's outermost row.
    pub const TRACK_ROW: f32 = 18.0;
    /// Height of a row of copies and fills.
    pub const COPY_ROW: f32 = 12.0;
    /// Height of a folded rank: two lines.
    pub const FOLDED_RANK: f32 = 22.0;
    /// Height of the heading of an open rank.
    pub const RANK_HEADING: f32 = 24.0;
    /// Height of a nested row.
    pub const DEPTH_ROW: f32 = 14.0;
    /// Height of a counter track.
    pub const COUNTER_ROW: f32 = 32.0;
    /// The step of all spacing.
    pub const SPACE: f32 = 4.0;
    /// Corner radius of cards and panels; events have none.
    pub const RADIUS: u8 = 6;
    /// Height of the overview strip.
    pub const OVERVIEW: f32 = 40.0;
    /// Height of the time ruler.
    pub const RULER: f32 = 22.0;
    /// Font size of labels on bars.
    pub const BAR_FONT: f32 = 11.0;
    /// Font size of track headers and the ruler.
    pub const TRACK_FONT: f32 = 12.0;
    /// Font size of the interface.
    pub const BODY_FONT: f32 = 13.0;
    /// Font size of titles.
    pub const TITLE_FONT: f32 = 15.0;
    /// Bars narrower than this have no label.
    pub const MIN_LABEL_WIDTH: f32 = 40.0;
    /// Width of the column of track headers at the start.
    pub const HEADER_WIDTH: f32 = 208.0;
}

/// How many shades the names of one kind are spread over.
pub const SHADES: u8 = 8;
/// Nesting depths that have a shade of their own; deeper rows share the last.
pub const DEPTH_SHADES: usize = 6;
const KINDS: usize = EventKind::ALL.len();
const COLORS_PER_DEPTH: usize = KINDS * SHADES as usize;

/// Which colour an event has, whatever the theme: its kind and the shade of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ColorId(pub u16);

impl ColorId {
    /// The colour of `kind` in `shade` (taken modulo [`SHADES`]).
    #[must_use]
    pub const fn new(kind: EventKind, shade: u8) -> Self {
        Self((kind as u16) * SHADES as u16 + (shade % SHADES) as u16)
    }

    /// The shade.
    #[must_use]
    pub const fn shade(self) -> u8 {
        (self.0 % SHADES as u16) as u8
    }

    /// The kind.
    #[must_use]
    pub fn kind(self) -> EventKind {
        EventKind::ALL.get(usize::from(self.0) / usize::from(SHADES)).copied().unwrap_or(EventKind::Other)
    }
}

/// Colours by role.
#[derive(Clone, Debug, PartialEq)]
pub struct Roles {
    /// Behind the timeline.
    pub background: Color32,
    /// Behind panels.
    pub panel: Color32,
    /// Behind cards, buttons and tooltips.
    pub raised: Color32,
    /// Behind what the pointer is on.
    pub hover: Color32,
    /// Lines between areas.
    pub hairline: Color32,
    /// Main text.
    pub text: Color32,
    /// Secondary text.
    pub dim: Color32,
    /// Text that may be overlooked: units, ticks.
    pub faint: Color32,
    /// Advice, simulation, focus.
    pub accent: Color32,
    /// Fill of pressed or ticked controls of the accent.
    pub accent_fill: Color32,
    /// The critical path.
    pub critical: Color32,
    /// Waiting and unexplained time; hatched.
    pub waiting: Color32,
    /// Something to look at.
    pub warning: Color32,
    /// Something that failed.
    pub error: Color32,
    /// Something that is as it should be.
    pub good: Color32,
    /// Outline of the selected event.
    pub selection: Color32,
    /// Text on bright bars.
    pub text_on_bright: Color32,
    /// Text on dark bars.
    pub text_on_dark: Color32,
}

/// Colours by what the time went to. Kinds of events map onto these.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// Kernels that compute.
    pub compute: Color32,
    /// Collectives.
    pub communication: Color32,
    /// Kernels that send to or receive from one peer.
    pub point_to_point: Color32,
    /// Copies.
    pub copy: Color32,
    /// Fills.
    pub memset: Color32,
    /// Operators.
    pub operator: Color32,
    /// Runtime and driver calls.
    pub runtime: Color32,
    /// Python frames.
    pub python: Color32,
    /// Annotations and steps.
    pub annotation: Color32,
    /// Asynchronous ranges.
    pub asynchronous: Color32,
    /// Points in time.
    pub instant: Color32,
    /// Cost of the profiler.
    pub overhead: Color32,
    /// Idle because the host was late.
    pub idle_host: Color32,
    /// Idle for other reasons.
    pub idle_other: Color32,
}

/// The theme: colours by role, colours of data, and the table of event colours made of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Theme {
    /// Whether it is the dark one.
    pub dark: bool,
    /// Colours by role.
    pub ui: Roles,
    /// Colours of data.
    pub data: Data,
    events: Arc<[Color32]>,
}

const fn rgb(hex: u32) -> Color32 {
    Color32::from_rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

/// `a` and `b` mixed in gamma space; `share` of `b` from 0 to 1.
#[must_use]
pub fn mix(a: Color32, b: Color32, share: f32) -> Color32 {
    a.lerp_to_gamma(b, share.clamp(0.0, 1.0))
}

/// `color` at `opacity` from 0 to 1.
#[must_use]
pub fn fade(color: Color32, opacity: f32) -> Color32 {
    color.gamma_multiply(opacity.clamp(0.0, 1.0))
}

/// Relative luminance after WCAG 2.2, from 0 to 1.
fn luminance(color: Color32) -> f32 {
    let linear = egui::Rgba::from(color);
    0.2126 * linear.r() + 0.7152 * linear.g() + 0.0722 * linear.b()
}

impl Theme {
    /// The dark theme.
    #[must_use]
    pub fn dark() -> Self {
        let ui = Roles {
            background: rgb(0x0e_1217),
            panel: rgb(0x14_1a21),
            raised: rgb(0x1b_232c),
            hover: rgb(0x24_2e39),
            hairline: rgb(0x26_303b),
            text: rgb(0xdb_e2ea),
            dim: rgb(0x8b_98a8),
            faint: rgb(0x5b_6774),
            accent: rgb(0x4c_c2a6),
            accent_fill: rgb(0x1d_4a41),
            critical: rgb(0xff_5f6d),
            waiting: rgb(0x3a_4654),
            warning: rgb(0xf0_a442),
            error: rgb(0xff_5f6d),
            good: rgb(0x4c_c2a6),
            selection: rgb(0xff_ffff),
            text_on_bright: rgb(0x10_141a),
            text_on_dark: rgb(0xdb_e2ea),
        };
        // Compute, operators, Python and annotations differ a little from the drawing: with its values,
        // protanopes cannot tell operators from kernels (difference 4 of CIE L*a*b*). See `tests`.
        let data = Data {
            compute: rgb(0x52_88fa),
            communication: rgb(0xf0_a442),
            point_to_point: rgb(0xe3_8a2c),
            copy: rgb(0x46_c17e),
            memset: rgb(0x3a_a86b),
            operator: rgb(0xbf_a4f2),
            runtime: rgb(0xb0_5cc2),
            python: rgb(0xe8_e88a),
            annotation: rgb(0x7b_8894),
            asynchronous: rgb(0x6f_a5b8),
            instant: rgb(0xb8_c4d0),
            overhead: rgb(0xc4_6a5a),
            idle_host: rgb(0x8c_7ab8),
            idle_other: rgb(0x2a_333d),
        };
        Self::new(true, ui, data)
    }

    /// The light theme.
    #[must_use]
    pub fn light() -> Self {
        let ui = Roles {
            background: rgb(0xfb_fcfd),
            panel: rgb(0xf2_f5f8),
            raised: rgb(0xff_ffff),
            hover: rgb(0xe4_eaf0),
            hairline: rgb(0xd3_dae2),
            text: rgb(0x1b_232c),
            dim: rgb(0x55_6170),
            faint: rgb(0x87_93a1),
            accent: rgb(0x0f_8a70),
            accent_fill: rgb(0xc9_ebe2),
            critical: rgb(0xd4_1f3a),
            waiting: rgb(0xb9_c2cd),
            warning: rgb(0xb3_6208),
            error: rgb(0xc4_1f3a),
            good: rgb(0x0f_8a70),
            selection: rgb(0x00_0000),
            text_on_bright: rgb(0x10_141a),
            text_on_dark: rgb(0xff_ffff),
        };
        let data = Data {
            compute: rgb(0x2c_5ff0),
            communication: rgb(0xc9_6a08),
            point_to_point: rgb(0xb8_5c10),
            copy: rgb(0x12_b368),
            memset: rgb(0x0f_955a),
            operator: rgb(0xae_88f8),
            runtime: rgb(0xa3_4ab0),
            python: rgb(0xe4_b010),
            annotation: rgb(0x6b_7680),
            asynchronous: rgb(0x4f_8ba0),
            instant: rgb(0x5a_6674),
            overhead: rgb(0xb0_5545),
            idle_host: rgb(0x8f_7cc0),
            idle_other: rgb(0xdc_e2e8),
        };
        Self::new(false, ui, data)
    }

    fn new(dark: bool, ui: Roles, data: Data) -> Self {
        let mut theme = Self { dark, ui, data, events: Arc::default() };
        let mut events = Vec::with_capacity(DEPTH_SHADES * COLORS_PER_DEPTH);
        for depth in 0..DEPTH_SHADES {
            for kind in EventKind::ALL {
                events.extend((0..SHADES).map(|shade| theme.shaded(kind, shade, depth)));
            }
        }
        theme.events = events.into();
        theme
    }

    /// The colour of a kind, for legends, tables and breakdowns.
    #[must_use]
    pub fn kind(&self, kind: EventKind) -> Color32 {
        let data = &self.data;
        match kind {
            EventKind::Operator => data.operator,
            EventKind::PythonFunction => data.python,
            EventKind::Annotation | EventKind::Step | EventKind::DeviceAnnotation => data.annotation,
            EventKind::RuntimeCall | EventKind::DriverCall | EventKind::OsCall => data.runtime,
            EventKind::Kernel => data.compute,
            EventKind::Collective => data.communication,
            EventKind::PointToPoint => data.point_to_point,
            EventKind::Memcpy => data.copy,
            EventKind::Memset => data.memset,
            EventKind::DeviceSync => self.ui.faint,
            EventKind::Overhead => data.overhead,
            EventKind::Instant | EventKind::MemoryInstant | EventKind::Sample => data.instant,
            EventKind::ProfilerSpan | EventKind::Other => self.ui.dim,
            EventKind::Async | EventKind::Scheduled => data.asynchronous,
        }
    }

    /// The colour of an event at a nesting depth.
    #[must_use]
    pub fn event(&self, color: ColorId, depth: u16) -> Color32 {
        let depth = usize::from(depth).min(DEPTH_SHADES - 1);
        self.events.get(depth * COLORS_PER_DEPTH + usize::from(color.0)).copied().unwrap_or(self.ui.dim)
    }

    /// The colours of one depth, by [`ColorId`].
    pub(crate) fn event_table(&self, depth: u16) -> &[Color32] {
        let from = usize::from(depth).min(DEPTH_SHADES - 1) * COLORS_PER_DEPTH;
        self.events.get(from..from + COLORS_PER_DEPTH).unwrap_or_default()
    }

    fn shaded(&self, kind: EventKind, shade: u8, depth: usize) -> Color32 {
        let base = match kind {
            // Steps and annotations enclose the others: quiet, so that data stands out.
            EventKind::Annotation | EventKind::Step | EventKind::DeviceAnnotation => {
                mix(self.data.annotation, self.ui.background, 0.45)
            }
            _ => self.kind(kind),
        };
        let spread = match kind {
            EventKind::Operator | EventKind::Kernel | EventKind::PythonFunction => 0.16,
            EventKind::RuntimeCall | EventKind::DriverCall | EventKind::Other | EventKind::Async => 0.12,
            _ => 0.05,
        };
        let last = f32::from(SHADES - 1);
        let place = f32::from(shade) / last * 2.0 - 1.0;
        let toward = if place < 0.0 { Color32::BLACK } else { Color32::WHITE };
        let shaded = mix(base, toward, spread * place.abs());
        // Deeper rows sink towards the background.
        mix(shaded, self.ui.background, 0.075 * depth as f32)
    }

    /// The colour of text on a bar of `color`.
    #[must_use]
    pub fn text_on(&self, color: Color32) -> Color32 {
        // Where the contrasts with black and white text are equal (WCAG 2.2): L = √(1.05 · 0.05) − 0.05.
        if luminance(color) > 0.179 { self.ui.text_on_bright } else { self.ui.text_on_dark }
    }

    /// The stripes of hatching on `color`.
    #[must_use]
    pub fn hatch_stripe(&self) -> Color32 {
        mix(self.ui.waiting, self.ui.text, 0.3)
    }

    /// egui's own widgets in these colours.
    #[must_use]
    pub fn visuals(&self) -> Visuals {
        let ui = &self.ui;
        let mut visuals = if self.dark { Visuals::dark() } else { Visuals::light() };
        visuals.panel_fill = ui.panel;
        visuals.window_fill = ui.raised;
        visuals.window_stroke = Stroke::new(1.0, ui.hairline);
        visuals.extreme_bg_color = ui.background;
        visuals.faint_bg_color = mix(ui.panel, ui.raised, 0.5);
        visuals.code_bg_color = ui.background;
        visuals.hyperlink_color = ui.accent;
        visuals.warn_fg_color = ui.warning;
        visuals.error_fg_color = ui.error;
        visuals.selection.bg_fill = ui.accent_fill;
        visuals.selection.stroke = Stroke::new(1.0, ui.accent);
        let radius = CornerRadius::same(metrics::RADIUS);
        visuals.window_corner_radius = radius;
        visuals.menu_corner_radius = radius;
        let widgets = &mut visuals.widgets;
        let states = [
            (&mut widgets.noninteractive, ui.panel, ui.hairline, ui.text),
            (&mut widgets.inactive, ui.raised, ui.hairline, ui.text),
            (&mut widgets.hovered, ui.hover, ui.faint, ui.text),
            (&mut widgets.active, ui.accent_fill, ui.accent, ui.text),
            (&mut widgets.open, ui.hover, ui.hairline, ui.text),
        ];
        for (state, fill, line, text) in states {
            state.bg_fill = fill;
            state.weak_bg_fill = fill;
            state.bg_stroke = Stroke::new(1.0, line);
            state.fg_stroke = Stroke::new(1.0, text);
            state.corner_radius = radius;
            state.expansion = 0.0;
        }
        visuals
    }

    /// Gives a whole application these colours, sizes and spacing.
    pub fn apply(&self, ctx: &egui::Context) {
        use egui::{FontFamily, FontId, TextStyle, vec2};
        let theme = if self.dark { egui::Theme::Dark } else { egui::Theme::Light };
        ctx.set_theme(theme);
        ctx.set_visuals_of(theme, self.visuals());
        ctx.all_styles_mut(|style| {
            let sans = |size| FontId::new(size, FontFamily::Proportional);
            style.text_styles = [
                (TextStyle::Small, sans(metrics::BAR_FONT)),
                (TextStyle::Body, sans(metrics::BODY_FONT)),
                (TextStyle::Button, sans(metrics::BODY_FONT)),
                (TextStyle::Heading, sans(metrics::TITLE_FONT)),
                (TextStyle::Monospace, FontId::new(metrics::TRACK_FONT, FontFamily::Monospace)),
            ]
            .into();
            style.spacing.item_spacing = vec2(2.0 * metrics::SPACE, metrics::SPACE);
            style.spacing.button_padding = vec2(2.0 * metrics::SPACE, 3.0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Severity 1.0 of Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of
    /// Color Vision Deficiency", IEEE TVCG 15(6), 2009, for linear RGB.
    const DEFICIENCIES: [(&str, [[f32; 3]; 3]); 4] = [
        ("normal", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        (
            "protanopia",
            [
                [0.152_286, 1.052_583, -0.204_868],
                [0.114_503, 0.786_281, 0.099_216],
                [-0.003_882, -0.048_116, 1.051_998],
            ],
        ),
        (
            "deuteranopia",
            [[0.367_322, 0.860_646, -0.227_968], [0.280_085, 0.672_501, 0.047_413], [-0.011_820, 0.042_940, 0.968_881]],
        ),
        (
            "tritanopia",
            [
                [1.255_528, -0.076_749, -0.178_779],
                [-0.078_411, 0.930_809, 0.147_602],
                [0.004_733, 0.691_367, 0.303_900],
            ],
        ),
    ];

    /// CIE L*a*b* (D65) of linear sRGB.
    fn lab([r, g, b]: [f32; 3]) -> [f32; 3] {
        let x = (0.412_456 * r + 0.357_576 * g + 0.180_438 * b) / 0.950_47;
        let y = 0.212_673 * r + 0.715_152 * g + 0.072_175 * b;
        let z = (0.019_334 * r + 0.119_192 * g + 0.950_304 * b) / 1.088_83;
        let f = |t: f32| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
        [116.0 * f(y) - 16.0, 500.0 * (f(x) - f(y)), 200.0 * (f(y) - f(z))]
    }

    fn seen(color: Color32, matrix: &[[f32; 3]; 3]) -> [f32; 3] {
        let rgba = egui::Rgba::from(color);
        let linear = [rgba.r(), rgba.g(), rgba.b()];
        lab(matrix.map(|row| row.iter().zip(linear).map(|(m, c)| m * c).sum::<f32>().clamp(0.0, 1.0)))
    }

    /// ΔE*ab (CIE 1976): 2.3 is just noticeable.
    fn difference(a: [f32; 3], b: [f32; 3]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
    }

    #[test]
    fn kinds_differ_for_every_colour_vision() {
        for theme in [Theme::dark(), Theme::light()] {
            let groups = [
                ("compute", theme.kind(EventKind::Kernel)),
                ("communication", theme.kind(EventKind::Collective)),
                ("copy", theme.kind(EventKind::Memcpy)),
                ("operator", theme.kind(EventKind::Operator)),
                ("runtime", theme.kind(EventKind::RuntimeCall)),
                ("python", theme.kind(EventKind::PythonFunction)),
                ("annotation", theme.kind(EventKind::Annotation)),
                ("waiting", theme.ui.waiting),
                ("background", theme.ui.background),
            ];
            for (vision, matrix) in &DEFICIENCIES {
                for (i, (a_name, a)) in groups.iter().enumerate() {
                    for (b_name, b) in &groups[..i] {
                        let delta = difference(seen(*a, matrix), seen(*b, matrix));
                        assert!(
                            delta >= 18.0,
                            "{vision}, dark {}: {a_name} and {b_name} differ by {delta:.1}",
                            theme.dark
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn painted_device_work_differs_for_every_colour_vision_and_shade() {
        for theme in [Theme::dark(), Theme::light()] {
            let kinds = [EventKind::Kernel, EventKind::Collective, EventKind::Memcpy];
            for (vision, matrix) in &DEFICIENCIES {
                for (i, a) in kinds.iter().enumerate() {
                    for b in &kinds[..i] {
                        for (x, y) in (0..SHADES).flat_map(|x| (0..SHADES).map(move |y| (x, y))) {
                            let (a, b) = (theme.event(ColorId::new(*a, x), 0), theme.event(ColorId::new(*b, y), 0));
                            let delta = difference(seen(a, matrix), seen(b, matrix));
                            assert!(delta >= 12.0, "{vision}: {a:?} and {b:?} differ by {delta:.1}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn text_on_every_bar_is_readable() {
        for theme in [Theme::dark(), Theme::light()] {
            for depth in 0..DEPTH_SHADES as u16 {
                for kind in EventKind::ALL {
                    for shade in 0..SHADES {
                        let bar = theme.event(ColorId::new(kind, shade), depth);
                        let (a, b) = (luminance(bar), luminance(theme.text_on(bar)));
                        let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                        // 3:1 is WCAG's bound for graphics and large text; 4.5:1 is not reachable for mid greys
                        // with the softened white and black of the theme.
                        assert!(contrast >= 3.0, "{kind:?} shade {shade} depth {depth}: {contrast:.1}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_colour_id_keeps_its_kind() {
        for kind in EventKind::ALL {
            assert!((0..SHADES).all(|shade| ColorId::new(kind, shade).kind() == kind));
        }
    }
}
