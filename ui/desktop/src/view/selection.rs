//! The selected event: when and where, what caused it, its arguments, and how it compares with those of its name.

use egui::{Rect, RichText, Role, ScrollArea, Sense, Ui, WidgetInfo, pos2, vec2};
use gapless_timeline::theme::{metrics, mix};
use gapless_trace::{ArgValue, Event, EventId};

use crate::format::{bytes, counted, exact, percent, shorten, thousands};
use crate::message::Message;
use crate::same_name::SameName;
use crate::state::{Loaded, Selection, State};
use crate::view::widgets::{fact, link, swatch};

/// Links listed of each sort; an event can have thousands.
const LISTED: usize = 12;

/// Draws one column of the tab.
type Column<'a> = &'a dyn Fn(&mut Ui, &mut Vec<Message>);

/// Draws the tab.
pub fn selection_ui(ui: &mut Ui, state: &State, loaded: &Loaded, messages: &mut Vec<Message>) {
    let room = ui.available_rect_before_wrap().shrink2(vec2(14.0, 8.0));
    let Some(selection) = &loaded.selection else {
        ui.scope_builder(egui::UiBuilder::new().max_rect(room), |ui| {
            ui.colored_label(
                state.theme.ui.dim,
                "Click an event on the timeline to see its arguments and what caused it",
            );
        });
        return;
    };
    let third = (room.width() - 2.0 * 24.0) / 3.0;
    let column = |place: f32| {
        let left = room.left() + place * (third + 24.0);
        Rect::from_min_max(pos2(left, room.top()), pos2(left + third, room.bottom()))
    };
    let event = loaded.trace.event(selection.event);
    let parts: [(&str, Column<'_>); 3] = [
        ("event", &|ui, messages| event_ui(ui, state, loaded, &event, messages)),
        ("args", &|ui, _| {
            args_ui(ui, state, selection);
            stack_ui(ui, state, loaded, selection.event);
        }),
        ("same name", &|ui, messages| same_name_ui(ui, state, loaded, selection, messages)),
    ];
    for (place, (name, part)) in parts.into_iter().enumerate() {
        let area = column(place as f32);
        ui.scope_builder(egui::UiBuilder::new().max_rect(area).id_salt(name), |ui| {
            ui.set_clip_rect(area.intersect(ui.clip_rect()));
            ScrollArea::vertical().id_salt(name).auto_shrink([false, false]).show(ui, |ui| {
                ui.set_max_width(third - 10.0);
                part(ui, messages);
            });
        });
    }
}

fn event_ui(ui: &mut Ui, state: &State, loaded: &Loaded, event: &Event, messages: &mut Vec<Message>) {
    let theme = &state.theme;
    let trace = &loaded.trace;
    ui.horizontal(|ui| {
        swatch(ui, theme, theme.kind(event.kind), false);
        ui.colored_label(theme.ui.dim, event.kind.label());
    });
    ui.add(egui::Label::new(RichText::new(trace.text(event.name)).color(theme.ui.text)).wrap().selectable(true));
    ui.spacing_mut().item_spacing.y = 0.0;
    fact(ui, theme, "Duration", &format!("{} · {}", event.dur, exact(event.dur)));
    let begin = trace.span().map_or(event.start, |span| span.start);
    fact(ui, theme, "Starts after", &format!("{} · {}", event.start - begin, exact(event.start - begin)));
    if let Some((id, track)) = trace.track_of(event.id) {
        let rank = trace.rank(track.rank).map(gapless_trace::Rank::label).unwrap_or_default();
        fact(ui, theme, "On", &format!("{rank} · {}", trace.track_label(id)));
    }
    let category = trace.text(event.category);
    if !category.is_empty() {
        fact(ui, theme, "Category", category);
    }
    if let Some(moved) = trace.copy_bytes(event.id) {
        let rate = event.dur.as_secs_f64();
        let rate = if rate > 0.0 { format!(" · {:.1} GB/s", moved as f64 / rate * 1e-9) } else { String::new() };
        fact(ui, theme, "Bytes", &format!("{}{rate}", bytes(moved)));
    }
    ui.add_space(metrics::SPACE);
    let ancestors: Vec<_> = trace.ancestors(event.id).take(LISTED).collect();
    events_ui(ui, state, loaded, "Inside", &ancestors, messages);
    let launch: Vec<_> = trace.launches().launch_of(event.id).into_iter().collect();
    events_ui(ui, state, loaded, "Launched by", &launch, messages);
    if let Some(&call) = launch.first() {
        let callers: Vec<_> = trace.ancestors(call).take(LISTED).collect();
        events_ui(ui, state, loaded, "Called from", &callers, messages);
    }
    let work = trace.launches().device_work_of(event.id);
    let count = work.len();
    let work: Vec<_> = work.take(LISTED).collect();
    events_ui(ui, state, loaded, "Launches", &work, messages);
    if count > work.len() {
        ui.colored_label(theme.ui.dim, format!("and {} more", thousands((count - work.len()) as u64)));
    }
    let flows: Vec<_> = trace.flows_of(event.id).take(LISTED).collect();
    let to: Vec<_> = flows.iter().filter(|flow| flow.from == event.id).map(|flow| flow.to).collect();
    let from: Vec<_> = flows.iter().filter(|flow| flow.to == event.id).map(|flow| flow.from).collect();
    events_ui(ui, state, loaded, "Leads to", &to, messages);
    events_ui(ui, state, loaded, "Follows from", &from, messages);
    let children = trace.children(event.id);
    if !children.is_empty() {
        let first: Vec<_> = children.clone().take(LISTED).map(|index| EventId(index as u32)).collect();
        let title = format!("Holds {}", counted(children.len() as u64, "event", "events"));
        events_ui(ui, state, loaded, &title, &first, messages);
    }
}

/// A title and links to events below it; nothing without events.
fn events_ui(
    ui: &mut Ui,
    state: &State,
    loaded: &Loaded,
    title: &str,
    events: &[EventId],
    messages: &mut Vec<Message>,
) {
    if events.is_empty() {
        return;
    }
    let theme = &state.theme;
    ui.add_space(metrics::SPACE);
    ui.label(RichText::new(title).size(metrics::TRACK_FONT).color(theme.ui.dim));
    for &id in events {
        let event = loaded.trace.event(id);
        let name = loaded.trace.text(event.name);
        ui.horizontal(|ui| {
            swatch(ui, theme, theme.kind(event.kind), false);
            let room = ((ui.available_width() - 70.0) / 6.2).max(12.0) as usize;
            let label = format!("Go to {name}");
            if link(ui, &shorten(name, room), metrics::TRACK_FONT, theme.ui.text, &label).on_hover_text(name).clicked()
            {
                messages.push(Message::Select(id));
            }
            ui.label(RichText::new(event.dur.to_string()).size(metrics::TRACK_FONT).color(theme.ui.dim));
        });
    }
}

fn args_ui(ui: &mut Ui, state: &State, selection: &Selection) {
    let colors = &state.theme.ui;
    ui.label(RichText::new("Arguments").color(colors.text));
    let args = match &selection.args {
        Ok(args) if args.is_empty() => {
            ui.colored_label(colors.dim, "The file gives none for this event");
            return;
        }
        Ok(args) => args,
        Err(error) => {
            ui.colored_label(colors.error, error);
            return;
        }
    };
    for (name, value) in args {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = 8.0;
            let width = (ui.available_width() * 0.4).min(150.0);
            ui.allocate_ui_with_layout(vec2(width, 16.0), egui::Layout::left_to_right(egui::Align::Min), |ui| {
                ui.set_min_width(width);
                ui.add(egui::Label::new(RichText::new(name).size(metrics::TRACK_FONT).color(colors.dim)).truncate());
            });
            let text = match value {
                ArgValue::Int(value) if !(0..=999_999).contains(value) => {
                    let sign = if *value < 0 { "−" } else { "" };
                    format!("{sign}{}", thousands(value.unsigned_abs()))
                }
                other => other.to_string(),
            };
            let shown = RichText::new(shorten(&text, 400)).size(metrics::TRACK_FONT).color(colors.text);
            let response = ui.add(egui::Label::new(shown).wrap().selectable(true));
            if text.chars().count() > 400 {
                response.on_hover_text(shorten(&text, 4_000));
            }
        });
    }
}

/// Frames of a call stack that are listed; recursion can make thousands.
const FRAMES: usize = 100;

/// The call stack of the event, innermost frame first; nothing without one.
fn stack_ui(ui: &mut Ui, state: &State, loaded: &Loaded, event: EventId) {
    if let Some(frame) = loaded.selection.as_ref().and_then(|selection| selection.frame.as_ref()) {
        ui.add(egui::Label::new(RichText::new(frame).color(state.theme.ui.text)).wrap());
    }
    let colors = &state.theme.ui;
    let trace = &loaded.trace;
    let Some(found) = trace.stack_of(event) else { return };
    ui.add_space(metrics::SPACE);
    ui.label(RichText::new("Call stack").color(colors.text));
    let mut frames = trace.stacks().frames_of(found.stack);
    for frame in frames.by_ref().take(FRAMES) {
        let (name, file, module) = (trace.text(frame.name), trace.text(frame.file), trace.text(frame.module));
        let place = match (file, frame.line) {
            ("", _) => module.to_owned(),
            (file, 0) => file.to_owned(),
            (file, line) => format!("{file}:{line}"),
        };
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 8.0;
            let name = RichText::new(shorten(name, 120)).size(metrics::TRACK_FONT).color(colors.text);
            let room = ui.available_width() * 0.6;
            ui.scope(|ui| {
                ui.set_max_width(room);
                ui.add(egui::Label::new(name).truncate().selectable(true));
            });
            let short = place.rsplit('/').next().unwrap_or(&place).to_owned();
            let shown = RichText::new(short).size(metrics::TRACK_FONT).color(colors.dim);
            ui.add(egui::Label::new(shown).truncate()).on_hover_text(&place);
        });
    }
    let more = frames.count();
    if more > 0 {
        ui.colored_label(colors.dim, format!("and {} further out", counted(more as u64, "frame", "frames")));
    }
}

fn same_name_ui(ui: &mut Ui, state: &State, loaded: &Loaded, selection: &Selection, messages: &mut Vec<Message>) {
    let theme = &state.theme;
    let Some(same) = &selection.same_name else {
        ui.add(egui::Spinner::new().size(14.0));
        return;
    };
    ui.horizontal(|ui| {
        let title = format!("{} of this name", counted(same.count, "event", "events"));
        ui.label(RichText::new(title).color(theme.ui.text));
        let name = loaded.trace.name(selection.event).to_owned();
        if same.count > 1
            && link(ui, "light up all", metrics::TRACK_FONT, theme.ui.dim, "Light up all of this name").clicked()
        {
            messages.push(Message::ShowName(None, name));
        }
    });
    let dur = |id: EventId| loaded.trace.event(id).dur;
    if same.count > 1 {
        histogram_ui(ui, state, loaded, same);
    }
    ui.spacing_mut().item_spacing.y = 0.0;
    for (label, id) in
        [("Shortest", same.min), ("Median", same.median), ("95 in 100 up to", same.p95), ("Longest", same.max)]
    {
        ui.horizontal(|ui| {
            ui.set_height(20.0);
            ui.label(RichText::new(label).size(metrics::TRACK_FONT).color(theme.ui.dim));
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let text = dur(id).to_string();
                let name = format!("Go to the event: {label} {text}");
                let response = link(ui, &text, metrics::TRACK_FONT, theme.ui.text, &name);
                if response.on_hover_text(exact(dur(id))).clicked() {
                    messages.push(Message::Select(id));
                }
            });
        });
    }
    fact(ui, theme, "Together", &same.total.to_string());
    let share = dur(selection.event).0 as f64 / same.total.0.max(1) as f64;
    fact(ui, theme, "This one's share", &percent(share));
}

fn histogram_ui(ui: &mut Ui, state: &State, loaded: &Loaded, same: &SameName) {
    let colors = &state.theme.ui;
    let (area, response) = ui.allocate_exact_size(vec2(ui.available_width(), 56.0), Sense::hover());
    let highest = same.histogram.iter().copied().max().unwrap_or_default().max(1);
    let slot = area.width() / same.histogram.len().max(1) as f32;
    let color = state.theme.kind(loaded.trace.event(same.of).kind);
    for (place, &count) in same.histogram.iter().enumerate().filter(|&(_, &count)| count > 0) {
        let left = area.left() + slot * place as f32;
        // A single event must be seen beside thousands.
        let height = (area.height() * count as f32 / highest as f32).max(2.0);
        let bar = Rect::from_min_max(pos2(left, area.bottom() - height), pos2(left + slot - 1.0, area.bottom()));
        let color = if place == same.own_bin { colors.text } else { mix(color, colors.panel, 0.25) };
        ui.painter().rect_filled(bar, 0.0, color);
    }
    ui.painter().hline(area.x_range(), area.bottom(), egui::Stroke::new(1.0, colors.hairline));
    let (min, max) = (loaded.trace.event(same.min).dur, loaded.trace.event(same.max).dur);
    response
        .widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("Histogram of durations from {min} to {max}")));
    response
        .on_hover_text(format!("How many last how long, from {min} to {max}; the selected one is in the bright bar"));
}
