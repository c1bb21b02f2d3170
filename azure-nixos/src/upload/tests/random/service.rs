//! A page blob in memory, in the place of the network and of everything behind it: strict about what
//! it is asked, and failing as the case says.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request};
use base64::Engine as _;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::blob::Blob;
use super::case::{Case, Fault, Lists, Phase, Rule, When};
use super::checksum::crc64;
use super::disk::Layout;
use crate::disk::is_zero;
use crate::upload::plan::PAGE;
use crate::upload::{SasAccess, SasSource, UploadTarget};
use crate::{Result, SasUrl};

/// What a request is, once it is understood.
#[derive(Clone, Debug)]
struct Asked {
    phase: Phase,
    range: Range<u64>,
    headers: BTreeMap<String, String>,
    signature: String,
    marker: String,
    body: Bytes,
    /// How many of the same came before, in this run.
    nth: u64,
}

/// What one run of the uploader did, and what was done to it.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) requests: usize,
    /// Ranges of the disk that were sent, again if they were sent again.
    pub(super) sent: Vec<Range<u64>>,
    /// Writes of any kind that were begun.
    pub(super) writes: u64,
    pub(super) faults: BTreeSet<(Phase, Fault)>,
    /// How often each request failed.
    pub(super) failures: BTreeMap<(Phase, u64), u32>,
    /// How often all accesses were taken back.
    pub(super) expired: u32,
    /// Answers with 403 for an access.
    pub(super) refusals: u32,
    /// Whether a footer was on its way.
    pub(super) footer: bool,
    hits: Vec<u32>,
    seen: BTreeMap<(Phase, u64), u64>,
    in_flight: u64,
    pub(super) most_in_flight: u64,
    requests_in_flight: usize,
    pub(super) most_requests: usize,
    /// Bytes of the disk that were begun, for the bandwidth.
    paced: u64,
    /// Whether the blob was there at the beginning.
    pub(super) existed: bool,
    /// The most memory that was lent.
    pub(super) peak: u64,
    pub(super) began: Instant,
}

impl Run {
    fn new(rules: usize, existed: bool) -> Self {
        Self {
            hits: vec![0; rules],
            existed,
            began: Instant::now(),
            requests: 0,
            sent: Vec::new(),
            writes: 0,
            faults: BTreeSet::new(),
            failures: BTreeMap::new(),
            expired: 0,
            refusals: 0,
            footer: false,
            seen: BTreeMap::new(),
            in_flight: 0,
            most_in_flight: 0,
            requests_in_flight: 0,
            most_requests: 0,
            paced: 0,
            peak: 0,
        }
    }
}

pub(super) struct State {
    case: Case,
    layout: Arc<Layout>,
    pub(super) plan: Vec<Range<u64>>,
    length: u64,
    exists: bool,
    pub(super) blob: Blob,
    /// What a whole target holds.
    pub(super) version: u64,
    /// Whether the source changes while it is read.
    pub(super) changing: bool,
    /// Accesses below this number are refused.
    valid_from: u64,
    /// When each access ends.
    issued: Vec<Option<Instant>>,
    late: Vec<(Instant, u64, Bytes)>,
    calm: bool,
    cut: Option<When>,
    /// Cancelled when the request comes with which the upload is to be ended.
    pub(super) reached: CancellationToken,
    pub(super) run: Run,
    /// Ranges of the disk whose acknowledgement went out, and when.
    pub(super) acknowledged: Vec<(Instant, Range<u64>)>,
    /// What the uploader must never do.
    pub(super) violations: Vec<String>,
}

/// The service; also where access to it comes from.
#[derive(Clone)]
pub(super) struct Service(Arc<Mutex<State>>);

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

impl Service {
    pub(super) fn new(case: &Case, layout: &Arc<Layout>) -> Self {
        let plan = layout.plan();
        let mut blob = Blob::default();
        for old in &case.old {
            let range = old.range(layout, &plan);
            let bytes = vec![0xee; (range.end - range.start) as usize];
            blob.write(range.start, bytes.into());
        }
        if case.old_footer {
            blob.write(layout.disk(), Bytes::from_static(&[0xee; 512]));
        }
        let state = State {
            case: case.clone(),
            length: layout.disk() + 512,
            layout: Arc::clone(layout),
            plan,
            exists: case.exists,
            blob,
            version: 0,
            changing: false,
            valid_from: 0,
            issued: Vec::new(),
            late: Vec::new(),
            calm: false,
            cut: None,
            reached: CancellationToken::new(),
            run: Run::new(0, case.exists),
            acknowledged: Vec::new(),
            violations: Vec::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Before each run of the uploader.
    pub(super) fn begin(&self, calm: bool, cut: Option<When>, changing: bool) {
        let mut state = self.state();
        state.calm = calm;
        state.cut = cut;
        state.reached = CancellationToken::new();
        state.changing = changing;
        if !state.case.access.renewable {
            // Whoever tries again has got a new one.
            state.issued.clear();
            state.valid_from = 0;
        }
        state.run = Run::new(state.case.rules.len(), state.exists);
    }
}

#[async_trait]
impl SasSource for Service {
    async fn access(&self) -> Result<SasAccess> {
        let takes = self.state().case.access.takes;
        tokio::time::sleep(Duration::from_millis(takes.into())).await;
        let mut state = self.state();
        let lasts = state
            .case
            .access
            .lasts
            .map(|s| Duration::from_secs(s.into()));
        let ends = lasts.map(|lasts| Instant::now() + lasts);
        // An access that cannot be renewed is the same every time.
        if state.case.access.renewable || state.issued.is_empty() {
            state.issued.push(ends);
        }
        let number = state.issued.len() - 1;
        let url: SasUrl =
            format!("https://md-1.z1.blob.storage.azure.net/a/abcd?sv=2018-03-28&sig=g{number}")
                .parse()?;
        Ok(SasAccess::new(
            url,
            lasts.map(|lasts| SystemTime::now() + lasts),
        ))
    }

    fn renewable(&self) -> bool {
        self.state().case.access.renewable
    }
}

/// An answer: status, headers, body.
type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

fn refusal(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    let headers = match code {
        "" => Vec::new(),
        code => vec![("x-ms-error-code", code.to_owned())],
    };
    (status, headers, body.into_bytes())
}

/// Chance that depends on nothing but its arguments.
fn dice(seed: u64, what: &impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (seed, what).hash(&mut hasher);
    hasher.finish()
}

impl State {
    fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    /// Understands a request, or says why nobody may send it.
    fn read(&mut self, request: &Request) -> std::result::Result<Asked, String> {
        let url = request.url();
        let query: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        let get = |name: &str| query.get(name).cloned().unwrap_or_default();
        let headers: BTreeMap<_, _> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned()))
            .collect();
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

    /// What goes wrong with this request.
    fn draw(&mut self, asked: &Asked) -> Option<Fault> {
        if self.calm {
            return None;
        }
        let mut chosen = None;
        for (rule, hits) in self.case.rules.iter().zip(&mut self.run.hits) {
            let Rule {
                phase,
                skip,
                times,
                fault,
            } = *rule;
            if phase != asked.phase {
                continue;
            }
            let nth = *hits;
            *hits += 1;
            let due = u32::from(skip)..u32::from(skip) + u32::from(times);
            if due.contains(&nth) {
                chosen = chosen.or(Some(fault));
            }
        }
        let key = (asked.phase, asked.range.start, asked.nth);
        let die = dice(self.case.dice, &key);
        if chosen.is_none() && die % 1000 < self.case.noise {
            let millis = (die >> 32) as u16;
            chosen = Some(match (die >> 16) % 32 {
                0..6 => Fault::Status(503, "ServerBusy", None),
                6..8 => Fault::Status(503, "ServerBusy", Some((die >> 24) as u8 % 8)),
                8..10 => Fault::Status(429, "TooManyRequests", None),
                10..14 => Fault::Status(500, "InternalError", None),
                14 => Fault::TimedOut(die >> 24 & 1 == 0),
                15..18 => Fault::NoConnection,
                18..22 => Fault::ResetBefore,
                22..25 => Fault::ResetAfter,
                25..27 => Fault::BrokenAnswer,
                27..29 if asked.phase == Phase::Data => Fault::Late(millis),
                29 if asked.phase == Phase::Data && self.checksum(asked) => Fault::Damage,
                30 if die >> 24 & 7 == 0 => Fault::Silence(die >> 28 & 1 == 0),
                _ => Fault::Slow(millis / 8),
            });
        }
        // What was not protected is damaged without anybody's knowing: TLS keeps it away.
        if chosen == Some(Fault::Damage) && !self.checksum(asked) {
            chosen = None;
        }
        chosen
    }

    fn checksum(&self, asked: &Asked) -> bool {
        let has = |name| asked.headers.contains_key(name);
        self.case.service.crc64 && has("x-ms-content-crc64")
            || self.case.service.md5 && has("content-md5")
    }

    fn admits(&self, signature: &str) -> bool {
        let Some(number) = signature
            .strip_prefix('g')
            .and_then(|n| n.parse::<u64>().ok())
        else {
            return false;
        };
        number >= self.valid_from
            && self
                .issued
                .get(number as usize)
                .is_some_and(|ends| ends.is_none_or(|ends| Instant::now() < ends))
    }

    /// Does what was sent long ago and arrives now.
    pub(super) fn settle(&mut self, until: Instant) {
        let (due, later) = std::mem::take(&mut self.late)
            .into_iter()
            .partition::<Vec<_>, _>(|(at, ..)| *at <= until);
        self.late = later;
        for (_, offset, bytes) in due {
            self.blob.write(offset, bytes);
        }
    }

    /// Notes a request that is begun.
    fn begun(&mut self, asked: &Asked) {
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

    /// Where the disk on the target is not the source.
    pub(super) fn difference(&self) -> Option<String> {
        let mut at = 0;
        for planned in self.plan.iter().chain([&(self.layout.disk()..self.length)]) {
            for (offset, bytes) in self.blob.within(at..planned.start) {
                if !is_zero(&bytes) {
                    return Some(format!("there are old data at {offset}"));
                }
            }
            at = planned.end;
            if planned.start == self.layout.disk() {
                break;
            }
            let mut expected = vec![0; (planned.end - planned.start) as usize];
            self.layout.copy(self.version, &mut expected, planned.start);
            if self.blob.read(planned.clone()) != expected {
                return Some(format!("{planned:?} differs"));
            }
        }
        None
    }

    /// What came in the very moment in which a run ended may not have been noted.
    pub(super) fn forget_acknowledged(&mut self, ended: Instant) {
        self.acknowledged.retain(|(at, _)| *at < ended);
    }

    pub(super) fn has_footer(&self) -> bool {
        self.footer() == self.layout.footer(self.version)
    }

    pub(super) fn footer(&self) -> Vec<u8> {
        self.blob.read(self.layout.disk()..self.length)
    }

    /// Does what was asked, as a service does.
    fn serve(&mut self, asked: &Asked, damage: bool, lose: bool) -> Answer {
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

    fn refused_checksum(&self, asked: &Asked, bytes: &[u8]) -> Option<Answer> {
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
            use md5::Digest as _;
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

fn parse_range(text: &str) -> Option<Range<u64>> {
    let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some(start.parse().ok()?..end.parse::<u64>().ok()?.checked_add(1)?)
}

fn error(kind: ErrorKind) -> azure_core::Error {
    azure_core::Error::with_message(kind, "the network of the test")
}

/// A request that is being answered. When the uploader goes away meanwhile, what it sent is done all
/// the same, or not.
struct OnItsWay {
    service: Service,
    asked: Asked,
    /// Whether it arrives when nobody waits for its answer any more.
    arrives: bool,
    succeeded: bool,
}

impl OnItsWay {
    fn serve(&mut self, damage: bool, lose: bool) -> Answer {
        self.arrives = false;
        self.service.state().serve(&self.asked, damage, lose)
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut state = self.service.state();
        state.run.requests_in_flight -= 1;
        state.run.in_flight -= self.asked.body.len() as u64;
        if !self.succeeded {
            let key = (self.asked.phase, self.asked.range.start);
            *state.run.failures.entry(key).or_default() += 1;
        }
        if self.arrives {
            state.serve(&self.asked, false, false);
        }
    }
}

#[async_trait]
impl HttpClient for Service {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let (mut way, fault, wait, admitted) = {
            let mut state = self.state();
            let now = Instant::now();
            state.settle(now);
            let asked = match state.read(request) {
                Ok(asked) => asked,
                Err(why) => {
                    state.violation(why);
                    return Err(error(ErrorKind::Other));
                }
            };
            state.begun(&asked);
            if let Some(When::Request(nth)) = state.cut
                && state.run.requests >= usize::from(nth)
            {
                state.reached.cancel();
            }
            let fault = state.draw(&asked);
            if let Some(fault) = fault {
                state.run.faults.insert((asked.phase, fault));
            }
            if fault == Some(Fault::Expire) {
                state.run.expired += 1;
                state.valid_from = state.issued.len() as u64;
            }
            let admitted = state.admits(&asked.signature);
            if !admitted {
                state.run.refusals += 1;
            }
            let key = (asked.phase, asked.range.start);
            let die = dice(state.case.dice, &(key, asked.nth, "wait"));
            let latency = state.case.service.latency;
            let way = OnItsWay {
                service: self.clone(),
                arrives: die >> 60 & 1 == 0 && admitted,
                succeeded: false,
                asked,
            };
            let wait = Duration::from_millis(die % (latency + 1));
            (way, fault, wait, admitted)
        };
        tokio::time::sleep(wait).await;
        if !admitted {
            way.arrives = false;
            return Ok(respond(refusal(403, "AuthenticationFailed")));
        }
        let (answer, broken) = self.answer(&mut way, fault).await?;
        // What a write has come to is in the head of the answer.
        let read = matches!(way.asked.phase, Phase::List | Phase::Get);
        way.succeeded = !(broken && read) && matches!(answer.0, 200..=299);
        if way.succeeded && way.asked.phase == Phase::Data {
            let range = way.asked.range.clone();
            let mut state = self.state();
            state.acknowledged.push((Instant::now(), range));
        }
        if !broken {
            return Ok(respond(answer));
        }
        let (status, headers, body) = answer;
        let half = Bytes::copy_from_slice(&body[..body.len() / 2]);
        let parts = [Ok(half), Err(error(ErrorKind::Io))];
        let body = futures::stream::iter(parts).boxed();
        Ok(AsyncRawResponse::new(status.into(), head(headers), body))
    }
}

fn respond((status, headers, body): Answer) -> AsyncRawResponse {
    AsyncRawResponse::from_bytes(status.into(), head(headers), body)
}

fn head(headers: Vec<(&'static str, String)>) -> Headers {
    let mut all = Headers::new();
    for (name, value) in headers {
        all.insert(name, value);
    }
    all
}

impl Service {
    /// The answer, and whether it breaks off.
    async fn answer(
        &self,
        way: &mut OnItsWay,
        fault: Option<Fault>,
    ) -> azure_core::Result<(Answer, bool)> {
        let whole = |answer| Ok((answer, false));
        if fault == Some(Fault::NoConnection) {
            way.arrives = false;
            return Err(error(ErrorKind::Connection));
        }
        let slow = {
            let state = self.state();
            let window = way.asked.range.end - way.asked.range.start;
            let most = state.case.service.list_most;
            way.asked.phase == Phase::List && most.is_some_and(|most| window > most << 20)
        };
        match fault {
            _ if slow => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                whole(refusal(500, "OperationTimedOut"))
            }
            Some(Fault::Status(status, code, after)) => {
                way.arrives = false;
                let (status, mut headers, body) = refusal(status, code);
                if let Some(after) = after {
                    headers.push(("retry-after", after.to_string()));
                }
                whole((status, headers, body))
            }
            Some(Fault::TimedOut(done)) => {
                if done {
                    way.serve(false, false);
                }
                way.arrives = false;
                tokio::time::sleep(Duration::from_secs(30)).await;
                whole(refusal(500, "OperationTimedOut"))
            }
            Some(Fault::ResetBefore) => {
                way.arrives = false;
                Err(error(ErrorKind::Io))
            }
            Some(Fault::ResetAfter) => {
                way.serve(false, false);
                Err(error(ErrorKind::Io))
            }
            Some(Fault::BrokenAnswer) => Ok((way.serve(false, false), true)),
            Some(Fault::Silence(done)) => {
                if done {
                    way.serve(false, false);
                }
                way.arrives = false;
                std::future::pending().await
            }
            Some(Fault::Slow(millis)) => {
                tokio::time::sleep(Duration::from_millis(millis.into())).await;
                whole(way.serve(false, false))
            }
            Some(Fault::Late(millis)) => {
                way.arrives = false;
                let at = Instant::now() + Duration::from_millis(millis.into());
                let bytes = Bytes::copy_from_slice(&way.asked.body);
                let refused = self.state().refused_checksum(&way.asked, &bytes);
                if refused.is_none() {
                    self.state().late.push((at, way.asked.range.start, bytes));
                }
                Err(error(ErrorKind::Io))
            }
            Some(Fault::Garbled) => {
                let (status, headers, mut body) = way.serve(false, false);
                body.truncate(body.len() / 2);
                whole((status, headers, body))
            }
            Some(Fault::Damage) => whole(way.serve(true, false)),
            Some(Fault::Lost) => whole(way.serve(false, true)),
            Some(Fault::NoConnection | Fault::Expire) | None => whole(way.serve(false, false)),
        }
    }
}
