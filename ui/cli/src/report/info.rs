//! The text of `gapless info`.

use std::collections::BTreeMap;

use gapless_trace::Duration;

use super::tables::NARROW;
use super::{heading, plural, warnings_section, wrap};
use crate::args::InfoArgs;
use crate::commands::info::{InfoReport, RankInfo, SourceInfo, kind_label};
use crate::text::{Align, Table, bytes, clean, count, shorten};

/// Tracks are listed one by one up to this many; beyond it they are counted by kind.
const FEW_TRACKS: usize = 24;

/// The report in `columns` columns.
pub fn render(info: &InfoReport, args: &InfoArgs, columns: usize) -> String {
    let mut text = wrap(&headline(info), columns, 0);
    files(&mut text, info, columns);
    ranks(&mut text, info, columns);
    devices(&mut text, info, columns);
    events(&mut text, info, columns);
    tracks(&mut text, info, args.tracks, columns);
    if args.memory {
        memory(&mut text, info, columns);
    }
    warnings_section(&mut text, &info.warnings, columns);
    text
}

fn headline(info: &InfoReport) -> String {
    let ranks = match info.ranks.len() {
        1 => info
            .ranks
            .first()
            .and_then(|rank| rank.rank)
            .map_or_else(|| "1 trace".to_owned(), |rank| format!("rank {rank}")),
        several => format!("{several} ranks"),
    };
    let read = Duration((info.read_seconds * 1e9) as i64);
    let mut parts = vec![
        plural(info.sources.len() as u64, "file", "files"),
        ranks,
        plural(info.events, "event", "events"),
        format!("{} recorded", Duration(info.span_ns)),
        format!("read in {read}"),
    ];
    if info.lost > 0 {
        parts.push(format!("{} lost on import", count(info.lost)));
    }
    let text = parts.join(" · ");
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}", chars.as_str())
}

fn files(text: &mut String, info: &InfoReport, columns: usize) {
    let mut table = Table::new([
        ("File", Align::Name),
        ("Format", Align::Left),
        ("On disk", Align::Right),
        ("As text", Align::Right),
        ("Events", Align::Right),
    ]);
    let folder = common_folder(&info.sources);
    for source in &info.sources {
        let file = source.file.strip_prefix(&folder).unwrap_or(&source.file);
        table.row([
            file.to_owned(),
            source.format.clone(),
            bytes(source.file_bytes),
            bytes(source.text_bytes),
            count(source.file_events),
        ]);
    }
    let place = if folder.is_empty() { String::new() } else { format!(" in {}", clean(&folder)) };
    heading(text, &format!("Files{place}"));
    text.push_str(&table.render(columns));
}

/// The folder that all files are in, with the slash; nothing where they are in several.
fn common_folder(sources: &[SourceInfo]) -> String {
    let folder = |source: &SourceInfo| source.file.rsplit_once('/').map(|(folder, _)| format!("{folder}/"));
    let Some(common) = sources.first().and_then(folder) else { return String::new() };
    if sources.iter().all(|source| folder(source).as_ref() == Some(&common)) { common } else { String::new() }
}

fn ranks(text: &mut String, info: &InfoReport, columns: usize) {
    let mut table = Table::new([
        ("Rank", Align::Right),
        ("Host", Align::Name),
        ("Backend", Align::Left),
        ("Device", Align::Left),
        ("Tracks", Align::Right),
        ("Events", Align::Right),
        ("Begins", Align::Right),
        ("Lasts", Align::Right),
        ("Clock base (UTC)", Align::Left),
    ]);
    for rank in &info.ranks {
        let begins = rank
            .start_ns
            .zip(info.start_ns)
            .map(|(start, first)| format!("+{}", Duration(start.saturating_sub(first))));
        let number = rank.rank.map_or_else(|| "?".to_owned(), |rank| rank.to_string());
        let of = rank.world_size.map(|size| format!("/{size}")).unwrap_or_default();
        table.row([
            format!("{number}{of}"),
            rank.host.clone().unwrap_or_default(),
            rank.backend.clone().filter(|_| columns >= NARROW).unwrap_or_default(),
            rank.used_devices.iter().map(u32::to_string).collect::<Vec<_>>().join(" "),
            if columns < NARROW { String::new() } else { count(rank.tracks) },
            count(rank.events),
            begins.unwrap_or_default(),
            Duration(rank.span_ns).to_string(),
            clock_base(rank),
        ]);
    }
    heading(text, "Ranks");
    text.push_str(&table.without_empty_columns().render(columns));
}

fn clock_base(rank: &RankInfo) -> String {
    // Where times are Unix time themselves, the base is 0; the first event says more than 1970.
    let base = match rank.base_time_ns {
        Some(0) => utc(rank.start_ns.unwrap_or(0)),
        Some(base) => utc(base),
        None => "not in the file".to_owned(),
    };
    if rank.clock_offset_ns == 0 { base } else { format!("{base}, {:+} ns", rank.clock_offset_ns) }
}

/// Nanoseconds of Unix time as `2024-09-10 12:34:56`.
fn utc(nanos: i64) -> String {
    let seconds = nanos.div_euclid(1_000_000_000);
    let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

fn devices(text: &mut String, info: &InfoReport, columns: usize) {
    // Ranks of one job mostly have the same devices: one line for each model and where it is.
    let mut models: BTreeMap<[String; 4], Vec<String>> = BTreeMap::new();
    for rank in &info.ranks {
        for device in &rank.devices {
            let key = [
                device.name.clone(),
                device.memory_bytes.map(bytes).unwrap_or_default(),
                device.multiprocessors.map(|count| count.to_string()).unwrap_or_default(),
                device.compute_capability.clone().unwrap_or_default(),
            ];
            let place = rank.rank.map_or_else(|| device.id.to_string(), |rank| format!("{rank}/{}", device.id));
            models.entry(key).or_default().push(place);
        }
    }
    if models.is_empty() {
        return;
    }
    let mut table = Table::new([
        ("Device", Align::Name),
        ("Memory", Align::Right),
        ("SMs or CUs", Align::Right),
        ("Compute capability", Align::Right),
        ("Listed", Align::Right),
    ]);
    for ([name, memory, processors, capability], places) in models {
        table.row([name, memory, processors, capability, format!("{} ×", places.len())]);
    }
    heading(text, "Devices in the headers");
    text.push_str(&table.without_empty_columns().render(columns));
}

fn events(text: &mut String, info: &InfoReport, columns: usize) {
    let mut kinds: Vec<_> = info.events_by_kind.iter().collect();
    kinds.sort_by_key(|&(id, count)| (std::cmp::Reverse(*count), *id));
    let mut table = Table::new([("Kind", Align::Left), ("Events", Align::Right)]);
    for (id, events) in kinds {
        table.row([kind_label(id).to_owned(), count(*events)]);
    }
    heading(text, "Events");
    if table.is_empty() {
        text.push_str("  none\n");
    } else {
        text.push_str(&table.render(columns));
    }
    text.push_str(&format!(
        "  {} from calls to device work, {}, {}\n",
        plural(info.launch_links, "link", "links"),
        plural(info.flows, "other arrow", "other arrows"),
        plural(info.counters.len() as u64, "counter", "counters"),
    ));
}

fn tracks(text: &mut String, info: &InfoReport, list: bool, columns: usize) {
    heading(text, "Tracks");
    if !list && info.tracks.len() > FEW_TRACKS {
        let mut by_kind: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for track in &info.tracks {
            let entry = by_kind.entry(track.kind).or_default();
            entry.0 += 1;
            entry.1 += track.events;
        }
        let mut table = Table::new([("Kind", Align::Left), ("Tracks", Align::Right), ("Events", Align::Right)]);
        for (kind, (tracks, events)) in by_kind {
            table.row([kind.replace('_', " "), count(tracks), count(events)]);
        }
        text.push_str(&table.render(columns));
        text.push_str("  (--tracks lists each)\n");
        return;
    }
    let mut table = Table::new([
        ("Rank", Align::Right),
        ("Process", Align::Name),
        ("Track", Align::Name),
        ("Kind", Align::Left),
        ("Lanes", Align::Right),
        ("Events", Align::Right),
    ]);
    for track in &info.tracks {
        table.row([
            track.rank.map(|rank| rank.to_string()).unwrap_or_default(),
            shorten(&track.process, 40),
            track.name.clone(),
            track.kind.replace('_', " "),
            track.lanes.to_string(),
            count(track.events),
        ]);
    }
    text.push_str(&table.without_empty_columns().render(columns));
}

fn memory(text: &mut String, info: &InfoReport, columns: usize) {
    let memory = &info.memory;
    let parts = [
        ("event columns", memory.event_columns_bytes),
        ("links and flows", memory.links_bytes),
        ("collectives and copies", memory.side_tables_bytes),
        ("counters", memory.counters_bytes),
        ("strings", memory.strings_bytes),
        ("tracks and rows", memory.tracks_bytes),
    ];
    let per_event = |bytes: u64| {
        if memory.file_events == 0 {
            "–".to_owned()
        } else {
            format!("{:.1} B", bytes as f64 / memory.file_events as f64)
        }
    };
    let mut table =
        Table::new([("Part", Align::Left), ("Bytes", Align::Right), ("Per event in the files", Align::Right)]);
    for (name, part) in parts {
        table.row([name.to_owned(), bytes(part), per_event(part)]);
    }
    let model: u64 = parts.iter().map(|part| part.1).sum();
    table.row(["all of the model".to_owned(), bytes(model), per_event(model)]);
    table.row(["inflated text, kept for arguments".to_owned(), bytes(memory.source_text_bytes), String::new()]);
    heading(text, "Memory (heap; mapped files not counted)");
    text.push_str(&table.render(columns));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_time_becomes_a_date() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(1_694_128_201_545_000_000), "2023-09-07 23:10:01");
        assert_eq!(utc(951_782_400_000_000_000), "2000-02-29 00:00:00");
        assert_eq!(utc(-1), "1969-12-31 23:59:59");
    }
}
