//! Plots as files: SVG, or PNG by the file's ending.

use std::path::Path;

use anyhow::Context as _;
use gapless_advice::Curve;
use plotters::prelude::*;

use crate::failure::BadInput;

/// Width and height in pixels.
const SIZE: (u32, u32) = (960, 600);
/// One colour an axis, told apart with colour-vision deficiencies too (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(90, 90, 90),
];

/// Writes a plot of step time against the rate of each axis.
///
/// # Errors
/// When the file's ending is neither `.svg` nor `.png`, or it cannot be written.
pub fn write(path: &Path, curves: &[Curve], base_ns: f64) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let is_png = cfg!(feature = "png") && ending == "png";
    if ending != "svg" && !is_png {
        let hint = if cfg!(feature = "png") { "its ending must be .svg or .png" } else { "its ending must be .svg" };
        return Err(BadInput::new(format!("{} is no name of a plot", path.display())).hint(hint.to_owned()).into());
    }
    let mut text = String::new();
    draw(&SVGBackend::with_string(&mut text, SIZE).into_drawing_area(), curves, base_ns).with_context(failed)?;
    #[cfg(feature = "png")]
    if is_png {
        return std::fs::write(path, raster::png(&text).with_context(failed)?).with_context(failed);
    }
    std::fs::write(path, text).with_context(failed)
}

#[cfg(feature = "png")]
mod raster {
    use std::sync::Arc;

    use anyhow::Context as _;
    use epaint_default_fonts::UBUNTU_LIGHT;
    use resvg::{tiny_skia, usvg};

    /// Pixels of the picture for each of the plot: sharp on dense displays and in documents.
    const SCALE: f32 = 2.0;

    /// An SVG of ours as PNG. The font is built in, so that the picture is the same on every machine.
    pub fn png(svg: &str) -> anyhow::Result<Vec<u8>> {
        let mut fonts = usvg::fontdb::Database::new();
        fonts.load_font_data(UBUNTU_LIGHT.to_vec());
        fonts.set_sans_serif_family("Ubuntu");
        let options =
            usvg::Options { fontdb: Arc::new(fonts), font_family: "Ubuntu".to_owned(), ..usvg::Options::default() };
        let tree = usvg::Tree::from_str(svg, &options)?;
        let size = tree.size().to_int_size().scale_by(SCALE).context("the plot has no size")?;
        let mut picture = tiny_skia::Pixmap::new(size.width(), size.height()).context("the plot has no size")?;
        resvg::render(&tree, tiny_skia::Transform::from_scale(SCALE, SCALE), &mut picture.as_mut());
        Ok(picture.encode_png()?)
    }
}

fn draw<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    curves: &[Curve],
    base_ns: f64,
) -> anyhow::Result<()>
where
    B::ErrorType: 'static,
{
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let (from, to) =
        points().fold((1.0_f64, 1.0_f64), |(low, high), point| (low.min(point.rate), high.max(point.rate)));
    let top = points().map(|point| point.mean_step_ns).fold(base_ns, f64::max) / 1e6 * 1.05;
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption("Mean step against each rate of the machine", ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d((from..to.max(from * 1.001)).log_scale().base(2.0), 0.0..top)?;
    chart
        .configure_mesh()
        .bold_line_style(BLACK.mix(0.15))
        .light_line_style(BLACK.mix(0.05))
        .x_desc("rate, as a factor of the recorded one")
        .y_desc("mean step, ms")
        .x_label_formatter(&|rate: &f64| format!("{:.2}x", rate))
        .draw()?;
    for (curve, &colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        // Linear in 1 ÷ rate between points: on this axis that is a curve.
        let mut line = Vec::new();
        for pair in curve.points.windows(2) {
            let [a, b] = *pair else { continue };
            for step in 0..=16 {
                let part = f64::from(step) / 16.0;
                let s = (1.0 / a.rate) + (1.0 / b.rate - 1.0 / a.rate) * part;
                line.push((1.0 / s, (a.mean_step_ns + (b.mean_step_ns - a.mean_step_ns) * part) / 1e6));
            }
        }
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(curve.axis.title())
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    area.present()?;
    Ok(())
}
