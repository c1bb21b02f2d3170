//! What the service does, and what it answers, when nothing goes wrong.

use std::ops::Range;

use base64::Engine as _;
use md5::Digest as _;

use super::asked::Asked;
use super::case::{Lists, Phase};
use super::checksum::crc64;
use super::service::State;
use super::wire::dice;

/// An answer: status, headers, body.
pub(super) type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

pub(super) fn refusal(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    let headers = match code {
        "" => Vec::new(),
        code => vec![("x-ms-error-code", code.to_owned())],
    };
    (status, headers, body.into_bytes())
}

impl State {
    /// Does what was asked, as a service does.
    pub(super) fn serve(&mut self, asked: &Asked, damage: bool, lose: bool) -> Answer {
        let done = || (201, Vec::new(), Vec::new());
        if asked.phase == Phase::Create {
            if self.exists {
                return refusal(409, "BlobAlreadyExists");
            }
            let header = |name: &str| asked.headers.get(name).map(String::as_str);
            let length = self.length.to_string();
            if header("x-ms-blob-type") != Some("PageBlob")
                || header("x-ms-blob-content-length") != Some(&length)
                || header("if-none-match") != Some("*")
            {
                self.violation(format!("created with {:?}", asked.headers));
            }
            self.exists = true;
            return done();
        }
        if !self.exists {
            return refusal(404, "BlobNotFound");
        }
        match asked.phase {
            Phase::Create | Phase::Head => {
                let mut headers = vec![("content-length", self.length.to_string())];
                if self.case.service.names_type {
                    headers.push(("x-ms-blob-type", "PageBlob".to_owned()));
                }
                (200, headers, Vec::new())
            }
            Phase::Get if !self.case.service.reads => {
                refusal(403, "AuthorizationPermissionMismatch")
            }
            Phase::Get => {
                let Range { start, end } = asked.range;
                let place = format!("bytes {start}-{}/{}", end - 1, self.length);
                let headers = vec![("content-range", place), ("etag", "\"1\"".to_owned())];
                (206, headers, self.blob.read(asked.range.clone()))
            }
            Phase::List => self.list(asked),
            Phase::Clear if !self.case.service.clears => {
                refusal(403, "AuthorizationPermissionMismatch")
            }
            Phase::Clear => {
                self.blob.clear(&asked.range);
                done()
            }
            Phase::Data | Phase::Zeros | Phase::Erase | Phase::Footer => {
                let mut bytes = asked.body.to_vec();
                if damage {
                    let at = dice(self.case.dice, &asked.nth) as usize % bytes.len();
                    bytes[at] ^= 1;
                }
                if let Some(refused) = self.refused_checksum(asked, &bytes) {
                    return refused;
                }
                if !lose {
                    self.blob.write(asked.range.start, bytes.into());
                }
                done()
            }
        }
    }

    pub(super) fn refused_checksum(&self, asked: &Asked, bytes: &[u8]) -> Option<Answer> {
        let base64 = base64::engine::general_purpose::STANDARD;
        let sent = |name: &str| Some(base64.decode(asked.headers.get(name)?).unwrap_or_default());
        if let Some(sent) = sent("x-ms-content-crc64") {
            if !self.case.service.crc64 {
                return Some(refusal(400, "UnsupportedHeader"));
            }
            if sent != crc64(bytes).to_le_bytes() {
                return Some(refusal(400, "Crc64Mismatch"));
            }
        }
        if let Some(sent) = sent("content-md5") {
            if !self.case.service.md5 {
                return Some(refusal(501, "NotImplemented"));
            }

            if sent[..] != md5::Md5::digest(bytes)[..] {
                return Some(refusal(400, "Md5Mismatch"));
            }
        }
        None
    }

    fn list(&mut self, asked: &Asked) -> Answer {
        let service = &self.case.service;
        if let Lists::Refused(status, code) = service.lists {
            return refusal(status, code);
        }
        let from = match asked.marker.strip_prefix("at ") {
            Some(at) => at.parse().unwrap_or(u64::MAX),
            None => asked.range.start,
        };
        let ranges = self.blob.list(asked.range.clone(), service.list_unit);
        let mut left = ranges.iter().filter(|range| range.start >= from);
        let mut text = "<?xml version=\"1.0\" encoding=\"utf-8\"?><PageList>".to_owned();
        for range in left.by_ref().take(service.list_part) {
            let (start, end) = (range.start, range.end - 1);
            text += &format!("<PageRange><Start>{start}</Start><End>{end}</End></PageRange>");
        }
        match left.next() {
            Some(next) => text += &format!("<NextMarker>at {}</NextMarker>", next.start),
            None => text += "<NextMarker/>",
        }
        text += "</PageList>";
        let headers = vec![("content-type", "application/xml".to_owned())];
        (200, headers, text.into_bytes())
    }
}
