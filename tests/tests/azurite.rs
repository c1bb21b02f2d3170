//! The uploader against real Azurite: requests that another implementation of the service takes.
//!
//! What Azurite does not check, so that nothing is proved of it here: pages beyond the end of the
//! blob are taken, the version of the service is not looked at (`--skipApiVersionCheck`), and it has
//! no managed disks, whose access may do less than that of a blob in a storage account. What it does
//! check: signatures, the shape and alignment of ranges, checksums of pages, and that the blob exists.

#![allow(clippy::unwrap_used, reason = "everything in this file is a test")]

use azure_nixos::ErrorKind;
use azure_nixos::VhdUploader;
use azure_nixos::disk::{DiskSource as _, MemoryImage};
use azure_nixos::upload::{Integrity, UploadTarget, Verification, Verify};
use azure_nixos_tests::azurite::Azurite;
use azure_nixos_tests::content::{assert_uploaded_bytes, vhd_length};
use azure_nixos_tests::disks::Noise;
use azure_nixos_tests::within;

const MIB: u64 = 1 << 20;
const PAGE_BLOB: UploadTarget = UploadTarget::PageBlob { create: true };

/// A disk with runs of noise at odd places, some of them longer than one request.
fn disk(size: u64, seed: u64) -> MemoryImage {
    let mut disk = MemoryImage::new(size).unwrap();
    let mut noise = Noise::new(seed);
    for _ in 0..12 {
        let length = 1 + noise.below(6 * MIB);
        let at = noise.below(size - length);
        let run = noise.bytes(usize::try_from(length).unwrap());
        disk.write(at, &run).unwrap();
    }
    disk.write(0, b"boot").unwrap();
    disk.write(size - 1, b"!").unwrap();
    disk
}

fn flat(disk: &MemoryImage) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(disk.virtual_size()).unwrap()];
    disk.read_exact_at(&mut content, 0).unwrap();
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_takes_what_the_uploader_sends() {
    let Some(azurite) = Azurite::start() else {
        return;
    };
    within(100, "uploading to Azurite", async {
        azurite.create_container("disks").await;
        // Not a whole number of MiB, so that there is padding in front of the footer.
        let size = 41 * MIB + 7 * 512;
        let first = disk(size, 1);
        let report = VhdUploader::new(first.clone(), azurite.sas("disks/web.vhd", "rwcdl"))
            .target(PAGE_BLOB)
            .verify(Verify::Contents)
            .await
            .unwrap();
        assert_eq!(report.integrity, Integrity::Crc64);
        assert_eq!(report.verified, Verification::Contents);
        assert_eq!((report.retries, report.bytes_cleared), (0, 0));
        assert_eq!(report.bytes_logical, vhd_length(size));
        let arrived = azurite.download("disks/web.vhd").await;
        assert_uploaded_bytes(&flat(&first), &arrived);

        // Another disk over it: nothing of the first may show through.
        let second = disk(size, 2);
        let report = VhdUploader::new(second.clone(), azurite.sas("disks/web.vhd", "rwcdl"))
            .target(PAGE_BLOB)
            .await
            .unwrap();
        assert_eq!(report.verified, Verification::Ranges);
        assert!(report.bytes_cleared > 0, "{report:?}");
        let arrived = azurite.download("disks/web.vhd").await;
        assert_uploaded_bytes(&flat(&second), &arrived);

        // One that is zeros but for its footer.
        let empty = MemoryImage::new(size).unwrap();
        VhdUploader::new(empty.clone(), azurite.sas("disks/web.vhd", "rwcdl"))
            .target(PAGE_BLOB)
            .await
            .unwrap();
        let arrived = azurite.download("disks/web.vhd").await;
        assert_uploaded_bytes(&flat(&empty), &arrived);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_azurite_refuses_is_told() {
    let Some(azurite) = Azurite::start() else {
        return;
    };
    within(60, "being refused by Azurite", async {
        azurite.create_container("disks").await;
        let small = disk(20 * MIB, 3);
        VhdUploader::new(small.clone(), azurite.sas("disks/small.vhd", "rwc"))
            .target(PAGE_BLOB)
            .await
            .unwrap();
        let before = azurite.download("disks/small.vhd").await;

        // A blob of another length is not touched.
        let larger = disk(21 * MIB, 4);
        let error = VhdUploader::new(larger, azurite.sas("disks/small.vhd", "rwc"))
            .target(PAGE_BLOB)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("needs exactly"), "{error}");
        assert_eq!(azurite.download("disks/small.vhd").await, before);

        // There is no such blob, and making it was not asked for.
        let error = VhdUploader::new(small.clone(), azurite.sas("disks/none.vhd", "rwc"))
            .target(UploadTarget::PageBlob { create: false })
            .await
            .unwrap_err();
        assert!(error.is_not_found(), "{}", error.report());

        // An access that may only read, and one whose signature is wrong.
        let read_only = azurite.sas("disks/small.vhd", "r");
        let forged = read_only.expose().replace("sig=", "sig=AAAA").parse();
        for access in [read_only, forged.unwrap()] {
            let error = VhdUploader::new(small.clone(), access.clone())
                .target(PAGE_BLOB)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Forbidden, "{}", error.report());
            assert!(error.hint().is_some());
            let signature = access.expose().rsplit_once("sig=").unwrap().1;
            assert!(!format!("{error:?} {}", error.report()).contains(signature));
        }
        assert_eq!(azurite.download("disks/small.vhd").await, before);
    })
    .await;
}
