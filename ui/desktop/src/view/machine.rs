//! Sliders for the speed of the link, the device and the host.

use egui::{DragValue, RichText, Slider, Ui};
use gapless_timeline::theme::metrics;

use crate::message::Message;
use crate::speeds::{MachinePart, Speeds};
use crate::state::State;
use crate::view::widgets::quiet_button;

/// Width of a name.
const NAME_WIDTH: f32 = 34.0;
/// Width of a figure.
const FIGURE_WIDTH: f32 = 58.0;

/// Draws the sliders. What they are set to is replayed together with the ticked cards.
pub fn machine_ui(ui: &mut Ui, state: &State, messages: &mut Vec<Message>) {
    let theme = &state.theme;
    let speeds = state.asked.speeds;
    ui.horizontal(|ui| {
        let text = RichText::new("On a machine so many times as fast").size(metrics::TRACK_FONT).color(theme.ui.dim);
        ui.label(text);
        let is_changed = !speeds.are_recorded();
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            if is_changed && quiet_button(ui, theme, "As recorded", "As recorded").clicked() {
                messages.push(Message::ResetSpeeds);
            }
        });
    });
    for part in MachinePart::ALL {
        ui.horizontal(|ui| {
            let color = if speeds.edits().iter().any(|edit| edit.starts_with(part.edit())) {
                theme.ui.accent
            } else {
                theme.ui.text
            };
            let name = RichText::new(part.label()).size(metrics::TRACK_FONT).color(color);
            ui.add_sized([NAME_WIDTH, 18.0], egui::Label::new(name).halign(egui::Align::Min));
            let mut factor = speeds.factor(part);
            ui.spacing_mut().slider_width = (ui.available_width() - FIGURE_WIDTH - 12.0).max(60.0);
            // Rounding to handsome numbers would hold keys fast at one of them.
            let slider = Slider::new(&mut factor, Speeds::RANGE).logarithmic(true).smart_aim(false).show_value(false);
            let mut is_changed = ui.add(slider).accessible_name(format!("{} speed", part.label())).changed();
            let figure = DragValue::new(&mut factor)
                .range(Speeds::RANGE)
                .speed(0.01)
                .fixed_decimals(2)
                .suffix("x")
                .update_while_editing(false);
            is_changed |= ui.add(figure).accessible_name(format!("{} factor", part.label())).changed();
            if is_changed {
                messages.push(Message::SetSpeed(part, factor));
            }
        });
    }
}
