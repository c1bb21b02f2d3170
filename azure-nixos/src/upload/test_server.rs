//! A page blob on loopback, for the tests of the uploader: strict about what it is sent, and able
//! to fail in every way that a test asks for.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request};
use base64::Engine as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::SasUrl;
use crate::azure::Transport;

/// What the server sees of a request before it answers.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) comp: String,
    pub(crate) sig: String,
    /// How many requests of this kind came before.
    pub(crate) nth: usize,
    pub(crate) range: Option<Range<u64>>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body_len: usize,
}

impl Seen {
    pub(crate) fn is_put(&self) -> bool {
        self.comp == "page" && self.headers["x-ms-page-write"] == "update"
    }

    pub(crate) fn is_clear(&self) -> bool {
        self.comp == "page" && self.headers["x-ms-page-write"] == "clear"
    }

    pub(crate) fn is_list(&self) -> bool {
        self.comp == "pagelist"
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// How a request is treated.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Like a service would.
    Serve,
    /// An error, and nothing is done.
    Refuse(u16, &'static str),
    /// The same with `Retry-After` in seconds.
    Later(u16, u64),
    /// The connection is closed in the middle of the body.
    ResetBefore,
    /// The request is done and the connection closed without an answer.
    ResetAfter,
    /// Nothing is done and nothing answered.
    Stall,
    /// Served after a while.
    Slow(Duration),
    /// The body is damaged on its way: the checksum will not match.
    Damage,
}

type Script = Box<dyn FnMut(&Seen) -> Act + Send>;

struct State {
    pages: BTreeMap<u64, [u8; 512]>,
    length: Option<u64>,
    blob_type: &'static str,
    log: Vec<Seen>,
    script: Script,
    /// Ranges in one part of a list.
    list_part: usize,
    in_flight: usize,
    most_in_flight: usize,
}

/// The server; it ends when dropped.
pub(crate) struct TestServer {
    state: Arc<Mutex<State>>,
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestServer {
    /// A server with a page blob of this length, or without a blob.
    pub(crate) async fn new(length: Option<u64>) -> Self {
        let state = Arc::new(Mutex::new(State {
            pages: BTreeMap::new(),
            length,
            blob_type: "PageBlob",
            log: Vec::new(),
            script: Box::new(|_| Act::Serve),
            list_part: 3,
            in_flight: 0,
            most_in_flight: 0,
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { state, port, task }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn script(&self, script: impl FnMut(&Seen) -> Act + Send + 'static) {
        self.state().script = Box::new(script);
    }

    pub(crate) fn sas(&self) -> SasUrl {
        self.sas_signed("S3CRET")
    }

    pub(crate) fn sas_signed(&self, sig: &str) -> SasUrl {
        let port = self.port;
        format!("http://127.0.0.1:{port}/disks/abcd?sv=2018-03-28&sr=b&si=1&sig={sig}")
            .parse()
            .unwrap()
    }

    pub(crate) fn write(&self, offset: u64, page: [u8; 512]) {
        self.state().pages.insert(offset, page);
    }

    pub(crate) fn forget(&self, offset: u64) {
        self.state().pages.remove(&offset);
    }

    /// As if the blob had been deleted and made again.
    pub(crate) fn forget_everything(&self) {
        self.state().pages.clear();
    }

    pub(crate) fn set_type(&self, blob_type: &'static str) {
        self.state().blob_type = blob_type;
    }

    pub(crate) fn log(&self) -> Vec<Seen> {
        self.state().log.clone()
    }

    pub(crate) fn count(&self, which: impl Fn(&Seen) -> bool) -> usize {
        self.state().log.iter().filter(|seen| which(seen)).count()
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.state().most_in_flight
    }

    /// The whole blob.
    pub(crate) fn content(&self) -> Vec<u8> {
        let state = self.state();
        let mut content = vec![0; state.length.unwrap_or(0) as usize];
        for (offset, page) in &state.pages {
            content[*offset as usize..][..512].copy_from_slice(page);
        }
        content
    }

    /// Whether the page was ever written and not cleared.
    pub(crate) fn has_page(&self, offset: u64) -> bool {
        self.state().pages.contains_key(&offset)
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::with_capacity(64 << 10, stream);
    while let Some(()) = one(&mut stream, &state).await {}
}

async fn one(stream: &mut BufReader<TcpStream>, state: &Arc<Mutex<State>>) -> Option<()> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let mut words = head.first()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: BTreeMap<_, _> = head[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let url = url::Url::parse(&format!("http://x{target}")).ok()?;
    let query: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    let get = |name: &str| query.get(name).cloned().unwrap_or_default();
    let body_len = headers
        .get("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let range = headers.get("range").and_then(|text| parse_range(text));
    let seen = Seen {
        method,
        comp: get("comp"),
        sig: get("sig"),
        nth: 0,
        range,
        headers,
        body_len,
    };
    let (seen, act) = note(state, seen);
    let result = answer(stream, state, &seen, act, &get("marker")).await;
    state.lock().unwrap().in_flight -= 1;
    result
}

/// Writes a request down and asks the script about it.
fn note(state: &Mutex<State>, mut seen: Seen) -> (Seen, Act) {
    let mut state = state.lock().unwrap();
    seen.nth = state
        .log
        .iter()
        .filter(|other| other.method == seen.method && other.comp == seen.comp)
        .count();
    state.log.push(seen.clone());
    let act = (state.script)(&seen);
    state.in_flight += 1;
    state.most_in_flight = state.most_in_flight.max(state.in_flight);
    (seen, act)
}

async fn answer(
    stream: &mut BufReader<TcpStream>,
    state: &Arc<Mutex<State>>,
    seen: &Seen,
    act: Act,
    marker: &str,
) -> Option<()> {
    let reads = match act {
        Act::ResetBefore => seen.body_len / 2,
        _ => seen.body_len,
    };
    let mut body = vec![0; reads];
    stream.read_exact(&mut body).await.ok()?;
    let (status, extra, text) = match act {
        Act::ResetBefore => return None,
        Act::Stall => {
            std::future::pending::<()>().await;
            return None;
        }
        Act::Refuse(status, code) => (status, format!("x-ms-error-code: {code}\r\n"), error(code)),
        Act::Later(status, seconds) => (
            status,
            format!("x-ms-error-code: ServerBusy\r\nRetry-After: {seconds}\r\n"),
            error("ServerBusy"),
        ),
        Act::Slow(wait) => {
            tokio::time::sleep(wait).await;
            do_it(state, seen, &body, marker)
        }
        Act::Damage => {
            body[0] ^= 1;
            do_it(state, seen, &body, marker)
        }
        Act::Serve => do_it(state, seen, &body, marker),
        Act::ResetAfter => {
            do_it(state, seen, &body, marker);
            return None;
        }
    };
    let length = if extra.to_ascii_lowercase().contains("content-length") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", text.len())
    };
    let head = format!("HTTP/1.1 {status} x\r\nx-ms-request-id: r1\r\n{extra}{length}\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    if !seen.is_head() {
        stream.write_all(&text).await.ok()?;
    }
    stream.flush().await.ok()
}

/// An error in the service's words, which repeat the signature like the real one's may.
fn error(code: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>no\n\
         RequestId:r1</Message><AuthenticationErrorDetail>S3CRET</AuthenticationErrorDetail></Error>"
    )
    .into_bytes()
}

fn fail(status: u16, code: &str) -> (u16, String, Vec<u8>) {
    (status, format!("x-ms-error-code: {code}\r\n"), error(code))
}

fn do_it(state: &Mutex<State>, seen: &Seen, body: &[u8], marker: &str) -> (u16, String, Vec<u8>) {
    let mut state = state.lock().unwrap();
    let none = String::new;
    if seen.method == "PUT" && seen.comp.is_empty() {
        if state.length.is_some() {
            return fail(409, "BlobAlreadyExists");
        }
        assert_eq!(seen.headers["x-ms-blob-type"], "PageBlob");
        let length = seen.headers["x-ms-blob-content-length"].parse().unwrap();
        state.length = Some(length);
        return (201, none(), Vec::new());
    }
    let Some(length) = state.length else {
        return fail(404, "BlobNotFound");
    };
    match (seen.method.as_str(), seen.comp.as_str()) {
        ("HEAD", "") => {
            let kind = state.blob_type;
            let head = format!("Content-Length: {length}\r\nx-ms-blob-type: {kind}\r\n");
            (200, head, Vec::new())
        }
        ("GET", "") => {
            let range = seen.range.clone().unwrap();
            let mut text = vec![0; (range.end - range.start) as usize];
            for (offset, page) in state.pages.range(range.clone()) {
                text[(offset - range.start) as usize..][..512].copy_from_slice(page);
            }
            let head = format!(
                "Content-Range: bytes {}-{}/{length}\r\nETag: \"1\"\r\n",
                range.start,
                range.end - 1
            );
            (206, head, text)
        }
        ("GET", "pagelist") => list(&state, seen, marker),
        ("PUT", "page") => {
            let range = seen.range.clone().unwrap();
            if !range.start.is_multiple_of(512)
                || !range.end.is_multiple_of(512)
                || range.end > length
            {
                return fail(416, "InvalidPageRange");
            }
            if seen.is_clear() {
                let inside: Vec<_> = state.pages.range(range).map(|(at, _)| *at).collect();
                for at in inside {
                    state.pages.remove(&at);
                }
                return (201, none(), Vec::new());
            }
            assert_eq!(range.end - range.start, body.len() as u64);
            assert!(body.len() <= 4 << 20);
            let base64 = base64::engine::general_purpose::STANDARD;
            if let Some(crc) = seen.headers.get("x-ms-content-crc64") {
                let sent = base64.decode(crc).unwrap();
                let algorithm = crc_fast::CrcAlgorithm::Crc64Nvme;
                if sent != crc_fast::checksum(algorithm, body).to_le_bytes() {
                    return fail(400, "Crc64Mismatch");
                }
            }
            if let Some(md5) = seen.headers.get("content-md5") {
                use md5::Digest as _;
                if base64.decode(md5).unwrap() != md5::Md5::digest(body).to_vec() {
                    return fail(400, "Md5Mismatch");
                }
            }
            for (i, page) in body.chunks(512).enumerate() {
                let page = page.try_into().unwrap();
                state.pages.insert(range.start + i as u64 * 512, page);
            }
            (201, none(), Vec::new())
        }
        _ => fail(400, "UnsupportedHttpVerb"),
    }
}

fn list(state: &State, seen: &Seen, marker: &str) -> (u16, String, Vec<u8>) {
    let within = seen.range.clone().unwrap_or(0..u64::MAX);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for at in state.pages.range(within).map(|(at, _)| *at) {
        match ranges.last_mut() {
            Some(last) if last.end == at => last.end += 512,
            _ => ranges.push(at..at + 512),
        }
    }
    let from = marker.parse().unwrap_or(0);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><PageList>");
    for range in ranges.iter().skip(from).take(state.list_part) {
        let (start, end) = (range.start, range.end - 1);
        text += &format!("<PageRange><Start>{start}</Start><End>{end}</End></PageRange>");
    }
    let next = from + state.list_part;
    if next < ranges.len() {
        text += &format!("<NextMarker>{next}</NextMarker></PageList>");
    } else {
        text += "<NextMarker/></PageList>";
    }
    let head = "Content-Type: application/xml\r\n".to_owned();
    (200, head, text.into_bytes())
}

/// Query and headers of what the SDK hands to its client.
pub(super) fn head_of(request: &Request) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let query = request.url().query_pairs().into_owned().collect();
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned()))
        .collect();
    (query, headers)
}

pub(super) fn parse_range(text: &str) -> Option<Range<u64>> {
    let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some(start.parse().ok()?..end.parse::<u64>().ok()?.checked_add(1)?)
}

/// The same page blob without a network, behind a link of a given speed: for a paused clock.
pub(crate) struct Link {
    state: Arc<Mutex<State>>,
    bytes_per_second: f64,
    delay: Duration,
    free_at: Mutex<Option<Instant>>,
    sent: Arc<AtomicU64>,
}

impl TestServer {
    /// A transport over a simulated link, and the count of bytes that went into it.
    pub(crate) fn link(
        &self,
        bytes_per_second: f64,
        delay: Duration,
    ) -> (Transport, Arc<AtomicU64>) {
        let sent = Arc::new(AtomicU64::new(0));
        let link = Link {
            state: Arc::clone(&self.state),
            bytes_per_second,
            delay,
            free_at: Mutex::new(None),
            sent: Arc::clone(&sent),
        };
        (Transport::from_client(Arc::new(link)), sent)
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

/// Takes a request off the list of those in flight, also when it is given up.
struct Leaves<'a>(&'a Mutex<State>);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().in_flight -= 1;
    }
}

#[async_trait]
impl HttpClient for Link {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let broken = || azure_core::Error::with_message(ErrorKind::Io, "the connection broke");
        let (query, headers) = head_of(request);
        let get = |name: &str| query.get(name).cloned().unwrap_or_default();
        let Body::Bytes(body) = request.body() else {
            panic!("a stream")
        };
        let mut body = body.to_vec();
        let (seen, act) = note(
            &self.state,
            Seen {
                method: request.method().as_str().to_owned(),
                comp: get("comp"),
                sig: get("sig"),
                nth: 0,
                range: headers.get("range").and_then(|text| parse_range(text)),
                headers,
                body_len: body.len(),
            },
        );
        let _leaves = Leaves(&self.state);
        let arrives = {
            let mut free_at = self.free_at.lock().unwrap();
            let now = Instant::now();
            let takes = Duration::from_secs_f64(body.len() as f64 / self.bytes_per_second);
            let end = free_at.map_or(now, |at| at.max(now)) + takes;
            *free_at = Some(end);
            end
        };
        self.sent.fetch_add(body.len() as u64, Ordering::Relaxed);
        tokio::time::sleep_until(arrives + self.delay).await;
        let (status, extra, text) = match act {
            Act::Serve => do_it(&self.state, &seen, &body, &get("marker")),
            Act::Damage => {
                body[0] ^= 1;
                do_it(&self.state, &seen, &body, &get("marker"))
            }
            Act::Slow(wait) => {
                tokio::time::sleep(wait).await;
                do_it(&self.state, &seen, &body, &get("marker"))
            }
            Act::Refuse(status, code) => fail(status, code),
            Act::Later(status, seconds) => {
                let (status, head, text) = fail(status, "ServerBusy");
                (status, format!("{head}retry-after: {seconds}\r\n"), text)
            }
            Act::ResetBefore => return Err(broken()),
            Act::ResetAfter => {
                do_it(&self.state, &seen, &body, &get("marker"));
                return Err(broken());
            }
            Act::Stall => std::future::pending().await,
        };
        let mut headers = Headers::new();
        for line in extra.lines() {
            let (name, value) = line.split_once(':').unwrap();
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        Ok(AsyncRawResponse::from_bytes(status.into(), headers, text))
    }
}
