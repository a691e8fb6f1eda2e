//! What was odd or lost on import, counted by reason, with the place of the first few.

use std::fmt;

use crate::SourceId;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Note,
    /// Read in a changed form.
    Repaired,
    /// Something was dropped.
    Lost,
}

impl Severity {
    /// A stable name.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Repaired => "repaired",
            Self::Lost => "lost",
        }
    }
}

macro_rules! warning_kinds {
    ($($name:ident, $severity:ident, $id:literal, $text:literal;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum WarningKind {
            $(#[doc = $text] $name,)*
        }

        impl WarningKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// How bad it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }

            /// A stable name.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// One line for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

warning_kinds! {
    Truncated, Lost, "truncated", "the file ends in the middle of an event; that event is lost, all before it are kept";
    MissingEnd, Note, "missing_end", "the closing ]} is missing (the job was probably killed); every event is kept";
    MalformedEvent, Lost, "malformed_event", "text that is not an event was skipped up to the next event";
    TrailingText, Lost, "trailing_text", "text after the end of the events was ignored";
    EventNotObject, Lost, "event_not_object", "a value among the events is not an object and was skipped";
    EmptyEvent, Note, "empty_event", "an object without any field stands among the events (some writers end with one)";
    NoPhase, Lost, "no_phase", "an event without a phase (\"ph\") was skipped";
    UnknownPhase, Lost, "unknown_phase", "an event with a phase that carries no timeline data was skipped";
    NoTimestamp, Lost, "no_timestamp", "an event without a usable timestamp was dropped";
    TimeOutOfRange, Lost, "time_out_of_range", "an event whose time does not fit 64-bit nanoseconds was dropped";
    NoDuration, Repaired, "no_duration", "a complete event without a usable duration is kept with duration 0";
    NegativeDuration, Repaired, "negative_duration", "a negative duration was read as 0";
    DurationOutOfRange, Repaired, "duration_out_of_range", "a duration that does not fit 64-bit nanoseconds was cut";
    SuspiciousTime, Note, "suspicious_time", "an event lies or lasts far outside the rest of the trace; a clock went wrong while recording";
    InvalidUtf8, Repaired, "invalid_utf8", "a string is not UTF-8; the bad bytes are shown as �";
    ControlCharacter, Repaired, "control_character", "a string holds a raw control character; JSON forbids it, it was kept";
    BadEscape, Repaired, "bad_escape", "a string holds an escape that JSON does not know; it was kept as it stands";
    UnescapedQuote, Repaired, "unescaped_quote", "a string holds a quote that is not escaped; it was read as part of the string";
    TrailingComma, Repaired, "trailing_comma", "a comma stands before a closing bracket";
    NotANumber, Repaired, "not_a_number", "a number is NaN or infinite; it was read as missing";
    DuplicateKey, Repaired, "duplicate_key", "a key stands twice in one event; the last one counts";
    WideId, Note, "wide_id", "an id does not fit 32 bits; it is kept in the arguments but joins nothing";
    EndWithoutBegin, Lost, "end_without_begin", "an end (\"E\" or \"e\") has no begin";
    BeginWithoutEnd, Repaired, "begin_without_end", "a begin (\"B\" or \"b\") has no end; the event lasts until the end of its track";
    FlowWithoutStart, Note, "flow_without_start", "a flow ends that never began (normal for calls without device work)";
    FlowWithoutEnd, Note, "flow_without_end", "a flow begins that never ends";
    FlowUnbound, Lost, "flow_unbound", "a flow point lies on no event";
    DeviceWorkWithoutLaunch, Note, "device_work_without_launch", "device work whose launch is not in the recording (launched before it began)";
    DeviceWorkBeforeLaunch, Note, "device_work_before_launch", "device work that begins before its launch call: device and host clocks disagree";
    ArgsNotObject, Repaired, "args_not_object", "the arguments of an event are not an object and cannot be shown";
    ArgsTooLong, Repaired, "args_too_long", "the arguments of an event are longer than 16 MiB and cannot be shown";
    TextTooLong, Lost, "text_too_long", "a text or an entry is longer than the limit and what follows it was not read; --limit string=SIZE raises it";
    HeaderUnreadable, Lost, "header_unreadable", "a header field could not be read and was ignored";
    CounterNotNumeric, Lost, "counter_not_numeric", "a counter value is not a number";
    MixedClocks, Note, "mixed_clocks", "some ranks name their clock base and some do not; they cannot be compared in time";
    GzipDamaged, Lost, "gzip_damaged", "the compressed file is damaged; everything before the damage is kept";
    RankAssumed, Note, "rank_assumed", "the file does not say its rank; it was assumed";
    CompanionLeftOut, Lost, "companion_left_out", "a rank has more than 15 further files, or a text beyond 64 GiB; this file was left out";
    JoinMissed, Note, "join_missed", "an operator of the execution trace has no event in the trace of its rank";
    WindowUnmatched, Note, "window_unmatched", "an operator is only in the detail window, or only in the recording of the same time; it is kept as it is";
    FractionCut, Repaired, "fraction_cut", "a count has a fraction; it was cut to a whole number";
    NoTimes, Note, "no_times", "the file has no times; positions show the order of its entries, lengths are nominal";
    PacketLost, Lost, "packet_lost", "the recorder lost data before this packet";
    UnknownPacket, Note, "unknown_packet", "a kind of packet or record that has no place in the model was skipped";
    UnknownId, Repaired, "unknown_id", "an interned id was never defined; the number stands in its place";
    NoClock, Lost, "no_clock", "a packet counts time on a clock that was never related to the others";
    EntrySkipped, Note, "entry_skipped", "an entry of the archive is no trace and was skipped";
    EntryUnreadable, Lost, "entry_unreadable", "an entry of the archive cannot be read (encrypted, or compressed in a way that is not known)";
    ArchiveDamaged, Lost, "archive_damaged", "the archive is damaged or cut off; everything before the damage is kept";
    TooDeep, Lost, "too_deep", "an event holds values nested deeper than the limit and was skipped; --limit nesting=N raises it";
    UnknownVersion, Note, "unknown_version", "the file is of a version that this reader does not know; what it knows of it was read";
    EndAssumed, Note, "end_assumed", "the file says how long a call took, not when; it is shown to end when its record was written";
    TableMissing, Note, "table_missing", "a table or column that this reader knows is not in the file";
    SumOfEvents, Lost, "sum_of_events", "an entry sums up several events without their times; it has no place on a time line";
    RecorderMessage, Note, "recorder_message", "the recorder itself reports an error or a warning";
    TableDamaged, Lost, "table_damaged", "pages of a table are damaged or missing; the rows before the damage are kept";
    TableLeftOut, Lost, "table_left_out", "a table or column that is computed, not stored, was not read: it would run what the file says";
    MalformedPacket, Lost, "malformed_packet", "bytes that are no packet, or a packet whose fields are broken, were skipped";
    NoSequence, Lost, "no_sequence", "a track event without a packet sequence was dropped";
    StateLost, Lost, "state_lost", "a packet that needs the names told before it was dropped: they were lost, or never told";
    UndeclaredTrack, Repaired, "undeclared_track", "an event lies on a track that the file does not describe; its number stands for its name";
    UndeclaredCounter, Lost, "undeclared_counter", "a value of a counter that the file does not describe was dropped";
    FactsUnused, Repaired, "facts_unused", "the file was written by Gapless and changed since; it is read like any other trace of its format";
    RowsLost, Lost, "rows_lost", "a stretch of a table is damaged, or a row lacks what makes it an event; these rows are lost";
    StepsPlaced, Note, "steps_placed", "the file counts time from the start of each step; the steps stand one after the other";
    MetadataUnused, Note, "metadata_unused", "a metadata event that has no place in the model was skipped";
}

/// One reason, counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What happened.
    pub kind: WarningKind,
    /// In which source.
    pub source: SourceId,
    /// How often.
    pub count: u64,
    /// Offset in the (uncompressed) source of the first few, ascending.
    pub offsets: Vec<u64>,
    /// More about the first one, if there is more to say.
    pub detail: String,
}

/// Places kept per reason.
const KEPT_OFFSETS: usize = 8;

/// Warnings of a trace, one entry per reason and source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warnings {
    entries: Vec<Warning>,
}

impl Warnings {
    /// Counts one.
    pub fn add(&mut self, kind: WarningKind, source: SourceId, offset: Option<u64>, detail: &str) {
        self.add_many(kind, source, 1, offset, detail);
    }

    /// Counts several of one reason, with the place of the first.
    pub fn add_many(&mut self, kind: WarningKind, source: SourceId, count: u64, offset: Option<u64>, detail: &str) {
        if count == 0 {
            return;
        }
        self.merge_entry(Warning {
            kind,
            source,
            count,
            offsets: offset.into_iter().collect(),
            detail: detail.to_owned(),
        });
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Self) {
        for entry in other.entries {
            self.merge_entry(entry);
        }
    }

    fn merge_entry(&mut self, entry: Warning) {
        let found = self.entries.iter_mut().find(|old| old.kind == entry.kind && old.source == entry.source);
        let Some(old) = found else {
            self.entries.push(entry);
            return;
        };
        old.count += entry.count;
        // The detail belongs to the first place.
        let comes_first = entry.offsets.first().is_some_and(|new| old.offsets.first().is_none_or(|first| new < first));
        if old.detail.is_empty() || (comes_first && !entry.detail.is_empty()) {
            old.detail = entry.detail;
        }
        if old.offsets.len() < KEPT_OFFSETS || comes_first {
            old.offsets.extend(entry.offsets);
            old.offsets.sort_unstable();
            old.offsets.truncate(KEPT_OFFSETS);
        }
    }

    /// All warnings, worst first, then by source and kind.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Warning> {
        let mut all: Vec<_> = self.entries.iter().collect();
        all.sort_by_key(|entry| (std::cmp::Reverse(entry.kind.severity()), entry.source, entry.kind));
        all
    }

    /// How often `kind` was counted over all sources.
    #[must_use]
    pub fn count(&self, kind: WarningKind) -> u64 {
        self.entries.iter().filter(|entry| entry.kind == kind).map(|entry| entry.count).sum()
    }

    /// How many things were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.kind.severity() == Severity::Lost).map(|entry| entry.count).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn set_source(&mut self, source: SourceId) {
        for entry in &mut self.entries {
            entry.source = source;
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.count, self.kind.text())?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        if let Some(first) = self.offsets.first() {
            write!(f, ", first at byte {first}")?;
        }
        Ok(())
    }
}
