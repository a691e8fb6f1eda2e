//! `gapless open`: the desktop app, or a picture of it.

use crate::args::OpenArgs;

#[cfg(not(feature = "desktop"))]
pub fn run(_args: &OpenArgs) -> anyhow::Result<()> {
    Err(crate::failure::BadInput::new("this gapless was built without the desktop app")
        .hint("build it with its default features, or use `gapless analyze`, `gapless convert` and `gapless info`")
        .into())
}

#[cfg(feature = "desktop")]
pub fn run(args: &OpenArgs) -> anyhow::Result<()> {
    match &args.screenshot {
        Some(output) => desktop::screenshot(args, output),
        None => desktop::window(args),
    }
}

#[cfg(feature = "desktop")]
mod desktop {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use gapless_desktop::{
        AppOptions, BottomTab, Recording, RelativeRange, RendererChoice, ScreenshotOptions, ThemeChoice,
    };
    use gapless_trace::Duration;

    use crate::args::{OpenArgs, Panel, Renderer, Theme, TimeRange};
    use crate::commands::{expand, open_options};
    use crate::failure::BadInput;

    pub fn window(args: &OpenArgs) -> anyhow::Result<()> {
        let paths = if args.paths.is_empty() { Vec::new() } else { unfolded(&args.paths)? };
        let renderer = match args.renderer {
            None | Some(Renderer::Auto) => RendererChoice::Auto,
            Some(Renderer::Wgpu) => RendererChoice::Wgpu,
            Some(Renderer::Glow) => RendererChoice::Glow,
        };
        gapless_desktop::run(AppOptions {
            paths,
            open: open_options(&args.read)?,
            theme: args.theme.map(theme),
            renderer,
            recording: recording(),
            compare: args.compare.iter().map(PathBuf::from).collect(),
        })
    }

    /// The files that `paths` name; one folder stays a folder, which may be a recording that grows.
    fn unfolded(paths: &[String]) -> anyhow::Result<Vec<PathBuf>> {
        let files = expand(paths)?;
        match paths {
            [one] if Path::new(one).is_dir() => Ok(vec![PathBuf::from(one)]),
            _ => Ok(files),
        }
    }

    /// What this machine can record, for the app; capture speaks to the kernel of Linux.
    #[cfg(target_os = "linux")]
    fn recording() -> Option<Arc<dyn Recording>> {
        Some(Arc::new(crate::commands::recording::Here))
    }

    #[cfg(not(target_os = "linux"))]
    fn recording() -> Option<Arc<dyn Recording>> {
        None
    }

    pub fn screenshot(args: &OpenArgs, output: &Path) -> anyhow::Result<()> {
        if args.paths.is_empty() {
            return Err(BadInput::new("--screenshot needs a trace")
                .hint("gapless open PATH --screenshot out.png")
                .into());
        }
        let paths = expand(&args.paths)?;
        super::super::refuse_input_as_output(&paths, output)?;
        let mut options = ScreenshotOptions::new(paths, output.to_owned());
        options.open = open_options(&args.read)?;
        options.size = args.size.unwrap_or(options.size);
        options.pixels_per_point = args.scale.unwrap_or(options.pixels_per_point);
        options.theme = args.theme.map_or(options.theme, theme);
        options.range = args.range.and_then(range);
        options.step = args.step.clone();
        options.select = args.select.clone();
        options.expanded_rank = args.rank;
        options.tab = args.panel.and_then(tab);
        options.simulate.clone_from(&args.simulate);
        options.compare = args.compare.iter().map(PathBuf::from).collect();
        options.change.clone_from(&args.change);
        options.shows_trust = args.panel == Some(Panel::Trust);
        gapless_desktop::screenshot(&options).map_err(|error| refused(&options, error))
    }

    /// The app shows what is wrong in words of its own. Whoever calls a command needs to know whether the call was
    /// wrong (exit code 2) or the work failed (1).
    fn refused(options: &ScreenshotOptions, error: anyhow::Error) -> anyhow::Error {
        if let Err(unreadable) = gapless_formats::open(&options.paths, &options.open, &gapless_formats::Silent) {
            return BadInput::from(unreadable).into();
        }
        let is_output = error.chain().any(|cause| cause.is::<std::io::Error>());
        if is_output { error } else { BadInput::new(format!("{error:#}")).into() }
    }

    fn theme(theme: Theme) -> ThemeChoice {
        match theme {
            Theme::Dark => ThemeChoice::Dark,
            Theme::Light => ThemeChoice::Light,
        }
    }

    fn tab(panel: Panel) -> Option<BottomTab> {
        Some(match panel {
            Panel::Path => BottomTab::Path,
            Panel::Collectives => BottomTab::Collectives,
            Panel::Stragglers => BottomTab::Stragglers,
            Panel::Roofline => BottomTab::Roofline,
            Panel::Compare => BottomTab::Compare,
            Panel::Trust => return None,
            Panel::Selection => BottomTab::Selection,
            Panel::Breakdown => BottomTab::Breakdown,
            Panel::Kernels => BottomTab::Kernels,
            Panel::Operators => BottomTab::Operators,
            Panel::Transfers => BottomTab::Transfers,
            Panel::Warnings => BottomTab::Warnings,
        })
    }

    /// An open end lies beyond any trace; `..` is the whole trace, as is no range.
    fn range(range: TimeRange) -> Option<RelativeRange> {
        if range == TimeRange::default() {
            return None;
        }
        let start = range.start.unwrap_or(Duration::ZERO);
        Some(RelativeRange { start, end: range.end.unwrap_or(Duration(i64::MAX)) })
    }
}
