//! The requests that a page blob understands, each as one attempt.
//!
//! They go through the SDK's clients with its retries switched off: deadlines, repetitions and
//! renewals are decided above. On a managed disk only [`Target::properties`], [`Target::put`],
//! [`Target::clear`], [`Target::list`] and [`Target::read`] are ever called.

use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

use azure_core::http::headers::HeaderName;
use azure_core::http::{ClientOptions, Etag, NoFormat, RequestContent, RetryOptions, Url};
use azure_storage_blob::clients::{
    BlobClient, BlobClientOptions, PageBlobClient, PageBlobClientOptions,
};
use azure_storage_blob::models::{
    BlobClientDownloadOptions, HttpRange, PageBlobClientCreateOptions,
    PageBlobClientListPageRangesOptions, PageBlobClientUploadPagesOptions,
};
use bytes::Bytes;
use futures::StreamExt as _;

use super::answer::ByHead;
use super::failure::Failure;
use super::integrity::Checksum;
use super::plan::LONGEST_RANGE;
use crate::azure::Transport;
use crate::{Error, ErrorKind, Result, SasUrl};

/// Has CRC-64 (2019-02-02) and paged page lists (2020-10-02), and nothing that is younger. The
/// SDK's own default is the newest there is, which disk endpoints need not know.
const VERSION: &str = "2020-10-02";

/// A page blob behind one access.
pub(crate) struct Target {
    sas: SasUrl,
    pages: PageBlobClient,
    blob: BlobClient,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Target").field(&self.sas).finish()
    }
}

/// What the target says about itself.
#[derive(Clone, Debug)]
pub(crate) struct Properties {
    pub(crate) length: u64,
    /// `PageBlob`; disks need not say.
    pub(crate) blob_type: Option<String>,
}

/// A part of the list of pages that were written.
#[derive(Debug, Default)]
pub(crate) struct PageListPart {
    pub(crate) ranges: Vec<Range<u64>>,
    pub(crate) next: Option<String>,
}

impl Target {
    pub(crate) fn new(sas: SasUrl, transport: &Transport) -> Result<Self> {
        // The URL was parsed before; the error is dropped because it may repeat it.
        let unusable = || {
            Error::new(
                ErrorKind::InvalidInput,
                format!("the access URL of {} cannot be used", sas.redacted()),
            )
        };
        let url = || Url::parse(sas.expose()).map_err(|_| unusable());
        let client_options = ClientOptions {
            transport: Some(azure_core::http::Transport::new(Arc::new(ByHead(
                transport.http_client(),
            )))),
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        };
        let pages = PageBlobClientOptions {
            client_options: client_options.clone(),
            version: VERSION.to_owned(),
        };
        let blob = BlobClientOptions {
            client_options,
            version: VERSION.to_owned(),
        };
        Ok(Self {
            pages: PageBlobClient::new(url()?, None, Some(pages)).map_err(|_| unusable())?,
            blob: BlobClient::new(url()?, None, Some(blob)).map_err(|_| unusable())?,
            sas,
        })
    }

    pub(crate) fn sas(&self) -> &SasUrl {
        &self.sas
    }

    /// Get Blob Properties.
    pub(crate) async fn properties(&self) -> Result<Properties, Failure> {
        let response = self.blob.get_properties(None).await.map_err(Failure::new)?;
        let header = |name| {
            response
                .headers()
                .get_optional_string(&HeaderName::from_static(name))
        };
        Ok(Properties {
            length: header("content-length")
                .and_then(|text| text.parse().ok())
                .ok_or_else(Failure::contract)?,
            blob_type: header("x-ms-blob-type"),
        })
    }

    /// Put Blob: an empty page blob of this length, unless there is a blob already. Never for a
    /// managed disk.
    pub(crate) async fn create(&self, length: u64) -> Result<(), Failure> {
        let options = PageBlobClientCreateOptions {
            if_none_match: Some(Etag::from("*")),
            ..Default::default()
        };
        let created = self.pages.create(length, Some(options)).await;
        created.map(drop).map_err(Failure::new)
    }

    /// Put Page.
    pub(crate) async fn put(
        &self,
        offset: u64,
        bytes: Bytes,
        checksum: Checksum,
    ) -> Result<(), Failure> {
        let mut options = PageBlobClientUploadPagesOptions::default();
        match checksum {
            // Eight bytes, the least significant first.
            Checksum::Crc64(crc) => {
                options.transactional_content_crc64 = Some(crc.to_le_bytes().to_vec());
            }
            Checksum::Md5(md5) => options.transactional_content_md5 = Some(md5.to_vec()),
            Checksum::None => {}
        }
        let len = bytes.len() as u64;
        // Shared, not copied.
        let body: RequestContent<Bytes, NoFormat> = bytes.into();
        let range = HttpRange::new(offset, len);
        let put = self.pages.upload_pages(body, len, range, Some(options));
        put.await.map(drop).map_err(Failure::new)
    }

    /// Clear Pages: the range reads as zeros afterwards and is in no list.
    pub(crate) async fn clear(&self, range: Range<u64>) -> Result<(), Failure> {
        let cleared = self.pages.clear_pages(range.into(), None).await;
        cleared.map(drop).map_err(Failure::new)
    }

    /// One part of Get Page Ranges.
    pub(crate) async fn list(
        &self,
        range: Range<u64>,
        marker: Option<String>,
    ) -> Result<PageListPart, Failure> {
        let options = PageBlobClientListPageRangesOptions {
            range: Some(range.into()),
            marker,
            ..Default::default()
        };
        // The SDK's iterator would go on by itself, without our deadlines; only its first step is
        // taken.
        let mut parts = self
            .pages
            .list_page_ranges(Some(options))
            .map_err(Failure::new)?;
        let part = parts.next().await.ok_or_else(Failure::contract)?;
        let list = part
            .and_then(azure_core::http::Response::into_model)
            .map_err(Failure::new)?;
        let ranges = list.page_ranges.into_iter().map(|range| {
            let start = u64::try_from(range.start?).ok()?;
            let end = u64::try_from(range.end?).ok()?.checked_add(1)?;
            (start < end).then_some(start..end)
        });
        Ok(PageListPart {
            ranges: ranges
                .collect::<Option<_>>()
                .ok_or_else(Failure::contract)?,
            next: list.next_marker.filter(|marker| !marker.is_empty()),
        })
    }

    /// Get Blob: a range of at most [`LONGEST_RANGE`] bytes.
    pub(crate) async fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, Failure> {
        let options = BlobClientDownloadOptions {
            range: Some(HttpRange::new(offset, len as u64)),
            // One request, on this task.
            parallel: NonZero::new(1),
            partition_size: NonZero::new(LONGEST_RANGE),
            ..Default::default()
        };
        let mut buffer = vec![0; len];
        self.blob
            .download_into(&mut buffer, Some(options))
            .await
            .map_err(Failure::new)?;
        Ok(buffer)
    }
}
