//! One case from its beginning to its end: uploads that are interrupted, and gone on with.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::TryFutureExt as _;
use tokio::time::Instant;

use super::case::{Case, Cut, When};
use super::disk::{Disk, Layout};
use super::judge::{self, Ended, Judged};
use super::service::Service;
use crate::azure::Transport;
use crate::handle::Work;
use crate::upload::read::Pool;
use crate::upload::{Failed, UploadReport, VhdUploader, engine};
use crate::{ByteSize, ErrorKind, Result};

/// What came up, so that a test that tests nothing is noticed.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<String, u64>);

impl Seen {
    pub(super) fn note(&mut self, what: impl fmt::Display) {
        *self.0.entry(what.to_string()).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what.clone()).or_default() += times;
        }
    }

    /// Everything that a case can be about did come up.
    pub(super) fn check(&self) {
        let expected = [
            "ended: whole",
            "ended: dropped",
            "ended: cancelled",
            "ended: conflict",
            "ended: not allowed",
            "ended: input/output error",
            "ended: integrity error",
            "ended: not found",
            "ended: service error",
            "report: verified by contents",
            "report: verified by list",
            "report: not verified",
            "report: md5",
            "report: without checksum",
            "report: resumed",
            "report: nothing sent again",
            "report: cleared",
            "report: nothing went wrong",
            "refused: another source",
            "fault: Broken",
            "fault: Damage",
            "fault: Expire",
            "fault: Garbled",
            "fault: Late",
            "fault: Lost",
            "fault: NoConnection",
            "fault: ResetAfter",
            "fault: ResetBefore",
            "fault: Silence",
            "fault: Slow",
            "fault: Status",
            "fault: TimedOut",
        ];
        for what in expected {
            let seen = self.0.keys().any(|key| key.starts_with(what));
            assert!(seen, "{what} never came up:\n{self}");
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, times) in &self.0 {
            writeln!(f, "{times:8} {what}")?;
        }
        Ok(())
    }
}

/// `place` is for journals, and empty.
pub(super) async fn play(
    case: &Case,
    place: &Path,
    seen: &mut Seen,
) -> std::result::Result<(), String> {
    let layout = Arc::new(case.shape.layout());
    let service = Service::new(case, &layout);
    let mut story = Story {
        case,
        layout,
        service,
        place: case.journal.then_some(place),
        judged: Judged::default(),
    };
    // Whether the source has changed since the run before; whether all is to be sent again.
    let (mut changed, mut afresh) = (false, false);
    for nth in 0..=case.cuts.len() {
        // What the last run left behind on the one blocking thread is over then.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        if !story.has_journal() {
            // It was dropped when all was done, but for saying so.
            story.service.state().acknowledged.clear();
        }
        if changed && story.has_journal() && !story.judged.torn {
            story.refuses_another_source().await?;
            seen.note("refused: another source");
        }
        let (disk, ended) = story.run(nth, afresh).await;
        let whole = matches!(ended, Ended::With(Ok(_)) | Ended::Cancelled(Ok(_), _));
        if let Some((torn, garbage)) = case.cuts.get(nth).and_then(|cut| cut.torn) {
            story.judged.torn |= story.tear(torn, garbage);
        }
        changed = disk.changed.load(Ordering::Relaxed);
        let now = Instant::now();
        judge::run(
            case,
            nth,
            &story.service,
            &disk,
            ended,
            &mut story.judged,
            seen,
        )
        .map_err(|why| format!("run {nth}: {why}"))?;
        if whole {
            if story.has_journal() {
                return Err("the journal of a whole upload stays".to_owned());
            }
            break;
        }
        let mut state = story.service.state();
        // A run that asked nothing has not begun a journal.
        afresh = changed || afresh && state.run.requests == 0;
        if changed {
            // What is of the old content and late must not come after the new: nothing could help.
            state.settle(now + Duration::from_secs(1 << 20));
            state.acknowledged.clear();
            state.version += 1;
        }
    }
    let mut state = story.service.state();
    state.settle(Instant::now() + Duration::from_secs(1 << 20));
    judge::end(&state, &story.judged)
}

struct Story<'a> {
    case: &'a Case,
    layout: Arc<Layout>,
    service: Service,
    place: Option<&'a Path>,
    judged: Judged,
}

impl Story<'_> {
    /// The nth upload, until it ends or is ended.
    async fn run(&self, nth: usize, afresh: bool) -> (Arc<Disk>, Ended) {
        let case = self.case;
        let cut = case.cuts.get(nth).copied();
        let first = |at: Option<u64>| at.filter(|_| nth == 0);
        let version = self.service.state().version;
        let (fails, changes) = (first(case.read_fails), first(case.changes));
        let disk = Arc::new(Disk::new(&self.layout, version, fails, changes));
        let calm = case.calm_end && nth > 0 && nth == case.cuts.len();
        self.service
            .begin(calm, cut.map(|cut| cut.when), changes.is_some());
        let work = Work::default();
        let pool = Arc::new(Pool::new(case.memory));
        let uploader = self.uploader(&disk, afresh);
        let upload = engine::upload(uploader, &work, Arc::clone(&pool));
        let upload = Box::pin(upload.map_err(Failed::into_resumable));
        let ended = self.end(upload, cut, &work);
        let ended = tokio::time::timeout(case.patience(), ended).await;
        self.service.state().run.peak = pool.peak();
        (disk, ended.unwrap_or(Ended::Never))
    }

    fn uploader(&self, disk: &Arc<Disk>, afresh: bool) -> VhdUploader {
        let case = self.case;
        let access = Arc::new(self.service.clone());
        let transport = Transport::from_client(Arc::new(self.service.clone()));
        let disk: Arc<Disk> = Arc::clone(disk);
        let uploader = VhdUploader::from_arc(disk, access)
            .transport(transport)
            .target(case.target)
            .verify(case.verify)
            .concurrency(case.concurrency)
            .memory_limit(ByteSize::bytes(case.memory))
            .max_bandwidth(case.bandwidth.map(ByteSize::bytes))
            .afresh(afresh);
        match self.place {
            Some(place) => uploader.journal(place),
            None => uploader,
        }
    }

    async fn end(
        &self,
        mut upload: std::pin::Pin<Box<impl Future<Output = Result<UploadReport>>>>,
        cut: Option<Cut>,
        work: &Work,
    ) -> Ended {
        let Some(cut) = cut else {
            return Ended::With(upload.await);
        };
        let reached = self.service.state().reached.clone();
        let when = async {
            match cut.when {
                When::Request(_) => reached.cancelled().await,
                When::Millis(millis) => {
                    tokio::time::sleep(Duration::from_millis(millis.into())).await;
                }
            }
        };
        tokio::select! {
            biased;
            result = &mut upload => return Ended::With(result),
            () = when => {}
        }
        if !cut.cancel {
            drop(upload);
            return Ended::Dropped(Instant::now());
        }
        work.cancel.cancel();
        let asked = Instant::now();
        let result = upload.await;
        Ended::Cancelled(result, asked.elapsed())
    }

    fn has_journal(&self) -> bool {
        self.place
            .is_some_and(|place| std::fs::read_dir(place).unwrap().next().is_some())
    }

    /// Another source is refused while the journal of the first is there, and nothing is touched.
    async fn refuses_another_source(&self) -> std::result::Result<(), String> {
        let version = self.service.state().version;
        let disk = Arc::new(Disk::new(&self.layout, version, None, None));
        self.service.begin(true, None, false);
        match self.uploader(&disk, false).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            other => return Err(format!("another source was not refused: {other:?}")),
        }
        match self.service.state().run.writes {
            0 => Ok(()),
            writes => Err(format!("{writes} writes of a source that was refused")),
        }
    }

    /// Takes away the end of the journal, as the end of a machine does, and perhaps leaves something
    /// else there. Whether there was something to take away.
    fn tear(&self, bytes: u8, garbage: bool) -> bool {
        let Some(place) = self.place else {
            return false;
        };
        let Some(file) = std::fs::read_dir(place).unwrap().next() else {
            return false;
        };
        let path = file.unwrap().path();
        // A dropped upload may still be about to take it away.
        let mut file = match OpenOptions::new().append(true).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
            file => file.unwrap(),
        };
        // Its writer goes when it has written all.
        file.lock().unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(bytes.into())).unwrap();
        if garbage {
            file.write_all(&vec![0xa5; usize::from(bytes) + 7]).unwrap();
        }
        true
    }
}
