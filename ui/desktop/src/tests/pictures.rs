//! Small pictures of the app's own panels, compared with those in `snapshots/`.
//!
//! Run with `UPDATE_SNAPSHOTS=1` to write them anew after a change that is meant, and look at them.

use std::path::PathBuf;

use super::user::User;
use crate::ThemeChoice;
use crate::raster::Picture;
use crate::screenshot::{encode_png, write_png};

/// A channel may differ by so much: floating-point units round differently.
const TOLERANCE: u8 = 6;
/// So many of a million pixels may differ by more.
const OUTLIERS_PER_MILLION: usize = 300;
const MAX_BYTES: usize = 60_000;

fn crop(picture: &Picture, left: usize, top: usize, width: usize, height: usize) -> Picture {
    let pixels = (top..top + height).flat_map(|y| (left..left + width).map(move |x| (x, y)));
    Picture { width, height, pixels: pixels.map(|(x, y)| picture.get(x, y)).collect() }
}

fn decode(bytes: &[u8]) -> Picture {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut rgb).unwrap();
    let pixels = rgb.chunks_exact(3).map(|rgb| [rgb[0], rgb[1], rgb[2], 255]).collect();
    Picture { width: info.width as usize, height: info.height as usize, pixels }
}

fn outliers(a: &Picture, b: &Picture) -> usize {
    let differs = |(a, b): &(&[u8; 4], &[u8; 4])| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > TOLERANCE);
    a.pixels.iter().zip(&b.pixels).filter(differs).count()
}

fn check(name: &str, picture: &Picture) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("snapshots");
    let path = folder.join(format!("{name}.png"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        write_png(picture, &path).unwrap();
    }
    let mut bytes = Vec::new();
    encode_png(picture, &mut bytes).unwrap();
    assert!(bytes.len() <= MAX_BYTES, "{name} has {} bytes", bytes.len());
    let expected = decode(&std::fs::read(&path).unwrap());
    assert_eq!((picture.width, picture.height), (expected.width, expected.height));
    let outliers = outliers(picture, &expected);
    let is_equal = outliers * 1_000_000 <= OUTLIERS_PER_MILLION * picture.pixels.len();
    let new = std::env::temp_dir().join(format!("{name}.new.png"));
    if !is_equal {
        write_png(picture, &new).unwrap();
    }
    assert!(is_equal, "{outliers} pixels of {name} differ from {}; see {}", path.display(), new.display());
}

#[test]
fn the_start() {
    let mut user = User::at_start();
    let picture = user.picture();
    check("start", &crop(&picture, 350, 150, 580, 560));
}

#[test]
fn the_summary_and_the_breakdown_dark() {
    let mut user = User::with_theme(ThemeChoice::Dark, [1280.0, 800.0]);
    let picture = user.picture();
    check("advice_dark", &crop(&picture, 1280 - 330, 44, 330, 380));
    check("summary_dark", &crop(&picture, 1280 - 330, 800 - 340, 330, 340));
    check("breakdown_dark", &crop(&picture, 0, 800 - 260, 640, 260));
}

#[test]
fn the_kernels_light() {
    let mut user = User::with_theme(ThemeChoice::Light, [1280.0, 800.0]);
    user.click("Kernels");
    let picture = user.picture();
    check("kernels_light", &crop(&picture, 0, 800 - 260, 640, 160));
}

#[test]
fn a_changed_picture_is_noticed() {
    let base = Picture::filled(100, 100, egui::Color32::BLACK);
    let mut changed = base.clone();
    changed.pixels[50..60].fill([40, 40, 40, 255]);
    assert_eq!(outliers(&base, &changed), 10);
    assert!(10 * 1_000_000 > OUTLIERS_PER_MILLION * base.pixels.len());
}

#[test]
fn the_same_state_gives_the_same_picture() {
    let mut once = User::with_trace();
    let mut again = User::with_trace();
    assert_eq!(once.picture(), again.picture());
}
