//! Disk images that change while they are being uploaded.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use azure_nixos::disk::DiskImage;
use azure_nixos::{ErrorKind, VhdUploader};
use azure_nixos_tests::content::assert_uploaded;
use azure_nixos_tests::disks::{self, Table};
use azure_nixos_tests::within;

use crate::place::{MIB, Place, SIZE, on};

/// What happens to the file.
type Change = fn(&Path);

fn truncate(file: &Path) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(5 * MIB).unwrap();
}

fn empty(file: &Path) {
    File::create(file).unwrap();
}

fn write(file: &Path) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(b"other", SIZE - MIB).unwrap();
}

/// In a part that has been sent already, so that no reading finds it.
fn write_behind(file: &Path) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(b"other", 4 * MIB + MIB / 2).unwrap();
}

fn grow(file: &Path) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(SIZE + 512).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_is_an_error_and_no_disk() {
    let place = Place::new().await;
    let changes: [(&str, Change); 5] = [
        ("truncated", truncate),
        ("emptied", empty),
        ("written", write),
        ("written-behind", write_behind),
        ("grown", grow),
    ];
    within(100, "five uploads", async {
        for (name, change) in changes {
            let file = place.local.place().join(format!("{name}.raw"));
            disks::raw(&file, SIZE, Table::Mbr, 3);
            let access = place.disk(name).await;
            // The second write waits until the file has changed.
            let waiting = on("blob.putPage").after(1);
            let waiting = place
                .faults()
                .add(waiting.delay(Duration::from_millis(400)));
            let image = DiskImage::open(&file).unwrap();
            let upload = VhdUploader::new(image, access.clone())
                .concurrency(azure_nixos::upload::Concurrency::Fixed(1))
                .start();
            while place.faults().hits(waiting) == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            change(&file);
            place.faults().clear();
            let error = upload.join().await.unwrap_err();
            let report = error.report();
            assert!(
                matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Io),
                "{name}: {report}"
            );
            assert!(report.contains("changed while it was"), "{name}: {report}");
            assert!(error.hint().is_some(), "{name}: {report}");
            place.assert_not_done(name);

            // As it should have been: the same disk takes it, and nothing of the first shows.
            std::fs::remove_file(&file).unwrap();
            disks::raw(&file, SIZE, Table::Mbr, 4);
            let image = DiskImage::open(&file).unwrap();
            VhdUploader::new(image, access).await.unwrap();
            assert_uploaded(&file, SIZE, &place.file(name));
        }
    })
    .await;
}

/// A file that is replaced by another of the same name is still the old one for whoever has it open.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_replaced_is_uploaded_as_it_was() {
    let place = Place::new().await;
    within(60, "an upload", async {
        let in_place = |name: &str| place.local.place().join(name);
        let (file, copy) = (in_place("disk.raw"), in_place("copy.raw"));
        disks::raw(&file, SIZE, Table::Mbr, 3);
        std::fs::copy(&file, &copy).unwrap();
        let access = place.disk("d").await;
        let waiting = on("blob.putPage").after(1);
        let waiting = place
            .faults()
            .add(waiting.delay(Duration::from_millis(200)));
        let upload = VhdUploader::new(DiskImage::open(&file).unwrap(), access).start();
        while place.faults().hits(waiting) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        std::fs::remove_file(&file).unwrap();
        disks::raw(&file, SIZE, Table::Mbr, 9);
        place.faults().clear();
        upload.join().await.unwrap();
        assert_uploaded(&copy, SIZE, &place.file("d"));
    })
    .await;
}
