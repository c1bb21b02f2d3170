//! The boot diagnostics of virtual machines: their serial log and a picture of their screen.
//!
//! They are read with a signature that says itself until when it is good (`se`) and what it allows
//! (`sp=r`), as Azure gives it out, so nothing is kept of it. The files are the machines' own and
//! are written past this server; one that is not there, or empty, is a blob that does not exist
//! yet.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

use super::access::SIGNED_VERSION;
use super::refusal::Refusal;
use super::request::{ByteRange, header as header_of, query as value_of};
use super::{PageBlobs, checksum, dates, serve};
use crate::login::signature;

/// One of the blobs of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiagnosticsFile {
    SerialLog,
    Screenshot,
}

impl DiagnosticsFile {
    const ALL: [Self; 2] = [Self::SerialLog, Self::Screenshot];

    /// What the name of the blob ends with, and the name of the file among the machine's own.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::SerialLog => "serialconsole.log",
            Self::Screenshot => "screenshot.bmp",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::SerialLog => "text/plain",
            Self::Screenshot => "image/bmp",
        }
    }
}

impl PageBlobs {
    /// Signs with this key, which is the state directory's; a second one is not taken.
    pub(crate) fn sign_diagnostics_with(&self, key: &str) {
        self.0.diagnostics_key.get_or_init(|| key.to_owned());
    }

    /// The path and query that a machine's blob can be read with until `ends`.
    pub(crate) fn diagnostics_path(
        &self,
        machine: &str,
        vm_id: &str,
        file: DiagnosticsFile,
        ends: SystemTime,
    ) -> String {
        let key = self.0.diagnostics_key.get().map_or("", String::as_str);
        let path = format!("/{vm_id}/{machine}.{vm_id}.{}", file.suffix());
        let ends = end_text(ends);
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("sv", SIGNED_VERSION)
            .append_pair("sr", "b")
            .append_pair("sig", &sign(key, &path, &ends))
            .append_pair("se", &ends)
            .append_pair("sp", "r")
            .finish();
        format!("{path}?{query}")
    }
}

fn end_text(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second]Z"
        ))
        .unwrap_or_default()
}

fn sign(key: &str, path: &str, ends: &str) -> String {
    checksum::encode(&signature(
        key,
        format!("r\n{ends}\n{path}\n{SIGNED_VERSION}\nb").as_bytes(),
    ))
}

/// What a path names, where it has the form of a machine's blob: the machine and the file.
pub(super) fn addressed(path: &str) -> Option<(Uuid, DiagnosticsFile)> {
    let (container, name) = path.strip_prefix('/')?.split_once('/')?;
    let machine = Uuid::parse_str(container).ok()?;
    DiagnosticsFile::ALL.into_iter().find_map(|file| {
        let name = name.strip_suffix(file.suffix())?.strip_suffix('.')?;
        name.ends_with(&format!(".{container}"))
            .then_some((machine, file))
    })
}

/// Answers a request for a machine's blob.
pub(super) async fn answer(
    blobs: &PageBlobs,
    parts: &Parts,
    query: &[(String, String)],
    (machine, file): (Uuid, DiagnosticsFile),
) -> Result<Response, Refusal> {
    verify(blobs, parts, query)?;
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    if !is_read || value_of(query, "comp").is_some() || value_of(query, "restype").is_some() {
        return Err(Refusal::permission());
    }
    let path = blobs.machine_file(machine, file);
    // Bounded: the log is cut at some MiB, and a screen has as many.
    let bytes = match tokio::fs::read(&path).await {
        Ok(bytes) if !bytes.is_empty() => bytes,
        Ok(_) => return Err(Refusal::blob_not_found()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Refusal::blob_not_found()),
        Err(error) => return Err(error.into()),
    };
    let changed = tokio::fs::metadata(&path).await?.modified()?;
    let length = bytes.len();
    let mut range = None;
    for name in ["x-ms-range", "Range"] {
        if range.is_none()
            && let Some(text) = header_of(&parts.headers, name)?
        {
            range = Some(ByteRange::parse(name, text)?);
        }
    }
    let window = match range {
        None => None,
        Some(range) if range.start < length as u64 => {
            let end = range.end.unwrap_or(u64::MAX).min(length as u64);
            Some(range.start as usize..end as usize)
        }
        Some(_) => {
            return Err(Refusal::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "InvalidRange",
                "The range specified is invalid for the current size of the resource.",
            )
            .header("content-range", &format!("bytes */{length}")));
        }
    };
    let is_part = window.is_some();
    let window = window.unwrap_or(0..length);
    let mut response = Response::new(if parts.method == Method::HEAD {
        Body::empty()
    } else {
        Body::from(bytes[window.clone()].to_vec())
    });
    let headers = response.headers_mut();
    serve::version_headers(headers, dates::ticks(changed));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(file.content_type()),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(window.len()));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Azure writes both as page blobs, with a length that is the content's.
    headers.insert("x-ms-blob-type", HeaderValue::from_static("PageBlob"));
    if is_part {
        let range = format!("bytes {}-{}/{length}", window.start, window.end - 1);
        if let Ok(range) = HeaderValue::from_str(&range) {
            headers.insert(header::CONTENT_RANGE, range);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

fn verify(blobs: &PageBlobs, parts: &Parts, query: &[(String, String)]) -> Result<(), Refusal> {
    let value = |name: &'static str| {
        value_of(query, name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Refusal::authentication(format!("{name} is mandatory. Cannot be empty")))
    };
    let (given, ends) = (value("sig")?, value("se")?);
    let as_given_out = [("sv", SIGNED_VERSION), ("sr", "b"), ("sp", "r")];
    for (name, expected) in as_given_out {
        if value(name)? != expected {
            return Err(Refusal::authentication("Signature did not match."));
        }
    }
    let key = blobs.0.diagnostics_key.get();
    let path = parts.uri.path();
    if key.is_none_or(|key| sign(key, path, ends) != given) {
        return Err(Refusal::authentication("Signature did not match."));
    }
    let end = PrimitiveDateTime::parse(
        ends,
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z"),
    )
    .map_err(|_| Refusal::authentication("Signature did not match."))?;
    let now = OffsetDateTime::from(blobs.now());
    if now >= end.assume_utc() {
        return Err(Refusal::authentication(format!(
            "Signature not valid in the specified time frame: Expiry [{}] - Current [{}]",
            dates::http_date(dates::ticks(end.assume_utc().into())),
            dates::http_date(dates::ticks(now.into())),
        )));
    }
    Ok(())
}

impl PageBlobs {
    fn machine_file(&self, machine: Uuid, file: DiagnosticsFile) -> PathBuf {
        self.0
            .place
            .state_dir
            .join("machines")
            .join(machine.to_string())
            .join(file.suffix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_machines_blobs_are_theirs() {
        let id = "51384c8c-aaa5-4723-a623-0e40bd4c95d4";
        let machine = Uuid::parse_str(id).unwrap();
        for (path, expected) in [
            (
                format!("/{id}/my.vm.{id}.serialconsole.log"),
                Some((machine, DiagnosticsFile::SerialLog)),
            ),
            (
                format!("/{id}/vm.{id}.screenshot.bmp"),
                Some((machine, DiagnosticsFile::Screenshot)),
            ),
            (format!("/{id}/vm.{id}.os-disk.vhd"), None),
            (format!("/{id}/vm.serialconsole.log"), None),
            (format!("/{id}/abcd"), None),
            (format!("/../vm.{id}.serialconsole.log"), None),
        ] {
            assert_eq!(addressed(&path), expected, "{path}");
        }
    }
}
