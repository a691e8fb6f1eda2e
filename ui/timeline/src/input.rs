//! Pointer and keys: what moves the view and the selection.
//!
//! As in Perfetto: the wheel scrolls, with Ctrl it zooms at the pointer, with Shift it moves in time; dragging selects a
//! range, with Shift or the middle button it moves the view; W A S D move smoothly while they are held.

use egui::{Key, Modifiers, PointerButton, Response, Sense, Ui};
use gapless_trace::{Span, Trace};

use crate::index::TimelineIndex;
use crate::state::{Drag, TimelineCommand, TimelineState};
use crate::theme::metrics;
use crate::viewport::Viewport;
use crate::widget::Areas;

/// A line of the help on keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHelp {
    /// The keys as people write them.
    pub keys: &'static str,
    /// What they do.
    pub what: &'static str,
}

/// Keys and gestures of the timeline, for a help window.
pub const KEYS: &[KeyHelp] = &[
    KeyHelp { keys: "W S", what: "Zoom in and out at the pointer" },
    KeyHelp { keys: "A D, ← →", what: "Move back and on in time" },
    KeyHelp { keys: "Ctrl + wheel", what: "Zoom at the pointer" },
    KeyHelp { keys: "Shift + wheel", what: "Move in time" },
    KeyHelp { keys: "Drag", what: "Select a range of time" },
    KeyHelp { keys: "Shift + drag, middle drag", what: "Move the view" },
    KeyHelp { keys: "Double click", what: "Zoom to an event" },
    KeyHelp { keys: "F", what: "Fit the selection" },
    KeyHelp { keys: "0, Home", what: "Fit the whole trace" },
    KeyHelp { keys: ". ,", what: "Next and previous event of the row" },
    KeyHelp { keys: "↑ ↓", what: "Enclosing event and first event inside" },
    KeyHelp { keys: "] [", what: "Follow a link forward and back" },
    KeyHelp { keys: "Esc", what: "Select nothing" },
];

/// Keys that give a command once when they are pressed.
const COMMANDS: &[(Key, TimelineCommand)] = &[
    (Key::F, TimelineCommand::FitSelection),
    (Key::Num0, TimelineCommand::FitAll),
    (Key::Home, TimelineCommand::FitAll),
    (Key::Plus, TimelineCommand::ZoomIn),
    (Key::Equals, TimelineCommand::ZoomIn),
    (Key::Minus, TimelineCommand::ZoomOut),
    (Key::Period, TimelineCommand::NextSlice),
    (Key::Comma, TimelineCommand::PreviousSlice),
    (Key::CloseBracket, TimelineCommand::FollowForward),
    (Key::OpenBracket, TimelineCommand::FollowBack),
    (Key::Escape, TimelineCommand::ClearSelection),
    (Key::ArrowLeft, TimelineCommand::PanLeft),
    (Key::ArrowRight, TimelineCommand::PanRight),
    (Key::ArrowUp, TimelineCommand::ParentSlice),
    (Key::ArrowDown, TimelineCommand::ChildSlice),
];

/// Wheel, drags and the overview.
pub(crate) fn navigate(ui: &Ui, state: &mut TimelineState, areas: &Areas, overview: &Response, canvas: &Response) {
    let seconds = f64::from(ui.input(|input| input.stable_dt)).min(0.1);
    if state.advance(seconds) {
        ui.ctx().request_repaint();
    }
    wheel(ui, state, areas);
    drag_canvas(ui, state, areas, canvas);
    drag_overview(ui, state, areas, overview);
}

fn wheel(ui: &Ui, state: &mut TimelineState, areas: &Areas) {
    if !ui.rect_contains_pointer(areas.whole) {
        return;
    }
    let x = areas.rows.x_range();
    let (zoom, scroll, pointer) =
        ui.input(|input| (input.zoom_delta(), input.smooth_scroll_delta(), input.pointer.hover_pos()));
    let share = pointer.map_or(0.5, |pos| Viewport::share_at(pos.x, x));
    if zoom != 1.0 {
        state.animation = None;
        // A notch of the wheel should be felt: egui's own factor is made for pictures.
        state.view.zoom(f64::from(zoom).powf(1.5), share);
    }
    if scroll.x != 0.0 {
        state.animation = None;
        state.view.pan(-f64::from(scroll.x) * state.view.ns_per_px(x));
    }
    if scroll.y != 0.0 {
        state.scroll_y -= scroll.y;
    }
}

fn drag_canvas(ui: &Ui, state: &mut TimelineState, areas: &Areas, canvas: &Response) {
    let x = areas.rows.x_range();
    if canvas.drag_started() {
        let (origin, shift) = ui.input(|input| (input.pointer.press_origin(), input.modifiers.shift));
        let is_middle = canvas.drag_started_by(PointerButton::Middle);
        state.drag = match origin {
            _ if is_middle || shift => Some(Drag::Pan),
            Some(origin) if canvas.drag_started_by(PointerButton::Primary) => {
                Some(Drag::Range(state.view.time_at(origin.x.clamp(x.min, x.max), x)))
            }
            _ => None,
        };
    }
    if canvas.dragged() {
        match state.drag {
            Some(Drag::Pan) => {
                state.animation = None;
                let delta = canvas.drag_delta();
                state.view.pan(-f64::from(delta.x) * state.view.ns_per_px(x));
                state.scroll_y -= delta.y;
            }
            Some(Drag::Range(anchor)) => {
                if let Some(pos) = canvas.interact_pointer_pos() {
                    let at = state.view.time_at(pos.x.clamp(x.min, x.max), x);
                    state.range = Some(Span::new(anchor.min(at), anchor.max(at)));
                }
            }
            Some(Drag::Window) | None => {}
        }
    }
    if canvas.drag_stopped() {
        state.drag = None;
    }
}

fn drag_overview(ui: &Ui, state: &mut TimelineState, areas: &Areas, overview: &Response) {
    let x = areas.overview.x_range();
    let whole = Viewport::new(state.view.bounds());
    if overview.drag_started() {
        let origin = ui.input(|input| input.pointer.press_origin());
        let window = crate::chrome::overview_window(&state.view, x).expand(4.0);
        state.drag = match origin {
            Some(origin) if window.contains(origin.x) && window.span() < x.span() * 0.95 => Some(Drag::Window),
            Some(origin) => Some(Drag::Range(whole.time_at(origin.x, x))),
            None => None,
        };
    }
    if overview.dragged() {
        state.animation = None;
        match (state.drag, overview.interact_pointer_pos()) {
            (Some(Drag::Window), _) => {
                state.view.pan(f64::from(overview.drag_delta().x) * whole.ns_per_px(x));
            }
            (Some(Drag::Range(anchor)), Some(pos)) => {
                let at = whole.time_at(pos.x.clamp(x.min, x.max), x);
                if at != anchor {
                    state.view.show(Span::new(anchor.min(at), anchor.max(at)));
                }
            }
            _ => {}
        }
    }
    if overview.drag_stopped() {
        state.drag = None;
    }
    if overview.clicked()
        && let Some(pos) = overview.interact_pointer_pos()
    {
        let time = whole.time_at(pos.x, x);
        let offset = state.view.offset_ns(time) - state.view.span_ns() / 2.0;
        state.animation = None;
        state.view.pan(offset);
    }
}

/// Keys, unless the user types text or another widget has the focus of the keyboard.
pub(crate) fn keys(
    ui: &Ui,
    state: &mut TimelineState,
    trace: &Trace,
    index: &TimelineIndex,
    areas: &Areas,
    canvas: &Response,
) {
    let ctx = ui.ctx();
    if ctx.text_edit_focused() {
        state.velocity = (0.0, 0.0);
        return;
    }
    let elsewhere = ctx.memory(|memory| memory.focused().is_some_and(|id| id != canvas.id));
    for &(key, command) in COMMANDS {
        // Arrows and Escape belong to whatever has the focus.
        let moves_focus = matches!(key, Key::ArrowLeft | Key::ArrowRight | Key::ArrowUp | Key::ArrowDown | Key::Escape);
        if moves_focus && elsewhere {
            continue;
        }
        let pressed = ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
        if pressed {
            state.apply(command, trace, index);
            ctx.request_repaint();
        }
    }
    held_keys(ui, state, areas);
}

/// W A S D: speed grows and fades smoothly.
fn held_keys(ui: &Ui, state: &mut TimelineState, areas: &Areas) {
    const OCTAVES_PER_SECOND: f64 = 3.5;
    const WIDTHS_PER_SECOND: f64 = 1.2;
    const RESPONSE_SECONDS: f64 = 0.06;
    let x = areas.rows.x_range();
    let (zoom, pan, seconds, pointer) = ui.input(|input| {
        let held = |key| f64::from(u8::from(input.modifiers.is_none() && input.key_down(key)));
        let seconds = f64::from(input.stable_dt).min(0.05);
        (held(Key::W) - held(Key::S), held(Key::D) - held(Key::A), seconds, input.pointer.hover_pos())
    });
    let approach = 1.0 - (-seconds / RESPONSE_SECONDS).exp();
    state.velocity.0 += (zoom * OCTAVES_PER_SECOND - state.velocity.0) * approach;
    state.velocity.1 += (pan * WIDTHS_PER_SECOND - state.velocity.1) * approach;
    let still = |velocity: f64| velocity.abs() < 0.02;
    if zoom == 0.0 && pan == 0.0 && still(state.velocity.0) && still(state.velocity.1) {
        state.velocity = (0.0, 0.0);
        return;
    }
    state.animation = None;
    let inside = pointer.filter(|pos| areas.canvas().contains(*pos));
    let share = inside.map_or(0.5, |pos| Viewport::share_at(pos.x, x));
    state.view.zoom((state.velocity.0 * seconds).exp2(), share);
    state.view.pan(state.velocity.1 * seconds * state.view.span_ns());
    ui.ctx().request_repaint();
}

/// The line between headers and rows can be dragged.
pub(crate) fn header_width(ui: &Ui, state: &mut TimelineState, areas: &Areas, id: egui::Id) {
    let line = areas.headers.right();
    let grip = egui::Rect::from_x_y_ranges(line - 3.0..=line + 3.0, areas.rows.y_range());
    let response = ui.interact(grip, id, Sense::drag());
    if response.hovered() || response.dragged() {
        ui.ctx().set_cursor_icon(egui::CursorIcon::ResizeHorizontal);
    }
    if response.dragged() {
        let width = areas.headers.width() + response.drag_delta().x;
        state.options.header_width = width.clamp(20.0 * metrics::SPACE, (areas.whole.width() * 0.5).max(100.0));
    }
}
