//! The table of events: one row per event, in the order of the model (track, lane, depth, start).

use std::hash::Hash;
use std::ops::Range;

use gapless_trace::{ArgValue, Collective, EventId, ProcessKind, Row, StrId, Trace};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::WriteOptions;
use super::columns::{ABSENT, Column, ColumnType, Entries, RowGroup, Values};
use crate::args_arena::write_json;

/// What the columns of events are made from.
pub(super) struct Events<'t> {
    trace: &'t Trace,
    /// (device work, the call that launched it), sorted.
    launches: Vec<(EventId, EventId)>,
    /// Label and raw id of each track.
    tracks: Vec<(String, String)>,
    /// Raw id of each process.
    pids: Vec<String>,
    options: &'t WriteOptions,
}

impl<'t> Events<'t> {
    pub fn new(trace: &'t Trace, options: &'t WriteOptions) -> Self {
        let mut launches: Vec<_> = trace.launches().pairs().iter().map(|&(launch, device)| (device, launch)).collect();
        launches.par_sort_unstable();
        Self {
            trace,
            launches,
            tracks: trace
                .track_ids()
                .map(|(id, track)| (trace.track_label(id), trace.raw_id_text(track.tid)))
                .collect(),
            pids: trace.processes().iter().map(|process| trace.raw_id_text(process.pid)).collect(),
            options,
        }
    }

    /// Whether texts must be made for a group of rows before its columns.
    pub fn needs_texts(&self) -> bool {
        self.options.arguments || !self.options.argument_columns.is_empty()
    }

    /// The texts of a group of rows: all arguments, then those that have a column each. Gives how many events have
    /// arguments that could not be read.
    pub fn texts(&self, rows: &Range<usize>) -> (Vec<Vec<Option<String>>>, u64) {
        let wanted = &self.options.argument_columns;
        let of_event = |index: usize| -> (Vec<Option<String>>, bool) {
            let id = EventId(index as u32);
            let mut texts = vec![None; usize::from(self.options.arguments) + wanted.len()];
            if !self.trace.has_args(id) {
                return (texts, false);
            }
            let Ok(args) = self.trace.args(id) else { return (texts, true) };
            for (text, name) in texts.iter_mut().rev().zip(wanted.iter().rev()) {
                // The last one counts, as it does for readers of JSON.
                let value = args.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value);
                *text = value.and_then(|value| match value {
                    ArgValue::Null => None,
                    ArgValue::Text(text) => Some(text.clone()),
                    other => Some(json(other)),
                });
            }
            if self.options.arguments
                && let Some(text) = texts.first_mut()
            {
                *text = Some(json(&ArgValue::Dict(args)));
            }
            (texts, false)
        };
        let events: Vec<_> = rows.clone().into_par_iter().map(of_event).collect();
        let unreadable = events.iter().filter(|event| event.1).count() as u64;
        let mut columns = vec![Vec::with_capacity(events.len()); usize::from(self.options.arguments) + wanted.len()];
        for (texts, _) in events {
            for (column, text) in columns.iter_mut().zip(texts) {
                column.push(text);
            }
        }
        (columns, unreadable)
    }

    /// The columns of the table.
    pub fn columns(&'t self) -> Vec<Column<'t>> {
        use ColumnType::{Int32, Int64, Text, UInt64};
        let trace = self.trace;
        let events = trace.events();
        let numbers = |column: &'t [i64], group: &RowGroup| Values::Int64 {
            values: column.get(group.rows.clone()).unwrap_or_default().to_vec(),
            levels: None,
        };
        let by_id = |group: &RowGroup, of: fn(&Trace, EventId) -> Option<i64>| {
            Values::optional(group.rows.clone().map(|index| of(trace, EventId(index as u32))))
        };
        let process_of = |row: &Row| trace.process(trace.track(row.track)?.process);
        let mut columns = vec![
            Column::new("event", Int64, |group| Values::numbers(group.rows.clone().map(|index| index as i64))),
            Column::new("start_ns", Int64, move |group| numbers(events.starts(), group)),
            Column::new("dur_ns", Int64, move |group| numbers(events.durs(), group)),
            Column::new("name", Text, move |group| self.interned(events.names(), group)),
            Column::new("category", Text, move |group| self.interned(events.categories(), group)),
            Column::new("kind", Text, move |group| self.kinds(group)),
            Column::new("process", Text, move |group| {
                self.by_row(
                    group,
                    |row| Some(process_of(row).map_or("", |process| trace.text(process.name))),
                    Entries::Text,
                )
            }),
            Column::new("pid", Text, move |group| {
                let pid = |row: &Row| self.pids.get(trace.track(row.track)?.process.index()).map(String::as_str);
                self.by_row(group, |row| Some(pid(row).unwrap_or_default()), Entries::Text)
            }),
            Column::new("track", Int32, move |group| {
                self.by_row(group, |row| Some(row.track.0 as i32), Entries::Int32)
            }),
            Column::new("track_name", Text, move |group| self.of_track(group, |track| &track.0)),
            Column::new("track_kind", Text, move |group| {
                self.by_row(
                    group,
                    |row| Some(trace.track(row.track).map_or("", |track| track.kind.id())),
                    Entries::Text,
                )
            }),
            Column::new("tid", Text, move |group| self.of_track(group, |track| &track.1)),
            Column::optional("device", Int64, move |group| {
                let device = |row: &Row| match process_of(row)?.kind {
                    ProcessKind::Device(number) => Some(i64::from(number)),
                    _ => None,
                };
                self.by_row(group, device, Entries::Int64)
            }),
            Column::optional("stream", Int64, move |group| {
                self.by_row(group, |row| trace.track(row.track)?.stream(), Entries::Int64)
            }),
            Column::new("lane", Int32, move |group| self.by_row(group, |row| Some(row.lane as i32), Entries::Int32)),
            Column::new("depth", Int32, move |group| {
                self.by_row(group, |row| Some(i32::from(row.depth)), Entries::Int32)
            }),
            Column::optional("parent", Int64, move |group| self.parents(group)),
            Column::optional("correlation", Int64, move |group| {
                by_id(group, |trace, id| trace.event(id).correlation.map(i64::from))
            }),
            Column::optional("external", Int64, move |group| {
                by_id(group, |trace, id| trace.event(id).external.map(i64::from))
            }),
            Column::optional("launch", Int64, move |group| {
                joined(group, &self.launches, |pair| pair.0, |pair| Some(i64::from(pair.1.0)))
            }),
            Column::optional("bytes", UInt64, move |group| {
                joined(group, trace.copies(), |entry| entry.0, |entry| Some(entry.1 as i64))
            }),
            self.collective_text("collective", |entry| entry.name),
            self.collective_text("collective_dtype", |entry| entry.dtype),
            self.collective_text("collective_group", |entry| entry.group),
            self.collective_text("collective_group_desc", |entry| entry.group_desc),
            self.collective_number("collective_in_elems", |entry| entry.in_elems),
            self.collective_number("collective_out_elems", |entry| entry.out_elems),
            self.collective_number("collective_group_size", |entry| entry.group_size.map(u64::from)),
            self.collective_number("collective_seq", |entry| entry.seq),
        ];
        let of_one = self.options.argument_columns.iter().map(|name| (format!("arg_{name}"), true));
        let all = self.options.arguments.then(|| ("args".to_owned(), false));
        let of_texts = all.into_iter().chain(of_one).enumerate();
        columns.extend(of_texts.map(|(place, (name, many_are_equal))| Column::of_texts(name, place, many_are_equal)));
        columns
    }

    /// The stretches of a group that lie in one row of the model each, with their number of events.
    fn stretches(&self, group: &RowGroup) -> impl Iterator<Item = (usize, &'t Row, Range<usize>)> {
        let range = group.rows.clone();
        let first = self.trace.rows().partition_point(|row| row.events.end as usize <= range.start);
        let rows = self.trace.rows().iter().enumerate().skip(first);
        rows.take_while(move |(_, row)| (row.events.start as usize) < range.end).filter_map({
            let range = group.rows.clone();
            move |(index, row)| {
                let of_row = row.indices();
                let part = of_row.start.max(range.start)..of_row.end.min(range.end);
                (!part.is_empty()).then_some((index, row, part))
            }
        })
    }

    /// A value that all events of a row of the model share.
    fn by_row<'a, T: Copy + Eq + Hash>(
        &self,
        group: &RowGroup,
        value: impl Fn(&'t Row) -> Option<T>,
        entries: fn(Vec<T>) -> Entries<'a>,
    ) -> Values<'a> {
        let mut places: FxHashMap<T, u32> = FxHashMap::default();
        let mut distinct = Vec::new();
        let mut codes = Vec::with_capacity(group.rows.len());
        for (_, row, part) in self.stretches(group) {
            let code = value(row).map_or(ABSENT, |value| {
                *places.entry(value).or_insert_with(|| {
                    distinct.push(value);
                    distinct.len() as u32 - 1
                })
            });
            codes.resize(codes.len() + part.len(), code);
        }
        Values::Coded { entries: entries(distinct), codes }
    }

    fn of_track<'a>(&'a self, group: &RowGroup, text: fn(&(String, String)) -> &String) -> Values<'a> {
        let of_row = |row: &Row| self.tracks.get(row.track.index()).map_or("", |track| text(track));
        self.by_row(group, |row| Some(of_row(row)), Entries::Text)
    }

    /// Texts of the model, by id: a table of ids is faster than one of texts.
    fn interned(&self, column: &[StrId], group: &RowGroup) -> Values<'t> {
        let ids = column.get(group.rows.clone()).unwrap_or_default();
        let mut places = vec![ABSENT; self.trace.strings().len()];
        let mut entries = Vec::new();
        let code = |&id: &StrId| match places.get_mut(id.index()) {
            Some(place) => {
                if *place == ABSENT {
                    *place = entries.len() as u32;
                    entries.push(self.trace.text(id));
                }
                *place
            }
            None => ABSENT,
        };
        let codes = ids.iter().map(code).collect();
        Values::Coded { entries: Entries::Text(entries), codes }
    }

    fn kinds(&self, group: &RowGroup) -> Values<'static> {
        let kinds = self.trace.events().kinds().get(group.rows.clone()).unwrap_or_default();
        let mut places = [ABSENT; 256];
        let mut entries = Vec::new();
        let mut codes = Vec::with_capacity(kinds.len());
        for &kind in kinds {
            // An array of all numbers of one byte: it is never out of range.
            let Some(place) = places.get_mut(kind as u8 as usize) else { continue };
            if *place == ABSENT {
                *place = entries.len() as u32;
                entries.push(kind.id());
            }
            codes.push(*place);
        }
        Values::Coded { entries: Entries::Text(entries), codes }
    }

    /// The event that encloses each event: the last of the row above that begins no later.
    fn parents(&self, group: &RowGroup) -> Values<'static> {
        let starts = self.trace.events().starts();
        let mut levels = Vec::with_capacity(group.rows.len());
        let mut values = Vec::new();
        for (index, row, part) in self.stretches(group) {
            let above = index.checked_sub(1).and_then(|above| self.trace.rows().get(above)).filter(|_| row.depth > 0);
            let above = above.map(Row::indices).unwrap_or_default();
            let mut next = above.start;
            let first = part.clone().next().and_then(|index| starts.get(index)).copied().unwrap_or_default();
            next += starts.get(above.clone()).unwrap_or_default().partition_point(|&start| start <= first);
            for &start in starts.get(part).unwrap_or_default() {
                while next < above.end && starts.get(next).is_some_and(|&begun| begun <= start) {
                    next += 1;
                }
                let parent = next.checked_sub(1).filter(|&parent| parent >= above.start && row.depth > 0);
                levels.push(i16::from(parent.is_some()));
                values.extend(parent.map(|parent| parent as i64));
            }
        }
        Values::Int64 { values, levels: Some(levels) }
    }

    fn collective_number(&'t self, name: &str, number: fn(&Collective) -> Option<u64>) -> Column<'t> {
        Column::optional(name, ColumnType::UInt64, move |group| {
            joined(group, self.trace.collectives(), |entry| entry.event, |entry| Some(number(entry)? as i64))
        })
    }

    fn collective_text(&'t self, name: &str, text: fn(&Collective) -> StrId) -> Column<'t> {
        Column::optional(name, ColumnType::Text, move |group| {
            let mut rows = vec![None; group.rows.len()];
            for entry in within(self.trace.collectives(), |entry| entry.event, &group.rows) {
                let place = entry.event.index().checked_sub(group.rows.start);
                if let Some(row) = place.and_then(|place| rows.get_mut(place)) {
                    *row = Some(self.trace.text(text(entry)));
                }
            }
            Values::texts(rows.into_iter())
        })
    }
}

fn json(value: &ArgValue) -> String {
    let mut out = Vec::new();
    write_json(value, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// The entries of a side table, sorted by event, that lie in `rows`.
fn within<'a, T>(entries: &'a [T], event: impl Fn(&T) -> EventId, rows: &Range<usize>) -> &'a [T] {
    let from = entries.partition_point(|entry| event(entry).index() < rows.start);
    let to = entries.partition_point(|entry| event(entry).index() < rows.end);
    entries.get(from..to).unwrap_or_default()
}

/// A number that a side table, sorted by event, has for some events; the first where it has several.
fn joined<T>(
    group: &RowGroup,
    entries: &[T],
    event: impl Fn(&T) -> EventId,
    number: impl Fn(&T) -> Option<i64>,
) -> Values<'static> {
    let mut levels = vec![0; group.rows.len()];
    let mut values = Vec::new();
    for entry in within(entries, &event, &group.rows) {
        let place = event(entry).index() - group.rows.start;
        if let (Some(level @ 0), Some(number)) = (levels.get_mut(place), number(entry)) {
            *level = 1;
            values.push(number);
        }
    }
    Values::Int64 { values, levels: Some(levels) }
}
