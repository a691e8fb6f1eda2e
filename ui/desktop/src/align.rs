//! Bringing ranks side by side: by their clocks, by the beginning of a step, by the end of a collective.

use gapless_timeline::Shifts;
use gapless_trace::{Duration, RankId, Span, Timestamp};

use crate::state::{Loaded, Window};
use crate::update::Model;

/// What ranks are brought together by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alignment {
    /// The clocks, as the ends of collectives align them.
    #[default]
    Clock,
    /// The beginning of the chosen step on each rank.
    Step,
    /// The end of the chosen collective.
    Collective,
    /// Nothing: times as they were recorded.
    Recorded,
}

impl Alignment {
    /// All of them, in the order of the menu.
    pub const ALL: [Self; 4] = [Self::Clock, Self::Step, Self::Collective, Self::Recorded];

    /// Its name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Step => "step",
            Self::Collective => "collective",
            Self::Recorded => "as recorded",
        }
    }

    /// What it does.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Clock => "Clocks of the ranks, as the ends of their collectives align them",
            Self::Step => "The chosen step begins at one place on all ranks",
            Self::Collective => "The chosen collective ends at one place on all ranks",
            Self::Recorded => "Times as they stand in the files",
        }
    }
}

impl Loaded {
    /// The most by which the clocks of two ranks may differ after alignment: one standard deviation, in ns; `None` if some
    /// are not aligned.
    #[must_use]
    pub fn clock_error_ns(&self) -> Option<f64> {
        let clocks = self.engine.as_ref()?.clocks();
        let first = clocks.ranks.first()?.rank;
        let error = |rank| clocks.error_between_ns(first, rank);
        clocks.ranks.iter().map(|clock| error(clock.rank)).try_fold(0.0_f64, |most, error| Some(most.max(error?)))
    }

    /// The window as the engine knows it: ranges are shown, and paths lie on the common clock.
    #[must_use]
    pub fn common_window(&self) -> Window {
        match (self.window, &self.engine) {
            // What is shown at the place of the first rank is the common clock where clocks are aligned.
            (Window::Range(span), Some(engine)) if self.alignment != Alignment::Clock => {
                let rank = RankId(0);
                let recorded = self.shifts.recorded(rank, span);
                let clocks = engine.clocks();
                Window::Range(Span::new(clocks.to_common(rank, recorded.start), clocks.to_common(rank, recorded.end)))
            }
            (window, _) => window,
        }
    }

    /// Brings its ranks side by side.
    pub(crate) fn align_by(&mut self, alignment: Alignment) {
        self.alignment = alignment;
        self.shifts = Shifts::new(self.shifts_for(alignment));
        // Ranks have other times in a range that is shown at one place.
        if let Some(view) = self.work_out(self.window) {
            self.view = Some(view);
        }
    }

    /// The shift of each rank for an alignment, in ns.
    fn shifts_for(&self, alignment: Alignment) -> Vec<i64> {
        let ranks: Vec<RankId> = self.trace.rank_ids().map(|(rank, _)| rank).collect();
        let Some(engine) = &self.engine else { return Vec::new() };
        // The drift of a clock counts from the middle of what is looked at.
        let hull = self.view.as_ref().map(|view| view.hull).or(self.trace.span()).unwrap_or_default();
        let middle = hull.start + Duration(hull.duration().0 / 2);
        let by_clock = |rank: RankId| (engine.recorded_at(rank, middle) - middle).0;
        let together = |times: Vec<Option<Timestamp>>| {
            let known = times.iter().zip(&ranks).find_map(|(time, &rank)| Some((rank, (*time)?)));
            let Some((first, at)) = known else { return ranks.iter().map(|&rank| by_clock(rank)).collect() };
            // The first rank stays where its clock has it, the others come to it.
            let place = at - Duration(by_clock(first));
            let of_rank = |(time, &rank): (&Option<Timestamp>, &RankId)| {
                time.map_or_else(|| by_clock(rank), |time| (time - place).0)
            };
            times.iter().zip(&ranks).map(of_rank).collect()
        };
        match alignment {
            Alignment::Recorded => Vec::new(),
            Alignment::Clock => ranks.iter().map(|&rank| by_clock(rank)).collect(),
            Alignment::Step => {
                let rows = self.view.as_ref().map_or(&[][..], |view| view.rows.as_slice());
                let start = |rank| rows.iter().find(|row| row.rank == rank).map(|row| row.span.start);
                together(ranks.iter().map(|&rank| start(rank)).collect())
            }
            Alignment::Collective => {
                let chosen = self.chosen_collective.and_then(|place| engine.collectives.collectives.get(place));
                let members = chosen.map_or(&[][..], |timed| timed.instance.members.as_slice());
                let end = |rank| {
                    let member = members.iter().find(|member| member.rank == rank);
                    member.map(|member| self.trace.event(member.event).end())
                };
                together(ranks.iter().map(|&rank| end(rank)).collect())
            }
        }
    }
}

impl Model {
    /// Brings ranks side by side. The view stays.
    pub(crate) fn align(&mut self, alignment: Alignment) {
        let Some(loaded) = &mut self.state.loaded else { return };
        loaded.align_by(alignment);
        if let Some(timeline) = &mut self.timeline {
            timeline.shifts = loaded.shifts.clone();
        }
        self.align_comparison();
    }

    /// Brings them together anew after what they are aligned by has changed.
    pub(crate) fn align_again(&mut self) {
        let alignment = self.state.loaded.as_ref().map(|loaded| loaded.alignment);
        if let Some(alignment) = alignment.filter(|alignment| *alignment != Alignment::Recorded) {
            self.align(alignment);
        }
    }
}
