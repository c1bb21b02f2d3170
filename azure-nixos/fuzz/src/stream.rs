//! Contents packed here, so that the fuzzer decides on what is packed and not only on how.

use std::io::Write as _;

use crc_fast::CrcAlgorithm::Crc32IsoHdlc;
use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// Packs with gzip, zstd or xz, by the two lowest bits of `how`.
pub(super) fn pack(how: u8, content: &[u8]) -> Vec<u8> {
    match how % 3 {
        0 => gzip(content),
        1 => compress_to_vec(content, CompressionLevel::Fastest),
        _ => xz(content),
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(content).and_then(|()| encoder.finish());
    written.unwrap_or_else(|error| panic!("a vector takes everything: {error}"))
}

/// A stream of xz with one block that is stored as it is, without a check of the content.
fn xz(content: &[u8]) -> Vec<u8> {
    let crc = |bytes: &[u8]| (crc_fast::checksum(Crc32IsoHdlc, bytes) as u32).to_le_bytes();
    let sealed = |bytes: &[u8]| [bytes, &crc(bytes)].concat();
    let mut stream = b"\xfd7zXZ\0".to_vec();
    stream.extend(sealed(&[0, 0]));
    // One filter, LZMA2 with a dictionary of 64 KiB, padded to 8 bytes.
    let header = sealed(&[2, 0, 0x21, 1, 8, 0, 0, 0]);
    let mut block = Vec::new();
    for (number, chunk) in content.chunks(1 << 16).enumerate() {
        block.push(if number == 0 { 1 } else { 2 });
        block.extend_from_slice(&(chunk.len() as u16).wrapping_sub(1).to_be_bytes());
        block.extend_from_slice(chunk);
    }
    block.push(0);
    let unpadded = header.len() + block.len();
    stream.extend(header);
    stream.extend(block);
    stream.resize(stream.len().next_multiple_of(4), 0);
    let mut index = vec![0, 1];
    for number in [unpadded, content.len()] {
        let mut rest = number;
        while rest >= 128 {
            index.push(rest as u8 | 128);
            rest >>= 7;
        }
        index.push(rest as u8);
    }
    index.resize(index.len().next_multiple_of(4), 0);
    let index = sealed(&index);
    let mut end = (index.len() as u32 / 4 - 1).to_le_bytes().to_vec();
    end.extend([0, 0]);
    stream.extend(index);
    stream.extend(crc(&end));
    stream.extend(end);
    stream.extend(b"YZ");
    stream
}
