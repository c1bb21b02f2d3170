//! The least that a client can do: Put Page for ranges that are cut and summed up already.

use azure_nixos::SasUrl;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::Client;

use crate::Result;

/// Requests at a time. On loopback more gain nothing: the server has as many threads as there are
/// processors.
const IN_FLIGHT: usize = 8;

/// A request that is ready to go.
pub(crate) struct Put {
    range: String,
    crc64: String,
    bytes: Bytes,
}

/// Prepares everything that need not be timed.
pub(crate) fn ranges(ranges: &[(u64, Bytes)]) -> Vec<Put> {
    let put = |(offset, bytes): &(u64, Bytes)| Put {
        range: format!("bytes={offset}-{}", offset + bytes.len() as u64 - 1),
        crc64: BASE64_STANDARD.encode(checksum(CrcAlgorithm::Crc64Nvme, bytes).to_le_bytes()),
        bytes: bytes.clone(),
    };
    ranges.iter().map(put).collect()
}

pub(crate) fn client() -> Result<Client> {
    // Not used, and not optional. Whoever was first is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Client::builder().http1_only().no_proxy().build()?)
}

pub(crate) async fn put_all(client: &Client, sas: &SasUrl, ranges: &[Put]) -> Result<()> {
    let url = format!("{}&comp=page", sas.expose());
    futures::stream::iter(ranges)
        .map(|put| async {
            let request = client
                .put(url.as_str())
                .header("x-ms-version", "2020-10-02")
                .header("x-ms-page-write", "update")
                .header("x-ms-range", put.range.as_str())
                .header("x-ms-content-crc64", put.crc64.as_str())
                .body(put.bytes.clone());
            request.send().await?.error_for_status()?;
            Ok(())
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await
}
