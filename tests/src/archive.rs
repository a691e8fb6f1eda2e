//! Archives and compressed files, honest and dishonest, made by hand: every field can be given a lie.

use std::io::Write;

/// How an entry of a zip archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// As it is.
    Stored,
    /// Deflate.
    Deflate,
    /// Zstandard.
    Zstd,
}

/// An entry of a zip archive, and what is said about it.
#[derive(Clone, Debug)]
pub struct ZipPart {
    /// Its name as it is stored.
    pub name: Vec<u8>,
    /// Its contents.
    pub content: Vec<u8>,
    /// How they are compressed.
    pub method: Method,
    /// The method that is told, where it is another.
    pub told_method: Option<u16>,
    /// Flags.
    pub flags: u16,
    /// Added to the check sum.
    pub crc_error: u32,
    /// Sizes and sum follow the contents.
    pub has_descriptor: bool,
    /// Sizes and offset stand in 64 bits.
    pub is_wide: bool,
    /// The compressed size that is told in 64 bits, where it is a lie.
    pub told_packed: Option<u64>,
    /// Mode of the file on Unix.
    pub mode: u32,
}

impl ZipPart {
    /// An ordinary file.
    #[must_use]
    pub fn new(name: &str, content: &[u8], method: Method) -> Self {
        Self {
            name: name.into(),
            content: content.to_vec(),
            method,
            told_method: None,
            flags: 0,
            crc_error: 0,
            has_descriptor: false,
            is_wide: false,
            told_packed: None,
            mode: 0o100_644,
        }
    }

    fn packed(&self) -> Vec<u8> {
        match self.method {
            Method::Stored => self.content.clone(),
            Method::Deflate => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
                finished(encoder.write_all(&self.content).and_then(|()| encoder.finish()))
            }
            Method::Zstd => zstd(&self.content),
        }
    }

    fn told_method(&self) -> u16 {
        self.told_method.unwrap_or(match self.method {
            Method::Stored => 0,
            Method::Deflate => 8,
            Method::Zstd => 93,
        })
    }
}

/// Compressing into memory does not fail.
fn finished(bytes: std::io::Result<Vec<u8>>) -> Vec<u8> {
    bytes.unwrap_or_default()
}

/// `content` as one member of a gzip file.
#[must_use]
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    finished(encoder.write_all(content).and_then(|()| encoder.finish()))
}

/// `content` as one frame of zstd.
#[must_use]
pub fn zstd(content: &[u8]) -> Vec<u8> {
    finished(zstd::stream::encode_all(content, 3))
}

/// A frame that zstd is told to skip.
#[must_use]
pub fn skippable_frame(content: &[u8]) -> Vec<u8> {
    [&[0x53, 0x2A, 0x4D, 0x18][..], &(content.len() as u32).to_le_bytes(), content].concat()
}

/// A zip archive, and where in it each entry begins.
#[must_use]
pub fn zip_with_places(parts: &[ZipPart]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut directory, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        let packed = part.packed();
        let mut crc = flate2::Crc::new();
        crc.update(&part.content);
        let crc = crc.sum().wrapping_add(part.crc_error);
        let place = bytes.len();
        places.push(place);
        let (told_size, told_packed) = (part.content.len() as u64, part.told_packed.unwrap_or(packed.len() as u64));
        let is_wide = part.is_wide || part.told_packed.is_some();
        let narrow = |value: u64| if is_wide { u32::MAX } else { value as u32 };
        let wide = |with_offset: bool| {
            let mut extra = Vec::new();
            if is_wide {
                extra.extend(1_u16.to_le_bytes());
                extra.extend(if with_offset { 24_u16 } else { 16 }.to_le_bytes());
                extra.extend(told_size.to_le_bytes());
                extra.extend(told_packed.to_le_bytes());
                if with_offset {
                    extra.extend((place as u64).to_le_bytes());
                }
            }
            extra
        };
        let flags = part.flags | if part.has_descriptor { 8 } else { 0 };
        let common = |in_entry: bool, extra_length: usize| {
            let hides = in_entry && part.has_descriptor;
            let mut common = Vec::new();
            common.extend(20_u16.to_le_bytes());
            common.extend(flags.to_le_bytes());
            common.extend(part.told_method().to_le_bytes());
            common.extend([0; 4]);
            common.extend(if hides { 0 } else { crc }.to_le_bytes());
            common.extend(if hides { 0 } else { narrow(told_packed) }.to_le_bytes());
            common.extend(if hides { 0 } else { narrow(told_size) }.to_le_bytes());
            common.extend((part.name.len() as u16).to_le_bytes());
            common.extend((extra_length as u16).to_le_bytes());
            common
        };
        let extra = wide(false);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(common(true, extra.len()));
        bytes.extend(&part.name);
        bytes.extend(extra);
        bytes.extend(&packed);
        if part.has_descriptor {
            bytes.extend(b"PK\x07\x08");
            bytes.extend(crc.to_le_bytes());
            bytes.extend((packed.len() as u32).to_le_bytes());
            bytes.extend((part.content.len() as u32).to_le_bytes());
        }
        let extra = wide(true);
        directory.extend(b"PK\x01\x02");
        directory.extend([20, 3]);
        directory.extend(common(false, extra.len()));
        directory.extend([0; 6]);
        directory.extend((part.mode << 16).to_le_bytes());
        directory.extend(narrow(place as u64).to_le_bytes());
        directory.extend(&part.name);
        directory.extend(extra);
    }
    let at = bytes.len();
    bytes.extend(&directory);
    bytes.extend(end_of_zip(parts.len() as u16, directory.len() as u32, at as u32));
    (bytes, places)
}

/// A zip archive.
#[must_use]
pub fn zip(parts: &[ZipPart]) -> Vec<u8> {
    zip_with_places(parts).0
}

/// The record that ends a zip archive.
#[must_use]
pub fn end_of_zip(entries: u16, directory_bytes: u32, directory_at: u32) -> Vec<u8> {
    let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
    end.extend(entries.to_le_bytes());
    end.extend(entries.to_le_bytes());
    end.extend(directory_bytes.to_le_bytes());
    end.extend(directory_at.to_le_bytes());
    end.extend([0; 2]);
    end
}

/// A zip archive whose directory names one entry `times` times: what is stored once inflates again and again.
#[must_use]
pub fn overlapping_zip(part: &ZipPart, times: u16) -> Vec<u8> {
    let one = zip(std::slice::from_ref(part));
    let at = one.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap_or_default();
    let record = &one[at..one.len() - 22];
    let directory = record.repeat(usize::from(times));
    [&one[..at], &directory, &end_of_zip(times, directory.len() as u32, at as u32)].concat()
}

/// An entry of a tar archive.
#[derive(Clone, Debug)]
pub struct TarPart {
    /// Its name.
    pub name: Vec<u8>,
    /// Its kind: `b'0'` is a file.
    pub kind: u8,
    /// Its contents.
    pub content: Vec<u8>,
    /// The size that is told, where it is a lie.
    pub told_size: Option<u64>,
}

impl TarPart {
    /// An ordinary file.
    #[must_use]
    pub fn new(name: &str, content: &[u8]) -> Self {
        Self { name: name.into(), kind: b'0', content: content.to_vec(), told_size: None }
    }

    /// Something without contents: a link, a device, a folder.
    #[must_use]
    pub fn special(name: &str, kind: u8) -> Self {
        Self { kind, ..Self::new(name, b"") }
    }
}

fn tar_block(name: &[u8], kind: u8, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    let length = name.len().min(100);
    block[..length].copy_from_slice(&name[..length]);
    block[100..107].copy_from_slice(b"0000644");
    if size < 1 << 33 {
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    block[136..147].copy_from_slice(b"00000000000");
    block[156] = kind;
    if matches!(kind, b'1' | b'2') {
        block[157..168].copy_from_slice(b"/etc/passwd");
    }
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A tar archive; names beyond 100 bytes in GNU's way. Without the blocks that end it.
#[must_use]
pub fn tar_open(parts: &[TarPart]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let put = |bytes: &mut Vec<u8>, name: &[u8], kind: u8, content: &[u8], size: u64| {
        bytes.extend(tar_block(name, kind, size));
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    };
    for part in parts {
        if part.name.len() > 100 {
            let name = [&part.name[..], b"\0"].concat();
            put(&mut bytes, b"././@LongLink", b'L', &name, name.len() as u64);
        }
        let size = part.told_size.unwrap_or(part.content.len() as u64);
        put(&mut bytes, &part.name, part.kind, &part.content, size);
    }
    bytes
}

/// A tar archive.
#[must_use]
pub fn tar(parts: &[TarPart]) -> Vec<u8> {
    let mut bytes = tar_open(parts);
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A pax header for the next entry.
#[must_use]
pub fn pax(records: &[(&str, &str)]) -> TarPart {
    let mut content = String::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        // The length counts its own digits.
        let length = (1..).find(|digits| (rest.len() + digits).to_string().len() == *digits).unwrap_or(1) + rest.len();
        content.push_str(&format!("{length}{rest}"));
    }
    TarPart { kind: b'x', ..TarPart::new("./PaxHeaders/x", content.as_bytes()) }
}
