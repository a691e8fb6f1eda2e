//! How fast parts of the machine are in a replay: what the sliders of the advice panel set.

/// A part of the machine whose speed can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachinePart {
    /// What ranks send to one another goes over it.
    Link,
    /// All that kernels do.
    Gpu,
    /// All that threads do.
    Host,
}

impl MachinePart {
    /// All of them, as they stand in the panel.
    pub const ALL: [MachinePart; 3] = [MachinePart::Link, MachinePart::Gpu, MachinePart::Host];

    /// What the slider is called.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            MachinePart::Link => "Link",
            MachinePart::Gpu => "GPU",
            MachinePart::Host => "Host",
        }
    }

    /// The edit of the what-if language that changes it.
    #[must_use]
    pub fn edit(self) -> &'static str {
        match self {
            MachinePart::Link => "link",
            MachinePart::Gpu => "gpu",
            MachinePart::Host => "host",
        }
    }
}

/// Hundredths of the recorded speed in the recorded speed.
const AS_RECORDED: u32 = 100;

/// Speeds as hundredths of the recorded ones, so that what a slider shows is what is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speeds {
    link: u32,
    gpu: u32,
    host: u32,
}

impl Default for Speeds {
    fn default() -> Self {
        Speeds { link: AS_RECORDED, gpu: AS_RECORDED, host: AS_RECORDED }
    }
}

impl Speeds {
    /// The slowest and the fastest, as factors of what was recorded.
    pub const RANGE: std::ops::RangeInclusive<f64> = 0.25..=4.0;

    fn hundredths(self, part: MachinePart) -> u32 {
        match part {
            MachinePart::Link => self.link,
            MachinePart::Gpu => self.gpu,
            MachinePart::Host => self.host,
        }
    }

    /// How many times as fast as recorded a part is.
    #[must_use]
    pub fn factor(self, part: MachinePart) -> f64 {
        f64::from(self.hundredths(part)) / f64::from(AS_RECORDED)
    }

    /// Sets a factor, to a hundredth and within [`Speeds::RANGE`].
    pub fn set(&mut self, part: MachinePart, factor: f64) {
        let factor = if factor.is_nan() { 1.0 } else { factor };
        let factor = factor.clamp(*Self::RANGE.start(), *Self::RANGE.end());
        let place = match part {
            MachinePart::Link => &mut self.link,
            MachinePart::Gpu => &mut self.gpu,
            MachinePart::Host => &mut self.host,
        };
        *place = (factor * f64::from(AS_RECORDED)).round() as u32;
    }

    /// Whether all is as recorded.
    #[must_use]
    pub fn are_recorded(self) -> bool {
        self == Speeds::default()
    }

    /// What differs from the recording, as edits: `host=1.50x`.
    #[must_use]
    pub fn edits(self) -> Vec<String> {
        let changed = MachinePart::ALL.into_iter().filter(|&part| self.hundredths(part) != AS_RECORDED);
        changed.map(|part| format!("{}={:.2}x", part.edit(), self.factor(part))).collect()
    }

    /// Takes an edit of one of the parts over; false if it is none, or its factor cannot be shown.
    pub fn take(&mut self, edit: &str) -> bool {
        let Some((name, value)) = edit.split_once('=') else { return false };
        let part = MachinePart::ALL.into_iter().find(|part| part.edit() == name);
        let factor = value.strip_suffix('x').and_then(|number| number.parse::<f64>().ok());
        match (part, factor.filter(|factor| Self::RANGE.contains(factor))) {
            (Some(part), Some(factor)) => {
                self.set(part, factor);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_what_is_replayed() {
        let mut speeds = Speeds::default();
        assert!(speeds.are_recorded() && speeds.edits().is_empty());
        speeds.set(MachinePart::Host, 1.498);
        assert!(speeds.take("link=2x"));
        assert_eq!(speeds.edits(), ["link=2.00x", "host=1.50x"]);
        speeds.set(MachinePart::Link, 1.001);
        assert_eq!(speeds.edits(), ["host=1.50x"]);
        for edit in ["gpu=9x", "gpu=2", "cpu=2x", "gpu=NaNx", "gpu"] {
            assert!(!speeds.take(edit), "{edit}");
        }
        speeds.set(MachinePart::Gpu, f64::NAN);
        assert_eq!(speeds.edits(), ["host=1.50x"]);
    }
}
