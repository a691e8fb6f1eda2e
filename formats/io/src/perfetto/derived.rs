//! Tracks of what an analysis found, beside those of the trace: for viewers of the file. Reading the file back leaves them
//! out, since they are no part of the recording.

use std::io::Write;

use gapless_trace::{RankId, Span};
use perfetto_proto::{
    EventType, Message, SequenceFlags, TracePacket, TrackDescriptor, TrackEvent, trace_packet, track_event,
};

use super::encode::file_time;
use super::layout::Layout;
use crate::output::ExportError;

/// The packet sequence of these tracks, by which a reader knows them: `gapd`.
pub(super) const SEQUENCE: u32 = u32::from_be_bytes(*b"gapd");
/// Ids of tracks begin here, far from those of the trace.
const FIRST_UUID: u64 = (SEQUENCE as u64) << 32;
/// Category of their slices.
const CATEGORY: &str = "gapless.derived";

/// A track of what an analysis found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedTrack {
    /// The rank that it is about; `None` for the whole job.
    pub rank: Option<RankId>,
    /// Its name.
    pub name: String,
    /// Its slices, in any order: what overlaps comes to stand on rows of its own.
    pub slices: Vec<DerivedSlice>,
}

/// A stretch of time on such a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedSlice {
    /// When, on the clock of the trace.
    pub span: Span,
    /// Its name.
    pub name: String,
}

/// Writes the tracks. Gives the bytes written.
pub(super) fn write(
    tracks: &[DerivedTrack],
    layout: &Layout,
    (shift_ns, start): (i64, u64),
    out: &mut (dyn Write + Send),
) -> Result<u64, ExportError> {
    let mut writer = Writer { out, bytes: 0, start, is_first: true };
    let mut uuid = FIRST_UUID;
    for track in tracks {
        let of_rank = layout.rank_uuids.iter().find(|(rank, _)| track.rank == Some(*rank)).map(|(_, uuid)| *uuid);
        let mut slices: Vec<&DerivedSlice> = track.slices.iter().filter(|slice| !slice.span.is_empty()).collect();
        slices.sort_by_key(|slice| (slice.span.start, slice.span.end));
        // Rows on which nothing overlaps: a slice closes before the next one opens.
        let mut rows: Vec<Vec<&DerivedSlice>> = Vec::new();
        for slice in slices {
            let is_free =
                |row: &&mut Vec<&DerivedSlice>| row.last().is_none_or(|last| last.span.end <= slice.span.start);
            match rows.iter_mut().find(is_free) {
                Some(row) => row.push(slice),
                None => rows.push(vec![slice]),
            }
        }
        for row in rows {
            uuid += 1;
            writer.track(uuid, of_rank, &track.name)?;
            for slice in row {
                let time = |at: gapless_trace::Timestamp| file_time(at.nanos(), shift_ns);
                writer.event(time(slice.span.start), uuid, Some(&slice.name))?;
                writer.event(time(slice.span.end), uuid, None)?;
            }
        }
    }
    Ok(writer.bytes)
}

struct Writer<'w> {
    out: &'w mut (dyn Write + Send),
    bytes: u64,
    start: u64,
    is_first: bool,
}

impl Writer<'_> {
    fn packet(&mut self, time: u64, data: trace_packet::Data) -> Result<(), ExportError> {
        let is_first = std::mem::take(&mut self.is_first);
        let packet = TracePacket {
            timestamp: Some(time),
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: is_first.then_some(SequenceFlags::IncrementalStateCleared as u32),
            first_packet_on_sequence: is_first.then_some(true),
            data: Some(data),
            ..TracePacket::default()
        };
        let message = perfetto_proto::Trace { packet: vec![packet] }.encode_to_vec();
        self.bytes += message.len() as u64;
        Ok(self.out.write_all(&message)?)
    }

    fn track(&mut self, uuid: u64, parent: Option<u64>, name: &str) -> Result<(), ExportError> {
        let descriptor = TrackDescriptor {
            uuid: Some(uuid),
            parent_uuid: parent,
            name: Some(name.to_owned()),
            ..TrackDescriptor::default()
        };
        self.packet(self.start, trace_packet::Data::TrackDescriptor(Box::new(descriptor)))
    }

    /// A begin with a name, or an end.
    fn event(&mut self, time: u64, uuid: u64, name: Option<&str>) -> Result<(), ExportError> {
        let kind = if name.is_some() { EventType::SliceBegin } else { EventType::SliceEnd };
        let event = TrackEvent {
            r#type: Some(kind as i32),
            track_uuid: Some(uuid),
            name_field: name.map(|name| track_event::NameField::Name(name.to_owned())),
            categories: name.map(|_| CATEGORY.to_owned()).into_iter().collect(),
            ..TrackEvent::default()
        };
        self.packet(time, trace_packet::Data::TrackEvent(Box::new(event)))
    }
}
