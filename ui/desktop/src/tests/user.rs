//! Somebody who looks at the app and uses it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use egui::TexturesDelta;
use egui_kittest::kittest::Queryable as _;
use egui_kittest::{Harness, TestRenderer};
use gapless_trace::Trace;

use super::fixture;
use crate::ThemeChoice;
use crate::app::App;
use crate::jobs::Jobs;
use crate::raster::{Picture, SoftwarePainter};
use crate::state::Loaded;
use crate::update::Model;

/// The rasteriser as the test harness wants it: no test needs a GPU.
#[derive(Clone, Default)]
struct Renderer(Rc<RefCell<SoftwarePainter>>);

impl TestRenderer for Renderer {
    fn handle_delta(&mut self, delta: &mut TexturesDelta) {
        self.0.borrow_mut().update_textures(delta);
    }
}

pub struct User {
    pub harness: Harness<'static, App>,
    renderer: Renderer,
}

impl User {
    pub fn new(app: App, size: [f32; 2]) -> Self {
        let renderer = Renderer::default();
        let builder = Harness::builder().with_size(size).with_max_steps(64).renderer(renderer.clone());
        let harness = builder.build_ui_state(|ui, app: &mut App| app.frame_ui(ui), app);
        let mut user = Self { harness, renderer };
        user.settle();
        user
    }

    /// Before anything is opened.
    pub fn at_start() -> Self {
        Self::new(App::new(model(ThemeChoice::Dark)), [1280.0, 800.0])
    }

    /// With the trace of the fixture.
    pub fn with_trace() -> Self {
        Self::with_theme(ThemeChoice::Dark, [1440.0, 900.0])
    }

    /// With a job on the CPU.
    pub fn with_host_trace() -> Self {
        Self::with(ThemeChoice::Dark, [1440.0, 900.0], fixture::host_trace())
    }

    pub fn with_theme(theme: ThemeChoice, size: [f32; 2]) -> Self {
        Self::with(theme, size, fixture::trace())
    }

    fn with(theme: ThemeChoice, size: [f32; 2], trace: Arc<Trace>) -> Self {
        let mut model = model(theme);
        model.show_trace(trace, "run");
        if let Some(timeline) = &mut model.timeline {
            timeline.options.animate = false;
        }
        Self::new(App::new(model), size)
    }

    /// Lets the app draw until nothing moves.
    pub fn settle(&mut self) {
        self.harness.run_steps(4);
    }

    pub fn click(&mut self, label: &str) {
        self.harness.get_by_label(label).click();
        self.settle();
    }

    /// Clicks what has this in its label.
    pub fn click_part(&mut self, label: &str) {
        self.harness.get_by_label_contains(label).click();
        self.settle();
    }

    /// Turns the wheel while the pointer is at a place of the window, in points.
    pub fn scroll_at(&mut self, at: egui::Pos2, by: egui::Vec2) {
        self.harness.hover_at(at);
        self.settle();
        self.harness.event(egui::Event::MouseWheel {
            unit: egui::MouseWheelUnit::Point,
            delta: by,
            phase: egui::TouchPhase::Move,
            source: egui::MouseWheelSource::Unknown,
            modifiers: egui::Modifiers::NONE,
        });
        self.settle();
    }

    pub fn type_into(&mut self, label: &str, text: &str) {
        self.harness.get_by_label(label).focus();
        self.settle();
        self.harness.get_by_label(label).type_text(text);
        self.settle();
    }

    /// Gives what has this name the keyboard, and presses a key so many times.
    pub fn press_on(&mut self, label: &str, key: egui::Key, times: usize) {
        self.harness.get_by_label(label).focus();
        self.settle();
        for _ in 0..times {
            self.press(egui::Modifiers::NONE, key);
        }
    }

    pub fn press(&mut self, modifiers: egui::Modifiers, key: egui::Key) {
        self.harness.key_press_modifiers(modifiers, key);
        self.settle();
    }

    /// What a row of a table asks for, whose place on the screen does not matter.
    pub fn update(&mut self, message: crate::message::Message) {
        self.model().update(message);
        self.settle();
    }

    pub fn sees(&self, label: &str) -> bool {
        self.harness.query_all_by_label(label).next().is_some()
    }

    pub fn sees_part(&self, label: &str) -> bool {
        self.harness.query_all_by_label_contains(label).next().is_some()
    }

    pub fn model(&mut self) -> &mut Model {
        &mut self.harness.state_mut().model
    }

    pub fn loaded(&self) -> &Loaded {
        self.harness.state().model.state.loaded.as_ref().unwrap()
    }

    /// What is on the screen.
    pub fn picture(&mut self) -> Picture {
        self.harness.remove_cursor();
        self.settle();
        let output = self.harness.output();
        let ppp = output.pixels_per_point;
        let primitives = self.harness.ctx.tessellate(output.shapes.clone(), ppp);
        let size = self.harness.ctx.content_rect().size() * ppp;
        let background = self.harness.state().model.state.theme.ui.background;
        let mut picture = Picture::filled(size.x as usize, size.y as usize, background);
        self.renderer.0.borrow().paint(&mut picture, &primitives, ppp);
        picture
    }
}

pub fn model(theme: ThemeChoice) -> Model {
    Model::new(Jobs::inline(), theme, gapless_formats::OpenOptions::default())
}
