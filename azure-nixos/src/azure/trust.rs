//! Which servers are believed to be who they say: the system's CA certificates and those given.
//!
//! Used by the transport alone.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;

/// The system's verifier with these roots added. Where there is neither, a verifier that refuses
/// every server: a machine without CA certificates can still do what needs no TLS, and says what
/// it lacks when it does need it.
pub(super) fn verifier(
    extra_roots: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Arc<dyn ServerCertVerifier> {
    match Verifier::new_with_extra_roots(extra_roots, Arc::clone(provider)) {
        Ok(verifier) => Arc::new(verifier),
        Err(error) => {
            tracing::warn!(%error, "no server can be verified");
            Arc::new(TrustNobody {
                reason: error.to_string(),
                schemes: provider
                    .signature_verification_algorithms
                    .supported_schemes(),
            })
        }
    }
}

#[derive(Debug)]
struct TrustNobody {
    reason: String,
    schemes: Vec<SignatureScheme>,
}

impl TrustNobody {
    fn refuse<T>(&self) -> Result<T, rustls::Error> {
        Err(rustls::Error::General(format!(
            "this machine has no usable CA certificates ({}): install the package \
             ca-certificates, or point SSL_CERT_FILE at a bundle",
            self.reason
        )))
    }
}

impl ServerCertVerifier for TrustNobody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.refuse()
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.refuse()
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.refuse()
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
