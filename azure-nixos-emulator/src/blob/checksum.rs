//! The two checksums of the blob service.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use md5::{Digest as _, Md5};

/// CRC-64/NVME, the polynomial that Azure Storage uses.
pub(super) fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// CRC-64/NVME of a body in pieces, as the eight bytes that Azure encodes: little-endian.
pub(super) fn crc64_of(chunks: &[Bytes]) -> [u8; 8] {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    for chunk in chunks {
        digest.update(chunk);
    }
    digest.finalize().to_le_bytes()
}

/// MD5 of a body in pieces.
pub(super) fn md5_of(chunks: &[Bytes]) -> [u8; 16] {
    let mut digest = Md5::new();
    for chunk in chunks {
        digest.update(chunk);
    }
    digest.finalize().into()
}

/// The form of both in headers.
pub(super) fn encode(checksum: &[u8]) -> String {
    STANDARD.encode(checksum)
}

/// A header's checksum, if it is base64 of exactly as many bytes.
pub(super) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_of_the_algorithms() {
        // The catalogue's check value: CRC-64/NVME of "123456789".
        assert_eq!(crc64(b"123456789"), 0xae8b_1486_0a79_9888);
        let pieces = [Bytes::from_static(b"1234"), Bytes::from_static(b"56789")];
        assert_eq!(crc64_of(&pieces), 0xae8b_1486_0a79_9888u64.to_le_bytes());
        assert_eq!(
            encode(&md5_of(&[Bytes::from_static(b"abc")])),
            "kAFQmDzST7DWlj99KOF/cg=="
        );
        assert_eq!(decode::<8>("iJh5CoYUi64="), Some(crc64_of(&pieces)));
        assert_eq!(decode::<8>("kAFQmDzST7DWlj99KOF/cg=="), None);
        assert_eq!(decode::<8>("***"), None);
    }
}
