//! Steps without marks: a training loop launches the same work again and again.
//!
//! A step is found in the sequence of names of what the host launches (kernels, copies, fills; of a rank without device
//! work the outermost operators of its busiest thread). Some name begins each step; cut before each of its occurrences,
//! the sequence falls into pieces, of which at least three must be equal to the last name. Among such cuts wins the one
//! whose equal pieces hold most of the sequence; of nearly equal ones the longest period, since layers repeat within a
//! step; of equal periods the one with the longest pause of the host before it, which is where a loop turns.

mod sequence;

use gapless_trace::{EventKind, RankId, StrId, Trace, TrackKind};
use rustc_hash::FxHashMap;

use crate::interval::Interval;
use crate::work::DeviceWork;
use sequence::{Cut, Hashes};

/// Equal pieces that a period needs.
pub(crate) const LEAST_EQUAL: usize = 3;

/// One thing that the host starts.
#[derive(Clone, Copy, Debug)]
struct Token {
    name: StrId,
    /// When the host starts it; for device work whose launch is not recorded when it begins.
    at: i64,
    /// When it, or the work it launched, ends.
    end: i64,
}

/// The period of a rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Periods {
    /// One window for each piece, by time; they follow one another without gap.
    pub windows: Vec<Interval>,
    /// Launches (or operators) in an equal piece.
    pub length: usize,
    /// How many pieces are equal.
    pub equal: usize,
}

/// The periods of `rank`; `None` if nothing repeats three times.
pub(crate) fn periods(trace: &Trace, rank: RankId, device: &DeviceWork) -> Option<Periods> {
    let tokens = if device.work.is_empty() { operators(trace, rank) } else { launches(trace, device) };
    find(&tokens)
}

/// Device work in the order in which the host launched it: streams overlap by chance, launches do not.
fn launches(trace: &Trace, device: &DeviceWork) -> Vec<Token> {
    let (starts, names) = (trace.events().starts(), trace.events().names());
    let mut tokens: Vec<(Token, i64)> = device
        .work
        .iter()
        .map(|work| {
            let launched = work.launch().and_then(|launch| starts.get(launch.index()).copied());
            let name = names.get(work.event.index()).copied().unwrap_or_default();
            (Token { name, at: launched.unwrap_or(work.start), end: work.end }, work.start)
        })
        .collect();
    // One launch of a graph has many kernels, which keep their own order.
    tokens.sort_by_key(|(token, start)| (token.at, *start));
    tokens.into_iter().map(|(token, _)| token).collect()
}

/// The outermost operators of the thread that has most of them.
fn operators(trace: &Trace, rank: RankId) -> Vec<Token> {
    let kinds = trace.events().kinds();
    let is_operator = |index: usize| kinds.get(index) == Some(&EventKind::Operator);
    let threads = trace.tracks_of(rank).map(|(_, track)| track).filter(|track| track.kind == TrackKind::Thread);
    let busiest = threads
        .map(|track| (track.event_ids().filter(|id| is_operator(id.index())).count(), track))
        .max_by_key(|entry| (entry.0, std::cmp::Reverse(entry.1.events.start)));
    let Some((_, track)) = busiest else { return Vec::new() };
    let mut tokens: Vec<Token> = track
        .event_ids()
        .filter(|id| is_operator(id.index()))
        .map(|id| {
            let event = trace.event(id);
            Token { name: event.name, at: event.start.nanos(), end: event.end().nanos() }
        })
        .collect();
    tokens.sort_by_key(|token| (token.at, std::cmp::Reverse(token.end)));
    let mut free_from = i64::MIN;
    tokens.retain(|token| {
        let keep = token.at >= free_from;
        if keep {
            free_from = token.end;
        }
        keep
    });
    tokens
}

/// Occurrences of one name in a step, at most: a name that begins a step is rare.
const MOST_PER_STEP: usize = 16;

/// Pieces that are nearly as good as the best hold at least this share of what the best holds.
const NEARLY: f64 = 0.9;

/// The least share of the sequence that must lie in pieces of about the length of the equal ones, or a layer would be
/// taken for a step.
const LEAST_REGULAR: f64 = 0.8;

/// The least share of the pieces that must have about that length, or a name that begins a step and then comes once more
/// would cut it in two.
const LEAST_REGULAR_PIECES: f64 = 0.75;

fn find(tokens: &[Token]) -> Option<Periods> {
    let hashes = Hashes::new(tokens.iter().map(|token| u64::from(token.name.0)));
    let mut places: FxHashMap<StrId, Vec<usize>> = FxHashMap::default();
    for (place, token) in tokens.iter().enumerate() {
        places.entry(token.name).or_default().push(place);
    }
    let mut names: Vec<(StrId, Vec<usize>)> = places.into_iter().filter(|entry| entry.1.len() >= LEAST_EQUAL).collect();
    names.sort_unstable_by_key(|entry| entry.1.first().copied());
    let mut cuts: Vec<Cut> = Vec::new();
    for (_, occurrences) in &names {
        cuts.extend(cut_at(&hashes, occurrences));
    }
    let most = cuts.iter().map(Cut::held).max()?;
    cuts.retain(|cut| cut.held() as f64 >= NEARLY * most as f64);
    let longest = cuts.iter().map(|cut| cut.length).max()?;
    cuts.retain(|cut| cut.length == longest);
    let best = cuts
        .into_iter()
        .max_by_key(|cut| (cut.equal, pause(tokens, cut), std::cmp::Reverse(cut.starts.first().copied())))?;
    Some(windows(tokens, &best))
}

/// The best cut before each, or each second, … of `occurrences`.
fn cut_at(hashes: &Hashes, occurrences: &[usize]) -> Option<Cut> {
    for every in 1..=MOST_PER_STEP.min(occurrences.len() / LEAST_EQUAL) {
        let phases = (0..every).filter_map(|phase| {
            let starts: Vec<usize> = occurrences.iter().copied().skip(phase).step_by(every).collect();
            Cut::new(hashes, starts)
        });
        let best = phases.max_by_key(Cut::held);
        // Multiples of a period repeat as well; the first that does is the period.
        let is_regular = |cut: &Cut| cut.regular >= LEAST_REGULAR && cut.regular_pieces >= LEAST_REGULAR_PIECES;
        if let Some(best) = best.filter(|cut| cut.equal >= LEAST_EQUAL && is_regular(cut)) {
            return Some(best);
        }
    }
    None
}

/// Median pause of the host before the pieces of a cut, in ns.
fn pause(tokens: &[Token], cut: &Cut) -> i64 {
    let before = |&start: &usize| {
        let previous = tokens.get(start.checked_sub(1)?)?;
        Some(tokens.get(start)?.at.saturating_sub(previous.at))
    };
    let mut pauses: Vec<i64> = cut.starts.iter().filter_map(before).collect();
    pauses.sort_unstable();
    pauses.get(pauses.len() / 2).copied().unwrap_or_default()
}

fn windows(tokens: &[Token], cut: &Cut) -> Periods {
    let at = |place: usize| tokens.get(place).map(|token| token.at);
    let mut windows = Vec::with_capacity(cut.starts.len());
    for (index, &start) in cut.starts.iter().enumerate() {
        let Some(from) = at(start) else { continue };
        let to = match cut.starts.get(index + 1) {
            Some(&next) => at(next),
            // The last piece ends with the last of its work.
            None => tokens.get(start..cut.end).unwrap_or_default().iter().map(|token| token.end).max(),
        };
        windows.push(Interval::new(from, to.unwrap_or(from).max(from)));
    }
    Periods { windows, length: cut.length, equal: cut.equal }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names as letters, one every 10 ns, with a pause of 100 ns before each upper-case one.
    fn tokens(text: &str) -> Vec<Token> {
        let mut at = 0;
        let token = |letter: char| {
            at += if letter.is_ascii_uppercase() { 100 } else { 10 };
            Token { name: StrId(u32::from(letter)), at, end: at + 5 }
        };
        text.chars().map(token).collect()
    }

    fn found(text: &str) -> Option<(usize, usize, usize)> {
        let found = find(&tokens(text))?;
        Some((found.length, found.equal, found.windows.len()))
    }

    #[test]
    fn a_loop_is_cut_where_it_pauses() {
        let periods = find(&tokens("xyAbcdAbcdAbcdAbcd")).expect("a period");
        assert_eq!((periods.length, periods.equal), (4, 4));
        // x at 10, y at 20, the first A at 120; each step takes 130.
        let starts: Vec<i64> = periods.windows.iter().map(|window| window.start).collect();
        assert_eq!(starts, [120, 250, 380, 510]);
        assert_eq!(periods.windows.last().map(|window| window.end), Some(545));
    }

    #[test]
    fn layers_are_no_steps() {
        // Six layers forward, six backward, an optimizer; three steps.
        let step = "Iababababababcdcdcdcdcdcdo";
        assert_eq!(found(&step.repeat(3)), Some((step.len(), 3, 3)));
    }

    #[test]
    fn steps_that_differ_a_little_are_steps_too() {
        let step = "Abcdefghijklmno";
        let text = [step, step, "Abcdefghixjklmno", step, step].concat();
        assert_eq!(found(&text), Some((15, 4, 5)));
    }

    #[test]
    fn accumulated_gradients_belong_to_one_step() {
        let step = "Hfbhfbhfbhfbo";
        assert_eq!(found(&step.repeat(4)), Some((step.len(), 4, 4)));
    }

    #[test]
    fn twice_is_not_enough_and_noise_is_nothing() {
        assert_eq!(found("AbcdeAbcde"), None);
        assert_eq!(found("abcdefghijklmnop"), None);
        assert_eq!(found(""), None);
        // The same names in ever other order.
        assert_eq!(found("AbcdeAcbedAdebcAebdc"), None);
    }
}
