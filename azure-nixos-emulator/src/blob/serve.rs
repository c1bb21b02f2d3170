//! The data plane: faults, signature, and the way to the operation.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use uuid::Uuid;

use super::access::Signature;
use super::conditions::etag;
use super::refusal::Refusal;
use super::request::{self, ApiVersion, Call, Permit};
use super::stored::StoredBlob;
use super::{PageBlobs, account, dates, diagnostics, page_list, put_page, read};
use crate::fault::{self, FaultAction, Harm, Plane};

/// The most of a refused body that is read to its end. A client that is still sending would
/// otherwise see its connection break and not the refusal.
const DRAINED: u64 = 8 * 1024 * 1024;
/// How long the sender of a refused body may fall silent.
const DRAIN_SILENCE: Duration = Duration::from_secs(5);

pub(super) fn router(blobs: PageBlobs) -> Router {
    Router::new().fallback(handle).with_state(blobs)
}

async fn handle(State(blobs): State<PageBlobs>, request: Request) -> Response {
    let (mut parts, mut body) = request.into_parts();
    let path_and_query = parts.uri.path_and_query().map_or("", |p| p.as_str());
    let action = blobs.0.faults.before_with(
        Plane::Blob,
        parts.method.as_str(),
        path_and_query,
        &parts.headers,
        announced_length(&parts.headers).unwrap_or_default(),
    );
    parts.extensions.insert(Harm::of(&action));
    let method = parts.method.clone();
    let request_id = Uuid::new_v4().to_string();
    let client_request_id = parts.headers.get("x-ms-client-request-id").cloned();
    let version = ApiVersion::of(&parts.headers);
    // An answer to a version that is not known is in the oldest that is spoken here.
    let answered_version = version.as_ref().map_or("2009-09-19", |version| version.0);
    let drain = Drain::of(&parts.headers);

    let outcome = match &action {
        FaultAction::ResetBefore => return fault::reset(),
        FaultAction::ResetDuring => {
            let length = announced_length(&parts.headers).unwrap_or_default();
            return fault::reset_during(body, length).await;
        }
        FaultAction::Stall(time) => {
            tokio::time::sleep(*time).await;
            return fault::reset();
        }
        FaultAction::Respond {
            status,
            code,
            message,
            headers,
            late,
        } => {
            tokio::time::sleep(*late).await;
            Err(by_rule(*status, code, message.as_deref(), headers))
        }
        FaultAction::Delay(time) => {
            tokio::time::sleep(*time).await;
            answer(&blobs, parts, version, &mut body).await
        }
        FaultAction::ExpireAccess => {
            if let Some(blob) = addressed(&blobs, parts.uri.path()) {
                blob.expire_access();
            }
            answer(&blobs, parts, version, &mut body).await
        }
        // The others are carried out on what it writes or on its answer.
        _ => answer(&blobs, parts, version, &mut body).await,
    };
    let mut response = match outcome {
        Ok(response) => response,
        Err(refusal) => {
            drain.run(body).await;
            refusal.into_response(&request_id, &dates::iso(blobs.now()))
        }
    };
    let headers = response.headers_mut();
    headers.insert(
        header::SERVER,
        HeaderValue::from_static("Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"),
    );
    headers.insert("x-ms-version", HeaderValue::from_static(answered_version));
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert("x-ms-request-id", id);
    }
    if let Some(id) = client_request_id {
        headers.insert("x-ms-client-request-id", id);
    }
    fault::spoil(&action, &method, response).await
}

/// Serves a request. Takes the body out only when it is read to its end.
async fn answer(
    blobs: &PageBlobs,
    parts: Parts,
    version: Result<ApiVersion, Refusal>,
    body: &mut Body,
) -> Result<Response, Refusal> {
    if !blobs.0.faults.admit_request() {
        return Err(Refusal::busy(
            "Operations per second is over the account limit.",
        ));
    }
    let version = version?;
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    if let Some(machine) = diagnostics::addressed(parts.uri.path()) {
        return diagnostics::answer(blobs, &parts, &query, machine).await;
    }
    let host = request::header(&parts.headers, "host")?;
    let is_container = request::query(&query, "restype").is_some();
    if let Some(address) = account::find(blobs, host, parts.uri.path(), is_container)? {
        return account::answer(blobs, address, parts, query, version, body).await;
    }
    let signature = Signature::from_query(&query)?;
    let blob = addressed(blobs, parts.uri.path()).ok_or_else(Refusal::blob_not_found)?;
    let grant = blob.verify(&signature, blobs.now())?;
    let call = Call {
        parts,
        query,
        version,
        blob,
        permit: Permit::Disk(grant),
    };
    if call.query("restype").is_some() {
        // The signature is for a blob.
        return Err(Refusal::permission());
    }
    let operation = (call.parts.method.clone(), call.query("comp"));
    match (&operation.0, operation.1) {
        (&Method::GET | &Method::HEAD, comp)
            if call.query("snapshot").is_some() || call.query("versionid").is_some() =>
        {
            match comp {
                // A disk's blob has neither snapshots nor versions.
                None | Some("metadata" | "pagelist") => Err(Refusal::blob_not_found()),
                Some(_) => Err(Refusal::permission()),
            }
        }
        (&Method::GET, None) => read::content(blobs, &call).await,
        (&Method::HEAD, None) | (&Method::GET | &Method::HEAD, Some("metadata")) => {
            read::properties(blobs, &call).await
        }
        (&Method::GET, Some("pagelist")) => page_list::page_list(blobs, &call).await,
        (&Method::PUT, Some("page")) if call.header("x-ms-copy-source")?.is_some() => {
            account::put_page_from(blobs.clone(), call, None).await
        }
        (&Method::PUT, Some("page")) => put_page::put_page(blobs, &call, body).await,
        (&Method::GET, Some("blocklist"))
        | (&Method::PUT, Some("block" | "blocklist" | "appendblock" | "seal")) => {
            Err(Refusal::blob_type())
        }
        (&Method::GET, Some("tags"))
        | (&Method::DELETE, _)
        | (
            &Method::PUT,
            None
            | Some(
                "metadata"
                | "properties"
                | "tier"
                | "lease"
                | "snapshot"
                | "copy"
                | "undelete"
                | "expiry"
                | "tags"
                | "immutabilityPolicies"
                | "legalhold"
                | "incrementalcopy",
            ),
        ) => Err(Refusal::permission()),
        (&Method::GET | &Method::HEAD | &Method::PUT, Some(comp)) => {
            Err(Refusal::invalid_query("comp", comp))
        }
        _ => Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "UnsupportedHttpVerb",
            "The resource doesn't support specified Http Verb.",
        )),
    }
}

/// The blob that a path names: `/<id>/abcd`.
pub(super) fn addressed(blobs: &PageBlobs, path: &str) -> Option<std::sync::Arc<StoredBlob>> {
    let id = path.strip_prefix('/')?.strip_suffix("/abcd")?;
    // Only the form that was given out: the library also takes braces and no hyphens.
    let parsed = Uuid::parse_str(id).ok()?;
    blobs.get(parsed).filter(|blob| blob.path() == path)
}

/// The answer that a fault rule asks for.
fn by_rule(
    status: u16,
    code: &str,
    message: Option<&str>,
    headers: &[(String, String)],
) -> Refusal {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let message = message.unwrap_or(match code {
        "ServerBusy" => "The server is busy.",
        "OperationTimedOut" => "Operation could not be completed within the specified time.",
        "InternalError" => {
            "Server encountered an internal error. Please try again after some time."
        }
        _ => "The request was refused.",
    });
    headers.iter().fold(
        Refusal::new(status, code.to_owned(), message.to_owned()),
        |refusal, (name, value)| refusal.header(name, value),
    )
}

/// The headers that name a version of the blob.
pub(super) fn version_headers(headers: &mut HeaderMap, version: u64) {
    for (name, value) in [
        (header::ETAG, etag(version)),
        (header::LAST_MODIFIED, dates::http_date(version)),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

/// The bytes that the body has by its header.
fn announced_length(headers: &HeaderMap) -> Option<u64> {
    let text = request::header(headers, "content-length").ok().flatten()?;
    text.parse().ok()
}

/// Whether the body of a refused request is read to its end.
struct Drain(bool);

impl Drain {
    fn of(headers: &HeaderMap) -> Self {
        // A client that waits for "100 Continue" sends nothing before it is asked to.
        let waits = headers.contains_key(header::EXPECT);
        Self(!waits && announced_length(headers).is_none_or(|length| length <= DRAINED))
    }

    async fn run(self, mut body: Body) {
        let mut left = if self.0 { DRAINED } else { 0 };
        while left > 0 {
            match tokio::time::timeout(DRAIN_SILENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let size = frame.data_ref().map_or(0, bytes::Bytes::len);
                    left = left.saturating_sub(size as u64);
                }
                _ => return,
            }
        }
    }
}
