//! Access to a disk: signatures of the forms that Azure gives out for managed disks.
//!
//! Today's names a stored access policy (`si`) and says neither when it ends nor what it allows;
//! the blob knows both. The older one says both itself. What is kept of a signature is its SHA-256:
//! neither the files nor the memory of the local Azure can give it away.

use std::io;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::refusal::Refusal;
use super::{checksum, dates};

/// The `sv` of every signature: the version that managed disks use.
pub(super) const SIGNED_VERSION: &str = "2018-03-28";

/// Which parameters the signature of an access to a disk has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SasShape {
    /// `sv`, `sr`, `si`, `sig`: the access names a stored policy, and its URL does not say when it
    /// ends. This is what Azure was seen to give out since 2023.
    #[default]
    Policy,
    /// `sv`, `sr`, `sk`, `sig`, `st`, `se`, `sp`: begin, end and permissions are in the URL. Azure
    /// gave these out before and its documentation still shows them.
    Explicit,
}

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
    /// What an explicit signature says besides: the values of [`EXPLICIT`] in their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    explicit: Option<[String; 4]>,
}

/// The key, the begin, the end and the permissions of an explicit signature.
const EXPLICIT: [&str; 4] = ["sk", "st", "se", "sp"];

impl Grant {
    /// A new signature that is good from `now` on: what is kept, and the query that carries it.
    pub(super) fn new(
        access: Access,
        shape: SasShape,
        now: SystemTime,
        ends: SystemTime,
    ) -> io::Result<(Self, String)> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        let signature = checksum::encode(&secret);
        let policy = Uuid::new_v4();
        let explicit = (shape == SasShape::Explicit).then(|| {
            let permissions = match access {
                Access::Read => "r",
                Access::Write => "rw",
            };
            [
                "key1".to_owned(),
                dates::iso_seconds(now),
                dates::iso_seconds(ends),
                permissions.to_owned(),
            ]
        });
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("sv", SIGNED_VERSION)
            .append_pair("sr", "b");
        match &explicit {
            None => query
                .append_pair("si", &policy.to_string())
                .append_pair("sig", &signature),
            Some([key, begin, end, permissions]) => query
                .append_pair("sk", key)
                .append_pair("sig", &signature)
                .append_pair("st", begin)
                .append_pair("se", end)
                .append_pair("sp", permissions),
        };
        let query = query.finish();
        let grant = Self {
            policy,
            signature_sha256: Sha256::digest(signature.as_bytes()).into(),
            access,
            ends,
            explicit,
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
        let as_given_out = match (&self.explicit, &signature.terms) {
            (None, Terms::Policy(policy)) => {
                if *policy != self.policy.to_string() {
                    return Err(Refusal::authentication(
                        "SAS identifier cannot be found for specified signed identifier",
                    ));
                }
                true
            }
            (Some(own), Terms::Explicit(said)) => own == said,
            _ => false,
        };
        // Digests are compared, so the time this takes says nothing about the signature.
        let presented: [u8; 32] = Sha256::digest(signature.secret.as_bytes()).into();
        if !as_given_out
            || presented != self.signature_sha256
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
    terms: Terms,
    secret: String,
}

/// What a signature says about itself.
enum Terms {
    Policy(String),
    /// The values of [`EXPLICIT`].
    Explicit([String; 4]),
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
        let terms = if query.iter().any(|(key, _)| key == "si") {
            Terms::Policy(value("si")?)
        } else {
            let [key, begin, end, permissions] = EXPLICIT;
            Terms::Explicit([value(key)?, value(begin)?, value(end)?, value(permissions)?])
        };
        Ok(Self {
            secret: value("sig")?,
            version: value("sv")?,
            resource: value("sr")?,
            terms,
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

    fn fresh(shape: SasShape, access: Access) -> (Grant, String, SystemTime, SystemTime) {
        let now = SystemTime::now();
        let ends = now + Duration::from_secs(60);
        let (grant, query) = Grant::new(access, shape, now, ends).unwrap();
        (grant, query, now, ends)
    }

    #[test]
    fn only_the_signature_given_out_is_taken() {
        let (grant, query, now, ends) = fresh(SasShape::Policy, Access::Write);
        let (other, ..) = fresh(SasShape::Policy, Access::Write);
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
        let (grant, query, ..) = fresh(SasShape::Policy, Access::Read);
        let secret = &pairs(&query)[3].1;
        let kept = format!("{grant:?} {}", serde_json::to_string(&grant).unwrap());
        assert!(!kept.contains(secret.as_str()));
        assert_eq!(secret.len(), 44);
    }

    #[test]
    fn an_explicit_signature_is_taken_as_it_was_given_out() {
        for (access, said) in [(Access::Write, "sp=rw"), (Access::Read, "sp=r")] {
            let (grant, query, now, ends) = fresh(SasShape::Explicit, access);
            assert!(
                query.contains("sk=key1") && query.ends_with(said),
                "{query}"
            );
            assert!(!query.contains("si="), "{query}");
            let verify = |query: &str, now| {
                Signature::from_query(&pairs(query)).and_then(|s| grant.verify(&s, now))
            };
            verify(&query, now).unwrap();
            verify(&query, ends).unwrap_err();
            let year = &pairs(&query).iter().find(|(k, _)| k == "se").unwrap().1[..4].to_owned();
            for bad in [
                query.replace("sp=r", "sp=wr"),
                query.replace("sk=key1", "sk=key2"),
                query.replace(&format!("se={year}"), "se=2999"),
                query.replace(&format!("st={year}"), "st=1999"),
                query.replace("&sp=", "&ps="),
                query.replace("sig=", "sig=A"),
                query.replace("sk=key1", "si=key1"),
            ] {
                assert_ne!(bad, query);
                verify(&bad, now).unwrap_err();
            }
            let kept = serde_json::to_string(&grant).unwrap();
            assert_eq!(serde_json::from_str::<Grant>(&kept).unwrap(), grant);
        }
    }
}
