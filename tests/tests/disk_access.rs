//! Disks without images: [`DiskUpload`], and [`VhdUploader`] on an access that somebody else asked for.

#![allow(clippy::unwrap_used, reason = "everything in this file is a test")]

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use azure_nixos::arm::compute::{Disk, DiskState};
use azure_nixos::arm::{Client, ResourceGroup};
use azure_nixos::disk::{DiskImage, DiskSource, Identified, MemoryImage};
use azure_nixos::image::{DiskAccess, DiskUpload};
use azure_nixos::upload::{Verification, Verify};
use azure_nixos::{ErrorKind, Generation, Result, VhdUploader};
use azure_nixos_emulator::fault::{FaultRule, Plane};
use azure_nixos_tests::content::{assert_uploaded, assert_uploaded_bytes, vhd_length};
use azure_nixos_tests::disks::{self, Noise, Table};
use azure_nixos_tests::{Local, within};

const MIB: u64 = 1 << 20;

fn memory(size: u64, seed: u64) -> MemoryImage {
    let mut disk = MemoryImage::new(size).unwrap();
    let mut noise = Noise::new(seed);
    for _ in 0..8 {
        let length = 1 + noise.below(3 * MIB);
        let at = noise.below(size - length);
        disk.write(at, &noise.bytes(length as usize)).unwrap();
    }
    disk
}

fn flat(disk: &dyn DiskSource) -> Vec<u8> {
    let mut content = vec![0; disk.virtual_size() as usize];
    disk.read_exact_at(&mut content, 0).unwrap();
    content
}

fn assert_arrived(disk: &dyn DiskSource, file: &Path) {
    assert_uploaded_bytes(&flat(disk), &std::fs::read(file).unwrap());
}

/// A source that this crate knows nothing of: a pattern that follows from the offset, on every
/// other 64 KiB.
#[derive(Debug)]
struct Pattern(u64);

impl DiskSource for Pattern {
    fn virtual_size(&self) -> u64 {
        self.0
    }

    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        const STEP: u64 = 64 << 10;
        let start = from / STEP * STEP;
        let (start, end) = if (start / STEP).is_multiple_of(2) {
            (from, start + STEP)
        } else {
            (start + STEP, start + 2 * STEP)
        };
        Ok((start < self.0).then(|| start..end.min(self.0)))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        for (at, byte) in (offset..).zip(buffer) {
            let odd = (at >> 16) & 1 == 1;
            *byte = if odd { 0 } else { (at / 509) as u8 | 1 };
        }
        Ok(())
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(format!("pattern {}", self.0))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_of_every_kind_of_source() {
    let local = Local::start().await;
    let file = local.place().join("disk.raw");
    let size = 30 * MIB + 3 * 512;
    disks::raw(&file, size, Table::Both, 3);
    within(100, "four disks", async {
        let azure = &local.azure;
        let up = |name: &str, source: Arc<dyn DiskSource>| {
            DiskUpload::new(azure, "disks", name, source)
                .sku("Premium_LRS")
                .generation(Generation::V2)
                .location("westeurope")
        };
        let image: Arc<dyn DiskSource> = Arc::new(DiskImage::open(&file).unwrap());
        let made = up("file", Arc::clone(&image)).await.unwrap();
        assert_uploaded(&file, size, &local.emulator.disk_file("disks", "file"));
        let disk = local.get(made.id.as_str()).await;
        assert_eq!(disk["sku"]["name"], "Premium_LRS");
        assert_eq!(disk["location"], "westeurope");
        assert_eq!(disk["properties"]["diskState"], "Unattached");
        assert_eq!(disk["properties"]["hyperVGeneration"], "V2");

        let sources: [(&str, Arc<dyn DiskSource>); 3] = [
            ("memory", Arc::new(memory(25 * MIB, 1))),
            (
                "named",
                Arc::new(Identified::new(memory(21 * MIB, 2), "/nix/store/x-disk")),
            ),
            ("pattern", Arc::new(Pattern(22 * MIB + 512))),
        ];
        for (name, source) in sources {
            let made = up(name, Arc::clone(&source)).await.unwrap();
            let report = made.upload.unwrap();
            assert_eq!(report.verified, Verification::Ranges);
            assert_eq!(report.bytes_logical, vhd_length(source.virtual_size()));
            assert_arrived(&*source, &local.emulator.disk_file("disks", name));
            let disk = local.get(made.id.as_str()).await;
            assert_eq!(
                disk["tags"]["azure-nixos-content"],
                source.identity().unwrap()
            );
        }

        // The same again is there already; another content of that name is refused.
        let before = local.state().await;
        assert_eq!(up("file", image).await.unwrap().upload, None);
        let error = up("file", Arc::new(memory(size, 9))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        // The same content for the other firmware is another disk: that cannot be changed.
        let image = DiskImage::open(&file).unwrap();
        let error = DiskUpload::new(azure, "disks", "file", image)
            .generation(Generation::V1)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("Hyper-V generation"), "{error}");
        assert!(local.state().await == before);
    })
    .await;
}

/// Makes a disk to upload to, of any length, and the access to it.
async fn fresh(local: &Local, name: &str, bytes: u64) -> (Client, DiskAccess) {
    let client = Client::new(&local.azure).unwrap();
    let mut group = ResourceGroup::default();
    group.location = "westus2".to_owned();
    client.create_resource_group("disks", &group).await.unwrap();
    client
        .create_disk(
            "disks",
            name,
            &Disk::for_upload("westus2", "Standard_LRS", bytes),
        )
        .await
        .unwrap()
        .wait()
        .await
        .unwrap();
    let access = DiskAccess::new(client.clone(), "disks", name, bytes);
    (client, access)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_uploads_at_once_keep_apart() {
    let local = Local::start().await;
    within(100, "two uploads", async {
        let (a, b) = (memory(64 * MIB, 1), memory(48 * MIB, 2));
        let (client, a_access) = fresh(&local, "a", vhd_length(a.virtual_size())).await;
        let (_, b_access) = fresh(&local, "b", vhd_length(b.virtual_size())).await;
        let (first, second) = tokio::join!(
            VhdUploader::new(a.clone(), a_access)
                .verify(Verify::Contents)
                .start()
                .join(),
            VhdUploader::new(b.clone(), b_access).start().join(),
        );
        first.unwrap();
        second.unwrap();
        for (name, disk) in [("a", &a), ("b", &b)] {
            client.end_disk_access("disks", name).await.unwrap();
            assert_arrived(disk, &local.emulator.disk_file("disks", name));
            let state = client.disk("disks", name).await.unwrap().unwrap();
            assert_eq!(state.properties.disk_state, Some(DiskState::Unattached));
        }
    })
    .await;
}

/// A target of another length is refused before a byte is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_of_another_length_is_not_touched() {
    let local = Local::start().await;
    within(60, "two refusals", async {
        for (name, bytes) in [
            ("larger", vhd_length(40 * MIB)),
            ("smaller", vhd_length(20 * MIB)),
        ] {
            let (client, _) = fresh(&local, name, bytes).await;
            let hour = Duration::from_secs(3600);
            let sas = client.begin_disk_access("disks", name, hour).await.unwrap();
            let writes = local
                .emulator
                .faults()
                .add(FaultRule::new(Plane::Blob).method("PUT"));
            let error = VhdUploader::new(memory(30 * MIB, 1), sas)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let needs = vhd_length(30 * MIB).to_string();
            assert!(error.to_string().contains(&needs), "{error}");
            assert!(error.hint().unwrap().contains(&needs));
            assert_eq!(local.emulator.faults().hits(writes), 0);
            let content = std::fs::read(local.emulator.disk_file("disks", name)).unwrap();
            assert!(content.iter().all(|byte| *byte == 0));
        }
    })
    .await;
}

/// What an interrupted upload left is no part of the next one, not even of another content.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_over_an_interrupted_one_leaves_nothing_of_it() {
    let local = Local::start().await;
    within(60, "two uploads", async {
        let size = 40 * MIB;
        let (client, access) = fresh(&local, "d", vhd_length(size)).await;
        let faults = local.emulator.faults();
        faults.add(
            FaultRule::new(Plane::Blob)
                .method("PUT")
                .after(4)
                .respond(409, "Gone"),
        );
        VhdUploader::new(memory(size, 1), access.clone())
            .await
            .unwrap_err();
        faults.clear();
        let second = memory(size, 2);
        let report = VhdUploader::new(second.clone(), access).await.unwrap();
        assert!(report.bytes_cleared > 0, "{report:?}");
        client.end_disk_access("disks", "d").await.unwrap();
        assert_arrived(&second, &local.emulator.disk_file("disks", "d"));
    })
    .await;
}

/// An access that was ended is told as such, without its signature.
#[tokio::test(flavor = "multi_thread")]
async fn an_ended_access_is_told() {
    let local = Local::start().await;
    within(60, "a refusal", async {
        let (client, _) = fresh(&local, "d", vhd_length(20 * MIB)).await;
        let hour = Duration::from_secs(3600);
        let old = client.begin_disk_access("disks", "d", hour).await.unwrap();
        client.end_disk_access("disks", "d").await.unwrap_err();
        let error = VhdUploader::new(memory(20 * MIB, 1), old.clone())
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound),
            "{}",
            error.report()
        );
        let signature = old.expose().rsplit_once("sig=").unwrap().1;
        assert!(!format!("{error:?}{}", error.report()).contains(signature));
        assert!(error.hint().is_some());
    })
    .await;
}

/// A source that fails, or breaks its promises, in the middle.
#[derive(Debug)]
struct Broken(&'static str);

impl DiskSource for Broken {
    fn virtual_size(&self) -> u64 {
        64 * MIB
    }

    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        Ok(match self.0 {
            "backwards" if from < 8 * MIB => Some(from..8 * MIB),
            "backwards" => Some(0..MIB),
            _ => Some(from..64 * MIB).filter(|range| !range.is_empty()),
        })
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        match self.0 {
            "panic" if offset > 20 * MIB => panic!("on purpose"),
            "error" if offset > 20 * MIB => Err(azure_nixos::Error::new(
                ErrorKind::Io,
                "the disk cannot be read",
            )),
            _ => {
                buffer.fill(7);
                Ok(())
            }
        }
    }

    fn identity(&self) -> Result<String> {
        Ok(self.0.to_owned())
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(self.0.to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_undoes_the_disk() {
    let local = Local::start().await;
    let empty = local.state().await;
    for (what, kind) in [
        ("error", ErrorKind::Io),
        ("panic", ErrorKind::Internal),
        ("backwards", ErrorKind::InvalidImage),
    ] {
        let upload = DiskUpload::new(&local.azure, "disks", "d", Broken(what));
        let error = within(30, what, async { upload.await }).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {}", error.report());
        assert!(
            local.state().await == empty,
            "{what}: {:?}",
            local.names().await
        );
    }
}

/// A service that acknowledges what it does not keep, or keeps something else, is found out before
/// the footer is written: what is there cannot be taken for the disk.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_loses_or_garbles_is_noticed() {
    let local = Local::start().await;
    within(100, "uploads", async {
        let disk = memory(40 * MIB, 7);
        let on = |operation: &str| FaultRule::on(operation.parse().unwrap()).times(1);
        for (name, rule, verify) in [
            (
                "lost",
                on("blob.putPage").after(1).lose_update(),
                Verify::Ranges,
            ),
            (
                "garbled",
                on("blob.putPage").after(1).seed(3).corrupt_stored(),
                Verify::Contents,
            ),
            (
                "misread",
                on("blob.get").seed(4).corrupt_read(),
                Verify::Contents,
            ),
        ] {
            let (client, access) = fresh(&local, name, vhd_length(disk.virtual_size())).await;
            let fault = local.emulator.faults().add(rule);
            let error = VhdUploader::new(disk.clone(), access)
                .verify(verify)
                .await
                .unwrap_err();
            assert_eq!(local.emulator.faults().hits(fault), 1, "{name}");
            assert_eq!(error.kind(), ErrorKind::Integrity, "{name}: {error}");
            let content = std::fs::read(local.emulator.disk_file("disks", name)).unwrap();
            let footer = &content[content.len() - 512..];
            assert!(footer.iter().all(|byte| *byte == 0), "{name}");
            let ended = client.end_disk_access("disks", name).await;
            assert!(
                ended.is_err(),
                "{name}: Azure takes no disk without a footer"
            );
        }
    })
    .await;
}

/// A resource that Azure said it made and did not is an error, and nothing stays behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_never_made_is_an_error() {
    let local = Local::start().await;
    within(60, "an upload", async {
        let disk = memory(21 * MIB, 3);
        fresh(&local, "other", vhd_length(20 * MIB)).await;
        let before = local.state().await;
        let rule = FaultRule::on("disks.createOrUpdate".parse().unwrap());
        let fault = local.emulator.faults().add(rule.times(1).lose_update());
        let upload = DiskUpload::new(&local.azure, "disks", "never", disk.clone());
        let error = upload.await.unwrap_err();
        assert_eq!(local.emulator.faults().hits(fault), 1);
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(local.state().await == before);
        let upload = DiskUpload::new(&local.azure, "disks", "never", disk.clone());
        upload.await.unwrap();
        assert_arrived(&disk, &local.emulator.disk_file("disks", "never"));
    })
    .await;
}
