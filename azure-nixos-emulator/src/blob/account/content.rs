//! Blobs of accounts as Resource Manager sees them: what a disk or an image is made of.

use std::path::PathBuf;

use url::Url;

use super::super::PageBlobs;
use super::super::about::BlobKind;
use super::target;

/// A blob of a storage account, for whoever copies it.
#[derive(Debug)]
pub(crate) struct AccountBlob {
    pub(crate) file: PathBuf,
    /// In bytes.
    pub(crate) length: u64,
    pub(crate) is_page_blob: bool,
}

impl PageBlobs {
    /// The account that a URL names, whether it has such a blob or not, and the blob. Nobody asks
    /// here whether the client may read it: its right in Resource Manager is enough.
    pub(crate) fn account_blob(&self, url: &Url) -> Option<(String, Option<AccountBlob>)> {
        let address = target::find(self, url.host_str(), url.path(), false).ok()??;
        let account = address.account.name.clone();
        let blob = address
            .container()
            .ok()
            .zip(address.blob.as_deref())
            .and_then(|(container, name)| container.blob(name))
            .map(|blob| AccountBlob {
                file: blob.file.clone(),
                length: blob.length(),
                is_page_blob: blob.about().kind == BlobKind::Page,
            });
        Some((account, blob))
    }
}
