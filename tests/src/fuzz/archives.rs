//! Archives of traces and other files, whose fields lie here and there.

use super::Maker;
use super::change::{any, change_binary, number, pack};
use super::kineto::Corpus;
use crate::archive::{Method, TarPart, ZipPart, pax, tar, tar_open, zip};
use crate::synth::Rng;

/// Archives around the inputs of the Kineto fuzzer.
pub(super) struct Archives {
    texts: Corpus,
}

impl Archives {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { texts: Corpus::new()? })
    }

    fn content(&self, depth: u32, rng: &mut Rng) -> Vec<u8> {
        match rng.below(10) {
            0 => b"{\"job\": 1}".to_vec(),
            1 => Vec::new(),
            2 if depth < 3 => self.archive(depth + 1, rng),
            3 => pack(&self.texts.make(rng), rng),
            _ => self.texts.make(rng),
        }
    }

    fn archive(&self, depth: u32, rng: &mut Rng) -> Vec<u8> {
        let names = ["rank0.json", "rank1.json", "../x", "a/b/c.json.gz", "manifest.json", "", "x\0y"];
        let count = rng.below(4);
        let mut bytes = if rng.chance(0.5) {
            let part = |rng: &mut Rng| {
                let method = any(&[Method::Stored, Method::Deflate, Method::Zstd], rng);
                let mut part = ZipPart::new(any(&names, rng), &self.content(depth, rng), method);
                part.has_descriptor = rng.chance(0.2);
                part.is_wide = rng.chance(0.2);
                if rng.chance(0.1) {
                    part.told_method = Some(rng.below(100) as u16);
                }
                if rng.chance(0.05) {
                    part.told_packed = Some(number(rng));
                }
                part.flags = if rng.chance(0.05) { 1 } else { 0 };
                part.crc_error = u32::from(rng.chance(0.1));
                part
            };
            zip(&(0..count).map(|_| part(rng)).collect::<Vec<_>>())
        } else {
            let mut parts = Vec::new();
            for _ in 0..count {
                if rng.chance(0.2) {
                    parts.push(pax(&[("path", any(&names, rng)), ("size", &number(rng).to_string())]));
                }
                let mut part = TarPart::new(any(&names, rng), &self.content(depth, rng));
                if rng.chance(0.1) {
                    part.kind = rng.below(256) as u8;
                }
                if rng.chance(0.1) {
                    part.told_size = Some(number(rng) >> 8);
                }
                parts.push(part);
            }
            if rng.chance(0.2) { tar_open(&parts) } else { tar(&parts) }
        };
        if rng.chance(0.4) {
            for _ in 0..=rng.below(3) {
                change_binary(&mut bytes, rng);
            }
        }
        if rng.chance(0.3) { pack(&bytes, rng) } else { bytes }
    }
}

impl Maker for Archives {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        self.archive(0, rng)
    }
}
