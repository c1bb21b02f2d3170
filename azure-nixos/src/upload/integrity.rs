//! Proof that what arrives is what was sent: a checksum beside every range, which the service
//! compares before it writes.
//!
//! CRC-64 is tried first; it costs next to nothing. Where a service refuses the header, MD5 takes
//! its place, and after that nothing. A checksum that does *not match* is no refusal: the bytes
//! were damaged, and are sent again.

use std::fmt;

use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use md5::{Digest as _, Md5};
use serde::Serialize;

use super::failure::Failure;
use crate::{Error, ErrorKind, Result};

/// How the ranges of an upload were protected on their way: the weakest that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Integrity {
    /// `x-ms-content-crc64`, the service compared a CRC-64 of every range.
    Crc64,
    /// `Content-MD5`, the service compared an MD5 of every range.
    Md5,
    /// The target refuses both; TLS alone protected the bytes.
    None,
}

/// `crc64`, `md5`, `none`, as in JSON.
impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crc64 => "crc64",
            Self::Md5 => "md5",
            Self::None => "none",
        })
    }
}

/// The checksum that goes with one attempt.
#[derive(Clone, Debug)]
pub(crate) enum Checksum {
    Crc64(u64),
    Md5([u8; 16]),
    None,
}

/// Which checksum the target takes, as far as is known.
#[derive(Debug, Default)]
pub(crate) struct Probe(AtomicU8);

impl Probe {
    pub(crate) fn current(&self) -> Integrity {
        match self.0.load(Ordering::Relaxed) {
            0 => Integrity::Crc64,
            1 => Integrity::Md5,
            _ => Integrity::None,
        }
    }

    /// Takes note that the target refused this kind, and returns whether there is another to try.
    pub(crate) fn refused(&self, kind: Integrity) -> bool {
        let next = match kind {
            Integrity::Crc64 => 1,
            Integrity::Md5 => 2,
            Integrity::None => return false,
        };
        // Several ranges may find out at the same time; the weakest stays.
        let before = self.0.fetch_max(next, Ordering::Relaxed);
        if before < next {
            tracing::warn!(refused = ?kind, using = ?self.current(), "the target refuses a checksum");
        }
        true
    }

    /// The checksum to send with these bytes now.
    pub(crate) async fn checksum(&self, bytes: &Bytes, crc: u64) -> Result<(Integrity, Checksum)> {
        let kind = self.current();
        let checksum = match kind {
            Integrity::Crc64 => Checksum::Crc64(crc),
            Integrity::Md5 => {
                let bytes = bytes.clone();
                let md5 = tokio::task::spawn_blocking(move || Md5::digest(&bytes).into()).await;
                Checksum::Md5(md5.map_err(|error| {
                    Error::new(ErrorKind::Internal, "an MD5 could not be computed")
                        .with_source(error)
                })?)
            }
            Integrity::None => Checksum::None,
        };
        Ok((kind, checksum))
    }
}

/// Whether this answer says that the service does not know the checksum's header, as opposed to
/// not agreeing with its value. Which words a disk's endpoint has for that is not documented: any
/// code that speaks of a header or of a checksum counts.
pub(crate) fn is_refusal(failure: &Failure) -> bool {
    match failure.status {
        Some(400) if !is_mismatch(failure) => failure.code.as_deref().is_some_and(|code| {
            let code = code.to_ascii_lowercase();
            ["header", "md5", "crc64", "checksum"]
                .iter()
                .any(|word| code.contains(word))
        }),
        // A service that knows the request and not the header.
        Some(501) => true,
        _ => false,
    }
}

/// Whether the service says that the bytes it got are not those of the checksum.
pub(crate) fn is_mismatch(failure: &Failure) -> bool {
    matches!(
        failure.code.as_deref(),
        Some("Md5Mismatch" | "Crc64Mismatch" | "ContentCrc64Mismatch")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::crc64;

    #[tokio::test]
    async fn refusals_lead_from_crc64_to_md5_to_none() {
        let probe = Probe::default();
        let bytes = Bytes::from_static(b"abc");
        let crc = crc64(&bytes);
        assert!(
            matches!(probe.checksum(&bytes, crc).await.unwrap(), (Integrity::Crc64, Checksum::Crc64(c)) if c == crc)
        );
        assert!(probe.refused(Integrity::Crc64));
        assert!(
            probe.refused(Integrity::Crc64),
            "a second one at the same time"
        );
        let (kind, checksum) = probe.checksum(&bytes, crc).await.unwrap();
        assert_eq!(kind, Integrity::Md5);
        let expected = [
            0x90, 0x01, 0x50, 0x98, 0x3c, 0xd2, 0x4f, 0xb0, 0xd6, 0x96, 0x3f, 0x7d, 0x28, 0xe1,
            0x7f, 0x72,
        ];
        assert!(matches!(checksum, Checksum::Md5(md5) if md5 == expected));
        assert!(probe.refused(Integrity::Md5));
        assert_eq!(probe.current(), Integrity::None);
        assert!(!probe.refused(Integrity::None));
    }
}
