//! Get Page Ranges.

use std::fmt::Write as _;
use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::PageBlobs;
use super::refusal::Refusal;
use super::request::{ApiVersion, Call, blocking};
use super::serve::version_headers;
use super::store::PAGE;

/// The most ranges in one answer.
const MOST: usize = 10_000;

pub(super) async fn page_list(blobs: &PageBlobs, call: &Call) -> Result<Response, Refusal> {
    if call.query("prevsnapshot").is_some() || call.header("x-ms-previous-snapshot-url")?.is_some()
    {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "PreviousSnapshotNotFound",
            "The previous snapshot is not found.",
        ));
    }
    let length = call.blob.length();
    let mut window = match call.range()? {
        None => 0..length,
        Some(range) => {
            let start_fits = range.start.is_multiple_of(PAGE) && range.start < length;
            let end = range.end.unwrap_or(length);
            if !start_fits || !end.is_multiple_of(PAGE) {
                return Err(Refusal::page_range());
            }
            range.start..end.min(length)
        }
    };
    let paged = call.version >= ApiVersion::MARKERS;
    let mut limit = usize::MAX;
    if paged {
        limit = max_results(call)?;
        if let Some(marker) = call.query("marker").filter(|marker| !marker.is_empty()) {
            window.start = read_marker(marker)
                .filter(|at| window.contains(at))
                .ok_or_else(|| Refusal::invalid_query("marker", marker))?;
        }
    }
    let store = call.store().await?;
    let version = store.version();
    call.check_read(version, blobs.now())?;
    // The range after the last says whether, and where, the list goes on. Without markers the
    // whole list is one answer: that is what made old versions time out on fragmented blobs.
    let xml = blocking(move || {
        let mut ranges = store.written(window, limit.saturating_add(1));
        let next = (ranges.len() > limit)
            .then(|| ranges.pop())
            .flatten()
            .map(|range| range.start);
        Ok(render(&ranges, paged, next))
    })
    .await?;

    let mut response = Response::new(Body::from(xml));
    let headers = response.headers_mut();
    version_headers(headers, version);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/xml"),
    );
    headers.insert("x-ms-blob-content-length", HeaderValue::from(length));
    Ok(response)
}

fn max_results(call: &Call) -> Result<usize, Refusal> {
    let Some(text) = call.query("maxresults") else {
        return Ok(MOST);
    };
    match text.parse::<usize>() {
        Ok(0) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "OutOfRangeQueryParameterValue",
            "One of the query parameters specified in the request URI is outside the permissible \
             range.",
        )
        .detail("QueryParameterName", "maxresults")
        .detail("QueryParameterValue", "0")
        .detail("MinimumAllowed", "1")),
        Ok(number) => Ok(number.min(MOST)),
        Err(_) => Err(Refusal::invalid_query("maxresults", text)),
    }
}

/// Markers are opaque to clients. This one is where the next range begins, in a form that nobody
/// takes for a number to compute with.
fn write_marker(at: u64) -> String {
    format!("2!{at:016x}")
}

fn read_marker(marker: &str) -> Option<u64> {
    let digits = marker.strip_prefix("2!").filter(|d| d.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

fn render(ranges: &[Range<u64>], paged: bool, next: Option<u64>) -> String {
    let mut xml = String::with_capacity(128 + ranges.len() * 80);
    xml.push_str("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><PageList>");
    for range in ranges {
        // Writing to a string cannot fail.
        let _ = write!(
            xml,
            "<PageRange><Start>{}</Start><End>{}</End></PageRange>",
            range.start,
            range.end - 1
        );
    }
    match next {
        Some(at) => {
            let _ = write!(xml, "<NextMarker>{}</NextMarker>", write_marker(at));
        }
        None if paged => xml.push_str("<NextMarker />"),
        None => {}
    }
    xml.push_str("</PageList>");
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_xml_is_the_services() {
        assert_eq!(
            render(&[0..512, 1024..4096], true, None),
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><PageList><PageRange><Start>0</Start>\
             <End>511</End></PageRange><PageRange><Start>1024</Start><End>4095</End></PageRange>\
             <NextMarker /></PageList>"
        );
        assert!(render(&[], false, None).ends_with("<PageList></PageList>"));
    }

    #[test]
    fn markers_come_back() {
        assert_eq!(read_marker(&write_marker(512 << 40)), Some(512 << 40));
        assert_eq!(read_marker("512"), None);
        assert_eq!(read_marker("2!+00000000000001"), None);
    }
}
