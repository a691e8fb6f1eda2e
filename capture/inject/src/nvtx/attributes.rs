//! `nvtxEventAttributes_t`: name, category, colour and payload of an event.

use std::ffi::c_void;

use gapless_ring::facts::Facts;
use gapless_ring::layout::{AttrType, Class, Record};
use gapless_ring::names::Registered;
use gapless_ring::writer::Thread;

use super::domains::{self, Domain};
use super::payload::{self, PayloadData};
use super::text;
use crate::classify;

/// `nvtxEventAttributes_t`, version 2. The members of its unions are read by their types.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Attributes {
    version: u16,
    size: u16,
    category: u32,
    color_type: i32,
    color: u32,
    payload_type: u32,
    /// Number of extended payloads.
    extended: i32,
    payload: u64,
    message: Message,
}

/// The type of a message and the message, as in attributes of events and of resources.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Message {
    kind: i32,
    text: usize,
}

const _: () = assert!(size_of::<Attributes>() == 48);

/// Where fields end that say something: types with their values. Of a short structure only these are read.
const FIELD_ENDS: [usize; 5] = [4, 8, 16, 32, 48];

const MESSAGE_ASCII: i32 = 1;
const MESSAGE_WIDE: i32 = 2;
const MESSAGE_REGISTERED: i32 = 3;
const COLOR_ARGB: i32 = 1;
const PAYLOAD_EXTENDED: u32 = 0xDFBD_0009;

static COLOR: Registered = Registered::fixed("color");
static PAYLOAD: Registered = Registered::fixed("payload");
static SEQUENCE: Registered = Registered::fixed("Sequence number");
static OP_ID: Registered = Registered::fixed("op_id");
static SIZES: Registered = Registered::fixed("Input Dims");
static INPUTS: Registered = Registered::fixed("input_op_ids");

impl Attributes {
    /// What the caller's structure holds: never more than its `size`.
    ///
    /// # Safety
    /// `attributes` is null or points to a structure of at least four bytes and of as many as its `size` says.
    #[inline(always)]
    pub unsafe fn read(attributes: *const Attributes) -> Attributes {
        if attributes.is_null() {
            return Attributes::default();
        }
        // SAFETY: by this function's own contract; the caller's structure may be packed.
        unsafe {
            let size = usize::from((&raw const (*attributes).size).read_unaligned());
            if size >= size_of::<Attributes>() {
                return attributes.read_unaligned();
            }
            let whole = FIELD_ENDS.into_iter().filter(|end| *end <= size).max().unwrap_or(0);
            let mut read = Attributes::default();
            std::ptr::copy_nonoverlapping(attributes.cast::<u8>(), (&raw mut read).cast::<u8>(), whole);
            read
        }
    }
}

impl Message {
    /// The message of an event that has nothing else.
    pub fn ascii(text: *const std::ffi::c_char) -> Message {
        Message { kind: MESSAGE_ASCII, text: text as usize }
    }

    /// The same for a wide string.
    pub fn wide(text: *const libc::wchar_t) -> Message {
        Message { kind: MESSAGE_WIDE, text: text as usize }
    }

    /// Name and class go into the record, what was cut off into the facts.
    ///
    /// # Safety
    /// The message is of its kind.
    #[inline(always)]
    pub unsafe fn tell(&self, thread: &mut Thread, record: &mut Record, facts: &mut Facts) {
        if self.text == 0 {
            return;
        }
        // SAFETY: by this function's own contract.
        unsafe {
            match self.kind {
                MESSAGE_ASCII => name(thread, text::bytes(self.text as *const _), record, facts),
                MESSAGE_REGISTERED => {
                    if let Some(registered) = (self.text as *const Registered).as_ref() {
                        record.name = thread.registered(registered);
                    }
                }
                // PyTorch's numbered names are never wide.
                MESSAGE_WIDE => record.name = thread.name(text::wide(self.text as *const _).as_bytes()),
                _ => {}
            }
        }
    }

    /// The text, for what is named once.
    ///
    /// # Safety
    /// The message is of its kind.
    pub unsafe fn text(&self) -> Vec<u8> {
        // SAFETY: by this function's own contract.
        unsafe {
            match self.kind {
                MESSAGE_ASCII => text::bytes(self.text as *const _).to_vec(),
                MESSAGE_WIDE => text::wide(self.text as *const _).into_bytes(),
                MESSAGE_REGISTERED => (self.text as *const Registered)
                    .as_ref()
                    .map_or_else(Vec::new, |registered| registered.bytes().to_vec()),
                _ => Vec::new(),
            }
        }
    }
}

#[inline(always)]
fn name<'a>(thread: &mut Thread, message: &'a [u8], record: &mut Record, facts: &mut Facts<'a>) {
    let cut = text::cut(message);
    record.name = thread.name(cut.name);
    if cut.any() {
        tell_cut(thread, &cut, record, facts);
    }
}

#[inline(never)]
fn tell_cut<'a>(thread: &mut Thread, cut: &text::Cut<'a>, record: &mut Record, facts: &mut Facts<'a>) {
    if let Some(sequence) = cut.sequence {
        facts.attr(thread.registered(&SEQUENCE), AttrType::Signed, sequence as u64);
    }
    if let Some(op_id) = cut.op_id {
        // Only PyTorch numbers its ranges so.
        record.class = classify::torch_range(cut.name) as u8;
        facts.attr(thread.registered(&OP_ID), AttrType::Unsigned, op_id);
    }
    if let Some(sizes) = cut.sizes {
        facts.blob(thread.registered(&SIZES), 0, sizes);
    }
    if let Some(inputs) = cut.inputs {
        facts.blob(thread.registered(&INPUTS), 0, inputs);
    }
}

/// Fills a record and its facts from the attributes of an event.
///
/// # Safety
/// What the attributes point to is as their types say.
#[inline(always)]
pub(super) unsafe fn describe(
    thread: &mut Thread,
    domain: Option<&'static Domain>,
    attributes: &Attributes,
    record: &mut Record,
    facts: &mut Facts,
) {
    record.class = Class::Annotation as u8;
    record.domain = domains::number(thread, domain);
    // SAFETY: by this function's own contract.
    unsafe { attributes.message.tell(thread, record, facts) };
    record.category = domains::category_number(thread, domain, attributes.category);
    if attributes.color_type == COLOR_ARGB {
        facts.attr(thread.registered(&COLOR), AttrType::Color, u64::from(attributes.color));
    }
    if attributes.payload_type != 0 {
        // SAFETY: by this function's own contract.
        unsafe { tell_payload(thread, domain, attributes, record, facts) };
    }
}

#[inline(never)]
unsafe fn tell_payload(
    thread: &mut Thread,
    domain: Option<&'static Domain>,
    attributes: &Attributes,
    record: &mut Record,
    facts: &mut Facts,
) {
    let bits = attributes.payload;
    // Members of a union begin at its first byte.
    let low = bits.to_ne_bytes();
    let [a, b, c, d, ..] = low;
    let word = [a, b, c, d];
    let (kind, value) = match attributes.payload_type {
        1 => (AttrType::Unsigned, bits),
        2 => (AttrType::Signed, bits),
        3 => (AttrType::Float, bits),
        4 => (AttrType::Unsigned, u64::from(u32::from_ne_bytes(word))),
        5 => (AttrType::Signed, i64::from(i32::from_ne_bytes(word)) as u64),
        6 => (AttrType::Float, f64::from(f32::from_ne_bytes(word)).to_bits()),
        PAYLOAD_EXTENDED => {
            let data = bits as usize as *const PayloadData;
            let count = usize::try_from(attributes.extended).unwrap_or(0);
            // SAFETY: by this function's own contract.
            unsafe { payload::tell(thread, domain, data, count, record, facts) };
            return;
        }
        _ => return,
    };
    facts.attr(thread.registered(&PAYLOAD), kind, value);
}

/// `nvtxResourceAttributes_t`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Resource {
    version: u16,
    size: u16,
    pub kind: i32,
    pub identifier: u64,
    pub message: Message,
}

/// `NVTX_RESOURCE_TYPE_GENERIC_THREAD_NATIVE`.
pub(super) const RESOURCE_THREAD: i32 = 1 << 16 | 3;

impl Resource {
    /// What the caller's structure holds, if it holds all.
    ///
    /// # Safety
    /// As for [`Attributes::read`].
    pub unsafe fn read(resource: *const c_void) -> Option<Resource> {
        let resource = resource.cast::<Resource>();
        if resource.is_null() {
            return None;
        }
        // SAFETY: by this function's own contract.
        unsafe {
            let size = usize::from((&raw const (*resource).size).read_unaligned());
            (size >= size_of::<Resource>()).then(|| resource.read_unaligned())
        }
    }
}
