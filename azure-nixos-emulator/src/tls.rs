//! The certificate authority of a state directory and the server certificates it signs.
//!
//! The authority is made once and kept, so that a client told to trust it goes on doing so. Server
//! certificates are made afresh at every start and never written: one for loopback, and one for
//! each of Azure's own names that a client asks for.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use time::{Duration, OffsetDateTime};

use crate::azure_names::AzureNames;
use crate::error::EmulatorError;
use crate::state::write_atomically;

/// The name under which the authority shows up in other people's trust stores.
const AUTHORITY: &str = "azure-nixos local Azure";

/// Certificates that are kept. Each upload and each account has a name of its own; more than these
/// at once are made again when they come back.
const MOST_CERTIFICATES: usize = 256;

/// The authority's certificate as PEM, where it is kept, and a server that uses it.
pub(crate) struct Tls {
    pub(crate) ca_pem: String,
    pub(crate) ca_path: PathBuf,
    pub(crate) server: Arc<ServerConfig>,
}

impl Tls {
    /// Loads or makes the authority of `state_dir`. Its servers have a certificate for loopback and
    /// for every one of `names`.
    pub(crate) fn open(state_dir: &Path, names: AzureNames) -> Result<Self, EmulatorError> {
        let ca_path = state_dir.join("ca.pem");
        let key_path = state_dir.join("ca.key");
        let params = authority();
        let (ca_pem, key) = match (read(&ca_path)?, read(&key_path)?) {
            (Some(pem), Some(key)) => (pem, KeyPair::from_pem(&key).map_err(damaged(&key_path))?),
            _ => {
                let key = KeyPair::generate().map_err(damaged(&key_path))?;
                let pem = params.self_signed(&key).map_err(damaged(&ca_path))?.pem();
                // The certificate goes last: without it both are made again.
                write_atomically(&key_path, key.serialize_pem().as_bytes(), true)
                    .and_then(|()| write_atomically(&ca_path, pem.as_bytes(), true))
                    .map_err(|source| EmulatorError::io("write", &ca_path, source))?;
                (pem, key)
            }
        };
        // Signing needs the authority's name and key, which `authority()` and the key file give.
        let issuer = Issuer::new(params, key);
        let certificates = Certificates::new(issuer, names).map_err(damaged(&ca_path))?;
        // A provider by name: which one is the process's default is not this crate's to decide.
        let mut server =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(unusable)?
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(certificates));
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            ca_pem,
            ca_path,
            server: Arc::new(server),
        })
    }
}

/// Finds or makes the certificate for the name that a client asks for.
#[derive(Debug)]
struct Certificates {
    issuer: Issuer<'static, KeyPair>,
    names: AzureNames,
    /// One key for all of them: they differ in the name only.
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    loopback: Arc<CertifiedKey>,
    made: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Certificates {
    fn new(issuer: Issuer<'static, KeyPair>, names: AzureNames) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = rustls::crypto::ring::sign::any_ecdsa_type(&der)
            .map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
        let loopback = ["localhost", "127.0.0.1", "::1"].map(ToOwned::to_owned);
        let certificate = server(loopback.to_vec())?.signed_by(&key, &issuer)?;
        let loopback = CertifiedKey::new(vec![certificate.der().clone()], Arc::clone(&signing));
        Ok(Self {
            issuer,
            names,
            key,
            signing,
            loopback: Arc::new(loopback),
            made: Mutex::default(),
        })
    }

    /// The certificate for one of Azure's names. Making one takes less than a millisecond.
    fn named(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        self.names.service(host)?;
        let host = host.to_ascii_lowercase();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(certificate) = made.get(&host) {
            return Some(Arc::clone(certificate));
        }
        let certificate = server(vec![host.clone()])
            .and_then(|params| params.signed_by(&self.key, &self.issuer))
            .inspect_err(|error| tracing::error!(%error, host, "no certificate was made"))
            .ok()?;
        let certificate = Arc::new(CertifiedKey::new(
            vec![certificate.der().clone()],
            Arc::clone(&self.signing),
        ));
        if made.len() >= MOST_CERTIFICATES {
            made.clear();
        }
        made.insert(host, Arc::clone(&certificate));
        Some(certificate)
    }
}

impl ResolvesServerCert for Certificates {
    /// A client that names an address or nobody's name gets the one for loopback, and says itself
    /// what does not fit.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello
            .server_name()
            .and_then(|host| self.named(host))
            .or_else(|| Some(Arc::clone(&self.loopback)))
    }
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, AUTHORITY);
    params.not_before = OffsetDateTime::now_utc() - Duration::DAY;
    params.not_after = OffsetDateTime::now_utc() + Duration::days(3650);
    params
}

/// The certificate of a server with these names; the first is the one it shows.
fn server(names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let shown = names.first().cloned().unwrap_or_default();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.remove(DnType::CommonName);
    // A common name has at most 64 characters; clients look at the alternative names.
    if shown.len() <= 64 {
        params.distinguished_name.push(DnType::CommonName, shown);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = OffsetDateTime::now_utc() - Duration::DAY;
    // Some clients refuse server certificates that live longer than 825 days.
    params.not_after = OffsetDateTime::now_utc() + Duration::days(820);
    Ok(params)
}

fn read(path: &Path) -> Result<Option<String>, EmulatorError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(EmulatorError::io("read", path, error)),
    }
}

fn damaged(path: &Path) -> impl Fn(rcgen::Error) -> EmulatorError {
    move |source| {
        EmulatorError::new(format!(
            "the certificate authority in {} cannot be used; delete ca.pem and ca.key there to have a new one made",
            path.parent().unwrap_or(path).display()
        ))
        .with_source(source)
    }
}

fn unusable(source: rustls::Error) -> EmulatorError {
    EmulatorError::new("cannot set up https").with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once_for_azures_names_and_for_no_other() {
        let issuer = Issuer::new(authority(), KeyPair::generate().unwrap());
        let certificates = Certificates::new(issuer, AzureNames::new(None).unwrap()).unwrap();
        let first = certificates.named("a.blob.core.windows.net").unwrap();
        let again = certificates.named("A.blob.core.windows.net").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let other = certificates.named("b.blob.core.windows.net").unwrap();
        assert_ne!(first.cert, other.cert);
        assert!(certificates.named("example.com").is_none());
        for account in 0..2 * MOST_CERTIFICATES {
            let host = format!("a{account}.blob.core.windows.net");
            assert!(certificates.named(&host).is_some());
        }
        let kept = certificates.made.lock().unwrap().len();
        assert!(kept <= MOST_CERTIFICATES, "{kept}");
    }
}
