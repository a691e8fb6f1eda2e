//! Which arithmetic the devices of a recording have.

use gapless_trace::DeviceInfo;

use crate::study::Study;

/// Whether a device is AMD's, by its name.
pub(crate) fn is_amd(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("amd") || name.contains("instinct") || name.starts_with("mi") || name.contains("gfx")
}

/// Least compute capability of the recording's NVIDIA devices, one a rank; `None` where there are none, or none says.
pub(crate) fn least_capability(study: &Study<'_>) -> Option<(u32, u32)> {
    let devices = study.trace().ranks().iter().filter_map(|rank| rank.devices.first());
    devices.filter(|device| !is_amd(&device.name)).filter_map(capability).min()
}

/// Compute capability: of the header, else of the marketing name.
fn capability(device: &DeviceInfo) -> Option<(u32, u32)> {
    if let Some(told) = device.compute_capability {
        return Some(told);
    }
    let known = [
        ("V100", (7, 0)),
        ("T4", (7, 5)),
        ("A100", (8, 0)),
        ("A10", (8, 6)),
        ("L40", (8, 9)),
        ("L4", (8, 9)),
        ("H100", (9, 0)),
        ("H200", (9, 0)),
        ("H800", (9, 0)),
        ("B200", (10, 0)),
    ];
    known.into_iter().find(|(word, _)| device.name.contains(word)).map(|(_, capability)| capability)
}
