//! Access to a disk: signatures of the form that Azure gives out for managed disks.
//!
//! Such a signature names a stored access policy (`si`) and says neither when it ends nor what it
//! allows; the blob knows both. What is kept of the signature is its SHA-256: neither the files
//! nor the memory of the local Azure can give it away.

use std::io;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::refusal::Refusal;
use super::{checksum, dates};

/// The `sv` of every signature: the version that managed disks use.
pub(super) const SIGNED_VERSION: &str = "2018-03-28";

/// What a signature allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Access {
    /// Reading the blob, its properties and its page list.
    Read,
    /// All of that, and writing and clearing pages.
    Write,
}

/// An access that was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    policy: Uuid,
    signature_sha256: [u8; 32],
    pub(super) access: Access,
    ends: SystemTime,
}

impl Grant {
    /// A new signature: what is kept, and the query that carries it.
    pub(super) fn new(access: Access, ends: SystemTime) -> io::Result<(Self, String)> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        let signature = checksum::encode(&secret);
        let policy = Uuid::new_v4();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("sv", SIGNED_VERSION)
            .append_pair("sr", "b")
            .append_pair("si", &policy.to_string())
            .append_pair("sig", &signature)
            .finish();
        let grant = Self {
            policy,
            signature_sha256: Sha256::digest(signature.as_bytes()).into(),
            access,
            ends,
        };
        Ok((grant, query))
    }

    /// Lets the access end at a time that has passed.
    pub(super) fn expire(&mut self) {
        self.ends = SystemTime::UNIX_EPOCH;
    }

    /// Whether it is the same access as `other`, expired or not.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.policy == other.policy
    }

    /// Whether this signature is the one, and its time has not run out.
    pub(super) fn verify(&self, signature: &Signature, now: SystemTime) -> Result<(), Refusal> {
        if signature.policy != self.policy.to_string() {
            return Err(Refusal::authentication(
                "SAS identifier cannot be found for specified signed identifier",
            ));
        }
        // Digests are compared, so the time this takes says nothing about the signature.
        let presented: [u8; 32] = Sha256::digest(signature.secret.as_bytes()).into();
        if presented != self.signature_sha256
            || signature.version != SIGNED_VERSION
            || signature.resource != "b"
        {
            return Err(Refusal::authentication("Signature did not match."));
        }
        if now >= self.ends {
            return Err(Refusal::authentication(format!(
                "Signature not valid in the specified time frame: Expiry [{}] - Current [{}]",
                dates::http_date(dates::ticks(self.ends)),
                dates::http_date(dates::ticks(now)),
            )));
        }
        Ok(())
    }
}

/// The signature of a request.
pub(super) struct Signature {
    version: String,
    resource: String,
    policy: String,
    secret: String,
}

impl Signature {
    /// Takes the signature out of the query's pairs.
    pub(super) fn from_query(query: &[(String, String)]) -> Result<Self, Refusal> {
        let value = |name: &'static str| {
            query
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
                .filter(|value| !value.is_empty())
                .ok_or_else(|| {
                    Refusal::authentication(format!("{name} is mandatory. Cannot be empty"))
                })
        };
        Ok(Self {
            secret: value("sig")?,
            version: value("sv")?,
            resource: value("sr")?,
            policy: value("si")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pairs(query: &str) -> Vec<(String, String)> {
        url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect()
    }

    #[test]
    fn only_the_signature_given_out_is_taken() {
        let now = SystemTime::now();
        let ends = now + Duration::from_secs(60);
        let (grant, query) = Grant::new(Access::Write, ends).unwrap();
        let (other, _) = Grant::new(Access::Write, ends).unwrap();
        assert!(!grant.is(&other));
        let verify = |grant: &Grant, query: &str, now| {
            Signature::from_query(&pairs(query)).and_then(|s| grant.verify(&s, now))
        };
        verify(&grant, &query, now).unwrap();
        verify(&grant, &format!("{query}&comp=page&timeout=3"), now).unwrap();
        for bad in [
            query.replace("sig=", "sig=A"),
            query.replace("sv=2018-03-28", "sv=2019-02-02"),
            query.replace("sr=b", "sr=c"),
            query.replace("sig=", "gis="),
            query.replace("&si=", "&is="),
            String::new(),
        ] {
            verify(&grant, &bad, now).unwrap_err();
        }
        verify(&other, &query, now).unwrap_err();
        verify(&grant, &query, ends).unwrap_err();
        let mut expired = grant.clone();
        expired.expire();
        verify(&expired, &query, now).unwrap_err();
        assert!(expired.is(&grant));
    }

    #[test]
    fn what_is_kept_does_not_contain_the_signature() {
        let (grant, query) = Grant::new(Access::Read, SystemTime::now()).unwrap();
        let secret = &pairs(&query)[3].1;
        let kept = format!("{grant:?} {}", serde_json::to_string(&grant).unwrap());
        assert!(!kept.contains(secret.as_str()));
        assert_eq!(secret.len(), 44);
    }
}
