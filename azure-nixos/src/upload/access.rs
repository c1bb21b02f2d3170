//! Where the uploader gets its right to write from.

use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::{Result, SasUrl};

/// A write access and the time at which it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SasAccess {
    /// The URL with its signature.
    pub url: SasUrl,
    /// When it ends. The access of a managed disk does not carry its end in the URL, so whoever
    /// asked for it must remember; `None` when nobody knows.
    pub expires: Option<SystemTime>,
}

impl SasAccess {
    /// An access that ends at a known time, or that nobody knows the end of.
    #[must_use]
    pub fn new(url: SasUrl, expires: Option<SystemTime>) -> Self {
        Self { url, expires }
    }
}

/// Hands out access to one target, again and again.
///
/// Every access must lead to the same blob. The uploader asks once at the start, before the end
/// of an access, and when the service refuses one that should still be good.
#[async_trait]
pub trait SasSource: fmt::Debug + Send + Sync + 'static {
    /// A fresh access, or the one that exists when it cannot be renewed.
    ///
    /// # Errors
    /// When access is refused for good. What is worth trying again has been tried.
    async fn access(&self) -> Result<SasAccess>;

    /// Whether [`access`](Self::access) can return anything newer than it did before.
    fn renewable(&self) -> bool {
        true
    }

    /// A name for the target that is the same for every access to it and never that of another: an
    /// upload that goes on after an interruption goes by it. `None`, the default, stands for the URL
    /// without its signature.
    ///
    /// # Errors
    /// When the target cannot be asked.
    async fn target(&self) -> Result<Option<String>> {
        Ok(None)
    }
}

/// A bare URL: it cannot be renewed.
#[async_trait]
impl SasSource for SasUrl {
    async fn access(&self) -> Result<SasAccess> {
        Ok(SasAccess::new(self.clone(), None))
    }

    fn renewable(&self) -> bool {
        false
    }
}
