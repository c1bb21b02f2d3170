//! The certificate authority of a state directory and the server certificate it signs.
//!
//! The authority is made once and kept, so that a client told to trust it goes on doing so. The
//! server certificate is made afresh at every start and never written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use crate::error::EmulatorError;
use crate::state::write_atomically;

/// The name under which the authority shows up in other people's trust stores.
const AUTHORITY: &str = "azure-nixos local Azure";

/// The authority's certificate as PEM, where it is kept, and a server that uses it.
pub(crate) struct Tls {
    pub(crate) ca_pem: String,
    pub(crate) ca_path: PathBuf,
    pub(crate) server: Arc<ServerConfig>,
}

impl Tls {
    /// Loads or makes the authority of `state_dir` and signs a certificate for loopback.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, EmulatorError> {
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
        let server_key = KeyPair::generate().map_err(damaged(&key_path))?;
        let certificate = loopback()
            .map_err(damaged(&ca_path))?
            .signed_by(&server_key, &issuer)
            .map_err(damaged(&ca_path))?;
        let server_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        // A provider by name: which one is the process's default is not this crate's to decide.
        let mut server =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(unusable)?
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], server_key)
                .map_err(unusable)?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            ca_pem,
            ca_path,
            server: Arc::new(server),
        })
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

fn loopback() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ])?;
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, "localhost");
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
    EmulatorError::new("cannot set up https for Resource Manager").with_source(source)
}
