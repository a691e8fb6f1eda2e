//! One joint replay of any set of edits, as a range.

use gapless_analysis::replay::Draft;
use gapless_roofline::Band;
use rayon::prelude::*;
use serde::Serialize;

use crate::edits::{Basis, ClassError, Effect, Guard, Outlook, Refusal};
use crate::figures::{Figures, figures};
use crate::spec::Edit;
use crate::study::Study;

/// What one edit of a set did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Applied {
    /// The edit as it was written.
    pub edit: String,
    /// What it does, in a few words.
    pub title: &'static str,
    /// What its prediction rests on.
    pub basis: Basis,
    /// How many nodes it changed.
    pub nodes: usize,
    /// What was taken for granted.
    pub assumptions: Vec<String>,
    /// What was checked.
    pub guards: Vec<Guard>,
    /// Known error of the class on real pairs.
    pub class_error: Option<ClassError>,
}

/// What a set of edits would bring.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WhatIf {
    /// The edits, in the order in which they were applied.
    pub edits: Vec<Applied>,
    /// Figures of the recording, in the model.
    pub base: Figures,
    /// Figures to be expected.
    pub expected: Figures,
    /// Mean length of a step, in ns.
    pub mean_step_ns: Band,
    /// Median length of a step, in ns.
    pub median_step_ns: Band,
    /// `base.mean_step_ns` less the new one, in ns; negative where it gets slower.
    pub gain_ns: Band,
    /// By how much the mean steps of two recordings of one program may differ by chance, in ns, in both directions; not
    /// part of the ranges ([`Study::scatter_ns`]).
    pub scatter_ns: f64,
    /// How many times as many samples a step processes.
    pub samples: f64,
    /// The weakest of what the edits rest on.
    pub basis: Basis,
}

/// Why there is no prediction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WhatIfError {
    /// The model is too far from the recording.
    #[error("the recording cannot bear predictions: {reason}")]
    NotTrusted {
        /// The failed checks.
        reason: String,
    },
    /// An edit cannot be applied.
    #[error("{edit}: {reason}")]
    Refused {
        /// The edit.
        edit: String,
        /// Why.
        reason: String,
    },
    /// The edits contradict the recorded order.
    #[error("{reason}")]
    Circle {
        /// How much would wait for itself.
        reason: String,
    },
}

/// Without pairs of recordings that validate a class of predictions, its gain is taken to be uncertain by this share, in
/// both directions. A prior, not a measurement.
pub const UNVALIDATED_GAIN_ERROR: f64 = 0.15;

/// Applies edits to one graph and replays it for the best, the expected and the worst. Gains are never added.
///
/// # Errors
/// When the recording cannot bear predictions, an edit is refused, or edits contradict one another.
pub fn what_if(study: &Study<'_>, edits: &[Edit]) -> Result<WhatIf, WhatIfError> {
    if let Some(reason) = study.trust().refusal() {
        return Err(WhatIfError::NotTrusted { reason });
    }
    what_if_unchecked(study, edits)
}

/// The same, whatever the trust panel says.
///
/// # Errors
/// When an edit is refused, or edits contradict one another.
pub fn what_if_unchecked(study: &Study<'_>, edits: &[Edit]) -> Result<WhatIf, WhatIfError> {
    let runs: Result<Vec<(Figures, Vec<Effect>)>, WhatIfError> =
        Outlook::ALL.par_iter().map(|&outlook| run(study, edits, outlook)).collect();
    let mut runs = runs?;
    let base = study.base().clone();
    let (Some(worst), Some((expected, effects)), Some(best)) = (runs.pop(), runs.pop(), runs.pop()) else {
        return Err(WhatIfError::Circle { reason: "nothing was replayed".to_owned() });
    };
    let basis = edits.iter().map(|edit| edit.transformation().basis()).max().unwrap_or(Basis::Replay);
    let band = |of: fn(&Figures) -> f64| step_band(study, of, [&best.0, &expected, &worst.0], basis, &effects);
    let mean_step_ns = band(|figures| figures.mean_step_ns);
    let median_step_ns = band(|figures| figures.median_step_ns);
    let gain_ns = Band {
        low: base.mean_step_ns - mean_step_ns.high,
        mid: base.mean_step_ns - mean_step_ns.mid,
        high: base.mean_step_ns - mean_step_ns.low,
    };
    let samples = effects.iter().filter_map(|effect| effect.samples).product();
    let applied = edits.iter().zip(effects).map(|(edit, effect)| Applied {
        edit: edit.text().to_owned(),
        title: edit.transformation().title(),
        basis: edit.transformation().basis(),
        nodes: effect.touched.len(),
        assumptions: effect.assumptions,
        guards: effect.guards,
        class_error: effect.class_error,
    });
    let edits = applied.collect();
    let scatter_ns = study.scatter_ns();
    Ok(WhatIf { edits, base, expected, mean_step_ns, median_step_ns, gain_ns, scatter_ns, samples, basis })
}

/// The range of a figure from replays of the same changes at best, as expected and at worst: it also covers how far the model
/// of the recording is off, and what is known of the errors of such predictions (`effects` of what was applied, none if
/// nothing was).
#[must_use]
pub fn step_band(
    study: &Study<'_>,
    of: impl Fn(&Figures) -> f64,
    replays: [&Figures; 3],
    basis: Basis,
    effects: &[Effect],
) -> Band {
    let [best, expected, worst] = replays.map(&of);
    let class_error = effects.iter().filter_map(|effect| effect.class_error).map(|error| error.share);
    let model_error = study.trust().steps.iter().map(|step| step.error.abs()).fold(0.0, f64::max).min(0.05);
    let error = class_error.fold(if effects.is_empty() { 0.0 } else { model_error }, f64::max);
    widen(Band::of(best, expected, worst), of(study.base()), basis, error)
}

/// A range also covers what is known of the errors of such predictions: of the class on real pairs, else a prior for gains
/// that a model has a part in.
fn widen(band: Band, base: f64, basis: Basis, error_share: f64) -> Band {
    let prior = if basis == Basis::Replay || error_share > 0.02 { 0.0 } else { UNVALIDATED_GAIN_ERROR };
    let by = (band.mid * error_share).max((base - band.mid).abs() * prior);
    Band { low: band.low.min(band.mid - by), mid: band.mid, high: band.high.max(band.mid + by) }
}

/// A draft with all edits.
///
/// # Errors
/// When an edit is refused.
pub fn draft<'s>(
    study: &'s Study<'_>,
    edits: &[Edit],
    outlook: Outlook,
) -> Result<(Draft<'s>, Vec<Effect>), WhatIfError> {
    let mut draft = Draft::new(study.graph());
    let mut effects = Vec::with_capacity(edits.len());
    for edit in edits {
        let effect = edit.transformation().apply(edit, study, &mut draft, outlook);
        let refused = |Refusal(reason)| WhatIfError::Refused { edit: edit.text().to_owned(), reason };
        effects.push(effect.map_err(refused)?);
    }
    Ok((draft, effects))
}

fn run(study: &Study<'_>, edits: &[Edit], outlook: Outlook) -> Result<(Figures, Vec<Effect>), WhatIfError> {
    let (draft, effects) = draft(study, edits, outlook)?;
    let figures = figures(&draft).map_err(|circle| WhatIfError::Circle { reason: circle.to_string() })?;
    Ok((figures, effects))
}

/// How two edits of a set act together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Interaction {
    /// Places of the two in the set.
    pub pair: (usize, usize),
    /// Gain of both together, in ns.
    pub joint_ns: f64,
    /// That less the gains of each alone, in ns: negative where they bring the same thing twice.
    pub interplay_ns: f64,
}

/// Gains of each edit alone, of each pair, and what each adds to the others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Interactions {
    /// Gain of each alone, in ns; `None` if it is refused.
    pub alone_ns: Vec<Option<f64>>,
    /// What is lost of the joint gain without it, in ns.
    pub last_ns: Vec<Option<f64>>,
    /// Each pair.
    pub pairs: Vec<Interaction>,
    /// Gain of all together, in ns.
    pub joint_ns: f64,
}

/// Replays every edit alone, every pair, and all but each: expected gains on the mean step.
///
/// # Errors
/// When all together are refused.
pub fn interactions(study: &Study<'_>, edits: &[Edit]) -> Result<Interactions, WhatIfError> {
    let gain = |edits: &[Edit]| -> Result<f64, WhatIfError> {
        Ok(study.base().mean_step_ns - run(study, edits, Outlook::Expected)?.0.mean_step_ns)
    };
    let joint_ns = gain(edits)?;
    let alone_ns: Vec<Option<f64>> = edits.par_iter().map(|edit| gain(std::slice::from_ref(edit)).ok()).collect();
    let last_ns: Vec<Option<f64>> = (0..edits.len())
        .into_par_iter()
        .map(|left_out| {
            let others: Vec<Edit> = edits
                .iter()
                .enumerate()
                .filter(|(place, _)| *place != left_out)
                .map(|(_, edit)| edit.clone())
                .collect();
            gain(&others).ok().map(|gain| joint_ns - gain)
        })
        .collect();
    let places: Vec<(usize, usize)> =
        (0..edits.len()).flat_map(|a| (a + 1..edits.len()).map(move |b| (a, b))).collect();
    let pairs = places
        .into_par_iter()
        .filter_map(|(a, b)| {
            let both = [edits.get(a)?.clone(), edits.get(b)?.clone()];
            let joint_ns = gain(&both).ok()?;
            let alone = alone_ns.get(a).copied()?? + alone_ns.get(b).copied()??;
            Some(Interaction { pair: (a, b), joint_ns, interplay_ns: joint_ns - alone })
        })
        .collect();
    Ok(Interactions { alone_ns, last_ns, pairs, joint_ns })
}
