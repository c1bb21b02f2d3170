//! What is known of a blob besides its bytes: what kind it is, and what clients wrote on it.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::lease::Lease;
use super::refusal::Refusal;
use super::request::header;

/// The most that metadata may have, names and values together, in bytes.
const MOST_METADATA: usize = 8 * 1024;

/// The kinds of blobs there are here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum BlobKind {
    #[default]
    Page,
    Block,
}

impl BlobKind {
    /// As `x-ms-blob-type` says it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Page => "PageBlob",
            Self::Block => "BlockBlob",
        }
    }
}

/// A blob's own words about itself. A disk's are the default's: nobody can change them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct About {
    /// Its name in its container.
    pub(super) name: String,
    pub(super) kind: BlobKind,
    pub(super) sequence_number: u64,
    #[serde(default)]
    pub(super) metadata: Metadata,
    #[serde(default)]
    pub(super) content: ContentHeaders,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lease: Option<Lease>,
    /// The tier that a client put a block blob in; without one it is in the account's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tier: Option<String>,
    /// The blocks of a block blob that was made of blocks: base64 ids and sizes in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) blocks: Vec<(String, u64)>,
    /// The id and the source of the copy that it was made by, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) copied: Option<Copied>,
}

/// How a blob came to be a copy. Copies here are done when they are answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Copied {
    pub(super) id: String,
    /// Without its signature.
    pub(super) source: String,
    /// As an HTTP date.
    pub(super) completed: String,
    pub(super) length: u64,
}

/// Names and values that a client chose. HTTP gives the names in lower case, so that case is lost
/// here, which Azure keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Metadata(pub(super) BTreeMap<String, String>);

impl Metadata {
    const PREFIX: &str = "x-ms-meta-";

    /// Reads the headers of a request.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut found = BTreeMap::new();
        let mut size = 0;
        for (name, value) in headers {
            let Some(name) = name.as_str().strip_prefix(Self::PREFIX) else {
                continue;
            };
            // A name is one of C#: letters, digits and underscores, no digit first.
            let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && !name.starts_with(|c: char| c.is_ascii_digit());
            let value = value.to_str().ok().filter(|_| fits && !name.is_empty());
            let Some(value) = value else {
                return Err(Refusal::bad_request(
                    "InvalidMetadata",
                    "The specified metadata is invalid. It includes characters that are not permitted.",
                ));
            };
            size += name.len() + value.len();
            found.insert(name.to_owned(), value.trim().to_owned());
        }
        if size > MOST_METADATA {
            return Err(Refusal::bad_request(
                "MetadataTooLarge",
                "The size of the specified metadata exceeds the maximum size permitted.",
            ));
        }
        Ok(Self(found))
    }

    /// Writes them to an answer.
    pub(super) fn describe(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            set(headers, &format!("{}{name}", Self::PREFIX), value);
        }
    }
}

/// What a client says of the content and is told again. Nothing here looks into it, save that the
/// MD5 is one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ContentHeaders(BTreeMap<String, String>);

/// Names in answers; requests put `x-ms-blob-` before them.
const CONTENT: [&str; 6] = [
    "cache-control",
    "content-type",
    "content-md5",
    "content-encoding",
    "content-language",
    "content-disposition",
];

impl ContentHeaders {
    /// Reads the headers of a request.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut found = BTreeMap::new();
        for (name, said) in CONTENT.into_iter().zip([
            "x-ms-blob-cache-control",
            "x-ms-blob-content-type",
            "x-ms-blob-content-md5",
            "x-ms-blob-content-encoding",
            "x-ms-blob-content-language",
            "x-ms-blob-content-disposition",
        ]) {
            let Some(value) = header(headers, said)?.filter(|value| !value.is_empty()) else {
                continue;
            };
            if name == "content-md5" && super::checksum::decode::<16>(value).is_none() {
                return Err(Refusal::invalid_md5());
            }
            found.insert(name.to_owned(), value.to_owned());
        }
        Ok(Self(found))
    }

    /// Whether a request says anything of the content.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), value);
    }

    /// Writes them to an answer. The MD5 is the whole blob's, so that the answer to a range has it
    /// under another name.
    pub(super) fn describe(&self, headers: &mut HeaderMap, is_range: bool) {
        for (name, value) in &self.0 {
            let name = match name.as_str() {
                "content-md5" if is_range => "x-ms-blob-content-md5",
                name => name,
            };
            set(headers, name, value);
        }
    }
}

/// Sets a header; one that HTTP cannot carry is left out.
pub(super) fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn metadata_has_names_of_letters_digits_and_underscores() {
        let found = Metadata::of(&headers(&[
            ("x-ms-meta-a_1", "b"),
            ("x-ms-meta-c", " d "),
            ("x-ms-version", "v"),
        ]))
        .unwrap();
        assert_eq!(found.0.len(), 2);
        assert_eq!(found.0["c"], "d");
        let mut answer = HeaderMap::new();
        found.describe(&mut answer);
        assert_eq!(answer["x-ms-meta-a_1"], "b");
        for bad in ["x-ms-meta-", "x-ms-meta-1a", "x-ms-meta-a-b"] {
            Metadata::of(&headers(&[(bad, "x")])).unwrap_err();
        }
        let long = "x".repeat(MOST_METADATA);
        Metadata::of(&headers(&[("x-ms-meta-a", &long)])).unwrap_err();
    }

    #[test]
    fn what_is_said_of_the_content_comes_back() {
        let said = headers(&[
            ("x-ms-blob-content-type", "text/plain"),
            ("x-ms-blob-content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ]);
        let found = ContentHeaders::of(&said).unwrap();
        let (mut whole, mut range) = (HeaderMap::new(), HeaderMap::new());
        found.describe(&mut whole, false);
        found.describe(&mut range, true);
        assert_eq!(whole["content-type"], "text/plain");
        assert!(whole.contains_key("content-md5"));
        assert!(!range.contains_key("content-md5"));
        assert!(range.contains_key("x-ms-blob-content-md5"));
        ContentHeaders::of(&headers(&[("x-ms-blob-content-md5", "x")])).unwrap_err();
    }
}
