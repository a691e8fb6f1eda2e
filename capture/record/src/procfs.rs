//! What the kernel says of a process.

use std::collections::BTreeMap;
use std::io;

/// Variables that say where a process stands in its job, in the order of trust: torchrun, then the MPI launchers, then
/// Slurm, whose variables are also set where one task starts many ranks.
const RANK: [&str; 6] =
    ["RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID"];
const WORLD_SIZE: [&str; 5] = ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_NTASKS"];
const LOCAL_RANK: [&str; 5] =
    ["LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"];

/// What is known of a process when it is first seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Rank in its job.
    pub rank: Option<u32>,
    /// Ranks of its job.
    pub world_size: Option<u32>,
    /// Rank on its machine.
    pub local_rank: Option<u32>,
    /// Which variable the rank came from.
    pub rank_source: Option<&'static str>,
}

/// What a process said of itself when its segment was made.
pub fn facts(reader: &gapless_ring::SegmentReader) -> ProcessFacts {
    let text = |id: &std::sync::atomic::AtomicU32| {
        reader.string(id.load(std::sync::atomic::Ordering::Relaxed)).unwrap_or_default()
    };
    let variables = text(&reader.header().variables);
    let variables = variables
        .lines()
        .filter_map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect();
    let mut facts = facts_of(&variables);
    facts.command =
        text(&reader.header().command).split('\0').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    facts
}

/// What a process's variables say.
pub fn facts_of(variables: &BTreeMap<String, String>) -> ProcessFacts {
    let number = |names: &[&'static str]| {
        names
            .iter()
            .find_map(|&name| variables.get(name).and_then(|text| text.trim().parse::<u32>().ok()).map(|n| (name, n)))
    };
    let rank = number(&RANK);
    ProcessFacts {
        command: Vec::new(),
        rank: rank.map(|(_, rank)| rank),
        world_size: number(&WORLD_SIZE).map(|(_, size)| size),
        local_rank: number(&LOCAL_RANK).map(|(_, rank)| rank),
        rank_source: rank.map(|(name, _)| name),
    }
}

/// State and start time (in clock ticks since boot) of a process; `None` where there is none.
pub fn state(pid: u32) -> Option<(char, u64)> {
    parse_state(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_state(text: &str) -> Option<(char, u64)> {
    // The name may hold spaces and brackets; the last bracket ends it.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // The start time is field 22 of the file, so the 19th after the state.
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

/// Whether the process that started then still runs. A zombie does not: it writes nothing any more.
pub fn is_running(pid: u32, start_time: u64) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => parse_state(&text)
            .is_some_and(|(state, start)| !matches!(state, 'Z' | 'X') && (start_time == 0 || start == start_time)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        // Where this process is out of descriptors or memory, the other has not ended.
        Err(_) => exists(pid),
    }
}

/// Whether there is a process with this number, asked without a descriptor.
#[allow(unsafe_code)]
fn exists(pid: u32) -> bool {
    // SAFETY: signal 0 is sent to nobody.
    unsafe { libc::kill(pid as libc::pid_t, 0) == 0 || *libc::__errno_location() != libc::ESRCH }
}

/// Name of this machine.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// Release of the kernel.
pub fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").map(|name| name.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_from_the_most_trusted_variable() {
        let variables = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>()
        };
        let torchrun =
            facts_of(&variables(&[("SLURM_PROCID", "0"), ("RANK", "3"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "3")]));
        assert_eq!((torchrun.rank, torchrun.world_size, torchrun.local_rank), (Some(3), Some(8), Some(3)));
        assert_eq!(torchrun.rank_source, Some("RANK"));
        let mpi = facts_of(&variables(&[
            ("OMPI_COMM_WORLD_RANK", "2"),
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("SLURM_PROCID", "0"),
        ]));
        assert_eq!((mpi.rank, mpi.world_size), (Some(2), Some(4)));
        assert_eq!(facts_of(&variables(&[("RANK", "high")])).rank, None);
    }

    #[test]
    fn this_process_runs_and_an_impossible_one_does_not() {
        let pid = std::process::id();
        let start = state(pid).map(|(_, start)| start);
        assert!(start.is_some_and(|start| is_running(pid, start) && !is_running(pid, start + 1)));
        assert!(!is_running(u32::MAX - 1, 0));
    }
}
