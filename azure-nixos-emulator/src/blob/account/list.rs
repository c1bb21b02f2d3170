//! List Containers and List Blobs.

use std::fmt::Write as _;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};

use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::about::BlobKind;
use super::super::conditions::etag;
use super::super::dates;
use super::super::lease::{Lease, State};
use super::super::refusal::{Refusal, escape};
use super::super::stored::StoredBlob;
use super::container::PublicAccess;
use super::serve::{Ask, xml};
use super::target;

/// The most entries in one answer.
const MOST: usize = 5000;

/// What a list is asked for.
struct Wanted<'a> {
    prefix: &'a str,
    marker: Option<&'a str>,
    /// Where the marker says that it goes on.
    from: String,
    most: usize,
    said_most: Option<&'a str>,
    include: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    fn of(ask: &'a Ask) -> Result<Self, Refusal> {
        let said_most = ask.query("maxresults");
        let most = match said_most.map(str::parse::<usize>) {
            None => MOST,
            Some(Ok(0)) => {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "OutOfRangeQueryParameterValue",
                    "One of the query parameters specified in the request URI is outside the permissible range.",
                )
                .detail("QueryParameterName", "maxresults")
                .detail("QueryParameterValue", "0")
                .detail("MinimumAllowed", "1"));
            }
            Some(Ok(most)) => most.min(MOST),
            Some(Err(_)) => {
                return Err(Refusal::invalid_query(
                    "maxresults",
                    said_most.unwrap_or_default(),
                ));
            }
        };
        let marker = ask.query("marker").filter(|marker| !marker.is_empty());
        let from = match marker {
            None => String::new(),
            Some(marker) => {
                read_marker(marker).ok_or_else(|| Refusal::invalid_query("marker", marker))?
            }
        };
        Ok(Self {
            prefix: ask.query("prefix").unwrap_or_default(),
            marker,
            from,
            most,
            said_most,
            include: ask
                .query("include")
                .map(|include| include.split(',').collect())
                .unwrap_or_default(),
        })
    }

    /// Where to begin: at the prefix, or further on.
    fn begin(&self) -> &str {
        self.prefix.max(&self.from)
    }

    /// The elements before the entries.
    fn head(&self, document: &mut String) {
        for (name, value) in [
            (
                "Prefix",
                Some(self.prefix).filter(|prefix| !prefix.is_empty()),
            ),
            ("Marker", self.marker),
            ("MaxResults", self.said_most),
        ] {
            if let Some(value) = value {
                element(document, name, value);
            }
        }
    }
}

/// Markers are opaque to clients: the next name, in base64.
fn write_marker(name: &str) -> String {
    format!("2!{}", URL_SAFE_NO_PAD.encode(name))
}

fn read_marker(marker: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(marker.strip_prefix("2!")?).ok()?).ok()
}

fn element(document: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = write!(document, "<{name}>{}</{name}>", escape(value));
}

fn tail(document: &mut String, next: Option<&str>) {
    match next {
        Some(name) => element(document, "NextMarker", &write_marker(name)),
        None => document.push_str("<NextMarker />"),
    }
    document.push_str("</EnumerationResults>");
}

/// The endpoint that the request came to.
fn endpoint(ask: &Ask) -> String {
    let host = target::host(&ask.parts.headers).unwrap_or_default();
    let scheme = if ask.parts.extensions.get::<super::super::Secure>().is_some() {
        "https"
    } else {
        "http"
    };
    let account = &ask.address.account.name;
    let path = if host.starts_with(&format!("{account}.")) {
        String::new()
    } else {
        format!("{account}/")
    };
    format!("{scheme}://{host}/{path}")
}

pub(super) fn containers(ask: &Ask) -> Result<Response, Refusal> {
    let wanted = Wanted::of(ask)?;
    let mut document = format!(
        "<EnumerationResults ServiceEndpoint=\"{}\">",
        escape(&endpoint(ask))
    );
    wanted.head(&mut document);
    document.push_str("<Containers>");
    let containers = ask
        .address
        .account
        .containers
        .read()
        .unwrap_or_else(PoisonError::into_inner);
    let mut found = containers
        .range::<str, _>((Bound::Included(wanted.begin()), Bound::Unbounded))
        .map(|(_, container)| container)
        .take_while(|container| container.name.starts_with(wanted.prefix));
    for container in found.by_ref().take(wanted.most) {
        let about = container.about();
        document.push_str("<Container>");
        element(&mut document, "Name", &container.name);
        document.push_str("<Properties>");
        let state = Lease::state(about.lease.as_ref(), ask.now);
        for (name, value) in [
            ("Last-Modified", dates::http_date(about.version)),
            ("Etag", etag(about.version)),
            ("LeaseStatus", state.status().to_owned()),
            ("LeaseState", state.as_str().to_owned()),
        ] {
            element(&mut document, name, &value);
        }
        if let Some(public) = about.public {
            let public = match public {
                PublicAccess::Blob => "blob",
                PublicAccess::Container => "container",
            };
            element(&mut document, "PublicAccess", public);
        }
        document.push_str("</Properties>");
        if wanted.include.contains(&"metadata") {
            metadata(&mut document, &about.metadata.0);
        }
        document.push_str("</Container>");
    }
    let next = found.next().map(|container| container.name.clone());
    document.push_str("</Containers>");
    tail(&mut document, next.as_deref());
    Ok(xml(&document))
}

fn metadata(document: &mut String, metadata: &std::collections::BTreeMap<String, String>) {
    document.push_str("<Metadata>");
    for (name, value) in metadata {
        element(document, name, value);
    }
    document.push_str("</Metadata>");
}

/// An entry of a list of blobs.
enum Entry {
    Blob(String, Arc<StoredBlob>),
    Prefix(String),
}

pub(super) fn blobs(ask: &Ask) -> Result<Response, Refusal> {
    let container = ask.address.container()?;
    let wanted = Wanted::of(ask)?;
    for include in &wanted.include {
        // What there is none of is listed as that. Uncommitted blobs have no length to list.
        if !matches!(
            *include,
            "" | "metadata"
                | "copy"
                | "snapshots"
                | "deleted"
                | "versions"
                | "tags"
                | "immutabilitypolicy"
                | "legalhold"
                | "deletedwithversions"
                | "permissions"
        ) {
            return Err(Refusal::not_implemented(format!(
                "lists of blobs with include={include}"
            )));
        }
    }
    let delimiter = ask.query("delimiter").filter(|text| !text.is_empty());
    let mut entries: Vec<Entry> = Vec::new();
    let mut next = None;
    container.walk(wanted.begin(), |name, blob| {
        let Some(rest) = name.strip_prefix(wanted.prefix) else {
            return false;
        };
        let entry = match delimiter.and_then(|delimiter| Some((delimiter, rest.find(delimiter)?))) {
            Some((delimiter, at)) => {
                let end = wanted.prefix.len() + at + delimiter.len();
                let prefix = &name[..end];
                if matches!(entries.last(), Some(Entry::Prefix(last)) if last == prefix) {
                    return true;
                }
                Entry::Prefix(prefix.to_owned())
            }
            None => Entry::Blob(name.to_owned(), Arc::clone(blob)),
        };
        if entries.len() == wanted.most {
            next = Some(name.to_owned());
            return false;
        }
        entries.push(entry);
        true
    });
    let mut document = format!(
        "<EnumerationResults ServiceEndpoint=\"{}\" ContainerName=\"{}\">",
        escape(&endpoint(ask)),
        escape(&container.name)
    );
    wanted.head(&mut document);
    if let Some(delimiter) = delimiter {
        element(&mut document, "Delimiter", delimiter);
    }
    document.push_str("<Blobs>");
    for entry in &entries {
        match entry {
            Entry::Prefix(name) => {
                document.push_str("<BlobPrefix>");
                element(&mut document, "Name", name);
                document.push_str("</BlobPrefix>");
            }
            Entry::Blob(name, blob) => {
                document.push_str("<Blob>");
                element(&mut document, "Name", name);
                describe(&mut document, ask, blob, &wanted)?;
                document.push_str("</Blob>");
            }
        }
    }
    document.push_str("</Blobs>");
    tail(&mut document, next.as_deref());
    Ok(xml(&document))
}

fn describe(
    document: &mut String,
    ask: &Ask,
    blob: &StoredBlob,
    wanted: &Wanted<'_>,
) -> Result<(), Refusal> {
    let about = blob.about();
    let version = blob.store()?.version();
    let lease = Lease::state(about.lease.as_ref(), ask.now);
    let created = dates::http_date(dates::ticks(blob.created));
    document.push_str("<Properties>");
    for (name, value) in [
        ("Creation-Time", created),
        ("Last-Modified", dates::http_date(version)),
        ("Etag", etag(version).trim_matches('"').to_owned()),
        ("Content-Length", blob.length().to_string()),
    ] {
        element(document, name, &value);
    }
    for (name, header) in [
        ("Content-Type", "content-type"),
        ("Content-Encoding", "content-encoding"),
        ("Content-Language", "content-language"),
        ("Content-MD5", "content-md5"),
        ("Cache-Control", "cache-control"),
        ("Content-Disposition", "content-disposition"),
    ] {
        let otherwise = if name == "Content-Type" {
            "application/octet-stream"
        } else {
            ""
        };
        element(
            document,
            name,
            about.content.get(header).unwrap_or(otherwise),
        );
    }
    match about.kind {
        BlobKind::Page => {
            let number = about.sequence_number.to_string();
            element(document, "x-ms-blob-sequence-number", &number);
        }
        BlobKind::Block => {
            element(
                document,
                "AccessTier",
                about.tier.as_deref().unwrap_or("Hot"),
            );
            if about.tier.is_none() {
                element(document, "AccessTierInferred", "true");
            }
        }
    }
    element(document, "BlobType", about.kind.as_str());
    element(document, "LeaseStatus", lease.status());
    element(document, "LeaseState", lease.as_str());
    if let (State::Leased, Some(held)) = (lease, &about.lease) {
        element(document, "LeaseDuration", held.duration());
    }
    if let (Some(copied), true) = (&about.copied, wanted.include.contains(&"copy")) {
        element(document, "CopyId", &copied.id);
        element(document, "CopyStatus", "success");
        element(document, "CopySource", &copied.source);
        element(document, "CopyProgress", &format!("{0}/{0}", copied.length));
        element(document, "CopyCompletionTime", &copied.completed);
    }
    element(document, "ServerEncrypted", "true");
    document.push_str("</Properties>");
    if wanted.include.contains(&"metadata") {
        metadata(document, &about.metadata.0);
    }
    document.push_str("<OrMetadata />");
    Ok(())
}
