//! The bar at the top: menu, trace, step, search, theme.

use egui::containers::menu::{MenuButton, SubMenuButton};
use egui::{
    Align, Button, FontId, Id, Key, Layout, Popup, PopupCloseBehavior, Rect, RichText, ScrollArea, Sense, TextEdit, Ui,
    pos2, vec2,
};
use gapless_timeline::display_name;
use gapless_timeline::theme::metrics;
use gapless_trace::Duration;

use crate::ThemeChoice;
use crate::align::Alignment;
use crate::command::{COMMANDS, Command, CommandInfo, Menu, Shortcut};
use crate::format::{counted, duration_f64, thousands};
use crate::message::Message;
use crate::state::{Loaded, State, Window};
use crate::table::paint_text;
use crate::view::trust::trust_ui;
use crate::view::widgets::{dropdown_button, quiet_button, theme_button};

/// The search field, so that a command can give it the keyboard.
pub const SEARCH_ID: &str = "search field";
const SEARCH_WIDTH: f32 = 320.0;
const MENU_ROWS: f32 = 22.0;

/// Draws the bar.
pub fn top_bar_ui(ui: &mut Ui, state: &State, messages: &mut Vec<Message>) {
    let colors = &state.theme.ui;
    ui.horizontal_centered(|ui| {
        ui.spacing_mut().item_spacing.x = 10.0;
        logo(ui, state);
        menu_ui(ui, state, messages);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let name = match state.theme_choice {
                ThemeChoice::Dark => "Switch to light",
                ThemeChoice::Light => "Switch to dark",
            };
            if theme_button(ui, &state.theme, name).clicked() {
                messages.push(Message::Run(Command::ToggleTheme));
            }
            if quiet_button(ui, &state.theme, "?", "Keyboard and mouse").clicked() {
                messages.push(Message::Run(Command::Help));
            }
            if quiet_button(ui, &state.theme, "Open…", "Open files…").clicked() {
                messages.push(Message::Run(Command::OpenFiles));
            }
            if let Some(loaded) = &state.loaded {
                align_ui(ui, state, loaded, messages);
                trust_ui(ui, state, loaded, messages);
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| match &state.loaded {
                Some(loaded) => {
                    follow_ui(ui, state, loaded, messages);
                    ui.add(egui::Label::new(RichText::new(loaded.title()).color(colors.dim)).truncate());
                    step_chooser_ui(ui, state, loaded, messages);
                    search_ui(ui, state, loaded, messages);
                }
                None => {
                    ui.colored_label(colors.dim, "no trace is open");
                }
            });
        });
    });
}

/// That the recording goes on, and whether its end is followed.
fn follow_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let Some(followed) = &loaded.followed else { return };
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let status = followed.status(i64::try_from(unix.as_nanos()).unwrap_or(i64::MAX), std::time::Instant::now());
    if status.is_none() && !state.follows_end {
        return;
    }
    let colors = &state.theme.ui;
    let (dot, _) = ui.allocate_exact_size(vec2(10.0, 10.0), Sense::hover());
    let color = if status.is_some() { colors.error } else { colors.dim };
    ui.painter().circle_filled(dot.center(), 4.0, color);
    ui.colored_label(colors.text, status.unwrap_or_else(|| "not recording any more".to_owned()));
    let hint = "Keep the end of the recording in view";
    let button = Button::selectable(state.follows_end, "Follow");
    if ui.add(button).on_hover_text(hint).clicked() {
        messages.push(Message::Run(Command::ToggleFollow));
    }
}

/// Four bars of different length: work on a timeline, without a gap.
fn logo(ui: &mut Ui, state: &State) {
    let (rect, _) = ui.allocate_exact_size(vec2(22.0, 18.0), Sense::hover());
    for (place, height) in [12.0, 17.0, 8.0, 14.0].into_iter().enumerate() {
        let left = rect.left() + place as f32 * 6.0;
        let bar = Rect::from_min_max(pos2(left, rect.bottom() - height), pos2(left + 4.0, rect.bottom()));
        ui.painter().rect_filled(bar, 1.0, state.theme.ui.accent);
    }
}

/// The menu behind the name: every command of the table, at its place.
fn menu_ui(ui: &mut Ui, state: &State, messages: &mut Vec<Message>) {
    let name = RichText::new("Gapless").size(metrics::TITLE_FONT).color(state.theme.ui.text);
    let button = Button::new(name).frame_when_inactive(false);
    let (response, _) = MenuButton::from_button(button).ui(ui, |ui| {
        for menu in Menu::ALL {
            SubMenuButton::new(menu.title()).ui(ui, |ui| {
                for info in COMMANDS.iter().filter(|info| info.menu == menu) {
                    let is_possible = state.can(info.needs);
                    let shortcut = shortcut_text(ui, info);
                    let item = Button::new(info.title).shortcut_text(shortcut);
                    if ui.add_enabled(is_possible, item).clicked() {
                        messages.push(Message::Run(info.command));
                        ui.close();
                    }
                }
            });
        }
    });
    response.on_hover_text("Menu");
}

/// A shortcut for people; empty if there is none.
pub fn shortcut_text(ui: &Ui, info: &CommandInfo) -> String {
    match &info.shortcut {
        Shortcut::Key(shortcut) => ui.ctx().format_shortcut(shortcut),
        Shortcut::Timeline(text) => (*text).to_owned(),
        Shortcut::None => String::new(),
    }
}

/// By what ranks are brought side by side, and how sure their clocks are.
fn align_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    if loaded.engine.is_none() || loaded.trace.ranks().len() < 2 {
        return;
    }
    let error = match (loaded.alignment, loaded.clock_error_ns()) {
        (Alignment::Clock, Some(error)) => format!(" ± {}", duration_f64(error)),
        (Alignment::Clock, None) => " (not all)".to_owned(),
        _ => String::new(),
    };
    // On a narrow window the pill and the search need the room.
    let prefix = if ui.available_width() > 900.0 { "Align: " } else { "" };
    let text = format!("{prefix}{}{error}", loaded.alignment.label());
    let response = dropdown_button(ui, &state.theme, &text, "Alignment of ranks");
    Popup::menu(&response).width(200.0).show(|ui| {
        for alignment in Alignment::ALL {
            let button = Button::selectable(loaded.alignment == alignment, alignment.label());
            if ui.add_sized([ui.available_width(), MENU_ROWS], button).on_hover_text(alignment.meaning()).clicked() {
                messages.push(Message::Align(alignment));
                ui.close();
            }
        }
    });
}

fn step_chooser_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let Some(view) = &loaded.view else {
        ui.add(egui::Spinner::new().size(14.0));
        ui.colored_label(state.theme.ui.dim, "Working out where the time goes");
        return;
    };
    let longest = view.rows.iter().map(|row| row.partition.duration_ns).max().unwrap_or_default();
    let text = format!("{}  {}", view.title, Duration(longest));
    let response = dropdown_button(ui, &state.theme, &text, "Step").on_hover_text("Choose what the numbers are about");
    let steps = loaded.steps();
    Popup::menu(&response).width(260.0).show(|ui| {
        ui.set_min_width(240.0);
        let is_whole = loaded.window == Window::Whole;
        if ui.add(Button::selectable(is_whole, "Whole recording")).clicked() {
            messages.push(Message::ChooseWindow(Window::Whole));
            ui.close();
        }
        let rows = ScrollArea::vertical().max_height(360.0);
        rows.show_rows(ui, MENU_ROWS, steps.len(), |ui, range| {
            let first = range.start;
            for (offset, step) in steps.get(range).unwrap_or_default().iter().enumerate() {
                let window = Window::Step(first + offset);
                let button = Button::selectable(loaded.window == window, step.name.as_str())
                    .shortcut_text(Duration(step.duration_ns).to_string());
                if ui.add_sized([ui.available_width(), MENU_ROWS], button).clicked() {
                    messages.push(Message::ChooseWindow(window));
                    ui.close();
                }
            }
        });
    });
}

fn search_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let search = &loaded.search;
    let id = Id::unique(SEARCH_ID);
    let mut text = search.query.clone();
    let field = TextEdit::singleline(&mut text)
        .id(id)
        .desired_width(SEARCH_WIDTH.min(ui.available_width() - 8.0))
        .margin(vec2(8.0, 5.0))
        .hint_text(RichText::new("Search events, or type > for commands").color(state.theme.ui.faint));
    let response = ui.add(field).accessible_name("Search");
    if response.changed() {
        messages.push(Message::SearchText(text));
    }
    if response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter)) {
        let back = ui.input(|input| input.modifiers.shift);
        messages.push(Message::Run(if back { Command::PreviousHit } else { Command::NextHit }));
        // It would lie over what is gone to.
        messages.push(Message::SearchList(false));
        // The next Enter goes to the next hit.
        response.request_focus();
    }
    if response.clicked() {
        messages.push(Message::SearchList(true));
    }
    if search.query.is_empty() {
        return;
    }
    let hits = search.result.events.len() as u64;
    let count = match search.position {
        Some(position) => format!("{} of {}", thousands(position as u64), thousands(hits)),
        None => counted(hits, "hit", "hits"),
    };
    ui.colored_label(state.theme.ui.dim, count);
    if quiet_button(ui, &state.theme, "‹", "Previous search hit").clicked() {
        messages.push(Message::Run(Command::PreviousHit));
    }
    if quiet_button(ui, &state.theme, "›", "Next search hit").clicked() {
        messages.push(Message::Run(Command::NextHit));
    }
    if quiet_button(ui, &state.theme, "×", "Clear the search").clicked() {
        messages.push(Message::Run(Command::ClearSearch));
    }
    names_ui(&response, state, loaded, messages);
}

/// The list of names that were found, below the field.
fn names_ui(field: &egui::Response, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let search = &loaded.search;
    if !search.shows_list {
        return;
    }
    let popup = Popup::from_response(field).open(true).close_behavior(PopupCloseBehavior::IgnoreClicks).width(560.0);
    let shown = popup.show(|ui| {
        ui.set_width(560.0);
        if search.result.names.is_empty() {
            ui.colored_label(state.theme.ui.dim, "No event has this in its name");
            return;
        }
        let names = &search.result.names;
        let rows = ScrollArea::vertical().max_height(320.0).auto_shrink([false, true]);
        ui.spacing_mut().item_spacing.y = 0.0;
        rows.show_rows(ui, MENU_ROWS, names.len(), |ui, range| {
            for hits in names.get(range).unwrap_or_default() {
                let name = loaded.trace.text(hits.name);
                let (rect, row) = ui.allocate_exact_size(vec2(ui.available_width(), MENU_ROWS), Sense::click());
                if row.hovered() {
                    ui.painter().rect_filled(rect, 3.0, state.theme.ui.hover);
                }
                let font = FontId::proportional(metrics::TRACK_FONT);
                let numbers = format!("{} × · {}", thousands(hits.count), hits.total);
                let inner = rect.shrink2(vec2(6.0, 0.0));
                let split = inner.right() - 150.0;
                let dot = Rect::from_center_size(pos2(inner.left() + 4.0, inner.center().y), vec2(8.0, 8.0));
                ui.painter().rect_filled(dot, 2.0, state.theme.kind(hits.kind));
                let left = Rect::from_min_max(pos2(inner.left() + 16.0, inner.top()), pos2(split, inner.bottom()));
                paint_text(ui, left, false, &display_name(name), font.clone(), state.theme.ui.text);
                let right = Rect::from_min_max(pos2(split, inner.top()), inner.max);
                paint_text(ui, right, true, &numbers, font, state.theme.ui.dim);
                let label = format!("{name}: {numbers}");
                row.widget_info(|| egui::WidgetInfo::labeled(egui::Role::ListItem, true, &label));
                if row.clicked() {
                    messages.push(Message::Select(hits.longest));
                    messages.push(Message::SearchList(false));
                }
            }
        });
    });
    let was_left = shown.is_some_and(|shown| shown.response.clicked_elsewhere()) && field.clicked_elsewhere();
    if was_left || field.ctx.input(|input| input.key_pressed(Key::Escape)) {
        messages.push(Message::SearchList(false));
    }
}
