//! What all operations need of a request: its query, its headers, the version it speaks.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::access::{Access, Grant, SIGNED_VERSION};
use super::conditions::Conditions;
use super::lease::{Lease, Of};
use super::refusal::Refusal;
use super::store::{PAGE, Store};
use super::stored::StoredBlob;

/// The versions of the service that `x-ms-version` may name. Their order is their order in time.
const VERSIONS: [&str; 49] = [
    "2009-09-19",
    "2011-08-18",
    "2012-02-12",
    "2013-08-15",
    "2014-02-14",
    "2015-02-21",
    "2015-04-05",
    "2015-07-08",
    "2015-12-11",
    "2016-05-31",
    "2017-04-17",
    "2017-07-29",
    "2017-11-09",
    "2018-03-28",
    "2018-06-17",
    "2018-11-09",
    "2019-02-02",
    "2019-07-07",
    "2019-10-10",
    "2019-12-12",
    "2020-02-10",
    "2020-04-08",
    "2020-06-12",
    "2020-08-04",
    "2020-10-02",
    "2020-12-06",
    "2021-02-12",
    "2021-04-10",
    "2021-06-08",
    "2021-08-06",
    "2021-10-04",
    "2021-12-02",
    "2022-11-02",
    "2023-01-03",
    "2023-05-03",
    "2023-08-03",
    "2023-11-03",
    "2024-02-04",
    "2024-05-04",
    "2024-08-04",
    "2024-11-04",
    "2025-01-05",
    "2025-05-05",
    "2025-07-05",
    "2025-11-05",
    "2026-02-06",
    "2026-04-06",
    "2026-06-06",
    "2026-10-06",
];

/// A version of the service. ISO dates order as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApiVersion(pub(super) &'static str);

impl ApiVersion {
    /// The first with which a request without a body signs no length.
    pub(super) const NO_BODY_UNSIGNED: Self = Self("2015-02-21");
    /// The first that tells an anonymous client where to get a token.
    pub(super) const CHALLENGE: Self = Self("2019-12-12");
    /// The first that knows `x-ms-content-crc64`.
    pub(super) const CRC64: Self = Self("2019-02-02");
    /// The first whose page lists have markers.
    pub(super) const MARKERS: Self = Self("2020-10-02");

    /// The version of the header, or that of the signature.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        match header(headers, "x-ms-version")? {
            None => Ok(Self(SIGNED_VERSION)),
            Some(text) => VERSIONS
                .iter()
                .find(|version| **version == text)
                .map(|version| Self(version))
                .ok_or_else(|| Refusal::invalid_header("x-ms-version", text)),
        }
    }
}

/// A request that may be served.
pub(super) struct Call {
    pub(super) parts: Parts,
    pub(super) query: Vec<(String, String)>,
    pub(super) version: ApiVersion,
    pub(super) blob: Arc<StoredBlob>,
    pub(super) permit: Permit,
}

/// By what right a request is served. It was found good when the request came; whether it still is
/// has to be asked with the range to be written held.
#[derive(Clone, Debug)]
pub(super) enum Permit {
    /// The access to a disk.
    Disk(Grant),
    /// The account's, for a blob of it; and the id of the lease, where the request names one.
    Account { write: bool, lease: Option<String> },
}

impl Permit {
    pub(super) fn may_write(&self) -> bool {
        match self {
            Self::Disk(grant) => grant.access == Access::Write,
            Self::Account { write, .. } => *write,
        }
    }

    /// Refuses a write that came too late, or that a lease stands against.
    pub(super) fn check_write(&self, blob: &StoredBlob, now: SystemTime) -> Result<(), Refusal> {
        match self {
            Self::Disk(grant) if !blob.still_granted(grant) => Err(Refusal::authentication(
                "SAS identifier cannot be found for specified signed identifier",
            )),
            Self::Disk(_) => Ok(()),
            Self::Account { .. } if blob.is_gone() => Err(Refusal::blob_not_found()),
            Self::Account { lease, .. } => blob.with_about(|about| {
                Lease::allows_writing(about.lease.as_ref(), Of::Blob, lease.as_deref(), now)
            }),
        }
    }

    /// Refuses a read that names a lease which is not there.
    pub(super) fn check_read(&self, blob: &StoredBlob, now: SystemTime) -> Result<(), Refusal> {
        match self {
            Self::Disk(_) => Ok(()),
            Self::Account { lease, .. } => blob.with_about(|about| {
                Lease::allows_reading(about.lease.as_ref(), Of::Blob, lease.as_deref(), now)
            }),
        }
    }
}

impl Call {
    /// The conditional headers. A disk has no lease, so that one which is named is refused.
    pub(super) fn conditions(&self) -> Result<Conditions, Refusal> {
        let conditions = Conditions::parse(&self.parts.headers)?;
        if let (Permit::Disk(_), Some(_)) = (&self.permit, self.header("x-ms-lease-id")?) {
            return Lease::allows_writing(None, Of::Blob, Some(""), SystemTime::UNIX_EPOCH)
                .map(|()| conditions);
        }
        Ok(conditions)
    }

    /// The conditional headers of a read, which have to be met by a version of the blob.
    pub(super) fn check_read(&self, version: u64, now: SystemTime) -> Result<(), Refusal> {
        self.conditions()?.check_read(version)?;
        self.permit.check_read(&self.blob, now)
    }

    pub(super) fn header(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        header(&self.parts.headers, name)
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        query(&self.query, name)
    }

    /// The range of the request; `x-ms-range` counts before `Range`.
    pub(super) fn range(&self) -> Result<Option<ByteRange<'_>>, Refusal> {
        for name in ["x-ms-range", "Range"] {
            if let Some(text) = self.header(name)? {
                return ByteRange::parse(name, text).map(Some);
            }
        }
        Ok(None)
    }

    /// The open store of the blob. The first use of a blob reads its page list.
    pub(super) async fn store(&self) -> Result<Arc<Store>, Refusal> {
        if let Some(store) = self.blob.opened() {
            return Ok(store);
        }
        let blob = Arc::clone(&self.blob);
        blocking(move || blob.store().map_err(Refusal::from)).await
    }
}

/// The first value of a name in a query.
pub(super) fn query<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// A header as text.
pub(super) fn header<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a str>, Refusal> {
    headers
        .get(name)
        .map(|value| {
            value
                .to_str()
                .map_err(|_| Refusal::invalid_header(name, ""))
        })
        .transpose()
}

/// A range header: `bytes=start-` or `bytes=start-end`, the end included.
pub(super) struct ByteRange<'a> {
    name: &'static str,
    text: &'a str,
    pub(super) start: u64,
    /// One past the last byte; `None` is the end of the blob.
    pub(super) end: Option<u64>,
}

impl<'a> ByteRange<'a> {
    pub(super) fn parse(name: &'static str, text: &'a str) -> Result<Self, Refusal> {
        let number = |digits: &str| {
            // `parse` would take a leading plus.
            digits
                .bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| digits.parse::<u64>().ok())
                .flatten()
        };
        let parsed = text
            .strip_prefix("bytes=")
            .and_then(|range| range.split_once('-'))
            .and_then(|(first, last)| {
                let start = number(first)?;
                let end = match last {
                    "" => None,
                    last => Some(number(last)?.checked_add(1)?),
                };
                Some((start, end))
            })
            .filter(|(start, end)| end.is_none_or(|end| *start < end));
        match parsed {
            Some((start, end)) => Ok(Self {
                name,
                text,
                start,
                end,
            }),
            None => Err(Refusal::invalid_header(name, text)),
        }
    }

    /// The range, if it has an end and begins and ends with a page.
    pub(super) fn pages(&self) -> Result<Range<u64>, Refusal> {
        match self.end {
            Some(end) if self.start.is_multiple_of(PAGE) && end.is_multiple_of(PAGE) => {
                Ok(self.start..end)
            }
            _ => Err(Refusal::invalid_header(self.name, self.text)),
        }
    }
}

/// Runs file I/O and hashing on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            tracing::error!(%error, "the work of a blob request was lost");
            Err(Refusal::internal())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_order() {
        assert!(VERSIONS.is_sorted());
        for needed in [SIGNED_VERSION, ApiVersion::CRC64.0, ApiVersion::MARKERS.0] {
            assert!(VERSIONS.contains(&needed));
        }
    }

    #[test]
    fn ranges_of_pages() {
        let parse = |text| ByteRange::parse("Range", text).and_then(|range| range.pages());
        assert_eq!(parse("bytes=0-511").unwrap(), 0..512);
        assert_eq!(parse("bytes=512-4194815").unwrap(), 512..4_194_816);
        for bad in [
            "bytes=0-510",
            "bytes=1-512",
            "bytes=512-511",
            "bytes=512-",
            "bytes=-512",
            "bytes=0-511,512-1023",
            "bytes=+0-511",
            "bytes=0-18446744073709551615",
            "bytes=99999999999999999999-511",
            "0-511",
            "",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
