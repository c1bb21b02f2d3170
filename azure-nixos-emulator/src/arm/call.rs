//! A request as Resource Manager reads it.

use axum::http::{Method, Uri};
use bytes::Bytes;
use serde_json::Value;
use url::form_urlencoded;

use super::answer::Result;
use super::error::ArmError;

/// A request: the method, the path in its parts, the query and the body.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) path_and_query: String,
    /// The parts of the path, percent-decoded, in the caller's case.
    pub(crate) segments: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Bytes,
    /// The scheme and host that it came to, where they are Azure's own; `None` is loopback.
    pub(crate) base: Option<String>,
    /// Whether it is a resource of a template: there the case of properties does not matter.
    pub(crate) is_of_template: bool,
}

impl Call {
    pub(crate) fn new(
        method: Method,
        uri: &Uri,
        authorization: Option<String>,
        body: Bytes,
    ) -> Self {
        let path = uri.path().to_owned();
        Self {
            segments: path
                .split('/')
                .filter(|part| !part.is_empty())
                .map(percent_decode)
                .collect(),
            query: form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect(),
            path_and_query: uri
                .path_and_query()
                .map_or_else(|| path.clone(), ToString::to_string),
            path,
            method,
            authorization,
            body,
            base: None,
            is_of_template: false,
        }
    }

    /// A parameter of the query; its name in any case.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body, which has to be a JSON object.
    pub(crate) fn json(&self) -> Result<Value> {
        let refused = |why: String| {
            ArmError::gateway(
                400,
                "InvalidRequestContent",
                format!("The request content was invalid and could not be deserialized: '{why}'."),
            )
        };
        match serde_json::from_slice(&self.body) {
            Ok(body @ Value::Object(_)) => Ok(body),
            Ok(_) => Err(refused("the body is not a JSON object".to_owned())),
            Err(error) if self.body.is_empty() => {
                tracing::debug!(%error, "no body");
                Err(refused("the body is empty".to_owned()))
            }
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// The rate-limit bucket it counts for.
    pub(crate) fn bucket(&self) -> &'static str {
        match self.method {
            Method::GET | Method::HEAD => "reads",
            Method::DELETE => "deletes",
            _ => "writes",
        }
    }
}

/// A plus sign is itself in a path, so this is not form decoding. A broken escape stays as it is.
pub(crate) fn percent_decode(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_and_queries_found_in_any_case() {
        let uri: Uri = "/a%20b/c+d/100%25/e%zz?API-version=1&x=y%26z"
            .parse()
            .unwrap();
        let call = Call::new(Method::GET, &uri, None, Bytes::new());
        assert_eq!(call.segments, ["a b", "c+d", "100%", "e%zz"]);
        assert_eq!(call.query("api-version"), Some("1"));
        assert_eq!(call.query("x"), Some("y&z"));
    }
}
