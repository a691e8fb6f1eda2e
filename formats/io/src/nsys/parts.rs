//! From events by process to ranks: a process with device work is a rank.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gapless_trace::{
    ArgsSource, DeviceInfo, RawChunk, RawId, RawMeta, SourceId, StrId, TraceInfo, TracePart, WarningKind,
};
use rustc_hash::FxHashMap;

use super::header::Header;
use super::payload::Schemas;
use super::sink::{Definitions, Found, NO_ID, Owner, pid_of};
use super::{nccl, steps};
use crate::readers::Input;

/// Names of what tracks belong to.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Of processes, by global id.
    pub processes: FxHashMap<i64, String>,
    /// Of threads, by global id.
    pub threads: FxHashMap<i64, String>,
    /// Of streams, by process number and stream.
    pub streams: FxHashMap<(i64, i64), String>,
}

/// Finishes what each process recorded, as far as other rows of the file tell more about it.
pub(crate) fn complete(found: &mut [Found], definitions: &Definitions, schemas: &Schemas) {
    let mut by_process: BTreeMap<Owner, Vec<&mut Found>> = BTreeMap::new();
    for one in found.iter_mut() {
        name_domains(one, definitions, schemas);
        nccl::add_sizes(one, &definitions.communicators);
        by_process.entry(one.owner).or_default().push(one);
    }
    for mut of_process in by_process.into_values() {
        steps::mark(&mut of_process);
    }
}

/// Gives the categories of NVTX domains their names.
fn name_domains(found: &mut Found, definitions: &Definitions, schemas: &Schemas) {
    let Owner::Process(process) = found.owner else { return };
    for (domain, stand_in) in std::mem::take(&mut found.domains) {
        let named = |own: bool| {
            let mut of_domain = definitions.domains.iter().filter(|entry| entry.1 == domain);
            of_domain.find(|entry| !own || entry.0 == process).map(|entry| entry.2.as_str())
        };
        let is_nccl = || schemas.names(domain, "NCCL communicator ID").then_some("NCCL");
        let Some(name) = named(true).or_else(|| named(false)).or_else(is_nccl) else { continue };
        let chunk = &mut found.chunk;
        let id = chunk.strings.intern(name);
        let rename = |old: &mut StrId| {
            if *old == stand_in {
                *old = id;
            }
        };
        chunk.category.iter_mut().for_each(rename);
        for begin in &mut chunk.begin_ends {
            rename(&mut begin.category);
        }
        for (_, _, tid) in &mut chunk.tracks {
            if let RawId::Text(old) = tid {
                rename(old);
            }
        }
    }
}

/// One rank.
struct Group {
    /// The process with device work, by global id; `None` where the file does not tell processes apart.
    process: Option<i64>,
    /// The devices it used, as it numbers them.
    devices: BTreeSet<i64>,
}

/// Makes the parts, ranks in the order of their lowest device.
pub(crate) fn parts(
    input: &Input,
    header: &Header,
    names: &Names,
    found: Vec<Found>,
    args: &Arc<dyn ArgsSource>,
) -> Vec<TracePart> {
    let mut groups = groups(&found);
    if groups.is_empty() {
        groups.push(Group { process: None, devices: BTreeSet::new() });
    }
    let base = base_ns(header, &found);
    let mut of_group: Vec<Vec<Found>> = groups.iter().map(|_| Vec::new()).collect();
    for one in found {
        let place = place_of(&one, &groups, header);
        if let Some(list) = of_group.get_mut(place) {
            list.push(one);
        }
    }
    let is_one = groups.len() == 1;
    let mut parts = Vec::new();
    for (rank, (group, found)) in groups.iter().zip(of_group).enumerate() {
        let mut part = input.part();
        part.args = Arc::clone(args);
        part.info = TraceInfo {
            host: header.host.clone(),
            base_time_ns: base,
            header: header.fields.clone(),
            ..TraceInfo::default()
        };
        if is_one {
            (part.info.rank, part.info.world_size) = header.launched;
        } else {
            part.info.rank = u32::try_from(rank).ok();
            let pid = group.process.map(pid_of).unwrap_or_default();
            let why = format!("rank {rank} is process {pid}: ranks in the order of the lowest GPU they use");
            part.warnings.add(WarningKind::RankAssumed, SourceId(0), None, &why);
        }
        fill(&mut part, group, found, header, names);
        parts.push(part);
    }
    parts
}

/// Processes with device work, in the order of their lowest device, then of their numbers.
fn groups(found: &[Found]) -> Vec<Group> {
    let mut used: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for one in found {
        if let (Owner::Process(process), false) = (one.owner, one.devices.is_empty()) {
            used.entry(process).or_default().extend(&one.devices);
        }
    }
    let mut groups: Vec<Group> =
        used.into_iter().map(|(process, devices)| Group { process: Some(process), devices }).collect();
    groups.sort_by_key(|group| (group.devices.first().copied(), group.process));
    groups
}

/// Which rank events go to. What belongs to no process with device work goes to the first one.
fn place_of(found: &Found, groups: &[Group], header: &Header) -> usize {
    let place = match found.owner {
        Owner::Process(process) => groups.iter().position(|group| group.process == Some(process)),
        Owner::Device(gpu) => groups
            .iter()
            .position(|group| group.devices.iter().any(|&device| system_number(header, group, device) == gpu)),
        Owner::System => None,
    };
    place.unwrap_or(0)
}

/// The number in the system of what the process of `group` calls `device`.
fn system_number(header: &Header, group: &Group, device: i64) -> i64 {
    let own = group.process.map(pid_of);
    let seen = header.visible.iter().find(|entry| own.is_none_or(|own| entry.0 == own) && entry.1 == device);
    seen.map_or(device, |entry| entry.2)
}

fn base_ns(header: &Header, found: &[Found]) -> Option<i64> {
    let mut span: Option<(i64, i64)> = None;
    let mut widen = |first: i64, last: i64| {
        let (low, high) = span.unwrap_or((first, last));
        span = Some((low.min(first), high.max(last)));
    };
    for one in found {
        for (&start, &dur) in one.chunk.start.iter().zip(&one.chunk.dur) {
            widen(start, start.saturating_add(dur));
        }
        for counter in &one.chunk.counters {
            widen(counter.time, counter.time);
        }
    }
    let (first, last) = span.unwrap_or_default();
    header.base_ns(first, last)
}

fn fill(part: &mut TracePart, group: &Group, found: Vec<Found>, header: &Header, names: &Names) {
    let mut threads: BTreeSet<(i64, i64)> = BTreeSet::new();
    let mut streams: BTreeSet<(i64, i64)> = BTreeSet::new();
    let mut processes: BTreeMap<i64, i64> = BTreeMap::new();
    let mut names_chunk = RawChunk::default();
    for mut one in found {
        if let Owner::Process(process) = one.owner {
            processes.insert(pid_of(process), process);
            // Numbers of calls are counted in each process: another process's would join the wrong work.
            if group.process.is_some_and(|own| own != process) {
                one.chunk.correlation.fill(NO_ID);
            }
        }
        if let Owner::Device(gpu) = one.owner {
            let own = group.process.map(pid_of);
            let as_seen = header.visible.iter().find(|entry| Some(entry.0) == own && entry.2 == gpu);
            let device = RawId::Int(as_seen.map_or(gpu, |entry| entry.1));
            one.chunk.counters.iter_mut().for_each(|counter| counter.pid = device);
        }
        for &(kind, pid, tid) in &one.chunk.tracks {
            if let (RawId::Int(pid), RawId::Int(tid)) = (pid, tid) {
                if kind.is_device() {
                    streams.insert((pid, tid))
                } else {
                    threads.insert((pid, tid))
                };
            }
        }
        streams.extend(one.chunk.counters.iter().filter_map(|counter| match counter.pid {
            RawId::Int(device) => Some((device, -1)),
            _ => None,
        }));
        if !is_blank(&one.chunk) {
            part.source.file_events += one.chunk.file_events;
            part.chunks.push(one.chunk);
        }
    }
    part.info.devices = devices(header, group, &streams);
    name(&mut names_chunk, &processes, &threads, &streams, part, names, group);
    part.chunks.push(names_chunk);
}

/// The devices that the rank used, numbered as its process sees them.
fn devices(header: &Header, group: &Group, streams: &BTreeSet<(i64, i64)>) -> Vec<DeviceInfo> {
    let used: BTreeSet<i64> = streams.iter().map(|stream| stream.0).collect();
    let of_used = |device: i64| {
        let info = header.devices.iter().find(|info| i64::from(info.id) == system_number(header, group, device))?;
        Some(DeviceInfo { id: u32::try_from(device).ok()?, ..info.clone() })
    };
    used.into_iter().filter_map(of_used).collect()
}

/// Writes the names of the tracks of one rank.
fn name(
    chunk: &mut RawChunk,
    processes: &BTreeMap<i64, i64>,
    threads: &BTreeSet<(i64, i64)>,
    streams: &BTreeSet<(i64, i64)>,
    part: &TracePart,
    names: &Names,
    group: &Group,
) {
    for (&pid, global) in processes {
        if let Some(name) = names.processes.get(global).filter(|name| !name.is_empty()) {
            let name = chunk.strings.intern(name);
            chunk.metas.push(RawMeta::ProcessName(RawId::Int(pid), name));
        }
    }
    for &(pid, tid) in threads {
        let Some(global) = processes.get(&pid) else { continue };
        if let Some(name) = names.threads.get(&(global | tid)).filter(|name| !name.is_empty()) {
            let name = chunk.strings.intern(name);
            chunk.metas.push(RawMeta::ThreadName(RawId::Int(pid), RawId::Int(tid), name));
        }
    }
    let own = group.process.map(pid_of);
    let devices: BTreeSet<i64> = streams.iter().map(|stream| stream.0).collect();
    // A device and a process may have the same number; the name is then the process's.
    for &device in devices.iter().filter(|device| !processes.contains_key(device)) {
        let label = chunk.strings.intern(&format!("GPU {device}"));
        chunk.metas.push(RawMeta::ProcessLabels(RawId::Int(device), label));
        if let Some(info) = part.info.devices.iter().find(|info| i64::from(info.id) == device) {
            let name = chunk.strings.intern(&info.name);
            chunk.metas.push(RawMeta::ProcessName(RawId::Int(device), name));
        }
    }
    for &(device, stream) in streams.iter().filter(|stream| stream.1 >= 0 && !threads.contains(stream)) {
        let known = own.and_then(|pid| names.streams.get(&(pid, stream)));
        let name = known.cloned().unwrap_or_else(|| format!("stream {stream}"));
        let name = chunk.strings.intern(&name);
        chunk.metas.push(RawMeta::ThreadName(RawId::Int(device), RawId::Int(stream), name));
    }
}

/// Whether nothing at all is in the chunk.
fn is_blank(chunk: &RawChunk) -> bool {
    chunk.is_empty()
        && chunk.file_events == 0
        && chunk.counters.is_empty()
        && chunk.begin_ends.is_empty()
        && chunk.warnings.is_empty()
}
