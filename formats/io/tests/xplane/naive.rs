//! What a plain decode of a whole file says about every event, and what the model says, in the same words.

use gapless_trace::{ArgValue, EventId, RawId, Trace};

use crate::proto::{Data, Stat, XPlane, XSpace, XStat};

/// An event: line, name, start and duration in ns, arguments in order.
pub type Seen = (String, String, i64, i64, Vec<(String, String)>);

/// Every event with a place in time, by the plain decode; times with the base added. Lines are named by their number,
/// by that of the stream in their name, or by their name where a recorder derived them.
pub fn of_file(space: &XSpace) -> Vec<Seen> {
    let base = start_time(space);
    let mut seen = Vec::new();
    for plane in &space.planes {
        let is_host = plane.name == "/host:CPU";
        for line in &plane.lines {
            let stream = line.name.strip_prefix("Stream #").and_then(|rest| rest.split('(').next());
            let place = match stream {
                Some(number) => number.to_owned(),
                None if is_host => line.id.to_string(),
                None => line.name.clone(),
            };
            for event in &line.events {
                let offset = match event.data {
                    Some(Data::OffsetPs(offset)) => offset,
                    Some(Data::NumOccurrences(_)) => continue,
                    None => 0,
                };
                let floor = |ps: i64| ps.div_euclid(1_000);
                let (start, end) = (floor(offset), floor(offset + event.duration_ps));
                let entry = plane.event_metadata.get(&event.metadata_id);
                let name = entry.map_or_else(
                    || format!("event {}", event.metadata_id),
                    |entry| if entry.display_name.is_empty() { entry.name.clone() } else { entry.display_name.clone() },
                );
                let mut args = Vec::new();
                if let Some(entry) = entry {
                    if !entry.display_name.is_empty() && !entry.name.is_empty() {
                        args.push(("long_name".to_owned(), entry.name.clone()));
                    }
                    args.extend(entry.stats.iter().map(|stat| arg(plane, stat)));
                }
                args.extend(event.stats.iter().map(|stat| arg(plane, stat)));
                seen.push((place.clone(), name, base + line.timestamp_ns + start, end - start, args));
            }
        }
    }
    seen.sort();
    seen
}

/// When the recording began, in ns of Unix time.
pub fn start_time(space: &XSpace) -> i64 {
    let plane = space.planes.iter().find(|plane| plane.name == "Task Environment");
    let stat = plane.and_then(|plane| {
        plane.stats.iter().find(|stat| plane.stat_metadata[&stat.metadata_id].name == "profile_start_time")
    });
    match stat.and_then(|stat| stat.value.clone()) {
        Some(Stat::Uint64(value)) => value as i64,
        Some(Stat::Int64(value)) => value,
        _ => 0,
    }
}

fn arg(plane: &XPlane, stat: &XStat) -> (String, String) {
    let name = plane.stat_metadata.get(&stat.metadata_id);
    let value = match &stat.value {
        None => "null".to_owned(),
        Some(Stat::Double(value)) => value.to_string(),
        Some(Stat::Uint64(value)) => value.to_string(),
        Some(Stat::Int64(value)) => value.to_string(),
        Some(Stat::Str(value)) => value.clone(),
        Some(Stat::Bytes(value)) => String::from_utf8(value.clone()).unwrap(),
        Some(Stat::Ref(id)) => plane.stat_metadata[&(*id as i64)].name.clone(),
        Some(Stat::Gzip(_)) => unreachable!("not in the files that are compared"),
    };
    (name.map_or_else(|| format!("stat {}", stat.metadata_id), |entry| entry.name.clone()), value)
}

/// Every event of the model.
pub fn of_trace(trace: &Trace) -> Vec<Seen> {
    let mut seen = Vec::new();
    for index in 0..trace.events().len() as u32 {
        let id = EventId(index);
        let event = trace.event(id);
        let (_, track) = trace.track_of(id).unwrap();
        let place = match track.tid {
            RawId::Int(number) => number.to_string(),
            RawId::Text(text) => trace.text(text).to_owned(),
            RawId::None => String::new(),
        };
        let text = |value: &ArgValue| value.to_string();
        let args = trace.args(id).unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect();
        seen.push((place, trace.name(id).to_owned(), event.start.nanos(), event.dur.nanos(), args));
    }
    seen.sort();
    seen
}

/// Says where two lists differ first.
pub fn assert_same(expected: &[Seen], found: &[Seen], what: &str) {
    let differ = expected.iter().zip(found).find(|(left, right)| left != right);
    assert!(differ.is_none(), "{what}: expected and found {differ:#?}");
    assert_eq!(expected.len(), found.len(), "{what}");
}
