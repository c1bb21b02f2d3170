//! A page blob in memory, in the place of the network and of everything behind it: strict about what
//! it is asked, and failing as the case says.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::blob::Blob;
use super::case::{Case, Fault, Phase, When};
use super::disk::Layout;
use crate::disk::is_zero;
use crate::upload::{SasAccess, SasSource};
use crate::{Result, SasUrl};

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
    pub(super) hits: Vec<u32>,
    pub(super) seen: BTreeMap<(Phase, u64), u64>,
    pub(super) in_flight: u64,
    pub(super) most_in_flight: u64,
    pub(super) requests_in_flight: usize,
    pub(super) most_requests: usize,
    /// Bytes of the disk that were begun, for the bandwidth.
    pub(super) paced: u64,
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
    pub(super) case: Case,
    pub(super) layout: Arc<Layout>,
    pub(super) plan: Vec<Range<u64>>,
    pub(super) length: u64,
    pub(super) exists: bool,
    pub(super) blob: Blob,
    /// What a whole target holds.
    pub(super) version: u64,
    /// Whether the source changes while it is read.
    pub(super) changing: bool,
    /// Accesses below this number are refused.
    pub(super) valid_from: u64,
    /// When each access ends.
    pub(super) issued: Vec<Option<Instant>>,
    pub(super) late: Vec<(Instant, u64, Bytes)>,
    pub(super) calm: bool,
    pub(super) cut: Option<When>,
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

impl State {
    pub(super) fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    pub(super) fn admits(&self, signature: &str) -> bool {
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
}
