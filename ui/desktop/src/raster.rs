//! A software rasteriser for egui's output: pictures without a display and without a GPU driver.
//!
//! It draws what `egui_glow` draws: textured, vertex-coloured triangles, premultiplied alpha, blended in gamma
//! space, anti-aliased by the feathering that egui's tessellator already put into the meshes.
//!
//! Vertices are snapped to 1/256 pixel and edges are evaluated in integers with the top-left fill rule, as GPUs do:
//! triangles that share an edge neither overlap nor leave a seam, and the same meshes give the same picture on every
//! machine. A triangle costs three divisions per row plus its covered pixels.

use std::collections::BTreeMap;
use std::ops::Range;

use egui::epaint::{ClippedPrimitive, ImageData, ImageDelta, Mesh, Primitive, Vertex};
use egui::{Color32, Rect, TextureFilter, TextureId, TextureOptions, TextureWrapMode, TexturesDelta};

/// A picture: rows from top to bottom, RGBA, 8 bits each, alpha premultiplied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width × height` pixels.
    pub pixels: Vec<[u8; 4]>,
}

impl Picture {
    /// A picture of one colour.
    #[must_use]
    pub fn filled(width: usize, height: usize, color: Color32) -> Self {
        Self { width, height, pixels: vec![color.to_array(); width * height] }
    }

    /// The pixel at column `x`, row `y`; transparent black outside.
    #[must_use]
    pub fn get(&self, x: usize, y: usize) -> [u8; 4] {
        if x >= self.width {
            return [0; 4];
        }
        self.pixels.get(y * self.width + x).copied().unwrap_or_default()
    }

    fn row_mut(&mut self, y: usize, x: Range<usize>) -> &mut [[u8; 4]] {
        let base = y * self.width;
        self.pixels.get_mut(base + x.start..base + x.end).unwrap_or_default()
    }
}

/// One texture with its sampling rules.
#[derive(Clone, Debug)]
struct Texture {
    width: usize,
    height: usize,
    texels: Vec<Color32>,
    options: TextureOptions,
}

/// Keeps the textures of one egui context and paints its primitives into pictures.
#[derive(Clone, Debug, Default)]
pub struct SoftwarePainter {
    textures: BTreeMap<u64, Texture>,
}

/// Subpixel steps per pixel.
const SUBPIXELS: f32 = 256.0;
/// Coordinates are cut here (in pixels), so that edge products stay far inside 64 bits.
const GUARD_BAND: f32 = 1_000_000.0;

fn texture_key(id: TextureId) -> u64 {
    // Managed ids come from egui and are small; user ids belong to nobody here, but must not collide.
    match id {
        TextureId::Managed(id) => id << 1,
        TextureId::User(id) => (id << 1) | 1,
    }
}

impl SoftwarePainter {
    /// A painter without textures.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over new and changed textures, and forgets freed ones. Leaves `delta` empty.
    pub fn update_textures(&mut self, delta: &mut TexturesDelta) {
        for (id, images) in delta.set.drain() {
            for image in images {
                self.set_texture(id, image);
            }
        }
        for id in delta.free.drain() {
            self.textures.remove(&texture_key(id));
        }
    }

    fn set_texture(&mut self, id: TextureId, delta: ImageDelta) {
        let ImageData::Color(image) = &delta.image;
        let [width, height] = image.size;
        let key = texture_key(id);
        let Some([left, top]) = delta.pos else {
            self.textures.insert(key, Texture { width, height, texels: image.pixels.clone(), options: delta.options });
            return;
        };
        let Some(texture) = self.textures.get_mut(&key) else { return };
        for (row, texels) in image.pixels.chunks_exact(width.max(1)).enumerate() {
            let start = (top + row) * texture.width + left;
            if left + width <= texture.width
                && let Some(target) = texture.texels.get_mut(start..start + width)
            {
                target.copy_from_slice(texels);
            }
        }
    }

    /// Paints `primitives` over `picture`, first to last. `pixels_per_point` scales points to pixels.
    pub fn paint(&self, picture: &mut Picture, primitives: &[ClippedPrimitive], pixels_per_point: f32) {
        for ClippedPrimitive { clip_rect, primitive } in primitives {
            let clip = Clip::new(*clip_rect, pixels_per_point, picture);
            match primitive {
                Primitive::Mesh(mesh) => self.paint_mesh(picture, mesh, &clip, pixels_per_point),
                // Callbacks are for GPU code; the app uses none.
                Primitive::Callback(_) => {}
            }
        }
    }

    fn paint_mesh(&self, picture: &mut Picture, mesh: &Mesh, clip: &Clip, pixels_per_point: f32) {
        let texture = self.textures.get(&texture_key(mesh.texture_id));
        for corners in mesh.indices.chunks_exact(3) {
            let vertex = |place: usize| corners.get(place).and_then(|&index| mesh.vertices.get(index as usize));
            if let (Some(a), Some(b), Some(c)) = (vertex(0), vertex(1), vertex(2)) {
                paint_triangle(picture, [a, b, c], texture, clip, pixels_per_point);
            }
        }
    }
}

/// The pixels that may be painted.
struct Clip {
    x: Range<i64>,
    y: Range<i64>,
}

impl Clip {
    /// Rounds the clip rectangle to whole pixels, as `egui_glow` does.
    fn new(rect: Rect, pixels_per_point: f32, picture: &Picture) -> Self {
        let place = |points: f32, size: usize| {
            // A float cast saturates, so that the infinite clip rectangle works too.
            ((points * pixels_per_point).round() as i64).clamp(0, size as i64)
        };
        let (left, right) = (place(rect.min.x, picture.width), place(rect.max.x, picture.width));
        let (top, bottom) = (place(rect.min.y, picture.height), place(rect.max.y, picture.height));
        Self { x: left..right.max(left), y: top..bottom.max(top) }
    }
}

/// A vertex in subpixels.
#[derive(Clone, Copy)]
struct Corner {
    x: i64,
    y: i64,
}

/// One edge as a linear function of the pixel: inside where it is not negative.
#[derive(Clone, Copy)]
struct Edge {
    /// Value at the centre of pixel (0, 0), the fill rule not included.
    origin: i64,
    /// Growth per pixel to the right.
    step_x: i64,
    /// Growth per pixel down.
    step_y: i64,
    /// 0 for a top or left edge, which owns the pixels whose centre lies on it, else -1.
    bias: i64,
}

impl Edge {
    fn new(from: Corner, to: Corner) -> Self {
        let (dx, dy) = (to.x - from.x, to.y - from.y);
        // E(p) = dx·(p.y − from.y) − dy·(p.x − from.x), positive to the right of the edge when y points down.
        let half = SUBPIXELS as i64 / 2;
        let origin = dx * (half - from.y) - dy * (half - from.x);
        let is_top_or_left = dy < 0 || (dy == 0 && dx > 0);
        let step = SUBPIXELS as i64;
        Self { origin, step_x: -dy * step, step_y: dx * step, bias: if is_top_or_left { 0 } else { -1 } }
    }

    fn at(&self, x: i64, y: i64) -> i64 {
        self.origin + self.step_x * x + self.step_y * y
    }

    /// Narrows `span` to the pixels of row `y` on the inner side.
    fn narrow(&self, y: i64, span: Range<i64>) -> Range<i64> {
        let at_zero = self.at(0, y) + self.bias;
        match self.step_x {
            0 if at_zero < 0 => span.start..span.start,
            0 => span,
            // at_zero + step·x ≥ 0 ⇔ x ≥ ⌈−at_zero / step⌉ for a positive step.
            step if step > 0 => span.start.max(-at_zero.div_euclid(step))..span.end,
            // ⇔ x ≤ ⌊at_zero / −step⌋ for a negative one.
            step => span.start..span.end.min(at_zero.div_euclid(-step) + 1),
        }
    }
}

/// A value that is linear over the triangle, counted from one of its pixels: small numbers keep their precision.
#[derive(Clone, Copy)]
struct Plane {
    base: (i64, i64),
    origin: f32,
    step_x: f32,
    step_y: f32,
}

impl Plane {
    /// From the values at the corners and the edge opposite to each corner.
    fn new(values: [f32; 3], edges: &[Edge; 3], area: i64, base: (i64, i64)) -> Self {
        let scale = 1.0 / area as f64;
        let sum = |parts: [i64; 3]| {
            let total: f64 = values.iter().zip(parts).map(|(value, part)| f64::from(*value) * part as f64).sum();
            (total * scale) as f32
        };
        Self {
            base,
            origin: sum(edges.map(|edge| edge.at(base.0, base.1))),
            step_x: sum(edges.map(|edge| edge.step_x)),
            step_y: sum(edges.map(|edge| edge.step_y)),
        }
    }

    fn at(&self, x: i64, y: i64) -> f32 {
        self.origin + self.step_x * (x - self.base.0) as f32 + self.step_y * (y - self.base.1) as f32
    }
}

fn paint_triangle(
    picture: &mut Picture,
    corners: [&Vertex; 3],
    texture: Option<&Texture>,
    clip: &Clip,
    pixels_per_point: f32,
) {
    let snap = |points: f32| {
        let pixels = (points * pixels_per_point).clamp(-GUARD_BAND, GUARD_BAND);
        (pixels * SUBPIXELS).round() as i64
    };
    if !corners.iter().all(|corner| corner.pos.is_finite()) {
        return;
    }
    let [mut a, mut b, c] = corners;
    let place = |vertex: &Vertex| Corner { x: snap(vertex.pos.x), y: snap(vertex.pos.y) };
    let (mut at_a, mut at_b, at_c) = (place(a), place(b), place(c));
    let mut area = (at_b.x - at_a.x) * (at_c.y - at_a.y) - (at_b.y - at_a.y) * (at_c.x - at_a.x);
    if area == 0 {
        return;
    }
    if area < 0 {
        (a, b) = (b, a);
        (at_a, at_b) = (at_b, at_a);
        area = -area;
    }
    // Each edge lies opposite to the corner of the same place.
    let edges = [Edge::new(at_b, at_c), Edge::new(at_c, at_a), Edge::new(at_a, at_b)];

    let step = SUBPIXELS as i64;
    let top = at_a.y.min(at_b.y).min(at_c.y).div_euclid(step).max(clip.y.start);
    let bottom = (at_a.y.max(at_b.y).max(at_c.y).div_euclid(step) + 1).min(clip.y.end);
    let left = at_a.x.min(at_b.x).min(at_c.x).div_euclid(step).max(clip.x.start);
    let right = (at_a.x.max(at_b.x).max(at_c.x).div_euclid(step) + 1).min(clip.x.end);
    if left >= right {
        return;
    }
    let shader = Shader::new([a, b, c], &edges, area, (left, top), texture, pixels_per_point);
    for y in top..bottom {
        let span = edges.iter().fold(left..right, |span, edge| edge.narrow(y, span));
        if span.start < span.end {
            let pixels = picture.row_mut(y as usize, span.start as usize..span.end as usize);
            shader.paint(pixels, span.start, y);
        }
    }
}

/// How the pixels of one triangle get their colour.
#[expect(clippy::large_enum_variant, reason = "one lives at a time, on the stack")]
enum Shader<'a> {
    /// One colour everywhere.
    Flat([u8; 4]),
    /// Vertex colours (0–255, premultiplied) times texels.
    Textured { channels: [Plane; 4], u: Plane, v: Plane, sampler: Option<Sampler<'a>> },
}

impl<'a> Shader<'a> {
    fn new(
        corners: [&Vertex; 3],
        edges: &[Edge; 3],
        area: i64,
        base: (i64, i64),
        texture: Option<&'a Texture>,
        pixels_per_point: f32,
    ) -> Self {
        let [a, b, c] = corners;
        let sampler = texture.map(|texture| Sampler::new(texture, corners, pixels_per_point));
        let is_flat = a.color == b.color && b.color == c.color && a.uv == b.uv && b.uv == c.uv;
        if is_flat {
            let texel = sampler.as_ref().map_or([255.0; 4], |sampler| sampler.sample(a.uv.x, a.uv.y));
            let mut color = a.color.to_array();
            for (channel, factor) in color.iter_mut().zip(texel) {
                *channel = (f32::from(*channel) * factor / 255.0).round() as u8;
            }
            return Self::Flat(color);
        }
        let plane = |value: fn(&Vertex) -> f32| Plane::new([value(a), value(b), value(c)], edges, area, base);
        Self::Textured {
            channels: [
                plane(|vertex| f32::from(vertex.color.r())),
                plane(|vertex| f32::from(vertex.color.g())),
                plane(|vertex| f32::from(vertex.color.b())),
                plane(|vertex| f32::from(vertex.color.a())),
            ],
            u: plane(|vertex| vertex.uv.x),
            v: plane(|vertex| vertex.uv.y),
            // Most triangles lie on the one white texel; a constant sample needs no sampler.
            sampler: sampler
                .filter(|sampler| a.uv != b.uv || b.uv != c.uv || sampler.sample(a.uv.x, a.uv.y) != [255.0; 4]),
        }
    }

    fn paint(&self, pixels: &mut [[u8; 4]], x: i64, y: i64) {
        match self {
            Self::Flat([0, 0, 0, 0]) => {}
            Self::Flat(color @ [.., 255]) => pixels.fill(*color),
            Self::Flat(color) => {
                for pixel in pixels {
                    blend(pixel, color.map(f32::from));
                }
            }
            Self::Textured { channels, u, v, sampler } => {
                for (pixel, x) in pixels.iter_mut().zip(x..) {
                    let mut color = [0.0; 4];
                    for (value, plane) in color.iter_mut().zip(channels) {
                        *value = plane.at(x, y).clamp(0.0, 255.0);
                    }
                    if let Some(sampler) = sampler {
                        let texel = sampler.sample(u.at(x, y), v.at(x, y));
                        for (value, factor) in color.iter_mut().zip(texel) {
                            *value *= factor * (1.0 / 255.0);
                        }
                    }
                    blend(pixel, color);
                }
            }
        }
    }
}

/// Source over destination, both premultiplied, in gamma space (`ONE, ONE_MINUS_SRC_ALPHA`).
fn blend(pixel: &mut [u8; 4], source: [f32; 4]) {
    let [.., alpha] = source;
    let keep = 1.0 - alpha * (1.0 / 255.0);
    for (target, value) in pixel.iter_mut().zip(source) {
        *target = (value + f32::from(*target) * keep + 0.5) as u8;
    }
}

/// Reads a texture by its sampling rules.
struct Sampler<'a> {
    texture: &'a Texture,
    filter: TextureFilter,
}

impl<'a> Sampler<'a> {
    fn new(texture: &'a Texture, corners: [&Vertex; 3], pixels_per_point: f32) -> Self {
        let options = texture.options;
        // Texels per pixel by area decide between the two filters, as the derivatives do on a GPU.
        let [a, b, c] = corners;
        let cross = |ab: egui::Vec2, ac: egui::Vec2| (ab.x * ac.y - ab.y * ac.x).abs();
        let pixels = cross(b.pos - a.pos, c.pos - a.pos) * pixels_per_point * pixels_per_point;
        let texels = cross(b.uv - a.uv, c.uv - a.uv) * texture.width as f32 * texture.height as f32;
        let filter = if texels > pixels { options.minification } else { options.magnification };
        Self { texture, filter }
    }

    /// The colour at texture coordinates `u`, `v` (0–1 over the texture), channels 0–255.
    fn sample(&self, u: f32, v: f32) -> [f32; 4] {
        let texture = self.texture;
        let (x, y) = (u * texture.width as f32, v * texture.height as f32);
        match self.filter {
            TextureFilter::Nearest => self.texel(x.floor() as i64, y.floor() as i64),
            TextureFilter::Linear => {
                let (x, y) = (x - 0.5, y - 0.5);
                let (left, top) = (x.floor(), y.floor());
                let (right_share, bottom_share) = (x - left, y - top);
                let (left, top) = (left as i64, top as i64);
                // Glyphs are drawn texel on pixel; the weights then say so, up to rounding.
                let share_is_zero = |share: f32| share < 1.0 / 512.0;
                if share_is_zero(right_share) && share_is_zero(bottom_share) {
                    return self.texel(left, top);
                }
                let mix = |a: [f32; 4], b: [f32; 4], share: f32| {
                    let mut mixed = a;
                    for (value, other) in mixed.iter_mut().zip(b) {
                        *value += (other - *value) * share;
                    }
                    mixed
                };
                let upper = mix(self.texel(left, top), self.texel(left + 1, top), right_share);
                let lower = mix(self.texel(left, top + 1), self.texel(left + 1, top + 1), right_share);
                mix(upper, lower, bottom_share)
            }
        }
    }

    fn texel(&self, x: i64, y: i64) -> [f32; 4] {
        let texture = self.texture;
        let x = wrap(x, texture.width, texture.options.wrap_mode);
        let y = wrap(y, texture.height, texture.options.wrap_mode);
        let color = texture.texels.get(y * texture.width + x).copied().unwrap_or_default();
        color.to_array().map(f32::from)
    }
}

fn wrap(at: i64, size: usize, mode: TextureWrapMode) -> usize {
    let size = size.max(1) as i64;
    let wrapped = match mode {
        TextureWrapMode::ClampToEdge => at.clamp(0, size - 1),
        TextureWrapMode::Repeat => at.rem_euclid(size),
        TextureWrapMode::MirroredRepeat => {
            let place = at.rem_euclid(2 * size);
            if place < size { place } else { 2 * size - 1 - place }
        }
    };
    wrapped as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use egui::ColorImage;
    use egui::{Pos2, pos2, vec2};

    use super::*;

    const WHITE_UV: Pos2 = Pos2::ZERO;

    fn mesh(triangles: &[[(f32, f32); 3]], color: Color32) -> Mesh {
        let mut mesh = Mesh::default();
        for (x, y) in triangles.iter().flatten() {
            mesh.indices.push(mesh.vertices.len() as u32);
            mesh.vertices.push(Vertex { pos: pos2(*x, *y), uv: WHITE_UV, color });
        }
        mesh
    }

    fn paint(meshes: Vec<Mesh>, clip: Rect, ppp: f32) -> Picture {
        let mut painter = SoftwarePainter::new();
        let mut delta = TexturesDelta::default();
        let white = ImageData::Color(Arc::new(ColorImage::filled([1, 1], Color32::WHITE)));
        delta.push(TextureId::default(), ImageDelta::full(white, TextureOptions::LINEAR));
        painter.update_textures(&mut delta);
        let mut picture = Picture::filled(16, 16, Color32::BLACK);
        let primitive = |mesh| ClippedPrimitive { clip_rect: clip, primitive: Primitive::Mesh(mesh) };
        let primitives: Vec<_> = meshes.into_iter().map(primitive).collect();
        painter.paint(&mut picture, &primitives, ppp);
        picture
    }

    fn red_of(picture: &Picture) -> Vec<u8> {
        picture.pixels.iter().map(|pixel| pixel[0]).collect()
    }

    #[test]
    fn a_pixel_is_covered_when_its_centre_is() {
        // Corners on pixel corners: the diagonal goes through centres, which belong to one of both halves.
        let upper = mesh(&[[(2.0, 2.0), (6.0, 2.0), (2.0, 6.0)]], Color32::RED);
        let picture = paint(vec![upper], Rect::EVERYTHING, 1.0);
        let covered = |x, y| picture.get(x, y)[0] == 255;
        assert!(covered(2, 2) && covered(4, 2) && covered(2, 4));
        assert!(!covered(1, 2) && !covered(2, 1) && !covered(6, 2) && !covered(2, 6) && !covered(4, 5));
        let count = picture.pixels.iter().filter(|pixel| pixel[0] == 255).count();
        // Ten centres lie inside or on the edges; the four on the diagonal, a bottom-right edge, belong to its neighbour.
        assert_eq!(count, 6);
    }

    #[test]
    fn triangles_that_share_edges_cover_every_pixel_once() {
        // A fan around a point that is no pixel corner; half-transparent, so that overlap and seams would show.
        let half = Color32::from_rgba_premultiplied(100, 0, 0, 128);
        let center = (7.3, 8.9);
        let rim =
            [(0.0, 0.0), (9.7, 0.0), (16.0, 0.0), (16.0, 11.2), (16.0, 16.0), (3.1, 16.0), (0.0, 16.0), (0.0, 5.5)];
        let fan: Vec<_> = (0..rim.len()).map(|i| [center, rim[i], rim[(i + 1) % rim.len()]]).collect();
        let reds = red_of(&paint(vec![mesh(&fan, half)], Rect::EVERYTHING, 1.0));
        assert!(reds.iter().all(|&red| red == 100), "{reds:?}");
        // The same with the other winding.
        let fan: Vec<_> = fan.into_iter().map(|[a, b, c]| [a, c, b]).collect();
        let reds = red_of(&paint(vec![mesh(&fan, half)], Rect::EVERYTHING, 1.0));
        assert!(reds.iter().all(|&red| red == 100), "{reds:?}");
    }

    #[test]
    fn colours_blend_premultiplied_in_gamma_space() {
        let square = [[(0.0, 0.0), (16.0, 0.0), (16.0, 16.0)], [(0.0, 0.0), (16.0, 16.0), (0.0, 16.0)]];
        let base = mesh(&square, Color32::from_rgb(200, 100, 50));
        let over = mesh(&square, Color32::from_rgba_premultiplied(10, 20, 30, 128));
        let picture = paint(vec![base, over], Rect::EVERYTHING, 1.0);
        // 10 + 200 × (1 − 128/255) = 109.6, and so on.
        assert_eq!(picture.get(3, 3), [110, 70, 55, 255]);
        // Additive: no alpha, but colour.
        let glow = mesh(&square, Color32::from_rgba_premultiplied(10, 0, 0, 0));
        let base = mesh(&square, Color32::from_rgb(200, 100, 50));
        assert_eq!(paint(vec![base, glow], Rect::EVERYTHING, 1.0).get(3, 3), [210, 100, 50, 255]);
    }

    #[test]
    fn the_clip_rectangle_is_rounded_to_pixels() {
        let square = [[(-5.0, -5.0), (50.0, -5.0), (50.0, 50.0)], [(-5.0, -5.0), (50.0, 50.0), (-5.0, 50.0)]];
        let clip = Rect::from_min_max(pos2(1.3, 2.6), pos2(4.0, 5.4));
        let picture = paint(vec![mesh(&square, Color32::RED)], clip, 2.0);
        for y in 0..16 {
            for x in 0..16 {
                let inside = (3..8).contains(&x) && (5..11).contains(&y);
                assert_eq!(picture.get(x, y)[0] == 255, inside, "{x} {y}");
            }
        }
    }

    #[test]
    fn colours_run_from_corner_to_corner() {
        let mut mesh =
            mesh(&[[(0.0, 0.0), (16.0, 0.0), (16.0, 16.0)], [(0.0, 0.0), (16.0, 16.0), (0.0, 16.0)]], Color32::BLACK);
        for vertex in &mut mesh.vertices {
            vertex.color = Color32::from_rgb((vertex.pos.x * 15.0) as u8, 0, 0);
        }
        let picture = paint(vec![mesh], Rect::EVERYTHING, 1.0);
        for x in 0..16 {
            // At the pixel's centre: 15 a pixel, so 7.5 at the first; rounded up.
            assert_eq!(picture.get(x, 5)[0], (15.0 * (x as f32 + 0.5)).round() as u8);
        }
    }

    fn textured(options: TextureOptions, scale: f32) -> Picture {
        let mut painter = SoftwarePainter::new();
        let mut delta = TexturesDelta::default();
        let texels = [0, 80, 160, 240].map(Color32::from_gray).to_vec();
        let image = ImageData::Color(Arc::new(ColorImage::new([4, 1], texels)));
        delta.push(TextureId::User(7), ImageDelta::full(image, options));
        painter.update_textures(&mut delta);
        let mut mesh = Mesh::with_texture(TextureId::User(7));
        let rect = Rect::from_min_size(Pos2::ZERO, vec2(4.0 * scale, 1.0));
        mesh.add_rect_with_uv(rect, Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0)), Color32::WHITE);
        let mut picture = Picture::filled(16, 1, Color32::BLACK);
        let primitive = ClippedPrimitive { clip_rect: Rect::EVERYTHING, primitive: Primitive::Mesh(mesh) };
        painter.paint(&mut picture, &[primitive], 1.0);
        picture
    }

    #[test]
    fn textures_are_filtered_as_they_ask_for() {
        let row = |picture: &Picture| (0..8).map(|x| picture.get(x, 0)[0]).collect::<Vec<_>>();
        assert_eq!(row(&textured(TextureOptions::NEAREST, 1.0))[..4], [0, 80, 160, 240]);
        assert_eq!(row(&textured(TextureOptions::LINEAR, 1.0))[..4], [0, 80, 160, 240]);
        assert_eq!(row(&textured(TextureOptions::NEAREST, 2.0)), [0, 0, 80, 80, 160, 160, 240, 240]);
        assert_eq!(row(&textured(TextureOptions::LINEAR, 2.0)), [0, 20, 60, 100, 140, 180, 220, 240]);
    }

    #[test]
    fn a_part_of_a_texture_can_change() {
        let mut painter = SoftwarePainter::new();
        let mut delta = TexturesDelta::default();
        let black = ImageData::Color(Arc::new(ColorImage::filled([4, 4], Color32::BLACK)));
        let red = ImageData::Color(Arc::new(ColorImage::filled([2, 1], Color32::RED)));
        delta.push(TextureId::Managed(3), ImageDelta::full(black, TextureOptions::NEAREST));
        delta.push(
            TextureId::Managed(3),
            ImageDelta { image: red, options: TextureOptions::NEAREST, pos: Some([1, 2]) },
        );
        painter.update_textures(&mut delta);
        assert!(delta.is_empty());
        let texture = painter.textures.get(&texture_key(TextureId::Managed(3))).expect("the texture");
        let red: Vec<_> = (0..16).filter(|&place| texture.texels[place] == Color32::RED).collect();
        assert_eq!(red, [9, 10]);
        delta.free(TextureId::Managed(3));
        painter.update_textures(&mut delta);
        assert!(painter.textures.is_empty());
    }

    #[test]
    fn wild_vertices_do_no_harm() {
        let wild = [
            [(f32::NAN, 0.0), (1.0, 0.0), (0.0, 1.0)],
            [(f32::INFINITY, 0.0), (1.0, 0.0), (0.0, 1.0)],
            [(1e30, -1e30), (-1e30, -1e30), (0.0, 1e30)],
            [(3.0, 3.0), (3.0, 3.0), (3.0, 3.0)],
        ];
        let picture = paint(vec![mesh(&wild, Color32::RED)], Rect::EVERYTHING, 1.0);
        assert_eq!(picture.pixels.len(), 256);
        let mut broken = mesh(&[[(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]], Color32::RED);
        broken.indices = vec![0, 1, 99, 2];
        paint(vec![broken], Rect::EVERYTHING, 1.0);
    }
}
