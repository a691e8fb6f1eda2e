//! Which rank a file is.

use std::collections::BTreeMap;
use std::path::Path;

use gapless_trace::{SourceId, TracePart, WarningKind};

use crate::open::natural_key;
use crate::{OpenError, xplane};

/// The number after the word `rank` or `worker` in a file's name (`rank34of300.json`,
/// `worker0_step_12.pt.trace.json`). The last such word counts; letters before it make another word of it (`nrank8`).
pub(crate) fn rank_in_name(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let of_word = |word: &str| {
        let found = name.match_indices(word).filter_map(|(at, _)| {
            let is_word = name.get(..at)?.chars().next_back().is_none_or(|before| !before.is_alphanumeric());
            let rest = name.get(at + word.len()..).filter(|_| is_word)?;
            let digits = rest.strip_prefix(['-', '_', '.', '=', ' ', ':', '(', '[']).unwrap_or(rest);
            let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            digits.get(..length)?.parse().ok()
        });
        found.last()
    };
    of_word("rank").or_else(|| of_word("worker"))
}

/// Gives every part its rank and orders them by it.
///
/// # Errors
/// When several files leave a rank open or share one, or `given` does not fit them.
pub(crate) fn settle_ranks(mut parts: Vec<TracePart>, given: Option<&[u32]>) -> Result<Vec<TracePart>, OpenError> {
    let example = (0..parts.len()).map(|rank| rank.to_string()).collect::<Vec<_>>().join(",");
    let unclear = |reason: String| OpenError::Ranks { reason, example: example.clone() };
    if let Some(given) = given {
        if given.len() != parts.len() {
            return Err(unclear(format!("{} ranks were given for {} files", given.len(), parts.len())));
        }
        for (part, &rank) in parts.iter_mut().zip(given) {
            part.info.rank = Some(rank);
        }
    }
    if parts.len() > 1 && parts.iter().all(|part| part.info.rank.is_none() && xplane::is_one_host(part)) {
        number_hosts(&mut parts).map_err(unclear)?;
    }
    if parts.len() > 1 {
        let mut by_rank: BTreeMap<u32, &str> = BTreeMap::new();
        for part in &parts {
            let path = part.source.path.as_str();
            let Some(rank) = part.info.rank else {
                return Err(unclear(format!("neither the content nor the name of {path} says its rank")));
            };
            if let Some(other) = by_rank.insert(rank, path) {
                return Err(unclear(format!("{other} and {path} both are rank {rank}")));
            }
        }
    }
    parts.sort_by_key(|part| part.info.rank);
    Ok(parts)
}

/// Numbers hosts, where a file is one host and knows no ranks, in the order of their names, numbers in them compared as
/// numbers.
fn number_hosts(parts: &mut [TracePart]) -> Result<(), String> {
    let host_of = |part: &TracePart| part.info.host.clone().unwrap_or_else(|| part.source.path.clone());
    parts.sort_by_cached_key(|part| natural_key(Path::new(&host_of(part))));
    for pair in parts.windows(2) {
        if let [first, second] = pair
            && host_of(first) == host_of(second)
        {
            let (host, first, second) = (host_of(first), &first.source.path, &second.source.path);
            return Err(format!("{first} and {second} both are of host {host}; open the folder of one run"));
        }
    }
    for (rank, part) in (0..).zip(parts) {
        part.info.rank = Some(rank);
        let detail = format!("rank {rank} by the order of host names");
        part.warnings.add(WarningKind::RankAssumed, SourceId(0), None, &detail);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_read_from_names() {
        let check = |name: &str, rank| assert_eq!(rank_in_name(Path::new(name)), rank, "{name}");
        check("a/rank34of300.json.gz", Some(34));
        check("worker0_step_12.1694128201545.pt.trace.json", Some(0));
        check("trace_rank-7.json", Some(7));
        check("Rank_12.json", Some(12));
        check("nrank8_rank3.json", Some(3));
        check("pagerank5_run2.json", None);
        check("rank 4.json", Some(4));
        check("ranking.json", None);
        check("rank3/trace.json", None);
    }
}
