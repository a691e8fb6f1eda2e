//! Arguments of an event while it is scanned: the few that analysis needs for every event are picked out, the rest
//! is skipped.

use gapless_trace::{EventKind, WarningKind};

use super::category::issues_collective;
use super::event::{EventParser, Fields, NO_ID, seen};
use super::pieces::Text;
use super::resync::{args_end_before, next_event};
use super::scan::{Cursor, RawStr};

/// Arguments that analysis needs for every event.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    pub correlation: Option<u64>,
    pub external: Option<u64>,
    pub bytes: Option<u64>,
    pub wide: bool,
    pub collective: Option<RawStr<'a>>,
    pub dtype: Option<RawStr<'a>>,
    pub group: Option<RawStr<'a>>,
    pub group_desc: Option<RawStr<'a>>,
    pub in_elems: Option<u64>,
    pub out_elems: Option<u64>,
    pub group_size: Option<u64>,
    pub seq: Option<u64>,
    pub allocated: Option<u64>,
    pub reserved: Option<u64>,
    pub device_type: Option<u64>,
    pub device: Option<u64>,
}

/// Which arguments are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    External,
    Launch,
    Everything,
}

impl Need {
    #[inline(always)]
    fn of(kind: EventKind, fields: &Fields<'_>, name: &str) -> Self {
        if fields.seen & (seen::PH | seen::CAT | seen::NAME) != seen::PH | seen::CAT | seen::NAME {
            // Arguments before the category or without one: any of them may matter.
            return if matches!(fields.phase, b'C' | b'M') { Self::Nothing } else { Self::Everything };
        }
        match (fields.phase, kind) {
            (b'X', EventKind::PythonFunction) | (b'C' | b'M' | b's' | b't' | b'f', _) => Self::Nothing,
            (b'X', EventKind::Operator | EventKind::Annotation) if !issues_collective(name) => Self::External,
            (b'X', EventKind::RuntimeCall | EventKind::DriverCall) => Self::Launch,
            _ => Self::Everything,
        }
    }
}

impl<'a> EventParser<'a> {
    /// The arguments: what analysis needs is picked out, the rest is skipped.
    #[inline(always)]
    pub(super) fn args(&mut self, fields: &mut Fields<'a>) -> Option<()> {
        let from = self.cursor.at;
        if self.cursor.peek() != b'{' {
            self.cursor.skip_value()?;
            if self.cursor.bytes.get(from..self.cursor.at) != Some(b"null") {
                self.warn(WarningKind::ArgsNotObject, from);
            }
            return Some(());
        }
        self.cursor.at += 1;
        let kind = self.categories.get(fields.category).map_or(EventKind::Other, |category| category.kind);
        let need = Need::of(kind, fields, self.chunk.strings.get(fields.name));
        let ok =
            if need == Need::Nothing { self.cursor.skip_object_rest() } else { self.pick(need, &mut fields.wanted) };
        let closes = |cursor: &Cursor<'a>| {
            let mut after = cursor.clone();
            after.skip_space();
            matches!(after.peek(), b',' | b'}')
        };
        if ok.is_none() || !closes(&self.cursor) {
            if self.text == Text::Partial || self.cursor.is_too_deep {
                return None;
            }
            // A quote that is not escaped turns the rest inside out: take the last braces before the next event.
            let bytes = self.cursor.bytes;
            let next = next_event(bytes, from).or_else(|| self.list_end_after(from))?;
            self.cursor.at = args_end_before(bytes, from, next)?;
            self.warn(WarningKind::UnescapedQuote, from);
        }
        fields.args = from..self.cursor.at;
        Some(())
    }

    /// Reads keys until all that `need` names are found, then skips to the end of the object.
    #[inline(always)]
    fn pick(&mut self, need: Need, wanted: &mut Wanted<'a>) -> Option<()> {
        loop {
            self.cursor.skip_space();
            match self.cursor.peek() {
                b'}' => {
                    self.cursor.at += 1;
                    return Some(());
                }
                b',' => {
                    self.cursor.at += 1;
                    continue;
                }
                b'"' => {}
                _ => return None,
            }
            let key = self.cursor.string()?.text;
            self.cursor.skip_space();
            if !self.cursor.take(b':') {
                return None;
            }
            self.cursor.skip_space();
            self.pick_value(key, wanted)?;
            let done = match need {
                Need::External => wanted.external.is_some(),
                Need::Launch => wanted.external.is_some() && wanted.correlation.is_some(),
                Need::Everything | Need::Nothing => false,
            };
            if done {
                return self.cursor.skip_object_rest();
            }
        }
    }

    #[inline(always)]
    fn pick_value(&mut self, key: &[u8], wanted: &mut Wanted<'a>) -> Option<()> {
        let number = match key {
            b"correlation" => &mut wanted.correlation,
            b"External id" | b"external id" => &mut wanted.external,
            b"bytes" => &mut wanted.bytes,
            b"In msg nelems" => &mut wanted.in_elems,
            b"Out msg nelems" => &mut wanted.out_elems,
            b"Group size" => &mut wanted.group_size,
            b"Seq" | b"seq" => &mut wanted.seq,
            b"Total Allocated" => &mut wanted.allocated,
            b"Total Reserved" => &mut wanted.reserved,
            b"Device Type" => &mut wanted.device_type,
            b"Device Id" => &mut wanted.device,
            b"Collective name" => return self.pick_text(|wanted| &mut wanted.collective, wanted),
            b"dtype" => return self.pick_text(|wanted| &mut wanted.dtype, wanted),
            b"Process Group Name" => return self.pick_text(|wanted| &mut wanted.group, wanted),
            b"Process Group Description" => return self.pick_text(|wanted| &mut wanted.group_desc, wanted),
            _ => return self.cursor.skip_value(),
        };
        let from = self.cursor.at;
        *number = self.cursor.unsigned()?;
        let is_wide = match number {
            Some(value) => *value >= u64::from(NO_ID),
            None => self.cursor.bytes.get(from..self.cursor.at).is_some_and(|text| text.iter().all(u8::is_ascii_digit)),
        };
        wanted.wide |= is_wide && matches!(key, b"correlation" | b"External id" | b"external id");
        Some(())
    }

    fn pick_text(
        &mut self,
        field: for<'w> fn(&'w mut Wanted<'a>) -> &'w mut Option<RawStr<'a>>,
        wanted: &mut Wanted<'a>,
    ) -> Option<()> {
        if self.cursor.peek() != b'"' {
            return self.cursor.skip_value();
        }
        *field(wanted) = Some(self.cursor.string()?);
        Some(())
    }
}
