//! Understanding a request, and what the uploader must never ask.

use std::collections::BTreeMap;
use std::ops::Range;

use azure_core::http::{Body, Method, Request};
use bytes::Bytes;

use super::case::Phase;
use super::service::State;
use crate::disk::is_zero;
use crate::upload::UploadTarget;
use crate::upload::plan::PAGE;
use crate::upload::test_server::{head_of, parse_range};

/// What a request is, once it is understood.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) phase: Phase,
    pub(super) range: Range<u64>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) signature: String,
    pub(super) marker: String,
    pub(super) body: Bytes,
    /// How many of the same came before, in this run.
    pub(super) nth: u64,
}

impl State {
    /// Understands a request, or says why nobody may send it.
    pub(super) fn read(&mut self, request: &Request) -> Result<Asked, String> {
        let (query, headers) = head_of(request);
        let get = |name: &str| query.get(name).cloned().unwrap_or_default();
        let Body::Bytes(body) = request.body() else {
            return Err("a stream".to_owned());
        };
        let header = |name: &str| headers.get(name).map(String::as_str);
        if header("x-ms-version") != Some("2020-10-02") {
            return Err(format!("version {:?}", header("x-ms-version")));
        }
        let range = match header("range").or(header("x-ms-range")) {
            Some(text) => parse_range(text).ok_or_else(|| format!("range {text}"))?,
            None => 0..0,
        };
        let aligned = range.start % PAGE == 0 && range.end % PAGE == 0 && range.end <= self.length;
        let disk = self.layout.disk();
        let comp = get("comp");
        let phase = match (request.method(), comp.as_str(), header("x-ms-page-write")) {
            (Method::Head, "", None) => Phase::Head,
            (Method::Put, "", None) => Phase::Create,
            (Method::Get, "pagelist", None) if aligned && !range.is_empty() => Phase::List,
            (Method::Get, "", None) if aligned && !range.is_empty() => Phase::Get,
            (Method::Put, "page", Some("clear")) if aligned && !range.is_empty() => Phase::Clear,
            (Method::Put, "page", Some("update")) if aligned => {
                if range.end - range.start != body.len() as u64 || body.is_empty() {
                    return Err(format!("{} bytes for {range:?}", body.len()));
                }
                if body.len() > 4 << 20 {
                    return Err("more than 4 MiB".to_owned());
                }
                match (range.start == disk, is_zero(body)) {
                    (true, true) => Phase::Erase,
                    (true, false) => Phase::Footer,
                    (false, _) if range.end > disk => {
                        return Err("the footer is not alone".to_owned());
                    }
                    // A part of a range may be zero.
                    (false, true) if !self.overlaps_plan(&range) => Phase::Zeros,
                    (false, _) => Phase::Data,
                }
            }
            other => return Err(format!("{other:?} {range:?}")),
        };
        if phase == Phase::Create && self.case.target != (UploadTarget::PageBlob { create: true }) {
            return Err("created without being asked".to_owned());
        }
        if let Some(name) = headers.keys().find(|name| {
            name.starts_with("if-") && phase != Phase::Create || name.starts_with("x-ms-lease")
        }) {
            return Err(format!("{phase:?} with {name}"));
        }
        if header("x-ms-content-crc64").is_some() && header("content-md5").is_some() {
            return Err("two checksums".to_owned());
        }
        let nth = self.run.seen.entry((phase, range.start)).or_default();
        *nth += 1;
        Ok(Asked {
            nth: *nth,
            phase,
            range,
            signature: get("sig"),
            marker: get("marker"),
            headers,
            body: body.clone(),
        })
    }

    /// Notes a request that is begun.
    pub(super) fn begun(&mut self, asked: &Asked) {
        let run = &mut self.run;
        run.requests += 1;
        run.requests_in_flight += 1;
        run.most_requests = run.most_requests.max(run.requests_in_flight);
        run.in_flight += asked.body.len() as u64;
        run.most_in_flight = run.most_in_flight.max(run.in_flight);
        let len = asked.body.len() as u64;
        if len > 0 {
            run.writes += 1;
            run.paced += len;
        }
        run.footer |= asked.phase == Phase::Footer;
        match asked.phase {
            Phase::Data => {
                run.sent.push(asked.range.clone());
                self.check_data(asked);
            }
            // Of the source nothing is overwritten.
            Phase::Clear if self.overlaps_plan(&asked.range) => {
                self.violation(format!("{:?} of {:?}", asked.phase, asked.range));
            }
            Phase::Footer => self.check_footer(asked),
            _ => {}
        }
        let rate = self.case.bandwidth;
        if let Some(rate) = rate {
            let seconds = self.run.began.elapsed().as_secs_f64();
            // What goes first needs no wait; a second is the shortest that is measured.
            let most = rate as f64 * (seconds + 0.01) + (4 << 20) as f64;
            if self.run.paced as f64 > most {
                let paced = self.run.paced;
                self.violation(format!("{paced} bytes in {seconds} s at {rate}"));
            }
        }
    }

    fn overlaps_plan(&self, range: &Range<u64>) -> bool {
        let first = self
            .plan
            .partition_point(|planned| planned.end <= range.start);
        self.plan
            .get(first)
            .is_some_and(|planned| planned.start < range.end)
    }

    fn check_data(&mut self, asked: &Asked) {
        let range = &asked.range;
        let first = self
            .plan
            .partition_point(|planned| planned.end <= range.start);
        let inside = self
            .plan
            .get(first)
            .is_some_and(|planned| planned.start <= range.start && range.end <= planned.end);
        if !inside {
            self.violation(format!("{range:?} is not in the plan"));
        }
        let mut expected = vec![0; asked.body.len()];
        self.layout.copy(self.version, &mut expected, range.start);
        if !self.changing && expected != asked.body {
            self.violation(format!("{range:?} is sent with other bytes"));
        }
        let footer = self.layout.disk()..self.length;
        if !is_zero(&self.blob.read(footer)) {
            self.violation(format!("{range:?} is sent while there is a footer"));
        }
    }

    fn check_footer(&mut self, asked: &Asked) {
        if self.run.requests_in_flight > 1 {
            self.violation("the footer is not sent last".to_owned());
        }
        if asked.body != self.layout.footer(self.version)[..] {
            self.violation("a footer with other bytes".to_owned());
        }
        if let Some(difference) = self.difference() {
            self.violation(format!("a footer is sent although {difference}"));
        }
    }
}
