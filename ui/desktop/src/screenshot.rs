//! Pictures of the app without a display: for documents, reports and tests.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use egui::{Pos2, RawInput, Rect, vec2};
use gapless_trace::{EventId, Span, Trace};

use crate::app::App;
use crate::jobs::Jobs;
use crate::raster::{Picture, SoftwarePainter};
use crate::speeds::MachinePart;
use crate::state::{Loaded, Window};
use crate::update::Model;
use crate::{BottomTab, RelativeRange, ScreenshotOptions};

/// Frames are drawn until two pictures in a row need no further one, but not more than these.
const MAX_FRAMES: usize = 24;
/// Time between frames, long enough for animations to end soon.
const FRAME_SECS: f64 = 0.1;
/// Largest side of a picture in pixels.
const MAX_SIDE: f32 = 16_384.0;

/// Renders the app to a PNG file.
///
/// # Errors
/// When the trace cannot be opened, the event, rank or step that was asked for does not exist, the size is not
/// usable, or the file cannot be written.
pub fn screenshot(options: &ScreenshotOptions) -> anyhow::Result<()> {
    let picture = picture(options)?;
    write_png(&picture, &options.output)
}

/// Renders the app to a picture.
///
/// # Errors
/// As for [`screenshot`].
pub fn picture(options: &ScreenshotOptions) -> anyhow::Result<Picture> {
    let [width, height] = options.size.map(|points| points as f32);
    let ppp = options.pixels_per_point;
    let is_size_usable = |points: f32| (1.0..=MAX_SIDE).contains(&(points * ppp));
    if !(is_size_usable(width) && is_size_usable(height)) {
        bail!("a picture of {width} × {height} points at {ppp} pixels per point cannot be made");
    }
    let mut model = Model::new(Jobs::inline(), options.theme, options.open.clone());
    model.offer_recording(options.recording.clone());
    model.compare_with = (!options.compare.is_empty()).then(|| options.compare.clone());
    model.open(options.paths.clone());
    model.collect();
    if let Some(failure) = &model.state.failure {
        return Err(anyhow!("{}", failure.text).context(failure.title.clone()));
    }
    arrange(&mut model, options)?;
    Ok(render(&mut App::new(model), vec2(width, height), ppp))
}

/// Brings the app into the state that the options describe.
fn arrange(model: &mut Model, options: &ScreenshotOptions) -> anyhow::Result<()> {
    use crate::message::Message;

    if let Some(timeline) = &mut model.timeline {
        timeline.options.animate = false;
    }
    let Some(loaded) = &model.state.loaded else { return Ok(()) };
    let trace = std::sync::Arc::clone(&loaded.trace);
    if let Some(name) = &options.step {
        let place = find_step(loaded, name)?;
        model.update(Message::ChooseWindow(Window::Step(place)));
    }
    if let Some(number) = options.expanded_rank {
        let rank = trace.rank_ids().find(|(_, rank)| rank.number == Some(number)).map(|(id, _)| id);
        let rank = rank.ok_or_else(|| anyhow!("the trace has no rank {number}; it has {}", rank_list(&trace)))?;
        if let Some(timeline) = &mut model.timeline {
            for (id, _) in trace.rank_ids() {
                timeline.set_rank_open(id, id == rank);
            }
        }
        model.update(Message::ChooseTableRank(rank));
    }
    if let Some(name) = &options.select {
        let event = find_event(&trace, name, options.expanded_rank);
        let event = event.ok_or_else(|| anyhow!("no event has \"{name}\" in its name"))?;
        model.update(Message::Select(event));
    }
    if let (Some(range), Some(timeline)) = (options.range, &mut model.timeline) {
        timeline.zoom_to(absolute(&trace, range)?);
    }
    for id in &options.simulate {
        let mut speeds = model.state.asked.speeds;
        if speeds.take(id) {
            for part in MachinePart::ALL {
                model.update(Message::SetSpeed(part, speeds.factor(part)));
            }
            continue;
        }
        let known = model.state.loaded.as_ref().and_then(|loaded| loaded.advice.as_ref());
        let known: Vec<&str> = known.iter().flat_map(|cards| cards.iter()).map(|card| card.id.as_str()).collect();
        if !known.contains(&id.as_str()) {
            bail!("there is no advice \"{id}\" for this trace; there is {}", known.join(", "));
        }
        model.update(Message::TickAdvice(id.clone()));
    }
    if let Some(name) = &options.change {
        let found = model.state.comparison.as_ref().and_then(|comparison| comparison.found.clone());
        let found = found.context("a change can be shown only of a comparison")?;
        let labels: Vec<String> = found.rows.iter().map(gapless_diff::Row::label).collect();
        let lower = name.to_lowercase();
        let row = labels.iter().position(|label| label.to_lowercase().contains(&lower));
        let row =
            row.ok_or_else(|| anyhow!("the comparison has no change \"{name}\"; it has {}", labels.join(", ")))?;
        model.update(Message::OpenChange(row));
    }
    model.update(Message::ShowTrust(options.shows_trust));
    if let Some(tab) = options.tab {
        model.update(Message::ShowTab(tab));
    } else if options.select.is_none() && options.compare.is_empty() {
        model.update(Message::ShowTab(BottomTab::default()));
    }
    Ok(())
}

fn rank_list(trace: &Trace) -> String {
    let labels: Vec<_> = trace.ranks().iter().take(8).map(gapless_trace::Rank::label).collect();
    let more = trace.ranks().len() - labels.len();
    if more > 0 { format!("{} and {more} more", labels.join(", ")) } else { labels.join(", ") }
}

fn find_step(loaded: &Loaded, name: &str) -> anyhow::Result<usize> {
    let steps = loaded.report.as_ref().map_or(&[][..], |report| report.analysis.steps.as_slice());
    let by_name = steps.iter().position(|step| step.name == name);
    let number = name.trim().parse::<u64>().ok();
    let by_number = || number.and_then(|number| steps.iter().position(|step| step.number == Some(number)));
    let by_place = || number.and_then(|place| usize::try_from(place).ok()).filter(|&place| place < steps.len());
    by_name.or_else(by_number).or_else(by_place).ok_or_else(|| {
        let known: Vec<_> = steps.iter().take(6).map(|step| step.name.as_str()).collect();
        anyhow!("the trace has no step \"{name}\"; it has {} steps: {}", steps.len(), known.join(", "))
    })
}

/// The longest event of this name, else the longest one whose name holds it; of one rank, if that is given.
fn find_event(trace: &Trace, name: &str, rank: Option<u32>) -> Option<EventId> {
    let result = crate::search::search(trace, name);
    let number = |event: EventId| trace.rank_of(event).and_then(|id| trace.rank(id)).and_then(|rank| rank.number);
    let possible = result.events.iter().copied().filter(|&event| rank.is_none() || number(event) == rank);
    possible.max_by_key(|&event| (trace.name(event) == name, trace.event(event).dur, std::cmp::Reverse(event)))
}

fn absolute(trace: &Trace, range: RelativeRange) -> anyhow::Result<Span> {
    let whole = trace.span().context("the trace holds no events")?;
    let span = Span { start: whole.start + range.start, end: whole.start + range.end };
    if span.intersect(whole).is_empty() {
        bail!("the range lies outside the trace, which lasts {}", whole.duration());
    }
    Ok(span)
}

/// Draws frames of `app` until nothing moves any more, and returns the last one. `size` is in points.
pub fn render(app: &mut App, size: egui::Vec2, pixels_per_point: f32) -> Picture {
    let ctx = egui::Context::default();
    ctx.options_mut(|options| options.max_passes = std::num::NonZeroUsize::MIN.saturating_add(1));
    let mut painter = SoftwarePainter::new();
    let mut shapes = Vec::new();
    for frame in 0..MAX_FRAMES {
        let mut input = RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, size)),
            max_texture_side: Some(8_192),
            time: Some(frame as f64 * FRAME_SECS),
            predicted_dt: FRAME_SECS as f32,
            ..RawInput::default()
        };
        if let Some(viewport) = input.viewports.get_mut(&egui::ViewportId::ROOT) {
            viewport.native_pixels_per_point = Some(pixels_per_point);
        }
        let mut output = ctx.run_ui(input, |ui| app.frame_ui(ui));
        painter.update_textures(&mut output.textures_delta);
        shapes = output.shapes;
        let delay = output.viewport_output.get(&egui::ViewportId::ROOT).map(|viewport| viewport.repaint_delay);
        // The first frames only measure; then one that asks for no other at once is the last.
        if frame >= 3 && delay.is_none_or(|delay| !delay.is_zero()) {
            break;
        }
    }
    let primitives = ctx.tessellate(shapes, pixels_per_point);
    let pixels = size * pixels_per_point;
    let background = app.model.state.theme.ui.background;
    let mut picture = Picture::filled(pixels.x.round() as usize, pixels.y.round() as usize, background);
    painter.paint(&mut picture, &primitives, pixels_per_point);
    picture
}

/// Writes `picture` as a PNG file without alpha.
///
/// # Errors
/// When the file cannot be written.
pub fn write_png(picture: &Picture, path: &Path) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    encode_png(picture, &mut bytes)?;
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Encodes `picture` as PNG without alpha into `out`.
pub(crate) fn encode_png(picture: &Picture, out: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut encoder = png::Encoder::new(out, picture.width as u32, picture.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    encoder.set_filter(png::Filter::Adaptive);
    let mut writer = encoder.write_header()?;
    let rgb: Vec<u8> = picture.pixels.iter().flat_map(|&[red, green, blue, _]| [red, green, blue]).collect();
    writer.write_image_data(&rgb)?;
    writer.finish()?;
    Ok(())
}
