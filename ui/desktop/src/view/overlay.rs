//! What lies over the window for a moment: command palette, help, path field, the drop target.

use egui::{
    Align2, Area, FontId, Frame, Id, Key, LayerId, Margin, Modal, Order, Rect, RichText, ScrollArea, Sense, Stroke,
    StrokeKind, TextEdit, Ui, vec2,
};
use gapless_timeline::KEYS;
use gapless_timeline::theme::{fade, metrics};

use crate::command::{COMMANDS, Command, Menu, matching};
use crate::format::shorten;
use crate::message::Message;
use crate::record::{Ability, CheckState};
use crate::state::{OpenFor, Palette, PathField, State};
use crate::table::paint_text;
use crate::view::top_bar::shortcut_text;

const WIDTH: f32 = 560.0;
const ROW: f32 = 26.0;

/// Draws whatever is open.
pub fn overlays_ui(ui: &Ui, state: &State, messages: &mut Vec<Message>) {
    if let Some(palette) = &state.palette {
        palette_ui(ui, state, palette, messages);
    }
    if let Some(field) = &state.path_field {
        path_ui(ui, state, field, messages);
    }
    if state.shows_help {
        help_ui(ui, state, messages);
    }
    if let Some(check) = &state.check {
        check_ui(ui, state, check, messages);
    }
    drop_target_ui(ui, state);
}

fn sheet(
    ui: &Ui,
    state: &State,
    name: &str,
    messages: &mut Vec<Message>,
    add: impl FnOnce(&mut Ui, &mut Vec<Message>),
) {
    let colors = &state.theme.ui;
    let id = Id::unique(name);
    let frame = Frame::new()
        .fill(colors.raised)
        .stroke(Stroke::new(1.0, colors.hairline))
        .corner_radius(metrics::RADIUS)
        .inner_margin(Margin::same(14));
    let area = Area::new(id).order(Order::Foreground).anchor(Align2::CENTER_TOP, vec2(0.0, 72.0));
    let modal = Modal::new(id).area(area).frame(frame).backdrop_color(fade(colors.background, 0.6));
    let response = modal.show(ui.ctx(), |ui| {
        ui.set_width(WIDTH.min(ui.ctx().content_rect().width() - 80.0));
        add(ui, messages);
    });
    if response.should_close() {
        messages.push(Message::CloseOverlay);
    }
}

fn palette_ui(ui: &Ui, state: &State, palette: &Palette, messages: &mut Vec<Message>) {
    sheet(ui, state, "palette", messages, |ui, messages| {
        let found = matching(&palette.query, |needs| state.can(needs));
        let mut query = palette.query.clone();
        // The field must not take the arrow keys: they move along the list.
        let (up, down) = ui.input_mut(|input| {
            (
                input.consume_key(egui::Modifiers::NONE, Key::ArrowUp),
                input.consume_key(egui::Modifiers::NONE, Key::ArrowDown),
            )
        });
        let field = TextEdit::singleline(&mut query)
            .id(Id::unique("palette field"))
            .desired_width(f32::INFINITY)
            .margin(vec2(8.0, 6.0))
            .hint_text(RichText::new("What do you want to do?").color(state.theme.ui.faint));
        let response = ui.add(field).accessible_name("Command");
        if response.changed() {
            messages.push(Message::PaletteQuery(query));
        }
        let last = found.len().saturating_sub(1);
        let mut chosen = palette.chosen.min(last);
        if up || down {
            chosen = if down { (chosen + 1).min(last) } else { chosen.saturating_sub(1) };
            messages.push(Message::PaletteChoose(chosen));
        }
        let is_entered = response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        if !is_entered {
            response.request_focus();
        }
        if let Some(info) = found.get(chosen).filter(|_| is_entered) {
            messages.push(Message::CloseOverlay);
            messages.push(Message::Run(info.command));
        }
        ui.add_space(6.0);
        if found.is_empty() {
            ui.colored_label(state.theme.ui.dim, "No command has these words in its name");
        }
        ui.spacing_mut().item_spacing.y = 0.0;
        ScrollArea::vertical().max_height(ROW * 12.0).min_scrolled_height(ROW * 12.0).show(ui, |ui| {
            for (place, info) in found.iter().enumerate() {
                let (rect, row) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
                if place == chosen || row.hovered() {
                    let fill = if place == chosen { state.theme.ui.accent_fill } else { state.theme.ui.hover };
                    ui.painter().rect_filled(rect, 4.0, fill);
                }
                if place == chosen && (up || down) {
                    row.scroll_to_me(None);
                }
                let inner = rect.shrink2(vec2(8.0, 0.0));
                let font = FontId::proportional(metrics::BODY_FONT);
                paint_text(ui, inner, false, info.title, font.clone(), state.theme.ui.text);
                paint_text(ui, inner, true, &shortcut_text(ui, info), font, state.theme.ui.dim);
                row.widget_info(|| egui::WidgetInfo::labeled(egui::Role::ListItem, true, info.title));
                if row.clicked() {
                    messages.push(Message::CloseOverlay);
                    messages.push(Message::Run(info.command));
                }
            }
        });
    });
}

fn path_ui(ui: &Ui, state: &State, field: &PathField, messages: &mut Vec<Message>) {
    sheet(ui, state, "path", messages, |ui, messages| {
        if !field.note.is_empty() {
            ui.add(egui::Label::new(RichText::new(&field.note).color(state.theme.ui.dim)).wrap());
            ui.add_space(6.0);
        }
        let mut text = field.text.clone();
        let edit = TextEdit::singleline(&mut text)
            .id(Id::unique("path field"))
            .desired_width(f32::INFINITY)
            .margin(vec2(8.0, 6.0))
            .hint_text(
                RichText::new("Path of a trace, a folder, or a pattern such as rank*.json.gz")
                    .color(state.theme.ui.faint),
            );
        let response = ui.add(edit).accessible_name("Path");
        if response.changed() {
            messages.push(Message::PathText(text.clone()));
        }
        let is_entered = response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        if !is_entered {
            response.request_focus();
        }
        ui.add_space(8.0);
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let path = text.trim();
            let verb = if field.purpose == OpenFor::Base { "Compare" } else { "Open" };
            let opens = ui.add_enabled(!path.is_empty(), egui::Button::new(verb)).clicked() || is_entered;
            if opens && !path.is_empty() {
                messages.push(Message::CloseOverlay);
                let paths = vec![path.into()];
                messages.push(match field.purpose {
                    OpenFor::Trace => Message::Open(paths),
                    OpenFor::Base => Message::Compare(paths),
                });
            }
            if ui.button("Cancel").clicked() {
                messages.push(Message::CloseOverlay);
            }
        });
    });
}

fn help_ui(ui: &Ui, state: &State, messages: &mut Vec<Message>) {
    sheet(ui, state, "help", messages, |ui, _| {
        let colors = &state.theme.ui;
        let row = |ui: &mut Ui, what: &str, keys: &str| {
            let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 20.0), Sense::hover());
            let font = FontId::proportional(metrics::BODY_FONT);
            paint_text(ui, rect, false, what, font.clone(), colors.text);
            paint_text(ui, rect, true, keys, font, colors.dim);
        };
        let heading = |ui: &mut Ui, text: &str| {
            ui.add_space(8.0);
            ui.label(RichText::new(text).size(metrics::TITLE_FONT).color(colors.text));
        };
        let height = ui.ctx().content_rect().height() - 180.0;
        ScrollArea::vertical().max_height(height).min_scrolled_height(height).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            heading(ui, "On the timeline");
            for key in KEYS {
                row(ui, key.what, key.keys);
            }
            for menu in Menu::ALL {
                heading(ui, menu.title());
                for info in COMMANDS.iter().filter(|info| info.menu == menu) {
                    let keys = match info.command {
                        Command::Palette => format!("{} or > in the search", shortcut_text(ui, info)),
                        Command::Help => format!("{} or ?", shortcut_text(ui, info)),
                        _ => shortcut_text(ui, info),
                    };
                    if !keys.is_empty() {
                        row(ui, info.title, &keys);
                    }
                }
            }
        });
    });
}

/// What can be recorded on this machine, one line for each capability.
fn check_ui(ui: &Ui, state: &State, check: &CheckState, messages: &mut Vec<Message>) {
    sheet(ui, state, "machine check", messages, |ui, _| {
        let colors = &state.theme.ui;
        let small = |text: &str, color| RichText::new(text).size(metrics::TRACK_FONT).color(color);
        ui.label(RichText::new("What can be recorded here").size(metrics::TITLE_FONT).color(colors.text));
        let found = match check {
            CheckState::Running => {
                ui.horizontal(|ui| {
                    ui.add(egui::Spinner::new().size(14.0));
                    ui.colored_label(colors.dim, "Looking at this machine");
                });
                return;
            }
            CheckState::Done(Err(reason)) => {
                ui.add(egui::Label::new(RichText::new(reason).color(colors.error)).wrap());
                return;
            }
            CheckState::Done(Ok(found)) => found,
        };
        ui.add(egui::Label::new(small(&found.machine, colors.dim)).wrap());
        ui.add_space(8.0);
        let height = (ui.ctx().content_rect().height() - 220.0).max(120.0);
        ScrollArea::vertical().max_height(height).min_scrolled_height(height).show(ui, |ui| {
            ui.set_width(ui.available_width());
            for line in &found.lines {
                let color = match line.ability {
                    Ability::Yes => colors.good,
                    Ability::Partly => colors.warning,
                    Ability::No => colors.error,
                    Ability::Unknown => colors.dim,
                };
                ui.horizontal_top(|ui| {
                    // Words, so that nobody needs to tell colours apart.
                    let word = egui::Label::new(small(line.ability.word(), color));
                    ui.allocate_ui_with_layout(vec2(56.0, 16.0), egui::Layout::left_to_right(egui::Align::Min), |ui| {
                        ui.set_min_width(56.0);
                        ui.add(word);
                    });
                    ui.vertical(|ui| {
                        ui.spacing_mut().item_spacing.y = 1.0;
                        ui.label(RichText::new(&line.title).color(colors.text));
                        ui.add(egui::Label::new(small(&line.reason, colors.dim)).wrap());
                        if let Some(fix) = &line.fix {
                            ui.add(egui::Label::new(small(&format!("→ {fix}"), colors.text)).wrap().selectable(true));
                        }
                    });
                });
                ui.add_space(4.0);
            }
        });
    });
}

/// Says that files can be dropped while they hover over the window.
fn drop_target_ui(ui: &Ui, state: &State) {
    let names: Vec<_> = ui.ctx().input(|input| {
        let path = |file: &egui::HoveredFile| file.path.as_ref().map(|path| path.to_string_lossy().into_owned());
        input.raw.hovered_files.iter().map(|file| path(file).unwrap_or_default()).collect()
    });
    if names.is_empty() {
        return;
    }
    let colors = &state.theme.ui;
    let painter = ui.ctx().layer_painter(LayerId::new(Order::Foreground, Id::unique("drop target")));
    let screen = ui.ctx().content_rect();
    painter.rect_filled(screen, 0.0, fade(colors.background, 0.8));
    let card = Rect::from_center_size(screen.center(), vec2(420.0, 120.0));
    painter.rect(card, metrics::RADIUS, colors.raised, Stroke::new(2.0, colors.accent), StrokeKind::Inside);
    let text = match names.as_slice() {
        [one] => format!("Drop to open {}", shorten(one.rsplit('/').next().unwrap_or(one), 40)),
        many => format!("Drop to open {} files as one trace", many.len()),
    };
    painter.text(card.center(), Align2::CENTER_CENTER, text, FontId::proportional(metrics::TITLE_FONT), colors.text);
}
