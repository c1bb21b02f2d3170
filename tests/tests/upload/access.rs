//! Accesses that end before the upload does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure_nixos::image::DiskAccess;
use azure_nixos::upload::{SasAccess, SasSource};
use azure_nixos::{ErrorKind, Result};
use azure_nixos_emulator::fault::{FaultRule, Plane};
use azure_nixos_tests::disks::Noise;

use crate::haste::in_haste;
use crate::place::{Place, on, seed};

/// When an access ends that was given at this time.
type Lasts = fn(SystemTime) -> Option<SystemTime>;

/// Counts how often access is asked for, and may be wrong about when it ends.
#[derive(Debug)]
struct Counted {
    inner: DiskAccess,
    asked: Arc<AtomicUsize>,
    /// When an access ends, as far as this one knows.
    lasts: Lasts,
}

#[async_trait]
impl SasSource for Counted {
    async fn access(&self) -> Result<SasAccess> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let access = self.inner.access().await?;
        Ok(SasAccess::new(access.url, (self.lasts)(SystemTime::now())))
    }

    async fn target(&self) -> Result<Option<String>> {
        self.inner.target().await
    }
}

fn counted(inner: DiskAccess, lasts: Lasts) -> (Counted, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Counted {
        inner,
        asked: Arc::clone(&asked),
        lasts,
    };
    (counted, asked)
}

#[tokio::test]
async fn an_access_that_is_refused_at_a_random_moment_is_replaced() {
    let place = Place::new().await;
    let seed = seed();
    let mut random = Noise::new(seed);
    in_haste(async {
        for round in 0..4 {
            let name = format!("d{round}");
            let (access, asked) = counted(place.disk(&name).await, |_| None);
            // A head, a list, and a dozen writes at least.
            let after = random.below(14);
            let rule = FaultRule::new(Plane::Blob).after(after).times(1);
            let fault = place.faults().add(rule.expire_access());
            let report = place.upload(access).await;
            let report = report.unwrap_or_else(|error| panic!("seed {seed}: {}", error.report()));
            assert_eq!(place.faults().hits(fault), 1, "seed {seed}: {after}");
            assert!(report.retries >= 1, "seed {seed}: {report:?}");
            // Once for all that met the refusal.
            assert_eq!(asked.load(Ordering::Relaxed), 2, "seed {seed}: {after}");
            place.assert_whole(&name).await;
        }
    })
    .await;
}

/// A URL is all there is: the error says what is missing, and the next one goes on with another.
#[tokio::test]
async fn an_access_that_cannot_be_renewed_ends_the_upload() {
    let place = Place::new().await;
    let journals = place.local.place().join("journals");
    in_haste(async {
        place.disk("d").await;
        let rule = on("blob.putPage").after(6).times(1).expire_access();
        place.faults().add(rule);
        let old = place.sas("d").await;
        let upload = place.upload(old.clone()).journal(&journals);
        let error = upload.await.unwrap_err();
        let report = error.report();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{report}");
        assert!(report.contains("get a new write access"), "{report}");
        let journals_shown = journals.display().to_string();
        assert!(report.contains(&journals_shown), "{report}");
        let signature = old.expose().rsplit_once("sig=").unwrap().1;
        assert!(!format!("{error:?}{report}").contains(signature));
        place.assert_not_done("d");

        let new = place.sas("d").await;
        assert_ne!(new.expose(), old.expose());
        let report = place.upload(new).journal(&journals).await.unwrap();
        assert!(report.bytes_resumed > 0, "{report:?}");
        place.assert_whole("d").await;
    })
    .await;
}

/// The system's clock is wrong, or set while the upload runs: by it, every access is over before it is
/// used, or lasts for years. Only the service's refusals count then.
#[tokio::test]
async fn a_clock_that_is_wrong() {
    let place = Place::new().await;
    let day = Duration::from_secs(24 * 3600);
    assert!(SystemTime::now() > SystemTime::UNIX_EPOCH + day);
    let wrong: [(&str, Lasts); 3] = [
        ("ahead", |now| Some(now - Duration::from_secs(24 * 3600))),
        ("behind", |now| Some(now + Duration::from_secs(24 * 3600))),
        ("at-the-epoch", |_| Some(SystemTime::UNIX_EPOCH)),
    ];
    in_haste(async {
        for (name, lasts) in wrong {
            let (access, asked) = counted(place.disk(name).await, lasts);
            let rule = on("blob.putPage").after(6).times(1).expire_access();
            place.faults().add(rule);
            place.upload(access).await.unwrap();
            assert_eq!(asked.load(Ordering::Relaxed), 2, "{name}");
            place.assert_whole(name).await;
        }
    })
    .await;
}
