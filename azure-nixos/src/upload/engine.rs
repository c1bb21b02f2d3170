//! The course of an upload, from the first question to the footer.
//!
//! Everything runs in one future; what is concurrent are futures inside it, and blocking reads.
//! Nothing is spawned, so nothing outlives it.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::acknowledged::{Ranges, Tally};
use super::congestion::{Controller, Gate};
use super::integrity::{Integrity, Probe};
use super::journal::{Header, Journal};
use super::keeper::Keeper;
use super::plan::LONGEST_RANGE;
use super::read::{Piece, Pool, Reader, Reading};
use super::report::{Counters, Meter, UploadReport, Verification};
use super::request::{Clear, Create, Describe, Requester};
use super::retry::Policy;
use super::send::{Account, Compare, Lane, Pacer, Put};
use super::verify::{self, First, Listed};
use super::{UploadTarget, Verify, VhdUploader};
use crate::azure::Transport;
use crate::blocking::blocking;
use crate::disk::limits::{self, FOOTER};
use crate::disk::{DiskSource, upload_footer};
use crate::handle::Work;
use crate::progress::Phase;
use crate::{Error, ErrorKind, Result};

/// Progress is told this often, whether anything moves or not.
const TICK: Duration = Duration::from_millis(100);
/// The network is the slow side.
const MOST_READERS: usize = 4;
/// So many ranges are read ahead of sending: one for each reader to have ready. More would only
/// leave the processor's caches before they are sent.
const AHEAD: usize = MOST_READERS;

/// An upload that did not come to its end.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// Where it is noted what has arrived, for the same upload again to go on from.
    pub(crate) journal: Option<PathBuf>,
    /// Whether anything has arrived in this run.
    arrived: bool,
}

impl Failed {
    /// The error for whoever can go on: it says that what has arrived need not be sent again.
    pub(crate) fn into_resumable(self) -> Error {
        match self.journal {
            Some(journal) if self.arrived => self.error.with_context(
                "what has arrived is noted in, for the same upload again to go on from",
                journal.display(),
            ),
            _ => self.error,
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error,
            journal: None,
            arrived: false,
        }
    }
}

pub(crate) async fn upload(
    settings: VhdUploader,
    work: &Work,
    pool: Arc<Pool>,
) -> Result<UploadReport, Failed> {
    work.check()?;
    work.progress.phase(Phase::Uploading, "");
    limits::check_disk_size(settings.source.virtual_size())?;
    let disk = limits::padded_size(settings.source.virtual_size());
    let length = disk + FOOTER;
    let counters = Arc::new(Counters::default());
    let mut meter = Meter::new(length);
    let upload = Box::pin(course(&settings, work, pool, Arc::clone(&counters), disk));
    let told = async {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            work.progress.transfer(meter.read(&counters));
        }
    };
    let result = tokio::select! {
        biased;
        result = upload => result,
        () = told => Err(Error::new(ErrorKind::Internal, "the progress ended before the upload").into()),
    };
    work.progress.transfer(meter.read(&counters));
    let done = result?;
    Ok(UploadReport {
        bytes_logical: length,
        bytes_sent: counters.sent(),
        bytes_resumed: counters.resumed_bytes(),
        bytes_skipped: length - counters.sent() - counters.resumed_bytes(),
        requests: counters.requests(),
        retries: counters.retries(),
        integrity: done.integrity,
        verified: done.verified,
        bytes_cleared: done.cleared,
        elapsed: meter.elapsed(),
    })
}

struct Done {
    integrity: Integrity,
    verified: Verification,
    cleared: u64,
}

/// What the steps of an upload share.
struct Upload<'a> {
    settings: &'a VhdUploader,
    work: &'a Work,
    requester: Requester,
    lane: Lane,
    pool: Arc<Pool>,
    /// Size of the disk, without the footer.
    disk: u64,
    journal: Option<Journal>,
    /// Ends reading when the upload is dropped.
    stop: CancellationToken,
}

async fn course(
    settings: &VhdUploader,
    work: &Work,
    pool: Arc<Pool>,
    counters: Arc<Counters>,
    disk: u64,
) -> Result<Done, Failed> {
    let transport = match &settings.transport {
        Some(transport) => transport.clone(),
        // It reads the system's certificates.
        None => blocking(Transport::new).await?,
    };
    let opened = Keeper::open(Arc::clone(&settings.access), transport);
    let keeper = work.interruptible(opened).await?;
    let stop = CancellationToken::new();
    let _stops_readers = stop.clone().drop_guard();
    let fingerprint = of_source(&settings.source, |source| source.fingerprint()).await?;
    let (journal, done) = open_journal(settings, &keeper, &fingerprint, disk + FOOTER).await?;
    let upload = Upload {
        settings,
        work,
        requester: Requester {
            keeper,
            counters: Arc::clone(&counters),
            stop: work.cancel.clone(),
        },
        lane: Lane {
            gate: Gate::new(Controller::new(
                settings.options.concurrency,
                settings.options.memory.as_u64(),
            )),
            probe: Probe::default(),
            counters,
            pacer: settings
                .options
                .bandwidth
                .map(|rate| Pacer::new(rate.as_u64())),
        },
        pool,
        disk,
        journal,
        stop,
    };
    // Until the footer nothing has happened that a dropped request could spoil.
    let before_footer = Box::pin(upload.content(fingerprint, done));
    let (footer, verified, cleared) = work
        .interruptible(before_footer)
        .await
        .map_err(|error| upload.failed(error))?;
    work.check().map_err(|error| upload.failed(error))?;
    work.progress.phase(Phase::Committing, "footer");
    let integrity = upload.footer(footer).await;
    let integrity = integrity.map_err(|error| upload.failed(error))?;
    if let Some(journal) = upload.journal {
        blocking(move || {
            journal.finish();
            Ok(())
        })
        .await?;
    }
    Ok(Done {
        integrity,
        verified,
        cleared,
    })
}

/// The journal of this upload, where one is wanted, and what is in it.
async fn open_journal(
    settings: &VhdUploader,
    keeper: &Keeper,
    fingerprint: &str,
    length: u64,
) -> Result<(Option<Journal>, Ranges)> {
    let Some(directory) = settings.options.journal.clone() else {
        return Ok((None, Ranges::default()));
    };
    let target = match settings.access.target().await? {
        Some(target) => target,
        None => keeper.peek().target.sas().redacted().to_owned(),
    };
    let source = settings.source_name.as_deref().unwrap_or(fingerprint);
    let header = Header::new(target, source.to_owned(), length);
    let afresh = settings.options.afresh;
    let (journal, done) = blocking(move || Journal::open(&directory, &header, afresh)).await?;
    Ok((Some(journal), done))
}

async fn of_source<T: Send + 'static>(
    source: &Arc<dyn DiskSource>,
    call: impl FnOnce(&dyn DiskSource) -> Result<T> + Send + 'static,
) -> Result<T> {
    let source = Arc::clone(source);
    let called = tokio::task::spawn_blocking(move || call(&*source)).await;
    called.map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            "the disk image stopped by a defect of its source",
        )
        .with_source(error)
    })?
}

impl Upload<'_> {
    /// Everything but the footer: sent, acknowledged, compared.
    async fn content(
        &self,
        fingerprint: String,
        done: Ranges,
    ) -> Result<([u8; 512], Verification, u64)> {
        let held = self.open().await?;
        let done = self.still_there(done, &held).await?;
        // The identity may take as long as reading the disk does; nobody waits for it until then.
        let footer = self.blocking(upload_footer);
        let ((verified, cleared), footer) =
            futures::try_join!(Box::pin(self.ranges(held, &done)), footer)?;
        if self.blocking(|source| source.fingerprint()).await? != fingerprint {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the disk image changed while it was uploaded",
            )
            .with_operation("upload")
            .with_hint("the target has no footer and is useless; upload again"));
        }
        Ok((footer, verified, cleared))
    }

    /// Finds the target, or creates it, and says whether it may hold old data.
    async fn open(&self) -> Result<Held> {
        let length = self.disk + FOOTER;
        let described = self.requester.repeat(Policy::FIRST, Describe).await;
        let properties = match (described, self.settings.target) {
            (Err(error), UploadTarget::PageBlob { create: true })
                if error.status() == Some(404) =>
            {
                match self.requester.repeat(Policy::PATIENT, Create(length)).await {
                    Ok(()) => return Ok(Held::Nothing),
                    // Ours, when the answer to an earlier attempt was lost; or somebody else's.
                    Err(error) if matches!(error.status(), Some(409 | 412)) => {
                        self.requester.repeat(Policy::FIRST, Describe).await?
                    }
                    Err(error) => return Err(error),
                }
            }
            (described, _) => described?,
        };
        let target = self.requester.keeper.peek().target;
        let place = target.sas().redacted();
        if let Some(kind) = properties.blob_type.filter(|kind| kind != "PageBlob") {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{place} is a {kind}, and disks are page blobs"),
            )
            .with_hint("upload to another name"));
        }
        if properties.length != length {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{place} has {} bytes, and this disk image needs exactly {length}",
                    properties.length
                ),
            )
            .with_operation("upload")
            .with_hint(format!(
                "create the disk with an upload size of {length} bytes: the image, rounded up to a \
                 MiB, and 512 bytes of footer"
            )));
        }
        // A disk for upload begins empty. A blob that was there before most likely does not.
        let empty = matches!(self.settings.target, UploadTarget::ManagedDisk);
        match verify::first(&self.requester, length).await? {
            First::Nothing => Ok(Held::Nothing),
            First::Pages => Ok(Held::OldData { seen: true }),
            First::NoAnswer => Ok(Held::OldData { seen: !empty }),
            First::Refused(reason) if empty => Ok(Held::Unknown(reason)),
            First::Refused(reason) => Err(self.old_data_stays(&reason)),
        }
    }

    /// What was acknowledged in an earlier upload, as far as the target has it. One that was emptied
    /// or made anew since has nothing of it; one that does not say is believed to be the same, as
    /// its name is.
    async fn still_there(&self, mut done: Ranges, held: &Held) -> Result<Ranges> {
        if done.bytes() == 0 {
            return Ok(done);
        }
        let noted = done.bytes();
        match held {
            Held::Nothing => done = Ranges::default(),
            Held::Unknown(reason) => {
                tracing::debug!(reason, "the journal is believed: the target lists nothing");
            }
            Held::OldData { .. } => match verify::list(&self.requester, self.disk).await? {
                Listed::Ranges(listed) if !listed.overflowed() => done.intersect(&listed),
                Listed::Ranges(_) => done = Ranges::default(),
                Listed::Refused(reason) => {
                    tracing::debug!(reason, "the journal is believed: the target lists nothing");
                }
            },
        }
        if let Some(journal) = self.journal.as_ref().filter(|_| done.bytes() < noted) {
            journal.only(&done);
        }
        tracing::info!(
            noted,
            there = done.bytes(),
            "going on with an earlier upload to the same target"
        );
        Ok(done)
    }

    fn failed(&self, error: Error) -> Failed {
        Failed {
            error,
            journal: self.journal.as_ref().map(|one| one.path().to_owned()),
            arrived: self.lane.counters.sent() > 0,
        }
    }

    /// The error of a target with old data that cannot be told from the new.
    fn old_data_stays(&self, reason: &str) -> Error {
        let target = self.requester.keeper.peek().target;
        Error::new(
            ErrorKind::Conflict,
            format!(
                "{} was written to before, and what is left of that cannot be cleared: {reason}",
                target.sas().redacted()
            ),
        )
        .with_operation("upload")
        .with_hint("delete the disk or blob, make a new one and upload to that")
    }

    /// Sends all ranges and compares.
    async fn ranges(&self, held: Held, done: &Ranges) -> Result<(Verification, u64)> {
        if !matches!(held, Held::Nothing) {
            // An old footer would make a half-written disk look whole.
            self.put_unaccounted(self.disk, zeros(FOOTER)).await?;
        }
        let sent = self.send(done).await?;
        let counters = &self.lane.counters;
        counters.all_skipped(self.disk - counters.sent() - counters.resumed_bytes());
        self.verify(held, &sent).await
    }

    fn readers(&self, counters: Arc<Counters>) -> Vec<Reader> {
        let reading = Arc::new(Reading::new(
            Arc::clone(&self.settings.source),
            Arc::clone(&self.pool),
            counters,
            self.stop.clone(),
        ));
        let most = if self.settings.source.is_sequential() {
            1
        } else {
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        };
        (0..most.min(MOST_READERS))
            .map(|_| Reader::new(Arc::clone(&reading)))
            .collect()
    }

    /// Reads, sends, and checks that all that was cut has been acknowledged.
    async fn send(&self, done: &Ranges) -> Result<Ranges> {
        let mut idle = self.readers(Arc::clone(&self.lane.counters));
        let mut reading = FuturesUnordered::new();
        let mut sending = FuturesUnordered::new();
        let (mut planned, mut acknowledged) = (Tally::default(), Tally::default());
        let mut sent = Ranges::default();
        loop {
            if self.lane.gate.waiting() < AHEAD {
                reading.extend(idle.drain(..).map(Reader::next));
            }
            tokio::select! {
                // What is acknowledged frees memory that reading waits for.
                biased;
                Some(put) = sending.next() => {
                    let range: Range<u64> = put?;
                    acknowledged.add(&range);
                    sent.insert(range);
                }
                Some(read) = reading.next() => {
                    if let Some((reader, piece)) = read? {
                        let range = piece.range();
                        planned.add(&range);
                        let missing: Vec<_> = done.gaps_in(range.clone()).collect();
                        let left: u64 = missing.iter().map(|gap| gap.end - gap.start).sum();
                        self.lane.counters.resumed(range.end - range.start - left);
                        if missing.is_empty() {
                            self.pool.give_back(piece.bytes);
                            acknowledged.add(&range);
                            sent.insert(range);
                        } else {
                            sending.push(self.put(piece, missing));
                        }
                        idle.push(reader);
                    }
                }
                else => break,
            }
        }
        let whole = sent.overflowed() || sent.bytes() == planned.bytes;
        if planned != acknowledged || !whole {
            return Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "{} ranges were to be sent and {} were acknowledged",
                    planned.ranges, acknowledged.ranges
                ),
            ));
        }
        tracing::debug!(
            ranges = planned.ranges,
            bytes = planned.bytes,
            peak_memory = self.pool.peak(),
            "all ranges are acknowledged"
        );
        Ok(sent)
    }

    /// Sends what is missing of a piece, which is all of it unless a part of it was sent before.
    async fn put(&self, piece: Piece, missing: Vec<Range<u64>>) -> Result<Range<u64>> {
        let range = piece.range();
        let Piece {
            bytes, crc, lease, ..
        } = piece;
        for gap in missing {
            let within = |at: u64| usize::try_from(at - range.start).unwrap_or(usize::MAX);
            let put = Put {
                crc: (gap == range).then_some(crc),
                account: Some(Account {
                    journal: self.journal.as_ref(),
                }),
                ..Put::new(
                    &self.lane,
                    gap.start,
                    bytes.slice(within(gap.start)..within(gap.end)),
                )
            };
            Box::pin(self.requester.repeat(Policy::PATIENT, put)).await?;
        }
        self.pool.give_back(bytes);
        drop(lease);
        Ok(range)
    }

    /// Compares the target with what was sent, and clears what does not belong.
    async fn verify(&self, held: Held, sent: &Ranges) -> Result<(Verification, u64)> {
        let asked = self.settings.options.verify;
        if asked == Verify::None && matches!(held, Held::Nothing | Held::Unknown(_)) {
            return Ok((Verification::NotRequested, 0));
        }
        self.work.progress.phase(Phase::Verifying, "");
        let mut cleared = 0;
        // Without the comparison nobody knows where old data shows through: no success then.
        let not_compared = |reason: String| match held {
            Held::OldData { seen: true } => Err(self.old_data_stays(&reason)),
            _ => Ok(Verification::NotVerified(reason)),
        };
        let mut result = match &held {
            Held::Unknown(reason) => not_compared(reason.clone())?,
            _ if sent.overflowed() => {
                not_compared("the disk is too fragmented to be compared".to_owned())?
            }
            held => match verify::list(&self.requester, self.disk).await? {
                Listed::Refused(reason) => not_compared(reason)?,
                Listed::Ranges(listed) if listed.overflowed() => {
                    not_compared("the target's list is too long".to_owned())?
                }
                Listed::Ranges(listed) => {
                    let target = self.requester.keeper.peek().target;
                    verify::nothing_missing(sent, &listed, target.sas().redacted())?;
                    // On a target that was empty, more than was sent is only a coarse list.
                    if matches!(held, Held::OldData { .. }) {
                        cleared = self.clear_stale(sent, &listed).await?;
                    }
                    Verification::Ranges
                }
            },
        };
        if asked == Verify::Contents {
            result = match self.compare().await {
                Ok(()) => Verification::Contents,
                Err(error) => match verify::refusal(&error) {
                    Some(reason) => Verification::NotVerified(format!("reading back: {reason}")),
                    None => return Err(error),
                },
            };
        }
        if asked == Verify::None {
            result = Verification::NotRequested;
        }
        Ok((result, cleared))
    }

    /// Makes zero what the target holds and the source does not.
    async fn clear_stale(&self, sent: &Ranges, listed: &Ranges) -> Result<u64> {
        let mut cleared = 0;
        let mut clears = true;
        for stale in listed.minus(sent) {
            self.work.progress.detail("clearing old data");
            cleared += stale.end - stale.start;
            if clears {
                let clear = Clear(stale.clone());
                match self.requester.repeat(Policy::PATIENT, clear).await {
                    Ok(()) => continue,
                    Err(error) => match verify::refusal(&error) {
                        Some(reason) => {
                            tracing::debug!(reason, "clearing is refused; writing zeros");
                            clears = false;
                        }
                        None => return Err(error),
                    },
                }
            }
            let mut at = stale.start;
            while at < stale.end {
                let len = (stale.end - at).min(LONGEST_RANGE as u64);
                self.put_unaccounted(at, zeros(len)).await?;
                at += len;
            }
        }
        Ok(cleared)
    }

    /// Reads everything once more, here and there, and compares.
    async fn compare(&self) -> Result<()> {
        // Counts of their own: the progress is about what was sent.
        let mut reading: FuturesUnordered<_> = self
            .readers(Arc::default())
            .into_iter()
            .map(Reader::next)
            .collect();
        let mut comparing = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(done) = comparing.next() => { let () = done?; }
                Some(read) = reading.next() => {
                    if let Some((reader, piece)) = read? {
                        comparing.push(self.compare_one(piece));
                        reading.push(reader.next());
                    }
                }
                else => return Ok(()),
            }
        }
    }

    async fn compare_one(&self, piece: Piece) -> Result<()> {
        let compare = Compare::new(&self.lane, piece.offset, piece.bytes.clone());
        Box::pin(self.requester.repeat(Policy::PATIENT, compare)).await?;
        self.pool.give_back(piece.bytes);
        drop(piece.lease);
        Ok(())
    }

    /// Writes the footer: the last page, alone. From its acknowledgement on the upload is whole.
    async fn footer(&self, footer: [u8; 512]) -> Result<Integrity> {
        let integrity = self
            .put_unaccounted(self.disk, Bytes::copy_from_slice(&footer))
            .await?;
        self.lane.counters.acknowledged(FOOTER);
        Ok(integrity)
    }

    async fn put_unaccounted(&self, offset: u64, bytes: Bytes) -> Result<Integrity> {
        let put = Put::new(&self.lane, offset, bytes);
        // A refusal that any range met was remembered: the last answer is the weakest used.
        self.requester.repeat(Policy::PATIENT, put).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn DiskSource) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        of_source(&self.settings.source, call).await
    }
}

/// What the target held before the upload.
enum Held {
    /// Nothing: it was created just now, or is a fresh disk.
    Nothing,
    /// Something, which shows where nothing is sent and must be cleared there.
    OldData {
        /// `false`: it did not answer yet, and most likely holds nothing.
        seen: bool,
    },
    /// It does not say, for this reason.
    Unknown(String),
}

fn zeros(len: u64) -> Bytes {
    // At most LONGEST_RANGE.
    vec![0; usize::try_from(len).unwrap_or(LONGEST_RANGE)].into()
}
