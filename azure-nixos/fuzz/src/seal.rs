//! Right checksums for wrong content: without, the fuzzer would see the check of the checksum and
//! nothing behind it.

use crc_fast::CrcAlgorithm::{Crc32Iscsi, Crc32IsoHdlc};
use crc_fast::checksum;

use super::input::Image;

fn crc(algorithm: crc_fast::CrcAlgorithm, bytes: &[u8]) -> [u8; 4] {
    // 32 bits in a 64-bit answer.
    (checksum(algorithm, bytes) as u32).to_le_bytes()
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// All that begins like a VHD's footer, or like the header of a dynamic one.
pub(super) fn vhd(image: &mut Image) {
    for at in image.sectors() {
        let start = image.bytes(at, 8);
        match start.as_slice() {
            b"conectix" => ones_complement(image, at, 512, 64),
            b"cxsparse" => ones_complement(image, at, 1024, 36),
            _ => {}
        }
    }
}

fn ones_complement(image: &mut Image, at: u64, length: usize, field: usize) {
    let mut bytes = image.bytes(at, length);
    bytes[field..field + 4].fill(0);
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    image.write(at + field as u64, &(!sum).to_be_bytes());
}

/// The headers and the region tables of a VHDX.
pub(super) fn vhdx(image: &mut Image) {
    for (at, length) in [(64, 4), (128, 4), (192, 64), (256, 64)] {
        let (at, length) = (at << 10, length << 10);
        let mut bytes = image.bytes(at, length);
        bytes[4..8].fill(0);
        image.write(at + 4, &crc(Crc32Iscsi, &bytes));
    }
}

/// Both copies of a GPT, with sectors of either size.
pub(super) fn gpt(image: &mut Image) {
    for sector in [512, 4096] {
        let last = (image.length() / sector).saturating_sub(1);
        let header = image.bytes(sector, 512);
        let alternate = u64::from(number(&header, 32)) | u64::from(number(&header, 36)) << 32;
        for lba in [1, last, alternate] {
            if let Some(at) = lba.checked_mul(sector).filter(|at| *at < image.length()) {
                gpt_copy(image, at, sector);
            }
        }
    }
}

fn gpt_copy(image: &mut Image, at: u64, sector: u64) {
    let mut header = image.bytes(at, 512);
    if !header.starts_with(b"EFI PART") {
        return;
    }
    let first = u64::from(number(&header, 72)) | u64::from(number(&header, 76)) << 32;
    let length = u64::from(number(&header, 80)) * u64::from(number(&header, 84));
    let end = first
        .checked_mul(sector)
        .and_then(|at| at.checked_add(length));
    // More is refused before its checksum is looked at.
    if length <= 1 << 20 && end.is_some_and(|end| end <= image.length()) {
        let entries = image.bytes(first * sector, length as usize);
        let sum = crc(Crc32IsoHdlc, &entries);
        header[88..92].copy_from_slice(&sum);
        image.write(at + 88, &sum);
    }
    header[16..20].fill(0);
    let length = (number(&header, 12) as usize).min(header.len());
    image.write(at + 16, &crc(Crc32IsoHdlc, &header[..length]));
}

/// The headers and the end of an xz stream, as far as they are where one block leaves them.
pub(super) fn xz(image: &mut Image) {
    let end = image.length();
    if !image.bytes(0, 6).starts_with(b"\xfd7zXZ\0") || !(36..1 << 20).contains(&end) {
        return;
    }
    let mut bytes = image.bytes(0, end as usize);
    let mut put = |bytes: &mut Vec<u8>, range: std::ops::Range<usize>, at: usize| {
        if let (Some(part), Some(_)) = (bytes.get(range), bytes.get(at..at + 4)) {
            let sum = crc(Crc32IsoHdlc, part);
            bytes[at..at + 4].copy_from_slice(&sum);
            image.write(at as u64, &sum);
        }
    };
    put(&mut bytes, 6..8, 8);
    let block = (usize::from(bytes[12]) + 1) * 4;
    put(&mut bytes, 12..8 + block, 8 + block);
    let footer = bytes.len() - 12;
    put(&mut bytes, footer + 4..footer + 10, footer);
    let index = (number(&bytes, footer + 4) as usize)
        .checked_add(1)
        .and_then(|words| words.checked_mul(4))
        .and_then(|length| footer.checked_sub(length));
    if let Some(index) = index {
        put(&mut bytes, index..footer - 4, footer - 4);
    }
}

/// The checksum and the length at the end of a gzip file with one member and a short header.
pub(super) fn gzip(image: &mut Image) {
    let end = image.length();
    if !image.bytes(0, 4).starts_with(b"\x1f\x8b\x08\0") || end > 1 << 20 {
        return;
    }
    let bytes = image.bytes(10, (end as usize).saturating_sub(10));
    let mut decoder = flate2::Decompress::new(false);
    let mut content = Vec::with_capacity(1 << 20);
    let finish = flate2::FlushDecompress::Finish;
    if let Ok(flate2::Status::StreamEnd) = decoder.decompress_vec(&bytes, &mut content, finish) {
        let at = 10 + decoder.total_in();
        image.write(at, &crc(Crc32IsoHdlc, &content));
        image.write(at + 4, &(content.len() as u32).to_le_bytes());
    }
}
