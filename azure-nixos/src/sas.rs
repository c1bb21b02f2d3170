//! A URL with a signature in its query: whoever has it may write to the disk.

use std::fmt;

use url::Url;
use zeroize::Zeroizing;

use crate::{Error, ErrorKind, Result};

/// A shared access signature URL of a disk or a page blob.
///
/// `Debug` and `Display` show the host and the path only. The whole URL is handed out by
/// [`expose`](Self::expose) alone, so that a search for that word finds every place where a
/// signature could leak.
///
/// ```
/// use azure_nixos::SasUrl;
///
/// let sas: SasUrl = "https://md-impexp-x.z1.blob.storage.azure.net/a/abcd?sv=2018-03-28&sig=S3CRET"
///     .parse()?;
/// assert!(!format!("{sas} {sas:?}").contains("S3CRET"));
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SasUrl {
    whole: Zeroizing<String>,
    shown: String,
}

impl SasUrl {
    /// Takes a URL apart far enough to know that it is one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it is no URL, not `https` (plain `http` is taken for the
    /// loopback addresses only), or has no query. The error does not repeat the text.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("the access URL of the disk {why}"),
            )
            .with_hint("pass it whole and quoted: https://…blob.storage.azure.net/…?sv=…&sig=…")
        };
        let text = text.trim();
        let url = Url::parse(text).map_err(|_| refuse("is not a URL"))?;
        let host = url.host_str().ok_or_else(|| refuse("names no host"))?;
        match url.scheme() {
            "https" => {}
            "http" if matches!(host, "localhost" | "127.0.0.1" | "[::1]") => {}
            _ => return Err(refuse("must begin with https://")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("has a user name or a password in it"));
        }
        if url.query().is_none_or(str::is_empty) {
            return Err(refuse(
                "has no signature: everything after the ? is missing",
            ));
        }
        let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
        let shown = format!("{}://{host}{port}{}", url.scheme(), url.path());
        Ok(Self {
            whole: Zeroizing::new(text.to_owned()),
            shown,
        })
    }

    /// The whole URL, signature included. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.whole
    }

    /// Scheme, host, port and path: enough to say which target is meant.
    #[must_use]
    pub fn redacted(&self) -> &str {
        &self.shown
    }
}

impl std::str::FromStr for SasUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Debug for SasUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SasUrl({}?<redacted>)", self.shown)
    }
}

impl fmt::Display for SasUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}?<redacted>", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_shapes_are_taken() {
        for text in [
            "https://md-impexp-slftt00hhx1k.z10.blob.storage.azure.net/j2f1/abcd?sv=2018-03-28&sr=b&si=8&sig=a%3D",
            "https://md-x.blob.core.windows.net:8443/a/abcd?sv=2017-04-17&sr=b&sk=key1&sig=x&st=1&se=2&sp=r",
            "http://127.0.0.1:10000/devstoreaccount1/c/b?sv=1&sig=x",
            "http://[::1]:10000/a/b?sig=x",
        ] {
            SasUrl::parse(text).unwrap();
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_the_secret() {
        for text in [
            "http://example.com/a?sig=S3CRET",
            "S3CRET",
            "https://u:S3CRET@example.com/a?sig=x",
            "https://example.com/S3CRET",
            "ftp://example.com/a?sig=S3CRET",
        ] {
            let error = SasUrl::parse(text).unwrap_err();
            assert!(
                !format!("{error:?} {}", error.report()).contains("S3CRET"),
                "{text}"
            );
        }
    }
}
