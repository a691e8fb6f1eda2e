//! Where things are in the file: planes, their lines and tables, the stretches of events. Nothing is decoded twice.

use std::borrow::Cow;

use gapless_trace::{SourceId, WarningKind, Warnings};
use rayon::prelude::*;

use super::kinds::{LineKind, PlaneKind};
use super::message::{Fields, Slice, Value};
use super::tables::{StatValue, Stretch, Tables, read_stat};

/// Bytes of events that one thread takes at a time.
const PIECE_BYTES: usize = 512 << 10;

/// The top level.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// Planes, in the order of the file.
    pub planes: Vec<Plane>,
    /// What the recorder reports: errors, then warnings.
    pub messages: Vec<Stretch>,
    /// Hosts that were recorded.
    pub hosts: Vec<Stretch>,
}

/// A plane: an own space of ids.
#[derive(Debug)]
pub(super) struct Plane {
    /// Its name.
    pub name: Stretch,
    /// What it shows.
    pub kind: PlaneKind,
    /// Where it stands.
    pub place: Stretch,
    /// Its lines that have events.
    pub lines: Vec<Line>,
    /// What its ids mean.
    pub tables: Tables,
    /// Its stats.
    pub stats: Vec<Stretch>,
}

/// A line of a plane.
#[derive(Debug)]
pub(super) struct Line {
    /// Its id. Lines of a plane with one id are one line.
    pub id: i64,
    /// The name that it is shown with.
    pub name: Stretch,
    /// What it shows.
    pub kind: LineKind,
    /// What its events count from, in ns.
    pub timestamp_ns: i64,
    /// Stretches of its events, each between events.
    pub pieces: Vec<Stretch>,
    /// Number of its events.
    pub events: u64,
}

impl Space {
    /// Finds everything in `file`. O(fields outside events); parallel over planes and lines.
    pub fn new(file: &[u8], warnings: &mut Warnings) -> Self {
        let mut space = Self::default();
        let mut planes = Vec::new();
        let mut fields = Fields::new(Slice::new(file, 0));
        for field in fields.by_ref() {
            match field {
                (1, Value::Bytes(plane)) => planes.push(plane),
                (2 | 3, Value::Bytes(message)) => space.messages.push(message.into()),
                (4, Value::Bytes(host)) => space.hosts.push(host.into()),
                _ => {}
            }
        }
        if let Some(at) = fields.damage() {
            let kind = if planes.last().is_some_and(|plane| !plane.is_whole) {
                WarningKind::Truncated
            } else {
                WarningKind::TrailingText
            };
            warnings.add(kind, SourceId(0), Some(at as u64), "");
        }
        let found: Vec<_> = planes.into_par_iter().map(|plane| Plane::new(file, plane)).collect();
        for (plane, more) in found {
            space.planes.push(plane);
            warnings.merge(more);
        }
        space
    }
}

/// Counts the damage of a message, unless it is the end of a file that is cut, which is counted where it was found.
fn note_damage(warnings: &mut Warnings, message: Slice<'_>, file_len: usize, damage: Option<usize>, what: &str) {
    if let Some(at) = damage
        && (message.is_whole || message.end() != file_len)
    {
        warnings.add(WarningKind::MalformedEvent, SourceId(0), Some(at as u64), what);
    }
}

impl Plane {
    fn new(file: &[u8], place: Slice<'_>) -> (Self, Warnings) {
        let mut warnings = Warnings::default();
        let (mut name, mut lines, mut types, mut stat_types, mut stats) =
            (Stretch::default(), vec![], vec![], vec![], vec![]);
        let mut fields = Fields::new(place);
        for field in fields.by_ref() {
            match field {
                (2, Value::Bytes(text)) => name = text.into(),
                // A line without a single byte has no events.
                (3, Value::Bytes(line)) if !line.bytes.is_empty() => lines.push(line),
                (4, Value::Bytes(entry)) => types.push(entry.into()),
                (5, Value::Bytes(entry)) => stat_types.push(entry.into()),
                (6, Value::Bytes(stat)) => stats.push(stat.into()),
                _ => {}
            }
        }
        note_damage(&mut warnings, place, file.len(), fields.damage(), "in a plane");
        let kind = PlaneKind::of(&name.beginning(file));
        let tables = Tables::new(file, &stat_types, &types, &kind);
        let found: Vec<_> = lines.into_par_iter().filter_map(|line| Line::new(file, line, &kind)).collect();
        let mut lines = Vec::with_capacity(found.len());
        for (line, more) in found {
            lines.extend(line);
            warnings.merge(more);
        }
        (Self { name, kind, place: place.into(), lines, tables, stats }, warnings)
    }

    /// Its name, as text.
    pub fn name<'a>(&self, file: &'a [u8]) -> Cow<'a, str> {
        self.name.text(file)
    }

    /// Name and value of each of its stats.
    pub fn stats<'a>(&'a self, file: &'a [u8]) -> impl Iterator<Item = (&'a [u8], StatValue<'a>)> {
        self.stats.iter().map(move |stat| {
            let (id, value) = read_stat(stat.of(file));
            (self.tables.stats.get(id).map(|stat| stat.name.of(file).bytes).unwrap_or_default(), value)
        })
    }
}

impl Line {
    /// Reads the line's own fields and passes over its events. Nothing at all where it has no events and no damage.
    fn new(file: &[u8], place: Slice<'_>, plane: &PlaneKind) -> Option<(Option<Self>, Warnings)> {
        let mut warnings = Warnings::default();
        let (mut name, mut display_name) = (Stretch::default(), Stretch::default());
        let mut line = Self { id: 0, name, kind: LineKind::Custom, timestamp_ns: 0, pieces: Vec::new(), events: 0 };
        let mut piece: Option<Stretch> = None;
        let mut fields = Fields::new(place);
        while let Some(field) = fields.next() {
            match field {
                (1, Value::Varint(id)) => line.id = id as i64,
                (2, Value::Bytes(text)) => name = text.into(),
                (11, Value::Bytes(text)) => display_name = text.into(),
                (3, Value::Varint(time)) => line.timestamp_ns = time as i64,
                (4, Value::Bytes(event)) if event.is_whole => {
                    line.events += 1;
                    let start = piece.map_or(fields.last_start(), |piece| piece.at);
                    let grown = Stretch { at: start, len: event.end() - start };
                    if grown.len >= PIECE_BYTES {
                        line.pieces.push(grown);
                        piece = None;
                    } else {
                        piece = Some(grown);
                    }
                }
                _ => {}
            }
        }
        line.pieces.extend(piece);
        note_damage(&mut warnings, place, file.len(), fields.damage(), "in a line");
        if line.events == 0 && warnings.is_empty() {
            return None;
        }
        line.kind = LineKind::of(plane, &name.beginning(file));
        line.name = if display_name.len > 0 { display_name } else { name };
        Some(((line.events > 0).then_some(line), warnings))
    }
}
