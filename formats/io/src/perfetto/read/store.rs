//! The bytes of a trace under one range of offsets: the file, then what was inflated from it.

use std::sync::Arc;

use gapless_trace::ArgsLoc;

use crate::mapped::Bytes;

/// Bytes by offset.
#[derive(Debug)]
pub(super) struct Store {
    file: Arc<Bytes>,
    /// Inflated packets with the offset of their first byte, ascending.
    blocks: Vec<(u64, Vec<u8>)>,
    end: u64,
}

impl Store {
    /// The bytes of `file`.
    pub fn new(file: Arc<Bytes>) -> Self {
        let end = file.len() as u64;
        Self { file, blocks: Vec::new(), end }
    }

    /// Adds inflated packets; gives the offset of the first byte.
    pub fn push(&mut self, block: Vec<u8>) -> u64 {
        let base = self.end;
        self.end += block.len() as u64;
        self.blocks.push((base, block));
        base
    }

    /// First offset behind all bytes.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// `len` bytes from `offset`.
    pub fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let (base, bytes): (u64, &[u8]) = if offset < self.file.len() as u64 {
            (0, &self.file)
        } else {
            let after = self.blocks.partition_point(|block| block.0 <= offset);
            let (base, block) = self.blocks.get(after.checked_sub(1)?)?;
            (*base, block)
        };
        let from = usize::try_from(offset - base).ok()?;
        bytes.get(from..from.checked_add(len)?)
    }

    /// The bytes at `loc`.
    pub fn bytes(&self, loc: ArgsLoc) -> Option<&[u8]> {
        self.slice(loc.offset(), loc.len())
    }

    /// Heap bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.file.heap_bytes() + self.blocks.iter().map(|block| block.1.capacity()).sum::<usize>()
    }
}
