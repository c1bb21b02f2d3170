//! Who may reach port 22.

use std::net::IpAddr;

use crate::arm::Client;
use crate::{Error, ErrorKind, Result};

/// Who is let in, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Anyone,
    Nobody,
    /// The address at which the login service saw the caller.
    Me,
    /// An address, or a range in CIDR notation.
    Range(String),
}

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allow {
    Anyone,
    Nobody,
    Range(String),
}

impl Asked {
    /// `any` or `*`, `none`, `me`, an address or a range.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for anything else.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        Ok(match text.to_ascii_lowercase().as_str() {
            "*" | "any" => Self::Anyone,
            "none" => Self::Nobody,
            "me" => Self::Me,
            _ if is_range(text) => Self::Range(text.to_owned()),
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("{text:?} is not an address or a range to let SSH in from"),
                )
                .with_hint(
                    "pass an address, a range such as 203.0.113.0/24, me, any for everybody or none for nobody",
                ));
            }
        })
    }

    /// Finds out who that is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when `me` is asked for and the login does not say where from it was.
    pub(crate) async fn resolve(self, client: &Client) -> Result<Allow> {
        Ok(match self {
            Self::Anyone => Allow::Anyone,
            Self::Nobody => Allow::Nobody,
            Self::Range(range) => Allow::Range(range),
            Self::Me => match client.caller_address().await? {
                Some(address) => Allow::Range(address.to_string()),
                None => {
                    return Err(Error::new(
                        ErrorKind::InvalidInput,
                        "SSH cannot be opened for your address alone: the token of this login does not say which it is",
                    )
                    .with_hint(
                        "tokens of people say it, those of service principals and managed identities mostly do not: pass the public address of your network instead of me",
                    ));
                }
            },
        })
    }
}

impl Allow {
    /// As a security rule has it; nothing where nobody is let in.
    pub(super) fn prefix(&self) -> Option<&str> {
        match self {
            Self::Anyone => Some("*"),
            Self::Nobody => None,
            Self::Range(range) => Some(range),
        }
    }
}

fn is_range(source: &str) -> bool {
    match source.split_once('/') {
        None => source.parse::<IpAddr>().is_ok(),
        Some((address, bits)) => match (address.parse::<IpAddr>(), bits.parse::<u8>()) {
            (Ok(IpAddr::V4(_)), Ok(bits)) => bits <= 32,
            (Ok(IpAddr::V6(_)), Ok(bits)) => bits <= 128,
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm::replay;

    #[test]
    fn sources_are_addresses_ranges_or_words() {
        for good in ["203.0.113.7", "203.0.113.0/24", "2001:db8::/32"] {
            assert_eq!(Asked::parse(good).unwrap(), Asked::Range(good.to_owned()));
        }
        for (word, is) in [
            ("*", Asked::Anyone),
            ("Any", Asked::Anyone),
            ("none", Asked::Nobody),
            ("me", Asked::Me),
        ] {
            assert_eq!(Asked::parse(word).unwrap(), is);
        }
        for bad in [
            "",
            "my",
            "203.0.113.0/33",
            "203.0.113.0/x",
            "10.0.0.0/-1",
            "a/8",
        ] {
            assert!(Asked::parse(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn me_is_where_the_login_was_seen() {
        // {"ipaddr":"203.0.113.9"} between a header and a signature.
        let client = replay::client_with_token("e30.eyJpcGFkZHIiOiIyMDMuMC4xMTMuOSJ9.x");
        let allow = Asked::Me.resolve(&client).await.unwrap();
        assert_eq!(allow, Allow::Range("203.0.113.9".to_owned()));
        for token in [
            "e30.e30.x",
            "opaque",
            "e30.!.x",
            "e30.eyJpcGFkZHIiOiJ4In0.x",
        ] {
            let client = replay::client_with_token(token);
            let error = Asked::Me.resolve(&client).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(!error.report().contains(token), "{error:?}");
            assert!(error.hint().unwrap().contains("public address"));
        }
    }
}
