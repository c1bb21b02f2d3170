//! What Azure answers when it says no, in every shape that it does so.
//!
//! There are four kinds of body: `{"error":{…}}`, the bare `{"code","message"}` of some resource
//! providers, HTML from a gateway, and nothing at all (HEAD). A failed long-running operation
//! carries the first kind in an answer with status 200.

use serde::Deserialize;

use crate::{Error, ErrorKind};

/// The longest message that is shown: a gateway's HTML page says nothing more in its tail.
const LONGEST: usize = 2000;

/// An error as the service told it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceError {
    /// HTTP status of the answer; 200 where a long-running operation failed.
    pub status: u16,
    /// The service's code, empty where there was none.
    pub code: String,
    /// The service's message, empty where there was none.
    pub message: String,
    /// What the message is about: a property or a resource id.
    pub target: Option<String>,
    /// Causes below this one. `details: null` and a missing list are the same.
    pub details: Vec<Self>,
}

/// The innards of the envelope. Nothing is required: every field is missing somewhere.
#[derive(Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "text")]
    code: String,
    #[serde(default, deserialize_with = "text")]
    message: String,
    #[serde(default)]
    target: Option<serde_json::Value>,
    #[serde(default)]
    details: Option<serde_json::Value>,
}

/// Text, or what stands in its place: `null`, a number, a nested document.
fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    })
}

impl ServiceError {
    /// Decodes the body of an answer; never fails, since an undecodable error is still one.
    #[must_use]
    pub fn decode(status: u16, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let text = text.trim_start_matches('\u{feff}').trim();
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) => Self::from_value(status, &value),
            Err(_) => Self {
                status,
                message: readable(text),
                ..Self::default()
            },
        }
    }

    /// Decodes a parsed body: the envelope, or the bare error.
    pub(crate) fn from_value(status: u16, value: &serde_json::Value) -> Self {
        let inner = match value.get("error") {
            Some(error @ serde_json::Value::Object(_)) => error,
            _ => value,
        };
        // A list would decode as the fields in their order.
        let wire = inner.is_object().then(|| Wire::deserialize(inner));
        let Some(Ok(wire)) = wire else {
            return Self {
                status,
                message: readable(&value.to_string()),
                ..Self::default()
            };
        };
        let details = wire
            .details
            .as_ref()
            .and_then(serde_json::Value::as_array)
            .map(|list| {
                list.iter()
                    .filter(|detail| detail.is_object())
                    .map(|detail| Self::from_value(status, detail))
                    .collect()
            })
            .unwrap_or_default();
        Self {
            status,
            code: wire.code,
            message: readable(&wire.message),
            target: wire
                .target
                .and_then(|target| target.as_str().map(str::to_owned)),
            details,
        }
    }

    /// This error or the first below it that has one of these codes, whatever the case.
    #[must_use]
    pub fn find(&self, codes: &[&str]) -> Option<&Self> {
        if codes
            .iter()
            .any(|code| self.code.eq_ignore_ascii_case(code))
        {
            return Some(self);
        }
        self.details.iter().find_map(|detail| detail.find(codes))
    }

    /// Whether the same request can succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        const CODES: &[&str] = &[
            "RetryableErrorDueToAnotherOperation",
            "AnotherOperationInProgress",
            "TooManyRequests",
            "SubscriptionRequestsThrottled",
            "ResourceReadFailed",
            "RetryableError",
            "ServerTimeout",
        ];
        match self.status {
            // A quota that is used up comes as 429 in places and does not pass by waiting.
            429 => !self.is_quota(),
            // One operation on many things, some of which failed for good.
            500 if self.find(&["MultipleErrorsOccurred"]).is_some() => false,
            408 | 500 | 502 | 503 | 504 => true,
            409 | 412 => self.find(CODES).is_some(),
            _ => false,
        }
    }

    fn is_quota(&self) -> bool {
        self.find(&["QuotaExceeded", "SkuNotAvailable"]).is_some()
            || (self.find(&["OperationNotAllowed"]).is_some() && self.says("quota"))
    }

    fn says(&self, word: &str) -> bool {
        self.message.to_ascii_lowercase().contains(word)
            || self.details.iter().any(|detail| detail.says(word))
    }

    fn kind(&self) -> ErrorKind {
        const CAPACITY: &[&str] = &[
            "SkuNotAvailable",
            "AllocationFailed",
            "ZonalAllocationFailed",
            "OverconstrainedAllocationRequest",
            "OverconstrainedZonalAllocationRequest",
        ];
        if self.is_quota() || self.find(CAPACITY).is_some() {
            return ErrorKind::Quota;
        }
        if self.find(&["InvalidVhd"]).is_some() {
            return ErrorKind::InvalidImage;
        }
        match self.status {
            // An operation that failed behind a 200 is a conflict of some kind with the state of
            // the world, unless its code says that the request itself was wrong.
            200 if self.code.starts_with("Invalid") || self.code == "BadRequest" => {
                ErrorKind::InvalidInput
            }
            200 if self.code.contains("NotFound") => ErrorKind::NotFound,
            200 if self.code.contains("Timeout") || self.code.contains("TimedOut") => {
                ErrorKind::Timeout
            }
            400 if self.code.contains("InUse") || self.code.contains("CannotBeDeleted") => {
                ErrorKind::Conflict
            }
            400 => ErrorKind::InvalidInput,
            401 => ErrorKind::Unauthenticated,
            403 => ErrorKind::Forbidden,
            404 => ErrorKind::NotFound,
            408 | 504 => ErrorKind::Timeout,
            409 | 412 => ErrorKind::Conflict,
            429 => ErrorKind::Throttled,
            _ => ErrorKind::Service,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        const HINTS: &[(&str, &str)] = &[
            (
                "AuthorizationFailed",
                "ask an owner of the subscription for a role that allows this (Contributor on the resource group is enough); after a new assignment wait a few minutes or log in again",
            ),
            (
                "LinkedAuthorizationFailed",
                "the request refers to a resource that this login may not use; ask its owner for a role on it",
            ),
            (
                "RequestDisallowedByPolicy",
                "a policy of the organisation forbids this; its name is in the message above",
            ),
            (
                "ResourceGroupNotFound",
                "make the group first (az group create), or ask for the right to see and make groups",
            ),
            (
                "ScopeLocked",
                "a lock on the resource or its group forbids this; remove the lock or use another group",
            ),
            ("ExpiredAuthenticationToken", "log in again (`az login`)"),
            (
                "InvalidAuthenticationTokenTenant",
                "the login is for another tenant than the subscription; log in with `az login --tenant`",
            ),
            (
                "SubscriptionNotFound",
                "this login cannot see the subscription: check --subscription and `az account list`",
            ),
            (
                "InvalidVhd",
                "the disk image has no footer that Azure understands; `azure-nixos inspect FILE` says what is wrong with it",
            ),
            (
                "SkuNotAvailable",
                "choose another size (--vm-size) or another location; `az vm list-skus -l LOCATION` lists what there is",
            ),
            (
                "AllocationFailed",
                "the region has no room for this size just now: try another size, another zone or another region",
            ),
            (
                "OSProvisioningTimedOut",
                "the machine was started, but never told Azure that it is ready: the image lacks an agent (waagent or cloud-init), or is of the wrong Hyper-V generation",
            ),
            (
                "InvalidResourceGroupLocation",
                "a group of this name exists in another location; use that location or another name",
            ),
        ];
        const QUOTA: &str =
            "choose a smaller size, another region, or ask for more quota in the portal";
        HINTS
            .iter()
            .find(|(code, _)| self.find(&[code]).is_some())
            .map(|(_, hint)| *hint)
            // A size that a region does not have counts as a quota, and has a hint of its own.
            .or_else(|| self.is_quota().then_some(QUOTA))
    }

    /// What the service said, on one line, its causes included once.
    fn sentence(&self) -> String {
        let mut said = if self.message.is_empty() {
            self.code.clone()
        } else {
            self.message.clone()
        };
        for detail in &self.details {
            let cause = detail.sentence();
            if !cause.is_empty() && !said.contains(&cause) {
                if !said.is_empty() {
                    said.push_str(" — ");
                }
                said.push_str(&cause);
            }
        }
        said
    }

    /// The error for the caller. `doing` is a clause that names the thing: `create the disk web`.
    #[must_use]
    pub fn into_error(self, doing: &str) -> Error {
        let transient = self.is_transient();
        let sentence = self.sentence();
        let said = match (sentence.is_empty(), self.status) {
            (false, _) => sentence,
            (true, 401) => "the login was refused".to_owned(),
            (true, 403) => "this login may not do that".to_owned(),
            (true, 404) => "it does not exist".to_owned(),
            (true, status) => format!("the service answered HTTP {status} and no reason"),
        };
        let code = if self.code.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.code)
        };
        let mut error = Error::new(self.kind(), format!("cannot {doing}: {said}{code}"))
            .with_status(self.status)
            .with_retryable(transient);
        if let Some(hint) = self.hint() {
            error = error.with_hint(hint);
        }
        if !self.code.is_empty() {
            error = error.with_code(self.code);
        }
        error
    }
}

/// One line of bounded length, without markup.
fn readable(text: &str) -> String {
    let text = if text.starts_with('<') {
        strip_markup(text)
    } else {
        text.to_owned()
    };
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| line.is_char_boundary(*at));
        line.truncate(end.unwrap_or(0));
        line.push('…');
    }
    line
}

/// The title of an HTML page, or else its text.
fn strip_markup(html: &str) -> String {
    let lower = html.to_ascii_lowercase();
    if let (Some(start), Some(end)) = (lower.find("<title>"), lower.find("</title>"))
        && start + 7 < end
    {
        return html[start + 7..end].to_owned();
    }
    let mut text = String::with_capacity(html.len());
    let mut inside = false;
    for c in html.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            c if !inside => text.push(c),
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_shapes_are_understood() {
        let wrapped = ServiceError::decode(
            409,
            br#"{"error":{"code":"A","message":"m","target":"t","details":[{"code":"B","message":"n"}]}}"#,
        );
        assert_eq!(
            (wrapped.code.as_str(), wrapped.message.as_str()),
            ("A", "m")
        );
        assert_eq!(wrapped.details[0].code, "B");
        assert_eq!(wrapped.target.as_deref(), Some("t"));

        let bare = ServiceError::decode(404, br#"{"code":"NotFound","message":"gone"}"#);
        assert_eq!(bare.code, "NotFound");

        let html = ServiceError::decode(
            404,
            b"<!DOCTYPE html><html><head><title>404 - File or directory not found.</title>",
        );
        assert_eq!(html.message, "404 - File or directory not found.");

        let nothing = ServiceError::decode(403, b"");
        assert_eq!(
            nothing.into_error("list the disks").to_string(),
            "cannot list the disks: this login may not do that"
        );
    }

    #[test]
    fn null_details_and_odd_types_are_no_reason_to_fail() {
        let error = ServiceError::decode(
            400,
            br#"{"error":{"code":"BadRequest","message":"Say \"why\"\r\nplease","details":null,"target":7}}"#,
        );
        assert_eq!(error.message, "Say \"why\" please");
        assert_eq!(ServiceError::decode(500, br#"{"error":"text"}"#).code, "");
        assert_eq!(ServiceError::decode(500, b"[1,2]").message, "[1,2]");
        let empty = ServiceError::decode(404, br#"{"error":{"code":"ResourceNotFound"}}"#);
        assert_eq!(empty.into_error("x").code(), Some("ResourceNotFound"));
    }

    #[test]
    fn the_cause_below_is_part_of_the_sentence() {
        let error = ServiceError::decode(
            409,
            br#"{"error":{"code":"OperationNotAllowed","message":"outer","details":[{"code":"X","message":"outer"},{"code":"Y","message":"inner"}]}}"#,
        );
        assert_eq!(
            error.into_error("resize web").to_string(),
            "cannot resize web: outer — inner (OperationNotAllowed)"
        );
    }

    #[test]
    fn quota_is_not_throttling() {
        let body = br#"{"error":{"code":"OperationNotAllowed","message":"Operation results in exceeding quota limits of Core. Maximum allowed: 100"}}"#;
        for status in [409, 429] {
            let error = ServiceError::decode(status, body);
            assert!(!error.is_transient());
            assert_eq!(error.into_error("x").kind(), ErrorKind::Quota);
        }
        assert!(ServiceError::decode(429, b"").is_transient());
        let lock = br#"{"error":{"code":"RetryableErrorDueToAnotherOperation","message":"x"}}"#;
        assert!(ServiceError::decode(429, lock).is_transient());
    }

    #[test]
    fn a_failure_of_many_is_final_and_a_plain_500_is_not() {
        let many = br#"{"error":{"code":"MultipleErrorsOccurred","message":"x","details":[{"code":"ServerTimeout"}]}}"#;
        assert!(!ServiceError::decode(500, many).is_transient());
        assert!(ServiceError::decode(500, b"").is_transient());
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let long = "é".repeat(5000);
        let error = ServiceError::decode(502, long.as_bytes());
        assert!(error.message.len() <= LONGEST + '…'.len_utf8());
        assert!(error.message.ends_with('…'));
    }

    #[test]
    fn a_size_that_is_not_there_is_no_matter_of_quota() {
        let hint = |code: &str, message: &str| {
            let body = format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#);
            let error = ServiceError::decode(409, body.as_bytes()).into_error("create it");
            assert_eq!(error.kind(), ErrorKind::Quota);
            error.hint().unwrap().to_owned()
        };
        assert!(hint("SkuNotAvailable", "not here").contains("list-skus"));
        assert!(
            hint("OperationNotAllowed", "exceeding quota limits of Core").contains("more quota")
        );
        assert!(hint("QuotaExceeded", "exceeding").contains("more quota"));
    }
}
