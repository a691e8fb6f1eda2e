//! Opening the window: the renderer that works, or an error that says what to do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, anyhow};
use eframe::{NativeOptions, Renderer};
use egui::ViewportBuilder;

use crate::app::App;
use crate::jobs::{Jobs, panic_text};
use crate::system::{advice_after_failure, display_problem};
use crate::update::Model;
use crate::{AppOptions, RendererChoice};

/// Opens the window and returns when it is closed.
///
/// # Errors
/// When there is no display, a system library is missing, or no renderer starts; the message says what to do.
pub fn run(options: AppOptions) -> anyhow::Result<()> {
    if let Some(problem) = display_problem() {
        return Err(anyhow!(problem));
    }
    let order: &[Renderer] = match options.renderer {
        RendererChoice::Auto => &[Renderer::Wgpu, Renderer::Glow],
        RendererChoice::Wgpu => &[Renderer::Wgpu],
        RendererChoice::Glow => &[Renderer::Glow],
    };
    let mut failures = Vec::new();
    for &renderer in order {
        match run_with(&options, renderer) {
            Ok(()) => return Ok(()),
            Err(failure) if failure.has_started => return Err(failure.error),
            Err(failure) => failures.push(format!("{}: {:#}", renderer_name(renderer), failure.error)),
        }
    }
    Err(anyhow!("no window could be opened\n{}\n{}", failures.join("\n"), advice_after_failure()))
}

/// Why a renderer gave up, and whether it had drawn anything before.
struct RunFailure {
    error: anyhow::Error,
    has_started: bool,
}

fn renderer_name(renderer: Renderer) -> &'static str {
    match renderer {
        Renderer::Wgpu => "wgpu (Vulkan or OpenGL)",
        Renderer::Glow => "glow (OpenGL)",
    }
}

fn run_with(options: &AppOptions, renderer: Renderer) -> Result<(), RunFailure> {
    let has_started = Arc::new(AtomicBool::new(false));
    let native = NativeOptions {
        renderer,
        viewport: ViewportBuilder::default()
            .with_title("Gapless")
            .with_app_id("gapless")
            .with_inner_size([1440.0, 900.0])
            .with_min_inner_size([720.0, 480.0])
            .with_drag_and_drop(true)
            .with_icon(crate::icon::icon()),
        // Every label is in the fonts that come with the app, so that text looks the same everywhere.
        system_font_fallback: false,
        ..NativeOptions::default()
    };
    let started = Arc::clone(&has_started);
    let create = move |context: &eframe::CreationContext<'_>| -> Result<Box<dyn eframe::App>, Box<dyn std::error::Error + Send + Sync>> {
        started.store(true, Ordering::Relaxed);
        let ctx = context.egui_ctx.clone();
        let theme = options.theme.unwrap_or_default();
        let mut model = Model::new(Jobs::on_threads(ctx), theme, options.open.clone());
        model.offer_recording(options.recording.clone());
        model.compare_with = (!options.compare.is_empty()).then(|| options.compare.clone());
        model.open(options.paths.clone());
        Ok(Box::new(App::new(model)))
    };
    // The windowing crates panic when something of the system is missing. Until the app runs, that is an error to
    // report; its report on stderr would only bury ours.
    let hook = std::panic::take_hook();
    let quiet = Arc::clone(&has_started);
    let hook: Arc<dyn Fn(&std::panic::PanicHookInfo<'_>) + Send + Sync> = Arc::from(hook);
    let loud = Arc::clone(&hook);
    std::panic::set_hook(Box::new(move |panic| {
        if quiet.load(Ordering::Relaxed) {
            loud(panic);
        }
    }));
    let result = catch_unwind(AssertUnwindSafe(|| eframe::run_native("Gapless", native, Box::new(create))));
    std::panic::set_hook(Box::new(move |panic| hook(panic)));
    let has_started = has_started.load(Ordering::Relaxed);
    let error = match result {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => anyhow!("{error}"),
        Err(payload) => anyhow!(panic_text(payload.as_ref())),
    };
    let error = Err::<(), _>(error).context("the window failed").err().unwrap_or_else(|| anyhow!("the window failed"));
    Err(RunFailure { error, has_started })
}
