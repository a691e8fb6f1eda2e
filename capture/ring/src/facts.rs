//! Facts about one record, gathered before it is written so that all are published together.

use std::mem::MaybeUninit;

use crate::layout::{AttrType, Kind, MAX_EXTRA, RECORD_MARK, Record};

/// Numbers and blobs that one record may have.
const MAX_ATTRS: usize = 12;
const MAX_BLOBS: usize = 6;

/// Bytes under a key.
#[derive(Clone, Copy)]
struct Blob<'a> {
    key: u32,
    domain: u32,
    bytes: &'a [u8],
}

impl Blob<'_> {
    fn extra(&self) -> usize {
        self.bytes.len().div_ceil(size_of::<Record>())
    }
}

/// Facts in the making. The bytes of blobs are borrowed until they are written. What does not fit is left out.
pub struct Facts<'a> {
    attrs: [MaybeUninit<(u32, AttrType, u64)>; MAX_ATTRS],
    blobs: [MaybeUninit<Blob<'a>>; MAX_BLOBS],
    attrs_len: usize,
    blobs_len: usize,
    /// Slots that all of them take.
    slots: u64,
}

impl Default for Facts<'_> {
    #[inline(always)]
    fn default() -> Self {
        Facts {
            attrs: [MaybeUninit::uninit(); MAX_ATTRS],
            blobs: [MaybeUninit::uninit(); MAX_BLOBS],
            attrs_len: 0,
            blobs_len: 0,
            slots: 0,
        }
    }
}

impl<'a> Facts<'a> {
    /// Whether there are none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.slots == 0
    }

    /// A number, a string's number or a colour under a key (a string's number).
    #[inline(always)]
    pub fn attr(&mut self, key: u32, kind: AttrType, payload: u64) {
        if let Some(place) = self.attrs.get_mut(self.attrs_len) {
            place.write((key, kind, payload));
            self.attrs_len += 1;
            self.slots += 1;
        }
    }

    /// Bytes under a key, in a domain (a string's number, 0 for none). All of them or none: half a structure is of no
    /// use to who decodes it. At most 8,160.
    pub fn blob(&mut self, key: u32, domain: u32, bytes: &'a [u8]) {
        let blob = Blob { key, domain, bytes };
        if blob.extra() > MAX_EXTRA {
            return;
        }
        if let Some(place) = self.blobs.get_mut(self.blobs_len) {
            place.write(blob);
            self.blobs_len += 1;
            self.slots += 1 + blob.extra() as u64;
        }
    }

    /// Takes all back.
    pub fn clear(&mut self) {
        (self.attrs_len, self.blobs_len, self.slots) = (0, 0, 0);
    }

    pub(crate) fn records(&self) -> u64 {
        (self.attrs_len + self.blobs_len) as u64
    }

    pub(crate) fn slots(&self) -> u64 {
        self.slots
    }

    /// Hands over every slot in order.
    #[inline(always)]
    pub(crate) fn write(&self, ticks: u64, mut slot: impl FnMut(Record)) {
        for attr in self.attrs.get(..self.attrs_len).unwrap_or_default() {
            // SAFETY: `attr` has written all below `attrs_len`.
            let (name, kind, payload) = unsafe { attr.assume_init() };
            let kind_of_record = Kind::Attr as u8;
            let flags = RECORD_MARK;
            slot(Record { ticks, kind: kind_of_record, class: kind as u8, flags, name, payload, ..Record::default() });
        }
        for blob in self.blobs.get(..self.blobs_len).unwrap_or_default() {
            // SAFETY: `blob` has written all below `blobs_len`.
            let blob = unsafe { blob.assume_init() };
            slot(Record {
                ticks,
                kind: Kind::Blob as u8,
                extra: blob.extra() as u8,
                flags: RECORD_MARK,
                name: blob.key,
                domain: blob.domain,
                payload: blob.bytes.len() as u64,
                ..Record::default()
            });
            for chunk in blob.bytes.chunks(size_of::<Record>()) {
                let mut bytes = Record::default();
                // SAFETY: a chunk is at most as long as a record, for which any bytes are valid.
                unsafe { std::ptr::copy_nonoverlapping(chunk.as_ptr(), (&raw mut bytes).cast(), chunk.len()) };
                slot(bytes);
            }
        }
    }
}
