//! The window's icon: the four bars of the logo.

use egui::IconData;
use gapless_timeline::Theme;

const SIZE: usize = 64;
/// Left edge, right edge and height of each bar, in pixels of the icon.
const BARS: [(usize, usize, usize); 4] = [(6, 16, 34), (20, 30, 52), (34, 44, 24), (48, 58, 42)];

/// The icon, drawn from the theme's colours.
#[must_use]
pub fn icon() -> IconData {
    let theme = Theme::dark();
    let mut rgba = Vec::with_capacity(SIZE * SIZE * 4);
    for y in 0..SIZE {
        for x in 0..SIZE {
            let is_bar = BARS
                .iter()
                .any(|&(left, right, height)| (left..right).contains(&x) && (SIZE - 6 - height..SIZE - 6).contains(&y));
            let color = if is_bar { theme.ui.accent } else { theme.ui.panel };
            rgba.extend_from_slice(&color.to_srgba_unmultiplied());
        }
    }
    IconData { rgba, width: SIZE as u32, height: SIZE as u32 }
}
