//! The small tables beside the events.

use gapless_trace::{ProcessKind, RankId, StackId, Trace, Warning};
use rustc_hash::FxHashMap;

use super::columns::{Column, ColumnType, Entries, RowGroup, Values};

/// A table of one file.
pub(super) struct Table<'t> {
    /// Name of the file without its ending.
    pub name: &'static str,
    pub rows: usize,
    pub columns: Vec<Column<'t>>,
}

/// What the tables are made from beside the trace.
pub(super) struct Texts<'t> {
    /// Label, raw id and raw id of the process of each track.
    tracks: Vec<[String; 3]>,
    /// Start of each counter series in the table of their samples.
    counter_starts: Vec<usize>,
    warnings: Vec<&'t Warning>,
    /// Number of each rank's partition.
    partitions: Vec<i32>,
}

impl<'t> Texts<'t> {
    pub fn new(trace: &'t Trace) -> Self {
        let pid = |id: gapless_trace::ProcessId| {
            trace.process(id).map(|process| trace.raw_id_text(process.pid)).unwrap_or_default()
        };
        let tracks = trace.track_ids();
        let tracks =
            tracks.map(|(id, track)| [trace.track_label(id), trace.raw_id_text(track.tid), pid(track.process)]);
        let lens = trace.counters().iter().map(|series| series.times.len());
        let starts = std::iter::once(0).chain(lens.scan(0, |end, len| {
            *end += len;
            Some(*end)
        }));
        Self {
            tracks: tracks.collect(),
            counter_starts: starts.collect(),
            warnings: trace.warnings().sorted(),
            partitions: partitions(trace),
        }
    }

    fn partition(&self, rank: Option<RankId>) -> i32 {
        rank.and_then(|rank| self.partitions.get(rank.index())).copied().unwrap_or_default()
    }
}

/// All tables but the events, those without rows too.
pub(super) fn tables<'t>(trace: &'t Trace, texts: &'t Texts<'t>) -> Vec<Table<'t>> {
    vec![
        tracks(trace, texts),
        counters(trace, texts),
        links(trace, texts),
        flows(trace, texts),
        stacks(trace),
        event_stacks(trace, texts),
        warnings(trace, texts),
    ]
}

/// Texts of rows of a list, many of which are equal.
fn texts<'t, T: Sync>(name: &str, list: &'t [T], text: impl Fn(&'t T) -> Option<&'t str> + Sync + 't) -> Column<'t> {
    Column::optional(name, ColumnType::Text, move |group| {
        Values::texts(list.get(group.rows.clone()).unwrap_or_default().iter().map(&text))
    })
}

/// Numbers of rows of a list.
fn numbers<'t, T: Sync>(name: &str, list: &'t [T], number: impl Fn(&'t T) -> i64 + Sync + 't) -> Column<'t> {
    Column::new(name, ColumnType::Int64, move |group| {
        Values::numbers(list.get(group.rows.clone()).unwrap_or_default().iter().map(&number))
    })
}

/// Numbers of rows of a list, where there are any.
fn optional<'t, T: Sync>(name: &str, list: &'t [T], number: impl Fn(&'t T) -> Option<i64> + Sync + 't) -> Column<'t> {
    Column::optional(name, ColumnType::Int64, move |group| {
        Values::optional(list.get(group.rows.clone()).unwrap_or_default().iter().map(&number))
    })
}

/// Small numbers, coded.
fn small<'t, T: Sync>(name: &str, list: &'t [T], number: impl Fn(&'t T) -> i32 + Sync + 't) -> Column<'t> {
    Column::new(name, ColumnType::Int32, move |group| {
        coded(list.get(group.rows.clone()).unwrap_or_default().iter().map(&number))
    })
}

fn coded<'t>(rows: impl Iterator<Item = i32>) -> Values<'t> {
    let mut places: FxHashMap<i32, u32> = FxHashMap::default();
    let mut entries = Vec::new();
    let code = |value| {
        *places.entry(value).or_insert_with(|| {
            entries.push(value);
            entries.len() as u32 - 1
        })
    };
    let codes = rows.map(code).collect();
    Values::Coded { entries: Entries::Int32(entries), codes }
}

/// Numbers of the partitions of the events, by rank.
pub(super) fn partitions(trace: &Trace) -> Vec<i32> {
    let numbers = || trace.ranks().iter().filter_map(|rank| rank.number.and_then(|number| i32::try_from(number).ok()));
    let mut distinct: Vec<i32> = numbers().collect();
    distinct.sort_unstable();
    distinct.dedup();
    // Without numbers that tell the ranks apart, their places do.
    if distinct.len() == trace.ranks().len() { numbers().collect() } else { (0..trace.ranks().len() as i32).collect() }
}

fn tracks<'t>(trace: &'t Trace, made: &'t Texts<'t>) -> Table<'t> {
    let list = trace.tracks();
    let process_of = |track: &gapless_trace::Track| trace.process(track.process);
    let of_made = |name: &str, place: usize| texts(name, &made.tracks, move |row| row.get(place).map(String::as_str));
    let columns = vec![
        Column::new("track", ColumnType::Int32, |group| Values::Coded {
            entries: Entries::Int32(group.rows.clone().map(|index| index as i32).collect()),
            codes: (0..group.rows.len() as u32).collect(),
        }),
        small("rank", list, |track| made.partition(Some(track.rank))),
        of_made("name", 0),
        texts("kind", list, |track| Some(track.kind.id())),
        of_made("tid", 1),
        of_made("pid", 2),
        texts("process", list, move |track| Some(trace.text(process_of(track)?.name))),
        texts("process_labels", list, move |track| Some(trace.text(process_of(track)?.labels))),
        texts("process_kind", list, move |track| {
            Some(match process_of(track)?.kind {
                ProcessKind::Host => "host",
                ProcessKind::Device(_) => "device",
                ProcessKind::Virtual => "virtual",
            })
        }),
        optional("device", list, move |track| match process_of(track)?.kind {
            ProcessKind::Device(number) => Some(i64::from(number)),
            _ => None,
        }),
        optional("stream", list, |track| track.stream()),
        numbers("lanes", list, |track| i64::from(track.lanes)),
        numbers("first_event", list, |track| i64::from(track.events.start)),
        numbers("events", list, |track| i64::from(track.events.end) - i64::from(track.events.start)),
        texts("counter", list, move |track| Some(trace.text(trace.counters().get(track.counter?.index())?.name))),
        texts("counter_unit", list, move |track| Some(trace.text(trace.counters().get(track.counter?.index())?.unit))),
    ];
    Table { name: "tracks", rows: list.len(), columns }
}

fn counters<'t>(trace: &'t Trace, made: &'t Texts<'t>) -> Table<'t> {
    let starts = made.counter_starts.as_slice();
    // The samples of a group: place of the series, place in it.
    let samples = move |group: &RowGroup| {
        let first = starts.partition_point(|&start| start <= group.rows.start).saturating_sub(1);
        let series = starts.iter().zip(starts.iter().skip(1)).enumerate().skip(first);
        let range = group.rows.clone();
        series.take_while(move |(_, (start, _))| **start < range.end).map({
            let range = group.rows.clone();
            move |(series, (&start, &end))| {
                (series, start.max(range.start).saturating_sub(start)..end.min(range.end).saturating_sub(start))
            }
        })
    };
    let per_series = move |group: &RowGroup, code: &dyn Fn(usize) -> i32| {
        coded(samples(group).flat_map(|(series, part)| std::iter::repeat_n(code(series), part.len())))
    };
    let track_of = move |series: usize| trace.counters().get(series).map_or(0, |series| series.track.0 as i32);
    let rank_of = move |series: usize| {
        let track = trace.counters().get(series).and_then(|series| trace.track(series.track));
        made.partition(track.map(|track| track.rank))
    };
    let of_series = move |group: &RowGroup, text: fn(&gapless_trace::CounterSeries) -> gapless_trace::StrId| {
        let text = |series: usize| trace.counters().get(series).map(|series| trace.text(text(series)));
        Values::texts(samples(group).flat_map(|(series, part)| std::iter::repeat_n(text(series), part.len())))
    };
    let columns = vec![
        Column::new("rank", ColumnType::Int32, move |group| per_series(group, &rank_of)),
        Column::new("track", ColumnType::Int32, move |group| per_series(group, &track_of)),
        Column::optional("name", ColumnType::Text, move |group| of_series(group, |series| series.name)),
        Column::optional("unit", ColumnType::Text, move |group| of_series(group, |series| series.unit)),
        Column::new("time_ns", ColumnType::Int64, move |group| {
            Values::numbers(samples(group).flat_map(|(series, part)| {
                let times = trace.counters().get(series).and_then(|series| series.times.get(part));
                times.unwrap_or_default().iter().copied()
            }))
        }),
        Column::new("value", ColumnType::Double, move |group| {
            let values = samples(group).flat_map(|(series, part)| {
                let values = trace.counters().get(series).and_then(|series| series.values.get(part));
                values.unwrap_or_default().iter().copied()
            });
            Values::Double(values.collect())
        }),
    ];
    Table { name: "counters", rows: starts.last().copied().unwrap_or(0), columns }
}

fn links<'t>(trace: &'t Trace, made: &'t Texts<'t>) -> Table<'t> {
    let list = trace.launches().pairs();
    let columns = vec![
        small("rank", list, |pair| made.partition(trace.rank_of(pair.0))),
        numbers("launch", list, |pair| i64::from(pair.0.0)),
        numbers("device_work", list, |pair| i64::from(pair.1.0)),
    ];
    Table { name: "launches", rows: list.len(), columns }
}

fn flows<'t>(trace: &'t Trace, made: &'t Texts<'t>) -> Table<'t> {
    let list = trace.flows();
    let columns = vec![
        small("rank", list, |flow| made.partition(trace.rank_of(flow.from))),
        numbers("from_event", list, |flow| i64::from(flow.from.0)),
        numbers("to_event", list, |flow| i64::from(flow.to.0)),
        texts("category", list, |flow| Some(trace.text(flow.category))),
    ];
    Table { name: "flows", rows: list.len(), columns }
}

fn stacks(trace: &Trace) -> Table<'_> {
    let of = |index: usize| trace.stacks().innermost(StackId(index as u32)).map(|(_, frame)| frame).unwrap_or_default();
    let text = move |name: &str, id: fn(gapless_trace::Frame) -> gapless_trace::StrId| {
        Column::optional(name, ColumnType::Text, move |group| {
            Values::texts(group.rows.clone().map(|index| Some(trace.text(id(of(index))))))
        })
    };
    let columns = vec![
        Column::new("stack", ColumnType::Int64, |group| Values::numbers(group.rows.clone().map(|index| index as i64))),
        Column::optional("parent", ColumnType::Int64, |group| {
            let parent = |index: usize| trace.stacks().parent(StackId(index as u32)).map(|parent| i64::from(parent.0));
            Values::optional(group.rows.clone().map(parent))
        }),
        text("function", |frame| frame.name),
        text("file", |frame| frame.file),
        text("module", |frame| frame.module),
        Column::new("line", ColumnType::Int64, move |group| {
            Values::numbers(group.rows.clone().map(|index| i64::from(of(index).line)))
        }),
    ];
    Table { name: "stacks", rows: trace.stacks().len(), columns }
}

fn event_stacks<'t>(trace: &'t Trace, made: &'t Texts<'t>) -> Table<'t> {
    let list = trace.event_stacks();
    let columns = vec![
        small("rank", list, |entry| made.partition(trace.rank_of(entry.event))),
        numbers("event", list, |entry| i64::from(entry.event.0)),
        numbers("stack", list, |entry| i64::from(entry.stack.0)),
        Column::new("weight", ColumnType::UInt64, |group| {
            Values::numbers(list.get(group.rows.clone()).unwrap_or_default().iter().map(|entry| entry.weight as i64))
        }),
    ];
    Table { name: "event_stacks", rows: list.len(), columns }
}

fn warnings<'t>(trace: &'t Trace, made: &'t Texts<'t>) -> Table<'t> {
    let list = made.warnings.as_slice();
    let columns = vec![
        texts("source", list, |warning| trace.source(warning.source).map(|source| source.path.as_str())),
        texts("kind", list, |warning| Some(warning.kind.id())),
        texts("severity", list, |warning| Some(warning.kind.severity().id())),
        Column::new("count", ColumnType::UInt64, |group| {
            Values::numbers(list.get(group.rows.clone()).unwrap_or_default().iter().map(|warning| warning.count as i64))
        }),
        optional("first_offset", list, |warning| {
            warning.offsets.first().and_then(|&offset| i64::try_from(offset).ok())
        }),
        texts("text", list, |warning| Some(warning.kind.text())),
        texts("detail", list, |warning| Some(warning.detail.as_str())),
    ];
    Table { name: "warnings", rows: list.len(), columns }
}
