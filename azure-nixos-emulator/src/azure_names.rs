//! The host names of Azure that the local Azure speaks for, and the URLs made of them.
//!
//! They matter to clients that look at names: AzCopy tells a managed disk from a storage account by
//! its host, and the SDKs have Resource Manager and login built in. A name that is not here is
//! nobody's: no certificate is made for it and the proxy does not connect to it.

use uuid::Uuid;

use crate::error::EmulatorError;

/// Resource Manager's, the older one of the classic deployment model included.
const RESOURCE_MANAGER: &[&str] = &["management.azure.com", "management.core.windows.net"];

/// Where Entra gives out tokens.
const LOGIN: &[&str] = &[
    "login.microsoftonline.com",
    "login.microsoft.com",
    "login.windows.net",
    "sts.windows.net",
];

/// What comes after the account, or after the disk and its zone. Names below `localhost` are
/// loopback for resolvers that follow RFC 6761.
const BLOB_SUFFIXES: &[&str] = &[
    "blob.core.windows.net",
    "blob.storage.azure.net",
    "blob.localhost",
];

/// Which of the two servers a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Resource Manager and login.
    ResourceManager,
    /// The data plane.
    Blobs,
}

/// The names that are spoken for. Without more, Azure's own.
#[derive(Clone, Debug)]
pub(crate) struct AzureNames {
    blob_suffixes: Vec<String>,
}

impl AzureNames {
    /// Azure's own, and those with a suffix that was asked for.
    ///
    /// # Errors
    /// When the suffix is no host name in lower case.
    pub(crate) fn new(suffix: Option<&str>) -> Result<Self, EmulatorError> {
        let mut names = Self::default();
        if let Some(suffix) = suffix {
            if !suffix.split('.').all(is_label) || !suffix.contains('.') {
                return Err(EmulatorError::new(format!(
                    "'{suffix}' cannot be the suffix of the hosts of page blobs; give a host name in lower case such as 'blob.storage.azure.net'"
                )));
            }
            if !names.blob_suffixes.iter().any(|known| known == suffix) {
                names.blob_suffixes.push(suffix.to_owned());
            }
        }
        Ok(names)
    }

    /// Whose name it is; `host` is without a port.
    pub(crate) fn service(&self, host: &str) -> Option<Service> {
        let host = host.to_ascii_lowercase();
        if RESOURCE_MANAGER.contains(&host.as_str()) || LOGIN.contains(&host.as_str()) {
            return Some(Service::ResourceManager);
        }
        self.blob_labels(&host).map(|_| Service::Blobs)
    }

    /// The storage account of a host, where it is one's: `web1` of `web1.blob.core.windows.net`.
    /// A disk's host has a zone as well, and a hyphen, which no account has.
    pub(crate) fn account(&self, host: &str) -> Option<String> {
        let host = host.to_ascii_lowercase();
        self.blob_labels(&host)
            .filter(|labels| !labels.contains(['.', '-']))
            .map(ToOwned::to_owned)
    }

    /// What is before the suffix: one name, or two for a zone.
    fn blob_labels<'a>(&self, host: &'a str) -> Option<&'a str> {
        self.blob_suffixes
            .iter()
            .find_map(|suffix| host.strip_suffix(suffix.as_str())?.strip_suffix('.'))
            .filter(|labels| labels.split('.').count() <= 2 && labels.split('.').all(is_label))
    }
}

impl Default for AzureNames {
    fn default() -> Self {
        Self {
            blob_suffixes: BLOB_SUFFIXES
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
        }
    }
}

/// The host of a `Host` header or of an authority, without its port.
pub(crate) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether a name is one of login or of Resource Manager, so that answers can name it in turn.
pub(crate) fn is_resource_manager(host: &str) -> bool {
    RESOURCE_MANAGER.contains(&host) || LOGIN.contains(&host)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// How accesses to disks and the endpoints of accounts are written.
#[derive(Clone, Debug)]
pub(crate) enum BlobUrls {
    /// On loopback, with the account in the path.
    Loopback {
        /// Without a slash at its end.
        base: String,
    },
    /// As Azure gives them out.
    Azure {
        suffix: String,
        /// `None` is 443.
        port: Option<u16>,
    },
}

impl BlobUrls {
    /// The URL of an access from what [`locate`] made.
    pub(crate) fn access(&self, located: &str) -> String {
        let (host, path) = match located
            .strip_prefix("//")
            .and_then(|rest| rest.split_once('/'))
        {
            Some((host, path)) => (Some(host), path),
            None => (None, located.trim_start_matches('/')),
        };
        match (self, host) {
            (Self::Azure { suffix, port }, Some(host)) => {
                format!("https://{host}.{suffix}{}/{path}", shown(*port))
            }
            (Self::Azure { suffix, port }, None) => {
                format!("https://md-local.{suffix}{}/{path}", shown(*port))
            }
            (Self::Loopback { base }, _) => format!("{base}/{path}"),
        }
    }

    /// The blob endpoint of a storage account, with the slash at its end that Azure shows.
    pub(crate) fn account(&self, account: &str) -> String {
        match self {
            Self::Loopback { base } => format!("{base}/{account}/"),
            Self::Azure { suffix, port } => {
                format!("https://{account}.{suffix}{}/", shown(*port))
            }
        }
    }
}

fn shown(port: Option<u16>) -> String {
    port.map(|port| format!(":{port}")).unwrap_or_default()
}

/// What kind of host an access has in Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessHost {
    /// `md-impexp-…`: an upload's.
    Upload,
    /// `md-hdd-…`: a disk of the cheapest kind that is read.
    ReadHdd,
    /// `md-…`: any other that is read.
    Read,
}

/// Puts the first labels of the host before the path of an access: `//md-impexp-….z10/id/abcd?…`.
/// What comes after them, and whether they are shown at all, is settled at each start.
pub(crate) fn locate(kind: AccessHost, blob: Uuid, path: &str) -> String {
    let prefix = match kind {
        AccessHost::Upload => "md-impexp-",
        AccessHost::ReadHdd => "md-hdd-",
        AccessHost::Read => "md-",
    };
    // Twelve characters of 32, as Azure's are; the same disk has the same host.
    let name: String = blob.as_bytes()[..12]
        .iter()
        .map(|byte| char::from(b"0123456789bcdfghjklmnpqrstvwxz12"[usize::from(byte & 31)]))
        .collect();
    let zone = u16::from(blob.as_bytes()[15]) % 50 + 1;
    format!("//{prefix}{name}.z{zone}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_azures_own_names_are_spoken_for() {
        let names = AzureNames::new(Some("blob.example.test")).unwrap();
        for (host, service) in [
            ("management.azure.com", Some(Service::ResourceManager)),
            ("Login.MicrosoftOnline.com", Some(Service::ResourceManager)),
            ("web1.blob.core.windows.net", Some(Service::Blobs)),
            (
                "md-impexp-slftt00hhx1k.z10.blob.storage.azure.net",
                Some(Service::Blobs),
            ),
            ("web1.blob.example.test", Some(Service::Blobs)),
            ("blob.core.windows.net", None),
            ("a.b.c.blob.core.windows.net", None),
            ("evilblob.core.windows.net", None),
            ("-a.blob.core.windows.net", None),
            ("web1.blob.core.windows.net.example.com", None),
            ("example.com", None),
            ("localhost", None),
            ("", None),
        ] {
            assert_eq!(names.service(host), service, "{host}");
        }
        assert_eq!(
            names.account("WEB1.blob.core.windows.net").as_deref(),
            Some("web1")
        );
        assert_eq!(names.account("md-x.z1.blob.storage.azure.net"), None);
        assert_eq!(names.account("md-x.blob.storage.azure.net"), None);
        for bad in ["", "blob", "Blob.x", "a..b", "blob.x:1", "a/b.c"] {
            assert!(AzureNames::new(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_access_has_azures_host_only_where_that_is_asked_for() {
        let id = Uuid::new_v4();
        let located = locate(AccessHost::Upload, id, "/x/abcd?sig=1");
        let loopback = BlobUrls::Loopback {
            base: "http://127.0.0.1:1".to_owned(),
        };
        assert_eq!(loopback.access(&located), "http://127.0.0.1:1/x/abcd?sig=1");
        assert_eq!(loopback.account("web1"), "http://127.0.0.1:1/web1/");
        let azure = |port| BlobUrls::Azure {
            suffix: "blob.storage.azure.net".to_owned(),
            port,
        };
        let url = url::Url::parse(&azure(None).access(&located)).unwrap();
        let names = AzureNames::new(None).unwrap();
        let host = url.host_str().unwrap();
        assert!(host.starts_with("md-impexp-"), "{url}");
        assert_eq!(host.split('.').next().unwrap().len(), 22);
        assert_eq!(names.service(host), Some(Service::Blobs));
        assert_eq!((url.port(), url.path()), (None, "/x/abcd"));
        let read = azure(Some(8443)).access(&locate(AccessHost::ReadHdd, id, "/x/abcd"));
        assert!(read.starts_with("https://md-hdd-"), "{read}");
        assert!(
            read.contains(".blob.storage.azure.net:8443/x/abcd"),
            "{read}"
        );
        assert_eq!(
            azure(Some(8443)).account("web1"),
            "https://web1.blob.storage.azure.net:8443/"
        );
    }

    #[test]
    fn ports_come_off() {
        assert_eq!(without_port("a.b:443"), "a.b");
        assert_eq!(without_port("a.b"), "a.b");
        assert_eq!(without_port("[::1]:5"), "[::1]");
    }
}
